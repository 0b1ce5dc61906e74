"""Functions that cannot be looked into, as primitives: how they run under vmap is stated by the caller, not derived."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..core.primitive import Primitive, space
from ..core.types import ShapedArray, shaped

METHODS = ("sequential", "expand_dims", "broadcast_all", "legacy_vectorized")


class Lanewise(Primitive):
    """A function of arrays with outputs of known types.

    Params: `out`, types of the outputs of one run; `lanes`, how often to run it, as sizes of axes in front; `carried`,
    for each operand, which of these axes it has; `method`, what becomes of a further batch axis: a run for each lane
    ("sequential"), or one run on operands with that axis, which those that are not mapped get with one element
    ("expand_dims"), by repetition ("broadcast_all") or not at all ("legacy_vectorized").
    """

    def typeof(
        self, *types: ShapedArray, out: tuple[ShapedArray, ...], lanes: tuple[int, ...], **params: Any
    ) -> tuple[ShapedArray, ...]:
        return tuple([shaped((*lanes, *t.shape), t.dtype) for t in out])

    def batch(self, size: int, mapped: Sequence[bool], *xs: Any, **params: Any) -> Any:
        out, lanes, carried, method = (params[name] for name in ("out", "lanes", "carried", "method"))
        if method == "sequential":
            lanes = (size, *lanes)
            carried = tuple([(bool(m), *axes) for m, axes in zip(mapped, carried, strict=True)])
        else:
            out = tuple([shaped((size, *t.shape), t.dtype) for t in out])
            if method != "legacy_vectorized":
                n = size if method == "broadcast_all" else 1
                pairs = zip(xs, mapped, strict=True)
                xs = tuple([x if m else space.repeat(n, x, shaped(np.shape(x), x.dtype)) for x, m in pairs])
        outs = self(*xs, **{**params, "out": out, "lanes": lanes, "carried": carried})
        return [outs] if len(out) == 1 else outs, [True] * len(out)


def empty_outputs(out: Sequence[ShapedArray], lanes: tuple[int, ...]) -> list[np.ndarray]:
    """Memory for the outputs of all lanes."""
    return [np.empty((*lanes, *t.shape), t.dtype) for t in out]


def each_lane(
    xs: Sequence[Any], lanes: tuple[int, ...], carried: tuple[tuple[bool, ...], ...]
) -> Iterator[tuple[tuple[int, ...], list[Any]]]:
    """The number of each lane, and its operands."""
    if not lanes:
        yield (), list(xs)
        return
    for lane in np.ndindex(lanes):
        yield (
            lane,
            [
                x[tuple([i for i, has in zip(lane, axes, strict=True) if has])] if type(x) is np.ndarray else x
                for x, axes in zip(xs, carried, strict=True)
            ],
        )
