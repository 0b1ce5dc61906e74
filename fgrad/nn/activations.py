"""Activation functions, element by element.

Where a function has a kink, its derivative there is the one that JAX documents. A branch that is not taken is evaluated
at a harmless point, so that no overflow warning comes from it.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from fgrad import lax
from fgrad import numpy as fnp

# Klambauer et al., "Self-Normalizing Neural Networks", 2017: the fixed point of zero mean and unit variance.
SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


def inexact(x: ArrayLike) -> np.ndarray:
    """``x`` as an array of floating or complex numbers; integers and booleans become float64."""
    x = fnp.asarray(x)
    return x if np.issubdtype(x.dtype, np.inexact) else x.astype(np.float64)


def identity(x: ArrayLike) -> np.ndarray:
    """``x`` as an array.

    >>> identity([1.0, 2.0])
    array([1., 2.])
    """
    return fnp.asarray(x)


def relu(x: ArrayLike) -> np.ndarray:
    """The positive part, ``max(x, 0)``; the derivative at 0 is 0, and NaN stays NaN. Integers stay integers.

    >>> import numpy as np
    >>> relu(np.array([-1.0, 2.0]))
    array([0., 2.])
    """
    x = fnp.asarray(x)
    return fnp.where(x <= 0, 0, x)


def relu6(x: ArrayLike) -> np.ndarray:
    """``min(max(x, 0), 6)``; the derivative at 0 and at 6 is 0.

    >>> import numpy as np
    >>> relu6(np.array([-1.0, 2.0, 7.0]))
    array([0., 2., 6.])
    """
    x = inexact(x)
    return fnp.where(x <= 0, 0, fnp.where(x >= 6, 6, x))


def leaky_relu(x: ArrayLike, negative_slope: ArrayLike = 0.01) -> np.ndarray:
    """``x`` where it is at least 0, else ``negative_slope * x``; the derivative at 0 is 1.

    >>> import numpy as np
    >>> leaky_relu(np.array([-1.0, 2.0]))
    array([-0.01,  2.  ])
    """
    x = inexact(x)
    return fnp.where(x >= 0, x, negative_slope * x)


def elu(x: ArrayLike, alpha: ArrayLike = 1.0) -> np.ndarray:
    """``x`` where it is positive, else ``alpha * (exp(x) - 1)``; the derivative at 0 is ``alpha``.

    >>> import numpy as np
    >>> elu(np.array([-1.0, 2.0])).round(6)
    array([-0.632121,  2.      ])
    """
    x = inexact(x)
    positive = x > 0
    return fnp.where(positive, x, alpha * fnp.expm1(fnp.where(positive, 0, x)))


def selu(x: ArrayLike) -> np.ndarray:
    """`elu` with the constants that keep mean 0 and variance 1 (Klambauer et al., 2017).

    >>> import numpy as np
    >>> selu(np.array([-1.0, 2.0])).round(6)
    array([-1.111331,  2.101402])
    """
    return SELU_SCALE * elu(x, SELU_ALPHA)


def celu(x: ArrayLike, alpha: ArrayLike = 1.0) -> np.ndarray:
    """``x`` where it is positive, else ``alpha * (exp(x / alpha) - 1)``; the derivative is continuous.

    >>> import numpy as np
    >>> celu(np.array([-1.0, 2.0]), alpha=2.0).round(6)
    array([-0.786939,  2.      ])
    """
    x = inexact(x)
    positive = x > 0
    return fnp.where(positive, x, alpha * fnp.expm1(fnp.where(positive, 0, x) / alpha))


def gelu(x: ArrayLike, approximate: bool = True) -> np.ndarray:
    """``x`` times the standard normal distribution function of ``x`` (Hendrycks and Gimpel, 2016).

    ``approximate`` takes ``(1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))) / 2`` for that function, else it is exact.

    >>> import numpy as np
    >>> gelu(np.array([-1.0, 1.0]), approximate=False).round(6)
    array([-0.158655,  0.841345])
    """
    x = inexact(x)
    if approximate:
        return 0.5 * x * (1 + fnp.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))
    return 0.5 * x * lax.erfc(-math.sqrt(0.5) * x)


def sigmoid(x: ArrayLike) -> np.ndarray:
    """The logistic function ``1 / (1 + exp(-x))``.

    >>> import numpy as np
    >>> sigmoid(np.array([-1000.0, 0.0, 1000.0]))
    array([0. , 0.5, 1. ])
    """
    return lax.logistic(inexact(x))


def silu(x: ArrayLike) -> np.ndarray:
    """``x * sigmoid(x)``, also known as swish.

    >>> import numpy as np
    >>> silu(np.array([-1.0, 1.0])).round(6)
    array([-0.268941,  0.731059])
    """
    x = inexact(x)
    return x * lax.logistic(x)


swish = silu


def log_sigmoid(x: ArrayLike) -> np.ndarray:
    """The logarithm of `sigmoid`, exact for large negative ``x`` too.

    >>> import numpy as np
    >>> log_sigmoid(np.array([-1000.0, 0.0])).round(6)
    array([-1.00000e+03, -6.93147e-01])
    """
    return -softplus(-inexact(x))


def softplus(x: ArrayLike) -> np.ndarray:
    """``log(1 + exp(x))``, without overflow.

    >>> import numpy as np
    >>> softplus(np.array([-1000.0, 0.0, 1000.0])).round(6)
    array([0.00000e+00, 6.93147e-01, 1.00000e+03])
    """
    return fnp.logaddexp(inexact(x), 0)


def soft_sign(x: ArrayLike) -> np.ndarray:
    """``x / (|x| + 1)``.

    >>> import numpy as np
    >>> soft_sign(np.array([-1.0, 3.0]))
    array([-0.5 ,  0.75])
    """
    x = inexact(x)
    return x / (fnp.abs(x) + 1)


def mish(x: ArrayLike) -> np.ndarray:
    """``x * tanh(softplus(x))`` (Misra, "Mish", 2019).

    >>> import numpy as np
    >>> mish(np.array([-1.0, 1.0])).round(6)
    array([-0.303401,  0.865098])
    """
    x = inexact(x)
    return x * fnp.tanh(softplus(x))


def tanh(x: ArrayLike) -> np.ndarray:
    """The hyperbolic tangent.

    >>> import numpy as np
    >>> tanh(np.array([0.0, 1000.0]))
    array([0., 1.])
    """
    return fnp.tanh(inexact(x))


def hard_tanh(x: ArrayLike) -> np.ndarray:
    """``x`` clipped to [-1, 1]; the derivative at -1 and 1 is 1.

    >>> import numpy as np
    >>> hard_tanh(np.array([-3.0, 0.5, 3.0]))
    array([-1. ,  0.5,  1. ])
    """
    x = inexact(x)
    return fnp.where(x > 1, 1, fnp.where(x < -1, -1, x))


def hard_sigmoid(x: ArrayLike) -> np.ndarray:
    """The piecewise linear ``relu6(x + 3) / 6``.

    >>> import numpy as np
    >>> hard_sigmoid(np.array([-4.0, 0.0, 4.0]))
    array([0. , 0.5, 1. ])
    """
    return relu6(inexact(x) + 3) / 6


def hard_silu(x: ArrayLike) -> np.ndarray:
    """``x * hard_sigmoid(x)``, also known as hard swish.

    >>> import numpy as np
    >>> hard_silu(np.array([-4.0, 1.5, 4.0]))
    array([-0.   ,  1.125,  4.   ])
    """
    x = inexact(x)
    return x * hard_sigmoid(x)


hard_swish = hard_silu


def glu(x: ArrayLike, axis: int = -1) -> np.ndarray:
    """The first half of ``x`` along ``axis`` times the `sigmoid` of the second (Dauphin et al., 2017).

    Raises ValueError where that dimension is odd.

    >>> import numpy as np
    >>> glu(np.array([1.0, 2.0, 0.0, 1000.0]))
    array([0.5, 2. ])
    """
    x = inexact(x)
    if x.shape[axis] % 2:
        raise ValueError(f"glu halves x along axis {axis}, which must have an even length, got shape {x.shape}")
    values, gates = fnp.split(x, 2, axis)
    return values * lax.logistic(gates)


def squareplus(x: ArrayLike, b: ArrayLike = 4) -> np.ndarray:
    """``(x + sqrt(x**2 + b)) / 2``, a smooth `relu` without exponentials (Barron, 2021).

    >>> import numpy as np
    >>> squareplus(np.array([0.0, 1.5]))
    array([1., 2.])
    """
    x = inexact(x)
    return (x + fnp.sqrt(fnp.square(x) + b)) / 2


def sparse_plus(x: ArrayLike) -> np.ndarray:
    """0 below -1, ``x`` above 1, and ``(x + 1)**2 / 4`` between.

    >>> import numpy as np
    >>> sparse_plus(np.array([-2.0, 0.0, 2.0]))
    array([0.  , 0.25, 2.  ])
    """
    x = inexact(x)
    middle = fnp.abs(x) < 1
    return fnp.where(middle, fnp.square(fnp.where(middle, x, 0) + 1) / 4, fnp.where(x <= -1, 0, x))
