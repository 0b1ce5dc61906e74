"""What becomes of a jitted function for given types: read before it runs, and compiled ahead of its calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..compile.analysis import MemoryPlan, cost_analysis
from ..compile.dispatched import Dispatched
from ..compile.executable import ProgramFailure
from ..compile.flat import arrays
from ..compile.plan import Plan
from ..compile.planner import PREPARATION, Planner
from ..compile.report import Report
from ..core import tree
from ..core.builder import resting_collector
from ..core.errors import ConcretizationError, DtypeError, ShapeError, TreeError, message
from ..core.ir import Jaxpr
from ..core.leaves import ShapeDtypeStruct, checked, name_of, path_of
from ..core.trace import Tracer, signature
from ..core.types import WEAK, ShapedArray, aval_of
from .dispatch import entry_for

if TYPE_CHECKING:
    from .jit import Jitted, Staged

STAGES = ("program", "rewrites", "steps", "nests", "python", "llvm", "plan")
_SHOWN = {"steps": "fused steps", "nests": "loop nests", "python": "Python source", "plan": "thunks and memory"}
_RANK = {bool: 0, int: 1, float: 2, complex: 3}
_KINDS = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}


@dataclass(frozen=True)
class ArgInfo:
    """Type of an argument, and whether the program may use its memory."""

    shape: tuple[int, ...]
    dtype: np.dtype
    donated: bool


class _Described:
    """What `Lowered` and `Compiled` tell about arguments, results, costs and memory."""

    name: str
    backend: str
    in_tree: Any
    out_tree: Any
    types: tuple[ShapedArray, ...]
    out_types: tuple[ShapedArray, ...]
    donated: tuple[int, ...]
    stages: Sequence[tuple[str, Jaxpr]]

    @property
    def plan(self) -> Plan:
        """Items and memory of the program."""
        raise ValueError(
            message(
                f"{self.name}: NumPy runs this program, so there is no plan of it",
                got=f"backend={self.backend!r}",
                do='choose backend="native"; as_text("program") and as_text("rewrites") are there',
            )
        )

    _made: Report | None = None

    @property
    def _report(self) -> Report:
        plan, made = self.plan, self._made
        if made is None or made.plan is not plan:  # a program may be planned anew while it is in use
            made = Report(plan, _labels("argument", self.in_tree, 1), _labels("result", self.out_tree, 0))
            self._made = made
        return made

    @property
    def out_info(self) -> Any:
        """The result as a pytree of `ShapeDtypeStruct`s."""
        return tree.unflatten(self.out_tree, [ShapeDtypeStruct(t.shape, t.dtype) for t in self.out_types])

    @property
    def args_info(self) -> Any:
        """The pair (args, kwargs) as a pytree of `ArgInfo`s."""
        infos = [ArgInfo(t.shape, t.dtype, i in self.donated) for i, t in enumerate(self.types)]
        return tree.unflatten(self.in_tree, infos)

    @property
    def donate_argnums(self) -> tuple[int, ...]:
        """Numbers of the leaves whose memory the program may use."""
        return self.donated

    def as_text(self, stage: str | None = None) -> str:
        """One stage as text, or all of them but "llvm".

        stage: "program" (as traced), "rewrites" (the program after each that changed it), "steps" (what is computed
        together), "nests" (loop nests of each kernel, equal kernels once), "python" (the kernels as a Python module
        that runs by itself), "llvm" (the kernels as LLVM assembly for this machine), "plan" (native calls in order, and
        where everything is in memory).

        Raises `ValueError` for other names, and for the last five with `backend="interpreter"`, which has none.
        """
        if stage is None:
            return self._everything()
        if stage == "program":
            return str(self.stages[0][1])
        if stage == "rewrites":
            return _sections([(name, str(program)) for name, program in self._changed()])
        texts = {
            "steps": Report.steps,
            "nests": Report.nests,
            "python": Report.python,
            "llvm": Report.llvm,
            "plan": Report.whole_plan,
        }
        if stage not in texts:
            raise ValueError(message(f"as_text: there is no stage '{stage}'", got=stage, do=f"choose one of {STAGES}"))
        return texts[stage](self._report)

    def _changed(self) -> list[tuple[str, Jaxpr]]:
        """The stages of the program behind the first that differ from the one before."""
        pairs = zip(self.stages, self.stages[1:], strict=False)
        return [(f"after {name}", new) for (_, old), (name, new) in pairs if new != old]

    def _everything(self) -> str:
        programs = [("traced program", self.stages[0][1]), *self._changed()]
        texts = [(name, str(program)) for name, program in programs]
        if self.backend != "interpreter":
            texts += [(title, self.as_text(stage)) for stage, title in _SHOWN.items()]
        return _sections(texts)

    __str__ = _everything

    def cost_analysis(self) -> dict[str, int]:
        """Work of one call, counted from the plan.

        "flops": additions, multiplications, comparisons, ... each one for an element, a reduction one for each element
        that it takes in, a product of m × k by k × n matrices 2 m n k (8 for complex); "transcendentals": values of
        functions such as exp; "bytes accessed": sizes of all operands that the native calls read and write; "peak
        memory": bytes taken beyond the arguments. NumPy calls count their bytes, and operations where they are
        elementwise, reductions or products. A loop counts as often as its body runs, but once where that is not known;
        of branches, the one counts that works most.
        """
        return cost_analysis(self.plan)

    def memory_plan(self) -> MemoryPlan:
        """Where everything is kept, what is written in place, what is copied and why."""
        return self._report.memory()

    memory_analysis = memory_plan


class Lowered(_Described):
    """A jitted function lowered for the types of some arguments; print it to see what becomes of it.

    Attributes: `in_tree`, `out_tree` (structures of (args, kwargs) without static arguments, and of the result);
    `out_info`, `args_info`.
    """

    def __init__(
        self,
        jitted: Jitted,
        staged: Staged,
        in_tree: Any,
        sigs: Sequence[Any],
        stages: Sequence[tuple[str, Jaxpr]],
        seconds: float,
    ):
        self.name = f"{jitted.title}({name_of(jitted.fun)})"
        if staged.traced_consts:
            raise ConcretizationError(
                message(
                    f"{self.name}.lower: the function uses values that another transformation traces",
                    do="pass them as arguments, or lower outside of that transformation",
                )
            )
        self.backend = jitted.backend
        self.in_tree, self.out_tree = in_tree, staged.out_tree
        self.types = tuple(map(aval_of, sigs))
        self.out_types = tuple(map(aval_of, staged.out_sigs))
        self.donated = staged.donated
        self.stages = list(stages)
        program = staged.jaxpr
        for name, rewrite in PREPARATION if self.backend != "interpreter" else ():
            program = rewrite(program)
            self.stages.append((name, program))
        self.seconds = seconds
        self._jitted, self._staged = jitted, staged
        self._keep: list[Any] = []

    def __repr__(self) -> str:
        return f"<Lowered {self.name} of {', '.join(map(repr, self.types))}>"

    @cached_property
    def plan(self) -> Plan:
        """Items and memory of the program, made at the first look."""
        if self.backend == "interpreter":
            return super().plan
        with resting_collector():
            planner = Planner(trusting=not self.donated, keep=self._keep)
            return planner.program(self.stages[-1][1], self.donated)

    def compile(self) -> Compiled:
        """Machine code for the program, callable; the same that calls of the jitted function use.

        Raises `fgrad.compile.engine.CompileError` where LLVM refuses a kernel and `FGRAD_STRICT_KERNELS` is set.
        """
        return Compiled(self, self._jitted, self._staged)


class Compiled(_Described, Dispatched):
    """A compiled program: call it like the function, without static arguments, on arrays of exactly these types.

    A Python number stands for a scalar of any dtype of its kind. Errors: `TreeError` for arguments of another
    structure, `ShapeError` and `DtypeError` for other types, `ConcretizationError` inside grad, vmap or jit.

    `times`: seconds spent, by "trace", "plan", "code" (machine code made or loaded), "table".
    """

    def __init__(self, lowered: Lowered, jitted: Jitted, staged: Staged):
        Dispatched.__init__(self)
        self.name, self.backend = lowered.name, lowered.backend
        self.in_tree, self.out_tree = lowered.in_tree, lowered.out_tree
        self.types, self.out_types, self.donated = lowered.types, lowered.out_types, lowered.donated
        self.stages = lowered.stages
        self.times = {"trace": lowered.seconds}
        self._staged = staged
        self._executable = None if self.backend == "interpreter" else staged.executable(jitted.backend)
        if self._executable is not None:
            self.times.update(self._executable.times)

    def __repr__(self) -> str:
        return f"<Compiled {self.name} of {', '.join(map(repr, self.types))}>"

    @property
    def plan(self) -> Plan:
        """Items and memory of the program."""
        return super().plan if self._executable is None else self._executable.plan

    def explain(self, failure: ProgramFailure, args: Any, kwargs: Any) -> Any:
        """Raise the error of a failed program as NumPy calls give it."""
        assert self._executable is not None
        self._executable.explain(self._staged.jaxpr, self._taken(args, kwargs), failure)

    def miss(self, args: Any, kwargs: Any) -> Any:
        """A call with arguments of kinds that native dispatch has not seen yet."""
        leaves, executable = self._taken(args, kwargs), self._executable
        if executable is None:
            return tree.unflatten(self.out_tree, self._staged.interpret(leaves))
        if [aval_of(signature(x)) for x in tree.leaves((args, kwargs))] == list(self.types):
            self.enter(
                executable, lambda known: entry_for(executable, (args, kwargs), self.out_tree, type(None), known)
            )
        return tree.unflatten(self.out_tree, executable.run(self._staged.jaxpr, leaves))

    def _taken(self, args: Any, kwargs: Any) -> list[Any]:
        """The leaves of a call as arrays of the program's types."""
        leaves, treedef = tree.flatten((args, kwargs))
        if treedef != self.in_tree:
            got = tree.explain_mismatch(self.in_tree, (args, kwargs), name="(args, kwargs)")
            what = f"{self.name} was lowered for arguments of another structure"
            raise TreeError(message(what, got=got, do="pass what lower() got, without static arguments"))
        leaves = checked(leaves, treedef, f"{self.name}: argument ", 1)
        return arrays([self._converted(i, x) for i, x in enumerate(leaves)])

    def _converted(self, number: int, x: Any) -> Any:
        wanted = self.types[number]
        if type(x) is Tracer:
            raise ConcretizationError(
                message(
                    f"{self.name}: what is compiled for arrays cannot be traced",
                    got=f"a traced {x.aval} for argument {path_of(self.in_tree, number, 1)}",
                    do="call the jitted function itself inside grad, vmap and jit",
                )
            )
        sig = signature(x)
        if sig is wanted:
            return x
        if type(sig) is type:
            kind = _KINDS[wanted.dtype.kind]
            if not wanted.ndim and (sig is bool) == (kind == 0) and _RANK[sig] <= kind:
                return np.asarray(x, wanted.dtype)
            got: ShapedArray = WEAK[sig]
        else:
            got = aval_of(sig)
        raise (DtypeError if got.dtype != wanted.dtype else ShapeError)(
            message(
                f"{self.name}: argument {path_of(self.in_tree, number, 1)} is not what it was lowered for",
                got=got,
                do=f"pass {wanted}, or call the jitted function itself, which compiles for other types",
            )
        )


def _labels(what: str, treedef: Any, skip: int) -> list[str]:
    """`argument [0]['w']` for each leaf of a structure; the first `skip` steps of its path are left out."""
    placed = tree.unflatten(treedef, range(treedef.num_leaves))
    return [f"{what} {tree.keystr(path[skip:])}".rstrip() for path, _ in tree.leaves_with_path(placed)]


def _sections(texts: Sequence[tuple[str, str]]) -> str:
    """Texts under their titles."""
    return "\n\n".join([f"=== {title} ===\n{text.rstrip()}" for title, text in texts])
