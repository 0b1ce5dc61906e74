"""A kernel as LLVM assembly, vectorised here and not by LLVM: the text is close to the machine's instructions.

    define i32 @k_5f0c(ptr %call, ptr %operands, ptr %dims, i64 %begin, i64 %end) nounwind {
    ...
    main:
      %i2 = phi i64 [ %begin, %entry ], [ %i2.next, %main ]
      %v3.at = getelementptr float, ptr %p0, i64 %i2
      %v3 = load <32 x float>, ptr %v3.at, align 4
      %v4 = fmul <32 x float> %v3, %v3
      ...

A vector loop becomes two: one over as many lanes as fill the registers once, twice or four times, and one for the rest,
whose last vector is masked. There the lanes beyond the end repeat the last iteration, so that whatever they compute,
index and check is what a real iteration does; only whole vectors that are stored, and accumulators, need the mask.
(Loops over bytes, and machines without masked instructions, do the rest element by element.)

Values that do not depend on the loop's variable stay scalars. Integers that are affine in it stay a scalar, the value
of the first lane, and a stride: an index becomes a vector only where it is data or comes from memory.

Loops are bottom-tested and values in SSA form from the start: no pass over the assembly is needed before code
generation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from .llvm_ops import identity, lane_indices, lane_numbers, literal, memory_type, register_type, spread, write
from .nests import Accumulator, Assign, Block, Branch, Buffer, Check, Kernel, Loop, Store, Update, Value, Variable
from .scalars import FLOATS, INTEGERS, MATH, size_of
from .vecmath import formula

Source = Accumulator | Variable


class _Affine(NamedTuple):
    """An integer that is `base` in the first lane and grows by `stride` (a number, or the name of a scalar)."""

    base: str
    stride: int | str
    type: str


class _Lanes:
    """How the body of a vector loop is being rendered: `count` lanes, of which the first `rest` are wanted (None: all).

    faithful: the other ones repeat the last iteration in every respect; else only in their indices.
    """

    def __init__(self, count: int, rest: str | None, faithful: bool):
        self.count = count
        self.rest = rest
        self.faithful = faithful
        self.first: list[Any] = []  # lines at the top of the body


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


class _Renderer:
    def __init__(self, kernel: Kernel, vector_bytes: int):
        self.kernel = kernel
        self.vector_bytes = vector_bytes
        self.lines: list[Any] = []  # instructions, and lists of instructions that belong there
        self.entry: list[Any] = []
        self.failures: list[str] = []
        self.here = "entry"  # label of the block being written
        self.used: dict[str, int] = {}
        self.hints: dict[Value, str] = {}
        self.scalars: dict[Value, str] = {kernel.begin: "%begin", kernel.end: "%end"}
        self.vectors: dict[Value, str] = {}
        self.affines: dict[Value, _Affine] = {}
        self.state: dict[Source, tuple[str, int]] = {}  # present value and its lanes
        self.lanes: _Lanes | None = None
        self.partial: set[Source] = set()  # accumulators of which each lane has a part
        self.ahead: list[str] = []  # instructions before the vector loop
        self.inside: set[str] = set()  # names that are made within the vector loop
        self.known: list[dict[Any, str]] = [{}]  # vectors made of scalars, by scope

    # ------------------------------------------------------------------------------------------------------ the text

    def text(self) -> str:
        kernel = self.kernel
        for number, value in enumerate(_values(kernel.body)):
            self.hints[value] = f"{'i' if value.op == 'index' else 'v'}{number}"
        self.lines.append(self.entry)
        for number, buffer in enumerate(kernel.buffers):
            at = "%operands"
            if number:
                at = self.put(f"getelementptr ptr, ptr %operands, i64 {number}", f"{buffer.name}.slot")
            self.put(f"load ptr, ptr {at}, align 8", buffer.name)
        for buffer in kernel.scratch:
            self.put(f"alloca [{buffer.length} x {memory_type(buffer.type)}], align 64", buffer.name)
        self.block(kernel.body)
        self.lines.append("  ret i32 0")
        comment = "\n".join(f"; {line}" for line in kernel.text.splitlines())
        head = f"define i32 @{kernel.name}(ptr %call, ptr %operands, ptr %dims, i64 %begin, i64 %end) nounwind {{"
        return "\n".join([comment, head, "entry:", *_flat(self.lines), *self.failures, "}"])

    def name(self, hint: str) -> str:
        """A name that is not in use yet."""
        count = self.used[hint] = self.used.get(hint, -1) + 1
        return f"{hint}.{count}" if count else hint

    def put(self, text: str, hint: str, into: list[str] | None = None) -> str:
        """Append an instruction with a result; gives the name of that."""
        name = "%" + self.name(hint)
        if into is None:
            self.lines.append(f"  {name} = {text}")
            self.inside.add(name)
        else:
            into.append(f"  {name} = {text}")
        return name

    def do(self, text: str) -> None:
        self.lines.append("  " + text)

    def begin_block(self, label: str) -> None:
        self.lines.append(f"{label}:")
        self.here = label

    # ------------------------------------------------------------------------------------------------------- scalars

    def scalar(self, value: Value) -> str:
        """The name of a value, that of the first lane if it has several."""
        if value in self.scalars:
            return self.scalars[value]
        if value in self.affines:
            return self.affines[value].base
        assert self.lanes is not None
        T = register_type(value.type, self.lanes.count)
        return self.put(f"extractelement {T} {self.vectors[value]}, i64 0", "first")

    def integer(self, op: str, a: str, b: str, type: str = "i64", hint: str = "n") -> str:
        """add, sub or mul of scalars, done here where both are known."""
        x, y = _number(a), _number(b)
        if x is not None and y is not None:
            return str({"add": x + y, "sub": x - y, "mul": x * y}[op])
        if (y == 0 and op != "mul") or (y == 1 and op == "mul"):
            return a
        if (x == 0 and op == "add") or (x == 1 and op == "mul"):
            return b
        return self.put(f"{op} {register_type(type, 1)} {a}, {b}", hint)

    # ------------------------------------------------------------------------------------------------------- vectors

    def varies(self, value: Value) -> bool:
        return value in self.vectors or value in self.affines

    def vector(self, value: Value) -> str:
        """The value in all lanes."""
        if value in self.vectors:
            return self.vectors[value]
        if value in self.affines:
            return self.spread_out(self.affines[value])
        return self.splat(self.scalars[value], value.type)

    def splat(self, name: str, type: str) -> str:
        """A scalar in all lanes; made before the loop if it is known there."""
        count = self.lanes.count if self.lanes else 1
        if not name.startswith("%") or count == 1:
            return spread(name, type, count)
        key = (name, count)
        for scope in self.known:
            if key in scope:
                return scope[key]
        local = name in self.inside
        T = register_type(type, count)
        into = self.lines if local else self.ahead
        one = self.put(f"insertelement {T} poison, {register_type(type, 1)} {name}, i64 0", f"{name[1:]}.one", into)
        zeros = f"<{count} x i32> zeroinitializer"
        made = self.put(f"shufflevector {T} {one}, {T} poison, {zeros}", f"{name[1:]}.all", into)
        self.known[-1 if local else 0][key] = made
        if local:
            self.inside.update((one, made))
        return made

    def spread_out(self, affine: _Affine) -> str:
        """An affine integer as a vector."""
        assert self.lanes is not None
        key = (*affine, self.lanes.count)
        for scope in self.known:
            if key in scope:
                return scope[key]
        T = register_type(affine.type, self.lanes.count)
        base = self.splat(affine.base, affine.type)
        if self.lanes.rest is None and isinstance(affine.stride, int):
            steps = lane_numbers(self.lanes.count, affine.stride, affine.type)
        else:
            steps = self.lane_vector(affine.type)
            if affine.stride != 1:
                steps = self.put(f"mul {T} {steps}, {self.splat(str(affine.stride), affine.type)}", "steps")
        made = self.known[-1][key] = self.put(f"add {T} {base}, {steps}", "spread")
        return made

    def lane_vector(self, type: str) -> str:
        """How far each lane is behind the first one, as a vector: 0, 1, 2, ...; not beyond the last iteration."""
        assert self.lanes is not None
        lanes, numbers = self.lanes, lane_numbers(self.lanes.count, 1, type)
        if lanes.rest is None:
            return numbers
        T = register_type(type, lanes.count)
        last = self.splat(self.narrow(self.integer("sub", lanes.rest, "1"), type), type)
        nearer = self.put(f"icmp slt {T} {numbers}, {last}", "before")
        return self.put(f"select <{lanes.count} x i1> {nearer}, {T} {numbers}, {T} {last}", "behind")

    def narrow(self, name: str, type: str) -> str:
        """A small i64 as another integer type."""
        T = register_type(type, 1)
        return name if T == "i64" or _number(name) is not None else self.put(f"trunc i64 {name} to {T}", "narrow")

    def offset(self, lane: int) -> str:
        """How far a lane is behind the first one."""
        assert self.lanes is not None
        rest = self.lanes.rest
        if rest is None or lane == 0:
            return str(lane)
        return self.once(
            ("offset", lane),
            lambda: self.put(f"call i64 @llvm.umin.i64(i64 {self.integer('sub', rest, '1')}, i64 {lane})", "lane"),
        )

    def mask(self) -> str | None:
        """Which lanes are wanted; None for all."""
        assert self.lanes is not None
        count, rest = self.lanes.count, self.lanes.rest
        if rest is None:
            return None

        def make() -> str:
            limit = self.splat(self.narrow(rest, "i32"), "i32")
            return self.put(f"icmp slt <{count} x i32> {lane_numbers(count, 1, 'i32')}, {limit}", "wanted")

        return self.once("wanted", make)

    def once(self, key: Any, make: Callable[[], str]) -> str:
        """What `make` puts at the top of the loop's body, where it is known everywhere in it."""
        assert self.lanes is not None
        found = self.known[1].get(key)
        if found is None:
            lines, self.lines = self.lines, self.lanes.first
            scopes, self.known = self.known, self.known[:2]
            found = self.known[1][key] = make()
            self.lines, self.known = lines, scopes
        return found

    # ---------------------------------------------------------------------------------------------------- statements

    def block(self, block: Block) -> None:
        for statement in block.statements:
            _STATEMENTS[type(statement)](self, statement)

    def define(self, value: Value, name: str, varies: bool = False) -> None:
        (self.vectors if varies else self.scalars)[value] = name
        (self.scalars if varies else self.vectors).pop(value, None)
        self.affines.pop(value, None)

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

    def compute(self, v: Value) -> None:
        """An operation on scalars, or on vectors if an operand is one."""
        varies = any(self.varies(a) for a in v.args)
        count = self.lanes.count if varies and self.lanes else 1
        words = [self.vector(a) if varies else self.scalars[a] for a in v.args]
        hint = self.hints.get(v, v.op)

        def put(text: str) -> str:
            return self.put(text, hint)

        if v.op == "select":
            condition, (a, b) = words[0], words[1:]
            T = register_type(v.type, count)
            if self.varies(v.args[0]) or not varies:
                result = put(f"select {register_type('bool', count)} {condition}, {T} {a}, {T} {b}")
            else:
                result = put(f"select i1 {self.scalars[v.args[0]]}, {T} {a}, {T} {b}")
        else:
            result = write(v.op, words, v.args[0].type, v.type, count, put)
        self.define(v, result, varies)

    def affine(self, v: Value) -> _Affine | None:
        """The value as an affine one, if an operand is affine and the others are scalars or affine too."""
        parts = [self.affines.get(a) or (_Affine(self.scalars[a], 0, a.type) if a in self.scalars else None)
                 for a in v.args]  # fmt: skip
        if not any(a in self.affines for a in v.args) or None in parts:
            return None
        T, hint = v.type, self.hints.get(v, "n")
        a, b = parts[0], parts[-1]
        assert a is not None and b is not None
        if v.op in ("add", "sub"):
            stride = self.integer(v.op, str(a.stride), str(b.stride), T, "stride")
            base = self.integer(v.op, a.base, b.base, T, hint)
        elif v.op == "neg":
            stride = self.integer("sub", "0", str(a.stride), T, "stride")
            base = self.integer("sub", "0", a.base, T, hint)
        elif v.op == "mul" and (a.stride == 0 or b.stride == 0):
            a, b = (b, a) if a.stride == 0 else (a, b)
            stride = self.integer("mul", str(a.stride), b.base, T, "stride")
            base = self.integer("mul", a.base, b.base, T, hint)
        elif v.op == "cast" and T in INTEGERS and size_of(T) <= size_of(a.type):
            stride, base = str(a.stride), a.base
            if size_of(T) < size_of(a.type):
                base = self.put(f"trunc {register_type(a.type, 1)} {base} to {register_type(T, 1)}", hint)
                if isinstance(a.stride, str):
                    stride = self.put(f"trunc {register_type(a.type, 1)} {stride} to {register_type(T, 1)}", "stride")
        else:
            return None
        number = _number(stride)
        return _Affine(base, stride if number is None else number, T)

    def inline(self, v: Value) -> None:
        """A function of `MATH`: its formula, on these operands."""
        meaning = formula(v.op, v.type)
        varies = any(self.varies(a) for a in v.args)
        for parameter, argument in zip(meaning.params, v.args, strict=True):
            self.define(parameter, self.vector(argument) if varies else self.scalars[argument], varies)
        for statement in meaning.statements:
            self.hints[statement] = v.op
            self.value(statement)
        result = meaning.result
        self.define(v, self.vectors.get(result) or self.scalars[result], result in self.vectors)

    def accumulator(self, source: Source) -> None:
        count = self.lanes.count if self.lanes else 1
        self.state[source] = (self.vector(source.start) if count > 1 else self.scalars[source.start], count)

    def update(self, statement: Update) -> None:
        source = statement.accumulator
        present, count = self.state[source]
        taken = self.vector(statement.value) if count > 1 else self.scalars[statement.value]
        if self.lanes and source in self.partial:
            wanted = self.mask()
            if wanted:
                T = register_type(source.type, count)
                none = spread(identity(source.kind, source.type), source.type, count)
                taken = self.put(f"select <{count} x i1> {wanted}, {T} {taken}, {T} {none}", "taken")
        self.state[source] = (self.combine(source, present, taken, count), count)

    def combine(self, source: Accumulator, a: str, b: str, count: int) -> str:
        return write(
            source.kind, [a, b], source.type, source.type, count, lambda text: self.put(text, f"acc{source.number}")
        )

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
        details = [self.vector(d) if self.varies(d) else self.scalars[d] for d in statement.details]
        self.do(f"br i1 {condition}, label %{ok}, label %{fail}")
        lines, self.lines = self.lines, []
        self.lines.append(f"{fail}:")
        lane = "0"
        if varies:
            failed = self.put(f"xor i{count} {bits}, -1", "failed")
            lane = self.put(f"call i{count} @llvm.cttz.i{count}(i{count} {failed}, i1 true)", "lane")
        for number, detail in enumerate(details, 2):
            if self.varies(statement.details[number - 2]):
                detail = self.put(f"extractelement <{count} x i64> {detail}, i{count} {lane}", "detail")
            at = self.put(f"getelementptr i64, ptr %call, i64 {number}", "detail.at")
            self.do(f"store i64 {detail}, ptr {at}, align 8")
        self.do("ret i32 1")
        self.failures += self.lines
        self.lines = lines
        self.begin_block(ok)

    # -------------------------------------------------------------------------------------------------------- memory

    def address(self, buffer: Buffer, index: str, hint: str) -> str:
        if index == "0":
            return f"%{buffer.name}"
        return self.put(f"getelementptr {memory_type(buffer.type)}, ptr %{buffer.name}, i64 {index}", f"{hint}.at")

    def nowhere(self) -> str:
        """Memory that masked lanes read and write instead of the buffer."""
        if "nowhere" not in self.used:
            self.put("alloca i64, align 8", "nowhere", self.entry)
        return "%nowhere"

    def unmasked(self, at: str, mask: str, lane: int, count: int) -> str:
        """The address for a lane, or `nowhere`."""
        if count > 1:
            mask = self.put(f"extractelement <{count} x i1> {mask}, i64 {lane}", "holds")
        return self.put(f"select i1 {mask}, ptr {at}, ptr {self.nowhere()}", "at")

    def lane_addresses(
        self, buffer: Buffer, index: Value, mask: str | None, hint: str, backwards: bool = False
    ) -> Iterator[tuple[int, str]]:
        """Each lane, and where it finds its element."""
        assert self.lanes is not None
        count = self.lanes.count
        affine = self.affines.get(index)
        start = self.address(buffer, affine.base, hint) if affine else ""
        T = memory_type(buffer.type)
        for lane in range(count)[:: -1 if backwards else 1]:
            if affine:
                step = self.integer("mul", str(affine.stride), self.offset(lane), hint="step")
                at = start if step == "0" else self.put(f"getelementptr {T}, ptr {start}, i64 {step}", f"{hint}.at")
            elif index in self.vectors:
                number = self.put(f"extractelement <{count} x i64> {self.vectors[index]}, i64 {lane}", "number")
                at = self.address(buffer, number, hint)
            else:
                at = self.address(buffer, self.scalars[index], hint)
            yield lane, at if mask is None else self.unmasked(at, mask, lane, count)

    def contiguous(self, index: Value, masked: bool, type: str) -> str | None:
        """The index of the first lane, if the lanes are neighbours in memory and there is an instruction for them."""
        affine = self.affines.get(index)
        if affine is None or affine.stride != 1:
            return None
        masked = masked or (self.lanes is not None and self.lanes.rest is not None)
        return None if masked and (size_of(type) < 4 or self.vector_bytes < 32) else affine.base

    def load(self, v: Value) -> None:
        buffer, index, hint = v.payload, v.args[0], self.hints[v]
        mask, other = v.args[1:] if len(v.args) > 1 else (None, None)
        count = self.lanes.count if self.lanes else 1
        T, size = memory_type(buffer.type), size_of(buffer.type)

        def put(text: str) -> str:
            return self.put(text, hint)

        if not self.varies(index) and not (mask and self.varies(mask)):
            at = self.address(buffer, self.scalars[index], hint)
            if mask:
                at = self.unmasked(at, self.scalars[mask], 0, 1)
            name = self.from_memory(put(f"load {T}, ptr {at}, align {size}"), buffer.type, 1, hint)
            varies = other is not None and self.varies(other)
            if mask and other:
                V = register_type(v.type, count if varies else 1)
                name = self.splat(name, v.type) if varies else name
                instead = self.vector(other) if varies else self.scalars[other]
                name = put(f"select i1 {self.scalars[mask]}, {V} {name}, {V} {instead}")
            self.define(v, name, varies)
            return
        V, M = f"<{count} x {T}>", f"<{count} x i1>"
        first = self.contiguous(index, mask is not None, buffer.type)
        affine = self.affines.get(index)
        full = self.lanes is not None and self.lanes.rest is None
        if first is not None and mask is None and full:
            name = put(f"load {V}, ptr {self.address(buffer, first, hint)}, align {size}")
        elif first is not None:
            at = self.address(buffer, first, hint)
            wanted = None if mask is None else self.vector(mask)
            name = self.masked_load(at, wanted, None if other is None else self.vector(other), buffer.type, put)
            self.define(v, name, True)
            return
        elif affine is not None and affine.stride == -1 and mask is None and full:
            first = self.integer("sub", affine.base, str(count - 1))
            name = put(f"load {V}, ptr {self.address(buffer, first, hint)}, align {size}")
            name = put(f"shufflevector {V} {name}, {V} poison, {lane_indices(count - 1, count, -1)}")
        else:
            name = "poison"
            for lane, at in self.lane_addresses(buffer, index, mask and self.vector(mask), hint):
                one = put(f"load {T}, ptr {at}, align {size}")
                name = put(f"insertelement {V} {name}, {T} {one}, i64 {lane}")
        name = self.from_memory(name, buffer.type, count, hint)
        if mask is not None and other is not None:
            R = register_type(v.type, count)
            name = put(f"select {M} {self.vector(mask)}, {R} {name}, {R} {self.vector(other)}")
        self.define(v, name, True)

    def masked_load(self, at: str, mask: str | None, other: str | None, type: str, put: Callable[[str], str]) -> str:
        """Neighbours in memory under a mask, that of the last vector included."""
        assert self.lanes is not None
        count, wanted = self.lanes.count, self.mask()
        T, V, M = register_type(type, 1), register_type(type, count), f"<{count} x i1>"
        load = f"call {V} @llvm.masked.load.v{count}{type.replace('u', 'i')}.p0(ptr align {size_of(type)} {at}, {M} "
        faithful, last = self.lanes.faithful, self.offset(count - 1)
        if mask is None and not faithful:
            return put(f"{load}{wanted}, {V} zeroinitializer)")
        if mask is None:
            there = put(f"getelementptr {T}, ptr {at}, i64 {last}")
            repeated = self.splat(put(f"load {T}, ptr {there}, align {size_of(type)}"), type)
            return put(f"{load}{wanted}, {V} {repeated})")
        if wanted is None:
            return put(f"{load}{mask}, {V} {other})")
        both = put(f"and {M} {mask}, {wanted}")
        loaded = put(f"{load}{both}, {V} {other})")
        if not faithful:
            return loaded
        repeated = self.splat(put(f"extractelement {V} {loaded}, i64 {last}"), type)
        return put(f"select {M} {wanted}, {V} {loaded}, {V} {repeated}")

    def from_memory(self, name: str, type: str, count: int, hint: str) -> str:
        if type != "bool":
            return name
        return self.put(f"icmp ne {register_type('u8', count)} {name}, zeroinitializer", hint)

    def store(self, statement: Store) -> None:
        buffer, index, mask = statement.buffer, statement.index, statement.mask
        varies = self.varies(index) or (mask is not None and self.varies(mask))
        count = self.lanes.count if self.lanes and (varies or self.varies(statement.value)) else 1
        T, size = memory_type(buffer.type), size_of(buffer.type)
        value = self.vector(statement.value) if count > 1 else self.scalars[statement.value]
        if buffer.type == "bool":
            value = self.put(f"zext {register_type('bool', count)} {value} to {register_type('u8', count)}", "byte")
        V = register_type("u8" if buffer.type == "bool" else buffer.type, count)
        if not varies:
            if count > 1:  # all lanes write to one place: the last one stays
                value = self.put(f"extractelement {V} {value}, i64 {count - 1}", "last")
            at = self.address(buffer, self.scalars[index], buffer.name)
            if mask is not None:
                at = self.unmasked(at, self.scalars[mask], 0, 1)
            self.do(f"store {T} {value}, ptr {at}, align {size}")
            return
        assert self.lanes is not None
        first = self.contiguous(index, mask is not None, buffer.type)
        affine = self.affines.get(index)
        full = self.lanes.rest is None
        lanes_mask = None if mask is None else self.vector(mask)
        if first is not None and mask is None and full:
            self.do(f"store {V} {value}, ptr {self.address(buffer, first, buffer.name)}, align {size}")
        elif first is not None:
            M, holds = f"<{count} x i1>", [m for m in (lanes_mask, self.mask()) if m]
            both = holds[0] if len(holds) == 1 else self.put(f"and {M} {holds[0]}, {holds[1]}", "both")
            at = self.address(buffer, first, buffer.name)
            suffix = f"v{count}{buffer.type.replace('u', 'i')}"
            self.do(f"call void @llvm.masked.store.{suffix}.p0({V} {value}, ptr align {size} {at}, {M} {both})")
        elif affine is not None and affine.stride == -1 and mask is None and full:
            first = self.integer("sub", affine.base, str(count - 1))
            value = self.put(f"shufflevector {V} {value}, {V} poison, {lane_indices(count - 1, count, -1)}", "turned")
            self.do(f"store {V} {value}, ptr {self.address(buffer, first, buffer.name)}, align {size}")
        else:
            # Backwards: of the lanes at the place of the last iteration, that iteration itself writes last.
            for lane, at in self.lane_addresses(buffer, index, lanes_mask, buffer.name, backwards=not full):
                one = self.put(f"extractelement {V} {value}, i64 {lane}", "one")
                self.do(f"store {T} {one}, ptr {at}, align {size}")

    # ------------------------------------------------------------------------------------------------------- control

    def phi(self, source: Source, incoming: Sequence[tuple[str, str]]) -> None:
        """The value of `source` where several paths meet."""
        count = self.state[source][1]
        sides = ", ".join(f"[ {name}, %{label} ]" for name, label in incoming)
        kind = "acc" if isinstance(source, Accumulator) else "var"
        name = self.put(f"phi {register_type(source.type, count)} {sides}", f"{kind}{source.number}")
        self.state[source] = (name, count)

    def branch(self, statement: Branch) -> None:
        """if condition: body, else: other."""
        condition = self.scalar(statement.condition)
        yes, no, done = self.name("yes"), self.name("no"), self.name("done")
        before = dict(self.state)
        changed = _changed([statement.body, statement.other], before)
        self.do(f"br i1 {condition}, label %{yes}, label %{no}")
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
        for source in changed:
            self.phi(source, [(state[source][0], label) for label, state in ends])

    def repeat(
        self, hint: str, first: str, stop: str, step: int, changed: Sequence[Source], body: Callable[[str], None],
        at_most_once: bool = False,
    ) -> str:  # fmt: skip
        """body(i) for i = first, first + step, ... while i < stop; gives the i behind the last."""
        start, end = _number(first), _number(stop)
        trips = None if start is None or end is None else max(0, -((start - end) // step))
        if trips == 0:
            return first
        label, done, before = self.name(hint), self.name(f"{hint}.done"), self.here
        initial = dict(self.state)

        def run(index: str) -> None:
            self.known.append({})
            body(index)
            self.known.pop()
            self.state = {source: self.state[source] for source in initial}  # not what the body declares

        if trips == 1:
            run(first)
            return str((start or 0) + step)
        if trips is None:
            some = self.put(f"icmp slt i64 {first}, {stop}", "some")
            self.do(f"br i1 {some}, label %{label}, label %{done}")
        else:
            self.do(f"br label %{label}")
        self.begin_block(label)
        if at_most_once:
            index = first
        else:
            index = self.put("", f"{hint}.i")
            slots = [(source, self.slot(source)) for source in changed]
        at = len(self.lines) - 1 - len(changed)
        run(index)
        following, latch = "", self.here
        if at_most_once:
            self.do(f"br label %{done}")
        else:
            # Frozen, it is no induction to LLVM: strength reduction, a third of all its work, leaves the loop alone.
            following = self.put(f"freeze i64 {self.put(f'add i64 {index}, {step}', f'{hint}.sum')}", f"{hint}.next")
            more = self.put(f"icmp slt i64 {following}, {stop}", "more")
            self.do(f"br i1 {more}, label %{label}, label %{done}")
            self.lines[at] = f"  {index} = phi i64 [ {first}, %{before} ], [ {following}, %{latch} ]"
            for number, (source, name) in enumerate(slots, at + 1):
                T = register_type(source.type, self.state[source][1])
                sides = f"[ {initial[source][0]}, %{before} ], [ {self.state[source][0]}, %{latch} ]"
                self.lines[number] = f"  {name} = phi {T} {sides}"
        self.begin_block(done)
        if trips is None:
            for source in changed:
                self.phi(source, [(initial[source][0], before), (self.state[source][0], latch)])
            if not at_most_once:
                sides = f"[ {first}, %{before} ], [ {following}, %{latch} ]"
                return self.put(f"phi i64 {sides}", f"{hint}.end")
        return following

    def slot(self, source: Source) -> str:
        """A phi whose line is filled in when the loop's end is known."""
        kind = "acc" if isinstance(source, Accumulator) else "var"
        name = self.put("", f"{kind}{source.number}")
        self.state[source] = (name, self.state[source][1])
        return name

    def loop(self, statement: Loop) -> None:
        start, stop = self.scalar(statement.start), self.scalar(statement.stop)
        changed = _changed([statement.body], self.state)
        if statement.kind == "vector" and self.lanes is None:
            self.vector_loop(statement, start, stop, changed)
        else:
            self.scalar_loop("loop", statement, start, stop, changed)

    def scalar_loop(self, hint: str, statement: Loop, start: str, stop: str, changed: Sequence[Source]) -> None:
        def body(index: str) -> None:
            self.define(statement.var, index)
            self.block(statement.body)

        self.repeat(hint, start, stop, 1, changed, body)

    def vector_loop(self, statement: Loop, start: str, stop: str, changed: Sequence[Source]) -> None:
        """Whole vectors, then the rest; accumulators as one partial result a lane, folded in a fixed order."""
        begin, end = _number(start), _number(stop)
        trips = None if begin is None or end is None else max(0, end - begin)
        plan = _plan(statement, self.vector_bytes, trips)
        wide = plan.lanes * plan.unroll
        outer = self.known
        self.ahead, self.inside, self.known = [], set(), [{}]
        self.lines.append(self.ahead)
        before = {source: self.state[source][0] for source in changed}
        self.partial = set(changed)
        for source in changed:
            assert isinstance(source, Accumulator)
            self.state[source] = (spread(identity(source.kind, source.type), source.type, wide), wide)
        limit = self.integer("sub", stop, str(wide - 1), hint="limit")
        index = self.repeat("main", start, limit, wide, changed, lambda i: self.lanes_body(statement, i, wide))
        left = plan.lanes if trips is None else trips % wide
        exact = trips is not None and 1 < left <= plan.lanes and left.bit_count() == 1
        masked = plan.masked and left > 1 and not exact
        if exact:
            self.fold(changed, left)
            self.lanes_body(statement, index, left)
            index = stop
        elif masked:
            self.fold(changed, plan.lanes)

            def rest(i: str) -> None:
                wanted = self.integer("sub", stop, i, hint="rest")
                self.lanes_body(statement, i, plan.lanes, wanted, plan.faithful)

            self.repeat("rest", index, stop, plan.lanes, changed, rest, at_most_once=plan.unroll == 1)
        self.fold(changed, 1)
        for source in changed:
            assert isinstance(source, Accumulator)
            self.state[source] = (self.combine(source, before[source], self.state[source][0], 1), 1)
        self.partial = set()
        if not masked:
            self.scalar_loop("single", statement, index, stop, changed)
        self.known = outer

    def lanes_body(
        self, statement: Loop, index: str, count: int, rest: str | None = None, faithful: bool = True
    ) -> None:
        """One iteration of so many lanes."""
        self.lanes = _Lanes(count, rest, faithful)
        self.lines.append(self.lanes.first)
        self.known.append({})
        self.affines[statement.var] = _Affine(index, 1, "i64")
        self.block(statement.body)
        del self.affines[statement.var]
        self.known.pop()
        self.lanes = None

    def fold(self, sources: Sequence[Source], lanes: int) -> None:
        """Partial results of many lanes to those of fewer: the upper half is taken into the lower one."""
        for source in sources:
            assert isinstance(source, Accumulator)
            name, count = self.state[source]
            while count > lanes:
                V, half = register_type(source.type, count), count // 2
                parts = [
                    self.put(f"shufflevector {V} {name}, {V} poison, {lane_indices(first, half)}", "half")
                    if half > 1
                    else self.put(f"extractelement {V} {name}, i64 {first}", "half")
                    for first in (0, half)
                ]
                name, count = self.combine(source, parts[0], parts[1], half), half
            self.state[source] = (name, count)


class _Plan(NamedTuple):
    """How to render a vector loop: lanes that fill a register, how many registers at a time, whether the rest is done
    under a mask or element by element, and if masked, whether anything depends on what the lanes beyond the end hold.
    """

    lanes: int
    unroll: int
    masked: bool
    faithful: bool


def _plan(loop: Loop, vector_bytes: int, trips: int | None) -> _Plan:
    """Decide by the types and the size of the loop's body, and by its number of iterations if that is known."""
    varying, sizes, work = {loop.var}, Counter[int](), 0
    loaded: set[Value] = set()  # what depends on memory, lane by lane
    sums = faithful = False
    for s in _statements(loop.body):
        if isinstance(s, Value):
            inner = s.op == "read"
            if not inner and not any(a in varying for a in s.args):
                continue
            varying.add(s)
            if inner or s.op == "load" or any(a in loaded for a in s.args):
                loaded.add(s)
            faithful |= s.op in ("quot", "rest") or (s.op == "load" and s.args[0] in loaded)
            if s.op == "load":
                work += 1 if _neighbours(s.args[0], loop.var, varying) and len(s.args) == 1 else 8
            else:
                work += 40 if s.op in MATH else 1
            if s.type in FLOATS or (s.op == "load" and s.type != "bool"):
                sizes[size_of(s.type)] += 1
        elif isinstance(s, Store):
            sizes[size_of(s.buffer.type)] += 1
            faithful |= s.mask is not None or s.index in loaded or s.index not in varying
            work += 1 if _neighbours(s.index, loop.var, varying) and s.mask is None else 8
        elif isinstance(s, Update):
            sizes[size_of(s.accumulator.type)] += 1
            sums = True
        elif isinstance(s, Loop | Branch):
            work += 8
        elif isinstance(s, Check):
            faithful = True
    common = [size for size in sizes if size >= 4] or list(sizes) or [4]
    size = max(common, key=lambda size: (sizes[size], -size))
    lanes = vector_bytes // size
    while trips is not None and lanes >= 2 * max(1, trips):
        lanes //= 2
    lanes = max(lanes, 2)
    unroll = 4 if sums and work <= 8 else 2 if work <= 32 else 1
    while trips is not None and unroll > 1 and lanes * unroll > trips:
        unroll //= 2
    return _Plan(lanes, unroll, lanes <= 16 and vector_bytes >= 32 and size >= 4, faithful)


def _neighbours(index: Value, var: Value, varying: set[Value]) -> bool:
    """Whether the lanes of a loop over `var` find neighbours at this index."""
    if index.op == "add":
        a, b = index.args
        return (a not in varying and _neighbours(b, var, varying)) or (
            b not in varying and _neighbours(a, var, varying)
        )
    if index.op == "sub":
        return index.args[1] not in varying and _neighbours(index.args[0], var, varying)
    return index is var


def _statements(block: Block) -> Iterator[Any]:
    """All statements, those of inner blocks too."""
    for s in block.statements:
        yield s
        for inner in (s.body,) if isinstance(s, Loop) else (s.body, s.other) if isinstance(s, Branch) else ():
            yield from _statements(inner)


def _values(block: Block) -> Iterator[Value]:
    """All values in the order of the kernel's text."""
    for s in _statements(block):
        if isinstance(s, Value):
            yield s
        elif isinstance(s, Loop):
            yield s.var


def _changed(blocks: Sequence[Block], present: dict[Source, Any]) -> list[Source]:
    """Which of the present accumulators and variables the statements of some blocks change."""
    found: dict[Source, None] = {}
    for block in blocks:
        for s in _statements(block):
            source = s.accumulator if isinstance(s, Update) else s.variable if isinstance(s, Assign) else None
            if source is not None and source in present:
                found[source] = None
    return list(found)


def _number(word: str) -> int | None:
    """The integer that a word is, None if it is the name of a value."""
    return None if word.startswith("%") else int(word)


def _flat(lines: Iterable[Any]) -> Iterator[str]:
    for line in lines:
        if isinstance(line, str):
            yield line
        else:
            yield from _flat(line)


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
}
