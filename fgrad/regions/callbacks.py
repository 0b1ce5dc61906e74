"""Callbacks: Python functions of the user's inside programs, run whenever and in the order in which the program runs.

They get copies of their operands, which they may keep and change, and what they return is copied: nothing is shared.
Those with effects that are kept note what they returned while a program may have to be run a second time (to explain
an index error, or because a kernel relied on what does not hold): that run reads the notes and calls nothing again.
Any call may be followed by what stops the program, and the second run begins at its start, so the notes are for the
whole run; but they are bounded: see `Notes`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import BuiltinMethodType, MethodType
from typing import Any

import numpy as np

from ..core import tree
from ..core.effects import KEPT, Effect, Effects
from ..core.errors import DtypeError, FgradError, LeafError, MissingRuleError, ShapeError, Site, TreeError, message
from ..core.ir import Jaxpr
from ..core.show import bodies
from ..core.types import WEAK, ShapedArray, canonical, shaped, signature_of
from ..passes.quiet import aloud
from .lanes import Lanewise, each_lane, empty_outputs

# --------------------------------------------------------------------------------------------------------------- notes

ROOM = 1 << 26  # bytes of results that are kept for a second run
ENTRY = 128  # bytes that a result takes beside its elements


class Notes:
    """What the callbacks of a running program did: how many were called, and the results of those that have any.

    Results that get too many for `room` are dropped; the program can then not be run again (`complete`).
    """

    __slots__ = ("called", "complete", "position", "read", "results", "room")

    def __init__(self) -> None:
        self.called = 0
        self.results: list[Any] = []  # of all calls, one after the other
        self.position = self.read = 0  # in a second run: the calls and results that it has come by
        self.room, self.complete = ROOM, True

    def repeated(self, count: int) -> tuple[Any, ...] | None:
        """The `count` results of the next call, if it was made in the run that is being repeated."""
        if self.position == self.called:
            return None
        self.position += 1
        self.read += count
        return tuple(self.results[self.read - count : self.read])

    def take(self, outs: Sequence[Any]) -> None:
        """Note a call."""
        if not self.complete:
            return
        self.called += 1
        self.position += 1
        self.room -= sum(y.nbytes + ENTRY for y in outs)
        self.results += outs
        self.read += len(outs)
        if self.room < 0:
            self.results, self.complete = [], False


class _Running(threading.local):
    """The notes of the program that this thread runs; None where nobody will ask for them."""

    notes: Notes | None = None


_running = _Running()


@contextmanager
def noting() -> Iterator[Callable[[], bool]]:
    """The time of a run that may be repeated; before it is, call the function that this yields: whether it can be.

    A program that another one runs shares its notes: both may be repeated.
    """
    outer = _running.notes
    notes = outer if outer is not None and outer.complete else Notes()
    start = notes.position, notes.read

    def again() -> bool:
        notes.position, notes.read = start
        return notes.complete

    _running.notes = notes
    try:
        yield again
    finally:
        _running.notes = outer


def _once(run: Callable[..., tuple[Any, ...]], xs: Sequence[Any], params: dict[str, Any]) -> tuple[Any, ...]:
    """What `run(*xs, **params)` gives, or gave in the run that is being repeated."""
    notes = _running.notes
    outs = None if notes is None else notes.repeated(len(params["out"]))
    if outs is None:
        _running.notes = None  # programs that the callback runs are no part of this one
        try:
            outs = run(*xs, **params)
        finally:
            _running.notes = notes
        if notes is not None:
            notes.take(outs)
    return outs


def returns(jaxpr: Jaxpr) -> bool:
    """Whether callbacks that are noted have results in a program."""
    return any(
        any(returns(body) for key, value in e.params.items() for _, body in bodies(key, value))
        if e.primitive.region
        else isinstance(e.primitive, Callback) and bool(e.outputs)
        for e in jaxpr.eqns
        if e.effects & KEPT
    )


# ------------------------------------------------------------------------------------------------- the user's function


_RANK = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}


class Function:
    """A Python function as a parameter of equations, with the structures of its arguments and of its result.

    `fixed`: leaves of the arguments that are no operands, by number. `out_tree`: None where the result is not looked
    at. Equal where function (the same object, or the same method of the same object), structures and line are.
    """

    __slots__ = ("fixed", "function", "hash", "in_tree", "key", "kind", "out_tree", "site")

    def __init__(
        self,
        kind: str,
        function: Callable[..., Any],
        in_tree: Any,
        out_tree: Any,
        fixed: Sequence[tuple[int, Any]],
        site: Site | None,
    ):
        self.kind, self.function, self.in_tree, self.out_tree, self.site = kind, function, in_tree, out_tree, site
        self.fixed = tuple(fixed)
        bound = isinstance(function, MethodType | BuiltinMethodType)  # made anew by each look at the attribute
        values = tuple([(i, v if type(v) is str else id(v)) for i, v in fixed])
        self.key = (kind, function if bound else id(function), in_tree, out_tree, values, site)
        self.hash = hash(self.key)

    def __eq__(self, other: object) -> bool:
        return type(other) is Function and other.key == self.key

    def __hash__(self) -> int:
        return self.hash

    def __repr__(self) -> str:
        return getattr(self.function, "__name__", None) or type(self.function).__name__

    @property
    def title(self) -> str:
        """What errors call it."""
        return f"{self.kind} of '{self!r}'"

    def call(self, xs: Sequence[Any], out: Sequence[ShapedArray]) -> list[Any]:
        """Leaves of what it returns, of these types."""
        leaves = [_own(x) for x in xs]
        for i, value in self.fixed:
            leaves.insert(i, value)
        args, kwargs = tree.unflatten(self.in_tree, leaves)
        try:
            value = aloud(partial(self.function, *args, **kwargs))
        except FgradError as error:
            error.located = True  # type: ignore[attr-defined]  # it names a line of the callback's
            raise
        return [] if self.out_tree is None else self._checked(value, out)

    def _checked(self, value: Any, out: Sequence[ShapedArray]) -> list[Any]:
        leaves, got = tree.flatten(value)
        if got != self.out_tree:
            raise TreeError(
                message(
                    f"{self.title}: the result has another structure than result_shape_dtypes",
                    got=tree.explain_mismatch(self.out_tree, value),
                    do="return the structure that result_shape_dtypes has, with an array or a number for each leaf",
                    site=self.site,
                )
            )
        return [self._leaf(i, x, t) for i, (x, t) in enumerate(zip(leaves, out, strict=True))]

    def _leaf(self, i: int, x: Any, t: ShapedArray) -> Any:
        """A leaf of the result, if it is what was promised. A Python number may stand for any dtype that holds it."""
        try:
            x = canonical(x)
        except LeafError:
            raise LeafError(self._wrong(i, "is no array and no number", f"{type(x).__name__}, expected {t}")) from None
        sig = signature_of(x)
        if type(sig) is type:
            found = WEAK[sig]
            fits = _RANK[found.dtype.kind] <= _RANK[t.dtype.kind]
        else:
            found = sig  # type: ignore[assignment]
            fits = found.dtype == t.dtype
        if found.shape == t.shape and fits:
            return x
        error, what = (DtypeError, "dtype") if found.shape == t.shape else (ShapeError, "shape")
        what = f"has another {what} than result_shape_dtypes says"
        raise error(self._wrong(i, what, f"{found}, expected {t}"))

    def _wrong(self, i: int, what: str, got: str) -> str:
        path = tree.path_of(self.out_tree, i)
        do = "convert it in the callback (np.asarray(x, dtype), x.astype(dtype)), or change result_shape_dtypes"
        return message(f"{self.title}: the result{' ' + path if path else ''} {what}", got=got, do=do, site=self.site)


def _own(x: Any) -> Any:
    """A copy of an operand for the callback to keep; a NumPy scalar where it has no dimensions."""
    copy = np.array(x, order="C")
    return copy if copy.ndim else copy[()]


# ---------------------------------------------------------------------------------------------------------- primitives


class Callback(Lanewise):
    """Outputs of a `Function` that gets the operands, each lane by itself or all at once: see Lanewise."""

    staged = True

    def __init__(self, name: str, does: Effects):
        super().__init__(name)
        self.does = does
        self.kept = bool(does & KEPT)

    def effects(self, *types: ShapedArray, **params: Any) -> Effects:
        return self.does

    def run(self, *xs: Any, **params: Any) -> tuple[Any, ...]:
        return _once(self._run, xs, params) if self.kept else self._run(*xs, **params)

    def _run(
        self,
        *xs: Any,
        function: Function,
        out: tuple[ShapedArray, ...],
        lanes: tuple[int, ...],
        carried: tuple[tuple[bool, ...], ...],
        **params: Any,
    ) -> tuple[Any, ...]:
        outputs = empty_outputs(out, lanes)
        for lane, mine in each_lane(xs, lanes, carried):
            for y, value in zip(outputs, function.call(mine, out), strict=True):
                y[(*lane, ...)] = value
        return tuple([y if y.ndim else y[()] for y in outputs])

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], *xs: Any, **params: Any) -> Sequence[Any]:
        function = params["function"]
        if any(t.inexact for t in params["out"]):
            raise MissingRuleError(
                message(
                    f"{function.title} has no derivative: nothing is known of what it computes",
                    do="give a function around it a rule, by fgrad.custom_jvp or fgrad.custom_vjp; or wrap the "
                    "arguments in fgrad.lax.stop_gradient, if the result is to count as a constant",
                    site=function.site,
                )
            )
        return [None] * len(outs)

    def batch(self, size: int, mapped: Sequence[bool], *xs: Any, **params: Any) -> Any:
        if params["ordered"]:
            function = params["function"]
            raise MissingRuleError(
                message(
                    f"{function.title} with ordered=True cannot be batched: the lanes of vmap have no order",
                    do="leave ordered out (the lanes then call it one after the other), or use a Python loop, not vmap",
                    site=function.site,
                )
            )
        return super().batch(size, mapped, *xs, **params)

    def samples(self, draw: Any) -> Any:
        shape = draw.shape(min_dims=1, max_dims=1)
        looks = self is debug_callback
        out = () if looks else (shaped(shape, np.int64), shaped((), np.int64))
        in_tree, out_tree = tree.structure(((0, 0), {})), None if looks else tree.structure((0, 0))
        params = {"function": Function(self.name, _sample, in_tree, out_tree, (), None), "out": out, "lanes": ()}
        xs = [draw.integers(shape, -5, 5), draw.integers((), 0, 3)]
        return xs, {**params, "carried": ((), ()), "method": "sequential", "ordered": False}


def _sample(x: np.ndarray, by: np.integer) -> tuple[np.ndarray, np.integer]:
    return x + by, by * 2


UNKNOWN: Effects = frozenset({Effect.RAISES, Effect.CALLS})

# run for its outputs alone, so that it may be left out and run again
pure_callback = Callback("pure_callback", UNKNOWN)
# `ordered`: whether all its runs have an order, which those in the lanes of a batch have not
io_callback = Callback("io_callback", UNKNOWN | {Effect.IO})
# Without outputs; runs again where its operands are computed again, and not where there are none: in a transpose.
debug_callback = Callback("debug_callback", UNKNOWN | {Effect.DEBUG})
