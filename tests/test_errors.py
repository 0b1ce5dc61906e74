"""Errors of tracing: what Python may not do with traced values, and what a function may not take or return."""

import math

import numpy as np
from pinned import bad, refused

from fgrad import grad, jit, jvp, lax, vmap
from fgrad.core.errors import (
    ConcretizationError,
    DtypeError,
    GradError,
    LeafError,
    LeakedTracerError,
    MissingRuleError,
    MutationError,
    OutOfBoundsError,
    ShapeError,
    StaticArgumentError,
)

x3 = np.array([1.0, 2.0, 3.0])


# ------------------------------------------------------------------------------------------- what a loss may be


def test_loss_is_an_array():
    f = grad(lambda x: x * 2 if bad else (x * 2).sum())
    refused(
        lambda: f(x3).tolist(),  # here
        GradError,
        """
            grad needs a scalar loss; <lambda> returned an array
              at:  {at}
              got: float64[3]
              do:  reduce it (.sum(), .mean()), or use jacrev for all its elements
            """,
        then=[2, 2, 2],
    )


def test_loss_is_a_list():
    f = grad(lambda x: [x] if bad else x)
    refused(
        lambda: f(1.0),  # here
        GradError,
        """
            grad needs a function that returns a scalar; <lambda> returned a list
              at:  {at}
              got: [<traced float64[], value=1.0>]
              do:  return one number; use has_aux=True for further results, jacrev for several outputs
            """,
        then=1,
    )


def test_loss_is_none():
    f = grad(lambda x: None if bad else x)
    refused(
        lambda: f(1.0),  # here
        GradError,
        """
            grad needs a function that returns a scalar; <lambda> returned a NoneType
              at:  {at}
              got: None
              do:  return one number; use has_aux=True for further results, jacrev for several outputs
            """,
        then=1,
    )


def test_loss_is_complex():
    f = grad(lambda x: x * 1j if bad else (x * 1j).imag)
    refused(
        lambda: f(3.0),  # here
        GradError,
        """
            <lambda> must return a real floating scalar
              at:  {at}
              got: complex128[]
              do:  take real() or abs() of a complex loss, or set holomorphic=True
            """,
        then=1,
    )


def test_loss_is_an_integer():
    f = grad(lambda x: x > 0 if bad else x)
    refused(
        lambda: f(3.0),  # here
        GradError,
        """
            <lambda> must return a real floating scalar
              at:  {at}
              got: bool[]
              do:  return a float
            """,
        then=1,
    )


def test_aux_without_a_pair():
    f = grad(lambda x: x if bad else (x, 7), has_aux=True)
    refused(
        lambda: f(1.0),  # here
        GradError,
        """
            with has_aux=True <lambda> must return a pair (loss, aux)
              at:  {at}
              got: Tracer
              do:  return (loss, aux)
            """,
        then=(1, 7),
    )


# ----------------------------------------------------------------------------------- what may be differentiated


def test_gradient_by_an_integer():
    f = grad(lambda x: x * 2)
    refused(
        lambda: f(3 if bad else 3.0),  # here
        GradError,
        """
            <lambda>: the differentiated argument holds integers or booleans, which have no derivative
              at:  {at}
              got: int64[]
              do:  pass floats (3.0, not 3; x.astype(float)), choose other argnums, or set allow_int=True
            """,
        then=2,
    )


def test_gradient_by_an_integer_array_in_a_dict():
    f = grad(lambda p: (p["a"] * 2).sum())
    refused(
        lambda: f({"a": np.arange(3) if bad else x3})["a"].tolist(),  # here
        GradError,
        """
            <lambda>: the differentiated argument holds integers or booleans, which have no derivative
              at:  {at}
              got: int64[3]
              do:  pass floats (3.0, not 3; x.astype(float)), choose other argnums, or set allow_int=True
            """,
        then=[2, 2, 2],
    )


def test_gradient_by_a_string():
    f = grad(lambda p: p["a"][0] * 2)
    refused(
        lambda: f({"a": [1.0, "x" if bad else 5.0]}),  # here
        LeafError,
        """
            <lambda>: the differentiated argument['a'][1] is no array and no number
              at:  {at}
              got: str: 'x'
              do:  pass arrays and numbers; mark other arguments static or close over them
            """,
        then={"a": [2.0, 0.0]},
    )


