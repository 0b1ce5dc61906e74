"""Loops that run until a condition fails, and loops over integers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core import tree
from ..core.builder import trace
from ..core.errors import ConcretizationError, DtypeError, message
from ..core.ir import Eqn, Jaxpr, Literal, Var
from ..core.leaves import name_of
from ..core.trace import peek, signature
from ..core.types import ShapedArray, Signature, aval_of
from ..primitives.family import p
from ..regions.call import memo
from ..regions.loop import Sweep
from ..regions.loop import while_loop as region
from .bodies import applied, body_of, check_function, fitted, flattened, settled, strong
from .scans import How, repeated, unrolling


def while_loop(cond_fun: Callable[[Any], Any], body_fun: Callable[[Any], Any], init_val: Any) -> Any:
    """The first of init_val, body_fun(init_val), body_fun(body_fun(init_val)), ... for which `cond_fun` is false.

    init_val: a pytree of arrays and numbers, the carry. `body_fun` takes such a tree and returns one of the same
    structure, shapes and dtypes; where the carry starts as a Python number it takes the dtype that `body_fun` returns.
    `cond_fun` takes such a tree and returns a boolean scalar. Both are traced once, abstractly, and may use what is
    around them. Derivatives in reverse mode keep what each run needs, however many there are.

    Errors: `TreeError`, `ShapeError`, `DtypeError` where the carry changes, naming the leaf; `DtypeError` where the
    condition is no boolean scalar.

    >>> from fgrad import lax
    >>> lax.while_loop(lambda x: x < 100, lambda x: 2 * x, 3.0)
    np.float64(192.0)
    """
    title = "lax.while_loop"
    check_function(cond_fun, f"{title}: cond_fun")
    check_function(body_fun, f"{title}: body_fun")
    leaves, carry_tree = flattened(init_val, f"{title}: init_val")
    structure = tree.structure((init_val,))
    carry = slice(0, len(leaves))
    body = settled(body_fun, title, structure, [signature(x) for x in leaves], carry=carry, carry_tree=carry_tree)
    condition = body_of(cond_fun, title, structure, body.arguments)
    types = condition.jaxpr.out_types
    if condition.trees[0] != tree.LEAF or types[0].shape or types[0].dtype.kind != "b":
        got = types[0] if condition.trees[0] == tree.LEAF else f"a pytree of {len(types)} leaves"
        do = "return one comparison; join several by np.logical_and, those of elements by np.all or np.any"
        raise DtypeError(message(f"{title}: {name_of(cond_fun)} must return a boolean scalar", got=got, do=do))
    sweep = Sweep(body.jaxpr, len(body.consts), len(leaves), ())
    state = [strong(x, s) for x, s in zip(leaves, body.arguments, strict=True)]
    operands = [*condition.consts, *body.consts, *state]
    params = {"cond": condition.jaxpr, "consts": len(condition.consts), "sweeps": (sweep,)}
    outs = applied(region, operands, len(leaves), **params)
    return tree.unflatten(carry_tree, outs)


def fori_loop(
    lower: Any, upper: Any, body_fun: Callable[[Any, Any], Any], init_val: Any, *, unroll: int | bool | None = None
) -> Any:
    """The last value of `val = init_val; for i in range(lower, upper): val = body_fun(i, val)`.

    lower, upper: integers, traced or not: a `scan` if both are known, else a `while_loop`. Between two Python integers
    `i` behaves like one, so that `i * x` has the dtype of `x`. init_val: a pytree, as for `while_loop`. unroll: as for
    `scan`, if both bounds are known.

    Errors: `DtypeError` for bounds that are no integer scalars or of different dtypes, `ConcretizationError` for
    `unroll` with traced bounds; for the carry as `while_loop`.

    >>> from fgrad import lax
    >>> lax.fori_loop(0, 5, lambda i, total: total + i, 0)
    np.int64(10)
    """
    title = "lax.fori_loop"
    check_function(body_fun, f"{title}: body_fun")
    low, high = _bounds(title, lower, upper)
    leaves, carry_tree = flattened(init_val, f"{title}: init_val")
    n = len(leaves)
    sigs: list[Signature] = [signature(low), *[signature(x) for x in leaves]]
    structure = tree.structure((0, init_val))
    body = settled(body_fun, title, structure, sigs, carry=slice(1, 1 + n), carry_tree=carry_tree)
    consts = len(body.consts)
    program = memo(body.jaxpr, ("counted", consts), lambda: _counted(body.jaxpr, consts))
    operands = [*body.consts, *[strong(x, s) for x, s in zip([low, *leaves], body.arguments, strict=True)]]
    first, last = peek(low), peek(high)
    if first is not None and last is not None:
        runs = max(0, int(last) - int(first))
        how = How(consts, 1 + n, unroll=unrolling(title, 1 if unroll is None else unroll, runs))
        outs = repeated(program, how, runs, operands)
    else:
        if unroll not in (None, False, 1):
            what = f"{title}: unroll needs bounds that are known when it is traced"
            raise ConcretizationError(message(what, got=f"{low} and {high}", do="leave unroll out"))
        t = aval_of(signature(high))
        condition = _below(t, tuple(body.jaxpr.in_types[consts + 1 :]))
        sweep = Sweep(program, consts, 1 + n, ())
        outs = applied(region, [strong(high, t), *operands], 1 + n, cond=condition, consts=1, sweeps=(sweep,))
    return tree.unflatten(carry_tree, outs[1:])


def _bounds(title: str, lower: Any, upper: Any) -> tuple[Any, Any]:
    """Both bounds with one signature: a Python integer takes the dtype of the other."""
    (low,), (high,) = (flattened(x, f"{title}: {what}")[0] for x, what in ((lower, "lower"), (upper, "upper")))
    low, high = fitted(low, signature(high)), fitted(high, signature(low))
    types = [aval_of(signature(x)) for x in (low, high)]
    if types[0] != types[1] or types[0].shape or types[0].dtype.kind not in "iu":
        what = f"{title}: the bounds must be integer scalars of one dtype"
        do = "convert them with int(...), or .astype(np.int64) where they are traced"
        raise DtypeError(message(what, got=f"{types[0]} and {types[1]}", do=do))
    return low, high


def _counted(body: Jaxpr, consts: int) -> Jaxpr:
    """consts, i, carry -> i + 1, carry: of the body whose outputs are the carry alone."""
    i = body.inputs[consts]
    following = Var(i.type)
    step = Eqn(p.add, [i, Literal(1, i.type)], {}, [following])
    return Jaxpr(body.inputs, [*body.eqns, step], [following, *body.outputs], (), body.sites)


def _below(t: ShapedArray, carry: tuple[ShapedArray, ...]) -> Jaxpr:
    """The condition upper, i, carry -> i < upper."""
    return trace(lambda upper, i, *_: [p.lt(i, upper)], [t, t, *carry], "lax.fori_loop", sites=False)[0]
