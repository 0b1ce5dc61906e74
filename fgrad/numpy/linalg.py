"""numpy.linalg: factorizations, solves, norms and what is made of them, over any leading axes.

Concrete operands go to NumPy. Traced ones raise `ShapeError` where the shapes do not fit, `DtypeError` for float16, and
NumPy's LinAlgError where LAPACK finds a matrix singular or not positive definite.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..core.errors import ShapeError, message
from ..core.primitive import registry as p
from ..core.surface import surface
from ..core.trace import Tracer
from ..core.types import canonical, complex_dtype
from ..primitives.matrices import adjoint, hermitian, transposed
from . import matrices, products
from .contractions import multi_dot
from .least_squares import lstsq, matrix_rank, pinv
from .methods import routes
from .norms import matrix_norm, matrix_operand, norm, svdvals, vector_norm
from .products import matmul, promote_dtypes, tensordot, vecdot
from .promote import broadcast, broadcast_shapes
from .support import axis_of, inexact, is_traced, strict, traced
from .ufuncs import divide, multiply

LinAlgError = np.linalg.LinAlgError


class EigResult(NamedTuple):
    """Eigenvalues, and eigenvectors as columns."""

    eigenvalues: Any
    eigenvectors: Any


class EighResult(NamedTuple):
    """Eigenvalues in ascending order, and orthonormal eigenvectors as columns."""

    eigenvalues: Any
    eigenvectors: Any


class QRResult(NamedTuple):
    """Orthonormal columns and an upper triangle."""

    Q: Any
    R: Any


class SlogdetResult(NamedTuple):
    """Sign, and logarithm of the absolute value, of a determinant."""

    sign: Any
    logabsdet: Any


class SVDResult(NamedTuple):
    """Left singular vectors, singular values in descending order, and adjoint right singular vectors."""

    U: Any
    S: Any
    Vh: Any


def _factored(a: Any) -> tuple[Any, Any, Any]:
    """Operands of `solve`, `det` and `slogdet`: a matrix and its LU factors, which serve the derivatives too."""
    factors, pivots, _ = p.lu(a, differentiable=False)
    return a, factors, pivots


# -------------------------------------------------------------------------------------------- solves and determinants


@traced(np.linalg.solve)
def solve(a: Any, b: Any) -> Any:
    """numpy.linalg.solve: x with a @ x = b, for matrices a (..., n, n) and b (n,) or (..., n, k).

    Raises LinAlgError where a matrix is singular.

    >>> solve(np.array([[2.0, 0.0], [0.0, 4.0]]), np.array([2.0, 4.0]))
    array([1., 1.])
    """
    a = matrix_operand("solve", a, square=True)
    b = inexact(b if type(b) is Tracer else canonical(np.asarray(b)))
    a, b = promote_dtypes(a, b)
    vector, n = b.ndim == 1, a.shape[-1]
    if not b.ndim or b.shape[0 if vector else -2] != n:
        raise ShapeError(
            message(
                f"solve: a right side of shape {tuple(b.shape)} does not fit matrices of {n} rows",
                got=f"{a.shape} and {b.shape}",
                do="give b the shape (n,) or (..., n, k)",
            )
        )
    if vector:
        b = p.reshape(b, shape=(n, 1))
    lead = broadcast_shapes(tuple(a.shape[:-2]), tuple(b.shape[:-2]))
    operands = [
        broadcast(x, (*lead, *x.shape[len(x.shape) - k :])) for x, k in zip(_factored(a), (2, 2, 1), strict=True)
    ]
    x = p.solve(*operands, broadcast(b, (*lead, *b.shape[-2:])), transpose=False)
    return p.reshape(x, shape=(*lead, n)) if vector else x


@traced(np.linalg.inv)
def inv(a: Any) -> Any:
    """numpy.linalg.inv: the inverse matrix; LinAlgError where there is none.

    >>> inv(np.array([[2.0, 0.0], [0.0, 4.0]]))
    array([[0.5 , 0.  ],
           [0.  , 0.25]])
    """
    a = matrix_operand("inv", a, square=True)
    return p.solve(*_factored(a), broadcast(np.eye(a.shape[-1], dtype=a.dtype), tuple(a.shape)), transpose=False)


@traced(np.linalg.det)
def det(a: Any) -> Any:
    """numpy.linalg.det: the determinant. Its gradient exists for singular matrices too.

    >>> float(round(det(np.array([[1.0, 2.0], [3.0, 4.0]])), 12))
    -2.0
    """
    return p.det(*_factored(matrix_operand("det", a, square=True)))


@traced(np.linalg.slogdet)
def slogdet(a: Any) -> SlogdetResult:
    """numpy.linalg.slogdet: sign and logarithm of the absolute value of the determinant; (0, -inf) where it is zero.

    >>> float(slogdet(-np.eye(3)).sign)
    -1.0
    """
    return SlogdetResult(*p.slogdet(*_factored(matrix_operand("slogdet", a, square=True))))


@traced(np.linalg.tensorsolve)
def tensorsolve(a: Any, b: Any, axes: Any = None) -> Any:
    """numpy.linalg.tensorsolve: x with tensordot(a, x, x.ndim) = b; `axes` of a are moved to its end first.

    >>> tensorsolve(np.eye(4).reshape(2, 2, 2, 2), np.ones((2, 2)))
    array([[1., 1.],
           [1., 1.]])
    """
    if axes is not None:
        moved = [axis_of("tensorsolve", v, a.ndim) for v in axes]
        a = p.transpose(strict(a), axes=(*[v for v in range(a.ndim) if v not in moved], *moved))
    shape, n = tuple(a.shape[b.ndim :]), math.prod(b.shape)
    if math.prod(shape) != n or a.size != n * n:
        raise ShapeError(
            message(
                "tensorsolve: a does not give a square system",
                got=f"{a.shape} and {b.shape}",
                do="prod(a.shape[b.ndim:]) must be b.size",
            )
        )
    x = solve(p.reshape(strict(a), shape=(n, n)), p.reshape(strict(b), shape=(n,)))
    return p.reshape(x, shape=shape)


@traced(np.linalg.tensorinv)
def tensorinv(a: Any, ind: int = 2) -> Any:
    """numpy.linalg.tensorinv: the inverse of a as a map from its last axes to its first `ind` ones.

    >>> tensorinv(2 * np.eye(4).reshape(4, 2, 2), ind=1).shape
    (2, 2, 4)
    """
    shape = tuple(a.shape)
    n = math.prod(shape[ind:])
    if ind <= 0 or n * n != a.size:
        raise ShapeError(
            message(
                "tensorinv: the axes do not split into two equal halves",
                got=f"shape {shape}, ind={ind}",
                do="choose another ind",
            )
        )
    return p.reshape(inv(p.reshape(strict(a), shape=(n, n))), shape=(*shape[ind:], *shape[:ind]))


# ---------------------------------------------------------------------------------------------------- factorizations


@traced(np.linalg.cholesky)
def cholesky(a: Any, /, *, upper: bool = False) -> Any:
    """numpy.linalg.cholesky: the lower triangular l with a = l lᴴ (`upper`: u with a = uᴴ u).

    a must be Hermitian: a traced one is taken as (a + aᴴ) / 2, so that its gradient is Hermitian too, where NumPy reads
    one triangle. LinAlgError unless it is positive definite.

    >>> cholesky(np.array([[4.0, 2.0], [2.0, 5.0]]))
    array([[2., 0.],
           [1., 2.]])
    """
    a = matrix_operand("cholesky", a, square=True)
    factor = p.cholesky(hermitian(a))
    return adjoint(factor) if upper else factor


@traced(np.linalg.qr)
def qr(a: Any, mode: str = "reduced") -> Any:
    """numpy.linalg.qr: orthonormal columns q and an upper triangle r with a = q r; r alone for `mode="r"`.

    `mode="complete"` has a derivative where a has no more rows than columns.

    >>> qr(np.array([[3.0], [4.0]])).R.shape
    (1, 1)
    """
    if mode not in ("reduced", "complete", "r"):
        raise ValueError(
            message(
                f"qr: mode {mode!r} is unknown for traced arrays", got=mode, do='choose "reduced", "complete" or "r"'
            )
        )
    result = QRResult(*p.qr(matrix_operand("qr", a), full=mode == "complete"))
    return result.R if mode == "r" else result


@traced(np.linalg.eigh)
def eigh(a: Any, UPLO: str = "L") -> EighResult:
    """numpy.linalg.eigh: ascending eigenvalues and orthonormal eigenvectors of Hermitian matrices.

    a must be Hermitian: a traced one is taken as (a + aᴴ) / 2, so that its gradient is Hermitian too, where NumPy reads
    the triangle `UPLO`. Eigenvectors of equal eigenvalues have no derivative.

    >>> eigh(np.diag([2.0, 1.0])).eigenvalues
    array([1., 2.])
    """
    return EighResult(*p.eigh(hermitian(matrix_operand("eigh", a, square=True)), lower=UPLO.upper() == "L"))


@traced(np.linalg.eigvalsh)
def eigvalsh(a: Any, UPLO: str = "L") -> Any:
    """numpy.linalg.eigvalsh: ascending eigenvalues of Hermitian matrices.

    >>> eigvalsh(np.diag([2.0, 1.0]))
    array([1., 2.])
    """
    return eigh(a, UPLO)[0]


def eig(a: Any) -> EigResult:
    """Eigenvalues and eigenvectors of square matrices: numpy.linalg.eig, but complex always.

    NumPy's dtype depends on the values, which a trace does not know.

    >>> eig(np.diag([2.0, 1.0])).eigenvalues
    array([2.+0.j, 1.+0.j])
    """
    return EigResult(*p.eig(matrix_operand("eig", a, square=True)))


def eigvals(a: Any) -> Any:
    """Eigenvalues of square matrices: numpy.linalg.eigvals, but complex always (as `eig`).

    >>> eigvals(np.diag([2.0, 1.0]))
    array([2.+0.j, 1.+0.j])
    """
    if not is_traced(a):
        values = np.linalg.eigvals(a)
        return values.astype(complex_dtype(values.dtype))
    return eig(a)[0]


routes(np.linalg.eig)(eig)
routes(np.linalg.eigvals)(eigvals)


@traced(np.linalg.svd)
def svd(a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False) -> Any:
    """numpy.linalg.svd: (u, s, vh) with a = u diag(s) vh and s descending; s alone without `compute_uv`.

    The derivative of u and vh needs `full_matrices=False` (or square matrices) and distinct singular values.
    `hermitian` is taken and not needed.

    >>> svd(np.diag([3.0, 4.0]), compute_uv=False)
    array([4., 3.])
    """
    a = matrix_operand("svd", a)
    if not compute_uv:
        return svdvals(a)
    return SVDResult(*p.svd(a, full=bool(full_matrices), compute_uv=True))


# ------------------------------------------------------------------------------------------ powers and conditioning


@traced(np.linalg.matrix_power)
def matrix_power(a: Any, n: int) -> Any:
    """numpy.linalg.matrix_power: the n-th power of square matrices, by repeated squaring; n < 0 inverts first.

    >>> matrix_power(2 * np.eye(2), 3)
    array([[8., 0.],
           [0., 8.]])
    """
    a = matrix_operand("matrix_power", a, square=True) if n < 0 else a
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise ShapeError(
            message(
                "matrix_power: needs square matrices along the last two axes",
                got=f"shape {tuple(a.shape)}",
                do="give (..., n, n)",
            )
        )
    if n == 0:
        return broadcast(np.eye(a.shape[-1], dtype=a.dtype), tuple(a.shape))
    square, n, result = (inv(a), -n, None) if n < 0 else (strict(a), n, None)
    while n:
        if n & 1:
            result = square if result is None else matmul(result, square)
        n >>= 1
        square = matmul(square, square) if n else square
    return result


@traced(np.linalg.cond)
def cond(x: Any, p: Any = None) -> Any:
    """numpy.linalg.cond: the condition number in the norm `p`, by default the ratio of extreme singular values.

    >>> cond(np.diag([1.0, 4.0]))
    np.float64(4.0)
    """
    x = matrix_operand("cond", x, square=p not in (None, 2, -2))
    if p in (None, 2):
        return divide(norm(x, 2, (-2, -1)), norm(x, -2, (-2, -1)))
    if p == -2:
        return divide(norm(x, -2, (-2, -1)), norm(x, 2, (-2, -1)))
    return multiply(norm(x, p, (-2, -1)), norm(inv(x), p, (-2, -1)))


# ------------------------------------------------------------------------- the array API's names for functions of numpy


@traced(np.linalg.matrix_transpose)
def matrix_transpose(x: Any, /) -> Any:
    """numpy.linalg.matrix_transpose: the last two axes exchanged.

    >>> matrix_transpose(np.ones((2, 3, 4))).shape
    (2, 4, 3)
    """
    return _matrix_transpose(x)


@surface(run=np.linalg.matrix_transpose, arity=1)
def _matrix_transpose(x: Any) -> Any:
    if x.ndim < 2:
        raise ShapeError(
            message("matrix_transpose: needs at least two axes", got=x.aval, do="use x[:, None] for a column")
        )
    return transposed(strict(x))


@traced(np.linalg.diagonal)
def diagonal(x: Any, /, *, offset: int = 0) -> Any:
    """numpy.linalg.diagonal: the diagonals of the matrices along the last two axes, as the last axis.

    >>> diagonal(np.array([[1, 2], [3, 4]]))
    array([1, 4])
    """
    return matrices.diagonal(x, offset, -2, -1)


@traced(np.linalg.trace)
def trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Any:
    """numpy.linalg.trace: the sums of the diagonals of the matrices along the last two axes.

    >>> trace(np.eye(3))
    np.float64(3.0)
    """
    return products.trace(x, offset, -2, -1, dtype)


@traced(np.linalg.outer)
def outer(x1: Any, x2: Any, /) -> Any:
    """numpy.linalg.outer: all products of an element of one vector and one of another, as a matrix.

    >>> outer(np.array([1, 2]), np.array([3, 4]))
    array([[3, 4],
           [6, 8]])
    """
    if np.ndim(x1) != 1 or np.ndim(x2) != 1:
        raise ShapeError(
            message(
                "outer: takes two vectors",
                got=f"shapes {np.shape(x1)} and {np.shape(x2)}",
                do="use fgrad.numpy.outer, which flattens",
            )
        )
    return products.outer(x1, x2)


@traced(np.linalg.cross)
def cross(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    """numpy.linalg.cross: the cross product of vectors of three components along `axis`.

    >>> cross(np.array([1, 0, 0]), np.array([0, 1, 0]))
    array([0, 0, 1])
    """
    if np.shape(x1)[axis] != 3 or np.shape(x2)[axis] != 3:
        raise ShapeError(
            message(
                "cross: vectors must have 3 components",
                got=f"shapes {np.shape(x1)} and {np.shape(x2)}",
                do="choose another axis",
            )
        )
    return products.cross(x1, x2, axis=axis)


__all__ = [
    "LinAlgError", "cholesky", "cond", "cross", "det", "diagonal", "eig", "eigh", "eigvals", "eigvalsh", "inv", "lstsq",
    "matmul", "matrix_norm", "matrix_power", "matrix_rank", "matrix_transpose", "multi_dot", "norm", "outer", "pinv",
    "qr", "slogdet", "solve", "svd", "svdvals", "tensordot", "tensorinv", "tensorsolve", "trace", "vecdot",
    "vector_norm",
]  # fmt: skip
