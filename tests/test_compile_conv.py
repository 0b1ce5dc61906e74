"""Convolutions and windows in compiled programs against the same primitives on NumPy, over random geometries."""

import numpy as np
import pytest

import fgrad
from fgrad import lax
from fgrad.primitives.conv import conv, conv_input_grad, conv_weight_grad
from fgrad.primitives.window import (
    window_argmax,
    window_argmin,
    window_max,
    window_min,
    window_pick,
    window_place,
    window_spread,
    window_sum,
)
from fgrad.testing import check_close

NHWC = ("NHWC", "HWIO", "NHWC")


def compiled(primitive, *operands, **params):
    """The result of a program that is the primitive alone, which is a NumPy call only for strides of many residues."""
    f = fgrad.jit(lambda *xs: primitive(*xs, **params))
    text = f.lower(*operands).as_text("plan")
    assert "NumPy" not in text or np.prod(params["strides"]) > 16, text
    return f(*operands)


def tolerance(dtype):
    return 2e-5 if dtype == np.float32 else 1e-12


def drawn(seed):
    """Shapes of x, w and y and the parameters of a convolution."""
    rng = np.random.default_rng(seed)
    rank = int(rng.integers(0, 4)) if seed % 4 else 2
    some = lambda low, high: tuple(rng.integers(low, high, rank, endpoint=True).tolist())  # noqa: E731
    groups = int(rng.choice([1, 1, 2, 3, 9]))
    inner, outer = int(rng.integers(1, 5)), int(rng.integers(1, 4 if groups > 2 else 21))
    if seed % 5 == 0:
        inner, outer = outer, inner
    n = int(rng.integers(1, 5))
    x = (n, *some(1, 9), groups * inner)
    w = (*some(1, 4), inner, groups * outer)
    y = (n, *some(1, 15), groups * outer)
    params = {"strides": some(1, 3) if seed % 3 else (1,) * rank, "low": some(-2, 4), "dilation": some(1, 3)}
    return rng, x, w, y, params | {"groups": groups}


