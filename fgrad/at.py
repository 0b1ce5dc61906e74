"""Writes at an index as values: `x.at[i].set(v)` on tracers, `fgrad.at(x)[i].set(v)` on anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .core.handles import copied, local
from .core.trace import Tracer
from .numpy.index_calls import check_update, operand, read, write
from .numpy.writing import Selection, unknown_masks


class IndexUpdate:
    """One place of an array, and what can be made of the array there. The array itself never changes.

    Every method but `get` returns the whole array, of the same shape and dtype. `mode` says what happens to indices
    outside: "raise" (the default) raises OutOfBoundsError, under jit when it runs; "drop" (or "fill") leaves them out;
    "clip" and "wrap" move them inside; "promise_in_bounds" does not look. `indices_are_sorted` and `unique_indices`
    are accepted for programs written for JAX: nothing depends on them. Repeated positions: `add`, `subtract`,
    `multiply`, `divide`, `power`, `min` and `max` take part in all updates, `set` keeps the last.
    An update of a kind that the array cannot hold (a float for integers) raises DtypeError.
    """

    __slots__ = ("_array", "_index")

    def __init__(self, array: Any, index: Any):
        self._array = array
        self._index = index

    def get(
        self,
        *,
        indices_are_sorted: bool = False,
        unique_indices: bool = False,
        mode: str | None = None,
        fill_value: Any = None,
    ) -> Any:
        """x[index]; with mode="fill", what lies outside is `fill_value` (by default NaN, or an extreme integer).

        >>> import fgrad
        >>> fgrad.at(np.array([1.0, 2.0]))[np.array([1, 5])].get(mode="fill", fill_value=0.0)
        array([2., 0.])
        """
        out = read(self._array, self._index, mode, fill_value)
        return out.copy() if type(out) is np.ndarray and out.base is not None else out

    def apply(
        self,
        func: Callable[[Any], Any],
        *,
        indices_are_sorted: bool = False,
        unique_indices: bool = False,
        mode: str | None = None,
    ) -> Any:
        """x with x[index] = func(x[index]): once per position, also where it is named repeatedly.

        >>> import fgrad
        >>> fgrad.at(np.array([1.0, 4.0]))[1].apply(np.sqrt)
        array([1., 2.])
        """
        if unknown_masks(self._index):
            return _written(self._array, self._index, func(_own(self._array)[self._index]), "set", mode)
        found = read(self._array, self._index, "clip" if mode in ("drop", "fill") else mode)
        return write(self._array, self._index, func(found), "set", mode)


_COMBINES = {
    "add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide, "power": np.power,
    "min": np.minimum, "max": np.maximum,
}  # fmt: skip


def _own(x: Any) -> Any:
    """A traced copy, to be written."""
    x = operand(x)
    return copied(x) if type(x) is Tracer else local(np.array(x))


def _written(x: Any, index: Any, values: Any, op: str, mode: str | None) -> Any:
    """x with values set, added, ... at an index."""
    if not unknown_masks(index):
        return write(x, index, values, op, mode)
    x = _own(x)
    given = values.value if type(values) is Selection else operand(values)
    check_update(x, given if type(given) is Tracer else np.asarray(given), op)
    x[index] = values if op == "set" else _COMBINES[op](x[index], values)
    return x


def _update(name: str, op: str, sign: str, example: str) -> Callable[..., Any]:
    def update(
        self: IndexUpdate,
        values: Any,
        *,
        indices_are_sorted: bool = False,
        unique_indices: bool = False,
        mode: str | None = None,
    ) -> Any:
        return _written(self._array, self._index, values, op, mode)

    update.__name__, update.__qualname__ = name, f"IndexUpdate.{name}"
    update.__doc__ = f"""x with x[index] {sign}; `values` broadcasts to the shape of x[index].

        >>> import fgrad
        >>> fgrad.at(np.array([1.0, 2.0]))[1].{name}(3.0)
        array({example})
        """
    return update


for _name, _op, _sign, _example in (
    ("set", "set", "= values", "[1., 3.]"),
    ("add", "add", "+= values", "[1., 5.]"),
    ("subtract", "subtract", "-= values", "[ 1., -1.]"),
    ("multiply", "multiply", "*= values", "[1., 6.]"),
    ("mul", "multiply", "*= values", "[1., 6.]"),
    ("divide", "divide", "/= values", "[1.        , 0.66666667]"),
    ("power", "power", "**= values", "[1., 8.]"),
    ("min", "min", "= minimum(x[index], values)", "[1., 2.]"),
    ("max", "max", "= maximum(x[index], values)", "[1., 3.]"),
):
    setattr(IndexUpdate, _name, _update(_name, _op, _sign, _example))


class at:
    """`at(x)[index].set(v)` is a copy of `x` with `v` at the index; see `IndexUpdate` for the other methods.

    `x` is an array, a nested list or a tracer (where `x.at[index]` is the same). The index is any that NumPy takes.

    >>> import fgrad
    >>> fgrad.at(np.zeros(3))[1:].add(2.0)
    array([0., 2., 2.])
    """

    __slots__ = ("_array",)

    def __init__(self, x: Any):
        self._array = x

    def __getitem__(self, index: Any) -> IndexUpdate:
        return IndexUpdate(self._array, index)


Tracer.at = property(at, doc=at.__doc__)  # type: ignore[attr-defined]

__all__ = ["at"]
