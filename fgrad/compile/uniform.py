"""Constant arrays whose elements are all equal become broadcast scalars, which kernels compute with for free."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.ir import Eqn, Jaxpr, Literal, Var
from ..core.primitive import registry
from ..rewrites.pipeline import simplify


def uniform(x: Any) -> bool:
    """Whether all elements have the same bits."""
    if type(x) is not np.ndarray or x.size < 1 or not x.flags.c_contiguous or x.dtype.kind == "O":
        return False
    flat = x.reshape(-1)
    first = flat[:1].tobytes()
    if flat[-1:].tobytes() != first or flat[x.size // 2 : x.size // 2 + 1].tobytes() != first:
        return False
    bits = flat.view(f"u{x.dtype.itemsize}") if x.dtype.itemsize <= 8 else flat.view("u8").reshape(-1, 2)
    return bool((bits == bits[0]).all())


def with_uniform_constants(jaxpr: Jaxpr) -> Jaxpr:
    """The program with uniform captured arrays replaced, and what follows from that simplified."""
    n = len(jaxpr.consts)
    kept: list[tuple[Var, Any]] = []
    eqns: list[Eqn] = []
    for v, c in zip(jaxpr.inputs[:n], jaxpr.consts, strict=True):
        if uniform(c):
            params = {"shape": v.type.shape, "dims": ()}
            eqns.append(Eqn(registry.broadcast_in_dim, [Literal(c.reshape(-1)[0])], params, [v]))
        else:
            kept.append((v, c))
    if not eqns:
        return jaxpr
    inputs = [*[v for v, _ in kept], *jaxpr.inputs[n:]]
    return simplify(Jaxpr(inputs, [*eqns, *jaxpr.eqns], jaxpr.outputs, [c for _, c in kept], jaxpr.sites))
