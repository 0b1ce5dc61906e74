"""How a product of matrices becomes one thunk of `blas`: the routine, the cut into panels, the static data, the cost.

Panels are parts of the rows or of the columns of the result, never of the sum, and depend on the shape alone; each is
one call of the library. So a product has the same bits for any number of threads.
"""

from __future__ import annotations

import math
import struct
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .blas import PLAIN, TRANSPOSED, address, gemm, gemv
from .native.language import Native

NAMES = {"f4": "s", "f8": "d", "c8": "c", "c16": "z"}  # the names that BLAS gives the dtypes


class Matrix(NamedTuple):
    """Where a matrix is in its buffer, in elements: the first one, and from a stored row to the next.

    `transposed`: the stored rows are the columns. Of a vector, `stride` leads from one element to the next.
    """

    start: int
    stride: int
    transposed: bool = False

    @property
    def down(self) -> int:
        """From an element to that of the next row."""
        return 1 if self.transposed else self.stride

    @property
    def along(self) -> int:
        """From an element to that of the next column."""
        return self.stride if self.transposed else 1


class Loop(NamedTuple):
    """`size` products, each so many elements further in a, b and c."""

    size: int
    a: int
    b: int
    c: int


class Product(NamedTuple):
    """c = alpha · a b + beta · c, with a of m × k and b of k × n, for every index of the loops.

    With beta = 0 the old c is not read. `vector`: n is 1, and b and c are vectors. `swapped`: a and b have changed
    places.
    """

    dtype: np.dtype
    m: int
    n: int
    k: int
    a: Matrix
    b: Matrix
    c: Matrix
    loops: tuple[Loop, ...] = ()
    alpha: complex = 1
    beta: complex = 0
    vector: bool = False
    swapped: bool = False

    @property
    def count(self) -> int:
        """The number of products."""
        return math.prod(loop.size for loop in self.loops)

    @property
    def flops(self) -> int:
        """Floating point operations of all products."""
        return (8 if self.dtype.kind == "c" else 2) * self.m * self.n * self.k * self.count


class ProductCall(NamedTuple):
    """A product as a thunk: `cost` in nanoseconds of one core, estimated.

    `order`: which of a, b, c, the runtime factor and the old c its operands are, as in (1, 0, 2) for b, a, c.
    """

    function: Native
    order: tuple[int, ...]
    dims: tuple[int, ...]
    extent: int
    grain: int
    cost: float
    flops: int


