"""Arrays made of nothing, of Python lists, or of the shape of another array; diagonals; constants and dtypes.

Inside a transformation all of them give arrays that traced values may be written into: of the program that `jit`
records, or known ones, which become traced by such a write. Outside they give ndarrays.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.handles import copied, local
from ..core.primitive import registry as p
from ..core.surface import surface
from ..core.trace import Tracer, stage
from . import shapes as s
from .methods import LIKE
from .promote import broadcast, cast, is_weak, result_dtype
from .support import is_traced, shape_of, stacked, strict, traced
from .ufuncs import divide, multiply, subtract


def _locally(numpy: Any) -> Any:
    """NumPy's function, whose result may be written inside a transformation."""

    @functools.wraps(numpy)
    def made(*args: Any, **kwargs: Any) -> Any:
        out = numpy(*args, **kwargs)
        return (local(out[0]), *out[1:]) if isinstance(out, tuple) else local(out)

    return made


@surface(run=lambda x, dtype: _run_astype(x, dtype))
def _astype(x: Any, dtype: Any) -> Any:
    return cast(x, dtype)


def _run_astype(x: Any, dtype: Any) -> Any:
    x = x if isinstance(x, np.ndarray | np.generic) else np.asarray(x)[()]
    if x.dtype.kind == "c" and np.dtype(dtype).kind not in "cb":
        x = x.real
    return x.astype(dtype)


@surface(run=lambda x: np.array(x)[()])
def _copy(x: Any) -> Any:
    return strict(x)


@traced(getattr(np, "astype", None), method="astype", run=lambda x, dtype, /, **kwargs: np.asarray(x).astype(dtype)[()])
def astype(x: Any, dtype: Any, /, *, copy: bool = True, order: str = "K", casting: str = "unsafe") -> Any:
    """`x` at another dtype; complex to real keeps the real part.

    >>> from fgrad import numpy as fnp
    >>> fnp.astype(np.array([1.5, 2.5]), int)
    array([1, 2])
    """
    dtype = np.dtype(dtype)
    return x if not copy and x.dtype == dtype and not is_weak(x) else _astype(x, dtype)


def array(object: Any, dtype: Any = None, copy: bool = True, order: str = "K", ndmin: int = 0) -> Any:
    """An array of a number, an array, or nested lists of these, which may be traced (NumPy's own `array` cannot).

    Raises `ShapeError` for ragged lists that hold traced values.

    >>> import fgrad
    >>> from fgrad import numpy as fnp
    >>> fgrad.jacfwd(lambda x: fnp.array([x, x * x]))(3.0)
    array([1., 6.])
    """
    if not is_traced(object):
        made = np.array(object, dtype, copy=copy, order=order, ndmin=ndmin)  # type: ignore[call-overload]
        return made if made is object else local(made)
    y = _copied(object) if isinstance(object, Tracer) else stacked(object)
    if dtype is not None:
        y = _astype(y, np.dtype(dtype))
    return y if y.ndim >= ndmin else s.reshape_call(y, (1,) * (ndmin - y.ndim) + y.shape)


def asarray(a: Any, dtype: Any = None, order: str | None = None, *, copy: bool | None = None) -> Any:
    """As `array`, without a copy where none is needed.

    >>> from fgrad import numpy as fnp
    >>> fnp.asarray([1, 2])
    array([1, 2])
    """
    if not is_traced(a):
        made = np.asarray(a, dtype, order=order, copy=copy)  # type: ignore[call-overload]
        return made if isinstance(a, np.ndarray) else local(made)
    if isinstance(a, Tracer) and not a.weak_type and not copy and dtype in (None, a.dtype):
        return a
    return array(a, dtype)


def _made(value: Any, shape: tuple[int, ...], dtype: np.dtype) -> Any:
    """`value` at a shape."""
    if type(value) is Tracer:
        return s.broadcast_call(_astype(value, dtype), shape)
    if np.ndim(value):
        return local(np.full(shape, value, dtype))
    # an equation of the program that this thread records, if it records one
    return local(stage(p.broadcast_in_dim, np.asarray(value, dtype)[()], shape=shape, dims=()))


