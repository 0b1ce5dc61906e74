"""A planned program as text for people: fused steps, loop nests, Python and LLVM source, thunks and memory.

0    kernel over 200x100 (rows 0; columns 1)
       b = max over columns
       j -> memory
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import indent
from typing import Any

from ..core.show import Names
from . import engine, render_llvm, render_python
from .analysis import MemoryPlan, memory_plan, type_text, works
from .emit import Temporary
from .nests import Kernel
from .plan import Item, Plan, Thunk
from .steps import Call, Root


class Report:
    """The texts of one plan; variables have the names that they have in the final program.

    inputs, outputs: what people call its arguments and results. title: what it is in another program. `loops`: reports
    of the programs in loops, by item.
    """

    def __init__(self, plan: Plan, inputs: Sequence[str], outputs: Sequence[str], title: str = ""):
        self.plan, self.title = plan, title
        self.names = Names(plan.jaxpr)
        self.inputs, self.outputs = inputs, outputs
        self.kernels: dict[str, list[int]] = {}  # the items of each kernel
        self.items_of: dict[int, list[int]] = {}  # of steps and of calls' equations, by identity
        for number, item in enumerate(plan.items):
            if item.kernel is not None:
                self.kernels.setdefault(item.kernel.name, []).append(number)
            self.items_of.setdefault(id(item.step or item.eqn), []).append(number)
        self.loops: dict[int, list[Report]] = {}
        for number, item in enumerate(plan.items):
            for inner in item.inner:
                times = "" if inner.times is None else f", {inner.times} times"
                name = f"{title}item {number}, {inner.title}{times}: "
                report = Report(inner.plan, inner.inputs, inner.outputs, name)
                self.loops.setdefault(number, []).append(report)

    def all(self) -> Iterator[Report]:
        """This report and those of all loops."""
        yield self
        for reports in self.loops.values():
            for report in reports:
                yield from report.all()

    def head(self) -> str:
        """What a program in a loop is, and the types of its inputs and outputs."""
        left, right = (" ".join(map(self.typed, side)) for side in (self.plan.inputs, self.plan.results))
        return f"{self.title}{left} -> {right}"

    def typed(self, v: Any) -> str:
        """`a:float32[3]`, of temporaries too."""
        return f"{self.names.atom(v)}:{type_text(v)}"

    # ---------------------------------------------------------------------------------------------------------- steps

    def steps(self) -> str:
        """What is computed together, and what of it goes to memory."""
        lines: list[str] = []
        for number, step in enumerate(self.plan.steps):
            key = id(step.eqn) if type(step) is Call else id(step)
            items = self.items_of.get(key, [])
            if not items:
                continue
            at = f"{number:<4} "
            if type(step) is Call:
                lines.append(f"{at}{self.plan.items[items[-1]].text}: {self.names.equation(step.eqn)}")
                for report in self.loops.get(items[-1], ()):
                    lines += indent(f"{report.head()}\n{indent(report.steps(), '  ')}", "       ").split("\n")
                continue
            split = "" if step.rows is None else f" (rows {_numbers(step.rows)}; columns {_numbers(step.columns)})"
            lines.append(f"{at}kernel over {'x'.join(map(str, step.shape)) or 'a scalar'}{split}")
            stored = {v for i in items for v in self.plan.items[i].writes}
            lines += [f"       {self.root(r)}{' -> memory' if r.var in stored else ''}" for r in step.roots]
        return "\n".join(lines)

    def root(self, r: Root) -> str:
        """`b = max over columns`."""
        name = self.names.atom(r.var)
        over = {"reduce": "columns", "columns": "rows", "all": "everything"}
        if r.kind in over:
            return f"{name} = {r.op} over {over[r.kind]}"
        return f"{name}, one for each row" if r.kind == "row" else name

    # -------------------------------------------------------------------------------------------------------- kernels

    def distinct(self) -> dict[str, tuple[Report, Kernel]]:
        """The kernels by name, those of loops too, and the report of the program that has it first."""
        found: dict[str, tuple[Report, Kernel]] = {}
        for report in self.all():
            for name, numbers in report.kernels.items():
                found.setdefault(name, (report, report.plan.items[numbers[0]].kernel))  # type: ignore[arg-type]
        return found

    def thunk(self, item: Item) -> Thunk:
        """The item's thunk, without slots and addresses."""
        return item.thunk(lambda v: 0, lambda code: 0)

    def purpose(self, kernel: Kernel) -> list[str]:
        """The equations that the first item of a kernel computes, its operands, and its other items."""
        first, *others = self.kernels[kernel.name]
        item = self.plan.items[first]
        if item.eqn is not None:
            lines = [self.names.equation(item.eqn)]
        elif item.step is None:
            lines = ["a copy of an operand in another order of its axes"]
        elif any(type(v) is Temporary for v in item.reads):
            lines = [f"{self.names.atom(item.writes[0])} from the results of the chunks"]
        else:
            lines = [self.names.equation(e) for e in item.step.equations()]
        reads, writes = iter(item.reads), iter(item.writes)
        operands = [next(reads if b.mode == "in" else writes) for b in kernel.buffers]
        lines.append(", ".join(f"{b.name} = {self.typed(v)}" for b, v in zip(kernel.buffers, operands, strict=True)))
        if others:
            lines.append(f"item {first}; the same kernel: items {_numbers(others)}")
        return [self.head(), *lines] if self.title else lines

    def first(self, kernel: Kernel) -> Thunk:
        """The thunk of the first item of a kernel."""
        return self.thunk(self.plan.items[self.kernels[kernel.name][0]])

    def nests(self) -> str:
        """The loop nests of each kernel, behind what they compute."""
        parts = []
        for report, kernel in self.distinct().values():
            thunk = report.first(kernel)
            about = [*report.purpose(kernel), f"dims {thunk.dims}; [begin, end) is of [0, {thunk.extent}){_cut(thunk)}"]
            parts.append("\n".join([f"kernel {kernel.name}", *(f"  # {line}" for line in about), f"  {kernel.text}"]))
        return "\n\n".join(parts)

    def python(self) -> str:
        """The kernels as a Python module that runs by itself; comments say how the program calls them."""

        distinct = self.distinct()

        def comment(kernel: Kernel) -> str:
            report, _ = distinct[kernel.name]
            thunk = report.first(kernel)
            names = "".join(f"{b.name}, " for b in kernel.buffers)
            lines = [*report.purpose(kernel), f"{kernel.name}({names}{thunk.dims}, 0, {thunk.extent})"]
            return "\n".join(f"# {line}" for line in lines)

        return render_python.module([kernel for _, kernel in distinct.values()], comment)

    def llvm(self) -> str:
        """The kernels as a module for LLVM, for this machine's vector registers."""
        kernels = [kernel for _, kernel in self.distinct().values()]
        return render_llvm.module(kernels, engine.native_vector_bytes()) if kernels else ""

    # ----------------------------------------------------------------------------------------------------------- plan

    def memory(self) -> MemoryPlan:
        """The memory plan."""
        loops = [(report.head(), report.memory()) for reports in self.loops.values() for report in reports]
        return memory_plan(self.plan, self.inputs, self.outputs, self.names, loops)

    def thunks(self) -> str:
        """The table of native calls, in the order in which they run; behind it, those of the programs in loops."""
        rows = [("item", "call", "reads", "writes", "operations", "bytes", "estimated", "cut")]
        for number, (item, work) in enumerate(zip(self.plan.items, works(self.plan), strict=True)):
            thunk = self.thunk(item)
            rows.append(
                (
                    str(number),
                    item.text,
                    " ".join(map(self.names.atom, item.reads)),
                    " ".join(map(self.names.atom, item.writes)),
                    f"{work.flops + work.transcendentals:,}",
                    f"{work.bytes:,}",
                    f"{thunk.cost / 1000:.1f} us",
                    f"[0, {thunk.extent}){_cut(thunk)}",
                )
            )
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["  ".join(s.ljust(w) for s, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        for reports in self.loops.values():
            for report in reports:
                lines += ["", report.head(), indent(report.thunks(), "  ")]
        return "\n".join(lines)

    def whole_plan(self) -> str:
        """The thunks and the memory."""
        return f"{self.thunks()}\n\n{self.memory()!r}"


def _numbers(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _cut(thunk: Thunk) -> str:
    return f" in chunks of {thunk.grain}" if thunk.grain < thunk.extent else ""
