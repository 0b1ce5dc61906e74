"""Sorting and searching: results against NumPy's, derivatives as permutations, vmap against loops."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import fgrad
from fgrad import numpy as fnp
from fgrad.core.errors import ConcretizationError, MutationError, ShapeError
from fgrad.core.primitive import registry
from fgrad.testing import check_close, check_grads, check_vmap


def rand(*shape: int, dtype: str = "f8") -> np.ndarray:
    r = np.random.default_rng(list(shape))
    x = 2 * r.normal(size=shape)
    return (x + 1j * r.normal(size=shape) if dtype[0] == "c" else np.abs(x) if dtype == "u1" else x).astype(dtype)


SPECIAL = np.array([[3, np.nan, -0.0, 0.0, -np.inf], [np.inf, 1, np.nan, np.nan, 1], [0.0, -0.0, 0.0, -0.0, 2]])
ARRAYS = [
    rand(3, 5), SPECIAL, *[rand(3, 5, dtype=d) for d in ("f4", "f2", "i4", "u1", "?", "c16")], rand(3, 0), rand(0, 3),
    rand(40, dtype="i8"), np.full((2, 2), np.nan),
]  # fmt: skip


def agrees(f: Any, *args: Any, want: Any = None) -> None:
    """NumPy's result, in eager reverse mode too."""
    want = f(*args) if want is None else want
    got = [fgrad.jit(f)(*args)]
    if all(x.dtype.kind in "fc" for x in args):
        got.append(fgrad.vjp(f, *args)[0])
    for y in got:
        check_close(y, want, rtol=0, atol=0)


@pytest.mark.parametrize("x", ARRAYS, ids=lambda x: f"{x.dtype}{list(x.shape)}")
@pytest.mark.parametrize("axis", [-1, 0, None])
def test_sort_and_argsort(x: np.ndarray, axis: int | None) -> None:
    agrees(lambda x: np.sort(x, axis=axis), x)
    want = np.argsort(x, axis=axis, kind="stable")
    agrees(lambda x: np.argsort(x, axis=axis), x, want=want)
    np.testing.assert_array_equal(fnp.argsort(x, axis), want)
    backwards = fnp.sort(x, axis, descending=True)
    np.testing.assert_array_equal(backwards, np.flip(np.sort(x, axis), axis if axis is not None else 0))


def test_descending_sorts_are_stable() -> None:
    x = np.array([1, 3, 1, 3, 2])
    for f in (fnp.argsort, fgrad.jit(fnp.argsort, static_argnames="descending")):
        assert f(x, descending=True).tolist() == [1, 3, 4, 0, 2]


def test_derivatives() -> None:
    x = rand(4, 3)
    check_grads(lambda x: np.sort(x, axis=0), (x,))
    check_grads(lambda x: np.partition(x, 1)[:, 1], (x,))
    assert fgrad.grad(lambda x: np.sort(x)[0])(np.array([3.0, 1.0, 2.0])).tolist() == [0, 1, 0]
    # of equals the first is the first of the result: stable
    assert fgrad.grad(lambda x: np.sort(x)[0])(np.array([1.0, 1.0])).tolist() == [1, 0]
    assert fgrad.grad(lambda x: x[x.argsort()][-1])(np.array([3.0, 1.0])).tolist() == [1, 0]
    carried = lambda k, v: registry.sort(k, v, axis=0, num_keys=1)[1]  # noqa: E731
    check_grads(carried, (rand(4), rand(5)[:4]))


def test_vmap_is_a_loop() -> None:
    x = rand(4, 5)
    for f in (fnp.sort, fnp.argsort, lambda x: fnp.sort(x, descending=True), lambda x: fnp.unique(x, size=3)):
        check_vmap(f, (x,))
    edges, v = np.sort(rand(4, 6)), rand(4, 2)
    check_vmap(fnp.searchsorted, (edges, v))
    check_vmap(fnp.searchsorted, (edges[0], v), (None, 0))
    check_vmap(fnp.searchsorted, (edges, v[0]), (0, None))


def test_lexsort() -> None:
    keys = rand(3, 9, dtype="i4")
    agrees(lambda k: np.lexsort((k[0], k[1], k[2])), keys)
    agrees(lambda k: np.lexsort(k), keys)
    agrees(lambda k: np.lexsort((k, k[::-1]), axis=0), keys)
    agrees(lambda a, b: np.lexsort((a, b)), rand(7, dtype="i4"), rand(7))


@pytest.mark.parametrize("side", ["left", "right"])
def test_searchsorted(side: Any) -> None:
    a, v = np.sort(rand(7, dtype="i4")), rand(3, 4)
    for values in (v, v.astype("i8"), np.float64(0.3), np.array([np.nan, np.inf, -np.inf]), v[:0]):
        agrees(lambda a, v: np.searchsorted(a, v, side), a, np.asarray(values)[()])
        agrees(lambda a, v: a.searchsorted(v, side=side), a.astype("f8"), np.asarray(values)[()])
    agrees(lambda a, v: np.searchsorted(a, v, side, sorter=np.argsort(a)), rand(6), v)


