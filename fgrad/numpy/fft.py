"""numpy.fft: discrete Fourier transforms.

All take NumPy's arguments: `n` or `s` points, to which the signal is cut or padded with zeros, and `norm` "backward",
"ortho" or "forward". float32 gives complex64, float64 complex128, as in NumPy 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.errors import DtypeError, ShapeError, message
from ..core.primitive import registry as p
from ..core.surface import surface
from ..core.types import complex_dtype, real_dtype
from .promote import cast
from .support import axes_of, axis_of, cut, is_traced, traced
from .ufuncs import divide

_SWAPPED = {None: "forward", "backward": "forward", "ortho": "ortho", "forward": "backward"}


def _prepared(x: Any, axes: Sequence[int], sizes: Sequence[int]) -> Any:
    """x cut, or padded with zeros behind, to `sizes` along `axes`."""
    high = [0] * x.ndim
    for a, n in zip(axes, sizes, strict=True):
        high[a] = n - x.shape[a]
    none = (0,) * x.ndim
    return p.pad(x, x.dtype.type(0), low=none, high=tuple(high), interior=none) if any(high) else x


def _scale(kind: str, norm: str | None, points: int) -> float:
    """What the primitive's result is multiplied by: forward kinds come plain, inverse ones divided by the points."""
    if norm not in _SWAPPED:
        raise ValueError(message(f"norm {norm!r} is unknown", got=norm, do='choose "backward", "ortho" or "forward"'))
    power = {None: 0.0, "backward": 0.0, "ortho": -0.5, "forward": -1.0}[norm]
    return points ** (-power if kind in ("ifft", "irfft") else power)


