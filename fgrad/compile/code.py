"""Machine code of a plan's kernels and native routines, all that is missing in one module."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache as memoize
from typing import Any

from . import cache, engine, render_llvm
from .native.language import Module, Native
from .nests import Kernel


@memoize
def unit(function: Native) -> Module:
    """A native function as a module of its own, so that programs share it whatever else they use."""
    return Module([function])


def addresses(kernels: Iterable[Kernel], natives: Iterable[Native], backend: str) -> Callable[[Any], int]:
    """Compile what no cache holds; returns a function from a kernel's name or a native function to its address.

    Raises `CompileError` (with `names`) for kernels that LLVM refuses.
    """
    by_name = {k.name: k for k in kernels}
    units = {f: unit(f) for f in natives}
    by_symbol = {m.symbol(f): m for f, m in units.items()}
    table: dict[Any, int] = {}
    if backend == "numba":
        from . import numba_kernels  # imports Numba

        table.update({name: numba_kernels.compile(k) for name, k in by_name.items()})
        by_name = {}

    def text(names: Sequence[str]) -> str:
        parts = [by_symbol[n].text for n in names if n in by_symbol]
        chosen = [by_name[n] for n in names if n in by_name]
        if chosen:
            parts.append(render_llvm.module(chosen, engine.native_vector_bytes()))
        return joined(parts)

    found = cache.addresses([*by_name, *by_symbol], text)
    table.update({name: found[name] for name in by_name})
    table.update({f: found[m.symbol(f)] for f, m in units.items()})
    return table.__getitem__


def joined(parts: Sequence[str]) -> str:
    """Modules as one: each declaration once."""
    if len(parts) == 1:
        return parts[0]
    seen: set[str] = set()
    lines = []
    for line in "\n".join(parts).split("\n"):
        if line.startswith(("declare", "attributes")):
            if line in seen:
                continue
            seen.add(line)
        lines.append(line)
    return "\n".join(lines)
