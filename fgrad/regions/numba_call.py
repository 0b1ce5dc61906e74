"""numba_call: a function that the user compiled with Numba, as a primitive.

It reads its operands and writes outputs that exist already. Under vmap it runs once for each lane, or once for all of
them if it is `vectorized`. It has no derivative: `fgrad.numba_call` gives it one through custom_vjp.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from ..core.effects import RAISES, Effects
from ..core.errors import MissingRuleError, message
from ..core.types import ShapedArray, shaped
from .lanes import Lanewise, each_lane, empty_outputs


class Compiled:
    """A Numba function as a parameter of equations: equal where the function is the same object."""

    __slots__ = ("function",)

    def __init__(self, function: Any):
        self.function = function

    def __eq__(self, other: object) -> bool:
        return type(other) is Compiled and other.function is self.function

    def __hash__(self) -> int:
        return id(self.function)

    def __repr__(self) -> str:
        return str(self.function.py_func.__name__)


class NumbaCall(Lanewise):
    """`function(*inputs, *outputs)`, where operands of no dimensions come as scalars and outputs to be written into."""

    def effects(self, *types: ShapedArray, **params: Any) -> Effects:
        return RAISES

    def run(
        self,
        *xs: Any,
        function: Compiled,
        out: tuple[ShapedArray, ...],
        lanes: tuple[int, ...],
        carried: tuple[tuple[bool, ...], ...],
        method: str,
    ) -> tuple[Any, ...]:
        outputs = empty_outputs(out, lanes)
        for lane, mine in each_lane([_readable(x) for x in xs], lanes, carried):
            function.function(*mine, *[y[(*lane, ...)] for y in outputs])
        return tuple([y if y.ndim else y[()] for y in outputs])

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], *xs: Any, **params: Any) -> Sequence[Any]:
        raise MissingRuleError(
            message(
                f"numba_call of '{params['function']}' has no derivative: Numba compiled it to machine code",
                do="give vjp=rule, where rule(inputs, outputs, cotangents) returns one cotangent for each input (None: "
                "zero); or wrap the inputs in fgrad.lax.stop_gradient",
            )
        )

    def samples(self, draw: Any) -> Any:
        t = draw.shape(min_dims=1, max_dims=1)
        params = {"function": _sample(), "out": (shaped(t, np.int64),), "lanes": (), "method": "sequential"}
        return [draw.integers(t, -5, 5), draw.integers((), 0, 3)], {**params, "carried": ((), ())}


def _readable(x: Any) -> Any:
    """An operand as Numba is to see it: a contiguous array that is not locked, or a scalar."""
    if type(x) is not np.ndarray:
        return x
    return x if x.flags.carray else np.array(x, order="C")


@cache
def _sample() -> Compiled:
    import numba

    @numba.njit
    def shift(x: Any, by: Any, out: Any) -> None:
        for i in range(len(x)):
            out[i] = x[i] + by

    return Compiled(shift)


numba_call = NumbaCall("numba_call")
