"""Differences, integrals, convolutions, interpolation and padding of sampled functions; counts and covariances."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core.errors import ShapeError, message
from ..core.primitive import registry as p
from ..core.surface import surface
from . import joining as j
from . import shapes as s
from .arranging import flip
from .promote import cast, result_dtype
from .support import axis_of, cut, part, stacked, strict, traced, window
from .ufuncs import divide, multiply, subtract


@surface()
def _difference(x: Any, axis: int) -> Any:
    x = strict(x)
    n = x.shape[axis]
    ahead, behind = cut(x, axis, min(1, n), n), cut(x, axis, 0, max(n - 1, 0))
    return p.ne(ahead, behind) if x.dtype == np.bool_ else p.sub(ahead, behind)


@traced(np.diff)
def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """Differences of neighbours along `axis`, taken `n` times; `prepend` and `append` are put at the ends first.

    >>> from fgrad import numpy as fnp
    >>> fnp.diff([1, 4, 9])
    array([3, 5])
    """
    if n < 0:
        raise ValueError(message("diff: the order must not be negative", got=n, do="pass n >= 0"))
    axis = axis_of("diff", axis, a.ndim)
    ends = [a]
    for end, place in ((prepend, 0), (append, len(ends))):
        if end is not None and end is not np._NoValue:
            end = stacked(end)
            shape = (*a.shape[:axis], 1, *a.shape[axis + 1 :])
            ends.insert(place if place == 0 else len(ends), end if end.ndim else s.broadcast_to(end, shape))
    a = j.concatenate(ends, axis) if len(ends) > 1 else a
    for _ in range(n):
        a = _difference(a, axis)
    return a


@traced(np.ediff1d)
def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    """Differences of neighbours of the flattened array, between `to_begin` and `to_end`.

    >>> from fgrad import numpy as fnp
    >>> fnp.ediff1d([1, 4, 9], to_end=0)
    array([3, 5, 0])
    """
    y = _difference(ary.reshape(-1), 0)
    ends = [y if v is y else stacked(v).reshape(-1).astype(y.dtype) for v in (to_begin, y, to_end) if v is not None]
    return j.concatenate(ends) if len(ends) > 1 else y


@traced(np.gradient, sequences=True)
def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """Derivatives of sampled values by central differences, one-sided at the ends: one array, or one per axis.

    `varargs`: a spacing for all axes, or per axis a spacing or the coordinates. `edge_order` 1 or 2.

    >>> from fgrad import numpy as fnp
    >>> fnp.gradient(np.array([0.0, 1.0, 4.0, 9.0]))
    array([1., 2., 4., 5.])
    """
    f = stacked(f)
    f = f if f.dtype.kind in "fc" else f.astype(np.float64)
    axes = tuple(range(f.ndim)) if axis is None else axis if isinstance(axis, tuple | list) else (axis,)
    axes = tuple(axis_of("gradient", a, f.ndim) for a in axes)
    spacings = list(varargs) or [1.0]
    spacings = spacings * len(axes) if len(spacings) == 1 else spacings
    if len(spacings) != len(axes) or edge_order not in (1, 2):
        raise ShapeError(
            message(
                "gradient: needs one spacing, or one per axis, and edge_order 1 or 2",
                got=f"{len(varargs)}, {edge_order}",
                do="correct the arguments",
            )
        )
    results = [_slope(f, h, a, edge_order) for h, a in zip(spacings, axes, strict=True)]
    return results[0] if len(axes) == 1 else tuple(results)


def _slope(f: Any, spacing: Any, axis: int, edge_order: int) -> Any:
    n = f.shape[axis]
    if n <= edge_order:
        raise ShapeError(
            message(f"gradient: axis {axis} is too short", got=n, do=f"give at least {edge_order + 1} samples")
        )
    at = lambda start, stop: part(f, axis, start, stop)  # noqa: E731
    if np.ndim(spacing) == 0:
        h = spacing
        inner = divide(subtract(at(2, n), at(0, n - 2)), multiply(h, 2.0))
        if edge_order == 1:
            first, last = (divide(subtract(at(i + 1, i + 2), at(i, i + 1)), h) for i in (0, n - 2))
        else:
            first = divide(multiply(at(0, 1), -1.5) + multiply(at(1, 2), 2.0) - multiply(at(2, 3), 0.5), h)
            last = divide(
                multiply(at(n - 3, n - 2), 0.5) - multiply(at(n - 2, n - 1), 2.0) + multiply(at(n - 1, n), 1.5), h
            )
        return j.concatenate([first, inner, last], axis)
    steps = _difference(stacked(spacing), 0)
    line = tuple(-1 if a == axis else 1 for a in range(f.ndim))
    h = lambda start, stop: part(steps, 0, start, stop).reshape(line)  # noqa: E731
    back, ahead = h(0, n - 2), h(1, n - 1)
    inner = (
        multiply(divide(-ahead, back * (back + ahead)), at(0, n - 2))
        + multiply(divide(ahead - back, back * ahead), at(1, n - 1))
        + multiply(divide(back, ahead * (back + ahead)), at(2, n))
    )
    if edge_order == 1:
        first, last = (divide(subtract(at(i + 1, i + 2), at(i, i + 1)), h(i, i + 1)) for i in (0, n - 2))
    else:
        u, v = h(0, 1), h(1, 2)
        first = (
            multiply(divide(-(2.0 * u + v), u * (u + v)), at(0, 1))
            + multiply(divide(u + v, u * v), at(1, 2))
            - multiply(divide(u, v * (u + v)), at(2, 3))
        )
        u, v = h(n - 3, n - 2), h(n - 2, n - 1)
        last = (
            multiply(divide(v, u * (u + v)), at(n - 3, n - 2))
            - multiply(divide(v + u, u * v), at(n - 2, n - 1))
            + multiply(divide(2.0 * v + u, v * (u + v)), at(n - 1, n))
        )
    return j.concatenate([first, inner, last], axis)


@traced(getattr(np, "trapezoid", None) or np.trapz)
def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    """Integral of samples `y` along `axis` by the trapezoidal rule, at coordinates `x` or with spacing `dx`.

    >>> from fgrad import numpy as fnp
    >>> fnp.trapezoid([1.0, 2.0, 3.0])
    np.float64(4.0)
    """
    axis = axis_of("trapezoid", axis, y.ndim)
    n = y.shape[axis]
    if x is not None:
        x = stacked(x)
        steps = _difference(x, 0 if x.ndim == 1 else axis)
        dx = steps.reshape(tuple(-1 if a == axis else 1 for a in range(y.ndim))) if x.ndim == 1 else steps
    pairs = part(y, axis, min(1, n), n) + part(y, axis, 0, max(n - 1, 0))
    return np.sum(multiply(dx, pairs) / 2.0, axis=axis)


@surface(run=np.interp, arity=3)
def _interp(x: Any, xp: Any, fp: Any) -> Any:
    x, xp = cast(x, np.float64), cast(xp, np.float64)
    fp = cast(fp, np.result_type(fp.dtype, np.float64))
    n = xp.shape[0]
    if n == 1:
        return p.broadcast_in_dim(p.reshape(fp, shape=()), shape=x.shape, dims=())
    lead = tuple(range(x.ndim))
    wide = (*x.shape, n)
    below = p.le(p.broadcast_in_dim(xp, shape=wide, dims=(x.ndim,)), p.broadcast_in_dim(x, shape=wide, dims=lead))
    right = p.max(p.min(p.reduce_sum(cast(below, np.int64), axes=(x.ndim,)), n - 1), 1)
    at = lambda v, i: p.gather(v, i, axes=(0,), mode="promise")  # noqa: E731
    left = p.sub(right, 1)
    x0, x1, f0, f1 = at(xp, left), at(xp, right), at(fp, left), at(fp, right)
    width = p.sub(x1, x0)
    flat = p.eq(width, 0)
    one = p.broadcast_in_dim(np.float64(1), shape=x.shape, dims=())
    share = p.div(p.sub(x, x0), p.select(flat, one, width))
    inside = p.add(f0, p.mul(cast(share, fp.dtype), p.sub(f1, f0)))
    end = lambda v, i: p.broadcast_in_dim(p.reshape(cut(v, 0, i, i + 1), shape=()), shape=x.shape, dims=())  # noqa: E731
    low, high = p.lt(x, end(xp, 0)), p.ge(x, end(xp, n - 1))
    return p.select(low, end(fp, 0), p.select(high, end(fp, n - 1), inside))


@traced(np.interp, sequences=True)
def interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: float | None = None) -> Any:
    """Values at `x` of the piecewise linear function through (xp, fp); `left` and `right` beyond the ends.

    `xp` must rise; with `period` it is taken modulo it. Gives float64 or complex128.

    >>> from fgrad import numpy as fnp
    >>> fnp.interp(1.5, [1.0, 2.0], [10.0, 20.0])
    np.float64(15.0)
    """
    x, xp, fp = stacked(x), stacked(xp), stacked(fp)
    if xp.ndim != 1 or fp.shape != xp.shape or not xp.size:
        raise ShapeError(
            message(
                "interp: xp and fp must be vectors of one length, not empty",
                got=f"{xp.shape}, {fp.shape}",
                do="check them",
            )
        )
    if period is not None:
        period = abs(period)
        x, xp = np.remainder(x, period), np.remainder(xp, period)
        order = np.argsort(xp)
        xp, fp = xp[order], fp[order]
        n = xp.shape[0]
        xp = j.concatenate([xp[n - 1 :] - period, xp, xp[:1] + period])
        fp = j.concatenate([fp[n - 1 :], fp, fp[:1]])
        return _interp(x, xp, fp)
    y = _interp(x, xp, fp)
    if left is not None:
        y = np.where(x < xp[0], left, y)
    return y if right is None else np.where(x > xp[-1], right, y)


@surface(run=np.convolve, arity=2)
def _convolve(a: Any, v: Any, mode: str) -> Any:
    dtype = result_dtype(strict(a), strict(v))
    a, v = cast(a, dtype), cast(v, dtype)
    if v.shape[0] > a.shape[0]:
        a, v = v, a
    n, m = a.shape[0], v.shape[0]
    # rows of one more element than the padded signal has: row i is the signal shifted by i
    signal = p.pad(a, dtype.type(0), low=(m - 1,), high=(m - 1,), interior=(0,)) if m > 1 else a
    length = n + 2 * (m - 1)
    copies = p.reshape(p.broadcast_in_dim(signal, shape=(m + 1, length), dims=(1,)), shape=((m + 1) * length,))
    rows = p.reshape(window(copies, (0,), (m * (length + 1),)), shape=(m, length + 1))
    full = p.dot_general(
        p.rev(v, axes=(0,)), window(rows, (0, 0), (m, n + m - 1)), contract=((0,), (0,)), batch=((), ())
    )
    if mode == "full":
        return full
    start, size = ((m - 1) // 2, n) if mode == "same" else (m - 1, n - m + 1)
    return cut(full, 0, start, start + size)


def _signal(name: str, x: Any) -> Any:
    x = stacked(x)
    if x.ndim > 1 or not x.size:
        raise ShapeError(
            message(
                f"{name}: needs vectors that are not empty",
                got=f"shape {x.shape}",
                do="use fgrad.scipy or lax for more axes",
            )
        )
    return x.reshape(1) if x.ndim == 0 else x


def _check_mode(name: str, mode: str) -> None:
    if mode not in ("full", "same", "valid"):
        raise ValueError(message(f"{name}: unknown mode", got=repr(mode), do="choose 'full', 'same' or 'valid'"))


@traced(np.convolve, sequences=True)
def convolve(a: Any, v: Any, mode: str = "full") -> Any:
    """Discrete convolution of two vectors; `mode` "full", "same" (as long as the longer) or "valid" (no padding).

    >>> from fgrad import numpy as fnp
    >>> fnp.convolve([1.0, 2.0, 3.0], [1.0, 1.0])
    array([1., 3., 5., 3.])
    """
    _check_mode("convolve", mode)
    return _convolve(_signal("convolve", a), _signal("convolve", v), mode)


@traced(np.correlate, sequences=True)
def correlate(a: Any, v: Any, mode: str = "valid") -> Any:
    """Cross-correlation of two vectors: sums of a[n + k] conj(v[n]); modes as in `convolve`.

    >>> from fgrad import numpy as fnp
    >>> fnp.correlate([1.0, 2.0, 3.0], [0.0, 1.0])
    array([2., 3.])
    """
    _check_mode("correlate", mode)
    a, v = _signal("correlate", a), flip(_signal("correlate", v))
    if v.dtype.kind == "c":
        v = np.conj(v)
    if mode != "full" and v.shape[0] > a.shape[0]:  # NumPy swaps the operands there and turns the result round
        n, m = a.shape[0], v.shape[0]
        start, size = (n // 2, m) if mode == "same" else (n - 1, m - n + 1)
        return part(_convolve(a, v, "full"), 0, start, start + size)
    return _convolve(a, v, mode)


__all__ = ["convolve", "correlate", "diff", "ediff1d", "gradient", "interp", "trapezoid"]
