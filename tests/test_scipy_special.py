"""fgrad.scipy.special against SciPy: values and dtypes, eagerly and traced; derivatives by finite differences."""

import itertools

import numpy as np
import pytest
import scipy.special

import fgrad
from fgrad.core.errors import DtypeError, MissingRuleError, StaticArgumentError
from fgrad.scipy import special
from fgrad.testing import check_close, check_grads, check_vmap

RNG = np.random.default_rng(1)
ANY = RNG.uniform(-2, 2, (2, 3))
POSITIVE = RNG.uniform(0.3, 3, (2, 3))
OTHER = RNG.uniform(0.3, 3, (3,))
UNIT = RNG.uniform(0.1, 0.9, (2, 3))

# name, operands at which derivatives exist, their order
FUNCTIONS = [
    ("expit", (ANY,), 2), ("logit", (UNIT,), 2), ("log_expit", (ANY,), 2), ("erf", (ANY,), 2), ("erfc", (ANY,), 2),
    ("erfcx", (ANY,), 2), ("erfinv", (UNIT,), 2), ("erfcinv", (UNIT,), 2), ("gamma", (POSITIVE,), 2),
    ("gammaln", (POSITIVE,), 2), ("loggamma", (POSITIVE,), 2), ("gammasgn", (ANY,), 1), ("digamma", (POSITIVE,), 2),
    ("psi", (POSITIVE,), 2), ("beta", (POSITIVE, OTHER), 2), ("betaln", (POSITIVE, OTHER), 2),
    ("gammainc", (POSITIVE, OTHER), 1), ("gammaincc", (POSITIVE, OTHER), 1), ("xlogy", (ANY, OTHER), 2),
    ("xlog1py", (ANY, OTHER), 2), ("entr", (POSITIVE,), 2), ("rel_entr", (POSITIVE, OTHER), 2),
    ("kl_div", (POSITIVE, OTHER), 2), ("ndtr", (ANY,), 2), ("ndtri", (UNIT,), 2), ("log_ndtr", (ANY,), 2),
    ("i0", (ANY,), 2), ("i0e", (POSITIVE,), 2), ("i1", (POSITIVE,), 2), ("i1e", (POSITIVE,), 2), ("expm1", (ANY,), 2),
    ("log1p", (UNIT,), 2), ("exp2", (ANY,), 2), ("cbrt", (POSITIVE,), 2), ("sinc", (POSITIVE,), 2),
    ("factorial", (POSITIVE,), 2), ("logsumexp", (ANY,), 2), ("softmax", (ANY,), 2), ("log_softmax", (ANY,), 2),
]  # fmt: skip
IDS = [row[0] for row in FUNCTIONS]
VALUES = [
    *FUNCTIONS,
    ("betainc", (POSITIVE, OTHER, UNIT), 1),
    ("zeta", (POSITIVE + 1, OTHER), 1),
    ("zeta", (POSITIVE + 1,), 1),
]


def traced(f):
    return lambda *xs: fgrad.jit(f)(*xs)


@pytest.mark.parametrize("name, xs, order", VALUES, ids=[row[0] for row in VALUES])
def test_values_and_dtypes_are_those_of_scipy(name, xs, order):
    f, oracle = getattr(special, name), getattr(scipy.special, name)
    cases = [xs, tuple(x.astype(np.float32) for x in xs), tuple(x[..., :0] for x in xs)]
    cases += [
        tuple(x.flat[0] for x in xs),
        tuple(float(x.flat[0]) for x in xs),
        tuple(x.astype(np.float16) for x in xs),
    ]
    for case in cases:
        if name in ("softmax", "log_softmax", "logsumexp") and (np.size(case[0]) == 0 or type(case[0]) is float):
            continue
        want = oracle(*case)
        check_close(f(*case), want)
        check_close(traced(f)(*case), want)
    with np.errstate(all="ignore"):
        whole = tuple(np.array([1, 2, 3], np.int8) for _ in xs)
        check_close(traced(f)(*whole), oracle(*whole))


