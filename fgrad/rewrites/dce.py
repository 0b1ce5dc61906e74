"""dce: drop equations whose outputs nothing reads. Equations with kept effects stay."""

from __future__ import annotations

from ..core.effects import KEPT
from ..core.ir import Jaxpr


def dce(jaxpr: Jaxpr) -> Jaxpr:
    """The program without dead equations; RAISES dies with its value, DEBUG, IO and COMM do not."""
    live = set(jaxpr.outputs)  # literals too, which no equation gives
    kept = []
    for e in reversed(jaxpr.eqns):
        if not live.isdisjoint(e.outputs) or e.effects & KEPT:
            kept.append(e)
            live.update(e.inputs)
    if len(kept) == len(jaxpr.eqns):
        return jaxpr
    return Jaxpr(jaxpr.inputs, kept[::-1], jaxpr.outputs, jaxpr.consts, jaxpr.sites)
