"""The records that Python fills and native code reads: byte offsets of their fields, all of them 64-bit words.

state     one per process: free arenas, the thread pool, what was learnt about CPython and NumPy
sequence  thunks in order; what it refers to lies behind it, in one block that may be anywhere
program   a sequence, with what a call needs to run it
stage     a sequence that is run many times, or not always: part of a loop (see loops.py)
context   one call of a program: its slots (the pointers of its buffers) and the objects it holds
entry     one signature of a dispatcher: nodes of its arguments, a program, nodes of its result
node      one pytree node or leaf
"""

STATE_ARENAS = 0  # the idle arenas, as a list
STATE_ARENA_BYTES = 8  # of all arenas, idle or in use
STATE_MAIN_THREAD = 16  # the thread that Python delivers signals to
STATE_THREADS = 24  # how many threads may work at once, the calling one included
STATE_NEW_ARRAY = 32  # PyArray_NewFromDescr
STATE_NEW_SCALAR = 40  # PyArray_Scalar
STATE_ARRAY_TYPE = 48
STATE_TRUE = 56
STATE_FALSE = 64
STATE_MISS = 72
STATE_RUN = 80  # the native function `run`
STATE_BLOCKS = 88  # the memory of results, and its handler: a capsule, or 0 where NumPy's memory is to do
STATE_HANDLER = 96
STATE_RUN_PARALLEL = 104  # `run_alone`, or `run_parallel` once it is there
STATE_SEQUENCE = 112  # the native function `run_sequence`
STATE_LOCK = 448  # 1 while the lists are in use, in builds without a GIL
POOL_STARTED = 512  # worker threads that exist
POOL_SLEEPING = 576  # those that wait for work
POOL_REST = 584  # nanoseconds of work to be done without them, since they were late
POOL_MUTEX = 640
POOL_WORK = 768  # condition: there is work, or the number of threads has changed
POOL_DONE = 896  # condition: a job is done
POOL_JOBS = 1024
JOBS = 8  # parallel thunks at once; one more runs on its caller alone
JOB_BYTES = 256
STATE_BYTES = POOL_JOBS + JOBS * JOB_BYTES

JOB_NEXT = 0  # tickets not yet taken; zero or less: none. Counted down, so that it alone tells a job from the next one
JOB_LEFT = 64  # tickets not yet finished
JOB_TAKEN = 128  # 1 while some call uses this record
JOB_WAITED = 136  # 1 while its caller sleeps
JOB_FAILED = 144  # the lowest ticket that failed
JOB_STATUS = 152
JOB_TOTAL = 160
JOB_THUNK = 168
JOB_OPERANDS = 176
JOB_CONTEXT = 184

ARENA_NEXT = 0
ARENA_SIZE = 8
ARENA_HEADER = 64

SEQUENCE_COUNT = 0  # of thunks
SEQUENCE_FIRST = 8  # the number of its first item, among all items of a program and of its loops
SEQUENCE_OPERANDS = 16  # where the operands of a thunk are gathered, in the frame
SEQUENCE_THUNKS = 24  # the records begin here

# Dims and operands are given by their distance from the thunk.
THUNK_ADDRESS = 0
THUNK_DIMS = 8
THUNK_OPERANDS = 16  # byte offsets of their slots in the frame
THUNK_COUNT = 24  # of operands
THUNK_EXTENT = 32
THUNK_STEP = 40  # units of a ticket
THUNK_TICKETS = 48  # one: a serial thunk
THUNK_ALONE = 56  # units of a call where one thread does all
THUNK_CLOCK = 64  # 1: look for signals after it, if it is time
THUNK_COST = 72  # nanoseconds, estimated
THUNK_BYTES = 80

# A stage refers to what lies behind it by distance. Its lists are pairs of distance and number of entries.
STAGE_RUNS = 0  # how often, if that is known
STAGE_COST = 8  # nanoseconds of a run without loops in it, estimated
STAGE_SEQUENCE = 16
STAGE_CONDITION = 24  # the sequence that is run before each run, or 0
STAGE_PREDICATE = 32  # the slot of its result, one byte
STAGE_SETUP = 40  # slot, operand or -1, number to add, and how much more for each block: addresses before the first run
STAGE_COPIES = 56  # slot, operand or -1, address if there is no operand, bytes of a block: copied to the slot's memory
STAGE_MOVES = 72  # slot, slot: the first becomes the second after a run
STAGE_STEPS = 88  # slot, bytes: added after a run
STAGE_RECORDS = 104  # slot, offset in the record of a run
STAGE_AHEAD = 120  # slot, offset in the record of the next run
STAGE_LAST = 136  # slot, operand, bytes of a block: what the slot points to in the last run, where that is known
STAGE_RESULTS = 152  # slot, operand, bytes of a block: copied to the operand's memory after the last run
STAGE_BYTES = 168

ROWS_FRAME = 0  # bytes from the frame of a block to the next one, which begins with the runs left
ROWS_SEGMENT = 8  # runs of a block at a time
ROWS_STAGE = 16

WHILE_SWEEPS = 0  # how many
WHILE_RECORD = 8  # bytes of what a run remembers
WHILE_STAGES = 16  # distances

