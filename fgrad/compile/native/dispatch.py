"""A call from Python, in the native language: `dispatch` is the C function of a builtin.

It tries the entries of its table, the one used last first: checks the arguments, allocates the results, runs the
program, and gives what the user gets.
"""

from .arguments import Py_DecRef, Py_IncRef, PyTuple_GetItem, drop_leaves, match_call
from .language import (
    call,
    extern,
    i64,
    load_i64,
    memcpy,
    native,
    stack,
    store_i64,
)
from .layout import (
    CONTEXT_PROGRAM,
    CONTEXT_STATUS,
    ENTRY_FAILED,
    ENTRY_NEXT,
    ENTRY_OWNER,
    ENTRY_RESULT,
    ENTRY_UNFLATTEN,
    PROGRAM_STATE,
    STATE_MISS,
    STATE_RUN,
    TABLE_HEAD,
    TABLE_STATE,
)
from .results import (
    PyObject_CallObject,
    PyTuple_New,
    PyTuple_SetItem,
    allocate_results,
    build,
    call_with,
    drop_results,
    make_scalars,
)
from .runtime import give_context
from .serial import INTERRUPTED

PyErr_NoMemory = extern("i64 PyErr_NoMemory()")
PyLong_AsVoidPtr = extern("i64 PyLong_AsVoidPtr(i64)")
PyLong_FromLongLong = extern("i64 PyLong_FromLongLong(i64)")


@native("i64(i64 entry, i64 words)", cold=True)
def report(entry, words):
    """failed(status, thunk, detail, detail): it raises, or gives what the call shall return."""
    arguments = PyTuple_New(4)
    if arguments == 0:
        return 0
    for i in range(4):
        number = PyLong_FromLongLong(load_i64(words + 8 * i))
        if number == 0:
            Py_DecRef(arguments)
            return 0
        PyTuple_SetItem(arguments, i, number)
    result = PyObject_CallObject(load_i64(entry + ENTRY_FAILED), arguments)
    Py_DecRef(arguments)
    return result


@native("i64(i64 entry, i64 context)")
def execute(entry, context):
    """Run the program on the leaves in a context; a new reference to the result, or 0 with an exception."""
    status = i64(-1)
    if allocate_results(context):
        state = load_i64(load_i64(context + CONTEXT_PROGRAM) + PROGRAM_STATE)
        status = i64(call(load_i64(state + STATE_RUN), "i32(i64)", context))
        if status == -1:
            PyErr_NoMemory()
        elif status == 0 and not make_scalars(context):
            status = -1
    result = 0
    if status == 0:
        result = build(load_i64(entry + ENTRY_RESULT), context)
    words = stack(32)
    memcpy(words, context + CONTEXT_STATUS, 32)
    drop_leaves(context)
    if result == 0:
        drop_results(context)
    give_context(context)
    if status > 0 and status != INTERRUPTED:
        return report(entry, words)
    if result and load_i64(entry + ENTRY_UNFLATTEN):
        return call_with(load_i64(entry + ENTRY_UNFLATTEN), result)
    return result


@native("void(i64 table, i64 entry)", cold=True)
def move_to_front(table, entry):
    """Try this entry first the next time, if the table still has it."""
    before = table + TABLE_HEAD
    if load_i64(before) == entry:
        return
    while load_i64(before) and load_i64(before) != entry:
        before = load_i64(before) + ENTRY_NEXT
    if load_i64(before):
        store_i64(before, load_i64(entry + ENTRY_NEXT))
        store_i64(entry + ENTRY_NEXT, load_i64(table + TABLE_HEAD))
        store_i64(table + TABLE_HEAD, entry)


@native("i64(i64 self, i64 args, i64 positional, i64 names)")
def dispatch(self, args, positional, names):
    """The builtin: the result of the first entry that fits, or the object MISS if none does."""
    table = PyLong_AsVoidPtr(PyTuple_GetItem(self, 0))
    state = load_i64(table + TABLE_STATE)
    entry = load_i64(table + TABLE_HEAD)
    while entry:
        owner = load_i64(entry + ENTRY_OWNER)
        Py_IncRef(owner)
        context = match_call(state, entry, args, positional, names)
        if context:
            move_to_front(table, entry)
            result = execute(entry, context)
            Py_DecRef(owner)
            return result
        entry = load_i64(entry + ENTRY_NEXT)
        Py_DecRef(owner)
    Py_IncRef(load_i64(state + STATE_MISS))
    return load_i64(state + STATE_MISS)


@native("void(i64 table, i64 entry)", cold=True)
def add_entry(table, entry):
    """Try this entry first from now on."""
    store_i64(entry + ENTRY_NEXT, load_i64(table + TABLE_HEAD))
    store_i64(table + TABLE_HEAD, entry)


@native("void(i64 table)", cold=True)
def clear_entries(table):
    """Forget all entries; one that is being checked has no next one."""
    entry = load_i64(table + TABLE_HEAD)
    store_i64(table + TABLE_HEAD, 0)
    while entry:
        following = load_i64(entry + ENTRY_NEXT)
        store_i64(entry + ENTRY_NEXT, 0)
        entry = following
