"""What vjp, jvp, custom rules and linear_transpose refuse: every refusal with its whole text."""

import numpy as np
from pinned import bad, refused

from fgrad import custom_jvp, custom_vjp, grad, jit, jvp, linear_transpose, linearize, vjp
from fgrad.core.errors import GradError, LeafError, LinearityError, ShapeError, TreeError

x3 = np.array([1.0, 2.0, 3.0])

# what the errors advise
LINEAR = (
    "transpose only what is linear in those arguments; a custom_vjp whose bwd is not linear in the "
    "cotangent works in reverse mode only"
)
LEAF = "pass NumPy arrays or Python numbers; mark other arguments static or close over them"
STRUCTURE = "give it the same structure"
TYPE = "give it the shape and dtype of the value it belongs to"
PAIR = "return a pair"
PASS = "pass the value as an argument, so that the rule can give its derivative"
SHAPE = "return an array of that shape"
RETURNED = "return the same structure"


# -------------------------------------------------------------------------------------------- tangents, cotangents


def test_cotangent_of_wrong_structure():
    pull = vjp(lambda x: {"a": [x, x]}, 1.0)[1]
    refused(
        lambda: pull({"b" if bad else "a": [1.0, 1.0]}),  # here
        TreeError,
        "<lambda>: the cotangent has another structure than the value it belongs to",
        got="at the top: missing key 'a', unexpected key 'b'",
        do=STRUCTURE,
        then=(2,),
    )


def test_cotangent_of_wrong_structure_further_down():
    pull = vjp(lambda x: {"a": [x, x]}, 1.0)[1]
    refused(
        lambda: pull({"a": [1.0] if bad else [1.0, 1.0]}),  # here
        TreeError,
        "<lambda>: the cotangent has another structure than the value it belongs to",
        got="at ['a']: expected a list of 2, got a list of 1",
        do=STRUCTURE,
        then=(2,),
    )


def test_cotangent_of_wrong_shape():
    pull = vjp(lambda x: {"a": x}, x3)[1]
    refused(
        lambda: pull({"a": np.ones(4 if bad else 3)})[0].tolist(),  # here
        ShapeError,
        "<lambda>: the cotangent['a'] must be float64[3]",
        got="float64[4]",
        do=TYPE,
        then=[1, 1, 1],
    )


def test_cotangent_of_wrong_dtype():
    pull = vjp(lambda x: x, x3)[1]
    refused(
        lambda: pull(np.ones(3, np.float32 if bad else np.float64))[0].tolist(),  # here
        ShapeError,
        "<lambda>: the cotangent must be float64[3]",
        got="float32[3]",
        do=TYPE,
        then=[1, 1, 1],
    )


def test_cotangent_is_a_string():
    pull = vjp(lambda x: x, 1.0)[1]
    refused(
        lambda: pull("abc" if bad else 1.0),  # here
        LeafError,
        "<lambda>: the cotangent: expected an array or a number, got an object of class str",
        got="'abc'",
        do=LEAF,
        then=(1,),
    )


def test_tangent_of_wrong_structure():
    refused(
        lambda: jvp(lambda p: p["a"], ({"a": 1.0},), ({"c" if bad else "a": 1.0},)),  # here
        TreeError,
        "<lambda>: the tangent has another structure than the value it belongs to",
        got="at [0]: missing key 'a', unexpected key 'c'",
        do=STRUCTURE,
        then=(1, 1),
    )


def test_tangent_of_wrong_shape():
    refused(
        lambda: jvp(lambda x: x.sum(), (x3,), (np.ones((1, 3) if bad else 3),)),  # here
        ShapeError,
        "<lambda>: the tangent[0] must be float64[3]",
        got="float64[1,3]",
        do=TYPE,
        then=(6, 3),
    )


def test_tangent_of_wrong_dtype():
    refused(
        lambda: jvp(lambda x, p: p["b"], (1.0, {"b": 2.0}), (1.0, {"b": 1j if bad else 1.0})),  # here
        ShapeError,
        "<lambda>: the tangent[1]['b'] must be float64[]",
        got="complex128[]",
        do=TYPE,
        then=(2, 1),
    )


def test_primals_that_are_no_tuple():
    refused(
        lambda: jvp(np.sum, x3 if bad else (x3,), (x3,)),  # here
        TreeError,
        "jvp takes tuples of primals and of tangents",
        got="ndarray, tuple",
        do="write jvp(f, (x,), (t,))",
        then=(6, 6),
    )


def test_tangent_given_to_linearize():
    push = linearize(lambda x: x * 2, x3)[1]
    refused(
        lambda: push(np.ones(2 if bad else 3)).tolist(),  # here
        ShapeError,
        "<lambda>: the tangent[0] must be float64[3]",
        got="float64[2]",
        do=TYPE,
        then=[2, 2, 2],
    )


# --------------------------------------------------------------------------------------------------- custom rules


