"""The transformations of functions."""

from ..batching import vmap
from .callbacks import io_callback, pure_callback
from .custom import custom_jvp, custom_vjp
from .derivatives import float0, grad, hvp, jvp, linearize, value_and_grad, vjp
from .jacobians import hessian, jacfwd, jacobian, jacrev
from .jit import jit
from .numba_call import numba_call
from .staging import (
    ShapeDtypeStruct,
    checkpoint,
    closure_convert,
    eval_shape,
    linear_transpose,
    make_jaxpr,
    stop_gradient,
)

__all__ = [
    "ShapeDtypeStruct",
    "checkpoint",
    "closure_convert",
    "custom_jvp",
    "custom_vjp",
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
    "pure_callback",
    "stop_gradient",
    "value_and_grad",
    "vjp",
    "vmap",
]
