"""Operations that move elements without computing: casts, broadcasts, transposes, slices' static relatives, choices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.errors import DtypeError, ShapeError, message
from ..core.primitive import Primitive, is_linear
from ..core.types import ShapedArray, shaped
from .family import align, check_axes, full, p, spread, type_of, zeros


class ConvertElementType(Primitive):
    """x at another dtype; complex to real keeps the real part."""

    cheap = True

    broadcasts = True
    folds = True
    shapes = ()

    def typeof(self, x: ShapedArray, *, dtype: np.dtype) -> tuple[ShapedArray, ...]:
        return (shaped(x.shape, np.dtype(dtype)),)

    def run(self, x: Any, *, dtype: np.dtype) -> tuple[Any, ...]:
        if np.iscomplexobj(x) and np.dtype(dtype).kind != "c" and np.dtype(dtype).kind != "b":
            x = np.real(x)
        return (np.asarray(x).astype(dtype)[()],)

    def fold(self, x: Any, *, dtype: np.dtype) -> tuple[Any, ...]:
        dtype = np.dtype(dtype)
        if dtype.kind in "iu" and x.dtype.kind in "iu" and not np.iinfo(dtype).min <= int(x) <= np.iinfo(dtype).max:
            raise OverflowError(message(f"Python integer {x} out of bounds for {dtype}", got=x, do="use a wider dtype"))
        return self.run(x, dtype=dtype)

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], x: Any, *, dtype: np.dtype) -> Sequence[Any]:
        if np.dtype(dtype).kind not in "fc":
            return (None,)
        return (p.convert_element_type(tangents[0], dtype=dtype),)

    def pull(self, cts: Sequence[Any], x: Any, *, dtype: np.dtype) -> Sequence[Any]:
        return (p.convert_element_type(cts[0], dtype=x.dtype),)

    def batch(self, size: int, mapped: Sequence[bool], x: Any, *, dtype: np.dtype) -> Any:
        return [self(x, dtype=dtype)], [True]

    def samples(self, draw: Any) -> Any:
        from_to = draw.sampled(["f8 f4", "f4 f8", "f8 c16", "c16 f8", "i8 f8", "f8 i8", "b1 f8"]).split()
        return [draw.array(draw.shape(), from_to[0])], {"dtype": np.dtype(from_to[1])}


class BroadcastInDim(Primitive):
    """x repeated: its axis k is axis `dims[k]` of the result, whose size is the same or, where x has size 1, any."""

    cheap = True

    folds = False
    shapes = ("shape",)

    def typeof(self, x: ShapedArray, *, shape: tuple[int, ...], dims: tuple[int, ...]) -> tuple[ShapedArray, ...]:
        fits = len(dims) == x.ndim and all(
            0 <= d < len(shape) and n in (1, shape[d]) for n, d in zip(x.shape, dims, strict=False)
        )
        if not fits or list(dims) != sorted(set(dims)):
            raise ShapeError(
                message(
                    f"broadcast_in_dim: axes {dims} of shape {shape} do not take an operand of shape {x.shape}",
                    got=x,
                    do="give one increasing axis per axis of the operand, of equal size (or operand size 1)",
                )
            )
        return (shaped(tuple(shape), x.dtype),)

    def run(self, x: Any, *, shape: tuple[int, ...], dims: tuple[int, ...]) -> tuple[Any, ...]:
        new = np.empty(shape, np.asarray(x).dtype)
        new[...] = np.reshape(x, self._view(np.shape(x), shape, dims))
        return (new[()],)

    @staticmethod
    def _view(old: tuple[int, ...], shape: tuple[int, ...], dims: tuple[int, ...]) -> tuple[int, ...]:
        if not dims:
            return ()
        sizes = dict(zip(dims, old, strict=True))
        return tuple(sizes.get(d, 1) for d in range(dims[0], len(shape)))

    def view(self, x: ShapedArray, *, shape: tuple[int, ...], dims: tuple[int, ...]) -> tuple[int, ...]:
        return self._view(x.shape, shape, dims)

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], x: Any, **params: Any) -> Sequence[Any]:
        return (self(tangents[0], **params),)

    def pull(self, cts: Sequence[Any], x: Any, *, shape: tuple[int, ...], dims: tuple[int, ...]) -> Sequence[Any]:
        ct = cts[0]
        repeated = tuple(d for d in range(len(shape)) if d not in dims or x.shape[dims.index(d)] != shape[d])
        if repeated:
            ct = p.reduce_sum(ct, axes=repeated)
        return (ct if ct.shape == x.shape else p.reshape(ct, shape=x.shape),)

    def batch(self, size: int, mapped: Sequence[bool], x: Any, *, shape: tuple[int, ...], dims: tuple[int, ...]) -> Any:
        return [self(x, shape=(size, *shape), dims=(0, *[d + 1 for d in dims]))], [True]

    def samples(self, draw: Any) -> Any:
        shape = draw.shape(max_dims=3)
        dims = tuple(i for i in range(len(shape)) if draw.bool())
        return [draw.array(tuple(shape[d] if draw.bool() else 1 for d in dims))], {"shape": shape, "dims": dims}


class _Linear(Primitive):
    """An operation on one operand that is linear and only moves elements: its tangent is itself."""

    cheap = True

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], *xs: Any, **params: Any) -> Sequence[Any]:
        return (self(tangents[0], *xs[1:], **params),)


class Reshape(_Linear):
    """The elements of x in C order under another shape."""

    aliases = True
    moves = True
    shapes = ("shape",)

    def resizes(self, x: ShapedArray, *, shape: tuple[int, ...]) -> bool:  # type: ignore[override]
        return [n for n in x.shape if n != 1] == [n for n in shape if n != 1]

    def typeof(self, x: ShapedArray, *, shape: tuple[int, ...]) -> tuple[ShapedArray, ...]:
        new = shaped(tuple(shape), x.dtype)
        if new.size != x.size or any(n < 0 for n in new.shape):
            raise ShapeError(
                message(
                    f"cannot reshape {x.size} elements into shape {shape}", got=x, do="give a shape of as many elements"
                )
            )
        return (new,)

    def run(self, x: Any, *, shape: tuple[int, ...]) -> tuple[Any, ...]:
        return (np.array(x).reshape(shape)[()],)

    def kernel(self, x: ShapedArray, *, shape: tuple[int, ...]) -> Callable[..., Any]:  # type: ignore[override]
        if shape == () or x.ndim == 0:  # of no axes: may come as a Python number
            return lambda x: np.reshape(x, shape)[()]
        return lambda x: x.reshape(shape)

    def pull(self, cts: Sequence[Any], x: Any, *, shape: tuple[int, ...]) -> Sequence[Any]:
        return (self(cts[0], shape=x.shape),)

    def batch(self, size: int, mapped: Sequence[bool], x: Any, *, shape: tuple[int, ...]) -> Any:
        return [self(x, shape=(size, *shape))], [True]

    def samples(self, draw: Any) -> Any:
        x = draw.array(draw.shape())
        return [x], {"shape": draw.sampled([(x.size,), (1, x.size), x.shape[::-1]])}


class Transpose(_Linear):
    """x with its axes in the order `axes`."""

    aliases = True
    moves = True
    shapes = ()

    def typeof(self, x: ShapedArray, *, axes: tuple[int, ...]) -> tuple[ShapedArray, ...]:
        check_axes(self.name, axes, x)
        if len(axes) != x.ndim:
            raise ShapeError(
                message(f"transpose: {len(axes)} axes for {x.ndim} dimensions", got=x, do="name each axis once")
            )
        return (shaped(tuple(x.shape[a] for a in axes), x.dtype),)

    def run(self, x: Any, *, axes: tuple[int, ...]) -> tuple[Any, ...]:
        return (np.array(np.transpose(x, axes), order="C")[()],)

    def kernel(self, x: ShapedArray, *, axes: tuple[int, ...]) -> Callable[..., Any]:  # type: ignore[override]
        return (lambda x: x.T) if axes == (1, 0) else (lambda x: x.transpose(axes))

    def pull(self, cts: Sequence[Any], x: Any, *, axes: tuple[int, ...]) -> Sequence[Any]:
        return (self(cts[0], axes=tuple(int(a) for a in np.argsort(axes))),)

    def batch(self, size: int, mapped: Sequence[bool], x: Any, *, axes: tuple[int, ...]) -> Any:
        return [self(x, axes=(0, *[a + 1 for a in axes]))], [True]

    def samples(self, draw: Any) -> Any:
        shape = draw.shape()
        return [draw.array(shape)], {"axes": tuple(draw.permutation(len(shape)))}


class Rev(_Linear):
    """x with the order of the elements along `axes` reversed."""

    aliases = True
    moves = True

    def typeof(self, x: ShapedArray, *, axes: tuple[int, ...]) -> tuple[ShapedArray, ...]:
        check_axes(self.name, axes, x)
        return (x,)

    def run(self, x: Any, *, axes: tuple[int, ...]) -> tuple[Any, ...]:
        return (np.array(np.flip(x, axes), order="C")[()],)

    def kernel(self, x: ShapedArray, *, axes: tuple[int, ...]) -> Callable[..., Any]:  # type: ignore[override]
        index = tuple(slice(None, None, -1 if a in axes else None) for a in range(x.ndim))
        return lambda x: x[index]

    def pull(self, cts: Sequence[Any], x: Any, *, axes: tuple[int, ...]) -> Sequence[Any]:
        return (self(cts[0], axes=axes),)

    def batch(self, size: int, mapped: Sequence[bool], x: Any, *, axes: tuple[int, ...]) -> Any:
        return [self(x, axes=tuple(a + 1 for a in axes))], [True]

    def samples(self, draw: Any) -> Any:
        shape = draw.shape()
        return [draw.array(shape)], {"axes": tuple(i for i in range(len(shape)) if draw.bool())}


class Pad(Primitive):
    """x with `low` and `high` copies of the scalar `value` at the ends of each axis and `interior` between elements.

    Negative `low` and `high` cut elements off.
    """

    def typeof(
        self, x: ShapedArray, value: ShapedArray, *, low: Any, high: Any, interior: Any
    ) -> tuple[ShapedArray, ...]:
        if value.shape or value.dtype != x.dtype or not len(low) == len(high) == len(interior) == x.ndim:
            raise ShapeError(
                message(
                    "pad: needs a scalar of the operand's dtype and three numbers per axis",
                    got=f"{x}, {value}",
                    do="check the padding",
                )
            )
        shape = tuple(
            lo + hi + n + max(n - 1, 0) * i for n, lo, hi, i in zip(x.shape, low, high, interior, strict=True)
        )
        if any(n < 0 for n in shape):
            raise ShapeError(message("pad: negative padding takes more than there is", got=x, do="cut off less"))
        return (shaped(shape, x.dtype),)

    def run(self, x: Any, value: Any, *, low: Any, high: Any, interior: Any) -> tuple[Any, ...]:
        x = np.asarray(x)
        sizes = [n + max(n - 1, 0) * i for n, i in zip(x.shape, interior, strict=True)]
        spaced = np.full(sizes, value, x.dtype)
        spaced[tuple(slice(None, None, i + 1) for i in interior)] = x
        out = np.full([lo + n + hi for lo, n, hi in zip(low, sizes, high, strict=True)], value, x.dtype)
        source = tuple(slice(max(-lo, 0), n - max(-hi, 0)) for lo, n, hi in zip(low, sizes, high, strict=True))
        target = tuple(slice(max(lo, 0), m - max(hi, 0)) for lo, m, hi in zip(low, out.shape, high, strict=True))
        out[target] = spaced[source]
        return (out[()],)

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], x: Any, value: Any, **params: Any) -> Sequence[Any]:
        t, u = tangents
        return (self(zeros(type_of(x)) if t is None else t, zeros(type_of(value)) if u is None else u, **params),)

    def pull(self, cts: Sequence[Any], x: Any, value: Any, *, low: Any, high: Any, interior: Any) -> Sequence[Any]:
        ct = cts[0]
        one = zeros(shaped((), ct.dtype))
        inner = None
        if is_linear(x) or is_linear(value):
            inner = p.pad(ct, one, low=tuple(-v for v in low), high=tuple(-v for v in high), interior=(0,) * len(low))
            if any(interior):
                inner = strided(inner, tuple(i + 1 for i in interior))
        outside = None
        if is_linear(value):
            everything = p.reduce_sum(ct, axes=tuple(range(ct.ndim)))
            outside = p.sub(everything, p.reduce_sum(inner, axes=tuple(range(ct.ndim))))
        return (inner if is_linear(x) else None, outside)

    def batch(
        self, size: int, mapped: Sequence[bool], x: Any, value: Any, *, low: Any, high: Any, interior: Any
    ) -> Any:
        params = {"low": (0, *low), "high": (0, *high), "interior": (0, *interior)}
        if not mapped[1]:
            return [self(x, value, **params)], [True]
        x = x if mapped[0] else spread(size, x)
        padded = self(x, zeros(shaped((), x.dtype)), **params)
        here = self(full(1, shaped(x.shape, np.bool_)), np.False_, **params)
        return [p.select(here, padded, p.broadcast_in_dim(value, shape=padded.shape, dims=(0,)))], [True]

    def samples(self, draw: Any) -> Any:
        shape = draw.shape()
        some = lambda low, high: tuple(draw.integer(low, high) for _ in shape)  # noqa: E731
        return [draw.array(shape), draw.array(())], {"low": some(0, 2), "high": some(0, 2), "interior": some(0, 2)}


def strided(x: Any, strides: Sequence[int]) -> Any:
    """Every `strides[k]`-th element along axis k."""
    sizes = tuple(-(-n // s) for n, s in zip(x.shape, strides, strict=True))
    starts = [np.int64(0)] * len(sizes)
    return p.dynamic_slice(x, *starts, sizes=sizes, strides=tuple(strides))


class Concatenate(Primitive):
    """Operands one behind the other along `axis`."""

    def typeof(self, *types: ShapedArray, axis: int) -> tuple[ShapedArray, ...]:
        first = types[0]
        check_axes(self.name, (axis,), first)
        rest = lambda t: t.shape[:axis] + t.shape[axis + 1 :]  # noqa: E731
        if any(t.ndim != first.ndim or rest(t) != rest(first) for t in types):
            raise ShapeError(
                message(
                    f"concatenate: shapes must agree except along axis {axis}",
                    got=", ".join(map(str, types)),
                    do="reshape or broadcast the arrays first",
                )
            )
        if any(t.dtype != first.dtype for t in types):
            raise DtypeError(
                message(
                    "concatenate: operands have different dtypes", got=", ".join(map(str, types)), do="convert first"
                )
            )
        total = sum(t.shape[axis] for t in types)
        return (shaped((*first.shape[:axis], total, *first.shape[axis + 1 :]), first.dtype),)

    def run(self, *xs: Any, axis: int) -> tuple[Any, ...]:
        return (np.concatenate(xs, axis),)

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], *xs: Any, axis: int) -> Sequence[Any]:
        return (self(*[zeros(type_of(x)) if t is None else t for t, x in zip(tangents, xs, strict=True)], axis=axis),)

    def pull(self, cts: Sequence[Any], *xs: Any, axis: int) -> Sequence[Any]:
        out, start = [], 0
        for x in xs:
            starts = [np.int64(start if a == axis else 0) for a in range(x.ndim)]
            out.append(p.dynamic_slice(cts[0], *starts, sizes=x.shape, strides=(1,) * x.ndim) if is_linear(x) else None)
            start += x.shape[axis]
        return out

    def batch(self, size: int, mapped: Sequence[bool], *xs: Any, axis: int) -> Any:
        return [self(*align(size, mapped, xs), axis=axis + 1)], [True]

    def samples(self, draw: Any) -> Any:
        shape = draw.shape(min_dims=1)
        axis = draw.integer(0, len(shape) - 1)
        sizes = [draw.integer(0, 3) for _ in range(draw.integer(1, 3))]
        return [draw.array((*shape[:axis], n, *shape[axis + 1 :])) for n in sizes], {"axis": axis}


class Select(Primitive):
    """Elements of `x` where `which` is true, of `w` elsewhere."""

    cheap = True

    broadcasts = True
    folds = True
    shapes = ()

    def typeof(self, which: ShapedArray, x: ShapedArray, w: ShapedArray) -> tuple[ShapedArray, ...]:
        if which.dtype != np.bool_ or (x is not w and x != w) or which.shape != x.shape:
            raise ShapeError(
                message(
                    "select: needs a boolean array and two arrays of one type, all of one shape",
                    got=f"{which}, {x}, {w}",
                    do="use fgrad.numpy.where, which broadcasts and promotes",
                )
            )
        return (x,)

    def run(self, which: Any, x: Any, w: Any) -> tuple[Any, ...]:
        return (np.where(which, x, w)[()],)

    def kernel(self, *types: ShapedArray, **params: Any) -> Callable[..., Any]:
        return np.where if types[0].ndim else lambda which, x, w: x if which else w

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], which: Any, x: Any, w: Any) -> Sequence[Any]:
        _, t, u = tangents
        return (self(which, zeros(type_of(x)) if t is None else t, zeros(type_of(w)) if u is None else u),)

    def pull(self, cts: Sequence[Any], which: Any, x: Any, w: Any) -> Sequence[Any]:
        none = zeros(type_of(cts[0]))
        return (
            None,
            self(which, cts[0], none) if is_linear(x) else None,
            self(which, none, cts[0]) if is_linear(w) else None,
        )

    def batch(self, size: int, mapped: Sequence[bool], *xs: Any) -> Any:
        return [self(*align(size, mapped, xs))], [True]

    def samples(self, draw: Any) -> Any:
        shape = draw.shape()
        return [draw.array(shape, "b1"), draw.array(shape), draw.array(shape)], {}


class Iota(Primitive):
    """0, 1, 2, ... along `axis` of an array of that shape."""

    cheap = True

    def typeof(self, *, dtype: np.dtype, shape: tuple[int, ...], axis: int) -> tuple[ShapedArray, ...]:
        return (shaped(tuple(shape), np.dtype(dtype)),)

    def run(self, *, dtype: np.dtype, shape: tuple[int, ...], axis: int) -> tuple[Any, ...]:
        line = np.arange(shape[axis], dtype=dtype).reshape([-1 if a == axis else 1 for a in range(len(shape))])
        return (np.array(np.broadcast_to(line, shape)),)

    def samples(self, draw: Any) -> Any:
        shape = draw.shape(min_dims=1)
        return [], {"dtype": np.dtype("f8"), "shape": shape, "axis": draw.integer(0, len(shape) - 1)}


convert_element_type = ConvertElementType("convert_element_type")
broadcast_in_dim = BroadcastInDim("broadcast_in_dim")
reshape = Reshape("reshape")
transpose = Transpose("transpose")
rev = Rev("rev")
pad = Pad("pad")
concatenate = Concatenate("concatenate")
select = Select("select")
iota = Iota("iota")
