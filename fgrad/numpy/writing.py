"""Writes into traced arrays: x[i] = v, x += y, out=x, np.copyto, np.add.at, x.sort() and their relatives.

They do what NumPy does to an array in C order: every view of the array changes with it, and a write through a view
changes its base. Only an array that the innermost transformed function made may be written. The exception are in-place
operators: `x += y` gives an argument, under all its names, another value inside the function (the caller's array stays
as it is), and makes a new array of one that an outer function made, as in JAX.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np

from ..core.calls import LIMIT, Call
from ..core.errors import ConcretizationError, DtypeError, MutationError, ShapeError, message
from ..core.handles import ARGUMENT, LOCAL, STALE, adopt, fresh, home, live_views, replace, rewrite
from ..core.trace import Tracer, concrete, peek, same, signature, state
from .creation import astype
from .index_calls import operand, writes
from .index_pattern import FULL, INT, MASK, mask_differs, parse
from .shapes import reshape_call
from .support import where_call
from .views import extend, path_of, root_of, statics_of

RANK = {"b": 0, "i": 1, "u": 1, "f": 2, "c": 3}  # kinds of dtypes, from those that fit into the next


# ------------------------------------------------------------------------------------------------- what may be written


def target(x: Tracer, what: str) -> tuple[Tracer, list[Any]]:
    """The array that a write to `x` reaches, and the path from there to x (see `views`); raises `MutationError`."""
    root, way = root_of(x)
    check_made_here(root, what)
    path = path_of(root, way)
    if root.origin is ARGUMENT:
        text = f"{what} would write into {'a view of ' if way else ''}an argument, and so into the caller's array"
        do = "copy it first, x = x.copy(), or write x = x.at[i].set(v)"
        raise MutationError(message(text, got=f"a traced {root.aval}", do=do))
    if path is None:
        text = f"{what} would write into a read-only view (np.diagonal, np.broadcast_to)"
        do = "copy the view first, or write into the array itself"
        raise MutationError(message(text, got=f"a view of a traced {root.aval}", do=do))
    return root, path


def made_here(root: Tracer) -> bool:
    """Whether an array that is no view was made by the innermost transformed function."""
    owner = root.slot if root.owner is LOCAL else root.owner
    if owner.done:
        owner.revive(root)
    return state.trace is owner or state.trace is None


def check_made_here(root: Tracer, what: str) -> None:
    """`MutationError` where an array that is no view was made outside."""
    if not made_here(root):
        text = f"{what} would write into an array that was made outside of the function that {state.trace.name} traces"
        got = f"{root.aval}, made in {home(root).name}"
        do = "copy it first, x = x.copy(), to change it here only; to change it outside, "
        do += "pass it in (to a loop as part of its carry) and return it"
        raise MutationError(message(text, got=got, do=do))


def is_number(x: Tracer) -> bool:
    """Whether a tracer stands for a NumPy scalar, which cannot be written."""
    return not x.ndim and type(x.origin) is not tuple


# --------------------------------------------------------------------------------------------------------------- writes


def set_item(x: Tracer, index: Any, value: Any) -> None:
    """x[index] = value for a tracer, as NumPy does it: the value is broadcast, and converted to the dtype of x."""
    if type(index) is int and type(x.origin) is not tuple and (type(value) is not Tracer or value.origin is None):
        call = _HEADS.get((x.sig, value.sig if type(value) is Tracer else type(value)))
        if call is not None and x.origin is not ARGUMENT and made_here(x):
            n = x.sig.shape[0]  # type: ignore[union-attr]
            if -n <= index < n:
                rewrite(x, call, (value, index + n if index < 0 else index))
                return
    if is_number(x):
        do = "assign to the name, x = v, or make it an array of one axis"
        raise TypeError(message("a traced number does not support item assignment", got=f"a traced {x.aval}", do=do))
    part = masked_part(x, index)
    if part is not None:
        x, mask, lead = part
        assign(x, masked(x, mask, lead, value), "x[mask] = v")
    else:
        put_at(x, index, value, "set", "x[i] = v")


def put_at(x: Tracer, index: Any, value: Any, op: str, what: str) -> None:
    """Set, add, ... a value at an index of a tracer."""
    if type(value) is Selection:
        value.refuse()
    pattern, operands, _ = parse(x.aval, index)
    step = ("index", pattern)
    seen = op == "set" and type(value) is Tracer and type(value.origin) is tuple and value.owner is not STALE
    if seen and value.origin[0] is x and value.origin[1].derived["view"] == step and _same(operands, value.origin[2]):
        return  # x[a:b] += v ends with x[a:b] = x[a:b]
    root, path = target(x, what)
    extend(path, step, operands, x.ndim)
    if seen and _is_there(root, path, value):
        return
    given = operand(value)
    if op == "set" and _shape(given) and pattern == (INT,) * x.ndim and not _has_ellipsis(index):
        do = "write x[i:i + 1] = v, or take the element out of v"
        raise ShapeError(message("x[i] = v: one element cannot hold an array", got=f"v of shape {given.shape}", do=do))
    value = _converted(given, x.dtype) if op == "set" else given
    call = _write(root, path, value, op)
    if type(index) is int and x is root and op == "set" and value is given and type(value) in _COMMON:
        if len(_HEADS) >= LIMIT:
            _HEADS.clear()
        _HEADS[root.sig, value.sig if type(value) is Tracer else type(value)] = call


def _has_ellipsis(index: Any) -> bool:
    return type(index) is tuple and any([i is ... for i in index])


def _write(root: Tracer, path: list[Any], value: Any, op: str) -> Call:
    """Set, add, ... a value where a path that ends with an index leads; the Call that does it."""
    steps, operands = statics_of(path)
    mode = "raise" if any([type(i) is Tracer for i in operands]) else "promise"
    named: dict[str, Any] = {"pattern": steps[-1][1], "op": op, "mode": mode}
    if len(steps) > 1:
        named["path"] = steps[:-1]
    rest = (value, *operands)
    call: Call = writes.call((root.sig, *map(signature, rest)), (), named)
    rewrite(root, call, rest)
    return call


# Calls of x[i] = v for an integer i, by the signature of x and that of v, or its class
_HEADS: dict[Any, Call] = {}
_COMMON = frozenset({Tracer, float, int, np.float64, np.float32})


def _is_there(root: Tracer, path: list[Any], view: Tracer) -> bool:
    """Whether a view is where a path leads."""
    base, way = root_of(view)
    if base is not root:
        return False
    steps, operands = statics_of(path)
    others, theirs = statics_of(path_of(root, way) or [])
    return steps == others and _same(operands, theirs)


def _same(operands: Sequence[Any], others: Sequence[Any]) -> bool:
    return len(operands) == len(others) and all(
        [i is j or (type(i) is int and type(j) is int and i == j) for i, j in zip(operands, others, strict=True)]
    )


def _converted(value: Any, dtype: np.dtype) -> Any:
    """A value as NumPy's assignment converts it: also floats to integers."""
    kind = np.dtype(value.dtype if hasattr(value, "dtype") else type(value)).kind
    if kind == "c" and dtype.kind != "c":
        what = f"an array of {dtype} cannot hold complex values"
        raise DtypeError(
            message(what, got=f"a value of {value.dtype if hasattr(value, 'dtype') else 'complex'}", do="assign v.real")
        )
    return value if RANK[kind] <= RANK[dtype.kind] else astype(value, dtype)


