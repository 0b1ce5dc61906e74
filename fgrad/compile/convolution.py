"""Convolutions as kernels: the three maps of `primitives.conv` in terms of the two loop nests of `correlate`.

`conv` is a correlation. `conv_input_grad` is one of y with the mirrored filters, for each residue of a place modulo the
strides one of its own, with those taps that meet it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import gcd, prod
from typing import Any, NamedTuple

from ..core.ir import Eqn, Literal
from .correlate import Axis, Correlation, Filter, correlation, packed, rows_of, tile_of, zero_padded
from .emit import Launch
from .filter_gradient import Gradient, filter_gradient
from .layouts import contiguous
from .nests import STATIC
from .plan import Item, launch_item
from .scalars import FLOATS, type_name

RESIDUES = 16  # most kernels that an input's gradient is made of


class Geometry(NamedTuple):
    """A convolution of x (images, *spatial, groups · inner) with w (*taps, inner, groups · outer), giving y."""

    type: str
    images: int
    x: tuple[int, ...]
    w: tuple[int, ...]
    y: tuple[int, ...]
    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    low: tuple[int, ...]
    groups: int
    inner: int
    outer: int


def convolution_items(e: Eqn) -> list[Item] | None:
    """The kernels of a convolution or of one of its gradients; None: let NumPy do it."""
    if e.primitive.name not in MAPS:
        return None
    (out,) = e.outputs
    kind = type_name(out.type.dtype)
    if kind not in FLOATS or any(type(a) is Literal or not a.type.size for a in e.inputs):
        return None
    if e.primitive.name == "conv_input_grad" and prod(e.params["strides"]) > RESIDUES:
        return None
    a, b = e.inputs
    items = [launch_item(launch) for launch in MAPS[e.primitive.name](geometry(e, kind), a, b, out)]
    for item in items:
        item.eqn = e
    return items


def geometry(e: Eqn, type: str) -> Geometry:
    """What the operands and parameters of an equation say."""
    a, b = (v.type.shape for v in e.inputs)
    out, params = e.outputs[0].type.shape, e.params
    x, w, y = {"conv": (a, b, out), "conv_input_grad": (out, a, b), "conv_weight_grad": (a, out, b)}[e.primitive.name]
    groups = params["groups"]
    spatial = (x[1:-1], w[:-2], y[1:-1], params["strides"], params["dilation"], params["low"])
    if not params["sizes"]:  # one spatial axis of size one
        spatial = ((1,), (1,), (1,), (1,), (1,), (0,))
    return Geometry(type, x[0], *spatial, groups, w[-2], w[-1] // groups)


def forward(g: Geometry, x: Any, w: Any, y: Any) -> list[Launch]:
    """y from x and w."""
    axes = tuple(map(Axis, g.x, g.w, g.y, g.strides, g.dilation, g.low))
    *steps, _ = contiguous((*g.y, g.groups * g.outer))
    c = Correlation(g.type, g.images, axes, g.groups, g.inner, g.outer, 0, tuple(steps), prod(g.y) * g.groups * g.outer)
    *taps, inner, outer = contiguous((*g.w, g.inner, g.groups * g.outer))
    return correlated(c, x, w, Filter(0, tuple(taps), inner, outer, g.outer), y)


def correlated(c: Correlation, a: Any, b: Any, place: Filter, out: Any) -> list[Launch]:
    """The kernels of a correlation: copies of its operands where they are needed, and the sum."""
    launches = []
    taps, last = [x.taps for x in c.axes], c.axes[-1]
    if c.groups > 1 and c.inner == c.outer == 1:  # a channel of the result sees one of a
        c = c._replace(groups=1, outer=c.groups, diagonal=True)
        place = place._replace(outer=place.group)
    tile = tile_of(c.type, last.places, c.outer, c.diagonal)
    in_one = tile.places == last.places and last.taps <= STATIC
    wide = not (0 in taps or last.inside or in_one)
    if wide:
        launch, a = zero_padded(a, c.type, c.images, c.axes, c.channels)
        launches.append(launch)
    width = c.outer if c.diagonal else tile.width
    *steps, inner, outer = contiguous((*taps, c.inner, width))
    as_it_is = place[:4] == (0, tuple(steps), inner, outer) and c.outer == width and c.groups == 1
    if 0 not in taps and not as_it_is:
        launch, b = packed(b, c.type, place, taps, c.inner, c.outer, c.groups, width)
        launches.append(launch)
    return [*launches, correlation(c, a, rows_of(c.axes, c.channels, wide), b, out, tile)]


def input_gradient(g: Geometry, w: Any, y: Any, x: Any) -> list[Launch]:
    """x from w and y: one correlation for each residue of the places of x modulo the strides."""
    *steps, _ = contiguous((*g.x, g.groups * g.inner))
    *tap_steps, inner, outer = contiguous((*g.w, g.inner, g.groups * g.outer))
    image = prod(g.x) * g.groups * g.inner
    launches = []
    for residues in product(*[range(min(s, n)) for s, n in zip(g.strides, g.x, strict=True)]):
        axes, first, moves = zip(*[mirrored(g, i, r) for i, r in enumerate(residues)], strict=True)
        start = sum(r * step for r, step in zip(residues, steps, strict=True))
        every = tuple(s * step for s, step in zip(g.strides, steps, strict=True))
        c = Correlation(g.type, g.images, axes, g.groups, g.outer, g.inner, start, every, image)
        taps = tuple(move * step for move, step in zip(moves, tap_steps, strict=True))
        begin = sum(k * step for k, step in zip(first, tap_steps, strict=True))
        launches += correlated(c, y, w, Filter(begin, taps, outer, inner, g.outer), x)
    return launches


def mirrored(g: Geometry, i: int, r: int) -> tuple[Axis, int, int]:
    """Of axis i, how the places q · stride + r of x see y: the axis, the first tap to take, and the move to the next.

    Tap k of window t is at that place if t · stride + k · dilation - low = q · stride + r. So every (stride / gcd)-th
    tap is taken, the last one first: they see y `dilation / gcd` places apart, the last one where t is least.
    """
    n, s, d = g.w[i], g.strides[i], g.dilation[i]
    at = r + g.low[i]
    first = next((k for k in range(min(n, s)) if (at - k * d) % s == 0), n)
    every, apart = s // gcd(s, d), d // gcd(s, d)
    taps = -(-(n - first) // every)
    low = (taps - 1) * apart - (at - first * d) // s
    places = -(-(g.x[i] - r) // s)
    return Axis(g.y[i], taps, places, 1, apart, low), first + (taps - 1) * every, -every


def weight_gradient(g: Geometry, x: Any, y: Any, w: Any) -> list[Launch]:
    """w from x and y."""
    axes = tuple(map(Axis, g.x, g.w, g.y, g.strides, g.dilation, g.low))
    if len(axes) == 1:
        axes = (Axis(1, 1, 1, 1, 1, 0), *axes)
    c = Gradient(g.type, g.images, axes, g.groups, g.inner, g.outer)
    if g.groups > 1 and g.inner == g.outer == 1:
        c = c._replace(groups=1, outer=g.groups, diagonal=True)
    channels = g.groups * g.inner
    wide = not axes[-1].inside
    launches = []
    if wide:
        launch, x = zero_padded(x, g.type, g.images, axes, channels)
        launches.append(launch)
    return launches + filter_gradient(c, rows_of(axes, channels, wide), x, y, w)


MAPS: dict[str, Callable[[Geometry, Any, Any, Any], list[Launch]]] = {
    "conv": forward,
    "conv_weight_grad": weight_gradient,
    "conv_input_grad": input_gradient,
}
