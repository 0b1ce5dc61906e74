"""dce: drop equations whose outputs nothing reads. Equations with kept effects stay."""

from __future__ import annotations

from ..core.effects import KEPT
from ..core.ir import Jaxpr, Var


def dce(jaxpr: Jaxpr) -> Jaxpr:
    """The program without dead equations; RAISES dies with its value, DEBUG, IO and COMM do not."""
    live = {a for a in jaxpr.outputs if type(a) is Var}
    kept = []
    for e in reversed(jaxpr.eqns):
        if any(v in live for v in e.outputs) or e.effects & KEPT:
            kept.append(e)
            live.update(a for a in e.inputs if type(a) is Var)
    if len(kept) == len(jaxpr.eqns):
        return jaxpr
    return Jaxpr(jaxpr.inputs, kept[::-1], jaxpr.outputs, jaxpr.consts, jaxpr.sites)
