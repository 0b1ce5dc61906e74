"""scan, map, while_loop, fori_loop: values, types and derivatives, against the same bodies in Python's own loops."""

import numpy as np
import pytest
import python_loops
from hypothesis import given, settings
from hypothesis import strategies as st
from python_loops import weighed

import fgrad
from fgrad import lax
from fgrad.testing import check_close, check_grads, check_vmap

F32 = np.float32

# ------------------------------------------------------------------------------------------------------- random bodies


@st.composite
def trees(draw, depth=2):
    """A pytree of arrays of at most two small axes."""
    kind = draw(st.sampled_from(["leaf", "tuple", "dict"] if depth else ["leaf"]))
    if kind == "leaf":
        shape = draw(st.lists(st.integers(1, 3), max_size=2))
        return np.random.default_rng(draw(st.integers(0, 99))).uniform(-1, 1, shape)
    parts = draw(st.lists(trees(depth=depth - 1), min_size=0, max_size=2))
    return tuple(parts) if kind == "tuple" else {f"k{i}": v for i, v in enumerate(parts)}


def body(w, carry, x):
    """Every leaf of the next carry depends on w, on all of the carry and on all of x."""
    mixed = np.tanh(weighed((carry, x)) * w.sum() + w[0])
    after = fgrad.tree.map(lambda c: np.sin(c * w[1] + mixed), carry)
    return after, {"mixed": mixed, "x": fgrad.tree.map(lambda v: v * mixed, x)}


def run(loops, w, init, xs, options):
    """What a scan gives whose body captures w, as a loss of w, init and xs."""
    return weighed(loops.scan(lambda c, x: body(w, c, x), init, xs, **options))


@settings(max_examples=12)
@given(
    init=trees(),
    x=trees(),
    n=st.integers(1, 5),
    reverse=st.booleans(),
    unroll=st.sampled_from([1, 2, 3, True, 0]),
    checkpoint=st.sampled_from([None, True, 2]),
)
def test_scan_is_a_python_loop(init, x, n, reverse, unroll, checkpoint):
    w = np.array([0.3, 0.8])
    xs = fgrad.tree.map(lambda v: np.stack([np.cos(i + v) for i in range(n)]), x)
    options = {"length": n, "reverse": reverse}
    more = {**options, "unroll": unroll, "checkpoint": checkpoint}
    want = python_loops.scan(lambda c, v: body(w, c, v), init, xs, **options)
    check_close(lax.scan(lambda c, v: body(w, c, v), init, xs, **more), want)
    check_close(fgrad.jit(lambda i, v: lax.scan(lambda c, u: body(w, c, u), i, v, **more))(init, xs), want)

    plain = lambda w, init, xs: run(python_loops, w, init, xs, options)  # noqa: E731
    looped = lambda w, init, xs: run(lax, w, init, xs, more)  # noqa: E731
    args = (w, init, xs)
    want = fgrad.grad(plain, (0, 1, 2))(*args)
    check_close(fgrad.grad(looped, (0, 1, 2))(*args), want, rtol=1e-9)
    check_close(fgrad.jit(fgrad.grad(looped, (0, 1, 2)))(*args), want, rtol=1e-9)
    tangents = fgrad.tree.map(np.cos, args)
    check_close(fgrad.jvp(looped, args, tangents), fgrad.jvp(plain, args, tangents), rtol=1e-9)
    check_close(fgrad.hvp(looped, args, tangents), fgrad.hvp(plain, args, tangents), rtol=1e-8)


