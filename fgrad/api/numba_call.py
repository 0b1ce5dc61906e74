"""numba_call: functions that the user compiled with Numba, inside transformed programs."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from ..core import tree
from ..core.errors import LeafError, StaticArgumentError, message
from ..core.leaves import checked, name_of
from ..core.types import ShapedArray, shaped
from ..regions.numba_call import Compiled
from ..regions.numba_call import numba_call as primitive
from .custom import custom_vjp


def numba_call(
    kernel: Any,
    *args: Any,
    out: Any,
    vjp: Callable[..., Any] | None = None,
    vectorized: bool = False,
) -> Any:
    """Call a `numba.njit` function that writes its results into arrays given to it: `kernel(*args, *outputs)`.

    Works under jit, where it runs natively and without the GIL, vmap, and, with a rule, reverse-mode derivatives.

    Args:
      kernel: a function decorated with `numba.njit`. It gets C-contiguous arrays, which it may only read, and scalars
        for operands of no dimensions; behind them the outputs, uninitialised, of which it writes every element (of
        one without dimensions `out[()]`). It must depend on nothing else, and may raise.
      args: arrays and numbers.
      out: shape and dtype of the output, or a pytree of them, such as `fgrad.ShapeDtypeStruct` or example arrays.
      vjp: `vjp(inputs, outputs, cotangents)` returns one cotangent for each of the inputs (a tuple), None for zero;
        outputs and cotangents have the structure of `out`. It is traced, and may use numba_call.
      vectorized: whether the kernel takes any number of axes in front of those of all operands and outputs: under
        vmap it then runs once, instead of once for each lane.

    Returns: the outputs, with the structure of `out`.

    Errors: `StaticArgumentError` for a kernel that Numba did not compile, `LeafError` for an `out` without shape and
    dtype, `MissingRuleError` where a derivative is taken without `vjp`, and what the kernel raises.

    >>> import numba, numpy as np, fgrad
    >>> @numba.njit
    ... def running_maximum(x, out):
    ...     top = x[0]
    ...     for i in range(len(x)):
    ...         top = max(top, x[i])
    ...         out[i] = top
    >>> @fgrad.jit
    ... def f(x):
    ...     return 2 * fgrad.numba_call(running_maximum, x, out=x)
    >>> f(np.array([1.0, 3.0, 2.0]))
    array([2., 6., 6.])
    """
    if not (hasattr(kernel, "py_func") and hasattr(kernel, "nopython_signatures")):
        raise StaticArgumentError(
            message(
                "numba_call: the kernel is not compiled by Numba", got=repr(kernel), do="decorate it with numba.njit"
            )
        )
    specs, treedef = tree.flatten(out)
    types = tuple([_type(spec) for spec in specs])
    function = _function(Compiled(kernel), types, treedef, vjp, "broadcast_all" if vectorized else "sequential")
    leaves, structure = tree.flatten(args)
    return function(*checked(leaves, structure, f"numba_call of {name_of(kernel)}: the argument", settling=False))


def _type(spec: Any) -> ShapedArray:
    if not (hasattr(spec, "shape") and hasattr(spec, "dtype")):
        raise LeafError(
            message(
                "numba_call: out has a leaf without shape and dtype",
                got=repr(spec),
                do="give fgrad.ShapeDtypeStruct(shape, dtype), or an array like the output",
            )
        )
    return shaped(tuple(spec.shape), spec.dtype)


class _WithRule(custom_vjp):
    """A call with a rule. Rules are often made anew at each call, and call the function that made them."""

    def _same(self, other: Any) -> bool:
        return isinstance(other, _WithRule)


@lru_cache(512)
def _function(
    kernel: Compiled, types: tuple[ShapedArray, ...], treedef: Any, rule: Callable[..., Any] | None, method: str
) -> Callable[..., Any]:
    """The call as a function of its operands, differentiable if there is a rule."""

    def call(*xs: Any) -> Any:
        carried = ((),) * len(xs)
        outs = primitive(*xs, function=kernel, out=types, lanes=(), carried=carried, method=method)
        return tree.unflatten(treedef, [outs] if len(types) == 1 else list(outs))

    if rule is None:
        return call

    def forward(*xs: Any) -> Any:
        outs = made(*xs)  # which has a derivative of its own, for second derivatives
        return outs, (xs, outs)

    def backward(residuals: Any, cotangents: Any) -> Any:
        return rule(*residuals, cotangents)

    call.__name__ = name_of(kernel.function)
    made = _WithRule(call)
    made.defvjp(forward, backward)
    return made