def halved(x):
    return x / 2


def test_custom_vjp_without_rules():
    f = custom_vjp(halved)
    refused(
        lambda: grad(f)(1.0) if bad else f(1.0),  # here
        GradError,
        "custom_vjp halved has no rules",
        do="set them with defvjp(fwd, bwd)",
        then=0.5,
    )


def test_custom_jvp_without_a_rule():
    f = custom_jvp(halved)
    refused(
        lambda: jvp(f, (1.0,), (1.0,)) if bad else f(1.0),  # here
        GradError,
        "custom_jvp halved has no rule",
        do="set one with defjvp or defjvps",
        then=0.5,
    )


def test_fwd_returns_no_pair():
    f = custom_vjp(halved)
    f.defvjp(lambda x: halved(x) if bad else (halved(x), None), lambda res, ct: (ct * 7,))
    refused(
        lambda: grad(f)(1.0),  # here
        GradError,
        "fwd of custom_vjp halved must return (value, residuals)",
        got="a traced float64[]",
        do=PAIR,
        then=7,
    )


def test_fwd_returns_another_structure():
    f = custom_vjp(halved)
    f.defvjp(lambda x: ([halved(x)] if bad else halved(x), None), lambda res, ct: (ct * 7,))
    refused(
        lambda: grad(f)(1.0),  # here
        TreeError,
        "fwd of custom_vjp halved: the value has another structure than expected",
        got="at the top: expected a leaf, got a list of 1",
        do=RETURNED,
        then=7,
    )


def test_fwd_returns_another_shape():
    f = custom_vjp(lambda x: x.sum())
    f.defvjp(lambda x: (x if bad else x.sum(), None), lambda res, ct: (ct * np.ones(3),))
    refused(
        lambda: grad(f)(x3).tolist(),  # here
        ShapeError,
        "fwd of custom_vjp <lambda>: the value has another shape than expected (float64[])",
        got="float64[3]",
        do=SHAPE,
        then=[1, 1, 1],
    )


def test_bwd_returns_too_few_cotangents():
    f = custom_vjp(lambda x, y: x * y)
    f.defvjp(lambda x, y: (x * y, None), lambda res, ct: (ct,) if bad else (ct, None))
    refused(
        lambda: grad(f)(1.0, 2.0),  # here
        GradError,
        "bwd of custom_vjp <lambda> must return a tuple of 2 cotangents",
        got="a tuple of 1",
        do="return one entry per differentiable argument, None for zero",
        then=1,
    )


def test_bwd_returns_no_tuple():
    f = custom_vjp(halved)
    f.defvjp(lambda x: (halved(x), None), lambda res, ct: ct if bad else (ct,))
    refused(
        lambda: grad(f)(1.0),  # here
        GradError,
        "bwd of custom_vjp halved must return a tuple of 1 cotangents",
        got="a traced float64[]",
        do="return one entry per differentiable argument, None for zero",
        then=1,
    )


def test_bwd_returns_a_cotangent_of_wrong_shape():
    f = custom_vjp(lambda x, y: x.sum() + y)
    f.defvjp(lambda x, y: (x.sum() + y, None), lambda res, ct: (ct if bad else ct * np.ones(3), ct))
    refused(
        lambda: grad(f)(x3, 1.0).tolist(),  # here
        ShapeError,
        "bwd of custom_vjp <lambda>: the cotangent of argument 0 has another shape than expected (float64[3])",
        got="float64[]",
        do=SHAPE,
        then=[1, 1, 1],
    )


def test_bwd_returns_a_cotangent_of_wrong_structure():
    f = custom_vjp(lambda p: p["a"] * 2)
    f.defvjp(lambda p: (p["a"] * 2, None), lambda res, ct: (ct if bad else {"a": ct},))
    refused(
        lambda: grad(f)({"a": 1.0}),  # here
        TreeError,
        "bwd of custom_vjp <lambda>: the cotangent of argument 0 has another structure than expected",
        got="at the top: expected a dict with keys 'a', got a float64[]",
        do=RETURNED,
        then={"a": 1.0},
    )


def test_custom_jvp_rule_returns_no_pair():
    f = custom_jvp(halved)
    f.defjvp(lambda primals, tangents: tangents[0] if bad else (halved(primals[0]), tangents[0] * 7))
    refused(
        lambda: jvp(f, (1.0,), (1.0,)),  # here
        GradError,
        "the rule of custom_jvp halved must return (value, tangent)",
        got="a traced float64[]",
        do=PAIR,
        then=(0.5, 7),
    )


def test_custom_jvp_rule_returns_a_tangent_of_wrong_shape():
    f = custom_jvp(halved)
    f.defjvp(lambda primals, tangents: (halved(primals[0]), tangents[0].sum() if bad else tangents[0]))
    refused(
        lambda: jvp(f, (x3,), (x3,))[1].tolist(),  # here
        ShapeError,
        "the rule of custom_jvp halved: the tangent has another shape than expected (float64[3])",
        got="float64[]",
        do=SHAPE,
        then=[1, 2, 3],
    )