def test_argnums_out_of_range():
    f = grad(lambda x, y=1.0: x * y, argnums=1)
    refused(
        lambda: f(*([3.0] if bad else [3.0, 4.0])),  # here
        GradError,
        """
            argnums names positional argument 1, but <lambda> was called with 1
              at:  {at}
              got: argnums=1
              do:  pass differentiated arguments by position
            """,
        then=3,
    )


def test_holomorphic_needs_complex():
    f = grad(lambda z: z * z, holomorphic=True)
    refused(
        lambda: f(2.0 if bad else 2 + 0j),  # here
        GradError,
        """
            holomorphic=True needs complex arguments
              at:  {at}
              got: float64[]
              do:  pass complex values, or leave holomorphic out
            """,
        then=4,
    )


# ------------------------------------------------------------------------------------------------------ leaves


def test_jit_of_an_object():
    f = jit(lambda x: x)
    refused(
        lambda: f(range if bad else 1.0),  # here
        LeafError,
        """
            jit(<lambda>): argument [0] is no array and no number
              at:  {at}
              got: type: <class 'range'>
              do:  pass arrays and numbers; mark other arguments static or close over them
            """,
        then=1,
    )


def test_jit_of_a_string():
    f = jit(lambda p, q: p)
    refused(
        lambda: f(1.0, {"key": "abc" if bad else 2.0}),  # here
        LeafError,
        """
            jit(<lambda>): argument [1]['key'] is no array and no number
              at:  {at}
              got: str: 'abc'
              do:  pass arrays and numbers; mark other arguments static or close over them
            """,
        then=1,
    )


def test_jit_of_an_object_array():
    f = jit(lambda x: x)
    refused(
        lambda: f(x=np.array([1, "a"], dtype=object) if bad else x3).tolist(),  # here
        LeafError,
        """
            jit(<lambda>): argument ['x'] is no array and no number
              at:  {at}
              got: ndarray: array([1, 'a'], dtype=object)
              do:  pass arrays and numbers; mark other arguments static or close over them
            """,
        then=[1, 2, 3],
    )


def test_jit_of_a_masked_array():
    f = jit(lambda x: x)
    refused(
        lambda: f(np.ma.masked_array(x3, x3 > 2) if bad else x3).tolist(),  # here
        LeafError,
        """
            jit(<lambda>): argument [0] is no array and no number
              at:  {at}
              got: MaskedArray: masked_array(data=[1.0, 2.0, --],
                         mask=[False, 
              do:  pass arrays and numbers; mark other arguments static or close over them
            """,
        then=[1, 2, 3],
    )


def test_gradient_by_a_masked_array():
    f = grad(lambda x: x.sum())
    refused(
        lambda: f(np.ma.masked_array(x3, x3 > 2) if bad else x3).tolist(),  # here
        LeafError,
        """
            <lambda>: the differentiated argument is no array and no number
              at:  {at}
              got: MaskedArray: masked_array(data=[1.0, 2.0, --],
                         mask=[False, 
              do:  pass arrays and numbers; mark other arguments static or close over them
            """,
        then=[1, 1, 1],
    )


def test_jit_of_a_long_double():
    f = jit(lambda x: x)
    refused(
        lambda: f(np.longdouble(1) if bad else 1.0),  # here
        LeafError,
        """
            jit(<lambda>): argument [0] is no array and no number
              at:  {at}
              got: longdouble: np.longdouble('1.0')
              do:  pass arrays and numbers; mark other arguments static or close over them
            """,
        then=1,
    )


def test_jit_returns_a_string():
    f = jit(lambda x: {"answer": "abc" if bad else x})
    refused(
        lambda: f(np.float32(1) if bad else 1.0),  # here
        LeafError,
        """
            jit(<lambda>): the result['answer'] is no array and no number
              at:  {at}
              got: str: 'abc'
              do:  pass arrays and numbers; mark other arguments static or close over them
            """,
        then={"answer": 1},
    )


def test_operand_is_a_masked_array():
    mask = np.ma.masked_array(x3, x3 > 2)
    f = grad(lambda x: np.multiply(x, mask if bad else x3).sum())  # here
    refused(
        lambda: f(x3).tolist(),
        LeafError,
        """
            operand type(s) all returned NotImplemented from __array_ufunc__(<ufunc 'multiply'>, '__call__', <traced float64[3], value=array([1., 2., 3.])>, masked_array(data=[1.0, 2.0, --],
              at:  {at}
                   fill_value=1e+20)): 'Tracer', 'MaskedArray'
            """,
        then=[1, 2, 3],
    )


# ------------------------------------------------------------------------------------------- shapes and dtypes


