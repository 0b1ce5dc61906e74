"""reduce and reduce_window with computations that are no reductions of their own: against loops in Python."""

from functools import reduce
from itertools import product

import numpy as np
import pytest

import fgrad
import fgrad.numpy as fnp
from fgrad import lax
from fgrad.core.errors import DtypeError, ShapeError, TreeError
from fgrad.testing import check_close, check_grads, check_jit, check_vmap

RNG = np.random.default_rng(5)
X = RNG.normal(size=(3, 4, 5))


def norm(a, b):
    return fnp.sqrt(a * a + b * b)


def smallest(a, b):
    """Of pairs (value, number); the first of equals."""
    later = b[0] < a[0]
    return fnp.where(later, b[0], a[0]), fnp.where(later, b[1], a[1])


@pytest.mark.parametrize("axes", [(), (1,), (0, 2), (-1, 0, 1)])
@pytest.mark.parametrize("computation", [lax.sub, lambda a, b: 0.5 * a + b * b], ids=["sub", "discounted"])
def test_reduce_takes_elements_one_after_the_other(axes, computation):
    axes_up = tuple(sorted(a % 3 for a in axes))
    kept = [a for a in range(3) if a not in axes_up]
    rows = X.transpose((*axes_up, *kept)).reshape((-1, *[X.shape[a] for a in kept]))

    def f(x):
        return lax.reduce(x, 2.0, computation, axes)

    check_close(f(X), reduce(computation, rows, np.full(rows.shape[1:], 2.0)))
    check_jit(f, (X,))


def test_reduce_of_a_tree_finds_positions():
    def f(x):
        return lax.reduce((x, lax.broadcasted_iota(int, x.shape, 1)), (np.inf, -1), smallest, (1,))

    low, at = fgrad.jit(f)(X)
    assert at.dtype == np.int64
    np.testing.assert_array_equal(at, X.argmin(1))
    np.testing.assert_array_equal(low, X.min(1))
    check_vmap(f, (X,))
    named = lax.reduce(
        {"x": X, "n": X > 0}, {"x": 0.0, "n": False}, lambda a, b: {"x": norm(a["x"], b["x"]), "n": a["n"]}, (0, 1, 2)
    )
    check_close(named["x"], np.linalg.norm(X))
    assert not named["n"]


def test_reduce_of_nothing_is_the_initial_value():
    for x in (np.zeros((0, 3)), np.zeros((3, 0))):
        y = lax.reduce(x, 7.0, lax.sub, (0,))
        assert y.shape == x.shape[1:] and np.all(y == 7)
    assert lax.reduce((), (), lambda a, b: (), (0,)) == ()


def windows(x, init, f, window, strides, pads, spread, dilation):
    """By the definition, an element at a time; nothing is added for padding and between spread elements."""
    sizes = []
    for n, k, s, (lo, hi), e, d in zip(x.shape, window, strides, pads, spread, dilation, strict=True):
        sizes.append((lo + hi + (n - 1) * e + 1 - (k - 1) * d - 1) // s + 1)
    out = np.zeros(sizes)
    for place in np.ndindex(*sizes):
        total = init
        for tap in product(*map(range, window)):
            i = [a * s + t * d - lo for a, s, t, d, (lo, _) in zip(place, strides, tap, dilation, pads, strict=True)]
            if all(v % e == 0 and 0 <= v // e < n for v, e, n in zip(i, spread, x.shape, strict=True)):
                total = f(total, x[tuple(v // e for v, e in zip(i, spread, strict=True))])
        out[place] = total
    return out


@pytest.mark.parametrize(
    "numbers",
    [
        ((2, 2), (1, 1), ((0, 0), (0, 0)), (1, 1), (1, 1)),
        ((2, 3), (2, 1), ((1, 0), (0, 2)), (1, 2), (2, 1)),
        ((1, 2), (3, 2), ((-1, 1), (2, -1)), (1, 1), (1, 2)),
    ],
)
def test_windows(numbers):
    x = X[0]

    def discounted(a, b):
        return 0.5 * a + b

    def f(x):
        return lax.reduce_window(x, 2.0, discounted, *numbers)

    check_close(f(x), windows(x, 2.0, discounted, *numbers))
    check_jit(f, (x,))
    check_vmap(f, (np.stack([x, 2 * x]),))
    check_grads(f, (x,), order=2)


def test_windows_of_a_tree_and_of_integers():
    def f(x):
        return lax.reduce_window((x, x * x), (np.inf, 0.0), lambda a, b: (fnp.minimum(a[0], b[0]), a[1] + b[1]), (2, 2))

    low, squares = fgrad.jit(f)(X[0])
    check_close(low, lax.reduce_window(X[0], np.inf, lax.min, (2, 2)))
    check_close(squares, lax.reduce_window(X[0] ** 2, 0.0, lax.add, (2, 2)))
    assert lax.reduce_window(np.arange(4), 0, lax.bitwise_or, (2,)).tolist() == [1, 3, 3]


def test_gradient_of_a_reduction():
    check_grads(lambda x: lax.reduce(x, 0.1, norm, (0, 2)), (X,), order=2)

    def scale(x, c):
        return lax.reduce(x, 0.0, lambda a, b: a * c + b, (0,))  # a traced value from around it

    check_grads(scale, (X[0], 0.7), order=2)


ERRORS = [
    (lambda: lax.reduce((X, X), 0.0, norm, (0,)), TreeError,
     "lax.reduce: the initial values have another structure than the operands", "give one scalar for each operand"),
    (lambda: lax.reduce((X, X[0]), (0.0, 0.0), norm, (0,)), ShapeError,
     "lax.reduce: the operands differ in shape", "broadcast them to one shape"),
    (lambda: lax.reduce((X, X), (0.0, 0.0), lambda a, b: a[0] + b[0], (0,)), TreeError,
     "lax.reduce: <lambda> returns another structure than it gets", "return the same containers"),
    (lambda: lax.reduce_window(X, 0.0, lambda a, b: a < b + 1, (1, 1, 1)), DtypeError,
     "lax.reduce_window: <lambda> changes the type of operands", "return scalars like these"),
    (lambda: lax.reduce((X, X), (0.0, np.float32(0)), smallest, (0,)), DtypeError,
     "reduce: the initial value must be a scalar of the operand's dtype", "convert it to float64"),
    (lambda: lax.reduce((X, X), (0.0, 0.0), smallest, (3,)), ShapeError,
     "reduce: axis 3 does not exist", "choose an axis from -3 to 2"),
]  # fmt: skip


@pytest.mark.parametrize("call, error, what, do", ERRORS)
def test_errors(call, error, what, do):
    for run in (call, lambda: fgrad.jit(lambda _: call())(1.0)):
        with pytest.raises(error) as caught:
            run()
        lines = str(caught.value).split("\n")
        assert lines[0] == what and lines[-1] == f"  do:  {do}"
        assert "test_folds.py" in lines[1]