def assign(x: Tracer, new: Any, what: str, argument: bool = False) -> None:
    """Write an array of the type of `x` to all of it; `argument`: also where that is an argument itself."""
    if type(new) is np.ndarray:
        new = new.copy()  # it may be the user's
    if type(x.origin) is not tuple:
        check_made_here(x, what) if argument else target(x, what)
        replace(x, new)
    else:
        root, path = target(x, what)
        if not path or type(path[-1]) is not list:
            path.append([(FULL, None)] * x.ndim)
        _write(root, path, new, "set")
        adopt(x, new)


def store(x: Tracer, new: Any, what: str, casting: Any = "same_kind", argument: bool = False) -> Tracer:
    """Write a result to all of `x`, whose shape it must have, under NumPy's rule for casts; x."""
    if is_number(x):
        raise TypeError(
            message(f"{what}: x is a number, not an array", got=f"a traced {x.aval}", do="assign to the name")
        )
    if new.shape != x.shape:
        text = f"{what}: the result does not fit into x, which keeps its shape"
        raise ShapeError(message(text, got=f"a result of shape {new.shape} for {x.aval}", do="write x = x + y"))
    if new.dtype != x.dtype:
        if not np.can_cast(new.dtype, x.dtype, casting):
            text = f"{what}: the result does not fit into x, which keeps its dtype"
            do = "convert one of them with .astype, or write x = x + y"
            raise DtypeError(message(text, got=f"a result of {new.dtype} for {x.aval}", do=do))
        new = astype(new, x.dtype)
    assign(x, new, what, argument)
    return x


def in_place(operator: Callable[[Any, Any], Any], sign: str) -> Callable[[Any, Any], Any]:
    """The method for `x += y` from the one for `x + y`; numbers give it back to Python, which rebinds the name."""
    what = f"x {sign}= y"

    def write(x: Tracer, y: Any) -> Any:
        if is_number(x):
            return NotImplemented
        root, way = root_of(x)
        if not way and not made_here(root) and not live_views(root):
            return operator(x, y)
        new = operator(x, y)
        return new if new is NotImplemented else store(x, new, what, argument=True)

    return write