@settings(max_examples=4)
@given(init=trees(), x=trees(), reverse=st.booleans(), checkpoint=st.sampled_from([None, True]))
def test_scan_under_vmap_is_a_loop_over_lanes(init, x, reverse, checkpoint):
    w = np.array([0.3, 0.8])
    xs = fgrad.tree.map(lambda v: np.stack([np.cos(i + v) for i in range(4)]), x)
    options = {"length": 4, "reverse": reverse, "checkpoint": checkpoint}
    lanes = lambda t: fgrad.tree.map(lambda v: np.stack([v, np.sin(v), 0.5 * v]), t)  # noqa: E731
    f = lambda w, init, xs: run(lax, w, init, xs, options)  # noqa: E731
    args = (w, init, xs)
    for mapped in [(0, None, None), (None, 0, None), (None, None, 0), (0, 0, 0)]:
        given_args = tuple(lanes(a) if m == 0 else a for a, m in zip(args, mapped, strict=True))
        if not fgrad.tree.leaves([a for a, m in zip(args, mapped, strict=True) if m == 0]):
            continue
        check_vmap(f, given_args, mapped)
        check_vmap(fgrad.grad(f, (0, 1, 2)), given_args, mapped, rtol=1e-9)


@settings(max_examples=10)
@given(init=trees(), bound=st.integers(1, 6))
def test_while_loop_is_a_python_loop(init, bound):
    """The number of runs depends on the values."""
    w = np.array([0.3, 0.8])

    def loss(loops, w, init):
        go = lambda s: s[0] < bound  # noqa: E731
        step = lambda s: (s[0] + 1.0 + 0.1 * np.tanh(weighed(s[1])), body(w, s[1], s[0])[0])  # noqa: E731
        return weighed(loops.while_loop(go, step, (0.0 * w[0], init)))

    plain = lambda w, init: loss(python_loops, w, init)  # noqa: E731
    looped = lambda w, init: loss(lax, w, init)  # noqa: E731
    args = (w, init)
    check_close(looped(*args), plain(*args))
    check_close(fgrad.jit(looped)(*args), plain(*args))
    want = fgrad.grad(plain, (0, 1))(*args)
    check_close(fgrad.grad(looped, (0, 1))(*args), want, rtol=1e-9)
    check_close(fgrad.jit(fgrad.grad(looped, (0, 1)))(*args), want, rtol=1e-9)
    tangents = fgrad.tree.map(np.cos, args)
    check_close(fgrad.jvp(looped, args, tangents), fgrad.jvp(plain, args, tangents), rtol=1e-9)
    check_close(fgrad.hvp(looped, args, tangents), fgrad.hvp(plain, args, tangents), rtol=1e-8)


def test_while_loop_under_vmap_stops_each_lane_by_itself():
    def f(x, a):
        return lax.while_loop(lambda s: s[0] < 10, lambda s: (s[0] * a + 1, s[1] + np.sin(s[0])), (x, 0.0))[1]

    xs, rates = np.array([0.5, 3.0, 12.0]), np.array([1.5, 1.1, 2.0])
    for mapped in [(0, 0), (0, None), (None, 0)]:
        args = tuple(v if m == 0 else v[0] for v, m in zip((xs, rates), mapped, strict=True))
        check_vmap(f, args, mapped)
        check_vmap(fgrad.grad(f, (0, 1)), args, mapped)
        check_vmap(fgrad.jit(fgrad.grad(f, (0, 1))), args, mapped)


# --------------------------------------------------------------------------------------------------- types and shapes


@pytest.mark.parametrize("wrap", [lambda f: f, fgrad.jit])
def test_a_python_number_as_carry_takes_the_dtype_that_comes_out(wrap):
    xs = np.arange(3, dtype=F32)
    check_close(wrap(lambda xs: lax.scan(lambda c, x: (c + x, c), 0.0, xs))(xs), (F32(3), np.array([0, 0, 1], F32)))
    check_close(wrap(lambda xs: lax.scan(lambda c, x: (c + x, c), 0, xs)[0])(xs), F32(3))
    check_close(wrap(lambda xs: lax.scan(lambda c, x: (c + 1, None), 0, xs)[0])(xs), np.int64(3))
    check_close(wrap(lambda xs: lax.scan(lambda c, x: (c + 0.5, None), 0, xs)[0])(xs), 1.5)
    check_close(wrap(lambda xs: lax.scan(lambda c, x: (0, c), 0.5, xs)[1])(xs), np.array([0.5, 0, 0]))
    check_close(wrap(lambda x: lax.while_loop(lambda c: c < 9, lambda c: c * x, 1))(F32(2)), F32(16))
    check_close(wrap(lambda x: lax.fori_loop(0, 3, lambda i, c: c * x + i, 1))(F32(2)), F32(12))


