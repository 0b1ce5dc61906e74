"""The loop-nest IR: a kernel as loops over scalars, and the builder that makes one.

    kernel k_5f0c (x:f32 in, y:f32 in, o:f32 out; 2 dims)
      %0 = dim 0
      for %1 in vector [begin, end):
        %2 = load x[%1]
        %3 = load y[%1]
        %4 = mul %2 %3
        store o[%1] = %4

A kernel is a thunk function (see `native`): it gets operands, dims, and the part [begin, end) of its parallel axis.
Values are immutable and in single-assignment form. A pure operation stands in the outermost block in which its
operands are known, so loops contain only what depends on them. Loops are `serial` or `vector`: the iterations of a
vector loop are independent but for accumulators, and are done in lanes by the renderers that can. There is at most one
vector loop around any statement; it may hold serial loops, which a condition may leave early where there are no lanes.
Extents up to 16 are constants, larger ones run-time dims, so that one kernel serves every batch size; its text is the
key by which it is cached.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .native.language import Native
from .scalars import FLOATS, INTEGERS, MATH, OPS, TYPES, WIDE, dtype_of
from .statements import (
    Accumulator,
    Assign,
    Block,
    Branch,
    Buffer,
    Check,
    Grow,
    Leave,
    Loop,
    Poll,
    Store,
    Update,
    Value,
    Variable,
    show,
)

__all__ = [
    "Accumulator",
    "Assign",
    "Block",
    "Branch",
    "Buffer",
    "Builder",
    "Check",
    "Grow",
    "Kernel",
    "Leave",
    "Loop",
    "Poll",
    "Store",
    "Update",
    "Value",
    "Variable",
    "show",
]

STATIC = 16  # largest extent that is a constant of the kernel
VARYING = frozenset(["chunks", "grain", "images", "lone border"])


class Kernel:
    """A finished kernel: operand `buffers`, `scratch`, number of `dims`, `body`; `name` is the hash of its text."""

    __slots__ = ("accumulators", "begin", "body", "buffers", "dims", "end", "name", "scratch", "text")

    def __init__(self, builder: Builder):
        self.body = builder.root
        self.begin, self.end = builder.begin, builder.end
        self.buffers = tuple(builder.buffers)
        self.scratch = tuple(builder.scratch_buffers)
        self.dims = len(builder.roles)
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
        self.roles: dict[tuple[Any, str], int] = {}  # of the dims: value and role, number
        self.checked: dict[Value, Block] = {}  # conditions, and where they were checked
        self._numbers = 0
        self.begin = Value("begin", (), "i64", None, self.root)
        self.end = Value("end", (), "i64", None, self.root)

    # ------------------------------------------------------------------------------------------------------- operands

    def buffer(self, type: str, mode: str) -> Buffer:
        """The next operand of the kernel, of mode "in" or "out"."""
        assert type in TYPES and mode in ("in", "out"), (type, mode)
        self.buffers.append(Buffer(type, mode, len(self.buffers)))
        return self.buffers[-1]

    def scratch(self, type: str, length: int, grows: bool = False) -> Buffer:
        """Memory of the kernel itself; what `grow` enlarges is on the stack only at first."""
        mode = "records" if grows else "scratch"
        self.scratch_buffers.append(Buffer(type, mode, len(self.scratch_buffers), length))
        return self.scratch_buffers[-1]

    def grow(self, buffer: Buffer, used: Value, length: Value, function: Native) -> None:
        """Make memory that grows hold `length` elements and keep the first `used`: `function` gives it."""
        assert buffer.mode == "records"
        self.block.statements.append(Grow(buffer, used, length, self.native(function)))

    def dim(self, n: int, role: str = "") -> Value:
        """An extent or offset: a constant if it is small, else a run-time value that all equal ones of a role share.

        Numbers of different roles may be equal by chance, and then differ in a program of another batch size. Those of
        the roles in `VARYING` follow from sizes, and are no constants even where they are small.
        """
        if -1 <= n <= STATIC and role not in VARYING:
            return self.const(n, "i64")
        return self._place("dim", (), "i64", self.roles.setdefault((n, role), len(self.roles)))

    @property
    def dims(self) -> list[Any]:
        """Run-time values of the dims, for the caller: numbers, and native functions, of which the address is meant."""
        return [n for n, _ in self.roles]

    def native(self, function: Native) -> int:
        """The dim that holds the address of a native function."""
        return self.roles.setdefault((function, "native"), len(self.roles))

    def const(self, value: Any, type: str) -> Value:
        """A constant."""
        value = dtype_of(type).type(value)
        return self._place("const", (), type, value, key=(value.tobytes(), type))

    # ----------------------------------------------------------------------------------------------------- operations

    def _place(self, op: str, args: Sequence[Value], type: str, payload: Any, key: Any = None) -> Value:
        """A pure value in the outermost block where its operands are known; the same one if it is there already."""
        block = self.root
        for a in args:
            where = a.block
            assert where.open, f"operand of {op} belongs to a block that is finished"
            if where.depth > block.depth:
                block = where
        key = (op, *map(id, args), type, payload if key is None else key)
        if op == "load":  # may not run where a guard keeps it from running
            inner: Block | None = self.block
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
        count, gives = OPS.get(name) or WIDE[name]
        assert len(args) == count, name
        if count > 1:
            operands = args[1:] if name == "select" else args
            kind = operands[0].type
            assert all([a.type == kind for a in operands]), (name, [a.type for a in args])
        if gives == "given":
            assert type is not None
            if args[0].type == type:
                return args[0]
        else:
            type = args[0].type if gives == "same" else args[-1].type if gives == "second" else "bool"
        return self._place(name, args, type, None)

    def lookup(self, table: Sequence[float], index: Value) -> Value:
        """table[index & 15], of 16 floats of the index's size; for formulas of machines with `scalars.WIDE`."""
        assert len(table) == 16 and index.type in ("u32", "u64")
        type = f"f{index.type[1:]}"
        rounded = dtype_of(type).type
        return self._place("lookup", (index,), type, tuple(float(rounded(x)) for x in table))

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

    def load(
        self, buffer: Buffer, index: Value, mask: Value | None = None, other: Value | None = None, here: bool = False
    ) -> Value:
        """buffer[index]; with a mask, `other` where it is false, and the memory there is not touched.

        here: not outside the present block, where nobody has checked the index.
        """
        assert index.type == "i64" and (mask is None) == (other is None)
        args = (index,) if mask is None else (index, mask, other)
        if buffer.mode == "in" and not here:
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
        before = self.checked.get(holds)
        if before is None or not before.open:  # else it has been checked already
            self.checked[holds] = self.block
            self.block.statements.append(Check(holds, (details[0], details[1])))

    # -------------------------------------------------------------------------------------------------------- control

    @contextmanager
    def _loop(self, kind: str, start: Value, stop: Value, unroll: int = 0) -> Iterator[Value]:
        outer = self.block
        body = self.block = Block(outer)
        var = Value("index", (), "i64", None, body)
        yield var
        self.block = outer
        body.open = False
        outer.statements.append(Loop(kind, var, start, stop, body, unroll))

    def serial(self, start: Value, stop: Value) -> Any:
        """with k.serial(start, stop) as i: ..."""
        return self._loop("serial", start, stop)

    def vector(self, start: Value, stop: Value, unroll: int = 0) -> Any:
        """with k.vector(start, stop) as i: ...; iterations may run in any order and together. unroll: see `Loop`."""
        return self._loop("vector", start, stop, unroll)

    def leave(self, holds: Value) -> None:
        """Leave the innermost loop, a serial one, unless `holds`."""
        self.block.statements.append(Leave(holds))

    def poll(self, function: Native) -> None:
        """Leave the kernel with the status that `function(call)` gives, unless that is 0: a look for signals."""
        self.block.statements.append(Poll(self.native(function)))

    @contextmanager
    def branch(self, condition: Value) -> Iterator[None]:
        """with k.branch(condition): ...; what it holds runs only where the condition is true."""
        outer = self.block
        body = self.block = Block(outer, guard=True)
        yield
        self.block = outer
        body.open = False
        outer.statements.append(Branch(condition, body, Block(outer, guard=True)))

    def either(self, condition: Value, body: Callable[[], None], other: Callable[[], None]) -> None:
        """What `body` builds where the condition is true, what `other` builds elsewhere."""
        outer, sides = self.block, []
        for fill in (body, other):
            side = self.block = Block(outer, guard=True)
            fill()
            self.block = outer
            side.open = False
            sides.append(side)
        outer.statements.append(Branch(condition, *sides))

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
