"""Programs of many lanes as programs of one: what vmap made of a loop's body is the body again, for each lane.

    a:float64[256,3] -> b = mul a a, c = reduce_sum[axes=(1,)] b        an array with 256 lanes along its axis 0
    a:float64[1,3] -> b = mul a a, c = reduce_sum[axes=(1,)] b          the same for one of them

Each variable is asked for with the axis along which lanes lie in it, or with none, where it is the same for all lanes;
a rule says what an equation must be asked for then. What mixes lanes has no rule: `Decline`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..core.ir import Eqn, Jaxpr, Literal, Var
from ..core.primitive import registry
from ..core.types import ShapedArray, shaped
from .element_index import WRITES
from .elements import Decline
from .scalar_rules import REDUCTIONS, RULES

Axis = int | None


class Demand(NamedTuple):
    """An equation for one lane: its operands and the axes of lanes in them, its params, equations that go before."""

    inputs: Sequence[Any]
    axes: Sequence[Axis]
    params: dict[str, Any]
    before: Sequence[Eqn] = ()


class Narrow(NamedTuple):
    """The program of one lane. inputs: of each of its inputs the number in the wide program, and the axis of lanes."""

    jaxpr: Jaxpr
    inputs: list[tuple[int, Axis]]


def narrow_type(t: ShapedArray, axis: Axis) -> ShapedArray:
    """The type of one lane, which keeps the axis."""
    return t if axis is None else shaped(one_at(t.shape, axis), t.dtype)


def one_at(shape: Sequence[int], axis: int) -> tuple[int, ...]:
    """A shape of size 1 along an axis."""
    return (*shape[:axis], 1, *shape[axis + 1 :])


def narrowed(jaxpr: Jaxpr, outputs: Sequence[Axis], fixed: dict[int, Axis]) -> Narrow:
    """The program of one lane that gives outputs with lanes along these axes.

    fixed: the axes of inputs that are there whether they are read or not. Other inputs may come with several axes.
    """
    defs = {v: e for e in jaxpr.eqns for v in e.outputs}
    asked: dict[Var, dict[Axis, Demand | None]] = {v: {} for v in jaxpr.inputs}

    def ask(a: Any, axis: Axis) -> None:
        if axis is not None and not a.type.ndim:
            raise Decline("a scalar has no lanes")
        if type(a) is Var:
            asked.setdefault(a, {}).setdefault(axis, None)

    for a, axis in zip(jaxpr.outputs, outputs, strict=True):
        ask(a, axis)
    for e in reversed(jaxpr.eqns):
        for v in e.outputs:
            for axis in asked.get(v, {}):
                demand = Demand(e.inputs, [None] * len(e.inputs), e.params) if axis is None else rule(e, axis, defs)
                asked[v][axis] = demand
                for a, other in zip(demand.inputs, demand.axes, strict=True):
                    ask(a, other)
    env: dict[tuple[Any, Axis], Var] = {}
    inputs: list[tuple[int, Axis]] = []
    for n, v in enumerate(jaxpr.inputs):
        if n in fixed and any(axis != fixed[n] for axis in asked[v]):
            raise Decline("it mixes lanes of what it carries")
        for axis in [fixed[n]] if n in fixed else asked[v]:
            env[v, axis] = Var(narrow_type(v.type, axis))
            inputs.append((n, axis))
    eqns: list[Eqn] = []
    for e in jaxpr.eqns:
        wanted = {axis: demand for v in e.outputs for axis, demand in asked.get(v, {}).items()}
        for axis, found in wanted.items():
            assert found is not None
            args = [env.get((a, other), a) for a, other in zip(found.inputs, found.axes, strict=True)]
            outs = [Var(narrow_type(v.type, axis)) for v in e.outputs]
            env.update(((v, axis), new) for v, new in zip(e.outputs, outs, strict=True))
            eqns += [*found.before, Eqn(e.primitive, args, found.params, outs, e.origin)]
    results = [env.get((a, axis), a) for a, axis in zip(jaxpr.outputs, outputs, strict=True)]
    return Narrow(Jaxpr([env[jaxpr.inputs[n], axis] for n, axis in inputs], eqns, results, (), jaxpr.sites), inputs)


# ---------------------------------------------------------------------------------------------------------------- rules


def rule(e: Eqn, axis: int, defs: dict[Var, Eqn]) -> Demand:
    """What an equation must be asked for to give lanes along an axis."""
    name = e.primitive.name
    if name in RULES and name != "threefry2x32":
        return Demand(e.inputs, [axis] * len(e.inputs), e.params)
    if name in REDUCTIONS:
        return Demand(
            e.inputs, [[a for a in range(e.inputs[0].type.ndim) if a not in e.params["axes"]][axis]], e.params
        )
    found = TABLE.get("scatter" if name.startswith("scatter") else name)
    demand = None if found is None else found(e, axis, defs)
    if demand is None:
        raise Decline(f"{name} mixes lanes")
    return demand


def broadcast_in_dim(e: Eqn, axis: int, defs: Any) -> Demand:
    (x,), dims = e.inputs, e.params["dims"]
    own = dims.index(axis) if axis in dims and x.type.shape[dims.index(axis)] != 1 else None
    return Demand(e.inputs, [own], {**e.params, "shape": one_at(e.params["shape"], axis)})


def reshape(e: Eqn, axis: int, defs: Any) -> Demand | None:
    old, new = e.inputs[0].type.shape, e.params["shape"]
    for a, n in enumerate(old):
        if n == new[axis] and prod(old[:a]) == prod(new[:axis]):
            return Demand(e.inputs, [a], {"shape": one_at(new, axis)})
    return None


def transpose(e: Eqn, axis: int, defs: Any) -> Demand:
    return Demand(e.inputs, [e.params["axes"][axis]], e.params)


def rev(e: Eqn, axis: int, defs: Any) -> Demand | None:
    return None if axis in e.params["axes"] else Demand(e.inputs, [axis], e.params)


def pad(e: Eqn, axis: int, defs: Any) -> Demand | None:
    if any(e.params[name][axis] for name in ("low", "high", "interior")):
        return None
    return Demand(e.inputs, [axis, None], e.params)


def along(e: Eqn, axis: int, defs: Any) -> Demand | None:
    """concatenate, and running reductions."""
    return None if e.params["axis"] == axis else Demand(e.inputs, [axis] * len(e.inputs), e.params)


def arg_extreme(e: Eqn, axis: int, defs: Any) -> Demand:
    return Demand(e.inputs, [axis + (axis >= e.params["axis"])], e.params)


def iota(e: Eqn, axis: int, defs: Any) -> Demand | None:
    return None if e.params["axis"] == axis else Demand([], [], {**e.params, "shape": one_at(e.params["shape"], axis)})


def dot_general(e: Eqn, axis: int, defs: Any) -> Demand:
    x, w = e.inputs[:2]
    (xc, wc), (xb, wb) = e.params["contract"], e.params["batch"]
    xf = [a for a in range(x.type.ndim) if a not in (*xc, *xb)]
    wf = [a for a in range(w.type.ndim) if a not in (*wc, *wb)]
    if axis < len(xb):
        return Demand(e.inputs, [xb[axis], wb[axis]], e.params)
    place = axis - len(xb)
    return Demand(e.inputs, [xf[place], None] if place < len(xf) else [None, wf[place - len(xf)]], e.params)


def window(e: Eqn, axis: int, defs: Any) -> Demand | None:
    """dynamic_slice and its updates, of all lanes."""
    update = e.primitive.name in WRITES
    shape = e.inputs[1].type.shape if update else e.params["sizes"]
    if shape[axis] != e.inputs[0].type.shape[axis] or e.params["strides"][axis] != 1:
        return None
    count = 2 if update else 1
    inputs = list(e.inputs)
    inputs[count + axis] = Literal(np.int64(0))
    params = e.params if update else {**e.params, "sizes": one_at(shape, axis)}
    return Demand(inputs, [*[axis] * count, *[None] * (len(inputs) - count)], params)


def lane_number(e: Eqn, at: int, axis: int, defs: dict[Var, Eqn]) -> tuple[Var, Eqn] | None:
    """If an operand is the number of the lane along an axis: what it is for one lane, and the equation of that."""
    made = defs.get(e.inputs[at])
    if made is None or made.primitive.name != "iota" or made.params["axis"] != axis:
        return None
    params = {**made.params, "shape": one_at(made.params["shape"], axis)}
    v = Var(narrow_type(made.outputs[0].type, axis))
    return v, Eqn(registry.iota, [], params, [v])


def gather(e: Eqn, axis: int, defs: dict[Var, Eqn]) -> Demand | None:
    x, *indices = e.inputs
    axes, lead = e.params["axes"], indices[0].type.ndim if indices else 0
    if axis >= lead:
        rest = [a for a in range(x.type.ndim) if a not in axes]
        return Demand(e.inputs, [rest[axis - lead], *[None] * len(indices)], e.params)
    for n, a in enumerate(axes):  # each lane reads in its own part of x
        found = lane_number(e, 1 + n, axis, defs)
        if found is not None and x.type.shape[a] == e.outputs[0].type.shape[axis]:
            inputs = [found[0] if i == n + 1 else v for i, v in enumerate(e.inputs)]
            own = [a, *[None if i == n else axis for i in range(len(indices))]]
            return Demand(inputs, own, e.params, [found[1]])
    return Demand(e.inputs, [None, *[axis] * len(indices)], e.params)


def scatter(e: Eqn, axis: int, defs: dict[Var, Eqn]) -> Demand | None:
    x, _, *indices = e.inputs
    axes, lead = e.params["axes"], indices[0].type.ndim if indices else 0
    if axis not in axes:
        rest = [a for a in range(x.type.ndim) if a not in axes]
        return Demand(e.inputs, [axis, lead + rest.index(axis), *[None] * len(indices)], e.params)
    n = axes.index(axis)
    for place in range(lead):
        found = lane_number(e, 2 + n, place, defs)
        if found is not None and x.type.shape[axis] == indices[n].type.shape[place]:
            inputs = [found[0] if i == n + 2 else v for i, v in enumerate(e.inputs)]
            own = [axis, place, *[None if i == n else place for i in range(len(indices))]]
            return Demand(inputs, own, e.params, [found[1]])
    return None


TABLE: dict[str, Callable[[Eqn, int, dict[Var, Eqn]], Demand | None]] = {
    "broadcast_in_dim": broadcast_in_dim,
    "reshape": reshape,
    "transpose": transpose,
    "rev": rev,
    "pad": pad,
    "concatenate": along,
    **dict.fromkeys(["cumsum", "cumprod", "cummax", "cummin"], along),
    **dict.fromkeys(["argmax", "argmin"], arg_extreme),
    "iota": iota,
    "dot_general": dot_general,
    **dict.fromkeys(["dynamic_slice", "dynamic_update_slice", "dynamic_add_slice"], window),
    "gather": gather,
    "scatter": scatter,
}
