"""custom_jvp and custom_vjp whose rules call the function itself: derivatives of every order follow the rule."""

from functools import partial

import numpy as np
import pytest

import fgrad

ORDERS = [1, 2, 3]


def nth(f, order):
    for _ in range(order):
        f = fgrad.grad(f)
    return f


@fgrad.custom_jvp
def softplus(x):
    return np.log1p(np.exp(x))


@softplus.defjvp
def _softplus_rule(primals, tangents):
    (x,), (t,) = primals, tangents
    return softplus(x), (1 - np.exp(-softplus(x))) * t


@fgrad.custom_vjp
def sine(x):
    return np.sin(x)


sine.defvjp(lambda x: (sine(x), x), lambda x, ct: (ct * sine(x + np.pi / 2),))

my_sin = fgrad.custom_jvp(np.sin)
my_cos = fgrad.custom_jvp(np.cos)
my_sin.defjvp(lambda x, t: (my_sin(*x), my_cos(*x) * t[0]))
my_cos.defjvp(lambda x, t: (my_cos(*x), -my_sin(*x) * t[0]))


@partial(fgrad.custom_jvp, nondiff_argnums=(0,))
def power(n, x):
    return x**n


power.defjvp(lambda n, x, t: (power(n, *x), n * power(n - 1, *x) * t[0]))

softplus_1 = 1 / (1 + np.exp(-0.3))  # the logistic function is the derivative
SOFTPLUS = [softplus_1, softplus_1 * (1 - softplus_1), softplus_1 * (1 - softplus_1) * (1 - 2 * softplus_1)]
SINE = [np.cos(0.3), -np.sin(0.3), -np.cos(0.3)]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("f", "expected"),
    [
        (softplus, SOFTPLUS),
        (sine, SINE),
        (my_sin, SINE),
        (partial(power, 5), [5 * 0.3**4, 20 * 0.3**3, 60 * 0.3**2]),
    ],
    ids=["jvp", "vjp", "mutual", "nondiff"],
)
def test_rules_that_call_their_function(f, expected, order):
    g = nth(f, order)
    want = expected[order - 1]
    xs = np.array([0.3, 0.3])
    np.testing.assert_allclose(g(0.3), want, rtol=1e-12)
    np.testing.assert_allclose(fgrad.jit(g)(0.3), want, rtol=1e-12)
    np.testing.assert_allclose(fgrad.jit(fgrad.vmap(g))(xs), [want, want], rtol=1e-12)
    np.testing.assert_allclose(fgrad.grad(lambda x: fgrad.vmap(nth(f, order - 1))(x).sum())(xs), [want] * 2, rtol=1e-12)


@pytest.mark.parametrize("order", [2, 3])
def test_higher_orders_use_the_rule_where_the_function_overflows(order):
    """exp(800) is infinite: only the rule gives derivatives there."""

    @fgrad.custom_jvp
    def f(x):
        return np.where(x > 0, x + np.log1p(np.exp(-np.abs(x))), np.log1p(np.exp(x)))

    f.defjvps(lambda t, y, x: (1 - np.exp(-y)) * t)
    assert nth(f, order)(800.0) == 0.0


def test_inner_calls_capture_values_of_the_outer_trace():
    def loss(scale, x):
        f = fgrad.custom_jvp(lambda x: x * scale.sum())
        f.defjvp(lambda x, t: (f(*x), t[0] * scale.sum()))
        return f(x) ** 3

    second = fgrad.grad(fgrad.grad(loss, 1), 1)
    scale = np.arange(3.0)
    np.testing.assert_allclose(fgrad.jit(second)(scale, 2.0), 6 * 3**3 * 2)
    batched = fgrad.vmap(second)(np.stack([scale, scale]), np.array([2.0, 3.0]))
    np.testing.assert_allclose(batched, [6 * 3**3 * 2, 6 * 3**3 * 3])
