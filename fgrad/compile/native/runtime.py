"""The runner, in the native language: contexts, arenas, and the loop that runs the thunks of a program.

Idle contexts and arenas are kept in lists that the GIL protects: they are taken and given back while it is held, and
only the loop itself may run without it (builds of Python without a GIL have a lock instead). Each concurrent call, and
each call from within a callback, so has its own.
"""

import sysconfig

from .language import (
    atomic_cas,
    atomic_store,
    call,
    extern,
    i32,
    i64,
    load_i64,
    memset,
    native,
    pause,
    store_i64,
)
from .layout import (
    ARENA_HEADER,
    ARENA_NEXT,
    ARENA_SIZE,
    CONTEXT_BASE,
    CONTEXT_CLOCK,
    CONTEXT_NEXT,
    CONTEXT_PROGRAM,
    CONTEXT_SELF,
    CONTEXT_STATUS,
    CONTEXT_STOPPED,
    CONTEXT_THUNK,
    PROGRAM_ARENA,
    PROGRAM_CONSTANT_COUNT,
    PROGRAM_CONSTANTS,
    PROGRAM_CONTEXT_BYTES,
    PROGRAM_CONTEXTS,
    PROGRAM_LONG,
    PROGRAM_SEQUENCE,
    PROGRAM_STATE,
    PROGRAM_TEMPORARIES,
    PROGRAM_TEMPORARY_COUNT,
    SEQUENCE_COUNT,
    SEQUENCE_FIRST,
    SEQUENCE_OPERANDS,
    SEQUENCE_THUNKS,
    STATE_ARENA_BYTES,
    STATE_ARENAS,
    STATE_LOCK,
    STATE_RUN_PARALLEL,
    THUNK_ADDRESS,
    THUNK_BYTES,
    THUNK_CLOCK,
    THUNK_COUNT,
    THUNK_DIMS,
    THUNK_EXTENT,
    THUNK_OPERANDS,
    THUNK_TICKETS,
)
from .serial import INTERRUPTED, interrupted, nanoseconds

ALIGNMENT = 64
WITHOUT_GIL = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))

malloc = extern("i64 malloc(i64)")
free = extern("void free(i64)")
PyEval_SaveThread = extern("i64 PyEval_SaveThread()")
PyEval_RestoreThread = extern("void PyEval_RestoreThread(i64)")


@native("i64(i64 size)", cold=True)
def aligned_malloc(size):
    """Memory that begins at a multiple of 64, with what malloc gave in the word in front; 0 if there is none."""
    block = malloc(size + 2 * ALIGNMENT)
    if block == 0:
        return 0
    address = (block + 2 * ALIGNMENT - 1) & -ALIGNMENT
    store_i64(address - 8, block)
    return address


@native("void(i64 address)", cold=True)
def aligned_free(address):
    """Free what aligned_malloc gave."""
    free(load_i64(address - 8))


@native("i64(i64 bytes)", cold=True)
def new_state(bytes):
    """A zeroed state, never freed: threads of the pool may sleep in it until the process ends."""
    state = aligned_malloc(bytes)
    if state:
        memset(state, 0, bytes)
    return state


@native("void(i64 state)", cold=True)
def lock(state):
    """Protect the lists where there is no GIL to do so."""
    while atomic_cas(state + STATE_LOCK, 0, 1) != 0:
        pause()


@native("void(i64 state)", cold=True)
def unlock(state):
    """End what `lock` began."""
    atomic_store(state + STATE_LOCK, 0)


@native("i64(i64 state, i64 size)")
def take_arena(state, size):
    """An arena of at least so many bytes: an idle one, else a new one in place of an idle one, else one more; or 0."""
    before = state + STATE_ARENAS
    arena = load_i64(before)
    while arena:
        if load_i64(arena + ARENA_SIZE) >= size:
            store_i64(before, load_i64(arena + ARENA_NEXT))
            return arena
        before = arena + ARENA_NEXT
        arena = load_i64(before)
    small = load_i64(state + STATE_ARENAS)
    if small:
        store_i64(state + STATE_ARENAS, load_i64(small + ARENA_NEXT))
        free_arena(state, small)
    arena = aligned_malloc(size + ARENA_HEADER)
    if arena:
        store_i64(arena + ARENA_SIZE, size)
        store_i64(state + STATE_ARENA_BYTES, load_i64(state + STATE_ARENA_BYTES) + size)
    return arena


@native("void(i64 state, i64 arena)")
def give_arena(state, arena):
    """Put an arena back."""
    store_i64(arena + ARENA_NEXT, load_i64(state + STATE_ARENAS))
    store_i64(state + STATE_ARENAS, arena)


@native("void(i64 state, i64 arena)", cold=True)
def free_arena(state, arena):
    """Give the memory of an arena back."""
    store_i64(state + STATE_ARENA_BYTES, load_i64(state + STATE_ARENA_BYTES) - load_i64(arena + ARENA_SIZE))
    aligned_free(arena)


@native("void(i64 state)", cold=True)
def free_arenas(state):
    """Give the memory of all idle arenas back."""
    if WITHOUT_GIL:
        lock(state)
    arena = load_i64(state + STATE_ARENAS)
    store_i64(state + STATE_ARENAS, 0)
    while arena:
        following = load_i64(arena + ARENA_NEXT)
        free_arena(state, arena)
        arena = following
    if WITHOUT_GIL:
        unlock(state)


