"""sin, cos, tan and their inverses.

x = n π/2 + r with |r| <= π/4: three parts of π/2 in fused multiply-adds, of which the first is exact (what is left is a
multiple of the last place of its operands, and small), so r is rounded once, however near x is to a multiple.
"""

from __future__ import annotations

import math

from .terms import Term, copysign, fma, polynomial, sqrt, where

_HALF_PI = (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33)
# Beyond this 2x/π has too few bits behind the point to be rounded to the nearest integer.
_FAR = 2.0**46

# (sin(r) − r)/r³ and (cos(r) − 1 + r²/2)/r⁴ as polynomials in r² for |r| <= π/4; relative below 2^-27 and 2^-57
_SIN = {
    "f32": (-0.16666654, 0.008332108, -0.00019508235),
    "f64": (
        -0.16666666666666627, 0.008333333333321069, -0.00019841269828697438, 2.7557313298103024e-06,
        -2.5050695380457242e-08, 1.5893107100774512e-10,
    ),
}  # fmt: skip
_COS = {
    "f32": (0.041666646, -0.0013887298, 2.4430088e-05),
    "f64": (
        0.041666666666666595, -0.0013888888888873314, 2.480158728897198e-05, -2.755731420554039e-07,
        2.0875703519798508e-09, -1.1358638239311147e-11,
    ),
}  # fmt: skip

# (tan(r) − r)/r³ as a polynomial in r² for |r| <= π/4; relative to tan(r) below 2^-29 and 2^-59
_TAN = {
    "f32": (0.33333352, 0.13332585, 0.054068405, 0.021239804, 0.010943387, -4.516046e-05, 0.004442297),
    "f64": (
        0.333333333333334, 0.133333333333228, 0.0539682539742628, 0.021869488362545084, 0.008863238511789443,
        0.003592094772646449, 0.0014560886774963961, 0.0005886504399466409, 0.00024451146193166527,
        8.161969128095191e-05, 7.074425487749399e-05, -3.0079102564533395e-05, 5.233927922290374e-05,
        -2.6104604684494435e-05, 1.020562349904176e-05,
    ),
}  # fmt: skip

# (asin(x) − x)/x³ as a polynomial in x² for |x| <= ½; relative to asin(x) below 2^-27 and 2^-59
_ASIN = {
    "f32": (0.16666754, 0.07495258, 0.045475237, 0.024154976, 0.042209823),
    "f64": (
        0.16666666666666763, 0.0749999999997007, 0.044642857175365605, 0.03038194266920424, 0.022372216135783548,
        0.017351590385647753, 0.013981090978323982, 0.011396613885240166, 0.010793590140750275, 0.003654385945858496,
        0.02183787385781778, -0.021188906986175468, 0.03275054670200628,
    ),
}  # fmt: skip

# (atan(x) − x)/x³ as a polynomial in x² for |x| <= 1; relative to atan(x) below 2^-28 and 2^-56
_ATAN = {
    "f32": (
        -0.333333, 0.19998533, -0.14264078, 0.10951349, -0.08401041, 0.05791674, -0.031137409, 0.010892995,
        -0.0017888058,
    ),
    "f64": (
        -0.3333333333333307, 0.1999999999995172, -0.14285714282585937, 0.11111111007273752, -0.09090907006543188,
        0.07692279873853679, -0.0666640429766573, 0.05880529047884326, -0.052535233526876356, 0.047223366069272986,
        -0.04219212539050399, 0.036642524225851084, -0.02990473520210264, 0.02198582939033195, -0.013901396730697263,
        0.007197044261194893, -0.002885173646428186, 0.0008314046297701801, -0.00015217737032606493,
        1.3226599606199968e-05,
    ),
}  # fmt: skip

# π/2 in two parts
_RIGHT = {"f32": (1.5707964, -4.371139e-08), "f64": (1.5707963267948966, 6.123233995736766e-17)}


def quarters(x: Term) -> tuple[Term, Term]:
    """r and n (an integer of the size of x, its low two bits count) for x = n π/2 + r; in float64 for both types.

    Beyond 2^46 both are 0; for inf and NaN r is NaN.
    """
    n, r, turns = first_part(x)
    r = fma(n, -_HALF_PI[1], r)
    if x.type == "f64":
        r = fma(n, -_HALF_PI[2], r)
    return r.cast(x.type), turns


def quarters_with_error(x: Term) -> tuple[Term, Term, Term]:
    """r, what it lacks, and n."""
    n, first, turns = first_part(x)
    if x.type == "f32":
        wide = fma(n, -_HALF_PI[1], first)
        r = wide.cast("f32")
        error = (wide - r.cast("f64")).cast("f32")
    else:
        product = n * _HALF_PI[1]
        r = first - product
        error = ((first - r) - product) - fma(n, _HALF_PI[2], fma(n, _HALF_PI[1], -product))
    return r, error, turns


