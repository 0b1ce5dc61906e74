"""Reductions over axes, running reductions along one, and contractions of two arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from math import prod
from typing import Any

import numpy as np

from ..core import tree
from ..core.axes import axis_of
from ..core.builder import trace_internal
from ..core.errors import DtypeError, ShapeError, message
from ..core.types import shaped
from ..primitives.family import p
from .folds import folded, together
from .operands import Array, apply, axes_of, dtype_of, ints, strict
from .shapes import reshape, transpose


def _reduction(name: str, meaning: str, takes: str, example: str) -> Callable[[Array, Sequence[int]], Array]:
    rule = getattr(p, name)

    def f(operand: Array, axes: Sequence[int]) -> Array:
        x = strict(operand)
        return apply(rule, x, axes=axes_of(name, axes, x.ndim))

    f.__name__ = f.__qualname__ = name
    wrong = "do not exist" if rule.empty else "do not exist or are empty"
    f.__doc__ = f"""{meaning} over `axes`, which the result does not have.

    The operand holds {takes}; the dtype stays. Raises `ShapeError` for axes that {wrong},
    `DtypeError` for other dtypes.

    >>> from fgrad import lax
    >>> {example.split(" -> ")[0]}
    {example.split(" -> ")[1]}
    """
    return f


reduce_sum = _reduction("reduce_sum", "The sum", "numbers", "lax.reduce_sum(np.ones((2, 3)), (1,)) -> array([3., 3.])")
reduce_prod = _reduction(
    "reduce_prod", "The product", "numbers", "lax.reduce_prod(np.full((2, 3), 2.0), (1,)) -> array([8., 8.])"
)
reduce_max = _reduction(
    "reduce_max", "The largest element", "real numbers", "lax.reduce_max(np.array([1, 3, 2]), (0,)) -> np.int64(3)"
)
reduce_min = _reduction(
    "reduce_min", "The smallest element", "real numbers", "lax.reduce_min(np.array([1, 3, 2]), (0,)) -> np.int64(1)"
)
reduce_and = _reduction(
    "reduce_and",
    "Whether all elements are true",
    "booleans",
    "lax.reduce_and(np.array([True, False]), (0,)) -> np.False_",
)
reduce_or = _reduction(
    "reduce_or", "Whether any element is true", "booleans", "lax.reduce_or(np.array([True, False]), (0,)) -> np.True_"
)

_MONOIDS = {
    "add": reduce_sum,
    "mul": reduce_prod,
    "max": reduce_max,
    "min": reduce_min,
    "bit_and": reduce_and,
    "bit_or": reduce_or,
}
_MONOIDS |= {"logical_and": reduce_and}


def reduce(operands: Any, init_values: Any, computation: Callable[[Any, Any], Any], dimensions: Sequence[int]) -> Any:
    """The elements along `dimensions`, and `init_values`, combined by `computation`.

    operands: an array, or a pytree of arrays of one shape. init_values: the same of scalars of their dtypes.
    computation: a function of two such trees of scalars that returns another. An addition, a multiplication, max or
    min, or, of booleans, a logical and/or, of one operand is computed as `reduce_sum` and its relatives are; another
    computation begins with the initial values and takes the elements one after the other, in C order, in a loop.

    Errors: `TreeError`, `ShapeError`, `DtypeError` for initial values that do not fit, operands of several shapes, and
    a computation that changes the structure or a type.

    >>> from fgrad import lax
    >>> lax.reduce(np.array([1.0, 2.0, 3.0]), 10.0, lax.add, (0,))
    np.float64(16.0)
    >>> x = np.array([[3.0, 1.0, 2.0], [4.0, 6.0, 5.0]])
    >>> smaller = lambda a, b: lax.cond(b[0] < a[0], lambda: b, lambda: a)
    >>> lax.reduce((x, lax.broadcasted_iota(int, (2, 3), 1)), (np.inf, -1), smaller, (1,))
    (array([1., 4.]), array([1, 0]))
    """
    xs, inits, structure = together("reduce", operands, init_values)
    if not xs:
        return operands
    ndim = xs[0].ndim
    axes = axes_of("reduce", dimensions, ndim)
    known = _monoid(computation, xs[0].dtype) if structure == tree.LEAF else None
    if known is None:
        first = (*axes, *[a for a in range(ndim) if a not in axes])
        kept = tuple(xs[0].shape[a] for a in first[len(axes) :])
        stacks = [reshape(transpose(x, first), (prod([x.shape[a] for a in axes]), *kept)) for x in xs]
        return tree.unflatten(structure, folded("reduce", computation, stacks, inits, structure))
    (x,), (init,), (reduction, combine) = xs, inits, known
    kept = tuple(n for a, n in enumerate(x.shape) if a not in axes)
    init = p.broadcast_in_dim(init, shape=kept, dims=()) if kept else init
    return combine(init, reduction(x, axes)) if 0 not in x.shape else init


def _monoid(computation: Callable[[Any, Any], Any], dtype: np.dtype) -> tuple[Callable[..., Any], Any] | None:
    """The reduction that repeats a computation, and the primitive it is, told by its program; None if there is none."""
    scalar = shaped((), dtype)
    program, _ = trace_internal(lambda x, y: [computation(x, y)], (scalar, scalar))
    if len(program.eqns) == 1:
        e = program.eqns[0]
        reduction = _MONOIDS.get(e.primitive.name)
        if reduction is not None and set(e.inputs) == set(program.inputs) and e.outputs == program.outputs:
            return reduction, e.primitive
    return None


def argmax(operand: Array, axis: int, index_dtype: Any) -> Array:
    """The index along an axis of the first largest element, NaN counted as such, in an integer dtype.

    Raises `ShapeError` for an axis that does not exist or is empty.

    >>> from fgrad import lax
    >>> lax.argmax(np.array([1.0, 3.0, 3.0]), 0, np.int32)
    np.int32(1)
    """
    return _arg(p.argmax, operand, axis, index_dtype)


def argmin(operand: Array, axis: int, index_dtype: Any) -> Array:
    """The index along an axis of the first smallest element, NaN counted as such, in an integer dtype.

    Raises `ShapeError` for an axis that does not exist or is empty.

    >>> from fgrad import lax
    >>> lax.argmin(np.array([3.0, 1.0, 1.0]), 0, np.int32)
    np.int32(1)
    """
    return _arg(p.argmin, operand, axis, index_dtype)


def _arg(rule: Any, operand: Any, axis: int, index_dtype: Any) -> Any:
    x, dtype = strict(operand), dtype_of(index_dtype)
    if dtype.kind not in "iu":
        raise DtypeError(message(f"{rule.name}: indices need an integer dtype", got=dtype, do="pass np.int64"))
    index = apply(rule, x, axis=axis_of(rule.name, axis, x.ndim))
    return index if dtype == np.int64 else p.convert_element_type(index, dtype=dtype)


def _running(name: str, meaning: str, takes: str, example: str) -> Callable[..., Array]:
    rule = getattr(p, name)

    def f(operand: Array, axis: int = 0, reverse: bool = False) -> Array:
        x = strict(operand)
        return apply(rule, x, axis=axis_of(name, axis, x.ndim), reverse=bool(reverse))

    f.__name__ = f.__qualname__ = name
    f.__doc__ = f"""{meaning} of the elements up to each one along an axis, or, if `reverse`, from each one on.

    The operand holds {takes}; the result has its shape and dtype. Raises `ShapeError` for an axis that does not exist,
    `DtypeError` for other dtypes.

    >>> from fgrad import lax
    >>> {example.split(" -> ")[0]}
    {example.split(" -> ")[1]}
    """
    return f


cumsum = _running("cumsum", "The sum", "numbers", "lax.cumsum(np.array([1, 2, 3])) -> array([1, 3, 6])")
cumprod = _running(
    "cumprod", "The product", "numbers", "lax.cumprod(np.array([1, 2, 3]), reverse=True) -> array([6, 6, 3])"
)
cummax = _running("cummax", "The largest", "real numbers", "lax.cummax(np.array([1, 3, 2])) -> array([1, 3, 3])")
cummin = _running("cummin", "The smallest", "real numbers", "lax.cummin(np.array([2, 3, 1])) -> array([2, 2, 1])")
cumlogsumexp = _running(
    "cumlogsumexp",
    "The logarithm of the sum of the exponentials",
    "floats",
    "lax.cumlogsumexp(np.zeros(2)).round(6) -> array([0.      , 0.693147])",
)


class Precision(Enum):
    """What `precision` arguments may ask for, in vain: products are as exact as their dtype allows.

    >>> from fgrad import lax
    >>> lax.dot(np.ones(2), np.ones(2), precision=lax.Precision.HIGHEST)
    np.float64(2.0)
    """

    DEFAULT = 0
    HIGH = 1
    HIGHEST = 2


DotDimensionNumbers = tuple[tuple[Sequence[int], Sequence[int]], tuple[Sequence[int], Sequence[int]]]


def dot_general(
    lhs: Array,
    rhs: Array,
    dimension_numbers: DotDimensionNumbers,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> Array:
    """The sum of products over paired axes, for each index of other paired axes.

    `dimension_numbers` is ((contracted axes of lhs, of rhs), (batch axes of lhs, of rhs)). Axes of the result: the
    batch axes, what is left of lhs, what is left of rhs. Both have one dtype; the result has it too, or
    `preferred_element_type`, in which products are then summed if it is wider. `precision` is ignored: products are
    exact to the dtype. Raises `ShapeError` and `DtypeError` for operands that do not fit together.

    >>> from fgrad import lax
    >>> lax.dot_general(np.ones((5, 2, 3)), np.ones((5, 3, 4)), (((2,), (1,)), ((0,), (0,)))).shape
    (5, 2, 4)
    """
    x, w = strict(lhs), strict(rhs)
    (xc, wc), (xb, wb) = dimension_numbers
    contract, batch = (ints(xc), ints(wc)), (ints(xb), ints(wb))
    for side, t in ((0, x), (1, w)):
        used = contract[side] + batch[side]
        if any(not 0 <= a < t.ndim for a in used) or len(set(used)) != len(used):
            what = (
                f"dot_general: axes {contract[side]} and {batch[side]} do not fit the {('left', 'right')[side]} operand"
            )
            raise ShapeError(
                message(what, got=f"shape {tuple(t.shape)}", do="name each axis at most once, from the front")
            )
    if len(contract[0]) != len(contract[1]) or len(batch[0]) != len(batch[1]):
        raise ShapeError(
            message(
                "dot_general: axes must come in pairs", got=dimension_numbers, do="name as many axes of lhs as of rhs"
            )
        )
    if preferred_element_type is None or x.dtype != w.dtype:
        return apply(p.dot_general, x, w, contract=contract, batch=batch)
    preferred = dtype_of(preferred_element_type)
    wide = np.result_type(x.dtype, preferred)
    if wide != x.dtype:
        x, w = (p.convert_element_type(v, dtype=wide) for v in (x, w))
    out = apply(p.dot_general, x, w, contract=contract, batch=batch)
    return out if wide == preferred else p.convert_element_type(out, dtype=preferred)


def dot(
    lhs: Array,
    rhs: Array,
    *,
    dimension_numbers: DotDimensionNumbers | None = None,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> Array:
    """The product of vectors and matrices: the sum over the last axis of `lhs` and the first of `rhs`.

    Both have one or two axes, or `dimension_numbers` says what is summed, as in `dot_general`. Raises `ShapeError` and
    `DtypeError`.

    >>> from fgrad import lax
    >>> lax.dot(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1.0, 1.0]))
    array([3., 7.])
    """
    x, w = strict(lhs), strict(rhs)
    if dimension_numbers is None:
        if not {x.ndim, w.ndim} <= {1, 2}:
            what = "dot: the operands must be vectors or matrices"
            raise ShapeError(
                message(what, got=f"shapes {tuple(x.shape)} and {tuple(w.shape)}", do="use fgrad.lax.dot_general")
            )
        dimension_numbers = (((x.ndim - 1,), (0,)), ((), ()))
    return dot_general(x, w, dimension_numbers, precision, preferred_element_type)


def batch_matmul(lhs: Array, rhs: Array, precision: Any = None) -> Array:
    """Matrix products over equal leading axes: (..., m, k) and (..., k, n) give (..., m, n).

    Raises `ShapeError` and `DtypeError` for operands that do not fit together.

    >>> from fgrad import lax
    >>> lax.batch_matmul(np.ones((5, 2, 3)), np.ones((5, 3, 4))).shape
    (5, 2, 4)
    """
    x, w = strict(lhs), strict(rhs)
    n = x.ndim
    if n < 2 or w.ndim != n:
        what = "batch_matmul: needs two arrays of as many axes, two at least"
        raise ShapeError(
            message(what, got=f"shapes {tuple(x.shape)} and {tuple(w.shape)}", do="insert or broadcast axes first")
        )
    lead = tuple(range(n - 2))
    return dot_general(x, w, (((n - 1,), (n - 2,)), (lead, lead)), precision)