@pytest.mark.parametrize("name, xs, order", FUNCTIONS, ids=IDS)
def test_derivatives(name, xs, order):
    check_grads(getattr(special, name), xs, order=order)


@pytest.mark.parametrize("name, xs, order", VALUES, ids=[row[0] for row in VALUES])
def test_vmap(name, xs, order):
    check_vmap(getattr(special, name), tuple(x if x.ndim > 1 else np.stack([x, x + 1]) for x in xs))


@pytest.mark.parametrize("name", [n for n, xs, _ in FUNCTIONS if len(xs) == 2])
def test_mixed_dtypes(name):
    f, oracle = getattr(special, name), getattr(scipy.special, name)
    operands = [1.0, 2, np.float32(1), np.float64(1), np.ones(2, np.float32), np.ones(2, np.int8), np.ones(2, np.int64)]
    for x, y in itertools.product(operands, repeat=2):
        got, want = traced(f)(x, y), oracle(x, y)
        assert (np.shape(got), got.dtype) == (np.shape(want), want.dtype), (x, y)


SPECIAL = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 1e300, -1e300, 5e-324, 40.0, -40.0])


@pytest.mark.parametrize("name, xs, order", FUNCTIONS, ids=IDS)
def test_special_values(name, xs, order):
    if name in ("sinc", "factorial", "softmax", "log_softmax", "logsumexp"):
        pytest.skip("composed of functions that are tested elsewhere")
    f, oracle = getattr(special, name), getattr(scipy.special, name)
    case = [SPECIAL] if len(xs) == 1 else [v.ravel() for v in np.meshgrid(SPECIAL, SPECIAL)]
    with np.errstate(all="ignore"):
        want = oracle(*case)
        check_close(f(*case), want)
        check_close(traced(f)(*case), want)


# ---- derivatives at the edges -----------------------------------------------------------------------------------


def test_derivatives_where_formulas_are_0_times_infinity():
    assert fgrad.grad(special.xlogy, (0, 1))(0.0, 2.0) == (np.log(2), 0.0)
    assert fgrad.grad(special.xlogy, 1)(0.0, 0.0) == 0.0
    assert fgrad.grad(special.xlog1py, 1)(0.0, -1.0) == 0.0
    assert fgrad.grad(special.i1)(0.0) == 0.5 and fgrad.grad(special.i0)(0.0) == 0.0
    assert fgrad.grad(special.i1e)(0.0) == 0.5
    assert fgrad.grad(special.log_expit)(-1000.0) == 1.0 and fgrad.grad(special.log_expit)(1000.0) == 0.0


def test_derivative_of_log_ndtr_far_out():
    # pdf / cdf = x + 1/x - ... below zero: at -1e5 it is 1e5 + 1e-5 (DLMF 7.12.1)
    assert np.isclose(fgrad.grad(special.log_ndtr)(-1e5), 1e5 + 1e-5, rtol=1e-14)
    assert fgrad.grad(special.log_ndtr)(60.0) == 0.0


def test_derivatives_of_partly_differentiable_functions():
    check_grads(lambda x: special.betainc(POSITIVE, OTHER, x), (UNIT,), order=2)
    check_grads(lambda q: special.zeta(POSITIVE + 1, q), (OTHER,), order=2)
    check_grads(lambda x: special.polygamma(2, x), (POSITIVE,), order=2)
    check_grads(lambda x: special.gammainc(OTHER, x), (POSITIVE,), order=2)
    check_grads(lambda a: special.multigammaln(a, 3), (POSITIVE + 2,), order=2)
    check_grads(lambda a, b: special.logsumexp(a, axis=1, b=b), (ANY, POSITIVE), order=2)