def test_a_python_number_that_is_returned_takes_the_dtype_of_the_carry():
    check_close(lax.scan(lambda c, x: (0, c), F32(2), length=2), (F32(0), np.array([2, 0], F32)))
    check_close(lax.fori_loop(0, 2, lambda i, c: 1, np.int8(5)), np.int8(1))


def test_chains_of_python_numbers_in_a_carry_settle():
    """Each run hands a type one place further."""
    step = lambda c, x: ((x, c[0], c[1], c[2]), None)  # noqa: E731
    got = lax.scan(step, (0, 0, 0, 0), np.arange(2, dtype=F32))[0]
    check_close(got, (F32(1), F32(0), F32(0), F32(0)))


def test_results_are_no_python_numbers():
    for result in (lax.fori_loop(0, 2, lambda i, c: c + 1, 0), lax.while_loop(lambda c: c < 1, lambda c: c + 1.0, 0.0)):
        assert isinstance(result, np.generic)
    f = lambda x: lax.fori_loop(0, 2, lambda i, c: c * 2.0, 1.0) * x  # noqa: E731
    assert f(F32(1)).dtype == fgrad.jit(f)(F32(1)).dtype == np.float64


def test_counters_of_python_bounds_behave_like_python_integers():
    x = np.ones(2, F32)
    assert lax.fori_loop(0, 3, lambda i, c: c + i * x, x).dtype == F32
    assert fgrad.jit(lambda n: lax.fori_loop(0, n, lambda i, c: c + i * x, x))(3).dtype == F32
    assert lax.fori_loop(np.int32(0), 3, lambda i, c: c + i, np.int32(0)).dtype == np.int32
    with pytest.raises(TypeError, match="changes the type"):
        lax.fori_loop(np.int64(0), 3, lambda i, c: c + i * x, x)


def test_empty_loops():
    check_close(lax.scan(lambda c, x: (c + x.sum(), x * 2), 1.0, np.ones((0, 3))), (np.float64(1), np.ones((0, 3))))
    for options in ({"unroll": 3}, {"unroll": True}, {"checkpoint": True}, {"checkpoint": 2}):
        check_close(lax.scan(lambda c, x: (c + x, c), 1.0, np.ones(0), **options), (np.float64(1), np.ones(0)))
    assert lax.scan(lambda c, x: (c, None), (), None, length=3) == ((), None)
    assert lax.fori_loop(3, 0, lambda i, c: c + 1, 5) == 5
    assert lax.while_loop(lambda c: False, lambda c: c + 1, 5) == 5
    assert lax.while_loop(lambda c: False, lambda c: c, {}) == {}
    check_close(lax.map(lambda x: x + 1, np.zeros((0, 2)), batch_size=2), np.zeros((0, 2)))
    assert fgrad.grad(lambda x: lax.fori_loop(0, 0, lambda i, c: c * x, x))(2.0) == 1.0


def test_trees_without_leaves():
    carry, ys = lax.scan(lambda c, x: (c, None), {"a": None, "b": 1.0}, None, length=2)
    assert carry == {"a": None, "b": 1.0} and ys is None


@pytest.mark.parametrize("options", [{}, {"unroll": 2}, {"unroll": True}, {"checkpoint": 2}])
def test_bodies_that_return_what_they_know(options):
    table = np.arange(2.0)
    got = lax.scan(lambda c, x: (c, (0.5, table, c)), 1.0, length=5, **options)
    want = (np.full(5, 0.5), np.tile(table, (5, 1)), np.ones(5))
    check_close(got, (np.float64(1), want))
    check_close(lax.scan(lambda c, x: (c, 0.5), (), length=5, **options), ((), want[0]))
    f = lambda x: lax.scan(lambda c, v: (c, (0.5, table, v * c)), x, np.ones(5), **options)[1]  # noqa: E731
    check_close(fgrad.jit(f)(1.0), want)
    check_close(fgrad.grad(lambda x: f(x)[2].sum())(1.0), np.float64(5))
    check_close(fgrad.jit(lambda x: lax.map(lambda v: 0.5, x, batch_size=2))(np.ones(5)), want[0])


