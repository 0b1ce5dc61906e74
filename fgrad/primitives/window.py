"""Reductions over the windows of an array, and the linear maps that differentiate them.

All primitives here share the params of one geometry, with one integer per axis of the array: `window` (its shape),
`strides`, `dilation` (the distance of neighbours in a window), `low` (padding in front; negative: what is left out)
and `sizes` (the shape of the result). Element k of window t is at the place t · strides + k · dilation - low; places
outside the array hold the identity of the reduction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.errors import DtypeError, ShapeError, message
from ..core.primitive import Primitive
from ..core.types import ShapedArray, shaped
from .family import KINDS, align, p

Ints = tuple[int, ...]


class Windowed(Primitive):
    """What the primitives of windows have in common: checks of the geometry, batching, and its drawing for tests."""

    takes = "f"
    # Whether the windows lie in the result instead of the operand.
    spreads = False

    def typeof(self, x: ShapedArray, *others: ShapedArray, **params: Any) -> tuple[ShapedArray, ...]:
        names = ("window", "strides", "dilation", "low", "sizes")
        if any(len(params[name]) != x.ndim for name in names):
            what = f"{self.name}: needs one integer per axis for each of {', '.join(names)}"
            raise ShapeError(message(what, got=f"{x}, {params}", do="correct them"))
        positive = (*params["window"], *params["strides"], *params["dilation"])
        if min(positive, default=1) < 1 or min(params["sizes"], default=0) < 0:
            what = f"{self.name}: windows, strides and dilations must be positive, sizes not negative"
            raise ShapeError(message(what, got=params, do="correct them"))
        if x.dtype.kind not in self.takes:
            what = f"{self.name} is not defined for {KINDS[x.dtype.kind]} operands"
            raise DtypeError(message(what, got=x, do="convert first"))
        for index in others:
            if index.shape != (x.shape if self.spreads else params["sizes"]) or index.dtype.kind not in "iu":
                what = f"{self.name}: needs one integer index per window"
                raise ShapeError(message(what, got=f"{x} and {index}", do="use those of window_argmax"))
        return (shaped(params["sizes"], x.dtype),)

    def batch(self, size: int, mapped: Sequence[bool], *xs: Any, **params: Any) -> Any:
        lead = {"window": 1, "strides": 1, "dilation": 1, "low": 0, "sizes": size}
        return [self(*align(size, mapped, xs), **{k: (lead[k], *v) for k, v in params.items()})], [True]

    def samples(self, draw: Any) -> Any:
        shape = draw.shape(max_side=4)
        some = lambda low, high: tuple(draw.integer(low, high) for _ in shape)  # noqa: E731
        params = {
            "window": some(1, 3),
            "strides": some(1, 3),
            "dilation": some(1, 2),
            "low": some(-1, 2),
            "sizes": some(0, 3),
        }
        return [draw.array(shape)], params


class WindowReduce(Windowed):
    """The reduction of each window by a ufunc."""

    def __init__(self, name: str, ufunc: np.ufunc, takes: str):
        super().__init__(name)
        self.combine = ufunc
        self.takes = takes

    def identity(self, dtype: np.dtype) -> Any:
        """What changes nothing when it is combined with anything."""
        if self.combine is np.add:
            return dtype.type(0)
        largest = self.combine is np.minimum
        if dtype.kind == "b":
            return np.bool_(largest)
        if dtype.kind == "f":
            return dtype.type(np.inf if largest else -np.inf)
        return dtype.type(np.iinfo(dtype).max if largest else np.iinfo(dtype).min)

    def run(self, x: Any, *, window: Ints, strides: Ints, dilation: Ints, low: Ints, sizes: Ints) -> tuple[Any, ...]:
        x = np.asarray(x)
        y = padded(x, low, extent(sizes, window, strides, dilation), self.identity(x.dtype))
        for axis in reversed(range(x.ndim)):  # windows are boxes: one axis after the other
            if sizes[axis] == 1:
                every = y[(*[slice(None)] * axis, slice(None, None, dilation[axis]))]
                y = self.combine.reduce(every, axis, x.dtype, keepdims=True)
                continue
            first, *others = _taps(y, axis, window[axis], strides[axis], dilation[axis], sizes[axis])
            y = self.combine(first, others[0]) if others else first
            for tap in others[1:]:
                self.combine(y, tap, out=y)
        return (np.array(y, order="C")[()],)


class WindowSum(WindowReduce):
    """The sum of each window."""

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], x: Any, **params: Any) -> Sequence[Any]:
        return (self(tangents[0], **params),)

    def pull(self, cts: Sequence[Any], x: Any, **params: Any) -> Sequence[Any]:
        return (p.window_spread(cts[0], **params | {"sizes": tuple(x.shape)}),)


class WindowSpread(Windowed):
    """The transpose of `window_sum`: each element is added to all places of its window in the result."""

    takes = "iufc"
    spreads = True

    def run(self, x: Any, *, window: Ints, strides: Ints, dilation: Ints, low: Ints, sizes: Ints) -> tuple[Any, ...]:
        y = np.asarray(x)
        shape = list(y.shape)
        for axis, n in enumerate(extent(y.shape, window, strides, dilation)):
            shape[axis] = n
            wider = np.zeros(shape, y.dtype)
            for tap in _taps(wider, axis, window[axis], strides[axis], dilation[axis], y.shape[axis]):
                tap += y
            y = wider
        return (_cut(y, low, sizes)[()],)

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], x: Any, **params: Any) -> Sequence[Any]:
        return (self(tangents[0], **params),)

    def pull(self, cts: Sequence[Any], x: Any, **params: Any) -> Sequence[Any]:
        return (p.window_sum(cts[0], **params | {"sizes": tuple(x.shape)}),)


class WindowExtreme(WindowReduce):
    """The largest or smallest element of each window, a NaN if there is one; the derivative is that of this element."""

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], x: Any, **params: Any) -> Sequence[Any]:
        index = (p.window_argmax if self.combine is np.maximum else p.window_argmin)(x, **params)
        return (p.window_pick(tangents[0], index, **params),)

    def samples(self, draw: Any) -> Any:
        shape = draw.shape(min_side=1, max_side=4)
        one = draw.integer
        axes = [(n, one(1, 3), one(1, 3), one(1, min(2, n))) for n in shape]
        low = [one(0, (k - 1) * d) for _, k, _, d in axes]  # each window holds an element: no derivative of infinities
        params = {
            "window": tuple(k for _, k, _, _ in axes),
            "strides": tuple(s for _, _, s, _ in axes),
            "dilation": tuple(d for _, _, _, d in axes),
            "low": tuple(low),
            "sizes": tuple(one(0, (n - 1 + lo) // s + 1) for (n, _, s, _), lo in zip(axes, low, strict=True)),
        }
        return [draw.array(shape)], params


class WindowArg(Windowed):
    """The number, within each window, of its first largest or smallest element, a NaN counting as such.

    Numbers count the elements of a window in C order; places outside the array count too, as -inf or inf (or the
    extreme integer). Their dtype is uint8 where that is enough, else int32.
    """

    takes = "biuf"

    def __init__(self, name: str, reduce: WindowReduce, keeps: np.ufunc):
        super().__init__(name)
        self.reduce = reduce
        self.keeps = keeps

    def typeof(self, x: ShapedArray, *others: ShapedArray, **params: Any) -> tuple[ShapedArray, ...]:
        super().typeof(x, **params)
        return (shaped(params["sizes"], np.uint8 if math.prod(params["window"]) <= 256 else np.int32),)

    def run(self, x: Any, *, window: Ints, strides: Ints, dilation: Ints, low: Ints, sizes: Ints) -> tuple[Any, ...]:
        x = np.asarray(x)
        best = padded(x, low, extent(sizes, window, strides, dilation), self.reduce.identity(x.dtype))
        number = np.zeros(best.shape, np.uint8 if math.prod(window) <= 256 else np.int32)
        weight = 1
        for axis in reversed(range(x.ndim)):  # the last axis first: of equals, the first row and its first element win
            params = (axis, window[axis], strides[axis], dilation[axis], sizes[axis])
            (best, *values), (number, *numbers) = _taps(best, *params), _taps(number, *params)
            if values:
                best, number = best.copy(), number.copy()
            for k, (value, inner) in enumerate(zip(values, numbers, strict=True), 1):
                better = ~(self.keeps(best, value) | (best != best))
                np.copyto(best, value, where=better)
                np.copyto(number, inner + number.dtype.type(k * weight), where=better)
            weight *= window[axis]
        return (np.array(number, order="C")[()],)

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], x: Any, **params: Any) -> Sequence[Any]:
        return (None,)


class WindowPick(Windowed):
    """The element of each window that has the number `index`; zero where it lies outside the array."""

    def run(
        self, x: Any, index: Any, *, window: Ints, strides: Ints, dilation: Ints, low: Ints, sizes: Ints
    ) -> tuple[Any, ...]:
        x = np.asarray(x)
        reach = extent(sizes, window, strides, dilation)
        places = _places(np.asarray(index), reach, window, strides, dilation)
        return (padded(x, low, reach, 0).reshape(-1)[places][()],)

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], x: Any, index: Any, **params: Any) -> Sequence[Any]:
        return (self(tangents[0], index, **params),)

    def pull(self, cts: Sequence[Any], x: Any, index: Any, **params: Any) -> Sequence[Any]:
        return (p.window_place(cts[0], index, **params | {"sizes": tuple(x.shape)}), None)

    def samples(self, draw: Any) -> Any:
        (x,), params = super().samples(draw)
        return [x, _numbers(draw, params["sizes"], params["window"])], params


class WindowPlace(Windowed):
    """The transpose of `window_pick`: each element is added to the place with the number `index` of its window."""

    spreads = True

    def run(
        self, x: Any, index: Any, *, window: Ints, strides: Ints, dilation: Ints, low: Ints, sizes: Ints
    ) -> tuple[Any, ...]:
        x = np.asarray(x)
        reach = extent(x.shape, window, strides, dilation)
        places = _places(np.asarray(index), reach, window, strides, dilation)
        if all(s > (k - 1) * d for s, k, d in zip(strides, window, dilation, strict=True)):  # no two windows overlap
            y = np.zeros(math.prod(reach), x.dtype)
            y[places] = x
        else:
            y = np.bincount(places.reshape(-1), x.reshape(-1), math.prod(reach)).astype(x.dtype)
        return (_cut(y.reshape(reach), low, sizes)[()],)

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], x: Any, index: Any, **params: Any) -> Sequence[Any]:
        return (self(tangents[0], index, **params),)

    def pull(self, cts: Sequence[Any], x: Any, index: Any, **params: Any) -> Sequence[Any]:
        return (p.window_pick(cts[0], index, **params | {"sizes": tuple(x.shape)}), None)

    def samples(self, draw: Any) -> Any:
        (x,), params = super().samples(draw)
        return [x, _numbers(draw, x.shape, params["window"])], params


def _numbers(draw: Any, shape: Ints, window: Ints) -> Any:
    return draw.integers(shape, 0, math.prod(window) - 1)


def extent(count: Ints, window: Ints, strides: Ints, dilation: Ints) -> Ints:
    """How far `count` windows per axis reach."""
    geometry = zip(count, window, strides, dilation, strict=True)
    return tuple((t - 1) * s + (k - 1) * d + 1 if t else 0 for t, k, s, d in geometry)


def overlap(shape: Sequence[int], low: Sequence[int], reach: Sequence[int]) -> tuple[Any, Any]:
    """Slices of what an array and the box `reach` that begins `low` in front of it share: in the array, in the box."""
    inside, placed = [], []
    for n, before, length in zip(shape, low, reach, strict=True):
        start = max(0, -before)
        stop = max(start, min(n, length - before))
        inside.append(slice(start, stop) if start < stop else slice(0))
        placed.append(slice(start + before, stop + before) if start < stop else slice(0))
    return tuple(inside), tuple(placed)


def padded(x: np.ndarray, low: Sequence[int], reach: Sequence[int], value: Any) -> np.ndarray:
    """The box `reach` that begins `low` in front of x, with `value` outside x; a view of x where it lies inside."""
    inside, placed = overlap(x.shape, low, reach)
    if all(s.stop - (s.start or 0) == n for s, n in zip(inside, reach, strict=True)):
        return x[inside]
    new = np.full(reach, value, x.dtype)
    new[placed] = x[inside]
    return new


def _cut(x: np.ndarray, low: Sequence[int], sizes: Sequence[int]) -> np.ndarray:
    """The inverse of `padded`: an array of shape `sizes` with what the box holds of it, and zeros."""
    new = np.zeros(sizes, x.dtype)
    inside, placed = overlap(sizes, low, x.shape)
    new[inside] = x[placed]
    return new


def _taps(x: np.ndarray, axis: int, window: int, stride: int, dilation: int, count: int) -> list[np.ndarray]:
    """Views of the first, second, ... elements of all `count` windows along an axis."""
    span = (count - 1) * stride + 1 if count else 0
    starts = range(0, window * dilation, dilation)
    return [x[(*[slice(None)] * axis, slice(start, start + span, stride))] for start in starts]


def _places(index: np.ndarray, reach: Ints, window: Ints, strides: Ints, dilation: Ints) -> np.ndarray:
    """Where, in the flat box `reach`, the elements of those numbers in their windows lie."""
    first, inner = np.zeros((), np.int64), np.zeros((), np.int64)
    for n, t, k, s, d in zip(reach, index.shape, window, strides, dilation, strict=True):
        first = first[..., None] * n + np.arange(t) * s
        inner = inner[..., None] * n + np.arange(k) * d
    return first + inner.reshape(-1)[index]


window_sum = WindowSum("window_sum", np.add, "iufc")
window_max = WindowExtreme("window_max", np.maximum, "biuf")
window_min = WindowExtreme("window_min", np.minimum, "biuf")
window_argmax = WindowArg("window_argmax", window_max, np.greater_equal)
window_argmin = WindowArg("window_argmin", window_min, np.less_equal)
window_spread = WindowSpread("window_spread")
window_pick = WindowPick("window_pick")
window_place = WindowPlace("window_place")
