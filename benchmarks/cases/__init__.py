"""The benchmark's programs: one module for each family, all listed in `CASES`."""

from __future__ import annotations

import fnmatch

from . import arrays, convolution, finance, loops, networks, small
from .case import Case

CASES: list[Case] = [case for family in (small, networks, arrays, finance, convolution, loops) for case in family.CASES]


def select(pattern: str) -> list[Case]:
    """The cases whose name holds `pattern`, matches it as a shell pattern, or is one of several separated by |."""
    wanted = [part.strip().lower() for part in pattern.split("|")]
    return [
        case
        for case in CASES
        if any(part in case.name.lower() or fnmatch.fnmatch(case.name.lower(), part) for part in wanted)
    ]


def find(name: str) -> Case:
    """The case of that very name."""
    return next(case for case in CASES if case.name == name)
