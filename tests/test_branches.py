"""cond and switch: values, types and derivatives, against Python's own branches."""

import numpy as np
import pytest
import python_loops
from hypothesis import given, settings
from hypothesis import strategies as st
from python_loops import weighed
from test_loops import trees

import fgrad
import fgrad.numpy as fnp
from fgrad import lax
from fgrad.core.errors import ConcretizationError
from fgrad.testing import check_close, check_grads, check_vmap

F32 = np.float32
WRAPS = [lambda f: f, fgrad.jit]


def branches(w):
    """Functions of a tree that return trees of one type and capture w."""
    return [
        lambda t: {"a": weighed(t) * w[0], "t": fgrad.tree.map(lambda x: x * w[1], t)},
        lambda t: {"a": w[1] * 1.0, "t": fgrad.tree.map(np.sin, t)},
        lambda t: {"a": 0.0, "t": t},
    ]


@settings(max_examples=20)
@given(tree=trees(), index=st.integers(-1, 3))
def test_switch_is_a_python_branch(tree, index):
    w = np.array([0.3, 0.8])

    def loss(loops, index, w, tree):
        return weighed(loops.switch(index, branches(w), tree))

    want = python_loops.switch(index, branches(w), tree)
    want["a"] = np.float64(want["a"])
    check_close(lax.switch(index, branches(w), tree), want)
    check_close(fgrad.jit(lambda i, t: lax.switch(i, branches(w), t))(index, tree), want)
    args = (index, w, tree)
    want = fgrad.grad(lambda *v: loss(python_loops, index, *v), (0, 1))(w, tree)
    check_close(fgrad.grad(lambda *v: loss(lax, index, *v), (0, 1))(w, tree), want)
    looped = lambda *v: loss(lax, *v)  # noqa: E731
    check_close(fgrad.jit(fgrad.grad(looped, (1, 2)))(*args), want)
    tangents = fgrad.tree.map(np.cos, (w, tree))
    plain = lambda *v: loss(python_loops, index, *v)  # noqa: E731
    known = lambda *v: loss(lax, index, *v)  # noqa: E731
    second = fgrad.hvp(plain, (w, tree), tangents)
    check_close(fgrad.hvp(known, (w, tree), tangents), second)
    check_close(fgrad.jit(lambda i, *v: fgrad.hvp(lambda *u: loss(lax, i, *u), v, tangents))(index, w, tree), second)


def test_batched_predicates_and_indices():
    def f(flag, i, x, w):
        y = lax.cond(flag, lambda x: np.sin(x) * w, lambda x: x * x, x)
        return lax.switch(i, [lambda y: y.sum(), lambda y: (y * y * w).sum(), lambda y: y[0]], y)

    rng = np.random.default_rng(0)
    args = (np.array([True, False, True, False]), np.array([0, 1, 2, 7]), rng.normal(size=(4, 2)), rng.normal(size=4))
    single = (np.True_, 1, args[2][0], 0.7)
    for mapped in [(0, 0, 0, 0), (0, None, None, None), (None, 0, None, None), (None, None, 0, None), (0, 0, None, 0)]:
        given_args = tuple(a if m == 0 else s for a, s, m in zip(args, single, mapped, strict=True))
        check_vmap(f, given_args, mapped)
        check_vmap(fgrad.grad(f, (2, 3)), given_args, mapped)
        check_vmap(fgrad.jit(fgrad.grad(f, (2, 3))), given_args, mapped)


def test_derivatives_against_differences():
    f = lambda x, a: lax.cond(x.sum() > a, lambda x: np.sin(x * a), lambda x: a / x, x)  # noqa: E731
    for a in (0.5, 5.0):
        check_grads(f, (np.array([1.0, 2.0]), a))
        check_grads(fgrad.jit(f), (np.array([1.0, 2.0]), a))


# --------------------------------------------------------------------------------------------------- what is executed


def test_a_branch_that_is_not_chosen_has_no_effect():
    """No index is checked, no division warns, no derivative is NaN."""
    x = np.arange(3.0)
    f = lambda i, x: lax.cond(i < 3, lambda: fnp.take(x, i), lambda: 0.0 * x[0])  # noqa: E731
    for wrap in WRAPS:
        assert [float(wrap(f)(i, x)) for i in (1, 2, 5)] == [1.0, 2.0, 0.0]
        with pytest.raises(IndexError):
            wrap(lambda i, x: lax.cond(i >= 3, lambda: fnp.take(x, i), lambda: 0.0))(5, x)
    g = lambda x: lax.cond(x > 0, lambda x: np.log(x), lambda x: 0.0 * x, x)  # noqa: E731
    for wrap in WRAPS:
        assert wrap(fgrad.grad(g))(0.0) == 0.0
        assert wrap(fgrad.grad(g))(2.0) == 0.5


def test_a_known_predicate_leaves_one_branch_in_the_program():
    f = lambda x: lax.cond(True, np.sin, np.cos, x)  # noqa: E731
    assert [e.primitive.name for e in fgrad.make_jaxpr(f)(np.ones(2)).eqns] == ["sin"]
    g = lambda x: lax.switch(5, [np.sin, np.cos], x)  # noqa: E731
    assert [e.primitive.name for e in fgrad.make_jaxpr(g)(np.ones(2)).eqns] == ["cos"]
    h = lambda i, x: lax.switch(i, [np.sin], x)  # noqa: E731
    assert float(h(3, 1.0)) == np.sin(1.0)