def test_length_beside_xs():
    check_close(lax.scan(lambda c, x: (c + x, None), 0.0, np.ones(3), length=3)[0], 3.0)
    check_close(lax.scan(lambda c, x: (c + 1, None), 0, length=np.int32(4))[0], 4)


def test_options_of_jax_are_taken():
    check_close(lax.scan(lambda c, x: (c + x, None), 0.0, np.ones(3), None, False, 1, True)[0], 3.0)
    check_close(lax.fori_loop(0, 4, lambda i, c: c + i, 0, unroll=2), 6)
    check_close(lax.fori_loop(0, 4, lambda i, c: c + i, 0, unroll=True), 6)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("n", [1, 2, 3, 7, 16, 17])
@pytest.mark.parametrize("checkpoint", [True, 2, 3, 100])
def test_checkpoint_changes_nothing(n, checkpoint, reverse):
    xs = np.cos(np.arange(n))

    def loss(a, xs, checkpoint):
        step = lambda s, x: (np.sin(a * s + x), s * x)  # noqa: E731
        return weighed(lax.scan(step, a, xs, reverse=reverse, checkpoint=checkpoint))

    check_close(fgrad.grad(loss, (0, 1))(0.7, xs, checkpoint), fgrad.grad(loss, (0, 1))(0.7, xs, None))


def test_checkpoint_remembers_less():
    """The residuals of vjp, counted."""

    def saved(checkpoint, n=256):
        step = lambda c, x: (np.sin(c), None)  # noqa: E731
        _, pull = fgrad.vjp(lambda c: lax.scan(step, c, None, length=n, checkpoint=checkpoint)[0], np.ones(100))
        tape = next(c.cell_contents for c in pull.__closure__ if type(c.cell_contents).__name__ == "Tape")
        arrays = {id(x): x for e in tape.entries for x in e[2] if isinstance(x, np.ndarray)}
        return sum(x.nbytes for x in arrays.values())

    everything, root, little = saved(None), saved(True), saved(2)
    assert everything >= 256 * 800
    assert root <= 20 * 800
    assert little <= 8 * 800


# ----------------------------------------------------------------------------------------------------------------- map


@pytest.mark.parametrize("n", [1, 2, 5, 6])
@pytest.mark.parametrize("batch_size", [None, 0, 1, 2, 3, 6, 100])
def test_map_in_batches(n, batch_size):
    w = np.array([0.5, 2.0])
    xs = {"a": np.arange(2.0 * n).reshape(n, 2), "b": np.arange(n)}
    f = lambda w, x: {"dot": x["a"] @ w, "n": x["b"] + 1, "c": np.float32(2)}  # noqa: E731
    want = python_loops.map(lambda x: f(w, x), xs)
    check_close(lax.map(lambda x: f(w, x), xs, batch_size=batch_size), want)
    check_close(fgrad.jit(lambda v: lax.map(lambda x: f(w, x), v, batch_size=batch_size))(xs), want)
    check_grads(lambda w, a: lax.map(lambda x: np.sin(x @ w), a, batch_size=batch_size), (w, xs["a"]))


# ------------------------------------------------------------------------------------------------------- nested loops


