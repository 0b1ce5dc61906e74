"""Rejection samplers on NumPy arrays, and the derivative of a gamma draw.

Each element of a draw has its own stream: its position among the elements that share its key, encrypted under that
key, is the key of the stream. So an element does not depend on how many attempts its neighbours need, and a draw for
an array of keys equals a loop over the keys.
"""

import math
from collections.abc import Callable

import numpy as np

from fgrad.primitives.threefry import threefry2x32

_Words = tuple[np.ndarray, np.ndarray]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(48)
_CUTOFF = 40.0  # exp(-40) is below double precision relative to 1


def _element_streams(key: np.ndarray, shape: tuple[int, ...]) -> _Words:
    """Return the stream keys of `shape`, flat; the leading axes of `shape` are those of the array of keys."""
    batch = key.shape[:-1]
    count = math.prod(shape[len(batch) :])
    position = np.arange(count, dtype=np.uint64)
    high, low = (position >> np.uint64(32)).astype(np.uint32), position.astype(np.uint32)
    words = threefry2x32(key[..., :1], key[..., 1:], high, low)
    return words[0].reshape(-1), words[1].reshape(-1)


def _split(stream: _Words, number: int) -> _Words:
    """Return key `number` of those that a stream splits into."""
    return threefry2x32(*stream, np.uint32(0), np.uint32(number))


def _uniform(stream: _Words, dtype: np.dtype) -> np.ndarray:
    """Draw one number of [0, 1) from each stream, with the resolution of float64, or of float32 for less."""
    word0, word1 = _split(stream, 0)
    if dtype == np.float64:
        return ((word0.astype(np.uint64) << np.uint64(32) | word1) >> np.uint64(12)) * 2.0**-52
    return ((word0 ^ word1) >> np.uint32(9)).astype(np.float32) * np.float32(2.0**-23)


def _normal(stream: _Words, dtype: np.dtype) -> np.ndarray:
    from scipy.special import erfinv

    u = _uniform(stream, dtype)
    kind = u.dtype.type
    return np.sqrt(2.0) * erfinv((u * kind(2) + np.nextafter(kind(-1), kind(0))).astype(np.float64))


def _take(stream: _Words, which: np.ndarray) -> _Words:
    return stream[0][which], stream[1][which]


def gamma(key: np.ndarray, a: np.ndarray, *, log_space: bool) -> np.ndarray:
    """Draw gamma variables of shape parameters `a`, or their logarithms; NaN where `a` is negative or NaN.

    `key` is a uint32 array of shape (*batch, 2), `a` one of floats of shape (*batch, ...). Source: G. Marsaglia,
    W. W. Tsang, "A simple method for generating gamma variables", ACM TOMS 26 (2000); a below 1 is boosted by
    Gamma(a) = Gamma(a + 1) U**(1 / a). Streams are split as JAX splits them, so the numbers agree up to rounding.

    >>> import numpy as np
    >>> gamma(np.zeros(2, np.uint32), np.array([0.5, 3.0]), log_space=False).shape
    (2,)
    """
    dtype, shape = a.dtype, a.shape
    alpha = a.astype(np.float64).reshape(-1)
    valid = alpha >= 0
    alpha = np.where(valid, alpha, 1.0)
    boosted = np.where(alpha >= 1, alpha, alpha + 1)
    streams = _element_streams(key, shape)

    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        cube = _marsaglia_tsang(_split(streams, 0), boosted, dtype)
        d = boosted - 1 / 3
        u = _uniform(_split(streams, 1), dtype).astype(np.float64)
        if log_space:
            boost = np.where((alpha >= 1) | (u == 0), 0.0, np.log1p(-u) / alpha)
            result = np.log(d) + np.log(cube) + boost
        else:
            result = d * cube * np.where(alpha >= 1, 1.0, (1 - u) ** (1 / alpha))
        return np.where(valid, result, np.nan).astype(dtype).reshape(shape)


