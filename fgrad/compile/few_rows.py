"""Loop nests of matrix products that read their operands where they are: of few rows, or small.

    c[i, j] = alpha · Σ a[i, t] · b[t, j] + beta · c[i, j]

OpenBLAS copies both operands at every call in the order in which it reads them; for few rows that takes as long as the
product. Here the rows of b lie in one piece, and P rows × U vectors of the result are in registers at a time:

    for unit in [begin, end):                     a panel of U vectors of columns, of one of the products
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
from typing import Any, NamedTuple

from .correlate import Sums, decomposed, grain, shifted
from .emit import Launch
from .engine import native_vector_bytes
from .nests import Builder, Value
from .products import Product, product_call
from .scalars import size_of, type_name

BLOCK = 256  # terms of a sum that are added up before they go to c,
LONG = 768  # if there are more than these


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


def tile_of(type: str, m: int, n: int, k: int) -> Tile:
    """The tile that takes least time: a step takes half a cycle for each product or load, and four cycles at least.

    LLVM loads all that a step needs before it multiplies: that has to fit into the registers beside the sums.
    """
    bytes = native_vector_bytes()
    lanes, registers = bytes // size_of(type), 32 if bytes == 64 else 16
    near = k * n * size_of(type) <= 1 << 15  # b is in the first-level cache
    best: Tile | None = None
    for vectors in range(1, min(4, -(-n // lanes)) + 1):
        for most in range(1, min(m, (registers - 1 - vectors) // (vectors + 1)) + 1):
            down = -(-m // most)
            rows, across = -(-m // down), -(-n // (vectors * lanes))
            step = max(rows * vectors, 8, rows + 2 * vectors, 0 if near else 5 * vectors)
            cost = across * (8 + down * (4 + rows * vectors + 0.2 * k * step))
            if best is None or cost < best.cost:
                best = Tile(rows, vectors, lanes, down, across, cost)
    assert best is not None
    return best


def few_rows(p: Product, operands: Sequence[Any]) -> Launch | None:
    """The kernel of a product on (a, b, c), where it is no slower than the library."""
    type = type_name(p.dtype)
    if type not in ("f32", "f64") or p.b.transposed or p.vector or not p.flops:
        return None
    tile = tile_of(type, p.m, p.n, p.k)
    cost = 20 + p.count * tile.cost
    if cost > product_call(p).cost:
        return None
    nest = _Nest(p, type, tile)
    nest.units()
    units = p.count * tile.across
    launch = Launch(nest.k.finish(), operands, nest.k.dims, units, grain(cost, units))
    launch.cost, launch.flops = cost, p.flops
    return launch


class _Nest:
    """The loops, from the outside to the inside. `again`: c is read, so nothing may be written twice."""

    def __init__(self, p: Product, type: str, tile: Tile):
        self.p, self.type, self.tile = p, type, tile
        self.k = k = Builder()
        self.a, self.b, self.c = k.buffer(type, "in"), k.buffer(type, "in"), k.buffer(type, "out")
        self.zero, self.one = k.const(0, "i64"), k.const(1, "i64")
        self.m, self.n, self.terms = k.dim(p.m, "rows"), k.dim(p.n, "columns"), k.dim(p.k, "terms")
        self.long = p.k > LONG
        self.again = self.long or p.beta != 0

    def units(self) -> None:
        """The panel, and the first elements of a, b and c for it."""
        k, p, tile = self.k, self.p, self.tile
        with k.serial(k.begin, k.end) as unit:
            *index, panel = decomposed(k, unit, (*[loop.size for loop in p.loops], tile.across))
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
        k, p, tile = self.k, self.p, self.tile
        with ExitStack() as stack:
            first, behind = self.zero, self.terms
            self.fresh = None
            if self.long:
                block = stack.enter_context(k.serial(self.zero, k.dim(-(-p.k // BLOCK), "chunks")))
                first = k.mul(block, k.const(BLOCK, "i64"))
                behind = k.op("min", k.add(first, k.const(BLOCK, "i64")), behind)
                self.fresh = k.op("eq", block, self.zero)
            number = self.zero
            if tile.down > 1:
                number = stack.enter_context(k.serial(self.zero, k.dim(tile.down, "chunks")))
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
        k, p, tile = self.k, self.p, self.tile
        alpha = None if p.alpha == 1 else k.const(p.alpha.real, self.type)
        column = k.add(k.affine([(self.column, self.one)], self.starts[2]), lane)
        for r, (row, values) in enumerate(zip(rows, sums, strict=True)):
            at = k.affine([(row, k.dim(p.c.stride, "down c")), (column, self.one)])
            for u, (offset, value) in enumerate(zip(offsets, values, strict=True)):
                index = k.add(at, offset) if offset else at
                value = value if alpha is None else k.mul(value, alpha)
                if not self.again:
                    k.store(self.c, index, value)
                    continue
                k.store(self.c, index, k.add(self.before(index), value), self.mine(r, u, row, lane, offset))

    def before(self, index: Value) -> Value:
        """What is to be added to a sum."""
        k, p = self.k, self.p
        old = k.load(self.c, index)
        start = k.const(0, self.type) if p.beta == 0 else old
        if p.beta not in (0, 1):
            start = k.mul(old, k.const(p.beta.real, self.type))
        return start if self.fresh is None else k.select(self.fresh, start, old)

    def mine(self, r: int, u: int, row: Value, lane: Value, offset: Value | None) -> Value | None:
        """Whether an element is in no tile before; None: for certain."""
        k, p, tile = self.k, self.p, self.tile
        mask = None
        if p.m % tile.rows:
            mask = k.op("ge", row, self.first_row)
        if p.n % tile.width and p.n > tile.lanes:
            column = k.add(self.column, k.add(lane, offset) if offset else lane)
            least = self.first_column if p.n > tile.width else k.const(u * tile.lanes, "i64")
            inside = k.op("ge", column, least)
            mask = inside if mask is None else k.op("and", mask, inside)
        return mask
