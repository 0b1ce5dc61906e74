"""Continuous distributions drawn by transforming uniform numbers, so differentiable in their parameters."""

from typing import Any

import numpy as np

import fgrad.numpy as fnp
from fgrad import lax
from fgrad.random.checks import Shape, as_shape, check_key, float_dtype, full_shape
from fgrad.random.keys import random_bits, split


def uniform(key: Any, shape: Shape = (), dtype: Any = float, minval: Any = 0.0, maxval: Any = 1.0) -> Any:
    """Draw numbers uniform in [minval, maxval).

    `minval` and `maxval` broadcast to `shape`; `dtype` is float16, float32 or float64. The draw takes one of
    2**nmant equally spaced values, nmant being the number of mantissa bits of `dtype`. With the default limits it
    equals JAX's bit for bit, with others up to the last bit (XLA fuses the product and the sum). Raises TypeError or
    ValueError for what is not a key, a shape or a float dtype.

    >>> from fgrad import random
    >>> random.uniform(random.key(0), (2, 3)).shape
    (2, 3)
    """
    check_key("uniform", key)
    dtype = float_dtype("uniform", dtype)
    shape = full_shape("uniform", as_shape("uniform", shape), fnp.shape(minval), fnp.shape(maxval))
    if isinstance(minval, int | float) and isinstance(maxval, int | float) and (minval, maxval) == (0, 1):
        return unit(key, shape, dtype)
    return between(key, shape, dtype, minval, maxval)


def unit(key: Any, shape: Shape, dtype: np.dtype) -> Any:
    """Draw from [0, 1), arguments checked: the high bits as an integer, times the spacing, are exact."""
    info = np.finfo(dtype)
    drawn = random_bits(key, shape, np.dtype(f"uint{info.bits}"))
    mantissa = drawn >> drawn.dtype.type(info.bits - info.nmant)
    return lax.convert_element_type(mantissa, dtype) * dtype.type(2.0**-info.nmant)


def between(key: Any, shape: Shape, dtype: np.dtype, minval: Any, maxval: Any) -> Any:
    """Draw from [minval, maxval), arguments checked; minval where the interval is empty."""
    minval = lax.convert_element_type(minval, dtype)
    maxval = lax.convert_element_type(maxval, dtype)
    return fnp.maximum(minval, unit(key, shape, dtype) * (maxval - minval) + minval)


def normal(key: Any, shape: Shape = (), dtype: Any = float) -> Any:
    """Draw standard normal numbers: mean 0, variance 1.

    `dtype` is a float dtype, or complex64 or complex128: then the real and the imaginary part have variance 1/2
    each. Drawn as sqrt(2) erfinv(u), u uniform in (-1, 1).

    >>> from fgrad import random
    >>> x = 3.0 + 2.0 * random.normal(random.key(0), (5,))  # mean 3, standard deviation 2
    >>> x.shape, x.dtype
    ((5,), dtype('float64'))
    """
    check_key("normal", key)
    shape = as_shape("normal", shape)
    if np.dtype(dtype).kind != "c":
        return _normal(key, shape, float_dtype("normal", dtype))
    dtype = np.dtype(dtype)
    part = float_dtype("normal", np.finfo(dtype).dtype)
    keys = split(key)
    real, imag = (_normal(keys[i], shape, part) * part.type(np.sqrt(0.5)) for i in (0, 1))
    return lax.complex(real, imag)


def _normal(key: Any, shape: Shape, dtype: np.dtype) -> Any:
    above_minus_one = np.nextafter(dtype.type(-1), dtype.type(0))
    u = between(key, shape, dtype, above_minus_one, dtype.type(1))
    return lax.erf_inv(u) * dtype.type(np.sqrt(2))


def truncated_normal(key: Any, lower: Any, upper: Any, shape: Shape | None = None, dtype: Any = float) -> Any:
    """Draw from the standard normal distribution conditioned on the open interval (lower, upper).

    `lower` and `upper` broadcast to `shape`, by default to each other. Drawn by inverting erf, whose resolution
    vanishes in the tails: an interval beyond 8 (float64) or 5 (float32) standard deviations gives its own limits.

    >>> import numpy as np
    >>> from fgrad import random
    >>> x = random.truncated_normal(random.key(0), -1.0, 2.0, (100,))
    >>> bool(np.all((x > -1) & (x < 2)))
    True
    """
    check_key("truncated_normal", key)
    dtype = float_dtype("truncated_normal", dtype)
    shape = full_shape("truncated_normal", shape, fnp.shape(lower), fnp.shape(upper))
    lower = lax.convert_element_type(lower, dtype)
    upper = lax.convert_element_type(upper, dtype)
    sqrt2 = dtype.type(np.sqrt(2))
    u = between(key, shape, dtype, lax.erf(lower / sqrt2), lax.erf(upper / sqrt2))
    inside_lower = fnp.nextafter(lax.stop_gradient(lower), dtype.type(np.inf))
    inside_upper = fnp.nextafter(lax.stop_gradient(upper), dtype.type(-np.inf))
    return fnp.clip(lax.erf_inv(u) * sqrt2, inside_lower, inside_upper)


