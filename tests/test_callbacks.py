"""pure_callback and io_callback: when Python functions are called, with what, and what becomes of their results."""

import contextvars
import functools
import math
import threading

import numpy as np
import pytest
from pinned import bad, refused

import fgrad
import fgrad.numpy as fnp
from fgrad.compile.executable import Executable
from fgrad.core.errors import (
    DtypeError,
    LeafError,
    LinearityError,
    MissingRuleError,
    OutOfBoundsError,
    ShapeError,
    TreeError,
)
from fgrad.experimental import io_callback as experimental

f8 = np.float64
SCALAR = fgrad.ShapeDtypeStruct((), f8)
X = np.array([0.5, -1.0, 2.0])
BACKENDS = [lambda f: f, *[functools.partial(fgrad.jit, backend=b) for b in ("native", "numba", "interpreter")]]
ways = pytest.mark.parametrize("wrap", BACKENDS, ids=["eager", "native", "numba", "interpreter"])
pure, io = fgrad.pure_callback, fgrad.io_callback
both = pytest.mark.parametrize("call", [pure, io], ids=["pure", "io"])


def like(x):
    return fgrad.ShapeDtypeStruct(np.shape(x), x.dtype)


@pytest.fixture
def reruns(monkeypatch):
    """The reasons for which programs were planned anew, to be run again."""
    found, mistrust = [], Executable.mistrust

    def noted(self, reason):
        found.append(reason)
        mistrust(self, reason)

    monkeypatch.setattr(Executable, "mistrust", noted)
    return found


# ------------------------------------------------------------------------------------------------ operands and results


@both
@ways
class TestValues:
    def test_arrays_in_and_out(self, wrap, call):
        f = wrap(lambda x: 1 + call(np.sin, like(x), 2 * x))
        for x in (X, X + 1):
            np.testing.assert_array_equal(f(x), 1 + np.sin(2 * x))

    def test_pytrees_and_keywords(self, wrap, call):
        def compute(point, scale, *, shift):
            assert sorted(point) == ["x", "y"] and type(scale) is f8 and type(shift) is np.int64
            return {"sum": point["x"] + point["y"], "rest": (scale * point["x"], shift)}

        def f(x, y):
            out = {"sum": like(x), "rest": (like(x), fgrad.ShapeDtypeStruct((), np.int64))}
            return call(compute, out, {"x": x, "y": y}, 3.0, shift=4)

        found = wrap(f)(X, X**2)
        np.testing.assert_array_equal(found["sum"], X + X**2)
        np.testing.assert_array_equal(found["rest"][0], 3 * X)
        assert found["rest"][1] == 4 and type(found["rest"][1]) is np.int64

    def test_arguments_are_the_callbacks_own(self, wrap, call):
        kept = []

        def hold(x, n):
            assert type(x) is np.ndarray and x.flags.carray and x.flags.owndata and type(n) is f8
            before = x.copy()
            kept.append((x, before))
            return 0.0

        def f(x):
            y = fnp.sin(x.T) @ fnp.cos(x)  # in memory that the program uses again
            n = call(hold, SCALAR, y, x[0, 0])
            return y + n

        f, x = wrap(f), np.arange(6.0).reshape(2, 3)
        wanted = np.sin(x.T) @ np.cos(x)
        np.testing.assert_allclose(f(x), wanted)
        f(x + 1)
        for y, before in kept:
            np.testing.assert_array_equal(y, before)
            y[...] = -7.0
        np.testing.assert_allclose(f(x), wanted)
        assert not np.array_equal(kept[0][1], kept[1][1])

    def test_an_argument_that_is_written(self, wrap, call):
        def clear(x):
            x[...] = 0.0
            return x

        x = X.copy()
        y, z = wrap(lambda x: (call(clear, like(x), x), x))(x)
        np.testing.assert_array_equal(y, np.zeros(3))
        np.testing.assert_array_equal(z, X)
        np.testing.assert_array_equal(x, X)

    def test_a_result_that_the_callback_keeps(self, wrap, call):
        buffer = np.ones(3)
        f = wrap(lambda x: call(lambda x: buffer, like(x), x))
        y = f(X)
        assert not np.shares_memory(y, buffer) and y.flags.writeable
        y[:] = 5.0
        np.testing.assert_array_equal(f(X), np.ones(3))

    def test_python_numbers_for_scalars(self, wrap, call):
        out = [fgrad.ShapeDtypeStruct((), t) for t in ("f4", "c8", "u1", "?")]
        found = wrap(lambda x: call(lambda x: [1, 2.5, 3, True], out, x))(0.0)
        assert [type(y) for y in found] == [np.float32, np.complex64, np.uint8, np.bool_]
        assert found == [1.0, 2.5, 3, True]

    def test_no_arguments(self, wrap, call):
        count = iter(range(10))
        f = wrap(lambda: call(lambda: next(count), fgrad.ShapeDtypeStruct((), int)))
        assert [f(), f(), f()] == [0, 1, 2]

    def test_operands_without_elements(self, wrap, call):
        y = wrap(lambda x: call(lambda x: x.sum(0), fgrad.ShapeDtypeStruct((0,), f8), x))(np.ones((2, 0)))
        assert y.shape == (0,)

    def test_literals_and_captured_arrays(self, wrap, call):
        table = np.arange(4.0)
        f = wrap(lambda x: x + call(lambda a, b, c: a[b] + c, SCALAR, table, 2, 0.25))
        assert f(1.0) == 3.25

    def test_context_and_warnings_are_the_callers(self, wrap, call):
        variable = contextvars.ContextVar("variable", default="nothing")
        seen = []

        def look(x):
            seen.append((variable.get(), np.geterr()["over"], np.get_printoptions()["precision"]))
            return x

        f = wrap(lambda x: call(look, like(x), x))
        f(X)
        variable.set("something")
        with np.errstate(over="raise"), np.printoptions(precision=3):
            f(X)
        assert seen == [("nothing", "warn", 8), ("something", "raise", 3)]


