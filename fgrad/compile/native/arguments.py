"""The arguments of a call, in the native language: checked against nodes, and read into a context.

A context owns every array and NumPy scalar whose memory its slots point to. A container is held while it is looked
into, since the `__eq__` of a key may run any code.
"""

from .language import (
    extern,
    f32,
    i64,
    load_i32,
    load_i64,
    native,
    stack,
    store_f32,
    store_f64,
    store_i8,
    store_i64,
)
from .layout import (
    ARRAY,
    ARRAY_DATA,
    ARRAY_DTYPE,
    ARRAY_FLAGS,
    ARRAY_NDIM,
    ARRAY_SHAPE,
    BOOL,
    CONTEXT_PROGRAM,
    DTYPE_NUMBER,
    ENTRY_KEYWORDS,
    ENTRY_NAMES,
    ENTRY_NODES,
    ENTRY_POSITIONAL,
    ENTRY_PROGRAM,
    FLAGS_USABLE,
    FLOAT,
    INT,
    LEAF_BEGIN,
    LEAF_BYTES,
    LEAF_OBJECT,
    LEAF_SIZE,
    LEAF_VALUE,
    LIST,
    NODE_COUNT,
    NODE_DTYPE,
    NODE_ITEMS,
    NODE_KIND,
    NODE_LEAF,
    NODE_NDIM,
    NODE_OBJECT,
    NODE_SHAPE,
    NODE_SIZE,
    NODE_SLOT,
    NODE_TYPE,
    OBJECT_TYPE,
    PROGRAM_LEAF_COUNT,
    PROGRAM_LEAVES,
    SAME,
    SCALAR,
    SCALAR_VALUE,
    STATE_TRUE,
    TUPLE,
)
from .runtime import give_context, take_context

MISMATCH = 0
EQUAL = 2  # Py_EQ

Py_IncRef = extern("void Py_IncRef(i64)")
Py_DecRef = extern("void Py_DecRef(i64)")
PyErr_Clear = extern("void PyErr_Clear()")
PyLong_AsLongLongAndOverflow = extern("i64 PyLong_AsLongLongAndOverflow(i64 number, i64 overflow)")
PyFloat_AsDouble = extern("f64 PyFloat_AsDouble(i64)")
PyComplex_RealAsDouble = extern("f64 PyComplex_RealAsDouble(i64)")
PyComplex_ImagAsDouble = extern("f64 PyComplex_ImagAsDouble(i64)")
PyUnicode_Compare = extern("i32 PyUnicode_Compare(i64, i64)")
PyObject_RichCompareBool = extern("i32 PyObject_RichCompareBool(i64, i64, i32 operator)")
PyTuple_Size = extern("i64 PyTuple_Size(i64)")
PyTuple_GetItem = extern("i64 PyTuple_GetItem(i64 tuple, i64 index)")
PyList_Size = extern("i64 PyList_Size(i64)")
PyList_GetItem = extern("i64 PyList_GetItem(i64 list, i64 index)")
PyDict_Size = extern("i64 PyDict_Size(i64)")
PyDict_GetItemWithError = extern("i64 PyDict_GetItemWithError(i64 dict, i64 key)")


@native("i64(i64 state, i64 node, i64 object, i64 context)")
def match(state, node, object, context):
    """Whether an argument is what a node says; if so, its leaves are in the context."""
    kind = load_i64(node + NODE_KIND)
    if kind == SAME:
        return object == load_i64(node + NODE_OBJECT)
    if object == 0 or load_i64(object + OBJECT_TYPE) != load_i64(node + NODE_TYPE):
        return MISMATCH
    if kind == ARRAY:
        return match_array(node, object, context)
    if kind < SAME:
        return match_number(state, kind, node, object, context)
    Py_IncRef(object)
    matched = match_items(state, kind, node, object, context)
    Py_DecRef(object)
    return matched


@native("i64(i64 state, i64 kind, i64 node, i64 object, i64 context)")
def match_items(state, kind, node, object, context):
    """`match` for what a container holds."""
    count = load_i64(node + NODE_COUNT)
    items = node + NODE_ITEMS
    if kind == TUPLE:
        if PyTuple_Size(object) != count:
            return MISMATCH
        for i in range(count):
            if not match(state, load_i64(items + 8 * i), PyTuple_GetItem(object, i), context):
                return MISMATCH
    elif kind == LIST:
        if PyList_Size(object) != count:
            return MISMATCH
        for i in range(count):
            if not match(state, load_i64(items + 8 * i), PyList_GetItem(object, i), context):
                return MISMATCH
    else:
        if PyDict_Size(object) != count:
            return MISMATCH
        for i in range(count):
            value = PyDict_GetItemWithError(object, load_i64(items + 16 * i))
            if not match(state, load_i64(items + 16 * i + 8), value, context):
                return MISMATCH
    return 1


