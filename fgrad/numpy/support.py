"""What the functions of this package share: who answers a call, and checks of axes, shapes and dtypes."""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.axes import axis_of, distinct_axes
from ..core.errors import MutationError, ShapeError, message
from ..core.primitive import registry as p
from ..core.surface import surface
from ..core.trace import Tracer
from .promote import broadcast, broadcast_shapes, cast, result_dtype
from .ufuncs import ROUTES


def is_traced(x: Any) -> bool:
    """Whether `x` is a tracer, or a list or tuple that holds one."""
    return type(x) is Tracer or (type(x) in (list, tuple) and any(map(is_traced, x)))


def receiving(f: Callable[..., Any]) -> Callable[..., Any]:
    """`f`, which leaves its argument `out` alone, with its result written there; `f` itself if it has none."""
    code = inspect.unwrap(f).__code__
    if "out" not in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
        return f
    place = code.co_varnames.index("out")

    @functools.wraps(f)
    def face(*args: Any, **kwargs: Any) -> Any:
        if len(args) <= place and "out" not in kwargs:
            return f(*args, **kwargs)
        out = args[place] if len(args) > place else kwargs.pop("out")
        return received(out, f(*args[:place], *[None, *args[place + 1 :]][: len(args) - place], **kwargs), f.__name__)

    return face


def received(out: Any, new: Any, name: str) -> Any:
    """The result of NumPy's function `name`, written to `out` unless that is None."""
    if out is None:
        return new
    if type(out) is Tracer:
        return out._receive(new, f"np.{name}(out=x)")  # type: ignore[attr-defined]
    if type(out) is np.ndarray and type(new) is not Tracer:
        np.copyto(out, new)
        return out
    what = f"np.{name} cannot write a traced result into an ndarray (out=)"
    raise MutationError(message(what, got=type(out).__name__, do="use the returned value"))


def traced(
    *numpy: Callable[..., Any] | None,
    method: str | None = None,
    sequences: bool = False,
    run: Callable[..., Any] | None = None,
) -> Callable[..., Any]:
    """Decorator: the version for traced operands of the NumPy functions `numpy`, also as a method of tracers.

    The result runs NumPy's function (`run`, by default the first of `numpy`) where no operand is traced; None stands
    for one that this version of NumPy lacks. Nested lists that hold tracers become arrays, unless the function takes
    `sequences` of arrays.
    """

    def decorate(f: Callable[..., Any]) -> Callable[..., Any]:
        f = receiving(f)
        known = [g for g in numpy if g is not None]
        plain = run or (known[0] if known else f)

        @functools.wraps(f)
        def face(*args: Any, **kwargs: Any) -> Any:
            if args and (type(args[0]) is Tracer or (sequences and Tracer in map(type, args))):
                return f(*args, **kwargs)
            if not any(map(is_traced, args)) and not any(map(is_traced, kwargs.values())):
                return plain(*args, **kwargs)
            if not sequences and args:
                rest = [stacked(x) if type(x) is not Tracer and is_traced(x) else x for x in args[1:]]
                args = (stacked(args[0]), *rest)
            return f(*args, **kwargs)

        for g in known:
            ROUTES[g] = f
        if method is not None:
            setattr(Tracer, method, f)
        return face

    return decorate


def strict(x: Any) -> Any:
    """An operand at its own dtype: no longer weak."""
    return cast(x, x.dtype)


@surface(run=lambda *xs, axis: np.stack(xs, axis) if axis else np.array(xs), arity=None)
def stack_call(*xs: Any, axis: int) -> Any:
    """Operands of one shape along a new axis."""
    dtype = result_dtype(*[strict(x) for x in xs])
    first = xs[0]
    if any(x.shape != first.shape for x in xs):
        raise ShapeError(
            message(
                "stack: all arrays must have the same shape",
                got=", ".join(str(x.shape) for x in xs),
                do="broadcast or pad the arrays first; use concatenate along an axis that exists",
            )
        )
    axis = axis_of("stack", axis, first.ndim + 1)
    shape = (*first.shape[:axis], 1, *first.shape[axis:])
    return p.concatenate(*[p.reshape(cast(x, dtype), shape=shape) for x in xs], axis=axis)


