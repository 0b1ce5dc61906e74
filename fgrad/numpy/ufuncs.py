"""NumPy's ufuncs: promotion and broadcasting around the elementwise primitives.

Each row names the NumPy function (which runs on concrete operands), the expansion (which is traced once per operand
types) and the dtype it computes in.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import primitives as _primitives  # noqa: F401  (fills the registry)
from ..core.errors import DtypeError, message
from ..core.primitive import registry as p
from ..core.surface import binary_operator, surface
from ..core.trace import Tracer
from .promote import cast, float_dtype, is_weak, promote, result_dtype, weaken

# NumPy's function -> ours, for __array_ufunc__ and __array_function__
ROUTES: dict[Any, Callable[..., Any]] = {}
# Operators of arrays by special method name
OPERATORS: dict[str, Callable[..., Any]] = {}


def _define(name: str, expand: Callable[..., Any], run: Any, arity: int) -> Callable[..., Any]:
    numpy = getattr(np, name)
    expand.__name__ = name
    expand.__module__ = __name__
    arguments = ", ".join(_EXAMPLES.get(name, ("0.5", "0.25"))[:arity])
    expand.__doc__ = f"""numpy.{name} on arrays and tracers: elementwise, operands broadcast and promote as in NumPy 2.

    >>> from fgrad import numpy as fnp
    >>> fnp.{name}({arguments}) == np.{name}({arguments})
    np.True_
    """
    made = surface(run=run, arity=arity, full=numpy, resizes=True)(expand)
    for alias in {numpy, *[getattr(np, a) for a in _ALIASES.get(name, ())]}:
        ROUTES[alias] = made
    return made


_ALIASES = {"absolute": ("abs",), "conjugate": ("conj",)}
_EXAMPLES = {
    "arccosh": ("1.5",), "bitwise_and": ("6", "3"), "bitwise_or": ("6", "3"), "bitwise_xor": ("6", "3"),
    "gcd": ("6", "4"), "lcm": ("6", "4"), "invert": ("6",),
    "left_shift": ("3", "2"), "right_shift": ("12", "2"), "ldexp": ("0.5", "2"), "bitwise_count": ("6",),
}  # fmt: skip


def _float_unary(name: str, primitive: str) -> Callable[..., Any]:
    """Functions that compute at least in a float: integers become float64 (small ones float16 or float32)."""
    apply = getattr(p, primitive)

    def expand(x: Any) -> Any:
        return apply(cast(x, float_dtype(cast(x, x.dtype))))

    return _define(name, expand, getattr(np, name), 1)


def _unary(name: str, function: Callable[[Any], Any], run: Any = None) -> Callable[..., Any]:
    """Functions that keep the dtype."""

    def expand(x: Any) -> Any:
        return function(cast(x, x.dtype))

    return _define(name, expand, run or getattr(np, name), 1)


def _quotient_dtype(x: Any, y: Any) -> np.dtype:
    """NumPy divides integers as float64, however small they are."""
    dtype = result_dtype(x, y)
    return dtype if dtype.kind in "fc" else np.dtype(np.float64)


def _number_dtype(*xs: Any) -> np.dtype:
    """As `result_dtype`; truth values of Python, but not of arrays, calculate as integers."""
    dtype = result_dtype(*xs)
    return np.dtype(np.int64) if dtype == np.bool_ and all(is_weak(x) for x in xs) else dtype


def _binary(
    name: str,
    function: Callable[[Any, Any], Any],
    run: Any = None,
    *,
    weak: bool = False,
    dtype: Callable[..., np.dtype] = result_dtype,
) -> Callable[..., Any]:
    """Functions of two operands at a common dtype. `weak`: an operator of Python, which keeps weakness."""

    def expand(x: Any, y: Any) -> Any:
        out = function(*promote(x, y, dtype=dtype(x, y)))
        return weaken(out, x, y) if weak else out

    return _define(name, expand, run or getattr(np, name), 2)


sin = _float_unary("sin", "sin")
cos = _float_unary("cos", "cos")
tan = _float_unary("tan", "tan")
arcsin = _float_unary("arcsin", "asin")
arccos = _float_unary("arccos", "acos")
arctan = _float_unary("arctan", "atan")
sinh = _float_unary("sinh", "sinh")
cosh = _float_unary("cosh", "cosh")
tanh = _float_unary("tanh", "tanh")
arcsinh = _float_unary("arcsinh", "asinh")
arccosh = _float_unary("arccosh", "acosh")
arctanh = _float_unary("arctanh", "atanh")
asin, acos, atan, asinh, acosh, atanh = arcsin, arccos, arctan, arcsinh, arccosh, arctanh
exp = _float_unary("exp", "exp")
exp2 = _float_unary("exp2", "exp2")
expm1 = _float_unary("expm1", "expm1")
log = _float_unary("log", "log")
log2 = _float_unary("log2", "log2")
log10 = _float_unary("log10", "log10")
log1p = _float_unary("log1p", "log1p")
sqrt = _float_unary("sqrt", "sqrt")
cbrt = _float_unary("cbrt", "cbrt")
deg2rad = radians = _unary("deg2rad", lambda x: p.mul(_inexact(x), float(np.pi / 180)))
rad2deg = degrees = _unary("rad2deg", lambda x: p.mul(_inexact(x), float(180 / np.pi)))
ROUTES[np.radians], ROUTES[np.degrees] = deg2rad, rad2deg


def _inexact(x: Any) -> Any:
    return cast(x, float_dtype(cast(x, x.dtype)))


def _rounding(primitive: str) -> Callable[[Any], Any]:
    return lambda x: x if x.dtype.kind in "biu" else getattr(p, primitive)(x)


floor = _unary("floor", _rounding("floor"))
ceil = _unary("ceil", _rounding("ceil"))
trunc = _unary("trunc", _rounding("trunc"))
rint = _unary("rint", lambda x: p.rint(_inexact(x)))
sign = _unary("sign", lambda x: p.sign(x))
square = _unary("square", lambda x: p.mul(x, x) if x.dtype.kind == "b" else p.square(x))
reciprocal = _unary("reciprocal", lambda x: p.reciprocal(x))
conjugate = conj = _unary("conjugate", lambda x: p.conj(x) if x.dtype.kind == "c" else x)
isfinite = _unary("isfinite", lambda x: p.is_finite(_inexact(x)))
isnan = _unary("isnan", lambda x: p.is_nan(_inexact(x)))
isinf = _unary("isinf", lambda x: _infinite(_inexact(x)))
signbit = _unary(
    "signbit",
    lambda x: p.lt(
        p.copysign(p.abs(_inexact(x)) if x.dtype.kind != "f" else p.select(p.is_nan(x), p.mul(x, 0), x), x), 0
    ),
)
fabs = _unary("fabs", lambda x: p.abs(_inexact(x)))
invert = bitwise_not = bitwise_invert = _unary("invert", lambda x: p.bit_not(x))
logical_not = _unary("logical_not", lambda x: p.bit_not(_truth(x)))
bitwise_count = _unary(
    "bitwise_count", lambda x: cast(p.population_count(p.abs(x) if x.dtype.kind == "i" else x), np.uint8)
)


def _infinite(x: Any) -> Any:
    return p.bit_not(p.bit_or(p.is_finite(x), p.is_nan(x)))


def _truth(x: Any) -> Any:
    return x if x.dtype == np.bool_ else p.ne(x, 0)


def _keeps_weak(name: str, function: Callable[[Any], Any], run: Any) -> Callable[..., Any]:
    def expand(x: Any) -> Any:
        return weaken(function(cast(x, _number_dtype(x))), x)

    return _define(name, expand, run, 1)


negative = _keeps_weak("negative", lambda x: p.neg(x), operator.neg)
positive = _keeps_weak("positive", lambda x: x, operator.pos)
absolute = abs = _keeps_weak("absolute", lambda x: x if x.dtype.kind in "bu" else p.abs(x), operator.abs)

add = _binary("add", lambda x, y: p.add(x, y), operator.add, weak=True, dtype=_number_dtype)
subtract = _binary("subtract", lambda x, y: p.sub(x, y), operator.sub, weak=True, dtype=_number_dtype)
multiply = _binary("multiply", lambda x, y: p.mul(x, y), operator.mul, weak=True, dtype=_number_dtype)
true_divide = divide = _binary("divide", lambda x, y: p.div(x, y), None, weak=True, dtype=_quotient_dtype)
floor_divide = _binary("floor_divide", lambda x, y: p.floor_divide(x, y), weak=True, dtype=_number_dtype)
remainder = mod = _binary("remainder", lambda x, y: p.rem(x, y), weak=True, dtype=_number_dtype)
fmod = _binary("fmod", lambda x, y: p.fmod(x, y))
_power = _binary("power", lambda x, y: p.pow(x, y), weak=True, dtype=_number_dtype)
ROUTES[np.true_divide], ROUTES[np.mod] = divide, remainder
float_power = _binary(
    "float_power",
    lambda x, y: p.pow(cast(x, np.result_type(x.dtype, np.float64)), cast(y, np.result_type(y.dtype, np.float64))),
)
maximum = _binary("maximum", lambda x, y: p.max(x, y))
minimum = _binary("minimum", lambda x, y: p.min(x, y))
fmax = _binary("fmax", lambda x, y: p.select(_nan(x), y, p.select(_nan(y), x, p.max(x, y))))
fmin = _binary("fmin", lambda x, y: p.select(_nan(x), y, p.select(_nan(y), x, p.min(x, y))))
arctan2 = atan2 = _binary("arctan2", lambda x, y: p.atan2(x, y), dtype=float_dtype)
hypot = _binary("hypot", lambda x, y: p.hypot(x, y), dtype=float_dtype)
logaddexp = _binary("logaddexp", lambda x, y: p.logaddexp(x, y), dtype=float_dtype)
logaddexp2 = _binary("logaddexp2", lambda x, y: p.logaddexp2(x, y), dtype=float_dtype)
copysign = _binary("copysign", lambda x, y: p.copysign(x, y), dtype=float_dtype)
nextafter = _binary("nextafter", lambda x, y: p.nextafter(x, y), dtype=float_dtype)
heaviside = _binary("heaviside", lambda x, y: _heaviside(x, y), dtype=float_dtype)


def _nan(x: Any) -> Any:
    return p.ne(x, x)


def _heaviside(x: Any, y: Any) -> Any:
    zero, one = p.mul(p.sign(x), 0), p.add(p.mul(p.sign(x), 0), 1)
    return p.select(p.lt(x, 0), zero, p.select(p.gt(x, 0), one, p.select(_nan(x), x, y)))


bitwise_and = _binary("bitwise_and", lambda x, y: p.bit_and(x, y), operator.and_, weak=True)
bitwise_or = _binary("bitwise_or", lambda x, y: p.bit_or(x, y), operator.or_, weak=True)
bitwise_xor = _binary("bitwise_xor", lambda x, y: p.bit_xor(x, y), operator.xor, weak=True)
left_shift = bitwise_left_shift = _binary("left_shift", lambda x, y: p.shift_left(x, y))
right_shift = bitwise_right_shift = _binary("right_shift", lambda x, y: p.shift_right_arithmetic(x, y))


def _comparison(name: str, primitive: str, run: Any) -> Callable[..., Any]:
    apply = getattr(p, primitive)

    def expand(x: Any, y: Any) -> Any:
        x, y = promote(x, y)
        if x.dtype.kind == "c" and primitive not in ("eq", "ne"):
            raise DtypeError(
                message(
                    f"{name}: complex numbers have no order", got=x.dtype, do="compare real parts or absolute values"
                )
            )
        return apply(x, y)

    return _define(name, expand, run, 2)


equal = _comparison("equal", "eq", operator.eq)
not_equal = _comparison("not_equal", "ne", operator.ne)
less = _comparison("less", "lt", operator.lt)
less_equal = _comparison("less_equal", "le", operator.le)
greater = _comparison("greater", "gt", operator.gt)
greater_equal = _comparison("greater_equal", "ge", operator.ge)


def _logical(name: str, primitive: str) -> Callable[..., Any]:
    apply = getattr(p, primitive)

    def expand(x: Any, y: Any) -> Any:
        return apply(*promote(_truth(cast(x, x.dtype)), _truth(cast(y, y.dtype))))

    return _define(name, expand, getattr(np, name), 2)


logical_and = _logical("logical_and", "bit_and")
logical_or = _logical("logical_or", "bit_or")
logical_xor = _logical("logical_xor", "bit_xor")


@surface(run=np.power, arity=1, resizes=True)
def _integer_power(x: Any, n: int) -> Any:
    y = cast(x, result_dtype(x, n))
    if n == 2:
        return weaken(p.square(y), x)
    if n == 1:
        return weaken(y, x)
    if n < 0 and y.dtype.kind in "iu":
        raise ValueError("Integers to negative integer powers are not allowed.")
    return weaken(p.integer_pow(y, n=n), x)


def power(x: Any, y: Any, /) -> Any:
    """numpy.power: x to the power y, elementwise; a Python integer exponent is exact and differentiable everywhere.

    >>> import fgrad
    >>> fgrad.grad(lambda x: power(x, 3))(-2.0)
    np.float64(12.0)
    """
    if type(y) is int and type(x) is Tracer and -64 <= y <= 64 and x.dtype != np.bool_:
        return _integer_power(x, y)
    return _power(x, y)


def _power_operator(x: Any, y: Any) -> Any:
    if type(y) is int:
        return power(x, y)
    return _general_power(x, y)


_general_power = binary_operator(_power.function)  # type: ignore[attr-defined]


pow = power
ROUTES[np.power] = power
OPERATORS.update(
    add=add, sub=subtract, mul=multiply, truediv=divide, floordiv=floor_divide, mod=remainder, pow=_power_operator,
    lshift=left_shift, rshift=right_shift, lt=less, le=less_equal, gt=greater, ge=greater_equal, eq=equal, ne=not_equal,
)  # fmt: skip
OPERATORS["and"], OPERATORS["or"], OPERATORS["xor"] = bitwise_and, bitwise_or, bitwise_xor
UNARY_OPERATORS = {"neg": negative, "pos": positive, "abs": absolute, "invert": invert}

__all__ = [
    n
    for n, v in list(globals().items())
    if callable(v) and getattr(v, "function", None) is not None and not n.startswith("_")
]
__all__ += ["pow", "power"]
