"""Solutions of equations, whose derivatives come from the equations and not from how they were solved.

Both primitives hold the user's functions as programs. Operands: what these captured, a group for each program in the
order of `captured`, then the arguments. By what a solver captured for itself there is no derivative, since the solution
does not depend on it. With x the solution of f(θ, x) = b,

    ∂f/∂x ẋ = ḃ - ∂f/∂θ θ̇

which a program of the user's solves again. M. Blondel et al., "Efficient and modular implicit differentiation" (2022).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.builder import trace
from ..core.effects import Effects
from ..core.errors import GradError, message
from ..core.ir import Jaxpr, Var
from ..core.primitive import Region, is_linear, registry, space
from ..core.types import ShapedArray, shaped
from ..passes.interpret import interpret
from ..passes.transpose import zeros
from ..passes.vmap import batch_program, spread
from .bodies import constless, linear_body, permuted, picked
from .call import execute, memo, transposed_program

Groups = tuple[int, int, int]


def grouped(xs: Sequence[Any], sizes: Sequence[int]) -> list[list[Any]]:
    """Groups of these sizes, and the rest."""
    groups, at = [], 0
    for n in sizes:
        groups.append(list(xs[at : at + n]))
        at += n
    return [*groups, list(xs[at:])]


def batched(jaxpr: Jaxpr, mapped: Sequence[bool], size: int) -> Jaxpr:
    """The program on operands of which some have an axis of `size` in front, as all its outputs have."""
    mapped = tuple(mapped)
    return memo(jaxpr, ("batch all", mapped, size), lambda: batch_program(jaxpr, mapped, size, True))[0]  # type: ignore[no-any-return]


class Implicit(Region):
    """What both share. `solve`: its captured, arguments -> solution, further results, which have no derivative."""

    equation: str  # the param that holds the equation: its captured, x -> f(θ, x)
    third: str  # the param of the third program that has captured values
    affine: bool  # whether the arguments are the right side b

    def inverse(self, values: Sequence[Any], x: Sequence[Any], rhs: Sequence[Any], **params: Any) -> list[Any]:
        """ẋ for a right side; `values` are all that was captured."""
        raise AssertionError

    def typeof(self, *types: ShapedArray, **params: Any) -> tuple[ShapedArray, ...]:
        return params["solve"].out_types

    def effects(self, *types: ShapedArray, **params: Any) -> Effects:
        return params["solve"].effects

    def run(self, *xs: Any, **params: Any) -> tuple[Any, ...]:
        _, mine, _, given = grouped(xs, params["captured"])
        return tuple([np.array(y)[()] for y in execute(params["solve"], [*mine, *given])])

    def inside(self, **params: Any) -> Jaxpr | None:
        """`solve`, with inputs for what it does not read."""
        solve, equation, captured = params["solve"], params[self.equation], params["captured"]

        def make() -> Jaxpr:
            mine, given = solve.inputs[: captured[1]], solve.inputs[captured[1] :]
            first = [Var(t) for t in equation.in_types[: captured[0]]]
            last = [Var(t) for t in params[self.third].in_types[: captured[2]]] if captured[2] else []
            return permuted(solve, [*first, *mine, *last, *given], solve.outputs)

        return memo(solve, ("inside", self, *params.items()), make)  # type: ignore[no-any-return]

    def apply(self, xs: Sequence[Any], **params: Any) -> list[Any]:
        """As a call, but always a list."""
        out = self(*xs, **params)
        return list(out) if type(out) is tuple else [out]

    def jvp(self, tangents: Sequence[Any], *xs: Any, **params: Any) -> tuple[Sequence[Any], Sequence[Any]]:
        active = [t is not None for t in tangents]
        outs, residuals, marks, linear = self.linearize(active, *xs, **params)
        found = iter(interpret(linear, [*residuals, *[t for t in tangents if t is not None]]))
        return outs, [next(found) if m else None for m in marks]

    def linearize(self, active: Sequence[bool], *xs: Any, **params: Any) -> Any:
        active, captured, equation = tuple(active), params["captured"], params[self.equation]
        outs, n = self.apply(xs, **params), len(equation.outputs)
        by_equation, _, _, by_given = grouped(active, captured)
        held: list[Any] = []
        product: Jaxpr | None = None  # held, θ̇ -> ∂f/∂θ θ̇
        if any(by_equation):
            flags = (*by_equation, *[False] * n)
            primal, product, _, _ = linear_body(equation, flags, (True,) * n, [True] * len(flags))
            held = interpret(primal, [*xs[: captured[0]], *outs[:n]])[n:]
        moves = product is not None or (self.affine and any(by_given))
        known = [*xs[: sum(captured)], *outs[:n], *held]

        def program(*args: Any) -> list[Any]:
            values, x, kept, ts = grouped(args, [sum(captured), n, len(held)])
            if not moves:
                return []
            rest = iter(ts)
            by_equation, _, _, by_given = grouped([next(rest) if a else None for a in active], captured)
            rhs = by_given if self.affine else [None] * n
            if product is not None:
                moved = interpret(product, [*kept, *[t for t in by_equation if t is not None]])
                rhs = [registry.neg(m) if t is None else registry.sub(t, m) for t, m in zip(rhs, moved, strict=True)]
            filled = [zeros(t) if r is None else r for r, t in zip(rhs, equation.out_types, strict=True)]
            return self.inverse(values, x, filled, **params)

        def make() -> Jaxpr:
            types = [shaped(tuple(x.shape), x.dtype) for x in [*known, *picked(xs, active)]]
            return constless(trace(program, types, self.name, sites=False)[0])

        linear = memo(equation, ("linear", self, active, *params.items()), make)
        return outs, known, [moves and k < n for k in range(len(outs))], linear


class LinearSolve(Implicit):
    """x with A x = b. matvec: its captured, x -> A x. back: its captured, b -> x with Aᵀ x = b; None: nobody gave it.

    `captured`: how many values matvec, solve and back captured. `name` is for people.
    """

    equation = "matvec"
    third = "back"
    affine = True

    def inverse(self, values: Sequence[Any], x: Sequence[Any], rhs: Sequence[Any], **params: Any) -> list[Any]:
        return self.apply([*values, *rhs], **params)[: len(rhs)]

    def transpose(
        self,
        cts: Sequence[Any],
        accs: Sequence[Any],
        *xs: Any,
        matvec: Jaxpr,
        solve: Jaxpr,
        back: Jaxpr | None,
        captured: Groups,
        name: str,
    ) -> Sequence[Any]:
        known, n = sum(captured), len(matvec.outputs)
        if any(is_linear(x) for x in xs[:known]):
            return self.pull(cts, *xs)  # raises
        if back is None:
            what = f"{name}: reverse mode needs the solution of the transposed system"
            raise GradError(message(what, do="pass transpose_solve, or symmetric=True where A equals its transpose"))
        by_matvec, by_solve, by_back, _ = grouped(xs, captured)
        filled = [zeros(t) if c is None else c for c, t in zip(cts, matvec.out_types, strict=False)]
        outs = self.apply(
            [*by_matvec, *by_back, *by_solve, *filled],
            matvec=memo(matvec, ("vecmat", captured[0]), lambda: vecmat(matvec, captured[0])),
            solve=back,
            back=solve if len(solve.outputs) == n else permuted(solve, solve.inputs, solve.outputs[:n]),
            captured=(captured[0], captured[2], captured[1]),
            name=name,
        )
        found = [y if is_linear(x) else None for y, x in zip(outs, xs[known:], strict=True)]
        added = [
            c if a is None else a if c is None else space.add(a, c) for a, c in zip(accs[known:], found, strict=True)
        ]
        return [*[None] * known, *added]

    def batch(
        self,
        size: int,
        mapped: Sequence[bool],
        *xs: Any,
        matvec: Jaxpr,
        solve: Jaxpr,
        back: Jaxpr | None,
        captured: Groups,
        name: str,
    ) -> Any:
        by_matvec, by_solve, by_back, by_b = grouped(mapped, captured)
        n, known = len(by_b), sum(captured)
        right = [x if m else spread(size, x, t) for x, m, t in zip(xs[known:], by_b, matvec.out_types, strict=True)]
        outs = self.apply(
            [*xs[:known], *right],
            matvec=batched(matvec, [*by_matvec, *[True] * n], size),
            solve=batched(solve, [*by_solve, *[True] * n], size),
            back=None if back is None else batched(back, [*by_back, *[True] * n], size),
            captured=captured,
            name=name,
        )
        return outs, [True] * len(outs)

    def samples(self, draw: Any) -> Any:
        t = draw.type()
        matvec, _ = trace(lambda a, x: [registry.mul(a, x)], [t, t], "a sample")
        solve, _ = trace(lambda a, b: [registry.div(b, a)], [t, t], "a sample")
        a = draw.array(t.shape, domain="nonzero")
        params = {"matvec": matvec, "solve": solve, "back": solve, "captured": (1, 1, 1), "name": "sample"}
        return [a, a, a, draw.array(t.shape)], params


def vecmat(matvec: Jaxpr, captured: int) -> Jaxpr:
    """Captured values, y -> Aᵀ y, from captured values, x -> A x."""
    n, count = len(matvec.outputs), len(matvec.inputs)
    flags = tuple(i >= captured for i in range(count))
    program, present = transposed_program(matvec, flags, (True,) * n, (False,) * count)

    def full(*args: Any) -> list[Any]:
        found = iter(interpret(program, args))
        return [next(found) if p else zeros(t) for p, t in zip(present, matvec.in_types[captured:], strict=True)]

    types = [*matvec.in_types[:captured], *matvec.out_types]
    return constless(trace(full, types, "linear_solve", sites=False)[0])


class Root(Implicit):
    """x with f(θ, x) = 0, found from a first guess. f: its captured, x -> zero.

    tangent: its captured, those of f, x, y -> ẋ with ∂f/∂x ẋ = y. `captured`: how many values f, solve and tangent
    captured. `name` is for people.
    """

    equation = "f"
    third = "tangent"
    affine = False

    def inverse(self, values: Sequence[Any], x: Sequence[Any], rhs: Sequence[Any], **params: Any) -> list[Any]:
        by_f, _, by_tangent, _ = grouped(values, params["captured"])
        return interpret(params["tangent"], [*by_tangent, *by_f, *x, *rhs])

    def batch(
        self,
        size: int,
        mapped: Sequence[bool],
        *xs: Any,
        f: Jaxpr,
        solve: Jaxpr,
        tangent: Jaxpr,
        captured: Groups,
        name: str,
    ) -> Any:
        by_f, by_solve, by_tangent, by_guess = grouped(mapped, captured)
        n = len(f.outputs)
        outs = self.apply(
            xs,
            f=batched(f, [*by_f, *[True] * n], size),
            solve=batched(solve, [*by_solve, *by_guess], size),
            tangent=batched(tangent, [*by_tangent, *by_f, *[True] * (2 * n)], size),
            captured=captured,
            name=name,
        )
        return outs, [True] * len(outs)

    def samples(self, draw: Any) -> Any:
        t = draw.type()
        f, _ = trace(lambda a, x: [registry.sub(registry.mul(x, x), a)], [t, t], "a sample")
        solve, _ = trace(lambda a, guess: [registry.sqrt(a)], [t, t], "a sample")
        tangent, _ = trace(lambda a, x, y: [registry.div(y, registry.add(x, x))], [t, t, t], "a sample")
        a = draw.array(t.shape, domain="positive")
        params = {"f": f, "solve": solve, "tangent": tangent, "captured": (1, 1, 0), "name": "sample"}
        return [a, a, draw.array(t.shape)], params


linear_solve = LinearSolve("linear_solve")
root = Root("root")
