"""What x[index] and x.at[index] mean: an index is taken apart into a hashable pattern and operands known at run time.

    x[2:5, None, -1]    is the pattern ((3, 1), NEW, INT) with the operands 2 and, on an axis of size 4, 3

Lengths and steps of slices and the kind of each item are static, positions never are: `for i in range(n): x[i]` makes
one Call. Ints and slices become a window (`dynamic_slice`), index arrays a `gather`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np

from ..core.calls import Call, Function
from ..core.errors import ConcretizationError, DtypeError, OutOfBoundsError, message
from ..core.primitive import registry as p
from ..core.trace import Tracer, apply, concrete, signature
from ..core.types import ShapedArray, aval_of, canonical
from ..primitives.family import full, type_of
from ..primitives.index import inside_bounds
from .promote import broadcast, broadcast_shapes, cast
from .support import is_traced, stacked

# Items of patterns, beside (length, step) for a slice and True or False for a boolean scalar
INT = "int"
FULL = "full"
NEW = "new"
ARRAY = "array"
GAP = "gap"  # an ellipsis of no axes: like any other it separates index arrays

_PLAIN = frozenset({int, slice, type(None), type(...)})
_ZERO = np.int64(0)
_INT64 = np.dtype(np.int64)
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
                    _outside(part, axis, aval)
                if part < 0:
                    part += n
            pattern.append(ARRAY if arrays or lenient else INT)
            operands.append(part)
            axis += 1
        elif cls is slice:
            n = shape[axis]
            start, stop, step = _bounds(part, n)
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
                _mask_differs(part, axis, aval)
            operands.extend(part.nonzero())
            pattern.extend([ARRAY] * part.ndim)
            axis += part.ndim
        else:
            if type(part) is Tracer:
                dynamic = True
            elif not lenient and not _inside(part, shape[axis]):
                bad = part[(part < -shape[axis]) | (part >= shape[axis])]
                _outside(int(bad.flat[0]), axis, aval)
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
        if part.dtype == np.bool_:
            part = concrete(part, "x[mask] with a traced mask", _MASK)
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


_MASK = (
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


def _outside(i: int, axis: int, aval: ShapedArray) -> NoReturn:
    what = f"index {i} is out of bounds for axis {axis} with size {aval.shape[axis]}"
    do = 'correct the index, or choose a mode: x.at[i].get(mode="fill"), fgrad.numpy.take(x, i, mode="clip")'
    raise OutOfBoundsError(message(what, got=aval, do=do))


def _mask_differs(mask: np.ndarray, axis: int, aval: ShapedArray) -> NoReturn:
    what = f"a boolean index of shape {mask.shape} does not match the axes that it indexes, from axis {axis} on"
    do = "make the mask from the array itself, or skip axes with ':'"
    raise OutOfBoundsError(message(what, got=aval, do=do))


def _bounds(part: slice, n: int) -> tuple[int, int, int]:
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


class Layout:
    """Where the parts of an index go, for strict equations.

    `shape`: of x[index]. `lead`: shape of the index arrays together, None without any. `kept`: sizes of the window's
    axes that are not indexed by arrays (those of ints are 1), among which `lead` stands at `place`.
    """

    def __init__(self, shape: Sequence[int], pattern: Sequence[Any], operands: Sequence[Any]):
        values = iter(operands)
        self.starts: list[Any] = []
        self.sizes: tuple[int, ...] = ()
        self.strides: tuple[int, ...] = ()
        self.reversed: tuple[int, ...] = ()
        self.axes: tuple[int, ...] = ()
        self.indices: list[Any] = []
        self.kept: list[int] = []
        self.place = 0
        leads: list[tuple[int, ...]] = []
        out: list[int] = []
        out_place, ended, axis = 0, False, 0
        named = sum(item not in (NEW, GAP) and type(item) is not bool for item in pattern)
        for item in [*pattern, *[FULL] * (len(shape) - named)]:
            if item == ARRAY or type(item) is bool:
                if not leads:
                    self.place, out_place = len(self.kept), len(out)
                elif ended:  # index arrays that do not stand side by side: NumPy puts their axes in front
                    self.place = out_place = 0
            elif leads:
                ended = True
            if type(item) is bool:
                leads.append((int(item),))
                continue
            if item == NEW:
                out.append(1)
            if item in (NEW, GAP):
                continue
            start, size, step = _ZERO, shape[axis], 1
            if item == ARRAY:
                index = next(values)
                self.indices.append(index)
                self.axes += (axis,)
                leads.append(index.shape)
            elif item == INT:
                start, size = next(values), 1
            elif item != FULL:
                size, step = item
                start = next(values)
                if step < 0:
                    self.reversed += (axis,)
            if item != ARRAY:
                self.kept.append(size)
                if item != INT:
                    out.append(size)
            self.starts.append(start)
            self.sizes += (size,)
            self.strides += (abs(step),)
            axis += 1
        self.lead = broadcast_shapes(*leads) if leads else None
        self.shape = (*out[:out_place], *(self.lead or ()), *out[out_place:])
        self.whole = self.sizes == tuple(shape) and all(step == 1 for step in self.strides)
        k, r = len(self.lead or ()), len(self.kept)
        self.order = (*range(k, k + self.place), *range(k), *range(k + self.place, k + r))

    def window(self, x: Any) -> Any:
        """The part of x that ints and slices select, with all its axes."""
        if not self.whole:
            x = p.dynamic_slice(x, *self.starts, sizes=self.sizes, strides=self.strides)
        return p.rev(x, axes=self.reversed) if self.reversed else x

    def put(self, x: Any, window: Any, *, add: bool = False) -> Any:
        """x with that part replaced or added to."""
        if self.reversed:
            window = p.rev(window, axes=self.reversed)
        if self.whole:
            return p.add(x, window) if add else window
        return (p.dynamic_add_slice if add else p.dynamic_update_slice)(x, window, *self.starts, strides=self.strides)

    def arrange(self, y: Any) -> Any:
        """From `lead` in front of `kept` to the axes of x[index]."""
        if self.order != tuple(range(y.ndim)):
            y = p.transpose(y, axes=self.order)
        return y if y.shape == self.shape else p.reshape(y, shape=self.shape)

    def disarrange(self, u: Any) -> Any:
        """From the axes of x[index] to `lead` in front of `kept`."""
        lead = self.lead or ()
        inner = (*self.kept[: self.place], *lead, *self.kept[self.place :])
        if u.shape != inner:
            u = p.reshape(u, shape=inner)
        back = tuple(int(a) for a in np.argsort(self.order))
        return u if back == tuple(range(u.ndim)) else p.transpose(u, axes=back)


def _by_mode(at: Layout, mode: str) -> tuple[list[Any], Any]:
    """Index arrays of the shape `lead` that lie in their axes, and a mask of those that did (None: all)."""
    indices = [broadcast(i, at.lead) for i in at.indices]
    if mode in ("raise", "promise"):
        return indices, None
    sizes = [at.sizes[a] for a in at.axes]
    indices = [cast(i, _INT64) for i in indices]
    if mode in ("fill", "drop"):
        inside, safe = inside_bounds(indices, sizes)
        return safe, inside
    if 0 in sizes and 0 not in at.lead:
        what = f'mode="{"clip" if mode == "clamp" else mode}" needs an axis with elements'
        raise OutOfBoundsError(message(what, got=f"axes of sizes {tuple(sizes)}", do='choose mode="fill"'))
    if mode == "wrap":
        return [p.rem(i, n) for i, n in zip(indices, sizes, strict=True)], None
    if mode == "clip":  # negative indices count from the end first; in "clamp" they do not
        indices = [p.select(p.lt(i, 0), p.add(i, n), i) for i, n in zip(indices, sizes, strict=True)]
    return [p.max(p.min(i, n - 1), 0) for i, n in zip(indices, sizes, strict=True)], None


def _read(x: Any, *operands: Any, pattern: tuple[Any, ...], mode: str) -> Any:
    """x[index]; `mode` "fill" has the value for what lies outside as the first operand."""
    x = cast(x, x.dtype)
    fill, operands = (operands[0], operands[1:]) if mode == "fill" else (None, operands)
    at = Layout(x.shape, pattern, operands)
    y = at.window(x)
    if at.axes:
        fits = not (mode == "fill" and 0 in [at.sizes[a] for a in at.axes])
        indices, inside = _by_mode(at, mode) if fits else (None, None)
        if fits:
            y = p.gather(y, *indices, axes=at.axes, mode=mode if mode in ("raise", "promise") else "promise")
        if fill is not None:
            blank = broadcast(cast(fill, x.dtype), (*at.lead, *at.kept))
            y = blank if not fits else p.select(_over(inside, blank.shape), y, blank)
    elif at.lead is not None:
        y = p.broadcast_in_dim(y, shape=(*at.lead, *at.kept), dims=tuple(range(len(at.lead), len(at.lead) + y.ndim)))
    return at.arrange(y)


def _over(inside: Any, shape: tuple[int, ...]) -> Any:
    return p.broadcast_in_dim(inside, shape=shape, dims=tuple(range(inside.ndim)))


_SCATTERS = {
    "set": "scatter", "add": "scatter_add", "multiply": "scatter_mul", "min": "scatter_min", "max": "scatter_max",
}  # fmt: skip
_COMBINES = {"multiply": "mul", "divide": "div", "power": "pow", "min": "min", "max": "max"}


def _write(x: Any, u: Any, *operands: Any, pattern: tuple[Any, ...], op: str, mode: str) -> Any:
    """x with u set, added, ... at an index."""
    x = cast(x, x.dtype)
    _check_update(x, u, op)
    at = Layout(x.shape, pattern, operands)
    u = at.disarrange(broadcast(cast(u, x.dtype), at.shape))
    if op == "subtract":
        u, op = p.neg(u), "add"
    if at.lead is not None and 0 in at.lead:
        return x
    if not at.axes:
        if at.lead is not None:
            u = p.reshape(u, shape=tuple(at.kept))
        if op in ("set", "add"):
            return at.put(x, u, add=op == "add")
        return at.put(x, getattr(p, _COMBINES[op])(at.window(x), u))
    if mode == "drop" and 0 in [at.sizes[a] for a in at.axes]:
        return x
    w = at.window(x)
    if mode == "drop":
        indices, _ = [cast(broadcast(i, at.lead), _INT64) for i in at.indices], None
    else:
        indices, _ = _by_mode(at, mode)
    params = {"axes": at.axes, "mode": mode if mode in ("raise", "promise", "drop") else "promise"}
    if op in _SCATTERS:
        return at.put(x, getattr(p, _SCATTERS[op])(w, u, *indices, **params))
    factors = p.scatter_mul(full(1, type_of(w)), u, *indices, **params)
    return at.put(x, getattr(p, _COMBINES[op])(w, factors))


_RANK = {"b": 0, "i": 1, "u": 1, "f": 2, "c": 3}


def _check_update(x: Any, u: Any, op: str) -> None:
    if _RANK[u.dtype.kind] > _RANK[x.dtype.kind] or (op == "divide" and x.dtype.kind in "biu"):
        what = f"{op}: an array of {x.dtype} cannot hold the result"
        raise DtypeError(message(what, got=f"an update of {u.dtype}", do="convert the array or the update with .astype"))


class _Reads(Function):
    """Calls of x[index]. On arrays, and where no index remains to be checked, NumPy's own indexing runs."""

    def _make(self, sigs: tuple[Any, ...], statics: tuple[Any, ...], named: dict[str, Any]) -> Call:
        call = super()._make(sigs, (), {"pattern": statics[0], "mode": statics[1]})
        if statics[1] == "promise" and type(sigs[0]) is not type and sigs[0].ndim:
            return Call("getitem", call.sigs, call.out_sigs, jaxpr=call.jaxpr, run=native(statics[0]))
        return call


