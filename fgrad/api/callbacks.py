"""pure_callback and io_callback: Python functions inside traced programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core import tree
from ..core.errors import LeafError, message, user_site
from ..core.leaves import check_callable, checked, known, name_of
from ..core.primitive import Primitive
from ..core.types import ShapedArray, shaped
from ..regions import callbacks
from ..regions.callbacks import Function
from ..regions.lanes import METHODS


def pure_callback(
    callback: Callable[..., Any],
    result_shape_dtypes: Any,
    *args: Any,
    sharding: Any = None,
    vmap_method: str | None = None,
    vectorized: bool | None = None,
    **kwargs: Any,
) -> Any:
    """`callback(*args, **kwargs)`, computed in Python whenever the program around it runs.

    Args:
      callback: a function of arrays that depends on nothing but its arguments and has no effect but its result: it is
        not called where the result is not used, and may be called again. It gets ndarrays of its own, and NumPy scalars
        for arrays without dimensions, in the structure of the arguments.
      result_shape_dtypes: pytree of what has `shape` and `dtype` (`fgrad.ShapeDtypeStruct`, arrays), which the result
        must match; Python numbers may stand for scalars.
      args, kwargs: pytrees of arrays and numbers.
      vmap_method: what vmap makes of it. "sequential" (also if None): one call for each lane. The others call it once,
        with the lanes as first axis of the mapped arguments and of the results; arguments that are not mapped get that
        axis with one element ("expand_dims"), repeated ("broadcast_all"), or not ("legacy_vectorized").
      vectorized: True for "legacy_vectorized", False for "sequential".
      sharding: not used; there are no devices.

    Returns: the results, in the structure of `result_shape_dtypes`; they are copies.

    Errors: what the callback raises; `TreeError`, `ShapeError`, `DtypeError`, `LeafError` for a result that does not
    match; `MissingRuleError` where it is differentiated: give the function around it a rule by `custom_jvp` or
    `custom_vjp`; `ValueError` for an unknown method.

    >>> import math
    >>> import numpy as np
    >>> import fgrad
    >>> @fgrad.jit
    ... def f(x):
    ...     return 1 + fgrad.pure_callback(math.lgamma, fgrad.ShapeDtypeStruct((), float), x)
    >>> f(3.0) == 1 + math.lgamma(3.0)
    np.True_
    """
    if vectorized is not None:
        vmap_method = "legacy_vectorized" if vectorized else "sequential"
    method = {None: "sequential", "sequential_unrolled": "sequential"}.get(vmap_method, vmap_method)
    if method not in METHODS:
        do = f"choose one of {', '.join(METHODS)}"
        raise ValueError(message(f"pure_callback: there is no vmap_method {vmap_method!r}", got=vmap_method, do=do))
    return _call(callbacks.pure_callback, callback, result_shape_dtypes, args, kwargs, method=method, ordered=False)


def io_callback(
    callback: Callable[..., Any],
    result_shape_dtypes: Any,
    *args: Any,
    sharding: Any = None,
    ordered: bool = False,
    **kwargs: Any,
) -> Any:
    """`callback(*args, **kwargs)`, a function with effects, called exactly once whenever the program around it runs.

    Callbacks are called in the order of the program, whether `ordered` or not; `ordered=True` says that their order is
    all that matters, so that vmap is an error, where it would call the function for each lane in turn. Arguments,
    results and errors are those of `pure_callback`, but that a callback whose results are no floats may be
    differentiated: no derivative gets lost there.

    >>> import fgrad
    >>> seen = []
    >>> @fgrad.jit
    ... def step(loss):
    ...     fgrad.io_callback(seen.append, None, loss)
    ...     return loss / 2
    >>> step(step(8.0)), [float(x) for x in seen]
    (np.float64(2.0), [8.0, 4.0])
    """
    return _call(
        callbacks.io_callback, callback, result_shape_dtypes, args, kwargs, method="sequential", ordered=bool(ordered)
    )


def _call(primitive: Primitive, callback: Callable[..., Any], specs: Any, args: Any, kwargs: Any, **params: Any) -> Any:
    check_callable(callback, primitive.name)
    out, out_tree = tree.flatten(specs)
    types = tuple([_type(primitive.name, spec, out_tree, i) for i, spec in enumerate(out)])
    leaves, in_tree = tree.flatten((args, kwargs))
    leaves = checked(leaves, in_tree, f"{primitive.name} of {name_of(callback)}: argument ", 1)
    if not any(t.inexact for t in types):
        leaves = known(leaves)  # no derivative gets lost
    function = Function(primitive.name, callback, in_tree, out_tree, (), user_site())
    outs = primitive(*leaves, function=function, out=types, lanes=(), carried=((),) * len(leaves), **params)
    return tree.unflatten(out_tree, [outs] if len(types) == 1 else list(outs))


def _type(title: str, spec: Any, treedef: Any, i: int) -> ShapedArray:
    if hasattr(spec, "shape") and hasattr(spec, "dtype"):
        return shaped(tuple(spec.shape), spec.dtype)
    raise LeafError(
        message(
            f"{title}: result_shape_dtypes{tree.path_of(treedef, i)} has no shape and dtype",
            got=repr(spec),
            do="give fgrad.ShapeDtypeStruct(shape, dtype), or an array like the result; None for no result",
        )
    )
