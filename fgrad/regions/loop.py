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
from typing import Any, NamedTuple

import numpy as np

from ..core.builder import trace
from ..core.calls import renderer
from ..core.dependence import Flags, depends, live, pruned, settled
from ..core.effects import NONE, Effects
from ..core.errors import LinearityError, ShapeError, message
from ..core.ir import Eqn, Jaxpr, Var
from ..core.primitive import Region, is_linear, space
from ..core.types import ShapedArray, shaped
from ..passes.interpret import interpret
from ..passes.transpose import zeros
from ..passes.vmap import batch_program, spread
from .bodies import constless, jvp_body, partition, permuted, picked, pulled_body, silent, type_of
from .call import execute, memo, on_request, one_equation
from .scan import scan, slice_type


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
        params, used, outs = memo(cond, key, lambda: self._smaller(cond, consts, sweeps, flags))
        return Eqn(self, picked(e.inputs, used), params, picked(e.outputs, outs), e.origin)

    @staticmethod
    def _smaller(
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

    # -------------------------------------------------------------------------------------------------------- forwards

    def jvp(
        self, tangents: Sequence[Any], *xs: Any, cond: Jaxpr, consts: int, sweeps: tuple[Sweep, ...]
    ) -> tuple[Sequence[Any], Sequence[Any]]:
        given = tuple(t is not None for t in tangents)
        new, active = memo(cond, ("while jvp", consts, sweeps, given), lambda: self._dual(cond, consts, sweeps, given))
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

    @staticmethod
    def _dual(
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
            new.append(
                Sweep(permuted(body, inputs, outputs), s.consts + sum(given[same]), s.carry + ahead, tuple(reads))
            )
            active.append((given[same], flags))
        extra = [Var(t) for t in picked(sweeps[0].jaxpr.out_types[: sweeps[0].carry], active[0][1])]
        condition = permuted(cond, [*cond.inputs, *extra], cond.outputs)
        return {"cond": condition, "consts": consts, "sweeps": tuple(new)}, active

    def batch(
        self, size: int, mapped: Sequence[bool], *xs: Any, cond: Jaxpr, consts: int, sweeps: tuple[Sweep, ...]
    ) -> tuple[Sequence[Any], Sequence[bool]]:
        given = tuple(mapped)
        params = {"cond": cond, "consts": consts, "sweeps": sweeps}
        new, flags = memo(
            cond, ("while batch", consts, sweeps, given, size), lambda: self._lanes(cond, consts, sweeps, given, size)
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

    @staticmethod
    def _lanes(
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
        _, active = memo(cond, ("while jvp", consts, sweeps, given), lambda: self._dual(cond, consts, sweeps, given))
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
            cond, ("while transpose", consts, sweeps, linear), lambda: self._pulled(cond, consts, sweeps, linear)
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

    @staticmethod
    def _pulled(
        cond: Jaxpr, consts: int, sweeps: tuple[Sweep, ...], linear: Flags
    ) -> tuple[dict[str, Any], list[Flags]]:
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
            known, body, residuals, marks = partition(s.jaxpr, whole)
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


def places(consts: int, sweeps: Sequence[Sweep]) -> list[tuple[slice, slice]]:
    """Where the consts and the carry of each sweep stand among the operands."""
    found, at = [], consts
    for s in sweeps:
        found.append((slice(at, at + s.consts), slice(at + s.consts, at + s.consts + s.carry)))
        at += s.consts + s.carry
    return found


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
