"""Branches: one of several functions, chosen by a value that may be known only when the program runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np

from ..core import tree
from ..core.builder import sharing
from ..core.errors import DtypeError, FgradError, ShapeError, TreeError, message
from ..core.ir import Eqn, Jaxpr, Literal, Var
from ..core.leaves import described, name_of, path_of
from ..core.trace import Tracer, peek, signature
from ..core.types import ShapedArray, Signature, aval_of, canonical, shaped
from ..primitives.family import p
from ..regions.call import memo
from ..regions.cond import cond as region
from .bodies import applied, body_of, check_function, fits, flattened, handed_out, is_weak, strong, unequal

_UNSET: Any = object()


class Result(NamedTuple):
    """Structures and signatures of what a function returns."""

    trees: tuple[tree.Structure, ...]
    sigs: Sequence[Signature]


def cond(
    pred: Any, true_fun: Callable[..., Any], false_fun: Callable[..., Any], *operands: Any, operand: Any = _UNSET
) -> Any:
    """`true_fun(*operands)` where `pred` is true, else `false_fun(*operands)`.

    pred: a boolean scalar, or a number, which is true if it is not zero. operands: pytrees. Both functions return the
    same structure, shapes and dtypes; Python numbers take the dtype of the other branch. Only the chosen one is
    executed. Where `pred` is known, as in eager code and its derivatives, it is simply called, and the other one traced
    for its types; else both are traced once, abstractly. operand: a single operand, for programs written so.

    Errors: `DtypeError` for another `pred`; `TreeError`, `ShapeError`, `DtypeError` where the results differ, naming
    the leaf.

    >>> from fgrad import lax
    >>> lax.cond(3.0 > 2.0, lambda x: 2 * x, lambda x: -x, 10.0)
    np.float64(20.0)
    """
    title = "lax.cond"
    check_function(true_fun, f"{title}: true_fun")
    check_function(false_fun, f"{title}: false_fun")
    do = "compare, as in x > 0; reduce an array by np.any or np.all"
    pred = _scalar(pred, f"{title}: pred", "biufc", "a boolean scalar", do)
    known = peek(pred)
    which = _truth(pred) if known is None else int(bool(known))
    functions = {"true_fun": true_fun, "false_fun": false_fun}
    return _chosen(title, which, functions, (1, 0), _operands(title, operands, operand))


def _truth(pred: Any) -> Any:
    """A traced predicate as number of a branch."""
    if pred.dtype.kind != "b":
        pred = p.ne(pred, pred.dtype.type(0))
    return p.convert_element_type(pred, dtype=np.dtype(np.int64))


def switch(index: Any, branches: Sequence[Callable[..., Any]], *operands: Any, operand: Any = _UNSET) -> Any:
    """`branches[index](*operands)`; an index outside is taken for the nearest one.

    index: an integer scalar. Operands and results as for `cond`.

    Errors: `DtypeError` for another `index`, `ShapeError` for no branches; where results differ as `cond`.

    >>> from fgrad import lax
    >>> [float(lax.switch(i, [lambda x: x, lambda x: 2 * x, lambda x: x * x], 5.0)) for i in (0, 1, 2, 7)]
    [5.0, 10.0, 25.0, 25.0]
    """
    title = "lax.switch"
    branches = tuple(branches)
    if not branches:
        raise ShapeError(message(f"{title}: there are no branches", got="an empty sequence", do="pass one at least"))
    functions = {f"branches[{i}]": f for i, f in enumerate(branches)}
    for name, f in functions.items():
        check_function(f, f"{title}: {name}")
    do = "convert it with int(...), or .astype(np.int64) where it is traced"
    index = _scalar(index, f"{title}: index", "iu", "an integer scalar", do)
    known = peek(index)
    which = strong(index, shaped((), np.int64)) if known is None else min(max(int(known), 0), len(branches) - 1)
    if type(which) is Tracer and which.dtype != np.int64:
        which = p.convert_element_type(which, dtype=np.dtype(np.int64))
    order = tuple(range(len(branches)))
    return _chosen(title, which, functions, order, _operands(title, operands, operand))


def _operands(title: str, operands: tuple[Any, ...], operand: Any) -> tuple[Any, ...]:
    if operand is _UNSET:
        return operands
    if operands:
        what = f"{title}: operands are given by position and as operand="
        raise TypeError(message(what, got=f"{len(operands)} by position", do="give all by position"))
    return (operand,)


def _scalar(x: Any, what: str, kinds: str, wanted: str, do: str) -> Any:
    """`x` if it is a scalar of one of the kinds of dtypes."""
    got: Any
    try:
        x = x if type(x) is Tracer else canonical(x)
        got = aval_of(signature(x))
    except FgradError:
        got = None
    if got is None or got.shape or got.dtype.kind not in kinds:
        raise DtypeError(message(f"{what} must be {wanted}", got=got or described(x), do=do))
    return x


def _chosen(
    title: str,
    which: Any,
    functions: dict[str, Callable[..., Any]],
    order: tuple[int, ...],
    operands: tuple[Any, ...],
) -> Any:
    """The result of function number `order[which]` on the operands; `which` is a number or a traced one."""
    leaves, structure = flattened(operands, f"{title}: operands")
    sigs = [signature(x) for x in leaves]
    if type(which) is not Tracer:
        return _called(title, order[which], functions, operands, structure, sigs)
    bodies = [body_of(f, title, structure, sigs) for f in functions.values()]
    types = _common(title, dict(zip(functions, bodies, strict=True)))
    programs, consts = sharing([_converted(bodies[k].program, types) for k in order])
    leaves = [strong(x, s) for x, s in zip(leaves, sigs, strict=True)]
    outs = applied(region, [which, *consts, *leaves], len(types), branches=tuple(programs))
    return tree.unflatten(bodies[0].trees[0], outs)


def _called(
    title: str,
    chosen: int,
    functions: dict[str, Callable[..., Any]],
    operands: tuple[Any, ...],
    structure: tree.Structure,
    sigs: Sequence[Signature],
) -> Any:
    """The result of function number `chosen`, which is called as it is, with the types that all of them agree on.

    The others are traced for their types alone. What one of them does wrong meanwhile, such as an index that is out of
    bounds where it is not chosen, does not matter.
    """
    found: dict[str, Any] = {}
    for k, (name, f) in enumerate(functions.items()):
        if k == chosen:
            leaves, out_tree = flattened(f(*operands), f"{title}: the result of {name_of(f)} at ")
            found[name] = Result((out_tree,), [signature(y) for y in leaves])
            continue
        with suppress(Exception), np.errstate(all="ignore"):
            body = body_of(f, title, structure, sigs)
            found[name] = Result(body.trees, body.sigs)
    types = _common(title, found)
    outs = [strong(y, t) for y, t in zip(leaves, types, strict=True)]
    return tree.unflatten(out_tree, handed_out(outs, [*tree.leaves(operands), *leaves]))


def _common(title: str, results: dict[str, Result]) -> list[ShapedArray]:
    """The types of the results of all functions: Python numbers take the dtype of the others."""
    (first, result), *others = results.items()
    structure, sigs = result.trees[0], list(result.sigs)
    for name, other in others:
        if other.trees[0] != structure:
            what = f"{title}: {name} returns another structure than {first}"
            got = tree.explain_mismatch(structure, other.trees[0])
            raise TreeError(message(what, got=got, do="return the same containers with the same keys and lengths"))
        for i, (s, y) in enumerate(zip(sigs, other.sigs, strict=True)):
            if is_weak(s) and fits(s, y):
                sigs[i] = y
            elif aval_of(s) != aval_of(y) and not (is_weak(y) and fits(y, s)):
                where = path_of(structure, i)
                what = f"{title}: {first} and {name} return different types" + (f" at {where}" if where else "")
                a, b = aval_of(s), aval_of(y)
                raise unequal(a, b)(message(what, got=f"{a} and {b}", do=_remedy(a, b)))
    return [aval_of(s) for s in sigs]


def _remedy(a: ShapedArray, b: ShapedArray) -> str:
    if a.shape != b.shape:
        return "bring both to one shape, with fgrad.numpy.broadcast_to or reshape"
    return f"convert one of them, with .astype(np.{a.dtype.name}) or .astype(np.{b.dtype.name})"


def _converted(jaxpr: Jaxpr, types: Sequence[ShapedArray]) -> Jaxpr:
    """The program with outputs of the given types: Python numbers converted."""
    if list(jaxpr.out_types) == list(types):
        return jaxpr

    def make() -> Jaxpr:
        eqns: list[Eqn] = list(jaxpr.eqns)
        outputs: list[Any] = []
        for a, t in zip(jaxpr.outputs, types, strict=True):
            if a.type == t:
                outputs.append(a)
            elif type(a) is Literal:
                outputs.append(Literal(a.value, t))
            else:
                outputs.append(Var(t))
                eqns.append(Eqn(p.convert_element_type, [a], {"dtype": t.dtype}, [outputs[-1]]))
        return Jaxpr(jaxpr.inputs, eqns, outputs, jaxpr.consts, jaxpr.sites)

    return memo(jaxpr, ("converted", *types), make)  # type: ignore[no-any-return]
