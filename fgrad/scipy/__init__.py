"""SciPy's functions on arrays and traced arrays: `special`, `linalg`, `stats`.

>>> from fgrad.scipy import special
>>> special.expit(0.0)
np.float64(0.5)
"""

import importlib
from typing import Any

__all__ = ["linalg", "special", "stats"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module 'fgrad.scipy' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
