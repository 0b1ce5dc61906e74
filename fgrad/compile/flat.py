"""Calls of closed programs from Python with flat operands: what evaluates a jit inside another transformation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.ir import Jaxpr
from ..core.types import WEAK
from ..regions.call import executor, memo
from .executable import Executable, Mistrust, ProgramFailure, executable_of
from .native.entry import Dispatcher, Entry
from .native.library import MISS
from .native.specs import Array, Number, Result, Scalar, Spec, Tuple


def argument_leaf(number: int, x: Any) -> Spec | None:
    """The spec of one leaf as it came; None for what native code does not read."""
    cls = type(x)
    if cls is np.ndarray and x.dtype.isnative:
        return Array(number, x.dtype, x.shape)
    if cls in WEAK:
        return Number(number, cls, WEAK[cls].dtype)
    if isinstance(x, np.generic) and cls is x.dtype.type:
        return Scalar(number, cls)
    return None


def arrays(leaves: Sequence[Any]) -> list[Any]:
    """Leaves as native code takes them: contiguous and aligned arrays; Python numbers at their dtypes."""
    out = []
    for x in leaves:
        cls = type(x)
        if cls is np.ndarray:
            out.append(np.require(x, None, ["C", "A"]))
        else:
            out.append(np.asarray(x, WEAK[cls].dtype if cls in WEAK else None))
    return out


class FlatCall:
    """A closed program as a function of its operands that returns the tuple of its outputs."""

    def __init__(self, jaxpr: Jaxpr):
        self.jaxpr = jaxpr
        self.executable: Executable = executable_of(jaxpr)
        self.dispatcher = Dispatcher()

    def __call__(self, xs: Sequence[Any]) -> tuple[Any, ...]:
        try:
            outs = self.dispatcher.function(*xs)
        except Mistrust:
            self.dispatcher.clear()  # of the program that is planned anew
            outs = MISS
        except ProgramFailure as failure:
            self.executable.explain(self.jaxpr, arrays(xs), failure)
        return self.miss(xs) if outs is MISS else outs

    def miss(self, xs: Sequence[Any]) -> tuple[Any, ...]:
        """A call with operands of kinds not seen before."""
        specs = [argument_leaf(i, x) for i, x in enumerate(xs)]
        if None not in specs and not self.executable.kept:
            results = Tuple(tuple([Result(i) for i in range(len(self.jaxpr.outputs))]))
            executable = self.executable
            self.dispatcher.add(Entry(specs, {}, executable.program, results, executable.failed))  # type: ignore[arg-type]
        return tuple(self.executable.run(self.jaxpr, arrays(xs)))


def run_compiled(jaxpr: Jaxpr, xs: Sequence[Any]) -> tuple[Any, ...]:
    """Run a closed program, compiled at its first call."""
    return memo(jaxpr, "compiled", lambda: FlatCall(jaxpr))(xs)


executor.run = run_compiled
