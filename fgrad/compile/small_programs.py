"""What is known of small programs before they become kernels: flat bodies, their cost, doubt, and a legal order.

Regions here are `scan`, `while_loop` and `cond`; calls of any kind are replaced by their bodies.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from math import prod
from typing import Any, NamedTuple

from ..core.effects import Effect
from ..core.ir import Eqn, Jaxpr, Literal, Var
from ..regions.call import memo
from ..rewrites.pipeline import simplify
from .element_index import WRITES
from .element_rules import TABLE, VIEWS
from .elements import LIMIT, Decline
from .expressions import KEEP_NAN
from .scalar_rules import WEIGHTS

# What gives NaN where an operand that counts is NaN, beside what `expressions.KEEP_NAN` has
CARRY_NAN = KEEP_NAN | frozenset(TABLE) - {"argmax", "argmin", "reduce_and", "reduce_or"}
TOO_MUCH = 10**12


class Mistrusted(Exception):
    """A NaN that a zero might have to win over could get lost."""


def flat(jaxpr: Jaxpr) -> Jaxpr:
    """The program with calls replaced by their bodies, simplified; made once."""
    return memo(jaxpr, "flat", lambda: simplify(_flat(jaxpr)))  # type: ignore[no-any-return]


def _flat(jaxpr: Jaxpr) -> Jaxpr:
    if jaxpr.consts:
        raise Decline("it has captured arrays")
    if not any(_body(e) for e in jaxpr.eqns):
        return jaxpr
    eqns: list[Eqn] = []

    def put(program: Jaxpr, args: Sequence[Any]) -> list[Any]:
        env: dict[Any, Any] = dict(zip(program.inputs, args, strict=True))
        for e in program.eqns:
            operands = [env[a] if type(a) is Var else a for a in e.inputs]
            body = _body(e)
            if body is not None:
                outs = put(body, operands)
            else:
                outs = [Var(v.type) for v in e.outputs]
                eqns.append(Eqn(e.primitive, operands, e.params, outs, e.origin))
            env.update(zip(e.outputs, outs, strict=True))
        return [env[a] if type(a) is Var else a for a in program.outputs]

    outs = put(jaxpr, jaxpr.inputs)
    return Jaxpr(jaxpr.inputs, eqns, outs)


def _body(e: Eqn) -> Jaxpr | None:
    """The program that an equation runs, if it does nothing else."""
    if e.primitive.name == "checkpoint":
        return e.params["jaxpr"]  # type: ignore[no-any-return]
    return e.primitive.inside(**e.params) if e.primitive.region else None  # type: ignore[attr-defined, no-any-return]


class Stage(NamedTuple):
    """One program of a loop and how its operands and outputs belong to the equation's.

    consts, carry: numbers of the equation's operands; outs: of the equation's outputs that are the carry's last values.
    """

    jaxpr: Jaxpr
    consts: Sequence[int]
    carry: Sequence[int]
    outs: Sequence[int]


def stages(e: Eqn) -> list[Stage]:
    """The bodies of a scan or while_loop, without the condition; of other equations, none."""
    p = e.params
    if e.primitive.name == "cond":
        return []
    if e.primitive.name == "scan":
        n, m = p["consts"], p["carry"]
        return [Stage(flat(p["jaxpr"]), range(n), range(n, n + m), range(m))]
    out, at, first = [], p["consts"], 0
    for s in p["sweeps"]:
        split, end = at + s.consts, at + s.consts + s.carry
        out.append(Stage(flat(s.jaxpr), range(at, split), range(split, end), range(first, first + s.carry)))
        at, first = end, first + s.carry
    return out


def programs(e: Eqn) -> list[Jaxpr]:
    """The flat programs that an equation holds."""
    if e.primitive.name == "cond":
        return [flat(b) for b in e.params["branches"]]
    if e.primitive.name in ("scan", "while_loop"):
        conditions = [flat(e.params["cond"])] if e.primitive.name == "while_loop" else []
        return [*conditions, *[s.jaxpr for s in stages(e)]]
    return []


def waits(e: Eqn) -> bool:
    """Whether an equation is a loop of unknown length, or one is in a program that it holds."""
    return e.primitive.name == "while_loop" or any(waits(inner) for p in programs(e) for inner in p.eqns)


def checks(e: Eqn) -> bool:
    """Whether an equation looks at indices: also at promised ones, since what has looked at them before may be dead."""
    return Effect.RAISES in e.effects or e.params.get("mode") == "promise"


def raising(e: Eqn) -> Iterator[tuple[Eqn, Any]]:
    """The equations that may raise in the programs that an equation holds, with the user's lines."""
    found: list[Any] = list(e.params.values())
    while found:
        x = found.pop()
        if isinstance(x, tuple):
            found += x
        for inner in x.eqns if isinstance(x, Jaxpr) else ():
            if inner.primitive.region:
                yield from raising(inner)
            elif checks(inner):
                yield inner, x.sites[inner.origin] if 0 <= inner.origin < len(x.sites) else None


