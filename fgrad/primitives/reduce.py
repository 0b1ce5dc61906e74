"""Reductions over axes and running reductions along one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.errors import DtypeError, ShapeError, message
from ..core.primitive import Primitive
from ..core.trace import stage
from ..core.types import ShapedArray, shaped
from .family import KINDS, check_axes, p, type_of, zeros


def _others(shape: Sequence[int], axes: Sequence[int]) -> tuple[int, ...]:
    return tuple(a for a in range(len(shape)) if a not in axes)


def restore(y: Any, shape: tuple[int, ...], axes: tuple[int, ...]) -> Any:
    """`y`, reduced over `axes` of an array of that shape, repeated along them."""
    return p.broadcast_in_dim(y, shape=tuple(shape), dims=_others(shape, axes))


class Reduce(Primitive):
    """A ufunc's reduction over `axes`. `empty`: whether reducing nothing has a value."""

    shapes = ()

    def __init__(self, name: str, ufunc: np.ufunc, takes: str, *, gives: Any = None, empty: bool = True):
        super().__init__(name)
        self.reduce = ufunc.reduce
        self.takes = takes
        self.gives = gives
        self.empty = empty

    def typeof(self, x: ShapedArray, *, axes: tuple[int, ...]) -> tuple[ShapedArray, ...]:
        check_axes(self.name, axes, x)
        if x.dtype.kind not in self.takes:
            raise DtypeError(
                message(f"{self.name} is not defined for {KINDS[x.dtype.kind]} operands", got=x, do="convert first")
            )
        if not self.empty and any(x.shape[a] == 0 for a in axes):
            raise ShapeError(
                message(f"{self.name} of no elements has no value", got=x, do="give an initial value, or no empty axis")
            )
        return (shaped(tuple(x.shape[a] for a in _others(x.shape, axes)), self.gives or x.dtype),)

    def run(self, x: Any, *, axes: tuple[int, ...]) -> tuple[Any, ...]:
        x = np.asarray(x)
        return (self.reduce(x, axis=axes, dtype=None if self.gives else x.dtype),)

    def kernel(self, x: ShapedArray, *, axes: tuple[int, ...]) -> Callable[..., Any]:  # type: ignore[override]
        reduce, dtype = self.reduce, None if self.gives else x.dtype
        if len(axes) == x.ndim:
            return lambda x: reduce(x, None, dtype)
        axis = axes[0] if len(axes) == 1 else axes
        return lambda x: reduce(x, axis, dtype)

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], x: Any, *, axes: tuple[int, ...]) -> Sequence[Any]:
        return (None,)

    def batch(self, size: int, mapped: Sequence[bool], x: Any, *, axes: tuple[int, ...]) -> Any:
        return [self(x, axes=tuple(a + 1 for a in axes))], [True]

    def samples(self, draw: Any) -> Any:
        shape = draw.shape(min_side=0 if self.empty else 1)
        dtype = "b1" if self.takes == "b" else "f8"
        return [draw.array(shape, dtype)], {"axes": tuple(i for i in range(len(shape)) if draw.bool())}


class ReduceSum(Reduce):
    """Sum over `axes`."""

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], x: Any, *, axes: tuple[int, ...]) -> Sequence[Any]:
        return (self(tangents[0], axes=axes),)

    def pull(self, cts: Sequence[Any], x: Any, *, axes: tuple[int, ...]) -> Sequence[Any]:
        return (restore(cts[0], x.shape, axes),)


