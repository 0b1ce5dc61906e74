"""Fusion: a program as steps, each a kernel of many equations, a library call or a NumPy call.

Equations that compute or move single elements are computed where they are used, as long as that is cheap; the results
that are kept in memory, and reductions, are *roots*. Roots over one domain that read the same data, or each other,
share a kernel: a softmax, a layer norm or an optimizer's update becomes one pass over memory.

    steps:  kernel over 2000x1000 (rows 0, columns 1): b = reduce_max, d = reduce_sum, e -> memory
            matrix product: f = dot_general a, e
            NumPy call: g = sort f
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from ..core.effects import KEPT, Effect
from ..core.ir import Eqn, Jaxpr, Literal, Var
from ..core.primitive import registry
from ..core.types import shaped
from .accumulate import Updates
from .forms import ZERO, Form, axis, linear
from .points import UPDATES, VIEWS, Graph, Incompatible, Node
from .scalar_rules import RULES, WEIGHTS, fits
from .scalars import FLOATS, type_name

REDUCTIONS = {
    "reduce_sum": "add",
    "reduce_prod": "mul",
    "reduce_max": "max",
    "reduce_min": "min",
    "reduce_and": "and",
    "reduce_or": "or",
}
HEAVY = 240  # weight above which an expression is not inlined any further
DEEP = 100  # equations in one another above which they are not
FULL = 700  # weight of a kernel that takes no more roots
WINDOW = 12  # kernels among which a root looks for a place
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
            home = iter(self.home(root.kind))
            full = tuple([ZERO if n == 1 else next(home) for n in v.type.shape])
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


class View:
    """A variable in memory seen under another shape: element strides and offset."""

    __slots__ = ("offset", "shape", "strides", "var")

    def __init__(self, var: Any, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0):
        self.var, self.shape, self.strides, self.offset = var, shape, strides, offset


def contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    """Element strides of a C-contiguous array."""
    out, stride = [], 1
    for n in reversed(shape):
        out.append(stride)
        stride *= n
    return tuple(reversed(out))


class Fuser:
    """Cuts a program into steps. `strided(eqn)`: whether a call takes strided views of its operands."""

    def __init__(self, jaxpr: Jaxpr, strided: Any, refused: frozenset[int] = frozenset()):
        self.jaxpr = jaxpr
        self.refused = refused
        self.eqns: list[Eqn] = []
        self.whole: dict[int, Eqn] = {}  # of the parts of a product, the equation that they stand for
        updates = Updates(jaxpr, refused)
        for e in jaxpr.eqns:
            if id(e) in updates.left_out:
                continue
            update = updates.whole.get(id(e))
            parts = [update] if update is not None else [e] if id(e) in refused else products(e)
            self.eqns += parts
            self.whole.update((id(part), e) for part in parts)
        self.number = {id(e): i for i, e in enumerate(self.eqns)}
        self.strided = strided
        # what kernels do
        self.inside = {id(e) for e in self.eqns if self.supported(e)}
        self.defs: dict[Var, Eqn] = {v: e for e in self.eqns if id(e) in self.inside for v in e.outputs}
        # Calls that are seen from outside: what may raise in front of one is done before it, what follows after it.
        self.marks = {id(e) for e in self.eqns if id(e) not in self.inside and e.effects & KEPT}
        self.realized: set[Var] = set()
        self.uniform: set[Var] = set()
        self.aliases: dict[Var, Var] = {}  # reshapes of what is in memory
        self.position: dict[Var, int] = {}
        self.steps: list[Any] = []
        self.kernels: list[Kernel] = []
        self.consumers: dict[Var, list[Eqn]] = {}
        for e in self.eqns:
            for a in set(e.inputs):
                if type(a) is Var:
                    self.consumers.setdefault(a, []).append(e)

    def run(self) -> list[Any]:
        """The steps, in order."""
        self.choose()
        for e in self.eqns:
            if id(e) not in self.inside:
                self.call(e)
            elif e.primitive.name in REDUCTIONS:
                self.reduction(e)
            elif any(v in self.realized for v in e.outputs):
                for v in e.outputs:
                    if v in self.realized:
                        self.pointwise(v)
        return self.steps

    def inlined(self, v: Var) -> Eqn | None:
        """The equation of a variable that is computed where it is used."""
        return None if v in self.realized or v not in self.defs or v in self.aliases else self.defs[v]

    def base(self, v: Any) -> Any:
        """The variable whose memory this one is."""
        while v in self.aliases:
            v = self.aliases[v]
        return v

    def supported(self, e: Eqn) -> bool:
        """Whether kernels can do it."""
        if id(e) in self.refused:
            return False
        name = e.primitive.name
        if name in RULES:
            return fits(e)
        if name in UPDATES and e.inputs[0].type.size > max(8 * e.inputs[1].type.size, 1024):
            return False  # written in place
        if name in VIEWS or name in REDUCTIONS:
            if any(type_name(a.type.dtype) is None for a in (*e.inputs, *e.outputs)):
                return False
            return name not in REDUCTIONS or e.inputs[0].type.size > 0
        return False

    def view(self, a: Any) -> View:
        """The memory behind an operand of a call that takes strides: transposes and reshapes are looked through."""
        shape = a.type.shape
        strides = contiguous(shape)
        while type(a) is Var and a in self.defs and a not in self.position:
            e = self.defs[a]
            name = e.primitive.name
            if type(e.inputs[0]) is Literal:
                break
            if name == "transpose":
                inner, axes = self.view(e.inputs[0]), e.params["axes"]
                permuted = [(inner.shape[k], inner.strides[k]) for k in axes]
                return View(inner.var, shape, tuple(s for _, s in permuted), inner.offset)
            if name == "reshape":
                inner = self.view(e.inputs[0])
                new = reshaped(inner, shape)
                if new is None:
                    break
                return View(inner.var, shape, new, inner.offset)
            break
        return View(a, shape, strides)

    # ------------------------------------------------------------------------------------------------- what is kept

    def choose(self) -> None:
        """Decide which variables are kept in memory."""
        needed: set[Var] = {a for a in self.jaxpr.outputs if type(a) is Var}
        outputs = set(needed)
        for e in reversed(self.eqns):
            if id(e) not in self.inside:
                for a in e.inputs:
                    if type(a) is Var:
                        needed.add(self.view(a).var if self.strided(e) else a)
            elif e.primitive.name == "reshape" and e.outputs[0] in needed and e.outputs[0] not in outputs:
                (a,) = e.inputs
                if type(a) is Var:
                    needed.add(a)
                    self.aliases[e.outputs[0]] = a
        weight: dict[Var, int] = {}
        depth: dict[Var, int] = {}
        for e in self.eqns:
            if id(e) not in self.inside:
                continue
            name = e.primitive.name
            reduces = name in REDUCTIONS
            inner = [a for a in e.inputs if type(a) is Var and self.inlined(a) is not None]
            if not reduces and all(self.even(a) for a in e.inputs):
                self.uniform.update(e.outputs)
            w = (0 if name in VIEWS else WEIGHTS.get(name, 1)) + sum(weight[a] for a in inner)
            d = 1 + max((depth[a] for a in inner), default=0)
            for v in e.outputs:
                weight[v], depth[v] = w, d
                if v in self.aliases:
                    continue
                fails = bool(self.marks) and Effect.RAISES in e.effects
                if reduces or fails or v in needed or w > HEAVY or d > DEEP or self.costly(v, w):
                    self.realized.add(v)
                    weight[v] = depth[v] = 0

    def even(self, a: Any) -> bool:
        """Whether all elements are the same value: loops need not compute it again."""
        return type(a) is Literal or a.type.size == 1 or a in self.uniform

    def costly(self, v: Var, weight: int) -> bool:
        """Whether computing `v` where it is used would repeat too much work."""
        if weight == 0:
            return False
        users = self.consumers.get(v, ())
        if v.type.size == 1 or v in self.uniform:
            return weight > 30 and len(users) > 1
        if len(users) > 1 and (weight > 3 or len(users) > 3):
            return True
        for e in users:
            name = e.primitive.name
            repeats = name in ("broadcast_in_dim", "gather") and e.outputs[0].type.size > v.type.size
            spread = name in UPDATES | {"concatenate", "pad"} and e.outputs[0].type.size > v.type.size
            if (repeats and weight > 2) or (spread and weight > 8):
                return True
        return False

    # ------------------------------------------------------------------------------------------------------- placing

    def candidates(self, atoms: Sequence[Any]) -> list[Kernel]:
        """The last kernels that may compute with these: all that it takes is there by then, some of it is theirs."""
        sources: dict[Any, int] = {}
        seen: set[Any] = set()
        todo = list(atoms)
        while todo:
            a = todo.pop()
            if type(a) is Literal or a in seen:
                continue
            seen.add(a)
            e = self.inlined(a)
            if e is None:
                sources[a] = self.position.get(self.base(a), -1)
            else:
                todo.extend(e.inputs)
        related = [
            k
            for k in self.kernels[-WINDOW:]
            if k.large or not k.reads.isdisjoint(sources) or not sources.keys().isdisjoint(k.known)
        ]
        return [k for k in related if all(p < k.position or a in k.known for a, p in sources.items())]

    def pointwise(self, v: Var) -> None:
        """Place a variable that is kept, computed element by element."""
        if not v.type.size:
            self.position[v] = -1
            return
        shape = tuple(n for n in v.type.shape if n != 1)
        for k in self.candidates(self.defs[v].inputs):
            kind = "full" if shape == k.shape else None
            if kind is None and k.rows is not None and shape == tuple(k.shape[a] for a in k.rows):
                kind = "row"
            if kind is not None and self.try_root(k, v, kind):
                return
        k = self.kernel(shape)
        assert self.try_root(k, v, "full", first=True)

    def try_root(self, k: Kernel, v: Var, kind: str, first: bool = False) -> bool:
        try:
            node = k.graph.computed(self.defs[v], v, k.start(v, kind), None)
        except Incompatible:
            return False
        if not k.take(Root(v, kind, node), first):
            return False
        self.position[v] = k.position
        return True

    def kernel(self, shape: tuple[int, ...]) -> Kernel:
        k = Kernel(self, shape, len(self.steps))
        self.steps.append(k)
        self.kernels.append(k)
        return k

    def reduction(self, e: Eqn) -> None:
        """Place a reduction."""
        (x,) = e.inputs
        v = e.outputs[0]
        if not v.type.size:
            self.position[v] = -1
            return
        shape = tuple(n for n in x.type.shape if n != 1)
        number = {a: i for i, a in enumerate(a for a, n in enumerate(x.type.shape) if n != 1)}
        reduced = tuple(number[a] for a in e.params["axes"] if a in number)
        for k in self.candidates(e.inputs):
            if k.shape == shape and self.try_reduction(k, e, v, reduced):
                return
        k = self.kernel(shape)
        assert self.try_reduction(k, e, v, reduced, first=True)

    def try_reduction(self, k: Kernel, e: Eqn, v: Var, reduced: tuple[int, ...], first: bool = False) -> bool:
        everything = tuple(range(len(k.shape)))
        kept = tuple(a for a in everything if a not in reduced)
        split, turned = (k.rows, k.columns), False
        if not reduced:
            kind = "full"
        elif not kept:
            kind = "all"
        elif k.rows is None:
            tall = len(k.shape) > 1 and kept == everything[len(reduced) :] and self.tall(k.shape, reduced)
            kind = "columns" if tall else "reduce"
            k.rows, k.columns = (reduced, kept) if tall else (kept, reduced)
        elif k.columns == reduced:
            kind = "reduce"
        elif k.rows == reduced and k.turn():
            kind, turned = "reduce", True
        elif k.rows == reduced:
            kind = "columns"
        else:
            return False
        if kind == "columns" and kept != everything[len(reduced) :]:
            k.rows, k.columns = split
            return False
        try:
            index = tuple([ZERO if n == 1 else f for n, f in _spread(e.inputs[0].type.shape, k.identity)])
            node = k.graph.at(e.inputs[0], index)
            taken = k.take(Root(v, kind, node, REDUCTIONS[e.primitive.name]), first)
        except Incompatible:
            taken = False
        if taken:
            self.position[v] = k.position
        elif turned:
            k.turn_back()
        else:
            k.rows, k.columns = split
        return taken

    @staticmethod
    def tall(shape: tuple[int, ...], reduced: tuple[int, ...]) -> bool:
        """Whether a reduction over leading axes is better done by chunks of rows than by blocks of columns."""
        rows = prod(shape[a] for a in reduced)
        return rows >= 4096 and prod(shape) // rows <= 8192

    def call(self, e: Eqn) -> None:
        for v in e.outputs:
            self.position[v] = len(self.steps)
        if id(e) in self.marks:
            self.kernels.clear()  # which take no more
        self.steps.append(Call(e, len(self.steps)))


def _spread(shape: tuple[int, ...], forms: Sequence[Form]) -> list[tuple[int, Form]]:
    it = iter(forms)
    return [(n, ZERO if n == 1 else next(it)) for n in shape]


def reshaped(view: View, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Element strides of a strided view under another shape, where that is plain to see."""
    if view.strides == contiguous(view.shape):
        return contiguous(shape)
    if [n for n in view.shape if n != 1] != [n for n in shape if n != 1]:
        return None
    strides = iter([s for n, s in zip(view.shape, view.strides, strict=True) if n != 1])
    return tuple([1 if n == 1 else next(strides) for n in shape])


