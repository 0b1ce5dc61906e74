"""Families of primitives whose rules follow from a line of data, and helpers that rules share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.errors import DtypeError, ShapeError, message
from ..core.primitive import Primitive, is_linear, registry, space
from ..core.trace import Tracer, stage
from ..core.types import WEAK, ShapedArray, complex_dtype, real_dtype, shaped

p = registry

KINDS = {"b": "boolean", "i": "integer", "u": "unsigned integer", "f": "floating", "c": "complex"}


def type_of(x: Any) -> ShapedArray:
    """Shape and dtype of a tracer, a linear operand or an array."""
    return shaped(tuple(x.shape), x.dtype)


def full(value: Any, like: ShapedArray) -> Any:
    """The scalar `value` at a given type."""
    return stage(p.broadcast_in_dim, like.dtype.type(value), shape=like.shape, dims=())


def zeros(like: ShapedArray) -> Any:
    """Zeros of a given type."""
    return full(0, like)


def scaled(coefficient: Any, t: Any) -> Any:
    """coefficient * t for a partial derivative: a number, or an array whose exact zeros win over infinity and NaN."""
    if isinstance(coefficient, int | float):
        if coefficient == 1:
            return t
        return p.neg(t) if coefficient == -1 else p.mul(t, coefficient)
    return p.mul0(coefficient, t)


def total(parts: Sequence[Any]) -> Any:
    """Sum of what is not None; None of nothing."""
    result = None
    for part in parts:
        if part is not None:
            result = part if result is None else p.add(result, part)
    return result


class Elementwise(Primitive):
    """A function of each element.

    `fn`: NumPy's ufunc or a function like one. `d`: the partial derivative by each operand, as a function
    (y, *xs, **params) -> coefficient that uses primitives, a number, or None where there is none. `takes`: dtype kinds.
    `gives`: dtype of the result from that of the operands. `pull`: for operations that are linear in their operands
    without being products. `domain`: what the property tests draw from. `params`: draws params, given the dtype.
    """

    broadcasts = True
    folds = True
    shapes = ()

    def __init__(
        self,
        name: str,
        fn: Callable[..., Any],
        *,
        d: Sequence[Any] | None = None,
        takes: str = "fc",
        gives: Callable[[np.dtype], Any] | None = None,
        pull: Callable[..., Sequence[Any]] | None = None,
        tangent: Callable[..., Any] | None = None,
        infix: str | None = None,
        optimistic: str | None = None,
        operands: int | None = None,
        domain: str | Sequence[str] = "any",
        params: Callable[[Any, np.dtype], dict[str, Any]] | None = None,
        cheap: bool = False,
    ):
        super().__init__(name)
        self.fn = fn
        self.ufunc = fn if isinstance(fn, np.ufunc) else None
        self.d = d
        self.takes = takes
        self.gives = gives
        self.pull_fn = pull
        self.tangent_fn = tangent
        self.infix = infix
        self.optimistic = optimistic
        self.operands = operands or (fn.nin if isinstance(fn, np.ufunc) else len(d or ()) or 1)
        self.domain = [domain] * self.operands if isinstance(domain, str) else list(domain)
        self.params = params
        self.cheap = cheap or infix is not None

    def __call__(self, *xs: Any, **params: Any) -> Any:
        """As `Primitive.__call__`; Python scalars take the type of the other operand."""
        if any(type(x) in WEAK for x in xs):
            like = next((type_of(x) for x in xs if type(x) not in WEAK), None)
            if like is not None:
                xs = tuple([full(x, like) if type(x) in WEAK else x for x in xs])
        return super().__call__(*xs, **params)

    def typeof(self, *types: ShapedArray, **params: Any) -> tuple[ShapedArray, ...]:
        first = types[0]
        for t in types[1:]:
            if t.shape != first.shape:
                raise ShapeError(
                    message(
                        f"{self.name}: operands have different shapes",
                        got=", ".join(map(str, types)),
                        do="fgrad.lax operations are strict: broadcast first, or use fgrad.numpy, which broadcasts",
                    )
                )
            if t.dtype != first.dtype:
                raise DtypeError(
                    message(
                        f"{self.name}: operands have different dtypes",
                        got=", ".join(map(str, types)),
                        do="fgrad.lax operations are strict: convert first, or use fgrad.numpy, which promotes",
                    )
                )
        if first.dtype.kind not in self.takes:
            raise DtypeError(
                message(
                    f"{self.name} is not defined for {KINDS[first.dtype.kind]} operands",
                    got=first,
                    do=f"convert to a {' or '.join(KINDS[k] for k in self.takes)} dtype",
                )
            )
        return (first if self.gives is None else shaped(first.shape, self.gives(first.dtype)),)

    def run(self, *xs: Any, **params: Any) -> tuple[Any, ...]:
        return (self.fn(*xs, **params),)

    def kernel(self, *types: ShapedArray, **params: Any) -> Callable[..., Any]:
        fn = self.fn
        return (lambda *xs: fn(*xs, **params)) if params else fn

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], *xs: Any, **params: Any) -> Sequence[Any]:
        if self.tangent_fn is not None:
            return (self.tangent_fn(tangents, outs[0], *xs, **params),)
        if self.d is None:
            if self.typeof(*[type_of(x) for x in xs], **params)[0].inexact:
                raise self._missing("tangent")
            return (None,)
        parts = []
        for t, d in zip(tangents, self.d, strict=True):
            if t is not None and d is not None:
                parts.append(scaled(d(outs[0], *xs, **params) if callable(d) else d, t))
        return (total(parts),)

    def pull(self, cts: Sequence[Any], *xs: Any, **params: Any) -> Sequence[Any]:
        if self.pull_fn is None:
            return super().pull(cts, *xs, **params)
        return self.pull_fn(cts[0], *xs, **params)

    def batch(self, size: int, mapped: Sequence[bool], *xs: Any, **params: Any) -> tuple[Sequence[Any], Sequence[bool]]:
        return [self(*align(size, mapped, xs), **params)], [True]

    def samples(self, draw: Any) -> Any:
        shape, dtype = draw.shape(), draw.dtype(self.takes)
        params = {} if self.params is None else self.params(draw, np.dtype(dtype))
        return [draw.array(shape, dtype, domain) for domain in self.domain], params


def align(size: int, mapped: Sequence[bool], xs: Sequence[Any]) -> list[Any]:
    """Operands of one shape behind the mapped axis: those that are not mapped are broadcast along it."""
    return [x if m else spread(size, x) for x, m in zip(xs, mapped, strict=True)]


def spread(size: int, x: Any) -> Any:
    """`x` repeated along a new leading axis."""
    shape = tuple(np.shape(x)) if not isinstance(x, Tracer) else x.shape
    return stage(p.broadcast_in_dim, x, shape=(size, *shape), dims=tuple(range(1, len(shape) + 1)))


def bilinear(ct: Any, x: Any, y: Any, product: Callable[[Any, Any], Any]) -> Sequence[Any]:
    """Pullback of a product that is linear in one of its operands at a time."""
    return (product(ct, y), None) if is_linear(x) else (None, product(ct, x))


def check_axes(name: str, axes: Sequence[int], t: ShapedArray) -> None:
    """Raise `ShapeError` for axes that `t` does not have or that are named twice."""
    if any(not 0 <= a < t.ndim for a in axes) or len(set(axes)) != len(tuple(axes)):
        raise ShapeError(
            message(
                f"{name}: axes {tuple(axes)} do not fit an array of {t.ndim} dimensions",
                got=t,
                do="name each axis once",
            )
        )


space.zeros = zeros
space.add = lambda a, b: p.add(a, b)
space.repeat = lambda size, x, t: stage(p.broadcast_in_dim, x, shape=(size, *t.shape), dims=tuple(range(1, t.ndim + 1)))
space.total = lambda x: p.reduce_sum(x, axes=(0,))

__all__ = [
    "Elementwise",
    "align",
    "bilinear",
    "check_axes",
    "complex_dtype",
    "full",
    "p",
    "real_dtype",
    "scaled",
    "spread",
    "total",
    "type_of",
    "zeros",
]
