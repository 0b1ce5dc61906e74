"""Reductions over windows, and the maps that differentiate them, as kernels: see `primitives.window`.

Of each array axis, a place of the result looks at places of the operand (a `Look`); channels are lanes:

    for unit in [begin, end):                   image and row
      for t in serial:                          place in the row
        for c in vector:
          best = x[2 t, c];  v = x[2 t + 1, c];  better = not (best >= v or best != best);  ...

Where windows lie in the result (`window_spread`, `window_place`), the places of the result that have one residue modulo
the strides look at the same elements of their windows: each residue has statements of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import product
from math import gcd, prod
from typing import Any, NamedTuple

from ..core.ir import Eqn, Literal, Var
from .correlate import decomposed, grain, pieces
from .emit import Launch, identity
from .fuse import Fuser
from .layouts import contiguous
from .nests import Builder, Value
from .plan import Item, launch_item
from .scalars import FLOATS, INTEGERS, size_of, type_name

UNROLLED = 32  # elements of a window, at most, that each have statements of their own
LONGEST = 256  # statements for the elements of windows that lie in a result, at most,
RESIDUES = 64  # and residues of its places
LANES = 8
SEGMENT = 2048  # lanes that one unit of the parallel axis takes
PRECISE = 64  # float32 from which on a sum is taken in float64

REDUCTIONS = {"window_sum": "add", "window_max": "max", "window_min": "min"}
ARGUMENTS = {"window_argmax": "window_max", "window_argmin": "window_min"}
SPREADS = ("window_spread", "window_place")
WINDOWS = frozenset([*REDUCTIONS, *ARGUMENTS, *SPREADS, "window_pick"])


class Look(NamedTuple):
    """Along an axis, place t < places looks at t · stride + m · dilation + shift for m < taps, if that is in [0, size).

    `step`: elements from one such place to the next. Tap m has the number first + m · every in its window.
    """

    size: int
    taps: int
    places: int
    stride: int
    dilation: int
    shift: int
    step: int
    first: int = 0
    every: int = 1

    def bounds(self, tap: int | None) -> tuple[int, int]:
        """Smallest and largest place that is looked at by one tap, or by any."""
        ends = [m * self.dilation for m in ((0, self.taps - 1) if tap is None else (tap,))]
        return min(ends) + self.shift, max(ends) + (self.places - 1) * self.stride + self.shift


class Side(NamedTuple):
    """An axis, or neighbouring ones without windows: sizes of the array and of the windows' array, geometry, steps."""

    size: int
    window: int
    places: int
    stride: int
    dilation: int
    low: int
    step: int
    window_step: int

    @property
    def plain(self) -> bool:
        """Whether place t looks at place t alone."""
        return self.window == 1 and self.stride == 1 and self.low == 0 and self.size == self.places


def sides_of(shape: Sequence[int], count: Sequence[int], params: dict[str, Any]) -> list[Side]:
    """The axes of an array and of the array of its windows; plain neighbours are merged."""
    geometry = [params[name] for name in ("window", "strides", "dilation", "low")]
    steps = contiguous(shape), contiguous(count)
    out: list[Side] = []
    for n, t, k, s, d, low, *step in zip(shape, count, *geometry, *steps, strict=True):
        side = Side(n, k, t, s, d, low, *step)
        if side.plain and out and out[-1].plain:
            side = side._replace(size=out[-1].size * n, places=out[-1].places * t)
            out.pop()
        if side.plain and side.size == 1:
            continue
        out.append(side)
    return out or [Side(1, 1, 1, 1, 1, 0, 1, 1)]


def pooling_items(e: Eqn, fuser: Fuser) -> list[Item] | None:
    """The kernel of an equation of `WINDOWS`; None: let NumPy do it."""
    if e.primitive.name not in WINDOWS:
        return None
    known = (*INTEGERS, *FLOATS)
    if any(type(a) is Literal or not a.type.size or type_name(a.type.dtype) not in known for a in e.inputs):
        return None
    name = e.primitive.name
    if name in SPREADS:
        window, strides = prod(e.params["window"]), prod(e.params["strides"])
        if strides > RESIDUES or (window > LONGEST and window <= strides * UNROLLED):
            return None
        launch = spread(e)
    elif name == "window_pick":
        launch = pick(e)
    else:
        other = twin(e, fuser)
        if other is not None and fuser.number[id(other)] < fuser.number[id(e)]:
            return []  # done with that one
        launch = reduction(e, other)
    made = launch_item(launch)
    made.eqn = e
    return [made]


def twin(e: Eqn, fuser: Fuser) -> Eqn | None:
    """The equation that asks for the number of the element that this one asks for, or the other way around."""
    partner = ARGUMENTS.get(e.primitive.name) or next((a for a, r in ARGUMENTS.items() if r == e.primitive.name), None)
    x = e.inputs[0]
    for other in fuser.consumers.get(x, ()) if type(x) is Var else ():
        if other.primitive.name == partner and other.params == e.params and id(other) not in fuser.refused:
            return other
    return None


