"""What the tests of the renderers run kernels on.

A `Sample` is a kernel with the arrays to run it on. Float sums depend on the order in which a renderer adds, so the
outputs that hold them are compared within `tolerance`, all others bit for bit.
"""

from __future__ import annotations

import ctypes
import itertools

import numpy as np

from fgrad.compile import engine, render_python
from fgrad.compile.native.language import Native
from fgrad.compile.nests import Builder, Kernel, Value
from fgrad.compile.scalars import FLOATS, SIGNED, dtype_of, size_of

WIDE = engine.native_vector_bytes() == 64  # whether this machine has operations of `scalars.WIDE`
Result = tuple[tuple[int, int, int], list[np.ndarray]]
_THUNK = ctypes.CFUNCTYPE(
    ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64
)


class Sample:
    """A kernel, its operands (outputs hold what is there before it runs), dims and the range of its parallel axis."""

    def __init__(self, name: str, k: Builder, operands: list[np.ndarray], extent: int, **tolerance: float):
        self.name = name
        self.kernel: Kernel = k.finish()
        self.operands = operands
        self.dims = tuple([0 if isinstance(d, Native) else d for d in k.dims])  # nobody looks for signals
        self.extent = extent
        self.tolerance = {int(number[1:]): error for number, error in tolerance.items()}  # p2=1e-6: of operand 2
        for buffer, array in zip(self.kernel.buffers, operands, strict=True):
            assert array.dtype == dtype_of(buffer.type), (name, buffer.name)

    def __repr__(self) -> str:
        return self.name

    def _fresh(self) -> list[np.ndarray]:
        copies = {id(a): a.copy() for a in self.operands}  # operands that share memory still do
        return [copies[id(a)] for a in self.operands]

    def in_python(self, wide: bool = False) -> Result:
        """Run as plain Python; wide: with the formulas of machines with 64-byte registers."""
        arrays = self._fresh()
        dims = np.array(self.dims, np.int64)
        run = render_python.function(self.kernel, wide)
        with np.errstate(all="ignore"):
            status = run(*[a.reshape(-1) for a in arrays], dims, np.int64(0), np.int64(self.extent))
        return (int(status[0]), int(status[1]), int(status[2])), arrays

    def native(self, address: int, cuts: tuple[int, ...] = ()) -> Result:
        """Run the thunk at an address, in one call or in pieces that end at `cuts`."""
        arrays = self._fresh()
        call = (ctypes.c_int64 * 8)()
        dims = (ctypes.c_int64 * max(1, len(self.dims)))(*self.dims)
        operands = (ctypes.c_void_p * len(arrays))(*[a.ctypes.data for a in arrays])
        status = 0
        edges = [0, *cuts, self.extent]
        for begin, end in itertools.pairwise(edges):
            status = status or _THUNK(address)(call, operands, dims, begin, end)
        return (status, call[2], call[3]), arrays

    def same(self, left: Result, right: Result) -> None:
        """Assert that two runs agree."""
        assert left[0] == right[0], (self.name, left[0], right[0])
        if left[0][0]:
            return  # which elements were written before a check failed is free
        for number, (a, b) in enumerate(zip(left[1], right[1], strict=True)):
            error = self.tolerance.get(number)
            if error is not None:
                np.testing.assert_allclose(a, b, rtol=error, atol=error, err_msg=f"{self.name} p{number}")
                continue
            numbers = ~(np.isnan(a) & np.isnan(b)) if a.dtype.kind == "f" else np.ones(a.shape, bool)
            equal = _bytes(a) == _bytes(b)
            wrong = np.flatnonzero(numbers & ~equal)
            assert not wrong.size, f"{self.name} p{number}[{wrong[0]}]: {a[wrong[0]]!r} and {b[wrong[0]]!r}"


def _bytes(a: np.ndarray) -> np.ndarray:
    return a.view(f"u{a.itemsize}")


def special(type: str) -> np.ndarray:
    """The values of a type at which operations go wrong."""
    dtype = dtype_of(type)
    if type == "bool":
        return np.array([False, True])
    if type in FLOATS:
        info = np.finfo(dtype)
        tiny, low = info.smallest_subnormal, info.tiny
        some = [0.0, 0.5, 1.0, 1.5, 2.5, 3.0, 127.5, 300.7, 65536.25, 2.0**31, 3e9, 2.0**63, 1e19, 2.0**64, info.max]
        some = [*some, tiny, low, low / 2, info.eps, 1 / 3, np.inf]
        return np.array([*some, *[-x for x in some], np.nan], dtype)
    info = np.iinfo(dtype)
    some = [0, 1, 2, 3, 7, 31, 63, 64, 100, info.max, info.max - 1, info.min, info.min + 1, info.max // 3, 85]
    return np.unique(np.array([*some, *([-1, -2, -7, -100] if info.min < 0 else [])], dtype))


def pairs(type: str) -> tuple[np.ndarray, np.ndarray]:
    """Every special value with every other."""
    a, b = np.meshgrid(special(type), special(type))
    return a.reshape(-1).copy(), b.reshape(-1).copy()


def numbers(type: str, n: int, seed: int = 0) -> np.ndarray:
    """n ordinary values: floats of magnitude about one, small integers."""
    rng = np.random.default_rng(seed)
    if type == "bool":
        return rng.random(n) < 0.5
    if type in FLOATS:
        return rng.normal(size=n).astype(dtype_of(type))
    return rng.integers(0 if type[0] == "u" else -50, 50, n).astype(dtype_of(type))


def empty(type: str, n: int) -> np.ndarray:
    """An output: holds something else than any kernel writes."""
    return np.full(n, 77, dtype_of(type))


FLOAT_OPS = {
    2: ["add", "sub", "mul", "div", "max", "min", "copysign", "lt", "le", "gt", "ge", "eq", "ne"],
    1: ["neg", "abs", "sqrt", "floor", "ceil", "trunc", "rint"],
}
INTEGER_OPS = {
    2: ["add", "sub", "mul", "max", "min", "quot", "rest", "and", "or", "xor", "shl", "shr"]
    + ["lt", "le", "gt", "ge", "eq", "ne"],
    1: ["neg", "abs", "not", "popcount", "clz"],
}
BOOL_OPS = {2: ["and", "or", "xor", "eq", "ne"], 1: ["not"]}


def ops_of(type: str) -> dict[int, list[str]]:
    """Operations of a type by their number of operands, but for fma, select and conversions."""
    return BOOL_OPS if type == "bool" else FLOAT_OPS if type in FLOATS else INTEGER_OPS


def guarded(k: Builder, op: str, a: Value, b: Value) -> Value:
    """`op`, with the divisor or count brought to where it is defined."""
    if op in ("quot", "rest"):
        bad = k.op("eq", b, k.const(0, b.type))
        if b.type in SIGNED:
            bad = k.op("or", bad, k.op("eq", b, k.const(-1, b.type)))
        b = k.select(bad, k.const(1, b.type), b)
    if op in ("shl", "shr"):
        b = k.op("and", b, k.const(8 * size_of(b.type) - 1, b.type))
    return k.op(op, a, b)
