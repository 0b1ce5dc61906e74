"""associative_scan against the prefixes one after the other."""

import numpy as np
import pytest
import python_loops
from hypothesis import given, settings
from hypothesis import strategies as st

import fgrad
from fgrad import lax
from fgrad.testing import check_close, check_grads, check_vmap

GENERATOR = np.random.default_rng(0)


def affine(f, g):
    """First f, then g, of maps x -> A x + b."""
    return {"A": g["A"] @ f["A"], "b": (g["A"] @ f["b"][..., None])[..., 0] + g["b"]}


def affine_maps(n):
    return {"A": GENERATOR.uniform(-0.6, 0.6, (n, 2, 2)), "b": GENERATOR.normal(size=(n, 2))}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 9, 31])
def test_prefixes_of_an_operation_that_does_not_commute(n, reverse):
    elems = affine_maps(n)
    want = python_loops.associative_scan(affine, elems, reverse)
    check_close(lax.associative_scan(affine, elems, reverse), want)
    check_close(fgrad.jit(lambda e: lax.associative_scan(affine, e, reverse))(elems), want)


@settings(max_examples=40)
@given(
    shape=st.lists(st.integers(0, 5), min_size=1, max_size=3),
    axis=st.integers(-3, 2),
    reverse=st.booleans(),
    fn=st.sampled_from([np.add, np.multiply, np.maximum, np.minimum, np.logaddexp]),
)
def test_ufuncs_along_an_axis(shape, axis, reverse, fn):
    axis %= len(shape)
    x = GENERATOR.uniform(0.5, 1.5, shape)
    along = np.flip(x, axis) if reverse else x
    want = fn.accumulate(along, axis)
    check_close(lax.associative_scan(fn, x, reverse, axis), np.flip(want, axis) if reverse else want)
    check_close(lax.associative_scan(fn, x, reverse, axis - len(shape)), np.flip(want, axis) if reverse else want)


def test_derivatives():
    for reverse in (False, True):
        f = lambda e: lax.associative_scan(affine, e, reverse)["b"]  # noqa: B023, E731
        check_grads(f, (affine_maps(5),))
    check_grads(lambda x: lax.associative_scan(np.multiply, x, axis=1), (GENERATOR.normal(size=(2, 6)),))
    check_vmap(lambda x: lax.associative_scan(np.logaddexp, x), (GENERATOR.normal(size=(3, 5)),), (0,))


def test_few_and_wide_operations():
    """Fewer than 2 n combinations, in a number of calls that grows with the logarithm."""
    for n in (7, 64, 1000):
        sizes = []

        def fn(x, y, sizes=sizes):
            sizes.append(len(x))
            return x + y

        lax.associative_scan(fn, np.ones(n))
        assert sum(sizes) < 2 * n
        assert len(sizes) <= 2 * np.log2(n)


def test_leaves_of_different_shapes_and_dtypes():
    elems = (np.arange(4), {"m": np.ones((4, 2), np.float32), "none": None})
    fn = lambda x, y: fgrad.tree.map(np.add, x, y)  # noqa: E731
    got = lax.associative_scan(fn, elems)
    check_close(got, (np.array([0, 1, 3, 6]), {"m": np.cumsum(np.ones((4, 2), np.float32), 0), "none": None}))


def test_a_single_element_is_copied():
    x = np.ones(1)
    y = lax.associative_scan(np.add, x)
    assert y == x and not np.shares_memory(x, y)
    assert lax.associative_scan(lambda x, y: x, {}) == {}
