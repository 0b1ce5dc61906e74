"""Indexing against NumPy's own, its derivatives against np.add.at and central differences."""

from __future__ import annotations

import operator
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fgrad
from fgrad.at import at
from fgrad.core.errors import ConcretizationError, DtypeError, MutationError, OutOfBoundsError, ShapeError
from fgrad.numpy import in_place, index_calls, indexing, reductions, shapes  # noqa: F401  (the modules give tracers their methods)
from fgrad.numpy.ufuncs import sin

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 5, 6))
S = np.s_
MASK = X > 0.3
INDEXES = [
    S[0], S[-1], S[1:], S[:-1], S[:], S[...], S[()], S[None], S[2:2], S[3:1], S[10:], S[-100:100], S[::2], S[::-1],
    S[::-2], S[3:0:-2], S[1, 2], S[:, 2], S[:, -1, 3], S[1, 2, 3], S[..., 0], S[..., None], S[None, ..., None, 2],
    S[1, ..., 2], S[1:3, ::-1, 1::2], S[::-1, None, ..., 2], S[5:1:-1, 1:-1], S[:, 4:1:-3, -2:-5:-2], S[0:0, 1],
    S[np.int64(1), np.array(2)], S[np.array([0, 2, 2])], S[[0, -1]], S[[[0, 1], [2, 3]]], S[[]], S[np.array([],
    int)], S[np.array([1, 2], np.uint8)], S[np.array([-4, 3], np.int8)], S[[0, 1], [1, 2]], S[[0, 1], :, [1, 2]],
    S[:, [0, 1], [1, 2]], S[:, [0, 1], 2], S[0, :, [1, 2]], S[[[0], [1]], [1, 2]], S[[0, 1], ..., [1, 2]], S[None,
    [0, 1], [0, 1], ..., [1, 2]], S[[0, 1], None, [2, 3]], S[None, [0, 1], [2, 3]], S[..., [1, 2], None, [0, 0]],
    S[1:3, [0, 4]], S[::-1, [0, 4], ::2], S[[0, 4 - 1], 1:4, ::-2], S[1:, None, [0, 1, 1]], S[0, [1, 1], 1:3],
    S[MASK], S[MASK[:, 0, 0]], S[MASK[:, :, 0]], S[:, MASK[0]], S[MASK[:, 0, 0], 1], S[MASK[:, :, 1], [0]], S[1:,
    MASK[0, :, 0], ::2], S[True], S[False], S[True, 1], S[:, True, 0], S[[0, 1], True], S[..., False], S[[True,
    False, True, False]], S[np.True_], S[np.array(False)], S[[1], :, False], S[True, False], S[True, [0, 1, 2]],
    S[:, None, True, ..., None],
]  # fmt: skip


def total(y: Any) -> Any:
    return np.sum(y)


def weights(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape)


def equal(got: Any, wanted: Any) -> None:
    assert np.shape(got) == np.shape(wanted)
    assert np.asarray(got).dtype == np.asarray(wanted).dtype
    np.testing.assert_array_equal(got, wanted)


