"""The values of a kernel as names in LLVM assembly: scalars, vectors, integers that are affine in a loop's variable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from .llvm_ops import lane_numbers, register_type, spread, wrapped, write, write_wide
from .nests import Accumulator, Value, Variable
from .scalars import INTEGERS, WIDE, size_of

Source = Accumulator | Variable


class Affine(NamedTuple):
    """An integer that is `base` in the first lane and grows by `stride` (a number, or the name of a scalar)."""

    base: str
    stride: int | str
    type: str


class Lanes:
    """How the body of a vector loop is being rendered: `count` lanes, of which the first `rest` are wanted (None: all).

    The other ones use the indices of the last iteration wherever lanes go their own ways. If `faithful` they repeat it
    in every respect.
    """

    def __init__(self, count: int, rest: str | None = None, faithful: bool = True):
        self.count = count
        self.rest = rest
        self.faithful = faithful
        self.first: list[Any] = []  # lines at the top of the body
        self.scope: dict[Any, str] = {}  # what is known there


def as_number(word: str) -> int | None:
    """The integer that a word is, None if it is the name of a value."""
    return None if word.startswith("%") else int(word)


def flat(lines: Iterable[Any]) -> Iterator[str]:
    """The instructions of nested lists."""
    for line in lines:
        if isinstance(line, str):
            yield line
        else:
            yield from flat(line)


class Text:
    """Instructions being written, and what is known about the values in them."""

    def __init__(self, vector_bytes: int):
        self.vector_bytes = vector_bytes
        self.lines: list[Any] = []  # instructions, and lists of instructions that belong there
        self.entry: list[Any] = []  # the first ones of the function
        self.here = "entry"  # label of the block being written
        self.used: dict[str, int] = {}
        self.hints: dict[Value, str] = {}  # what to call a value
        self.scalars: dict[Value, str] = {}
        self.vectors: dict[Value, str] = {}
        self.affines: dict[Value, Affine] = {}
        self.state: dict[Source, tuple[str, int]] = {}  # present value of each accumulator and variable, and its lanes
        self.lanes: Lanes | None = None  # within a vector loop
        self.ahead: list[str] = []  # instructions before the vector loop
        self.inside: set[str] = set()  # names that are made within it
        self.known: list[dict[Any, str]] = [{}]  # vectors made of scalars, by scope; the first is that of `ahead`

    # --------------------------------------------------------------------------------------------------- instructions

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
        x, y = as_number(a), as_number(b)
        if x is not None and y is not None:
            return str(wrapped({"add": x + y, "sub": x - y, "mul": x * y}[op], type))
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

    def spread_out(self, affine: Affine) -> str:
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
        return name if T == "i64" or as_number(name) is not None else self.put(f"trunc i64 {name} to {T}", "narrow")

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
        scope = self.lanes.scope
        if key not in scope:
            lines, self.lines = self.lines, self.lanes.first
            known, self.known = self.known, [self.known[0], scope]
            scope[key] = make()
            self.lines, self.known = lines, known
        return scope[key]

    @contextmanager
    def in_lanes(self, lanes: Lanes) -> Iterator[None]:
        """What is written here is done by so many lanes."""
        outer, self.lanes = self.lanes, lanes
        self.lines.append(lanes.first)
        self.known.append(lanes.scope)
        yield
        self.known.pop()
        self.lanes = outer

    # ------------------------------------------------------------------------------------------------- operations

    def define(self, value: Value, name: str, varies: bool = False) -> None:
        (self.vectors if varies else self.scalars)[value] = name
        (self.scalars if varies else self.vectors).pop(value, None)
        self.affines.pop(value, None)

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
        elif v.op in WIDE:
            result = write_wide(v.op, words, v.type, v.payload, count, put)
        else:
            result = write(v.op, words, v.args[0].type, v.type, count, put)
        self.define(v, result, varies)

    def affine(self, v: Value) -> Affine | None:
        """The value as an affine one, if an operand is affine and the others are scalars or affine too."""
        parts = [
            self.affines.get(a) or (Affine(self.scalars[a], 0, a.type) if a in self.scalars else None) for a in v.args
        ]
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
        known = as_number(stride)
        return Affine(base, stride if known is None else known, T)
