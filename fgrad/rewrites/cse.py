"""cse: equal equations are computed once. Not across the border of a region, nor what calls the user's code."""

from __future__ import annotations

from typing import Any

from ..core.effects import STAGED
from ..core.ir import Atom, Eqn, Jaxpr, Literal, Var


def cse(jaxpr: Jaxpr) -> Jaxpr:
    """The program with repeated equations merged."""
    same: dict[Any, Atom] = {}
    seen: dict[Any, tuple[Var, ...]] = {}
    eqns = []
    for e in jaxpr.eqns:
        inputs = tuple([same.get(a, a) for a in e.inputs]) if same else e.inputs
        if not e.primitive.pure and (e.primitive.region or e.effects & STAGED):
            eqns.append(Eqn(e.primitive, inputs, e.params, e.outputs, e.origin))
            continue
        key = (e.primitive, tuple([a.key if type(a) is Literal else a for a in inputs]), tuple(e.params.items()))
        earlier = seen.get(key)
        if earlier is None:
            seen[key] = e.outputs
            eqns.append(e if inputs is e.inputs else Eqn(e.primitive, inputs, e.params, e.outputs, e.origin))
        else:
            same.update(zip(e.outputs, earlier, strict=True))
    if not same:
        return jaxpr
    return Jaxpr(jaxpr.inputs, eqns, [same.get(a, a) for a in jaxpr.outputs], jaxpr.consts, jaxpr.sites)
