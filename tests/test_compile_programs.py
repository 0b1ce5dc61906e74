"""Random programs of medium size, compiled, against the same programs as NumPy calls; and their derivatives.

Unlike those of test_programs.py they are about fusion and memory: many dtypes, shapes and axes, values used several
times, results of every kind. A program is made from a seed; `print(program(seed)[0])` shows it.
"""

import math
import os

import numpy as np
import pytest

import fgrad
from fgrad import jit, lax, nn, tree
from fgrad.compile.native import pool

COUNT = int(os.environ.get("FGRAD_RANDOM_PROGRAMS", "24"))
SIZES = [1, 2, 3, 4, 5, 7, 8, 16, 17, 24, 25, 33, 64, 70, 100, 129]
LARGEST = 20_000  # elements of a value

FLOATS = {
    "sin": np.sin,
    "tanh": np.tanh,
    "gauss": lambda x: np.exp(-x * x),
    "sqrt": lambda x: np.sqrt(1 + x * x),
    "scale": lambda x: 0.5 * x - 1,
    "log1p": lambda x: np.log1p(np.abs(x)),
    "reciprocal": lambda x: 1 / (1 + x * x),
    "cube": lambda x: x**3 / (1 + np.abs(x) ** 3),
    "where": lambda x: np.where(x > 0.2, x, np.sin(x)),
    "clip": lambda x: np.clip(x, -0.5, 0.75),
    "float32": lambda x: x.astype(np.float32),
    "float64": lambda x: x.astype(np.float64),
    "positive": lambda x: x > 0.1,
}
INTEGERS = {
    "negative": lambda x: -x,
    "remainder": lambda x: x % 7,
    "quotient": lambda x: x // 3,
    "float": lambda x: np.tanh(x / 16),
    "bits": lambda x: (x << 1) ^ 3,
    "narrow": lambda x: x.astype(np.int8),
    "wide": lambda x: x.astype(np.int64),
}
BOOLEANS = {
    "not": lambda x: ~x,
    "float": lambda x: x * 0.7,
    "integer": lambda x: x.astype(np.int32),
    "float32": lambda x: x.astype(np.float32) - np.float32(0.5),
}


def elementwise(r, x):
    table = {"f": FLOATS, "i": INTEGERS, "b": BOOLEANS}[x.dtype.kind]
    return list(table.items())[r.integers(len(table))]


def reduction(r, x):
    """A reduction along some axes, or what a row function makes of it."""
    if not x.ndim:
        return None
    axes = tuple(sorted(int(a) for a in r.choice(x.ndim, r.integers(1, x.ndim + 1), replace=False)))
    keep, one = bool(r.integers(2)), axes[0]
    table = {
        "sum": lambda x: np.sum(x, axis=axes, keepdims=keep) * (1 / math.sqrt(x.size) if x.dtype.kind == "f" else 1),
        "max": lambda x: np.max(x, axis=axes, keepdims=keep),
        "min": lambda x: np.min(x, axis=axes, keepdims=keep),
        "mean": lambda x: np.mean(x, axis=axes, keepdims=keep),
        "any": lambda x: np.any(x > 0, axis=axes, keepdims=keep),
        "all": lambda x: np.all(x > 0, axis=axes, keepdims=keep),
    }
    if x.dtype.kind == "f":
        table |= {
            "softmax": lambda x: nn.softmax(x, axis=axes),
            "logsumexp": lambda x: nn.logsumexp(x, axis=axes, keepdims=keep),
            "norm": lambda x: (x - np.mean(x, axes, keepdims=True)) / np.sqrt(0.01 + np.var(x, axes, keepdims=True)),
            "prod": lambda x: np.tanh(np.prod(1 + 0.1 * x, axis=axes, keepdims=keep)),
            "cumsum": lambda x: np.cumsum(x, axis=one) / x.shape[one],
            "sort": lambda x: np.sort(x, axis=one),
        }
    name, f = list(table.items())[r.integers(len(table))]
    return f"{name} {axes}{' keepdims' * keep}", f


def factors(r, n):
    """A shape of n elements."""
    shape, left = [1] * int(r.integers(1, 4)), n
    for p in (2, 2, 3, 5, 7):
        if left % p == 0:
            left //= p
            shape[r.integers(len(shape))] *= p
    shape[r.integers(len(shape))] *= left
    return tuple(shape)


