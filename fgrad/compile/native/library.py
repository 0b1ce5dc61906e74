"""The native runtime, compiled and loaded: its functions, the one state of the process, and what they rely on.

It comes in three parts, of which a first call waits for one: `Library` runs programs, `Threads` shares their work among
the processors, `Caller` takes calls to them without Python in between. The other two are loaded when a program runs for
the second time, `Threads` also for a long one.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import sysconfig
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy._core import _multiarray_umath  # type: ignore[attr-defined]

from . import blocks, layout, pool
from .dispatch import add_entry, clear_entries, dispatch
from .language import Module, Native
from .runtime import free_arenas, free_contexts, give_context, new_state, run, run_sequence, take_context
from .serial import run_alone

T = TypeVar("T")
Word = ctypes.c_int64
HANDLER_BYTES = 180  # PyDataMem_Handler, and the name of its capsule
NEW_FROM_DESCR, SCALAR, ARRAY_TYPE, GET_HANDLER = 94, 60, 2, 305  # in NumPy's table of C functions, for ever
SAMPLE_DTYPES = ("?", "b", "B", "h", "H", "i", "I", "l", "L", "q", "Q", "e", "f", "d", "F", "D")
CAN_THREAD = sys.platform != "win32"
_lock = threading.RLock()
_library: list[Library] = []
_threads: list[Threads] = []
_caller: list[Caller] = []

if CAN_THREAD:
    from .workers import pool_reset, pool_resize, run_parallel

    # No child inherits a runtime half made.
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)

MISS = type("Miss", (), {"__repr__": lambda self: "<MISS>", "__slots__": ()})()
"""What a dispatcher's function returns if no entry fits."""


def words(*values: int) -> ctypes.Array[Any]:
    """64-bit words in memory; they live as long as the object."""
    return (Word * max(len(values), 1))(*values)


def word(address: int) -> Word:
    """The word at an address, to read or to write its `value`."""
    return Word.from_address(address)


def functions(natives: Sequence[Native]) -> tuple[dict[str, int], Callable[..., Any]]:
    """Compile native functions: their addresses, and what makes one of them callable from Python, with the GIL held."""
    address = Module(natives).load()

    def function(name: str, result: Any, *arguments: Any) -> Any:
        return ctypes.PYFUNCTYPE(result, *arguments)(address[name])

    return address, function


class Library:
    """What runs programs: its functions, callable from Python, and the address of the process's state."""

    def __init__(self) -> None:
        natives = [run, take_context, give_context, free_contexts, new_state, free_arenas, run_alone, run_sequence]
        address, function = functions(natives)
        self.free_arenas = function("free_arenas", None, Word)
        self.take_context = function("take_context", Word, Word)
        self.give_context = function("give_context", None, Word)
        self.free_contexts = function("free_contexts", None, Word)
        self.run = function("run", ctypes.c_int32, Word)
        self.new = function("new_state", Word, Word)
        self.state = self.new(layout.STATE_BYTES)
        if not self.state:
            raise MemoryError
        self.enter(
            {
                layout.STATE_RUN: address["run"],
                layout.STATE_SEQUENCE: address["run_sequence"],
                layout.STATE_RUN_PARALLEL: address["run_alone"],
                layout.STATE_MAIN_THREAD: threading.main_thread().ident or 0,
            }
        )
        if CAN_THREAD:
            os.register_at_fork(after_in_child=self.after_fork)

    def enter(self, values: Mapping[int, int]) -> None:
        """Write words of the state."""
        for offset, value in values.items():
            word(self.state + offset).value = value

    def after_fork(self) -> None:
        """In the child of a fork the thread that forked is the main one."""
        self.enter({layout.STATE_MAIN_THREAD: threading.get_ident()})


