"""What a transformed function may take, return and be told: every refusal with its whole text."""

import numpy as np
from pinned import bad, refused

from fgrad import grad, jit
from fgrad.core.errors import (
    DtypeError,
    GradError,
    LeafError,
    MissingRuleError,
    ShapeError,
    StaticArgumentError,
)

x3 = np.array([1.0, 2.0, 3.0])

# what the errors advise
LEAF = "pass NumPy arrays or Python numbers; mark other arguments static or close over them"
FLOATS = "pass floats (3.0, not 3; x.astype(float)), choose other argnums, or set allow_int=True"
BROADCAST = "sizes must be equal or 1 from the last axis on; insert axes with x[:, None] or reshape"
MATMUL = (
    "the last axis of the left operand is summed against the last but one of the right; a transposed operand is "
    "the usual cause"
)
HASHABLE = "pass a tuple instead of a list, a frozen object instead of a dict; arrays are not static"


# ------------------------------------------------------------------------------------------- what a loss may be


def test_loss_is_an_array():
    f = grad(lambda x: x * 2 if bad else (x * 2).sum())
    refused(
        lambda: f(x3).tolist(),  # here
        GradError,
        "grad needs a scalar loss; <lambda> returned an array",
        got="float64[3]",
        do="reduce it (.sum(), .mean()), or use jacrev for all its elements",
        then=[2, 2, 2],
    )


def test_loss_is_a_list():
    f = grad(lambda x: [x] if bad else x)
    refused(
        lambda: f(1.0),  # here
        GradError,
        "grad needs a function that returns a scalar; <lambda> returned a list",
        got="[<traced float64[], value=1.0>]",
        do="return one number; use has_aux=True for further results, jacrev for several outputs",
        then=1,
    )


def test_loss_is_none():
    f = grad(lambda x: None if bad else x)
    refused(
        lambda: f(1.0),  # here
        GradError,
        "grad needs a function that returns a scalar; <lambda> returned a NoneType",
        got="None",
        do="return one number; use has_aux=True for further results, jacrev for several outputs",
        then=1,
    )


def test_loss_is_complex():
    f = grad(lambda x: x * 1j if bad else (x * 1j).imag)
    refused(
        lambda: f(3.0),  # here
        GradError,
        "<lambda> must return a real floating scalar",
        got="complex128[]",
        do="take real() or abs() of a complex loss, or set holomorphic=True",
        then=1,
    )


def test_loss_is_an_integer():
    f = grad(lambda x: x > 0 if bad else x)
    refused(
        lambda: f(3.0),  # here
        GradError,
        "<lambda> must return a real floating scalar",
        got="bool[]",
        do="return a float",
        then=1,
    )


def test_aux_without_a_pair():
    f = grad(lambda x: x if bad else (x, 7), has_aux=True)
    refused(
        lambda: f(1.0),  # here
        GradError,
        "with has_aux=True <lambda> must return a pair (loss, aux)",
        got="a traced float64[]",
        do="return (loss, aux)",
        then=(1, 7),
    )


# ----------------------------------------------------------------------------------- what may be differentiated


def test_gradient_by_an_integer():
    f = grad(lambda x: x * 2)
    refused(
        lambda: f(3 if bad else 3.0),  # here
        GradError,
        "<lambda>: the differentiated argument holds integers or booleans, which have no derivative",
        got="int64[]",
        do=FLOATS,
        then=2,
    )


def test_gradient_by_an_integer_array_in_a_dict():
    f = grad(lambda p: (p["a"] * 2).sum())
    refused(
        lambda: f({"a": np.arange(3) if bad else x3})["a"].tolist(),  # here
        GradError,
        "<lambda>: the differentiated argument['a'] holds integers or booleans, which have no derivative",
        got="int64[3]",
        do=FLOATS,
        then=[2, 2, 2],
    )


def test_gradient_by_a_string():
    f = grad(lambda p: p["a"][0] * 2)
    refused(
        lambda: f({"a": [1.0, "x" if bad else 5.0]}),  # here
        LeafError,
        "<lambda>: the differentiated argument['a'][1]: expected an array or a number, got an object of class str",
        got="'x'",
        do=LEAF,
        then={"a": [2.0, 0.0]},
    )


def test_argnums_out_of_range():
    f = grad(lambda x, y=1.0: x * y, argnums=1)
    refused(
        lambda: f(*([3.0] if bad else [3.0, 4.0])),  # here
        GradError,
        "argnums names positional argument 1, but <lambda> was called with 1 of them",
        got="argnums=1",
        do="pass differentiated arguments by position",
        then=3,
    )


