"""Norms of vectors and matrices, and the singular values that some of them are made of."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core.errors import ShapeError, message
from ..core.primitive import registry as p
from ..core.surface import surface
from ..core.trace import Tracer
from ..core.types import canonical
from .promote import cast
from .support import axes_of, axis_of, inexact, kept, traced


def matrix_operand(name: str, a: Any, *, square: bool = False) -> Any:
    """An operand as floating or complex (square) matrices; `ShapeError` if it is none."""
    a = inexact(a if type(a) is Tracer else canonical(np.asarray(a)))
    if a.ndim < 2 or (square and a.shape[-1] != a.shape[-2]):
        raise ShapeError(
            message(
                f"{name}: needs {'square ' if square else ''}matrices along the last two axes",
                got=f"shape {tuple(a.shape)}" + (f": {a.shape[-2]} rows, {a.shape[-1]} columns" if a.ndim > 1 else ""),
                do=f"give an array of shape {'(..., n, n)' if square else '(..., m, n)'}",
            )
        )
    return a


@traced(np.linalg.svdvals)
def svdvals(x: Any, /) -> Any:
    """numpy.linalg.svdvals: singular values, descending.

    >>> svdvals(np.diag([3.0, 4.0]))
    array([4., 3.])
    """
    # with the vectors, which the gradient needs: one factorization instead of two
    return p.svd(matrix_operand("svdvals", x), full=False, compute_uv=True)[1]


def _power_mean(x: Any, order: float, axes: tuple[int, ...]) -> Any:
    """The vector norm of that order over `axes`, of |x| where it is not 2."""
    if order == 2:
        squares = p.square(x) if x.dtype.kind != "c" else p.add(p.square(p.real(x)), p.square(p.imag(x)))
        return p.sqrt(p.reduce_sum(squares, axes=axes))
    size = p.abs(x)
    if order == math.inf:
        return p.reduce_max(size, axes=axes)
    if order == -math.inf:
        return p.reduce_min(size, axes=axes)
    if order == 0:
        return p.reduce_sum(cast(p.ne(size, 0), size.dtype), axes=axes)
    if order == 1:
        return p.reduce_sum(size, axes=axes)
    power = lambda v, n: p.pow(v, p.broadcast_in_dim(v.dtype.type(n), shape=tuple(v.shape), dims=()))  # noqa: E731
    return power(p.reduce_sum(power(size, order), axes=axes), 1 / order)


def _entry_norm(x: Any, order: Any, axes: tuple[int, ...]) -> Any:
    """Vector norms, and those matrix norms that are made of sums and maxima; `axes` in the order they were given in."""
    if len(axes) == 1:
        if isinstance(order, str):
            raise ValueError(
                message(f"norm: order {order!r} is not defined for vectors", got=order, do="give a number")
            )
        return _power_mean(x, order, axes)
    if order == "fro":
        return _power_mean(x, 2, axes)
    row, column = axes
    summed, rest = (row, column) if abs(order) == 1 else (column, row)
    sums = p.reduce_sum(p.abs(x), axes=(summed,))
    extreme = p.reduce_max if order > 0 else p.reduce_min
    return extreme(sums, axes=(rest - (rest > summed),))


@surface(run=lambda x, ord, axis, keepdims: np.linalg.norm(x, ord, axis, keepdims), arity=1)
def _norm(x: Any, ord: Any, axis: Any, keepdims: bool) -> Any:
    x = inexact(x)
    shape = tuple(x.shape)
    if axis is None and ord is None:
        axes, y = tuple(range(x.ndim)), _power_mean(x, 2, tuple(range(x.ndim)))
    else:
        axes = _norm_axes(axis, x.ndim)
        y = _entry_norm(x, ("fro" if len(axes) == 2 else 2) if ord is None else ord, axes)
    return p.reshape(y, shape=kept(shape, axes)) if keepdims else y


def _norm_axes(axis: Any, ndim: int) -> tuple[int, ...]:
    if axis is None:
        axis = tuple(range(ndim))
    axes = tuple(axis_of("norm", a, ndim) for a in (axis if isinstance(axis, tuple | list) else (axis,)))
    if len(axes) not in (1, 2) or len(set(axes)) != len(axes):
        raise ShapeError(
            message(
                "norm: with an order the axes must be one or two",
                got=f"axis={axis} of {ndim} dimensions",
                do="name one or two axes",
            )
        )
    return axes


_MATRIX_ORDERS = (None, "fro", "nuc", 1, -1, 2, -2, math.inf, -math.inf)


@traced(np.linalg.norm)
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """numpy.linalg.norm: vector norms over one axis, matrix norms over two; over all elements by default.

    `ord`: for vectors any number (0: how many are not zero), for matrices "fro", "nuc", 1, -1, 2, -2, inf or -inf; the
    default is the root of the sum of squares, whose gradient at zero is zero.

    >>> norm(np.array([3.0, 4.0]))
    np.float64(5.0)
    """
    if ord is None and not isinstance(axis, tuple | list):
        return _norm(x, ord, axis, keepdims)
    axes = _norm_axes(axis, x.ndim)
    if len(axes) == 2 and ord not in _MATRIX_ORDERS:
        raise ValueError(
            message(
                f"norm: order {ord!r} is not defined for matrices", got=ord, do=f"choose one of {_MATRIX_ORDERS[1:]}"
            )
        )
    if len(axes) == 1 or ord not in (2, -2, "nuc"):
        return _norm(x, ord, axes, keepdims)
    x = inexact(x)
    s = svdvals(p.transpose(x, axes=(*[a for a in range(x.ndim) if a not in axes], *axes)))
    reduce = {2: p.reduce_max, -2: p.reduce_min, "nuc": p.reduce_sum}[ord]
    y = reduce(s, axes=(s.ndim - 1,))
    return p.reshape(y, shape=kept(tuple(x.shape), axes)) if keepdims else y


@traced(np.linalg.matrix_norm)
def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    """numpy.linalg.matrix_norm: `norm` over the last two axes.

    >>> matrix_norm(np.array([[3.0, 4.0]]))
    np.float64(5.0)
    """
    return norm(matrix_operand("matrix_norm", x), ord, (-2, -1), keepdims)


@traced(np.linalg.vector_norm)
def vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
    """numpy.linalg.vector_norm: the vector norm over one axis, several, or (None) all elements.

    >>> vector_norm(np.array([[3.0], [4.0]]))
    np.float64(5.0)
    """
    return _vector_norm(x, axis, keepdims, ord)


@surface(run=lambda x, axis, keepdims, ord: np.linalg.vector_norm(x, axis=axis, keepdims=keepdims, ord=ord), arity=1)
def _vector_norm(x: Any, axis: Any, keepdims: bool, ord: Any) -> Any:
    axes = axes_of("vector_norm", axis, x.ndim)
    y = _power_mean(inexact(x), ord, axes)
    return p.reshape(y, shape=kept(x.shape, axes)) if keepdims else y


__all__ = ["matrix_norm", "matrix_operand", "norm", "svdvals", "vector_norm"]
