"""From dot_general on strided views to one batched matrix product of the library, without copies where possible.

The axes of both operands fall into four groups: batch, rows (the free axes of x), columns (those of w), sums. Axes of
a group that follow each other in memory become one. What is left are an axis of rows, one of columns and one of sums,
which make a matrix product with transposition flags and leading dimensions, and loops around it. An operand whose
layout allows no such product is to be copied: the cheapest among the copies of none, either or both is planned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .blas import available
from .layouts import Layout, contiguous
from .native.language import Native
from .products import NAMES, Loop, Matrix, Product, product_call

LARGEST = 2**31 - 1  # of the sizes and leading dimensions that the library takes
COPY_ELEMENT = 0.8  # nanoseconds to copy an element to another order
SMALL = 512  # multiplications of a product that a loop nest does faster than a call of the library

Axes = tuple[tuple[int, ...], tuple[int, ...]]


class Axis(NamedTuple):
    """A size and what one step along it means in x, w and the result, in elements."""

    size: int
    x: int
    w: int
    out: int


class DotThunk(NamedTuple):
    """A product in the thunk table: `cost` in nanoseconds of one core, estimated."""

    function: Native
    operands: tuple[int, ...]
    dims: tuple[int, ...]
    extent: int
    grain: int
    cost: float
    flops: int


class DotPlan(NamedTuple):
    """How a dot_general is computed.

    copies: for x and w None, or the order of the axes in which a C-contiguous copy takes the place of the operand.
    """

    product: Product
    copies: tuple[tuple[int, ...] | None, tuple[int, ...] | None]

    @property
    def small(self) -> bool:
        """Whether a loop nest does it faster: an outer product, or a few multiplications."""
        m, n, k = self.product.m, self.product.n, self.product.k
        return k == 1 or m * n * k <= SMALL

    def thunk(self, x: int, w: int, out: int, scale: int | None = None) -> DotThunk:
        """The thunk for these slots; `scale`: of a scalar of the dtype that multiplies alpha, at run time.

        Where alpha is then zero, the product counts as zero, even if it is not finite.
        """
        call = product_call(self.product, scaled=scale is not None)
        slots = (x, w, out, scale)
        operands = tuple(slot for i in call.order if (slot := slots[i]) is not None)
        return DotThunk(call.function, operands, call.dims, call.extent, call.grain, call.cost, call.flops)


def plan_dot(
    x: Layout, w: Layout, dtype: np.dtype, contract: Axes, batch: Axes, alpha: complex = 1, beta: complex = 0
) -> DotPlan | None:
    """Plan out = alpha · dot_general(x, w) + beta · out for a C-contiguous `out`; None: let NumPy do it.

    Args:
      x, w: where the operands are.
      dtype: of both and of the result: float32, float64, complex64, complex128; None is the answer for others.
      contract, batch: as in dot_general.
      alpha, beta: static factors. With beta = 0 the old `out` is not read.

    >>> x, w = Layout((3, 2), (1, 3)), Layout.contiguous((2, 5))  # x: the transpose of a (2, 3) buffer
    >>> plan = plan_dot(x, w, np.dtype("f4"), ((1,), (0,)), ((), ()))
    >>> plan.product.a, plan.copies
    (Matrix(start=0, stride=3, transposed=True), (None, None))
    """
    if dtype.str[1:] not in NAMES or not dtype.isnative or not available():
        return None
    return _planned(x, w, dtype, contract, batch, alpha, beta)


@lru_cache(4096)
def _planned(
    x: Layout, w: Layout, dtype: np.dtype, contract: Axes, batch: Axes, alpha: complex, beta: complex
) -> DotPlan | None:
    """The plan, of layers that are alike made once."""
    free = [
        tuple(a for a in range(len(t.shape)) if a not in contract[i] and a not in batch[i])
        for i, t in enumerate((x, w))
    ]
    best: tuple[float, DotPlan] | None = None
    for copy_x, copy_w in ((False, False), (True, False), (False, True), (True, True)):
        # the sums in the order in which an operand that stays has them
        leader, side = (w, 1) if copy_x and not copy_w else (x, 0)
        order = sorted(range(len(contract[side])), key=lambda i: -leader.strides[contract[side][i]])
        sums = [tuple(axes[i] for i in order) for axes in contract]
        x_order = (*batch[0], *free[0], *sums[0]) if copy_x else None
        w_order = (*batch[1], *sums[1], *free[1]) if copy_w else None
        product = _product(_copied(x, x_order), _copied(w, w_order), dtype, tuple(sums), batch, free)
        if product is None:
            continue
        if not copy_x and not copy_w and product.count <= math.prod(x.shape[a] for a in batch[0]):
            return DotPlan(product._replace(alpha=alpha, beta=beta), (None, None))
        elements = copy_x * math.prod(x.shape) + copy_w * math.prod(w.shape)
        cost = product_call(product).cost + COPY_ELEMENT * elements
        if best is None or cost < best[0]:
            best = cost, DotPlan(product._replace(alpha=alpha, beta=beta), (x_order, w_order))
    return None if best is None else best[1]


def _copied(layout: Layout, order: tuple[int, ...] | None) -> Layout:
    """The layout, with its own axes, of a contiguous copy that has them in this order."""
    if order is None:
        return layout
    strides = contiguous([layout.shape[a] for a in order])
    return Layout(layout.shape, tuple(strides[order.index(a)] for a in range(len(order))))


def _product(
    x: Layout, w: Layout, dtype: np.dtype, contract: Axes, batch: Axes, free: Sequence[tuple[int, ...]]
) -> Product | None:
    """The product, if the layouts allow one."""
    shape = [*(x.shape[a] for a in (*batch[0], *free[0])), *(w.shape[a] for a in free[1])]
    steps = iter(contiguous(shape))
    lanes = [Axis(x.shape[a], x.strides[a], w.strides[b], next(steps)) for a, b in zip(*batch, strict=True)]
    rows = [Axis(x.shape[a], x.strides[a], 0, next(steps)) for a in free[0]]
    columns = [Axis(w.shape[a], 0, w.strides[a], next(steps)) for a in free[1]]
    sums = [Axis(x.shape[a], x.strides[a], w.strides[b], 0) for a, b in zip(*contract, strict=True)]
    if any(axis.size == 0 for axis in (*lanes, *rows, *columns, *sums)):
        return _empty(dtype, lanes, rows, columns, sums)
    lanes, rows, columns, sums = (_merged(group) for group in (lanes, rows, columns, sums))
    if len(sums) > 1:
        return None
    while lanes and lanes[-1].w == 0:  # lanes that share w are more rows
        rows = _merged([lanes.pop(), *rows])
    one = Axis(1, 0, 0, 0)
    total, column = sums[0] if sums else one, columns[-1] if columns else one
    outer = [*lanes, *columns[:-1]]
    for row in sorted(rows, key=lambda axis: -axis.size) or [one]:
        a = _matrix(x.start, row.size, total.size, row.x, total.x)
        b = _matrix(w.start, total.size, column.size, total.w, column.w)
        c = Matrix(0, row.out if row.size > 1 else column.size)
        if a is None or b is None or max(row.size, column.size, total.size, c.stride) > LARGEST:
            continue
        loops = tuple(Loop(*axis) for axis in (*outer, *(r for r in rows if r is not row)))
        return Product(dtype, row.size, column.size, total.size, a, b, c, loops)
    return None


def _empty(
    dtype: np.dtype, lanes: Sequence[Axis], rows: Sequence[Axis], columns: Sequence[Axis], sums: Sequence[Axis]
) -> Product | None:
    """A product without elements, or a sum of none: zeros, whatever the layouts are."""
    n = math.prod(axis.size for axis in columns)
    m = math.prod(axis.size for axis in (*lanes, *rows))
    k = math.prod(axis.size for axis in sums)
    if m and n:  # k is zero
        return None if max(m, n) > LARGEST else Product(dtype, m, n, 0, Matrix(0, 1), Matrix(0, n), Matrix(0, n))
    return Product(dtype, 0, 0, min(k, 1), Matrix(0, 1), Matrix(0, 1), Matrix(0, 1))


def _merged(axes: Sequence[Axis]) -> list[Axis]:
    """Axes of size one dropped, and each pair made one of which the first continues the second everywhere."""
    merged: list[Axis] = []
    for axis in axes:
        if axis.size == 1:
            continue
        if merged and all(merged[-1][i] == axis[i] * axis.size for i in (1, 2, 3)):
            axis = axis._replace(size=merged.pop().size * axis.size)
        merged.append(axis)
    return merged


def _matrix(start: int, rows: int, columns: int, down: int, along: int) -> Matrix | None:
    """A strided matrix as the library takes it: unit stride one way, the other way no shorter than what it skips."""
    if (along == 1 or columns == 1) and (rows == 1 or columns <= down <= LARGEST):
        return Matrix(start, down if rows > 1 else columns)
    if (down == 1 or rows == 1) and (columns == 1 or rows <= along <= LARGEST):
        return Matrix(start, along if columns > 1 else rows, transposed=True)
    return None
