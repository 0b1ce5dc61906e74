"""Arrays of the user's that a derivative still needs: copied if small, made read-only for the time being if large."""

from __future__ import annotations

import threading

import numpy as np

LOCK_FROM = 1 << 18  # bytes

_guard = threading.Lock()
_held: dict[int, tuple[np.ndarray, int]] = {}  # arrays that are locked, and how often


def lock(x: np.ndarray) -> bool:
    """Make `x` read-only until `unlock`; False where it is read-only by the user's own doing.

    Several derivatives, in several threads, may hold one array; the last one lets go.
    """
    with _guard:
        held = _held.get(id(x))
        if held is None and not x.flags.writeable:
            return False
        _held[id(x)] = (x, 1 if held is None else held[1] + 1)
        x.flags.writeable = False
        return True


def locked(x: np.ndarray) -> bool:
    """Whether `x` is read-only only for the time being."""
    return id(x) in _held


def unlock(x: np.ndarray) -> None:
    """Undo one `lock`."""
    with _guard:
        count = _held[id(x)][1] - 1
        if count:
            _held[id(x)] = (x, count)
        else:
            del _held[id(x)]
            x.flags.writeable = True
