"""How strict operations take what users pass: Python scalars follow the other operands, everything else is as it is."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..core.axes import distinct_axes
from ..core.errors import DtypeError, message
from ..core.primitive import Primitive
from ..core.trace import Tracer
from ..core.types import WEAK, aval_of, canonical, shaped, signature_of
from ..primitives.family import p, type_of

Array = Any
"""An ndarray, a NumPy scalar or a traced array; where an argument has this type, a Python number too."""

_RANK = "biufc"


def _is_weak(x: Any) -> bool:
    return type(x.sig) is type if type(x) is Tracer else type(x) in WEAK


def strict(x: Any) -> Any:
    """An operand at its own dtype: Python numbers become NumPy scalars, subclasses of ndarray plain arrays."""
    if type(x) is Tracer:
        return p.convert_element_type(x, dtype=x.dtype) if _is_weak(x) else x
    x = canonical(x)
    return aval_of(type(x)).dtype.type(x) if type(x) in WEAK else x


def operands(name: str, *xs: Any) -> list[Any]:
    """Operands ready for a primitive: Python scalars at the dtype of the others, scalars at their shape.

    Raises `DtypeError` for a Python scalar that the dtype of the others cannot take, as 0.5 beside integers.
    """
    xs = tuple([x if type(x) is Tracer else canonical(x) for x in xs])
    weak = [_is_weak(x) for x in xs]
    strong = [x for x, w in zip(xs, weak, strict=True) if not w]
    if any(weak):
        dtype = strong[0].dtype if strong else np.result_type(*[_weak_sample(x) for x in xs])
        xs = tuple([_at(name, x, dtype) if w else x for x, w in zip(xs, weak, strict=True)])
    shape = next((x.shape for x in xs if x.shape), ())
    return [p.broadcast_in_dim(x, shape=tuple(shape), dims=()) if shape and not x.shape else x for x in xs]


def _weak_sample(x: Any) -> Any:
    return x.sig(0) if type(x) is Tracer else x


def _at(name: str, x: Any, dtype: np.dtype) -> Any:
    kind = x.sig if type(x) is Tracer else type(x)
    if _RANK.index(WEAK[kind].dtype.kind) > _RANK.index(dtype.kind) and not (kind is int and dtype.kind == "u"):
        raise DtypeError(
            message(
                f"{name}: a Python {kind.__name__} does not fit beside an operand of dtype {dtype}",
                got=x,
                do="convert the array first, with fgrad.lax.convert_element_type",
            )
        )
    return p.convert_element_type(x, dtype=dtype) if type(x) is Tracer else dtype.type(x)


def apply(primitive: Primitive, *xs: Any, **params: Any) -> Any:
    """The primitive on strict operands, with its checks on concrete ones too."""
    if not any(type(x) is Tracer for x in xs):
        primitive.typeof(*[type_of(x) for x in xs], **params)
    return primitive(*xs, **params)


def ints(values: Any) -> tuple[int, ...]:
    """A sequence of integers (or a single one) as a tuple of Python's."""
    if isinstance(values, Iterable):
        return tuple([operator.index(v) for v in values])
    return (operator.index(values),)


def axes_of(name: str, axes: Any, ndim: int) -> tuple[int, ...]:
    """Axes in rising order from a number or a sequence of numbers."""
    return distinct_axes(name, ints(axes), ndim)


def dtype_of(dtype: Any) -> np.dtype:
    """A NumPy dtype of anything that names one; `LeafError` for one that arrays here cannot have."""
    return shaped((), np.dtype(dtype)).dtype


def shape_of(x: Any) -> tuple[int, ...]:
    """The shape of an array, a tracer or a number."""
    return tuple(x.shape) if type(x) is Tracer else aval_of(signature_of(x)).shape