def test_pure_and_io_under_their_names():
    assert experimental is fgrad.io_callback
    fgrad.effects_barrier()


def test_methods_of_one_object_are_one_function():
    class Log(list):
        def note(self, x):
            self.append(float(x))

    first, second = Log(), Log()
    Log.__hash__ = lambda self: 0
    Log.__eq__ = lambda self, other: True  # which says nothing about where to write
    for log, x in ((first, 1.0), (second, 2.0)):
        fgrad.jit(lambda x, log=log: (io(log.note, None, x), io(log.append, None, x)))(x)
    assert (list(first), list(second)) == ([1.0, 1.0], [2.0, 2.0])


# --------------------------------------------------------------------------------------------------- when it is called


def counted(f):
    """`f`, and the list of what it was called with."""
    calls = []

    def g(*xs):
        calls.append(xs)
        return f(*xs)

    return g, calls


def double(x):
    return 2 * x


class TestRuns:
    def test_at_each_run_and_not_while_tracing(self):
        for call in (pure, io):
            for make in (
                lambda g, call: lambda x: x + call(g, SCALAR, 3.0),
                lambda g, call: lambda x: call(g, SCALAR, x),
            ):
                g, calls = counted(double)
                f = make(g, call)
                fgrad.make_jaxpr(f)(1.0)
                fgrad.eval_shape(f, 1.0)
                compiled = fgrad.jit(f).lower(1.0).compile()
                fgrad.jit(f).trace(1.0)
                assert calls == []
                compiled(1.0), compiled(2.0), fgrad.jit(f)(3.0)
                assert len(calls) == 3

    def test_a_known_operand_within_a_jitted_function_within_another(self):
        for call in (pure, io):
            for inline in (False, True):
                g, calls = counted(double)
                inner = fgrad.jit(lambda x, g=g, call=call: call(g, like(x), x), inline=inline)
                inner(X), inner(X)
                outer = fgrad.jit(lambda x, inner=inner: x + inner(X))
                del calls[:]
                fgrad.make_jaxpr(outer)(X)
                assert calls == []
                for _ in range(3):
                    np.testing.assert_array_equal(outer(X), 3 * X)
                assert len(calls) == 3

    def test_within_vmap_of_known_values_within_jit(self):
        g, calls = counted(double)
        f = fgrad.jit(lambda x: x + fgrad.vmap(lambda y: io(g, SCALAR, y))(X))
        for _ in range(2):
            np.testing.assert_array_equal(f(1.0), 1 + 2 * X)
        assert len(calls) == 6

    def test_what_nobody_uses(self):
        g, calls = counted(double)
        f = fgrad.jit(lambda x: (pure(g, SCALAR, x), x)[1])
        f(1.0)
        assert calls == []
        f = fgrad.jit(lambda x: (io(g, SCALAR, x), x)[1])
        f(1.0)
        assert calls == [(1.0,)]

    def test_equal_calls_are_not_merged(self):
        for call in (pure, io):
            g, calls = counted(double)

            def f(x, call=call, g=g):
                return [call(g, SCALAR, x) for _ in range(2)]

            assert fgrad.jit(f)(1.0) == [2.0, 2.0] and len(calls) == 2

    def test_a_function_without_results(self):
        g, calls = counted(lambda x: None)
        f = fgrad.jit(lambda x: io(g, None, x))
        assert f(1.0) is None
        assert fgrad.jit(lambda x: f(2 * x))(1.0) is None
        assert fgrad.jit(lambda x: (f(3 * x), x)[1])(1.0) == 1.0
        assert fgrad.grad(lambda x: (f(4 * x), x**2)[1])(1.0) == 2.0
        assert fgrad.jit(fgrad.grad(lambda x: (f(5 * x), x**2)[1]))(1.0) == 2.0
        assert fgrad.vmap(f, out_axes=None)(np.array([6.0, 7.0])) is None
        assert calls == [(float(i),) for i in range(1, 8)]

    def test_donated_arguments(self):
        seen = []

        @functools.partial(fgrad.jit, donate_argnums=0)
        def f(x):
            io(seen.append, None, x)
            y = 2 * x
            io(seen.append, None, y)
            return y

        x = X.copy()
        assert f(x) is x
        np.testing.assert_array_equal(seen, [X, 2 * X])

    def test_calls_of_jitted_functions_from_callbacks(self):
        @fgrad.jit
        def factorial(n):
            return pure(lambda n: factorial(n - 1) * n if n > 0 else 1.0, SCALAR, n)

        assert factorial(6) == 720.0

        log = []

        @fgrad.jit
        def noted(n):
            io(lambda n: log.append(int(n)), None, n)
            m = io(lambda n: noted(n - 1) if n > 0 else n, fgrad.ShapeDtypeStruct((), int), n)
            io(lambda n: log.append(-int(n)), None, n)
            return m

        assert noted(2) == 0 and log == [2, 1, 0, 0, -1, -2]

    def test_from_several_threads(self):
        f = fgrad.jit(lambda x: fnp.sum(pure(np.sin, like(x), x) + io(np.cos, like(x), x)))
        f(X)
        wrong = []

        def work(k):
            x = X + k
            for _ in range(50):
                if not np.isclose(f(x), np.sum(np.sin(x) + np.cos(x))):
                    wrong.append(k)

        threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert wrong == []


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

    @pytest.mark.parametrize("backend", ["native", "interpreter"])
    def test_between_what_may_raise(self, backend):
        """What the program does before an index that does not exist is done, what it does behind it is not."""
        order = []

        @functools.partial(fgrad.jit, backend=backend)
        def f(x, i, j):
            io(lambda v: order.append("first"), None, x[0])
            y = x[i] + 1
            io(lambda v: order.append("second"), None, x[0])
            z = x[j] + 2
            io(lambda v: order.append("third"), None, x[0])
            return y * z

        assert f(X, 0, 1) == (X[0] + 1) * (X[1] + 2)
        assert order == ["first", "second", "third"]
        for i, j, done in ((9, 0, ["first"]), (0, 9, ["first", "second"]), (9, 9, ["first"])):
            del order[:]
            with pytest.raises(IndexError):
                f(X, i, j)
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
        """A custom rule is run by NumPy calls, and may hold a jitted function."""
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
            io(seen.append, None, y[1])
            return fnp.sin(x)[i]

        x = np.array([1e300, 1.0])
        assert f(x, 1) == np.sin(1.0)
        assert len(reruns) >= 1 and np.allclose(seen, [1.0, 1.0, np.sin(1.0)])
        del seen[:]
        with pytest.raises(OutOfBoundsError, match=r"return fnp\.sin"):
            f(x, 7)
        assert np.allclose(seen, [1.0, 1.0, np.sin(1.0)])

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


