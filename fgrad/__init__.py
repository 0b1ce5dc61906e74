"""fgrad: derivatives, batching and programs of plain NumPy functions on ordinary CPUs.

>>> import fgrad
>>> fgrad.grad(lambda x: x**2)(3.0)
np.float64(6.0)
"""

from . import primitives as _primitives  # noqa: F401  (fills the registry)
from . import regions as _regions  # noqa: F401
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
    jacfwd,
    jacobian,
    jacrev,
    jit,
    jvp,
    linear_transpose,
    linearize,
    make_jaxpr,
    stop_gradient,
    value_and_grad,
    vjp,
    vmap,
)
from .numpy import methods as _methods  # noqa: F401  (gives tracers their operators)

__version__ = "0.1.0"
