"""numba_call: the user's own Numba functions in transformed programs."""

import ctypes
import math
import threading

import numba
import numpy as np
import pytest

import fgrad
from fgrad.compile import callbacks, numba_calls
from fgrad.core.errors import LeafError, MissingRuleError, StaticArgumentError

f8 = np.float64


@numba.njit
def running_sum(x, start, out):
    total = start
    for i in range(len(x)):
        total += x[i]
        out[i] = total


@numba.njit
def add_sines(x, out):  # of arrays with any number of axes
    flat, to = x.ravel(), out.reshape(out.size)
    for i in range(flat.size):
        to[i] = flat[i] + math.sin(flat[i])


@numba.njit
def moments(x, mean, spread):
    total = 0.0
    for v in x:
        total += v
    mean[()] = total / len(x)
    for i in range(len(x)):
        spread[i] = x[i] - mean[()]


@numba.njit
def root(x, out):
    for i in range(len(x)):
        if x[i] < 0:
            raise ValueError("a negative number has no root")
        out[i] = math.sqrt(x[i])


@numba.njit
def product(a, b, out):
    for i in range(a.shape[0]):
        for j in range(b.shape[1]):
            out[i, j] = 0
            for k in range(a.shape[1]):
                out[i, j] += a[i, k] * b[k, j]


def cumulative(x, start=0.0):
    """With the derivative by the same kernel, run from the back."""
    return fgrad.numba_call(running_sum, x, start, out=x, vjp=cumulative_vjp)


def cumulative_vjp(inputs, outputs, ct):
    back = cumulative(ct[::-1])[::-1]
    return back, back[0]


def matmul(a, b):
    out = fgrad.ShapeDtypeStruct((a.shape[0], b.shape[1]), a.dtype)

    def rule(inputs, outputs, ct):
        a, b = inputs
        return matmul(ct, b.T), matmul(a.T, ct)

    return fgrad.numba_call(product, a, b, out=out, vjp=rule)


X = np.random.default_rng(0).normal(size=(4, 5))


# ---------------------------------------------------------------------------------------------------------- the values


@pytest.mark.parametrize("wrap", [lambda f: f, fgrad.jit], ids=["eager", "jit"])
class TestValues:
    def test_vector_and_number(self, wrap):
        y = wrap(cumulative)(X[0], 2.0)
        np.testing.assert_allclose(y, np.cumsum(X[0]) + 2.0, rtol=1e-14)

    def test_several_outputs_one_without_dimensions(self, wrap):
        def f(x):
            out = {"mean": fgrad.ShapeDtypeStruct((), f8), "rest": x}
            return fgrad.numba_call(moments, x, out=out)

        found = wrap(f)(X[1])
        assert sorted(found) == ["mean", "rest"] and isinstance(found["mean"], f8)
        np.testing.assert_allclose(found["mean"], X[1].mean(), rtol=1e-14)
        np.testing.assert_allclose(found["rest"], X[1] - X[1].mean(), rtol=1e-12)

    def test_operands_that_are_views(self, wrap):
        f = wrap(lambda a, b: matmul(a.T, b[::2]) + 1)
        a, b = np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(4, 3)
        np.testing.assert_allclose(f(a, b), a.T @ b[::2] + 1)

    def test_operands_that_are_locked(self, wrap):
        x = X[0].copy()
        x.flags.writeable = False
        np.testing.assert_allclose(wrap(cumulative)(x), np.cumsum(x), rtol=1e-14)

    @pytest.mark.parametrize("dtype", ["?", "i1", "u2", "i8", "f4", "f8", "c8", "c16"])
    def test_dtypes(self, wrap, dtype):
        x = np.array([0, 1, 1, 0, 1, 1], dtype)
        y = wrap(lambda x: fgrad.numba_call(twice, x, x[1], out=x))(x)
        assert y.dtype == x.dtype
        np.testing.assert_array_equal(y, [0, 1, 1, 0, 1, 1] if dtype == "?" else x + x)

    def test_nothing_in_it(self, wrap):
        assert wrap(lambda x: fgrad.numba_call(root, x, out=x))(np.zeros(0)).shape == (0,)

    def test_errors_of_the_kernel(self, wrap):
        f = wrap(lambda x: fgrad.numba_call(root, x * 1.0, out=x) + 1)
        np.testing.assert_allclose(f(np.array([4.0, 9.0])), [3.0, 4.0])
        with pytest.raises(ValueError, match="a negative number has no root"):
            f(np.array([4.0, -9.0]))
        np.testing.assert_allclose(f(np.array([4.0, 9.0])), [3.0, 4.0])


