"""The scalar operations of the loop-nest IR: what a kernel may compute with one element.

Every operation is total: it has one answer for every operand, NumPy's where NumPy has the operation. `quot` and `rest`
(truncated integer division) and shifts are the exception: whoever emits them guards the divisor and the count.

    arithmetic      add sub mul neg abs      integers wrap
                    div fma sqrt             floats; fma rounds once
                    max min                  a NaN wins, as in np.maximum
                    quot rest                truncated integer quotient and remainder (guarded)
    rounding        floor ceil trunc rint copysign
    comparisons     lt le gt ge eq ne        of a NaN: false, but for ne
    bits            and or xor not           booleans and integers
                    shl shr                  by a count below the width (guarded); shr keeps the sign of signed types
                    popcount clz
    choice          select
    conversions     cast                     wraps integers; floats truncate, NaN and what does not fit as on x86
                    bits                     the same bytes as another type of the same size
    functions       exp log tanh ...         names of `MATH`, expanded into the operations above by `vecmath`
"""

from __future__ import annotations

import numpy as np

FLOATS = ("f32", "f64")
SIGNED = ("i8", "i16", "i32", "i64")
UNSIGNED = ("u8", "u16", "u32", "u64")
INTEGERS = SIGNED + UNSIGNED
TYPES = ("bool", *INTEGERS, *FLOATS)

_OF_DTYPE = {
    "b1": "bool", "i1": "i8", "i2": "i16", "i4": "i32", "i8": "i64",
    "u1": "u8", "u2": "u16", "u4": "u32", "u8": "u64", "f4": "f32", "f8": "f64",
}  # fmt: skip
_DTYPES = {name: np.dtype(code) for code, name in _OF_DTYPE.items()}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


def type_name(dtype: np.dtype) -> str | None:
    """The kernel type of a NumPy dtype; None where kernels have none (complex, float16)."""
    return _NAMES.get(dtype) or _OF_DTYPE.get(f"{dtype.kind}{dtype.itemsize}")


def dtype_of(type: str) -> np.dtype:
    """The NumPy dtype of a kernel type."""
    return _DTYPES[type]


def size_of(type: str) -> int:
    """Bytes of an element in memory."""
    return _DTYPES[type].itemsize


# How many operands an operation takes, and its type: that of operand 0 ("same"), of operand 1 ("second"), or given.
OPS: dict[str, tuple[int, str]] = {
    **dict.fromkeys(["add", "sub", "mul", "div", "max", "min", "quot", "rest", "and", "or", "xor"], (2, "same")),
    **dict.fromkeys(["shl", "shr", "copysign"], (2, "same")),
    **dict.fromkeys(["neg", "abs", "sqrt", "floor", "ceil", "trunc", "rint", "not", "popcount", "clz"], (1, "same")),
    **dict.fromkeys(["lt", "le", "gt", "ge", "eq", "ne"], (2, "bool")),
    "fma": (3, "same"),
    "select": (3, "second"),
    "cast": (1, "given"),
    "bits": (1, "given"),
}

# Further operations of machines with AVX-512, for formulas of `vecmath` alone: lookup, one of 16 floats by the lowest
# bits of an unsigned integer of their size, and scale, a · 2^floor(b), rounded once.
WIDE: dict[str, tuple[int, str]] = {"lookup": (1, "given"), "scale": (2, "same")}

# Functions of one or two floats that `vecmath` expands. The renderers know them by name.
MATH: dict[str, int] = {
    **dict.fromkeys(["exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "logistic"], 1),
    **dict.fromkeys(
        ["sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh"], 1
    ),
    **dict.fromkeys(["erf", "erfc", "cbrt"], 1),
    **dict.fromkeys(["pow", "atan2", "hypot", "logaddexp"], 2),
}
