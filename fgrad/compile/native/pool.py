"""How many threads compiled programs use: the number, and who is told of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from ...core.errors import message

LIMIT = 1024


def available() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default() -> int:
    """The number of threads at the start: `FGRAD_NUM_THREADS` if it is positive, else one for each processor."""
    chosen = os.environ.get("FGRAD_NUM_THREADS", "")
    return min(int(chosen), LIMIT) if chosen.isdecimal() and int(chosen) > 0 else min(available(), LIMIT)


_threads = [default()]
_listeners: list[Callable[[int], None]] = []
_controllers: list[Any] = []


def get_num_threads() -> int:
    """The number of threads that a compiled program may use, the calling thread included.

    At the start it is the environment variable `FGRAD_NUM_THREADS`, else the number of processors of this process.

    >>> import fgrad
    >>> fgrad.get_num_threads() >= 1
    True
    """
    return _threads[0]


def set_num_threads(n: int) -> None:
    """Set the number of threads that a compiled program may use, the calling thread included.

    Results do not depend on it: they have the same bits for any number of threads. It holds for the whole process,
    from the next operation on. `threadpoolctl.threadpool_limits` sets it too, under the user API "fgrad", in programs
    that import threadpoolctl before they first call a compiled function.

    Raises ValueError unless n is a positive integer.

    >>> import fgrad
    >>> before = fgrad.get_num_threads()
    >>> fgrad.set_num_threads(1)
    >>> fgrad.get_num_threads()
    1
    >>> fgrad.set_num_threads(before)
    """
    if type(n) is not int or n < 1:
        raise ValueError(message("the number of threads is a positive integer", got=repr(n), do="pass 1 or more"))
    _threads[0] = min(n, LIMIT)
    for listener in _listeners:
        listener(_threads[0])


def listen(listener: Callable[[int], None]) -> None:
    """Tell `listener` the number of threads now, and whenever it changes."""
    _listeners.append(listener)
    listener(_threads[0])


def register_controller() -> None:
    """Teach threadpoolctl about the pool, if the program has imported it, and once.

    It finds what it controls among the shared libraries of the process; the pool lives in no file, so it goes by the
    library that compiled it.
    """
    control = sys.modules.get("threadpoolctl")
    if control is None or _controllers or not hasattr(control, "register"):
        return

    class FgradController(control.LibController):  # type: ignore[misc, name-defined]
        """What threadpoolctl asks of a library with threads."""

        user_api = "fgrad"
        internal_api = "fgrad"
        filename_prefixes = ("libllvmlite",)

        def get_num_threads(self) -> int:
            return get_num_threads()

        def set_num_threads(self, num_threads: int) -> None:
            set_num_threads(num_threads)

        def get_version(self) -> None:
            return None

    _controllers.append(FgradController)
    control.register(FgradController)
