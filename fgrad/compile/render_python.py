"""A kernel as Python source: loops over elements that a person can read, Python can run and Numba can compile.

    from fgrad.compile.prelude import f32, span


    def k_5f0c(p0, p1, dims, begin, end):
        for i in span(begin, end):  # vector
            v0 = p0[i]
            v1 = v0 * v0
            v2 = v1 + f32(1.0)
            p1[i] = v2
        return 0, 0, 0

p0, p1, ... are flat arrays, of uint8 for booleans; dims holds the run-time extents. The result is (0, 0, 0), or 1 and
the two details of the check that failed. What functions such as exp are made of stands in front, as functions.
"""

from __future__ import annotations

import linecache
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np

from . import prelude
from .nests import (
    Accumulator,
    Assign,
    Block,
    Branch,
    Buffer,
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
from .scalars import FLOATS, INTEGERS, MATH
from .vecmath import formula

# One line for each operation. "{t}" is the type of the result.
OPS: dict[str, str] = {
    "add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}", "neg": "-{0}", "abs": "abs({0})",
    "div": "{0} / {1}", "fma": "fma({0}, {1}, {2})", "sqrt": "sqrt({0})",
    "max": "maximum({0}, {1})", "min": "minimum({0}, {1})",
    "quot": "quotient({0}, {1})", "rest": "remainder({0}, {1})",
    "floor": "floor({0})", "ceil": "ceil({0})", "trunc": "trunc({0})", "rint": "rint({0})",
    "copysign": "copysign({0}, {1})",
    "lt": "{0} < {1}", "le": "{0} <= {1}", "gt": "{0} > {1}", "ge": "{0} >= {1}",
    "eq": "{0} == {1}", "ne": "{0} != {1}",
    "and": "{0} & {1}", "or": "{0} | {1}", "xor": "{0} ^ {1}", "not": "~{0}",
    "shl": "{0} << {1}", "shr": "{0} >> {1}", "popcount": "popcount({0})", "clz": "leading_zeros({0})",
    "select": "select({0}, {1}, {2})", "cast": "cast({0}, {t})", "bits": "bits({0}, {t})",
}  # fmt: skip
# Accumulators of floats, which may take in their values in any order
_RUNNING = {"add": "running_sum({0}, {1})", "mul": "running_product({0}, {1})"}
# Numba computes with 64-bit integers, and gives signed ones for some operations: brought back to the type.
_INTEGER_OPS = ("add", "sub", "mul", "neg", "abs", "and", "or", "xor", "not", "shl", "shr")
_WIDENED = {**{t: _INTEGER_OPS for t in INTEGERS if t not in ("i64", "u64")}, "u64": ("neg", "abs", "not")}
_PRELUDE = frozenset(prelude.__all__)


def render(kernel: Kernel, wide: bool = False) -> str:
    """The source of a module that defines the kernel as a function of its own name, and what that needs.

    >>> from fgrad.compile.nests import Builder
    >>> k = Builder()
    >>> x, o = k.buffer("i32", "in"), k.buffer("i32", "out")
    >>> with k.vector(k.begin, k.end) as i:
    ...     k.store(o, i, k.op("neg", k.load(x, i)))
    >>> print(render(k.finish()).replace(k.finish().name, "k"))
    from fgrad.compile.prelude import i32, span
    <BLANKLINE>
    <BLANKLINE>
    def k(p0, p1, dims, begin, end):
        for i in span(begin, end):  # vector
            v0 = p0[i]
            v1 = i32(-v0)
            p1[i] = v1
        return 0, 0, 0
    <BLANKLINE>
    """
    writer = _Writer()
    parameters = [*[b.name for b in kernel.buffers], "dims", "begin", "end"]
    writer.kernel(kernel, parameters)
    return _module(writer, wide)


def module(kernels: Sequence[Kernel], comment: Callable[[Kernel], str]) -> str:
    """The source of a module with several kernels, each behind its comment, and what they need.

    # Equations, operands and a call, as lines of comment
    def k_5f0c(p0, p1, dims, begin, end):
        ...
    """
    math: dict[tuple[str, str], None] = {}
    functions = []
    for kernel in kernels:
        writer = _Writer()
        writer.kernel(kernel, [*[b.name for b in kernel.buffers], "dims", "begin", "end"])
        math.update(writer.math)
        functions.append("\n".join([*comment(kernel).splitlines(), *writer.lines]))
    return _with_imports([*[helper(name, type) for name, type in math], *functions])


def render_thunk(kernel: Kernel) -> str:
    """As `render`, with the signature of a thunk: the form that `numba_kernels` compiles.

    def k_5f0c(call, operands, dims, begin, end):
        p0 = pointer(operands, 0, f32)
        ...
        if not v1:
            call[2] = v2
            call[3] = v3
            return 1
        return 0
    """
    writer = _Writer(thunk=True)
    writer.kernel(kernel, ["call", "operands", "dims", "begin", "end"])
    return _module(writer)


def _module(writer: _Writer, wide: bool = False) -> str:
    return _with_imports([*[helper(name, type, wide) for name, type in writer.math], "\n".join(writer.lines)])


def _with_imports(functions: list[str]) -> str:
    """The source of functions, behind the names of the prelude that they use."""
    code = re.sub(r"^#.*", "", "\n".join(functions), flags=re.MULTILINE)
    used = sorted(_PRELUDE.intersection(re.findall(r"\w+", code)))
    header = [f"from fgrad.compile.prelude import {', '.join(used)}"] if used else []
    return "\n\n\n".join([*header, *functions]) + "\n"


@cache
def helper(name: str, type: str, wide: bool = False) -> str:
    """The source of a function of `MATH`, straight-line code.

    def logistic_f32(x):
        v0 = -x
        ...
        return v9
    """
    meaning = formula(name, type, wide)
    writer = _Writer()
    for param, letter in zip(meaning.params, ("x", "y"), strict=False):
        writer.names[param] = letter
    writer.line(f"def {name}_{type}({', '.join(('x', 'y')[: len(meaning.params)])}):")
    with writer.indented():
        for value in meaning.statements:
            writer.statement(value)
        writer.line(f"return {writer.name(meaning.result)}")
    assert not writer.math, f"the formula of {name} calls another one"
    return "\n".join(writer.lines)


def math_function(name: str, type: str) -> Callable[..., Any]:
    """A function of `MATH` as a Python function of NumPy scalars."""
    return load(_with_imports([helper(name, type)]), f"{name}_{type}")[f"{name}_{type}"]


def function(kernel: Kernel, wide: bool = False) -> Callable[..., tuple[int, int, int]]:
    """The kernel as a Python function of flat arrays; silence NumPy's warnings around it with `np.errstate`.

    wide: with the formulas of machines that have `scalars.WIDE`.

    >>> from fgrad.compile.nests import Builder
    >>> k = Builder()
    >>> x, o = k.buffer("u8", "in"), k.buffer("u8", "out")
    >>> with k.vector(k.begin, k.end) as i:
    ...     k.store(o, i, k.op("abs", k.load(x, i)))
    >>> a, b = np.array([1, 2, 3], np.uint8), np.zeros(3, np.uint8)
    >>> function(k.finish())(a, b, (), 0, 3), b
    ((0, 0, 0), array([1, 2, 3], dtype=uint8))
    """
    return load(render(kernel, wide), kernel.name)[kernel.name]


def load(source: str, name: str) -> dict[str, Any]:
    """The names that a rendered module defines; tracebacks through it show its lines."""
    file = f"<fgrad {name}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    names: dict[str, Any] = {"__name__": name}
    exec(compile(source, file, "exec"), names)
    return names


def _memory_type(buffer: Buffer) -> str:
    return "u8" if buffer.type == "bool" else buffer.type


class _Writer:
    """Lines of one function, and which functions of `MATH` they call."""

    def __init__(self, thunk: bool = False) -> None:
        self.thunk = thunk
        self.lines: list[str] = []
        self.math: dict[tuple[str, str], None] = {}
        self.names: dict[Value, str] = {}
        self.indent = ""
        self.count = 0
        self.loops = 0

    def line(self, text: str) -> None:
        self.lines.append(self.indent + text)

    @contextmanager
    def indented(self) -> Iterator[None]:
        self.indent += "    "
        yield
        self.indent = self.indent[4:]

    def kernel(self, kernel: Kernel, parameters: Sequence[str]) -> None:
        self.names[kernel.begin], self.names[kernel.end] = "begin", "end"
        self.line(f"def {kernel.name}({', '.join(parameters)}):")
        with self.indented():
            for b in kernel.buffers if self.thunk else ():
                self.line(f"{b.name} = pointer(operands, {b.number}, {_memory_type(b)})")
            for b in kernel.scratch:
                self.line(f"{b.name} = scratch({_memory_type(b)}, {b.length})")
            self.block(kernel.body)
            self.line("return 0" if self.thunk else "return 0, 0, 0")

    def name(self, value: Value) -> str:
        """How lines refer to a value: constants stand where they are used."""
        return self.constant(value) if value.op == "const" else self.names[value]

    def constant(self, value: Value) -> str:
        if value.type == "bool":
            return repr(bool(value.payload))
        number = value.payload.item()
        if value.type == "f32" and np.float32(float(str(value.payload))) == value.payload:
            return f"f32({value.payload!s})"  # fewer digits, the same number
        return f"{value.type}({number!r})"

    # ----------------------------------------------------------------------------------------------------- statements

    def block(self, block: Block) -> None:
        for s in block.statements:
            self.statement(s)

    def body(self, header: str, block: Block) -> None:
        self.line(header)
        with self.indented():
            self.block(block)
            if not any(type(s) is not Value or s.op != "const" for s in block.statements):
                self.line("pass")

    def statement(self, s: Any) -> None:
        if isinstance(s, Value):
            if s.op not in ("const", "param"):
                text = self.expression(s)
                self.names[s] = f"v{self.count}"
                self.count += 1
                self.line(f"{self.names[s]} = {text}")
        elif isinstance(s, Store):
            if s.mask is not None:
                self.line(f"if {self.name(s.mask)}:")
            inset = "" if s.mask is None else "    "
            self.line(f"{inset}{s.buffer.name}[{self.name(s.index)}] = {self.name(s.value)}")
        elif isinstance(s, Loop):
            self.names[s.var] = index = "ijklmnop"[self.loops] if self.loops < 8 else f"i_{self.loops}"
            self.loops += 1
            between = f"span({self.name(s.start)}, {self.name(s.stop)})"
            self.body(f"for {index} in {between}:{'  # vector' if s.kind == 'vector' else ''}", s.body)
            self.loops -= 1
        elif isinstance(s, Branch):
            self.body(f"if {self.name(s.condition)}:", s.body)
            if s.other.statements:
                self.body("else:", s.other)
        elif isinstance(s, Accumulator | Variable):
            self.line(f"{_place(s)} = {self.name(s.start)}")
        elif isinstance(s, Update):
            kind, type, place, value = s.accumulator.kind, s.accumulator.type, _place(s.accumulator), self.name(s.value)
            running = _RUNNING.get(kind) if type in FLOATS else None
            self.line(
                f"{place} = {running.format(place, value) if running else self.operation(kind, type, place, value)}"
            )
        elif isinstance(s, Assign):
            self.line(f"{_place(s.variable)} = {self.name(s.value)}")
        elif isinstance(s, Leave):
            self.line(f"if not {self.name(s.holds)}:")
            self.line("    break")
        elif isinstance(s, Poll):
            self.poll(s)
        elif isinstance(s, Grow):
            self.grow(s)
        else:
            assert isinstance(s, Check)
            self.line(f"if not {self.name(s.holds)}:")
            with self.indented():
                first, second = map(self.name, s.details)
                if self.thunk:
                    self.line(f"call[2] = {first}")
                    self.line(f"call[3] = {second}")
                self.line("return 1" if self.thunk else f"return 1, {first}, {second}")

    def poll(self, s: Poll) -> None:
        """A look for signals, which Python itself does well."""
        if not self.thunk:
            self.line("pass  # a look for signals")
            return
        self.line(f"status = poll(dims[{s.dim}], call)")
        self.line("if status != 0:")
        self.line("    return status")

    def grow(self, s: Grow) -> None:
        """More memory, with what is in use of the old."""
        b, used, length = s.buffer, self.name(s.used), self.name(s.length)
        if not self.thunk:
            self.line(f"{b.name} = grown({b.name}, {used}, {length})")
            return
        self.line(f"{b.name} = grow(dims[{s.dim}], call, {b.number}, {b.name}, {used}, {length})")
        self.line(f"if missing({b.name}):")
        self.line("    return -1")

    # ---------------------------------------------------------------------------------------------------- expressions

    def expression(self, v: Value) -> str:
        if v.op == "dim":
            return f"dims[{v.payload}]"
        if v.op == "read":
            return _place(v.payload)
        names = [self.name(a) for a in v.args]
        if v.op == "load":
            element = f"{v.payload.name}[{names[0]}]"
            if v.type == "bool":
                element = f"{element} != 0"
            return element if len(names) == 1 else f"{element} if {names[1]} else {names[2]}"
        if v.op == "lookup":
            return f"{v.type}({v.payload!r}[{names[0]} & {v.args[0].type}(15)])"
        if v.op == "scale":
            return f"scaled({', '.join(names)})"
        if v.op in MATH:
            self.math[v.op, v.type] = None
            return f"{v.op}_{v.type}({', '.join(names)})"
        return self.operation(v.op, v.type, *names)

    def operation(self, op: str, type: str, *names: str) -> str:
        if op == "not" and type == "bool":
            return f"not {names[0]}"
        text = OPS[op].format(*names, t="boolean" if type == "bool" else type)
        return f"{type}({text})" if op in _WIDENED.get(type, ()) else text


def _place(source: Accumulator | Variable) -> str:
    return f"{'acc' if isinstance(source, Accumulator) else 'var'}{source.number}"
