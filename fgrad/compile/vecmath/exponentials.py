"""exp, its relatives and the hyperbolic functions.

exp(x) = 2^n · e^r with n the integer nearest to x/ln 2 and r = x − n ln 2, which two constants give with one rounding:
the first has trailing zeros, so that n times it is exact (Cody and Waite). e^r is 1 + r + r² P(r).
"""

from __future__ import annotations

import math

from .terms import FORMATS, Term, at_least, at_most, copysign, fma, polynomial, where

LOG2_E = 1.4426950408889634
LN2_HIGH = {"f32": 0.693359375, "f64": 6.93147180369123816490e-01}
LN2_LOW = {"f32": -2.12194440e-4, "f64": 1.90821492927058770002e-10}

# (e^r − 1 − r)/r² for |r| <= ln(2)/2; relative to e^r below 2^-28 and 2^-63
_EXP = {
    "f32": (0.49999994, 0.16666515, 0.041668236, 0.008369385, 0.0013824762),
    "f64": (
        0.5, 0.16666666666666682, 0.041666666666666484, 0.008333333333317617, 0.0013888888888992912,
        0.00019841269895246827, 2.4801587104110755e-05, 2.7557235786983354e-06, 2.75574614136782e-07,
        2.5111768785053037e-08, 2.085774039380349e-09,
    ),
}  # fmt: skip

# (2^r − 1)/r for |r| <= ½; relative to 2^r below 2^-28 and 2^-57
EXP2 = {
    "f32": (0.6931472, 0.24022648, 0.055503596, 0.0096185, 0.0013390977, 0.00015328922),
    "f64": (
        0.6931471805599453, 0.2402265069591011, 0.05550410866482175, 0.009618129107600628, 0.0013333558146536083,
        0.00015403530450145794, 1.5252733645828532e-05, 1.3215438329494417e-06, 1.017815459257687e-07,
        7.073313747616456e-09, 4.4397332404877295e-10,
    ),
}  # fmt: skip

# (sinh(x) − x)/x³ as a polynomial in x² for |x| <= 1; relative to sinh(x) below 2^-31 and 2^-61
_SINH = {
    "f32": (0.16666667, 0.0083333105, 0.00019842894, 2.7822293e-06),
    "f64": (
        0.16666666666666669, 0.008333333333332912, 0.00019841269841593614, 2.755731910660154e-06,
        2.5052131040423103e-08, 1.6056654451743346e-10, 7.77679086044482e-13,
    ),
}  # fmt: skip

# Outside, results overflow or round to zero; for expm1, to −1.
_EXP_RANGE = {"f32": (-104.0, 89.0), "f64": (-746.0, 710.0)}
_EXP2_RANGE = {"f32": (-151.0, 129.0), "f64": (-1076.0, 1025.0)}
_EXPM1_RANGE = {"f32": (-20.0, 89.0), "f64": (-40.0, 710.0)}
_COSH_RANGE = {"f32": 89.5, "f64": 710.5}


def reduce(x: Term, bias: int, rough: bool = False) -> tuple[Term, Term]:
    """r, and n + bias in the exponent field of an unsigned integer, for x = n ln 2 + r.

    rough: with ln 2 as one number, which makes r wrong by n times its rounding error.
    """
    f = x.format
    shifted = fma(x, LOG2_E, f.shifter + bias)
    n = shifted - (f.shifter + bias)
    r = fma(n, -math.log(2.0), x) if rough else fma(n, -LN2_LOW[x.type], fma(n, -LN2_HIGH[x.type], x))
    return r, shifted.bits(f.unsigned) << f.mantissa


def expm1_reduced(r: Term) -> Term:
    """e^r − 1 for |r| <= ln(2)/2, rounded about once."""
    return fma(r * r, polynomial(r, _EXP[r.type]), r)


def exp_reduced(r: Term) -> Term:
    """e^r for |r| <= ln(2)/2."""
    return fma(r, polynomial(r, (1.0, *_EXP[r.type])), 1.0)


