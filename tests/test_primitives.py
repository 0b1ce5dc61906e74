"""Every primitive of the registry against its own `run`, finite differences and Python loops.

Nothing here knows a primitive: operands come from its `samples`, derivatives from differences (and, for analytic
functions, from a step in the imaginary direction, which has no cancellation: Squire and Trapp 1998).
HYPOTHESIS_PROFILE=search draws fresh examples, many of them.
"""

import itertools
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fgrad
from fgrad.core.errors import DtypeError, ShapeError
from fgrad.core.primitive import registry
from fgrad.core.types import shaped
from fgrad.passes.interpret import interpret
from fgrad.passes.render import render_program
from fgrad.primitives.family import Elementwise
from fgrad.primitives.matrices import hermitian
from fgrad.testing import Draw, check_close, check_grads, check_vmap
from fgrad.testing.strategies import with_special

PRIMITIVES = [pytest.param(p, id=p.name) for p in registry]
EXAMPLES = {} if os.environ.get("HYPOTHESIS_PROFILE") else {"max_examples": 6}

# What differences deny: the derivatives of stop_gradient and bitcast_convert_type are zero by definition, and that of
# random_gamma, which rejects samples, is that of the quantile.
NO_DIFFERENCES = {"stop_gradient", "bitcast_convert_type", "random_gamma"}
# Operands by which there is a derivative, where there is none by some, and the highest order where there is one
ACTIVE = {"betainc": [2], "zeta": [1], "riemann_zeta": [], "random_gamma_derivative": []}
ORDER = {"gammainc": 1, "gammaincc": 1}


def _factored(primitive, params):
    """As function of a matrix, which the primitive gets with its factors."""
    return lambda a, *rest: primitive(a, *registry.lu(a, differentiable=False)[:2], *rest, **params)


def _symmetric(primitive, params):
    """As function of any matrix; eigenvectors are determined up to their phases, so by their squares."""

    def f(a):
        values, vectors = primitive(hermitian(a), **params)
        return values, np.abs(vectors) ** 2

    return f


def _svd(primitive, params):
    """The parts that do not depend on the phases of singular vectors."""

    def f(a):
        found = primitive(a, **params)
        if not params["compute_uv"]:
            return [found]
        u, s, vh = found
        return [s, np.abs(u) ** 2, np.abs(vh) ** 2]

    return f


# What to differentiate in place of a primitive whose operands, or results, are tied to each other; and its operands
def _linear_system(primitive, params):
    """As function of the matrix, which all programs capture, and of the right side."""
    return lambda a, b: primitive(a, a, a, b, **params)


def _equation(primitive, params):
    """As function of what the equation and its solver capture; the solution does not depend on the first guess."""
    return lambda a: primitive(a, a, a, **params)


TIED = {
    "solve": (_factored, [0, 3]),
    "det": (_factored, [0]),
    "slogdet": (_factored, [0]),
    "cofactor": (_factored, [0]),
    "eigh": (_symmetric, [0]),
    "svd": (_svd, [0]),
    "linear_solve": (_linear_system, [0, 3]),
    "root": (_equation, [0]),
}


def function(primitive, params):
    """The primitive as a function of its operands that returns a list."""

    def f(*xs):
        out = primitive(*xs, **params)
        return list(out) if isinstance(out, tuple) else [out]

    f.__name__ = primitive.name
    return f


def types_of(xs):
    return [shaped(np.shape(x), x.dtype) for x in xs]


def run(primitive, xs, params):
    """The outputs of `run`, after a look at what it did to its operands."""
    before = [np.array(x) for x in xs]
    with np.errstate(all="ignore"):
        outs = primitive.run(*xs, **params)
    for x, old in zip(xs, before, strict=True):
        assert np.asarray(x).tobytes() == old.tobytes(), "run changed an operand"
    unshared(outs, xs)
    return outs


def unshared(outs, xs):
    """No output shares memory with an operand or another output."""
    arrays = [y for y in outs if isinstance(y, np.ndarray)]
    for k, y in enumerate(arrays):
        for other in [*xs, *arrays[:k]]:
            assert not (isinstance(other, np.ndarray) and np.shares_memory(y, other)), "an output shares memory"


