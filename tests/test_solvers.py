"""custom_linear_solve and custom_root: derivatives against differences and against solutions that need no solver."""

import numpy as np
import pytest

import fgrad
import fgrad.numpy as fnp
from fgrad import lax
from fgrad.core.errors import GradError
from fgrad.testing import check_close, check_grads, check_vmap

GENERATOR = np.random.default_rng(0)
MATRIX = GENERATOR.normal(size=(3, 3)) + 4 * np.eye(3)
POSITIVE = MATRIX @ MATRIX.T
RIGHT = GENERATOR.normal(size=3)
WRAPS = [lambda f: f, fgrad.jit]


def conjugate_gradient(matvec, b):
    """For symmetric positive matrices: a loop whose derivative would be that of its iterations."""

    def step(i, state):
        x, r, p = state
        q = matvec(p)
        rr = r @ r
        alpha = rr / fnp.maximum(p @ q, 1e-300)
        x, r = x + alpha * p, r - alpha * q
        return x, r, r + (r @ r) / fnp.maximum(rr, 1e-300) * p

    return lax.fori_loop(0, 3, step, (fnp.zeros_like(b), b, b))[0]


def by_matrix(matvec, b):
    """The solution by the matrix of a map of vectors."""
    return np.linalg.solve(fgrad.vmap(matvec, 0, 1)(np.eye(len(b), dtype=b.dtype)), b)


def general(a, b):
    return lax.custom_linear_solve(lambda x: a @ x, b, by_matrix, by_matrix)


def symmetric(a, b):
    return lax.custom_linear_solve(lambda x: a @ x, b, conjugate_gradient, symmetric=True)


@pytest.mark.parametrize("wrap", WRAPS)
def test_linear_systems(wrap):
    check_close(wrap(general)(MATRIX, RIGHT), np.linalg.solve(MATRIX, RIGHT))
    check_close(wrap(symmetric)(POSITIVE, RIGHT), np.linalg.solve(POSITIVE, RIGHT), rtol=1e-10)


@pytest.mark.parametrize("wrap", WRAPS)
def test_derivatives_of_linear_systems(wrap):
    check_grads(wrap(general), (MATRIX, RIGHT), order=2)
    check_grads(wrap(lambda m, b: symmetric(m @ m.T, b)), (MATRIX, RIGHT), order=2)
    loss = lambda f: lambda a, b: np.sin(f(a, b)).sum()  # noqa: E731
    want = fgrad.grad(loss(np.linalg.solve), (0, 1))(MATRIX, RIGHT)
    check_close(wrap(fgrad.grad(loss(general), (0, 1)))(MATRIX, RIGHT), want, rtol=1e-10)
    second = fgrad.hessian(loss(np.linalg.solve))(MATRIX, RIGHT)
    check_close(wrap(fgrad.hessian(loss(general)))(MATRIX, RIGHT), second, rtol=1e-9)


def test_linear_systems_under_vmap():
    matrices = np.stack([MATRIX, MATRIX.T, 2 * MATRIX])
    rights = GENERATOR.normal(size=(3, 3))
    for axes, args in [((0, 0), (matrices, rights)), ((0, None), (matrices, RIGHT)), ((None, 0), (MATRIX, rights))]:
        check_vmap(general, args, axes)
        check_vmap(fgrad.grad(lambda a, b: np.sin(general(a, b)).sum(), (0, 1)), args, axes)


