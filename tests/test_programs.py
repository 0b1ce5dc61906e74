"""Random programs: every transformation, and pairs of them, against plain evaluation, loops and finite differences.

A program is drawn step by step with its values at hand, so each step fits the shapes that there are, stays of moderate
size, and stays away from kinks. What is drawn is a list of steps, which prints as the program when an example fails.
"""

import itertools
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fgrad
import fgrad.numpy as fnp
from fgrad import tree
from fgrad.passes.interpret import interpret
from fgrad.testing import Draw, check_close, check_grads, check_jit, check_vmap

EXAMPLES = {} if os.environ.get("HYPOTHESIS_PROFILE") else {"max_examples": 40}
FAR = 0.03  # distance from kinks, well beyond the steps of finite differences


def custom(x):
    """tanh by a rule of its own, in either mode."""
    f = fgrad.custom_jvp(np.tanh)
    f.defjvp(lambda primals, tangents: (np.tanh(primals[0]), (1 - np.tanh(primals[0]) ** 2) * tangents[0]))
    return f(x)


def custom_back(x, w):
    f = fgrad.custom_vjp(lambda x, w: np.sin(x) * w)
    f.defvjp(lambda x, w: (np.sin(x) * w, (x, w)), lambda r, ct: (ct * r[1] * np.cos(r[0]), ct * np.sin(r[0])))
    return f(x, w)


UNARY = {
    "sin": np.sin,
    "tanh": np.tanh,
    "exp": lambda x: np.exp(-x * x),
    "log1p": lambda x: np.log1p(x * x),
    "sqrt": lambda x: np.sqrt(1.5 + np.cos(x)),
    "cube": lambda x: x**3 / 4,
    "scale": lambda x: 0.7 * x - 1,
    "cumsum": lambda x: np.cumsum(x, axis=-1),
    "cumprod": lambda x: np.cumprod(x, axis=0),
    "sort": lambda x: np.sort(x, axis=-1),
    "flip": lambda x: np.flip(x, 0),
    "transpose": np.transpose,
    "ravel": np.ravel,
    "repeat": lambda x: np.repeat(x, 2, axis=0),
    "stack": lambda x: np.stack([x, 2 * x], axis=-1),
    "pad": lambda x: np.pad(x, 1),
    "slice": lambda x: x[::2] * 1.5,
    "take": lambda x: x[np.array([[0, -1], [-1, 0]])],
    "update": lambda x: fgrad.at(x)[0].multiply(1.3),
    "twice": lambda x: x[0] + x[1:],
    "clip": lambda x: np.clip(x, -0.5, 0.75),
    "where": lambda x: np.where(x > 0.2, x * x, np.sin(x)),
    "abs": np.abs,
    "sum": lambda x: np.sum(x, axis=0),
    "mean": lambda x: np.mean(x, axis=-1, keepdims=True),
    "max": lambda x: np.max(x, axis=0),
    "prod": lambda x: np.prod(x, axis=-1),
    "logsumexp": lambda x: np.log(np.sum(np.exp(x))),
    "gram": lambda x: x.T @ x / 4,
    "outer": lambda x: np.tensordot(np.cos(x), x, 0),
    "jit": fgrad.jit(lambda x: np.sin(x) * x),
    "checkpoint": fgrad.checkpoint(lambda x: np.sin(np.sin(x)) + x),
    "custom": custom,
    "vmap": lambda x: fgrad.vmap(lambda v: v * np.sum(np.cos(v)))(x),
    "grad": fgrad.grad(lambda x: np.sum(np.sin(x) * x)),
    "inner jvp": lambda x: fgrad.jvp(lambda v: v * v * np.cos(v), (x,), (x,))[1],
}
BINARY = {
    "add": lambda x, w: x + w,
    "multiply": lambda x, w: x * w,
    "divide": lambda x, w: x / (2 + w * w),
    "power": lambda x, w: (1 + x * x) ** np.tanh(w),
    "maximum": np.maximum,
    "select": lambda x, w: np.where(x > w, x, 0.5 * w),
    "matmul": lambda x, w: x @ w / 3,
    "einsum": lambda x, w: np.einsum("...i,...i->...", x, w),
    "concatenate": lambda x, w: np.concatenate([x, w], axis=0),
    "arctan2": lambda x, w: np.arctan2(x, 1.5 + w * w),
    "closure": lambda x, w: fgrad.grad(lambda v: np.sum(np.sin(v) * v) * np.sum(np.cos(w)))(x),
    "jit closure": lambda x, w: fgrad.jit(lambda v: v * np.sum(w))(x),
    "custom_vjp": custom_back,
}
KINKS = {
    "clip": lambda x: np.minimum(np.abs(x + 0.5), np.abs(x - 0.75)),
    "where": lambda x: np.abs(x - 0.2),
    "abs": np.abs,
    "sort": lambda x: np.diff(np.sort(x, axis=-1), axis=-1),
    "max": lambda x: np.diff(np.sort(x, axis=0), axis=0),
    "maximum": lambda x, w: np.abs(x - w),
    "select": lambda x, w: np.abs(x - w),
}

