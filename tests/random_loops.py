"""Random programs of loops and branches in one another, as Python text that a failing test shows.

    def program(lax, x0, m0, s0, h0, t0, n0, a0, b0, c0, k0):
        def f1(carry, slices):
            x1, n1 = carry
            (s1,) = slices
            x2 = fgrad.at(x1)[n1 % 3].set(s1)
            return (x2, n0 + n1), (x1,)
        (x3, n2), ys = lax.scan(f1, (x0, n0), (x0,), reverse=True)
        ...
        return x3, n2

The first letter of a name is the type of the value (`TYPES`). `lax` is `THROUGH`, fgrad.lax, or `PLAIN`, Python's own
loops: what they compute is the same.
"""

from __future__ import annotations

import random
import re
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import python_loops

import fgrad
import fgrad.numpy as fnp
from fgrad import lax

TYPES: dict[str, tuple[str, tuple[int, ...]]] = {
    "x": ("float64", (3,)),
    "m": ("float64", (2, 3)),
    "s": ("float64", ()),
    "h": ("float32", (3,)),
    "t": ("float32", ()),
    "n": ("int64", ()),
    "a": ("int32", (3,)),
    "b": ("bool", ()),
    "c": ("bool", (3,)),
    "k": ("uint32", (2,)),  # a key of random numbers
}
FLOATS = "xmsht"

