"""What compiled functions do with arguments of every layout, with donated memory, errors, threads and interrupts."""

import _thread
import gc
import threading
import time

import numpy as np
import pytest

import fgrad
import fgrad.numpy as fnp
from fgrad import jit, nn
from fgrad.compile import cache
from fgrad.compile.engine import CompileError
from fgrad.compile.executable import KernelWarning
from fgrad.core.errors import FgradError, LeafError, OutOfBoundsError

RNG = np.random.default_rng(0)
X, W = RNG.normal(size=(12, 10)), RNG.normal(size=(12, 10))


def work(x):
    """Kernels, a product, a NumPy call."""
    return {"a": np.sin(x) * 2 + np.sum(x, axis=0), "b": x @ x.T, "c": np.sort(x, axis=0)}


def same(got, want):
    """Equal results, each of which is the caller's own."""
    got, want = fgrad.tree.leaves(got), fgrad.tree.leaves(want)
    for i, (a, b) in enumerate(zip(got, want, strict=True)):
        assert isinstance(a, np.ndarray) == isinstance(b, np.ndarray)
        assert a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
        if type(a) is np.ndarray:
            assert a.flags.carray and a.flags.owndata and a.base is None
            assert not any(np.shares_memory(a, other) for other in got[:i])


# ----------------------------------------------------------------------------------------------------------- arguments


class Sub(np.ndarray):
    pass


def unaligned(x):
    memory = np.empty(x.nbytes + 1, np.uint8)
    y = memory[1:].view(x.dtype).reshape(x.shape)
    y[...] = x
    return y


def read_only(x):
    y = x.copy()
    y.flags.writeable = False
    return y