def test_predicates_from_values_under_grad_are_known():
    """In eager code and its derivatives the chosen function is called with values, the other one traced once."""
    seen = []

    def double(x):
        seen.append(float(x) if type(x) is float else str(x))
        return x * 2 if x > 0 else x

    same = lambda x: x  # noqa: E731
    f = lambda x: lax.cond(x > 1, double, same, x)  # noqa: E731
    assert f(3.0) == 6.0 and fgrad.grad(f)(4.0) == 2.0
    assert seen == [3.0, "4.0"]
    assert fgrad.grad(lambda x: lax.cond(x, double, same, x))(5.0) == 2.0
    with pytest.raises(ConcretizationError, match=r"use fgrad.numpy.where\(.* or fgrad.lax.cond"):
        fgrad.jit(f)(3.0)


def test_what_the_other_branch_does_wrong_does_not_matter():
    x = np.arange(3.0)
    f = lambda i: lax.cond(i < 3, lambda: x[i], lambda: 1.0 / (i - i) + np.log(x[0]))  # noqa: E731
    assert f(2) == 2.0
    with pytest.raises(ZeroDivisionError):
        f(3)


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("pred", [True, np.True_, 1, 2.5, np.float32(-1), np.nan, np.uint8(3), 1j, np.array(True)])
def test_what_is_true(wrap, pred):
    assert wrap(lambda p: lax.cond(p, lambda: 1, lambda: 2))(pred) == 1


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("pred", [False, 0, 0.0, -0.0, np.zeros((), np.int8), 0j])
def test_what_is_false(wrap, pred):
    assert wrap(lambda p: lax.cond(p, lambda: 1, lambda: 2))(pred) == 2


@pytest.mark.parametrize("index", [2, np.int8(2), np.uint64(2), np.array(2, np.int32), np.int64(2**62), 9])
def test_types_of_indices(index):
    f = lambda i: lax.switch(i, [lambda: 1, lambda: 2, lambda: 3])  # noqa: E731
    assert f(index) == fgrad.jit(f)(index) == 3
    assert f(-5) == fgrad.jit(f)(-5) == fgrad.jit(f)(np.int8(-5)) == 1


# ------------------------------------------------------------------------------------------------------------- types


@pytest.mark.parametrize("pred", [True, False])
@pytest.mark.parametrize("wrap", WRAPS)
def test_python_numbers_take_the_dtype_of_the_other_branch(wrap, pred):
    x = F32(3)
    f = lambda p, x: lax.cond(p, lambda x: x, lambda x: 0.0, x)  # noqa: E731
    check_close(wrap(f)(pred, x), F32(3 if pred else 0))
    f = lambda p, x: lax.cond(p, lambda x: 1, lambda x: x, x)  # noqa: E731
    check_close(wrap(f)(pred, x), F32(1 if pred else 3))
    check_close(wrap(lambda p: lax.cond(p, lambda: 1, lambda: 2.5))(pred), np.float64(1 if pred else 2.5))
    check_close(wrap(lambda p: lax.cond(p, lambda: True, lambda: 2))(pred), np.int64(1 if pred else 2))
    branches = [lambda: 1, lambda: 2.0, lambda: F32(3), lambda: True]
    for i, want in enumerate([1, 2, 3, 1]):
        check_close(wrap(lambda i: lax.switch(i, branches))(i), F32(want))


def test_results_are_no_python_numbers():
    for wrap in WRAPS:
        f = wrap(lambda p, y: lax.cond(p, lambda x: x, lambda x: x, 2.0) * y)
        assert f(True, F32(1)).dtype == np.float64
        g = wrap(lambda x, y: lax.cond(True, lambda x: x, lambda x: x, x) * y)
        assert g(2.0, F32(1)).dtype == np.float64


def test_results_are_fresh():
    x = np.ones(3)
    y, z = lax.cond(True, lambda x: (x, x), lambda x: (x, -x), x)
    assert not np.shares_memory(x, y) and not np.shares_memory(y, z) and y.flags.writeable


def test_operands_by_position_and_by_name():
    add = lambda x, y: x + y["v"]  # noqa: E731
    assert lax.cond(True, add, lambda x, y: x, 1.0, {"v": 2.0}) == 3.0
    assert lax.cond(False, lambda t: t[0], lambda t: t[1], operand=(1.0, 2.0)) == 2.0
    assert lax.cond(True, lambda x: 1.0, lambda x: 2.0, operand=None) == 1.0
    assert lax.switch(1, [lambda x: x, lambda x: -x], operand=2.0) == -2.0
    assert lax.cond(True, lambda: (), lambda: ()) == ()


def test_recursion_of_branches_and_loops():
    def f(loops, x, n):
        inner = lambda c: loops.cond(c > 1, lambda c: c * x, lambda c: c + x, c)  # noqa: E731
        return loops.fori_loop(0, n, lambda i, c: inner(loops.switch(i, [np.sin, np.cos, lambda c: c * c], c)), x)

    plain = lambda x: f(python_loops, x, 5)  # noqa: E731
    looped = lambda x: f(lax, x, 5)  # noqa: E731
    for x in (0.4, 1.7):
        check_close(looped(x), plain(x))
        check_close(fgrad.jit(looped)(x), plain(x))
        check_close(fgrad.grad(looped)(x), fgrad.grad(plain)(x))
        check_close(fgrad.jit(fgrad.grad(looped))(x), fgrad.grad(plain)(x))
        check_close(fgrad.grad(fgrad.grad(looped))(x), fgrad.grad(fgrad.grad(plain))(x))
    check_vmap(fgrad.grad(looped), (np.array([0.4, 1.7]),), (0,))
