"""Updates in the matrix product: w - 0.1 * (x^T g) needs neither a gradient in memory nor a pass over the weights.

    e = dot_general[contract=((0,),(0,)) batch=((),())] x g
    f = mul 0.1 e
    out = sub w f

becomes one equation, out = beta · w + alpha · dot_general(x, g), which the library computes into a copy of w, or into w
itself where that is donated and dies:

    out = dot_general[contract=((0,),(0,)) batch=((),()) alpha=-0.1 beta=1] x g w
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.ir import Atom, Eqn, Jaxpr, Literal, Var
from .blas import available

REALS = frozenset([np.dtype(np.float32), np.dtype(np.float64)])
LONGEST = 256  # terms of the sums: the library adds up longer ones in parts, each rounded to the precision of w


class Scaled(NamedTuple):
    """factor · atom, and the equations that are for nothing else."""

    factor: float
    atom: Atom
    eqns: tuple[Eqn, ...] = ()


class Updates:
    """The updates of a program: `whole` are the equations that take the place of others, by the id of the last of them.

    `left_out`: ids of the others. `refused`: ids of equations to leave as they are.
    """

    def __init__(self, jaxpr: Jaxpr, refused: frozenset[int]):
        self.whole: dict[int, Eqn] = {}
        self.left_out: set[int] = set()
        products = [e for e in jaxpr.eqns if id(e) not in refused and fit(e)]
        if not products or not available():
            return
        self.inputs = frozenset(jaxpr.inputs)
        self.products = {e.outputs[0]: e for e in products}
        self.defs = {v: e for e in jaxpr.eqns if id(e) not in refused for v in e.outputs}
        self.uses = Counter(a for e in jaxpr.eqns for a in e.inputs if type(a) is Var)
        self.uses.update(a for a in jaxpr.outputs if type(a) is Var)
        results = frozenset(a for a in jaxpr.outputs if type(a) is Var)
        for e in jaxpr.eqns:  # what is no result would be added up in the kernel that reads it, without a copy
            if e.primitive.name in ("add", "sub") and e.outputs[0] in results and id(e) not in refused:
                self.find(e)

    def find(self, e: Eqn) -> None:
        """See whether an addition or subtraction is an update."""
        first, second = (self.scaled(a) for a in e.inputs)
        if e.primitive.name == "sub":
            second = second._replace(factor=-second.factor)
        for old, new in ((first, second), (second, first)):
            if type(new.atom) is not Var or self.uses[new.atom] > 1 or old.atom not in self.inputs:
                continue
            product = self.products.get(new.atom)
            if product is None:
                continue
            params = {**product.params, "alpha": new.factor, "beta": old.factor}
            self.whole[id(e)] = Eqn(product.primitive, (*product.inputs, old.atom), params, e.outputs, e.origin)
            self.left_out.update(map(id, (product, *new.eqns)))
            return

    def scaled(self, a: Any) -> Scaled:
        """An atom as a finite static factor, not zero, of another one, if it is used only once."""
        e = self.defs.get(a) if type(a) is Var and self.uses[a] == 1 else None
        if e is not None and e.primitive.name == "neg":
            return Scaled(-1.0, e.inputs[0], (e,))
        if e is not None and e.primitive.name == "mul":
            for factor, x in (e.inputs, e.inputs[::-1]):
                value = self.constant(factor)
                if value and math.isfinite(value):
                    return Scaled(value, x, (e,))
        return Scaled(1.0, a)

    def constant(self, a: Atom) -> float | None:
        """The value of all elements, where that is known."""
        while type(a) is Var and a in self.defs and self.defs[a].primitive.name == "broadcast_in_dim":
            a = self.defs[a].inputs[0]
        return float(a.value) if type(a) is Literal and np.ndim(a.value) == 0 else None


def fit(e: Eqn) -> bool:
    """Whether an equation is a product that the library computes for certain, of short sums."""
    if e.primitive.name != "dot_general" or e.outputs[0].type.dtype not in REALS:
        return False
    x, w = e.inputs
    if type(x) is Literal or type(w) is Literal or min(x.type.ndim, w.type.ndim) < 2 or not e.outputs[0].type.size:
        return False
    axes: Sequence[int] = e.params["contract"][0]
    return bool(axes) and 0 < math.prod(x.type.shape[a] for a in axes) <= LONGEST
