"""Sorting and searching: sort, argsort, lexsort, searchsorted, digitize, partition, unique.

Sorts are stable and put NaN last. The derivative of a sorted array permutes; positions have none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.errors import ShapeError, message
from ..core.primitive import registry as p
from ..core.surface import surface
from ..core.trace import Tracer, concrete
from .methods import routes
from .promote import cast, result_dtype
from .support import axis_of, cut, is_traced, pick, stacked, strict, traced, where_call
from .ufuncs import greater, greater_equal, subtract

_INT = np.dtype(np.int64)


def _placed(x: Any, axis: int | None) -> tuple[Any, int]:
    """The operand and the axis to sort along; None sorts all elements."""
    x = strict(x)
    if axis is None:
        return p.reshape(x, shape=(math.prod(x.shape),)), 0
    return x, axis_of("sort", axis, x.ndim)


def _ascending(x: Any, axis: int, descending: bool) -> Any:
    """`x`, reversed for a descending sort, so that reversing the result leaves equals in their order."""
    return p.rev(x, axes=(axis,)) if descending else x


@surface(arity=1)
def _sort(x: Any, axis: int | None, descending: bool) -> Any:
    x, axis = _placed(x, axis)
    return _ascending(p.sort(_ascending(x, axis, descending), axis=axis, num_keys=1), axis, descending)


@surface(arity=1)
def _argsort(x: Any, axis: int | None, descending: bool) -> Any:
    x, axis = _placed(x, axis)
    place = _ascending(p.iota(dtype=_INT, shape=x.shape, axis=axis), axis, descending)
    return _ascending(p.sort(_ascending(x, axis, descending), place, axis=axis, num_keys=1)[1], axis, descending)


def _no_fields(order: Any) -> None:
    if order is not None:
        raise TypeError(
            message(
                "order= sorts structured arrays by field, which are not traced",
                got=order,
                do="sort one array, or use lexsort",
            )
        )


def sort(
    a: Any,
    axis: int | None = -1,
    kind: Any = None,
    order: Any = None,
    *,
    stable: bool | None = None,
    descending: bool = False,
) -> Any:
    """numpy.sort: a sorted copy along `axis` (None: of all elements), NaN last; `descending`: the reverse order.

    >>> sort(np.array([3.0, 1.0, 2.0]))
    array([1., 2., 3.])
    """
    if not is_traced(a) and not descending:
        return np.sort(a, axis, kind, order, stable=stable)
    _no_fields(order)
    return _sort(stacked(a), axis, descending)


def argsort(
    a: Any,
    axis: int | None = -1,
    kind: Any = None,
    order: Any = None,
    *,
    stable: bool | None = None,
    descending: bool = False,
) -> Any:
    """numpy.argsort: the int64 positions that sort `a` along `axis`; equals keep their order, whatever `kind` says.

    >>> argsort(np.array([3.0, 1.0, 2.0, 1.0]))
    array([1, 3, 2, 0])
    """
    if not is_traced(a) and not descending:
        return np.argsort(a, axis, order=order, stable=True)
    _no_fields(order)
    return _argsort(stacked(a), axis, descending)


def partition(a: Any, kth: Any, axis: int | None = -1, kind: str = "introselect", order: Any = None) -> Any:
    """numpy.partition: the elements at the positions `kth` as in the sorted array, smaller ones before them.

    A traced array comes wholly sorted.

    >>> partition(np.array([3.0, 1.0, 2.0]), 0)[0]
    np.float64(1.0)
    """
    if not is_traced(a) and not is_traced(kth):
        return np.partition(a, kth, axis, kind, order)
    return sort(a, axis, order=order)


def argpartition(a: Any, kth: Any, axis: int | None = -1, kind: str = "introselect", order: Any = None) -> Any:
    """numpy.argpartition: the positions that `partition` takes its elements from.

    >>> argpartition(np.array([3.0, 1.0, 2.0]), 0)[0]
    np.int64(1)
    """
    if not is_traced(a) and not is_traced(kth):
        return np.argpartition(a, kth, axis, kind, order)
    return argsort(a, axis, order=order)


routes(np.sort)(sort)
routes(np.argsort)(argsort)
routes(np.partition)(partition)
routes(np.argpartition)(argpartition)
Tracer.argsort = argsort  # type: ignore[attr-defined]
Tracer.argpartition = argpartition  # type: ignore[attr-defined]


@traced(np.sort_complex)
def sort_complex(a: Any) -> Any:
    """numpy.sort_complex: sorted along the last axis by real part, then by imaginary part; complex always.

    >>> sort_complex(np.array([2.0, 1.0]))
    array([1.+0.j, 2.+0.j])
    """
    y = _sort(a, -1, False)
    small = y.dtype.kind in "iu" and y.dtype.itemsize <= 2
    return y if y.dtype.kind == "c" else y.astype(np.complex64 if small else np.complex128)


@traced(np.lexsort, sequences=True)
def lexsort(keys: Any, axis: int = -1) -> Any:
    """numpy.lexsort: the positions that sort by the last of `keys`, equals by the last but one, and so on.

    `keys`: arrays of one shape, or one array along whose first axis they stand.

    >>> lexsort((np.array([1, 0, 2]), np.array([5, 5, 4])))
    array([2, 1, 0])
    """
    return _lexsort(*[keys[i] for i in range(len(keys))], axis=axis)


@surface(arity=None)
def _lexsort(*keys: Any, axis: int) -> Any:
    if not keys:
        raise ShapeError(message("lexsort: needs at least one key", do="pass a sequence of arrays"))
    ordered = [strict(k) for k in reversed(keys)]
    axis = axis_of("lexsort", axis, ordered[0].ndim)
    place = p.iota(dtype=_INT, shape=ordered[0].shape, axis=axis)
    return p.sort(*ordered, place, axis=axis, num_keys=len(ordered))[-1]


@surface(run=np.searchsorted, arity=2)
def _searchsorted(a: Any, v: Any, side: str) -> Any:
    if a.ndim != 1 or side not in ("left", "right"):
        raise ShapeError(
            message(
                "searchsorted: needs a one-dimensional array and a side",
                got=f"{a.aval}, side={side!r}",
                do='choose "left" or "right"',
            )
        )
    shape, dtype = v.shape, result_dtype(strict(a), strict(v))
    found = p.searchsorted(cast(a, dtype), p.reshape(cast(v, dtype), shape=(math.prod(shape),)), side=side)
    return p.reshape(found, shape=shape)


@traced(np.searchsorted, method="searchsorted")
def searchsorted(a: Any, v: Any, side: str = "left", sorter: Any = None) -> Any:
    """numpy.searchsorted: where each of `v` belongs in the ascending `a`, before equals ("left") or behind ("right").

    >>> searchsorted(np.array([1.0, 2.0, 2.0, 3.0]), 2.0, side="right")
    np.int64(3)
    """
    return _searchsorted(a if sorter is None else a[sorter], v, side)


@traced(np.digitize)
def digitize(x: Any, bins: Any, right: bool = False) -> Any:
    """numpy.digitize: the number of the bin of each element of x; `bins` are rising or falling edges.

    `right`: bins contain their right edges instead of their left ones.

    >>> digitize(np.array([0.5, 1.0, 2.5]), np.array([1.0, 2.0]))
    array([0, 1, 2])
    """
    n = bins.shape[0]
    side = "left" if right else "right"
    if n < 2:
        return _searchsorted(bins, x, side)
    rising = _searchsorted(bins, x, side)
    falling = subtract(n, _searchsorted(bins[::-1], x, side))
    return where_call(greater_equal(bins[-1], bins[0]), rising, falling)


def unique(
    ar: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: int | None = None,
    *,
    equal_nan: bool = True,
    size: int | None = None,
    fill_value: Any = None,
    sorted: bool = True,
) -> Any:
    """numpy.unique: the sorted distinct elements, on request with first positions, inverse and counts.

    Where the values are not known (under jit and vmap) the number of results must be given as `size`: further elements
    are dropped, missing ones take `fill_value`, by default the smallest element, and the count 0. `size` needs
    `axis=None`. Without it unknown values raise `ConcretizationError`.

    >>> unique(np.array([3, 1, 3]), return_counts=True)
    (array([1, 3]), array([1, 2]))
    """
    wanted = (True, return_index, return_inverse, return_counts)
    if size is not None:
        found = _sized(ar, size, axis, equal_nan, fill_value)
    elif not is_traced(ar):
        return np.unique(ar, return_index, return_inverse, return_counts, axis, equal_nan=equal_nan)
    else:
        do = "give the number of results: fgrad.numpy.unique(x, size=n)"
        values = concrete(ar, "a result whose shape depends on values (unique)", do)
        _, *rest = np.unique(values, True, True, True, axis, equal_nan=equal_nan)
        flat = ar if axis is not None else _flat(ar)
        found = [pick(flat, rest[0], 0 if axis is None else axis_of("unique", axis, ar.ndim)), *rest]
    results = tuple([y for y, w in zip(found, wanted, strict=True) if w])
    return results if len(results) > 1 else results[0]


def _flat(x: Any) -> Any:
    return p.reshape(strict(x), shape=(x.size,))


def _sized(ar: Any, size: int, axis: int | None, equal_nan: bool, fill_value: Any) -> Sequence[Any]:
    if axis is not None or not np.size(ar):
        raise ShapeError(
            message(
                "unique: size= takes all elements of an array that has some",
                got=f"axis={axis}, shape {np.shape(ar)}",
                do="use axis=None",
            )
        )
    values, index, inverse, counts = _unique_sized(ar, size, equal_nan)
    if fill_value is not None:
        values = where_call(greater(counts, 0), values, values.dtype.type(fill_value))
    return values, index, inverse, counts


@surface(arity=1)
def _unique_sized(x: Any, size: int, equal_nan: bool) -> Any:
    n = x.size
    place = p.iota(dtype=_INT, shape=(n,), axis=0)
    y, order = p.sort(_flat(x), place, axis=0, num_keys=1)
    before, behind = cut(y, 0, 0, n - 1), cut(y, 0, 1, n)
    new = p.ne(behind, before)
    if equal_nan and y.dtype.kind in "fc":
        new = p.bit_and(new, p.bit_not(p.bit_and(p.is_nan(before), p.is_nan(behind))))
    new = p.concatenate(np.ones(1, bool), new, axis=0)
    group = p.sub(p.cumsum(p.convert_element_type(new, dtype=_INT), axis=0, reverse=False), 1)
    none = np.zeros(size, np.int64)
    outside = np.full(n, size)
    starts = p.scatter(none, place, p.select(new, group, outside), axes=(0,), mode="drop")
    inverse = p.scatter(np.zeros(n, np.int64), group, order, axes=(0,), mode="promise")
    counts = p.scatter_add(none, np.ones(n, np.int64), group, axes=(0,), mode="drop")
    take = lambda v: p.gather(v, starts, axes=(0,), mode="promise")  # noqa: E731
    return take(y), take(order), p.reshape(inverse, shape=x.shape), counts


routes(np.unique)(unique)

__all__ = [
    "argpartition", "argsort", "digitize", "lexsort", "partition", "searchsorted", "sort", "sort_complex", "unique",
]  # fmt: skip
