"""A thunk on the calling thread, and the look for signals that keeps Ctrl-C alive, in the native language."""

import sys
import time

from .language import (
    atomic_load,
    call,
    extern,
    i64,
    load_i64,
    native,
    stack,
    store_i64,
)
from .layout import (
    CONTEXT_CLOCK,
    CONTEXT_PROGRAM,
    CONTEXT_SELF,
    CONTEXT_STOPPED,
    PROGRAM_STATE,
    STATE_MAIN_THREAD,
    THUNK_ADDRESS,
    THUNK_ALONE,
    THUNK_DIMS,
    THUNK_EXTENT,
)

BETWEEN_SIGNALS = 50_000_000  # nanoseconds
INTERRUPTED = 3  # the status of a call that a signal ended; the exception is set

PyGILState_Ensure = extern("i32 PyGILState_Ensure()")
PyGILState_Release = extern("void PyGILState_Release(i32)")
PyErr_CheckSignals = extern("i32 PyErr_CheckSignals()")

if sys.platform == "win32":
    GetTickCount64 = extern("i64 GetTickCount64()")
    GetCurrentThreadId = extern("i32 GetCurrentThreadId()")

    @native("i64()", cold=True)
    def nanoseconds():
        """A clock that only goes forward."""
        return GetTickCount64() * 1_000_000

    @native("i64()", cold=True)
    def this_thread():
        """What threading.get_ident() gives."""
        return i64(GetCurrentThreadId()) & 0xFFFFFFFF
else:
    CLOCK = int(time.CLOCK_MONOTONIC)
    clock_gettime = extern("i32 clock_gettime(i32 clock, i64 result)")
    this_thread = extern("i64 pthread_self()")

    @native("i64()", cold=True)
    def nanoseconds():
        """A clock that only goes forward."""
        time = stack(16)
        clock_gettime(CLOCK, time)
        return load_i64(time) * 1_000_000_000 + load_i64(time + 8)


@native("i64(i64 state, i64 context)", cold=True)
def interrupted(state, context):
    """Whether a signal handler of Python raised; asks at most every 50 ms, and only where Python would."""
    if this_thread() != load_i64(state + STATE_MAIN_THREAD):  # workers leave the clock to it
        return 0
    now = nanoseconds()
    if now - load_i64(context + CONTEXT_CLOCK) < BETWEEN_SIGNALS:
        return 0
    store_i64(context + CONTEXT_CLOCK, now)
    gil = PyGILState_Ensure()
    raised = PyErr_CheckSignals()
    PyGILState_Release(gil)
    return raised != 0


@native("i32(i64 state, i64 context, i64 thunk, i64 operands)", cold=True)
def run_alone(state, context, thunk, operands):
    """A parallel thunk on the calling thread, in parts short enough for signals."""
    extent = load_i64(thunk + THUNK_EXTENT)
    step = load_i64(thunk + THUNK_ALONE)
    dims = thunk + load_i64(thunk + THUNK_DIMS)
    for begin in range(0, extent, step):
        end = begin + step if begin + step < extent else extent
        status = call(load_i64(thunk + THUNK_ADDRESS), "i32(i64,i64,i64,i64,i64)", context, operands, dims, begin, end)
        if status != 0:
            return status
        if end < extent and interrupted(state, context):
            return INTERRUPTED
    return 0


@native("i32(i64 call)", cold=True)
def look_for_signals(call):
    """What kernels that run long call from time to time: the status to leave with, or 0."""
    context = load_i64(call + CONTEXT_SELF)
    if atomic_load(context + CONTEXT_STOPPED):
        return INTERRUPTED
    if interrupted(load_i64(load_i64(context + CONTEXT_PROGRAM) + PROGRAM_STATE), context):
        return INTERRUPTED
    return 0
