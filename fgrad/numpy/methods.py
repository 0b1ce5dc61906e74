"""Gives tracers NumPy's operators and protocols; arrays' methods are added by the module that defines the function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.errors import MissingRuleError, MutationError, message
from ..core.surface import binary_operator
from ..core.trace import Tracer
from .promote import cast, is_weak
from .support import received
from .ufuncs import OPERATORS, ROUTES, UNARY_OPERATORS

# NumPy's ufunc methods -> ours: (ufunc, method) -> function
UFUNC_METHODS: dict[tuple[Any, str], Callable[..., Any]] = {}
# NumPy's creation functions -> ours: np.zeros(3, like=x)
LIKE: dict[Any, Callable[..., Any]] = {}


def routes(*numpy: Any) -> Callable[..., Any]:
    """Decorator: NumPy functions that this function answers when an operand is traced."""

    def decorate(f: Any) -> Any:
        for g in numpy:
            ROUTES[g] = f
        return f

    return decorate


def method(name: str) -> Callable[..., Any]:
    """Decorator: make a function of an array a method of tracers too."""

    def decorate(f: Any) -> Any:
        setattr(Tracer, name, _as_method(f))
        return f

    return decorate


def _as_method(f: Any) -> Any:
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return f(self, *args, **kwargs)

    call.__name__ = getattr(f, "__name__", "method")
    call.__doc__ = f.__doc__
    return call


def _swapped(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, other: f(other, self)


for _name, _f in OPERATORS.items():
    _forward: Any = binary_operator(_f.function) if hasattr(_f, "function") else _f
    setattr(Tracer, f"__{_name}__", _forward)
    if _name not in ("lt", "le", "gt", "ge", "eq", "ne"):
        setattr(Tracer, f"__r{_name}__", _swapped(_forward))
for _name, _f in UNARY_OPERATORS.items():
    setattr(Tracer, f"__{_name}__", _as_method(_f))


def _array_ufunc(self: Any, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
    """NumPy hands a ufunc over because an operand is traced."""
    if not kwargs and method == "__call__" and type(self.sig) is not type:
        f = ROUTES.get(ufunc)
        if f is not None:
            return f(*inputs)
    outs = kwargs.pop("out", ())
    if any([out is not None for out in outs]):
        if all([out is None or type(out) is Tracer for out in outs]):
            return _received(ufunc, method, inputs, outs, **kwargs)
        raise MutationError(
            message(
                f"np.{ufunc.__name__} cannot write a traced result into an ndarray "
                f"(out=, or ndarray {_SIGNS.get(ufunc.__name__, 'op')}= x)",
                got=f"a traced {self.aval}",
                do="write y = y + x instead of y += x: the result is then traced as well",
            )
        )
    if method == "__call__":
        f = ROUTES.get(ufunc)
        where = kwargs.pop("where", True)
        if f is None or where is not True:
            raise _unsupported(_qualified(ufunc) + ("" if f is None else "(where=...)"))
        dtype = kwargs.pop("dtype", None)
        for ignored in ("casting", "order", "subok"):
            kwargs.pop(ignored, None)
        if dtype is not None:
            inputs = tuple(x.astype(dtype) if hasattr(x, "astype") else np.asarray(x, dtype) for x in inputs)
        if type(self.sig) is type and all(is_weak(x) for x in inputs):
            # NumPy's functions make arrays of Python scalars, where operators do not
            inputs = tuple(cast(x, x.dtype) if type(x) is Tracer else x for x in inputs)
        return f(*inputs, **kwargs)
    f = UFUNC_METHODS.get((ufunc, method))
    if f is None:
        raise _unsupported(f"np.{ufunc.__name__}.{method}")
    return f(*inputs, **kwargs)


def _received(ufunc: Any, method: str, inputs: Any, outs: Any, *, casting: str = "same_kind", **kwargs: Any) -> Any:
    """The results of a ufunc, written to those of `outs` that are not None: where the argument `where` holds."""
    where = kwargs.pop("where", True) if method == "__call__" and None not in outs else True
    with np.errstate() if where is True else np.errstate(all="ignore"):
        found = getattr(ufunc, method)(*inputs, **kwargs)
    results = list(found) if isinstance(found, tuple) else [found]
    for k, out in enumerate(outs):
        if out is not None:
            new = results[k]
            if where is not True or (new.shape != out.shape and method == "__call__" and not ufunc.signature):
                new = np.where(where, new, out)  # also repeats a smaller result
            results[k] = out._receive(new, f"np.{ufunc.__name__}(out=x)", casting)
    return tuple(results) if isinstance(found, tuple) else results[0]


_SIGNS = {
    "add": "+",
    "subtract": "-",
    "multiply": "*",
    "divide": "/",
    "power": "**",
    "floor_divide": "//",
    "remainder": "%",
}


def _array_function(self: Any, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
    """NumPy hands a function over because an argument is traced."""
    f = ROUTES.get(func)
    if f is None:
        if func in LIKE:
            return LIKE[func](*args, like=self, **kwargs)
        raise _unsupported(f"np{func.__module__.removeprefix('numpy')}.{func.__name__}")
    if (kwargs or len(args) > 2) and (func is np.dot or func is np.outer):
        return received(kwargs.get("out", args[-1]), f(*args[:2]), func.__name__)
    return f(*args, **kwargs)


def _qualified(ufunc: Any) -> str:
    """A ufunc's name with its module: those that NumPy does not know are SciPy's special functions."""
    name: str = ufunc.__name__
    return f"np.{name}" if getattr(np, name, None) is ufunc else f"scipy.special.{name}"


def _unsupported(what: str) -> TypeError:
    do = "compose it of functions in fgrad.numpy"
    if what.startswith("scipy."):
        do = f"use fgrad.{what} if it is there, or {do}"
    elif what.endswith(".at"):
        do = "use those of add, subtract, multiply, divide, power, minimum and maximum; or x[i] = v"
    return MissingRuleError(message(f"{what} has no traced version", do=do))


Tracer.__array_ufunc__ = _array_ufunc  # type: ignore[attr-defined]
Tracer.__array_function__ = _array_function  # type: ignore[attr-defined]
