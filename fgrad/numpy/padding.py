"""pad: elements added at the ends of the axes."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.errors import ShapeError, message
from ..core.primitive import registry as p
from ..core.surface import surface
from . import joining as j
from . import shapes as s
from .promote import cast
from .support import axis_of, part, pick, stacked, strict, traced
from .ufuncs import multiply, subtract


@surface()
def _pad(x: Any, low: tuple[int, ...], high: tuple[int, ...], mode: str) -> Any:
    """Modes that repeat elements: for each axis NumPy says which."""
    x = strict(x)
    for axis, widths in enumerate(zip(low, high, strict=True)):
        n = x.shape[axis]
        if widths == (0, 0):
            continue
        x = pick(x, np.pad(np.arange(n), widths, mode=mode), axis)  # type: ignore[call-overload]
    return x


@surface(arity=2)
def _pad_constant(x: Any, value: Any, low: tuple[int, ...], high: tuple[int, ...]) -> Any:
    x = strict(x)
    return p.pad(x, cast(value, x.dtype), low=low, high=high, interior=(0,) * x.ndim)


def _pairs(name: str, widths: Any, ndim: int) -> list[tuple[Any, Any]]:
    """(before, after) for each axis, from a number, a pair, or a pair per axis (or {axis: pair})."""
    if isinstance(widths, dict):
        found: list[tuple[Any, Any]] = [(0, 0)] * ndim
        for axis, w in widths.items():
            found[axis_of(name, axis, ndim)] = (w, w) if np.ndim(w) == 0 else tuple(w)
        return found
    if np.ndim(widths) == 0:
        return [(widths, widths)] * ndim
    rows = [tuple(w) if isinstance(w, tuple | list | np.ndarray) else w for w in widths]
    if not isinstance(rows[0], tuple):
        rows = [tuple(rows) if len(rows) == 2 else (rows[0], rows[0])]
    rows = [(w[0], w[-1]) for w in rows] * (ndim if len(rows) == 1 else 1)
    if len(rows) != ndim:
        raise ShapeError(
            message(f"{name}: needs one pair per axis", got=widths, do=f"give {ndim} pairs (before, after)")
        )
    return rows


@traced(np.pad)
def pad(array: Any, pad_width: Any, mode: Any = "constant", **kwargs: Any) -> Any:
    """`array` with elements added at the ends of its axes.

    `mode`: "constant" (constant_values=0), "empty" (zeros), "edge", "reflect", "symmetric", "wrap", "linear_ramp"
    (end_values=0), "maximum", "minimum" or "mean" (stat_length=None).

    >>> from fgrad import numpy as fnp
    >>> fnp.pad([1, 2, 3], (1, 2), mode="reflect")
    array([2, 1, 2, 3, 2, 1])
    """
    widths = [(operator.index(a), operator.index(b)) for a, b in _pairs("pad", pad_width, array.ndim)]
    if any(w < 0 for pair in widths for w in pair):
        raise ShapeError(message("pad: widths must not be negative", got=pad_width, do="cut with a slice instead"))
    low, high = tuple(a for a, _ in widths), tuple(b for _, b in widths)
    if mode in ("constant", "empty"):
        values = kwargs.get("constant_values", 0)
        if np.ndim(values) == 0:
            return _pad_constant(array, values, low, high)
        return _pad_ends(array, widths, _pairs("pad", values, array.ndim))
    if mode in ("edge", "reflect", "symmetric", "wrap"):
        if kwargs.get("reflect_type", "even") != "even":
            raise ValueError(
                message(
                    "pad: only reflect_type='even' has a traced version",
                    got=kwargs,
                    do="compose it of flip and concatenate",
                )
            )
        return _pad(array, low, high, mode)
    if mode == "linear_ramp":
        return _pad_ramp(array, widths, _pairs("pad", kwargs.get("end_values", 0), array.ndim))
    if mode in ("maximum", "minimum", "mean"):
        return _pad_statistic(array, widths, mode, kwargs.get("stat_length"))
    raise ValueError(
        message("pad: unknown mode", got=repr(mode), do="see the modes in the documentation of fgrad.numpy.pad")
    )


def _along(x: Any, axis: int, size: int) -> tuple[int, ...]:
    return (*x.shape[:axis], size, *x.shape[axis + 1 :])


def _pad_ends(x: Any, widths: Sequence[Any], values: Sequence[Any]) -> Any:
    for axis, ((a, b), (u, v)) in enumerate(zip(widths, values, strict=True)):
        ends = [s.broadcast_to(stacked(w).astype(x.dtype), _along(x, axis, n)) for w, n in ((u, a), (v, b))]
        x = j.concatenate([ends[0], x, ends[1]], axis)
    return x


def _pad_ramp(x: Any, widths: Sequence[Any], values: Sequence[Any]) -> Any:
    for axis, ((a, b), (u, v)) in enumerate(zip(widths, values, strict=True)):
        n = x.shape[axis]
        line = tuple(-1 if k == axis else 1 for k in range(x.ndim))
        ramps = []
        for edge, end, count in ((part(x, axis, 0, 1), u, a), (part(x, axis, n - 1, n), v, b)):
            share = np.linspace(0, 1, count, endpoint=False).reshape(line)
            share = share if end is u and count == a and not ramps else np.flip(share, axis)
            ramp = end + multiply(subtract(edge, end), share)
            ramps.append((np.round(ramp) if x.dtype.kind in "iu" else ramp).astype(x.dtype))
        x = j.concatenate([ramps[0], x, ramps[1]], axis)
    return x


def _pad_statistic(x: Any, widths: Sequence[Any], mode: str, stat_length: Any) -> Any:
    lengths = _pairs("pad", stat_length, x.ndim) if stat_length is not None else [(n, n) for n in x.shape]
    f = {"maximum": np.max, "minimum": np.min, "mean": np.mean}[mode]
    for axis, ((a, b), (u, v)) in enumerate(zip(widths, lengths, strict=True)):
        n = x.shape[axis]
        ends = []
        for piece, count in ((part(x, axis, 0, min(u, n)), a), (part(x, axis, n - min(v, n), n), b)):
            value = f(piece, axis=axis, keepdims=True)
            value = np.round(value) if mode == "mean" and x.dtype.kind in "iu" else value
            ends.append(s.broadcast_to(value.astype(x.dtype), _along(x, axis, count)))
        x = j.concatenate([ends[0], x, ends[1]], axis)
    return x


__all__ = ["pad"]
