"""What linear systems and equations refuse: every error with its whole text and the user's line."""

import numpy as np
from pinned import bad, refused

from fgrad import grad, lax
from fgrad.core.errors import DtypeError, GradError, ShapeError, TreeError

x3 = np.array([1.0, 2.0, 3.0])
one = np.float32(1)
two = np.float64(2)


def test_solution_of_another_dtype():
    refused(
        lambda: lax.custom_linear_solve(lambda x: x, one, lambda m, b: two if bad else b),  # here
        DtypeError,
        "lax.custom_linear_solve: what solve returns has another type than b",
        got="float64[] where float32[] is expected",
        do="make it a float32[]",
        then=1.0,
    )


def test_product_of_another_shape():
    refused(
        lambda: lax.custom_linear_solve(lambda x: x.sum() if bad else x, x3, lambda m, b: b).tolist(),  # here
        ShapeError,
        "lax.custom_linear_solve: what matvec returns has another type than b",
        got="float64[] where float64[3] is expected",
        do="make it a float64[3]",
        then=[1, 2, 3],
    )


def test_system_of_integers():
    refused(
        lambda: lax.custom_linear_solve(lambda x: x, {"b": 1 if bad else 1.0}, lambda m, b: b),  # here
        DtypeError,
        "lax.custom_linear_solve: b['b'] must hold floats",
        got="int64[]",
        do="convert it with .astype(float)",
        then={"b": 1.0},
    )


def test_solver_without_aux():
    refused(
        lambda: lax.custom_root(lambda x: x, 0.0, lambda f, x: x, lambda g, y: y, has_aux=bool(bad)),  # here
        TreeError,
        "lax.custom_root: with has_aux, solve must return a pair (x, aux)",
        got="a traced float64[]",
        do="return a pair",
        then=0.0,
    )


def test_root_of_another_structure():
    refused(
        lambda: lax.custom_root(lambda x: x, {"a": 0.0}, lambda f, x: x["a"] if bad else x, lambda g, y: y),  # here
        TreeError,
        "lax.custom_root: what solve returns has another structure than initial_guess",
        got="at the top: expected a dict with keys 'a', got a float64[]",
        do="give it the structure of initial_guess",
        then={"a": 0.0},
    )


def test_reverse_mode_without_a_transposed_solver():
    def f(b):
        return lax.custom_linear_solve(lambda x: 2.0 * x, b, lambda m, b: b / 2)

    refused(
        lambda: grad(f)(1.0) if bad else f(1.0),  # here
        GradError,
        "lax.custom_linear_solve: reverse mode needs the solution of the transposed system",
        do="pass transpose_solve, or symmetric=True where A equals its transpose",
        then=0.5,
    )
