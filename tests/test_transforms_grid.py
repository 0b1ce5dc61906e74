"""Transformations over wrappers over functions, against eager values, finite differences and mpmath's derivatives."""

import itertools

import mpmath
import numpy as np
import pytest

import fgrad
import fgrad.numpy as fnp
from fgrad import tree
from fgrad.testing import check_close, check_grads, check_jit, check_vmap
from fgrad.testing.gradients import difference

GENERATOR = np.random.default_rng(7)


def normal(*shape):
    return GENERATOR.normal(size=shape)


def written(x):
    y = fgrad.at(x)[0].set(x[1] * 2.0)
    return fgrad.at(y)[1:].multiply(y[:-1])


def branching(x):
    return np.where(x > 0, np.log(np.where(x > 0, x, 1.0)), x**2)


def solved(a, b):
    return np.linalg.solve(a @ a.T + 4.0 * np.eye(3), b)


def repeated(x, w):
    for _ in range(3):
        x = np.tanh(w @ x)
    return x, w[0]


FUNCTIONS = {
    "polynomial": (lambda x: x**3 - 2 * x, (normal(3),)),
    "quotient": (lambda x, y: np.sin(x) * np.exp(y) / (1 + x * x), (normal(2, 3), normal(3))),
    "matmul": (lambda a, b: np.tanh(a @ b), (normal(2, 3), normal(3, 2))),
    "reductions": (lambda x: np.max(x, axis=0) * np.mean(x * x, axis=0) + np.prod(x), (normal(3, 2),)),
    "indexing": (lambda x: x[1:] * x[:-1] + x[np.array([2, 0, 2])], (normal(4),)),
    "written": (written, (normal(3),)),
    "branching": (branching, (np.array([-1.5, 0.5, 2.0]),)),
    "pytree": (
        lambda t: {"z": t["a"] * t["b"][0], "w": (np.cos(t["b"][1]), None)},
        ({"a": normal(2), "b": [normal(2), 0.3]},),
    ),
    "complex": (lambda z, x: (np.abs(z) * x, z * np.conj(z) + z**2), (normal(2) + 1j * normal(2), 1.2)),
    "solve": (solved, (normal(3, 3), normal(3))),
    "shapes": (lambda x, y: np.concatenate([x.reshape(-1), np.flip(y)]).reshape(2, -1).T, (normal(2, 3), normal(2))),
    "repeated": (repeated, (normal(2), normal(2, 2))),
}
FEW = ["quotient", "written", "pytree", "repeated"]


def lanes(f):
    """Through vmap, with one lane."""

    def g(*args):
        stacked = tree.map(lambda x: np.asarray(x)[None] if not isinstance(x, fgrad.Array) else x[None], args)
        return tree.map(lambda y: y[0], fgrad.vmap(f)(*stacked))

    return g


def jvp_rule(f):
    g = fgrad.custom_jvp(f)
    g.defjvp(lambda primals, tangents: fgrad.jvp(f, primals, tangents))
    return g


def vjp_rule(f):
    g = fgrad.custom_vjp(f)
    g.defvjp(lambda *args: (f(*args), args), lambda args, ct: fgrad.vjp(f, *args)[1](ct))
    return g


def zero_like(args):
    return tree.map(lambda x: x * 0, args)


WRAPPERS = {
    "plain": lambda f: f,
    "jit": fgrad.jit,
    "checkpoint": fgrad.checkpoint,
    "custom_jvp": jvp_rule,
    "custom_vjp": vjp_rule,
    "vmap": lanes,
    "jvp": lambda f: lambda *args: fgrad.jvp(f, args, zero_like(args))[0],
    "vjp": lambda f: lambda *args: fgrad.vjp(f, *args)[0],
    "linearize": lambda f: lambda *args: fgrad.linearize(f, *args)[0],
}


def total(f):
    """f as a real scalar, in which every element has its own weight."""

    def g(*args):
        parts = [
            np.sum(np.cos(fnp.arange(y.size).reshape(y.shape)) * y) for y in map(fnp.asarray, tree.leaves(f(*args)))
        ]
        return sum(part.real if part.dtype.kind == "c" else part for part in parts)

    return g


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrapped_functions(wrapper, name):
    f, args = FUNCTIONS[name]
    g = WRAPPERS[wrapper](f)
    check_close(g(*args), f(*args), wrapper)
    check_jit(g, args)
    check_grads(g, args, order=2)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_vmap_of_wrapped_functions(wrapper, name):
    f, args = FUNCTIONS[name]
    g = WRAPPERS[wrapper](f)
    scales = np.array([1.0, 0.5, 1.25])
    stacked = tree.map(lambda x: np.multiply.outer(scales, x), args)
    check_vmap(g, stacked)
    check_vmap(fgrad.grad(total(g)), stacked)
    if len(args) > 1:
        check_vmap(g, (stacked[0], *args[1:]), (0, *[None] * (len(args) - 1)))