def _creation(name: str, fill: int, example: str) -> Callable[..., Any]:
    def create(shape: Any, dtype: Any = None, order: str = "C", *, device: None = None, like: Any = None) -> Any:
        return _made(fill, shape_of(shape), np.dtype(dtype or np.float64))

    return _document(
        create, name, f"An array {example}, float64 unless a dtype is named; `like` changes nothing.", "(2)"
    )


def _document(f: Any, name: str, text: str, arguments: str) -> Any:
    shown = (
        "" if name == "empty" else "\n    " + repr(eval(f"np.{name}{arguments}", {"np": np})).replace("\n", "\n    ")
    )
    f.__name__ = f.__qualname__ = name
    f.__doc__ = f"""{text}

    >>> from fgrad import numpy as fnp
    >>> fnp.{name}{arguments}{".shape" if not shown else ""}{shown or chr(10) + "    (2,)"}
    """
    LIKE[getattr(np, name)] = f
    return f


zeros = _creation("zeros", 0, "of zeros")
ones = _creation("ones", 1, "of ones")
empty = _creation("empty", 0, "whose elements do not matter (they are zero)")


def full(
    shape: Any, fill_value: Any, dtype: Any = None, order: str = "C", *, device: None = None, like: Any = None
) -> Any:
    """An array whose elements are all `fill_value`, which may be traced (NumPy's own `full` cannot).

    >>> from fgrad import numpy as fnp
    >>> fnp.full(2, 7.0)
    array([7., 7.])
    """
    if not isinstance(fill_value, Tracer):
        fill_value = np.asarray(fill_value)
    return _made(fill_value, shape_of(shape), np.dtype(dtype or fill_value.dtype))


LIKE[np.full] = full


def _likeness(name: str, fill: int) -> Callable[..., Any]:
    def create(
        a: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None, device: Any = None
    ) -> Any:
        return _made(fill, a.shape if shape is None else shape_of(shape), np.dtype(dtype or a.dtype))

    create.__name__ = name
    word = {"zeros_like": "zeros", "ones_like": "ones", "empty_like": "elements that do not matter"}[name]
    create.__doc__ = f"""An array of {word}, of the shape and dtype of `a` unless others are named.

    >>> from fgrad import numpy as fnp
    >>> fnp.{name}(np.zeros(3)).shape
    (3,)
    """
    return traced(getattr(np, name), run=_locally(getattr(np, name)))(create)


zeros_like = _likeness("zeros_like", 0)
ones_like = _likeness("ones_like", 1)
empty_like = _likeness("empty_like", 0)


@traced(np.full_like, run=_locally(np.full_like))
def full_like(
    a: Any, fill_value: Any, dtype: Any = None, order: str = "K", subok: bool = True, shape: Any = None
) -> Any:
    """An array of `fill_value`, of the shape and dtype of `a` unless others are named.

    >>> from fgrad import numpy as fnp
    >>> fnp.full_like([1.0, 2.0], 7)
    array([7., 7.])
    """
    return _made(fill_value, np.shape(a) if shape is None else shape_of(shape), np.dtype(dtype or a.dtype))


@traced(np.copy, method="copy", run=_locally(lambda a, order="K": np.array(a, order=order)))
def copy(a: Any, order: str = "K") -> Any:
    """A copy, which may be written without changing `a`.

    >>> from fgrad import numpy as fnp
    >>> fnp.copy([1, 2])
    array([1, 2])
    """
    return _copied(a)


def _copied(x: Tracer) -> Any:
    return copied(x) if x.ndim else _copy(x)


def _known(name: str, text: str, arguments: str) -> Callable[..., Any]:
    """A function that makes arrays of what is known: NumPy's own."""
    numpy = _locally(getattr(np, name))

    def create(*args: Any, like: Any = None, **kwargs: Any) -> Any:
        return numpy(*args, **kwargs)

    return _document(create, name, text, arguments)


arange = _known(
    "arange", "Evenly spaced numbers from `start` (0) up to, without, `stop`: arange([start,] stop[, step]).", "(3)"
)
eye = _known(
    "eye", "A matrix of N rows (and M columns) with ones on diagonal `k`: eye(N, M=None, k=0, dtype=float).", "(2)"
)
identity = _known("identity", "The identity matrix of n rows: identity(n, dtype=None).", "(2)")
tri = _known("tri", "A matrix with ones at and below diagonal `k`: tri(N, M=None, k=0, dtype=float).", "(2)")
fromiter = _known(
    "fromiter", "An array of the numbers of an iterable: fromiter(iter, dtype, count=-1).", "([1, 2], int)"
)


