"""Kernels as native functions through Numba: what `jit(f, backend="numba")` runs.

    address = compile(kernel)  # of a thunk function, see `abi`

The source of `render_python` is compiled as it is: its arrays are typed pointers there (no wraparound of negative
indices, no reference counts), and the functions of `prelude` are the machine instructions below. Floats keep IEEE
arithmetic, no fast-math flags, division by zero gives infinities.

Numba is imported at the first compilation.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import Any

from .nests import Kernel
from .render_python import load, math_function, render_thunk
from .scalars import MATH

_lock = threading.RLock()  # Numba's compiler is not re-entrant from several threads
_kernels: dict[str, Any] = {}  # by name; they own the machine code


def compile(kernel: Kernel) -> int:
    """The address of a kernel's thunk function; one compilation for each name, kept for good."""
    with _lock:
        found = _kernels.get(kernel.name)
        if found is None:
            found = _kernels[kernel.name] = _compiled(kernel)
        return int(found.address)


def _compiled(kernel: Kernel) -> Any:
    import numba

    from . import numba_machine as machine

    names = load(render_thunk(kernel), kernel.name)
    for name in names:
        operation, _, type = name.rpartition("_")
        if operation in MATH:
            names[name] = _function(operation, type)
    names.update({name: getattr(machine, name) for name in ("pointer", "scratch", "poll", "grow", "missing")})
    return numba.cfunc(machine.THUNK, nopython=True, error_model="numpy")(names[kernel.name])


@cache
def _function(operation: str, type: str) -> Any:
    """A function of `MATH`, compiled with the first kernel that calls it."""
    import numba

    return numba.njit(error_model="numpy")(math_function(operation, type))
