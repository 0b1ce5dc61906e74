"""What the tests of callbacks share: functions to call, and the ways in which a program around them runs."""

import functools

import numpy as np
import pytest

import fgrad

SCALAR = fgrad.ShapeDtypeStruct((), np.float64)
X = np.array([0.5, -1.0, 2.0])
WAYS = [lambda f: f, *[functools.partial(fgrad.jit, backend=b) for b in ("native", "numba", "interpreter")]]
ways = pytest.mark.parametrize("wrap", WAYS, ids=["eager", "native", "numba", "interpreter"])
eager_and_jit = pytest.mark.parametrize("wrap", WAYS[:2], ids=["eager", "jit"])
pure, io = fgrad.pure_callback, fgrad.io_callback
both = pytest.mark.parametrize("call", [pure, io], ids=["pure", "io"])


def like(x):
    return fgrad.ShapeDtypeStruct(np.shape(x), x.dtype)


def counted(f):
    """`f`, and the list of what it was called with."""
    calls = []

    def g(*xs):
        calls.append(xs)
        return f(*xs)

    return g, calls


def double(x):
    return 2 * x
