"""Arrays put together and taken apart: concatenate, stack, split, append, insert, delete, block, ..."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from ..core.errors import ShapeError, message
from ..core.primitive import registry as p
from ..core.surface import surface
from ..core.trace import Tracer
from . import shapes as s
from .index_pattern import FULL
from .promote import cast, result_dtype
from .support import axis_of, is_traced, part, pick, shape_of, stack_call, stacked, strict, traced
from .views import viewing


def _array(x: Any) -> Any:
    return x if isinstance(x, Tracer) else stacked(x)


def _parts(arrays: Any) -> list[Any]:
    """The arrays to join: a sequence, or the entries of an array along its first axis."""
    if isinstance(arrays, Tracer):
        return [s.reshape_call(part(arrays, 0, i, i + 1), arrays.shape[1:]) for i in range(arrays.shape[0])]
    parts = [_array(x) for x in arrays]
    if not parts:
        raise ShapeError(message("nothing to join: the sequence of arrays is empty", do="pass at least one array"))
    return parts


@surface(run=lambda *xs, axis=0, **dtype: np.concatenate(xs, axis, **dtype), arity=None)
def concatenate_call(*xs: Any, axis: int = 0, dtype: Any = None) -> Any:
    """Arrays one behind the other along an axis."""
    dtype = np.dtype(dtype or result_dtype(*[strict(x) for x in xs]))
    axis = axis_of("concatenate", axis, xs[0].ndim)
    return p.concatenate(*[cast(x, dtype) for x in xs], axis=axis)


@traced(np.concatenate, sequences=True)
def concatenate(
    arrays: Any, /, axis: int | None = 0, out: None = None, *, dtype: Any = None, casting: str = "same_kind"
) -> Any:
    """Arrays one behind the other along `axis`; flattened first where it is None.

    Shapes must agree except along `axis`, else `ShapeError`; dtypes are promoted.

    >>> from fgrad import numpy as fnp
    >>> fnp.concatenate([np.array([1, 2]), np.array([3.0])])
    array([1., 2., 3.])
    """
    parts = _parts(arrays)
    if axis is None:
        parts, axis = [x.reshape(-1) for x in parts], 0
    return concatenate_call(*parts, axis=axis) if dtype is None else concatenate_call(*parts, axis=axis, dtype=dtype)


concat = concatenate


@traced(np.stack, sequences=True)
def stack(arrays: Any, axis: int = 0, out: None = None, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    """Arrays of one shape along a new axis.

    >>> from fgrad import numpy as fnp
    >>> fnp.stack([np.array([1, 2]), np.array([3, 4])], axis=1)
    array([[1, 3],
           [2, 4]])
    """
    y = stack_call(*_parts(arrays), axis=axis)
    return y if dtype is None else y.astype(dtype)


@traced(np.vstack, sequences=True)
def vstack(tup: Any, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    """Arrays as rows one below the other: along the first axis, after `atleast_2d`.

    >>> from fgrad import numpy as fnp
    >>> fnp.vstack([[1, 2], [3, 4]])
    array([[1, 2],
           [3, 4]])
    """
    return concatenate_call(*[s.atleast_2d(x) for x in _parts(tup)], axis=0, dtype=dtype)


@traced(np.hstack, sequences=True)
def hstack(tup: Any, *, dtype: Any = None, casting: str = "same_kind") -> Any:
    """Arrays side by side: along the second axis, vectors along their only one.

    >>> from fgrad import numpy as fnp
    >>> fnp.hstack([[1, 2], [3]])
    array([1, 2, 3])
    """
    parts = [s.atleast_1d(x) for x in _parts(tup)]
    return concatenate_call(*parts, axis=0 if parts[0].ndim == 1 else 1, dtype=dtype)


@traced(np.dstack, sequences=True)
def dstack(tup: Any, *, dtype: Any = None) -> Any:
    """Arrays along the third axis, after `atleast_3d`.

    >>> from fgrad import numpy as fnp
    >>> fnp.dstack([[1, 2], [3, 4]]).shape
    (1, 2, 2)
    """
    return concatenate_call(*[s.atleast_3d(x) for x in _parts(tup)], axis=2, dtype=dtype)


@traced(np.column_stack, sequences=True)
def column_stack(tup: Any) -> Any:
    """Vectors as columns, and matrices, side by side.

    >>> from fgrad import numpy as fnp
    >>> fnp.column_stack([[1, 2], [3, 4]])
    array([[1, 3],
           [2, 4]])
    """
    parts = [x if x.ndim > 1 else x.reshape(-1, 1) for x in _parts(tup)]
    return concatenate_call(*parts, axis=1)


@traced(np.block, sequences=True)
def block(arrays: Any) -> Any:
    """An array of nested lists of blocks: innermost lists along the last axis, outer ones along those before.

    >>> from fgrad import numpy as fnp
    >>> fnp.block([[np.eye(1), np.zeros((1, 1))], [np.ones((1, 2))]])
    array([[1., 0.],
           [1., 1.]])
    """

    def depth(x: Any) -> int:
        return 1 + max(map(depth, x)) if isinstance(x, list) else 0

    def widest(x: Any) -> int:
        return max(map(widest, x)) if isinstance(x, list) else np.ndim(x)

    levels = depth(arrays)
    ndim = max(levels, widest(arrays))

    def join(x: Any, level: int) -> Any:
        if not isinstance(x, list):
            x = _array(x)
            return x.reshape((1,) * (ndim - x.ndim) + x.shape)
        return concatenate_call(*[join(v, level + 1) for v in x], axis=ndim - levels + level)

    return join(arrays, 0)


@traced(np.array_split)
def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """`ary` in so many parts of nearly equal size along `axis`, or cut at the given indices.

    >>> from fgrad import numpy as fnp
    >>> fnp.array_split(np.arange(3), 2)
    [array([0, 1]), array([2])]
    """
    axis = axis_of("split", axis, ary.ndim)
    n = ary.shape[axis]
    if np.ndim(indices_or_sections) == 0:
        count = operator.index(indices_or_sections)
        if count <= 0:
            raise ShapeError(
                message("split: the number of parts must be positive", got=count, do="ask for one or more")
            )
        small, larger = divmod(n, count)
        ends = np.cumsum([small + 1] * larger + [small] * (count - larger)).tolist()
        starts = [0, *ends[:-1]]
    else:
        cuts = [slice(None, c).indices(n)[1] for c in shape_of(indices_or_sections)]
        starts, ends = [0, *cuts], [*cuts, n]
    return [_part_view(ary, axis, a, max(a, b)) for a, b in zip(starts, ends, strict=True)]


def _cutting(x: Any, out: Any, axis: int, start: int, stop: int) -> Any:
    whole = out.shape == x.shape
    pattern = [FULL if whole or a != axis else (stop - start, 1) for a in range(x.ndim)]
    return ("index", tuple(pattern), [] if whole else [start])


_part_view = viewing(part, _cutting)


@traced(np.split)
def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """`ary` in so many equal parts along `axis`, or cut at the given indices.

    Raises `ShapeError` where the axis does not divide evenly.

    >>> from fgrad import numpy as fnp
    >>> fnp.split(np.arange(4), 2)
    [array([0, 1]), array([2, 3])]
    """
    if np.ndim(indices_or_sections) == 0:
        n = ary.shape[axis_of("split", axis, ary.ndim)]
        if n % operator.index(indices_or_sections):
            raise ShapeError(
                message(
                    f"split: {n} elements do not divide into {indices_or_sections} equal parts",
                    got=f"shape {ary.shape}, axis {axis}",
                    do="use array_split for parts of unequal size",
                )
            )
    return array_split.__wrapped__(ary, indices_or_sections, axis)


@traced(np.hsplit)
def hsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    """`split` along the second axis, of vectors along their only one.

    >>> from fgrad import numpy as fnp
    >>> fnp.hsplit(np.arange(4), 2)
    [array([0, 1]), array([2, 3])]
    """
    return split(ary, indices_or_sections, 1 if ary.ndim > 1 else 0)


@traced(np.vsplit)
def vsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    """`split` along the first axis of an array of at least two.

    >>> from fgrad import numpy as fnp
    >>> fnp.vsplit(np.arange(4).reshape(2, 2), 2)
    [array([[0, 1]]), array([[2, 3]])]
    """
    return split(ary, indices_or_sections, _needs("vsplit", ary, 2, 0))


@traced(np.dsplit)
def dsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    """`split` along the third axis.

    >>> from fgrad import numpy as fnp
    >>> len(fnp.dsplit(np.zeros((2, 3, 4)), 2))
    2
    """
    return split(ary, indices_or_sections, _needs("dsplit", ary, 3, 2))


def _needs(name: str, x: Any, ndim: int, axis: int) -> int:
    if x.ndim < ndim:
        raise ShapeError(
            message(f"{name}: needs at least {ndim} dimensions", got=f"shape {x.shape}", do="use split with axis=")
        )
    return axis


@traced(getattr(np, "unstack", None))
def unstack(x: Any, /, *, axis: int = 0) -> tuple[Any, ...]:
    """The entries of `x` along `axis`, as a tuple.

    >>> from fgrad import numpy as fnp
    >>> fnp.unstack(np.array([[1, 2], [3, 4]]), axis=1)
    (array([1, 3]), array([2, 4]))
    """
    axis = axis_of("unstack", axis, x.ndim)
    rest = (*x.shape[:axis], *x.shape[axis + 1 :])
    return tuple(s.reshape_view(_part_view(x, axis, i, i + 1), rest) for i in range(x.shape[axis]))


@traced(np.append, sequences=True)
def append(arr: Any, values: Any, axis: int | None = None) -> Any:
    """`arr` with `values` behind it along `axis`; both flattened where it is None.

    >>> from fgrad import numpy as fnp
    >>> fnp.append([1, 2], 3)
    array([1, 2, 3])
    """
    arr, values = _array(arr), _array(values)
    if axis is None:
        arr, values, axis = arr.reshape(-1), values.reshape(-1), 0
    return concatenate_call(arr, values, axis=axis)


def _places(name: str, obj: Any, n: int, most: int) -> np.ndarray:
    """Known positions, counted from the front, of an index, a slice or a sequence of indices."""
    if isinstance(obj, slice):
        return np.arange(n)[obj]
    places = np.asarray(shape_of(obj) if is_traced(obj) else obj)
    if places.dtype == np.bool_:
        return np.flatnonzero(places)
    places = places.astype(np.int64)
    if np.any((places < -n) | (places > most)):
        raise IndexError(
            message(f"{name}: index out of bounds for an axis of size {n}", got=obj, do="correct the index")
        )
    return np.where(places < 0, places + n, places)


@traced(np.delete)
def delete(arr: Any, obj: Any, axis: int | None = None) -> Any:
    """`arr` without the entries at `obj` (index, slice, indices or mask, known while tracing) along `axis`.

    >>> from fgrad import numpy as fnp
    >>> fnp.delete([1, 2, 3], 1)
    array([1, 3])
    """
    if axis is None:
        arr, axis = arr.reshape(-1), 0
    axis = axis_of("delete", axis, arr.ndim)
    n = arr.shape[axis]
    keep = np.ones(n, bool)
    keep[_places("delete", obj, n, n - 1)] = False
    return _pick(arr, tuple(np.flatnonzero(keep).tolist()), axis)


@surface()
def _pick(x: Any, indices: tuple[int, ...], axis: int) -> Any:
    return pick(strict(x), np.array(indices, np.int64), axis)


@traced(np.insert)
def insert(arr: Any, obj: Any, values: Any, axis: int | None = None) -> Any:
    """`arr` with `values` put in front of the entries `obj` (known while tracing) along `axis`.

    >>> from fgrad import numpy as fnp
    >>> fnp.insert([1, 3], 1, 2)
    array([1, 2, 3])
    """
    if axis is None:
        arr, axis = arr.reshape(-1), 0
    axis = axis_of("insert", axis, arr.ndim)
    n = arr.shape[axis]
    places = _places("insert", obj, n, n)
    values = _array(values).astype(arr.dtype)
    if places.ndim == 0:  # NumPy: values then fill one gap, with their first axis along `axis`
        if values.ndim:
            values = s.moveaxis(values, 0, axis) if values.ndim == arr.ndim and axis else values
        rest = arr.shape[:axis] + (values.shape[axis] if values.ndim == arr.ndim else 1,) + arr.shape[axis + 1 :]
        if values.ndim == arr.ndim - 1 and values.ndim:
            values = s.expand_dims(values, axis)
        places = np.repeat(places, rest[axis])
    shape = (*arr.shape[:axis], len(places), *arr.shape[axis + 1 :])
    both = concatenate_call(arr, s.broadcast_to(values, shape), axis=axis)
    order = np.argsort(np.concatenate([np.arange(n) + 0.5, places.astype(float)]), kind="stable")
    return _pick(both, tuple(order.tolist()), axis)


__all__ = [
    "append", "array_split", "block", "column_stack", "concat", "concatenate", "delete", "dsplit", "dstack",
    "hsplit", "hstack", "insert", "split", "stack", "unstack", "vsplit", "vstack",
]  # fmt: skip