# ------------------------------------------------------------------------------------------------------------- failing


class Failure(Exception):
    pass


@both
class TestExceptions:
    def test_come_out_as_they_are(self, call):
        failure = Failure("no")

        def fail(x):
            if x > 0:
                raise failure
            return x

        f = fgrad.jit(lambda x: 1 + call(fail, SCALAR, x))
        for g in (f, lambda x: fgrad.jit(f)(x), lambda x: fgrad.vmap(f)(np.array([x, x]))[0]):
            for _ in range(2):
                with pytest.raises(Failure) as caught:
                    g(1.0)
                assert caught.value is failure and caught.traceback[-1].name == "fail"
                assert g(-1.0) == 0.0

    def test_keyboard_interrupt(self, call):
        interrupting = [True]

        def interrupt(x):
            if interrupting.pop():
                raise KeyboardInterrupt
            return x

        f = fgrad.jit(lambda x: call(interrupt, SCALAR, x))
        with pytest.raises(KeyboardInterrupt):
            f(1.0)
        interrupting.append(False)
        assert f(2.0) == 2.0


PROMISED = "than result_shape_dtypes says"


class TestErrors:
    @pytest.mark.parametrize(
        ("change", "cls", "what", "got"),
        [
            ({"a": X}, ShapeError, f"['a'] has another shape {PROMISED}", "float64[3], expected float64[2]"),
            ({"a": 1.0}, ShapeError, f"['a'] has another shape {PROMISED}", "float64[], expected float64[2]"),
            (
                {"a": np.ones(2, "f4")},
                DtypeError,
                f"['a'] has another dtype {PROMISED}",
                "float32[2], expected float64[2]",
            ),
            ({"b": 1.5}, DtypeError, f"['b'] has another dtype {PROMISED}", "float64[], expected int64[]"),
            ({"b": f8(1)}, DtypeError, f"['b'] has another dtype {PROMISED}", "float64[], expected int64[]"),
            ({"b": "one"}, LeafError, "['b'] is no array and no number", "str, expected int64[]"),
        ],
    )
    @pytest.mark.parametrize("wrap", [lambda f: f, fgrad.jit], ids=["eager", "jit"])
    def test_results_that_are_not_what_was_promised(self, wrap, change, cls, what, got):
        out = {"a": fgrad.ShapeDtypeStruct((2,), f8), "b": fgrad.ShapeDtypeStruct((), int)}
        good = {"a": np.ones(2), "b": 1}

        def compute(x):
            return {**good, **change} if bad else good

        f = wrap(lambda x: io(compute, out, x))  # here
        do = "convert it in the callback (np.asarray(x, dtype), x.astype(dtype)), or change result_shape_dtypes"
        refused(lambda: f(X), cls, f"io_callback of 'compute': the result {what}", got=got, do=do)
        assert f(X)["b"] == 1

    @pytest.mark.parametrize("wrap", [lambda f: f, fgrad.jit], ids=["eager", "jit"])
    def test_results_of_another_structure(self, wrap):
        f = wrap(lambda x: pure(lambda x: [x] if bad else x, like(x), x))  # here
        refused(
            lambda: f(X),
            TreeError,
            "pure_callback of '<lambda>': the result has another structure than result_shape_dtypes",
            got="at the top: expected a leaf, got a list of 1",
            do="return the structure that result_shape_dtypes has, with an array or a number for each leaf",
        )
        f(X)

    def test_result_shape_dtypes_that_says_nothing(self):
        refused(
            lambda: pure(double, {"y": 3.0} if bad else {"y": SCALAR}, 1.0) if bad else None,  # here
            LeafError,
            "pure_callback: result_shape_dtypes['y'] has no shape and dtype",
            got="3.0",
            do="give fgrad.ShapeDtypeStruct(shape, dtype), or an array like the result; None for no result",
        )

    def test_a_method_that_is_none(self):
        refused(
            lambda: pure(double, SCALAR, 1.0, vmap_method="loop" if bad else None),  # here
            ValueError,
            "pure_callback: there is no vmap_method 'loop'",
            got="loop",
            do="choose one of sequential, expand_dims, broadcast_all, legacy_vectorized",
            then=2.0,
        )

    def test_arguments_that_are_no_arrays(self):
        with pytest.raises(LeafError, match=r"io_callback of double: argument \[0\]\['name'\]"):
            io(double, None, {"name": "x"})
        with pytest.raises(TypeError, match="pure_callback takes a function"):
            pure(1.0, SCALAR)


