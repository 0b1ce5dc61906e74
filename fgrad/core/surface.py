"""Surface functions: what a user calls. Outside any trace they are NumPy; on a tracer they look up their Call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .calls import Function
from .trace import STATIC, Tracer, apply, concrete, signature, state
from .types import canonical, signature_of, typed


def surface(
    *,
    run: Callable[..., Any] | None = None,
    arity: int | None = 1,
    full: Callable[..., Any] | None = None,
    resizes: bool = False,
) -> Callable[..., Any]:
    """Decorator: make a surface function of its expansion.

    `run` is NumPy's function with the same call; without it the rendered expansion runs. The result is a plain Python
    function: outside any trace one test per operand and then NumPy. `full` is NumPy's function that hands itself over
    where an operand is traced: it takes calls with more than operands (out, where, dtype). `resizes`: see `Function`.
    """

    def decorate(expand: Callable[..., Any]) -> Any:
        function = Function(expand, run, arity, expand.__name__, full, resizes)
        face: Any = _FACES.get(arity, _general)(function)
        face.__name__ = face.__qualname__ = expand.__name__
        face.__doc__ = expand.__doc__
        face.__module__ = expand.__module__
        face.function = function
        face.__wrapped__ = expand
        return face

    return decorate


def run_untraced(function: Function, xs: Sequence[Any], statics: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """The function on concrete operands: NumPy's own, or the rendered expansion."""
    if function.full is not None and (statics or named):
        return function.full(*xs, *statics, **named)
    if function.numpy is not None:
        return function.numpy(*xs, *statics, **named)
    xs = [canonical(x) for x in xs]
    return function.call(tuple([signature_of(x) for x in xs]), _hashable(statics), _hashable(named)).run(*xs)


def _unary(function: Function) -> Callable[..., Any]:
    calls, full = function.calls, function.full

    def face(x: Any, *statics: Any, **named: Any) -> Any:
        if type(x) is not Tracer:
            return run_untraced(function, (x,), statics, named)
        if named:
            if full is not None:
                return full(x, *statics, **named)
            call = function.call((x.sig,), _hashable(statics), _hashable(named))
        elif statics:
            if full is not None:
                return full(x, *statics)
            try:
                found = calls.get(((x.sig,), statics))
            except TypeError:
                found = None
            call = found or function.call((x.sig,), _hashable(statics), {})
        else:
            call = calls.get((x.sig,)) or function.call((x.sig,), (), {})
        trace = x.owner
        if trace.done:
            trace = trace.revive(x)
        builder = state.builder
        if builder is not None and builder.level > trace.level:
            trace = builder
        return trace.apply1(call, x)

    return face


def _binary(function: Function) -> Callable[..., Any]:
    traced = binary_operator(function)

    def face(x: Any, y: Any, *statics: Any, **named: Any) -> Any:
        if type(x) is not Tracer and type(y) is not Tracer:
            return run_untraced(function, (x, y), statics, named)
        if not statics and not named:
            out = traced(x, y)
            if out is NotImplemented:
                signature_of(y if type(x) is Tracer else x)  # raises
            return out
        if function.full is not None:
            return function.full(x, y, *statics, **named)
        xs = tuple([v if type(v) is Tracer else canonical(v) for v in (x, y)])
        return apply(function.call((signature(xs[0]), signature(xs[1])), _hashable(statics), _hashable(named)), xs)

    return face


def binary_operator(function: Function) -> Callable[[Any, Any], Any]:
    """The function on two operands of which one is traced; NotImplemented where the other is no array and no number."""
    get = function.calls.get

    def operator(x: Any, y: Any) -> Any:
        if type(x) is Tracer:
            trace = x.owner
            if type(y) is Tracer:
                sigs = (x.sig, y.sig)
                other = y.owner
                if trace is not other or trace.done:
                    if other.done:
                        other = other.revive(y)
                    if trace.done:
                        trace = x.owner.revive(x) if x.owner.done else x.owner
                    if other.level > trace.level:
                        trace = other
            else:
                cls = type(y)
                if cls is float or cls is int:
                    sigs = (x.sig, cls)
                else:
                    try:
                        y, sig = typed(y)
                    except TypeError:
                        if isinstance(y, np.ndarray | np.generic):  # no other class would know better
                            raise
                        if not isinstance(y, list | tuple):
                            return NotImplemented
                        y, sig = typed(np.asarray(y))
                    sigs = (x.sig, sig)
        else:
            trace = y.owner
            try:
                x, sig = typed(x)
            except TypeError:
                if isinstance(x, np.ndarray | np.generic):
                    raise
                if not isinstance(x, list | tuple):
                    return NotImplemented
                x, sig = typed(np.asarray(x))
            sigs = (sig, y.sig)
        if trace.done:
            trace = trace.revive(x if type(x) is Tracer else y)
        builder = state.builder
        if builder is not None and builder.level > trace.level:
            trace = builder
        return trace.apply2(get(sigs) or function.call(sigs, (), {}), x, y)

    return operator


def _general(function: Function) -> Callable[..., Any]:
    arity, calls = function.arity, function.calls

    def face(*args: Any, **named: Any) -> Any:
        xs, statics = (args, ()) if arity is None else (args[:arity], args[arity:])
        for x in xs:
            if type(x) is Tracer:
                break
        else:
            return run_untraced(function, xs, statics, named)
        xs = tuple([x if type(x) is Tracer else canonical(x) for x in xs])
        sigs = tuple([x.sig if type(x) is Tracer else signature_of(x) for x in xs])
        try:
            call = calls.get((sigs, statics, tuple(named.items())) if named else (sigs, statics) if statics else sigs)
        except TypeError:  # a list, an array: made hashable below
            call = None
        return apply(call or function.call(sigs, _hashable(statics), _hashable(named)), xs)

    return face


_FACES: dict[int | None, Callable[[Function], Callable[..., Any]]] = {1: _unary, 2: _binary}


def _hashable(x: Any) -> Any:
    """Statics as dictionary keys: lists become tuples, arrays of integers nested tuples."""
    if isinstance(x, tuple | list):
        return tuple([_hashable(v) for v in x])
    if isinstance(x, dict):
        return {k: _hashable(v) for k, v in x.items()}
    if isinstance(x, np.ndarray):
        return _hashable(x.tolist())
    if type(x) is Tracer:
        concrete(x, "a traced value as a static argument (an axis, a shape, a length)", STATIC)
    return x
