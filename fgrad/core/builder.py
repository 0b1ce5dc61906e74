"""The builder: a trace that records Calls and turns them into a Jaxpr."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from .calls import Call, renderer
from .check import check, checking
from .errors import Site, user_site
from .handles import argument, fresh, settled
from .ir import Atom, Eqn, Jaxpr, Literal, Var
from .primitive import Primitive
from .trace import Trace, Tracer, leaked, signature, state, unmasked
from .types import ShapedArray, Signature, aval_of, canonical, signature_of


class Builder(Trace):
    """Records Calls and turns them into a Jaxpr; every value is abstract.

    `takes_all`: every operation on a traced operand of the same thread belongs to this builder, also one that reads
    only outer tracers (it might stand in a branch). Linear programs do not: what they read of outer values is computed
    outside and captured, so no equation mixes primal and linear. `body`: the program is run by a loop or a branch.
    """

    def __init__(self, name: str = "jit", *, takes_all: bool = True, sites: bool = True, body: bool = False):
        super().__init__()
        self.name = name
        self.body = body
        self.takes_all = takes_all
        self.with_sites = sites
        self.records: list[tuple[Call, list[Atom], list[Var], int]] = []
        self.sites: list[Site | None] = []
        self.makers: dict[Any, tuple[Call, Sequence[Any], int]] = {}  # of those records that were asked for
        self.indexed = 0
        self.captured: dict[Any, tuple[Var, Any, Any]] = {}  # what stands for a value, the value, the object
        self.snapshots: dict[int, tuple[Any, np.ndarray]] = {}

    def input(self, sig: Signature) -> Tracer:
        """A new input of that signature."""
        return argument(Tracer(self, sig, Var(aval_of(sig))))

    def apply(self, call: Call, xs: Sequence[Any]) -> Any:
        atoms = [x.value if type(x) is Tracer and x.owner is self else self.atom(x) for x in xs]
        if state.site is not None:
            self.sites.append(state.site)
        elif self.with_sites:
            self.sites.append(user_site())
        outs = [Var(aval_of(s)) for s in call.out_sigs]
        self.records.append((call, atoms, outs, len(self.sites) - 1))
        if call.single:
            return Tracer(self, call.out_sigs[0], outs[0])
        return tuple([Tracer(self, s, v) for s, v in zip(call.out_sigs, outs, strict=True)])

    def origin_of(self, value: Any) -> tuple[Call, Sequence[Any], int] | None:
        for call, atoms, outs, _ in self.records[self.indexed :]:
            for k, v in enumerate(outs):
                self.makers[v] = call, atoms, k
        self.indexed = len(self.records)
        return self.makers.get(value)

    def atom(self, x: Any) -> Atom:
        """The operand that stands for `x` here: a variable of this program, a captured value, or a literal."""
        if type(x) is Tracer:
            x = settled(x)
        if type(x) is Tracer:
            if x.owner is self:
                return x.value  # type: ignore[no-any-return]
            if x.owner.done or x.owner.level > self.level:
                raise leaked(x)
            return self._capture(x, x.aval)
        aval = aval_of(signature_of(x))
        if aval.shape == ():
            return Literal(x, aval)
        return self._capture(self.snapshot(x), aval)

    def _capture(self, x: Any, aval: ShapedArray) -> Var:
        key = _which(x)
        found = self.captured.get(key)
        if found is None:
            found = self.captured[key] = (Var(aval), fresh(x) if type(x) is Tracer else x, x)
        return found[0]

    def snapshot(self, x: np.ndarray) -> np.ndarray:
        """A copy that later writes to `x` do not reach; the same one as long as `x` does not change."""
        if not x.flags.writeable and x.base is None:
            return x
        seen = self.snapshots.get(id(x))
        if seen is not None and same_bytes(seen[1], x):
            return seen[1]
        kept = x.copy()
        kept.flags.writeable = False
        self.snapshots[id(x)] = (x, kept)
        return kept

    def finish(self, inputs: Sequence[Tracer], outs: Sequence[Any]) -> Jaxpr:
        """The program from the inputs to the outputs; captured values are its consts."""
        outputs = [self.atom(x) for x in outs]
        eqns, env = expand_records(self.records, self)
        self.done = True
        consts = list(self.captured.values())
        return Jaxpr(
            [v for v, _, _ in consts] + [t.value for t in inputs],
            eqns,
            [env.get(a, a) for a in outputs],
            [c for _, c, _ in consts],
            self.sites,
        )


_SMALL = 1 << 16  # up to so many bytes two copies cost less than what looks at them in place


def same_bytes(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays of one type hold the same bits (NaN equals itself, 0.0 differs from -0.0)."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.nbytes > _SMALL and a.flags.c_contiguous and b.flags.c_contiguous:
        return a.size == 0 or bool((a.reshape(-1).view(np.uint8) == b.reshape(-1).view(np.uint8)).all())
    return a.tobytes() == b.tobytes()


def expand_records(records: Sequence[Any], builder: Builder) -> tuple[list[Eqn], dict[Atom, Atom]]:
    """Strict equations of recorded Calls, with scalar literals folded; and what replaces which variable."""
    eqns: list[Eqn] = []
    env: dict[Any, Any] = {}
    get = env.get

    def emit(primitive: Primitive, inputs: list[Atom], params: dict[str, Any], outputs: Any, origin: int) -> None:
        if primitive.folds:
            for a in inputs:
                if type(a) is Var:
                    break
            else:
                with np.errstate(all="ignore"):
                    values = primitive.fold(*[a.value for a in inputs], **params)  # type: ignore[union-attr]
                for v, value in zip(outputs, values, strict=True):
                    env[v] = Literal(value, v.type)
                return
        eqns.append(Eqn(primitive, inputs, params, outputs, origin))

    for call, atoms, outs, origin in records:
        atoms = [get(a, a) for a in atoms]
        if call.primitive is not None:
            emit(call.primitive, atoms, call.params, outs, origin)
            continue
        body = call.jaxpr
        local: dict[Any, Any] = {}
        consts = len(body.consts)
        for v, c in zip(body.inputs, body.consts, strict=False):
            local[v] = builder.atom(c)
        local.update(zip(body.inputs[consts:], atoms, strict=True))
        final = dict(zip(body.outputs, outs, strict=False)) if len(set(map(id, body.outputs))) == len(outs) else {}
        for e in body.eqns:
            fresh = []
            for v in e.outputs:
                new = final.get(v)
                if new is None:
                    new = Var(v.type)
                local[v] = new
                fresh.append(new)
            emit(e.primitive, [get(b, b) for b in [local.get(a, a) for a in e.inputs]], e.params, fresh, origin)
        for v, a in zip(outs, body.outputs, strict=True):
            b = local.get(a, a)
            if b is not v:
                env[v] = get(b, b)
    return eqns, env


@contextmanager
def located() -> Iterator[Callable[[Jaxpr, Eqn], None]]:
    """Within it, the yielded function says which equation a pass is at: what it records then keeps the user's line."""
    with restored_site() as before:

        def at(jaxpr: Jaxpr, e: Eqn) -> None:
            state.site = jaxpr.sites[e.origin] if 0 <= e.origin < len(jaxpr.sites) else before

        yield at


