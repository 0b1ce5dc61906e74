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
order in which it is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import lru_cache
from itertools import pairwise, product
from math import prod
from typing import Any, NamedTuple

from .emit import Launch, Temporary
from .engine import native_vector_bytes
from .nests import Builder, Kernel, Value, Variable
from .scalars import size_of

CHUNK = 20_000.0  # nanoseconds of work that make a part of the parallel axis
BLOCKS = 64  # of places in a row that one unit of it takes


class Axis(NamedTuple):
    """A spatial axis: sizes of a, b and the result; place t sees t · stride + k · dilation - low in a through tap k."""

    size: int
    taps: int
    places: int
    stride: int
    dilation: int
    low: int

    @property
    def reach(self) -> int:
        """How many places of a, from -low on, are looked at."""
        return (self.places - 1) * self.stride + (self.taps - 1) * self.dilation + 1

    @property
    def inside(self) -> bool:
        """Whether all of them are there."""
        return self.low <= 0 and self.reach - self.low <= self.size


class Correlation(NamedTuple):
    """The sum above for `groups` groups, each with `inner` channels r of a and `outer` channels v of the result.

    The result's element of place t is at `start` + the sum of t · `steps`, n · `image` further for image n. `diagonal`:
    channel v of the result sees only channel v of a, for r = 0 and one group.
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
    diagonal: bool = False

    @property
    def channels(self) -> int:
        """Channels of a."""
        return self.outer if self.diagonal else self.groups * self.inner

    @property
    def macs(self) -> int:
        """Multiplications."""
        return self.images * prod(x.places * x.taps for x in self.axes) * self.groups * self.inner * self.outer


class Tile(NamedTuple):
    """What is in registers at a time: `places` × `vectors` of `lanes`."""

    places: int
    vectors: int
    lanes: int

    @property
    def width(self) -> int:
        """Channels."""
        return self.vectors * self.lanes


def tile_of(type: str, places: int, channels: int, diagonal: bool = False) -> Tile:
    """The tile that takes least time: a step takes half a cycle for each product or load, and four cycles at least.

    Its sums, the vectors of b and one element of a (`diagonal`: one vector) fit into the registers.
    """
    bytes = native_vector_bytes()
    lanes, registers = bytes // size_of(type), 32 if bytes == 64 else 16
    best, chosen = float("inf"), (1, 1)
    for vectors in range(1, max(2, min(5, channels // lanes + 1)) if diagonal else 5):
        blocks = -(-channels // (vectors * lanes))
        for p in range(1, min(places, (registers - 1) // vectors - 1) + 1):
            loads = (p + 1) * vectors if diagonal else p + vectors
            cost = blocks * -(-places // p) * (max(p * vectors, loads, 8) + 0.3)
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
    last = k.dim(axis.places)
    if axis.reach - axis.low > axis.size:
        last = k.op("min", last, number(axis.size + axis.low))
    return first, last


class Rows(NamedTuple):
    """How `a` lies in memory: elements from one place to the next along each axis, from image to image, and in front.

    `wide`: its rows hold all places that are looked at along the last axis, the first one first.
    """

    steps: tuple[int, ...]
    image: int
    start: int
    wide: bool


def rows_of(axes: Sequence[Axis], channels: int, wide: bool) -> Rows:
    """Of an array as it is, or (`wide`) as `zero_padded` makes it."""
    *outer, last = axes
    width = last.reach if wide else last.size
    steps, step = [channels], width * channels
    for x in reversed(outer):
        steps.append(step)
        step *= x.size
    start = 0 if wide else -last.low * channels
    start -= sum(x.low * s for x, s in zip(outer, steps[:0:-1], strict=True))
    return Rows(tuple(reversed(steps)), step, start, wide)


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
        for part, (start, stop) in enumerate(pairwise(bounds)):
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
    """The kernel that copies b as it is read, by (g, block of v, k, r, v in the block), with zeros behind the end."""
    rows = groups * -(-outer // width) * prod(taps)
    copy = Temporary(type, rows * inner * width)
    kernel, dims = packing(type, place, tuple(taps), inner, outer, groups, width)
    cost = 20.0 + rows * inner * (2 + 0.3 * width)
    launch = Launch(kernel, [b, copy], dims, rows, grain(cost, rows))
    launch.cost = cost
    return launch, copy


@lru_cache(256)
def packing(
    type: str, place: Filter, taps: tuple[int, ...], inner: int, outer: int, groups: int, width: int
) -> tuple[Kernel, list[Any]]:
    """The kernel of `packed` and its dims."""
    blocks = -(-outer // width)
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
    return k.finish(), k.dims


class Sums:
    """The registers of a tile: variables of a vector loop, to which products are added."""

    def __init__(self, k: Builder, starts: Sequence[Sequence[Value]]):
        self.k = k
        self.variables: list[list[Variable]] = [[k.variable(v) for v in row] for row in starts]

    def add(self, p: int, a: Sequence[Value], b: Sequence[Value]) -> None:
        """Add the products of elements of a and b to the sums of place p."""
        k = self.k
        for v, x, y in zip(self.variables[p], a, b, strict=True):
            k.assign(v, k.op("fma", x, y, k.read(v)))

    def values(self) -> list[list[Value]]:
        """The sums now."""
        return [[self.k.read(v) for v in row] for row in self.variables]


def shifted(k: Builder, index: Value, offset: int) -> Value:
    """index + offset, with the offset in the kernel's text."""
    return k.add(index, k.const(offset, "i64")) if offset else index


