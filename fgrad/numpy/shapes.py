"""The same elements under another shape or in another order: reshape, transpose, broadcast, flip, roll, tri, ..."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.errors import ShapeError, message
from ..core.primitive import registry as p
from ..core.trace import Tracer, surface
from .promote import broadcast, broadcast_shapes
from .support import axes_of, axis_of, cut, kept, pick, shape_of, strict, traced, where_call
from .ufuncs import ROUTES


def _run_reshape(x: Any, shape: tuple[int, ...], order: str = "C") -> Any:
    y = (x if type(x) is np.ndarray else np.asarray(x)).reshape(shape, order=order)
    return y if y.ndim else y[()]


@surface(run=_run_reshape)
def reshape_call(x: Any, shape: tuple[int, ...], order: str = "C") -> Any:
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
    if order == "F":
        return _reversed_axes(p.reshape(_reversed_axes(x), shape=shape[::-1]))
    return p.reshape(x, shape=shape)


def _reversed_axes(x: Any) -> Any:
    return p.transpose(x, axes=tuple(range(x.ndim))[::-1])


@surface(run=lambda x, axes=None: np.transpose(x, axes))
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
def _broadcast_to(x: Any, shape: tuple[int, ...]) -> Any:
    return broadcast(strict(x), shape)


@surface(run=lambda x, axis: np.flip(x, axis))
def _flip(x: Any, axis: int | tuple[int, ...] | None) -> Any:
    x = strict(x)
    return p.rev(x, axes=axes_of("flip", axis, x.ndim))


@traced(np.reshape)
def reshape(a: Any, /, shape: Any, order: str = "C", *, copy: bool | None = None) -> Any:
    """The elements of `a`, in the order "C" or "F", under another shape, of which one size may be -1.

    Raises `ShapeError` where the number of elements does not fit, `ConcretizationError` for traced sizes.

    >>> from fgrad import numpy as fnp
    >>> fnp.reshape(np.arange(4), (2, -1))
    array([[0, 1],
           [2, 3]])
    """
    if order == "C" or order == "A":
        return reshape_call(a, shape_of(shape))
    return reshape_call(a, shape_of(shape), order)


def _method_reshape(self: Any, *shape: Any, order: str = "C", copy: bool | None = None) -> Any:
    """The elements under another shape: x.reshape(2, -1) or x.reshape((2, -1))."""
    return reshape(self, shape[0] if len(shape) == 1 else shape, order)


@traced(np.ravel, method="ravel")
def ravel(a: Any, order: str = "C") -> Any:
    """All elements in one axis.

    >>> from fgrad import numpy as fnp
    >>> fnp.ravel([[1, 2], [3, 4]])
    array([1, 2, 3, 4])
    """
    return reshape(a, (-1,) if a.size else (0,), order)


def _method_flatten(self: Any, order: str = "C") -> Any:
    """All elements in one axis."""
    return ravel(self, order)


@traced(np.transpose, np.permute_dims)
def transpose(a: Any, axes: Sequence[int] | None = None) -> Any:
    """`a` with its axes in the order `axes`, reversed where none is given.

    Raises `ShapeError` where `axes` does not name each axis once.

    >>> from fgrad import numpy as fnp
    >>> fnp.transpose(np.zeros((2, 3, 4)), (2, 0, 1)).shape
    (4, 2, 3)
    """
    return transpose_call(a) if axes is None else transpose_call(a, tuple(axes))


permute_dims = transpose


def _method_transpose(self: Any, *axes: Any) -> Any:
    """The axes in another order: x.transpose(), x.transpose(1, 0) or x.transpose((1, 0))."""
    if not axes or axes == (None,):
        return transpose_call(self)
    return transpose_call(self, tuple(axes[0]) if isinstance(axes[0], tuple | list) else axes)


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
    return transpose_call(a, tuple(order))


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
    return transpose_call(a, tuple(order))


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
    return reshape_call(a, tuple(n for i, n in enumerate(a.shape) if i not in axes))


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
    return reshape_call(a, tuple(1 if i in axes else next(sizes) for i in range(a.ndim + len(axis))))


@traced(np.broadcast_to)
def broadcast_to(array: Any, shape: Any) -> Any:
    """`array` repeated to `shape` by NumPy's rules.

    Raises `ShapeError` where it does not fit.

    >>> from fgrad import numpy as fnp
    >>> fnp.broadcast_to([1, 2], (2, 2))
    array([[1, 2],
           [1, 2]])
    """
    return _broadcast_to(array, shape_of(shape))


@traced(np.broadcast_arrays, sequences=True)
def broadcast_arrays(*args: Any) -> tuple[Any, ...]:
    """The arrays repeated to their common shape.

    >>> from fgrad import numpy as fnp
    >>> [x.shape for x in fnp.broadcast_arrays(np.zeros(3), np.zeros((2, 1)))]
    [(2, 3), (2, 3)]
    """
    shape = broadcast_shapes(*[np.shape(x) for x in args])
    return tuple(_broadcast_to(x, shape) if isinstance(x, Tracer) else np.broadcast_to(x, shape) for x in args)


def _at_least(ndim: int, f: Any, place: Any) -> Any:
    def atleast(*arys: Any) -> Any:
        results = []
        for x in arys:
            shape = np.shape(x)
            results.append(
                f(x) if not isinstance(x, Tracer) else x if len(shape) >= ndim else reshape_call(x, place(shape))
            )
        return results[0] if len(results) == 1 else tuple(results)

    atleast.__name__ = f.__name__
    atleast.__doc__ = f"""The arrays with at least {ndim} dimension{"s" if ndim > 1 else ""}: one array, or a tuple of several.

    >>> from fgrad import numpy as fnp
    >>> fnp.{f.__name__}(1.0).ndim
    {ndim}
    """
    return traced(f, sequences=True)(atleast)


atleast_1d = _at_least(1, np.atleast_1d, lambda s: (1,))
atleast_2d = _at_least(2, np.atleast_2d, lambda s: (1,) * (2 - len(s)) + s)
atleast_3d = _at_least(3, np.atleast_3d, lambda s: (1, *s, 1) if len(s) == 1 else (*s, 1) if s else (1, 1, 1))


@traced(np.flip)
def flip(m: Any, axis: Any = None) -> Any:
    """`m` with the order of its elements reversed along `axis` (all axes where it is None).

    >>> from fgrad import numpy as fnp
    >>> fnp.flip([1, 2, 3])
    array([3, 2, 1])
    """
    return _flip(m, axis)


@traced(np.flipud)
def flipud(m: Any) -> Any:
    """`m` reversed along its first axis.

    >>> from fgrad import numpy as fnp
    >>> fnp.flipud([[1, 2], [3, 4]])
    array([[3, 4],
           [1, 2]])
    """
    return _flip(m, 0)


@traced(np.fliplr)
def fliplr(m: Any) -> Any:
    """`m` reversed along its second axis.

    >>> from fgrad import numpy as fnp
    >>> fnp.fliplr([[1, 2], [3, 4]])
    array([[2, 1],
           [4, 3]])
    """
    return _flip(m, 1)


@traced(np.rot90)
def rot90(m: Any, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Any:
    """`m` turned `k` times by 90° in the plane of two axes, from the first towards the second.

    >>> from fgrad import numpy as fnp
    >>> fnp.rot90([[1, 2], [3, 4]])
    array([[2, 4],
           [1, 3]])
    """
    first, second = (axis_of("rot90", a, m.ndim) for a in axes)
    k %= 4
    if k == 0:
        return reshape_call(m, m.shape)
    if k == 2:
        return _flip(m, (first, second))
    if k == 1:
        return swapaxes(_flip(m, second), first, second)
    return _flip(swapaxes(m, first, second), second)


@surface()
def _roll(x: Any, shifts: tuple[int, ...], axes: tuple[int, ...]) -> Any:
    x = strict(x)
    for shift, axis in zip(shifts, axes, strict=True):
        n = x.shape[axis]
        k = shift % n if n else 0
        if k:
            x = p.concatenate(cut(x, axis, n - k, n), cut(x, axis, 0, n - k), axis=axis)
    return x


@surface(arity=2)
def _roll_by(x: Any, shift: Any, axis: int) -> Any:
    """A roll by a traced shift: a window of the array put twice."""
    x = strict(x)
    n = x.shape[axis]
    if not n:
        return x
    start = p.rem(p.neg(p.convert_element_type(shift, dtype=np.dtype(np.int64))), np.int64(n))
    starts = [start if a == axis else np.int64(0) for a in range(x.ndim)]
    return p.dynamic_slice(p.concatenate(x, x, axis=axis), *starts, sizes=x.shape, strides=(1,) * x.ndim)


@traced(np.roll)
def roll(a: Any, shift: Any, axis: Any = None) -> Any:
    """`a` with its elements moved by `shift` along `axis` (of the flattened array where it is None), in a ring.

    A shift may be traced.

    >>> from fgrad import numpy as fnp
    >>> fnp.roll([1, 2, 3, 4], 1)
    array([4, 1, 2, 3])
    """
    if axis is None:
        return roll(ravel(a), shift, 0).reshape(a.shape)
    axes = [axis_of("roll", i, np.ndim(a)) for i in (axis if isinstance(axis, tuple | list) else [axis])]
    if isinstance(shift, Tracer):
        shift = [shift[i] for i in range(shift.shape[0])] if shift.ndim else [shift]
    shifts = list(shift) if isinstance(shift, tuple | list | np.ndarray) else [shift]
    pairs = np.broadcast(np.empty(len(shifts)), np.empty(len(axes))).size
    shifts, axes = (v * pairs if len(v) == 1 else v for v in (shifts, axes))
    if not any(isinstance(s, Tracer) for s in shifts):
        return _roll(a, tuple(map(int, shifts)), tuple(axes))
    for s, i in zip(shifts, axes, strict=True):
        a = _roll_by(a, s, i)
    return a


@surface()
def _tile(x: Any, reps: tuple[int, ...]) -> Any:
    x = strict(x)
    ndim = max(x.ndim, len(reps))
    shape, reps = (1,) * (ndim - x.ndim) + x.shape, (1,) * (ndim - len(reps)) + reps
    wide = tuple(n for pair in zip(reps, shape, strict=True) for n in pair)
    dims = tuple(2 * (ndim - x.ndim + a) + 1 for a in range(x.ndim))
    return p.reshape(
        p.broadcast_in_dim(x, shape=wide, dims=dims), shape=tuple(r * n for r, n in zip(reps, shape, strict=True))
    )


@traced(np.tile)
def tile(A: Any, reps: Any) -> Any:
    """`A` repeated `reps` times along each axis.

    >>> from fgrad import numpy as fnp
    >>> fnp.tile([1, 2], 2)
    array([1, 2, 1, 2])
    """
    return _tile(A, shape_of(reps))


@surface()
def _repeat(x: Any, repeats: int | tuple[int, ...], axis: int) -> Any:
    x = strict(x)
    n = x.shape[axis]
    if isinstance(repeats, tuple):
        return pick(x, np.repeat(np.arange(n), repeats), axis)
    shape = (*x.shape[: axis + 1], repeats, *x.shape[axis + 1 :])
    wide = p.broadcast_in_dim(x, shape=shape, dims=tuple(a for a in range(x.ndim + 1) if a != axis + 1))
    return p.reshape(wide, shape=(*x.shape[:axis], n * repeats, *x.shape[axis + 1 :]))


@traced(np.repeat, method="repeat")
def repeat(a: Any, repeats: Any, axis: int | None = None) -> Any:
    """Each element of `a` `repeats` times along `axis` (of the flattened array where it is None).

    `repeats`: a number, or one per element, known while tracing.

    >>> from fgrad import numpy as fnp
    >>> fnp.repeat([1, 2], [2, 1])
    array([1, 1, 2])
    """
    if axis is None:
        a, axis = ravel(a), 0
    axis = axis_of("repeat", axis, a.ndim)
    counts = shape_of(repeats)
    if np.ndim(repeats) == 0 or len(counts) == 1:
        return _repeat(a, counts[0], axis)
    if len(counts) != a.shape[axis]:
        raise ShapeError(
            message(
                "repeat: needs one count per element",
                got=f"{len(counts)} counts for {a.shape[axis]} elements",
                do="give as many",
            )
        )
    return _repeat(a, counts, axis)


def _triangle(name: str, upper: bool) -> Any:
    def triangle(m: Any, k: int = 0) -> Any:
        if m.ndim < 2:
            m = _broadcast_to(m, (m.shape[0], m.shape[0]))
        mask = np.tri(*m.shape[-2:], k=k - 1 if upper else k, dtype=bool)
        zero = m.dtype.type(0)
        return where_call(mask, zero, m) if upper else where_call(mask, m, zero)

    numpy = getattr(np, name)
    triangle.__name__ = name
    triangle.__doc__ = f"""The {"upper" if upper else "lower"} triangle of the last two axes of `m`, from diagonal `k`; zeros elsewhere.

    >>> from fgrad import numpy as fnp
    >>> fnp.{name}([[1, 2], [3, 4]])
    {str(repr(numpy([[1, 2], [3, 4]]))).replace(chr(10), chr(10) + "    ")}
    """
    return traced(numpy)(triangle)


tril = _triangle("tril", False)
triu = _triangle("triu", True)


@traced(np.meshgrid, sequences=True)
def meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> tuple[Any, ...]:
    """Coordinate arrays of the grid of some lines of coordinates; `indexing` "xy" or "ij", `sparse` without repeats.

    >>> from fgrad import numpy as fnp
    >>> x, y = fnp.meshgrid([1, 2, 3], [4, 5])
    >>> x.shape
    (2, 3)
    """
    if indexing not in ("xy", "ij"):
        raise ValueError(message("meshgrid: unknown indexing", got=repr(indexing), do="choose 'xy' or 'ij'"))
    lines = [x.reshape(-1) if isinstance(x, Tracer) else np.ravel(x) for x in xi]
    places = list(range(len(lines)))
    if indexing == "xy" and len(lines) > 1:
        places[:2] = [1, 0]
    full = [0] * len(lines)
    for x, a in zip(lines, places, strict=True):
        full[a] = x.shape[0]
    grids = [x.reshape(kept_only(full, a)) for x, a in zip(lines, places, strict=True)]
    return tuple(grids) if sparse else tuple(broadcast_to(x, tuple(full)) for x in grids)


def kept_only(shape: Sequence[int], axis: int) -> tuple[int, ...]:
    """`shape` with size 1 along every axis but one."""
    return kept(shape, [a for a in range(len(shape)) if a != axis])


ROUTES[np.shape], ROUTES[np.ndim], ROUTES[np.size] = (
    lambda a: a.shape,
    lambda a: a.ndim,
    lambda a, axis=None: a.size if axis is None else math.prod(a.shape[i] for i in axes_of("size", axis, a.ndim)),
)
Tracer.reshape = _method_reshape  # type: ignore[attr-defined]
Tracer.flatten = _method_flatten  # type: ignore[attr-defined]
Tracer.transpose = _method_transpose  # type: ignore[attr-defined]
Tracer.T = property(transpose_call, doc="The axes in reverse order.")  # type: ignore[attr-defined]
Tracer.mT = property(ROUTES[np.matrix_transpose], doc="The last two axes swapped.")  # type: ignore[attr-defined]

__all__ = [
    "atleast_1d", "atleast_2d", "atleast_3d", "broadcast_arrays", "broadcast_shapes", "broadcast_to", "expand_dims",
    "flip", "fliplr", "flipud", "matrix_transpose", "meshgrid", "moveaxis", "permute_dims", "ravel", "repeat",
    "reshape", "roll", "rollaxis", "rot90", "squeeze", "swapaxes", "tile", "transpose", "tril", "triu",
]  # fmt: skip
