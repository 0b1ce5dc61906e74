"""The loop-nest IR: a kernel as loops over scalars, and the builder that makes one.

    kernel k_5f0c (x:f32 in, y:f32 in, o:f32 out; 2 dims)
      %0 = dim 0
      for %1 in vector [begin, end):
        %2 = load x[%1]
        %3 = load y[%1]
        %4 = mul %2 %3
        store o[%1] = %4

A kernel is a thunk function (see `native`): it gets operands, dims, and the part [begin, end) of its parallel axis.
Values are immutable and in single-assignment form. A pure operation stands in the outermost block in which its operands
are known, so loops contain only what depends on them. Loops are `serial` or `vector`: the iterations of a vector loop
are independent but for accumulators, and are done in lanes by the renderers that can. There is at most one vector loop
around any statement; it may hold serial loops. Extents up to 16 are constants, larger ones run-time dims, so that one
kernel serves every batch size; its text is the key by which it is cached.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from .scalars import FLOATS, INTEGERS, MATH, OPS, TYPES, dtype_of

STATIC = 16  # largest extent that is a constant of the kernel
VARYING = frozenset(["chunks", "grain", "lone border"])


class Value:
    """The result of an operation: `op`, operands, type; `payload` is the constant, dim number, buffer, ... it needs."""

    __slots__ = ("args", "block", "op", "payload", "type")

    def __init__(self, op: str, args: Sequence[Value], type: str, payload: Any, block: Block):
        self.op = op
        self.args = tuple(args)
        self.type = type
        self.payload = payload
        self.block = block


class Buffer:
    """An operand, or scratch memory of a fixed number of elements that lives as long as a call of the kernel.

    mode: "in" is only read; "out" is written (and may be read again); "scratch".
    """

    __slots__ = ("length", "mode", "number", "type")

    def __init__(self, type: str, mode: str, number: int, length: int = 0):
        self.type = type
        self.mode = mode
        self.number = number
        self.length = length

    @property
    def name(self) -> str:
        return f"{'s' if self.mode == 'scratch' else 'p'}{self.number}"


class Accumulator:
    """A running `kind` (add, mul, max, min, and, or) of `type`, starting at `start`; updates may come in any order."""

    __slots__ = ("block", "kind", "number", "start", "type")

    def __init__(self, kind: str, type: str, start: Value, number: int, block: Block):
        self.kind = kind
        self.type = type
        self.start = start
        self.number = number
        self.block = block


class Variable:
    """A scalar that serial loops assign to, for recurrences: not an accumulator, its order counts."""

    __slots__ = ("block", "number", "start", "type")

    def __init__(self, type: str, start: Value, number: int, block: Block):
        self.type = type
        self.start = start
        self.number = number
        self.block = block


class Store:
    """buffer[index] = value, where `mask` (if given) holds."""

    __slots__ = ("buffer", "index", "mask", "value")

    def __init__(self, buffer: Buffer, index: Value, value: Value, mask: Value | None):
        self.buffer, self.index, self.value, self.mask = buffer, index, value, mask


class Update:
    """accumulator = accumulator <kind> value."""

    __slots__ = ("accumulator", "value")

    def __init__(self, accumulator: Accumulator, value: Value):
        self.accumulator, self.value = accumulator, value


class Assign:
    """variable = value."""

    __slots__ = ("value", "variable")

    def __init__(self, variable: Variable, value: Value):
        self.variable, self.value = variable, value


class Check:
    """Leave the kernel with status 1 unless `holds` (in every lane); `details` are two i64 for the message."""

    __slots__ = ("details", "holds")

    def __init__(self, holds: Value, details: tuple[Value, Value]):
        self.holds, self.details = holds, details


class Loop:
    """for var in [start, stop): body. kind: "serial" or "vector"."""

    __slots__ = ("body", "kind", "start", "stop", "var")

    def __init__(self, kind: str, var: Value, start: Value, stop: Value, body: Block):
        self.kind, self.var, self.start, self.stop, self.body = kind, var, start, stop, body


class Branch:
    """if condition: body, else: other. The condition is the same in all lanes."""

    __slots__ = ("body", "condition", "other")

    def __init__(self, condition: Value, body: Block, other: Block):
        self.condition, self.body, self.other = condition, body, other


class Block:
    """Statements in order: Values, and the statement classes above."""

    __slots__ = ("depth", "guard", "memo", "open", "parent", "statements")

    def __init__(self, parent: Block | None, guard: bool = False):
        self.parent = parent
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.guard = guard  # what stands here may not be computed outside
        self.statements: list[Any] = []
        self.memo: dict[Any, Value] = {}
        self.open = True


class Kernel:
    """A finished kernel: operand `buffers`, `scratch`, number of `dims`, `body`; `name` is the hash of its text."""

    __slots__ = ("accumulators", "begin", "body", "buffers", "dims", "end", "name", "scratch", "text")

    def __init__(self, builder: Builder):
        self.body = builder.root
        self.begin, self.end = builder.begin, builder.end
        self.buffers = tuple(builder.buffers)
        self.scratch = tuple(builder.scratch_buffers)
        self.dims = len(builder.dims)
        self.text = show(self)
        self.name = "k_" + hashlib.blake2b(self.text.encode(), digest_size=12).hexdigest()

    def __repr__(self) -> str:
        return f"kernel {self.name} {self.text}"


class Builder:
    """Builds one kernel.

    >>> k = Builder()
    >>> x, o = k.buffer("f32", "in"), k.buffer("f32", "out")
    >>> with k.vector(k.begin, k.end) as i:
    ...     v = k.load(x, i)
    ...     k.store(o, i, k.add(k.mul(v, v), k.const(1.0, "f32")))
    >>> print(k.finish().text)
    (p0:f32 in, p1:f32 out; 0 dims)
      %0 = const 1.0:f32
      for %1 in vector [begin, end):
        %2 = load p0[%1]
        %3 = mul %2 %2
        %4 = add %3 %0
        store p1[%1] = %4
    """

    def __init__(self) -> None:
        self.root = Block(None)
        self.block = self.root
        self.buffers: list[Buffer] = []
        self.scratch_buffers: list[Buffer] = []
        self.roles: list[tuple[int, str]] = []  # of the dims: value, role
        self._numbers = 0
        self.begin = Value("begin", (), "i64", None, self.root)
        self.end = Value("end", (), "i64", None, self.root)

    # ------------------------------------------------------------------------------------------------------- operands

    def buffer(self, type: str, mode: str) -> Buffer:
        """The next operand of the kernel, of mode "in" or "out"."""
        assert type in TYPES and mode in ("in", "out"), (type, mode)
        self.buffers.append(Buffer(type, mode, len(self.buffers)))
        return self.buffers[-1]

    def scratch(self, type: str, length: int) -> Buffer:
        """Memory of the kernel itself."""
        self.scratch_buffers.append(Buffer(type, "scratch", len(self.scratch_buffers), length))
        return self.scratch_buffers[-1]

    def dim(self, n: int, role: str = "") -> Value:
        """An extent or offset: a constant if it is small, else a run-time value that all equal ones of a role share.

        Numbers of different roles may be equal by chance, and then differ in a program of another batch size. Those of
        the roles in `VARYING` follow from sizes, and are no constants even where they are small.
        """
        if -1 <= n <= STATIC and role not in VARYING:
            return self.const(n, "i64")
        if (n, role) not in self.roles:
            self.roles.append((n, role))
        return self._place("dim", (), "i64", self.roles.index((n, role)))

    @property
    def dims(self) -> list[int]:
        """Run-time values of the dims, for the caller."""
        return [n for n, _ in self.roles]

    def const(self, value: Any, type: str) -> Value:
        """A constant."""
        value = dtype_of(type).type(value)
        return self._place("const", (), type, value, key=(value.tobytes(), type))

    # ----------------------------------------------------------------------------------------------------- operations

    def _place(self, op: str, args: Sequence[Value], type: str, payload: Any, key: Any = None) -> Value:
        """A pure value in the outermost block where its operands are known; the same one if it is there already."""
        block = self.root
        for a in args:
            assert a.block.open, f"operand of {op} belongs to a block that is finished"
            if a.block.depth > block.depth:
                block = a.block
        key = (op, tuple(map(id, args)), type, payload if key is None else key)
        inner: Block | None = self.block
        if op == "load":  # may not run where a guard keeps it from running
            while inner is not None and inner is not block:
                if inner.guard:
                    block = inner
                    break
                inner = inner.parent
        found = block.memo.get(key)
        if found is None:
            found = block.memo[key] = Value(op, args, type, payload, block)
            block.statements.append(found)
        return found

    def op(self, name: str, *args: Value, type: str | None = None) -> Value:
        """Apply an operation of `scalars.OPS` or a function of `scalars.MATH`."""
        if name in MATH:
            assert len(args) == MATH[name] and all(a.type == args[0].type in FLOATS for a in args), name
            return self._place(name, args, args[0].type, None)
        count, gives = OPS[name]
        assert len(args) == count, name
        operands = args[1:] if name == "select" else args
        assert all(a.type == operands[0].type for a in operands), (name, [a.type for a in args])
        if gives == "given":
            assert type is not None
            if args[0].type == type:
                return args[0]
        else:
            type = {"same": args[0].type, "second": args[-1].type, "bool": "bool"}[gives]
        return self._place(name, args, type, None)

    def add(self, a: Value, b: Value) -> Value:
        return self.op("add", a, b)

    def sub(self, a: Value, b: Value) -> Value:
        return self.op("sub", a, b)

    def mul(self, a: Value, b: Value) -> Value:
        return self.op("mul", a, b)

    def select(self, which: Value, a: Value, b: Value) -> Value:
        return self.op("select", which, a, b)

    def cast(self, a: Value, type: str) -> Value:
        return self.op("cast", a, type=type)

    def affine(self, terms: Sequence[tuple[Value, Value]], offset: Value | None = None) -> Value:
        """offset + sum of index * stride, with nothing added or multiplied that is known to do nothing."""
        total = None if offset is None or _is(offset, 0) else offset
        for index, stride in terms:
            if _is(stride, 0) or _is(index, 0):
                continue
            part = index if _is(stride, 1) else stride if _is(index, 1) else self.mul(index, stride)
            total = part if total is None else self.add(total, part)
        return self.const(0, "i64") if total is None else total

    # --------------------------------------------------------------------------------------------------------- memory

    def load(self, buffer: Buffer, index: Value, mask: Value | None = None, other: Value | None = None) -> Value:
        """buffer[index]; with a mask, `other` where it is false, and the memory there is not touched."""
        assert index.type == "i64" and (mask is None) == (other is None)
        args = (index,) if mask is None else (index, mask, other)
        if buffer.mode == "in":
            return self._place("load", args, buffer.type, buffer, key=buffer.number)
        value = Value("load", args, buffer.type, buffer, self.block)
        self.block.statements.append(value)
        return value

    def store(self, buffer: Buffer, index: Value, value: Value, mask: Value | None = None) -> None:
        """buffer[index] = value."""
        assert value.type == buffer.type and buffer.mode != "in", (value.type, buffer.type, buffer.mode)
        self.block.statements.append(Store(buffer, index, value, mask))

    def check(self, holds: Value, *details: Value) -> None:
        """Fail with an index error unless `holds`."""
        self.block.statements.append(Check(holds, (details[0], details[1])))

    # -------------------------------------------------------------------------------------------------------- control

    @contextmanager
    def _loop(self, kind: str, start: Value, stop: Value) -> Iterator[Value]:
        outer = self.block
        body = self.block = Block(outer)
        var = Value("index", (), "i64", None, body)
        yield var
        self.block = outer
        body.open = False
        outer.statements.append(Loop(kind, var, start, stop, body))

    def serial(self, start: Value, stop: Value) -> Any:
        """with k.serial(start, stop) as i: ..."""
        return self._loop("serial", start, stop)

    def vector(self, start: Value, stop: Value) -> Any:
        """with k.vector(start, stop) as i: ...; iterations may run in any order and together."""
        return self._loop("vector", start, stop)

    @contextmanager
    def branch(self, condition: Value) -> Iterator[None]:
        """with k.branch(condition): ...; what it holds runs only where the condition is true."""
        outer = self.block
        body = self.block = Block(outer, guard=True)
        yield
        self.block = outer
        body.open = False
        outer.statements.append(Branch(condition, body, Block(outer, guard=True)))

    def accumulator(self, kind: str, start: Value) -> Accumulator:
        """A running `kind`, from `start` on, to be updated in loops that are opened behind it."""
        self._numbers += 1
        made = Accumulator(kind, start.type, start, self._numbers - 1, self.block)
        self.block.statements.append(made)
        return made

    def update(self, accumulator: Accumulator, value: Value) -> None:
        """Take in one more value."""
        assert value.type == accumulator.type
        self.block.statements.append(Update(accumulator, value))

    def variable(self, start: Value) -> Variable:
        """A scalar that later statements assign to."""
        self._numbers += 1
        made = Variable(start.type, start, self._numbers - 1, self.block)
        self.block.statements.append(made)
        return made

    def assign(self, variable: Variable, value: Value) -> None:
        """variable = value."""
        assert value.type == variable.type
        self.block.statements.append(Assign(variable, value))

    def read(self, source: Accumulator | Variable) -> Value:
        """The present value of an accumulator (behind its loops) or a variable."""
        value = Value("read", (), source.type, source, self.block)
        self.block.statements.append(value)
        return value

    def finish(self) -> Kernel:
        """The kernel."""
        assert self.block is self.root
        return Kernel(self)


def _is(value: Value, number: int) -> bool:
    return value.op == "const" and value.type in INTEGERS and int(value.payload) == number


def show(kernel: Kernel) -> str:
    """The text of a kernel, equal for equal kernels."""
    names: dict[int, str] = {id(kernel.begin): "begin", id(kernel.end): "end"}

    def name(v: Value) -> str:
        return names.setdefault(id(v), f"%{len(names) - 2}")

    buffers = ", ".join(f"{b.name}:{b.type} {b.mode}" for b in kernel.buffers)
    lines = [f"({buffers}; {kernel.dims} dims)"]
    lines += [f"  scratch {b.name}:{b.type}[{b.length}]" for b in kernel.scratch]

    def put(block: Block, indent: str) -> None:
        for s in block.statements:
            put_statement(s, indent)

    def put_statement(s: Any, indent: str) -> None:
        say = lambda text: lines.append(indent + text)  # noqa: E731
        if isinstance(s, Value):
            say(f"{name(s)} = {_expression(s, name)}")
        elif isinstance(s, Store):
            mask = "" if s.mask is None else f" if {name(s.mask)}"
            say(f"store {s.buffer.name}[{name(s.index)}] = {name(s.value)}{mask}")
        elif isinstance(s, Loop):
            var = name(s.var)
            say(f"for {var} in {s.kind} [{name(s.start)}, {name(s.stop)}):")
            put(s.body, indent + "  ")
        elif isinstance(s, Branch):
            say(f"if {name(s.condition)}:")
            put(s.body, indent + "  ")
            if s.other.statements:
                say("else:")
                put(s.other, indent + "  ")
        elif isinstance(s, Accumulator):
            say(f"acc{s.number} = {s.kind} from {name(s.start)}:{s.type}")
        elif isinstance(s, Variable):
            say(f"var{s.number} = {name(s.start)}:{s.type}")
        elif isinstance(s, Update):
            say(f"acc{s.accumulator.number} {s.accumulator.kind}= {name(s.value)}")
        elif isinstance(s, Assign):
            say(f"var{s.variable.number} := {name(s.value)}")
        else:
            say(f"check {name(s.holds)} ({name(s.details[0])}, {name(s.details[1])})")

    put(kernel.body, "  ")
    return "\n".join(lines)


def _expression(v: Value, name: Any) -> str:
    if v.op == "const":
        exact = v.payload.item()
        return f"const {exact.hex() if isinstance(exact, float) and exact != np.rint(exact) else exact}:{v.type}"
    if v.op == "dim":
        return f"dim {v.payload}"
    if v.op == "load":
        rest = "" if len(v.args) == 1 else f" if {name(v.args[1])} else {name(v.args[2])}"
        return f"load {v.payload.name}[{name(v.args[0])}]{rest}"
    if v.op == "read":
        return f"read {'acc' if isinstance(v.payload, Accumulator) else 'var'}{v.payload.number}"
    type = f":{v.type}" if v.op in ("cast", "bits") else ""
    return f"{v.op} {' '.join(name(a) for a in v.args)}{type}"
