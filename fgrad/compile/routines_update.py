"""Kernels that change an array where some of it is written: scatters, and windows at run-time positions."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from math import prod

from ..core.ir import Literal
from .layouts import contiguous
from .nests import Buffer, Value
from .routines_writer import Writer, combined, digits
from .scalars import UNSIGNED, size_of

LANES = 8  # neighbours from which on they are written in lanes
PIECE = 1024  # bytes next to each other that are worth a chunk of their own


def scatter(w: Writer, op: str | None) -> bool:
    """One update after the other, as the last of repeated ones counts; of each, a run of neighbours in lanes.

    For x of (rows, width) at indices i along axis 0:

        for n in vector [0, count): check -rows <= i[n] < rows
        for n in [0, count):
            for c in vector [begin, end): y[i[n] * width + c] += u[n * width + c]

    Axes of x before an indexed one go around all updates.
    """
    k, out = w.k, len(w.atoms) - 1
    axes, mode = w.eqn.params["axes"], w.eqn.params["mode"]
    indices = range(2, out)
    if not w.known(0) or (w.complex(0) and op not in (None, "add")):
        return False
    shape = w.shape(0)
    strides = contiguous(shape)
    cut = axes[-1] + 1 if axes else 0
    width = prod(shape[cut:])
    around = [a for a in range(cut) if a not in axes]
    lines = prod(shape[a] for a in around)
    count = w.atoms[2].type.size if axes else 1
    y = w.buffer(out, "out")

    def places(n: Value, check: bool) -> tuple[list[Value], Value | None]:
        """The indices of update n, counted from the beginning; whether all are inside."""
        found, inside = [], None
        for number, a in zip(indices, axes, strict=True):
            i, size = w.integer(number, n), k.dim(shape[a], f"size {a}")
            unsigned = w.type(number) in UNSIGNED
            low = w.zero() if unsigned else k.op("neg", size)
            here = k.op("and", k.op("ge", i, low), k.op("lt", i, size))
            if check:
                k.check(here, i, size)
            inside = here if inside is None else k.op("and", inside, here)
            found.append(i if unsigned else k.select(k.op("lt", i, w.zero()), k.add(i, size), i))
        return found, inside

    if axes and mode != "drop":
        with ExitStack() as stack:
            n = w.zero() if count == 1 else stack.enter_context(k.vector(w.zero(), k.dim(count, "count")))
            places(n, check=True)
    w.cost = 20.0 + count * (0.5 + lines * (1.5 + 0.15 * width))
    with ExitStack() as stack:
        line, offset = w.zero(), w.zero()
        bounds = (w.zero(), k.dim(width, "width"))
        if lines > 1:
            line = stack.enter_context(k.serial(k.begin, k.end))
            numbers = digits(k, line, [shape[a] for a in around])
            offset = k.affine([(i, k.dim(strides[a], f"stride {a}")) for i, a in zip(numbers, around, strict=True)])
            w.parallel = (lines, w.grain(lines))
        elif width >= LANES:
            bounds = (k.begin, k.end)
            w.parallel = (width, w.grain(width, PIECE // size_of(y.type)))
        n = w.zero() if count == 1 else stack.enter_context(k.serial(w.zero(), k.dim(count, "count")))
        found, inside = places(n, check=False)
        if mode == "drop" and inside is not None:
            stack.enter_context(k.branch(inside))
        target = k.affine([(i, k.dim(strides[a], f"stride {a}")) for i, a in zip(found, axes, strict=True)], offset)
        source = k.affine([(n, k.dim(lines * width, "update")), (line, k.dim(width, "width"))])
        c = w.zero() if width == 1 else stack.enter_context((k.vector if width >= LANES else k.serial)(*bounds))
        one = k.const(1, "i64")
        write(w, op, y, k.affine([(c, one)], target), k.affine([(c, one)], source))
    return True


def write(w: Writer, op: str | None, y: Buffer, target: Value, source: Value) -> None:
    """y[target] = u[source], or the combination of both."""
    k, a = w.k, w.atoms[1]
    new = k.const(a.value, w.type(1)) if type(a) is Literal else k.load(w.buffer(1), source)
    k.store(y, target, new if op is None else combined(k, op, k.load(y, target), new))


def window(w: Writer, op: str | None) -> bool:
    """Lines of the window, each in lanes. For a window of (rows, width) at (0, s) of an x with lines of `stride`:

    for r in [begin, end):
        for c in vector [0, width): y[r * stride + s + c] = u[r * width + c]
    """
    k, out = w.k, len(w.atoms) - 1
    if not w.known(0):
        return False
    shape, sizes = w.shape(0), w.shape(1)
    steps = (*w.eqn.params["strides"], 1)[: len(shape)]
    strides = contiguous(shape)
    terms = []
    for a, number in enumerate(range(2, out)):
        last = shape[a] - ((sizes[a] - 1) * steps[a] + 1)
        if last:
            terms.append((begin(w, number, last), k.dim(strides[a], f"stride {a}")))
    offset = k.affine(terms)
    cut = len(shape)
    while cut and sizes[cut - 1] == shape[cut - 1]:
        cut -= 1
    width, along = prod(sizes[cut:]), 1
    if cut and (width == 1 or steps[cut - 1] == 1):
        cut -= 1
        along = steps[cut] if width == 1 else 1
        width *= sizes[cut]
    lines = prod(sizes[:cut])
    y = w.buffer(out, "out")
    w.cost = 20.0 + lines * (3.0 + 0.15 * width)
    with ExitStack() as stack:
        line, bounds = w.zero(), (k.begin, k.end)
        if lines > 1:
            line, bounds = stack.enter_context(k.serial(k.begin, k.end)), (w.zero(), k.dim(width, "width"))
            numbers = digits(k, line, sizes[:cut])
            offset = k.affine([(i, k.dim(strides[a] * steps[a], f"step {a}")) for a, i in enumerate(numbers)], offset)
            w.parallel = (lines, w.grain(lines))
        else:
            w.parallel = (width, w.grain(width, 64))
        c = stack.enter_context((k.vector if width >= LANES else k.serial)(*bounds))
        write(w, op, y, k.affine([(c, k.dim(along, "along"))], offset), k.affine([(line, k.dim(width, "width"))], c))
    return True


def begin(w: Writer, number: int, last: int) -> Value:
    """Where a window begins along an axis, clamped to [0, last]."""
    k, a = w.k, w.atoms[number]
    if type(a) is Literal:
        return k.dim(min(max(int(a.value), 0), last), f"index {number}")
    s, limit = k.load(w.buffer(number), w.zero()), k.dim(last, f"last {number}")
    if s.type == "u64":
        s = k.op("min", s, k.cast(limit, "u64"))
    return k.op("max", k.op("min", k.cast(s, "i64"), limit), w.zero())


UPDATES: dict[str, Callable[[Writer], bool]] = {
    "scatter": partial(scatter, op=None),
    "scatter_add": partial(scatter, op="add"),
    "scatter_mul": partial(scatter, op="mul"),
    "scatter_min": partial(scatter, op="min"),
    "scatter_max": partial(scatter, op="max"),
    "dynamic_update_slice": partial(window, op=None),
    "dynamic_add_slice": partial(window, op="add"),
}
