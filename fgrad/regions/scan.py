"""scan: a program run a known number of times, with values carried from one run to the next and arrays cut in slices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.effects import Effects
from ..core.errors import ShapeError, message
from ..core.ir import Jaxpr
from ..core.primitive import Region
from ..core.types import ShapedArray, shaped
from .call import execute, on_request


def stacked_type(length: int, t: ShapedArray) -> ShapedArray:
    """The type of `length` values of a type along a new axis in front."""
    return shaped((length, *t.shape), t.dtype)


def slice_type(t: ShapedArray) -> ShapedArray:
    """The type of one slice along the axis in front."""
    return shaped(t.shape[1:], t.dtype)


class Scan(Region):
    """The program `jaxpr`: consts, carry, slices -> carry, slices; run `length` times.

    Operands: the `consts` first are the same in every run; the next `carry` are what the first run starts from; the
    others have an axis of `length` in front, of which each run gets a slice, the last one first if `reverse`. Outputs:
    the carry of the last run, and arrays of the slices that the runs gave, each where its operand's slice was.
    """

    def typeof(
        self, *types: ShapedArray, jaxpr: Jaxpr, consts: int, carry: int, length: int, reverse: bool
    ) -> tuple[ShapedArray, ...]:
        split = consts + carry
        found = (*types[:split], *[slice_type(t) for t in types[split:]])
        if found != jaxpr.in_types or any(t.shape[0] != length for t in types[split:]):
            what = "scan: operands do not fit the body"
            raise ShapeError(message(what, got=f"{types} for {jaxpr.in_types}", do="make them agree"))
        if jaxpr.out_types[:carry] != types[consts:split]:
            what = "scan: the body changes the type of its carry"
            got = f"{jaxpr.out_types[:carry]} from {types[consts:split]}"
            raise ShapeError(message(what, got=got, do="make them agree"))
        return (*types[consts:split], *[stacked_type(length, t) for t in jaxpr.out_types[carry:]])

    def effects(self, *types: ShapedArray, **params: Any) -> Effects:
        return params["jaxpr"].effects

    def run(
        self, *xs: Any, jaxpr: Jaxpr, consts: int, carry: int, length: int, reverse: bool
    ) -> tuple[Any, ...]:
        same, state, slices = xs[:consts], list(xs[consts : consts + carry]), xs[consts + carry :]
        stacks = [np.empty((length, *t.shape), t.dtype) for t in jaxpr.out_types[carry:]]
        for i in reversed(range(length)) if reverse else range(length):
            outs = execute(jaxpr, [*same, *state, *[x[i] for x in slices]])
            state = list(outs[:carry])
            for stack, y in zip(stacks, outs[carry:], strict=True):
                stack[i] = y
        return (*[np.array(x)[()] for x in state], *stacks)

    kernel = on_request


scan = Scan("scan")
