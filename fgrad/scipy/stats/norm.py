"""The normal distribution of mean `loc` and standard deviation `scale`: scipy.stats.norm.

All operands are real and broadcast; the result has the dtype of NumPy's arithmetic on them.
"""

from __future__ import annotations

import math
from typing import Any

from ... import numpy as fnp
from .. import special

Array = Any


def _standard(x: Array, loc: Array, scale: Array) -> Array:
    return fnp.divide(fnp.subtract(x, loc), scale)


def logpdf(x: Array, loc: Array = 0.0, scale: Array = 1.0) -> Array:
    """The logarithm of the density.

    >>> from fgrad.scipy import stats
    >>> stats.norm.logpdf(0.0).round(6)
    np.float64(-0.918939)
    """
    z = _standard(x, loc, scale)
    return -0.5 * fnp.square(z) - fnp.log(scale) - 0.5 * math.log(2 * math.pi)


def pdf(x: Array, loc: Array = 0.0, scale: Array = 1.0) -> Array:
    """The density.

    >>> from fgrad.scipy import stats
    >>> stats.norm.pdf(0.0).round(6)
    np.float64(0.398942)
    """
    return fnp.exp(logpdf(x, loc, scale))


def cdf(x: Array, loc: Array = 0.0, scale: Array = 1.0) -> Array:
    """The probability of at most x.

    >>> from fgrad.scipy import stats
    >>> stats.norm.cdf(1.0, loc=1.0)
    np.float64(0.5)
    """
    return special.ndtr(_standard(x, loc, scale))


def logcdf(x: Array, loc: Array = 0.0, scale: Array = 1.0) -> Array:
    """The logarithm of the probability of at most x, accurate far below the mean.

    >>> from fgrad.scipy import stats
    >>> stats.norm.logcdf(-40.0).round(3)
    np.float64(-804.608)
    """
    return special.log_ndtr(_standard(x, loc, scale))


def sf(x: Array, loc: Array = 0.0, scale: Array = 1.0) -> Array:
    """The probability of more than x.

    >>> from fgrad.scipy import stats
    >>> stats.norm.sf(0.0)
    np.float64(0.5)
    """
    return special.ndtr(-_standard(x, loc, scale))


def logsf(x: Array, loc: Array = 0.0, scale: Array = 1.0) -> Array:
    """The logarithm of the probability of more than x, accurate far above the mean.

    >>> from fgrad.scipy import stats
    >>> stats.norm.logsf(40.0).round(3)
    np.float64(-804.608)
    """
    return special.log_ndtr(-_standard(x, loc, scale))


def ppf(q: Array, loc: Array = 0.0, scale: Array = 1.0) -> Array:
    """The x with probability q of at most x.

    >>> from fgrad.scipy import stats
    >>> stats.norm.ppf(0.5, 3.0)
    np.float64(3.0)
    """
    return fnp.add(fnp.multiply(special.ndtri(q), scale), loc)
