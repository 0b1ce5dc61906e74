"""Factorizations of matrices and solves, over any leading axes.

Derivatives as tangent rules; reverse mode is their transposition. Sources: M. Giles, "Collected matrix derivative
results for forward and reverse mode algorithmic differentiation" (2008): inverse, determinant, Cholesky, eigenvalues;
J. Townsend, "Differentiating the singular value decomposition" (2016); S. Walter and L. Lehmann, "Algorithmic
differentiation of linear algebra functions with application in optimum experimental design" (2010): QR and eigh;
G. Golub and V. Pereyra, "The differentiation of pseudo-inverses" (1973).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.effects import NONE, RAISES, Effects
from ..core.errors import DtypeError, MissingRuleError, ShapeError, message
from ..core.primitive import Primitive, is_linear
from ..core.trace import stage
from ..core.types import ShapedArray, complex_dtype, real_dtype, shaped
from .family import align, p, total, type_of, zeros

_INT = np.dtype(np.int32)


# ------------------------------------------------------------------------------------------------- matrices in rules


def conj(x: Any) -> Any:
    """The complex conjugate; real arrays as they are."""
    return p.conj(x) if x.dtype.kind == "c" else x


def transposed(x: Any) -> Any:
    """x with its last two axes exchanged."""
    n = x.ndim
    return p.transpose(x, axes=(*range(n - 2), n - 1, n - 2))


def adjoint(x: Any) -> Any:
    """The conjugate transpose."""
    return conj(transposed(x))


def matmul(x: Any, w: Any) -> Any:
    """Matrix product over equal leading axes."""
    n = x.ndim
    lead = tuple(range(n - 2))
    return p.dot_general(x, w, contract=((n - 1,), (n - 2,)), batch=(lead, lead))


def hermitian(x: Any) -> Any:
    """(x + xᴴ) / 2."""
    return p.mul(p.add(x, adjoint(x)), 0.5)


def _pair(x: Any, compare: Any, k: int = 0) -> Any:
    """Where compare(column, row + k) holds, at the shape of x."""
    shape = tuple(x.shape[-2:])
    rows, columns = (stage(p.iota, dtype=_INT, shape=shape, axis=a) for a in (0, 1))
    return p.broadcast_in_dim(
        compare(columns, p.add(rows, k) if k else rows), shape=tuple(x.shape), dims=(x.ndim - 2, x.ndim - 1)
    )


def tril(x: Any, k: int = 0) -> Any:
    """x on and below its k-th diagonal, zero elsewhere."""
    return p.select(_pair(x, p.le, k), x, zeros(type_of(x)))


def triu(x: Any, k: int = 0) -> Any:
    """x on and above its k-th diagonal, zero elsewhere."""
    return p.select(_pair(x, p.ge, k), x, zeros(type_of(x)))


def on_diagonal(x: Any, value: Any) -> Any:
    """x with its main diagonal replaced by a number."""
    return p.select(_pair(x, p.eq), p.broadcast_in_dim(x.dtype.type(value), shape=tuple(x.shape), dims=()), x)


def diagonal_part(x: Any) -> Any:
    """x on its main diagonal, zero elsewhere."""
    return p.select(_pair(x, p.eq), x, zeros(type_of(x)))


def trace(x: Any) -> Any:
    """Sum of the main diagonal."""
    return p.reduce_sum(diagonal_part(x), axes=(x.ndim - 2, x.ndim - 1))


def per_column(v: Any, x: Any) -> Any:
    """The vectors v (..., n) as rows repeated to the shape of x (..., m, n), at its dtype."""
    v = p.convert_element_type(v, dtype=x.dtype) if v.dtype != x.dtype else v
    return p.broadcast_in_dim(v, shape=tuple(x.shape), dims=(*range(x.ndim - 2), x.ndim - 1))


def per_row(v: Any, x: Any) -> Any:
    """The vectors v (..., m) as columns repeated to the shape of x (..., m, n), at its dtype."""
    v = p.convert_element_type(v, dtype=x.dtype) if v.dtype != x.dtype else v
    return p.broadcast_in_dim(v, shape=tuple(x.shape), dims=tuple(range(x.ndim - 1)))


def window(x: Any, rows: int, columns: int, row: int = 0, column: int = 0) -> Any:
    """A block of each matrix."""
    starts = [np.int64(0)] * (x.ndim - 2) + [np.int64(row), np.int64(column)]
    return p.dynamic_slice(x, *starts, sizes=(*x.shape[:-2], rows, columns), strides=(1,) * x.ndim)


def padded(x: Any, rows: int, columns: int) -> Any:
    """Each matrix with zeros below and to the right, to the given size."""
    none = (0,) * (x.ndim - 2)
    high = (*none, rows - x.shape[-2], columns - x.shape[-1])
    return p.pad(x, x.dtype.type(0), low=(0,) * x.ndim, high=high, interior=(0,) * x.ndim)


def _real(x: Any) -> Any:
    return p.real(x) if x.dtype.kind == "c" else x


def _gaps(values: Any) -> Any:
    """1 / (v_j - v_i), zero on the diagonal; infinite where values coincide, for there the vectors have no derivative."""
    n = values.shape[-1]
    shape, k = (*values.shape, n), values.ndim
    ahead = p.broadcast_in_dim(values, shape=shape, dims=(*range(k - 1), k))
    behind = p.broadcast_in_dim(values, shape=shape, dims=tuple(range(k)))
    return on_diagonal(p.reciprocal(on_diagonal(p.sub(ahead, behind), 1)), 0)


def _scaled(coefficient: Any, t: Any) -> Any:
    """Elementwise product with a real or complex coefficient at the dtype of t."""
    if coefficient.dtype != t.dtype:
        coefficient = p.convert_element_type(coefficient, dtype=t.dtype)
    return p.mul0(coefficient, t)


# ---------------------------------------------------------------------------------------------------------- families


def check_matrix(name: str, a: ShapedArray, *, square: bool = True) -> None:
    """Raise `ShapeError` or `DtypeError` unless `a` holds (square) matrices of a dtype that LAPACK knows."""
    if a.ndim < 2 or (square and a.shape[-1] != a.shape[-2]):
        raise ShapeError(
            message(
                f"{name}: the last two axes must be {'equal, those of square matrices' if square else 'those of matrices'}",
                got=a,
                do="give an array of shape (..., n, n)" if square else "give an array of shape (..., m, n)",
            )
        )
    if a.dtype.kind not in "fc" or a.dtype == np.float16:
        raise DtypeError(
            message(f"{name} is not defined for {a.dtype}", got=a, do="convert to float32/64 or complex64/128")
        )


class Matrices(Primitive):
    """An operation on stacks of matrices: a mapped axis is one more leading axis."""

    raises = False

    def effects(self, *types: ShapedArray, **params: Any) -> Effects:
        return RAISES if self.raises else NONE

    def batch(self, size: int, mapped: Sequence[bool], *xs: Any, **params: Any) -> tuple[Sequence[Any], Sequence[bool]]:
        outs = self(*align(size, mapped, xs), **params)
        outs = outs if isinstance(outs, tuple) else (outs,)
        return outs, [True] * len(outs)


def _in_columns(size: int, b: Any) -> Any:
    """(size, ..., n, k) -> (..., n, size k): lanes that share a matrix become further right sides."""
    n = b.ndim
    moved = p.transpose(b, axes=(*range(1, n - 1), 0, n - 1))
    return p.reshape(moved, shape=(*b.shape[1:-1], size * b.shape[-1]))


def _from_columns(size: int, x: Any) -> Any:
    n = x.ndim
    split = p.reshape(x, shape=(*x.shape[:-1], size, x.shape[-1] // size))
    return p.transpose(split, axes=(n - 1, *range(n - 1), n))


def _scattered(draw: Any, *, steps: float = 0.0, hermitian: bool = False, rows: int = 0) -> Any:
    """A well-conditioned random matrix; with `steps`, one whose eigenvalues and singular values keep that distance."""
    n = draw.integer(0, 3)
    lead = draw.shape(max_dims=1)
    x = draw.array((*lead, n + rows, n), draw.sampled(["f8", "c16"]), "unit")
    if hermitian:
        x = (x + np.conj(np.swapaxes(x, -1, -2))) / 2
    return x + 4 * (n + 1) * np.eye(n + rows, n, dtype=x.dtype) * (1 + steps * np.arange(n))


# ------------------------------------------------------------------------------------------------------------ solves


class TriangularSolve(Matrices):
    """x with op(a) x = b; only the lower (upper) triangle of a is read, its diagonal as ones where `unit_diagonal`.

    op transposes and conjugates as told. A zero on the diagonal gives infinities, as a division does.
    """

    def typeof(self, a: ShapedArray, b: ShapedArray, **params: Any) -> tuple[ShapedArray, ...]:
        _check_system(self.name, a, b)
        return (b,)

    def run(
        self, a: Any, b: Any, *, lower: bool, transpose_a: bool, conjugate_a: bool, unit_diagonal: bool
    ) -> tuple[Any, ...]:
        from scipy.linalg.blas import get_blas_funcs

        b = np.asarray(b)
        x = np.empty(b.shape, b.dtype)
        if x.size:
            a = np.conj(a) if conjugate_a and b.dtype.kind == "c" else np.asarray(a)
            trsm = get_blas_funcs("trsm", (a, b))
            for i in np.ndindex(b.shape[:-2]):
                # BLAS counts columns first: a C-ordered matrix is the transpose there, and so taken without a copy
                x[i] = trsm(1, a[i].T, b[i], lower=not lower, trans_a=not transpose_a, diag=unit_diagonal)
        return (x,)

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], a: Any, b: Any, **params: Any) -> Sequence[Any]:
        t, u = tangents
        moved = None
        if t is not None:
            unit = -1 if params["unit_diagonal"] else 0
            t = tril(t, unit) if params["lower"] else triu(t, -unit)
            t = transposed(t) if params["transpose_a"] else t
            moved = p.neg(matmul(conj(t) if params["conjugate_a"] else t, outs[0]))
        return (self(a, total([u, moved]), **params),)

    def pull(self, cts: Sequence[Any], a: Any, b: Any, **params: Any) -> Sequence[Any]:
        if is_linear(a):
            return super().pull(cts, a, b, **params)
        return (None, self(a, cts[0], **{**params, "transpose_a": not params["transpose_a"]}))

    def batch(self, size: int, mapped: Sequence[bool], a: Any, b: Any, **params: Any) -> Any:
        if not mapped[0]:
            return [_from_columns(size, self(a, _in_columns(size, b), **params))], [True]
        return super().batch(size, mapped, a, b, **params)

    def samples(self, draw: Any) -> Any:
        a = _scattered(draw)
        flags = ("lower", "transpose_a", "conjugate_a", "unit_diagonal")
        return [a, draw.array((*a.shape[:-1], draw.integer(0, 2)), a.dtype.str[1:])], {f: draw.bool() for f in flags}


def _check_system(name: str, a: ShapedArray, b: ShapedArray) -> None:
    check_matrix(name, a)
    if b.ndim != a.ndim or b.shape[:-1] != a.shape[:-1]:
        raise ShapeError(
            message(
                f"{name}: the right side does not fit the matrix",
                got=f"{a} and {b}",
                do="give b the shape (..., n, k) for a of (..., n, n)",
            )
        )
    if a.dtype != b.dtype:
        raise DtypeError(message(f"{name}: operands have different dtypes", got=f"{a} and {b}", do="convert first"))


def solve_triangular(a: Any, b: Any, *, lower: bool, adjoint_a: bool = False, unit_diagonal: bool = False) -> Any:
    """a⁻¹ b, or a⁻ᴴ b."""
    return p.triangular_solve(
        a, b, lower=lower, transpose_a=adjoint_a, conjugate_a=adjoint_a, unit_diagonal=unit_diagonal
    )


def divide_triangular(b: Any, a: Any, *, lower: bool) -> Any:
    """b a⁻¹."""
    flags = {"lower": lower, "transpose_a": True, "conjugate_a": False, "unit_diagonal": False}
    return transposed(p.triangular_solve(a, transposed(b), **flags))


class LU(Matrices):
    """p a = l u with partial pivoting: (l and u in one matrix, row exchanges, the permutation they amount to).

    The unit diagonal of l is not stored; both index arrays are int32. `differentiable=False`: working data of `solve`
    and its like, which know the derivative by `a` themselves.
    """

    def typeof(self, a: ShapedArray, *, differentiable: bool) -> tuple[ShapedArray, ...]:
        check_matrix(self.name, a, square=False)
        lead, (m, n) = a.shape[:-2], a.shape[-2:]
        return a, shaped((*lead, min(m, n)), _INT), shaped((*lead, m), _INT)

    def run(self, a: Any, *, differentiable: bool) -> tuple[Any, ...]:
        from scipy.linalg.lapack import get_lapack_funcs

        a = np.asarray(a)
        m, n = a.shape[-2:]
        factors, pivots = np.empty(a.shape, a.dtype), np.zeros((*a.shape[:-2], min(m, n)), _INT)
        permutation = np.empty(a.shape[:-1], _INT)
        permutation[...] = np.arange(m, dtype=_INT)
        if a.size:
            getrf = get_lapack_funcs("getrf", (a,))
            for i in np.ndindex(a.shape[:-2]):
                factors[i], pivots[i], _ = getrf(a[i])
                order = list(range(m))
                for k, j in enumerate(pivots[i].tolist()):
                    order[k], order[j] = order[j], order[k]
                permutation[i] = order
        return factors, pivots, permutation

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], a: Any, *, differentiable: bool) -> Sequence[Any]:
        if not differentiable:
            return (None, None, None)
        factors, _, permutation = outs
        m, n = a.shape[-2:]
        k = min(m, n)
        # both factors made square by rows and columns of the identity
        lower = on_diagonal(tril(padded(window(factors, m, k), m, m), -1), 1)
        upper = triu(padded(window(factors, k, n), n, n))
        if k < n:
            upper = p.select(p.bit_and(_pair(upper, p.eq), _row_from(upper, k)), _ones(upper), upper)
        moved = solve_triangular(lower, _permuted(tangents[0], permutation), lower=True, unit_diagonal=True)
        moved = divide_triangular(moved, upper, lower=False)
        return (p.add(matmul(lower, tril(moved, -1)), matmul(triu(moved), upper)), None, None)

    def samples(self, draw: Any) -> Any:
        a = _scattered(draw, rows=draw.integer(0, 2))
        return [np.swapaxes(a, -1, -2).copy() if draw.bool() else a], {"differentiable": True}


def _ones(x: Any) -> Any:
    return p.broadcast_in_dim(x.dtype.type(1), shape=tuple(x.shape), dims=())


def _row_from(x: Any, k: int) -> Any:
    shape = tuple(x.shape[-2:])
    below = p.ge(stage(p.iota, dtype=_INT, shape=shape, axis=0), k)
    return p.broadcast_in_dim(below, shape=tuple(x.shape), dims=(x.ndim - 2, x.ndim - 1))


def _permuted(x: Any, permutation: Any) -> Any:
    """Rows of each matrix in the given order."""
    shape = tuple(permutation.shape)
    lead = [stage(p.iota, dtype=_INT, shape=shape, axis=a) for a in range(x.ndim - 2)]
    return p.gather(x, *lead, permutation, axes=tuple(range(x.ndim - 1)), mode="promise")


class Factored(Matrices):
    """A function of square matrices `a` that is computed from their LU factors.

    `factors` and `pivots` must be those of `a`. They carry no derivative: `a` does, at every order, and so one
    factorization serves the value and all derivatives.
    """

    def samples(self, draw: Any) -> Any:
        a = _scattered(draw)
        return [a, *lu.run(a, differentiable=False)[:2]], {}


class Solve(Factored):
    """x with a x = b, or aᵀ x = b. Raises LinAlgError where a is exactly singular."""

    raises = True

    def typeof(
        self, a: ShapedArray, factors: ShapedArray, pivots: ShapedArray, b: ShapedArray, *, transpose: bool
    ) -> tuple[ShapedArray, ...]:
        _check_system(self.name, a, b)
        return (b,)

    def run(self, a: Any, factors: Any, pivots: Any, b: Any, *, transpose: bool) -> tuple[Any, ...]:
        from scipy.linalg.lapack import get_lapack_funcs

        factors, b = np.asarray(factors), np.asarray(b)
        if np.any(np.diagonal(factors, 0, -2, -1) == 0):
            raise np.linalg.LinAlgError("Singular matrix")
        x = np.empty(b.shape, b.dtype)
        if x.size:
            getrs = get_lapack_funcs("getrs", (factors, b))
            for i in np.ndindex(b.shape[:-2]):
                x[i], _ = getrs(factors[i], pivots[i], b[i], trans=int(transpose))
        return (x,)

    def tangent(
        self,
        tangents: Sequence[Any],
        outs: Sequence[Any],
        a: Any,
        factors: Any,
        pivots: Any,
        b: Any,
        *,
        transpose: bool,
    ) -> Sequence[Any]:
        t, _, _, u = tangents
        moved = None if t is None else p.neg(matmul(transposed(t) if transpose else t, outs[0]))
        rhs = total([u, moved])
        return (None if rhs is None else self(a, factors, pivots, rhs, transpose=transpose),)

    def pull(self, cts: Sequence[Any], a: Any, factors: Any, pivots: Any, b: Any, *, transpose: bool) -> Sequence[Any]:
        if is_linear(a):
            return super().pull(cts, a, factors, pivots, b, transpose=transpose)
        return (None, None, None, self(a, factors, pivots, cts[0], transpose=not transpose))

    def batch(self, size: int, mapped: Sequence[bool], *xs: Any, transpose: bool) -> Any:
        if not any(mapped[:3]):
            return [_from_columns(size, self(*xs[:3], _in_columns(size, xs[3]), transpose=transpose))], [True]
        return super().batch(size, mapped, *xs, transpose=transpose)

    def samples(self, draw: Any) -> Any:
        (a, factors, pivots), _ = super().samples(draw)
        b = draw.array((*a.shape[:-1], draw.integer(0, 2)), a.dtype.str[1:])
        return [a, factors, pivots, b], {"transpose": draw.bool()}


class Det(Factored):
    """The determinant."""

    def typeof(self, a: ShapedArray, factors: ShapedArray, pivots: ShapedArray) -> tuple[ShapedArray, ...]:
        check_matrix(self.name, a)
        return (shaped(a.shape[:-2], a.dtype),)

    def run(self, a: Any, factors: Any, pivots: Any) -> tuple[Any, ...]:
        exchanges = np.count_nonzero(pivots != np.arange(np.shape(pivots)[-1]), axis=-1)
        product = np.prod(np.diagonal(factors, 0, -2, -1), axis=-1, dtype=factors.dtype)
        return (np.where(exchanges % 2, -product, product)[()],)

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], *xs: Any) -> Sequence[Any]:
        t = tangents[0]
        return (None if t is None else p.reduce_sum(p.mul(p.cofactor(*xs), t), axes=(t.ndim - 2, t.ndim - 1)),)


class Cofactor(Factored):
    """The cofactor matrix, det(a) a⁻ᵀ where a is regular: the derivative of the determinant."""

    def typeof(self, a: ShapedArray, factors: ShapedArray, pivots: ShapedArray) -> tuple[ShapedArray, ...]:
        check_matrix(self.name, a)
        return (a,)

    def run(self, a: Any, factors: Any, pivots: Any) -> tuple[Any, ...]:
        a, factors = np.asarray(a), np.asarray(factors)
        n = a.shape[-1]
        out = np.empty(a.shape, a.dtype)
        for i in np.ndindex(a.shape[:-2]):
            (value,) = det.run(a[i], factors[i], pivots[i])
            if value and np.isfinite(value):
                out[i] = value * solve.run(a[i], factors[i], pivots[i], np.eye(n, dtype=a.dtype), transpose=True)[0]
            elif n:  # of the factors of the singular value decomposition, which exist at every rank
                u, s, vh = np.linalg.svd(a[i])
                others = np.prod(np.where(np.eye(n, dtype=bool), 1, s), axis=-1)
                out[i] = np.linalg.det(u) * np.linalg.det(vh) * (np.conj(u) * others) @ np.conj(vh)
        return (out,)

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], *xs: Any) -> Sequence[Any]:
        t, c = tangents[0], outs[0]
        if t is None:
            return (None,)
        ratio = p.solve(*xs, t, transpose=False)
        scale = trace(ratio)
        whole = p.broadcast_in_dim(scale, shape=tuple(c.shape), dims=tuple(range(c.ndim - 2)))
        return (p.sub(p.mul(c, whole), matmul(c, transposed(ratio))),)


class SLogDet(Factored):
    """(sign, logarithm of the absolute value) of the determinant."""

    def typeof(self, a: ShapedArray, factors: ShapedArray, pivots: ShapedArray) -> tuple[ShapedArray, ...]:
        check_matrix(self.name, a)
        return shaped(a.shape[:-2], a.dtype), shaped(a.shape[:-2], real_dtype(a.dtype))

    def run(self, a: Any, factors: Any, pivots: Any) -> tuple[Any, ...]:
        diagonal = np.diagonal(factors, 0, -2, -1)
        exchanges = np.count_nonzero(pivots != np.arange(np.shape(pivots)[-1]), axis=-1)
        sign = np.prod(np.sign(diagonal), axis=-1, dtype=diagonal.dtype)
        with np.errstate(divide="ignore"):
            logarithm = np.sum(np.log(np.abs(diagonal)), axis=-1)
        return np.where(exchanges % 2, -sign, sign)[()], logarithm

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], *xs: Any) -> Sequence[Any]:
        t = tangents[0]
        if t is None:
            return (None, None)
        change = trace(p.solve(*xs, t, transpose=False))
        if change.dtype.kind != "c":
            return (None, change)
        turn = p.imag(change)
        return p.mul(outs[0], p.complex(zeros(type_of(turn)), turn)), p.real(change)


# ---------------------------------------------------------------------------------------------------- factorizations


class Cholesky(Matrices):
    """The lower triangular l with a = l lᴴ; reads the lower triangle of a. Raises LinAlgError unless a is positive definite.

    The derivative is that of the function of (a + aᴴ) / 2.
    """

    raises = True

    def typeof(self, a: ShapedArray) -> tuple[ShapedArray, ...]:
        check_matrix(self.name, a)
        return (a,)

    def run(self, a: Any) -> tuple[Any, ...]:
        return (np.linalg.cholesky(a),)

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], a: Any) -> Sequence[Any]:
        factor = outs[0]
        half = solve_triangular(factor, hermitian(tangents[0]), lower=True)
        inner = adjoint(solve_triangular(factor, adjoint(half), lower=True))
        return (matmul(factor, p.sub(tril(inner), p.mul(diagonal_part(inner), 0.5))),)

    def samples(self, draw: Any) -> Any:
        return [_scattered(draw, hermitian=True)], {}


class QR(Matrices):
    """a = q r: orthonormal columns times an upper triangle. `full`: q is square."""

    def typeof(self, a: ShapedArray, *, full: bool) -> tuple[ShapedArray, ...]:
        check_matrix(self.name, a, square=False)
        lead, (m, n) = a.shape[:-2], a.shape[-2:]
        k = m if full else min(m, n)
        return shaped((*lead, m, k), a.dtype), shaped((*lead, k, n), a.dtype)

    def run(self, a: Any, *, full: bool) -> tuple[Any, ...]:
        return tuple(np.linalg.qr(a, "complete" if full else "reduced"))

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], a: Any, *, full: bool) -> Sequence[Any]:
        t, (q, r) = tangents[0], outs
        m, n = a.shape[-2:]
        if full and m > n:
            raise _undetermined("qr(mode='complete')", a, "mode='reduced'")
        k = min(m, n)
        square, left = (r, t) if n == k else (window(r, k, k), window(t, m, k))
        ratio = divide_triangular(left, square, lower=False)
        inner = matmul(adjoint(q), ratio)
        below = tril(inner, -1)
        turn = p.sub(below, adjoint(below))
        if a.dtype.kind == "c":  # the diagonal of r stays real
            phase = p.imag(diagonal_part(inner))
            turn = p.add(turn, p.complex(zeros(type_of(phase)), phase))
        dq = p.add(ratio, matmul(q, p.sub(turn, inner)))
        dr = matmul(p.sub(inner, turn), square)
        if n > k:
            rest = window(a, m, n - k, 0, k)
            more = p.add(matmul(adjoint(dq), rest), matmul(adjoint(q), window(t, m, n - k, 0, k)))
            dr = p.concatenate(dr, more, axis=dr.ndim - 1)
        return dq, dr

    def samples(self, draw: Any) -> Any:
        a = _scattered(draw, rows=draw.integer(0, 2))
        return [np.swapaxes(a, -1, -2).copy() if draw.bool() else a], {"full": False}


def _undetermined(what: str, a: Any, do: str) -> MissingRuleError:
    return MissingRuleError(
        message(
            f"the additional columns of {what} are arbitrary and have no derivative", got=type_of(a), do=f"use {do}"
        )
    )


class Eigh(Matrices):
    """Ascending eigenvalues and orthonormal eigenvectors (as columns) of Hermitian matrices; reads one triangle of a.

    The derivative is that of the function of (a + aᴴ) / 2, with the phases of the vectors held.
    """

    def typeof(self, a: ShapedArray, *, lower: bool) -> tuple[ShapedArray, ...]:
        check_matrix(self.name, a)
        return shaped(a.shape[:-1], real_dtype(a.dtype)), a

    def run(self, a: Any, *, lower: bool) -> tuple[Any, ...]:
        return tuple(np.linalg.eigh(a, "L" if lower else "U"))

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], a: Any, *, lower: bool) -> Sequence[Any]:
        values, vectors = outs
        image = matmul(hermitian(tangents[0]), vectors)
        d_values = _real(p.reduce_sum(p.mul(conj(vectors), image), axes=(a.ndim - 2,)))
        return d_values, matmul(vectors, _scaled(_gaps(values), matmul(adjoint(vectors), image)))

    def samples(self, draw: Any) -> Any:
        return [_scattered(draw, steps=1, hermitian=True)], {"lower": draw.bool()}


class Eig(Matrices):
    """Eigenvalues and eigenvectors (as columns) of any square matrices: complex always, whatever the values are.

    Vectors have length one and a real largest component; the derivative keeps it so.
    """

    def typeof(self, a: ShapedArray) -> tuple[ShapedArray, ...]:
        check_matrix(self.name, a)
        dtype = complex_dtype(a.dtype)
        return shaped(a.shape[:-1], dtype), shaped(a.shape, dtype)

    def run(self, a: Any) -> tuple[Any, ...]:
        dtype = complex_dtype(np.asarray(a).dtype)
        return tuple(x.astype(dtype) for x in np.linalg.eig(a))

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], a: Any) -> Sequence[Any]:
        values, vectors = outs
        row = a.ndim - 2
        factors, pivots, _ = p.lu(vectors, differentiable=False)
        image = matmul(p.convert_element_type(tangents[0], dtype=vectors.dtype), vectors)
        inner = p.solve(vectors, factors, pivots, image, transpose=False)
        d_values = p.reduce_sum(diagonal_part(inner), axes=(row,))
        free = matmul(vectors, _scaled(_gaps(values), inner))
        length = p.real(p.reduce_sum(p.mul(p.conj(vectors), free), axes=(row,)))
        place = p.argmax(p.abs(vectors), axis=row)
        place = p.broadcast_in_dim(place, shape=tuple(a.shape), dims=(*range(row), row + 1))
        largest = p.eq(place, stage(p.iota, dtype=np.dtype(np.int64), shape=tuple(a.shape), axis=row))
        pick = lambda x: p.reduce_sum(p.select(largest, x, zeros(type_of(x))), axes=(row,))  # noqa: E731
        turn = p.mul(p.reciprocal(p.real(pick(vectors))), p.imag(pick(free)))
        return d_values, p.sub(free, p.mul(vectors, per_column(p.complex(length, turn), vectors)))

    def samples(self, draw: Any) -> Any:
        return [_scattered(draw, steps=1)], {}


class SVD(Matrices):
    """(u, s, vᴴ) with a = u diag(s) vᴴ and s descending; s alone without `compute_uv`. `full`: u and v are square.

    The derivative leaves phases undetermined: it is right for what does not depend on them.
    """

    def typeof(self, a: ShapedArray, *, full: bool, compute_uv: bool) -> tuple[ShapedArray, ...]:
        check_matrix(self.name, a, square=False)
        lead, (m, n) = a.shape[:-2], a.shape[-2:]
        k = min(m, n)
        s = shaped((*lead, k), real_dtype(a.dtype))
        if not compute_uv:
            return (s,)
        return shaped((*lead, m, m if full else k), a.dtype), s, shaped((*lead, n if full else k, n), a.dtype)

    def run(self, a: Any, *, full: bool, compute_uv: bool) -> tuple[Any, ...]:
        out = np.linalg.svd(a, full, compute_uv)
        return tuple(out) if compute_uv else (out,)

    def tangent(
        self, tangents: Sequence[Any], outs: Sequence[Any], a: Any, *, full: bool, compute_uv: bool
    ) -> Sequence[Any]:
        m, n = a.shape[-2:]
        if compute_uv and full and m != n:
            raise _undetermined("svd(full_matrices=True)", a, "full_matrices=False")
        t = tangents[0]
        u, s, vh = outs if compute_uv else p.svd(a, full=False, compute_uv=True)
        uh, v = adjoint(u), adjoint(vh)
        image = matmul(t, v)
        d_s = _real(p.reduce_sum(p.mul(conj(u), image), axes=(a.ndim - 2,)))
        if not compute_uv:
            return (d_s,)
        inner = matmul(uh, image)
        gaps = _gaps(p.square(s))
        right = p.mul(inner, per_column(s, inner))
        left = p.mul(inner, per_row(s, inner))
        turn_u = _scaled(gaps, p.add(right, adjoint(right)))
        turn_v = _scaled(gaps, p.add(left, adjoint(left)))
        inverse = p.reciprocal(s)
        if a.dtype.kind == "c":  # the free phase of each pair of vectors is turned in u
            phase = p.mul(p.imag(diagonal_part(inner)), per_column(inverse, p.imag(inner)))
            turn_u = p.add(turn_u, p.complex(zeros(type_of(phase)), phase))
        d_u, d_v = matmul(u, turn_u), matmul(v, turn_v)
        if m > n:
            d_u = p.add(d_u, _scaled(per_column(inverse, image), p.sub(image, matmul(u, inner))))
        if n > m:
            back = matmul(adjoint(t), u)
            d_v = p.add(d_v, _scaled(per_column(inverse, back), p.sub(back, matmul(v, adjoint(inner)))))
        return d_u, d_s, adjoint(d_v)

    def samples(self, draw: Any) -> Any:
        return [_scattered(draw, steps=1, rows=draw.integer(0, 2))], {"full": False, "compute_uv": draw.bool()}


class PInv(Matrices):
    """The Moore-Penrose inverse, singular values up to `rtol` times the largest taken for zero.

    The derivative holds where the rank does not change.
    """

    def typeof(self, a: ShapedArray, *, rtol: float, hermitian: bool) -> tuple[ShapedArray, ...]:
        check_matrix(self.name, a, square=hermitian)
        return (shaped((*a.shape[:-2], a.shape[-1], a.shape[-2]), a.dtype),)

    def run(self, a: Any, *, rtol: float, hermitian: bool) -> tuple[Any, ...]:
        return (np.ascontiguousarray(np.linalg.pinv(a, rtol, hermitian)),)

    def tangent(
        self, tangents: Sequence[Any], outs: Sequence[Any], a: Any, *, rtol: float, hermitian: bool
    ) -> Sequence[Any]:
        t, y = tangents[0], outs[0]
        th, yh = adjoint(t), adjoint(y)
        rows = matmul(matmul(y, yh), th)
        columns = matmul(th, matmul(yh, y))
        parts = [
            p.neg(matmul(matmul(y, t), y)),
            p.sub(rows, matmul(matmul(rows, a), y)),
            p.sub(columns, matmul(y, matmul(a, columns))),
        ]
        return (total(parts),)

    def samples(self, draw: Any) -> Any:
        return [_scattered(draw, rows=draw.integer(0, 2))], {"rtol": 1e-12, "hermitian": False}


triangular_solve = TriangularSolve("triangular_solve")
lu = LU("lu")
solve = Solve("solve")
det = Det("det")
cofactor = Cofactor("cofactor")
slogdet = SLogDet("slogdet")
cholesky = Cholesky("cholesky")
qr = QR("qr")
eigh = Eigh("eigh")
eig = Eig("eig")
svd = SVD("svd")
pinv = PInv("pinv")
