"""Loops and branches on few numbers as one kernel each: they compute what the regions' `run` computes by NumPy."""

from __future__ import annotations

import _thread
import re
import threading
from typing import Any

import numpy as np
import pytest
from kernels import WIDE
from loop_programs import (
    Loop,
    chosen,
    close,
    compiled,
    kernel_of,
    looped,
    random_loop,
    runge_kutta,
    same,
    sample,
    scanned,
)

import fgrad
import fgrad.numpy as fnp
from fgrad import lax
from fgrad.compile import engine, kernel_loops, numba_kernels, render_llvm
from fgrad.compile.executable import Executable
from fgrad.compile.kernel_loops import small
from fgrad.compile.nests import Value
from fgrad.compile.statements import statements
from fgrad.core.errors import OutOfBoundsError
from fgrad.regions.call import plainly

F4, F8 = np.float32, np.float64


@pytest.fixture
def exactly(monkeypatch):
    """Products are rounded before they are added, as by NumPy."""
    monkeypatch.setattr(kernel_loops, "contract", lambda *args: None)
    monkeypatch.setattr(kernel_loops, "_KNOWN", {})


# ------------------------------------------------------------------------------------------------------ random programs


@pytest.mark.parametrize("group", range(10))
def test_random_loops_give_the_bits_of_numpy(group, exactly):
    for seed in range(15 * group, 15 * group + 15):
        loop = random_loop(seed)
        same(compiled(loop), loop.plain())


@pytest.mark.parametrize("seed", range(1000, 1030))
def test_renderers_agree(seed):
    made = sample(random_loop(seed), f"random {seed}")
    expected = made.in_python()
    for width in {16, engine.native_vector_bytes()}:
        image = engine.compile_text(render_llvm.render(made.kernel, width))
        made.same(expected, made.native(engine.load_object(image, [made.kernel.name])[made.kernel.name]))


@pytest.mark.parametrize("seed", [1000, 1003, 1009])
def test_numba_agrees(seed):
    made = sample(random_loop(seed))
    made.same(made.in_python(), made.native(numba_kernels.compile(made.kernel)))


# ------------------------------------------------------------------------------------------------------------- programs


@pytest.mark.parametrize("dtype", [F4, F8])
def test_products_are_rounded_with_their_sums(dtype):
    loop = scanned(lambda s: [runge_kutta(s).astype(dtype)], [np.ones(3, dtype)], length=20)
    text = kernel_of(loop).launch.kernel.text
    assert text.count(" fma ") > 5
    exact = scanned(lambda s: [runge_kutta(s)], [np.ones(3)], length=20).plain()
    close(compiled(loop), [x.astype(dtype) for x in exact], 100)


