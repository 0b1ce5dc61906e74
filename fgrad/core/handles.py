"""Arrays that can be written: tracers whose value changes, their views, and arrays that belong to no trace yet.

A tracer is a handle. A write computes the new value as an operation on the old one and lets the tracer stand for it:
what was recorded before refers to values, never to handles, and so does not change.

*Views.* A view remembers the operation that read it, as `origin`. A write makes all views of its base stale; a stale
view is read again where it is next used. So each write costs as much as there were views used since the last one.

*Memory.* An eager tape computes with ndarrays. A write goes into the memory of the old value if nothing else refers
to it: no entry of the tape that saved it, no result, no other tracer. CPython counts references, and views of an
ndarray refer to it, so this is known; else the array is copied once and the copy is written from then on.

*Local arrays* are those that belong to no trace yet: known values (what `fgrad.numpy.zeros` makes inside a
transformation) and values of an outer trace. They are written like any array of the innermost trace, and become its
own when what is written is traced.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any
from weakref import ref

import numpy as np

from .calls import Call, renderer
from .trace import Trace, Tracer, apply, signature, state

# Origins of tracers that are no views: what the user's function was given, and what was written into its own memory
ARGUMENT = "argument"
WRITTEN = "written"


class _Stale(Trace):
    """Owner of views that a write has made stale. It is done, so whoever meets one has it read again."""

    level = 0
    done = True

    def __init__(self) -> None:
        pass

    def revive(self, x: Tracer) -> Trace:
        """Read a view again, with all stale views that it is a view of."""
        views = [x]
        while views[-1].origin[0].owner is self:
            views.append(views[-1].origin[0])
        builder = state.builder
        state.builder = home(views[-1].origin[0]).builder
        try:
            for view in reversed(views):
                parent, call, operands = view.origin
                stand(view, apply(call, (parent, *operands)), home(parent))
                _attach(view)
        finally:
            state.builder = builder
        owner: Trace = x.owner
        return owner

    def peek(self, x: Tracer) -> Any:
        return self.revive(x).peek(x)

    def independent(self, x: Tracer) -> Any:
        return self.revive(x).independent(x)


class _Local(Trace):
    """Arrays of no trace: `value` is an ndarray or a tracer of an outer trace, `slot` the trace that may write them.

    An operation on them is that on their values; where all operands are such, its result is again one.
    """

    level = math.inf
    done = False
    concrete = True

    def __init__(self) -> None:
        pass

    def independent(self, x: Tracer) -> Any:
        value = x.value
        return value.owner.independent(value) if type(value) is Tracer else value

    def apply(self, call: Call, xs: Sequence[Any]) -> Any:
        values, foreign = [], False
        for x in xs:
            if type(x) is Tracer:
                if x.owner is self:
                    x = x.value
                else:
                    foreign = True
            values.append(x)
        out = apply(call, values)
        if call.single:
            return out if foreign and type(out) is not Tracer else local(out)
        return tuple([y if foreign and type(y) is not Tracer else local(y) for y in out])

    def overwrite(self, call: Call, x: Tracer, rest: Sequence[Any]) -> bool:
        values = [r.value if type(r) is Tracer and r.owner is self else r for r in rest]
        if type(x.value) is Tracer or Tracer in map(type, values):
            return False
        x.value = written(x, call, values)
        return True


STALE = _Stale()
LOCAL = _Local()


def local(x: Any) -> Any:
    """An array made under the innermost trace that is not the trace's own: as one that may be written there.

    Anything else, and numbers, as they are.
    """
    trace = state.trace
    if trace is None or not (type(x) is np.ndarray or (type(x) is Tracer and x.owner is not trace)) or not x.ndim:
        return x
    return Tracer(LOCAL, signature(x), x, trace)


def untouched(x: Any) -> Any:
    """A result of an operation that does not depend on what the innermost trace traces; it may be written there."""
    return local(fresh(x)) if type(x) is Tracer else x


def settled(x: Tracer) -> Any:
    """A tracer as a transformation takes it in or gives it out: no stale view; the value of a local array."""
    if x.owner is STALE:
        x.owner.revive(x)
    return x.value if x.owner is LOCAL else x


def fresh(x: Tracer) -> Tracer:
    """Another handle to the present value: writes to one do not change the other."""
    if x.owner is STALE:
        x.owner.revive(x)
    return Tracer(x.owner, x.sig, x.value, x.slot)


def copied(x: Tracer) -> Tracer:
    """A copy that may be written under the innermost trace. Nothing is computed: both share the value until then."""
    x = fresh(x)
    if state.trace is None or x.owner is state.trace:
        return x
    return Tracer(LOCAL, x.sig, x.value if x.owner is LOCAL else x, state.trace)


Tracer.__copy__ = copied  # type: ignore[attr-defined]
Tracer.__deepcopy__ = lambda self, memo: copied(self)  # type: ignore[attr-defined]


def argument(x: Tracer) -> Tracer:
    """Mark a tracer as what the user's function was given: only a copy of it may be written."""
    x.origin = ARGUMENT
    return x


