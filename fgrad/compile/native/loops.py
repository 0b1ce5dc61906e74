"""Loops and branches, in the native language: sequences of thunks that are run many times, or not always.

The first operand of each is memory for its frame: slots, gathered operands, temporaries. For a scan of a running sum

    carry, x -> add carry x        one thunk with the slots carry, x, carry; the carry is in the memory of the result

the stage says: the slot of carry is operand 1, that of x is operand 2, and x steps by 8 bytes after each run. Where the
rows of a scan are done in blocks, each has a frame of its own, and its slots begin so much further in the operands.
"""

from .language import call, i32, i64, load_i8, load_i64, memcpy, native, stack, store_i64
from .layout import (
    BLOCK_COUNT,
    BLOCK_HEADER,
    BLOCK_NEXT,
    BLOCK_PREVIOUS,
    COND_ADDRESS,
    COND_LAST,
    COND_OPERAND,
    COND_STAGES,
    CONTEXT_PROGRAM,
    CONTEXT_SELF,
    CONTEXT_WORK,
    PROGRAM_STATE,
    ROWS_FRAME,
    ROWS_SEGMENT,
    ROWS_STAGE,
    SEQUENCE_THUNKS,
    STAGE_AHEAD,
    STAGE_CONDITION,
    STAGE_COPIES,
    STAGE_COST,
    STAGE_LAST,
    STAGE_MOVES,
    STAGE_PREDICATE,
    STAGE_RECORDS,
    STAGE_RESULTS,
    STAGE_RUNS,
    STAGE_SEQUENCE,
    STAGE_SETUP,
    STAGE_STEPS,
    STATE_RUN_PARALLEL,
    STATE_SEQUENCE,
    THUNK_DIMS,
    THUNK_EXTENT,
    THUNK_TICKETS,
    WHILE_RECORD,
    WHILE_STAGES,
    WHILE_SWEEPS,
)
from .runtime import aligned_free, aligned_malloc
from .serial import INTERRUPTED, interrupted

LOOK = 500_000  # nanoseconds of estimated work between two looks at the clock
FIRST_BLOCK = 4096  # bytes of records; each block has twice as many as the one before
LARGEST_BLOCK = 64 << 20

# What `run_while` remembers of the runs
HISTORY_HEAD = 0  # the first block, or 0
HISTORY_TAIL = 8
HISTORY_LEFT = 16  # records for which the last block has space yet
HISTORY_RUNS = 24
HISTORY_BLOCK = 32  # where a later sweep is
HISTORY_INDEX = 40
HISTORY_BYTES = 48


@native("void(i64 operands, i64 frame, i64 stage, i64 block)")
def enter(operands, frame, stage, block):
    """Fill the slots."""
    entry = stage + load_i64(stage + STAGE_SETUP)
    for _ in range(load_i64(stage + STAGE_SETUP + 8)):
        address = load_i64(entry + 16) + block * load_i64(entry + 24)
        if load_i64(entry + 8) >= 0:
            address += load_i64(operands + load_i64(entry + 8))
        store_i64(frame + load_i64(entry), address)
        entry += 32


@native("void(i64 operands, i64 frame, i64 stage, i64 block)")
def copy_first(operands, frame, stage, block):
    """Copy first values to where the first run reads them."""
    entry = stage + load_i64(stage + STAGE_COPIES)
    for _ in range(load_i64(stage + STAGE_COPIES + 8)):
        address = load_i64(entry + 16)
        if load_i64(entry + 8) >= 0:
            address += load_i64(operands + load_i64(entry + 8)) + block * load_i64(entry + 24)
        memcpy(load_i64(frame + load_i64(entry)), address, load_i64(entry + 24))
        entry += 32


@native("void(i64 frame, i64 stage)")
def step(frame, stage):
    """Let the slots point to what the next run works on."""
    entry = stage + load_i64(stage + STAGE_MOVES)
    for _ in range(load_i64(stage + STAGE_MOVES + 8)):
        store_i64(frame + load_i64(entry), load_i64(frame + load_i64(entry + 8)))
        entry += 16
    entry = stage + load_i64(stage + STAGE_STEPS)
    for _ in range(load_i64(stage + STAGE_STEPS + 8)):
        slot = frame + load_i64(entry)
        store_i64(slot, load_i64(slot) + load_i64(entry + 8))
        entry += 16