def test_gammainc_by_its_parameter_over_its_range():
    for a, x in [(0.01, 1e-5), (0.5, 3.0), (5.0, 4.0), (50.0, 60.0), (1e4, 1e4)]:
        for f in (special.gammainc, special.gammaincc):
            check_grads(lambda a, x, f=f: f(a, x), (a, x), order=1, eps=1e-4 * min(x, 1), atol=1e-9)


# ---- functions that are no ufuncs -------------------------------------------------------------------------------


def test_polygamma_and_others_equal_scipy():
    for n, dtype in itertools.product((0, 1, 3), (np.float64, np.float32)):
        x = POSITIVE.astype(dtype)
        for got in (special.polygamma(n, x), fgrad.jit(lambda v, n=n: special.polygamma(n, v))(x)):
            check_close(got, scipy.special.polygamma(n, x))
    for d in (1, 3):
        for got in (
            special.multigammaln(POSITIVE + 2, d),
            fgrad.jit(lambda v, d=d: special.multigammaln(v, d))(POSITIVE + 2),
        ):
            check_close(got, scipy.special.multigammaln(POSITIVE + 2, d))
    n = np.array([-1.5, 0, 4, 2.5])
    check_close(fgrad.jit(special.factorial)(n), scipy.special.factorial(n))
    assert special.factorial(5, exact=True) == 120


def test_logsumexp_and_softmax_take_scipys_arguments():
    b = np.array([1.0, -2.0, 0.5])
    for kwargs in ({}, {"axis": 1}, {"axis": 0, "keepdims": True}, {"b": b, "axis": 1, "return_sign": True}):
        want = scipy.special.logsumexp(ANY, **kwargs)
        for got in (special.logsumexp(ANY, **kwargs), fgrad.jit(lambda x, k=kwargs: special.logsumexp(x, **k))(ANY)):
            for g, w in zip(np.atleast_1d(got), np.atleast_1d(want), strict=True):
                np.testing.assert_allclose(g, w, rtol=1e-14)
    for name in ("softmax", "log_softmax"):
        for axis in (None, 0, -1):
            want = getattr(scipy.special, name)(ANY, axis=axis)
            check_close(getattr(special, name)(ANY, axis=axis), want)


# ---- errors -----------------------------------------------------------------------------------------------------

ERRORS = [
    (lambda: fgrad.jit(special.erf)(1j), DtypeError, "erf is not defined for complex operands"),
    (
        lambda: fgrad.grad(special.betainc, 0)(1.0, 2.0, 0.5),
        MissingRuleError,
        "betainc has no derivative by its parameter a",
    ),
    (
        lambda: fgrad.grad(special.betainc, 1)(1.0, 2.0, 0.5),
        MissingRuleError,
        "betainc has no derivative by its parameter b",
    ),
    (lambda: fgrad.grad(special.zeta)(2.0), MissingRuleError, "zeta has no derivative by its exponent x"),
    (lambda: fgrad.grad(special.zeta)(2.0, 1.0), MissingRuleError, "zeta has no derivative by its exponent x"),
    (
        lambda: fgrad.grad(fgrad.grad(special.gammainc))(1.0, 1.0),
        MissingRuleError,
        "the derivative of a gamma draw has no derivative by its parameter",
    ),
    (lambda: fgrad.jit(special.polygamma)(1, 2.0), StaticArgumentError, "polygamma: the order of a traced function"),
    (
        lambda: fgrad.jit(lambda x: special.polygamma(np.arange(2), x))(2.0),
        StaticArgumentError,
        "polygamma: the order of a traced function must be one integer of at least 0",
    ),
    (
        lambda: fgrad.jit(lambda x: special.factorial(x, exact=True))(2.0),
        StaticArgumentError,
        "factorial: exact=True needs values that are known",
    ),
]


@pytest.mark.parametrize("call, error, text", ERRORS)
def test_errors(call, error, text):
    with pytest.raises(error) as caught:
        call()
    assert text in str(caught.value) and "do:" in str(caught.value)
