"""How the formulas of this package are written: arithmetic on `Term`s, which records operations of `scalars.OPS`.

    def square_plus_one(x: Term) -> Term:
        return fma(x, x, 1.0)

    record(square_plus_one, 1, "f32")     # Formula: params (%0), statements (const 1.0, fma), result

Numbers among the operands become constants of the type of the other operand. Comparisons make terms of type bool.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..nests import Builder, Value
from ..scalars import dtype_of, size_of


@dataclass(frozen=True)
class Formula:
    """A function of floats as a straight line of operations: `statements` in order, from `params` to `result`."""

    params: tuple[Value, ...]
    statements: tuple[Value, ...]
    result: Value


@dataclass(frozen=True)
class Format:
    """The layout of a floating-point type.

    signed, unsigned: integers of the same size; mantissa: stored bits of it; bias: of the exponent;
    shifter: 1.5 · 2^mantissa, whose sum with a small number has the nearest integer in its low bits.
    """

    name: str
    signed: str
    unsigned: str
    mantissa: int
    bias: int
    shifter: float
    tiny: float  # smallest normal number

    def pattern(self, number: float) -> int:
        """The bits of a number, as a signed integer."""
        return int(np.array(number, dtype_of(self.name)).view(dtype_of(self.signed)))

    @property
    def size(self) -> int:
        """Bytes."""
        return size_of(self.name)

    @property
    def mantissa_mask(self) -> int:
        return (1 << self.mantissa) - 1

    @property
    def exponent_mask(self) -> int:
        """Exponent bits of a positive number."""
        return (2 * self.bias + 1) << self.mantissa


FORMATS = {
    "f32": Format("f32", "i32", "u32", 23, 127, 1.5 * 2.0**23, 2.0**-126),
    "f64": Format("f64", "i64", "u64", 52, 1023, 1.5 * 2.0**52, 2.0**-1022),
}


class Term:
    """A scalar of a formula in the making."""

    __hash__ = None  # type: ignore[assignment]
    __slots__ = ("builder", "value")

    def __init__(self, builder: Builder, value: Value):
        self.builder = builder
        self.value = value

    @property
    def type(self) -> str:
        return self.value.type

    @property
    def format(self) -> Format:
        """The layout of this float."""
        return FORMATS[self.type]

    def like(self, number: Term | float) -> Term:
        """A number as a constant of this type; a term as it is."""
        return number if isinstance(number, Term) else Term(self.builder, self.builder.const(number, self.type))

    def apply(self, op: str, *others: Term | float, type: str | None = None) -> Term:
        """An operation with this as its first operand."""
        operands = (self.value, *(self.like(o).value for o in others))
        return Term(self.builder, self.builder.op(op, *operands, type=type))

    def bits(self, type: str) -> Term:
        """The same bytes as another type."""
        return self.apply("bits", type=type)

    def cast(self, type: str) -> Term:
        """The same number as another type."""
        return self.apply("cast", type=type)

    def lookup(self, table: Sequence[float]) -> Term:
        """The one of 16 floats that the lowest four bits of this unsigned integer tell; see `scalars.WIDE`."""
        return Term(self.builder, self.builder.lookup(table, self.value))

    def scaled(self, n: Term) -> Term:
        """This times 2^floor(n), rounded once; see `scalars.WIDE`."""
        return self.apply("scale", n)

    def __add__(self, other: Term | float) -> Term:
        return self.apply("add", other)

    def __radd__(self, other: float) -> Term:
        return self.apply("add", other)

    def __sub__(self, other: Term | float) -> Term:
        return self.apply("sub", other)

    def __rsub__(self, other: float) -> Term:
        return self.like(other).apply("sub", self)

    def __mul__(self, other: Term | float) -> Term:
        return self.apply("mul", other)

    def __rmul__(self, other: float) -> Term:
        return self.apply("mul", other)

    def __truediv__(self, other: Term | float) -> Term:
        return self.apply("div", other)

    def __rtruediv__(self, other: float) -> Term:
        return self.like(other).apply("div", self)

    def __neg__(self) -> Term:
        return self.apply("neg")

    def __abs__(self) -> Term:
        return self.apply("abs")

    def __lt__(self, other: Term | float) -> Term:
        return self.apply("lt", other)

    def __le__(self, other: Term | float) -> Term:
        return self.apply("le", other)

    def __gt__(self, other: Term | float) -> Term:
        return self.apply("gt", other)

    def __ge__(self, other: Term | float) -> Term:
        return self.apply("ge", other)

    def __eq__(self, other: Term | float) -> Term:  # type: ignore[override]
        return self.apply("eq", other)

    def __ne__(self, other: Term | float) -> Term:  # type: ignore[override]
        return self.apply("ne", other)

    def __and__(self, other: Term | int) -> Term:
        return self.apply("and", other)

    def __or__(self, other: Term | int) -> Term:
        return self.apply("or", other)

    def __xor__(self, other: Term | int) -> Term:
        return self.apply("xor", other)

    def __lshift__(self, count: int) -> Term:
        return self.apply("shl", count)

    def __rshift__(self, count: int) -> Term:
        return self.apply("shr", count)


def fma(a: Term, b: Term | float, c: Term | float) -> Term:
    """a·b + c, rounded once."""
    return a.apply("fma", b, c)


def where(condition: Term, a: Term | float, b: Term | float) -> Term:
    """a where the condition holds, else b; one of them is a term."""
    return condition.apply("select", b.like(a) if isinstance(b, Term) else a, a.like(b) if isinstance(a, Term) else b)


def sqrt(a: Term) -> Term:
    """The square root, correctly rounded."""
    return a.apply("sqrt")


def rint(a: Term) -> Term:
    """The nearest integer, halves to even."""
    return a.apply("rint")


def copysign(a: Term, b: Term) -> Term:
    """|a| with the sign of b."""
    return a.apply("copysign", b)


def at_most(a: Term, bound: float) -> Term:
    """The smaller of a and a constant; a NaN stays."""
    return where(a > bound, bound, a)


def at_least(a: Term, bound: float) -> Term:
    """The larger of a and a constant; a NaN stays."""
    return where(a < bound, bound, a)


def polynomial(x: Term, coefficients: Sequence[Term | float]) -> Term:
    """The polynomial with these coefficients, constant first: by Horner's rule, long ones in x² with pairs a + b x.

    (Pairs need not wait for each other; and they are small where signs alternate, as even and odd parts are not.)
    """
    if len(coefficients) >= 7:
        pairs: list[Term | float] = [fma(x, b, a) for a, b in zip(coefficients[::2], coefficients[1::2], strict=False)]
        return polynomial(x * x, pairs + list(coefficients[2 * len(pairs) :]))
    total = x.like(coefficients[-1])
    for c in reversed(coefficients[:-1]):
        total = fma(x, total, c)
    return total


def record(function: Callable[..., Term], count: int, type: str) -> Formula:
    """What a function of `count` terms does with floats of a type, without what its result does not need."""
    builder = Builder()
    params = tuple(Value("param", (), type, k, builder.root) for k in range(count))
    result = function(*(Term(builder, p) for p in params)).value
    needed = {result}
    for statement in reversed(builder.root.statements):
        if statement in needed:
            needed.update(statement.args)
    return Formula(params, tuple(s for s in builder.root.statements if s in needed), result)
