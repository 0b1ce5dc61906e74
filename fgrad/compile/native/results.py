"""The results of a call, in the native language: memory for them before the program runs, Python objects after it.

A context owns its results until they are handed over.
"""

from .arguments import Py_DecRef, Py_IncRef
from .blocks import LIMIT, NUMPY_DOMAIN, SMALLEST, PyTraceMalloc_Track, block_free, block_malloc
from .language import (
    call,
    extern,
    i32,
    i64,
    load_i32,
    load_i64,
    memcpy,
    native,
    store_i32,
    store_i64,
)
from .layout import (
    ARRAY_BASE,
    ARRAY_DATA,
    ARRAY_FLAGS,
    ARRAY_HANDLER,
    CONTEXT_PROGRAM,
    DICT,
    FLAGS_NEW,
    FLAGS_OWNED,
    LEAF_BEGIN,
    LEAF_BYTES,
    LEAF_OBJECT,
    LEAF_SIZE,
    LIST,
    NAMED,
    NODE_COUNT,
    NODE_ITEMS,
    NODE_KIND,
    NODE_LEAF,
    NODE_OBJECT,
    OBJECT_TYPE,
    OUTPUT_BYTES,
    OUTPUT_DONATED,
    OUTPUT_DTYPE,
    OUTPUT_INPUT,
    OUTPUT_NDIM,
    OUTPUT_SHAPE,
    OUTPUT_SIZE,
    OUTPUT_SLOT,
    PROGRAM_LEAF_COUNT,
    PROGRAM_LEAVES,
    PROGRAM_OUTPUT_COUNT,
    PROGRAM_OUTPUTS,
    PROGRAM_RESULTS,
    PROGRAM_STATE,
    RESULT,
    RESULT_BYTES,
    RESULT_OBJECT,
    RESULT_VALUE,
    SAME,
    STATE_ARRAY_TYPE,
    STATE_BLOCKS,
    STATE_HANDLER,
    STATE_NEW_ARRAY,
    STATE_NEW_SCALAR,
)

PyObject_CallObject = extern("i64 PyObject_CallObject(i64 callable, i64 arguments)")
PyTuple_New = extern("i64 PyTuple_New(i64)")
PyTuple_SetItem = extern("i32 PyTuple_SetItem(i64 tuple, i64 index, i64 stolen)")
PyList_New = extern("i64 PyList_New(i64)")
PyList_SetItem = extern("i32 PyList_SetItem(i64 list, i64 index, i64 stolen)")
PyDict_New = extern("i64 PyDict_New()")
PyDict_SetItem = extern("i32 PyDict_SetItem(i64 dict, i64 key, i64 value)")


@native("i64(i64 context, i64 leaf)", cold=True)
def may_reuse(context, leaf):
    """Whether the memory of a donated leaf may be overwritten: an array that owns it, and no other leaf sees it."""
    program = load_i64(context + CONTEXT_PROGRAM)
    state = load_i64(program + PROGRAM_STATE)
    object = load_i64(leaf + LEAF_OBJECT)
    if object == 0 or load_i64(object + OBJECT_TYPE) != load_i64(state + STATE_ARRAY_TYPE):
        return 0
    if (i64(load_i32(object + ARRAY_FLAGS)) & FLAGS_OWNED) != FLAGS_OWNED or load_i64(object + ARRAY_BASE):
        return 0
    return not overlaps(context, leaf)


@native("i64(i64 context, i64 leaf)")
def overlaps(context, leaf):
    """Whether an array shares memory with another leaf."""
    program = load_i64(context + CONTEXT_PROGRAM)
    begin = load_i64(leaf + LEAF_BEGIN)
    end = begin + load_i64(leaf + LEAF_SIZE)
    other = context + load_i64(program + PROGRAM_LEAVES)
    for _ in range(load_i64(program + PROGRAM_LEAF_COUNT)):
        first = load_i64(other + LEAF_BEGIN)
        crosses = first < end and begin < first + load_i64(other + LEAF_SIZE)
        if crosses and other != leaf and load_i64(other + LEAF_OBJECT):
            return 1
        other += LEAF_BYTES
    return 0


@native("i64(i64 state, i64 output)")
def new_array(state, output):
    """A new ndarray for a result, a large one with memory of `blocks`; 0 with an exception."""
    new = load_i64(state + STATE_NEW_ARRAY)
    type = load_i64(state + STATE_ARRAY_TYPE)
    dtype = load_i64(output + OUTPUT_DTYPE)
    ndim = i32(load_i64(output + OUTPUT_NDIM))
    shape = load_i64(output + OUTPUT_SHAPE)
    size = load_i64(output + OUTPUT_SIZE)
    blocks = load_i64(state + STATE_BLOCKS)
    handler = load_i64(state + STATE_HANDLER)
    data = block_malloc(blocks, size) if handler and size >= SMALLEST and size <= LIMIT else 0
    flags = i32(FLAGS_NEW) if data else i32(0)
    Py_IncRef(dtype)
    array = call(new, "i64(i64,i64,i32,i64,i64,i64,i32,i64)", type, dtype, ndim, shape, 0, data, flags, 0)
    if data == 0:
        return array
    if array == 0:
        block_free(blocks, data, size)
        return 0
    Py_IncRef(handler)
    store_i64(array + ARRAY_HANDLER, handler)
    store_i32(array + ARRAY_FLAGS, i32(i64(load_i32(array + ARRAY_FLAGS)) | FLAGS_OWNED))
    PyTraceMalloc_Track(NUMPY_DOMAIN, data, size)
    return array