@native("i64(i64 state, i64 context, i64 frame, i64 stage)")
def advance(state, context, frame, stage):
    """What is to be done after a run; whether a signal ended the call."""
    step(frame, stage)
    left = load_i64(context + CONTEXT_WORK) - load_i64(stage + STAGE_COST)
    if left > 0:
        store_i64(context + CONTEXT_WORK, left)
        return 0
    store_i64(context + CONTEXT_WORK, LOOK)
    return interrupted(state, context)


@native("void(i64 operands, i64 frame, i64 stage, i64 block)")
def end_here(operands, frame, stage, block):
    """Let slots of the last run point to where its results belong."""
    entry = stage + load_i64(stage + STAGE_LAST)
    for _ in range(load_i64(stage + STAGE_LAST + 8)):
        target = load_i64(operands + load_i64(entry + 8)) + block * load_i64(entry + 16)
        store_i64(frame + load_i64(entry), target)
        entry += 24


@native("void(i64 operands, i64 frame, i64 stage, i64 block)")
def leave(operands, frame, stage, block):
    """What is to be done after the last run."""
    entry = stage + load_i64(stage + STAGE_RESULTS)
    for _ in range(load_i64(stage + STAGE_RESULTS + 8)):
        source = load_i64(frame + load_i64(entry))
        target = load_i64(operands + load_i64(entry + 8)) + block * load_i64(entry + 16)
        if source != target:
            memcpy(target, source, load_i64(entry + 16))
        entry += 24


@native("i32(i64 context, i64 operands, i64 dims, i64 begin, i64 end)")
def run_scan(context, operands, dims, begin, end):
    """A known number of runs; dims: a stage."""
    state = load_i64(load_i64(context + CONTEXT_PROGRAM) + PROGRAM_STATE)
    run = load_i64(state + STATE_SEQUENCE)
    frame = load_i64(operands)
    sequence = dims + load_i64(dims + STAGE_SEQUENCE)
    enter(operands, frame, dims, 0)
    copy_first(operands, frame, dims, 0)
    for left in range(load_i64(dims + STAGE_RUNS), 0, -1):
        if left == 1:
            end_here(operands, frame, dims, 0)
        status = call(run, "i64(i64,i64,i64,i64)", state, context, frame, sequence)
        if status != 0:
            return i32(status)
        if advance(state, context, frame, dims):
            return INTERRUPTED
    leave(operands, frame, dims, 0)
    return 0


@native("i32(i64 context, i64 operands, i64 dims, i64 begin, i64 end)")
def run_block(context, operands, dims, begin, end):
    """As many runs as a segment has, for each of some blocks of rows; dims: see ROWS_FRAME and behind.

    `context` may be the copy of a ticket.
    """
    state = load_i64(load_i64(load_i64(context + CONTEXT_SELF) + CONTEXT_PROGRAM) + PROGRAM_STATE)
    run = load_i64(state + STATE_SEQUENCE)
    stage = dims + ROWS_STAGE
    sequence = stage + load_i64(stage + STAGE_SEQUENCE)
    for block in range(begin, end):
        frame = load_i64(operands) + block * load_i64(dims + ROWS_FRAME)
        left = load_i64(frame)
        if left == load_i64(stage + STAGE_RUNS):
            enter(operands, frame, stage, block)
            copy_first(operands, frame, stage, block)
        rest = left - load_i64(dims + ROWS_SEGMENT)
        if rest < 0:
            rest = i64(0)
        while left > rest:
            if left == 1:
                end_here(operands, frame, stage, block)
            status = call(run, "i64(i64,i64,i64,i64)", state, context, frame, sequence)
            if status != 0:
                return i32(status)
            step(frame, stage)
            left -= 1
        store_i64(frame, left)
        if left == 0:
            leave(operands, frame, stage, block)
    return 0


