"""call: a program as one equation, which is what jit inside jit leaves. Transformed once, however often called."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..core.builder import trace
from ..core.dependence import depends, pruned
from ..core.effects import KEPT, Effects
from ..core.ir import Eqn, Jaxpr, Var
from ..core.primitive import Region, is_linear
from ..core.types import ShapedArray
from ..passes.interpret import interpret
from ..passes.jvp import jvp_program
from ..passes.linearize import linear_parts
from ..passes.quiet import quietly
from ..passes.render import render_program
from ..passes.transpose import Linear, transpose
from ..passes.vmap import batch_program


def memo(jaxpr: Jaxpr, key: Any, make: Any) -> Any:
    """What `make()` gives for this program, made once."""
    found = jaxpr.derived.get(key)
    if found is None:
        found = jaxpr.derived[key] = make()
    return found


def execute(jaxpr: Jaxpr, xs: Sequence[Any]) -> tuple[Any, ...]:
    """Run a closed program on arrays by NumPy calls."""
    function = memo(jaxpr, "render", lambda: render_program(jaxpr))
    return quietly(function, *xs)


class _Executor:
    """How regions run outside every trace: a slot that the compiler fills, so that this folder need not know it."""

    run: Callable[[Jaxpr, Sequence[Any]], tuple[Any, ...]] = staticmethod(execute)


class _Plain(threading.local):
    """Whether regions of this thread run as NumPy calls."""

    on = False


executor = _Executor()
plain = _Plain()


@contextmanager
def plainly() -> Iterator[None]:
    """The time in which regions run as NumPy calls in this thread."""
    before, plain.on = plain.on, True
    try:
        yield
    finally:
        plain.on = before


def run_program(jaxpr: Jaxpr, xs: Sequence[Any]) -> tuple[Any, ...]:
    """Run a closed program on arrays: compiled, if there is a compiler and nobody asked for NumPy calls."""
    return execute(jaxpr, xs) if plain.on else executor.run(jaxpr, xs)


def on_request(self: Region, *types: ShapedArray, **params: Any) -> Callable[..., Any]:
    """`Region.kernel` of what is worth compiling: as a program of one equation."""
    program = one_equation(self, types, params)

    def run(*xs: Any) -> Any:
        outs = self.run(*xs, **params) if plain.on else executor.run(program, xs)
        return outs[0] if len(program.outputs) == 1 else tuple(outs)

    return run


def one_equation(region: Region, types: Sequence[ShapedArray], params: dict[str, Any]) -> Jaxpr:
    """A program that is one application of a region."""
    inputs = [Var(t) for t in types]
    outputs = [Var(t) for t in region.typeof(*types, **params)]
    return Jaxpr(inputs, [Eqn(region, inputs, params, outputs)], outputs)


def transposed_program(
    jaxpr: Jaxpr, linear: tuple[bool, ...], cts: tuple[bool, ...], accs: tuple[bool, ...]
) -> tuple[Jaxpr, tuple[bool, ...]]:
    """Of a closed program: known inputs, cotangents that are there, accumulators that are there -> new accumulators.

    The second result says which linear inputs have one.
    """
    present: tuple[bool, ...] = ()

    def program(*args: Any) -> list[Any]:
        nonlocal present
        it = iter(args)
        xs = [Linear(v.type) if k else next(it) for v, k in zip(jaxpr.inputs, linear, strict=True)]
        given = [next(it) if c else None for c in cts]
        found = [next(it) if a else None for a in accs]
        out = [r for r, k in zip(transpose(jaxpr, xs, found, given), linear, strict=True) if k]
        present = tuple(r is not None for r in out)
        return [r for r in out if r is not None]

    types = [v.type for v, k in zip(jaxpr.inputs, linear, strict=True) if not k]
    types += [a.type for a, c in zip(jaxpr.outputs, cts, strict=True) if c]
    types += [v.type for v, a in zip(jaxpr.inputs, accs, strict=True) if a]
    found, _ = trace(program, types, "transpose", sites=False)
    return found, present


class Call(Region):
    """Outputs of the program `jaxpr` on the operands; `name` is for people."""

    def bind_program(self, program: Jaxpr, xs: Sequence[Any], name: str) -> list[Any]:
        """Apply to a program with consts."""
        if not program.outputs and not program.effects & KEPT:
            return []
        closed = memo(program, "closed", program.closed)
        out = self(*program.consts, *xs, jaxpr=closed, name=name)
        return [out] if len(closed.outputs) == 1 else list(out)

    def typeof(self, *types: ShapedArray, jaxpr: Jaxpr, name: str) -> tuple[ShapedArray, ...]:
        return jaxpr.out_types

    def effects(self, *types: ShapedArray, **params: Any) -> Effects:
        return params["jaxpr"].effects

    def dependent(self, flags: Sequence[bool], **params: Any) -> Sequence[bool]:
        return depends(params["jaxpr"], flags)

    def pruned(self, e: Eqn, flags: Sequence[bool]) -> Eqn:
        body = e.params["jaxpr"]
        chosen = lambda items, flags: [x for x, f in zip(items, flags, strict=True) if f]  # noqa: E731
        smaller, used = memo(body, ("pruned", tuple(flags)), lambda: pruned(body, chosen(body.outputs, flags)))
        return Eqn(self, chosen(e.inputs, used), {**e.params, "jaxpr": smaller}, chosen(e.outputs, flags), e.origin)

    def run(self, *xs: Any, jaxpr: Jaxpr, name: str) -> tuple[Any, ...]:
        return run_program(jaxpr, xs)

    def inside(self, *, jaxpr: Jaxpr, name: str) -> Jaxpr | None:
        return jaxpr

    def jvp(self, tangents: Sequence[Any], *xs: Any, jaxpr: Jaxpr, name: str) -> tuple[Sequence[Any], Sequence[Any]]:
        active = tuple(t is not None for t in tangents)
        program, out_active = memo(jaxpr, ("jvp", active), lambda: jvp_program(jaxpr, active))
        outs = self.bind_program(program, [*xs, *[t for t in tangents if t is not None]], name)
        n = len(jaxpr.outputs)
        rest = iter(outs[n:])
        return outs[:n], [next(rest) if a else None for a in out_active]

    def linearize(self, active: Sequence[bool], *xs: Any, jaxpr: Jaxpr, name: str) -> Any:
        active = tuple(active)
        primal, linear, count, out_active = memo(jaxpr, ("linearize", active), lambda: linear_parts(jaxpr, active))
        results = self.bind_program(primal, xs, name)
        n = len(jaxpr.outputs)
        outer = memo(linear, "one", lambda: one_equation(self, linear.in_types, {"jaxpr": linear, "name": name}))
        return results[:n], results[n : n + count], out_active, outer

    def transpose(self, cts: Sequence[Any], accs: Sequence[Any], *xs: Any, jaxpr: Jaxpr, name: str) -> Sequence[Any]:
        linear = tuple(is_linear(x) for x in xs)
        have = tuple(c is not None for c in cts)
        held = tuple(a is not None for a in accs)
        program, present = memo(
            jaxpr, ("transpose", linear, have, held), lambda: transposed_program(jaxpr, linear, have, held)
        )
        known = [x for x in xs if not is_linear(x)]
        outs = iter(
            self.bind_program(
                program, [*known, *[c for c in cts if c is not None], *[a for a in accs if a is not None]], name
            )
        )
        flags = iter(present)
        return [next(outs) if k and next(flags) else None for k in linear]

    def batch(self, size: int, mapped: Sequence[bool], *xs: Any, jaxpr: Jaxpr, name: str) -> Any:
        mapped = tuple(mapped)
        program, out_mapped = memo(jaxpr, ("batch", mapped, size), lambda: batch_program(jaxpr, mapped, size))
        return self.bind_program(program, xs, name), out_mapped

    def samples(self, draw: Any) -> Any:
        t = draw.type()
        jaxpr, _ = trace(
            lambda x, w: [draw.registry.mul(draw.registry.sin(x), w), draw.registry.exp(x)], [t, t], "a sample"
        )
        return [draw.array(t.shape), draw.array(t.shape)], {"jaxpr": jaxpr, "name": "sample"}


call = Call("call")


def inlined(jaxpr: Jaxpr) -> Jaxpr:
    """The program with calls replaced by their bodies."""
    return _replaced(jaxpr, lambda e: e.params["jaxpr"] if e.primitive is call else None)


def executed(jaxpr: Jaxpr) -> Jaxpr:
    """The program with all regions replaced that only run a program, for a compiler: rules are no longer needed."""
    return _replaced(jaxpr, lambda e: e.primitive.inside(**e.params) if e.primitive.region else None)  # type: ignore[attr-defined]


def _replaced(jaxpr: Jaxpr, body: Callable[[Eqn], Jaxpr | None]) -> Jaxpr:
    if not any(body(e) for e in jaxpr.eqns):
        return jaxpr

    def flat(program: Jaxpr, args: Sequence[Any]) -> list[Any]:
        env: dict[Any, Any] = dict(zip(program.inputs, args, strict=True))
        for e in program.eqns:
            sub = [env[a] if type(a) is Var else a for a in e.inputs]
            inner = body(e)
            if inner is not None:
                outs = flat(inner, sub)
            else:
                outs = [Var(v.type) for v in e.outputs]
                eqns.append(Eqn(e.primitive, sub, e.params, outs, e.origin))
            env.update(zip(e.outputs, outs, strict=True))
        return [env[a] if type(a) is Var else a for a in program.outputs]

    eqns: list[Eqn] = []
    outs = flat(jaxpr, jaxpr.inputs)
    return Jaxpr(jaxpr.inputs, eqns, outs, jaxpr.consts, jaxpr.sites)


__all__ = ["Call", "call", "execute", "executed", "inlined", "interpret", "memo", "one_equation", "transposed_program"]
