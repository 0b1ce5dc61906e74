"""Distributions of `scipy.stats` as modules of functions.

>>> from fgrad.scipy import stats
>>> stats.norm.cdf(0.0)
np.float64(0.5)
"""

from . import norm

__all__ = ["norm"]