WAYS = {  # of the values of a type; by none of them small differences grow much
    "x": [
        "fnp.sin({x}) * {x} * 0.7", "{x} + {s}", "{x} * fnp.tanh({x})", "{x}[::-1] - {x}", "fnp.cumsum({x}) * 0.5",
        "fnp.sort({x})", "fnp.where({b}, {x}, {x})", "fnp.where({c}, {x}, 0.25)", "fgrad.at({m})[{n} % 2].get()",
        "{m}.sum(0) * 0.5", "{m}.max(0)", "fgrad.at({x})[{a} % 3].get()", "fgrad.at({x})[{n} % 3].set({s})",
        "fgrad.at({x})[{n} % 3].add({x}[0])", "fgrad.at({x})[{a} % 3].add({x})", "fnp.roll({x}, 1)",
        "fgrad.at({x})[{a} % 3].multiply(fnp.cos({x}))", "fnp.concatenate([{x}[1:], {x}[:1]])",
        "fnp.stack([{s}, {s}, {s}])", "{a}.astype(np.float64) * 0.1", "fnp.pad({x}[:2], (1, 0))",
        "random.normal({k}, (3,))", "fnp.full(3, 0.5, like={x})", "fgrad.at({x})[fnp.argsort({x})].get()",
        "fnp.clip({x}, -0.5, {s})", "fnp.sqrt({x} * {x} + 1.0)", "fnp.sin({x}) @ ({x}[:, None] * fnp.cos({x}))",
        "lax.associative_scan(fnp.maximum, {x}, reverse=True)",
        "lax.associative_scan(lambda p, q: (p[0] * q[0], p[1] * q[0] + q[1]), (fnp.sin({x}), {x}))[1]",
    ],
    "m": [
        "fnp.stack([{x}, {x}])", "fnp.cos({m}) * {x}", "{m} + {s}", "{m}[::-1]", "fnp.outer({x}[:2], fnp.sin({x}))",
        "fgrad.at({m})[{n} % 2].set({x})", "fgrad.at({m})[{n} % 2, {n} % 3].add({s})", "{m}.T.reshape(2, 3)",
        "fnp.where({c}, {m}, {s})", "fnp.tanh({m} @ ({m}.T @ {m}))", "fgrad.at({m})[:, {n} % 3].multiply({s})",
        "fnp.cumsum({m}, 1) * 0.3", "fgrad.at({m})[{n} % 2, {a} % 3].set({x})",
        "lax.associative_scan(fnp.add, {m}, axis=1) * 0.5",
    ],
    "s": [
        "fnp.sum({x}) * 0.5", "fgrad.at({x})[{n} % 3].get()", "fnp.max({x})", "fnp.tanh({s} * {s})", "{s} - {s}",
        "fnp.sin({x} @ {x})", "fgrad.at({m})[{n} % 2, {n} % 3].get()", "fnp.where({b}, {s}, {s})",
        "fnp.prod(fnp.cos({x}))", "{n} * 0.125", "fnp.sin({s})", "random.uniform({k})", "fnp.mean({m})",
        "fnp.linalg.norm({x}) * 0.5", "fgrad.at({x})[fnp.argmax({x})].get()", "fnp.log1p({s} * {s})",
    ],
    "h": [
        "fnp.sin({h}) * {t}", "{x}.astype(np.float32)", "({h} + {h}) * 0.5", "fgrad.at({h})[{n} % 3].set({t})",
        "fnp.cumsum({h}) * 0.5", "fnp.where({c}, {h}, {t})", "fgrad.at({h})[{a} % 3].get()",
    ],
    "t": ["fnp.mean({h})", "fnp.cos({t})", "fgrad.at({h})[{n} % 3].get()", "{s}.astype(np.float32)", "{t} * 0.5"],
    "n": [
        "{n} + 1", "({n} * 3 + 1) % 7", "{n} // 2", "fnp.argmax({x})", "fnp.argmin({m}[1])", "fnp.where({b}, {n}, 2)",
        "fnp.sum({x} > {s})", "fgrad.at({a})[{n} % 3].get().astype(np.int64)", "fnp.abs({n} - {n})",
        "fnp.count_nonzero({c})", "(fnp.abs({s}) * 3.0).astype(np.int64) % 5", "fnp.searchsorted(fnp.sort({x}), {s})",
    ],
    "a": [
        "{a} + 1", "{a}[::-1] % 5", "fgrad.at({a})[{n} % 3].set(7)", "fnp.argsort({x}).astype(np.int32)",
        "fnp.cumsum({a}, dtype=np.int32) % 11", "fnp.where({c}, {a}, {a})", "fgrad.at({a})[{n} % 3].add({a}[0])",
    ],
    "b": [
        "{s} > {s}", "{n} < 3", "~{b}", "{b} & {b}", "{b} | ({n} == 1)", "fnp.any({c})",
        "fgrad.at({c})[{n} % 3].get()",
    ],
    "c": ["{x} > {x}", "{x} < {s}", "~{c}", "{c} ^ {b}", "{a} > 2", "fgrad.at({c})[{n} % 3].set({b})"],
    "k": ["random.split({k})[0]", "random.fold_in({k}, {n})"],
}  # fmt: skip
UNCHECKED = {  # indices may be out of bounds
    "x": ["fgrad.at({m})[{n}].get()", "fgrad.at({x})[{n}].set({s})"],
    "s": ["fgrad.at({x})[{n}].get()", "fgrad.at({m})[{n} - 1, {n}].get()", "fgrad.at({x})[{n} - 2].get()"],
}
SUMS = {"x": "sum(0)", "m": "sum(0)", "h": "sum(0)", "s": "sum()", "t": "sum()", "n": "sum()", "b": "any()"}

THROUGH = types.SimpleNamespace(
    **{name: getattr(lax, name) for name in lax.__all__}, jit=fgrad.jit, checkpoint=fgrad.checkpoint, vmap=fgrad.vmap
)
PLAIN = python_loops