def test_nested_loops():
    """A while_loop in a scan in a fori_loop, with values captured from every level."""

    def f(loops, a, x):
        def outer(i, c):
            def step(s, v):
                s = loops.while_loop(lambda t: t < 2, lambda t: t + a * v * v + 0.5, s * 0.1 + i)
                return np.sin(s), s * v

            last, ys = loops.scan(step, c, x)
            return last + ys.sum()

        return loops.fori_loop(0, 3, outer, a)

    x = np.array([0.7, 1.1, 0.4])
    plain = lambda a, x: f(python_loops, a, x)  # noqa: E731
    looped = lambda a, x: f(lax, a, x)  # noqa: E731
    check_close(looped(0.6, x), plain(0.6, x))
    check_close(fgrad.jit(looped)(0.6, x), plain(0.6, x))
    want = fgrad.grad(plain, (0, 1))(0.6, x)
    check_close(fgrad.grad(looped, (0, 1))(0.6, x), want, rtol=1e-9)
    check_close(fgrad.jit(fgrad.grad(looped, (0, 1)))(0.6, x), want, rtol=1e-9)
    check_close(fgrad.hessian(looped)(0.6, x), fgrad.hessian(plain)(0.6, x), rtol=1e-8)
    check_vmap(fgrad.grad(looped), (np.array([0.6, 0.3]), x), (0, None))


def test_gradients_inside_of_loops():
    """Gradient descent as a loop, differentiated by its start and by the function that it minimises."""

    def descend(loops, x, a):
        slope = fgrad.grad(lambda x: a * np.cosh(x).sum())
        return loops.fori_loop(0, 4, lambda i, x: x - 0.1 * slope(x), x).sum()

    args = (np.array([0.3, -1.0]), 0.9)
    want = fgrad.grad(lambda *v: descend(python_loops, *v), (0, 1))(*args)
    check_close(fgrad.grad(lambda *v: descend(lax, *v), (0, 1))(*args), want)
    check_close(fgrad.jit(fgrad.grad(lambda *v: descend(lax, *v), (0, 1)))(*args), want)


def test_vmap_inside_of_loops():
    table = np.arange(6.0).reshape(3, 2)
    f = lambda x: lax.scan(lambda c, _: (fgrad.vmap(lambda r: np.sin(r @ c))(table)[:2], None), x, length=3)[0].sum()  # noqa: E731
    plain = lambda x: python_loops.scan(lambda c, _: (np.sin(table @ c)[:2], None), x, length=3)[0].sum()  # noqa: E731
    x = np.array([0.1, 0.2])
    check_close(f(x), plain(x))
    check_close(fgrad.grad(f)(x), fgrad.grad(plain)(x))


@pytest.mark.parametrize("order", [1, 2])
def test_derivatives_against_differences(order):
    def rnn(w, h, xs):
        return lax.scan(lambda h, x: (np.tanh(w @ h + x), h.sum()), h, xs)

    def newton(a):
        return lax.while_loop(lambda x: np.abs(x * x - a) > 1e-13, lambda x: (x + a / x) / 2, a + 1.0)

    rng = np.random.default_rng(0)
    check_grads(rnn, (rng.normal(size=(3, 3)), rng.normal(size=3), rng.normal(size=(4, 3))), order=order)
    check_grads(newton, (2.0,), order=order)
    check_grads(lambda x: lax.fori_loop(0, 3, lambda i, c: c * np.cos(x * c + i), x), (0.7,), order=order)


def test_integers_and_booleans_in_carries():
    """They take part, and have no derivative."""

    def f(loops, x):
        step = lambda c, v: ((c[0] + 1, c[1] * v + c[0], ~c[2]), np.where(c[2], c[1], 0.0))  # noqa: E731
        (n, value, flag), ys = loops.scan(step, (0, x, np.bool_(True)), np.array([1.5, 0.5, 2.0]))
        return value + ys.sum() + n * flag

    want = fgrad.grad(lambda x: f(python_loops, x))(0.3)
    check_close(fgrad.grad(lambda x: f(lax, x))(0.3), want)
    check_close(fgrad.jit(fgrad.grad(lambda x: f(lax, x)))(0.3), want)


def test_complex_carries():
    f = lambda z: lax.scan(lambda c, _: (c * c + z, None), z, length=3)[0]  # noqa: E731
    plain = lambda z: python_loops.scan(lambda c, _: (c * c + z, None), z, length=3)[0]  # noqa: E731
    z = np.complex128(0.3 + 0.2j)
    check_close(f(z), plain(z))
    check_close(fgrad.grad(f, holomorphic=True)(z), fgrad.grad(plain, holomorphic=True)(z))