def test_shapes_that_do_not_broadcast():
    f = grad(lambda x: (x * np.ones(4 if bad else 3)).sum())  # here
    refused(
        lambda: f(x3).tolist(),
        ShapeError,
        """
            shapes (3,) and (4,) do not broadcast
              at:  {at}
              got: (3,), (4,)
              do:  sizes must be equal or 1 from the last axis on; insert axes with x[:, None] or reshape
            """,
        then=[1, 1, 1],
    )


def test_shapes_that_do_not_broadcast_under_jit():
    f = jit(lambda x: x * np.ones(4 if bad else 3))  # here
    refused(
        lambda: f(x3).tolist(),
        ShapeError,
        """
            shapes (3,) and (4,) do not broadcast
              at:  {at}
              got: (3,), (4,)
              do:  sizes must be equal or 1 from the last axis on; insert axes with x[:, None] or reshape
            """,
        then=[1, 2, 3],
    )


def test_matrix_product_that_does_not_fit():
    f = jit(lambda x: x @ np.ones((4 if bad else 3, 2)))  # here
    refused(
        lambda: f(x3).tolist(),
        ShapeError,
        """
            matmul: shapes (3,) and (4, 2) do not fit together
              at:  {at}
              got: float64[3] and float64[4,2]
              do:  the last axis of the left operand is summed against the last but one of the right; a transposed operand is the usual cause
            """,
        then=[6, 6],
    )


def test_matrix_product_that_does_not_fit_in_eager_gradient():
    f = grad(lambda x: (x @ np.ones((4 if bad else 3, 2))).sum())  # here
    refused(
        lambda: f(x3).tolist(),
        ShapeError,
        """
            matmul: shapes (3,) and (4, 2) do not fit together
              at:  {at}
              got: float64[3] and float64[4,2]
              do:  the last axis of the left operand is summed against the last but one of the right; a transposed operand is the usual cause
            """,
        then=[2, 2, 2],
    )


def test_axis_that_does_not_exist():
    f = jit(lambda x: x.sum(axis=1 if bad else 0))  # here
    refused(
        lambda: f(x3),
        ShapeError,
        """
            sum: axis 1 does not exist
              at:  {at}
              got: an array of 1 dimension
              do:  choose an axis from -1 to 0
            """,
        then=6,
    )


def test_reshape_to_another_size():
    f = grad(lambda x: x.reshape(2, 2 if bad else -1).sum())  # here
    refused(
        lambda: f(np.ones(6)).tolist(),
        ShapeError,
        """
            cannot reshape 6 elements into shape (2, 2)
              at:  {at}
              got: float64[6]
              do:  give a shape of as many elements
            """,
        then=[1] * 6,
    )


def test_dtype_that_an_operation_does_not_take():
    f = grad(lambda x: ((x & 1) if bad else x).sum())  # here
    refused(
        lambda: f(x3).tolist(),
        DtypeError,
        """
            bit_and is not defined for floating operands
              at:  {at}
              got: float64[3]
              do:  convert to a boolean or integer or unsigned integer dtype
            """,
        then=[1, 1, 1],
    )


def test_dtype_that_an_operation_does_not_take_under_jit():
    f = jit(lambda x: ~x if bad else x)  # here
    refused(
        lambda: f(x3).tolist(),
        DtypeError,
        """
            bit_not is not defined for floating operands
              at:  {at}
              got: float64[3]
              do:  convert to a boolean or integer or unsigned integer dtype
            """,
        then=[1, 2, 3],
    )


# ------------------------------------------------------------------------------------------- tracers that leak


def test_leaked_tracer_is_used_later():
    kept = []
    f = jit(lambda x: kept.append(x) or x)
    f(1.0)
    refused(
        lambda: kept[0] + 1 if bad else f(1.0),  # here
        LeakedTracerError,
        """
            a value traced by jit was used after that transformation had ended
              at:  {at}
              got: a traced float64[]
              do:  return it from the function instead of storing it in a global, an attribute or a closure
            """,
        then=1,
    )


def test_leaked_tracer_becomes_a_float_later():
    kept = []
    f = vmap(lambda x: kept.append(x) or x)
    f(x3)
    refused(
        lambda: float(kept[0]) if bad else f(x3).tolist(),  # here
        LeakedTracerError,
        """
            a value traced by vmap was used after that transformation had ended
              at:  {at}
              got: a traced float64[]
              do:  return it from the function instead of storing it in a global, an attribute or a closure
            """,
        then=[1, 2, 3],
    )


