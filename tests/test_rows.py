"""Scans cut in blocks of rows: against NumPy calls, for any number of threads, and where the rows may not be parted."""

import _thread
import threading
import time

import numpy as np
import pytest

import fgrad
import fgrad.numpy as fnp
from fgrad import lax
from fgrad.compile import executable, loops, rows

RNG = np.random.default_rng(7)
T, B, W = 12, 32, 20


def array(*shape, dtype="float64"):
    return RNG.normal(size=shape).astype(dtype) * 0.3


@pytest.fixture(autouse=True)
def eager(monkeypatch):
    """Short loops are cut as well, and nothing is taken over from other tests."""
    monkeypatch.setattr(rows, "WORTH", 0)
    monkeypatch.setattr(executable, "_KNOWN", {})


@pytest.fixture
def threads():
    before = fgrad.get_num_threads()
    yield
    fgrad.set_num_threads(before)


def cut(f, *args):
    """How many scans of a function are cut."""
    return sum("blocks of rows" in line for line in fgrad.jit(f).lower(*args).as_text("steps").splitlines())


def agree(f, *args, tolerance=1e-12):
    """Compare with NumPy calls, and the bits with those of other numbers of threads."""
    expected = fgrad.tree.leaves(fgrad.jit(f, backend="interpreter")(*args))
    found = []
    for count in (1, 2, 3):
        fgrad.set_num_threads(count)
        found.append(fgrad.tree.leaves(fgrad.jit(f)(*args)))
    for got, others, wanted in zip(found[0], zip(*found[1:], strict=True), expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)
        assert got.dtype == wanted.dtype
        for other in others:
            assert got.tobytes() == other.tobytes()


def scanned(step, **settings):
    return lambda start, xs: lax.scan(step, start, xs, **settings)


V, BIAS = array(W, W), array(W)


def recurrent(h, x):
    h = fnp.tanh(h @ V + x + BIAS)
    return h, h


def gates(state, x):
    h, c = state
    i, f = fnp.split(h @ array(W, 2 * W) + 1.0, 2, axis=-1)
    c = fgrad.nn.sigmoid(f) * c + fgrad.nn.sigmoid(i) * x
    return (fnp.tanh(c), c), h


def counted(state, x):
    h, n, total = state
    h = fnp.tanh(h @ V + x) / (n + 1.0)
    return (h, n + 1.0, total + fnp.sum(h * h)), h[:, 3:7]


def attentive(h, x):
    weights = fgrad.nn.softmax(h @ V, axis=-1)
    return fnp.concatenate([weights * x, x[:, :3]], axis=1)[:, 3:] + fnp.max(h, axis=1, keepdims=True), weights.T.T


def summed(state, x):
    h, outer = state
    h = fnp.tanh(h @ V + x)
    return (h, outer + fnp.sum(h * x, axis=0)), h


H, XS = array(B, W), array(T, B, W)


@pytest.mark.parametrize(
    "f, args",
    [
        (scanned(recurrent), (H, XS)),
        (scanned(recurrent, reverse=True), (H, XS)),
        (scanned(gates), ((H, H + 1.0), XS)),
        (scanned(counted), ((H, np.float64(2.0), np.float64(0.5)), XS)),
        (scanned(attentive), (H, XS)),
        (scanned(summed), ((H, array(W)), XS)),
    ],
    ids=["recurrent", "backwards", "gates", "a counter and a sum", "softmax and parts", "a sum over rows"],
)
def test_values(f, args, threads):
    assert cut(f, *args) == 1
    agree(f, *args)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [16, 24, 40, 50])
def test_gradients(dtype, size, threads):
    params = {"w": array(W, W, dtype=dtype), "b": array(W, dtype=dtype), "mask": array(size, W, dtype=dtype)}

    def loss(params, h, xs):
        step = lambda h, x: (fnp.tanh(h @ params["w"] + x * params["mask"] + params["b"]),) * 2  # noqa: E731
        return fnp.mean(lax.scan(step, h, xs)[1] ** 2)

    f = fgrad.grad(loss, argnums=(0, 1))
    args = params, array(size, W, dtype=dtype), array(T, size, W, dtype=dtype)
    assert cut(f, *args) == 2
    agree(f, *args, tolerance=1e-5 if dtype == "float32" else 1e-12)


