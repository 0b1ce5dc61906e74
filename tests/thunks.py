"""Run one thunk of the library without a program around it: for the tests of products and factorizations."""

import ctypes
from functools import cache

import numpy as np

from fgrad.compile.engine import compile_text, load_object
from fgrad.compile.native.language import Module

I64 = ctypes.c_int64
FUNCTION = ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_void_p] * 3, I64, I64)


@cache
def compiled(function):
    """A native function as a ctypes function, which lets go of the GIL."""
    module = Module([function])
    return FUNCTION(load_object(compile_text(module.text), module.symbols)[module.symbol(function)])


class Run:
    """A thunk on arrays, ready to be run; `operands` are numbers into the arrays."""

    def __init__(self, thunk, operands, arrays):
        self.thunk, self.arrays = thunk, arrays
        self.operands = (ctypes.c_void_p * len(operands))(*[arrays[i].ctypes.data for i in operands])
        self.dims = (I64 * len(thunk.dims))(*thunk.dims)
        self.context = (I64 * 8)()

    def part(self, begin, end):
        """Do [begin, end) of the parallel axis; the status."""
        where = [ctypes.addressof(x) for x in (self.context, self.operands, self.dims)]
        return compiled(self.thunk.function)(*where, begin, end)

    def whole(self):
        """Everything in one call; the status."""
        return self.part(0, self.thunk.extent)

    def chunks(self):
        """The chunks that the runtime makes, each alone."""
        extent, grain = self.thunk.extent, self.thunk.grain
        return [(begin, min(extent, begin + grain)) for begin in range(0, extent, grain)]


def guarded(shape, dtype):
    """An array full of NaN, or -7 where there is none."""
    dtype = np.dtype(dtype)
    return np.full(shape, np.nan if dtype.kind in "fc" else -7, dtype)