@pytest.mark.parametrize("name", FEW)
@pytest.mark.parametrize(("outer", "inner"), list(itertools.product(WRAPPERS, repeat=2)))
def test_pairs_of_wrappers(outer, inner, name):
    f, args = FUNCTIONS[name]
    g = WRAPPERS[outer](WRAPPERS[inner](f))
    want = fgrad.value_and_grad(total(f))(*args)
    check_close(fgrad.value_and_grad(total(g))(*args), want, "eager")
    check_close(fgrad.jit(fgrad.value_and_grad(total(g)))(*args), want, "compiled")


# ------------------------------------------------------------------------------------------- nesting to third order

DERIVATIVES = {
    "grad": fgrad.grad,
    "jvp": lambda f: lambda x: fgrad.jvp(f, (x,), (1.0,))[1],
    "linearize": lambda f: lambda x: fgrad.linearize(f, x)[1](1.0),
    "vjp": lambda f: lambda x: fgrad.vjp(f, x)[1](1.0)[0],
    "jacfwd": fgrad.jacfwd,
    "jacrev": fgrad.jacrev,
}
BETWEEN = ["plain", "jit", "checkpoint", "vmap"]


def scalar(x):
    return np.sin(x) * np.exp(x / 2) / (1 + x * x)


THIRD = float(mpmath.diff(lambda x: mpmath.sin(x) * mpmath.exp(x / 2) / (1 + x * x), mpmath.mpf("0.7"), 3))


@pytest.mark.parametrize("modes", list(itertools.product(DERIVATIVES, repeat=3)), ids="-".join)
def test_third_derivatives_in_any_order_of_modes(modes):
    f = scalar
    for mode in modes:
        f = DERIVATIVES[mode](f)
    assert f(0.7) == pytest.approx(THIRD, rel=1e-12)
    assert fgrad.jit(f)(0.7) == pytest.approx(THIRD, rel=1e-12)


@pytest.mark.parametrize("between", list(itertools.product(BETWEEN, repeat=3)), ids="-".join)
def test_third_derivatives_with_wrappers_between(between):
    for modes in (("grad", "jvp", "vjp"), ("linearize", "grad", "grad")):
        f = scalar
        for mode, wrapper in zip(modes, between, strict=True):
            f = DERIVATIVES[mode](WRAPPERS[wrapper](f))
        assert f(0.7) == pytest.approx(THIRD, rel=1e-12)


# ------------------------------------------------------------------------------------------ perturbation confusion

PAIRS = list(itertools.product(DERIVATIVES, repeat=2))


@pytest.mark.parametrize(("outer", "inner"), PAIRS)
@pytest.mark.parametrize("wrapper", BETWEEN)
def test_perturbations_are_not_confused(wrapper, outer, inner):
    """Siskind and Pearlmutter (2005): the derivative of x * d(x + y)/dy by x is one."""

    def f(x):
        return x * DERIVATIVES[inner](WRAPPERS[wrapper](lambda y: x + y))(1.0)

    assert DERIVATIVES[outer](f)(1.0) == 1.0


@pytest.mark.parametrize(("outer", "inner"), PAIRS)
def test_nested_closures(outer, inner):
    """Each level closes over the variables of those around it."""

    def f(x):
        def g(y):
            return np.sin(x * y) * DERIVATIVES[inner](lambda z: np.exp(x * z) * y * z**2)(0.5)

        return x * DERIVATIVES[outer](g)(x + 1.0)

    check_grads(f, (0.4,), order=2)
    check_jit(f, (0.4,))
    check_vmap(f, (np.array([0.4, 0.6]),))


def test_the_derivative_of_a_curried_function_leaves_the_outer_variable_alone():
    """Manzyuk et al. (2019): the amazing bug of escaping perturbations, in which 0 or twice the value comes out."""

    def shifted(u):
        return lambda f: lambda x: f(x + u)

    hat = lambda f: fgrad.jvp(lambda u: shifted(u)(f)(1.0), (0.0,), (1.0,))[1]  # noqa: E731
    assert fgrad.jvp(lambda u: hat(lambda x: np.exp(x * 1.0 + u)), (0.0,), (1.0,))[1] == pytest.approx(np.e)