@native("i64(i64 context, i64 output, i64 result)", cold=True)
def donated_result(context, output, result):
    """Where a result is that takes over the memory of a leaf, or a copy of it if others see it; 0 without memory."""
    leaf = context + load_i64(output + OUTPUT_DONATED)
    slot = context + load_i64(output + OUTPUT_INPUT)
    address = result + RESULT_VALUE
    if load_i64(output + OUTPUT_NDIM):
        object = load_i64(leaf + LEAF_OBJECT)
        if may_reuse(context, leaf):
            Py_IncRef(object)
            store_i64(result + RESULT_OBJECT, object)
            return load_i64(object + ARRAY_DATA)
        object = new_array(load_i64(load_i64(context + CONTEXT_PROGRAM) + PROGRAM_STATE), output)
        if object == 0:
            return 0
        store_i64(result + RESULT_OBJECT, object)
        address = load_i64(object + ARRAY_DATA)
    memcpy(address, load_i64(slot), load_i64(output + OUTPUT_SIZE))
    store_i64(slot, address)
    return address


@native("i64(i64 context)")
def allocate_results(context):
    """Memory for every result: a fresh array, a donated argument, or a few bytes for a scalar; 0 without memory."""
    program = load_i64(context + CONTEXT_PROGRAM)
    state = load_i64(program + PROGRAM_STATE)
    result = context + load_i64(program + PROGRAM_RESULTS)
    output = load_i64(program + PROGRAM_OUTPUTS)
    for _ in range(load_i64(program + PROGRAM_OUTPUT_COUNT)):
        address = result + RESULT_VALUE
        if load_i64(output + OUTPUT_DONATED):
            address = donated_result(context, output, result)
            if address == 0:
                return 0
        elif load_i64(output + OUTPUT_NDIM):
            object = new_array(state, output)
            if object == 0:
                return 0
            store_i64(result + RESULT_OBJECT, object)
            address = load_i64(object + ARRAY_DATA)
        store_i64(context + load_i64(output + OUTPUT_SLOT), address)
        result += RESULT_BYTES
        output += OUTPUT_BYTES
    return 1


@native("i64(i64 context)")
def make_scalars(context):
    """NumPy scalars of the results without dimensions; 0 without memory."""
    program = load_i64(context + CONTEXT_PROGRAM)
    state = load_i64(program + PROGRAM_STATE)
    result = context + load_i64(program + PROGRAM_RESULTS)
    output = load_i64(program + PROGRAM_OUTPUTS)
    for _ in range(load_i64(program + PROGRAM_OUTPUT_COUNT)):
        if load_i64(output + OUTPUT_NDIM) == 0:
            new_scalar = load_i64(state + STATE_NEW_SCALAR)
            object = call(new_scalar, "i64(i64,i64,i64)", result + RESULT_VALUE, load_i64(output + OUTPUT_DTYPE), 0)
            if object == 0:
                return 0
            store_i64(result + RESULT_OBJECT, object)
        result += RESULT_BYTES
        output += OUTPUT_BYTES
    return 1


@native("void(i64 context)", cold=True)
def drop_results(context):
    """Let the results that nobody took go."""
    program = load_i64(context + CONTEXT_PROGRAM)
    result = context + load_i64(program + PROGRAM_RESULTS)
    for _ in range(load_i64(program + PROGRAM_OUTPUT_COUNT)):
        object = load_i64(result + RESULT_OBJECT)
        if object:
            store_i64(result + RESULT_OBJECT, 0)
            Py_DecRef(object)
        result += RESULT_BYTES


@native("i64(i64 node, i64 context)")
def build(node, context):
    """A new reference to what a node of the result describes; 0 with an exception."""
    kind = load_i64(node + NODE_KIND)
    if kind == RESULT:
        result = context + load_i64(node + NODE_LEAF)
        object = load_i64(result + RESULT_OBJECT)
        store_i64(result + RESULT_OBJECT, 0)
        return object
    if kind == SAME:
        Py_IncRef(load_i64(node + NODE_OBJECT))
        return load_i64(node + NODE_OBJECT)
    count = load_i64(node + NODE_COUNT)
    container = PyList_New(count) if kind == LIST else PyDict_New() if kind == DICT else PyTuple_New(count)
    if container == 0:
        return 0
    place = node + NODE_ITEMS
    for i in range(count):
        key = load_i64(place)
        if kind == DICT:
            place += 8
        item = build(load_i64(place), context)
        failed = i32(item == 0)
        if item == 0:
            pass
        elif kind == LIST:
            failed = PyList_SetItem(container, i, item)
        elif kind == DICT:
            failed = PyDict_SetItem(container, key, item)
            Py_DecRef(item)
        else:
            failed = PyTuple_SetItem(container, i, item)
        if failed:
            Py_DecRef(container)
            return 0
        place += 8
    if kind == NAMED:
        return call_with(load_i64(node + NODE_OBJECT), container)
    return container


@native("i64(i64 function, i64 argument)", cold=True)
def call_with(function, argument):
    """function(argument); takes over the reference to the argument."""
    arguments = PyTuple_New(1)
    if arguments == 0:
        Py_DecRef(argument)
        return 0
    PyTuple_SetItem(arguments, 0, argument)
    result = PyObject_CallObject(function, arguments)
    Py_DecRef(arguments)
    return result