def test_leaked_tracer_of_grad():
    kept = []
    f = grad(lambda x: kept.append(x) or x)
    f(1.0)
    refused(
        lambda: np.sin(kept[0]) if bad else f(1.0),  # here
        LeakedTracerError,
        """
            a value traced by grad was used after that transformation had ended
              at:  {at}
              got: a traced float64[]
              do:  return it from the function instead of storing it in a global, an attribute or a closure
            """,
        then=1,
    )


def test_leaked_tracer_captured_in_a_gradient():
    kept = []
    jit(lambda x: kept.append(x) or x)(2.0)
    f = grad(lambda y: y * (kept[0] if bad else 2.0))  # here
    refused(
        lambda: f(1.0),
        LeakedTracerError,
        """
            a value traced by jit was used after that transformation had ended
              at:  {at}
              got: a traced float64[]
              do:  return it from the function instead of storing it in a global, an attribute or a closure
            """,
        then=2,
    )


def test_leaked_tracer_captured_in_jit():
    kept = []
    jvp(lambda x: kept.append(x) or x, (2.0,), (1.0,))
    f = jit(lambda y: np.hypot(kept[0] if bad else 2.0, y))  # here
    refused(
        lambda: f(0.0),
        LeakedTracerError,
        """
            a value traced by jvp was used after that transformation had ended
              at:  {at}
              got: a traced float64[]
              do:  return it from the function instead of storing it in a global, an attribute or a closure
            """,
        then=2,
    )


# -------------------------------------------------------------------------- Python asks for a value: jit and vmap


def test_if_under_jit():
    f = jit(lambda x: (1.0 if x > 0 else 2.0) if bad else x)  # here
    refused(
        lambda: f(3.0),
        ConcretizationError,
        """
            bool(x) is not possible: its value is not known while jit traces
              at:  {at}
              got: a traced bool[]
              do:  use fgrad.numpy.where(condition, a, b); or mark the argument static (static_argnums); or leave jit and vmap out here: grad alone runs Python branches
            """,
        then=3,
    )


def test_if_under_vmap():
    f = vmap(lambda x: (1.0 if x > 0 else 2.0) if bad else x)  # here
    refused(
        lambda: f(x3).tolist(),
        ConcretizationError,
        """
            bool(x) is not possible: its value is not known while vmap traces
              at:  {at}
              got: a traced bool[]
              do:  use fgrad.numpy.where(condition, a, b); or mark the argument static (static_argnums); or leave jit and vmap out here: grad alone runs Python branches
            """,
        then=[1, 2, 3],
    )


def test_while_under_jit():
    def halved(x):
        while bad and x > 1:  # here
            x = x / 2
        return x

    f = jit(halved)
    refused(
        lambda: f(3.0),
        ConcretizationError,
        """
            bool(x) is not possible: its value is not known while jit traces
              at:  {at}
              got: a traced bool[]
              do:  use fgrad.numpy.where(condition, a, b); or mark the argument static (static_argnums); or leave jit and vmap out here: grad alone runs Python branches
            """,
        then=3,
    )


def test_while_under_vmap():
    def halved(x):
        while bad and x > 1:  # here
            x = x / 2
        return x

    f = vmap(halved)
    refused(
        lambda: f(x3).tolist(),
        ConcretizationError,
        """
            bool(x) is not possible: its value is not known while vmap traces
              at:  {at}
              got: a traced bool[]
              do:  use fgrad.numpy.where(condition, a, b); or mark the argument static (static_argnums); or leave jit and vmap out here: grad alone runs Python branches
            """,
        then=[1, 2, 3],
    )


def test_int_under_jit():
    f = jit(lambda x: int(x) if bad else x)  # here
    refused(
        lambda: f(3.0),
        ConcretizationError,
        """
            int(x) is not possible: its value is not known while jit traces
              at:  {at}
              got: a traced float64[]
              do:  mark the argument static (static_argnums), or take the number from a shape
            """,
        then=3,
    )


def test_range_under_jit():
    f = jit(lambda n: sum(range(n)) if bad else n)  # here
    refused(
        lambda: f(3),
        ConcretizationError,
        """
            x used as a Python integer is not possible: its value is not known while jit traces
              at:  {at}
              got: a traced int64[]
              do:  mark the argument static (static_argnums), or take the number from a shape
            """,
        then=3,
    )


def test_list_index_under_vmap():
    f = vmap(lambda i: [4, 5, 6][i] if bad else i)  # here
    refused(
        lambda: f(np.arange(3)).tolist(),
        ConcretizationError,
        """
            x used as a Python integer is not possible: its value is not known while vmap traces
              at:  {at}
              got: a traced int64[]
              do:  mark the argument static (static_argnums), or take the number from a shape
            """,
        then=[0, 1, 2],
    )


