"""Argument checks shared by the samplers: keys, shapes and dtypes."""

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

import fgrad.numpy as fnp

Shape = tuple[int, ...]


def check_key(name: str, key: Any) -> Any:
    """Return `key` if it is one raw key, a uint32 array of shape (2,); raise a TypeError or ValueError if not."""
    wanted = "a key: a uint32 array of shape (2,), as made by fgrad.random.key(seed)"
    shape, dtype = getattr(key, "shape", None), getattr(key, "dtype", None)
    if shape is None or dtype is None:
        raise TypeError(f"{name}: the first argument must be {wanted}; got {type(key).__name__} {key!r}")
    if dtype != np.uint32 or shape[-1:] != (2,):
        raise ValueError(f"{name}: the first argument must be {wanted}; got dtype {dtype}, shape {tuple(shape)}")
    if len(shape) > 1:
        raise ValueError(
            f"{name}: takes one key of shape (2,), got an array of keys of shape {tuple(shape)}; "
            f"index it, or map over its keys: fgrad.vmap(lambda key: fgrad.random.{name}(key, ...))(keys)"
        )
    return key


def as_shape(name: str, shape: int | Sequence[int]) -> Shape:
    """Return `shape` (one int, or a sequence of them) as a tuple of non-negative Python ints."""
    try:
        dims = tuple(operator.index(d) for d in shape) if np.iterable(shape) else (operator.index(shape),)
    except TypeError as error:
        raise TypeError(f"{name}: shape must be a tuple of integers, got {shape!r}") from error
    if any(d < 0 for d in dims):
        raise ValueError(f"{name}: shape must have no negative entry, got {dims}")
    return dims


def full_shape(name: str, shape: int | Sequence[int] | None, *param_shapes: Shape) -> Shape:
    """Return the shape of a draw: that of the broadcast parameters for None, else `shape`, checked against them."""
    if shape is None:
        return np.broadcast_shapes(*param_shapes)
    dims = as_shape(name, shape)
    try:
        fits = np.broadcast_shapes(dims, *param_shapes) == dims
    except ValueError:
        fits = False
    if not fits:
        got = ", ".join(map(str, param_shapes))
        raise ValueError(
            f"{name}: parameters must broadcast to the shape argument {dims}, got parameters of shape {got}"
        )
    return dims


def float_dtype(name: str, dtype: Any) -> np.dtype:
    """Return `dtype` as float16, float32 or float64; None stands for float64."""
    result = np.dtype(dtype)
    if result not in (np.float16, np.float32, np.float64):
        raise ValueError(f"{name}: dtype must be float16, float32 or float64, got {result}")
    return result


def integer_dtype(name: str, dtype: Any) -> np.dtype:
    """Return `dtype` as an integer dtype; None stands for int64."""
    result = np.dtype(int if dtype is None else dtype)
    if result.kind not in "iu":
        raise ValueError(f"{name}: dtype must be an integer dtype, got {result}")
    return result


def dtype_of(x: Any) -> np.dtype:
    """Return the dtype of an array or of a Python number as a call sees it."""
    return np.dtype(x.dtype) if hasattr(x, "dtype") else np.result_type(x)


def inexact(x: Any) -> Any:
    """Return `x` as an array of its own floating dtype, or of float64 if it holds integers or booleans."""
    x = fnp.asarray(x)
    return x if np.dtype(x.dtype).kind == "f" else x.astype(np.float64)