def check(x: np.ndarray, index: Any) -> None:
    """Value, first and second derivative of reading `x[index]`, and of writing there, eagerly and as a program."""
    wanted = x[index]
    equal(fgrad.jit(lambda x: x[index])(x), wanted)
    w = weights(wanted.shape)

    def loss(x: Any) -> Any:
        y = x[index]
        assert y.shape == wanted.shape
        return total(y**3 * w)

    first, second = np.zeros_like(x), np.zeros_like(x)
    np.add.at(first, index, 3 * wanted**2 * w)
    np.add.at(second, index, 6 * wanted * w)
    for g in (fgrad.grad(loss), fgrad.jit(fgrad.grad(loss))):
        np.testing.assert_allclose(g(x), first, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(fgrad.grad(lambda x: total(fgrad.grad(loss)(x)))(x), second, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(fgrad.jvp(loss, (x,), (np.ones_like(x),))[1], first.sum(), rtol=1e-9, atol=1e-9)


def check_write(x: np.ndarray, index: Any) -> None:
    v = weights(x[index].shape)
    put, added = x.copy(), x.copy()
    put[index] = v
    np.add.at(added, index, v)
    equal(fgrad.jit(lambda x, v: x.at[index].set(v))(x, v), put)
    equal(at(x)[index].set(v), put)
    np.testing.assert_allclose(at(x)[index].add(v), added, rtol=1e-13)
    w = weights(x.shape)
    d_x, d_v = fgrad.grad(lambda x, v: total(x.at[index].add(v) * w), (0, 1))(x, v)
    equal(d_x, w)
    equal(d_v, w[index])
    # of a plain write, exactly the update that stayed has a derivative
    d_x, d_v = fgrad.jit(fgrad.grad(lambda x, v: total(x.at[index].set(v) * w), (0, 1)))(x, v)
    kept = np.ones_like(x)
    kept[index] = 0
    equal(d_x, w * kept)
    np.testing.assert_allclose(d_v.sum(), (w * (1 - kept)).sum(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("index", INDEXES, ids=lambda i: re.sub(r"\s+", " ", repr(i))[:60])
def test_table(index: Any) -> None:
    check(X, index)
    check_write(X, index)


@st.composite
def indexes(draw: Any, shape: tuple[int, ...]) -> Any:
    lead = draw(st.sampled_from([(), (1,), (2,), (3, 1), (0,)]))
    parts: list[Any] = []
    axis = 0
    while axis < len(shape):
        n = shape[axis]
        kind = draw(st.sampled_from(["int", "slice", "none", "dots", "array", "mask", "full", "end"]))
        if kind == "int" and n:
            parts.append(draw(st.integers(-n, n - 1)))
        elif kind == "slice":
            bound = st.none() | st.integers(-n - 1, n + 1)
            parts.append(slice(draw(bound), draw(bound), draw(st.sampled_from([None, 1, 2, 3, -1, -2, -3]))))
        elif kind == "array" and n:
            shape_here = draw(st.sampled_from([lead, lead[1:], (1,) * len(lead)]))
            size = int(np.prod(shape_here))
            drawn = draw(st.lists(st.integers(-n, n - 1), min_size=size, max_size=size))
            parts.append(np.array(drawn, int).reshape(shape_here))
        elif kind == "mask" and lead in ((), (1,)):
            parts.append(np.arange(n) == draw(st.integers(0, max(n - 1, 0))))
        elif kind == "none":
            parts.append(None)
            continue
        elif kind == "dots" and not any(q is ... for q in parts):
            parts.append(...)
            axis += draw(st.integers(0, len(shape) - axis))
            continue
        elif kind == "end" and not any(q is ... for q in parts):
            break
        else:
            parts.append(slice(None))
        axis += 1
    return tuple(parts)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_random_indexes(data: Any) -> None:
    shape = data.draw(st.sampled_from([(3,), (2, 3), (4, 1, 3), (3, 2, 2, 2), (0, 2)]))
    index = data.draw(indexes(shape))
    x = np.random.default_rng(2).normal(size=shape)
    try:
        x[index]
    except IndexError:
        return
    check(x, index)
    check_write(x, index)


@pytest.mark.parametrize("index", INDEXES[::3], ids=lambda i: re.sub(r"\s+", " ", repr(i))[:60])
def test_vmap_of_reads_and_writes(index: Any) -> None:
    xs = RNG.normal(size=(3, *X.shape))
    equal(fgrad.vmap(lambda x: x[index])(xs), np.stack([x[index] for x in xs]))
    vs = weights((3, *X[index].shape))
    for op in ("set", "add", "multiply", "min"):
        update = lambda x, v: getattr(at(x)[index], op)(v)  # noqa: B023, E731
        both = np.stack([update(x, v) for x, v in zip(xs, vs, strict=True)])
        np.testing.assert_allclose(fgrad.vmap(update)(xs, vs), both)
        np.testing.assert_allclose(fgrad.vmap(update, (None, 0))(X, vs), np.stack([update(X, v) for v in vs]))
        one = np.stack([update(x, vs[0]) for x in xs])
        np.testing.assert_allclose(fgrad.vmap(update, (0, None))(xs, vs[0]), one)


TRACED = [
    (lambda x, i: x[i], ()), (lambda x, i: x[i, 1], ()), (lambda x, i: x[:, i], ()), (lambda x, i: x[1:, ::-1, i],
    ()), (lambda x, i: x[i, i], ()), (lambda x, i: x[None, i, ..., 0], ()), (lambda x, i: x[i], (3,)), (lambda x, i:
    x[i, 0], (3,)), (lambda x, i: x[i, :, i], (2, 2)), (lambda x, i: x[0, :, i], (3,)), (lambda x, i: x[i, [0, 1,
    2]], (3,)), (lambda x, i: x[[0, i]], ()), (lambda x, i: x[[0, i], [i, 1]], ()), (lambda x, i: np.take(x, i,
    axis=1), (2, 2)), (lambda x, i: np.take(x, i), (3,)),
]  # fmt: skip


@pytest.mark.parametrize("k", range(len(TRACED)))
def test_traced_indices(k: int) -> None:
    f, shape = TRACED[k]
    i, js = RNG.integers(-4, 4, shape), RNG.integers(-4, 4, (3, *shape))
    i = int(i) if shape == () else i
    wanted = f(X, i)
    equal(fgrad.jit(f)(X, i), wanted)
    w = weights(wanted.shape)
    loss = lambda x, i: total(sin(f(x, i)) * w)  # noqa: E731
    np.testing.assert_allclose(fgrad.jit(fgrad.grad(loss))(X, i), fgrad.grad(loss)(X, i), rtol=1e-12, atol=1e-12)
    equal(fgrad.jit(fgrad.vmap(f, (None, 0)))(X, js), np.stack([f(X, j) for j in js]))
    xs = RNG.normal(size=(3, *X.shape))
    equal(fgrad.vmap(f)(xs, js), np.stack([f(x, j) for x, j in zip(xs, js, strict=True)]))
    equal(fgrad.vmap(f, (0, None))(xs, i), np.stack([f(x, i) for x in xs]))
    loop = np.stack([fgrad.grad(loss)(x, j) for x, j in zip(xs, js, strict=True)])
    np.testing.assert_allclose(fgrad.vmap(fgrad.grad(loss))(xs, js), loop, rtol=1e-12, atol=1e-12)


def test_many_positions_are_one_call() -> None:
    x = np.arange(10_000.0)
    before = len(index_calls.reads.calls)

    def f(x: Any) -> Any:
        for i in range(10_000):
            y = x[i]
        for i in range(1, 1000):
            y = y + x[i : i + 3][0] + x[-i]
        return y

    grad = fgrad.grad(f)(x)
    assert len(index_calls.reads.calls) - before <= 3
    assert grad[0] == 0 and grad[9999] == 2 and grad[1] == 1


def test_mask_made_by_comparison() -> None:
    x = np.array([1.0, -2.0, 3.0])
    equal(fgrad.grad(lambda x: total(x[x > 0] ** 2))(x), np.array([2.0, 0.0, 6.0]))


def test_iteration_and_membership() -> None:
    x = RNG.normal(size=(3, 2))
    f = lambda x: total(sum(row * k for k, row in enumerate(x)))  # noqa: E731
    equal(fgrad.grad(f)(x), np.repeat([[0.0], [1.0], [2.0]], 2, axis=1))
    equal(fgrad.jit(f)(x), f(x))
    a, b = fgrad.jit(lambda x: tuple(x))(np.array([1.0, 2.0]))
    assert (a, b) == (1.0, 2.0)
    fgrad.grad(lambda x: x[0] if 2.0 in x and 9.0 not in x else 1 / 0)(np.array([1.0, 2.0]))
    with pytest.raises(TypeError, match="iteration over a 0-d array"):
        fgrad.jit(lambda x: list(x))(1.0)


# Updates

OPERATIONS = {
    "add": operator.add, "subtract": operator.sub, "multiply": operator.mul, "divide": operator.truediv, "power":
    operator.pow, "min": np.minimum, "max": np.maximum,
}  # fmt: skip
UFUNCS = {
    "add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide, "power": np.power, "min":
    np.minimum, "max": np.maximum,
}  # fmt: skip
PLACES = [
    S[1], S[1:, ::-2], S[[0, 2, 0]], S[:, [1, 1], ::-1], S[[0, 1, 1], :, [2, 0, 0]], S[X[..., :3] > 0.5], S[True],
    S[None, 1:2], S[1:3, [0, 0]],
]  # fmt: skip


def central(f: Any, x: np.ndarray, t: np.ndarray, h: float = 1e-5) -> float:
    return (f(x + h * t) - f(x - h * t)) / (2 * h)


@pytest.mark.parametrize("op", OPERATIONS)
@pytest.mark.parametrize("place", range(len(PLACES)))
def test_operations(op: str, place: int) -> None:
    index = PLACES[place]
    x = RNG.uniform(0.5, 2.0, size=(4, 5, 3))
    v = RNG.uniform(0.5, 2.0, size=x[index].shape)
    wanted = x.copy()
    UFUNCS[op].at(wanted, index, v)
    f = lambda x, v: getattr(x.at[index], op)(v)  # noqa: E731
    np.testing.assert_allclose(getattr(at(x)[index], op)(v), wanted, rtol=1e-12)
    np.testing.assert_allclose(fgrad.jit(f)(x, v), wanted, rtol=1e-12)
    w = weights(x.shape)
    loss = lambda x, v: total(sin(getattr(at(x)[index], op)(v)) * w)  # noqa: E731
    t, s = weights(x.shape), weights(v.shape)
    d_x, d_v = fgrad.grad(loss, (0, 1))(x, v)
    np.testing.assert_allclose((d_x * t).sum(), central(lambda x: loss(x, v), x, t), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose((d_v * s).sum(), central(lambda v: loss(x, v), v, s), rtol=1e-6, atol=1e-7)
    j_x, j_v = fgrad.jit(fgrad.grad(loss, (0, 1)))(x, v)
    np.testing.assert_allclose(j_x, d_x, rtol=1e-12)
    np.testing.assert_allclose(j_v, d_v, rtol=1e-12)
    second = fgrad.grad(lambda v: (fgrad.grad(loss, 1)(x, v) * s).sum())(v)
    slope = central(lambda v: (fgrad.grad(loss, 1)(x, v) * s).sum(), v, s)
    np.testing.assert_allclose((second * s).sum(), slope, rtol=1e-5, atol=1e-5)


def test_multiply_by_zeros_at_repeated_positions() -> None:
    index, x = np.array([0, 0, 1, 1, 2]), np.array([2.0, 3.0, 5.0])
    v = np.array([0.0, 4.0, 0.0, 0.0, 0.0])
    f = lambda v: total(at(x)[index].multiply(v))  # noqa: E731
    wanted = [central(f, v, e) for e in np.eye(5)]
    np.testing.assert_allclose(fgrad.grad(f)(v), wanted, atol=1e-9)


@pytest.mark.parametrize("axes", [1, 2])
def test_many_repeated_positions(axes: int) -> None:
    index = (RNG.integers(-40, 40, (30, 20)), RNG.integers(-7, 7, 20))[:axes]
    x = RNG.normal(size=(40, 7, 3))
    v = RNG.uniform(0.9, 1.1, size=x[index].shape)
    for op, ufunc in (("add", np.add), ("multiply", np.multiply), ("max", np.maximum)):
        wanted = x.copy()
        ufunc.at(wanted, index, v)
        np.testing.assert_allclose(getattr(at(x)[index], op)(v), wanted, rtol=1e-12)
    check(x, index)


def test_ties_of_extremes_are_shared() -> None:
    x, v = np.array([1.0, 5.0]), np.array([1.0, 1.0])
    d_x, d_v = fgrad.grad(lambda x, v: x.at[np.array([0, 0])].max(v)[0], (0, 1))(x, v)
    np.testing.assert_allclose(d_x, [1 / 3, 0])
    np.testing.assert_allclose(d_v, [1 / 3, 1 / 3])
    nan = np.array([np.nan, 1.0])
    equal(fgrad.grad(lambda x: total(x.at[1].min(2.0)))(nan), np.array([1.0, 1.0]))


def test_apply_get_and_modes() -> None:
    x = np.array([1.0, 4.0, 9.0])
    i = np.array([1, 5, -1, -7])
    equal(at(x)[np.array([1, 2])].apply(np.sqrt), np.array([1.0, 2.0, 3.0]))
    equal(at(x)[i].get(mode="clip"), np.array([4.0, 9.0, 9.0, 1.0]))
    equal(at(x)[i].get(mode="wrap"), np.array([4.0, 9.0, 9.0, 9.0]))
    equal(at(x)[i].get(mode="fill"), np.array([4.0, np.nan, 9.0, np.nan]))
    equal(at(x)[i].get(mode="fill", fill_value=-1), np.array([4.0, -1.0, 9.0, -1.0]))
    equal(at(x.astype(np.int8))[i].get(mode="fill"), np.array([4, -128, 9, -128], np.int8))
    equal(at(x)[i].set(0.0, mode="drop"), np.array([1.0, 0.0, 0.0]))
    equal(at(x)[7].set(0.0, mode="drop"), x)
    equal(at(x)[7].add(1.0, mode="clip"), np.array([1.0, 4.0, 10.0]))
    equal(at(x)[np.array([3, 4])].add(1.0, mode="wrap"), np.array([2.0, 5.0, 9.0]))
    equal(at(np.zeros((0, 2)))[np.array([0, 1])].get(mode="fill", fill_value=3.0), np.full((2, 2), 3.0))
    equal(at(np.zeros((0, 2)))[np.array([0, 1])].set(1.0, mode="drop"), np.zeros((0, 2)))
    equal(at(x)[i].apply(lambda y: -y, mode="drop"), np.array([1.0, -4.0, -9.0]))
    equal(fgrad.grad(lambda x: total(x.at[i].get(mode="fill", fill_value=0.0) ** 2))(x), np.array([0.0, 8.0, 18.0]))
    for mode in ("clip", "wrap", "fill", "drop", "promise_in_bounds", None):
        j = np.array([0, 2, 2])
        equal(fgrad.jit(lambda x, j: x.at[j].get(mode=mode))(x, j), x[j])  # noqa: B023
        equal(fgrad.jit(lambda x, j: x.at[j].mul(2.0, mode=mode))(x, j), np.array([2.0, 4.0, 36.0]))  # noqa: B023
    x[0] = np.nan
    assert not np.shares_memory(at(x)[1:].get(), x)


def test_updates_keep_shape_and_dtype() -> None:
    x = np.zeros(3, np.float32)
    equal(at(x)[1].set(2.5), np.array([0, 2.5, 0], np.float32))
    equal(at(x)[1:].set(np.float64(1)), np.array([0, 1, 1], np.float32))
    equal(at([0, 1])[0].set(True), np.array([1, 1]))
    equal(at(np.zeros((2, 2)))[0].set([1, 2]), np.array([[1.0, 2.0], [0, 0]]))
    equal(at(2.0)[()].set(3.0), np.float64(3.0))
    equal(at(np.zeros(2, complex))[0].add(1j), np.array([1j, 0]))
    assert not np.any(x)


# Functions


def test_take() -> None:
    for axis in (None, 0, 1, -1):
        for i in (2, [0, 3], np.array([[1, -1]])):
            wanted = np.take(X, i, axis)
            equal(indexing.take(X, i, axis), wanted)
            equal(fgrad.jit(lambda x: np.take(x, i, axis))(X), wanted)  # noqa: B023
            equal(fgrad.jit(lambda x, i: x.take(i, axis=axis))(X, np.asarray(i)), wanted)  # noqa: B023
    i = np.array([-3, 1, 9])
    x = np.arange(5.0)
    equal(fgrad.jit(lambda x, i: np.take(x, i, mode="clip"))(x, i), np.take(x, i, mode="clip"))
    equal(fgrad.jit(lambda x, i: np.take(x, i, mode="wrap"))(x, i), np.take(x, i, mode="wrap"))
    equal(indexing.take(x, i, mode="fill"), np.array([2.0, 1.0, np.nan]))
    equal(fgrad.jit(lambda i: indexing.take(x, i))(np.array([1, 2])), x[1:3])
    assert indexing.take(x, np.array([0])).base is None
    equal(fgrad.grad(lambda x: total(indexing.take(x, [1, 1]) ** 2))(x), np.array([0.0, 4, 0, 0, 0]))


def test_take_along_axis_and_back() -> None:
    for axis in (0, 1, 2, -1, None):
        order = np.argsort(X, axis=axis)
        wanted = np.take_along_axis(X, order, axis=axis)
        equal(indexing.take_along_axis(X, order, axis), wanted)
        equal(fgrad.jit(lambda x, i: np.take_along_axis(x, i, axis=axis))(X, order), wanted)  # noqa: B023
        w = weights(wanted.shape)
        g = fgrad.grad(lambda x: total(np.take_along_axis(x, order, axis=axis) * w))(X)  # noqa: B023
        back = X.copy()
        np.put_along_axis(back, order, w, axis)
        equal(g, back)
        equal(in_place.put_along_axis(X, order, w, axis, inplace=False), back)
    few = np.array([[[1]], [[0]], [[2]], [[3]]])
    loop = np.stack([np.take_along_axis(x, few[0], 0) for x in X])
    equal(fgrad.vmap(lambda x: np.take_along_axis(x, few[0], axis=0))(X), loop)
    equal(indexing.take_along_axis(X, few, 1), np.take_along_axis(X, few, 1))


def test_positions_of_trues() -> None:
    x = np.array([[0.0, 1.0, 2.0], [3.0, 0.0, 0.0]])
    for g, w in zip(fgrad.grad(lambda x: (x[np.nonzero(x)] ** 2).sum())(x), 2 * x, strict=True):
        equal(g, w)
    for got, wanted in zip(indexing.nonzero(x), np.nonzero(x), strict=True):
        equal(got, wanted)
    rows, columns = fgrad.jit(lambda x: indexing.nonzero(x, size=4, fill_value=(-1, 7)))(x)
    equal(rows, np.array([0, 0, 1, -1]))
    equal(columns, np.array([1, 2, 0, 7]))
    equal(fgrad.jit(lambda x: indexing.nonzero(x, size=2))(x)[1], np.array([1, 2]))
    equal(indexing.nonzero(x, size=0)[0], np.array([], int))
    equal(indexing.flatnonzero(x), np.flatnonzero(x))
    equal(fgrad.jit(lambda x: indexing.flatnonzero(x, size=5, fill_value=6))(x), np.array([1, 2, 3, 6, 6]))
    equal(indexing.argwhere(x), np.argwhere(x))
    equal(fgrad.jit(lambda x: indexing.argwhere(x, size=3))(x), np.argwhere(x))
    equal(fgrad.vmap(lambda x: indexing.flatnonzero(x, size=2))(x), np.array([[1, 2], [0, 0]]))


def test_compress_and_extract() -> None:
    c = np.array([False, True, False, True])
    for axis in (0, None):
        equal(indexing.compress(c, X, axis), np.compress(c, X, axis))
        equal(fgrad.jit(lambda x: np.compress(c, x, axis))(X), np.compress(c, X, axis))  # noqa: B023
        equal(fgrad.jit(lambda x: x.compress(c, axis))(X), np.compress(c, X, axis))  # noqa: B023
    equal(fgrad.jit(lambda c, x: indexing.compress(c, x, size=3, fill_value=9))(c, np.arange(4)), np.array([1, 3, 9]))
    equal(indexing.extract(MASK, X), np.extract(MASK, X))
    equal(fgrad.grad(lambda x: np.extract(MASK, x).sum())(X), MASK * 1.0)


def test_fill_diagonal_and_put() -> None:
    for shape, value, wrap in (
        ((3, 3), 2.0, False),
        ((5, 2), [1.0, 2, 3], True),
        ((5, 2), 1.0, False),
        ((2, 2, 2), [1.0, 2], False),
        ((2, 5), 3.0, False),
    ):
        x = RNG.normal(size=shape)
        wanted = x.copy()
        np.fill_diagonal(wanted, value, wrap)
        equal(in_place.fill_diagonal(x, value, wrap, inplace=False), wanted)
        equal(fgrad.jit(lambda x: in_place.fill_diagonal(x, value, wrap, inplace=False))(x), wanted)  # noqa: B023
    f = lambda v: total(in_place.fill_diagonal(np.ones((3, 3)), v, inplace=False) ** 2)  # noqa: E731
    equal(fgrad.grad(f)(3.0), np.float64(18.0))
    equal(in_place.put(np.zeros(4), [0, -1, 2], [1.0, 2.0], inplace=False), np.array([1.0, 0, 1.0, 2.0]))


def test_index_constants() -> None:
    x = RNG.normal(size=(3, 4))
    equal(fgrad.jit(lambda x: x[np.tril_indices_from(x)])(x), x[np.tril_indices_from(x)])
    equal(fgrad.jit(lambda x: x[np.triu_indices_from(x, 1)])(x), x[np.triu_indices_from(x, 1)])
    equal(fgrad.jit(lambda x: x[:, :3][np.diag_indices_from(x[:, :3])])(x), np.diag(x))
    equal(fgrad.jit(lambda x, i: x[indexing.ix_(i, [1, 3])])(x, np.array([2, 0])), x[np.ix_([2, 0], [1, 3])])
    grid = np.ix_([True, False, True], [0, 0])
    equal(fgrad.grad(lambda x: x[grid].sum())(x), np.array([[2.0, 0, 0, 0], [0] * 4, [2.0, 0, 0, 0]]))
    flat = np.arange(24)
    found = fgrad.jit(lambda i: indexing.unravel_index(i, (2, 3, 4)))(flat)
    for got, wanted in zip(found, np.unravel_index(flat, (2, 3, 4)), strict=True):
        equal(got, wanted)


# Errors


def line(error: Any) -> str:
    return str(error.value).splitlines()[0]


INVALID = "only integers, slices (`:`), ellipsis (`...`), None and integer or boolean arrays are valid indices"


@pytest.mark.parametrize(
    ("index", "error", "text"),
    [
        (S[4], OutOfBoundsError, "index 4 is out of bounds for axis 0 with size 4"),
        (S[:, -6], OutOfBoundsError, "index -6 is out of bounds for axis 1 with size 5"),
        (S[[0, 9]], OutOfBoundsError, "index 9 is out of bounds for axis 0 with size 4"),
        (S[0, 0, 0, 0], OutOfBoundsError, "too many indices: the array is 3-dimensional, but 4 were indexed"),
        (S[..., 0, 0, 0, 0], OutOfBoundsError, "too many indices: the array is 3-dimensional, but 4 were indexed"),
        (S[..., ...], OutOfBoundsError, "an index can only have a single ellipsis ('...')"),
        (S[1.5], DtypeError, INVALID),
        (S["a"], DtypeError, INVALID),
        (S[[0.5]], DtypeError, INVALID),
        (
            S[[True, False]],
            OutOfBoundsError,
            "a boolean index of shape (2,) does not match the axes that it indexes, from axis 0 on",
        ),
        (S[[0, 1], [0, 1, 2]], ShapeError, "shapes (2,) and (3,) do not broadcast"),
    ],
)
def test_errors(index: Any, error: type[Exception], text: str) -> None:
    for run in (fgrad.grad(lambda x: total(x[index])), fgrad.jit(lambda x: x[index])):
        with pytest.raises(error) as raised:
            run(X)
        assert line(raised) == text
        assert "test_indexing.py" in str(raised.value)


def test_positions_that_are_checked_when_they_run() -> None:
    f = fgrad.jit(lambda x, i: x[i])
    for i in (3, -4, np.array([0, 5])):
        with pytest.raises(IndexError, match=r"index -?\d is out of bounds for axis 0 with size 3"):
            f(np.arange(3.0), i)
    with pytest.raises(OutOfBoundsError, match="index 7 is out of bounds"):
        fgrad.jit(lambda x, i: x.at[i].set(0.0))(np.arange(3.0), 7)


def test_masks_of_unknown_value() -> None:
    for f in (lambda x: x[x > 0], lambda x: np.nonzero(x), lambda x: np.compress(x > 0, x)):
        for transform in (fgrad.jit, lambda f: lambda x: fgrad.vmap(f)(x[None])):
            with pytest.raises(ConcretizationError, match=r"fgrad.numpy.where\(mask") as raised:
                transform(f)(np.arange(3.0))
            assert "size=n" in str(raised.value)
    with pytest.raises(ConcretizationError, match=r"fgrad\.lax\.dynamic_slice_in_dim"):
        fgrad.jit(lambda x, i: x[i : i + 2])(np.arange(3.0), 1)


def test_writes_are_refused() -> None:
    def write(x: Any) -> Any:
        x[0] = 1.0
        return x[0]

    with pytest.raises(MutationError, match=re.escape("x[i] = v would write into an argument")) as raised:
        fgrad.grad(write)(np.ones(2))
    assert "do:  copy it first, x = x.copy(), or write x = x.at[i].set(v)" in str(raised.value)
    with pytest.raises(MutationError, match=r"do:  copy it first"):
        fgrad.jit(lambda x: np.fill_diagonal(x, 0))(np.eye(2))


@pytest.mark.parametrize("index", [0, S[0:1], np.array([True, False])], ids=repr)
def test_writes_of_traced_values_into_ndarrays(index: Any) -> None:
    def write(x: Any) -> Any:
        buffer = np.zeros(2)
        buffer[index] = x[0]
        return total(buffer)

    for run in (fgrad.grad(write), fgrad.jit(write)):
        with pytest.raises((ConcretizationError, ValueError)) as raised:
            run(np.ones(2))
        # NumPy puts "setting an array element with a sequence" in front of our error
        error = raised.value if isinstance(raised.value, ConcretizationError) else raised.value.__cause__
        assert isinstance(error, ConcretizationError)
        assert "test_indexing.py" in str(error)


def test_ndarray_at_a_traced_index() -> None:
    table = np.arange(5.0)
    with pytest.raises(ConcretizationError, match=r"fgrad.numpy.take\(a, i\)"):
        fgrad.jit(lambda i: table[i])(2)
    equal(fgrad.jit(lambda i: indexing.take(table, i))(2), np.float64(2.0))


def test_updates_that_do_not_fit() -> None:
    with pytest.raises(DtypeError, match="set: an array of int64 cannot hold the result"):
        at(np.arange(3))[0].set(1.5)
    with pytest.raises(DtypeError, match="divide: an array of int64 cannot hold the result"):
        at(np.arange(3))[0].divide(2)
    with pytest.raises(ShapeError, match=re.escape("shape (2,) does not broadcast to (3,)")):
        at(np.zeros(3))[:].set(np.zeros(2))
    with pytest.raises(ValueError, match="there is no index mode 'nearest'"):
        at(np.zeros(3))[0].get(mode="nearest")
