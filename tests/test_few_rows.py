"""Products of few rows in kernels of our own: against NumPy in double precision, on every shape of tile."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from kernels import _THUNK

import fgrad
from fgrad import lax
from fgrad.compile import code, few_rows, render_python
from fgrad.compile.dot import plan_dot
from fgrad.compile.layouts import Layout
from fgrad.compile.native import pool

ROWS, COLUMNS, SUMS = (
    (1, 2, 3, 5, 8, 9, 15, 17, 33, 64),
    (4, 5, 16, 17, 31, 33, 64, 70, 100, 130),
    (1, 2, 3, 16, 40, 100),
)


class Case:
    """A product alpha · x w + beta · c of random operands; `flipped`: x is the transpose of what is in memory."""

    def __init__(self, m, k, n, dtype="float32", flipped=False, count=1, alpha=1, beta=0, seed=0):
        rng = np.random.default_rng(seed)
        draw = lambda *shape: rng.normal(size=(count, *shape)).astype(dtype)  # noqa: E731
        self.x, self.w, self.c = draw(m, k), draw(k, n), draw(m, n)
        self.alpha, self.beta = alpha, beta
        stored = Layout.contiguous(self.x.shape)
        if flipped:
            stored = Layout(self.x.shape, (m * k, 1, m))
        self.flipped = flipped
        where = (((2,), (1,)), ((0,), (0,)))
        plan = plan_dot(stored, Layout.contiguous(self.w.shape), np.dtype(dtype), *where, alpha, beta)
        assert plan.copies == (None, None)
        self.launch = few_rows.launch(plan.product)

    def operands(self):
        """Arrays as they are in memory; what the product is written to holds NaN where it is not read."""
        x = np.ascontiguousarray(self.x.swapaxes(1, 2)) if self.flipped else self.x.copy()
        return [x, self.w.copy(), self.c.copy() if self.beta else np.full_like(self.c, np.nan)]

    def native(self, cuts=()):
        """Run as machine code, in pieces that end at `cuts`."""
        arrays, dims = self.operands(), np.array([*self.launch.dims, 0], np.int64)
        run = _THUNK(code.addresses([self.launch.kernel], [], "native")(self.launch.kernel.name))
        context, pointers = np.zeros(8, np.int64), np.array([a.ctypes.data for a in arrays], np.uint64)
        for begin, end in itertools.pairwise([0, *cuts, self.launch.extent]):
            assert run(context.ctypes.data, pointers.ctypes.data, dims.ctypes.data, begin, end) == 0
        return arrays[2]

    def in_python(self):
        """Run as plain Python."""
        arrays, dims = self.operands(), np.array([*self.launch.dims, 0], np.int64)
        run = render_python.function(self.launch.kernel)
        with np.errstate(all="ignore"):
            assert run(*[a.reshape(-1) for a in arrays], dims, np.int64(0), np.int64(self.launch.extent))[0] == 0
        return arrays[2]

    def check(self, got):
        """The error is that of rounding each term and each sum once."""
        x, w, c = (a.astype(np.float64) for a in (self.x, self.w, self.c))
        exact = self.alpha * (x @ w) + self.beta * c
        size = abs(self.alpha) * (abs(x) @ abs(w)) + abs(self.beta * c)
        assert got.dtype == self.x.dtype
        assert (abs(got - exact) <= (self.x.shape[2] + 4) * np.finfo(got.dtype).eps * size).all()


def drawn(seed):
    rng = np.random.default_rng(seed)
    m, k, n = (int(rng.choice(sizes)) for sizes in (ROWS, SUMS, COLUMNS))
    dtype = str(rng.choice(["float32", "float64"]))
    return Case(m, k, n, dtype, bool(rng.random() < 0.4), int(rng.choice([1, 1, 3])), seed=seed)


@pytest.mark.parametrize("seed", range(60))
def test_products_of_any_shape(seed):
    case = drawn(seed)
    case.check(case.native())


@pytest.mark.parametrize("m", ROWS)
@pytest.mark.parametrize("n", [3, 17, 33, 70, 100])
@pytest.mark.parametrize("factors", [(1, 1), (-0.1, 1), (0.5, 0.25)], ids=str)
def test_what_is_added_to_is_read_once(m, n, factors):
    for dtype in ("float32", "float64"):
        case = Case(m, 7, n, dtype, m % 2 == 0, 1, *factors)
        case.check(case.native())


@pytest.mark.parametrize("beta", [0, 1, 0.5])
@pytest.mark.parametrize("m, n", [(9, 4), (9, 70), (16, 32), (64, 33)])
def test_long_sums_are_added_up_in_blocks(m, n, beta):
    for dtype in ("float32", "float64"):
        case = Case(m, few_rows.LONG + 100, n, dtype, n == 4, 1, 0.5, beta)
        case.check(case.native())


def test_blocks_make_long_sums_more_accurate():
    n = 1 << 13
    case = Case(4, n, 4)
    case.x, case.w = np.full_like(case.x, 0.1), np.ones_like(case.w)
    exact = float(np.float32(0.1)) * n
    in_turn = np.add.accumulate(np.full(n, 0.1, np.float32))[-1]
    assert abs(case.native() - exact).max() < abs(in_turn - exact) / 4


@pytest.mark.parametrize("seed", range(100, 112))
def test_both_renderers_give_the_same_bits(seed):
    rng = np.random.default_rng(seed)
    m, k, n = int(rng.choice([1, 3, 9, 12])), int(rng.choice([1, 5, 8])), int(rng.choice([4, 17, 33]))
    case = Case(m, k, n, str(rng.choice(["float32", "float64"])), seed % 2 == 0, beta=float(seed % 3 == 0), seed=seed)
    np.testing.assert_array_equal(case.native(), case.in_python())


@pytest.mark.parametrize("beta", [0, 1])
def test_parts_give_the_same_bits(beta):
    case = Case(17, 20, 150, count=3, beta=beta)
    assert case.launch.extent >= 6
    np.testing.assert_array_equal(case.native(), case.native(range(1, case.launch.extent)))


def test_threads_give_the_same_bits():
    case = Case(16, 250, 900)
    assert case.launch.extent > case.launch.grain  # there are parts to hand out
    product = fgrad.jit(lambda x, w: x @ w)
    x, w = case.x[0], case.w[0]
    before = pool.get_num_threads()
    results = []
    for threads in (1, 2, 4):
        pool.set_num_threads(threads)
        results.append(product(x, w))
    pool.set_num_threads(before)
    case.check(results[0])
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_special_values_reach_what_they_belong_to_and_nothing_else(dtype):
    for m, n in ((1, 7), (9, 33), (12, 70)):
        case = Case(m, 20, n, dtype)
        case.x[0, -1, 3], case.w[0, 5, 1], case.w[0, 6, -1], case.x[0, 0, 9] = np.inf, np.nan, -np.inf, -0.0
        case.w[0, 3, 2] = 0
        with np.errstate(invalid="ignore"):
            np.testing.assert_allclose(case.native(), case.x @ case.w, rtol=1e-4, atol=1e-4)


def test_another_batch_size_needs_no_other_kernel():
    names = {Case(m, 200, 200).launch.kernel.name for m in (17, 24, 32, 45, 64)}
    assert len(names) == 1
    assert len({Case(30, k, 200, flipped=True).launch.kernel.name for k in (300, 1000, 2000)}) == 1
    assert {Case(32, k, n).launch.kernel.name for k, n in ((200, 300), (300, 200), (300, 480))} == names


def test_which_products_are_the_librarys():
    def kernel(x, w, contract=((1,), (0,)), dtype="float32"):
        plan = plan_dot(Layout.contiguous(x), Layout.contiguous(w), np.dtype(dtype), contract, ((), ()))
        return few_rows.few_rows(plan.product)

    assert kernel((32, 64), (64, 64)) is not None
    assert kernel((32, 64), (64, 64), dtype="complex64") is None
    assert kernel((32, 64), (64, 64), ((1,), (1,))) is None  # the rows of the right operand are not in one piece
    assert kernel((512, 64), (64, 64)) is None
    assert kernel((32, 64), (64, 4)) is None
    assert kernel((4, 8), (8, 4)) is not None
    assert kernel((32, 4096), (4096, 4096)) is None
    assert kernel((32, 0), (0, 64)) is None


def test_a_recurrent_network_and_its_gradient():
    rng = np.random.default_rng(0)
    w, xs = rng.normal(size=(24, 24)) / 5, rng.normal(size=(12, 9, 24))

    def loss(w, xs):
        step = lambda h, x: (np.tanh(h @ w + x), None)  # noqa: E731
        return (lax.scan(step, np.zeros((9, 24)), xs)[0] ** 2).sum()

    found = fgrad.jit(fgrad.grad(loss))(w, xs)
    h, steps = np.zeros((9, 24)), []
    for x in xs:
        steps.append(h)
        h = np.tanh(h @ w + x)
    d, want = 2 * h, 0
    for before, x in zip(reversed(steps), reversed(xs), strict=True):
        d = d * (1 - np.tanh(before @ w + x) ** 2)
        want, d = want + before.T @ d, d @ w.T
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    "k, m, n, dtype", [(3000, 64, 64, "float32"), (2900, 61, 40, "float32"), (4000, 40, 20, "float64")]
)
def test_rows_of_one_panel_on_several_threads(k, m, n, dtype):
    rng = np.random.default_rng(1)
    x, w = rng.normal(size=(k, m)).astype(dtype), rng.normal(size=(k, n)).astype(dtype)
    p = plan_dot(Layout((m, k), (1, m)), Layout.contiguous((k, n)), np.dtype(dtype), ((1,), (0,)), ((), ())).product
    made, before, found = few_rows.launch(p), fgrad.get_num_threads(), []
    across = few_rows.tile_of(p).across
    assert made.extent > across or across >= few_rows.UNITS
    try:
        for threads in (1, 2, 3):
            fgrad.set_num_threads(threads)
            found.append(fgrad.jit(lambda x, w: x.T @ w)(x, w))
    finally:
        fgrad.set_num_threads(before)
    assert found[0].tobytes() == found[1].tobytes() == found[2].tobytes()
    np.testing.assert_allclose(found[0], x.astype(float).T @ w, rtol=0, atol=k * np.finfo(dtype).eps)