@native("i32(i64 context, i64 operands, i64 dims, i64 begin, i64 end)")
def run_rows(context, operands, dims, begin, end):
    """A known number of runs for blocks of rows, each on one thread; dims: the sequence of `run_block` alone."""
    state = load_i64(load_i64(context + CONTEXT_PROGRAM) + PROGRAM_STATE)
    thunk = dims + SEQUENCE_THUNKS
    inner = thunk + load_i64(thunk + THUNK_DIMS)
    blocks = load_i64(thunk + THUNK_EXTENT)
    runs = load_i64(inner + ROWS_STAGE + STAGE_RUNS)
    for block in range(blocks):
        store_i64(load_i64(operands) + block * load_i64(inner + ROWS_FRAME), runs)
    for _ in range(0, runs, load_i64(inner + ROWS_SEGMENT)):
        status = i32(0)
        if load_i64(thunk + THUNK_TICKETS) > 1:
            shared = load_i64(state + STATE_RUN_PARALLEL)
            status = call(shared, "i32(i64,i64,i64,i64)", state, context, thunk, operands)
        else:
            status = run_block(context, operands, inner, 0, blocks)
        if status != 0:
            return status
        if interrupted(state, context):
            return INTERRUPTED
    return 0


@native("i32(i64 context, i64 operands, i64 dims, i64 begin, i64 end)")
def run_cond(context, operands, dims, begin, end):
    """One of several stages, by a number in memory; dims: see COND_OPERAND and behind."""
    state = load_i64(load_i64(context + CONTEXT_PROGRAM) + PROGRAM_STATE)
    address = load_i64(dims + COND_ADDRESS)
    if load_i64(dims + COND_OPERAND) >= 0:
        address += load_i64(operands + load_i64(dims + COND_OPERAND))
    number = load_i64(address)
    if number < 0:
        number = 0
    if number > load_i64(dims + COND_LAST):
        number = load_i64(dims + COND_LAST)
    stage = dims + load_i64(dims + COND_STAGES + 8 * number)
    frame = load_i64(operands)
    enter(operands, frame, stage, 0)
    sequence = stage + load_i64(stage + STAGE_SEQUENCE)
    return i32(call(load_i64(state + STATE_SEQUENCE), "i64(i64,i64,i64,i64)", state, context, frame, sequence))


@native("i32(i64 context, i64 operands, i64 dims, i64 begin, i64 end)")
def run_while(context, operands, dims, begin, end):
    """Sweeps over as many runs as the first one's condition asks for; dims: see WHILE_SWEEPS and behind.

    -1 without memory for what the runs remember.
    """
    state = load_i64(load_i64(context + CONTEXT_PROGRAM) + PROGRAM_STATE)
    frame = load_i64(operands)
    size = load_i64(dims + WHILE_RECORD)
    history = stack(HISTORY_BYTES)
    for i in range(0, HISTORY_BYTES, 8):
        store_i64(history + i, 0)
    status = i64(0)
    for number in range(load_i64(dims + WHILE_SWEEPS)):
        stage = dims + load_i64(dims + WHILE_STAGES + 8 * number)
        enter(operands, frame, stage, 0)
        if number == 0:
            status = first_sweep(state, context, operands, frame, stage, history, size)
        else:
            copy_first(operands, frame, stage, 0)
            status = later_sweep(state, context, frame, stage, history, size, number & 1)
        if status != 0:
            break
        leave(operands, frame, stage, 0)
    block = load_i64(history + HISTORY_HEAD)
    while block:
        following = load_i64(block + BLOCK_NEXT)
        aligned_free(block)
        block = following
    return i32(status)


@native("i64(i64 state, i64 context, i64 operands, i64 frame, i64 stage, i64 history, i64 size)")
def first_sweep(state, context, operands, frame, stage, history, size):
    """Runs as long as the condition holds; there is always one record more."""
    run = load_i64(state + STATE_SEQUENCE)
    sequence = stage + load_i64(stage + STAGE_SEQUENCE)
    condition = stage + load_i64(stage + STAGE_CONDITION)
    predicate = frame + load_i64(stage + STAGE_PREDICATE)
    runs = i64(0)
    record = i64(0)
    if size:
        record = new_record(history, size)
        if record == 0:
            return -1
        use_record(frame, stage, STAGE_RECORDS, record)
    copy_first(operands, frame, stage, 0)
    while True:
        status = call(run, "i64(i64,i64,i64,i64)", state, context, frame, condition)
        if status != 0:
            return status
        if load_i8(load_i64(predicate)) == 0:
            break
        if size:
            record = new_record(history, size)
            if record == 0:
                return -1
            use_record(frame, stage, STAGE_AHEAD, record)
        status = call(run, "i64(i64,i64,i64,i64)", state, context, frame, sequence)
        if status != 0:
            return status
        if advance(state, context, frame, stage):
            return INTERRUPTED
        if size:
            use_record(frame, stage, STAGE_RECORDS, record)
        runs += 1
    store_i64(history + HISTORY_RUNS, runs)
    return 0


