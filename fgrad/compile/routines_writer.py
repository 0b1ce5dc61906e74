"""What the kernels of `routines` are written with: the operands of an equation, and index arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from ..core.ir import Eqn, Literal
from .emit import CHUNK, CHUNKS, Launch
from .nests import Buffer, Builder, Value
from .scalars import type_name

_PARTS = {np.dtype("c8"): "f32", np.dtype("c16"): "f64"}


class Writer:
    """The kernel of one equation as it is written; its inputs, then its outputs, are operands 0, 1, ...

    Complex numbers are pairs of floats along one more axis, for kernels that need not know better.
    """

    def __init__(self, e: Eqn):
        self.k = Builder()
        self.eqn = e
        self.atoms = (*e.inputs, *e.outputs)
        self.operands: list[int] = []
        self.buffers: dict[int, Buffer] = {}
        self.parallel = (1, 1)  # extent and grain
        self.cost = 0.0

    def known(self, number: int) -> bool:
        """Whether kernels have a type for the elements of an operand, or for their parts."""
        dtype = self.atoms[number].type.dtype
        return dtype in _PARTS or type_name(dtype) is not None

    def type(self, number: int) -> str:
        """The kernel type of an operand."""
        dtype = self.atoms[number].type.dtype
        found = _PARTS.get(dtype) or type_name(dtype)
        assert found is not None
        return found

    def shape(self, number: int) -> tuple[int, ...]:
        """The shape of an operand, with the axis of parts that complex numbers have."""
        t = self.atoms[number].type
        return (*t.shape, 2) if t.dtype in _PARTS else t.shape

    def complex(self, number: int) -> bool:
        """Whether an operand has parts."""
        return self.atoms[number].type.dtype in _PARTS

    def buffer(self, number: int, mode: str = "in") -> Buffer:
        """The memory of an operand."""
        found = self.buffers.get(number)
        if found is None:
            found = self.buffers[number] = self.k.buffer(self.type(number), mode)
            self.operands.append(number)
        return found

    def integer(self, number: int, at: Value) -> Value:
        """An element of an operand of integers, as i64."""
        a = self.atoms[number]
        if type(a) is Literal:
            return self.k.dim(int(a.value), f"index {number}")
        return self.k.cast(self.k.load(self.buffer(number), at), "i64")

    def zero(self) -> Value:
        return self.k.const(0, "i64")

    def grain(self, extent: int, multiple: int = 1) -> int:
        """Units of the parallel axis in a chunk, by the cost of all of them."""
        chunks = max(1, min(CHUNKS, int(self.cost / CHUNK), extent))
        units = -(-extent // chunks)
        return -(-units // multiple) * multiple

    def launch(self) -> Launch:
        """The finished kernel; its operands are numbers."""
        launch = Launch(self.k.finish(), self.operands, self.k.dims, *self.parallel)
        launch.cost = self.cost
        launch.flops = self.atoms[-1].type.size
        return launch


def digits(k: Builder, number: Value, extents: Sequence[int]) -> list[Value]:
    """The multi-index of an element number."""
    out, behind = [], prod(extents)
    for i, n in enumerate(extents):
        behind //= n
        q = number if behind == 1 else k.op("quot", number, k.dim(behind, f"behind {i}"))
        out.append(k.op("rest", q, k.dim(n, f"digit {i}")) if i else q)
    return out


def combined(k: Builder, op: str, a: Value, b: Value) -> Value:
    """One of the accumulations of `nests`, or a function, on numbers or booleans."""
    logical: dict[str, str] = {"add": "or", "max": "or", "mul": "and", "min": "and"}
    return k.op(logical.get(op, op) if a.type == "bool" else op, a, b)


__all__ = ["Writer", "combined", "digits"]