def exponential(key: Any, shape: Shape = (), dtype: Any = float) -> Any:
    """Draw from the exponential distribution of rate 1, density exp(-x) for x >= 0.

    >>> import numpy as np
    >>> from fgrad import random
    >>> bool(np.all(random.exponential(random.key(0), (100,)) >= 0))
    True
    """
    check_key("exponential", key)
    return _exponential(key, as_shape("exponential", shape), float_dtype("exponential", dtype))


def _exponential(key: Any, shape: Shape, dtype: np.dtype) -> Any:
    return -fnp.log1p(-unit(key, shape, dtype))


def gumbel(key: Any, shape: Shape = (), dtype: Any = float, mode: str | None = None) -> Any:
    """Draw from the standard Gumbel distribution, density exp(-x - exp(-x)).

    `mode` "high" spends twice the random bits on the upper tail, for events of probability below 1e-7 in float32;
    "low", the default, does not. Raises ValueError for another mode.

    >>> import numpy as np
    >>> from fgrad import random
    >>> random.gumbel(random.key(0), (3,), np.float32).dtype
    dtype('float32')
    """
    check_key("gumbel", key)
    dtype, shape = float_dtype("gumbel", dtype), as_shape("gumbel", shape)
    if mode not in (None, "low", "high"):
        raise ValueError(f'gumbel: mode must be "low" or "high", got {mode!r}')
    info = np.finfo(dtype)
    if mode != "high":
        return -fnp.log(-fnp.log(between(key, shape, dtype, info.tiny, 1.0)))
    u = unit(key, (2, *shape), dtype)
    coarse, fine = u[0], u[1]
    x = fnp.where(coarse >= 0.5, coarse, coarse + dtype.type(2.0**-info.nmant) * fine + info.tiny)
    return -fnp.log(-fnp.log1p(-x))


def laplace(key: Any, shape: Shape = (), dtype: Any = float) -> Any:
    """Draw from the standard Laplace distribution, density exp(-|x|) / 2.

    >>> from fgrad import random
    >>> random.laplace(random.key(0), (3,)).shape
    (3,)
    """
    check_key("laplace", key)
    dtype = float_dtype("laplace", dtype)
    above_minus_one = dtype.type(-1) + np.finfo(dtype).epsneg
    u = between(key, as_shape("laplace", shape), dtype, above_minus_one, 1.0)
    return fnp.sign(u) * fnp.log1p(-fnp.abs(u))


def logistic(key: Any, shape: Shape = (), dtype: Any = float) -> Any:
    """Draw from the standard logistic distribution, whose distribution function is 1 / (1 + exp(-x)).

    >>> from fgrad import random
    >>> random.logistic(random.key(0), (3,)).shape
    (3,)
    """
    check_key("logistic", key)
    dtype = float_dtype("logistic", dtype)
    u = between(key, as_shape("logistic", shape), dtype, np.finfo(dtype).tiny, 1.0)
    return fnp.log(u) - fnp.log1p(-u)


def cauchy(key: Any, shape: Shape = (), dtype: Any = float) -> Any:
    """Draw from the standard Cauchy distribution, density 1 / (pi (1 + x**2)).

    >>> from fgrad import random
    >>> random.cauchy(random.key(0), (3,)).shape
    (3,)
    """
    check_key("cauchy", key)
    dtype = float_dtype("cauchy", dtype)
    u = between(key, as_shape("cauchy", shape), dtype, np.finfo(dtype).eps, 1.0)
    return fnp.tan(dtype.type(np.pi) * (u - dtype.type(0.5)))