def agree(primitive, xs, params):
    """typeof, kernel, the rendered program, jit and the interpreter say what `run` says, in value and type."""
    types = types_of(xs)
    declared = primitive.typeof(*types, **params)
    outs = list(run(primitive, xs, params))
    assert [shaped(np.shape(y), y.dtype) for y in outs] == list(declared), "typeof and run disagree"

    f = function(primitive, params)
    with np.errstate(all="ignore"):
        bare = primitive.kernel(*types, **params)(*xs)
        check_close([bare] if len(outs) == 1 else list(bare), outs, "kernel")
        jaxpr = fgrad.make_jaxpr(f)(*xs)
        check_close(list(interpret(jaxpr, xs)), outs, "interpret")
        check_close(list(render_program(jaxpr)(*xs)), outs, "rendered")
    if primitive.overwrites is not None:
        copies = [np.array(x) for x in xs]
        check_close(primitive.write(*copies, **params), outs[0], "write")
    compiled = fgrad.jit(f)(*xs)
    check_close(compiled, outs, "jit")
    unshared(compiled, xs)


def narrowed(xs, floats):
    """Operands with floats of that dtype, and complex numbers of parts as narrow as there are."""
    change = {"f": np.dtype(floats), "c": np.dtype("c8")}
    return [x.astype(change.get(x.dtype.kind, x.dtype)) for x in xs]


@pytest.mark.parametrize("primitive", PRIMITIVES)
@settings(**EXAMPLES)
@given(data=st.data())
def test_all_ways_to_compute_agree(primitive, data):
    xs, params = primitive.samples(Draw(data.draw))
    agree(primitive, xs, params)
    if primitive.region or not any(x.dtype.kind in "fc" for x in xs):
        return
    for floats in ("f4", "f2"):
        narrow = narrowed(xs, floats)
        try:
            primitive.typeof(*types_of(narrow), **params)
        except (DtypeError, ShapeError):
            continue
        agree(primitive, narrow, params)


@pytest.mark.parametrize("primitive", [q for q in PRIMITIVES if q.values[0].broadcasts])
@settings(**EXAMPLES)
@given(data=st.data())
def test_operands_that_are_broadcast(primitive, data):
    """Renderers leave out broadcasts in front of primitives that say they do not need them."""
    draw = Draw(data.draw)
    xs, params = primitive.samples(draw)
    repeat = draw.shape(max_dims=1)
    small = [draw.bool() for _ in xs]
    full = [(*repeat, *np.shape(x)) for x in xs]

    def f(*xs):
        repeated = [
            registry.broadcast_in_dim(x, shape=shape, dims=tuple(range(len(repeat), len(shape)))) if s else x
            for x, s, shape in zip(xs, small, full, strict=True)
        ]
        return function(primitive, params)(*repeated)

    xs = [x if s else np.broadcast_to(x, shape).copy()[()] for x, s, shape in zip(xs, small, full, strict=True)]
    with np.errstate(all="ignore"):
        want = list(primitive.run(*[np.broadcast_to(x, s).copy()[()] for x, s in zip(xs, full, strict=True)], **params))
    check_close(fgrad.jit(f)(*xs), want, "jit")


def outcome(f):
    """What a call gives: its results, or the class of its error."""
    try:
        return f()
    except (ValueError, ArithmeticError, IndexError) as error:
        return type(error)


@pytest.mark.parametrize("primitive", PRIMITIVES)
@settings(**EXAMPLES)
@given(data=st.data())
@np.errstate(all="ignore")
def test_special_values(primitive, data):
    draw = Draw(data.draw)
    xs, params = primitive.samples(draw)
    generator = np.random.default_rng(draw.integer(0, 2**32 - 1))
    xs = [with_special(x, generator) for x in xs]
    if isinstance(outcome(lambda: run(primitive, xs, params)), type):
        kind = outcome(lambda: run(primitive, xs, params))
        assert outcome(lambda: fgrad.jit(function(primitive, params))(*xs)) is kind
        return
    if primitive.name == "qr" and not all(np.isfinite(y).all() for y in run(primitive, xs, params)):
        return  # LAPACK overflows to infinity or to NaN, as its operands lie in memory
    agree(primitive, xs, params)
    found = differentiable(primitive, xs, params)
    if found:
        f, moving = found
        cts = [np.ones_like(y) for y in f(*moving)]
        pull = lambda *v: list(fgrad.vjp(f, *v)[1](cts))  # noqa: E731
        eager = outcome(lambda: pull(*moving))
        compiled = outcome(lambda: fgrad.jit(pull)(*moving))
        if isinstance(eager, type):
            assert compiled is eager
        else:
            check_close(compiled, eager, "the compiled vjp")


