"""Thunks that call Python: primitives without a lowering run as NumPy calls inside the compiled program.

One native function serves all of them; the first of a thunk's dims says which Python function is meant. An exception
in there is kept for the thread that runs the program, and the thunk fails with status 2.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Sequence
from functools import cache as memoize
from functools import partial
from typing import Any

import numpy as np

from ..core.ir import Eqn, Literal
from ..core.trace import primitive_call
from ..core.types import ShapedArray
from ..passes.quiet import quietly
from .layouts import Layout
from .native.arguments import Py_DecRef
from .native.dispatch import PyLong_FromLongLong
from .native.language import Module, extern, i32, i64, load_i64, native
from .native.results import PyObject_CallObject, PyTuple_New, PyTuple_SetItem
from .native.serial import INTERRUPTED, PyGILState_Ensure, PyGILState_Release

PyLong_AsLongLong = extern("i64 PyLong_AsLongLong(i64)")
Operands = ctypes.c_void_p * 4096  # addresses, of which only as many exist as a thunk has operands

PENDING: dict[int, BaseException] = {}  # by thread: what a callback raised


@native("i32(i64 call, i64 operands, i64 dims, i64 begin, i64 end)")
def call_python(call, operands, dims, begin, end):  # type: ignore[no-untyped-def]
    """function(address of the operands), which gives the status; dims: id of the function.

    It lets no exception out but that of a signal's handler, which may come before its first line: that one stays set.
    """
    gil = PyGILState_Ensure()
    status = i32(INTERRUPTED)
    address = PyLong_FromLongLong(operands)
    arguments = PyTuple_New(1) if address else i64(0)
    if arguments:
        PyTuple_SetItem(arguments, 0, address)
        result = PyObject_CallObject(load_i64(dims), arguments)
        Py_DecRef(arguments)
        if result:
            status = i32(PyLong_AsLongLong(result))
            Py_DecRef(result)
    PyGILState_Release(gil)
    return status


@memoize
def address() -> int:
    """The address of `call_python`, for other native code that calls it."""
    return Module([call_python]).load()["call_python"]


class Registration:
    """A callback that thunks can call, by `number`, for as long as this object lives."""

    def __init__(self, function: Callable[[Any], None]):
        def guarded(address: int) -> int:
            try:
                function(Operands.from_address(address))
                return 0
            except BaseException as error:
                PENDING[threading.get_ident()] = error
                return 2

        self.function = guarded
        self.number = id(guarded)


def array_at(address: int | None, type: ShapedArray) -> np.ndarray:
    """The memory at an address as an array."""
    size = type.size * type.dtype.itemsize
    if not size or address is None:
        return np.empty(type.shape, type.dtype)
    return np.frombuffer((ctypes.c_char * size).from_address(address), type.dtype).reshape(type.shape)


def seen_at(address: int | None, type: ShapedArray, layout: Layout) -> np.ndarray:
    """A strided view of the array of that type at an address."""
    base = array_at(address, type).reshape(-1)[layout.start :]
    return np.lib.stride_tricks.as_strided(base, layout.shape, [s * type.dtype.itemsize for s in layout.strides])


def numpy_call(e: Eqn, layouts: Sequence[tuple[ShapedArray, Layout] | None] | None = None) -> Callable[[Any], None]:
    """The function behind the thunk of an equation: its operands that are variables, then its outputs, by address.

    `layouts`: of an operand that is a view of other memory than its own, the type of that and the view.
    """
    types = [a.type for a in e.inputs]
    region, single = e.primitive.region, len(e.outputs) == 1
    if region:  # its own `run`: the kernel of a region would compile this very program
        run: Callable[..., Any] = partial(e.primitive.run, **e.params)
    else:
        run = primitive_call(e.primitive, tuple(types), e.params).run
    literals = [a.value if type(a) is Literal else None for a in e.inputs]
    out_types = [v.type for v in e.outputs]

    def function(operands: Any) -> None:
        xs, n = [], 0
        for t, literal in zip(types, literals, strict=True):
            if literal is not None:
                xs.append(literal)
                continue
            layout = None if layouts is None else layouts[n]
            x = array_at(operands[n], t) if layout is None else seen_at(operands[n], *layout)
            x.flags.writeable = False
            xs.append(x if t.ndim else x[()])
            n += 1
        results = quietly(run, *xs)
        for r, t in zip([results] if single and not region else results, out_types, strict=True):
            if t.size:
                array_at(operands[n], t)[...] = r
            n += 1

    return function


def variables(e: Eqn) -> Sequence[Any]:
    """Operands of an equation that are variables."""
    return [a for a in e.inputs if type(a) is not Literal]
