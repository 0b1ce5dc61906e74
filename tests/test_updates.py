"""Updates in the matrix product: which programs become one, and that they compute the same."""

from __future__ import annotations

import numpy as np
import pytest

import fgrad
from fgrad.compile.analysis import memory_plan
from fgrad.compile.executable import Executable

UPDATES = {
    "sgd": lambda w, x, g: w - 0.1 * (x.T @ g),
    "factor behind": lambda w, x, g: w - (x.T @ g) * 0.1,
    "plus": lambda w, x, g: w + 0.5 * (x.T @ g),
    "plain": lambda w, x, g: w + x.T @ g,
    "product first": lambda w, x, g: 3.0 * (x.T @ g) - w,
    "negative": lambda w, x, g: -(x.T @ g) + w,
    "momentum": lambda w, x, g: 0.9 * w + x.T @ g,
    "decay": lambda w, x, g: w * 0.99 - 0.01 * (x.T @ g),
    "itself": lambda w, x, g: w - 0.1 * (w @ (g.T @ g)),
}
OTHERS = {
    "then more": lambda w, x, g: np.tanh(w - 0.1 * (x.T @ g)),
    "zero": lambda w, x, g: w - 0.0 * (x.T @ g),
    "infinite": lambda w, x, g: w - np.inf * (x.T @ g),
    "two uses": lambda w, x, g: (w - 0.1 * (y := x.T @ g), y),
    "scaled twice": lambda w, x, g: (w - (y := 0.1 * (x.T @ g)), y),
    "computed": lambda w, x, g: np.tanh(w) - 0.1 * (x.T @ g),
}


def operands(dtype, terms=16):
    rng = np.random.default_rng(0)
    return tuple(rng.normal(size=s).astype(dtype) for s in ((24, 24), (terms, 24), (terms, 24)))


def items(f, args, donated=()) -> list[str]:
    """What the items of the program are."""
    executable = Executable(fgrad.make_jaxpr(f)(*args), donated)
    return [item.text for item in executable.plan.items]


def updates(f, args) -> int:
    """How many of them are copies of operands that products add to, or such products, which make the copy."""
    return sum(text == "copy" or text.endswith(", added") for text in items(f, args))


def copies(f, args, donated=()) -> int:
    """How many arrays the program copies to change them."""
    executable = Executable(fgrad.make_jaxpr(f)(*args), donated)
    return len(memory_plan(executable.plan, (), ()).copies)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", UPDATES)
def test_an_update(name, dtype):
    f, args = UPDATES[name], operands(dtype)
    assert updates(f, args) == copies(f, args) == 1
    want = f(*(a.astype(np.float64) for a in args))
    got = fgrad.jit(f)(*args)
    assert got.dtype == dtype
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 if dtype == "float32" else 1e-12)


@pytest.mark.parametrize("name", UPDATES)
def test_a_donated_array_is_updated_in_place(name):
    f, args = UPDATES[name], operands("float64")
    want = f(*args)
    assert copies(f, args, (0,)) == (name == "itself")  # which reads the old values to the end
    step = fgrad.jit(f, donate_argnums=0)
    for _ in range(2):
        np.testing.assert_allclose(step(args[0].copy(), *args[1:]), want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_no_update(name):
    f, args = OTHERS[name], operands("float64")
    assert not updates(f, args)
    for got, want in zip(fgrad.tree.leaves(fgrad.jit(f)(*args)), fgrad.tree.leaves(f(*args)), strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-12)


def test_long_sums_are_rounded_once():
    args = operands("float32", 3000)
    assert not updates(UPDATES["sgd"], args)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(784, 512), (509, 331), (128, 1030), (900, 3), (2, 700)])
def test_the_old_values_are_copied_panel_by_panel(shape, dtype):
    """The same bits as in place, for any number of threads; the old values stay as they are."""
    rng = np.random.default_rng(0)
    w, x, g = (rng.normal(size=s).astype(dtype) for s in (shape, (100, shape[0]), (100, shape[1])))
    before, threads = w.copy(), fgrad.get_num_threads()
    found = {fgrad.jit(UPDATES["decay"], donate_argnums=0)(w.copy(), x, g).tobytes()}
    try:
        for n in (1, 2, 3):
            fgrad.set_num_threads(n)
            step = fgrad.jit(lambda w, x, g: UPDATES["decay"](w, x, g))
            found |= {step(w, x, g).tobytes() for _ in range(3)}
    finally:
        fgrad.set_num_threads(threads)
    assert len(found) == 1 and (w == before).all()
    want = UPDATES["decay"](*(a.astype(np.float64) for a in (w, x, g)))
    got = np.frombuffer(found.pop(), dtype).reshape(shape)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 if dtype == "float32" else 1e-14)


def test_batches_of_products():
    rng = np.random.default_rng(0)
    w, x, g = rng.normal(size=(5, 6, 7)), rng.normal(size=(5, 8, 6)), rng.normal(size=(5, 8, 7))
    f = fgrad.vmap(UPDATES["sgd"])
    assert updates(f, (w, x, g)) == 1
    np.testing.assert_allclose(
        fgrad.jit(f)(w, x, g), [UPDATES["sgd"](*a) for a in zip(w, x, g, strict=True)], atol=1e-12
    )


def test_nan_and_infinities_arrive():
    w, x, g = operands("float64")
    x[3, 4], w[1, 2], w[5, 5] = np.nan, np.inf, np.nan
    with np.errstate(invalid="ignore"):
        want = UPDATES["sgd"](w, x, g)
    np.testing.assert_allclose(fgrad.jit(UPDATES["sgd"])(w, x, g), want, rtol=0, atol=1e-12)


def test_the_other_readers_of_the_old_values_see_them():
    w, x, g = operands("float64")
    f = lambda w, x, g: (w - 0.1 * (x.T @ g), w.sum(), w @ w)  # noqa: E731
    for donated in (None, 0):
        step = fgrad.jit(f, donate_argnums=donated)
        for got, want in zip(step(w.copy(), x, g), f(w, x, g), strict=True):
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-11)


def test_a_training_step_holds_no_gradient_of_the_weights():
    def step(w, x, y):
        gradient = fgrad.grad(lambda w: ((np.tanh(x @ w) - y) ** 2).mean())(w)
        return w - 0.1 * gradient

    w, x, y = operands("float32")
    found = items(step, (w, x, y))
    assert updates(step, (w, x, y)) == 1 and sum(text.startswith("gemm") for text in found) == 2
    np.testing.assert_allclose(fgrad.jit(step)(w, x, y), step(w, x, y), rtol=0, atol=1e-6)


def test_the_plan_shows_the_update():
    text = str(fgrad.jit(UPDATES["sgd"]).lower(*operands("float32")).compile().as_text())
    assert "alpha=-0.1" in text and "beta=1.0" in text
