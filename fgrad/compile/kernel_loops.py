"""Loops and branches on few numbers as one native kernel each: see `unrolled` for what is generated.

    copy: A -> B                              # a large carried array, unless it dies here
    kernel: reads x and consts, works on B in place, writes the last carry and the stacked outputs

Equal equations share one kernel. What is not small, or not possible in place, is left to others.
"""

from __future__ import annotations

from typing import Any

from ..core.ir import Eqn, Literal
from .contract import contract
from .element_rules import kernel_type
from .elements import LIMIT, Array, Decline, Memory, Place, scalar
from .emit import Launch
from .fuse import contiguous
from .nests import Buffer, Builder
from .plan import Item, copy_item, launch_item
from .small_programs import Mistrusted, operations, passed, programs, stages, waits
from .unrolled import WORK
from .unrolled_loops import EACH, Unroller

NAMES = frozenset(["scan", "while_loop", "cond"])
UNKNOWN = 50_000.0  # nanoseconds that a loop of unknown length is taken to run
LOADED = 16  # elements of an operand that are read before the loop, and stay in registers
KEEP = 4096  # kernels known


class Small:
    """The kernel of a small loop: its launch, with operands by number, and what is copied before: (input, output)."""

    def __init__(self, e: Eqn, trusting: bool, in_memory: bool):
        self.k = Builder()
        self.eqn = e
        self.operands: list[int] = []
        self.copies: list[tuple[int, int]] = []
        u = Unroller(self.k, trusting, in_memory)
        held = self.held(e, u)
        outs = [self.memory(len(e.inputs) + n, v.type) for n, v in enumerate(e.outputs)]
        inner = any(waits(x) for p in programs(e) for x in p.eqns)
        if inner:
            u.spent = self.k.variable(self.k.const(0, "i64"))
        xs: list[Array] = []
        taken = {i: n for n, i in held.items()}
        for i, a in enumerate(e.inputs):
            if type(a) is Literal:
                xs.append(scalar(self.k.const(a.value, kernel_type(a.type.dtype))))
            elif i in taken:
                self.copies.append((i, len(e.inputs) + taken[i]))
                xs.append(outs[taken[i]])
            else:
                xs.append(self.memory(i, a.type))
        flags = [False] * len(xs)
        targets = {n: m for n, m in enumerate(outs) if n not in held}
        results = u.equation(e, xs, flags, targets)
        doubtful = u.doubtful(e, flags)
        for n, (x, target) in enumerate(zip(results, outs, strict=True)):
            u.put(target, x, doubtful[n])
        contract(self.k)
        self.launch = Launch(self.k.finish(), self.operands, self.k.dims, 1, 1)
        work = sum(operations(p) for p in programs(e))
        if e.primitive.name == "scan":
            work *= e.params["length"]
        self.launch.cost = 20.0 + work * EACH + UNKNOWN * waits(e)
        self.launch.flops = work

    @staticmethod
    def held(e: Eqn, u: Unroller) -> dict[int, int]:
        """Outputs in whose memory carried arrays are worked on, and the inputs that they start from."""
        found: dict[int, int] = {}
        if e.primitive.name == "cond":
            found = {o: i for i, o, _ in passed(e) if e.outputs[o].type.size > LIMIT}
            return found if len({*found.values()}) == len(found) else {}
        for s in stages(e):
            for n, (i, out) in enumerate(zip(s.carry, s.outs, strict=True)):
                if type(e.inputs[i]) is not Literal and u.stays(s.jaxpr, s.jaxpr.inputs[len(s.consts) + n]):
                    found[out] = i
        return found

    def memory(self, operand: int, t: Any) -> Memory:
        """An operand of the kernel; outputs, which are behind the inputs, are operands even if nothing is written."""
        type_, mode = kernel_type(t.dtype), "out" if operand >= len(self.eqn.inputs) else "in"

        def make() -> Buffer:
            self.operands.append(operand)
            return self.k.buffer(type_, mode)

        place = Place(make, False) if mode == "in" else Place(make(), True)
        made = Memory(place, t.shape, contiguous(t.shape))
        made.pinned = t.size > LOADED
        return made


_KNOWN: dict[Any, Small | None] = {}


def small(e: Eqn, trusting: bool) -> Small | None:
    """The kernel of an equation: built, or taken over from an equal equation; None if it is not small."""
    operands = [(a.type, a.value.tobytes()) if type(a) is Literal else a.type for a in e.inputs]
    key = (e.primitive.name, trusting, *operands, *e.params.items())
    if key not in _KNOWN:
        if len(_KNOWN) >= KEEP:
            for old in list(_KNOWN)[: KEEP // 2]:
                _KNOWN.pop(old, None)
        _KNOWN[key] = build(e, trusting)
    return _KNOWN[key]


def build(e: Eqn, trusting: bool) -> Small | None:
    """The kernel of an equation; with zeros that win over infinities where NaN might get lost."""
    try:
        if sum(operations(p) for p in programs(e)) > 100 * WORK:
            return None
        for in_memory in (True, False):
            try:
                return Small(e, trusting, in_memory)
            except Decline:
                if not in_memory:
                    raise
    except Mistrusted:
        return build(e, False)
    except Decline:
        return None
    return None


def kernel_loop_items(e: Eqn, keep: Any, trusting: bool = False) -> list[Item] | None:
    """The items of a small scan, while_loop or cond; None for other equations."""
    if e.primitive.name not in NAMES:
        return None
    made = small(e, trusting)
    if made is None:
        return None
    atoms = (*e.inputs, *e.outputs)
    copies = [copy_item(atoms[i], atoms[o], vanishes=True) for i, o in made.copies]
    return [*copies, launch_item(made.launch.renamed(dict(enumerate(atoms))), eqn=e)]
