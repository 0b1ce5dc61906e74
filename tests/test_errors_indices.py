"""Indices out of range name the line that indexed, wherever it was traced. NaN in data is no error."""

import numpy as np
import pytest
from pinned import bad, refused

from fgrad import grad, jit, lax, vmap
from fgrad.core.errors import OutOfBoundsError

x3 = np.array([1.0, 2.0, 3.0])

INDEX = 'correct the index, or choose mode="clip", "wrap", "fill" or "drop"'


def test_index_in_jitted_code():
    def picked(x, i):
        y = x * 2
        return y[i]  # here

    f = jit(picked)
    refused(
        lambda: f(x3, 3 if bad else 2),
        OutOfBoundsError,
        "index 3 is out of bounds for axis 0 with size 3",
        got="float64[3]",
        do=INDEX,
        then=6,
    )


def test_index_in_jitted_code_is_an_index_error_of_the_caller():
    f = jit(lambda x, i: x[i])
    for i in (3, -4):
        try:
            f(x3, i)
        except IndexError:
            continue
        raise AssertionError("no IndexError")
    assert f(x3, -3) == 1


def test_index_in_vmapped_code():
    def picked(x, i):
        return x[i]  # here

    f = vmap(picked, in_axes=(None, 0))
    refused(
        lambda: f(x3, np.array([0, 3 if bad else 2])).tolist(),
        OutOfBoundsError,
        "index 3 is out of bounds for axis 0 with size 3",
        got="float64[3]",
        do=INDEX,
        then=[1, 3],
    )


def test_index_in_jitted_vmapped_code():
    def picked(x, i):
        return x[i]  # here

    f = jit(vmap(picked, in_axes=(None, 0)))
    refused(
        lambda: f(x3, np.array([0, 3 if bad else 2])).tolist(),
        OutOfBoundsError,
        "index 3 is out of bounds for axis 0 with size 3",
        got="float64[3]",
        do=INDEX,
        then=[1, 3],
    )


def test_index_in_a_gradient():
    def picked(x, i):
        return x[i]  # here

    f = grad(picked)
    refused(
        lambda: f(x3, np.int64(3) if bad else np.int64(2)).tolist(),
        OutOfBoundsError,
        "index 3 is out of bounds for axis 0 with size 3",
        got="float64[3]",
        do='correct the index, or choose a mode: x.at[i].get(mode="fill"), fgrad.numpy.take(x, i, mode="clip")',
        then=[0, 0, 1],
    )


def test_index_in_a_jitted_gradient():
    def picked(x, i):
        return x[i] ** 2  # here

    f = jit(grad(picked))
    refused(
        lambda: f(x3, 3 if bad else 2).tolist(),
        OutOfBoundsError,
        "index 3 is out of bounds for axis 0 with size 3",
        got="float64[3]",
        do=INDEX,
        then=[0, 0, 6],
    )


@pytest.mark.parametrize("backend", ["native", "interpreter"])
def test_index_of_a_value_that_the_gradient_does_not_need(backend):
    """The read goes with its value; what raises is the write that its derivative became."""

    def picked(x, i):
        y = 2 * x
        return y[i]  # here

    f = jit(grad(picked), backend=backend)
    refused(
        lambda: f(x3, 3 if bad else 2).tolist(),
        OutOfBoundsError,
        "index 3 is out of bounds for axis 0 with size 3",
        got="float64[3]",
        do=INDEX,
        then=[0, 0, 2],
    )


def test_index_in_the_reverse_loop_of_a_value_that_the_gradient_does_not_need():
    def total(x, order):
        def add(sum, i):
            return sum + x[i], None  # here

        return lax.scan(add, 0.0, order)[0]

    f = jit(grad(total))
    refused(
        lambda: f(x3, np.array([0, 3 if bad else 2, 2])).tolist(),
        OutOfBoundsError,
        "index 3 is out of bounds for axis 0 with size 3",
        got="float64[3]",
        do=INDEX,
        then=[1, 0, 2],
    )


def test_index_in_nested_jitted_code():
    def picked(x, i):
        return x[i]  # here

    inner = jit(picked)
    f = jit(lambda x, i: inner(x * 2, i) + 1)
    refused(
        lambda: f(x3, 3 if bad else 2),
        OutOfBoundsError,
        "index 3 is out of bounds for axis 0 with size 3",
        got="float64[3]",
        do=INDEX,
        then=7,
    )


def test_index_of_a_function_that_was_traced_elsewhere():
    def picked(x, i):
        return np.take(x, i)  # here

    f = jit(picked)
    for _ in range(2):  # the second time the program comes from the cache
        f(x3, 1)
    refused(
        lambda: f(x3, -4 if bad else 2),
        OutOfBoundsError,
        "index -4 is out of bounds for axis 0 with size 3",
        got="float64[3]",
        do=INDEX,
        then=3,
    )


# --------------------------------------------------------------------------------------------------- not errors


def test_nan_in_data_raises_nothing():
    a = np.array([np.nan, np.inf, -np.inf, -1.0])
    f = lambda x: np.sum(np.sqrt(x) + np.log(x))  # noqa: E731
    with np.errstate(all="ignore"):
        assert np.isnan(grad(f)(a)[0])
    assert np.isnan(jit(f)(a))
    assert np.isnan(jit(grad(f))(a)[0])
    assert np.isnan(jit(vmap(grad(np.sqrt)))(a)).tolist() == [True, False, True, True]
    assert np.isnan(jit(lambda x, i: x[i])(a, 0))
