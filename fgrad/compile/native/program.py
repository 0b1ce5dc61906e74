"""Programs: what the planner hands to the runtime, and the records that the native loop reads."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from . import layout, pool
from .library import library, threads, word

PARALLEL = 20_000.0  # nanoseconds: a shorter thunk is one call on the calling thread
TICKET = 5_000.0  # nanoseconds: a ticket takes at least about that
TICKETS = 512  # at most about so many a thunk
ALONE = 20e6  # nanoseconds: what one thread does at most between two looks for signals
LONG = 20e6  # nanoseconds of parallel work: worth waiting for the code of the thread pool
CLOCK = 100_000.0  # nanoseconds of serial thunks between two looks at the clock


class Thunk(NamedTuple):
    """One step of a program: a native function `i32 f(call, operands, dims, begin, end)` with its data.

    operands are slots, dims 64-bit words. [0, extent) is its parallel axis, cut in chunks of `grain`; cost is the time
    of the whole on one core, in nanoseconds.
    """

    address: int
    operands: tuple[int, ...]
    dims: tuple[int, ...]
    extent: int
    grain: int
    cost: float


class Output(NamedTuple):
    """One result: its slot, its type, and the number of the input whose memory it may take over, or -1."""

    slot: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    donated: int = -1


class Program(NamedTuple):
    """Thunks in order, and where their operands are: the slots of temporaries, constants, inputs and outputs.

    arena is the size of the temporaries' memory in bytes, each of them given as (slot, offset); the slot of an input
    that no thunk reads is -1.
    """

    thunks: Sequence[Thunk]
    slots: int
    arena: int
    temporaries: Sequence[tuple[int, int]]
    constants: Sequence[tuple[int, np.ndarray]]
    inputs: Sequence[int]
    outputs: Sequence[Output]
    first: int = 0  # the number of the first thunk, among those of all its loops


class NativeProgram:
    """A program as records in memory, at `address`; the records and the constants live as long as it does."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.outputs = [Output(*output) for output in program.outputs]
        self.library = library()
        self._keep: list[Any] = [constant for _, constant in program.constants]
        costs = [thunk.cost for thunk in program.thunks]
        costly = sum(costs) > PARALLEL
        if sum(cost for cost in costs if cost > PARALLEL) > LONG:
            threads()
        # One slot more: it takes the inputs that nothing reads. Leaves and results begin at multiples of 16.
        self._leaves = layout.CONTEXT_SLOTS + 8 * (program.slots + 1 + (program.slots + 1) % 2)
        self._results = self._leaves + layout.LEAF_BYTES * len(program.inputs)
        operands = self._results + layout.RESULT_BYTES * len(self.outputs)
        temporaries = [x for slot, offset in program.temporaries for x in (self._slot(slot), offset)]
        constants = [x for slot, constant in program.constants for x in (self._slot(slot), address_of(constant))]
        fields = {
            layout.PROGRAM_STATE: self.library.state,
            layout.PROGRAM_SEQUENCE: self._words(
                sequence(program.thunks, layout.CONTEXT_SLOTS, operands, program.first, costly)
            ),
            layout.PROGRAM_ARENA: program.arena,
            layout.PROGRAM_TEMPORARIES: self._words(temporaries),
            layout.PROGRAM_TEMPORARY_COUNT: len(program.temporaries),
            layout.PROGRAM_CONSTANTS: self._words(constants),
            layout.PROGRAM_CONSTANT_COUNT: len(program.constants),
            layout.PROGRAM_LEAF_COUNT: len(program.inputs),
            layout.PROGRAM_OUTPUTS: self._words([x for o in self.outputs for x in self._output(o)]),
            layout.PROGRAM_OUTPUT_COUNT: len(self.outputs),
            layout.PROGRAM_LONG: int(costly),
            layout.PROGRAM_CONTEXT_BYTES: operands + 8 * gathered(program.thunks),
            layout.PROGRAM_LEAVES: self._leaves,
            layout.PROGRAM_RESULTS: self._results,
        }
        self.address = self._words([fields.get(offset, 0) for offset in range(0, layout.PROGRAM_BYTES, 8)])
        pool.register_controller()

    def __del__(self) -> None:
        """Free the contexts; nobody can be running the program."""
        if hasattr(self, "address"):
            self.library.free_contexts(self.address)

    def _words(self, values: Sequence[int]) -> int:
        """Words that live as long as the program; their address."""
        numbers = array("q", values) or array("q", [0])
        self._keep.append(numbers)
        return numbers.buffer_info()[0]

    @staticmethod
    def _slot(slot: int) -> int:
        """Where a slot is in a context, in bytes."""
        return layout.CONTEXT_SLOTS + 8 * slot

    def leaf(self, number: int) -> tuple[int, int]:
        """Where the record of a leaf, and its slot, are in a context."""
        slot = self.program.inputs[number]
        return self._leaves + layout.LEAF_BYTES * number, self._slot(slot if slot >= 0 else self.program.slots)

    def result(self, number: int) -> int:
        """Where the record of a result is in a context."""
        return self._results + layout.RESULT_BYTES * number

    def _output(self, output: Output) -> list[int]:
        """The record of a result."""
        self._keep.append(output.dtype)
        leaf, slot = self.leaf(output.donated) if output.donated >= 0 else (0, 0)
        fields = {
            layout.OUTPUT_SLOT: self._slot(output.slot),
            layout.OUTPUT_DTYPE: id(output.dtype),
            layout.OUTPUT_NDIM: len(output.shape),
            layout.OUTPUT_SHAPE: self._words(output.shape),
            layout.OUTPUT_SIZE: size_in_bytes(output.dtype, output.shape),
            layout.OUTPUT_DONATED: leaf,
            layout.OUTPUT_INPUT: slot,
        }
        return [fields[offset] for offset in range(0, layout.OUTPUT_BYTES, 8)]

    def run(self, leaves: Sequence[np.ndarray]) -> tuple[list[Any], tuple[int, int, int, int]]:
        """Run on arrays of the right types and layouts, without any native reading of objects.

        Returns the results and the words of the call: status, thunk, two words of detail.
        """
        results = [self._memory(output, leaves) for output in self.outputs]
        leaves = list(leaves)
        for output, result in zip(self.outputs, results, strict=True):
            if output.donated >= 0:
                leaves[output.donated] = result
        context = self.library.take_context(self.address)
        if not context:
            raise MemoryError
        for number, leaf in enumerate(leaves):
            word(context + self.leaf(number)[1]).value = address_of(leaf)
        for output, result in zip(self.outputs, results, strict=True):
            word(context + self._slot(output.slot)).value = address_of(result)
        try:
            status = self.library.run(context)
            found = tuple(word(context + 8 * i).value for i in range(4))
        finally:
            self.library.give_context(context)
        if status < 0:
            raise MemoryError
        return [result if result.ndim else result[()] for result in results], found  # type: ignore[return-value]

    @staticmethod
    def _memory(output: Output, leaves: Sequence[np.ndarray]) -> np.ndarray:
        """A fresh array for a result, with the donated values if there are; or the donated array itself."""
        if output.donated < 0:
            return np.empty(output.shape, output.dtype)
        leaf = leaves[output.donated]
        others = [other for i, other in enumerate(leaves) if i != output.donated]
        owned = leaf.flags.owndata and leaf.flags.writeable and leaf.base is None and type(leaf) is np.ndarray
        if leaf.ndim and owned and not any(np.may_share_memory(leaf, other) for other in others):
            return leaf
        return leaf.copy()