class Threads:
    """The thread pool: until it is there, parallel thunks run on the thread that calls."""

    def __init__(self) -> None:
        runtime = library()
        address, function = functions([run_parallel, pool_reset, pool_resize])
        reset = functools.partial(function("pool_reset", None, Word), runtime.state)
        reset()
        runtime.enter({layout.STATE_THREADS: 1})
        pool.listen(functools.partial(function("pool_resize", None, Word, Word), runtime.state))
        os.register_at_fork(after_in_child=reset)  # no worker is there, and any lock may be held
        runtime.enter({layout.STATE_RUN_PARALLEL: address["run_parallel"]})


class Caller:
    """What takes calls from Python to programs and gives their results memory."""

    def __init__(self) -> None:
        threads()
        natives = [dispatch, add_entry, clear_entries, blocks.free_blocks]
        natives += [blocks.block_malloc, blocks.block_calloc, blocks.block_realloc, blocks.block_free]
        address, function = functions(natives)
        self.dispatch = address["dispatch"]
        self.add_entry = function("add_entry", None, Word, Word)
        self.clear_entries = function("clear_entries", None, Word)
        self.free_blocks = function("free_blocks", None, Word)
        runtime, api = library(), numpy_api()
        self.state = runtime.state
        self.blocks, record = map(runtime.new, (blocks.BLOCKS_BYTES, HANDLER_BYTES))
        if not (self.blocks and record):
            raise MemoryError
        runtime.enter(
            {
                layout.STATE_NEW_ARRAY: api[NEW_FROM_DESCR],
                layout.STATE_NEW_SCALAR: api[SCALAR],
                layout.STATE_ARRAY_TYPE: id(np.ndarray),
                layout.STATE_TRUE: id(True),
                layout.STATE_FALSE: id(False),
                layout.STATE_MISS: id(MISS),
                layout.STATE_BLOCKS: self.blocks,
                layout.STATE_HANDLER: handler(record, self.blocks, address),
            }
        )


def handler(record: int, pool_: int, address: dict[str, int]) -> int:
    """The capsule that tells NumPy how to free and resize memory of `blocks`; 0 where an array has no such field.

    `record` takes a PyDataMem_Handler, version 1: name, version, context, four functions.
    """
    if not _reads_handler():
        return 0
    ctypes.memmove(record, b"fgrad".ljust(127, b"\0") + b"\1", 128)
    functions = [address[f"block_{name}"] for name in ("malloc", "calloc", "realloc", "free")]
    for i, value in enumerate([pool_, *functions]):
        word(record + 128 + 8 * i).value = value
    ctypes.memmove(record + 168, b"mem_handler", 12)
    new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
    pointer = ctypes.cast(ctypes.pythonapi.PyCapsule_New, ctypes.c_void_p).value
    capsule = new(pointer)(record, record + 168, None)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(capsule))  # for ever: arrays outlive everything
    return id(capsule)


def library() -> Library:
    """What runs programs, compiled and loaded at the first call."""
    return only(_library, Library)


def caller() -> Caller:
    """What takes calls to programs, compiled and loaded at the first call."""
    return only(_caller, Caller)


def threads() -> None:
    """Compile and load the thread pool, where there can be threads."""
    if CAN_THREAD:
        only(_threads, Threads)


def only(made: list[T], make: Callable[[], T]) -> T:
    """The one object in the list `made`, made by the first who asks."""
    if not made:
        with _lock:
            if not made:
                made.append(make())
    return made[0]


def arena_bytes() -> int:
    """The memory of all arenas, in bytes, idle or in use."""
    return word(library().state + layout.STATE_ARENA_BYTES).value if _library else 0


def release_arenas() -> None:
    """Give the memory of the arenas that no call uses back to the system."""
    if _library:
        library().free_arenas(library().state)


def release_blocks() -> None:
    """Give the memory that results left behind back to the system."""
    if _caller:
        caller().free_blocks(caller().blocks)


def idle_bytes() -> int:
    """The memory that results left behind and that waits for others, in bytes."""
    return word(caller().blocks + blocks.BLOCKS_IDLE).value if _caller else 0


