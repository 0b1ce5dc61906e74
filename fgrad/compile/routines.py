"""Equations that are loops of their own: writes at indices, running reductions, first extremes; LAPACK, Numba, sort.

What writes to an array is a copy of the array to the result, which vanishes where both are one memory, and a kernel
that changes the result:

    copy: x -> y                          # not where x dies here
    kernel: y[i[n], c] += u[n, c]         # for all n and c

Equal equations share one kernel, as equal fused steps do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..core.ir import Eqn, Literal
from . import callbacks, numba_calls
from .emit import Launch
from .factorizations import plan_factorization
from .plan import Item, Thunk, copy_item, launch_item
from .routines_scan import SCANS
from .routines_update import UPDATES
from .routines_writer import Writer

LIMIT = 4096
_KNOWN: dict[Any, Launch | None] = {}


def routine_items(e: Eqn, keep: list[Any]) -> list[Item] | None:
    """The items of an equation that has a native routine, or a better way to NumPy than a plain call; None: it has not.

    `keep` takes what must live as long as the program.
    """
    name = e.primitive.name
    if not all(v.type.size for v in e.outputs):
        return None
    if name == "numba_call":
        return [numba_calls.numba_item(e, keep)]
    if name == "sort" and len(e.inputs) == 1:
        return sorted_copy(e, keep)
    if name in UPDATES and type(e.inputs[0]) is not Literal:
        copy = copy_item(e.inputs[0], e.outputs[0], vanishes=True)
        if not e.inputs[1].type.size:
            return [copy]
        launch = launch_of(e, UPDATES[name])
        return None if launch is None else [copy, launch_item(launch, eqn=e)]
    if name in SCANS and type(e.inputs[0]) is not Literal:
        launch = launch_of(e, SCANS[name])
        return None if launch is None else [launch_item(launch, eqn=e)]
    return factorization(e)


def launch_of(e: Eqn, write: Callable[[Writer], bool]) -> Launch | None:
    """The launch of an equation's kernel: built, or taken over from an equal equation; None if kernels cannot do it."""
    operands = [(a.type, a.value.tobytes()) if type(a) is Literal else a.type for a in e.inputs]
    key = (e.primitive.name, *operands, *e.params.items())
    if key not in _KNOWN:
        if len(_KNOWN) >= LIMIT:
            for old in list(_KNOWN)[: LIMIT // 2]:
                _KNOWN.pop(old, None)
        writer = Writer(e)
        _KNOWN[key] = writer.launch() if write(writer) else None
    launch = _KNOWN[key]
    return None if launch is None else launch.renamed(dict(enumerate((*e.inputs, *e.outputs))))


def factorization(e: Eqn) -> list[Item] | None:
    """A primitive of linear algebra by LAPACK."""
    if any(type(a) is Literal for a in e.inputs) or not e.inputs:
        return None
    shapes = [a.type.shape for a in e.inputs]
    made = plan_factorization(e.primitive.name, shapes, e.inputs[0].type.dtype, e.params)
    if made is None:
        return None
    operands = (*e.inputs, *e.outputs)

    def thunk(slot: Callable[[Any], int], address: Callable[[Any], int]) -> Thunk:
        slots = tuple([slot(a) for a in operands])
        return Thunk(address(made.function), slots, made.dims, made.extent, made.grain, made.cost)

    text = f"LAPACK: {e.primitive.name}"
    return [Item(text, e.inputs, e.outputs, thunk, native=[made.function], cost=made.cost, flops=made.flops, eqn=e)]


def sorted_copy(e: Eqn, keep: list[Any]) -> list[Item] | None:
    """A copy that NumPy sorts in place."""
    (x,), (y,) = e.inputs, e.outputs
    if type(x) is Literal:
        return None
    axis = e.params["axis"]

    def function(operands: Sequence[Any]) -> None:
        callbacks.array_at(operands[0], y.type).sort(axis)

    registration = callbacks.Registration(function)
    keep.append(registration)
    cost = 5000.0 + 10.0 * y.type.size

    def thunk(slot: Callable[[Any], int], address: Callable[[Any], int]) -> Thunk:
        return Thunk(address(callbacks.call_python), (slot(y),), (registration.number,), 1, 1, cost)

    native = [callbacks.call_python]
    return [copy_item(x, y, vanishes=True), Item("NumPy: sort", [], [y], thunk, native=native, cost=cost, eqn=e)]