def test_custom_jvp_rule_whose_value_depends_on_tangents():
    f = custom_jvp(halved)
    f.defjvp(lambda primals, tangents: (tangents[0] if bad else halved(primals[0]), tangents[0]))
    refused(
        lambda: grad(f)(1.0),  # here
        GradError,
        "the value that a custom_jvp rule returns depends on its tangents",
        do="return (fun(*primals), tangent): only the second depends on tangents, linearly",
        then=1,
    )


def test_custom_vjp_closes_over_a_traced_value():
    def loss(x):
        f = custom_vjp(lambda y: y * (x if bad else 3.0))
        f.defvjp(lambda y: (y * (x if bad else 3.0), None), lambda res, ct: (ct,))
        return f(2.0 * x)  # here

    refused(
        lambda: grad(loss)(1.0),
        GradError,
        "the custom_vjp function '<lambda>' closes over a value that is being differentiated",
        do=PASS,
        then=2,
    )


def test_custom_jvp_closes_over_a_traced_value():
    def loss(x):
        f = custom_jvp(lambda y: y * (x if bad else 3.0))
        f.defjvps(lambda t, value, y: t)
        return f(2.0 * x)  # here

    refused(
        lambda: jvp(loss, (1.0,), (1.0,)),
        GradError,
        "the custom_jvp function '<lambda>' closes over a value that is being differentiated",
        do=PASS,
        then=(6, 2),
    )


def test_nondifferentiable_argument_is_traced():
    f = custom_vjp(lambda n, x: x * n, nondiff_argnums=0)
    f.defvjp(lambda n, x: (x * n, None), lambda n, res, ct: (ct * n,))
    g = grad(lambda x: f(x if bad else 3.0, x))  # here
    refused(
        lambda: g(2.0),
        GradError,
        "custom_vjp <lambda>: argument 0 is in nondiff_argnums, but it is traced",
        got="float64[]",
        do="take it out of nondiff_argnums and give it a zero derivative in the rule",
        then=3,
    )


# ------------------------------------------------------------------------------------------------------- linearity


def test_nonlinear_backward_rule_in_forward_mode():
    f = custom_vjp(lambda x: x * 2)
    f.defvjp(lambda x: (x * 2, None), lambda res, ct: (np.clip(ct, -1, 1),))
    assert grad(f)(3.0) == 1
    refused(
        lambda: jvp(f, (1.0,), (1.0,)) if bad else grad(f)(3.0),  # here
        LinearityError,
        "primitive 'min' is not linear in the operand that is to be transposed",
        do=LINEAR,
        then=1,
    )


def test_nonlinear_backward_rule_in_jitted_forward_mode():
    f = custom_vjp(lambda x: x * 2)
    f.defvjp(lambda x: (x * 2, None), lambda res, ct: (np.tanh(ct),))
    g = jit(lambda x: jvp(f, (x,), (1.0,)))  # here
    refused(
        lambda: g(1.0) if bad else jit(grad(f))(3.0) == np.tanh(1.0),
        LinearityError,
        "primitive 'tanh' is not linear in the operand that is to be transposed",
        do=LINEAR,
        then=True,
    )


def test_linear_transpose_of_a_nonlinear_function():
    pull = linear_transpose(lambda x: np.sin(x), 1.0)
    refused(
        lambda: pull(1.0) if bad else 1,  # here
        LinearityError,
        "primitive 'sin' is not linear in the operand that is to be transposed",
        do=LINEAR,
        then=1,
    )


def test_linear_transpose_of_a_product():
    pull = linear_transpose(lambda x, y: x * y, 1.0, 1.0)
    refused(
        lambda: pull(1.0) if bad else 1,  # here
        LinearityError,
        "primitive 'mul' is not linear in the operand that is to be transposed",
        do=LINEAR,
        then=1,
    )


def test_cotangent_given_to_linear_transpose():
    pull = linear_transpose(lambda x: (x, 2 * x), 1.0)
    refused(
        lambda: pull((1.0,) if bad else (1.0, 1.0)),  # here
        TreeError,
        "<lambda>: the cotangent has another structure than the value it belongs to",
        got="at the top: expected a tuple of 2, got a tuple of 1",
        do=STRUCTURE,
        then=(3,),
    )


def test_cotangent_of_wrong_shape_given_to_linear_transpose():
    pull = linear_transpose(lambda x: 2 * x, x3)
    refused(
        lambda: pull(np.ones(2 if bad else 3))[0].tolist(),  # here
        ShapeError,
        "<lambda>: the cotangent must be float64[3]",
        got="float64[2]",
        do=TYPE,
        then=[2, 2, 2],
    )
