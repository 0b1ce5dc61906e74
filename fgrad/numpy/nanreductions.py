"""Reductions that pass over NaN: nansum, nanmean, nanvar, nanmax, nanargmax, ..."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import reductions as r
from .reductions import Axis
from .running import cumprod, cumsum
from .support import traced, where_call
from .ufuncs import divide, isnan, logical_not, sqrt, subtract


def _masked(a: Any, fill: Any) -> Any:
    """`a` with NaN replaced."""
    return where_call(isnan(a), fill, a) if a.dtype.kind in "fc" else a


@traced(np.nansum)
def nansum(a: Any, axis: Axis = None, dtype: Any = None, out: None = None, keepdims: bool = False) -> Any:
    """Sum over `axis` of what is not NaN.

    >>> from fgrad import numpy as fnp
    >>> fnp.nansum([1.0, fnp.nan, 2.0])
    np.float64(3.0)
    """
    return r.sum(_masked(a, 0), axis, dtype, None, keepdims)


@traced(np.nanprod)
def nanprod(a: Any, axis: Axis = None, dtype: Any = None, out: None = None, keepdims: bool = False) -> Any:
    """Product over `axis` of what is not NaN.

    >>> from fgrad import numpy as fnp
    >>> fnp.nanprod([3.0, fnp.nan, 2.0])
    np.float64(6.0)
    """
    return r.prod(_masked(a, 1), axis, dtype, None, keepdims)


@traced(np.nancumsum)
def nancumsum(a: Any, axis: int | None = None, dtype: Any = None, out: None = None) -> Any:
    """Running sum along `axis`, where NaN counts as 0.

    >>> from fgrad import numpy as fnp
    >>> fnp.nancumsum([1.0, fnp.nan, 2.0])
    array([1., 1., 3.])
    """
    return cumsum(_masked(a, 0), axis, dtype)


@traced(np.nancumprod)
def nancumprod(a: Any, axis: int | None = None, dtype: Any = None, out: None = None) -> Any:
    """Running product along `axis`, where NaN counts as 1.

    >>> from fgrad import numpy as fnp
    >>> fnp.nancumprod([3.0, fnp.nan, 2.0])
    array([3., 3., 6.])
    """
    return cumprod(_masked(a, 1), axis, dtype)


def _extreme(f: Any, a: Any, worst: float, nothing: float, axis: Any, keepdims: bool) -> Any:
    """`f` with NaN as `worst`; `nothing` where all are NaN."""
    if a.dtype.kind != "f":
        return f(a, axis, keepdims=keepdims)
    missing = isnan(a)
    found = f(where_call(missing, worst, a), axis, keepdims=keepdims)
    return where_call(r.all(missing, axis, None, keepdims), nothing, found)


@traced(np.nanmax)
def nanmax(a: Any, axis: Axis = None, out: None = None, keepdims: bool = False) -> Any:
    """Largest element over `axis` that is not NaN; NaN where there is none.

    >>> from fgrad import numpy as fnp
    >>> fnp.nanmax([1.0, fnp.nan, 2.0])
    np.float64(2.0)
    """
    return _extreme(r.max, a, -np.inf, np.nan, axis, keepdims)


@traced(np.nanmin)
def nanmin(a: Any, axis: Axis = None, out: None = None, keepdims: bool = False) -> Any:
    """Smallest element over `axis` that is not NaN; NaN where there is none.

    >>> from fgrad import numpy as fnp
    >>> fnp.nanmin([1.0, fnp.nan, 2.0])
    np.float64(1.0)
    """
    return _extreme(r.min, a, np.inf, np.nan, axis, keepdims)


@traced(np.nanargmax)
def nanargmax(a: Any, axis: int | None = None, out: None = None, *, keepdims: bool = False) -> Any:
    """Index along `axis` of the first largest element that is not NaN. Where all are NaN: -1, where NumPy raises.

    >>> from fgrad import numpy as fnp
    >>> fnp.nanargmax([1.0, fnp.nan, 2.0])
    np.int64(2)
    """
    return _extreme(r.argmax, a, -np.inf, -1, axis, keepdims)


@traced(np.nanargmin)
def nanargmin(a: Any, axis: int | None = None, out: None = None, *, keepdims: bool = False) -> Any:
    """Index along `axis` of the first smallest element that is not NaN. Where all are NaN: -1, where NumPy raises.

    >>> from fgrad import numpy as fnp
    >>> fnp.nanargmin([1.0, fnp.nan, 2.0])
    np.int64(0)
    """
    return _extreme(r.argmin, a, np.inf, -1, axis, keepdims)


@traced(np.nanmean)
def nanmean(
    a: Any, axis: Axis = None, dtype: Any = None, out: None = None, keepdims: bool = False, *, where: Any = None
) -> Any:
    """Mean over `axis` of what is not NaN; NaN where there is nothing.

    >>> from fgrad import numpy as fnp
    >>> fnp.nanmean([1.0, fnp.nan, 2.0])
    np.float64(1.5)
    """
    taken = _taken(a, where)
    if taken is None:
        return r.mean(a, axis, dtype, None, keepdims)
    return r.mean(_masked(a, 0), axis, dtype, None, keepdims, where=taken)


def _taken(a: Any, where: Any) -> Any:
    """Mask of what counts; None for everything."""
    present = logical_not(isnan(a)) if a.dtype.kind in "fc" else None
    if present is None or where is None:
        return where if present is None else present
    return np.logical_and(present, where)


@traced(np.nanvar)
def nanvar(
    a: Any,
    axis: Axis = None,
    dtype: Any = None,
    out: None = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    where: Any = None,
) -> Any:
    """Variance over `axis` of what is not NaN; NaN where `ddof` leaves nothing to divide by.

    >>> from fgrad import numpy as fnp
    >>> fnp.nanvar([1.0, fnp.nan, 3.0])
    np.float64(1.0)
    """
    taken = _taken(a, where)
    if taken is None:
        return r.var(a, axis, dtype, None, ddof, keepdims)
    total, count = r.squares(r.inexact_array(_masked(a, 0), dtype), axis, keepdims, taken)
    free = subtract(count, ddof).astype(total.dtype)
    enough = free > 0
    result = divide(total, where_call(enough, free, 1).astype(total.dtype))
    return where_call(enough, result, np.nan)


@traced(np.nanstd)
def nanstd(
    a: Any,
    axis: Axis = None,
    dtype: Any = None,
    out: None = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    where: Any = None,
) -> Any:
    """Standard deviation over `axis` of what is not NaN: the root of `nanvar`.

    >>> from fgrad import numpy as fnp
    >>> fnp.nanstd([1.0, fnp.nan, 3.0])
    np.float64(1.0)
    """
    return sqrt(nanvar(a, axis, dtype, None, ddof, keepdims, where=where))


__all__ = [
    "nanargmax", "nanargmin", "nancumprod", "nancumsum", "nanmax", "nanmean", "nanmin", "nanprod", "nanstd",
    "nansum", "nanvar",
]  # fmt: skip
