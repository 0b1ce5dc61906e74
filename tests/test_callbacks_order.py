"""In which order callbacks are called, and that none is called again where a program is run again."""

import functools

import numpy as np
import pytest
from called import SCALAR, X, io
from pinned import bad, refused

import fgrad
import fgrad.numpy as fnp
from fgrad.compile.executable import Executable, ProgramFailure
from fgrad.core.errors import OutOfBoundsError


@pytest.fixture
def reruns(monkeypatch):
    """The reasons for which programs were planned anew, to be run again."""
    found, mistrust = [], Executable.mistrust

    def noted(self, reason):
        found.append(reason)
        mistrust(self, reason)

    monkeypatch.setattr(Executable, "mistrust", noted)
    return found


class TestOrder:
    def test_between_kernels(self):
        """The order of the program, although all sums over x could be one kernel and the products come first."""
        order = []

        def note(name):
            return lambda v: order.append((name, float(v)))

        @fgrad.jit
        def f(x):
            a, b, c = x.sum(), (x @ x.T).sum(), (x * x).sum()
            io(note("c"), None, c, ordered=True)
            io(note("a"), None, a, ordered=True)
            d = fnp.exp(x).sum()
            io(note("b"), None, b, ordered=True)
            io(note("d"), None, d, ordered=True)
            io(note("a"), None, a, ordered=True)
            return a + b

        x = np.random.default_rng(0).normal(size=(60, 60))
        for _ in range(3):
            del order[:]
            f(x)
            assert [name for name, _ in order] == ["c", "a", "b", "d", "a"]
        want = [(x * x).sum(), x.sum(), (x @ x.T).sum(), np.exp(x).sum(), x.sum()]
        np.testing.assert_allclose([v for _, v in order], want)

    @pytest.mark.parametrize("options", [{}, {"backend": "interpreter"}, {"donate_argnums": 0}], ids=repr)
    def test_between_what_may_raise(self, options):
        """What the program does before an index that does not exist is done, what it does behind it is not.

        If it may overwrite its argument, the program cannot be run again to explain the error.
        """
        order = []

        @functools.partial(fgrad.jit, **options)
        def f(x, i, j):
            io(lambda v: order.append("first"), None, x[0])
            y = x[i] + 1
            io(lambda v: order.append("second"), None, x[0])
            z = x[j] + 2
            io(lambda v: order.append("third"), None, x[0])
            return x * (y * z)

        np.testing.assert_array_equal(f(X.copy(), 0, 1), X * (X[0] + 1) * (X[1] + 2))
        assert order == ["first", "second", "third"]
        for i, j, done in ((9, 0, ["first"]), (0, 9, ["first", "second"]), (9, 9, ["first"])):
            del order[:]
            with pytest.raises(ProgramFailure if "donate_argnums" in options else IndexError):
                f(X.copy(), i, j)
            assert order == done


class TestSecondRuns:
    """Programs that stop in the middle, and are run again: no callback is called again."""

    def test_a_product_that_was_taken_at_its_word(self, reruns):
        seen = []

        @fgrad.jit
        def f(x):
            n = io(lambda x: (seen.append(x), 2.0)[1], SCALAR, x)
            g = fgrad.grad(lambda x: fnp.sum(fnp.where(x > 0, fnp.log(x), 0.0)))(x)
            io(seen.append, None, g)
            return n * g

        x = np.array([0.0, 1.0, 2.0])
        for _ in range(2):
            np.testing.assert_array_equal(f(x), [0.0, 2.0, 1.0])
        assert len(reruns) == 1
        np.testing.assert_array_equal(seen, [x, [0.0, 1.0, 0.5]] * 2)

    def test_arguments_too_far_for_our_sine(self, reruns):
        seen = []

        def f(x):
            io(seen.append, None, x[1])
            y = fnp.sin(2 * x)
            io(seen.append, None, y[1])
            return y

        x = np.array([1e300, 1.0])
        for g in (fgrad.jit(f), fgrad.grad(lambda x: fgrad.jit(f)(x)[0])):
            del seen[:], reruns[:]
            g(x)
            assert reruns and np.allclose(seen, [1.0, np.sin(2.0)])

    def test_within_a_program_that_a_program_calls(self, reruns):
        """A checkpointed function is a program of its own: either may have to run again, or both."""
        seen = []

        @fgrad.checkpoint
        def inner(x):
            n = io(lambda x: (seen.append(x), 2.0)[1], SCALAR, x[1])
            return fnp.sin(n * x)

        @fgrad.jit
        def f(x, z, i):
            io(seen.append, None, x[1])
            y = inner(x)
            io(seen.append, None, y[1])
            return (fnp.sin(z) + y)[i]

        near, far = np.array([1.0, 2.0]), np.array([1e300, 2.0])
        for x, z, count in ((near, near, 0), (far, near, 1), (near, far, 1), (far, far, 0)):
            del seen[:], reruns[:]
            np.testing.assert_allclose(f(x, z, 0), np.sin(z[0]) + np.sin(2 * x[0]), rtol=1e-15)
            assert len(reruns) == count and np.allclose(seen, [2.0, 2.0, np.sin(4.0)])
        del seen[:]
        with pytest.raises(OutOfBoundsError, match=r"\(fnp\.sin\(z\) \+ y\)\[i\]"):
            f(far, far, 7)
        assert np.allclose(seen, [2.0, 2.0, np.sin(4.0)])

    def test_in_a_custom_rule(self, reruns):
        seen = []

        @fgrad.jit
        def inner(x):
            io(seen.append, None, x[1])
            return fnp.sin(x)

        rule = fgrad.custom_vjp(inner)
        rule.defvjp(lambda x: (inner(x), None), lambda _, ct: (ct,))

        @fgrad.jit
        def f(x, i):
            io(seen.append, None, x[1])
            y = rule(x)
            io(seen.append, None, y.sum())
            return y[i]

        x = np.array([1e300, 1.0])
        want = [1.0, 1.0, np.sin(x).sum()]
        assert f(x, 1) == np.sin(1.0)
        assert reruns and np.allclose(seen, want)
        del seen[:]
        with pytest.raises(OutOfBoundsError, match=r"return y\[i\]"):
            f(x, 7)
        assert np.allclose(seen, want)

    def test_an_index_error_with_its_line(self):
        calls = []
        f = fgrad.jit(lambda x, i: (io(calls.append, None, x), x[i if bad else 0])[1])  # here
        refused(
            lambda: f(X, 7),
            OutOfBoundsError,
            "index 7 is out of bounds for axis 0 with size 3",
            got="float64[3]",
            do='correct the index, or choose mode="clip", "wrap", "fill" or "drop"',
        )
        assert len(calls) == 1

    def test_an_index_error_of_the_callbacks_own(self):
        calls = []

        def look(x):
            calls.append(x)
            fgrad.jit(lambda x, i: x[i])(x, 5)

        for f in (
            fgrad.jit(lambda x: io(look, None, x)),
            fgrad.grad(lambda x: (fgrad.jit(lambda x: io(look, None, x))(x), x.sum())[1]),
        ):
            del calls[:]
            with pytest.raises(OutOfBoundsError, match=r"fgrad\.jit\(lambda x, i: x\[i\]\)"):
                f(X)
            assert len(calls) == 1