@contextmanager
def restored_site() -> Iterator[Site | None]:
    """The line that a pass is at; in the end it is that line again."""
    before = state.site
    try:
        yield before
    finally:
        state.site = before


@contextmanager
def building(builder: Builder) -> Iterator[Builder]:
    """Make a builder take this thread's traced operations."""
    outer, trace = state.builder, state.trace
    if builder.takes_all:
        state.builder, state.trace, builder.builder = builder, builder, builder
    try:
        with resting_collector():
            yield builder
    except ValueError as error:
        raise unmasked(error) from None
    finally:
        state.builder, state.trace = outer, trace
        builder.done = True


@contextmanager
def resting_collector() -> Iterator[None]:
    """Pause the cyclic garbage collector: tracing and planning make many objects and no garbage cycles."""
    collecting = gc.isenabled()
    if collecting:
        gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def trace(
    f: Callable[..., Sequence[Any]],
    sigs: Sequence[Signature],
    name: str = "jit",
    *,
    takes_all: bool = True,
    sites: bool = True,
    body: bool = False,
) -> tuple[Jaxpr, list[Signature]]:
    """Trace `f` (operands to a sequence of outputs) on abstract operands: its program and the outputs' signatures."""
    builder = Builder(name, takes_all=takes_all, sites=sites, body=body)
    with building(builder):
        inputs = [builder.input(s) for s in sigs]
        given = [argument(fresh(x)) for x in inputs]  # in-place operators give these other values
        outs = [settled(x) if type(x) is Tracer else canonical(x) for x in f(*given)]
        jaxpr = builder.finish(inputs, outs)
    if checking():
        check(jaxpr)
    return jaxpr, [signature(x) for x in outs]


def trace_internal(f: Callable[..., Sequence[Any]], sigs: Sequence[Signature]) -> tuple[Jaxpr, list[Signature]]:
    """`trace` for expansions and rules: no source lines, and simplified, since each is used many times."""
    jaxpr, out_sigs = trace(f, sigs, "an expansion", sites=False)
    return renderer.simplify(jaxpr), out_sigs


renderer.trace = trace_internal


def sharing(jaxprs: Sequence[Jaxpr]) -> tuple[list[Jaxpr], list[Any]]:
    """Closed programs with the same leading inputs for all values that any of them captured, and these values."""
    values = {_which(c): c for jaxpr in jaxprs for c in jaxpr.consts}
    return [_with_inputs_for(values, jaxpr) for jaxpr in jaxprs], list(values.values())


def _which(c: Any) -> Any:
    """What tells captured values apart: each program has handles of its own for traced ones."""
    if type(c) is not Tracer:
        return id(c)
    return id(c.owner), id(c.value), c.slot if type(c.slot) is int else id(c.slot)


def _with_inputs_for(values: dict[Any, Any], jaxpr: Jaxpr) -> Jaxpr:
    if not values:
        return jaxpr
    mine = {_which(c): v for c, v in zip(jaxpr.consts, jaxpr.inputs, strict=False)}
    captured = [mine.get(key) or Var(aval_of(signature(c))) for key, c in values.items()]
    return Jaxpr([*captured, *jaxpr.inputs[len(jaxpr.consts) :]], jaxpr.eqns, jaxpr.outputs, (), jaxpr.sites)
