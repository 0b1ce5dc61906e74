"""Linear systems and equations solved by functions of the user's, with derivatives that do not look into these."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..core import tree
from ..core.builder import trace
from ..core.errors import DtypeError, TreeError, message
from ..core.ir import Jaxpr
from ..core.leaves import checked, described, path_of
from ..core.trace import signature
from ..core.types import ShapedArray, aval_of
from ..passes.interpret import interpret
from ..passes.linearize import linear_parts
from ..passes.transpose import zeros
from ..regions import implicit
from .bodies import applied, check_function, fits, flattened, is_weak, strong, unequal

Map = Callable[[Any], Any]


def custom_linear_solve(
    matvec: Map,
    b: Any,
    solve: Callable[[Map, Any], Any],
    transpose_solve: Callable[[Map, Any], Any] | None = None,
    symmetric: bool = False,
    has_aux: bool = False,
) -> Any:
    """x with matvec(x) = b, as `solve(matvec, b)` finds it, differentiated as the solution of a linear system.

    b, x: pytrees of floats, alike. matvec: a linear function of them. transpose_solve: (vecmat, b) -> x, a solver of
    the transposed system, which reverse mode needs; with `symmetric` it is `solve`. With `has_aux` both solvers return
    (x, aux), and so does this function; aux has no derivative. There are derivatives of every order, by `b` and by
    what `matvec` closes over. All functions are traced once, abstractly.

    Errors: `GradError` in reverse mode without `transpose_solve`; `TreeError`, `ShapeError`, `DtypeError` where
    `matvec` or a solver returns something unlike `b`, naming the leaf.

    >>> from fgrad import grad, lax
    >>> solve = lambda matvec, b: b / matvec(1.0)
    >>> grad(lambda a: lax.custom_linear_solve(lambda x: a * x, 6.0, solve, solve))(2.0)
    np.float64(-1.5)
    """
    title = "lax.custom_linear_solve"
    check_function(matvec, f"{title}: matvec")
    check_function(solve, f"{title}: solve")
    like = _Like(title, "b", b)
    product, _ = like.program(matvec, "matvec")
    forwards, aux_tree = like.program(lambda v: solve(matvec, v), "solve", has_aux)
    backwards = forwards if symmetric else None
    if not symmetric and transpose_solve is not None:
        check_function(transpose_solve, f"{title}: transpose_solve")
        transposed = implicit.vecmat(product.closed(), len(product.consts))
        rmatvec = like.function(lambda *ys: interpret(transposed, [*product.consts, *ys]))
        backwards, _ = like.program(lambda v: transpose_solve(rmatvec, v), "transpose_solve", has_aux)
    consts = [product.consts, forwards.consts, () if backwards is None else backwards.consts]
    outs = applied(
        implicit.linear_solve,
        [c for group in consts for c in group] + like.leaves,
        len(forwards.outputs),
        matvec=product.closed(),
        solve=forwards.closed(),
        back=None if backwards is None else _first(backwards.closed(), len(like.types)),
        captured=tuple(len(group) for group in consts),
        name=title,
    )
    return like.result(outs, aux_tree)


def custom_root(
    f: Map,
    initial_guess: Any,
    solve: Callable[[Map, Any], Any],
    tangent_solve: Callable[[Map, Any], Any],
    has_aux: bool = False,
) -> Any:
    """x with f(x) = 0, as `solve(f, initial_guess)` finds it, differentiated by the implicit function theorem.

    initial_guess, x, f(x): pytrees of floats, alike. tangent_solve: (g, y) -> x with g(x) = y for the linear function
    g that is the derivative of `f` at the solution; reverse mode transposes it, so it is made of linear operations, or
    of `custom_linear_solve`. With `has_aux`, `solve` returns (x, aux), and so does this function; aux has no
    derivative. There are derivatives of every order, by what `f` closes over; none by `initial_guess`. All functions
    are traced once, abstractly.

    Errors: `TreeError`, `ShapeError`, `DtypeError` where `f` or a solver returns something unlike `initial_guess`.

    >>> from fgrad import grad, lax
    >>> def newton(f, x):
    ...     return lax.fori_loop(0, 9, lambda i, x: x - f(x) / (2 * x), x)
    >>> square_root = lambda a: lax.custom_root(lambda x: x * x - a, 1.0, newton, lambda g, y: y / g(1.0))
    >>> square_root(4.0), grad(square_root)(4.0)
    (np.float64(2.0), np.float64(0.25))
    """
    title = "lax.custom_root"
    for name, function in {"f": f, "solve": solve, "tangent_solve": tangent_solve}.items():
        check_function(function, f"{title}: {name}")
    like = _Like(title, "initial_guess", initial_guess)
    equation, _ = like.program(f, "f")
    solution, aux_tree = like.program(lambda guess: solve(f, guess), "solve", has_aux)
    tangent = _tangent(like, equation, tangent_solve)
    consts = [equation.consts, solution.consts, tangent.consts]
    outs = applied(
        implicit.root,
        [c for group in consts for c in group] + like.leaves,
        len(solution.outputs),
        f=equation.closed(),
        solve=solution.closed(),
        tangent=tangent.closed(),
        captured=tuple(len(group) for group in consts),
        name=title,
    )
    return like.result(outs, aux_tree)


def _tangent(like: _Like, equation: Jaxpr, tangent_solve: Callable[[Map, Any], Any]) -> Jaxpr:
    """What `equation` captured, x, y -> the solution of the equation's derivative at x for the right side y."""
    captured, types = len(equation.consts), like.types
    n = len(types)
    closed = equation.closed()
    primal, linear, _, marks = linear_parts(closed, [i >= captured for i in range(captured + n)])

    def program(*args: Any) -> list[Any]:
        residuals = interpret(primal, args[: captured + n])[n:]

        def push(*ts: Any) -> list[Any]:
            found = iter(interpret(linear, [*residuals, *ts]))
            return [next(found) if m else zeros(t) for m, t in zip(marks, types, strict=True)]

        y = tree.unflatten(like.structure, args[captured + n :])
        return like.leaves_of(tangent_solve(like.function(push), y), "what tangent_solve returns")

    ins = [*closed.in_types, *types]
    return trace(program, ins, like.title, body=True)[0]


