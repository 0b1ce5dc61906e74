"""Derivatives of Calls: made once per set of active operands, by tracing, and kept on the Call.

The tangent rules of a Call's equations give a linear program; what that captured are the residuals. Both are functions
of saved operands and outputs, and so are the two programs made of them, which are Calls again:

    push: saved, tangents -> tangents        pull: saved, cotangents -> cotangents
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from ..core.builder import Builder, building, trace_internal
from ..core.calls import Call
from ..core.ir import Eqn, Jaxpr, Literal, Var
from ..core.sizes import resizable, resized
from ..core.trace import apply_equation
from ..core.types import aval_of
from .interpret import interpret
from .render import Rendered, render
from .transpose import Linear, transpose


class Rule:
    """Derivative of a Call in the operands `active`.

    `save`: positions, among operands and outputs, of the values that push and pull need; `out_active`: outputs that
    depend on active operands; `residual` and `linear`: the programs both are made of.
    """

    __slots__ = (
        "_pulls", "_push", "accumulates", "active", "adding", "call", "consumes", "copy", "fresh", "function",
        "linear", "model", "out_active", "pick", "residual", "run", "save",
    )  # fmt: skip

    def __init__(self, call: Call, active: tuple[int, ...], model: Rule | None = None):
        self.call = call
        self.active = active
        self._pulls: dict[Any, Call] = {}
        self._push: Call | None = None
        # the rule of the same operation at other sizes, of which this is a copy
        self.model = model if model is not None and model.resizable() else None
        if self.model is None:
            self._derive()
        else:
            for name in ("save", "out_active", "accumulates", "consumes"):
                setattr(self, name, getattr(self.model, name))
        operands = len(call.sigs)
        self.copy = [k for k, i in enumerate(self.save) if i < operands and i not in active]
        self.pick = _picker(self.save)
        # the optimistic pullback of a call with one output, once it is known that every operand receives something
        self.function: Any = None
        # and the one that adds into an accumulator, where there is such a one
        self.adding: Any = None
        self.fresh: tuple[bool, ...] = ()

    def __getattr__(self, name: str) -> Any:
        # filled at the first use: a call inside a program that is being traced never runs, a copy's pullback is a copy
        if name == "run":
            self.run = self.call.run
        elif self.model is not None and name in ("residual", "linear"):
            setattr(self, name, resized(getattr(self.model, name), self.call.sizes))
        else:
            raise AttributeError(name)
        return getattr(self, name)

    def _derive(self) -> None:
        call, jaxpr = self.call, self.call.jaxpr
        inner = Builder("a derivative rule", sites=False)
        with building(inner):
            xs = [inner.input(aval_of(s)) for s in call.sigs]
            ys = [inner.input(aval_of(s)) for s in call.out_sigs]
            linear = Builder("a derivative rule", takes_all=False, sites=False)
            with building(linear):
                ts = [linear.input(aval_of(call.sigs[i])) for i in self.active]
                outs = _tangents(jaxpr, xs, ys, dict(zip(self.active, ts, strict=True)))
                self.out_active = tuple(k for k, t in enumerate(outs) if t is not None)
                self.linear = linear.finish(ts, [t for t in outs if t is not None])
            residuals = list(self.linear.consts)
            whole = inner.finish([*xs, *ys], residuals)
        used = _used_inputs(whole)
        consts = len(whole.consts)
        self.save = tuple(i for i in range(len(whole.inputs) - consts) if whole.inputs[consts + i] in used)
        kept = [whole.inputs[consts + i] for i in self.save]
        self.residual = Jaxpr(
            [*whole.inputs[:consts], *kept],
            [e for e in whole.eqns if any(v in used for v in e.outputs)],
            whole.outputs,
            whole.consts,
        )
        self.accumulates = tuple(k for k in range(len(self.active)) if self._adds_in_place(k))
        # whether the pullback can write into the cotangent that it is given, as that of a write into an array does
        self.consumes = any(e.primitive.overwrites is not None for e in self.linear.eqns)

    def resizable(self) -> bool:
        """Whether the rule is the same at other sizes."""
        return not self.residual.consts and resizable(self.residual) and resizable(self.linear)

    def _adds_in_place(self, k: int) -> bool:
        """Whether the pullback writes into the k-th accumulator (an indexed read does) instead of adding to it."""
        read = self._way_to_read(k)[1]
        return read is not None and read.primitive.pulls_in_place

    def _way_to_read(self, k: int) -> tuple[list[Eqn], Eqn | None]:
        """The equations that only move the elements of the k-th tangent, each the only reader, and the next reader."""
        v: Any = self.linear.inputs[len(self.linear.consts) + k]
        moves: list[Eqn] = []
        while True:
            readers = [e for e in self.linear.eqns if v in e.inputs]
            if len(readers) != 1 or v in self.linear.outputs:
                return moves, None
            if not readers[0].primitive.moves:
                return moves, readers[0]
            moves.append(readers[0])
            (v,) = readers[0].outputs

    @property
    def sigs(self) -> list[Any]:
        """Signatures of the saved values."""
        return [[*self.call.sigs, *self.call.out_sigs][i] for i in self.save]

    def push(self) -> Call:
        """saved, tangents of the active operands -> tangents of the active outputs."""
        if self._push is None:

            def program(*args: Any) -> list[Any]:
                n = len(self.save)
                closed = self.linear.closed()
                return interpret(closed, [*interpret(self.residual, args[:n]), *args[n:]])

            sigs = [*self.sigs, *[aval_of(self.call.sigs[i]) for i in self.active]]
            jaxpr, outs = trace_internal(program, sigs)
            self._push = Call(f"{self.call.name}_push", sigs, outs, jaxpr=jaxpr, single=False)
        return self._push

    def pull(self, cts: tuple[int, ...], accs: tuple[int, ...]) -> Call:
        """saved, cotangents of the outputs `cts`, accumulators `accs` -> new cotangents of the active operands.

        An operand to which nothing flows gives zeros of shape (), told apart by `absent`.
        """
        key = (cts, accs)
        found = self._pulls.get(key)
        if found is None:
            model = None if self.model is None else self.model.pull(cts, accs)
            found = None if model is None else model.resized(self.call.sizes)
            if model is not None and found is not None:
                found.derived["present"] = model.derived["present"]
            else:
                found = self._make_pull(cts, accs)
            self._pulls[key] = found
        return found

    def _make_pull(self, cts: tuple[int, ...], accs: tuple[int, ...]) -> Call:
        out_types = [aval_of(s) for s in self.call.out_sigs]
        in_types = [aval_of(self.call.sigs[i]) for i in self.active]
        present: list[int] = []

        def program(*args: Any) -> list[Any]:
            n, m = len(self.save), len(self.save) + len(cts)
            residuals = interpret(self.residual, args[:n])
            ct = dict(zip(cts, args[n:m], strict=True))
            acc = dict(zip(accs, args[m:], strict=True))
            # an accumulator is moved as what reads it is, and so is what it has become
            moves = {k: self._way_to_read(k)[0] for k in accs}
            skipped = {id(e) for way in moves.values() for e in way}
            closed = self.linear.closed()
            inputs = list(closed.inputs)
            for k, way in moves.items():
                for e in way:
                    acc[k] = apply_equation(e, (acc[k],))
                if way:
                    (inputs[len(residuals) + k],) = way[-1].outputs
            linear = Jaxpr(inputs, [e for e in closed.eqns if id(e) not in skipped], closed.outputs)
            result = transpose(
                linear,
                [*residuals, *[Linear(v.type) for v in inputs[len(residuals) :]]],
                [None] * len(residuals) + [acc.get(k) for k in range(len(in_types))],
                [ct.get(k) for k in self.out_active],
            )[len(residuals) :]
            for k, way in moves.items():
                for e in reversed(way):
                    (result[k],) = e.primitive.transpose((result[k],), (None,), Linear(e.inputs[0].type), **e.params)
            present[:] = [k for k, r in enumerate(result) if r is not None]
            return [r for r in result if r is not None]

        sigs = [*self.sigs, *[out_types[k] for k in cts], *[in_types[k] for k in accs]]
        jaxpr, outs = trace_internal(program, sigs)
        call = Call(f"{self.call.name}_pull", sigs, outs, jaxpr=jaxpr, single=False)
        call.derived["present"] = tuple(present)
        return call

    def pull_function(
        self, cts: tuple[int, ...], accs: tuple[int, ...], optimistic: bool, consuming: bool = False
    ) -> Rendered:
        """The pullback as a NumPy function; it may overwrite the accumulators and, if `consuming`, the cotangents.

        `optimistic` multiplies plainly where a zero factor should annihilate an infinite one: right unless the result
        holds a NaN.
        """
        call = self.pull(cts, accs)
        key = ("render", optimistic, consuming)
        found = call.derived.get(key)
        if found is None:
            n = len(self.save) + (0 if consuming else len(cts))
            owned = frozenset(range(n, len(self.save) + len(cts) + len(accs)))
            found = call.derived[key] = render(call, optimistic=optimistic, owned=owned)
        return found


def _picker(save: tuple[int, ...]) -> Callable[[Sequence[Any]], Sequence[Any]]:
    if not save:
        return lambda values: ()
    if len(save) == 1:
        (i,) = save
        return lambda values: (values[i],)
    return itemgetter(*save)


def _tangents(jaxpr: Jaxpr, xs: Sequence[Any], ys: Sequence[Any], tangents: dict[int, Any]) -> list[Any]:
    """Tangents of the outputs of a program of leaf primitives, by their rules; the outputs are given as `ys`."""
    consts = len(jaxpr.consts)
    env: dict[Any, Any] = dict(zip(jaxpr.inputs, [*jaxpr.consts, *xs], strict=True))
    known = {a: y for a, y in zip(jaxpr.outputs, ys, strict=True) if type(a) is Var}
    t_env: dict[Any, Any] = {jaxpr.inputs[consts + i]: t for i, t in tangents.items()}
    for e in jaxpr.eqns:
        operands = [a.value if type(a) is Literal else env[a] for a in e.inputs]
        if all(v in known for v in e.outputs):
            outs = [known[v] for v in e.outputs]
        else:
            out = apply_equation(e, operands)
            outs = [out] if len(e.outputs) == 1 else out
        env.update(zip(e.outputs, outs, strict=True))
        ts = [t_env.get(a) for a in e.inputs]
        if any(t is not None for t in ts):
            for v, t in zip(e.outputs, e.primitive.tangent(ts, outs, *operands, **e.params), strict=True):
                if t is not None and v.type.inexact:
                    t_env[v] = t
    return [t_env.get(a) for a in jaxpr.outputs]


def _used_inputs(jaxpr: Jaxpr) -> set[Any]:
    """Variables that the outputs depend on."""
    used = {a for a in jaxpr.outputs if type(a) is Var}
    for e in reversed(jaxpr.eqns):
        if any(v in used for v in e.outputs):
            used.update(a for a in e.inputs if type(a) is Var)
    return used


def rule_of(call: Call, mask: int) -> Rule:
    """The derivative of a Call in the operands whose bits are set."""
    rule = call.rules.get(mask)
    if rule is None:
        active = tuple(i for i, s in enumerate(call.sigs) if mask >> i & 1 and aval_of(s).inexact)
        model = None if call.model is None else rule_of(call.model, mask)
        rule = call.rules[mask] = Rule(call, active, model)
    return rule
