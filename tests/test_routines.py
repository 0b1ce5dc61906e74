"""Equations with native loops of their own, against NumPy: same values, same errors, and no needless copy.

What to expect comes from NumPy functions, or from loops over single elements.
"""

import numpy as np
import pytest

import fgrad
from fgrad.core.primitive import registry as p

RUNNING = {
    "cumsum": np.add.accumulate,
    "cumprod": np.multiply.accumulate,
    "cummax": np.maximum.accumulate,
    "cummin": np.minimum.accumulate,
}
SCATTERS = {
    "scatter": lambda x, i, u: x.__setitem__(i, u),
    "scatter_add": np.add.at,
    "scatter_mul": np.multiply.at,
    "scatter_min": np.minimum.at,
    "scatter_max": np.maximum.at,
}
# every way to go through (outer, n, inner): lanes across columns, in blocks or not; lanes across rows; few as scalars
SHAPES = [(1,), (7,), (5000,), (9, 2100), (40, 30), (3, 5), (20, 3, 2), (2, 6, 1030), (100, 1)]


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def values(rng, shape, dtype):
    """Of floats also zeros of both signs, infinities and a NaN."""
    dtype = np.dtype(dtype)
    if dtype.kind in "iu":
        return rng.integers(0, 100, shape).astype(dtype)
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    x = rng.standard_normal(shape).astype(dtype)
    if dtype.kind == "c":
        return x + np.asarray(1j * rng.standard_normal(shape), dtype)
    if x.size > 20:
        x.flat[rng.integers(0, x.size, 8)] = [0.0, -0.0, 0.0, -0.0, np.inf, -np.inf, np.nan, 5e-324]
    return x


def native(f, *xs, **options):
    """The result of jit, which must not call NumPy."""
    jitted = fgrad.jit(f, **options)
    assert "NumPy" not in jitted.lower(*xs).as_text("steps")
    return jitted(*xs)


def same(got, want):
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got, want)


# -------------------------------------------------------------------------------------------------- running reductions


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "u1", "i8", "c8"])
@pytest.mark.parametrize("shape", SHAPES)
def test_running_reductions(rng, shape, dtype):
    x = values(rng, shape, dtype)
    for name, f in RUNNING.items():
        if x.dtype.kind == "c" and name != "cumsum":
            continue
        for axis in range(len(shape)):
            with np.errstate(all="ignore"):
                forth, back = f(x, axis, x.dtype), np.flip(f(np.flip(x, axis), axis, x.dtype), axis)
            same(native(lambda x: getattr(p, name)(x, axis=axis, reverse=False), x), forth)  # noqa: B023
            same(native(lambda x: getattr(p, name)(x, axis=axis, reverse=True), x), back)  # noqa: B023


@pytest.mark.parametrize("name", ["cummax", "cummin"])
def test_running_extremes_of_booleans(rng, name):
    x = values(rng, (30, 40), bool)
    for axis in (0, 1):
        same(native(lambda x: getattr(p, name)(x, axis=axis, reverse=False), x), RUNNING[name](x, axis))  # noqa: B023


def test_a_running_sum_keeps_negative_zero():
    for shape in ((3,), (3, 20), (20, 3)):
        axis = int(shape == (20, 3))
        got = native(lambda x: p.cumsum(x, axis=axis, reverse=False), np.full(shape, -0.0))  # noqa: B023
        assert np.signbit(got).all()


@pytest.mark.parametrize("shape", [(50,), (12, 9), (9, 12), (4, 3)])
def test_running_log_sum_exp(rng, shape):
    x = rng.standard_normal(shape) * 10
    x.flat[:3] = -np.inf
    for axis in range(len(shape)):
        got = native(lambda x: p.cumlogsumexp(x, axis=axis, reverse=False), x)  # noqa: B023
        np.testing.assert_allclose(got, np.logaddexp.accumulate(x, axis), rtol=1e-14)


def test_one_kernel_for_all_large_shapes(rng):
    programs = [fgrad.jit(np.cumsum).lower(np.zeros(n)).as_text("nests") for n in (1000, 1001)]
    names = [text.split()[1] for text in programs]
    assert names[0] == names[1]


# ----------------------------------------------------------------------------------------------------- first extremes


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "i8", "u1", "b1"])
@pytest.mark.parametrize("shape", SHAPES)
def test_first_extremes(rng, shape, dtype):
    plain = rng.integers(0, 9, shape).astype(dtype)  # with repeated extremes
    special = values(rng, shape, dtype)
    for axis in range(len(shape)):
        largest = fgrad.jit(lambda x: p.argmax(x, axis=axis))  # noqa: B023
        smallest = fgrad.jit(lambda x: p.argmin(x, axis=axis))  # noqa: B023
        assert "NumPy" not in largest.lower(plain).as_text("steps")
        for x in (plain, special, np.zeros_like(plain)):
            same(np.asarray(largest(x)), np.asarray(np.argmax(x, axis)))
            same(np.asarray(smallest(x)), np.asarray(np.argmin(x, axis)))