def _first(jaxpr: Jaxpr, n: int) -> Jaxpr:
    """The program without the outputs behind the first n."""
    if len(jaxpr.outputs) == n:
        return jaxpr
    return Jaxpr(jaxpr.inputs, jaxpr.eqns, jaxpr.outputs[:n], jaxpr.consts, jaxpr.sites)


class _Like:
    """The pytree of floats that the vectors of a system are like."""

    def __init__(self, title: str, name: str, value: Any):
        self.title = title
        self.name = name
        found, self.structure = flattened(value, f"{title}: {name}")
        self.types: list[ShapedArray] = [aval_of(signature(x)) for x in found]
        self.leaves = [strong(x, t) for x, t in zip(found, self.types, strict=True)]
        for i, t in enumerate(self.types):
            if not t.inexact:
                what = f"{title}: {name}{path_of(self.structure, i)} must hold floats"
                raise DtypeError(message(what, got=t, do="convert it with .astype(float)"))

    def leaves_of(self, value: Any, what: str) -> list[Any]:
        """Leaves of a tree, checked to be like this; Python numbers are converted."""
        leaves, structure = tree.flatten(value)
        if structure != self.structure:
            got = tree.explain_mismatch(self.structure, value)
            wrong = f"{self.title}: {what} has another structure than {self.name}"
            raise TreeError(message(wrong, got=got, do=f"give it the structure of {self.name}"))
        leaves = checked(leaves, structure, f"{self.title}: {what} ")
        for i, (x, t) in enumerate(zip(leaves, self.types, strict=True)):
            sig = signature(x)
            found = aval_of(sig)
            if found != t and not (is_weak(sig) and fits(sig, t)):
                wrong = f"{self.title}: {what} has another type than {self.name}{path_of(structure, i)}"
                raise unequal(found, t)(message(wrong, got=f"{found} where {t} is expected", do=f"make it a {t}"))
        return [strong(x, t) for x, t in zip(leaves, self.types, strict=True)]

    def program(self, fun: Map, name: str, has_aux: bool = False) -> tuple[Jaxpr, tree.Structure | None]:
        """A function from such a tree to such a tree, called `name`; with the structure of the aux that it returns."""
        aux_tree: tree.Structure | None = None

        def flat(*leaves: Any) -> list[Any]:
            nonlocal aux_tree
            out = fun(tree.unflatten(self.structure, leaves))
            if not has_aux:
                return self.leaves_of(out, f"what {name} returns")
            if not (isinstance(out, tuple | list) and len(out) == 2):
                what = f"{self.title}: with has_aux, {name} must return a pair (x, aux)"
                raise TreeError(message(what, got=described(out), do="return a pair"))
            aux, aux_tree = flattened(out[1], f"{self.title}: the aux of {name} ")
            return [*self.leaves_of(out[0], f"what {name} returns"), *[strong(x, signature(x)) for x in aux]]

        jaxpr, _ = trace(flat, self.types, self.title, body=True)
        return jaxpr, aux_tree

    def function(self, flat: Callable[..., Sequence[Any]]) -> Map:
        """A function of leaves as one of trees."""
        return lambda x: tree.unflatten(self.structure, flat(*self.leaves_of(x, "the argument of the linear function")))

    def result(self, outs: list[Any], aux_tree: tree.Structure | None) -> Any:
        """The tree of the solution, or the pair of it and aux."""
        n = len(self.types)
        x = tree.unflatten(self.structure, outs[:n])
        return x if aux_tree is None else (x, tree.unflatten(aux_tree, outs[n:]))
