"""What the rules of loops and branches do with the programs they hold: permute, differentiate, split, slim down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core.builder import trace
from ..core.calls import renderer
from ..core.dependence import Flags, depends
from ..core.effects import KEPT
from ..core.errors import GradError, ProgramError, message
from ..core.ir import Eqn, Jaxpr, Literal, Var
from ..core.trace import signature
from ..core.types import ShapedArray, aval_of
from ..passes.interpret import interpret
from ..passes.jvp import jvp_program
from ..passes.linearize import linear_parts
from ..passes.transpose import zeros
from .call import memo, transposed_program
from .custom import split_linear


def picked(items: Sequence[Any], flags: Sequence[bool], value: bool = True) -> list[Any]:
    """The items whose flag is `value`."""
    return [x for x, f in zip(items, flags, strict=True) if bool(f) is value]


def type_of(x: Any) -> ShapedArray:
    """The type of an operand: an array, a Python number or a traced value."""
    return aval_of(signature(x))


def constless(jaxpr: Jaxpr) -> Jaxpr:
    """A body as it is: rules make the arrays that they need by equations, since bodies have no consts."""
    if jaxpr.consts:
        what = "the body of a loop or branch holds an array that a rule made"
        raise ProgramError(message(what, got=jaxpr.consts[0], do="make it by `stage` in the rule"))
    return jaxpr


def permuted(jaxpr: Jaxpr, inputs: Sequence[Any], outputs: Sequence[Any]) -> Jaxpr:
    """The same equations with inputs and outputs in another order, fewer outputs, or more inputs."""
    return Jaxpr(inputs, jaxpr.eqns, outputs, (), jaxpr.sites)


# -------------------------------------------------------------------------------------------------------- derivatives


def jvp_body(jaxpr: Jaxpr, active: Flags, force: Flags) -> tuple[Jaxpr, Flags]:
    """Inputs, active tangents -> outputs, tangents of those that are active or forced; and which these are."""

    def make() -> tuple[Jaxpr, Flags]:
        program, found = memo(jaxpr, ("jvp", active), lambda: jvp_program(jaxpr, active))
        flags = tuple(a or f for a, f in zip(found, force, strict=True))
        n = len(jaxpr.outputs)

        def filled(*args: Any) -> list[Any]:
            outs = interpret(program, args)
            rest = iter(outs[n:])
            tangents = [next(rest) if a else zeros(t) for a, t in zip(found, jaxpr.out_types, strict=True)]
            return [*outs[:n], *picked(tangents, flags)]

        if flags == found:
            return constless(program), flags
        return constless(trace(filled, program.in_types, "jvp", sites=False)[0]), flags

    return memo(jaxpr, ("jvp body", active, force), make)  # type: ignore[no-any-return]


def linear_body(
    jaxpr: Jaxpr, active: Flags, force: Flags, free: Sequence[bool], consts: int = 0
) -> tuple[Jaxpr, Jaxpr, list[Any], Flags]:
    """A program split at its derivative: (primal, linear, residuals, which outputs have tangents).

    primal: inputs -> outputs, residuals. linear: residuals, tangents of the active inputs -> tangents of the outputs
    that are active or forced. `residuals` are the variables of the primal program. To keep inputs that are `free`, and
    what depends on the first `consts` alone, costs nothing.
    """
    primal, linear, _, found = memo(jaxpr, ("linearize", active), lambda: linear_parts(jaxpr, active))
    flags = tuple(a or f for a, f in zip(found, force, strict=True))
    if flags != found:
        types = jaxpr.out_types

        def filled(*args: Any) -> list[Any]:
            rest = iter(interpret(linear, args))
            return picked([next(rest) if a else zeros(t) for a, t in zip(found, types, strict=True)], flags)

        linear = constless(trace(filled, linear.in_types, "linearize", sites=False)[0])
    primal, linear, residuals = slimmed(primal, linear, len(jaxpr.outputs), free, consts)
    return primal, linear, residuals, flags


def slimmed(
    primal: Jaxpr, linear: Jaxpr, outs: int, free: Sequence[bool], consts: int = 0
) -> tuple[Jaxpr, Jaxpr, list[Any]]:
    """The two programs with residuals that take less memory: cheap ones are computed again from others."""
    primal = renderer.simplify(constless(primal))
    residuals = primal.outputs[outs:]
    defs = {v: e for e in primal.eqns for v in e.outputs}
    costless = {*picked(primal.inputs, free), *invariant(primal, consts)}

    def cost(chosen: Sequence[Any]) -> int:
        return sum(v.type.size * v.type.dtype.itemsize for v in chosen if v not in costless)

    def sources(start: Any) -> dict[Any, None]:
        found: dict[Any, None] = {}
        todo, seen = [start], set()
        while todo:
            v = todo.pop()
            if v in seen or type(v) is Literal:
                continue
            seen.add(v)
            e = defs.get(v)
            if e is not None and e.primitive.cheap and v not in costless:
                todo.extend(e.inputs)
            else:
                found[v] = None
        return found

    kept = dict.fromkeys(a for a in residuals if type(a) is Var)
    everything = {v: None for r in kept for v in sources(r)}
    for r in list(kept):
        other = {v: None for v in kept if v is not r} | sources(r)
        if cost(list(other)) < cost(list(kept)):
            kept = other
    if cost(list(everything)) < cost(list(kept)):
        kept = everything
    if all(a in kept for a in residuals):
        chosen = list(dict.fromkeys(residuals))
        at = [chosen.index(a) for a in residuals]
        n = len(residuals)

        def same(*args: Any) -> list[Any]:
            return interpret(linear, [*[args[i] for i in at], *args[len(chosen) :]])

        if len(chosen) < n:
            types = [a.type for a in chosen]
            linear = constless(trace(same, [*types, *linear.in_types[n:]], "linearize", sites=False)[0])
        return permuted(primal, primal.inputs, [*primal.outputs[:outs], *chosen]), renderer.simplify(linear), chosen
    chosen = list(kept)
    again = upto(primal, chosen, residuals)

    def recomputing(*args: Any) -> list[Any]:
        return interpret(linear, [*interpret(again, args[: len(chosen)]), *args[len(chosen) :]])

    types = [v.type for v in chosen]
    found, _ = trace(recomputing, [*types, *linear.in_types[len(residuals) :]], "linearize", sites=False)
    smaller = permuted(primal, primal.inputs, [*primal.outputs[:outs], *chosen])
    return smaller, renderer.simplify(constless(found)), chosen


def upto(jaxpr: Jaxpr, known: Sequence[Any], wanted: Sequence[Any]) -> Jaxpr:
    """The part of a program that computes `wanted` from `known`, which are variables of it."""
    have, needed = set(known), {a for a in wanted if type(a) is Var}
    eqns: list[Eqn] = []
    for e in reversed(jaxpr.eqns):
        if any(v in needed and v not in have for v in e.outputs):
            eqns.append(e)
            needed.update(a for a in e.inputs if type(a) is Var)
    fresh = {v: Var(v.type) for v in known}
    moved = [Eqn(e.primitive, [fresh.get(a, a) for a in e.inputs], e.params, e.outputs, e.origin) for e in eqns[::-1]]
    return Jaxpr([fresh[v] for v in known], moved, [fresh.get(a, a) for a in wanted], (), jaxpr.sites)


def invariant(jaxpr: Jaxpr, consts: int) -> set[Any]:
    """Variables of a body that depend on its first inputs alone, by equations that may run where the loop does not."""
    same: set[Any] = set(jaxpr.inputs[:consts])
    for e in jaxpr.eqns:
        if not e.effects and all(type(a) is Literal or a in same for a in e.inputs):
            same.update(e.outputs)
    return same


# ---------------------------------------------------------------------------------------------------------- transpose


def partition(jaxpr: Jaxpr, linear: Flags, carry: Flags) -> tuple[Jaxpr, Jaxpr, list[Any], Flags]:
    """A program split at what depends on some of its inputs, linearly: (known, linear, residuals, linear outputs).

    known: other inputs -> other outputs, residuals. linear: residuals, those inputs -> those outputs. `residuals` are
    the variables of the known program. carry: which of the first outputs are linear in any case, as a carry is that
    starts so: a run may make it zero.
    """

    def make() -> tuple[Jaxpr, Jaxpr, list[Any], Flags]:
        found = depends(jaxpr, linear)
        marks = (*[a or f for a, f in zip(found, carry, strict=False)], *found[len(carry) :])
        inputs = [*picked(jaxpr.inputs, linear, False), *picked(jaxpr.inputs, linear)]
        outputs = [*picked(jaxpr.outputs, marks, False), *picked(jaxpr.outputs, marks)]
        known, outs = len(inputs) - sum(linear), len(outputs) - sum(marks)
        first, second, _ = split_linear(permuted(jaxpr, inputs, outputs), known, outs)
        first, second, residuals = slimmed(first, second, outs, [False] * known)
        return first, second, residuals, marks

    return memo(jaxpr, ("partition", linear, carry), make)  # type: ignore[no-any-return]


def pulled_body(jaxpr: Jaxpr, linear: Flags, cts: Flags, accs: Flags) -> tuple[Jaxpr, Flags]:
    """Known inputs, cotangents, accumulators -> new accumulators of linear inputs; and which of them there are."""
    key = ("transpose", linear, cts, accs)
    program, present = memo(jaxpr, key, lambda: transposed_program(jaxpr, linear, cts, accs))
    return renderer.simplify(constless(program)), present


# ------------------------------------------------------------------------------------------------------------ effects


def silent(jaxpr: Jaxpr, what: str) -> Jaxpr:
    """A program that runs a second time: without what the first run did for its effects alone.

    Raises `GradError`, which says `what` would run again, where results of such equations are used.
    """
    if not jaxpr.effects & KEPT:
        return jaxpr
    used = {a for e in jaxpr.eqns for a in e.inputs} | set(jaxpr.outputs)
    eqns = []
    for e in jaxpr.eqns:
        if not e.effects & KEPT:
            eqns.append(e)
        elif e.primitive.region:
            params = {name: _each_program(value, what) for name, value in e.params.items()}
            eqns.append(Eqn(e.primitive, e.inputs, params, e.outputs, e.origin))
        elif any(v in used for v in e.outputs):
            function = e.params.get("function")  # of a callback
            raise GradError(
                message(
                    f"{function.title if function else e.primitive}: the derivative of a {what} would call it again, "
                    "since what it returned in an unknown number of runs is not kept",
                    do="make the loop a lax.scan, or a fori_loop between static bounds, which keep it; make it a "
                    "pure_callback, if it may be called again; or wrap what the loop starts from in lax.stop_gradient, "
                    "if its result is to count as a constant",
                    site=function.site if function else None,
                )
            )
    return Jaxpr(jaxpr.inputs, eqns, jaxpr.outputs, (), jaxpr.sites)


def _each_program(value: Any, what: str) -> Any:
    """A param with the programs in it silent."""
    if type(value) is Jaxpr:
        return silent(value, what)
    if not isinstance(value, tuple):
        return value
    parts = [_each_program(v, what) for v in value]
    return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
