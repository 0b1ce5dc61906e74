"""Functions as programs and as types: make_jaxpr, eval_shape, linear_transpose and their relatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np

from ..core import tree
from ..core.errors import StaticArgumentError, message
from ..core.leaves import Own, ShapeDtypeStruct, name_of
from ..core.primitive import registry as p
from ..core.trace import Tracer
from ..core.types import aval_of
from ..passes.interpret import interpret
from ..passes.transpose import Linear, transpose
from ..regions.call import memo
from ..regions.checkpoint import checkpoint as checkpoint_region
from ..rewrites.pipeline import simplify
from .derivatives import matching
from .jit import Jitted, Staged, stage_function, statics


def make_jaxpr(
    fun: Callable[..., Any], static_argnums: int | Sequence[int] = (), return_shape: bool = False
) -> Callable[..., Any]:
    """A function that returns the program of `fun` for given arguments, before any rewrite.

    With `return_shape` it returns a pair: the program, and the result as `ShapeDtypeStruct`s.

    >>> print(make_jaxpr(lambda x: x * 2.0)(1.5))
    { a:float64[] .
      b:float64[] = mul a 2.0:float64
      in (b) }
    """

    @wraps(fun, updated=())
    def made(*args: Any, **kwargs: Any) -> Any:
        staged = _staged_abstractly(Jitted(fun, statics(fun, static_argnums, None)[0]), args, kwargs, "make_jaxpr")
        return (staged.jaxpr, _structs(staged)) if return_shape else staged.jaxpr

    return made


def _structs(staged: Staged) -> Any:
    types = [aval_of(s) for s in staged.out_sigs]
    return tree.unflatten(staged.out_tree, [ShapeDtypeStruct(t.shape, t.dtype) for t in types])


def _staged_abstractly(jitted: Jitted, args: Any, kwargs: Any, name: str) -> Staged:
    treedef, sigs = jitted.signatures(args, kwargs, name)
    return stage_function(jitted._called, sigs, treedef, name_of(jitted.fun), name)


def eval_shape(fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Shapes and dtypes of `fun(*args, **kwargs)` without computing it.

    Arguments may be arrays or `ShapeDtypeStruct`s; returns the result's pytree of `ShapeDtypeStruct`s.

    >>> eval_shape(lambda x: x @ x.T, ShapeDtypeStruct((2, 3), np.float32))
    ShapeDtypeStruct(shape=(2, 2), dtype=float32)
    """
    return _structs(_staged_abstractly(Jitted(fun), args, kwargs, "eval_shape"))


def linear_transpose(fun: Callable[..., Any], *primals: Any) -> Callable[..., Any]:
    """The transpose of a function that is linear in all its arguments.

    primals: arrays or `ShapeDtypeStruct`s, of which only the types are used. The result maps cotangents of the value to
    a tuple of cotangents of the arguments, in the pairing <a, b> = Re sum(a * b).

    Errors: `LinearityError` where the result is called and the function is not linear; `TreeError`, `ShapeError` for a
    cotangent that does not match the value.

    >>> linear_transpose(lambda x: 3 * x, 1.0)(2.0)
    (np.float64(6.0),)
    """
    staged = _staged_abstractly(Jitted(fun), primals, {}, "linear_transpose")
    (treedef,) = {tree.structure(tuple(primals))}
    jaxpr = simplify(staged.jaxpr)

    def transposed(ct: Any) -> Any:
        cts = matching(ct, staged.out_tree, jaxpr.out_types, f"{name_of(fun)}: the cotangent")
        xs = [Linear(t) for t in jaxpr.in_types]
        found = transpose(jaxpr, xs, [None] * len(xs), cts)
        own = Own([c for c in cts if c is not None])
        return tree.unflatten(
            treedef,
            [
                np.zeros(t.shape, t.dtype)[()] if c is None else own(c)
                for c, t in zip(found, jaxpr.in_types, strict=True)
            ],
        )

    return transposed


def checkpoint(
    fun: Callable[..., Any], *, prevent_cse: bool = True, policy: Any = None, static_argnums: int | Sequence[int] = ()
) -> Callable[..., Any]:
    """`fun`, whose derivative keeps only the arguments and computes everything else again: memory for time.

    prevent_cse, policy: accepted for programs written for JAX; nothing is ever merged across the border of the second
    computation, and the only policy is to save the arguments. static_argnums: as for `jit`.

    >>> from fgrad import grad
    >>> grad(checkpoint(lambda x: np.sin(np.sin(x))))(0.0)
    np.float64(1.0)
    """
    if policy is not None:
        raise StaticArgumentError(
            message(
                "checkpoint policies are not supported: the arguments are saved, nothing else",
                got=policy,
                do="leave policy out",
            )
        )
    jitted = Jitted(fun, statics(fun, static_argnums, None)[0])
    jitted.cache = {}
    jitted.title = "checkpoint"

    @wraps(fun, updated=())
    def checkpointed(*args: Any, **kwargs: Any) -> Any:
        leaves, staged = jitted._prepare(args, kwargs)
        jaxpr = staged.jaxpr
        xs = [*jaxpr.consts, *leaves]
        if not any(type(x) is Tracer for x in xs):
            return fun(*args, **kwargs)
        closed = memo(jaxpr, "closed", jaxpr.closed)
        out = checkpoint_region(*xs, jaxpr=closed, name=name_of(fun))
        return tree.unflatten(staged.out_tree, [out] if len(jaxpr.outputs) == 1 else list(out))

    return checkpointed


def closure_convert(fun: Callable[..., Any], *example_args: Any) -> tuple[Callable[..., Any], list[Any]]:
    """`fun` with the traced values it closes over turned into arguments, and those values.

    Returns `(converted, consts)` with `converted(*args, *consts)` equal to `fun(*args)`.

    >>> converted, consts = closure_convert(lambda x: x + 1.0, 2.0)
    >>> converted(2.0, *consts)
    np.float64(3.0)
    """
    staged = _staged_abstractly(Jitted(fun), example_args, {}, "closure_convert")
    jaxpr = simplify(staged.jaxpr)
    hoisted = [c for c in jaxpr.consts if type(c) is Tracer]
    count = len(example_args)

    def converted(*args: Any) -> Any:
        given = iter(args[count:])
        consts = [next(given) if type(c) is Tracer else c for c in jaxpr.consts]
        leaves = tree.leaves((args[:count], {}))
        own = Own([*leaves, *consts])
        outs = interpret(jaxpr.closed(), [*consts, *leaves])
        return tree.unflatten(staged.out_tree, [own(y) for y in outs])

    return converted, hoisted


def stop_gradient(x: Any) -> Any:
    """`x` as a constant for derivatives; `x` is a pytree of arrays.

    >>> from fgrad import grad
    >>> grad(lambda x: x * stop_gradient(x))(3.0)
    np.float64(3.0)
    """
    return tree.map(lambda v: p.stop_gradient(v) if type(v) is Tracer and v.aval.inexact else v, x)
