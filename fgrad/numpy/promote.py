"""Promotion (NEP 50) and broadcasting: from what users pass to what strict primitives take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.errors import ShapeError, message
from ..core.primitive import registry as p
from ..core.trace import Tracer
from ..core.types import WEAK, WEAK_OF_KIND, signature_of

_WEAK_SAMPLE = {bool: True, int: 1, float: 1.0, complex: 1j}


def sample(x: Any) -> Any:
    """Something that NumPy's promotion takes for `x`: a dtype, or a Python scalar for what is weak."""
    sig = x.sig if type(x) is Tracer else signature_of(x)
    return _WEAK_SAMPLE[sig] if type(sig) is type else sig.dtype  # type: ignore[union-attr]


def result_dtype(*xs: Any) -> np.dtype:
    """The dtype in which NumPy 2 combines the operands."""
    return np.result_type(*[sample(x) for x in xs])


def float_dtype(*xs: Any) -> np.dtype:
    """As `result_dtype`, but at least a float: what NumPy's inexact ufuncs compute in."""
    dtype = result_dtype(*xs)
    if dtype.kind in "fc":
        return dtype
    return np.dtype(np.float16 if dtype.itemsize == 1 else np.float32 if dtype.itemsize == 2 else np.float64)


def is_weak(x: Any) -> bool:
    """Whether `x` is a Python scalar, or a traced one."""
    return type(x) in WEAK or (type(x) is Tracer and type(x.sig) is type)


def cast(x: Any, dtype: Any) -> Any:
    """`x` at a dtype, as a strict (no longer weak) value."""
    dtype = np.dtype(dtype)
    if type(x) is Tracer:
        if type(x.sig) is not type and x.dtype == dtype:
            return x
        return p.convert_element_type(x, dtype=dtype)
    if type(x) in WEAK:
        return dtype.type(x)
    return np.asarray(x, dtype)[()]


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """NumPy's broadcast shape; `ShapeError` where there is none."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise ShapeError(
            message(
                f"shapes {' and '.join(map(str, shapes))} do not broadcast",
                got=", ".join(map(str, shapes)),
                do="sizes must be equal or 1 from the last axis on; insert axes with x[:, None] or reshape",
            )
        ) from None


def broadcast(x: Any, shape: tuple[int, ...]) -> Any:
    """`x` repeated to `shape` by NumPy's rules, as strict equations."""
    old = np.shape(x) if type(x) is not Tracer else x.shape
    if old == shape:
        return x
    lead = len(shape) - len(old)
    if lead < 0 or any(n != m and n != 1 for n, m in zip(old, shape[lead:], strict=True)):
        raise ShapeError(
            message(f"shape {old} does not broadcast to {shape}", got=old, do="insert or repeat axes first")
        )
    return p.broadcast_in_dim(x, shape=shape, dims=tuple(range(lead, len(shape))))


def promote(*xs: Any, dtype: Any = None) -> Sequence[Any]:
    """Operands at one dtype and one shape."""
    dtype = result_dtype(*xs) if dtype is None else dtype
    xs = tuple([cast(x, dtype) for x in xs])
    shapes = [x.shape for x in xs]
    shape = shapes[0] if all(s == shapes[0] for s in shapes) else broadcast_shapes(*shapes)
    return [broadcast(x, shape) for x in xs]


def weaken(y: Any, *xs: Any) -> Any:
    """The result of an operator: weak if every operand was."""
    if type(y) is Tracer and all(is_weak(x) for x in xs) and y.ndim == 0:
        return Tracer(y.owner, WEAK_OF_KIND[y.dtype.kind], y.value, y.slot)
    return y