# ------------------------------------------------------------------------ aux, argnums, pytrees, holomorphic functions


def partials(f, args):
    """Derivatives of a real scalar by each element of the leaves of `args`, by differences."""
    leaves, treedef = tree.flatten(args)
    call = lambda *xs: [f(*tree.unflatten(treedef, xs))]  # noqa: E731
    out = []
    for k, x in enumerate(leaves):
        x = np.asarray(x)
        slope = np.empty_like(x)
        for index in np.ndindex(x.shape):
            ts = [np.zeros_like(np.asarray(v)) for v in leaves]
            ts[k][index] = 1
            slope[index] = difference(call, [np.asarray(v) for v in leaves], ts, 1e-3)[0]
            if x.dtype.kind == "c":  # df/dx - i df/dy
                ts[k][index] = 1j
                slope[index] -= 1j * difference(call, [np.asarray(v) for v in leaves], ts, 1e-3)[0]
        out.append(slope[()])
    return tree.unflatten(treedef, out)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_by_every_leaf(name):
    f, args = FUNCTIONS[name]
    every = tuple(range(len(args)))
    want = partials(total(f), args)
    close = lambda got, want: check_close(got, tree.map(lambda x: x, want), atol=1e-8, rtol=1e-8)  # noqa: E731
    close(fgrad.grad(total(f), argnums=every)(*args), want)
    close(fgrad.grad(total(f), argnums=-1)(*args), want[-1])
    close(fgrad.grad(total(f), argnums=(0,))(*args), (want[0],))
    value, gradient = fgrad.jit(fgrad.value_and_grad(total(f), argnums=every))(*args)
    close(gradient, want)
    check_close(value, total(f)(*args))


