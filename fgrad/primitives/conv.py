"""Convolution: one trilinear form whose three bilinear maps are closed under differentiation and batching.

    Σ x[n, j, c] w[k, c, o] y[n, t, o]   over all n, c, o and all t, k, j with  t · stride + k · dilation = j + low

`conv` gives the coefficients of y (the convolution of machine learning, which does not mirror the kernel),
`conv_input_grad` those of x, `conv_weight_grad` those of w: for each map, the transpose in either operand is another
one of the three, with the same geometry.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from ..core.errors import DtypeError, ShapeError, message
from ..core.primitive import Primitive, is_linear
from ..core.types import ShapedArray, shaped
from .family import p, total, type_of, zeros
from .window import extent, overlap, padded

X, W, Y = range(3)

# Bytes of the matrix of windows that is made at a time: it stays in the cache.
_BLOCK = 1 << 20


class Convolution(Primitive):
    """The array number `result` of (x, w, y) from the two others, which are the operands, in this order.

    Layouts: x (N, *spatial, C), w (*spatial, C / groups, O), y (N, *spatial, O). Params, with one integer per spatial
    axis: `strides` (>= 1), `dilation` of the kernel (>= 1), `low` (padding in front; negative: what is left out),
    `sizes` (the spatial shape of the result); and `groups`, into which C and O fall: channel group g of y sees that of
    x. What lies outside x is zero, so the three spatial shapes may be any.
    """

    def __init__(self, name: str, result: int):
        super().__init__(name)
        self.result = result
        self.roles = tuple(r for r in (X, W, Y) if r != result)

    def typeof(self, *types: ShapedArray, **params: Any) -> tuple[ShapedArray, ...]:
        sizes, groups = params["sizes"], params["groups"]
        axes = [params["strides"], params["low"], params["dilation"]]
        if any(t.ndim != len(sizes) + 2 for t in types) or any(len(v) != len(sizes) for v in axes):
            what = (
                f"{self.name}: needs two arrays of {len(sizes) + 2} dimensions and {len(sizes)} numbers per parameter"
            )
            raise ShapeError(message(what, got=f"{types[0]} and {types[1]}", do="check the layouts"))
        if min((*axes[0], *axes[2], groups), default=1) < 1 or min(sizes, default=0) < 0:
            what = f"{self.name}: strides, dilations and groups must be positive, sizes not negative"
            raise ShapeError(message(what, got=params, do="correct them"))
        a, b = types
        if a.dtype != b.dtype or a.dtype.kind == "b":
            what = f"{self.name}: needs two arrays of numbers of one dtype"
            raise DtypeError(message(what, got=f"{a} and {b}", do="convert first"))
        x, w, y = self._roles(a.shape, b.shape, None)
        batch = {s[0] for s in (x, y) if s is not None}
        inside = {s for s in (x and x[-1], w and w[-2] * groups) if s is not None}
        outside = {s[-1] for s in (w, y) if s is not None}
        if len(batch) + len(inside) + len(outside) > 3 or any(n % groups for n in (*inside, *outside)):
            what = f"{self.name}: batches or channels in {groups} groups do not fit together"
            raise ShapeError(message(what, got=f"{a} and {b}", do="check the layouts"))
        (n,), (c,), (o,) = batch, inside, outside
        shape = ((n, *sizes, c), (*sizes, c // groups, o), (n, *sizes, o))[self.result]
        return (shaped(shape, a.dtype),)

    def _roles(self, a: Any, b: Any, result: Any) -> list[Any]:
        """(x, w, y) of what stands for the operands and the result."""
        found = [a, b]
        found.insert(self.result, result)
        return found

    def run(self, a: Any, b: Any, **params: Any) -> tuple[Any, ...]:
        (out_type,) = self.typeof(type_of(a), type_of(b), **params)
        wide = np.dtype(np.float32) if out_type.dtype == np.float16 else out_type.dtype
        out = np.zeros(out_type.shape, wide)
        if out.size and np.size(a) and np.size(b):
            x, w, y = self._roles(np.asarray(a, wide), np.asarray(b, wide), out)
            self._compute(x, w, y, **params)
        return (out.astype(out_type.dtype, copy=False),)

    def _compute(
        self,
        x: np.ndarray,
        w: np.ndarray,
        y: np.ndarray,
        *,
        strides: tuple[int, ...],
        low: tuple[int, ...],
        dilation: tuple[int, ...],
        sizes: tuple[int, ...],
        groups: int,
    ) -> None:
        """Fill the result, which is zero: matrix products with the windows of x, a block of windows at a time."""
        if not sizes:  # one spatial axis of size one
            x, w, y, strides, low, dilation = x[:, None], w[None], y[:, None], (1,), (0,), (1,)
        taps, images, rows = w.shape[:-2], y.shape[0], y.shape[1]
        box = (images, *extent(y.shape[1:-1], taps, strides, dilation), x.shape[-1])
        before = (0, *low, 0)
        wide = np.zeros(box, x.dtype) if self.result == X else padded(x, before, box, 0)
        xs = wide.reshape(*box[:-1], groups, -1)
        ys = y.reshape(*y.shape[:-1], groups, -1)
        kernel = w.reshape(-1, groups, w.shape[-1] // groups).transpose(1, 0, 2)
        row_bytes = math.prod(y.shape[2:-1]) * math.prod(taps) * x.shape[-1] * x.itemsize
        for some, part in _blocks(images, rows, _BLOCK // row_bytes):
            y_block = ys[some, part]
            first, last = part.start * strides[0], (part.stop - 1) * strides[0] + (taps[0] - 1) * dilation[0]
            x_block = xs[some, first : last + 1]
            shape = (*y_block.shape[:-2], *taps, *x_block.shape[-2:])
            if self.result == X:
                products = np.matmul(_by_group(y_block), kernel.transpose(0, 2, 1))
                _add_windows(x_block, _by_place(products, shape), strides, dilation)
                continue
            columns = _by_group(_windows(x_block, shape, strides, dilation)).reshape(groups, -1, kernel.shape[1])
            if self.result == Y:
                y_block[...] = _by_place(np.matmul(columns, kernel), y_block.shape)
            else:
                kernel += np.matmul(columns.transpose(0, 2, 1), _by_group(y_block))
        if self.result == X:
            inside, placed = overlap(x.shape, before, box)
            x[inside] = wide[placed]

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], a: Any, b: Any, **params: Any) -> Sequence[Any]:
        t, u = tangents
        return (total([None if t is None else self(t, b, **params), None if u is None else self(a, u, **params)]),)

    def pull(self, cts: Sequence[Any], a: Any, b: Any, **params: Any) -> Sequence[Any]:
        first = is_linear(a)
        wanted = self.roles[0 if first else 1]
        linear = a if first else b
        params["sizes"] = tuple(linear.shape[:-2] if wanted == W else linear.shape[1:-1])
        known = self._roles(a, b, cts[0])
        del known[wanted]
        pulled = _MAPS[wanted](*known, **params)
        return (pulled, None) if first else (None, pulled)

    def batch(self, size: int, mapped: Sequence[bool], a: Any, b: Any, **params: Any) -> Any:
        groups = params["groups"]
        if not size:
            lanes = [shaped(v.shape[1:] if m else v.shape, v.dtype) for v, m in zip((a, b), mapped, strict=True)]
            (lane,) = self.typeof(*lanes, **params)
            return [zeros(shaped((0, *lane.shape), lane.dtype))], [True]
        if all(mapped):  # lanes become groups
            place = {X: (-1, 1), W: (-1, 1), Y: (-1, 1)}
            params["groups"] = groups * size
        else:  # lanes become images, or channels of the mapped operand and of the result
            place = {
                W: {X: (0, 1), Y: (0, 1)},
                X: {W: (-1, groups), Y: (-1, groups)},
                Y: {X: (-1, groups), W: (-2, 1)},
            }[self.roles[1 if mapped[0] else 0]]
        a, b = (_merged(v, *place[r]) if m else v for v, m, r in zip((a, b), mapped, self.roles, strict=True))
        return [_split(self(a, b, **params), size, *place[self.result])], [True]

    def samples(self, draw: Any) -> Any:
        spatial = draw.shape(max_dims=2, max_side=4)
        some = lambda low, high: tuple(draw.integer(low, high) for _ in spatial)  # noqa: E731
        groups = draw.integer(1, 2)
        n, c, o = draw.integer(0, 2), draw.integer(0, 2), draw.integer(0, 2)
        shapes = [(n, *spatial, groups * c), (*some(0, 3), c, groups * o), (n, *some(0, 3), groups * o)]
        result = shapes.pop(self.result)
        return [draw.array(shape) for shape in shapes], {
            "strides": some(1, 3),
            "low": some(-1, 2),
            "dilation": some(1, 2),
            "sizes": result[:-2] if self.result == W else result[1:-1],
            "groups": groups,
        }


def _merged(v: Any, axis: int, groups: int) -> Any:
    """The first axis taken into `axis` of the others, behind the number of the group."""
    size, *rest = v.shape
    axis %= len(rest)
    lead = (groups,) if groups > 1 else ()
    at = axis + len(lead)
    v = p.reshape(v, shape=(size, *rest[:axis], *lead, rest[axis] // groups, *rest[axis + 1 :]))
    v = p.transpose(v, axes=(*range(1, at + 1), 0, *range(at + 1, v.ndim))) if at else v
    return p.reshape(v, shape=(*rest[:axis], size * rest[axis], *rest[axis + 1 :]))


def _split(v: Any, size: int, axis: int, groups: int) -> Any:
    """The inverse of `_merged`."""
    rest = list(v.shape)
    axis %= len(rest)
    lead = (groups,) if groups > 1 else ()
    at = axis + len(lead)
    each = rest[axis] // (size * groups)
    v = p.reshape(v, shape=(*rest[:axis], *lead, size, each, *rest[axis + 1 :]))
    v = p.transpose(v, axes=(at, *range(at), *range(at + 1, v.ndim))) if at else v
    return p.reshape(v, shape=(size, *rest[:axis], groups * each, *rest[axis + 1 :]))


def _blocks(images: int, rows: int, fit: int) -> Iterator[tuple[slice, slice]]:
    """Slices of images and of rows of one: `fit` rows, as far as possible whole images."""
    step = max(1, fit // rows)
    height = rows if fit >= rows else max(1, fit)
    for i, r in product(range(0, images, step), range(0, rows, height)):
        yield slice(i, min(i + step, images)), slice(r, min(r + height, rows))


def _by_group(v: np.ndarray) -> np.ndarray:
    """(..., groups, m) as (groups, everything else, m)."""
    return np.moveaxis(v, -2, 0).reshape(v.shape[-2], -1, v.shape[-1])


def _by_place(v: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The inverse of `_by_group`, where its operand had that shape."""
    return np.moveaxis(v.reshape(shape[-2], *shape[:-2], shape[-1]), 0, -2)


