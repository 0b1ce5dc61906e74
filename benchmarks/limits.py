"""What this machine can do at best: the measured rate of matrix products and the measured copy bandwidth."""

from __future__ import annotations

import ctypes
import functools
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import scipy_openblas32

ROW_MAJOR, PLAIN = 101, 111  # cblas.h
SMALLEST = 64 * 1024  # bytes below which bandwidth means nothing


@functools.lru_cache(maxsize=1)
def _blas() -> ctypes.CDLL:
    return ctypes.CDLL(str(next(Path(scipy_openblas32.get_lib_dir()).glob("*scipy_openblas*"))))


def _best(f: Callable[[], object], seconds: float = 0.2) -> float:
    """The best of the calls that fit into so many seconds, at least five."""
    f()
    best, end, count = float("inf"), time.perf_counter() + seconds, 0
    while count < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        f()
        best = min(best, time.perf_counter() - start)
        count += 1
    return best


@functools.cache
def product_seconds(dtype: str, rows: int, columns: int, inner: int) -> float:
    """Best time of one product in OpenBLAS, with one thread or with all, whichever is less."""
    blas = _blas()
    letter, real = ("s", ctypes.c_float) if dtype == "float32" else ("d", ctypes.c_double)
    gemm = blas[f"scipy_cblas_{letter}gemm"]
    gemm.restype = None
    gemm.argtypes = [ctypes.c_int] * 6 + [real, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
    gemm.argtypes += [real, ctypes.c_void_p, ctypes.c_int]
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(rows, inner)).astype(dtype), rng.normal(size=(inner, columns)).astype(dtype)
    c = np.empty((rows, columns), dtype)
    shape = (ROW_MAJOR, PLAIN, PLAIN, rows, columns, inner)
    operands = (1.0, a.ctypes.data, inner, b.ctypes.data, columns, 0.0, c.ctypes.data, columns)
    found = []
    before = blas.scipy_openblas_get_num_threads()
    for threads in {1, os.cpu_count() or 1}:
        blas.scipy_openblas_set_num_threads(threads)
        found.append(_best(lambda: gemm(*shape, *operands)))
    blas.scipy_openblas_set_num_threads(before)
    return min(found)


def gemm_rate(dtype: str, n: int = 1024) -> float:
    """FLOP/s of a square product."""
    return 2.0 * n**3 / product_seconds(dtype, n, n, n)


def products_seconds(dtype: str, products: Sequence[tuple[int, int, int]]) -> float:
    """Time of these products alone, each at the rate measured at its own shape."""
    return sum(count * product_seconds(dtype, *shape) for shape, count in Counter(products).items())


def flops(products: Sequence[tuple[int, int, int]]) -> float:
    """Floating-point operations of these products."""
    return sum(2.0 * rows * columns * inner for rows, columns, inner in products)


def copy_bandwidth(total: int) -> float:
    """Bytes read and written a second by a copy that touches about `total` bytes, on all cores."""
    return _bandwidth(1 << max(total - 1, SMALLEST).bit_length())


@functools.cache
def _bandwidth(total: int) -> float:
    return max(_copy_rate(total, threads) for threads in {1, os.cpu_count() or 1})


def _copy_rate(total: int, threads: int) -> float:
    sources = np.ones((threads, max(total // (2 * threads), 1)), np.uint8)
    targets = np.empty_like(sources)
    repeats = max(1, (1 << 27) // total)

    def work(i: int) -> None:
        for _ in range(repeats):
            np.copyto(targets[i], sources[i])

    with ThreadPoolExecutor(threads) as pool:
        return 2.0 * sources.size * repeats / _best(lambda: list(pool.map(work, range(threads))))


def limit_seconds(dtype: str, products: Sequence[tuple[int, int, int]], touched: int) -> float | None:
    """The larger of the time of the products and of moving `touched` bytes; None for cases too small to ask."""
    if touched < SMALLEST and not products:
        return None
    return max(products_seconds(dtype, products), touched / copy_bandwidth(touched))
