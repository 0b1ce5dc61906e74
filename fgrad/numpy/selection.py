"""Choices among elements and comparisons of arrays: where, select, choose, clip, piecewise, isclose, isin, ..."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.errors import ShapeError, message
from ..core.primitive import registry as p
from ..core.surface import surface
from . import shapes as s
from .methods import method
from .promote import broadcast, broadcast_shapes, cast, promote, result_dtype
from .support import axis_of, is_traced, received, stack_call, stacked, strict, traced, where_call
from .ufuncs import ROUTES, absolute, isnan, maximum, minimum


def _operand(x: Any) -> Any:
    """Lists become arrays; numbers stay weak."""
    return stacked(x) if isinstance(x, list | tuple) else x


def _plain_where(*args: Any, size: int | None = None, fill_value: Any = None) -> Any:
    if size is None:
        return np.where(*args)
    return ROUTES[np.nonzero](np.asarray(*args), size=size, fill_value=fill_value)


@traced(np.where, sequences=True, run=_plain_where)
def where(condition: Any, x: Any = None, y: Any = None, /, *, size: int | None = None, fill_value: Any = None) -> Any:
    """Elements of `x` where `condition` holds, else of `y`; all three broadcast. No NaN leaks from what is not chosen.

    With `condition` alone: the indices of its true elements, as `nonzero`.

    >>> from fgrad import numpy as fnp
    >>> fnp.where([True, False], 1.0, 2.0)
    array([1., 2.])
    """
    if x is None and y is None:
        named = {} if size is None else {"size": size, "fill_value": fill_value}
        return ROUTES[np.nonzero](condition, **named)
    if x is None or y is None:
        raise ValueError(message("where: takes a condition alone, or with both x and y", do="give both or none"))
    return where_call(_operand(condition), _operand(x), _operand(y))


@traced(np.select, sequences=True)
def select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0) -> Any:
    """Elements of the first choice whose condition holds, else of `default`.

    Raises `ShapeError` for lists of different lengths.

    >>> from fgrad import numpy as fnp
    >>> x = np.array([-1, 0, 2])
    >>> fnp.select([x < 0, x > 0], [-x, 10 * x])
    array([ 1,  0, 20])
    """
    if len(condlist) != len(choicelist):
        raise ShapeError(
            message(
                "select: needs one choice per condition",
                got=f"{len(condlist)} and {len(choicelist)}",
                do="give as many",
            )
        )
    result = _operand(default)
    for condition, choice in reversed(list(zip(condlist, choicelist, strict=True))):
        result = where_call(_operand(condition), _operand(choice), result)
    return result


@surface(arity=None)
def _choose(a: Any, *choices: Any, mode: str) -> Any:
    n = len(choices)
    shape = broadcast_shapes(a.shape, *[c.shape for c in choices])
    dtype = result_dtype(*choices)
    table = p.concatenate(*[p.reshape(broadcast(cast(c, dtype), shape), shape=(1, *shape)) for c in choices], axis=0)
    which = broadcast(cast(a, np.int64), shape)
    if mode == "clip":
        which = p.max(p.min(which, n - 1), 0)
    elif mode == "wrap":
        which = p.rem(which, n)
    else:  # a negative choice is an error, no counting from the end
        which = p.select(p.lt(which, 0), p.broadcast_in_dim(np.int64(n), shape=shape, dims=()), which)
    rest = [p.iota(dtype=np.dtype(np.int64), shape=shape, axis=k) for k in range(len(shape))]
    return p.gather(
        table, which, *rest, axes=tuple(range(len(shape) + 1)), mode="raise" if mode == "raise" else "promise"
    )


@traced(np.choose, method="choose", sequences=True)
def choose(a: Any, choices: Sequence[Any], out: None = None, mode: str = "raise") -> Any:
    """Elements of `choices[a]`, element by element; `mode` "raise", "wrap" or "clip" for numbers outside.

    Raises `OutOfBoundsError` with mode "raise".

    >>> from fgrad import numpy as fnp
    >>> fnp.choose(np.array([1, 0]), [np.array([1, 2]), np.array([3, 4])])
    array([3, 2])
    """
    if mode not in ("raise", "wrap", "clip"):
        raise ValueError(message("choose: unknown mode", got=repr(mode), do="choose 'raise', 'wrap' or 'clip'"))
    return _choose(_operand(a), *[_operand(c) for c in choices], mode=mode)


@surface(run=lambda x, low, high: np.minimum(np.maximum(x, low), high), arity=3, resizes=True)
def _clip(x: Any, low: Any, high: Any) -> Any:
    x, low, high = promote(x, low, high)
    return p.min(p.max(x, low), high)


def clip(arr: Any, min: Any = None, max: Any = None, out: Any = None, *, a_min: Any = None, a_max: Any = None) -> Any:
    """`arr` with elements below `min` raised to it and those above `max` lowered to it.

    >>> from fgrad import numpy as fnp
    >>> fnp.clip(np.array([-2.0, 0.5, 3.0]), 0.0, 1.0)
    array([0. , 0.5, 1. ])
    """
    low, high = a_min if min is None else min, a_max if max is None else max
    if not (is_traced(arr) or is_traced(low) or is_traced(high) or is_traced(out)):
        return np.clip(arr, low, high, out=out)
    arr, low, high = _operand(arr), _operand(low), _operand(high)
    if low is not None and high is not None:
        new = _clip(arr, low, high)
    elif low is not None:
        new = maximum(arr, low)
    else:
        new = minimum(arr, high) if high is not None else s.reshape_call(arr, arr.shape)
    return received(out, new, "clip")


def _route_clip(
    a: Any, a_min: Any = None, a_max: Any = None, out: Any = None, *, min: Any = None, max: Any = None, **_: Any
) -> Any:
    return clip(a, a_min if min is None else min, a_max if max is None else max, out)


ROUTES[np.clip] = _route_clip
method("clip")(clip)


@surface(arity=4)
def _nan_to_num(x: Any, nan: Any, posinf: Any, neginf: Any) -> Any:
    return _finite(strict(x), nan, posinf, neginf)


def _finite(x: Any, nan: Any, posinf: Any, neginf: Any) -> Any:
    if x.dtype.kind == "c":
        return p.complex(_finite(p.real(x), nan, posinf, neginf), _finite(p.imag(x), nan, posinf, neginf))
    nan, posinf, neginf = (broadcast(cast(v, x.dtype), x.shape) for v in (nan, posinf, neginf))
    infinite = lambda sign: p.broadcast_in_dim(x.dtype.type(sign * math.inf), shape=x.shape, dims=())  # noqa: E731
    x = p.select(p.is_nan(x), nan, x)
    return p.select(p.eq(x, infinite(1)), posinf, p.select(p.eq(x, infinite(-1)), neginf, x))


@traced(np.nan_to_num)
def nan_to_num(x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None) -> Any:
    """`x` with NaN replaced by `nan` and infinities by `posinf` and `neginf` (the largest finite numbers).

    >>> from fgrad import numpy as fnp
    >>> fnp.nan_to_num(np.array([1.0, fnp.nan]))
    array([1., 0.])
    """
    if x.dtype.kind not in "fc":
        return s.reshape_call(x, x.shape)
    info = np.finfo(x.dtype)
    return _nan_to_num(
        x, nan, float(info.max) if posinf is None else posinf, float(info.min) if neginf is None else neginf
    )


@traced(np.piecewise, sequences=True)
def piecewise(x: Any, condlist: Any, funclist: Sequence[Any], *args: Any, **kw: Any) -> Any:
    """funclist[k] (a function of `x`, or a number) where condlist[k] holds; one more entry holds where none does.

    The last condition that holds wins, as in NumPy; the dtype is that of `x`.

    >>> from fgrad import numpy as fnp
    >>> x = np.array([-2.0, 3.0])
    >>> fnp.piecewise(x, [x < 0, x >= 0], [lambda x: -x, lambda x: x * x])
    array([2., 9.])
    """
    x = _operand(x)
    conditions = [condlist] if np.ndim(condlist[0]) == 0 and np.ndim(x) else list(condlist)
    functions = list(funclist)
    result: Any = x.dtype.type(0)
    if len(functions) == len(conditions) + 1:
        result = functions.pop()
        result = result(x, *args, **kw) if callable(result) else result
    if len(functions) != len(conditions):
        raise ShapeError(
            message(
                "piecewise: needs one function per condition, or one more",
                got=f"{len(funclist)} functions for {len(conditions)} conditions",
                do="add or remove functions",
            )
        )
    for condition, f in zip(conditions, functions, strict=True):
        result = where_call(_operand(condition), f(x, *args, **kw) if callable(f) else f, result)
    return s.broadcast_to(result, x.shape).astype(x.dtype)


@traced(np.isin)
def isin(
    element: Any, test_elements: Any, assume_unique: bool = False, invert: bool = False, *, kind: Any = None
) -> Any:
    """Whether each element is among `test_elements`.

    >>> from fgrad import numpy as fnp
    >>> fnp.isin([1, 2, 3], [2, 5])
    array([False,  True, False])
    """
    element, among = stacked(element), stacked(test_elements).reshape(-1)
    found = np.any(element.reshape((*element.shape, 1)) == among, axis=-1)
    return ~found if invert else found


@traced(np.isclose, sequences=True)
def isclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    """Whether |a - b| <= atol + rtol |b|, element by element; infinities are close to themselves.

    >>> from fgrad import numpy as fnp
    >>> fnp.isclose(np.array([1.0, 2.0]), np.array([1.0, 2.1]))
    array([ True, False])
    """
    a, b = _operand(a), _operand(b)
    near = (absolute(a - b) <= atol + rtol * absolute(b)) & np.isfinite(b)
    result = near | (a == b)
    return result | (isnan(a) & isnan(b)) if equal_nan else result


@traced(np.allclose, sequences=True)
def allclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    """Whether all elements are close, as `isclose` says.

    >>> from fgrad import numpy as fnp
    >>> fnp.allclose(np.array([1.0, 2.0]), np.array([1.0, 2.1]))
    False
    """
    return np.all(isclose(a, b, rtol, atol, equal_nan))


@traced(np.array_equal, sequences=True)
def array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> Any:
    """Whether two arrays have the same shape and elements.

    >>> from fgrad import numpy as fnp
    >>> fnp.array_equal([1, 2], [1, 2])
    True
    """
    a1, a2 = stacked(a1), stacked(a2)
    if a1.shape != a2.shape:
        return np.False_
    same = a1 == a2
    if equal_nan:
        same = same | (isnan(a1) & isnan(a2))
    return np.all(same)


@traced(np.array_equiv, sequences=True)
def array_equiv(a1: Any, a2: Any) -> Any:
    """Whether two arrays broadcast to each other and have the same elements then.

    >>> from fgrad import numpy as fnp
    >>> fnp.array_equiv([1, 1], 1)
    True
    """
    a1, a2 = stacked(a1), stacked(a2)
    try:
        broadcast_shapes(a1.shape, a2.shape)
    except ShapeError:
        return np.False_
    return np.all(a1 == a2)


@traced(np.apply_along_axis, sequences=True)
def apply_along_axis(func1d: Callable[..., Any], axis: int, arr: Any, *args: Any, **kwargs: Any) -> Any:
    """`func1d` of every line of `arr` along `axis`; the axes of its result take the place of `axis`.

    Every line is a call: fgrad.vmap of a function is faster.

    >>> from fgrad import numpy as fnp
    >>> fnp.apply_along_axis(lambda line: line[-1] - line[0], 1, np.array([[1, 4], [2, 9]]))
    array([3, 7])
    """
    axis = axis_of("apply_along_axis", axis, arr.ndim)
    rest = arr.shape[:axis] + arr.shape[axis + 1 :]
    lines = np.moveaxis(arr, axis, -1).reshape(math.prod(rest), arr.shape[axis])
    results = [_operand(func1d(lines[i], *args, **kwargs)) for i in range(lines.shape[0])]
    y = stack_call(*results, axis=0)
    y = y.reshape(rest + y.shape[1:])
    extra = tuple(range(len(rest), y.ndim))
    return np.moveaxis(y, extra, tuple(range(axis, axis + len(extra))))


@traced(np.apply_over_axes, sequences=True)
def apply_over_axes(func: Callable[..., Any], a: Any, axes: Any) -> Any:
    """func(a, axis) for one axis after the other; axes that it removes come back with size 1.

    >>> from fgrad import numpy as fnp
    >>> fnp.apply_over_axes(np.sum, np.ones((2, 3)), [0, 1])
    array([[6.]])
    """
    for axis in axes if isinstance(axes, tuple | list) else [axes]:
        y = func(a, axis)
        a = y if y.ndim == a.ndim else s.expand_dims(y, axis)
    return a


__all__ = [
    "allclose", "apply_along_axis", "apply_over_axes", "array_equal", "array_equiv", "choose", "clip",
    "isclose", "isin", "nan_to_num", "piecewise", "select", "where",
]  # fmt: skip