def test_shape_under_jit():
    f = jit(lambda n: np.zeros_like(x3, shape=n if bad else 3) + n)  # here
    refused(
        lambda: f(2).tolist(),
        ConcretizationError,
        """
            expected a sequence of integers or a single integer, got '<traced int64[]>'
            """,
        then=[2, 2, 2],
    )


def test_if_under_jit_inside_grad():
    f = grad(jit(lambda x: x if not bad or x > 0 else -x))  # here
    refused(
        lambda: f(3.0),
        ConcretizationError,
        """
            bool(x) is not possible: its value is not known while jit traces
              at:  {at}
              got: a traced bool[]
              do:  use fgrad.numpy.where(condition, a, b); or mark the argument static (static_argnums); or leave jit and vmap out here: grad alone runs Python branches
            """,
        then=1,
    )


# ---------------------------------------------------------------------- Python asks for a value: lost derivatives


def test_float_in_grad():
    f = grad(lambda x: float(x) if bad else x)  # here
    refused(
        lambda: f(3.0),
        ConcretizationError,
        """
            float(x) is not possible: its derivative would be lost
              at:  {at}
              got: a traced float64[]
              do:  keep it an array: fgrad.numpy and plain np functions (np.sin, np.exp, ...) work on it where math.sin and float() would drop its derivative; fgrad.lax.stop_gradient(x) makes a constant on purpose
            """,
        then=1,
    )


def test_complex_in_jvp():
    f = lambda x: jvp(lambda x: complex(x) if bad else x, (x,), (1.0,))  # here  # noqa: E731
    refused(
        lambda: f(3.0),
        ConcretizationError,
        TEXT,
        then=(3, 1),
    )


def test_math_function_in_grad():
    f = grad(lambda x: math.sin(x) if bad else np.sin(x))  # here
    refused(
        lambda: f(0.0),
        ConcretizationError,
        """
            float(x) is not possible: its derivative would be lost
              at:  {at}
              got: a traced float64[]
              do:  keep it an array: fgrad.numpy and plain np functions (np.sin, np.exp, ...) work on it where math.sin and float() would drop its derivative; fgrad.lax.stop_gradient(x) makes a constant on purpose
            """,
        then=1,
    )


def test_math_function_under_jit():
    f = jit(lambda x: math.sin(x) if bad else np.sin(x))  # here
    refused(
        lambda: f(0.0),
        ConcretizationError,
        """
            float(x) is not possible: its value is not known while jit traces
              at:  {at}
              got: a traced float64[]
              do:  keep it an array: fgrad.numpy and plain np functions (np.sin, np.exp, ...) work on it where math.sin and float() would drop its derivative; fgrad.lax.stop_gradient(x) makes a constant on purpose
            """,
        then=0,
    )


def test_item_in_grad():
    f = grad(lambda x: x.item() if bad else x)  # here
    refused(
        lambda: f(3.0),
        ConcretizationError,
        """
            x.item() is not possible: its derivative would be lost
              at:  {at}
              got: a traced float64[]
              do:  keep it an array: fgrad.numpy and plain np functions (np.sin, np.exp, ...) work on it where math.sin and float() would drop its derivative; fgrad.lax.stop_gradient(x) makes a constant on purpose
            """,
        then=1,
    )


def test_tolist_under_vmap():
    f = vmap(lambda x: sum(x.tolist()) if bad else x.sum())  # here
    refused(
        lambda: f(np.ones((2, 3))).tolist(),
        ConcretizationError,
        """
            x.tolist() is not possible: its value is not known while vmap traces
              at:  {at}
              got: a traced float64[3]
              do:  keep it an array: fgrad.numpy and plain np functions (np.sin, np.exp, ...) work on it where math.sin and float() would drop its derivative; fgrad.lax.stop_gradient(x) makes a constant on purpose
            """,
        then=[3, 3],
    )


def test_array_of_a_list_in_grad():
    f = grad(lambda x: np.array([x, 2 * x]).sum() if bad else x)  # here
    refused(
        lambda: f(3.0),
        ConcretizationError,
        """
            an ndarray made of x (np.array, np.asarray, a[i] = x, or a library that is not traced) is not possible: its derivative would be lost
              at:  {at}
              got: a traced float64[]
              do:  use np.stack or fgrad.numpy.array([...]) for lists; make buffers with np.zeros_like(x) or np.zeros(n, like=x); write y = y + x instead of ndarray += x, and fgrad.numpy.take(a, i) instead of ndarray[i]
            """,
        then=1,
    )