def first_part(x: Term) -> tuple[Term, Term, Term]:
    """n, x − n times the first part of π/2, both in float64, and n as an integer."""
    wide = where(abs(x) < _FAR, x, x - x).cast("f64")
    shifter = wide.format.shifter
    shifted = fma(wide, 2.0 / math.pi, shifter)
    n = shifted - shifter
    return n, fma(n, -_HALF_PI[0], wide), shifted.bits("i64").cast(x.format.signed)


def sin_cos(r: Term) -> tuple[Term, Term]:
    """sin(r) and cos(r) for |r| <= π/4."""
    square = r * r
    sine = fma(r * square, polynomial(square, _SIN[r.type]), r)
    cosine = fma(square, fma(square, polynomial(square, _COS[r.type]), -0.5), 1.0)
    return sine, cosine


def turn(y: Term, n: Term) -> Term:
    """y, with the other sign if bit 1 of n is set."""
    f = y.format
    sign = (n << (8 * f.size - 2)) & f.pattern(-0.0)
    return (sign ^ y.bits(f.signed)).bits(y.type)


def sin(x: Term) -> Term:
    """sin(r) or cos(r), by the parity of n."""
    r, n = quarters(x)
    sine, cosine = sin_cos(r)
    y = turn(where((n & 1) == 0, sine, cosine), n)
    return where(x == 0.0, x, y)


def cos(x: Term) -> Term:
    """cos(r) or sin(r), by the parity of n."""
    r, n = quarters(x)
    sine, cosine = sin_cos(r)
    return turn(where((n & 1) == 0, cosine, sine), n + 1)


def tan(x: Term) -> Term:
    """r + r³ P(r²) or minus its inverse, with the rounding error of r."""
    r, error, n = quarters_with_error(x)
    square = r * r
    t = fma(r * square, polynomial(square, _TAN[x.type]), fma(square, error, error)) + r
    even = (n & 1) == 0
    return where(x == 0.0, x, where(even, t, -1.0) / where(even, x.like(1.0), t))


def asin_parts(a: Term) -> tuple[Term, Term, Term]:
    """Whether a <= ½, t and p with asin(a) = t + tp there, and π/2 − 2(t + tp) elsewhere, for 0 <= a <= 1."""
    low = a <= 0.5
    square = where(low, a * a, fma(a, -0.5, 0.5))
    return low, where(low, a, sqrt(square)), square * polynomial(square, _ASIN[a.type])


def asin(x: Term) -> Term:
    """t + t³ P(t²) for t = |x| up to ½; above, π/2 less twice that for t = √((1 − |x|)/2)."""
    low, t, p = asin_parts(abs(x))
    high, rest = _RIGHT[x.type]
    above = fma(t, -2.0, high)
    rounding = fma(t, -2.0, high - above)
    y = where(low, fma(t, p, t), fma(t * -2.0, p, rest + rounding) + above)
    return copysign(y, x)


def acos(x: Term) -> Term:
    """π/2 − asin(x) for |x| <= ½; 2 asin(√((1 − x)/2)) above, and π minus that of −x below."""
    low, t, p = asin_parts(abs(x))
    high, rest = _RIGHT[x.type]
    middle = high - (x - fma(-copysign(t, x), p, rest))
    twice = t + t
    near = fma(twice, p, twice)
    far = fma(-twice, p, 2.0 * rest) + fma(t, -2.0, 2.0 * high)
    return where(low, middle, where(x > 0.0, near, far))


def atan_unit(t: Term) -> Term:
    """(atan(t) − t)/t for |t| <= 1."""
    square = t * t
    return square * polynomial(square, _ATAN[t.type])


def atan(x: Term) -> Term:
    """For |x| > 1, π/2 − atan(1/|x|)."""
    a = abs(x)
    big = a > 1.0
    t = where(big, 1.0 / a, a)
    p = atan_unit(t)
    high, rest = _RIGHT[x.type]
    return copysign(where(big, high - (fma(t, p, -rest) + t), fma(t, p, t)), x)


def atan2(y: Term, x: Term) -> Term:
    """atan of the smaller by the larger of |x| and |y|, reflected into its octant."""
    a, b = abs(x), abs(y)
    steep = b > a
    small, large = where(steep, a, b), where(steep, b, a)
    t = where(small == large, where(large == 0.0, large, 1.0), small / large)
    p = atan_unit(t)
    high, rest = _RIGHT[x.type]
    left = copysign(x.like(1.0), x) < 0.0
    # multiples of π/2 from which the angle is measured, and the direction
    corner = where(steep, x.like(1.0), where(left, x.like(2.0), 0.0))
    t = where(steep == left, t, -t)
    angle = fma(corner, high, fma(t, p, corner * rest) + t)
    return copysign(angle, y)
