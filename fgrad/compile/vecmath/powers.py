"""pow, cbrt and hypot."""

from __future__ import annotations

from .exponentials import EXP2, scale
from .logarithms import split, split_any
from .terms import Term, at_least, at_most, copysign, fma, horner, rint, sqrt, where

# log2(1 + f)/f for √½ <= 1 + f < √2, relative below 2^-35; 2^r for |r| <= ½, relative below 2^-28: in float64
_LOG2 = (
    1.4426950408688444, -0.72134752086855, 0.4808983613583101, -0.3606736746263127, 0.2885372956759349,
    -0.24045318243804353, 0.206175312854603, -0.18030014336719516, 0.15877003918648222, -0.14316168376172325,
    0.1447516123347563, -0.1428176517318441, 0.07734188716550582,
)  # fmt: skip
_POWER_OF_2 = (
    1.0000000005759906, 0.6931472060219328, 0.2402264678559069, 0.05550328164766038, 0.009618497607521169,
    0.0013400179684192417, 0.00015344083820250656,
)  # fmt: skip

# (log((1 + s)/(1 − s))/2s − 1 − s²/3)/s⁴ as a polynomial in s² for |s| <= (√2 − 1)²; relative to the logarithm 2^-66
_ATANH = (
    0.2000000000000117, 0.14285714285028928, 0.11111111263833243, 0.0909089183296449, 0.07693395316512633,
    0.0662801033116124, 0.06601956935956206,
)  # fmt: skip
_THIRD = (0.3333333333333333, 1.850371707708594e-17)
_TWO_LOG2_E = (2.8853900817779268, 4.0710547481862066e-17)

# m^-⅓ for ½√½ <= m <= 2√2; relative below 2^-8
_INVERSE_CBRT = (2.014958, -2.385578, 2.3037076, -1.2335486, 0.33376744, -0.035582993)


def pow(x: Term, y: Term) -> Term:
    """2^(y log2|x|); in float64 for float32, in two parts for float64."""
    power = power_single if x.type == "f32" else power_double
    p = power(abs(x), y)
    half = y * 0.5
    whole = rint(y) == y
    p = where(whole, where(rint(half) == half, p, copysign(p, x)), where(x < 0.0, where(x < float("-inf"), p, p), p))
    return where(y == 0.0, 1.0, p)


def power_single(a: Term, y: Term) -> Term:
    """a^y for a >= 0, in float64."""
    wide, exponent = a.cast("f64"), y.cast("f64")
    k, f, _ = split(wide)
    w = exponent * logarithm_edges(wide, fma(f, horner(f, _LOG2), k))
    w = where(wide == 1.0, 0.0, w)
    t = w.format
    shifted = at_least(at_most(w, 200.0), -200.0) + (t.shifter + t.bias)
    r = at_least(at_most(w, 200.0), -200.0) - (shifted - (t.shifter + t.bias))
    power = (shifted.bits("u64") << t.mantissa).bits("f64")
    return (horner(r, _POWER_OF_2) * power).cast("f32")