def test_asarray_under_jit():
    f = jit(lambda x: np.asarray(x) if bad else x)  # here
    refused(
        lambda: f(x3).tolist(),
        ConcretizationError,
        """
            an ndarray made of x (np.array, np.asarray, a[i] = x, or a library that is not traced) is not possible: its value is not known while jit traces
              at:  {at}
              got: a traced float64[3]
              do:  use np.stack or fgrad.numpy.array([...]) for lists; make buffers with np.zeros_like(x) or np.zeros(n, like=x); write y = y + x instead of ndarray += x, and fgrad.numpy.take(a, i) instead of ndarray[i]
            """,
        then=[1, 2, 3],
    )


def test_ndarray_indexed_by_a_tracer_under_jit():
    f = jit(lambda i: x3[i] if bad else lax.dynamic_index_in_dim(x3, i, keepdims=False))  # here
    refused(
        lambda: f(1),
        ConcretizationError,
        """
            an ndarray made of x (np.array, np.asarray, a[i] = x, or a library that is not traced) is not possible: its value is not known while jit traces
              at:  {at}
              got: a traced int64[]
              do:  use np.stack or fgrad.numpy.array([...]) for lists; make buffers with np.zeros_like(x) or np.zeros(n, like=x); write y = y + x instead of ndarray += x, and fgrad.numpy.take(a, i) instead of ndarray[i]
            """,
        then=2,
    )


# -------------------------------------------------------------------------------------------------------- writes


def test_store_into_an_ndarray_in_grad():
    def stored(x):
        a = np.zeros(3) if bad else np.zeros(3, like=x)
        a[0] = x  # here
        return a.sum()

    f = grad(stored)
    refused(
        lambda: f(3.0),
        ConcretizationError,
        """
            float(x) is not possible: its derivative would be lost
              at:  {at}
              got: a traced float64[]
              do:  keep it an array: fgrad.numpy and plain np functions (np.sin, np.exp, ...) work on it where math.sin and float() would drop its derivative; fgrad.lax.stop_gradient(x) makes a constant on purpose
            """,
        then=1,
    )


def test_store_into_an_ndarray_under_jit():
    def stored(x):
        a = np.zeros(3) if bad else np.zeros(3, like=x)
        a[0] = x  # here
        return a.sum()

    f = jit(stored)
    refused(
        lambda: f(3.0),
        ConcretizationError,
        """
            float(x) is not possible: its value is not known while jit traces
              at:  {at}
              got: a traced float64[]
              do:  keep it an array: fgrad.numpy and plain np functions (np.sin, np.exp, ...) work on it where math.sin and float() would drop its derivative; fgrad.lax.stop_gradient(x) makes a constant on purpose
            """,
        then=3,
    )


def test_store_of_an_array_into_a_slice():
    def stored(x):
        a = np.zeros(3) if bad else np.zeros(3, like=x)
        a[:] = x  # here
        return a.sum()

    f = grad(stored)
    refused(
        lambda: f(x3).tolist(),
        ConcretizationError,
        """
            an ndarray made of x (np.array, np.asarray, a[i] = x, or a library that is not traced) is not possible: its derivative would be lost
              at:  {at}
              got: a traced float64[3]
              do:  use np.stack or fgrad.numpy.array([...]) for lists; make buffers with np.zeros_like(x) or np.zeros(n, like=x); write y = y + x instead of ndarray += x, and fgrad.numpy.take(a, i) instead of ndarray[i]
            """,
        then=[1, 1, 1],
    )


def test_add_into_an_ndarray_in_grad():
    def added(x):
        a = np.zeros(3) if bad else x * 0.0
        a += x  # here
        return a.sum()

    f = grad(added)
    refused(
        lambda: f(x3).tolist(),
        MutationError,
        """
            np.add cannot write a traced result into an ndarray (out=, or ndarray += x)
              at:  {at}
              got: a traced float64[3]
              do:  write y = y + x instead of y += x: the result is then traced as well
            """,
        then=[1, 1, 1],
    )


def test_add_into_an_ndarray_under_jit():
    def added(x):
        a = np.zeros(3) if bad else x * 0.0
        a += x  # here
        return a.sum()

    f = jit(added)
    refused(
        lambda: f(x3),
        MutationError,
        """
            np.add cannot write a traced result into an ndarray (out=, or ndarray += x)
              at:  {at}
              got: a traced float64[3]
              do:  write y = y + x instead of y += x: the result is then traced as well
            """,
        then=6,
    )


