"""Slices at run-time positions: reading and writing rectangular windows that begin at scalar indices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.errors import ShapeError, message
from ..core.primitive import Primitive, is_linear
from ..core.trace import stage
from ..core.types import ShapedArray, shaped
from .family import align, p, spread, total, type_of, zeros

_INT = np.dtype(np.int64)


def _window(
    shape: Sequence[int], starts: Sequence[Any], sizes: Sequence[int], strides: Sequence[int]
) -> tuple[slice, ...]:
    """The slices of a window; starts are clamped so that it lies inside (as XLA documents for dynamic_slice)."""
    out = []
    for n, s, m, step in zip(shape, starts, sizes, strides, strict=True):
        span = (m - 1) * step + 1 if m else 0
        s = int(s)
        s = 0 if s < 0 else s if s + span <= n else n - span
        out.append(slice(s, s + span, step))
    return tuple(out)


class DynamicSlice(Primitive):
    """The window of shape `sizes` that begins at the scalar indices `starts`, every `strides`-th element."""

    aliases = True
    indexes = True
    pulls_in_place = True

    def typeof(self, x: ShapedArray, *starts: ShapedArray, sizes: Any, strides: Any) -> tuple[ShapedArray, ...]:
        if not len(starts) == len(sizes) == len(strides) == x.ndim or any(s.shape for s in starts):
            what = "dynamic_slice: needs one scalar start, one size and one stride per axis"
            raise ShapeError(message(what, got=x, do="check the arguments"))
        for n, m, step in zip(x.shape, sizes, strides, strict=True):
            if m < 0 or (m and (m - 1) * step + 1 > n):
                what = f"dynamic_slice: a window of {tuple(sizes)} does not fit"
                raise ShapeError(message(what, got=x, do="make it smaller"))
        return (shaped(tuple(sizes), x.dtype),)

    def run(self, x: Any, *starts: Any, sizes: Any, strides: Any) -> tuple[Any, ...]:
        x = np.asarray(x)
        return (np.array(x[_window(x.shape, starts, sizes, strides)], order="C")[()],)

    def kernel(self, x: ShapedArray, *starts: ShapedArray, sizes: Any, strides: Any) -> Callable[..., Any]:  # type: ignore[override]
        shape = x.shape
        if len(shape) == 1 and sizes[0]:
            (n,), step = shape, strides[0]
            span = (sizes[0] - 1) * step + 1
            last = n - span

            def line(x: Any, start: Any) -> Any:
                start = 0 if start < 0 else last if start > last else start
                return x[start : start + span : step]

            return line
        return lambda x, *starts: x[_window(shape, starts, sizes, strides)]

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], *xs: Any, **params: Any) -> Sequence[Any]:
        return (self(tangents[0], *xs[1:], **params),)

    def transpose(
        self, cts: Sequence[Any], accs: Sequence[Any], x: Any, *starts: Any, sizes: Any, strides: Any
    ) -> Sequence[Any]:
        acc = zeros(x.type) if accs[0] is None else accs[0]
        return (p.dynamic_add_slice(acc, cts[0], *starts, strides=strides), *[None] * len(starts))

    def batch(self, size: int, mapped: Sequence[bool], x: Any, *starts: Any, sizes: Any, strides: Any) -> Any:
        if not any(mapped[1:]):
            starts = (np.int64(0), *starts)
            return [self(x, *starts, sizes=(size, *sizes), strides=(1, *strides))], [True]
        x = x if mapped[0] else spread(size, x)
        indices = _lane_indices(size, mapped[1:], x.shape[1:], starts, sizes, strides)
        return [p.gather(x, *indices, axes=tuple(range(x.ndim)), mode="promise")], [True]

    def samples(self, draw: Any) -> Any:
        shape = draw.shape(min_dims=1)
        strides = tuple(draw.integer(1, 2) for _ in shape)
        sizes = tuple(draw.integer(0, -(-n // step)) for n, step in zip(shape, strides, strict=True))
        starts = [draw.integers((), -1, 2) for _ in shape]
        return [draw.array(shape), *starts], {"sizes": sizes, "strides": strides}


def _window_indices(
    shape: Sequence[int], starts: Sequence[Any], sizes: Sequence[int], strides: Sequence[int], lead: tuple[int, ...]
) -> list[Any]:
    """Index arrays, one per axis, of shape lead + sizes, of windows whose starts have shape `lead`."""
    full_shape = (*lead, *sizes)
    out = []
    for a, (n, s, m, step) in enumerate(zip(shape, starts, sizes, strides, strict=True)):
        span = (m - 1) * step + 1 if m else 0
        s = p.convert_element_type(s, dtype=_INT)
        s = p.max(p.min(s, n - span), 0)
        line = p.mul(stage(p.iota, dtype=_INT, shape=full_shape, axis=len(lead) + a), step)
        out.append(p.add(p.broadcast_in_dim(s, shape=full_shape, dims=tuple(range(len(lead)))), line))
    return out


class UpdateSlice(Primitive):
    """x with the window at `starts` set to `u`, or with `u` added there."""

    indexes = True
    overwrites = 0
    spreads = 1

    def __init__(self, name: str, adds: bool):
        super().__init__(name)
        self.adds = adds

    def typeof(self, x: ShapedArray, u: ShapedArray, *starts: ShapedArray, strides: Any) -> tuple[ShapedArray, ...]:
        p.dynamic_slice.typeof(x, *starts, sizes=u.shape, strides=strides)
        if u.dtype != x.dtype:
            what = f"{self.name}: the update has another dtype"
            raise ShapeError(message(what, got=f"{x} and {u}", do="convert it first"))
        return (x,)

    def run(self, x: Any, u: Any, *starts: Any, strides: Any) -> tuple[Any, ...]:
        return (self.write(np.array(x), u, *starts, strides=strides),)

    def kernel(self, *types: ShapedArray, strides: Any) -> Callable[..., Any]:  # type: ignore[override]
        write = self.writer(*types, strides=strides)
        return lambda x, *rest: write(np.array(x), *rest)

    def writer(self, x: ShapedArray, u: ShapedArray, *starts: ShapedArray, strides: Any) -> Callable[..., Any]:  # type: ignore[override]
        if not x.ndim:  # NumPy scalars
            return (lambda x, u: x + u) if self.adds else (lambda x, u: u)
        shape, sizes, adds = x.shape, u.shape, self.adds
        if x.ndim != 1 or not u.size:

            def box(x: Any, u: Any, *starts: Any) -> Any:
                window = _window(shape, starts, sizes, strides)
                if adds:
                    x[window] += u
                else:
                    x[window] = u
                return x

            return box
        (n,), (m,), (step,) = x.shape, u.shape, strides
        span = (m - 1) * step + 1
        last = n - span

        def line(x: Any, u: Any, start: Any) -> Any:
            start = 0 if start < 0 else last if start > last else start
            if adds:
                x[start : start + span : step] += u
            else:
                x[start : start + span : step] = u
            return x

        return line

    def write(self, x: Any, u: Any, *starts: Any, strides: Any) -> Any:
        return self.writer(type_of(x), type_of(u), strides=strides)(x, u, *starts)

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], *xs: Any, **params: Any) -> Sequence[Any]:
        t, s = (zeros(type_of(x)) if t is None else t for x, t in zip(xs[:2], tangents[:2], strict=True))
        return (self(t, s, *xs[2:], **params),)

    def transpose(
        self, cts: Sequence[Any], accs: Sequence[Any], x: Any, u: Any, *starts: Any, strides: Any
    ) -> Sequence[Any]:
        ct = cts[0]
        c_u = p.dynamic_slice(ct, *starts, sizes=tuple(u.shape), strides=strides) if is_linear(u) else None
        c_x = None
        if is_linear(x):
            c_x = ct if self.adds else self(ct, zeros(type_of(u)), *starts, strides=strides)
        return (total([accs[0], c_x]), total([accs[1], c_u]), *[None] * len(starts))

    def batch(self, size: int, mapped: Sequence[bool], x: Any, u: Any, *starts: Any, strides: Any) -> Any:
        x, u = align(size, mapped[:2], (x, u))
        if not any(mapped[2:]):
            return [self(x, u, np.int64(0), *starts, strides=(1, *strides))], [True]
        indices = _lane_indices(size, mapped[2:], x.shape[1:], starts, u.shape[1:], strides)
        scatter = p.scatter_add if self.adds else p.scatter
        return [scatter(x, u, *indices, axes=tuple(range(x.ndim)), mode="promise")], [True]

    def samples(self, draw: Any) -> Any:
        shape = draw.shape(min_dims=1)
        sizes = tuple(draw.integer(0, n) for n in shape)
        starts = [draw.integers((), -1, 2) for _ in shape]
        return [draw.array(shape), draw.array(sizes), *starts], {"strides": (1,) * len(shape)}


def _lane_indices(
    size: int, mapped: Sequence[bool], shape: Any, starts: Sequence[Any], sizes: Any, strides: Any
) -> list[Any]:
    """Index arrays for all axes, the mapped one in front, of windows that begin elsewhere in each lane."""
    lanes = [s if m else spread(size, s) for s, m in zip(starts, mapped, strict=True)]
    lane = stage(p.iota, dtype=_INT, shape=(size, *sizes), axis=0)
    return [lane, *_window_indices(shape, lanes, sizes, strides, (size,))]


dynamic_slice = DynamicSlice("dynamic_slice")
dynamic_update_slice = UpdateSlice("dynamic_update_slice", adds=False)
dynamic_add_slice = UpdateSlice("dynamic_add_slice", adds=True)
