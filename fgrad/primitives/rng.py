"""Random numbers: the block cipher that all of them come from, and the samplers that loop until they accept.

Keys are arrays of two uint32 words along a last axis; the axes before it are those of the parameters' first axes, so a
mapped axis of keys is one more axis of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.errors import DtypeError, ShapeError, message
from ..core.primitive import Primitive
from ..core.types import ShapedArray, shaped
from . import sampling
from .family import align, p
from .threefry import threefry2x32 as _encrypt

_WORD = np.dtype(np.uint32)


class Threefry2x32(Primitive):
    """Counter words x0, x1 of shape (*batch, ...) encrypted under key words k0, k1 of shape (*batch,), all uint32."""

    def typeof(self, *types: ShapedArray) -> tuple[ShapedArray, ...]:
        k0, k1, x0, x1 = types
        if any(t.dtype != _WORD for t in types) or k0 != k1 or x0 != x1 or x0.shape[: k0.ndim] != k0.shape:
            what = "threefry2x32: needs two uint32 arrays of shape (*batch,) and two of shape (*batch, ...)"
            raise ShapeError(message(what, got=", ".join(map(str, types)), do="broadcast them first"))
        return x0, x1

    def run(self, *xs: Any) -> tuple[Any, ...]:
        k0, k1, x0, x1 = map(np.asarray, xs)
        shape = k0.shape + (1,) * (x0.ndim - k0.ndim)
        return _encrypt(k0.reshape(shape), k1.reshape(shape), x0, x1)

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], *xs: Any) -> Sequence[Any]:
        return (None, None)

    def batch(self, size: int, mapped: Sequence[bool], *xs: Any) -> Any:
        counters = align(size, mapped[2:], xs[2:])
        if any(mapped[:2]) or xs[0].ndim:
            return self(*align(size, mapped[:2], xs[:2]), *counters), [True, True]
        # one key for all lanes encrypts their counters as one array
        return self(*xs[:2], *counters), [True, True]

    def samples(self, draw: Any) -> Any:
        lead = draw.shape(max_dims=1)
        shapes = [lead, lead, *[(*lead, *draw.shape(max_dims=1))] * 2]
        return [draw.integers(s, 0, 2**32 - 1).astype(_WORD) for s in shapes], {}


class Sampler(Primitive):
    """A draw of one variable for each element of a parameter, from keys (*batch, 2) and parameters (*batch, ...)."""

    def check(self, key: ShapedArray, x: ShapedArray) -> None:
        """Raise `ShapeError` or `DtypeError` unless the two fit together."""
        lead = key.shape[:-1]
        if key.dtype != _WORD or key.shape[-1:] != (2,) or x.shape[: len(lead)] != lead:
            what = f"{self.name}: needs uint32 keys of shape (*batch, 2) and parameters of shape (*batch, ...)"
            raise ShapeError(message(what, got=f"{key} and {x}", do="make keys with fgrad.random.key and split"))
        if x.dtype.kind != "f":
            raise DtypeError(message(f"{self.name}: parameters must be floats", got=x, do="convert them first"))

    def batch(self, size: int, mapped: Sequence[bool], key: Any, x: Any, **params: Any) -> Any:
        # keys that all lanes share are repeated too: positions count among the elements of one key
        return [self(*align(size, mapped, (key, x)), **params)], [True]


class RandomGamma(Sampler):
    """A gamma variable, or its logarithm, of each shape parameter; its derivative is that at a fixed probability."""

    def typeof(self, key: ShapedArray, a: ShapedArray, *, log_space: bool) -> tuple[ShapedArray, ...]:
        self.check(key, a)
        return (a,)

    def run(self, key: Any, a: Any, *, log_space: bool) -> tuple[Any, ...]:
        return (sampling.gamma(np.asarray(key), np.asarray(a), log_space=log_space)[()],)

    def tangent(
        self, tangents: Sequence[Any], outs: Sequence[Any], key: Any, a: Any, *, log_space: bool
    ) -> Sequence[Any]:
        return (p.mul0(p.random_gamma_derivative(a, outs[0], log_space=log_space), tangents[1]),)

    def samples(self, draw: Any) -> Any:
        lead = draw.shape(max_dims=1)
        key = draw.integers((*lead, 2), 0, 2**32 - 1).astype(_WORD)
        return [key, draw.array((*lead, *draw.shape(max_dims=1)), "f8", "positive")], {"log_space": draw.bool()}


class RandomPoisson(Sampler):
    """A Poisson variable of each mean, in an integer dtype; -1 for a mean that is negative or NaN."""

    def typeof(self, key: ShapedArray, lam: ShapedArray, *, dtype: np.dtype) -> tuple[ShapedArray, ...]:
        self.check(key, lam)
        return (shaped(lam.shape, dtype),)

    def run(self, key: Any, lam: Any, *, dtype: np.dtype) -> tuple[Any, ...]:
        return (sampling.poisson(np.asarray(key), np.asarray(lam), dtype=dtype)[()],)

    def tangent(
        self, tangents: Sequence[Any], outs: Sequence[Any], key: Any, lam: Any, *, dtype: np.dtype
    ) -> Sequence[Any]:
        return (None,)

    def samples(self, draw: Any) -> Any:
        lead = draw.shape(max_dims=1)
        key = draw.integers((*lead, 2), 0, 2**32 - 1).astype(_WORD)
        return [key, draw.array((*lead, *draw.shape(max_dims=1)), "f8", "positive")], {"dtype": np.dtype(np.int64)}


threefry2x32 = Threefry2x32("threefry2x32")
random_gamma = RandomGamma("random_gamma")
random_poisson = RandomPoisson("random_poisson")
