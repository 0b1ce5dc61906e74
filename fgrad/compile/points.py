"""Pointwise graphs: the value of a variable at an index, as an expression over memory that is there already.

Elementwise equations become operations, views (broadcast, transpose, reshape, slice, pad, concatenate, gather, iota)
become index forms and masks; the recursion stops at variables that live in memory, and at results that the kernel
itself computes. Equal expressions are one node.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.ir import Eqn, Literal, Var
from .forms import ZERO, Form, linear, split
from .layouts import contiguous
from .scalars import type_name

Index = "tuple[Form, ...] | Form"  # a form alone is an element number in C order

UPDATES = frozenset(["dynamic_update_slice", "dynamic_add_slice"])
VIEWS = UPDATES | frozenset(  # equations that only move elements, or nearly
    ["broadcast_in_dim", "reshape", "transpose", "rev", "pad", "concatenate", "iota", "dynamic_slice", "gather"]
)


class Incompatible(Exception):
    """A value that is to be computed in a kernel is not available there at that index."""


class Node:
    """One value of an expression.

    kind: "const" (payload: NumPy scalar), "size" (an i64 that follows from sizes; payload: int), "load" (variable,
    element number; args: mask), "index" (form), "rule" (equation), "part" (number of an output of a rule with several),
    "op" (scalar operation), "bound" (axis size; args: index, mask), "value" (variable that the kernel computes at the
    same index).
    deps: bits of the domain's axes on which it depends.
    """

    __slots__ = ("args", "deps", "kind", "number", "payload", "type", "weight")

    def __init__(self, kind: str, args: tuple[Node, ...], payload: Any, type: str, deps: int, number: int):
        self.kind = kind
        self.args = args
        self.payload = payload
        self.type = type
        self.deps = deps
        self.number = number
        self.weight = 0

    def __repr__(self) -> str:
        return f"n{self.number}"


class Graph:
    """Expressions over a domain with given extents.

    `defs`: the defining equation of each variable that may be computed in place; `place(var, index)` says what a
    variable that is not is here: None for memory, a node for a value of this kernel; or raises `Incompatible`.
    """

    def __init__(
        self, extents: Sequence[int], inline: Callable[[Var], Eqn | None], place: Callable[[Var, Any], Node | None]
    ):
        self.extents = tuple(extents)
        self.inline = inline
        self.place = place
        self.table: dict[Any, Node] = {}
        self.points: dict[Any, Node] = {}
        self.nodes: list[Node] = []

    def node(self, kind: str, args: Sequence[Node], payload: Any, type: str, key: Any = None) -> Node:
        """The node of that content."""
        args = tuple(args)
        key = (kind, tuple([a.number for a in args]), type, payload if key is None else key)
        found = self.table.get(key)
        if found is None:
            deps = 0
            for a in args:
                deps |= a.deps
            if kind in ("load", "index"):
                deps |= self.deps_of(payload if kind == "index" else payload[1])
            found = self.table[key] = Node(kind, args, payload, type, deps, len(self.nodes))
            self.nodes.append(found)
        return found

    def finish(self) -> None:
        """Forget what only building needs: thousands of tuples that the garbage collector would walk over."""
        self.table.clear()
        self.points.clear()

    def deps_of(self, form: Form) -> int:
        """Axes on which a form depends."""
        deps = 0
        for a, _ in form.terms:
            deps |= 1 << a
        for n, _ in form.nodes:
            deps |= n.deps
        return deps

    def const(self, value: Any, type: str) -> Node:
        return self.node("const", (), value, type, (np.asarray(value).tobytes(),))

    def integer(self, value: int) -> Node:
        return self.const(np.int64(value), "i64")

    def size(self, value: int) -> Node:
        """An integer that another batch size may change."""
        return self.node("size", (), value, "i64") if value else self.integer(0)

    def op(self, name: str, *args: Node, type: str) -> Node:
        return self.node("op", args, name, type)

    def index(self, form: Form) -> Node:
        if not form.terms and not form.nodes:
            return self.integer(form.const)
        if not form.terms and not form.const and len(form.nodes) == 1 and form.nodes[0][1] == 1:
            return form.nodes[0][0]
        return self.node("index", [n for n, _ in form.nodes], form, "i64")

    def both(self, a: Node | None, b: Node | None) -> Node | None:
        """The conjunction of two masks; None is true."""
        if a is None or b is None:
            return b if a is None else a
        return self.op("and", a, b, type="bool")

    # ----------------------------------------------------------------------------------------------------- variables

    def at(self, a: Any, index: Any, mask: Node | None = None) -> Node:
        """The value of an atom at an index; where the mask is false it may be anything, and touches no memory."""
        if type(a) is Literal:
            return self.const(a.value, type_name(a.type.dtype))  # type: ignore[arg-type]
        key = (a, index, mask)
        found = self.points.get(key)
        if found is None:
            e = self.inline(a)
            found = self.memory(a, index, mask) if e is None else self.computed(e, a, index, mask)
            self.points[key] = found
        return found

    def memory(self, v: Var, index: Any, mask: Node | None) -> Node:
        found = self.place(v, index)
        if found is not None:
            return found
        form = index if type(index) is Form else linear(index, v.type.shape)
        args = [n for n, _ in form.nodes] + ([] if mask is None else [mask])
        type_ = type_name(v.type.dtype)
        return self.node("load", args, (v, form, mask), type_, (id(v), form, mask))  # type: ignore[arg-type]

    def computed(self, e: Eqn, v: Var, index: Any, mask: Node | None) -> Node:
        name = e.primitive.name
        view = getattr(self, "_" + name, None)
        if view is not None:
            if type(index) is Form and name != "reshape":
                index = self.multi(index, v.type.shape)
            return view(e, index, mask)
        if name == "threefry2x32":
            full = index if type(index) is tuple else self.multi(index, v.type.shape)
            k = e.inputs[0].type.ndim
            args = [self.at(a, full[:k] if i < 2 else full, mask) for i, a in enumerate(e.inputs)]
        else:
            args = [self.at(a, index, mask) for a in e.inputs]
        type_ = type_name(e.outputs[0].type.dtype)
        made = self.node("rule", args, e, type_, (e.primitive, *e.params.items()))  # type: ignore[arg-type]
        if len(e.outputs) == 1:
            return made
        return self.node("part", (made,), e.outputs.index(v), type_)  # type: ignore[arg-type]

    def multi(self, form: Form, shape: tuple[int, ...]) -> tuple[Form, ...]:
        """The multi-index of an element number."""
        found = split(form, shape, self.extents)
        if found is not None:
            return tuple(found)
        number, out = self.index(form), []
        for n, stride in zip(shape, contiguous(shape), strict=True):
            if n == 1:
                out.append(ZERO)
                continue
            q = number if stride == 1 else self.op("quot", number, self.integer(stride), type="i64")
            if len(out) and any(f is not ZERO for f in out):
                q = self.op("rest", q, self.integer(n), type="i64")
            out.append(Form(nodes=((q, 1),)))
        return tuple(out)

    # --------------------------------------------------------------------------------------------------------- views

    def _broadcast_in_dim(self, e: Eqn, index: tuple[Form, ...], mask: Node | None) -> Node:
        (x,) = e.inputs
        back = [ZERO if n == 1 else index[d] for n, d in zip(x.type.shape, e.params["dims"], strict=True)]
        return self.at(x, tuple(back), mask)

    def _reshape(self, e: Eqn, index: Any, mask: Node | None) -> Node:
        (x,) = e.inputs
        if type(index) is tuple:
            new = e.params["shape"]
            kept = [i for i, n in enumerate(new) if n != 1]
            if [new[i] for i in kept] == [n for n in x.type.shape if n != 1]:  # only axes of size 1 come and go
                forms = iter([index[i] for i in kept])
                return self.at(x, tuple([ZERO if n == 1 else next(forms) for n in x.type.shape]), mask)
            index = linear(index, new)
            affine = split(index, x.type.shape, self.extents)
            if affine is not None:
                return self.at(x, tuple(affine), mask)
        return self.at(x, index, mask)

    def _transpose(self, e: Eqn, index: tuple[Form, ...], mask: Node | None) -> Node:
        back: list[Form] = [ZERO] * len(index)
        for form, a in zip(index, e.params["axes"], strict=True):
            back[a] = form
        return self.at(e.inputs[0], tuple(back), mask)

    def _rev(self, e: Eqn, index: tuple[Form, ...], mask: Node | None) -> Node:
        (x,) = e.inputs
        axes = e.params["axes"]
        flipped = [
            f.scaled(-1).shifted(n - 1) if a in axes and n != 1 else f
            for a, (f, n) in enumerate(zip(index, x.type.shape, strict=True))
        ]
        return self.at(x, tuple(flipped), mask)

    def _iota(self, e: Eqn, index: tuple[Form, ...], mask: Node | None) -> Node:
        number = self.index(index[e.params["axis"]])
        type_ = type_name(e.outputs[0].type.dtype)
        return number if type_ == "i64" else self.op("cast", number, type=type_)  # type: ignore[arg-type]

    def position(self, i: Node) -> Node:
        """An index as i64; what is too large for it stays the largest."""
        if i.type == "u64":
            i = self.op("min", i, self.const(np.uint64(2**63 - 1), "u64"), type="u64")
        return i if i.type == "i64" else self.op("cast", i, type="i64")

    def begin(self, start: Any, last: int) -> Form:
        """Where a window begins along an axis, clamped to [0, last]."""
        if type(start) is Literal:
            return Form(const=min(max(int(start.value), 0), last))
        if last == 0:
            return ZERO
        s = self.position(self.at(start, (), None))
        s = self.op("max", self.op("min", s, self.size(last), type="i64"), self.integer(0), type="i64")
        return Form(nodes=((s, 1),))

    def _dynamic_slice(self, e: Eqn, index: tuple[Form, ...], mask: Node | None) -> Node:
        x, *starts = e.inputs
        out = []
        for form, n, start, m, step in zip(
            index, x.type.shape, starts, e.params["sizes"], e.params["strides"], strict=True
        ):
            last = n - ((m - 1) * step + 1 if m else 0)
            out.append(form.scaled(step).plus(self.begin(start, last)))
        return self.at(x, tuple(out), mask)

    def _window(self, e: Eqn, index: tuple[Form, ...], mask: Node | None) -> tuple[Node, Node | None, Node | None]:
        """Of an update: the old element, whether the window covers it (None: always), the element of the window."""
        x, u, *starts = e.inputs
        old = self.at(x, index, mask)
        if not u.type.size:
            return old, None, None
        inside: Node | None = None
        out = []
        for form, n, start, m, step in zip(index, x.type.shape, starts, u.type.shape, e.params["strides"], strict=True):
            begin = self.begin(start, n - ((m - 1) * step + 1))
            here, form = self.spaced(form.plus(begin.scaled(-1)), m, step)
            inside = self.both(inside, here)
            out.append(form)
        return old, inside, self.at(u, tuple(out), self.both(mask, inside))

    def _dynamic_update_slice(self, e: Eqn, index: tuple[Form, ...], mask: Node | None) -> Node:
        old, inside, new = self._window(e, index, mask)
        if new is None:
            return old
        return new if inside is None else self.op("select", inside, new, old, type=old.type)

    def _dynamic_add_slice(self, e: Eqn, index: tuple[Form, ...], mask: Node | None) -> Node:
        old, inside, part = self._window(e, index, mask)
        if part is None:
            return old
        new = self.op("or" if old.type == "bool" else "add", old, part, type=old.type)
        return new if inside is None else self.op("select", inside, new, old, type=old.type)

    def _gather(self, e: Eqn, index: tuple[Form, ...], mask: Node | None) -> Node:
        x, *indices = e.inputs
        axes = e.params["axes"]
        k = indices[0].type.ndim if indices else 0
        rest = iter(index[k:])
        out = []
        for a, n in enumerate(x.type.shape):
            if a not in axes:
                out.append(next(rest))
                continue
            i = self.at(indices[axes.index(a)], index[:k], mask)
            i = self.position(i)
            args = (i,) if mask is None else (i, mask)
            out.append(Form(nodes=((self.node("bound", args, n, "i64"), 1),)))
        return self.at(x, tuple(out), mask)

    def _pad(self, e: Eqn, index: tuple[Form, ...], mask: Node | None) -> Node:
        x, value = e.inputs
        inside: Node | None = None
        out = []
        for form, n, low, gap in zip(index, x.type.shape, e.params["low"], e.params["interior"], strict=True):
            here, form = self.spaced(form.shifted(-low), n, gap + 1)
            inside = self.both(inside, here)
            out.append(form)
        if inside is None:
            return self.at(x, tuple(out), mask)
        outside = self.at(value, (), mask)
        there = self.at(x, tuple(out), self.both(mask, inside))
        return self.op("select", inside, there, outside, type=there.type)

    def _concatenate(self, e: Eqn, index: tuple[Form, ...], mask: Node | None) -> Node:
        axis = e.params["axis"]
        parts: list[tuple[Node | None, Node]] = []
        start = 0
        for x in e.inputs:
            n = x.type.shape[axis]
            here = self.between(index[axis], start, start + n) if n else None
            if n:
                moved = (*index[:axis], index[axis].shifted(-start), *index[axis + 1 :])
                parts.append((here, self.at(x, moved, self.both(mask, here))))
            start += n
        result = parts[-1][1]
        for here, x in reversed(parts[:-1]):
            result = x if here is None else self.op("select", here, x, result, type=x.type)
        return result

    def spaced(self, form: Form, count: int, step: int) -> tuple[Node | None, Form]:
        """Of `count` elements that stand `step` apart from 0 on: the mask that one stands at `form`, and its number."""
        inside = self.between(form, 0, (count - 1) * step + 1)
        if step == 1:
            return inside, form
        number, by = self.index(form), self.integer(step)
        there = self.op("eq", self.op("rest", number, by, type="i64"), self.integer(0), type="bool")
        return self.both(inside, there), Form(nodes=((self.op("quot", number, by, type="i64"), 1),))

    def between(self, form: Form, low: int, high: int) -> Node | None:
        """The mask low <= form < high; None where it always holds."""
        smallest = largest = form.const
        for a, c in form.terms:
            reach = c * (self.extents[a] - 1)
            smallest, largest = smallest + min(reach, 0), largest + max(reach, 0)
        exact = not form.nodes
        number = self.index(form)
        above = None if exact and smallest >= low else self.op("ge", number, self.size(low), type="bool")
        below = None if exact and largest < high else self.op("lt", number, self.size(high), type="bool")
        return self.both(above, below)
