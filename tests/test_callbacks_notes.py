"""What a program notes of its callbacks, so that it can be run again, does not grow with the number of calls."""

import tracemalloc

import numpy as np
import pytest
from called import SCALAR, io
from pinned import bad, refused

import fgrad
import fgrad.numpy as fnp
from fgrad import debug, lax
from fgrad.compile.executable import ProgramFailure
from fgrad.core.errors import OutOfBoundsError
from fgrad.regions import callbacks

BATCH = fgrad.ShapeDtypeStruct((128,), np.float64)  # a KB


def peak(f, *args):
    """Bytes that a call of `f` has at most, beside those that were there before: the least of some calls.

    Code is made in the first of them.
    """
    found = []
    tracemalloc.start()
    try:
        for _ in range(3):
            start = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            f(*args)
            found.append(tracemalloc.get_traced_memory()[1] - start)
    finally:
        tracemalloc.stop()
    return min(found)


@pytest.fixture
def little_room(monkeypatch):
    monkeypatch.setattr(callbacks, "ROOM", 100_000)


@pytest.mark.parametrize("call", [debug.callback, lambda f, x: io(f, None, x)], ids=["debug", "io"])
def test_calls_without_results(call):
    """The sine may stop the program at any step."""

    def body(i, c):
        call(lambda c: None, c)
        return fnp.sin(c) + i

    f = fgrad.jit(lambda n: lax.fori_loop(0, n, body, 0.5))
    assert peak(f, 5000) - peak(f, 50) < 5000  # an object for each would be 8 times as much and more


def test_results_of_loops(little_room):
    def body(c):
        i, total = c
        return i + 1, fnp.sin(total) + io(lambda i: np.full(128, float(i)), BATCH, i).sum()

    f = fgrad.jit(lambda n: lax.while_loop(lambda c: c[0] < n, body, (0, 0.0))[1])
    assert peak(f, 1000) - peak(f, 10) < 200_000
    np.testing.assert_allclose(f(3), np.sin(np.sin(0.0) + 128) + 256, rtol=1e-14)


class TestTooManyResults:
    """More than there is room for: the program cannot be run again, and no callback is called a second time."""

    @pytest.fixture
    def calls(self, little_room):
        return []

    @staticmethod
    def read(calls, i):
        return io(lambda i: (calls.append(int(i)), np.full(128, float(i)))[1], BATCH, i)

    def test_an_index_in_the_loop(self, calls):
        """What the loop's kernels say of it is enough."""

        @fgrad.jit
        def f(x, n):
            return lax.fori_loop(0, n, lambda i, c: c + self.read(calls, i).sum() * x[i % 300], 0.0)

        with pytest.raises(
            OutOfBoundsError, match=r"index 3 is out of bounds for axis 0 with size 3\n  at:.*x\[i % 300"
        ):
            f(np.arange(3.0), 200)
        assert calls == [0, 1, 2, 3]

    def test_an_index_behind_the_loop(self, calls):
        f = fgrad.jit(lambda n, x, i: lax.fori_loop(0, n, lambda i, c: c + self.read(calls, i).sum(), 0.0) + x[i])
        for n, error in ((20, OutOfBoundsError), (200, ProgramFailure)):
            del calls[:]
            with pytest.raises(error):
                f(n, np.ones(3), 7)
            assert calls == [*range(n)]

    def test_arguments_too_far_for_our_sine(self, calls):
        f = fgrad.jit(lambda n, x: fnp.sin(lax.fori_loop(0, n, lambda i, c: c + 0 * self.read(calls, i).sum(), x)))
        refused(
            lambda: f(200, 1e300 if bad else 1.0),  # here
            ProgramFailure,
            "a NaN, or sin, cos or tan of an argument beyond 2**46, met when callbacks had returned too much to note",
            do="call it again, it is now made for that; or let io_callback return less than 64 MB in one run",
        )
        assert calls == [*range(200)]
        assert f(200, 1e300) == np.sin(1e300)

    def test_zeros_that_annihilate(self, calls):
        """Such programs do not leave them out in the hope that none is needed."""

        def body(i, c):
            slope = fgrad.grad(lambda x: fnp.sum(fnp.where(x > 0, fnp.log(x), 0.0)))(self.read(calls, i))
            return c + slope[0]

        f = fgrad.jit(lambda n: lax.fori_loop(0, n, lambda i, c: body(199 - i, c), 0.0))
        np.testing.assert_allclose(f(200), np.sum(1 / np.arange(1.0, 200)), rtol=1e-14)
        assert calls == [*range(199, -1, -1)]


def test_calls_of_programs_that_callbacks_run():
    """They have notes of their own."""
    seen = []

    @fgrad.jit
    def inner(x):
        return fnp.sin(x) + io(lambda x: (seen.append(x), 2 * x)[1], SCALAR, x)

    @fgrad.jit
    def outer(x):
        y = io(lambda x: inner(x), SCALAR, x)
        return fnp.sin(x) + y

    for x in (1.0, 1e300):
        del seen[:]
        assert np.isclose(outer(x), 2 * np.sin(x) + 2 * x, rtol=1e-15) and seen == [x]