def _windows(x: np.ndarray, shape: tuple[int, ...], strides: tuple[int, ...], dilation: tuple[int, ...]) -> np.ndarray:
    """A view (N, *positions, *taps, groups, channels) of x (N, *spatial, groups, channels)."""
    image, *steps, group, channel = x.strides
    moves = [n * s for n, s in zip(steps, strides, strict=True)] + [n * d for n, d in zip(steps, dilation, strict=True)]
    return as_strided(x, shape, (image, *moves, group, channel), writeable=False)


def _add_windows(x: np.ndarray, windows: np.ndarray, strides: tuple[int, ...], dilation: tuple[int, ...]) -> None:
    """Add the windows to the places in x of which `_windows` would be the view."""
    spatial = len(strides)
    for tap in np.ndindex(windows.shape[1 + spatial : 1 + 2 * spatial]):
        part = windows[(slice(None),) * (1 + spatial) + tap]
        there = [
            slice(k * d, k * d + (t - 1) * s + 1, s)
            for k, d, t, s in zip(tap, dilation, part.shape[1:-2], strides, strict=True)
        ]
        x[(slice(None), *there)] += part


conv = Convolution("conv", Y)
conv_input_grad = Convolution("conv_input_grad", X)
conv_weight_grad = Convolution("conv_weight_grad", W)
_MAPS = (conv_input_grad, conv_weight_grad, conv)
