"""Operations on each element, with their partial derivatives: the table of a calculus book.

In a derivative, y is the result and x (or x, w) the operands. Formulas: NIST Digital Library of Mathematical Functions,
chapters 4 (elementary functions), 5 (gamma) and 7 (error functions).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core.primitive import is_linear
from .family import Elementwise, bilinear, complex_dtype, full, p, real_dtype, type_of, zeros
from .special import special

_REAL = "f"
_NUMBER = "iufc"
_ORDERED = "biuf"


def _mul0(a: Any, b: Any) -> Any:
    """a * b, but 0 where a factor is exactly zero and the other infinite or NaN."""
    with np.errstate(all="ignore"):
        r = np.multiply(a, b)
        if np.isnan(np.sum(r)):
            r = np.where((np.equal(a, 0) | np.equal(b, 0)), np.zeros((), r.dtype), r)[()]
    return r


# ------------------------------------------------------------------------------------------------------ arithmetic

neg = Elementwise("neg", np.negative, d=[-1], takes=_NUMBER, infix="-", pull=lambda ct, x: (p.neg(ct),))
add = Elementwise(
    "add",
    np.add,
    d=[1, 1],
    takes="biufc",
    infix="+",
    pull=lambda ct, x, w: (ct if is_linear(x) else None, ct if is_linear(w) else None),
)
sub = Elementwise(
    "sub", np.subtract, d=[1, -1], takes=_NUMBER, infix="-",
    pull=lambda ct, x, w: (ct if is_linear(x) else None, p.neg(ct) if is_linear(w) else None),
)  # fmt: skip
mul = Elementwise(
    "mul", np.multiply, d=[lambda y, x, w: w, lambda y, x, w: x], takes="biufc", infix="*",
    pull=lambda ct, x, w: bilinear(ct, x, w, p.mul),
)  # fmt: skip
mul0 = Elementwise(
    "mul0", _mul0, d=[lambda y, x, w: w, lambda y, x, w: x], optimistic="*",
    pull=lambda ct, x, w: bilinear(ct, x, w, p.mul0), operands=2, cheap=True,
)  # fmt: skip
div = Elementwise(
    "div", np.true_divide, takes="fc", infix="/", domain=["any", "nonzero"],
    d=[lambda y, x, w: p.reciprocal(w), lambda y, x, w: p.neg(p.mul0(y, p.reciprocal(w)))],
    pull=lambda ct, x, w: (p.div(ct, w), None),
)  # fmt: skip
reciprocal = Elementwise("reciprocal", np.reciprocal, d=[lambda y, x: p.neg(p.mul(y, y))], domain="nonzero")
floor_divide = Elementwise("floor_divide", np.floor_divide, d=[None, None], takes="iuf", domain=["any", "nonzero"])
rem = Elementwise(  # sign of the divisor, as Python's %
    "rem", np.remainder, d=[1, lambda y, x, w: p.neg(p.floor(p.div(x, w)))], takes="iuf", domain=["any", "nonzero"]
)
fmod = Elementwise(  # sign of the dividend, as C's %
    "fmod", np.fmod, d=[1, lambda y, x, w: p.neg(p.trunc(p.div(x, w)))], takes="iuf", domain=["any", "nonzero"]
)
square = Elementwise("square", np.square, d=[lambda y, x: p.mul(x, 2)], takes=_NUMBER, cheap=True)
integer_pow = Elementwise(
    "integer_pow", lambda x, n: np.power(x, n), takes=_NUMBER, operands=1, domain="nonzero",
    params=lambda draw, dtype: {"n": draw.integer(0 if dtype.kind in "iu" else -3, 4)},
    d=[lambda y, x, n: zeros(type_of(x)) if n == 0 else p.mul(p.integer_pow(x, n=n - 1), n)],
)  # fmt: skip
pow = Elementwise(
    "pow", np.power, takes=_NUMBER, domain=["positive", "exponent"],
    d=[
        lambda y, x, w: p.mul0(w, p.pow(x, p.select(p.eq(w, 0), full(1, type_of(w)), p.sub(w, 1)))),
        lambda y, x, w: p.mul0(y, p.log(p.select(p.eq(x, 0), full(1, type_of(x)), x))),
    ],
)  # fmt: skip
sqrt = Elementwise("sqrt", np.sqrt, d=[lambda y, x: p.div(0.5, y)], domain="positive")
rsqrt = Elementwise(
    "rsqrt",
    lambda x: np.true_divide(np.asarray(x).dtype.type(1), np.sqrt(x)),
    d=[lambda y, x: p.div(p.mul(y, -0.5), x)],
    domain="positive",
)
cbrt = Elementwise("cbrt", np.cbrt, takes=_REAL, d=[lambda y, x: p.div(1 / 3, p.square(y))], domain="nonzero")
abs = Elementwise(
    "abs", np.absolute, takes=_NUMBER, gives=real_dtype, domain="nonzero",
    tangent=lambda ts, y, x: (
        p.mul0(p.sign(x), ts[0]) if x.dtype.kind == "f" else p.real(p.mul0(p.conj(p.sign(x)), ts[0]))
    ),
)  # fmt: skip
sign = Elementwise("sign", np.sign, tangent=lambda ts, y, x: _turned(ts[0], y, x), takes=_NUMBER, domain="nonzero")
copysign = Elementwise(
    "copysign", np.copysign, takes=_REAL, d=[lambda y, x, w: p.mul(p.sign(x), p.copysign(full(1, type_of(w)), w)), None]
)


def _turned(t: Any, y: Any, x: Any) -> Any:
    """Tangent of x / |x|: the part of t across x, over |x|; of a real sign there is none."""
    if x.dtype.kind != "c":
        return None
    across = p.mul0(p.reciprocal(p.abs(x)), p.imag(p.mul0(p.conj(y), t)))
    return p.mul0(y, p.complex(zeros(type_of(across)), across))


# -------------------------------------------------------------------------------------- exponentials and logarithms

exp = Elementwise("exp", np.exp, d=[lambda y, x: y])
exp2 = Elementwise("exp2", np.exp2, takes=_REAL, d=[lambda y, x: p.mul(y, math.log(2))])
expm1 = Elementwise("expm1", np.expm1, d=[lambda y, x: p.add(y, 1)])
log = Elementwise("log", np.log, d=[lambda y, x: p.reciprocal(x)], domain="positive")
log2 = Elementwise("log2", np.log2, d=[lambda y, x: p.div(1 / math.log(2), x)], domain="positive")
log10 = Elementwise("log10", np.log10, d=[lambda y, x: p.div(1 / math.log(10), x)], domain="positive")
log1p = Elementwise("log1p", np.log1p, d=[lambda y, x: p.reciprocal(p.add(x, 1))], domain="positive")
logaddexp = Elementwise(
    "logaddexp", np.logaddexp, takes=_REAL,
    d=[lambda y, x, w: p.logistic(p.sub(x, w)), lambda y, x, w: p.logistic(p.sub(w, x))],
)  # fmt: skip
logaddexp2 = Elementwise(
    "logaddexp2", np.logaddexp2, takes=_REAL,
    d=[lambda y, x, w: p.exp2(p.sub(x, y)), lambda y, x, w: p.exp2(p.sub(w, y))],
)  # fmt: skip
logistic = Elementwise(
    "logistic", special("expit"), takes=_REAL, d=[lambda y, x: p.mul(y, p.logistic(p.neg(x)))],
)  # fmt: skip

# ----------------------------------------------------------------------------------- trigonometric and hyperbolic

sin = Elementwise("sin", np.sin, d=[lambda y, x: p.cos(x)])
cos = Elementwise("cos", np.cos, d=[lambda y, x: p.neg(p.sin(x))])
tan = Elementwise("tan", np.tan, d=[lambda y, x: p.add(p.square(y), 1)], domain="unit")
asin = Elementwise("asin", np.arcsin, d=[lambda y, x: p.reciprocal(p.sqrt(p.sub(1, p.square(x))))], domain="unit")
acos = Elementwise(
    "acos", np.arccos, d=[lambda y, x: p.neg(p.reciprocal(p.sqrt(p.sub(1, p.square(x)))))], domain="unit"
)
atan = Elementwise("atan", np.arctan, d=[lambda y, x: p.reciprocal(p.add(p.square(x), 1))], domain="unit")
atan2 = Elementwise(
    "atan2", np.arctan2, takes=_REAL, domain=["nonzero", "nonzero"],
    d=[
        lambda y, x, w: p.div(w, p.add(p.square(x), p.square(w))),
        lambda y, x, w: p.neg(p.div(x, p.add(p.square(x), p.square(w)))),
    ],
)  # fmt: skip
hypot = Elementwise(
    "hypot", np.hypot, takes=_REAL, d=[lambda y, x, w: p.div(x, y), lambda y, x, w: p.div(w, y)], domain="nonzero"
)
sinh = Elementwise("sinh", np.sinh, d=[lambda y, x: p.cosh(x)])
cosh = Elementwise("cosh", np.cosh, d=[lambda y, x: p.sinh(x)])
tanh = Elementwise("tanh", np.tanh, d=[lambda y, x: p.sub(1, p.square(y))])
asinh = Elementwise("asinh", np.arcsinh, d=[lambda y, x: p.rsqrt(p.add(p.square(x), 1))], domain="unit")
acosh = Elementwise(
    "acosh", np.arccosh, d=[lambda y, x: p.mul(p.rsqrt(p.sub(x, 1)), p.rsqrt(p.add(x, 1)))], domain="above one"
)
atanh = Elementwise("atanh", np.arctanh, d=[lambda y, x: p.reciprocal(p.sub(1, p.square(x)))], domain="unit")

# ---------------------------------------------------------------------------------------------- special functions

erf = Elementwise(
    "erf", special("erf"), takes=_REAL, d=[lambda y, x: p.mul(p.exp(p.neg(p.square(x))), 2 / math.sqrt(math.pi))]
)
erfc = Elementwise(
    "erfc", special("erfc"), takes=_REAL, d=[lambda y, x: p.mul(p.exp(p.neg(p.square(x))), -2 / math.sqrt(math.pi))]
)
erf_inv = Elementwise(
    "erf_inv",
    special("erfinv"),
    takes=_REAL,
    d=[lambda y, x: p.mul(p.exp(p.square(y)), math.sqrt(math.pi) / 2)],
    domain="unit",
)
lgamma = Elementwise("lgamma", special("gammaln"), takes=_REAL, d=[lambda y, x: p.digamma(x)], domain="positive")
digamma = Elementwise(
    "digamma", special("digamma"), takes=_REAL, d=[lambda y, x: p.polygamma(x, n=1)], domain="positive"
)
polygamma = Elementwise(
    "polygamma", special("polygamma"), takes=_REAL, operands=1, domain="positive",
    d=[lambda y, x, n: p.polygamma(x, n=n + 1)],
    params=lambda draw, dtype: {"n": draw.integer(0, 3)},
)  # fmt: skip
bessel_i0e = Elementwise(
    "bessel_i0e",
    special("i0e"),
    takes=_REAL,
    d=[lambda y, x: p.sub(p.bessel_i1e(x), p.mul(p.sign(x), y))],
    domain="nonzero",
)


def _bessel_slope(i0e: Any, i1e: Any, x: Any) -> Any:
    """i0e - (sign(x) + 1 / x) i1e, whose limit at 0 is 1/2."""
    here = p.eq(x, 0)
    slope = p.sub(i0e, p.mul(i1e, p.add(p.sign(x), p.reciprocal(p.select(here, full(1, type_of(x)), x)))))
    return p.select(here, full(0.5, type_of(x)), slope)


bessel_i1e = Elementwise(
    "bessel_i1e", special("i1e"), takes=_REAL, domain="nonzero",
    d=[lambda y, x: _bessel_slope(p.bessel_i0e(x), y, x)],
)  # fmt: skip

# ------------------------------------------------------------------------------------------- complex, rounding, casts

real = Elementwise(
    "real", lambda x: np.real(x).copy(), takes="c", gives=real_dtype,
    tangent=lambda ts, y, x: p.real(ts[0]), pull=lambda ct, x: (p.complex(ct, zeros(type_of(ct))),),
)  # fmt: skip
imag = Elementwise(  # <ct, Im t> = Re((-i ct) t): the pairing does not conjugate
    "imag", lambda x: np.imag(x).copy(), takes="c", gives=real_dtype,
    tangent=lambda ts, y, x: p.imag(ts[0]), pull=lambda ct, x: (p.complex(zeros(type_of(ct)), p.neg(ct)),),
)  # fmt: skip
conj = Elementwise(
    "conj", np.conjugate, takes="c", tangent=lambda ts, y, x: p.conj(ts[0]), pull=lambda ct, x: (p.conj(ct),)
)


def _complex(x: Any, w: Any) -> Any:
    out = np.empty(np.broadcast_shapes(np.shape(x), np.shape(w)), complex_dtype(np.asarray(x).dtype))
    out.real, out.imag = x, w
    return out[()]


complex = Elementwise(
    "complex", _complex, takes=_REAL, gives=complex_dtype, operands=2,
    tangent=lambda ts, y, x, w: p.complex(*[zeros(type_of(x)) if t is None else t for t in ts]),
    pull=lambda ct, x, w: (p.real(ct) if is_linear(x) else None, p.neg(p.imag(ct)) if is_linear(w) else None),
)  # fmt: skip

floor = Elementwise("floor", np.floor, d=[None], takes=_REAL)
ceil = Elementwise("ceil", np.ceil, d=[None], takes=_REAL)
trunc = Elementwise("trunc", np.trunc, d=[None], takes=_REAL)
rint = Elementwise("rint", np.rint, d=[None], takes=_REAL)  # ties to even
is_finite = Elementwise("is_finite", np.isfinite, takes="fc", gives=lambda d: np.bool_)
is_nan = Elementwise("is_nan", np.isnan, takes="fc", gives=lambda d: np.bool_)
nextafter = Elementwise("nextafter", np.nextafter, d=[1, None], takes=_REAL)

stop_gradient = Elementwise("stop_gradient", lambda x: np.array(x)[()], d=[None])

# ------------------------------------------------------------------------------------------- comparisons and choices


def _share(y: Any, x: Any, w: Any) -> Any:
    """1 where x is the result alone, 1/2 where both operands are."""
    one, half, none = (full(v, type_of(x)) for v in (1, 0.5, 0))
    return p.select(p.eq(x, y), p.select(p.eq(w, y), half, one), none)


max = Elementwise("max", np.maximum, takes=_ORDERED, d=[_share, lambda y, x, w: _share(y, w, x)])
min = Elementwise("min", np.minimum, takes=_ORDERED, d=[_share, lambda y, x, w: _share(y, w, x)])

_BOOL = {"gives": lambda d: np.bool_}
eq = Elementwise("eq", np.equal, takes="biufc", infix="==", **_BOOL)
ne = Elementwise("ne", np.not_equal, takes="biufc", infix="!=", **_BOOL)
lt = Elementwise("lt", np.less, takes=_ORDERED, infix="<", **_BOOL)
le = Elementwise("le", np.less_equal, takes=_ORDERED, infix="<=", **_BOOL)
gt = Elementwise("gt", np.greater, takes=_ORDERED, infix=">", **_BOOL)
ge = Elementwise("ge", np.greater_equal, takes=_ORDERED, infix=">=", **_BOOL)

# --------------------------------------------------------------------------------------------------- bits and logic

bit_and = Elementwise("bit_and", np.bitwise_and, takes="biu", infix="&")
bit_or = Elementwise("bit_or", np.bitwise_or, takes="biu", infix="|")
bit_xor = Elementwise("bit_xor", np.bitwise_xor, takes="biu", infix="^")
bit_not = Elementwise("bit_not", np.bitwise_not, takes="biu", infix="~")
logical_and = Elementwise("logical_and", np.logical_and, takes="b")


def _shift(op: Any, fill: Any) -> Any:
    """Shifts by the width or more, or by a negative count, are undefined in C: here nothing of `x` is left."""

    def shift(x: Any, n: Any) -> Any:
        x, n = np.asarray(x), np.asarray(n)
        bits = 8 * x.dtype.itemsize
        fits = (n >= 0) & (n < bits)
        return np.where(fits, op(x, np.where(fits, n, 0).astype(x.dtype)), fill(x, bits)).astype(x.dtype)[()]

    return shift


shift_left = Elementwise(
    "shift_left", _shift(np.left_shift, lambda x, bits: x.dtype.type(0)), takes="iu", operands=2, domain="shift"
)
shift_right_arithmetic = Elementwise(
    "shift_right_arithmetic",
    _shift(
        np.right_shift,
        lambda x, bits: np.right_shift(x, x.dtype.type(bits - 1)) if x.dtype.kind == "i" else x.dtype.type(0),
    ),
    takes="iu",
    operands=2,
    domain="shift",
)


def _logical(x: Any, n: Any) -> Any:
    unsigned = np.dtype(f"u{x.dtype.itemsize}")
    return np.right_shift(x.view(unsigned), n.view(unsigned)).view(x.dtype)


shift_right_logical = Elementwise(
    "shift_right_logical", _shift(_logical, lambda x, bits: x.dtype.type(0)), takes="iu", operands=2, domain="shift"
)
population_count = Elementwise(
    "population_count", lambda x: np.bitwise_count(x).astype(x.dtype), takes="iu", operands=1
)
clz = Elementwise("clz", lambda x: _count_leading_zeros(x), takes="iu", operands=1)


def _count_leading_zeros(x: Any) -> Any:
    x = np.asarray(x)
    v, count = x.view(np.dtype(f"u{x.dtype.itemsize}")), np.zeros(x.shape, np.int64)
    for bit in range(8 * x.dtype.itemsize):
        count += (v >> np.uint8(bit)) == 0
    return count.astype(x.dtype)[()]
