"""log and its relatives.

log(x) = k ln 2 + log(1 + f) with x = 2^k (1 + f), 1 + f in [√½, √2).
"""

from __future__ import annotations

from .exponentials import LN2_HIGH, LN2_LOW
from .terms import Term, fma, horner, where

# (log(1 + f) − f + f²/2)/f³ for √½ <= 1 + f < √2; relative to log(1 + f) below 2^-30
_LOG = (0.33333313, -0.25000012, 0.20002073, -0.16667838, 0.14220215, -0.12408618, 0.118868425, -0.11657949, 0.06727922)

# (log((1 + s)/(1 − s)) − 2s)/s³ as a polynomial in s² for |s| <= (√2 − 1)²; relative to the logarithm below 2^-59
_ATANH = (
    0.666666666666674, 0.39999999999376873, 0.2857142875151188, 0.2222219756896324, 0.1818361982334415,
    0.15312550845983988, 0.14811712466153126,
)  # fmt: skip


def split(x: Term) -> tuple[Term, Term]:
    """k and f for positive x = 2^k (1 + f) with 1 + f in [√½, √2)."""
    t = x.format
    up = t.mantissa + 1
    small = x < t.tiny
    root = t.pattern(0.5**0.5)
    biased = where(small, x * 2.0**up, x).bits(t.signed) + ((t.bias << t.mantissa) - root)
    k = (biased.bits(t.unsigned) >> t.mantissa | t.pattern(2.0**t.mantissa)).bits(x.type)
    k = k - where(small, x.like(2.0**t.mantissa + t.bias + up), 2.0**t.mantissa + t.bias)
    return k, ((biased & t.mantissa_mask) + root).bits(x.type) - 1.0


def log1p_rest(f: Term) -> Term:
    """log(1 + f) − f for √½ <= 1 + f < √2."""
    if f.type == "f32":
        return f * f * fma(f, horner(f, _LOG), -0.5)
    half = f * f * 0.5
    s = f / (f + 2.0)
    z = s * s
    return fma(s, fma(z, horner(z, _ATANH), half), -half)


def log(x: Term) -> Term:
    k, f = split(x)
    high = fma(k, LN2_HIGH[x.type], f)
    rounding = fma(k, LN2_HIGH[x.type], -high) + f
    y = high + (fma(k, LN2_LOW[x.type], log1p_rest(f)) + rounding)
    return log_edges(x, y)


def log_edges(x: Term, y: Term) -> Term:
    """The logarithm y of x, with what it is for 0, negative numbers, inf and NaN."""
    infinity = float("inf")
    y = where(x < infinity, y, x)
    return where(x > 0.0, y, where(x == 0.0, x.like(-infinity), float("nan")))
