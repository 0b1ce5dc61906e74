"""dce: drop equations whose outputs nothing reads. Equations with kept effects stay."""

from __future__ import annotations

from ..core.dependence import live
from ..core.ir import Jaxpr


def dce(jaxpr: Jaxpr) -> Jaxpr:
    """The program without dead equations; RAISES dies with its value, DEBUG, IO and COMM do not."""
    eqns, _ = live(jaxpr, jaxpr.outputs)
    if len(eqns) == len(jaxpr.eqns) and all([a is b for a, b in zip(eqns, jaxpr.eqns, strict=True)]):
        return jaxpr
    return Jaxpr(jaxpr.inputs, eqns, jaxpr.outputs, jaxpr.consts, jaxpr.sites)
