"""A program ready to run: planned, its code loaded, its thunks in a native table."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from ..core.builder import resting_collector
from ..core.effects import KEPT
from ..core.errors import FgradError, OutOfBoundsError, describe_site, message, relocate
from ..core.ir import Eqn, Jaxpr
from ..core.show import bodies
from ..primitives.index import out_of_bounds
from ..regions.call import execute, plainly
from ..regions.callbacks import ROOM, noting, returns
from . import callbacks, code, factorizations, lapack
from .engine import CompileError
from .expressions import NAN_MET, NEAR, TOO_FAR
from .native.program import NativeProgram, Output, Program
from .plan import Item, Plan, slots_of
from .planner import PREPARATION, Planner
from .small_programs import checks, raising

BACKENDS = ("native", "numba", "interpreter")


class KernelWarning(RuntimeWarning):
    """A kernel could not be compiled; its equations run as NumPy calls."""


class ProgramFailure(FgradError, RuntimeError):
    """A program stopped: `status` and `details` as the native code left them; `item` is where."""

    def __init__(self, text: str, status: int, item: Any, details: tuple[int, int]):
        super().__init__(text)
        self.status, self.item, self.details = status, item, details


class Mistrust(Exception):
    """What a kernel relied on does not hold for these numbers. The executable no longer relies on it: run it again."""


class Executable:
    """A closed or open program compiled for one backend; `donated` are numbers of inputs whose memory it may use.

    Calls are safe from several threads at once, and from callbacks of the program itself.
    """

    def __init__(self, jaxpr: Jaxpr, donated: Sequence[int] = (), backend: str = "native"):
        self.backend = backend
        self.jaxpr = self.source = jaxpr
        for _, rewrite in PREPARATION:
            self.jaxpr = rewrite(self.jaxpr)
        self.donated = tuple(donated)
        # Whether it does something that may not be done again by a second run: `run` sees to that, native dispatch not.
        self.kept = bool(self.jaxpr.effects & KEPT)
        self.keep: list[Any] = []  # callbacks, for as long as the program lives
        self.items: list[Item] = []  # of all plans there were, by the numbers of failures
        self.times: dict[str, float] = {}
        # Whether zeros that annihilate infinities are left out until one would be needed. Not where the program could
        # not be run again: memory of arguments is written, or callbacks may have returned more than can be noted.
        self.trusting = not donated and not any(map(returns, loop_bodies(self.jaxpr)))
        self.lock = threading.Lock()
        self.ran = False  # whether it was called before: see `dispatched`
        with resting_collector():
            self.prepare(frozenset())

    def prepare(self, refused: frozenset[int]) -> None:
        """Plan, compile and fill the table; equations whose origin is refused become NumPy calls."""
        start = time.perf_counter()
        self.refused = refused
        self.planner = Planner(refused, self.trusting, self.keep, self.items)
        self.plan: Plan = self.planner.program(self.jaxpr, self.donated)
        middle = time.perf_counter()
        items = [item for plan in self.plan.walk() for item in plan.items]
        try:
            address = code.addresses(
                [i.kernel for i in items if i.kernel], [f for i in items for f in i.native], self.backend
            )
        except CompileError as error:
            self.refuse(error, refused)
            return
        compiled = time.perf_counter()
        self.program = NativeProgram(self.table(address))
        self.times = {
            "plan": middle - start,
            "code": compiled - middle,
            "table": time.perf_counter() - compiled,
        }

    def refuse(self, error: CompileError, refused: frozenset[int]) -> None:
        """Replan without the kernels that LLVM refused."""
        if os.environ.get("FGRAD_STRICT_KERNELS", "") not in ("", "0"):
            raise error
        bad = self.plan.equations(error.names)
        if not bad or not {id(e) for e in bad} - refused:
            raise error
        names = ", ".join(sorted({e.primitive.name for e in bad}))
        site = next((s for e in bad if (s := self.site(e)) is not None), None)
        where = f" at {describe_site(site)}" if site is not None else ""
        text = f"a kernel could not be compiled; its equations ({names}{where}) run as NumPy calls"
        warnings.warn(message(text, got=str(error).split("\n")[0], do="report it, please"), KernelWarning, stacklevel=6)
        self.prepare(refused | {id(e) for e in bad})

    def site(self, e: Eqn) -> Any:
        """The user's line that recorded an equation."""
        sites = next((p.jaxpr.sites for p in self.plan.walk() if e in p.jaxpr.eqns), ())
        return sites[e.origin] if 0 <= e.origin < len(sites) else None

    def table(self, address: Any) -> Program:
        """The native program: one slot for each place in memory."""
        plan = self.plan
        slots: dict[Any, int] = {}
        slot = slots_of(plan, lambda key: slots.setdefault(key, len(slots)))
        thunks = [item.thunk(slot, address) for item in plan.items]
        results = []
        for i, v in enumerate(plan.results):
            results.append(Output(slot(v), v.type.dtype, v.type.shape, plan.donated_to.get(i, -1)))
        temporaries = [(found, number) for (kind, number), found in slots.items() if kind == "arena"]
        constants = [
            (found, np.require(plan.constants[number], None, ["C", "A"]))
            for (kind, number), found in slots.items()
            if kind == "constant"
        ]
        inputs = [slots.get(("input", i), -1) for i in range(len(plan.inputs))]
        return Program(thunks, len(slots), plan.arena_bytes, temporaries, constants, inputs, results, plan.start)

    def run(self, jaxpr: Jaxpr, leaves: Sequence[Any]) -> list[Any]:
        """Run on arrays of the right types, contiguous and aligned; `jaxpr`: see `explain`."""
        with noting() as rewound:
            while True:
                results, words = self.program.run(leaves)
                if not words[0]:
                    return results
                again = rewound()
                try:
                    self.failed(*words)
                except Mistrust:
                    if not again:
                        raise self.beyond_notes() from None
                except ProgramFailure as failure:
                    self.explain(jaxpr, leaves, failure, again)

    def beyond_notes(self) -> ProgramFailure:
        """The error for numbers that a kernel is not made for, where the program cannot be run again."""
        what = "a NaN, or sin, cos or tan of an argument beyond 2**46, met when callbacks had returned too much to note"
        do = f"call it again, it is now made for that; or let io_callback return less than {ROOM >> 20} MB in one run"
        return ProgramFailure(message(what, do=do), 1, None, (0, TOO_FAR))

    def mistrust(self, reason: int) -> None:
        """Plan again: with zeros that annihilate infinities, or with NumPy's sines."""
        with self.lock:
            far = far_reaching(self.plan) if reason == TOO_FAR else set()
            if far - self.refused or (reason == NAN_MET and self.trusting):
                self.trusting &= reason != NAN_MET
                with resting_collector():
                    self.prepare(self.refused | far)

    def failed(self, status: int, thunk: int, a: int, b: int) -> Any:
        """Raise what a status means."""
        if status == 1 and b in (NAN_MET, TOO_FAR) and not self.donated:
            self.mistrust(b)
            raise Mistrust
        item = self.items[thunk]
        if status == 1 and b == TOO_FAR:
            what = "sin, cos or tan of an argument beyond 2**46 in a program that may overwrite its arguments"
            raise ProgramFailure(message(what, do="do not donate arguments to it"), status, item, (a, b))
        if status == 2:
            error = callbacks.PENDING.pop(threading.get_ident())
            if not isinstance(error, OutOfBoundsError) or getattr(error, "located", False) or self.plan.donated_to:
                raise error
        if status == lapack.FAILED:
            raise factorizations.failure(item.eqn.primitive.name, a)
        text = f"item {thunk} ({item.text}) failed with status {status} ({a}, {b})"
        raise ProgramFailure(text, status, item, (a, b))

    def explain(self, jaxpr: Jaxpr, leaves: Sequence[Any], failure: ProgramFailure, again: bool = True) -> NoReturn:
        """Raise the error of a failed program as NumPy calls give it, with the user's line.

        `jaxpr` is the caller's own, of which this may be an equal one; `again`: whether it can be run again.
        """
        error = self.outside(failure) if jaxpr is self.source else None
        if error is not None:
            raise error from None
        if again and not self.plan.donated_to:
            with plainly():
                execute(jaxpr, leaves)
        raise failure from None

    def outside(self, failure: ProgramFailure) -> OutOfBoundsError | None:
        """The error of an index in a loop, of which NumPy calls would have to repeat all runs; None: not certain."""
        item, (index, size) = failure.item, failure.details
        plan = next((p for p in self.plan.walk() if item in p.items), self.plan)
        whole = item.kernel is not None and item.eqn is not None and item.eqn.primitive.region  # a loop in a kernel
        if failure.status != 1 or (plan is self.plan and not whole) or plan in self.planner.shared:
            return None
        if whole:
            found = list(raising(item.eqn))
        else:
            eqns = [item.eqn] if item.step is None else item.step.equations()
            found = [(e, self.site(e)) for e in eqns if e is not None and checks(e)]
        if any(e.primitive.region for e, _ in found):
            return None
        meant = {
            (a, e.inputs[0].type, site)
            for e, site in found
            for a in e.params.get("axes", ())
            if e.inputs[0].type.shape[a] == size
        }
        if len(meant) != 1:
            return None
        axis, type_, site = meant.pop()
        error = out_of_bounds(index, axis, type_)
        relocate(error, site)
        return error


