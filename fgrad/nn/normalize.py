"""Normalised exponentials and their logarithms, standardisation, one-hot codes."""

import operator

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from fgrad import lax
from fgrad import numpy as fnp
from fgrad.nn.activations import inexact

Axis = int | tuple[int, ...] | None


def softmax(x: ArrayLike, axis: Axis = -1, where: ArrayLike | None = None) -> np.ndarray:
    """``exp(x)`` divided by its sum along ``axis``.

    Elements where the mask ``where`` is False take no part and give 0.

    >>> import numpy as np
    >>> softmax(np.array([1000.0, 1000.0, -np.inf]))
    array([0.5, 0.5, 0. ])
    """
    x = _masked(x, where)
    weights = fnp.exp(x - _shift(x, axis))
    return weights / _safe_total(weights, axis, where)


def log_softmax(x: ArrayLike, axis: Axis = -1, where: ArrayLike | None = None) -> np.ndarray:
    """The logarithm of `softmax`, finite where the quotient would underflow.

    Elements where the mask ``where`` is False take no part and give -inf.

    >>> import numpy as np
    >>> log_softmax(np.array([0.0, 1000.0]))
    array([-1000.,     0.])
    """
    x = _masked(x, where)
    shifted = x - _shift(x, axis)
    return shifted - fnp.log(_safe_total(fnp.exp(shifted), axis, where))


def logsumexp(
    a: ArrayLike,
    axis: Axis = None,
    b: ArrayLike | None = None,
    keepdims: bool = False,
    return_sign: bool = False,
    where: ArrayLike | None = None,
) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """``log(sum(b * exp(a)))`` along ``axis``, without overflow; -inf for a sum of nothing, or of -inf only.

    ``b`` are real factors, 1 by default. A negative sum gives NaN, unless ``return_sign`` asks for the pair of the
    logarithm of its absolute value and its sign. Elements where the mask ``where`` is False take no part.

    >>> import numpy as np
    >>> logsumexp(np.array([1000.0, 1000.0])).round(6).item()
    1000.693147
    """
    a = _masked(a, where)
    if b is not None:
        b = fnp.asarray(b)
        a = fnp.where(b == 0, -np.inf, a)
    # An infinite maximum: the largest finite shift keeps the other terms from overflowing.
    shift = fnp.minimum(_shift(a, axis), np.finfo(a.dtype).max)
    terms = fnp.exp(a - shift)
    total = fnp.sum(terms if b is None else b * terms, axis=axis, keepdims=True)
    sign = fnp.sign(total)
    if return_sign or not np.issubdtype(total.dtype, np.complexfloating):
        total = fnp.abs(total)
    empty = total == 0
    result = fnp.where(empty, -np.inf, fnp.log(fnp.where(empty, 1, total)) + shift)
    if b is not None and not return_sign and not np.issubdtype(total.dtype, np.complexfloating):
        result = fnp.where(sign < 0, np.nan, result)
    if not keepdims:
        result, sign = fnp.squeeze(result, axis)[()], fnp.squeeze(sign, axis)[()]
    return (result, sign) if return_sign else result


def logmeanexp(x: ArrayLike, axis: Axis = None, where: ArrayLike | None = None, keepdims: bool = False) -> np.ndarray:
    """``log(mean(exp(x)))`` along ``axis``, without overflow.

    >>> import numpy as np
    >>> float(logmeanexp(np.array([1000.0, 1000.0])))
    1000.0
    """
    x = inexact(x)
    taken = fnp.broadcast_to(True if where is None else where, x.shape)
    count = fnp.sum(taken, axis=axis, keepdims=keepdims).astype(x.dtype)
    return logsumexp(x, axis, keepdims=keepdims, where=where) - fnp.log(count)


def standardize(
    x: ArrayLike,
    axis: Axis = -1,
    mean: ArrayLike | None = None,
    variance: ArrayLike | None = None,
    epsilon: ArrayLike = 1e-5,
    where: ArrayLike | None = None,
    *,
    algorithm: str = "stable",
) -> np.ndarray:
    """``(x - mean) / sqrt(variance + epsilon)``, with the moments taken along ``axis`` unless they are given.

    Elements where the mask ``where`` is False do not count for the moments. ``algorithm`` "stable" averages squared
    deviations; "fast" takes ``mean(x**2) - mean(x)**2``, which loses digits where the mean is large. Raises ValueError
    for another name.

    >>> import numpy as np
    >>> standardize(np.array([1.0, 3.0]), epsilon=0.0)
    array([-1.,  1.])
    """
    if algorithm not in ("stable", "fast"):
        raise ValueError(f'standardize: algorithm must be "stable" or "fast", got {algorithm!r}')
    x = inexact(x)
    counted = {} if where is None else {"where": where}
    if mean is None:
        mean = fnp.mean(x, axis=axis, keepdims=True, **counted)
    if variance is None and algorithm == "stable":
        variance = fnp.mean(fnp.square(x - mean), axis=axis, keepdims=True, **counted)
    elif variance is None:
        square = fnp.mean(fnp.square(x), axis=axis, keepdims=True, **counted)
        variance = fnp.maximum(square - fnp.square(mean), 0)
    return (x - mean) / fnp.sqrt(variance + epsilon)


def one_hot(x: ArrayLike, num_classes: int, *, dtype: DTypeLike = np.float64, axis: int = -1) -> np.ndarray:
    """A new axis of length ``num_classes``, with 1 at index ``x`` and 0 elsewhere; all 0 for an index outside.

    ``axis`` is the place of the new axis in the result. Raises TypeError unless ``x`` holds integers.

    >>> import numpy as np
    >>> one_hot(np.array([2, 0, -1]), 3)
    array([[0., 0., 1.],
           [1., 0., 0.],
           [0., 0., 0.]])
    """
    x = fnp.asarray(x)
    if not np.issubdtype(x.dtype, np.integer):
        raise TypeError(f"one_hot: the indices x must be integers, got dtype {x.dtype}; use x.astype(int)")
    num_classes = operator.index(num_classes)
    x = fnp.expand_dims(x, axis)
    classes = [1] * x.ndim
    classes[axis] = num_classes
    return (x == fnp.arange(num_classes).reshape(classes)).astype(dtype)


def _masked(x: ArrayLike, where: ArrayLike | None) -> np.ndarray:
    x = inexact(x)
    return x if where is None else fnp.where(where, x, -np.inf)


def _shift(x: np.ndarray, axis: Axis) -> np.ndarray:
    """The largest real part along ``axis``, kept above -inf so that -inf minus it is -inf."""
    largest = fnp.max(fnp.real(x), axis=axis, keepdims=True, initial=-np.inf)
    return lax.stop_gradient(fnp.maximum(largest, np.finfo(x.dtype).min))


def _safe_total(weights: np.ndarray, axis: Axis, where: ArrayLike | None) -> np.ndarray:
    total = fnp.sum(weights, axis=axis, keepdims=True)
    return total if where is None else fnp.where(total == 0, 1, total)