@numba.njit
def twice(x, one, out):
    for i in range(len(x)):
        out[i] = x[i] + x[i] if x[i] == one else x[i]


# ---------------------------------------------------------------------------------------------------- transformations


@pytest.mark.parametrize("wrap", [lambda f: f, fgrad.jit], ids=["eager", "jit"])
class TestTransformations:
    def test_vmap_runs_each_lane(self, wrap):
        np.testing.assert_allclose(wrap(fgrad.vmap(cumulative))(X), np.cumsum(X, 1), rtol=1e-14)
        starts = np.arange(4.0)
        expected = np.cumsum(X, 1) + starts[:, None]
        np.testing.assert_allclose(wrap(fgrad.vmap(cumulative))(X, starts), expected, rtol=1e-13)
        by_start = wrap(fgrad.vmap(cumulative, in_axes=(None, 0)))(X[0], starts)
        np.testing.assert_allclose(by_start, np.cumsum(X[0]) + starts[:, None], rtol=1e-13)

    def test_vmap_of_vmap(self, wrap):
        starts = np.arange(3.0)
        both = fgrad.vmap(fgrad.vmap(cumulative, in_axes=(None, 0)), in_axes=(0, None))
        expected = np.cumsum(X, 1)[:, None] + starts[:, None]
        np.testing.assert_allclose(wrap(both)(X, starts), expected, rtol=1e-13)
        other = fgrad.vmap(fgrad.vmap(cumulative, in_axes=(0, None)), in_axes=(None, 0))
        np.testing.assert_allclose(wrap(other)(X, starts), np.swapaxes(expected, 0, 1), rtol=1e-13)

    def test_vectorized_runs_once(self, wrap):
        f = lambda x: fgrad.numba_call(add_sines, x, out=x, vectorized=True)  # noqa: E731
        mapped = fgrad.vmap(fgrad.vmap(f))
        assert "lanes=()" in str(fgrad.make_jaxpr(mapped)(X.reshape(2, 2, 5)))
        np.testing.assert_allclose(wrap(mapped)(X.reshape(2, 2, 5)), (X + np.sin(X)).reshape(2, 2, 5), rtol=1e-14)

    def test_reverse_mode(self, wrap):
        weights = np.arange(1.0, 6.0)
        loss = lambda x, s: np.sum(weights * cumulative(x, s) ** 2)  # noqa: E731
        gx, gs = wrap(fgrad.grad(loss, argnums=(0, 1)))(X[0], 0.5)
        inner = 2 * weights * (np.cumsum(X[0]) + 0.5)
        np.testing.assert_allclose(gx, np.cumsum(inner[::-1])[::-1], rtol=1e-12)
        np.testing.assert_allclose(gs, inner.sum(), rtol=1e-12)

    def test_gradients_against_differences(self, wrap):
        a, b = X[:3], np.random.default_rng(1).normal(size=(5, 2))
        fgrad.testing.check_grads(wrap(lambda a, b: np.sin(matmul(a, b))), (a, b), order=1, modes=["rev"])

    def test_vmap_of_grad(self, wrap):
        grad = fgrad.grad(lambda x: np.sum(np.tanh(cumulative(x))))
        expected = np.stack([grad(row) for row in X])
        np.testing.assert_allclose(wrap(fgrad.vmap(grad))(X), expected, rtol=1e-13)

    def test_second_order(self, wrap):
        loss = lambda x: np.sum(cumulative(x) ** 3)  # noqa: E731
        lower = np.tril(np.ones((5, 5)))
        expected = lower.T @ np.diag(6 * np.cumsum(X[0])) @ lower
        np.testing.assert_allclose(wrap(fgrad.jacrev(fgrad.grad(loss)))(X[0]), expected, rtol=1e-11)