def test_a_batch_as_wide_as_its_arrays(threads):
    def f(h, xs, w, b):
        step = lambda state, x: ((h := fnp.tanh(state[0] @ w + x), state[1] + fnp.sum(h, 0)), h)  # noqa: E731
        return lax.scan(step, (h, b), xs)

    args = array(16, 16), array(T, 16, 16), array(16, 16), array(16)
    assert cut(f, *args) == 1
    agree(f, *args)


@pytest.mark.parametrize(
    "step",
    [
        lambda h, x: (fnp.tanh(h @ V + x - fnp.mean(h, axis=0)), h),
        lambda h, x: (fnp.cumsum(h @ V, axis=0) * 0.1, x),
        lambda h, x: (fnp.flip(h @ V, axis=0), x),
        lambda h, x: (fnp.tanh(h @ V + x), fnp.sum(h, axis=0)),
        lambda h, x: (fnp.tanh(h @ (x.T @ h) * 0.02), h),
        lambda h, x: (fnp.tanh((h @ V)[::-1] + x), h),
        lambda h, x: (fnp.reshape(h @ V, (W, B)).T + x, h),
    ],
)
def test_rows_that_belong_together(step, threads):
    f = scanned(step)
    assert cut(f, H, XS) == 0
    agree(f, H, XS)


def test_sizes_without_equal_parts():
    for size in (1, 8, 15, 31, 34 * 17):
        blocks = rows.blocks_of(size)
        assert blocks == 0 or (size % blocks == 0 and rows.LEAST <= size // blocks <= rows.MOST)
    assert not cut(scanned(recurrent), array(31, W), array(T, 31, W))


def test_little_work_is_not_cut(monkeypatch):
    monkeypatch.undo()
    assert not cut(scanned(recurrent), H, XS)
    assert cut(scanned(recurrent), array(64, W), array(400, 64, W)) == 1


def test_segments(monkeypatch, threads):
    monkeypatch.setattr(loops, "ALONE", 3000.0)
    agree(fgrad.grad(lambda h, xs: fnp.sum(scanned(recurrent)(h, xs)[1] ** 2), argnums=(0, 1)), H, XS)


def test_bodies_that_call_numpy(threads):
    w = array(W, W) + 1j * array(W, W)
    f = scanned(lambda h, x: ((h @ w + x) * 0.5, h))
    args = H.astype(complex), XS.astype(complex)
    assert cut(f, *args) == 1
    agree(f, *args)


def test_a_loop_in_a_loop(threads):
    def f(h, xs):
        return lax.scan(lambda h, n: scanned(recurrent)(h * n, xs), h, np.array([0.5, 0.7, 0.9]))

    assert cut(f, H, XS) == 1
    agree(f, H, XS)


def test_zeros_win_over_infinities_in_one_block(threads):
    def loss(h, xs):
        def step(h, x):
            safe = fnp.where(x > 0, fnp.log(x), 0.0)
            return fnp.tanh(h @ V + safe), fnp.sum(safe, axis=1)

        return fnp.sum(lax.scan(step, h, xs)[0])

    xs = np.abs(XS) + 0.1
    xs[5, 27, 3] = 0.0
    agree(fgrad.grad(loss, argnums=1), H, xs)


def test_an_interrupt(threads):
    f = fgrad.jit(lambda h, w: lax.scan(lambda h, _: (fnp.tanh(h @ w), None), h, None, length=10**8)[0])
    f.lower(H, V).compile()
    for count in (1, 2):
        fgrad.set_num_threads(count)
        timer = threading.Timer(0.2, _thread.interrupt_main)
        timer.start()
        start = time.perf_counter()
        with pytest.raises(KeyboardInterrupt):
            f(H, V)
        timer.join()
        assert time.perf_counter() - start < 20  # on any machine
    g = fgrad.jit(lambda h, w: lax.scan(lambda h, _: (fnp.tanh(h @ w), None), h, None, length=3)[0])
    np.testing.assert_allclose(g(H, V), np.tanh(np.tanh(np.tanh(H @ V) @ V) @ V), rtol=1e-12)