def numpy_api() -> ctypes.Array[Any]:
    """NumPy's table of C functions, as far as we need it."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    prototype = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)
    address = prototype(ctypes.cast(pointer, ctypes.c_void_p).value)(_multiarray_umath._ARRAY_API, None)
    return (Word * (GET_HANDLER + 1)).from_address(address)


@functools.cache
def reads_objects() -> bool:
    """Whether native code may read CPython's and NumPy's records: whether they look as `layout` says."""
    if sysconfig.get_config_var("Py_GIL_DISABLED") or sys.byteorder != "little" or ctypes.sizeof(ctypes.c_void_p) != 8:
        return False
    base = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    arrays = [base, base[:, 1], base.T, np.array(1.5), np.zeros((0, 5), np.int16)]
    return all(map(_reads_array, arrays)) and all(map(_reads_scalar, SAMPLE_DTYPES)) and _calls_numpy()


def _reads_array(array: np.ndarray) -> bool:
    """Whether every field of an array stands where `layout` says."""
    at = id(array)
    half = ctypes.c_int32.from_address
    shape = word(at + layout.ARRAY_SHAPE).value
    flags = half(at + layout.ARRAY_FLAGS).value
    dtype = word(at + layout.ARRAY_DTYPE).value
    return (
        word(at + layout.OBJECT_TYPE).value == id(np.ndarray)
        and word(at + layout.ARRAY_DATA).value == array.__array_interface__["data"][0]
        and half(at + layout.ARRAY_NDIM).value == array.ndim
        and [word(shape + 8 * i).value for i in range(array.ndim)] == list(array.shape)
        and word(at + layout.ARRAY_BASE).value == (0 if array.base is None else id(array.base))
        and dtype == id(array.dtype)
        and half(dtype + layout.DTYPE_NUMBER).value == array.dtype.num
        and flags & 0x1 == array.flags.c_contiguous
        and flags & 0x4 == 4 * array.flags.owndata
        and flags & 0x100 == 0x100 * array.flags.aligned
        and flags & 0x400 == 0x400 * array.flags.writeable
    )


def _reads_handler() -> bool:
    """Whether an array names its memory handler where `layout` says, and we may do so too."""
    if not reads_objects():
        return False
    present = ctypes.PYFUNCTYPE(ctypes.py_object)(numpy_api()[GET_HANDLER])()
    array = np.empty(3)
    view = array[1:]
    named = [word(id(x) + layout.ARRAY_HANDLER).value for x in (array, view)]
    return named == [id(present), 0]


def _reads_scalar(code: str) -> bool:
    """Whether the value of a NumPy scalar stands where `layout` says."""
    dtype = np.dtype(code)
    value = np.frombuffer(bytes(range(1, 17)), np.uint8)[: dtype.itemsize].view(dtype)
    scalar = (value != 0)[0] if code == "?" else value[0]
    return ctypes.string_at(id(scalar) + layout.SCALAR_VALUE, dtype.itemsize) == scalar.tobytes()


def _calls_numpy() -> bool:
    """Whether the functions in NumPy's table are those that we think."""
    api = numpy_api()
    if api[ARRAY_TYPE] != id(np.ndarray):
        return False
    dtype, value = np.dtype(np.float32), np.array([2.5], np.float32)
    object_, pointer, whole = ctypes.py_object, ctypes.c_void_p, ctypes.c_int
    scalar = ctypes.PYFUNCTYPE(object_, pointer, object_, pointer)(api[SCALAR])
    new = ctypes.PYFUNCTYPE(object_, object_, pointer, whole, pointer, pointer, pointer, whole, pointer)
    made = scalar(value.ctypes.data, dtype, None)
    if type(made) is not np.float32 or made != value[0]:
        return False
    shape = words(3, 2)
    ctypes.pythonapi.Py_IncRef(object_(dtype))
    array = new(api[NEW_FROM_DESCR])(np.ndarray, id(dtype), 2, ctypes.addressof(shape), None, None, 0, None)
    return type(array) is np.ndarray and array.shape == (3, 2) and array.dtype is dtype and array.flags.c_contiguous
