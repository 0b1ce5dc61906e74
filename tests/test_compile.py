"""Compiled code against `run`: every primitive natively and through Numba, with special values, in both float widths.

What only computes with integers, moves elements or rounds once must give the very bits of NumPy; mathematics and sums
may differ by a few units in the last place.
"""

import math
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_primitives import function

import fgrad
from fgrad import jit, nn
from fgrad.compile import cache
from fgrad.compile.native import pool
from fgrad.compile.points import VIEWS
from fgrad.compile.scalar_rules import REDUCTIONS, RULES
from fgrad.core.errors import DtypeError, ShapeError
from fgrad.core.primitive import registry
from fgrad.core.types import shaped
from fgrad.testing import Draw
from fgrad.testing.strategies import with_special

EXAMPLES = {} if os.environ.get("HYPOTHESIS_PROFILE") else {"max_examples": 2}
COVERED = set()

# Units in the last place by which compiled results may differ from NumPy's
MATHEMATICS = """
    exp exp2 expm1 log log2 log10 log1p logistic sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh
    erf erfc erf_inv lgamma digamma cbrt pow atan2 hypot logaddexp
    """
SUMS = "reduce_sum reduce_prod integer_pow rsqrt window_sum conv dot_general"
LIBRARY = "cholesky qr lu solve eigh svd pinv slogdet det cofactor"
ULPS = {name: ulps for ulps, names in [(4, MATHEMATICS), (8, SUMS), (200, LIBRARY)] for name in names.split()}


def parts(x):
    """Real and imaginary parts."""
    return [x.real, x.imag] if x.dtype.kind == "c" else [x]


def same(got, want, ulps=0):
    """Equal types and shapes; equal bits but for NaNs' own, or a distance of some units of the largest element."""
    got, want = np.asarray(got), np.asarray(want)
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    for a, b in zip(parts(got), parts(want), strict=True):
        if a.dtype.kind != "f":
            np.testing.assert_array_equal(a, b)
            continue
        near = (a == b) | (np.isnan(a) & np.isnan(b))
        if ulps:
            whole = ulps > 4 or got.dtype.kind == "c"
            size = np.max(np.abs(b[np.isfinite(b)]), initial=0) if whole else np.abs(b)
            near |= np.abs(a - b) <= ulps * np.spacing(np.where(np.isfinite(size), size, 1))
        else:
            near &= (np.signbit(a) == np.signbit(b)) | np.isnan(a)
        assert near.all(), f"{a[~near][:5]}, expected {b[~near][:5]}"


def outcome(f, *xs):
    """Results, or the class of the error."""
    try:
        return f(*xs)
    except (ValueError, ArithmeticError, IndexError) as error:
        return type(error)


def variants(primitive, xs, params, generator):
    """Operands as drawn, with float32 for float64, and both with special values."""
    yield xs
    if primitive.region or not any(x.dtype.kind in "fc" for x in xs):
        return
    change = {"f": np.dtype("f4"), "c": np.dtype("c8")}
    narrow = [x.astype(change.get(x.dtype.kind, x.dtype)) for x in xs]
    try:
        primitive.typeof(*[shaped(np.shape(x), x.dtype) for x in narrow], **params)
    except (DtypeError, ShapeError):
        narrow = None
    for ys in [xs] if narrow is None else [xs, narrow]:
        if ys is narrow:
            yield ys
        if ULPS.get(primitive.name, 0) < 200:  # libraries may find other nonsense in a matrix of NaNs
            yield [with_special(x, generator) for x in ys]


NUMBA = [pytest.param(p, "numba", id=f"{p.name} numba") for p in registry if p.name in {*RULES, *VIEWS, *REDUCTIONS}]


@pytest.mark.parametrize(("primitive", "backend"), [pytest.param(p, "native", id=p.name) for p in registry] + NUMBA)
@settings(**EXAMPLES)
@given(data=st.data())
@np.errstate(all="ignore")
def test_every_primitive_computes_what_run_does(primitive, backend, data):
    COVERED.add(primitive.name)
    draw = Draw(data.draw)
    xs, params = primitive.samples(draw)
    generator = np.random.default_rng(draw.integer(0, 2**32 - 1))
    f = jit(function(primitive, params), backend=backend)
    for ys in [xs] if backend == "numba" else variants(primitive, xs, params, generator):
        before = [np.array(y) for y in ys]
        want = outcome(lambda *zs: list(primitive.run(*zs, **params)), *ys)
        got = outcome(f, *ys)
        if isinstance(want, type):
            assert got is want
            continue
        if primitive.name == "mul0":  # a zero of either sign
            got, want = [y + 0 for y in got], [y + 0 for y in want]
        for a, b in zip(got, want, strict=True):
            same(a, b, ULPS.get(primitive.name, 0))
        for y, old in zip(ys, before, strict=True):
            assert np.asarray(y).tobytes() == old.tobytes(), "an operand was changed"


