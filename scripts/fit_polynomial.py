"""Fit the polynomials of fgrad/compile/vecmath.

    python scripts/fit_polynomial.py exp f64 11        # name, type, number of coefficients

Prints the coefficients, constant first, and the base-2 logarithm of the largest error before and after rounding them.
A fit minimises max |weight · (f − polynomial)| over an interval by Lawson's method: least squares again and again, each
time with more weight where the error was large. Then the coefficients are rounded one by one, lowest first, and after
each the rest are fitted anew.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath
import numpy as np

mp = mpmath.mp.clone()
mp.prec = 300
Real = Any  # a number of mpmath


class Target(NamedTuple):
    """`f` on [low, high]; errors count times `weight`."""

    f: Callable[[Real], Real]
    weight: Callable[[Real], Real]
    low: Real
    high: Real


def odd(function: Callable[[Real], Real], high: Real) -> Target:
    """(f(x) − x)/x³ as a function of z = x², for the relative error of an odd f on [0, high]."""

    def f(z: Real) -> Real:
        x = mp.sqrt(z)
        return (function(x) - x) / (x * z)

    return Target(f, lambda z: z * mp.sqrt(z) / function(mp.sqrt(z)), mp.mpf("1e-10"), mp.mpf(high) ** 2)


def erfcx_target(shift: Real, low: Real, high: Real) -> Target:
    """e^x² erfc(x) (x + ½) as a function of t = (x − shift)/(x + shift)."""

    def f(t: Real) -> Real:
        x = shift * (1 + t) / (1 - t)
        return mp.exp(x * x) * mp.erfc(x) * (x + mp.mpf("0.5"))

    return Target(f, lambda t: 1 / f(t), (low - shift) / (low + shift), (high - shift) / (high + shift))


ROOT, HALF_LN2 = mp.sqrt(2), mp.log(2) / 2
S = ((ROOT - 1) / (ROOT + 1)) ** 2 * mp.mpf("1.005")
QUARTER = mp.pi / 4 * mp.mpf("1.01")

TARGETS: dict[str, Target] = {
    "exp": Target(lambda r: (mp.expm1(r) - r) / r**2, lambda r: r * r / mp.exp(r), -HALF_LN2 * 1.01, HALF_LN2 * 1.01),
    "exp2": Target(lambda r: mp.expm1(r * mp.log(2)) / r, lambda r: abs(r) / 2**r, mp.mpf("-0.5001"), mp.mpf("0.5001")),
    "sinh": odd(mp.sinh, 1),
    "log": Target(
        lambda f: (mp.log1p(f) - f + f * f / 2) / f**3, lambda f: abs(f**3 / mp.log1p(f)), ROOT / 2 - 1, ROOT - 1
    ),
    "log_near": Target(
        lambda f: (mp.log1p(f) - f) / f**2,
        lambda f: abs(f**2 / mp.log1p(f)),
        mp.mpf("-0.33334"),
        mp.mpf("0.33335"),
    ),
    "atanh": Target(lambda z: (2 * mp.atanh(mp.sqrt(z)) / mp.sqrt(z) - 2) / z, lambda z: z, mp.mpf("1e-8"), S),
    "log2": Target(lambda f: mp.log(1 + f, 2) / f, lambda f: f / mp.log(1 + f, 2), ROOT / 2 - 1, ROOT - 1),
    "power": Target(
        lambda z: (mp.atanh(mp.sqrt(z)) / mp.sqrt(z) - 1 - z / 3) / z**2, lambda z: z * z, mp.mpf("1e-8"), S
    ),
    "cbrt": Target(lambda m: 1 / mp.cbrt(m), mp.cbrt, ROOT / 4, 2 * ROOT),
    "sin": odd(mp.sin, QUARTER),
    "cos": Target(
        lambda z: (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z**2,
        lambda z: z * z / mp.cos(mp.sqrt(z)),
        mp.mpf("1e-9"),
        QUARTER**2,
    ),
    "tan": odd(mp.tan, QUARTER),
    "asin": odd(mp.asin, "0.5005"),
    "atan": odd(mp.atan, 1),
    "erf": Target(
        lambda z: mp.erf(mp.sqrt(z)) / mp.sqrt(z) - 1,
        lambda z: mp.sqrt(z) / mp.erf(mp.sqrt(z)),
        mp.mpf("1e-10"),
        mp.mpf(1),
    ),
    "erf_single": Target(
        lambda z: mp.erf(mp.sqrt(z)) / mp.sqrt(z) - 1,
        lambda z: mp.sqrt(z) / mp.erf(mp.sqrt(z)),
        mp.mpf("1e-10"),
        mp.mpf("1.15") ** 2,
    ),
    "erfc_root": Target(
        lambda t: mp.root(mp.erfc(t + 2.25), 4),
        lambda t: 4 * mp.root(mp.erfc(t + 2.25), 4) ** 3,
        mp.mpf("-1.1"),
        mp.mpf("1.75"),
    ),
    "log_erfc_double": Target(lambda x: mp.log(mp.erfc(x)), mp.erfc, mp.mpf(1), mp.mpf("5.93")),
    "erfcx_single": erfcx_target(mp.mpf("3.2265625"), mp.mpf("0.476"), mp.mpf("10.1")),
    "erfcx_double": erfcx_target(mp.mpf("3.3203125"), mp.mpf("0.476"), mp.mpf("27.3")),
}


def lawson(values: np.ndarray, basis: np.ndarray, steps: int) -> tuple[Real, list[Real]]:
    """The coefficients with the least max |values − basis · coefficients| that were met, and that error."""
    weights = np.full(len(values), mp.mpf(1) / len(values), dtype=object)
    best = (mp.inf, [])
    for _ in range(steps):
        scaled = basis * weights[:, None]
        solution = mp.lu_solve(mp.matrix((scaled.T @ basis).tolist()), mp.matrix((scaled.T @ values).tolist()))
        found = list(solution)
        error = abs(values - basis @ np.array(found, dtype=object))
        best = min(best, (max(error), found), key=lambda pair: pair[0])
        weights = weights * (error / max(error) + mp.mpf("1e-6"))
        weights = weights / sum(weights)
    return best


def fit(target: Target, type: str, count: int) -> tuple[list[float], Real, Real]:
    """Rounded coefficients, and the largest error of the best polynomial and of the rounded one."""
    n = 5 * count + 10
    middle, half = (target.low + target.high) / 2, (target.high - target.low) / 2
    nodes = [middle - half * mp.cos(mp.pi * (2 * i + 1) / (2 * n)) for i in range(n)]
    weights = np.array([mp.mpf(target.weight(x)) for x in nodes], dtype=object)
    rest = np.array([target.f(x) for x in nodes], dtype=object) * weights
    basis = np.array([[x**k for k in range(count)] for x in nodes], dtype=object) * weights[:, None]
    best, coefficients = lawson(rest, basis, 25)
    rounded: list[float] = []
    for k in range(count):
        c = float(np.float32(float(coefficients[0])) if type == "f32" else float(coefficients[0]))
        rounded.append(c)
        rest = rest - basis[:, k] * mp.mpf(c)
        coefficients = coefficients[1:]
        if coefficients and (type == "f32" or k < 3):  # later ones hardly feel the rounding of float64
            coefficients = lawson(rest, basis[:, k + 1 :], 12)[1]
    return rounded, best, max(abs(rest))


def main(name: str, type: str, count: str) -> None:
    coefficients, best, rounded = fit(TARGETS[name], type, int(count))
    print(", ".join(str(np.float32(c)) if type == "f32" else repr(c) for c in coefficients))
    print(f"largest error: 2^{float(mp.log(best, 2)):.2f}, rounded 2^{float(mp.log(rounded, 2)):.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