def gathered(thunks: Sequence[Thunk]) -> int:
    """The most operands of a thunk."""
    return max((len(thunk[1]) for thunk in thunks), default=0)


def sequence(thunks: Sequence[Thunk], slots: int, operands: int, first: int, costly: bool) -> list[int]:
    """The words of a sequence, which may be anywhere in memory.

    slots, operands: where in the frame the slots begin and the operands of a thunk are gathered, in bytes. first: see
    `layout`. costly: whether it is to look for signals.
    """
    thunks = [Thunk(*thunk) for thunk in thunks]
    head = {
        layout.SEQUENCE_COUNT: len(thunks),
        layout.SEQUENCE_FIRST: first,
        layout.SEQUENCE_OPERANDS: operands,
    }
    words = [head[offset] for offset in range(0, layout.SEQUENCE_THUNKS, 8)]
    behind: list[int] = []
    distance = layout.THUNK_BYTES * len(thunks)  # from a thunk to what is behind all of them
    unseen = 0.0
    for thunk in thunks:
        step, alone = parts(thunk)
        unseen += max(thunk.cost, 50.0)
        look = costly and unseen >= CLOCK
        if look:
            unseen = 0.0
        fields = {
            layout.THUNK_ADDRESS: thunk.address,
            layout.THUNK_DIMS: distance + 8 * (len(behind) + len(thunk.operands)),
            layout.THUNK_OPERANDS: distance + 8 * len(behind),
            layout.THUNK_COUNT: len(thunk.operands),
            layout.THUNK_EXTENT: thunk.extent,
            layout.THUNK_STEP: step,
            layout.THUNK_TICKETS: -(-thunk.extent // step) if step else 1,
            layout.THUNK_ALONE: alone,
            layout.THUNK_CLOCK: int(look),
            layout.THUNK_COST: int(thunk.cost),
        }
        words += [fields[offset] for offset in range(0, layout.THUNK_BYTES, 8)]
        behind += [slots + 8 * slot for slot in thunk.operands]
        behind += thunk.dims
        distance -= layout.THUNK_BYTES
    return words + behind


def parts(thunk: Thunk) -> tuple[int, int]:
    """The units of a ticket, and those of a call where one thread does all; they depend on chunks and cost alone."""
    chunks = -(-thunk.extent // max(thunk.grain, 1))
    if thunk.cost < PARALLEL or chunks < 2:
        return thunk.extent, thunk.extent
    ticket = min(max(TICKET, thunk.cost / TICKETS), ALONE)
    step = thunk.grain * max(1, round(ticket * chunks / thunk.cost))
    return step, thunk.grain * max(1, int(ALONE * chunks / thunk.cost))


def size_in_bytes(dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
    """The memory of a contiguous array."""
    size = dtype.itemsize
    for extent in shape:
        size *= extent
    return size


def address_of(values: np.ndarray) -> int:
    """The address of an array's first element."""
    address: int = values.__array_interface__["data"][0]
    return address
