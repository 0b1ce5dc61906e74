"""Windows of arrays: at positions that are known while tracing, and at positions computed at run time.

Run-time positions count from the end where they are negative and are then clamped so that the window lies inside, as
XLA documents it.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.axes import axis_of
from ..core.errors import DtypeError, OutOfBoundsError, ShapeError, message
from ..core.trace import Tracer
from ..primitives.family import p
from .operands import Array, apply, ints, operands, shape_of, strict
from .shapes import squeeze


def slice(
    operand: Array, start_indices: Sequence[int], limit_indices: Sequence[int], strides: Sequence[int] | None = None
) -> Array:
    """The window from `start_indices` up to, not including, `limit_indices`, every `strides[k]`-th element of axis k.

    0 <= start <= limit <= size and stride >= 1 must hold for each axis: else `ShapeError`.

    >>> from fgrad import lax
    >>> lax.slice(np.arange(10), (2,), (9,), (3,))
    array([2, 5, 8])
    """
    x, starts, limits = strict(operand), ints(start_indices), ints(limit_indices)
    steps = (1,) * x.ndim if strides is None else ints(strides)
    if not len(starts) == len(limits) == len(steps) == x.ndim:
        raise ShapeError(
            message(
                f"slice: needs {x.ndim} starts, limits and strides",
                got=f"{starts}, {limits}, {steps}",
                do="give one per axis",
            )
        )
    for a, (s, e, step, n) in enumerate(zip(starts, limits, steps, x.shape, strict=True)):
        if not 0 <= s <= e <= n or step < 1:
            what = f"slice: {s}:{e}:{step} does not lie in axis {a} of size {n}"
            raise ShapeError(
                message(what, got=f"shape {tuple(x.shape)}", do="0 <= start <= limit <= size, stride >= 1")
            )
    sizes = tuple(-(-(e - s) // step) for s, e, step in zip(starts, limits, steps, strict=True))
    return p.dynamic_slice(x, *[np.int64(s) for s in starts], sizes=sizes, strides=steps)


def slice_in_dim(
    operand: Array, start_index: int | None, limit_index: int | None, stride: int = 1, axis: int = 0
) -> Array:
    """`slice` along one axis; negative bounds count from the end, None is the end. Raises `ShapeError`.

    >>> from fgrad import lax
    >>> lax.slice_in_dim(np.arange(5), -3, None)
    array([2, 3, 4])
    """
    x = strict(operand)
    axis = axis_of("slice_in_dim", axis, x.ndim)
    n = x.shape[axis]
    start = 0 if start_index is None else operator.index(start_index)
    limit = n if limit_index is None else operator.index(limit_index)
    starts, limits, steps = [0] * x.ndim, list(x.shape), [1] * x.ndim
    starts[axis], limits[axis], steps[axis] = start + n * (start < 0), limit + n * (limit < 0), operator.index(stride)
    return slice(x, starts, limits, steps)


def index_in_dim(operand: Array, index: int, axis: int = 0, keepdims: bool = True) -> Array:
    """The entry at a Python int `index` along an axis, which stays with size 1 if `keepdims`.

    Negative indices count from the end. Raises `OutOfBoundsError` for one outside the axis.

    >>> from fgrad import lax
    >>> lax.index_in_dim(np.arange(5), -1, keepdims=False)
    np.int64(4)
    """
    x, index = strict(operand), operator.index(index)
    axis = axis_of("index_in_dim", axis, x.ndim)
    n = x.shape[axis]
    if not -n <= index < n:
        what = f"index {index} is out of bounds for axis {axis} with size {n}"
        raise OutOfBoundsError(message(what, got=f"shape {tuple(x.shape)}", do="correct the index"))
    entry = slice_in_dim(x, index % n, index % n + 1, axis=axis)
    return entry if keepdims else squeeze(entry, (axis,))


def _starts(name: str, indices: Any, shape: tuple[int, ...]) -> list[Any]:
    """Scalar starts, one per axis, those below zero counted from the end."""
    if type(indices) is Tracer or isinstance(indices, np.ndarray):
        if len(indices.shape) != 1:
            raise ShapeError(
                message(
                    f"{name}: start indices must be a vector",
                    got=f"shape {tuple(indices.shape)}",
                    do="give one per axis",
                )
            )
        count = indices.shape[0]
        indices = [
            p.reshape(p.dynamic_slice(indices, np.int64(k), sizes=(1,), strides=(1,)), shape=()) for k in range(count)
        ]
    starts = [strict(i) for i in indices]
    if len(starts) != len(shape):
        raise ShapeError(message(f"{name}: needs {len(shape)} start indices", got=len(starts), do="give one per axis"))
    out = []
    for start, n in zip(starts, shape, strict=True):
        if start.shape or start.dtype.kind not in "iu":
            what = f"{name}: start indices must be integer scalars"
            raise DtypeError(message(what, got=f"{start.dtype}, shape {tuple(start.shape)}", do="convert them first"))
        start = p.convert_element_type(start, dtype=np.dtype(np.int64))
        out.append(p.select(p.lt(start, 0), p.add(start, n), start))
    return out


def dynamic_slice(operand: Array, start_indices: Any, slice_sizes: Sequence[int]) -> Array:
    """The window of shape `slice_sizes` that begins at `start_indices`, integers that may be traced.

    `start_indices` is a vector, or a sequence of scalars, with one per axis. Negative ones count from the end; then
    the window is moved to lie inside. Raises `ShapeError` for a window larger than the array, `DtypeError` for starts
    that are no integers.

    >>> from fgrad import lax
    >>> lax.dynamic_slice(np.arange(5), (4,), (2,))
    array([3, 4])
    """
    x, sizes = strict(operand), ints(slice_sizes)
    starts = _starts("dynamic_slice", start_indices, tuple(x.shape))
    return apply(p.dynamic_slice, x, *starts, sizes=sizes, strides=(1,) * x.ndim)


def dynamic_slice_in_dim(operand: Array, start_index: Array, slice_size: int, axis: int = 0) -> Array:
    """`dynamic_slice` along one axis.

    >>> from fgrad import lax
    >>> lax.dynamic_slice_in_dim(np.arange(5), 1, 2)
    array([1, 2])
    """
    x = strict(operand)
    axis = axis_of("dynamic_slice_in_dim", axis, x.ndim)
    sizes = [operator.index(slice_size) if a == axis else n for a, n in enumerate(x.shape)]
    return dynamic_slice(x, [start_index if a == axis else 0 for a in range(x.ndim)], sizes)


def dynamic_index_in_dim(operand: Array, index: Array, axis: int = 0, keepdims: bool = True) -> Array:
    """The entry at an integer `index`, which may be traced, along an axis, which stays with size 1 if `keepdims`.

    Indices are clamped as in `dynamic_slice`.

    >>> from fgrad import lax
    >>> lax.dynamic_index_in_dim(np.arange(5), -1, keepdims=False)
    np.int64(4)
    """
    entry = dynamic_slice_in_dim(operand, index, 1, axis)
    return entry if keepdims else squeeze(entry, (axis,))


def dynamic_update_slice(operand: Array, update: Array, start_indices: Any) -> Array:
    """The operand with the window at `start_indices` replaced by `update`, of the same dtype and number of axes.

    Starts are taken as in `dynamic_slice`. Raises `ShapeError` for an update larger than the array, `DtypeError` for
    one of another dtype.

    >>> from fgrad import lax
    >>> lax.dynamic_update_slice(np.arange(5), np.array([7, 8]), (1,))
    array([0, 7, 8, 3, 4])
    """
    x, u = strict(operand), _update("dynamic_update_slice", operand, update)
    if u.ndim != x.ndim:
        what = "dynamic_update_slice: the update must have as many axes as the array"
        raise ShapeError(message(what, got=f"shapes {tuple(u.shape)} and {tuple(x.shape)}", do="insert axes of size 1"))
    starts = _starts("dynamic_update_slice", start_indices, tuple(x.shape))
    return apply(p.dynamic_update_slice, x, u, *starts, strides=(1,) * x.ndim)


def _update(name: str, x: Any, update: Any) -> Any:
    """The update at the dtype of x where it is a Python number."""
    if not shape_of(update):
        update = operands(name, update, np.zeros((), strict(x).dtype)[()])[0]
    u = strict(update)
    if u.dtype != strict(x).dtype:
        raise DtypeError(
            message(
                f"{name}: the update has another dtype", got=f"{u.dtype} for {strict(x).dtype}", do="convert it first"
            )
        )
    return u


def dynamic_update_slice_in_dim(operand: Array, update: Array, start_index: Array, axis: int) -> Array:
    """`dynamic_update_slice` along one axis; the update fills the others.

    >>> from fgrad import lax
    >>> lax.dynamic_update_slice_in_dim(np.arange(5), np.array([7, 8]), 3, 0)
    array([0, 1, 2, 7, 8])
    """
    x = strict(operand)
    axis = axis_of("dynamic_update_slice_in_dim", axis, x.ndim)
    return dynamic_update_slice(x, update, [start_index if a == axis else 0 for a in range(x.ndim)])


def dynamic_update_index_in_dim(operand: Array, update: Array, index: Array, axis: int) -> Array:
    """The operand with its entry at `index` along an axis replaced; the update may leave that axis out.

    >>> from fgrad import lax
    >>> lax.dynamic_update_index_in_dim(np.arange(5), 7, -1, 0)
    array([0, 1, 2, 3, 7])
    """
    x, u = strict(operand), _update("dynamic_update_index_in_dim", operand, update)
    axis = axis_of("dynamic_update_index_in_dim", axis, x.ndim)
    if u.ndim == x.ndim - 1:
        u = p.reshape(u, shape=(*u.shape[:axis], 1, *u.shape[axis:]))
    return dynamic_update_slice_in_dim(x, u, index, axis)
