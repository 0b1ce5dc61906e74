"""Discrete Fourier transforms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.errors import DtypeError, ShapeError, message
from ..core.primitive import Primitive
from ..core.trace import stage
from ..core.types import ShapedArray, complex_dtype, real_dtype, shaped
from .family import check_axes, full, p

_RUN: dict[str, Callable[..., Any]] = {
    "fft": np.fft.fftn,
    "ifft": np.fft.ifftn,
    "rfft": np.fft.rfftn,
    "irfft": np.fft.irfftn,
}


class FFT(Primitive):
    """The transform `kind` ("fft", "ifft", "rfft", "irfft") over `axes`; inverse ones divide by the number of points.

    `lengths`: points of the signal along each axis. The real kinds store the half spectrum, n // 2 + 1 points, along
    the last of the axes; "irfft" takes the imaginary parts at its ends, which no real signal has, for zero.
    """

    def typeof(
        self, x: ShapedArray, *, kind: str, axes: tuple[int, ...], lengths: tuple[int, ...]
    ) -> tuple[ShapedArray, ...]:
        check_axes(kind, axes, x)
        if x.dtype.kind != ("f" if kind == "rfft" else "c") or x.dtype == np.float16:
            wanted = "float32 or float64" if kind == "rfft" else "complex64 or complex128"
            raise DtypeError(message(f"{kind} is not defined for {x.dtype}", got=x, do=f"convert to {wanted}"))
        given = list(lengths)
        if kind == "irfft":
            given[-1] = lengths[-1] // 2 + 1
        if not axes or min(lengths) < 1 or [x.shape[a] for a in axes] != given:
            raise ShapeError(
                message(
                    f"{kind}: {lengths} points do not fit the axes {axes}", got=x, do="pad or cut the operand first"
                )
            )
        shape = list(x.shape)
        if kind in ("rfft", "irfft"):
            shape[axes[-1]] = lengths[-1] // 2 + 1 if kind == "rfft" else lengths[-1]
        dtype = {"rfft": complex_dtype, "irfft": real_dtype}.get(kind, np.dtype)(x.dtype)
        return (shaped(tuple(shape), dtype),)

    def run(self, x: Any, *, kind: str, axes: tuple[int, ...], lengths: tuple[int, ...]) -> tuple[Any, ...]:
        return (np.ascontiguousarray(_RUN[kind](x, lengths, axes)),)

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], x: Any, **params: Any) -> Sequence[Any]:
        return (self(tangents[0], **params),)

    def pull(
        self, cts: Sequence[Any], x: Any, *, kind: str, axes: tuple[int, ...], lengths: tuple[int, ...]
    ) -> Sequence[Any]:
        ct, last, n = cts[0], axes[-1], lengths[-1]
        if kind in ("fft", "ifft"):  # the matrix of the transform is symmetric
            return (self(ct, kind=kind, axes=axes, lengths=lengths),)
        along = {"axes": (last,), "lengths": (n,)}
        others = {"axes": axes[:-1], "lengths": lengths[:-1]}
        if kind == "rfft":
            ct = self(ct, kind="fft", **others) if axes[:-1] else ct
            ends = p.mul(_weights(ct, last, n, 0.5), n)
            return (self(p.mul(ends, p.conj(ct)), kind="irfft", **along),)
        half = self(ct, kind="rfft", **along)
        half = p.mul(_weights(half, last, n, 2.0), p.mul(p.conj(half), 1 / n))
        return (self(half, kind="ifft", **others) if axes[:-1] else half,)

    def batch(
        self, size: int, mapped: Sequence[bool], x: Any, *, kind: str, axes: tuple[int, ...], lengths: tuple[int, ...]
    ) -> Any:
        return [self(x, kind=kind, axes=tuple(a + 1 for a in axes), lengths=lengths)], [True]

    def samples(self, draw: Any) -> Any:
        kind = draw.sampled(sorted(_RUN))
        lengths = draw.shape(min_dims=1, max_dims=2, min_side=1)
        shape = (*lengths[:-1], lengths[-1] // 2 + 1) if kind == "irfft" else lengths
        x = draw.array((*draw.shape(max_dims=1), *shape), "f8" if kind == "rfft" else "c16")
        return [x], {"kind": kind, "axes": tuple(range(x.ndim - len(lengths), x.ndim)), "lengths": lengths}


def _weights(half: Any, axis: int, n: int, inner: float) -> Any:
    """1 at the points of a half spectrum that are their own mirror images, `inner` at those that stand for two."""
    shape = tuple(half.shape)
    points = stage(p.iota, dtype=np.dtype(np.int64), shape=(shape[axis],), axis=0)
    alone = p.eq(points, 0)
    if n % 2 == 0:
        alone = p.bit_or(alone, p.eq(points, n // 2))
    one, other = (full(v, shaped((shape[axis],), half.dtype)) for v in (1, inner))
    return p.broadcast_in_dim(p.select(alone, one, other), shape=shape, dims=(axis,))


fft = FFT("fft")
