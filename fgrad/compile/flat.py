"""Calls of closed programs from Python with flat operands: what evaluates a jit inside another transformation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NoReturn

import numpy as np

from ..core.ir import Jaxpr
from ..core.types import WEAK
from ..regions.call import executor, memo
from .dispatched import Dispatched
from .executable import Executable, ProgramFailure, executable_of
from .native.entry import Entry
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


class FlatCall(Dispatched):
    """A closed program as a function of its operands that returns the tuple of its outputs."""

    def __init__(self, jaxpr: Jaxpr):
        super().__init__()
        self.jaxpr = jaxpr
        self.executable: Executable = executable_of(jaxpr)

    def miss(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """A call with operands of kinds not seen before."""
        self.enter(self.executable, partial(self.entry, args))
        return tuple(self.executable.run(self.jaxpr, arrays(args)))

    def explain(self, failure: ProgramFailure, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NoReturn:
        """Raise the error as NumPy calls give it."""
        self.executable.explain(self.jaxpr, arrays(args), failure)

    def entry(self, xs: Sequence[Any], known: set[Any]) -> Entry | None:
        """The entry for operands of these kinds."""
        specs = tuple([argument_leaf(i, x) for i, x in enumerate(xs)])
        if None in specs or specs in known or self.executable.kept:
            return None
        known.add(specs)
        results = Tuple(tuple([Result(i) for i in range(len(self.jaxpr.outputs))]))
        return Entry(specs, {}, self.executable.program, results, self.executable.failed)  # type: ignore[arg-type]


def run_compiled(jaxpr: Jaxpr, xs: Sequence[Any]) -> tuple[Any, ...]:
    """Run a closed program, compiled at its first call."""
    return memo(jaxpr, "compiled", lambda: FlatCall(jaxpr))(*xs)


executor.run = run_compiled
