"""pow, cbrt and hypot."""

from __future__ import annotations

from .exponentials import EXP2, scale
from .logarithms import split, split_any
from .terms import Term, at_least, at_most, copysign, fma, polynomial, rint, sqrt, where

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


# (largest value below which, smallest value above which squares are far from the ends of the range; factors for those)
_HYPOT = {"f32": (2.0**-40, 2.0**90, 2.0**60, 2.0**-66), "f64": (2.0**-450, 2.0**600, 2.0**500, 2.0**-600)}


def pow(x: Term, y: Term) -> Term:
    """2^(y log2|x|), with the sign of x where y is odd; as in C's pow, x^0 and 1^y are 1 even if the other is NaN."""
    power = power_in_double if x.type == "f32" else power_in_parts
    p = power(abs(x), at_least(at_most(y, 2.0**80), -(2.0**80)))
    half = y * 0.5
    whole = rint(y) == y
    p = where(whole & (rint(half) != half), copysign(p, x), p)
    negative = (x < 0.0) & (x > -float("inf"))
    p = where(negative & (rint(y) != y), float("nan"), p)
    return where((y == 0.0) | (x == 1.0), 1.0, p)


def power_in_double(a: Term, y: Term) -> Term:
    """a^y for float32 a >= 0 and finite y, in float64."""
    a, y = a.cast("f64"), y.cast("f64")
    k, f, _ = split(a)
    w = y * _log2_edges(a, fma(f, polynomial(f, _LOG2), k))
    w = at_least(at_most(w, 200.0), -200.0)
    t = w.format
    shifted = w + (t.shifter + t.bias)
    r = w - (shifted - (t.shifter + t.bias))
    return (polynomial(r, _POWER_OF_2) * (shifted.bits("u64") << t.mantissa).bits("f64")).cast("f32")


def power_in_parts(a: Term, y: Term) -> Term:
    """a^y for float64 a >= 0 and finite y; everything up to the exponent is a sum of two numbers."""
    k, f = split_any(a)
    # s = f/(2 + f), z = s²
    divisor = f + 2.0
    inverse = 1.0 / divisor
    s = f * inverse
    s_low = (fma(-s, divisor, f) - s * ((2.0 - divisor) + f)) * inverse
    z = s * s
    z_low = fma(s + s, s_low, fma(s, s, -z))
    # log(1 + f)/2 = s + s z (1/3 + z P(z))
    rest = z * polynomial(z, _ATANH)
    third = rest + _THIRD[0]
    third_low = ((_THIRD[0] - third) + rest) + _THIRD[1]
    v = z * third
    v_low = fma(z, third, -v) + fma(z, third_low, z_low * third)
    cubic = s * v
    cubic_low = fma(s, v, -cubic) + fma(s, v_low, s_low * v)
    half = s + cubic
    half_low = ((s - half) + cubic) + (cubic_low + s_low)
    # log2(a)
    part = half * _TWO_LOG2_E[0]
    part_low = fma(half, _TWO_LOG2_E[0], -part) + fma(half, _TWO_LOG2_E[1], half_low * _TWO_LOG2_E[0])
    log = k + part
    log_low = ((k - log) + part) + part_low
    log = _log2_edges(a, log)
    # the exponent y log2(a) = n + r
    w = y * log
    w_low = where(abs(w) < 4096.0, fma(y, log, -w) + y * log_low, 0.0)
    w = at_least(at_most(w, 1100.0), -1100.0)
    t = w.format
    shifted = w + (t.shifter + 2 * t.bias)
    r = (w - (shifted - (t.shifter + 2 * t.bias))) + w_low
    return scale(fma(r, polynomial(r, EXP2["f64"]), 1.0), shifted.bits("u64") << t.mantissa)


def _log2_edges(a: Term, log: Term) -> Term:
    """log2(a) for 0, inf and NaN too."""
    return where(a == 0.0, -float("inf"), where(a < float("inf"), log, a))


def cbrt(x: Term) -> Term:
    """2^(k/3) m^⅓ with 3 dividing k: from y near m^-⅓, m y² and a Newton step with the exact remainder."""
    a = abs(x)
    k, f = split_any(a)
    third = rint(k * (1.0 / 3.0))
    rest = fma(third, -3.0, k)
    m = (f + 1.0) * where(rest > 0.0, x.like(2.0), where(rest < 0.0, x.like(0.5), 1.0))
    y = polynomial(m, _INVERSE_CBRT)
    for coefficients in ((1 / 3, 2 / 9, 14 / 81), (1 / 3, 2 / 9))[: 1 if x.type == "f32" else 2]:
        h = fma(m * y, -(y * y), 1.0)
        y = fma(y * h, polynomial(h, coefficients), y)
    square = y * y
    c = m * square
    c_square = c * c
    remainder = fma(-c_square, c, m) - fma(c, c, -c_square) * c
    c = fma(remainder, square * (1.0 / 3.0), c)
    t = x.format
    power = ((third + (t.shifter + t.bias)).bits(t.unsigned) << t.mantissa).bits(x.type)
    return where(a < float("inf"), where(a > 0.0, copysign(c * power, x), x), x)


def hypot(x: Term, y: Term) -> Term:
    """√(x² + y²), scaled where squares would overflow or lose bits; inf if either is, even if the other is NaN."""
    a, b = abs(x), abs(y)
    large, small = where(b > a, b, a), where(b > a, a, b)
    low, up, high, down = _HYPOT[x.type]
    factor = where(large < low, x.like(up), where(large > high, x.like(down), 1.0))
    back = where(large < low, x.like(1.0 / up), where(large > high, x.like(1.0 / down), 1.0))
    large, small = large * factor, small * factor
    r = sqrt(fma(large, large, small * small)) * back
    infinity = float("inf")
    return where((a == infinity) | (b == infinity), infinity, r)
