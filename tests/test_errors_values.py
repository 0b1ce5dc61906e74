"""What Python may not do with a traced value: every refusal with its whole text."""

import math

import numpy as np
from pinned import bad, refused

from fgrad import grad, jit, jvp, lax, vmap
from fgrad.core.errors import (
    ConcretizationError,
    LeakedTracerError,
    MutationError,
)

x3 = np.array([1.0, 2.0, 3.0])

# what the errors advise
BRANCH = (
    "use fgrad.numpy.where(condition, a, b); or mark the argument static (static_argnums); or leave jit and vmap "
    "out here: grad alone runs Python branches"
)
STATIC = "mark the argument static (static_argnums), or take the number from a shape"
FLOAT = (
    "keep it an array: fgrad.numpy and plain np functions (np.sin, np.exp, ...) work on it where math.sin and "
    "float() would drop its derivative; fgrad.lax.stop_gradient(x) makes a constant on purpose"
)
NDARRAY = (
    "use np.stack or fgrad.numpy.array([...]) for lists; make buffers with np.zeros_like(x) or np.zeros(n, "
    "like=x); write y = y + x instead of ndarray += x, and fgrad.numpy.take(a, i) instead of ndarray[i]"
)
RETURN = "return it from the function instead of storing it in a global, an attribute or a closure"
REBIND = "write y = y + x instead of y += x: the result is then traced as well"


# ------------------------------------------------------------------------------------------- tracers that leak


def test_leaked_tracer_is_used_later():
    kept = []
    f = jit(lambda x: kept.append(x) or x)
    f(1.0)
    refused(
        lambda: kept[0] + 1 if bad else f(1.0),  # here
        LeakedTracerError,
        "a value traced by jit was used after that transformation had ended",
        got="a traced float64[]",
        do=RETURN,
        then=1,
    )


def test_leaked_tracer_becomes_a_float_later():
    kept = []
    f = vmap(lambda x: kept.append(x) or x)
    f(x3)
    refused(
        lambda: float(kept[0]) if bad else f(x3).tolist(),  # here
        LeakedTracerError,
        "a value traced by vmap was used after that transformation had ended",
        got="a traced float64[]",
        do=RETURN,
        then=[1, 2, 3],
    )


def test_leaked_tracer_of_grad():
    kept = []
    f = grad(lambda x: kept.append(x) or x)
    f(1.0)
    refused(
        lambda: np.sin(kept[0]) if bad else f(1.0),  # here
        LeakedTracerError,
        "a value traced by grad was used after that transformation had ended",
        got="a traced float64[]",
        do=RETURN,
        then=1,
    )


def test_leaked_tracer_captured_in_a_gradient():
    kept = []
    jit(lambda x: kept.append(x) or x)(2.0)
    f = grad(lambda y: y * (kept[0] if bad else 2.0))  # here
    refused(
        lambda: f(1.0),
        LeakedTracerError,
        "a value traced by jit was used after that transformation had ended",
        got="a traced float64[]",
        do=RETURN,
        then=2,
    )


def test_leaked_tracer_captured_in_jit():
    kept = []
    jvp(lambda x: kept.append(x) or x, (2.0,), (1.0,))
    f = jit(lambda y: np.hypot(kept[0] if bad else 2.0, y))  # here
    refused(
        lambda: f(0.0),
        LeakedTracerError,
        "a value traced by jvp was used after that transformation had ended",
        got="a traced float64[]",
        do=RETURN,
        then=2,
    )


# -------------------------------------------------------------------------- Python asks for a value: jit and vmap


def test_if_under_jit():
    f = jit(lambda x: (1.0 if x > 0 else 2.0) if bad else x)  # here
    refused(
        lambda: f(3.0),
        ConcretizationError,
        "bool(x) is not possible: its value is not known while jit traces",
        got="a traced bool[]",
        do=BRANCH,
        then=3,
    )


