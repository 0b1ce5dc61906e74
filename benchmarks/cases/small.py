"""Programs so small that the cost of a call decides."""

from __future__ import annotations

from typing import Any

import numpy as np

from .case import Case


def _scalar_inputs(rng, dtype):
    return (np.asarray(rng.normal(), dtype),)


def _square_plus_one(x):
    return x * x + 1


def _vectors(rng, dtype, n):
    return rng.normal(size=n).astype(dtype), rng.normal(size=n).astype(dtype)


def _scaled_sum(x, y):
    return 2.0 * x + y


def _rosenbrock_inputs(rng, dtype, n):
    return (rng.normal(size=n).astype(dtype),)


def _rosenbrock(lib):
    xp = lib.numpy
    return lib.grad(lambda x: xp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2))


def _rosenbrock_numpy(x):
    rest = x[1:] - x[:-1] ** 2
    gradient = np.zeros_like(x)
    gradient[:-1] = -400.0 * rest * x[:-1] - 2.0 * (1.0 - x[:-1])
    gradient[1:] += 200.0 * rest
    return gradient


def _rosenbrock_torch(torch):
    return torch.func.grad(lambda x: torch.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2))


def _tree_inputs(rng, dtype, n):
    return ({f"a{i}": rng.normal(size=n).astype(dtype) for i in range(20)},)


def _tree(lib):
    return lambda arrays: lib.tree.map(lambda a: a * 1.01, arrays)


def _tree_plain(arrays: dict[str, Any]) -> dict[str, Any]:
    return {key: a * 1.01 for key, a in arrays.items()}


STEPS = 50


def _unrolled(lib):
    def total(x):
        for _ in range(STEPS):
            x = lib.numpy.sin(x) + lib.numpy.roll(x, 1)
        return lib.numpy.sum(x)

    return lib.grad(total)


def _unrolled_numpy(x):
    seen = []
    for _ in range(STEPS):
        seen.append(x)
        x = np.sin(x) + np.roll(x, 1)
    gradient = np.ones_like(x)
    for x in seen[::-1]:
        gradient = gradient * np.cos(x) + np.roll(gradient, -1)
    return gradient


def _unrolled_torch(torch):
    def total(x):
        for _ in range(STEPS):
            x = torch.sin(x) + torch.roll(x, 1)
        return torch.sum(x)

    return torch.func.grad(total)


CASES = [
    Case(
        "scalar x*x+1",
        _scalar_inputs,
        lambda lib: _square_plus_one,
        _square_plus_one,
        lambda torch: _square_plus_one,
        size=(),
        second=None,
        tiny=(),
        autograd=False,
        dispatch=True,
    ),
    Case(
        "2*x+y of 10",
        _vectors,
        lambda lib: _scaled_sum,
        _scaled_sum,
        lambda torch: _scaled_sum,
        size=(10,),
        second=(12,),
        tiny=(3,),
        autograd=False,
        dispatch=True,
    ),
    Case(
        "Rosenbrock gradient, 10",
        _rosenbrock_inputs,
        _rosenbrock,
        _rosenbrock_numpy,
        _rosenbrock_torch,
        size=(10,),
        second=(12,),
        tiny=(3,),
        dispatch=True,
    ),
    Case(
        "pytree of 20 arrays",
        _tree_inputs,
        _tree,
        _tree_plain,
        lambda torch: _tree_plain,
        size=(8,),
        second=(9,),
        tiny=(2,),
        autograd=False,
        dispatch=True,
    ),
    Case(
        "50 unrolled steps of sin and roll, gradient, 16",
        _rosenbrock_inputs,
        _unrolled,
        _unrolled_numpy,
        _unrolled_torch,
        size=(16,),
        second=None,
        tiny=(3,),
        tolerance=1000.0,  # chaotic: rounding grows with the gradient, a hundred thousand times
        compiling=True,
        jax_repeats=1,
    ),
]
