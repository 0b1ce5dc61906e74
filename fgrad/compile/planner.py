"""The plan of a program and of the programs in its loops, which share what they keep, trust and refuse."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

from ..core.ir import Jaxpr, Var
from ..regions.call import executed, memo
from ..rewrites.pipeline import simplify
from . import library
from .fuse import Fuser
from .plan import Item, Plan, launch_item, launches
from .rows import with_blocks_of_rows
from .steps import Call
from .uniform import with_uniform_constants

# What becomes of a program, behind the rewrites, before it is planned
PREPARATION: list[tuple[str, Callable[[Jaxpr], Jaxpr]]] = [
    ("calls in place", executed),
    ("uniform constants", with_uniform_constants),
]


class Planner:
    """Plans one program.

    refused: ids of equations that are not to be in kernels. trusting: see `Expressions`. keep: takes what must live as
    long as what is made of the plan. items: takes those of all plans, as failures number them.
    """

    def __init__(
        self,
        refused: frozenset[int] = frozenset(),
        trusting: bool = False,
        keep: list[Any] | None = None,
        items: list[Item] | None = None,
    ):
        self.refused = refused
        self.trusting = trusting
        self.keep: list[Any] = [] if keep is None else keep
        self.items: list[Item] = [] if items is None else items
        self.known: dict[Any, Plan] = {}
        self.shared: set[Plan] = set()  # of several bodies

    def program(self, jaxpr: Jaxpr, donated: Sequence[int]) -> Plan:
        """The plan of a prepared program whose donated inputs may become any output."""
        jaxpr = with_blocks_of_rows(jaxpr)
        return self.plan(jaxpr, dict.fromkeys(donated, range(len(jaxpr.outputs))))

    @staticmethod
    def prepared(jaxpr: Jaxpr, outputs: tuple[int, ...] | None = None) -> Jaxpr:
        """The body of a loop as it is planned, with some of its outputs; always the same equations."""

        def prepare() -> Jaxpr:
            program = jaxpr
            if outputs is not None:
                program = Jaxpr(jaxpr.inputs, jaxpr.eqns, [jaxpr.outputs[i] for i in outputs], (), jaxpr.sites)
            program = simplify(program)
            for _, rewrite in PREPARATION:
                program = rewrite(program)
            return program

        return memo(jaxpr, ("prepared", outputs), prepare)  # type: ignore[no-any-return]

    def body(self, jaxpr: Jaxpr, donated: Mapping[int, tuple[int, ...]]) -> Plan:
        """The plan of the prepared body of a loop; equal ones have one."""
        key = (jaxpr, *donated.items())
        found = self.known.get(key)
        jaxpr = memo(jaxpr, "blocks of rows", lambda: with_blocks_of_rows(jaxpr))
        if found is None:
            found = self.known[key] = self.plan(jaxpr, donated)
        elif found.jaxpr is not jaxpr:
            self.shared.add(found)
        return found

    def plan(self, jaxpr: Jaxpr, donated: Mapping[int, Container[int]]) -> Plan:
        """The plan of a prepared program; `donated`: see `Plan`."""
        fuser = Fuser(jaxpr, library.strided, self.refused)
        steps = fuser.run()
        wanted: set[Any] = {a for a in jaxpr.outputs if type(a) is Var}
        called: dict[int, list[Item]] = {}
        for i, step in enumerate(steps):
            if type(step) is Call:
                called[i] = library.call_items(step.eqn, fuser, self)
                wanted.update(v for item in called[i] for v in item.reads)
            else:
                wanted |= step.reads
        wanted |= {base for v in list(wanted) if (base := fuser.base(v)) is not v}
        items: list[Item] = []
        for i, step in enumerate(steps):
            if type(step) is Call:
                items += called[i]
            else:
                stored = [r.var for r in step.roots if r.var in wanted]
                if stored:
                    items += [launch_item(launch, step) for launch in launches(step, stored, self.trusting)]
                step.graph.finish()
        plan = Plan(jaxpr, steps, items, fuser.aliases, donated)
        plan.start = len(self.items)
        self.items += plan.items
        return plan