def test_if_under_vmap():
    f = vmap(lambda x: (1.0 if x > 0 else 2.0) if bad else x)  # here
    refused(
        lambda: f(x3).tolist(),
        ConcretizationError,
        "bool(x) is not possible: its value is not known while vmap traces",
        got="a traced bool[]",
        do=BRANCH,
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
        "bool(x) is not possible: its value is not known while jit traces",
        got="a traced bool[]",
        do=BRANCH,
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
        "bool(x) is not possible: its value is not known while vmap traces",
        got="a traced bool[]",
        do=BRANCH,
        then=[1, 2, 3],
    )


def test_int_under_jit():
    f = jit(lambda x: int(x) if bad else x)  # here
    refused(
        lambda: f(3.0),
        ConcretizationError,
        "int(x) is not possible: its value is not known while jit traces",
        got="a traced float64[]",
        do=STATIC,
        then=3,
    )


def test_range_under_jit():
    f = jit(lambda n: sum(range(n)) if bad else n)  # here
    refused(
        lambda: f(3),
        ConcretizationError,
        "x used as a Python integer is not possible: its value is not known while jit traces",
        got="a traced int64[]",
        do=STATIC,
        then=3,
    )


def test_list_index_under_vmap():
    f = vmap(lambda i: [4, 5, 6][i] if bad else i)  # here
    refused(
        lambda: f(np.arange(3)).tolist(),
        ConcretizationError,
        "x used as a Python integer is not possible: its value is not known while vmap traces",
        got="a traced int64[]",
        do=STATIC,
        then=[0, 1, 2],
    )


def test_shape_under_jit():
    f = jit(lambda n: np.ones((1, n if bad else 3)) * n)  # here
    refused(
        lambda: f(2).tolist(),
        ConcretizationError,
        "x used as a Python integer is not possible: its value is not known while jit traces",
        got="a traced int64[]",
        do=STATIC,
        then=[[2, 2, 2]],
    )


def test_if_under_jit_inside_grad():
    f = grad(jit(lambda x: x if not bad or x > 0 else -x))  # here
    refused(
        lambda: f(3.0),
        ConcretizationError,
        "bool(x) is not possible: its value is not known while jit traces",
        got="a traced bool[]",
        do=BRANCH,
        then=1,
    )


# ---------------------------------------------------------------------- Python asks for a value: lost derivatives


def test_float_in_grad():
    f = grad(lambda x: float(x) if bad else x)  # here
    refused(
        lambda: f(3.0),
        ConcretizationError,
        "float(x) is not possible: its derivative would be lost",
        got="a traced float64[]",
        do=FLOAT,
        then=1,
    )


def test_complex_in_jvp():
    f = lambda x: complex(x) if bad else x  # noqa: E731  # here
    refused(
        lambda: jvp(f, (3.0,), (1.0,)),
        ConcretizationError,
        "complex(x) is not possible: its derivative would be lost",
        got="a traced float64[]",
        do=FLOAT,
        then=(3, 1),
    )


def test_math_function_in_grad():
    f = grad(lambda x: math.sin(x) if bad else np.sin(x))  # here
    refused(
        lambda: f(0.0),
        ConcretizationError,
        "float(x) is not possible: its derivative would be lost",
        got="a traced float64[]",
        do=FLOAT,
        then=1,
    )


def test_math_function_under_jit():
    f = jit(lambda x: math.sin(x) if bad else np.sin(x))  # here
    refused(
        lambda: f(0.0),
        ConcretizationError,
        "float(x) is not possible: its value is not known while jit traces",
        got="a traced float64[]",
        do=FLOAT,
        then=0,
    )


def test_item_in_grad():
    f = grad(lambda x: x.item() if bad else x)  # here
    refused(
        lambda: f(3.0),
        ConcretizationError,
        "x.item() is not possible: its derivative would be lost",
        got="a traced float64[]",
        do=FLOAT,
        then=1,
    )


