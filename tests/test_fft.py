"""numpy.fft on traced arrays: values and dtypes against NumPy, derivatives against finite differences."""

from __future__ import annotations

import functools
import re
from typing import Any

import numpy as np
import pytest

import fgrad
from fgrad import numpy as fnp
from fgrad.core.errors import DtypeError, ShapeError
from fgrad.testing import check_close, check_grads, check_vmap

SINGLE = ["fft", "ifft", "rfft", "irfft", "hfft", "ihfft"]
SEVERAL = ["fft2", "ifft2", "rfft2", "irfft2", "fftn", "ifftn", "rfftn", "irfftn"]
OF_REAL = {"rfft", "ihfft", "rfft2", "rfftn"}
ONE_AXIS = [
    {},
    {"n": 3},
    {"n": 8},
    {"n": 1},
    {"axis": 0},
    {"norm": "ortho"},
    {"norm": "forward", "n": 5},
    {"norm": "backward"},
]
MORE_AXES = [
    {}, {"s": (3, 4), "axes": (1, 2)}, {"axes": (0, 1)}, {"axes": (2, 0), "s": (4, 7)}, {"norm": "ortho"},
    {"axes": (1,), "norm": "forward"},
]  # fmt: skip


def rand(*shape: int, dtype: str = "f8") -> np.ndarray:
    r = np.random.default_rng(list(shape))
    x = 3 * r.normal(size=shape)
    return (x + 1j * r.normal(size=shape) if dtype[0] == "c" else x).astype(dtype)


def agrees(f: Any, x: np.ndarray) -> None:
    """NumPy's values and types under jit, and in eager reverse mode."""
    want = f(x)
    # NumPy computes its scale factors in float16 for float16, which loses three digits
    low = {2: 1e-2, 4: 1e-5, 8: 1e-12}[x.real.dtype.itemsize]
    tolerance = {"rtol": low, "atol": 10 * low}
    check_close(fgrad.jit(f)(x), want, **tolerance)
    if x.dtype.kind in "fc":
        check_close(fgrad.vjp(f, x)[0], want, **tolerance)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "c8", "c16", "i4"])
@pytest.mark.parametrize("name", [*SINGLE, *SEVERAL])
def test_values(name: str, dtype: str) -> None:
    if dtype[0] == "c" and name in OF_REAL:
        return
    f = getattr(np.fft, name)
    for options in ONE_AXIS if name in SINGLE else MORE_AXES:
        x = rand(4, 6, dtype=dtype) if name in SINGLE else rand(3, 4, 5, dtype=dtype)
        agrees(functools.partial(f, **options), x)


@pytest.mark.parametrize("norm", [None, "ortho"])
@pytest.mark.parametrize("name", [*SINGLE, *SEVERAL])
def test_derivatives_and_vmap(name: str, norm: str | None) -> None:
    f = getattr(fnp.fft, name)
    for shape in ((4, 5), (3, 4), (2, 1), (1, 2)):
        if shape[1] == 1 and name in ("irfft", "hfft", "irfft2", "irfftn"):
            continue
        x = rand(*shape, dtype="f8" if name in OF_REAL else "c16")
        check_grads(functools.partial(f, norm=norm), (x,), order=2)
        check_vmap(functools.partial(f, norm=norm), (np.stack([x, x + 1, 2 * x]),))


def test_parseval() -> None:
    x = rand(12)
    gradient = fgrad.grad(lambda x: np.sum(np.abs(np.fft.fft(x, norm="ortho")) ** 2))(x)
    np.testing.assert_allclose(gradient, 2 * x)
    np.testing.assert_allclose(fgrad.grad(lambda x: np.sum(np.fft.irfft(np.fft.rfft(x)) ** 3))(x), 3 * x**2)


def test_shifts() -> None:
    for n in range(6):
        agrees(lambda x: np.fft.fftshift(x), rand(n, 3))
        agrees(lambda x: np.fft.ifftshift(x, axes=0), rand(n, 3))
        agrees(lambda x: np.fft.fftshift(x, axes=(1,)), rand(n, 3))
    check_grads(lambda x: np.fft.fftshift(x), (rand(3, 4),))


def test_frequencies() -> None:
    for f, g in ((fnp.fft.fftfreq, np.fft.fftfreq), (fnp.fft.rfftfreq, np.fft.rfftfreq)):
        np.testing.assert_array_equal(f(5, 0.3), g(5, 0.3))
        np.testing.assert_allclose(fgrad.jit(lambda d: f(5, d))(0.3), g(5, 0.3))  # noqa: B023
        np.testing.assert_allclose(fgrad.jvp(lambda d: f(4, d), (0.5,), (1.0,))[1], -g(4, 0.25))  # noqa: B023


@pytest.mark.parametrize(
    ("f", "kind", "text"),
    [
        (lambda x: np.fft.fft(x, 0), ShapeError, "fft: there must be at least one point along each axis"),
        (lambda x: np.fft.irfft(x[:, :1]), ShapeError, "irfft: there must be at least one point along each axis"),
        (lambda x: np.fft.fft(x, axis=2), ShapeError, "fft: axis 2 does not exist"),
        (lambda x: np.fft.rfftn(x, axes=()), ShapeError, "rfftn: needs at least one axis"),
        (lambda x: np.fft.fft(x, norm="unit"), ValueError, "norm 'unit' is unknown"),
        (lambda x: fnp.fft.rfft(x + 1j), DtypeError, "rfft takes real signals"),
        (lambda x: fnp.fft.ihfft(x + 1j), DtypeError, "ihfft takes real signals"),
    ],
)
def test_errors(f: Any, kind: Any, text: str) -> None:
    with pytest.raises(kind, match=re.escape(text)):
        fgrad.vjp(f, rand(2, 3))


def test_every_function_of_numpy_is_there() -> None:
    assert set(fnp.fft.__all__) == {n for n in dir(np.fft) if not n.startswith("_")} - {"test"}
