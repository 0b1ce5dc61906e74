"""scan, while_loop and cond: their programs are planned like any other, and one native function runs them all.

    scan of 100 runs: c, x -> add c x            c is in the memory of the result, to which its first value is copied
                                                 before; x steps on by 8 bytes after each run

What a body computes is in memory of the program around it, so nothing is allocated but the records of a while_loop with
several sweeps, whose number is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..core.ir import Eqn, Jaxpr
from .blas import gemm, gemv
from .branches import cond_items
from .carries import Carries
from .native import layout
from .native.loops import run_block, run_rows, run_scan, run_while
from .native.program import ALONE, Thunk, sequence
from .plan import ALIGN, Inner, Item, bytes_of, copy
from .stages import Address, Memory, Part, Stage, distant, item_of

if TYPE_CHECKING:
    from .planner import Planner

UNKNOWN = 1e6  # nanoseconds of a loop whose end is not known
WIDE = 256  # bytes from which on what a run remembers begins at a multiple of ALIGN


def loop_items(e: Eqn, planner: Planner) -> list[Item]:
    """The items of a scan, while_loop or cond: copies, which often vanish, and the loop."""
    return LOOPS[e.primitive.name](e, planner)


def staged(
    body: Jaxpr,
    consts: int,
    carry: int,
    stacked: Sequence[int],
    shift: bool,
    memory: Memory,
    planner: Planner,
    blocks: int = 1,
) -> tuple[Stage, Carries]:
    """The stage of a body of which the outputs `stacked` are wanted beside the carries; `shift`: see `Carries`."""
    body = planner.prepared(body)
    carries = Carries(body, consts, carry, stacked, shift)
    plan = planner.body(planner.prepared(body, tuple(carries.kept)), carries.donated)
    carries.settle(plan)
    return Stage(memory, plan, blocks), carries


def named(consts: int, carry: int, rest: int, kind: str) -> list[str]:
    """What people call the inputs of a body."""
    parts = (("constant", consts), ("carry", carry), (kind, rest))
    return [f"{name} {i}" for name, count in parts for i in range(count)]


def scan_items(e: Eqn, planner: Planner) -> list[Item]:
    """Slices step through operands and results. Blocks of rows: see `rows`."""
    body, consts, carry, length = (e.params[k] for k in ("jaxpr", "consts", "carry", "length"))
    blocks, cut = e.params.get("blocks", 1), e.params.get("cut", ())
    split = consts + carry
    first, last = e.inputs[consts:split], e.outputs[:carry]
    stacked = [i for i in range(carry, len(e.outputs)) if e.outputs[i].type.size]
    memory = Memory(planner.keep)
    stage, carries = staged(body, consts, carry, stacked, True, memory, planner, blocks)
    stage.runs = length
    if blocks > 1:
        stage.slot(("left",))  # the runs that are left are in front
        stage.apart = {("input", i): 0 for i, has_rows in enumerate(cut) if not has_rows}
    for i, a in enumerate(e.inputs[:consts]):
        stage.setup["input", i] = a, 0
    slices = [(("input", i), e.inputs[i], 0) for i in range(split, len(e.inputs))]
    slices += [(("output", k), e.outputs[i], 0) for k, i in enumerate(carries.kept) if i >= carry]
    for c, i in carries.shifted.items():
        slices += [(carries.slot(c), e.outputs[i], 0), (("output", carries.written[c]), e.outputs[i], 1)]
    for key, a, ahead in slices:
        step = bytes_of(a) // max(length, 1)
        begin = (length - 1 - ahead if e.params["reverse"] else ahead) if length else 0
        stage.setup[key] = a, step * begin
        stage.apart.setdefault(key, step // blocks)
        stage.steps.append((key, -step if e.params["reverse"] else step))
    items = stage.carry(carries, first, last, length)
    inputs, outputs = (
        named(consts, carry, len(e.inputs) - split, "slice"),
        named(0, carry, len(e.outputs) - carry, "stack"),
    )
    text = f"scan of {length} runs{', backwards' if e.params['reverse'] else ''}"
    cost, inner = (
        length * stage.cost(),
        [Inner("body", stage.parts[0].plan, length, inputs, [outputs[i] for i in carries.kept])],
    )
    if blocks == 1:
        return [*items, item_of(e, text, run_scan, memory, [stage], stage.words, cost, inner)]
    once = stage.cost()
    segment = max(1, min(length, int(ALONE / once)))
    together = all(map(threaded, stage.parts[0].plan.items))

    def words(address: Address) -> list[int]:
        record = stage.words(address)
        head = {layout.ROWS_FRAME: stage.size, layout.ROWS_SEGMENT: segment}
        dims = (*[head[offset] for offset in range(0, layout.ROWS_STAGE, 8)], *record)
        thunk = Thunk(address(run_block), (), dims, blocks, 1 if together else blocks, segment * blocks * once)
        return sequence([thunk], 0, 0, 0, False)

    inner = [inner[0]._replace(times=length * blocks)]
    item = item_of(e, f"{text}, in {blocks} blocks of rows", run_rows, memory, [stage], words, blocks * cost, inner)
    item.native = (run_rows, run_block)
    return [*items, item]


def threaded(item: Item) -> bool:
    """Whether an item of a body may run on any thread: it calls neither Python nor what would share its work."""
    return item.kernel is not None or (bool(item.native) and item.native[0] in (gemm, gemv, copy))


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
        stacked = [s.carry + i for i in chosen]
        stage, carries = staged(s.jaxpr, s.consts, s.carry, stacked, number == 0, memory, planner)
        for i, a in enumerate(e.inputs[at : at + s.consts]):
            stage.setup["input", i] = a, 0
        for i, n in enumerate(s.reads):
            if n in offsets:
                stage.records.append((("input", s.consts + s.carry + i), offsets[n]))
        for i in chosen:
            width = types[i].size * types[i].dtype.itemsize
            unit = ALIGN if width >= WIDE else types[i].dtype.alignment
            offsets[pushes + i] = -(-size // unit) * unit
            size = offsets[pushes + i] + width
        for k, i in enumerate(carries.kept):
            if i >= s.carry:
                stage.records.append((("output", k), offsets[pushes + i - s.carry]))
        for c, i in carries.shifted.items():
            stage.records.append((carries.slot(c), offsets[pushes + i - s.carry]))
            stage.ahead.append((("output", carries.written[c]), offsets[pushes + i - s.carry]))
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
            inner.append(Inner("condition", plan, None, named(consts, s.carry, 0, ""), ["condition"]))
        title = "body" if len(sweeps) == 1 else f"sweep {number}"
        inputs, outputs = named(s.consts, s.carry, len(s.reads), "read"), named(0, s.carry, s.pushes, "push")
        inner.append(Inner(title, stage.parts[0].plan, None, inputs, [outputs[i] for i in carries.kept]))
        stages.append(stage)
        at, done, pushes = at + s.carry, done + s.carry, pushes + len(types)
    size = -(-size // ALIGN) * ALIGN if size >= WIDE else -(-size // 16) * 16

    def words(address: Address) -> list[int]:
        return distant({layout.WHILE_SWEEPS: len(stages), layout.WHILE_RECORD: size}, stages, address)

    text = "while loop" if len(sweeps) == 1 else f"while loop in {len(sweeps)} sweeps"
    return [*items, item_of(e, text, run_while, memory, stages, words, UNKNOWN, inner)]


LOOPS: dict[str, Callable[[Eqn, Planner], list[Item]]] = {
    "scan": scan_items,
    "while_loop": while_items,
    "cond": cond_items,
}
