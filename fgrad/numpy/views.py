"""Which operations give views, as in NumPy on an array in C order, and how a write goes through views of views.

What a view is of its parent is a *step*, kept on the Call that reads it:

    ("index", pattern)     x[pattern] by ints and slices; a third entry has the operands, if the Call does not take them
    ("transpose", axes)
    ("reshape", shape)
    ("real",), ("imag",)   of complex arrays
    ("path", steps)        several of these
    None                   a read-only view: np.diagonal, np.broadcast_to

Steps from the base of a view to the view are its *path*. It is brought into a form in which writing a few elements
costs no more than those: transposes first, then one index, as far as no reshape stands between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.handles import view
from ..core.trace import Tracer, apply
from ..core.types import aval_of
from .index_pattern import ARRAY, FULL, GAP, INT, NEW, takes_operand

Step = tuple[Any, ...] | None
Items = list[tuple[Any, Any]]


def viewing(face: Any, step: Callable[..., Step]) -> Callable[..., Any]:
    """A surface function of one array whose results on tracers are views.

    `step(x, out, *statics)` gives the step; it is asked once for each Call.
    """
    function = face.function
    calls = function.calls

    def read(x: Any, *statics: Any) -> Any:
        if type(x) is not Tracer:
            return face(x, *statics)
        call = calls.get(((x.sig,), statics) if statics else (x.sig,)) or function.call((x.sig,), statics, {})
        out = apply(call, (x,))
        if not x.ndim or type(out) is not Tracer:
            return out
        if "view" not in call.derived:
            call.derived["view"] = step(x, out, *statics)
        if call.derived["view"] and call.derived["view"][0] == "reshape" and not _shares(x, call):
            return out
        return view(x, out, call, ())

    read.function = function  # type: ignore[attr-defined]
    read.__doc__ = face.__doc__
    return read


def root_of(x: Tracer) -> tuple[Tracer, list[tuple[Any, Sequence[Any]]]]:
    """The array of which `x` is a view, perhaps itself, and the (call, operands) that lead from there to it."""
    way: list[tuple[Any, Sequence[Any]]] = []
    while type(x.origin) is tuple:
        x, call, operands = x.origin
        way.append((call, operands))
    return x, way[::-1]


def _shares(x: Tracer, reshape: Any) -> bool:
    """Whether NumPy's reshape of a view is a view and no copy: tried on an array that is never read."""
    if type(x.origin) is not tuple:
        return True
    root, way = root_of(x)
    key = ("shares", root.shape, *[call for call, _ in way])
    found = reshape.derived.get(key)
    if found is None:
        tried = probe = np.empty(root.shape, np.bool_)
        for call, operands in way:
            step = call.derived["view"]
            if step is None or step[0] in ("real", "imag"):
                return False
            if step[0] == "index":
                tried = tried[_index_of(items_of(step, operands, tried.ndim))]
            else:
                tried = tried.transpose(step[1]) if step[0] == "transpose" else tried.reshape(step[1])
        found = np.may_share_memory(tried.reshape(reshape.derived["view"][1]), probe)
        reshape.derived[key] = found
    return bool(found)


def _index_of(items: Items) -> tuple[Any, ...]:
    """An index with the shape and the strides that these items give, at whatever position."""
    index: list[Any] = []
    for item, start in items:
        if item == NEW:
            index.append(None)
        elif item == FULL:
            index.append(slice(None))
        elif item in (INT, ARRAY):
            index.append(0)
        else:
            length, step = item
            end = start + (length - 1) * abs(step)
            if step > 0:
                index.append(slice(start, end + 1 if length else start, step))
            else:
                index.append(slice(end, start - 1 if start else None, step))
    return tuple(index)


def items_of(step: Sequence[Any], operands: Sequence[Any], ndim: int) -> Items:
    """The items of an index step for all axes of its array, each with its operand or None."""
    _, pattern, *fixed = step
    values = iter(fixed[0] if fixed else operands)
    items = [(item, next(values) if takes_operand(item) else None) for item in pattern]
    named = sum(item not in (NEW, GAP) and type(item) is not bool for item in pattern)
    return [*items, *[(FULL, None)] * (ndim - named)]


