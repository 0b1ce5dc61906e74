"""fgrad.testing: checks pass what is right, and name what is wrong."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fgrad
from fgrad import tree
from fgrad.core.primitive import registry
from fgrad.testing import Draw, arrays, check_close, check_grads, check_jit, check_vmap, dtypes, pytrees, shapes
from fgrad.testing.strategies import SPECIAL


def wrong_forward(factor):
    f = fgrad.custom_jvp(lambda x: np.sin(x))
    f.defjvp(lambda primals, tangents: (np.sin(primals[0]), factor * np.cos(primals[0]) * tangents[0]))
    return f


def wrong_second():
    """Right at first order; the derivative of its derivative is twice what it should be."""
    slope = fgrad.custom_jvp(lambda x: np.cos(x))
    slope.defjvp(lambda primals, tangents: (np.cos(primals[0]), -2 * np.sin(primals[0]) * tangents[0]))
    f = fgrad.custom_jvp(lambda x: np.sin(x))
    f.defjvp(lambda primals, tangents: (np.sin(primals[0]), slope(primals[0]) * tangents[0]))
    return f


def wrong_backward():
    f = fgrad.custom_vjp(lambda x: x * x)
    f.defvjp(lambda x: (x * x, x), lambda x, ct: (3 * x * ct,))
    return f


X = np.array([0.5, 1.25])


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "c16", "c8"])
def test_check_grads_accepts_right_derivatives(dtype):
    x = (X + (0.25j if dtype[0] == "c" else 0)).astype(dtype)
    check_grads(lambda t: {"z": np.sin(t["a"]) * t["b"][0], "n": 3}, ({"a": x, "b": [x, np.arange(2)]},), order=2)
    check_grads(lambda x: x**3 / 4, (x,), order=3)


def test_check_grads_takes_jax_s_arguments():
    check_grads(np.sin, (X,), 2, ("rev",), 1e-6, 1e-6, 1e-3)
    check_grads(np.sin, [1.5], order=1, modes=["fwd"])
    check_grads(wrong_backward(), (X,), order=0)
    check_grads(lambda i: i + 1, (np.arange(3),))


@pytest.mark.parametrize("modes", [("fwd",), ("rev",), ("fwd", "rev")])
@pytest.mark.parametrize("f", [wrong_forward(1.001), wrong_backward()])
def test_check_grads_refuses_wrong_first_derivatives(f, modes):
    with pytest.raises(AssertionError, match=rf"order 1, mode '{modes[0]}': wrong derivative by args\[0\]"):
        check_grads(f, (X,), order=1, modes=modes)


@pytest.mark.parametrize(("modes", "path"), [(("fwd",), "fwd of fwd"), (("rev",), "rev of rev")])
def test_check_grads_refuses_wrong_second_derivatives(modes, path):
    f = wrong_second()
    check_grads(f, (X,), order=1)
    with pytest.raises(AssertionError, match=rf"order 2, mode '{modes[0]}' \({path}\): wrong derivative by args\[0\]"):
        check_grads(f, (X,), order=2, modes=modes)


def test_check_grads_names_the_argument_and_both_numbers():
    wrong = wrong_forward(2.0)
    args = ({"w": [X, 0.5]}, 1.5)

    def loss(p, y):
        return p["w"][0] * y + wrong(p["w"][1])

    with pytest.raises(AssertionError) as error:
        check_grads(loss, args, modes=("fwd",))
    slope = abs(np.cos(0.5))
    text = str(error.value)
    assert "check_grads(loss): order 1, mode 'fwd': wrong derivative by args[0]['w'][1]" in text
    got, want = (
        float(part.split()[-1])
        for part in text.split("got:")[1].split("\n")[0].split(" where finite differences give ")
    )
    assert got == pytest.approx(2 * want) and abs(want) <= slope
    assert "result 0, element (0,)" in text
    with pytest.raises(AssertionError, match=r"mode 'rev': wrong derivative by args\[0\]\['w'\]\[1\]"):
        check_grads(loss, args, modes=("rev",))


def test_check_grads_refuses_nan():
    with pytest.raises(AssertionError, match="nan"), np.errstate(invalid="ignore"):
        check_grads(np.log, (-1.0,), order=1)


def test_check_grads_refuses_unknown_modes():
    with pytest.raises(ValueError, match="modes of check_grads are 'fwd' and 'rev'"):
        check_grads(np.sin, (X,), modes=("forward",))


def test_check_jit_and_check_vmap_refuse_what_differs():
    calls = []

    def unsteady(x):
        calls.append(None)
        return x * len(calls)

    with pytest.raises(AssertionError, match=r"the result of jit\(unsteady\) differs at element \(0,\)"):
        check_jit(unsteady, (X,))
    with pytest.raises(AssertionError, match=r"the result of vmap\(unsteady, in_axes=0\)"):
        check_vmap(unsteady, (X,))


@pytest.mark.parametrize("in_axes", [0, 1, -1, (0, None), (None, 1), [1, 0]])
def test_check_vmap_takes_axes(in_axes):
    x = np.arange(9.0).reshape(3, 3)
    check_vmap(lambda x, y: {"z": x * y, "w": np.sum(x)}, (x, x + 1), in_axes)
    check_vmap(lambda x, y: np.add.reduce(x) * y, (x, x + 1), in_axes, out_axes=-1)


def test_check_vmap_without_lanes():
    check_vmap(lambda x, y: (x @ y, y), (np.ones((0, 2, 3)), np.ones(3)), (0, None))


@pytest.mark.parametrize(
    ("got", "want", "text"),
    [
        ((1.0,), [1.0], "another structure"),
        (np.float32(1), 1.0, r"another type than expected \(float64\[\]\)"),
        (np.ones(2), np.ones((2, 1)), r"another type than expected \(float64\[2, 1\]\)"),
        ({"a": np.array([1.0, 2.0])}, {"a": np.array([1.0, 2.1])}, r"the result\['a'\] differs at element \(1,\)"),
        (np.array([np.nan]), np.array([0.0]), r"differs at element \(0,\)"),
        (np.array([np.inf]), np.array([-np.inf]), r"differs at element \(0,\)"),
        (np.array([2]), np.array([3]), r"differs at element \(0,\)"),
    ],
)
def test_check_close_refuses(got, want, text):
    with pytest.raises(AssertionError, match=text):
        check_close(got, want)


def test_check_close_accepts_rounding_and_equal_nan():
    x = np.array([1.0, np.nan, np.inf, 1e300])
    check_close(x, x.copy())
    check_close(np.array([1e-18, 1.0]), np.array([0.0, 1.0]))
    check_close(np.float32(1.0), np.float32(1.0000001))


@settings(max_examples=50)
@given(arrays())
def test_arrays_are_floats_apart_from_each_other(x):
    assert x.dtype.kind == "f" and x.ndim <= 3
    values = np.sort(np.asarray(x, np.float64).ravel())
    assert np.all(np.abs(values) < 2.6)
    assert values.size > 150 or np.all(np.diff(values) > 0.008)
    assert np.all(np.abs(values - np.rint(2 * values) / 2) > 0.03)


@settings(max_examples=50)
@given(st.data())
def test_arrays_have_what_is_asked_for(data):
    shape, dtype = data.draw(shapes(1, 2, 1, 4)), data.draw(dtypes())
    x = data.draw(arrays(shape, dtype))
    assert 1 <= len(shape) <= 2 and np.all(np.isin(shape, [1, 2, 3, 4]))
    assert x.shape == shape and x.dtype == dtype
    assert data.draw(arrays(3, st.sampled_from(["f4"]))).shape == (3,)
    assert np.all(data.draw(arrays((9,), "f8", domain="positive")) > 0)
    assert np.all(np.abs(data.draw(arrays((9,), "c16", domain="unit"))) < 1.2)
    special = data.draw(arrays((40,), "f8", special=True))
    assert np.isin(special, SPECIAL).any() or np.isnan(special).any()


@settings(max_examples=50)
@given(pytrees(arrays((2,), "f8"), max_leaves=4))
def test_pytrees_are_pytrees_of_their_leaves(value):
    leaves, treedef = tree.flatten(value)
    assert all(isinstance(x, np.ndarray) and x.shape == (2,) for x in leaves)
    check_close(tree.unflatten(treedef, leaves), value)


@settings(max_examples=30)
@given(st.data())
def test_draw_again_repeats_choices_and_draws_other_numbers(data):
    draw = Draw(data.draw)

    def sample(d):
        return d.shape(1, 2, 1), d.integer(0, 9), d.bool(), d.sampled("abc"), d.permutation(3), d.array((4,)), d.type()

    first, second = sample(draw), sample(draw.again())
    assert first[:5] == second[:5] and first[6] == second[6]
    assert not np.any(first[5] == second[5])
    assert draw.registry is registry


def test_importing_fgrad_does_not_import_the_testing_tools():
    code = "import sys, fgrad; sys.exit('hypothesis' in sys.modules or 'fgrad.testing' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_checks_work_where_hypothesis_is_not_installed():
    code = """
import sys
sys.modules["hypothesis"] = None
import numpy as np, fgrad
fgrad.testing.check_grads(np.sin, (0.5,))
assert "arrays" in dir(fgrad.testing)
try:
    fgrad.testing.arrays
except ModuleNotFoundError as error:
    assert "hypothesis" in str(error)
else:
    raise AssertionError
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
