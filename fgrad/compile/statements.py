"""The statements of the loop-nest IR, and their text, which is a kernel's identity (see `nests`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .nests import Kernel


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
    """An operand, or scratch memory of a number of elements that lives as long as a call of the kernel.

    mode: "in" is only read; "out" is written (and may be read again); "scratch"; "records": scratch memory that grows.
    """

    __slots__ = ("length", "mode", "number", "type")

    def __init__(self, type: str, mode: str, number: int, length: int = 0):
        self.type = type
        self.mode = mode
        self.number = number
        self.length = length

    @property
    def name(self) -> str:
        return f"{'s' if self.mode == 'scratch' else 'r' if self.mode == 'records' else 'p'}{self.number}"


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
    """for var in [start, stop): body. kind: "serial" or "vector".

    unroll: registers that a vector is to have, so that one need not wait for the other; 0: what seems best.
    """

    __slots__ = ("body", "kind", "start", "stop", "unroll", "var")

    def __init__(self, kind: str, var: Value, start: Value, stop: Value, body: Block, unroll: int = 0):
        self.kind, self.var, self.start, self.stop, self.body = kind, var, start, stop, body
        self.unroll = unroll


class Leave:
    """Leave the innermost loop, a serial one, unless `holds`."""

    __slots__ = ("holds",)

    def __init__(self, holds: Value):
        self.holds = holds


class Poll:
    """Call the native function whose address is in a dim; leave the kernel with its status unless that is 0.

    An address of 0 is no function.
    """

    __slots__ = ("dim",)

    def __init__(self, dim: int):
        self.dim = dim


class Grow:
    """Make memory that grows hold `length` elements, of which the first `used` keep what is in them.

    The native function whose address is in a dim gives the memory; without any the kernel ends with status -1.
    """

    __slots__ = ("buffer", "dim", "length", "used")

    def __init__(self, buffer: Buffer, used: Value, length: Value, dim: int):
        self.buffer, self.used, self.length, self.dim = buffer, used, length, dim


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


def statements(block: Block) -> Iterator[Any]:
    """All statements, those of inner blocks too."""
    for s in block.statements:
        yield s
        for inner in (s.body,) if isinstance(s, Loop) else (s.body, s.other) if isinstance(s, Branch) else ():
            yield from statements(inner)


def operands(s: Any) -> tuple[Value, ...]:
    """The values that a statement reads itself."""
    if isinstance(s, Value):
        return s.args
    if isinstance(s, Store):
        return (s.index, s.value) if s.mask is None else (s.index, s.value, s.mask)
    if isinstance(s, Loop):
        return (s.start, s.stop)
    if isinstance(s, Check):
        return (s.holds, *s.details)
    if isinstance(s, Accumulator | Variable):
        return (s.start,)
    if isinstance(s, Update | Assign):
        return (s.value,)
    if isinstance(s, Branch):
        return (s.condition,)
    if isinstance(s, Grow):
        return (s.used, s.length)
    return (s.holds,) if isinstance(s, Leave) else ()


def show(kernel: Kernel) -> str:
    """The text of a kernel, equal for equal kernels."""
    names: dict[int, str] = {id(kernel.begin): "begin", id(kernel.end): "end"}

    def name(v: Value) -> str:
        found = names.get(id(v))
        if found is None:
            found = names[id(v)] = f"%{len(names) - 2}"
        return found

    buffers = ", ".join(f"{b.name}:{b.type} {b.mode}" for b in kernel.buffers)
    lines = [f"({buffers}; {kernel.dims} dims)"]
    lines += [f"  scratch {b.name}:{b.type}[{b.length}]" for b in kernel.scratch]

    def put(block: Block, indent: str) -> None:
        for s in block.statements:
            if type(s) is Value:  # nearly all are
                lines.append(f"{indent}{name(s)} = {_expression(s, name)}")
            else:
                put_statement(s, indent)

    def put_statement(s: Any, indent: str) -> None:
        say = lambda text: lines.append(indent + text)  # noqa: E731
        if isinstance(s, Store):
            mask = "" if s.mask is None else f" if {name(s.mask)}"
            say(f"store {s.buffer.name}[{name(s.index)}] = {name(s.value)}{mask}")
        elif isinstance(s, Loop):
            var = name(s.var)
            by = f" by {s.unroll}" if s.unroll else ""
            say(f"for {var} in {s.kind} [{name(s.start)}, {name(s.stop)}){by}:")
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
        elif isinstance(s, Leave):
            say(f"leave unless {name(s.holds)}")
        elif isinstance(s, Poll):
            say(f"poll dim {s.dim}")
        elif isinstance(s, Grow):
            say(f"grow {s.buffer.name} to {name(s.length)}, keep {name(s.used)}, by dim {s.dim}")
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
    return f"{v.op} {' '.join([name(a) for a in v.args])}{type}"
