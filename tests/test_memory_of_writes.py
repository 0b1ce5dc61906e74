"""What the memory plan says of writes: which are in place, which copy, and why."""

import numpy as np

import fgrad
import fgrad.numpy as fnp
from fgrad import lax

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
