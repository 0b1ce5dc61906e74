"""ravel_pytree: round trips, promotion and casts back. JAX 0.10.2 with 64-bit types made the values marked so."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fgrad.core.errors import DtypeError, LeafError, ShapeError
from fgrad.flatten_util import ravel_pytree

DTYPES = ["float32", "float64", "int32", "int64", "complex64", "complex128", "bool"]


def elements(dtype):
    """Keywords for elements that survive the promoted dtype: int64 among float64 leaves has 53 bits."""
    if dtype == "bool":
        return {}
    return {"min_value": -(2**31), "max_value": 2**31 - 1} if "int" in dtype else {"allow_subnormal": False}


shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
arrays = st.sampled_from(DTYPES).flatmap(lambda dtype: hnp.arrays(dtype, shapes, elements=elements(dtype)))


def assert_same(a, b):
    assert type(a) is type(b) and a.dtype == b.dtype and a.shape == b.shape
    np.testing.assert_array_equal(a, b)
    if a.dtype.kind in "fc":
        np.testing.assert_array_equal(np.signbit(a.real), np.signbit(b.real))


@given(st.dictionaries(st.text("abc", max_size=2), arrays, max_size=4))
def test_unravel_inverts_ravel(tree):
    flat, unravel = ravel_pytree(tree)
    leaves = [tree[key] for key in sorted(tree)]
    assert flat.shape == (sum(x.size for x in leaves),)
    assert flat.dtype == (np.result_type(*leaves) if leaves else np.float64)
    back = unravel(flat)
    assert list(back) == list(tree)
    for key in tree:
        assert_same(back[key], tree[key])


def test_order_promotion_and_casts_back():
    tree = {"b": np.array([1, 2], np.int32), "a": np.float32(0.5), "c": (np.array([[1.5], [2.5]]),)}
    flat, unravel = ravel_pytree(tree)
    assert_same(flat, np.array([0.5, 1.0, 2.0, 1.5, 2.5]))
    back = unravel(flat + 1.75)
    assert list(back) == ["b", "a", "c"]
    # JAX 0.10.2: int32 [2, 3], float32 2.25, float64 [[3.25], [4.25]]
    assert_same(back["b"], np.array([2, 3], np.int32))
    assert_same(np.asarray(back["a"]), np.array(2.25, np.float32))
    assert_same(back["c"][0], np.array([[3.25], [4.25]]))


def test_a_real_leaf_takes_the_real_part_of_a_complex_vector():
    flat, unravel = ravel_pytree([np.array([1 + 2j], np.complex64), np.array([1.5, 2.0])])
    assert_same(flat, np.array([1 + 2j, 1.5, 2.0]))
    z, x = unravel(1j * flat)
    # JAX 0.10.2
    assert_same(z, np.array([-2 + 1j], np.complex64))
    assert_same(x, np.array([0.0, 0.0]))


def test_leaves_of_one_dtype_take_the_dtype_of_the_vector():
    _, unravel = ravel_pytree((np.arange(2), np.arange(1)))
    first, second = unravel(np.array([0.5, -0.0, np.nan], np.float32))
    assert_same(first, np.array([0.5, -0.0], np.float32))
    assert_same(second, np.array([np.nan], np.float32))


@pytest.mark.parametrize("tree", [(), None, {"a": [], "b": None}])
def test_a_tree_without_leaves(tree):
    flat, unravel = ravel_pytree(tree)
    assert_same(flat, np.zeros(0))
    assert unravel(flat) == tree
    with pytest.raises(ShapeError, match=r"expected a vector of shape \(0,\)"):
        unravel(np.zeros(1))


def test_zero_size_leaves_and_scalars():
    flat, unravel = ravel_pytree([np.zeros((0, 3)), 2.0, np.zeros((2, 0)), np.float64(-0.0)])
    assert_same(flat, np.array([2.0, -0.0]))
    back = unravel(flat)
    assert [np.shape(x) for x in back] == [(0, 3), (), (2, 0), ()]
    assert np.signbit(back[3])


def test_results_share_no_memory():
    x = np.ones(3)
    flat, unravel = ravel_pytree(x)
    back = unravel(flat)
    assert not np.shares_memory(flat, x) and not np.shares_memory(back, flat)
    assert back.flags.writeable and back.flags.c_contiguous


def test_texts_of_errors():
    _, unravel = ravel_pytree({"a": np.ones(2), "b": np.ones((), np.float32)})
    with pytest.raises(
        ShapeError, match=r"^unravel: expected a vector of shape \(3,\)\n.*\n  got: shape \(4,\)\n  do: "
    ):
        unravel(np.ones(4))
    with pytest.raises(ShapeError, match=r"got: shape \(3, 1\)"):
        unravel(np.ones((3, 1)))
    with pytest.raises(DtypeError, match=r"expected a vector of dtype float64, to which(.|\n)*got: float32"):
        unravel(np.ones(3, np.float32))
    with pytest.raises(LeafError, match=r"^ravel_pytree: the leaf at \['a'\]\[1\] is no numeric array(.|\n)*'relu'"):
        ravel_pytree({"a": [1.0, "relu"]})
    with pytest.raises(LeafError, match=r"^ravel_pytree: the leaf at the top"):
        ravel_pytree(object())