@pytest.mark.parametrize("shape", [(3000,), (30,), (20, 30), (200, 3)])
@pytest.mark.parametrize(
    "row", [[np.nan, np.inf], [1.0, np.nan, np.nan], [-np.inf], [-0.0, 0.0], [0.0, -0.0], [np.inf]]
)
def test_the_first_of_special_values(shape, row):
    for dtype in ("f4", "f8"):
        for place in (0, 2, shape[0] - len(row)):
            x = np.full(shape, -np.inf, dtype)
            x[place : place + len(row)] = np.reshape(row, (-1, *[1] * (len(shape) - 1)))
            same(np.asarray(native(lambda x: p.argmax(x, axis=0), x)), np.asarray(np.argmax(x, 0)))
            same(np.asarray(native(lambda x: p.argmin(x, axis=0), -x)), np.asarray(np.argmin(-x, 0)))
            if len(shape) > 1:
                flipped = np.ascontiguousarray(x.T)
                same(native(lambda x: p.argmax(x, axis=1), flipped), np.argmax(flipped, 1))


# ---------------------------------------------------------------------------------------------------- writes at indices


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "u1", "b1", "c8"])
@pytest.mark.parametrize("name", SCATTERS)
def test_scatters(rng, name, dtype):
    if dtype == "c8" and name not in ("scatter", "scatter_add"):
        return
    for shape, axes, lead in [
        ((50,), (0,), (400,)),  # many to the same place
        ((20, 70), (0,), (30,)),  # rows
        ((7, 90), (1,), (5, 40)),  # elements of rows
        ((6, 7, 3), (0, 2), (25,)),  # an axis between
        ((6, 7, 3), (0, 1, 2), (60,)),
        ((4, 5, 300), (1,), ()),
    ]:
        x = values(rng, shape, dtype)
        rest = tuple(n for a, n in enumerate(shape) if a not in axes)
        u = values(rng, lead + rest, dtype)
        indices = [rng.integers(-shape[a], shape[a], lead) for a in axes]
        want = x.copy()
        front = np.moveaxis(want, axes, range(len(axes)))
        with np.errstate(all="ignore"):
            SCATTERS[name](front, tuple(indices), u)
        f = lambda x, u, *i: getattr(p, name)(x, u, *i, axes=axes, mode="raise")  # noqa: B023, E731
        same(native(f, x, u, *indices), want)


def test_a_scatter_drops_what_lies_outside(rng):
    x, u = np.zeros((5, 30)), values(rng, (200, 30), "f8")
    i = rng.integers(-9, 9, 200)
    want = x.copy()
    for n in range(200):
        if -5 <= i[n] < 5:
            want[i[n]] += u[n]
    same(native(lambda x, u, i: p.scatter_add(x, u, i, axes=(0,), mode="drop"), x, u, i), want)


def test_no_updates_give_the_array():
    x = np.arange(6.0)
    i, u = np.zeros(0, int), np.zeros(0)
    got = native(lambda x, u, i: p.scatter_add(x, u, i, axes=(0,), mode="raise"), x, u, i)
    same(got, x)
    assert not np.shares_memory(got, x)


@pytest.mark.parametrize("index", [np.int64(-51), np.int64(50), np.uint64(2**64 - 1), np.uint8(200)])
def test_an_index_outside_raises(index):
    f = fgrad.jit(lambda x, u, i: p.scatter_add(x, u, i, axes=(0,), mode="raise"))
    i = np.full(30, 7, index.dtype)
    i[20] = index
    with pytest.raises(IndexError, match=f"index {index} is out of bounds for axis 0 with size 50"):
        f(np.zeros(50), np.ones(30), i)


def test_all_indices_are_checked_before_the_first_write():
    f = fgrad.jit(lambda x, u, i: p.scatter_add(x, u, i, axes=(0,), mode="raise"), donate_argnums=0)
    x, i = np.zeros(5000), np.arange(100)
    i[99] = 5000
    with pytest.raises((IndexError, RuntimeError)):
        f(x, np.ones(100), i)
    assert not x.any()


