"""Initial weights: functions ``init(key, shape, dtype)`` that draw an array with `fgrad.random`.

`zeros` and `ones` are such functions; all others here make one from their arguments, as in JAX.

>>> from fgrad import nn, random
>>> nn.initializers.he_normal()(random.key(0), (784, 32)).shape
(784, 32)
"""

import math
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from fgrad import numpy as fnp
from fgrad import random

__all__ = [
    "Initializer",
    "constant",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "ones",
    "orthogonal",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]

Axes = int | Sequence[int]

# The standard deviation of a standard normal variable cut off at -2 and 2.
TRUNCATED_STDDEV = 0.87962566103423978


class Initializer(Protocol):
    """What draws an array: called with a key, a shape and, if the default is not wanted, a dtype."""

    def __call__(self, key: Any, shape: Sequence[int], dtype: DTypeLike = ...) -> np.ndarray: ...


def zeros(key: Any, shape: Sequence[int], dtype: DTypeLike = np.float64) -> np.ndarray:
    """All 0; the key is not used.

    >>> zeros(None, (2,))
    array([0., 0.])
    """
    return fnp.zeros(shape, dtype)


def ones(key: Any, shape: Sequence[int], dtype: DTypeLike = np.float64) -> np.ndarray:
    """All 1; the key is not used.

    >>> ones(None, (2,))
    array([1., 1.])
    """
    return fnp.ones(shape, dtype)


def constant(value: ArrayLike, dtype: DTypeLike = np.float64) -> Initializer:
    """All ``value``, which is broadcast to the shape.

    >>> constant(3.0)(None, (2,))
    array([3., 3.])
    """

    def init(key: Any, shape: Sequence[int], dtype: DTypeLike = dtype) -> np.ndarray:
        return fnp.full(shape, value, dtype)

    return init


def uniform(scale: float = 1e-2, dtype: DTypeLike = np.float64) -> Initializer:
    """Uniform on [0, scale).

    >>> from fgrad import random
    >>> uniform(5.0)(random.key(0), (2, 3)).shape
    (2, 3)
    """

    def init(key: Any, shape: Sequence[int], dtype: DTypeLike = dtype) -> np.ndarray:
        return random.uniform(key, shape, dtype) * fnp.asarray(scale, dtype)

    return init


def normal(stddev: float = 1e-2, dtype: DTypeLike = np.float64) -> Initializer:
    """Normal with mean 0.

    >>> from fgrad import random
    >>> normal(5.0)(random.key(0), (2, 3)).shape
    (2, 3)
    """

    def init(key: Any, shape: Sequence[int], dtype: DTypeLike = dtype) -> np.ndarray:
        return random.normal(key, shape, dtype) * fnp.asarray(stddev, dtype)

    return init


def truncated_normal(
    stddev: float = 1e-2, dtype: DTypeLike = np.float64, lower: float = -2.0, upper: float = 2.0
) -> Initializer:
    """``stddev`` times a standard normal variable cut off at ``lower`` and ``upper``.

    ``stddev`` is that of the distribution before the cut.

    >>> from fgrad import random
    >>> float(abs(truncated_normal(1.0)(random.key(0), (100,))).max()) <= 2.0
    True
    """

    def init(key: Any, shape: Sequence[int], dtype: DTypeLike = dtype) -> np.ndarray:
        return random.truncated_normal(key, lower, upper, shape, dtype) * fnp.asarray(stddev, dtype)

    return init


def variance_scaling(
    scale: float,
    mode: Literal["fan_in", "fan_out", "fan_avg", "fan_geo_avg"],
    distribution: Literal["truncated_normal", "normal", "uniform"],
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    dtype: DTypeLike = np.float64,
) -> Initializer:
    """Mean 0 and variance ``scale / fan``, so that signals keep their size through layers.

    ``fan`` is the number of inputs or outputs of a unit, or the arithmetic or geometric mean of both, by ``mode``. Axes
    that are neither ``in_axis``, ``out_axis`` nor ``batch_axis`` are the receptive field, which counts for both fans.
    Raises ValueError for an unknown mode or distribution, and for a shape that lacks one of the axes.

    >>> from fgrad import random
    >>> variance_scaling(1.0, "fan_in", "normal")(random.key(0), (3, 3, 8, 16)).shape
    (3, 3, 8, 16)
    """
    modes = ("fan_in", "fan_out", "fan_avg", "fan_geo_avg")
    if mode not in modes:
        raise ValueError(f"variance_scaling: mode must be one of {', '.join(modes)}, got {mode!r}")
    distributions = ("truncated_normal", "normal", "uniform")
    if distribution not in distributions:
        raise ValueError(
            f"variance_scaling: distribution must be one of {', '.join(distributions)}, got {distribution!r}"
        )

    def init(key: Any, shape: Sequence[int], dtype: DTypeLike = dtype) -> np.ndarray:
        fan_in, fan_out = _fans(shape, in_axis, out_axis, batch_axis)
        fan = {
            "fan_in": fan_in,
            "fan_out": fan_out,
            "fan_avg": (fan_in + fan_out) / 2,
            "fan_geo_avg": math.sqrt(fan_in * fan_out),
        }[mode]
        stddev = math.sqrt(scale / max(fan, 1))
        if distribution == "normal":
            return normal(stddev)(key, shape, dtype)
        if distribution == "truncated_normal":
            return truncated_normal(stddev / TRUNCATED_STDDEV)(key, shape, dtype)
        bound = math.sqrt(3) * stddev
        return random.uniform(key, shape, dtype, -1) * fnp.asarray(bound, dtype)

    return init


