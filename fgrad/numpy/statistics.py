"""Order statistics, counts and covariances: median, quantile, histogram, bincount, cov, corrcoef, ..."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from ..core.errors import message
from ..core.primitive import registry as p
from ..core.surface import surface
from ..core.trace import Tracer, concrete
from . import joining as j
from . import shapes as s
from .creation import astype, linspace
from .promote import cast
from .support import stacked, traced, where_call
from .ufuncs import divide


@surface(arity=2)
def _bincount(x: Any, weights: Any, length: int, clipped: bool) -> Any:
    x = cast(x, np.int64)
    # counts from the end are no numbers to count: they are moved out of bounds, or into the first bin
    none = p.broadcast_in_dim(np.int64(0 if clipped else length), shape=x.shape, dims=())
    x = p.select(p.lt(x, 0), none, x)
    start = p.broadcast_in_dim(weights.dtype.type(0), shape=(length,), dims=())
    return p.scatter_add(start, weights, x, axes=(0,), mode="drop" if clipped else "raise")


@traced(
    np.bincount,
    sequences=True,
    run=lambda x, weights=None, minlength=0, *, length=None: _plain_bincount(x, weights, minlength, length),
)
def bincount(x: Any, weights: Any = None, minlength: int = 0, *, length: int | None = None) -> Any:
    """How often (or with what sum of `weights`) each of 0, 1, 2, ... occurs in a vector of integers.

    With `length` the result has so many bins, larger numbers are dropped and negative ones count as 0. Without it the
    numbers must be known: under jit and vmap `ConcretizationError` is raised.

    >>> from fgrad import numpy as fnp
    >>> fnp.bincount([0, 2, 2])
    array([1, 0, 2])
    """
    x = stacked(x)
    clipped = length is not None
    if length is None:
        known = (
            concrete(x, "bincount without length=", "pass length=, the number of bins") if isinstance(x, Tracer) else x
        )
        length = max(int(np.max(known, initial=-1)) + 1, minlength)
    weights = np.ones(x.shape, np.int64) if weights is None else stacked(weights).astype(np.float64)
    return _bincount(x, weights, length, clipped)


def _plain_bincount(x: Any, weights: Any, minlength: int, length: int | None) -> Any:
    if length is None:
        return np.bincount(x, weights, minlength)
    x = np.clip(np.asarray(x), 0, None)
    taken = x < length
    return np.bincount(x[taken], None if weights is None else np.asarray(weights)[taken], length)


@traced(np.cov, sequences=True)
def cov(
    m: Any,
    y: Any = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
    fweights: Any = None,
    aweights: Any = None,
    *,
    dtype: Any = None,
) -> Any:
    """Covariance matrix of the rows of `m` (and `y`), each a variable; of the columns where `rowvar` is false.

    Divisor n - 1, n where `bias`, else n - `ddof`; `fweights` repeats observations, `aweights` weighs them.

    >>> from fgrad import numpy as fnp
    >>> fnp.cov(np.array([[1.0, 2.0, 3.0], [1.0, 4.0, 7.0]]))
    array([[1., 3.],
           [3., 9.]])
    """
    parts = [_variables(v, rowvar) for v in (m, y) if v is not None]
    x = parts[0] if len(parts) == 1 else j.concatenate(parts, 0)
    x = x.astype(np.result_type(x.dtype, np.float64) if dtype is None else dtype)
    ddof = (0 if bias else 1) if ddof is None else ddof
    n = x.shape[1]
    w = None
    for weights in (fweights, aweights):
        if weights is not None:
            weights = stacked(weights).astype(np.float64)
            w = weights if w is None else w * weights
    if w is None:
        total, factor = n, float(n - ddof)
    else:
        total = np.sum(w)
        factor = total - ddof if aweights is None or ddof == 0 else total - ddof * np.sum(w * stacked(aweights)) / total
    centred = x - np.sum(x if w is None else x * w, axis=1, keepdims=True) / total
    other = centred if w is None else centred * w
    return np.squeeze((centred @ np.conj(other).T) / factor)


def _variables(x: Any, rowvar: bool) -> Any:
    x = s.atleast_2d(stacked(x))
    return x.T if not rowvar and x.shape[0] != 1 else x


@traced(np.corrcoef, sequences=True)
def corrcoef(x: Any, y: Any = None, rowvar: bool = True, *, dtype: Any = None) -> Any:
    """Matrix of the correlation coefficients of the rows of `x` (and `y`); of the columns where `rowvar` is false.

    >>> from fgrad import numpy as fnp
    >>> fnp.corrcoef(np.array([[1.0, 2.0, 3.0], [1.0, 4.0, 7.0]])).round(6)
    array([[1., 1.],
           [1., 1.]])
    """
    c = cov(x, y, rowvar, dtype=dtype)
    if c.ndim == 0:
        return divide(c, c)
    root = np.sqrt(np.real(np.diagonal(c)))
    c = c / root[:, None] / root[None, :]
    clipped = np.clip(np.real(c), -1, 1)
    return clipped if c.dtype.kind != "c" else clipped + 1j * np.clip(np.imag(c), -1, 1)


def _histogram_counts(a: Any, edges: Any, weights: Any) -> Any:
    """Sums of weights between edges; the last bin holds its right edge too."""
    bins = edges.shape[0] - 1
    place = np.searchsorted(edges, a, side="right") - 1
    last = edges[bins:]
    place = where_call(a == last, bins - 1, place)
    outside = np.logical_or(a < edges[:1], a > last)
    return bincount(where_call(outside, bins, place), weights, length=bins + 1)[:bins]


@traced(np.histogram_bin_edges)
def histogram_bin_edges(a: Any, bins: Any = 10, range: Any = None, weights: Any = None) -> Any:
    """Edges of `bins` equal bins between the ends of `range` (the extremes of `a`), or `bins` itself if it has edges.

    Rules named by a string are for untraced arrays only, as their number of bins depends on values.

    >>> from fgrad import numpy as fnp
    >>> fnp.histogram_bin_edges(np.array([0.0, 4.0]), 2)
    array([0., 2., 4.])
    """
    if isinstance(bins, str):
        raise ValueError(message("histogram: rules have no traced version", got=repr(bins), do="pass a number of bins"))
    if np.ndim(bins):
        return stacked(bins)
    low, high = (np.min(a), np.max(a)) if range is None else range
    low, high = (astype(stacked(v), np.float64 if a.dtype.kind != "f" else a.dtype) for v in (low, high))
    flat = low == high
    low, high = where_call(flat, low - 0.5, low), where_call(flat, high + 0.5, high)
    return linspace(low, high, operator.index(bins) + 1)


@traced(np.histogram)
def histogram(
    a: Any, bins: Any = 10, range: Any = None, density: bool | None = None, weights: Any = None
) -> tuple[Any, Any]:
    """(counts or sums of `weights`, edges) of bins as in `histogram_bin_edges`; `density`: of integral 1.

    >>> from fgrad import numpy as fnp
    >>> fnp.histogram(np.array([0.0, 1.0, 4.0]), 2)[0]
    array([2, 1])
    """
    edges = histogram_bin_edges(a, bins, range)
    counts = _histogram_counts(a.reshape(-1), edges, None if weights is None else stacked(weights).reshape(-1))
    return (counts / np.diff(edges) / np.sum(counts) if density else counts), edges


__all__ = ["bincount", "corrcoef", "cov", "histogram", "histogram_bin_edges"]
