"""Short rows with expensive work per row, in blocks of rows: the gradient of a logistic regression in one pass.

    for b in blocks of 64 rows:
        for r in b: z[r] = sum(x[r, c] * w[c] for c in vector)
        for r in vector b: g[r] = logistic(z[r]) - y[r]
        for c in vector: t[c] += sum(x[r, c] * g[r] for r in b)

What is known per row is computed for the whole block, in lanes; sums over rows stay in registers while a block goes by,
which is in the first cache by then.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from math import prod
from typing import Any

from ..core.ir import Var
from .emit import Emitter, identity, logical
from .nests import Buffer, Value
from .points import Node
from .steps import Kernel as Fused
from .steps import Root

ROWS = 64  # of a block
NARROWEST, WIDEST = 25, 512  # elements of a row, up to the widest a block stays in the first cache
DEAR = 8  # weight of an expression per row that is worth a pass of its own


class BlockEmitter(Emitter):
    """Builds the kernel of a step over short rows, block by block."""

    def __init__(self, step: Fused, stored: Sequence[Var], trusting: bool = False):
        super().__init__(step, stored, trusting)
        self.per_row: dict[
            int, Buffer
        ] = {}  # of the present block, by node; reductions by the value that stands for them
        self.sums: dict[Var, Buffer] = {}
        self.start: Value | None = None

    def pays(self) -> bool:
        """Whether this form suits the step."""
        step = self.step
        assert step.rows is not None
        if any(r.kind == "all" for r in self.roots):
            return False
        rows, columns = self.merged(step.rows), self.merged(step.columns)
        if len(rows) != 1 or len(columns) != 1 or step.rows != tuple(range(len(step.rows))):
            return False
        if self.extent(rows[0]) < 4 * ROWS:
            return False
        self.row_groups, self.column_groups = rows, columns
        return any(self.weights[n.number] >= DEAR for n in self.row_expressions())

    def bits(self, groups: Sequence[Sequence[int]]) -> int:
        return sum(1 << a for g in groups for a in g)

    def row_expressions(self) -> list[Node]:
        """What depends on the row alone and is used by what does not, or is a result."""
        columns = self.bits(self.column_groups)
        found: dict[int, Node] = {}
        for n in self.used:
            if self.varies(n, columns):
                found.update((a.number, a) for a in map(self.real, n.args) if self.of_row(a, columns))
        found.update(
            (n.number, n) for r in self.roots if r.kind == "row" and self.of_row(n := self.real(r.node), columns)
        )
        return [n for n in found.values() if n.kind not in ("const", "load", "value")]

    def varies(self, n: Node, columns: int) -> bool:
        return bool(n.deps & columns)

    def of_row(self, n: Node, columns: int) -> bool:
        return not n.deps & columns and bool(n.deps & self.bits(self.row_groups))

    def run(self) -> list[Any]:
        k = self.k
        self.lanes_on_rows = False
        n = self.count(self.row_groups)
        grain = self.grain(n, ROWS)
        self.parallel = (-(-n // grain), 1)
        with ExitStack() as stack:
            chunk = stack.enter_context(k.serial(k.begin, k.end))
            stack.callback(self.close_chunk, chunk)
            self.open_chunk(chunk)
            low = k.mul(chunk, k.dim(grain, "grain"))
            high = k.op("min", k.add(low, k.dim(grain, "grain")), k.dim(n, "rows"))
            size = k.const(ROWS, "i64")
            count = k.op("quot", k.add(k.sub(high, low), k.const(ROWS - 1, "i64")), size)
            block = stack.enter_context(k.serial(k.const(0, "i64"), count))
            self.start = k.add(low, k.mul(block, size))
            self.stop = k.op("min", k.add(self.start, size), high)
            self.block()
        return self.finish()

    def known_value(self, n: Node) -> Any:
        found = self.values.get(n.number)
        if found is not None and (type(found) is tuple or found.block.open):
            return found
        buffer = self.sums.get(n.payload) if n.kind == "value" else self.per_row.get(n.number)
        if buffer is not None:
            row = self.k.sub(self.vars[self.row_groups[0][-1]], self.start)
            value = self.values[n.number] = self.k.load(buffer, row)
            return value
        return super().known_value(n)

    def block(self) -> None:
        """The stages of a block of rows."""
        for s in range(max((self.stage(r) for r in self.roots), default=0) + 1):
            mine = [r for r in self.roots if self.stage(r) == s]
            self.pass_over_rows([n for n in self.row_expressions() if self.stages[n.number] == s], mine)
            inner = [r for r in mine if r.kind in ("full", "reduce")]
            if inner:
                self.rows_one_by_one(inner)
            columns = [r for r in mine if r.kind == "columns"]
            if columns:
                self.columns_in_registers(columns)

    def pass_over_rows(self, nodes: Sequence[Node], roots: Sequence[Root]) -> None:
        """What is known per row, in lanes."""
        k = self.k
        results = [r for r in roots if r.kind == "row"]
        dear = [n for n in nodes if self.weights[n.number] >= DEAR]
        if not results and not dear:
            return
        row = self.row_groups[0][-1]
        with k.vector(self.start, self.stop) as r:  # type: ignore[arg-type]
            self.vars[row] = r
            values = [self.value(n) for n in dear]
            for root in results:
                value = self.value(root.node)
                self.trust(root, value)
                self.store(root, value)
            for n, value in zip(dear, values, strict=True):
                if n.number not in self.per_row:
                    self.per_row[n.number] = k.scratch(n.type, ROWS)
                k.store(self.per_row[n.number], k.sub(r, self.start), value)  # type: ignore[arg-type]

    def rows_one_by_one(self, roots: Sequence[Root]) -> None:
        """Results that need their own row only."""
        k = self.k
        with k.serial(self.start, self.stop) as r:  # type: ignore[arg-type]
            self.vars[self.row_groups[0][-1]] = r
            sums = {root: self.accumulator(root) for root in roots if root.kind == "reduce"}
            full = [root for root in roots if root.kind == "full"]
            guard = None
            if any(self.real(root.node).number in self.doubtful for root in full):
                guard = k.accumulator("add", k.const(0, full[0].node.type))
            with k.vector(k.const(0, "i64"), k.dim(self.count(self.column_groups), "columns")) as c:
                self.vars[self.column_groups[0][-1]] = c
                values = [self.value(root.node) for root in roots]
                for root, value in zip(roots, values, strict=True):
                    if root.kind == "reduce":
                        k.update(sums[root], value)
                        continue
                    if guard is not None and value.type == guard.type:
                        k.update(guard, k.sub(value, value))
                    self.store(root, value)
            if guard is not None:
                self.sound(k.read(guard))
            for root, accumulator in sums.items():
                value = k.read(accumulator)
                self.trust(root, value)
                if root.var not in self.sums:
                    self.sums[root.var] = k.scratch(root.node.type, ROWS)
                k.store(self.sums[root.var], k.sub(r, self.start), value)  # type: ignore[arg-type]
                if root.var in self.stored:
                    self.store(root, value)

    def columns_in_registers(self, roots: Sequence[Root]) -> None:
        """Sums over the rows of the block, added to those of the chunk."""
        k = self.k
        with k.vector(k.const(0, "i64"), k.dim(self.count(self.column_groups), "columns")) as c:
            self.vars[self.column_groups[0][-1]] = c
            sums = {}
            for root in roots:
                op = logical(root.op or "", root.node.type)
                sums[root] = k.accumulator(op, k.const(identity(op, root.node.type), root.node.type))
            with k.serial(self.start, self.stop) as r:  # type: ignore[arg-type]
                self.vars[self.row_groups[0][-1]] = r
                values = [self.value(root.node) for root in roots]
                for root, value in zip(roots, values, strict=True):
                    k.update(sums[root], value)
            for root, accumulator in sums.items():
                value = k.read(accumulator)
                self.trust(root, value)
                self.add_column(root, value)


def emitter(step: Fused, stored: Sequence[Var], trusting: bool) -> Emitter:
    """The emitter of the form that suits a step."""
    if step.rows is not None and NARROWEST <= prod(step.shape[a] for a in step.columns) <= WIDEST:
        blocks = BlockEmitter(step, stored, trusting)
        if blocks.pays():
            return blocks
    return Emitter(step, stored, trusting)