class ReduceProd(Reduce):
    """Product over `axes`."""

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], x: Any, *, axes: tuple[int, ...]) -> Sequence[Any]:
        # d y / d x_i is the product of the others, right where factors are zero: of those before times of those behind
        kept = _others(x.shape, axes)
        order = (*kept, *axes)
        flat = tuple(x.shape[a] for a in kept) + (int(np.prod([x.shape[a] for a in axes])),)
        line = lambda v: p.reshape(p.transpose(v, axes=order), shape=flat)  # noqa: E731
        axis = len(flat) - 1
        row = line(x)
        if not flat[axis]:
            return (zeros(type_of(outs[0])),)
        one = stage(p.broadcast_in_dim, row.dtype.type(1), shape=(*flat[:-1], 1), dims=())
        starts = [np.int64(0)] * len(flat)
        ahead, behind = [*starts], [*starts]
        behind[axis] = np.int64(1)
        sizes = (*flat[:-1], flat[axis] - 1)
        strides = (1,) * len(flat)
        before = p.concatenate(
            one,
            p.cumprod(p.dynamic_slice(row, *ahead, sizes=sizes, strides=strides), axis=axis, reverse=False),
            axis=axis,
        )
        after = p.concatenate(
            p.cumprod(p.dynamic_slice(row, *behind, sizes=sizes, strides=strides), axis=axis, reverse=True),
            one,
            axis=axis,
        )
        return (p.reduce_sum(p.mul0(p.mul(before, after), line(tangents[0])), axes=(axis,)),)


class ReduceExtreme(Reduce):
    """Largest or smallest element over `axes`; ties share the derivative equally, a NaN is the result."""

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], x: Any, *, axes: tuple[int, ...]) -> Sequence[Any]:
        here = p.convert_element_type(p.eq(x, restore(outs[0], x.shape, axes)), dtype=x.dtype)
        count = restore(p.reduce_sum(here, axes=axes), x.shape, axes)
        return (p.reduce_sum(p.mul0(p.div(here, p.max(count, 1)), tangents[0]), axes=axes),)


class ArgExtreme(Primitive):
    """Index along `axis` of the first largest or smallest element (a NaN counts as such), as int64."""

    def __init__(self, name: str, fn: Callable[..., Any]):
        super().__init__(name)
        self.fn = fn

    def typeof(self, x: ShapedArray, *, axis: int) -> tuple[ShapedArray, ...]:
        check_axes(self.name, (axis,), x)
        if not x.shape[axis]:
            raise ShapeError(
                message(f"{self.name} of no elements has no value", got=x, do="give an axis that is not empty")
            )
        return (shaped(x.shape[:axis] + x.shape[axis + 1 :], np.dtype(np.int64)),)

    def run(self, x: Any, *, axis: int) -> tuple[Any, ...]:
        return (self.fn(x, axis),)

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], x: Any, *, axis: int) -> Sequence[Any]:
        return (None,)

    def batch(self, size: int, mapped: Sequence[bool], x: Any, *, axis: int) -> Any:
        return [self(x, axis=axis + 1)], [True]

    def samples(self, draw: Any) -> Any:
        shape = draw.shape(min_dims=1, min_side=1)
        return [draw.array(shape)], {"axis": draw.integer(0, len(shape) - 1)}


class Cumulative(Primitive):
    """A ufunc's running reduction along `axis`, from the end where `reverse`."""

    def __init__(self, name: str, ufunc: np.ufunc, takes: str):
        super().__init__(name)
        self.accumulate = ufunc.accumulate
        self.takes = takes

    def typeof(self, x: ShapedArray, *, axis: int, reverse: bool) -> tuple[ShapedArray, ...]:
        check_axes(self.name, (axis,), x)
        if x.dtype.kind not in self.takes:
            raise DtypeError(
                message(f"{self.name} is not defined for {KINDS[x.dtype.kind]} operands", got=x, do="convert first")
            )
        return (x,)

    def run(self, x: Any, *, axis: int, reverse: bool) -> tuple[Any, ...]:
        x = np.asarray(x)
        if reverse:
            return (np.ascontiguousarray(np.flip(self.accumulate(np.flip(x, axis), axis, x.dtype), axis)),)
        return (self.accumulate(x, axis, x.dtype),)

    def batch(self, size: int, mapped: Sequence[bool], x: Any, *, axis: int, reverse: bool) -> Any:
        return [self(x, axis=axis + 1, reverse=reverse)], [True]

    def samples(self, draw: Any) -> Any:
        shape = draw.shape(min_dims=1)
        return [draw.array(shape)], {"axis": draw.integer(0, len(shape) - 1), "reverse": draw.bool()}


