"""What loops do with the functions they are given: kept, traced again where it matters, and written in place."""

import gc
import weakref

import loop_programs
import numpy as np
import pytest
import python_loops
from python_loops import weighed

import fgrad
import fgrad.numpy as fnp
from fgrad import lax
from fgrad.passes.transpose import parted
from fgrad.testing import check_close, check_grads

F32 = np.float32

# --------------------------------------------------------------------------------------------------- bodies are kept


def traced(f):
    """`f`, and a list that grows with each call, that is, with each trace."""
    calls = []

    def counted(*args):
        calls.append(1)
        return f(*args)

    return counted, calls


def test_a_body_is_traced_once():
    f, calls = traced(lambda c, x: (c + x, c))
    for n in (3, 4, 5):
        check_close(lax.scan(f, np.float64(0), np.ones(n))[0], float(n))
    assert len(calls) == 1
    lax.scan(f, F32(0), np.ones(3, F32))
    assert len(calls) == 2
    go, asked = traced(lambda c: c < 10)
    step, stepped = traced(lambda c: c + 1)
    for _ in range(3):
        lax.while_loop(go, step, np.int64(0))
        lax.fori_loop(0, 3, step_of_two, np.int64(0))
    assert (len(asked), len(stepped)) == (1, 1)


def step_of_two(i, c):
    return c + 2


rate = 2.0


def grow(c, _):
    return c * rate, None


def test_a_body_is_traced_again_when_a_number_changes_that_it_names(monkeypatch):
    assert lax.scan(grow, 1.0, length=3)[0] == 8.0
    monkeypatch.setitem(globals(), "rate", 3.0)
    assert lax.scan(grow, 1.0, length=3)[0] == 27.0

    shift = 1.0

    def move(c, _):
        return c + shift, None

    assert lax.scan(move, 0.0, length=3)[0] == 3.0
    shift = -0.0
    assert lax.scan(move, 0.0, length=3)[0] == 0.0
    shift = np.float32(2)
    assert lax.scan(move, np.float32(0), length=3)[0] == 6.0
    shift = np.array(1.0)
    assert lax.scan(move, 0.0, length=3)[0] == 3.0
    shift[...] = 2.0
    assert lax.scan(move, 0.0, length=3)[0] == 6.0


def test_captured_arrays_are_read_at_every_call():
    table = np.ones(3)

    def add(c, i):
        return c + fnp.take(table, i), None

    assert lax.scan(add, 0.0, np.arange(3))[0] == 3.0
    table[1] = 5.0
    assert lax.scan(add, 0.0, np.arange(3))[0] == 7.0


def test_bodies_die_with_their_functions():
    def f(c, x):
        return c + x, None

    lax.scan(f, 0.0, np.ones(2))
    gone = weakref.ref(f)
    del f
    gc.collect()
    assert gone() is None


def test_captured_tracers_of_several_levels():
    def f(a):
        def g(b):
            return lax.fori_loop(0, 3, lambda i, c: c * a + b, 1.0)

        return fgrad.grad(g)(a) * a

    plain = lambda a: (1 + a + a * a) * a  # noqa: E731
    check_close(f(1.5), plain(1.5))
    check_close(fgrad.grad(f)(1.5), fgrad.grad(plain)(1.5))
    check_close(fgrad.jit(fgrad.grad(f))(1.5), fgrad.grad(plain)(1.5))


def test_conditions_capture_traced_values():
    f = lambda x, bound: lax.while_loop(lambda c: c < bound, lambda c: c * x, x)  # noqa: E731
    plain = lambda x, bound: python_loops.while_loop(lambda c: c < bound, lambda c: c * x, x)  # noqa: E731
    check_close(f(1.5, 20.0), np.float64(plain(1.5, 20.0)))
    want = fgrad.grad(plain, (0, 1))(1.5, 20.0)
    check_close(fgrad.grad(f, (0, 1))(1.5, 20.0), want)
    check_close(fgrad.jit(fgrad.grad(f, (0, 1)))(1.5, 20.0), want)
    bounds = np.array([2.0, 20.0, 200.0])
    check_close(fgrad.vmap(f, (None, 0))(1.5, bounds), np.array([plain(1.5, b) for b in bounds]))


def test_results_are_fresh():
    x, xs = np.ones(3), np.ones((2, 3))
    for options in ({}, {"unroll": True}, {"unroll": 2}):
        carry, ys = lax.scan(lambda c, v: (c, v), x, xs, **options)
        for y, source in ((carry, x), (ys, xs)):
            assert y.flags.writeable and y.flags.c_contiguous and not np.shares_memory(y, source)
    y = lax.fori_loop(0, 0, lambda i, c: c, x)
    assert y.flags.writeable and not np.shares_memory(y, x)
    first, second = lax.while_loop(lambda c: False, lambda c: c, (x, x))
    assert not np.shares_memory(first, second)


def test_methods_jitted_functions_and_partials_as_bodies():
    class Model:
        scale = 2.0

        def step(self, c, x):
            return c * self.scale + x, None

    xs = np.ones(3)
    assert lax.scan(Model().step, 0.0, xs)[0] == 7.0
    assert lax.scan(fgrad.jit(Model().step), 0.0, xs)[0] == 7.0
    assert lax.fori_loop(0, 3, max_of, 2.0) == 2.0