COND_OPERAND = 0  # with the number of the branch, or -1
COND_ADDRESS = 8  # of the number, where it is no operand
COND_LAST = 16  # the highest number of a branch
COND_STAGES = 24  # distances

BLOCK_PREVIOUS = 0  # records of runs, in a list of blocks
BLOCK_NEXT = 8
BLOCK_COUNT = 16  # records that there is space for
BLOCK_HEADER = 64

PROGRAM_STATE = 0
PROGRAM_SEQUENCE = 8
PROGRAM_ARENA = 24  # bytes
PROGRAM_TEMPORARIES = 32  # pairs: slot, offset in the arena
PROGRAM_TEMPORARY_COUNT = 40
PROGRAM_CONSTANTS = 48  # pairs: slot, address
PROGRAM_CONSTANT_COUNT = 56
PROGRAM_LEAF_COUNT = 64
PROGRAM_OUTPUTS = 80  # records
PROGRAM_OUTPUT_COUNT = 88
PROGRAM_LONG = 96  # 1: long enough to let the GIL go
PROGRAM_CONTEXTS = 104  # the idle contexts, as a list
PROGRAM_CONTEXT_BYTES = 112
PROGRAM_LEAVES = 120  # where in a context the leaves begin, in bytes
PROGRAM_RESULTS = 128  # where the results begin
PROGRAM_BYTES = 136

# A slot, a leaf or a result is given by its offset in the context, which is the frame of a program, in bytes.
OUTPUT_SLOT = 0
OUTPUT_DTYPE = 8
OUTPUT_NDIM = 16
OUTPUT_SHAPE = 24
OUTPUT_SIZE = 32  # bytes
OUTPUT_DONATED = 40  # the leaf whose memory it takes over, or 0
OUTPUT_INPUT = 48  # the slot of that leaf
OUTPUT_BYTES = 56

CONTEXT_STATUS = 0  # the words of the call, of which each ticket has a copy: status, thunk, two of detail, two more
CONTEXT_THUNK = 8  # the number of the item that failed
CONTEXT_DETAIL = 16
CONTEXT_RECORDS = 48  # memory that a kernel has asked for: see records.py
CONTEXT_SELF = 56  # the context
CONTEXT_NEXT = 64
CONTEXT_BASE = 72  # the arena that the slots of temporaries point to
CONTEXT_PROGRAM = 88
CONTEXT_CLOCK = 96  # when signals were looked for, in nanoseconds
CONTEXT_WORK = 104  # nanoseconds of loops, estimated, until the next look at the clock
CONTEXT_STOPPED = 112  # 1: a signal has ended the call; tickets on other threads end, too
CONTEXT_SLOTS = 128

LEAF_OBJECT = 0  # held by the context while its memory is used; 0 for a number
LEAF_SIZE = 8  # bytes
LEAF_BEGIN = 16  # its memory
LEAF_VALUE = 16  # or, of a Python number, the value in 16 bytes
LEAF_BYTES = 32

RESULT_OBJECT = 0
RESULT_VALUE = 16
RESULT_BYTES = 32

TABLE_HEAD = 0  # of a dispatcher: its entries as a list, the one used last in front
TABLE_STATE = 8
TABLE_BYTES = 16

ENTRY_NEXT = 0
ENTRY_OWNER = 8  # the Python object that keeps this record alive
ENTRY_PROGRAM = 16
ENTRY_POSITIONAL = 24  # how many
ENTRY_KEYWORDS = 32  # how many
ENTRY_NAMES = 40  # of keywords
ENTRY_NODES = 48  # of the arguments, positional and keywords
ENTRY_RESULT = 56  # a node
ENTRY_UNFLATTEN = 64  # a Python function that the result goes through, or 0
ENTRY_FAILED = 72  # a Python function
ENTRY_BYTES = 80

NODE_KIND = 0
NODE_TYPE = 8
NODE_LEAF = 16  # the leaf, or the result
NODE_SLOT = 24  # of the leaf
NODE_SIZE = 32  # bytes of the array or of the value
NODE_DTYPE = 40  # ARRAY
NODE_NDIM = 48
NODE_SHAPE = 56
NODE_OBJECT = 16  # SAME: the object. NAMED: makes it of a tuple
NODE_COUNT = 24  # containers
NODE_ITEMS = 32  # nodes; DICT: pairs of key and node

ARRAY, SCALAR, FLOAT, INT, BOOL, COMPLEX, SAME, TUPLE, LIST, DICT, RESULT, NAMED = range(12)

# CPython's and NumPy's own records; library.py verifies them before it lets native code read them.
OBJECT_TYPE = 8
ARRAY_DATA = 16
ARRAY_NDIM = 24
ARRAY_SHAPE = 32
ARRAY_BASE = 48
ARRAY_DTYPE = 56
ARRAY_FLAGS = 64
ARRAY_HANDLER = 88
DTYPE_NUMBER = 28
SCALAR_VALUE = 16
FLAGS_USABLE = 0x1 | 0x100  # C-contiguous, aligned
FLAGS_OWNED = 0x4 | 0x400  # its memory is its own, writable
FLAGS_NEW = 0x1 | 0x100 | 0x400  # what NumPy is told of memory that we give