def test_every_primitive_was_drawn():
    if "PYTEST_XDIST_WORKER" not in os.environ:  # whose processes share the tests above
        assert COVERED in (set(), {p.name for p in registry})
    assert {p.name for p in registry} >= set(ULPS)


# --------------------------------------------------------------------------------------------------------------- rows


def layer_norm(x, axis):
    centred = x - np.mean(x, axis=axis, keepdims=True)
    return centred / np.sqrt(1e-3 + np.mean(centred * centred, axis=axis, keepdims=True))


ROWS = {
    "softmax": lambda x, axis: nn.softmax(x, axis=axis),
    "log_softmax": lambda x, axis: nn.log_softmax(x, axis=axis),
    "logsumexp": lambda x, axis: nn.logsumexp(x, axis=axis, keepdims=True) - x,
    "layer norm": layer_norm,
    "several": lambda x, axis: (
        np.sum(x, axis=axis),
        np.max(x, axis=axis, keepdims=True) * x,
        np.sum(x * x),
        np.sum(x, axis=0) + np.min(x, axis=0),
        np.any(x > 2, axis=axis),
    ),
}
SHAPES = [
    *[((3, n), axis) for n in (1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 24, 25, 33, 64, 70, 1000, 2047) for axis in (0, 1)],
    *[((65, n), 1) for n in (1, 3, 16, 24, 25, 40)],
    *[((2, n), 1) for n in (2048, 2049, 2050, 20000)],
    *[((4099, 3), axis) for axis in (0, 1)],
    *[((5, 6, 7), axis) for axis in (0, 1, 2, (0, 1), (0, 2), (1, 2), (0, 1, 2))],
    *[((2, 3, 4, 5), axis) for axis in ((1, 3), (0, 2), (2, 3), (0, 1, 3))],
    *[((1, 9, 1), axis) for axis in (0, 1, (1, 2))],
]


@pytest.mark.parametrize("name", ROWS)
def test_reductions_and_what_depends_on_them(name):
    """Values in float32 against NumPy in float64, at rows and columns of all lengths; bits for one and two threads."""
    rng = np.random.default_rng(0)
    threads = pool.get_num_threads()
    try:
        for shape, axis in SHAPES:
            x = rng.normal(size=shape).astype("f4")
            f = jit(lambda x, axis=axis: ROWS[name](x, axis))
            pool.set_num_threads(2)
            got = fgrad.tree.leaves(f(x))
            pool.set_num_threads(1)
            again = fgrad.tree.leaves(f(x))
            want = fgrad.tree.leaves(ROWS[name](x.astype("f8"), axis))
            for a, b, c in zip(got, again, want, strict=True):
                assert a.shape == np.shape(c)
                assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
                np.testing.assert_allclose(a, c, rtol=2e-5, atol=2e-5 * max(1, np.max(np.abs(c))), err_msg=f"{shape}")
    finally:
        pool.set_num_threads(threads)


@pytest.mark.parametrize("name", [n for n in ROWS if n != "several"])
def test_gradients_of_row_functions(name):
    rng = np.random.default_rng(1)
    for shape, axis in [s for s in SHAPES if math.prod(s[0]) < 20000][::4]:
        x, w = rng.normal(size=shape), rng.normal(size=shape)
        g = fgrad.grad(lambda x, w, axis=axis: np.sum(w * ROWS[name](x, axis)))
        np.testing.assert_allclose(jit(g)(x, w), g(x, w), rtol=1e-9, atol=1e-9, err_msg=f"{shape} {axis}")


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_sums_are_as_accurate_as_those_of_numpy(axis):
    rng = np.random.default_rng(2)
    for shape in [(1_000_000, 1), (1, 1_000_000), (1000, 1000), (100_000, 7), (7, 100_000)]:
        x = (rng.random(shape) + 0.1).astype("f4")
        exact = np.sum(x, axis=axis, dtype="f8")
        error = np.max(np.abs(jit(lambda x: np.sum(x, axis=axis))(x) - exact) / exact)
        assert error < 2e-6, shape