# ----------------------------------------------------------------------------------------------------- transformations

NO_DERIVATIVE = (
    "give a function around it a rule, by fgrad.custom_jvp or fgrad.custom_vjp; or wrap the arguments in "
    "fgrad.lax.stop_gradient, if the result is to count as a constant"
)


@both
class TestDerivatives:
    @pytest.mark.parametrize(
        "way", [fgrad.grad, lambda f: lambda x: fgrad.jvp(f, (x,), (1.0,))[1]], ids=["grad", "jvp"]
    )
    @pytest.mark.parametrize("wrap", [lambda f: f, fgrad.jit], ids=["eager", "jit"])
    def test_there_is_none(self, call, wrap, way):
        def f(x):
            return x * call(double, SCALAR, x if bad else 3.0)  # here

        refused(
            lambda: way(wrap(lambda x: f(x)))(1.0),
            MissingRuleError,
            f"{call.__name__} of 'double' has no derivative: nothing is known of what it computes",
            do=NO_DERIVATIVE,
            then=6.0,
        )

    def test_operands_that_are_not_differentiated(self, call):
        for wrap in (lambda f: f, fgrad.jit):
            f = wrap(lambda x, n: x * call(double, SCALAR, 3.0) + x * call(double, like(n), n) * x)
            assert fgrad.grad(f)(1.0, np.int64(2)) == 6.0 + 8.0
            g = wrap(lambda x: x * call(double, SCALAR, fgrad.lax.stop_gradient(x)))
            assert fgrad.grad(g)(3.0) == 6.0

    def test_results_that_are_no_floats(self, call):
        rounded = fgrad.ShapeDtypeStruct((), np.int64)
        for wrap in (lambda f: f, fgrad.jit):
            f = wrap(lambda x: x * call(lambda x: np.int64(np.rint(x)), rounded, x))
            assert fgrad.grad(f)(3.2) == 3.0
            assert fgrad.jvp(f, (3.2,), (2.0,)) == (3.2 * 3, 6.0)

    def test_custom_jvp(self, call):
        @fgrad.custom_jvp
        def lgamma(x):
            return call(np.vectorize(math.lgamma, [float]), like(x), x)

        @lgamma.defjvp
        def rule(primals, tangents):
            (x,), (t,) = primals, tangents
            return lgamma(x), fgrad.scipy.special.digamma(x) * t

        x = np.array([0.5, 1.5, 4.0])
        want = fgrad.scipy.special.digamma(x)
        for f in (lambda x: fnp.sum(lgamma(x)), fgrad.jit(lambda x: fnp.sum(lgamma(x)))):
            for g in (fgrad.grad(f), fgrad.jit(fgrad.grad(f)), fgrad.jacfwd(f)):
                np.testing.assert_allclose(g(x), want, rtol=1e-14)
            np.testing.assert_allclose(fgrad.hessian(f)(x), np.diag(fgrad.scipy.special.polygamma(1, x)), rtol=1e-12)
        np.testing.assert_allclose(fgrad.vmap(fgrad.grad(lgamma))(x), want, rtol=1e-14)
        np.testing.assert_allclose(fgrad.jit(fgrad.vmap(fgrad.grad(lgamma)))(x), want, rtol=1e-14)

    def test_custom_vjp(self, call):
        seen = []

        @fgrad.custom_vjp
        def cube(x):
            return call(lambda x: x**3, like(x), x)

        def back(x, ct):
            return (call(lambda x, ct: (seen.append(x), 3 * x**2 * ct)[1], like(x), x, ct),)

        cube.defvjp(lambda x: (cube(x), x), back)
        for f in (lambda x: fnp.sum(cube(x)), fgrad.jit(lambda x: fnp.sum(cube(x)))):
            for g in (fgrad.grad(f), fgrad.jit(fgrad.grad(f))):
                del seen[:]
                np.testing.assert_allclose(g(X), 3 * X**2)
                assert len(seen) == 1
        np.testing.assert_allclose(fgrad.vmap(fgrad.grad(cube))(X), 3 * X**2)
        with pytest.raises(LinearityError):
            fgrad.jvp(cube, (X,), (X,))


