"""Constants, dtypes, and questions that shapes and dtypes answer; NumPy's own functions that no tracer can reach."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy import (
    array2string,
    array_repr,
    array_str,
    bartlett,
    blackman,
    c_,
    dtype,
    e,
    errstate,
    euler_gamma,
    finfo,
    frombuffer,
    generic,
    hamming,
    hanning,
    iinfo,
    index_exp,
    inf,
    isdtype,
    issubdtype,
    iterable,
    kaiser,
    load,
    mgrid,
    nan,
    ndarray,
    newaxis,
    ogrid,
    pi,
    printoptions,
    promote_types,
    r_,
    s_,
    save,
    savez,
    set_printoptions,
    ufunc,
)

from ..core.trace import Tracer
from .promote import result_dtype
from .support import axes_of, stacked
from .ufuncs import ROUTES

bool_, int8, int16, int32, int64 = np.bool_, np.int8, np.int16, np.int32, np.int64
uint8, uint16, uint32, uint64 = np.uint8, np.uint16, np.uint32, np.uint64
float16, float32, float64, complex64, complex128 = np.float16, np.float32, np.float64, np.complex64, np.complex128
int_, uint, float_, complex_, intp, uintp = np.int_, np.uint, np.float64, np.complex128, np.intp, np.uintp
half, single, double, csingle, cdouble = np.half, np.single, np.double, np.csingle, np.cdouble
number, integer, signedinteger, unsignedinteger = np.number, np.integer, np.signedinteger, np.unsignedinteger
inexact, floating, complexfloating = np.inexact, np.floating, np.complexfloating


def shape(a: Any) -> tuple[int, ...]:
    """Sizes of the axes.

    >>> from fgrad import numpy as fnp
    >>> fnp.shape([[1, 2]])
    (1, 2)
    """
    return a.shape if isinstance(a, Tracer) else np.shape(stacked(a))


def ndim(a: Any) -> int:
    """Number of axes.

    >>> from fgrad import numpy as fnp
    >>> fnp.ndim([[1, 2]])
    2
    """
    return len(shape(a))


def size(a: Any, axis: Any = None) -> int:
    """Number of elements, along `axis` where it is given.

    >>> from fgrad import numpy as fnp
    >>> fnp.size([[1, 2]])
    2
    """
    sizes = shape(a)
    return math.prod(sizes) if axis is None else math.prod(sizes[i] for i in axes_of("size", axis, len(sizes)))


def result_type(*arrays_and_dtypes: Any) -> np.dtype:
    """The dtype in which NumPy 2 combines arrays, dtypes and Python scalars.

    >>> from fgrad import numpy as fnp
    >>> fnp.result_type(fnp.float32, 1.0)
    dtype('float32')
    """
    return np.result_type(
        *[result_dtype(x) if type(x) is Tracer and x.weak_type is False else _plain(x) for x in arrays_and_dtypes]
    )


def _plain(x: Any) -> Any:
    return np.ones((), x.dtype).item() if type(x) is Tracer else x


def can_cast(from_: Any, to: Any, casting: str = "safe") -> bool:
    """Whether a dtype (or the dtype of an array) can become another under a casting rule.

    >>> from fgrad import numpy as fnp
    >>> fnp.can_cast(fnp.int64, fnp.float32)
    False
    """
    return np.can_cast(from_.dtype if type(from_) is Tracer else from_, to, casting)  # type: ignore[arg-type]


def isscalar(element: Any) -> bool:
    """Whether it is a number and no array; a traced value is one if it stands for a Python number.

    >>> from fgrad import numpy as fnp
    >>> fnp.isscalar(1.0), fnp.isscalar(np.zeros(()))
    (True, False)
    """
    return element.weak_type if isinstance(element, Tracer) else np.isscalar(element)


def iscomplexobj(x: Any) -> bool:
    """Whether the dtype is complex.

    >>> from fgrad import numpy as fnp
    >>> fnp.iscomplexobj(1j)
    True
    """
    return x.dtype.kind == "c" if isinstance(x, Tracer) else bool(np.iscomplexobj(stacked(x)))


def isrealobj(x: Any) -> bool:
    """Whether the dtype is not complex.

    >>> from fgrad import numpy as fnp
    >>> fnp.isrealobj(1j)
    False
    """
    return not iscomplexobj(x)


for _f, _g in (
    (np.shape, shape),
    (np.ndim, ndim),
    (np.size, size),
    (np.iscomplexobj, iscomplexobj),
    (np.isrealobj, isrealobj),
    (np.result_type, result_type),
    (np.can_cast, can_cast),
):
    ROUTES[_f] = _g


__all__ = [
    "array2string",
    "array_repr",
    "array_str",
    "bartlett",
    "blackman",
    "bool_",
    "c_",
    "can_cast",
    "cdouble",
    "complex64",
    "complex128",
    "complex_",
    "complexfloating",
    "csingle",
    "double",
    "dtype",
    "e",
    "errstate",
    "euler_gamma",
    "finfo",
    "float16",
    "float32",
    "float64",
    "float_",
    "floating",
    "frombuffer",
    "generic",
    "half",
    "hamming",
    "hanning",
    "iinfo",
    "index_exp",
    "inexact",
    "inf",
    "int8",
    "int16",
    "int32",
    "int64",
    "int_",
    "integer",
    "intp",
    "iscomplexobj",
    "isdtype",
    "isrealobj",
    "isscalar",
    "issubdtype",
    "iterable",
    "kaiser",
    "load",
    "mgrid",
    "nan",
    "ndarray",
    "ndim",
    "newaxis",
    "number",
    "ogrid",
    "pi",
    "printoptions",
    "promote_types",
    "r_",
    "result_type",
    "s_",
    "save",
    "savez",
    "set_printoptions",
    "shape",
    "signedinteger",
    "single",
    "size",
    "ufunc",
    "uint",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "uintp",
    "unsignedinteger",
]  # fmt: skip