def stacked(x: Any) -> Any:
    """A nested list or tuple of arrays, numbers and tracers as one array."""
    if type(x) not in (list, tuple) or not is_traced(x):
        return x if type(x) is Tracer else np.asarray(x)
    return stack_call(*[stacked(v) for v in x], axis=0)


def axes_of(name: str, axis: Any, ndim: int) -> tuple[int, ...]:
    """Axes in rising order from None (all), a number, or a sequence of numbers."""
    if axis is None:
        return tuple(range(ndim))
    return distinct_axes(name, axis, ndim) if isinstance(axis, tuple | list) else (axis_of(name, axis, ndim),)


def shape_of(shape: Any) -> tuple[int, ...]:
    """A shape from a number or a sequence of numbers. Traced sizes that are not known raise `ConcretizationError`."""
    if isinstance(shape, np.ndarray):
        shape = shape.tolist()
    if isinstance(shape, tuple | list):
        return tuple([operator.index(n) for n in shape])
    return (operator.index(shape),)


def kept(shape: Sequence[int], axes: Sequence[int]) -> tuple[int, ...]:
    """`shape` with size 1 along `axes`."""
    return tuple(1 if a in axes else n for a, n in enumerate(shape))


def inexact(x: Any) -> Any:
    """An operand at its own dtype where that is floating or complex, else as float64: what NumPy's means compute in."""
    return cast(x, x.dtype if x.dtype.kind in "fc" else np.float64)


def scalar(out: Any) -> Any:
    """NumPy's result, where it has no dimensions as a NumPy scalar."""
    return out if out.ndim else out[()]


def window(x: Any, starts: Sequence[int], stops: Sequence[int], strides: Sequence[int] | None = None) -> Any:
    """x[starts[0]:stops[0]:strides[0], ...] as a strict equation; the bounds must lie in the array."""
    strides = (1,) * x.ndim if strides is None else tuple(strides)
    sizes = tuple(max(-(-(e - s) // n), 0) for s, e, n in zip(starts, stops, strides, strict=True))
    if sizes == x.shape:
        return x
    return p.dynamic_slice(x, *[np.int64(s) for s in starts], sizes=sizes, strides=strides)


def cut(x: Any, axis: int, start: int, stop: int) -> Any:
    """x[start:stop] along `axis` as a strict equation."""
    starts = [start if a == axis else 0 for a in range(x.ndim)]
    return window(x, starts, [stop if a == axis else n for a, n in enumerate(x.shape)])


def _run_part(x: Any, axis: int, start: int, stop: int) -> Any:
    return x[(slice(None),) * axis + (slice(start, stop),)]


@surface(run=_run_part, arity=1)
def part(x: Any, axis: int, start: int, stop: int) -> Any:
    """x[start:stop] along `axis`; 0 <= start <= stop <= size."""
    return cut(x, axis, start, stop)


def pick(x: Any, indices: np.ndarray, axis: int) -> Any:
    """`x` at constant, valid indices along `axis`, whose place the axes of `indices` take; a strict equation."""
    y = p.gather(x, np.asarray(indices, np.int64), axes=(axis,), mode="promise")
    k = np.ndim(indices)
    order = (*range(k, k + axis), *range(k), *range(k + axis, y.ndim))
    return y if order == tuple(range(y.ndim)) else p.transpose(y, axes=order)


@surface(run=lambda c, x, y: scalar(np.where(c, x, y)), arity=3, resizes=True)
def where_call(condition: Any, x: Any, y: Any) -> Any:
    """Elements of `x` where `condition` holds, else of `y`."""
    dtype = result_dtype(x, y)
    shapes = [condition.shape, x.shape, y.shape]
    shape = shapes[0] if shapes[0] == shapes[1] == shapes[2] else broadcast_shapes(*shapes)
    condition = strict(condition)
    if condition.dtype != np.bool_:
        condition = p.ne(condition, 0)
    return p.select(*[broadcast(v, shape) for v in (condition, cast(x, dtype), cast(y, dtype))])