# --------------------------------------------------------------------------------------- masks that are not known


def unknown_masks(index: Any) -> list[int]:
    """The places in an index of masks whose values are not known while an array is traced."""
    items = index if type(index) is tuple else (index,)
    return [k for k, i in enumerate(items) if type(i) is Tracer and i.dtype == np.bool_ and peek(i) is None]


def masked_part(x: Any, index: Any) -> tuple[Any, Tracer, int] | None:
    """What x[index] selects from, where the index has one mask that is not known, beside ints and slices.

    Returns the view of x on whose first axes the mask lies, the mask, and how many axes x[index] has in front of those
    that it selects. None for other indices.
    """
    places = unknown_masks(index)
    if not places:
        return None
    items = index if type(index) is tuple else (index,)
    before, mask, after = items[: places[0]], fresh(items[places[0]]), items[places[0] + 1 :]
    if not before and not after:
        return x, mask, 0
    if not all([i is None or i is ... or isinstance(i, slice | int | np.integer) for i in (*before, *after)]):
        return None
    part = x[(*before, *[slice(None)] * mask.ndim, *after)]
    front, behind = [sum(i is None or type(i) is slice for i in some) for some in (before, after)]
    lead = part.ndim - mask.ndim - behind if any([i is ... for i in before]) else front
    if lead:
        part = np.moveaxis(part, tuple(range(lead, lead + mask.ndim)), tuple(range(mask.ndim)))
    return part, mask, lead


def masked(x: Tracer, mask: Tracer, lead: int, value: Any) -> Any:
    """x with `value` where the mask of its first axes holds; `lead` as in `masked_part`."""
    ndim = mask.ndim
    if mask.shape != x.shape[:ndim]:
        mask_differs(mask, lead, x.aval)
    if type(value) is Selection:
        value = value.under(mask, lead)
    else:
        value = operand(value)
        shape = _shape(value)
        if len(shape) == x.ndim - ndim + 1 and shape[0] == 1:
            value = reshape_call(value, shape[1:])
        _fits_any_number(value, 0 if lead else x.ndim - ndim)
    value = _converted(value, x.dtype)
    mask = reshape_call(mask, mask.shape + (1,) * (x.ndim - ndim))
    new = where_call(mask, astype(value, x.dtype), x)
    if new.shape != x.shape:
        text = "x[mask] = v: v does not broadcast to the selected part of x"
        raise ShapeError(message(text, got=f"v of shape {_shape(value)} for {x.aval}", do="correct its shape"))
    return new


def _fits_any_number(value: Any, ndim: int) -> None:
    if len(_shape(value)) > ndim:
        text = "x[mask] = v with a traced mask: how many elements v needs is not known"
        do = "give a number, y[mask] with the same mask, or write x = np.where(mask, v, x) for v of the shape of x"
        raise ConcretizationError(message(text, got=f"v of shape {_shape(value)}", do=do))


def _shape(value: Any) -> tuple[int, ...]:
    return getattr(value, "shape", ())


class Selection:
    """x[mask] for a mask that is not known: elementwise operations, to be assigned to y[mask]; nothing else.

    The masks may be two results of the same operations: x[x > 0] = np.sqrt(x[x > 0]). `lead` as in `masked_part`.

    `value` is computed for all elements; those that the mask selects count.
    """

    __slots__ = ("lead", "mask", "value")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, mask: Tracer, value: Any, lead: int = 0):
        if mask.shape != value.shape[: mask.ndim]:
            mask_differs(mask, lead, value.aval)
        self.mask = mask
        self.value = value
        self.lead = lead

    def refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raise `ConcretizationError`: the number of selected elements is not known."""
        concrete(self.mask, "x[mask] with a traced mask", MASK)
        raise AssertionError

    def under(self, mask: Tracer, lead: int) -> Any:
        """The value, where it was selected by the same mask; else refuse."""
        if lead != self.lead or not same(mask, self.mask):
            self.refuse()
        return self.value

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = (), **kwargs: Any) -> Any:
        if method != "__call__" or kwargs or ufunc.nout != 1:
            self.refuse()
        values = []
        for x in inputs:
            if type(x) is Selection:
                values.append(x.under(self.mask, self.lead))
            else:
                values.append(operand(x))
                _fits_any_number(values[-1], 0 if self.lead else self.value.ndim - self.mask.ndim)
        with np.errstate(all="ignore"):  # elements that the mask leaves out may lie where it is not defined
            new = Selection(self.mask, ufunc(*values), self.lead)
        if not out:
            return new
        if out != (self,):
            self.refuse()
        store(self.value, new.value, f"x[mask] with np.{ufunc.__name__} in place")
        return self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # Python and NumPy ask objects for their protocols
            raise AttributeError(name)
        self.refuse()