def test_a_derivative_calls_it_once():
    """The value is computed once, whatever is made of the rest."""

    calls = []

    def f(x):
        io(calls.append, None, x)
        return fnp.sum(fnp.sin(x) ** 2)

    def g(x):
        return fgrad.jit(f)(x)

    for h in (f, g):
        for way in (
            fgrad.grad(h),
            fgrad.jit(fgrad.grad(h)),
            fgrad.value_and_grad(h),
            lambda x, h=h: fgrad.vjp(h, x)[1](1.0),
            lambda x, h=h: fgrad.jvp(h, (x,), (x,)),
            lambda x, h=h: fgrad.linearize(h, x)[1](x),
            fgrad.jacrev(h),
            fgrad.hessian(h),
            fgrad.jit(fgrad.hessian(h)),
            fgrad.grad(lambda x, h=h: fnp.sum(fgrad.grad(h)(x))),
        ):
            del calls[:]
            way(X)
            np.testing.assert_array_equal(calls, [X])


def test_in_a_checkpointed_function():
    f = fgrad.checkpoint(lambda x: (io(lambda x: None, None, x), fnp.sin(x))[1])
    assert f(0.0) == 0.0
    refused(
        lambda: fgrad.grad(f)(0.0) if bad else None,  # here
        MissingRuleError,
        "checkpoint of '<lambda>': io_callback would be called again, as the function is computed again for its "
        "derivative",
        do="call io_callback outside of the checkpointed function; debug.callback may be called again",
    )
    calls = []

    def twice(x):
        calls.append(x)
        return 2.0

    g = fgrad.checkpoint(lambda x: fnp.sin(pure(twice, SCALAR, 3) * x))
    assert fgrad.jit(fgrad.value_and_grad(g))(0.0) == (0.0, 2.0) and len(calls) == 2


