"""Products of arrays: matmul and its relatives, dot, tensordot, einsum, kron, cross.

All sums of products are stated with axes named by labels and become one `dot_general`, so none of them materialises a
broadcast, and the gradient of a product that broadcasts is one matrix product too.
"""

from __future__ import annotations

import math
import string
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from ..core.errors import ShapeError, message
from ..core.primitive import registry as p
from ..core.trace import Tracer, binary_operator, surface
from .methods import method, routes
from .promote import broadcast_shapes, cast, promote, result_dtype
from .support import axis_of, cut, is_traced, strict, traced

Labels = Sequence[Hashable]


# ---------------------------------------------------------------------------------------------- contraction by labels


def _squeezed(x: Any, labels: Labels, sizes: dict[Hashable, int]) -> tuple[Any, list[Hashable]]:
    """Without the axes of size 1 whose label has another size elsewhere: they broadcast."""
    keep = [i for i, a in enumerate(labels) if x.shape[i] == sizes[a]]
    if len(keep) == x.ndim:
        return x, list(labels)
    return p.reshape(x, shape=tuple(x.shape[i] for i in keep)), [labels[i] for i in keep]


def _ordered(x: Any, labels: Labels, wanted: Labels) -> Any:
    axes = tuple(labels.index(a) for a in wanted)
    return x if axes == tuple(range(x.ndim)) else p.transpose(x, axes=axes)


def _summed(x: Any, labels: Labels, keep: set[Hashable]) -> tuple[Any, list[Hashable]]:
    """Summed over the labels that nobody needs any more."""
    axes = tuple(i for i, a in enumerate(labels) if a not in keep)
    return (p.reduce_sum(x, axes=axes) if axes else x), [a for a in labels if a in keep]


def contract(x: Any, x_labels: Labels, w: Any, w_labels: Labels, out: Labels) -> Any:
    """The sum of x * w over the labels that are not in `out`, with axes in the order of `out`; labels occur once each.

    Axes of size 1 broadcast against larger ones of the same label.
    """
    sizes: dict[Hashable, int] = {}
    for a, n in zip([*x_labels, *w_labels], [*x.shape, *w.shape], strict=True):
        sizes[a] = n if sizes.get(a, 1) == 1 else sizes[a]
    x, xs = _squeezed(x, x_labels, sizes)
    w, ws = _squeezed(w, w_labels, sizes)
    x, xs = _summed(x, xs, {*ws, *out})
    w, ws = _summed(w, ws, {*xs, *out})
    shared = [a for a in xs if a in ws]
    batch = [a for a in out if a in shared]
    both = [a for a in shared if a not in batch]
    x_free, w_free = [a for a in xs if a not in shared], [a for a in ws if a not in shared]
    if [*batch, *w_free, *x_free] == list(out):
        x, xs, x_free, w, ws, w_free = w, ws, w_free, x, xs, x_free
    at = lambda names: (tuple(map(xs.index, names)), tuple(map(ws.index, names)))  # noqa: E731
    y = p.dot_general(x, w, contract=at(both), batch=at(batch))
    return _ordered(y, [*batch, *x_free, *w_free], out)


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


@surface(run=np.matmul, arity=2)
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
@surface(run=np.dot, arity=2)
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
@surface(run=np.outer, arity=2)
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


# -------------------------------------------------------------------------------------------------------------- einsum


def einsum(*operands: Any, optimize: Any = True, dtype: Any = None, out: Any = None, **kwargs: Any) -> Any:
    """numpy.einsum: sums of products named by the subscripts of the operands' axes.

    Takes `einsum("ij,jk->ik", a, b)`, subscripts without `->` (labels that occur once are kept, in alphabetical order),
    `...`, repeated labels (diagonals) and the form `einsum(a, [0, 1], b, [1, 2], [0, 2])`. Operands are combined in
    pairs, in the order that opt_einsum finds; `optimize` is its strategy ("optimal", "greedy", ...) or a path; False
    goes from left to right. Raises `ShapeError` for subscripts that do not fit the operands.

    >>> einsum("ij,j->i", np.eye(2), np.array([3.0, 4.0]))
    array([3., 4.])
    """
    if not is_traced(list(operands)):
        return np.einsum(*operands, optimize=optimize, dtype=dtype, out=out, **kwargs)
    if isinstance(operands[0], str):
        subscripts, arrays = operands[0].replace(" ", ""), operands[1:]
    else:
        subscripts, arrays = _interleaved(operands)
    if dtype is not None:
        arrays = tuple([x.astype(dtype) if type(x) is Tracer else np.asarray(x, dtype) for x in arrays])
    return _einsum(*arrays, subscripts=subscripts, optimize=_static_path(optimize))


