"""The steps that `fuse` cuts a program into: kernels of results over one domain, and calls."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from ..core.ir import Eqn, Var
from .forms import ZERO, Form, axis, linear
from .points import Graph, Incompatible, Node
from .scalar_rules import WEIGHTS
from .scalars import type_name

if TYPE_CHECKING:
    from .fuse import Fuser

FULL = 700  # weight of a kernel that takes no more roots
OPERANDS = 24  # of a kernel
LARGE = 4096  # elements from which on kernels over one domain are merged although they share no data
STREAMS = 8  # operands of a kernel that is merged so


class Root:
    """A result of a kernel: variable, expression, and how it is reduced.

    kind: "full" (an element of the domain), "row" (one per row, computed from other rows' values), "reduce" (over the
    columns, one per row), "columns" (over the rows, one per column), "all". `op`: the accumulation.
    """

    __slots__ = ("kind", "node", "op", "var")

    def __init__(self, var: Var, kind: str, node: Node, op: str | None = None):
        self.var, self.kind, self.node, self.op = var, kind, node, op


class Kernel:
    """A step: roots over one domain of squeezed `shape`; `rows` and `columns` split its axes once that matters."""

    def __init__(self, fuser: Fuser, shape: tuple[int, ...], position: int):
        self.fuser = fuser
        self.shape = shape
        self.large = prod(shape) >= LARGE
        self.position = position
        self.rows: tuple[int, ...] | None = None
        self.columns: tuple[int, ...] = ()
        self.roots: list[Root] = []
        self.known: dict[Var, Root] = {}
        self.weight = 0
        self.reads: set[Var] = set()
        self.graph = Graph(shape, fuser.inlined, self.place)
        self.identity = tuple(axis(k) for k in range(len(shape)))

    def __repr__(self) -> str:
        split = "" if self.rows is None else f" (rows {self.rows}, columns {self.columns})"
        results = ", ".join(f"{r.kind}{'' if r.op is None else ' ' + r.op}" for r in self.roots)
        return f"kernel over {'x'.join(map(str, self.shape)) or 'a scalar'}{split}: {results}"

    def home(self, kind: str) -> tuple[Form, ...]:
        """The axes on which a root of that kind depends."""
        if kind == "full":
            return self.identity
        return tuple(self.identity[a] for a in self.rows or ())

    def place(self, v: Var, index: Any) -> Node | None:
        root = self.known.get(v)
        if root is not None:
            full = self.start(v, root.kind)
            if index != (full if type(index) is tuple else linear(full, v.type.shape)):
                raise Incompatible
            node = self.graph.node("value", (), v, type_name(v.type.dtype), id(v))  # type: ignore[arg-type]
            for form in self.home(root.kind):
                node.deps |= self.graph.deps_of(form)
            return node
        if self.fuser.position.get(self.fuser.base(v), -1) >= self.position:
            raise Incompatible
        return None

    def equations(self) -> list[Eqn]:
        """The equations that it computes, in the order of the program, without the views inside expressions."""
        found = [n.payload for n in self.reached(self.roots) if n.kind == "rule"]
        found += [self.fuser.defs[r.var] for r in self.roots]
        found.sort(key=lambda e: self.fuser.number[id(e)])
        return list(dict.fromkeys(self.fuser.whole[id(e)] for e in found))

    def reached(self, roots: Sequence[Root]) -> list[Node]:
        """The expressions that computing some of the roots takes."""
        seen: dict[int, Node] = {}
        todo = [r.node for r in roots]
        while todo:
            n = todo.pop()
            if n.number not in seen:
                seen[n.number] = n
                todo.extend([self.known[n.payload].node] if n.kind == "value" else n.args)
        return list(seen.values())

    def start(self, v: Var, kind: str) -> tuple[Form, ...]:
        """The index of an element of `v` in this domain."""
        home = iter(self.home(kind))
        return tuple([ZERO if n == 1 else next(home) for n in v.type.shape])

    def relation(self, node: Node) -> tuple[set[Var], bool, int]:
        """Variables that an expression loads, whether it uses results of this kernel, and its weight."""
        loads: set[Var] = set()
        inside, weight, seen, todo = False, 0, set(), [node]
        while todo:
            n = todo.pop()
            if n.number in seen:
                continue
            seen.add(n.number)
            todo.extend(n.args)
            if n.kind == "load":
                loads.add(n.payload[0])
            elif n.kind == "value":
                inside = True
            elif n.kind == "rule":
                weight += WEIGHTS.get(n.payload.primitive.name, 1)
            else:
                weight += 1
        return loads, inside, weight

    def turn(self) -> bool:
        """Exchange rows and columns, if nothing depends on which is which: sums over leading axes go either way."""
        if self.rows is None or self.columns != tuple(range(len(self.columns))):
            return False
        if any(r.kind not in ("reduce", "full", "all") for r in self.roots):
            return False
        reduced = {r.var for r in self.roots if r.kind == "reduce"}
        if any(n.kind == "value" and n.payload in reduced for n in self.graph.nodes):
            return False
        self.rows, self.columns = self.columns, self.rows
        for r in self.roots:
            if r.kind == "reduce":
                r.kind = "columns"
                del self.known[r.var]
        return True

    def turn_back(self) -> None:
        """Undo `turn`."""
        self.rows, self.columns = self.columns, self.rows  # type: ignore[assignment]
        for r in self.roots:
            if r.kind == "columns":
                r.kind = "reduce"
                self.known[r.var] = r

    def companion(self, loads: set[Var]) -> bool:
        """Whether what reads other data may come along: a few streams over one large domain cost no more than apart."""
        return self.large and len(self.reads | loads) <= STREAMS

    def take(self, root: Root, first: bool) -> bool:
        """Add a root if it belongs here."""
        loads, inside, weight = self.relation(root.node)
        large = {v for v in loads if v.type.size > 1}
        if not first:
            related = inside or bool(large & self.reads) or self.companion(loads)
            if not related or self.weight + weight > FULL or len(self.reads | loads) + len(self.roots) >= OPERANDS:
                return False
            if root.kind == "row" and not inside:
                return False
        self.reads |= loads
        self.weight += weight
        self.roots.append(root)
        if root.kind in ("full", "row", "reduce"):
            self.known[root.var] = root
        return True


class Call:
    """A step: one equation by a library or by NumPy; all operands and results are in memory."""

    def __init__(self, eqn: Eqn, position: int):
        self.eqn = eqn
        self.position = position

    def __repr__(self) -> str:
        return f"call of {self.eqn.primitive.name}"
