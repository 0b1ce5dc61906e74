"""Axes as people name them, counted from either end."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

from .errors import ShapeError, message


def axis_of(name: str, axis: Any, ndim: int) -> int:
    """An axis counted from the front; `ShapeError`, which says `name`, where there is none."""
    number: int = operator.index(axis)
    if not -ndim <= number < ndim:
        raise ShapeError(
            message(
                f"{name}: axis {number} does not exist",
                got=f"an array of {ndim} dimension{'' if ndim == 1 else 's'}",
                do=f"choose an axis from {-ndim} to {ndim - 1}" if ndim else "give the array an axis first",
            )
        )
    return number + ndim if number < 0 else number


def distinct_axes(name: str, axes: Iterable[Any], ndim: int) -> tuple[int, ...]:
    """Axes counted from the front in rising order; `ShapeError` for those that do not exist or are named twice."""
    axes = tuple(axes)
    found = tuple(sorted([axis_of(name, a, ndim) for a in axes]))
    if len(set(found)) != len(found):
        raise ShapeError(message(f"{name}: an axis is named twice", got=f"axes {axes}", do="name each axis once"))
    return found
