"""Arguments of vmap that are not mapped, and what follows from them: indexed by mapped values, and plain otherwise."""

import numpy as np
import pytest

import fgrad
import fgrad.numpy as fnp

TABLE = np.arange(12.0).reshape(4, 3)
LANES = np.array([2, 0, 3])


@pytest.mark.parametrize(
    "derived",
    [lambda t: t, lambda t: t * 2, fnp.sin, lambda t: fnp.linalg.qr(t)[0], fgrad.jit(lambda t: t + 1), lambda t: t.T.T],
    ids=["argument", "operator", "function", "pair", "jit", "views"],
)
def test_what_follows_from_unmapped_arguments_is_indexed_by_mapped_ones(derived):
    got = fgrad.vmap(lambda t, i: derived(t)[i], in_axes=(None, 0))(TABLE, LANES)
    np.testing.assert_allclose(got, np.asarray(derived(TABLE))[LANES])


def test_unmapped_values_are_arrays_for_other_libraries():
    def f(t, x):
        plain = np.asarray(t * 2)
        assert type(plain) is np.ndarray
        return x * plain.sum() if t.sum() > 0 else x

    np.testing.assert_array_equal(fgrad.vmap(f, in_axes=(None, 0))(TABLE, LANES), LANES * TABLE.sum() * 2)


@pytest.mark.parametrize("outer", [fgrad.grad, fgrad.jit])
def test_unmapped_values_of_an_outer_trace_do_not_leave_it(outer):
    def f(t):
        return fgrad.vmap(lambda t, x: x * np.asarray(t * 2).sum(), in_axes=(None, 0))(t, LANES).sum()

    with pytest.raises(fgrad.errors.ConcretizationError, match="an ndarray made of x"):
        outer(f)(TABLE)


@pytest.mark.parametrize("reduce", [fnp.mean, fnp.var, fnp.std])
def test_reductions_of_unmapped_arguments_with_where(reduce):
    mask = TABLE > -1
    got = fgrad.vmap(lambda t, x: x * reduce(t, axis=1, where=mask, keepdims=True)[1:], in_axes=(None, 0))(TABLE, LANES)
    want = LANES[:, None, None] * reduce(TABLE[1:], axis=1, where=mask[1:], keepdims=True)
    np.testing.assert_allclose(got, want)


@pytest.mark.parametrize("outer", [fgrad.jit, lambda f: lambda t: fgrad.lax.cond(t > 0, f, f, t), fgrad.checkpoint])
def test_results_of_an_outer_derivative_that_are_not_mapped(outer):
    f = lambda t: fgrad.vmap(lambda x: np.sin(t))(LANES).sum()  # noqa: E731
    for derived in (fgrad.grad(f), lambda t: fgrad.jvp(f, (t,), (1.0,))[1], fgrad.grad(fgrad.grad(f))):
        np.testing.assert_allclose(fgrad.jit(outer(derived))(0.5), derived(0.5), rtol=1e-14)