@native("i64(i64 program)")
def take_context(program):
    """A context that no other call uses; 0 without memory."""
    if WITHOUT_GIL:
        lock(load_i64(program + PROGRAM_STATE))
    context = load_i64(program + PROGRAM_CONTEXTS)
    if context:
        store_i64(program + PROGRAM_CONTEXTS, load_i64(context + CONTEXT_NEXT))
    if WITHOUT_GIL:
        unlock(load_i64(program + PROGRAM_STATE))
    return context if context else new_context(program)


@native("i64(i64 program)", cold=True)
def new_context(program):
    """A new context, with the program's constants in their slots; 0 without memory."""
    size = load_i64(program + PROGRAM_CONTEXT_BYTES)
    context = aligned_malloc(size)
    if context == 0:
        return 0
    memset(context, 0, size)
    store_i64(context + CONTEXT_PROGRAM, program)
    store_i64(context + CONTEXT_SELF, context)
    store_i64(context + CONTEXT_STOPPED, 0)
    constants = load_i64(program + PROGRAM_CONSTANTS)
    for i in range(load_i64(program + PROGRAM_CONSTANT_COUNT)):
        store_i64(context + load_i64(constants + 16 * i), load_i64(constants + 16 * i + 8))
    return context


@native("void(i64 context)")
def give_context(context):
    """Put a context back."""
    program = load_i64(context + CONTEXT_PROGRAM)
    if WITHOUT_GIL:
        lock(load_i64(program + PROGRAM_STATE))
    store_i64(context + CONTEXT_NEXT, load_i64(program + PROGRAM_CONTEXTS))
    store_i64(program + PROGRAM_CONTEXTS, context)
    if WITHOUT_GIL:
        unlock(load_i64(program + PROGRAM_STATE))


@native("void(i64 program)", cold=True)
def free_contexts(program):
    """Free the idle contexts of a program: all, when its last owner lets it go."""
    context = load_i64(program + PROGRAM_CONTEXTS)
    while context:
        following = load_i64(context + CONTEXT_NEXT)
        aligned_free(context)
        context = following
    store_i64(program + PROGRAM_CONTEXTS, 0)


@native("i32(i64 context)")
def run(context):
    """Run the thunks of a context whose inputs and outputs are in their slots; the status, also in the context.

    Called with the GIL held, which a long program lets go meanwhile; -1 without memory for the arena.
    """
    program = load_i64(context + CONTEXT_PROGRAM)
    state = load_i64(program + PROGRAM_STATE)
    size = load_i64(program + PROGRAM_ARENA)
    arena = 0
    if size:
        if WITHOUT_GIL:
            lock(state)
        arena = take_arena(state, size)
        if WITHOUT_GIL:
            unlock(state)
        if arena == 0:
            return -1
        if load_i64(context + CONTEXT_BASE) != arena:
            store_i64(context + CONTEXT_BASE, arena)
            temporaries = load_i64(program + PROGRAM_TEMPORARIES)
            for i in range(load_i64(program + PROGRAM_TEMPORARY_COUNT)):
                address = arena + ARENA_HEADER + load_i64(temporaries + 16 * i + 8)
                store_i64(context + load_i64(temporaries + 16 * i), address)
    status = i64(0)
    store_i64(context + CONTEXT_THUNK, -1)
    sequence = load_i64(program + PROGRAM_SEQUENCE)
    if load_i64(program + PROGRAM_LONG):
        store_i64(context + CONTEXT_CLOCK, nanoseconds())
        thread = PyEval_SaveThread()
        status = run_sequence(state, context, context, sequence)
        PyEval_RestoreThread(thread)
    else:
        status = run_sequence(state, context, context, sequence)
    if arena:
        if WITHOUT_GIL:
            lock(state)
        give_arena(state, arena)
        if WITHOUT_GIL:
            unlock(state)
    store_i64(context + CONTEXT_STATUS, status)
    return i32(status)


@native("i64(i64 state, i64 context, i64 frame, i64 sequence)")
def run_sequence(state, context, frame, sequence):
    """Gather a thunk's operands from the slots in the frame, call it, stop at the first status that is not zero.

    `context` is that of the call, to which the thunk that failed is told: the innermost, if it is one of a loop.
    """
    operands = frame + load_i64(sequence + SEQUENCE_OPERANDS)
    thunk = sequence + SEQUENCE_THUNKS
    for number in range(load_i64(sequence + SEQUENCE_COUNT)):
        slots = thunk + load_i64(thunk + THUNK_OPERANDS)
        for i in range(load_i64(thunk + THUNK_COUNT)):
            store_i64(operands + 8 * i, load_i64(frame + load_i64(slots + 8 * i)))
        extent = load_i64(thunk + THUNK_EXTENT)
        dims = thunk + load_i64(thunk + THUNK_DIMS)
        status = i32(0)
        if load_i64(thunk + THUNK_TICKETS) > 1:
            address = load_i64(state + STATE_RUN_PARALLEL)
            status = call(address, "i32(i64,i64,i64,i64)", state, context, thunk, operands)
        else:
            address = load_i64(thunk + THUNK_ADDRESS)
            status = call(address, "i32(i64,i64,i64,i64,i64)", context, operands, dims, 0, extent)
        if status == 0 and load_i64(thunk + THUNK_CLOCK) and interrupted(state, context):
            status = i32(INTERRUPTED)
        if status != 0:
            if load_i64(context + CONTEXT_THUNK) < 0:
                store_i64(context + CONTEXT_THUNK, load_i64(sequence + SEQUENCE_FIRST) + number)
            return i64(status)
        thunk += THUNK_BYTES
    return 0