@native("i64(i64 state, i64 context, i64 frame, i64 stage, i64 history, i64 size, i64 backwards)")
def later_sweep(state, context, frame, stage, history, size, backwards):
    """The same runs again."""
    run = load_i64(state + STATE_SEQUENCE)
    sequence = stage + load_i64(stage + STAGE_SEQUENCE)
    begin_sweep(history, backwards)
    for _ in range(load_i64(history + HISTORY_RUNS)):
        if size:
            use_record(frame, stage, STAGE_RECORDS, next_record(history, size, backwards))
        status = call(run, "i64(i64,i64,i64,i64)", state, context, frame, sequence)
        if status != 0:
            return status
        if advance(state, context, frame, stage):
            return INTERRUPTED
    return 0


@native("void(i64 frame, i64 stage, i64 list, i64 record)")
def use_record(frame, stage, list, record):
    """Let the slots of a list point into a record."""
    entry = stage + load_i64(stage + list)
    for _ in range(load_i64(stage + list + 8)):
        store_i64(frame + load_i64(entry), record + load_i64(entry + 8))
        entry += 16


@native("i64(i64 history, i64 size)")
def new_record(history, size):
    """Memory for what one more run remembers; 0 if there is none."""
    left = load_i64(history + HISTORY_LEFT)
    tail = load_i64(history + HISTORY_TAIL)
    if left == 0:
        count = 2 * load_i64(tail + BLOCK_COUNT) if tail else FIRST_BLOCK // size
        if count * size > LARGEST_BLOCK:
            count = LARGEST_BLOCK // size
        if count < 1:
            count = 1
        block = aligned_malloc(BLOCK_HEADER + count * size)
        if block == 0:
            return 0
        store_i64(block + BLOCK_PREVIOUS, tail)
        store_i64(block + BLOCK_NEXT, 0)
        store_i64(block + BLOCK_COUNT, count)
        if tail:
            store_i64(tail + BLOCK_NEXT, block)
        else:
            store_i64(history + HISTORY_HEAD, block)
        store_i64(history + HISTORY_TAIL, block)
        tail = block
        left = count
    store_i64(history + HISTORY_LEFT, left - 1)
    return tail + BLOCK_HEADER + (load_i64(tail + BLOCK_COUNT) - left) * size


@native("void(i64 history, i64 backwards)")
def begin_sweep(history, backwards):
    """Go to the first run, or behind the last one."""
    block = load_i64(history + HISTORY_HEAD)
    index = i64(0)
    if backwards and block:
        block = load_i64(history + HISTORY_TAIL)
        index = load_i64(block + BLOCK_COUNT) - load_i64(history + HISTORY_LEFT) - 1
    store_i64(history + HISTORY_BLOCK, block)
    store_i64(history + HISTORY_INDEX, index)


@native("i64(i64 history, i64 size, i64 backwards)")
def next_record(history, size, backwards):
    """What the next run remembers, in the order of a sweep."""
    block = load_i64(history + HISTORY_BLOCK)
    index = load_i64(history + HISTORY_INDEX)
    if backwards:
        if index == 0:
            block = load_i64(block + BLOCK_PREVIOUS)
            index = load_i64(block + BLOCK_COUNT)
        index -= 1
        store_i64(history + HISTORY_INDEX, index)
    else:
        if index == load_i64(block + BLOCK_COUNT):
            block = load_i64(block + BLOCK_NEXT)
            index = 0
        store_i64(history + HISTORY_INDEX, index + 1)
    store_i64(history + HISTORY_BLOCK, block)
    return block + BLOCK_HEADER + index * size
