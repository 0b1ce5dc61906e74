"""Convolutions as kernels: the three maps of `primitives.conv` in terms of the two loop nests of `correlate`.

`conv` is a correlation. `conv_input_grad` is one of y with the mirrored filters, for each residue of a place modulo the
strides one of its own, with those taps that meet it.
"""

from __future__ import annotations

from itertools import product
from math import gcd, prod
from typing import Any, NamedTuple

from ..core.ir import Eqn, Literal
from .correlate import Axis, Correlation, Filter, correlation, packed, rows_of, tile_of, zero_padded
from .emit import Launch
from .filter_gradient import Gradient, filter_gradient
from .fuse import contiguous
from .nests import STATIC
from .plan import Item, launch_item
from .scalars import FLOATS, type_name


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
    launches = MAPS[e.primitive.name](geometry(e, kind), *e.inputs, out)
    items = [launch_item(launch) for launch in launches]
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
    tile = tile_of(c.type, last.count, c.outer, c.diagonal)
    in_one = tile.places == last.count and last.taps <= STATIC
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
    """x from w and y: place s·q + r of x meets tap k where s divides s·q + r + low - k·d."""
    *steps, _ = contiguous((*g.x, g.groups * g.inner))
    *taps, inner, outer = contiguous((*g.w, g.inner, g.groups * g.outer))
    launches = []
    for phase in product(*[range(min(s, n)) for s, n in zip(g.strides, g.x, strict=True)]):
        axes, start = [], 0
        tap_steps = []
        for r, n, size, count, s, d, low, step in zip(
            phase, g.w, g.y, g.x, g.strides, g.dilation, g.low, taps, strict=True
        ):
            first = next((k for k in range(min(n, s)) if (r + low - k * d) % s == 0), n)
            every = s // gcd(s, d)
            m = -(-(n - first) // every)
            axes.append(
                Axis(
                    size,
                    m,
                    -(-(count - r) // s),
                    1,
                    every * d // s,
                    (m - 1) * every * d // s - (r + low - first * d) // s,
                )
            )
            start += (first + (m - 1) * every) * step
            tap_steps.append(-every * step)
        at = sum(r * s for r, s in zip(phase, steps, strict=True))
        out_steps = tuple(s * n for s, n in zip(g.strides, steps, strict=True))
        image = prod(g.x) * g.groups * g.inner
        c = Correlation(g.type, g.images, tuple(axes), g.groups, g.outer, g.inner, at, out_steps, image)
        launches += correlated(c, y, w, Filter(start, tuple(tap_steps), outer, inner, g.outer), x)
    return launches


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


MAPS = {"conv": forward, "conv_weight_grad": weight_gradient, "conv_input_grad": input_gradient}