def test_linear_systems_of_trees_with_aux():
    """Blocks of unknowns, and results of the solver that have no derivative."""

    def f(a, b):
        def matvec(t):
            return {"u": a * t["u"] + t["v"].sum(), "v": 2.0 * t["v"] - t["u"]}

        def solve(matvec, b):
            flat, back = fgrad.flatten_util.ravel_pytree(b)
            columns = fgrad.vmap(lambda e: fgrad.flatten_util.ravel_pytree(matvec(back(e)))[0], 0, 1)(np.eye(3))
            return back(np.linalg.solve(columns, flat)), {"steps": 7, "condition": flat.sum()}

        return lax.custom_linear_solve(matvec, b, solve, solve, has_aux=True)

    b = {"u": 1.0, "v": np.array([2.0, 3.0])}
    x, aux = f(3.0, b)
    check_close({"u": 3.0 * x["u"] + x["v"].sum(), "v": 2.0 * x["v"] - x["u"]}, b)
    check_close(aux, {"steps": np.int64(7), "condition": np.float64(6)})
    check_grads(lambda a, b: f(a, b)[0], (3.0, b), order=2)
    assert fgrad.grad(lambda a: f(a, b)[1]["condition"])(3.0) == 0.0
    check_grads(fgrad.jit(lambda a, b: f(a, b)[0]), (3.0, b), order=1)


def test_complex_systems():
    a = MATRIX + 0.3j * GENERATOR.normal(size=(3, 3))
    b = RIGHT + 1j
    check_grads(general, (a, b), order=2)


def test_reverse_mode_needs_the_transposed_solver():
    f = lambda b: lax.custom_linear_solve(lambda x: MATRIX @ x, b, by_matrix)  # noqa: E731
    tangent = fgrad.jvp(f, (RIGHT,), (RIGHT,))[1]
    check_close(tangent, np.linalg.solve(MATRIX, RIGHT))
    with pytest.raises(GradError, match="reverse mode needs the solution of the transposed system"):
        fgrad.grad(lambda b: f(b).sum())(RIGHT)


def test_the_solver_is_not_differentiated():
    """It captures a traced value by which it has a wrong derivative, and rounds."""

    def f(a):
        solve = lambda matvec, b: np.round(b / a, 12) + 0.0 * a**5  # noqa: E731
        return lax.custom_linear_solve(lambda x: a * x, 6.0, solve, solve)

    assert f(2.0) == 3.0
    for wrap in WRAPS:
        assert wrap(fgrad.grad(f))(2.0) == -1.5
        assert wrap(fgrad.grad(fgrad.grad(f)))(2.0) == 1.5
        assert wrap(lambda a: fgrad.jvp(f, (a,), (1.0,))[1])(2.0) == -1.5


# ---------------------------------------------------------------------------------------------------------------- roots


def newton(f, x):
    """Newton's method for a function of a vector, until the step is small; the derivative of the loop is not needed."""
    jacobian = fgrad.jacfwd(f)

    def step(state):
        x, _ = state
        move = np.linalg.solve(jacobian(x), f(x))
        return x - move, np.abs(move).max()

    return lax.while_loop(lambda s: s[1] > 1e-12, step, (x, 1.0))[0]


def dense(g, y):
    return np.linalg.solve(fgrad.jacfwd(g)(fnp.zeros_like(y)), y)


def equilibrium(w, b):
    """x = tanh(w x) / 2 + b."""
    return lax.custom_root(lambda x: x - np.tanh(w @ x) / 2 - b, fnp.zeros_like(b), newton, dense)


def iterated(w, b):
    x = fnp.zeros_like(b)
    for _ in range(200):
        x = np.tanh(w @ x) / 2 + b
    return x


@pytest.mark.parametrize("wrap", WRAPS)
def test_roots(wrap):
    args = (0.5 * GENERATOR.normal(size=(3, 3)), RIGHT)
    check_close(wrap(equilibrium)(*args), iterated(*args), rtol=1e-10)
    loss = lambda f: lambda w, b: np.sin(f(w, b)).sum()  # noqa: E731
    want = fgrad.grad(loss(iterated), (0, 1))(*args)
    check_close(wrap(fgrad.grad(loss(equilibrium), (0, 1)))(*args), want, rtol=1e-9)
    tangents = (np.ones((3, 3)), np.ones(3))
    want = fgrad.hvp(loss(iterated), args, tangents)
    check_close(wrap(lambda *v: fgrad.hvp(loss(equilibrium), v, tangents))(*args), want, rtol=1e-8)
    check_grads(equilibrium, args, order=2)


