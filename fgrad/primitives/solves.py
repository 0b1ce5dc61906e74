"""Systems of linear equations and determinants, over any leading axes.

Derivatives of the inverse and the determinant: M. Giles, "Collected matrix derivative results for forward and reverse
mode algorithmic differentiation" (2008). Reverse mode is the transposition of these tangent rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.errors import DtypeError, ShapeError, message
from ..core.primitive import is_linear
from ..core.trace import stage
from ..core.types import ShapedArray, real_dtype, shaped
from .family import full, p, total, type_of, zeros
from .matrices import (
    Matrices,
    check_matrix,
    conj,
    divide_triangular,
    matmul,
    on_diagonal,
    padded,
    scattered,
    solve_triangular,
    trace,
    transposed,
    tril,
    triu,
    where_pair,
    window,
)

_INT = np.dtype(np.int32)


def _in_columns(size: int, b: Any) -> Any:
    """(size, ..., n, k) -> (..., n, size k): lanes that share a matrix become further right sides."""
    n = b.ndim
    moved = p.transpose(b, axes=(*range(1, n - 1), 0, n - 1))
    return p.reshape(moved, shape=(*b.shape[1:-1], size * b.shape[-1]))


def _from_columns(size: int, x: Any) -> Any:
    n = x.ndim
    split = p.reshape(x, shape=(*x.shape[:-1], size, x.shape[-1] // size))
    return p.transpose(split, axes=(n - 1, *range(n - 1), n))


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
        a = scattered(draw)
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
            upper = p.select(p.bit_and(where_pair(upper, p.eq), _row_from(upper, k)), _ones(upper), upper)
        moved = solve_triangular(lower, _permuted(tangents[0], permutation), lower=True, unit_diagonal=True)
        moved = divide_triangular(moved, upper, lower=False)
        return (p.add(matmul(lower, tril(moved, -1)), matmul(triu(moved), upper)), None, None)

    def samples(self, draw: Any) -> Any:
        a = scattered(draw, rows=draw.integer(0, 2))
        return [np.swapaxes(a, -1, -2).copy() if draw.bool() else a], {"differentiable": True}


def _ones(x: Any) -> Any:
    return full(1, type_of(x))


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
        a = scattered(draw)
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
            elif not np.isfinite(a[i]).all():
                out[i] = np.nan
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


triangular_solve = TriangularSolve("triangular_solve")
lu = LU("lu")
solve = Solve("solve")
det = Det("det")
cofactor = Cofactor("cofactor")
slogdet = SLogDet("slogdet")
