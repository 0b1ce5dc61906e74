"""Taking an index apart: into a hashable pattern, which a Call is made for, and operands that are known at run time.

    x[2:5, None, -1]    is the pattern ((3, 1), NEW, INT) with the operands 2 and, on an axis of size 4, 3

Lengths and steps of slices and the kind of each item are static, positions never are: `for i in range(n): x[i]` makes
one Call.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np

from ..core.errors import ConcretizationError, DtypeError, OutOfBoundsError, message
from ..core.handles import settled
from ..core.trace import Tracer, concrete
from ..core.types import ShapedArray, canonical
from .support import is_traced, stacked

# Items of patterns, beside (length, step) for a slice and True or False for a boolean scalar
INT = "int"
FULL = "full"
NEW = "new"
ARRAY = "array"
GAP = "gap"  # an ellipsis of no axes: like any other it separates index arrays


def takes_operand(item: Any) -> bool:
    """Whether an item of a pattern has an operand."""
    return item not in (FULL, NEW, GAP) and type(item) is not bool


_PLAIN = frozenset({int, slice, type(None), type(...)})
_INVALID = "only integers, slices (`:`), ellipsis (`...`), None and integer or boolean arrays are valid indices"


def parse(aval: ShapedArray, index: Any, lenient: bool = False) -> tuple[tuple[Any, ...], list[Any], bool]:
    """(pattern, operands, whether some operand is traced and so remains to be checked) of an index into such an array.

    Known positions outside the array raise `OutOfBoundsError`; not if `lenient`, where ints are operands as they are.
    """
    parts = index if type(index) is tuple else (index,)
    arrays = False
    for part in parts:
        if type(part) not in _PLAIN:
            parts = [_regular(part) for part in parts]
            arrays = any(type(part) is bool or getattr(part, "ndim", 0) for part in parts)
            break
    shape = aval.shape
    pattern: list[Any] = []
    operands: list[Any] = []
    axis, dynamic = 0, False
    for part in parts:
        cls = type(part)
        if part is None:
            pattern.append(NEW)
        elif cls is bool:
            pattern.append(part)
        elif part is ...:
            gap = _gap(aval, parts)
            pattern.extend([FULL] * gap or [GAP] * arrays)
            axis += gap
        elif axis >= len(shape):
            _too_many(aval, parts)
        elif cls is int:
            n = shape[axis]
            if not lenient:
                if not -n <= part < n:
                    outside(part, axis, aval)
                if part < 0:
                    part += n
            pattern.append(ARRAY if arrays or lenient else INT)
            operands.append(part)
            axis += 1
        elif cls is slice:
            n = shape[axis]
            start, stop, step = bounds(part, n)
            length = len(range(start, stop, step))
            if length == n and step == 1:
                pattern.append(FULL)
            else:
                if length <= 1:
                    step, start = 1, start if length else 0
                pattern.append((length, step))
                operands.append(start if step > 0 else start + (length - 1) * step)
            axis += 1
        elif part.dtype == np.bool_:
            if shape[axis : axis + part.ndim] != part.shape:
                mask_differs(part, axis, aval)
            operands.extend(part.nonzero())
            pattern.extend([ARRAY] * part.ndim)
            axis += part.ndim
        else:
            if type(part) is Tracer:
                dynamic = True
            elif not lenient and not _inside(part, shape[axis]):
                bad = part[(part < -shape[axis]) | (part >= shape[axis])]
                outside(int(bad.flat[0]), axis, aval)
            pattern.append(ARRAY)
            operands.append(part)
            axis += 1
    return tuple(pattern), operands, dynamic


def _regular(part: Any) -> Any:
    """An item of an index as int, slice, None, ..., bool, an ndarray with axes, or a tracer of integers."""
    if type(part) in _PLAIN or type(part) is bool:
        return part
    if isinstance(part, list | tuple):
        part = stacked(part) if is_traced(part) else np.asarray(part) if len(part) else np.empty(0, np.int64)
    if type(part) is Tracer:
        part = settled(part)
        if type(part) is not Tracer:
            return _regular(part)
        if part.dtype == np.bool_:
            part = concrete(part, "x[mask] with a traced mask", MASK)
            return bool(part) if np.ndim(part) == 0 else np.asarray(part)
        if part.dtype.kind not in "iu":
            _no_index(part.aval)
        return part
    if isinstance(part, np.bool_):
        return bool(part)
    if isinstance(part, np.ndarray):
        if part.dtype.kind not in "biu":
            _no_index(f"an array of {part.dtype}")
        if part.ndim:
            return canonical(part)
        return bool(part) if part.dtype == np.bool_ else int(part)
    try:
        return operator.index(part)
    except TypeError:
        _no_index(type(part).__name__)


MASK = (
    "use fgrad.numpy.where(mask, x, fill), or sums with where=mask; or make the length static: "
    "fgrad.numpy.nonzero(mask, size=n), fgrad.numpy.compress(mask, x, size=n)"
)


def _no_index(got: Any) -> NoReturn:
    raise DtypeError(message(_INVALID, got=got, do="convert the index with .astype(int)")) from None


def _gap(aval: ShapedArray, parts: Sequence[Any]) -> int:
    """Number of axes for which `...` stands."""
    if sum(part is ... for part in parts) > 1:
        what = "an index can only have a single ellipsis ('...')"
        raise OutOfBoundsError(message(what, got=aval, do="name the axes of one of them with ':'"))
    gap = aval.ndim - sum(map(_consumes, parts))
    if gap < 0:
        _too_many(aval, parts)
    return gap


def _consumes(part: Any) -> int:
    """Number of axes that an item of an index is for."""
    if part is None or part is ... or type(part) is bool:
        return 0
    return part.ndim if type(part) is np.ndarray and part.dtype == np.bool_ else 1


def _too_many(aval: ShapedArray, parts: Sequence[Any]) -> NoReturn:
    what = f"too many indices: the array is {aval.ndim}-dimensional, but {sum(map(_consumes, parts))} were indexed"
    raise OutOfBoundsError(message(what, got=aval, do="index fewer axes, or insert some with None"))


def outside(i: int, axis: int, aval: ShapedArray) -> NoReturn:
    """Raise the error for a position outside its axis."""
    what = f"index {i} is out of bounds for axis {axis} with size {aval.shape[axis]}"
    do = 'correct the index, or choose a mode: x.at[i].get(mode="fill"), fgrad.numpy.take(x, i, mode="clip")'
    raise OutOfBoundsError(message(what, got=aval, do=do))


def mask_differs(mask: Any, axis: int, aval: ShapedArray) -> NoReturn:
    """Raise the error for a mask whose shape is not that of the axes that it stands for."""
    what = f"a boolean index of shape {mask.shape} does not match the axes that it indexes, from axis {axis} on"
    do = "make the mask from the array itself, or skip axes with ':'"
    raise OutOfBoundsError(message(what, got=aval, do=do))


def bounds(part: slice, n: int) -> tuple[int, int, int]:
    """Start, stop and step of a slice of an axis of size n."""
    try:
        return part.indices(n)
    except ConcretizationError:
        what = "x[i:j] with traced bounds is not possible: the length of the result would not be known"
        do = "use fgrad.lax.dynamic_slice_in_dim(x, i, length), or x[i + np.arange(length)], or mask with where"
        raise ConcretizationError(message(what, got=part, do=do)) from None


def _inside(i: np.ndarray, n: int) -> bool:
    if not i.size:
        return True
    if i.dtype.kind == "i":  # seen as unsigned, negative numbers are large ones: mostly one pass is enough
        largest = np.maximum.reduce(i.view(f"u{i.itemsize}"), axis=None)
        return bool(largest < n or (i.min() >= -n and i.max() < n))
    return bool(i.max() < n)


def native(pattern: Sequence[Any]) -> Callable[..., Any]:
    """NumPy's indexing by a pattern, as a function of the array and the operands.

    >>> native((INT, (3, -1)))(np.arange(10).reshape(2, 5), 1, 2)
    array([9, 8, 7])
    """
    names, index = _source(pattern)
    return eval(f"lambda x, {', '.join(names)}: x[{index}]", {})  # type: ignore[no-any-return]


def native_write(pattern: Sequence[Any]) -> Callable[..., Any]:
    """NumPy's assignment at a pattern, as a function of the array, the value and the operands.

    >>> native_write((INT, (2, 1)))(np.zeros((2, 3)), 5.0, 1, 0)
    array([[0., 0., 0.],
           [5., 5., 0.]])
    """
    names, index = _source(pattern)
    space: dict[str, Any] = {}
    exec(f"def write(x, u, {', '.join(names)}):\n    x[{index}] = u\n    return x", space)
    return space["write"]  # type: ignore[no-any-return]


def _source(pattern: Sequence[Any]) -> tuple[list[str], str]:
    """Names of the operands of a pattern, and the index as Python source."""
    names: list[str] = []
    items = []
    for item in pattern:
        if item in (NEW, FULL, GAP) or type(item) is bool:
            items.append({NEW: "None", FULL: ":", GAP: "..."}.get(item, str(item)))
            continue
        i = f"i{len(names)}"
        names.append(i)
        if item in (INT, ARRAY):
            items.append(i)
            continue
        length, step = item
        span = (length - 1) * abs(step) + 1 if length else 0
        items.append(f"{i}:{i} + {span}:{step}" if step > 0 else f"{i} + {span - 1}:{i} - 1 if {i} else None:{step}")
    return names, ", ".join(items) or "()"
