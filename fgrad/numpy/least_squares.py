"""The pseudo-inverse, least squares and ranks: what depends on a tolerance below which singular values are zero."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..core.errors import ShapeError, message
from ..core.primitive import registry as p
from ..core.trace import Tracer
from ..core.types import canonical, real_dtype
from .norms import matrix_operand
from .products import matmul, promote_dtypes
from .promote import cast
from .reductions import any
from .support import inexact, traced
from .ufuncs import absolute, greater, multiply, not_equal, subtract


@traced(np.linalg.pinv)
def pinv(a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Any:
    """numpy.linalg.pinv: the Moore-Penrose inverse; singular values up to `rtol` times the largest count as zero.

    `rtol` (NumPy's older name: `rcond`) is a number, by default 1e-15. The derivative holds where the rank is constant.

    >>> pinv(np.array([[2.0], [0.0]]))
    array([[0.5, 0. ]])
    """
    a = matrix_operand("pinv", a, square=hermitian)
    tolerance = rcond if rcond is not None else rtol
    if rcond is None and rtol is None:
        tolerance = 1e-15
    return p.pinv(a, rtol=float(tolerance), hermitian=hermitian)


class LstsqResult(NamedTuple):
    """Solutions, sums of squared residuals, ranks and singular values of a least squares problem."""

    x: Any
    resid: Any
    rank: Any
    s: Any


@traced(np.linalg.lstsq)
def lstsq(a: Any, b: Any, rcond: Any = None) -> LstsqResult:
    """numpy.linalg.lstsq: (x, squared residuals, rank, singular values), x of least norm among minima of |b - a x|.

    `rcond`: singular values up to this times the largest count as zero; by default eps * max(m, n). For a traced a,
    the residuals are computed whenever there are more rows than columns; NumPy leaves them out where the rank is short.

    >>> lstsq(np.array([[1.0], [1.0]]), np.array([1.0, 3.0]))[0]
    array([2.])
    """
    a, b = promote_dtypes(matrix_operand("lstsq", a), inexact(b if type(b) is Tracer else canonical(np.asarray(b))))
    m, n = a.shape[-2:]
    if a.ndim != 2 or b.ndim not in (1, 2) or b.shape[0] != m:
        raise ShapeError(
            message(
                "lstsq: the right side does not fit the matrix",
                got=f"{a.shape} and {b.shape}",
                do="give a (m, n) and b (m,) or (m, k)",
            )
        )
    rcond = float(np.finfo(a.dtype).eps * max(m, n)) if rcond is None else float(rcond)
    x = matmul(p.pinv(a, rtol=rcond, hermitian=False), b)
    s = p.svd(a, full=False, compute_uv=False)
    if m > n:
        gap = absolute(subtract(b, matmul(a, x)))
        squares = p.reduce_sum(p.square(gap), axes=(0,))
        resid = p.reshape(squares, shape=(1,)) if b.ndim == 1 else squares
    else:
        resid = np.zeros(0, real_dtype(a.dtype))
    return LstsqResult(x, resid, cast(_count_above(s, rcond), np.int32), s)


def _count_above(s: Any, tolerance: Any) -> Any:
    """How many singular values exceed `tolerance` times the largest."""
    if not s.shape[-1]:
        return np.zeros(s.shape[:-1], np.int64)[()]
    largest = p.reduce_max(s, axes=(s.ndim - 1,))
    bound = multiply(p.reshape(largest, shape=(*largest.shape, 1)), tolerance)
    return p.reduce_sum(cast(greater(s, bound), np.int64), axes=(s.ndim - 1,))


@traced(np.linalg.matrix_rank)
def matrix_rank(A: Any, tol: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Any:
    """numpy.linalg.matrix_rank: the number of singular values above `tol`, or above `rtol` times the largest.

    By default rtol is eps * max(m, n).

    >>> matrix_rank(np.ones((3, 3)))
    np.int64(1)
    """
    if A.ndim < 2:
        return cast(any(not_equal(A, 0)), np.int64)
    a = matrix_operand("matrix_rank", A, square=hermitian)
    s = p.svd(a, full=False, compute_uv=False)
    if tol is not None:
        tol = tol if type(tol) is Tracer else np.asarray(tol, s.dtype)
        bound = p.reshape(tol, shape=(*tol.shape, 1)) if tol.ndim else tol
        return p.reduce_sum(cast(greater(s, bound), np.int64), axes=(s.ndim - 1,))
    return _count_above(s, float(np.finfo(s.dtype).eps * max(a.shape[-2:])) if rtol is None else rtol)


__all__ = ["LstsqResult", "lstsq", "matrix_rank", "pinv"]
