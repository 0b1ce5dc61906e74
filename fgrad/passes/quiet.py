"""Run NumPy without floating-point warnings: derivatives divide by zero where the user's own program did not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import numpy as np


class _Quiet(threading.local):
    """A context of this thread in which NumPy is silent; entering it costs a third of `np.errstate`."""

    def __init__(self) -> None:
        self.context = copy_context()
        self.context.run(np.seterr, all="ignore")
        self.outer = self.context  # what held when it was entered
        self.inside = False


_quiet = _Quiet()


def quietly(f: Callable[..., Any], *args: Any) -> Any:
    """`f(*args)` without warnings for division by zero, overflow and invalid operations."""
    if _quiet.inside:
        return f(*args)
    _quiet.inside = True
    _quiet.outer = copy_context()
    try:
        return _quiet.context.run(f, *args)
    finally:
        _quiet.inside = False


def aloud(f: Callable[..., Any], *args: Any) -> Any:
    """`f(*args)` of the user's own: with the warnings and the context variables that hold outside of `quietly`."""
    if not _quiet.inside:
        return f(*args)
    context, outer = _quiet.context, _quiet.outer
    _quiet.inside, _quiet.context = False, context.copy()  # no context can be entered twice
    try:
        return outer.run(f, *args)
    finally:
        _quiet.inside, _quiet.context, _quiet.outer = True, context, outer