@surface(run=lambda x, name, s, axes, norm: getattr(np.fft, name)(x, s, axes, norm), arity=1)
def _transform(x: Any, name: str, s: Any, axes: Any, norm: str | None) -> Any:
    kind = name.rstrip("2n")
    if not isinstance(axes, int) and axes is not None and not len(axes):
        return cast(x, complex_dtype(x.dtype)) if kind in ("fft", "ifft") else _empty(name)
    flipped = kind in ("hfft", "ihfft")
    if flipped:
        kind, norm = {"hfft": "irfft", "ihfft": "rfft"}[kind], _SWAPPED.get(norm, norm)
    if axes is None:
        count = x.ndim if s is None else len(s)
        axes = tuple(range(x.ndim - count, x.ndim))
    axes = tuple(axis_of(name, a, x.ndim) for a in ((axes,) if isinstance(axes, int) else axes))
    given = [x.shape[a] for a in axes]
    lengths = [*given[:-1], 2 * (given[-1] - 1)] if kind == "irfft" else given
    if s is not None:
        s = (s,) if isinstance(s, int) else s
        lengths = [old if n == -1 else n for n, old in zip(s, lengths, strict=True)]
    if min(lengths) < 1:
        raise ShapeError(
            message(
                f"{name}: there must be at least one point along each axis",
                got=f"{x.shape}, {lengths} points",
                do="give n or s",
            )
        )
    if kind == "rfft" and x.dtype.kind == "c":
        raise DtypeError(
            message(f"{name} takes real signals", got=x.aval, do="transform x.real, or use the complex fft")
        )
    real = real_dtype(x.dtype if x.dtype.kind in "fc" else np.dtype(np.float64))
    half = real == np.float16
    real = np.dtype(np.float32) if half else real
    x = cast(x, real if kind == "rfft" else complex_dtype(real))
    if flipped and kind == "irfft":
        x = p.conj(x)
    sizes = [*lengths[:-1], lengths[-1] // 2 + 1] if kind == "irfft" else lengths
    y = p.fft(_prepared(x, axes, sizes), kind=kind, axes=axes, lengths=tuple(lengths))
    scale = _scale(kind, norm, math.prod(lengths))
    y = y if scale == 1 else p.mul(y, scale)
    if half and kind == "irfft" and len(axes) == 1:  # NumPy goes back to half precision here, and only here
        return cast(y, np.float16)
    return p.conj(y) if flipped and kind == "rfft" else y


def _empty(name: str) -> Any:
    raise ShapeError(message(f"{name}: needs at least one axis", got="axes=()", do="name the axes to transform"))


_MEANING = {
    "fft": "discrete Fourier transform",
    "ifft": "inverse of fft",
    "rfft": "half the spectrum of a real signal",
    "irfft": "inverse of rfft",
    "hfft": "spectrum, which is real, of a signal given by half as it is Hermitian",
    "ihfft": "inverse of hfft",
}


def _document(f: Callable[..., Any], name: str, where: str) -> Callable[..., Any]:
    f.__name__ = f.__qualname__ = name
    f.__doc__ = f"""numpy.fft.{name}: the {_MEANING[name.rstrip("2n")]}, over {where}.

    Raises `ShapeError` where there are no points.

    >>> from fgrad import numpy as fnp
    >>> x = np.arange(12.0).reshape(3, 4)
    >>> bool(np.all(fnp.fft.{name}(x) == np.fft.{name}(x)))
    True
    """
    return traced(getattr(np.fft, name))(f)


def _single(name: str) -> Callable[..., Any]:
    def transform(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None, out: Any = None) -> Any:
        return _transform(a, name, n, axis, norm)

    return _document(transform, name, "one axis")


def _double(name: str) -> Callable[..., Any]:
    def transform(a: Any, s: Any = None, axes: Any = (-2, -1), norm: str | None = None, out: Any = None) -> Any:
        return _transform(a, name, s, axes, norm)

    return _document(transform, name, "two axes")


def _several(name: str) -> Callable[..., Any]:
    def transform(a: Any, s: Any = None, axes: Any = None, norm: str | None = None, out: Any = None) -> Any:
        return _transform(a, name, s, axes, norm)

    return _document(transform, name, "several axes, by default all")


fft, ifft, rfft, irfft, hfft, ihfft = map(_single, ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft"))
fft2, ifft2, rfft2, irfft2 = map(_double, ("fft2", "ifft2", "rfft2", "irfft2"))
fftn, ifftn, rfftn, irfftn = map(_several, ("fftn", "ifftn", "rfftn", "irfftn"))


def _rolled(x: Any, axes: Any, shift: Callable[[int], int]) -> Any:
    for a in axes_of("fftshift", axes, x.ndim):
        n = x.shape[a]
        if n > 1:
            k = n - shift(n)
            x = p.concatenate(cut(x, a, k, n), cut(x, a, 0, k), axis=a)
    return x


@surface(run=np.fft.fftshift, arity=1)
def _fftshift(x: Any, axes: Any) -> Any:
    return _rolled(cast(x, x.dtype), axes, lambda n: n // 2)


@surface(run=np.fft.ifftshift, arity=1)
def _ifftshift(x: Any, axes: Any) -> Any:
    return _rolled(cast(x, x.dtype), axes, lambda n: n - n // 2)


@traced(np.fft.fftshift)
def fftshift(x: Any, axes: Any = None) -> Any:
    """numpy.fft.fftshift: the zero frequency moved from the front to the middle of the axes (by default all).

    >>> fftshift(np.array([0, 1, 2, -2, -1]))
    array([-2, -1,  0,  1,  2])
    """
    return _fftshift(x, axes)


@traced(np.fft.ifftshift)
def ifftshift(x: Any, axes: Any = None) -> Any:
    """numpy.fft.ifftshift: the inverse of fftshift.

    >>> ifftshift(np.array([-2, -1, 0, 1, 2]))
    array([ 0,  1,  2, -2, -1])
    """
    return _ifftshift(x, axes)


def fftfreq(n: int, d: Any = 1.0, device: Any = None) -> Any:
    """numpy.fft.fftfreq: the frequencies of `fft` of n points at distance d, in cycles per unit of d.

    >>> fftfreq(4, d=0.5)
    array([ 0. ,  0.5, -1. , -0.5])
    """
    return divide(np.fft.fftfreq(n), d) if is_traced(d) else np.fft.fftfreq(n, d)


def rfftfreq(n: int, d: Any = 1.0, device: Any = None) -> Any:
    """numpy.fft.rfftfreq: the frequencies of `rfft` of n points at distance d, in cycles per unit of d.

    >>> rfftfreq(4, d=0.5)
    array([0. , 0.5, 1. ])
    """
    return divide(np.fft.rfftfreq(n), d) if is_traced(d) else np.fft.rfftfreq(n, d)


__all__ = [
    "fft", "fft2", "fftfreq", "fftn", "fftshift", "hfft", "ifft", "ifft2", "ifftn", "ifftshift", "ihfft", "irfft",
    "irfft2", "irfftn", "rfft", "rfft2", "rfftfreq", "rfftn",
]  # fmt: skip
