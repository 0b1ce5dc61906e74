"""Small programs for the tests of the native runtime: thunks written in the native language."""

import numpy as np

from fgrad.compile.native.language import (
    Module,
    call,
    extern,
    load_f64,
    load_i8,
    load_i64,
    memcpy,
    native,
    store_f64,
    store_i8,
    store_i64,
)
from fgrad.compile.native.program import NativeProgram, Output, Program, Thunk

usleep = extern("i32 usleep(i32 microseconds)")


@native("i32(i64 call, i64 operands, i64 dims, i64 begin, i64 end)")
def square_plus_one(call, operands, dims, begin, end):
    """float64: out[i] = x[i] * x[i] + 1."""
    x = load_i64(operands)
    out = load_i64(operands + 8)
    for i in range(begin, end):
        value = load_f64(x + 8 * i)
        store_f64(out + 8 * i, value * value + 1.0)
    return 0
