"""Operators, methods and functions of NumPy that change an array: x[i] = v, x += y, x.sort(), np.copyto, np.add.at, ...

`put`, `put_along_axis`, `fill_diagonal` and `place` also give the changed array as a value, with `inplace=False`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.errors import DtypeError, MutationError, ShapeError, message
from ..core.handles import copied
from ..core.trace import Tracer
from .index_calls import masks, operand, write
from .indexing import along, as_array, as_integers, take, unravel_index
from .methods import UFUNC_METHODS, routes
from .promote import is_weak
from .running import cumsum
from .sorting import sort
from .support import is_traced, where_call
from .writing import RANK, Selection, assign, in_place, masked_part, put_at, set_item, store, unknown_masks

# ------------------------------------------------------------------------------------------------ operators of tracers


def _select(x: Tracer, index: Any) -> Selection | None:
    """x[index] where the index has a mask that is not known; None for other indices."""
    part = masked_part(x, index)
    return None if part is None else Selection(part[1], copied(part[0]), part[2])


_SIGNS = {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**", "matmul": "@",
    "and": "&", "or": "|", "xor": "^", "lshift": "<<", "rshift": ">>",
}  # fmt: skip
for _name, _sign in _SIGNS.items():
    setattr(Tracer, f"__i{_name}__", in_place(getattr(Tracer, f"__{_name}__"), _sign))
Tracer.__setitem__ = set_item  # type: ignore[attr-defined]
Tracer._receive = store  # type: ignore[attr-defined]
masks.select = _select

_UFUNCS = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.divide, "floordiv": np.floor_divide,
    "mod": np.remainder, "pow": np.power, "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
}  # fmt: skip


def _selected(ufunc: Any) -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]:
    """x[mask] + y, y + x[mask] and x[mask] += y."""

    def operate(x: Selection, y: Any) -> Any:
        return x.__array_ufunc__(ufunc, "__call__", x, y)

    def reverse(x: Selection, y: Any) -> Any:
        return x.__array_ufunc__(ufunc, "__call__", y, x)

    def write(x: Selection, y: Any) -> Any:
        return x.__array_ufunc__(ufunc, "__call__", x, y, out=(x,))

    return operate, reverse, write


for _name, _ufunc in _UFUNCS.items():
    for _prefix, _operator in zip(("", "r", "i"), _selected(_ufunc), strict=True):
        setattr(Selection, f"__{_prefix}{_name}__", _operator)
Selection.__neg__ = lambda self: self.__array_ufunc__(np.negative, "__call__", self)  # type: ignore[attr-defined]
for _name in (
    "__array__", "__array_function__", "__bool__", "__contains__", "__eq__", "__float__", "__ge__", "__getitem__",
    "__gt__", "__index__", "__int__", "__iter__", "__le__", "__len__", "__lt__", "__matmul__", "__ne__", "__rmatmul__",
    "__setitem__",
):  # fmt: skip
    setattr(Selection, _name, Selection.refuse)


# -------------------------------------------------------------------------------------------------- methods of tracers


def _sort(self: Tracer, axis: int = -1, kind: Any = None, order: Any = None, *, stable: bool | None = None) -> None:
    """Sort the elements along an axis, in place."""
    assign(self, sort(self, axis), "x.sort()")


def _partition(self: Tracer, kth: Any, axis: int = -1, kind: str = "introselect", order: Any = None) -> None:
    """Put the elements at the positions `kth` where they would be in the sorted array, in place."""
    assign(self, sort(self, axis), "x.partition()")


def _fill(self: Tracer, value: Any) -> None:
    """Write `value` to every element."""
    set_item(self, ..., value)


def _put(self: Tracer, indices: Any, values: Any, mode: str = "raise") -> None:
    """Write values, repeated as needed, to positions in the flattened array."""
    put(self, indices, values, mode)


for _method in (_sort, _partition, _fill, _put):
    setattr(Tracer, _method.__name__[1:], _method)


def _part(name: str) -> Any:
    """The property that gives a part of a complex array, with which x.imag *= 2 works too."""
    get = getattr(Tracer, name)
    return property(get.fget, lambda self, value: set_item(get.fget(self), ..., value), doc=get.__doc__)


Tracer.real, Tracer.imag = _part("real"), _part("imag")  # type: ignore[attr-defined]


def _flat(self: Tracer) -> Any:
    """All elements in one axis, to be read and written."""
    flat = self.reshape(-1)  # type: ignore[attr-defined]
    if type(flat.origin) is not tuple:
        what = "x.flat is not possible on a view whose elements do not stand side by side"
        raise MutationError(message(what, got=f"a view, {self.aval}", do="write x[index] = values, or read x.ravel()"))
    return flat


def _assign_flat(self: Tracer, values: Any) -> None:
    put(self, np.arange(self.size), values)


Tracer.flat = property(_flat, _assign_flat)  # type: ignore[attr-defined]


# ------------------------------------------------------------------------------------------------- functions of indices


def _changed(name: str, x: Any, traced: bool, numpy: Callable[[], Any]) -> bool:
    """Whether `x` is a traced array to change; runs NumPy's own function where nothing is traced."""
    if type(x) is Tracer:
        return True
    if traced:
        what = f"{name} cannot write traced values into an ndarray"
        do = f"make the array with fgrad.numpy inside the function, or write x = {name}(x, ..., inplace=False)"
        raise MutationError(message(what, got=type(x).__name__, do=do))
    numpy()
    return False


