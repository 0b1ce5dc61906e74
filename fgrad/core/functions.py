"""What is kept about users' functions: weakly, by identity, and with the numbers that they find around them."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

_CACHES: weakref.WeakKeyDictionary[Any, dict[Any, Any]] = weakref.WeakKeyDictionary()


def cache_of(fun: Callable[..., Any]) -> dict[Any, Any]:
    """Programs of a function by identity; those of a bound method belong to its object."""
    bound = getattr(fun, "__self__", None)
    try:
        if bound is not None and hasattr(fun, "__func__"):
            methods: dict[Any, dict[Any, Any]] = _CACHES.setdefault(bound, {})
            return methods.setdefault(("method", fun.__func__), {})
        return _CACHES.setdefault(fun, {})
    except TypeError:  # neither hashable nor weakly referable: nothing is shared
        return {}


def numbers_around(fun: Callable[..., Any]) -> tuple[Any, ...]:
    """The numbers that a Python function closes over or names as globals, as a key: after `dt = 0.1` it is another.

    Only what the function itself names is seen, not what functions that it calls do.
    """
    fun = getattr(fun, "__func__", fun)
    code = getattr(fun, "__code__", None)
    if code is None:
        return ()
    space = fun.__globals__
    values = [space.get(name) for name in code.co_names]
    for cell in fun.__closure__ or ():
        try:
            values.append(cell.cell_contents)
        except ValueError:  # not assigned yet
            values.append(None)
    return tuple([(type(v), repr(v)) if _is_number(v) else None for v in values])


def _is_number(v: Any) -> bool:
    return isinstance(v, int | float | complex | np.generic) or (isinstance(v, np.ndarray) and not v.ndim)
