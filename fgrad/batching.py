"""vmap: a function of one example as a function of many."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from .core import tree
from .core.errors import AxisSizeError, message
from .core.handles import LOCAL, argument, local
from .core.leaves import Own, check_callable, checked, name_of
from .core.primitive import registry as p
from .core.trace import Tracer, signature
from .core.types import aval_of, shaped
from .passes.vmap import Batch, spread

_is_none = lambda x: x is None  # noqa: E731


def _to_front(x: Any, axis: int) -> Any:
    if axis == 0:
        return x
    if type(x) is Tracer:
        return p.transpose(x, axes=(axis, *[a for a in range(x.ndim) if a != axis]))
    return np.moveaxis(x, axis, 0)


def _from_front(x: Any, axis: int) -> Any:
    if axis == 0:
        return x
    if type(x) is Tracer:
        order = [a for a in range(1, x.ndim)]
        order.insert(axis, 0)
        return p.transpose(x, axes=tuple(order))
    return np.moveaxis(x, 0, axis)


def vmap(
    fun: Callable[..., Any],
    in_axes: Any = 0,
    out_axes: Any = 0,
    axis_name: Any = None,
    axis_size: int | None = None,
) -> Callable[..., Any]:
    """`fun` applied to every slice of its arguments along an axis, as one batched computation.

    in_axes: an int, None (not mapped), or a pytree of these that is a prefix of the positional arguments; keyword
    arguments are mapped along axis 0. out_axes: the same for the result. axis_size: number of lanes, needed where
    nothing is mapped. Values inside are abstract: Python cannot branch on them.

    Errors: `AxisSizeError` for axes that are missing, out of range or of different sizes, naming the arguments.

    >>> vmap(lambda x, w: x @ w, in_axes=(0, None))(np.ones((2, 3)), np.ones(3))
    array([3., 3.])
    """

    check_callable(fun, "vmap")

    @wraps(fun, updated=())
    def batched(*args: Any, **kwargs: Any) -> Any:
        leaves, treedef = tree.flatten((args, kwargs))
        leaves = checked(leaves, treedef, f"vmap({name_of(fun)}): argument ", 1)
        axes = _axes(in_axes, args, kwargs, fun)
        types = [aval_of(signature(x)) for x in leaves]
        axes = [_normal(a, t, i, args, kwargs, fun) for i, (a, t) in enumerate(zip(axes, types, strict=True))]
        size = _lanes(axes, types, axis_size, args, kwargs, fun)
        with Batch(size, axis_name).open() as batch:
            inside = []
            for x, a, t in zip(leaves, axes, types, strict=True):
                if a is None:
                    x = local(x)  # so that table[i] works with a mapped index
                    inside.append(argument(x) if type(x) is Tracer and x.owner is LOCAL else x)
                else:
                    lane = shaped(t.shape[:a] + t.shape[a + 1 :], t.dtype)
                    inside.append(batch.input(_to_front(x, a), lane))
            inner_args, inner_kwargs = tree.unflatten(treedef, inside)
            out = fun(*inner_args, **inner_kwargs)
            outs, out_tree = tree.flatten(out)
            outs = checked(outs, out_tree, f"vmap({name_of(fun)}): the result")
        return _collected(batch, outs, out_tree, out, out_axes, leaves, fun)

    return batched


def _collected(batch: Batch, outs: Any, out_tree: Any, out: Any, out_axes: Any, leaves: Any, fun: Any) -> Any:
    wanted = tree.prefix_leaves(out_axes, out, is_leaf=_is_none, name=f"out_axes of vmap({name_of(fun)})")
    own = Own(leaves)
    results = []
    for y, a in zip(outs, wanted, strict=True):
        mapped = type(y) is Tracer and y.owner is batch
        t = aval_of(signature(y))
        if a is None:
            if mapped:
                raise AxisSizeError(
                    message(
                        f"vmap({name_of(fun)}): out_axes is None for a result that differs between lanes",
                        got=t,
                        do="give it an axis, or return something that does not depend on mapped arguments",
                    )
                )
            results.append(own.copied(y))
            continue
        if not -t.ndim - 1 <= a <= t.ndim:
            raise AxisSizeError(
                message(
                    f"vmap({name_of(fun)}): out_axes {a} is out of range",
                    got=f"a result of {t.ndim} dimensions",
                    do=f"use -{t.ndim + 1} to {t.ndim}",
                )
            )
        if mapped:
            value = y.value
        else:
            value = spread(batch.size, y, t) if type(y) is Tracer else np.broadcast_to(y, (batch.size, *t.shape))
        results.append(own(_from_front(value, a % (t.ndim + 1))))
    return tree.unflatten(out_tree, results)


def _axes(in_axes: Any, args: Any, kwargs: Any, fun: Any) -> list[Any]:
    if isinstance(in_axes, list):
        in_axes = tuple(in_axes)
    if isinstance(in_axes, tuple) and len(in_axes) != len(args):
        raise AxisSizeError(
            message(
                f"vmap({name_of(fun)}): in_axes has {len(in_axes)} entries for {len(args)} positional arguments",
                got=f"in_axes={in_axes}",
                do="give one entry per positional argument; keyword arguments are mapped along axis 0",
            )
        )
    axes = tree.prefix_leaves(in_axes, args, is_leaf=_is_none, name=f"in_axes of vmap({name_of(fun)})")
    for a in axes:
        if a is not None and (isinstance(a, bool) or not isinstance(a, int | np.integer)):
            raise AxisSizeError(
                message(
                    f"vmap({name_of(fun)}): in_axes must be integers or None", got=repr(a), do="write in_axes=(0, None)"
                )
            )
    return [*axes, *[0] * len(tree.leaves(kwargs))]


def _path(i: int, args: Any, kwargs: Any) -> str:
    paths = tree.leaves_with_path((args, kwargs))
    return tree.keystr(paths[i][0][1:]) if i < len(paths) else "?"


def _normal(a: Any, t: Any, i: int, args: Any, kwargs: Any, fun: Any) -> Any:
    if a is None:
        return None
    if not -t.ndim <= a < t.ndim:
        raise AxisSizeError(
            message(
                f"vmap({name_of(fun)}): argument {_path(i, args, kwargs)} has no axis {a} to map over",
                got=t,
                do="use None in in_axes for arguments that are the same for all lanes",
            )
        )
    return a % t.ndim


def _lanes(axes: Any, types: Any, axis_size: int | None, args: Any, kwargs: Any, fun: Any) -> int:
    sizes = {i: t.shape[a] for i, (a, t) in enumerate(zip(axes, types, strict=True)) if a is not None}
    distinct = set(sizes.values())
    if axis_size is not None:
        distinct.add(axis_size)
    if len(distinct) > 1:
        listed = ", ".join(f"{_path(i, args, kwargs)} has {n} along axis {axes[i]}" for i, n in sizes.items())
        extra = f"; axis_size={axis_size}" if axis_size is not None else ""
        raise AxisSizeError(
            message(
                f"vmap({name_of(fun)}): mapped axes have different sizes",
                got=listed + extra,
                do="map axes of equal size",
            )
        )
    if not distinct:
        raise AxisSizeError(
            message(
                f"vmap({name_of(fun)}): nothing is mapped, so the number of lanes is unknown",
                got="no mapped argument",
                do="give axis_size, or map an argument",
            )
        )
    return distinct.pop()