@lru_cache(4096)
def product_call(product: Product, scaled: bool = False, renews: bool = False) -> ProductCall:
    """The thunk of a product; `scaled`: there is one more operand, a scalar of the dtype that multiplies alpha.

    `renews`: the last operand is what c is before, in memory of its own or in that of c. Not of products by vectors.

    >>> p = Product(np.dtype("f4"), 128, 512, 784, Matrix(0, 784), Matrix(0, 512), Matrix(0, 512))
    >>> call = product_call(p)
    >>> call.function.name, call.extent
    ('gemm', 2)
    """
    product = by_vectors(product)
    size, parts = product.dtype.itemsize, 2 if product.dtype.kind == "c" else 1
    function = gemv if product.vector else gemm
    rows, columns = panels(product)
    down, across = rows if rows < product.m else 0, columns if columns < product.n else 0
    count = -(-product.m // rows) if down else -(-product.n // columns) if across else 1
    a, b, c = product.a, product.b, product.c
    panel = Loop(count, down * a.down, across * b.along, down * c.stride + across)
    loops = (*product.loops, panel)
    dims = (
        address(f"{NAMES[product.dtype.str[1:]]}{function.name}_"),
        address("openblas_get_num_threads"),
        address("openblas_set_num_threads"),
        *(product.m, product.n, product.k),
        # a matrix before a vector is given as it is, and Fortran takes it for its transpose
        *(TRANSPOSED if x.transposed != product.vector else PLAIN for x in (a, b)),
        *(a.stride, b.stride, c.stride),
        *_words(product.alpha, product.dtype),
        *_words(product.beta, product.dtype),
        *(parts if scaled else 0, size // parts),
        *(rows, columns, down, across),
        *(x.start * size for x in (a, b, c)),
        len(loops),
        size if renews else 0,
        *(word for loop in loops for word in (loop.size, loop.a * size, loop.b * size, loop.c * size)),
    )
    items = product.count * count if product.m and product.n else 0
    cost = product.count * (_cost(product) + renews * (COPY * product.m * product.n * size))
    each = cost / max(1, items)
    # Below half a microsecond, threads would only wait for each other at the lock of the library's work buffers.
    grain = items if each < 500 else max(1, -(-items // 32), int(10_000 / each))
    order = (*((1, 0) if product.swapped else (0, 1)), 2, *((3,) if scaled else ()), *((4,) if renews else ()))
    return ProductCall(function, order, dims, items, max(1, min(grain, items)), cost, product.flops)


def _words(value: complex, dtype: np.dtype) -> tuple[int, int]:
    """A number of a dtype as two words."""
    return struct.unpack("=qq", np.array([value]).astype(dtype).tobytes().ljust(16, b"\0"))


def by_vectors(product: Product) -> Product:
    """A product with at most three rows, or columns, as that many products of a matrix and a vector.

    OpenBLAS's matrix product pads them: 1 × 512 × 512 takes four times as long as the matrix-vector product.
    """
    m, n, k, a, b, c = product[1:7]
    # of no columns, the matrix-vector product would not write c
    if product.vector or not (m and n and k) or min(m, n) > 3:
        return product
    if n <= m:
        loop = Loop(n, 0, b.along, 1)
        changed = product._replace(n=1, b=Matrix(b.start, b.down), c=c)
        loops = product.loops
    else:
        loop = Loop(m, 0, a.down, c.stride)
        swapped = Matrix(b.start, b.stride, not b.transposed)
        vector, out = Matrix(a.start, a.along), Matrix(c.start, 1)
        changed = product._replace(m=n, n=1, a=swapped, b=vector, c=out, swapped=not product.swapped)
        loops = tuple(Loop(x.size, x.b, x.a, x.c) for x in product.loops)
    return changed._replace(loops=loops if loop.size == 1 else (*loops, loop), vector=True)


# Operations a nanosecond, and nanoseconds to pack or write an element, measured on an AVX2 core (AMD Zen 3, 3.5 GHz).
RATES = {"f4": (98.0, 0.13), "f8": (46.0, 0.3), "c8": (94.0, 0.3), "c16": (45.0, 0.6)}
# What a cut costs that leaves w rows, or w columns: this part of the time over w, as each panel packs the other operand
# anew. Measured on an AVX-512 core (Intel Sapphire Rapids, 2.7 GHz); an AVX2 core loses about half of it.
CUT = {"f4": (10.0, 11.0), "f8": (13.0, 24.0), "c8": (6.0, 4.0), "c16": (6.0, 4.0)}
GEMM_CALL, GEMV_CALL = 100.0, 45.0  # nanoseconds
GEMV_BYTES = 50.0  # a nanosecond, from the second-level cache
COPY = 0.05  # nanoseconds to copy a byte to a panel of the result


def _cost(product: Product) -> float:
    """Nanoseconds of one product of the loops, estimated."""
    m, n, k = product.m, product.n, product.k
    if product.vector:
        return GEMV_CALL + m * k * product.dtype.itemsize / GEMV_BYTES
    rate, element = RATES[product.dtype.str[1:]]
    flops = (8 if product.dtype.kind == "c" else 2) * m * n * k
    return GEMM_CALL + flops / rate + element * (m * k + k * n + m * n)


def panels(product: Product) -> tuple[int, int]:
    """Rows and columns of a panel: of 25 µs or more, at most 16, and so wide that the split costs little.

    Every panel packs the other operand anew (see CUT). Two panels may be 32 wide, more have 128 at least. Parts that
    are even for two threads come first.
    """
    m, n = product.m, product.n
    limit = min(16 / max(1, product.count), _cost(product) / 25_000)
    by_rows, by_columns = CUT[product.dtype.str[1:]]
    best, chosen = 1.0, (m, n)
    count = 2
    while count <= limit:
        for rows in (False, True):
            side, unit, loss = (m, 4, by_rows) if rows else (n, 16, by_columns)
            width = -(-side // (count * unit)) * unit
            if width >= side or width < (32 if count == 2 else 128):
                continue
            busier = -(-side // width) + 1 >> 1  # panels of the busier of two threads
            time = busier * width / side * (1 if product.vector else 1 + loss / width)
            if time <= best * 1.04:  # more panels serve more threads
                best, chosen = min(time, best), (width, n) if rows else (m, width)
        count *= 2
    return max(1, chosen[0]), max(1, chosen[1])
