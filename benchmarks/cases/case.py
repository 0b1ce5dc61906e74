"""What a benchmark case is: one program with its inputs, in the words of several libraries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

Gemm = tuple[int, int, int]  # rows, columns, inner dimension of one matrix product

SEED = 20_240_229
TOLERANCE = {"float32": 1e-4, "float64": 1e-9}


def no_products(*size: int) -> list[Gemm]:
    """The matrix products of a program that has none."""
    return []


@dataclass(frozen=True)
class Case:
    """A program to time.

    name: as in the table of goals. inputs: (generator, dtype, *size) to the tuple of arguments, pytrees of ndarrays.
    program: a library (fgrad, jax, or the adapter of autograd) to the function, the same text for all of them. numpy:
    the function by hand in NumPy, the reference for the values of all others. torch: the module to the function. size,
    second, tiny: what is timed, another size of the same program (None: there is none), and what the tests run.
    products: size to the matrix products that no implementation can leave out. autograd: it has a derivative that
    autograd can take. parallel: large enough for two cores.
    dispatch: so small that the cost of a call decides. tolerance: times `TOLERANCE`. compiling: compilation is what
    it is about: only first calls are measured. jax_repeats: how often JAX's are (0: JAX compiles it for minutes).
    """

    name: str
    inputs: Callable[..., tuple[Any, ...]]
    program: Callable[[Any], Callable[..., Any]]
    numpy: Callable[..., Any]
    torch: Callable[[Any], Callable[..., Any]] | None
    size: tuple[int, ...]
    second: tuple[int, ...] | None
    tiny: tuple[int, ...]
    products: Callable[..., list[Gemm]] = no_products
    autograd: bool = True
    parallel: bool = False
    dispatch: bool = False
    tolerance: float = 1.0
    compiling: bool = False
    jax_repeats: int = 3

    def arguments(self, dtype: str, size: tuple[int, ...] | None = None) -> tuple[Any, ...]:
        """The arguments at `size`, by default the timed one: the same numbers at every call."""
        return self.inputs(np.random.default_rng(SEED), np.dtype(dtype), *(self.size if size is None else size))


def leaves(value: Any) -> Iterator[Any]:
    """The arrays of nested tuples, lists and dictionaries, in order."""
    if isinstance(value, tuple | list):
        for item in value:
            yield from leaves(item)
    elif isinstance(value, dict):
        for key in sorted(value):
            yield from leaves(value[key])
    else:
        yield value


def map_leaves(f: Callable[[Any], Any], value: Any) -> Any:
    """The same structure with `f` of every array."""
    if isinstance(value, tuple | list):
        return type(value)(map_leaves(f, item) for item in value)
    if isinstance(value, dict):
        return {key: map_leaves(f, item) for key, item in value.items()}
    return f(value)


def in_float64(value: Any) -> Any:
    """Arguments with every floating array as float64."""
    return map_leaves(lambda a: a.astype(np.float64) if a.dtype.kind == "f" else a, value)


def reference(case: Case, dtype: str, size: tuple[int, ...] | None = None) -> list[np.ndarray]:
    """The results of the case for the arguments of `dtype`, computed by NumPy in float64."""
    return [np.asarray(leaf) for leaf in leaves(case.numpy(*in_float64(case.arguments(dtype, size))))]


def disagreement(case: Case, dtype: str, result: Any, expected: list[np.ndarray]) -> str | None:
    """How a library's result differs from the reference beyond the tolerance, or None.

    The error of a leaf is its largest absolute difference over the reference's largest absolute value.
    """
    found = [np.asarray(leaf) for leaf in leaves(result)]
    if len(found) != len(expected):
        return f"{len(found)} results, not {len(expected)}"
    worst = 0.0
    for got, want in zip(found, expected, strict=True):
        if got.shape != want.shape:
            return f"shape {got.shape}, not {want.shape}"
        if want.dtype.kind == "f" and got.dtype != dtype:
            return f"dtype {got.dtype}, not {dtype}"
        if want.size:
            scale = float(np.max(np.abs(want))) or 1.0
            worst = max(worst, float(np.max(np.abs(got - want))) / scale) if np.all(np.isfinite(got)) else np.inf
    return None if worst <= TOLERANCE[dtype] * case.tolerance else f"relative error {worst:.1e}"