def test_out_is_an_ndarray():
    buffer = np.zeros(3)
    f = vmap(lambda x: np.add(x, 1, out=buffer) if bad else np.add(x, 1))  # here
    refused(
        lambda: f(x3).tolist(),
        MutationError,
        """
            np.add cannot write a traced result into an ndarray (out=, or ndarray += x)
              at:  {at}
              got: a traced float64[]
              do:  write y = y + x instead of y += x: the result is then traced as well
            """,
        then=[2, 3, 4],
    )


def test_write_into_an_argument():
    def written(x):
        y = x if bad else x.copy()
        y[0] = 1.0  # here
        return y.sum()

    f = grad(written)
    refused(
        lambda: f(x3).tolist(),
        MutationError,
        """
            x[i] = v cannot write into a traced array
              at:  {at}
              got: a traced float64[3]
              do:  write x = x.at[i].set(v) (or .add, .multiply, .min, .max), or x = np.where(mask, v, x)
            """,
        then=[0, 1, 1],
    )


# ------------------------------------------------------------------------------------------------ what jit takes


def test_jit_of_no_function():
    refused(
        lambda: jit(x3.sum() if bad else np.sum)(x3),  # here
        TypeError,
        """
            jit takes a function
              at:  {at}
              got: float64
              do:  write jit(f), not jit(f(x))
            """,
        then=6,
    )


def test_unhashable_static_argument():
    f = jit(lambda x, axes: x.sum(axes), static_argnums=1)
    refused(
        lambda: f(x3, [0] if bad else (0,)),  # here
        StaticArgumentError,
        """
            jit(<lambda>): argument 1 is static, but it cannot be hashed
              at:  {at}
              got: list
              do:  pass a tuple instead of a list, a frozen object instead of a dict; arrays are not static
            """,
        then=6,
    )


def test_unhashable_static_keyword():
    f = jit(lambda x, *, axes: x.sum(axes), static_argnames="axes")
    refused(
        lambda: f(x3, axes=x3 if bad else (0,)),  # here
        StaticArgumentError,
        """
            jit(<lambda>): argument 'axes' is static, but it cannot be hashed
              at:  {at}
              got: ndarray
              do:  pass a tuple instead of a list, a frozen object instead of a dict; arrays are not static
            """,
        then=6,
    )


def test_traced_static_argument():
    inner = jit(lambda x, n: x * n, static_argnums=1)
    f = grad(lambda x: inner(1.0, x) if bad else inner(x, 3))  # here
    refused(
        lambda: f(2.0),
        StaticArgumentError,
        """
            jit(<lambda>): argument 1 is static, but it is traced
              at:  {at}
              got: Tracer
              do:  pass a tuple instead of a list, a frozen object instead of a dict; arrays are not static
            """,
        then=3,
    )


def test_static_name_that_does_not_exist():
    refused(
        lambda: jit(lambda x, n: x, static_argnames="m" if bad else "n")(1.0, 2),  # here
        StaticArgumentError,
        """
            there is no argument named 'm'
              at:  {at}
              got: <lambda>(x, n)
              do:  check the name
            """,
        then=1,
    )


def test_static_number_that_does_not_exist():
    refused(
        lambda: jit(lambda x, n: x, static_argnums=2 if bad else 1)(1.0, 2),  # here
        StaticArgumentError,
        """
            argument number 2 does not exist
              at:  {at}
              got: <lambda> takes 2 positional arguments
              do:  count from 0
            """,
        then=1,
    )


# ------------------------------------------------------------------------------------------ what has no traced version


def test_function_without_a_traced_version():
    f = grad(lambda x: np.busday_count(x, x) if bad else x)  # here
    refused(
        lambda: f(1.0),
        MissingRuleError,
        """
            numpy.busday_count has no traced version
              at:  {at}
              do:  compose it of functions in fgrad.numpy, or give it a derivative with fgrad.custom_vjp
            """,
        then=1,
    )


def test_ufunc_without_a_traced_version():
    f = jit(lambda x: np.spacing(x) if bad else x)  # here
    refused(
        lambda: f(1.0),
        MissingRuleError,
        """
            np.spacing has no traced version
              at:  {at}
              do:  compose it of functions in fgrad.numpy, or give it a derivative with fgrad.custom_vjp
            """,
        then=1,
    )


# ------------------------------------------------------------------------------------------------------ indices


