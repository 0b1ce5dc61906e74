"""log, its relatives and the inverse hyperbolic functions.

log(x) = k ln 2 + log(1 + f) with x = 2^k (1 + f), 1 + f in [√½, √2).
"""

from __future__ import annotations

import math

from .exponentials import LN2_HIGH, LN2_LOW, exp
from .terms import Term, at_most, copysign, fma, polynomial, sqrt, where

# (log(1 + f) − f + f²/2)/f³ for √½ <= 1 + f < √2; relative to log(1 + f) below 2^-30
_LOG = (0.33333313, -0.25000012, 0.20002073, -0.16667838, 0.14220215, -0.12408618, 0.118868425, -0.11657949, 0.06727922)

# (log(1 + f) − f)/f² for ⅔ <= 1 + f < 4/3; relative to log(1 + f) below 2^-27
_LOG_NEAR = (
    -0.5, 0.33333212, -0.24999824, 0.2001058, -0.16679369, 0.14003459, -0.12198972, 0.13994896, -0.12830329,
)  # fmt: skip

# (log((1 + s)/(1 − s)) − 2s)/s³ as a polynomial in s² for |s| <= (√2 − 1)²; relative to the logarithm below 2^-59
_ATANH = (
    0.666666666666674, 0.39999999999376873, 0.2857142875151188, 0.2222219756896324, 0.1818361982334415,
    0.15312550845983988, 0.14811712466153126,
)  # fmt: skip


# 1/ln 2 and 1/ln 10, and log10(2), in two parts; the first of log10(2) has trailing zeros
LOG2_E = {"f32": (1.442695, 1.925963e-08), "f64": (1.4426950408889634, 2.0355273740931033e-17)}
LOG10_E = {"f32": (0.4342945, -1.010305e-08), "f64": (0.4342944819032518, 1.098319650216765e-17)}
LOG10_2 = {"f32": (0.3010254, 4.605039e-06), "f64": (0.30102999566361177, 3.694239077158931e-13)}


def split(x: Term) -> tuple[Term, Term, Term]:
    """k and f for positive normal x = 2^k (1 + f) with 1 + f in [√½, √2), and 2^-k (−inf for the largest x)."""
    t = x.format
    root = t.pattern(0.5**0.5)
    biased = x.bits(t.signed) + ((t.bias << t.mantissa) - root)
    k = (biased.bits(t.unsigned) >> t.mantissa | t.pattern(2.0**t.mantissa)).bits(x.type) - (2.0**t.mantissa + t.bias)
    inverse = ((2 * t.bias << t.mantissa) - (biased & t.exponent_mask)).bits(x.type)
    return k, ((biased & t.mantissa_mask) + root).bits(x.type) - 1.0, inverse


def split_any(x: Term) -> tuple[Term, Term]:
    """k and f also for subnormal x."""
    up = x.format.mantissa + 1
    small = x < x.format.tiny
    k, f, _ = split(where(small, x * 2.0**up, x))
    return k - where(small, x.like(up), 0.0), f


def log1p_rest(f: Term) -> Term:
    """log(1 + f) − f for √½ <= 1 + f < √2."""
    square = f * f
    half = square * 0.5
    if f.type == "f32":
        return fma(f * square, polynomial(f, _LOG), -half)
    s = f / (f + 2.0)
    z = s * s
    return fma(s, fma(z, polynomial(z, _ATANH), half), -half)


def log_of_parts(k: Term, f: Term, small: Term | None = None) -> Term:
    """k ln 2 + log(1 + f) + small; the sum of the two largest terms is not rounded."""
    high = fma(k, LN2_HIGH[f.type], f)
    rounding = fma(k, LN2_HIGH[f.type], -high) + f
    if small is not None:
        rounding = rounding + small
    return high + (fma(k, LN2_LOW[f.type], log1p_rest(f)) + rounding)


def log_edges(x: Term, y: Term) -> Term:
    """The logarithm y of x, with what it is for 0, negative numbers, inf and NaN."""
    infinity = float("inf")
    y = where(x < infinity, y, x)
    return where(x > 0.0, y, where(x == 0.0, x.like(-infinity), float("nan")))


