"""Loops that vmap made of loops, as what one lane does: see `lane_programs`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..core.ir import Eqn, Jaxpr, Literal, Var
from ..regions.loop import Sweep
from .elements import Decline
from .lane_programs import Axis, narrow_type, narrowed
from .small_programs import flat

FEW = 8  # fewest lanes that are worth a vector


class Form(NamedTuple):
    """How a loop is computed: `eqn` is the loop `wide`, or what one of its lanes does.

    sources: of each operand of `eqn` the number of that of `wide`, and the axis along which lanes lie in it; outputs:
    that axis in the outputs. lanes: how many there are; 0: no lanes.
    """

    wide: Eqn
    eqn: Eqn
    sources: list[tuple[int, Axis]]
    outputs: list[Axis]
    lanes: int

    @property
    def count(self) -> int:
        """How many operands the loop has; its outputs are numbered from there."""
        return len(self.wide.inputs)


def plain(e: Eqn) -> Form:
    """A loop as it is."""
    return Form(e, e, [(i, None) for i in range(len(e.inputs))], [None] * len(e.outputs), 0)


def in_lanes(e: Eqn) -> Form | None:
    """A loop in lanes, if it does the same in each of them without looking at others."""
    try:
        if e.primitive.name == "scan":
            return scan_in_lanes(e)
        if e.primitive.name == "while_loop" and len(e.params["sweeps"]) == 1:
            return while_in_lanes(e)
    except Decline:
        pass
    return None


def lanes_of(body: Jaxpr) -> tuple[int, list[Axis]]:
    """How many lanes there seem to be, and along which axis they lie in each output of a body: the first, or none."""
    sizes = Counter[int]()
    for t in body.out_types:
        if t.ndim:
            sizes[t.shape[0]] += t.size
    lanes = max(sizes, key=lambda n: sizes[n], default=0)
    if lanes < FEW:
        raise Decline("it has few lanes")
    return lanes, [0 if t.ndim and t.shape[0] == lanes else None for t in body.out_types]


def behind(axis: Axis) -> Axis:
    """The axis of a slice in the whole array."""
    return None if axis is None else axis + 1


def renewed(e: Eqn, sources: Sequence[tuple[int, Axis]], outputs: Sequence[Axis], params: dict[str, Any]) -> Eqn:
    """The equation of one lane."""
    inputs = [
        e.inputs[n] if type(e.inputs[n]) is Literal else Var(narrow_type(e.inputs[n].type, axis)) for n, axis in sources
    ]
    outs = [Var(narrow_type(v.type, axis)) for v, axis in zip(e.outputs, outputs, strict=True)]
    return Eqn(e.primitive, inputs, params, outs, e.origin)


def scan_in_lanes(e: Eqn) -> Form:
    p = e.params
    consts, split = p["consts"], p["consts"] + p["carry"]
    body = flat(p["jaxpr"])
    lanes, axes = lanes_of(body)
    narrow = narrowed(body, axes, {consts + i: axes[i] for i in range(p["carry"])})
    sources = [(n, axis if n < split else behind(axis)) for n, axis in narrow.inputs]
    outputs = [axis if i < p["carry"] else behind(axis) for i, axis in enumerate(axes)]
    params = {**p, "jaxpr": narrow.jaxpr, "consts": sum(n < consts for n, _ in sources)}
    return Form(e, renewed(e, sources, outputs, params), sources, outputs, lanes)


def while_in_lanes(e: Eqn) -> Form:
    p, (sweep,) = e.params, e.params["sweeps"]
    first, consts = p["consts"], sweep.consts
    body = flat(sweep.jaxpr)
    body = Jaxpr(body.inputs, body.eqns, body.outputs[: sweep.carry], (), body.sites)  # nobody reads what it pushes
    lanes, axes = lanes_of(body)
    narrow = narrowed(body, axes, {consts + i: axis for i, axis in enumerate(axes)})
    condition = narrowed(flat(p["cond"]), [None], {first + i: axis for i, axis in enumerate(axes)})
    same = [(n, axis) for n, axis in condition.inputs if n < first]
    sources = [*same, *[(first + n, axis) for n, axis in narrow.inputs]]
    new = Sweep(narrow.jaxpr, sum(n < consts for n, _ in narrow.inputs), sweep.carry, ())
    params = {"cond": condition.jaxpr, "consts": len(same), "sweeps": (new,)}
    return Form(e, renewed(e, sources, axes, params), sources, axes, lanes)
