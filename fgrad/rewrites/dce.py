"""dce: drop equations whose outputs nothing reads. Equations with kept effects stay."""

from __future__ import annotations

from ..core.effects import KEPT
from ..core.ir import Jaxpr, Var


def dce(jaxpr: Jaxpr) -> Jaxpr:
    """The program without dead equations; RAISES dies with its value, DEBUG, IO and COMM do not."""
    live = {a for a in jaxpr.outputs if type(a) is Var}
    kept = []
    for e in reversed(jaxpr.eqns):
        flags = [v in live for v in e.outputs]
        if any(flags) or e.effects & KEPT:
            if e.primitive.region and not all(flags):
                e = e.primitive.pruned(e, flags)  # type: ignore[attr-defined]
            kept.append(e)
            live.update(a for a in e.inputs if type(a) is Var)
    if len(kept) == len(jaxpr.eqns) and all(a is b for a, b in zip(kept, reversed(jaxpr.eqns), strict=True)):
        return jaxpr
    return Jaxpr(jaxpr.inputs, kept[::-1], jaxpr.outputs, jaxpr.consts, jaxpr.sites)
