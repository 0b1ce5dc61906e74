"""cond: one of several programs, chosen by an index that is known when it runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.effects import NONE, Effects
from ..core.errors import ShapeError, message
from ..core.ir import Jaxpr
from ..core.primitive import Region
from ..core.types import ShapedArray
from .call import execute, on_request


class Cond(Region):
    """Outputs of one of the programs `branches`, all of the same types, on the operands behind the first.

    The first operand is an int64 scalar, the number of the branch; one outside is taken for the nearest.
    """

    def typeof(self, *types: ShapedArray, branches: tuple[Jaxpr, ...]) -> tuple[ShapedArray, ...]:
        index, *rest = types
        if index.shape or index.dtype != np.int64:
            raise ShapeError(message("cond: the index must be an int64 scalar", got=index, do="convert it first"))
        if any(b.in_types != tuple(rest) or b.out_types != branches[0].out_types for b in branches):
            raise ShapeError(message("cond: branches differ in their types", got=branches, do="make them agree"))
        return branches[0].out_types

    def effects(self, *types: ShapedArray, **params: Any) -> Effects:
        return NONE.union(*[b.effects for b in params["branches"]])

    def run(self, index: Any, *xs: Any, branches: tuple[Jaxpr, ...]) -> tuple[Any, ...]:
        chosen = branches[min(max(int(index), 0), len(branches) - 1)]
        return tuple([np.array(y)[()] for y in execute(chosen, xs)])

    kernel = on_request


cond = Cond("cond")
