"""Vector mathematics, as machine code, against mpmath and NumPy: errors in ULP, edges, special values, symmetries.

The exact functions, the points and the compiled kernels are those of benchmarks/vector_math.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from fgrad.compile.scalars import FLOATS, MATH, OPS, WIDE, dtype_of
from fgrad.compile.vecmath import FUNCTIONS, formula

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from vector_math import EXACT, errors, native, peer, points

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, about the special values

INF, NAN = np.inf, np.nan
UNARY = [name for name in FUNCTIONS if MATH[name] == 1]
BINARY = [name for name in FUNCTIONS if MATH[name] == 2]
ODD = ["sin", "tan", "asin", "atan", "sinh", "tanh", "asinh", "atanh", "erf", "cbrt"]
EVEN = ["cos", "cosh"]

# Largest errors in ULP that docs/vector_math.md promises.
LIMITS = {
    **dict.fromkeys(["cbrt"], 0.51),
    **dict.fromkeys(["exp", "exp2", "log", "log10", "log1p", "atanh", "hypot"], 1.0),
    **dict.fromkeys(["log2", "asinh", "erf", "asin", "acos", "pow"], 1.25),
    **dict.fromkeys(["cosh", "sin", "cos", "atan", "atan2"], 1.6),
    **dict.fromkeys(["expm1", "sinh", "acosh"], 1.8),
    **dict.fromkeys(["tan", "tanh", "logistic", "erfc", "logaddexp"], 2.0),
}


def values(type: str, *numbers: float) -> np.ndarray:
    return np.array(numbers, dtype_of(type))


def specials(type: str) -> np.ndarray:
    """Zeros, subnormal, smallest and largest numbers, ones and their neighbours, inf, of both signs; NaN."""
    info = np.finfo(dtype_of(type))
    one = values(type, 1)[0]
    sizes = [0, info.smallest_subnormal, info.tiny / 2, info.tiny, info.eps, 0.5, np.nextafter(one, 0 * one), one]
    sizes += [np.nextafter(one, 2 * one), 1.5, 2, 3, 10, 100, 1000, 1e30, info.max, INF]
    found = np.array(sizes, dtype_of(type))
    return np.concatenate([found, -found, values(type, NAN)])


def same_kind(got: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Where both are NaN, or equal infinities, or zeros of one sign, or both something else."""
    odd = np.isinf(got) | np.isinf(expected) | (got == 0) | (expected == 0)
    same = (got == expected) & (np.signbit(got) == np.signbit(expected))
    return np.where(np.isnan(got) | np.isnan(expected), np.isnan(got) & np.isnan(expected), ~odd | same)


