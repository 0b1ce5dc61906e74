"""Permutations as LAPACK gives them: sequences of row exchanges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.errors import ShapeError, message
from ..core.primitive import Primitive
from ..core.types import ShapedArray, shaped


class LuPivotsToPermutation(Primitive):
    """The order of the `rows` after exchanging row k with row pivots[..., k] for k = 0, 1, ...; of their dtype."""

    def typeof(self, pivots: ShapedArray, *, rows: int) -> tuple[ShapedArray, ...]:
        if not pivots.ndim or pivots.shape[-1] > rows or pivots.dtype.kind not in "iu":
            what = f"lu_pivots_to_permutation: needs at most {rows} integer pivots along the last axis"
            raise ShapeError(message(what, got=pivots, do="pass what lu gave, and the number of its rows"))
        return (shaped((*pivots.shape[:-1], rows), pivots.dtype),)

    def run(self, pivots: Any, *, rows: int) -> tuple[Any, ...]:
        lead = pivots.shape[:-1]
        out = np.empty((*lead, rows), pivots.dtype)
        for i in np.ndindex(lead):
            order = list(range(rows))
            for k, j in enumerate(pivots[i].tolist()):
                order[k], order[j] = order[j], order[k]
            out[i] = order
        return (out,)

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], pivots: Any, *, rows: int) -> Sequence[Any]:
        return (None,)

    def batch(self, size: int, mapped: Sequence[bool], pivots: Any, **params: Any) -> Any:
        return [self(pivots, **params)], [True]

    def samples(self, draw: Any) -> Any:
        n = draw.integer(0, 4)
        return [draw.integers((*draw.shape(max_dims=1), n), 0, max(n - 1, 0))], {"rows": n + draw.integer(0, 2)}


lu_pivots_to_permutation = LuPivotsToPermutation("lu_pivots_to_permutation")
