"""fgrad.numpy.vectorize against np.vectorize, which calls the function once for each element."""

import inspect

import numpy as np
import pytest
from pinned import bad, refused

import fgrad
import fgrad.numpy as fnp
from fgrad.core.errors import ShapeError

RNG = np.random.default_rng(0)


def array(*shape):
    return RNG.normal(size=shape)


def pieces(x, y):
    return x + y, {"product": x * y, "lines": fnp.stack([x, y, x - y])}


ELEMENTS = {
    "scalars": ((), ()),
    "same": ((3,), (3,)),
    "scalar and array": ((2, 3), ()),
    "rows and columns": ((4, 1), (1, 3)),
    "another rank": ((2, 1, 3), (4, 1)),
    "ones": ((1, 1), (1,)),
    "a one in front": ((1, 3), (3,)),
}
WRAPS = {"eager": lambda f: f, "jit": fgrad.jit, "grad": lambda f: lambda *xs: fgrad.vjp(f, *xs)[0]}
wraps = pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)


@wraps
@pytest.mark.parametrize("shapes", ELEMENTS.values(), ids=ELEMENTS)
def test_elements(wrap, shapes):
    f = lambda x, y: np.sin(x) * y  # noqa: E731
    x, y = (array(*s) for s in shapes)
    want = np.vectorize(f)(x, y)
    found = wrap(fnp.vectorize(f))(x, y)
    assert found.shape == want.shape and found.dtype == want.dtype
    np.testing.assert_allclose(found, want, rtol=1e-14)


SIGNATURES = {
    "(n),(n)->()": (lambda x, y: np.sum((x - y) ** 2), [(3,), (3,)], [(2, 3), (3,)], [(4, 1, 3), (5, 3)]),
    "(m,n), (n) -> (m)": (lambda a, x: a @ x, [(2, 3), (3,)], [(4, 2, 3), (1, 3)], [(2, 3), (5, 1, 3)]),
    "(n)->(n,n)": (lambda x: x[:, None] * x, [(3,)], [(2, 3)], [(2, 1, 3)]),
    "(n)->(k)": (lambda x: np.concatenate([x, x]), [(3,)], [(2, 3)]),
    "(),(n)->(n),()": (lambda c, x: (c * x, np.max(x)), [(), (3,)], [(2,), (3,)], [(4, 1), (2, 3)]),
    "(n),(),()->()": (lambda x, a, b: a * np.sum(x) + b, [(2, 3), (), (2,)], [(3,), (4, 1), (1, 2)]),
}


@wraps
@pytest.mark.parametrize("signature", SIGNATURES)
def test_signatures(wrap, signature):
    f, *cases = SIGNATURES[signature]
    for shapes in cases:
        xs = [array(*s) for s in shapes]
        want = np.vectorize(f, signature=signature)(*xs)
        found = wrap(fnp.vectorize(f, signature=signature))(*xs)
        assert isinstance(found, tuple) == isinstance(want, tuple)
        for a, b in zip(*[y if isinstance(y, tuple) else (y,) for y in (found, want)], strict=True):
            assert a.shape == b.shape and a.dtype == b.dtype
            np.testing.assert_allclose(a, b, rtol=1e-13)


@wraps
def test_no_elements(wrap):
    """Where np.vectorize must be told the dtype."""
    f = fnp.vectorize(lambda x, y: np.dot(x, y) > 0, signature="(n),(n)->()")
    found = wrap(f)(np.ones((2, 0, 3)), np.ones(3))
    assert found.shape == (2, 0) and found.dtype == bool
    assert np.array_equal(wrap(f)(np.ones((2, 0)), np.ones((2, 0))), [False, False])


