"""Stacks of matrices: the calculus that the rules of `solves` and `linalg` are written in, and the family of both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.effects import NONE, RAISES, Effects
from ..core.errors import DtypeError, ShapeError, message
from ..core.primitive import Primitive
from ..core.trace import stage
from ..core.types import ShapedArray
from .family import align, full, p, type_of, zeros

_INT = np.dtype(np.int32)


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


def where_pair(x: Any, compare: Any, k: int = 0) -> Any:
    """Where compare(column, row + k) holds, at the shape of x."""
    shape = tuple(x.shape[-2:])
    rows, columns = (stage(p.iota, dtype=_INT, shape=shape, axis=a) for a in (0, 1))
    return p.broadcast_in_dim(
        compare(columns, p.add(rows, k) if k else rows), shape=tuple(x.shape), dims=(x.ndim - 2, x.ndim - 1)
    )


def tril(x: Any, k: int = 0) -> Any:
    """x on and below its k-th diagonal, zero elsewhere."""
    return p.select(where_pair(x, p.le, k), x, zeros(type_of(x)))


def triu(x: Any, k: int = 0) -> Any:
    """x on and above its k-th diagonal, zero elsewhere."""
    return p.select(where_pair(x, p.ge, k), x, zeros(type_of(x)))


def on_diagonal(x: Any, value: Any) -> Any:
    """x with its main diagonal replaced by a number."""
    return p.select(where_pair(x, p.eq), full(value, type_of(x)), x)


def diagonal_part(x: Any) -> Any:
    """x on its main diagonal, zero elsewhere."""
    return p.select(where_pair(x, p.eq), x, zeros(type_of(x)))


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


def real_part(x: Any) -> Any:
    return p.real(x) if x.dtype.kind == "c" else x


def gaps(values: Any) -> Any:
    """1 / (v_j - v_i), zero on the diagonal; infinite where values coincide: there the vectors have no derivative."""
    n = values.shape[-1]
    shape, k = (*values.shape, n), values.ndim
    ahead = p.broadcast_in_dim(values, shape=shape, dims=(*range(k - 1), k))
    behind = p.broadcast_in_dim(values, shape=shape, dims=tuple(range(k)))
    return on_diagonal(p.reciprocal(on_diagonal(p.sub(ahead, behind), 1)), 0)


def coefficient_times(coefficient: Any, t: Any) -> Any:
    """Elementwise product with a real or complex coefficient at the dtype of t."""
    if coefficient.dtype != t.dtype:
        coefficient = p.convert_element_type(coefficient, dtype=t.dtype)
    return p.mul0(coefficient, t)


def check_matrix(name: str, a: ShapedArray, *, square: bool = True) -> None:
    """Raise `ShapeError` or `DtypeError` unless `a` holds (square) matrices of a dtype that LAPACK knows."""
    if a.ndim < 2 or (square and a.shape[-1] != a.shape[-2]):
        raise ShapeError(
            message(
                f"{name}: needs {'square ' if square else ''}matrices along the last two axes",
                got=a,
                do=f"give an array of shape {'(..., n, n)' if square else '(..., m, n)'}",
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


def scattered(draw: Any, *, steps: float = 0.0, hermitian: bool = False, rows: int = 0) -> Any:
    """A well-conditioned random matrix; with `steps`, one whose eigenvalues and singular values keep that distance."""
    n = draw.integer(0, 3)
    lead = draw.shape(max_dims=1)
    x = draw.array((*lead, n + rows, n), draw.sampled(["f8", "c16"]), "unit")
    if hermitian:
        x = (x + np.conj(np.swapaxes(x, -1, -2))) / 2
    return x + 4 * (n + 1) * np.eye(n + rows, n, dtype=x.dtype) * (1 + steps * np.arange(n))


def from_triangle(x: Any, lower: bool) -> Any:
    """The Hermitian matrix of which x holds one triangle; imaginary parts on the diagonal are ignored."""
    half, line = (tril(x, -1) if lower else triu(x, 1)), diagonal_part(x)
    if x.dtype.kind == "c":
        line = p.convert_element_type(p.real(line), dtype=x.dtype)
    return p.add(p.add(half, adjoint(half)), line)


def solve_triangular(a: Any, b: Any, *, lower: bool, adjoint_a: bool = False, unit_diagonal: bool = False) -> Any:
    """a⁻¹ b, or a⁻ᴴ b."""
    return p.triangular_solve(
        a, b, lower=lower, transpose_a=adjoint_a, conjugate_a=adjoint_a, unit_diagonal=unit_diagonal
    )


def divide_triangular(b: Any, a: Any, *, lower: bool) -> Any:
    """b a⁻¹."""
    flags = {"lower": lower, "transpose_a": True, "conjugate_a": False, "unit_diagonal": False}
    return transposed(p.triangular_solve(a, transposed(b), **flags))
