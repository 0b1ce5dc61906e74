"""erf and its relatives."""

from __future__ import annotations

from .exponentials import expm1_reduced, reduce, scale
from .terms import Term, at_most, copysign, fma, polynomial, where

# erf(x)/x − 1 as a polynomial in x² for |x| <= 1.15 and |x| <= 1; relative to erf(x) below 2^-26 and 2^-56
_ERF_SMALL = {
    "f32": (0.12837915, -0.37612543, 0.11282787, -0.026824754, 0.00513942, -0.0007624836, 6.701751e-05),
    "f64": (
        0.12837916709551256, -0.3761263890318337, 0.1128379167093876, -0.026866170642303868, 0.005223977599799362,
        -0.0008548325636811581, 0.00012055285064615355, -1.492455236823057e-05, 1.6445194643513725e-06,
        -1.6191715418145863e-07, 1.3648713335491246e-08, -7.664673360935829e-10,
    ),
}  # fmt: skip

_ERF_BOUNDS = {"f32": 1.15, "f64": 1.0}

# From this bound on, erf(x) rounds to 1.
_ERF_ENDS = {"f32": 4.0, "f64": 5.93}

# The fourth root of erfc(x) as a polynomial in x − 2.25 from 1.15 to the end; its fourth power below 2^-27
_ERFC_ROOT_SINGLE = (
    0.1955645, -0.23872928, 0.10001358, -0.0041534835, -0.009734768, 0.0023674746, 0.00040099135, -0.00018314397,
)  # fmt: skip

# log(erfc(x)) as a polynomial in x from 1 to the end; for erf(x) below 2^-57
_LOG_ERFC_DOUBLE = (
    -5.149380439016882e-07, -1.128373975697268, -0.6366441252572655, -0.10270210037507227, 0.018987689118967244,
    0.0004140179510501929, -0.0019194432939658775, 0.0007734413163068537, -0.00013680385227264619,
    -1.940050511440188e-05, 2.2485289630707437e-05, -8.564285910102454e-06, 2.1113839780508206e-06,
    -3.689558550748587e-07, 4.585366298202809e-08, -3.882860174637146e-09, 2.01638571486762e-10,
    -4.854960492318267e-12,
)  # fmt: skip

# From this bound on, erfc(x) is e^-x² R(t)/(x + ½) with t = (x − shift)/(x + shift); from the last one on it is zero.
# The shift is one of those for which the first coefficient of R needs hardly any rounding.
_ERFC_BOUNDS = {"f32": (0.75, 10.1), "f64": (0.75, 27.3)}
_ERFC_SHIFT = {"f32": 3.2265625, "f64": 3.3203125}

# R: e^x² erfc(x) (x + ½); relative below 2^-29 and 2^-55
_ERFC_LARGE = {
    "f32": (
        0.6240082, -0.06920317, -0.01459933, 0.057513688, -0.059588667, 0.039599936, -0.017898971, 0.004712981,
        0.00012369154, -0.0005784393,
    ),
    "f64": (
        0.6230143753982196, -0.06957231843650094, -0.011199454557506764, 0.0544817077884982, -0.059095582176502674,
        0.04137008935571576, -0.020234699922814948, 0.006289669183520134, -0.0005688691438933618,
        -0.0004905892744207613, 0.00020553663907484622, 1.4582172008561656e-05, -3.021379536860332e-05,
        2.1735704098076764e-06, 4.267160589009887e-06, -6.131346935691204e-07, -6.610381880355224e-07,
        1.0079335507034266e-07, 1.0507928844125813e-07, -1.0263351880965355e-08, -1.1878063958095935e-08,
    ),
}  # fmt: skip


def erf(x: Term) -> Term:
    """x + x P(x²) first; then, 1 − erfc(x): the fourth power of a polynomial in float32, e to one in float64."""
    a = abs(x)
    bounded = at_most(a, _ERF_ENDS[x.type])
    if x.type == "f32":
        root = polynomial(bounded - 2.25, _ERFC_ROOT_SINGLE)
        square = root * root
        large = fma(-square, square, 1.0)
    else:
        r, exponent = reduce(polynomial(bounded, _LOG_ERFC_DOUBLE), x.format.bias)
        large = fma(-1.0 - expm1_reduced(r), exponent.bits(x.type), 1.0)
    small = fma(x, polynomial(x * x, _ERF_SMALL[x.type]), x)
    return where(a < _ERF_BOUNDS[x.type], small, copysign(large, x))


def erfc(x: Term) -> Term:
    """What x², 1/(x + ½) and the product R(t)/(x + ½) lack through rounding is added at the end."""
    low, high = _ERFC_BOUNDS[x.type]
    shift = _ERFC_SHIFT[x.type]
    a = at_most(abs(x), high)
    beside, above = a + shift, a + 0.5
    inverse = 1.0 / (beside * above)
    t = (a - shift) * above * inverse
    u = beside * inverse
    u_error = fma(-u, above, 1.0) - u * (0.5 - (above - a))
    square = a * a
    r, exponent = reduce(-square, 2 * x.format.bias)
    e = expm1_reduced(r)
    first, *others = _ERFC_LARGE[x.type]
    slope = polynomial(t, others)
    p = fma(t, slope, first)
    g = u * p
    g_error = fma(u, p, -g) + u * fma(t, slope, first - p)
    correction = u_error - fma(a, a, -square)
    tail = scale(fma(g, fma(e, correction, correction) + e, g_error) + g, exponent)
    large = where(x < 0.0, 2.0 - tail, tail)
    rest = 1.0 - x
    small = fma(-x, polynomial(x * x, _ERF_SMALL[x.type]), (1.0 - rest) - x) + rest
    return where(a < low, small, large)
