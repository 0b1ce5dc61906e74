"""Vector mathematics: the functions of `scalars.MATH` as straight lines of scalar operations, without branches."""

from __future__ import annotations

from functools import cache

from ..scalars import MATH
from .exponentials import exp, logistic, tanh
from .logarithms import log
from .special import erf
from .terms import Formula, record

FUNCTIONS = {"exp": exp, "log": log, "logistic": logistic, "tanh": tanh, "erf": erf}


@cache
def formula(name: str, type: str) -> Formula:
    """The operations that compute a function of `scalars.MATH` for "f32" or "f64"."""
    return record(FUNCTIONS[name], MATH[name], type)
