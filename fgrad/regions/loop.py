"""while_loop: a program run as long as a condition holds, and what its derivatives are made of.

How often it runs is known only when it has run, and so is how much its reverse mode must remember. No array of such a
length ever appears in a program: a `while_loop` is a sequence of *sweeps* over the same runs, the first forwards, the
second backwards, the third forwards again, and so on. A sweep may push values, one for each run, which later sweeps read
at the same run. Derivatives of sweeps are sweeps:

    jvp        each sweep beside its tangent
    transpose  the sweeps again, pushing residuals; then the transposed ones, from the last to the first
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.effects import NONE, Effects
from ..core.errors import ShapeError, message
from ..core.ir import Jaxpr
from ..core.primitive import Region
from ..core.types import ShapedArray
from .call import execute, on_request


class Sweep(NamedTuple):
    """One pass over all runs. `jaxpr`: consts, carry, what it reads -> carry, pushes.

    `consts`, `carry`: how many operands there are of each; `reads`: which pushes, counted over all sweeps before it.
    """

    jaxpr: Jaxpr
    consts: int
    carry: int
    reads: tuple[int, ...]

    @property
    def pushes(self) -> int:
        """How many values it pushes at each run."""
        return len(self.jaxpr.outputs) - self.carry


class While(Region):
    """Sweeps over runs that go on while `cond` holds: condition's consts, carry of the first sweep -> a boolean.

    Operands: `consts` ones of the condition; then, for each sweep, its consts and the carry that it starts from.
    Outputs: the last carries of all sweeps. Sweeps of even number go forwards, those of odd number backwards.
    """

    def typeof(
        self, *types: ShapedArray, cond: Jaxpr, consts: int, sweeps: tuple[Sweep, ...]
    ) -> tuple[ShapedArray, ...]:
        outs: list[ShapedArray] = []
        pushed: list[ShapedArray] = []
        at = consts
        for number, s in enumerate(sweeps):
            split, end = at + s.consts, at + s.consts + s.carry
            if number == 0 and (*types[:consts], *types[split:end]) != cond.in_types:
                what = "while_loop: operands do not fit the condition"
                raise ShapeError(message(what, got=f"{types[:end]} for {cond.in_types}", do="make them agree"))
            found = (*types[at:end], *[pushed[i] for i in s.reads])
            if found != s.jaxpr.in_types or s.jaxpr.out_types[: s.carry] != types[split:end]:
                what = "while_loop: operands do not fit the body"
                got = f"{found} for {s.jaxpr.in_types} -> {s.jaxpr.out_types}"
                raise ShapeError(message(what, got=got, do="make them agree"))
            outs += types[split:end]
            pushed += s.jaxpr.out_types[s.carry :]
            at = end
        return tuple(outs)

    def effects(self, *types: ShapedArray, **params: Any) -> Effects:
        return NONE.union(params["cond"].effects, *[s.jaxpr.effects for s in params["sweeps"]])

    def run(self, *xs: Any, cond: Jaxpr, consts: int, sweeps: tuple[Sweep, ...]) -> tuple[Any, ...]:
        outs: list[Any] = []
        stack: list[list[Any]] = []  # what each run pushed, by all sweeps so far
        at = consts
        for number, s in enumerate(sweeps):
            same, state = xs[at : at + s.consts], list(xs[at + s.consts : at + s.consts + s.carry])
            at += s.consts + s.carry
            if number == 0:
                while execute(cond, [*xs[:consts], *state])[0]:
                    found = execute(s.jaxpr, [*same, *state])
                    state = list(found[: s.carry])
                    stack.append(list(found[s.carry :]))
            else:
                for record in reversed(stack) if number % 2 else stack:
                    found = execute(s.jaxpr, [*same, *state, *[record[i] for i in s.reads]])
                    state = list(found[: s.carry])
                    record += found[s.carry :]
            outs += state
        return tuple([np.array(x)[()] for x in outs])

    kernel = on_request


while_loop = While("while_loop")
