"""What loops, bodies and solvers refuse: every error with its whole text and the user's line."""

import numpy as np
from pinned import bad, refused
from test_errors_values import FLOAT, RETURN

import fgrad
from fgrad import grad, jit, lax
from fgrad.core.errors import (
    ConcretizationError,
    DtypeError,
    LeafError,
    LeakedTracerError,
    ShapeError,
    TreeError,
)

x3 = np.array([1.0, 2.0, 3.0])
one = np.float32(1)
two = np.float64(2)

# what the errors advise
SAME = "return the same containers with the same keys and lengths"
SHAPE = "return it in the shape in which it comes, or start from the other"
LENGTH = "cut or pad the longer ones; leave length out where there are xs"
KNOWN = "take it from a shape; fori_loop and while_loop take a traced number of runs"
BOUNDS = "convert them with int(...), or .astype(np.int64) where they are traced"
BRANCH = (
    "use fgrad.numpy.where(condition, a, b) or fgrad.lax.cond(condition, f, g, *operands): the function is traced "
    "once, and runs with values that Python does not see"
)
NDARRAY = (
    "read an ndarray from around the function with fgrad.numpy.take(a, i); write into one that the loop carries "
    "(in a branch: into a copy); use np.stack or fgrad.numpy.array([...]) for lists"
)
STATIC = (
    "take the number from a shape or from outside the function; array indices and the bounds of fgrad.lax.fori_loop "
    "may be traced"
)


# ------------------------------------------------------------------------------------------------------------ carries


def test_carry_of_another_dtype():
    def step(carry, x):
        return {"w": [carry["w"][0] * (two if bad else 2)]}, None

    refused(
        lambda: lax.scan(step, {"w": [one]}, x3)[0],  # here
        DtypeError,
        "lax.scan: step changes the type of the carry['w'][0]",
        got="float32[] goes in, float64[] comes out",
        do="convert what is returned with .astype(np.float32), or start from float64",
        then={"w": [8]},
    )


def test_carry_of_another_shape():
    def step(i, carry):
        return carry[0], carry[1] + (np.ones(2) if bad else 1)

    refused(
        lambda: lax.fori_loop(0, 3, step, (0, 0.5)),  # here
        ShapeError,
        "lax.fori_loop: step changes the type of the carry[1]",
        got="float64[] goes in, float64[2] comes out",
        do=SHAPE,
        then=(0, 3.5),
    )


def test_carry_that_cannot_hold_what_comes_out():
    refused(
        lambda: lax.while_loop(lambda c: c < 3, lambda c: np.int32(5) if bad else c + 1, 0.5),  # here
        DtypeError,
        "lax.while_loop: <lambda> changes the type of the carry",
        got="float64[] goes in, int32[] comes out",
        do="convert what is returned with .astype(np.float64), or start from int32",
        then=3.5,
    )


def test_carry_of_another_structure():
    refused(
        lambda: lax.scan(lambda c, x: ({"b" if bad else "a": c["a"] + x}, None), {"a": 0.0}, x3)[0],  # here
        TreeError,
        "lax.scan: <lambda> returns a carry of another structure than it gets",
        got="at the top: missing key 'a', unexpected key 'b'",
        do=SAME,
        then={"a": 6.0},
    )


def test_carry_of_fewer_values():
    def step(c):
        return c[:1] if bad else [c[0] + 1, c[1]]

    refused(
        lambda: lax.while_loop(lambda c: c[0] < 3, step, [0, 1.5]),  # here
        TreeError,
        "lax.while_loop: step returns a carry of another structure than it gets",
        got="at the top: expected a list of 2, got a list of 1",
        do=SAME,
        then=[3, 1.5],
    )


def test_body_that_returns_no_pair():
    refused(
        lambda: lax.scan(lambda c, x: c if bad else (c + x, None), 0.0, x3)[0],  # here
        TreeError,
        "lax.scan: <lambda> must return a pair (carry, y)",
        got="a traced float64[]",
        do="return None as y where there is nothing to collect",
        then=6.0,
    )


def test_result_that_is_no_array():
    def step(c, x):
        return c, {"name": "x"}

    refused(
        lambda: lax.scan(step, 0.0, x3),  # here
        LeafError,
        "lax.scan: the result of step at ['name']: expected an array or a number, got an object of class str",
        got="'x'",
        do="pass NumPy arrays or Python numbers; mark other arguments static or close over them",
    )


# ------------------------------------------------------------------------------------------------------------ lengths


