"""interpret: run a program equation by equation on any operands, concrete or traced. The meaning of a Jaxpr."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..core.builder import located
from ..core.ir import Jaxpr, Literal
from ..core.trace import apply_equation
from ..core.types import WEAK, ShapedArray


def interpret(jaxpr: Jaxpr, args: Sequence[Any]) -> list[Any]:
    """Outputs of a program; its consts come first among the inputs and are not given.

    Concrete operands give arrays by NumPy; traced ones emit the program into their trace.
    """
    env: dict[Any, Any] = dict(zip(jaxpr.inputs, [*jaxpr.consts, *args], strict=True))
    with located() as at:
        for e in jaxpr.eqns:
            at(jaxpr, e)
            xs = [a.value if type(a) is Literal else env[a] for a in e.inputs]
            outs = apply_equation(e, xs)
            if len(e.outputs) == 1:
                env[e.outputs[0]] = outs
            else:
                env.update(zip(e.outputs, outs, strict=True))
    return [a.value if type(a) is Literal else env[a] for a in jaxpr.outputs]


def strict_values(xs: Iterable[Any], types: Iterable[ShapedArray]) -> list[Any]:
    """Operands for the rules of a region: Python numbers become NumPy scalars of their types."""
    return [t.dtype.type(x) if type(x) in WEAK else x for x, t in zip(xs, types, strict=True)]