LOOPS: dict[str, Loop] = {
    "functions": scanned(
        lambda c, x: [fnp.tanh(c * 0.5 + x), fnp.exp(-c * c), fnp.sin(x) + fnp.log1p(abs(c))],
        [F8(0.3)], [np.linspace(-2, 2, 19)],
    ),
    "matrix": scanned(
        lambda w, h, x: [fnp.tanh(w @ h + x), h.sum()], [np.ones(5)], [np.ones((7, 5))], [np.eye(5) - 0.1]
    ),
    "products of matrices": scanned(lambda a, b: [a @ b * 0.3, a.T], [np.arange(9.0).reshape(3, 3)],
                                    [np.ones((4, 3, 3))]),
    "long sums": scanned(
        lambda x: [x.sum(), x.mean(), x.sum(0)], xs=[np.random.default_rng(0).normal(size=(3, 4, 13))]
    ),
    "loop in a loop": scanned(
        lambda c, x: [lax.fori_loop(0, 30, lambda i, c: c * 0.5 + x, c), c], [F8(1.0)], [np.arange(5.0)]
    ),
    "condition in a loop": scanned(
        lambda c, x: [lax.while_loop(lambda c: c > 1, lambda c: c * 0.5, c + x)], [F8(1.0)], [np.arange(50.0)]
    ),
    "stacked in a loop": scanned(
        lambda c, x: list(lax.scan(lambda c, y: (c * 0.9 + y, c), c, x)), [F8(1.0)], [np.ones((4, 50))]
    ),
    "choice in a loop": scanned(
        lambda c, x: [lax.switch(x, [lambda c: c + 1, lambda c: fnp.sqrt(c), lambda c: -c], c)],
        [F8(9.0)], [np.array([0, 1, 2, 5, -3, 1])],
    ),
    "newton": looped(
        lambda a, x: abs(x * x - a) > 1e-9, lambda a, x: [0.5 * (x + a / x)], [F8(1.0)], [F8(7.0)], [F8(7.0)]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop(name):
    close(compiled(LOOPS[name]), LOOPS[name].plain(), 30)


@pytest.mark.parametrize("name", LOOPS)
def test_renderers_agree_on_a_loop(name):
    made = sample(LOOPS[name])
    image = engine.compile_text(render_llvm.render(made.kernel, engine.native_vector_bytes()))
    made.same(made.in_python(wide=WIDE), made.native(engine.load_object(image, [made.kernel.name])[made.kernel.name]))


def test_equal_loops_of_any_length_share_a_kernel():
    loops = [scanned(lambda s: [runge_kutta(s)], [np.ones(3)], length=n) for n in (20, 21, 1000)]
    assert len({kernel_of(loop).launch.kernel.name for loop in loops}) == 1


def test_a_long_loop_looks_for_signals_and_gives_the_same():
    loops = [scanned(lambda c, x: [c * 0.999 + x, c], [F8(1.0)], length=n, xs=[np.ones(n)]) for n in (1000, 10**7)]
    assert ["poll" in kernel_of(loop).launch.kernel.text for loop in loops] == [False, True]
    c, ys = compiled(loops[1])
    ends = [compiled(scanned(lambda c, x: [c * 0.999 + x, c], [ys[i]], [np.ones(1000)])) for i in (0, 10**7 - 1000)]
    np.testing.assert_array_equal(ends[0][1], ys[:1000])
    assert ends[1][0] == c


# ------------------------------------------------------------------------------------------------------------ in place


def recurrence(n: int, dtype: Any = F8) -> Loop:
    return scanned(lambda a, i: [a.at[i].set(a[i - 1] * 0.5 + 1)], [np.ones(n, dtype)], [np.arange(1, n)])


def walk(a, i):
    a = a.at[i].add(a[i - 1])
    return [a.at[0].set(a[i] * 0.5)]


IN_PLACE: dict[str, Loop] = {
    "one write": recurrence(300),
    "two writes": scanned(walk, [np.ones(200)], [np.arange(1, 200) % 7]),
    "negative indices": scanned(lambda a, i: [a.at[-i].set(a[i - 1])], [np.arange(100.0)], [np.arange(1, 100)]),
    "rows": scanned(lambda a, i: [a.at[i].set(a[i - 1] + a[i])], [np.ones((40, 3))], [np.arange(1, 40)]),
    "a window": scanned(
        lambda a, i: [lax.dynamic_update_slice(a, lax.dynamic_slice(a, (i,), (3,)) + 1, (i + 1,))],
        [np.ones(100)], [np.arange(-3, 100)],
    ),
    "small, at indices": scanned(lambda a, i: [a.at[i].add(a[i - 1])], [np.ones(12)], [np.arange(1, 12)]),
    "counts": scanned(lambda a, i: [a.at[i].add(1)], [np.zeros(70, np.int32)], [np.arange(200) % 70]),
    "dropped": scanned(lambda a, i: [a.at[i].add(1.0, mode="drop")], [np.zeros(70)], [np.arange(200)]),
    "two arrays": scanned(
        lambda a, b, i: [a.at[i].set(b[i] + 1), b.at[i].set(a[i])], [np.ones(90), np.zeros(90)], [np.arange(90)]
    ),
    "in an inner loop": scanned(
        lambda a, i: [lax.fori_loop(1, 50, lambda j, a: a.at[j].set(a[j - 1] * 0.5 + i), a)], [np.ones(70)],
        [np.arange(3.0)],
    ),
    "in a branch": scanned(
        lambda a, i: [lax.cond(i % 3 == 0, lambda a: a.at[i].set(a[i - 1] + 1), lambda a: a, a)], [np.ones(70)],
        [np.arange(70)],
    ),
    "in a while loop": looped(
        lambda a, i: a[i] < 50, lambda a, i: [a.at[i + 1].set(a[i] + 1), i + 1], [np.ones(100), np.int64(0)]
    ),
    "sieve": looped(
        lambda p, i: i * i < 500,
        lambda p, i: [
            lax.cond(
                p[i], lambda p: lax.while_loop(lambda c: c[0] < 500, lambda c: (c[0] + i, c[1].at[c[0]].set(False)),
                                               (i * i, p))[1],
                lambda p: p, p),
            i + 1,
        ],
        [np.ones(500, bool), np.int64(2)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", IN_PLACE)
def test_arrays_are_changed_in_place(name, exactly):
    loop = IN_PLACE[name]
    same(compiled(loop), loop.plain())
    made = sample(loop)
    image = engine.compile_text(render_llvm.render(made.kernel, engine.native_vector_bytes()))
    made.same(made.in_python(wide=WIDE), made.native(engine.load_object(image, [made.kernel.name])[made.kernel.name]))


def test_the_first_array_is_copied_unless_it_dies():
    loop = recurrence(100)
    texts = [item.text for item in Executable(loop.program).plan.items]
    assert texts[0] == "copy" and len(texts) == 2
    donated = Executable(loop.program, donated=(0,))
    assert len(donated.plan.items) == 1
    a = loop.args[0].copy()
    (result,) = donated.run(loop.program, [a, loop.args[1]])
    assert result is a


DECLINED: dict[str, Loop] = {
    "many elements": scanned(lambda a, x: [a[::-1] * x], [np.ones(100)], [np.ones(3)]),
    "an old version": scanned(lambda a, i: [a.at[i].set(1.0), a.at[i].add(1.0)[i - 1]], [np.ones(100)], [np.arange(9)]),
    "arrays that change places": scanned(
        lambda a, b, i: [b, a.at[i].set(1.0)], [np.ones(100), np.zeros(100)], [np.arange(9)]
    ),
    "a sort": scanned(lambda a, x: [fnp.sort(a) + x], [np.ones(5)], [np.ones(3)]),
    "complex numbers": scanned(lambda a, x: [a * x], [np.complex128(1)], [np.ones(3, complex)]),
    "much work": scanned(lambda a: [a @ a @ a @ a @ a @ a @ a @ a], [np.ones((8, 8))], length=3),
    "a branch of many": chosen(3, [lambda x, n=n: x + n for n in range(50)], [F8(1.0)]),
}  # fmt: skip


@pytest.mark.parametrize("name", DECLINED)
def test_what_is_no_kernel_runs_all_the_same(name):
    loop = DECLINED[name]
    assert small(loop.eqn, True) is None
    got = Executable(loop.program).run(loop.program, [np.asarray(x) for x in loop.args])
    close(got, loop.plain(), 30)


# -------------------------------------------------------------------------------------------------------- derivatives


def counted(x, n):
    """A loop whose length is known only when it has run."""
    return lax.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 1, fnp.sin(c[1]) * 1e-4 + c[1]), (0, x))[1]


def root(a):
    return lax.while_loop(lambda x: abs(x * x - a) > 1e-13, lambda x: 0.5 * (x + a / x), a)


def filled(x):
    """An array of which each element is computed from the one before."""
    a = fnp.full(80, x)
    return (lax.fori_loop(1, 80, lambda i, a: a.at[i].set(fnp.sin(a[i - 1]) * 1.1 + a[i]), a) ** 2).sum()


DIFFERENTIATED = {
    "a scan": lambda x: lax.scan(lambda s, _: (runge_kutta(s), s[0]), fnp.stack([x, x, x]), None, length=30)[1].sum(),
    "a while loop": lambda x: counted(x, 3000),
    "a while loop that does not run": lambda x: counted(x, 0) * x,
    "newton": root,
    "an array": filled,
    "a while loop in a scan": lambda x: lax.scan(lambda c, y: (counted(c, 5) + y * c, None), x, np.arange(4.0))[0],
    "a while loop in a while loop": lambda x: lax.while_loop(
        lambda c: c[0] < 3, lambda c: (c[0] + 1, counted(c[1], 4) * x), (0, x)
    )[1],
    "a choice": lambda x: lax.fori_loop(
        0, 7, lambda i, x: lax.cond(i % 2 == 0, fnp.cos, lambda x: fnp.exp(-x) + x, x), x
    ),
}


@pytest.mark.parametrize("name", DIFFERENTIATED)
def test_derivatives_are_those_of_the_numpy_calls(name):
    f = DIFFERENTIATED[name]
    derivatives = [f, fgrad.grad(f), lambda x: fgrad.jvp(f, (x,), (1.0,))[1], fgrad.grad(fgrad.grad(f))]
    for g in derivatives:
        program = fgrad.make_jaxpr(g)(0.7)
        loops = [e for e in program.eqns if e.primitive.name in kernel_loops.NAMES]
        assert loops and all(small(e, True) for e in loops)
        with plainly():
            want = g(0.7)
        np.testing.assert_allclose(fgrad.jit(g)(0.7), want, rtol=1e-9)
    h = 1e-6
    np.testing.assert_allclose(fgrad.jit(fgrad.grad(f))(0.7), (f(0.7 + h) - f(0.7 - h)) / (2 * h), rtol=1e-6)


def test_what_runs_remember_has_room_for_all_types():
    def body(c):
        i, x, y, even = c
        z = fnp.where(even, x * x, fnp.sin(y).astype(F8))
        return i + 1, x * 0.999 + z * 1e-3, y + fnp.cos(z.astype(F4)) * F4(1e-3), ~even

    def f(x, y, n):
        out = lax.while_loop(lambda c: c[0] < n, body, (0, x, y, True))
        return out[1] + out[2]

    g = fgrad.grad(f, (0, 1))
    loops = [e for e in fgrad.make_jaxpr(g)(0.3, F4(0.5), 9).eqns if e.primitive.name == "while_loop"]
    (swept,) = [e for e in loops if len(e.params["sweeps"]) == 2]
    types = re.findall(r"scratch r\d+:(\w+)", small(swept, True).launch.kernel.text)
    assert len(types) == len({*types}) == 3
    for n in (0, 1, 5000):
        with plainly():
            want = g(0.3, F4(0.5), n)
        for a, b in zip(fgrad.jit(g)(0.3, F4(0.5), n), want, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=1e-4)


# ------------------------------------------------------------------------------------------- indices, zeros, far sines


def test_an_index_outside_names_the_line():
    @fgrad.jit
    def f(a, indices):
        return lax.scan(lambda c, i: (c + a[i], None), 0.0, indices)[0]

    a = np.arange(5.0)
    assert f(a, np.array([0, -5, 4])) == 4.0
    for bad in (5, -6, 10**15):
        with pytest.raises(OutOfBoundsError) as info:
            f(a, np.array([0, bad, 1]))
        first, at, *_ = str(info.value).split("\n")
        assert first == f"index {bad} is out of bounds for axis 0 with size 5"
        assert "test_kernel_loops.py" in at and at.endswith(
            "return lax.scan(lambda c, i: (c + a[i], None), 0.0, indices)[0]"
        )


def test_no_run_is_repeated_for_a_message(monkeypatch):
    def fails(*_):
        raise AssertionError("the loop runs again")

    @fgrad.jit
    def f(a, n):
        return lax.fori_loop(0, n, lambda i, c: c + a[i], 0.0)

    monkeypatch.setattr("fgrad.compile.executable.execute", fails)
    with pytest.raises(OutOfBoundsError, match="index 70 is out of bounds for axis 0 with size 70"):
        f(np.ones(70), 10**9)


def test_an_index_that_is_not_used_is_not_checked():
    @fgrad.jit
    def f(a, i, n):
        return lax.fori_loop(0, n, lambda j, c: c + a[i], 0.0)

    a = np.arange(5.0)
    assert f(a, 1 << 40, 0) == 0.0
    assert f(a, 2, 3) == 6.0


def test_a_zero_wins_over_an_infinity():
    body = lambda c, x: [fgrad.core.primitive.registry.mul0(c, x), c]  # noqa: E731
    loop = scanned(body, [F8(1.0)], [np.array([2.0, 0.0, np.inf, np.nan])])
    text = kernel_of(loop).launch.kernel.text
    assert "select" not in text and text.count("check") == 2  # of the carry in the end, of what is stacked in each run
    same(compiled(loop), loop.plain())
    assert "select" in kernel_of(loop, trusting=False).launch.kernel.text


def test_no_trust_where_nan_could_get_lost():
    body = lambda c, x: [fnp.where(fgrad.core.primitive.registry.mul0(c, x) > 1, c, x)]  # noqa: E731
    loop = scanned(body, [F8(0.0)], [np.array([np.inf, 0.0, np.inf, 2.0])])
    assert "check" not in kernel_of(loop).launch.kernel.text
    same(compiled(loop), loop.plain())


def test_sines_of_huge_numbers_are_numpy_s():
    f = fgrad.jit(lambda x: lax.fori_loop(0, 4, lambda i, x: fnp.sin(x) * 1e20, x))
    x = 1.0
    for _ in range(4):
        x = np.sin(x) * 1e20
    np.testing.assert_allclose(f(1.0), x, rtol=1e-13)


# ------------------------------------------------------------------------------------------------------------- signals


ENDLESS = {
    "while": lambda x: lax.while_loop(lambda x: True, lambda x: x, x),
    "counted": lambda x: lax.fori_loop(0, 1 << 40, lambda i, x: x * 0.5, x),
    "remembered": fgrad.grad(
        lambda x: lax.while_loop(
            lambda c: c[0] < 1 << 40, lambda c: (c[0] + 1, fnp.sin(fnp.exp(fnp.cos(fnp.tanh(c[1]))))), (0, x)
        )[1]
    ),
    "short loops in a long one": lambda x: lax.fori_loop(
        0, 1 << 40, lambda i, x: lax.while_loop(lambda x: x > 1e-3, lambda x: x * 0.5, x) + 1, x
    ),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_signal_ends_a_loop(name):
    f = fgrad.jit(ENDLESS[name])
    for _ in range(2):
        timer = threading.Timer(0.2, _thread.interrupt_main)
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            f(1.0)
        timer.join()
    assert fgrad.jit(lambda x: lax.while_loop(lambda x: x < 9, lambda x: x * 2, x))(1.0) == 16.0


def test_a_choice_outside_is_the_nearest():
    for index in (-7, 0, 1, 2, 9):
        loop = chosen(index, [lambda x: x + 1, lambda x: x * 3, lambda x: -x], [F8(2.0)])
        same(compiled(loop), loop.plain())


def test_costs_of_a_loop_in_one_kernel_are_those_of_its_equations():
    def f(x):
        def body(i, c):
            c = fnp.exp(c) + x
            return lax.cond(c > 1, lambda: fnp.sin(c), lambda: c * 2 + 1)

        return lax.fori_loop(0, 10, body, x)

    lowered = fgrad.jit(f).lower(0.5)
    assert "body, 10 times" not in lowered.as_text("plan")
    costs = lowered.cost_analysis()  # a run: exp; sum, comparison, product and sum of the branch that does most
    assert costs["transcendentals"] == 10 and 10 * 4 <= costs["flops"] <= 10 * 5
    lanes = fgrad.jit(fgrad.vmap(f)).lower(np.ones(7)).cost_analysis()
    assert 7 * 10 <= lanes["transcendentals"] <= 7 * 20  # where both branches are computed


def test_costs_of_checkpointed_runs():
    def f(x, checkpoint):
        return lax.scan(lambda c, _: (fnp.sin(c), None), x, length=100, checkpoint=checkpoint)[0].sum()

    def functions(checkpoint):
        slope = fgrad.jit(fgrad.grad(lambda x: f(x, checkpoint)))
        return slope.lower(np.ones(50)).cost_analysis()["transcendentals"] / (100 * 50)

    # sine and cosine of each run; with checkpoints the sine of all runs but the last ones again
    assert 1.9 < functions(None) <= 2 < functions(True) <= 3


def test_roundings_of_a_recurrence_follow_what_waits():
    """One difference of products waits for both; of many beside each other, multiply-adds are fewer operations."""

    def operations(count):
        def step(*xs):
            return [x * y - 0.3 * y for x, y in zip(xs, [*xs[1:], xs[0]], strict=True)]

        kernel = kernel_of(scanned(step, [np.float64(0.5)] * count, length=10)).launch.kernel
        return [s.op for s in statements(kernel.body) if isinstance(s, Value)]

    alone, many = operations(2), operations(12)
    assert "fma" not in alone
    assert alone.count("sub") == 2
    assert many.count("fma") == 12
    assert "sub" not in many
