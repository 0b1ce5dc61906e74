"""Checks that a transformed function computes what the plain one does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..api import ShapeDtypeStruct, eval_shape, jit, vmap
from ..core import tree
from ..core.errors import message

_ROUNDING = {np.dtype("f2"): 4e-3, np.dtype("f4"): 2e-6, np.dtype("f8"): 1e-12}


def rounding(dtype: Any) -> float:
    """Relative difference allowed between two ways to compute the same in a dtype; 0 for exact ones."""
    dtype = np.dtype(dtype)
    return _ROUNDING[np.empty(0, dtype).real.dtype] if dtype.kind in "fc" else 0.0


def check_close(
    got: Any, want: Any, what: str = "the result", *, atol: float | None = None, rtol: float | None = None
) -> None:
    """Raise AssertionError unless two pytrees have equal structure, shapes, dtypes and (up to rounding) values.

    atol, rtol: allowed difference of elements, `atol + rtol * abs(want)`; by default a few roundings of the dtype,
    relative to the largest finite element. NaN equals NaN, infinities must be the same.

    >>> check_close({"a": np.float32(1.0)}, {"a": np.float32(1.0)})
    """
    pairs, got_tree = tree.flatten_with_path(got)
    wanted, want_tree = tree.flatten(want)
    if got_tree != want_tree:
        raise AssertionError(
            message(f"{what} has another structure than expected", got=tree.explain_mismatch(want_tree, got))
        )
    for (path, a), b in zip(pairs, wanted, strict=True):
        where = f"{what}{tree.keystr(path)}"
        a, b = np.asarray(a), np.asarray(b)
        if a.shape != b.shape or a.dtype != b.dtype:
            expected = f"{b.dtype}{list(b.shape)}"
            raise AssertionError(
                message(f"{where} has another type than expected ({expected})", got=f"{a.dtype}{list(a.shape)}")
            )
        _check_values(a, b, where, atol, rtol)


def _check_values(a: np.ndarray, b: np.ndarray, where: str, atol: float | None, rtol: float | None) -> None:
    if a.dtype.kind in "fc":
        unit = rounding(a.dtype)
        finite = np.abs(b[np.isfinite(b)])
        low = unit * float(finite.max(initial=0)) if atol is None else atol
        near = np.isclose(a, b, unit if rtol is None else rtol, low, equal_nan=True)
    else:
        near = a == b
    if not near.all():
        index = tuple(int(i) for i in np.argwhere(~near)[0])
        raise AssertionError(
            message(
                f"{where} differs at element {index}: {a[index]!r}, expected {b[index]!r}", got=f"\n{a}\nexpected\n{b}"
            )
        )


def check_jit(f: Callable[..., Any], args: Any, *, atol: float | None = None, rtol: float | None = None) -> None:
    """Raise AssertionError unless `jit(f)(*args)` has the structure, shapes, dtypes and values of `f(*args)`.

    args: positional arguments, pytrees of arrays. Tolerances as in `check_close`.

    >>> check_jit(lambda x: {"y": x + 1}, (np.arange(3, dtype=np.int8),))
    """
    check_close(jit(f)(*args), f(*args), f"the result of jit({_name(f)})", atol=atol, rtol=rtol)


def check_vmap(
    f: Callable[..., Any],
    args: Any,
    in_axes: Any = 0,
    out_axes: int = 0,
    *,
    atol: float | None = None,
    rtol: float | None = None,
) -> None:
    """Raise AssertionError unless `vmap(f, in_axes, out_axes)(*args)` is what a Python loop over the lanes gives.

    args: positional arguments, pytrees of arrays, with the mapped axes in place. in_axes: as for `vmap`. out_axes: one
    integer for all results. With no lanes at all, shapes and dtypes are checked. Tolerances as in `check_close`.

    >>> check_vmap(lambda x, w: x @ w, (np.ones((5, 3)), np.ones(3)), in_axes=(0, None))
    """
    args = tuple(args)
    axes = tree.prefix_leaves(
        tuple(in_axes) if isinstance(in_axes, list) else in_axes, args, is_leaf=lambda a: a is None
    )
    leaves, treedef = tree.flatten(args)
    size = next(np.shape(x)[a] for x, a in zip(leaves, axes, strict=True) if a is not None)

    def lane(i: int) -> Any:
        return tree.unflatten(
            treedef, [x if a is None else np.take(x, i, a) for x, a in zip(leaves, axes, strict=True)]
        )

    got = vmap(f, in_axes, out_axes)(*args)
    what = f"the result of vmap({_name(f)}, in_axes={in_axes})"
    if size:
        results = [f(*lane(i)) for i in range(size)]
        want = tree.map(lambda *ys: np.stack([np.asarray(y) for y in ys], axis=out_axes), *results)
    else:
        types = [np.empty(_without(np.shape(x), a), np.asarray(x).dtype) for x, a in zip(leaves, axes, strict=True)]
        structs = tree.unflatten(treedef, [ShapeDtypeStruct(t.shape, t.dtype) for t in types])
        want = tree.map(
            lambda t: np.stack([np.empty(t.shape, t.dtype)], axis=out_axes).take([], out_axes), eval_shape(f, *structs)
        )
    check_close(got, want, what, atol=atol, rtol=rtol)


def _without(shape: tuple[int, ...], axis: int | None) -> tuple[int, ...]:
    return shape if axis is None else shape[: axis % len(shape)] + shape[axis % len(shape) + 1 :]


def _name(f: Callable[..., Any]) -> str:
    return getattr(f, "__name__", type(f).__name__)
