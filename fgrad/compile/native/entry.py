"""Dispatch: from the arguments of a Python call to a native program and back, without Python in between.

    entry = Entry(args=(Array(0, float32, (3,)),), kwargs={}, program=program, result=Result(0), failed=fail)
    dispatcher = Dispatcher()
    dispatcher.add(entry)
    dispatcher.function(np.ones(3, np.float32))     # an array; MISS for arguments that fit no entry

Where native code may not read Python's objects (builds without the GIL, records of unknown layout), the same checks
are made in Python.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ...core.errors import ProgramError, message
from . import layout
from .library import MISS, caller, reads_objects, words
from .program import NativeProgram
from .specs import Array, Nodes, Result, Spec, Tuple, build, leaves_of, matches

METH_FASTCALL_KEYWORDS = 0x0080 | 0x0002


class Entry:
    """One signature of a function: what its arguments are, the program, and what the call returns.

    Args:
      args, kwargs: specs of the arguments. Their leaves together are the leaves 0, 1, ... of the program.
      program: with one input for each leaf.
      result: in which every output of the program stands once.
      failed: called as failed(status, thunk, detail, detail) for a status that is not 0; it raises. What it returns, if
        it returns, is the result of the call.
      unflatten: if given, the call returns unflatten(result).

    Raises ProgramError if leaves or outputs are missing or stand twice.
    """

    def __init__(
        self,
        args: Sequence[Spec],
        kwargs: Mapping[str, Spec],
        program: NativeProgram,
        result: Spec,
        failed: Callable[[int, int, int, int], Any],
        unflatten: Callable[[Any], Any] | None = None,
    ) -> None:
        self.args, self.kwargs = tuple(args), dict(kwargs)
        self.program, self.result = program, result
        self.failed, self.unflatten = failed, unflatten
        leaves = [leaf for spec in (*self.args, *self.kwargs.values()) for leaf in leaves_of(spec)]
        check_numbers("leaves", [leaf.leaf for leaf in leaves if not isinstance(leaf, Result)], program.program.inputs)
        results = [leaf.number for leaf in leaves_of(result) if isinstance(leaf, Result)]
        check_numbers("results", results, program.outputs)
        self.added = False
        self._flat: Dispatcher | None = None
        self._nodes = Nodes(program)
        self.record = words(*[0] * (layout.ENTRY_BYTES // 8)) if reads_objects() else None
        if self.record is not None:
            self._fill()

    def _fill(self) -> None:
        """Write the native record."""
        nodes = self._nodes
        specs = (*self.args, *self.kwargs.values())
        fields = {
            layout.ENTRY_OWNER: id(self),
            layout.ENTRY_PROGRAM: self.program.address,
            layout.ENTRY_POSITIONAL: len(self.args),
            layout.ENTRY_KEYWORDS: len(self.kwargs),
            layout.ENTRY_NAMES: nodes.words(*[nodes.hold(name) for name in self.kwargs]),
            layout.ENTRY_NODES: nodes.words(*[nodes.argument(spec) for spec in specs]),
            layout.ENTRY_RESULT: nodes.result(self.result),
            layout.ENTRY_UNFLATTEN: 0 if self.unflatten is None else id(self.unflatten),
            layout.ENTRY_FAILED: id(self.failed),
        }
        for offset, value in fields.items():
            self.record[offset // 8] = value  # type: ignore[index]

    def run(self, leaves: Sequence[Any]) -> list[Any]:
        """Run on leaves that are arrays of the right types, contiguous and aligned, or scalars; the flat results.

        Raises ProgramError if a leaf is not what the program takes.
        """
        arrays = [leaf if type(leaf) is np.ndarray else np.asarray(leaf) for leaf in leaves]
        if self._flat is None:
            self._flat = self._flat_dispatcher()
        results = self._flat.function(*arrays)
        if results is MISS:
            got = ", ".join(f"{a.dtype}{list(a.shape)}" for a in arrays)
            raise ProgramError(message("arrays that the program was not compiled for", got=got, do="check them first"))
        return list(results)

    def _flat_dispatcher(self) -> Dispatcher:
        """A dispatcher that takes the leaves, and returns the outputs as a tuple."""
        leaves = [leaf for spec in (*self.args, *self.kwargs.values()) for leaf in leaves_of(spec)]
        arrays = sorted(Array(leaf.leaf, np.dtype(leaf.dtype), leaf.shape) for leaf in leaves)
        results = Tuple(tuple(Result(i) for i in range(len(self.program.outputs))))
        dispatcher = Dispatcher()
        dispatcher.add(Entry(arrays, {}, self.program, results, self.failed))
        return dispatcher

    def leaves(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[np.ndarray] | None:
        """The leaves of a call as arrays; None if the entry does not fit. Slow: what native code does otherwise."""
        if len(args) != len(self.args) or kwargs.keys() != self.kwargs.keys():
            return None
        leaves: list[Any] = [None] * len(self.program.program.inputs)
        pairs = [*zip(self.args, args, strict=True), *((spec, kwargs[name]) for name, spec in self.kwargs.items())]
        return leaves if all(matches(spec, value, leaves) for spec, value in pairs) else None


def check_numbers(what: str, numbers: list[int], expected: Sequence[Any]) -> None:
    """Whether the numbers are 0, 1, ..., each once."""
    if sorted(numbers) != list(range(len(expected))):
        text = f"the specs and the program differ in their {what}"
        raise ProgramError(message(text, got=f"{sorted(numbers)} for {len(expected)}", do="number each of them once"))


class Dispatcher:
    """The entries of one function; `function(*args, **kwargs)` runs the one that fits, or returns MISS."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._table: int | None = None
        self.function: Callable[..., Any] = self._search
        if reads_objects():
            table = words(*[0] * (layout.TABLE_BYTES // 8))
            table[layout.TABLE_STATE // 8] = caller().state
            self._table = ctypes.addressof(table)
            self.function = builtin(self._table, (table, self._entries))

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The entries, in the order in which they were added."""
        return tuple(self._entries)

    def add(self, entry: Entry) -> None:
        """Add an entry, which is tried first from now on. An entry belongs to one dispatcher, once."""
        if entry.added:
            raise ProgramError(message("an entry that a dispatcher has already", do="make another one"))
        entry.added = True
        self._entries.append(entry)
        if self._table is not None and entry.record is not None:
            caller().add_entry(self._table, ctypes.addressof(entry.record))

    def clear(self) -> None:
        """Remove all entries. Calls that run one of them end as if it were still there."""
        if self._table is not None:
            caller().clear_entries(self._table)
        self._entries.clear()

    def _search(self, *args: Any, **kwargs: Any) -> Any:
        """`function` in Python."""
        for entry in reversed(self._entries):
            leaves = entry.leaves(args, kwargs)
            if leaves is not None:
                results, call = entry.program.run(leaves)
                if call[0]:
                    return entry.failed(*call)
                tree = build(entry.result, results)
                return tree if entry.unflatten is None else entry.unflatten(tree)
        return MISS


class MethodDef(ctypes.Structure):
    """CPython's PyMethodDef."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


def builtin(table: int, keep: tuple[Any, ...]) -> Callable[..., Any]:
    """A builtin function that runs the native dispatch on a table, and keeps objects alive."""
    method = MethodDef(b"dispatch", caller().dispatch, METH_FASTCALL_KEYWORDS, None)
    pointer = ctypes.cast(ctypes.pythonapi.PyCFunction_NewEx, ctypes.c_void_p).value
    new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)(pointer)
    return new(ctypes.addressof(method), (table, method, *keep), None)
