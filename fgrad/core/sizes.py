"""Programs at other sizes: what was traced for one batch size need not be traced again for the next.

Where an operation asks of sizes only whether they are 0, 1 or equal, its program for other sizes is the same, but for
types and for those params that are shapes (`Primitive.shapes` names them):

    { a:float32[8,3], b:float32[3] .                    { a:float32[9,5], b:float32[5] .
      c:float32[8,3] = broadcast_in_dim[         ->       c:float32[9,5] = broadcast_in_dim[
        shape=(8, 3), dims=(1,)] b                          shape=(9, 5), dims=(1,)] b
      d:float32[8,3] = mul a c                            d:float32[9,5] = mul a c
      in (d) }                                            in (d) }
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .ir import Eqn, Jaxpr, Literal, Var
from .types import ShapedArray, Signature, shaped

Sizes = Mapping[int, int]  # old to new; what is missing stays: 0 and 1


def pattern(sigs: Sequence[Signature]) -> tuple[Any, tuple[int, ...]]:
    """What is the same of signatures at other sizes, and the sizes: those from 2 on, each once, in order.

    >>> import numpy as np
    >>> a, b = shaped((8, 3), np.float32), shaped((3,), np.float32)
    >>> pattern([a, b])[1], pattern([a, b])[0] == pattern([shaped((9, 5), np.float32), shaped((5,), np.float32)])[0]
    ((8, 3), True)
    """
    names: dict[int, int] = {0: 0, 1: 1}
    key: list[Any] = []
    for s in sigs:
        if type(s) is ShapedArray and s.shape:
            key.append((s.dtype, tuple([names.setdefault(n, len(names)) for n in s.shape])))
        else:
            key.append(s)
    return tuple(key), tuple(names)[2:]


def resizable(jaxpr: Jaxpr) -> bool:
    """Whether all equations of a program may be at other sizes; captured arrays, if there are any, may not."""
    found = jaxpr.derived.get("resizable")
    if found is None:
        found = all([e.primitive.resizes(*[a.type for a in e.inputs], **e.params) for e in jaxpr.eqns])
        jaxpr.derived["resizable"] = found
    return bool(found)


def resized(jaxpr: Jaxpr, sizes: Sizes) -> Jaxpr:
    """A resizable program at other sizes; without source lines, as all that is traced internally."""
    types: dict[ShapedArray, ShapedArray] = {}
    env: dict[Any, Any] = {}

    def variables(old: Sequence[Var]) -> list[Var]:
        new = []
        for v in old:
            t = types.get(v.type)
            if t is None:
                t = types[v.type] = resized_type(v.type, sizes)
            w = env[v] = Var(t)
            new.append(w)
        return new

    inputs = variables(jaxpr.inputs)
    eqns = []
    for e in jaxpr.eqns:
        params = e.params
        for name in e.primitive.shapes or ():
            params = {**params, name: tuple([sizes.get(n, n) for n in params[name]])}
        operands = [a if type(a) is Literal else env[a] for a in e.inputs]
        eqns.append(Eqn(e.primitive, operands, params, variables(e.outputs)))
    outputs = [a if type(a) is Literal else env[a] for a in jaxpr.outputs]
    return Jaxpr(inputs, eqns, outputs, jaxpr.consts)


def resized_type(t: Signature, sizes: Sizes) -> Any:
    """The same type, or signature, at other sizes."""
    if type(t) is not ShapedArray or not t.shape:
        return t
    return shaped(tuple([sizes.get(n, n) for n in t.shape]), t.dtype)