def half_expm1(r: Term, exponent: Term) -> Term:
    """(2^n e^r − 1)/2 from what `reduce` gives for the bias less one: half, so that 2^n does not overflow."""
    half = exponent.bits(r.type)
    return fma(half, r * r * polynomial(r, _EXP[r.type]), fma(half, r, half - 0.5))


def factors(exponent: Term, type: str) -> tuple[Term, Term]:
    """Two powers of 2 with the product 2^n, which need not be a normal number; for an exponent with twice the bias."""
    first = (exponent >> 1) & FORMATS[type].exponent_mask
    return first.bits(type), (exponent - first).bits(type)


def scale(y: Term, exponent: Term) -> Term:
    """y · 2^n for an exponent with twice the bias, rounded once."""
    first, second = factors(exponent, y.type)
    return y * first * second


def exp(x: Term) -> Term:
    """2^n e^r."""
    low, high = _EXP_RANGE[x.type]
    r, exponent = reduce(at_least(at_most(x, high), low), 2 * x.format.bias)
    return scale(exp_reduced(r), exponent)


def logistic(x: Term) -> Term:
    """1/(1 + e) or e/(1 + e) with e = e^-|x|, which does not overflow and is not rounded on its own."""
    r, exponent = reduce(at_least(-abs(x), _EXP_RANGE[x.type][0]), 2 * x.format.bias)
    t = expm1_reduced(r)
    first, second = factors(exponent, x.type)
    power = first * second
    divisor = fma(power, t, power + 1.0)
    inverse = 1.0 / divisor
    error = fma(-inverse, divisor, 1.0)
    return where(x < 0.0, fma(inverse, t + error, inverse) * first * second, inverse)


def exp2(x: Term) -> Term:
    """2^n 2^r with n the integer nearest to x; r = x − n is exact."""
    low, high = _EXP2_RANGE[x.type]
    x = at_least(at_most(x, high), low)
    f = x.format
    shifted = x + (f.shifter + 2 * f.bias)
    r = x - (shifted - (f.shifter + 2 * f.bias))
    return scale(fma(r, polynomial(r, EXP2[x.type]), 1.0), shifted.bits(f.unsigned) << f.mantissa)


def expm1(x: Term) -> Term:
    """2^n (e^r − 1) + (2^n − 1); x itself where that is the nearest number."""
    low, high = _EXPM1_RANGE[x.type]
    y = half_expm1(*reduce(at_least(at_most(x, high), low), x.format.bias - 1))
    return where(abs(x) < 2.0 ** -(x.format.mantissa + 2), x, y + y)


def tanh(x: Term) -> Term:
    """y = h/(1 + h) with h = (e^2|x| − 1)/2; while h is small, h − h y, which is the same; from the bound on 1.

    Where n is large, tanh hardly feels an error of r.
    """
    a = abs(x)
    single = x.type == "f32"
    h = half_expm1(*reduce(at_most(a + a, 20.0 if single else 40.0), x.format.bias - 1, rough=single))
    y = h / (h + 1.0)
    return copysign(where(h < 0.5, fma(-h, y, h), y), x)


def quarter_exp(a: Term) -> Term:
    """e^a/4 for a >= 0, at most what makes cosh and sinh overflow."""
    r, exponent = reduce(at_most(a, _COSH_RANGE[a.type]), a.format.bias - 2)
    power = exponent.bits(a.type)
    return fma(power, expm1_reduced(r), power)


def sinh(x: Term) -> Term:
    """x + x³ P(x²) up to 1; above, (e^|x| − e^-|x|)/2."""
    a = abs(x)
    q = quarter_exp(a)
    square = x * x
    small = fma(a * square, polynomial(square, _SINH[x.type]), a)
    return copysign(where(a < 1.0, small, fma(q, 2.0, -0.125 / q)), x)


def cosh(x: Term) -> Term:
    """(e^|x| + e^-|x|)/2."""
    q = quarter_exp(abs(x))
    return fma(q, 2.0, 0.125 / q)
