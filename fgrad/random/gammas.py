"""The gamma distribution and those built on it, differentiable in their parameters."""

from typing import Any

import fgrad.numpy as fnp
from fgrad import lax
from fgrad.core.primitive import registry
from fgrad.random.checks import Shape, check_key, float_dtype, full_shape
from fgrad.random.continuous import exponential, normal
from fgrad.random.discrete import rademacher
from fgrad.random.keys import split


def _gamma_draw(key: Any, a: Any, log_space: bool) -> Any:
    return registry.random_gamma(key, a, log_space=log_space)


def gamma(key: Any, a: Any, shape: Shape | None = None, dtype: Any = float) -> Any:
    """Draw from the gamma distribution of shape parameter `a` and scale 1: density x**(a - 1) exp(-x) / Gamma(a).

    `a` > 0 broadcasts to `shape`, by default its own. For a below about 0.01 many draws underflow to 0: use
    `loggamma`. The derivative with respect to `a` is that of the quantile: implicit reparameterisation, M. Figurnov,
    S. Mohamed, A. Mnih, NeurIPS 2018.

    >>> import numpy as np
    >>> from fgrad import random
    >>> random.gamma(random.key(0), np.array([0.5, 3.0]), (4, 2)).shape
    (4, 2)
    """
    return _checked_gamma("gamma", key, a, shape, dtype, log_space=False)


def loggamma(key: Any, a: Any, shape: Shape | None = None, dtype: Any = float) -> Any:
    """Draw the logarithm of a gamma variable of shape parameter `a`, accurately for small `a` too.

    `a` > 0 broadcasts to `shape`, by default its own. The same key gives the logarithm of what `gamma` gives, up to
    rounding. Differentiable in `a` as `gamma` is.

    >>> import numpy as np
    >>> from fgrad import random
    >>> bool(np.isfinite(random.loggamma(random.key(0), 1e-4)))
    True
    """
    return _checked_gamma("loggamma", key, a, shape, dtype, log_space=True)


def _checked_gamma(name: str, key: Any, a: Any, shape: Shape | None, dtype: Any, log_space: bool) -> Any:
    check_key(name, key)
    dtype, shape = float_dtype(name, dtype), full_shape(name, shape, fnp.shape(a))
    a = lax.convert_element_type(a, dtype)
    return _gamma_draw(key, fnp.broadcast_to(a, shape), log_space)


def beta(key: Any, a: Any, b: Any, shape: Shape | None = None, dtype: Any = float) -> Any:
    """Draw from the beta distribution: density proportional to x**(a - 1) (1 - x)**(b - 1) on [0, 1].

    `a` > 0 and `b` > 0 broadcast to `shape`, by default to each other. Drawn as g / (g + h) from two gamma variables.

    >>> import numpy as np
    >>> from fgrad import random
    >>> x = random.beta(random.key(0), 2.0, 3.0, (100,))
    >>> bool(np.all((x >= 0) & (x <= 1)))
    True
    """
    check_key("beta", key)
    dtype, shape = float_dtype("beta", dtype), full_shape("beta", shape, fnp.shape(a), fnp.shape(b))
    keys = split(key)
    log_g, log_h = loggamma(keys[0], a, shape, dtype), loggamma(keys[1], b, shape, dtype)
    larger = lax.stop_gradient(fnp.maximum(log_g, log_h))
    g, h = fnp.exp(log_g - larger), fnp.exp(log_h - larger)
    return g / (g + h)


def dirichlet(key: Any, alpha: Any, shape: Shape | None = None, dtype: Any = float) -> Any:
    """Draw from the Dirichlet distribution: vectors of non-negative entries that sum to 1 along the last axis.

    `alpha` > 0 has shape (..., n); the result has shape (*shape, n), where (...) broadcasts to `shape`, its default.
    Raises ValueError for a scalar `alpha`.

    >>> import numpy as np
    >>> from fgrad import random
    >>> random.dirichlet(random.key(0), np.ones(3), (5,)).sum(-1).round(12)
    array([1., 1., 1., 1., 1.])
    """
    check_key("dirichlet", key)
    dtype, alpha_shape = float_dtype("dirichlet", dtype), tuple(fnp.shape(alpha))
    if not alpha_shape:
        raise ValueError("dirichlet: alpha must have at least one axis, got a scalar")
    shape = full_shape("dirichlet", shape, alpha_shape[:-1])
    logs = loggamma(key, alpha, (*shape, alpha_shape[-1]), dtype)
    weights = fnp.exp(logs - lax.stop_gradient(fnp.max(logs, axis=-1, keepdims=True)))
    return weights / fnp.sum(weights, axis=-1, keepdims=True)


