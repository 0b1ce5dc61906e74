"""The price of a European call by Black and Scholes, and its first derivatives."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import erf, ndtr

from .case import Case


def _market(rng, dtype, n):
    """Spot, strike, years to expiry, interest rate and volatility of n options."""
    bounds = ((50.0, 150.0), (50.0, 150.0), (0.1, 2.0), (0.0, 0.1), (0.1, 0.6))
    return tuple(rng.uniform(low, high, n).astype(dtype) for low, high in bounds)


def _price(xp, erf):
    def cdf(x):
        return 0.5 * (1.0 + erf(x * math.sqrt(0.5)))

    def price(spot, strike, years, rate, volatility):
        spread = volatility * xp.sqrt(years)
        d1 = (xp.log(spot / strike) + (rate + 0.5 * volatility * volatility) * years) / spread
        return spot * cdf(d1) - strike * xp.exp(-rate * years) * cdf(d1 - spread)

    return price


def _call(lib):
    return _price(lib.numpy, lib.lax.erf)


def _greeks(lib):
    price = _price(lib.numpy, lib.lax.erf)
    return lib.grad(lambda *market: lib.numpy.sum(price(*market)), argnums=(0, 1, 2, 3, 4))


def _greeks_numpy(spot, strike, years, rate, volatility):
    """The textbook formulas (Hull, Options, Futures, and Other Derivatives, chapter 19)."""
    root = np.sqrt(years)
    spread = volatility * root
    d1 = (np.log(spot / strike) + (rate + 0.5 * volatility * volatility) * years) / spread
    d2 = d1 - spread
    discount = np.exp(-rate * years)
    delta = ndtr(d1)
    owed = discount * ndtr(d2)
    vega = spot * np.exp(-0.5 * d1 * d1) * (root / math.sqrt(2.0 * math.pi))
    rho = strike * owed * years
    return delta, -owed, 0.5 * vega * volatility / years + rate * strike * owed, rho, vega


def _greeks_torch(torch):
    price = _price(torch, torch.erf)
    return torch.func.grad(lambda *market: torch.sum(price(*market)), argnums=(0, 1, 2, 3, 4))


CASES = [
    Case(
        "Black-Scholes 1M",
        _market,
        _call,
        _price(np, erf),
        lambda torch: _price(torch, torch.erf),
        size=(1_000_000,),
        second=(1_500_000,),
        tiny=(7,),
        autograd=False,
        parallel=True,
    ),
    Case(
        "Black-Scholes greeks 1M",
        _market,
        _greeks,
        _greeks_numpy,
        _greeks_torch,
        size=(1_000_000,),
        second=(1_500_000,),
        tiny=(7,),
        parallel=True,
    ),
]
