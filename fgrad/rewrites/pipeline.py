"""The ordered, named list of rewrites that jit applies to a program before it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..core.calls import renderer
from ..core.check import check, checking
from ..core.ir import Jaxpr
from .algebra import algebra
from .cse import cse
from .dce import dce
from .loops import loops

PIPELINE: list[tuple[str, Callable[[Jaxpr], Jaxpr]]] = [
    ("dce", dce),
    ("algebra", algebra),
    ("cse", cse),
    ("loops", loops),
    ("dce after cse", dce),
]


def rewritten(jaxpr: Jaxpr) -> Iterator[tuple[str, Jaxpr]]:
    """The name of each rewrite, and the program after it; with FGRAD_CHECK=1 each is checked."""
    alive: Jaxpr | None = None  # has no dead equations
    for name, rewrite in PIPELINE:
        if jaxpr is not alive or rewrite is not dce:
            jaxpr = rewrite(jaxpr)
        if rewrite is dce:
            alive = jaxpr
        if checking():
            check(jaxpr, name)
        yield name, jaxpr


def simplify(jaxpr: Jaxpr) -> Jaxpr:
    """The program after all rewrites."""
    *_, (_, result) = rewritten(jaxpr)
    return result


renderer.simplify = simplify