def test_length_that_differs_from_xs():
    refused(
        lambda: lax.scan(lambda c, x: (c + x, None), 0.0, x3, length=4 if bad else 3)[0],  # here
        ShapeError,
        "lax.scan: the lengths do not agree",
        got="4 for length, 3 for the first axis of xs",
        do=LENGTH,
        then=6.0,
    )


def test_xs_of_different_lengths():
    refused(
        lambda: lax.map(lambda x: x["a"], {"a": x3, "b": np.zeros(4 if bad else 3)}).tolist(),  # here
        ShapeError,
        "lax.map: the lengths do not agree",
        got="3 for the first axis of xs['a'], 4 for the first axis of xs['b']",
        do=LENGTH,
        then=[1, 2, 3],
    )


def test_xs_without_an_axis():
    refused(
        lambda: lax.scan(lambda c, x: (c + x["a"], None), 0.0, {"a": two if bad else x3})[0],  # here
        ShapeError,
        "lax.scan: xs['a'] has no axis to take slices along",
        got="float64[]",
        do="close over what is the same in each run",
        then=6.0,
    )


def test_no_length():
    refused(
        lambda: lax.scan(lambda c, x: (c + 1, None), 0, length=None if bad else 2)[0],  # here
        ShapeError,
        "lax.scan: the number of runs is not known",
        got="no leaves in xs",
        do="give xs or length",
        then=2,
    )


def test_nothing_to_map():
    refused(
        lambda: lax.map(lambda x: x, {}),  # here
        ShapeError,
        "lax.map: the number of runs is not known",
        got="no leaves in xs",
        do="give an array at least",
    )


def test_negative_length():
    refused(
        lambda: lax.scan(lambda c, x: (c + 1, None), 0, length=-1 if bad else 0)[0],  # here
        ShapeError,
        "lax.scan: length is negative",
        got="-1",
        do="give the number of runs",
        then=0,
    )


def test_length_that_is_no_integer():
    refused(
        lambda: lax.scan(lambda c, x: (c + 1, None), 0, length=2.5 if bad else 2)[0],  # here
        TypeError,
        "lax.scan: length must be an integer",
        got="an object of class float",
        do="convert it with int(...)",
        then=2,
    )


def test_traced_length():
    refused(
        lambda: jit(lambda n: lax.scan(lambda c, x: (c + 1, None), 0, length=n)[0])(3),  # here
        ConcretizationError,
        "lax.scan: length must be known when it is traced",
        got="a traced value",
        do=KNOWN,
    )


def test_negative_unroll():
    refused(
        lambda: lax.scan(lambda c, x: (c + x, None), 0.0, x3, unroll=-1 if bad else 2)[0],  # here
        ShapeError,
        "lax.scan: unroll is negative",
        got="-1",
        do="give the number of runs in a body, or True",
        then=6.0,
    )


def test_checkpoint_that_keeps_everything():
    refused(
        lambda: lax.scan(lambda c, x: (c + x, None), 0.0, x3, checkpoint=1 if bad else 2)[0],  # here
        ShapeError,
        "lax.scan: checkpoint must be at least 2",
        got="1",
        do="give the number of runs to keep at each level, two at least, or True",
        then=6.0,
    )


def test_negative_batch_size():
    refused(
        lambda: lax.map(lambda x: 2 * x, x3, batch_size=-1 if bad else 2).tolist(),  # here
        ShapeError,
        "lax.map: batch_size is negative",
        got="-1",
        do="give the number of slices, or None",
        then=[2, 4, 6],
    )


# ------------------------------------------------------------------------------------------------------------- bounds


def test_bounds_that_are_no_integers():
    refused(
        lambda: lax.fori_loop(0.0 if bad else 0, 3, lambda i, c: c + i, 0),  # here
        DtypeError,
        "lax.fori_loop: the bounds must be integer scalars of one dtype",
        got="float64[] and float64[]",
        do=BOUNDS,
        then=3,
    )


def test_bounds_of_different_dtypes():
    refused(
        lambda: lax.fori_loop(np.int32(0), np.int8(3) if bad else 3, lambda i, c: c + i, 0),  # here
        DtypeError,
        "lax.fori_loop: the bounds must be integer scalars of one dtype",
        got="int32[] and int8[]",
        do=BOUNDS,
        then=3,
    )


def test_unrolling_between_traced_bounds():
    refused(
        lambda: jit(lambda n: lax.fori_loop(0, n, lambda i, c: c + i, 0, unroll=2 if bad else 1))(4),  # here
        ConcretizationError,
        "lax.fori_loop: unroll needs bounds that are known when it is traced",
        got="0 and <traced int64[]>",
        do="leave unroll out",
    )


# -------------------------------------------------------------------------------------------- Python inside of bodies


