"""Where the time of a compiled program goes: each item of its plan, estimated and measured in place.

    python benchmarks/items.py "MLP 784-512"
    python benchmarks/items.py tanh --dtype float64 --threads 1 --seconds 3

The items run one after the other on the memory of one call, as in a call, with the clock read around each: best and
median microseconds, those estimated by the planner for one core, GFLOP/s of products. The last line compares their sum
with calls of the whole program.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from timing import fair

fair()
from cases import select  # noqa: E402
from cases.libraries import prepare  # noqa: E402

from fgrad import tree  # noqa: E402
from fgrad.compile.executable import Executable  # noqa: E402
from fgrad.compile.native import pool  # noqa: E402
from fgrad.compile.native.library import library, threads, word  # noqa: E402
from fgrad.compile.native.program import NativeProgram, Program, address_of, size_in_bytes  # noqa: E402


def executables(call: Callable[[], Any]) -> list[Executable]:
    """The programs that a first call compiles."""
    found: list[Executable] = []
    original = Executable.prepare

    def noticed(self: Executable, refused: frozenset[int]) -> None:
        original(self, refused)
        if self not in found:
            found.append(self)

    Executable.prepare = noticed  # type: ignore[method-assign]
    try:
        call()
    finally:
        Executable.prepare = original  # type: ignore[method-assign]
    return found


class Bench:
    """The items of a program as programs of one thunk each, on memory of their own."""

    def __init__(self, executable: Executable, leaves: list[np.ndarray]):
        program = executable.program.program
        self.memory: list[Any] = [np.zeros(program.arena + 64, np.uint8), leaves]
        start = -(-address_of(self.memory[0]) // 64) * 64
        slots = dict.fromkeys(range(program.slots), start)
        slots |= {slot: start + offset for slot, offset in program.temporaries}
        slots |= {slot: address_of(constant) for slot, constant in program.constants}
        slots |= {slot: address_of(leaf) for slot, leaf in zip(program.inputs, leaves, strict=True) if slot >= 0}
        for output in program.outputs:
            self.memory.append(np.empty(max(size_in_bytes(output.dtype, output.shape), 1), np.uint8))
            slots[output.slot] = address_of(self.memory[-1])
        self.programs = []
        for thunk in program.thunks:
            native = NativeProgram(Program([thunk], program.slots, 0, [], [], range(program.slots), []))
            context = native.library.take_context(native.address)
            for slot, address in slots.items():
                word(context + native.leaf(slot)[1]).value = address
            self.programs.append((native, context))

    def run(self, seconds: float) -> list[list[int]]:
        """Nanoseconds of each item, in each round."""
        run, clock = library().run, time.perf_counter_ns
        rounds = []
        end = time.perf_counter() + seconds
        contexts = [context for _, context in self.programs]
        while time.perf_counter() < end:
            times = [clock()]
            for context in contexts:
                run(context)
                times.append(clock())
            rounds.append([b - a for a, b in pairwise(times)])
        return [list(times) for times in zip(*rounds, strict=True)]


def overhead() -> float:
    """Nanoseconds that the clock and a call from Python take."""
    run, clock = library().run, time.perf_counter_ns
    native = NativeProgram(Program([], 1, 0, [], [], [0], []))
    context = native.library.take_context(native.address)
    times = []
    for _ in range(2000):
        start = clock()
        run(context)
        times.append(clock() - start)
    return statistics.median(times)


def main() -> None:
    """Print the table of each case."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cases", help="regular expression")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    if options.threads:
        pool.set_num_threads(options.threads)
    threads()
    empty = overhead()
    for case in select(options.cases):
        args = case.arguments(options.dtype)
        call = prepare("fgrad", case, options.dtype)(args)
        for executable in executables(call):
            report(case.name, executable, [np.asarray(x) for x in tree.leaves(args)], call, empty, options.seconds)


def report(
    name: str, executable: Executable, leaves: list[np.ndarray], call: Callable[[], Any], empty: float, seconds: float
) -> None:
    """The table of a program."""
    print(name)
    found = Bench(executable, leaves).run(seconds)
    print(f"{'best':>9} {'median':>9} {'estimate':>9}  {'GFLOP/s':>7}")
    for item, times in zip(executable.plan.items, found, strict=True):
        best, middle = min(times) - empty, statistics.median(times) - empty
        rate = f"{item.flops / best:7.1f}" if item.eqn is not None and item.flops else " " * 7
        print(f"{best / 1e3:9.2f} {middle / 1e3:9.2f} {item.cost / 1e3:9.2f}  {rate}  {item.text} {item.step or ''}")
    best, middle = (sum(f(times) - empty for times in found) for f in (min, statistics.median))
    whole = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter_ns()
        call()
        whole.append(time.perf_counter_ns() - start)
    print(f"{best / 1e3:9.2f} {middle / 1e3:9.2f} {sum(i.cost for i in executable.plan.items) / 1e3:9.2f}  all items")
    print(f"{min(whole) / 1e3:9.2f} {statistics.median(whole) / 1e3:9.2f} {'':9}  calls\n")


if __name__ == "__main__":
    main()