def native(pattern: Sequence[Any]) -> Callable[..., Any]:
    """NumPy's indexing by a pattern, as a function of the array and the operands.

    >>> native((INT, (3, -1)))(np.arange(10).reshape(2, 5), 1, 2)
    array([9, 8, 7])
    """
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
    return eval(f"lambda x, {', '.join(names)}: x[{', '.join(items) or '()'}]", {})  # type: ignore[no-any-return]


reads = _Reads(_read, None, None, "getitem")
writes = Function(_write, None, None, "at")
_FIRST = ((INT,), "promise")


def getitem(x: Tracer, index: Any) -> Any:
    """x[index] for a tracer."""
    sig = x.sig
    cls = type(index)
    if (cls is int or cls is slice) and type(sig) is not type and sig.shape:
        n = sig.shape[0]
        if cls is int:
            if not -n <= index < n:
                _outside(index, 0, sig)
            return _apply((sig, int), _FIRST, (x, index + n if index < 0 else index))
        start, stop, step = _bounds(index, n)
        if step == 1 and 0 < stop - start < n:
            return _apply((sig, int), (((stop - start, 1),), "promise"), (x, start))
    pattern, operands, dynamic = parse(aval_of(sig), index)
    sigs = tuple([int if type(i) is int else signature(i) for i in operands])
    return _apply((sig, *sigs), (pattern, "raise" if dynamic else "promise"), (x, *operands))