def loop_bodies(jaxpr: Jaxpr) -> list[Jaxpr]:
    """The programs of loops and branches."""
    regions = [e for e in jaxpr.eqns if e.primitive.region]
    return [body for e in regions for key, value in e.params.items() for _, body in bodies(key, value)]


def far_reaching(plan: Plan) -> set[int]:
    """The ids of equations that may have left the reach of their formulas; of loops, where a kernel is all of one."""
    found = {id(e) for p in plan.walk() for e in p.jaxpr.eqns if e.primitive.name in NEAR}
    loops = [i.eqn for p in plan.walk() for i in p.items if i.kernel and i.eqn and i.eqn.primitive.region]
    return found | {id(e) for e in loops}


_KNOWN: dict[Any, Executable] = {}
LIMIT = 512


def executable_of(jaxpr: Jaxpr, donated: Sequence[int] = (), backend: str = "native") -> Executable:
    """The executable of a program; equal programs without captured arrays share one."""
    if jaxpr.consts:
        return Executable(jaxpr, donated, backend)
    key = (jaxpr, tuple(donated), backend)
    found = _KNOWN.get(key)
    if found is None:
        if len(_KNOWN) >= LIMIT:
            for old in list(_KNOWN)[: LIMIT // 2]:
                _KNOWN.pop(old, None)
        found = _KNOWN[key] = Executable(jaxpr, donated, backend)
    return found
