"""loops: what need not be done in every run of a scan is done once, before or behind it.

    a carry that no run changes           is the same in every run: a const
    what depends on consts alone          is computed before the loop
    x[i] @ w, for slices of an operand    is one product x @ w before the loop
    total = total + a @ b in each run     is one product of stacked a's and b's behind it: the gradient of a weight
    x @ transpose(w), for a const w       reads a transposed copy: products of few rows are up to twice as fast so

Of the loop that pulls cotangents back through h' = h @ w,

    ct:float64[8,4] sum:float64[4,4] = scan[...] w ct0 sum0 h        # sum + transpose(h) @ ct, ct @ transpose(w)

remains

    ct:float64[8,4] cts:float64[100,8,4] = scan[...] w ct0 h
    product:float64[4,4] = dot_general[contract=((0, 1), (0, 1)) ...] h cts
    sum:float64[4,4] = add sum0 product

What can raise stays where it is, and so do products whose stacked operands or results would take much memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.builder import located, trace
from ..core.calls import renderer
from ..core.ir import Eqn, Jaxpr, Literal, Var
from ..core.primitive import registry as p
from ..core.trace import stage
from ..core.types import shaped
from ..regions.bodies import invariant, permuted, picked
from ..regions.call import memo
from ..regions.scan import scan

MOST = 1 << 28  # bytes of what stands for the values of one variable in all runs
COPY = 8  # runs from which on a transposed copy pays
ROWS = 64  # of a product that reads one


class Sum(NamedTuple):
    """A carry to which each run adds products: (product, transpositions behind it); `left`: and something else."""

    carry: Var
    products: list[tuple[Eqn, list[Eqn]]]
    left: bool


class Rearranged:
    """The body of a scan without what can be done before and behind the loop, and what that is."""

    def __init__(self, body: Jaxpr, consts: int, carry: int, length: int):
        split = consts + carry
        self.inputs, self.length = body.inputs, length
        self.carry, self.count = body.inputs[consts:split], len(body.outputs) - carry
        self.next = dict(zip(self.carry, body.outputs, strict=False))
        self.stacked = list(body.outputs[carry:])
        self.steady = [v for v in self.carry if self.next[v] is v]
        self.same = [*body.inputs[:consts], *self.steady]
        self.slices = list(body.inputs[split:])
        self.ahead: list[Eqn] = []  # before the loop, once
        self.products: list[Eqn] = []  # before the loop, for all runs
        self.sums: list[Sum] = []  # behind it
        self.eqns = list(body.eqns)
        self.turned: dict[Any, Var] = {}
        if length:
            self.before(body)
            self.behind()
        self.place: dict[Any, int] = {v: i for i, v in enumerate(dict.fromkeys(self.stacked))}
        twice = len(self.place) < self.count
        self.changed = bool(self.steady or self.ahead or self.products or self.sums or twice)
        if self.changed:
            self.rebuild(body)

    def before(self, body: Jaxpr) -> None:
        """Take out what depends on consts alone, and the products of slices with such."""
        steady = invariant(Jaxpr([*self.same, *self.carry, *self.slices], self.eqns, []), len(self.same))
        dear: set[Any] = set()
        for e in reversed(self.eqns):
            costs = not (e.primitive.cheap or e.primitive.folds)
            if e.outputs and all(v in steady for v in e.outputs) and (costs or any(v in dear for v in e.outputs)):
                dear.update(e.outputs)
                dear.update(a for a in e.inputs if type(a) is Var)
        kept = []
        for e in self.eqns:
            if e.outputs and all(v in dear for v in e.outputs):
                self.ahead.append(e)
                self.same += e.outputs
            elif self.sliced_product(e):
                self.products.append(e)
                self.slices += e.outputs
            else:
                kept.append(self.straight(e))
        self.eqns = kept

    def straight(self, e: Eqn) -> Eqn:
        """A product with a const on its right, along whose rows is summed, on a copy of which the columns are these."""
        if e.primitive is not p.dot_general or e.params["contract"][1] != (1,) or any(e.params["batch"]):
            return e
        x, w = e.inputs
        if type(w) is Literal or w not in self.same or self.length < COPY or x.type.size > ROWS * x.type.shape[-1]:
            return e
        turned = self.turned.get(w)
        if turned is None:
            turned = self.turned[w] = Var(shaped(w.type.shape[::-1], w.type.dtype))
            self.ahead.append(Eqn(p.transpose, [w], {"axes": (1, 0)}, [turned], e.origin))
            self.same.append(turned)
        params = {**e.params, "contract": (e.params["contract"][0], (0,))}
        return Eqn(e.primitive, [x, turned], params, e.outputs, e.origin)

    def sliced_product(self, e: Eqn) -> bool:
        """Whether an equation is a product of a slice and something that is the same in every run."""
        if e.primitive is not p.dot_general or 8 * self.length * e.outputs[0].type.size > MOST:
            return False
        x, w = e.inputs
        return (x in self.slices and w in self.same) or (x in self.same and w in self.slices)

    def behind(self) -> None:
        """Take out the products that are only added up."""
        uses: Counter[Any] = Counter(a for e in self.eqns for a in e.inputs)
        uses.update([*self.stacked, *self.next.values()])
        defs = {v: e for e in self.eqns for v in e.outputs}
        for v in self.carry:
            if v in self.steady or uses[v] != 1:
                continue
            terms = _terms(v, self.next[v], uses, defs)
            chosen = {t: found for t in terms if (found := self.product(t, uses, defs)) is not None}
            if not chosen:
                continue
            total: Var = v
            for t in [t for t in terms if t not in chosen]:
                self.eqns.append(Eqn(p.add, [total, t], {}, [new := Var(v.type)]))
                total = new
            self.next[v] = total
            self.sums.append(Sum(v, list(chosen.values()), total is not v))

    def product(self, t: Any, uses: Counter[Any], defs: dict[Any, Eqn]) -> tuple[Eqn, list[Eqn]] | None:
        """The product behind a term and its transpositions, if it is worth doing for all runs at once."""
        turned: list[Eqn] = []
        e: Eqn | None = defs.get(t)
        while e is not None and e.primitive is p.transpose and uses[e.outputs[0]] == 1:
            turned.append(e)
            e = defs.get(e.inputs[0])
        if e is None or e.primitive is not p.dot_general or uses[e.outputs[0]] != 1:
            return None
        if any(type(a) is Literal or a in self.same for a in e.inputs):
            return None
        size = sum(a.type.size for a in e.inputs if a not in self.slices)
        return (e, turned) if size <= 2 * e.outputs[0].type.size and 8 * self.length * size <= MOST else None

    def rebuild(self, body: Jaxpr) -> None:
        """The body of what remains, without inputs that it does not read."""
        wanted = dict.fromkeys(a for s in self.sums for e, _ in s.products for a in e.inputs)
        self.extra = [v for v in wanted if v not in self.slices]
        gone = {s.carry for s in self.sums if not s.left} | set(self.steady)
        self.left = [v for v in self.carry if v not in gone]
        outputs = [*[self.next[v] for v in self.left], *self.place, *self.extra]
        whole = renderer.simplify(Jaxpr([*self.same, *self.left, *self.slices], self.eqns, outputs, (), body.sites))
        used: set[Any] = {a for e in whole.eqns for a in e.inputs} | set(whole.outputs)
        n, m = len(self.same), len(self.same) + len(self.left)
        kept = [v in used or n <= i < m for i, v in enumerate(whole.inputs)]
        self.consts, self.sliced = picked(self.same, kept[:n]), picked(self.slices, kept[m:])
        self.body = permuted(whole, picked(whole.inputs, kept), whole.outputs)

    def apply(self, xs: Sequence[Any], zero: Sequence[bool], reverse: bool) -> list[Any]:
        """Outputs of the scan on its operands, of which some are known to be zeros."""
        env: dict[Any, Any] = dict(zip(self.inputs, xs, strict=True))
        for e in self.ahead:
            found = stage(e.primitive, *[a.value if type(a) is Literal else env[a] for a in e.inputs], **e.params)
            env.update(zip(e.outputs, [found] if len(e.outputs) == 1 else found, strict=True))
        stacks: dict[Any, Any] = {v: env[v] for v in self.slices if v in env}
        for e in self.products:
            operands: list[Any] = [env[a] for a in e.inputs]
            mapped = [a in stacks for a in e.inputs]
            (y,), _ = e.primitive.batch(self.length, mapped, *operands, **e.params)
            env[e.outputs[0]] = stacks[e.outputs[0]] = y
        settings = {"length": self.length, "reverse": reverse}
        outs: Any = ()
        if self.body.outputs:
            operands = [env[v] for v in [*self.consts, *self.left, *self.sliced]]
            sizes = {"consts": len(self.consts), "carry": len(self.left)}
            outs = stage(scan, *operands, jaxpr=self.body, **sizes, **settings)
            outs = [outs] if len(self.body.outputs) == 1 else outs
        n, end = len(self.left), len(self.left) + len(self.place)
        nothing = {s.carry for s in self.sums if not s.left and zero[self.inputs.index(s.carry)]}
        last = {v: None if v in nothing else env[v] for v in self.carry}
        last.update(zip(self.left, outs, strict=False))
        stacks.update(zip(self.extra, outs[end:], strict=True))
        for s in self.sums:
            for e, turned in s.products:
                y = _all_runs(e, turned, [stacks[a] for a in e.inputs])
                last[s.carry] = y if last[s.carry] is None else p.add(last[s.carry], y)
        return [*[last[v] for v in self.carry], *[outs[n + self.place[v]] for v in self.stacked]]


def _terms(v: Var, end: Any, uses: Counter[Any], defs: dict[Any, Eqn]) -> list[Any]:
    """The terms that a run adds to the carry `v` to give `end`; none where it does anything else with it."""
    path = {v}
    for e in defs.values():
        if e.primitive is p.add and any(a in path for a in e.inputs):
            path.update(e.outputs)
    terms: list[Any] = []
    while end is not v:
        last = defs.get(end)
        if last is None or last.primitive is not p.add or uses[end] != 1 or sum(a in path for a in last.inputs) != 1:
            return []
        (down,) = [a for a in last.inputs if a in path]
        terms += [a for a in last.inputs if a is not down]
        end = down
    return terms


def _all_runs(e: Eqn, turned: Sequence[Eqn], xs: Sequence[Any]) -> Any:
    """The sum over all runs of a product of stacked operands, transposed as each was."""
    (xc, wc), (xb, wb) = [[tuple(i + 1 for i in axes) for axes in e.params[name]] for name in ("contract", "batch")]
    y = p.dot_general(*xs, contract=((0, *xc), (0, *wc)), batch=(xb, wb))
    for t in reversed(turned):
        y = p.transpose(y, **t.params)
    return y


def _zero(a: Any) -> bool:
    return type(a) is Literal and not a.value and not np.signbit(np.real(a.value))


def loops(jaxpr: Jaxpr) -> Jaxpr:
    """The program with its scans rearranged."""
    plans: dict[int, Rearranged] = {}
    for e in jaxpr.eqns:
        if e.primitive is scan:
            body = e.params["jaxpr"]
            key = tuple(e.params[name] for name in ("consts", "carry", "length"))
            found = memo(body, ("rearranged", *key), lambda body=body, key=key: Rearranged(body, *key))
            if found.changed:
                plans[id(e)] = found
    if not plans:
        return jaxpr
    nothing = {e.outputs[0] for e in jaxpr.eqns if e.primitive is p.broadcast_in_dim and _zero(e.inputs[0])}

    def program(*args: Any) -> list[Any]:
        env: dict[Any, Any] = dict(zip(jaxpr.inputs, args, strict=True))
        with located() as at:
            for e in jaxpr.eqns:
                at(jaxpr, e)
                xs = [a.value if type(a) is Literal else env[a] for a in e.inputs]
                plan = plans.get(id(e))
                if plan is not None:
                    zero = [a in nothing for a in e.inputs]
                    env.update(zip(e.outputs, plan.apply(xs, zero, e.params["reverse"]), strict=True))
                    continue
                outs = stage(e.primitive, *xs, **e.params)
                env.update(zip(e.outputs, [outs] if len(e.outputs) == 1 else outs, strict=True))
        return [a.value if type(a) is Literal else env[a] for a in jaxpr.outputs]

    new, _ = trace(program, [v.type for v in jaxpr.inputs], "a rewrite", sites=False)
    return Jaxpr(new.inputs[len(new.consts) :], new.eqns, new.outputs, jaxpr.consts, new.sites)
