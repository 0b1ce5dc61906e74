"""Dense linear algebra as one native function that follows a list of steps: copies, calls of LAPACK, small loops.

The routines of LAPACK take the addresses of all their arguments, so a call of any of them is data. `linear_algebra` is
the thunk; its static data are a header and the steps, which it goes through once for each matrix of a stack:

    transpose  operand 0 -> work, 3 × 3
    routine    dgetrf_ (3, 3, work, 3, operand 2, info)
    transpose  work -> operand 1, 3 × 3
    permute    operand 2, operand 3

`factorizations` writes the steps of each primitive.
"""

from __future__ import annotations

from .blas import with_one_thread
from .native.language import (
    call,
    extern,
    f32,
    f64,
    i32,
    i64,
    load_f32,
    load_f64,
    load_i32,
    load_i64,
    memcpy,
    memset,
    native,
    stack,
    store_f32,
    store_f64,
    store_i32,
    store_i64,
)

malloc = extern("i64 malloc(i64 bytes)")
free = extern("void free(i64 address)")
log = extern("f64 log(f64 x)")

# The header, as byte offsets into `dims`; the words before are those of a product, which `with_one_thread` reads.
WORK_BYTES = 24
STEPS = 32

# A step: its code, how many places, how many numbers; the places; the numbers.
END = 0
COPY = 1  # places: source, target; numbers: bytes
TRANSPOSE = 2  # source, target; rows, columns, elements between rows of the source and of the target, element size
ROUTINE = 3  # the arguments, up to 16; its address, whether its info must be zero
CLEAR = 4  # matrix; rows, columns, element size, 1: above the diagonal, 0: below it
PERMUTE = 5  # row exchanges, permutation; how many exchanges, rows
EXCHANGE = 6  # matrix, row exchanges; rows, bytes of a row, 1: undo them
REGULAR = 7  # matrix; n, element size, size of its real part: fails where the diagonal has a zero
DETERMINANT = 8  # factors, row exchanges, result; n, element size
LOG_DETERMINANT = 9  # factors, row exchanges, sign, logarithm; n, element size

# A place: what it begins in, bytes from one matrix to the next, bytes from the beginning. It begins in the operand of
# this number, or in
WORK = -1  # the work memory, in whose first 16 bytes routines leave their info
STATIC = -2  # the static data
NOWHERE = -3  # nothing: the place is a number
PLACE = 24

FAILED = 4  # status of a thunk: the library, with its info in word 2 of the call, or
SINGULAR = -1001
MEMORY = -1002


@native("void(i64 source, i64 target, i64 numbers)")
def transpose(source, target, numbers):
    """Copy rows to columns, in blocks of 8 × 8, which stay in cache."""
    rows = load_i64(numbers)
    columns = load_i64(numbers + 8)
    size = load_i64(numbers + 32)
    down = load_i64(numbers + 16) * size
    along = load_i64(numbers + 24) * size
    for top in range(0, rows, 8):
        bottom = rows if top + 8 > rows else top + 8
        for left in range(0, columns, 8):
            right = columns if left + 8 > columns else left + 8
            for i in range(top, bottom):
                for j in range(left, right):
                    read = source + i * down + j * size
                    write = target + j * along + i * size
                    if size == 4:
                        store_i32(write, load_i32(read))
                    else:
                        store_i64(write, load_i64(read))
                        if size == 16:
                            store_i64(write + 8, load_i64(read + 8))


@native("void(i64 matrix, i64 numbers)")
def clear(matrix, numbers):
    """Zeros on one side of the diagonal."""
    rows = load_i64(numbers)
    columns = load_i64(numbers + 8)
    size = load_i64(numbers + 16)
    above = load_i64(numbers + 24)
    for i in range(rows):
        first = i + 1 if above else 0
        last = columns if above or i > columns else i
        if last > first:
            memset(matrix + (i * columns + first) * size, 0, (last - first) * size)


@native("void(i64 exchanges, i64 permutation, i64 numbers)")
def permute(exchanges, permutation, numbers):
    """Count row exchanges from zero, and write the permutation that they amount to."""
    for i in range(load_i64(numbers + 8)):
        store_i32(permutation + 4 * i, i32(i))
    for i in range(load_i64(numbers)):
        other = i64(load_i32(exchanges + 4 * i)) - 1
        store_i32(exchanges + 4 * i, i32(other))
        moved = load_i32(permutation + 4 * i)
        store_i32(permutation + 4 * i, load_i32(permutation + 4 * other))
        store_i32(permutation + 4 * other, moved)


@native("void(i64 matrix, i64 exchanges, i64 numbers)")
def exchange(matrix, exchanges, numbers):
    """Exchange rows as a factorization did, or undo it."""
    rows = load_i64(numbers)
    size = load_i64(numbers + 8)
    for step in range(rows):
        i = rows - 1 - step if load_i64(numbers + 16) else step
        one = matrix + i * size
        other = matrix + i64(load_i32(exchanges + 4 * i)) * size
        if one != other:
            for at in range(0, size, 4):
                moved = load_i32(one + at)
                store_i32(one + at, load_i32(other + at))
                store_i32(other + at, moved)


@native("i64(i64 address, i64 size)")
def is_zero(address, size):
    """Whether the real number of 4 or 8 bytes there is a zero."""
    if size == 4:
        return load_f32(address) == 0.0
    return load_f64(address) == 0.0


