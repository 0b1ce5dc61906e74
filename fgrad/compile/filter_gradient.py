"""The loop nest of the gradient of a convolution's weights: tiles of them are in registers, loops go over the places.

    for chunk in [begin, end):                        a few images, with a copy of the gradient of its own
      for image, block of rows in cache:
        for k, block of r, block of v:
          for l in vector:
            s00 = w[k, r, l]; s01 = ...
            for t in the block whose tap k lies in x:
              b0, b1 = y[t, l], y[t, lanes + l]
              s00 = fma(x[t + k, r], b0, s00); s01 = fma(x[t + k, r], b1, s01)
              s10 = fma(x[t + k, r + 1], b0, s10); ...

A second kernel adds up the chunks, which the shapes alone determine: the bits do not depend on threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

from .correlate import Axis, Rows, Sums, covered, grain, nanoseconds, shifted, tile_of
from .emit import Launch, Temporary
from .layouts import contiguous
from .nests import Builder, Kernel, Value
from .scalars import size_of

CACHE = 16384  # bytes of y that are gone over before other weights take the registers
CHUNKS = 16  # copies of the gradient, at most,
COPIES = 1 << 22  # and elements of them all


class Gradient(NamedTuple):
    """w[k, r, v] = Σ x[n, t · stride + k · dilation - low, r] · y[n, t, v] over images n and places t, by groups.

    There are `inner` channels r of x and `outer` channels v of y in a group. `axes` has two elements at least.
    `diagonal`: v of y meets only channel v of x, for r = 0 and one group.
    """

    type: str
    images: int
    axes: tuple[Axis, ...]
    groups: int
    inner: int
    outer: int
    diagonal: bool = False

    @property
    def size(self) -> int:
        """Elements of w."""
        return prod(x.taps for x in self.axes) * self.inner * self.groups * self.outer

    @property
    def macs(self) -> int:
        """Multiplications."""
        return self.images * prod(x.places for x in self.axes) * self.size


def filter_gradient(c: Gradient, rows: Rows, x: Any, y: Any, w: Any) -> list[Launch]:
    """The kernels of the sum: one for chunks of images, and where there are several one that adds these up."""
    cost = nanoseconds(c.type, c.macs)
    each = grain(cost, c.images, max(1, min(CHUNKS, COPIES // c.size)))
    chunks = -(-c.images // each)
    partial = w if chunks == 1 else Temporary(c.type, chunks * c.size)
    kernel, roles = kernel_of(c._replace(images=0), rows)
    varying = {"grain": each, "images": c.images}
    dims = [varying.get(role, n) for n, role in roles]
    launch = Launch(kernel, [x, y, partial], dims, chunks, 1)
    launch.cost, launch.flops = cost, 2 * c.macs
    return [launch] if chunks == 1 else [launch, added(partial, w, chunks, c.size)]


@lru_cache(256)
def kernel_of(c: Gradient, rows: Rows) -> tuple[Kernel, list[tuple[Any, str]]]:
    """The kernel for any number of images, and the roles of its dims."""
    nest = _Nest(c, rows)
    nest.chunk()
    return nest.k.finish(), list(nest.k.roles)


class _Nest:
    """The loops, from the outside to the inside. `move`: elements of x from one weight of a tile to the next."""

    def __init__(self, c: Gradient, rows: Rows):
        self.c, self.rows = c, rows
        self.k = k = Builder()
        self.x, self.y, self.w = k.buffer(c.type, "in"), k.buffer(c.type, "in"), k.buffer(c.type, "out")
        self.zero = k.const(0, "i64")
        self.channels = c.groups * c.outer
        *self.y_steps, _ = contiguous((*[x.places for x in c.axes], self.channels))
        last, step = c.axes[-1], rows.steps[-1]
        self.run, self.move, self.inside = c.inner, 1, False  # and whether the run goes over the taps of a row
        if c.diagonal:
            self.run, self.move, self.inside = last.taps, last.dilation * step, True
        elif last.dilation == 1 and step == c.inner:
            self.run, self.inside = last.taps * c.inner, True
        self.tile = tile_of(c.type, self.run, c.outer, c.diagonal)

    def chunk(self) -> None:
        """Clear the gradient of a chunk, and add that of its images."""
        k, c = self.k, self.c
        with k.serial(k.begin, k.end) as chunk:
            here = k.mul(chunk, k.dim(c.size))
            with k.vector(self.zero, k.dim(c.size)) as i:
                k.store(self.w, k.add(here, i), k.const(0, c.type))
            each = k.dim(0, "grain")
            first = k.mul(chunk, each)
            with k.serial(first, k.op("min", k.add(first, each), k.dim(0, "images"))) as n:
                self.image(n, here)

    def image(self, n: Value, here: Value) -> None:
        """Blocks of rows."""
        k, c = self.k, self.c
        first, *_ = c.axes
        there = k.affine([(n, k.dim(self.rows.image))], k.dim(self.rows.start))
        cotangent = k.affine([(n, k.dim(first.places * self.y_steps[0]))])
        height = min(max(CACHE // (self.y_steps[0] * size_of(c.type)), 1), first.places)
        parts = -(-first.places // height)
        height = -(-first.places // parts)
        with ExitStack() as stack:
            bounds = (self.zero, k.dim(first.places))
            if parts > 1:
                start = k.mul(stack.enter_context(k.serial(self.zero, k.dim(parts))), k.dim(height))
                bounds = (start, k.op("min", k.add(start, k.dim(height)), k.dim(first.places)))
            self.taps(stack, bounds, here, there, cotangent)

    def taps(self, stack: ExitStack, bounds: tuple[Value, Value], here: Value, there: Value, cotangent: Value) -> None:
        """Groups and taps; for each, the places whose window has it in x."""
        k, c = self.k, self.c
        if c.groups > 1:
            group = stack.enter_context(k.serial(self.zero, k.dim(c.groups)))
            there = k.affine([(group, k.dim(c.inner))], there)
            cotangent = k.affine([(group, k.dim(c.outer))], cotangent)
            here = k.affine([(group, k.dim(c.outer))], here)
        looped = c.axes[:-1] if self.inside else c.axes
        taps = [stack.enter_context(k.serial(self.zero, k.dim(axis.taps))) for axis in looped]
        steps = contiguous((*[x.taps for x in c.axes], c.inner, self.channels))
        here = k.affine(list(zip(taps, map(k.dim, steps), strict=False)), here)
        terms = [(i, k.dim(x.dilation * s)) for i, x, s in zip(taps, c.axes, self.rows.steps, strict=False)]
        there = k.affine(terms, there)
        ranges = [covered(k, axis, i) for i, axis in zip(taps, c.axes[:-1], strict=False)]
        low, high = ranges[0]
        ranges[0] = (k.op("max", low, bounds[0]), k.op("min", high, bounds[1]))
        self.tiles(ranges, here, there, cotangent)

    def tiles(self, ranges: Sequence[tuple[Value, Value]], here: Value, there: Value, cotangent: Value) -> None:
        """Whole tiles of w, and those at its borders."""
        k, c, (places, vectors, lanes) = self.k, self.c, self.tile
        behind, width = self.run - self.run % places, vectors * lanes
        for start, stop, p in ((0, behind, places), (behind, self.run, self.run % places)):
            if start == stop:
                continue
            with ExitStack() as stack:
                r = k.const(start, "i64")
                if stop > start + p:
                    r = k.mul(stack.enter_context(k.serial(self.zero, k.dim((stop - start) // p))), k.const(p, "i64"))
                place = k.affine([(r, k.dim(self.channels))], here)
                source = k.affine([(r, k.dim(self.move))], there)

                def one(v: Value, count: int, length: int, at=(p, place, source)) -> None:  # type: ignore[no-untyped-def]
                    p, place, source = at
                    source = k.add(source, v) if c.diagonal else source
                    self.tile_sums((p, count, length), ranges, k.add(place, v), source, k.add(cotangent, v))

                if c.outer >= width:
                    with k.serial(self.zero, k.dim(c.outer // width)) as block:
                        one(k.mul(block, k.const(width, "i64")), vectors, lanes)
                left = c.outer % width
                if left >= lanes:
                    one(k.dim(c.outer - left), left // lanes, lanes)
                if left % lanes:
                    one(k.dim(c.outer - left % lanes), 1, left % lanes)

    def tile_sums(
        self,
        shape: tuple[int, int, int],
        ranges: Sequence[tuple[Value, Value]],
        here: Value,
        there: Value,
        cotangent: Value,
    ) -> None:
        """Add the products of all places in the ranges to a tile; small tiles have several sets of sums in turn."""
        k, c, (places, vectors, lanes) = self.k, self.c, shape
        last = c.axes[-1]
        sets = min(max(-(-8 // (places * vectors)), 1), last.places)
        with k.vector(self.zero, k.const(lanes, "i64")) as lane:
            rows = [k.affine([(k.const(p, "i64"), k.dim(self.channels))], here) for p in range(places)]
            at = [[k.add(shifted(k, row, u * lanes), lane) for u in range(vectors)] for row in rows]
            starts = [[k.load(self.w, i) for i in row] for row in at]
            none = [[k.const(0, c.type)] * vectors] * places
            sums = [Sums(k, none if s else starts) for s in range(sets)]
            with ExitStack() as stack:
                ts = [stack.enter_context(k.serial(*bounds)) for bounds in ranges]
                terms = [(t, k.dim(x.stride * s)) for t, x, s in zip(ts, c.axes, self.rows.steps, strict=False)]
                there = k.affine(terms, there)
                there = k.add(there, lane) if c.diagonal else there
                row = k.affine(list(zip(ts, map(k.dim, self.y_steps), strict=False)), cotangent)

                def step(s: int, t: Value) -> None:
                    source = k.affine([(t, k.dim(last.stride * self.rows.steps[-1]))], there)
                    values = k.add(k.affine([(t, k.dim(self.channels))], row), lane)
                    b = [k.load(self.y, shifted(k, values, u * lanes)) for u in range(vectors)]
                    for p in range(places):
                        x = shifted(k, source, p * self.move)
                        a = [k.load(self.x, shifted(k, x, u * lanes * c.diagonal)) for u in range(vectors)]
                        sums[s].add(p, a, b)

                with k.serial(self.zero, k.dim(last.places // sets)) as i:
                    for s in range(sets):
                        step(s, shifted(k, k.affine([(i, k.const(sets, "i64"))]), s))
                for s in range(last.places % sets):
                    step(s, k.dim(last.places - last.places % sets + s))
            totals, *others = [s.values() for s in sums]
            for p, row_at in enumerate(at):
                for u, index in enumerate(row_at):
                    total = totals[p][u]
                    for other in others:
                        total = k.add(total, other[p][u])
                    k.store(self.w, index, total)


def added(partial: Temporary, out: Any, chunks: int, size: int) -> Launch:
    """The kernel that adds up the results of the chunks, in order."""
    k = Builder()
    source, target = k.buffer(partial.type, "in"), k.buffer(partial.type, "out")
    with k.vector(k.begin, k.end) as i:
        total = k.accumulator("add", k.load(source, i))
        with k.serial(k.const(1, "i64"), k.dim(chunks, "chunks")) as chunk:
            k.update(total, k.load(source, k.add(k.mul(chunk, k.dim(size, "size")), i)))
        k.store(target, i, k.read(total))
    launch = Launch(k.finish(), [partial, out], k.dims, size, max(-(-size // 64), 4096))
    launch.cost = 20.0 + 0.1 * chunks * size
    launch.flops = (chunks - 1) * size
    return launch
