"""Scans whose runs treat the rows of a batch apart are cut in blocks of rows, which threads take as a whole.

    h:float32[32,64] hs:float32[100,32,64] = scan[...] w h0 xs               # h @ w + x in each run

becomes, with a body for 8 rows,

    h:float32[32,64] hs:float32[100,32,64] = scan[... blocks=4 cut=...] w h0 xs

of which block number 2 works on the rows from 16 to 24 of h0, of h, and of each slice of xs and hs: that is contiguous
memory, so nothing is copied. A thread runs the whole loop for its rows; no run waits for the others. A carry to which
each run adds a sum over the rows becomes one for each block, which are added behind the loop:

    d:float32[4,64] = scan[...] ...                                          # began as zeros
    total:float32[64] = reduce_sum[axes=(0,)] d
    sum:float32[64] = add sum0 total

Blocks depend on shapes alone, and so do the bits of results.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import prod
from typing import Any

from ..core.ir import Eqn, Jaxpr, Literal, Var
from ..core.primitive import registry as p
from ..core.types import shaped
from ..regions.call import memo
from .scalar_rules import RULES

LEAST, MOST = 8, 16  # rows of a block: products of so few are done by kernels that read a matrix where it is
NEAR = 1 << 20  # bytes of the matrices that all runs read: each thread has them in its second-level cache
WORTH = 100_000  # nanoseconds from which on a loop is cut
FLOP, ELEMENT = 0.01, 0.2  # nanoseconds of an operation in a product, and of an element of another result, in float32
TOTAL = -1  # in place of an axis: the sum over the rows is wanted


class Together(Exception):
    """The rows cannot be treated apart."""


def with_blocks_of_rows(jaxpr: Jaxpr) -> Jaxpr:
    """The program with its scans cut where that is possible and worth it."""
    if not any(e.primitive is p.scan for e in jaxpr.eqns):
        return jaxpr
    eqns: list[Eqn] = []
    for e in jaxpr.eqns:
        rows = rows_of(e) if e.primitive is p.scan else None
        eqns += [e] if rows is None else rows.equations(e)
    return Jaxpr(jaxpr.inputs, eqns, jaxpr.outputs, jaxpr.consts, jaxpr.sites)


def rows_of(e: Eqn) -> Rows | None:
    """How a scan is cut, if it is."""
    body, consts, carry, length = (e.params[k] for k in ("jaxpr", "consts", "carry", "length"))
    size = next((v.type.shape[0] for v in body.inputs[consts : consts + carry] if v.type.ndim > 1), 0)
    blocks = blocks_of(size)
    if blocks < 2 or body.effects or length * cost(body) < WORTH or "blocks" in e.params:
        return None

    def make() -> Rows | None:
        try:
            return Rows(body, consts, carry, size, blocks)
        except Together:
            return None

    return memo(body, ("rows", consts, carry, size), make)  # type: ignore[no-any-return]


def blocks_of(size: int) -> int:
    """Into how many equal blocks so many rows are cut: an even number, if possible, of few rows each.

    >>> [blocks_of(n) for n in (16, 24, 32, 40, 72, 31)]
    [2, 2, 4, 4, 6, 0]
    """
    found = [size // rows for rows in range(LEAST, MOST + 1) if size % rows == 0 and size >= 2 * rows]
    return min(found, key=lambda blocks: (blocks % 2, -blocks), default=0)


def cost(body: Jaxpr) -> float:
    """Nanoseconds of a run, roughly; nothing for a body without products."""
    total, products = 0.0, 0
    for e in body.eqns:
        for v in e.outputs:
            work = ELEMENT * v.type.size
            if e.primitive is p.dot_general:
                products += 1
                terms = prod(e.inputs[0].type.shape[a] for a in e.params["contract"][0])
                work = FLOP * 2 * terms * v.type.size
            total += work * v.type.dtype.itemsize / 4
    return total if products else 0.0


class Rows:
    """The body of a scan for the rows of one block.

    `axes`: of each variable, the axis that its rows are along; None: it is the same for all rows; TOTAL: of its values
    for the rows the sum is wanted. `cut`: which inputs of the body have rows, of constants those in front.
    """

    def __init__(self, body: Jaxpr, consts: int, carry: int, size: int, blocks: int):
        self.size, self.blocks, self.carry = size, blocks, carry
        self.inputs, self.first = body.inputs, body.inputs[consts : consts + carry]
        self.wanted: dict[Any, int] = {v: 0 for v in body.inputs[consts:] if v.type.shape[:1] == (size,)}
        uses: Counter[Any] = Counter(a for e in body.eqns for a in e.inputs)
        uses.update(body.outputs)
        defs = {v: e for e in body.eqns for v in e.outputs}
        self.sums: dict[Eqn, tuple[Var, Any]] = {}  # what adds to a carry: the carry, and what is added
        for v, out in zip(self.first, body.outputs, strict=False):
            e = defs.get(out)
            once = uses[v] == uses[out] == 1 and out.type.dtype.kind != "b"
            if e is not None and e.primitive is p.add and v in e.inputs and once:
                self.sums[e] = v, e.inputs[1 - e.inputs.index(v)]
        for v, _ in self.sums.values():
            self.wanted.pop(v, None)
        while True:
            before = dict(self.wanted)
            self.axes = {v: self.wanted.get(v) for v in body.inputs}
            for e in body.eqns:
                self.visit(e)
            for n, out in enumerate(body.outputs):
                self.returned(out, None if n >= carry else self.first[n])
            if self.wanted == before:
                break
        near = sum(v.type.size * v.type.dtype.itemsize for v in body.inputs[:consts] if self.axes[v] is None)
        if near > NEAR or not any(e.primitive is p.dot_general and self.axes[e.outputs[0]] == 0 for e in body.eqns):
            raise Together
        self.cut = tuple(v in self.first or self.axes[v] is not None for v in body.inputs)
        self.body = self.narrow(body)

    # ---------------------------------------------------------------------------------------------- where the rows are

    def visit(self, e: Eqn) -> None:
        """Find the rows of what an equation gives."""
        if e in self.sums:
            v, term = self.sums[e]
            axis = self.axis(term)
            if axis is None or axis == TOTAL:
                self.axes[v] = self.axes[e.outputs[0]] = axis
            elif v.type.shape[:1] == (self.size,) and axis == 0:
                self.wanted[v] = self.axes[v] = self.axes[e.outputs[0]] = 0
            else:
                raise Together
            return
        axes = [self.axis(a) for a in e.inputs]
        name = e.primitive.name
        rule = getattr(self, name, self.elementwise if name in RULES else None)
        given = [self.wanted[v] for v in e.outputs if v in self.wanted]
        if any(a is not None for a in axes) or given:
            if rule is None or (TOTAL in axes and name not in ("transpose", "reshape")):
                raise Together
            axis = rule(e, axes, given[0] if given else None)
            if any(axis != g for g in given):
                raise Together
            self.axes.update(dict.fromkeys(e.outputs, axis))
        else:
            self.axes.update(dict.fromkeys(e.outputs))

    def axis(self, a: Any) -> int | None:
        return None if type(a) is Literal else self.axes[a]

    def want(self, a: Any, axis: int) -> None:
        """Let a variable that is the same for all rows have rows along an axis."""
        if type(a) is Literal or a.type.shape[axis] != self.size or self.wanted.get(a, axis) != axis:
            raise Together
        if a in self.first or (axis and a in self.inputs):
            raise Together
        self.wanted[a] = axis

    def returned(self, out: Any, v: Any) -> None:
        """Check an output: a slice has rows in front, a carry (v) is as it was."""
        axis, before = self.axis(out), 0 if v is None else self.axes[v]
        if axis is None and before == 0:
            self.want(out, 0)
        elif axis != before or (axis not in (None, TOTAL) and out.type.shape[0] != self.size):
            raise Together

    # ---------------------------------------------------------------------- by primitive: the axis that rows are along

    def elementwise(self, e: Eqn, axes: Sequence[int | None], given: int | None) -> int | None:
        axis = next((a for a in axes if a is not None), given)
        for a, x in zip(e.inputs, axes, strict=True):
            if a.type.shape != e.outputs[0].type.shape or x not in (None, axis):
                raise Together
            if x is None:
                self.want(a, axis)  # type: ignore[arg-type]
        return axis

    def broadcast_in_dim(self, e: Eqn, axes: Sequence[int | None], given: int | None) -> int | None:
        dims = e.params["dims"]
        if axes[0] is not None:
            return dims[axes[0]]  # type: ignore[no-any-return]
        if given in dims:
            place = dims.index(given)
            if e.inputs[0].type.shape[place] != 1:
                self.want(e.inputs[0], place)
        return given

    def transpose(self, e: Eqn, axes: Sequence[int | None], given: int | None) -> int | None:
        if axes[0] is None:
            self.want(e.inputs[0], e.params["axes"][given])
            return given
        return TOTAL if axes[0] == TOTAL else e.params["axes"].index(axes[0])  # type: ignore[no-any-return]

    def reshape(self, e: Eqn, axes: Sequence[int | None], given: int | None) -> int | None:
        if axes[0] in (None, TOTAL):
            if axes[0] is None:
                raise Together
            return TOTAL
        before, after = e.inputs[0].type.shape, e.outputs[0].type.shape
        for axis, n in enumerate(after):
            if n == self.size and prod(after[:axis]) == prod(before[: axes[0]]):
                return axis
        raise Together

    def reduce(self, e: Eqn, axes: Sequence[int | None], given: int | None) -> int | None:
        if axes[0] is None:
            raise Together
        if axes[0] in e.params["axes"]:
            if e.primitive is not p.reduce_sum:
                raise Together
            return TOTAL
        return axes[0] - sum(a < axes[0] for a in e.params["axes"])

    reduce_sum = reduce_max = reduce_min = reduce_prod = reduce_and = reduce_or = reduce

    def dynamic_slice(self, e: Eqn, axes: Sequence[int | None], given: int | None) -> int | None:
        axis = axes[0]
        if axis is None or any(a is not None for a in axes[1:]):
            raise Together
        if e.params["sizes"][axis] != self.size:
            raise Together
        return axis

    def update(self, e: Eqn, axes: Sequence[int | None], given: int | None) -> int | None:
        axis = next((a for a in axes[:2] if a is not None), given)
        if axis is None or any(a is not None for a in axes[2:]):
            raise Together
        for a, x in zip(e.inputs[:2], axes, strict=False):
            if x not in (None, axis) or a.type.shape[axis] != self.size:
                raise Together
            if x is None:
                self.want(a, axis)
        return axis

    dynamic_update_slice = dynamic_add_slice = update

    def concatenate(self, e: Eqn, axes: Sequence[int | None], given: int | None) -> int | None:
        axis = next((a for a in axes if a is not None), given)
        if axis == e.params["axis"]:
            raise Together
        for a, x in zip(e.inputs, axes, strict=True):
            if x not in (None, axis):
                raise Together
            if x is None:
                self.want(a, axis)  # type: ignore[arg-type]
        return axis

    def dot_general(self, e: Eqn, axes: Sequence[int | None], given: int | None) -> int | None:
        contract, batch = e.params["contract"], e.params["batch"]
        if all(a is not None for a in axes):
            pair = tuple(axes)
            if pair in zip(*contract, strict=True):
                return TOTAL
            if pair in zip(*batch, strict=True):
                return batch[0].index(axes[0])  # type: ignore[no-any-return]
            raise Together
        side = 0 if axes[0] is not None else 1
        axis, other = axes[side], e.inputs[1 - side]
        if axis is None:
            raise Together
        if axis in batch[side]:
            place: int = batch[side].index(axis)
            self.want(other, batch[1 - side][place])
            return place
        if axis in contract[side] or (side == 0 and contract[1] == (other.type.ndim - 1,)):
            raise Together  # products with a transposed matrix are better done for all rows at once
        free = [
            [a for a in range(x.type.ndim) if a not in (*c, *b)]
            for x, c, b in zip(e.inputs, contract, batch, strict=True)
        ]
        return len(batch[0]) + side * len(free[0]) + free[side].index(axis)

    # ---------------------------------------------------------------------------------------------------------- results

    def narrow(self, body: Jaxpr) -> Jaxpr:
        """The body for the rows of a block."""
        rows = self.size // self.blocks
        env: dict[Any, Var] = {}

        def narrower(v: Var) -> Var:
            axis = self.axes[v]
            if v not in env:
                shape = v.type.shape
                if axis is not None and axis != TOTAL:
                    shape = (*shape[:axis], rows, *shape[axis + 1 :])
                env[v] = Var(shaped(shape, v.type.dtype))
            return env[v]

        inputs = [narrower(v) for v in body.inputs]
        eqns = []
        for e in body.eqns:
            params = dict(e.params)
            outs = [narrower(v) for v in e.outputs]
            if "shape" in params:
                params["shape"] = outs[0].type.shape
            if e.primitive is p.dynamic_slice:
                params["sizes"] = outs[0].type.shape
            eqns.append(Eqn(e.primitive, [env[a] if type(a) is Var else a for a in e.inputs], params, outs, e.origin))
        return Jaxpr(inputs, eqns, [env[a] if type(a) is Var else a for a in body.outputs], (), body.sites)

    def equations(self, e: Eqn) -> list[Eqn]:
        """What a scan with this body becomes."""
        consts = e.params["consts"]
        inputs, outputs = list(e.inputs), list(e.outputs)
        ahead: list[Eqn] = []
        behind: list[Eqn] = []
        for n, v in enumerate(self.first):
            if self.axes[v] is not None and self.axes[v] != TOTAL:
                continue
            t = v.type
            each = shaped((self.blocks, *t.shape), t.dtype)
            start, last = Var(each), outputs[n]
            out = Var(each)
            if self.axes[v] == TOTAL:
                ahead.append(
                    Eqn(
                        p.broadcast_in_dim,
                        [Literal(0, shaped((), t.dtype))],
                        {"shape": each.shape, "dims": ()},
                        [start],
                    )
                )
                total = Var(t)
                behind.append(Eqn(p.reduce_sum, [out], {"axes": (0,)}, [total], e.origin))
                behind.append(Eqn(p.add, [inputs[consts + n], total], {}, [last], e.origin))
            else:
                dims = tuple(range(1, each.ndim))
                ahead.append(
                    Eqn(p.broadcast_in_dim, [inputs[consts + n]], {"shape": each.shape, "dims": dims}, [start])
                )
                one = Var(shaped((1, *t.shape), t.dtype))
                zero = Literal(0, shaped((), "int64"))
                sizes = {"sizes": one.type.shape, "strides": (1,) * each.ndim}
                behind.append(Eqn(p.dynamic_slice, [out, *[zero] * each.ndim], sizes, [one], e.origin))
                behind.append(Eqn(p.reshape, [one], {"shape": t.shape}, [last], e.origin))
            inputs[consts + n], outputs[n] = start, out
        params = {**e.params, "jaxpr": self.body, "blocks": self.blocks, "cut": self.cut}
        return [*ahead, Eqn(e.primitive, inputs, params, outputs, e.origin), *behind]