def put_along_axis(
    arr: Any, indices: Any, values: Any, axis: int | None = -1, inplace: bool = True, *, mode: str | None = None
) -> Any:
    """numpy.put_along_axis: write `values` at `indices` along `axis`; with `inplace=False` the changed copy.

    `values` broadcasts against `indices`. Raises OutOfBoundsError, and MutationError for an array that may not be
    written.

    >>> from fgrad import numpy as fnp
    >>> fnp.put_along_axis(np.zeros((1, 3)), np.array([[2]]), 5.0, axis=1, inplace=False)
    array([[0., 0., 5.]])
    """
    if not inplace:
        shape = np.shape(arr)
        arr, index = along("put_along_axis", arr, indices, axis)
        return write(arr, index, values, "set", mode).reshape(shape)
    some = is_traced(indices) or is_traced(values)
    if _changed("put_along_axis", arr, some, lambda: np.put_along_axis(arr, indices, values, axis)):
        if axis is None:
            put(arr, indices, values)
        else:
            set_item(arr, along("put_along_axis", arr, indices, axis)[1], values)
    return None


def fill_diagonal(a: Any, val: Any, wrap: bool = False, *, inplace: bool = True) -> Any:
    """numpy.fill_diagonal: write `val` to the main diagonal of `a`; with `inplace=False` the changed copy.

    `a` has two axes, or more of equal sizes; `val` is repeated along the diagonal; `wrap` goes on below tall matrices.
    Raises ShapeError, and MutationError for an array that may not be written.

    >>> from fgrad import numpy as fnp
    >>> fnp.fill_diagonal(np.zeros((2, 2)), [1.0, 2.0], inplace=False)
    array([[1., 0.],
           [0., 2.]])
    """
    if not inplace:
        return _filled(as_array(a), val, wrap, lambda a, where, v: write(a, where, v, "set"))
    if _changed("fill_diagonal", a, is_traced(val), lambda: np.fill_diagonal(a, val, wrap)):
        _filled(a, val, wrap, set_item)
    return None


def _filled(a: Any, val: Any, wrap: bool, change: Callable[..., Any]) -> Any:
    if a.ndim < 2 or (a.ndim > 2 and len(set(a.shape)) > 1):
        raise ShapeError(message("fill_diagonal: needs two axes, or more of equal sizes", got=a.shape, do="reshape it"))
    step = 1 + int(np.sum(np.cumprod(a.shape[:0:-1])))
    end = a.shape[1] * a.shape[1] if a.ndim == 2 and not wrap else a.size
    where = np.arange(0, min(end, a.size), step)
    return change(a, np.unravel_index(where, a.shape), _repeated(val, where.size))


def _repeated(values: Any, size: int) -> Any:
    """The elements of `values`, from the first on again where they end, in one axis; a number as it is."""
    values = as_array(values)
    return take(values.reshape(-1), np.arange(size) % max(values.size, 1)) if values.ndim else values