class CumSum(Cumulative):
    """Running sum."""

    def tangent(
        self, tangents: Sequence[Any], outs: Sequence[Any], x: Any, *, axis: int, reverse: bool
    ) -> Sequence[Any]:
        return (self(tangents[0], axis=axis, reverse=reverse),)

    def pull(self, cts: Sequence[Any], x: Any, *, axis: int, reverse: bool) -> Sequence[Any]:
        return (self(cts[0], axis=axis, reverse=not reverse),)


class CumProd(Cumulative):
    """Running product."""

    def tangent(
        self, tangents: Sequence[Any], outs: Sequence[Any], x: Any, *, axis: int, reverse: bool
    ) -> Sequence[Any]:
        # y_k = x_k y_(k-1): the tangent obeys a linear recurrence, unrolled by doubling (Hillis and Steele 1986), so
        # no product is divided by a factor that may be zero.
        n = x.shape[axis]
        ts, xs = tangents[0], x
        shift = 1
        while shift < n:
            before = lambda v, fill: _shifted(v, axis, shift if not reverse else -shift, fill)  # noqa: B023, E731
            ts = p.add(p.mul0(before(xs, 1), ts), p.mul0(xs, before(ts, 0)))
            xs = p.mul(xs, before(xs, 1))
            shift *= 2
        return (ts,)


def _shifted(x: Any, axis: int, by: int, fill: int) -> Any:
    low = tuple(by if a == axis else 0 for a in range(x.ndim))
    value = x.dtype.type(fill)
    return p.pad(x, value, low=low, high=tuple(-v for v in low), interior=(0,) * x.ndim)


class CumExtreme(Cumulative):
    """Running maximum or minimum; the derivative goes to the latest element that set the value."""

    def tangent(
        self, tangents: Sequence[Any], outs: Sequence[Any], x: Any, *, axis: int, reverse: bool
    ) -> Sequence[Any]:
        position = stage(p.iota, dtype=np.dtype(np.int64), shape=x.shape, axis=axis)
        if reverse:
            position = p.sub(x.shape[axis] - 1, position)
        where = p.cummax(p.select(p.eq(x, outs[0]), position, zeros(type_of(position))), axis=axis, reverse=reverse)
        if reverse:
            where = p.sub(x.shape[axis] - 1, where)
        return (take_along(tangents[0], where, axis),)


def take_along(x: Any, index: Any, axis: int) -> Any:
    """x[..., index[..., i, ...], ...] along `axis`, other axes matched."""
    shape = tuple(index.shape)
    along = lambda a: stage(p.iota, dtype=np.dtype(np.int64), shape=shape, axis=a)  # noqa: E731
    indices = [index if a == axis else along(a) for a in range(len(shape))]
    return p.gather(x, *indices, axes=tuple(range(len(shape))), mode="promise")


reduce_sum = ReduceSum("reduce_sum", np.add, "biufc")
reduce_prod = ReduceProd("reduce_prod", np.multiply, "biufc")
reduce_max = ReduceExtreme("reduce_max", np.maximum, "biuf", empty=False)
reduce_min = ReduceExtreme("reduce_min", np.minimum, "biuf", empty=False)
reduce_and = Reduce("reduce_and", np.logical_and, "b", gives=np.dtype(np.bool_))
reduce_or = Reduce("reduce_or", np.logical_or, "b", gives=np.dtype(np.bool_))
argmax = ArgExtreme("argmax", np.argmax)
argmin = ArgExtreme("argmin", np.argmin)
cumsum = CumSum("cumsum", np.add, "iufc")
cumprod = CumProd("cumprod", np.multiply, "iufc")
cummax = CumExtreme("cummax", np.maximum, "biuf")
cummin = CumExtreme("cummin", np.minimum, "biuf")