@pytest.mark.parametrize("runs", [0, 1, 2])
@pytest.mark.parametrize("known", [True, False])
def test_carries_whose_derivative_ends_in_a_run(known, runs):
    """The first carry starts from x, and is something else behind every run."""

    def loss(loops, x, y, n):
        step = lambda i, c: (np.sin(y), c[1] * c[0], c[2])  # noqa: E731
        return weighed(loops.fori_loop(0, runs if known else n, step, (x, x, 2 * x)))

    args = (np.arange(1.0, 4.0), np.arange(3.0))
    for n, places in enumerate([(0,), (1,), (0, 1)]):
        want = fgrad.grad(lambda *v: loss(python_loops, *v, runs), places)(*args)
        got = fgrad.jit(fgrad.grad(lambda *v: loss(lax, *v), places))(*args, runs)
        check_close(got, want, f"gradient {n}")
    curve = lambda loops: lambda x, y: fgrad.grad(lambda x: loss(loops, x, y, runs))(x)  # noqa: E731
    check_close(fgrad.jvp(curve(lax), args, args)[1], fgrad.jvp(curve(python_loops), args, args)[1], "its tangent")


@pytest.mark.parametrize("runs", [0, 1, 2])
def test_an_inner_carry_that_every_run_sets_anew(runs):
    """What the inner loop ends with depends on what it starts from, if it does not run."""

    def loss(loops, x):
        def step(c, _):
            (a, b), ys = loops.scan(lambda c, _: ((1.0, c[1] + c[0]), c[0]), (c[1].sum(), 0.0), None, length=runs)
            return (c[0] + a, np.sin(c[1]) * b), ys

        return weighed(loops.scan(step, (0.0, x), None, length=3))

    x = np.arange(1.0, 4.0)
    plain, looped = (lambda x, loops=loops: loss(loops, x) for loops in (python_loops, lax))
    for f in (lambda f: f, fgrad.grad, lambda f: lambda x: fgrad.hvp(f, (x,), (x,))):
        check_close(f(looped)(x), f(plain)(x))
        check_close(fgrad.jit(f(looped))(x), f(plain)(x))
        check_vmap(f(looped), (np.stack([x, -x]),))


@pytest.mark.parametrize("unroll", [1, 2, True])
def test_carries_that_a_run_makes_constants(unroll):
    """The next run makes arrays of them, which are part of its program."""

    def loss(loops, x, n):
        def step(c, y):
            return (3.0, np.int64(2)), np.stack([c[0], c[1] * y])

        return weighed(loops.scan(step, (x.sum(), n), x, unroll=unroll))

    x, n = np.arange(1.0, 6.0), np.int64(7)
    plain, looped = (lambda x, loops=loops: loss(loops, x, n) for loops in (python_loops, lax))
    for f in (lambda f: f, fgrad.grad, lambda f: lambda x: fgrad.hvp(f, (x,), (x,))):
        check_close(f(looped)(x), f(plain)(x))
        check_close(fgrad.jit(f(looped))(x), f(plain)(x))


def test_an_inner_carry_that_starts_from_a_constant_and_depends_on_nothing():
    """In the derivative of the outer loop, the inner one is run for what the derivative needs of this carry."""

    def loss(loops, x):
        def step(c):
            factor, y = loops.fori_loop(0, 3, lambda i, c: (c[0] * 2 + 1.0, c[1] * c[0]), (0.5, c[1]))
            return c[0] + 1, np.sin(y) * factor

        return weighed(loops.while_loop(lambda c: c[0] < 2, step, (0, x)))

    x = np.arange(1.0, 4.0)
    plain, looped = (lambda x, loops=loops: loss(loops, x) for loops in (python_loops, lax))
    for f in (fgrad.grad, lambda f: lambda x: fgrad.hvp(f, (x,), (x,))):
        check_close(f(looped)(x), f(plain)(x), rtol=1e-10)
        check_close(fgrad.jit(f(looped))(x), f(plain)(x), rtol=1e-10)