def chisquare(key: Any, df: Any, shape: Shape | None = None, dtype: Any = float) -> Any:
    """Draw from the chi-square distribution of `df` degrees of freedom: twice a gamma variable of parameter df / 2.

    `df` > 0 broadcasts to `shape`, by default its own.

    >>> from fgrad import random
    >>> bool(random.chisquare(random.key(0), 3.0) > 0)
    True
    """
    check_key("chisquare", key)
    dtype, shape = float_dtype("chisquare", dtype), full_shape("chisquare", shape, fnp.shape(df))
    half_df = lax.convert_element_type(df, dtype) / 2
    return 2 * fnp.exp(loggamma(key, half_df, shape, dtype))


def f(key: Any, dfnum: Any, dfden: Any, shape: Shape | None = None, dtype: Any = float) -> Any:
    """Draw from the F distribution: the ratio of two independent chi-square variables, each over its degrees.

    `dfnum` > 0 and `dfden` > 0, the degrees of freedom, broadcast to `shape`, by default to each other.

    >>> from fgrad import random
    >>> bool(random.f(random.key(0), 3.0, 4.0) > 0)
    True
    """
    check_key("f", key)
    dtype, shape = float_dtype("f", dtype), full_shape("f", shape, fnp.shape(dfnum), fnp.shape(dfden))
    dfnum, dfden = (lax.convert_element_type(x, dtype) for x in (dfnum, dfden))
    keys = split(key)
    numerator = chisquare(keys[1], dfnum, shape, dtype) / dfnum
    return numerator / (chisquare(keys[0], dfden, shape, dtype) / dfden)


def t(key: Any, df: Any, shape: Shape | None = None, dtype: Any = float) -> Any:
    """Draw from Student's t distribution of `df` degrees of freedom.

    `df` > 0 broadcasts to `shape`, by default its own.

    >>> from fgrad import random
    >>> random.t(random.key(0), 4.0, (3,)).shape
    (3,)
    """
    check_key("t", key)
    dtype, shape = float_dtype("t", dtype), full_shape("t", shape, fnp.shape(df))
    half_df = lax.convert_element_type(df, dtype) / 2
    keys = split(key)
    return normal(keys[0], shape, dtype) * fnp.sqrt(half_df / gamma(keys[1], half_df, shape, dtype))


def generalized_normal(key: Any, p: Any, shape: Shape = (), dtype: Any = float) -> Any:
    """Draw from the generalized normal distribution: density proportional to exp(-|x|**p).

    `p` > 0 broadcasts to `shape`.

    >>> from fgrad import random
    >>> random.generalized_normal(random.key(0), 1.5, (3,)).shape
    (3,)
    """
    check_key("generalized_normal", key)
    dtype, shape = float_dtype("generalized_normal", dtype), full_shape("generalized_normal", shape, fnp.shape(p))
    exponent = 1 / lax.convert_element_type(p, dtype)
    keys = split(key)
    return rademacher(keys[1], shape, dtype) * gamma(keys[0], exponent, shape, dtype) ** exponent


def ball(key: Any, d: int, p: Any = 2, shape: Shape = (), dtype: Any = float) -> Any:
    """Draw points uniform in the unit ball of the p-norm in `d` dimensions, along a last axis of length `d`.

    Source: F. Barthe, O. Guedon, S. Mendelson, A. Naor, "A probabilistic approach to the geometry of the l_p^n-ball",
    Annals of Probability 33 (2005).

    >>> import numpy as np
    >>> from fgrad import random
    >>> bool(np.all(np.linalg.norm(random.ball(random.key(0), 3, shape=(100,)), axis=-1) <= 1))
    True
    """
    check_key("ball", key)
    dtype, shape = float_dtype("ball", dtype), full_shape("ball", shape)
    p = lax.convert_element_type(p, dtype)
    keys = split(key)
    g = generalized_normal(keys[0], p, (*shape, d), dtype)
    total = fnp.sum(fnp.abs(g) ** p, axis=-1) + exponential(keys[1], shape, dtype)
    return g / fnp.reshape(total ** (1 / p), (*shape, 1))
