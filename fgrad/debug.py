"""Look into programs while they run: `print`, `callback` and `breakpoint`, which change nothing that is computed.

They work in eager code and under every transformation, and run when, and in the order in which, the program runs. Under
`grad` they see values, not derivatives; under `vmap` those of one lane after the other. A function under `checkpoint`
is computed twice, and what is in it is seen twice.
"""

from __future__ import annotations

import ast
import builtins
import pdb
import sys
from bdb import BdbQuit
from collections.abc import Callable
from functools import lru_cache, partial
from types import FrameType
from typing import Any

from .core import tree
from .core.errors import LeafError, message, user_frame, user_site
from .core.leaves import check_callable, known
from .core.trace import Tracer, state
from .core.types import canonical
from .regions.callbacks import Function, debug_callback

__all__ = ["breakpoint", "callback", "print"]


def callback(
    callback: Callable[..., Any] | None = None,
    *args: Any,
    ordered: bool = False,
    partitioned: bool = False,
    **kwargs: Any,
) -> Any:
    """Call `callback(*args, **kwargs)` whenever the program around it runs; what it returns is not looked at.

    args, kwargs: pytrees. Arrays, traced values and numbers come as ndarrays of the callback's own, and as NumPy
    scalars where they have no dimensions; other leaves, such as strings, come as they are.
    ordered, partitioned: not used; callbacks are always called in the order of the program, and there are no devices.
    Without a callback, the result is a function that takes it and its arguments: `callback(ordered=True)(f, x)`.

    Errors: what the callback raises. For effects that must happen exactly once there is `fgrad.io_callback`.

    >>> import fgrad
    >>> seen = []
    >>> @fgrad.jit
    ... def f(x):
    ...     fgrad.debug.callback(lambda x, name: seen.append((name, float(x))), x, name="x")
    ...     return 2 * x
    >>> fgrad.grad(f)(1.5), seen
    (np.float64(2.0), [('x', 1.5)])
    """
    if callback is None:
        return partial(_callback, "debug.callback")
    return _callback("debug.callback", callback, *args, **kwargs)


def print(
    fmt: str | None = None,
    *args: Any,
    ordered: bool = False,
    partitioned: bool = False,
    skip_format_check: bool = False,
    **kwargs: Any,
) -> Any:
    """Print `fmt.format(*args, **kwargs)` whenever the program around it runs.

    fmt: a plain string; an f-string would be formatted while the program is traced. args, kwargs, ordered, partitioned,
    and a call without `fmt`: as for `callback`. skip_format_check: allow arguments that `fmt` does not use.

    Errors: `ValueError` and `TypeError` for a `fmt` that the arguments do not fit, or that is no string.

    >>> import fgrad, numpy as np
    >>> @fgrad.jit
    ... def f(x):
    ...     fgrad.debug.print("x = {}, its mean {mean:.2f}", x, mean=x.mean())
    ...     return x.sum()
    >>> _ = fgrad.grad(f)(np.array([1.0, 2.0]))
    x = [1. 2.], its mean 1.50
    """
    if fmt is None:
        return partial(_print, skip_format_check)
    return _print(skip_format_check, fmt, *args, **kwargs)


def _print(unchecked: bool, fmt: str, /, *args: Any, **kwargs: Any) -> None:
    if not isinstance(fmt, str):
        do = 'write debug.print("{}", x)'
        raise TypeError(message("debug.print takes a format string first", got=type(fmt).__name__, do=do))
    if not unchecked:
        _check_format(fmt, args, kwargs)
    _callback("debug.print", _printer(fmt), *args, **kwargs)


@lru_cache(512)
def _printer(fmt: str) -> Callable[..., None]:
    """The function behind a format: the same one each time, so that equal programs are found to be equal."""

    def show(*args: Any, **kwargs: Any) -> None:
        builtins.print(fmt.format(*args, **kwargs))

    return show


class _Probe:
    """Stands for an argument while a format is tried out: has every attribute and item, and notes that it was used."""

    def __init__(self) -> None:
        self.used = False

    def __getattr__(self, name: str) -> _Probe:
        return self

    def __getitem__(self, key: Any) -> _Probe:
        return self

    def __format__(self, spec: str) -> str:
        self.used = True
        return ""

    def __repr__(self) -> str:
        return format(self)


def _check_format(fmt: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    positional, named = [_Probe() for _ in args], {name: _Probe() for name in kwargs}
    try:
        fmt.format(*positional, **named)
    except (ValueError, LookupError) as error:
        what, got = f"debug.print: the format does not fit its arguments: {error}", repr(fmt)
        raise ValueError(message(what, got=got, do="write {} or {name} for each argument")) from None
    unused = [str(i) for i, probe in enumerate(positional) if not probe.used]
    unused += [name for name, probe in named.items() if not probe.used]
    if unused:
        what = f"debug.print: the format does not use argument {', '.join(unused)}"
        do = "write {} or {name} for each argument; an f-string is formatted too early, while the program is traced"
        raise ValueError(message(what, got=repr(fmt), do=do))


def breakpoint(
    *, backend: Any = None, filter_frames: bool = True, num_frames: int | None = None, ordered: bool = False
) -> None:
    """Stop in Python's debugger, pdb, whenever the program around it runs.

    Where values are known (outside of transformations, under `grad`) this is pdb in the frame that called: `n` and `s`
    go on step by step. Under `jit` and `vmap` pdb shows the line and the local variables of that frame, with the
    values that they have in this run and lane; `c` goes on to the next time, `q` ends the program by `bdb.BdbQuit`.
    backend, filter_frames, num_frames, ordered: accepted for programs written for JAX, and not used.
    """
    frame = user_frame()
    assert frame is not None
    values = dict(frame.f_locals)
    live = {
        name: v for name, v in values.items() if any(type(x) is Tracer and not x.owner.done for x in tree.leaves(v))
    }
    if state.builder is None and Tracer not in map(type, known(tree.leaves(live))):
        pdb.Pdb().set_trace(frame)
    else:
        fixed = {name: v for name, v in values.items() if name not in live}
        _callback("debug.breakpoint", _stopper(frame, fixed), live)


def _stopper(frame: FrameType, fixed: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    """A function that stops at the line where `frame` is, with the local variables `fixed` and those given to it.

    It runs `stop()` under the name and at the line of the user's function, and shows the frame in which that runs.
    """
    call = ast.increment_lineno(ast.parse("__stop__()"), frame.f_lineno - 1)
    code = compile(call, frame.f_code.co_filename, "exec").replace(co_name=frame.f_code.co_name)
    namespace = frame.f_globals

    def stop() -> None:
        debugger = pdb.Pdb(nosigint=True)  # Ctrl-C stays what it is
        debugger.reset()
        debugger.interaction(sys._getframe(1), None)
        if debugger.quitting:
            raise BdbQuit

    def stopper(values: dict[str, Any]) -> None:
        exec(code, namespace, {**fixed, **values, "__stop__": stop})

    return stopper


def _callback(title: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
    """Record a call of `function`, or make it now if no program is traced and all is known."""
    check_callable(function, title)
    leaves, in_tree = tree.flatten((args, kwargs))
    operands: list[Any] = []
    fixed = []
    for i, x in enumerate(leaves):
        try:
            operands.append(x if type(x) is Tracer else canonical(x))
        except LeafError:
            fixed.append((i, x))
    debug_callback(
        *known(operands),
        function=Function(title, function, in_tree, None, fixed, user_site()),
        out=(),
        lanes=(),
        carried=((),) * len(operands),
        method="sequential",
        ordered=False,
    )