def test_a_sum_of_float64():
    x = np.random.default_rng(3).normal(size=1_000_000)
    exact = math.fsum(x)
    assert abs(jit(np.sum)(x) - exact) < 1e-11


# ------------------------------------------------------------------------------------------------------------ kernels


def compiled(f, *args):
    """How many kernels a first call compiles."""
    before = cache.counters.misses + cache.counters.disk_hits
    jit(f)(*args)
    return cache.counters.misses + cache.counters.disk_hits - before


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_division_of_a_row_by_one_number(dtype):
    rng, info, power = np.random.default_rng(0), np.finfo(dtype), {"f4": 15, "f8": 150}[dtype]
    tiny, least, large = info.tiny, info.smallest_subnormal, info.max
    special = [0, -0.0, np.inf, -np.inf, np.nan, large, -large, large / 3, tiny, least, -least, 3 * least, tiny / 3, 1]
    x, y = (rng.standard_normal(n) * 10.0 ** rng.uniform(-power, power, n) for n in ((500, 70), 500))
    x, y = x.astype(dtype), y.astype(dtype)
    x[:, : len(special)] = y[: len(special)] = special
    y = np.concatenate([y[:, None], np.zeros((500, 69), dtype)], 1)
    with np.errstate(all="ignore"):
        want = x / y.sum(1, keepdims=True)
    got = jit(lambda x, y: x / y.sum(1, keepdims=True))(x, y)
    np.testing.assert_array_equal(np.signbit(got[want == 0]), np.signbit(want[want == 0]))
    usual = (np.abs(x) > tiny * 2.0**60) | (x == 0) | np.isnan(x)
    differ = (got != want) & ~(np.isnan(got) & np.isnan(want))
    assert differ[usual].mean() < 1e-4  # correctly rounded, but for one in millions in float32
    ends = differ & ~(np.isfinite(got) & np.isfinite(want))
    assert not ends.any()
    np.testing.assert_array_max_ulp(got[np.isfinite(want)], want[np.isfinite(want)], 1)


def test_another_batch_size_compiles_nothing():
    def step(w, b, x, y):
        def loss(w, b):
            return -np.mean(np.sum(y * nn.log_softmax(np.tanh(x @ w + b)), axis=1))

        return fgrad.grad(loss, argnums=(0, 1))(w, b)

    rng = np.random.default_rng(0)
    w, b = rng.normal(size=(40, 30)), rng.normal(size=30)

    def call(n):
        return compiled(step, w, b, rng.normal(size=(n, 40)), rng.random((n, 30)))

    assert call(800) > 0
    assert [call(n) for n in (600, 1000, 517)] == [0, 0, 0]


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x[1:] - x[:-1],
        lambda x: np.pad(x, (1, 2)),
        lambda x: np.roll(x, 3),
        lambda x: np.concatenate([x, np.sin(x[2:])]),
        fgrad.grad(lambda x: np.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)),
        fgrad.grad(lambda x: np.sum(x[::2] ** 2)),
        lambda x: np.roll(np.stack([x, -x], 1), 1, axis=0),
    ],
)
def test_borders_inside_an_array_are_no_constants_of_a_kernel(f):
    compiled(f, np.arange(1000.0))
    assert [compiled(f, np.arange(float(n))) for n in (1200, 514)] == [0, 0]
    for n in (1201, 13, 4):
        x = np.linspace(-1, 2, n)
        np.testing.assert_allclose(jit(f)(x), f(x), rtol=1e-12, atol=1e-12)


def test_short_vectors_share_a_kernel():
    difference = lambda x: 3.0 * x[1:] - x[:-1]  # noqa: E731
    f = fgrad.grad(lambda x: np.sum(difference(x) ** 3))
    assert compiled(f, np.arange(10.0)) > 0
    assert [compiled(f, np.arange(float(n))) for n in (12, 5, 100)] == [0, 0, 0]


def test_equal_layers_compile_once():
    def network(depth):
        def f(x, ws):
            for k in range(depth):
                x = x + np.tanh(x @ ws[k] * 1.7)
            return x

        return f

    rng = np.random.default_rng(0)
    x, ws = rng.normal(size=(33, 21)), rng.normal(size=(50, 21, 21)) / 9
    few = compiled(network(3), x, ws[:3])
    assert few > 0
    many = compiled(network(50), x, ws)
    assert many <= few + 1  # the first slice of the stack, the second, and all others
    np.testing.assert_allclose(jit(network(50))(x, ws), network(50)(x, ws), rtol=1e-9)
