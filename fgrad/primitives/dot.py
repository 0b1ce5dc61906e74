"""Contractions of two arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.errors import DtypeError, ShapeError, message
from ..core.primitive import Primitive, is_linear
from ..core.types import ShapedArray, shaped
from .family import p

Axes = tuple[tuple[int, ...], tuple[int, ...]]


def _free(ndim: int, *used: Sequence[int]) -> tuple[int, ...]:
    taken = {a for axes in used for a in axes}
    return tuple(a for a in range(ndim) if a not in taken)


class DotGeneral(Primitive):
    """Sum over the paired axes `contract` of x and w, for each index of the paired axes `batch`.

    Axes of the result: the batch axes, the remaining axes of x, the remaining axes of w.
    """

    shapes = ()

    def typeof(self, x: ShapedArray, w: ShapedArray, *, contract: Axes, batch: Axes) -> tuple[ShapedArray, ...]:
        for (a, b), what in ((contract, "summed"), (batch, "batch")):
            if [x.shape[i] for i in a] != [w.shape[i] for i in b]:
                raise ShapeError(
                    message(
                        f"matrix product: {what} axes {a} of the left and {b} of the right operand differ in size",
                        got=f"{x} and {w}",
                        do="check the shapes; a transposed operand is the usual cause",
                    )
                )
        if x.dtype != w.dtype:
            raise DtypeError(
                message("dot_general: operands have different dtypes", got=f"{x} and {w}", do="convert first")
            )
        shape = [x.shape[a] for a in batch[0]]
        shape += [x.shape[a] for a in _free(x.ndim, contract[0], batch[0])]
        shape += [w.shape[a] for a in _free(w.ndim, contract[1], batch[1])]
        return (shaped(tuple(shape), x.dtype),)

    def run(self, x: Any, w: Any, *, contract: Axes, batch: Axes) -> tuple[Any, ...]:
        x, w = np.asarray(x), np.asarray(w)
        return (self.kernel(shaped(x.shape, x.dtype), shaped(w.shape, w.dtype), contract=contract, batch=batch)(x, w),)

    def kernel(self, x: ShapedArray, w: ShapedArray, *, contract: Axes, batch: Axes) -> Callable[..., Any]:  # type: ignore[override]
        """One NumPy matmul on views of shapes (batch, m, k) and (batch, k, n)."""
        xf, wf = _free(x.ndim, contract[0], batch[0]), _free(w.ndim, contract[1], batch[1])
        (out,) = self.typeof(x, w, contract=contract, batch=batch)
        if not batch[0] and len(contract[0]) == 1 and x.ndim <= 2 and w.ndim <= 2:
            left = x.ndim == 2 and contract[0] == (0,)
            right = w.ndim == 2 and contract[1] == (1,)
            if left and right:
                return lambda x, w: np.matmul(x.T, w.T)
            if left:
                return lambda x, w: np.matmul(x.T, w)
            return (lambda x, w: np.matmul(x, w.T)) if right else np.matmul
        size = lambda t, axes: int(np.prod([t.shape[a] for a in axes], dtype=np.int64))  # noqa: E731
        x_axes, w_axes = (*batch[0], *xf, *contract[0]), (*batch[1], *contract[1], *wf)
        b, m, k, n = size(x, batch[0]), size(x, xf), size(x, contract[0]), size(w, wf)
        x_shape = (b, m, k) if batch[0] else (m, k)
        w_shape = (b, k, n) if batch[0] else (k, n)
        if not contract[0] and k != 0:
            # no sum: a product that broadcasts is faster than a matrix product of depth one
            return lambda x, w: np.multiply(
                x.transpose(x_axes).reshape(*x_shape), w.transpose(w_axes).reshape(*w_shape)
            ).reshape(out.shape)
        return lambda x, w: np.matmul(
            x.transpose(x_axes).reshape(x_shape), w.transpose(w_axes).reshape(w_shape)
        ).reshape(out.shape)[()]

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], x: Any, w: Any, **params: Any) -> Sequence[Any]:
        t, u = tangents
        left = None if t is None else self(t, w, **params)
        right = None if u is None else self(x, u, **params)
        return (left if right is None else right if left is None else p.add(left, right),)

    def pull(self, cts: Sequence[Any], x: Any, w: Any, *, contract: Axes, batch: Axes) -> Sequence[Any]:
        ct, b = cts[0], len(batch[0])
        xf, wf = _free(x.ndim, contract[0], batch[0]), _free(w.ndim, contract[1], batch[1])
        lead = tuple(range(b))
        if is_linear(x):
            there = tuple(range(b + len(xf), ct.ndim))
            y = self(ct, w, contract=(there, wf), batch=(lead, batch[1]))
            by_w = sorted(range(len(contract[1])), key=lambda i: contract[1][i])
            return (_arranged(y, (*batch[0], *xf, *[contract[0][i] for i in by_w])), None)
        there = tuple(range(b, b + len(xf)))
        # x first, so that the product has the layout of w and no transposition is left
        y = self(x, ct, contract=(xf, there), batch=(batch[0], lead))
        by_x = sorted(range(len(contract[0])), key=lambda i: contract[0][i])
        return (None, _arranged(y, (*batch[1], *[contract[1][i] for i in by_x], *wf)))

    def batch(self, size: int, mapped: Sequence[bool], x: Any, w: Any, *, contract: Axes, batch: Axes) -> Any:
        up = lambda axes: tuple(a + 1 for a in axes)  # noqa: E731
        (xc, wc), (xb, wb) = contract, batch
        if all(mapped):
            return [self(x, w, contract=(up(xc), up(wc)), batch=((0, *up(xb)), (0, *up(wb))))], [True]
        if mapped[0]:  # the mapped axis is one more free axis of x: one product, not `size` of them
            y = self(x, w, contract=(up(xc), wc), batch=(up(xb), wb))
            place = len(xb)
        else:
            y = self(x, w, contract=(xc, up(wc)), batch=(xb, up(wb)))
            place = len(xb) + len(_free(x.ndim, xc, xb))
        if place:
            y = p.transpose(y, axes=(place, *[a for a in range(y.ndim) if a != place]))
        return [y], [True]

    def samples(self, draw: Any) -> Any:
        k, b, m, n = (draw.integer(0, 3) for _ in range(4))
        case = draw.sampled(["mm", "mv", "batch", "swap", "outer"])
        contract, batch = ((1,), (0,)), ((), ())
        shapes: Any = ((m, k), (k, n))
        if case == "mv":
            shapes = ((m, k), (k,))
        elif case == "batch":
            shapes, contract, batch = ((b, m, k), (b, k, n)), ((2,), (1,)), ((0,), (0,))
        elif case == "swap":
            shapes, contract = ((m, k, b), (b, n, k)), ((1, 2), (2, 0))
        elif case == "outer":
            shapes, contract = ((m,), (n,)), ((), ())
        return [draw.array(shapes[0]), draw.array(shapes[1])], {"contract": contract, "batch": batch}


def _arranged(y: Any, axes: tuple[int, ...]) -> Any:
    """`y`, whose axis i is to become axis `axes[i]`."""
    if axes == tuple(range(len(axes))):
        return y
    return p.transpose(y, axes=tuple(int(a) for a in np.argsort(axes)))


dot_general = DotGeneral("dot_general")
