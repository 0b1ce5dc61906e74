"""Microseconds of a call from Python into a compiled program, and of its parts, where the program itself does nothing.

python benchmarks/dispatch.py
"""

import sys
import timeit
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from native_programs import F8, arrays, fail, thunk, unary

from fgrad.compile.native import pool
from fgrad.compile.native.entry import Dispatcher, Entry
from fgrad.compile.native.program import NativeProgram, Output, Program
from fgrad.compile.native.specs import Array, Dict, List, Number, Result


def best(function, number=2000, repeat=15):
    """The least time of a call, in microseconds."""
    return min(timeit.repeat(function, number=number, repeat=repeat)) / number * 1e6


def dispatcher(args, program, result):
    """A function with one entry."""
    calls = Dispatcher()
    calls.add(Entry(args, {}, program, result, fail))
    return calls.function


def pytree(leaf):
    """Ten layers of two leaves, by name."""
    return Dict(tuple(f"layer{i}" for i in range(10)), tuple(List((leaf(2 * i), leaf(2 * i + 1))) for i in range(10)))


def chain(length):
    """A program of so many thunks on ten elements."""
    thunks = [thunk("square_plus_one", (0, 1), 10) for _ in range(length)]
    return NativeProgram(Program(thunks, 2, 0, [], [], [0], [Output(1, F8, (10,))]))


def regions(length):
    """A program of so many parallel thunks of about 20 microseconds."""
    thunks = [thunk("heavy", (0, 1), 64, 8, 20_001.0, (200,)) for _ in range(length)]
    return NativeProgram(Program(thunks, 2, 0, [], [], [0], [Output(1, F8, (64,))]))


def main():
    """Measure and print."""
    x, small = np.ones(10), np.ones((3, 3))
    tree = {f"layer{i}": [small.copy(), small.copy()] for i in range(10)}
    scalar = dispatcher([Number(0, float, F8)], unary("square_plus_one", ()), Result(0))
    array = dispatcher([Array(0, F8, (10,))], unary("square_plus_one", (10,)), Result(0))
    trees = dispatcher([pytree(lambda i: Array(i, F8, (3, 3)))], unary("square_plus_one", (3, 3), 20), pytree(Result))
    flat = dispatcher(*(lambda a, r: (a, unary("square_plus_one", (3, 3), 20), r))(*arrays((3, 3), 20)))
    leaves = [small] * 20
    rows = {
        "a Python function that returns its argument": lambda: (lambda a: a)(x),
        "np.empty(10)": lambda: np.empty(10),
        "x * x + 1 in NumPy, 10 elements": lambda: x * x + 1,
        "a float in, a float64 out": lambda: scalar(3.0),
        "10 elements in and out": lambda: array(x),
        "20 arrays in and out, a dict of lists": lambda: trees(tree),
        "20 arrays in and out, flat": lambda: flat(*leaves),
        "20 times np.empty((3, 3))": lambda: [np.empty((3, 3)) for _ in range(20)],
    }
    for name, function in rows.items():
        print(f"{name:45s} {best(function):8.3f} us")
    one, many = (dispatcher([Array(0, F8, (10,))], chain(n), Result(0)) for n in (1, 1001))
    step = (best(lambda: many(x), 100) - best(lambda: one(x), 1000)) / 1000
    print(f"{'one more thunk on 10 elements':45s} {step:8.3f} us")
    y = np.ones(64)
    before = pool.get_num_threads()
    for threads in (1, before):
        pool.set_num_threads(threads)
        one, many = (dispatcher([Array(0, F8, (64,))], regions(n), Result(0)) for n in (1, 201))
        step = (best(lambda: many(y), 20) - best(lambda: one(y), 200)) / 200  # noqa: B023
        print(f"{f'one more region of 20 us, {threads} threads':45s} {step:8.3f} us")
    pool.set_num_threads(before)


if __name__ == "__main__":
    main()