class Program:
    """The random program of a number.

    unchecked: indices may be out of bounds.
    """

    def __init__(self, seed: int, depth: int = 3, unchecked: bool = False):
        self.rng = random.Random(seed)
        self.single = self.rng.random() < 0.25  # float32 values take part
        self.unchecked = unchecked
        self.count = dict.fromkeys([*TYPES, "f", "y"], 0)
        self.regions = 6  # how many more there may be
        self.lines: list[str] = []
        self.indent = "    "
        self.scope = [letter + "0" for letter in TYPES]
        wanted = "xmsna" + "h" * self.single
        self.statements(depth, wanted)
        self.write(f"return {', '.join(self.results(wanted))}")
        self.text = "\n".join([f"def program(lax, {', '.join(self.scope[: len(TYPES)])}):", *self.lines, ""])

    def function(self, filename: str = "<random loops>") -> Callable[..., Any]:
        """The program as a function of `lax` and a value of each type."""
        names = {"np": np, "fnp": fnp, "fgrad": fgrad, "random": fgrad.random}
        exec(compile(self.text, filename, "exec"), names)
        return names["program"]

    # ------------------------------------------------------------------------------------------------------- the writer

    def write(self, line: str) -> None:
        self.lines.append(self.indent + line)

    def new(self, letter: str) -> str:
        """A name for a value that comes to be known by it; "f", "y": of a function, of a stack."""
        self.count[letter] += 1
        name = f"{letter}{self.count[letter]}"
        if letter in TYPES:
            self.scope.append(name)
        return name

    def taken(self, letters: str) -> list[str]:
        """Names for values of these types."""
        return [self.new(letter) for letter in letters]

    def old(self, letter: str) -> str:
        """A value that is known, often a new one."""
        fits = [name for name in self.scope if name[0] == letter]
        return self.rng.choice(fits[-2:] if self.rng.random() < 0.7 else fits)

    def olds(self, letters: str) -> list[str]:
        return [self.old(letter) for letter in letters]

    def results(self, letters: str) -> list[str]:
        """The last values of these types."""
        return [next(name for name in reversed(self.scope) if name[0] == letter) for letter in letters]

    def some(self, most: int, letters: str = "xxmssnnabck") -> str:
        """A few types."""
        chosen = "".join(self.rng.choice(letters) for _ in range(self.rng.randint(1, most)))
        return chosen + self.rng.choice("ht") if self.single and self.rng.random() < 0.5 else chosen

    def filled(self, way: str) -> str:
        return re.sub(r"\{(\w)\}", lambda hole: self.old(hole[1]), way)

    @contextmanager
    def body(self, letters: str, head: str = "") -> Iterator[tuple[str, list[str]]]:
        """The lines of a function, its name and those of its own values; it knows what is known here as well.

        head: its arguments, if these are not the values.
        """
        name, known = self.new("f"), len(self.scope)
        names = self.taken(letters)
        self.write(f"def {name}({head or ', '.join(names)}):")
        self.indent += "    "
        yield name, names
        self.indent = self.indent[4:]
        del self.scope[known:]

    # ------------------------------------------------------------------------------------------------------- statements

    def statements(self, depth: int, wanted: str) -> None:
        """A few, of which values of the wanted types come."""
        known = len(self.scope)
        for _ in range(self.rng.randint(1, 3)):
            if depth and self.regions and self.rng.random() < 0.6:
                self.regions -= 1
                self.rng.choice(REGIONS)(self, depth - 1, wanted)
            elif self.rng.random() < 0.15:
                self.written()
            else:
                self.simple(self.rng.choice("xxxmmsssnnabck" + "hht" * self.single))
        for letter in wanted:
            if not any(name[0] == letter for name in self.scope[known:]) and self.rng.random() < 0.8:
                self.simple(letter)

    def simple(self, letter: str) -> None:
        ways = WAYS[letter] + (UNCHECKED.get(letter, []) * 3 if self.unchecked else [])
        way = self.filled(self.rng.choice(ways))
        self.write(f"{self.new(letter)} = {way}")

    def written(self) -> None:
        """Writes in place."""
        letter = self.rng.choice("xm")
        number, value, target = self.olds("ns" + letter)
        name = self.new(letter)
        self.write(f"{name} = fnp.array({target})")
        if letter == "x":
            self.write(f"{name}[{number} % 3] = {value}")
            self.write(f"{name}[1:] += 0.5")
        else:
            self.write(f"{name}[{name} > {value}] = 0.25")

    def scan(self, depth: int, wanted: str) -> None:
        carry, cut, stacked = self.some(3, wanted), self.some(2, "xsnb"), self.some(2, "xmsnb")
        cut, stacked = cut * (self.rng.random() < 0.7), stacked * (self.rng.random() < 0.6)
        length = self.rng.choice([0, 1, 2, 3, 3, 5])
        start, slices = self.olds(carry), [self.slices(letter, length) for letter in cut]
        with self.body(carry + cut, "carry, slices") as (f, names):
            self.write(f"{listed(names[: len(carry)])} = carry")
            if cut:
                self.write(f"{listed(names[len(carry) :])} = slices")
            self.statements(depth, carry + stacked)
            self.write(f"return {tupled(self.results(carry))}, {tupled(self.results(stacked))}")
        options = ["", "", ", reverse=True", ", unroll=2", ", unroll=True", ", checkpoint=True", ", checkpoint=2"]
        option = self.rng.choice(options) + self.rng.choice(["", "", ", reverse=True"])
        option = option.replace(", reverse=True" * 2, ", reverse=True")
        xs, ys = tupled(slices) if cut else "None", [self.new("y") for _ in stacked]
        out = f"lax.scan({f}, {tupled(start)}, {xs}, length={length}{option})"
        self.write(f"{tupled(self.taken(carry))}, {tupled(ys)} = {out}")
        self.summed(stacked, ys)

    def slices(self, letter: str, length: int) -> str:
        """An array of so many values of a type."""
        if letter == "s" and length <= 3 and self.rng.random() < 0.5:
            return f"{self.old('x')}[:{length}]"
        if letter == "x" and length == 2 and self.rng.random() < 0.5:
            return self.old("m")
        stack = f"fnp.stack([{', '.join(self.olds(letter * max(length, 1)))}])"
        return stack if length else stack + "[:0]"

    def summed(self, letters: str, names: list[str]) -> None:
        """Values of stacks of values."""
        for letter, name in zip(letters, names, strict=True):
            self.write(f"{self.new(letter)} = {name}.{SUMS[letter]}")

    def while_loop(self, depth: int, wanted: str) -> None:
        carry = "n" + self.some(3, wanted)
        number, *others = self.olds(carry)
        limit = self.rng.choice([f"{self.old('n')} % 5", "3", "4"])
        with self.body(carry, "carry") as (condition, names):
            self.write(f"{listed(names)} = carry")
            more = self.filled(self.rng.choice(["", "", " & ({s} < 0.7)", " & (fnp.sum({x} * {x}) < 3.0)", " & {b}"]))
            self.write(f"return ({names[0]} < {limit}){more}")
        with self.body(carry, "carry") as (f, names):
            self.write(f"{listed(names)} = carry")
            self.statements(depth, carry[1:])
            self.write(f"return {tupled([f'{names[0]} + 1', *self.results(carry[1:])])}")
        out = f"lax.while_loop({condition}, {f}, {tupled([f'{number} % 3', *others])})"
        self.write(f"{listed(self.taken(carry))} = {out}")

    def fori_loop(self, depth: int, wanted: str) -> None:
        carry = self.some(3, wanted)
        start = self.olds(carry)
        low = self.rng.choice(["0", "0", "1", f"{self.old('n')} % 2"])
        high = self.rng.choice(["0", "2", "4", f"{self.old('n')} % 4"])
        with self.body(carry, "i, carry") as (f, names):
            self.write(f"{listed(names)} = carry.values()")
            self.write(f"{self.new('n')} = fnp.asarray(i, np.int64)")
            self.statements(depth, carry)
            self.write(f"return {keyed(self.results(carry))}")
        out = f"lax.fori_loop({low}, {high}, {f}, {keyed(start)})"
        self.write(f"{listed(self.taken(carry))} = {out}.values()")

    def cond(self, depth: int, wanted: str) -> None:
        self.chosen(depth, wanted, 2, f"lax.cond({self.old('b')}, %s, ")

    def switch(self, depth: int, wanted: str) -> None:
        self.chosen(depth, wanted, 3, f"lax.switch({self.old('n')} - 1, [%s], ")

    def chosen(self, depth: int, wanted: str, count: int, call: str) -> None:
        ins, outs = self.some(2), self.some(2, wanted)
        operands = ", ".join(self.olds(ins))
        functions = ", ".join([self.function_of(depth, ins, outs) for _ in range(count)])
        self.write(f"{listed(self.taken(outs))} = {call % functions}{operands})")

    def function_of(self, depth: int, ins: str, outs: str) -> str:
        """A function of values of some types that returns a tuple."""
        with self.body(ins) as (f, _):
            self.statements(depth, outs)
            self.write(f"return {tupled(self.results(outs))}")
        return f

    def wrapped(self, depth: int, wanted: str) -> None:
        ins, outs = self.some(3), self.some(2, wanted)
        operands = ", ".join(self.olds(ins))
        call = f"lax.{self.rng.choice(['jit', 'checkpoint'])}({self.function_of(depth, ins, outs)})"
        self.write(f"{listed(self.taken(outs))} = {call}({operands})")

    def lanes(self, depth: int, wanted: str) -> None:
        ins, outs, lanes = self.some(2, "xsn"), self.some(2, "xsnb"), self.rng.choice([1, 2, 9])
        operands = ", ".join([self.slices(letter, lanes) for letter in ins])
        f, ys = self.function_of(depth, ins, outs), [self.new("y") for _ in outs]
        call = self.rng.choice([f"vmap({f})({operands})", f"map(lambda v: {f}(*v), ({operands},))"])
        self.write(f"{listed(ys)} = lax.{call}")
        self.summed(outs, ys)

    def gradient(self, depth: int, wanted: str) -> None:
        operand, f = self.old("x"), self.function_of(depth, "x", "s")
        self.write(f"{self.new('x')} = fnp.tanh(fgrad.grad(lambda v: {f}(v)[0])({operand}))")