def movement(r, x):
    """Something that moves elements."""
    shape, big = factors(r, x.size), (int(r.integers(1, 4)), *x.shape)
    table = {
        f"reshape {shape}": lambda x: np.reshape(x, shape),
        f"broadcast {big}": lambda x: np.broadcast_to(x, big),
    }
    if x.ndim:
        order, a = r.permutation(x.ndim).tolist(), int(r.integers(x.ndim))
        n = x.shape[a]
        low, step = int(r.integers(0, max(1, n // 2))), int(r.choice([1, 2, 3, -1, -2]))
        cut = (slice(None),) * a + (slice(low if step > 0 else None, None, step),)
        index, shift = np.array(r.integers(-n, n, int(r.integers(1, 5)))), int(r.integers(-3, 4))
        widths = [(int(r.integers(0, 3)), int(r.integers(0, 3))) for _ in x.shape]
        one, half = np.array(1, x.dtype), max(1, n // 2)
        table |= {
            f"transpose {order}": lambda x: np.transpose(x, order),
            f"slice {cut}": lambda x: x[cut],
            f"flip {a}": lambda x: np.flip(x, a),
            f"roll {shift} {a}": lambda x: np.roll(x, shift, axis=a),
            f"pad {widths}": lambda x: np.pad(x, widths),
            f"take {index} {a}": lambda x: np.take(x, index, axis=a),
            f"repeat {a}": lambda x: np.repeat(x, 2, axis=a),
            f"stack {a}": lambda x: np.stack([x, x ^ True if x.dtype == bool else x * 2], axis=a),
            f"concatenate {a}": lambda x: np.concatenate([x, np.flip(x, a), x], axis=a),
            f"set {low}": lambda x: fgrad.at(x)[low % x.shape[0]].set(0),
            "add at": lambda x: x if x.dtype == bool else fgrad.at(x)[np.array([0, 0, -1])].add(one),
            f"slice at run time {a}": lambda x: lax.dynamic_slice_in_dim(x, (np.sum(x) * 0 + 1).astype("i4"), half, a),
            f"update at run time {a}": lambda x: lax.dynamic_update_slice_in_dim(
                x, lax.dynamic_slice_in_dim(x, 0, half, a), np.sum(x > 0).astype("i4") % 5, a
            ),
        }
    return list(table.items())[r.integers(len(table))]


def pair(r, x, y):
    """Something of two values."""
    table = {}
    floats = x.dtype.kind == y.dtype.kind == "f"
    try:
        np.broadcast_shapes(x.shape, y.shape)
    except ValueError:
        pass
    else:
        table |= {
            "add": lambda x, y: x + y,
            "multiply": lambda x, y: x * y,
            "where": lambda x, y: np.where(x > 0, x, y),
            "maximum": np.maximum,
            "less": lambda x, y: x < y,
        }
        if floats:
            table |= {"subtract": lambda x, y: x - y, "divide": lambda x, y: x / (1 + y * y), "hypot": np.hypot}
    if floats and x.ndim == y.ndim == 2:
        table |= {"x @ y": lambda x, y: np.tanh(x @ y), "x.T @ y": lambda x, y: np.tanh(x.T @ y)}
        table |= {"x @ y.T": lambda x, y: np.tanh(x @ y.T), "concatenate": lambda x, y: np.concatenate([x, y], axis=0)}
    if floats and y.ndim == 1:
        table |= {"matvec": lambda x, y: x @ y / (1 + y.size), "outer": lambda x, y: np.multiply.outer(x, y)}
    names = list(table.items())
    return names[r.integers(len(names))] if names else None


class Program:
    """A list of (name, function, operands) on numbered values, and the numbers of the results."""

    def __init__(self, arguments, steps, results):
        self.arguments, self.steps, self.results = arguments, steps, results

    def __call__(self, *values):
        values = list(values)
        for _, f, operands in self.steps:
            values.append(f(*[values[i] for i in operands]))
        return tuple([values[i] for i in self.results])

    def __repr__(self):
        lines = [f"v{self.arguments + k} = {name} {operands}" for k, (name, _, operands) in enumerate(self.steps)]
        return "\n".join([*lines, f"-> {self.results}"])


@np.errstate(all="ignore")
def program(seed, length=12):
    """A program and its arguments."""
    r = np.random.default_rng(seed)
    sizes = r.choice(SIZES, 3) if r.integers(3) else r.choice(SIZES[:7], 3)
    args = []
    for _ in range(int(r.integers(1, 4))):
        shape = tuple(int(n) for n in r.choice(sizes, int(r.choice([0, 1, 2, 2, 3]))))
        shape = shape[1:] if math.prod(shape) > LARGEST else shape
        args.append(r.normal(size=shape).astype("f8" if r.integers(4) else "f4")[()])
    values, steps = list(args), []
    for _ in range(200):
        i = int(r.integers(len(values))) if r.integers(3) else len(values) - 1
        j, kind = int(r.integers(len(values))), r.integers(10)
        operands = (i,) if kind < 7 else (i, j)
        make = elementwise if kind < 3 else reduction if kind < 5 else movement if kind < 7 else pair
        found = make(r, *[values[k] for k in operands])
        if found is None:
            continue
        try:
            y = np.asarray(found[1](*[values[k] for k in operands]))[()]
        except (ValueError, TypeError, IndexError):
            continue
        if 0 < y.size <= LARGEST and not (y.dtype.kind == "f" and not np.all(np.abs(y) < 30)):
            values.append(y)
            steps.append((*found, operands))
        if len(steps) == length:
            break
    results = sorted({len(values) - 1, *r.integers(0, len(values), int(r.integers(1, 5))).tolist()})
    return Program(len(args), steps, [*results, *results[: r.integers(2)]]), args


def weighted(f):
    """A scalar in which every float of the results has a weight of its own."""

    def g(*args):
        floats = [y for y in f(*args) if y.dtype.kind == "f"]
        weights = [np.cos(np.arange(y.size)).reshape(y.shape).astype(y.dtype) for y in floats]
        return sum((np.sum(w * y) for w, y in zip(weights, floats, strict=True)), np.float64(0))

    return g


def tangents(f):
    return lambda *xs: [t for t in fgrad.jvp(f, xs, tuple([np.cos(x) for x in xs]))[1] if t.dtype.kind == "f"]


TRANSFORMS = {
    "plain": (lambda f, n: f, lambda x: x),
    "grad": (lambda f, n: fgrad.grad(weighted(f), argnums=tuple(range(n))), lambda x: x),
    "jvp": (lambda f, n: tangents(f), lambda x: x),
    "vmap": (lambda f, n: fgrad.vmap(f), lambda x: np.stack([x, x * x.dtype.type(0.9)])),
}


def agree(f, args, tolerance, backend="native"):
    """Compiled and as NumPy calls; again, and with one thread; nothing shared, nothing changed."""
    want = tree.leaves(jit(f, backend="interpreter")(*args))
    before = [np.array(x) for x in args]
    compiled, runs = jit(f, backend=backend), []
    threads = pool.get_num_threads()
    try:
        for n in (2, 1, 2):
            pool.set_num_threads(n)
            runs.append(tree.leaves(compiled(*args)))
    finally:
        pool.set_num_threads(threads)
    others = list(args)
    for k, (y, expected) in enumerate(zip(runs[0], want, strict=True)):
        assert (type(y), y.dtype, np.shape(y)) == (type(expected), expected.dtype, np.shape(expected))
        if y.dtype.kind == "f":
            size = np.max(np.abs(expected[np.isfinite(expected)]), initial=1)
            np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance * size)
        else:
            np.testing.assert_array_equal(y, expected)
        assert all(np.asarray(run[k]).tobytes() == np.asarray(y).tobytes() for run in runs)
        if isinstance(y, np.ndarray):
            assert y.flags.carray and y.flags.owndata and y.ndim
            assert not any(isinstance(o, np.ndarray) and np.shares_memory(o, y) for o in others)
            others.append(y)
    assert all(np.asarray(x).tobytes() == old.tobytes() for x, old in zip(args, before, strict=True))


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("seed", range(COUNT))
@np.errstate(all="ignore")
def test_native(seed, transform):
    f, args = program(seed)
    make, argument = TRANSFORMS[transform]
    narrow = any(x.dtype == np.float32 for x in args) or any("float32" in name for name, _, _ in f.steps)
    tolerance = (3e-5 if narrow else 1e-10) * (1 if transform in ("plain", "vmap") else 100)
    agree(make(f, len(args)), [argument(x) for x in args], tolerance)


@pytest.mark.parametrize("seed", range(min(COUNT, 4)))
@np.errstate(all="ignore")
def test_numba(seed):
    f, args = program(seed, length=8)
    agree(f, args, 3e-5, "numba")


# --------------------------------------------------------------------------------------------------------- regressions


def close(f, *args):
    same = jit(f, backend="interpreter")(*args)
    tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12), jit(f)(*args), same)


X = np.random.default_rng(5).normal(size=(6, 4))


def test_a_reshape_of_what_comes_later_is_not_read_before():
    def f(x, w):
        y, r = np.sin(x), np.sort(w, axis=0).reshape(6, 4)
        return y, r + x, np.sort(r, axis=1)

    close(f, X, X.T.copy())


def test_a_product_with_a_literal_of_a_transposed_value():
    close(lambda x: np.tensordot(np.sin(x).T, 2.0, 0) + np.tensordot(0.5, x.reshape(4, 6), 0), X)
    close(lambda x: np.tensordot(x.T, np.reshape(2.0, (1,)), 0), X)


def test_a_kernel_that_could_not_be_turned():
    def f(x):
        return fgrad.jvp(lambda x: np.tanh(np.prod(1 + 0.1 * x, axis=0)), (x,), (np.cos(x),))[1]

    close(f, X[:, :3].T @ X[:, :3])


def test_empty_results_of_calls_are_operands():
    close(lambda x: (lax.top_k(x[:, :0], 0), np.sort(np.cumsum(x[:0], axis=1), axis=1)), X)
    close(lambda x: np.sum(np.sort(x[:0] * 2, axis=1)), X)
