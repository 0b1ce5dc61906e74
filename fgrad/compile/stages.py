"""Programs inside a loop as native code runs them: slots in a frame, and what happens to them between runs.

A frame is memory of the program around the loop. It holds, for `add c x` with c in the memory of the result,

    slots       c: address of the result, x: address of a slice
    operands    of the thunk that is being called
    buffers     of carries that change places
    arena       of what the programs compute in between
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ..core.ir import Eqn, Literal
from .carries import Carries, Key
from .emit import Temporary
from .native import layout
from .native.language import Native
from .native.program import Thunk, gathered, sequence
from .plan import ALIGN, Inner, Item, Plan, bytes_of, copy_item, slots_of

THUNK = 10.0  # nanoseconds that a thunk takes beside its work
RUN = 20.0  # nanoseconds that a run takes beside its thunks
Address = Callable[[Any], int]


class Buffer(NamedTuple):
    """A number among the buffers of a stage."""

    number: int


class Memory:
    """What the item of a loop works on: its frame, then what it reads and writes, in the order of the first use."""

    def __init__(self, keep: list[Any]):
        self.frame = Temporary("i64", 1)
        self.operands: dict[Any, int] = {self.frame: 0}
        self.keep = keep
        self.constants: dict[Any, int] = {}

    def source(self, a: Any, offset: int = 0) -> tuple[int, int]:
        """An address as native code finds it: where the operand is, and what to add to it; or -1 and the address."""
        if type(a) is Literal:
            return -1, self.constant(a, a.value)
        return 8 * self.operands.setdefault(a, len(self.operands)), offset

    def constant(self, key: Any, value: Any) -> int:
        """The address of a constant."""
        if key not in self.constants:
            array = np.require(value, None, ["C", "A"])
            self.keep.append(array)
            self.constants[key] = array.__array_interface__["data"][0]
        return self.constants[key]


class Part(NamedTuple):
    """A program of a stage, and which of its slots have other names there."""

    plan: Plan
    names: dict[Key, Key]


class Stage:
    """A program, perhaps with a condition, over one frame; the fields are those of the record, see `layout`.

    setup: an atom or a buffer, and bytes to add. copies: to the memory of a slot. results: from there. blocks: of rows,
    each with a frame of its own and an equal part of what is in memory; `apart`: bytes of the part of a slot, where it
    is not that of the whole over their number.
    """

    def __init__(self, memory: Memory, body: Plan, blocks: int = 1):
        self.memory, self.blocks = memory, blocks
        self.apart: dict[Key, int] = {}
        self.parts = [Part(body, {})]
        self.runs = 0
        self.predicate: Key | None = None
        self.setup: dict[Key, tuple[Any, int]] = {}
        self.copies: list[tuple[Key, Any]] = []
        self.moves: list[tuple[Key, Key]] = []
        self.steps: list[tuple[Key, int]] = []
        self.records: list[tuple[Key, int]] = []
        self.ahead: list[tuple[Key, int]] = []
        self.last: list[tuple[Key, Any]] = []
        self.results: list[tuple[Key, Any]] = []
        self.buffers: list[int] = []  # bytes
        self.slots: dict[Key, int] = {}

    def buffer(self, size: int) -> Buffer:
        """Memory that is kept from run to run."""
        self.buffers.append(size)
        return Buffer(len(self.buffers) - 1)

    # --------------------------------------------------------------------------------------------------------- carries

    def carry(self, carries: Carries, first: Sequence[Any], last: Sequence[Any], runs: int | None) -> list[Item]:
        """Give the carries memory; `first`, `last`: atoms of their first and last values; `runs`: how many, if known.

        Returns copies of first values to where the last ones will be, which are to be made before.
        """
        before = []
        for c in (*carries.fixed, *carries.in_place):
            self.setup[carries.slot(c)] = last[c], 0
            if type(first[c]) is Literal:
                self.copies.append((carries.slot(c), first[c]))
            else:
                before.append(copy_item(first[c], last[c], vanishes=True))
        for c in carries.followed:
            if c not in carries.turned:
                self.setup[carries.slot(c)] = first[c], 0
                self.results.append((carries.slot(c), last[c]))
        for ring in carries.rings:
            if carries.outputs.isdisjoint(ring.slots):
                continue
            places = [last[s[1] - carries.first] if s[0] == "input" else None for s in ring.slots]
            size = self.part(next(v for v in places if v is not None))
            if runs is None and len(places) > 2:
                places = [None] * len(places)
            found = [(self.buffer(size) if v is None else v, 0) for v in places]
            for i, s in enumerate(ring.slots):
                self.setup[s] = found[(i - (runs or 0)) % len(found)]
        for c in carries.shifted:
            self.copies.append((carries.slot(c), first[c]))
            if runs is None:
                self.results.append((carries.slot(c), last[c]))
            else:
                self.last.append((("output", carries.written[c]), last[c]))
        for c in carries.turned:
            self.copies.append((carries.slot(c), first[c]))
            if runs is None:
                self.results.append((carries.slot(c), last[c]))
        for ring in carries.rings:
            slots = ring.slots
            self.moves += [(("spare",), slots[0])] * ring.closed
            self.moves += pairwise(slots)
            self.moves += [(slots[-1], ("spare",))] * ring.closed
        return before

    # --------------------------------------------------------------------------------------------------------- records

    def slot(self, key: Key) -> int:
        """Where a slot is in the frame, in bytes."""
        return 8 * self.slots.setdefault(key, len(self.slots))

    def thunks(self, number: int, address: Address) -> list[Thunk]:
        """The thunks of a part."""
        plan, names = self.parts[number]

        def slot(key: Key) -> int:
            return self.slot((*key, number) if key[0] == "constant" else names.get(key, key)) // 8

        place = slots_of(plan, slot)
        thunks = [item.thunk(place, address) for item in plan.items]
        # A block is one thread's.
        return thunks if self.blocks == 1 else [thunk._replace(grain=thunk.extent) for thunk in thunks]

    def part(self, v: Any) -> int:
        """Bytes of a carry that are a block's."""
        return bytes_of(v) // self.blocks

    def words(self, address: Address) -> list[int]:
        """The record. `size`, from then on: bytes of the frame."""
        thunks = [self.thunks(number, address) for number in range(len(self.parts))]
        slot = self.slot
        copies = [(slot(key), *self.memory.source(a), self.part(a)) for key, a in self.copies]
        moves = [(slot(a), slot(b)) for a, b in self.moves]
        last = [(slot(key), self.memory.source(v)[0], self.part(v)) for key, v in self.last]
        results = [(slot(key), self.memory.source(v)[0], self.part(v)) for key, v in self.results]
        predicate = 0 if self.predicate is None else slot(self.predicate)
        operands = 8 * len(self.slots)
        at = operands + 8 * max(map(gathered, thunks))
        buffers = []
        for size in (*self.buffers, 0):
            at = -(-at // ALIGN) * ALIGN
            buffers.append(at)
            at += size
        arena = buffers[-1]
        self.size = -(-(arena + max(part.plan.arena_bytes for part in self.parts)) // ALIGN) * ALIGN
        setup = []
        for key, number in self.slots.items():
            source = self.address_of(key, buffers, arena)
            if source is not None:
                setup.append((8 * number, *source))
        lists: dict[int, Sequence[Sequence[int]]] = {
            layout.STAGE_SETUP: setup,
            layout.STAGE_COPIES: copies,
            layout.STAGE_MOVES: moves,
            layout.STAGE_STEPS: [(slot(key), n) for key, n in self.steps if key in self.slots],
            layout.STAGE_RECORDS: [(slot(key), n) for key, n in self.records if key in self.slots],
            layout.STAGE_AHEAD: [(slot(key), n) for key, n in self.ahead],
            layout.STAGE_LAST: last,
            layout.STAGE_RESULTS: results,
        }
        fields = {
            layout.STAGE_RUNS: self.runs,
            layout.STAGE_COST: int(self.cost(alone=True)),
            layout.STAGE_PREDICATE: predicate,
        }
        behind: list[int] = []
        for offset, entries in lists.items():
            fields[offset], fields[offset + 8] = layout.STAGE_BYTES + 8 * len(behind), len(entries)
            behind += [n for entry in entries for n in entry]
        sequences = layout.STAGE_SEQUENCE, layout.STAGE_CONDITION
        for offset, part, made in zip(sequences, self.parts, thunks, strict=False):
            fields[offset] = layout.STAGE_BYTES + 8 * len(behind)
            behind += sequence(made, 0, operands, part.plan.start, self.blocks == 1)
        return [fields.get(offset, 0) for offset in range(0, layout.STAGE_BYTES, 8)] + behind

    def address_of(self, key: Key, buffers: Sequence[int], arena: int) -> tuple[int, int, int] | None:
        """What a slot points to before the first run, as `Memory.source`, and how far blocks are apart; or nothing."""
        if key in self.setup:
            a, offset = self.setup[key]
            if type(a) is Buffer:
                return 0, buffers[a.number], self.size
            apart = 0 if self.blocks == 1 or type(a) is Literal else self.apart.get(key, self.part(a))
            return *self.memory.source(a, offset), apart
        if key[0] == "arena":
            return 0, arena + key[1], self.size
        if key[0] == "constant":
            _, number, part = key
            plan = self.parts[part].plan
            return -1, self.memory.constant((plan, number), plan.constants[number]), 0
        return None

    def cost(self, alone: bool = False) -> float:
        """Nanoseconds of a run, estimated; `alone`: without the loops in it, which look for signals themselves."""
        items = [item for part in self.parts for item in part.plan.items]
        return RUN + sum(THUNK if alone and item.inner else THUNK + item.cost for item in items)


def item_of(
    e: Eqn,
    text: str,
    function: Native,
    memory: Memory,
    stages: Sequence[Stage],
    words: Callable[[Address], Sequence[int]],
    cost: float,
    inner: Sequence[Inner],
) -> Item:
    """The item that runs stages; `words(address)`: its dims."""
    words(lambda code: 0)  # finds all operands, and how large frames are
    memory.frame.length = max(stage.blocks * stage.size // 8 for stage in stages)
    writes = [v for v in e.outputs if v.type.size]
    reads = [a for a in memory.operands if a not in {*writes, memory.frame}]

    def thunk(slot: Callable[[Any], int], address: Address) -> Thunk:
        return Thunk(address(function), tuple(map(slot, memory.operands)), tuple(words(address)), 1, 1, cost)

    return Item(text, reads, [*writes, memory.frame], thunk, native=[function], cost=cost, eqn=e, inner=inner)


def distant(head: dict[int, int], stages: Sequence[Stage], address: Address) -> list[int]:
    """A record that ends with the distances of stages, and the stages behind it."""
    words = [head[offset] for offset in range(0, 8 * len(head), 8)]
    at = len(words)
    words += [0] * len(stages)
    for i, stage in enumerate(stages):
        words[at + i] = 8 * len(words)
        words += stage.words(address)
    return words