@native("i64(i64 node, i64 object, i64 context)")
def match_array(node, object, context):
    """`match` for an ndarray: layout, shape, dtype."""
    ndim = load_i64(node + NODE_NDIM)
    if i64(load_i32(object + ARRAY_NDIM)) != ndim:
        return MISMATCH
    if (i64(load_i32(object + ARRAY_FLAGS)) & FLAGS_USABLE) != FLAGS_USABLE:
        return MISMATCH
    shape = load_i64(object + ARRAY_SHAPE)
    for i in range(ndim):
        if load_i64(shape + 8 * i) != load_i64(node + NODE_SHAPE + 8 * i):
            return MISMATCH
    dtype = load_i64(object + ARRAY_DTYPE)
    known = load_i64(node + NODE_DTYPE)
    if dtype != known:
        # Equal dtypes are nearly always one object; a copy of one, from a pickle say, has the same number.
        if load_i32(dtype + DTYPE_NUMBER) != load_i32(known + DTYPE_NUMBER):
            return MISMATCH
        if PyObject_RichCompareBool(dtype, known, EQUAL) != 1:
            return MISMATCH
    hold(node, object, load_i64(object + ARRAY_DATA), context)
    return 1


@native("void(i64 node, i64 object, i64 address, i64 context)")
def hold(node, object, address, context):
    """Let the slot of a leaf point into an object, and own the object meanwhile."""
    Py_IncRef(object)
    leaf = context + load_i64(node + NODE_LEAF)
    store_i64(leaf + LEAF_OBJECT, object)
    store_i64(leaf + LEAF_SIZE, load_i64(node + NODE_SIZE))
    store_i64(leaf + LEAF_BEGIN, address)
    store_i64(context + load_i64(node + NODE_SLOT), address)


@native("i64(i64 state, i64 kind, i64 node, i64 object, i64 context)")
def match_number(state, kind, node, object, context):
    """`match` for a NumPy scalar, whose value stays where it is, and for a Python number, which is copied."""
    if kind == SCALAR:
        hold(node, object, object + SCALAR_VALUE, context)
        return 1
    value = context + load_i64(node + NODE_LEAF) + LEAF_VALUE
    if kind == FLOAT:
        if load_i64(node + NODE_SIZE) == 8:
            store_f64(value, PyFloat_AsDouble(object))
        else:
            store_f32(value, f32(PyFloat_AsDouble(object)))
    elif kind == INT:
        overflow = stack(8)
        store_i64(value, PyLong_AsLongLongAndOverflow(object, overflow))
        if load_i32(overflow) != 0:
            return MISMATCH
    elif kind == BOOL:
        store_i8(value, object == load_i64(state + STATE_TRUE))
    else:
        store_f64(value, PyComplex_RealAsDouble(object))
        store_f64(value + 8, PyComplex_ImagAsDouble(object))
    store_i64(context + load_i64(node + NODE_SLOT), value)
    return 1


@native("i64(i64 names, i64 count, i64 name, i64 expected)", cold=True)
def find_keyword(names, count, name, expected):
    """The position of a keyword, at the one expected if it is there; -1 if it is missing."""
    if PyTuple_GetItem(names, expected) == name:
        return expected
    for i in range(count):
        if PyUnicode_Compare(PyTuple_GetItem(names, i), name) == 0:
            return i
    return -1


@native("i64(i64 state, i64 entry, i64 args, i64 positional, i64 names)")
def match_call(state, entry, args, positional, names):
    """A context with the leaves of a call that an entry fits; 0 if it does not."""
    keywords = PyTuple_Size(names) if names else 0
    if positional != load_i64(entry + ENTRY_POSITIONAL) or keywords != load_i64(entry + ENTRY_KEYWORDS):
        return MISMATCH
    context = take_context(load_i64(entry + ENTRY_PROGRAM))
    if context == 0:
        return MISMATCH
    nodes = load_i64(entry + ENTRY_NODES)
    matched = 1
    for i in range(positional):
        if matched:
            matched = match(state, load_i64(nodes + 8 * i), load_i64(args + 8 * i), context)
    for i in range(keywords):
        if matched:
            position = find_keyword(names, keywords, load_i64(load_i64(entry + ENTRY_NAMES) + 8 * i), i)
            if position < 0:
                matched = 0
            else:
                argument = load_i64(args + 8 * (positional + position))
                matched = match(state, load_i64(nodes + 8 * (positional + i)), argument, context)
    if matched:
        return context
    PyErr_Clear()
    drop_leaves(context)
    give_context(context)
    return MISMATCH


@native("void(i64 context)")
def drop_leaves(context):
    """Let the arguments go; any code may run then, so the record is emptied first."""
    program = load_i64(context + CONTEXT_PROGRAM)
    leaf = context + load_i64(program + PROGRAM_LEAVES)
    for _ in range(load_i64(program + PROGRAM_LEAF_COUNT)):
        object = load_i64(leaf + LEAF_OBJECT)
        if object:
            store_i64(leaf + LEAF_OBJECT, 0)
            Py_DecRef(object)
        leaf += LEAF_BYTES
