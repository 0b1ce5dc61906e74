"""transpose: from a program that is linear in some inputs to the cotangents of these, accumulated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core.builder import located
from ..core.check import checking
from ..core.dependence import dependent
from ..core.effects import ORDERED
from ..core.errors import ProgramError, message
from ..core.ir import Eqn, Jaxpr, Literal, Var
from ..core.primitive import Linear as Linear
from ..core.primitive import is_linear, not_linear, space
from ..core.trace import apply_equation
from ..core.types import ShapedArray


def zeros(type: ShapedArray) -> Any:
    """An array of zeros: an equation while a program is built, else an ndarray."""
    return space.zeros(type)


def parted(e: Eqn, linear: Sequence[bool]) -> tuple[Eqn, Eqn | None]:
    """An equation with linear operands for its outputs that depend on these, and for the others, if there are any.

    Only regions have such others, which compute primals and tangents together.
    """
    mine = dependent(e, linear)
    if len(mine) == len(e.outputs):
        return e, None
    region: Any = e.primitive
    known = region.pruned(e, [v not in mine for v in e.outputs])
    tangled = any(f and a in known.inputs for a, f in zip(e.inputs, linear, strict=True))
    return (e, None) if tangled else (region.pruned(e, [v in mine for v in e.outputs]), known)


def transpose(jaxpr: Jaxpr, xs: Sequence[Any], accs: Sequence[Any], cts: Sequence[Any]) -> list[Any]:
    """New accumulators of the linear inputs.

    `xs` has a value or `Linear(type)` for each input behind the consts, `accs` what has been accumulated so far (None:
    nothing), `cts` the cotangents of the outputs (None: zero). Equations on known values run forward first; the linear
    ones are then walked backwards. The pairing is <a, b> = Re sum(a * b), without conjugation.
    """
    env: dict[Any, Any] = dict(zip(jaxpr.inputs, [*jaxpr.consts, *xs], strict=True))
    tape = []

    def read(e: Eqn) -> list[Any]:
        return [a.value if type(a) is Literal else env[a] for a in e.inputs]

    with located() as at:
        for e in jaxpr.eqns:
            operands = read(e)
            flags = [is_linear(x) for x in operands]
            known: Eqn | None = e
            if any(flags):
                e, known = parted(e, flags)
                for v in e.outputs:
                    env[v] = Linear(v.type)
                tape.append((e, read(e)))
            if known is not None:
                at(jaxpr, known)
                outs = apply_equation(known, read(known))
                env.update(zip(known.outputs, [outs] if len(known.outputs) == 1 else outs, strict=True))

    consts = len(jaxpr.consts)
    acc: dict[Any, Any] = {
        v: a for v, a, x in zip(jaxpr.inputs[consts:], accs, xs, strict=True) if is_linear(x) and a is not None
    }

    def put(a: Any, ct: Any) -> None:
        if ct is not None and type(a) is Var and is_linear(env[a]):
            acc[a] = space.add(acc[a], ct) if a in acc else ct

    for a, ct in zip(jaxpr.outputs, cts, strict=True):
        put(a, ct)
    with located() as at:
        for e, operands in reversed(tape):
            out_cts = [acc.pop(v, None) for v in e.outputs]
            at(jaxpr, e)
            if all([ct is None for ct in out_cts]):
                if e.effects & ORDERED and not (e.primitive.region and e.outputs):
                    raise not_linear(e.primitive.name)
                continue
            # an operand that occurs twice hands its accumulator over once
            first = [type(a) is Var and a not in e.inputs[:i] for i, a in enumerate(e.inputs)]
            held = [f and is_linear(x) for f, x in zip(first, operands, strict=True)]
            given = [acc.get(a) if h else None for a, h in zip(e.inputs, held, strict=True)]
            new = e.primitive.transpose(out_cts, given, *operands, **e.params)
            for a, h, x, ct in zip(e.inputs, held, operands, new, strict=True):
                if ct is not None and is_linear(x):
                    if checking() and (tuple(ct.shape), ct.dtype) != (x.type.shape, x.type.dtype):
                        what = f"'{e.primitive}' transposed an operand of type {x.type} into {ct.dtype}{list(ct.shape)}"
                        raise ProgramError(message(what, do="mend the primitive's transpose rule"))
                    if h:
                        acc[a] = ct
                    else:
                        put(a, ct)
    return [acc.get(v) if is_linear(x) else None for v, x in zip(jaxpr.inputs[consts:], xs, strict=True)]
