"""Writes into traced arrays: in loops, into integers, what they cost, and what may not be written."""

import re
import tracemalloc

import numpy as np
import pytest

import fgrad
import fgrad.numpy as fnp
from fgrad import lax
from fgrad.core.errors import ConcretizationError, DtypeError, MutationError, OutOfBoundsError, ShapeError
from fgrad.testing import check_close, check_grads

X = np.array([0.5, -1.25, 2.0, 0.75])


@pytest.mark.parametrize("transform", [lambda f: f, fgrad.jit, lambda f: lambda x: fgrad.vjp(f, x)[0]], ids=range(3))
def test_loops_write_their_carry(transform):
    def body(i, y):
        y[i] += 0.5 * y[i - 1]
        y[y > 1.0] *= 0.75
        row = y[::2]
        row -= 0.125
        return y

    want = X.copy()
    for i in range(1, 4):
        body(i, want)
    check_close(transform(lambda x: lax.fori_loop(1, 4, body, x.copy()))(X), want)
    scanned = lambda x: lax.scan(lambda y, i: (body(i, y), y[i]), x.copy(), np.arange(1, 4))[0]  # noqa: E731
    check_close(transform(scanned)(X), want)
    stepped = lambda x: lax.while_loop(lambda c: c[0] < 4, lambda c: (c[0] + 1, body(c[0], c[1])), (1, x.copy()))[1]  # noqa: E731
    check_close(transform(stepped)(X), want)
    total = lambda x: np.sum(np.cos(np.arange(4)) * scanned(x))  # noqa: E731
    check_grads(total, (X,), order=2, atol=1e-5, rtol=1e-5)


def test_integers_are_written_as_numpy_writes_them():
    def f(xp, n):
        y = n.copy()
        y[0], y[1], y[2:4] = 1.9, -1.9, [2.5, -2.5]
        y[y > 3] = 7.7
        np.put(y, [-1], 3.6)
        np.copyto(y[4:5], 2.5, casting="unsafe")
        y[[5, 5]] += 1
        np.add.at(y, [5, 5], 1)
        y //= 2
        y <<= 1
        return y

    n = np.arange(8)
    want = f(np, n.copy())
    for got in (fgrad.jit(lambda n: f(fnp, n))(n), fgrad.vmap(lambda n: f(fnp, n))(np.stack([n, n]))[1]):
        assert got.dtype == want.dtype
        assert np.array_equal(got, want)


