"""Thunks for the tests and the benchmark of the native runtime, in the native language, and programs made of them."""

import functools

import numpy as np

from fgrad.compile.native.language import (
    Module,
    extern,
    i32,
    load_f64,
    load_i64,
    native,
    store_f64,
    store_i64,
)
from fgrad.compile.native.program import NativeProgram, Output, Program, Thunk
from fgrad.compile.native.specs import Array, Result, Tuple

F8 = np.dtype(np.float64)
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


@native("i32(i64 call, i64 operands, i64 dims, i64 begin, i64 end)")
def add(call, operands, dims, begin, end):
    """float64: out[i] = x[i] + y[i]."""
    for i in range(begin, end):
        value = load_f64(load_i64(operands) + 8 * i) + load_f64(load_i64(operands + 8) + 8 * i)
        store_f64(load_i64(operands + 16) + 8 * i, value)
    return 0


@native("i32(i64 call, i64 operands, i64 dims, i64 begin, i64 end)")
def heavy(call, operands, dims, begin, end):
    """float64: out[i] = x[i] after dims[0] rounds of x = x * 0.999 + 0.001."""
    for i in range(begin, end):
        value = load_f64(load_i64(operands) + 8 * i)
        for _ in range(load_i64(dims)):
            value = value * 0.999 + 0.001
        store_f64(load_i64(operands + 8) + 8 * i, value)
    return 0


@native("i32(i64 call, i64 operands, i64 dims, i64 begin, i64 end)")
def copy_bytes(call, operands, dims, begin, end):
    """out = x, dims[0] words."""
    for i in range(load_i64(dims)):
        store_i64(load_i64(operands + 8) + 8 * i, load_i64(load_i64(operands) + 8 * i))
    return 0


@native("i32(i64 call, i64 operands, i64 dims, i64 begin, i64 end)")
def refuse_negative(call, operands, dims, begin, end):
    """float64: status 1 at a negative x[i], with i and the length as details; else as square_plus_one."""
    for i in range(begin, end):
        value = load_f64(load_i64(operands) + 8 * i)
        if value < 0.0:
            store_i64(call + 16, i)
            store_i64(call + 24, load_i64(dims))
            return 1
        store_f64(load_i64(operands + 8) + 8 * i, value * value + 1.0)
    return 0


@native("i32(i64 call, i64 operands, i64 dims, i64 begin, i64 end)")
def sleep(call, operands, dims, begin, end):
    """Sleep for dims[0] microseconds per unit; give dims[1]."""
    for _ in range(begin, end):
        usleep(i32(load_i64(dims)))
    return i32(load_i64(dims + 8))


@native("i32(i64 call, i64 operands, i64 dims, i64 begin, i64 end)")
def mark(call, operands, dims, begin, end):
    """int64: out[i] += 1 for the units, out[-1] = begin of the last call."""
    for i in range(begin, end):
        place = load_i64(operands) + 8 * i
        store_i64(place, load_i64(place) + 1)
    return 0


@functools.cache
def addresses():
    """The address of each thunk function."""
    return Module([square_plus_one, add, heavy, copy_bytes, refuse_negative, sleep, mark]).load()


def thunk(name, operands, extent, grain=None, cost=10.0, dims=()):
    """A step: a function of this module, by name."""
    return Thunk(addresses()[name], tuple(operands), tuple(dims), extent, grain or max(extent, 1), cost)


def unary(name, shape, count=1, dtype=F8, **options):
    """`count` inputs of one shape, and as many outputs, each the function of its input."""
    size = int(np.prod(shape))
    thunks = [thunk(name, (i, count + i), size, **options) for i in range(count)]
    outputs = [Output(count + i, dtype, shape) for i in range(count)]
    return NativeProgram(Program(thunks, 2 * count, 0, [], [], range(count), outputs))


def arrays(shape, count, dtype=F8):
    """Specs of `count` arguments, and of as many results."""
    return [Array(i, dtype, shape) for i in range(count)], Tuple(tuple(Result(i) for i in range(count)))


class Failed(Exception):
    """What the tests' programs raise: the words of the call."""


def fail(*words):
    """Raise what a program left."""
    raise Failed(*words)
