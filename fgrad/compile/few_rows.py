"""Loop nests of matrix products that read their operands where they are: of few rows, or small.

    c[i, j] = alpha · Σ a[i, t] · b[t, j] + beta · c[i, j]

OpenBLAS copies both operands at every call in the order in which it reads them; for few rows that takes as long as the
product. Here the rows of b lie in one piece, and P rows × U vectors of the result are in registers at a time:

    for unit in [begin, end):                     a panel of U vectors of columns, of one of the products; or a
                                                  part of its rows
      for block of t:                             if the sum is long
        for tile of P rows:
          for l in vector:
            s00 = 0; s01 = 0; s10 = 0; ...
            for t:
              b0, b1 = b[t, l], b[t, lanes + l]
              s00 = fma(a[i, t], b0, s00);  s01 = fma(a[i, t], b1, s01)
              s10 = fma(a[i + 1, t], b0, s10); ...
            c[i, l] = s00; ...

The last panel and the last tile end with the last column and row, so all have one size: what they have in common with
those before is computed again to the same bits, and only written where c is not read as well. Sums are taken in the
order of t, in blocks of fixed length: the bits depend on neither threads nor panels.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import lru_cache
from typing import NamedTuple

from .correlate import Sums, decomposed, grain
from .emit import Launch
from .engine import native_vector_bytes
from .nests import STATIC, Builder, Value
from .products import Product
from .scalars import type_name

BLOCK = 256  # terms of a sum that are added up before they go to c,
LONG = 768  # if there are so many; or so many as a block, where a is transposed
BANDWIDTH = 30.0  # bytes a nanosecond, of operands and result
APART = 40_000.0  # nanoseconds from which on the rows of a panel are cut, where panels are fewer than
UNITS = 4  # units

# Products that OpenBLAS does as fast or faster, of which this many
ROWS = 64  # rows are exceeded: its copies pay,
FEW = 16  # or these, without AVX-512, and
NEAR = 1 << 15  # these bytes of b: the first-level cache;
FAR = 1 << 20  # or these in any case: a part of the second-level cache;
NARROW = 8  # columns are not reached,
TINY = 1024  # but for products of so few multiplications


class Tile(NamedTuple):
    """What is in registers at a time, `rows` × `vectors` of `lanes`; how many such cover the result, down and across.

    `cost`: estimated nanoseconds of the product.
    """

    rows: int
    vectors: int
    lanes: int
    down: int
    across: int
    cost: float

    @property
    def width(self) -> int:
        """Columns."""
        return self.vectors * self.lanes


def tile_of(p: Product) -> Tile:
    """The tile that takes least time: a step takes half a cycle for each product or load, and four cycles at least.

    LLVM loads all that a step needs before it multiplies: that has to fit into the registers beside the sums. What may
    be the size of a batch, and is no static one, does not count: the number of rows, or of terms if a is transposed.
    """
    bytes, size = native_vector_bytes(), p.dtype.itemsize
    lanes, registers = bytes // size, 32 if bytes == 64 else 16
    m, n, k = p.m if p.m <= STATIC else ROWS, p.n, BLOCK if p.a.transposed else p.k
    near = k * n * size <= NEAR
    best: Tile | None = None
    for vectors in range(1, min(4, -(-n // lanes)) + 1):
        for most in range(1, min(m, (registers - 1 - vectors) // (vectors + 1)) + 1):
            rows = -(-m // -(-m // most)) if m <= STATIC else most
            down, across = -(-m // rows), -(-n // (vectors * lanes))
            step = max(rows * vectors, 8, rows + 2 * vectors, 0 if near else 5 * vectors)
            cost = across * (8 + down * (4 + rows * vectors + 0.2 * k * step))
            if best is None or cost < best.cost:
                best = Tile(rows, vectors, lanes, down, across, cost)
    assert best is not None
    down = -(-p.m // best.rows)
    return best._replace(down=down, cost=best.cost * down / best.down * p.k / k)


def few_rows(p: Product) -> Launch | None:
    """The kernel of a product on operands 0, 1, 2 for a, b, c, where the library is hardly ever faster; else None."""
    return launch(p) if p.dtype.kind == "f" and p.flops and not p.b.transposed and suits(p) else None


def suits(p: Product) -> bool:
    """Whether such a kernel is worth it, by measurements with AVX-512 and AVX2."""
    bytes, b = native_vector_bytes(), p.k * p.n * p.dtype.itemsize
    if bytes < 32 or p.m * p.n * p.k <= TINY:
        return bytes >= 32
    if p.n < NARROW or (p.a.transposed and p.k < BLOCK):
        return False
    rows = ROWS if bytes == 64 or b <= NEAR else FEW
    return p.m <= rows and b <= (FAR if p.m > 1 else FAR // 4)


@lru_cache(4096)
def launch(p: Product) -> Launch:
    """The kernel of a product with the rows of b in one piece, and at least one element in each operand."""
    tile = tile_of(p)
    moved = p.count * (p.m * p.k + p.k * p.n + p.m * p.n) * p.dtype.itemsize
    cost = 20 + max(p.count * tile.cost, moved / BANDWIDTH)
    units = p.count * tile.across
    parts = 1 if cost < APART or units >= UNITS or tile.down < 2 else min(UNITS // units, tile.down)
    nest = _Nest(p, tile, parts)
    nest.units()
    units *= parts
    made = Launch(nest.k.finish(), (0, 1, 2), nest.k.dims, units, grain(cost, units))
    made.cost, made.flops = cost, p.flops
    return made


class _Nest:
    """The loops, from the outside to the inside. `again`: c is read, so nothing may be written twice.

    `parts`: into which the tiles of a panel are cut.
    """

    def __init__(self, p: Product, tile: Tile, parts: int):
        type = type_name(p.dtype)
        assert type is not None
        self.p, self.type, self.tile, self.parts = p, type, tile, parts
        self.k = k = Builder()
        self.a, self.b, self.c = k.buffer(type, "in"), k.buffer(type, "in"), k.buffer(type, "out")
        self.zero, self.one = k.const(0, "i64"), k.const(1, "i64")
        self.m, self.n, self.terms = k.dim(p.m, "rows"), k.dim(p.n, "columns"), k.dim(p.k, "terms")
        self.long = p.k >= (BLOCK if p.a.transposed else LONG)  # if it is, the sum may be over a batch, of any size
        self.again = self.long or p.beta != 0

    def units(self) -> None:
        """The panel, and the first elements of a, b and c for it."""
        k, p, tile = self.k, self.p, self.tile
        with k.serial(k.begin, k.end) as unit:
            *index, panel, self.part = decomposed(k, unit, (*[loop.size for loop in p.loops], tile.across, self.parts))
            starts = []
            for x, place in zip("abc", (p.a, p.b, p.c), strict=True):
                steps = [k.dim(getattr(loop, x), f"step of {x}") for loop in p.loops]
                starts.append(k.affine(list(zip(index, steps, strict=True)), k.dim(place.start, f"start of {x}")))
            self.starts = starts
            self.first_column = k.mul(panel, k.const(tile.width, "i64"))  # that no panel before has
            self.column = self.zero
            if p.n > tile.width:
                last = k.sub(self.n, k.const(tile.width, "i64"))
                self.column = k.op("min", self.first_column, last)
            self.blocks()

    def blocks(self) -> None:
        """Blocks of the sum, of tiles of rows."""
        k, tile = self.k, self.tile
        with ExitStack() as stack:
            first, behind = self.zero, self.terms
            self.fresh = None
            if self.long:
                length = k.const(BLOCK, "i64")
                count = k.op("quot", k.add(self.terms, k.const(BLOCK - 1, "i64")), length)
                block = stack.enter_context(k.serial(self.zero, count))
                first = k.mul(block, length)
                behind = k.op("min", k.add(first, length), behind)
                self.fresh = k.op("eq", block, self.zero)
            number = self.zero
            if tile.down > 1:
                start, stop = self.zero, k.dim(tile.down, "chunks")
                if self.parts > 1:
                    each = k.dim(-(-tile.down // self.parts), "chunks of a part")
                    start = k.mul(self.part, each)
                    stop = k.op("min", k.add(start, each), stop)
                number = stack.enter_context(k.serial(start, stop))
            self.first_row = k.mul(number, k.const(tile.rows, "i64"))
            row = k.op("min", self.first_row, k.sub(self.m, k.const(tile.rows, "i64"))) if tile.down > 1 else self.zero
            self.one_tile(row, first, behind)

    def one_tile(self, row: Value, first: Value, behind: Value) -> None:
        """Add up the terms from `first` on and write the tile."""
        k, p, (rows, vectors, lanes, *_) = self.k, self.p, self.tile
        start_a, start_b, _ = self.starts
        down, along = k.dim(p.a.down, "down a"), k.dim(p.a.along, "along a")
        with k.vector(self.zero, k.dim(min(lanes, p.n)) if p.n < lanes else k.const(lanes, "i64")) as lane:
            sums = Sums(k, [[k.const(0, self.type)] * vectors] * rows)
            offsets = self.offsets()
            numbers = [k.add(row, k.const(r, "i64")) if r else row for r in range(rows)]
            beside = [k.affine([(r, down)], start_a) for r in numbers]
            column = k.add(k.affine([(self.column, self.one)], start_b), lane)
            with k.serial(first, behind) as t:
                below = k.affine([(t, k.dim(p.b.down, "down b")), (column, self.one)])
                b = [k.load(self.b, k.add(below, offset) if offset else below) for offset in offsets]
                for r, start in enumerate(beside):
                    sums.add(r, [k.load(self.a, k.affine([(start, self.one), (t, along)]))] * vectors, b)
            self.write(numbers, lane, offsets, sums.values())

    def offsets(self) -> list[Value | None]:
        """How far the vectors of a panel are behind its first column; the last one of a narrow result ends with it."""
        k, p, tile = self.k, self.p, self.tile
        found = [k.const(u * tile.lanes, "i64") if u else None for u in range(tile.vectors)]
        if tile.lanes < p.n < tile.width:
            found[-1] = k.sub(self.n, k.const(tile.lanes, "i64"))
        return found

    def write(
        self, rows: Sequence[Value], lane: Value, offsets: Sequence[Value | None], sums: Sequence[Sequence[Value]]
    ) -> None:
        """Write sums, to which what is in c may be added."""
        k, p = self.k, self.p
        alpha = None if p.alpha == 1 else k.const(p.alpha.real, self.type)
        column = k.add(k.affine([(self.column, self.one)], self.starts[2]), lane)
        for row, values in zip(rows, sums, strict=True):
            at = k.affine([(row, k.dim(p.c.stride, "down c")), (column, self.one)])
            for u, (offset, value) in enumerate(zip(offsets, values, strict=True)):
                index = k.add(at, offset) if offset else at
                value = value if alpha is None else k.mul(value, alpha)
                if not self.again:
                    k.store(self.c, index, value)
                    continue
                k.store(self.c, index, k.add(self.before(index), value), self.mine(u, row, lane, offset))

    def before(self, index: Value) -> Value:
        """What is to be added to a sum."""
        k, p = self.k, self.p
        old = k.load(self.c, index)
        start = k.const(0, self.type) if p.beta == 0 else old
        if p.beta not in (0, 1):
            start = k.mul(old, k.const(p.beta.real, self.type))
        return start if self.fresh is None else k.select(self.fresh, start, old)

    def mine(self, u: int, row: Value, lane: Value, offset: Value | None) -> Value | None:
        """Whether an element is in no tile before; None: for certain."""
        k, p, tile = self.k, self.p, self.tile
        mask = None
        if p.m % tile.rows or p.m > STATIC:
            mask = k.op("ge", row, self.first_row)
        if p.n % tile.width and p.n > tile.lanes:
            column = k.add(self.column, k.add(lane, offset) if offset else lane)
            least = self.first_column if p.n > tile.width else k.const(u * tile.lanes, "i64")
            inside = k.op("ge", column, least)
            mask = inside if mask is None else k.op("and", mask, inside)
        return mask
