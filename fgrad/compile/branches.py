"""cond: each branch is planned as a program, and one native function runs the chosen one.

    cond of  x, i -> x   and   x, i -> scatter x i 1.0

The branches write their results where the program around them wants them. An operand that all of them return, update or
otherwise overwrite is copied there before, and the copy vanishes where the operand dies: in the example, nothing is
done for the first branch, and one element is written for the second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..core.ir import Eqn, Jaxpr, Literal, Var
from .native import layout
from .native.loops import run_cond
from .plan import Inner, Item, Plan, copy_item
from .routines_update import UPDATES
from .stages import Address, Memory, Stage, distant, item_of

if TYPE_CHECKING:
    from .planner import Planner


def cond_items(e: Eqn, planner: Planner) -> list[Item]:
    """One stage for each branch, on the same operands and results."""
    index, *operands = e.inputs
    branches = [planner.prepared(b) for b in e.params["branches"]]
    wanted = [i for i, v in enumerate(e.outputs) if v.type.size]
    over, failed = overwritten(branches, wanted, operands), {-1}
    while failed:
        plans = [planned(b, wanted, over, planner) for b in branches]
        failed = {i for kept, plan in plans for k, i in enumerate(kept) if plan.donated_to.get(k) != over.get(i)}
        over = {i: a for i, a in over.items() if i not in failed}
    memory = Memory(planner.keep)
    stages, inner = [], []
    for number, (kept, plan) in enumerate(plans):
        stage = Stage(memory, plan)
        stage.setup = {("input", i): (a, 0) for i, a in enumerate(operands)}
        stage.setup |= {("input", a): (e.outputs[i], 0) for i, a in over.items()}
        stage.setup |= {("output", k): (e.outputs[i], 0) for k, i in enumerate(kept)}
        stages.append(stage)
        names = [f"operand {i}" for i in range(len(operands))], [f"result {i}" for i in kept]
        inner.append(Inner(f"branch {number}", plan, None, *names))

    def words(address: Address) -> list[int]:
        operand, number = memory.source(index)
        head = {layout.COND_OPERAND: operand, layout.COND_ADDRESS: number, layout.COND_LAST: len(stages) - 1}
        return distant(head, stages, address)

    copies = [copy_item(operands[a], e.outputs[i], vanishes=True) for i, a in over.items()]
    cost = max(stage.cost() for stage in stages)
    return [*copies, item_of(e, f"one of {len(stages)} branches", run_cond, memory, stages, words, cost, inner)]


def planned(branch: Jaxpr, wanted: Sequence[int], over: Mapping[int, int], planner: Planner) -> tuple[list[int], Plan]:
    """Numbers of the outputs that a branch writes, and its plan; `over`: see `overwritten`."""
    kept = [i for i in wanted if i not in over or branch.outputs[i] is not branch.inputs[over[i]]]
    donated = {over[i]: (k,) for k, i in enumerate(kept) if i in over}
    return kept, planner.body(planner.prepared(branch, tuple(kept)), donated)


def overwritten(branches: Sequence[Jaxpr], wanted: Sequence[int], operands: Sequence[Any]) -> dict[int, int]:
    """Outputs, and the operands to be copied there before: some branch needs that copy, and no other one at once."""
    found: dict[int, int] = {}
    for i in wanted:
        sources = {a for a in (origin(b, i) for b in branches) if a is not None}
        if len(sources) == 1:
            (a,) = sources
            if a not in found.values() and type(operands[a]) is not Literal:
                found[i] = a
    return found


def origin(jaxpr: Jaxpr, output: int) -> int | None:
    """The number of the input of which an output is an update, or which it is."""
    numbers: dict[Any, int] = {v: i for i, v in enumerate(jaxpr.inputs)}
    made = {v: e for e in jaxpr.eqns for v in e.outputs}
    a: Any = jaxpr.outputs[output]
    while type(a) is Var and a not in numbers:
        source = updated(made[a], made[a].outputs.index(a))
        if source is None:
            return None
        a = made[a].inputs[source]
    return numbers.get(a) if type(a) is Var else None


def updated(e: Eqn, output: int) -> int | None:
    """The number of the operand that an equation changes in part, or in the end, to give an output."""
    name, params = e.primitive.name, e.params
    if name in UPDATES:
        return 0
    if name == "scan" and output < params["carry"]:
        return int(params["consts"]) + output
    if name == "while_loop":
        at = params["consts"]
        for s in params["sweeps"]:
            if output < s.carry:
                return int(at + s.consts + output)
            at, output = at + s.consts + s.carry, output - s.carry
    if name == "cond":
        sources = {a for a in (origin(b, output) for b in params["branches"]) if a is not None}
        return 1 + sources.pop() if len(sources) == 1 else None
    return None
