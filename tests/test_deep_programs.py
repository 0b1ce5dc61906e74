"""Programs of a hundred thousand equations, within Python's default recursion limit."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import fgrad
import fgrad.numpy as fnp
from fgrad.core import check

LAYERS = 10_000


@pytest.fixture(autouse=True)
def unchecked(monkeypatch):
    """Programs are not checked after every pass: that takes longer than all the rest."""
    monkeypatch.setattr(check, "_ENABLED", False)
    assert sys.getrecursionlimit() <= 1000 or sys.gettrace() is not None


def test_ten_thousand_layers_and_a_hundred_thousand_equations():
    """Traced, differentiated, compiled and run; against NumPy, and central differences along a direction."""

    def loss(w, x):
        for _ in range(LAYERS):
            x = x + 0.1 * fnp.tanh(w * x)
        return fnp.sum(x)

    def by_numpy(w, x):
        for _ in range(LAYERS):
            x = x + 0.1 * np.tanh(w * x)
        return np.sum(x)

    w, x, along = np.array([-0.5, -0.2, 0.0, 0.001]), np.array([-1.0, 2.0, 0.5, 3.0]), np.array([1.0, 2.0, 0.0, 0.1])
    f = fgrad.jit(fgrad.value_and_grad(loss))
    value, gradient = f(w, x)
    np.testing.assert_allclose(value, by_numpy(w, x), rtol=1e-9)
    step = 1e-6
    slope = (by_numpy(w + step * along, x) - by_numpy(w - step * along, x)) / (2 * step)
    np.testing.assert_allclose(gradient @ along, slope, rtol=1e-5)
    assert len(f.trace(w, x).eqns) >= 100_000
