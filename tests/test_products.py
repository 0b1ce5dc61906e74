"""Products of arrays: values and dtypes against NumPy, derivatives against finite differences, vmap against loops."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import fgrad
from fgrad import numpy as fnp
from fgrad.core.errors import MutationError, ShapeError
from fgrad.testing import check_close, check_grads, check_vmap

DTYPES = [("f8", "f8"), ("f4", "f4"), ("f4", "f8"), ("c16", "f4"), ("i4", "f4"), ("i4", "i8"), ("u1", "u1"), ("?", "?")]


def rand(*shape: int, dtype: str = "f8") -> np.ndarray:
    r = np.random.default_rng(list(shape))
    x = 3 * r.normal(size=shape)
    return (x + 1j * r.normal(size=shape) if dtype[0] == "c" else np.abs(x) if dtype == "u1" else x).astype(dtype)


def agrees(f: Any, *args: Any) -> None:
    """`f`, which calls NumPy's functions, gives NumPy's values and types under jit, and in eager reverse mode."""
    want = f(*args)
    low = any(x.dtype in (np.float32, np.complex64) for x in args)
    tolerance = {"rtol": 1e-5, "atol": 1e-4} if low else {"rtol": 1e-12, "atol": 1e-11}
    check_close(fgrad.jit(f)(*args), want, **tolerance)
    if all(x.dtype.kind in "fc" for x in args):
        check_close(fgrad.vjp(f, *args)[0], want, **tolerance)


MATMUL = [
    ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)),
    ((5, 2, 3), (5, 3, 4)), ((5, 1, 2, 3), (4, 3, 2)), ((3,), (5, 3, 2)), ((5, 2, 3), (3,)), ((0, 3), (3, 2)),
    ((2, 0), (0, 2)), ((1, 2, 3), (5, 3, 4)), ((5, 1, 3), (1, 3, 1)),
]  # fmt: skip
OTHERS = {
    "dot": (np.dot, [((), ()), ((3,), ()), ((3,), (3,)), ((2, 3), (3,)), ((2, 3), (3, 4)), ((5, 2, 3), (6, 3, 4))]),
    "inner": (np.inner, [((3,), ()), ((3,), (3,)), ((2, 3), (4, 3)), ((5, 2, 3), (6, 3))]),
    "outer": (np.outer, [((3,), (4,)), ((2, 3), (4,)), ((), (2,))]),
    "vdot": (np.vdot, [((3,), (3,)), ((2, 3), (3, 2))]),
    "kron": (np.kron, [((2,), (3,)), ((2, 3), (4,)), ((), (2,)), ((2, 3), (4, 1, 2))]),
    "vecdot": (np.vecdot, [((3,), (3,)), ((4, 3), (3,))]),
    "vecdot axis": (lambda x, y: np.vecdot(x, y, axis=0), [((3, 2), (3, 2))]),
    "cross": (np.cross, [((3,), (3,)), ((4, 3), (3,)), ((2, 1, 3), (4, 3))]),
    "cross axes": (lambda x, y: np.cross(x, y, axisa=0, axisb=1, axisc=0), [((3, 2), (2, 3))]),
    "tensordot": (np.tensordot, [((2, 3, 4), (3, 4, 2))]),
    "tensordot axes": (lambda x, y: np.tensordot(x, y, axes=((2, 0), (1, -1))), [((2, 3, 4), (3, 4, 2))]),
    "tensordot 0": (lambda x, y: np.tensordot(x, y, axes=0), [((2, 3), (4,))]),
}
if hasattr(np, "matvec"):
    OTHERS["matvec"] = (np.matvec, [((2, 3), (3,)), ((2, 3), (5, 3))])
    OTHERS["vecmat"] = (np.vecmat, [((3,), (3, 2)), ((5, 1, 3), (4, 3, 2))])


@pytest.mark.parametrize("shapes", MATMUL, ids=str)
def test_matmul(shapes: Any) -> None:
    for dtypes in DTYPES:
        x, w = (rand(*s, dtype=d) for s, d in zip(shapes, dtypes, strict=True))
        agrees(lambda x, w: x @ w, x, w)
        agrees(lambda x, w: np.matmul(x, w), x, w)
    x, w = (rand(*s) for s in shapes)
    check_grads(lambda x, w: x @ w, (x, w), order=2)
    lanes = [np.stack([v, v + 1, -v]) for v in (x, w)]
    check_vmap(fnp.matmul, lanes)
    check_vmap(fnp.matmul, (lanes[0], w), (0, None))
    check_vmap(fnp.matmul, (x, lanes[1]), (None, 0))


def test_the_operator_takes_ndarrays_on_either_side() -> None:
    x, w = rand(2, 3), rand(3, 2)
    np.testing.assert_allclose(fgrad.grad(lambda w: np.sum(x @ w))(w), np.ones((2, 2)).T.dot(x).T)
    np.testing.assert_allclose(fgrad.grad(lambda x: np.sum(x @ w))(x), np.ones((2, 2)) @ w.T)
    assert fgrad.grad(lambda v: v @ v)(np.array([1.0, 2.0])).tolist() == [2, 4]
    assert fgrad.grad(lambda v: v.dot(v))(np.array([1.0, 2.0])).tolist() == [2, 4]


def test_one_product_for_a_batch_that_shares_its_weights() -> None:
    x, w = rand(5, 2, 3), rand(3, 4)
    text = str(fgrad.make_jaxpr(fgrad.grad(lambda w: np.sum(np.sin(x @ w))))(w))
    assert "broadcast_in_dim" not in text.replace("broadcast_in_dim[shape=(5,2,4) dims=()] 1.0", "")  # the cotangent
    assert text.count("dot_general") == 2


@pytest.mark.parametrize("name", OTHERS)
def test_other_products(name: str) -> None:
    f, cases = OTHERS[name]
    for shapes in cases:
        for dtypes in DTYPES[:6]:
            agrees(lambda x, y: f(x, y), *[rand(*s, dtype=d) for s, d in zip(shapes, dtypes, strict=True)])
        x, y = rand(*shapes[0], dtype="c16"), rand(*shapes[1])
        check_grads(lambda x, y: f(x, y), (x, y), order=2)
        check_vmap(lambda x, y: f(x, y), (np.stack([x, x * 2]), np.stack([y, -y])))


def test_trace() -> None:
    for dtype in ("f4", "i4", "?", "c16"):
        x = rand(3, 4, 5, dtype=dtype)
        agrees(lambda x: np.trace(x), x)
        agrees(lambda x: np.trace(x, 1, 2, 0), x)
        agrees(lambda x: np.trace(x, offset=-9, dtype="c16"), x)
    check_grads(lambda x: np.trace(x, 1), (rand(3, 4),), order=1)


# -------------------------------------------------------------------------------------------------------------- einsum

EINSUM = [
    ("ij,jk->ik", (2, 3), (3, 4)), ("ij,jk", (2, 3), (3, 4)), ("ii", (3, 3)), ("ii->i", (3, 3)), ("iii->i", (2, 2, 2)),
    ("ij->ji", (2, 3)), ("ba", (2, 3)), ("i,i", (3,), (3,)), ("...ij,...jk->...ik", (5, 2, 3), (3, 4)),
    ("i...->...", (2, 3, 4)), ("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)), ("bhqd,bhkd->bhqk", (2, 3, 4, 5), (2, 3, 6, 5)),
    ("ij,ij->", (2, 3), (2, 3)), ("ij,kj->i", (2, 3), (4, 3)), ("iij,jk->ki", (2, 2, 3), (3, 2)),
    ("i,j,k->ijk", (2,), (3,), (4,)), ("ij,jk->ik", (1, 3), (3, 4)), ("ij,ij->ij", (1, 3), (4, 3)),
    ("...,...", (2, 3), (2, 3)), ("i...,i...", (2, 3), (2, 3)), ("ij->", (2, 3)),
    ("a,ab,abc->abc", (2,), (2, 3), (2, 3, 4)), ("ijj,jk,k", (2, 3, 3), (3, 4), (4,)), (",ij", (), (2, 3)),
    ("ijk->k", (2, 0, 3)), ("ij,jk->ik", (2, 0), (0, 3)), ("aab,bcc->ac", (2, 2, 3), (3, 4, 4)),
    ("ij , jk -> ik", (2, 3), (3, 4)),
]  # fmt: skip


@pytest.mark.parametrize(("subscripts", "shapes"), [(s, shapes) for s, *shapes in EINSUM], ids=str)
def test_einsum(subscripts: str, shapes: Any) -> None:
    xs = [rand(*s) for s in shapes]
    f = lambda *xs: np.einsum(subscripts, *xs)  # noqa: E731
    agrees(f, *xs)
    agrees(lambda *xs: np.einsum(subscripts, *xs, optimize="greedy"), *xs)
    agrees(f, *[rand(*s, dtype="i4") for s in shapes])
    check_grads(f, xs, order=2)
    check_vmap(f, [np.stack([x, x + 1]) for x in xs])


def test_other_forms_of_einsum() -> None:
    x, y = rand(2, 3), rand(3, 4)
    agrees(lambda x, y: np.einsum(x, [0, 1], y, [1, 2], [0, 2]), x, y)
    agrees(lambda x, y: np.einsum(x, [40, 1], y, [1, 2]), x, y)
    agrees(lambda x, y: np.einsum(x, [1, ...], y.T, [..., 1]), rand(3, 4), rand(3, 4))
    agrees(lambda x, y: np.einsum("ij,jk", x, y, dtype="f4", casting="unsafe"), x.astype("f4"), y.astype("f4"))
    agrees(lambda x, y: np.einsum("ij,jk,kl", x, y, y.T, optimize=["einsum_path", (1, 2), (0, 1)]), x, y)
    agrees(lambda x, y: np.einsum("ij,jk,kl", x, y, y.T, optimize=False), x, y)
    agrees(lambda x, y: np.einsum("ij,jk->i", x, y), x > 0, y > 0)
    np.testing.assert_allclose(fnp.einsum("ij,jk", x, y), x @ y)


def test_a_chain_is_combined_in_the_cheap_order() -> None:
    a, v = rand(30, 30), rand(30)
    text = str(fgrad.make_jaxpr(lambda a, v: np.einsum("ij,jk,k->i", a, a, v))(a, v))
    assert "float64[30,30] = dot_general" not in text
    chain = str(fgrad.make_jaxpr(lambda a, v: np.linalg.multi_dot([a, a, v]))(a, v))
    assert "float64[30,30] = dot_general" not in chain


@pytest.mark.parametrize(
    "shapes",
    [
        ((2, 3), (3, 4), (4, 5)), ((3,), (3, 4), (4, 5)), ((2, 3), (3, 4), (4,)), ((3,), (3, 4), (4,)), ((2, 3), (3,)),
        ((3,), (3,)),
    ],
    ids=str,
)  # fmt: skip
def test_multi_dot(shapes: Any) -> None:
    agrees(lambda *xs: np.linalg.multi_dot(xs), *[rand(*s) for s in shapes])


# -------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("f", "text"),
    [
        (lambda a: a @ np.ones(2), "matmul: shapes (3, 3) and (2,) do not fit together"),
        (lambda a: a @ 2.0, "matmul: shapes (3, 3) and () do not fit together"),
        (lambda a: np.ones((2, 3, 3)) @ np.stack([a] * 3), "shapes (2,) and (3,) do not broadcast"),
        (lambda a: np.dot(a, np.ones(2)), "dot: shapes (3, 3) and (2,) do not fit together"),
        (lambda a: np.tensordot(a, np.ones((2, 3)), 1), "tensordot: shapes (3, 3) and (2, 3) do not fit together"),
        (lambda a: np.tensordot(a, a, ((0,), (0, 1))), "tensordot: the summed axes do not fit the operands"),
        (lambda a: np.cross(a[:, :1], a), "cross: vectors must have 2 or 3 components"),
        (lambda a: np.linalg.multi_dot([a, a[None], a]), "multi_dot: takes matrices, and vectors at the ends"),
        (lambda a: np.einsum("ij,jk->il", a, a), "einsum: each label of the result must occur in it once"),
        (lambda a: np.einsum("ij,jk", a, np.ones((2, 2))), "einsum: the axes named 'j' have the sizes [2, 3]"),
        (lambda a: np.einsum("i", a), "einsum: the term 'i' does not name 2 axes"),
        (lambda a: np.einsum("ij,jk", a), "einsum: 2 terms for 1 operands"),
        (lambda a: np.einsum("i?", a), "einsum: the term 'i?' does not name 2 axes"),
    ],
)
def test_errors(f: Any, text: str) -> None:
    with pytest.raises(ShapeError, match=re.escape(text)):
        fgrad.vjp(f, np.ones((3, 3)))


def test_results_cannot_be_written_into_ndarrays() -> None:
    with pytest.raises(MutationError, match="cannot write a traced result"):
        fgrad.grad(lambda a: np.sum(np.matmul(a, a, out=np.empty((2, 2)))))(np.eye(2))


def test_ufunc_outer_is_every_pair():
    a, b = np.array([1.0, 2.0, 3.0]), np.array([[0.5, -1.0]])
    traced = fgrad.jit(lambda x, y: np.subtract.outer(x, y))(a, b)
    np.testing.assert_array_equal(traced, np.subtract.outer(a, b))
    check_grads(lambda x, y: np.multiply.outer(x, y), (a, b), order=2)