REGIONS = [
    *[Program.scan] * 3, *[Program.while_loop] * 2, *[Program.fori_loop] * 2, *[Program.cond] * 2, Program.switch,
    Program.wrapped, Program.lanes, Program.gradient,
]  # fmt: skip


def listed(names: list[str]) -> str:
    """Names of values to be unpacked: `a, b` or `(a,)`."""
    return ", ".join(names) if len(names) > 1 else tupled(names)


def tupled(names: list[str]) -> str:
    """A tuple."""
    return f"({', '.join(names)}{',' * (len(names) == 1)})"


def keyed(names: list[str]) -> str:
    """A dictionary, its keys in the order that they are sorted in."""
    return "{" + ", ".join(f"{key!r}: {name}" for key, name in zip("abcde", names, strict=False)) + "}"


# ------------------------------------------------------------------------------------------------------------ operands


def operands(rng: np.random.Generator, special: bool = False) -> list[Any]:
    """A value of each type; special: infinities, NaN and zeros among the numbers."""
    out = []
    for letter, (dtype, shape) in TYPES.items():
        x = rng.normal(size=shape)
        if special and letter in FLOATS:
            x = np.where(rng.random(shape) < 0.3, rng.choice([np.inf, -np.inf, np.nan, 0.0, -0.0]), x)
        if letter in "na":
            x = rng.integers(0, 6, shape)
        if letter == "k":
            x = rng.integers(0, 2**32, shape)
        out.append(np.asarray(x > 0 if dtype == "bool" else x).astype(dtype)[()])
    return out