@native("i64(i64 matrix, i64 numbers)")
def regular(matrix, numbers):
    """SINGULAR if the diagonal has a zero."""
    n = load_i64(numbers)
    size = load_i64(numbers + 8)
    part = load_i64(numbers + 16)
    for i in range(n):
        element = matrix + i * (n + 1) * size
        if is_zero(element, part) and (size == part or is_zero(element + part, part)):
            return SINGULAR
    return 0


@native("f64(i64 exchanges, i64 n)")
def parity(exchanges, n):
    """-1 for an odd number of row exchanges, else 1."""
    sign = 1.0
    for i in range(n):
        if i64(load_i32(exchanges + 4 * i)) != i:
            sign = -sign
    return sign


@native("void(i64 factors, i64 exchanges, i64 result, i64 numbers)")
def determinant(factors, exchanges, result, numbers):
    """The product of the diagonal, in its own precision, with the sign of the permutation."""
    n = load_i64(numbers)
    sign = parity(exchanges, n)
    if load_i64(numbers + 8) == 4:
        single = f32(1.0)
        for i in range(n):
            single *= load_f32(factors + 4 * i * (n + 1))
        store_f32(result, single * f32(sign))
    else:
        double = 1.0
        for i in range(n):
            double *= load_f64(factors + 8 * i * (n + 1))
        store_f64(result, double * sign)


@native("void(i64 factors, i64 exchanges, i64 sign, i64 logarithm, i64 numbers)")
def log_determinant(factors, exchanges, sign, logarithm, numbers):
    """The sign, and the sum of the logarithms of the diagonal's absolute values."""
    n = load_i64(numbers)
    single = load_i64(numbers + 8) == 4
    negative = parity(exchanges, n)
    total = 0.0
    for i in range(n):
        element = i * (n + 1)
        value = f64(load_f32(factors + 4 * element)) if single else load_f64(factors + 8 * element)
        size = value
        if value < 0.0:
            negative = -negative
            size = -value
        elif not (value > 0.0):
            negative *= value
        total += log(size)
    if single:
        store_f32(sign, f32(negative))
        store_f32(logarithm, f32(total))
    else:
        store_f64(sign, negative)
        store_f64(logarithm, total)


@native("i64(i64 at, i64 work, i64 numbers)")
def routine(at, work, numbers):
    """Call a routine of LAPACK; its info, if that must be zero. It ignores the arguments that it does not have."""
    store_i64(work, 0)
    call(
        load_i64(numbers),
        "void(i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64)",
        load_i64(at),
        load_i64(at + 8),
        load_i64(at + 16),
        load_i64(at + 24),
        load_i64(at + 32),
        load_i64(at + 40),
        load_i64(at + 48),
        load_i64(at + 56),
        load_i64(at + 64),
        load_i64(at + 72),
        load_i64(at + 80),
        load_i64(at + 88),
        load_i64(at + 96),
        load_i64(at + 104),
        load_i64(at + 112),
        load_i64(at + 120),
    )
    return i64(load_i32(work)) if load_i64(numbers + 8) else 0


@native("i64(i64 operands, i64 dims, i64 item, i64 work)")
def follow(operands, dims, item, work):
    """All steps for one matrix of the stack; the info of the one that failed, or 0."""
    at = stack(128)
    step = dims + STEPS
    while load_i64(step) != END:
        count = load_i64(step + 8)
        numbers = step + 24 + count * PLACE
        for i in range(count):
            place = step + 24 + i * PLACE
            base = load_i64(place)
            start = load_i64(place + 16)
            if base >= 0:
                start += load_i64(operands + 8 * base) + item * load_i64(place + 8)
            elif base == WORK:
                start += work
            elif base == STATIC:
                start += dims
            store_i64(at + 8 * i, start)
        code = load_i64(step)
        info = 0
        if code == COPY:
            memcpy(load_i64(at + 8), load_i64(at), load_i64(numbers))
        elif code == TRANSPOSE:
            transpose(load_i64(at), load_i64(at + 8), numbers)
        elif code == ROUTINE:
            info = routine(at, work, numbers)
        elif code == CLEAR:
            clear(load_i64(at), numbers)
        elif code == PERMUTE:
            permute(load_i64(at), load_i64(at + 8), numbers)
        elif code == EXCHANGE:
            exchange(load_i64(at), load_i64(at + 8), numbers)
        elif code == REGULAR:
            info = regular(load_i64(at), numbers)
        elif code == DETERMINANT:
            determinant(load_i64(at), load_i64(at + 8), load_i64(at + 16), numbers)
        else:
            log_determinant(load_i64(at), load_i64(at + 8), load_i64(at + 16), load_i64(at + 24), numbers)
        if info != 0:
            return info
        step = numbers + 8 * load_i64(step + 16)
    return 0


@native("i32(i64 call, i64 operands, i64 dims, i64 begin, i64 end)")
def linear_algebra(context, operands, dims, begin, end):
    """The matrices [begin, end) of a stack."""
    with_one_thread(dims)
    work = malloc(load_i64(dims + WORK_BYTES))
    info = 0 if work else MEMORY
    item = begin
    while item < end and info == 0:
        info = follow(operands, dims, item, work)
        item += 1
    free(work)
    if info != 0:
        store_i64(context + 16, info)
        return FAILED
    return 0
