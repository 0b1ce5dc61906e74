"""exp, its relatives and the hyperbolic functions.

exp(x) = 2^n · e^r with n the integer nearest to x/ln 2 and r = x − n ln 2, which two constants give with one rounding:
the first has trailing zeros, so that n times it is exact (Cody and Waite). e^r is 1 + r + r² P(r).
"""

from __future__ import annotations

from .terms import Term, at_least, at_most, copysign, fma, horner, where

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

# (tanh(x) − x)/x³ as a polynomial in x² for |x| <= 0.625; relative to tanh(x) below 2^-27 and 2^-61
_TANH = {
    "f32": (-0.3333328, 0.13331412, -0.053737402, 0.020632116, -0.0056977225),
    "f64": (
        -0.33333333333333315, 0.1333333333332996, -0.05396825396614941, 0.021869488470697727, -0.00886323433872656,
        0.003592114222137966, -0.0014557272077605906, 0.000589456609807962, -0.0002370239633562122,
        9.157826708013184e-05, -3.0205832200583828e-05, 6.050134830618e-06,
    ),
}  # fmt: skip

# Outside, exp(x) overflows, or rounds to zero.
_EXP_RANGE = {"f32": (-104.0, 89.0), "f64": (-746.0, 710.0)}


def reduce(x: Term, bias: int) -> tuple[Term, Term]:
    """r, and n + bias in the exponent field of an unsigned integer, for x = n ln 2 + r."""
    f = x.format
    shifted = fma(x, LOG2_E, f.shifter + bias)
    n = shifted - (f.shifter + bias)
    r = fma(n, -LN2_LOW[x.type], fma(n, -LN2_HIGH[x.type], x))
    return r, shifted.bits(f.unsigned) << f.mantissa


def expm1_reduced(r: Term) -> Term:
    """e^r − 1 for |r| <= ln(2)/2, rounded about once."""
    return fma(r * r, horner(r, _EXP[r.type]), r)


def scale(y: Term, exponent: Term) -> Term:
    """y · 2^n for the result of `reduce` with twice the bias: in two steps, as 2^n alone may not be a normal number."""
    f = y.format
    first = (exponent >> 1) & f.exponent_mask
    return y * first.bits(y.type) * (exponent - first).bits(y.type)


def exp(x: Term) -> Term:
    low, high = _EXP_RANGE[x.type]
    r, exponent = reduce(at_least(at_most(x, high), low), 2 * x.format.bias)
    return scale(expm1_reduced(r) + 1.0, exponent)


def logistic(x: Term) -> Term:
    """1/(1 + e) or e/(1 + e) with e = e^-|x|, which does not overflow; in the latter e^r is not rounded on its own."""
    r, exponent = reduce(at_least(-abs(x), _EXP_RANGE[x.type][0]), 2 * x.format.bias)
    t = expm1_reduced(r)
    inverse = 1.0 / (scale(t + 1.0, exponent) + 1.0)
    return where(x < 0.0, scale(fma(inverse, t, inverse), exponent), inverse)


def tanh(x: Term) -> Term:
    """x + x³ P(x²) up to 0.625; above, 1 − 2/(e^2|x| + 1), which is 1 from the bound on."""
    a = abs(x)
    r, exponent = reduce(at_most(a + a, 20.0 if x.type == "f32" else 40.0), x.format.bias)
    large = 1.0 - 2.0 / fma(expm1_reduced(r) + 1.0, exponent.bits(x.type), 1.0)
    square = x * x
    small = fma(a * square, horner(square, _TANH[x.type]), a)
    return copysign(where(a < 0.625, small, large), x)