def _marsaglia_tsang(streams: _Words, alpha: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return gamma variables of parameters alpha >= 1, divided by alpha - 1/3."""
    cubes = np.empty_like(alpha)
    active = np.arange(alpha.size)
    while active.size:
        d = alpha[active] - 1 / 3
        x, v = _positive_root(_split(streams, 1), 1 / np.sqrt(9 * d), dtype)
        u = _uniform(_split(streams, 2), dtype).astype(np.float64)
        square, cube = x * x, v * v * v
        rejected = (u >= 1 - 0.0331 * square * square) & (np.log(u) >= square / 2 + d * (1 - cube + np.log(cube)))
        cubes[active[~rejected]] = cube[~rejected]
        active = active[rejected]
        streams = _split(_take(streams, rejected), 0)
    return cubes


def _positive_root(streams: _Words, c: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Draw normal x until v = 1 + c x is positive."""
    xs, vs = np.empty_like(c), np.empty_like(c)
    active = np.arange(c.size)
    while active.size:
        x = _normal(_split(streams, 1), dtype)
        v = 1 + c[active] * x
        xs[active], vs[active] = x, v
        negative = v <= 0
        active = active[negative]
        streams = _split(_take(streams, negative), 0)
    return xs, vs


def gamma_derivative(a: np.ndarray, sample: np.ndarray, *, log_space: bool) -> np.ndarray:
    """Return the derivative of a gamma draw, or of its logarithm, with respect to its parameter `a`.

    It is that of the quantile function at a fixed probability, -(dP/da) / (dP/dx) for the regularised incomplete
    gamma function P(a, x): M. Figurnov, S. Mohamed, A. Mnih, "Implicit reparameterization gradients", NeurIPS 2018.
    `sample` is what `gamma` gave, of the shape and dtype of `a`. The relative error in float64 is about 1e-12 for a
    up to 1e6, 1e-10 for a up to 1e10.

    >>> import numpy as np
    >>> gamma_derivative(np.array([1.0]), np.array([1.0]), log_space=False).round(6)
    array([1.173563])
    """
    dtype, shape = sample.dtype, sample.shape
    a = a.astype(np.float64).reshape(-1)
    sample = sample.astype(np.float64).reshape(-1)
    with np.errstate(all="ignore"):
        log_x = sample if log_space else np.log(sample)
        x = np.exp(log_x)
        result = np.empty_like(a)
        series = (x < 1) | ((x <= a) & (a < 20))
        below = ~series & (x <= a)
        above = ~(series | below)
        for region, method in ((series, _log_derivative_series), (below, _integral_below), (above, _integral_above)):
            result[region] = method(a[region], log_x[region])
        if not log_space:
            result = np.where(x > 0, result * x, 0.0 * a)
    return result.astype(dtype).reshape(shape)


def _log_derivative_series(a: np.ndarray, log_x: np.ndarray) -> np.ndarray:
    """d log x / da from P(a, x) = x**a exp(-x) / Gamma(a + 1) sum_n x**n / ((a + 1) ... (a + n)), DLMF 8.7.1."""
    from scipy.special import digamma

    x = np.exp(log_x)
    term, total = np.ones_like(a), np.ones_like(a)
    harmonic, slope = np.zeros_like(a), np.zeros_like(a)
    n = 0
    while np.any(term > 1e-17 * total):
        n += 1
        term = term * x / (a + n)
        harmonic = harmonic + 1 / (a + n)
        total = total + term
        slope = slope - term * harmonic
    return -(total * (log_x - digamma(a + 1)) + slope) / a


def _integral_below(a: np.ndarray, log_x: np.ndarray) -> np.ndarray:
    """d log x / da as an integral over densities at x exp(-s), s >= 0, relative to the density at x."""
    x = np.exp(log_x)
    # s**2 / (2 + s) <= s - 1 + exp(-s), so the exponent is below -_CUTOFF from `end` on.
    y = _CUTOFF / a
    end = np.minimum((y + np.sqrt(y * y + 8 * y)) / 2, _CUTOFF / (a - x))
    offset = _log_minus_digamma(a, x)
    return -_integrate(end, lambda s: np.exp(-x * np.expm1(-s) - a * s) * (offset - s))


def _integral_above(a: np.ndarray, log_x: np.ndarray) -> np.ndarray:
    """d log x / da as an integral over densities at x exp(s), s >= 0, relative to the density at x."""
    x = np.exp(log_x)
    # 1 + r + r**2 / 2 <= exp(r), so the exponent is below -_CUTOFF from `end` on.
    y = _CUTOFF / x
    end = np.minimum(np.log1p(y + np.sqrt(2 * y)), _CUTOFF / (x - a))
    offset = _log_minus_digamma(a, x)
    return _integrate(end, lambda s: np.exp(a * s - x * np.expm1(s)) * (offset + s))


def _log_minus_digamma(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    from scipy.special import digamma

    return np.log1p((x - a) / a) + (np.log(a) - digamma(a))


def _integrate(end: np.ndarray, integrand: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    total = np.zeros_like(end)
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        total += weight / 2 * integrand(end * ((node + 1) / 2))
    return total * end


def poisson(key: np.ndarray, lam: np.ndarray, *, dtype: np.dtype) -> np.ndarray:
    """Draw Poisson variables of means `lam`, as integers; -1 where `lam` is negative or NaN.

    `key` is a uint32 array of shape (*batch, 2), `lam` one of floats of shape (*batch, ...). Means below 10: inversion
    by sequential search. Others: W. Hörmann, "The transformed rejection method for generating Poisson random
    variables", Insurance: Mathematics and Economics 12 (1993), algorithm PTRS. Draws beyond `dtype` give its maximum.

    >>> import numpy as np
    >>> poisson(np.zeros(2, np.uint32), np.array([0.0, 1e6]), dtype=np.dtype(int))[0]
    np.int64(0)
    """
    mean = lam.astype(np.float64).reshape(-1)
    streams = _element_streams(key, lam.shape)
    largest = np.iinfo(dtype).max
    result = np.full(mean.shape, -1.0)
    few, many = (mean >= 0) & (mean < 10), (mean >= 10) & (mean < largest)
    result[few] = _poisson_search(_take(streams, few), mean[few])
    with np.errstate(divide="ignore", invalid="ignore"):
        result[many] = _poisson_rejection(_take(streams, many), mean[many])
    beyond = (mean >= largest) | (result >= largest)
    integers = np.where(beyond, 0.0, result).astype(np.int64).astype(dtype)
    return np.where(beyond, dtype.type(largest), integers).reshape(lam.shape)


def _poisson_search(streams: _Words, mean: np.ndarray) -> np.ndarray:
    u = _uniform(streams, np.dtype(float))
    count = np.zeros_like(mean)
    probability = np.exp(-mean)
    cumulative = probability.copy()
    # For a mean below 10 the probability of 64 or more is below 1e-30, less than a uniform number can resolve.
    for k in range(1, 64):
        larger = u >= cumulative
        if not larger.any():
            break
        count += larger
        probability *= mean / k
        cumulative += probability
    return count


def _poisson_rejection(streams: _Words, mean: np.ndarray) -> np.ndarray:
    counts = np.empty_like(mean)
    active = np.arange(mean.size)
    while active.size:
        m = mean[active]
        b = 0.931 + 2.53 * np.sqrt(m)
        a = -0.059 + 0.02483 * b
        u = _uniform(_split(streams, 1), np.dtype(float)) - 0.5
        v = _uniform(_split(streams, 2), np.dtype(float))
        distance = 0.5 - np.abs(u)
        k = np.floor((2 * a / distance + b) * u + m + 0.43)
        inside = (distance >= 0.07) & (v <= 0.9277 - 3.6224 / (b - 2))
        outside = (k < 0) | ((distance < 0.013) & (v > distance))
        hat = np.log(v * (1.1239 + 1.1328 / (b - 3.4)) / (a / (distance * distance) + b))
        accepted = inside | (~outside & (hat <= _poisson_log_mass(np.maximum(k, 0.0), m)))
        counts[active[accepted]] = k[accepted]
        active = active[~accepted]
        streams = _split(_take(streams, ~accepted), 0)
    return counts


def _poisson_log_mass(k: np.ndarray, mean: np.ndarray) -> np.ndarray:
    from scipy.special import gammaln

    direct = k * np.log(mean) - mean - gammaln(k + 1)
    # Stirling's series (DLMF 5.11.1) keeps the large terms of the direct form from cancelling.
    n = np.maximum(k, 20.0)
    correction = (1 / 12 - (1 / 360 - 1 / 1260 / (n * n)) / (n * n)) / n
    stirling = (n - mean) - n * np.log1p((n - mean) / mean) - np.log(2 * np.pi * n) / 2 - correction
    return np.where(k < 20, direct, stirling)
