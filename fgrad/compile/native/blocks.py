"""Memory of results, in the native language: what one result leaves behind is the next one's.

A large array from the system costs a page fault every 4 KB, 0.5 to 2.5 µs each: often more than the program that fills
it. So the results of compiled programs own blocks of this pool, by NumPy's own means: they are ordinary arrays with a
memory handler, which gets the block back when the array goes. Idle blocks wait in bins, eight sizes to each doubling;
when more than LIMIT bytes would wait, all are freed.

The lists are protected by the GIL, which whoever creates, resizes or drops an array holds; builds of Python without a
GIL leave the pool alone.
"""

from .language import extern, load_i64, memcpy, memset, native, store_i64
from .runtime import aligned_free, aligned_malloc

SMALLEST = 1024  # bytes; smaller results take memory from NumPy
LIMIT = 64 << 20  # bytes that may wait; what is larger does not
UNIT = SMALLEST // 8  # the difference of the sizes of the first eight bins
BINS = 1 + 8 * 16  # up to LIMIT

BLOCKS_IDLE = 0  # bytes that wait
BLOCKS_BINS = 8  # lists of blocks
BLOCKS_BYTES = BLOCKS_BINS + 8 * BINS

BLOCK_NEXT = 0
BLOCK_SIZE = 8  # bytes of data
BLOCK_BIN = 16
BLOCK_HEADER = 64

PyTraceMalloc_Track = extern("i32 PyTraceMalloc_Track(i32 domain, i64 address, i64 size)")
NUMPY_DOMAIN = 389047  # in which NumPy reports its arrays to tracemalloc, and their end


@native("i64(i64 size, i64 bin)", cold=True)
def new_block(size, bin):
    """Memory from the system; 0 if there is none."""
    block = aligned_malloc(size + BLOCK_HEADER)
    if block == 0:
        return 0
    store_i64(block + BLOCK_SIZE, size)
    store_i64(block + BLOCK_BIN, bin)
    return block + BLOCK_HEADER


@native("i64(i64 blocks, i64 size)")
def block_malloc(blocks, size):
    """Memory of at least so many bytes, aligned to 64: from its bin, or new; 0 if there is none."""
    if size > LIMIT:
        return new_block(size, 0)
    unit = UNIT
    bin = blocks + BLOCKS_BINS
    while size > 16 * unit:
        unit += unit
        bin += 8 * 8
    parts = (size + unit - 1) // unit
    if parts > 8:
        bin += 8 * (parts - 8)
    else:
        parts = 8
    block = load_i64(bin)
    if block == 0:
        return new_block(parts * unit, bin)
    store_i64(bin, load_i64(block + BLOCK_NEXT))
    store_i64(blocks + BLOCKS_IDLE, load_i64(blocks + BLOCKS_IDLE) - parts * unit)
    return block + BLOCK_HEADER


@native("i64(i64 blocks, i64 count, i64 size)", cold=True)
def block_calloc(blocks, count, size):
    """Zeroed memory; NumPy has seen to it that count · size is no more than a word can hold."""
    data = block_malloc(blocks, count * size)
    if data:
        memset(data, 0, count * size)
    return data


@native("i64(i64 blocks, i64 data, i64 size)", cold=True)
def block_realloc(blocks, data, size):
    """Another block with the same content, as far as it goes; 0 leaves the old one as it is."""
    new = block_malloc(blocks, size)
    if new and data:
        old = load_i64(data - BLOCK_HEADER + BLOCK_SIZE)
        memcpy(new, data, old if old < size else size)
        block_free(blocks, data, old)
    return new


@native("void(i64 blocks, i64 data, i64 size)")
def block_free(blocks, data, _):
    """Let a block wait for the next result."""
    if data == 0:
        return
    block = data - BLOCK_HEADER
    size = load_i64(block + BLOCK_SIZE)
    if size > LIMIT:
        aligned_free(block)
        return
    if load_i64(blocks + BLOCKS_IDLE) + size > LIMIT:
        free_blocks(blocks)
    bin = load_i64(block + BLOCK_BIN)
    store_i64(block + BLOCK_NEXT, load_i64(bin))
    store_i64(bin, block)
    store_i64(blocks + BLOCKS_IDLE, load_i64(blocks + BLOCKS_IDLE) + size)


@native("void(i64 blocks)", cold=True)
def free_blocks(blocks):
    """Give the idle blocks back to the system."""
    for bin in range(blocks + BLOCKS_BINS, blocks + BLOCKS_BYTES, 8):
        block = load_i64(bin)
        store_i64(bin, 0)
        while block:
            following = load_i64(block + BLOCK_NEXT)
            aligned_free(block)
            block = following
    store_i64(blocks + BLOCKS_IDLE, 0)
