"""Loop nests of convolutions: sums over taps and channels with their results in registers.

    out[n, t, v] = Σ a[n, t · stride + k · dilation - low, r] · b[k, r, v]   over all taps k and channels r

is done for P neighbouring places t and U vectors of channels v at a time, in P · U registers (`correlation`):

    for unit in [begin, end):                  an image's row, or a part of it
      for block of v:
        for block of t:
          for l in vector:                     a lane has one channel of each of the U vectors
            for k, r:
              b0, b1 = b[k, r, l], b[k, r, lanes + l]
              s00 = fma(a[t, k, r], b0, s00);  s01 = fma(a[t, k, r], b1, s01)
              s10 = fma(a[t + 1, k, r], b0, s10); ...

No matrix of windows is made. Only `a` is copied where its rows need zeros around them, and b, which is small, in the
order in which it is read. `filter_gradient` has the weights' gradient in registers instead and goes over the places.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from math import prod
from typing import Any, NamedTuple

from .emit import Launch, Temporary
from .engine import native_vector_bytes
from .fuse import contiguous
from .nests import Buffer, Builder, Value, Variable
from .scalars import size_of

CHUNK = 20_000.0  # nanoseconds of work that make a part of the parallel axis
BLOCKS = 64  # of places in a row that one unit of it takes
CACHE = 16384  # bytes of a result's rows that a filter gradient goes over before it turns to the next registers


class Axis(NamedTuple):
    """A spatial axis: sizes of a, of b (taps) and of the result; place t sees t · stride + k · dilation - low in a."""

    size: int
    taps: int
    count: int
    stride: int
    dilation: int
    low: int

    @property
    def reach(self) -> int:
        """How many places of a, from -low on, are looked at."""
        return (self.count - 1) * self.stride + (self.taps - 1) * self.dilation + 1

    @property
    def inside(self) -> bool:
        """Whether all of them are there."""
        return self.low <= 0 and self.reach - self.low <= self.size


class Correlation(NamedTuple):
    """The sum above for `groups` groups, each with `inner` channels r of a and `outer` channels v of the result.

    The result's element of place t is at `start` + the sum of t · `steps`, n · `image` further for image n.
    """

    type: str
    images: int
    axes: tuple[Axis, ...]
    groups: int
    inner: int
    outer: int
    start: int
    steps: tuple[int, ...]
    image: int

    @property
    def macs(self) -> int:
        """Multiplications."""
        return self.images * prod(x.count * x.taps for x in self.axes) * self.groups * self.inner * self.outer


class Tile(NamedTuple):
    """What is in registers at a time: `places` × `vectors` of `lanes`."""

    places: int
    vectors: int
    lanes: int

    @property
    def width(self) -> int:
        """Channels."""
        return self.vectors * self.lanes


def tile_of(type: str, places: int, channels: int) -> Tile:
    """The tile that takes least time: a step of it takes half a cycle for a product or a load, and four cycles at least.

    Its sums, the vectors of b and one element of a fit into the registers.
    """
    bytes = native_vector_bytes()
    lanes, registers = bytes // size_of(type), 32 if bytes == 64 else 16
    best, chosen = float("inf"), (1, 1)
    for vectors in range(1, 5):
        blocks = -(-channels // (vectors * lanes))
        for p in range(1, min(places, (registers - 1) // vectors - 1) + 1):
            cycles = max(p * vectors, p + vectors, 8)
            cost = blocks * -(-places // p) * (cycles + 0.3)
            if cost < best:
                best, chosen = cost, (p, vectors)
    return Tile(*chosen, lanes)


def nanoseconds(type: str, macs: int) -> float:
    """Estimated time of multiplications and additions on one core."""
    return 20.0 + macs * size_of(type) / 160


def grain(cost: float, units: int, chunks: int = 64) -> int:
    """Units of a parallel axis in a part, fixed by the shape."""
    return -(-units // int(min(max(cost / CHUNK, 1), chunks, units)))


def pieces(start: int, stop: int, lanes: int) -> Iterator[tuple[int, int]]:
    """A range in whole vectors and powers of two, for which there are instructions without masks."""
    while start < stop:
        length = stop - start
        length = length // lanes * lanes or 1 << (length.bit_length() - 1)
        yield start, start + length
        start += length


def decomposed(k: Builder, number: Value, sizes: Sequence[int]) -> list[Value]:
    """The index of an element number; the first axis takes all that is left."""
    out: list[Value] = []
    behind = 1
    for i, n in reversed(list(enumerate(sizes))):
        value = number if behind == 1 else k.op("quot", number, k.dim(behind))
        out.append(k.op("rest", value, k.dim(n)) if i else value)
        behind *= n
    return out[::-1]


def clip(k: Builder, axis: Axis, t: Value) -> tuple[Value, Value]:
    """The first tap of place t that lies in a, and the one behind the last."""
    zero, one, step = k.const(0, "i64"), k.const(1, "i64"), k.dim(axis.dilation)
    at = k.affine([(t, k.dim(axis.stride))])

    def number(offset: int, places: Value) -> Value:
        """How many taps begin in front of so many places."""
        reach = k.op("max", k.sub(k.add(k.dim(offset), k.sub(step, one)), places), zero)
        return reach if axis.dilation == 1 else k.op("quot", reach, step)

    first = number(axis.low, at) if axis.low > 0 else zero
    last = k.dim(axis.taps)
    if axis.reach - axis.low > axis.size:
        last = k.op("min", last, number(axis.size + axis.low, at))
    return first, last


def covered(k: Builder, axis: Axis, tap: Value) -> tuple[Value, Value]:
    """The first place whose tap `tap` lies in a, and the one behind the last."""
    zero, step = k.const(0, "i64"), k.dim(axis.stride)
    at = k.affine([(tap, k.dim(axis.dilation))])

    def number(offset: int) -> Value:
        reach = k.op("max", k.sub(k.dim(offset + axis.stride - 1), at), zero)
        return reach if axis.stride == 1 else k.op("quot", reach, step)

    first = number(axis.low) if axis.low > 0 else zero
    last = k.dim(axis.count)
    if axis.reach - axis.low > axis.size:
        last = k.op("min", last, number(axis.size + axis.low))
    return first, last


class Rows(NamedTuple):
    """How `a` lies in memory: elements from one place to the next along each axis, from image to image, and in front.

    Along the last axis, all places that are looked at are there: place 0 of the window of place 0 comes first.
    """

    steps: tuple[int, ...]
    image: int
    start: int


def rows_of(axes: Sequence[Axis], channels: int, wide: bool) -> Rows:
    """Of an array as it is, or (`wide`) as `zero_padded` makes it."""
    *outer, last = axes
    width = last.reach if wide else last.size
    steps, step = [channels], width * channels
    for x in reversed(outer):
        steps.append(step)
        step *= x.size
    start = 0 if wide else -last.low * channels
    return Rows(tuple(reversed(steps)), step, start - sum(x.low * s for x, s in zip(outer, steps[:0:-1], strict=True)))


def zero_padded(a: Any, type: str, images: int, axes: Sequence[Axis], channels: int) -> tuple[Launch, Temporary]:
    """The kernel that copies rows with the zeros in front of and behind them that windows of the last axis see."""
    *outer, last = axes
    rows = images * prod(x.size for x in outer)
    width = last.reach * channels
    wide = Temporary(type, rows * width)
    k = Builder()
    source, target = k.buffer(type, "in"), k.buffer(type, "out")
    first = min(max(last.low, 0), last.reach)
    until = max(min(last.size + last.low, last.reach), first)
    zero = k.const(0, type)
    with k.serial(k.begin, k.end) as row:
        here = k.mul(row, k.dim(width))
        there = k.affine([(row, k.dim(last.size * channels))], k.dim(-last.low * channels))
        bounds = (0, first, until, last.reach)
        for part, (start, stop) in enumerate(zip(bounds, bounds[1:], strict=False)):
            if start < stop:
                with k.vector(k.dim(start * channels), k.dim(stop * channels)) as i:
                    k.store(target, k.add(here, i), k.load(source, k.add(there, i)) if part == 1 else zero)
    cost = 20.0 + rows * (4 + 0.05 * width * size_of(type))
    launch = Launch(k.finish(), [a, wide], k.dims, rows, grain(cost, rows))
    launch.cost = cost
    return launch, wide


class Filter(NamedTuple):
    """Where b[k, r, v] of group g is in an array: `start` and steps along k (of each axis), r, v and g."""

    start: int
    taps: tuple[int, ...]
    inner: int
    outer: int
    group: int


def packed(
    b: Any, type: str, place: Filter, taps: Sequence[int], inner: int, outer: int, groups: int, width: int
) -> tuple[Launch, Temporary]:
    """The kernel that copies b in the order in which it is read: (g, block of v, k, r, v), with zeros in front of v's end."""
    blocks = -(-outer // width)
    rows = groups * blocks * prod(taps)
    copy = Temporary(type, rows * inner * width)
    k = Builder()
    source, target = k.buffer(type, "in"), k.buffer(type, "out")
    zero = k.const(0, "i64")
    with k.serial(k.begin, k.end) as row:
        g, block, *tap = decomposed(k, row, (groups, blocks, *taps))
        first = k.affine([(block, k.dim(width))])
        steps = [k.dim(s) for s in (place.group, place.outer, *place.taps)]
        here = k.affine(list(zip((g, first, *tap), steps, strict=True)), k.dim(place.start))
        with k.serial(zero, k.dim(inner)) as r:
            there = k.mul(k.add(k.mul(row, k.dim(inner)), r), k.dim(width))
            at = k.affine([(r, k.dim(place.inner))], here)
            with k.vector(zero, k.const(width, "i64")) as v:
                index = k.affine([(v, k.dim(place.outer))], at)
                inside = None if outer % width == 0 else k.op("lt", k.add(first, v), k.dim(outer))
                other = None if inside is None else k.const(0, type)
                k.store(target, k.add(there, v), k.load(source, index, inside, other))
    cost = 20.0 + rows * inner * (2 + 0.3 * width)
    launch = Launch(k.finish(), [b, copy], k.dims, rows, grain(cost, rows))
    launch.cost = cost
    return launch, copy


class Sums:
    """The registers of a tile: variables of a vector loop, to which products are added."""

    def __init__(self, k: Builder, places: int, vectors: int, start: Any):
        self.k = k
        self.variables: list[list[Variable]] = [
            [k.variable(start(p, u)) for u in range(vectors)] for p in range(places)
        ]

    def step(self, a: Sequence[Value], b: Sequence[Value]) -> None:
        """Add the products of all pairs."""
        k = self.k
        for row, x in zip(self.variables, a, strict=True):
            for v, y in zip(row, b, strict=True):
                k.assign(v, k.op("fma", x, y, k.read(v)))


def shifted(k: Builder, index: Value, offset: int) -> Value:
    """index + offset, with the offset in the kernel's text."""
    return k.add(index, k.const(offset, "i64")) if offset else index


def correlation(c: Correlation, a: Any, rows: Rows, b: Any, out: Any, tile: Tile) -> Launch:
    """The kernel of the sum; b as `packed` makes it with the tile's width."""
    k = Builder()
    source, weights, target = k.buffer(c.type, "in"), k.buffer(c.type, "in"), k.buffer(c.type, "out")
    *outer, last = c.axes
    *outer_steps, out_step = c.steps
    P, U, L = tile
    width, blocks = tile.width, -(-c.outer // tile.width)
    whole = c.outer % width == 0
    scratch = None if whole else k.scratch(c.type, P * width)
    zero = k.const(0, "i64")
    merged = last.dilation == 1 and c.groups == 1
    run = last.taps * c.inner if merged else c.inner
    parts = -(-last.count // P)
    segments = -(-parts // BLOCKS)
    units = c.images * prod(x.count for x in outer) * segments
    with ExitStack() as stack:
        unit = stack.enter_context(k.serial(k.begin, k.end))
        n, *ts, segment = decomposed(k, unit, (c.images, *[x.count for x in outer], segments))
        here = k.affine([(n, k.dim(c.image)), *zip(ts, map(k.dim, outer_steps), strict=True)], k.dim(c.start))
        terms = [(t, k.dim(x.stride * s)) for t, x, s in zip(ts, outer, rows.steps, strict=False)]
        there = k.affine([(n, k.dim(rows.image)), *terms], k.dim(rows.start))
        bounds = [clip(k, x, t) for x, t in zip(outer, ts, strict=True)]
        first = k.mul(segment, k.dim(BLOCKS)) if segments > 1 else zero
        behind = k.op("min", k.add(first, k.dim(BLOCKS)), k.dim(parts)) if segments > 1 else k.dim(parts)
        group = stack.enter_context(k.serial(zero, k.dim(c.groups))) if c.groups > 1 else zero
        block = stack.enter_context(k.serial(zero, k.dim(blocks))) if blocks > 1 else zero
        there = k.affine([(group, k.dim(c.inner))], there)
        channel = k.affine([(block, k.dim(width))])
        panel = k.affine([(group, k.dim(blocks)), (block, k.const(1, "i64"))])
        part = stack.enter_context(k.serial(first, behind)) if parts > 1 else zero
        place = k.op("min", k.mul(part, k.const(P, "i64")), k.dim(last.count - P)) if parts > 1 else zero
        there = k.affine([(place, k.dim(last.stride * rows.steps[-1]))], there)
        terms = [(group, k.dim(c.outer)), (place, k.dim(out_step)), (channel, k.const(1, "i64"))]
        here = k.affine(terms, here)
        with k.vector(zero, k.const(L, "i64")) as lane:
            sums = Sums(k, P, U, lambda p, u: k.const(0, c.type))
            with ExitStack() as taps:
                at, tap = there, panel
                for x, (low, high), step in zip(outer, bounds, rows.steps, strict=False):
                    i = taps.enter_context(k.serial(low, high))
                    at = k.affine([(i, k.dim(x.dilation * step))], at)
                    tap = k.affine([(tap, k.dim(x.taps)), (i, k.const(1, "i64"))])
                if not merged:
                    i = taps.enter_context(k.serial(zero, k.dim(last.taps)))
                    at = k.affine([(i, k.dim(last.dilation * rows.steps[-1]))], at)
                    tap = k.affine([(tap, k.dim(last.taps)), (i, k.const(1, "i64"))])
                r = taps.enter_context(k.serial(zero, k.dim(run)))
                at = k.add(at, r)
                weight = k.add(k.mul(k.affine([(tap, k.dim(run))], r), k.const(width, "i64")), lane)
                values = [k.load(weights, shifted(k, weight, u * L)) for u in range(U)]
                move = last.stride * rows.steps[-1]
                sums.step([k.load(source, shifted(k, at, p * move)) for p in range(P)], values)
            for p, row in enumerate(sums.variables):
                for u, v in enumerate(row):
                    if scratch is None:
                        k.store(target, k.add(shifted(k, here, p * out_step + u * L), lane), k.read(v))
                    else:
                        k.store(scratch, shifted(k, lane, p * width + u * L), k.read(v))
        if scratch is not None:
            unpack(k, scratch, target, here, out_step, channel, c.outer, tile)
    cost = nanoseconds(c.type, c.macs)
    launch = Launch(k.finish(), [a, b, out], k.dims, units, grain(cost, units))
    launch.cost, launch.flops = cost, 2 * c.macs
    return launch


def unpack(
    k: Builder, scratch: Buffer, target: Buffer, here: Value, step: int, channel: Value, channels: int, tile: Tile
) -> None:
    """Copy a tile from scratch memory to the result, without the lanes behind the last channel."""

    def copy(start: Value, stop: Value) -> None:
        for p in range(tile.places):
            with k.vector(start, stop) as l:
                k.store(target, k.add(shifted(k, here, p * step), l), k.load(scratch, shifted(k, l, p * tile.width)))

    zero = k.const(0, "i64")
    if channels < tile.width:
        for start, stop in pieces(0, channels, tile.lanes):
            copy(k.const(start, "i64"), k.const(stop, "i64"))
    else:
        copy(zero, k.op("min", k.const(tile.width, "i64"), k.sub(k.dim(channels), channel)))


class Gradient(NamedTuple):
    """w[k, r, v] = Σ x[n, t · stride + k · dilation - low, r] · y[n, t, v] over images n and places t, by groups.

    There are `inner` channels r of x and `outer` channels v of y in a group. `axes` has two elements at least.
    """

    type: str
    images: int
    axes: tuple[Axis, ...]
    groups: int
    inner: int
    outer: int

    @property
    def size(self) -> int:
        """Elements of w."""
        return prod(x.taps for x in self.axes) * self.inner * self.groups * self.outer

    @property
    def macs(self) -> int:
        """Multiplications."""
        return self.images * prod(x.count for x in self.axes) * self.size


def filter_gradient(c: Gradient, a: Any, rows: Rows, y: Any, out: Any) -> list[Launch]:
    """The kernels of the sum: one for chunks of images, and where there are several one that adds these up."""
    cost = nanoseconds(c.type, c.macs)
    each = grain(cost, c.images, max(1, min(16, (1 << 22) // c.size)))
    chunks = -(-c.images // each)
    partial = out if chunks == 1 else Temporary(c.type, chunks * c.size)
    k = Builder()
    x, cotangent, w = k.buffer(c.type, "in"), k.buffer(c.type, "in"), k.buffer(c.type, "out")
    zero = k.const(0, "i64")
    nest = _GradientNest(k, c, rows, x, cotangent, w)
    with k.serial(k.begin, k.end) as chunk:
        here = k.mul(chunk, k.dim(c.size))
        with k.vector(zero, k.dim(c.size)) as i:
            k.store(w, k.add(here, i), k.const(0, c.type))
        first = k.mul(chunk, k.dim(each))
        with k.serial(first, k.op("min", k.add(first, k.dim(each)), k.dim(c.images))) as n:
            nest.image(n, here)
    launch = Launch(k.finish(), [a, y, partial], k.dims, chunks, 1)
    launch.cost, launch.flops = cost, 2 * c.macs
    return [launch] if chunks == 1 else [launch, added(partial, out, chunks, c.size)]


class _GradientNest:
    """The loops over one image, from the outside to the inside."""

    def __init__(self, k: Builder, c: Gradient, rows: Rows, x: Buffer, y: Buffer, w: Buffer):
        self.k, self.c, self.rows, self.x, self.y, self.w = k, c, rows, x, y, w
        self.zero = k.const(0, "i64")
        last = c.axes[-1]
        self.merged = last.dilation == 1 and c.groups == 1
        self.run = last.taps * c.inner if self.merged else c.inner
        self.tile = tile_of(c.type, self.run, c.outer)
        self.channels = c.groups * c.outer
        *self.y_steps, _ = contiguous((*[x.count for x in c.axes], self.channels))

    def image(self, n: Value, here: Value) -> None:
        """Blocks of rows that stay in the cache."""
        k, c = self.k, self.c
        first, *_ = c.axes
        there = k.affine([(n, k.dim(self.rows.image))], k.dim(self.rows.start))
        cotangent = k.affine([(n, k.dim(first.count * self.y_steps[0]))])
        height = min(max(CACHE // (self.y_steps[0] * size_of(c.type)), 1), first.count)
        parts = -(-first.count // height)
        height = -(-first.count // parts)
        with ExitStack() as stack:
            bounds = (self.zero, k.dim(first.count))
            if parts > 1:
                start = k.mul(stack.enter_context(k.serial(self.zero, k.dim(parts))), k.dim(height))
                bounds = (start, k.op("min", k.add(start, k.dim(height)), k.dim(first.count)))
            self.taps(stack, bounds, here, there, cotangent)

    def taps(self, stack: ExitStack, bounds: tuple[Value, Value], here: Value, there: Value, cotangent: Value) -> None:
        """Groups and taps; for each, the places whose window has it in x."""
        k, c = self.k, self.c
        if c.groups > 1:
            group = stack.enter_context(k.serial(self.zero, k.dim(c.groups)))
            there = k.affine([(group, k.dim(c.inner))], there)
            cotangent = k.affine([(group, k.dim(c.outer))], cotangent)
            here = k.affine([(group, k.dim(c.outer))], here)
        taps = []
        for axis in c.axes[: -1 if self.merged else None]:
            taps.append(stack.enter_context(k.serial(self.zero, k.dim(axis.taps))))
        steps = contiguous((*[x.taps for x in c.axes], c.inner, self.channels))
        here = k.affine(list(zip(taps, map(k.dim, steps), strict=False)), here)
        terms = [(i, k.dim(x.dilation * s)) for i, x, s in zip(taps, c.axes, self.rows.steps, strict=False)]
        there = k.affine(terms, there)
        ranges = []
        for i, axis in zip(taps, c.axes[:-1], strict=False):
            low, high = covered(k, axis, i)
            if not ranges:
                low, high = k.op("max", low, bounds[0]), k.op("min", high, bounds[1])
            ranges.append((low, high))
        self.tiles(ranges, here, there, cotangent)

    def tiles(self, ranges: Sequence[tuple[Value, Value]], here: Value, there: Value, cotangent: Value) -> None:
        """Whole tiles of w, and those at its borders."""
        k, (places, vectors, lanes) = self.k, self.tile
        rest, behind = self.run % places, self.run - self.run % places
        for start, stop, p in ((0, behind, places), (behind, self.run, rest)):
            if start == stop:
                continue
            with ExitStack() as stack:
                r = k.const(start, "i64")
                if stop > start + p:
                    r = k.mul(stack.enter_context(k.serial(self.zero, k.dim((stop - start) // p))), k.const(p, "i64"))
                place, source = k.affine([(r, k.dim(self.channels))], here), k.add(there, r)
                width, at = vectors * lanes, 0
                if self.c.outer >= width:
                    at = self.c.outer // width * width
                    with k.serial(self.zero, k.dim(self.c.outer // width)) as block:
                        v = k.mul(block, k.const(width, "i64"))
                        self.tile_sums(p, vectors, lanes, ranges, k.add(place, v), source, k.add(cotangent, v))
                left = self.c.outer - at
                if left >= lanes:
                    v = k.dim(at)
                    self.tile_sums(p, left // lanes, lanes, ranges, k.add(place, v), source, k.add(cotangent, v))
                if left % lanes:
                    v = k.dim(self.c.outer - left % lanes)
                    self.tile_sums(p, 1, left % lanes, ranges, k.add(place, v), source, k.add(cotangent, v))

    def tile_sums(
        self,
        places: int,
        vectors: int,
        lanes: int,
        ranges: Sequence[tuple[Value, Value]],
        here: Value,
        there: Value,
        cotangent: Value,
    ) -> None:
        """Add the products of all places in the ranges to one tile; several sets of sums where one has few."""
        k, c = self.k, self.c
        last = c.axes[-1]
        sets = min(max(-(-8 // (places * vectors)), 1), last.count)
        with k.vector(self.zero, k.const(lanes, "i64")) as lane:
            at = [
                [
                    k.add(shifted(k, k.affine([(k.const(p, "i64"), k.dim(self.channels))], here), u * lanes), lane)
                    for u in range(vectors)
                ]
                for p in range(places)
            ]
            none = k.const(0, c.type)
            sums = [
                Sums(k, places, vectors, lambda p, u: k.load(self.w, at[p][u]) if not s else none) for s in range(sets)
            ]
            with ExitStack() as stack:
                ts = [stack.enter_context(k.serial(*bounds)) for bounds in ranges]
                terms = [(t, k.dim(x.stride * s)) for t, x, s in zip(ts, c.axes, self.rows.steps, strict=False)]
                there = k.affine(terms, there)
                row = k.affine(list(zip(ts, map(k.dim, self.y_steps), strict=False)), cotangent)
                move = last.stride * self.rows.steps[-1]

                def step(s: int, t: Value) -> None:
                    source = k.affine([(t, k.dim(move))], there)
                    values = k.add(k.affine([(t, k.dim(self.channels))], row), lane)
                    b = [k.load(self.y, shifted(k, values, u * lanes)) for u in range(vectors)]
                    sums[s].step([k.load(self.x, shifted(k, source, p)) for p in range(places)], b)

                with k.serial(self.zero, k.dim(last.count // sets)) as i:
                    for s in range(sets):
                        step(s, shifted(k, k.mul(i, k.const(sets, "i64")) if sets > 1 else i, s))
                for s in range(last.count % sets):
                    step(s, k.dim(last.count - last.count % sets + s))
            for p in range(places):
                for u in range(vectors):
                    total = k.read(sums[0].variables[p][u])
                    for other in sums[1:]:
                        total = k.add(total, k.read(other.variables[p][u]))
                    k.store(self.w, at[p][u], total)


def added(partial: Temporary, out: Any, chunks: int, size: int) -> Launch:
    """The kernel that adds up the results of the chunks, in order."""
    k = Builder()
    source, target = k.buffer(partial.type, "in"), k.buffer(partial.type, "out")
    with k.vector(k.begin, k.end) as i:
        total = k.load(source, i)
        for chunk in range(1, chunks):
            total = k.add(total, k.load(source, k.add(k.dim(chunk * size), i)))
        k.store(target, i, total)
    launch = Launch(k.finish(), [partial, out], k.dims, size, max(-(-size // 64), 4096))
    launch.cost = 20.0 + 0.1 * chunks * size
    launch.flops = (chunks - 1) * size
    return launch
