"""From a fused step to loop nests: axes are merged, loops chosen, and the roots' expressions built into them.

A step without row reductions is a map, for a 2-d domain

    for r in rows: for c in vector: o[r, c] = ...

A step with row reductions goes over each row in stages, while the row is in cache (a softmax has three):

    for r in rows:
        for c in vector: m = max(m, x[r, c])
        for c in vector: e = exp(x[r, c] - m); s += e; keep[c] = e
        for c in vector: o[r, c] = keep[c] / s

Reductions over rows ("columns") and over everything ("all") accumulate per chunk of rows, in memory of the chunk's own,
and a second kernel adds the chunks up: the chunks depend on the shape alone, so the bits do not depend on threads.
Where the last axis is not reduced, or rows are short, lanes go across rows instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from math import prod
from typing import Any

import numpy as np

from ..core.ir import Var
from .expressions import NAN_MET, Expressions
from .forms import Form, linear
from .nests import STATIC, Accumulator, Builder, Kernel, Value
from .points import Node
from .scalars import FLOATS, dtype_of, size_of
from .steps import Kernel as Fused
from .steps import Root

BLOCK = 2048  # floats that are added up at single precision before the sum goes to a wider accumulator
SHORT = 24  # rows up to this length are worked on across rows
SPILL = 8192  # elements of a row that may be kept for a later stage
CHUNK = 8000.0  # nanoseconds of work that make a chunk worth handing out
CHUNKS = 64  # most chunks of a kernel


class Temporary:
    """Memory between the kernels of one step: partial results of chunks."""

    __slots__ = ("length", "type")

    def __init__(self, type: str, length: int):
        self.type, self.length = type, length


class Launch:
    """A kernel with its operands (variables and temporaries, in order), run-time dims and parallel axis.

    `cost` is in nanoseconds on one core. `overwrites`: pairs (input, output) of operand numbers that may be one array.
    """

    __slots__ = ("cost", "dims", "extent", "flops", "grain", "kernel", "operands", "overwrites")

    def __init__(self, kernel: Kernel, operands: Sequence[Any], dims: Sequence[int], extent: int, grain: int):
        self.kernel, self.operands, self.dims = kernel, tuple(operands), tuple(dims)
        self.extent, self.grain = extent, grain
        self.cost = 0.0
        self.flops = 0
        self.overwrites: tuple[tuple[int, int], ...] = ()

    def renamed(self, names: dict[Any, Any]) -> Launch:
        """The same launch on other operands."""
        new = Launch(self.kernel, [names[a] for a in self.operands], self.dims, self.extent, self.grain)
        new.cost, new.flops, new.overwrites = self.cost, self.flops, self.overwrites
        return new


def identity(op: str, type: str) -> Any:
    """The neutral element of an accumulation."""
    if op in ("max", "min"):
        if type in FLOATS:
            return -np.inf if op == "max" else np.inf
        if type == "bool":
            return op == "min"
        info = np.iinfo(dtype_of(type))
        return info.min if op == "max" else info.max
    return {"add": 0, "mul": 1, "and": True, "or": False}[op]


def logical(op: str, type: str) -> str:
    """The accumulation of booleans."""
    return {"add": "or", "max": "or", "mul": "and", "min": "and"}.get(op, op) if type == "bool" else op


class Emitter(Expressions):
    """Builds the kernels of one fused step."""

    def __init__(self, step: Fused, stored: Sequence[Var], trusting: bool = False):
        super().__init__(step, stored, trusting)
        self.totals: dict[Root, Accumulator] = {}
        self.partial: dict[Root, Any] = {}

    def run(self) -> list[Launch]:
        """The launches of the step."""
        step = self.step
        if step.rows is None:
            groups = self.merged(range(len(step.shape)))
            rows, columns = groups[:-1], groups[-1:]
        else:
            rows, columns = self.merged(step.rows), self.merged(step.columns)
        self.row_groups, self.column_groups = rows, columns
        chunked = any(r.kind in ("columns", "all") for r in self.roots)
        self.lanes_on_rows = False
        if step.rows is not None and not chunked:
            short = self.count(columns) <= SHORT and self.count(rows) >= 64
            self.lanes_on_rows = short or len(step.shape) - 1 in rows[-1]
        with ExitStack() as stack:
            if chunked:
                self.chunks(stack)
            elif self.lanes_on_rows:
                self.rows_in_lanes(stack)
            elif rows:
                self.parallel = (self.count(rows), self.grain(self.count(rows)))
                self.row_variables(rows, stack.enter_context(self.k.serial(self.k.begin, self.k.end)))
                self.row()
            else:
                self.parallel = (self.count(columns), self.grain(self.count(columns), 64))
                self.row((self.k.begin, self.k.end))
        return self.finish()

    def count(self, groups: Sequence[Sequence[int]]) -> int:
        return prod(self.extent(g) for g in groups)

    def chunks(self, stack: ExitStack) -> None:
        """Chunks of rows, or of the only row, each with accumulators of its own."""
        k, rows = self.k, self.row_groups
        n = self.count(rows or self.column_groups)
        grain = self.grain(n, 1 if rows else 64)
        self.parallel = (-(-n // grain), 1)
        chunk = stack.enter_context(k.serial(k.begin, k.end))
        stack.callback(self.close_chunk, chunk)
        self.open_chunk(chunk)
        low = k.mul(chunk, k.dim(grain, "grain"))
        high = k.op("min", k.add(low, k.dim(grain, "grain")), k.dim(n, "rows"))
        if not rows:
            self.row((low, high))
        elif self.narrow():
            self.lanes_down(low, high)
        else:
            with k.serial(low, high) as r:
                self.row_variables(rows, r)
                self.row()

    def narrow(self) -> bool:
        """Whether rows are so short that all sums over columns stay in registers, and nothing else is asked of them."""
        plain = all(r.kind in ("full", "columns") and self.real(r.node).number not in self.doubtful for r in self.roots)
        return plain and len(self.column_groups) == 1 and self.count(self.column_groups) <= STATIC

    def lanes_down(self, low: Value, high: Value) -> None:
        """Each lane goes down a column of the chunk."""
        k, (columns,) = self.k, self.column_groups
        with k.vector(k.const(0, "i64"), k.dim(self.extent(columns), "columns")) as c:
            self.vars[columns[-1]] = c
            sums = {}
            for r in self.partial:
                op, type = logical(r.op or "", r.node.type), r.node.type
                sums[r] = k.accumulator(op, k.const(identity(op, type), type))
            with k.serial(low, high) as row:
                self.row_variables(self.row_groups, row)
                values = [self.value(r.node) for r in self.roots]  # all reads before the first write
                for r, value in zip(self.roots, values, strict=True):
                    if r in sums:
                        k.update(sums[r], value)
                    else:
                        self.store(r, value)
            for r, total in sums.items():
                k.store(self.buffer(self.partial[r], total.type, "out"), k.add(self.first, c), k.read(total))

    def rows_in_lanes(self, stack: ExitStack) -> None:
        """Each lane has a row of its own."""
        k = self.k
        *outer, inner = self.row_groups
        n = self.extent(inner)
        low, high = k.begin, k.end
        if outer:
            self.parallel = (self.count(outer), self.grain(self.count(outer)))
            self.row_variables(outer, stack.enter_context(k.serial(k.begin, k.end)))
            low, high = k.const(0, "i64"), k.dim(n, "rows")
        else:
            self.parallel = (n, self.grain(n, 16))
        self.vars[inner[-1]] = stack.enter_context(k.vector(low, high))
        self.row()

    def grain(self, extent: int, align: int = 1) -> int:
        """Units of the parallel axis in a chunk: fixed by the shape alone."""
        chunks = int(min(max(self.cost() / CHUNK, 1), CHUNKS, max(extent, 1)))
        return -(-max(-(-extent // chunks), 1) // align) * align

    def cost(self) -> float:
        """Estimated nanoseconds on one core."""
        size = max((size_of(n.type) for n in self.used), default=4)
        return 20.0 + self.elements() * (0.02 * self.operations() * size / 4 + 0.02 * size)

    def operations(self) -> int:
        """Weight of what is computed for each element."""
        weights = [self.own_weight(n) for n in self.used if n.deps]
        return sum(weights) + sum(r.op is not None for r in self.roots)

    def elements(self) -> int:
        return prod(self.step.shape)

    def row_variables(self, groups: Sequence[Sequence[int]], r: Value) -> None:
        """Loop variables of several axes from the number of the row."""
        k = self.k
        for i, g in enumerate(groups):
            behind = self.count(groups[i + 1 :])
            value = r if behind == 1 else k.op("quot", r, k.dim(behind, "rows"))
            self.vars[g[-1]] = k.op("rest", value, k.dim(self.extent(g), f"row axis {i}")) if i else value

    def row(self, bounds: tuple[Value, Value] | None = None) -> None:
        """The stages of one row, or of the part of it within bounds."""
        for s in range(max((self.stage(r) for r in self.roots), default=0) + 1):
            mine = [r for r in self.roots if self.stage(r) == s]
            for r in mine:
                if r.kind == "row":
                    value = self.value(r.node)
                    self.trust(r, value)
                    self.store(r, value)
            inner = [r for r in mine if r.kind != "row"]
            if not inner:
                continue
            sums = {r: self.accumulator(r) for r in inner if r.kind == "reduce"}
            keep = self.keep(inner, s)
            shaky = [r for r in inner if r.kind in ("full", "columns") and self.real(r.node).number in self.doubtful]
            guards = {
                type: self.k.accumulator("add", self.k.const(0, type)) for type in sorted({r.node.type for r in shaky})
            }
            with ExitStack() as stack:
                inside = self.columns_loop(stack, bounds, sums)
                values = [self.value(r.node) for r in inner]  # all reads before the first write: outputs may be inputs
                kept = [self.value(n) for n in keep]
                for value in dict.fromkeys(v for r, v in zip(inner, values, strict=True) if r in shaky):
                    self.k.update(guards[value.type], self.k.sub(value, value))
                for r, value in zip(inner, values, strict=True):
                    if r.kind == "full":
                        self.store(r, value)
                    elif r.kind == "columns":
                        self.add_column(r, value)
                    else:
                        self.k.update(inside[r], value)
                for n, value in zip(keep, kept, strict=True):
                    length = 1 << max(self.count(self.column_groups) - 1, 255).bit_length()
                    buffer = self.k.scratch(n.type, length)
                    self.k.store(buffer, self.position(self.column_number()), value)
                    self.spilled[n.number] = (buffer, False)
            for guard in guards.values():
                self.sound(self.k.read(guard))
            for r in inner:
                if r.kind == "full":
                    self.spilled[self.real(r.node).number] = (self.buffers[r.var], True)
            for r, accumulator in sums.items():
                self.reduced[r.var] = self.k.cast(self.k.read(accumulator), r.node.type)
                self.trust(r, self.reduced[r.var])
                if r.var in self.stored:
                    self.store(r, self.reduced[r.var])

    def trust(self, r: Root, value: Value) -> None:
        """Stop if a result that depends on a product taken at its word is NaN."""
        if self.real(r.node).number in self.doubtful:
            self.sound(value)

    def sound(self, value: Value) -> None:
        self.k.check(self.k.op("eq", value, value), self.k.const(0, "i64"), self.k.const(NAN_MET, "i64"))

    def column_number(self) -> Form:
        """The number of an element within its row."""
        axes = [a for g in self.column_groups for a in g]
        return linear([self.step.identity[a] for a in axes], [self.step.shape[a] for a in axes])

    def row_number(self) -> Form:
        """The number of a row."""
        axes = self.step.rows or ()
        return linear([self.step.identity[a] for a in axes], [self.step.shape[a] for a in axes])

    def store(self, r: Root, value: Value) -> None:
        form = linear(self.step.identity, self.step.shape) if r.kind == "full" else self.row_number()
        self.k.store(self.buffer(r.var, r.node.type, "out"), self.position(form), value)

    def keep(self, roots: Sequence[Root], s: int) -> list[Node]:
        """Expressions of this stage that a later one needs and that are dear to compute again."""
        later = [r.node for r in self.roots if self.stage(r) > s]
        if not later or self.lanes_on_rows or self.count(self.column_groups) > SPILL:
            return []
        columns = sum(1 << a for g in self.column_groups for a in g)
        here = {n.number for n in self.reached([r.node for r in roots], frozenset())}
        stored = frozenset(self.real(r.node).number for r in roots if r.kind == "full") | frozenset(self.spilled)
        dear = {
            n.number
            for n in self.used
            if n.number in here and n.deps & columns and self.weights[n.number] >= 8 and n.kind != "value"
        }
        border = [n for n in self.reached(later, frozenset(dear) | stored) if n.number in dear - stored]
        return sorted(border, key=lambda n: n.number)

    def reached(self, starts: Sequence[Node], border: frozenset[int]) -> list[Node]:
        """The expressions that computing `starts` takes, down to those on the border."""
        found: dict[int, Node] = {}
        todo = [self.real(n) for n in starts]
        while todo:
            n = todo.pop()
            if n.number in found:
                continue
            found[n.number] = n
            if n.number not in border:
                todo.extend(self.real(a) for a in n.args)
        return list(found.values())

    def accumulator(self, r: Root) -> Accumulator:
        """The accumulator of a reduction; of many floats, a wide one to which blocks are handed over."""
        op, type = logical(r.op or "", r.node.type), r.node.type
        if op == "add" and type == "f32" and self.blocks(r):
            type = "f64"
        return self.k.accumulator(op, self.k.const(identity(op, type), type))

    def blocks(self, r: Root) -> bool:
        """Whether a reduction adds up so many floats that it goes block by block."""
        length = self.count(self.column_groups) if r.kind == "reduce" or not self.row_groups else self.elements()
        return r.op == "add" and r.node.type in FLOATS and length > BLOCK

    def columns_loop(
        self, stack: ExitStack, bounds: tuple[Value, Value] | None, sums: dict[Root, Accumulator]
    ) -> dict[Root, Accumulator]:
        """Open the loops over the columns; returns the accumulators to update in there."""
        k, columns = self.k, self.column_groups
        inside = {**sums, **self.totals}
        if not columns:
            return inside
        zero = k.const(0, "i64")
        for g in columns[:-1]:
            self.vars[g[-1]] = stack.enter_context(k.serial(zero, k.dim(self.extent(g), f"column axis {g[0]}")))
        low, high = bounds or (zero, k.dim(self.extent(columns[-1]), "columns"))
        blocked = [r for r in inside if self.blocks(r)]
        if blocked:
            count = k.op("quot", k.add(k.sub(high, low), k.const(BLOCK - 1, "i64")), k.const(BLOCK, "i64"))
            low = k.add(low, k.mul(stack.enter_context(k.serial(zero, count)), k.const(BLOCK, "i64")))
            high = k.op("min", k.add(low, k.const(BLOCK, "i64")), high)
            for r in blocked:
                block = k.accumulator("add", k.const(0, r.node.type))
                stack.callback(self.hand_over, inside[r], block)
                inside[r] = block
        loop = k.serial if self.lanes_on_rows else k.vector
        self.vars[columns[-1][-1]] = stack.enter_context(loop(low, high))
        return inside

    def hand_over(self, whole: Accumulator, block: Accumulator) -> None:
        self.k.update(whole, self.k.cast(self.k.read(block), whole.type))

    # --------------------------------------------------------------------------------------------------------- chunks

    def open_chunk(self, chunk: Value) -> None:
        """Start the chunk's accumulators: scalars, and rows of memory."""
        k = self.k
        self.totals = {r: self.accumulator(r) for r in self.roots if r.kind == "all"}
        width = self.count(self.column_groups)
        columns = [r for r in self.roots if r.kind == "columns"]
        for r in columns:
            count = self.parallel[0]
            self.partial[r] = r.var if count == 1 else Temporary(r.node.type, count * width)
        if columns:
            self.first = k.mul(chunk, k.dim(width, "columns"))
        if columns and not self.narrow():
            with k.vector(k.const(0, "i64"), k.dim(width, "columns")) as c:
                for r in columns:
                    neutral = k.const(identity(r.op or "", r.node.type), r.node.type)
                    k.store(self.buffer(self.partial[r], r.node.type, "out"), k.add(self.first, c), neutral)

    def add_column(self, r: Root, value: Value) -> None:
        k = self.k
        buffer, index = self.buffers[self.partial[r]], k.add(self.first, self.position(self.column_number()))
        k.store(buffer, index, k.op(logical(r.op or "", r.node.type), k.load(buffer, index), value))

    def close_chunk(self, chunk: Value) -> None:
        k = self.k
        for r, accumulator in self.totals.items():
            value = k.read(accumulator)
            self.trust(r, value)
            if self.parallel[0] == 1:
                k.store(self.buffer(r.var, r.node.type, "out"), chunk, k.cast(value, r.node.type))
            else:
                self.partial[r] = Temporary(value.type, self.parallel[0])
                k.store(self.buffer(self.partial[r], value.type, "out"), chunk, value)

    def finish(self) -> list[Launch]:
        """The kernel, and those that put the chunks' results together."""
        launches = [Launch(self.k.finish(), self.operands, self.k.dims, *self.parallel)]
        first = launches[0]
        first.cost = self.cost()
        first.flops = self.elements() * self.operations()
        first.overwrites = self.overwrites()
        for r, partial in self.partial.items():
            if partial is not r.var:
                width = self.count(self.column_groups) if r.kind == "columns" else 1
                launches.append(put_together(r, partial, self.parallel[0], width))
        return launches

    def overwrites(self) -> tuple[tuple[int, int], ...]:
        """Pairs (input, output) of operands that may be one array: read nowhere but at the index that is written."""
        if self.partial:
            return ()
        whole = linear(self.step.identity, self.step.shape)
        last = max((self.stage(r) for r in self.roots), default=0)
        forms: dict[Var, set[Form]] = {}
        for n in self.used:
            if n.kind == "load":
                forms.setdefault(n.payload[0], set()).add(n.payload[1])
        out = []
        for r in self.roots:
            if r.kind == "full" and self.stage(r) == last and r.var in self.stored:
                for v, read in forms.items():
                    if read == {whole} and v.type.dtype.itemsize == r.var.type.dtype.itemsize and v in self.buffers:
                        out.append((self.buffers[v].number, self.buffers[r.var].number))
        return tuple(out)


def put_together(r: Root, partial: Temporary, chunks: int, width: int) -> Launch:
    """The kernel that accumulates the results of the chunks, in order."""
    k = Builder()
    source, target = k.buffer(partial.type, "in"), k.buffer(r.node.type, "out")
    op = logical(r.op or "", partial.type)
    zero, start = k.const(0, "i64"), k.const(identity(op, partial.type), partial.type)
    if width == 1:
        total = k.accumulator(op, start)
        with k.vector(zero, k.dim(chunks, "chunks")) as c:
            k.update(total, k.load(source, c))
        k.store(target, zero, k.cast(k.read(total), r.node.type))
    else:
        with k.vector(k.begin, k.end) as c:
            total = k.accumulator(op, start)
            with k.serial(zero, k.dim(chunks, "chunks")) as row:
                k.update(total, k.load(source, k.add(k.mul(row, k.dim(width, "columns")), c)))
            k.store(target, c, k.cast(k.read(total), r.node.type))
    launch = Launch(k.finish(), [partial, r.var], k.dims, width, max(-(-width // 64) * 64, 1024))
    launch.cost = 20.0 + chunks * width * 0.1
    launch.flops = chunks * width
    return launch
