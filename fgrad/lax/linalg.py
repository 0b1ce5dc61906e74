"""Factorizations of matrices and triangular solves, over any leading axes.

Matrices hold float32, float64, complex64 or complex128 (else `DtypeError`) and stand in the last two axes (else
`ShapeError`); results have their dtype, singular values and eigenvalues of Hermitian matrices its real one.
"""

from __future__ import annotations

from typing import Any

from ..primitives.family import p, type_of
from ..primitives.matrices import adjoint, transposed
from .operands import Array, apply, strict


def cholesky(x: Array, *, symmetrize_input: bool = True) -> Array:
    """The lower triangular l with x = l lᴴ, of (x + xᴴ) / 2 if `symmetrize_input`, else of the lower triangle of x.

    Raises LinAlgError where the matrix is not positive definite.

    >>> import numpy as np
    >>> from fgrad import lax
    >>> lax.linalg.cholesky(np.array([[4.0, 2.0], [2.0, 2.0]]))
    array([[2., 0.],
           [1., 1.]])
    """
    x = strict(x)
    p.cholesky.typeof(type_of(x))
    return p.cholesky(_hermitian(x) if symmetrize_input else x)


def _hermitian(x: Any) -> Any:
    return p.mul(p.add(x, adjoint(x)), 0.5)


def qr(x: Array, *, full_matrices: bool = True) -> tuple[Array, Array]:
    """(q, r) with x = q r: orthonormal columns and an upper triangle. q is square if `full_matrices`.

    >>> import numpy as np
    >>> from fgrad import lax
    >>> q, r = lax.linalg.qr(np.ones((3, 2)), full_matrices=False)
    >>> q.shape, r.shape
    ((3, 2), (2, 2))
    """
    return apply(p.qr, strict(x), full=bool(full_matrices))


def svd(x: Array, *, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    """(u, s, vᴴ) with x = u diag(s) vᴴ and s descending; s alone without `compute_uv`.

    u and v are square if `full_matrices`. Their derivatives are right for what does not depend on the vectors' phases.

    >>> import numpy as np
    >>> from fgrad import lax
    >>> lax.linalg.svd(np.diag([1.0, 2.0]), compute_uv=False)
    array([2., 1.])
    """
    return apply(p.svd, strict(x), full=bool(full_matrices and compute_uv), compute_uv=bool(compute_uv))


def eigh(
    x: Array, *, lower: bool = True, symmetrize_input: bool = True, sort_eigenvalues: bool = True
) -> tuple[Array, Array]:
    """(eigenvectors as columns, ascending eigenvalues) of Hermitian matrices: vectors first, as in JAX.

    Of (x + xᴴ) / 2 if `symmetrize_input`, else of the lower (or upper) triangle of x. Values are always sorted.

    >>> import numpy as np
    >>> from fgrad import lax
    >>> lax.linalg.eigh(np.diag([2.0, 1.0]))[1]
    array([1., 2.])
    """
    x = strict(x)
    p.eigh.typeof(type_of(x), lower=True)
    values, vectors = p.eigh(_hermitian(x) if symmetrize_input else x, lower=bool(lower))
    return vectors, values


def eig(x: Array) -> tuple[Array, Array]:
    """(eigenvalues, right eigenvectors as columns) of square matrices, complex always.

    >>> import numpy as np
    >>> from fgrad import lax
    >>> lax.linalg.eig(np.diag([2.0, 1.0]))[0]
    array([2.+0.j, 1.+0.j])
    """
    return apply(p.eig, strict(x))


def lu(x: Array) -> tuple[Array, Array, Array]:
    """(factors, pivots, permutation): x[permutation] = l u, with l (unit diagonal left out) and u in one matrix.

    `pivots` are the row exchanges; both index arrays are int32.

    >>> import numpy as np
    >>> from fgrad import lax
    >>> lax.linalg.lu(np.array([[0.0, 1.0], [2.0, 3.0]]))[2]
    array([1, 0], dtype=int32)
    """
    return apply(p.lu, strict(x), differentiable=True)


def lu_pivots_to_permutation(pivots: Array, permutation_size: int) -> Array:
    """The order of the rows that the exchanges `pivots` of `lu` lead to: x[order] = l u.

    `pivots` are integers (..., k), k <= `permutation_size`; the result is (..., permutation_size), of their dtype.

    >>> import numpy as np
    >>> from fgrad import lax
    >>> lax.linalg.lu_pivots_to_permutation(np.array([2, 2, 2]), 3)
    array([2, 0, 1])
    """
    return apply(p.lu_pivots_to_permutation, strict(pivots), rows=int(permutation_size))


def triangular_solve(
    a: Array,
    b: Array,
    *,
    left_side: bool = False,
    lower: bool = False,
    transpose_a: bool = False,
    conjugate_a: bool = False,
    unit_diagonal: bool = False,
) -> Array:
    """x with x op(a) = b, or op(a) x = b if `left_side`; only the upper (or `lower`) triangle of a is read.

    op transposes and conjugates as told; `unit_diagonal` takes the diagonal for ones. The leading axes, and the axis
    of b that a acts on, must agree: else `ShapeError`. A zero on the diagonal gives infinities.

    >>> import numpy as np
    >>> from fgrad import lax
    >>> lax.linalg.triangular_solve(np.array([[2.0, 0.0], [1.0, 1.0]]), np.ones((2, 1)), left_side=True, lower=True)
    array([[0.5],
           [0.5]])
    """
    a, b = strict(a), strict(b)
    flags = {"lower": bool(lower), "transpose_a": bool(transpose_a), "conjugate_a": bool(conjugate_a)}
    flags["unit_diagonal"] = bool(unit_diagonal)
    if left_side:
        return apply(p.triangular_solve, a, b, **flags)
    flags["transpose_a"] = not transpose_a  # x op(a) = b is op(a)ᵀ xᵀ = bᵀ
    if b.ndim < 2:
        return apply(p.triangular_solve, a, b, **flags)
    return transposed(apply(p.triangular_solve, a, transposed(b), **flags))
