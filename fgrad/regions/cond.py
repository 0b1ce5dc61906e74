"""cond: one of several programs, chosen by an index that is known when it runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.builder import trace
from ..core.calls import renderer
from ..core.dependence import Flags, depends, pruned
from ..core.effects import NONE, Effects
from ..core.errors import ShapeError, message
from ..core.ir import Eqn, Jaxpr
from ..core.primitive import Region, is_linear, registry
from ..core.types import ShapedArray, shaped
from ..passes.interpret import interpret
from ..passes.transpose import zeros
from ..passes.vmap import batch_program
from .bodies import constless, jvp_body, linear_body, permuted, picked, pulled_body, type_of
from .call import execute, memo, on_request
from .loop import lane_by_lane


class Cond(Region):
    """Outputs of one of the programs `branches`, all of the same types, on the operands behind the first.

    The first operand is an int64 scalar, the number of the branch; one outside is taken for the nearest.
    """

    def typeof(self, *types: ShapedArray, branches: tuple[Jaxpr, ...]) -> tuple[ShapedArray, ...]:
        index, *rest = types
        if index.shape or index.dtype != np.int64:
            raise ShapeError(message("cond: the index must be an int64 scalar", got=index, do="convert it first"))
        if any(b.in_types != tuple(rest) or b.out_types != branches[0].out_types for b in branches):
            raise ShapeError(message("cond: branches differ in their types", got=branches, do="make them agree"))
        return branches[0].out_types

    def effects(self, *types: ShapedArray, **params: Any) -> Effects:
        return NONE.union(*[b.effects for b in params["branches"]])

    def run(self, index: Any, *xs: Any, branches: tuple[Jaxpr, ...]) -> tuple[Any, ...]:
        chosen = branches[min(max(int(index), 0), len(branches) - 1)]
        return tuple([np.array(y)[()] for y in execute(chosen, xs)])

    kernel = on_request

    def apply(self, index: Any, xs: Sequence[Any], branches: Sequence[Jaxpr]) -> list[Any]:
        """As a call, but always a list of outputs."""
        count = len(branches[0].outputs)
        if not count:
            return []
        out = self(index, *xs, branches=tuple(branches))
        return [out] if count == 1 else list(out)

    def dependent(self, flags: Sequence[bool], *, branches: tuple[Jaxpr, ...]) -> Sequence[bool] | None:
        if flags[0]:
            return None
        return [any(f) for f in zip(*[depends(b, flags[1:]) for b in branches], strict=True)]

    def pruned(self, e: Eqn, flags: Sequence[bool]) -> Eqn:
        branches = e.params["branches"]

        def make() -> tuple[tuple[Jaxpr, ...], list[bool]]:
            smaller = [pruned(b, picked(b.outputs, flags)) for b in branches]
            used = [any(f) for f in zip(*[u for _, u in smaller], strict=True)]
            bodies = [permuted(b, picked(b.inputs, used), picked(b.outputs, flags)) for b in branches]
            return tuple(map(renderer.simplify, bodies)), used

        bodies, used = memo(branches[0], ("cond pruned", branches, tuple(flags)), make)
        operands = [e.inputs[0], *picked(e.inputs[1:], used)]
        return Eqn(self, operands, {"branches": bodies}, picked(e.outputs, flags), e.origin)

    # -------------------------------------------------------------------------------------------------------- forwards

    def jvp(
        self, tangents: Sequence[Any], index: Any, *xs: Any, branches: tuple[Jaxpr, ...]
    ) -> tuple[Sequence[Any], Sequence[Any]]:
        active = tuple(t is not None for t in tangents[1:])
        marks = _marks(branches, active)
        bodies = [jvp_body(b, active, marks)[0] for b in branches]
        outs = self.apply(index, [*xs, *[t for t in tangents[1:] if t is not None]], bodies)
        n = len(branches[0].outputs)
        rest = iter(outs[n:])
        return outs[:n], [next(rest) if a else None for a in marks]

    def batch(
        self, size: int, mapped: Sequence[bool], index: Any, *xs: Any, branches: tuple[Jaxpr, ...]
    ) -> tuple[Sequence[Any], Sequence[bool]]:
        given = tuple(mapped)
        if given[0] and not all(map(harmless, branches)):
            return lane_by_lane(self, size, given, (index, *xs), {"branches": branches})
        marks = tuple(map(any, zip(*[depends(b, given[1:]) for b in branches], strict=True)))
        force = (True,) * len(marks) if given[0] else marks
        bodies = [
            memo(b, ("cond batch", given[1:], force, size), lambda b=b: batch_program(b, given[1:], size, force))[0]
            for b in branches
        ]
        if not given[0]:
            return self.apply(index, xs, [constless(b) for b in bodies]), force
        outs = [interpret(b, xs) for b in bodies]
        chosen = outs[-1]
        for number in range(len(branches) - 2, -1, -1):
            here = registry.le(index, number)
            chosen = [_selected(here, a, b) for a, b in zip(outs[number], chosen, strict=True)]
        return chosen, force

    # ------------------------------------------------------------------------------------------------------- backwards

    def linearize(self, active: Sequence[bool], index: Any, *xs: Any, branches: tuple[Jaxpr, ...]) -> Any:
        """The primal branches also give what the linear ones need, in slots that branches of equal types share."""
        given = tuple(active)[1:]
        plan = memo(branches[0], ("cond linearize", branches, given), lambda: _split(branches, given))
        primals, slots, operands, make, marks = plan
        outs = self.apply(index, xs, primals)
        n = len(marks)
        residuals = [index, *[xs[i] for i in operands], *outs[n:]]
        types = [branches[0].in_types[i] for i in operands] + list(slots)
        return outs[:n], residuals, marks, memo(branches[0], ("cond linear", branches, given), lambda: make(types))

    def transpose(
        self, cts: Sequence[Any], accs: Sequence[Any], index: Any, *xs: Any, branches: tuple[Jaxpr, ...]
    ) -> Sequence[Any]:
        linear = tuple(is_linear(x) for x in xs)
        have = tuple(c is not None for c in cts)
        held = tuple(a is not None for a in accs[1:])

        def make() -> tuple[list[Jaxpr], Flags]:
            parts = [pulled_body(b, linear, have, held) for b in branches]
            present = tuple(map(any, zip(*[p for _, p in parts], strict=True)))
            types = picked(branches[0].in_types, linear)
            bodies = []
            for program, mine in parts:

                def filled(*args: Any, program: Jaxpr = program, mine: Flags = mine) -> list[Any]:
                    found = iter(interpret(program, args))
                    new = [next(found) if p else zeros(t) for p, t in zip(mine, types, strict=True)]
                    return picked(new, present)

                bodies.append(constless(trace(filled, program.in_types, "transpose", sites=False)[0]))
            return bodies, present

        bodies, present = memo(branches[0], ("cond transpose", branches, linear, have, held), make)
        operands = [*picked(xs, linear, False), *[c for c in cts if c is not None]]
        outs = iter(self.apply(index, [*operands, *[a for a in accs[1:] if a is not None]], bodies))
        found = iter([next(outs) if p else None for p in present])
        return [None, *[next(found) if f else None for f in linear]]

    # ---------------------------------------------------------------------------------------------------------- samples

    def samples(self, draw: Any) -> Any:
        p = draw.registry
        t = shaped(draw.shape(max_dims=1), np.float64)
        one, _ = trace(lambda x, w: [p.mul(p.sin(x), w), x], [t, t], "a sample")
        two, _ = trace(lambda x, w: [p.exp(x), p.mul(w, p.cos(w))], [t, t], "a sample")
        three, _ = trace(lambda x, w: [p.reshape(p.reshape(w, shape=(t.size,)), shape=t.shape), p.neg(x)], [t, t])
        return [draw.integers((), -1, 3), draw.array(t.shape), draw.array(t.shape)], {"branches": (one, two, three)}


def _marks(branches: Sequence[Jaxpr], active: Flags) -> Flags:
    """Outputs that depend on active operands in some branch."""
    found = zip(*[depends(b, active) for b in branches], strict=True)
    return tuple(any(f) and t.inexact for f, t in zip(found, branches[0].out_types, strict=True))


def _split(branches: Sequence[Jaxpr], active: Flags) -> Any:
    """Primal branches, types of the slots, operands that are residuals, the linear program by types of these, marks."""
    marks = _marks(branches, active)
    parts = [linear_body(b, active, marks, [True] * len(b.inputs)) for b in branches]
    operands: list[int] = []
    slots: list[ShapedArray] = []
    sources = []  # for each branch, of its residuals: ("operand" | "slot" | "literal", number)
    for primal, _, residuals, _ in parts:
        position = {v: i for i, v in enumerate(primal.inputs)}
        free = list(range(len(slots)))
        mine: list[tuple[str, int]] = []
        for r in residuals:
            i = position.get(r)
            if i is not None:
                if i not in operands:
                    operands.append(i)
                mine.append(("operand", operands.index(i)))
                continue
            k = next((k for k in free if slots[k] is r.type), None)
            if k is None:
                k = len(slots)
                slots.append(r.type)
            else:
                free.remove(k)
            mine.append(("slot", k))
        sources.append(mine)
    primals = [_with_slots(*part[::2], mine, slots) for part, mine in zip(parts, sources, strict=True)]

    def make(types: Sequence[ShapedArray]) -> Jaxpr:
        n = len(types)
        tangents = picked(branches[0].in_types, active)
        bodies = []
        for (_, linear, _, _), mine in zip(parts, sources, strict=True):

            def program(*args: Any, linear: Jaxpr = linear, mine: Any = mine) -> list[Any]:
                found = [args[i] if kind == "operand" else args[len(operands) + i] for kind, i in mine]
                return interpret(linear, [*found, *args[n:]])

            bodies.append(constless(trace(program, [*types, *tangents], "linearize", sites=False)[0]))

        def whole(index: Any, *args: Any) -> list[Any]:
            return cond.apply(index, args, bodies)

        ins = [shaped((), np.int64), *types, *tangents]
        return constless(trace(whole, ins, "linearize", sites=False)[0])

    return primals, slots, operands, make, marks


def _with_slots(
    primal: Jaxpr, residuals: Sequence[Any], mine: Sequence[tuple[str, int]], slots: Sequence[ShapedArray]
) -> Jaxpr:
    """A primal branch that fills the slots: its residuals in theirs, zeros in the others'."""
    n = len(primal.outputs) - len(residuals)
    place = {i: n + k for k, (kind, i) in enumerate(mine) if kind == "slot"}

    def program(*xs: Any) -> list[Any]:
        outs = interpret(primal, xs)
        return [*outs[:n], *[outs[place[i]] if i in place else zeros(t) for i, t in enumerate(slots)]]

    return constless(trace(program, primal.in_types, "linearize")[0])


def harmless(jaxpr: Jaxpr) -> bool:
    """Whether a program costs little and cannot raise: it may run in lanes that do not ask for it."""
    return not jaxpr.effects and all(e.primitive.broadcasts or e.primitive.cheap for e in jaxpr.eqns)


def _selected(here: Any, a: Any, b: Any) -> Any:
    shape = type_of(a).shape
    return registry.select(registry.broadcast_in_dim(here, shape=shape, dims=(0,)), a, b)


cond = Cond("cond")
