"""Reading and writing at indices in small programs: windows, gather and scatter, in registers and in memory.

Where an array is in registers and the index is not known, each element is chosen by comparisons; in memory it is one
address. Indices outside fail a check, as in all kernels; windows are clamped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from math import prod
from typing import Any

import numpy as np

from ..core.ir import Eqn
from .elements import LIMIT, Array, Decline, Elements, Memory, array, elements, known, number
from .nests import Builder, Value
from .routines_writer import combined
from .scalars import UNSIGNED


def position(k: Builder, i: Value) -> Value:
    """An index as i64; what is too large for it stays the largest."""
    if i.type == "u64":
        i = k.op("min", i, k.const(2**63 - 1, "u64"))
    return k.cast(i, "i64") if known(i) is None else k.const(known(i), "i64")


def begin(k: Builder, start: Value, last: int) -> Value:
    """Where a window begins along an axis, clamped to [0, last]."""
    n = known(start)
    if n is not None or last == 0:
        return number(k, min(max(n or 0, 0), last), "start")
    return k.op("max", k.op("min", position(k, start), number(k, last, "last")), k.const(0, "i64"))


def begins(k: Builder, e: Eqn, starts: Sequence[Elements], sizes: Sequence[int]) -> list[Value]:
    """Where the window of an equation begins."""
    shape, strides = e.inputs[0].type.shape, e.params["strides"]
    return [
        begin(k, s[()], n - ((m - 1) * step + 1 if m else 0))
        for n, s, m, step in zip(shape, starts, sizes, strides, strict=True)
    ]


def dynamic_slice(u: Any, e: Eqn, xs: Sequence[Array]) -> Array:
    k, x = u.k, xs[0]
    sizes, strides = e.params["sizes"], e.params["strides"]
    starts = begins(k, e, [elements(k, s) for s in xs[1:]], sizes)
    if type(x) is Memory:
        window = x.moved(
            k,
            list(zip(starts, x.strides, strict=True)),
            sizes,
            [s * step for s, step in zip(x.strides, strides, strict=True)],
        )
        return elements(k, window) if x.place.writable and window.size <= LIMIT else window
    for axis, (start, m, step) in enumerate(zip(starts, sizes, strides, strict=True)):
        span = (m - 1) * step + 1 if m else 0
        parts = [
            x[(slice(None),) * axis + (slice(s, s + span, step),)]
            for s in range(e.inputs[0].type.shape[axis] - span + 1)
        ]
        x = picked(u, start, parts)
    return x


def picked(u: Any, number: Value, parts: Sequence[Elements]) -> Elements:
    """One of several arrays, by a number that is inside."""
    n = known(number)
    if n is not None:
        return parts[n]
    u.spend((len(parts) - 1) * parts[0].size)
    k, result = u.k, parts[0].reshape(-1)
    for s, part in enumerate(parts[1:], 1):
        here = k.op("ge", number, k.const(s, "i64"))
        result = [k.select(here, new, old) for new, old in zip(part.reshape(-1), result, strict=True)]
    return array(list(result), parts[0].shape)


def update_window(op: str | None) -> Callable[..., Array]:
    """The rule of dynamic_update_slice (None) and dynamic_add_slice ("add")."""

    def rule(u: Any, e: Eqn, xs: Sequence[Array]) -> Array:
        k, x = u.k, xs[0]
        sizes, strides = e.inputs[1].type.shape, e.params["strides"]
        starts = begins(k, e, [elements(k, s) for s in xs[2:]], sizes)
        new = elements(k, xs[1])
        x = changeable(k, x)
        if type(x) is Memory:
            window = x.moved(
                k,
                list(zip(starts, x.strides, strict=True)),
                sizes,
                [s * step for s, step in zip(x.strides, strides, strict=True)],
            )
            for at in product(*map(range, sizes)):
                u.write(window, at, new[at], op)
            return x.written()
        result = x.copy()
        ranges = [
            range(n - (m - 1) * step) if known(s) is None else [known(s)]
            for s, n, m, step in zip(starts, x.shape, sizes, strides, strict=True)
        ]
        for place in product(*ranges) if new.size else ():
            here = matching(k, starts, place)
            u.spend(new.size)
            for at in product(*map(range, sizes)):
                there = tuple([s + i * step for s, i, step in zip(place, at, strides, strict=True)])
                value = new[at] if op is None else combined(k, op, x[there], new[at])
                result[there] = value if here is None else k.select(here, value, result[there])
        return result

    return rule


def changeable(k: Builder, x: Array) -> Array:
    """An array that an update may change: in registers, or in memory that the kernel may write."""
    return x if type(x) is Memory and x.place.writable else elements(k, x)


def matching(k: Builder, indices: Sequence[Value], place: Sequence[int | None]) -> Value | None:
    """Whether indices are at a place; None if they are known to be."""
    holds: Value | None = None
    for i, s in zip(indices, place, strict=True):
        if known(i) is None:
            here = k.op("eq", i, k.const(s, "i64"))
            holds = here if holds is None else k.op("and", holds, here)
    return holds


def places(u: Any, e: Eqn, indices: Sequence[Elements], count: int) -> list[tuple[list[Value], Value | None]]:
    """Of each of `count` accesses: its indices counted from the beginning, and, where it may be left out, whether it is
    inside."""
    k, shape, axes, mode = u.k, e.inputs[0].type.shape, e.params["axes"], e.params["mode"]
    flat = [i.reshape(-1) for i in indices]
    out = []
    for n in range(count):
        found: list[Value] = []
        inside: Value | None = None
        for a, numbers in zip(axes, flat, strict=True):
            i, size = numbers[n], shape[a]
            unsigned = i.type in UNSIGNED
            i, m = position(k, i), known(i)
            if m is not None and -size <= m < size:
                found.append(number(k, m + size if m < 0 else m, f"index {a}"))
                continue
            extent = number(k, size, f"size {a}")
            low = k.const(0, "i64") if unsigned else number(k, -size, f"low {a}")
            here = k.op("and", k.op("ge", i, low), k.op("lt", i, extent))
            if mode != "drop":
                k.check(here, i, extent)
            inside = here if inside is None else k.op("and", inside, here)
            found.append(i if unsigned else k.select(k.op("lt", i, k.const(0, "i64")), k.add(i, extent), i))
        out.append((found, inside if mode == "drop" else None))
    return out


def gather(u: Any, e: Eqn, xs: Sequence[Array]) -> Array:
    k, x, axes = u.k, xs[0], e.params["axes"]
    indices = [elements(k, i) for i in xs[1:]]
    lead = indices[0].shape if indices else ()
    count = indices[0].size if indices else 1
    shape = e.outputs[0].type.shape
    rest = [a for a in range(x.ndim) if a not in axes]
    if count != 1 and e.outputs[0].type.size > LIMIT:
        raise Decline("it gathers many elements")
    parts = []
    for at, _ in places(u, e, indices, count):
        if type(x) is Memory:
            steps = [(i, x.strides[a]) for i, a in zip(at, axes, strict=True)]
            part = x.moved(k, steps, [x.shape[a] for a in rest], [x.strides[a] for a in rest])
            part.pinned = x.pinned or any(known(i) is None for i in at)
            if count == 1 and not lead and not (x.place.writable and part.size <= LIMIT):
                return part
            parts.append(elements(k, part))
        else:
            part = x
            for i, a in zip(at[::-1], axes[::-1], strict=True):
                ahead = (slice(None),) * a
                part = picked(u, i, [np.asarray(part[(*ahead, s)], object) for s in range(part.shape[a])])
            parts.append(part)
    return array([v for part in parts for v in part.reshape(-1)], shape)


def scatter(op: str | None) -> Callable[..., Array]:
    """The rule of scatter (None) and its relatives."""

    def rule(u: Any, e: Eqn, xs: Sequence[Array]) -> Array:
        k, x, axes = u.k, xs[0], e.params["axes"]
        indices = [elements(k, i) for i in xs[2:]]
        count = indices[0].size if indices else 1
        rest = [a for a in range(x.ndim) if a not in axes]
        sizes = [x.shape[a] for a in rest]
        new = elements(k, xs[1]).reshape((count, *sizes))
        found = places(u, e, indices, count)
        x = changeable(k, x)
        if type(x) is Memory:
            for n, (at, inside) in enumerate(found):
                steps = [(i, x.strides[a]) for i, a in zip(at, axes, strict=True)]
                window = x.moved(k, steps, sizes, [x.strides[a] for a in rest])
                for there in product(*map(range, sizes)):
                    u.write(window, there, new[(n, *there)], op, inside)
            return x.written()
        result = x.copy()
        for n, (at, inside) in enumerate(found):
            for place in product(
                *[range(x.shape[a]) if known(i) is None else [known(i)] for i, a in zip(at, axes, strict=True)]
            ):
                here = matching(k, at, place)
                if inside is not None:
                    here = inside if here is None else k.op("and", here, inside)
                u.spend(prod(sizes))
                for other in product(*map(range, sizes)):
                    full = list(other)
                    for a, s in zip(axes, place, strict=True):
                        full.insert(a, s)
                    there, value = tuple(full), new[(n, *other)]
                    if op is not None:
                        value = combined(k, op, result[there], value)
                    result[there] = value if here is None else k.select(here, value, result[there])
        return result

    return rule


INDEXED: dict[str, Callable[..., Array]] = {
    "dynamic_slice": dynamic_slice,
    "dynamic_update_slice": update_window(None),
    "dynamic_add_slice": update_window("add"),
    "gather": gather,
    "scatter": scatter(None),
    "scatter_add": scatter("add"),
    "scatter_mul": scatter("mul"),
    "scatter_min": scatter("min"),
    "scatter_max": scatter("max"),
}
WRITES = frozenset(INDEXED) - {"dynamic_slice", "gather"}
