"""Products that are only added to something are rounded once, with the sum: a multiply-add takes half the time of both.

    %4 = mul %2 %3          %4 = fma %2 %3 %1
    %5 = add %4 %1

For kernels in which one operation waits for the other, as in recurrences.
"""

from __future__ import annotations

from collections import Counter

from .nests import Builder, Value
from .scalars import FLOATS
from .statements import operands, statements


def contract(k: Builder) -> None:
    """Rewrite the statements of a kernel that is about to be finished."""
    everything = list(statements(k.root))
    uses = Counter(v for s in everything for v in operands(s))
    gone: set[Value] = set()
    ahead: dict[Value, Value] = {}  # the negative of an operand, to stand in front of who reads it
    for s in everything:
        if isinstance(s, Value) and s.op in ("add", "sub") and s.type in FLOATS:
            for n, p in enumerate(s.args):
                if p.op == "mul" and uses[p] == 1 and p.block is s.block:
                    fuse(s, n, ahead)
                    gone.add(p)
                    break
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
