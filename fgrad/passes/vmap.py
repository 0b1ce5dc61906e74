"""vmap: a trace whose tracers hold arrays with one more axis in front. What is not mapped is not traced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core.builder import located, trace, trace_internal
from ..core.calls import Call
from ..core.handles import argument, untouched
from ..core.ir import Jaxpr, Literal
from ..core.primitive import space
from ..core.trace import Trace, Tracer, apply, apply_equation
from ..core.types import ShapedArray, aval_of, shaped


class Batch(Trace):
    """Adds an axis of `size` lanes to what runs on its tracers; `axis_name` is kept for collectives."""

    name = "vmap"

    def __init__(self, size: int, axis_name: Any = None):
        super().__init__()
        self.size = size
        self.axis_name = axis_name

    def input(self, x: Any, aval: ShapedArray) -> Tracer:
        """A tracer of one lane's type; `x` has the mapped axis in front."""
        return argument(Tracer(self, aval, x))

    def apply(self, call: Call, xs: Sequence[Any]) -> Any:
        mask, values = 0, []
        for i, x in enumerate(xs):
            if type(x) is Tracer and x.owner is self:
                mask |= 1 << i
                values.append(x.value)
            else:
                values.append(x)
        if call.primitive is not None and call.primitive.region:
            mapped = [bool(mask >> i & 1) for i in range(len(xs))]
            outs, out_mapped = call.primitive.batch(self.size, mapped, *values, **call.params)
        else:
            batched, out_mapped = batched_call(call, mask, self.size)
            outs = apply(batched, values)
        sigs = [aval_of(s) for s in call.out_sigs]
        wrapped = [Tracer(self, s, y) if m else untouched(y) for y, m, s in zip(outs, out_mapped, sigs, strict=True)]
        return wrapped[0] if call.single else tuple(wrapped)


def batched_call(call: Call, mask: int, size: int) -> tuple[Call, tuple[bool, ...]]:
    """The Call on operands of which those with set bits are mapped, and which outputs are mapped."""
    key = ("batch", mask, size)
    found = call.derived.get(key)
    if found is None:
        mapped = [bool(mask >> i & 1) for i in range(len(call.sigs))]
        sigs = [_with_axis(aval_of(s), size) if m else s for s, m in zip(call.sigs, mapped, strict=True)]
        out_mapped: list[bool] = []

        def program(*xs: Any) -> list[Any]:
            outs, out_mapped[:] = batch_equations(call.jaxpr, xs, mapped, size)
            return outs

        jaxpr, outs = trace_internal(program, sigs)
        new = Call(f"{call.name}_batched", sigs, outs, jaxpr=jaxpr, single=False)
        found = call.derived[key] = (new, tuple(out_mapped))
    return found


def _with_axis(t: ShapedArray, size: int) -> ShapedArray:
    return shaped((size, *t.shape), t.dtype)


def batch_equations(jaxpr: Jaxpr, xs: Sequence[Any], mapped: Sequence[bool], size: int) -> tuple[list[Any], list[bool]]:
    """Outputs of a program and which are mapped, equation by equation through the batch rules."""
    consts = len(jaxpr.consts)
    env: dict[Any, tuple[Any, bool]] = {v: (c, False) for v, c in zip(jaxpr.inputs, jaxpr.consts, strict=False)}
    env.update(zip(jaxpr.inputs[consts:], zip(xs, mapped, strict=True), strict=True))
    with located() as at:
        for e in jaxpr.eqns:
            at(jaxpr, e)
            pairs = [(a.value, False) if type(a) is Literal else env[a] for a in e.inputs]
            values, flags = [x for x, _ in pairs], [m for _, m in pairs]
            if any(flags):
                outs, marks = e.primitive.batch(size, flags, *values, **e.params)
            else:
                out = apply_equation(e, values)
                outs, marks = ([out] if len(e.outputs) == 1 else out), [False] * len(e.outputs)
            env.update(zip(e.outputs, zip(outs, marks, strict=True), strict=True))
    results = [(a.value, False) if type(a) is Literal else env[a] for a in jaxpr.outputs]
    return [x for x, _ in results], [m for _, m in results]


def spread(size: int, x: Any, t: ShapedArray) -> Any:
    """`x` of one lane's type, repeated for all lanes: an equation while a program is built."""
    return space.repeat(size, x, t)


def batch_program(
    jaxpr: Jaxpr, mapped: Sequence[bool], size: int, force: Sequence[bool] | bool = False
) -> tuple[Jaxpr, tuple[bool, ...]]:
    """A closed program on operands with a mapped axis in front, and which outputs are mapped.

    `force`: outputs that are to be mapped in any case.
    """
    out_mapped: tuple[bool, ...] = ()

    def program(*xs: Any) -> list[Any]:
        nonlocal out_mapped
        outs, marks = batch_equations(jaxpr, xs, mapped, size)
        forced = [force] * len(outs) if isinstance(force, bool) else force
        types = jaxpr.out_types
        outs = [spread(size, y, t) if f and not m else y for y, m, f, t in zip(outs, marks, forced, types, strict=True)]
        out_mapped = tuple(m or f for m, f in zip(marks, forced, strict=True))
        return outs

    types = [_with_axis(v.type, size) if m else v.type for v, m in zip(jaxpr.inputs, mapped, strict=True)]
    found, _ = trace(program, types, "vmap", sites=False)
    return found, out_mapped