# ----------------------------------------------------------------------------------------------------------------- cost


def weight(e: Eqn) -> int:
    """Scalar operations for one element of an equation without a program."""
    return WEIGHTS.get(e.primitive.name, 1)


def operations(jaxpr: Jaxpr) -> int:
    """About how many scalar operations one run takes; a loop of unknown length counts as ten runs."""

    def count() -> int:
        total = 0
        for e in jaxpr.eqns:
            name = e.primitive.name
            inner = [operations(p) for p in programs(e)]
            if name == "cond":
                total += 2 + max(inner)
            elif inner:
                total += sum(inner) * (e.params["length"] if name == "scan" else 10)
            elif name == "dot_general":
                depth = prod(e.inputs[0].type.shape[a] for a in e.params["contract"][0])
                total += 2 * depth * e.outputs[0].type.size
            elif name not in VIEWS:
                moved = e.inputs[1].type.size if name in WRITES else e.outputs[0].type.size
                total += weight(e) * min(moved, LIMIT)
        return min(total, TOO_MUCH)

    return memo(jaxpr, "operations", count)  # type: ignore[no-any-return]


# ---------------------------------------------------------------------------------------------------------------- doubt


def doubts(jaxpr: Jaxpr, given: Sequence[bool]) -> dict[Any, bool]:
    """Which variables depend on a product taken at its word, if these inputs do.

    Raises `Mistrusted` where a NaN in one of them might not show in the results.
    """
    table: dict[Any, bool] = dict(zip(jaxpr.inputs, given, strict=True))
    for e in jaxpr.eqns:
        flags = [type(a) is Var and table[a] for a in e.inputs]
        table.update(zip(e.outputs, doubtful_outputs(e, flags), strict=True))
    return table


def outputs_of(jaxpr: Jaxpr, table: dict[Any, bool]) -> list[bool]:
    """Which outputs are doubtful."""
    return [type(a) is Var and table[a] for a in jaxpr.outputs]


def doubtful_outputs(e: Eqn, flags: Sequence[bool]) -> list[bool]:
    """Which outputs of an equation are doubtful if these operands are."""
    name = e.primitive.name
    if name == "scan":
        (stage,) = stages(e)
        return _looped(stage.jaxpr, flags, e.params["consts"], e.params["carry"])
    if name == "while_loop":
        return [mark for carry, _ in swept(e, flags) for mark in carry]
    if name == "cond":
        if flags[0]:
            raise Mistrusted
        sides = [outputs_of(b, doubts(b, flags[1:])) for b in programs(e)]
        return [any(side) for side in zip(*sides, strict=True)]
    if any(flags):
        sound = name in CARRY_NAN or (name == "select" and not flags[0])
        if name == "convert_element_type":
            sound = e.outputs[0].type.dtype.kind == "f"
        if name == "integer_pow":
            sound = e.params["n"] != 0
        if not sound:
            raise Mistrusted
    return [any(flags) or name == "mul0"] * len(e.outputs)


def swept(e: Eqn, flags: Sequence[bool], doubt: bool = True) -> list[tuple[list[bool], list[bool]]]:
    """Of each sweep of a while_loop, which carries and which pushes are doubtful; without doubt, none."""
    out: list[tuple[list[bool], list[bool]]] = []
    for s, stage in zip(e.params["sweeps"], stages(e), strict=True):
        pushed = [mark for _, pushes in out for mark in pushes]
        given = [flags[i] for i in (*stage.consts, *stage.carry)] + [pushed[n] for n in s.reads]
        n = len(stage.carry)
        found = _looped(stage.jaxpr, given, len(stage.consts), n) if doubt else [False] * len(stage.jaxpr.outputs)
        out.append((found[:n], found[n:]))
    condition = flat(e.params["cond"])
    if doubt and any(outputs_of(condition, doubts(condition, [*flags[: e.params["consts"]], *out[0][0]]))):
        raise Mistrusted
    return out


def _looped(body: Jaxpr, flags: Sequence[bool], consts: int, carry: int) -> list[bool]:
    """The outputs of a loop; what one run makes doubtful is so in the next."""
    state = list(flags[consts : consts + carry])
    while True:
        out = outputs_of(body, doubts(body, [*flags[:consts], *state, *flags[consts + carry :]]))
        new = [a or b for a, b in zip(state, out, strict=False)]
        if new == state:
            return [*state, *out[carry:]]
        state = new


