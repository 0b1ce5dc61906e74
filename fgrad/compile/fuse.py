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
from .layouts import Layout
from .points import UPDATES, VIEWS, Incompatible
from .scalar_rules import REDUCTIONS, RULES, WEIGHTS, fits
from .scalars import FLOATS, type_name
from .steps import Call, Kernel, Root

HEAVY = 240  # weight above which an expression is not inlined any further
DEEP = 100  # equations in one another above which they are not
WINDOW = 12  # kernels among which a root looks for a place


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

    def view(self, a: Any) -> tuple[Any, Layout]:
        """The memory behind an operand of a call that takes strides: transposes and reshapes are looked through."""
        e = self.defs.get(a) if type(a) is Var and a not in self.position else None
        if e is not None and e.primitive.name in ("transpose", "reshape") and type(e.inputs[0]) is Var:
            var, inner = self.view(e.inputs[0])
            transposes = e.primitive.name == "transpose"
            layout = inner.transposed(e.params["axes"]) if transposes else inner.reshaped(a.type.shape)
            if layout is not None:
                return var, layout
        return a, Layout.contiguous(a.type.shape)

    # ------------------------------------------------------------------------------------------------- what is kept

    def choose(self) -> None:
        """Decide which variables are kept in memory."""
        needed: set[Var] = {a for a in self.jaxpr.outputs if type(a) is Var}
        outputs = set(needed)
        for e in reversed(self.eqns):
            if id(e) not in self.inside:
                for a in e.inputs:
                    if type(a) is Var:
                        needed.add(self.view(a)[0] if self.strided(e) else a)
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
            node = k.graph.at(e.inputs[0], k.start(e.inputs[0], "full"))
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
