"""Functions of each element that are compositions of ufuncs: round, real, imag, angle, sinc, unwrap, modf, ..."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.errors import DtypeError, message
from ..core.primitive import registry as p
from ..core.surface import surface
from ..core.trace import Tracer, concrete
from .promote import broadcast, broadcast_shapes, cast, float_dtype
from .support import axis_of, inexact, is_traced, strict, traced, where_call
from .ufuncs import ROUTES, absolute, arctan2, conjugate, floor_divide, remainder
from .views import viewing


def _run_round(x: Any, decimals: int) -> Any:
    return np.round(x, decimals)


@surface(run=_run_round)
def _round(x: Any, decimals: int) -> Any:
    x = strict(x)
    if x.dtype.kind == "b":
        return cast(x, np.float16)
    if x.dtype.kind == "c":
        return p.complex(_rounded(p.real(x), decimals), _rounded(p.imag(x), decimals))
    if x.dtype.kind in "iu":
        return x if decimals >= 0 else cast(_rounded(cast(x, np.float64), decimals), x.dtype)
    return _rounded(x, decimals)


def _rounded(x: Any, decimals: int) -> Any:
    if not decimals:
        return p.rint(x)
    factor = float(10 ** abs(decimals))
    return p.div(p.rint(p.mul(x, factor)), factor) if decimals > 0 else p.mul(p.rint(p.div(x, factor)), factor)


@traced(np.round, np.around, method="round")
def round(a: Any, decimals: int = 0, out: None = None) -> Any:
    """`a` rounded to so many decimals, halves to even. Its gradient is zero.

    >>> from fgrad import numpy as fnp
    >>> fnp.round(2.675, 1)
    np.float64(2.7)
    """
    return _round(a, decimals)


around = round


@traced(np.fix, run=np.trunc)  # NumPy 2.5 warns that fix is deprecated
def fix(x: Any, out: None = None) -> Any:
    """`x` rounded towards zero. Its gradient is zero.

    >>> from fgrad import numpy as fnp
    >>> fnp.fix(-1.5)
    np.float64(-1.0)
    """
    return np.trunc(x)


@surface(run=lambda x: scalar_real(x))
def _real(x: Any) -> Any:
    x = strict(x)
    return p.real(x) if x.dtype.kind == "c" else x


def scalar_real(x: Any) -> Any:
    return (
        x.real
        if isinstance(x, np.ndarray | np.generic)
        else np.float64(x.real)
        if type(x) is complex
        else np.asarray(x)[()]
    )


@surface(run=lambda x: np.array(np.imag(x))[()])
def _imag(x: Any) -> Any:
    x = strict(x)
    return p.imag(x) if x.dtype.kind == "c" else p.broadcast_in_dim(x.dtype.type(0), shape=x.shape, dims=())


@traced(np.real)
def real(val: Any) -> Any:
    """Real part.

    >>> from fgrad import numpy as fnp
    >>> fnp.real(np.array([1 + 2j]))
    array([1.])
    """
    return _real_view(val)


@traced(np.imag)
def imag(val: Any) -> Any:
    """Imaginary part.

    >>> from fgrad import numpy as fnp
    >>> fnp.imag(np.array([1 + 2j]))
    array([2.])
    """
    part = _imag_view(val)
    if type(part) is np.ndarray and val.dtype.kind != "c":
        part.flags.writeable = False  # as NumPy's is: it is no part of the array
    return part


_real_view = viewing(_real, lambda x, out: ("real",) if x.dtype.kind == "c" else ("index", ()))
_imag_view = viewing(_imag, lambda x, out: ("imag",) if x.dtype.kind == "c" else None)


@traced(np.angle)
def angle(z: Any, deg: bool = False) -> Any:
    """Argument of complex numbers in radians, or degrees, in (-π, π].

    >>> from fgrad import numpy as fnp
    >>> fnp.angle(1j, deg=True)
    np.float64(90.0)
    """
    y = arctan2(_imag(z), _real(z))
    return y * (180 / np.pi) if deg else y


def _infinity(name: str, sign: float) -> Callable[..., Any]:
    def is_infinity(x: Any, out: None = None) -> Any:
        return x == sign * math.inf

    is_infinity.__name__ = is_infinity.__qualname__ = name
    is_infinity.__doc__ = f"""Whether each element is {"+" if sign > 0 else "-"}∞.

    >>> from fgrad import numpy as fnp
    >>> fnp.{name}(np.array([fnp.inf, 1.0, -fnp.inf]))
    {np.array([np.inf, 1.0, -np.inf]) == sign * np.inf!r}
    """
    return traced(getattr(np, name))(is_infinity)


isposinf = _infinity("isposinf", 1.0)
isneginf = _infinity("isneginf", -1.0)


@traced(np.isreal)
def isreal(x: Any) -> Any:
    """Whether the imaginary part of each element is zero.

    >>> from fgrad import numpy as fnp
    >>> fnp.isreal(np.array([1.0 + 0j, 1j]))
    array([ True, False])
    """
    return _imag(x) == 0


@traced(np.iscomplex)
def iscomplex(x: Any) -> Any:
    """Whether the imaginary part of each element is not zero.

    >>> from fgrad import numpy as fnp
    >>> fnp.iscomplex(np.array([1.0 + 0j, 1j]))
    array([False,  True])
    """
    return _imag(x) != 0


@traced(np.real_if_close)
def real_if_close(a: Any, tol: float = 100) -> Any:
    """Real part where the imaginary parts are negligible, which must be known: else the complex array.

    Raises `ConcretizationError` under jit and vmap, where the dtype of the result would depend on values.

    >>> from fgrad import numpy as fnp
    >>> fnp.real_if_close(np.array([2.0 + 0j]))
    array([2.])
    """
    if a.dtype.kind != "c":
        return a
    value = concrete(a, "real_if_close", "take the real part with fnp.real")
    return _real(a) if np.isrealobj(np.real_if_close(value, tol)) else a


_SINC = [(-1) ** k / math.factorial(2 * k + 1) for k in range(9)]


@surface(run=np.sinc)
def _sinc(x: Any) -> Any:
    # near 0 the Taylor series, whose derivatives of every order are right at 0
    x = inexact(x)
    y = p.mul(x, math.pi)
    square = p.square(y)
    near = p.lt(p.real(p.mul(y, p.conj(y))) if x.dtype.kind == "c" else square, 0.25)
    series = p.broadcast_in_dim(x.dtype.type(_SINC[-1]), shape=x.shape, dims=())
    for c in _SINC[-2::-1]:
        series = p.add(p.mul(series, square), c)
    one = p.broadcast_in_dim(x.dtype.type(1), shape=x.shape, dims=())
    far = p.select(near, one, y)
    return p.select(near, series, p.div(p.sin(far), far))


@traced(np.sinc)
def sinc(x: Any) -> Any:
    """sin(πx) / (πx), 1 at 0, with all its derivatives.

    >>> from fgrad import numpy as fnp
    >>> fnp.sinc(0.5).round(6)
    np.float64(0.63662)
    """
    return _sinc(x)


@surface(run=np.i0)
def _i0(x: Any) -> Any:
    x = cast(x, np.float64) if x.dtype.kind in "biu" else strict(x)
    return p.mul(p.exp(p.abs(x)), p.bessel_i0e(x))


@traced(np.i0)
def i0(x: Any) -> Any:
    """Modified Bessel function of the first kind, order 0, of real numbers (DLMF 10.25).

    >>> from fgrad import numpy as fnp
    >>> fnp.i0(1.0).round(6)
    np.float64(1.266066)
    """
    if x.dtype.kind == "c":
        raise DtypeError(message("i0 takes real numbers", got=x.dtype, do="use the real part"))
    return _i0(x)


@traced(np.unwrap)
def unwrap(p: Any, discont: float | None = None, axis: int = -1, *, period: float = 2 * math.pi) -> Any:
    """Phases with multiples of `period` added so that neighbours differ by no more than `discont` (half the period).

    >>> from fgrad import numpy as fnp
    >>> fnp.unwrap(np.array([0.0, 6.0])).round(4)
    array([ 0.    , -0.2832])
    """
    axis = axis_of("unwrap", axis, p.ndim)
    discont = period / 2 if discont is None else discont
    steps = np.diff(p, axis=axis)
    whole = steps.dtype.kind in "iu" and isinstance(period, int)
    low = -period // 2 if whole else -period / 2
    short = remainder(steps - low, period) + low
    high = low + period
    if not whole or period % 2 == 0:
        short = where_call((short == low) & (steps > 0), high, short)
    correction = where_call(absolute(steps) < discont, 0, short - steps)
    shape = [1 if a == axis else n for a, n in enumerate(p.shape)]
    moved = np.concatenate(
        [np.zeros(shape, correction.dtype), np.cumsum(correction, axis=axis, dtype=correction.dtype)], axis=axis
    )
    return p + moved


@surface(run=np.modf)
def modf(x: Any) -> tuple[Any, Any]:
    """Fractional and integral parts, both with the sign of `x`.

    >>> from fgrad import numpy as fnp
    >>> fnp.modf(2.5)
    (np.float64(0.5), np.float64(2.0))
    """
    x = cast(x, float_dtype(strict(x)))
    whole = p.trunc(x)
    none = p.broadcast_in_dim(x.dtype.type(0), shape=x.shape, dims=())
    one = p.broadcast_in_dim(x.dtype.type(1), shape=x.shape, dims=())
    infinite = p.bit_not(p.bit_or(p.is_finite(x), p.is_nan(x)))
    return p.select(infinite, p.copysign(none, x), p.fmod(p.select(infinite, none, x), one)), whole


@surface(run=np.ldexp, arity=2)
def ldexp(x1: Any, x2: Any) -> Any:
    """x1 · 2**x2, for integers x2.

    >>> from fgrad import numpy as fnp
    >>> fnp.ldexp(0.75, 2)
    np.float64(3.0)
    """
    dtype = float_dtype(strict(x1))
    shape = broadcast_shapes(x1.shape, x2.shape)
    x, n = broadcast(cast(x1, dtype), shape), broadcast(cast(x2, np.int64), shape)
    return _scaled(x, n)


def _scaled(x: Any, n: Any) -> Any:
    """x · 2**n in steps, since 2**n alone may be out of range where the result is not."""
    limit = {2: 14, 4: 126}.get(x.dtype.itemsize, 1022)
    for _ in range(3):
        step = p.max(p.min(n, limit), -limit)
        x = p.mul(x, p.exp2(cast(step, x.dtype)))
        n = p.sub(n, step)
    return x


@surface(run=np.frexp)
def frexp(x: Any) -> tuple[Any, Any]:
    """Mantissa in [0.5, 1) and binary exponent (int32) of each element.

    >>> from fgrad import numpy as fnp
    >>> fnp.frexp(3.0)
    (np.float64(0.75), np.int32(2))
    """
    x = cast(x, float_dtype(strict(x)))
    none = p.broadcast_in_dim(x.dtype.type(0), shape=x.shape, dims=())
    one = p.broadcast_in_dim(x.dtype.type(1), shape=x.shape, dims=())
    usual = p.bit_and(p.is_finite(x), p.ne(x, none))
    size = p.abs(p.select(usual, x, one))
    exponent = p.add(cast(p.floor(p.log2(size)), np.int64), 1)
    mantissa = _scaled(size, p.neg(exponent))
    high, low = p.ge(mantissa, 1), p.lt(mantissa, 0.5)  # log2 may have rounded across a power of two
    exponent = p.add(exponent, p.sub(cast(high, np.int64), cast(low, np.int64)))
    exponent = p.select(usual, exponent, p.broadcast_in_dim(np.int64(0), shape=x.shape, dims=()))
    return p.select(usual, _scaled(x, p.neg(exponent)), x), cast(exponent, np.int32)


ROUTES[np.modf], ROUTES[np.ldexp], ROUTES[np.frexp] = modf, ldexp, frexp


def divmod(x1: Any, x2: Any, /) -> tuple[Any, Any]:
    """Floor quotient and remainder.

    >>> from fgrad import numpy as fnp
    >>> fnp.divmod(7, 3)
    (np.int64(2), np.int64(1))
    """
    if not (is_traced(x1) or is_traced(x2)):
        return np.divmod(x1, x2)
    return floor_divide(x1, x2), remainder(x1, x2)


ROUTES[np.divmod] = divmod


def _swapped_divmod(self: Any, other: Any) -> Any:
    return divmod(other, self)


def _builtin_round(self: Any, ndigits: int | None = None) -> Any:
    if ndigits is None:
        return concrete(self, "round(x)", "use fnp.round(x)").__round__()
    return _round(self, ndigits)


Tracer.real = property(real.__wrapped__, doc="Real part.")  # type: ignore[attr-defined]
Tracer.imag = property(imag.__wrapped__, doc="Imaginary part.")  # type: ignore[attr-defined]
Tracer.__divmod__ = divmod  # type: ignore[attr-defined]


Tracer.__rdivmod__ = _swapped_divmod  # type: ignore[attr-defined]


Tracer.__round__ = _builtin_round  # type: ignore[attr-defined]


def _conjugate(self: Any) -> Any:
    """The complex conjugate; of real numbers the array itself."""
    return conjugate(self) if self.dtype.kind == "c" else self


Tracer.conj = Tracer.conjugate = _conjugate  # type: ignore[attr-defined]

__all__ = [
    "angle", "around", "divmod", "fix", "frexp", "i0", "imag", "iscomplex", "isneginf", "isposinf", "isreal",
    "ldexp", "modf", "real", "real_if_close", "round", "sinc", "unwrap",
]  # fmt: skip
