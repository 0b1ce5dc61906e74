"""Callbacks in lax.scan, while_loop, fori_loop, map, cond and switch: as often, and in the order, as Python would."""

import numpy as np
import pytest
from called import SCALAR, X, io, pure, ways

import fgrad
import fgrad.numpy as fnp
from fgrad import debug, lax
from fgrad.compile.executable import Executable

N = np.arange(1.0, 4.0)


@pytest.fixture
def log():
    return []


def note(log):
    return lambda *xs: log.append(tuple(float(x) for x in xs))


@ways
class TestRuns:
    def test_scan(self, wrap, log):
        def body(c, n):
            io(note(log), None, c, n, ordered=True)
            c = pure(lambda c, n: c * n, SCALAR, c, n)
            debug.callback(note(log), c)
            return c, c

        f = wrap(lambda x: lax.scan(body, x, N))
        for x in (1.0, 2.0):
            del log[:]
            carry, ys = f(x)
            assert carry == 6 * x
            np.testing.assert_array_equal(ys, x * np.array([1.0, 2.0, 6.0]))
            steps = [(x, 1.0), (x,), (x, 2.0), (2 * x,), (2 * x, 3.0), (6 * x,)]
            assert log == steps

    def test_while_loop(self, wrap, log):
        def go_on(c):
            debug.callback(note(log), c, -1)
            return c < 5.0

        def body(c):
            return io(lambda c: (log.append("body"), 2 * c)[1], SCALAR, c)

        f = wrap(lambda x: lax.while_loop(go_on, body, x))
        for x in (2.0, 7.0):
            del log[:]
            assert f(x) == (8.0 if x == 2.0 else 7.0)
            visits = [(2.0, -1.0), "body", (4.0, -1.0), "body", (8.0, -1.0)]
            assert log == (visits if x == 2.0 else [(7.0, -1.0)])

    def test_a_loop_for_nothing_else(self, wrap, log):
        f = wrap(lambda x: (lax.fori_loop(0, 3, lambda i, c: (io(note(log), None, i), c)[1], 0.0), x)[1])
        assert f(2.0) == 2.0 and log == [(0.0,), (1.0,), (2.0,)]
        del log[:]
        g = wrap(lambda x: (lax.map(lambda v: debug.callback(note(log), v), x), x)[1])
        np.testing.assert_array_equal(g(X), X)
        assert log == [(x,) for x in X]

    def test_branches(self, wrap, log):
        branches = [lambda x, k=k: (io(note(log), None, k, x), k * x)[1] for k in range(3)]
        f = wrap(lambda i, x: lax.switch(i, branches, x))
        assert [f(i, 2.0) for i in (2, 0, 1)] == [4.0, 0.0, 2.0]
        assert log == [(2.0, 2.0), (0.0, 2.0), (1.0, 2.0)]
        del log[:]
        g = wrap(lambda x: lax.cond(x > 0, lambda: io(note(log), None, x), lambda: debug.callback(note(log), -x)))
        assert g(1.0) is None and g(-2.0) is None
        assert log == [(1.0,), (2.0,)]

    def test_exceptions(self, wrap, log):
        failure = ArithmeticError("three is enough")

        def fail(c):
            log.append(c)
            if len(log) == 3:
                raise failure
            return c + 1

        f = wrap(lambda x: lax.fori_loop(0, 10, lambda i, c: io(fail, SCALAR, c), x))
        with pytest.raises(ArithmeticError) as caught:
            f(0.0)
        assert caught.value is failure and log == [0.0, 1.0, 2.0]
        assert f(5.0) == 15.0

    def test_derivatives(self, wrap, log):
        """The values are seen once; what is computed again on the way back is not seen again."""

        def body(c, n):
            debug.callback(note(log), c, n)
            return fnp.sin(c) * n, None

        def branch(x):
            return lax.cond(x > 0, lambda x: (debug.callback(note(log), x), x**2)[1], lambda x: x, x)

        f = lambda x: lax.scan(body, x, N)[0]  # noqa: E731
        g = lambda x: lax.while_loop(lambda c: c < 5.0, lambda c: body(c, 1.0)[0] + 2 * c, x)  # noqa: E731
        for h, x in ((f, 2.0), (branch, 2.0), (g, 1.0)):
            h(x)
            want = list(log)
            assert want
            for way in (
                fgrad.grad(h),
                fgrad.grad(fgrad.jit(h)),
                lambda x, h=h: fgrad.jvp(h, (x,), (1.0,)),
                fgrad.hessian(h),
            ):
                del log[:]
                wrap(way)(x)
                assert log == want
            del log[:]

    def test_lanes(self, wrap, log):
        """Lanes whose loop has ended, or that take the other branch, call nothing."""
        body = lambda c: (io(note(log), None, c), 2 * c)[1]  # noqa: E731
        f = wrap(fgrad.vmap(lambda x: lax.while_loop(lambda c: c < 4.0, body, x)))
        np.testing.assert_array_equal(f(np.array([1.0, 3.0, 5.0])), [4.0, 6.0, 5.0])
        assert sorted(log) == [(1.0,), (2.0,), (3.0,)]
        del log[:]
        g = wrap(fgrad.vmap(lambda x: lax.cond(x > 0, lambda x: io(np.sqrt, SCALAR, x), lambda x: -x, x)))
        with np.errstate(invalid="raise"):
            np.testing.assert_array_equal(g(np.array([4.0, -1.0])), [2.0, 1.0])

    def test_an_index_that_does_not_exist(self, wrap, log):
        """In the third step: what was called before it is not called again to explain it."""

        def body(c, i):
            io(note(log), None, i)
            y = fnp.take(X, i, mode="raise") + c
            io(note(log), None, y)
            return y, y

        f = wrap(lambda x, i: lax.scan(body, x, i))
        f(0.0, np.array([0, 1, 2]))
        assert len(log) == 6
        del log[:]
        with pytest.raises(IndexError, match="index 7 is out of bounds for axis 0 with size 3"):
            f(0.0, np.array([0, 1, 7, 2]))
        assert log == [(0.0,), (0.5,), (1.0,), (-0.5,), (7.0,)]


@pytest.mark.parametrize("reason", ["far", "NaN"])
def test_a_program_that_is_run_again(monkeypatch, log, reason):
    reruns, mistrust = [], Executable.mistrust

    def noted(self, why):
        reruns.append(why)
        mistrust(self, why)

    monkeypatch.setattr(Executable, "mistrust", noted)

    def step(x):
        if reason == "far":
            return fnp.sum(fnp.sin(x))
        return fnp.sum(fgrad.grad(lambda x: fnp.sum(fnp.where(x > 0, fnp.log(x), 0.0)))(x))

    @fgrad.jit
    def f(xs):
        def body(c, x):
            io(note(log), None, c)
            if reason == "far":  # programs with results of callbacks in loops do not hope for the best with NaN
                return io(lambda c: c + 1, SCALAR, c), step(x)
            return c + 1, step(x)

        return lax.scan(body, 0.0, xs)

    odd = 1e300 if reason == "far" else 0.0
    xs = np.ones((4, 5))
    xs[2, 3] = odd
    with np.errstate(divide="ignore"):
        want = [sum(np.sin(x)) if reason == "far" else np.count_nonzero(x) for x in xs]
    count, found = f(xs)
    assert reruns and count == 4.0
    np.testing.assert_allclose(found, want, rtol=1e-12)
    assert log == [(0.0,), (1.0,), (2.0,), (3.0,)]
