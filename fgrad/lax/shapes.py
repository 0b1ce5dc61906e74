"""Operations that move elements: broadcasts, reshapes, transposes, padding, joins; and arrays made from nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.axes import axis_of
from ..core.errors import ShapeError, message
from ..core.trace import Tracer
from ..primitives.family import p
from .operands import Array, apply, axes_of, dtype_of, ints, operands, shape_of, strict

Shape = Sequence[int]


def broadcast(operand: Array, sizes: Shape) -> Array:
    """The operand repeated along new leading axes of the given sizes, at the same dtype.

    >>> from fgrad import lax
    >>> lax.broadcast(np.array([1, 2]), (2,))
    array([[1, 2],
           [1, 2]])
    """
    x, sizes = strict(operand), ints(sizes)
    return apply(p.broadcast_in_dim, x, shape=(*sizes, *x.shape), dims=tuple(range(len(sizes), len(sizes) + x.ndim)))


def broadcast_in_dim(operand: Array, shape: Shape, broadcast_dimensions: Sequence[int]) -> Array:
    """The operand repeated to `shape`: its axis k becomes axis `broadcast_dimensions[k]`.

    Sizes must be equal there, or the operand's 1; the axes must rise. Else `ShapeError`. The dtype stays.

    >>> from fgrad import lax
    >>> lax.broadcast_in_dim(np.array([1, 2]), (2, 3), (0,))
    array([[1, 1, 1],
           [2, 2, 2]])
    """
    return apply(p.broadcast_in_dim, strict(operand), shape=ints(shape), dims=ints(broadcast_dimensions))


def broadcast_shapes(*shapes: Shape) -> tuple[int, ...]:
    """The shape to which arrays of these shapes broadcast by NumPy's rules; `ShapeError` where there is none.

    >>> from fgrad import lax
    >>> lax.broadcast_shapes((2, 1), (3,))
    (2, 3)
    """
    try:
        return np.broadcast_shapes(*[ints(s) for s in shapes])
    except ValueError:
        what = f"shapes {' and '.join(map(str, shapes))} do not broadcast"
        raise ShapeError(message(what, do="sizes must be equal or 1 from the last axis on")) from None


def reshape(operand: Array, new_sizes: Shape, dimensions: Sequence[int] | None = None) -> Array:
    """The elements in C order under another shape, after a transposition to the order `dimensions`.

    `new_sizes` must hold as many elements, and no -1: else `ShapeError`. The dtype stays.

    >>> from fgrad import lax
    >>> lax.reshape(np.array([[1, 2], [3, 4]]), (4,), dimensions=(1, 0))
    array([1, 3, 2, 4])
    """
    x = strict(operand)
    if dimensions is not None:
        x = transpose(x, dimensions)
    return apply(p.reshape, x, shape=ints(new_sizes))


def transpose(operand: Array, permutation: Sequence[int]) -> Array:
    """The axes in the order `permutation`, which names each once, counted from the front: else `ShapeError`.

    >>> from fgrad import lax
    >>> lax.transpose(np.array([[1, 2], [3, 4]]), (1, 0))
    array([[1, 3],
           [2, 4]])
    """
    return apply(p.transpose, strict(operand), axes=ints(permutation))


def rev(operand: Array, dimensions: Sequence[int]) -> Array:
    """The elements in reverse order along `dimensions`. Raises `ShapeError` for axes that do not exist.

    >>> from fgrad import lax
    >>> lax.rev(np.array([1, 2, 3]), (0,))
    array([3, 2, 1])
    """
    x = strict(operand)
    return apply(p.rev, x, axes=axes_of("rev", dimensions, x.ndim))


def pad(operand: Array, padding_value: Array, padding_config: Sequence[tuple[int, int, int]]) -> Array:
    """The operand with `padding_value` around and between its elements.

    `padding_config` holds (low, high, interior) per axis: how many at the two ends (negative numbers cut elements off)
    and between neighbours. `padding_value` is a scalar of the operand's dtype, or a Python number. Raises `ShapeError`.

    >>> from fgrad import lax
    >>> lax.pad(np.array([1, 2]), 0, [(1, 0, 2)])
    array([0, 1, 0, 0, 2])
    """
    x = operand if type(operand) is Tracer else strict(operand)
    if shape_of(padding_value):
        raise ShapeError(
            message(
                "pad: the padding value must be a scalar", got=f"shape {shape_of(padding_value)}", do="pass one number"
            )
        )
    value = operands("pad", padding_value, _scalar_like(x))[0]
    config = [ints(c) for c in padding_config]
    if any(len(c) != 3 or c[2] < 0 for c in config):
        what = "pad: padding_config must hold (low, high, interior) per axis, interior not negative"
        raise ShapeError(message(what, got=padding_config, do="write (0, 0, 0) for axes without padding"))
    low, high, interior = (tuple(c[k] for c in config) for k in range(3))
    return apply(p.pad, strict(x), value, low=low, high=high, interior=interior)


def _scalar_like(x: Any) -> Any:
    return np.zeros((), x.dtype)[()]


def concatenate(operands: Sequence[Array], dimension: int) -> Array:
    """Arrays one behind the other along an axis; dtypes and the other sizes must agree.

    Raises `ShapeError` or `DtypeError` where they do not, and for no arrays at all.

    >>> from fgrad import lax
    >>> lax.concatenate([np.array([1, 2]), np.array([3])], 0)
    array([1, 2, 3])
    """
    xs = [strict(x) for x in operands]
    if not xs:
        raise ShapeError(message("concatenate: there are no arrays to join", do="pass at least one"))
    return apply(p.concatenate, *xs, axis=axis_of("concatenate", dimension, xs[0].ndim))


def expand_dims(array: Array, dimensions: Sequence[int]) -> Array:
    """The array with axes of size 1 at the places `dimensions` of the result; `ShapeError` for places outside it.

    >>> from fgrad import lax
    >>> lax.expand_dims(np.array([1, 2]), (0, -1)).shape
    (1, 2, 1)
    """
    x, dimensions = strict(array), ints(dimensions)
    ndim = x.ndim + len(dimensions)
    axes = axes_of("expand_dims", dimensions, ndim)
    sizes = iter(x.shape)
    return p.reshape(x, shape=tuple(1 if a in axes else next(sizes) for a in range(ndim)))


def squeeze(array: Array, dimensions: Sequence[int]) -> Array:
    """The array without the axes `dimensions`, which must have size 1: else `ShapeError`.

    >>> from fgrad import lax
    >>> lax.squeeze(np.ones((1, 2)), (0,)).shape
    (2,)
    """
    x = strict(array)
    axes = axes_of("squeeze", dimensions, x.ndim)
    if any(x.shape[a] != 1 for a in axes):
        what = f"squeeze: axes {axes} must have size 1"
        raise ShapeError(
            message(what, got=f"shape {tuple(x.shape)}", do="select an element with fgrad.lax.index_in_dim")
        )
    return p.reshape(x, shape=tuple(n for a, n in enumerate(x.shape) if a not in axes))


def collapse(operand: Array, start_dimension: int, stop_dimension: int | None = None) -> Array:
    """Axes `start_dimension` up to, not including, `stop_dimension` (None: to the last) made one. Raises `ShapeError`.

    >>> from fgrad import lax
    >>> lax.collapse(np.ones((2, 3, 4)), 1).shape
    (2, 12)
    """
    x = strict(operand)
    start, stop, _ = slice(start_dimension, stop_dimension).indices(x.ndim)
    if start > stop:
        what = f"collapse: there are no axes from {start_dimension} to {stop_dimension}"
        raise ShapeError(message(what, got=f"shape {tuple(x.shape)}", do="give start <= stop"))
    middle = (math.prod(x.shape[start:stop]),)
    return p.reshape(x, shape=(*x.shape[:start], *middle, *x.shape[stop:]))


def split(operand: Array, sizes: Sequence[int], axis: int = 0) -> list[Array]:
    """Consecutive pieces of the given sizes along an axis, which they must fill: else `ShapeError`.

    >>> from fgrad import lax
    >>> lax.split(np.array([1, 2, 3]), (1, 2))
    [array([1]), array([2, 3])]
    """
    x, sizes = strict(operand), ints(sizes)
    axis = axis_of("split", axis, x.ndim)
    if sum(sizes) != x.shape[axis] or any(n < 0 for n in sizes):
        what = f"split: the sizes {sizes} must add up to that of axis {axis}"
        raise ShapeError(message(what, got=f"shape {tuple(x.shape)}", do="give non-negative sizes that fill the axis"))
    pieces, start = [], 0
    for n in sizes:
        starts = [np.int64(start if a == axis else 0) for a in range(x.ndim)]
        window = tuple(n if a == axis else m for a, m in enumerate(x.shape))
        pieces.append(p.dynamic_slice(x, *starts, sizes=window, strides=(1,) * x.ndim))
        start += n
    return pieces


def tile(operand: Array, reps: Sequence[int]) -> Array:
    """The operand repeated `reps[k]` times along axis k; one number per axis, else `ShapeError`.

    >>> from fgrad import lax
    >>> lax.tile(np.array([1, 2]), (2,))
    array([1, 2, 1, 2])
    """
    x, reps = strict(operand), ints(reps)
    if len(reps) != x.ndim or any(n < 0 for n in reps):
        raise ShapeError(message(f"tile: needs {x.ndim} non-negative repetitions", got=reps, do="give one per axis"))
    pairs = tuple(n for pair in zip(reps, x.shape, strict=True) for n in pair)
    repeated = p.broadcast_in_dim(x, shape=pairs, dims=tuple(range(1, 2 * x.ndim, 2)))
    return p.reshape(repeated, shape=tuple(n * m for n, m in zip(reps, x.shape, strict=True)))


def iota(dtype: Any, size: int) -> np.ndarray:
    """0, 1, 2, ..., size - 1 in a numeric dtype. Raises `ShapeError` for a negative size.

    >>> from fgrad import lax
    >>> lax.iota(np.int32, 3)
    array([0, 1, 2], dtype=int32)
    """
    return broadcasted_iota(dtype, (size,), 0)


def broadcasted_iota(dtype: Any, shape: Shape, dimension: int) -> np.ndarray:
    """An array of a shape that counts 0, 1, 2, ... along one of its axes. Raises `ShapeError` where there is none.

    >>> from fgrad import lax
    >>> lax.broadcasted_iota(int, (2, 2), 0)
    array([[0, 0],
           [1, 1]])
    """
    shape = _checked_shape("iota", shape)
    return p.iota(dtype=dtype_of(dtype), shape=shape, axis=axis_of("iota", dimension, len(shape)))


def _checked_shape(name: str, shape: Any) -> tuple[int, ...]:
    shape = ints(shape)
    if any(n < 0 for n in shape):
        raise ShapeError(
            message(f"{name}: sizes must not be negative", got=f"shape {shape}", do="check how the shape is computed")
        )
    return shape


def full(shape: Shape, fill_value: Array, dtype: Any = None) -> Array:
    """An array of a shape that holds one number everywhere, at `dtype`, by default that of the number.

    `fill_value` is a scalar and may be traced. Raises `ShapeError` for another one and for negative sizes.

    >>> from fgrad import lax
    >>> lax.full((2,), 0.5)
    array([0.5, 0.5])
    """
    value = strict(fill_value)
    if value.shape:
        raise ShapeError(
            message(
                "full: the fill value must be a scalar",
                got=f"shape {tuple(value.shape)}",
                do="use fgrad.lax.broadcast_in_dim",
            )
        )
    if dtype is not None and value.dtype != dtype_of(dtype):
        value = p.convert_element_type(value, dtype=dtype_of(dtype))
    return p.broadcast_in_dim(value, shape=_checked_shape("full", shape), dims=())


def full_like(x: Any, fill_value: Array, dtype: Any = None, shape: Shape | None = None) -> Array:
    """`full` with the shape and dtype of x where they are not given; x may be anything that has these attributes.

    >>> from fgrad import lax
    >>> lax.full_like(np.array([1.5, 2.5]), 7)
    array([7., 7.])
    """
    if not hasattr(x, "shape") or not hasattr(x, "dtype"):
        x = strict(x)
    return full(tuple(x.shape) if shape is None else shape, fill_value, x.dtype if dtype is None else dtype)
