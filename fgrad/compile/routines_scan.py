"""Kernels along one axis of (outer, n, inner): running reductions, and the place of the first extreme."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from math import prod

from .emit import identity
from .nests import Value
from .routines_writer import Writer, combined
from .scalars import FLOATS, size_of

WIDE = 8  # neighbours, or rows, from which on lanes go across them
COLUMNS = 1024  # neighbours that are worked on together, so that what they have come to stays in cache
BLOCK = 1024  # elements of which the extreme is found before its place
SMALL = 128  # the same, of rows that have few such blocks
SHORT = 24  # rows up to this length are searched in lanes across rows


def split(w: Writer) -> tuple[int, int, int]:
    """Elements before, along and behind the axis."""
    shape, axis = w.shape(0), w.eqn.params["axis"]
    return prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])


def running(w: Writer, op: str) -> bool:
    """y[j] = y[j - 1] <op> x[j], one after the other, as NumPy rounds."""
    if not w.known(0) or (w.complex(0) and op != "add"):
        return False
    outer, n, inner = split(w)
    each = 40.0 if op == "logaddexp" else 2.0
    if inner >= WIDE:
        w.cost = 20.0 + 0.2 * each * outer * n * inner
        running_columns(w, op, outer, n, inner)
    elif inner == 1 and outer >= WIDE:
        w.cost = 20.0 + 0.4 * each * outer * n
        running_rows(w, op, outer, n)
    else:
        w.cost = 20.0 + each * outer * n * inner
        running_line(w, op, outer, n, inner)
    return True


def place(w: Writer, j: Value, n: int) -> Value:
    """The j-th place along the axis, from the end if the equation says so."""
    return w.k.sub(w.k.dim(n - 1, "last"), j) if w.eqn.params["reverse"] else j


def running_columns(w: Writer, op: str, outer: int, n: int, inner: int) -> None:
    """Blocks of columns; the line before is read from the result.

    for block in [begin, end):
        for c in vector columns: y[0, c] = x[0, c]
        for j in [1, n):
            for c in vector columns: y[j, c] = y[j - 1, c] + x[j, c]
    """
    k, x, y = w.k, w.buffer(0), w.buffer(1, "out")
    with column_blocks(w, outer, n, inner) as (start, low, high):
        first = k.affine([(place(w, w.zero(), n), k.dim(inner, "inner"))], start)
        with k.vector(low, high) as c:
            k.store(y, k.add(first, c), k.load(x, k.add(first, c)))
        with k.serial(k.const(1, "i64"), k.dim(n, "along")) as j:
            here = k.affine([(place(w, j, n), k.dim(inner, "inner"))], start)
            before = k.affine([(place(w, k.sub(j, k.const(1, "i64")), n), k.dim(inner, "inner"))], start)
            with k.vector(low, high) as c:
                so_far = k.load(y, k.add(before, c))
                k.store(y, k.add(here, c), combined(k, op, so_far, k.load(x, k.add(here, c))))


@contextmanager
def column_blocks(w: Writer, outer: int, n: int, inner: int) -> Iterator[tuple[Value, Value, Value]]:
    """The loop over blocks of columns: gives the element at which the block's array begins, and its columns."""
    k = w.k
    width = min(inner, COLUMNS)
    blocks = -(-inner // width)
    w.parallel = (outer * blocks, w.grain(outer * blocks))
    whole, last = k.dim(n * inner, "whole"), k.dim(inner, "inner")
    with k.serial(k.begin, k.end) as unit:
        if blocks == 1:
            yield k.mul(unit, whole), w.zero(), last
        else:
            count, columns = k.dim(blocks, "blocks"), k.dim(width, "columns")
            low = k.mul(k.op("rest", unit, count), columns)
            yield k.mul(k.op("quot", unit, count), whole), low, k.op("min", k.add(low, columns), last)


def running_rows(w: Writer, op: str, outer: int, n: int) -> None:
    """Rows in lanes.

    for r in vector [begin, end):
        s = identity
        for j in [0, n): s = s + x[r, j]; y[r, j] = s
    """
    k = w.k
    w.parallel = (outer, w.grain(outer, 16))
    with k.vector(k.begin, k.end) as r:
        along(w, op, n, 1, [k.mul(r, k.dim(n, "along"))])


def running_line(w: Writer, op: str, outer: int, n: int, inner: int) -> None:
    """The few neighbours of a line as scalars, all in one loop along the axis."""
    k = w.k
    w.parallel = (outer, w.grain(outer))
    with k.serial(k.begin, k.end) as o:
        start = k.mul(o, k.dim(n * inner, "whole"))
        along(w, op, n, inner, [k.add(start, k.const(c, "i64")) for c in range(inner)])


def along(w: Writer, op: str, n: int, stride: int, starts: list[Value]) -> None:
    """The recurrences that begin at these elements."""
    k, x, y = w.k, w.buffer(0), w.buffer(1, "out")
    first = k.affine([(place(w, w.zero(), n), k.dim(stride))])
    states = []
    for s in starts:
        value = k.load(x, k.add(first, s))
        k.store(y, k.add(first, s), value)
        states.append(k.variable(value))
    with k.serial(k.const(1, "i64"), k.dim(n, "along")) as j:
        here = k.affine([(place(w, j, n), k.dim(stride))])
        for s, state in zip(starts, states, strict=True):
            value = combined(k, op, k.read(state), k.load(x, k.add(here, s)))
            k.assign(state, value)
            k.store(y, k.add(here, s), value)


# --------------------------------------------------------------------------------------------------- first extremes


def extreme(w: Writer, op: str) -> bool:
    """The place of the first largest or smallest element; NaN counts as such."""
    if not w.known(0) or w.complex(0):
        return False
    outer, n, inner = split(w)
    if inner >= WIDE:
        w.cost = 20.0 + 0.5 * outer * n * inner
        extreme_columns(w, op, outer, n, inner)
    elif inner == 1 and (n > SHORT or outer < WIDE):
        w.cost = 20.0 + outer * (20.0 + 0.15 * n + 0.2 * min(n, BLOCK))
        extreme_line(w, op, outer, n)
    else:
        w.cost = 20.0 + outer * n * inner
        extreme_lanes(w, op, outer, n, inner)
    return True


def element(w: Writer, at: Value) -> Value:
    """An element of the operand as a number."""
    x = w.k.load(w.buffer(0), at)
    return w.k.cast(x, "u8") if x.type == "bool" else x


def counting(type: str, n: int) -> str:
    """The integers for places: of the size of the elements, so that lanes match, if they reach so far."""
    return "i32" if size_of(type) < 8 and n < 2**31 else "i64"


def taken(w: Writer, op: str, new: Value, old: Value, j: Value, at: Value) -> tuple[Value, Value]:
    """The extreme so far and its place, after element j: `new` where it is beyond `old` or the first NaN."""
    k = w.k
    better = k.op("gt" if op == "max" else "lt", new, old)
    if new.type in FLOATS:  # one choice after the other: masks of many lanes are slow to combine
        place = k.select(k.op("ne", new, new), k.select(k.op("eq", old, old), j, at), k.select(better, j, at))
        return k.op(op, old, new), place

    def chosen(a: Value, b: Value) -> Value:
        """Of a choice that is stored where `a` came from LLVM makes a masked store, on some machines a slow one."""
        return k.add(a, k.select(better, k.sub(b, a), k.const(0, a.type)))

    return chosen(old, new), chosen(at, j)


def extreme_columns(w: Writer, op: str, outer: int, n: int, inner: int) -> None:
    """Blocks of columns, with the extreme and its place so far in scratch memory.

    for j in [1, n):
        for c in vector columns: if x[j, c] > best[c]: best[c] = x[j, c]; found[c] = j
    """
    k = w.k
    type = "u8" if w.type(0) == "bool" else w.type(0)
    count = counting(type, n)
    w.buffer(0)
    y, best, found = w.buffer(1, "out"), k.scratch(type, COLUMNS), k.scratch(count, COLUMNS)
    with column_blocks(w, outer, n, inner) as (start, low, high):
        with k.vector(low, high) as c:
            k.store(best, k.sub(c, low), element(w, k.add(start, c)))
            k.store(found, k.sub(c, low), k.const(0, count))
        with k.serial(k.const(1, "i64"), k.dim(n, "along")) as j:
            line, number = k.affine([(j, k.dim(inner, "inner"))], start), k.cast(j, count)
            with k.vector(low, high) as c:
                i = k.sub(c, low)
                new, old, at = element(w, k.add(line, c)), k.load(best, i), k.load(found, i)
                extreme, place = taken(w, op, new, old, number, at)
                k.store(best, i, extreme)
                k.store(found, i, place)
        result = k.op("quot", start, k.dim(n, "along")) if n > 1 else start
        with k.vector(low, high) as c:
            k.store(y, k.add(result, c), k.cast(k.load(found, k.sub(c, low)), "i64"))


def extreme_line(w: Writer, op: str, outer: int, n: int) -> None:
    """The extreme of each block of a row in lanes; then the first place of the best one in its block.

    for b in blocks:
        for j in vector b: m = max(m, x[j])
        if m > best: best = m; start = b
    for j in vector block at start: if x[j] == best or x[j] is NaN: place = min(place, j)
    """
    k = w.k
    type = "u8" if w.type(0) == "bool" else w.type(0)
    count = counting(type, n)
    w.buffer(0)
    y = w.buffer(1, "out")
    w.parallel = (outer, w.grain(outer))
    neutral = k.const(identity(op, type), type)
    block = BLOCK if n > 4 * BLOCK else SMALL
    length = k.dim(block, "block")
    with k.serial(k.begin, k.end) as r:
        row = k.mul(r, k.dim(n, "along"))
        if n <= block:
            start = w.zero()
            best = block_extreme(w, op, neutral, row, start, k.dim(n, "along"))
        else:
            head = block_extreme(w, op, neutral, row, w.zero(), length)
            so_far, where = k.variable(head), k.variable(w.zero())
            with k.serial(k.const(1, "i64"), k.dim(-(-n // block), "blocks")) as b:
                low = k.mul(b, length)
                here = block_extreme(w, op, neutral, row, low, k.op("min", k.add(low, length), k.dim(n, "along")))
                extreme, place = taken(w, op, here, k.read(so_far), low, k.read(where))
                k.assign(where, place)
                k.assign(so_far, extreme)
            start, best = k.read(where), k.read(so_far)
        stop = k.op("min", length, k.sub(k.dim(n, "along"), start))
        number = first_match(w, op, best, count, k.add(row, start), stop)
        k.store(y, r, k.add(start, k.cast(number, "i64")))


def first_match(w: Writer, op: str, best: Value, count: str, start: Value, stop: Value) -> Value:
    """The number of the first element that is the extreme `best` of those from `start` on; if that is NaN, is NaN."""
    k = w.k
    none = k.const(2**31 - 1, count)
    first = k.accumulator("min", none)
    cases = [None] if best.type not in FLOATS else [k.op("eq", best, best), k.op("ne", best, best)]
    for number, case in enumerate(cases):
        with ExitStack() as stack:
            if case is not None:
                stack.enter_context(k.branch(case))
            j = stack.enter_context(k.vector(w.zero(), stop))
            x, place = element(w, k.add(start, j)), k.cast(j, count)
            if number == 0:
                short = k.op("lt" if op == "max" else "gt", x, best)
                k.update(first, k.select(short, none, place))
            else:
                k.update(first, k.select(k.op("ne", x, x), place, none))
    return k.read(first)


def block_extreme(w: Writer, op: str, neutral: Value, row: Value, low: Value, high: Value) -> Value:
    """The largest or smallest element of a part of a row."""
    k = w.k
    best = k.accumulator(op, neutral)
    with k.vector(low, high) as j:
        k.update(best, element(w, k.add(row, j)))
    return k.read(best)


def extreme_lanes(w: Writer, op: str, outer: int, n: int, inner: int) -> None:
    """Lines in lanes, each with its extreme so far and the place of that.

    for l in vector [begin, end):
        for j in [1, n): if x[l, j] > best: best = x[l, j]; found = j
    """
    k = w.k
    w.buffer(0)
    y = w.buffer(1, "out")
    w.parallel = (outer * inner, w.grain(outer * inner, 16))
    with k.vector(k.begin, k.end) as line:
        if inner == 1:
            start = k.mul(line, k.dim(n, "along"))
        else:
            o = k.op("quot", line, k.dim(inner, "inner"))
            start = k.add(k.mul(o, k.dim(n * inner, "whole")), k.op("rest", line, k.dim(inner, "inner")))
        first = element(w, start)
        count = counting(first.type, n)
        best, found = k.variable(first), k.variable(k.const(0, count))
        with k.serial(k.const(1, "i64"), k.dim(n, "along")) as j:
            new = element(w, k.affine([(j, k.dim(inner, "inner"))], start))
            extreme, place = taken(w, op, new, k.read(best), k.cast(j, count), k.read(found))
            k.assign(best, extreme)
            k.assign(found, place)
        k.store(y, line, k.cast(k.read(found), "i64"))


SCANS: dict[str, Callable[[Writer], bool]] = {
    "cumsum": partial(running, op="add"),
    "cumprod": partial(running, op="mul"),
    "cummax": partial(running, op="max"),
    "cummin": partial(running, op="min"),
    "cumlogsumexp": partial(running, op="logaddexp"),
    "argmax": partial(extreme, op="max"),
    "argmin": partial(extreme, op="min"),
}