def differentiable(primitive, xs, params):
    """(f, operands) of the inexact operands and outputs alone; None where there are none."""
    if primitive.name in TIED:
        make, places = TIED[primitive.name]
        whole, xs = make(primitive, params), [xs[i] for i in places]
    else:
        whole = function(primitive, params)
    places = [i for i in ACTIVE.get(primitive.name, range(len(xs))) if xs[i].dtype.kind in "fc"]

    def f(*moving):
        inside = list(xs)
        for i, x in zip(places, moving, strict=True):
            inside[i] = x
        found = whole(*inside)
        return [y for y in (found if isinstance(found, list | tuple) else [found]) if y.dtype.kind in "fc"]

    f.__name__ = primitive.name
    moving = [xs[i] for i in places]
    return (f, moving) if places and f(*moving) else None


def inner(a, b):
    """<a, b> = Re sum(a b), and a bound of what rounding does to it."""
    terms = [np.asarray(x) * np.asarray(y) for x, y in zip(a, b, strict=True)]
    return sum(float(t.sum().real) for t in terms), sum(float(np.abs(t).sum()) for t in terms)


@pytest.mark.parametrize("primitive", [q for q in PRIMITIVES if q.values[0].name not in NO_DIFFERENCES])
@settings(**EXAMPLES)
@given(data=st.data())
def test_derivatives(primitive, data):
    draw = Draw(data.draw)
    xs, params = primitive.samples(draw)
    found = differentiable(primitive, xs, params)
    if not found:
        return
    f, moving = found
    check_grads(f, moving, order=ORDER.get(primitive.name, 2))

    ts = [draw.array(x.shape, x.dtype) for x in moving]
    ys, pushed = fgrad.jvp(f, tuple(moving), tuple(ts))
    cts = [draw.array(y.shape, y.dtype) for y in ys]
    pulled = fgrad.vjp(f, *moving)[1](cts)
    (one, scale), (two, _) = inner(cts, pushed), inner(pulled, ts)
    narrow = any(y.dtype.itemsize // (2 if y.dtype.kind == "c" else 1) < 8 for y in [*moving, *ys])
    assert abs(one - two) <= (1e-5 if narrow else 1e-11) * (scale + 1e-300), "<ct, J t> is not <J^T ct, t>"


ANALYTIC = [
    q
    for q in PRIMITIVES
    if isinstance(q.values[0], Elementwise)
    and set("fc") <= set(q.values[0].takes)
    and q.values[0].gives is None
    and any(d is not None for d in q.values[0].d or ())
]


@pytest.mark.parametrize("primitive", ANALYTIC)
@settings(**EXAMPLES)
@given(data=st.data())
def test_tangents_of_analytic_functions_by_a_complex_step(primitive, data):
    draw = Draw(data.draw)
    shape = draw.shape()
    params = {} if primitive.params is None else primitive.params(draw, np.dtype("f8"))
    xs = [draw.array(shape, "f8", domain) for domain in primitive.domain]
    ts = [draw.array(shape) for _ in xs]
    _, got = fgrad.jvp(function(primitive, params), tuple(xs), tuple(ts))
    step = 1e-30
    stepped = primitive.run(*[x + 1j * step * t for x, t in zip(xs, ts, strict=True)], **params)
    check_close(got, [(y.imag / step)[()] for y in stepped], "the tangent")


@pytest.mark.parametrize("primitive", PRIMITIVES)
@settings(**EXAMPLES)
@given(data=st.data())
def test_vmap_is_a_loop(primitive, data):
    draw = Draw(data.draw)
    xs, params = primitive.samples(draw)
    lanes = [xs, *[primitive.samples(draw.again())[0] for _ in range(2)]]
    stacked = [np.stack(column) for column in zip(*lanes, strict=True)]
    f = function(primitive, params)
    n = len(xs)
    subsets = [s for k in range(1, n + 1) for s in itertools.combinations(range(n), k) if n <= 3 or k in (1, n - 1, n)]
    for mapped in subsets:
        args = [stacked[i] if i in mapped else xs[i] for i in range(n)]
        check_vmap(f, args, tuple(0 if i in mapped else None for i in range(n)))
