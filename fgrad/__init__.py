"""fgrad: derivatives, batching and programs of plain NumPy functions on ordinary CPUs.

>>> import fgrad
>>> fgrad.grad(lambda x: x**2)(3.0)
np.float64(6.0)
"""

import importlib
from typing import Any

from . import numpy, tree
from .api import (
    ShapeDtypeStruct,
    checkpoint,
    closure_convert,
    custom_jvp,
    custom_vjp,
    eval_shape,
    float0,
    grad,
    hessian,
    hvp,
    io_callback,
    jacfwd,
    jacobian,
    jacrev,
    jit,
    jvp,
    linear_transpose,
    linearize,
    make_jaxpr,
    numba_call,
    pure_callback,
    stop_gradient,
    value_and_grad,
    vjp,
    vmap,
)
from .at import at
from .compile.native.pool import get_num_threads, set_num_threads
from .core import errors
from .core.array import Array, block_until_ready, effects_barrier

__version__ = "0.1.0"

# Loaded when first asked for: `import fgrad` stays little more than `import numpy`.
_LAZY = (
    "cache",
    "debug",
    "experimental",
    "flatten_util",
    "lax",
    "nn",
    "optim",
    "random",
    "scipy",
    "testing",
    "tree_util",
)

remat = checkpoint

__all__ = [
    "Array",
    "ShapeDtypeStruct",
    "at",
    "block_until_ready",
    "checkpoint",
    "closure_convert",
    "custom_jvp",
    "custom_vjp",
    "effects_barrier",
    "errors",
    "eval_shape",
    "float0",
    "grad",
    "hessian",
    "hvp",
    "io_callback",
    "jacfwd",
    "jacobian",
    "jacrev",
    "jit",
    "jvp",
    "linear_transpose",
    "linearize",
    "make_jaxpr",
    "numba_call",
    "numpy",
    "pure_callback",
    "remat",
    "stop_gradient",
    "tree",
    "value_and_grad",
    "vjp",
    "vmap",
    "get_num_threads",
    "set_num_threads",
    *_LAZY,
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module 'fgrad' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