@wraps
def test_without_a_signature_anything_may_be_returned(wrap):
    total, rest = wrap(fnp.vectorize(pieces))(np.ones((2, 1)), np.arange(3.0))
    assert total.shape == rest["product"].shape == (2, 3) and rest["lines"].shape == (2, 3, 3)
    np.testing.assert_array_equal(rest["lines"][1, 2], [1.0, 2.0, -1.0])
    _, rest = wrap(fnp.vectorize(pieces))(np.ones((1, 1)), np.ones(1))
    assert rest["lines"].shape == (1, 1, 3)


def polynomial(coefficients, x, scale=1.0, *, shift=0.0):
    y = 0 * x
    for c in coefficients:
        y = y * x + c
    return scale * y + shift


@wraps
def test_excluded_arguments_and_keywords(wrap):
    for excluded, args, kwargs in (
        ({0}, ([1.0, 2.0, 3.0], array(2, 3)), {}),
        ({0}, ([1.0, 2.0], array(2, 1), array(3)), {"shift": array(2, 3)}),
        ({0, "shift"}, ([1.0, 2.0], array(3)), {"shift": 2.0, "scale": array(2, 1)}),
        ({"coefficients"}, (), {"coefficients": (1.0, 2.0), "x": array(3)}),
    ):
        want = np.vectorize(polynomial, excluded=excluded)(*args, **kwargs)
        f = fnp.vectorize(polynomial, excluded=excluded)
        fixed = {k: v for k, v in kwargs.items() if k in excluded}
        free = {k: v for k, v in kwargs.items() if k not in excluded}
        n = int(0 in excluded)
        found = wrap(lambda xs, free, f=f, a=args[:n], fixed=fixed: f(*a, *xs, **free, **fixed))(args[n:], free)
        assert found.shape == want.shape
        np.testing.assert_allclose(found, want, rtol=1e-13)


def test_none_is_passed_on():
    f = fnp.vectorize(lambda x, w, b: np.dot(x, w) + (1.0 if b is None else b), signature="(n),(n),()->()")
    np.testing.assert_array_equal(f(np.ones((2, 3)), np.ones(3), None), [4.0, 4.0])
    np.testing.assert_array_equal(f(np.ones((2, 3)), np.ones(3), [0.0, 1.0]), [3.0, 4.0])


def test_what_an_element_is():
    """Python numbers stay weak where they are alone, lists become arrays, results are the caller's own."""
    assert fnp.vectorize(lambda x, y: x * y)(np.ones(3, np.float32), 2.0).dtype == np.float32
    np.testing.assert_array_equal(fnp.vectorize(lambda x: 2 * x)([[1, 2]]), [[2, 4]])
    x = np.ones(3)
    for f in (fnp.vectorize(lambda x: x), fnp.vectorize(lambda x: x, signature="(n)->(n)")):
        assert not np.shares_memory(f(x), x)
    assert type(fnp.vectorize(lambda x: x + 1)(2.0)) is np.float64
    assert fnp.vectorize(lambda: 2.0)() == 2.0


def test_name_and_signature_of_the_function():
    f = fnp.vectorize(polynomial)
    assert f.__name__ == "polynomial" and inspect.signature(f) == inspect.signature(polynomial)


def test_derivatives():
    """Those of the same function written with axes."""
    f = fnp.vectorize(lambda a, x: np.tanh(a @ x), signature="(m,n),(n)->(m)")
    g = lambda a, x: np.tanh(np.einsum("...mn,...n->...m", a, x))  # noqa: E731
    a, x = array(4, 1, 2, 3), array(5, 3)
    for wrap in (lambda f: f, fgrad.jit):
        for way in (fgrad.grad, fgrad.value_and_grad):
            found, want = (wrap(way(lambda a, x, h=h: h(a, x).sum(), argnums=(0, 1)))(a, x) for h in (f, g))
            for u, v in zip(fgrad.tree.leaves(found), fgrad.tree.leaves(want), strict=True):
                np.testing.assert_allclose(u, v, rtol=1e-12, atol=1e-14)
        found, want = (wrap(lambda a, x, h=h: fgrad.jvp(h, (a, x), (a, x)))(a, x) for h in (f, g))
        np.testing.assert_allclose(found, want, rtol=1e-12)
        lanes = wrap(fgrad.vmap(f, (None, 0)))(a[0, 0], x)
        np.testing.assert_allclose(lanes, g(a[0, 0], x), rtol=1e-13)


