"""Sample kernels made by hand: every operation on special values, and every kind of loop, access and statement."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from kernels import Sample, empty, guarded, numbers, ops_of, pairs, special

from fgrad.compile import vecmath
from fgrad.compile.nests import Buffer, Builder, Value
from fgrad.compile.scalars import FLOATS, MATH, TYPES, dtype_of, size_of

MADE: list[Callable[[], Any]] = []


def made(make: Callable[[], Any]) -> Callable[[], Any]:
    """Enter a function that returns a sample, or several."""
    MADE.append(make)
    return make


def samples() -> list[Sample]:
    """All samples made by hand."""
    found = []
    for make in MADE:
        result = make()
        found += [result] if isinstance(result, Sample) else list(result)
    return found


def _elementwise(name: str, inputs: list[np.ndarray], types: list[str], compute: Callable[..., list[Value]]) -> Sample:
    """o[i] = compute(x[i], ...) for each of its results."""
    k = Builder()
    n = len(inputs[0])
    xs = [k.buffer(t, "in") for t in types]
    outs: list[Buffer] = []
    with k.vector(k.begin, k.end) as i:
        for value in compute(k, *[k.load(x, i) for x in xs]):
            outs.append(k.buffer(value.type, "out"))
            k.store(outs[-1], i, value)
    return Sample(name, k, [*inputs, *[empty(o.type, n) for o in outs]], n)


@made
def operations() -> Iterator[Sample]:
    for type in TYPES:
        a, b = pairs(type)

        def compute(k: Builder, x: Value, y: Value, type: str = type) -> list[Value]:
            ops = ops_of(type)
            found = [guarded(k, op, x, y) for op in ops[2]] + [k.op(op, x) for op in ops[1]]
            chosen = k.select(x if type == "bool" else k.op("lt", x, y), x, y)
            return [*found, chosen, *([k.op("fma", x, y, y)] if type in FLOATS else [])]

        yield _elementwise(f"operations {type}", [a, b], [type, type], compute)


@made
def conversions() -> Iterator[Sample]:
    for type in TYPES:

        def compute(k: Builder, x: Value, type: str = type) -> list[Value]:
            found = [k.cast(x, to) for to in TYPES if to != type]
            plain = k.select(k.op("eq", x, x), x, k.const(0, type))  # the bits of a NaN are free
            like = [t for t in TYPES if size_of(t) == size_of(type) and "bool" not in (t, type) and t != type]
            return found + [k.op("bits", plain, type=t) for t in like]

        yield _elementwise(f"conversions {type}", [special(type)], [type], compute)


@made
def fused_multiply_add() -> Iterator[Sample]:
    for type in FLOATS:
        rng = np.random.default_rng(1)
        a, b = (rng.normal(size=300).astype(dtype_of(type)) for _ in range(2))
        with np.errstate(all="ignore"):
            c = -a * b  # what is left is the rounding error of the product
        a[:5], b[:5], c[:5] = (
            [1e-30, 1e30, -0.0, np.inf, 1e-23],
            [1e-20, 1e30, 5.0, 0.0, 1e-22],
            [-0.0, -np.inf, 0, 1, 0],
        )
        make = lambda k, x, y, z: [k.op("fma", x, y, z)]  # noqa: E731
        yield _elementwise(f"fma {type}", [a, b, c], [type] * 3, make)


@made
def mixing() -> Iterator[Sample]:
    for type in ("u32", "u64", "i32"):

        def compute(k: Builder, x: Value, y: Value, type: str = type) -> list[Value]:
            unsigned = "u" + type[1:]
            const = lambda n: k.const(n, unsigned)  # noqa: E731
            x, y = k.op("bits", x, type=unsigned), k.op("bits", y, type=unsigned)
            for turn in (13, 15, 26, 6):
                x = k.add(x, y)
                left = k.op("shl", y, const(turn))
                y = k.op("xor", x, k.op("or", left, k.op("shr", y, const(8 * size_of(type) - turn))))
            return [x, y]

        a, b = pairs(type)
        yield _elementwise(f"mixing {type}", [a, b], [type, type], compute)


@made
def functions() -> Iterator[Sample]:
    for type in FLOATS:
        for name, count in MATH.items():
            if name not in vecmath.FUNCTIONS:
                continue
            inputs = [special(type)] if count == 1 else list(pairs(type))
            make = lambda k, *xs, name=name: [k.op(name, *xs)]  # noqa: E731
            yield _elementwise(f"{name} {type}", inputs, [type] * count, make)


@made
def strides() -> Sample:
    k = Builder()
    n, m = 21, 37
    x, y, z, w = (k.buffer("f32", "in") for _ in range(4))
    o, q = k.buffer("f32", "out"), k.buffer("f32", "out")
    two, wide, last = k.const(2, "i64"), k.dim(m), k.dim(n - 1)
    with k.serial(k.begin, k.end) as i, k.vector(k.dim(0), k.dim(n)) as j:
        a = k.load(x, k.affine([(i, k.dim(2 * n)), (j, two)]))
        b = k.load(y, k.affine([(j, wide), (i, k.dim(1))]))
        c = k.load(z, k.sub(last, j))
        d = k.load(w, i)
        k.store(o, k.affine([(i, k.dim(n)), (j, k.dim(1))]), k.add(k.mul(a, b), k.mul(c, d)))
        k.store(q, k.affine([(j, wide), (i, k.dim(1))]), k.sub(a, b))
    arrays = [numbers("f32", size, seed) for seed, size in enumerate((2 * n * m, n * m, n, m))]
    return Sample("strides", k, [*arrays, empty("f32", n * m), empty("f32", n * m)], m)


@made
def reductions() -> Iterator[Sample]:
    kinds = {**{t: ["add", "mul", "max", "min"] for t in ("f32", "f64", "i32", "u8", "i64")}, "bool": ["and", "or"]}
    for type, names in kinds.items():
        for n in (1, 3, 67):
            rows = 5
            start = {"add": 0, "mul": 1, "max": 0, "min": 1, "and": True, "or": False}
            along, across = Builder(), Builder()
            for k in (along, across):
                x = k.buffer(type, "in")
                outs = [k.buffer(type, "out") for _ in names]
                outer, inner = (k.serial, k.vector) if k is along else (k.vector, k.serial)
                with outer(k.begin, k.end) as i:
                    accs = [k.accumulator(name, k.const(start[name], type)) for name in names]
                    with inner(k.dim(0), k.dim(n)) as j:
                        for acc in accs:
                            k.update(acc, k.load(x, k.affine([(i, k.dim(n)), (j, k.dim(1))])))
                    for acc, out in zip(accs, outs, strict=True):
                        k.store(out, i, k.read(acc))
                arrays = [numbers(type, rows * n), *[empty(type, rows) for _ in names]]
                near = {"p1": 1e-4, "p2": 1e-4} if type == "f32" else {"p1": 1e-12, "p2": 1e-12}
                where = "along" if k is along else "across"
                yield Sample(f"reductions {where} {n} {type}", k, arrays, rows, **(near if type in FLOATS else {}))


@made
def maximum_with_nan() -> Sample:
    k = Builder()
    x, o, q = k.buffer("f32", "in"), k.buffer("f32", "out"), k.buffer("f32", "out")
    big, small = (k.accumulator(kind, k.const(v, "f32")) for kind, v in (("max", -np.inf), ("min", np.inf)))
    with k.vector(k.begin, k.end) as i:
        v = k.load(x, i)
        k.update(big, v)
        k.update(small, v)
    k.store(o, k.dim(0), k.read(big))
    k.store(q, k.dim(0), k.read(small))
    a = numbers("f32", 50)
    a[33] = np.nan
    return Sample("maximum with nan", k, [a, empty("f32", 1), empty("f32", 1)], 50)


@made
def count_and_sum() -> Sample:
    k = Builder()
    x, o, c = k.buffer("f64", "in"), k.buffer("f64", "out"), k.buffer("i64", "out")
    rows, n = 9, 31
    count = k.accumulator("add", k.const(0, "i64"))  # over both loops
    with k.serial(k.begin, k.end) as i:
        total = k.accumulator("add", k.const(0.5, "f64"))
        with k.vector(k.dim(0), k.dim(n)) as j:
            v = k.load(x, k.affine([(i, k.dim(n)), (j, k.dim(1))]))
            positive = k.op("gt", v, k.const(0, "f64"))
            k.update(total, k.select(positive, v, k.const(0, "f64")))
            k.update(count, k.cast(positive, "i64"))
        k.store(o, i, k.read(total))
    k.store(c, k.dim(0), k.read(count))
    return Sample("count and sum", k, [numbers("f64", rows * n), empty("f64", rows), empty("i64", 1)], rows, p1=1e-12)


@made
def accumulator_below_a_serial_loop() -> Sample:
    k = Builder()
    x, o = k.buffer("i32", "in"), k.buffer("i32", "out")
    n, m = 19, 3
    total = k.accumulator("add", k.const(0, "i32"))
    with k.vector(k.dim(0), k.dim(n)) as i, k.serial(k.dim(0), k.dim(m)) as j:
        k.update(total, k.load(x, k.affine([(i, k.dim(m)), (j, k.dim(1))])))
    k.store(o, k.dim(0), k.read(total))
    return Sample("accumulator below a serial loop", k, [numbers("i32", n * m), empty("i32", 1)], 1)


@made
def product_of_matrices() -> Sample:
    k = Builder()
    rows, inner, columns = 6, 18, 23
    a, b, o = k.buffer("f64", "in"), k.buffer("f64", "in"), k.buffer("f64", "out")
    with k.serial(k.begin, k.end) as i, k.vector(k.dim(0), k.dim(columns)) as j:
        total = k.accumulator("add", k.const(0, "f64"))
        with k.serial(k.dim(0), k.dim(inner)) as l:  # noqa: E741
            left = k.load(a, k.affine([(i, k.dim(inner)), (l, k.dim(1))]))
            k.update(total, k.mul(left, k.load(b, k.affine([(l, k.dim(columns)), (j, k.dim(1))]))))
        k.store(o, k.affine([(i, k.dim(columns)), (j, k.dim(1))]), k.read(total))
    arrays = [numbers("f64", rows * inner), numbers("f64", inner * columns, 1), empty("f64", rows * columns)]
    return Sample("product of matrices", k, arrays, rows, p2=1e-12)


@made
def softmax() -> Iterator[Sample]:
    for n in (5, 40):
        k = Builder()
        x, o = k.buffer("f32", "in"), k.buffer("f32", "out")
        kept = k.scratch("f32", n)
        with k.serial(k.begin, k.end) as i:
            top = k.accumulator("max", k.const(-np.inf, "f32"))
            base = k.mul(i, k.dim(n))
            with k.vector(k.dim(0), k.dim(n)) as j:
                k.update(top, k.load(x, k.add(base, j)))
            peak = k.read(top)
            total = k.accumulator("add", k.const(0, "f32"))
            with k.vector(k.dim(0), k.dim(n)) as j:
                d = k.sub(k.load(x, k.add(base, j)), peak)
                e = k.op("div", k.const(1, "f32"), k.op("fma", d, d, k.const(1, "f32")))
                k.store(kept, j, e)
                k.update(total, e)
            sum_ = k.read(total)
            with k.vector(k.dim(0), k.dim(n)) as j:
                k.store(o, k.add(base, j), k.op("div", k.load(kept, j), sum_))
        yield Sample(f"softmax {n}", k, [numbers("f32", 7 * n), empty("f32", 7 * n)], 7, p1=1e-6)


@made
def masks() -> Sample:
    """Shift by three with zeros coming in: the memory outside is not there."""
    k = Builder()
    n = 29
    x, o, q = k.buffer("f32", "in"), k.buffer("f32", "out"), k.buffer("bool", "out")
    with k.vector(k.begin, k.end) as i:
        at = k.sub(i, k.const(3, "i64"))
        inside = k.op("ge", at, k.const(0, "i64"))
        v = k.load(x, at, inside, k.const(-1, "f32"))
        k.store(o, at, v, inside)
        k.store(q, i, k.op("gt", v, k.const(0, "f32")), k.op("ne", v, k.const(-1, "f32")))
    return Sample("masks", k, [numbers("f32", n), empty("f32", n), np.ones(n, bool)], n)


@made
def gathers() -> Iterator[Sample]:
    for name, bad in (("good", None), ("bad", 17), ("negative", 2)):
        k = Builder()
        n, size = 27, 20
        table, index, to = k.buffer("f64", "in"), k.buffer("i32", "in"), k.buffer("i64", "in")
        o, b = k.buffer("f64", "out"), k.buffer("bool", "out")
        with k.vector(k.begin, k.end) as i:
            at = k.cast(k.load(index, i), "i64")
            holds = k.op("and", k.op("ge", at, k.const(0, "i64")), k.op("lt", at, k.dim(size)))
            k.check(holds, at, k.dim(size))
            v = k.load(table, at)
            place = k.load(to, i)
            k.store(o, place, v)
            k.store(b, place, k.op("lt", v, k.const(0, "f64")))
        indices = np.arange(n, dtype=np.int32) * 7 % size
        if bad is not None:
            indices[bad] = -1 if name == "negative" else size
        there = np.random.default_rng(0).permutation(n)
        arrays = [numbers("f64", size), indices, there, empty("f64", n), np.zeros(n, bool)]
        yield Sample(f"gathers {name}", k, arrays, n)


@made
def masked_gather() -> Sample:
    k = Builder()
    n, size = 37, 20
    table, index, o = k.buffer("i16", "in"), k.buffer("i64", "in"), k.buffer("i16", "out")
    with k.vector(k.begin, k.end) as i:
        at = k.load(index, i)
        inside = k.op("lt", k.op("bits", at, type="u64"), k.op("bits", k.dim(size), type="u64"))
        k.store(o, i, k.load(table, at, inside, k.const(-5, "i16")))
    indices = np.random.default_rng(0).integers(-1000, 1000, n)
    indices[::3] %= size
    return Sample("masked gather", k, [numbers("i16", size), indices, empty("i16", n)], n)


@made
def branches() -> Sample:
    k = Builder()
    rows, n = 8, 11
    x, flags, o = k.buffer("f32", "in"), k.buffer("bool", "in"), k.buffer("f32", "out")
    with k.serial(k.begin, k.end) as i:
        flag = k.load(flags, i)
        with k.vector(k.dim(0), k.dim(n)) as j:
            at = k.affine([(i, k.dim(n)), (j, k.dim(1))])
            v = k.load(x, at)
            k.store(o, at, v)
            with k.branch(flag):
                k.store(o, at, k.mul(v, k.const(3, "f32")))
        with k.branch(k.op("not", flag)), k.vector(k.dim(0), k.dim(n)) as j:
            k.store(o, k.affine([(i, k.dim(n)), (j, k.dim(1))]), k.cast(k.add(i, j), "f32"))
    flagged = np.array([1, 0, 0, 1, 1, 0, 1, 0], bool)
    return Sample("branches", k, [numbers("f32", rows * n), flagged, empty("f32", rows * n)], rows)


@made
def running_sum() -> Sample:
    k = Builder()
    x, o = k.buffer("f32", "in"), k.buffer("f32", "out")
    total = k.variable(k.const(0, "f32"))
    with k.serial(k.begin, k.end) as i:
        k.assign(total, k.add(k.read(total), k.load(x, i)))
        k.store(o, i, k.read(total))
    return Sample("running sum", k, [numbers("f32", 100), empty("f32", 100)], 100)


@made
def iterations_in_lanes() -> Sample:
    """Square roots by Newton's method, one per lane, and a recurrence over rows with lanes in columns."""
    k = Builder()
    n, rows = 21, 4
    x, o, q = k.buffer("f64", "in"), k.buffer("f64", "out"), k.buffer("i8", "out")
    with k.vector(k.begin, k.end) as i:
        guess = k.variable(k.const(1, "f64"))
        bits = k.variable(k.const(1, "i8"))
        a = k.op("abs", k.load(x, i))
        with k.serial(k.dim(0), k.dim(rows)) as j:
            g = k.read(guess)
            k.assign(guess, k.mul(k.const(0.5, "f64"), k.add(g, k.op("div", a, g))))
            k.assign(bits, k.mul(k.read(bits), k.cast(k.add(i, j), "i8")))
            k.store(q, k.affine([(j, k.dim(n)), (i, k.dim(1))]), k.read(bits))
        k.store(o, i, k.read(guess))
    return Sample("iterations in lanes", k, [numbers("f64", n), empty("f64", n), empty("i8", n * rows)], n)


