"""A pytree of arrays as one vector, and back."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from . import numpy as fnp
from .core import tree
from .core.errors import DtypeError, LeafError, ShapeError, message
from .core.nodes import keystr

__all__ = ["ravel_pytree"]


def ravel_pytree(pytree: Any) -> tuple[Any, Callable[[Any], Any]]:
    """The leaves of a tree as one vector, and the function that makes such a vector a tree again.

    The vector has shape (n,), n the number of elements of all leaves, in the order of the leaves and row by row within
    each, and the leaves' promoted dtype: float64 for a tree without leaves. `unravel(vector)` gives new arrays of the
    leaves' shapes. Leaves of one dtype take whatever dtype the vector has; leaves of several are cast back to theirs
    (a real leaf takes the real part of a complex vector), and the vector then has to have the promoted dtype.

    Raises LeafError for a leaf that is neither numeric nor boolean; unravel raises ShapeError for a vector of another
    shape and DtypeError for one of another dtype.

    >>> import numpy as np
    >>> from fgrad.flatten_util import ravel_pytree
    >>> flat, unravel = ravel_pytree({"w": np.ones((2, 2)), "b": np.zeros(1)})
    >>> flat
    array([0., 1., 1., 1., 1.])
    >>> unravel(2 * flat)
    {'w': array([[2., 2.],
           [2., 2.]]), 'b': array([0.])}
    """
    leaves, structure = tree.flatten(pytree)
    if not leaves:
        return np.zeros(0), _unravel_to(structure, [], [], np.dtype(np.float64))
    dtypes = [_dtype(leaf) for leaf in leaves]
    for position, dtype in enumerate(dtypes):
        if dtype.kind not in "biufc":
            path, leaf = tree.leaves_with_path(pytree)[position]
            what = f"ravel_pytree: the leaf at {keystr(path) or 'the top'} is no numeric array"
            raise LeafError(message(what, got=repr(leaf), do="leave it out, or make it static data of its node"))
    flat = fnp.concatenate([fnp.ravel(leaf) for leaf in leaves])
    return flat, _unravel_to(structure, [np.shape(leaf) for leaf in leaves], dtypes, np.result_type(*dtypes))


def _dtype(leaf: Any) -> np.dtype[Any]:
    return leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype


def _unravel_to(
    structure: tree.Structure, shapes: list[tuple[int, ...]], dtypes: list[np.dtype[Any]], promoted: np.dtype[Any]
) -> Callable[[Any], Any]:
    ends = list(itertools.accumulate(math.prod(shape) for shape in shapes))
    starts = [0, *ends]
    size = starts[-1]
    mixed = len(set(dtypes)) > 1

    def unravel(flat: Any) -> Any:
        if np.shape(flat) != (size,):
            do = "pass a vector like the one ravel_pytree returned"
            raise ShapeError(
                message(f"unravel: expected a vector of shape ({size},)", got=f"shape {np.shape(flat)}", do=do)
            )
        given = _dtype(flat)
        if mixed and given != promoted:
            what = f"unravel: expected a vector of dtype {promoted}, to which the leaves were promoted"
            raise DtypeError(message(what, got=given, do=f"cast it first: flat.astype({str(promoted)!r})"))

        def piece(start: int, end: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
            part = fnp.reshape(flat[start:end], shape)
            if not mixed:
                return part.astype(given)
            return (part if dtype.kind == "c" or given.kind != "c" else fnp.real(part)).astype(dtype)

        # no views of `flat`: astype copies
        return structure.unflatten([piece(*spec) for spec in zip(starts, ends, shapes, dtypes, strict=False)])

    return unravel
