"""reduce_window against Python loops, numbers of JAX 0.10.2 and finite differences; errors by their texts."""

import operator

import numpy as np
import pytest
from pinned import says

import fgrad
import fgrad.numpy as fnp
from fgrad import lax
from fgrad.core.errors import DtypeError, ShapeError
from fgrad.core.primitive import registry
from fgrad.testing import check_close, check_grads, check_vmap

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 5, 4))
IDENTITY = {"add": 0.0, "mul": 1.0, "max": -np.inf, "min": np.inf}
NUMPY = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


def loops(x, init, name, window, strides, pads, spread, dilation):
    """Every window element by element; the (low, high) padding and the gaps of a dilated array hold nothing."""
    places = {tuple(i * d for i, d in zip(index, spread, strict=True)): x[index] for index in np.ndindex(x.shape)}
    sizes = []
    for n, k, s, (lo, hi), e, d in zip(x.shape, window, strides, pads, spread, dilation, strict=True):
        padded = ((n - 1) * e + 1 if n else 0) + lo + hi
        sizes.append(max(0, (padded - (k - 1) * d - 1) // s + 1))
    y = np.full(sizes, init, x.dtype)
    for t in np.ndindex(*sizes):
        for k in np.ndindex(*window):
            place = tuple(a * s + b * d - lo for a, s, b, d, (lo, _) in zip(t, strides, k, dilation, pads, strict=True))
            if place in places:
                y[t] = NUMPY[name](y[t], places[place])
    return y


def drawn(seed):
    """A random array, and a geometry of windows."""
    rng = np.random.default_rng(seed)
    rank = int(rng.integers(0, 4))
    some = lambda low, high: tuple(rng.integers(low, high, rank, endpoint=True).tolist())  # noqa: E731
    x = np.asarray(rng.normal(size=some(1, 5)))
    pads = list(zip(some(-1, 2), some(0, 3), strict=True))
    return x, some(1, 3), some(1, 3), pads, some(1, 2) if seed % 3 == 0 else (1,) * rank, some(1, 2)


@pytest.mark.parametrize("name", IDENTITY)
@pytest.mark.parametrize("seed", range(24))
def test_values_are_those_of_loops(name, seed):
    x, *geometry = drawn(seed)
    for init in (IDENTITY[name], 0.75):
        f = lambda x: lax.reduce_window(x, init, getattr(lax, name), *geometry)  # noqa: B023, E731
        want = loops(x, init, name, *geometry)
        got = f(x)
        check_close(got, want if want.ndim else want[()])
        check_close(fgrad.jit(f)(x), got)
        check_vmap(f, (np.stack([x, -x]),))
        single = f(x.astype("f4"))
        assert single.dtype == "f4"
        check_close(single, want.astype("f4")[()], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", IDENTITY)
@pytest.mark.parametrize("seed", [1, 2, 3, 4, 6, 8])
def test_derivatives(name, seed):
    x, *geometry = drawn(seed)
    f = lambda x: lax.reduce_window(x, 0.1, getattr(lax, name), *geometry)  # noqa: E731
    check_grads(f, (x,))
    pull = lambda x: fgrad.vjp(f, x)[1](np.cos(f(x)))[0]  # noqa: E731
    check_vmap(pull, (np.stack([x, -x]),))
    check_close(fgrad.jit(pull)(x), pull(x))


def test_derivative_by_the_initial_value():
    f = lambda x, init: lax.reduce_window(x, init, lax.mul, (2, 2, 2), (1, 2, 1))  # noqa: E731
    check_grads(f, (X, 0.5))
    assert fgrad.grad(lambda i: lax.reduce_window(X[0, 0], i, lax.max, (2,)).sum())(10.0) == 3.0


def wave(*shape):
    return np.sin(np.arange(np.prod(shape)) * 0.7).reshape(shape)


# Shape, window reduction, and of the result, the cotangent and the second derivative below: shape, first and last
# element, sum weighted by 1, 2, 3, ...; all by JAX 0.10.2.
GOLDEN = [
    ((2, 5, 6, 2), lambda x: lax.reduce_window(x, -np.inf, lax.max, (1, 3, 2, 1), (1, 2, 2, 1), "SAME"),
     [((2, 3, 3, 2), 0.9854497299884601, 0.9988580516952367, 593.6323795343153),
      ((2, 5, 6, 2), 0.0, 0.05306853621402457, 17.772251646878715),
      ((2, 5, 6, 2), 0.0, 0.019782060938295765, 181.43347556349363)]),
    ((7, 6), lambda x: lax.reduce_window(x, np.inf, lax.min, (2, 3), (1, 2), [(1, 0), (0, 2)]),
     [((7, 3), 0.0, -0.9717984457438641, -183.18440992156152),
      ((7, 6), 1.0, 0.0, 3.9357941978687867),
      ((7, 6), 0.0, 0.0, -9.040136502984224)]),
    ((3, 4, 5), lambda x: lax.reduce_window(x, 0.0, lax.add, (2, 1, 3), (1, 2, 2), "SAME_LOWER"),
     [((3, 2, 3), 0.644217687237691, -2.330177939821312, -58.75945308769326),
      ((3, 4, 5), 1.053955420562649, 0.0, -140.38961905639945),
      ((3, 4, 5), 0.029170586109634064, 0.0, 881.2179737051829)]),
    ((4, 3), lambda x: lax.reduce_window(x, 0.0, lax.add, (3, 2), (2, 1), [(1, 1), (0, 2)], (2, 3), (1, 2)),
     [((4, 7), 0.0, 0.9881682338770003, 33.714433147858244),
      ((4, 3), 1.0, -0.38869872910349845, -5.198685848410884),
      ((4, 3), 0.0, 0.31984842441542977, 3.8587567351015832)]),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(GOLDEN)))
def test_numbers_of_jax(case):
    shape, f, want = GOLDEN[case]
    x = wave(*shape)
    y, pull = fgrad.vjp(f, x)
    ct = np.cos(np.arange(y.size) * 1.3).reshape(y.shape)
    gradient = fgrad.grad(lambda x: (np.sin(f(x)) * ct).sum())
    second = fgrad.vjp(gradient, x)[1](wave(*shape)[::-1])[0]
    for v, (shape, *numbers) in zip([y, pull(ct)[0], second], want, strict=True):
        assert v.shape == shape
        flat = v.ravel()
        check_close(np.array([flat[0], flat[-1], flat @ np.arange(1, v.size + 1)]), np.array(numbers), rtol=1e-9)


def test_of_equals_the_first_of_the_window_has_the_derivative():  # the numbers are JAX's
    x = np.array([[0, 1, 1, 1, 0, -0.0], [-1, -1, -1, 0, 1, 1], [1, 0, -0.0, -1, -1, -1], [0, 1, 1, 1, 0, -0.0]])
    ct = np.arange(1.0, 13).reshape(4, 3)
    largest = lambda x: lax.reduce_window(x, -np.inf, lax.max, (2, 3), (1, 2), "SAME")  # noqa: E731
    smallest = lambda x: lax.reduce_window(x, np.inf, lax.min, (2, 3), (1, 2), "SAME")  # noqa: E731
    up = [[0, 1, 2, 0, 0, 0], [0, 0, 0, 0, 14, 0], [11, 0, 0, 0, 0, 0], [0, 10, 19, 0, 21, 0]]
    down = [[0, 0, 0, 0, 3, 0], [5, 0, 7, 0, 0, 0], [0, 7, 0, 8, 15, 0], [10, 0, 0, 0, 23, 0]]
    for f, want in ((largest, up), (smallest, down)):
        assert fgrad.vjp(f, x)[1](ct)[0].tolist() == want
        assert fgrad.jit(lambda x: fgrad.vjp(f, x)[1](ct)[0])(x).tolist() == want  # noqa: B023
        t = np.arange(24.0).reshape(4, 6)
        assert (fgrad.jvp(f, (x,), (t,))[1] * ct).sum() == (np.array(want) * t).sum()


def test_special_values():
    x = np.array([1.0, np.nan, 2.0, -np.inf, -np.inf, np.inf])
    f = lambda x: lax.reduce_window(x, -np.inf, lax.max, (2,))  # noqa: E731
    assert np.array_equal(f(x), [np.nan, np.nan, 2, -np.inf, np.inf], equal_nan=True)
    assert fgrad.vjp(f, x)[1](np.array([1.0, 2, 4, 8, 16]))[0].tolist() == [0, 3, 4, 8, 0, 16]
    g = lambda x: lax.reduce_window(x, 0.0, lax.add, (2,))  # noqa: E731
    with np.errstate(invalid="ignore"):  # inf - inf
        assert np.array_equal(g(x), [np.nan, np.nan, -np.inf, -np.inf, np.nan], equal_nan=True)
    padded = lax.reduce_window(x[:2], -np.inf, lax.max, (1,), padding=[(1, 0)])
    assert np.array_equal(padded, [-np.inf, 1, np.nan], equal_nan=True)
    zeros = np.array([0.0, 3.0, 0.0, 2.0])
    product = lambda x: lax.reduce_window(x, 1.0, lax.mul, (2,), (2,))  # noqa: E731
    assert fgrad.vjp(product, zeros)[1](np.ones(2))[0].tolist() == [3, 0, 2, 0]


@pytest.mark.parametrize("computation", [lax.max, np.maximum, fnp.maximum, lambda a, b: lax.max(b, a)])
def test_computations_are_told_by_what_they_do(computation):
    check_close(lax.reduce_window(X, -np.inf, computation, (1, 2, 2)), loops(
        X, -np.inf, "max", (1, 2, 2), (1, 1, 1), [(0, 0)] * 3, (1, 1, 1), (1, 1, 1)))  # fmt: skip


@pytest.mark.parametrize("computation", [lax.add, np.add, operator.add, lambda a, b: a + b])
def test_sums(computation):
    x = np.arange(6)
    assert lax.reduce_window(x, 0, computation, (2,)).tolist() == [1, 3, 5, 7, 9]
    assert lax.reduce_window(x, 10, computation, (2,)).tolist() == [11, 13, 15, 17, 19]


def test_integers_and_booleans():
    x = np.array([3, -4, 100, 100], np.int8)
    assert lax.reduce_window(x, 0, lax.add, (2,)).tolist() == [-1, 96, -56]
    assert lax.reduce_window(x, -128, lax.max, (2,), padding="SAME").tolist() == [3, 100, 100, 100]
    assert lax.reduce_window(x, 0, lax.min, (2,)).dtype == np.int8
    assert lax.reduce_window(x, 0, lax.add, (4,)).tolist() == [-57] and x.dtype == np.int8
    b = np.array([True, False, False, True])
    for either in (lax.bitwise_or, np.logical_or, lax.max):
        assert lax.reduce_window(b, False, either, (2,)).tolist() == [True, False, True]
    for both in (lax.bitwise_and, np.logical_and):
        assert lax.reduce_window(b, True, both, (2,), padding="SAME").tolist() == [False, False, False, True]


def test_pooling_of_images():
    images = RNG.normal(size=(2, 6, 4, 3))
    want = images.reshape(2, 3, 2, 2, 2, 3)
    window = (1, 2, 2, 1)
    check_close(lax.reduce_window(images, -np.inf, lax.max, window, window, "VALID"), want.max((2, 4)))
    check_close(lax.reduce_window(images, 0.0, lax.add, window, window) / 4, want.mean((2, 4)))
    check_close(lax.reduce_window(images, 0.0, lax.add, (1, 6, 4, 1))[:, 0, 0], images.sum((1, 2)))
    check_close(lax.reduce_window(images, np.inf, lax.min, (1, 6, 4, 1))[:, 0, 0], images.min((1, 2)))
    gradient = fgrad.grad(lambda x: lax.reduce_window(x, -np.inf, lax.max, window, window).sum())(images)
    assert np.array_equal(gradient.reshape(want.shape), want == want.max((2, 4), keepdims=True))


def test_windows_of_many_elements():
    x = RNG.normal(size=(40, 50))
    f = lambda x: lax.reduce_window(x, -np.inf, lax.max, (17, 18), padding="SAME")  # 306 > 256 elements  # noqa: E731
    y, pull = fgrad.vjp(f, x)
    padded = np.pad(x, [(8, 8), (8, 9)], constant_values=-np.inf)
    check_close(y, np.lib.stride_tricks.sliding_window_view(padded, (17, 18)).max((2, 3)))
    ct = RNG.normal(size=y.shape)
    want = np.zeros_like(x)
    for place in np.ndindex(*y.shape):
        want[x == y[place]] += ct[place]
    check_close(pull(ct)[0], want)
    single = np.float32(x)
    check_close(fgrad.vjp(f, single)[1](np.float32(ct))[0], np.float32(want), rtol=1e-5, atol=1e-5)


def test_nothing():
    for shape, window in (((0, 3), (1, 2)), ((3, 2), (1, 5)), ((0,), (1,)), ((), ())):
        x = np.ones(shape)[()]
        for name, init in IDENTITY.items():
            f = lambda x: lax.reduce_window(x, init, getattr(lax, name), window)  # noqa: B023, E731
            y, pull = fgrad.vjp(f, x)
            sizes = tuple(max(0, n - k + 1) for n, k in zip(shape, window, strict=True))
            assert y.shape == sizes and pull(y)[0].shape == shape
    assert lax.reduce_window(np.ones(0), -1.0, lax.max, (2,), padding=[(1, 2)]).tolist() == [-1, -1]


def test_the_index_of_the_largest():
    geometry = {"window": (2, 2), "strides": (2, 1), "dilation": (1, 2), "low": (0, 1), "sizes": (2, 4)}
    x = np.array([[1.0, 3.0, 5.0, 7.0], [2.0, 4.0, 9.0, 7.0], [3.0, 3.0, 3.0, 3.0], [3.0, np.nan, 0.0, 0.0]])
    index = registry.window_argmax(x, **geometry)
    assert index.dtype == np.uint8 and index.tolist() == [[3, 3, 1, 2], [3, 0, 2, 0]]
    assert np.array_equal(
        registry.window_pick(x, index, **geometry), registry.window_max(x, **geometry), equal_nan=True
    )
    assert registry.window_argmin(x, **geometry).tolist() == [[1, 0, 0, 0], [3, 3, 2, 2]]
    names = [e.primitive.name for e in fgrad.make_jaxpr(fgrad.grad(lambda x: (
        lax.reduce_window(x, -np.inf, lax.max, (2, 2), (2, 2)) ** 2).sum()))(x).eqns]  # fmt: skip
    assert names.count("window_argmax") == names.count("window_place") == 1


ERRORS = [
    (lambda: lax.reduce_window(X, 0.0, lax.add, (2, 2)), ShapeError,
     "window_dimensions must hold one positive integer for each of 3 axes", "(2, 2)",
     "correct it, or leave it out for ones"),
    (lambda: lax.reduce_window(X, 0.0, lax.add, (2, 0, 2)), ShapeError,
     "window_dimensions must hold one positive integer for each of 3 axes", "(2, 0, 2)",
     "correct it, or leave it out for ones"),
    (lambda: lax.reduce_window(X, 0.0, lax.add, (1, 1, 1), (0, 1, 1)), ShapeError,
     "window_strides must hold one positive integer for each of 3 axes", "(0, 1, 1)",
     "correct it, or leave it out for ones"),
    (lambda: lax.reduce_window(X, 0.0, lax.add, (1, 1, 1), padding="FULL"), ShapeError,
     "the padding must be 'VALID', 'SAME', 'SAME_LOWER' or one (low, high) per axis", "'FULL'", "choose one of these"),
    (lambda: lax.reduce_window(X, 0.0, lax.add, (1, 1, 1), padding=[(1, 1)]), ShapeError,
     "the padding must be 'VALID', 'SAME', 'SAME_LOWER' or one (low, high) for each of 3 axes", "[(1, 1)]",
     "choose one of these"),
    (lambda: lax.reduce_window(X[0, 0], 0.0, lax.add, (1,), padding=[(-3, -2)]), ShapeError,
     "reduce_window: the padding cuts off more than there is", "[(-3, -2)] for the shape (4,)", "cut off less"),
    (lambda: lax.reduce_window(X, np.zeros(2), lax.add, (1, 1, 1)), DtypeError,
     "reduce_window: the initial value must be a scalar of the operand's dtype", "float64, shape (2,)",
     "convert it to float64"),
    (lambda: lax.reduce_window(X, np.float32(0), lax.add, (1, 1, 1)), DtypeError,
     "reduce_window: the initial value must be a scalar of the operand's dtype", "float32, shape ()",
     "convert it to float64"),
    (lambda: lax.reduce_window(X > 0, False, lax.add, (1, 1, 1)), DtypeError,
     "window_sum is not defined for boolean operands", "bool[3,5,4]", "convert first"),
]  # fmt: skip


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("case", range(len(ERRORS)))
def test_errors(case, traced):
    call, error, what, got, do = ERRORS[case]
    with pytest.raises(error) as caught:
        fgrad.jit(lambda _: call())(1.0) if traced else call()
    says(caught.value, what, got, do)


GEOMETRY = {"window": (2,), "strides": (1,), "dilation": (1,), "low": (0,), "sizes": (3,)}


@pytest.mark.parametrize(
    "name, operands, change, error, text",
    [
        ("window_sum", [X], {}, ShapeError,
         "window_sum: needs one integer per axis for each of window, strides, dilation, low, sizes"),
        ("window_max", [np.ones(4)], {"dilation": (0,)}, ShapeError,
         "window_max: windows, strides and dilations must be positive, sizes not negative"),
        ("window_pick", [np.ones(4), np.ones(3)], {}, ShapeError, "window_pick: needs one integer index per window"),
        ("window_place", [np.ones(4), np.zeros(3, int)], {}, ShapeError,
         "window_place: needs one integer index per window"),
        ("window_pick", [np.arange(4), np.zeros(3, int)], {}, DtypeError,
         "window_pick is not defined for integer operands"),
    ],
)  # fmt: skip
def test_primitives_check_their_operands(name, operands, change, error, text):
    primitive = getattr(registry, name)
    with pytest.raises(error) as caught:
        fgrad.jit(lambda *xs: primitive(*xs, **GEOMETRY | change))(*operands)
    assert text in str(caught.value)
