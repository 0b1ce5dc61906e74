"""scan, while_loop and cond: their programs are planned like any other, and one native function runs them all.

    scan of 100 runs: c, x -> add c x            c is in the memory of the result, to which its first value is copied
                                                 before; x steps on by 8 bytes after each run

What a body computes is in memory of the program around it, so nothing is allocated but the records of a while_loop with
several sweeps, whose number is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..core.ir import Eqn, Jaxpr
from .carries import Carries
from .native import layout
from .native.language import Native
from .native.loops import run_cond, run_scan, run_while
from .native.program import Thunk
from .plan import ALIGN, Inner, Item, bytes_of
from .stages import Address, Memory, Part, Stage

if TYPE_CHECKING:
    from .planner import Planner

UNKNOWN = 1e6  # nanoseconds of a loop whose end is not known
WIDE = 256  # bytes from which on what a run remembers begins at a multiple of ALIGN


def loop_items(e: Eqn, planner: Planner) -> list[Item]:
    """The items of a scan, while_loop or cond: copies, which often vanish, and the loop."""
    return LOOPS[e.primitive.name](e, planner)


def staged(
    body: Jaxpr, consts: int, carry: int, stacked: Sequence[int], memory: Memory, planner: Planner
) -> tuple[Stage, Carries]:
    """The stage of a body of which the outputs `stacked` are wanted beside the carries."""
    body = planner.prepared(body)
    carries = Carries(body, consts, carry, stacked)
    plan = planner.body(planner.prepared(body, tuple(carries.kept)), carries.donated)
    carries.settle(plan)
    return Stage(memory, plan), carries


def item_of(
    e: Eqn,
    text: str,
    function: Native,
    memory: Memory,
    stages: Sequence[Stage],
    words: Callable[[Address], Sequence[int]],
    cost: float,
    inner: Sequence[Inner],
) -> Item:
    """The item that runs stages; `words(address)`: its dims."""
    words(lambda code: 0)  # finds all operands, and how large frames are
    memory.frame.length = max(-(-stage.size // 8) for stage in stages)
    writes = [v for v in e.outputs if v.type.size]
    reads = [a for a in memory.atoms[1:] if a not in writes]

    def thunk(slot: Callable[[Any], int], address: Address) -> Thunk:
        return Thunk(address(function), tuple(map(slot, memory.atoms)), tuple(words(address)), 1, 1, cost)

    return Item(text, reads, [*writes, memory.frame], thunk, native=[function], cost=cost, eqn=e, inner=inner)


def scan_items(e: Eqn, planner: Planner) -> list[Item]:
    """Slices step through operands and results."""
    body, consts, carry, length = (e.params[k] for k in ("jaxpr", "consts", "carry", "length"))
    split = consts + carry
    first, last = e.inputs[consts:split], e.outputs[:carry]
    stacked = [i for i in range(carry, len(e.outputs)) if e.outputs[i].type.size]
    memory = Memory(planner.keep)
    stage, carries = staged(body, consts, carry, stacked, memory, planner)
    stage.runs = length
    for i, a in enumerate(e.inputs[:consts]):
        stage.setup["input", i] = a, 0
    slices = [(("input", i), e.inputs[i]) for i in range(split, len(e.inputs))]
    slices += [(("output", k), e.outputs[i]) for k, i in enumerate(stacked)]
    for key, a in slices:
        step = bytes_of(a) // length if length else 0
        stage.setup[key] = a, step * max(length - 1, 0) if e.params["reverse"] else 0
        stage.steps.append((key, -step if e.params["reverse"] else step))
    items = stage.carry(carries, first, last, length)
    (part,) = stage.parts
    text = f"scan of {length} runs{', backwards' if e.params['reverse'] else ''}"
    cost, inner = length * stage.cost(), [Inner("body", part.plan, length)]
    return [*items, item_of(e, text, run_scan, memory, [stage], stage.words, cost, inner)]


def while_items(e: Eqn, planner: Planner) -> list[Item]:
    """One stage for each sweep; what a run pushes is in its record if a later sweep reads it."""
    condition, consts, sweeps = (e.params[k] for k in ("cond", "consts", "sweeps"))
    memory = Memory(planner.keep)
    read = {number for s in sweeps for number in s.reads}
    offsets: dict[int, int] = {}  # of pushes in a record
    size, pushes, done = 0, 0, 0
    at = consts
    stages: list[Stage] = []
    items: list[Item] = []
    inner: list[Inner] = []
    for number, s in enumerate(sweeps):
        types = s.jaxpr.out_types[s.carry :]
        chosen = [i for i, t in enumerate(types) if t.size and pushes + i in read]
        stage, carries = staged(s.jaxpr, s.consts, s.carry, [s.carry + i for i in chosen], memory, planner)
        for i, a in enumerate(e.inputs[at : at + s.consts]):
            stage.setup["input", i] = a, 0
        for i, n in enumerate(s.reads):
            if n in offsets:
                stage.records.append((("input", s.consts + s.carry + i), offsets[n]))
        for k, i in enumerate(chosen):
            width = types[i].size * types[i].dtype.itemsize
            unit = ALIGN if width >= WIDE else types[i].dtype.alignment
            offsets[pushes + i] = -(-size // unit) * unit
            size = offsets[pushes + i] + width
            stage.records.append((("output", k), offsets[pushes + i]))
        at += s.consts
        first, last = e.inputs[at : at + s.carry], e.outputs[done : done + s.carry]
        items += stage.carry(carries, first, last, None)
        if number == 0:
            plan = planner.body(planner.prepared(condition), {})
            names = {("input", i): ("condition", i) for i in range(consts)}
            names |= {("input", consts + c): ("input", s.consts + c) for c in range(s.carry)}
            stage.parts.append(Part(plan, {**names, ("output", 0): ("predicate",)}))
            for i, a in enumerate(e.inputs[:consts]):
                stage.setup["condition", i] = a, 0
            stage.predicate = ("predicate",)
            stage.setup[stage.predicate] = stage.buffer(1), 0
            inner.append(Inner("condition", plan, -1))
        inner.append(Inner("body" if len(sweeps) == 1 else f"sweep {number}", stage.parts[0].plan, -1))
        stages.append(stage)
        at, done, pushes = at + s.carry, done + s.carry, pushes + len(types)
    size = -(-size // ALIGN) * ALIGN if size >= WIDE else -(-size // 16) * 16

    def words(address: Address) -> list[int]:
        return distant({layout.WHILE_SWEEPS: len(stages), layout.WHILE_RECORD: size}, stages, address)

    text = "while loop" if len(sweeps) == 1 else f"while loop in {len(sweeps)} sweeps"
    return [*items, item_of(e, text, run_while, memory, stages, words, UNKNOWN, inner)]


def cond_items(e: Eqn, planner: Planner) -> list[Item]:
    """One stage for each branch, on the same operands and results."""
    index, *rest = e.inputs
    memory = Memory(planner.keep)
    stages, inner = [], []
    wanted = tuple([i for i, v in enumerate(e.outputs) if v.type.size])
    for number, branch in enumerate(e.params["branches"]):
        plan = planner.body(planner.prepared(planner.prepared(branch), wanted), {})
        stage = Stage(memory, plan)
        stage.setup = {("input", i): (a, 0) for i, a in enumerate(rest)}
        stage.setup |= {("output", k): (e.outputs[i], 0) for k, i in enumerate(wanted)}
        stages.append(stage)
        inner.append(Inner(f"branch {number}", plan, -1))

    def words(address: Address) -> list[int]:
        operand, number = memory.source(index)
        head = {layout.COND_OPERAND: operand, layout.COND_ADDRESS: number, layout.COND_LAST: len(stages) - 1}
        return distant(head, stages, address)

    cost = max(stage.cost() for stage in stages)
    return [item_of(e, f"one of {len(stages)} branches", run_cond, memory, stages, words, cost, inner)]


def distant(head: dict[int, int], stages: Sequence[Stage], address: Address) -> list[int]:
    """A record that ends with the distances of stages, and the stages behind it."""
    words = [head[offset] for offset in range(0, 8 * len(head), 8)]
    at = len(words)
    words += [0] * len(stages)
    for i, stage in enumerate(stages):
        words[at + i] = 8 * len(words)
        words += stage.words(address)
    return words


LOOPS: dict[str, Callable[[Eqn, Planner], list[Item]]] = {
    "scan": scan_items,
    "while_loop": while_items,
    "cond": cond_items,
}
