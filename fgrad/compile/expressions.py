"""The expressions of a fused step: in which stage each is known, how it goes through memory, its value in a kernel."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ..core.ir import Var
from .forms import Form, linear
from .nests import STATIC, Buffer, Builder, Value
from .points import Node
from .scalar_rules import RULES, WEIGHTS
from .scalars import FLOATS, MATH, dtype_of
from .steps import Kernel as Fused
from .steps import Root

# What gives NaN where an operand is NaN. Between a product that is taken at its word and the results nothing else may
# stand, but reductions, and choices by a condition that does not depend on it.
KEEP_NAN = frozenset(MATH) - {"pow", "hypot", "atan2", "logaddexp", "fmod"} | {
    *("neg", "add", "sub", "mul", "mul0", "div", "reciprocal", "square", "sqrt", "rsqrt", "abs", "sign", "max", "min"),
    *("floor", "ceil", "trunc", "rint", "stop_gradient"),
}
# Second details of failed checks that are not about an index:
NAN_MET = -1  # a NaN that a strong zero might have prevented
TOO_FAR = -2  # an argument of NEAR beyond REACH: NumPy is to be asked
NEAR = frozenset(["sin", "cos", "tan"])
REACH = 2.0**46


class Expressions:
    """The expressions of one fused step as values of a kernel; `stored` are the roots that others read.

    `trusting`: multiply plainly where zeros annihilate infinities and NaN (mul0), and stop with a failed check if a
    result is NaN or infinite: then the program is to be run again without trust.
    """

    def __init__(self, step: Fused, stored: Sequence[Var], trusting: bool = False):
        self.step = step
        self.trusting = trusting
        self.stored = set(stored)
        self.k = Builder()
        self.values: dict[Any, Value] = {}  # nodes computed in blocks that are open
        self.buffers: dict[Any, Buffer] = {}
        self.operands: list[Any] = []
        self.vars: dict[int, Value] = {}  # loop variables by the innermost domain axis that they stand for
        self.reduced: dict[Var, Value] = {}  # results of row reductions in the present row
        self.spilled: dict[int, tuple[Buffer, bool]] = {}
        self.stages: dict[int, int] = {}
        self.roots = [r for r in step.roots if r.var in self.stored or r.kind == "reduce"]
        self.order()

    # ------------------------------------------------------------------------------------------------------ analysis

    def real(self, n: Node) -> Node:
        """The expression behind a value of this kernel; reductions stand for themselves."""
        while n.kind == "value" and self.step.known[n.payload].kind != "reduce":
            n = self.step.known[n.payload].node
        return n

    def order(self) -> None:
        """Stages of all expressions in use, and the forms by which they go through memory."""
        self.used: list[Node] = []
        seen: set[int] = set()
        self.weights: dict[int, int] = {}

        def visit(start: Node) -> None:
            todo = [(start, False)]
            while todo:
                n, done = todo.pop()
                n = self.real(n)
                if n.number in seen:
                    continue
                if not done:
                    todo.append((n, True))
                    inner = [self.step.known[n.payload].node] if n.kind == "value" else n.args
                    todo.extend((a, False) for a in inner)
                    continue
                seen.add(n.number)
                self.used.append(n)
                if n.kind == "value":
                    self.stages[n.number] = self.stages[self.real(self.step.known[n.payload].node).number] + 1
                    self.weights[n.number] = 0
                    continue
                args = [self.real(a) for a in n.args]
                self.stages[n.number] = max((self.stages[a.number] for a in args), default=0)
                self.weights[n.number] = self.own_weight(n) + sum(self.weights[a.number] for a in args)

        for r in self.roots:
            visit(r.node)
        self.doubtful: set[int] = set()
        if self.trusting:
            self.doubt()

    def doubt(self) -> None:
        """Find what depends on products that are taken at their word; no trust if a NaN might get lost on the way."""
        for n in self.used:
            if n.kind == "value":
                if self.real(self.step.known[n.payload].node).number in self.doubtful:
                    self.doubtful.add(n.number)
                continue
            name = n.payload.primitive.name if n.kind == "rule" else n.payload if n.kind == "op" else ""
            inherits = [self.real(a).number in self.doubtful for a in n.args]
            if name == "mul0" or any(inherits):
                self.doubtful.add(n.number)
            if any(inherits):
                sound = name in KEEP_NAN or (name == "select" and not inherits[0])
                if name == "convert_element_type":
                    sound = n.type in FLOATS
                if name == "integer_pow":
                    sound = n.payload.params["n"] != 0
                self.trusting &= sound
        if not self.trusting:
            self.doubtful.clear()

    @staticmethod
    def own_weight(n: Node) -> int:
        return WEIGHTS.get(n.payload.primitive.name, 1) if n.kind == "rule" else int(n.kind == "op")

    def stage(self, r: Root) -> int:
        return self.stages[self.real(r.node).number]

    def forms(self) -> list[Form]:
        out = [n.payload[1] for n in self.used if n.kind == "load"]
        out += [n.payload for n in self.used if n.kind == "index"]
        if any(r.kind == "full" and r.var in self.stored for r in self.roots):
            out.append(linear(self.step.identity, self.step.shape))
        return out

    def merged(self, axes: Sequence[int]) -> list[list[int]]:
        """Neighbouring axes grouped where every form goes through them as through one."""
        coefficients = [dict(f.terms) for f in self.forms()]
        groups: list[list[int]] = []
        for a in axes:
            inner = self.step.shape[a]
            if groups and all(c.get(groups[-1][-1], 0) == c.get(a, 0) * inner for c in coefficients):
                groups[-1].append(a)
            else:
                groups.append([a])
        return groups

    def extent(self, group: Sequence[int]) -> int:
        return prod(self.step.shape[a] for a in group)

    # ---------------------------------------------------------------------------------------------------- expressions

    def buffer(self, operand: Any, type: str, mode: str) -> Buffer:
        """The kernel's buffer for a variable or a temporary."""
        found = self.buffers.get(operand)
        if found is None:
            found = self.buffers[operand] = self.k.buffer(type, mode)
            self.operands.append(operand)
        return found

    def position(self, form: Form) -> Value:
        """The value of a form in the present loops."""
        k = self.k
        terms = [(self.vars[a], k.dim(c, "stride")) for a, c in form.terms if a in self.vars]
        terms += [(self.value(n), k.dim(c, "stride")) for n, c in form.nodes]
        return k.affine(terms, k.dim(form.const, "offset") if form.const else None)

    def value(self, node: Node) -> Value:
        """The value of an expression in the present loops."""
        todo = [self.real(node)]
        while todo:  # a long chain must not recurse
            n = todo[-1]
            if self.known_value(n) is not None:
                todo.pop()
                continue
            missing = [a for a in map(self.real, n.args) if self.known_value(a) is None]
            if missing:
                todo.extend(missing)
                continue
            self.values[n.number] = self.build(n)
            todo.pop()
        return self.known_value(self.real(node))  # type: ignore[return-value]

    def known_value(self, n: Node) -> Value | None:
        found = self.values.get(n.number)
        if found is not None and (type(found) is tuple or found.block.open):
            return found
        if n.kind == "value":
            return self.reduced[n.payload]
        if n.number in self.spilled:
            buffer, whole = self.spilled[n.number]
            index = linear(self.step.identity, self.step.shape) if whole else self.column_number()
            value = self.values[n.number] = self.k.load(buffer, self.position(index))
            return value
        return None

    def build(self, n: Node) -> Any:
        k = self.k
        if n.kind == "const":
            return self.constant(n.payload, n.type)
        if n.kind == "size":
            # Where the only loop goes over what each call is given, nothing would be gained from a constant.
            return k.dim(n.payload, "border" if sum(m != 1 for m in self.step.shape) > 1 else "lone border")
        if n.kind == "index":
            return self.position(n.payload)
        args = [self.known_value(self.real(a)) for a in n.args]
        if n.kind == "load":
            var, form, mask = n.payload
            buffer = self.buffer(var, n.type, "in")
            if mask is None:
                return k.load(buffer, self.position(form))
            return k.load(buffer, self.position(form), self.value(mask), k.const(0, n.type))
        if n.kind == "op":
            return k.op(n.payload, *args, type=n.type if n.payload in ("cast", "bits") else None)
        if n.kind == "part":
            return args[0][n.payload]
        if n.kind == "bound":
            return self.bound(n.payload, *args)
        e = n.payload
        if e.primitive.name in NEAR:
            self.near(args[0])
        if self.trusting and e.primitive.name == "mul0":
            return k.mul(*args)
        if e.primitive.name == "div" and n.type in FLOATS and 0 < args[1].block.depth < args[0].block.depth:
            return self.quotient(*args)
        return RULES[e.primitive.name](k, args, n.type, e.params)

    def quotient(self, x: Value, y: Value) -> Value:
        """x / y for all x of a row, with one division: q = x (1/y), and what x - q y leaves is added to q.

        Before it is rounded, the sum is within 2^-104 (float32: 2^-46) of the quotient; an ULP may be missing where x
        is so small that x - q y is subnormal. Both are scaled where 1/y would overflow. Nothing is added where q is
        zero, and where q or y is infinite.
        """
        k = self.k
        least, large = (2.0**-960, 2.0**60) if x.type == "f64" else (2.0**-110, 2.0**40)
        scale = k.select(k.op("lt", k.op("abs", y), k.const(least, y.type)), k.const(large, y.type), k.const(1, y.type))
        x, y = k.mul(x, scale), k.mul(y, scale)
        inverse = k.op("div", k.const(1, y.type), y)
        q = k.mul(x, inverse)
        better = k.op("fma", k.op("fma", k.op("neg", q), y, x), inverse, q)
        return k.select(k.op("lt", k.const(0, q.type), k.op("abs", better)), better, q)

    def constant(self, value: Any, type: str) -> Value:
        """A constant of the program. Floats that are not plain come as dims, as in a mean over more rows."""
        k = self.k
        if type not in FLOATS or not np.isfinite(value) or (abs(value) <= STATIC and value == np.rint(2 * value) / 2):
            return k.const(value, type)
        bits = dtype_of(type).type(value).view("i4" if type == "f32" else "i8")
        return k.op("bits", k.cast(k.dim(int(bits)), "i32" if type == "f32" else "i64"), type=type)

    def near(self, x: Value) -> None:
        """Stop at a finite argument that the vector formulas do not reach."""
        k = self.k
        size = k.op("abs", x)
        far = k.op("and", k.op("gt", size, k.const(REACH, x.type)), k.op("lt", size, k.const(np.inf, x.type)))
        k.check(k.op("not", far), k.const(0, "i64"), k.const(TOO_FAR, "i64"))

    def bound(self, size: int, i: Value, mask: Value | None = None) -> Value:
        """An index that is checked, with negative ones counted from the end."""
        k = self.k
        n = k.dim(size, "size")
        holds = k.op("and", k.op("ge", i, k.op("neg", n)), k.op("lt", i, n))
        if mask is not None:
            holds = k.op("or", holds, k.op("not", mask))
        k.check(holds, i, n)
        return k.select(k.op("lt", i, k.const(0, "i64")), k.add(i, n), i)