def test_an_argument_that_does_not_vary_is_not_repeated():
    f = fnp.vectorize(lambda a, x: a @ x, signature="(m,n),(n)->(m)")
    text = str(fgrad.make_jaxpr(f)(np.ones((2, 3)), np.ones((50, 3))))
    assert "[50,2,3]" not in text and "dot_general" in text


class TestErrors:
    def test_arguments(self):
        f = fnp.vectorize(lambda a, x: a @ x, signature="(m,n),(n)->(m)")
        do = "correct it, or the signature"
        refused(
            lambda: f(np.ones((2, 3)), np.ones(4 if bad else 3)),  # here
            ShapeError,
            "vectorize(<lambda>): argument 1 does not fit (n=3)",
            got="shape (4,)",
            do=do,
        )

    def test_too_few_axes(self):
        f = fnp.vectorize(lambda a, x: a @ x, signature="(m,n),(n)->(m)")
        refused(
            lambda: f(np.ones(3) if bad else np.ones((2, 3)), np.ones(3)),  # here
            ShapeError,
            "vectorize(<lambda>): argument 0 does not fit (m,n)",
            got="shape (3,)",
            do="correct it, or the signature",
        )

    def test_number_of_arguments(self):
        f = fnp.vectorize(np.dot, signature="(n),(n)->()")
        refused(
            lambda: f(*[np.ones(3)] * (3 if bad else 2)),  # here
            TypeError,
            "vectorize(dot): signature (n),(n)->() has 2 arguments",
            got="3 arguments that are not excluded",
            do="name the others in excluded, or change the signature",
        )

    def test_results(self):
        def f(x):
            if bad:
                return x[1:] if len(x) == 3 else (x, x)
            return x

        g = fnp.vectorize(f, signature="(n)->(n)")
        for n, cls, text in (
            (3, ShapeError, r"vectorize\(f\): the result does not fit \(n=3\)\n  at:  .*\n  got: shape \(2,\)"),
            (2, TypeError, r"vectorize\(f\): the signature has 1 results\n  at:  .*\n  got: a tuple of 2"),
        ):
            bad.on = True
            with pytest.raises(cls, match=text):
                g(np.ones((5, n)))
            bad.on = False
            assert g(np.ones((5, n))).shape == (5, n)
        with pytest.raises(ShapeError, match=r"the result has more axes than \(\)\n  at: .*\n  got: shape \(3,\)"):
            fnp.vectorize(f, signature="(n)->()")(np.ones((2, 3)))

    def test_axes_that_do_not_broadcast(self):
        with pytest.raises(ShapeError, match="broadcast"):
            fnp.vectorize(np.add)(np.ones(2), np.ones(3))

    @pytest.mark.parametrize("signature", ["", "n->n", "(n)", "(n)->", "(n)(n)->()", "(n,)->()", "(n),(n)->()x"])
    def test_signatures(self, signature):
        refused(
            lambda: fnp.vectorize(np.dot, signature=signature) if bad else None,  # here
            ValueError,
            "vectorize(dot): not a signature",
            got=repr(signature),
            do='write something like "(m,n),(n)->(m)"',
        )
        with pytest.raises(ValueError):
            np.vectorize(np.dot, signature=signature)

    def test_excluded(self):
        for excluded, error in (({1.5}, TypeError), ([True], TypeError), ({-1}, ValueError)):
            with pytest.raises(error, match=r"vectorize\(dot\): excluded"):
                fnp.vectorize(np.dot, excluded=excluded)
        with pytest.raises(TypeError, match="vectorize takes a function"):
            fnp.vectorize(2)