def test_writes_in_eager_gradients_cost_what_is_written():
    n, writes = 1 << 17, 200

    def f(x):
        y = x * 2.0
        for i in range(writes):
            y[i] = y[i + 1] * x[i]
            y[i : i + 3] += 1.0
        return np.sum(y)

    x = np.ones(n)
    fgrad.grad(f)(x)
    tracemalloc.start()
    fgrad.grad(f)(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * x.nbytes  # a copy per write would be 400


# ------------------------------------------------------------------------------------------------------------- errors


def closed_over(y):
    def body(i, total):
        y[i] = total
        return total + 1.0

    return lax.fori_loop(0, 2, body, 0.0)


def from_inside(y):
    def inner(z):
        y[0] = z.sum()
        return z.sum()

    return fgrad.grad(inner)(y * 1.0)


ERRORS = [
    (lambda y, x: x.__setitem__(0, 1.0), MutationError, "x[i] = v would write into an argument, and so into the"),
    (lambda y, x: x.__setitem__(0, 1.0), MutationError, "copy it first, x = x.copy(), or write x = x.at[i].set(v)"),
    (lambda y, x: x[1:].fill(1.0), MutationError, "would write into a view of an argument"),
    (lambda y, x: x.sort(), MutationError, "x.sort() would write into an argument"),
    (lambda y, x: np.add(y, 1.0, out=x), MutationError, "np.add(out=x) would write into an argument"),
    (lambda y, x: y.cumsum(0, None, x), MutationError, "np.cumsum(out=x) would write into an argument"),
    (lambda y, x: closed_over(y), MutationError, "made outside of the function that lax.fori_loop traces"),
    (lambda y, x: closed_over(y), MutationError, "pass it in (to a loop as part of its carry) and return it"),
    (lambda y, x: from_inside(y), MutationError, "made outside of the function that grad traces"),
    (lambda y, x: np.diagonal(y.reshape(2, 2)).__setitem__(0, 1.0), MutationError, "into a read-only view"),
    (lambda y, x: np.broadcast_to(y, (2, 4)).fill(1.0), MutationError, "into a read-only view"),
    (lambda y, x: y.imag.fill(1.0), MutationError, "into a read-only view"),
    (lambda y, x: y.reshape(2, 2).T.flat, MutationError, "x.flat is not possible on a view whose elements do not"),
    (lambda y, x: y[0].__setitem__(0, 1.0), TypeError, "a traced number does not support item assignment"),
    (lambda y, x: np.sum(y, out=y[0]), TypeError, "np.sum(out=x): x is a number, not an array"),
    (lambda y, x: y.__setitem__(0, [1.0]), ShapeError, "x[i] = v: one element cannot hold an array"),
    (lambda y, x: y.__setitem__(np.s_[:3], [1.0, 2.0]), ShapeError, "do not broadcast"),
    (lambda y, x: y.__iadd__(np.ones((2, 4))), ShapeError, "x += y: the result does not fit into x, which keeps its"),
    (lambda y, x: np.sum(y, out=y), ShapeError, "np.sum(out=x): the result does not fit into x"),
    (lambda y, x: y.__iadd__(1j), DtypeError, "a result of complex128 for float64[4]"),
    (lambda y, x: y.__setitem__(0, 1j), DtypeError, "an array of float64 cannot hold complex values"),
    (lambda y, x: y.astype(int).at[0].set(0.5), DtypeError, "set: an array of int64 cannot hold the result"),
    (lambda y, x: y.astype(int).at[y > 0].add(0.5), DtypeError, "add: an array of int64 cannot hold the result"),
    (lambda y, x: np.copyto(y, 1j), DtypeError, "np.copyto: the values do not fit an array of float64"),
    (lambda y, x: y.__setitem__(4, 1.0), OutOfBoundsError, "index 4 is out of bounds for axis 0 with size 4"),
    (
        lambda y, x: np.add(y, 1.0, out=np.zeros(4)),
        MutationError,
        "np.add cannot write a traced result into an ndarray",
    ),
    (lambda y, x: y.sum(out=np.zeros(())), MutationError, "np.sum cannot write a traced result into an ndarray (out=)"),
    (lambda y, x: np.sin(y, where=y > 0), TypeError, "np.sin(where=...) has no traced version"),
    (lambda y, x: y.__setitem__(y > 0, y), ConcretizationError, "how many elements v needs is not known"),
    (lambda y, x: y.__setitem__(y > 0, y[y > 1]), ConcretizationError, "x[mask] with a traced mask is not possible"),
    (lambda y, x: y.__setitem__(y > 0, y[~(y <= 0)]), ConcretizationError, "x[mask] with a traced mask is not"),
]


@pytest.mark.parametrize(("write", "error", "text"), ERRORS)
def test_errors(write, error, text):
    def f(x):
        write(x * 2.0, x)
        return x

    with pytest.raises(error, match=re.escape(text)) as caught:
        fgrad.jit(f)(X)
    assert "test_writes_limits.py" in str(caught.value)


def test_masks_of_different_values_are_not_the_same():
    def f(y):
        y = y.copy()
        above = y > 0
        y[0] = 1.0  # the next mask is one of other values
        y[above] = y[y > 0]
        return y

    with pytest.raises(ConcretizationError, match=re.escape("x[mask] with a traced mask is not possible")):
        fgrad.jit(f)(X)


def test_masks_from_functions_of_the_users_are_not_the_same():
    def mask(y):
        struct = fgrad.ShapeDtypeStruct((4,), bool)
        return fgrad.pure_callback(lambda v: v > 0, struct, y)

    def f(y):
        y = y.copy()
        y[mask(y)] = y[mask(y)] * 2.0
        return y

    with pytest.raises(ConcretizationError, match=re.escape("x[mask] with a traced mask is not possible")):
        fgrad.jit(f)(X)
