"""What x[index] and x.at[index] compute: Calls for the patterns that indices are taken apart into.

Ints and slices become a window (`dynamic_slice`), index arrays a `gather`; writes likewise, with their scatters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from weakref import ref

import numpy as np

from ..core.calls import LIMIT, Call, Function
from ..core.errors import DtypeError, OutOfBoundsError, message
from ..core.handles import STALE, WRITTEN, tidy, view
from ..core.primitive import registry as p
from ..core.trace import Tracer, apply, leaked, signature, state
from ..core.types import aval_of, canonical
from ..primitives.family import full, type_of
from ..primitives.index import inside_bounds
from .index_pattern import ARRAY, FULL, GAP, INT, NEW, bounds, native, native_write, outside, parse, takes_operand
from .promote import broadcast, broadcast_shapes, cast
from .support import stacked
from .views import extend, path_of, root_of, statics_of

_ZERO = np.int64(0)
_INT64 = np.dtype(np.int64)


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
    if mode == "fill":
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


def _read(x: Any, *operands: Any, pattern: tuple[Any, ...], mode: str, path: tuple[Any, ...] = ()) -> Any:
    """x[index]; `mode` "fill" has the value for what lies outside as the first operand; `path` as in `_write`."""
    x = cast(x, x.dtype)
    if path:
        x, operands = _forward(x, path[0], operands)
        return _read(x, *operands, pattern=pattern, mode=mode, path=path[1:])
    fill, operands = (operands[0], operands[1:]) if mode == "fill" else (None, operands)
    at = Layout(x.shape, pattern, operands)
    y = at.window(x)
    shape = (*(at.lead or ()), *at.kept)
    if mode == "fill" and 0 in [at.sizes[a] for a in at.axes]:
        y = broadcast(cast(fill, x.dtype), shape)
    elif at.axes:
        indices, inside = _by_mode(at, mode)
        y = p.gather(y, *indices, axes=at.axes, mode="raise" if mode == "raise" else "promise")
        if inside is not None:
            inside = p.broadcast_in_dim(inside, shape=shape, dims=tuple(range(inside.ndim)))
            y = p.select(inside, y, broadcast(cast(fill, x.dtype), shape))
    elif at.lead is not None:
        y = p.broadcast_in_dim(y, shape=shape, dims=tuple(range(len(at.lead), len(shape))))
    return at.arrange(y)


_SCATTERS = {
    "set": "scatter", "add": "scatter_add", "multiply": "scatter_mul", "min": "scatter_min", "max": "scatter_max",
}  # fmt: skip
_COMBINES = {"multiply": "mul", "divide": "div", "power": "pow", "min": "min", "max": "max"}


def _write(
    x: Any, u: Any, *operands: Any, pattern: tuple[Any, ...], op: str, mode: str, path: tuple[Any, ...] = ()
) -> Any:
    """x with u set, added, ... at an index; `path` leads to the view of x that is indexed (see `views`)."""
    x = cast(x, x.dtype)
    if path:
        return _through(x, path, operands, lambda y, rest: _write(y, u, *rest, pattern=pattern, op=op, mode=mode))
    check_update(x, u, op)
    at = Layout(x.shape, pattern, operands)
    extra = len(u.shape) - len(at.shape)
    if extra > 0 and op == "set" and u.shape[:extra] == (1,) * extra:  # as in NumPy's assignment
        u = p.reshape(cast(u, u.dtype), shape=u.shape[extra:])
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
    if mode == "drop":  # the scatter itself leaves out what lies outside
        indices = [cast(broadcast(i, at.lead), _INT64) for i in at.indices]
    else:
        indices, _ = _by_mode(at, mode)
    params = {"axes": at.axes, "mode": mode if mode in ("raise", "drop") else "promise"}
    if op in _SCATTERS:
        return at.put(x, getattr(p, _SCATTERS[op])(w, u, *indices, **params))
    factors = p.scatter_mul(full(1, type_of(w)), u, *indices, **params)
    return at.put(x, getattr(p, _COMBINES[op])(w, factors))


def _through(x: Any, path: tuple[Any, ...], operands: Sequence[Any], change: Any) -> Any:
    """x, of which what `path` leads to is y, with change(y, operands that the path does not take) in its place."""
    if not path:
        return change(x, operands)
    step, rest = path[0], path[1:]
    y, others = _forward(x, step, operands)
    y = _through(y, rest, others, change)
    if step[0] == "transpose":
        return p.transpose(y, axes=tuple(step[1].index(a) for a in range(x.ndim)))
    if step[0] == "reshape":
        return p.reshape(y, shape=x.shape)
    if step[0] == "real":
        return p.complex(y, p.imag(x))
    if step[0] == "imag":
        return p.complex(p.real(x), y)
    mine = operands[: len(operands) - len(others)]
    return _write(x, y, *mine, pattern=step[1], op="set", mode=_checking(step[1]))


def _forward(x: Any, step: tuple[Any, ...], operands: Sequence[Any]) -> tuple[Any, Sequence[Any]]:
    """What a step leads to from x, and the operands that it does not take."""
    if step[0] == "transpose":
        return p.transpose(x, axes=step[1]), operands
    if step[0] == "reshape":
        return p.reshape(x, shape=step[1]), operands
    if step[0] in ("real", "imag"):
        return (p.real if step[0] == "real" else p.imag)(x), operands
    count = sum(map(takes_operand, step[1]))
    y = _read(x, *operands[:count], pattern=step[1], mode=_checking(step[1]))
    return y, operands[count:]


def _checking(pattern: tuple[Any, ...]) -> str:
    """The mode of an index by ints and slices, whose only index arrays are traced numbers."""
    return "raise" if ARRAY in pattern else "promise"


_RANK = {"b": 0, "i": 1, "u": 1, "f": 2, "c": 3}


def check_update(x: Any, u: Any, op: str) -> None:
    if _RANK[u.dtype.kind] > _RANK[x.dtype.kind] or (op == "divide" and x.dtype.kind in "biu"):
        what = f"{op}: an array of {x.dtype} cannot hold the result"
        raise DtypeError(message(what, got=f"an update of {u.dtype}", do="convert one of them with .astype"))


class _Reads(Function):
    """Calls of x[index]. On arrays, and where no index remains to be checked, NumPy's own indexing runs."""

    def _make(self, sigs: tuple[Any, ...], statics: tuple[Any, ...], named: dict[str, Any]) -> Call:
        pattern, mode, *path = statics
        call = super()._make(sigs, (), {"pattern": pattern, "mode": mode, "path": path[0] if path else ()})
        if path:
            call.derived["view"] = ("path", (*path[0], ("index", pattern)))
            return call
        if mode == "promise" and type(sigs[0]) is not type and sigs[0].ndim:
            call = Call("getitem", call.sigs, call.out_sigs, jaxpr=call.jaxpr, run=native(pattern))
        kinds = iter(sigs[1:])
        arrays = [aval_of(next(kinds)).ndim > 0 for item in pattern if takes_operand(item)]
        if not any(arrays) and mode in ("promise", "raise") and not any(type(item) is bool for item in pattern):
            call.derived["view"] = ("index", pattern)
        return call


