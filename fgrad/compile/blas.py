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
    Native,
    call,
    i32,
    load_f32,
    load_f64,
    load_i64,
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

    >>> address("cblas_sgemm") > 0
    True
    """
    return ctypes.cast(library()["scipy_" + name], ctypes.c_void_p).value or 0


# The static data of a product, as byte offsets into `dims`.
FUNCTION = 0  # the address of cblas_?gemm or cblas_?gemv
GET_THREADS, SET_THREADS = 8, 16
M, N, K = 24, 32, 40
TRANS_A, TRANS_B = 48, 56
LD_A, LD_B, LD_C = 64, 72, 80  # elements; of a vector: from one element to the next
ALPHA, BETA = 88, 104  # a value of the dtype, in up to 16 bytes
SCALE = 120  # 1: operand 3 is a scalar that multiplies alpha
ROWS, COLUMNS = 128, 136  # of a panel
DOWN, ACROSS = 144, 152  # how many rows and columns a panel begins below and beside the one before
START = 160  # bytes to the first element of a, b, c
RANK = 184  # how many loops there are around the call of the library; the innermost is that over the panels
LOOPS = 192  # each: size, and steps of a, b and c in bytes

PLAIN, TRANSPOSED = 111, 112  # as cblas numbers them
ROW_MAJOR = 101


@native("void(i64 dims)")
def with_one_thread(dims):
    """Undo what a tool that sets the threads of all libraries may have set (threadpoolctl does)."""
    if call(load_i64(dims + GET_THREADS), "i32()") != 1:
        call(load_i64(dims + SET_THREADS), "void(i32)", 1)


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


@native("f32(i64 operands, i64 dims)")
def alpha_f32(operands, dims):
    """The factor of the product."""
    alpha = load_f32(dims + ALPHA)
    if load_i64(dims + SCALE):
        alpha *= load_f32(load_i64(operands + 24))
    return alpha


@native("f64(i64 operands, i64 dims)")
def alpha_f64(operands, dims):
    """The factor of the product."""
    alpha = load_f64(dims + ALPHA)
    if load_i64(dims + SCALE):
        alpha *= load_f64(load_i64(operands + 24))
    return alpha


@native("void(i64 operands, i64 dims, i64 alpha)")
def alpha_c64(operands, dims, alpha):
    """Write the factor of the product to `alpha`; beside a runtime factor the static one is real."""
    store_i64(alpha, load_i64(dims + ALPHA))
    if load_i64(dims + SCALE):
        factor = load_f32(dims + ALPHA)
        store_f32(alpha, factor * load_f32(load_i64(operands + 24)))
        store_f32(alpha + 4, factor * load_f32(load_i64(operands + 24) + 4))


@native("void(i64 operands, i64 dims, i64 alpha)")
def alpha_c128(operands, dims, alpha):
    """Write the factor of the product to `alpha`; beside a runtime factor the static one is real."""
    store_i64(alpha, load_i64(dims + ALPHA))
    store_i64(alpha + 8, load_i64(dims + ALPHA + 8))
    if load_i64(dims + SCALE):
        factor = load_f64(dims + ALPHA)
        store_f64(alpha, factor * load_f64(load_i64(operands + 24)))
        store_f64(alpha + 8, factor * load_f64(load_i64(operands + 24) + 8))


@native("i32(i64 call, i64 operands, i64 dims, i64 begin, i64 end)")
def gemm_f32(_, operands, dims, begin, end):
    """Panels of float32 matrix products."""
    with_one_thread(dims)
    part = stack(40)
    alpha = alpha_f32(operands, dims)
    for item in range(begin, end):
        locate(operands, dims, item, part)
        call(
            load_i64(dims + FUNCTION),
            "void(i32, i32, i32, i32, i32, i32, f32, i64, i32, i64, i32, f32, i64, i32)",
            ROW_MAJOR,
            i32(load_i64(dims + TRANS_A)),
            i32(load_i64(dims + TRANS_B)),
            i32(load_i64(part + 24)),
            i32(load_i64(part + 32)),
            i32(load_i64(dims + K)),
            alpha,
            load_i64(part),
            i32(load_i64(dims + LD_A)),
            load_i64(part + 8),
            i32(load_i64(dims + LD_B)),
            load_f32(dims + BETA),
            load_i64(part + 16),
            i32(load_i64(dims + LD_C)),
        )
    return 0


@native("i32(i64 call, i64 operands, i64 dims, i64 begin, i64 end)")
def gemm_f64(_, operands, dims, begin, end):
    """Panels of float64 matrix products."""
    with_one_thread(dims)
    part = stack(40)
    alpha = alpha_f64(operands, dims)
    for item in range(begin, end):
        locate(operands, dims, item, part)
        call(
            load_i64(dims + FUNCTION),
            "void(i32, i32, i32, i32, i32, i32, f64, i64, i32, i64, i32, f64, i64, i32)",
            ROW_MAJOR,
            i32(load_i64(dims + TRANS_A)),
            i32(load_i64(dims + TRANS_B)),
            i32(load_i64(part + 24)),
            i32(load_i64(part + 32)),
            i32(load_i64(dims + K)),
            alpha,
            load_i64(part),
            i32(load_i64(dims + LD_A)),
            load_i64(part + 8),
            i32(load_i64(dims + LD_B)),
            load_f64(dims + BETA),
            load_i64(part + 16),
            i32(load_i64(dims + LD_C)),
        )
    return 0


@native("i32(i64 operands, i64 dims, i64 begin, i64 end, i64 alpha)")
def gemm_complex(operands, dims, begin, end, alpha):
    """Panels of complex matrix products; the library takes the address of a complex factor."""
    with_one_thread(dims)
    part = stack(40)
    for item in range(begin, end):
        locate(operands, dims, item, part)
        call(
            load_i64(dims + FUNCTION),
            "void(i32, i32, i32, i32, i32, i32, i64, i64, i32, i64, i32, i64, i64, i32)",
            ROW_MAJOR,
            i32(load_i64(dims + TRANS_A)),
            i32(load_i64(dims + TRANS_B)),
            i32(load_i64(part + 24)),
            i32(load_i64(part + 32)),
            i32(load_i64(dims + K)),
            alpha,
            load_i64(part),
            i32(load_i64(dims + LD_A)),
            load_i64(part + 8),
            i32(load_i64(dims + LD_B)),
            dims + BETA,
            load_i64(part + 16),
            i32(load_i64(dims + LD_C)),
        )
    return 0


@native("i32(i64 call, i64 operands, i64 dims, i64 begin, i64 end)")
def gemm_c64(_, operands, dims, begin, end):
    """Panels of complex64 matrix products."""
    alpha = stack(16)
    alpha_c64(operands, dims, alpha)
    return gemm_complex(operands, dims, begin, end, alpha)


@native("i32(i64 call, i64 operands, i64 dims, i64 begin, i64 end)")
def gemm_c128(_, operands, dims, begin, end):
    """Panels of complex128 matrix products."""
    alpha = stack(16)
    alpha_c128(operands, dims, alpha)
    return gemm_complex(operands, dims, begin, end, alpha)


@native("i32(i64 call, i64 operands, i64 dims, i64 begin, i64 end)")
def gemv_f32(_, operands, dims, begin, end):
    """Panels of float32 products of a matrix with a vector; the library takes the sizes of the matrix as stored."""
    with_one_thread(dims)
    part = stack(40)
    alpha = alpha_f32(operands, dims)
    plain = load_i64(dims + TRANS_A) == PLAIN
    for item in range(begin, end):
        locate(operands, dims, item, part)
        call(
            load_i64(dims + FUNCTION),
            "void(i32, i32, i32, i32, f32, i64, i32, i64, i32, f32, i64, i32)",
            ROW_MAJOR,
            i32(load_i64(dims + TRANS_A)),
            i32(load_i64(part + 24) if plain else load_i64(dims + K)),
            i32(load_i64(dims + K) if plain else load_i64(part + 24)),
            alpha,
            load_i64(part),
            i32(load_i64(dims + LD_A)),
            load_i64(part + 8),
            i32(load_i64(dims + LD_B)),
            load_f32(dims + BETA),
            load_i64(part + 16),
            i32(load_i64(dims + LD_C)),
        )
    return 0


@native("i32(i64 call, i64 operands, i64 dims, i64 begin, i64 end)")
def gemv_f64(_, operands, dims, begin, end):
    """Panels of float64 products of a matrix with a vector."""
    with_one_thread(dims)
    part = stack(40)
    alpha = alpha_f64(operands, dims)
    plain = load_i64(dims + TRANS_A) == PLAIN
    for item in range(begin, end):
        locate(operands, dims, item, part)
        call(
            load_i64(dims + FUNCTION),
            "void(i32, i32, i32, i32, f64, i64, i32, i64, i32, f64, i64, i32)",
            ROW_MAJOR,
            i32(load_i64(dims + TRANS_A)),
            i32(load_i64(part + 24) if plain else load_i64(dims + K)),
            i32(load_i64(dims + K) if plain else load_i64(part + 24)),
            alpha,
            load_i64(part),
            i32(load_i64(dims + LD_A)),
            load_i64(part + 8),
            i32(load_i64(dims + LD_B)),
            load_f64(dims + BETA),
            load_i64(part + 16),
            i32(load_i64(dims + LD_C)),
        )
    return 0


THUNKS: dict[str, Native] = {f.name: f for f in (gemm_f32, gemm_f64, gemm_c64, gemm_c128, gemv_f32, gemv_f64)}
