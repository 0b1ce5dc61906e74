"""algebra: identities that hold for every bit pattern, one row each.

A row maps a primitive's name to a function of the equation and the definitions of variables so far; it returns the atom
that the output equals, a replacement (primitive, operands, params), or None. Nothing here changes a rounding or loses a
sign of zero: x + 0.0 stays (it turns -0.0 into 0.0), as does a sum over no axes, x * 0 stays (infinities and NaN).
But mul0(x, 0.0) is 0.0 whatever the sign of x: what is annihilated has none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.ir import Atom, Eqn, Jaxpr, Literal, Var
from ..core.primitive import registry

Definitions = dict[Var, Eqn]


def _constant(a: Atom, defs: Definitions) -> Any:
    """The scalar that every element of `a` has, or None."""
    if type(a) is Literal:
        return a.value
    e = defs.get(a)  # type: ignore[arg-type]
    if e is not None and e.primitive.name == "broadcast_in_dim" and type(e.inputs[0]) is Literal:
        return e.inputs[0].value
    return None


def _is(a: Atom, defs: Definitions, value: float) -> bool:
    found = _constant(a, defs)
    return found is not None and found == value and not np.signbit(np.real(found))


def _definition(a: Atom, defs: Definitions, name: str) -> Eqn | None:
    e = defs.get(a) if type(a) is Var else None
    return e if e is not None and e.primitive.name == name else None


def _mul(e: Eqn, defs: Definitions) -> Any:
    x, w = e.inputs
    if x.type.dtype.kind == "c":  # (inf + 0j) * (1 + 0j) is inf + nan j
        return None
    return x if _is(w, defs, 1) else w if _is(x, defs, 1) else None


def _mul0(e: Eqn, defs: Definitions) -> Any:
    trivial = _mul(e, defs)
    if trivial is not None:
        return trivial
    for a in e.inputs:
        c = _constant(a, defs)
        if c is not None and c == 0:
            return a if not np.signbit(np.real(c)) else None
        if c is not None and np.isfinite(c):
            return registry.mul, e.inputs, {}
    return None


def _sub(e: Eqn, defs: Definitions) -> Any:
    return e.inputs[0] if _is(e.inputs[1], defs, 0) else None


def _div(e: Eqn, defs: Definitions) -> Any:
    return e.inputs[0] if _is(e.inputs[1], defs, 1) and e.inputs[0].type.dtype.kind != "c" else None


def _neg(e: Eqn, defs: Definitions) -> Any:
    inner = _definition(e.inputs[0], defs, "neg")
    return inner.inputs[0] if inner else None


def _reshape(e: Eqn, defs: Definitions) -> Any:
    if e.inputs[0].type == e.outputs[0].type:
        return e.inputs[0]
    inner = _definition(e.inputs[0], defs, "reshape")
    return (registry.reshape, inner.inputs, e.params) if inner else None


def _transpose(e: Eqn, defs: Definitions) -> Any:
    axes = e.params["axes"]
    inner = _definition(e.inputs[0], defs, "transpose")
    if inner:
        axes = tuple(inner.params["axes"][a] for a in axes)
    if axes == tuple(range(len(axes))):
        return inner.inputs[0] if inner else e.inputs[0]
    return (registry.transpose, inner.inputs, {"axes": axes}) if inner else None


def _convert(e: Eqn, defs: Definitions) -> Any:
    if e.inputs[0].type == e.outputs[0].type:
        return e.inputs[0]
    inner = _definition(e.inputs[0], defs, "convert_element_type")
    if inner is not None:
        first, middle = inner.inputs[0].type.dtype, inner.outputs[0].type.dtype
        if first == e.outputs[0].type.dtype and np.can_cast(first, middle, "safe"):
            return inner.inputs[0]
    return None


def _broadcast(e: Eqn, defs: Definitions) -> Any:
    if e.inputs[0].type == e.outputs[0].type:
        return e.inputs[0]
    c = _constant(e.inputs[0], defs)
    if c is not None and type(e.inputs[0]) is Var:
        return registry.broadcast_in_dim, (Literal(c, Literal(c).type),), {"shape": e.params["shape"], "dims": ()}
    return None


def _no_axes(e: Eqn, defs: Definitions) -> Any:
    return e.inputs[0] if not e.params["axes"] else None


def _power(e: Eqn, defs: Definitions) -> Any:
    n = e.params["n"]
    return e.inputs[0] if n == 1 else (registry.square, e.inputs, {}) if n == 2 else None


def _select(e: Eqn, defs: Definitions) -> Any:
    which, x, w = e.inputs
    if x is w:
        return x
    c = _constant(which, defs)
    return None if c is None else x if c else w


RULES: dict[str, Callable[[Eqn, Definitions], Any]] = {
    "mul": _mul,
    "mul0": _mul0,
    "sub": _sub,
    "div": _div,
    "neg": _neg,
    "reshape": _reshape,
    "transpose": _transpose,
    "convert_element_type": _convert,
    "broadcast_in_dim": _broadcast,
    "reduce_max": _no_axes,
    "reduce_min": _no_axes,
    "reduce_prod": _no_axes,
    "rev": _no_axes,
    "integer_pow": _power,
    "select": _select,
}


def algebra(jaxpr: Jaxpr) -> Jaxpr:
    """The program with these identities applied, in one walk."""
    same: dict[Any, Atom] = {}
    defs: Definitions = {}
    eqns = []
    changed = False
    for e in jaxpr.eqns:
        if same:
            inputs = tuple([same.get(a, a) for a in e.inputs])
            if any(a is not b for a, b in zip(inputs, e.inputs, strict=True)):
                e = Eqn(e.primitive, inputs, e.params, e.outputs, e.origin)
        rule = RULES.get(e.primitive.name)
        result = rule(e, defs) if rule else None
        while type(result) is tuple:
            changed = True
            primitive, operands, params = result
            e = Eqn(primitive, operands, params, e.outputs, e.origin)
            rule = RULES.get(primitive.name)
            result = rule(e, defs) if rule else None
        if result is not None:
            changed = True
            same[e.outputs[0]] = result
            continue
        eqns.append(e)
        for v in e.outputs:
            defs[v] = e
    if not changed:
        return jaxpr
    return Jaxpr(jaxpr.inputs, eqns, [same.get(a, a) for a in jaxpr.outputs], jaxpr.consts, jaxpr.sites)
