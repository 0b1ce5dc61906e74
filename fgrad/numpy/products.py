"""Products of arrays: matmul and its relatives, dot, inner, outer, tensordot, kron, cross; trace."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from ..core.errors import ShapeError, message
from ..core.primitive import registry as p
from ..core.surface import binary_operator, surface
from ..core.trace import Tracer
from .contractions import Labels, contract, einsum
from .matrices import diagonal
from .methods import UFUNC_METHODS, method, routes
from .promote import broadcast_shapes, cast, promote, result_dtype
from .reductions import sum
from .shapes import reshape
from .support import axis_of, cut, strict, traced
from .ufuncs import ROUTES


def _contracted(x: Any, x_labels: Labels, w: Any, w_labels: Labels, out: Labels) -> Any:
    dtype = result_dtype(strict(x), strict(w))
    return contract(cast(x, dtype), x_labels, cast(w, dtype), w_labels, out)


# ----------------------------------------------------------------------------------------------------- matrix products


def _check_cores(name: str, x: Any, w: Any, x_core: int, w_core: int) -> None:
    if x.ndim < x_core or w.ndim < w_core or x.shape[-1] != w.shape[-min(w_core, w.ndim)]:
        raise ShapeError(
            message(
                f"{name}: shapes {x.shape} and {w.shape} do not fit together",
                got=f"{x.aval if type(x) is Tracer else x.shape} and {w.aval if type(w) is Tracer else w.shape}",
                do="the last axis of the left operand is summed against "
                + ("the last but one" if w_core == 2 else "the last")
                + " of the right; a transposed operand is the usual cause",
            )
        )
    broadcast_shapes(x.shape[: x.ndim - x_core], w.shape[: w.ndim - w_core])


def _cores(name: str, x: Any, w: Any, x_core: str, w_core: str) -> Any:
    """A product of cores, named by letters, over leading axes that broadcast."""
    _check_cores(name, x, w, len(x_core), len(w_core))
    xb, wb = x.ndim - len(x_core), w.ndim - len(w_core)
    lead = list(range(-max(xb, wb), 0))
    out = [*lead, *[a for a in x_core + w_core if a != "k"]]
    return _contracted(x, [*lead[len(lead) - xb :], *x_core], w, [*lead[len(lead) - wb :], *w_core], out)


@surface(run=np.matmul, arity=2, resizes=True)
def matmul(x1: Any, x2: Any) -> Any:
    """numpy.matmul, the operator `@`: matrix product over the last two axes, leading axes broadcast.

    A one-dimensional operand is a row on the left and a column on the right. Scalars and sizes that do not fit raise
    `ShapeError`.

    >>> matmul(np.eye(2), np.array([3.0, 4.0]))
    array([3., 4.])
    """
    return _cores("matmul", x1, x2, "k" if x1.ndim == 1 else "mk", "k" if x2.ndim == 1 else "kn")


@surface(run=np.vecdot, arity=2)
def _vecdot(x1: Any, x2: Any) -> Any:
    return _cores("vecdot", _conj(x1), x2, "k", "k")


@traced(np.vecdot, np.linalg.vecdot)
def vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Any:
    """numpy.vecdot: sum of conj(x1) * x2 along `axis`; the other axes broadcast.

    >>> vecdot(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    np.float64(11.0)
    """
    return _vecdot(_axis_last(x1, axis), _axis_last(x2, axis))


@surface(run=lambda x, axis: np.moveaxis(x, axis, -1), arity=1)
def _moved_last(x: Any, axis: int) -> Any:
    return _last(x, axis_of("vecdot", axis, x.ndim))


def _axis_last(x: Any, axis: int) -> Any:
    return x if axis == -1 else _moved_last(x, axis)


def _last(x: Any, axis: int) -> Any:
    order = (*[a for a in range(x.ndim) if a != axis], axis)
    return x if axis == x.ndim - 1 else p.transpose(x, axes=order)


def _conj(x: Any) -> Any:
    return p.conj(x) if x.dtype.kind == "c" else x


@surface(run=getattr(np, "matvec", None), arity=2)
def matvec(x1: Any, x2: Any) -> Any:
    """numpy.matvec: matrices (..., m, n) times vectors (..., n), leading axes broadcast.

    >>> matvec(2 * np.eye(2), np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([[2., 4.],
           [6., 8.]])
    """
    return _cores("matvec", x1, x2, "mk", "k")


@surface(run=getattr(np, "vecmat", None), arity=2)
def vecmat(x1: Any, x2: Any) -> Any:
    """numpy.vecmat: conjugated vectors (..., n) times matrices (..., n, m), leading axes broadcast.

    >>> vecmat(np.array([1.0, 2.0]), np.eye(2))
    array([1., 2.])
    """
    return _cores("vecmat", _conj(x1), x2, "k", "kn")


for _name, _f in {"matmul": matmul, "matvec": matvec, "vecmat": vecmat}.items():
    if hasattr(np, _name):
        routes(getattr(np, _name))(_f)
routes(np.linalg.matmul)(matmul)

_product = binary_operator(matmul.function)
Tracer.__matmul__ = _product  # type: ignore[attr-defined]
Tracer.__rmatmul__ = lambda self, other: _product(other, self)  # type: ignore[attr-defined]


@method("dot")
@routes(np.dot)
@surface(run=np.dot, arity=2, full=np.dot)
def dot(a: Any, b: Any) -> Any:
    """numpy.dot: sum over the last axis of a and the last but one of b, without broadcasting; a product with a scalar.

    >>> dot(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    np.float64(11.0)
    """
    if not a.ndim or not b.ndim:
        return p.mul(*promote(strict(a), strict(b)))
    _check_dot("dot", a, b, a.ndim - 1, max(b.ndim - 2, 0))
    return _over(a, b, [a.ndim - 1], [max(b.ndim - 2, 0)])


def _check_dot(name: str, a: Any, b: Any, i: int, j: int) -> None:
    if a.shape[i] != b.shape[j]:
        raise ShapeError(
            message(
                f"{name}: shapes {a.shape} and {b.shape} do not fit together",
                got=f"{a.shape[i]} and {b.shape[j]} elements along the summed axes",
                do="check the shapes; a transposed operand is the usual cause",
            )
        )


def _over(a: Any, b: Any, a_axes: Sequence[int], b_axes: Sequence[int]) -> Any:
    """Sum over paired axes; the remaining axes of a come first, then those of b."""
    a_labels: list[Hashable] = [("a", i) for i in range(a.ndim)]
    b_labels: list[Hashable] = [("b", i) for i in range(b.ndim)]
    for i, j in zip(a_axes, b_axes, strict=True):
        b_labels[j] = a_labels[i]
    summed = {a_labels[i] for i in a_axes}
    return _contracted(a, a_labels, b, b_labels, [v for v in [*a_labels, *b_labels] if v not in summed])


def _raveled(x: Any) -> Any:
    return x if x.ndim == 1 else p.reshape(strict(x), shape=(math.prod(x.shape),))


@routes(np.vdot)
@surface(run=np.vdot, arity=2)
def vdot(a: Any, b: Any) -> Any:
    """numpy.vdot: sum of conj(a) * b over all elements.

    >>> vdot(np.array([1j]), np.array([2j]))
    np.complex128(2+0j)
    """
    a, b = _raveled(a), _raveled(b)
    _check_dot("vdot", a, b, 0, 0)
    return _over(_conj(a), b, [0], [0])


@routes(np.inner)
@surface(run=np.inner, arity=2)
def inner(a: Any, b: Any) -> Any:
    """numpy.inner: sum over the last axes of both operands; a product with a scalar.

    >>> inner(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    np.float64(11.0)
    """
    if not a.ndim or not b.ndim:
        return p.mul(*promote(strict(a), strict(b)))
    _check_dot("inner", a, b, a.ndim - 1, b.ndim - 1)
    return _over(a, b, [a.ndim - 1], [b.ndim - 1])


@routes(np.outer)
@surface(run=np.outer, arity=2, full=np.outer)
def outer(a: Any, b: Any) -> Any:
    """numpy.outer: all products of an element of a and one of b, as a matrix.

    >>> outer(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    array([[3., 4.],
           [6., 8.]])
    """
    return _over(_raveled(a), _raveled(b), [], [])


@routes(np.tensordot, np.linalg.tensordot)
@surface(run=np.tensordot, arity=2)
def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    """numpy.tensordot: sum over pairs of axes: the last `axes` of a with the first of b, or those of two sequences.

    >>> tensordot(np.ones((2, 3)), np.ones((3, 2)), axes=1)
    array([[3., 3.],
           [3., 3.]])
    """
    if isinstance(axes, tuple | list):
        pairs = [(v,) if isinstance(v, int | np.integer) else tuple(v) for v in axes]
        left = [axis_of("tensordot", v, a.ndim) for v in pairs[0]]
        right = [axis_of("tensordot", v, b.ndim) for v in pairs[1]]
    else:
        left, right = list(range(a.ndim - axes, a.ndim)), list(range(axes))
    if len(left) != len(right) or (left and min(left) < 0) or (right and max(right) >= b.ndim):
        raise ShapeError(
            message(
                "tensordot: the summed axes do not fit the operands",
                got=f"axes={axes}",
                do="name as many axes of a as of b",
            )
        )
    for i, j in zip(left, right, strict=True):
        _check_dot("tensordot", a, b, i, j)
    return _over(a, b, left, right)


# ------------------------------------------------------------------------------------------------------ other products


@routes(np.kron)
@surface(run=np.kron, arity=2)
def kron(a: Any, b: Any) -> Any:
    """numpy.kron: the Kronecker product, blocks of b scaled by the elements of a.

    >>> kron(np.array([1.0, 10.0]), np.array([1.0, 2.0]))
    array([ 1.,  2., 10., 20.])
    """
    n = max(a.ndim, b.ndim)
    a, b = promote_dtypes(a, b)
    left, right = ((1,) * (n - x.ndim) + tuple(x.shape) for x in (a, b))
    shape = tuple(size for pair in zip(left, right, strict=True) for size in pair)
    a = p.broadcast_in_dim(p.reshape(a, shape=left), shape=shape, dims=tuple(range(0, 2 * n, 2)))
    b = p.broadcast_in_dim(p.reshape(b, shape=right), shape=shape, dims=tuple(range(1, 2 * n, 2)))
    product = p.mul(a, b)
    return p.reshape(product, shape=tuple(i * j for i, j in zip(left, right, strict=True)))


def promote_dtypes(*xs: Any) -> list[Any]:
    """Operands at their common dtype, shapes as they are."""
    dtype = result_dtype(*[strict(x) for x in xs])
    return [cast(x, dtype) for x in xs]


@traced(np.cross)
def cross(a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Any:
    """numpy.cross: cross product of vectors of three (or two) components along the given axes; the others broadcast.

    >>> cross(np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0]))
    array([0., 0., 1.])
    """
    if axis is not None:
        axisa = axisb = axisc = axis
    return _cross(a, b, axisa, axisb, axisc)


@surface(run=np.cross, arity=2)
def _cross(a: Any, b: Any, axisa: int, axisb: int, axisc: int) -> Any:
    a, b = promote_dtypes(a, b)
    i, j = axis_of("cross", axisa, a.ndim), axis_of("cross", axisb, b.ndim)
    if a.shape[i] not in (2, 3) or b.shape[j] not in (2, 3):
        raise ShapeError(
            message(
                "cross: vectors must have 2 or 3 components",
                got=f"{a.shape[i]} and {b.shape[j]}",
                do="choose another axis",
            )
        )
    x, y = _components(a, i), _components(b, j)
    if len(x) == len(y) == 2:
        return p.sub(p.mul(*promote(x[0], y[1])), p.mul(*promote(x[1], y[0])))
    zero = lambda v: v if len(v) == 3 else [*v, p.mul(v[0], 0)]  # noqa: E731
    x, y = zero(x), zero(y)
    parts = []
    for k in range(3):
        m, n = (k + 1) % 3, (k + 2) % 3
        parts.append(p.sub(p.mul(*promote(x[m], y[n])), p.mul(*promote(x[n], y[m]))))
    shape = parts[0].shape
    at = axis_of("cross", axisc, len(shape) + 1)
    return p.concatenate(*[p.reshape(v, shape=(*shape[:at], 1, *shape[at:])) for v in parts], axis=at)


def _components(x: Any, axis: int) -> list[Any]:
    rest = (*x.shape[:axis], *x.shape[axis + 1 :])
    return [p.reshape(cut(x, axis, k, k + 1), shape=rest) for k in range(x.shape[axis])]


@traced(np.trace, method="trace")
def trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: Any = None) -> Any:
    """numpy.trace: sum of a diagonal. Booleans and small integers are summed as int64.

    >>> trace(np.eye(3))
    np.float64(3.0)
    """
    return sum(diagonal(a, offset, axis1, axis2), axis=-1, dtype=dtype)


def _outer(ufunc: Any) -> Any:
    """ufunc.outer(a, b): the ufunc on each element of a with each of b."""

    def apply(a: Any, b: Any) -> Any:
        a = strict(a) if type(a) is Tracer else np.asarray(a)
        return ROUTES[ufunc](reshape(a, (*a.shape, *(1,) * np.ndim(b))), b)

    return apply


UFUNC_METHODS.update(
    {(u, "outer"): _outer(u) for u in ROUTES if isinstance(u, np.ufunc) and u.nin == 2 and not u.signature}
)


__all__ = [
    "cross", "dot", "einsum", "inner", "kron", "matmul", "matvec", "outer", "tensordot", "trace", "vdot", "vecdot",
    "vecmat",
]  # fmt: skip
