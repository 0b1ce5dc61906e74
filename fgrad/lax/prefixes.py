"""associative_scan: all prefixes of a sequence under an associative operation, without a loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core import tree
from ..core.axes import axis_of
from ..core.errors import ShapeError, TreeError, message
from ..core.leaves import Own, checked, name_of, path_of
from ..core.trace import signature
from ..core.types import aval_of
from .bodies import check_function, flattened, unequal
from .shapes import concatenate, expand_dims, reshape, rev
from .slicing import slice_in_dim

Leaves = list[Any]


def associative_scan(fn: Callable[[Any, Any], Any], elems: Any, reverse: bool = False, axis: int = 0) -> Any:
    """fn(... fn(fn(x0, x1), x2) ..., xi) for every i, in about 2 log n operations on arrays for n elements.

    elems: a pytree of arrays with equal sizes of `axis`, the elements along it. `fn` is associative and takes two such
    trees with any number of elements, of which it combines the first with the first, and so on. `reverse`: from the
    last element on, as `fn(... fn(fn(xn, xn-1), ...), xi)`. There are fewer than 2 n combinations in all.

    G. Blelloch, "Prefix sums and their applications" (1990).

    Errors: `ShapeError` for sizes that differ; `TreeError`, `ShapeError`, `DtypeError` where `fn` returns something
    unlike its arguments, naming the leaf.

    >>> import numpy as np
    >>> from fgrad import lax
    >>> lax.associative_scan(np.multiply, np.array([1, 2, 3, 4]))
    array([ 1,  2,  6, 24])
    """
    title = "lax.associative_scan"
    check_function(fn, f"{title}: fn")
    leaves, structure = flattened(elems, f"{title}: elems")
    axes = [axis_of(title, axis, aval_of(signature(x)).ndim) for x in leaves]
    sizes = [aval_of(signature(x)).shape[a] for x, a in zip(leaves, axes, strict=True)]
    for i, n in enumerate(sizes):
        if n != sizes[0]:
            what = f"{title}: the numbers of elements do not agree"
            got = f"{sizes[0]} in elems{path_of(structure, 0)}, {n} in elems{path_of(structure, i)}"
            raise ShapeError(message(what, got=got, do=f"give all arrays one size of axis {axis}"))

    def cut(xs: Leaves, start: int, stop: int | None, step: int = 1) -> Leaves:
        return [slice_in_dim(x, start, stop, step, a) for x, a in zip(xs, axes, strict=True)]

    def combined(xs: Leaves, ys: Leaves) -> Leaves:
        out = fn(tree.unflatten(structure, xs), tree.unflatten(structure, ys))
        found, got = tree.flatten(out)
        if got != structure:
            what = f"{title}: {name_of(fn)} returns another structure than it gets"
            raise TreeError(message(what, got=tree.explain_mismatch(structure, out), do="return the same containers"))
        found = checked(found, got, f"{title}: the result of {name_of(fn)} ")
        for i, (x, y) in enumerate(zip(xs, found, strict=True)):
            a, b = aval_of(signature(x)), aval_of(signature(y))
            if a != b:
                what = f"{title}: {name_of(fn)} changes the type of elems{path_of(structure, i)}"
                raise unequal(a, b)(
                    message(what, got=f"{a} goes in, {b} comes out", do="return arrays like the arguments")
                )
        return found

    def interleaved(xs: Leaves, ys: Leaves) -> Leaves:
        """x0, y0, x1, y1, ...; there are as many of ys, or one less."""
        out = []
        for x, y, a in zip(xs, ys, axes, strict=True):
            n = y.shape[a]
            pair = [expand_dims(v, (a + 1,)) for v in (slice_in_dim(x, 0, n, axis=a), y)]
            both = reshape(concatenate(pair, a + 1), (*y.shape[:a], 2 * n, *y.shape[a + 1 :]))
            out.append(both if x.shape[a] == n else concatenate([both, slice_in_dim(x, n, None, axis=a)], a))
        return out

    def prefixes(xs: Leaves, n: int) -> Leaves:
        if n < 2:
            return xs
        odd = prefixes(combined(cut(xs, 0, n - 1, 2), cut(xs, 1, n, 2)), n // 2)
        before = odd if n % 2 else cut(odd, 0, n // 2 - 1)
        even = combined(before, cut(xs, 2, n, 2)) if n > 2 else cut(xs, 0, 0)
        first = cut(xs, 0, 1)
        return interleaved([concatenate(v, a) for *v, a in zip(first, even, axes, strict=True)], odd)

    def turned(xs: Leaves) -> Leaves:
        return [rev(x, (a,)) for x, a in zip(xs, axes, strict=True)] if reverse else xs

    own = Own(leaves)
    outs = turned(prefixes(turned(leaves), sizes[0] if sizes else 0))
    return tree.unflatten(structure, [own(y) for y in outs])
