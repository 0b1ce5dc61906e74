"""Programs at other sizes against the same programs traced anew."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fgrad
import fgrad.numpy as fnp
from fgrad import grad, jit, vmap
from fgrad.core.calls import Function
from fgrad.core.check import check
from fgrad.core.primitive import registry
from fgrad.core.sizes import pattern, resizable, resized
from fgrad.core.types import aval_of, shaped
from fgrad.numpy.ufuncs import ROUTES
from fgrad.passes.rules import rule_of

F4, F8 = np.float32, np.float64


def operands(*shapes, dtype=F8):
    return tuple([shaped(s, dtype) for s in shapes])


def fresh(function, sigs, *statics, **named):
    """The Call of a function that has never been called."""
    return Function(function.expand, function.numpy, function.arity, function.__name__).call(sigs, statics, named)


def both(function, first, then, *statics, **named):
    """The Call at the sizes `then`: of a function that has been called at `first`, and traced anew."""
    known = Function(function.expand, function.numpy, function.arity, function.__name__, resizes=function.resizes)
    known.call(first, statics, named)
    return known.call(then, statics, named), fresh(function, then, *statics, **named)


def alike(found, expected):
    """Equal programs with equal types, and equal derivatives for all sets of active operands."""
    check(found.jaxpr)
    assert found.jaxpr == expected.jaxpr
    assert (found.sigs, found.out_sigs, found.single) == (expected.sigs, expected.out_sigs, expected.single)
    assert found.effects == expected.effects
    for mask in range(1, 1 << len(found.sigs)):
        mine, theirs = rule_of(found, mask), rule_of(expected, mask)
        for name in ("active", "save", "out_active", "accumulates", "consumes", "copy"):
            assert getattr(mine, name) == getattr(theirs, name), name
        assert mine.residual == theirs.residual
        assert mine.linear.closed() == theirs.linear.closed()
        if mine.out_active:
            cts = mine.out_active
            pulls = [r.pull(cts, ()) for r in (mine, theirs)]
            assert pulls[0].jaxpr == pulls[1].jaxpr
            assert pulls[0].derived["present"] == pulls[1].derived["present"]
            assert mine.push().jaxpr == theirs.push().jaxpr


ELEMENTWISE = {f.function.__name__: f.function for f in ROUTES.values() if getattr(f, "function", None) is not None}
ELEMENTWISE = {name: f for name, f in ELEMENTWISE.items() if f.resizes and f.arity in (1, 2) and name != "matmul"}
KINDS = [F8, F4, np.int64, np.bool_, np.complex128]


@pytest.mark.parametrize("name", sorted(ELEMENTWISE))
def test_ufuncs_are_the_same_at_other_sizes(name):
    function = ELEMENTWISE[name]
    shapes = [((5,), (7,)), ((2, 3), (4, 6))]
    if function.arity == 2:
        shapes = [
            (((5,), (5,)), ((7,), (7,))),
            (((4, 3), (3,)), ((5, 2), (2,))),
            (((4, 1), (1, 3)), ((2, 1), (1, 9))),
            (((3,), ()), ((4,), ())),
            (((), (3, 2)), ((), (2, 3))),
            (((4, 1), (4, 3)), ((3, 1), (3, 4))),
        ]
    else:
        shapes = [((a,), (b,)) for a, b in shapes]
    tried = 0
    for dtype, (first, then) in itertools.product(KINDS, shapes):
        try:
            expected = fresh(function, operands(*then, dtype=dtype))
        except fgrad.errors.FgradError:
            continue  # not for that dtype
        known, _ = both(function, operands(*first, dtype=dtype), operands(*then, dtype=dtype))
        assert known.model is not None
        alike(known, expected)
        tried += 1
    assert tried


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_reductions_and_products_are_the_same_at_other_sizes(data):
    sizes = st.integers(2, 6)
    renamed = dict(zip(range(2, 7), data.draw(st.permutations(range(2, 7))), strict=True))
    other = lambda shape: tuple(renamed.get(n, n) for n in shape)  # noqa: E731
    name = data.draw(st.sampled_from(["sum", "max", "prod", "matmul", "where", "clip", "transpose", "power"]))
    shape = tuple(data.draw(st.lists(st.one_of(st.just(1), sizes), min_size=1, max_size=3)))
    axis = data.draw(st.one_of(st.none(), st.integers(0, len(shape) - 1)))
    if name in ("sum", "max", "prod"):
        f = getattr(fgrad.numpy.reductions, f"_{name}").function
        found, expected = both(f, operands(shape), operands(other(shape)), axis, None, data.draw(st.booleans()))
    elif name == "matmul":
        k, n = data.draw(sizes), data.draw(sizes)
        shapes = [(*shape, k), data.draw(st.sampled_from([(k,), (k, n), (1, k, n)]))]
        found, expected = both(fnp.matmul.function, operands(*shapes), operands(*map(other, shapes)))
    elif name == "transpose":
        found, expected = both(fgrad.numpy.shapes.transpose_call.function, operands(shape), operands(other(shape)))
    elif name == "power":
        f = fgrad.numpy.ufuncs._integer_power.function
        found, expected = both(f, operands(shape), operands(other(shape)), data.draw(st.integers(-2, 4)))
    else:
        f = fgrad.numpy.support.where_call if name == "where" else fgrad.numpy.selection._clip
        shapes = [shape, shape[1:] or (1,), ()]
        found, expected = both(f.function, operands(*shapes), operands(*map(other, shapes)))
    alike(found, expected)


def test_patterns_tell_what_operations_ask_of_sizes():
    key = lambda *shapes: pattern(operands(*shapes))[0]  # noqa: E731
    assert key((2, 3), (3,)) == key((7, 5), (5,))
    assert key((2, 3), (3,)) != key((3, 3), (3,))
    assert key((2,), (2,)) != key((2,), (3,))
    assert len({key((n,)) for n in (0, 1, 2, 3)}) == 3
    assert key((2,)) != key((2, 2)) and key(()) != key((2,))
    assert pattern(operands((2,), dtype=F4))[0] != pattern(operands((2,)))[0]
    assert pattern([float, shaped((), F8)]) == ((float, shaped((), F8)), ())


def test_an_axis_of_size_one_is_a_program_of_its_own():
    double = jit(grad(lambda x, y: fnp.sum(x * y)))
    for n, m in itertools.product([1, 2, 3], repeat=2):
        x, y = np.arange(1.0, n + 1)[:, None], np.arange(1.0, m + 1)
        np.testing.assert_array_equal(double(x, y), np.full((n, 1), y.sum()))


def test_programs_that_ask_more_of_sizes_are_traced_anew():
    flat = Function(lambda x: registry.reshape(x, shape=(x.size,)), None, 1, "flat", resizes=True)
    first = flat.call(operands((2, 3)), (), {})
    then = flat.call(operands((6, 5)), (), {})
    assert not resizable(first.jaxpr) and then.model is None  # a reshape that joins axes
    assert aval_of(then.out_sigs[0]).shape == (30,)


def test_errors_are_those_of_the_sizes_given():
    f = jit(lambda x, y: x + y)
    f(np.ones(3), np.ones(3))
    with pytest.raises(fgrad.errors.ShapeError, match=r"shapes \(4,\) and \(5,\) do not broadcast"):
        f(np.ones(4), np.ones(5))
    with pytest.raises(fgrad.errors.ShapeError, match=r"shapes \(2, 3\) and \(4, 2\) do not fit"):
        jit(lambda x, y: x @ y)(np.ones((2, 3)), np.ones((4, 2)))


def test_values_and_second_derivatives_at_many_sizes():
    def f(x, w):
        return fnp.sum(np.tanh(x @ w) ** 2 * fnp.where(x @ w > 0, 1.0, 0.5)) + fnp.max(x)

    rng = np.random.default_rng(0)
    g, h = jit(grad(f)), jit(vmap(grad(lambda x, w: fnp.sum(grad(f)(x, w) ** 2)), in_axes=(0, None)))
    for n, m in [(2, 3), (4, 3), (3, 3), (1, 5), (5, 1), (6, 7)]:
        x, w = rng.standard_normal((n, m)), rng.standard_normal((m, 4))
        eager = grad(f)(x, w)
        np.testing.assert_allclose(g(x, w), eager, rtol=1e-12)
        second = grad(lambda x, w: fnp.sum(grad(f)(x, w) ** 2))
        np.testing.assert_allclose(h(x[None], w)[0], second(x, w), rtol=1e-10)


def test_resized_keeps_literals_and_small_sizes():
    jaxpr = fgrad.make_jaxpr(lambda x: fnp.sum(x[:, None, :] * 3.0, axis=2))(np.ones((3, 2)))
    jaxpr = fgrad.rewrites.pipeline.simplify(jaxpr)
    assert resizable(jaxpr)
    assert str(resized(jaxpr, {3: 2, 2: 7})) == str(
        fgrad.rewrites.pipeline.simplify(
            fgrad.make_jaxpr(lambda x: fnp.sum(x[:, None, :] * 3.0, axis=2))(np.ones((2, 7)))
        )
    )


def test_gradients_capture_no_arrays_of_known_numbers():
    f = jit(grad(lambda x: fnp.sum(3.0 * np.sin(x)) / 7))
    assert f.trace(np.ones(1000)).consts == ()
    np.testing.assert_allclose(f(np.zeros(5)), np.full(5, 3 / 7), rtol=1e-15)
