"""The matrix library, OpenBLAS, and the native functions that call it for products: thunks (see `native`).

It is the wheel `scipy-openblas32`, a copy of its own beside the one inside NumPy, and always computes with one thread:
the pool of the runtime runs several panels of a product at once. `products` says how a product is cut and builds the
static data that these functions read.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from importlib.machinery import PathFinder

from ..core.errors import FgradError, message
from .native.language import (
    call,
    load_f32,
    load_f64,
    load_i64,
    memcpy,
    native,
    stack,
    store_f32,
    store_f64,
    store_i64,
)


class LibraryError(FgradError, RuntimeError):
    """The matrix library cannot be loaded."""


@cache
def library() -> ctypes.CDLL:
    """OpenBLAS, loaded at the first call (about 1.5 ms), with one thread."""
    spec = PathFinder.find_spec("scipy_openblas32")
    folders = [] if spec is None else [os.path.join(path, "lib") for path in spec.submodule_search_locations or ()]
    for folder in folders:
        for name in sorted(os.listdir(folder)):
            if name.startswith("libscipy_openblas") and name.endswith((".so", ".dylib", ".dll")):
                return _load(os.path.join(folder, name))
    raise LibraryError(message("the matrix library is missing", got=folders, do="pip install scipy-openblas32"))


def _load(path: str) -> ctypes.CDLL:
    # A thread that the library started would spin for 100 ms, and it reads the number when it is loaded.
    before = os.environ.get("OPENBLAS_NUM_THREADS")
    os.putenv("OPENBLAS_NUM_THREADS", "1")
    try:
        loaded = ctypes.CDLL(path)
    except OSError as error:
        raise LibraryError(message("the matrix library cannot be loaded", got=error)) from error
    finally:
        if before is None:
            os.unsetenv("OPENBLAS_NUM_THREADS")
        else:
            os.putenv("OPENBLAS_NUM_THREADS", before)
    loaded.scipy_openblas_set_num_threads(1)
    return loaded


@cache
def available() -> bool:
    """Whether the library can be loaded; where not, products are NumPy calls."""
    try:
        library()
    except LibraryError:
        return False
    return True


@cache
def address(name: str) -> int:
    """Where a function of the library is, by its name without the prefix `scipy_`.

    >>> address("sgemm_") > 0
    True
    """
    return ctypes.cast(library()["scipy_" + name], ctypes.c_void_p).value or 0


# The static data of a product, as byte offsets into `dims`. Routines of Fortran take the addresses of all arguments,
# and of a word they read the first half: the number itself, on little-endian machines, for which the library is built.
FUNCTION = 0  # the address of ?gemm_ or ?gemv_
GET_THREADS, SET_THREADS = 8, 16
M, N, K = 24, 32, 40
TRANS_A, TRANS_B = 48, 56  # the letters N or T
LD_A, LD_B, LD_C = 64, 72, 80  # elements; of a vector: from one element to the next
ALPHA, BETA = 88, 104  # a value of the dtype, in up to 16 bytes
SCALE, REAL = 120, 128  # how many reals the scalar in operand 3 has that multiplies alpha, if any; the bytes of a real
ROWS, COLUMNS = 136, 144  # of a panel
DOWN, ACROSS = 152, 160  # how many rows and columns a panel begins below and beside the one before
START = 168  # bytes to the first element of a, b, c
RANK = 192  # how many loops there are around the call of the library; the innermost is that over the panels
OLD = 200  # the bytes of an element of c, if that is to begin as the last operand, or 0; for gemm alone
LOOPS = 208  # each: size, and steps of a, b and c in bytes

PLAIN, TRANSPOSED = 78, 84  # N, T


@native("void(i64 dims)")
def with_one_thread(dims):
    """Undo what a tool that sets the threads of all libraries may have set (threadpoolctl does)."""
    if call(load_i64(dims + GET_THREADS), "i32()") != 1:
        call(load_i64(dims + SET_THREADS), "void(i32)", 1)


@native("void(i64 operands, i64 dims, i64 part)")
def begin_panel(operands, dims, part):
    """Copy to the panel at `part` what it is to begin as, unless that is there; the product finds it in cache."""
    size = load_i64(dims + OLD)
    c = load_i64(part + 16)
    old = load_i64(operands + (32 if load_i64(dims + SCALE) else 24)) + c - load_i64(operands + 16)
    if old != c:
        for row in range(load_i64(part + 24)):
            start = row * load_i64(dims + LD_C) * size
            memcpy(c + start, old + start, load_i64(part + 32) * size)


@native("void(i64 operands, i64 dims, i64 item, i64 part)")
def locate(operands, dims, item, part):
    """Write the addresses of a, b and c and the rows and columns of one panel of one product of the batch to `part`."""
    a = load_i64(operands) + load_i64(dims + START)
    b = load_i64(operands + 8) + load_i64(dims + START + 8)
    c = load_i64(operands + 16) + load_i64(dims + START + 16)
    rest = item
    panel = -1
    loop = dims + LOOPS + 32 * load_i64(dims + RANK)
    while loop > dims + LOOPS:
        loop -= 32
        outer = rest // load_i64(loop)
        index = rest - outer * load_i64(loop)
        rest = outer
        if panel < 0:
            panel = index
        a += index * load_i64(loop + 8)
        b += index * load_i64(loop + 16)
        c += index * load_i64(loop + 24)
    rows = load_i64(dims + M) - panel * load_i64(dims + DOWN)
    columns = load_i64(dims + N) - panel * load_i64(dims + ACROSS)
    store_i64(part, a)
    store_i64(part + 8, b)
    store_i64(part + 16, c)
    store_i64(part + 24, load_i64(dims + ROWS) if rows > load_i64(dims + ROWS) else rows)
    store_i64(part + 32, load_i64(dims + COLUMNS) if columns > load_i64(dims + COLUMNS) else columns)


@native("i64(i64 operands, i64 dims, i64 product)")
def factor(operands, dims, product):
    """The address of alpha: static, or `product`, where its static part, a real then, is multiplied by operand 3."""
    scale = load_i64(operands + 24) if load_i64(dims + SCALE) else 0
    for i in range(load_i64(dims + SCALE)):
        if load_i64(dims + REAL) == 4:
            store_f32(product + 4 * i, load_f32(dims + ALPHA) * load_f32(scale + 4 * i))
        else:
            store_f64(product + 8 * i, load_f64(dims + ALPHA) * load_f64(scale + 8 * i))
    return product if scale else dims + ALPHA


@native("i32(i64 call, i64 operands, i64 dims, i64 begin, i64 end)")
def gemm(_, operands, dims, begin, end):
    """Panels of matrix products. Fortran counts columns first: it is told cᵀ = bᵀ aᵀ."""
    with_one_thread(dims)
    part = stack(40)
    alpha = factor(operands, dims, stack(16))
    for item in range(begin, end):
        locate(operands, dims, item, part)
        if load_i64(dims + OLD):
            begin_panel(operands, dims, part)
        call(
            load_i64(dims + FUNCTION),
            "void(i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64)",
            dims + TRANS_B,
            dims + TRANS_A,
            part + 32,
            part + 24,
            dims + K,
            alpha,
            load_i64(part + 8),
            dims + LD_B,
            load_i64(part),
            dims + LD_A,
            dims + BETA,
            load_i64(part + 16),
            dims + LD_C,
        )
    return 0


@native("i32(i64 call, i64 operands, i64 dims, i64 begin, i64 end)")
def gemv(_, operands, dims, begin, end):
    """Panels of products of a matrix and a vector; TRANS_A and the sizes are those of the matrix as Fortran sees it."""
    with_one_thread(dims)
    part = stack(40)
    alpha = factor(operands, dims, stack(16))
    rows = part + 24 if load_i64(dims + TRANS_A) == PLAIN else dims + K
    columns = dims + K if load_i64(dims + TRANS_A) == PLAIN else part + 24
    for item in range(begin, end):
        locate(operands, dims, item, part)
        call(
            load_i64(dims + FUNCTION),
            "void(i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64)",
            dims + TRANS_A,
            rows,
            columns,
            alpha,
            load_i64(part),
            dims + LD_A,
            load_i64(part + 8),
            dims + LD_B,
            dims + BETA,
            load_i64(part + 16),
            dims + LD_C,
        )
    return 0
