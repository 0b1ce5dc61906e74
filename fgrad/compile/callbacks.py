"""Thunks that call Python: primitives without a lowering run as NumPy calls inside the compiled program.

One ctypes function serves all of them; the first of a thunk's dims says which equation is meant. An exception inside it
is kept for the thread that runs the program, and the thunk fails with status 2.
"""

from __future__ import annotations

import ctypes
import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.ir import Eqn, Literal
from ..core.trace import primitive_call
from ..core.types import ShapedArray
from ..passes.quiet import quietly

PENDING: dict[int, BaseException] = {}  # by thread: what a callback raised
_TABLE: dict[int, Callable[[Any], None]] = {}
_numbers = itertools.count(1)


def _call(call: int, operands: Any, dims: Any, begin: int, end: int) -> int:
    try:
        _TABLE[dims[0]](operands)
        return 0
    except BaseException as error:
        PENDING[threading.get_ident()] = error
        return 2


_SIGNATURE = ctypes.CFUNCTYPE(
    ctypes.c_int32,
    ctypes.c_void_p,
    ctypes.POINTER(ctypes.c_void_p),
    ctypes.POINTER(ctypes.c_int64),
    ctypes.c_int64,
    ctypes.c_int64,
)
_entry = _SIGNATURE(_call)
ADDRESS: int = ctypes.cast(_entry, ctypes.c_void_p).value  # type: ignore[assignment]


class Registration:
    """A callback in the table, for as long as this object lives."""

    def __init__(self, function: Callable[[Any], None]):
        self.number = next(_numbers)
        _TABLE[self.number] = function

    def __del__(self) -> None:
        _TABLE.pop(self.number, None)


def array_at(address: int | None, type: ShapedArray) -> np.ndarray:
    """The memory at an address as an array."""
    size = type.size * type.dtype.itemsize
    if not size or address is None:
        return np.empty(type.shape, type.dtype)
    return np.frombuffer((ctypes.c_char * size).from_address(address), type.dtype).reshape(type.shape)


Layout = tuple[ShapedArray, int, tuple[int, ...]]  # an array in memory; offset and strides of what is seen of it


def seen_at(address: int | None, shape: tuple[int, ...], layout: Layout) -> np.ndarray:
    """The memory at an address as an array with other strides, in elements."""
    type, offset, strides = layout
    base = array_at(address, type).reshape(-1)[offset:]
    return np.lib.stride_tricks.as_strided(base, shape, [s * type.dtype.itemsize for s in strides])


def numpy_call(e: Eqn, layouts: Sequence[Layout | None] | None = None) -> Callable[[Any], None]:
    """The function behind the thunk of an equation: its operands that are variables, then its outputs, by address.

    `layouts`: where an operand is a view of other memory than its own.
    """
    types = [a.type for a in e.inputs]
    run = primitive_call(e.primitive, tuple(types), e.params).run
    single = len(e.outputs) == 1
    literals = [a.value if type(a) is Literal else None for a in e.inputs]
    out_types = [v.type for v in e.outputs]

    def function(operands: Any) -> None:
        xs, n = [], 0
        for t, literal in zip(types, literals, strict=True):
            if literal is not None:
                xs.append(literal)
                continue
            layout = None if layouts is None else layouts[n]
            x = array_at(operands[n], t) if layout is None else seen_at(operands[n], t.shape, layout)
            x.flags.writeable = False
            xs.append(x if t.ndim else x[()])
            n += 1
        results = quietly(run, *xs)
        for r, t in zip([results] if single else results, out_types, strict=True):
            if t.size:
                array_at(operands[n], t)[...] = r
            n += 1

    return function


def variables(e: Eqn) -> Sequence[Any]:
    """Operands of an equation that are variables."""
    return [a for a in e.inputs if type(a) is not Literal]