def test_tolist_under_vmap():
    f = vmap(lambda x: sum(x.tolist()) if bad else x.sum())  # here
    refused(
        lambda: f(np.ones((2, 3))).tolist(),
        ConcretizationError,
        "x.tolist() is not possible: its value is not known while vmap traces",
        got="a traced float64[3]",
        do=FLOAT,
        then=[3, 3],
    )


def test_array_of_a_list_in_grad():
    f = grad(lambda x: np.array([x, 2 * x]).sum() if bad else x)  # here
    refused(
        lambda: f(3.0),
        ConcretizationError,
        (
            "an ndarray made of x (np.array, np.asarray, a[i] = x, or a library that is not traced) is not possible: "
            "its derivative would be lost"
        ),
        got="a traced float64[]",
        do=NDARRAY,
        then=1,
    )


def test_asarray_under_jit():
    f = jit(lambda x: np.asarray(x) if bad else x)  # here
    refused(
        lambda: f(x3).tolist(),
        ConcretizationError,
        (
            "an ndarray made of x (np.array, np.asarray, a[i] = x, or a library that is not traced) is not possible: "
            "its value is not known while jit traces"
        ),
        got="a traced float64[3]",
        do=NDARRAY,
        then=[1, 2, 3],
    )


def test_ndarray_indexed_by_a_tracer_under_jit():
    f = jit(lambda i: x3[i] if bad else lax.dynamic_index_in_dim(x3, i, keepdims=False))  # here
    refused(
        lambda: f(1),
        ConcretizationError,
        (
            "an ndarray made of x (np.array, np.asarray, a[i] = x, or a library that is not traced) is not possible: "
            "its value is not known while jit traces"
        ),
        got="a traced int64[]",
        do=NDARRAY,
        then=2,
    )


# -------------------------------------------------------------------------------------------------------- writes


def test_store_into_an_ndarray_in_grad():
    def stored(x):
        a = np.zeros(3)
        if bad:
            a[0] = x  # here
        return a.sum() + np.sum(x)

    f = grad(stored)
    refused(
        lambda: f(3.0),
        ConcretizationError,
        "storing x into an ndarray (a[i] = x) is not possible: its derivative would be lost",
        got="a traced float64[]",
        do=NDARRAY,
        then=1,
    )


def test_store_into_an_ndarray_under_jit():
    def stored(x):
        a = np.zeros(3)
        if bad:
            a[0] = x  # here
        return a.sum() + np.sum(x)

    f = jit(stored)
    refused(
        lambda: f(3.0),
        ConcretizationError,
        "storing x into an ndarray (a[i] = x) is not possible: its value is not known while jit traces",
        got="a traced float64[]",
        do=NDARRAY,
        then=3,
    )


def test_store_of_an_array_into_a_slice():
    def stored(x):
        a = np.zeros(3)
        if bad:
            a[:] = x  # here
        return a.sum() + np.sum(x)

    f = grad(stored)
    refused(
        lambda: f(x3).tolist(),
        ConcretizationError,
        (
            "an ndarray made of x (np.array, np.asarray, a[i] = x, or a library that is not traced) is not possible: "
            "its derivative would be lost"
        ),
        got="a traced float64[3]",
        do=NDARRAY,
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
        "np.add cannot write a traced result into an ndarray (out=, or ndarray += x)",
        got="a traced float64[3]",
        do=REBIND,
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
        "np.add cannot write a traced result into an ndarray (out=, or ndarray += x)",
        got="a traced float64[3]",
        do=REBIND,
        then=6,
    )


def test_out_is_an_ndarray():
    buffer = np.zeros(3)
    f = vmap(lambda x: np.add(x, 1, out=buffer) if bad else np.add(x, 1))  # here
    refused(
        lambda: f(x3).tolist(),
        MutationError,
        "np.add cannot write a traced result into an ndarray (out=, or ndarray += x)",
        got="a traced float64[]",
        do=REBIND,
        then=[2, 3, 4],
    )
