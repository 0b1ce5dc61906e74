"""Order statistics: median, quantile, percentile, and their nan-ignoring forms.

The methods and their names are those of Hyndman and Fan, "Sample quantiles in statistical packages", The American
Statistician 50 (1996), and NumPy's four discontinuous ones: "lower", "higher", "midpoint", "nearest".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.errors import message
from ..core.trace import Tracer
from . import shapes as s
from .creation import astype
from .reductions import Axis
from .support import axes_of, kept, stacked, traced, where_call
from .ufuncs import isnan, logical_not

# (alpha, beta) of the continuous methods: the quantile q lies at n q + alpha + q (1 - alpha - beta), counted from 1
_PLOTTING = {
    "interpolated_inverted_cdf": (0.0, 1.0),
    "hazen": (0.5, 0.5),
    "weibull": (0.0, 0.0),
    "linear": (1.0, 1.0),
    "median_unbiased": (1 / 3, 1 / 3),
    "normal_unbiased": (3 / 8, 3 / 8),
}


def _continuous(alpha: float, beta: float) -> Callable[[Any, Any], tuple[Any, Any, Any]]:
    def place(n: Any, q: Any) -> tuple[Any, Any, Any]:
        position = (n - 1) * q if alpha == 1 and beta == 1 else n * q + (alpha + q * (1 - alpha - beta)) - 1
        before = np.floor(position)
        return before, before + 1, position - before

    return place


def _inverted_cdf(n: Any, q: Any, share: float = 1.0) -> tuple[Any, Any, Any]:
    position = n * q - 1
    before = np.floor(position)
    return before, before + 1, np.where(position > before, 1.0, 1.0 - share)


def _closest(n: Any, q: Any) -> tuple[Any, Any, Any]:
    position = n * q - 1.5
    before = np.floor(position)
    stays = np.logical_and(position == before, before % 2 == 1)
    return before, before + 1, np.where(stays, 0.0, 1.0)


def _midpoint(n: Any, q: Any) -> tuple[Any, Any, Any]:
    position = (n - 1) * q
    return np.floor(position), np.ceil(position), 0.5


def _single(rounding: Callable[[Any], Any]) -> Callable[[Any, Any], tuple[Any, Any, Any]]:
    def place(n: Any, q: Any) -> tuple[Any, Any, Any]:
        position = rounding((n - 1) * q)
        return position, position, 0.0

    return place


# method -> (number of elements, q) -> indices of the two neighbours and the weight of the second
_METHODS: dict[str, Callable[[Any, Any], tuple[Any, Any, Any]]] = {
    "inverted_cdf": _inverted_cdf,
    "averaged_inverted_cdf": lambda n, q: _inverted_cdf(n, q, 0.5),
    "closest_observation": _closest,
    **{name: _continuous(*constants) for name, constants in _PLOTTING.items()},
    "lower": _single(np.floor),
    "higher": _single(np.ceil),
    "midpoint": _midpoint,
    "nearest": _single(np.rint),
}
_DISCRETE = ("inverted_cdf", "closest_observation", "lower", "higher", "nearest")


def _lines(a: Any, axis: Axis) -> tuple[Any, tuple[int, ...]]:
    """`a` with the axes of the reduction flattened into a last one, and these axes."""
    axes = axes_of("quantile", axis, a.ndim)
    rest = [i for i in range(a.ndim) if i not in axes]
    moved = s.transpose(a, (*rest, *axes))
    return moved.reshape(*[a.shape[i] for i in rest], math.prod(a.shape[i] for i in axes)), axes


def _quantile(a: Any, q: Any, axis: Axis, method: str, keepdims: bool, ignore_nan: bool) -> Any:
    if method not in _METHODS:
        raise ValueError(
            message("quantile: unknown method", got=repr(method), do=f"choose one of {', '.join(_METHODS)}")
        )
    if not isinstance(q, Tracer) and not np.all((np.asarray(q) >= 0) & (np.asarray(q) <= 1)):
        raise ValueError(message("quantile: q must lie between 0 and 1 (percentiles: 100)", got=q, do="correct q"))
    if a.dtype.kind in "biu" and method not in _DISCRETE:
        a = astype(a, np.float64)
    q_shape = np.shape(q)
    q = stacked(q).reshape(-1).astype(np.float64)
    lines, axes = _lines(a, axis)
    lines = np.sort(lines, axis=-1)
    size = lines.shape[-1]
    inexact = a.dtype.kind == "f"
    count: Any = size
    if ignore_nan and inexact:
        count = np.sum(logical_not(isnan(lines)), axis=-1, keepdims=True)
    before, behind, share = _METHODS[method](count, q)
    before, behind = (astype(np.clip(i, 0, np.maximum(count - 1, 0)), np.int64) for i in (before, behind))
    low, high = (_read(lines, i) for i in (before, behind))
    if method in _DISCRETE:
        y = where_call(share == 0.0, low, high)
    else:
        share = astype(stacked(share), a.dtype)
        y = where_call(
            before == behind,
            low,
            where_call(share < 0.5, low + (high - low) * share, high - (high - low) * (1 - share)),
        )
    if inexact and not ignore_nan:
        y = where_call(isnan(lines[..., size - 1 :]), lines[..., size - 1 :], y)
    y = s.moveaxis(y, -1, 0)
    if keepdims:
        y = y.reshape((y.shape[0], *kept(a.shape, axes)))
    return y.reshape(q_shape + y.shape[1:])


def _read(lines: Any, places: Any) -> Any:
    """Elements of each line at some places, the same for all lines or not."""
    if places.ndim == 1:
        return np.take(lines, places, axis=-1)
    return np.take_along_axis(lines, places, axis=-1)


def _order_statistic(name: str, scale: float, ignore_nan: bool, meaning: str, example: str) -> Callable[..., Any]:
    def f(
        a: Any,
        q: Any,
        axis: Axis = None,
        out: None = None,
        overwrite_input: bool = False,
        method: str = "linear",
        keepdims: bool = False,
    ) -> Any:
        return _quantile(
            stacked(a),
            q if scale == 1 else q / scale if isinstance(q, Tracer) else np.true_divide(q, scale),
            axis,
            method,
            bool(keepdims),
            ignore_nan,
        )

    f.__name__ = f.__qualname__ = name
    f.__doc__ = f"""{meaning} over `axis`, for a number or an array `q`, which may be traced. NaN {
        "is passed over" if ignore_nan else "wins"
    }.

    `method`: NumPy's name of the way to interpolate. Gradients go to the elements that are interpolated. Raises
    ValueError for an unknown method and for `q` out of range.

    >>> from fgrad import numpy as fnp
    >>> fnp.{name}(np.array([1.0, 2.0, 4.0]), {example})
    np.float64(3.0)
    """
    return traced(getattr(np, name), sequences=True)(f)


quantile = _order_statistic("quantile", 1.0, False, "Quantiles, q from 0 to 1,", "0.75")
percentile = _order_statistic("percentile", 100.0, False, "Percentiles, q from 0 to 100,", "75")
nanquantile = _order_statistic("nanquantile", 1.0, True, "Quantiles, q from 0 to 1,", "0.75")
nanpercentile = _order_statistic("nanpercentile", 100.0, True, "Percentiles, q from 0 to 100,", "75")


@traced(np.median)
def median(a: Any, axis: Axis = None, out: None = None, overwrite_input: bool = False, keepdims: bool = False) -> Any:
    """Middle element over `axis`, of an even number the mean of the two; NaN where there is one.

    >>> from fgrad import numpy as fnp
    >>> fnp.median([3.0, 1.0, 2.0])
    np.float64(2.0)
    """
    return _quantile(a, 0.5, axis, "linear", bool(keepdims), False)


@traced(np.nanmedian)
def nanmedian(
    a: Any, axis: Axis = None, out: None = None, overwrite_input: bool = False, keepdims: bool = False
) -> Any:
    """Middle element over `axis` of what is not NaN.

    >>> from fgrad import numpy as fnp
    >>> fnp.nanmedian([3.0, fnp.nan, 2.0])
    np.float64(2.5)
    """
    return _quantile(a, 0.5, axis, "linear", bool(keepdims), True)


__all__ = ["median", "nanmedian", "nanpercentile", "nanquantile", "percentile", "quantile"]
