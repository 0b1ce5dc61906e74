"""Matrix products by the library: every layout against NumPy, bits for any cut, threads, special values, loading."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.machinery import PathFinder

import numpy as np
import pytest
from thunks import Run, guarded

from fgrad.compile import blas
from fgrad.compile.dot import plan_dot
from fgrad.compile.layouts import Layout
from fgrad.compile.products import Matrix, Product, product_call

DTYPES = ("f4", "f8", "c8", "c16")
TOLERANCE = {"f4": 2e-5, "c8": 2e-5, "f8": 1e-13, "c16": 1e-13}


def values(rng, shape, dtype):
    real = rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        real = real + 1j * rng.standard_normal(shape)
    return np.array(real).astype(dtype)


def exact(x):
    """In the largest precision of its kind."""
    return x.astype("c16" if x.dtype.kind == "c" else "f8")


def multiply(x, w, contract, batch, *, layouts=None, alpha=1, beta=0, out=None, scale=None, chunks=False):
    """dot_general by the library, of contiguous arrays, or of buffers with given layouts."""
    layouts = layouts or [Layout.contiguous(x.shape), Layout.contiguous(w.shape)]
    plan = plan_dot(*layouts, x.dtype, contract, batch, alpha, beta)
    buffers = [x, w]
    for i, order in enumerate(plan.copies):
        if order is not None:
            layout, size = layouts[i], x.dtype.itemsize
            strides = [s * size for s in layout.strides]
            start = buffers[i].ravel()[layout.start :] if buffers[i].size else buffers[i]
            view = np.lib.stride_tricks.as_strided(start, layout.shape, strides)
            buffers[i] = np.ascontiguousarray(view.transpose(order))
    free = [
        [s for a, s in enumerate(layout.shape) if a not in contract[i] and a not in batch[i]]
        for i, layout in enumerate(layouts)
    ]
    shape = [layouts[0].shape[a] for a in batch[0]] + free[0] + free[1]
    out = guarded(shape, x.dtype) if out is None else out
    thunk = plan.thunk(0, 1, 2, None if scale is None else 3)
    run = Run(thunk, thunk.operands, [*buffers, out, scale])
    if chunks:
        assert [run.part(*chunk) for chunk in run.chunks()] == [0] * len(run.chunks())
    elif thunk.extent:
        assert run.whole() == 0
    return out, plan


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "m, n, k",
    [
        (3, 5, 7),
        (32, 32, 64),
        (1, 64, 32),
        (64, 1, 32),
        (1, 1, 9),
        (2, 40, 30),
        (200, 3, 50),
        (33, 17, 1),
        (300, 70, 90),
    ],
)
def test_transposed_operands_are_not_copied(dtype, m, n, k):
    rng = np.random.default_rng(0)
    a, b = values(rng, (m, k), dtype), values(rng, (k, n), dtype)
    expected = exact(a) @ exact(b)
    for flip_a in (False, True):
        for flip_b in (False, True):
            x, w = (np.ascontiguousarray(t.T) if flip else t for t, flip in ((a, flip_a), (b, flip_b)))
            got, plan = multiply(x, w, ((0 if flip_a else 1,), (1 if flip_b else 0,)), ((), ()))
            assert plan.copies == (None, None)
            np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCE[dtype] * k)


def strided_operand(rng, dtype, axes):
    """Axes (name, size) in random order, on a buffer with gaps, another order and repetitions: the buffer, a view."""
    axes = [axes[i] for i in rng.permutation(len(axes))]
    shape = [size for _, size in axes]
    memory = rng.permutation(len(axes))
    gaps = rng.choice([0, 0, 0, 2], len(axes))
    repeated = rng.random(len(axes)) < 0.1
    buffer = values(rng, [1 if repeated[i] else shape[i] + gaps[i] for i in memory], dtype)
    view = buffer.transpose(np.argsort(memory)) if len(axes) else buffer
    inside = tuple(
        slice(None) if r else slice(g // 2, g // 2 + s) for r, g, s in zip(repeated, gaps, shape, strict=True)
    )
    view = np.broadcast_to(view[inside], shape)
    size = buffer.dtype.itemsize
    start = (view.__array_interface__["data"][0] - buffer.__array_interface__["data"][0]) // size if buffer.size else 0
    layout = Layout(tuple(shape), tuple(s // size for s in view.strides), start)
    return buffer, view, layout, {name: i for i, (name, _) in enumerate(axes)}


@pytest.mark.parametrize("seed", range(8))
def test_every_layout_against_einsum(seed):
    rng = np.random.default_rng(seed)
    for _ in range(60):
        dtype = DTYPES[rng.integers(4)]
        small = lambda: int(rng.choice([0, 1, 2, 3, 4, 5, 7], p=[0.02, 0.14, 0.2, 0.2, 0.2, 0.14, 0.1]))  # noqa: E731
        groups = {g: [(g + str(i), small()) for i in range(rng.choice([0, 1, 1, 2]))] for g in "bmnk"}
        x_buffer, x, x_layout, at_x = strided_operand(rng, dtype, groups["b"] + groups["m"] + groups["k"])
        w_buffer, w, w_layout, at_w = strided_operand(rng, dtype, groups["b"] + groups["n"] + groups["k"])
        contract, batch = (
            (tuple(at_x[name] for name, _ in groups[g]), tuple(at_w[name] for name, _ in groups[g])) for g in "kb"
        )
        letters = dict(zip([name for g in "bmnk" for name, _ in groups[g]], "abcdefgh", strict=False))
        subscripts = ["".join(letters[n] for n in sorted(at, key=at.get)) for at in (at_x, at_w)]
        free = [sorted((n for n in at if n[0] == g), key=at.get) for at, g in ((at_x, "m"), (at_w, "n"))]
        result = "".join(letters[n] for n in [name for name, _ in groups["b"]] + free[0] + free[1])
        expected = np.einsum(f"{subscripts[0]},{subscripts[1]}->{result}", exact(x), exact(w))
        alpha, beta = rng.choice([1, -1, 2.5]), rng.choice([0, 1, 0.5])
        out = guarded(expected.shape, dtype)
        if beta:
            out[...] = 3
        scale = np.array(2 - 0.5j if dtype[0] == "c" else -0.5, dtype) if rng.random() < 0.5 else None
        got, _ = multiply(
            *(x_buffer, w_buffer, contract, batch),
            **dict(
                layouts=[x_layout, w_layout], alpha=alpha, beta=beta, out=out, scale=scale, chunks=rng.random() < 0.5
            ),
        )
        expected = alpha * (1 if scale is None else scale) * expected + 3 * beta
        np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCE[dtype] * 50)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("m, n, k", [(128, 512, 100), (512, 128, 64), (784, 64, 300), (1, 700, 900), (500, 2, 800)])
def test_the_same_bits_for_any_number_of_threads(dtype, m, n, k):
    rng = np.random.default_rng(1)
    a, b = values(rng, (m, k), dtype), values(rng, (k, n), dtype)
    thunk = plan_dot(Layout.contiguous(a.shape), Layout.contiguous(b.shape), a.dtype, ((1,), (0,)), ((), ())).thunk(
        0, 1, 2
    )
    assert thunk.extent > 1
    runs = [Run(thunk, thunk.operands, [a, b, guarded((m, n), dtype)]) for _ in range(3)]
    runs[0].whole()
    for i in reversed(range(thunk.extent)):
        runs[1].part(i, i + 1)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda i: runs[2].part(i, i + 1), range(thunk.extent))) == {0}
    for run in runs:
        assert run.arrays[2].tobytes() == runs[0].arrays[2].tobytes()
    np.testing.assert_allclose(runs[0].arrays[2], exact(a) @ exact(b), rtol=0, atol=TOLERANCE[dtype] * k)


def test_many_threads_at_once_get_the_right_products():
    rng = np.random.default_rng(2)
    cases = []
    for size in (2, 8, 33, 64):
        a, b = values(rng, (size, size), "f8"), values(rng, (size, size), "f8")
        layout = Layout.contiguous(a.shape)
        thunk = plan_dot(layout, layout, a.dtype, ((1,), (0,)), ((), ())).thunk(0, 1, 2)
        cases.append((a, b, thunk, a @ b))

    def work(number):
        a, b, thunk, expected = cases[number % len(cases)]
        out = guarded(a.shape, "f8")
        Run(thunk, thunk.operands, [a, b, out]).whole()
        return np.allclose(out, expected, rtol=0, atol=1e-12)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(400)))


@pytest.mark.parametrize("m, n, k", [(16, 16, 8), (1, 16, 8), (16, 1, 8), (2, 16, 8)])
def test_nan_and_infinity_go_the_way_of_numpy(m, n, k):
    a, b = np.ones((m, k)), np.zeros((k, n))
    a[0, 3], b[2, n - 1] = np.inf, np.nan  # inf * 0 is NaN
    with np.errstate(invalid="ignore"):
        expected = a @ b
    np.testing.assert_array_equal(multiply(a, b, ((1,), (0,)), ((), ()))[0], expected)


@pytest.mark.parametrize("shapes", [((0, 3), (3, 2)), ((3, 0), (0, 2)), ((3, 2), (2, 0)), ((0,), (0,)), ((4, 0), (0,))])
def test_no_elements(shapes):
    x, w = (np.ones(s, "f4") for s in shapes)
    got, _ = multiply(x, w, ((x.ndim - 1,), (0,)), ((), ()))
    np.testing.assert_array_equal(got, np.matmul(x, w))
    old = np.full(np.shape(np.matmul(x, w)), 3, "f4")
    got, _ = multiply(x, w, ((x.ndim - 1,), (0,)), ((), ()), out=old, beta=0.5)
    np.testing.assert_array_equal(got, np.full(old.shape, 1.5))


def test_the_update_of_a_weight():
    rng = np.random.default_rng(3)
    x, g, weight = values(rng, (128, 70), "f4"), values(rng, (128, 50), "f4"), values(rng, (70, 50), "f4")
    rate = np.array(0.25, "f4")
    got, plan = multiply(x, g, ((0,), (0,)), ((), ()), alpha=-1, beta=1, out=weight.copy(), scale=rate)
    assert plan.copies == (None, None)
    np.testing.assert_allclose(got, exact(weight) - 0.25 * exact(x).T @ exact(g), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "x, w, contract, batch, copies, loops",
    [
        # attention: heads behind the sequence, no copy
        (Layout.contiguous((8, 64, 4, 16)), Layout.contiguous((8, 64, 4, 16)), ((3,), (3,)), ((0, 2), (0, 2)), (), 2),
        # a weight shared by a batch of matrices: one product
        (Layout.contiguous((8, 64, 16)), Layout((8, 16, 32), (0, 32, 1)), ((2,), (1,)), ((0,), (0,)), (), 0),
        # two summed axes that lie together
        (Layout.contiguous((8, 64, 16)), Layout.contiguous((8, 64, 32)), ((0, 1), (0, 1)), ((), ()), (), 0),
        # summed axes in another order
        (Layout.contiguous((20, 8, 6)), Layout.contiguous((6, 8, 30)), ((1, 2), (1, 0)), ((), ()), (0,), 0),
        # the batch innermost in the left operand
        (Layout.contiguous((20, 30, 4)), Layout.contiguous((4, 30, 9)), ((1,), (1,)), ((2,), (0,)), (0,), 1),
    ],
)
def test_what_is_copied(x, w, contract, batch, copies, loops):
    plan = plan_dot(x, w, np.dtype("f4"), contract, batch)
    assert [i for i, order in enumerate(plan.copies) if order is not None] == list(copies)
    assert len(plan.product.loops) == loops


@pytest.mark.parametrize("dtype", ["i4", "?", "f2", ">f4"])
def test_other_dtypes_are_left_to_numpy(dtype):
    layout = Layout.contiguous((3, 3))
    assert plan_dot(layout, layout, np.dtype(dtype), ((1,), (0,)), ((), ())) is None


def test_small_products_are_one_piece():
    thunk = product_call(Product(np.dtype("f4"), 32, 32, 64, Matrix(0, 64), Matrix(0, 32), Matrix(0, 32)))
    assert (thunk.extent, thunk.grain) == (1, 1) and thunk.cost < 20_000
    layout = Layout.contiguous((256, 4, 4))
    plan = plan_dot(layout, layout, np.dtype("f4"), ((2,), (1,)), ((0,), (0,)))
    thunk = plan.thunk(0, 1, 2)
    assert plan.small and (thunk.extent, thunk.grain) == (256, 256)


def test_a_tool_that_sets_the_threads_of_every_library_is_undone():
    library = blas.library()
    library.scipy_openblas_set_num_threads(2)
    a = np.ones((64, 64))
    multiply(a, a, ((1,), (0,)), ((), ()))
    assert library.scipy_openblas_get_num_threads() == 1


LOADING = """
import ctypes, os
import numpy as np
with open("/proc/self/maps") as f:
    theirs = ctypes.CDLL(next(line.split()[-1] for line in f if "openblas64" in line))
