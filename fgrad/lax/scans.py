"""Loops over the slices of arrays: scan and map.

What runs `n` times is a closed program, consts, carry, slices -> carry, slices. It is run one by one, or in chunks of
several runs that are a program of the same kind: unrolled, with one batched run for all (map), or a loop of their own
of which reverse mode keeps only the beginning (checkpoint).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from math import isqrt
from typing import Any, NamedTuple

from ..core import tree
from ..core.builder import trace
from ..core.errors import ConcretizationError, ShapeError, TreeError, message
from ..core.ir import Jaxpr
from ..core.leaves import described, name_of, path_of
from ..core.trace import Tracer, peek, signature, stage
from ..core.types import ShapedArray, aval_of
from ..passes.interpret import interpret
from ..passes.vmap import batch_program
from ..primitives.family import p
from ..regions.bodies import constless
from ..regions.call import memo, one_equation
from ..regions.checkpoint import checkpoint as checkpoint_region
from ..regions.scan import scan as region
from ..regions.scan import slice_type, stacked_type
from .bodies import applied, body_of, check_function, flattened, handed_out, settled, strong
from .shapes import concatenate, reshape
from .slicing import index_in_dim, slice_in_dim


class How(NamedTuple):
    """How a body runs: numbers of its consts and of values in its carry, from which end, and in which chunks.

    unroll: runs in a chunk of a longer program. batch: runs in a chunk that are made one by vmap. base: if there are
    more runs than this, they are at most `base` chunks of chunks ... of at most `base` runs, each a checkpoint.
    """

    consts: int
    carry: int
    reverse: bool = False
    unroll: int = 1
    batch: int = 0
    base: int = 0


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
    _split_transpose: bool = False,
    checkpoint: int | bool | None = None,
) -> tuple[Any, Any]:
    """Run `carry, y = f(carry, x)` for each slice x of `xs` along its first axis, from carry = init on.

    Returns (last carry, ys), where `ys` has the y of all runs along a new first axis: y number i belongs to slice
    number i, also if `reverse` takes the last slice first.

    init, xs, y: pytrees. The leaves of `xs` have equal lengths, the number of runs; without `xs` it is `length`. `f`
    returns a carry of the structure, shapes and dtypes that it gets; where it starts as a Python number it takes the
    dtype that `f` returns. `f` is traced once, abstractly, and may use what is around it.

    unroll: how many runs to write one behind the other in a longer body; True or 0: all. checkpoint: what reverse mode
    keeps. Without it, what the derivative needs of each of the n runs. With True, the carries at about √n of them and
    what it needs of √n, for one more run forwards. With an integer b, b at each of log n / log b levels, for as many
    runs forwards less one. Values and derivatives are the same.

    Errors: `ShapeError` for lengths that do not agree, `TreeError`, `ShapeError`, `DtypeError` where the carry changes,
    naming the leaf.

    >>> import numpy as np
    >>> from fgrad import lax
    >>> lax.scan(lambda total, x: (total + x, 2 * total), 0.0, np.array([1.0, 2.0, 3.0]))
    (np.float64(6.0), array([0., 2., 6.]))
    """
    title = "lax.scan"
    check_function(f, f"{title}: f")
    state, carry_tree = flattened(init, f"{title}: init")
    slices, xs_tree = flattened(xs, f"{title}: xs")
    n = _length(title, slices, xs_tree, length)
    sigs = [*[signature(x) for x in state], *[slice_type(aval_of(signature(x))) for x in slices]]
    carry = slice(0, len(state))
    body = settled(f, title, tree.structure((init, xs)), sigs, carry=carry, carry_tree=carry_tree, adapter=_carry_and_y)
    state = [strong(x, s) for x, s in zip(state, body.arguments, strict=False)]
    how = How(
        len(body.consts),
        len(state),
        bool(reverse),
        unrolling(title, unroll, n),
        base=_base(title, checkpoint, n),
    )
    outs = repeated(body.jaxpr, how, n, [*body.consts, *state, *slices])
    return tree.unflatten(carry_tree, outs[carry]), tree.unflatten(body.trees[1], outs[carry.stop :])


def _carry_and_y(f: Callable[..., Any], carry: Any, x: Any) -> tuple[Any, Any]:
    out = f(carry, x)
    if not (isinstance(out, tuple | list) and len(out) == 2):
        what = f"lax.scan: {name_of(f)} must return a pair (carry, y)"
        raise TreeError(message(what, got=described(out), do="return None as y where there is nothing to collect"))
    return out[0], out[1]


def _length(title: str, slices: Sequence[Any], structure: tree.Structure, length: Any) -> int:
    """The number of runs: what all leaves of `xs` and `length` agree on."""
    if length is not None:
        length = _known_integer(title, "length", length)
        if length < 0:
            raise ShapeError(message(f"{title}: length is negative", got=length, do="give the number of runs"))
    found: int | None = length
    first: int | None = None
    for i, x in enumerate(slices):
        shape = aval_of(signature(x)).shape
        if not shape:
            what = f"{title}: xs{path_of(structure, i)} has no axis to take slices along"
            raise ShapeError(message(what, got=aval_of(signature(x)), do="close over what is the same in each run"))
        if found is None:
            found, first = shape[0], i
        elif shape[0] != found:
            named = "length" if first is None else f"the first axis of xs{path_of(structure, first)}"
            got = f"{found} for {named}, {shape[0]} for the first axis of xs{path_of(structure, i)}"
            do = "cut or pad the longer ones; leave length out where there are xs"
            raise ShapeError(message(f"{title}: the lengths do not agree", got=got, do=do))
    if found is None:
        do = "give xs or length" if title == "lax.scan" else "give an array at least"
        raise ShapeError(message(f"{title}: the number of runs is not known", got="no leaves in xs", do=do))
    return found


def _known_integer(title: str, name: str, value: Any) -> int:
    value = peek(value)
    if value is None:
        do = "take it from a shape; fori_loop and while_loop take a traced number of runs"
        raise ConcretizationError(
            message(f"{title}: {name} must be known when it is traced", got="a traced value", do=do)
        )
    try:
        return operator.index(value)
    except TypeError:
        what = f"{title}: {name} must be an integer"
        raise TypeError(message(what, got=described(value), do="convert it with int(...)")) from None


def unrolling(title: str, unroll: int | bool, n: int) -> int:
    """How many runs a body has, one at least."""
    if isinstance(unroll, bool):
        return max(n, 1) if unroll else 1
    k = _known_integer(title, "unroll", unroll)
    if k < 0:
        raise ShapeError(
            message(f"{title}: unroll is negative", got=k, do="give the number of runs in a body, or True")
        )
    return k or max(n, 1)


def _base(title: str, checkpoint: int | bool | None, n: int) -> int:
    """How many runs, or chunks of runs, reverse mode keeps at each level; 0: all."""
    if checkpoint is None or checkpoint is False:
        return 0
    if checkpoint is True:
        return max(2, isqrt(n - 1) + 1) if n else 0
    base = _known_integer(title, "checkpoint", checkpoint)
    if base < 2:
        do = "give the number of runs to keep at each level, two at least, or True"
        raise ShapeError(message(f"{title}: checkpoint must be at least 2", got=base, do=do))
    return base


# ------------------------------------------------------------------------------------------------------- runs of a body


def repeated(body: Jaxpr, how: How, n: int, operands: Sequence[Any]) -> list[Any]:
    """Carry and stacked slices after `n` runs of a closed program; operands: consts, carry, slices."""
    if not any(type(x) is Tracer for x in operands):
        how = how._replace(base=0)  # there is nothing to differentiate
    return handed_out(_runs(body, how, n, operands), operands)


def _runs(body: Jaxpr, how: How, n: int, operands: Sequence[Any]) -> list[Any]:
    if how.base and n >= 2 * how.base:
        size = how.base
        while n // (size * how.base) >= 2:
            size *= how.base
        return _in_chunks(body, how, n, size, operands)
    if how.batch and n:
        return _in_chunks(body, how, n, min(how.batch, n), operands)
    if how.unroll > 1 and n:
        return _in_chunks(body, how._replace(base=0), n, min(how.unroll, n), operands)
    return _loop(body, how, n, operands)


def _loop(body: Jaxpr, how: How, n: int, operands: Sequence[Any]) -> list[Any]:
    """The equation itself."""
    params = {"jaxpr": body, "consts": how.consts, "carry": how.carry, "length": n, "reverse": how.reverse}
    return applied(region, operands, len(body.outputs), **params)


def _in_chunks(body: Jaxpr, how: How, n: int, size: int, operands: Sequence[Any]) -> list[Any]:
    """`n` runs, `size` of them at a time, and what is left over."""
    count, left = divmod(n, size)
    split = how.consts + how.carry
    same, slices = operands[: how.consts], operands[split:]

    def whole(state: Sequence[Any]) -> list[Any]:
        chunk = _chunk(body, how, size)
        parts = [slice_in_dim(x, 0, count * size) for x in slices]
        if count == 1:
            return interpret(chunk, [*same, *state, *parts])
        parts = [reshape(x, (count, size, *x.shape[1:])) for x in parts]
        outs = _loop(chunk, how, count, [*same, *state, *parts])
        return [*outs[: how.carry], *[reshape(y, (count * size, *y.shape[2:])) for y in outs[how.carry :]]]

    def rest(state: Sequence[Any]) -> list[Any]:
        parts = [*same, *state, *[slice_in_dim(x, count * size, n) for x in slices]]
        return _runs(body, how, left, parts) if how.base else interpret(_chunk(body, how, left), parts)

    state = operands[how.consts : split]
    if not left:
        return whole(state)
    if how.reverse:
        last = rest(state)
        first = whole(last[: how.carry])
    else:
        first = whole(state)
        last = rest(first[: how.carry])
    ys = [concatenate(pair, 0) for pair in zip(first[how.carry :], last[how.carry :], strict=True)]
    return [*(first if how.reverse else last)[: how.carry], *ys]


def _chunk(body: Jaxpr, how: How, size: int) -> Jaxpr:
    """`size` runs as one program: consts, carry, slices along a first axis -> carry, slices along a first axis."""
    split = how.consts + how.carry
    types = body.in_types
    stacked = [*types[:split], *[stacked_type(size, t) for t in types[split:]]]

    def checkpointed() -> Jaxpr:
        runs = constless(trace(lambda *xs: _runs(body, how, size, xs), stacked, "lax.scan", sites=False)[0])
        return one_equation(checkpoint_region, stacked, {"jaxpr": runs, "name": "scan"})

    def batched() -> Jaxpr:
        return batch_program(body, [i >= split for i in range(len(types))], size, True)[0]

    make = checkpointed if how.base else batched if how.batch else lambda: _unrolled(body, how, size, stacked)
    return memo(body, ("chunk", how, size), lambda: constless(make()))  # type: ignore[no-any-return]


def _unrolled(body: Jaxpr, how: How, size: int, types: Sequence[ShapedArray]) -> Jaxpr:
    split = how.consts + how.carry

    def program(*args: Any) -> list[Any]:
        state = list(args[how.consts : split])
        found: list[list[Any]] = [[] for _ in body.outputs[how.carry :]]
        for i in reversed(range(size)) if how.reverse else range(size):
            now = [index_in_dim(x, i, 0, keepdims=False) for x in args[split:]]
            outs = interpret(body, [*args[: how.consts], *state, *now])
            state = outs[: how.carry]
            for ys, y, t in zip(found, outs[how.carry :], body.out_types[how.carry :], strict=True):
                dims = tuple(range(1, t.ndim + 1))
                ys.append(stage(p.broadcast_in_dim, y, shape=(1, *t.shape), dims=dims))  # `y` may be a literal
        return [*state, *[concatenate(ys[::-1] if how.reverse else ys, 0) for ys in found]]

    return trace(program, types, "lax.scan", sites=False)[0]


# ------------------------------------------------------------------------------------------------------------------ map


def map(f: Callable[[Any], Any], xs: Any, *, batch_size: int | None = None) -> Any:
    """`f` of each slice of `xs` along its first axis, stacked along a first axis.

    xs, and what `f` returns: pytrees; the leaves of `xs` have equal lengths. batch_size: how many slices to compute at
    once, as `vmap` does; without it, or with 0, one after the other: less memory than `vmap`, more time.

    Errors: `ShapeError` for lengths that do not agree or a negative `batch_size`.

    >>> import numpy as np
    >>> from fgrad import lax
    >>> lax.map(lambda x: {"twice": 2 * x}, np.array([1.0, 2.0, 3.0]), batch_size=2)
    {'twice': array([2., 4., 6.])}
    """
    title = "lax.map"
    check_function(f, f"{title}: f")
    slices, structure = flattened(xs, f"{title}: xs")
    n = _length(title, slices, structure, None)
    size = 0 if batch_size is None else _known_integer(title, "batch_size", batch_size)
    if size < 0:
        raise ShapeError(message(f"{title}: batch_size is negative", got=size, do="give the number of slices, or None"))
    sigs = [slice_type(aval_of(signature(x))) for x in slices]
    body = body_of(f, title, tree.structure((xs,)), sigs)
    outs = repeated(body.jaxpr, How(len(body.consts), 0, batch=size), n, [*body.consts, *slices])
    return tree.unflatten(body.trees[0], outs)