def test_transposes():
    f = lambda x: (io(lambda x: None, None, x), 3 * x)[1]  # noqa: E731
    for g in (f, fgrad.jit(f)):
        with pytest.raises(LinearityError, match="primitive 'io_callback' is not linear"):
            fgrad.linear_transpose(g, 1.0)(2.0)


# ---------------------------------------------------------------------------------------------------------------- vmap


class TestVmap:
    @both
    @ways
    def test_lanes_one_after_the_other(self, call, wrap):
        seen = []

        def compute(x, y):
            seen.append((x.tolist(), y.tolist()))
            return x.sum() + y

        f = wrap(fgrad.vmap(lambda x, y: call(compute, SCALAR, x, y), (0, None)))
        x = np.arange(6.0).reshape(3, 2)
        np.testing.assert_array_equal(f(x, 1.0), x.sum(1) + 1)
        assert seen == [([0.0, 1.0], 1.0), ([2.0, 3.0], 1.0), ([4.0, 5.0], 1.0)]

    @both
    @ways
    def test_nested(self, call, wrap):
        seen = []

        def compute(x, y):
            seen.append((float(x), float(y)))
            return x * y

        f = fgrad.vmap(fgrad.vmap(lambda x, y: call(compute, SCALAR, x, y), (None, 0)), (0, None))
        np.testing.assert_array_equal(wrap(f)(np.array([1.0, 2.0]), X), np.outer([1.0, 2.0], X))
        assert seen == [(a, b) for a in (1.0, 2.0) for b in X]

    @ways
    def test_what_is_not_mapped_is_called_once(self, wrap):
        calls = []
        f = wrap(fgrad.vmap(lambda x: x + io(lambda: (calls.append(0), 1.0)[1], SCALAR)))
        np.testing.assert_array_equal(f(X), X + 1)
        assert len(calls) == 1

    @pytest.mark.parametrize(
        ("method", "shapes"),
        [
            ("expand_dims", [(3,), (1, 2), (1, 2, 2)]),
            ("broadcast_all", [(3,), (3, 2), (3, 2, 2)]),
            ("legacy_vectorized", [(3,), (2,), (2, 2)]),
        ],
    )
    @ways
    def test_all_lanes_at_once(self, wrap, method, shapes):
        seen = []

        def compute(x, y, z):
            seen.append([np.shape(x), np.shape(y), np.shape(z)])
            return (x + y.sum(-1) + z.sum((-1, -2)),)

        f = lambda x, y, z: pure(compute, (SCALAR,), x, y, z, vmap_method=method)  # noqa: E731
        (found,) = wrap(fgrad.vmap(f, (0, None, None)))(X, np.ones(2), np.ones((2, 2)))
        np.testing.assert_array_equal(found, X + 6)
        assert seen == [shapes]
        if method != "legacy_vectorized":
            del seen[:]
            f = fgrad.vmap(fgrad.vmap(f, (0, None, None)), (None, 0, None))
            (found,) = wrap(f)(X, np.ones((2, 2)), np.ones((2, 2)))
            np.testing.assert_array_equal(found, np.tile(X + 6, (2, 1)))
            n, m = (1, 1) if method == "expand_dims" else (2, 3)
            assert seen == [[(n, 3), (2, m, 2), (n, m, 2, 2)]]

    def test_names_of_old(self):
        for option, want in (({"vectorized": True}, 1), ({"vectorized": False}, 3), ({"vmap_method": None}, 3)):
            g, calls = counted(double)
            np.testing.assert_array_equal(fgrad.vmap(lambda x, g=g, o=option: pure(g, SCALAR, x, **o))(X), 2 * X)
            assert len(calls) == want

    def test_results_of_all_lanes_are_checked(self):
        f = lambda x: pure(np.sum, SCALAR, x, vmap_method="expand_dims")  # noqa: E731
        with pytest.raises(ShapeError, match=r"got: float64\[\], expected float64\[3\]"):
            fgrad.vmap(f)(X)

    def test_no_lanes(self):
        g, calls = counted(double)
        for wrap in (lambda f: f, fgrad.jit):
            assert wrap(fgrad.vmap(lambda x: pure(g, SCALAR, x)))(np.zeros(0)).shape == (0,)
        assert calls == []

    def test_ordered(self):
        f = lambda x: io(double, SCALAR, x, ordered=True)  # noqa: E731
        assert f(1.0) == 2.0
        for wrap in (lambda f: f, fgrad.jit):
            g = wrap(fgrad.vmap(lambda x: io(double, SCALAR, x if bad else 1.0, ordered=True) + x))  # here
            refused(
                lambda g=g: g(X),
                MissingRuleError,
                "io_callback of 'double' with ordered=True cannot be batched: the lanes of vmap have no order",
                do="leave ordered out (the lanes then call it one after the other), or use a Python loop, not vmap",
            )
        np.testing.assert_array_equal(fgrad.vmap(lambda x: f(1.0) + x)(X), 2 + X)
