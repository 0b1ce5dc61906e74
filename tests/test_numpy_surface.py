"""fgrad.numpy against NumPy: values, dtypes and shapes traced and eager, routing, derivatives, vmap; one table."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy_cases import CASES, Case, M, V, W

import fgrad
from fgrad import numpy as fnp
from fgrad.core.errors import ConcretizationError, MutationError, ShapeError
from fgrad.core.trace import signature
from fgrad.passes.interpret import interpret
from fgrad.passes.linearize import Tape
from fgrad.testing import check_close, check_grads


def flat(y: Any) -> list[Any]:
    return [v for part in y for v in flat(part)] if isinstance(y, tuple | list) else [y]


def traced_outputs(case: Case, f: Callable[..., Any]) -> list[Any]:
    """Outputs of the abstractly traced call, interpreted: the strict equations of the expansions are what is tested."""
    return interpret(fgrad.make_jaxpr(lambda *xs: flat(f(*xs)))(*case.xs), case.xs)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", CASES, ids=repr)
def test_values_and_types(case: Case) -> None:
    """Untraced, under jit through fnp and through np's own function, and in eager forward mode: all are NumPy's."""
    wanted = [np.asarray(y) for y in flat(case.numpy(*case.xs))]
    loose = {"rtol": 2e-3} if any(y.dtype == np.float16 for y in wanted) else {}
    check_close(flat(case.ours(*case.xs)), wanted, **loose)
    static = case.name in ("shape", "ndim", "size", "iscomplexobj", "isrealobj")
    if case.name != "bincount":
        check_close(traced_outputs(case, case.ours), wanted, "traced result", **loose)
        if not static:
            check_close(traced_outputs(case, case.numpy), wanted, "result routed by NumPy", **loose)
    inexact = [i for i, x in enumerate(case.xs) if np.asarray(x).dtype.kind in "fc"]
    if inexact and not static:

        def moving(*floats: Any) -> list[Any]:
            xs = list(case.xs)
            for i, x in zip(inexact, floats, strict=True):
                xs[i] = x
            return flat(case.ours(*xs))

        floats = [case.xs[i] for i in inexact]
        eager, _ = fgrad.jvp(moving, floats, [np.ones_like(x) for x in floats])
        check_close(flat(eager), wanted, "eager result", **loose)


@pytest.mark.parametrize("case", [c for c in CASES if c.d], ids=repr)
def test_derivatives(case: Case) -> None:
    """Forward and reverse mode agree with central differences."""
    check_grads(lambda *xs: [y for y in flat(case.ours(*xs)) if np.result_type(y).kind in "fc"], case.xs, order=1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", [c for c in CASES if c.lanes], ids=repr)
def test_vmap(case: Case) -> None:
    """vmap is a Python loop over lanes."""
    lanes = [np.stack([x, x[::-1] if np.ndim(x) else x + x]) for x in case.xs]
    if case.name in ("shape", "ndim", "size", "iscomplexobj", "isrealobj", "interp"):
        lanes = [np.stack([x, x]) for x in case.xs]
    wanted = [[np.asarray(y) for y in flat(case.numpy(*[x[i] for x in lanes]))] for i in range(2)]
    got = fgrad.vmap(lambda *xs: [np.asarray(y) if np.isscalar(y) else y for y in flat(case.ours(*xs))])(*lanes)
    loose = {"rtol": 2e-3} if any(y.dtype == np.float16 for y in wanted[0]) else {}
    check_close(list(got), [np.stack(ys) for ys in zip(*wanted, strict=True)], **loose)


METHODS: list[tuple[str, Callable[[Any], Any]]] = [
    ("T", lambda x: x.T),
    ("mT", lambda x: x.mT),
    ("real", lambda x: x.real),
    ("imag", lambda x: x.imag),
    ("astype", lambda x: x.astype(np.float32)),
    ("astype str", lambda x: x.astype("int8")),
    ("reshape", lambda x: x.reshape(2, -1)),
    ("reshape tuple", lambda x: x.reshape((4, 3))),
    ("reshape F", lambda x: x.reshape(-1, order="F")),
    ("ravel", lambda x: x.ravel()),
    ("flatten", lambda x: x.flatten()),
    ("flatten F", lambda x: x.flatten("F")),
    ("transpose", lambda x: x.transpose()),
    ("transpose axes", lambda x: x.transpose(1, 0)),
    ("transpose tuple", lambda x: x.transpose((1, 0))),
    ("swapaxes", lambda x: x.swapaxes(0, 1)),
    ("sum", lambda x: x.sum(0)),
    ("sum keepdims", lambda x: x.sum(axis=1, keepdims=True)),
    ("prod", lambda x: x.prod()),
    ("mean", lambda x: x.mean(-1)),
    ("std", lambda x: x.std(0, ddof=1)),
    ("var", lambda x: x.var()),
    ("max", lambda x: x.max(1)),
    ("min", lambda x: x.min()),
    ("argmax", lambda x: x.argmax(1)),
    ("argmin", lambda x: x.argmin()),
    ("any", lambda x: x.any(0)),
    ("all", lambda x: x.all()),
    ("cumsum", lambda x: x.cumsum(0)),
    ("cumprod", lambda x: x.cumprod()),
    ("clip", lambda x: x.clip(-0.5, 0.5)),
    ("clip max", lambda x: x.clip(max=0.5)),
    ("round", lambda x: x.round(1)),
    ("squeeze", lambda x: x[:, :1].squeeze()),
    ("repeat", lambda x: x.repeat(2, axis=0)),
    ("copy", lambda x: x.copy()),
    ("conj", lambda x: x.conj()),
    ("conjugate", lambda x: x.conjugate()),
    ("diagonal", lambda x: x.diagonal(1)),
    ("divmod", lambda x: divmod(x, 0.7)[1]),
    ("rdivmod", lambda x: divmod(0.01, x)[0]),
    ("__round__", lambda x: round(x[0, 0], 1) + 0 * x),
    ("copy.copy", lambda x: copy.copy(x)),
    ("add.reduce", lambda x: np.add.reduce(x)),
    ("maximum.reduce", lambda x: np.maximum.reduce(x, axis=1)),
    ("add.accumulate", lambda x: np.add.accumulate(x)),
    ("logical_or.reduce", lambda x: np.logical_or.reduce(x > 1, axis=None)),
]


@pytest.mark.parametrize("f", [f for _, f in METHODS], ids=[n for n, _ in METHODS])
def test_methods(f: Callable[[Any], Any]) -> None:
    """Tracers have the methods of arrays."""
    if f(M).dtype.kind == "f" and f(M).dtype.itemsize == 8:
        check_grads(f, (M,), order=1)
    program = fgrad.make_jaxpr(lambda x: [f(x)])(M)
    check_close(interpret(program, [M])[0], f(M))


@pytest.mark.parametrize("name", ["resize", "setflags", "view", "tobytes"])
def test_methods_that_a_traced_array_cannot_have(name: str) -> None:
    with pytest.raises(MutationError, match=rf"x\.{name}\(\) is not possible on a traced array\n(.|\n)*do:  "):
        fgrad.grad(lambda x: getattr(x, name)((2, 2)).sum())(V)


LIKE = {
    "zeros": ((3,), {}),
    "ones": (((2, 3), np.int32), {}),
    "full": ((2, 7), {}),
    "empty": ((4,), {}),
    "eye": ((2,), {"k": 1}),
    "identity": ((2,), {}),
    "arange": ((1, 4), {}),
    "tri": ((2, 3), {}),
}


@pytest.mark.parametrize("name", LIKE)
def test_like(name: str) -> None:
    """np.zeros(3, like=x) is a traced array under every transformation."""
    args, named = LIKE[name]
    wanted = getattr(np, name)(*args, **named)
    seen = []

    def f(x: Any) -> Any:
        y = getattr(np, name)(*args, like=x, **named)
        seen.append(type(y).__name__)
        return x.sum() * y if name != "empty" else x.sum() * y * 0 + 1

    value = wanted * V.sum() if name != "empty" else np.ones(4)
    check_close(fgrad.jit(f)(V), value)
    check_close(fgrad.jvp(f, (V,), (V,))[0], value)
    check_close(fgrad.vmap(f)(np.stack([V, V]))[1], value)
    fgrad.grad(lambda x: f(x).sum())(V)
    assert set(seen) == {"Tracer"}
    check_close(getattr(fnp, name)(*args, **named) * (name != "empty"), wanted * (name != "empty"))


@pytest.mark.parametrize(
    "make", [lambda x: np.zeros_like(x), lambda x: np.zeros(4, like=x), lambda x: fnp.full_like(x, 0.0)]
)
def test_buffers_made_in_a_trace_take_updates(make: Callable[[Any], Any]) -> None:
    def f(x: Any) -> Any:
        y = make(x)
        for i in range(4):
            y = y.at[i].set(x[3 - i] * (i + 1))
        return y

    wanted = V[::-1] * np.arange(1, 5)
    check_close(fgrad.jit(f)(V), wanted)
    check_close(fgrad.vmap(f)(np.stack([V, W]))[0], wanted)
    check_close(fgrad.grad(lambda x: (f(x) * W).sum())(V), (W * np.arange(1, 5))[::-1])


def test_nested_lists_of_traced_values_become_arrays() -> None:
    def f(x: Any, y: Any) -> Any:
        return fnp.array([[x, 2.0], [y * x, y]])

    check_close(fgrad.jit(f)(2.0, np.float32(3.0)), np.array([[2.0, 2.0], [6.0, 3.0]]))
    check_grads(f, (2.0, 3.0), order=2)
    assert fgrad.jit(lambda x: fnp.asarray([x, x], dtype=np.float32))(1.0).dtype == np.float32
    assert fgrad.jit(lambda x: fnp.array([x, x], ndmin=3).shape == (1, 1, 2) and x)(1.0) == 1.0
    check_close(fgrad.jit(lambda x: fnp.sum([x, x * x]))(3.0), np.float64(12.0))


def test_full_of_a_traced_value() -> None:
    check_close(fgrad.grad(lambda v: fnp.full((2, 3), v).sum())(2.0), np.float64(6.0))


def test_traced_shift_and_traced_quantile() -> None:
    for k in (-5, 0, 3):
        check_close(fgrad.jit(lambda x, k: fnp.roll(x, k, axis=1))(M, k), np.roll(M, k, axis=1))
    check_close(
        fgrad.jit(lambda x, q: fnp.quantile(x, q, axis=0))(M, np.array([0.2, 0.9])), np.quantile(M, [0.2, 0.9], axis=0)
    )


def test_bincount_of_traced_numbers() -> None:
    n = np.array([0, 3, 3, 9])
    check_close(fgrad.jit(lambda n, w: fnp.bincount(n, w, length=5))(n, V), np.bincount(n[:3], V[:3], 5))
    check_close(fnp.bincount(n, V, length=5), np.bincount(n[:3], V[:3], 5))
    with pytest.raises(ConcretizationError, match=r"bincount without length= is not possible(.|\n)*do:  pass length="):
        fgrad.jit(fnp.bincount)(n)


def test_where_of_a_condition_alone() -> None:
    check_close(fnp.where(V > 0, size=4, fill_value=9), (np.array([0, 2, 3, 9]),))
    check_close(fgrad.jit(lambda x: fnp.where(x > 0, size=4, fill_value=9))(V), (np.array([0, 2, 3, 9]),))
    check_close(fnp.where(V > 0), np.where(V > 0))


def test_ravel_multi_index_refuses_what_lies_outside() -> None:
    with pytest.raises(IndexError, match="out of bounds"):
        fgrad.jit(lambda i: fnp.ravel_multi_index((i, i), (3, 4)))(np.array([0, -1]))


def test_choose_refuses_numbers_outside() -> None:
    for bad in (-1, 2):
        which = np.array([0, bad])
        with pytest.raises(IndexError, match="out of bounds"):
            fgrad.jvp(lambda x, which=which: fnp.choose(which, [x, x]), (V[:2],), (V[:2],))


def test_where_keeps_nan_out_of_gradients() -> None:
    x = np.array([0.0, 4.0])
    with np.errstate(divide="ignore"):
        check_close(fgrad.grad(lambda x: fnp.where(x > 0, np.log(x), 0.0).sum())(x), np.array([0.0, 0.25]))
        check_close(fgrad.grad(lambda x: fnp.nansum(np.log(x) * np.array([np.nan, 1.0])))(x), np.array([0.0, 0.25]))


def test_derivatives_at_special_points() -> None:
    """Ties are shared, std of equal elements has gradient zero, sinc has all derivatives at 0."""
    check_close(fgrad.grad(lambda x: x.max())(np.array([2.0, 1.0, 2.0])), np.array([0.5, 0.0, 0.5]))
    check_close(fgrad.grad(lambda x: x.std())(np.ones(3)), np.zeros(3))
    second = fgrad.grad(fgrad.grad(fnp.sinc))
    check_close(second(0.0), np.float64(-(np.pi**2) / 3))  # sinc(x) = 1 - (pi x)^2 / 6 + ...
    check_close(fgrad.grad(fgrad.grad(second))(0.0), np.float64(np.pi**4 / 5))  # ... + (pi x)^4 / 120


ONE_CALL = [
    fnp.sum,
    fnp.mean,
    fnp.max,
    fnp.var,
    fnp.cumsum,
    lambda x: x.T,
    lambda x: x.reshape(-1),
    lambda x: fnp.concatenate([x, x]),
    lambda x: fnp.stack([x, x]),
    lambda x: fnp.where(M > 0, x, 0.0),
    lambda x: fnp.clip(x, 0.0, 1.0),
    lambda x: fnp.moveaxis(x, 0, 1),
    lambda x: fnp.broadcast_to(x, (2, 3, 4)),
    lambda x: fnp.roll(x, 1, 0),
    lambda x: fnp.pad(x, 1),
    lambda x: fnp.repeat(x, 2, axis=0),
]


@pytest.mark.parametrize("f", ONE_CALL, ids=range(len(ONE_CALL)))
def test_one_call_on_the_tape(f: Callable[[Any], Any]) -> None:
    """Common functions are one entry of an eager tape."""
    tape = Tape()
    f(tape.input(M, signature(M)))
    assert len(tape.entries) == 1
    tape.close()


ERRORS: list[tuple[Callable[[Any], Any], type[Exception], str]] = [
    (
        lambda x: fnp.sum(x, axis=2),
        ShapeError,
        r"sum: axis 2 does not exist\n.*\n  got: an array of 2 dimensions\n  do:  choose an axis from -2 to 1",
    ),
    (lambda x: np.mean(x, axis=-3), ShapeError, "mean: axis -3 does not exist"),
    (lambda x: x.max(axis=(0, 0)), ShapeError, "max: an axis is named twice"),
    (lambda x: x.reshape(5, -1), ShapeError, r"cannot reshape 12 elements into shape \(5, -1\)"),
    (lambda x: x.reshape(7), ShapeError, "cannot reshape 12 elements"),
    (lambda x: x.transpose(0, 0), ShapeError, r"transpose: axes \(0, 0\) are no order of 2 axes"),
    (
        lambda x: fnp.concatenate([x, x[:, :2]], axis=0),
        ShapeError,
        "concatenate: shapes must agree except along axis 0",
    ),
    (lambda x: fnp.concatenate([x, x], axis=2), ShapeError, "concatenate: axis 2 does not exist"),
    (lambda x: fnp.stack([x, x[0]]), ShapeError, "stack: all arrays must have the same shape"),
    (lambda x: fnp.split(x, 3, axis=1), ShapeError, "split: 4 elements do not divide into 3 equal parts"),
    (lambda x: fnp.squeeze(x, 0), ShapeError, "squeeze: axis 0 has not size 1"),
    (lambda x: fnp.broadcast_to(x, (4, 3)), ShapeError, r"shape \(3, 4\) does not broadcast to \(4, 3\)"),
    (lambda x: fnp.max(x[:0]), ShapeError, "of no elements has no value"),
    (lambda x: fnp.max(x, where=x > 0), ShapeError, "max: where= needs initial="),
    (lambda x: fnp.zeros(x[0, 0], like=x), ConcretizationError, "used as a Python integer is not possible"),
    (lambda x: fnp.reshape(x, (x[0, 0], 4)), ConcretizationError, "do:  mark the argument static"),
    (lambda x: fnp.tile(x, x.astype(int)), ConcretizationError, "not possible: its value is not known"),
    (lambda x: np.sum(x, out=np.zeros(())), MutationError, "cannot write a traced result into an ndarray"),
    (lambda x: fnp.pad(x, 1, mode="mirror"), ValueError, "pad: unknown mode"),
    (lambda x: fnp.quantile(x, 1.5), ValueError, "q must lie between 0 and 1"),
]


@pytest.mark.parametrize(("f", "error", "text"), ERRORS)
def test_errors(f: Callable[[Any], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        fgrad.make_jaxpr(f)(M)


def test_results_and_names() -> None:
    """Weakness ends at a function call, as NumPy's functions of Python numbers give arrays' scalars."""
    check_close(fgrad.jit(lambda s, x: fnp.sum(s) * x)(1.0, np.float32(2.0)), np.float64(2.0))
    check_close(
        fgrad.jit(lambda s, x: fnp.where(True, s, 0.0) * x)(1.0, np.float32(2.0)),
        np.where(True, 1.0, 0.0) * np.float32(2.0),
    )
    missing = [
        n
        for n in ("pi", "float32", "newaxis", "linalg", "fft", "einsum", "sort", "take", "nonzero", "sin")
        if not hasattr(fnp, n)
    ]
    assert not missing