def fromfunction(function: Callable[..., Any], shape: Any, *, dtype: Any = float, **kwargs: Any) -> Any:
    """The array whose element at (i, j, ...) is function(i, j, ...): called once, on arrays of all indices.

    >>> from fgrad import numpy as fnp
    >>> fnp.fromfunction(lambda i, j: i + j, (2, 2), dtype=int)
    array([[0, 1],
           [1, 2]])
    """
    return local(function(*np.indices(shape_of(shape), dtype), **kwargs))


@traced(np.linspace, sequences=True, run=_locally(np.linspace))
def linspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, retstep: bool = False, dtype: Any = None, axis: int = 0
) -> Any:
    """`num` evenly spaced numbers from `start` to `stop` (inclusive where `endpoint`), which may be traced arrays.

    >>> from fgrad import numpy as fnp
    >>> fnp.linspace(0.0, 1.0, 3)
    array([0. , 0.5, 1. ])
    """
    (num,) = shape_of(num)
    y = _linspace(start, stop, num, bool(endpoint))
    if dtype is not None:
        y = _astype(np.floor(y) if np.dtype(dtype).kind in "iu" else y, np.dtype(dtype))
    if axis and y.ndim > 1:
        y = s.moveaxis(y, 0, axis)
    steps = num - 1 if endpoint else num
    return (y, divide(subtract(stop, start), steps) if steps else np.nan) if retstep else y


@surface(arity=2)
def _linspace(start: Any, stop: Any, num: int, endpoint: bool) -> Any:
    dtype = np.result_type(result_dtype(start, stop), np.float64 if _integers(start, stop) else np.float16)
    start, stop = (cast(v, np.result_type(dtype, v.dtype)) for v in (start, stop))
    shape = np.broadcast_shapes(start.shape, stop.shape)
    start, stop = (broadcast(cast(v, dtype), (num, *shape)) for v in (start, stop))
    steps = max(num - 1 if endpoint else num, 1)
    ramp = cast(p.iota(dtype=np.dtype(np.float64), shape=(num, *shape), axis=0), dtype)
    middle = p.add(p.mul(ramp, p.div(p.sub(stop, start), steps)), start)
    if not endpoint or num < 2:
        return middle
    last = p.eq(p.iota(dtype=np.dtype(np.int64), shape=(num, *shape), axis=0), num - 1)
    return p.select(last, stop, middle)


def _integers(*xs: Any) -> bool:
    return all(x.dtype.kind in "biu" for x in xs)


@traced(np.logspace, sequences=True, run=_locally(np.logspace))
def logspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, base: Any = 10.0, dtype: Any = None, axis: int = 0
) -> Any:
    """`num` numbers from base**start to base**stop, whose logarithms are evenly spaced.

    >>> from fgrad import numpy as fnp
    >>> fnp.logspace(0.0, 2.0, 3)
    array([  1.,  10., 100.])
    """
    y = np.power(base, linspace(start, stop, num, endpoint, axis=axis))
    return y if dtype is None else _astype(y, np.dtype(dtype))


@traced(np.geomspace, sequences=True, run=_locally(np.geomspace))
def geomspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0) -> Any:
    """`num` numbers of constant ratio from `start` to `stop`, real and of one sign.

    >>> from fgrad import numpy as fnp
    >>> fnp.geomspace(1.0, 4.0, 3)
    array([1., 2., 4.])
    """
    start, stop = multiply(start, np.float64(1)), multiply(stop, np.float64(1))  # NumPy's is float64 at least
    sign = np.sign(start)
    ends = [np.log10(multiply(v, sign)) for v in (start, stop)]
    y = multiply(sign, logspace(*ends, num, endpoint, axis=axis))
    return y if dtype is None else _astype(y, np.dtype(dtype))


__all__ = [
    "arange", "array", "asarray", "astype", "copy", "empty", "empty_like", "eye", "fromfunction", "fromiter", "full",
    "full_like", "geomspace", "identity", "linspace", "logspace", "ones", "ones_like", "tri", "zeros", "zeros_like",
]  # fmt: skip