def test_index_in_jitted_code():
    def picked(x, i):
        y = x * 2
        return y[i]  # here

    f = jit(picked)
    refused(
        lambda: f(x3, 3 if bad else 2),
        OutOfBoundsError,
        """
            index 3 is out of bounds for axis 0 with size 3
              at:  {at}
              got: float64[3]
              do:  correct the index, or choose mode="clip", "wrap", "fill" or "drop"
            """,
        then=6,
    )


def test_index_in_jitted_code_is_an_index_error_of_the_caller():
    f = jit(lambda x, i: x[i])
    for i in (3, -4):
        try:
            f(x3, i)
        except IndexError:
            continue
        raise AssertionError("no IndexError")
    assert f(x3, -3) == 1


def test_index_in_vmapped_code():
    def picked(x, i):
        return x[i]  # here

    f = vmap(picked, in_axes=(None, 0))
    refused(
        lambda: f(x3, np.array([0, 3 if bad else 2])).tolist(),
        OutOfBoundsError,
        """
            index 3 is out of bounds for axis 0 with size 3
              at:  {at}
              got: float64[3]
              do:  correct the index, or choose mode="clip", "wrap", "fill" or "drop"
            """,
        then=[1, 3],
    )


def test_index_in_jitted_vmapped_code():
    def picked(x, i):
        return x[i]  # here

    f = jit(vmap(picked, in_axes=(None, 0)))
    refused(
        lambda: f(x3, np.array([0, 3 if bad else 2])).tolist(),
        OutOfBoundsError,
        """
            index 3 is out of bounds for axis 0 with size 3
              at:  {at}
              got: float64[3]
              do:  correct the index, or choose mode="clip", "wrap", "fill" or "drop"
            """,
        then=[1, 3],
    )


def test_index_in_a_gradient():
    def picked(x, i):
        return x[i]  # here

    f = grad(picked)
    refused(
        lambda: f(x3, np.int64(3) if bad else np.int64(2)).tolist(),
        OutOfBoundsError,
        """
            index 3 is out of bounds for axis 0 with size 3
              at:  {at}
              got: float64[3]
              do:  correct the index, or choose a mode: x.at[i].get(mode="fill"), fgrad.numpy.take(x, i, mode="clip")
            """,
        then=[0, 0, 1],
    )


def test_index_in_a_jitted_gradient():
    def picked(x, i):
        return x[i] ** 2  # here

    f = jit(grad(picked))
    refused(
        lambda: f(x3, 3 if bad else 2).tolist(),
        OutOfBoundsError,
        """
            index 3 is out of bounds for axis 0 with size 3
              at:  {at}
              got: float64[3]
              do:  correct the index, or choose mode="clip", "wrap", "fill" or "drop"
            """,
        then=[0, 0, 6],
    )


def test_index_in_nested_jitted_code():
    def picked(x, i):
        return x[i]  # here

    inner = jit(picked)
    f = jit(lambda x, i: inner(x * 2, i) + 1)
    refused(
        lambda: f(x3, 3 if bad else 2),
        OutOfBoundsError,
        """
            index 3 is out of bounds for axis 0 with size 3
              at:  {at}
              got: float64[3]
              do:  correct the index, or choose mode="clip", "wrap", "fill" or "drop"
            """,
        then=7,
    )


def test_index_of_a_function_that_was_traced_elsewhere():
    def picked(x, i):
        return np.take(x, i)  # here

    f = jit(picked)
    for _ in range(2):  # the second time the program comes from the cache
        f(x3, 1)
    refused(
        lambda: f(x3, -4 if bad else 2),
        OutOfBoundsError,
        """
            index -4 is out of bounds for axis 0 with size 3
              at:  {at}
              got: float64[3]
              do:  correct the index, or choose mode="clip", "wrap", "fill" or "drop"
            """,
        then=3,
    )


# --------------------------------------------------------------------------------------------------- not errors


def test_nan_in_data_raises_nothing():
    a = np.array([np.nan, np.inf, -np.inf, -1.0])
    f = lambda x: np.sum(np.sqrt(x) + np.log(x))  # noqa: E731
    with np.errstate(all="ignore"):
        assert np.isnan(grad(f)(a)[0])
    assert np.isnan(jit(f)(a))
    assert np.isnan(jit(grad(f))(a)[0])
    assert np.isnan(jit(vmap(grad(np.sqrt)))(a)).tolist() == [True, False, True, True]
    assert np.isnan(jit(lambda x, i: x[i])(a, 0))
