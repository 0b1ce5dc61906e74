"""Tools for testing programs that are differentiated, batched and compiled.

Checks raise AssertionError: `check_grads` compares derivatives with finite differences, `check_vmap` a batched function
with a Python loop, `check_jit` a compiled one with the plain one. The strategies `arrays`, `pytrees`, `shapes` and
`dtypes` are for Hypothesis, which must be installed for them; `import fgrad` does not load this package.

>>> import numpy as np
>>> check_grads(np.sin, (np.array([0.3, 1.2]),), order=2)
"""

import importlib
from typing import Any

from .equality import check_close, check_jit, check_vmap
from .gradients import check_grads

_STRATEGIES = ["Draw", "arrays", "dtypes", "pytrees", "shapes"]  # loaded at first use: checks need no Hypothesis

__all__ = ["check_close", "check_grads", "check_jit", "check_vmap", *_STRATEGIES]


def __getattr__(name: str) -> Any:
    if name in _STRATEGIES:
        return getattr(importlib.import_module(".strategies", __name__), name)
    raise AttributeError(f"module 'fgrad.testing' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *_STRATEGIES])
