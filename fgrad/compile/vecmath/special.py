"""erf and its relatives."""

from __future__ import annotations

from .exponentials import expm1_reduced, reduce, scale
from .terms import Term, at_most, copysign, fma, horner, where

# Up to this bound erf(x) is x + x P(x²), above 1 − e^Q(x); from the second one on it is 1.
_ERF_BOUNDS = {"f32": (0.85, 3.93), "f64": (1.0, 5.93)}

# P: erf(x)/x − 1; relative to erf below 2^-27 and 2^-56
_ERF_SMALL = {
    "f32": (0.12837917, -0.37612587, 0.112828314, -0.02680604, 0.0050558094, -0.00063383975),
    "f64": (
        0.12837916709551256, -0.3761263890318337, 0.1128379167093876, -0.026866170642303868, 0.005223977599799362,
        -0.0008548325636811581, 0.00012055285064615355, -1.492455236823057e-05, 1.6445194643513725e-06,
        -1.6191715418145863e-07, 1.3648713335491246e-08, -7.664673360935829e-10,
    ),
}  # fmt: skip

# Q: log(erfc(x)); for erf below 2^-28 and 2^-57
_ERF_LARGE = {
    "f32": (-0.00011566482, -1.1280112, -0.63660914, -0.1044412, 0.022475589, -0.0031063154, 0.00020243862),
    "f64": (
        -5.149380439016882e-07, -1.128373975697268, -0.6366441252572655, -0.10270210037507227, 0.018987689118967244,
        0.0004140179510501929, -0.0019194432939658775, 0.0007734413163068537, -0.00013680385227264619,
        -1.940050511440188e-05, 2.2485289630707437e-05, -8.564285910102454e-06, 2.1113839780508206e-06,
        -3.689558550748587e-07, 4.585366298202809e-08, -3.882860174637146e-09, 2.01638571486762e-10,
        -4.854960492318267e-12,
    ),
}  # fmt: skip

# From this bound on, erfc(x) is e^-x² u R(u) with u = 1/(x + shift), up to the last one, from which on it is zero.
_ERFC_BOUNDS = {"f32": (0.477, 10.1), "f64": (0.477, 27.3)}
_ERFC_SHIFT = {"f32": 2.0, "f64": 3.0}

# R; relative below 2^-28 and 2^-55
_ERFC_LARGE = {
    "f32": (
        0.56417155, 1.1293466, 1.9524759, 3.105053, 0.4637579, 10.38347, -36.865795, 20.244976, 29.58319, -28.829613,
    ),
    "f64": (
        0.5641895835643266, 1.6925687471094153, 4.795611806254587, 12.69424494193619, 30.890225749983642,
        67.25446029161591, 125.17854820736028, 162.2912326668723, 210.69434372059266, -1831.005681773543,
        9741.757701146144, -76257.1120821449, 354935.7691255525, -1182598.6343624669, 2342956.319978092,
        1271893.235819718, -23720056.54128781, 71796476.48370312, -112477430.41437411, 94855567.65321316,
        -34349949.19078532,
    ),
}  # fmt: skip

# d log(u R)/d log(u), roughly: what a rounding error of u does
_ERFC_SLOPE = {"f32": (1.0, 2.5, 0.5), "f64": (1.0, 2.6, 14.4)}


def erf_small(x: Term) -> Term:
    """erf(x) up to the first bound."""
    return fma(x, horner(x * x, _ERF_SMALL[x.type]), x)


def erf(x: Term) -> Term:
    low, high = _ERF_BOUNDS[x.type]
    a = abs(x)
    r, exponent = reduce(horner(at_most(a, high), _ERF_LARGE[x.type]), x.format.bias)
    large = fma(-1.0 - expm1_reduced(r), exponent.bits(x.type), 1.0)
    return copysign(where(a < low, erf_small(a), large), x)


def erfc(x: Term) -> Term:
    """The errors of x² and u are known; they are made good in the exponent."""
    low, high = _ERFC_BOUNDS[x.type]
    shift = _ERFC_SHIFT[x.type]
    a = at_most(abs(x), high)
    square = a * a
    divisor = a + shift
    u = 1.0 / divisor
    u_error = fma(-u, divisor, 1.0) - u * (a - (divisor - shift))
    r, exponent = reduce(-square, 2 * x.format.bias)
    r = r + fma(u_error, horner(u, _ERFC_SLOPE[x.type]), -fma(a, a, -square))
    # g + g_error = u R(u)
    first, *others = _ERFC_LARGE[x.type]
    slope = horner(u, others)
    rational = fma(u, slope, first)
    g = u * rational
    g_error = fma(u, rational, -g) + u * fma(u, slope, first - rational)
    tail = scale(fma(g, expm1_reduced(r), g_error) + g, exponent)
    large = where(x < 0.0, 2.0 - tail, tail)
    small = fma(-x, horner(x * x, _ERF_SMALL[x.type]), 1.0 - x)
    return where(a < low, small, large)
