"""Dense linear algebra by the library: every primitive against its own NumPy definition, and its failures."""

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from thunks import Run, guarded

from fgrad.compile.factorizations import failure, plan_factorization
from fgrad.compile.lapack import FAILED
from fgrad.primitives import linalg, solves

DTYPES = ("f4", "f8", "c8", "c16")
LU = {"differentiable": False}


def tolerance(dtype):
    return {"rtol": 1e-9, "atol": 1e-10} if np.dtype(dtype).str[1:] in ("f8", "c16") else {"rtol": 2e-3, "atol": 2e-4}


def matrices(rng, lead, m, n, dtype):
    real = rng.standard_normal((*lead, m, n))
    if dtype[0] == "c":
        real = real + 1j * rng.standard_normal((*lead, m, n))
    return real.astype(dtype)


def positive(rng, lead, n, dtype):
    a = matrices(rng, lead, n, n, dtype)
    return np.ascontiguousarray(a @ np.conj(np.swapaxes(a, -1, -2)) / n + np.eye(n)).astype(dtype)


def native(primitive, results, *args, **params):
    """The results of the thunk, or the exception for its failure."""
    thunk = plan_factorization(primitive.name, [a.shape for a in args], args[0].dtype, params)
    saved = [a.copy() for a in args]
    outs = [guarded(shape, dtype) for shape, dtype in results]
    run = Run(thunk, range(len(args) + len(outs)), [*args, *outs])
    status = run.whole()
    for a, b in zip(args, saved, strict=True):
        np.testing.assert_array_equal(a, b)  # operands are left alone
    if status:
        assert status == FAILED
        return failure(primitive.name, run.context[2])
    again = [guarded(shape, dtype) for shape, dtype in results]
    run = Run(thunk, range(len(args) + len(outs)), [*args, *again])
    assert [run.part(*chunk) for chunk in run.chunks()] == [0] * len(run.chunks())
    for a, b in zip(outs, again, strict=True):
        np.testing.assert_array_equal(a, b)  # the same bits, stack by stack or matrix by matrix
    return outs


def check(primitive, *args, **params):
    args = [np.ascontiguousarray(a) for a in args]
    expected = [np.asarray(x) for x in primitive.run(*args, **params)]
    got = native(primitive, [(x.shape, x.dtype) for x in expected], *args, **params)
    assert isinstance(got, list), got
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, **tolerance(b.dtype if b.dtype.kind != "i" else "f8"))


STACKS = [((), 1), ((), 2), ((3,), 5), ((2, 2), 17), ((), 70)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lead, n", STACKS)
def test_square_matrices(dtype, lead, n):
    rng = np.random.default_rng(n)
    check(linalg.cholesky, positive(rng, lead, n, dtype))
    a = matrices(rng, lead, n, n, dtype)
    factors, exchanges, _ = solves.lu.run(a, **LU)
    for transpose, k in itertools.product((False, True), (1, 3)):
        check(solves.solve, a, factors, exchanges, matrices(rng, lead, n, k, dtype), transpose=transpose)
    if dtype[0] == "f":
        check(solves.slogdet, a, factors, exchanges)
        a = (a / np.sqrt(n)).astype(dtype)
        check(solves.det, a, *solves.lu.run(a, **LU)[:2])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lead, n", STACKS)
def test_triangular_systems(dtype, lead, n):
    rng = np.random.default_rng(n)
    a = matrices(rng, lead, n, n, dtype) / n + np.eye(n, dtype=dtype)
    for k, flags in itertools.product((1, 4), itertools.product((False, True), repeat=4)):
        names = ("lower", "transpose_a", "conjugate_a", "unit_diagonal")
        params = dict(zip(names, flags, strict=True))
        check(solves.triangular_solve, a.astype(dtype), matrices(rng, lead, n, k, dtype), **params)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "lead, m, n", [((), 1, 1), ((), 1, 4), ((2,), 5, 3), ((2, 2), 3, 5), ((), 70, 40), ((), 40, 70)]
)
def test_factorizations_of_any_shape(dtype, lead, m, n):
    a = matrices(np.random.default_rng(m), lead, m, n, dtype)
    check(solves.lu, a, differentiable=True)
    for full in (False, True):
        check(linalg.qr, a, full=full)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "primitive, args, params",
    [
        (linalg.cholesky, [-np.eye(3)], {}),
        (linalg.cholesky, [np.stack([np.eye(3), np.zeros((3, 3))])], {}),
        (solves.solve, [np.zeros((2, 2)), np.zeros((2, 2)), np.zeros(2), np.ones((2, 1))], {"transpose": False}),
        (solves.solve, [np.ones((2, 2)), np.array([[1, 1], [1, 0]]), np.ones(2), np.ones((2, 1))], {"transpose": True}),
    ],
)
def test_failures_are_those_of_numpy(dtype, primitive, args, params):
    args = [a.astype(np.int32 if a.ndim == 1 else dtype) for a in args]
    with pytest.raises(np.linalg.LinAlgError) as caught:
        primitive.run(*args, **params)
    got = native(primitive, [(args[-1].shape, args[-1].dtype)], *args, **params)
    assert type(got) is np.linalg.LinAlgError and str(got) == str(caught.value)


@pytest.mark.parametrize("dtype", DTYPES)
def test_special_values(dtype):
    for bad in (np.nan, np.inf):
        a = np.eye(3, dtype=dtype)
        a[1, 1] = bad
        one = np.ones((3, 1), dtype)
        with np.errstate(invalid="ignore"):
            check(linalg.cholesky, a)
            check(solves.lu, a, **LU)
            factors, exchanges, _ = solves.lu.run(a, **LU)
            check(solves.solve, a, factors, exchanges, one, transpose=False)
            if dtype[0] == "f":
                check(solves.det, a, factors, exchanges)
                check(solves.slogdet, a, factors, exchanges)
    zero = np.zeros((3, 3), dtype)
    params = {"lower": True, "transpose_a": False, "conjugate_a": False, "unit_diagonal": False}
    check(solves.triangular_solve, zero, one, **params)
    if dtype[0] == "f":
        check(solves.slogdet, zero, *solves.lu.run(zero, **LU)[:2])
        check(solves.det, -zero, *solves.lu.run(zero, **LU)[:2])


@pytest.mark.parametrize(
    "name, shape, dtype",
    [
        ("cholesky", (0, 0), "f8"),
        ("cholesky", (0, 3, 3), "f8"),
        ("cholesky", (3, 3), "f2"),
        ("det", (3, 3), "c16"),
        ("eigh", (3, 3), "f8"),
    ],
)
def test_what_is_left_to_numpy(name, shape, dtype):
    assert plan_factorization(name, [shape], np.dtype(dtype), {}) is None


def test_large_stacks_are_cut_in_pieces():
    thunk = plan_factorization("cholesky", [(1000, 8, 8)], np.dtype("f8"), {})
    assert thunk.extent == 1000 and 10 <= thunk.grain < 100


def test_many_threads_at_once():
    rng = np.random.default_rng(0)
    cases = [
        (linalg.cholesky, [positive(rng, (6,), 20, "f8")], {}),
        (linalg.qr, [rng.random((6, 30, 20))], {"full": False}),
    ]
    cases += [(solves.lu, [rng.random((6, 40, 40))], LU)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda case: check(case[0], *case[1], **case[2]), cases * 20))