@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize(
    "bins", [np.arange(4.0), np.arange(4.0)[::-1].copy(), np.ones(1), np.ones(2), np.array([0.0, 1, 1, 2])]
)
def test_digitize(bins: list[float], right: bool) -> None:
    agrees(lambda x, b: np.digitize(x, b, right), np.array([-1, 0, 0.5, 1, 2, 3, 4]), np.array(bins, float))


def test_partitions_hold_the_right_element_and_the_right_sides() -> None:
    x = rand(3, 9)
    for f in (
        fgrad.jit(lambda x: np.partition(x, 4)),
        fgrad.jit(lambda x: np.take_along_axis(x, np.argpartition(x, 4), 1)),
    ):
        y = f(x)
        np.testing.assert_array_equal(y[:, 4], np.sort(x)[:, 4])
        assert (y[:, :4] <= y[:, 4:5]).all() and (y[:, 5:] >= y[:, 4:5]).all()


def test_sort_complex() -> None:
    for dtype in ("f4", "f8", "i1", "u1", "i4", "c16"):
        agrees(lambda x: np.sort_complex(x), rand(5, dtype=dtype))


def test_top_k() -> None:
    values, places = registry.top_k(np.array([1.0, 3.0, np.nan, 3.0, -0.0]), k=3)
    np.testing.assert_array_equal(values, [np.nan, 3, 3])
    assert places.tolist() == [2, 1, 3]
    assert fgrad.grad(lambda x: registry.top_k(x, k=2)[0].sum())(np.array([1.0, 3.0, 2.0])).tolist() == [0, 1, 1]
    with pytest.raises(ShapeError, match="there are no 4 elements"):
        fgrad.jit(lambda x: registry.top_k(x, k=4))(np.ones(3))


# -------------------------------------------------------------------------------------------------------------- unique

EVERYTHING = {"return_index": True, "return_inverse": True, "return_counts": True}


@pytest.mark.parametrize(
    "x", [rand(3, 5, dtype="i4"), SPECIAL, np.array([2.0, 1.0, 2.0]), np.array([True, False])], ids=str
)
def test_unique_of_known_size(x: np.ndarray) -> None:
    want = np.unique(x, **EVERYTHING)
    size = len(want[0])
    f = fgrad.jit(lambda x: fnp.unique(x, size=size, **EVERYTHING))
    check_close(f(x), tuple(want))
    check_close(fnp.unique(x, size=size), want[0])


def test_unique_fills_and_cuts() -> None:
    x = np.array([2.0, 1.0, 2.0])
    values, counts = fnp.unique(x, size=4, fill_value=9, return_counts=True)
    assert values.tolist() == [1, 2, 9, 9] and counts.tolist() == [1, 2, 0, 0]
    assert fnp.unique(x, size=3).tolist() == [1, 2, 1]
    assert fnp.unique(x, size=1).tolist() == [1]
    assert fnp.unique(np.array([np.nan, np.nan]), size=2, equal_nan=False, return_counts=True)[1].tolist() == [1, 1]


def test_unique_in_eager_grad_needs_no_size() -> None:
    x = np.array([2.0, 1.0, 2.0])
    weights = np.array([1.0, 10.0])
    for f in (np.unique, lambda x: fnp.unique(x, size=2)):
        assert fgrad.grad(lambda x, f=f: np.sum(f(x) * weights))(x).tolist() == [10, 1, 0]
    rows = fgrad.grad(lambda x: np.sum(np.unique(x, axis=0)))(np.array([[1.0, 2.0], [1.0, 2.0]]))
    assert rows.tolist() == [[1, 1], [0, 0]]


@pytest.mark.parametrize(
    ("f", "kind", "text"),
    [
        (lambda x: x.sort(), MutationError, "x.sort() would sort a traced array in place"),
        (lambda x: x.sort(), MutationError, "write y = fgrad.numpy.sort(x)"),
        (lambda x: x.partition(1), MutationError, "x.partition() would sort a traced array in place"),
        (lambda x: np.unique(x), ConcretizationError, "give the number of results: fgrad.numpy.unique(x, size=n)"),
        (lambda x: fnp.unique(x, size=2, axis=0), ShapeError, "unique: size= takes all elements of an array"),
        (lambda x: np.sort(x, axis=1), ShapeError, "sort: axis 1 does not exist"),
        (lambda x: np.sort(x, order="name"), TypeError, "order= sorts structured arrays by field"),
        (lambda x: np.searchsorted(x[None], 1.0), ShapeError, "searchsorted: needs a one-dimensional array and a side"),
        (lambda x: fnp.lexsort([x], 3), ShapeError, "lexsort: axis 3"),
    ],
)
def test_errors(f: Any, kind: Any, text: str) -> None:
    with pytest.raises(kind, match=re.escape(text)):
        fgrad.jit(f)(np.ones(3))
