"""Memory that kernels ask for while they run: what the runs of a loop remember whose end is not known."""

from .language import call, extern, i64, load_i64, memcpy, native, store_i64
from .layout import CONTEXT_RECORDS
from .runtime import free, malloc

# A block of memory: one for each number that a kernel has given
RECORDS_NEXT = 0
RECORDS_NUMBER = 8
RECORDS_SIZE = 16
RECORDS_HEADER = 64

realloc = extern("i64 realloc(i64, i64)")


@native("i64(i64 call, i64 number, i64 old, i64 used, i64 size)", cold=True)
def more_records(call, number, old, used, size):
    """At least `size` bytes, the first `used` of which are those at `old`; 0 if there is no memory."""
    link = call + CONTEXT_RECORDS
    block = load_i64(link)
    while block and load_i64(block + RECORDS_NUMBER) != number:
        link = block + RECORDS_NEXT
        block = load_i64(link)
    if block and load_i64(block + RECORDS_SIZE) >= size:
        memory = block + RECORDS_HEADER
        if old != memory:
            memcpy(memory, old, used)
        return memory
    following = i64(0)
    new = i64(0)
    if block:
        following = load_i64(block + RECORDS_NEXT)
        new = realloc(block, size + RECORDS_HEADER)
    else:
        new = malloc(size + RECORDS_HEADER)
    if new == 0:
        return 0
    if block == 0 or old != block + RECORDS_HEADER:
        memcpy(new + RECORDS_HEADER, old, used)
    store_i64(new + RECORDS_NEXT, following)
    store_i64(new + RECORDS_NUMBER, number)
    store_i64(new + RECORDS_SIZE, size)
    store_i64(link, new)
    return new + RECORDS_HEADER


@native("i32(i64 context, i64 operands, i64 dims, i64 begin, i64 end)")
def with_records(context, operands, dims, begin, end):
    """A kernel that asks for such memory, which is freed behind it; dims: the kernel's address, then its own dims."""
    status = call(load_i64(dims), "i32(i64,i64,i64,i64,i64)", context, operands, dims + 8, begin, end)
    block = load_i64(context + CONTEXT_RECORDS)
    while block:
        following = load_i64(block + RECORDS_NEXT)
        free(block)
        block = following
    store_i64(context + CONTEXT_RECORDS, 0)
    return status
