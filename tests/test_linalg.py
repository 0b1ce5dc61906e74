"""numpy.linalg on traced arrays: values and dtypes against NumPy, derivatives against finite differences."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import fgrad
from fgrad import numpy as fnp
from fgrad.core.errors import DtypeError, MissingRuleError, ShapeError
from fgrad.core.primitive import registry
from fgrad.testing import check_close, check_grads, check_vmap

LA = fnp.linalg
INF = np.inf
ROUNDING = {"f4": 2e-4, "c8": 2e-4, "f8": 1e-9, "c16": 1e-9, "i4": 1e-9}


def rand(*shape: int, dtype: str = "f8") -> np.ndarray:
    r = np.random.default_rng(list(shape))
    x = 2 * r.normal(size=shape)
    return (x + 1j * r.normal(size=shape)).astype(dtype) if dtype[0] == "c" else x.astype(dtype)


def regular(n: int, lead: tuple[int, ...] = (), dtype: str = "f8") -> np.ndarray:
    """Well-conditioned matrices."""
    return (rand(*lead, n, n, dtype=dtype) + 4 * n * np.eye(n)).astype(dtype)


def adjoint(x: Any) -> Any:
    return np.conj(np.swapaxes(x, -1, -2))


def hermitian(x: Any) -> Any:
    return (x + adjoint(x)) / 2


def positive(n: int, lead: tuple[int, ...] = (), dtype: str = "f8") -> np.ndarray:
    a = regular(n, lead, dtype)
    return (a @ adjoint(a)).astype(dtype)


def agrees(f: Any, *args: Any, dtype: str = "f8") -> None:
    """`f`, which calls NumPy's functions, gives NumPy's values and types under jit, and in eager reverse mode."""
    whole = lambda *xs: tuple(y) if isinstance(y := f(*xs), tuple) else y  # noqa: E731
    want = whole(*args)
    tolerance = {"rtol": ROUNDING[dtype], "atol": 10 * ROUNDING[dtype]}
    check_close(fgrad.jit(whole)(*args), want, **tolerance)
    if all(x.dtype.kind in "fc" for x in args):
        check_close(fgrad.vjp(whole, *args)[0], want, **tolerance)


# ---------------------------------------------------------------------------------------------------- values and types

SQUARE = ["inv", "det", "slogdet", "pinv", "matrix_rank", "svdvals", "eigvalsh", "norm", "cond"]


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("name", [*SQUARE, "cholesky", "qr", "svd", "matrix_power"])
def test_values_of_square_matrices(name: str, dtype: str) -> None:
    f = getattr(np.linalg, name)
    for n in (1, 3):
        for lead in ((), (2,)):
            a = regular(n, lead, dtype)
            if name in ("cholesky", "eigvalsh"):
                a = positive(n, lead, dtype)
            if name == "cholesky":
                agrees(lambda x: np.linalg.cholesky(x, upper=True), a, dtype=dtype)
            if name == "matrix_power":
                for k in (0, 1, 3) if dtype == "i4" else (0, 1, 3, -2):
                    agrees(lambda x, k=k: f(x, k), a / 16 if dtype in ("f4", "c8") else a, dtype=dtype)
            else:
                agrees(lambda x: f(x), a, dtype=dtype)


@pytest.mark.parametrize("name", ["inv", "det", "slogdet", "matrix_power"])
def test_empty_matrices(name: str) -> None:
    f = (lambda x: np.linalg.matrix_power(x, 2)) if name == "matrix_power" else (lambda x: getattr(np.linalg, name)(x))
    for shape in ((0, 0), (2, 0, 0), (0, 3, 3)):
        agrees(f, np.zeros(shape))


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("right", [(3,), (3, 2), (2, 3, 2), (5, 2, 3, 2), (5, 1, 3, 1), (3, 0)])
def test_solve(right: tuple[int, ...], dtype: str) -> None:
    for lead in ((), (2,)):
        agrees(lambda a, b: np.linalg.solve(a, b), regular(3, lead, dtype), rand(*right, dtype="f4"), dtype=dtype)


@pytest.mark.parametrize("dtype", ["f4", "f8", "c16"])
@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4)])
def test_least_squares(shape: tuple[int, int], dtype: str) -> None:
    a = rand(*shape, dtype=dtype)
    for b in (rand(shape[0], dtype=dtype), rand(shape[0], 2, dtype=dtype)):
        agrees(lambda a, b: np.linalg.lstsq(a, b), a, b, dtype=dtype)
    agrees(lambda a: np.linalg.pinv(a), a, dtype=dtype)
    agrees(lambda a: np.linalg.svd(a, full_matrices=False)[1], a, dtype=dtype)


def test_tensor_solves() -> None:
    agrees(lambda a, b: np.linalg.tensorsolve(a, b), rand(2, 3, 6), rand(2, 3))
    agrees(lambda a, b: np.linalg.tensorsolve(a, b, (0,)), rand(6, 2, 3), rand(2, 3))
    agrees(lambda a: np.linalg.tensorinv(a, 1), rand(6, 2, 3))


MATRIX_ORDERS = ["fro", "nuc", 1, -1, 2, -2, INF, -INF]
VECTOR_ORDERS = [0, 0.5, 1, 2, 3, -1, INF, -INF]


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("keepdims", [False, True])
def test_norms(keepdims: bool, dtype: str) -> None:
    x = rand(3, 2, 4, dtype=dtype)
    y = (x + 20).astype(dtype)
    norm = np.linalg.norm
    agrees(lambda x: norm(x, keepdims=keepdims), x, dtype=dtype)
    for order in [None, *MATRIX_ORDERS]:
        agrees(lambda x, o=order: norm(x, o, axis=(2, 0), keepdims=keepdims), x, dtype=dtype)
    for order in MATRIX_ORDERS:
        agrees(lambda x, o=order: np.linalg.matrix_norm(x, ord=o, keepdims=keepdims), x, dtype=dtype)
    for order in [None, *VECTOR_ORDERS]:
        agrees(lambda x, o=order: norm(x, o, axis=1, keepdims=keepdims), y, dtype=dtype)
    for order in VECTOR_ORDERS:
        agrees(lambda x, o=order: np.linalg.vector_norm(x, ord=o, axis=(0, 2), keepdims=keepdims), y, dtype=dtype)
    for order in (None, 2, -2, 1, -1, "fro", "nuc", INF):
        agrees(lambda x, o=order: np.linalg.cond(x, o), regular(3, (2,), dtype), dtype=dtype)


def test_ranks() -> None:
    for x in (np.ones((2, 3, 4)), np.eye(3), np.zeros((2, 2)), np.ones(3), np.zeros(3), np.ones((2, 2), int)):
        agrees(lambda x: np.linalg.matrix_rank(x), x)
        if x.ndim > 1:
            agrees(lambda x: np.linalg.matrix_rank(x, 0.5), x)
            agrees(lambda x: np.linalg.matrix_rank(x, rtol=0.5), x)


def test_names_of_the_array_api() -> None:
    x = rand(2, 3, 4)
    agrees(lambda x: np.linalg.diagonal(x, offset=1), x)
    agrees(lambda x: np.linalg.trace(x, offset=-1), x)
    agrees(lambda x: np.linalg.matrix_transpose(x), x)
    agrees(lambda x, y: np.linalg.outer(x, y), rand(3), rand(2))
    agrees(lambda x, y: np.linalg.cross(x, y), rand(2, 3), rand(3))
    assert set(LA.__all__) == {n for n in dir(np.linalg) if not n.startswith("_")} - {"test"}


def test_eigenvalues_are_complex_under_every_transformation() -> None:
    a = np.diag([2.0, 1.0])
    for f in (LA.eigvals, lambda a: LA.eig(a).eigenvalues):
        assert f(a).dtype == fgrad.jit(f)(a).dtype == np.complex128
        np.testing.assert_allclose(np.sort(fgrad.jit(f)(a).real), [1, 2])
    values, vectors = fgrad.jit(lambda a: tuple(LA.eig(a)))(regular(4))
    np.testing.assert_allclose(regular(4) @ vectors, vectors * values)


# --------------------------------------------------------------------------------------------------------- derivatives


def recomposed(a: Any) -> Any:
    """U diag(s²) Vᴴ: a smooth function of the whole decomposition in which phases cancel."""
    u, s, vh = LA.svd(a, full_matrices=False)
    return fnp.matmul(u * s[..., None, :] ** 2, vh)


def exponential(a: Any) -> Any:
    values, vectors = LA.eigh(hermitian(a))
    return fnp.matmul(vectors * np.exp(values / 8)[..., None, :], adjoint(vectors))


def derivatives(dtype: str) -> dict[str, Any]:
    r = lambda *shape: rand(*shape, dtype=dtype)  # noqa: E731
    return {
        "solve vector": (LA.solve, regular(3, (), dtype), r(3)),
        "solve stack": (LA.solve, regular(3, (2,), dtype), r(3, 2)),
        "inv": (LA.inv, regular(3, (2,), dtype)),
        "det": (LA.det, r(2, 3, 3) / 2),
        "slogdet": (lambda a: tuple(LA.slogdet(a)), regular(3, (), dtype)),
        "cholesky": (lambda a: LA.cholesky(a @ adjoint(a) + 4 * np.eye(3)), r(3, 3)),
        "cholesky upper": (lambda a: LA.cholesky(hermitian(a), upper=True), regular(3, (2,), dtype)),
        "qr tall": (lambda a: tuple(LA.qr(a)), r(4, 3)),
        "qr wide": (lambda a: tuple(LA.qr(a)), r(2, 3, 5)),
        "qr complete": (lambda a: tuple(LA.qr(a, "complete")), r(3, 4)),
        "eigvalsh": (lambda a: LA.eigvalsh(hermitian(a)), r(2, 3, 3)),
        "eigh": (exponential, r(2, 3, 3)),
        "eig": (lambda a: tuple(LA.eig(a)), r(3, 3) / 8 + np.diag([4, -2, 0])),
        "eig in pairs": (lambda a: tuple(LA.eig(a)), r(3, 3) / 8 + np.array([[0, -3, 0], [3, 0, 0], [0, 0, 1]])),
        "svd tall": (recomposed, r(4, 3)),
        "svd wide": (recomposed, r(2, 3, 4)),
        "svdvals": (LA.svdvals, r(4, 3)),
        "svd values alone": (lambda a: registry.svd(a, full=False, compute_uv=False), r(4, 3)),
        "pinv tall": (LA.pinv, r(4, 3)),
        "pinv wide": (LA.pinv, r(2, 3)),
        "pinv of deficient rank": (lambda a, b: LA.pinv(fnp.matmul(a, b)), r(4, 2), r(2, 3)),
        "lstsq": (lambda a, b: tuple(LA.lstsq(a, b)[:2]), r(4, 3), r(4)),
        "matrix_power": (lambda a: LA.matrix_power(a, -3), regular(3, (), dtype)),
        "lu tall": (lambda a: registry.lu(a, differentiable=True)[0], r(2, 4, 3) + 8 * np.eye(4, 3)),
        "lu wide": (lambda a: registry.lu(a, differentiable=True)[0], r(2, 3, 4) + 8 * np.eye(3, 4)),
        "tensorinv": (lambda a: LA.tensorinv(a.reshape(6, 2, 3), 1), regular(6, (), dtype)),
        "multi_dot": (lambda a, b, c: LA.multi_dot([a, b, c]), r(2, 3), r(3, 4), r(4)),
    }


@pytest.mark.parametrize("dtype", ["f8", "c16"])
@pytest.mark.parametrize("name", derivatives("f8"))
def test_derivatives_to_second_order(name: str, dtype: str) -> None:
    f, *args = derivatives(dtype)[name]
    check_grads(f, args, order=2, atol=1e-5)


@pytest.mark.parametrize("dtype", ["f8", "c16"])
def test_derivatives_of_norms(dtype: str) -> None:
    x = rand(3, 2, 4, dtype=dtype)
    for order in [None, *MATRIX_ORDERS]:
        check_grads(lambda x, o=order: LA.norm(x, o, axis=(2, 0)), (x,), order=2, atol=1e-4)
    for order in [None, 0.5, 1, 2, 3, INF, -INF]:
        check_grads(lambda x, o=order: LA.norm(x, o, axis=1, keepdims=True), (x,), order=2, atol=1e-4, eps=1e-4)
    for order in (None, -2, 1, "fro"):
        check_grads(lambda x, o=order: LA.cond(x, o), (regular(3, (), dtype),), order=2, atol=1e-4)


@pytest.mark.parametrize("name", derivatives("f8"))
def test_vmap_is_a_loop(name: str) -> None:
    f, *args = derivatives("f8")[name]
    lanes = [np.stack([x, 1.1 * x, x + 0.1]) for x in args]
    check_vmap(f, lanes, rtol=1e-8, atol=1e-9)
    gradient = fgrad.grad(lambda *xs: sum(fnp.sum(np.abs(y) ** 2) for y in fgrad.tree.leaves(f(*xs))))
    check_vmap(gradient, lanes, rtol=1e-7, atol=1e-8)


def test_vmap_over_right_sides_factors_once() -> None:
    a, b = regular(3), rand(5, 3)
    solve = fgrad.vmap(LA.solve, in_axes=(None, 0))
    np.testing.assert_allclose(solve(a, b), np.linalg.solve(a, b.T).T)
    text = str(fgrad.make_jaxpr(solve)(a, b))
    assert re.search(r"lu\b.*", text).group().count("float64[5") == 0


def test_gradients_of_symmetric_matrices_are_symmetric() -> None:
    a = hermitian(regular(3))
    vector = np.linalg.eigh(a)[1][:, -1]
    np.testing.assert_allclose(fgrad.grad(lambda a: LA.eigvalsh(a)[-1])(a), np.outer(vector, vector), atol=1e-12)
    half_log = fgrad.grad(lambda a: fnp.sum(fnp.log(LA.diagonal(LA.cholesky(a)))))(a)
    np.testing.assert_allclose(half_log, np.linalg.inv(a) / 2)


def test_known_gradients() -> None:
    a = regular(3)
    inverse = np.linalg.inv(a)
    np.testing.assert_allclose(fgrad.grad(LA.det)(a), np.linalg.det(a) * inverse.T)
    np.testing.assert_allclose(fgrad.grad(lambda a: LA.slogdet(a)[1])(a), inverse.T)
    np.testing.assert_allclose(fgrad.grad(lambda a: fnp.trace(LA.inv(a)))(a), -(inverse @ inverse).T)
    assert np.array_equal(fgrad.grad(LA.norm)(np.zeros(3)), np.zeros(3))


@pytest.mark.parametrize(
    ("a", "cofactors"),
    [
        (np.zeros((1, 1)), [[1]]),
        (np.diag([1.0, 2.0, 0.0]), np.diag([0, 0, 2])),
        (np.ones((3, 3)), np.zeros((3, 3))),
        (np.array([[1.0, 2.0], [2.0, 4.0]]), [[4, -2], [-2, 1]]),
        (np.array([[1.0, 1j], [1j, -1.0]]), [[-1, -1j], [-1j, 1]]),
    ],
)
def test_the_determinant_of_a_singular_matrix_has_a_gradient(a: np.ndarray, cofactors: Any) -> None:
    (got,) = fgrad.vjp(LA.det, a)[1](a.dtype.type(1))
    np.testing.assert_allclose(got, cofactors, atol=1e-12)


def test_nothing_is_factored_twice() -> None:
    a, b = regular(3), rand(3)
    for f in (lambda a: fnp.sum(LA.solve(a, b)), LA.det, lambda a: LA.slogdet(a)[1], lambda a: fnp.sum(LA.inv(a))):
        assert len(re.findall(r"= lu\b", str(fgrad.make_jaxpr(fgrad.grad(f))(a)))) == 1
    spectral = fgrad.grad(lambda a: LA.norm(a, 2))
    assert len(re.findall(r"= svd\b", str(fgrad.make_jaxpr(spectral)(a)))) == 1


# -------------------------------------------------------------------------------------------------------------- errors

ONES = np.ones((3, 3))


@pytest.mark.parametrize(
    ("f", "kind", "text"),
    [
        (lambda a: LA.inv(a), np.linalg.LinAlgError, "Singular matrix"),
        (lambda a: LA.solve(a, np.ones(3)), np.linalg.LinAlgError, "Singular matrix"),
        (lambda a: LA.cholesky(-a), np.linalg.LinAlgError, "Matrix is not positive definite"),
        (lambda a: LA.det(a[:2]), ShapeError, "det: needs square matrices along the last two axes"),
        (lambda a: LA.det(a[:2]), ShapeError, "got: shape (2, 3): 2 rows, 3 columns"),
        (lambda a: LA.inv(a[0]), ShapeError, "inv: needs square matrices along the last two axes"),
        (lambda a: LA.solve(a, np.ones(2)), ShapeError, "a right side of shape (2,) does not fit matrices of 3 rows"),
        (lambda a: LA.inv(a.astype(np.float16)), DtypeError, "lu is not defined for float16"),
        (lambda a: LA.qr(a[:, :2], "complete")[0], MissingRuleError, "additional columns of qr(mode='complete') are"),
        (lambda a: LA.svd(a[:2])[0], MissingRuleError, "additional columns of svd(full_matrices=True) are"),
        (lambda a: LA.qr(a, "raw"), ValueError, "qr: mode 'raw' is unknown for traced arrays"),
        (lambda a: LA.norm(a, 3), ValueError, "norm: order 3 is not defined for matrices"),
        (lambda a: LA.norm(a[0], "fro"), ValueError, "norm: order 'fro' is not defined for vectors"),
        (lambda a: LA.norm(a, axis=(0, 0)), ShapeError, "norm: with an order the axes must be one or two"),
        (lambda a: LA.multi_dot([a]), ShapeError, "multi_dot needs at least two arrays"),
        (lambda a: LA.tensorinv(a, 2), ShapeError, "tensorinv: the axes do not split into two equal halves"),
    ],
)  # fmt: skip
def test_errors(f: Any, kind: Any, text: str) -> None:
    with pytest.raises(kind, match=re.escape(text)):
        fgrad.vjp(f, ONES)


def test_singular_values_under_jit_raise_too() -> None:
    with pytest.raises(np.linalg.LinAlgError, match="Singular matrix"):
        fgrad.jit(LA.inv)(ONES)