def max_of(i, c):
    return np.maximum(i, c)


def test_the_program_of_a_loop_is_one_equation():
    program = fgrad.make_jaxpr(lambda x: lax.scan(lambda c, v: (c + v * x, None), 0.0, np.ones(10))[0])(2.0)
    assert [e.primitive.name for e in program.eqns] == ["scan"]
    program = fgrad.make_jaxpr(lambda n: lax.fori_loop(0, n, lambda i, c: c + i, 0))(3)
    assert [e.primitive.name for e in program.eqns] == ["while_loop"]
    program = fgrad.make_jaxpr(lambda x: lax.fori_loop(0, 4, lambda i, c: c + x, 0.0))(3.0)
    assert [e.primitive.name for e in program.eqns] == ["scan"]


# -------------------------------------------------------------------------------------------------- in-place writes


def test_carries_may_be_written():
    def functional(c, x):
        c = np.concatenate([c[1:], (c[0] * x)[None]])
        return c * 2.0, c.sum()

    def writing(c, x):
        first = c[0]
        c[:-1] = c[1:]
        c[-1] = first * x
        y = c.sum()
        c *= 2.0
        return c, y

    init, xs = np.array([0.5, 1.0, 2.0]), np.array([0.3, 0.7, 1.1, 0.2])
    before = init.copy()
    want = python_loops.scan(functional, init, xs)
    for wrap in (lambda f: f, fgrad.jit):
        check_close(wrap(lambda c, x: lax.scan(writing, c, x))(init, xs), want)
        loss = lambda c, x: weighed(lax.scan(writing, c, x))  # noqa: E731
        plain = lambda c, x: weighed(python_loops.scan(functional, c, x))  # noqa: E731
        check_close(wrap(fgrad.grad(loss, (0, 1)))(init, xs), fgrad.grad(plain, (0, 1))(init, xs))
    np.testing.assert_array_equal(init, before)

    def fill(i, c):
        c[i] = i * c[i - 1] + 1
        return c

    want = [0, 1, 3, 10, 41]
    assert lax.fori_loop(1, 5, fill, np.zeros(5)).tolist() == want
    assert fgrad.jit(lambda n: lax.fori_loop(1, n, fill, np.zeros(5)))(5).tolist() == want
    halve = lambda s: (s[0] + 1, fill(s[0], s[1]))  # noqa: E731
    assert lax.while_loop(lambda s: s[0] < 5, halve, (1, np.zeros(5)))[1].tolist() == want


def test_what_a_loop_returns_may_be_written():
    def f(x):
        carry, ys = lax.scan(lambda c, v: (c + v * x, c * x), fnp.zeros(2), np.ones((3, 2)))
        carry[0] = x
        ys[1] *= 2.0
        return weighed((carry, ys))

    check_grads(f, (0.7,))
    check_close(fgrad.jit(fgrad.grad(f))(0.7), fgrad.grad(f)(0.7))


# ------------------------------------------------------------------------------------------------------- known values

KNOWN = {
    "scan": lambda x: lax.scan(lambda c, v: (c + v * x[0], c), 0.5, x)[0],
    "while_loop": lambda x: lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1] * x[0]), (0, 1.0))[1],
    "cond": lambda x: lax.cond(x[0] > 0, lambda x: x[0] * x[1], lambda x: x[2], x),
    "checkpoint": lambda x: fgrad.checkpoint(lambda x: np.sin(x).sum())(x),
    "jit": lambda x: fgrad.jit(lambda x: (x * x).sum())(x),
}


@pytest.mark.parametrize("name", KNOWN)
def test_derivatives_of_known_values_are_known_where_a_program_is_traced(name):
    f, x = KNOWN[name], np.array([0.5, 1.5, -2.0])
    derived = {
        "grad": lambda: fgrad.grad(f)(x),
        "jvp": lambda: fgrad.jvp(f, (x,), (x,)),
        "vjp": lambda: fgrad.vjp(f, x)[1](1.0),
        "hvp": lambda: fgrad.hvp(f, (x,), (x,)),
        "vmap": lambda: fgrad.vmap(fgrad.grad(f))(np.stack([x, 2 * x])),
    }
    want = {k: g() for k, g in derived.items()}

    def inside(c):
        found = {k: g() for k, g in derived.items()}
        for name in ("grad", "jvp", "vjp"):
            check_close(found[name], want[name], name)
        return fgrad.tree.map(lambda y: c * y, found)

    for outer in (inside, lambda c: lax.scan(lambda c, _: (c, inside(c)), c, None, length=1)[1]):
        got = fgrad.jit(outer)(1.0)
        check_close(got, fgrad.tree.map(lambda y, g: np.reshape(y, g.shape), want, got))


# ------------------------------------------------------------------------------------------------ what is not needed


def test_a_scan_does_not_depend_on_operands_that_its_body_does_not_read():
    """Else its outputs would be taken for linear in them, where a program is transposed."""
    loop = loop_programs.scanned(lambda w, t, c, x: [c + x, c > w], [np.float64(1)], [np.ones(3)], [np.float64(2)] * 2)
    flags = [False, True, False, False]
    linear, known = parted(loop.eqn, flags)
    assert not linear.outputs and len(known.outputs) == 2 and len(known.inputs) == 3
