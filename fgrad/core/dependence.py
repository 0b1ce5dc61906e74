"""Which outputs of a program depend on which inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .effects import KEPT
from .ir import Atom, Eqn, Jaxpr, Var

Flags = tuple[bool, ...]


def depends(jaxpr: Jaxpr, flags: Sequence[bool]) -> Flags:
    """Which outputs depend on the inputs with a flag."""
    reached = {v for v, f in zip(jaxpr.inputs, flags, strict=True) if f}
    for e in jaxpr.eqns:
        mine = [a in reached for a in e.inputs]
        if any(mine):
            reached.update(dependent(e, mine))
    return tuple([a in reached for a in jaxpr.outputs])


def dependent(e: Eqn, flags: Sequence[bool]) -> Sequence[Var]:
    """The outputs of an equation that depend on its operands with a flag."""
    found = e.primitive.dependent(flags, **e.params) if e.primitive.region else None  # type: ignore[attr-defined]
    return e.outputs if found is None else [v for v, f in zip(e.outputs, found, strict=True) if f]


def settled(carry: Sequence[bool], step: Callable[[Flags], Sequence[bool]]) -> Flags:
    """The least flags of a carry from `carry` on that contain those which one run makes of them."""
    flags = tuple(map(bool, carry))
    while True:
        found = tuple(a or bool(b) for a, b in zip(flags, step(flags), strict=True))
        if found == flags:
            return flags
        flags = found


def live(jaxpr: Jaxpr, outputs: Sequence[Atom]) -> tuple[list[Eqn], set[Atom]]:
    """The equations that some outputs, and what must be done in any case, take; and what these read.

    Of a region, outputs that nothing reads are left out.
    """
    read = set(outputs)
    eqns = []
    for e in reversed(jaxpr.eqns):
        if not read.isdisjoint(e.outputs) or e.effects & KEPT:
            if e.primitive.region:
                flags = [v in read for v in e.outputs]
                e = e if all(flags) else e.primitive.pruned(e, flags)  # type: ignore[attr-defined]
            eqns.append(e)
            read.update(e.inputs)
    return eqns[::-1], read


def pruned(jaxpr: Jaxpr, outputs: Sequence[Atom]) -> tuple[Jaxpr, Flags]:
    """The program for some of its outputs alone, without inputs that it does not read; and which inputs it keeps."""
    eqns, read = live(jaxpr, outputs)
    used = tuple([v in read for v in jaxpr.inputs])
    inputs = [v for v, u in zip(jaxpr.inputs, used, strict=True) if u]
    return Jaxpr(inputs, eqns, outputs, (), jaxpr.sites), used
