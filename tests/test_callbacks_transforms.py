"""Callbacks under derivatives, checkpoint, transposes and vmap."""

import math

import numpy as np
import pytest
from called import SCALAR, X, both, counted, double, eager_and_jit, io, like, pure, ways
from pinned import bad, refused

import fgrad
import fgrad.numpy as fnp
from fgrad import lax
from fgrad.core.errors import GradError, LinearityError, MissingRuleError, ShapeError

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
    @eager_and_jit
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


def test_a_backward_rule_is_called_once():
    """Also where the derivative is NaN unless zeros annihilate infinities, which is not known in advance."""
    seen = []

    @fgrad.custom_vjp
    def same(x):
        return x

    def back(_, ct):
        io(seen.append, None, ct)
        return (io(lambda ct: ct, SCALAR, ct),)

    same.defvjp(lambda x: (x, None), back)
    f = lambda x: fnp.where(x > 0, fnp.log(same(x)), 0.0)  # noqa: E731
    with np.errstate(divide="ignore"):
        for way in (fgrad.grad(f), fgrad.grad(fgrad.jit(f)), fgrad.jit(fgrad.grad(f))):
            del seen[:]
            assert way(0.0) == 0.0
            assert seen == [0.0]


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


class TestWhileLoops:
    """Reverse mode runs the loop again: it can do without callbacks that return nothing, not without results."""

    @pytest.mark.parametrize("where", ["body", "condition", "inner loop", "bounds"])
    @pytest.mark.parametrize("wrap", [lambda f: f, fgrad.jit], ids=["eager", "jit"])
    def test_results(self, wrap, where):
        def counts(i):
            return io(double, like(i), i)  # here

        step = lambda c: (c[0] + 1, counts(c[0]) * c[1])  # noqa: E731
        loops = {
            "body": lambda n, x: lax.while_loop(lambda c: c[0] < n, step, (1, x)),
            "condition": lambda n, x: lax.while_loop(
                lambda c: counts(c[0]) < 2 * n, lambda c: (c[0] + 1, 2 * c[0] * c[1]), (1, x)
            ),
            "inner loop": lambda n, x: lax.while_loop(
                lambda c: c[0] < n, lambda c: lax.scan(lambda c, _: (step(c), None), c, length=1)[0], (1, x)
            ),
            "bounds": fgrad.jit(lambda n, x: (n, lax.fori_loop(1, n, lambda i, x: step((i, x))[1], x))),
        }
        f = lambda x, n: loops[where](n, x)[1]  # noqa: E731
        assert wrap(f)(1.5, 3) == 12.0
        assert wrap(lambda x: fgrad.jvp(lambda x: f(x, fnp.asarray(3)), (x,), (1.0,)))(1.5) == (12.0, 8.0)
        refused(
            lambda: wrap(fgrad.grad(f))(1.5, 3) if bad else None,
            GradError,
            "io_callback of 'double': the derivative of a while_loop would call it again, since what it returned in an "
            "unknown number of runs is not kept",
            do="make the loop a lax.scan, or a fori_loop between static bounds, which keep it; make it a "
            "pure_callback, if it may be called again; or wrap what the loop starts from in lax.stop_gradient, "
            "if its result is to count as a constant",
        )

    @pytest.mark.parametrize("wrap", [lambda f: f, fgrad.jit], ids=["eager", "jit"])
    def test_the_remedies(self, wrap):
        step = lambda call, i, x: call(double, like(i), i) * x  # noqa: E731
        loop = lambda call, x: lax.while_loop(  # noqa: E731
            lambda c: c[0] < 3, lambda c: (c[0] + 1, step(call, *c)), (np.int64(1), x)
        )[1]
        for f, slope in (
            (lambda x: lax.scan(lambda x, i: (step(io, i, x), None), x, np.arange(1, 3))[0], 8.0),
            (lambda x: lax.fori_loop(1, 3, lambda i, x: step(io, i, x), x), 8.0),
            (lambda x: loop(pure, x), 8.0),
            (lambda x: loop(io, lax.stop_gradient(x)) * x, 12.0),
        ):
            assert wrap(fgrad.grad(f))(1.5) == slope


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