def _apply(sigs: tuple[Any, ...], statics: tuple[Any, ...], xs: tuple[Any, ...]) -> Any:
    return apply(reads.calls.get((sigs, statics)) or reads.call(sigs, statics, {}), xs)


_MODES = {
    None: "raise", "raise": "raise", "clip": "clip", "wrap": "wrap", "fill": "fill", "drop": "drop", "clamp": "clamp",
    "promise_in_bounds": "promise",
}  # fmt: skip


def _mode(mode: str | None, other: str, same: str) -> str:
    found = _MODES.get(mode)
    if found is None:
        do = 'choose "raise", "clip", "wrap", "fill", "drop" or "promise_in_bounds"'
        raise ValueError(message(f"there is no index mode {mode!r}", got=mode, do=do))
    return same if found == other else found


def _operand(x: Any) -> Any:
    if type(x) is Tracer:
        return x
    return canonical(stacked(x) if isinstance(x, list | tuple) else x)


def read(x: Any, index: Any, mode: str | None = None, fill_value: Any = None) -> Any:
    """x[index] for anything, with a choice of what happens outside the array."""
    chosen = _mode(mode, "drop", "fill")
    x = _operand(x)
    aval = aval_of(signature(x))
    pattern, operands, dynamic = parse(aval, index, lenient=chosen not in ("raise", "promise"))
    if chosen == "raise" and not dynamic:
        chosen = "promise"
    if chosen == "fill":
        operands = [blank(aval.dtype) if fill_value is None else _operand(fill_value), *operands]
    xs = (x, *operands)
    return _apply(tuple(map(signature, xs)), (pattern, chosen), xs)


def blank(dtype: np.dtype) -> Any:
    """What stands for no element: NaN, the lowest signed or the highest unsigned integer, True (as JAX documents)."""
    if dtype.kind in "fc":
        return dtype.type(np.nan)
    if dtype.kind == "b":
        return np.True_
    return dtype.type(np.iinfo(dtype).min if dtype.kind == "i" else np.iinfo(dtype).max)


def write(x: Any, index: Any, u: Any, op: str, mode: str | None = None) -> Any:
    """x with u set, added, ... at an index; for anything."""
    chosen = _mode(mode, "fill", "drop")
    x = _operand(x)
    pattern, operands, dynamic = parse(aval_of(signature(x)), index, lenient=chosen not in ("raise", "promise"))
    if chosen == "raise" and not dynamic:
        chosen = "promise"
    xs = (x, _operand(u), *operands)
    named = {"pattern": pattern, "op": op, "mode": chosen}
    return apply(writes.call(tuple(map(signature, xs)), (), named), xs)
