"""Indexing of traced arrays: x[i], iteration, take, nonzero and their relatives, with NumPy's names and meaning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy import diag_indices, indices, tril_indices, triu_indices

from ..core.errors import DtypeError, OutOfBoundsError, ShapeError, message
from ..core.primitive import registry as p
from ..core.surface import surface
from ..core.trace import Tracer, concrete, peek, stage
from ..primitives.family import type_of
from .index_calls import getitem, read
from .methods import method, routes
from .promote import broadcast, broadcast_shapes, cast
from .support import axis_of, is_traced, received, stacked, strict

_INT = np.dtype(np.int64)


# ------------------------------------------------------------------------------------------- the protocol of tracers


def _iterate(x: Tracer) -> Iterator[Any]:
    if not x.ndim:
        raise TypeError(message("iteration over a 0-d array", got=f"a traced {x.aval}", do="it is one number: use it"))
    return (getitem(x, i) for i in range(x.shape[0]))


def _contains(x: Tracer, item: Any) -> bool:
    """Whether some element equals `item`."""
    same: Any = x == item
    if type(same) is not Tracer:
        return bool(np.any(same))
    return bool(p.reduce_or(same, axes=tuple(range(same.ndim))))


Tracer.__getitem__ = getitem  # type: ignore[attr-defined]
Tracer.__iter__ = _iterate  # type: ignore[attr-defined]
Tracer.__contains__ = _contains  # type: ignore[attr-defined]


# ------------------------------------------------------------------------------------------------------------ reading


@method("take")
@routes(np.take)
def take(
    a: Any,
    indices: Any,
    axis: int | None = None,
    out: Any = None,
    mode: str | None = None,
    unique_indices: bool = False,
    indices_are_sorted: bool = False,
    fill_value: Any = None,
) -> Any:
    """numpy.take: elements of `a` at integer `indices` along `axis` (None: of the flattened array).

    Shape: that of `a` with the axis replaced by the shape of `indices`. `mode`: "raise" (the default), "wrap", "clip"
    (negative indices become 0, as in NumPy) or "fill" (`fill_value`, by default NaN or an extreme integer). Works on
    plain arrays with traced indices too, where `a[indices]` cannot. Raises OutOfBoundsError, under jit when it runs.

    >>> from fgrad import numpy as fnp
    >>> fnp.take(np.array([1.0, 2.0, 4.0]), [2, 0])
    array([4., 1.])
    """
    a, indices = as_array(a), as_integers(indices)
    if axis is None:
        a, axis = a.reshape(-1), 0
    axis = axis_of("take", axis, a.ndim)
    found = read(a, (slice(None),) * axis + (indices,), "clamp" if mode == "clip" else mode, fill_value)
    return received(out, _owned(found, a), "take")


def as_array(x: Any) -> Any:
    """A tracer or an ndarray of what may be nested lists."""
    return x if type(x) is Tracer else stacked(x) if is_traced(x) else np.asarray(x)


def as_integers(x: Any) -> Any:
    """Indices as an array; `DtypeError` for what is no integer."""
    x = as_array(x)
    if x.dtype.kind == "b":
        return cast(x, _INT)
    if x.dtype.kind not in "iu":
        if type(x) is not Tracer and not x.size:
            return x.astype(_INT)
        raise DtypeError(message("indices must be integers", got=f"{x.dtype}", do="convert them with .astype(int)"))
    return x


def _owned(out: Any, *arrays: Any) -> Any:
    """A result that shares no memory with an array that the caller holds."""
    return out.copy() if type(out) is np.ndarray and out.base is not None else out


@routes(np.take_along_axis)
def take_along_axis(
    arr: Any, indices: Any, axis: int | None = -1, mode: str | None = None, fill_value: Any = None
) -> Any:
    """numpy.take_along_axis: elements of `arr` at `indices` along `axis`, the other axes matched.

    `indices` has as many axes as `arr`, all but `axis` broadcast against each other; with `axis=None` both are flat.
    `mode` as in `take`, "clip" with negative indices counted from the end. Raises OutOfBoundsError, ShapeError.

    >>> from fgrad import numpy as fnp
    >>> fnp.take_along_axis(np.array([[3, 1, 2]]), np.array([[1, 2, 0]]), axis=1)
    array([[1, 2, 3]])
    """
    arr, index = along("take_along_axis", arr, indices, axis)
    return _owned(read(arr, index, mode, fill_value), arr)


def along(name: str, arr: Any, indices: Any, axis: int | None) -> tuple[Any, tuple[Any, ...]]:
    """An array, and the index of all its axes that `indices` along one of them means."""
    arr, indices = as_array(arr), as_integers(indices)
    if axis is None:
        arr, axis = arr.reshape(-1), 0
    if indices.ndim != arr.ndim:
        raise ShapeError(
            message(
                f"{name}: the indices must have as many axes as the array",
                got=f"{indices.ndim} and {arr.ndim}",
                do="insert axes with indices[..., None]",
            )
        )
    axis = axis_of(name, axis, arr.ndim)
    broadcast_shapes(*[v.shape[:axis] + (1,) + v.shape[axis + 1 :] for v in (arr, indices)])
    lines = np.ogrid[tuple(slice(n) for n in arr.shape)]
    return arr, tuple(indices if a == axis else lines[a] for a in range(arr.ndim))


def compress(
    condition: Any,
    a: Any,
    axis: int | None = None,
    out: Any = None,
    *,
    size: int | None = None,
    fill_value: Any = 0,
) -> Any:
    """numpy.compress: the parts of `a` along `axis` (None: of the flattened array) where `condition` holds.

    Under jit a traced condition needs `size`, the length of the result, which is cut or filled up with `fill_value`.
    Raises ConcretizationError without it, OutOfBoundsError for a condition longer than the axis.

    >>> from fgrad import numpy as fnp
    >>> fnp.compress(np.array([False, True, True]), np.array([1.0, 2.0, 3.0]))
    array([2., 3.])
    """
    a, condition = as_array(a), as_array(condition)
    if condition.ndim != 1:
        raise ShapeError(message("compress: the condition must have one axis", got=condition.shape, do="ravel it"))
    if axis is None:
        a, axis = a.reshape(-1), 0
    axis = axis_of("compress", axis, a.ndim)
    where = flatnonzero(condition, size=size, fill_value=a.shape[axis])
    found = take(a, where, axis, mode="raise" if size is None else "fill", fill_value=fill_value)
    return received(out, found, "compress")


def _compress_method(self: Any, condition: Any, axis: int | None = None, out: Any = None, **kwargs: Any) -> Any:
    """Method form of `compress`."""
    return compress(condition, self, axis, out, **kwargs)


routes(np.compress)(compress)
Tracer.compress = _compress_method  # type: ignore[attr-defined]


def extract(condition: Any, arr: Any, *, size: int | None = None, fill_value: Any = 0) -> Any:
    """numpy.extract: the elements of `arr` where `condition`, of as many elements, holds; `size` as in `compress`.

    >>> from fgrad import numpy as fnp
    >>> fnp.extract(np.array([[True, False], [False, True]]), np.array([[1, 2], [3, 4]]))
    array([1, 4])
    """
    return compress(as_array(condition).reshape(-1), arr, size=size, fill_value=fill_value)


routes(np.extract)(extract)


# ------------------------------------------------------------------------------------------------- positions of trues


@surface(arity=None)
def _nonzero_call(x: Any, *fills: Any, size: int) -> tuple[Any, ...]:
    """Positions of the first `size` non-zero elements per axis, `fills` behind the last one."""
    x = strict(x)
    n = type_of(x).size
    mask = p.reshape(x if x.dtype == np.bool_ else p.ne(x, 0), shape=(n,))
    count = p.cumsum(p.convert_element_type(mask, dtype=_INT), axis=0, reverse=False)
    # the k-th true goes to place k - 1; what is false goes beyond the end and is dropped
    beyond = stage(p.broadcast_in_dim, np.int64(size), shape=(n,), dims=())
    place = p.select(mask, p.sub(count, 1), beyond)
    line = stage(p.iota, dtype=_INT, shape=(n,), axis=0)
    start = stage(p.broadcast_in_dim, np.int64(-1), shape=(size,), dims=())
    flat = p.scatter(start, line, place, axes=(0,), mode="drop")
    outs = []
    for n, fill in zip(x.shape[::-1], fills[::-1], strict=True):
        outs.append(p.select(p.lt(flat, 0), broadcast(cast(fill, _INT), (size,)), p.rem(flat, n)))
        flat = p.floor_divide(flat, n)
    return tuple(outs[::-1])


@method("nonzero")
@routes(np.nonzero)
def nonzero(a: Any, *, size: int | None = None, fill_value: Any = None) -> tuple[Any, ...]:
    """numpy.nonzero: positions of the non-zero elements, one int64 array per axis.

    Under jit, where their number is not known, `size` fixes it: more are cut off, fewer are filled up with `fill_value`
    (a number, or one per axis; 0 by default). Raises ConcretizationError for traced values without `size`.

    >>> from fgrad import numpy as fnp
    >>> fnp.nonzero(np.array([0.0, 3.0, 5.0]), size=3, fill_value=-1)
    (array([ 1,  2, -1]),)
    """
    a = as_array(a)
    if size is None:
        return np.nonzero(np.atleast_1d(concrete(a, "nonzero(x) without size=", _SIZE) if type(a) is Tracer else a))
    if not a.ndim:
        a = a.reshape(1)
    fill_value = 0 if fill_value is None else fill_value
    fills = list(fill_value) if isinstance(fill_value, tuple | list) else [fill_value] * a.ndim
    if len(fills) != a.ndim:
        raise ShapeError(message("nonzero: needs one fill value per axis", got=f"{len(fills)}", do=f"give {a.ndim}"))
    if not size or not a.size:
        return tuple(np.full(size, fill, _INT) for fill in fills)
    return _nonzero_call(a, *fills, size=int(size))


_SIZE = "give the length of the result, nonzero(x, size=n, fill_value=0); or use fgrad.numpy.where(mask, x, y)"


@routes(np.flatnonzero)
def flatnonzero(a: Any, *, size: int | None = None, fill_value: Any = None) -> Any:
    """numpy.flatnonzero: positions of the non-zero elements of the flattened array; `size` as in `nonzero`.

    >>> from fgrad import numpy as fnp
    >>> fnp.flatnonzero(np.array([[0, 1], [1, 0]]))
    array([1, 2])
    """
    return nonzero(as_array(a).reshape(-1), size=size, fill_value=fill_value)[0]


@routes(np.argwhere)
def argwhere(a: Any, *, size: int | None = None, fill_value: Any = None) -> Any:
    """numpy.argwhere: positions of the non-zero elements, one row per element; `size` as in `nonzero`.

    >>> from fgrad import numpy as fnp
    >>> fnp.argwhere(np.array([[0, 1], [1, 0]]))
    array([[0, 1],
           [1, 0]])
    """
    a = as_array(a)
    if size is None:
        return np.argwhere(concrete(a, "argwhere(x) without size=", _SIZE) if type(a) is Tracer else a)
    if not a.ndim:
        return nonzero(a, size=size, fill_value=fill_value)[0][:, None][:, :0]
    columns = nonzero(a, size=size, fill_value=fill_value)
    return as_array([c for c in columns]).T if not is_traced(columns) else stacked(columns).T


# ---------------------------------------------------------------------------------------------------- index constants


@routes(np.diag_indices_from)
def diag_indices_from(arr: Any) -> tuple[np.ndarray, ...]:
    """numpy.diag_indices_from: positions of the main diagonal of an array of equal sizes.

    >>> from fgrad import numpy as fnp
    >>> fnp.diag_indices_from(np.eye(2))
    (array([0, 1]), array([0, 1]))
    """
    return np.diag_indices_from(np.broadcast_to(0, arr.shape))


@routes(np.tril_indices_from)
def tril_indices_from(arr: Any, k: int = 0) -> tuple[np.ndarray, ...]:
    """numpy.tril_indices_from: positions on and below the k-th diagonal of a matrix.

    >>> from fgrad import numpy as fnp
    >>> fnp.tril_indices_from(np.eye(2))
    (array([0, 1, 1]), array([0, 0, 1]))
    """
    return np.tril_indices_from(np.broadcast_to(0, arr.shape), k)


@routes(np.triu_indices_from)
def triu_indices_from(arr: Any, k: int = 0) -> tuple[np.ndarray, ...]:
    """numpy.triu_indices_from: positions on and above the k-th diagonal of a matrix.

    >>> from fgrad import numpy as fnp
    >>> fnp.triu_indices_from(np.eye(2))
    (array([0, 0, 1]), array([0, 1, 1]))
    """
    return np.triu_indices_from(np.broadcast_to(0, arr.shape), k)


@routes(np.ix_)
def ix_(*args: Any) -> tuple[Any, ...]:
    """numpy.ix_: index arrays, one axis each, that select a grid; sequences may be traced integers.

    >>> from fgrad import numpy as fnp
    >>> np.arange(12).reshape(3, 4)[fnp.ix_([0, 2], [1, 3])]
    array([[ 1,  3],
           [ 9, 11]])
    """
    out = []
    for k, sequence in enumerate(args):
        x = as_array(sequence)
        if x.ndim != 1:
            raise ShapeError(message("ix_: each sequence must have one axis", got=x.shape, do="ravel it"))
        x = flatnonzero(x) if x.dtype == np.bool_ else as_integers(x)
        out.append(x.reshape((1,) * k + (-1,) + (1,) * (len(args) - k - 1)))
    return tuple(out)


@routes(np.unravel_index)
def unravel_index(indices: Any, shape: int | Sequence[int]) -> tuple[Any, ...]:
    """numpy.unravel_index: flat positions in an array of that shape as one position per axis (C order).

    Raises OutOfBoundsError for known positions outside. Under jit they are not checked here: the first coordinate is
    then outside its axis, and indexing with it raises.

    >>> from fgrad import numpy as fnp
    >>> fnp.unravel_index(5, (2, 3))
    (np.int64(1), np.int64(2))
    """
    shape = (shape,) if isinstance(shape, int | np.integer) else tuple(int(n) for n in shape)
    indices = as_integers(indices)
    known = peek(indices)
    if known is not None:
        try:
            return np.unravel_index(known, shape)
        except ValueError as error:
            raise OutOfBoundsError(message(str(error), got=f"shape {shape}", do="correct the index")) from None
    out = []
    for n in shape[:0:-1]:
        out.append(indices % n)
        indices = indices // n
    return (indices, *out[::-1])


__all__ = [
    "argwhere", "compress", "diag_indices", "diag_indices_from", "extract", "flatnonzero", "indices", "ix_", "nonzero",
    "take", "take_along_axis", "tril_indices", "tril_indices_from", "triu_indices", "triu_indices_from",
    "unravel_index",
]  # fmt: skip
