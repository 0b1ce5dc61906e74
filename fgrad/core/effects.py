"""What an equation does beside computing its outputs. Rewrites, regions and batching ask only this."""

from __future__ import annotations

from enum import Enum


class Effect(Enum):
    """RAISES may raise and dies with its value; DEBUG is kept; IO and COMM are kept in program order.

    CALLS runs a function of the user's that nothing is known of: at each run of the program, not while it is traced,
    and once for each equation; like RAISES it dies with its value.
    """

    RAISES = "raises"
    CALLS = "calls"
    DEBUG = "debug"
    IO = "io"
    COMM = "comm"


Effects = frozenset[Effect]
NONE: Effects = frozenset()
RAISES: Effects = frozenset({Effect.RAISES})
ORDERED: Effects = frozenset({Effect.IO, Effect.COMM})
KEPT: Effects = ORDERED | {Effect.DEBUG}
STAGED: Effects = KEPT | {Effect.CALLS}  # never merged; recorded by a builder although no operand is traced
