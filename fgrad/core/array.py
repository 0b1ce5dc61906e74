"""`Array`: what user code asks `isinstance` for."""

from __future__ import annotations

from typing import Any

import numpy as np

from .trace import Tracer


class _ArrayMeta(type):
    def __instancecheck__(cls, x: Any) -> bool:
        return isinstance(x, np.ndarray | np.generic | Tracer)


class Array(metaclass=_ArrayMeta):
    """The class of everything that fgrad computes with: ndarrays, NumPy scalars and traced values.

    Only for `isinstance` and annotations; it cannot be instantiated.

    >>> isinstance(np.ones(3), Array), isinstance(1.0, Array)
    (True, False)
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Array:
        raise TypeError("fgrad.Array cannot be instantiated: make arrays with NumPy or fgrad.numpy")


def block_until_ready(x: Any) -> Any:
    """`x` itself: nothing runs in the background. For programs written for JAX.

    >>> block_until_ready(1.0)
    1.0
    """
    return x


def effects_barrier() -> None:
    """Nothing: all callbacks have been called when a program returns. For programs written for JAX.

    >>> effects_barrier()
    """
