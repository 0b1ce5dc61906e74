"""Products that are only added to something are rounded once, with the sum: a multiply-add takes half the time of both.

    %4 = mul %2 %3          %4 = fma %2 %3 %1
    %5 = add %4 %1

For kernels in which one operation waits for the other, as in recurrences. In those on scalars, where
operations wait and are not many beside each other, the sooner result counts: of two products ready at the same time
both are rounded, as a multiply-add would wait for one of them.

    %4 = mul %2 %3          the same: 4 + 3 cycles; fma would begin after %5, and take 4 + 4
    %5 = mul %1 %6
    %7 = sub %4 %5
"""

from __future__ import annotations

from collections import Counter

from .nests import Builder, Value
from .scalars import FLOATS
from .statements import operands, statements

CYCLES = {"add": 3, "sub": 3, "neg": 0, "mul": 4, "fma": 4, "div": 11, "sqrt": 12}  # until a result is there
AT_ONCE = 2  # such operations begin in a cycle


class Clock:
    """In which cycle of a run what depends on the run before is there."""

    def __init__(self) -> None:
        self.ready: dict[Value, int] = {}

    def last(self, *values: Value) -> int:
        """When all values are there."""
        return max((self.ready.get(v, 0) for v in values), default=0)

    def time(self, s: Value) -> int:
        """When a statement is done."""
        return self.last(*s.args) + CYCLES.get(s.op, 1 if s.args else 0)

    def note(self, s: Value, time: int) -> None:
        """Remember when it is."""
        if s.op == "read" or any(v in self.ready for v in s.args):
            self.ready[s] = time


def contract(k: Builder, scalar: bool = False) -> None:
    """Rewrite the statements of a kernel that is about to be finished; `scalar`: it has no vectors."""
    everything = list(statements(k.root))
    uses = Counter(v for s in everything for v in operands(s))
    values = [s for s in everything if isinstance(s, Value)]
    gone: set[Value] = set()
    ahead: dict[Value, Value] = {}  # the negative of an operand, to stand in front of who reads it
    clock = Clock()
    for s in values:
        if s.op == "add" and s.type in FLOATS:  # of a negative: a difference, which may be one of products
            n = next((n for n, p in enumerate(s.args) if p.op == "neg" and uses[p] == 1 and p.block is s.block), None)
            if n is not None:
                gone.add(s.args[n])
                s.op, s.args = "sub", (s.args[1 - n], s.args[n].args[0])
        clock.note(s, clock.time(s))
    waits = sum(s.op in CYCLES for s in values) < AT_ONCE * clock.last(*values)
    for s in values:
        time = clock.time(s)
        if s.op in ("add", "sub") and s.type in FLOATS:
            found = [n for n, p in enumerate(s.args) if p.op == "mul" and uses[p] == 1 and p.block is s.block]
            times = [clock.last(*s.args[n].args, s.args[1 - n]) + CYCLES["fma"] for n in found]
            if found and not (scalar and waits and min(times) > time):
                n = found[times.index(min(times))] if scalar else found[0]
                time = min(times)
                gone.add(s.args[n])
                fuse(s, n, ahead)
        clock.note(s, time)
    for block in {id(s.block): s.block for s in gone}.values():
        kept = [s for s in block.statements if s not in gone]
        block.statements[:] = [x for s in kept for x in ((ahead[s], s) if s in ahead else (s,))]


def fuse(s: Value, n: int, ahead: dict[Value, Value]) -> None:
    """Make a sum or difference of its n-th operand, a product, and the other one a multiply-add."""
    (a, b), other = s.args[n].args, s.args[1 - n]
    if s.op == "sub":
        turned = other if n == 0 else a
        ahead[s] = Value("neg", (turned,), s.type, None, s.block)
        a, other = (a, ahead[s]) if n == 0 else (ahead[s], other)
    s.op, s.args = "fma", (a, b, other)
