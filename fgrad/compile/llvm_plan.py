"""Which form a vector loop takes, decided by its body; and what statements define, change or leave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from .nests import Accumulator, Assign, Block, Branch, Check, Leave, Loop, Store, Update, Value, Variable
from .scalars import FLOATS, MATH, size_of
from .statements import statements

_MATH_WORK = 40  # of a function, in operations
_JOIN = 40  # least work of a body that is worth two forms of its loads and stores
_PIECES = 32  # most work of a body that is done twice rather than under a mask
_LARGE = 400  # work from which on one vector at a time keeps the machine busy


class Plan(NamedTuple):
    """How to render a vector loop.

    lanes: of one register; unroll: registers at a time; masked: the rest is done under a mask, not one by one;
    faithful: something depends on what lanes beyond the end hold; joined: one copy of the body does whole vectors and
    the rest, with two forms of its loads and stores: of a large body, half the time to compile it; pieces: the rest, if
    known, is done as 4 + 2 + 1 lanes, say: no masks (with AVX2 alone a masked store takes up to 15 cycles).
    """

    lanes: int
    unroll: int
    masked: bool
    faithful: bool
    joined: bool
    pieces: bool


def plan(loop: Loop, vector_bytes: int, trips: int | None) -> Plan:
    """Decide by the types and the size of the loop's body, and by its number of iterations if that is known."""
    varying, sizes, work = {loop.var}, Counter[int](), 0
    loaded: set[Value] = set()  # what depends on memory, lane by lane
    sums = faithful = stored = False
    simple = trips is None and not any(isinstance(s, Loop | Branch) for s in loop.body.statements)
    for s in statements(loop.body):
        if isinstance(s, Value):
            inner = s.op == "read"
            if not inner and not any(a in varying for a in s.args):
                simple = False  # read from what the loop may write
                continue
            varying.add(s)
            if inner or s.op == "load" or any(a in loaded for a in s.args):
                loaded.add(s)
            faithful |= s.op in ("quot", "rest") or (s.op == "load" and any(a in loaded for a in s.args[:2]))
            if s.op == "load":
                near = len(s.args) == 1 and neighbours(s.args[0], loop.var, varying)
                simple &= near and not (stored and s.payload.mode != "in")
                work += 1 if near else 8
            else:
                work += _MATH_WORK if s.op in MATH else 1
            if s.type in FLOATS or (s.op == "load" and s.type != "bool"):
                sizes[size_of(s.type)] += 1
        elif isinstance(s, Store):
            near = s.mask is None and neighbours(s.index, loop.var, varying)
            stored = True
            simple &= near
            sizes[size_of(s.buffer.type)] += 1
            faithful |= s.mask is not None or s.index in loaded or s.index not in varying
            work += 1 if near else 8
        elif isinstance(s, Update):
            sizes[size_of(s.accumulator.type)] += 1
            sums = True
        elif isinstance(s, Loop | Branch):
            work += 8
        elif isinstance(s, Check):
            faithful = True
    common = [size for size in sizes if size >= 4] or list(sizes) or [4]
    size = max(common, key=lambda size: (sizes[size], -size))
    lanes = vector_bytes // size
    while trips is not None and lanes >= 2 * max(1, trips):
        lanes //= 2
    lanes = max(lanes, 2)
    masked = lanes <= 16 and vector_bytes >= 32 and size >= 4
    joined = masked and simple and work >= _JOIN
    unroll = 4 if sums and work <= 8 else 2 if work <= 32 or (joined and work <= _LARGE and min(sizes) >= 4) else 1
    unroll = loop.unroll or unroll
    while trips is not None and unroll > 1 and lanes * unroll > trips:
        unroll //= 2
    return Plan(lanes, unroll, masked, faithful, joined, work <= _PIECES and vector_bytes < 64)


def neighbours(index: Value, var: Value, varying: set[Value]) -> bool:
    """Whether the lanes of a loop over `var` find neighbours at this index."""
    if index.op == "add":
        a, b = index.args
        return (a not in varying and neighbours(b, var, varying)) or (b not in varying and neighbours(a, var, varying))
    if index.op == "sub":
        return index.args[1] not in varying and neighbours(index.args[0], var, varying)
    return index is var


def values(block: Block) -> Iterator[Value]:
    """All values in the order of the kernel's text."""
    for s in statements(block):
        if isinstance(s, Value):
            yield s
        elif isinstance(s, Loop):
            yield s.var


def leaves(body: Block) -> bool:
    """Whether the body of a loop may leave it."""
    branches = [s for s in body.statements if isinstance(s, Branch)]
    return any(isinstance(s, Leave) for s in body.statements) or any(
        leaves(side) for s in branches for side in (s.body, s.other)
    )


def changed(blocks: Sequence[Block], present: dict[Any, Any]) -> list[Accumulator | Variable]:
    """Which of the present accumulators and variables the statements of some blocks change."""
    found: dict[Accumulator | Variable, None] = {}
    for block in blocks:
        for s in statements(block):
            source = s.accumulator if isinstance(s, Update) else s.variable if isinstance(s, Assign) else None
            if source is not None and source in present:
                found[source] = None
    return list(found)
