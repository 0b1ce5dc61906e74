"""The bytes of numbers read as another dtype."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.errors import DtypeError, ShapeError, message
from ..core.primitive import Primitive
from ..core.types import ShapedArray, shaped


class BitcastConvertType(Primitive):
    """The bytes of x as another dtype: a smaller one adds a last axis, a larger one takes the last axis away."""

    def typeof(self, x: ShapedArray, *, dtype: np.dtype) -> tuple[ShapedArray, ...]:
        if "b" in (x.dtype.kind, dtype.kind):
            raise DtypeError(
                message("bitcast_convert_type is not defined for booleans", got=x, do="convert to uint8 first")
            )
        old, new = x.dtype.itemsize, dtype.itemsize
        if old >= new:
            return (shaped(x.shape if old == new else (*x.shape, old // new), dtype),)
        if x.shape[-1:] != (new // old,):
            what = f"bitcast_convert_type: {new // old} elements of {x.dtype} make one of {dtype}"
            raise ShapeError(message(what, got=x, do=f"give a last axis of size {new // old}"))
        return (shaped(x.shape[:-1], dtype),)

    def run(self, x: Any, *, dtype: np.dtype) -> tuple[Any, ...]:
        x = np.array(x, order="C")
        (out,) = self.typeof(shaped(x.shape, x.dtype), dtype=dtype)
        # bytes in between: a view of an empty or 0-d array as another size is refused
        return (np.frombuffer(bytearray(x.tobytes()), dtype).reshape(out.shape)[()],)

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], x: Any, *, dtype: np.dtype) -> Sequence[Any]:
        return (None,)

    def batch(self, size: int, mapped: Sequence[bool], x: Any, *, dtype: np.dtype) -> Any:
        return [self(x, dtype=dtype)], [True]

    def samples(self, draw: Any) -> Any:
        cases = [("f8", "u8", ()), ("i8", "f8", ()), ("f8", "u4", ()), ("u2", "u8", (4,))]
        old, new, last = draw.sampled(cases)
        return [draw.array((*draw.shape(), *last), old)], {"dtype": np.dtype(new)}


bitcast_convert_type = BitcastConvertType("bitcast_convert_type")
