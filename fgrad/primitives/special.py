"""SciPy's special functions, loaded when one is first called: they cost more to import than fgrad itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any


@cache
def _load(name: str) -> Callable[..., Any]:
    import scipy.special

    return getattr(scipy.special, name)


def special(name: str) -> Callable[..., Any]:
    """`scipy.special.<name>` as a function of its first operand and keyword params, in the dtype of the operand."""

    def call(*xs: Any, **params: Any) -> Any:
        out = _load(name)(*params.values(), *xs)
        dtype = getattr(xs[0], "dtype", None)
        return out if dtype is None or out.dtype == dtype else out.astype(dtype)

    return call
