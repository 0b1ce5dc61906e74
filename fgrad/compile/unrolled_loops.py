"""Loops as statements of one kernel.

    scan                                        while_loop
    var0 = load p0[0]                           var0 = load p0[0]
    for i in [0, n):                            for ... in segments:
      x = load p1[i]                              more := true
      ...                                         for j in [0, N):
      var0 := ...                                   more := condition(read var0)
      store p2[i] = ...                             leave unless more
    store p3[0] = read var0                         ...
                                                    var0 := ...
                                                  leave unless more
                                                  look for signals

Carried arrays of few elements are variables of the nest, which become registers; one in memory is read and written
where it is indexed. Loops that may take long look for signals between segments. The sweeps of a while_loop behind the
first are loops of known length over records, memory that the first one makes grow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.ir import Eqn
from .element_index import picked
from .elements import Array, Decline, Memory, Place, elements, kernel_type
from .layouts import contiguous
from .native.records import more_records
from .native.serial import look_for_signals
from .nests import Builder, Value
from .scalars import size_of
from .small_programs import flat, operations, stages, swept
from .unrolled import Unrolled

SEGMENT = 20e6  # nanoseconds between two looks for signals
SHORT = 1e6  # nanoseconds that a loop may take without
EACH = 0.5  # nanoseconds that an operation takes
FOREVER = 1 << 48  # more runs than any loop has
FIRST = 4096  # bytes of records that a kernel has from the beginning


class Unroller(Unrolled):
    """Writes programs with loops."""

    def __init__(self, k: Builder, trusting: bool, in_memory: bool):
        super().__init__(k, trusting, in_memory)
        self.depth = 0  # loops around
        self.spent: Any = None  # runs of inner loops of unknown length since signals were looked for

    def equation(
        self, e: Eqn, xs: Sequence[Array], flags: Sequence[bool], targets: dict[int, Memory]
    ) -> Sequence[Array]:
        if e.primitive.name == "scan":
            return self.scan(e, xs, flags, targets)
        if e.primitive.name == "while_loop":
            return self.while_loop(e, xs, flags)
        return super().equation(e, xs, flags, targets)

    def integer(self, n: int) -> Value:
        return self.k.const(n, "i64")

    def counted(self, n: Value, time: float, run: Callable[[Value], None]) -> None:
        """run(i) for i in [0, n), with looks for signals; a run takes that many nanoseconds."""
        k = self.k
        done = k.variable(self.integer(0))
        with k.serial(self.integer(0), self.integer(FOREVER)):
            low = k.read(done)
            high = k.op("min", k.add(low, self.integer(segment(time))), n)
            with k.serial(low, high) as i:
                run(i)
            k.assign(done, high)
            k.leave(k.op("lt", high, n))
            k.poll(look_for_signals)

    def slice(self, x: Array, at: Value) -> Array:
        """One slice along the axis in front."""
        if type(x) is Memory:
            return x.moved(self.k, [(at, x.strides[0])], x.shape[1:], x.strides[1:])
        if not len(x):
            raise Decline("there is no slice")
        return picked(self, at, [np.asarray(part, object) for part in x])

    # --------------------------------------------------------------------------------------------------------- scan

    def scan(self, e: Eqn, xs: Sequence[Array], flags: Sequence[bool], targets: dict[int, Memory]) -> Sequence[Array]:
        k, p = self.k, e.params
        (stage,) = stages(e)
        body, consts, split = stage.jaxpr, p["consts"], p["consts"] + p["carry"]
        count, length = p["carry"], p["length"]
        state = self.placed(body, range(consts, split), xs[consts:split])
        self.apart(state, [*xs[:consts], *xs[split:]])
        types = [a.type for a in e.inputs[consts:split]]
        after = self.doubtful(e, flags)
        doubtful = [*flags[:consts], *after[:count], *flags[split:]]
        stacks = [targets.get(n) or self.scratch(v.type) for n, v in enumerate(e.outputs) if n >= count]

        def run(i: Value) -> None:
            at = k.sub(k.dim(length - 1, "last"), i) if p["reverse"] else i
            slices = [self.slice(x, at) for x in xs[split:]]
            rows = [self.slice(s, at) for s in stacks]
            args = [*xs[:consts], *self.present(state, types), *slices]
            outs = self.program(body, args, doubtful, dict(enumerate(rows, count)))
            for row, out, doubt in zip(rows, outs[count:], after[count:], strict=True):
                self.put(row, out, doubt)
            self.carry(state, outs[:count])

        time = EACH * operations(body)
        self.depth += 1
        if length * time < SHORT:
            with k.serial(self.integer(0), k.dim(length, "length")) as i:
                run(i)
        else:
            self.counted(k.dim(length, "length"), time, run)
        self.depth -= 1
        return [*self.present(state, types), *[s.now() for s in stacks]]

    # -------------------------------------------------------------------------------------------------------- while

    def while_loop(self, e: Eqn, xs: Sequence[Array], flags: Sequence[bool]) -> Sequence[Array]:
        records = Records(self.k, e)
        marks = swept(e, flags) if self.trusting else swept(e, [False] * len(flags), doubt=False)
        outs: list[Array] = []
        runs = self.k.variable(self.integer(0)) if len(e.params["sweeps"]) > 1 else None
        for number in range(len(e.params["sweeps"])):
            outs += self.sweep(e, number, xs, flags, marks, records, runs)
        return outs

    def sweep(
        self, e: Eqn, number: int, xs: Sequence[Array], flags: Sequence[bool], marks: Any, records: Records, runs: Any
    ) -> Sequence[Array]:
        """The last carry of a sweep; marks: which carries and pushes of each are doubtful."""
        k, stage, reads = self.k, stages(e)[number], e.params["sweeps"][number].reads
        consts, starts = [xs[i] for i in stage.consts], [xs[i] for i in stage.carry]
        state = self.placed(stage.jaxpr, range(len(consts), len(consts) + len(starts)), starts)
        types = [e.inputs[i].type for i in stage.carry]
        carry = marks[number][0]
        pushed = [mark for _, pushes in marks for mark in pushes]
        doubtful = [*[flags[i] for i in stage.consts], *carry, *[pushed[n] for n in reads]]
        first = sum(len(pushes) for _, pushes in marks[:number])

        def run(at: Value | None, now: Sequence[Array]) -> None:
            args = [*consts, *now, *[records.at(n, at) for n in reads]]
            rows = {n: records.at(first + n, at) for n in range(len(marks[number][1])) if first + n in records.places}
            count = len(starts)
            outs = self.program(stage.jaxpr, args, doubtful, {count + n: row for n, row in rows.items()})
            for n, row in rows.items():
                self.put(row, outs[count + n], False)
            self.carry(state, outs[:count])

        self.depth += 1
        if number == 0:
            same = xs[: e.params["consts"]]
            self.apart(state, [*same, *consts])
            present = lambda: self.present(state, types)  # noqa: E731
            self.first_sweep(e, same, [*flags[: len(same)], *carry], present, run, runs, records)
        else:
            self.apart(state, consts)
            n = k.read(runs)
            last = k.sub(n, self.integer(1))
            time = EACH * operations(stage.jaxpr)
            self.counted(n, time, lambda i: run(k.sub(last, i) if number % 2 else i, self.present(state, types)))
        self.depth -= 1
        return self.present(state, types)

    def first_sweep(
        self,
        e: Eqn,
        same: Sequence[Array],
        doubtful: Sequence[bool],
        present: Callable[[], Sequence[Array]],
        run: Callable[[Value | None, Sequence[Array]], None],
        runs: Any,
        records: Records,
    ) -> None:
        """Runs as long as the condition holds, counted in `runs` if there are other sweeps."""
        k, condition = self.k, flat(e.params["cond"])
        longest = segment(EACH * (operations(stages(e)[0].jaxpr) + operations(condition)))
        more = k.variable(k.const(True, "bool"))
        trips = k.variable(self.integer(0)) if self.depth > 1 else None
        room = k.variable(self.integer(records.first)) if records.places else None
        if runs is not None:
            k.assign(runs, self.integer(0))
        with k.serial(self.integer(0), self.integer(FOREVER)):
            k.assign(more, k.const(True, "bool"))
            low, high = self.integer(0), self.integer(longest)
            if runs is not None:
                low = k.read(runs)
                high = k.add(low, high)
            if room is not None:
                high = k.op("min", high, k.read(room))
            with k.serial(low, high) as j:
                now = present()
                (holds,) = self.program(condition, [*same, *now], doubtful)
                going = elements(k, holds)[()]
                k.assign(more, going)
                if trips is not None:
                    k.assign(trips, j)
                k.leave(going)
                run(j, now)
                if runs is not None:
                    k.assign(runs, k.add(j, self.integer(1)))
            k.leave(k.read(more))
            if room is not None:
                used = k.read(runs)
                with k.branch(k.op("eq", used, k.read(room))):
                    wanted = k.add(used, used)
                    k.assign(room, wanted)
                    records.grow(used, wanted)
            k.poll(look_for_signals)
        if trips is not None:
            self.look(k.read(trips), longest)

    def look(self, trips: Value, longest: int) -> None:
        """Look for signals when inner loops have run for long, each of them briefly."""
        k = self.k
        spent = k.add(k.read(self.spent), trips)
        k.assign(self.spent, spent)
        with k.branch(k.op("gt", spent, self.integer(longest))):
            k.assign(self.spent, self.integer(0))
            k.poll(look_for_signals)


class Records:
    """What the runs of a while_loop push for later sweeps: of each type the elements of one run behind another's."""

    def __init__(self, k: Builder, e: Eqn):
        self.k = k
        self.types = [t for s in e.params["sweeps"] for t in s.jaxpr.out_types[s.carry :]]
        read = {n for s in e.params["sweeps"] for n in s.reads}
        self.places: dict[int, tuple[str, int]] = {}  # of a push: its type, and where it begins in a record
        self.widths: dict[str, int] = {}  # elements of a record
        for n in sorted(read):
            type_ = kernel_type(self.types[n].dtype)
            self.places[n] = type_, self.widths.get(type_, 0)
            self.widths[type_] = self.widths.get(type_, 0) + self.types[n].size
        size = max((width * size_of(type_) for type_, width in self.widths.items()), default=1)
        self.first = 1 << max((FIRST // max(size, 1)).bit_length() - 1, 0)
        self.buffers = {
            type_: k.scratch(type_, self.first * max(width, 1), grows=True) for type_, width in self.widths.items()
        }

    def at(self, push: int, run: Value | None) -> Memory:
        """What a run pushed, or is to push."""
        type_, offset = self.places[push]
        t, buffer = self.types[push], self.buffers[type_]
        row = self.k.affine([(run, self.integer(self.widths[type_]))])
        return Memory(Place(buffer, False), t.shape, contiguous(t.shape), row, offset)

    def grow(self, used: Value, wanted: Value) -> None:
        """Make room for more runs."""
        for type_, buffer in self.buffers.items():
            width = self.integer(self.widths[type_])
            self.k.grow(buffer, self.k.affine([(used, width)]), self.k.affine([(wanted, width)]), more_records)

    def integer(self, n: int) -> Value:
        return self.k.const(n, "i64")


def segment(time: float) -> int:
    """Runs of that time between two looks for signals: a power of two."""
    return 1 << max(int(SEGMENT / max(time, EACH)).bit_length() - 1, 0)