def joined(first: Items, second: Items) -> Items | None:
    """One index for x[first][second], where first is of ints and slices; None where there is none as cheap."""
    arrays = sum(item == ARRAY or type(item) is bool for item, _ in second)
    if (arrays and any(item == ARRAY for item, _ in first)) or any(type(item) is bool for item, _ in second):
        return None
    if arrays > 1 and any(item == INT for item, _ in first):  # it might stand between arrays that are side by side
        return None
    rest = iter(first)
    out: Items = []
    for item, operand in second:
        if item in (NEW, GAP):
            out.append((item, operand))
            continue
        for old, start in rest:
            if old not in (INT, ARRAY):
                break
            out.append((old, start))
        if old == FULL:
            out.append((item, operand))
        elif item == FULL:
            out.append((old, start))
        elif old == NEW:
            if item == INT:
                continue
            if item != (1, 1):
                return None
            out.append((NEW, None))
        else:
            found = _within(old, start, item, operand)
            if found is None:
                return None
            out.append(found)
    out.extend(rest)
    return out


def _within(window: tuple[int, int], start: int, item: Any, operand: Any) -> tuple[Any, Any] | None:
    """An item of an index into a slice, as one into the axis."""
    length, step = window
    first = start if step > 0 else start - (length - 1) * step
    if item == INT:
        return INT, first + step * operand
    if item == ARRAY:
        if type(operand) is Tracer:  # to be checked against the slice when it runs
            return None
        return ARRAY, first + step * np.where(np.less(operand, 0), operand + length, operand)
    count, stride = item
    if not count:
        return (0, 1), 0
    last = operand + (count - 1) * abs(stride)
    return (count, step * stride if count > 1 else 1), min(first + step * operand, first + step * last)


def _moved(items: Items, axes: Sequence[int]) -> tuple[tuple[int, ...], Items]:
    """x[items] transposed as (order, items'): x transposed, then x[items']."""
    numbers = iter(range(len(items)))
    numbered = [(item, start, None if item == NEW else next(numbers)) for item, start in items]
    seen = [entry for entry in numbered if entry[0] not in (INT, ARRAY)]
    order = [seen[a] for a in axes] + [entry for entry in numbered if entry[0] in (INT, ARRAY)]
    return tuple(n for _, _, n in order if n is not None), [(item, start) for item, start, _ in order]


def path_of(root: Tracer, way: Sequence[tuple[Any, Sequence[Any]]]) -> list[Any] | None:
    """The path that (call, operands) lead from an array: steps, where `Items` stand for an index. None: read-only."""
    path: list[Any] = []
    ndim = root.ndim
    for call, operands in way:
        step = call.derived["view"]
        if step is None:
            return None
        extend(path, step, operands, ndim)
        ndim = aval_of(call.out_sigs[0]).ndim
    return path


def extend(path: list[Any], step: Any, operands: Sequence[Any], ndim: int) -> None:
    """Add a step to a path that leads to an array of `ndim` axes."""
    if step[0] == "index":
        items = items_of(step, operands, ndim)
        both = joined(path[-1], items) if path and type(path[-1]) is list else None
        if both is None:
            path.append(items)
        else:
            path[-1] = both
    elif step[0] == "transpose":
        axes, moved = step[1], None
        if path and type(path[-1]) is list:
            axes, moved = _moved(path.pop(), axes)
        if path and path[-1][0] == "transpose":
            before = path.pop()[1]
            axes = tuple(before[a] for a in axes)
        if axes != tuple(range(len(axes))):
            path.append(("transpose", axes))
        if moved is not None:
            path.append(moved)
    elif step[0] == "path":
        values = iter(operands)
        for part in step[1]:
            taken = [next(values) for item in part[1] if takes_operand(item)] if part[0] == "index" else []
            extend(path, part, taken, 0)  # its patterns name all axes
    elif step[0] == "reshape" and path and path[-1][0] == "reshape":
        path[-1] = step
    else:
        path.append(step)


def statics_of(path: Sequence[Any]) -> tuple[tuple[Any, ...], list[Any]]:
    """A path as the static part that a Call is made for, and its operands."""
    steps: list[Any] = []
    operands: list[Any] = []
    for step in path:
        if type(step) is list:
            steps.append(("index", tuple([item for item, _ in step])))
            operands.extend([operand for item, operand in step if takes_operand(item)])
        else:
            steps.append(step)
    return tuple(steps), operands
