"""Thunks for the tests and the benchmark of the native runtime, in the native language, and programs made of them."""

import collections
import ctypes
import functools

import numpy as np

from fgrad.compile.native.entry import Dispatcher, Entry
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
from fgrad.compile.native.specs import Array, Dict, List, Result, Same, Tuple

F8 = np.dtype(np.float64)
Point = collections.namedtuple("Point", "x y")
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


def dispatcher(args, program, result=None, kwargs=None, failed=fail, unflatten=None):
    """A dispatcher with one entry."""
    found = Dispatcher()
    found.add(Entry(args, kwargs or {}, program, result or Result(0), failed, unflatten))
    return found


def same(got, want):
    """Equal in type, dtype, shape and bits."""
    assert type(got) is type(want)
    assert got.dtype == want.dtype and got.shape == want.shape and got.tobytes() == want.tobytes()


def copier(size):
    """The address of a thunk that copies so many bytes, through Python."""

    def copy(call, operands, dims, begin, end):
        source, to = (ctypes.c_void_p.from_address(operands + 8 * i).value for i in range(2))
        ctypes.memmove(to, source, size)
        return 0

    return ctypes.cast(callback(copy), ctypes.c_void_p).value


KEPT = []


def callback(function):
    """A Python function as a thunk."""
    words = [ctypes.c_int64] * 5
    KEPT.append(ctypes.CFUNCTYPE(ctypes.c_int32, *words)(function))
    return KEPT[-1]


def trees():
    """Specs of a tree of six arrays, and of a result of another form; the tree and the result for it."""
    a = [Array(i, F8, (i,)) for i in range(6)]
    args = [Dict(("w", 3), (List((a[0], Tuple((a[1], Same(None))))), a[2])), Tuple((a[3], a[4]), Point)]
    result = Dict(
        ("z", "a"),
        (List((Result(5), Same("constant"), Tuple(()))), Tuple((Tuple((Result(0), Result(1)), Point), Result(2)))),
    )
    result = Tuple((result, List((Result(3), Result(4), Dict((), ())))))
    thunks = [thunk("square_plus_one", (i, 6 + i), i) for i in range(6)]
    outputs = [Output(6 + i, F8, (i,)) for i in range(6)]
    program = NativeProgram(Program(thunks, 12, 0, [], [], range(6), outputs))
    x = [np.arange(float(i)) + i for i in range(6)]
    values = [{"w": [x[0], (x[1], None)], 3: x[2]}, Point(x[3], x[4])], {"extra": x[5]}
    y = [v * v + 1 for v in x]
    wanted = ({"z": [y[5], "constant", ()], "a": (Point(y[0], y[1]), y[2])}, [y[3], y[4], {}])
    return args, {"extra": a[5]}, program, result, values, wanted
