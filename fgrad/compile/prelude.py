"""The operations of `scalars` that Python has no sign for, on NumPy scalars: what rendered kernels import.

They define what the operations mean, exactly and without haste. In functions that Numba compiles, the same names stand
for machine instructions (see `numba_kernels`).

    f32 i64 ...             the types; called, they bring the result of integer arithmetic back to its width
    cast(x, i32)            conversion; what does not fit as on x86-64
    bits(x, i32)            the same bytes as another type
    span(a, b)             as Python's, but of np.int64, whose arithmetic wraps
    scratch(f32, 64)        uninitialised memory of the kernel's own
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np

__all__ = [
    *["boolean", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "f32", "f64", "inf", "nan", "span", "scratch"],
    *["select", "maximum", "minimum", "quotient", "remainder", "fma", "sqrt", "floor", "ceil", "trunc", "rint"],
    *["copysign", "popcount", "leading_zeros", "bits", "cast", "running_sum", "running_product", "grown", "scaled"],
]

boolean = np.bool_
i8, i16, i32, i64 = np.int8, np.int16, np.int32, np.int64
u8, u16, u32, u64 = np.uint8, np.uint16, np.uint32, np.uint64
f32, f64 = np.float32, np.float64
inf, nan = math.inf, math.nan


def span(start: Any, stop: Any) -> Iterator[np.int64]:
    """The numbers from start up to stop."""
    return map(i64, range(start, stop))


def scratch(type: Any, length: int) -> np.ndarray:
    """Memory for so many elements."""
    return np.empty(length, type)


def grown(memory: np.ndarray, used: Any, length: Any) -> np.ndarray:
    """Memory for `length` elements, the first `used` of which are those of the old."""
    return np.concatenate([memory[:used], np.empty(length - used, memory.dtype)])


def scaled(a: Any, n: Any) -> Any:
    """a times 2^floor(n), rounded once: an operation of `scalars.WIDE`, which Numba does not meet.

    >>> scaled(f64(1.5), f64(-1074.25)), scaled(f64(1.5), f64(4.75))
    (np.float64(5e-324), np.float64(24.0))
    """
    return a * n if np.isnan(n) else np.ldexp(a, int(np.clip(np.floor(n), -5000, 5000)))


def select(which: Any, a: Any, b: Any) -> Any:
    """a where `which` holds, else b; both are computed."""
    return a if which else b


def maximum(a: Any, b: Any) -> Any:
    """The larger one; a NaN wins; of equal ones (0.0 and -0.0) the first."""
    return a if a >= b or a != a else b


def minimum(a: Any, b: Any) -> Any:
    """The smaller one; a NaN wins; of equal ones (0.0 and -0.0) the first."""
    return a if a <= b or a != a else b


def quotient(a: Any, b: Any) -> Any:
    """a / b, rounded towards zero."""
    exact = abs(int(a)) // abs(int(b))
    return _wrapped(exact if (a < 0) == (b < 0) else -exact, type(a))


def remainder(a: Any, b: Any) -> Any:
    """What `quotient` leaves: it has the sign of a."""
    rest = abs(int(a)) % abs(int(b))
    return _wrapped(-rest if a < 0 else rest, type(a))


def fma(a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once.

    >>> fma(f64(0.1), f64(10.0), f64(-1.0))  # what 0.1 is too large by, times ten
    np.float64(5.551115123125783e-17)
    """
    x, y, z = float(a), float(b), float(c)
    if not (math.isfinite(x) and math.isfinite(y)):
        return type(a)(a * b + c)
    if not math.isfinite(z):
        return c
    product = Fraction(x) * Fraction(y)
    exact = product + Fraction(z)
    if exact == 0:  # of zeros the sign is that of a sum; what cancels is positive
        return type(a)(0.0) if product else a * b + c
    return _rounded(exact, type(a))


def _rounded(exact: Fraction, to: Any) -> Any:
    """The float nearest to a rational number that is not zero."""
    magnitude = abs(exact)
    try:
        near = float(magnitude)  # nearest, and ties to even
    except OverflowError:
        near = math.inf
    if to is f32 and math.isfinite(near) and near != magnitude:  # keep the second rounding from seeing a tie
        other = np.nextafter(near, math.inf if near < magnitude else 0.0)
        near = near if int(np.float64(near).view(np.uint64)) & 1 else float(other)
    return to(-near if exact < 0 else near)


def running_sum(total: Any, x: Any) -> Any:
    """total + x, where the order in which floats are added is free: compiled code adds several at a time."""
    return total + x


def running_product(total: Any, x: Any) -> Any:
    """total * x, where the order is free."""
    return total * x


def sqrt(x: Any) -> Any:
    """The square root, rounded once."""
    return np.sqrt(x)


def floor(x: Any) -> Any:
    """The next whole number below."""
    return np.floor(x)


def ceil(x: Any) -> Any:
    """The next whole number above."""
    return np.ceil(x)


def trunc(x: Any) -> Any:
    """The next whole number towards zero."""
    return np.trunc(x)


def rint(x: Any) -> Any:
    """The nearest whole number, of two the even one."""
    return np.rint(x)


def copysign(x: Any, y: Any) -> Any:
    """x with the sign of y."""
    return np.copysign(x, y)


def popcount(x: Any) -> Any:
    """How many bits are set."""
    return type(x)((int(x) & _mask(type(x))).bit_count())


def leading_zeros(x: Any) -> Any:
    """How many bits stand above the highest one that is set."""
    return type(x)(8 * x.itemsize - (int(x) & _mask(type(x))).bit_length())


def bits(x: Any, to: Any) -> Any:
    """The same bytes as another type of the same size."""
    return x.view(to)


def cast(x: Any, to: Any) -> Any:
    """Convert to another type as NumPy does on x86-64.

    Integers wrap. Floats lose what stands behind the point; those that do not fit, and NaN, give the lowest i32 or i64,
    of which narrower types take the low bits, u32 those of i64; u64 has the range above i64 too.

    >>> cast(f32(300.7), u8), cast(f64(nan), i32), cast(f64(1e19), u64)
    (np.uint8(44), np.int32(-2147483648), np.uint64(10000000000000000000))
    """
    if to is boolean:
        return boolean(x != 0)
    if to is f32 or to is f64:
        return np.asarray(x).astype(to)[()]
    if isinstance(x, np.floating):
        low = -(1 << 31) if to is i32 or np.dtype(to).itemsize < 4 else -(1 << 63)
        high = 1 << 64 if to is u64 else -low
        if not low <= x < high:
            return _wrapped(0 if to is u64 and x > 0 else low, to)
    return _wrapped(int(x), to)


def _mask(type: Any) -> int:
    return (1 << 8 * np.dtype(type).itemsize) - 1


def _wrapped(x: int, to: Any) -> Any:
    """A Python integer as an integer type, without the bits above it."""
    unsigned = np.dtype(to).str.replace("i", "u")
    return np.array(x & _mask(to), unsigned).view(to)[()]