before = theirs.scipy_openblas_get_num_threads64_()
from fgrad.compile import blas
ours = blas.library()
getenv = ctypes.CDLL(None).getenv
getenv.restype = ctypes.c_char_p
print(before == theirs.scipy_openblas_get_num_threads64_(), ours.scipy_openblas_get_num_threads())
print(getenv(b"OPENBLAS_NUM_THREADS"), len(os.listdir("/proc/self/task")) <= before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_loading_leaves_numpy_and_the_environment_alone():
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", LOADING], env=environment, capture_output=True, text=True, check=False)
    if "StopIteration" in done.stderr:
        pytest.skip("NumPy has another BLAS")
    assert done.stdout == "True 1\nb'2' True\n", done.stderr


def test_without_the_library(monkeypatch):
    monkeypatch.setattr(PathFinder, "find_spec", lambda *_: None)
    with pytest.raises(blas.LibraryError) as caught:
        blas.library.__wrapped__()
    assert [line for line in str(caught.value).split("\n") if "at:" not in line] == [
        "the matrix library is missing",
        "  got: []",
        "  do:  pip install scipy-openblas32",
    ]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_products_after_fork():
    a = np.arange(64.0 * 64).reshape(64, 64)
    expected, _ = multiply(a, a, ((1,), (0,)), ((), ()))
    child = os.fork()
    if child == 0:
        got, _ = multiply(a, a, ((1,), (0,)), ((), ()))
        os._exit(0 if np.array_equal(got, expected) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_the_runtime_factor_is_read_when_the_thunk_runs():
    a, scale = np.ones((4, 4)), np.array(2.0)
    layout = Layout.contiguous((4, 4))
    thunk = plan_dot(layout, layout, a.dtype, ((1,), (0,)), ((), ()), alpha=-1).thunk(0, 1, 2, 3)
    run = Run(thunk, thunk.operands, [a, a, guarded((4, 4), "f8"), scale])
    for value in (2.0, -5.0):
        scale[...] = value
        run.whole()
        np.testing.assert_array_equal(run.arrays[2], np.full((4, 4), -4 * value))
