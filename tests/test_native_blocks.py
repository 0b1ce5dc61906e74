"""Memory of results: ordinary arrays whose blocks come back when they go."""

from __future__ import annotations

import copy
import gc
import pickle
import subprocess
import sys
import threading
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest

import fgrad
from fgrad.compile.native import blocks, library

double = fgrad.jit(lambda x: x + x)


def handler(array: np.ndarray) -> str:
    """The name of the memory handler of an array."""
    return np._core.multiarray.get_handler_name(array)


@pytest.fixture
def x():
    """An argument of a program that has run, so that native dispatch makes the results; nothing waits."""
    values = np.arange(120_000, dtype=np.float32).reshape(300, 400)
    double(values)
    gc.collect()
    fgrad.cache.clear(disk=False)
    double(values)
    library.release_blocks()
    assert library.idle_bytes() == 0
    return values


def test_a_result_is_an_ordinary_array(x):
    y = double(x)
    assert handler(y) == "fgrad" and np._core.multiarray.get_handler_name() == "default_allocator"
    assert y.base is None and repr(y.flags) == repr((x + x).flags)
    assert y.__array_interface__["data"][0] % 64 == 0
    np.testing.assert_array_equal(y, x + x)
    for other in (copy.copy(y), copy.deepcopy(y), pickle.loads(pickle.dumps(y)), y[::2].copy()):
        assert handler(other) != "fgrad"
    y[:] = 1
    assert (y == 1).all()


@pytest.mark.parametrize("shape", [(2000,), (2000, 1), (1, 2000), (20, 100), (2, 10, 100), (1, 1, 1, 2000)])
def test_flags_are_those_of_numpy(shape):
    x = np.ones(shape)
    for _ in range(3):  # the third call is native dispatch's
        y = double(x)
    assert handler(y) == "fgrad" and repr(y.flags) == repr(np.empty(shape).flags) and y.strides == x.strides


def test_a_block_is_used_again(x):
    y = double(x)
    address = y.__array_interface__["data"][0]
    view = y[10:20]
    del y
    assert library.idle_bytes() == 0  # the view holds the array
    del view
    assert library.idle_bytes() >= x.nbytes
    again = double(x)
    assert again.__array_interface__["data"][0] == address and library.idle_bytes() == 0
    np.testing.assert_array_equal(again, x + x)


def test_two_results_that_live_have_memory_of_their_own(x):
    results = [double(x + i) for i in range(5)]
    starts = sorted(y.__array_interface__["data"][0] for y in results)
    assert all(b - a >= x.nbytes for a, b in pairwise(starts))
    for i, y in enumerate(results):
        np.testing.assert_array_equal(y, 2 * (x + i))


def test_small_and_empty_results_are_numpys():
    for n in (0, 1, blocks.SMALLEST // 8 - 1):
        x = np.ones(n)
        for _ in range(2):
            y = double(x)
        assert handler(y) == "default_allocator"


def test_resize_keeps_the_values(x):
    y = double(x)
    y.resize((1000, 400), refcheck=False)
    np.testing.assert_array_equal(y[:300], x + x)
    assert not y[300:].any() and library.idle_bytes() >= x.nbytes
    y.resize((3, 4), refcheck=False)
    np.testing.assert_array_equal(y.ravel(), (x + x).ravel()[:12])


def test_a_donated_result_is_donated_again(x):
    step = fgrad.jit(lambda x: x + 1, donate_argnums=0)
    y = double(x)
    step(y.copy())
    assert step(y) is y
    np.testing.assert_array_equal(y, 2 * x + 1)


def test_what_waits_is_bounded():
    library.release_blocks()
    n = blocks.LIMIT // 8 // 8
    x = np.zeros(n)
    double(x)
    results = [double(x) for _ in range(12)]
    for _ in range(12):
        results.pop()
        assert library.idle_bytes() <= blocks.LIMIT
    assert library.idle_bytes() > 0
    huge = np.zeros(blocks.LIMIT // 8 + 1)
    for _ in range(2):
        y = double(huge)
    assert handler(y) == "default_allocator"
    fgrad.cache.clear(disk=False)
    assert library.idle_bytes() == 0


def test_blocks_of_any_size_hold_what_is_asked():
    library.library()
    sizes = sorted({int(1024 * 1.07**i) for i in range(110)} | {1024 << k for k in range(12)})
    for size in sizes:
        x = np.zeros(size, np.uint8)
        x[-1] = 7
        f = fgrad.jit(lambda x: x | np.uint8(8))
        f(x)
        y, z = f(x), f(x)
        before = (y[0], y[-1])
        z[:] = 0
        assert before == (y[0], y[-1]) == (8, 15)


def test_tracemalloc_sees_the_results(x):
    tracemalloc.start()
    try:
        start = tracemalloc.get_traced_memory()[0]
        y = double(x)
        assert tracemalloc.get_traced_memory()[0] - start >= x.nbytes
        del y
        assert tracemalloc.get_traced_memory()[0] - start < x.nbytes // 2
    finally:
        tracemalloc.stop()


def test_threads_give_back_what_others_took(x):
    def work(results):
        for i in range(50):
            results.append(double(x + i))
            if len(results) > 3:
                results.pop(0)

    shared: list[np.ndarray] = []
    threads = [threading.Thread(target=work, args=(shared,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for y in shared:
        np.testing.assert_array_equal(y - y[0, 0], 2 * x)


def test_arrays_may_outlive_everything():
    text = (
        "import sys, numpy as np, fgrad\n"
        "f = fgrad.jit(lambda x: x + 1)\n"
        "x = np.ones(5000)\n"
        "f(x)\n"
        "class Last:\n"
        "    def __del__(self): del self.y\n"
        "last = Last()\n"
        "last.y = f(x)\n"
        "sys.last_result = f(x)\n"
        "last.me = last\n"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr
