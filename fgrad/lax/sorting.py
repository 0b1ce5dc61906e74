"""Sorting and the largest elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core.axes import axis_of
from ..core.errors import ShapeError, message
from ..primitives.family import p
from .operands import Array, apply, strict


def sort(operand: Array | Sequence[Array], dimension: int = -1, is_stable: bool = True, num_keys: int = 1) -> Any:
    """The operand in ascending order along an axis; a tuple of arrays in the order of the first `num_keys` of them.

    Always stable; NaN comes last; complex numbers go by their real parts, then by the imaginary ones. The arrays have
    one shape: else `ShapeError`. The result is an array, or a tuple for a tuple.

    >>> import numpy as np
    >>> from fgrad import lax
    >>> lax.sort((np.array([2, 1, 2]), np.array([1.0, 2.0, 0.0])), num_keys=2)
    (array([1, 2, 2]), array([2., 0., 1.]))
    """
    several = isinstance(operand, tuple | list)
    xs = [strict(x) for x in (operand if several else [operand])]
    if not xs:
        raise ShapeError(message("sort: there are no arrays to sort", do="pass at least one"))
    out = apply(p.sort, *xs, axis=axis_of("sort", dimension, xs[0].ndim), num_keys=num_keys)
    return out if isinstance(out, tuple) or not several else (out,)


def sort_key_val(keys: Array, values: Array, dimension: int = -1, is_stable: bool = True) -> tuple[Array, Array]:
    """`keys` in ascending order along an axis, and `values`, of the same shape, in the order of their keys.

    >>> import numpy as np
    >>> from fgrad import lax
    >>> lax.sort_key_val(np.array([3, 1, 2]), np.array([30, 10, 20]))
    (array([1, 2, 3]), array([10, 20, 30]))
    """
    return sort((keys, values), dimension, is_stable)


def top_k(operand: Array, k: int, *, axis: int = -1) -> tuple[Array, Array]:
    """The k largest elements along an axis, the largest first, and their int64 indices; of equals the first come first.

    NaN counts as the largest. Raises `ShapeError` for a k that is negative or larger than the axis.

    >>> import numpy as np
    >>> from fgrad import lax
    >>> lax.top_k(np.array([1.0, 3.0, 2.0]), 2)
    (array([3., 2.]), array([1, 2]))
    """
    x = strict(operand)
    axis = axis_of("top_k", axis, x.ndim)
    order = (*[a for a in range(x.ndim) if a != axis], axis)
    back = (*range(axis), x.ndim - 1, *range(axis, x.ndim - 1))
    if axis == x.ndim - 1:
        return apply(p.top_k, x, k=int(k))
    values, indices = apply(p.top_k, p.transpose(x, axes=order), k=int(k))
    return p.transpose(values, axes=back), p.transpose(indices, axes=back)