NEED_AN_AXIS = {
    "cumsum",
    "cumprod",
    "sum",
    "mean",
    "max",
    "prod",
    "sort",
    "repeat",
}  # of a scalar NumPy may mean something else


class Program:
    """A list of (name, operands) steps on numbered values; the last and a few others are the results."""

    def __init__(self, steps, results):
        self.steps = steps
        self.results = results

    def __call__(self, *values):
        values = list(values)
        for name, operands in self.steps:
            values.append((UNARY | BINARY)[name](*[values[i] for i in operands]))
        return {f"v{i}": values[i] for i in self.results}

    def __repr__(self):
        return f"Program({self.steps}, {self.results})"


def fits(name, xs):
    """The step's value, or None where it does not fit, is too large, or is close to a kink."""
    if (name in NEED_AN_AXIS and not np.ndim(xs[0])) or (name == "custom_vjp" and np.shape(xs[0]) != np.shape(xs[1])):
        return None
    try:
        with np.errstate(all="ignore"):
            y = (UNARY | BINARY)[name](*xs)
            near = np.asarray(KINKS[name](*xs)) if name in KINKS else np.ones(1)
    except (ValueError, IndexError, TypeError):
        return None
    good = np.size(y) and np.size(y) <= 24 and np.all(np.abs(y) < 6) and np.min(near, initial=1) > FAR
    return y if good else None


@st.composite
def programs(draw):
    """A program and arguments for it, all float64, and fresh arguments of the same shapes."""
    d = Draw(draw)
    values = [d.array(d.sampled([(), (3,), (2, 3), (2, 2)])) for _ in range(d.integer(1, 3))]
    args, steps = list(values), []
    for _ in range(d.integer(1, 6)):
        table = d.sampled([UNARY, UNARY, BINARY])
        operands = tuple(d.integer(0, len(values) - 1) for _ in range(1 if table is UNARY else 2))
        names = sorted(table)
        first = d.integer(0, len(names) - 1)
        xs = [values[i] for i in operands]
        # the drawn operation, or the next one that fits
        found = ((n, y) for n in names[first:] + names[:first] if (y := fits(n, xs)) is not None)
        name, y = next(found, (None, None))
        if name is None:
            name, operands, y = "sin", operands[:1], np.sin(xs[0])
        values.append(y)
        steps.append((name, operands))
    results = sorted({len(values) - 1, d.integer(0, len(values) - 1)})
    return Program(steps, results), args


def total(f):
    """f as a real scalar in which every element has its own weight."""

    def g(*args):
        return sum(np.sum(np.cos(fnp.arange(y.size).reshape(y.shape)) * y) for y in tree.leaves(f(*args)))

    return g


def moved(args, factors):
    """Arguments with a leading axis: a lane for each factor, near enough for the program's shapes and checks."""
    return [np.multiply.outer(factors, x) for x in args]


LANES = np.array([1.0, 0.9, 1.1])


