"""Many elements combined by a function of two scalars that is no reduction of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from ..core import tree
from ..core.errors import DtypeError, ShapeError, TreeError, message
from ..core.leaves import checked, name_of, path_of
from ..core.trace import signature
from ..core.types import aval_of
from .bodies import fitted, flattened, strong, unequal
from .elementwise import select
from .operands import Array, operands, strict
from .scans import map as map_
from .scans import scan
from .shapes import broadcast_in_dim, reshape


def together(name: str, operand: Any, init: Any) -> tuple[list[Array], list[Array], tree.Structure]:
    """Leaves of the operands, of one shape; an initial scalar for each, of its dtype; their structure."""
    xs, structure = flattened(operand, f"lax.{name}: operands")
    inits, other = flattened(init, f"lax.{name}: init_values")
    if other != structure:
        what = f"lax.{name}: the initial values have another structure than the operands"
        got = tree.explain_mismatch(structure, init)
        raise TreeError(message(what, got=got, do="give one scalar for each operand"))
    xs = [strict(x) for x in xs]
    for i, x in enumerate(xs):
        if x.shape != xs[0].shape:
            what = f"lax.{name}: the operands differ in shape"
            got = f"{tuple(xs[0].shape)} and, for operands{path_of(structure, i)}, {tuple(x.shape)}"
            raise ShapeError(message(what, got=got, do="broadcast them to one shape"))
    return xs, [_initial(name, x, i) for x, i in zip(xs, inits, strict=True)], structure


def _initial(name: str, x: Array, value: Any) -> Array:
    init = operands(name, value, np.zeros((), x.dtype)[()])[0]
    if init.shape or init.dtype != x.dtype:
        what = f"{name}: the initial value must be a scalar of the operand's dtype"
        raise DtypeError(message(what, got=f"{init.dtype}, shape {tuple(init.shape)}", do=f"convert it to {x.dtype}"))
    return init


def folded(
    name: str,
    computation: Callable[[Any, Any], Any],
    stacks: Sequence[Array],
    inits: Sequence[Array],
    structure: tree.Structure,
    inside: np.ndarray | None = None,
) -> list[Array]:
    """The initial values, and then what stands along axis 0 of `stacks`, where it is `inside`, one after the other.

    A scan, with the computation for all other positions at once as `vmap` makes it.
    """
    shape = tuple(stacks[0].shape[1:])
    size = prod(shape)

    def one(both: tuple[list[Any], list[Any]]) -> list[Any]:
        out = computation(*[tree.unflatten(structure, xs) for xs in both])
        found, got = tree.flatten(out)
        if got != structure:
            what = f"lax.{name}: {name_of(computation)} returns another structure than it gets"
            raise TreeError(message(what, got=tree.explain_mismatch(structure, out), do="return the same containers"))
        found = checked(found, got, f"lax.{name}: the result of {name_of(computation)} ")
        found = [strong(fitted(y, x.aval), x.aval) for x, y in zip(both[0], found, strict=True)]
        for i, (x, y) in enumerate(zip(both[0], found, strict=True)):
            a, b = x.aval, aval_of(signature(y))
            if a != b:
                what = f"lax.{name}: {name_of(computation)} changes the type of operands{path_of(structure, i)}"
                raise unequal(a, b)(message(what, got=f"{a} goes in, {b} comes out", do="return scalars like these"))
        return found

    def step(state: list[Array], slices: tuple[list[Array], Array | None]) -> tuple[list[Array], None]:
        xs, here = slices
        found = map_(one, (state, xs), batch_size=size)
        return found if here is None else [select(here, y, x) for x, y in zip(state, found, strict=True)], None

    state = [broadcast_in_dim(i, (size,), ()) for i in inits]
    rows = [reshape(x, (x.shape[0], size)) for x in stacks]
    state, _ = scan(step, state, (rows, None if inside is None else inside.reshape(-1, size)))
    return [reshape(y, shape) for y in state]
