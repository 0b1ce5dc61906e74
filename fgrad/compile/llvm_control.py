"""Loops and branches in LLVM assembly, bottom-tested and in SSA form: what a loop changes meets in phis.

  %some = icmp slt i64 %first, %stop
  br i1 %some, label %main, label %main.done
main:
  %main.i = phi i64 [ %first, %entry ], [ %main.next, %main ]
  %acc0 = phi <8 x float> [ %start, %entry ], [ %acc0.1, %main ]
  ...
  %more = icmp slt i64 %main.next, %stop
  br i1 %more, label %main, label %main.done
main.done:
  %acc0.2 = phi <8 x float> [ %start, %entry ], [ %acc0.1, %main ]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .llvm_lanes import Lanes, Source, as_number
from .llvm_memory import Memory
from .llvm_ops import lane_indices, register_type, write
from .nests import Accumulator, Leave

_RARELY = '!prof !{!"branch_weights", i32 1000, i32 1}'


class Control(Memory):
    """Text with loops and branches."""

    def __init__(self, vector_bytes: int):
        super().__init__(vector_bytes)
        # Of each loop around: the label behind it, and from where, with what state, it is left
        self.exits: list[tuple[str, list[tuple[str, dict[Source, tuple[str, int]]]]]] = []

    def go(self, condition: str, usually: str, else_: str, rarely: bool = False) -> None:
        """Branch to one of two labels, to the second one hardly ever if so said."""
        hint = f", {_RARELY}" if rarely else ""
        self.do(f"br i1 {condition}, label %{usually}, label %{else_}{hint}")

    def phi(self, source: Source, incoming: Sequence[tuple[str, str]]) -> None:
        """The value of `source` where several paths meet."""
        kind = "acc" if isinstance(source, Accumulator) else "var"
        name = self.put(self.meet(source, incoming), f"{kind}{source.number}")
        self.state[source] = (name, self.state[source][1])

    def meet(self, source: Source, incoming: Sequence[tuple[str, str]]) -> str:
        """The phi of (value, label of where it comes from)."""
        sides = ", ".join(f"[ {name}, %{label} ]" for name, label in incoming)
        return f"phi {register_type(source.type, self.state[source][1])} {sides}"

    def scoped(self, body: Callable[[str], None], index: str) -> None:
        """body(index); what is declared and made in it is forgotten behind it."""
        outer = dict(self.state)
        self.known.append({})
        body(index)
        self.known.pop()
        self.state = {source: self.state[source] for source in outer}

    def repeat(
        self, hint: str, first: str, stop: str, step: int, sources: Sequence[Source], body: Callable[[str], None],
        copies: int = 1, leaves: bool = False,
    ) -> str:  # fmt: skip
        """body(i) for i = first, first + step, ... while i < stop; gives the i behind the last.

        sources: what the body changes; copies: how many repetitions, if that is known, are worth a copy each;
        leaves: whether the body may leave the loop, in which case there is no i behind the last.
        """
        start, end = as_number(first), as_number(stop)
        trips = None if start is None or end is None else max(0, -((start - end) // step))
        if start is not None and trips is not None and trips <= max(1, copies) and not leaves:
            for count in range(trips):
                self.scoped(body, str(start + count * step))
            return str(start + trips * step)
        label, done, before = self.name(hint), self.name(f"{hint}.done"), self.here
        initial = dict(self.state)
        if not trips:
            some = self.put(f"icmp slt i64 {first}, {stop}", "some")
            self.go(some, label, done)
        else:
            self.do(f"br label %{label}")
        self.begin_block(label)
        top = len(self.lines)  # lines of phis, filled in when the loop's end is known
        index = self.put("", f"{hint}.i")
        for source in sources:
            self.phi(source, [])
        names = [self.state[source][0] for source in sources]
        self.exits.append((done, []))
        self.scoped(body, index)
        _, left = self.exits.pop()
        # Frozen, it is no induction to LLVM: strength reduction, a third of all its work, leaves the loop alone.
        following = self.put(f"freeze i64 {self.put(f'add i64 {index}, {step}', f'{hint}.sum')}", f"{hint}.next")
        more = self.put(f"icmp slt i64 {following}, {stop}", "more")
        latch = self.here
        self.go(more, label, done)
        self.lines[top] = f"  {index} = phi i64 [ {first}, %{before} ], [ {following}, %{latch} ]"
        ends = [[(initial[source][0], before), (self.state[source][0], latch)] for source in sources]
        for number, (source, name, sides) in enumerate(zip(sources, names, ends, strict=True), top + 1):
            self.lines[number] = f"  {name} = {self.meet(source, sides)}"
        self.begin_block(done)
        if trips and not leaves:
            return following
        for source, sides in zip(sources, ends, strict=True):
            others = [(state[source][0], label) for label, state in left]
            self.phi(source, [*(sides[1:] if trips else sides), *others])
        if leaves:
            return ""
        return self.put(f"phi i64 [ {first}, %{before} ], [ {following}, %{latch} ]", f"{hint}.end")

    def leave(self, statement: Leave) -> None:
        """Go behind the innermost loop if the condition fails."""
        on, (done, left) = self.name("on"), self.exits[-1]
        left.append((self.here, dict(self.state)))
        self.go(self.scalar(statement.holds), on, done)
        self.begin_block(on)

    def at_most_once(
        self, hint: str, first: str, stop: str, sources: Sequence[Source], body: Callable[[str], None]
    ) -> None:
        """body(first), if first < stop."""
        start, end = as_number(first), as_number(stop)
        if start is not None and end is not None:
            if start < end:
                self.scoped(body, first)
            return
        label, done, before = self.name(hint), self.name(f"{hint}.done"), self.here
        initial = dict(self.state)
        some = self.put(f"icmp slt i64 {first}, {stop}", "some")
        self.go(some, label, done)
        self.begin_block(label)
        self.scoped(body, first)
        end_label = self.here
        self.do(f"br label %{done}")
        self.begin_block(done)
        for source in sources:
            self.phi(source, [(initial[source][0], before), (self.state[source][0], end_label)])

    def two_ways(self, full: str, whole: Lanes, part: Lanes, fill: Callable[[], None]) -> tuple[str, str]:
        """What `fill` writes, for whole vectors and for the last one; gives the labels of the two blocks."""
        ways, both = (self.name("whole"), self.name("part")), self.name("both")
        self.go(full, ways[0], ways[1], rarely=True)
        for label, lanes in zip(ways, (whole, part), strict=True):
            self.begin_block(label)
            with self.in_lanes(lanes):
                fill()
            self.do(f"br label %{both}")
        self.begin_block(both)
        return ways

    def combine(self, source: Accumulator, a: str, b: str, count: int) -> str:
        """The accumulator's operation on two of its values, of so many lanes."""
        return write(
            source.kind, [a, b], source.type, source.type, count, lambda text: self.put(text, f"acc{source.number}")
        )

    def fold(self, sources: Sequence[Source], lanes: int) -> None:
        """Partial results of many lanes to those of fewer: the upper half is taken into the lower one."""
        for source in sources:
            assert isinstance(source, Accumulator)
            name, count = self.state[source]
            while count > lanes:
                V, half = register_type(source.type, count), count // 2
                parts = [
                    self.put(f"shufflevector {V} {name}, {V} poison, {lane_indices(first, half)}", "half")
                    if half > 1
                    else self.put(f"extractelement {V} {name}, i64 {first}", "half")
                    for first in (0, half)
                ]
                name, count = self.combine(source, parts[0], parts[1], half), half
            self.state[source] = (name, count)