LAYOUTS = {
    "contiguous": np.copy,
    "Fortran": np.asfortranarray,
    "reversed": lambda x: x[::-1, ::-1],
    "strided": lambda x: np.repeat(np.repeat(x, 2, 0), 3, 1)[::2, ::3],
    "byte-swapped": lambda x: x.astype(">f8"),
    "byte-swapped Fortran": lambda x: np.asfortranarray(x.astype(">f8")),
    "read-only": read_only,
    "unaligned": unaligned,
    "subclass": lambda x: x.copy().view(Sub),
    "matrix": lambda x: x.copy().view(np.matrix),
    "broadcast": lambda x: np.broadcast_to(x[0], x.shape),
    "view": lambda x: np.concatenate([x, x])[: len(x)],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_arguments_of_any_layout(layout):
    f = jit(work)
    for _ in range(3):  # traced; by the general way; by native dispatch
        x = LAYOUTS[layout](X)
        before = np.array(x)
        same(f(x), work(np.array(x, np.float64)))
        assert np.array_equal(x, before)
    same(f(X), work(X))  # what is not contiguous must not have taught dispatch anything wrong


def test_layouts_do_not_pile_up_in_dispatch():
    f = jit(lambda x, k: x * k[0], static_argnums=1)
    for _ in range(20):
        f(X.T, tuple([2, 3]))
        f(np.asfortranarray(X), (2, 3))
    assert len(f.calls.entries) <= 2


def test_overlapping_arguments():
    x = RNG.normal(size=20)
    f = jit(lambda a, b: (a + b, a * b))
    for a, b in [(x, x), (x[:12], x[4:16]), (x[:10], x[10:]), (x, x[::-1])]:
        for _ in range(2):
            same(f(a, b), (a + b, a * b))


@pytest.mark.parametrize("code", "?bhiqBHIQefdFD")
def test_scalars_and_arrays_of_all_types(code):
    f = jit(lambda x: (x + 1, x * x, x))
    for x in (np.dtype(code).type(1), np.array(1, code), np.ones(3, code), np.ones((0, 2), code)):
        for _ in range(2):
            same(f(x), jit(f.fun, backend="interpreter")(x))


def test_python_numbers():
    f = jit(lambda x: x * 2)
    for x in (3, -(2**62), True, 1.5, 2 + 1j):
        for _ in range(2):
            same(f(x), jit(f.fun, backend="interpreter")(x))
    for x in (2**63, -(2**63) - 1, 10**30):
        for _ in range(2):
            with pytest.raises(OverflowError):
                f(x)
    assert f(3) == 6


def test_what_is_no_array_is_refused_each_time():
    f = jit(lambda x: x * 2)
    f(X)
    for x in ("a", np.array(["a"]), np.ma.masked_array([1.0], [True]), np.longdouble(1)):
        with pytest.raises(LeafError):
            f(x)


def test_empty_arrays():
    f = jit(lambda x: (x + 1, np.sum(x, axis=0), np.sum(x), x.T @ x, x @ x.T, np.sort(x, axis=0), x.reshape(3, 0)))
    x = np.zeros((0, 3))
    for _ in range(2):
        same(f(x), f.fun(x))


# ------------------------------------------------------------------------------------------------------------- results


def test_results_are_fresh():
    captured = np.arange(6.0)

    def f(x, y):
        return x, x, y, captured, np.float64(3), x[:2], x.T, x + 1, x.reshape(-1), fgrad.numpy.ones(3)

    g = jit(f)
    for _ in range(3):
        x = X.copy()
        results = g(x, 2.5)
        same(results, f(x, np.float64(2.5)))
        assert not any(np.shares_memory(r, x) or np.shares_memory(r, captured) for r in results)
        for r in results:
            if type(r) is np.ndarray:
                r += 1
        assert np.array_equal(x, X) and np.array_equal(captured, np.arange(6.0))
    same(g(X, 2.5), f(X, np.float64(2.5)))


DONATED = {
    "sum": (lambda x, y: x + y, 0),
    "softmax": (lambda x, y: nn.softmax(x, axis=1), 0),
    "centred columns": (lambda x, y: x - np.sum(x, axis=0), 0),
    "centred rows": (lambda x, y: x - np.sum(x, axis=1, keepdims=True), 0),
    "two": (lambda x, y: (np.sin(x), np.cos(x)), 0),
    "twice": (lambda x, y: (x, x), 0),
    "exchanged": (lambda x, y: (y, x), (0, 1)),
    "both": (lambda x, y: (x + y, x - y), (0, 1)),
    "reversed": (lambda x, y: np.flip(x) + y, 0),
    "transposed": (lambda x, y: x.T.reshape(12, 10) + x, 0),
    "shifted": (lambda x, y: np.pad(x, 1)[1:-1, 1:-1] * 2 + np.pad(x, 1)[:-2, :-2], 0),
    "product": (lambda x, y: np.sin(x @ y.T) @ x, 0),
    "behind a call": (lambda x, y: np.sin(np.sort(x[::-1], axis=0)) * 2, 0),
    "product, then a map": (lambda x, y: np.sin((x @ y.T)[:, :10]) * 2 + x, 0),
    "other shape": (lambda x, y: x.reshape(-1), 0),
    "other shape of a map": (lambda x, y: np.sin(x).reshape(10, 12), 0),
    "other dtype": (lambda x, y: (x * 8).astype(np.int64), 0),
    "an update": (lambda x, y: fgrad.at(x)[3].set(y[4]), 0),
    "an update with itself": (lambda x, y: (fgrad.at(x)[3:5].add(np.flip(x, 0)[3:5]), x[3]), 0),
    "gathered": (lambda x, y: np.take(x, np.arange(11, -1, -1), axis=0) + x, 0),
    "not used": (lambda x, y: y * 2, 0),
}


@pytest.mark.parametrize("name", DONATED)
@pytest.mark.parametrize("layout", ["contiguous", "Fortran", "read-only", "view", "subclass", "byte-swapped"])
def test_donated_arguments(name, layout):
    f, donated = DONATED[name]
    g = jit(f, donate_argnums=donated)
    for _ in range(3):
        x, y = LAYOUTS[layout](X), W.copy()
        keep = x.copy()
        want = jit(f, backend="interpreter")(X, W)
        same(g(x, y), want)
        if layout != "contiguous":
            assert np.array_equal(x, keep), "memory was taken that is not the array's own"
        if donated == 0:
            assert np.array_equal(y, W), "an argument was changed that was not donated"


def test_the_result_is_the_donated_array():
    g = jit(lambda x, y: x + y, donate_argnums=0)
    for _ in range(3):
        x = X.copy()
        assert g(x, W) is x
        x = X.copy()
        assert g(x, x) is not x and np.array_equal(x, X)
        assert g(x, x[:]) is not x and np.array_equal(x, X)


# -------------------------------------------------------------------------------------------------------------- errors


def test_an_index_out_of_bounds_names_the_line():
    f = jit(lambda x, i: (x * 2)[i] + 1)
    x = np.arange(5.0)
    for bad in (5, -6, 10**12):
        for index in (bad, np.array([0, bad]), np.int64(bad)):
            for _ in range(2):
                with pytest.raises(OutOfBoundsError, match=r"size 5(?s:.)*test_compile_inputs.py:.*\(x \* 2\)\[i\]"):
                    f(x, index)
    assert f(x, 4) == 9 and f(x, -5) == 1
    same(f(x, np.array([-1, 0])), np.array([9.0, 1.0]))


def test_an_exception_in_a_numpy_call_comes_out():
    f = jit(lambda a: np.linalg.cholesky(a) + np.sort(a))
    good = np.eye(3)
    for _ in range(3):
        same(f(good), np.linalg.cholesky(good) + np.sort(good))
        with pytest.raises(np.linalg.LinAlgError):
            f(-good)


@pytest.fixture
def broken(monkeypatch, tmp_path):
    """Makes every kernel with a tanh fail to compile."""
    monkeypatch.setattr(cache, "_addresses", {})
    monkeypatch.setattr(cache, "_failures", {})
    monkeypatch.setenv("FGRAD_CACHE_DIR", str(tmp_path))
    rendered = fgrad.compile.render_llvm.module

    def module(kernels, *args):
        text = rendered(kernels, *args)
        return text + "\n nonsense" if any("= tanh" in repr(fgrad.compile.nests.show(k)) for k in kernels) else text

    monkeypatch.setattr(fgrad.compile.render_llvm, "module", module)


def odd(x):
    return np.tanh(x) + np.sum(np.cos(x), axis=0) * 3.25


def test_a_kernel_that_does_not_compile_becomes_numpy_calls(broken, monkeypatch):
    monkeypatch.delenv("FGRAD_STRICT_KERNELS")
    f = jit(odd)
    with pytest.warns(KernelWarning, match=r"tanh.*test_compile_inputs.py") as caught:
        same(f(X), odd(X))
    assert len([w for w in caught if w.category is KernelWarning]) == 1
    same(f(X), odd(X))


def test_a_kernel_that_does_not_compile_is_an_error_if_asked(broken):
    with pytest.raises(CompileError, match="cannot compile"):
        jit(lambda x: odd(x) * 2)(X)


# ------------------------------------------------------------------------------------------------------------- threads


def test_calls_from_several_threads():
    f = jit(lambda x, w: np.sort(np.tanh(x @ w.T)) + np.sum(w))
    g = jit(lambda a: np.linalg.cholesky(a))
    x = RNG.normal(size=(200, 150))
    want, wrong = f.fun(x, x), []

    def run():
        for _ in range(15):
            if not np.allclose(f(x, x), want):
                wrong.append("result")
            try:
                g(-np.eye(4))
                wrong.append("no error")
            except np.linalg.LinAlgError:
                pass

    threads = [threading.Thread(target=run) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_a_callback_may_call_jit(monkeypatch):
    inner = jit(lambda x: np.cos(x) * np.sum(x))
    outer = jit(lambda x: np.sort(np.sin(x)) + x)
    want = outer(X)
    sort = fgrad.core.primitive.registry.sort
    seen = []

    def run(x, **params):
        seen.append(inner(np.array(x)))
        return [np.sort(x, axis=params["axis"])]

    monkeypatch.setattr(sort, "run", run)
    again = jit(lambda x: np.sort(np.sin(x)) + x)(X)
    same(again, want)
    same(outer(X), want)


@pytest.fixture
def no_collection():
    """An interrupt that arrives in a callback of the garbage collector is lost: Hypothesis has one."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("kind", ["kernels", "calls"])
def test_an_interrupt_leaves_everything_usable(kind, no_collection):
    x = np.random.default_rng(0).normal(size=500_000)

    def slow(x):
        for _ in range(400):
            x = np.sin(x) * 1.1 + np.sum(x) / 1e9 if kind == "kernels" else np.sin(np.sort(x) * 1.1)
        return x

    f = jit(slow)
    f.trace(x)
    for _ in range(2):
        timer = threading.Timer(0.3, _thread.interrupt_main)
        timer.start()
        start = time.perf_counter()
        with pytest.raises(KeyboardInterrupt):
            while time.perf_counter() < start + 20:
                f(x)
        timer.join()
    same(jit(work)(X), work(X))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_sines_of_arguments_that_the_formulas_do_not_reach(dtype):
    """The kernel stops, and NumPy is asked from then on; infinities and NaN are no reason to stop."""
    x = np.array([1.0, 2.0**47, -3e20, np.inf, np.nan], dtype)
    f = fgrad.jit(lambda x: fnp.sin(x) + fnp.cos(x) * fnp.tan(x))
    with np.errstate(invalid="ignore"):
        expected = np.sin(x) + np.cos(x) * np.tan(x)
        plain = np.sin(x[:1]) + np.cos(x[:1]) * np.tan(x[:1])
    for _ in range(3):
        np.testing.assert_allclose(f(x), expected, rtol=1e-6)
    np.testing.assert_allclose(f(x[:1]), plain, rtol=1e-6)


def test_a_sine_out_of_reach_with_donated_arguments():
    with pytest.raises(FgradError) as caught:
        fgrad.jit(fnp.sin, donate_argnums=0)(np.full(3, 1e20))
    assert str(caught.value).splitlines()[0].startswith("sin, cos or tan of an argument beyond 2**46")
    assert str(caught.value).splitlines()[-1] == "  do:  do not donate arguments to it"
