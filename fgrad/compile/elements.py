"""Arrays of small programs: elements as scalars of a kernel, and arrays in memory that are read where they are indexed.

Of an array in registers each element is a value of the nest, in a NumPy array of objects: views are NumPy's own. One in
memory is a place with strides; of its contents there may be versions, each of which is gone when the next is written:

    A0 -> read A0[i - 1] -> write A0[i], which makes it A1 -> read A1[j]

A read of a version that is gone means that the program cannot be done in place: `Decline`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from math import prod
from typing import Any

import numpy as np

from .layouts import contiguous
from .nests import Buffer, Builder, Value
from .scalars import type_name

LIMIT = 64  # elements of an array in registers
READ = 1024  # elements of an array that is only read
NEAR_BY = 64  # largest number that is an immediate of the kernel; others are dims, so that sizes share kernels


class Decline(Exception):
    """A program is not small, or has an operation that no rule does with scalars, or would need a copy."""


Elements = np.ndarray  # of Values


def kernel_type(dtype: np.dtype) -> str:
    """The kernel type of a dtype."""
    found = type_name(dtype)
    if found is None:
        raise Decline(f"kernels have no {dtype}")
    return found


def scalar(value: Value) -> Elements:
    """One value as an array of no axes."""
    made = np.empty((), object)
    made[()] = value
    return made


def array(values: Sequence[Value], shape: Sequence[int]) -> Elements:
    """Values in C order as an array."""
    made = np.empty(len(values), object)
    made[:] = values
    return made.reshape(tuple(shape))


def number(k: Builder, n: int, role: str = "") -> Value:
    """An integer known now, as an immediate if it is small."""
    return k.const(n, "i64") if abs(n) <= NEAR_BY else k.dim(n, role)


def known(value: Any) -> int | None:
    """The integer that a value is, if it is a constant."""
    return int(value.payload) if value.op == "const" else None


class Place:
    """Memory of a kernel: a buffer, or what makes it when it is first used, and the number of what is in it now."""

    __slots__ = ("_buffer", "version", "writable")

    def __init__(self, buffer: Buffer | Callable[[], Buffer], writable: bool):
        self._buffer, self.writable = buffer, writable
        self.version = 0

    @property
    def buffer(self) -> Buffer:
        if not isinstance(self._buffer, Buffer):
            self._buffer = self._buffer()
        return self._buffer


class Memory:
    """An array in memory: its element at `index` is number base + offset + sum(index * strides) of `place`.

    pinned: it may be read only where it is asked for, behind the check of an index.
    """

    __slots__ = ("base", "offset", "pinned", "place", "shape", "strides", "version")

    def __init__(
        self, place: Place, shape: Sequence[int], strides: Sequence[int], base: Value | None = None, offset: int = 0
    ):
        self.place, self.shape, self.strides = place, tuple(shape), tuple(strides)
        self.base, self.offset = base, offset
        self.version = place.version
        self.pinned = False

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def view(self, shape: Sequence[int], strides: Sequence[int], offset: int = 0) -> Memory:
        """Other elements of the same version."""
        made = Memory(self.place, shape, strides, self.base, self.offset + offset)
        made.version, made.pinned = self.version, self.pinned
        return made

    def now(self) -> Memory:
        """The same elements with what is in them now."""
        return Memory(self.place, self.shape, self.strides, self.base, self.offset)

    def moved(self, k: Builder, steps: Sequence[tuple[Value, int]], shape: Sequence[int], strides: Any) -> Memory:
        """A view that begins further on: by value * stride for each of `steps`."""
        terms, offset = [], 0
        for value, stride in steps:
            n = known(value)
            if n is not None:
                offset += n * stride
            else:
                terms.append((value, number(k, stride, "stride")))
        made = self.view(shape, strides, offset)
        if terms:
            made.base = k.affine(terms, self.base)
        return made

    def whole(self) -> bool:
        """Whether it is all of a contiguous array, from the beginning."""
        return self.base is None and self.offset == 0 and self.strides == contiguous(self.shape)

    def same(self, other: Any) -> bool:
        """Whether another array is in the same memory in the same order, whatever is in it."""
        return (
            type(other) is Memory
            and self.place is other.place
            and self.base is other.base
            and (self.offset, self.shape, self.strides) == (other.offset, other.shape, other.strides)
        )

    def present(self) -> None:
        """Decline if its contents are gone."""
        if self.version != self.place.version:
            raise Decline("it reads what is overwritten")

    def index(self, k: Builder, at: Sequence[int]) -> Value:
        """The element number in the buffer."""
        offset = self.offset + sum(i * s for i, s in zip(at, self.strides, strict=True))
        there = k.const(offset, "i64") if abs(offset) <= READ else k.dim(offset, "offset")
        return there if self.base is None else k.affine([(self.base, k.const(1, "i64"))], there)

    def load(self, k: Builder, at: Sequence[int]) -> Value:
        self.present()
        return k.load(self.place.buffer, self.index(k, at), here=self.pinned)

    def written(self) -> Memory:
        """This array behind a write to it, which makes it another version."""
        if not self.place.writable:
            raise Decline("it would need a copy")
        self.present()
        self.place.version += 1
        return self.now()


Array = Elements | Memory


def elements(k: Builder, x: Any) -> Elements:
    """The elements of an array: read, if it is in memory."""
    if type(x) is not Memory:
        return x
    if x.size > (LIMIT if x.place.writable else READ):
        raise Decline(f"{x.size} elements are too many")
    if any(s == 0 and n > 1 for n, s in zip(x.shape, x.strides, strict=True)):  # repeated elements are read once
        base = x.view([1 if s == 0 else n for n, s in zip(x.shape, x.strides, strict=True)], x.strides)
        return np.broadcast_to(elements(k, base), x.shape)
    return array([x.load(k, at) for at in product(*map(range, x.shape))], x.shape)


def store(k: Builder, target: Memory, values: Elements) -> None:
    """Write all elements."""
    buffer = target.place.buffer
    for at in product(*map(range, target.shape)):
        k.store(buffer, target.index(k, at), values[at])