@pytest.mark.parametrize("seed", range(36))
def test_convolutions_of_any_geometry(seed):
    rng, *shapes, params = drawn(seed)
    dtype = np.float32 if seed % 2 else np.float64
    x, w, y = (rng.normal(size=shape).astype(dtype) for shape in shapes)
    maps = (
        (conv, (x, w), y.shape[1:-1]),
        (conv_input_grad, (w, y), x.shape[1:-1]),
        (conv_weight_grad, (x, y), w.shape[:-2]),
    )
    for primitive, operands, sizes in maps:
        got = compiled(primitive, *operands, **params, sizes=sizes)
        want = primitive(*operands, **params, sizes=sizes)
        assert got.dtype == want.dtype
        check_close(got, want, rtol=tolerance(dtype), atol=10 * tolerance(dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("x", "w", "padding", "strides"),
    [
        ((3, 28, 28, 1), (5, 5, 1, 6), "SAME", (1, 1)),
        ((3, 14, 14, 6), (5, 5, 6, 16), "VALID", (1, 1)),
        ((2, 30, 31, 3), (7, 7, 3, 24), "SAME", (2, 2)),
        ((2, 9, 300, 2), (1, 3, 2, 40), "VALID", (1, 1)),
        ((2, 7, 7, 24), (1, 1, 24, 33), "VALID", (2, 1)),
        ((2, 12, 29, 37), (3, 3, 1, 37), "SAME", (1, 1)),
        ((2, 9, 9, 5), (3, 3, 1, 5), "SAME", (2, 2)),
        ((2, 9, 9, 4), (3, 3, 1, 8), "SAME", (1, 1)),
    ],
)
def test_layers_and_their_gradients(x, w, padding, strides, dtype):
    rng = np.random.default_rng(1)
    groups = x[-1] // w[-2]
    x, w = rng.normal(size=x).astype(dtype), rng.normal(size=w).astype(dtype)

    def layer(x, w):
        return lax.conv_general_dilated(x, w, strides, padding, dimension_numbers=NHWC, feature_group_count=groups)

    def both(x, w):
        y, pull = fgrad.vjp(layer, x, w)
        return y, pull(2 * y)

    for got, want in zip(fgrad.tree.leaves(fgrad.jit(both)(x, w)), fgrad.tree.leaves(both(x, w)), strict=True):
        scale = np.abs(want).max()
        check_close(got / scale, want / scale, rtol=tolerance(dtype), atol=tolerance(dtype))


def test_patches_far_apart():
    rng = np.random.default_rng(6)
    x, w = rng.normal(size=(2, 32, 32, 3)), rng.normal(size=(16, 16, 3, 20))

    def f(x, w):
        y = lax.conv_general_dilated(x, w, (16, 16), "VALID", dimension_numbers=NHWC)
        pooled = lax.reduce_window(x, -np.inf, lax.max, (1, 16, 16, 1), (1, 16, 16, 1), "VALID")
        return (y * y).sum() + pooled.sum()

    g = fgrad.grad(f, (0, 1))
    for got, want in zip(fgrad.jit(g)(x, w), g(x, w), strict=True):
        check_close(got, want, rtol=1e-11, atol=1e-9)


def test_special_values_stay_where_they_are():
    x = np.zeros((2, 6, 7, 3), np.float32)
    x[0, 2, 3, 1], x[1, 0, 0, 0] = np.nan, np.inf
    w = np.ones((3, 3, 3, 5), np.float32)
    params = {"strides": (1, 1), "low": (1, 1), "dilation": (1, 1), "sizes": (6, 7), "groups": 1}
    with np.errstate(invalid="ignore"):  # some matrix libraries raise the flag for lanes that they do not store
        want = conv(x, w, **params)
    np.testing.assert_array_equal(compiled(conv, x, w, **params), want)


def test_another_number_of_images_needs_no_other_kernels():
    """Neither forwards nor for the gradients; the sums of chunks are right for every number of them."""

    def loss(w, x):
        return (lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")) ** 2).sum()

    f = fgrad.jit(fgrad.grad(loss, (0, 1)))
    rng = np.random.default_rng(5)
    w = rng.standard_normal((3, 3, 4, 20))
    names = []
    for images in (128, 96, 80, 70):
        x = rng.standard_normal((images, 12, 12, 4))
        plan = f.lower(w, x).plan
        names.append({i.kernel.name for i in plan.items if i.kernel is not None})
        for found, expected in zip(f(w, x), fgrad.grad(loss, (0, 1))(w, x), strict=True):
            check_close(found, expected, rtol=1e-9)
    assert names[0] and len(set(map(frozenset, names))) == 1


def test_results_do_not_depend_on_threads():
    rng = np.random.default_rng(2)
    x, w = rng.normal(size=(40, 17, 19, 5)).astype(np.float32), rng.normal(size=(3, 5, 5, 18)).astype(np.float32)

    def f(x, w):
        y = lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=NHWC)
        y = lax.reduce_window(y, -np.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        return (y * y).sum()

    g = fgrad.jit(fgrad.value_and_grad(f, (0, 1)))
    before = fgrad.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            fgrad.set_num_threads(threads)
            found.append([a.tobytes() for a in fgrad.tree.leaves(g(x, w))])
    finally:
        fgrad.set_num_threads(before)
    assert found[0] == found[1] == found[2]


def drawn_windows(seed):
    """The shape of an array, that of its windows, and the parameters."""
    rng = np.random.default_rng(seed)
    kind = seed % 4
    rank = int(rng.integers(1, 5)) if kind else 4
    some = lambda low, high: tuple(rng.integers(low, high, rank, endpoint=True).tolist())  # noqa: E731
    window, strides, dilation, low = some(1, 4), some(1, 3), some(1, 2), some(-1, 2)
    shape, sizes = some(1, 12), some(1, 9)
    if kind == 0:  # images
        channels, n = int(rng.integers(1, 20)), int(rng.integers(1, 4))
        plain = lambda v, at: (at, *v[1:3], at)  # noqa: E731
        window, strides, dilation, low = plain(window, 1), plain(strides, 1), plain(dilation, 1), plain(low, 0)
        shape, sizes = (n, *shape[1:3], channels), (n, *sizes[1:3], channels)
    if seed % 7 == 0:
        strides = tuple((k - 1) * d + 1 for k, d in zip(window, dilation, strict=True))
    return rng, shape, sizes, {"window": window, "strides": strides, "dilation": dilation, "low": low}


@pytest.mark.parametrize("seed", range(48))
def test_windows_of_any_geometry(seed):
    dtype = (np.float32, np.float64, np.float32, np.int32, np.uint8)[seed % 5]
    rng, shape, sizes, params = drawn_windows(seed)
    x = rng.integers(0, 5, shape).astype(dtype) if seed % 2 else (20 * rng.normal(size=shape)).astype(dtype)
    if x.dtype.kind == "f" and x.size > 4:
        x.flat[rng.integers(0, x.size, 3)] = [np.nan, -np.inf, -0.0]
    for primitive in (window_max, window_min, window_argmax, window_argmin):
        got = compiled(primitive, x, **params, sizes=sizes)
        want = primitive(x, **params, sizes=sizes)
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)
    x = np.nan_to_num(x)
    index = window_argmax(x, **params, sizes=sizes)
    y = (10 * rng.normal(size=sizes)).astype(dtype)
    cases = [(window_sum, (x,), sizes), (window_spread, (y,), shape)]
    if x.dtype.kind == "f":
        cases += [(window_pick, (x, index), sizes), (window_place, (y, index), shape)]
    for primitive, operands, out in cases:
        got = compiled(primitive, *operands, **params, sizes=out)
        want = primitive(*operands, **params, sizes=out)
        assert got.dtype == want.dtype
        check_close(got, want, rtol=tolerance(dtype), atol=10 * tolerance(dtype))


@pytest.mark.parametrize("window", [(1, 11, 13, 1), (40,), (6, 7)])
def test_windows_of_many_elements(window):
    rng = np.random.default_rng(3)
    shape = tuple(n + 3 for n in window)
    x = rng.normal(size=shape).astype(np.float32)
    rank = len(shape)
    params = {"window": window, "strides": (2,) * rank, "dilation": (1,) * rank, "low": (1,) * rank}
    sizes = (2,) * rank
    for primitive in (window_max, window_argmin, window_sum):
        got, want = compiled(primitive, x, **params, sizes=sizes), primitive(x, **params, sizes=sizes)
        check_close(got, want, rtol=1e-6, atol=1e-6)
    y, index = rng.normal(size=sizes).astype(np.float32), window_argmax(x, **params, sizes=sizes)
    for operands, primitive in (((y,), window_spread), ((y, index), window_place)):
        got, want = compiled(primitive, *operands, **params, sizes=shape), primitive(*operands, **params, sizes=shape)
        check_close(got, want, rtol=1e-6, atol=1e-6)
    got, want = compiled(window_pick, x, index, **params, sizes=sizes), window_pick(x, index, **params, sizes=sizes)
    np.testing.assert_array_equal(got, want)


def test_the_number_and_the_element_come_from_one_kernel_in_either_order():
    x = np.random.default_rng(5).integers(0, 9, (3, 8, 8, 5)).astype(np.float32)
    params = {"window": (1, 2, 3, 1), "strides": (1, 2, 2, 1), "dilation": (1,) * 4, "low": (0, 0, 1, 0)}
    params["sizes"] = (3, 4, 4, 5)

    def f(x):
        number = window_argmin(x, **params) + 1
        return number, window_min(x * 1, **params), window_min(x, **params), number * 2

    for got, want in zip(fgrad.jit(f)(x), f(x), strict=True):
        np.testing.assert_array_equal(got, want)


def test_a_pooling_layer_reads_its_operand_once():
    x = np.random.default_rng(4).normal(size=(8, 12, 12, 6)).astype(np.float32)

    def f(x):
        return (lax.reduce_window(x, -np.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID") ** 2).sum()

    text = fgrad.jit(fgrad.grad(f)).lower(x).as_text("steps")
    assert "NumPy" not in text
    assert "window_argmax" not in text
    np.testing.assert_array_equal(fgrad.jit(fgrad.grad(f))(x), fgrad.grad(f)(x))
