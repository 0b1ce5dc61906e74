"""numba_call inside a compiled program: a thunk that calls the user's function on the operands' memory.

For a function of a vector and a number, with one output, under a vmap over the vector, the thunk is

    def thunk(call, operands, dims, begin, end):
        try:
            for lane in range(begin, end):
                rest = lane
                at0 = rest % dims[2]
                rest = rest // dims[2]
                kernel(
                    carray(pointer_at(operands, 0, t0, (0 * dims[2] + at0) * dims[3]), (dims[3],)),
                    carray(pointer_at(operands, 1, t1, 0), (1,))[0],
                    carray(pointer_at(operands, 2, t2, (0 * dims[2] + at0) * dims[4]), (dims[4],)),
                )
        except Exception:
            return run_thunk(dims[1], call, operands, dims, begin, end)
        return 0

so equal ranks and dtypes share one compilation. Where the function raises, the thunk runs the equation again by way of
Python (dims[0] is its number there, dims[1] the address), which keeps the exception for the caller.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import numpy as np

from ..core.ir import Eqn, Literal
from . import callbacks
from .plan import Item, Thunk
from .render_python import load

_COST = 1000.0  # nanoseconds, for want of knowledge: little enough to stay on the calling thread
_lock = threading.RLock()
_compiled: dict[Any, Any] = {}  # cfuncs, which own their machine code


def native_call(e: Eqn, keep: list[Any]) -> tuple[int, tuple[int, ...], int]:
    """Address, dims and extent of the thunk of an equation; `keep` takes what must live as long as the program.

    Its operands are the equation's inputs that are variables, then its outputs. Its axis, of lanes under vmap, is to
    run in one piece.
    """
    registration = callbacks.Registration(callbacks.numpy_call(e))
    keep.append(registration)
    source, dims, types = _source(e)
    exact = tuple([(t.dtype, t.tobytes()) if isinstance(t, np.generic) else t for t in types])  # 0.0 is not -0.0
    key = (e.params["function"], source, exact)
    with _lock:
        found = _compiled.get(key)
        if found is None:
            found = _compiled[key] = _compile(e.params["function"].function, source, types)
    return (
        int(found.address),
        (registration.number, callbacks.address(), *dims),
        int(np.prod(e.params["lanes"], dtype=int)),
    )


def numba_item(e: Eqn, keep: list[Any]) -> Item:
    """The item of an equation, run in one piece by the calling thread, where exceptions are looked for."""
    address, dims, extent = native_call(e, keep)
    reads = callbacks.variables(e)

    def thunk(slot: Callable[[Any], int], address_of: Callable[[Any], int]) -> Thunk:
        operands = tuple([slot(a) for a in (*reads, *e.outputs)])
        return Thunk(address, operands, dims, extent, max(extent, 1), _COST)

    return Item(f"Numba: {e.params['function']}", reads, e.outputs, thunk, cost=_COST, eqn=e)


def _source(e: Eqn) -> tuple[str, list[int], tuple[Any, ...]]:
    """The thunk's text, the dims that it reads from number 2 on, and the types or values that it calls t0, t1, ..."""
    lanes = e.params["lanes"]
    dims: list[int] = []
    types: list[Any] = []
    numbers = count()

    def dim(n: int) -> str:
        dims.append(n)
        return f"dims[{len(dims) + 1}]"

    sizes = [dim(n) for n in lanes]
    body = ["rest = lane"] if lanes else []
    for axis in reversed(range(len(lanes))):
        body += [f"at{axis} = rest % {sizes[axis]}", f"rest = rest // {sizes[axis]}"]
    arguments = []
    outputs = [(v, (True,) * len(lanes)) for v in e.outputs]
    for a, axes in [*zip(e.inputs, e.params["carried"], strict=True), *outputs]:
        name = f"t{len(types)}"
        if type(a) is Literal:
            types.append(a.type.dtype.type(a.value))
            arguments.append(name)
            continue
        types.append(a.type.dtype.type)
        shape = [dim(n) for n in a.type.shape[sum(axes) :]]
        offset = "0"
        for axis, has in enumerate(axes):
            offset = f"({offset} * {sizes[axis]} + at{axis})" if has else offset
        place = f"pointer_at(operands, {next(numbers)}, {name}, {' * '.join([offset, *shape])})"
        scalar = not shape and len(arguments) < len(e.inputs)
        arguments.append(
            f"carray({place}, (1,))[0]" if scalar else f"carray({place}, ({''.join(s + ', ' for s in shape)}))"
        )
    body.append(f"kernel({', '.join(arguments)})")
    lines = ["def thunk(call, operands, dims, begin, end):", "    try:", "        for lane in range(begin, end):"]
    lines += [f"            {line}" for line in body]
    lines += [
        "    except Exception:",
        "        return run_thunk(dims[1], call, operands, dims, begin, end)",
        "    return 0",
    ]
    return "\n".join(lines) + "\n", dims, tuple(types)


def _compile(kernel: Any, source: str, types: Sequence[Any]) -> Any:
    import numba

    from . import numba_machine as machine

    names = load(source, f"numba_call of {kernel.py_func.__name__}")
    names.update({f"t{i}": t for i, t in enumerate(types)})
    names.update(kernel=kernel, carray=numba.carray, pointer_at=machine.pointer_at, run_thunk=machine.run_thunk)
    return numba.cfunc(machine.THUNK, nopython=True)(names["thunk"])
