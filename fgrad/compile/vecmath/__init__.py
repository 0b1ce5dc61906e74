"""Vector mathematics: the functions of `scalars.MATH` as straight lines of scalar operations, without branches."""

from __future__ import annotations

from functools import cache

from ..scalars import MATH
from . import tables
from .exponentials import cosh, exp, exp2, expm1, logistic, sinh, tanh
from .logarithms import acosh, asinh, atanh, log, log1p, log2, log10, logaddexp
from .powers import cbrt, hypot, pow
from .special import erf, erfc
from .terms import Formula, record
from .trigonometry import acos, asin, atan, atan2, cos, sin, tan

_WRITTEN = (
    *(exp, exp2, expm1, logistic, sinh, cosh, tanh, log, log2, log10, log1p, logaddexp),
    *(sin, cos, tan, asin, acos, atan, atan2, asinh, acosh, atanh),
    *(erf, erfc, pow, cbrt, hypot),
)
_WIDE = {
    **{(f.__name__, "f64"): f for f in (tables.exp, tables.log, tables.erf)},
    ("exp", "f32"): tables.exp_single,
    ("erf", "f32"): tables.erf,
}
FUNCTIONS = {f.__name__: f for f in _WRITTEN}


@cache
def formula(name: str, type: str, wide: bool = False) -> Formula:
    """The operations that compute a function of `scalars.MATH` for "f32" or "f64".

    wide: for machines that have `scalars.WIDE` too.
    """
    function = _WIDE.get((name, type)) if wide else None
    return record(function or FUNCTIONS[name], MATH[name], type)
