"""Running reductions: cumsum, cumprod and the array API's cumulative_sum, cumulative_prod."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.errors import ShapeError, message
from ..core.primitive import registry as p
from ..core.surface import surface
from .methods import UFUNC_METHODS
from .promote import cast
from .reductions import sum_dtype
from .support import axis_of, traced


def _running(ufunc: np.ufunc, primitive: Any, name: str) -> Callable[..., Any]:
    accumulate = ufunc.accumulate

    def run(x: Any, axis: int | None = None, dtype: Any = None) -> Any:
        return accumulate(np.ravel(x) if axis is None else x, 0 if axis is None else axis, dtype)

    def expand(x: Any, axis: int | None = None, dtype: Any = None) -> Any:
        x = cast(x, dtype or sum_dtype(x.dtype))
        if axis is None:
            x, axis = p.reshape(x, shape=(math.prod(x.shape),)), 0
        return primitive(x, axis=axis_of(name, axis, x.ndim), reverse=False)

    expand.__name__ = name
    return surface(run=run)(expand)


_cumsum = _running(np.add, p.cumsum, "cumsum")


_cumprod = _running(np.multiply, p.cumprod, "cumprod")


@traced(np.cumsum, method="cumsum")
def cumsum(a: Any, axis: int | None = None, dtype: Any = None, out: None = None) -> Any:
    """Running sum along `axis`, of the flattened array where it is None.

    >>> from fgrad import numpy as fnp
    >>> fnp.cumsum([1.0, 2.0, 3.0])
    array([1., 3., 6.])
    """
    return _cumsum(a) if axis is None and dtype is None else _cumsum(a, axis, dtype)


@traced(np.cumprod, method="cumprod")
def cumprod(a: Any, axis: int | None = None, dtype: Any = None, out: None = None) -> Any:
    """Running product along `axis`, of the flattened array where it is None.

    >>> from fgrad import numpy as fnp
    >>> fnp.cumprod([1.0, 2.0, 3.0])
    array([1., 2., 6.])
    """
    return _cumprod(a, axis, dtype)


def _cumulative(name: str, f: Any, x: Any, axis: int | None, dtype: Any, include_initial: bool, initial: Any) -> Any:
    if axis is None:
        if x.ndim > 1:
            raise ShapeError(
                message(f"{name}: an array of several dimensions needs axis=", got=x.shape, do="name the axis")
            )
        axis = 0
    y = f(x.reshape(1) if x.ndim == 0 else x, axis, dtype)
    if not include_initial:
        return y
    axis = axis_of(name, axis, y.ndim)
    shape = (*y.shape[:axis], 1, *y.shape[axis + 1 :])
    return np.concatenate([np.full(shape, initial, y.dtype), y], axis=axis)


@traced(getattr(np, "cumulative_sum", None))
def cumulative_sum(
    x: Any, /, *, axis: int | None = None, dtype: Any = None, out: None = None, include_initial: bool = False
) -> Any:
    """Running sum along `axis`, with `include_initial` behind a zero.

    >>> from fgrad import numpy as fnp
    >>> fnp.cumulative_sum(np.array([1.0, 2.0]), include_initial=True)
    array([0., 1., 3.])
    """
    return _cumulative("cumulative_sum", cumsum, x, axis, dtype, include_initial, 0)


@traced(getattr(np, "cumulative_prod", None))
def cumulative_prod(
    x: Any, /, *, axis: int | None = None, dtype: Any = None, out: None = None, include_initial: bool = False
) -> Any:
    """Running product along `axis`, with `include_initial` behind a one.

    >>> from fgrad import numpy as fnp
    >>> fnp.cumulative_prod(np.array([2.0, 3.0]), include_initial=True)
    array([1., 2., 6.])
    """
    return _cumulative("cumulative_prod", cumprod, x, axis, dtype, include_initial, 1)


def _accumulate(call: Any) -> Callable[..., Any]:
    def accumulate(x: Any, axis: int = 0, dtype: Any = None, out: None = None) -> Any:
        return call(x, axis, dtype)

    return accumulate


UFUNC_METHODS[np.add, "accumulate"] = _accumulate(_cumsum)


UFUNC_METHODS[np.multiply, "accumulate"] = _accumulate(_cumprod)

__all__ = ["cumprod", "cumsum", "cumulative_prod", "cumulative_sum"]
