"""How fast matrix products are: the library alone, our thunk on one thread and on all, NumPy; and what panels cost.

python benchmarks/gemm.py            # rates in GFLOP/s, best of many
python benchmarks/gemm.py --small    # microseconds of small products, against the library alone
"""

from __future__ import annotations

import ctypes
import os
import sys
import time

from timing import fair, machine

fair()
os.environ["OPENBLAS_NUM_THREADS"] = str(os.cpu_count() or 1)

import numpy as np  # noqa: E402

from fgrad.compile import blas, code  # noqa: E402
from fgrad.compile.dot import Layout, plan_dot  # noqa: E402
from fgrad.compile.native import pool  # noqa: E402
from fgrad.compile.native.program import NativeProgram, Output, Program, Thunk  # noqa: E402
from fgrad.compile.products import NAMES  # noqa: E402

SHAPES = [  # rows, columns, sum; which operand is transposed
    (1024, 1024, 1024, ""),
    (512, 512, 512, ""),
    (128, 512, 784, ""),
    (784, 512, 128, "x"),
    (128, 512, 512, ""),
    (128, 512, 512, "w"),
    (512, 512, 128, "x"),
    (128, 10, 512, ""),
    (64, 256, 784, ""),
    (784, 256, 64, "x"),
    (256, 256, 256, ""),
    (64, 64, 64, ""),
    (32, 32, 64, ""),
]
SMALL = [(n, n, n, flip) for n in (2, 4, 8, 12, 16, 24, 32) for flip in ("", "w")]
SMALL += [(1, 64, 64, ""), (64, 1, 64, ""), (1, 512, 512, ""), (2, 512, 512, ""), (4, 512, 512, "")]


def best(function: object, seconds: float = 0.5) -> float:
    """The shortest time of a call, in seconds."""
    assert callable(function)
    function()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


class Case:
    """One product in three ways: the library alone, a program of `repeat` thunks, NumPy."""

    def __init__(self, dtype: str, m: int, n: int, k: int, flip: str, repeat: int = 1) -> None:
        rng = np.random.default_rng(0)
        self.flops, self.repeat = 2 * m * n * k, repeat
        stored = [(k, m) if flip == "x" else (m, k), (n, k) if flip == "w" else (k, n)]
        self.x, self.w = (rng.standard_normal(shape).astype(dtype) for shape in stored)
        self.out = np.empty((m, n), dtype)
        contract = ((0 if flip == "x" else 1,), (1 if flip == "w" else 0,))
        layouts = [Layout.contiguous(shape) for shape in stored]
        plan = plan_dot(*layouts, self.x.dtype, contract, ((), ()))
        assert plan is not None
        self.thunk = plan.thunk(0, 1, 2)
        address = code.addresses([], [self.thunk.function], "native")(self.thunk.function)
        step = Thunk(address, self.thunk.operands, *self.thunk[2:6])
        output = Output(2, self.x.dtype, (m, n))
        self.program = NativeProgram(Program([step] * repeat, 3, 0, [], [], [0, 1], [output]))
        self.numpy = (self.x.T if flip == "x" else self.x), (self.w.T if flip == "w" else self.w)
        self.arguments = self._arguments(m, n, k, flip)
        self.routine = blas.library()[f"scipy_{NAMES[dtype]}gemm_"]

    def _arguments(self, m: int, n: int, k: int, flip: str) -> list[object]:
        letter = lambda flipped: ctypes.c_char_p(b"T" if flipped else b"N")  # noqa: E731
        number = lambda value: ctypes.byref(ctypes.c_int32(value))  # noqa: E731
        pointer = lambda a: ctypes.c_void_p(a.ctypes.data)  # noqa: E731
        self.one, self.zero = np.ones(1, self.x.dtype), np.zeros(1, self.x.dtype)
        return [
            *(letter(flip == "w"), letter(flip == "x"), number(n), number(m), number(k), pointer(self.one)),
            *(pointer(self.w), number(self.w.shape[1]), pointer(self.x), number(self.x.shape[1])),
            *(pointer(self.zero), pointer(self.out), number(n)),
        ]

    def alone(self) -> float:
        """Seconds of the library, with one thread, called through ctypes (about 1 µs)."""
        return best(lambda: self.routine(*self.arguments))

    def ours(self, threads: int) -> float:
        """Seconds of a thunk, in a program."""
        before = pool.get_num_threads()
        pool.set_num_threads(threads)
        try:
            return best(lambda: self.program.run([self.x, self.w])) / self.repeat
        finally:
            pool.set_num_threads(before)

    def numpys(self) -> float:
        """Seconds of NumPy, with its own threads."""
        return best(lambda: np.matmul(*self.numpy, out=self.out))


def rates() -> None:
    """GFLOP/s of large products."""
    cores = os.cpu_count() or 1
    print(f"{'':28}{'library, 1':>12}{'thunk, 1':>10}{f'thunk, {cores}':>10}{'NumPy':>8}  panels")
    for dtype in ("f4", "f8"):
        for shape in SHAPES:
            m, n, k, flip = shape
            # several in a row, so that neither the fresh memory of the result nor the call from Python counts
            case = Case(dtype, *shape, repeat=1 + 10**8 // (m * n * k))
            label = f"{dtype} {m} x {k} x {n} {flip and flip + ' transposed'}"
            columns = [case.flops * 1e-9 / t for t in (case.alone(), case.ours(1), case.ours(cores), case.numpys())]
            numbers = "".join(f"{x:{width}.1f}" for x, width in zip(columns, (12, 10, 10, 8), strict=True))
            print(f"{label:<28}{numbers}  {case.thunk.extent}")


def small() -> None:
    """Microseconds of small products."""
    print(f"{'':28}{'thunk':>8}{'NumPy':>8}  estimate")
    for dtype in ("f4", "f8"):
        for shape in SMALL:
            case = Case(dtype, *shape, repeat=200)
            m, n, k, flip = shape
            label = f"{dtype} {m} x {k} x {n} {flip and flip + ' transposed'}"
            print(f"{label:<28}{case.ours(1) * 1e6:8.3f}{case.numpys() * 1e6:8.3f}  {case.thunk.cost / 1e3:.3f}")


if __name__ == "__main__":
    print(machine())
    small() if "--small" in sys.argv else rates()