def _fans(shape: Sequence[int], in_axis: Axes, out_axis: Axes, batch_axis: Axes) -> tuple[int, int]:
    groups = [(axes,) if isinstance(axes, int) else tuple(axes) for axes in (in_axis, out_axis, batch_axis)]
    ndim = len(shape)
    for axis in sum(groups, ()):
        if not -ndim <= axis < ndim:
            raise ValueError(
                f"variance_scaling: axis {axis} is not in shape {tuple(shape)}; weights need an input and an output "
                f"axis, so give in_axis and out_axis for this shape, or take another initializer (zeros, normal)"
            )
    ins, outs, batch = ({axis % ndim for axis in axes} for axes in groups)
    field = math.prod(n for axis, n in enumerate(shape) if axis not in ins | outs | batch)
    return field * math.prod(shape[axis] for axis in ins), field * math.prod(shape[axis] for axis in outs)


def glorot_uniform(
    in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: DTypeLike = np.float64
) -> Initializer:
    """Uniform with variance 2 / (fan_in + fan_out) (Glorot and Bengio, 2010); see `variance_scaling`.

    >>> from fgrad import random
    >>> glorot_uniform()(random.key(0), (2, 3)).shape
    (2, 3)
    """
    return variance_scaling(1.0, "fan_avg", "uniform", in_axis, out_axis, batch_axis, dtype)


def glorot_normal(
    in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: DTypeLike = np.float64
) -> Initializer:
    """Truncated normal with variance 2 / (fan_in + fan_out) (Glorot and Bengio, 2010); see `variance_scaling`.

    >>> from fgrad import random
    >>> glorot_normal()(random.key(0), (2, 3)).shape
    (2, 3)
    """
    return variance_scaling(1.0, "fan_avg", "truncated_normal", in_axis, out_axis, batch_axis, dtype)


def lecun_uniform(
    in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: DTypeLike = np.float64
) -> Initializer:
    """Uniform with variance 1 / fan_in (LeCun et al., "Efficient BackProp", 1998); see `variance_scaling`.

    >>> from fgrad import random
    >>> lecun_uniform()(random.key(0), (2, 3)).shape
    (2, 3)
    """
    return variance_scaling(1.0, "fan_in", "uniform", in_axis, out_axis, batch_axis, dtype)


def lecun_normal(
    in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: DTypeLike = np.float64
) -> Initializer:
    """Truncated normal with variance 1 / fan_in (LeCun et al., "Efficient BackProp", 1998); see `variance_scaling`.

    >>> from fgrad import random
    >>> lecun_normal()(random.key(0), (2, 3)).shape
    (2, 3)
    """
    return variance_scaling(1.0, "fan_in", "truncated_normal", in_axis, out_axis, batch_axis, dtype)


def he_uniform(
    in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: DTypeLike = np.float64
) -> Initializer:
    """Uniform with variance 2 / fan_in, for `relu` layers (He et al., 2015); see `variance_scaling`.

    >>> from fgrad import random
    >>> he_uniform()(random.key(0), (2, 3)).shape
    (2, 3)
    """
    return variance_scaling(2.0, "fan_in", "uniform", in_axis, out_axis, batch_axis, dtype)


def he_normal(
    in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: DTypeLike = np.float64
) -> Initializer:
    """Truncated normal with variance 2 / fan_in, for `relu` layers (He et al., 2015); see `variance_scaling`.

    >>> from fgrad import random
    >>> he_normal()(random.key(0), (2, 3)).shape
    (2, 3)
    """
    return variance_scaling(2.0, "fan_in", "truncated_normal", in_axis, out_axis, batch_axis, dtype)


xavier_uniform = glorot_uniform
xavier_normal = glorot_normal
kaiming_uniform = he_uniform
kaiming_normal = he_normal


def orthogonal(scale: float = 1.0, column_axis: int = -1, dtype: DTypeLike = np.float64) -> Initializer:
    """``scale`` times a uniformly distributed matrix with orthonormal columns, or rows where it is wide.

    ``column_axis`` numbers the columns, all other axes together the rows (Saxe et al., 2014; the sign rule is
    Mezzadri's, "How to generate random matrices from the classical compact groups", 2007). Raises ValueError for a
    shape of fewer than two dimensions.

    >>> import numpy as np
    >>> from fgrad import random
    >>> q = orthogonal()(random.key(0), (4, 3))
    >>> np.allclose(q.T @ q, np.eye(3))
    True
    """

    def init(key: Any, shape: Sequence[int], dtype: DTypeLike = dtype) -> np.ndarray:
        if len(shape) < 2:
            raise ValueError(f"orthogonal: the shape must have at least two dimensions, got {tuple(shape)}")
        columns = shape[column_axis]
        rows = math.prod(shape) // columns if columns else 0
        gaussian = random.normal(key, (max(rows, columns), min(rows, columns)), dtype)
        q, r = fnp.linalg.qr(gaussian)
        q = q * fnp.sign(fnp.diagonal(r))
        other = [n for axis, n in enumerate(shape) if axis != column_axis % len(shape)]
        matrix = fnp.reshape(q if rows >= columns else q.T, (*other, columns))
        return fnp.asarray(scale, dtype) * fnp.moveaxis(matrix, -1, column_axis)

    return init