def test_holomorphic_needs_complex():
    f = grad(lambda z: z * z, holomorphic=True)
    refused(
        lambda: f(2.0 if bad else 2 + 0j),  # here
        GradError,
        "holomorphic=True needs complex arguments",
        got="float64[]",
        do="pass complex values, or leave holomorphic out",
        then=4,
    )


# ------------------------------------------------------------------------------------------------------ leaves


def test_jit_of_an_object():
    f = jit(lambda x: x)
    refused(
        lambda: f(range if bad else 1.0),  # here
        LeafError,
        "jit(<lambda>): argument [0]: expected an array or a number, got an object of class type",
        got="<class 'range'>",
        do=LEAF,
        then=1,
    )


def test_jit_of_a_string():
    f = jit(lambda p, q: p)
    refused(
        lambda: f(1.0, {"key": "abc" if bad else 2.0}),  # here
        LeafError,
        "jit(<lambda>): argument [1]['key']: expected an array or a number, got an object of class str",
        got="'abc'",
        do=LEAF,
        then=1,
    )


def test_jit_of_an_object_array():
    f = jit(lambda x: x)
    refused(
        lambda: f(x=np.array([1, "a"], dtype=object) if bad else x3).tolist(),  # here
        LeafError,
        "jit(<lambda>): argument ['x']: arrays of dtype object cannot be traced",
        got="object",
        do="convert to bool, an integer, float16/32/64 or complex64/128 with .astype",
        then=[1, 2, 3],
    )


def test_jit_of_a_masked_array():
    f = jit(lambda x: x)
    refused(
        lambda: f(np.ma.masked_array(x3, x3 > 2) if bad else x3).tolist(),  # here
        LeafError,
        "jit(<lambda>): argument [0]: masked arrays cannot be traced: their masks would be lost",
        got="MaskedArray",
        do="use x.filled(value) and np.where(mask, ...)",
        then=[1, 2, 3],
    )


def test_gradient_by_a_masked_array():
    f = grad(lambda x: x.sum())
    refused(
        lambda: f(np.ma.masked_array(x3, x3 > 2) if bad else x3).tolist(),  # here
        LeafError,
        "<lambda>: the differentiated argument: masked arrays cannot be traced: their masks would be lost",
        got="MaskedArray",
        do="use x.filled(value) and np.where(mask, ...)",
        then=[1, 1, 1],
    )


def test_jit_of_a_long_double():
    f = jit(lambda x: x)
    refused(
        lambda: f(np.longdouble(1) if bad else 1.0),  # here
        LeafError,
        "jit(<lambda>): argument [0]: arrays of dtype float128 cannot be traced",
        got="float128",
        do="convert to bool, an integer, float16/32/64 or complex64/128 with .astype",
        then=1,
    )


def test_jit_returns_a_string():
    f = jit(lambda x: {"answer": "abc" if bad else x})
    refused(
        lambda: f(np.float32(1) if bad else 1.0),  # here
        LeafError,
        "jit(<lambda>): the result['answer']: expected an array or a number, got an object of class str",
        got="'abc'",
        do=LEAF,
        then={"answer": 1},
    )


def test_operand_is_a_masked_array():
    mask = np.ma.masked_array(x3, x3 > 2)
    f = grad(lambda x: np.multiply(x, mask if bad else x3).sum())  # here
    refused(
        lambda: f(x3).tolist(),
        LeafError,
        "masked arrays cannot be traced: their masks would be lost",
        got="MaskedArray",
        do="use x.filled(value) and np.where(mask, ...)",
        then=[1, 2, 3],
    )


# ------------------------------------------------------------------------------------------- shapes and dtypes


def test_shapes_that_do_not_broadcast():
    f = grad(lambda x: (x * np.ones(4 if bad else 3)).sum())  # here
    refused(
        lambda: f(x3).tolist(),
        ShapeError,
        "shapes (3,) and (4,) do not broadcast",
        got="(3,), (4,)",
        do=BROADCAST,
        then=[1, 1, 1],
    )


def test_shapes_that_do_not_broadcast_under_jit():
    f = jit(lambda x: x * np.ones(4 if bad else 3))  # here
    refused(
        lambda: f(x3).tolist(),
        ShapeError,
        "shapes (3,) and (4,) do not broadcast",
        got="(3,), (4,)",
        do=BROADCAST,
        then=[1, 2, 3],
    )


def test_matrix_product_that_does_not_fit():
    f = jit(lambda x: x @ np.ones((4 if bad else 3, 2)))  # here
    refused(
        lambda: f(x3).tolist(),
        ShapeError,
        "matmul: shapes (3,) and (4, 2) do not fit together",
        got="float64[3] and float64[4,2]",
        do=MATMUL,
        then=[6, 6],
    )