def _static_path(optimize: Any) -> Any:
    """A path without NumPy's leading "einsum_path"."""
    if isinstance(optimize, tuple | list):
        return tuple([tuple(step) for step in optimize if not isinstance(step, str)])
    return "auto" if optimize is True else optimize


def _interleaved(operands: Sequence[Any]) -> tuple[str, Sequence[Any]]:
    """The form operand, labels, operand, labels, ... as subscripts; labels are numbers below 52, as in NumPy."""
    letters = string.ascii_uppercase + string.ascii_lowercase
    term = lambda labels: "".join(["..." if a is Ellipsis else letters[a] for a in labels])  # noqa: E731
    pairs = len(operands) // 2
    text = ",".join([term(operands[2 * i + 1]) for i in range(pairs)])
    if len(operands) % 2:
        text += "->" + term(operands[-1])
    return text, operands[: 2 * pairs : 2]


def _bad_subscripts(why: str, subscripts: str, shapes: Sequence[tuple[int, ...]]) -> ShapeError:
    got = f"'{subscripts}' for shapes {', '.join(map(str, shapes))}"
    return ShapeError(
        message(f"einsum: {why}", got=got, do="name each axis of each operand by one letter, as in 'ij,jk->ik'")
    )


def _labels(subscripts: str, shapes: Sequence[tuple[int, ...]]) -> tuple[list[list[Hashable]], list[Hashable]]:
    """Labels of the operands' axes and of the result's; the axes of an ellipsis are numbered -1, -2, ... from its end."""
    left, arrow, right = subscripts.partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes):
        raise _bad_subscripts(f"{len(terms)} terms for {len(shapes)} operands", subscripts, shapes)

    def expand(term: str, ndim: int | None, widest: int) -> list[Hashable]:
        head, dots, tail = term.partition("...")
        rest = widest if ndim is None else ndim - len(head) - len(tail)
        if not (head + tail + "a").isalpha() or rest < 0 or (not dots and rest and ndim is not None):
            raise _bad_subscripts(f"the term '{term}' does not name {ndim} axes", subscripts, shapes)
        return [*head, *(range(-rest, 0) if dots else ()), *tail]

    inputs = [expand(t, len(s), 0) for t, s in zip(terms, shapes, strict=True)]
    every = Counter(a for term in inputs for a in term)
    dots = sorted(a for a in every if isinstance(a, int))
    if arrow:
        output = expand(right, None, len(dots))
        if len(set(output)) != len(output) or any(a not in every for a in output):
            raise _bad_subscripts(
                "each label of the result must occur in it once and in an operand", subscripts, shapes
            )
    else:
        output = [*dots, *sorted(a for a, n in every.items() if isinstance(a, str) and n == 1)]
    return inputs, output


def _diagonals(x: Any, labels: list[Hashable]) -> tuple[Any, list[Hashable]]:
    """Axes that share a label in one operand: its diagonal, whose axis comes first."""
    for a, n in Counter(labels).items():
        if n > 1:
            axes = tuple(i for i, b in enumerate(labels) if b == a)
            line = np.arange(x.shape[axes[0]])
            x = p.gather(x, *[line] * n, axes=axes, mode="promise")
            labels = [a, *[b for b in labels if b != a]]
    return x, labels


