"""What the memory plan says of writes: which are in place, which copy, and why."""

import numpy as np
import pytest

import fgrad
import fgrad.numpy as fnp
from fgrad import lax
from fgrad.core.errors import MutationError

LONG = fgrad.ShapeDtypeStruct((10_000,), np.float64)


def plan_of(f, *types, **options):
    return fgrad.jit(f, **options).lower(*types).memory_plan()


def test_a_write_is_in_place_where_the_old_value_is_dead():
    def f(x):
        y = 2 * x
        y[0] = 3.0
        y[1] += 1.0
        return y

    plan = plan_of(f, LONG)
    assert len(plan.in_place) == 2
    assert not plan.copies


def test_an_argument_is_copied_unless_it_is_donated():
    write = lambda x: x.at[1].set(0.0)  # noqa: E731
    (reason,) = plan_of(write, LONG).copies
    assert reason.startswith("a to ")
    assert reason.endswith("to be written into: it is an argument, whose memory is not given to the program")
    plan = plan_of(write, LONG, donate_argnums=0)
    assert not plan.copies
    assert plan.donated == ("argument [0]: result is written into it",)


def test_of_two_versions_one_is_a_copy():
    def f(x):
        y = 2 * x
        z = y.at[1].set(0.0)
        return y.at[2].set(1.0), z

    plan = plan_of(f, LONG)
    assert len(plan.in_place) == 1
    assert len(plan.copies) == 1


def test_a_captured_array_is_copied():
    table = np.arange(10_000.0)
    (reason,) = plan_of(lambda i: fgrad.at(table)[i].set(0.0), fgrad.ShapeDtypeStruct((), np.int64)).copies
    assert reason.endswith("it is a captured array")


def test_a_loop_copies_once_and_then_writes_in_place():
    def f(x):
        return lax.fori_loop(1, 10_000, lambda i, a: a.at[i].set(a[i] + fnp.sin(a[i - 1])), x)

    assert len(plan_of(f, LONG).copies) == 1
    assert not plan_of(f, LONG, donate_argnums=0).copies


def test_a_donated_argument_may_be_written():
    @fgrad.jit(donate_argnums=0)
    def f(x):
        first = x[:3]
        x[1:] *= 2.0
        first += 1.0
        return x

    plan = f.lower(LONG).memory_plan()
    assert not plan.copies
    assert plan.donated == ("argument [0]: result is written into it",)
    for _ in range(3):  # traced, compiled, dispatched natively
        x = np.ones(10_000)
        y = f(x)
        assert y is x
        assert np.array_equal(y[:5], [2.0, 3.0, 3.0, 2.0, 2.0])


@pytest.mark.parametrize("options", [{}, {"backend": "interpreter"}, {"inline": True}], ids=repr)
def test_donation_belongs_to_the_wrapper(options):
    def f(tree, *, y):
        tree["a"][0] = y[1]
        y[:] = 0.5
        return tree, y

    x, y = np.ones(3), np.arange(3.0)
    given = fgrad.jit(f, donate_argnames=("tree", "y"), **options)
    tree, zeros = given({"a": x.copy()}, y=y.copy())
    assert np.array_equal(tree["a"], [1.0, 1.0, 1.0])
    assert np.array_equal(zeros, [0.5, 0.5, 0.5])
    with pytest.raises(MutationError, match="would write into an argument, and so into the caller's array"):
        fgrad.jit(f, **options)({"a": x}, y=y)
    with pytest.raises(MutationError, match=r"y\[:\] = 0\.5"):
        fgrad.jit(f, donate_argnums=0, **options)({"a": x}, y=y)
    # inside another function the donated values are as they were
    outer = fgrad.jit(lambda x, y: (given({"a": x}, y=y), x, y))(x, y)
    assert np.array_equal(outer[0][1], [0.5, 0.5, 0.5])
    assert np.array_equal(outer[1], x)
    assert np.array_equal(outer[2], y)
    gradient = fgrad.grad(lambda x, y: given({"a": x}, y=y)[0]["a"].sum(), argnums=(0, 1))(x, y)
    assert np.array_equal(gradient, [[0.0, 1.0, 1.0], [0.0, 1.0, 0.0]])