def home(x: Tracer) -> Any:
    """The trace in which an array may be written: the one that made it."""
    return x.slot if x.owner is LOCAL else x.owner


# --------------------------------------------------------------------------------------------------------------- views


def view(parent: Tracer, out: Any, call: Call, operands: Sequence[Any]) -> Any:
    """`out`, the result of call(parent, *operands), as a view: it changes with the parent."""
    if type(out) is not Tracer:
        if parent.owner is not LOCAL:
            return out
        out = Tracer(LOCAL, call.out_sigs[0], out, parent.slot)  # of no axes
    out.origin = (parent, call, operands)
    if parent.origin is WRITTEN or type(parent.origin) is tuple:
        _attach(out)
    elif parent.views is None:
        parent.views = [ref(out)]
    else:
        views = parent.views
        views.append(ref(out))
        if not len(views) & 15:
            tidy(views)
    return out


def _attach(out: Tracer) -> None:
    """Let the next write to the array of which `out` is a view reach it."""
    root = out.origin[0]
    while type(root.origin) is tuple:
        root = root.origin[0]
    value = out.value
    if root.origin is WRITTEN and type(value) is np.ndarray and value.base is not None and value.size < root.size:
        out.value = value.copy()  # what a tape saves of it shall not keep the root's memory from being written
    if root.views is None:
        root.views = [ref(out)]
    else:
        root.views.append(ref(out))
        tidy(root.views)


def tidy(views: list[Any]) -> None:
    """Drop references to dead views, each time their number has reached a power of two."""
    count = len(views)
    if count > 15 and not count & (count - 1):
        views[:] = [r for r in views if r() is not None]


def live_views(x: Tracer) -> list[Tracer]:
    """The views of an array, and views of these, that somebody still holds and that saw its last write."""
    return [v for r in x.views or () if (v := r()) is not None]


def _outdate(x: Tracer) -> None:
    """Make all views of an array stale, and with them views of these."""
    if x.views is not None:
        for v in live_views(x):
            v.owner, v.value, v.slot = STALE, None, None
        x.views = None


# -------------------------------------------------------------------------------------------------------------- writes


def stand(x: Tracer, new: Any, owner: Any) -> None:
    """Let `x` stand for a value: a tracer, or an array that is not of its trace `owner`."""
    if type(new) is Tracer:
        if new.owner is owner:
            x.owner, x.value, x.slot = owner, new.value, new.slot
            return
        if new.owner is LOCAL:
            new = new.value
    x.owner, x.value, x.slot = LOCAL, new, owner


def replace(x: Tracer, new: Any) -> None:
    """Give an array another value of its type, as a whole."""
    owner = home(x)
    _outdate(x)
    stand(x, new, owner)


def adopt(x: Tracer, new: Any) -> None:
    """Let a view that was just written as a whole stand for what was written, so that it need not be read again."""
    root = x.origin[0]
    while type(root.origin) is tuple:
        root = root.origin[0]
    stand(x, new, home(root))
    _attach(x)


def rewrite(x: Tracer, call: Call, rest: Sequence[Any]) -> None:
    """Let an array that is no view stand for call(x, *rest); in its own memory where that can be."""
    rest = [fresh(r) if type(r) is Tracer and type(r.origin) is tuple else r for r in rest]
    owner = home(x)
    _outdate(x)
    if x.owner.overwrite(call, x, rest):
        if x.origin is None:
            x.origin = WRITTEN
    else:
        stand(x, apply(call, (x, *rest)), owner)


def written(x: Tracer, call: Call, rest: Sequence[Any]) -> np.ndarray:
    """call(x, *rest) on ndarrays, in the memory of x's value if nothing else refers to that, else in that of a copy."""
    if sys.getrefcount(x.value) > _ALONE or x.value.base is not None or not x.value.flags.writeable:
        x.value = np.array(x.value, order="C")
    write = call.derived.get("write")
    if write is None:
        write = call.derived["write"] = renderer.render_writing(call)
    value: np.ndarray = x.value
    out = write(value, *rest)
    if out is value or (out.base is value and out.shape == value.shape and out.strides == value.strides):
        return value  # type: ignore[no-any-return]
    copy: np.ndarray = np.array(out, order="C")
    return copy  # the whole array was replaced, perhaps by what belongs to somebody else


_probe = Tracer(None, float, np.empty(1))
_ALONE = sys.getrefcount(_probe.value)  # of an array to which one tracer refers