def test_python_branch_in_a_body():
    def step(i, c):
        return c + 1 if c > 0 else c  # here

    refused_at_body(
        step,
        "bool(x) is not possible: its value is not known while lax.fori_loop traces",
        got="a traced bool[]",
        do=BRANCH,
    )


def test_python_loop_in_a_body():
    def step(i, c):
        return c + sum(range(i))  # here

    refused_at_body(
        step,
        "x used as a Python integer is not possible: its value is not known while lax.fori_loop traces",
        got="a traced int64[]",
        do=STATIC,
    )


def test_float_in_a_body():
    def step(i, c):
        return c + float(c)  # here

    refused_at_body(
        step,
        "float(x) is not possible: its value is not known while lax.fori_loop traces",
        got="a traced float64[]",
        do=FLOAT,
    )


def test_ndarray_in_a_body():
    def step(i, c):
        return x3[i] + c  # here

    refused_at_body(
        step,
        "an ndarray made of x (np.array, np.asarray, a[i] = x, or a library that is not traced) is not possible: "
        "its value is not known while lax.fori_loop traces",
        got="a traced int64[]",
        do=NDARRAY,
    )


def test_store_into_an_ndarray_in_a_body():
    seen = np.zeros(3)

    def step(i, c):
        seen[0] = c  # here
        return c

    refused_at_body(
        step,
        "storing x into an ndarray (a[i] = x) is not possible: its value is not known while lax.fori_loop traces",
        got="a traced float64[]",
        do=NDARRAY,
    )
    assert lax.fori_loop(0, 3, lambda i, c: c.at[0].add(i), seen).tolist() == [3, 0, 0]


def refused_at_body(step, what, got, do):
    """A loop with that body raises at the body's own line, under every transformation."""
    run = lambda x: lax.fori_loop(0, 3, step, x)  # noqa: E731
    for wrap in (lambda f: f, jit, grad, lambda f: jit(grad(f))):
        refused(lambda wrap=wrap: wrap(run)(1.0), ConcretizationError, what, got=got, do=do, code=step.__code__)


def test_branch_of_an_outer_value_in_a_body():
    """The remedy is that of the trace to which the value belongs."""
    caught = ""
    try:
        jit(lambda x: lax.fori_loop(0, 3, lambda i, c: c if x > 0 else -c, 1.0))(1.0)
    except ConcretizationError as error:
        caught = str(error)
    assert "its value is not known while lax.fori_loop traces" in caught and BRANCH in caught


def test_tracer_that_leaks_from_a_body():
    kept = []

    def step(i, c):
        kept.append(c)
        return c

    lax.fori_loop(0, 3, step, 1.0)
    refused(
        lambda: kept[0] + 1,  # here
        LeakedTracerError,
        "a value traced by lax.fori_loop was used after that transformation had ended",
        got="a traced float64[]",
        do=RETURN,
    )


# ------------------------------------------------------------------------------------------------- associative_scan


def test_elements_of_different_numbers():
    refused(
        lambda: lax.associative_scan(lambda a, b: a, {"a": x3, "b": np.ones(4)}),  # here
        ShapeError,
        "lax.associative_scan: the numbers of elements do not agree",
        got="3 in elems['a'], 4 in elems['b']",
        do="give all arrays one size of axis 0",
    )


def test_combinations_of_another_type():
    refused(
        lambda: lax.associative_scan(lambda a, b: (a[0] + b[0], a[1] * two), (x3, x3.astype(np.float32))),  # here
        DtypeError,
        "lax.associative_scan: <lambda> changes the type of elems[1]",
        got="float32[1] goes in, float64[1] comes out",
        do="return arrays like the arguments",
    )


def test_combinations_of_another_structure():
    refused(
        lambda: lax.associative_scan(lambda a, b: (a, b), x3),  # here
        TreeError,
        "lax.associative_scan: <lambda> returns another structure than it gets",
        got="at the top: expected a leaf, got a tuple of 2",
        do="return the same containers",
    )


def test_errors_leave_nothing_behind():
    """A body that raises is not kept, and the trace around it can go on."""

    def step(c, x):
        return (c.sum() if bad else c + x), None

    def f(x):
        try:
            bad.on = True
            lax.scan(step, np.ones(2), x)
        except ShapeError:
            bad.on = False
        return lax.scan(step, np.ones(2), x)[0].sum()

    assert grad(f)(x3).tolist() == [2, 2, 2]
    assert jit(grad(f))(x3).tolist() == [2, 2, 2]
    assert fgrad.vmap(f)(np.stack([x3, x3])).tolist() == [14, 14]
