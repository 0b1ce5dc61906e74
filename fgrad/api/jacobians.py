"""Jacobians and Hessians: one recording of the function, pushed or pulled for all unit vectors at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np

from ..batching import vmap
from ..core import tree
from ..core.errors import GradError, message
from ..core.leaves import Own, name_of
from ..core.primitive import registry as p
from ..core.trace import Tracer, signature
from ..core.types import aval_of
from .derivatives import is_array, normalized, pair, recorded, slot_of, unwrapped


def _basis(types: Sequence[Any], k: int) -> list[Any]:
    """Unit vectors of all leaves' elements, stacked: for leaf k its own, for the others zeros."""
    total = types[k].size
    out = []
    for i, t in enumerate(types):
        if i == k:
            out.append(np.eye(total, dtype=t.dtype).reshape(total, *t.shape))
        else:
            out.append(np.zeros((total, *t.shape), t.dtype))
    return out


def _check_jacobian(types: Sequence[Any], holomorphic: bool, what: str) -> None:
    for t in types:
        if t.dtype.kind != ("c" if holomorphic else "f"):
            raise GradError(
                message(
                    f"{what} must be {'complex' if holomorphic else 'real floating'}",
                    got=t,
                    do="use holomorphic=True for holomorphic functions, or differentiate real and imaginary parts",
                )
            )


def _reshaped(x: Any, shape: tuple[int, ...]) -> Any:
    return p.reshape(x, shape=shape) if type(x) is Tracer else np.reshape(x, shape)[()]


def _to_back(x: Any) -> Any:
    """The first axis last."""
    axes = (*range(1, x.ndim), 0)
    return p.transpose(x, axes=axes) if type(x) is Tracer else np.ascontiguousarray(np.transpose(x, axes))


def _jacobian(fun: Callable[..., Any], argnums: Any, has_aux: bool, holomorphic: bool, mode: str) -> Callable[..., Any]:
    @wraps(fun, updated=())
    def jacobian_fun(*args: Any, **kwargs: Any) -> Any:
        nums = normalized(argnums, len(args), fun)
        several = not isinstance(argnums, int | np.integer)
        aux_box: list[Any] = []

        def partial(*chosen: Any) -> Any:
            inside = list(args)
            for n, a in zip(nums, chosen, strict=True):
                inside[n] = a
            out = fun(*inside, **kwargs)
            if has_aux:
                out, aux = pair(out, fun)
                aux_box.append(aux)
            return out

        partial.__name__ = name_of(fun)
        tape, traced, treedef, outs, out_tree = recorded(partial, [args[n] for n in nums], "jacobian")
        in_types = [aval_of(signature(t)) for t in traced]
        out_types = [aval_of(signature(y)) for y in outs]
        _check_jacobian(in_types, holomorphic, f"the arguments of jacobian({name_of(fun)})")
        _check_jacobian(out_types, holomorphic, f"the results of {name_of(fun)}")
        slots = [slot_of(tape, y) for y in outs]
        in_slots = [t.slot for t in traced]
        forward = mode == "fwd" or (mode == "auto" and sum(t.size for t in in_types) < sum(t.size for t in out_types))
        blocks: dict[tuple[int, int], Any] = {}
        if forward:
            for j, t in enumerate(in_types):

                def push(*ts: Any) -> list[Any]:
                    found = tape.push(dict(zip(in_slots, ts, strict=True)), slots)
                    return [
                        np.zeros(u.shape, u.dtype) if y is None else y for y, u in zip(found, out_types, strict=True)
                    ]

                with np.errstate(all="ignore"):
                    columns = (
                        vmap(push, axis_size=t.size)(*_basis(in_types, j))
                        if t.size
                        else [np.zeros((0, *u.shape), u.dtype) for u in out_types]
                    )
                for i, (c, u) in enumerate(zip(columns, out_types, strict=True)):
                    blocks[i, j] = _reshaped(_to_back(c), (*u.shape, *t.shape))
        else:
            for i, u in enumerate(out_types):

                def pull(*cts: Any) -> list[Any]:
                    seeds = [(s, c) for s, c in zip(slots, cts, strict=True) if s is not None]
                    found = tape.pull(seeds, in_slots)
                    return [
                        np.zeros(t.shape, t.dtype) if y is None else y for y, t in zip(found, in_types, strict=True)
                    ]

                with np.errstate(all="ignore"):
                    rows = (
                        vmap(pull, axis_size=u.size)(*_basis(out_types, i))
                        if u.size
                        else [np.zeros((0, *t.shape), t.dtype) for t in in_types]
                    )
                for j, (r, t) in enumerate(zip(rows, in_types, strict=True)):
                    blocks[i, j] = _reshaped(r, (*u.shape, *t.shape))
        own = Own()
        result = []
        for i in range(len(out_types)):
            row = tree.unflatten(treedef, [own(blocks[i, j]) for j in range(len(in_types))])
            result.append(row if several else row[0])
        jac = tree.unflatten(out_tree, result)
        if has_aux:
            return jac, tree.map(lambda y: unwrapped(tape, y, own) if is_array(y) else y, aux_box[0])
        return jac

    return jacobian_fun


def jacfwd(
    fun: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False, holomorphic: bool = False
) -> Callable[..., Any]:
    """A function that returns the Jacobian of `fun`, column by column in forward mode: for few inputs.

    Every leaf of the value becomes a pytree like the argument, its arrays of shape value.shape + argument.shape.

    >>> jacfwd(lambda x: x * np.array([1.0, 2.0]))(3.0)
    array([1., 2.])
    """
    return _jacobian(fun, argnums, has_aux, holomorphic, "fwd")


def jacrev(
    fun: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False, holomorphic: bool = False
) -> Callable[..., Any]:
    """A function that returns the Jacobian of `fun`, row by row in reverse mode: for few outputs.

    Shapes as in `jacfwd`.

    >>> jacrev(lambda x: x[0] * x[1])(np.array([2.0, 3.0]))
    array([3., 2.])
    """
    return _jacobian(fun, argnums, has_aux, holomorphic, "rev")


def jacobian(
    fun: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False, holomorphic: bool = False
) -> Callable[..., Any]:
    """A function that returns the Jacobian of `fun` in the cheaper mode: forward if inputs are fewer than outputs.

    >>> jacobian(lambda x: x**2)(np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    """
    return _jacobian(fun, argnums, has_aux, holomorphic, "auto")


def hessian(
    fun: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False, holomorphic: bool = False
) -> Callable[..., Any]:
    """A function that returns the matrix of second derivatives of `fun`: forward over reverse mode.

    Blocks have shape value.shape + argument.shape + argument.shape.

    >>> hessian(lambda x: (x**3).sum())(np.array([1.0, 2.0]))
    array([[ 6.,  0.],
           [ 0., 12.]])
    """
    return jacfwd(jacrev(fun, argnums, has_aux, holomorphic), argnums, has_aux, holomorphic)