def _path(
    inputs: Sequence[Labels], output: Labels, shapes: Sequence[tuple[int, ...]], optimize: Any
) -> Sequence[Sequence[int]]:
    """Which operands are combined at each step; the result goes to the end of the list."""
    if optimize is False or len(inputs) < 3:
        return [tuple(range(len(inputs)))]
    if not isinstance(optimize, str):
        return optimize
    import opt_einsum

    names: dict[Hashable, str] = {}
    text = lambda term: "".join([names.setdefault(a, opt_einsum.get_symbol(len(names))) for a in term])  # noqa: E731
    equation = ",".join(map(text, inputs)) + "->" + text(output)
    return opt_einsum.contract_path(equation, *shapes, shapes=True, optimize=optimize)[0]


@surface(arity=None)
def _einsum(*xs: Any, subscripts: str, optimize: Any) -> Any:
    shapes = [x.shape for x in xs]
    inputs, output = _labels(subscripts, shapes)
    sizes: dict[Hashable, set[int]] = {}
    for term, shape in zip(inputs, shapes, strict=True):
        for a, n in zip(term, shape, strict=True):
            sizes.setdefault(a, set()).add(n)
    for a, found in sizes.items():
        if len(found - {1}) > 1:
            raise _bad_subscripts(f"the axes named '{a}' have the sizes {sorted(found)}", subscripts, shapes)
    dtype = result_dtype(*[strict(x) for x in xs])
    terms = [_diagonals(cast(x, dtype), term) for x, term in zip(xs, inputs, strict=True)]
    for step in _path([t for _, t in terms], output, [x.shape for x, _ in terms], optimize):
        chosen = [terms[i] for i in step]
        terms = [t for i, t in enumerate(terms) if i not in step]
        x, labels = chosen[0]
        for k, (w, w_labels) in enumerate(chosen[1:], 2):
            needed = {*output, *[a for _, t in (*terms, *chosen[k:]) for a in t]}
            kept = [a for a in dict.fromkeys([*labels, *w_labels]) if a in needed]
            if not terms and k == len(chosen):
                kept = output
            x, labels = contract(x, labels, w, w_labels, kept), kept
        terms.append((x, labels))
    ((x, labels),) = terms
    x, labels = _summed(x, labels, set(output))
    return _ordered(x, labels, output)


routes(np.einsum)(einsum)


def multi_dot(arrays: Sequence[Any], *, out: Any = None) -> Any:
    """numpy.linalg.multi_dot: product of matrices in the order that needs the fewest operations.

    The first and the last may be vectors.

    >>> multi_dot([np.ones((2, 3)), np.ones((3, 4)), np.ones(4)])
    array([12., 12.])
    """
    if not is_traced(list(arrays)):
        return np.linalg.multi_dot(arrays, out=out)
    if len(arrays) < 2:
        raise ShapeError(
            message("multi_dot needs at least two arrays", got=len(arrays), do="pass a sequence of matrices")
        )
    return _multi_dot(*arrays)


@surface(arity=None)
def _multi_dot(*xs: Any) -> Any:
    ends = [x.ndim for x in xs]
    if any(n != 2 for n in ends[1:-1]) or any(n not in (1, 2) for n in (ends[0], ends[-1])):
        raise ShapeError(
            message(
                "multi_dot: takes matrices, and vectors at the ends",
                got=", ".join(str(x.shape) for x in xs),
                do="reshape",
            )
        )
    letters = string.ascii_letters[: len(xs) + 1]
    terms = [letters[i : i + 2] for i in range(len(xs))]
    terms[0] = terms[0][-ends[0] :]
    terms[-1] = terms[-1][: ends[-1]]
    result = "".join(a for a in letters if sum(a in t for t in terms) == 1)
    return _einsum.__wrapped__(*xs, subscripts=f"{','.join(terms)}->{result}", optimize="auto")


routes(np.linalg.multi_dot)(multi_dot)


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
    spread = lambda x, sizes, first: p.broadcast_in_dim(
        p.reshape(x, shape=sizes), shape=shape, dims=tuple(range(first, 2 * n, 2))
    )  # noqa: E731
    product = p.mul(spread(a, left, 0), spread(b, right, 1))
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


__all__ = [
    "cross", "dot", "einsum", "inner", "kron", "matmul", "matvec", "multi_dot", "outer", "tensordot", "vdot", "vecdot", "vecmat",
]  # fmt: skip