@settings(**EXAMPLES)
@given(programs())
def test_compiled_and_interpreted_programs(example):
    f, args = example
    before = [np.array(x) for x in args]
    want = f(*args)
    check_jit(f, args)
    jaxpr, struct = fgrad.make_jaxpr(f, return_shape=True)(*args)
    check_close(interpret(jaxpr, args), tree.leaves(want))
    assert [(s.shape, s.dtype) for s in tree.leaves(struct)] == [(np.shape(y), y.dtype) for y in tree.leaves(want)]
    for x, old in zip(args, before, strict=True):
        assert np.array_equal(x, old), "an argument was changed"
    narrow = [x.astype(np.float32) for x in args]
    check_jit(f, narrow, rtol=1e-4, atol=1e-5)


@settings(**EXAMPLES)
@given(programs())
def test_derivatives_of_programs(example):
    f, args = example
    check_grads(f, args, order=2, atol=1e-5, rtol=1e-5)


@settings(**EXAMPLES)
@given(programs())
def test_batched_programs(example):
    f, args = example
    stacked = moved(args, LANES)
    n = len(args)
    for mapped in itertools.product([0, None], repeat=n):
        if any(axis == 0 for axis in mapped):
            chosen = [s if a == 0 else x for s, x, a in zip(stacked, args, mapped, strict=True)]
            check_vmap(f, chosen, mapped)


# What becomes of a function of arrays: each gives a function of the same arguments
TRANSFORMS = {
    "jit": fgrad.jit,
    "grad": lambda f: fgrad.grad(total(f)),
    "value_and_grad": lambda f: fgrad.value_and_grad(total(f)),
    "jvp": lambda f: lambda *xs: fgrad.jvp(f, xs, tuple(np.cos(x) for x in xs)),
    "vjp": lambda f: lambda *xs: fgrad.vjp(f, *xs)[1](tree.map(lambda y: y * 0.5, f(*xs))),
    "linearize": lambda f: lambda *xs: fgrad.linearize(f, *xs)[1](*[np.cos(x) for x in xs]),
    "checkpoint": fgrad.checkpoint,
}


@pytest.mark.parametrize(("outer", "inner"), list(itertools.product(TRANSFORMS, repeat=2)))
@settings(max_examples=EXAMPLES.get("max_examples", 400) // 8)
@given(example=programs())
def test_pairs_of_transformations(outer, inner, example):
    """Eagerly, compiled, and in lanes."""
    f, args = example
    g = TRANSFORMS[outer](TRANSFORMS[inner](f))
    check_jit(g, args, rtol=1e-10, atol=1e-10)
    check_vmap(g, moved(args, LANES), rtol=1e-10, atol=1e-10)


@settings(**EXAMPLES)
@given(programs())
def test_modes_agree(example):
    """Forward, reverse and linearized derivatives are the same linear map, through any wrapper."""
    f, args = example
    ts = tuple(np.cos(x) for x in args)
    value, tangent = fgrad.jvp(f, tuple(args), ts)
    check_close(value, f(*args))
    loss = total(f)
    slope = fgrad.jvp(loss, tuple(args), ts)[1]
    for g in (f, fgrad.jit(f), fgrad.checkpoint(f)):
        check_close(fgrad.linearize(g, *args)[1](*ts), tangent, rtol=1e-10, atol=1e-10)
        gradient = fgrad.grad(total(g), argnums=tuple(range(len(args))))(*args)
        found = sum(np.sum(a * t) for a, t in zip(gradient, ts, strict=True))
        assert abs(found - slope) <= 1e-10 * (1 + abs(slope))


@settings(max_examples=EXAMPLES.get("max_examples", 400) // 2)
@given(programs())
def test_third_derivatives_along_a_line(example):
    f, args = example
    loss = total(f)
    line = lambda t: loss(*[x + t * 0.1 * np.cos(x) for x in args])  # noqa: E731
    check_grads(line, (0.0,), order=3, atol=1e-5, rtol=1e-5)
