"""A kernel as LLVM assembly, vectorised here and not by LLVM: the text is close to the machine's instructions.

    define i32 @k_5f0c(ptr %call, ptr %operands, ptr %dims, i64 %begin, i64 %end) nounwind {
    ...
    main:
      %main.i = phi i64 [ %begin, %entry ], [ %main.next, %main ]
      %v1.at = getelementptr float, ptr %p0, i64 %main.i
      %v1 = load <16 x float>, ptr %v1.at, align 4
      %v2 = fmul <16 x float> %v1, %v1
      ...
    rest:
      ...
      %v1.1 = call <8 x float> @llvm.masked.load.v8f32.p0(ptr align 4 %v1.at.1, <8 x i1> %wanted, ...)
      %v2.1 = fmul <8 x float> %v1.1, %v1.1

%v1 is the value %1 of the nest, whose text stands above the function as a comment.

A vector loop becomes two: one over the lanes of one, two or four registers, and one for the rest, whose last vector is
masked; a large body is written once, with two forms of its loads and stores (see `llvm_plan`). Lanes beyond the end use
the indices of the last iteration, and where an index or a check depends on what they hold they repeat it altogether:
so they need no mask but where whole vectors are stored and in accumulators. Loops over bytes, and machines without
masked instructions, do the rest one by one.

What does not depend on the loop's variable stays a scalar. Integers that are affine in it stay one too, the value of
the first lane, with a stride: an index is a vector only where it comes from memory.

Values are in SSA form from the start and loops bottom-tested: no pass over the assembly is needed before code is
generated. The layers: `llvm_ops` (instructions), `llvm_lanes` (values), `llvm_memory`, `llvm_control`, and statements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import groupby
from typing import Any

from .llvm_control import Control
from .llvm_lanes import Affine, Lanes, Source, as_number, flat
from .llvm_ops import identity, literal, memory_type, register_type, spread
from .llvm_plan import Plan, changed, leaves, plan, values
from .nests import (
    Accumulator,
    Assign,
    Block,
    Branch,
    Check,
    Grow,
    Kernel,
    Leave,
    Loop,
    Poll,
    Store,
    Update,
    Value,
    Variable,
)
from .scalars import FLOATS, INTEGERS, MATH, size_of
from .statements import statements
from .vecmath import formula

_FEW = 8  # lanes of a second loop, where the rest is not done under a mask
_UNROLLED = 16  # largest number of statements that a loop known to be short becomes
_KEPT = 13  # constants that fit into AVX2's 16 registers during a loop


def module(kernels: Iterable[Kernel], vector_bytes: int = 32) -> str:
    """The text of a module with these kernels."""
    return "\n\n".join(render(kernel, vector_bytes) for kernel in kernels) + "\n"


def render(kernel: Kernel, vector_bytes: int = 32) -> str:
    """The kernel as a function `i32 @<kernel.name>(ptr call, ptr operands, ptr dims, i64 begin, i64 end)`.

    Args:
      vector_bytes: size of the machine's vector registers: 16, 32 or 64.

    >>> from fgrad.compile.nests import Builder
    >>> k = Builder()
    >>> x, o = k.buffer("f64", "in"), k.buffer("f64", "out")
    >>> k.store(o, k.begin, k.op("neg", k.load(x, k.begin)))
    >>> print(render(k.finish()).replace(k.finish().name, "k"))
    ; (p0:f64 in, p1:f64 out; 0 dims)
    ;   %0 = load p0[begin]
    ;   %1 = neg %0
    ;   store p1[begin] = %1
    define i32 @k(ptr %call, ptr %operands, ptr %dims, i64 %begin, i64 %end) nounwind {
    entry:
      %p0 = load ptr, ptr %operands, align 8
      %p1.slot = getelementptr ptr, ptr %operands, i64 1
      %p1 = load ptr, ptr %p1.slot, align 8
      %v0.at = getelementptr double, ptr %p0, i64 %begin
      %v0 = load double, ptr %v0.at, align 8
      %v1 = fneg double %v0
      %p1.at = getelementptr double, ptr %p1, i64 %begin
      store double %v1, ptr %p1.at, align 8
      ret i32 0
    }
    """
    return _Renderer(kernel, vector_bytes).text()


class _Renderer(Control):
    def __init__(self, kernel: Kernel, vector_bytes: int):
        super().__init__(vector_bytes)
        self.kernel = kernel
        self.failures: list[str] = []  # blocks behind the last one
        self.parts: Sequence[Source] = ()  # accumulators of which each lane has a part
        self.scalars = {kernel.begin: "%begin", kernel.end: "%end"}
        # SSE's constants are whole vectors anyway, and AVX-512 broadcasts within other instructions.
        self.pooling = vector_bytes == 32 and _constants(kernel) > _KEPT
        self.pool: dict[tuple[str, str], tuple[str, int]] = {}  # literal, type: name of the array, lanes

    # ------------------------------------------------------------------------------------------------------ the text

    def text(self) -> str:
        kernel = self.kernel
        for number, value in enumerate(values(kernel.body)):
            self.hints[value] = f"{'i' if value.op == 'index' else 'v'}{number}"
        self.lines.append(self.entry)
        for number, buffer in enumerate(kernel.buffers):
            at = "%operands"
            if number:
                at = self.put(f"getelementptr ptr, ptr %operands, i64 {number}", f"{buffer.name}.slot")
            self.put(f"load ptr, ptr {at}, align 8", buffer.name)
        for buffer in kernel.scratch:
            memory = f"alloca [{buffer.length} x {memory_type(buffer.type)}], align 64"
            if buffer.mode == "scratch":
                self.put(memory, buffer.name)
            else:
                self.put("alloca ptr, align 8", buffer.name)
                first = self.put(memory, f"{buffer.name}.first")
                self.do(f"store ptr {first}, ptr %{buffer.name}, align 8")
        self.block(kernel.body)
        self.lines.append("  ret i32 0")
        comment = "\n".join(f"; {line}" for line in kernel.text.splitlines())
        head = f"define i32 @{kernel.name}(ptr %call, ptr %operands, ptr %dims, i64 %begin, i64 %end) nounwind {{"
        # not `constant`, or LLVM would see through it
        pool = [
            f"{name} = internal global {register_type(type, lanes)} {spread(word, type, lanes)}, align 64"
            for (word, type), (name, lanes) in self.pool.items()
        ]
        return "\n".join([*pool, comment, head, "entry:", *flat(self.lines), *self.failures, "}"])

    def block(self, block: Block) -> None:
        self.run(block.statements)

    def run(self, some: Iterable[Any]) -> None:
        for statement in some:
            _STATEMENTS[type(statement)](self, statement)

    def value(self, v: Value) -> None:
        if v.op == "const":
            self.define(v, literal(v.payload, v.type))
        elif v.op == "dim":
            self.define(v, self.read_word("%dims", v.payload, self.hints[v]))
        elif v.op == "load":
            self.load(v)
        elif v.op == "read":
            name, count = self.state[v.payload]
            self.define(v, name, count > 1)
        elif v.op in MATH:
            self.inline(v)
        else:
            affine = self.affine(v) if v.type in INTEGERS else None
            if affine is None or affine.stride == 0:
                self.define(v, affine.base, False) if affine else self.compute(v)
            else:
                self.affines[v] = affine
                self.scalars.pop(v, None)
                self.vectors.pop(v, None)

    def read_word(self, array: str, number: int, hint: str) -> str:
        at = array if number == 0 else self.put(f"getelementptr i64, ptr {array}, i64 {number}", f"{hint}.at")
        return self.put(f"load i64, ptr {at}, align 8", hint)

    def inline(self, v: Value) -> None:
        """A function of `MATH`: its formula, on these operands."""
        meaning = formula(v.op, v.type, self.vector_bytes == 64)
        varies = any(self.varies(a) for a in v.args)
        for parameter, argument in zip(meaning.params, v.args, strict=True):
            self.define(parameter, self.vector(argument) if varies else self.scalars[argument], varies)
        for statement in meaning.statements:
            self.hints[statement] = v.op
            if varies and self.pooling and statement.op == "const" and statement.type in FLOATS and statement.payload:
                self.define(statement, self.pooled(statement), True)
            else:
                self.value(statement)
        result = meaning.result
        self.define(v, self.vectors.get(result) or self.scalars[result], result in self.vectors)

    def pooled(self, v: Value) -> str:
        """A constant of a formula in all lanes, read from memory where it stands in full.

        LLVM would broadcast one element each time, an instruction of its own; this load is part of the arithmetic.
        """
        assert self.lanes is not None
        count, word = self.lanes.count, literal(v.payload, v.type)
        name, most = self.pool.get((word, v.type), (f"@{self.kernel.name}.{len(self.pool)}", 0))
        self.pool[word, v.type] = name, max(count, most)
        return self.put(f"load {register_type(v.type, count)}, ptr {name}, align 64, !invariant.load !{{}}", "constant")

    def accumulator(self, source: Source) -> None:
        count = self.lanes.count if self.lanes else 1
        self.state[source] = (self.vector(source.start) if count > 1 else self.scalars[source.start], count)

    def update(self, statement: Update) -> None:
        source = statement.accumulator
        present, count = self.state[source]
        taken = self.vector(statement.value) if count > 1 else self.scalars[statement.value]
        if self.lanes and source in self.parts:
            wanted = self.mask()
            if wanted:
                T = register_type(source.type, count)
                none = spread(identity(source.kind, source.type), source.type, count)
                taken = self.put(f"select <{count} x i1> {wanted}, {T} {taken}, {T} {none}", "taken")
        self.state[source] = (self.combine(source, present, taken, count), count)

    def assign(self, statement: Assign) -> None:
        count = self.state[statement.variable][1]
        value = self.vector(statement.value) if count > 1 else self.scalars[statement.value]
        self.state[statement.variable] = (value, count)

    def check(self, statement: Check) -> None:
        """Leave if the condition fails; what the first failing lane has to say is told."""
        ok, fail = self.name("ok"), self.name("fail")
        holds, count = statement.holds, self.lanes.count if self.lanes else 1
        varies = self.varies(holds)
        if varies:
            bits = self.put(f"bitcast <{count} x i1> {self.vector(holds)} to i{count}", "held")
            condition = self.put(f"icmp eq i{count} {bits}, -1", "all")
        else:
            condition = self.scalars[holds]
        self.go(condition, ok, fail, rarely=True)
        lines, self.lines = self.lines, [f"{fail}:"]
        self.known.append({})
        lane = "0"
        if varies:
            failed = self.put(f"xor i{count} {bits}, -1", "failed")
            lane = self.put(f"call i{count} @llvm.cttz.i{count}(i{count} {failed}, i1 true)", "lane")
        for word, detail in enumerate(statement.details, 2):
            name = self.scalar(detail)
            if self.varies(detail):
                name = self.put(f"extractelement <{count} x i64> {self.vector(detail)}, i{count} {lane}", "detail")
            at = self.put(f"getelementptr i64, ptr %call, i64 {word}", "detail.at")
            self.do(f"store i64 {name}, ptr {at}, align 8")
        self.do("ret i32 1")
        self.known.pop()
        self.failures += self.lines
        self.lines = lines
        self.begin_block(ok)

    def poll(self, statement: Poll) -> None:
        """Call a native function, if there is one; leave with its status unless that is 0."""
        ask, on, fail = self.name("ask"), self.name("on"), self.name("stopped")
        word = self.read_word("%dims", statement.dim, "function")
        self.go(self.put(f"icmp ne i64 {word}, 0", "there"), ask, on, rarely=True)
        self.begin_block(ask)
        function = self.put(f"inttoptr i64 {word} to ptr", "function")
        status = self.put(f"call i32 {function}(ptr %call)", "status")
        self.go(self.put(f"icmp eq i32 {status}, 0", "fine"), on, fail, rarely=True)
        self.failures += [f"{fail}:", f"  ret i32 {status}"]
        self.begin_block(on)

    def grow(self, statement: Grow) -> None:
        """Ask a native function for more memory; leave if there is none."""
        buffer = statement.buffer
        size, on, fail = size_of(buffer.type), self.name("on"), self.name("full")
        old = self.put(f"load ptr, ptr %{buffer.name}, align 8", "records")
        used, wanted = (
            self.integer("mul", self.scalar(v), str(size), hint="bytes") for v in (statement.used, statement.length)
        )
        word = self.read_word("%dims", statement.dim, "function")
        function = self.put(f"inttoptr i64 {word} to ptr", "function")
        arguments = f"ptr %call, i64 {buffer.number}, ptr {old}, i64 {used}, i64 {wanted}"
        new = self.put(f"call ptr {function}({arguments})", "more")
        self.do(f"store ptr {new}, ptr %{buffer.name}, align 8")
        self.go(self.put(f"icmp ne ptr {new}, null", "there"), on, fail, rarely=True)
        self.failures += [f"{fail}:", "  ret i32 -1"]
        self.begin_block(on)

    # ------------------------------------------------------------------------------------------------------- control

    def branch(self, statement: Branch) -> None:
        """if condition: body, else: other."""
        condition = self.scalar(statement.condition)
        yes, no, done = self.name("yes"), self.name("no"), self.name("done")
        before = dict(self.state)
        touched = changed([statement.body, statement.other], before)
        self.go(condition, yes, no)
        ends = []
        for label, body in ((yes, statement.body), (no, statement.other)):
            self.state = dict(before)
            self.begin_block(label)
            self.known.append({})
            self.block(body)
            self.known.pop()
            self.do(f"br label %{done}")
            ends.append((self.here, self.state))
        self.begin_block(done)
        self.state = before
        for source in touched:
            self.phi(source, [(state[source][0], label) for label, state in ends])

    def loop(self, statement: Loop) -> None:
        start, stop = self.scalar(statement.start), self.scalar(statement.stop)
        sources = changed([statement.body], self.state)
        if statement.kind == "vector" and self.lanes is None:
            self.vector_loop(statement, start, stop, sources)
        else:
            self.scalar_loop("loop", statement, start, stop, sources)

    def scalar_loop(self, hint: str, statement: Loop, start: str, stop: str, sources: Sequence[Source]) -> None:
        def body(index: str) -> None:
            self.define(statement.var, index)
            self.block(statement.body)

        copies = _UNROLLED // sum(1 for _ in statements(statement.body)) if statement.body.statements else 1
        self.repeat(hint, start, stop, 1, sources, body, copies, leaves(statement.body))

    def vector_loop(self, statement: Loop, start: str, stop: str, sources: Sequence[Source]) -> None:
        """Whole vectors, then the rest; accumulators as one partial result a lane, folded in a fixed order."""
        begin, end = as_number(start), as_number(stop)
        trips = None if begin is None or end is None else max(0, end - begin)
        form = plan(statement, self.vector_bytes, trips)
        outer, before = self.known, {source: self.state[source][0] for source in sources}
        self.ahead, self.inside, self.known = [], set(), [{}]
        self.lines.append(self.ahead)
        self.parts = sources
        for source in sources:
            assert isinstance(source, Accumulator)
            wide = form.lanes * form.unroll
            self.state[source] = (spread(identity(source.kind, source.type), source.type, wide), wide)
        index = self.vectors_of(statement, form, start, stop, trips, sources)
        self.fold(sources, 1)
        for source in sources:
            assert isinstance(source, Accumulator)
            self.state[source] = (self.combine(source, before[source], self.state[source][0], 1), 1)
        self.parts = ()
        if index:
            self.scalar_loop("single", statement, index, stop, sources)
        self.known = outer

    def vectors_of(
        self, statement: Loop, form: Plan, start: str, stop: str, trips: int | None, sources: Sequence[Source]
    ) -> str:
        """The part of a vector loop that is done in lanes; gives the index behind it, or "" if nothing is left."""
        wide = form.lanes * form.unroll
        if form.joined:
            self.repeat("main", start, stop, wide, sources, lambda i: self.joined(statement, i, stop, form))
            return ""
        limit = self.integer("sub", stop, str(wide - 1), hint="limit")
        index = self.repeat("main", start, limit, wide, sources, lambda i: self.body(statement, i, Lanes(wide)))
        left = form.lanes if trips is None else trips % wide
        if trips is not None and 1 < left <= form.lanes and (form.pieces or left.bit_count() == 1):
            while left > 1:
                lanes = 1 << (left.bit_length() - 1)
                self.fold(sources, lanes)
                self.scoped(partial(self.body, statement, lanes=Lanes(lanes)), index)
                index, left = self.integer("add", index, str(lanes), hint="behind"), left - lanes
            return index if left else ""
        if left <= 1:
            return index if left else ""
        if not form.masked:
            if wide <= _FEW:
                return index
            self.fold(sources, _FEW)
            limit = self.integer("sub", stop, str(_FEW - 1), hint="limit")
            return self.repeat("few", index, limit, _FEW, sources, lambda i: self.body(statement, i, Lanes(_FEW)))
        self.fold(sources, form.lanes)

        def rest(i: str) -> None:
            wanted = self.integer("sub", stop, i, hint="rest")
            self.body(statement, i, Lanes(form.lanes, wanted, form.faithful))

        if form.unroll == 1:
            self.at_most_once("rest", index, stop, sources, rest)
        else:
            self.repeat("rest", index, stop, form.lanes, sources, rest)
        return ""

    def body(self, statement: Loop, index: str, lanes: Lanes) -> None:
        """One iteration in lanes."""
        with self.in_lanes(lanes):
            self.affines[statement.var] = Affine(index, 1, "i64")
            self.block(statement.body)

    def joined(self, statement: Loop, index: str, stop: str, form: Plan) -> None:
        """One iteration in lanes, whole or the last one.

          br i1 %full, label %whole, label %part
        whole:                                          part:
          %v1 = load <8 x float>, ...                     %v1.1 = call <8 x float> @llvm.masked.load...
        loaded:
          %v1.2 = phi <8 x float> [ %v1, %whole ], [ %v1.1, %part ]
          ...
        """
        count = form.lanes * form.unroll
        rest = self.integer("sub", stop, index, hint="rest")
        full = self.put(f"icmp sge i64 {rest}, {count}", "full")
        self.affines[statement.var] = Affine(index, 1, "i64")
        loads = [s for s in statement.body.statements if isinstance(s, Value) and s.op == "load"]
        needed = set(loads)
        for s in reversed(statement.body.statements):
            if s in needed:
                needed.update(s.args)
        for s in statement.body.statements:
            if s in needed and s not in loads:
                self.value(s)
        names: list[list[str]] = []

        def load() -> None:
            for v in loads:
                self.load(v)
            names.append([self.vectors[v] for v in loads])

        labels = self.two_ways(full, Lanes(count), Lanes(count, rest, form.faithful), load)
        for v, *sides in zip(loads, *names, strict=True):
            incoming = ", ".join(f"[ {name}, %{label} ]" for name, label in zip(sides, labels, strict=True))
            self.define(v, self.put(f"phi {register_type(v.type, count)} {incoming}", self.hints[v]), True)
        with self.in_lanes(Lanes(count, rest, form.faithful)):
            others = [s for s in statement.body.statements if s not in needed]
            for storing, group in groupby(others, lambda s: isinstance(s, Store)):
                if storing:
                    store = partial(self.run, list(group))
                    self.two_ways(full, Lanes(count), Lanes(count, rest, form.faithful), store)
                else:
                    self.run(group)


def _constants(kernel: Kernel) -> int:
    """How many floats the formulas of a kernel contain."""
    inside = (s for v in values(kernel.body) if v.op in MATH for s in formula(v.op, v.type).statements)
    return sum(s.op == "const" and s.type in FLOATS for s in inside)


_STATEMENTS: dict[type, Callable[[_Renderer, Any], None]] = {
    Value: _Renderer.value,
    Store: _Renderer.store,
    Loop: _Renderer.loop,
    Branch: _Renderer.branch,
    Check: _Renderer.check,
    Accumulator: _Renderer.accumulator,
    Variable: _Renderer.accumulator,
    Update: _Renderer.update,
    Assign: _Renderer.assign,
    Grow: _Renderer.grow,
    Leave: _Renderer.leave,
    Poll: _Renderer.poll,
}
