"""Sums of products with axes named by labels: contractions of pairs, einsum, multi_dot.

A pair is one `dot_general`, so no broadcast is materialised, and the gradient of a product that broadcasts is one
matrix product too.
"""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from ..core.errors import ShapeError, message
from ..core.primitive import registry as p
from ..core.surface import surface
from ..core.trace import Tracer
from .methods import routes
from .promote import cast, result_dtype
from .support import is_traced, received, strict

Labels = Sequence[Hashable]


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


def einsum(*operands: Any, optimize: Any = True, dtype: Any = None, out: Any = None, **kwargs: Any) -> Any:
    """numpy.einsum: sums of products named by the subscripts of the operands' axes.

    Takes `einsum("ij,jk->ik", a, b)`, subscripts without `->` (labels that occur once are kept, in alphabetical order),
    `...`, repeated labels (diagonals) and the form `einsum(a, [0, 1], b, [1, 2], [0, 2])`. Operands are combined in
    pairs, in the order that opt_einsum finds; `optimize` is its strategy ("optimal", "greedy", ...) or a path; False
    goes from left to right. Raises `ShapeError` for subscripts that do not fit the operands.

    >>> einsum("ij,j->i", np.eye(2), np.array([3.0, 4.0]))
    array([3., 4.])
    """
    if not is_traced([*operands, out]):
        return np.einsum(*operands, optimize=optimize, dtype=dtype, out=out, **kwargs)
    if isinstance(operands[0], str):
        subscripts, arrays = operands[0].replace(" ", ""), operands[1:]
    else:
        subscripts, arrays = _interleaved(operands)
    if dtype is not None:
        arrays = tuple([x.astype(dtype) if type(x) is Tracer else np.asarray(x, dtype) for x in arrays])
    return received(out, _einsum(*arrays, subscripts=subscripts, optimize=_static_path(optimize)), "einsum")


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
    """Labels of the operands' axes and of the result's; those of an ellipsis are -1, -2, ... from its end."""
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
    if not is_traced([*arrays, out]):
        return np.linalg.multi_dot(arrays, out=out)
    if len(arrays) < 2:
        raise ShapeError(
            message("multi_dot needs at least two arrays", got=len(arrays), do="pass a sequence of matrices")
        )
    return received(out, _multi_dot(*arrays), "multi_dot")


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


__all__ = ["contract", "einsum", "multi_dot"]