def test_without_a_rule_there_is_no_derivative() -> None:
    with pytest.raises(MissingRuleError) as error:
        fgrad.grad(lambda x: np.sum(fgrad.numba_call(root, x, out=x)))(np.ones(3))
    lines = str(error.value).split("\n")
    assert lines[0] == "numba_call of 'root' has no derivative: Numba compiled it to machine code"
    assert "test_numba_call.py" in lines[1]
    assert "give vjp=rule" in lines[2]


def test_stopped_operands_need_no_rule() -> None:
    f = lambda x: np.sum(x * fgrad.numba_call(root, fgrad.lax.stop_gradient(x), out=x))  # noqa: E731
    np.testing.assert_allclose(fgrad.grad(f)(np.array([4.0, 9.0])), [2.0, 3.0])


def test_kernels_must_be_compiled() -> None:
    with pytest.raises(StaticArgumentError, match="decorate it with numba"):
        fgrad.numba_call(lambda x, out: None, np.ones(3), out=np.ones(3))
    with pytest.raises(LeafError, match="out has a leaf without shape and dtype"):
        fgrad.numba_call(root, np.ones(3), out=3)


def test_it_stands_in_the_program() -> None:
    text = str(fgrad.make_jaxpr(lambda x: fgrad.numba_call(root, x, out=x))(np.ones(3)))
    assert "numba_call" in text and "function=root" in text


# ------------------------------------------------------------------------------------------------------ the thunk alone

_THUNK = ctypes.CFUNCTYPE(
    ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64
)


def run_thunk(f, *xs):
    """(status, outputs) of the only equation of a function, through its thunk."""
    (e,) = fgrad.make_jaxpr(f)(*xs).eqns
    keep = []
    address, dims, extent = numba_calls.native_call(e, keep)
    outs = [np.empty(v.type.shape, v.type.dtype) for v in e.outputs]
    given = [np.ascontiguousarray(x) for x in xs]
    operands = (ctypes.c_void_p * 9)(*[a.ctypes.data for a in [*given, *outs]])
    words = (ctypes.c_int64 * len(dims))(*dims)
    return _THUNK(address)((ctypes.c_int64 * 8)(), operands, words, 0, extent), outs


def test_thunk() -> None:
    status, (y,) = run_thunk(lambda x: fgrad.numba_call(running_sum, x, 2.0, out=x), X[0])
    assert status == 0
    np.testing.assert_allclose(y, np.cumsum(X[0]) + 2.0, rtol=1e-14)


def test_thunk_of_lanes() -> None:
    f = fgrad.vmap(fgrad.vmap(lambda x, s: fgrad.numba_call(running_sum, x, s, out=x), (None, 0)), (0, None))
    starts = np.arange(3.0)
    status, (y,) = run_thunk(f, X, starts)
    assert status == 0
    np.testing.assert_allclose(y, np.cumsum(X, 1)[:, None] + starts[:, None], rtol=1e-13)


def test_thunk_of_literals_that_are_equal_but_not_the_same() -> None:
    for zero in (0.0, -0.0):
        _, (y,) = run_thunk(lambda x, zero=zero: fgrad.numba_call(running_sum, x, zero, out=x), np.array([-0.0]))
        assert math.copysign(1, y[0]) == math.copysign(1, zero)


def test_thunk_that_raises_leaves_the_exception_to_the_caller() -> None:
    status, _ = run_thunk(lambda x: fgrad.numba_call(root, x, out=x), np.array([1.0, -1.0]))
    error = callbacks.PENDING.pop(threading.get_ident())
    assert status == 2 and type(error) is ValueError and str(error) == "a negative number has no root"
