"""Sweeps of a while_loop: what they are, and what derivatives, lanes and dead code elimination make of them.

Each function takes the condition, the number of its consts and the sweeps, and gives params of a new while_loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..core.builder import trace
from ..core.calls import renderer
from ..core.dependence import Flags, depends, live, pruned, settled
from ..core.errors import LinearityError, message
from ..core.ir import Jaxpr, Var
from ..core.primitive import space
from ..passes.interpret import interpret
from ..passes.transpose import zeros
from ..passes.vmap import batch_program
from .bodies import constless, jvp_body, partition, permuted, picked, pulled_body


class Sweep(NamedTuple):
    """One pass over all runs. `jaxpr`: consts, carry, what it reads -> carry, pushes.

    `consts`, `carry`: how many operands there are of each; `reads`: which pushes, counted over all sweeps before it.
    """

    jaxpr: Jaxpr
    consts: int
    carry: int
    reads: tuple[int, ...]

    @property
    def pushes(self) -> int:
        """How many values it pushes at each run."""
        return len(self.jaxpr.outputs) - self.carry


def places(consts: int, sweeps: Sequence[Sweep]) -> list[tuple[slice, slice]]:
    """Where the consts and the carry of each sweep stand among the operands."""
    found, at = [], consts
    for s in sweeps:
        found.append((slice(at, at + s.consts), slice(at + s.consts, at + s.consts + s.carry)))
        at += s.consts + s.carry
    return found


def smaller(
    cond: Jaxpr, consts: int, sweeps: tuple[Sweep, ...], wanted_outs: Sequence[bool]
) -> tuple[dict[str, Any], list[bool], list[bool]]:
    """Params without what neither live outputs nor the condition need; which operands and outputs are left."""
    _, asked = live(cond, cond.outputs)
    wanted: set[int] = set()  # pushes that later sweeps read
    found: list[Any] = []
    first, end = sum(s.pushes for s in sweeps), len(wanted_outs)
    for number, s in reversed(list(enumerate(sweeps))):
        first, end = first - s.pushes, end - s.carry
        pushes = [first + i in wanted for i in range(s.pushes)]
        mine, out = s.jaxpr.inputs[s.consts : s.consts + s.carry], s.jaxpr.outputs
        start = list(wanted_outs[end : end + s.carry])
        if number == 0:
            start = [a or v in asked for a, v in zip(start, cond.inputs[consts:], strict=True)]

        def step(flags: Flags, s: Sweep = s, mine: Any = mine, out: Any = out, pushes: Any = pushes) -> Flags:
            _, read = live(s.jaxpr, [*picked(out[: s.carry], flags), *picked(out[s.carry :], pushes)])
            return tuple(v in read for v in mine)

        keep = settled(start, step)
        outputs = [*picked(out[: s.carry], keep), *picked(out[s.carry :], pushes)]
        _, used = pruned(s.jaxpr, outputs)
        wanted.update(picked(s.reads, used[s.consts + s.carry :]))
        found.append((s, used[: s.consts], keep, used[s.consts + s.carry :], pushes, outputs))
    found.reverse()
    new: list[Sweep] = []
    number = {old: i for i, old in enumerate(sorted(wanted))}
    operands = [v in asked for v in cond.inputs[:consts]]
    outs: list[bool] = []
    for s, same, keep, read, _, outputs in found:
        inputs = picked(s.jaxpr.inputs, (*same, *keep, *read))
        body = renderer.simplify(permuted(s.jaxpr, inputs, outputs))
        new.append(Sweep(body, sum(same), sum(keep), tuple(number[i] for i in picked(s.reads, read))))
        operands += [*same, *keep]
        outs += keep
    flags = (*operands[:consts], *found[0][2])
    condition = permuted(cond, picked(cond.inputs, flags), cond.outputs)
    return {"cond": condition, "consts": sum(flags[:consts]), "sweeps": tuple(new)}, operands, outs


def dual(
    cond: Jaxpr, consts: int, sweeps: tuple[Sweep, ...], given: Flags
) -> tuple[dict[str, Any], list[tuple[Flags, Flags]]]:
    """Params of the sweeps beside their tangents, and which consts and carries of each sweep have some."""
    new: list[Sweep] = []
    active: list[tuple[Flags, Flags]] = []
    numbers: list[tuple[int, int | None]] = []  # of each push, and of its tangent, among the new pushes
    total = 0
    for s, (same, state) in zip(sweeps, places(consts, sweeps), strict=True):
        read = tuple(numbers[i][1] is not None for i in s.reads)
        inexact = [t.inexact for t in s.jaxpr.out_types[: s.carry]]

        def step(flags: Flags, s: Sweep = s, same: slice = same, read: Flags = read, ok: Any = inexact) -> Flags:
            found = depends(s.jaxpr, (*given[same], *flags, *read))
            return tuple(a and b for a, b in zip(found[: s.carry], ok, strict=True))

        flags = settled(given[state], step)
        whole = (*given[same], *flags, *read)
        body, marks = jvp_body(s.jaxpr, whole, (*flags, *[False] * s.pushes))
        n, m = len(s.jaxpr.inputs), len(s.jaxpr.outputs)
        ts = dict(zip(picked(range(n), whole), body.inputs[n:], strict=True))
        inputs: list[Any] = []
        for piece in (range(s.consts), range(s.consts, s.consts + s.carry), range(s.consts + s.carry, n)):
            inputs += [*[body.inputs[i] for i in piece], *[ts[i] for i in piece if i in ts]]
        ahead = sum(flags)
        outputs = [*body.outputs[: s.carry], *body.outputs[m : m + ahead]]
        outputs += [*body.outputs[s.carry : m], *body.outputs[m + ahead :]]
        reads = [numbers[i][0] for i in s.reads]
        reads += [number for i in s.reads if (number := numbers[i][1]) is not None]
        behind = iter(range(total + s.pushes, total + s.pushes + sum(marks[s.carry :])))
        numbers += [(total + i, next(behind) if a else None) for i, a in enumerate(marks[s.carry :])]
        total += s.pushes + sum(marks[s.carry :])
        new.append(Sweep(permuted(body, inputs, outputs), s.consts + sum(given[same]), s.carry + ahead, tuple(reads)))
        active.append((given[same], flags))
    extra = [Var(t) for t in picked(sweeps[0].jaxpr.out_types[: sweeps[0].carry], active[0][1])]
    condition = permuted(cond, [*cond.inputs, *extra], cond.outputs)
    return {"cond": condition, "consts": consts, "sweeps": tuple(new)}, active


def lanes_together(
    cond: Jaxpr, consts: int, sweeps: tuple[Sweep, ...], given: Flags, size: int
) -> tuple[dict[str, Any] | None, list[Flags]]:
    """Params of the sweeps of all lanes together, and which carries are mapped; None where the condition is."""
    new: list[Sweep] = []
    flags: list[Flags] = []
    pushed: list[bool] = []
    for number, (s, (same, state)) in enumerate(zip(sweeps, places(consts, sweeps), strict=True)):
        read = tuple(pushed[i] for i in s.reads)

        def step(on: Flags, s: Sweep = s, same: slice = same, read: Flags = read) -> Flags:
            return depends(s.jaxpr, (*given[same], *on, *read))[: s.carry]

        on = settled(given[state], step)
        if number == 0 and depends(cond, (*given[:consts], *on))[0]:
            return None, []
        body, marks = batch_program(s.jaxpr, (*given[same], *on, *read), size, (*on, *[False] * s.pushes))
        pushed += marks[s.carry :]
        new.append(Sweep(constless(body), s.consts, s.carry, s.reads))
        flags.append(on)
    condition = cond
    if any(given[:consts]) or any(flags[0]):  # by operands on which it does not depend
        condition = constless(batch_program(cond, (*given[:consts], *flags[0]), size)[0])
    return {"cond": condition, "consts": consts, "sweeps": tuple(new)}, flags


def pulled(cond: Jaxpr, consts: int, sweeps: tuple[Sweep, ...], linear: Flags) -> tuple[dict[str, Any], list[Flags]]:
    """Params of the transposed sweeps behind the known parts of the sweeps; and which carries are linear."""
    known_sweeps: list[Sweep] = []
    flags: list[Flags] = []
    number: list[int | None] = []  # of each push among the new ones; None: it is linear
    bodies = []
    total = 0
    for s, (same, state) in zip(sweeps, places(consts, sweeps), strict=True):
        read = tuple(number[i] is None for i in s.reads)

        def step(on: Flags, s: Sweep = s, same: slice = same, read: Flags = read) -> Flags:
            return depends(s.jaxpr, (*linear[same], *on, *read))[: s.carry]

        on = settled(linear[state], step)
        whole = (*linear[same], *on, *read)
        known, body, residuals, marks = partition(s.jaxpr, whole, on)
        reads = [i for i in (number[j] for j in s.reads) if i is not None]
        states = len(on) - sum(on)
        known_marks = picked(marks, marks, False)  # known outputs: carries, then pushes
        pushes = len(known_marks) - states
        sources: list[tuple[str, int]] = []  # of each residual: a known const, or a push
        position = {v: i for i, v in enumerate(known.inputs)}
        first, kept = s.consts - sum(linear[same]), []
        for r in residuals:
            i = position.get(r, -1)
            if 0 <= i < first:
                sources.append(("const", i))
            elif i >= first + states:
                sources.append(("push", reads[i - first - states]))
            else:
                sources.append(("push", total + pushes + len(kept)))
                kept.append(r)
        outputs = [*known.outputs[: states + pushes], *kept]
        known_sweeps.append(Sweep(permuted(known, known.inputs, outputs), first, states, tuple(reads)))
        old = iter(range(total, total + pushes))
        number += [None if m else next(old) for m in marks[s.carry :]]
        total += pushes + len(kept)
        flags.append(on)
        bodies.append((s, whole, body, sources, marks))
    if any(depends(cond, (*linear[:consts], *flags[0]))):
        raise LinearityError(
            message("while_loop: the condition depends on what is to be transposed", do="differentiate instead")
        )
    inputs = picked(cond.inputs, (*linear[:consts], *flags[0]), False)
    cotangents: dict[int, list[int]] = {}  # of each linear push: where its readers push cotangents
    starts = [sum(s.pushes for s in sweeps[:i]) for i in range(len(sweeps))]
    new: list[Sweep] = []
    for k, (s, whole, body, sources, marks) in reversed(list(enumerate(bodies))):
        mine = [starts[k] + i for i, m in enumerate(marks[s.carry :]) if m]
        sweep, count = transposed_sweep(s, whole, body, sources, [cotangents.get(i, []) for i in mine])
        linear_reads = picked(s.reads, whole[s.consts + s.carry :])
        for i, read in enumerate(linear_reads):
            cotangents.setdefault(read, []).append(total + i)
        total += count
        new.append(sweep)
    params = {
        "cond": permuted(cond, inputs, cond.outputs),
        "consts": consts - sum(linear[:consts]),
        "sweeps": (*known_sweeps, *new),
    }
    return params, flags


def transposed_sweep(
    s: Sweep, whole: Flags, body: Jaxpr, sources: Sequence[tuple[str, int]], readers: Sequence[Sequence[int]]
) -> tuple[Sweep, int]:
    """The sweep that pulls cotangents through the linear part `body` of a sweep, and how many it pushes.

    `whole`: which inputs of the sweep are linear; `sources`: of the residuals, a known const of the sweep or a push;
    `readers`: the pushes with the cotangents of each linear push of the sweep.
    """
    n = len(sources)
    consts, states = sum(whole[: s.consts]), sum(whole[s.consts : s.consts + s.carry])
    linear = (*[False] * n, *[True] * (len(body.inputs) - n))
    have = (*[True] * states, *[bool(r) for r in readers])
    held = tuple(n <= i < n + consts for i in range(len(body.inputs)))
    program, present = pulled_body(body, linear, have, held)
    types = body.in_types
    known = s.consts - consts
    pushes = [i for kind, i in sources if kind == "push"]
    reads = list(dict.fromkeys([*pushes, *[i for r in readers for i in r]]))
    type_of_read = {i: t for (kind, i), t in zip(sources, types, strict=False) if kind == "push"}
    for r, t in zip(readers, body.out_types[states:], strict=True):
        type_of_read.update(dict.fromkeys(r, t))

    def pull(*args: Any) -> list[Any]:
        same, state = args[:known], args[known : known + states]
        sums = args[known + states : known + states + consts]
        record = dict(zip(reads, args[known + states + consts :], strict=True))
        residuals = [same[i] if kind == "const" else record[i] for kind, i in sources]
        cts = []
        for r in readers:
            if r:
                ct = record[r[0]]
                for i in r[1:]:
                    ct = space.add(ct, record[i])
                cts.append(ct)
        found = iter(interpret(program, [*residuals, *state, *cts, *sums]))
        new = [next(found) if p else zeros(t) for p, t in zip(present, types[n:], strict=True)]
        return [*new[consts : consts + states], *new[:consts], *new[consts + states :]]

    ins = [*picked(s.jaxpr.in_types[: s.consts], whole[: s.consts], False), *types[n + consts : n + consts + states]]
    ins += [*types[n : n + consts], *[type_of_read[i] for i in reads]]
    found, _ = trace(pull, ins, "transpose", sites=False)
    return Sweep(constless(found), known, states + consts, tuple(reads)), len(body.inputs) - n - consts - states
