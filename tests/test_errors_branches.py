"""What conditions and branches refuse: every error with its whole text and the user's line."""

import numpy as np
from pinned import bad, refused
from test_errors_loops import SAME, one, two, x3

from fgrad import jit, lax
from fgrad.core.errors import (
    DtypeError,
    ShapeError,
    TreeError,
)

# what the errors advise
BOOLEAN = "return one comparison; join several by np.logical_and, those of elements by np.all or np.any"
PREDICATE = "compare, as in x > 0; reduce an array by np.any or np.all"
INDEX = "convert it with int(...), or .astype(np.int64) where it is traced"
BROADCAST = "bring both to one shape, with fgrad.numpy.broadcast_to or reshape"
FUNCTION = "pass the function, not its result"


# --------------------------------------------------------------------------------------------------------- conditions


def test_condition_that_is_a_number():
    refused(
        lambda: lax.while_loop(lambda c: c if bad else c > 0, lambda c: c - 1, 3),  # here
        DtypeError,
        "lax.while_loop: <lambda> must return a boolean scalar",
        got="int64[]",
        do=BOOLEAN,
        then=0,
    )


def test_condition_that_is_an_array():
    refused(
        lambda: lax.while_loop(lambda c: c > 0 if bad else np.any(c > 0), lambda c: c - 1, x3).tolist(),  # here
        DtypeError,
        "lax.while_loop: <lambda> must return a boolean scalar",
        got="bool[3]",
        do=BOOLEAN,
        then=[-2, -1, 0],
    )


def test_condition_that_is_a_tuple():
    def go(c):
        return (c > 0, c > 1)

    refused(
        lambda: lax.while_loop(go, lambda c: c - 1, 3),  # here
        DtypeError,
        "lax.while_loop: go must return a boolean scalar",
        got="a pytree of 2 leaves",
        do=BOOLEAN,
    )


def test_predicate_that_is_an_array():
    refused(
        lambda: lax.cond(x3 > 0 if bad else np.all(x3 > 0), lambda x: x, lambda x: -x, 1.0),  # here
        DtypeError,
        "lax.cond: pred must be a boolean scalar",
        got="bool[3]",
        do=PREDICATE,
        then=1.0,
    )


def test_predicate_that_is_no_number():
    refused(
        lambda: lax.cond(None if bad else 1, lambda x: x, lambda x: -x, 1.0),  # here
        DtypeError,
        "lax.cond: pred must be a boolean scalar",
        got="an object of class NoneType",
        do=PREDICATE,
        then=1.0,
    )


def test_index_of_a_branch_that_is_a_float():
    refused(
        lambda: lax.switch(0.0 if bad else 0, [lambda: 1, lambda: 2]),  # here
        DtypeError,
        "lax.switch: index must be an integer scalar",
        got="float64[]",
        do=INDEX,
        then=1,
    )


def test_traced_index_of_a_branch_that_is_a_boolean():
    refused(
        lambda: jit(lambda i: lax.switch(i > 0 if bad else i, [lambda: 1, lambda: 2]))(1),  # here
        DtypeError,
        "lax.switch: index must be an integer scalar",
        got="bool[]",
        do=INDEX,
    )


def test_no_branches():
    refused(
        lambda: lax.switch(0, []),  # here
        ShapeError,
        "lax.switch: there are no branches",
        got="an empty sequence",
        do="pass one at least",
    )


# ----------------------------------------------------------------------------------------------------------- branches


def test_branches_of_different_dtypes():
    refused(
        lambda: lax.cond(True, lambda: {"a": one}, lambda: {"a": two if bad else one}),  # here
        DtypeError,
        "lax.cond: true_fun and false_fun return different types at ['a']",
        got="float32[] and float64[]",
        do="convert one of them, with .astype(np.float32) or .astype(np.float64)",
        then={"a": 1},
    )


def test_branches_of_different_shapes():
    sums = [lambda: x3.sum(), lambda: 0.0, lambda: x3 if bad else x3[1]]
    refused(
        lambda: jit(lambda i: lax.switch(i, sums))(2),  # here
        ShapeError,
        "lax.switch: branches[0] and branches[2] return different types",
        got="float64[] and float64[3]",
        do=BROADCAST,
    )


def test_branches_of_different_structures():
    refused(
        lambda: jit(lambda p: lax.cond(p, lambda: (1, [2]), lambda: (1, (2,)) if bad else (1, [3])))(True),  # here
        TreeError,
        "lax.cond: false_fun returns another structure than true_fun",
        got="at [1]: expected a list of 1, got a tuple of 1",
        do=SAME,
    )


def test_results_instead_of_functions():
    refused(
        lambda: lax.cond(True, lambda x: x, 2.0, 1.0),  # here
        TypeError,
        "lax.cond: false_fun must be a function",
        got="an object of class float",
        do=FUNCTION,
    )
    assert lax.switch(0, [lambda: 1]) == 1


def test_switch_with_a_result():
    refused(
        lambda: lax.switch(1, [lambda: 1, 2]),  # here
        TypeError,
        "lax.switch: branches[1] must be a function",
        got="an object of class int",
        do=FUNCTION,
    )


def test_scan_of_a_result():
    refused(
        lambda: lax.scan(x3, 0.0, x3),  # here
        TypeError,
        "lax.scan: f must be a function",
        got="an object of class ndarray",
        do=FUNCTION,
    )


def test_operands_given_twice():
    refused(
        lambda: lax.cond(True, lambda x: x, lambda x: x, 1.0, operand=2.0),  # here
        TypeError,
        "lax.cond: operands are given by position and as operand=",
        got="1 by position",
        do="give all by position",
    )
