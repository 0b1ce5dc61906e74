"""Kernels drawn at random: nests of loops around whatever operations fit together.

Every float that a renderer may compute in another order (a sum, a product) is only stored, never computed with, so all
outputs but those agree bit for bit.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from kernels import Sample, empty, guarded, numbers, ops_of, special

from fgrad.compile.nests import Builder, Value
from fgrad.compile.scalars import FLOATS, TYPES, dtype_of, size_of


def random_kernel(seed: int) -> Sample:
    """The sample with this number."""
    return _Random(seed).sample()


class _Random:
    """One kernel in the making.

    `scopes` are the values known in the open blocks, outermost first; `axes` the loops around, as (index, extent);
    `uniform` counts the scopes outside the vector loop.
    """

    def __init__(self, seed: int):
        self.seed = seed
        self.rng = random.Random(seed)
        self.k = Builder()
        self.operands: list[np.ndarray] = []
        self.scopes: list[list[Value]] = [[]]
        self.axes: list[tuple[Value, int]] = []
        self.uniform: int | None = None
        self.tolerance: dict[str, float] = {}
        self.types = self.rng.sample(TYPES, 4) + ["f32", "i64"]
        self.budget = 60

    def sample(self) -> Sample:
        extent = self.rng.choice([1, 3, 8, 13, 40])
        for n in (extent, 2, 17):
            self.scopes[0].append(self.k.dim(n))
        self.loop(extent, outermost=True)
        return Sample(f"random {self.seed}", self.k, self.operands, extent, **self.tolerance)

    # --------------------------------------------------------------------------------------------------------- values

    def known(self, type: str, uniform: bool = False) -> list[Value]:
        scopes = self.scopes[: self.uniform] if uniform and self.uniform is not None else self.scopes
        return [v for scope in scopes for v in scope if v.type == type]

    def value(self, type: str) -> Value:
        """Any value of a type: one that is there, a constant, or a conversion."""
        known = self.known(type)
        draw = self.rng.random()
        if known and draw < 0.8:
            return self.rng.choice(known[-8:])
        if draw < 0.9 or not (others := [v for scope in self.scopes for v in scope if v.type != type]):
            return self.k.const(self.rng.choice(list(special(type))), type)
        return self.k.cast(self.rng.choice(others), type)

    def plain(self, v: Value) -> Value:
        """Without NaNs, whose bits are free."""
        return self.k.select(self.k.op("eq", v, v), v, self.k.const(0, v.type)) if v.type in FLOATS else v

    def operation(self) -> None:
        k, type = self.k, self.rng.choice(self.types)
        draw = self.rng.random()
        if draw < 0.15:
            found = k.select(self.value("bool"), self.value(type), self.value(type))
        elif draw < 0.25:
            found = k.cast(self.value(self.rng.choice(self.types)), type)
        elif draw < 0.35 and type != "bool":
            same = [t for t in TYPES if t != "bool" and size_of(t) == size_of(type)]
            found = k.op("bits", self.plain(self.value(self.rng.choice(same))), type=type)
            found = self.plain(found)
        elif draw < 0.42 and type in FLOATS:
            found = k.op("fma", *[self.value(type) for _ in range(3)])
        else:
            count = self.rng.choice([1, 2, 2])
            op = self.rng.choice(ops_of(type)[count])
            args = [self.value(type) for _ in range(count)]
            if op == "copysign":
                args[1] = self.plain(args[1])
            found = guarded(k, op, *args) if count == 2 else k.op(op, *args)
        self.scopes[-1].append(found)

    # --------------------------------------------------------------------------------------------------------- memory

    def place(self, every: bool) -> tuple[Value, int]:
        """An index that is affine in the axes (in each of them, if `every`), and the size that it needs."""
        k, terms, offset, size = self.k, [], 0, 1
        axes = self.rng.sample(self.axes, len(self.axes))
        for index, n in axes:
            if not every and self.rng.random() < 0.3:
                continue
            stride = size * self.rng.choice([1, 1, 1, 2, 3])
            size = stride * n
            if self.rng.random() < 0.2:
                offset += stride * (n - 1)
                stride = -stride
            terms.append((index, k.dim(stride)))
        return k.affine(terms, k.dim(offset)), size

    def shifted(self, at: Value) -> tuple[Value, Value]:
        """The index moved, to below its buffer here and there, and a mask that holds at most where it is inside."""
        k = self.k
        moved = k.sub(at, k.dim(self.rng.choice([1, 2, 5])))
        inside = k.op("ge", moved, k.const(0, "i64"))
        return moved, k.op("and", inside, self.value("bool"))

    def load(self) -> None:
        k, type = self.k, self.rng.choice(self.types)
        at, size = self.place(False)
        values = numbers(type, size, self.seed)
        if self.rng.random() < 0.5:
            values = np.random.default_rng(self.seed).choice(special(type), size)
        self.operands.append(values)
        buffer = k.buffer(type, "in")
        if self.rng.random() < 0.25:
            moved, wanted = self.shifted(at)
            found = k.load(buffer, moved, wanted, self.value(type))
        else:
            found = k.load(buffer, at)
        self.scopes[-1].append(found)

    def gather(self) -> None:
        k, type = self.k, self.rng.choice(self.types)
        at, size = self.place(False)
        n = self.rng.choice([4, 50])
        kind = self.rng.choice(["i32", "i64", "u8"])
        self.operands.append(np.random.default_rng(self.seed).integers(0, n, size).astype(dtype_of(kind)))
        indices = k.buffer(kind, "in")
        self.operands.append(numbers(type, n, self.seed))
        table = k.buffer(type, "in")
        where = k.cast(k.load(indices, at), "i64")
        k.check(k.op("lt", where, k.dim(n)), where, k.dim(n))
        self.scopes[-1].append(k.load(table, where))

    def store(self, value: Value, tolerance: float | None = None) -> None:
        k = self.k
        at, size = self.place(True)
        if tolerance is not None:
            self.tolerance[f"p{len(self.operands)}"] = tolerance
        self.operands.append(empty(value.type, size))
        buffer = k.buffer(value.type, "out")
        if self.rng.random() < 0.2 and tolerance is None:
            moved, wanted = self.shifted(at)
            k.store(buffer, moved, value, wanted)
        else:
            k.store(buffer, at, value)

    # ---------------------------------------------------------------------------------------------------------- loops

    def body(self) -> None:
        """A few statements, and perhaps a loop."""
        self.load()
        for _ in range(self.rng.randint(1, 4)):
            for _ in range(self.rng.randint(1, 8)):
                self.operation()
            self.budget -= 1
            if self.budget < 0:
                break
            self.rng.choice([self.load, self.gather, self.branch, self.recurrence, self.reduction, self.inner])()
        for _ in range(self.rng.randint(1, 2)):
            known = [v for scope in self.scopes[1:] for v in scope]
            self.store(self.rng.choice(known[-6:]))

    def enter(self, index: Value, n: int) -> None:
        self.axes.append((index, n))
        self.scopes.append([index])

    def leave(self) -> None:
        self.axes.pop()
        self.scopes.pop()

    def loop(self, n: int, outermost: bool = False) -> None:
        k = self.k
        start, stop = (k.begin, k.end) if outermost else (k.dim(0), k.dim(n))
        vector = self.uniform is None and self.rng.random() < (0.5 if outermost else 0.8)
        with (k.vector if vector else k.serial)(start, stop) as index:
            if vector:
                self.uniform = len(self.scopes)
            self.enter(index, n)
            self.body()
            self.leave()
        if vector:
            self.uniform = None

    def extent(self) -> int:
        return self.rng.choice([1, 2, 5, 17, 33])

    def inner(self) -> None:
        if len(self.axes) < 3:
            self.budget -= 10
            self.loop(self.extent())

    def branch(self) -> None:
        known = self.known("bool", uniform=True)
        if known:
            with self.k.branch(self.rng.choice(known)):
                self.scopes.append([])
                self.load()
                self.operation()
                self.store(self.scopes[-1][-1])
                self.scopes.pop()

    def recurrence(self) -> None:
        """A variable that a serial loop assigns to; floats are kept from becoming NaN for good."""
        k, type = self.k, self.rng.choice(self.types)
        n = self.extent()
        variable = k.variable(self.plain(self.value(type)))
        with k.serial(k.dim(0), k.dim(n)) as index:
            self.enter(index, n)
            self.scopes[-1].append(k.read(variable))
            self.load()
            for _ in range(4):
                self.operation()
            k.assign(variable, self.plain(self.value(type)))
            self.leave()
        self.scopes[-1].append(k.read(variable))

    def reduction(self) -> None:
        """Accumulators, over a loop or over one in another."""
        k, type = self.k, self.rng.choice(self.types)
        exact = type not in FLOATS
        kinds = ["and", "or"] if type == "bool" else ["add", "mul", "max", "min"]
        accumulators = []
        for kind in self.rng.sample(kinds, 2):
            start = self.plain(self.value(type)) if exact or kind in ("max", "min") else k.const(1, type)
            if type in FLOATS:
                start = k.add(start, k.const(0, type))
            accumulators.append((kind, k.accumulator(kind, start)))
        n = self.extent()
        vector = self.uniform is None and self.rng.random() < 0.7
        with (k.vector if vector else k.serial)(k.dim(0), k.dim(n)) as index:
            if vector:
                self.uniform = len(self.scopes)
            self.enter(index, n)
            self.load()
            for _ in range(3):
                self.operation()
            if self.rng.random() < 0.3:
                with k.serial(k.dim(0), k.dim(3)) as inner:
                    self.enter(inner, 3)
                    self.update(accumulators, type)
                    self.leave()
            else:
                self.update(accumulators, type)
            self.leave()
        if vector:
            self.uniform = None
        for kind, accumulator in accumulators:
            if exact or kind in ("max", "min"):
                self.scopes[-1].append(k.read(accumulator))
            else:
                self.store(k.read(accumulator), 1e-3 if type == "f32" else 1e-10)

    def update(self, accumulators: list[Any], type: str) -> None:
        k = self.k
        for kind, accumulator in accumulators:
            v = self.value(type)
            if type in FLOATS and kind in ("max", "min"):
                v = k.add(v, k.const(0, type))  # of 0.0 and -0.0 either may win
            elif type in FLOATS:
                low, high = (0.9, 1.1) if kind == "mul" else (-3.0, 3.0)
                inside = k.op("and", k.op("ge", v, k.const(low, type)), k.op("le", v, k.const(high, type)))
                v = k.select(inside, v, k.const(1, type))
            k.update(accumulator, v)
