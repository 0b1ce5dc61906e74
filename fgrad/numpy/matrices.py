"""Diagonals and triangles of matrices: diag, diagonal, tril, triu, vander."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.errors import ShapeError, message
from ..core.primitive import registry as p
from ..core.surface import surface
from .creation import astype, ones_like
from .shapes import broadcast_to
from .support import axis_of, strict, traced, where_call, window
from .ufuncs import multiply
from .views import viewing


@surface(run=lambda x, k: np.diag(x, k).copy())
def _diag_of(x: Any, k: int) -> Any:
    return _diagonal_of(strict(x), k, 0, 1)


def _diagonal_of(x: Any, k: int, axis1: int, axis2: int) -> Any:
    """The diagonal of two axes, put last: every (n + 1)-th element of the flattened matrix."""
    others = [a for a in range(x.ndim) if a not in (axis1, axis2)]
    x = p.transpose(x, axes=(*others, axis1, axis2)) if others or axis1 > axis2 else x
    *lead, m, n = x.shape
    length = max(min(m + min(k, 0), n - max(k, 0)), 0)
    flat = p.reshape(x, shape=(*lead, m * n))
    start = max(k, 0) - min(k, 0) * n
    first = (0,) * len(lead)
    if not length:
        return window(flat, (*first, 0), (*lead, 0))
    return window(flat, (*first, start), (*lead, start + (length - 1) * (n + 1) + 1), (*[1] * len(lead), n + 1))


@surface(run=lambda x, k: np.diag(x, k))
def _diag_with(x: Any, k: int) -> Any:
    """The matrix with the vector `x` on diagonal `k`: zeros between the elements, reshaped."""
    x = strict(x)
    n, m = x.shape[0], x.shape[0] + abs(k)
    if not n:
        return p.broadcast_in_dim(x.dtype.type(0), shape=(m, m), dims=())
    start = max(k, 0) - min(k, 0) * m
    high = m * m - start - (n + (n - 1) * m)
    return p.reshape(p.pad(x, x.dtype.type(0), low=(start,), high=(high,), interior=(m,)), shape=(m, m))


@traced(np.diag)
def diag(v: Any, k: int = 0) -> Any:
    """The diagonal `k` of a matrix, or the matrix with the vector `v` on its diagonal `k`.

    >>> from fgrad import numpy as fnp
    >>> fnp.diag([1, 2])
    array([[1, 0],
           [0, 2]])
    """
    if v.ndim not in (1, 2):
        raise ShapeError(
            message("diag: needs a vector or a matrix", got=f"shape {v.shape}", do="use diagonal for more axes")
        )
    return _diag_with(v, k) if v.ndim == 1 else _diag_view(v, k)


@traced(np.diagflat)
def diagflat(v: Any, k: int = 0) -> Any:
    """The matrix with the elements of `v` on its diagonal `k`.

    >>> from fgrad import numpy as fnp
    >>> fnp.diagflat([[1], [2]])
    array([[1, 0],
           [0, 2]])
    """
    return _diag_with(v.reshape(-1), k)


@surface(run=lambda x, k, axis1, axis2: np.diagonal(x, k, axis1, axis2))
def _diagonal(x: Any, k: int, axis1: int, axis2: int) -> Any:
    first, second = (axis_of("diagonal", a, x.ndim) for a in (axis1, axis2))
    if first == second:
        raise ShapeError(
            message("diagonal: needs two different axes", got=f"{axis1} and {axis2}", do="correct the axes")
        )
    return _diagonal_of(strict(x), k, first, second)


# read-only, as NumPy's
_diag_view = viewing(_diag_of, lambda x, out, *statics: None)
_diagonal_view = viewing(_diagonal, lambda x, out, *statics: None)


@traced(np.diagonal, method="diagonal")
def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """Elements of the diagonal `offset` of two axes, along a new last axis.

    >>> from fgrad import numpy as fnp
    >>> fnp.diagonal([[1, 2], [3, 4]])
    array([1, 4])
    """
    return _diagonal_view(a, offset, axis1, axis2)


@traced(np.vander)
def vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    """Matrix of the powers of the elements of `x`, N - 1 down to 0 (0 up where `increasing`) from left to right.

    >>> from fgrad import numpy as fnp
    >>> fnp.vander([2, 3], 3)
    array([[4, 2, 1],
           [9, 3, 1]])
    """
    count = x.shape[0] if N is None else N
    x = astype(x, np.promote_types(x.dtype, np.int64))
    if not count:
        return np.zeros((x.shape[0], 0), x.dtype)
    columns = [ones_like(x)]
    for _ in range(count - 1):
        columns.append(multiply(columns[-1], x))
    return np.stack(columns if increasing else columns[::-1], axis=1)


def _triangle(name: str, upper: bool) -> Any:
    def triangle(m: Any, k: int = 0) -> Any:
        if m.ndim < 2:
            m = broadcast_to(m, (m.shape[0], m.shape[0]))
        mask = np.tri(*m.shape[-2:], k=k - 1 if upper else k, dtype=bool)
        zero = m.dtype.type(0)
        return where_call(mask, zero, m) if upper else where_call(mask, m, zero)

    numpy, word = getattr(np, name), "upper" if upper else "lower"
    triangle.__name__ = name
    triangle.__doc__ = f"""The {word} triangle of the last two axes, from diagonal `k`; zeros elsewhere.

    >>> from fgrad import numpy as fnp
    >>> fnp.{name}([[1, 2], [3, 4]])
    {str(repr(numpy([[1, 2], [3, 4]]))).replace(chr(10), chr(10) + "    ")}
    """
    return traced(numpy)(triangle)


tril = _triangle("tril", False)


triu = _triangle("triu", True)

__all__ = ["diag", "diagflat", "diagonal", "tril", "triu", "vander"]
