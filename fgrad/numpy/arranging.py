"""Elements in another order or repeated: flip, rot90, roll, tile, repeat, meshgrid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.errors import ShapeError, message
from ..core.primitive import registry as p
from ..core.surface import surface
from ..core.trace import Tracer
from .index_pattern import FULL
from .promote import broadcast, broadcast_shapes, cast
from .shapes import broadcast_call, ravel, reshape_view, swapaxes
from .support import axes_of, axis_of, cut, kept, pick, shape_of, stacked, strict, traced
from .views import viewing


@surface(run=lambda x, axis: np.flip(x, axis))
def _flip(x: Any, axis: int | tuple[int, ...] | None) -> Any:
    x = strict(x)
    return p.rev(x, axes=axes_of("flip", axis, x.ndim))


def _flipping(x: Any, out: Any, axis: Any) -> Any:
    axes = [a for a in axes_of("flip", axis, x.ndim) if x.shape[a] > 1]
    return ("index", tuple((n, -1) if a in axes else FULL for a, n in enumerate(x.shape)), [0] * len(axes))


_flip_view = viewing(_flip, _flipping)


@traced(np.flip)
def flip(m: Any, axis: Any = None) -> Any:
    """`m` with the order of its elements reversed along `axis` (all axes where it is None).

    >>> from fgrad import numpy as fnp
    >>> fnp.flip([1, 2, 3])
    array([3, 2, 1])
    """
    return _flip_view(m, axis)


@traced(np.flipud)
def flipud(m: Any) -> Any:
    """`m` reversed along its first axis.

    >>> from fgrad import numpy as fnp
    >>> fnp.flipud([[1, 2], [3, 4]])
    array([[3, 4],
           [1, 2]])
    """
    return _flip_view(m, 0)


@traced(np.fliplr)
def fliplr(m: Any) -> Any:
    """`m` reversed along its second axis.

    >>> from fgrad import numpy as fnp
    >>> fnp.fliplr([[1, 2], [3, 4]])
    array([[2, 1],
           [4, 3]])
    """
    return _flip_view(m, 1)


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
        return reshape_view(m, m.shape)
    if k == 2:
        return _flip_view(m, (first, second))
    if k == 1:
        return swapaxes(_flip_view(m, second), first, second)
    return _flip_view(swapaxes(m, first, second), second)


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
    return tuple(grids) if sparse else tuple(broadcast_call(x, tuple(full)) for x in grids)


def kept_only(shape: Sequence[int], axis: int) -> tuple[int, ...]:
    """`shape` with size 1 along every axis but one."""
    return kept(shape, [a for a in range(len(shape)) if a != axis])


@surface(arity=None)
def _ravel_multi_index(*indices: Any, dims: tuple[int, ...], modes: tuple[str, ...], order: str) -> Any:
    shape = broadcast_shapes(*[i.shape for i in indices])
    strides = np.cumprod((1, *(dims[:-1] if order == "F" else dims[:0:-1]))).tolist()
    flat = p.broadcast_in_dim(np.int64(0), shape=shape, dims=())
    for i, n, mode, stride in zip(indices, dims, modes, strides if order == "F" else strides[::-1], strict=True):
        i = broadcast(cast(i, np.int64), shape)
        if mode == "wrap":
            i = p.rem(i, n)
        elif mode == "clip":
            i = p.max(p.min(i, n - 1), 0)
        else:  # a look-up raises for an index outside; a negative one is no count from the end here
            outside = p.broadcast_in_dim(np.int64(n), shape=shape, dims=())
            i = p.gather(np.arange(n), p.select(p.lt(i, 0), outside, i), axes=(0,), mode="raise")
        flat = p.add(flat, p.mul(i, stride))
    return flat


@traced(np.ravel_multi_index, sequences=True)
def ravel_multi_index(multi_index: Any, dims: Any, mode: Any = "raise", order: str = "C") -> Any:
    """Positions in the flattened array of shape `dims` of the indices `multi_index`, one array per axis.

    `mode`, one or one per axis: "raise" (`OutOfBoundsError`), "wrap" or "clip". `order` "C" or "F".

    >>> from fgrad import numpy as fnp
    >>> fnp.ravel_multi_index((1, 2), (3, 4))
    np.int64(6)
    """
    dims = shape_of(dims)
    indices = [stacked(i) for i in multi_index]
    modes = (mode,) * len(dims) if isinstance(mode, str) else tuple(mode)
    if len(indices) != len(dims) or len(modes) != len(dims) or not set(modes) <= {"raise", "wrap", "clip"}:
        raise ShapeError(
            message(
                "ravel_multi_index: needs one index array and one mode ('raise', 'wrap', 'clip') per axis",
                got=f"{len(indices)} indices, modes {modes}, dims {dims}",
                do="give as many as there are dims",
            )
        )
    return _ravel_multi_index(*indices, dims=dims, modes=modes, order=order)


__all__ = ["flip", "fliplr", "flipud", "meshgrid", "ravel_multi_index", "repeat", "roll", "rot90", "tile"]
