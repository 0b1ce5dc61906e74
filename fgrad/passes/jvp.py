"""jvp: a trace whose tracers carry a tangent beside the value. Forward mode needs no memory of the past."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.builder import trace
from ..core.calls import Call
from ..core.handles import argument, untouched
from ..core.ir import Jaxpr
from ..core.trace import Trace, Tracer, apply, state, unrecorded
from ..core.types import aval_of
from .interpret import interpret, strict_values
from .rules import rule_of


class Dual(Trace):
    """Forward mode: a tracer's `value` is the primal and its `slot` the tangent."""

    name = "jvp"
    concrete = True

    def input(self, x: Any, sig: Any, tangent: Any) -> Tracer:
        """A tracer of the value `x` with a tangent of its type."""
        return argument(Tracer(self, sig, x, tangent))

    def apply(self, call: Call, xs: Sequence[Any]) -> Any:
        mask, values, tangents = 0, [], []
        for i, x in enumerate(xs):
            if type(x) is Tracer and x.owner is self:
                mask |= 1 << i
                values.append(x.value)
                tangents.append(x.slot)
            else:
                values.append(x.copy() if type(x) is np.ndarray and x.flags.writeable else x)
                tangents.append(None)
        if call.primitive is not None and call.primitive.region:
            region: Any = call.primitive
            values = strict_values(values, map(aval_of, call.sigs))
            if state.builder is None or call.effects or Tracer in map(type, [*values, *tangents]):
                outs, out_tangents = region.jvp(tangents, *values, **call.params)
            else:
                outs, out_tangents = unrecorded(region.jvp, tangents, *values, **call.params)
            found = dict(enumerate(out_tangents))
        else:
            rule = rule_of(call, mask)
            result = apply(call, values)
            outs = [result] if call.single else list(result)
            if not rule.out_active:
                return untouched(outs[0]) if call.single else tuple(map(untouched, outs))
            everything = [*values, *outs]
            saved = [everything[i] for i in rule.save]
            with np.errstate(all="ignore"):
                pushed = apply(rule.push(), [*saved, *[tangents[i] for i in rule.active]])
            found = dict(zip(rule.out_active, pushed, strict=True))
        wrapped = [
            untouched(y) if found.get(k) is None else Tracer(self, s, y, found[k])
            for k, (y, s) in enumerate(zip(outs, call.out_sigs, strict=True))
        ]
        return wrapped[0] if call.single else tuple(wrapped)


def split(dual: Dual, outs: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Primals and tangents (None: zero) of results."""
    mine = [type(y) is Tracer and y.owner is dual for y in outs]
    primals = [y.value if m else y for y, m in zip(outs, mine, strict=True)]
    return primals, [y.slot if m else None for y, m in zip(outs, mine, strict=True)]


def jvp_program(jaxpr: Jaxpr, active: Sequence[bool]) -> tuple[Jaxpr, tuple[bool, ...]]:
    """Of a closed program: inputs, tangents of the active inputs -> outputs, tangents of the active outputs.

    The second result says which outputs those are.
    """
    out_active: tuple[bool, ...] = ()

    def program(*args: Any) -> list[Any]:
        nonlocal out_active
        n = len(jaxpr.inputs)
        ts = iter(args[n:])
        with Dual().open() as dual:
            inside = [dual.input(x, x.sig, next(ts)) if a else x for x, a in zip(args[:n], active, strict=True)]
            outs = interpret(jaxpr, inside)
        primals, tangents = split(dual, outs)
        out_active = tuple(t is not None for t in tangents)
        return [*primals, *[t for t in tangents if t is not None]]

    types = [v.type for v in jaxpr.inputs]
    found, _ = trace(program, [*types, *[t for t, a in zip(types, active, strict=True) if a]], "jvp", sites=False)
    return found, out_active
