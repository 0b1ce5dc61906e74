"""Reductions over the windows of an array: pooling, and what it is made of."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core import tree
from ..core.builder import trace_internal
from ..core.primitive import Primitive
from ..core.trace import Tracer
from ..core.types import shaped
from ..primitives.family import p
from .convolution import Padding, dilated, padded_shape, padtype_to_pads, pairs, per_axis
from .folds import folded, together
from .operands import apply
from .shapes import concatenate, expand_dims, reshape

Ints = tuple[int, ...]


def reduce_window(
    operand: Any,
    init_value: Any,
    computation: Callable[[Any, Any], Any],
    window_dimensions: Sequence[int],
    window_strides: Sequence[int] | None = None,
    padding: Padding = "VALID",
    base_dilation: Sequence[int] | None = None,
    window_dilation: Sequence[int] | None = None,
) -> Any:
    """`init_value` and the elements of each window of an array, combined by `computation`.

    operand: an array, or a pytree of arrays of one shape. init_value: the same of scalars of their dtypes. computation:
    a function of two such trees of scalars. An addition, a multiplication, max or min (`lax.add`, `np.maximum`, ...),
    or, of booleans, a logical or/and, of one operand is fast; another computation is a loop over the places in a
    window, in C order. The others hold one number per axis, 1 for axes without windows. window_dimensions: the shape of
    a window. window_strides: the step from window to window, 1 by default. padding: 'VALID', 'SAME', 'SAME_LOWER' or
    (low, high) per axis. base_dilation, window_dilation: the distance of neighbours in the operand, and in a window.
    Padding adds nothing to a window.

    The derivative of max and min goes to the selected element, of equals to the first of the window. Raises
    `TreeError`, `ShapeError` and `DtypeError` for what does not fit.

    >>> from fgrad import lax
    >>> x = np.array([[1.0, 5.0, 2.0, 0.0], [3.0, 4.0, 7.0, 6.0]])
    >>> lax.reduce_window(x, -np.inf, lax.max, (2, 2), (2, 2))
    array([[5., 7.]])
    >>> lax.reduce_window(x, 0.0, lax.add, (1, 3), padding="SAME")
    array([[ 6.,  8.,  7.,  2.],
           [ 7., 14., 17., 13.]])
    >>> lax.reduce_window(x[0], 0.0, lambda norm, x: np.hypot(norm, x), (2,))
    array([5.09901951, 5.38516481, 2.        ])
    """
    xs, inits, structure = together("reduce_window", operand, init_value)
    if not xs:
        return operand
    x, init = xs[0], inits[0]
    combine = _combination(computation, x.dtype) if structure == tree.LEAF else None
    window = per_axis("window_dimensions", window_dimensions, x.ndim)
    strides = per_axis("window_strides", window_strides, x.ndim)
    spread = per_axis("base_dilation", base_dilation, x.ndim)
    dilation = per_axis("window_dilation", window_dilation, x.ndim)
    reach = dilated(window, dilation)
    pads = padtype_to_pads(x.shape, reach, strides, padding) if isinstance(padding, str) else pairs(padding, x.ndim)
    padded = padded_shape("reduce_window", x.shape, spread, pads)
    sizes = tuple(max(0, (n - k) // s + 1) for n, k, s in zip(padded, reach, strides, strict=True))
    low, interior = tuple(lo for lo, _ in pads), tuple(d - 1 for d in spread)
    if combine is None:
        high = tuple(hi for _, hi in pads)
        inside = np.ones(x.shape, bool)
        padded = [
            p.pad(x, i, low=low, high=high, interior=interior)
            for x, i in zip([*xs, inside], [*inits, np.False_], strict=True)
        ]
        *stacks, inside = [_taps(x, window, strides, dilation, sizes) for x in padded]
        return tree.unflatten(structure, folded("reduce_window", computation, stacks, inits, structure, inside))
    if combine is p.mul:
        x = p.pad(x, x.dtype.type(1), low=low, high=tuple(hi for _, hi in pads), interior=interior)
        y, neutral = _products(x, window, strides, dilation, sizes), 1
    else:
        reduction = _REDUCTIONS[combine.name]
        neutral = reduction.identity(x.dtype)
        if any(interior):
            none = (0,) * x.ndim
            x = p.pad(x, neutral, low=none, high=none, interior=interior)
        y = apply(reduction, x, window=window, strides=strides, dilation=dilation, low=low, sizes=sizes)
    if type(init) is not Tracer and init == neutral:
        return y
    return combine(p.broadcast_in_dim(init, shape=sizes, dims=()) if sizes else init, y)


_REDUCTIONS = {
    "add": p.window_sum,
    "max": p.window_max,
    "min": p.window_min,
    "bit_or": p.window_max,
    "bit_and": p.window_min,
}


def _combination(computation: Callable[[Any, Any], Any], dtype: np.dtype) -> Primitive | None:
    """The primitive that a computation of two scalars is, told by its program; None if none of those that are fast."""
    scalar = shaped((), dtype)
    program, _ = trace_internal(lambda x, y: [computation(x, y)], (scalar, scalar))
    if len(program.eqns) == 1:
        e = program.eqns[0]
        known = ("add", "mul", "max", "min", *(("bit_or", "bit_and") if dtype.kind == "b" else ()))
        if e.primitive.name in known and set(e.inputs) == set(program.inputs) and e.outputs == program.outputs:
            return e.primitive
    return None


def _taps(x: Any, window: Ints, strides: Ints, dilation: Ints, sizes: Ints) -> Any:
    """For each place in a window, in C order along a first axis, the elements that stand there, of all windows."""
    taps = []
    for place in np.ndindex(*window):
        starts = [np.int64(i * d) for i, d in zip(place, dilation, strict=True)]
        taps.append(expand_dims(p.dynamic_slice(x, *starts, sizes=sizes, strides=strides), (0,)))
    return concatenate(taps, 0) if taps else reshape(x, (0, *sizes))


def _products(x: Any, window: Ints, strides: Ints, dilation: Ints, sizes: Ints) -> Any:
    """The product of each window of x, axis after axis."""
    for axis, (k, d) in enumerate(zip(window, dilation, strict=True)):
        shape = (*x.shape[:axis], sizes[axis], *x.shape[axis + 1 :])
        steps = tuple(strides[a] if a == axis else 1 for a in range(x.ndim))
        taps = []
        for i in range(k):
            starts = [np.int64(i * d if a == axis else 0) for a in range(x.ndim)]
            taps.append(p.dynamic_slice(x, *starts, sizes=shape, strides=steps))
        x = functools.reduce(p.mul, taps)
    return x
