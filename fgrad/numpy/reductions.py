"""Reductions and running reductions: sum, prod, mean, var, max, any, argmax, cumsum, their nan-ignoring forms, ...

Every function takes NumPy's arguments and gives NumPy's dtypes. Gradients of `max` and `min` share ties equally.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.errors import ShapeError, message
from ..core.primitive import registry as p
from ..core.surface import surface
from ..core.trace import Tracer
from ..core.types import real_dtype
from .methods import UFUNC_METHODS
from .promote import cast
from .support import axes_of, inexact, kept, strict, traced, where_call
from .ufuncs import add, divide, maximum, minimum, multiply, not_equal, subtract

Axis = int | tuple[int, ...] | None


def sum_dtype(dtype: np.dtype) -> np.dtype:
    """Booleans and small integers are summed in the largest integer of their kind."""
    if dtype.kind in "bi":
        return np.result_type(dtype, np.int64)
    return np.result_type(dtype, np.uint64) if dtype.kind == "u" else dtype


def _reduced(name: str, primitive: Any, x: Any, axis: Axis, keepdims: bool) -> Any:
    axes = axes_of(name, axis, x.ndim)
    y = primitive(x, axes=axes)
    return p.reshape(y, shape=kept(x.shape, axes)) if keepdims else y


def _runs(ufunc: np.ufunc) -> Callable[..., Any]:
    reduce = ufunc.reduce

    def run(x: Any, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Any:
        return reduce(x, axis, dtype, None, keepdims)

    return run


@surface(run=_runs(np.add), resizes=True)
def _sum(x: Any, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Any:
    return _reduced("sum", p.reduce_sum, cast(x, dtype or sum_dtype(x.dtype)), axis, keepdims)


@surface(run=_runs(np.multiply), resizes=True)
def _prod(x: Any, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Any:
    return _reduced("prod", p.reduce_prod, cast(x, dtype or sum_dtype(x.dtype)), axis, keepdims)


@surface(run=_runs(np.maximum), resizes=True)
def _max(x: Any, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Any:
    return _reduced("max", p.reduce_max, strict(x), axis, keepdims)


@surface(run=_runs(np.minimum), resizes=True)
def _min(x: Any, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Any:
    return _reduced("min", p.reduce_min, strict(x), axis, keepdims)


@surface(run=_runs(np.logical_or), resizes=True)
def _any(x: Any, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Any:
    return _reduced("any", p.reduce_or, cast(x, np.bool_), axis, keepdims)


@surface(run=_runs(np.logical_and), resizes=True)
def _all(x: Any, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Any:
    return _reduced("all", p.reduce_and, cast(x, np.bool_), axis, keepdims)


def _run_mean(x: Any, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Any:
    if type(x) is not np.ndarray or x.dtype.kind not in "fc" or x.dtype == np.float16 or dtype is not None:
        return np.mean(x, axis, dtype, None, keepdims)
    y = np.add.reduce(x, axis, None, None, keepdims)
    return y / (x.size // y.size if y.size else 1)


def _wide(dtype: np.dtype) -> np.dtype:
    """What a mean of that dtype is summed in."""
    return np.dtype(np.float32) if dtype == np.float16 else dtype


@surface(run=_run_mean)
def _mean(x: Any, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Any:
    x = inexact(x) if dtype is None else cast(x, dtype)
    axes = axes_of("mean", axis, x.ndim)
    total = _reduced("mean", p.reduce_sum, cast(x, _wide(x.dtype) if dtype is None else dtype), axis, keepdims)
    return cast(p.div(total, math.prod(x.shape[a] for a in axes)), x.dtype)


@surface(run=lambda x, axis, dtype, ddof, keepdims: np.var(x, axis, dtype, None, ddof, keepdims=keepdims))
def _var(x: Any, axis: Axis, dtype: Any, ddof: float, keepdims: bool) -> Any:
    x = inexact(x) if dtype is None else cast(x, dtype)
    axes = axes_of("var", axis, x.ndim)
    count = math.prod(x.shape[a] for a in axes)
    wide = cast(x, _wide(x.dtype))
    others = tuple(a for a in range(x.ndim) if a not in axes)
    centre = p.broadcast_in_dim(p.div(p.reduce_sum(wide, axes=axes), count), shape=x.shape, dims=others)
    distance = p.sub(wide, centre)
    square = p.square(distance) if x.dtype.kind == "f" else p.real(p.mul(distance, p.conj(distance)))
    y = p.div(_reduced("var", p.reduce_sum, square, axis, keepdims), float(max_of(count - ddof, 0)))
    return cast(y, real_dtype(x.dtype))


max_of = max  # Python's own, before `max` below


def _simple(x: Any, call: Any, axis: Axis, dtype: Any, keepdims: bool) -> Any:
    """The call with as few statics as there are: those without are found fastest."""
    if axis is None and dtype is None and not keepdims:
        return call(x)
    return call(x, axis, dtype, bool(keepdims))


@traced(np.sum, method="sum")
def sum(
    a: Any,
    axis: Axis = None,
    dtype: Any = None,
    out: None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = None,
) -> Any:
    """Sum over `axis` (all axes where it is None); booleans and small integers are summed as int64 or uint64.

    Raises `ShapeError` for an axis that does not exist.

    >>> from fgrad import numpy as fnp
    >>> fnp.sum([[1.0, 2.0], [3.0, 4.0]], axis=0)
    array([4., 6.])
    """
    y = _simple(a if where is None else where_call(where, a, 0), _sum, axis, dtype, keepdims)
    return y if initial is None else add(y, _at_dtype(initial, y))


@traced(np.prod, method="prod")
def prod(
    a: Any,
    axis: Axis = None,
    dtype: Any = None,
    out: None = None,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = None,
) -> Any:
    """Product over `axis`; its gradient is right where factors are zero.

    >>> from fgrad import numpy as fnp
    >>> fnp.prod([[1.0, 2.0], [3.0, 4.0]], axis=1)
    array([ 2., 12.])
    """
    y = _simple(a if where is None else where_call(where, a, 1), _prod, axis, dtype, keepdims)
    return y if initial is None else multiply(y, _at_dtype(initial, y))


def _at_dtype(x: Any, like: Any) -> Any:
    return x.astype(like.dtype) if isinstance(x, Tracer) else np.asarray(x, like.dtype)[()]


def _extreme(name: str, a: Any, call: Any, join: Any, axis: Axis, keepdims: bool, initial: Any, where: Any) -> Any:
    if where is not None:
        if initial is None:
            raise ShapeError(
                message(f"{name}: where= needs initial=, the result of no elements", do=f"pass initial= to {name}")
            )
        a = where_call(where, a, _at_dtype(initial, a))
    if initial is None:
        return _simple(a, call, axis, None, keepdims)
    initial = _at_dtype(initial, a)
    axes = axes_of(name, axis, a.ndim)
    if not all_of(a.shape[i] for i in axes):
        nothing = _sum(a, axis, None, bool(keepdims))
        return where_call(np.True_, initial, nothing)
    return join(_simple(a, call, axis, None, keepdims), initial)


all_of = all  # Python's own, before `all` below


@traced(np.max, np.amax, method="max")
def max(
    a: Any, axis: Axis = None, out: None = None, keepdims: bool = False, initial: Any = None, where: Any = None
) -> Any:
    """Largest element over `axis`; NaN where there is one. Ties share the gradient equally.

    Raises `ShapeError` where there is no element and no `initial`, or where `where` comes without `initial`.

    >>> from fgrad import numpy as fnp
    >>> fnp.max([[1.0, 2.0], [3.0, 4.0]], axis=1)
    array([2., 4.])
    """
    return _extreme("max", a, _max, maximum, axis, keepdims, initial, where)


@traced(np.min, np.amin, method="min")
def min(
    a: Any, axis: Axis = None, out: None = None, keepdims: bool = False, initial: Any = None, where: Any = None
) -> Any:
    """Smallest element over `axis`; NaN where there is one. Ties share the gradient equally.

    Raises `ShapeError` where there is no element and no `initial`, or where `where` comes without `initial`.

    >>> from fgrad import numpy as fnp
    >>> fnp.min([[1.0, 2.0], [3.0, 4.0]], axis=1)
    array([1., 3.])
    """
    return _extreme("min", a, _min, minimum, axis, keepdims, initial, where)


amax, amin = max, min


@traced(np.any, method="any")
def any(a: Any, axis: Axis = None, out: None = None, keepdims: bool = False, *, where: Any = None) -> Any:
    """Whether an element over `axis` is true (not zero).

    >>> from fgrad import numpy as fnp
    >>> fnp.any([[0, 2], [0, 0]], axis=1)
    array([ True, False])
    """
    return _simple(a if where is None else where_call(where, a, False), _any, axis, None, keepdims)


@traced(np.all, method="all")
def all(a: Any, axis: Axis = None, out: None = None, keepdims: bool = False, *, where: Any = None) -> Any:
    """Whether every element over `axis` is true (not zero).

    >>> from fgrad import numpy as fnp
    >>> fnp.all([[1, 2], [0, 1]], axis=1)
    array([ True, False])
    """
    return _simple(a if where is None else where_call(where, a, True), _all, axis, None, keepdims)


@traced(np.mean, method="mean")
def mean(
    a: Any, axis: Axis = None, dtype: Any = None, out: None = None, keepdims: bool = False, *, where: Any = None
) -> Any:
    """Arithmetic mean over `axis`; integers give float64.

    >>> from fgrad import numpy as fnp
    >>> fnp.mean([[1, 2], [3, 4]], axis=0)
    array([2., 3.])
    """
    if where is None:
        return _simple(a, _mean, axis, dtype, keepdims)
    a = inexact_array(a, dtype)
    total = sum(a, axis, keepdims=keepdims, where=where)
    return divide(total, _at_dtype(_counted(where, a, axis, keepdims), a))


def inexact_array(a: Any, dtype: Any = None) -> Any:
    """An array as a floating or complex one, at `dtype` where it is given."""
    if dtype is None:
        dtype = a.dtype if a.dtype.kind in "fc" else np.dtype(np.float64)
    return a.astype(dtype)


def _counted(where: Any, a: Any, axis: Axis, keepdims: bool) -> Any:
    """How many elements of `a` a mask takes."""
    taken = where_call(where, np.ones(a.shape, np.int64), 0)
    return _sum(taken, axis, None, bool(keepdims))


@traced(np.var, method="var")
def var(
    a: Any,
    axis: Axis = None,
    dtype: Any = None,
    out: None = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    where: Any = None,
    mean: Any = None,
    correction: float | None = None,
) -> Any:
    """Variance over `axis`: the mean of |a - mean(a)|², with the divisor n - `ddof` (or n - `correction`).

    >>> from fgrad import numpy as fnp
    >>> fnp.var([1.0, 2.0, 3.0, 4.0], ddof=1)
    np.float64(1.6666666666666667)
    """
    ddof = ddof if correction is None else correction
    if where is None and mean is None:
        return _var(a, axis, dtype, ddof, bool(keepdims))
    total, count = squares(inexact_array(a, dtype), axis, keepdims, np.True_ if where is None else where, mean)
    return divide(total, _at_dtype(maximum(subtract(count, ddof), 0), total))


def squares(a: Any, axis: Axis, keepdims: bool, where: Any, mean: Any = None) -> tuple[Any, Any]:
    """The sum over `axis` of |a - mean|² where the mask `where` is true, and of how many elements it is one."""
    if mean is None:
        mean = divide(sum(a, axis, keepdims=True, where=where), _at_dtype(_counted(where, a, axis, True), a))
    distance = where_call(where, subtract(a, mean), 0)
    square = multiply(distance, distance) if a.dtype.kind == "f" else multiply(distance, distance.conj()).real
    return sum(square, axis, keepdims=keepdims), _counted(where, a, axis, keepdims)


@traced(np.std, method="std")
def std(
    a: Any,
    axis: Axis = None,
    dtype: Any = None,
    out: None = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    where: Any = None,
    mean: Any = None,
    correction: float | None = None,
) -> Any:
    """Standard deviation over `axis`: the root of `var`. Its gradient where all elements are equal is zero.

    >>> from fgrad import numpy as fnp
    >>> fnp.std([1.0, 3.0])
    np.float64(1.0)
    """
    return np.sqrt(var(a, axis, dtype, None, ddof, keepdims, where=where, mean=mean, correction=correction))


@traced(np.ptp, method="ptp")
def ptp(a: Any, axis: Axis = None, out: None = None, keepdims: bool = False) -> Any:
    """Largest minus smallest element over `axis`.

    >>> from fgrad import numpy as fnp
    >>> fnp.ptp([1.0, 5.0, 3.0])
    np.float64(4.0)
    """
    return subtract(max(a, axis, None, keepdims), min(a, axis, None, keepdims))


@traced(np.count_nonzero)
def count_nonzero(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    """How many elements over `axis` are not zero, as int64.

    >>> from fgrad import numpy as fnp
    >>> fnp.count_nonzero([[1, 0], [2, 3]], axis=0)
    array([2, 1])
    """
    return _simple(not_equal(a, 0), _sum, axis, None, keepdims)


@traced(np.average)
def average(a: Any, axis: Axis = None, weights: Any = None, returned: bool = False, *, keepdims: bool = False) -> Any:
    """Mean over `axis` with `weights`, of the shape of `a` or of its axis; with `returned` also the sum of weights.

    Raises `ShapeError` for weights that do not fit.

    >>> from fgrad import numpy as fnp
    >>> fnp.average([1.0, 2.0, 3.0], weights=[3.0, 1.0, 0.0])
    np.float64(1.25)
    """
    if weights is None:
        result = mean(a, axis, keepdims=keepdims)
        count = a.size // result.size if result.size else 0
        return (result, np.full(result.shape, count, result.dtype)[()]) if returned else result
    if not isinstance(weights, Tracer):
        weights = np.asarray(weights)
    dtype = np.result_type(a.dtype, weights.dtype, np.float64 if a.dtype.kind in "biu" else a.dtype)
    if np.shape(weights) != np.shape(a):
        axes = axes_of("average", axis, np.ndim(a))
        if np.shape(weights) != tuple(np.shape(a)[i] for i in axes):
            raise ShapeError(
                message(
                    "average: weights must have the shape of the array, or of its axis",
                    got=f"weights {np.shape(weights)}, array {np.shape(a)}, axis {axis}",
                    do="name the axis along which the weights lie",
                )
            )
        weights = weights.reshape(tuple(n if i in axes else 1 for i, n in enumerate(np.shape(a))))
        weights = multiply(weights, np.ones(np.shape(a), weights.dtype))
    total = sum(weights, axis, dtype, None, keepdims)
    result = divide(sum(multiply(a.astype(dtype), weights), axis, dtype, None, keepdims), total)
    return (result, total) if returned else result


@surface(run=lambda x, axis, keepdims: np.argmax(x, axis, keepdims=keepdims))
def _argmax(x: Any, axis: int | None, keepdims: bool) -> Any:
    return _arg("argmax", p.argmax, x, axis, keepdims)


@surface(run=lambda x, axis, keepdims: np.argmin(x, axis, keepdims=keepdims))
def _argmin(x: Any, axis: int | None, keepdims: bool) -> Any:
    return _arg("argmin", p.argmin, x, axis, keepdims)


def _arg(name: str, primitive: Any, x: Any, axis: int | None, keepdims: bool) -> Any:
    x = strict(x)
    axes = axes_of(name, axis, x.ndim)
    y = primitive(p.reshape(x, shape=(math.prod(x.shape),)), axis=0) if axis is None else primitive(x, axis=axes[0])
    return p.reshape(y, shape=kept(x.shape, axes)) if keepdims else y


@traced(np.argmax, method="argmax")
def argmax(a: Any, axis: int | None = None, out: None = None, *, keepdims: bool = False) -> Any:
    """Index of the first largest element along `axis` (of the flattened array where it is None), as int64.

    Raises `ShapeError` of no elements.

    >>> from fgrad import numpy as fnp
    >>> fnp.argmax([[1.0, 5.0], [7.0, 2.0]], axis=1)
    array([1, 0])
    """
    return _argmax(a, axis, bool(keepdims))


@traced(np.argmin, method="argmin")
def argmin(a: Any, axis: int | None = None, out: None = None, *, keepdims: bool = False) -> Any:
    """Index of the first smallest element along `axis` (of the flattened array where it is None), as int64.

    Raises `ShapeError` of no elements.

    >>> from fgrad import numpy as fnp
    >>> fnp.argmin([[1.0, 5.0], [7.0, 2.0]], axis=1)
    array([0, 1])
    """
    return _argmin(a, axis, bool(keepdims))


def _first_axis(f: Callable[..., Any]) -> Callable[..., Any]:
    """`ufunc.reduce`, whose axis is 0 unless another is named."""

    def reduce(
        x: Any, axis: Axis = 0, dtype: Any = None, out: None = None, keepdims: bool = False, **named: Any
    ) -> Any:
        if dtype is not None:
            x = x.astype(dtype)
        return f(x, axis, keepdims=keepdims, **named)

    return reduce


for _ufunc, _f in ((np.add, sum), (np.multiply, prod), (np.maximum, max), (np.minimum, min)):
    UFUNC_METHODS[_ufunc, "reduce"] = _first_axis(_f)
UFUNC_METHODS[np.logical_or, "reduce"] = _first_axis(any)
UFUNC_METHODS[np.logical_and, "reduce"] = _first_axis(all)

__all__ = [
    "all", "amax", "amin", "any", "argmax", "argmin", "average", "count_nonzero", "max", "mean", "min", "prod",
    "ptp", "std", "sum", "var",
]  # fmt: skip