def products(e: Eqn) -> list[Eqn]:
    """A matrix-vector, vector-vector or outer product as broadcast, multiplication and sum, which fuse; others as is.

    x[r, c] * w[c] summed over c: one row at a time, in the kernel that makes or takes the result.
    """
    if e.primitive.name != "dot_general" or type_name(e.outputs[0].type.dtype) not in FLOATS:
        return [e]
    x, w = e.inputs
    (xc, wc), (xb, _) = e.params["contract"], e.params["batch"]
    if any(type(a) is Literal for a in (x, w)) or not e.outputs[0].type.size:
        return [e]
    if len(xc) != 1 or xb or min(x.type.ndim, w.type.ndim) != 1:
        return [e] if xc else _outer(e)
    if x.type.shape[xc[0]] == 0:
        return [e]
    matrix, vector, contracted = (x, w, xc[0]) if w.type.ndim == 1 else (w, x, wc[0])
    wide, product = Var(matrix.type), Var(matrix.type)
    return [
        Eqn(registry.broadcast_in_dim, [vector], {"shape": matrix.type.shape, "dims": (contracted,)}, [wide], e.origin),
        Eqn(registry.mul, [matrix, wide], {}, [product], e.origin),
        Eqn(registry.reduce_sum, [product], {"axes": (contracted,)}, e.outputs, e.origin),
    ]


def _outer(e: Eqn) -> list[Eqn]:
    x, w = e.inputs
    out = e.outputs[0]
    xb, wb = e.params["batch"]
    if xb != tuple(range(len(xb))) or wb != tuple(range(len(wb))):
        return [e]
    b = len(xb)
    free = tuple(range(b, x.type.ndim))
    rest = tuple(range(x.type.ndim, out.type.ndim))
    left, right = Var(shaped(out.type.shape, out.type.dtype)), Var(shaped(out.type.shape, out.type.dtype))
    shape = out.type.shape
    return [
        Eqn(registry.broadcast_in_dim, [x], {"shape": shape, "dims": (*range(b), *free)}, [left], e.origin),
        Eqn(registry.broadcast_in_dim, [w], {"shape": shape, "dims": (*range(b), *rest)}, [right], e.origin),
        Eqn(registry.mul, [left, right], {}, e.outputs, e.origin),
    ]
