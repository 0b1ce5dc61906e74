"""Polynomials as vectors of coefficients, highest power first."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.errors import message
from ..core.primitive import registry as p
from ..core.surface import surface
from . import calculus, joining
from . import shapes as s
from .padding import pad
from .promote import broadcast, cast, result_dtype
from .support import cut, part, stacked, strict, traced
from .ufuncs import add, divide, multiply, subtract


@surface(run=np.polyval, arity=2)
def _polyval(coefficients: Any, x: Any) -> Any:
    coefficients, x = strict(coefficients), strict(x)
    dtype = result_dtype(coefficients, x)
    x, y = cast(x, dtype), p.broadcast_in_dim(dtype.type(0), shape=x.shape, dims=())
    for i in range(coefficients.shape[0]):
        c = p.reshape(cast(cut(coefficients, 0, i, i + 1), dtype), shape=())
        y = p.add(p.mul(y, x), broadcast(c, x.shape)) if i else broadcast(c, x.shape)
    return y


@traced(np.polyval, sequences=True)
def polyval(p: Any, x: Any) -> Any:
    """Value at `x` of the polynomial with coefficients `p`, by Horner's rule.

    >>> from fgrad import numpy as fnp
    >>> fnp.polyval([3, 0, 1], 2)
    np.int64(13)
    """
    return _polyval(stacked(p), stacked(x))


def _long(a: Any, n: int) -> Any:
    """Coefficients with zeros in front, `n` in all."""
    a = s.atleast_1d(a)
    return a if a.shape[0] == n else pad(a, (n - a.shape[0], 0))


def _aligned(f: Any, a1: Any, a2: Any) -> Any:
    a1, a2 = s.atleast_1d(stacked(a1)), s.atleast_1d(stacked(a2))
    n = max(a1.shape[0], a2.shape[0])
    return f(_long(a1, n), _long(a2, n))


@traced(np.polyadd, sequences=True)
def polyadd(a1: Any, a2: Any) -> Any:
    """Sum of two polynomials.

    >>> from fgrad import numpy as fnp
    >>> fnp.polyadd([1, 2], [3, 4, 5])
    array([3, 5, 7])
    """
    return _aligned(add, a1, a2)


@traced(np.polysub, sequences=True)
def polysub(a1: Any, a2: Any) -> Any:
    """Difference of two polynomials.

    >>> from fgrad import numpy as fnp
    >>> fnp.polysub([1, 2], [3, 4, 5])
    array([-3, -3, -3])
    """
    return _aligned(subtract, a1, a2)


@traced(np.polymul, sequences=True)
def polymul(a1: Any, a2: Any) -> Any:
    """Product of two polynomials.

    >>> from fgrad import numpy as fnp
    >>> fnp.polymul([1, 2], [3, 4])
    array([ 3, 10,  8])
    """
    return calculus.convolve(a1, a2)


@traced(np.polyder)
def polyder(p: Any, m: int = 1) -> Any:
    """The `m`-th derivative of a polynomial.

    >>> from fgrad import numpy as fnp
    >>> fnp.polyder([1, 2, 3])
    array([2, 2])
    """
    if m < 0:
        raise ValueError(message("polyder: the order must not be negative", got=m, do="use polyint to integrate"))
    for _ in range(m):
        n = p.shape[0]
        p = multiply(part(p, 0, 0, max(n - 1, 0)), np.arange(n - 1, 0, -1))
    return p


@traced(np.polyint)
def polyint(p: Any, m: int = 1, k: Any = None) -> Any:
    """The `m`-th antiderivative of a polynomial, with the constants `k` (0).

    >>> from fgrad import numpy as fnp
    >>> fnp.polyint(np.array([2.0, 2.0]))
    array([1., 2., 0.])
    """
    if m < 0:
        raise ValueError(message("polyint: the order must not be negative", got=m, do="use polyder to differentiate"))
    constants = [0.0] * m if k is None else [k] * m if np.ndim(k) == 0 else list(k)
    for i in range(m):
        grown = divide(p, np.arange(p.shape[0], 0, -1))
        p = joining.concatenate([grown, stacked(constants[i]).reshape(-1).astype(grown.dtype)])
    return p


@traced(np.poly)
def poly(seq_of_zeros: Any) -> Any:
    """The polynomial with the given zeros and leading coefficient 1.

    >>> from fgrad import numpy as fnp
    >>> fnp.poly([1.0, 2.0])
    array([ 1., -3.,  2.])
    """
    zeros = s.atleast_1d(seq_of_zeros)
    dtype = np.dtype(np.result_type(zeros.dtype, np.float64)) if zeros.dtype.kind in "biu" else zeros.dtype
    y: Any = np.ones(1, dtype)
    for i in range(zeros.shape[0]):
        factor = joining.concatenate([np.ones(1, dtype), -part(zeros, 0, i, i + 1).astype(dtype)])
        y = calculus.convolve(y, factor)
    return y


@traced(np.polyfit, sequences=True)
def polyfit(
    x: Any, y: Any, deg: int, rcond: float | None = None, full: bool = False, w: Any = None, cov: bool = False
) -> Any:
    """Coefficients of the polynomial of degree `deg` that fits points (x, y) best, in the sense of least squares.

    Weights `w` multiply the residuals. Statistics (`full`, `cov`) and `rcond` are for untraced points only.

    >>> from fgrad import numpy as fnp
    >>> fnp.polyfit(np.array([0.0, 1.0, 2.0]), np.array([1.0, 3.0, 5.0]), 1).round(6)
    array([2., 1.])
    """
    if full or cov or rcond is not None:
        raise ValueError(message("polyfit: full, cov and rcond have no traced version", do="leave them out"))
    x, y = stacked(x), stacked(y)
    matrix = np.vander(x + 0.0, deg + 1)
    y = y + 0.0
    if w is not None:
        w = stacked(w)
        matrix, y = matrix * w[:, None], y * (w if y.ndim == 1 else w[:, None])
    scale = np.sqrt(np.sum(matrix * matrix, axis=0))  # equal lengths of the columns, as NumPy has them
    q, r = np.linalg.qr(matrix / scale)
    found = np.linalg.solve(r, np.conj(q.T) @ y)
    return found / (scale if y.ndim == 1 else scale[:, None])


__all__ = ["poly", "polyadd", "polyder", "polyfit", "polyint", "polymul", "polysub", "polyval"]
