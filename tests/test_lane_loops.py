"""Loops of many lanes, which vmap makes of loops, as kernels in which each lane does its own."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import numpy as np
import pytest
from kernels import WIDE
from loop_programs import Loop, close, random_loop, runge_kutta, same, sample

import fgrad
import fgrad.numpy as fnp
from fgrad import lax
from fgrad.compile import engine, kernel_loops, render_llvm
from fgrad.compile.kernel_loops import small
from fgrad.core.errors import OutOfBoundsError
from fgrad.regions.call import plainly


@pytest.fixture
def exactly(monkeypatch):
    """Products are rounded before they are added, as by NumPy."""
    monkeypatch.setattr(kernel_loops, "contract", lambda *args: None)
    monkeypatch.setattr(kernel_loops, "_KNOWN", {})


def mapped(loop: Loop, seed: int, lanes: int) -> tuple[Any, list[Any], list[int | None]]:
    """A loop under vmap: the function, its operands, of which some are the same in all lanes, and their axes."""
    rng = np.random.default_rng(seed)
    counter = len(loop.args) - loop.params["sweeps"][0].carry if loop.primitive.name == "while_loop" else -1
    args, axes = [], []
    for i, x in enumerate(map(np.asarray, loop.args)):
        many = i != counter and rng.random() < 0.6
        noise = rng.integers(0, 9, (lanes - 1, *x.shape))
        others = (x + noise).astype(x.dtype) if x.dtype.kind != "b" else noise % 2 == 0
        args.append(np.concatenate([x[None], others]) if many else loop.args[i])
        axes.append(0 if many else None)
    axes[-1], args[-1] = 0, args[-1] if axes[-1] == 0 else np.stack([loop.args[-1]] * lanes)
    return lambda *xs: loop.primitive(*xs, **loop.params), args, axes


@pytest.mark.parametrize("group", range(6))
def test_random_loops_in_lanes_give_the_bits_of_numpy(group, exactly):
    found = 0
    for seed in range(20 * group, 20 * group + 20):
        loop, lanes = random_loop(seed), (11, 40)[seed % 2]
        if loop.primitive.name == "cond":
            continue
        f, args, axes = mapped(loop, seed, lanes)
        f = fgrad.vmap(f, in_axes=tuple(axes))
        (e,) = [e for e in fgrad.make_jaxpr(f)(*args).eqns if e.primitive is loop.primitive]
        made = small(e, True)
        found += made is not None and made.form.lanes == lanes
        got = fgrad.jit(f)(*args)
        each = [[x[n] if a == 0 else x for x, a in zip(args, axes, strict=True)] for n in range(lanes)]
        want = [Loop(loop.primitive, tuple(xs), loop.params).plain() for xs in each]
        same(got if isinstance(got, tuple) else (got,), [np.stack(parts) for parts in zip(*want, strict=True)])
    assert found >= 8


def table(a, i, x):
    """Each lane reads and writes in an array of its own, at an index of its own."""
    a = a.at[i].set(a[i - 1] * 0.5 + x)
    return [a, a[0] + x]


IN_LANES: dict[str, tuple[Any, tuple[Any, ...], tuple[Any, ...]]] = {
    "runge and kutta": (
        lambda s: lax.scan(lambda s, _: (runge_kutta(s), s), s, None, length=9), (np.ones((40, 3)),), (0,)
    ),
    "matrices": (
        lambda w, h, x: lax.scan(lambda h, x: (fnp.tanh(w @ h + x), None), h, x)[0],
        (np.eye(3) * 0.5, np.ones((20, 3)), np.ones((5, 3))), (None, 0, None),
    ),
    "arrays of their own": (
        lambda a, i, x: lax.scan(lambda a, i: tuple(table(a, i, x)), a, i),
        (np.ones((9, 100)), np.arange(90).reshape(9, 10), np.arange(9.0)), (0, 0, 0),
    ),
    "a common index": (
        lambda a, i: lax.scan(lambda a, i: (a.at[i].add(a[i - 1]), a[i]), a, i),
        (np.arange(900.0).reshape(9, 100), np.arange(10)), (0, None),
    ),
    "a table for all": (
        lambda t, x: lax.fori_loop(0, 6, lambda i, x: x + t[x.astype(int) % 50], x),
        (np.arange(50.0), np.arange(30.0)), (None, 0),
    ),
    "a window": (
        lambda a, i: lax.fori_loop(0, 3, lambda k, a: lax.dynamic_update_slice(a, a[:2] + 1.0, (i + k,)), a),
        (np.arange(90.0).reshape(10, 9), np.arange(10)), (0, 0),
    ),
    "a gradient": (
        fgrad.grad(lambda s: (lax.scan(lambda s, _: (runge_kutta(s), s[0]), s, None, length=9)[1] ** 2).sum()),
        (np.linspace(0, 1, 120).reshape(40, 3),), (0,),
    ),
    "large arrays": (
        lambda a: lax.fori_loop(0, 50, lambda i, a: fnp.sin(a) + a * 0.5, a), (np.linspace(0, 1, 3000),), (None,)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", IN_LANES)
def test_loops_in_lanes(name):
    f, args, axes = IN_LANES[name]
    f = fgrad.vmap(f, in_axes=axes) if 0 in axes else f
    loops = [e for e in fgrad.make_jaxpr(f)(*args).eqns if e.primitive.name in kernel_loops.NAMES]
    assert loops and all(small(e, True).form.lanes for e in loops)
    with plainly():
        want = f(*args)
    got = fgrad.jit(f)(*args)
    close(fgrad.tree.leaves(got), fgrad.tree.leaves(want), 30)
    loop = Loop(loops[0].primitive, args, loops[0].params)
    if [np.shape(x) for x in args] == [a.type.shape for a in loops[0].inputs]:
        made = sample(loop)
        made.extent = small(loops[0], True).form.lanes
        image = engine.compile_text(render_llvm.render(made.kernel, engine.native_vector_bytes()))
        address = engine.load_object(image, [made.kernel.name])[made.kernel.name]
        made.same(made.in_python(wide=WIDE), made.native(address))
        made.same(made.in_python(wide=WIDE), made.native(address, cuts=(3,)))


def test_an_index_outside_in_one_lane():
    f = fgrad.jit(fgrad.vmap(lambda a, i: lax.fori_loop(0, 3, lambda k, c: c + a[i + k], 0.0), in_axes=(None, 0)))
    a, i = np.arange(20.0), np.arange(30) % 17
    np.testing.assert_array_equal(f(a, i), 3.0 * i + 3)
    with pytest.raises(OutOfBoundsError, match="index 20 is out of bounds for axis 0 with size 20"):
        f(a, np.where(i == 5, 18, i))


def test_lanes_are_the_same_for_any_number_of_threads():
    def f(x, n, bound):
        step = lambda s: (s[0] + 1, fnp.sin(s[1]) * x + fnp.exp(-s[1] * s[1]))  # noqa: E731
        own = lax.while_loop(lambda s: s[0] < n, step, (0, x))[1]
        common = lax.fori_loop(0, bound, lambda i, c: step((i, c))[1], x)
        return own + lax.scan(lambda c, _: (step((0, c))[1], c), common, None, length=20)[1].sum()

    f = fgrad.jit(fgrad.vmap(fgrad.value_and_grad(f), in_axes=(0, 0, None)))
    rng, before, found = np.random.default_rng(0), fgrad.get_num_threads(), []
    args = (rng.normal(size=5000), rng.integers(0, 9, 5000), 25)
    try:
        for threads in (1, 2, 3):
            fgrad.set_num_threads(threads)
            found.append(f(*args))
    finally:
        fgrad.set_num_threads(before)
    for other in found[1:]:
        same(other, found[0])


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("threads", [1, 2])
def test_an_interrupt_ends_lanes_on_all_threads(threads):
    f = fgrad.jit(fgrad.vmap(lambda x, n: lax.fori_loop(0, n, lambda i, c: fnp.sin(c) + x, x), in_axes=(0, None)))
    x, before = np.linspace(0, 1, 1000), fgrad.get_num_threads()
    fgrad.set_num_threads(threads)
    try:
        f(x, 1)
        start = time.perf_counter()
        f(x, 150_000)
        alone = time.perf_counter() - start
        timer = threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGINT))
        timer.start()
        start = time.perf_counter()
        with pytest.raises(KeyboardInterrupt):
            f(x, 30_000_000)  # some seconds for each part that a thread takes
        assert time.perf_counter() - start < 0.1 + 4 * alone
        timer.join()
        assert np.isfinite(f(x, 10)).all()
    finally:
        fgrad.set_num_threads(before)
