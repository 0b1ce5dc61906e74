"""custom_jvp, custom_vjp: programs with derivative rules of the user's, which are programs too.

The first `captured` operands are values that the function closed over; the rules say nothing of them, so they may not
be differentiated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from ..core.builder import trace
from ..core.dependence import depends
from ..core.effects import Effects
from ..core.errors import GradError, message
from ..core.ir import Eqn, Jaxpr, Var
from ..core.primitive import Region, is_linear, space
from ..core.types import ShapedArray
from ..passes.interpret import interpret
from ..passes.jvp import jvp_program
from ..passes.linearize import linear_parts
from ..passes.transpose import parted, zeros
from ..passes.vmap import batch_program
from .call import execute, inlined, memo, transposed_program


def _check_captured(kind: str, flags: Sequence[bool], captured: int, name: str) -> None:
    if any(flags[:captured]):
        raise GradError(
            message(
                f"{kind} function '{name}' closes over a value that is being differentiated",
                do="pass the value as an argument, so that the rule can give its derivative",
            )
        )


def _filled(tangents: Sequence[Any], types: Sequence[ShapedArray]) -> list[Any]:
    return [zeros(t) if x is None else x for x, t in zip(tangents, types, strict=True) if t.inexact]


class Later:
    """The rules of a function that its own rules call: made when a derivative is taken through that inner call.

    `make()` returns values that the programs capture, and the params of the region; it is called once.
    """

    def __init__(self, make: Callable[[], tuple[list[Any], dict[str, Any]]]):
        self.make = make

    def __repr__(self) -> str:
        return "later"

    @cached_property
    def made(self) -> tuple[list[Any], dict[str, Any]]:
        """Captured values, and params with the rules as programs."""
        return self.make()


class _Custom(Region):
    """What both kinds share: the primal program and its types."""

    def typeof(self, *types: ShapedArray, **params: Any) -> tuple[ShapedArray, ...]:
        return params["jaxpr"].out_types

    def effects(self, *types: ShapedArray, **params: Any) -> Effects:
        return params["jaxpr"].effects

    def dependent(self, flags: Sequence[bool], **params: Any) -> Sequence[bool]:
        return depends(params["jaxpr"], flags)

    def run(self, *xs: Any, **params: Any) -> tuple[Any, ...]:
        return execute(params["jaxpr"], xs)

    def inside(self, **params: Any) -> Jaxpr | None:
        return params["jaxpr"]  # type: ignore[no-any-return]

    def batch(self, size: int, mapped: Sequence[bool], *xs: Any, **params: Any) -> Any:
        batched, marks = self.batched(size, tuple(mapped), **params)
        return _results(self(*xs, **batched), batched["jaxpr"]), marks

    def batched(self, size: int, mapped: tuple[bool, ...], **params: Any) -> tuple[dict[str, Any], Sequence[bool]]:
        """Params of the batched region, and which outputs are mapped: all."""
        raise self._missing("batched")

    def batched_later(self, later: Later, size: int, mapped: Sequence[bool]) -> Later:
        """Rules made later, then batched; `mapped` is of the operands behind the captured values."""

        def make() -> tuple[list[Any], dict[str, Any]]:
            captured, params = later.made
            return captured, self.batched(size, (*[False] * len(captured), *mapped), **params)[0]

        return Later(make)


class CustomJvp(_Custom):
    """`rule`: captured, operands, tangents of the inexact operands -> outputs, tangents of the inexact outputs."""

    def jvp(self, tangents: Sequence[Any], *xs: Any, jaxpr: Jaxpr, rule: Any, captured: int, name: str) -> Any:
        _check_captured("the custom_jvp", [t is not None for t in tangents], captured, name)
        if type(rule) is Later:
            values, params = rule.made
            return self.jvp([*[None] * len(values), *tangents[captured:]], *values, *xs[captured:], **params)
        types = jaxpr.in_types
        results = interpret(rule, [*xs, *_filled(tangents[captured:], types[captured:])])
        n = len(jaxpr.outputs)
        rest = iter(results[n:])
        return results[:n], [next(rest) if t.inexact else None for t in jaxpr.out_types]

    def linearize(self, active: Sequence[bool], *xs: Any, jaxpr: Jaxpr, rule: Any, captured: int, name: str) -> Any:
        active = tuple(active)
        _check_captured("the custom_jvp", active, captured, name)
        if type(rule) is Later:
            values, params = rule.made
            return self.linearize([*[False] * len(values), *active[captured:]], *values, *xs[captured:], **params)
        primal, linear, count = memo(rule, ("split", active), lambda: self._split(jaxpr, rule, captured, active))
        results = interpret(primal, xs)
        n = len(jaxpr.outputs)
        return results[:n], results[n : n + count], tuple(t.inexact for t in jaxpr.out_types), linear

    @staticmethod
    def _split(jaxpr: Jaxpr, rule: Jaxpr, captured: int, active: tuple[bool, ...]) -> tuple[Jaxpr, Jaxpr, int]:
        """The rule as primal program with residuals, and linear program of the active tangents."""
        n = len(jaxpr.inputs)
        primal, linear, count = split_linear(inlined(rule), n, len(jaxpr.outputs))
        types = jaxpr.in_types

        def program(*args: Any) -> list[Any]:
            ts = iter(args[count:])
            tangents = [next(ts) if a else None for a in active]
            return interpret(linear, [*args[:count], *_filled(tangents[captured:], types[captured:])])

        ins = [v.type for v in linear.inputs[:count]] + [t for t, a in zip(types, active, strict=True) if a]
        return primal, trace(program, ins, "custom_jvp", sites=False)[0], count

    def batched(self, size: int, mapped: tuple[bool, ...], **params: Any) -> tuple[dict[str, Any], Sequence[bool]]:
        jaxpr, rule, captured = params["jaxpr"], params["rule"], params["captured"]
        body, marks = memo(jaxpr, ("batch all", mapped, size), lambda: batch_program(jaxpr, mapped, size, True))
        if type(rule) is Later:
            return {**params, "jaxpr": body, "rule": self.batched_later(rule, size, mapped[captured:])}, marks
        inexact = [m for m, t in zip(mapped[captured:], jaxpr.in_types[captured:], strict=True) if t.inexact]
        ruled, _ = memo(rule, ("batch all", mapped, size), lambda: batch_program(rule, [*mapped, *inexact], size, True))
        return {**params, "jaxpr": body, "rule": ruled}, marks

    def samples(self, draw: Any) -> Any:
        t = draw.type()
        p = draw.registry
        jaxpr, _ = trace(lambda x: [p.sin(x)], [t], "a sample")
        rule, _ = trace(lambda x, u: [p.sin(x), p.mul(p.cos(x), u)], [t, t], "a sample")
        return [draw.array(t.shape)], {"jaxpr": jaxpr, "rule": rule, "captured": 0, "name": "sample"}


def split_linear(rule: Jaxpr, known: int, outs: int) -> tuple[Jaxpr, Jaxpr, int]:
    """Split a program at what depends on inputs behind the first `known`.

    Returns (primal: known inputs -> first `outs` outputs, residuals; linear: residuals, other inputs -> other outputs;
    number of residuals).
    """
    linear_vars: set[Any] = set(rule.inputs[known:])
    first, second = [], []
    for e in rule.eqns:
        flags = [a in linear_vars for a in e.inputs]
        if not any(flags):
            first.append(e)
            continue
        e, primals = parted(e, flags)
        if primals is not None:
            first.append(primals)
        linear_vars.update(e.outputs)
        second.append(e)
    if any(a in linear_vars for a in rule.outputs[:outs]):  # a region computes primals and tangents together
        return _linearized(rule, known, outs)
    needed: dict[Var, None] = {}
    for e in second:
        needed.update({a: None for a in e.inputs if type(a) is Var and a not in linear_vars})
    needed.update({a: None for a in rule.outputs[outs:] if type(a) is Var and a not in linear_vars})
    residuals = list(needed)
    primal = Jaxpr(rule.inputs[:known], first, [*rule.outputs[:outs], *residuals], (), rule.sites)
    fresh = {v: Var(v.type) for v in [*residuals, *rule.inputs[known:]]}
    moved = [Eqn(e.primitive, [fresh.get(a, a) for a in e.inputs], e.params, e.outputs, e.origin) for e in second]
    inputs = [fresh[v] for v in [*residuals, *rule.inputs[known:]]]
    linear = Jaxpr(inputs, moved, [fresh.get(a, a) for a in rule.outputs[outs:]], (), rule.sites)
    return primal, linear, len(residuals)


def _linearized(rule: Jaxpr, known: int, outs: int) -> tuple[Jaxpr, Jaxpr, int]:
    """As `split_linear`, by the derivative of the rule where the other inputs are zero: it is linear in them."""
    types = rule.in_types
    primal, linear, count, active = linear_parts(rule, [i >= known for i in range(len(types))])
    if any(active[:outs]):
        raise GradError(
            message(
                "the value that a custom_jvp rule returns depends on its tangents",
                do="return (fun(*primals), tangent): only the second depends on tangents, linearly",
            )
        )

    def values(*xs: Any) -> list[Any]:
        results = interpret(primal, [*xs, *[zeros(t) for t in types[known:]]])
        return [*results[:outs], *results[len(rule.outputs) :]]

    def tangents(*args: Any) -> list[Any]:
        found = iter(interpret(linear, args))
        return [next(found) if a else zeros(t) for a, t in zip(active[outs:], rule.out_types[outs:], strict=True)]

    first, _ = trace(values, types[:known], "custom_jvp", sites=False)
    second, _ = trace(tangents, linear.in_types, "custom_jvp", sites=False)
    return first, second, count


def _results(out: Any, jaxpr: Jaxpr) -> list[Any]:
    return [out] if len(jaxpr.outputs) == 1 else list(out)


class CustomVjp(_Custom):
    """`fwd`: operands -> outputs, residuals; `bwd`: residuals, cotangents -> cotangents, of what is inexact."""

    def jvp(self, tangents: Sequence[Any], *xs: Any, **params: Any) -> Any:
        active = [t is not None for t in tangents]
        outs, residuals, out_active, linear = self.linearize(active, *xs, **params)
        found = iter(interpret(linear, [*residuals, *[t for t in tangents if t is not None]]))
        return outs, [next(found) if a else None for a in out_active]

    def linearize(
        self, active: Sequence[bool], *xs: Any, jaxpr: Jaxpr, fwd: Any, bwd: Any, captured: int, name: str
    ) -> Any:
        active = tuple(active)
        _check_captured("the custom_vjp", active, captured, name)
        if type(bwd) is Later:
            values, params = bwd.made
            return self.linearize([*[False] * len(values), *active[captured:]], *values, *xs[captured:], **params)
        results = interpret(fwd, xs)
        n = len(jaxpr.outputs)
        residuals = results[n:]
        linear = memo(
            bwd,
            ("linear", active, len(residuals)),
            lambda: self._linear(jaxpr, bwd, captured, active, len(residuals), name),
        )
        return results[:n], residuals, tuple(t.inexact for t in jaxpr.out_types), linear

    @staticmethod
    def _linear(jaxpr: Jaxpr, bwd: Jaxpr, captured: int, active: tuple[bool, ...], count: int, name: str) -> Jaxpr:
        types = jaxpr.in_types

        def program(*args: Any) -> list[Any]:
            ts = iter(args[count:])
            tangents = [next(ts) if a else None for a in active]
            filled = _filled(tangents[captured:], types[captured:])
            return _results(
                custom_linear(*args[:count], *filled, bwd=bwd, residuals=count, name=name),
                _Outs(len(bwd.in_types) - count),
            )

        ins = [*bwd.in_types[:count], *[t for t, a in zip(types, active, strict=True) if a]]
        return trace(program, ins, "custom_vjp", sites=False)[0]

    def batched(self, size: int, mapped: tuple[bool, ...], **params: Any) -> tuple[dict[str, Any], Sequence[bool]]:
        jaxpr, fwd, bwd, captured = params["jaxpr"], params["fwd"], params["bwd"], params["captured"]
        body, marks = memo(jaxpr, ("batch all", mapped, size), lambda: batch_program(jaxpr, mapped, size, True))
        if type(bwd) is Later:
            later = self.batched_later(bwd, size, mapped[captured:])
            return {**params, "jaxpr": body, "fwd": later, "bwd": later}, marks
        ahead, _ = memo(fwd, ("batch all", mapped, size), lambda: batch_program(fwd, mapped, size, True))
        back, _ = memo(bwd, ("batch all", size), lambda: batch_program(bwd, [True] * len(bwd.inputs), size, True))
        mine = tuple(m for m, t in zip(mapped[captured:], jaxpr.in_types[captured:], strict=True) if t.inexact)
        if not all(mine):
            back = memo(back, ("summed", mine), lambda: _summed(back, mine))
        return {**params, "jaxpr": body, "fwd": ahead, "bwd": back}, marks

    def samples(self, draw: Any) -> Any:
        t = draw.type()
        p = draw.registry
        jaxpr, _ = trace(lambda x: [p.sin(x)], [t], "a sample")
        fwd, _ = trace(lambda x: [p.sin(x), p.cos(x)], [t], "a sample")
        bwd, _ = trace(lambda c, ct: [p.mul(c, ct)], [t, t], "a sample")
        return [draw.array(t.shape)], {"jaxpr": jaxpr, "fwd": fwd, "bwd": bwd, "captured": 0, "name": "sample"}


class _Outs:
    """Just enough of a program for `_results`: a number of outputs."""

    def __init__(self, n: int):
        self.outputs = (None,) * n


def _summed(bwd: Jaxpr, mapped: Sequence[bool]) -> Jaxpr:
    """A batched backward program whose cotangents of unmapped operands are summed over the lanes."""

    def program(*args: Any) -> list[Any]:
        outs = interpret(bwd, args)
        return [y if m else space.total(y) for y, m in zip(outs, mapped, strict=True)]

    return trace(program, bwd.in_types, "vmap", sites=False)[0].closed()


class CustomLinear(Region):
    """The linear map whose transpose is the backward rule `bwd`: residuals, tangents -> tangents.

    Running it transposes the rule, which must then be linear in its cotangents; transposing it runs the rule.
    """

    def typeof(self, *types: ShapedArray, bwd: Jaxpr, residuals: int, name: str) -> tuple[ShapedArray, ...]:
        return bwd.in_types[residuals:]

    def effects(self, *types: ShapedArray, **params: Any) -> Effects:
        return params["bwd"].effects

    def forward(self, bwd: Jaxpr, residuals: int) -> Jaxpr:
        """The rule transposed, as a program."""

        def make() -> Jaxpr:
            n = len(bwd.inputs)
            flags = tuple(i >= residuals for i in range(n))
            program, present = transposed_program(inlined(bwd), flags, (True,) * len(bwd.outputs), (False,) * n)

            def full(*args: Any) -> list[Any]:
                found = iter(interpret(program, args))
                return [next(found) if p else zeros(t) for p, t in zip(present, bwd.in_types[residuals:], strict=True)]

            return trace(full, [*bwd.in_types[:residuals], *bwd.out_types], "custom_vjp", sites=False)[0].closed()

        return memo(bwd, "forward", make)

    def run(self, *xs: Any, bwd: Jaxpr, residuals: int, name: str) -> tuple[Any, ...]:
        return execute(self.forward(bwd, residuals), xs)

    def inside(self, *, bwd: Jaxpr, residuals: int, name: str) -> Jaxpr | None:
        return self.forward(bwd, residuals)

    def jvp(self, tangents: Sequence[Any], *xs: Any, bwd: Jaxpr, residuals: int, name: str) -> Any:
        body = self.forward(bwd, residuals)
        active = tuple(t is not None for t in tangents)
        program, out_active = memo(body, ("jvp", active), lambda: jvp_program(body, active))
        results = interpret(program, [*xs, *[t for t in tangents if t is not None]])
        rest = iter(results[len(body.outputs) :])
        return results[: len(body.outputs)], [next(rest) if a else None for a in out_active]

    def linearize(self, active: Sequence[bool], *xs: Any, bwd: Jaxpr, residuals: int, name: str) -> Any:
        body = self.forward(bwd, residuals)
        active = tuple(active)
        primal, linear, count, out_active = memo(body, ("linearize", active), lambda: linear_parts(body, active))
        results = interpret(primal, xs)
        n = len(body.outputs)
        return results[:n], results[n : n + count], out_active, linear

    def transpose(
        self, cts: Sequence[Any], accs: Sequence[Any], *xs: Any, bwd: Jaxpr, residuals: int, name: str
    ) -> Sequence[Any]:
        if any(is_linear(x) for x in xs[:residuals]):
            return super().transpose(cts, accs, *xs, bwd=bwd, residuals=residuals, name=name)
        filled = [zeros(t) if c is None else c for c, t in zip(cts, bwd.in_types[residuals:], strict=True)]
        outs = interpret(bwd, [*xs[:residuals], *filled])
        found = [o if is_linear(x) else None for o, x in zip(outs, xs[residuals:], strict=True)]
        added = [
            a if c is None else c if a is None else space.add(a, c)
            for a, c in zip(accs[residuals:], found, strict=True)
        ]
        return [*[None] * residuals, *added]

    def batch(self, size: int, mapped: Sequence[bool], *xs: Any, bwd: Jaxpr, residuals: int, name: str) -> Any:
        back, _ = memo(bwd, ("batch all", size), lambda: batch_program(bwd, [True] * len(bwd.inputs), size, True))
        lanes = [
            x if m else space.repeat(size, x, t)
            for x, m, t in zip(xs, mapped, [*bwd.in_types[:residuals], *bwd.out_types], strict=True)
        ]
        out = self(*lanes, bwd=back, residuals=residuals, name=name)
        count = len(bwd.in_types) - residuals
        return _results(out, _Outs(count)), [True] * count  # type: ignore[arg-type]

    def samples(self, draw: Any) -> Any:
        t = draw.type()
        bwd, _ = trace(lambda c, ct: [draw.registry.mul(c, ct)], [t, t], "a sample")
        return [draw.array(t.shape), draw.array(t.shape)], {"bwd": bwd, "residuals": 1, "name": "sample"}


custom_jvp = CustomJvp("custom_jvp")
custom_vjp = CustomVjp("custom_vjp")
custom_linear = CustomLinear("custom_linear")
