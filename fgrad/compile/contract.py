"""Products that are only added to something are rounded once, with the sum: a multiply-add takes half the time of both.

    %4 = mul %2 %3          %4 = fma %2 %3 %1
    %5 = add %4 %1

For kernels in which one operation waits for the other, as in recurrences. In those on scalars the sooner result counts:
of two products ready at the same time both are rounded, as a multiply-add would wait for one of them.

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


def contract(k: Builder, scalar: bool = False) -> None:
    """Rewrite the statements of a kernel that is about to be finished; `scalar`: it has no vectors."""
    everything = list(statements(k.root))
    uses = Counter(v for s in everything for v in operands(s))
    gone: set[Value] = set()
    ahead: dict[Value, Value] = {}  # the negative of an operand, to stand in front of who reads it
    ready: dict[Value, int] = {}  # cycles after the beginning of its run

    def last(*values: Value) -> int:
        return max((ready.get(v, 0) for v in values), default=0)

    for s in everything:
        if not isinstance(s, Value):
            continue
        ready[s] = last(*s.args) + CYCLES.get(s.op, 1 if s.args else 0)
        if s.op in ("add", "sub") and s.type in FLOATS:
            found = [n for n, p in enumerate(s.args) if p.op == "mul" and uses[p] == 1 and p.block is s.block]
            if not found:
                continue
            times = [last(*s.args[n].args, s.args[1 - n]) + CYCLES["fma"] for n in found]
            if scalar and min(times) > ready[s]:
                continue
            n = found[times.index(min(times))] if scalar else found[0]
            ready[s] = times[found.index(n)]
            gone.add(s.args[n])
            fuse(s, n, ahead)
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
