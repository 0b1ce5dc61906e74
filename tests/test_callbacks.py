"""pure_callback and io_callback: when Python functions are called, with what, and what becomes of their results."""

import contextvars
import functools
import threading

import numpy as np
import pytest
from called import SCALAR, X, both, counted, double, eager_and_jit, io, like, pure, ways
from pinned import bad, refused

import fgrad
import fgrad.numpy as fnp
from fgrad.core.errors import DtypeError, LeafError, ShapeError, TreeError
from fgrad.experimental import io_callback as experimental

f8 = np.float64

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
    @eager_and_jit
    def test_results_that_are_not_what_was_promised(self, wrap, change, cls, what, got):
        out = {"a": fgrad.ShapeDtypeStruct((2,), f8), "b": fgrad.ShapeDtypeStruct((), int)}
        good = {"a": np.ones(2), "b": 1}

        def compute(x):
            return {**good, **change} if bad else good

        f = wrap(lambda x: io(compute, out, x))  # here
        do = "convert it in the callback (np.asarray(x, dtype), x.astype(dtype)), or change result_shape_dtypes"
        refused(lambda: f(X), cls, f"io_callback of 'compute': the result {what}", got=got, do=do)
        assert f(X)["b"] == 1

    @eager_and_jit
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
