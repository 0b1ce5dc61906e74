"""fgrad.scipy.linalg and stats against SciPy; derivatives by finite differences."""

import numpy as np
import pytest
import scipy.linalg
import scipy.stats

import fgrad
from fgrad.core.errors import ShapeError
from fgrad.scipy import linalg, stats
from fgrad.testing import check_grads, check_vmap

RNG = np.random.default_rng(2)
A = RNG.normal(size=(3, 3)) + 3 * np.eye(3)
Z = A + 1j * RNG.normal(size=(3, 3))
S = A @ A.T
H = Z @ Z.conj().T
B, V = RNG.normal(size=(3, 2)), RNG.normal(size=3)
WIDE = RNG.normal(size=(2, 4))


def close(got, want):
    pairs = zip(got, want, strict=True) if isinstance(want, tuple) else [(got, want)]
    for g, w in pairs:
        assert np.shape(g) == np.shape(w) and np.asarray(g).dtype == np.asarray(w).dtype
        np.testing.assert_allclose(g, w, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("a", [A, Z])
@pytest.mark.parametrize("b", [B, V])
def test_solves(a, b):
    close(linalg.solve(a, b), scipy.linalg.solve(a, b))
    for trans in (0, 1, 2, "N", "T", "C"):
        for lower in (False, True):
            for unit in (False, True):
                args = (a, b, trans, lower, unit)
                close(linalg.solve_triangular(*args), scipy.linalg.solve_triangular(*args))
    for trans in (0, 1, 2):
        want = scipy.linalg.lu_solve(scipy.linalg.lu_factor(a), b, trans)
        close(linalg.lu_solve(linalg.lu_factor(a), b, trans), want)
        close(fgrad.jit(lambda a, b, t=trans: linalg.lu_solve(linalg.lu_factor(a), b, t))(a, b), want)
    h = a @ a.conj().T
    for lower in (False, True):
        want = scipy.linalg.cho_solve(scipy.linalg.cho_factor(h, lower), b)
        close(linalg.cho_solve(linalg.cho_factor(h, lower), b), want)
        close(linalg.solve(h, b, lower=lower, assume_a="pos"), want)
        close(linalg.cholesky(h, lower), scipy.linalg.cholesky(h, lower))


def test_a_permutation_that_is_not_its_own_inverse():
    a = np.array([[0.0, 1, 0, 0.5], [0, 0, 1, 0], [1, 0, 0, 0], [0.5, 0, 0, 1]])
    b = np.arange(4.0)
    for trans in (0, 1):
        close(
            linalg.lu_solve(linalg.lu_factor(a), b, trans), scipy.linalg.lu_solve(scipy.linalg.lu_factor(a), b, trans)
        )


@pytest.mark.parametrize("a", [A, Z, WIDE, WIDE.T])
def test_factorizations(a):
    close(linalg.lu(a), scipy.linalg.lu(a))
    close(linalg.lu(a, permute_l=True), scipy.linalg.lu(a, permute_l=True))
    for mode in ("full", "economic"):
        q, r = linalg.qr(a, mode=mode)
        want_q, want_r = scipy.linalg.qr(a, mode=mode)
        assert q.shape == want_q.shape and r.shape == want_r.shape
        close(q @ r, a)
    close(np.abs(linalg.qr(a, mode="r")[0]), np.abs(scipy.linalg.qr(a, mode="r")[0]))
    close(linalg.svd(a, compute_uv=False), scipy.linalg.svd(a, compute_uv=False))
    u, s, vh = linalg.svd(a, full_matrices=False)
    close((u * s) @ vh, a)


def test_eigh_det_inv():
    for h in (S, H):
        close(linalg.eigh(h, eigvals_only=True), scipy.linalg.eigh(h, eigvals_only=True))
        values, vectors = linalg.eigh(h, lower=False)
        close(h @ vectors, vectors * values)
    close(linalg.det(A), scipy.linalg.det(A))
    close(linalg.inv(Z), scipy.linalg.inv(Z))


@pytest.mark.parametrize("scale", [0.0, 1e-9, 0.1, 1.0, 4.0, 30.0])
def test_expm(scale):
    for a in (A - 4 * np.eye(3), Z - 5 * np.eye(3), np.triu(A, 1)):
        want = scipy.linalg.expm(scale * a)
        close(linalg.expm(scale * a), want)
        for got in (fgrad.jit(linalg.expm)(scale * a), fgrad.vjp(linalg.expm, scale * a)[0]):
            np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12 * np.abs(want).max())
    direction = RNG.normal(size=(3, 3))
    want = scipy.linalg.expm_frechet(A * min(scale, 4), direction, compute_expm=False)
    _, got = fgrad.jvp(linalg.expm, (A * min(scale, 4),), (direction,))
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12 * np.abs(want).max())