reads = _Reads(_read, None, None, "getitem")


class _Writes(Function):
    """Calls of x with u written at an index. Into memory of its own NumPy's assignment does it."""

    def _make(self, sigs: tuple[Any, ...], statics: tuple[Any, ...], named: dict[str, Any]) -> Call:
        call = super()._make(sigs, statics, named)
        if named["op"] == "set" and named["mode"] == "promise" and "path" not in named and type(sigs[0]) is not type:
            call.derived["write"] = native_write(named["pattern"])
        return call


writes = _Writes(_write, None, None, "at")


class _Masks:
    """A slot for what x[index] is where a mask is not known (else None), which the module that can write such fills."""

    select: Callable[[Tracer, Any], Any]


masks = _Masks()


def getitem(x: Tracer, index: Any) -> Any:
    """x[index] for a tracer."""
    trace = x.owner
    if trace.done:
        return _getitem_through(x, index)
    sig = x.sig
    cls = type(index)
    if (cls is int or cls is slice) and type(sig) is not type and sig.shape:  # the common ones, without detours
        n = sig.shape[0]
        pattern: Any = None
        if cls is int:
            if not -n <= index < n:
                outside(index, 0, sig)
            pattern, start = INT, index + n if index < 0 else index
        else:
            start, stop, step = bounds(index, n)
            if step == 1 and 0 < stop - start < n:
                pattern = (stop - start, 1)
        if pattern is not None:
            call = _HEADS.get((sig, pattern)) or _head(sig, pattern)
            builder = state.builder
            if builder is not None and builder.level > trace.level:
                trace = builder
            out = trace.apply2(call, x, start)
            if pattern is INT and sig.ndim == 1:
                return out
            if type(out) is not Tracer or x.views is None or type(x.origin) is tuple or x.origin is WRITTEN:
                return view(x, out, call, (start,))
            out.origin = (x, call, (start,))  # as `view` does it
            x.views.append(ref(out))
            if not len(x.views) & 15:
                tidy(x.views)
            return out
    if cls is Tracer or (cls is tuple and Tracer in map(type, index)):
        selected = masks.select(x, index)
        if selected is not None:
            return selected
    pattern, operands, dynamic = parse(aval_of(sig), index)
    return _get(x, (pattern, "raise" if dynamic else "promise"), operands, index)


