"""Types of values: `ShapedArray` (shape and dtype, interned) and the signatures that calls are keyed by.

A *signature* is what a call table needs to know of an operand: an interned `ShapedArray`, or, for a weakly typed
Python scalar (traced or not), its Python class. So weakness lives in signatures and never in the IR.
"""

from __future__ import annotations

import math
import weakref
from typing import Any, TypeAlias

import numpy as np

from .errors import LeafError, message


class ShapedArray:
    """The type of an array: `shape` (tuple of int) and `dtype` (NumPy dtype, native byte order).

    Instances are made by `shaped` alone, which interns them: equal types are one object, compared by identity.
    Immutable by convention.

    >>> shaped((2, 3), np.float32)
    float32[2,3]
    """

    __slots__ = ("__weakref__", "dtype", "inexact", "ndim", "shape", "size")

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype):
        self.shape = shape
        self.dtype = dtype
        self.ndim = len(shape)
        self.size = math.prod(shape)
        self.inexact = dtype.kind in "fc"

    def __repr__(self) -> str:
        return f"{self.dtype.name}[{','.join(map(str, self.shape))}]"


Signature: TypeAlias = "ShapedArray | type"

# Types in use; an entry goes when nothing refers to its type any more.
_TABLE: dict[tuple[tuple[int, ...], np.dtype], weakref.ref[ShapedArray]] = {}
_NATIVE: dict[np.dtype, np.dtype] = {}


def _native(dtype: Any) -> np.dtype:
    dtype = np.dtype(dtype)
    found = _NATIVE.get(dtype)
    if found is None:
        if dtype.kind not in "biufc" or dtype.itemsize > 16 or dtype in (np.longdouble, np.clongdouble):
            raise LeafError(
                message(
                    f"arrays of dtype {dtype} cannot be traced",
                    got=dtype,
                    do="convert to bool, an integer, float16/32/64 or complex64/128 with .astype",
                )
            )
        found = _NATIVE[dtype] = dtype.newbyteorder("=")
    return found


def shaped(shape: tuple[int, ...], dtype: Any) -> ShapedArray:
    """The interned type of a shape and a dtype (anything `np.dtype` takes).

    Raises `LeafError` for dtypes that hold no numbers (object, str, datetime) and for long doubles.
    """
    found = known(shape, dtype)
    if found is None:
        native = _native(dtype)
        key = (tuple(int(n) for n in shape), native)
        found = known(*key)
        if found is None:
            found = ShapedArray(*key)
            _TABLE[key] = weakref.ref(found, lambda ref: _TABLE.pop(key) if _TABLE.get(key) is ref else None)
    return found


def known(shape: Any, dtype: Any) -> ShapedArray | None:
    """The type of a shape and a dtype if it is in use already."""
    ref = _TABLE.get((shape, dtype))
    return None if ref is None else ref()


WEAK: dict[type, ShapedArray] = {
    bool: shaped((), np.bool_),
    int: shaped((), np.int64),
    float: shaped((), np.float64),
    complex: shaped((), np.complex128),
}
WEAK_OF_KIND = {"b": bool, "i": int, "u": int, "f": float, "c": complex}


def aval_of(signature: Signature) -> ShapedArray:
    """The array type behind a signature."""
    return WEAK[signature] if type(signature) is type else signature  # type: ignore[return-value]


_SIGNATURES: dict[type, Signature] = {cls: cls for cls in WEAK}
_SIGNATURES.update({np.dtype(c).type: shaped((), np.dtype(c)) for c in "?bhilqBHILQefdFD"})


def signature_of(x: Any) -> Signature:
    """The signature of a concrete value: its class for Python scalars, its type for arrays and NumPy scalars.

    Raises `LeafError` for anything else.
    """
    cls = type(x)
    if cls is np.ndarray:
        ref = _TABLE.get((x.shape, x.dtype))
        found = None if ref is None else ref()
        return found if found is not None else shaped(x.shape, x.dtype)
    scalar = _SIGNATURES.get(cls)
    if scalar is not None:
        return scalar
    if isinstance(x, np.ndarray | np.generic):
        return shaped(x.shape, x.dtype)
    for scalar in (bool, int, float, complex):
        if isinstance(x, scalar):
            return scalar
    raise LeafError(
        message(
            f"expected an array or a number, got an object of class {cls.__name__}",
            got=" ".join(repr(x).split())[:80],
            do="pass NumPy arrays or Python numbers; mark other arguments static or close over them",
        )
    )


def canonical(x: Any) -> Any:
    """`x` as fgrad computes with it: a native ndarray or NumPy scalar, or a plain Python scalar.

    Subclasses of ndarray become plain arrays; foreign byte orders become native.
    """
    cls = type(x)
    if cls in _SIGNATURES or (cls is np.ndarray and (x.shape, x.dtype) in _TABLE):
        return x
    signature = signature_of(x)
    if type(signature) is type:
        return signature(x)
    if cls is np.ndarray or isinstance(x, np.generic):
        return x if x.dtype.isnative else x.astype(signature.dtype)  # type: ignore[union-attr]
    if isinstance(x, np.ma.MaskedArray):
        raise LeafError(
            message(
                "masked arrays cannot be traced: their masks would be lost",
                got=cls.__name__,
                do="use x.filled(value) and np.where(mask, ...)",
            )
        )
    return np.asarray(x, dtype=signature.dtype)  # type: ignore[union-attr]


def typed(x: Any) -> tuple[Any, Signature]:
    """`canonical(x)` and its signature, by one look-up where `x` is canonical already."""
    cls = type(x)
    if cls is np.ndarray:
        ref = _TABLE.get((x.shape, x.dtype))
        found: Signature | None = None if ref is None else ref()
    else:
        found = _SIGNATURES.get(cls)
    if found is not None:
        return x, found
    x = canonical(x)
    return x, signature_of(x)


def real_dtype(dtype: np.dtype) -> np.dtype:
    """The dtype of the parts of a complex dtype; other dtypes as they are."""
    return np.dtype(f"f{dtype.itemsize // 2}") if dtype.kind == "c" else dtype


def complex_dtype(dtype: np.dtype) -> np.dtype:
    """The complex dtype whose parts have the given floating dtype."""
    return dtype if dtype.kind == "c" else np.dtype(np.complex64 if dtype.itemsize <= 4 else np.complex128)