def test_matrix_product_that_does_not_fit_in_eager_gradient():
    f = grad(lambda x: (x @ np.ones((4 if bad else 3, 2))).sum())  # here
    refused(
        lambda: f(x3).tolist(),
        ShapeError,
        "matmul: shapes (3,) and (4, 2) do not fit together",
        got="float64[3] and float64[4,2]",
        do=MATMUL,
        then=[2, 2, 2],
    )


def test_axis_that_does_not_exist():
    f = jit(lambda x: x.sum(axis=1 if bad else 0))  # here
    refused(
        lambda: f(x3),
        ShapeError,
        "sum: axis 1 does not exist",
        got="an array of 1 dimension",
        do="choose an axis from -1 to 0",
        then=6,
    )


def test_reshape_to_another_size():
    f = grad(lambda x: x.reshape(2, 2 if bad else -1).sum())  # here
    refused(
        lambda: f(np.ones(6)).tolist(),
        ShapeError,
        "cannot reshape 6 elements into shape (2, 2)",
        got="float64[6]",
        do="give a shape of as many elements",
        then=[1] * 6,
    )


def test_dtype_that_an_operation_does_not_take():
    f = grad(lambda x: ((x & 1) if bad else x).sum())  # here
    refused(
        lambda: f(x3).tolist(),
        DtypeError,
        "bit_and is not defined for floating operands",
        got="float64[3]",
        do="convert to a boolean or integer or unsigned integer dtype",
        then=[1, 1, 1],
    )


def test_dtype_that_an_operation_does_not_take_under_jit():
    f = jit(lambda x: ~x if bad else x)  # here
    refused(
        lambda: f(x3).tolist(),
        DtypeError,
        "bit_not is not defined for floating operands",
        got="float64[3]",
        do="convert to a boolean or integer or unsigned integer dtype",
        then=[1, 2, 3],
    )


# ------------------------------------------------------------------------------------------------ what jit takes


def test_jit_of_no_function():
    refused(
        lambda: jit(x3.sum() if bad else np.sum)(x3),  # here
        TypeError,
        "jit takes a function",
        got="float64",
        do="write jit(f), not jit(f(x))",
        then=6,
    )


def test_unhashable_static_argument():
    f = jit(lambda x, axes: x.sum(axes), static_argnums=1)
    refused(
        lambda: f(x3, [0] if bad else (0,)),  # here
        StaticArgumentError,
        "jit(<lambda>): argument 1 is static, but it cannot be hashed",
        got="an object of class list",
        do=HASHABLE,
        then=6,
    )


def test_unhashable_static_keyword():
    f = jit(lambda x, *, axes: x.sum(axes), static_argnames="axes")
    refused(
        lambda: f(x3, axes=x3 if bad else (0,)),  # here
        StaticArgumentError,
        "jit(<lambda>): argument 'axes' is static, but it cannot be hashed",
        got="an object of class ndarray",
        do=HASHABLE,
        then=6,
    )


def test_traced_static_argument():
    inner = jit(lambda x, n: x * n, static_argnums=1)
    f = grad(lambda x: inner(1.0, x) if bad else inner(x, 3))  # here
    refused(
        lambda: f(2.0),
        StaticArgumentError,
        "jit(<lambda>): argument 1 is static, but its value is traced by another transformation",
        got="<traced float64[], value=2.0>",
        do="take it out of static_argnums and static_argnames, or pass a plain Python value",
        then=3,
    )


def test_static_name_that_does_not_exist():
    refused(
        lambda: jit(lambda x, n: x, static_argnames="m" if bad else "n")(1.0, 2),  # here
        StaticArgumentError,
        "static_argnames: <lambda> has no argument named 'm'",
        got="<lambda>(x, n)",
        do="choose names from that signature",
        then=1,
    )


def test_static_number_that_does_not_exist():
    refused(
        lambda: jit(lambda x, n: x, static_argnums=2 if bad else 1)(1.0, 2),  # here
        StaticArgumentError,
        "static_argnums: <lambda> has no positional argument number 2",
        got="<lambda>(x, n)",
        do="count from 0; name keyword-only arguments in argnames",
        then=1,
    )


# ------------------------------------------------------------------------------------------ what has no traced version


def test_function_without_a_traced_version():
    f = grad(lambda x: np.busday_count(x, x) if bad else x)  # here
    refused(
        lambda: f(1.0),
        MissingRuleError,
        "np.busday_count has no traced version",
        do="compose it of functions in fgrad.numpy",
        then=1,
    )


def test_ufunc_without_a_traced_version():
    f = jit(lambda x: np.spacing(x) if bad else x)  # here
    refused(
        lambda: f(1.0),
        MissingRuleError,
        "np.spacing has no traced version",
        do="compose it of functions in fgrad.numpy",
        then=1,
    )