def _get(x: Tracer, statics: tuple[Any, ...], operands: Sequence[Any], index: Any) -> Any:
    """x at a pattern, in a mode, perhaps behind a path; `index` is what the user wrote."""
    sigs = (x.sig, *[int if type(i) is int else signature(i) for i in operands])
    call = reads.calls.get((sigs, statics)) or reads.call(sigs, statics, {})
    out = apply(call, (x, *operands))
    return view(x, out, call, operands) if "view" in call.derived and _is_array(out, index) else out


def _is_array(out: Any, index: Any) -> bool:
    """Whether x[index], by ints and slices, is no number: in NumPy an ellipsis makes it an array, also of no axes."""
    return bool(out.ndim) or index is ... or (type(index) is tuple and any([i is ... for i in index]))


def _getitem_through(x: Tracer, index: Any) -> Any:
    """x[index] of a stale view: read from its base, so that x need not be read whole."""
    if x.owner is not STALE:
        raise leaked(x)
    pattern, operands, _ = parse(x.aval, index)
    basic = not any([type(item) is bool for item in pattern]) and not any([np.ndim(i) for i in operands])
    root, way = root_of(x)
    path = path_of(root, way)
    if path is None or not basic:
        x.owner.revive(x)
        return getitem(x, index)
    extend(path, ("index", pattern), operands, x.ndim)
    steps, operands = statics_of(path)
    mode = "raise" if any([type(i) is Tracer for i in operands]) else "promise"
    statics = (steps[-1][1], mode) if len(steps) == 1 else (steps[-1][1], mode, steps[:-1])
    return _get(root, statics, operands, index)


def _head(sig: Any, pattern: Any) -> Call:
    """The Call of x[i] (pattern INT) or x[a:b] (its length and step), and keep it."""
    if len(_HEADS) >= LIMIT:
        _HEADS.clear()
    call = _HEADS[sig, pattern] = reads.call((sig, int), ((pattern,), "promise"), {})
    return call


_HEADS: dict[Any, Call] = {}


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


def operand(x: Any) -> Any:
    """What a user passes for an array as an operand: a tracer, a native array or a number."""
    if type(x) is Tracer:
        return x
    return canonical(stacked(x) if isinstance(x, list | tuple) else x)


def read(x: Any, index: Any, mode: str | None = None, fill_value: Any = None) -> Any:
    """x[index] for anything, with a choice of what happens outside the array."""
    chosen = _mode(mode, "drop", "fill")
    x = operand(x)
    aval = aval_of(signature(x))
    pattern, operands, dynamic = parse(aval, index, lenient=chosen not in ("raise", "promise"))
    if chosen == "raise" and not dynamic:
        chosen = "promise"
    if chosen == "fill":
        operands = [blank(aval.dtype) if fill_value is None else operand(fill_value), *operands]
    xs = (x, *operands)
    return apply(reads.call(tuple(map(signature, xs)), (pattern, chosen), {}), xs)


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
    x = operand(x)
    pattern, operands, dynamic = parse(aval_of(signature(x)), index, lenient=chosen not in ("raise", "promise"))
    if chosen == "raise" and not dynamic:
        chosen = "promise"
    xs = (x, operand(u), *operands)
    named = {"pattern": pattern, "op": op, "mode": chosen}
    return apply(writes.call(tuple(map(signature, xs)), (), named), xs)
