"""The steps by which `lapack` computes each primitive of dense linear algebra, for stacks of matrices in C order.

LAPACK counts columns first: to it, a matrix in C order is its transpose. Where that serves as well (Cholesky and
triangular systems) a routine works on the operands themselves; elsewhere there is a transposed copy in the work memory,
as in NumPy's own functions, with whose results these agree. Eigenvectors and singular vectors are left to NumPy: their
signs depend on rounding, hence on the version of the library, and should not change under jit.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .blas import address, available
from .lapack import (
    CLEAR,
    COPY,
    DETERMINANT,
    END,
    EXCHANGE,
    LOG_DETERMINANT,
    MEMORY,
    NOWHERE,
    PERMUTE,
    REGULAR,
    ROUTINE,
    STATIC,
    STEPS,
    TRANSPOSE,
    WORK,
    linear_algebra,
)
from .native.language import Native
from .products import NAMES, RATES

BLOCK = 64  # columns that a blocked routine of LAPACK may work on at once: the work memory for them
LARGEST = 2**31 - 1


class Place(NamedTuple):
    """What an argument is: see `lapack`."""

    base: int
    step: int
    start: int


class Steps:
    """The steps for one matrix of a stack, as they are written: each method appends one, or makes a place."""

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype
        self.size = dtype.itemsize
        self.part = self.size // 2 if dtype.kind == "c" else self.size
        self.letter = NAMES[dtype.str[1:]]
        self.words: list[int | Place] = []
        self.constants: list[int] = []
        self.work_bytes = 16

    def operand(self, number: int, *shape: int, size: int | None = None) -> Place:
        """Operand `number`, of which a matrix has this shape and elements of `size` bytes (that of the dtype)."""
        return Place(number, math.prod(shape) * (self.size if size is None else size), 0)

    def work(self, count: int, size: int | None = None) -> Place:
        """Work memory for so many elements."""
        start = self.work_bytes
        self.work_bytes += -(-max(count, 1) * (self.size if size is None else size) // 16) * 16
        return Place(WORK, 0, start)

    def integer(self, value: int) -> Place:
        """The address of an int32."""
        return self._constant(struct.pack("=i", value))

    def one(self) -> Place:
        """The address of a 1 of the dtype."""
        return self._constant(np.ones(1, self.dtype).tobytes())

    def _constant(self, data: bytes) -> Place:
        self.constants += struct.unpack("=qq", data.ljust(16, b"\0"))
        return Place(STATIC, 0, 8 * (len(self.constants) - 2))

    def step(self, code: int, places: Sequence[Place], *numbers: int) -> None:
        """Append a step."""
        self.words += [code, len(places), len(numbers), *places, *numbers]

    def transpose(
        self, source: Place, target: Place, rows: int, columns: int, down: int | None = None, along: int | None = None
    ) -> None:
        """Copy rows × columns, `down` elements apart in the source, to columns × rows, `along` apart in the target."""
        down, along = columns if down is None else down, rows if along is None else along
        self.step(TRANSPOSE, (source, target), rows, columns, down, along, self.size)

    def routine(self, name: str, letters: str, *arguments: int | Place | None, check: bool = True) -> None:
        """Call a routine: its letter arguments, which come first, then numbers and places; None: where it leaves info.

        Fortran passes the lengths of letter arguments behind all others.
        """
        characters = [self._constant(letter.encode()) for letter in letters]
        places = [Place(WORK, 0, 0) if a is None else self.integer(a) if isinstance(a, int) else a for a in arguments]
        lengths = [Place(NOWHERE, 0, 1)] * len(letters)
        every = [*characters, *places, *lengths]
        every += [Place(NOWHERE, 0, 0)] * (16 - len(every))
        self.step(ROUTINE, every, address(f"{self.letter}{name}_"), int(check))

    def dims(self) -> tuple[int, ...]:
        """The static data of the thunk."""
        length = sum(3 if isinstance(word, Place) else 1 for word in self.words)
        behind = STEPS + 8 * (length + 1)
        words: list[int] = [
            *(0, address("openblas_get_num_threads"), address("openblas_set_num_threads"), self.work_bytes)
        ]
        for word in self.words:
            if isinstance(word, Place):
                words += word._replace(start=word.start + behind) if word.base == STATIC else word
            else:
                words.append(word)
        return (*words, END, *self.constants)


Shape = tuple[int, ...]


def _cholesky(s: Steps, shapes: Sequence[Shape]) -> int:
    n = shapes[0][-1]
    a, factor = s.operand(0, n, n), s.operand(1, n, n)
    s.step(COPY, (a, factor), n * n * s.size)
    s.routine("potrf", "U", n, factor, n, None)  # the lower triangle is the upper one of the transpose
    s.step(CLEAR, (factor,), n, n, s.size, 1)
    return n**3 // 3


def _triangular_solve(
    s: Steps, shapes: Sequence[Shape], lower: bool, transpose_a: bool, conjugate_a: bool, unit_diagonal: bool
) -> int:
    n, k = shapes[1][-2:]
    a, b, x = s.operand(0, n, n), s.operand(1, n, k), s.operand(2, n, k)
    s.step(COPY, (b, x), n * k * s.size)
    _triangle(s, a, x, n, k, lower, transpose_a, conjugate_a and s.part != s.size, unit_diagonal)
    return n * n * k


def _triangle(
    s: Steps, a: Place, x: Place, n: int, k: int, lower: bool, transpose: bool, conjugate: bool, unit: bool
) -> None:
    """op(a) x' = x in place; the transposed equation is x'ᵀ op(a)ᵀ = xᵀ, with a from the right."""
    operation = ("C" if conjugate else "T") if transpose else ("R" if conjugate else "N")
    letters = "R" + ("U" if lower else "L") + operation + ("U" if unit else "N")
    s.routine("trsm", letters, k, n, s.one(), a, n, x, k)


def _lu(s: Steps, shapes: Sequence[Shape], differentiable: bool) -> int:
    m, n = shapes[0][-2:]
    a, factors = s.operand(0, m, n), s.operand(1, m, n)
    exchanges, permutation = s.operand(2, min(m, n), size=4), s.operand(3, m, size=4)
    copy = s.work(m * n)
    s.transpose(a, copy, m, n)
    s.routine("getrf", "", m, n, copy, m, exchanges, None, check=False)  # a zero pivot is no error
    s.transpose(copy, factors, n, m)
    s.step(PERMUTE, (exchanges, permutation), min(m, n), m)
    return m * n * min(m, n)


def _solve(s: Steps, shapes: Sequence[Shape], transpose: bool) -> int:
    n, k = shapes[3][-2:]
    factors, exchanges = s.operand(1, n, n), s.operand(2, n, size=4)
    b, x = s.operand(3, n, k), s.operand(4, n, k)
    s.step(REGULAR, (factors,), n, s.size, s.part)
    s.step(COPY, (b, x), n * k * s.size)
    if not transpose:
        s.step(EXCHANGE, (x, exchanges), n, k * s.size, 0)
    for lower in (False, True) if transpose else (True, False):
        _triangle(s, factors, x, n, k, lower, transpose, False, unit=lower)
    if transpose:
        s.step(EXCHANGE, (x, exchanges), n, k * s.size, 1)
    return 2 * n * n * k


def _det(s: Steps, shapes: Sequence[Shape]) -> int:
    n = shapes[0][-1]
    s.step(DETERMINANT, (s.operand(1, n, n), s.operand(2, n, size=4), s.operand(3)), n, s.size)
    return n


def _slogdet(s: Steps, shapes: Sequence[Shape]) -> int:
    n = shapes[0][-1]
    places = (s.operand(1, n, n), s.operand(2, n, size=4), s.operand(3), s.operand(4))
    s.step(LOG_DETERMINANT, places, n, s.size)
    return 20 * n


def _qr(s: Steps, shapes: Sequence[Shape], full: bool) -> int:
    m, n = shapes[0][-2:]
    k = min(m, n)
    wide = m if full else k  # columns of q, rows of r
    a, q, r = s.operand(0, m, n), s.operand(1, m, wide), s.operand(2, wide, n)
    copy, tau, work = s.work(m * max(n, wide)), s.work(k), s.work(BLOCK * max(m, n))
    s.transpose(a, copy, m, n)
    s.routine("geqrf", "", m, n, copy, m, tau, work, BLOCK * n, None)
    s.transpose(copy, r, n, wide, m, n)
    s.step(CLEAR, (r,), wide, n, s.size, 0)
    name = "orgqr" if s.part == s.size else "ungqr"
    s.routine(name, "", m, wide, k, copy, m, tau, work, BLOCK * wide, None)
    s.transpose(copy, q, wide, m, m, wide)
    return 4 * m * n * k


WRITERS: dict[str, tuple[Callable[..., int], float]] = {  # and what part of the speed of a product to expect
    "cholesky": (_cholesky, 0.3),
    "triangular_solve": (_triangular_solve, 0.4),
    "lu": (_lu, 0.4),
    "solve": (_solve, 0.4),
    "det": (_det, 0.05),
    "slogdet": (_slogdet, 0.05),
    "qr": (_qr, 0.2),
}
FAILURES = {
    "cholesky": "Matrix is not positive definite",
    "solve": "Singular matrix",
    "qr": "Incorrect argument found while performing QR factorization",
}


class FactorizationThunk(NamedTuple):
    """A primitive of linear algebra as a thunk: `cost` in nanoseconds of one core, estimated.

    Its operands are those of the primitive, then the results, all of them C-contiguous.
    """

    function: Native
    dims: tuple[int, ...]
    extent: int
    grain: int
    cost: float
    flops: int


def plan_factorization(
    name: str, shapes: Sequence[Shape], dtype: np.dtype, params: dict[str, Any]
) -> FactorizationThunk | None:
    """The thunk of a primitive of linear algebra; None: let NumPy do it.

    Args:
      name: of the primitive.
      shapes: of its operands.
      dtype: of its first operand.
      params: its parameters.

    >>> plan_factorization("cholesky", [(7, 3, 3)], np.dtype("f8"), {}).extent
    7
    """
    known = name in WRITERS and dtype.str[1:] in NAMES and dtype.isnative
    # of complex numbers, determinants are left to NumPy
    if not known or (dtype.kind == "c" and name in ("det", "slogdet")):
        return None
    if any(0 in shape for shape in shapes) or max(shapes[-1][-2:] + shapes[0][-2:]) > LARGEST or not available():
        return None
    writer, part = WRITERS[name]
    steps = Steps(dtype)
    flops = writer(steps, shapes, **params) * (4 if dtype.kind == "c" else 1)
    count = math.prod(shapes[0][:-2])
    each = 300 + flops / (part * RATES[dtype.str[1:]][0])
    grain = min(count, max(1, -(-count // 32), int(10_000 / each)))
    return FactorizationThunk(linear_algebra, steps.dims(), count, grain, count * each, count * flops)


def failure(name: str, info: int) -> Exception:
    """The exception for a thunk that gave status FAILED, with word 2 of the call as `info`: as NumPy raises it.

    >>> failure("cholesky", 2)
    LinAlgError('Matrix is not positive definite')
    """
    if info == MEMORY:
        return MemoryError(f"no memory for {name}")
    return np.linalg.LinAlgError(FAILURES.get(name, f"{name} failed"))
