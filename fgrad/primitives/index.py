"""Gather and scatter: reading and writing at index arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.effects import NONE, RAISES, Effects
from ..core.errors import OutOfBoundsError, ShapeError, message
from ..core.primitive import Primitive, is_linear
from ..core.trace import stage
from ..core.types import ShapedArray, shaped
from .family import align, p, total, type_of, zeros

_INT = np.dtype(np.int64)


def _index_effects(mode: str) -> Effects:
    return RAISES if mode == "raise" else NONE


def _check_indices(name: str, x: ShapedArray, indices: Sequence[ShapedArray], axes: Sequence[int]) -> tuple[int, ...]:
    shape = indices[0].shape if indices else ()
    if len(indices) != len(axes) or any(i.shape != shape or i.dtype.kind not in "iu" for i in indices):
        what = f"{name}: needs one integer index array per axis, all of one shape"
        raise ShapeError(message(what, got=", ".join(map(str, indices)), do="broadcast them first"))
    if any(not 0 <= a < x.ndim for a in axes) or list(axes) != sorted(set(axes)):
        raise ShapeError(message(f"{name}: axes {tuple(axes)} do not fit", got=x, do="name increasing axes"))
    return shape


def _front(x: Any, axes: Sequence[int]) -> Any:
    """A view of x with `axes` first."""
    if tuple(axes) == tuple(range(len(axes))):
        return x
    return x.transpose((*axes, *[a for a in range(x.ndim) if a not in axes]))


def _checked(x: Any, indices: Sequence[Any], axes: Sequence[int]) -> None:
    for a, i in zip(axes, indices, strict=True):
        n = x.shape[a]
        bad = (np.less(i, -n)) | (np.greater_equal(i, n))
        if np.any(bad):
            worst = int(np.asarray(i)[np.asarray(bad)].flat[0]) if np.ndim(i) else int(i)
            raise out_of_bounds(worst, a, shaped(x.shape, x.dtype))


def out_of_bounds(index: int, axis: int, t: ShapedArray) -> OutOfBoundsError:
    """The error for an index outside an axis of an array of that type."""
    what = f"index {index} is out of bounds for axis {axis} with size {t.shape[axis]}"
    return OutOfBoundsError(
        message(what, got=t, do='correct the index, or choose mode="clip", "wrap", "fill" or "drop"')
    )


class Gather(Primitive):
    """x at index arrays `indices`, one per axis of `axes`: axes of the indices first, then the remaining ones of x.

    `mode` "raise": indices in [-n, n), else `OutOfBoundsError`; "promise": the caller has seen to it.
    """

    pulls_in_place = True

    def typeof(self, x: ShapedArray, *indices: ShapedArray, axes: Any, mode: str) -> tuple[ShapedArray, ...]:
        shape = _check_indices(self.name, x, indices, axes)
        return (shaped(shape + tuple(n for a, n in enumerate(x.shape) if a not in axes), x.dtype),)

    def effects(self, *types: ShapedArray, **params: Any) -> Effects:
        return _index_effects(params["mode"])

    def run(self, x: Any, *indices: Any, axes: Any, mode: str) -> tuple[Any, ...]:
        x = np.asarray(x)
        if mode == "raise":
            _checked(x, indices, axes)
        try:
            out = _front(x, axes)[tuple(indices)] if indices else x
        except IndexError:  # what had looked at promised indices is dead, as in a gradient that needs no value
            _checked(x, indices, axes)
            raise
        return (np.array(out, order="C")[()],)

    def tangent(
        self, tangents: Sequence[Any], outs: Sequence[Any], x: Any, *indices: Any, axes: Any, mode: str
    ) -> Sequence[Any]:
        return (self(tangents[0], *indices, axes=axes, mode="promise"),)

    def transpose(
        self, cts: Sequence[Any], accs: Sequence[Any], x: Any, *indices: Any, axes: Any, mode: str
    ) -> Sequence[Any]:
        acc = zeros(x.type) if accs[0] is None else accs[0]
        return (p.scatter_add(acc, cts[0], *indices, axes=axes, mode="promise"), *[None] * len(indices))

    def batch(self, size: int, mapped: Sequence[bool], x: Any, *indices: Any, axes: Any, mode: str) -> Any:
        up = tuple(a + 1 for a in axes)
        if not any(mapped[1:]):
            y = self(x, *indices, axes=up, mode=mode)
            k = indices[0].ndim if indices else 0
            return [p.transpose(y, axes=(k, *[a for a in range(y.ndim) if a != k])) if k else y], [True]
        lanes = align(size, mapped[1:], indices)
        if not mapped[0]:
            return [self(x, *lanes, axes=axes, mode=mode)], [True]
        lane = stage(p.iota, dtype=_INT, shape=tuple(lanes[0].shape), axis=0)
        lanes = [p.convert_element_type(i, dtype=_INT) for i in lanes]
        return [self(x, lane, *lanes, axes=(0, *up), mode=mode)], [True]

    def samples(self, draw: Any) -> Any:
        shape = draw.shape(min_dims=1, min_side=1)
        axes = tuple(i for i in range(len(shape)) if draw.bool()) or (0,)
        lead = draw.shape(max_dims=2)
        indices = [draw.integers(lead, -shape[a], shape[a] - 1) for a in axes]
        return [draw.array(shape), *indices], {"axes": axes, "mode": "raise"}


class Scatter(Primitive):
    """x with `u` put at the positions that `gather` with these indices would read; of repeated ones the last stays.

    `mode` as in gather, and "drop": what lies outside [-n, n) is left out.
    """

    overwrites = 0
    spreads = 1

    def place(self, view: Any, index: Any, u: Any) -> None:
        """Write `u` into an ndarray."""
        view[index] = u

    def typeof(self, x: ShapedArray, u: ShapedArray, *indices: ShapedArray, axes: Any, mode: str) -> Any:
        shape = _check_indices(self.name, x, indices, axes) + tuple(n for a, n in enumerate(x.shape) if a not in axes)
        if u.shape != shape or u.dtype != x.dtype:
            what = f"{self.name}: the update must be {shaped(shape, x.dtype)}"
            raise ShapeError(message(what, got=u, do="broadcast and convert it first"))
        return (x,)

    def effects(self, *types: ShapedArray, **params: Any) -> Effects:
        return _index_effects(params["mode"])

    def run(self, x: Any, u: Any, *indices: Any, axes: Any, mode: str) -> tuple[Any, ...]:
        return (self.write(np.array(x), u, *indices, axes=axes, mode=mode)[()],)

    def write(self, x: Any, u: Any, *indices: Any, axes: Any, mode: str) -> Any:
        if mode == "raise":
            _checked(x, indices, axes)
        if mode == "drop":
            keep = np.ones(np.shape(indices[0]), bool)
            for a, i in zip(axes, indices, strict=True):
                keep &= np.greater_equal(i, -x.shape[a]) & np.less(i, x.shape[a])
            rest = [n for a, n in enumerate(x.shape) if a not in axes]
            indices, u = tuple(np.asarray(i)[keep] for i in indices), np.broadcast_to(u, (*keep.shape, *rest))[keep]
        try:
            self.place(_front(x, axes), tuple(indices) or (...,), u)
        except IndexError:
            _checked(x, indices, axes)
            raise
        return x

    def tangent(
        self, tangents: Sequence[Any], outs: Sequence[Any], x: Any, u: Any, *indices: Any, axes: Any, mode: str
    ) -> Sequence[Any]:
        quiet = {"axes": axes, "mode": "drop" if mode == "drop" else "promise"}
        return (self.push(tangents[0], tangents[1], outs[0], x, u, indices, quiet),)

    def push(self, t: Any, s: Any, y: Any, x: Any, u: Any, indices: Sequence[Any], quiet: dict[str, Any]) -> Any:
        """Tangent of the result from those of x and u; `quiet`: params for indices that were checked before."""
        kept = None if t is None else p.scatter(t, zeros(type_of(u)), *indices, **quiet)
        return kept if s is None else _added(kept, _winning(s, x, indices, quiet), x, indices, quiet)

    def transpose(
        self, cts: Sequence[Any], accs: Sequence[Any], x: Any, u: Any, *indices: Any, axes: Any, mode: str
    ) -> Sequence[Any]:
        if is_linear(u):
            return super().transpose(cts, accs, x, u, *indices, axes=axes, mode=mode)
        c_x = self(cts[0], self.factor(u), *indices, axes=axes, mode=mode)
        return (total([accs[0], c_x]), *[None] * (len(indices) + 1))

    def factor(self, u: Any) -> Any:
        """What the cotangent of x is scattered with: x is linear in the result where u replaces or multiplies it."""
        return zeros(type_of(u))

    def batch(self, size: int, mapped: Sequence[bool], x: Any, u: Any, *indices: Any, axes: Any, mode: str) -> Any:
        x, u = align(size, mapped[:2], (x, u))
        lanes = [p.convert_element_type(i, dtype=_INT) for i in align(size, mapped[2:], indices)]
        lane = stage(p.iota, dtype=_INT, shape=tuple(lanes[0].shape) if lanes else (size,), axis=0)
        return [self(x, u, lane, *lanes, axes=(0, *[a + 1 for a in axes]), mode=mode)], [True]

    def samples(self, draw: Any) -> Any:
        (x, *indices), params = p.gather.samples(draw)
        rest = tuple(n for a, n in enumerate(x.shape) if a not in params["axes"])
        if draw.bool():  # some indices outside
            indices, params = [2 * i for i in indices], {**params, "mode": "drop"}
        return [x, draw.array(np.shape(indices[0]) + rest), *indices], params


class ScatterAdd(Scatter):
    """As scatter, but `u` is added; repeated positions get every addend."""

    spreads = None

    def place(self, view: Any, index: Any, u: Any) -> None:
        np.add.at(*_flattened(view, index, u))

    def push(self, t: Any, s: Any, y: Any, x: Any, u: Any, indices: Sequence[Any], quiet: dict[str, Any]) -> Any:
        return t if s is None else _added(t, s, x, indices, quiet)

    def transpose(
        self, cts: Sequence[Any], accs: Sequence[Any], x: Any, u: Any, *indices: Any, axes: Any, mode: str
    ) -> Sequence[Any]:
        c_x = cts[0] if is_linear(x) else None
        c_u = _read(cts[0], indices, axes, mode) if is_linear(u) else None
        return (total([accs[0], c_x]), total([accs[1], c_u]), *[None] * len(indices))


class ScatterMul(Scatter):
    """As scatter, but multiplied by `u`; repeated positions get every factor.

    The second derivative by two factors at one position is right unless one of them is exactly zero.
    """

    spreads = None

    def place(self, view: Any, index: Any, u: Any) -> None:
        np.multiply.at(*_flattened(view, index, u))

    def push(self, t: Any, s: Any, y: Any, x: Any, u: Any, indices: Sequence[Any], quiet: dict[str, Any]) -> Any:
        pushed = None if t is None else self(t, u, *indices, **quiet)
        if s is None:
            return pushed
        # d y / d u_k is x times the other factors: their product from that of the non-zero ones and the count of zeros
        one, none = p.add(zeros(type_of(x)), 1), zeros(type_of(u))
        is_zero = p.eq(u, 0)
        units = p.add(none, 1)
        read = lambda v: _read(v, indices, **quiet)  # noqa: E731
        safe = p.select(is_zero, units, u)
        product = read(self(one, safe, *indices, **quiet))
        zeros_here = p.scatter_add(zeros(type_of(x)), p.select(is_zero, units, none), *indices, **quiet)
        other_zeros = p.sub(read(zeros_here), p.select(is_zero, units, none))
        others = p.select(p.eq(other_zeros, 0), p.div(product, safe), none)
        return _added(pushed, p.mul0(p.mul0(read(x), others), s), x, indices, quiet)

    def factor(self, u: Any) -> Any:
        return u


class ScatterExtreme(Scatter):
    """As scatter, but the larger or smaller of both; where several are equal they share the derivative."""

    spreads = None

    def __init__(self, name: str, ufunc: np.ufunc):
        super().__init__(name)
        self.combine = ufunc

    def place(self, view: Any, index: Any, u: Any) -> None:
        self.combine.at(*_flattened(view, index, u))

    def push(self, t: Any, s: Any, y: Any, x: Any, u: Any, indices: Sequence[Any], quiet: dict[str, Any]) -> Any:
        hit_x = p.convert_element_type(p.bit_or(p.eq(x, y), p.ne(x, x)), dtype=x.dtype)
        hit_u = p.bit_or(p.eq(u, _read(y, indices, **quiet)), p.ne(u, u))
        hit_u = p.convert_element_type(hit_u, dtype=x.dtype)
        count = p.max(p.scatter_add(hit_x, hit_u, *indices, **quiet), 1)
        kept = None if t is None else p.mul0(p.div(hit_x, count), t)
        share = p.div(hit_u, p.max(_read(count, indices, **quiet), 1)) if s is not None else None
        return kept if s is None else _added(kept, p.mul0(share, s), x, indices, quiet)

    def transpose(self, cts: Sequence[Any], accs: Sequence[Any], *xs: Any, **params: Any) -> Sequence[Any]:
        return Primitive.transpose(self, cts, accs, *xs, **params)


def _flattened(view: Any, index: Any, u: Any) -> tuple[Any, Any, Any]:
    """Operands of `ufunc.at`, which is several times faster with one index into a flat array."""
    if view.ndim == 1 or np.size(u) < 512 or index[0] is ... or not view.flags.c_contiguous:
        return view, index, u
    flat: Any = 0
    for n, i in zip(view.shape, index, strict=False):
        i = np.asarray(i, np.int64)
        flat = flat * n + np.where(i < 0, i + n, i)
    rest = math.prod(view.shape[len(index) :])
    if rest > 1:
        flat = flat[..., None] * rest + np.arange(rest)
    return view.reshape(-1), flat.reshape(-1), u.reshape(-1)


def _added(t: Any, s: Any, x: Any, indices: Sequence[Any], quiet: dict[str, Any]) -> Any:
    """The tangent `t` of x (None: zero) with `s` added at the indices."""
    return p.scatter_add(zeros(type_of(x)) if t is None else t, s, *indices, **quiet)


def _read(x: Any, indices: Sequence[Any], axes: Any, mode: str) -> Any:
    """What a scatter with these indices wrote to; zero where it dropped."""
    if mode != "drop":
        return p.gather(x, *indices, axes=axes, mode="promise")
    inside, safe = inside_bounds([p.convert_element_type(i, dtype=_INT) for i in indices], [x.shape[a] for a in axes])
    y = p.gather(x, *safe, axes=axes, mode="promise")
    mask = p.broadcast_in_dim(inside, shape=tuple(y.shape), dims=tuple(range(indices[0].ndim)))
    return p.select(mask, y, zeros(type_of(y)))


def inside_bounds(indices: Sequence[Any], sizes: Sequence[int]) -> tuple[Any, list[Any]]:
    """Where all int64 indices lie in [-n, n) of their axes, and indices that do everywhere (0 elsewhere)."""
    inside, safe = None, []
    for i, n in zip(indices, sizes, strict=True):
        here = p.bit_and(p.ge(i, -n), p.lt(i, n))
        inside = here if inside is None else p.bit_and(inside, here)
        safe.append(p.select(here, i, zeros(type_of(i))))
    return inside, safe


def _winning(s: Any, x: Any, indices: Sequence[Any], quiet: dict[str, Any]) -> Any:
    """`s` where its write is the one that stays; zero where a later write to the same position replaced it."""
    count = type_of(indices[0]).size if indices else 1
    if count == 1:
        return s
    shape = tuple(s.shape)
    if quiet["mode"] != "drop" and 8 * count < type_of(x).size:
        last = _last_of_equals(indices, [x.shape[a] for a in quiet["axes"]])
        return p.select(p.broadcast_in_dim(last, shape=shape, dims=tuple(range(last.ndim))), s, zeros(type_of(s)))
    order = p.reshape(stage(p.iota, dtype=_INT, shape=(type_of(s).size,), axis=0), shape=shape)
    nobody = stage(p.broadcast_in_dim, np.int64(-1), shape=tuple(x.shape), dims=())
    last = _read(p.scatter(nobody, order, *indices, **quiet), indices, **quiet)
    return p.select(p.eq(last, order), s, zeros(type_of(s)))


def _last_of_equals(indices: Sequence[Any], sizes: Sequence[int]) -> Any:
    """Where an index into axes of these sizes does not occur again further on: by sorting, at no cost of the array."""
    shape = tuple(indices[0].shape)
    count = type_of(indices[0]).size
    flat: Any = None
    for i, n in zip(indices, sizes, strict=True):
        i = p.convert_element_type(i, dtype=_INT)
        i = p.select(p.lt(i, 0), p.add(i, n), i)
        flat = i if flat is None else p.add(p.mul(flat, n), i)
    order = stage(p.iota, dtype=_INT, shape=(count,), axis=0)
    flat, order = p.sort(p.reshape(flat, shape=(count,)), order, axis=0, num_keys=1)
    following = p.concatenate(p.dynamic_slice(flat, 1, sizes=(count - 1,), strides=(1,)), np.full(1, -1), axis=0)
    last = p.sort(order, p.ne(flat, following), axis=0, num_keys=1)[1]
    return p.reshape(last, shape=shape)


gather = Gather("gather")
scatter = Scatter("scatter")
scatter_add = ScatterAdd("scatter_add")
scatter_mul = ScatterMul("scatter_mul")
scatter_min = ScatterExtreme("scatter_min", np.minimum)
scatter_max = ScatterExtreme("scatter_max", np.maximum)
