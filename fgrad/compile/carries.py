"""Where the carries of a loop are: what a run leaves is found by the next one without copies.

For a body  consts, carry, slices -> carry, stacked  a carry is, from the best to the worst:

    fixed       the body returns it as it came: another constant
    followed    its next value is in memory already (a slice, another carry, an array that is stacked): its slot is set
                to that address after each run
    shifted     the body stacks it as it came: it is written where the next run's value will be in the stack
    in place    the body overwrites it: one buffer, that of the result
    turned      the body needs it to the end: two buffers or more, whose addresses are exchanged after each run
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..core.ir import Jaxpr, Var
from .plan import Plan

Key = tuple[Any, ...]  # of a slot of the body: ("input", number), ("output", number among the kept ones)


class Ring(NamedTuple):
    """Slots of which, after each run, each becomes the next one; the last becomes the first if it is `closed`."""

    slots: tuple[Key, ...]
    closed: bool


class Carries:
    """The carries of a body: its inputs from number `first` on, of which there are `count`.

    stacked: numbers of the outputs that are wanted beside them. shift: whether the stacks lie so that carries may be
    shifted. `kept`: numbers of the outputs that the body has to write, those of stacks first. `shifted`: the outputs
    that such carries are.
    """

    def __init__(self, body: Jaxpr, first: int, count: int, stacked: Sequence[int], shift: bool):
        self.first = first
        inputs: dict[Any, int] = {v: i for i, v in enumerate(body.inputs)}
        sources = {c: a for c, a in enumerate(body.outputs[:count]) if a.type.size}
        numbers = {c: inputs.get(a, -1) if type(a) is Var else -1 for c, a in sources.items()}
        self.fixed = {c for c, i in numbers.items() if i == first + c}
        self.shifted: dict[int, int] = {}
        computed = [body.outputs[i] for i in stacked if body.outputs[i] not in inputs]
        for i in stacked if shift else ():
            c = inputs.get(body.outputs[i], -1) - first
            if c not in self.shifted and numbers.get(c, 0) < 0 and sources[c] not in computed:
                self.shifted[c] = i
        self.kept = [i for i in stacked if i not in self.shifted.values()]
        written: dict[Any, int] = {}
        for k, i in enumerate(self.kept):
            if type(body.outputs[i]) is Var and body.outputs[i] not in inputs:
                written.setdefault(body.outputs[i], k)
        self.followed: dict[int, Key] = {}
        self.written: dict[int, int] = {}  # position in `kept`
        taken: set[int] = set()  # carries that another one follows, and that may not be overwritten
        for c, i in numbers.items():
            if c in self.fixed:
                continue
            old = i - first
            moving = 0 <= old < count and old not in self.fixed
            if i >= 0 and not (moving and old in taken):
                self.followed[c] = ("input", i)
                if moving:
                    taken.add(old)
            elif i < 0 and sources[c] in written:
                self.followed[c] = ("output", written[sources[c]])
            else:
                self.written[c] = len(self.kept)
                self.kept.append(c)
        taken.update(self.shifted)
        self.donated = {first + c: (k,) for c, k in self.written.items() if c not in taken}

    def slot(self, c: int) -> Key:
        """The slot of a carry."""
        return "input", self.first + c

    def settle(self, plan: Plan) -> None:
        """Decide the rest by the plan of the body with the outputs `kept`.

        `in_place`, `turned`: carries. `rings`: what is exchanged after each run. `outputs`: the slots of outputs that
        are exchanged, which need memory of their own.
        """
        self.in_place = {c for c, k in self.written.items() if plan.donated_to.get(k) == self.first + c}
        others = {c: k for c, k in self.written.items() if c not in self.in_place and c not in self.shifted}
        source = {self.slot(c): key for c, key in self.followed.items()}
        source |= {self.slot(c): ("output", k) for c, k in others.items()}
        follower = {key: slot for slot, key in source.items() if key in source}
        self.outputs = {("output", k) for k in others.values()}
        self.turned: set[int] = set()
        self.rings: list[Ring] = []
        left = dict(source)
        for start in [s for s, key in source.items() if key not in source]:
            chain = [source[start], start]
            while chain[-1] in follower:
                chain.append(follower[chain[-1]])
            for s in chain[1:]:
                del left[s]
            closed = chain[0] in self.outputs
            self.rings.append(Ring(tuple(reversed(chain)), closed))
            if closed:
                self.turned.update(s[1] - self.first for s in chain[1:])
        while left:
            ring = [next(iter(left))]
            while (key := left.pop(ring[-1])) != ring[0]:
                ring.append(key)
            self.rings.append(Ring(tuple(ring), True))
