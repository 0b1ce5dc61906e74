"""while_loop: a program run as long as a condition holds, and what its derivatives are made of.

How often it runs is known only when it has run, and so is how much its reverse mode must remember. No array of such a
length ever appears in a program: a `while_loop` is a sequence of *sweeps* over the same runs, the first forwards, the
second backwards, the third forwards again, and so on. A sweep may push values, one for each run, which later sweeps
read at the same run. Derivatives of sweeps are sweeps:

    jvp        each sweep beside its tangent
    transpose  the sweeps again, pushing residuals; then the transposed ones, from the last to the first
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.builder import trace
from ..core.calls import renderer
from ..core.dependence import Flags, depends, settled
from ..core.effects import NONE, Effects
from ..core.errors import ShapeError, message
from ..core.ir import Eqn, Jaxpr
from ..core.primitive import Region, is_linear, space
from ..core.types import ShapedArray, shaped
from ..passes.transpose import zeros
from ..passes.vmap import spread
from .bodies import constless, permuted, picked, silent, type_of
from .call import execute, memo, on_request, one_equation
from .scan import scan, slice_type
from .sweeps import Sweep, dual, lanes_together, places, pulled, smaller


class While(Region):
    """Sweeps over runs that go on while `cond` holds: condition's consts, carry of the first sweep -> a boolean.

    Operands: `consts` ones of the condition; then, for each sweep, its consts and the carry that it starts from.
    Outputs: the last carries of all sweeps. Sweeps of even number go forwards, those of odd number backwards.
    """

    def typeof(
        self, *types: ShapedArray, cond: Jaxpr, consts: int, sweeps: tuple[Sweep, ...]
    ) -> tuple[ShapedArray, ...]:
        outs: list[ShapedArray] = []
        pushed: list[ShapedArray] = []
        at = consts
        for number, s in enumerate(sweeps):
            split, end = at + s.consts, at + s.consts + s.carry
            if number == 0 and (*types[:consts], *types[split:end]) != cond.in_types:
                what = "while_loop: operands do not fit the condition"
                raise ShapeError(message(what, got=f"{types[:end]} for {cond.in_types}", do="make them agree"))
            found = (*types[at:end], *[pushed[i] for i in s.reads])
            if found != s.jaxpr.in_types or s.jaxpr.out_types[: s.carry] != types[split:end]:
                what = "while_loop: operands do not fit the body"
                got = f"{found} for {s.jaxpr.in_types} -> {s.jaxpr.out_types}"
                raise ShapeError(message(what, got=got, do="make them agree"))
            outs += types[split:end]
            pushed += s.jaxpr.out_types[s.carry :]
            at = end
        return tuple(outs)

    def effects(self, *types: ShapedArray, **params: Any) -> Effects:
        return NONE.union(params["cond"].effects, *[s.jaxpr.effects for s in params["sweeps"]])

    def run(self, *xs: Any, cond: Jaxpr, consts: int, sweeps: tuple[Sweep, ...]) -> tuple[Any, ...]:
        outs: list[Any] = []
        stack: list[list[Any]] = []  # what each run pushed, by all sweeps so far
        at = consts
        for number, s in enumerate(sweeps):
            same, state = xs[at : at + s.consts], list(xs[at + s.consts : at + s.consts + s.carry])
            at += s.consts + s.carry
            if number == 0:
                while execute(cond, [*xs[:consts], *state])[0]:
                    found = execute(s.jaxpr, [*same, *state])
                    state = list(found[: s.carry])
                    stack.append(list(found[s.carry :]))
            else:
                for record in reversed(stack) if number % 2 else stack:
                    found = execute(s.jaxpr, [*same, *state, *[record[i] for i in s.reads]])
                    state = list(found[: s.carry])
                    record += found[s.carry :]
            outs += state
        return tuple([np.array(x)[()] for x in outs])

    kernel = on_request

    def apply(self, xs: Sequence[Any], **params: Any) -> list[Any]:
        """As a call, but always a list of outputs."""
        count = sum(s.carry for s in params["sweeps"])
        if not count:
            return []
        out = self(*xs, **params)
        return [out] if count == 1 else list(out)

    def dependent(
        self, flags: Sequence[bool], *, cond: Jaxpr, consts: int, sweeps: tuple[Sweep, ...]
    ) -> Sequence[bool] | None:
        outs: list[bool] = []
        pushed: list[bool] = []
        for number, (s, (same, state)) in enumerate(zip(sweeps, places(consts, sweeps), strict=True)):
            read = [pushed[i] for i in s.reads]

            def whole(f: Sequence[bool], s: Sweep = s, same: slice = same, read: list[bool] = read) -> Flags:
                return depends(s.jaxpr, (*flags[same], *f, *read))

            on = settled(flags[state], lambda f, s=s, whole=whole: whole(f)[: s.carry])  # type: ignore[misc]
            if number == 0 and depends(cond, (*flags[:consts], *on))[0]:
                return None
            outs += on
            pushed += whole(on)[s.carry :]
        return outs

    def pruned(self, e: Eqn, flags: Sequence[bool]) -> Eqn:
        cond, consts, sweeps = e.params["cond"], e.params["consts"], e.params["sweeps"]
        key = ("while pruned", consts, sweeps, tuple(flags))
        params, used, outs = memo(cond, key, lambda: smaller(cond, consts, sweeps, flags))
        return Eqn(self, picked(e.inputs, used), params, picked(e.outputs, outs), e.origin)

    # -------------------------------------------------------------------------------------------------------- forwards

    def jvp(
        self, tangents: Sequence[Any], *xs: Any, cond: Jaxpr, consts: int, sweeps: tuple[Sweep, ...]
    ) -> tuple[Sequence[Any], Sequence[Any]]:
        given = tuple(t is not None for t in tangents)
        new, active = memo(cond, ("while jvp", consts, sweeps, given), lambda: dual(cond, consts, sweeps, given))
        operands, marks = list(xs[:consts]), []
        for part, flags in zip(places(consts, sweeps), active, strict=True):
            for piece, on in zip(part, flags, strict=True):
                operands += xs[piece]
                for x, t, a in zip(xs[piece], tangents[piece], on, strict=True):
                    if a:
                        operands.append(zeros(type_of(x)) if t is None else t)
            marks.append(flags[1])
        outs = iter(self.apply(operands, **new))
        primals: list[Any] = []
        pushed: list[Any] = []
        for flags in marks:
            primals += [next(outs) for _ in flags]
            pushed += [next(outs) if a else None for a in flags]
        return primals, pushed

    def batch(
        self, size: int, mapped: Sequence[bool], *xs: Any, cond: Jaxpr, consts: int, sweeps: tuple[Sweep, ...]
    ) -> tuple[Sequence[Any], Sequence[bool]]:
        given = tuple(mapped)
        params = {"cond": cond, "consts": consts, "sweeps": sweeps}
        new, flags = memo(
            cond,
            ("while batch", consts, sweeps, given, size),
            lambda: lanes_together(cond, consts, sweeps, given, size),
        )
        if new is None:  # lanes run differently often
            return lane_by_lane(self, size, given, xs, params)
        operands = list(xs[:consts])
        marks: list[bool] = []
        for s, (same, state), on in zip(sweeps, places(consts, sweeps), flags, strict=True):
            operands += xs[same]
            types = s.jaxpr.out_types[: s.carry]
            for x, m, a, t in zip(xs[state], given[state], on, types, strict=True):
                operands.append(spread(size, x, t) if a and not m else x)
            marks += on
        return self.apply(operands, **new), marks

    # ------------------------------------------------------------------------------------------------------- backwards

    def linearize(self, active: Sequence[bool], *xs: Any, cond: Jaxpr, consts: int, sweeps: tuple[Sweep, ...]) -> Any:
        """The linear half keeps nothing but the operands: it runs the loop again, beside its tangent."""
        given = tuple(active)
        params = {"cond": cond, "consts": consts, "sweeps": sweeps}
        marks = [a for part in self._dual_marks(cond, consts, sweeps, given) for a in part]

        def make() -> Jaxpr:
            types = [type_of(x) for x in xs]
            again = {
                "cond": silent(cond, "while_loop"),
                "consts": consts,
                "sweeps": tuple([s._replace(jaxpr=silent(s.jaxpr, "while_loop")) for s in sweeps]),
            }

            def program(*args: Any) -> list[Any]:
                rest = iter(args[len(types) :])
                _, pushed = self.jvp([next(rest) if a else None for a in given], *args[: len(types)], **again)
                return picked(pushed, marks)

            found = trace(program, [*types, *picked(types, given)], "linearize", sites=False)[0]
            return renderer.simplify(constless(found))

        linear = memo(cond, ("while linear", consts, sweeps, given), make)
        return self.apply(xs, **params), list(xs), tuple(marks), linear

    def _dual_marks(self, cond: Jaxpr, consts: int, sweeps: tuple[Sweep, ...], given: Flags) -> list[Flags]:
        _, active = memo(cond, ("while jvp", consts, sweeps, given), lambda: dual(cond, consts, sweeps, given))
        return [flags for _, flags in active]

    def transpose(
        self,
        cts: Sequence[Any],
        accs: Sequence[Any],
        *xs: Any,
        cond: Jaxpr,
        consts: int,
        sweeps: tuple[Sweep, ...],
    ) -> Sequence[Any]:
        linear = tuple(is_linear(x) for x in xs)
        new, flags = memo(
            cond, ("while transpose", consts, sweeps, linear), lambda: pulled(cond, consts, sweeps, linear)
        )
        result: list[Any] = [None] * len(xs)
        operands = picked(xs[:consts], linear[:consts], False)
        known_consts: list[list[Any]] = []
        starts: list[list[Any]] = []
        at = 0
        for s, (same, state), on in zip(sweeps, places(consts, sweeps), flags, strict=True):
            mine = picked(xs[same], linear[same], False)
            operands += [*mine, *picked(xs[state], on, False)]
            known_consts.append(mine)
            types = picked(s.jaxpr.out_types[: s.carry], on)
            given = picked(cts[at : at + s.carry], on)
            start = [zeros(t) if c is None else c for c, t in zip(given, types, strict=True)]
            const_types = picked(s.jaxpr.in_types[: s.consts], linear[same])
            sums = zip(picked(accs[same], linear[same]), const_types, strict=True)
            starts.append([*start, *[zeros(t) if a is None else a for a, t in sums]])
            at += s.carry
        for mine, start in zip(reversed(known_consts), reversed(starts), strict=True):
            operands += [*mine, *start]
        outs = self.apply(operands, **new)
        outs = outs[sum(len(on) - sum(on) for on in flags) :]
        for (same, state), on in reversed(list(zip(places(consts, sweeps), flags, strict=True))):
            count = sum(on)
            for i, y in zip(picked(range(state.start, state.stop), on), outs[:count], strict=True):
                if linear[i]:
                    result[i] = y if accs[i] is None else space.add(accs[i], y)
            sums = picked(range(same.start, same.stop), linear[same])
            result_sums = outs[count : count + len(sums)]
            for i, y in zip(sums, result_sums, strict=True):
                result[i] = y
            outs = outs[count + len(sums) :]
        return result

    # ---------------------------------------------------------------------------------------------------------- samples

    def samples(self, draw: Any) -> Any:
        p = draw.registry
        t = shaped(draw.shape(max_dims=1), np.float64)
        count = shaped((), np.int64)
        cond, _ = trace(lambda n, i, c: [p.lt(i, n)], [count, count, t], "a sample")

        def body(w: Any, i: Any, c: Any) -> list[Any]:
            return [p.add(i, np.int64(1)), p.sin(p.mul(c, w)), p.mul(c, w)]

        def second(d: Any, r: Any) -> list[Any]:
            return [p.add(p.mul(d, 0.5), p.mul(r, r))]

        forth, _ = trace(body, [t, count, t], "a sample")
        back, _ = trace(second, [t, t], "a sample")
        sweeps = (Sweep(forth, 1, 2, ()), Sweep(back, 0, 1, (0,)))
        xs = [np.int64(draw.integer(0, 4)), draw.array(t.shape), np.int64(0), draw.array(t.shape)]
        if draw.bool():
            return [*xs, draw.array(t.shape)], {"cond": cond, "consts": 1, "sweeps": sweeps}
        alone = permuted(forth, forth.inputs, forth.outputs[:2])
        return xs, {"cond": cond, "consts": 1, "sweeps": (Sweep(alone, 1, 2, ()),)}


def lane_by_lane(
    region: Region, size: int, mapped: Flags, xs: Sequence[Any], params: dict[str, Any]
) -> tuple[list[Any], list[bool]]:
    """A region run for one lane after the other: what each lane does, it does as if it were alone."""
    types = [slice_type(type_of(x)) if m else type_of(x) for x, m in zip(xs, mapped, strict=True)]
    body = one_equation(region, types, params)
    inputs = [*picked(body.inputs, mapped, False), *picked(body.inputs, mapped)]
    consts = len(xs) - sum(mapped)
    operands = [*picked(xs, mapped, False), *picked(xs, mapped)]
    outs = scan.apply(
        operands,
        jaxpr=permuted(body, inputs, body.outputs),
        consts=consts,
        carry=0,
        length=size,
        reverse=False,
    )
    return outs, [True] * len(outs)


while_loop = While("while_loop")