# ----------------------------------------------------------------------------------------------------------- the loops


class Nest:
    """The loops over the places of a result with these extents; `run(body)` calls body(places) in the innermost one."""

    def __init__(self, k: Builder, extents: Sequence[int], size: int):
        self.k = k
        self.extents = list(extents)
        last = len(extents) - 1
        few = last > 0 and extents[last] < 4 and extents[last - 1] >= LANES
        self.lane = last - 1 if few else last
        self.outer = [i for i in range(len(extents)) if i != self.lane]
        self.inner = self.outer.pop() if len(self.outer) > 1 else None
        n = extents[self.lane]
        self.segments = -(-n // SEGMENT)
        self.units = prod(extents[i] for i in self.outer) * self.segments
        self.lanes = LANES * 4 // size

    def run(self, body: Callable[[list[Value]], None]) -> None:
        """Open the loops."""
        k, n = self.k, self.extents[self.lane]
        zero = k.const(0, "i64")
        places = [zero] * len(self.extents)
        with ExitStack() as stack:
            unit = stack.enter_context(k.serial(k.begin, k.end))
            *values, segment = decomposed(k, unit, [*[self.extents[i] for i in self.outer], self.segments])
            for i, value in zip(self.outer, values, strict=True):
                places[i] = value
            if self.inner is not None:
                places[self.inner] = stack.enter_context(k.serial(zero, k.dim(self.extents[self.inner])))
            if self.segments > 1:
                first = k.mul(segment, k.dim(SEGMENT))
                bounds = [(first, k.op("min", k.add(first, k.dim(SEGMENT)), k.dim(n)))]
            elif n <= 8 * self.lanes:
                bounds = [(k.const(a, "i64"), k.const(b, "i64")) for a, b in pieces(0, n, self.lanes)]
            else:
                bounds = [(zero, k.dim(n))]
            for start, stop in bounds:
                with k.vector(start, stop) as lane:
                    places[self.lane] = lane
                    body(list(places))


class Tap(NamedTuple):
    """An element of the window: its place along each axis, as values and, where known, as numbers.

    `inside`: axes along which it is known to lie in the array.
    """

    values: list[Value]
    numbers: tuple[int, ...] | None
    inside: frozenset[int] = frozenset()


def each_tap(
    k: Builder, looks: Sequence[Look], places: Sequence[Value] = (), clipped: Sequence[int] = ()
) -> Iterator[Tap]:
    """All elements of a window: one by one if they are few, else once, inside of loops.

    Loops over `clipped` axes leave out what lies outside for these places.
    """
    if prod(x.taps for x in looks) <= UNROLLED:
        for numbers in product(*[range(x.taps) for x in looks]):
            yield Tap([k.const(m, "i64") for m in numbers], numbers)
        return
    zero = k.const(0, "i64")
    with ExitStack() as stack:
        values = []
        for i, x in enumerate(looks):
            bounds = taps_inside(k, x, places[i]) if i in clipped else (zero, k.dim(x.taps))
            values.append(zero if x.taps == 1 else stack.enter_context(k.serial(*bounds)))
        yield Tap(values, None, frozenset(i for i in clipped if looks[i].taps > 1))


def taps_inside(k: Builder, x: Look, place: Value) -> tuple[Value, Value]:
    """The first tap of a place that lies in the array, and the one behind the last."""
    at = k.affine([(place, k.dim(x.stride))], k.dim(x.shift))
    by = k.dim(abs(x.dilation))

    def number(n: Value) -> Value:
        """n / dilation, rounded up, at least 0."""
        reach = k.op("max", k.add(n, k.sub(by, k.const(1, "i64"))), k.const(0, "i64"))
        return reach if abs(x.dilation) == 1 else k.op("quot", reach, by)

    least, size, one = k.dim(0), k.dim(x.size), k.const(1, "i64")
    if x.dilation > 0:
        first, behind = number(k.sub(least, at)), number(k.sub(size, at))
    else:
        first, behind = number(k.sub(at, k.sub(size, one))), number(k.add(at, one))
    return first, k.op("min", behind, k.dim(x.taps))


def look(k: Builder, looks: Sequence[Look], places: Sequence[Value], tap: Tap) -> tuple[Value, Value | None]:
    """The element number at which a tap looks, and the mask that it is there (None: always)."""
    terms, offset, mask = [], 0, None
    for i, (x, t, m) in enumerate(zip(looks, places, tap.values, strict=True)):
        number = None if tap.numbers is None else tap.numbers[i]
        terms.append((t, k.dim(x.stride * x.step)))
        if number is None:
            terms.append((m, k.dim(x.dilation * x.step)))
        shift = x.shift + (x.dilation * number if number is not None else 0)
        offset += shift * x.step
        least, most = x.bounds(number)
        if (least >= 0 and most < x.size) or i in tap.inside:
            continue
        at = [(t, k.dim(x.stride))] + ([(m, k.dim(x.dilation))] if number is None else [])
        there = k.affine(at, k.dim(shift))
        for outside, test in ((least < 0, ("ge", 0)), (most >= x.size, ("lt", x.size))):
            if outside:
                holds = k.op(test[0], there, k.dim(test[1]))
                mask = holds if mask is None else k.op("and", mask, holds)
    constant = k.const(offset, "i64") if abs(offset) < 1 << 16 else k.dim(offset)
    index = k.affine(terms)
    return (index if not offset else k.add(index, constant)), mask


def window_number(k: Builder, looks: Sequence[Look], windows: Sequence[int], tap: Tap, type: str) -> Value:
    """The number of a tap in its window, in C order."""
    weights = contiguous(windows)
    if tap.numbers is not None:
        pairs = zip(looks, tap.numbers, weights, strict=True)
        return k.const(sum((x.first + m * x.every) * w for x, m, w in pairs), type)
    terms = [(m, k.dim(x.every * w)) for x, m, w in zip(looks, tap.values, weights, strict=True)]
    return k.cast(k.affine(terms, k.dim(sum(x.first * w for x, w in zip(looks, weights, strict=True)))), type)


# -------------------------------------------------------------------------------------------------- windows in operands


def looks_of(sides: Sequence[Side]) -> list[Look]:
    """What a window looks at in the array."""
    return [Look(s.size, s.window, s.places, s.stride, s.dilation, -s.low, s.step) for s in sides]


def number_type(type: str) -> str:
    """Integers with as many lanes."""
    return "i64" if size_of(type) == 8 else "i32"


def launched(k: Builder, nest: Nest, operands: Sequence[Any], taps: int, size: int) -> Launch:
    """The finished kernel."""
    elements = prod(nest.extents)
    cost = 20.0 + elements * (1 + taps) * 0.03 * size
    launch = Launch(k.finish(), operands, k.dims, nest.units, grain(cost, nest.units))
    launch.cost, launch.flops = cost, elements * taps
    return launch


def reduction(e: Eqn, other: Eqn | None) -> Launch:
    """The kernel of a reduction, or of the number of the element, or of both."""
    x, out = e.inputs[0], e.outputs[0]
    type = type_name(x.type.dtype) or ""
    equations = [e] if other is None else [e, other]
    op = REDUCTIONS[ARGUMENTS.get(e.primitive.name, e.primitive.name)]
    counts = any(q.primitive.name in ARGUMENTS for q in equations)
    sides = sides_of(x.type.shape, out.type.shape, e.params)
    looks, windows = looks_of(sides), [s.window for s in sides]
    taps = prod(windows)
    k = Builder()
    source = k.buffer(type, "in")
    targets = [k.buffer(type_name(q.outputs[0].type.dtype) or "", "out") for q in equations]
    wide = "f64" if op == "add" and type == "f32" and taps > PRECISE else type
    outside = k.const(identity(op, type), type)
    start = k.const(-0.0, wide) if op == "add" and type in FLOATS else k.cast(outside, wide)
    numbers = number_type(type)
    nest = Nest(k, [s.places for s in sides], size_of(type))

    def stays_best(best: Value, value: Value) -> Value:
        """A NaN does, and of equals the first."""
        stays = k.op("ge" if op == "max" else "le", best, value)
        return k.op("or", stays, k.op("ne", best, best)) if type in FLOATS else stays

    def body(places: list[Value]) -> None:
        at = k.affine([(t, k.dim(s.window_step)) for t, s in zip(places, sides, strict=True)])
        best, number = start, k.const(0, numbers)
        variables = None if taps <= UNROLLED else (k.variable(start), k.variable(number))
        for tap in each_tap(k, looks):
            index, mask = look(k, looks, places, tap)
            value = k.cast(k.load(source, index, mask, None if mask is None else outside), wide)
            if variables:
                best, number = map(k.read, variables)
            if tap.numbers is not None and not any(tap.numbers):
                best = value
            elif counts:
                stays = stays_best(best, value)
                best = k.select(stays, best, value)
                number = k.select(stays, number, window_number(k, looks, windows, tap, numbers))
            else:
                best = k.op(op, best, value)
            if variables:
                k.assign(variables[0], best)
                k.assign(variables[1], number)
        if variables:
            best, number = map(k.read, variables)
        for q, target in zip(equations, targets, strict=True):
            k.store(target, at, k.cast(number if q.primitive.name in ARGUMENTS else best, target.type))

    nest.run(body)
    return launched(k, nest, [x, *[q.outputs[0] for q in equations]], taps, size_of(type))


def pick(e: Eqn) -> Launch:
    """The kernel of `window_pick`: the element of each window whose number is given."""
    (x, index), (out,) = e.inputs, e.outputs
    type, number_name = (type_name(a.type.dtype) or "" for a in (x, index))
    sides = sides_of(x.type.shape, out.type.shape, e.params)
    looks, windows = looks_of(sides), [s.window for s in sides]
    k = Builder()
    source, chosen, target = k.buffer(type, "in"), k.buffer(number_name, "in"), k.buffer(type, "out")
    zero, numbers = k.const(0, type), number_type(type)
    nest = Nest(k, [s.places for s in sides], size_of(type))

    def body(places: list[Value]) -> None:
        at = k.affine([(t, k.dim(s.window_step)) for t, s in zip(places, sides, strict=True)])
        wanted = k.cast(k.load(chosen, at), numbers)
        found = zero
        variable = None if prod(windows) <= UNROLLED else k.variable(zero)
        for tap in each_tap(k, looks):
            there, mask = look(k, looks, places, tap)
            value = k.load(source, there, mask, None if mask is None else zero)
            this = k.op("eq", wanted, window_number(k, looks, windows, tap, numbers))
            found = k.select(this, value, found if variable is None else k.read(variable))
            if variable is not None:
                k.assign(variable, found)
        k.store(target, at, found if variable is None else k.read(variable))

    nest.run(body)
    return launched(k, nest, [x, index, out], prod(windows), size_of(type))


# --------------------------------------------------------------------------------------------------- windows in results


def residue(side: Side, r: int) -> Look:
    """What the places q · stride + r of an axis look at in the array of the windows: those windows that hold them.

    Element k of window t is there if t · stride + k · dilation - low = q · stride + r.
    """
    s, d = side.stride, side.dilation
    at = r + side.low
    first = next((k for k in range(min(side.window, s)) if (at - k * d) % s == 0), side.window)
    every = s // gcd(s, d)
    taps = -(-(side.window - first) // every)
    count = -(-(side.size - r) // s)
    shift = (at - first * d) // s
    return Look(side.places, taps, count, 1, -every * d // s, shift, side.window_step, first, every)


def spread(e: Eqn) -> Launch:
    """The kernel of `window_spread` or `window_place`: what the windows have for each place of the result."""
    x, *index = e.inputs
    (out,) = e.outputs
    type = type_name(out.type.dtype) or ""
    sides = sides_of(out.type.shape, x.type.shape, e.params)
    windows = [s.window for s in sides]
    k = Builder()
    source = k.buffer(type, "in")
    chosen = [k.buffer(type_name(a.type.dtype) or "", "in") for a in index]
    target = k.buffer(type, "out")
    zero, numbers = k.const(0, type), number_type(type)
    nest = Nest(k, [-(-s.size // s.stride) for s in sides], size_of(type))

    def one(places: list[Value], phase: tuple[int, ...]) -> None:
        looks = [residue(s, r) for s, r in zip(sides, phase, strict=True)]
        total: Value | None = None
        variable = None if prod(x.taps for x in looks) <= UNROLLED else k.variable(zero)
        for tap in each_tap(k, looks, places, [i for i in range(len(looks)) if i != nest.lane]):
            there, mask = look(k, looks, places, tap)
            value = k.load(source, there, mask, None if mask is None else zero)
            for numbered in chosen:
                given = k.load(numbered, there, mask, None if mask is None else k.const(0, numbered.type))
                this = k.op("eq", k.cast(given, numbers), window_number(k, looks, windows, tap, numbers))
                value = k.select(this, value, zero)
            if variable is not None:
                k.assign(variable, k.add(k.read(variable), value))
            else:
                total = value if total is None else k.add(total, value)
        result = zero if total is None else total
        terms = [(q, k.dim(s.stride * s.step)) for q, s in zip(places, sides, strict=True)]
        behind = sum(r * s.step for r, s in zip(phase, sides, strict=True))
        at = k.affine(terms, k.dim(behind) if behind else None)
        mask = None
        for q, s, r in zip(places, sides, phase, strict=True):
            if (-(-s.size // s.stride) - 1) * s.stride + r >= s.size:
                holds = k.op("lt", k.affine([(q, k.dim(s.stride))], k.dim(r)), k.dim(s.size))
                mask = holds if mask is None else k.op("and", mask, holds)
        k.store(target, at, result if variable is None else k.read(variable), mask)

    def body(places: list[Value]) -> None:
        for phase in product(*[range(min(s.stride, s.size)) for s in sides]):
            one(places, phase)

    nest.run(body)
    taps = prod(-(-s.window // s.stride) for s in sides)
    return launched(k, nest, [x, *index, out], prod(s.stride for s in sides) * taps, size_of(type))