def pareto(key: Any, b: Any, shape: Shape | None = None, dtype: Any = float) -> Any:
    """Draw from the Pareto distribution, density b / x**(b + 1) for x >= 1.

    The exponent `b` > 0 broadcasts to `shape`, by default its own.

    >>> import numpy as np
    >>> from fgrad import random
    >>> bool(np.all(random.pareto(random.key(0), 3.0, (100,)) >= 1))
    True
    """
    check_key("pareto", key)
    dtype, shape = float_dtype("pareto", dtype), full_shape("pareto", shape, fnp.shape(b))
    return fnp.exp(_exponential(key, shape, dtype) / lax.convert_element_type(b, dtype))


def rayleigh(key: Any, scale: Any, shape: Shape | None = None, dtype: Any = float) -> Any:
    """Draw from the Rayleigh distribution, density x / scale**2 exp(-x**2 / (2 scale**2)) for x >= 0.

    `scale` > 0 broadcasts to `shape`, by default its own.

    >>> import numpy as np
    >>> from fgrad import random
    >>> bool(np.all(random.rayleigh(random.key(0), 2.0, (100,)) >= 0))
    True
    """
    check_key("rayleigh", key)
    dtype, shape = float_dtype("rayleigh", dtype), full_shape("rayleigh", shape, fnp.shape(scale))
    u = between(key, shape, dtype, np.finfo(dtype).tiny, 1.0)
    return fnp.sqrt(-2 * fnp.log(u)) * lax.convert_element_type(scale, dtype)


def weibull_min(key: Any, scale: Any, concentration: Any, shape: Shape = (), dtype: Any = float) -> Any:
    """Draw from the Weibull distribution, whose survival function is exp(-(x / scale)**concentration) for x >= 0.

    `scale` > 0 and `concentration` > 0 broadcast to `shape`.

    >>> import numpy as np
    >>> from fgrad import random
    >>> bool(np.all(random.weibull_min(random.key(0), 2.0, 1.5, (100,)) >= 0))
    True
    """
    check_key("weibull_min", key)
    dtype = float_dtype("weibull_min", dtype)
    shape = full_shape("weibull_min", as_shape("weibull_min", shape), fnp.shape(scale), fnp.shape(concentration))
    exponent = 1 / lax.convert_element_type(concentration, dtype)
    return fnp.power(_exponential(key, shape, dtype), exponent) * lax.convert_element_type(scale, dtype)


def lognormal(key: Any, sigma: Any = 1.0, shape: Shape | None = None, dtype: Any = float) -> Any:
    """Draw exp(sigma z) for standard normal z.

    `sigma` broadcasts to `shape`, by default its own.

    >>> import numpy as np
    >>> from fgrad import random
    >>> bool(np.all(random.lognormal(random.key(0), 0.5, (100,)) > 0))
    True
    """
    check_key("lognormal", key)
    dtype, shape = float_dtype("lognormal", dtype), full_shape("lognormal", shape, fnp.shape(sigma))
    return fnp.exp(_normal(key, shape, dtype) * lax.convert_element_type(sigma, dtype))


def maxwell(key: Any, shape: Shape = (), dtype: Any = float) -> Any:
    """Draw the length of a vector of three standard normal components: density sqrt(2 / pi) x**2 exp(-x**2 / 2).

    >>> from fgrad import random
    >>> random.maxwell(random.key(0), (3,)).shape
    (3,)
    """
    check_key("maxwell", key)
    components = _normal(key, (*as_shape("maxwell", shape), 3), float_dtype("maxwell", dtype))
    return fnp.sqrt(fnp.sum(components * components, axis=-1))


def triangular(key: Any, left: Any, mode: Any, right: Any, shape: Shape | None = None, dtype: Any = float) -> Any:
    """Draw from the triangular distribution on [left, right] whose density peaks at `mode`.

    The three broadcast to `shape`, by default to each other; left <= mode <= right and left < right.

    >>> import numpy as np
    >>> from fgrad import random
    >>> x = random.triangular(random.key(0), 0.0, 1.0, 4.0, (100,))
    >>> bool(np.all((x >= 0) & (x <= 4)))
    True
    """
    check_key("triangular", key)
    dtype = float_dtype("triangular", dtype)
    shape = full_shape("triangular", shape, fnp.shape(left), fnp.shape(mode), fnp.shape(right))
    left, mode, right = (lax.convert_element_type(x, dtype) for x in (left, mode, right))
    u = unit(key, shape, dtype)
    rising = left + fnp.sqrt(u * (right - left) * (mode - left))
    falling = right - fnp.sqrt((1 - u) * (right - left) * (right - mode))
    return fnp.where(u * (right - left) < mode - left, rising, falling)