@pytest.mark.parametrize("dtype", ["f4", "i8", "b1", "c16", "u1"])
@pytest.mark.parametrize("name", ["dynamic_update_slice", "dynamic_add_slice"])
def test_windows(rng, name, dtype):
    for shape, sizes, strides, starts in [
        ((3000,), (7,), (1,), [5]),
        ((3000,), (20,), (2,), [2990]),  # clamped
        ((60, 50), (2, 50), (1, 1), [-3, 4]),
        ((60, 50), (5, 9), (1, 1), [50, 45]),
        ((60, 50), (5, 9), (3, 2), [50, 1]),
        ((40, 6, 20), (3, 6, 20), (2, 1, 1), [4, 0, 0]),
        ((40, 6, 20), (1, 2, 20), (1, 1, 1), [4, 1, 3]),
        ((40, 60), (1, 1), (1, 1), [39, 59]),
    ]:
        x, u = values(rng, shape, dtype), values(rng, sizes, dtype)
        want = x.copy()
        spans = [(m - 1) * step + 1 for m, step in zip(sizes, strides, strict=True)]
        first = [min(max(s, 0), n - span) for s, n, span in zip(starts, shape, spans, strict=True)]
        window = tuple(slice(a, a + span, step) for a, span, step in zip(first, spans, strides, strict=True))
        with np.errstate(all="ignore"):
            want[window] = u if name == "dynamic_update_slice" else want[window] + u
        f = lambda x, u, *s: getattr(p, name)(x, u, *s, strides=strides)  # noqa: B023, E731
        same(native(f, x, u, *map(np.int64, starts)), want)


def test_a_window_beyond_an_unsigned_start():
    x, start = np.zeros(3000), np.uint64(2**63 + 1)
    got = native(lambda x, u, s: p.dynamic_update_slice(x, u, s, strides=(1,)), x, np.ones(4), start)
    assert got[-4:].all() and got.sum() == 4


# ----------------------------------------------------------------------------------------------------------- in place


def test_no_copy_where_the_operand_dies():
    i = np.arange(10)

    def f(x, u):
        for n in range(3):
            x = p.scatter_add(x + 1, u, i + n, axes=(0,), mode="raise")
        return x

    lowered = fgrad.jit(f).lower(np.zeros(5000), np.ones(10))
    assert "copy" not in lowered.as_text("plan")
    want = np.full(5000, 3.0)
    for n in range(3):
        want[n : n + 10] += 1
    same(fgrad.jit(f)(np.zeros(5000), np.ones(10)), want)


def test_a_copy_where_the_operand_lives_on():
    f = fgrad.jit(lambda x, u: (p.dynamic_update_slice(x, u, np.int64(1), strides=(1,)), x * 2))
    x = np.arange(5000.0)
    changed, doubled = f(x, np.zeros(2))
    assert x[1] == 1 and (changed[:4] == [0, 0, 0, 3]).all()
    same(doubled, x * 2)


def test_an_array_scattered_into_itself():
    f = fgrad.jit(lambda x, i: p.scatter_add(x * 1, x * 1, i, axes=(0,), mode="raise"))
    x, i = np.arange(2000.0), np.arange(2000)[::-1].copy()
    same(f(x, i), x + x[::-1])


def test_a_donated_array_is_written_itself():
    f = fgrad.jit(lambda x, u, i: p.scatter(x, u, i, axes=(0,), mode="raise"), donate_argnums=0)
    x, u, i = np.zeros((100, 50)), np.ones((3, 50)), np.array([4, 5, 99])
    assert "copy" not in f.lower(x, u, i).as_text("plan")
    got = f(x, u, i)
    assert got is x and got.sum() == 150


def test_a_loop_of_updates_with_known_indices():
    def f(x):
        for n in range(40):
            x = fgrad.at(x)[n * 20].set(n)
        return x

    want = np.zeros(5000)
    want[: 40 * 20 : 20] = np.arange(40)
    same(fgrad.jit(f)(np.zeros(5000)), want)


@pytest.mark.parametrize("shape, axis", [((1000,), 0), ((40, 50), 0), ((40, 50), 1), ((3, 4, 5), 1)])
def test_sort(rng, shape, axis):
    x = values(rng, shape, "f4")
    before = x.copy()
    same(fgrad.jit(lambda x: p.sort(x, axis=axis, num_keys=1))(x), np.sort(x, axis))
    same(x, before)


# ------------------------------------------------------------------------------------------------------- other routines


def test_linear_algebra_is_native_and_fails_as_numpy(rng):
    a = rng.standard_normal((5, 8, 8))
    a = a @ a.transpose(0, 2, 1)
    np.testing.assert_allclose(native(np.linalg.cholesky, a), np.linalg.cholesky(a), rtol=1e-12)
    np.testing.assert_allclose(native(np.linalg.inv, a), np.linalg.inv(a), rtol=1e-6)
    a[3] *= -1
    with pytest.raises(np.linalg.LinAlgError, match="Matrix is not positive definite"):
        fgrad.jit(np.linalg.cholesky)(a)


def test_the_python_renderer_agrees(rng):
    x, u, i = values(rng, (30, 40), "f8"), values(rng, (50, 40), "f8"), rng.integers(-30, 30, 50)

    def f(x, u, i):
        y = p.scatter_add(x, u, i, axes=(0,), mode="raise")
        return p.cumsum(y, axis=1, reverse=True), p.argmax(y, axis=0), p.argmin(y, axis=1)

    for got, want in zip(fgrad.jit(f, backend="numba")(x, u, i), fgrad.jit(f)(x, u, i), strict=True):
        same(got, want)
