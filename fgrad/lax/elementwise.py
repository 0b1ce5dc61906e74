"""Functions of each element. They neither promote nor broadcast, except that scalars take the shape of the others."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core import tree
from ..core.errors import DtypeError, ShapeError, message
from ..core.trace import Tracer
from ..primitives.family import p
from .operands import Array, apply, dtype_of, operands, strict

_TAKES = {
    "c": "complex numbers",
    "f": "floats",
    "fc": "floats or complex numbers",
    "iu": "integers",
    "biu": "integers or booleans",
    "iuf": "real numbers",
    "biuf": "real numbers or booleans",
    "iufc": "numbers",
    "biufc": "numbers or booleans",
}


def _document(f: Any, name: str, meaning: str, takes: str, example: str, returns: str) -> Any:
    operands, errors = f"x is an array of {_TAKES[takes]}", "for other dtypes"
    if f.__code__.co_argcount == 2:
        operands = f"x and y are {_TAKES[takes]} of one dtype and one shape, or one of them a scalar"
        errors = "for other dtypes or two different ones, `ShapeError` for different shapes"
    f.__name__ = f.__qualname__ = name
    f.__doc__ = f"""{meaning}, elementwise.

    {operands}; the result {returns}.
    Raises `DtypeError` {errors}.

    >>> from fgrad import lax
    >>> {example.split(" -> ")[0]}
    {example.split(" -> ")[1]}
    """
    return f


def _unary(
    name: str, meaning: str, example: str, *, primitive: str = "", returns: str = "is of the same type"
) -> Callable[[Array], Array]:
    """The surface of a primitive of one operand."""
    rule = getattr(p, primitive or name)

    def f(x: Array) -> Array:
        return apply(rule, strict(x))

    return _document(f, name, meaning, rule.takes, example, returns)


def _binary(
    name: str, meaning: str, example: str, *, primitive: str = "", returns: str = "is of the same type"
) -> Callable[[Array, Array], Array]:
    """The surface of a primitive of two operands."""
    rule = getattr(p, primitive or name)

    def f(x: Array, y: Array) -> Array:
        return apply(rule, *operands(name, x, y))

    return _document(f, name, meaning, rule.takes, example, returns)


neg = _unary("neg", "-x", "lax.neg(2) -> np.int64(-2)")
sign = _unary("sign", "-1, 0 or 1 by the sign of x; x / |x| for complex x", "lax.sign(-2.5) -> np.float64(-1.0)")
floor = _unary("floor", "The largest integer not above x", "lax.floor(-2.5) -> np.float64(-3.0)")
ceil = _unary("ceil", "The smallest integer not below x", "lax.ceil(2.5) -> np.float64(3.0)")
abs = _unary("abs", "The absolute value of x", "lax.abs(3 + 4j) -> np.float64(5.0)", returns="is real")
exp = _unary("exp", "e to the power x", "lax.exp(0.0) -> np.float64(1.0)")
exp2 = _unary("exp2", "2 to the power x", "lax.exp2(3.0) -> np.float64(8.0)")
expm1 = _unary("expm1", "exp(x) - 1, accurate near 0", "lax.expm1(1e-20) -> np.float64(1e-20)")
log = _unary("log", "The natural logarithm of x", "lax.log(1.0) -> np.float64(0.0)")
log1p = _unary("log1p", "log(1 + x), accurate near 0", "lax.log1p(1e-20) -> np.float64(1e-20)")
sin = _unary("sin", "The sine of x in radians", "lax.sin(0.0) -> np.float64(0.0)")
cos = _unary("cos", "The cosine of x in radians", "lax.cos(0.0) -> np.float64(1.0)")
tan = _unary("tan", "The tangent of x in radians", "lax.tan(0.0) -> np.float64(0.0)")
asin = _unary("asin", "The angle in radians whose sine is x", "lax.asin(0.0) -> np.float64(0.0)")
acos = _unary("acos", "The angle in radians whose cosine is x", "lax.acos(1.0) -> np.float64(0.0)")
atan = _unary("atan", "The angle in radians whose tangent is x", "lax.atan(0.0) -> np.float64(0.0)")
sinh = _unary("sinh", "The hyperbolic sine of x", "lax.sinh(0.0) -> np.float64(0.0)")
cosh = _unary("cosh", "The hyperbolic cosine of x", "lax.cosh(0.0) -> np.float64(1.0)")
tanh = _unary("tanh", "The hyperbolic tangent of x", "lax.tanh(0.0) -> np.float64(0.0)")
asinh = _unary("asinh", "The number whose hyperbolic sine is x", "lax.asinh(0.0) -> np.float64(0.0)")
acosh = _unary("acosh", "The number whose hyperbolic cosine is x", "lax.acosh(1.0) -> np.float64(0.0)")
atanh = _unary("atanh", "The number whose hyperbolic tangent is x", "lax.atanh(0.0) -> np.float64(0.0)")
sqrt = _unary("sqrt", "The square root of x", "lax.sqrt(4.0) -> np.float64(2.0)")
rsqrt = _unary("rsqrt", "1 / sqrt(x)", "lax.rsqrt(4.0) -> np.float64(0.5)")
cbrt = _unary("cbrt", "The real cube root of x", "lax.cbrt(-8.0) -> np.float64(-2.0)")
square = _unary("square", "x times x", "lax.square(3) -> np.int64(9)")
reciprocal = _unary("reciprocal", "1 / x", "lax.reciprocal(4.0) -> np.float64(0.25)")
logistic = _unary("logistic", "1 / (1 + exp(-x))", "lax.logistic(0.0) -> np.float64(0.5)")
erf = _unary("erf", "The error function of x", "lax.erf(0.0) -> np.float64(0.0)")
erfc = _unary("erfc", "1 - erf(x), accurate for large x", "lax.erfc(0.0) -> np.float64(1.0)")
erf_inv = _unary("erf_inv", "The number whose error function is x", "lax.erf_inv(0.0) -> np.float64(0.0)")
lgamma = _unary("lgamma", "The logarithm of |Gamma(x)|", "lax.lgamma(1.0) -> np.float64(0.0)")
digamma = _unary("digamma", "The derivative of lgamma at x", "lax.digamma(1.0).round(6) -> np.float64(-0.577216)")
bessel_i0e = _unary(
    "bessel_i0e",
    "exp(-|x|) I_0(x), I_0 the modified Bessel function of order 0",
    "lax.bessel_i0e(0.0) -> np.float64(1.0)",
)
bessel_i1e = _unary(
    "bessel_i1e",
    "exp(-|x|) I_1(x), I_1 the modified Bessel function of order 1",
    "lax.bessel_i1e(0.0) -> np.float64(0.0)",
)
is_finite = _unary(
    "is_finite", "Whether x is neither infinite nor NaN", "lax.is_finite(1.0) -> np.True_", returns="is boolean"
)
real = _unary("real", "The real part of x", "lax.real(3 + 4j) -> np.float64(3.0)", returns="is real")
imag = _unary("imag", "The imaginary part of x", "lax.imag(3 + 4j) -> np.float64(4.0)", returns="is real")
bitwise_not = _unary(
    "bitwise_not", "x with every bit inverted", "lax.bitwise_not(5) -> np.int64(-6)", primitive="bit_not"
)
clz = _unary("clz", "The number of zero bits above the highest one of x", "lax.clz(np.uint8(5)) -> np.uint8(5)")

add = _binary("add", "x + y", "lax.add(np.array([1.0, 2.0]), 1) -> array([2., 3.])")
sub = _binary("sub", "x - y", "lax.sub(3.0, 1.0) -> np.float64(2.0)")
mul = _binary("mul", "x times y", "lax.mul(np.array([1.0, 2.0]), 3) -> array([3., 6.])")
max = _binary("max", "The larger of x and y, NaN if one of them is NaN", "lax.max(1, 2) -> np.int64(2)")
min = _binary("min", "The smaller of x and y, NaN if one of them is NaN", "lax.min(1, 2) -> np.int64(1)")
rem = _binary("rem", "The remainder of x / y, with the sign of x", "lax.rem(-7, 2) -> np.int64(-1)", primitive="fmod")
atan2 = _binary(
    "atan2", "The angle in radians of the point (y, x) from the first axis", "lax.atan2(0.0, 1.0) -> np.float64(0.0)"
)
nextafter = _binary(
    "nextafter", "The float next to x in the direction of y", "lax.nextafter(0.0, 1.0) -> np.float64(5e-324)"
)
complex = _binary("complex", "x + i y", "lax.complex(3.0, 4.0) -> np.complex128(3+4j)", returns="is complex")
eq = _binary("eq", "Whether x equals y", "lax.eq(1, 1) -> np.True_", returns="is boolean")
ne = _binary("ne", "Whether x differs from y", "lax.ne(1, 1) -> np.False_", returns="is boolean")
lt = _binary("lt", "Whether x is less than y", "lax.lt(1, 2) -> np.True_", returns="is boolean")
le = _binary("le", "Whether x is less than y or equal", "lax.le(1, 1) -> np.True_", returns="is boolean")
gt = _binary("gt", "Whether x is greater than y", "lax.gt(1, 2) -> np.False_", returns="is boolean")
ge = _binary("ge", "Whether x is greater than y or equal", "lax.ge(1, 1) -> np.True_", returns="is boolean")
bitwise_and = _binary(
    "bitwise_and", "The bits that x and y both have", "lax.bitwise_and(6, 3) -> np.int64(2)", primitive="bit_and"
)
bitwise_or = _binary(
    "bitwise_or", "The bits that x or y have", "lax.bitwise_or(6, 3) -> np.int64(7)", primitive="bit_or"
)
bitwise_xor = _binary(
    "bitwise_xor", "The bits in which x and y differ", "lax.bitwise_xor(6, 3) -> np.int64(5)", primitive="bit_xor"
)
shift_left = _binary(
    "shift_left",
    "x with its bits moved up by y; 0 where y is negative or as large as the width",
    "lax.shift_left(3, 2) -> np.int64(12)",
)
shift_right_logical = _binary(
    "shift_right_logical",
    "x with its bits moved down by y, zeros from above; 0 where y is negative or as large as the width",
    "lax.shift_right_logical(np.int8(-1), 6) -> np.int8(3)",
)
shift_right_arithmetic = _binary(
    "shift_right_arithmetic",
    "x with its bits moved down by y, copies of the sign from above",
    "lax.shift_right_arithmetic(-8, 2) -> np.int64(-2)",
)


def div(x: Array, y: Array) -> Array:
    """x / y, elementwise; for integers the quotient rounded towards zero.

    x and y are numbers of one dtype and one shape, or one of them a scalar; the result is of the same type. An integer
    divided by zero gives 0 and NumPy's RuntimeWarning. Raises `DtypeError` and `ShapeError` for operands that differ.

    >>> from fgrad import lax
    >>> lax.div(-7, 2), lax.div(1.0, 4.0)
    (np.int64(-3), np.float64(0.25))
    """
    x, y = operands("div", x, y)
    if x.dtype.kind in "iu" and y.dtype.kind in "iu":
        return p.floor_divide(p.sub(x, apply(p.fmod, x, y)), y)
    return apply(p.div, x, y)


def pow(x: Array, y: Array) -> Array:
    """x to the power y, elementwise.

    y has the dtype and shape of x, is a scalar, or holds integers where x holds floats; the result is of x's type. A
    Python int as y is `integer_pow`, whose derivative is right at 0 too. Raises `DtypeError` and `ShapeError`.

    >>> from fgrad import lax
    >>> lax.pow(np.array([2.0, 3.0]), 2)
    array([4., 9.])
    """
    if type(y) is int and not _boolean(x):
        return integer_pow(x, y)
    if getattr(y, "dtype", None) is not None and np.dtype(y.dtype).kind in "iu":
        x = strict(x)
        if x.dtype.kind in "fc":
            y = p.convert_element_type(strict(y), dtype=x.dtype)
    return apply(p.pow, *operands("pow", x, y))


def _boolean(x: Any) -> bool:
    return getattr(x, "dtype", type(x)) in (np.bool_, bool)


def integer_pow(x: Array, y: int) -> Array:
    """x to the power y for a Python int y, elementwise.

    x holds numbers; the result is of the same type. Raises `DtypeError` for booleans, TypeError for a y that is no
    integer and ValueError for integers to a negative power.

    >>> from fgrad import lax
    >>> lax.integer_pow(3, 2)
    np.int64(9)
    """
    x = strict(x)
    if y < 0 and x.dtype.kind in "iu":
        raise ValueError(
            message("integer_pow: integers have no negative integer powers", got=y, do="convert x to a float first")
        )
    return apply(p.integer_pow, x, n=int(y)) if y != 2 else apply(p.square, x)


class RoundingMethod(enum.IntEnum):
    """What `round` does with a number that lies halfway between two integers."""

    AWAY_FROM_ZERO = 0
    TO_NEAREST_EVEN = 1


def round(x: Array, rounding_method: RoundingMethod = RoundingMethod.AWAY_FROM_ZERO) -> Array:
    """The nearest integer, elementwise; halves away from zero, or to the even one (as NumPy's round).

    x holds floats; the result is of the same type. Raises `DtypeError` for other dtypes, ValueError for a method that
    does not exist.

    >>> from fgrad import lax
    >>> lax.round(np.array([-2.5, 0.5, 1.5]))
    array([-3.,  1.,  2.])
    >>> lax.round(np.array([-2.5, 0.5, 1.5]), lax.RoundingMethod.TO_NEAREST_EVEN)
    array([-2.,  0.,  2.])
    """
    x = strict(x)
    if RoundingMethod(rounding_method) is RoundingMethod.TO_NEAREST_EVEN:
        return apply(p.rint, x)
    whole = apply(p.trunc, x)
    # the fraction, and not x + 0.5: that sum rounds up for the float below 0.5
    finite = p.select(p.is_finite(x), x, p.mul0(x, 0))
    fraction = p.sub(finite, p.trunc(finite))
    return p.select(p.ge(p.abs(fraction), 0.5), p.add(whole, p.sign(x)), whole)


def conj(x: Array) -> Array:
    """The complex conjugate, elementwise; real floats become complex.

    The result has the shape of x. Raises `DtypeError` for integers and booleans.

    >>> from fgrad import lax
    >>> lax.conj(3 + 4j)
    np.complex128(3-4j)
    """
    x = strict(x)
    if x.dtype.kind == "c":
        return p.conj(x)
    return apply(p.complex, x, p.broadcast_in_dim(x.dtype.type(0), shape=tuple(x.shape), dims=()))


def polygamma(m: int, x: Array) -> Array:
    """The m-th derivative of `digamma` at x, elementwise.

    m is a Python int of at least 0, x holds floats; the result is of x's type. Raises TypeError for another m,
    ValueError for a negative one and `DtypeError` for another x.

    >>> from fgrad import lax
    >>> lax.polygamma(1, 1.0).round(6)
    np.float64(1.644934)
    """
    order = _order(m)
    x = strict(x)
    return apply(p.digamma, x) if order == 0 else apply(p.polygamma, x, n=order)


def _order(m: Any) -> int:
    order = None if type(m) is Tracer or np.ndim(m) else int(m)
    if order is None or order != m:
        raise TypeError(
            message("polygamma: the order must be one integer known while tracing", got=repr(m), do="pass a Python int")
        )
    if order < 0:
        raise ValueError(message("polygamma: the order must not be negative", got=order, do="pass 0, 1, 2, ..."))
    return order


def population_count(x: Array) -> Array:
    """The number of one bits of x, elementwise; of negative integers those of the two's complement.

    x holds integers; the result is of the same type. Raises `DtypeError` for other dtypes.

    >>> from fgrad import lax
    >>> lax.population_count(np.array([7, -1], np.int8))
    array([3, 8], dtype=int8)
    """
    x = strict(x)
    if x.dtype.kind != "i":
        return apply(p.population_count, x)
    unsigned = p.convert_element_type(x, dtype=np.dtype(f"u{x.dtype.itemsize}"))
    return p.convert_element_type(p.population_count(unsigned), dtype=x.dtype)


def select(pred: Array, on_true: Array, on_false: Array) -> Array:
    """Elements of `on_true` where `pred` is true, of `on_false` elsewhere.

    `pred` is boolean, of their shape or a scalar; the two have one dtype and one shape, which the result has too.
    Raises `ShapeError` or `DtypeError` where that is not so.

    >>> from fgrad import lax
    >>> lax.select(np.array([True, False]), np.array([1, 2]), np.array([3, 4]))
    array([1, 4])
    """
    pred = strict(pred)
    if pred.dtype != np.bool_:
        raise DtypeError(message("select: the predicate must be boolean", got=pred.dtype, do="compare first"))
    return select_n(pred, on_false, on_true)


def select_n(which: Array, *cases: Array) -> Array:
    """Elements of `cases[which]`, elementwise.

    `which` is boolean for two cases (false: the first) or holds integers, of the shape of the cases or a scalar; it is
    clamped to the cases there are. The cases have one dtype and one shape, which the result has too. Raises
    `ShapeError` or `DtypeError` where that is not so.

    >>> from fgrad import lax
    >>> lax.select_n(np.array([0, 2, 1]), np.zeros(3), np.ones(3), np.full(3, 2.0))
    array([0., 2., 1.])
    """
    if not cases:
        raise ShapeError(message("select_n: there are no cases to select from", do="give at least one array"))
    which, xs = strict(which), operands("select_n", *cases)
    if which.dtype.kind not in "biu" or (which.dtype == np.bool_ and len(xs) > 2):
        what = "select_n: `which` must be boolean for at most two cases, else hold integers"
        raise DtypeError(message(what, got=f"{len(xs)} cases, which: {which.dtype}", do="convert it first"))
    if any(x.dtype != xs[0].dtype for x in xs):
        got = ", ".join(str(x.dtype) for x in xs)
        raise DtypeError(message("select_n: the cases have different dtypes", got=got, do="convert them first"))
    if not which.shape and xs[0].shape:
        which = p.broadcast_in_dim(which, shape=tuple(xs[0].shape), dims=())
    out = xs[-1]
    for i in reversed(range(len(xs) - 1)):
        here = p.bit_not(which) if which.dtype == np.bool_ else p.le(which, i)
        out = apply(p.select, here, xs[i], out)
    return out


def clamp(min: Array, x: Array, max: Array) -> Array:
    """x limited to the interval from `min` to `max`, elementwise; `max` wins where the limits cross.

    The limits are scalars or arrays of x's shape; all have one dtype. At a limit the derivative goes to the limit.
    Raises `DtypeError` and `ShapeError` for operands that differ.

    >>> from fgrad import lax
    >>> lax.clamp(0.0, np.array([-1.0, 0.5, 2.0]), 1.0)
    array([0. , 0.5, 1. ])
    """
    lower, x, upper = operands("clamp", min, x, max)
    raised = p.select(apply(p.le, x, lower), lower, x)
    return p.select(apply(p.ge, raised, upper), upper, raised)


def convert_element_type(operand: Array, new_dtype: Any) -> Array:
    """The elements at another dtype, as C casts them; complex numbers lose their imaginary part.

    `new_dtype` is anything that `numpy.dtype` takes. The result has the shape of the operand. Raises `LeafError` for
    dtypes that hold no numbers.

    >>> from fgrad import lax
    >>> lax.convert_element_type(np.array([1.5, -2.5]), np.int32)
    array([ 1, -2], dtype=int32)
    """
    return p.convert_element_type(strict(operand), dtype=dtype_of(new_dtype))


def bitcast_convert_type(operand: Array, new_dtype: Any) -> Array:
    """The same bytes read as another dtype; it has no derivative.

    Where the dtypes differ in size the elements are split along a new last axis, or joined along the last one, which
    then must have the ratio as its size: else `ShapeError`. Raises `DtypeError` for booleans.

    >>> from fgrad import lax
    >>> lax.bitcast_convert_type(np.float32(1), np.uint32)
    np.uint32(1065353216)
    """
    return apply(p.bitcast_convert_type, strict(operand), dtype=dtype_of(new_dtype))


def stop_gradient(x: Any) -> Any:
    """x as a constant for derivatives; x is a pytree of arrays.

    >>> import fgrad
    >>> fgrad.grad(lambda x: x * fgrad.lax.stop_gradient(x))(3.0)
    np.float64(3.0)
    """
    return tree.map(lambda v: p.stop_gradient(v) if type(v) is Tracer and v.aval.inexact else v, x)


def reduce_precision(operand: Array, exponent_bits: int, mantissa_bits: int) -> Array:
    """The operand rounded to the precision of float16 (5, 10), float32 (8, 23) or float64 (11, 52), at its own dtype.

    Raises `DtypeError` for other numbers of bits.

    >>> from fgrad import lax
    >>> lax.reduce_precision(1 / 3, 5, 10)
    np.float64(0.333251953125)
    """
    x = strict(operand)
    dtype = {(5, 10): "f2", (8, 23): "f4", (11, 52): "f8"}.get((exponent_bits, mantissa_bits))
    if dtype is None or x.dtype.kind != "f":
        what = "reduce_precision: takes floats, and the bits of float16 (5, 10), float32 (8, 23) or float64 (11, 52)"
        raise DtypeError(message(what, got=f"{x.dtype}, {exponent_bits} and {mantissa_bits}", do="choose one of these"))
    return p.convert_element_type(p.convert_element_type(x, dtype=np.dtype(dtype)), dtype=x.dtype)