@pytest.mark.parametrize("type", FLOATS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_errors_are_small(name: str, type: str) -> None:
    for group, arrays in points(name, type, 240, seed=1).items():
        found = errors(name, type, *arrays)
        worst = int(found.argmax())
        assert found[worst] <= LIMITS[name], (group, [a[worst] for a in arrays], found[worst])


@pytest.mark.parametrize("type", FLOATS)
@pytest.mark.parametrize("name", [n for n in UNARY if peer(n)[0] == "NumPy"])
def test_special_values_are_those_of_numpy(name: str, type: str) -> None:
    x = specials(type)
    if name in ("sin", "cos", "tan"):
        x = x[~((np.abs(x) > 2.0**46) & np.isfinite(x))]
    got, expected = native(name, type, x), peer(name)[1](x)
    wrong = ~same_kind(got, expected)
    assert not wrong.any(), (x[wrong], got[wrong], expected[wrong])


@pytest.mark.parametrize("type", FLOATS)
@pytest.mark.parametrize("name", BINARY)
def test_special_pairs_are_those_of_numpy(name: str, type: str) -> None:
    x, y = (a.ravel() for a in np.meshgrid(specials(type), specials(type)))
    got, expected = native(name, type, x, y), peer(name)[1](x, y)
    wrong = ~same_kind(got, expected)
    assert not wrong.any(), (x[wrong], y[wrong], got[wrong], expected[wrong])
    finite = np.isfinite(expected) & (name != "logaddexp" or (x > 0) | (y > 0))  # else it may cancel
    np.testing.assert_allclose(got[finite], expected[finite], rtol=8 * np.finfo(x.dtype).eps, atol=0)


@pytest.mark.parametrize("type", FLOATS)
def test_special_values_of_what_numpy_does_not_have(type: str) -> None:
    x = values(type, 0.0, -0.0, INF, -INF, NAN)
    np.testing.assert_array_equal(native("logistic", type, x), values(type, 0.5, 0.5, 1, 0, NAN))
    np.testing.assert_array_equal(native("erfc", type, x), values(type, 1, 1, 0, 2, NAN))
    erf = native("erf", type, x)
    np.testing.assert_array_equal(erf, values(type, 0, 0, 1, -1, NAN))
    assert np.signbit(erf[1]) and not np.signbit(erf[0])


@pytest.mark.parametrize("type", FLOATS)
@pytest.mark.parametrize("name", ODD + EVEN)
def test_symmetry_is_exact(name: str, type: str) -> None:
    sign = -1 if name in ODD else 1
    for (x,) in points(name, type, 500, seed=2).values():
        np.testing.assert_array_equal(native(name, type, -x), sign * native(name, type, x))
    zero = native(name, type, values(type, 0.0, -0.0))
    assert list(np.signbit(zero)) == [False, name in ODD]


@pytest.mark.parametrize("type", FLOATS)
@pytest.mark.parametrize("name", [n for n in UNARY if EXACT[n](0) == 0])
def test_tiny_numbers(name: str, type: str) -> None:
    """Also subnormal ones, bit for bit where the derivative at zero is one."""
    info = np.finfo(dtype_of(type))
    x = np.array([info.smallest_subnormal * k for k in (1, 2, 3, 1001)] + [info.tiny, info.eps**3], dtype_of(type))
    x = np.concatenate([x, -x])
    if name in ("erf", "cbrt"):
        assert errors(name, type, x).max() <= LIMITS[name]
    else:
        np.testing.assert_array_equal(native(name, type, x), x)


@pytest.mark.parametrize("type", FLOATS)
@pytest.mark.parametrize("name", ["exp", "exp2", "expm1", "sinh", "cosh"])
def test_results_end_where_they_round_to_inf_or_zero(name: str, type: str) -> None:
    """`errors` counts an infinity that should be none, and the reverse, as an infinite error."""
    low, high = {"f32": (-127, 128), "f64": (-1023, 1024)}[type]
    scale = 1.0 if name == "exp2" else np.log(2.0)
    top = values(type, (high + (name in ("sinh", "cosh"))) * scale)
    steps = np.arange(-60, 61) * np.spacing(top)
    assert errors(name, type, top + steps).max() <= LIMITS[name]
    if name in ("exp", "exp2"):
        bottom = values(type, (low - np.finfo(top.dtype).nmant) * scale)
        x = bottom + np.arange(-60, 61) * np.spacing(-bottom)
        assert errors(name, type, x).max() <= LIMITS[name]
        assert native(name, type, x)[0] == 0 < native(name, type, x)[-1]


@pytest.mark.parametrize("type", FLOATS)
def test_results_that_are_exact(type: str) -> None:
    whole = np.arange(-126 if type == "f32" else -1022, 128 if type == "f32" else 1024).astype(dtype_of(type))
    powers = np.ldexp(np.ones_like(whole), whole.astype(int))  # np.exp2 itself may be off
    np.testing.assert_array_equal(native("exp2", type, whole), powers)
    np.testing.assert_array_equal(native("log2", type, powers), whole)
    small = np.arange(1, 100).astype(dtype_of(type))
    np.testing.assert_array_equal(native("cbrt", type, small**3), small)
    np.testing.assert_array_equal(native("pow", type, small, np.full_like(small, 3)), small**3)
    np.testing.assert_array_equal(native("pow", type, small**2, np.full_like(small, 0.5)), small)
    np.testing.assert_array_equal(native("hypot", type, 3 * small, 4 * small), 5 * small)
    tens = np.arange(1, 11 if type == "f32" else 23)
    np.testing.assert_array_equal(native("log10", type, np.array([10.0**n for n in tens], dtype_of(type))), tens)
    np.testing.assert_array_equal(native("acos", type, values(type, 1, 0, -1)), values(type, 0, np.pi / 2, np.pi))
    np.testing.assert_array_equal(native("asin", type, values(type, 1, -1)), values(type, np.pi / 2, -np.pi / 2))
    np.testing.assert_array_equal(native("atan", type, values(type, INF, -INF)), values(type, np.pi / 2, -np.pi / 2))


@pytest.mark.parametrize("type", FLOATS)
@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_multiples_of_a_quarter_turn(name: str, type: str) -> None:
    k = np.concatenate([np.arange(1, 200), 2 ** np.arange(8, 44)])
    x = (k * (np.pi / 2)).astype(dtype_of(type))
    assert errors(name, type, x).max() <= LIMITS[name]


@pytest.mark.parametrize("type", FLOATS)
def test_far_angles_are_taken_for_zero(type: str) -> None:
    x = values(type, 2.0**46, -1e30, np.finfo(dtype_of(type)).max)
    assert (native("sin", type, x) == 0).all() and (native("tan", type, x) == 0).all()
    assert (native("cos", type, x) == 1).all()


@pytest.mark.parametrize("type", FLOATS)
def test_bounded_functions_stay_in_their_bounds(type: str) -> None:
    bounds = {"tanh": (-1, 1), "erf": (-1, 1), "logistic": (0, 1), "erfc": (0, 2), "sin": (-1, 1), "cos": (-1, 1)}
    for name, (low, high) in bounds.items():
        for (x,) in points(name, type, 2000, seed=3).values():
            y = native(name, type, x)
            assert (y >= low).all() and (y <= high).all(), name


@pytest.mark.parametrize("type", FLOATS)
@pytest.mark.parametrize("name", ["tanh", "erf", "logistic", "atan", "asinh", "sinh"])
def test_growing_functions_do_not_fall_by_more_than_their_error(name: str, type: str) -> None:
    x = np.linspace(-6, 6, 20001).astype(dtype_of(type))
    y = native(name, type, x)
    assert (np.diff(y) >= -2 * np.spacing(np.abs(y[1:]))).all()


@pytest.mark.parametrize("type", FLOATS)
def test_logaddexp_where_it_cancels(type: str) -> None:
    """There the error is small beside the operands; no formula that rounds their difference does better."""
    rng = np.random.default_rng(4)
    x, y = (rng.uniform(-3, 1, 400).astype(dtype_of(type)) for _ in range(2))
    relative = errors("logaddexp", type, x, y) * np.spacing(np.abs(native("logaddexp", type, x, y)))
    assert (relative <= 2 * np.spacing(np.maximum(1, np.maximum(abs(x), abs(y))))).all()


@pytest.mark.parametrize("type", FLOATS)
def test_the_number_of_elements_does_not_matter(type: str) -> None:
    x = np.random.default_rng(5).uniform(0.1, 0.9, 70).astype(dtype_of(type))
    for name in UNARY:
        whole = native(name, type, x)
        for n in (1, 3, 8, 17, 33):
            np.testing.assert_array_equal(native(name, type, x[:n]), whole[:n])


@pytest.mark.parametrize("type", FLOATS)
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("wide", [False, True])
def test_formulas_are_straight_lines_of_scalar_operations(name: str, type: str, wide: bool) -> None:
    f = formula(name, type, wide)
    assert f is formula(name, type, wide)
    known = set(f.params)
    for statement in f.statements:
        assert statement.op in OPS or statement.op == "const" or (wide and statement.op in WIDE)
        assert known.issuperset(statement.args)
        known.add(statement)
    assert f.result in known and f.result.type == type
