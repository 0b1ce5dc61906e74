"""Sorting and searching."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.errors import DtypeError, ShapeError, message
from ..core.primitive import Primitive
from ..core.trace import stage
from ..core.types import ShapedArray, shaped
from .family import align, check_axes, p
from .reduce import take_along

_INT = np.dtype(np.int64)


class Sort(Primitive):
    """Operands of one shape brought along `axis` into the ascending order of the first `num_keys`, the first deciding.

    Stable; NaN comes last, complex numbers are ordered by real part, then by imaginary part.
    """

    def typeof(self, *types: ShapedArray, axis: int, num_keys: int) -> tuple[ShapedArray, ...]:
        first = types[0]
        check_axes(self.name, (axis,), first)
        if any(t.shape != first.shape for t in types) or not 1 <= num_keys <= len(types):
            raise ShapeError(
                message(
                    "sort: operands must have one shape, and some must be keys",
                    got=", ".join(map(str, types)),
                    do="broadcast them first",
                )
            )
        return types

    def run(self, *xs: Any, axis: int, num_keys: int) -> tuple[Any, ...]:
        if len(xs) == 1:
            return (np.sort(xs[0], axis),)
        order = np.argsort(xs[0], axis, kind="stable") if num_keys == 1 else np.lexsort(xs[:num_keys][::-1], axis)
        return tuple(np.take_along_axis(np.asarray(x), order, axis) for x in xs)

    def tangent(
        self, tangents: Sequence[Any], outs: Sequence[Any], *xs: Any, axis: int, num_keys: int
    ) -> Sequence[Any]:
        place = stage(p.iota, dtype=_INT, shape=tuple(xs[0].shape), axis=axis)
        order = self(*xs[:num_keys], place, axis=axis, num_keys=num_keys)[-1]
        return [None if t is None else take_along(t, order, axis) for t in tangents]

    def batch(self, size: int, mapped: Sequence[bool], *xs: Any, axis: int, num_keys: int) -> Any:
        outs = self(*align(size, mapped, xs), axis=axis + 1, num_keys=num_keys)
        return (outs if isinstance(outs, tuple) else (outs,)), [True] * len(xs)

    def samples(self, draw: Any) -> Any:
        shape = draw.shape(min_dims=1)
        keys = [draw.integers(shape, 0, 2) for _ in range(draw.integer(0, 1))]
        params = {"axis": draw.integer(0, len(shape) - 1), "num_keys": len(keys) + 1}
        return [*keys, draw.array(shape), draw.array(shape)], params


class TopK(Primitive):
    """(values, int64 indices) of the k largest along the last axis, descending; of equals the first, NaN as largest."""

    def typeof(self, x: ShapedArray, *, k: int) -> tuple[ShapedArray, ...]:
        if not x.ndim or not 0 <= k <= x.shape[-1]:
            raise ShapeError(
                message(f"top_k: there are no {k} elements along the last axis", got=x, do="choose a smaller k")
            )
        shape = (*x.shape[:-1], k)
        return shaped(shape, x.dtype), shaped(shape, _INT)

    def run(self, x: Any, *, k: int) -> tuple[Any, ...]:
        x = np.asarray(x)
        n = x.shape[-1]
        # ascending from the back: reversed, the order is descending and equals keep theirs
        order = n - 1 - np.argsort(x[..., ::-1], -1, kind="stable")[..., ::-1]
        indices = np.ascontiguousarray(order[..., :k], _INT)
        return np.take_along_axis(x, indices, -1), indices

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], x: Any, *, k: int) -> Sequence[Any]:
        return take_along(tangents[0], outs[1], x.ndim - 1), None

    def batch(self, size: int, mapped: Sequence[bool], x: Any, *, k: int) -> Any:
        return self(x, k=k), [True, True]

    def samples(self, draw: Any) -> Any:
        shape = draw.shape(min_dims=1)
        return [draw.array(shape)], {"k": draw.integer(0, shape[-1])}


class SearchSorted(Primitive):
    """Where each of v (..., m) belongs in the rising a (..., n), int64: before equals ("left") or behind ("right")."""

    def typeof(self, a: ShapedArray, v: ShapedArray, *, side: str) -> tuple[ShapedArray, ...]:
        if not a.ndim or a.ndim != v.ndim or a.shape[:-1] != v.shape[:-1]:
            raise ShapeError(
                message(
                    "searchsorted: the arrays do not fit together",
                    got=f"{a} and {v}",
                    do="give a the shape (n,), v any",
                )
            )
        if a.dtype != v.dtype:
            raise DtypeError(
                message("searchsorted: operands have different dtypes", got=f"{a} and {v}", do="convert first")
            )
        return (shaped(v.shape, _INT),)

    def run(self, a: Any, v: Any, *, side: str) -> tuple[Any, ...]:
        a, v = np.asarray(a), np.asarray(v)
        out = np.empty(v.shape, _INT)
        for i in np.ndindex(v.shape[:-1]):
            out[i] = np.searchsorted(a[i], v[i], side)
        return (out,)

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], a: Any, v: Any, *, side: str) -> Sequence[Any]:
        return (None,)

    def batch(self, size: int, mapped: Sequence[bool], a: Any, v: Any, *, side: str) -> Any:
        if not mapped[0] and a.ndim == 1:
            y = self(a, p.reshape(v, shape=(size * v.shape[-1],)), side=side)
            return [p.reshape(y, shape=tuple(v.shape))], [True]
        return [self(*align(size, mapped, (a, v)), side=side)], [True]

    def samples(self, draw: Any) -> Any:
        lead, n, m = draw.shape(max_dims=1), draw.integer(0, 4), draw.integer(0, 4)
        return [np.sort(draw.array((*lead, n))), draw.array((*lead, m))], {"side": draw.sampled(["left", "right"])}


sort = Sort("sort")
top_k = TopK("top_k")
searchsorted = SearchSorted("searchsorted")
