"""The typechecker of programs. With FGRAD_CHECK=1 in the environment it runs after every pass and rewrite."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from .errors import ProgramError, message
from .ir import Jaxpr, Literal, Var

_ENABLED = os.environ.get("FGRAD_CHECK", "") not in ("", "0")


def checking() -> bool:
    """Whether programs are checked after every pass (environment variable FGRAD_CHECK)."""
    return _ENABLED


def check(jaxpr: Jaxpr, after: str = "tracing") -> None:
    """Raise `ProgramError` if a program is malformed.

    Every variable is defined once, before its uses; every equation's output types are what its primitive says; params
    are hashable and hold no arrays; bodies of regions are closed and well-formed; consts have their inputs' types.
    """
    known: set[Var] = set()

    def fail(what: str) -> None:
        raise ProgramError(
            message(f"malformed program after {after}: {what}", got=f"\n{jaxpr}", do="report this as a bug of fgrad")
        )

    def define(v: Var) -> None:
        if v in known:
            fail("a variable is defined twice")
        known.add(v)

    for v in jaxpr.inputs:
        define(v)
    for v, c in zip(jaxpr.inputs, jaxpr.consts, strict=False):
        if tuple(np.shape(c) if isinstance(c, np.ndarray) else c.shape) != v.type.shape or c.dtype != v.type.dtype:
            fail(f"a const of type {v.type} is bound to {c!r}")
    for e in jaxpr.eqns:
        for a in e.inputs:
            if type(a) is not Literal and a not in known:
                fail(f"an operand of '{e.primitive}' is not defined before its use")
        for key, value in e.params.items():
            _check_param(value, lambda what, e=e, key=key: fail(f"param '{key}' of '{e.primitive}' {what}"), after)
        found = tuple(e.primitive.typeof(*[a.type for a in e.inputs], **e.params))
        if found != tuple(v.type for v in e.outputs):
            fail(f"'{e.primitive}' gives {found}, its variables say {tuple(v.type for v in e.outputs)}")
        for v in e.outputs:
            define(v)
    for a in jaxpr.outputs:
        if type(a) is not Literal and a not in known:
            fail("an output is not defined")


def _check_param(value: Any, fail: Any, after: str) -> None:
    if isinstance(value, np.ndarray) or (callable(value) and not isinstance(value, type | Jaxpr)):
        fail(f"holds a {type(value).__name__}")
    if isinstance(value, Jaxpr):
        if value.consts:
            fail("is a program with consts")
        if "checked" not in value.derived:
            check(value, after)
            value.derived["checked"] = True
        return
    if isinstance(value, tuple):
        for v in value:
            _check_param(v, fail, after)
        return
    try:
        hash(value)
    except TypeError:
        fail("is not hashable")
