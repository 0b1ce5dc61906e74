"""Kernels as LLVM assembly: every operation, every form of loop, tails of every length, nothing read beyond an end."""

import ctypes
import itertools
import mmap

import numpy as np
import pytest

from fgrad.compile.engine import compile_text, load_object
from fgrad.compile.nests import Builder, Kernel
from fgrad.compile.render_llvm import module, render
from fgrad.compile.render_python import function
from fgrad.compile.scalars import FLOATS, INTEGERS, SIGNED, TYPES, UNSIGNED, dtype_of, size_of

NATIVE = ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_void_p] * 3, ctypes.c_int64, ctypes.c_int64)
WIDTHS = [16, 32]
_libc = ctypes.CDLL(None, use_errno=True)


class Guarded:
    """Copies of arrays that end at an unreadable page, or begin behind one, aligned to their elements only."""

    def __init__(self):
        self.maps = []

    def copy(self, array, at_end=True):
        page = mmap.PAGESIZE
        pages = -(-array.nbytes // page) + 2
        memory = mmap.mmap(-1, pages * page)
        start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        for guard in (start, start + (pages - 1) * page):
            assert _libc.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(page), 0) == 0
        self.maps.append((memory, start, pages * page))
        offset = (pages - 1) * page - array.nbytes if at_end else page
        made = np.frombuffer(memory, array.dtype, array.size, offset)
        made[...] = array.ravel()
        return made


def compiled(kernel: Kernel, vector_bytes: int = 32, level: int = 0):
    """The kernel as a function of arrays; gives the status and the call's words."""
    name = f"{kernel.name}_{vector_bytes}"
    text = render(kernel, vector_bytes).replace(kernel.name, name)
    native = NATIVE(load_object(compile_text(text, level), [name])[name])

    def run(*arrays, begin=0, end=0, dims=()):
        operands = (ctypes.c_void_p * (len(arrays) + 1))(*[a.ctypes.data for a in arrays])
        words = (ctypes.c_int64 * 8)()
        sizes = (ctypes.c_int64 * (len(dims) + 1))(*dims)
        status = native(*[ctypes.addressof(a) for a in (words, operands, sizes)], begin, end)
        return status, words[2], words[3]

    return run


def agree(kernel: Kernel, arrays, begin, end, dims=(), exact=True, widths=WIDTHS):
    """The kernel does to (guarded copies of) the arrays what it does as Python, at every width."""
    expected = [a.copy() for a in arrays]
    with np.errstate(all="ignore"):
        told = function(kernel)(*[a.view(np.uint8) if a.dtype == bool else a for a in expected], dims, begin, end)
    for width, at_end in itertools.product(widths, (True, False)):
        guard = Guarded()
        got = [guard.copy(a, at_end) for a in arrays]
        assert compiled(kernel, width)(*got, begin=begin, end=end, dims=dims) == told
        for g, e in zip(got, expected, strict=True):
            if exact:
                np.testing.assert_array_equal(g, e)
                if g.dtype.kind == "f":
                    np.testing.assert_array_equal(np.signbit(g[g == 0]), np.signbit(e[e == 0]))
            else:
                np.testing.assert_allclose(g, e, rtol=1e-5 if g.dtype == np.float32 else 1e-12)
        del got, g