# ---------------------------------------------------------------------------------------------------------------- order


def passed(e: Eqn) -> Iterator[tuple[int, int, bool]]:
    """(operand, output, written): outputs that are an operand's memory if that is in memory, in place."""
    name = e.primitive.name
    if name in WRITES:
        yield 0, 0, True
    elif name in VIEWS or (name == "dynamic_slice" and e.outputs[0].type.size > LIMIT):
        yield 0, 0, False
    elif name in ("scan", "while_loop"):
        for s in stages(e):
            for operand, out in zip(s.carry, s.outs, strict=True):
                yield operand, out, True
    elif name == "cond":
        sides = [origins(b) for b in programs(e)]
        for out, side in enumerate(zip(*sides, strict=True)):
            sources = {source for source, _ in side}
            if len(sources) == 1 and (source := sources.pop()) is not None:
                yield source + 1, out, any(written for _, written in side)


def origins(jaxpr: Jaxpr) -> list[tuple[int | None, bool]]:
    """The input whose memory each output has, if that is in memory, and whether it is written on the way."""
    source: dict[Any, tuple[int | None, bool]] = {v: (i, False) for i, v in enumerate(jaxpr.inputs)}
    for e in jaxpr.eqns:
        for operand, out, written in passed(e):
            found = source.get(e.inputs[operand])
            if found is not None:
                source[e.outputs[out]] = (found[0], found[1] or written)
    return [source.get(a, (None, False)) for a in jaxpr.outputs]


def ordered(jaxpr: Jaxpr, mutable: Sequence[bool]) -> list[Eqn]:
    """The equations in an order in which what reads an array in memory comes before what overwrites it.

    mutable: which inputs are such arrays. Raises `Decline` if there is no such order.
    """
    if not any(mutable):
        return list(jaxpr.eqns)
    content: dict[Any, Any] = {v: v for v, m in zip(jaxpr.inputs, mutable, strict=True) if m}
    readers: dict[Any, list[int]] = {v: [] for v in content}
    writer: dict[Any, int] = {}
    maker: dict[Any, int] = {}
    for n, e in enumerate(jaxpr.eqns):
        new: dict[Any, Any] = {}
        for operand, out, written in passed(e):
            before = content.get(e.inputs[operand])
            if before is None:
                continue
            new[e.outputs[out]] = before
            if written:
                if before in writer:
                    raise Decline("it keeps two versions of an array")
                writer[before] = n
                new[e.outputs[out]] = e.outputs[out]
                readers[e.outputs[out]] = []
        for a in e.inputs:
            if type(a) is Var and a in content and content[a] in readers:
                readers[content[a]].append(n)
        content.update(new)
        maker.update((v, n) for v in e.outputs)
    after: list[set[int]] = [set() for _ in jaxpr.eqns]  # what must come behind each equation
    for n, e in enumerate(jaxpr.eqns):
        for a in e.inputs:
            if type(a) is Var and a in maker:
                after[maker[a]].add(n)
    for version, n in writer.items():
        for reader in readers[version]:
            if reader != n:
                after[reader].add(n)
    missing = [0] * len(jaxpr.eqns)
    for later in after:
        for n in later:
            missing[n] += 1
    ready = [n for n, count in enumerate(missing) if not count]
    order = []
    while ready:
        n = heapq.heappop(ready)
        order.append(jaxpr.eqns[n])
        for m in after[n]:
            missing[m] -= 1
            if not missing[m]:
                heapq.heappush(ready, m)
    if len(order) < len(jaxpr.eqns):
        raise Decline("it reads an array behind what overwrites it")
    return order


def indexed_only(jaxpr: Jaxpr, v: Var) -> bool:
    """Whether a program only reads and writes an input at indices that are not known, and passes it on."""
    moving = False
    for e in jaxpr.eqns:
        if v not in e.inputs:
            continue
        name = e.primitive.name
        if name in ("scan", "while_loop"):
            s = next((s for s in stages(e) for i in s.carry if e.inputs[i] is v), None)
            if s is None or sum(a is v for a in e.inputs) > 1:
                return False
            at = next(n for n, i in enumerate(s.carry) if e.inputs[i] is v)
            if not indexed_only(s.jaxpr, s.jaxpr.inputs[len(s.consts) + at]):
                return False
            v, moving = e.outputs[s.outs[at]], True
            continue
        if name not in WRITES and name not in ("dynamic_slice", "gather"):
            return False
        if e.inputs[0] is not v or sum(a is v for a in e.inputs) > 1:
            return False
        moving |= any(type(a) is not Literal for a in e.inputs[2 if name in WRITES else 1 :])
        if name in WRITES:
            v = e.outputs[0]
    return moving and sum(a is v for a in jaxpr.outputs) == 1