def put(a: Any, ind: Any, v: Any, mode: str | None = None, *, inplace: bool = True) -> Any:
    """numpy.put: write `v`, repeated as needed, to the flat positions `ind`; with `inplace=False` the changed copy.

    Raises OutOfBoundsError, and MutationError for an array that may not be written.

    >>> from fgrad import numpy as fnp
    >>> fnp.put(np.zeros(3), [0, 2], [1.0, 2.0], inplace=False)
    array([1., 0., 2.])
    """
    if inplace and not _changed("put", a, is_traced(ind) or is_traced(v), lambda: np.put(a, ind, v, mode or "raise")):
        return None
    a, ind = as_array(a), as_integers(ind).reshape(-1)
    values = _repeated(v, ind.size)
    if inplace and mode in (None, "raise") and not is_traced(ind):
        known = np.where(ind < 0, ind + a.size, ind)
        set_item(a, unravel_index(known, a.shape), values)
        return None
    new = write(a.reshape(-1), ind, values, "set", "clamp" if mode == "clip" else mode).reshape(a.shape)
    return assign(a, new, "np.put") if inplace else new


def place(arr: Any, mask: Any, vals: Any, *, inplace: bool = True) -> Any:
    """numpy.place: write the elements of `vals`, one after the other, where `mask` holds; `inplace=False`: a copy.

    `vals` is repeated where more elements hold, and cut where fewer do. The mask, of as many elements as the array,
    need not be known under jit. Raises MutationError for an array that may not be written.

    >>> from fgrad import numpy as fnp
    >>> fnp.place(np.zeros(4), [True, False, True, True], [1.0, 2.0], inplace=False)
    array([1., 0., 2., 1.])
    """
    some = is_traced(mask) or is_traced(vals)
    if inplace and not _changed("place", arr, some, lambda: np.place(arr, mask, vals)):
        return None
    arr, mask, vals = as_array(arr), as_array(mask).reshape(-1), as_array(vals).reshape(-1)
    if not vals.size:
        raise ShapeError(
            message("place: there is nothing to write", got=f"vals of shape {vals.shape}", do="give a value")
        )
    mask = mask != 0
    number = cumsum(mask) - 1
    values = take(vals, (number % vals.size).reshape(arr.shape)).astype(arr.dtype)
    new = where_call(mask.reshape(arr.shape), values, arr)
    return assign(arr, new, "np.place") if inplace else new


def _putmask(a: Any, mask: Any, values: Any) -> None:
    """numpy.putmask: write to elements where the mask holds those of `values` at the same flat position."""
    if _changed("putmask", a, True, lambda: None):
        values = _repeated(values, a.size)
        values = values.reshape(a.shape) if values.ndim else values
        assign(a, where_call(operand(mask), values.astype(a.dtype), a), "np.putmask")


def _copyto(dst: Any, src: Any, casting: str = "same_kind", where: Any = True) -> None:
    """numpy.copyto: write `src`, broadcast, to all elements, or to those where `where` holds."""
    if not _changed("copyto", dst, True, lambda: None):
        return
    src = operand(src)
    if is_weak(src) and type(src) is not Tracer:
        fits = casting == "unsafe" or RANK[np.asarray(src).dtype.kind] <= RANK[dst.dtype.kind]
    else:
        fits = np.can_cast(src.dtype, dst.dtype, casting)
    if not fits:
        do = 'convert it with .astype, or set casting="unsafe"'
        raise DtypeError(message(f"np.copyto: the values do not fit an array of {dst.dtype}", got=src, do=do))
    if where is True:
        set_item(dst, ..., src)
        return
    value = src if type(src) is Tracer else np.asarray(src)
    new = where_call(operand(where), value.astype(dst.dtype), dst)
    store(dst, new, "np.copyto")


def _at(op: str, name: str) -> Callable[..., None]:
    def at(a: Any, indices: Any, b: Any) -> None:
        if not _changed(f"{name}.at", a, True, lambda: None):
            return
        if unknown_masks(indices):  # they name no element twice
            a[indices] = getattr(np, name)(a[indices], b)
        else:
            put_at(a, indices, b, op, f"np.{name}.at")

    return at


for _op, _name in (
    ("add", "add"), ("subtract", "subtract"), ("multiply", "multiply"), ("divide", "divide"), ("power", "power"),
    ("min", "minimum"), ("max", "maximum"),
):  # fmt: skip
    UFUNC_METHODS[getattr(np, _name), "at"] = _at(_op, _name)
for _f, _g in (
    (np.put, put), (np.put_along_axis, put_along_axis), (np.fill_diagonal, fill_diagonal), (np.place, place),
    (np.putmask, _putmask), (np.copyto, _copyto),
):  # fmt: skip
    routes(_f)(_g)

__all__ = ["fill_diagonal", "place", "put", "put_along_axis"]
