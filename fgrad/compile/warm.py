"""Loading of the compiler and the native runtime in the background, from the first `jit` of a process on."""

from __future__ import annotations

import threading

from ..core.errors import FgradError
from . import cache, engine
from .native.library import library

_started = threading.Event()


def begin() -> None:
    """Start loading, once per process; whoever needs it first waits for what is left of it.

    What fails here fails again, with its message, where it is needed.
    """
    if not _started.is_set():
        _started.set()
        threading.Thread(target=_load, name="fgrad loading").start()


def _load() -> None:
    try:
        engine.target()  # opens LLVM, without the GIL
        library()
        if not cache.counters.misses:  # else LLVM is warm already
            engine.warm_up()
    except (FgradError, OSError):
        pass
    except cache.CacheWarning:  # an error, to whom warnings are errors
        cache.warned.clear()