def log_single(x: Term) -> Term:
    """k ln 2 + (f + f² P(f)) in float32, with 1 + f in [⅔, 4/3) so that little cancels, and ln 2 as one number."""
    t = x.format
    low, up = t.pattern(2.0 / 3.0), t.mantissa + 1
    small = x < t.tiny
    biased = where(small, x * 2.0**up, x).bits(t.signed) - low
    k = (biased >> t.mantissa).cast(x.type) - where(small, x.like(up), 0.0)
    f = ((biased & t.mantissa_mask) + low).bits(x.type) - 1.0
    return fma(k, math.log(2.0), fma(f * f, polynomial(f, _LOG_NEAR), f))


def log(x: Term) -> Term:
    """k ln 2 + log(1 + f)."""
    if x.type == "f32":
        return log_edges(x, log_single(x))
    return log_edges(x, log_of_parts(*split_any(x)))


def other_base(x: Term, e: tuple[float, float], two: tuple[float, float]) -> Term:
    """The logarithm to another base, given the logarithms of e and 2 to this base in two parts."""
    k, f = split_any(x)
    part = f * e[0]
    low = fma(k, two[1], fma(log1p_rest(f), e[0], fma(f, e[1], fma(f, e[0], -part))))
    whole = k * two[0]
    high = whole + part
    return log_edges(x, high + (((whole - high) + part) + low))


def log2(x: Term) -> Term:
    """k + log(1 + f)/ln 2."""
    return other_base(x, LOG2_E[x.type], (1.0, 0.0))


def log10(x: Term) -> Term:
    """k log10(2) + log(1 + f)/ln 10."""
    return other_base(x, LOG10_E[x.type], LOG10_2[x.type])


def log1p_sum(x: Term, low: Term | None = None, more: Term | None = None) -> Term:
    """log(1 + x + low) for x > −1, |low| at most an ULP of x, plus `more` ln 2.

    1 + x = u + c exactly, u = 2^k (1 + f), and c/u is added to log(u). Where k is 0, f is x itself.
    """
    u = x + 1.0
    back = u - x
    c = (1.0 - back) + (x - (u - back))
    k, f, inverse = split(u)
    near = k == 0.0
    f = where(near, x, f)
    scaled = (c if low is None else c + low) * inverse
    c = where(near, x.like(0.0) if low is None else low, where(x < 2.0 ** (x.format.mantissa + 2), scaled, 0.0))
    return log_of_parts(k if more is None else k + more, f, c * fma(f, f - 1.0, 1.0))


def log1p(x: Term) -> Term:
    """log(1 + x), with what 1 + x lacks through rounding."""
    return copysign(log_edges(x + 1.0, log1p_sum(x)), x)


def log_of_sum(a: Term, b: Term, x: Term) -> Term:
    """log(1 + a + b) for a >= 0, b >= 0; log(2x) where x is so large that its square may overflow."""
    beyond = x > _most(x)
    w = a + b
    low = where(beyond, x.like(0.0), where(a < b, (b - w) + a, (a - w) + b))
    return log1p_sum(where(beyond, x, w), low, where(beyond, x.like(1.0), 0.0))


def _most(x: Term) -> float:
    return 2.0 ** (x.format.mantissa + 7)


def asinh(x: Term) -> Term:
    """log(1 + |x| + x²/(1 + √(1 + x²)))."""
    a = abs(x)
    bounded = at_most(a, _most(x))
    b = bounded * bounded / (sqrt(fma(bounded, bounded, 1.0)) + 1.0)
    return copysign(where(a < float("inf"), log_of_sum(bounded, b, a), a), x)


def acosh(x: Term) -> Term:
    """log(1 + t + √(t (2 + t))) with t = x − 1."""
    t = at_most(x, _most(x)) - 1.0
    y = log_of_sum(t, sqrt(fma(t, t, t + t)), x)
    return where(x < float("inf"), where(x < 1.0, float("nan"), y), x)


def atanh(x: Term) -> Term:
    """½ log(1 + w) with w = 2|x|/(1 − |x|), whose rounding errors are known."""
    a = abs(x)
    divisor = 1.0 - a
    inverse = 1.0 / divisor
    w = (a + a) * inverse
    low = (fma(-w, divisor, a + a) - w * ((1.0 - divisor) - a)) * inverse
    y = log1p_sum(w, low) * 0.5
    return copysign(where(a < 1.0, y, where(a == 1.0, x.like(float("inf")), float("nan"))), x)


def logaddexp(x: Term, y: Term) -> Term:
    """max + log(1 + e^-|x − y|)."""
    e = exp(-where(x == y, x.like(0.0), abs(x - y)))
    return where(e <= 1.0, where(x > y, x, y) + log1p_sum(e), x + y)