def correlation(c: Correlation, a: Any, rows: Rows, b: Any, out: Any, tile: Tile) -> Launch:
    """The kernel of the sum; b as `packed` makes it with the tile's width."""
    kernel, dims, units = kernel_of(c._replace(images=1), rows, tile)
    units *= c.images
    cost = nanoseconds(c.type, c.macs)
    launch = Launch(kernel, [a, b, out], dims, units, grain(cost, units))
    launch.cost, launch.flops = cost, 2 * c.macs
    return launch


@lru_cache(256)
def kernel_of(c: Correlation, rows: Rows, tile: Tile) -> tuple[Kernel, list[Any], int]:
    """The kernel for any number of images, its dims, and how many units of the parallel axis an image has."""
    nest = _Nest(c, rows, tile)
    nest.loops()
    return nest.k.finish(), nest.k.dims, nest.units


class _Nest:
    """The loops of a correlation, from the outside to the inside."""

    def __init__(self, c: Correlation, rows: Rows, tile: Tile):
        self.c, self.rows, self.tile = c, rows, tile
        self.k = k = Builder()
        self.a, self.b, self.out = k.buffer(c.type, "in"), k.buffer(c.type, "in"), k.buffer(c.type, "out")
        self.zero, self.one = k.const(0, "i64"), k.const(1, "i64")
        last = c.axes[-1]
        self.parts = -(-last.places // tile.places)
        self.segments = -(-self.parts // BLOCKS)
        self.units = c.images * prod(x.places for x in c.axes[:-1]) * self.segments
        self.blocks = -(-c.outer // tile.width)
        whole = c.outer % tile.width == 0 or c.diagonal
        self.scratch = None if whole else k.scratch(c.type, tile.places * tile.width)

    def loops(self) -> None:
        """The place of a tile in the result."""
        k, c, tile = self.k, self.c, self.tile
        *outer, last = c.axes
        with ExitStack() as stack:

            def loop(start: Value, stop: Value) -> Value:
                index: Value = stack.enter_context(k.serial(start, stop))
                return index

            unit = loop(k.begin, k.end)
            n, *ts, segment = decomposed(k, unit, (c.images, *[x.places for x in outer], self.segments))
            here = k.affine([(n, k.dim(c.image)), *zip(ts, map(k.dim, c.steps), strict=False)], k.dim(c.start))
            terms = [(t, k.dim(x.stride * s)) for t, x, s in zip(ts, outer, self.rows.steps, strict=False)]
            there = k.affine([(n, k.dim(self.rows.image)), *terms], k.dim(self.rows.start))
            self.bounds = [clip(k, x, t) for x, t in zip(outer, ts, strict=True)]
            group = loop(self.zero, k.dim(c.groups)) if c.groups > 1 else self.zero
            block = loop(self.zero, k.dim(self.blocks)) if self.blocks > 1 else self.zero
            channel = k.affine([(block, k.dim(tile.width))])
            if c.diagonal and self.blocks > 1:
                channel = k.op("min", channel, k.dim(c.outer - tile.width))
            panel = self.zero if c.diagonal else k.affine([(group, k.dim(self.blocks)), (block, self.one)])
            column = channel if c.diagonal else self.zero
            place = self.zero
            if self.parts > 1:
                first, behind = self.zero, k.dim(self.parts)
                if self.segments > 1:
                    first = k.mul(segment, k.dim(BLOCKS))
                    behind = k.op("min", k.add(first, k.dim(BLOCKS)), behind)
                place = k.mul(loop(first, behind), k.const(tile.places, "i64"))
                place = k.op("min", place, k.dim(last.places - tile.places))
            terms = [(group, k.dim(c.inner)), (place, k.dim(last.stride * self.rows.steps[-1]))]
            there = k.affine([*terms, (column, self.one)], there)
            terms = [(group, k.dim(c.outer)), (place, k.dim(c.steps[-1])), (channel, self.one)]
            here = k.affine(terms, here)
            self.one_tile(here, there, panel, column)
            if self.scratch is not None:
                self.unpack(here, channel)

    def one_tile(self, here: Value, there: Value, panel: Value, column: Value) -> None:
        """Compute a tile and write it to the result, or to scratch memory if not all lanes are of the result."""
        k, c, tile = self.k, self.c, self.tile
        with k.vector(self.zero, k.const(min(tile.lanes, c.outer) if c.diagonal else tile.lanes, "i64")) as lane:
            sums = Sums(k, [[k.const(0, c.type)] * tile.vectors] * tile.places)
            with ExitStack() as stack:
                at, tap = k.add(there, lane) if c.diagonal else there, panel
                for x, (low, high), step in zip(c.axes, self.bounds, self.rows.steps, strict=False):
                    i = stack.enter_context(k.serial(low, high))
                    at = k.affine([(i, k.dim(x.dilation * step))], at)
                    tap = k.affine([(tap, k.dim(x.taps)), (i, self.one)])
                self.row(sums, at, tap, k.affine([(column, self.one)], lane))
            for p, row in enumerate(sums.values()):
                for u, value in enumerate(row):
                    if self.scratch is None:
                        index = k.add(shifted(k, here, p * c.steps[-1] + u * tile.lanes), lane)
                        k.store(self.out, index, value)
                    else:
                        k.store(self.scratch, shifted(k, lane, p * tile.width + u * tile.lanes), value)

    def row(self, sums: Sums, at: Value, tap: Value, column: Value) -> None:
        """Add the products of one row of taps."""
        k, c = self.k, self.c
        last, step = c.axes[-1], self.rows.steps[-1]
        if not self.rows.wide and not last.inside:
            self.whole_row(sums, at, tap, column)
        elif last.dilation == 1 and step == c.inner:  # neighbouring taps are neighbours in memory
            self.channels(sums, at, tap, last.taps * c.inner, column)
        else:
            with k.serial(self.zero, k.dim(last.taps)) as i:
                at = k.affine([(i, k.dim(last.dilation * step))], at)
                number = k.affine([(tap, k.dim(last.taps)), (i, self.one)])
                self.channels(sums, at, number, c.inner, column)

    def whole_row(self, sums: Sums, at: Value, tap: Value, column: Value) -> None:
        """The same where the tile is a whole row: an element of a is loaded once for all taps that see it."""
        k, (_, vectors, lanes) = self.k, self.tile
        c, last, step = self.c, self.c.axes[-1], self.rows.steps[-1]
        width = k.const(c.outer if c.diagonal else self.tile.width, "i64")
        seen: dict[int, list[tuple[int, int]]] = {}
        for p, i in product(range(self.tile.places), range(last.taps)):
            x = p * last.stride + i * last.dilation
            if 0 <= x - last.low < last.size:
                seen.setdefault(x, []).append((p, i))
        with k.serial(self.zero, k.dim(c.inner)) as r:
            b = []
            for i in range(last.taps):
                number = k.affine([(tap, k.dim(last.taps)), (k.const(i, "i64"), self.one)])
                weight = k.add(k.mul(k.affine([(number, k.dim(c.inner))], r), width), column)
                b.append([k.load(self.b, shifted(k, weight, u * lanes)) for u in range(vectors)])
            at = k.add(at, r)
            for x, pairs in sorted(seen.items()):
                here = shifted(k, at, x * step)
                a = [k.load(self.a, shifted(k, here, u * lanes * c.diagonal)) for u in range(vectors)]
                for p, i in pairs:
                    sums.add(p, a, b[i])

    def channels(self, sums: Sums, at: Value, tap: Value, count: int, column: Value) -> None:
        """Add the products of `count` neighbours in a."""
        k, (_, vectors, lanes) = self.k, self.tile
        move = self.c.axes[-1].stride * self.rows.steps[-1]
        width = self.c.outer if self.c.diagonal else self.tile.width
        with k.serial(self.zero, k.dim(count)) as r:
            weight = k.add(k.mul(k.affine([(tap, k.dim(count))], r), k.const(width, "i64")), column)
            b = [k.load(self.b, shifted(k, weight, u * lanes)) for u in range(vectors)]
            at = k.add(at, r)
            for p in range(self.tile.places):
                here = shifted(k, at, p * move)
                sums.add(p, [k.load(self.a, shifted(k, here, u * lanes * self.c.diagonal)) for u in range(vectors)], b)

    def unpack(self, here: Value, channel: Value) -> None:
        """Copy a tile from scratch memory to the result, without the lanes behind the last channel."""
        k, c, tile = self.k, self.c, self.tile
        if c.outer < tile.width:
            bounds = [(k.const(a, "i64"), k.const(b, "i64")) for a, b in pieces(0, c.outer, tile.lanes)]
        else:
            bounds = [(self.zero, k.op("min", k.const(tile.width, "i64"), k.sub(k.dim(c.outer), channel)))]
        for start, stop in bounds:
            for p in range(tile.places):
                with k.vector(start, stop) as lane:
                    value = k.load(self.scratch, shifted(k, lane, p * tile.width))  # type: ignore[arg-type]
                    k.store(self.out, k.add(shifted(k, here, p * c.steps[-1]), lane), value)