def test_roots_under_vmap():
    ws = 0.5 * GENERATOR.normal(size=(2, 3, 3))
    bs = GENERATOR.normal(size=(2, 3))
    for axes, args in [((0, 0), (ws, bs)), ((0, None), (ws, bs[0])), ((None, 0), (ws[0], bs))]:
        check_vmap(equilibrium, args, axes, rtol=1e-9)
        check_vmap(fgrad.grad(lambda w, b: np.sin(equilibrium(w, b)).sum(), (0, 1)), args, axes, rtol=1e-9)


def bisect(f, x):
    """No derivative at all: every step is a comparison."""

    def halve(i, ends):
        low, high = ends
        middle = (low + high) / 2
        return fnp.where(f(middle) > 0, low, middle), fnp.where(f(middle) > 0, middle, high)

    return lax.fori_loop(0, 60, halve, (0.0 * x, 0.0 * x + 10.0))[0]


def test_scalar_roots():
    cube_root = lambda a: lax.custom_root(lambda x: x**3 - a, 1.0, bisect, lambda g, y: y / g(1.0))  # noqa: E731
    for wrap in WRAPS:
        check_close(wrap(cube_root)(8.0), np.float64(2), rtol=1e-14)
        check_close(wrap(fgrad.grad(cube_root))(8.0), np.float64(1 / 12), rtol=1e-13)
        check_close(wrap(fgrad.grad(fgrad.grad(cube_root)))(8.0), np.float64(-1 / 144), rtol=1e-12)
    check_grads(cube_root, (3.0,), order=2)


def test_roots_of_trees_with_aux_and_linear_solves_inside():
    def f(a, guess):
        def equation(t):
            return {"x": t["x"] ** 2 + t["y"] - a, "y": t["y"] - np.exp(-t["x"])}

        def solve(equation, t):
            for _ in range(30):
                residual = equation(t)
                t = {"x": t["x"] - residual["x"] / (2 * t["x"] - np.exp(-t["x"])), "y": np.exp(-t["x"])}
            return t, residual

        def tangent_solve(g, y):
            def by_columns(g, y):
                u, v = g({"x": 1.0, "y": 0.0}), g({"x": 0.0, "y": 1.0})
                det = u["x"] * v["y"] - u["y"] * v["x"]
                return {"x": (v["y"] * y["x"] - v["x"] * y["y"]) / det, "y": (u["x"] * y["y"] - u["y"] * y["x"]) / det}

            return lax.custom_linear_solve(g, y, by_columns, by_columns)

        return lax.custom_root(equation, {"x": guess, "y": 1.0}, solve, tangent_solve, has_aux=True)

    x, residual = f(2.0, 1.0)
    check_close(x["x"] ** 2 + np.exp(-x["x"]), np.float64(2))
    assert max(abs(residual["x"]), abs(residual["y"])) < 1e-10
    check_grads(lambda a: f(a, 1.0)[0], (2.0,), order=2)
    check_grads(fgrad.jit(lambda a: f(a, 1.0)[0]), (2.0,), order=1)
    assert fgrad.grad(lambda guess: f(2.0, guess)[0]["x"])(1.0) == 0.0


def test_solvers_in_loops():
    """A step of an implicit method is an equation: x' = x - h x'^3."""

    def f(h, x, loops):
        def step(x, _):
            nonlocal h
            after = loops(h, x)
            return after, after

        return lax.scan(step, x, length=5)[1].sum()

    def implicit(h, x):
        return lax.custom_root(lambda y: y - x + h * y**3, x, bisect, lambda g, y: y / g(1.0))

    def explicit(h, x):
        y = x
        for _ in range(50):
            y = y - (y - x + h * y**3) / (1 + 3 * h * y**2)
        return y

    want = fgrad.grad(lambda h, x: f(h, x, explicit), (0, 1))(0.1, 1.5)
    check_close(fgrad.grad(lambda h, x: f(h, x, implicit), (0, 1))(0.1, 1.5), want, rtol=1e-11)
    check_close(fgrad.jit(fgrad.grad(lambda h, x: f(h, x, implicit), (0, 1)))(0.1, 1.5), want, rtol=1e-11)
