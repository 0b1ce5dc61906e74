"""The same elements under another shape or in another order: reshape, transpose, broadcast, flip, roll, tri, ..."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.errors import ShapeError, message
from ..core.primitive import registry as p
from ..core.surface import surface
from ..core.trace import Tracer
from .index_pattern import FULL, INT, NEW
from .promote import broadcast, broadcast_shapes
from .support import axes_of, axis_of, shape_of, strict, traced
from .ufuncs import ROUTES
from .views import viewing


def _run_reshape(x: Any, shape: tuple[int, ...]) -> Any:
    y = (x if type(x) is np.ndarray else np.asarray(x)).reshape(shape)
    return y if y.ndim else y[()]


@surface(run=_run_reshape)
def reshape_call(x: Any, shape: tuple[int, ...]) -> Any:
    """The elements under another shape, of which one size may be -1."""
    x = strict(x)
    if -1 in shape:
        known = -math.prod(shape)
        if shape.count(-1) > 1 or known <= 0 or x.size % known:
            raise ShapeError(
                message(
                    f"cannot reshape {x.size} elements into shape {shape}",
                    got=f"an array of shape {x.shape}",
                    do="give sizes whose product is the number of elements; one may be -1",
                )
            )
        shape = tuple(x.size // known if n == -1 else n for n in shape)
    return p.reshape(x, shape=shape)


def _reversed_axes(x: Any) -> Any:
    return p.transpose(x, axes=tuple(range(x.ndim))[::-1])


@surface(
    run=lambda x, axes=None: x.T if axes is None and type(x) is np.ndarray else np.transpose(x, axes), resizes=True
)
def transpose_call(x: Any, axes: tuple[int, ...] | None = None) -> Any:
    """The axes in another order, reversed where none is given."""
    x = strict(x)
    if axes is None:
        return _reversed_axes(x)
    found = tuple(axis_of("transpose", a, x.ndim) for a in axes)
    if sorted(found) != list(range(x.ndim)):
        raise ShapeError(
            message(
                f"transpose: axes {tuple(axes)} are no order of {x.ndim} axes", got=x.shape, do="name each axis once"
            )
        )
    return p.transpose(x, axes=found)


def _run_broadcast(x: Any, shape: tuple[int, ...]) -> Any:
    if math.prod(shape) > 4096:
        return np.broadcast_to(x, shape)
    x = np.asarray(x)
    y = np.empty(shape, x.dtype)
    y[...] = x
    return y if shape else y[()]


@surface(run=_run_broadcast)
def broadcast_call(x: Any, shape: tuple[int, ...]) -> Any:
    """`x` repeated to a shape."""
    return broadcast(strict(x), shape)


def _reshaping(x: Any, out: Any, *statics: Any) -> Any:
    """The step of a reshape; one that inserts or drops axes of size 1 only is an index."""
    if [n for n in x.shape if n != 1] != [n for n in out.shape if n != 1]:
        return ("reshape", out.shape)
    pattern: list[Any] = []
    new = list(out.shape)
    for n in x.shape:
        while n != 1 and new.pop(0) == 1:
            pattern.append(NEW)
        pattern.append(INT if n == 1 else FULL)
    return ("index", (*pattern, *[NEW] * len(new)), [0] * pattern.count(INT))


def _permuting(x: Any, out: Any, axes: Any = None) -> Any:
    return ("transpose", tuple(range(x.ndim))[::-1] if axes is None else tuple(a % x.ndim for a in axes))


reshape_view = viewing(reshape_call, _reshaping)
transpose_view = viewing(transpose_call, _permuting)
broadcast_view = viewing(broadcast_call, lambda x, out, shape: None)


@traced(np.reshape)
def reshape(a: Any, /, shape: Any, order: str = "C", *, copy: bool | None = None) -> Any:
    """The elements of `a`, in the order "C" or "F", under another shape, of which one size may be -1.

    Raises `ShapeError` where the number of elements does not fit, `ConcretizationError` for traced sizes.

    >>> from fgrad import numpy as fnp
    >>> fnp.reshape(np.arange(4), (2, -1))
    array([[0, 1],
           [2, 3]])
    """
    shape = shape_of(shape)
    change = reshape_call if copy else reshape_view
    if order != "F":  # traced arrays are in C order
        return change(a, shape)
    return transpose_view(change(transpose_view(a), shape[::-1]))


def _method_reshape(self: Any, *shape: Any, order: str = "C", copy: bool | None = None) -> Any:
    """The elements under another shape: x.reshape(2, -1) or x.reshape((2, -1))."""
    return reshape(self, shape[0] if len(shape) == 1 else shape, order, copy=copy)


@traced(np.ravel, method="ravel")
def ravel(a: Any, order: str = "C") -> Any:
    """All elements in one axis.

    >>> from fgrad import numpy as fnp
    >>> fnp.ravel([[1, 2], [3, 4]])
    array([1, 2, 3, 4])
    """
    return reshape(a, (-1,) if a.size else (0,), order)


def _method_flatten(self: Any, order: str = "C") -> Any:
    """A copy of all elements in one axis."""
    x = transpose_call(self) if order == "F" else self
    return reshape_call(x, (-1,) if self.size else (0,))


@traced(np.transpose, np.permute_dims)
def transpose(a: Any, axes: Sequence[int] | None = None) -> Any:
    """`a` with its axes in the order `axes`, reversed where none is given.

    Raises `ShapeError` where `axes` does not name each axis once.

    >>> from fgrad import numpy as fnp
    >>> fnp.transpose(np.zeros((2, 3, 4)), (2, 0, 1)).shape
    (4, 2, 3)
    """
    return transpose_view(a) if axes is None else transpose_view(a, tuple(axes))


permute_dims = transpose


def _method_transpose(self: Any, *axes: Any) -> Any:
    """The axes in another order: x.transpose(), x.transpose(1, 0) or x.transpose((1, 0))."""
    if not axes or axes == (None,):
        return transpose_view(self)
    return transpose_view(self, tuple(axes[0]) if isinstance(axes[0], tuple | list) else axes)


@traced(np.matrix_transpose)
def matrix_transpose(x: Any, /) -> Any:
    """`x` with its last two axes swapped.

    >>> from fgrad import numpy as fnp
    >>> fnp.matrix_transpose(np.zeros((2, 3, 4))).shape
    (2, 4, 3)
    """
    if x.ndim < 2:
        raise ShapeError(
            message("matrix_transpose: needs at least two axes", got=x.shape, do="use x[:, None] for a column")
        )
    return swapaxes(x, -1, -2)


@traced(np.swapaxes, method="swapaxes")
def swapaxes(a: Any, axis1: int, axis2: int) -> Any:
    """`a` with two axes swapped.

    >>> from fgrad import numpy as fnp
    >>> fnp.swapaxes(np.zeros((2, 3, 4)), 0, 2).shape
    (4, 3, 2)
    """
    order = list(range(a.ndim))
    i, j = axis_of("swapaxes", axis1, a.ndim), axis_of("swapaxes", axis2, a.ndim)
    order[i], order[j] = j, i
    return transpose_view(a, tuple(order))


@traced(np.moveaxis)
def moveaxis(a: Any, source: Any, destination: Any) -> Any:
    """`a` with the axes `source` moved to the places `destination`; the others keep their order.

    >>> from fgrad import numpy as fnp
    >>> fnp.moveaxis(np.zeros((2, 3, 4)), 0, -1).shape
    (3, 4, 2)
    """
    froms = [axis_of("moveaxis", i, a.ndim) for i in (source if isinstance(source, tuple | list) else [source])]
    tos = [
        axis_of("moveaxis", i, a.ndim)
        for i in (destination if isinstance(destination, tuple | list) else [destination])
    ]
    if len(froms) != len(tos) or len(set(froms)) != len(froms) or len(set(tos)) != len(tos):
        raise ShapeError(
            message(
                "moveaxis: source and destination must name as many axes, each once",
                got=f"{source} and {destination}",
                do="correct the axes",
            )
        )
    order = [i for i in range(a.ndim) if i not in froms]
    for to, source_axis in sorted(zip(tos, froms, strict=True)):
        order.insert(to, source_axis)
    return transpose_view(a, tuple(order))


@traced(np.rollaxis)
def rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    """`a` with `axis` moved in front of the axis `start`.

    >>> from fgrad import numpy as fnp
    >>> fnp.rollaxis(np.zeros((2, 3, 4)), 2).shape
    (4, 2, 3)
    """
    axis = axis_of("rollaxis", axis, a.ndim)
    start = a.ndim if start == a.ndim else axis_of("rollaxis", start, a.ndim)
    return moveaxis(a, axis, start - 1 if axis < start else start)


@traced(np.squeeze, method="squeeze")
def squeeze(a: Any, axis: Any = None) -> Any:
    """`a` without its axes of size 1, or without those named.

    Raises `ShapeError` for an axis of another size.

    >>> from fgrad import numpy as fnp
    >>> fnp.squeeze(np.zeros((1, 2, 1))).shape
    (2,)
    """
    axes = tuple(i for i, n in enumerate(a.shape) if n == 1) if axis is None else axes_of("squeeze", axis, a.ndim)
    if not all(a.shape[i] == 1 for i in axes):
        raise ShapeError(
            message(f"squeeze: axis {axis} has not size 1", got=f"shape {a.shape}", do="name axes of size 1 only")
        )
    return reshape_view(a, tuple(n for i, n in enumerate(a.shape) if i not in axes))


@traced(np.expand_dims)
def expand_dims(a: Any, axis: Any) -> Any:
    """`a` with axes of size 1 at the places `axis` of the result.

    >>> from fgrad import numpy as fnp
    >>> fnp.expand_dims(np.zeros(3), 0).shape
    (1, 3)
    """
    axis = tuple(axis) if isinstance(axis, tuple | list) else (axis,)
    axes = axes_of("expand_dims", axis, a.ndim + len(axis))
    sizes = iter(a.shape)
    return reshape_view(a, tuple(1 if i in axes else next(sizes) for i in range(a.ndim + len(axis))))


@traced(np.broadcast_to)
def broadcast_to(array: Any, shape: Any) -> Any:
    """`array` repeated to `shape` by NumPy's rules.

    Raises `ShapeError` where it does not fit.

    >>> from fgrad import numpy as fnp
    >>> fnp.broadcast_to([1, 2], (2, 2))
    array([[1, 2],
           [1, 2]])
    """
    return broadcast_view(array, shape_of(shape))


@traced(np.broadcast_arrays, sequences=True)
def broadcast_arrays(*args: Any) -> tuple[Any, ...]:
    """The arrays repeated to their common shape.

    >>> from fgrad import numpy as fnp
    >>> [x.shape for x in fnp.broadcast_arrays(np.zeros(3), np.zeros((2, 1)))]
    [(2, 3), (2, 3)]
    """
    shape = broadcast_shapes(*[np.shape(x) for x in args])
    return tuple(broadcast_view(x, shape) if isinstance(x, Tracer) else np.broadcast_to(x, shape) for x in args)


def _at_least(ndim: int, f: Any, place: Any) -> Any:
    def atleast(*arys: Any) -> Any:
        results = []
        for x in arys:
            shape = np.shape(x)
            results.append(
                f(x) if not isinstance(x, Tracer) else x if len(shape) >= ndim else reshape_view(x, place(shape))
            )
        return results[0] if len(results) == 1 else tuple(results)

    atleast.__name__ = f.__name__
    atleast.__doc__ = f"""Arrays with at least {ndim} dimension{"s" if ndim > 1 else ""}: one, or a tuple of several.

    >>> from fgrad import numpy as fnp
    >>> fnp.{f.__name__}(1.0).ndim
    {ndim}
    """
    return traced(f, sequences=True)(atleast)


atleast_1d = _at_least(1, np.atleast_1d, lambda s: (1,))
atleast_2d = _at_least(2, np.atleast_2d, lambda s: (1,) * (2 - len(s)) + s)
atleast_3d = _at_least(3, np.atleast_3d, lambda s: (1, *s, 1) if len(s) == 1 else (*s, 1) if s else (1, 1, 1))


ROUTES[np.shape], ROUTES[np.ndim], ROUTES[np.size] = (
    lambda a: a.shape,
    lambda a: a.ndim,
    lambda a, axis=None: a.size if axis is None else math.prod(a.shape[i] for i in axes_of("size", axis, a.ndim)),
)
Tracer.reshape = _method_reshape  # type: ignore[attr-defined]
Tracer.flatten = _method_flatten  # type: ignore[attr-defined]
Tracer.transpose = _method_transpose  # type: ignore[attr-defined]
Tracer.T = property(transpose_view, doc="The axes in reverse order.")  # type: ignore[attr-defined]
Tracer.mT = property(ROUTES[np.matrix_transpose], doc="The last two axes swapped.")  # type: ignore[attr-defined]

__all__ = [
    "atleast_1d", "atleast_2d", "atleast_3d", "broadcast_arrays", "broadcast_shapes", "broadcast_to",
    "expand_dims", "matrix_transpose", "moveaxis", "permute_dims", "ravel", "reshape", "rollaxis", "squeeze",
    "swapaxes", "transpose",
]  # fmt: skip