def test_block_diag():
    blocks = [np.ones((2, 1)), 3.0, np.array([1, 2]), np.zeros((0, 2))]
    close(linalg.block_diag(*blocks), scipy.linalg.block_diag(*blocks))
    check_grads(lambda x, y: linalg.block_diag(x, y), (B, V))


def test_derivatives():
    check_grads(lambda a, b: linalg.solve(a, b), (A, V))
    check_grads(lambda a, b: linalg.solve(a @ a.T, b, assume_a="pos"), (A, B))
    check_grads(lambda a, b: linalg.solve_triangular(a, b, 1, True), (A, B))
    check_grads(lambda a, b: linalg.lu_solve(linalg.lu_factor(a), b), (A, V), order=1)
    check_grads(lambda a: linalg.lu(a)[1:], (WIDE,), order=1)
    check_grads(linalg.expm, (A / 4,), order=2)


def test_vmap():
    stacked = np.stack([A, A + 1])
    check_vmap(linalg.solve, (stacked, V), in_axes=(0, None))
    check_vmap(lambda a, b: linalg.cho_solve(linalg.cho_factor(a @ a.T), b), (stacked, B), in_axes=(0, None))
    check_vmap(lambda a, b: linalg.lu_solve(linalg.lu_factor(a), b), (stacked, V), in_axes=(0, None))
    check_vmap(linalg.expm, (stacked * np.array([1.0, 9.0])[:, None, None],), rtol=1e-10)


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda: linalg.solve(WIDE, V), ShapeError, "solve: the last two axes must be those of square matrices"),
        (lambda: linalg.solve(A, V[:2]), ShapeError, "solve: the right side does not fit the matrix"),
        (
            lambda: linalg.solve(A, V, assume_a="banded"),
            ValueError,
            "solve: assume_a must be 'gen', 'sym', 'her' or 'pos'",
        ),
        (
            lambda: linalg.solve_triangular(A, V, 3),
            ValueError,
            "solve_triangular: trans must be 0, 1, 2, 'N', 'T' or 'C'",
        ),
        (lambda: linalg.qr(A, mode="complete"), ValueError, "qr: mode must be 'full', 'economic' or 'r'"),
        (lambda: linalg.eigh(A, A), ValueError, "eigh: solves a x = w x only"),
        (lambda: linalg.block_diag(np.ones((1, 1, 1))), ShapeError, "block_diag: needs matrices"),
        (lambda: linalg.cholesky(-S), np.linalg.LinAlgError, "not positive definite"),
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert text in str(caught.value)


@pytest.mark.parametrize("name", ["logpdf", "pdf", "cdf", "logcdf", "sf", "logsf", "ppf"])
def test_norm(name):
    f, oracle = getattr(stats.norm, name), getattr(scipy.stats.norm, name)
    x = np.array([0.1, 0.5, 0.9]) if name == "ppf" else np.array([-30.0, -1.0, 0.5])
    loc, scale = np.array([0.0, 1.0, -2.0]), np.array([1.0, 0.5, 3.0])
    np.testing.assert_allclose(f(x, loc, scale), oracle(x, loc, scale), rtol=1e-13)
    np.testing.assert_allclose(fgrad.jit(f)(x), oracle(x), rtol=1e-13)
    check_grads(f, (x[1:], loc[1:], scale[1:]), order=2)
