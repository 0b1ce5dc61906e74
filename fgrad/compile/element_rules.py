"""Equations on arrays in registers, element by element: arithmetic, views, reductions, products.

A rule takes the unroller, the equation and its operands, and gives its output. Sums are in NumPy's order where that is
known; products of matrices add up one term after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from math import prod
from typing import Any

import numpy as np

from ..core.ir import Eqn
from .element_index import INDEXED
from .elements import Array, Decline, Elements, Memory, array, elements, kernel_type
from .emit import identity
from .expressions import NEAR, REACH, TOO_FAR
from .layouts import contiguous
from .nests import Builder, Value
from .routines_writer import combined
from .scalar_rules import REDUCTIONS, RULES, fits
from .scalars import FLOATS

Rule = Callable[[Any, Eqn, Sequence[Array]], Array]


def elementwise(u: Any, e: Eqn, xs: Sequence[Array]) -> list[Elements]:
    """The outputs of an equation of `scalar_rules`."""
    name, shape = e.primitive.name, e.outputs[0].type.shape
    if not fits(e):
        raise Decline(f"kernels have no {name} of {e.inputs[0].type}")
    type_, size = kernel_type(e.outputs[0].type.dtype), e.outputs[0].type.size
    # Operands of fewer axes, which threefry has, are the same for all indices behind them.
    flat = [(x.reshape(-1), size // max(x.size, 1)) for x in (elements(u.k, x) for x in xs)]
    outs: list[list[Any]] = [[] for _ in e.outputs]
    for n in range(size):
        args = [x[n // each] for x, each in flat]
        found = scalar_rule(u, e, args, type_)
        for out, value in zip(outs, found if type(found) is tuple else (found,), strict=True):
            out.append(value)
    return [array(out, shape) for out in outs]


def scalar_rule(u: Any, e: Eqn, args: Sequence[Value], type_: str) -> Any:
    """One element; of products that zeros might have to win, plainly where the program is trusted."""
    k, name = u.k, e.primitive.name
    if name == "mul0" and u.trusting:
        return k.mul(*args)
    if name in NEAR:
        size = k.op("abs", args[0])
        far = k.op("and", k.op("gt", size, k.const(REACH, type_)), k.op("lt", size, k.const(np.inf, type_)))
        k.check(k.op("not", far), k.const(0, "i64"), k.const(TOO_FAR, "i64"))
    return RULES[name](k, args, type_, e.params)


# ---------------------------------------------------------------------------------------------------------------- views


def broadcast_in_dim(u: Any, e: Eqn, xs: Sequence[Array]) -> Array:
    (x,), shape, dims = xs, e.params["shape"], e.params["dims"]
    if type(x) is Memory:
        strides = [0] * len(shape)
        for n, stride, d in zip(x.shape, x.strides, dims, strict=True):
            strides[d] = 0 if n == 1 else stride
        return x.view(shape, strides)
    placed = [1] * len(shape)
    for n, d in zip(x.shape, dims, strict=True):
        placed[d] = n
    if prod(shape) > u.limit:
        raise Decline("it repeats a value too often")
    return np.broadcast_to(x.reshape(placed), shape)


def reshape(u: Any, e: Eqn, xs: Sequence[Array]) -> Array:
    (x,), shape = xs, e.params["shape"]
    if type(x) is not Memory:
        return x.reshape(shape)
    if x.strides == contiguous(x.shape):
        return x.view(shape, contiguous(shape))
    return elements(u.k, x).reshape(shape)


def transpose(u: Any, e: Eqn, xs: Sequence[Array]) -> Array:
    (x,), axes = xs, e.params["axes"]
    if type(x) is Memory:
        return x.view([x.shape[a] for a in axes], [x.strides[a] for a in axes])
    return x.transpose(axes)


def rev(u: Any, e: Eqn, xs: Sequence[Array]) -> Array:
    (x,), axes = xs, e.params["axes"]
    if type(x) is Memory:
        strides = [-s if a in axes else s for a, s in enumerate(x.strides)]
        return x.view(x.shape, strides, sum((x.shape[a] - 1) * x.strides[a] for a in axes))
    return np.flip(x, axes)


def pad(u: Any, e: Eqn, xs: Sequence[Array]) -> Array:
    x, value = (elements(u.k, x) for x in xs)
    return np.asarray(e.primitive.run(x, value[()], **e.params)[0], object)


def concatenate(u: Any, e: Eqn, xs: Sequence[Array]) -> Array:
    return np.concatenate([elements(u.k, x) for x in xs], e.params["axis"])


def iota(u: Any, e: Eqn, xs: Sequence[Array]) -> Array:
    type_ = kernel_type(e.outputs[0].type.dtype)
    values = e.primitive.run(**e.params)[0]
    return array([u.k.const(v, type_) for v in values.reshape(-1)], values.shape)


# ----------------------------------------------------------------------------------------------------------- reductions


def lines(x: Elements, axes: Sequence[int]) -> tuple[list[list[Value]], tuple[int, ...]]:
    """The elements that are reduced together, in C order, and the shape of what is left."""
    kept = [a for a in range(x.ndim) if a not in axes]
    shape = tuple([x.shape[a] for a in kept])
    flat = x.transpose((*kept, *axes)).reshape((prod(shape), prod(x.shape[a] for a in axes)))
    return [list(line) for line in flat], shape


def reduction(op: str) -> Rule:
    def rule(u: Any, e: Eqn, xs: Sequence[Array]) -> Array:
        k, x, axes = u.k, elements(u.k, xs[0]), tuple(sorted(e.params["axes"]))
        u.spend(x.size, x.size)
        inner = axes == tuple(range(x.ndim - len(axes), x.ndim))
        type_ = kernel_type(e.outputs[0].type.dtype)
        groups, shape = lines(x, axes)
        return array([reduced(k, op, type_, line, inner) for line in groups], shape)

    return rule


def reduced(k: Builder, op: str, type_: str, line: Sequence[Value], inner: bool) -> Value:
    """What a line comes to. NumPy adds up neighbours in eight parts, in pairs, and what is left one by one."""
    if not line:
        return k.const(identity(op, type_), type_)
    if op == "add" and type_ in FLOATS and inner and len(line) >= 8:
        parts = list(line[:8])
        whole = len(line) - len(line) % 8
        for n in range(8, whole):
            parts[n % 8] = k.add(parts[n % 8], line[n])
        while len(parts) > 1:
            parts = [k.add(a, b) for a, b in zip(parts[::2], parts[1::2], strict=True)]
        line = [parts[0], *line[whole:]]
    total = line[0]
    for x in line[1:]:
        total = combined(k, op, total, x)
    return total


def arg_extreme(order: str) -> Rule:
    """The place of the first extreme; a NaN counts as such."""

    def rule(u: Any, e: Eqn, xs: Sequence[Array]) -> Array:
        k, x = u.k, elements(u.k, xs[0])
        u.spend(5 * x.size)
        groups, shape = lines(x, (e.params["axis"],))
        out = []
        for line in groups:
            best, at = line[0], k.const(0, "i64")
            for n, new in enumerate(line[1:], 1):
                a, b = (k.cast(v, "u8") if v.type == "bool" else v for v in (new, best))
                better = k.op(order, a, b)
                if new.type in FLOATS:
                    nan = k.op("and", k.op("ne", new, new), k.op("eq", best, best))
                    better = k.op("or", better, nan)
                best, at = k.select(better, new, best), k.select(better, k.const(n, "i64"), at)
            out.append(at)
        return array(out, shape)

    return rule


def running(op: str) -> Rule:
    def rule(u: Any, e: Eqn, xs: Sequence[Array]) -> Array:
        k, x, axis = u.k, elements(u.k, xs[0]), e.params["axis"]
        u.spend(x.size)
        result = np.flip(x, axis).copy() if e.params["reverse"] else x.copy()
        along = np.moveaxis(result, axis, -1)
        for at in product(*map(range, along.shape[:-1])):
            for n in range(1, along.shape[-1]):
                along[(*at, n)] = combined(k, op, along[(*at, n - 1)], along[(*at, n)])
        return np.flip(result, axis) if e.params["reverse"] else result

    return rule


def dot_general(u: Any, e: Eqn, xs: Sequence[Array]) -> Array:
    """Sums of products, in as many parts as keep the machine busy."""
    if "alpha" in e.params:
        raise Decline("it is an update")
    k = u.k
    x, w = (elements(k, v) for v in xs)
    (xc, wc), (xb, wb) = e.params["contract"], e.params["batch"]
    xf = [a for a in range(x.ndim) if a not in xb and a not in xc]
    wf = [a for a in range(w.ndim) if a not in wb and a not in wc]
    x, w = x.transpose((*xb, *xf, *xc)), w.transpose((*wb, *wf, *wc))
    b, f = len(xb), len(xf)
    depth = prod(x.shape[b + f :])
    type_, shape = kernel_type(e.outputs[0].type.dtype), e.outputs[0].type.shape
    u.spend(2 * depth * prod(shape), depth * prod(shape))
    x, w = x.reshape((*x.shape[: b + f], depth)), w.reshape((*w.shape[: b + len(wf)], depth))
    out = []
    for at in product(*map(range, shape)):
        left, right = x[at[: b + f]], w[(*at[:b], *at[b + f :])]
        terms = [combined(k, "mul", p, q) for p, q in zip(left, right, strict=True)]
        out.append(sum_of(k, type_, terms))
    return array(out, shape)


def sum_of(k: Builder, type_: str, terms: Sequence[Value]) -> Value:
    """The terms in up to four chains."""
    if not terms:
        return k.const(0, type_)
    count = 1 if len(terms) < 8 else 2 if len(terms) < 16 else 4
    chains = list(terms[:count])
    for n, term in enumerate(terms[count:]):
        chains[n % count] = combined(k, "add", chains[n % count], term)
    while len(chains) > 1:
        chains = [combined(k, "add", p, q) for p, q in zip(chains[::2], chains[1::2], strict=True)]
    return chains[0]


TABLE: dict[str, Rule] = {
    **INDEXED,
    "broadcast_in_dim": broadcast_in_dim,
    "reshape": reshape,
    "transpose": transpose,
    "rev": rev,
    "pad": pad,
    "concatenate": concatenate,
    "iota": iota,
    **{name: reduction(op) for name, op in REDUCTIONS.items()},
    "argmax": arg_extreme("gt"),
    "argmin": arg_extreme("lt"),
    "cumsum": running("add"),
    "cumprod": running("mul"),
    "cummax": running("max"),
    "cummin": running("min"),
    "dot_general": dot_general,
}
VIEWS = frozenset(["broadcast_in_dim", "reshape", "transpose", "rev"])  # of memory they are memory too


def apply(u: Any, e: Eqn, xs: Sequence[Array]) -> list[Array]:
    """The outputs of an equation that is no region."""
    name = e.primitive.name
    if any(v.type.size > u.limit and name not in INDEXED and name not in VIEWS for v in e.outputs):
        raise Decline(f"its {name} has many elements")
    rule = TABLE.get(name)
    if rule is not None:
        for a in (*e.inputs, *e.outputs):
            kernel_type(a.type.dtype)
        return [rule(u, e, xs)]
    if name not in RULES:
        raise Decline(f"no rule for {name}")
    u.spend(e.outputs[0].type.size * u.weight(e), e.outputs[0].type.size)
    return elementwise(u, e, xs)