@pytest.mark.parametrize("wrapper", ["plain", "jit", "vmap", "checkpoint"])
def test_aux_outputs(wrapper):
    args = (normal(3), {"w": normal(3)})

    def f(x, p):
        y = x * p["w"]
        return np.sum(np.sin(y)), {"y": y, "count": fnp.argmax(y), "kept": x}

    want = f(*args)
    gradient = partials(lambda *args: f(*args)[0], args)
    g = WRAPPERS[wrapper](f)
    (value, aux), found = fgrad.value_and_grad(g, has_aux=True, argnums=(0, 1))(*args)
    check_close((value, aux), want)
    check_close(found, gradient, atol=1e-9, rtol=1e-9)
    found, aux = fgrad.grad(g, has_aux=True)(*args)
    check_close((found, aux), (gradient[0], want[1]), atol=1e-9, rtol=1e-9)
    value, pull, aux = fgrad.vjp(g, *args, has_aux=True)
    check_close((value, pull(1.0), aux), (want[0], gradient, want[1]), atol=1e-9, rtol=1e-9)
    value, tangent, aux = fgrad.jvp(g, args, args, has_aux=True)
    slope = sum(np.sum(a * b) for a, b in zip(tree.leaves(gradient), tree.leaves(args), strict=True))
    check_close((value, tangent, aux), (want[0], slope, want[1]), atol=1e-9, rtol=1e-9)
    value, push, aux = fgrad.linearize(g, *args, has_aux=True)
    check_close((value, push(*args), aux), (want[0], slope, want[1]), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("jacobian", [fgrad.jacfwd, fgrad.jacrev, fgrad.jacobian])
@pytest.mark.parametrize("wrapper", ["plain", "jit", "custom_vjp"])
def test_jacobians_of_pytrees(wrapper, jacobian):
    f, args = FUNCTIONS["pytree"]
    got = jacobian(WRAPPERS[wrapper](f))(*args)
    leaves, treedef = tree.flatten(args)
    call = lambda *xs: tree.leaves(f(*tree.unflatten(treedef, xs)))  # noqa: E731
    blocks = []
    for k, y in enumerate(call(*leaves)):
        for i, x in enumerate(map(np.asarray, leaves)):
            block = np.empty(np.shape(y) + x.shape)
            for index in np.ndindex(x.shape):
                ts = [np.zeros_like(np.asarray(v)) for v in leaves]
                ts[i][index] = 1
                block[(..., *index)] = difference(call, [np.asarray(v) for v in leaves], ts, 1e-3)[k]
            blocks.append(block)
    check_close(tree.leaves(got), blocks, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("wrapper", ["plain", "jit", "checkpoint", "custom_jvp", "custom_vjp"])
def test_hessians_are_differences_of_gradients(wrapper):
    f, args = FUNCTIONS["quotient"]
    g = WRAPPERS[wrapper](lambda x: total(f)(x, args[1]))
    x = args[0]
    gradient = lambda x: [fgrad.grad(g)(x)]  # noqa: E731
    want = np.empty(x.shape + x.shape)
    for index in np.ndindex(x.shape):
        t = np.zeros_like(x)
        t[index] = 1
        want[(..., *index)] = difference(gradient, [x], [t], 1e-3)[0]
    check_close(fgrad.hessian(g)(x), want, atol=1e-9, rtol=1e-9)
    direction = np.cos(x)
    check_close(fgrad.hvp(g, (x,), (direction,)), np.tensordot(want, direction, 2), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("wrapper", ["plain", "jit", "vmap", "checkpoint", "custom_jvp", "custom_vjp"])
def test_holomorphic_functions(wrapper):
    f = lambda z: np.exp(z) * z**3 / (1 + z * z) + np.sin(z)  # noqa: E731
    g = WRAPPERS[wrapper](f)
    z = 0.4 - 0.3j
    slope = difference(lambda z: [f(z)], [np.asarray(z)], [np.ones((), complex)], 1e-3)[0]
    turned = difference(lambda z: [f(z)], [np.asarray(z)], [np.asarray(1j)], 1e-3)[0] / 1j
    assert slope == pytest.approx(turned, rel=1e-9)  # differences say it is one complex number
    assert fgrad.grad(g, holomorphic=True)(z) == pytest.approx(slope, rel=1e-9)
    assert fgrad.jacfwd(g, holomorphic=True)(z) == pytest.approx(slope, rel=1e-9)
    assert fgrad.jacrev(g, holomorphic=True)(z) == pytest.approx(slope, rel=1e-9)
    second = fgrad.grad(fgrad.grad(g, holomorphic=True), holomorphic=True)
    mp = mpmath.diff(lambda z: mpmath.exp(z) * z**3 / (1 + z * z) + mpmath.sin(z), mpmath.mpc(z), 2)
    assert second(z) == pytest.approx(complex(mp), rel=1e-9)


# ------------------------------------------------------------------------------------------------- no loud derivatives


def guarded(x):
    return np.where(x > 0, x * np.sqrt(x), 0.0)


@pytest.mark.parametrize("modes", list(itertools.product(DERIVATIVES, repeat=2)), ids="-".join)
def test_branches_not_taken_neither_warn_nor_leak(modes):
    """Infinite partial derivatives at zero lie in the branch that is not taken; warnings are errors here."""
    f = guarded
    for mode in modes:
        f = DERIVATIVES[mode](f)
        assert f(0.0) == 0.0
        assert fgrad.jit(f)(0.0) == 0.0
        assert np.array_equal(fgrad.vmap(f)(np.zeros(2)), np.zeros(2))


HUGE = [(np.float16, 6e4), (np.float32, 3e38), (np.float64, 1e308), (np.complex128, 1e308 + 1e308j)]


@pytest.mark.parametrize("dtype, huge", HUGE, ids=[np.dtype(d).name for d, _ in HUGE])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (5000,), (3, 2)], ids=str)
def test_huge_gradients_do_not_warn(dtype, huge, shape):
    """Looking for NaN among them computes nothing that may overflow."""
    factor = np.full(shape, huge, dtype)
    for order in "CF":
        x = np.zeros(shape, dtype, order)
        g = fgrad.grad(lambda x: fnp.sum(x * factor).real)(x if shape else x[()])
        assert g.dtype == dtype and np.array_equal(g, factor)


@pytest.mark.parametrize("n", [3, 5000])
def test_zeros_annihilate_wherever_the_only_one_is(n):
    for i in (0, n // 2, n - 1):
        x = np.full((2, n), 4.0)
        x[1, i] = 0.0
        want = np.where(x > 0, 0.25, 0.0)
        f = lambda x: fnp.sum(fnp.where(x > 0, fnp.sqrt(x), 0.0))  # noqa: E731
        for y, w in ((x, want), (x[1], want[1]), (x.T, want.T)):
            assert np.array_equal(fgrad.grad(f)(y), w)