@made
def in_place() -> Sample:
    k = Builder()
    x, y, o = k.buffer("f32", "in"), k.buffer("f32", "in"), k.buffer("f32", "out")
    with k.vector(k.begin, k.end) as i:
        k.store(o, i, k.sub(k.mul(k.load(x, i), k.load(x, i)), k.load(y, i)))
    a = numbers("f32", 45)
    return Sample("in place", k, [a, numbers("f32", 45, 1), a], 45)


@made
def read_back() -> Sample:
    """An output is read after it was written, and written twice."""
    k = Builder()
    x, o, q = k.buffer("i64", "in"), k.buffer("i64", "out"), k.buffer("i64", "out")
    with k.serial(k.begin, k.end) as i:
        k.store(o, i, k.load(x, i))
        before = k.load(q, k.dim(0))
        k.store(q, k.dim(0), k.add(before, k.load(o, i)))
        k.store(o, i, k.mul(k.load(o, i), before))
    return Sample("read back", k, [numbers("i64", 33), empty("i64", 33), empty("i64", 1)], 33)


@made
def nothing_to_do() -> Sample:
    k = Builder()
    x, o = k.buffer("f32", "in"), k.buffer("f32", "out")
    with k.vector(k.begin, k.end) as i:
        k.store(o, i, k.op("neg", k.load(x, i)))
    return Sample("nothing to do", k, [numbers("f32", 4), empty("f32", 4)], 0)


@made
def four_loops() -> Sample:
    k = Builder()
    a, b, c, d = 3, 2, 19, 4
    x, o, q = k.buffer("u16", "in"), k.buffer("u16", "out"), k.buffer("u16", "out")
    dims = [k.dim(n) for n in (a, b, c, d)]
    with k.serial(k.begin, k.end) as i, k.serial(k.dim(0), dims[1]) as j, k.vector(k.dim(0), dims[2]) as l:  # noqa: E741
        total = k.accumulator("add", k.cast(j, "u16"))
        with k.serial(k.dim(0), dims[3]) as m:
            turned = k.affine([(m, k.dim(a * b * c)), (l, k.dim(a * b)), (j, k.dim(a)), (i, k.dim(1))])
            v = k.load(x, turned)
            k.update(total, v)
            k.store(o, k.affine([(i, k.dim(b * c * d)), (j, k.dim(c * d)), (l, dims[3]), (m, k.dim(1))]), v)
        k.store(q, k.affine([(i, k.dim(b * c)), (j, k.dim(c)), (l, k.dim(1))]), k.read(total))
    n = a * b * c * d
    return Sample("four loops", k, [numbers("u16", n), empty("u16", n), empty("u16", n // d)], a)
