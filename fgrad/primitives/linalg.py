"""Factorizations of matrices and the pseudo-inverse, over any leading axes.

Derivatives as tangent rules; reverse mode is their transposition. Sources: M. Giles, "Collected matrix derivative
results for forward and reverse mode algorithmic differentiation" (2008): Cholesky, eigenvalues; S. Walter and
L. Lehmann, "Algorithmic differentiation of linear algebra functions with application in optimum experimental design"
(2010): QR, eigenvectors; J. Townsend, "Differentiating the singular value decomposition" (2016); G. Golub and
V. Pereyra, "The differentiation of pseudo-inverses and nonlinear least squares problems whose variables separate"
(1973).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.errors import MissingRuleError, message
from ..core.trace import stage
from ..core.types import ShapedArray, complex_dtype, real_dtype, shaped
from .family import p, total, type_of, zeros
from .matrices import (
    Matrices,
    adjoint,
    check_matrix,
    coefficient_times,
    conj,
    diagonal_part,
    divide_triangular,
    from_triangle,
    gaps,
    matmul,
    per_column,
    per_row,
    real_part,
    scattered,
    solve_triangular,
    tril,
    window,
)


class Cholesky(Matrices):
    """The lower triangular l with a = l lᴴ, of the lower triangle of a; LinAlgError unless it is positive definite."""

    raises = True

    def typeof(self, a: ShapedArray) -> tuple[ShapedArray, ...]:
        check_matrix(self.name, a)
        return (a,)

    def run(self, a: Any) -> tuple[Any, ...]:
        return (np.linalg.cholesky(a),)

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], a: Any) -> Sequence[Any]:
        factor = outs[0]
        half = solve_triangular(factor, from_triangle(tangents[0], True), lower=True)
        inner = adjoint(solve_triangular(factor, adjoint(half), lower=True))
        return (matmul(factor, p.sub(tril(inner), p.mul(diagonal_part(inner), 0.5))),)

    def samples(self, draw: Any) -> Any:
        return [scattered(draw, hermitian=True)], {}


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
        a = scattered(draw, rows=draw.integer(0, 2))
        return [np.swapaxes(a, -1, -2).copy() if draw.bool() else a], {"full": False}


def _undetermined(what: str, a: Any, do: str) -> MissingRuleError:
    return MissingRuleError(
        message(
            f"the additional columns of {what} are arbitrary and have no derivative", got=type_of(a), do=f"use {do}"
        )
    )


class Eigh(Matrices):
    """Ascending eigenvalues and orthonormal eigenvectors (as columns) of Hermitian matrices; reads one triangle of a.

    The derivative leaves the phases of the vectors as they are: it is right for what does not depend on them.
    """

    def typeof(self, a: ShapedArray, *, lower: bool) -> tuple[ShapedArray, ...]:
        check_matrix(self.name, a)
        return shaped(a.shape[:-1], real_dtype(a.dtype)), a

    def run(self, a: Any, *, lower: bool) -> tuple[Any, ...]:
        return tuple(np.linalg.eigh(a, "L" if lower else "U"))

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], a: Any, *, lower: bool) -> Sequence[Any]:
        values, vectors = outs
        image = matmul(from_triangle(tangents[0], lower), vectors)
        d_values = real_part(p.reduce_sum(p.mul(conj(vectors), image), axes=(a.ndim - 2,)))
        return d_values, matmul(vectors, coefficient_times(gaps(values), matmul(adjoint(vectors), image)))

    def samples(self, draw: Any) -> Any:
        return [scattered(draw, steps=1, hermitian=True)], {"lower": draw.bool()}


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
        if not a.size:
            return zeros(type_of(values)), zeros(type_of(vectors))
        row = a.ndim - 2
        factors, pivots, _ = p.lu(vectors, differentiable=False)
        image = matmul(p.convert_element_type(tangents[0], dtype=vectors.dtype), vectors)
        inner = p.solve(vectors, factors, pivots, image, transpose=False)
        d_values = p.reduce_sum(diagonal_part(inner), axes=(row,))
        free = matmul(vectors, coefficient_times(gaps(values), inner))
        length = p.real(p.reduce_sum(p.mul(p.conj(vectors), free), axes=(row,)))
        place = p.argmax(p.abs(vectors), axis=row)
        place = p.broadcast_in_dim(place, shape=tuple(a.shape), dims=(*range(row), row + 1))
        largest = p.eq(place, stage(p.iota, dtype=np.dtype(np.int64), shape=tuple(a.shape), axis=row))
        pick = lambda x: p.reduce_sum(p.select(largest, x, zeros(type_of(x))), axes=(row,))  # noqa: E731
        turn = p.mul(p.reciprocal(p.real(pick(vectors))), p.imag(pick(free)))
        return d_values, p.sub(free, p.mul(vectors, per_column(p.complex(length, turn), vectors)))

    def samples(self, draw: Any) -> Any:
        return [scattered(draw, steps=1)], {}


def _without_infinities(a: Any) -> Any:
    """`a`; LAPACK's divide and conquer does not return from infinite elements."""
    if np.isinf(a).any():
        raise np.linalg.LinAlgError("SVD did not converge: an element is infinite")
    return a


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
        out = np.linalg.svd(_without_infinities(a), full, compute_uv)
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
        d_s = real_part(p.reduce_sum(p.mul(conj(u), image), axes=(a.ndim - 2,)))
        if not compute_uv:
            return (d_s,)
        inner = matmul(uh, image)
        rate = gaps(p.square(s))
        right = p.mul(inner, per_column(s, inner))
        left = p.mul(inner, per_row(s, inner))
        turn_u = coefficient_times(rate, p.add(right, adjoint(right)))
        turn_v = coefficient_times(rate, p.add(left, adjoint(left)))
        inverse = p.reciprocal(s)
        if a.dtype.kind == "c":  # the free phase of each pair of vectors is turned in u
            phase = p.mul(p.imag(diagonal_part(inner)), per_column(inverse, p.imag(inner)))
            turn_u = p.add(turn_u, p.complex(zeros(type_of(phase)), phase))
        d_u, d_v = matmul(u, turn_u), matmul(v, turn_v)
        if m > n:
            d_u = p.add(d_u, coefficient_times(per_column(inverse, image), p.sub(image, matmul(u, inner))))
        if n > m:
            back = matmul(adjoint(t), u)
            d_v = p.add(d_v, coefficient_times(per_column(inverse, back), p.sub(back, matmul(v, adjoint(inner)))))
        return d_u, d_s, adjoint(d_v)

    def samples(self, draw: Any) -> Any:
        return [scattered(draw, steps=1, rows=draw.integer(0, 2))], {"full": False, "compute_uv": draw.bool()}


class PInv(Matrices):
    """The Moore-Penrose inverse, singular values up to `rtol` times the largest taken for zero.

    The derivative holds where the rank does not change.
    """

    def typeof(self, a: ShapedArray, *, rtol: float, hermitian: bool) -> tuple[ShapedArray, ...]:
        check_matrix(self.name, a, square=hermitian)
        return (shaped((*a.shape[:-2], a.shape[-1], a.shape[-2]), a.dtype),)

    def run(self, a: Any, *, rtol: float, hermitian: bool) -> tuple[Any, ...]:
        return (np.ascontiguousarray(np.linalg.pinv(_without_infinities(a), rtol, hermitian)),)

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
        return [scattered(draw, rows=draw.integer(0, 2))], {"rtol": 1e-12, "hermitian": False}


cholesky = Cholesky("cholesky")
qr = QR("qr")
eigh = Eigh("eigh")
eig = Eig("eig")
svd = SVD("svd")
pinv = PInv("pinv")
