"""Types of values: `ShapedArray` (shape and dtype, interned) and the signatures that calls are keyed by.

A *signature* is what a call table needs to know of an operand: an interned `ShapedArray`, or, for a weakly typed
Python scalar (traced or not), its Python class. So weakness lives in signatures and never in the IR.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np

from .errors import LeafError, message


class ShapedArray:
    """The type of an array: `shape` (tuple of int) and `dtype` (NumPy dtype, native byte order).

    Instances are interned by `shaped`, so equal types are almost always one object; comparison stays right when an
    old one has left the bounded table. Immutable by convention.

    >>> shaped((2, 3), np.float32)
    float32[2,3]
    """

    __slots__ = ("_hash", "dtype", "inexact", "ndim", "shape", "size")

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype):
        self.shape = shape
        self.dtype = dtype
        self.ndim = len(shape)
        self.size = math.prod(shape)
        self.inexact = dtype.kind in "fc"
        self._hash = hash((shape, dtype))

    def __eq__(self, other: object) -> bool:
        return self is other or (type(other) is ShapedArray and self.shape == other.shape and self.dtype == other.dtype)

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"{self.dtype.name}[{','.join(map(str, self.shape))}]"


Signature: TypeAlias = "ShapedArray | type"

_TABLE: dict[tuple[tuple[int, ...], np.dtype], ShapedArray] = {}
_LIMIT = 1 << 16
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
    try:
        return _TABLE[shape, dtype]
    except KeyError:
        native = _native(dtype)
        new = ShapedArray(tuple(int(n) for n in shape), native)
        if len(_TABLE) >= _LIMIT:
            _TABLE.clear()
        return _TABLE.setdefault((new.shape, native), new)


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
        found = _TABLE.get((x.shape, x.dtype))
        return found if found is not None else shaped(x.shape, x.dtype)
    known = _SIGNATURES.get(cls)
    if known is not None:
        return known
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


def real_dtype(dtype: np.dtype) -> np.dtype:
    """The dtype of the parts of a complex dtype; other dtypes as they are."""
    return np.dtype(f"f{dtype.itemsize // 2}") if dtype.kind == "c" else dtype


def complex_dtype(dtype: np.dtype) -> np.dtype:
    """The complex dtype whose parts have the given floating dtype."""
    return dtype if dtype.kind == "c" else np.dtype(np.complex64 if dtype.itemsize <= 4 else np.complex128)
