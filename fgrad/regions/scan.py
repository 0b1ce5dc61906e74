"""scan: a program run a known number of times, with values carried on from run to run, and arrays cut in slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.builder import trace
from ..core.calls import renderer
from ..core.dependence import Flags, depends, live, pruned, settled
from ..core.effects import Effects
from ..core.errors import ShapeError, message
from ..core.ir import Eqn, Jaxpr, Literal
from ..core.primitive import Region, is_linear, registry, space
from ..core.trace import stage
from ..core.types import ShapedArray, shaped
from ..passes.interpret import interpret
from ..passes.transpose import zeros
from ..passes.vmap import batch_program, spread
from .bodies import (
    constless,
    invariant,
    jvp_body,
    linear_body,
    partition,
    permuted,
    picked,
    pulled_body,
    type_of,
    upto,
)
from .call import execute, memo, on_request


def stacked_type(length: int, t: ShapedArray) -> ShapedArray:
    """The type of `length` values of a type along a new axis in front."""
    return shaped((length, *t.shape), t.dtype)


def slice_type(t: ShapedArray) -> ShapedArray:
    """The type of one slice along the axis in front."""
    return shaped(t.shape[1:], t.dtype)


class Scan(Region):
    """The program `jaxpr`: consts, carry, slices -> carry, slices; run `length` times.

    Operands: the `consts` first are the same in every run; the next `carry` are what the first run starts from; the
    others have an axis of `length` in front, of which each run gets a slice, the last one first if `reverse`. Outputs:
    the carry of the last run, and arrays of the slices that the runs gave, each where its operand's slice was.
    """

    def typeof(
        self, *types: ShapedArray, jaxpr: Jaxpr, consts: int, carry: int, length: int, reverse: bool
    ) -> tuple[ShapedArray, ...]:
        split = consts + carry
        found = (*types[:split], *[slice_type(t) for t in types[split:]])
        if found != jaxpr.in_types or any(t.shape[0] != length for t in types[split:]):
            what = "scan: operands do not fit the body"
            raise ShapeError(message(what, got=f"{types} for {jaxpr.in_types}", do="make them agree"))
        if jaxpr.out_types[:carry] != types[consts:split]:
            what = "scan: the body changes the type of its carry"
            got = f"{jaxpr.out_types[:carry]} from {types[consts:split]}"
            raise ShapeError(message(what, got=got, do="make them agree"))
        return (*types[consts:split], *[stacked_type(length, t) for t in jaxpr.out_types[carry:]])

    def effects(self, *types: ShapedArray, **params: Any) -> Effects:
        return params["jaxpr"].effects

    def dependent(self, flags: Sequence[bool], *, jaxpr: Jaxpr, consts: int, carry: int, **params: Any) -> Flags:
        split = consts + carry
        whole = lambda f: depends(jaxpr, (*flags[:consts], *f, *flags[split:]))  # noqa: E731
        on = settled(flags[consts:split], lambda f: whole(f)[:carry])
        return (*on, *whole(on)[carry:])  # a carry also on what it starts from: there may be no run

    def run(self, *xs: Any, jaxpr: Jaxpr, consts: int, carry: int, length: int, reverse: bool) -> tuple[Any, ...]:
        same, state, slices = xs[:consts], list(xs[consts : consts + carry]), xs[consts + carry :]
        stacks = [np.empty((length, *t.shape), t.dtype) for t in jaxpr.out_types[carry:]]
        for i in reversed(range(length)) if reverse else range(length):
            outs = execute(jaxpr, [*same, *state, *[x[i] for x in slices]])
            state = list(outs[:carry])
            for stack, y in zip(stacks, outs[carry:], strict=True):
                stack[i] = y
        return (*[np.array(x)[()] for x in state], *stacks)

    kernel = on_request

    def apply(self, xs: Sequence[Any], staged: bool = False, **params: Any) -> list[Any]:
        """As a call, but always a list of outputs; none where there is nothing to compute. staged: as by `stage`."""
        outs = len(params["jaxpr"].outputs)
        if not outs:
            return []
        out = stage(self, *xs, **params) if staged else self(*xs, **params)
        return [out] if outs == 1 else list(out)

    # -------------------------------------------------------------------------------------------------------- forwards

    def jvp(
        self,
        tangents: Sequence[Any],
        *xs: Any,
        jaxpr: Jaxpr,
        consts: int,
        carry: int,
        length: int,
        reverse: bool,
    ) -> tuple[Sequence[Any], Sequence[Any]]:
        given = tuple(t is not None for t in tangents)

        def make() -> tuple[Jaxpr, Flags, Flags]:
            active, force = self._active(jaxpr, consts, carry, given)
            body, marks = jvp_body(jaxpr, active, force)
            n = len(jaxpr.inputs)
            ts = dict(zip([i for i, a in enumerate(active) if a], body.inputs[n:], strict=True))
            inputs = [v for part in parts(consts, carry, n) for v in [*body.inputs[part], *tangents_in(ts, part)]]
            m = len(jaxpr.outputs)
            ahead = sum(marks[:carry])
            outputs = [*body.outputs[:carry], *body.outputs[m : m + ahead]]
            outputs += [*body.outputs[carry:m], *body.outputs[m + ahead :]]
            return permuted(body, inputs, outputs), active, marks

        body, active, marks = memo(jaxpr, ("scan jvp", consts, carry, given), make)
        filled = [_filled(t, x) if a else None for t, x, a in zip(tangents, xs, active, strict=True)]
        operands = [
            v for part in parts(consts, carry, len(xs)) for v in [*xs[part], *picked(filled[part], active[part])]
        ]
        outs = self.apply(
            operands,
            jaxpr=body,
            consts=consts + sum(active[:consts]),
            carry=carry + sum(active[consts : consts + carry]),
            length=length,
            reverse=reverse,
        )
        m, ahead = len(marks), sum(marks[:carry])
        rest = iter([*outs[carry : carry + ahead], *outs[m + ahead :]])
        primals = [*outs[:carry], *outs[carry + ahead : m + ahead]]
        return primals, [next(rest) if a else None for a in marks]

    @staticmethod
    def _active(jaxpr: Jaxpr, consts: int, carry: int, given: Flags) -> tuple[Flags, Flags]:
        """Which inputs of the body have tangents, and which outputs must."""
        split = consts + carry
        inexact = tuple(t.inexact for t in jaxpr.in_types)
        rest = len(jaxpr.outputs) - carry

        def step(flags: Flags) -> Flags:
            found = depends(jaxpr, (*given[:consts], *flags, *given[split:]))
            return tuple(f and i for f, i in zip(found[:carry], inexact[consts:split], strict=True))

        flags = settled(given[consts:split], step)
        return (*given[:consts], *flags, *given[split:]), (*flags, *[False] * rest)

    def batch(
        self,
        size: int,
        mapped: Sequence[bool],
        *xs: Any,
        jaxpr: Jaxpr,
        consts: int,
        carry: int,
        length: int,
        reverse: bool,
    ) -> tuple[Sequence[Any], Sequence[bool]]:
        mapped, split = tuple(mapped), consts + carry
        rest = [False] * (len(jaxpr.outputs) - carry)

        def make() -> tuple[Jaxpr, Flags, Flags]:
            flags = settled(
                mapped[consts:split],
                lambda f: depends(jaxpr, (*mapped[:consts], *f, *mapped[split:]))[:carry],
            )
            whole = (*mapped[:consts], *flags, *mapped[split:])
            body, marks = batch_program(jaxpr, whole, size, [*flags, *rest])
            return constless(body), flags, marks

        body, flags, marks = memo(jaxpr, ("scan batch", consts, carry, mapped, size), make)
        types = jaxpr.in_types
        operands = list(xs[:consts])
        for x, m, f, t in zip(xs[consts:split], mapped[consts:split], flags, types[consts:split], strict=True):
            operands.append(spread(size, x, t) if f and not m else x)
        operands += [swapped(x) if m else x for x, m in zip(xs[split:], mapped[split:], strict=True)]
        outs = self.apply(operands, jaxpr=body, consts=consts, carry=carry, length=length, reverse=reverse)
        return [
            *outs[:carry],
            *[swapped(y) if m else y for y, m in zip(outs[carry:], marks[carry:], strict=True)],
        ], marks

    def pruned(self, e: Eqn, flags: Sequence[bool]) -> Eqn:
        jaxpr, consts, carry = e.params["jaxpr"], e.params["consts"], e.params["carry"]
        split = consts + carry
        mine, rest = jaxpr.inputs[consts:split], tuple(flags[carry:])

        def step(on: Flags) -> Flags:
            _, read = live(jaxpr, [*picked(jaxpr.outputs[:carry], on), *picked(jaxpr.outputs[carry:], rest)])
            return tuple(v in read for v in mine)

        keep = settled(flags[:carry], step)
        outputs = [*picked(jaxpr.outputs[:carry], keep), *picked(jaxpr.outputs[carry:], rest)]
        _, used = pruned(jaxpr, outputs)
        used = (*used[:consts], *keep, *used[split:])
        if all(used) and all(rest):
            return e
        body = renderer.simplify(permuted(jaxpr, picked(jaxpr.inputs, used), outputs))
        params = {**e.params, "jaxpr": body, "consts": sum(used[:consts]), "carry": sum(keep)}
        return Eqn(self, picked(e.inputs, used), params, picked(e.outputs, (*keep, *rest)), e.origin)

    # ------------------------------------------------------------------------------------------------------- backwards

    def linearize(
        self, active: Sequence[bool], *xs: Any, jaxpr: Jaxpr, consts: int, carry: int, length: int, reverse: bool
    ) -> Any:
        given, split = tuple(active), consts + carry
        plan = memo(jaxpr, ("scan linearize", consts, carry, given), lambda: self._split(jaxpr, consts, carry, given))
        settings = {"length": length, "reverse": reverse}
        outs = self.apply(xs, jaxpr=plan.primal, consts=consts, carry=carry, **settings)
        stacks = outs[len(jaxpr.outputs) :]
        hoisted = interpret(plan.ahead, xs[:consts]) if plan.ahead.outputs else []
        sources = {"operand": xs, "stack": stacks, "ahead": hoisted}
        residuals = [sources[kind][i] for kind, i in [*plan.same, *plan.sliced]]

        def make() -> Jaxpr:
            types = jaxpr.in_types
            whole = [*types[:split], *[stacked_type(length, t) for t in types[split:]]]
            ins = [type_of(r) for r in residuals]
            count, end = len(plan.same), len(residuals)

            def program(*args: Any) -> list[Any]:
                rest = iter(args[end:])
                ts = [next(rest) if a else None for a in given]
                ts = [zeros(t) if x is None and a else x for x, t, a in zip(ts, whole, plan.active, strict=True)]
                pushed = self.apply(
                    [
                        *args[:count],
                        *picked(ts[:consts], plan.active[:consts]),
                        *picked(ts[consts:split], plan.active[consts:split]),
                        *args[count:end],
                        *picked(ts[split:], plan.active[split:]),
                    ],
                    jaxpr=plan.linear,
                    consts=count + sum(plan.active[:consts]),
                    carry=sum(plan.active[consts:split]),
                    **settings,
                )
                return pushed

            return constless(trace(program, [*ins, *picked(whole, given)], "linearize", sites=False)[0])

        key = ("scan linear", given, plan.primal, tuple(settings.values()))
        return outs[: len(jaxpr.outputs)], residuals, plan.marks, memo(plan.linear, key, make)

    def _split(self, jaxpr: Jaxpr, consts: int, carry: int, given: Flags) -> _Split:
        split = consts + carry
        active, force = self._active(jaxpr, consts, carry, given)
        free = [i < consts or i >= split for i in range(len(jaxpr.inputs))]
        primal, linear, residuals, marks = linear_body(jaxpr, active, force, free, consts)
        steady = invariant(primal, consts)
        position = {v: i for i, v in enumerate(primal.inputs)}
        same: list[tuple[str, int]] = []
        sliced: list[tuple[str, int]] = []
        first, second = [], []  # inputs of the linear body that stand for these
        ahead, stacks = [], []
        for r, v in zip(residuals, linear.inputs, strict=False):
            i = position.get(r, -1)
            if 0 <= i < consts:
                same.append(("operand", i))
                first.append(v)
            elif i >= split:
                sliced.append(("operand", i))
                second.append(v)
            elif r in steady or type(r) is Literal:
                same.append(("ahead", len(ahead)))
                ahead.append(r)
                first.append(v)
            else:
                sliced.append(("stack", len(stacks)))
                stacks.append(r)
                second.append(v)
        tangents = linear.inputs[len(residuals) :]
        a, b = sum(active[:consts]), sum(active[:split])
        inputs = [*first, *tangents[:a], *tangents[a:b], *second, *tangents[b:]]
        m = len(jaxpr.outputs)
        return _Split(
            primal=permuted(primal, primal.inputs, [*primal.outputs[:m], *stacks]),
            linear=permuted(linear, inputs, linear.outputs),
            ahead=upto(primal, primal.inputs[:consts], ahead),
            same=same,
            sliced=sliced,
            active=active,
            marks=marks,
        )

    def transpose(
        self,
        cts: Sequence[Any],
        accs: Sequence[Any],
        *xs: Any,
        jaxpr: Jaxpr,
        consts: int,
        carry: int,
        length: int,
        reverse: bool,
    ) -> Sequence[Any]:
        split = consts + carry
        settings = {"length": length, "reverse": reverse}
        linear = tuple(is_linear(x) for x in xs)
        flags = settled(linear[consts:split], lambda f: depends(jaxpr, (*linear[:consts], *f, *linear[split:]))[:carry])
        if not all(flags):
            return self._transpose_parts(
                cts, accs, xs, (*linear[:consts], *flags, *linear[split:]), jaxpr, consts, carry, settings
            )
        return self._pulled(cts, accs, xs, linear, jaxpr, consts, carry, settings)

    def _pulled(
        self,
        cts: Sequence[Any],
        accs: Sequence[Any],
        xs: Sequence[Any],
        linear: Flags,
        jaxpr: Jaxpr,
        consts: int,
        carry: int,
        settings: dict[str, Any],
    ) -> list[Any]:
        """New accumulators of the linear operands, where the whole carry is linear: the transposed body, backwards.

        It carries the cotangents of the carry, and the accumulators of the linear consts.
        """
        split, types = consts + carry, jaxpr.in_types
        have = tuple(c is not None for c in cts[carry:])
        whole = (*linear[:consts], *[True] * carry, *linear[split:])

        def make() -> tuple[Jaxpr, Flags]:
            held = tuple(i < consts and f for i, f in enumerate(whole))
            program, present = pulled_body(jaxpr, whole, (*[True] * carry, *have), held)
            known = picked(types, whole, False)
            front, n = consts - sum(linear[:consts]), len(known)
            owners = picked(range(len(types)), whole)
            order = program.in_types
            mine = order[n : n + carry], order[n + carry : n + carry + sum(have)], order[n + carry + sum(have) :]

            def body(*args: Any) -> list[Any]:
                it = iter(args)
                same = [next(it) for _ in range(front)]
                state = [next(it) for _ in mine[0]]
                sums = [next(it) for _ in mine[2]]
                slices = [next(it) for _ in known[front:]]
                ys = [next(it) for _ in mine[1]]
                found = iter(interpret(program, [*same, *slices, *state, *ys, *sums]))
                new = {i: next(found) for i, p in zip(owners, present, strict=True) if p}
                outs = [new.get(i) for i in range(consts, split)]
                outs = [zeros(t) if c is None else c for c, t in zip(outs, types[consts:split], strict=True)]
                outs += [new[i] for i in owners if i < consts]
                return [*outs, *[new[i] for i in owners if i >= split and i in new]]

            ins = [*known[:front], *mine[0], *mine[2], *known[front:], *mine[1]]
            flags = tuple(present)
            return constless(trace(body, ins, "transpose", sites=False)[0]), flags

        body, present = memo(jaxpr, ("scan transpose", consts, carry, linear, have), make)
        sums = [
            zeros(t) if a is None else a
            for a, t in zip(
                picked(accs, linear)[: sum(linear[:consts])], picked(types[:consts], linear[:consts]), strict=True
            )
        ]
        state = [zeros(t) if c is None else c for c, t in zip(cts[:carry], types[consts:split], strict=True)]
        outs = self.apply(
            [
                *picked(xs[:consts], linear[:consts], False),
                *state,
                *sums,
                *picked(xs[split:], linear[split:], False),
                *[c for c in cts[carry:] if c is not None],
            ],
            jaxpr=body,
            consts=consts - sum(linear[:consts]),
            carry=carry + len(sums),
            length=settings["length"],
            reverse=not settings["reverse"],
        )
        result: list[Any] = [None] * len(xs)
        for i, y in zip(picked(range(consts), linear[:consts]), outs[carry : carry + len(sums)], strict=True):
            result[i] = y
        owners = picked(range(len(xs)), whole)
        behind = iter(outs[carry + len(sums) :])
        for i, p in zip(owners, present, strict=True):
            if i >= split:
                result[i] = _added(accs[i], next(behind) if p else None)
            elif i >= consts and linear[i]:
                result[i] = _added(accs[i], outs[i - consts])
        return result

    def _transpose_parts(
        self,
        cts: Sequence[Any],
        accs: Sequence[Any],
        xs: Sequence[Any],
        linear: Flags,
        jaxpr: Jaxpr,
        consts: int,
        carry: int,
        settings: dict[str, Any],
    ) -> list[Any]:
        """As `_pulled`, where a part of the carry is known: that part runs first and stacks what the other needs."""
        split = consts + carry
        flags = linear[consts:split]
        known, body, residuals, marks = partition(jaxpr, linear, flags)
        states, before = carry - sum(flags), consts - sum(linear[:consts])
        outs = len(known.outputs) - len(residuals)
        kept = permuted(known, known.inputs, [*known.outputs[:states], *residuals])
        mine = picked(xs, linear, False)
        stacks = self.apply(mine, staged=True, jaxpr=kept, consts=before, carry=states, **settings)[states:]
        assert outs >= states
        n, a, b = len(residuals), sum(linear[:consts]), sum(linear[:split])
        ins = body.inputs
        moved = permuted(body, [*ins[n : n + a], *ins[n + a : n + b], *ins[:n], *ins[n + b :]], body.outputs)
        mine = picked(range(len(xs)), linear)
        found = self._pulled(
            picked(cts, marks),
            [*[accs[i] for i in mine[:b]], *[None] * n, *[accs[i] for i in mine[b:]]],
            [*[xs[i] for i in mine[:b]], *stacks, *[xs[i] for i in mine[b:]]],
            tuple([*[is_linear(xs[i]) for i in mine[:b]], *[False] * n, *[True] * (len(mine) - b)]),
            moved,
            a,
            b - a,
            settings,
        )
        result: list[Any] = [None] * len(xs)
        for i, y in zip(mine, [*found[:b], *found[b + n :]], strict=True):
            result[i] = y
        return result

    # ---------------------------------------------------------------------------------------------------------- samples

    def samples(self, draw: Any) -> Any:
        p = draw.registry
        t, length = shaped(draw.shape(max_dims=1), np.float64), draw.integer(0, 4)
        count = shaped((), np.int64)

        def body(w: Any, i: Any, c: Any, d: Any, x: Any) -> list[Any]:
            grown = p.sin(p.add(p.mul(p.mul(c, w), 0.25), x))
            return [p.add(i, np.int64(1)), grown, p.mul(d, 0.5), p.mul(grown, d), i]

        jaxpr, _ = trace(body, [t, count, t, t, t], "a sample")
        xs = [
            draw.array(t.shape),
            np.int64(0),
            draw.array(t.shape),
            draw.array(t.shape),
            draw.array((length, *t.shape)),
        ]
        return xs, {"jaxpr": jaxpr, "consts": 1, "carry": 3, "length": length, "reverse": draw.bool()}


class _Split(NamedTuple):
    """A body at its derivative: see `Scan.linearize`.

    `primal` stacks residuals behind its outputs; `ahead`: consts -> what depends on them alone; `same`, `sliced`: where
    the residuals of the linear scan come from, which is ("operand" | "stack" | "ahead", number).
    """

    primal: Jaxpr
    linear: Jaxpr
    ahead: Jaxpr
    same: list[tuple[str, int]]
    sliced: list[tuple[str, int]]
    active: Flags
    marks: Flags


def parts(consts: int, carry: int, n: int) -> tuple[slice, slice, slice]:
    """Where consts, carry and slices stand among the inputs."""
    return slice(0, consts), slice(consts, consts + carry), slice(consts + carry, n)


def tangents_in(tangents: dict[int, Any], part: slice) -> list[Any]:
    """The tangents, by number of input, of one part of the inputs."""
    return [t for i, t in tangents.items() if part.start <= i < part.stop]


def swapped(x: Any) -> Any:
    """An array with its first two axes exchanged: lanes and runs."""
    return registry.transpose(x, axes=(1, 0, *range(2, x.ndim)))


def _filled(t: Any, x: Any) -> Any:
    return zeros(type_of(x)) if t is None else t


def _added(acc: Any, ct: Any) -> Any:
    return acc if ct is None else ct if acc is None else space.add(acc, ct)


scan = Scan("scan")
