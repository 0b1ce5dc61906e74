"""checkpoint: a program that keeps only its inputs and computes the rest again where its derivative is needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core.builder import trace
from ..core.effects import ORDERED
from ..core.errors import MissingRuleError, message
from ..core.ir import Jaxpr
from ..passes.linearize import linear_parts
from .call import Call, interpret, memo, one_equation


def _recomputing(jaxpr: Jaxpr, active: tuple[bool, ...]) -> tuple[Jaxpr, tuple[bool, ...]]:
    """Inputs, active tangents -> tangents of the active outputs, with the primal computed again inside."""
    primal, linear, count, out_active = linear_parts(jaxpr, active)

    def program(*args: Any) -> list[Any]:
        n, m = len(jaxpr.inputs), len(jaxpr.outputs)
        results = interpret(primal, args[:n])
        return interpret(linear, [*results[m : m + count], *args[n:]])

    types = [v.type for v in jaxpr.inputs]
    found, _ = trace(
        program, [*types, *[t for t, a in zip(types, active, strict=True) if a]], "checkpoint", sites=False
    )
    return found, out_active


class Checkpoint(Call):
    """As `call`, but its linear half is a region that computes the primal again; nothing crosses its border."""

    def inside(self, *, jaxpr: Jaxpr, name: str) -> Jaxpr | None:
        return None

    def linearize(self, active: Sequence[bool], *xs: Any, jaxpr: Jaxpr, name: str) -> Any:
        active = tuple(active)
        if jaxpr.effects & ORDERED:
            raise MissingRuleError(
                message(
                    f"checkpoint of '{name}': io_callback would be called again, as the function is computed again for "
                    "its derivative",
                    do="call io_callback outside of the checkpointed function; debug.callback may be called again",
                )
            )
        outs = self(*xs, jaxpr=jaxpr, name=name)
        program, out_active = memo(jaxpr, ("recompute", active), lambda: _recomputing(jaxpr, active))
        closed = memo(program, "closed", program.closed)
        outer = memo(closed, "one", lambda: one_equation(self, closed.in_types, {"jaxpr": closed, "name": name}))
        return ([outs] if len(jaxpr.outputs) == 1 else outs), [*program.consts, *xs], out_active, outer


checkpoint = Checkpoint("checkpoint")
