"""`scipy.linalg` on arrays and traced arrays: factorizations and solves, in SciPy's conventions.

Matrices stand in the last two axes; leading axes are allowed. They are computed in float32, float64, complex64 or
complex128; integers become float64. `check_finite` and the `overwrite_` arguments are accepted and ignored: no argument
is written to, and NaN and infinity go through.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import lax
from .. import numpy as fnp
from ..core.errors import ShapeError, message
from ..core.trace import Tracer, peek
from ..numpy import linalg as _linalg

Array = Any

det = _linalg.det
inv = _linalg.inv


def _matrix(name: str, a: Any, *, square: bool = True) -> Any:
    """An array of floating matrices."""
    a = fnp.asarray(a)
    if a.ndim < 2 or (square and a.shape[-1] != a.shape[-2]):
        kind = "square matrices" if square else "matrices"
        raise ShapeError(
            message(f"{name}: the last two axes must be those of {kind}", got=f"shape {tuple(a.shape)}", do="reshape")
        )
    return a if a.dtype.kind in "fc" and a.dtype.itemsize > 2 else a.astype(np.float64)


def _together(*xs: Any) -> list[Any]:
    dtype = np.result_type(*[x.dtype for x in xs])
    return [x.astype(dtype) if x.dtype != dtype else x for x in xs]


def _adjoint(x: Any) -> Any:
    return fnp.conj(fnp.swapaxes(x, -1, -2))


def _sides(name: str, a: Any, b: Any) -> tuple[Any, Any, bool]:
    """a and b at one dtype, b as columns, and whether it was one vector."""
    b = fnp.asarray(b)
    vector = b.ndim == 1
    columns = b[:, None] if vector else b
    if columns.shape[-2] != a.shape[-1]:
        raise ShapeError(
            message(
                f"{name}: the right side does not fit the matrix",
                got=f"shapes {tuple(a.shape)} and {tuple(b.shape)}",
                do="check b",
            )
        )
    a, columns = _together(a, columns)
    lead = np.broadcast_shapes(a.shape[:-2], columns.shape[:-2])
    return fnp.broadcast_to(a, (*lead, *a.shape[-2:])), fnp.broadcast_to(columns, (*lead, *columns.shape[-2:])), vector


def solve_triangular(
    a: Array,
    b: Array,
    trans: int | str = 0,
    lower: bool = False,
    unit_diagonal: bool = False,
    overwrite_b: bool = False,
    check_finite: bool = True,
) -> Array:
    """x with a x = b for triangular a; aᵀ x = b for `trans` 1 or "T", aᴴ x = b for 2 or "C".

    a has shape (..., n, n), of which the upper (or `lower`) triangle is read; b (n,) or (..., n, k). Raises
    `ShapeError` for shapes that do not fit, ValueError for another `trans`. A zero on the diagonal gives infinities.

    >>> import numpy as np
    >>> from fgrad.scipy import linalg
    >>> linalg.solve_triangular(np.array([[2.0, 1.0], [0.0, 1.0]]), np.array([3.0, 1.0]))
    array([1., 1.])
    """
    if trans not in (0, 1, 2, "N", "T", "C"):
        raise ValueError(
            message("solve_triangular: trans must be 0, 1, 2, 'N', 'T' or 'C'", got=repr(trans), do="choose one")
        )
    a, b, vector = _sides("solve_triangular", _matrix("solve_triangular", a), b)
    flags = {"transpose_a": trans not in (0, "N"), "conjugate_a": trans in (2, "C"), "unit_diagonal": unit_diagonal}
    x = lax.linalg.triangular_solve(a, b, left_side=True, lower=lower, **flags)
    return x[..., 0] if vector else x


def cholesky(a: Array, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True) -> Array:
    """The upper triangular r with a = rᴴ r, or the lower one l with a = l lᴴ; reads the named triangle of a.

    Raises LinAlgError unless a is positive definite.

    >>> import numpy as np
    >>> from fgrad.scipy import linalg
    >>> linalg.cholesky(np.array([[4.0, 2.0], [2.0, 2.0]]))
    array([[2., 1.],
           [0., 1.]])
    """
    return _linalg.cholesky(_matrix("cholesky", a), upper=not lower)


def cho_factor(
    a: Array, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True
) -> tuple[Array, bool]:
    """(factor of `cholesky`, lower), for `cho_solve`; the other triangle is zero.

    >>> import numpy as np
    >>> from fgrad.scipy import linalg
    >>> linalg.cho_factor(np.array([[4.0]]))
    (array([[2.]]), False)
    """
    return cholesky(a, lower), lower


def cho_solve(c_and_lower: tuple[Array, bool], b: Array, overwrite_b: bool = False, check_finite: bool = True) -> Array:
    """x with a x = b from the factor of a that `cho_factor` gave; b has shape (n,) or (..., n, k).

    >>> import numpy as np
    >>> from fgrad.scipy import linalg
    >>> linalg.cho_solve(linalg.cho_factor(np.array([[4.0]])), np.array([2.0]))
    array([0.5])
    """
    c, lower = c_and_lower
    first, second = (0, 2) if lower else (2, 0)
    return solve_triangular(c, solve_triangular(c, b, first, lower), second, lower)


def solve(
    a: Array,
    b: Array,
    lower: bool = False,
    overwrite_a: bool = False,
    overwrite_b: bool = False,
    check_finite: bool = True,
    assume_a: str = "gen",
) -> Array:
    """x with a x = b; b has shape (n,) or (..., n, k).

    `assume_a` "pos" uses `cholesky` of one triangle; "gen", "sym", "her" pivoted elimination. Raises LinAlgError for
    singular (or not positive definite) matrices, ValueError for another `assume_a`.

    >>> import numpy as np
    >>> from fgrad.scipy import linalg
    >>> linalg.solve(np.array([[2.0, 1.0], [0.0, 1.0]]), np.array([3.0, 1.0]))
    array([1., 1.])
    """
    if assume_a not in ("gen", "sym", "her", "pos"):
        raise ValueError(
            message("solve: assume_a must be 'gen', 'sym', 'her' or 'pos'", got=repr(assume_a), do="leave it out")
        )
    a = _matrix("solve", a)
    if assume_a == "pos":
        return cho_solve(cho_factor(a, lower), b)
    a, b, vector = _sides("solve", a, b)
    x = _linalg.solve(a, b)
    return x[..., 0] if vector else x


def lu_factor(a: Array, overwrite_a: bool = False, check_finite: bool = True) -> tuple[Array, Array]:
    """(l and u in one matrix, row exchanges) of p a = l u, for `lu_solve`.

    >>> import numpy as np
    >>> from fgrad.scipy import linalg
    >>> linalg.lu_factor(np.array([[0.0, 1.0], [2.0, 3.0]]))[1]
    array([1, 1], dtype=int32)
    """
    factors, pivots, _ = lax.linalg.lu(_matrix("lu_factor", a, square=False))
    return factors, pivots


def lu_solve(
    lu_and_piv: tuple[Array, Array], b: Array, trans: int = 0, overwrite_b: bool = False, check_finite: bool = True
) -> Array:
    """x with a x = b from what `lu_factor` gave for one matrix a; aᵀ x = b for `trans` 1, aᴴ x = b for 2.

    >>> import numpy as np
    >>> from fgrad.scipy import linalg
    >>> linalg.lu_solve(linalg.lu_factor(np.array([[0.0, 1.0], [2.0, 0.0]])), np.array([1.0, 2.0]))
    array([1., 1.])
    """
    factors, pivots = lu_and_piv
    order = lax.linalg.lu_pivots_to_permutation(pivots, factors.shape[-1])
    b = fnp.asarray(b)
    if trans == 0:
        y = solve_triangular(factors, b[order], 0, True, unit_diagonal=True)
        return solve_triangular(factors, y)
    y = solve_triangular(factors, solve_triangular(factors, b, trans), trans, True, unit_diagonal=True)
    return y[fnp.argsort(order)]


def lu(a: Array, permute_l: bool = False, overwrite_a: bool = False, check_finite: bool = True) -> tuple[Array, ...]:
    """(p, l, u) with a = p l u, or (p l, u) for `permute_l`.

    >>> import numpy as np
    >>> from fgrad.scipy import linalg
    >>> linalg.lu(np.array([[0.0, 1.0], [2.0, 3.0]]))[0]
    array([[0., 1.],
           [1., 0.]])
    """
    a = _matrix("lu", a, square=False)
    m, n = a.shape[-2:]
    k = min(m, n)
    factors, _, permutation = lax.linalg.lu(a)
    lower = fnp.tril(factors[..., :, :k], -1) + np.eye(m, k, dtype=a.dtype)
    upper = fnp.triu(factors[..., :k, :])
    dtype = np.zeros((), a.dtype).real.dtype
    p = fnp.asarray(permutation[..., None, :] == np.arange(m)[:, None]).astype(dtype)
    return (fnp.matmul(p.astype(a.dtype), lower), upper) if permute_l else (p, lower, upper)


def qr(a: Array, overwrite_a: bool = False, lwork: None = None, mode: str = "full") -> Any:
    """(q, r) with a = q r; q is square for `mode` "full", has min(m, n) columns for "economic"; "r" gives (r,) alone.

    Raises ValueError for another mode.

    >>> import numpy as np
    >>> from fgrad.scipy import linalg
    >>> linalg.qr(np.ones((3, 2)), mode="economic")[0].shape
    (3, 2)
    """
    if mode not in ("full", "economic", "r"):
        raise ValueError(message("qr: mode must be 'full', 'economic' or 'r'", got=repr(mode), do="choose one"))
    q, r = lax.linalg.qr(_matrix("qr", a, square=False), full_matrices=mode != "economic")
    return (r,) if mode == "r" else (q, r)


def svd(
    a: Array, full_matrices: bool = True, compute_uv: bool = True, overwrite_a: bool = False, check_finite: bool = True
) -> Any:
    """(u, s, vᴴ) with a = u diag(s) vᴴ and s descending; s alone without `compute_uv`.

    >>> import numpy as np
    >>> from fgrad.scipy import linalg
    >>> linalg.svd(np.diag([1.0, 2.0]), compute_uv=False)
    array([2., 1.])
    """
    return lax.linalg.svd(_matrix("svd", a, square=False), full_matrices=full_matrices, compute_uv=compute_uv)


def eigh(a: Array, b: None = None, lower: bool = True, eigvals_only: bool = False) -> Any:
    """(ascending eigenvalues, eigenvectors as columns) of Hermitian matrices, of which one triangle is read.

    Values alone for `eigvals_only`. Raises ValueError for a second matrix `b`.

    >>> import numpy as np
    >>> from fgrad.scipy import linalg
    >>> linalg.eigh(np.diag([2.0, 1.0]), eigvals_only=True)
    array([1., 2.])
    """
    if b is not None:
        raise ValueError(message("eigh: solves a x = w x only", do="factor b with cholesky and transform a"))
    a = _matrix("eigh", a)
    uplo = "L" if lower else "U"
    return _linalg.eigvalsh(a, uplo) if eigvals_only else tuple(_linalg.eigh(a, uplo))


def block_diag(*arrs: Array) -> Array:
    """The matrices along the diagonal of a matrix of zeros; vectors are rows, numbers 1 by 1.

    Raises `ShapeError` for arrays of more axes.

    >>> import numpy as np
    >>> from fgrad.scipy import linalg
    >>> linalg.block_diag(np.ones((1, 2)), 3.0)
    array([[1., 1., 0.],
           [0., 0., 3.]])
    """
    blocks = [fnp.atleast_2d(x) for x in arrs] or [np.zeros((1, 0))]
    if any(x.ndim > 2 for x in blocks):
        raise ShapeError(
            message(
                "block_diag: needs matrices", got=[tuple(x.shape) for x in blocks], do="give arrays of at most two axes"
            )
        )
    dtype = np.result_type(*[x.dtype for x in blocks])
    total = sum(x.shape[1] for x in blocks)
    rows, start = [], 0
    for x in blocks:
        stop = start + x.shape[1]
        rows.append(fnp.pad(x.astype(dtype), ((0, 0), (start, total - stop))))
        start = stop
    return fnp.concatenate(rows)


_PADE = (  # numerator of order 13, N. Higham (2005), equation (2.14)
    64764752532480000.0, 32382376266240000.0, 7771770303897600.0, 1187353796428800.0, 129060195264000.0,
    10559470521600.0, 670442572800.0, 33522128640.0, 1323241920.0, 40840800.0, 960960.0, 16380.0, 182.0, 1.0,
)  # fmt: skip
_THETA = 5.371920351148152  # largest 1-norm for which it is exact to double precision, table 2.3
_SQUARINGS = 16


def expm(A: Array) -> Array:
    """The exponential of square matrices, the sum of A^k / k!, by scaling, Padé approximation and squaring.

    A has shape (..., n, n). Where it is traced its 1-norm may be up to 3.5e5: NaN or infinities beyond. Source:
    N. Higham, "The scaling and squaring method for the matrix exponential revisited" (2005).

    >>> import numpy as np
    >>> from fgrad.scipy import linalg
    >>> linalg.expm(np.zeros((2, 2)))
    array([[1., 0.],
           [0., 1.]])
    """
    if type(A) is not Tracer:
        return _scipy_expm(_matrix("expm", A))
    a = _matrix("expm", A)
    norm = lax.stop_gradient(fnp.max(fnp.sum(fnp.abs(a), axis=-2), axis=-1, initial=0.0))
    halvings = fnp.clip(fnp.ceil(fnp.log2(fnp.maximum(norm, _THETA) / _THETA)), 0, _SQUARINGS)[..., None, None]
    a = a * fnp.exp2(-halvings).astype(a.dtype)
    one = np.eye(a.shape[-1], dtype=a.dtype)
    a2 = fnp.matmul(a, a)
    a4 = fnp.matmul(a2, a2)
    a6 = fnp.matmul(a2, a4)
    sums = []
    for c in (_PADE[1::2], _PADE[::2]):
        upper = fnp.matmul(a6, c[6] * a6 + c[5] * a4 + c[4] * a2)
        sums.append(upper + c[3] * a6 + c[2] * a4 + c[1] * a2 + c[0] * one)
    odd, even = fnp.matmul(a, sums[0]), sums[1]
    x = _linalg.solve(even - odd, even + odd)
    known = peek(halvings)
    for k in range(_SQUARINGS if known is None else int(np.max(known, initial=0))):
        x = fnp.where(k < halvings, fnp.matmul(x, x), x)
    return x


def _scipy_expm(a: np.ndarray) -> np.ndarray:
    import scipy.linalg

    return scipy.linalg.expm(a)
