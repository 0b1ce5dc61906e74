"""Loops and branches on few numbers as one native kernel each: see `unrolled` for what is generated.

    copy: A -> B                              # a large carried array, unless it dies here
    kernel: reads x and consts, works on B in place, writes the last carry and the stacked outputs

Equal equations share one kernel. What is not small, or not possible in place, is left to others.
"""

from __future__ import annotations

from itertools import product
from typing import Any

from ..core.ir import Eqn, Literal
from .contract import contract
from .element_rules import kernel_type
from .elements import LIMIT, Array, Decline, Memory, Place, number, scalar
from .emit import CHUNK, CHUNKS, Launch
from .lane_loops import Form, in_lanes, plain
from .lane_programs import Axis, narrow_type
from .layouts import contiguous
from .nests import Buffer, Builder, Value
from .plan import Item, copy_item, launch_item
from .small_programs import Mistrusted, operations, passed, programs, stages, waits
from .unrolled import WORK
from .unrolled_loops import EACH, Unroller

NAMES = frozenset(["scan", "while_loop", "cond"])
UNKNOWN = 50_000.0  # nanoseconds that a loop of unknown length is taken to run
LOADED = 16  # elements of an operand that are read before the loop, and stay in registers
IN_LANES = 0.02  # nanoseconds that an operation takes in each lane
TOGETHER = 300  # operations up to which two registers of lanes go together, so that one need not wait for the other
ALIGN = 64  # lanes of which chunks are multiples
KEEP = 4096  # kernels known


class Small:
    """The kernel of a small loop: its launch, with operands by number, and what is copied before: (input, output).

    Of a loop in lanes, `form.eqn` is what one lane does, in a vector loop over all of them.
    """

    def __init__(self, form: Form, trusting: bool, in_memory: bool):
        self.k = Builder()
        self.form = form
        self.operands: list[int] = []
        self.copies: list[tuple[int, int]] = []
        e, u = form.eqn, Unroller(self.k, trusting, in_memory)
        if form.lanes:
            each = sum(operations(p) for p in programs(e))
            with self.k.vector(self.k.begin, self.k.end, 2 if each <= TOGETHER else 1) as lane:
                self.fill(u, lane)
        else:
            self.fill(u, None)
        contract(self.k, not form.lanes)
        work = sum(operations(p) for p in programs(e)) * max(form.lanes, 1)
        if e.primitive.name == "scan":
            work *= e.params["length"]
        cost = 20.0 + work * (IN_LANES if form.lanes else EACH) + UNKNOWN * waits(e)
        chunks = max(1, min(CHUNKS, int(cost / CHUNK), form.lanes // ALIGN))
        grain = -(-form.lanes // (chunks * ALIGN)) * ALIGN if form.lanes else 1
        self.launch = Launch(self.k.finish(), self.operands, self.k.dims, max(form.lanes, 1), grain)
        self.launch.cost = cost

    def fill(self, u: Unroller, lane: Value | None) -> None:
        """Write the kernel's statements, for one lane if there are several."""
        k, e, form = self.k, self.form.eqn, self.form
        held = self.held(e, u)
        if lane is not None and any(form.outputs[n] is None for n in held):
            raise Decline("all lanes would write to one array")
        outs = [
            self.memory(form.count + n, v.type, axis, lane)
            for n, (v, axis) in enumerate(zip(form.wide.outputs, form.outputs, strict=True))
        ]
        if any(waits(x) for p in programs(e) for x in p.eqns):
            u.spent = k.variable(k.const(0, "i64"))
        xs: list[Array] = []
        taken = {i: n for n, i in held.items()}
        for i, (a, (source, axis)) in enumerate(zip(e.inputs, form.sources, strict=True)):
            if type(a) is Literal:
                xs.append(scalar(k.const(a.value, kernel_type(a.type.dtype))))
            elif i in taken:
                self.copies.append((source, form.count + taken[i]))
                xs.append(outs[taken[i]])
            else:
                xs.append(self.memory(source, form.wide.inputs[source].type, axis, lane))
        flags = [False] * len(xs)
        targets = {n: m for n, m in enumerate(outs) if n not in held}
        results = u.equation(e, xs, flags, targets)
        doubtful = u.doubtful(e, flags)
        for n, (x, target) in enumerate(zip(results, outs, strict=True)):
            u.put(target, x, doubtful[n])

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

    def memory(self, operand: int, t: Any, axis: Axis, lane: Value | None) -> Memory:
        """An operand of the kernel, or a lane's part of it; outputs are behind the inputs, and buffers at once."""
        type_, mode = kernel_type(t.dtype), "out" if operand >= self.form.count else "in"

        def make() -> Buffer:
            self.operands.append(operand)
            return self.k.buffer(type_, mode)

        place = Place(make, False) if mode == "in" else Place(make(), True)
        strides = contiguous(t.shape)
        made = Memory(place, narrow_type(t, axis).shape, strides)
        if axis is not None:
            assert lane is not None
            made.base = self.k.affine([(lane, number(self.k, strides[axis], "lane"))])
        made.pinned = made.size > LOADED
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
        forms = [form for form in (in_lanes(e), plain(e)) if form is not None]
        for form, in_memory in product(forms, (True, False)):
            try:
                return Small(form, trusting, in_memory)
            except Decline:
                continue
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
