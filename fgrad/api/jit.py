"""jit: functions as compiled programs, and their calls."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Sequence
from functools import partial, update_wrapper
from typing import Any

from ..compile import warm
from ..compile.dispatched import Dispatched
from ..compile.executable import BACKENDS, Executable, ProgramFailure, executable_of
from ..compile.flat import arrays
from ..compile.native.entry import Entry
from ..compile.native.library import MISS
from ..core import tree
from ..core.builder import resting_collector, trace
from ..core.effects import KEPT, STAGED
from ..core.errors import StaticArgumentError, message
from ..core.functions import cache_of
from ..core.handles import fresh, local
from ..core.ir import Jaxpr
from ..core.leaves import Own, ShapeDtypeStruct, check_callable, checked, name_of
from ..core.nodes import register_static
from ..core.trace import Tracer, signature, state
from ..core.types import WEAK, shaped
from ..passes.interpret import interpret
from ..regions.call import call, execute, memo, plainly
from ..rewrites.pipeline import rewritten, simplify
from .dispatch import entry_for
from .lowering import Lowered

LIMIT = 1024


def recorded(jaxpr: Jaxpr) -> bool:
    """Whether a call on concrete arguments is for the program that is being traced to make, whenever it runs."""
    return state.builder is not None and bool(jaxpr.effects & STAGED)


def outside_programs(dispatch: Callable[..., Any]) -> Callable[..., Any]:
    """Native dispatch that misses while a program is traced."""

    def dispatched(*args: Any, **kwargs: Any) -> Any:
        return dispatch(*args, **kwargs) if state.builder is None else MISS

    return dispatched


class Staged:
    """A traced function: program, structure of the result, signatures of its leaves, numbers of donated arguments."""

    __slots__ = ("donated", "executables", "jaxpr", "out_sigs", "out_tree", "traced_consts")

    def __init__(self, jaxpr: Jaxpr, out_tree: Any, out_sigs: Sequence[Any], donated: tuple[int, ...] = ()):
        self.jaxpr = jaxpr
        self.out_tree = out_tree
        self.out_sigs = out_sigs
        self.donated = donated
        self.traced_consts = any(type(c) is Tracer for c in jaxpr.consts)
        self.executables: dict[str, Executable] = {}

    def interpret(self, leaves: Sequence[Any]) -> list[Any]:
        """Run as NumPy calls."""
        with plainly():
            outs = execute(self.jaxpr, [WEAK[type(x)].dtype.type(x) if type(x) in WEAK else x for x in leaves])
        own = Own([*leaves, *self.jaxpr.consts])
        return [own(y) for y in outs]

    def executable(self, backend: str) -> Executable:
        """The compiled program for a backend."""
        found = self.executables.get(backend)
        if found is None:
            found = self.executables[backend] = executable_of(self.jaxpr, self.donated, backend)
        return found


def stage_function(
    fun: Callable[..., Any],
    sigs: Sequence[Any],
    treedef: Any,
    title: str,
    name: str,
    donated: tuple[tuple[int, ...], tuple[str, ...]] = ((), ()),
) -> Staged:
    """Trace `fun`, called `title` in errors, on abstract leaves of the structure `treedef` of (args, kwargs).

    It may write into arguments that are `donated`, by position and by name.
    """
    box: list[Any] = []
    given = donated_leaves(treedef, *donated) if any(donated) else ()

    def flat(*leaves: Any) -> list[Any]:
        own = [fresh(x) if i in given else x for i, x in enumerate(leaves)]  # no arguments, as far as writes ask
        inner_args, inner_kwargs = tree.unflatten(treedef, own)
        outs, out_tree = tree.flatten(fun(*inner_args, **inner_kwargs))
        outs = checked(outs, out_tree, f"{name}({title}): the result")
        box.append(out_tree)
        return outs

    jaxpr, out_sigs = trace(flat, sigs, name)
    return Staged(jaxpr, box[0], out_sigs, given)


def jit(
    fun: Callable[..., Any] | None = None,
    *,
    static_argnums: int | Sequence[int] | None = None,
    static_argnames: str | Sequence[str] | None = None,
    donate_argnums: int | Sequence[int] | None = None,
    donate_argnames: str | Sequence[str] | None = None,
    inline: bool = False,
    backend: str = "native",
) -> Any:
    """`fun` traced once per structure, shapes and dtypes of its arguments, simplified, and run as one program.

    static_argnums, static_argnames: arguments that are fixed at trace time; they must be hashable, and another value
    means another program. donate_argnums, donate_argnames: arguments whose memory the program may use, so that a result
    can be the very array that was given. backend: "native" (LLVM and BLAS), "numba" (the same loops as Python source
    compiled by Numba), "interpreter" (NumPy calls). inline: leave no `call` equation inside an outer trace. Usable as
    a decorator with and without arguments. Values are abstract inside: Python cannot branch on them.

    Errors: `StaticArgumentError` for unhashable static arguments; `ConcretizationError` where Python asks for a value.

    >>> import numpy as np
    >>> @jit
    ... def f(x):
    ...     return 2 * x + 1
    >>> f(np.arange(3.0))
    array([1., 3., 5.])
    """
    if fun is None:
        return partial(
            jit,
            static_argnums=static_argnums,
            static_argnames=static_argnames,
            donate_argnums=donate_argnums,
            donate_argnames=donate_argnames,
            inline=inline,
            backend=backend,
        )
    check_callable(fun, "jit")
    if backend not in BACKENDS:
        raise ValueError(message(f"jit: there is no backend '{backend}'", got=backend, do=f"choose one of {BACKENDS}"))
    if backend != "interpreter":
        warm.begin()
    nums, names = statics(fun, static_argnums, static_argnames)
    donated = statics(fun, donate_argnums, donate_argnames, "donate")
    return Jitted(fun, nums, names, donated, inline, backend)


def statics(
    fun: Callable[..., Any], nums: Any, names: Any, kind: str = "static"
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Positions and names of the same arguments."""
    nums = () if nums is None else (nums,) if isinstance(nums, int) else tuple(nums)
    names = () if names is None else (names,) if isinstance(names, str) else tuple(names)
    if not nums and not names:
        return (), ()
    try:
        parameters = list(inspect.signature(fun).parameters.values())
    except (TypeError, ValueError):
        return nums, names
    plain = [q.name for q in parameters if q.kind in (q.POSITIONAL_ONLY, q.POSITIONAL_OR_KEYWORD)]
    anything = any(q.kind is q.VAR_KEYWORD for q in parameters)
    many = any(q.kind is q.VAR_POSITIONAL for q in parameters)
    for n in nums:
        if not many and not -len(plain) <= n < len(plain):
            raise StaticArgumentError(
                message(
                    f"{kind}_argnums: {name_of(fun)} has no positional argument number {n}",
                    got=f"{name_of(fun)}({', '.join(q.name for q in parameters)})",
                    do="count from 0; name keyword-only arguments in argnames",
                )
            )
    for name in names:
        if not anything and name not in {q.name for q in parameters}:
            raise StaticArgumentError(
                message(
                    f"{kind}_argnames: {name_of(fun)} has no argument named '{name}'",
                    got=f"{name_of(fun)}({', '.join(q.name for q in parameters)})",
                    do="choose names from that signature",
                )
            )
    positions = {n % len(plain) if plain and n < 0 else n for n in nums} | {
        plain.index(name) for name in names if name in plain
    }
    return tuple(sorted(positions)), tuple({*names, *[plain[n] for n in positions if n < len(plain)]})


def donated_leaves(in_tree: Any, nums: Sequence[int], names: Sequence[str]) -> tuple[int, ...]:
    """Numbers of the leaves of donated arguments."""
    args, kwargs = tree.unflatten(in_tree, range(in_tree.num_leaves))
    chosen = [args[i] for i in nums if i < len(args)] + [kwargs[k] for k in names if k in kwargs]
    return tuple(sorted(i for i in tree.flatten(chosen)[0] if type(i) is int))


def _identity(value: Any) -> Any:
    """A key that tells apart what Python holds equal: 1, 1.0 and True, 0.0 and -0.0; alone and in tuples."""
    if isinstance(value, float):
        return type(value), value.hex()
    if isinstance(value, complex):
        return type(value), value.real.hex(), value.imag.hex()
    if isinstance(value, tuple):
        return type(value), tuple([_identity(v) for v in value])
    if isinstance(value, frozenset):
        return type(value), frozenset([_identity(v) for v in value])
    return type(value), value


class _Static:
    """A static argument in a structure of arguments: no leaf, compared by value and type."""

    __slots__ = ("key", "value")

    def __init__(self, value: Any):
        self.value = value
        self.key = _identity(value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Static) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


register_static(_Static)


class Jitted(Dispatched):
    """What `jit` returns: call it as the function; `trace(*args)` shows the program it runs."""

    title = "jit"  # what errors call the transformation

    def __init__(
        self,
        fun: Callable[..., Any],
        nums: tuple[int, ...] = (),
        names: tuple[str, ...] = (),
        donated: tuple[tuple[int, ...], tuple[str, ...]] = ((), ()),
        inline: bool = False,
        backend: str = "native",
    ):
        super().__init__()
        self.fun = fun
        self.static_nums = nums
        self.static_names = names
        self.donated = donated
        self.inline = inline
        self.backend = backend
        self.cache = cache_of(fun)
        update_wrapper(self, fun, updated=())

    def __repr__(self) -> str:
        return f"<jit of {name_of(self.fun)}>"

    def __get__(self, obj: Any, cls: Any = None) -> Any:
        return self if obj is None else partial(self, obj)

    def explain(self, failure: ProgramFailure, args: Any, kwargs: Any) -> Any:
        """Raise the error of a failed program as NumPy calls give it."""
        leaves, staged = self._prepare(args, kwargs)
        staged.executable(self.backend).explain(staged.jaxpr, arrays(leaves), failure)

    def miss(self, args: Any, kwargs: Any) -> Any:
        """A call that native dispatch does not know: traced, or of arguments of new types or layouts."""
        with resting_collector():  # once, for all that is made here
            leaves, staged = self._prepare(args, kwargs)
            jaxpr = staged.jaxpr
            concrete = all(type(x) is not Tracer for x in (*leaves, *jaxpr.consts)) and not recorded(jaxpr)
            native = concrete and self.backend != "interpreter"
            executable = self._compiled(staged, args, kwargs) if native else None
        if executable is not None:
            return tree.unflatten(staged.out_tree, executable.run(jaxpr, arrays(leaves)))
        if concrete:
            return tree.unflatten(staged.out_tree, staged.interpret(leaves))
        if not jaxpr.outputs and not jaxpr.effects & KEPT:
            return tree.unflatten(staged.out_tree, [])
        closed = memo(jaxpr, "closed", jaxpr.closed)
        if self.inline:
            outs = interpret(closed, [*jaxpr.consts, *leaves])
        else:
            out = call(*jaxpr.consts, *leaves, jaxpr=closed, name=name_of(self.fun))
            outs = [out] if len(jaxpr.outputs) == 1 else out
        outs = [
            local(Tracer(y.owner, s, y.value, y.slot)) if type(y) is Tracer else y
            for y, s in zip(outs, staged.out_sigs, strict=True)
        ]
        return tree.unflatten(staged.out_tree, outs)

    def _compiled(self, staged: Staged, args: Any, kwargs: Any) -> Executable:
        """The compiled program; native dispatch knows it from its second call on."""
        executable = staged.executable(self.backend)

        def entry(known: set[Any]) -> Entry | None:
            marked = self._marked(args, kwargs)
            return None if staged.traced_consts else entry_for(executable, marked, staged.out_tree, _Static, known)

        self.enter(executable, entry)
        if staged.jaxpr.effects & STAGED and self.calls is not None:
            self.fast = outside_programs(self.calls.function)
        return executable

    def _prepare(self, args: Any, kwargs: Any) -> tuple[list[Any], Staged]:
        """Dynamic leaves, and the program for them: looked up, or traced and kept."""
        leaves, treedef = tree.flatten(self._marked(args, kwargs))
        leaves = checked(leaves, treedef, f"{self.title}({name_of(self.fun)}): argument ", 1, settling=False)
        sigs = tuple([signature(x) for x in leaves])
        key = (treedef, sigs, self.static_nums, self.static_names, self.donated)
        staged = self.cache.get(key)
        if staged is None:
            staged = stage_function(self._called, sigs, treedef, name_of(self.fun), self.title, self.donated)
            staged.jaxpr = simplify(staged.jaxpr)
            self._keep(key, staged)
        return leaves, staged

    def _keep(self, key: Any, staged: Staged) -> None:
        if not staged.traced_consts:
            if len(self.cache) >= LIMIT:
                self.cache.clear()
            self.cache[key] = staged

    def signatures(self, args: Any, kwargs: Any, title: str) -> tuple[Any, tuple[Any, ...]]:
        """Structure and signatures of arguments that may be `ShapeDtypeStruct`s; `title` is for errors."""
        leaves, treedef = tree.flatten(self._marked(args, kwargs))
        abstract = [isinstance(x, ShapeDtypeStruct) for x in leaves]
        rest = checked(
            [0 if a else x for x, a in zip(leaves, abstract, strict=True)],
            treedef,
            f"{title}({name_of(self.fun)}): argument ",
            1,
        )
        pairs = zip(leaves, rest, abstract, strict=True)
        return treedef, tuple([shaped(x.shape, x.dtype) if a else signature(y) for x, y, a in pairs])

    def _marked(self, args: Any, kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with static ones marked."""
        if not self.static_nums and not self.static_names:
            return args, kwargs
        return (
            tuple(self._static(a, i) if i in self.static_nums else a for i, a in enumerate(args)),
            {k: self._static(v, k) if k in self.static_names else v for k, v in kwargs.items()},
        )

    def _called(self, *args: Any, **kwargs: Any) -> Any:
        args = tuple(a.value if type(a) is _Static else a for a in args)
        return self.fun(*args, **{k: v.value if type(v) is _Static else v for k, v in kwargs.items()})

    def _static(self, value: Any, which: Any) -> _Static:
        try:
            hash(value)
        except TypeError:
            traced = type(value) is Tracer
            raise StaticArgumentError(
                message(
                    f"jit({name_of(self.fun)}): argument {which!r} is static, but "
                    + ("its value is traced by another transformation" if traced else "it cannot be hashed"),
                    got=repr(value) if traced else f"an object of class {type(value).__name__}",
                    do="take it out of static_argnums and static_argnames, or pass a plain Python value"
                    if traced
                    else "pass a tuple instead of a list, a frozen object instead of a dict; arrays are not static",
                )
            ) from None
        return _Static(value)

    def lower(self, *args: Any, **kwargs: Any) -> Lowered:
        """What becomes of the function for these arguments, to be read and compiled; nothing is executed.

        Arguments may be `ShapeDtypeStruct`s. Raises `ConcretizationError` if the function captures values of a trace
        that is going on.

        >>> import numpy as np
        >>> lowered = jit(lambda x: 2 * x + 1).lower(ShapeDtypeStruct((3,), float))
        >>> lowered.cost_analysis()["flops"]
        6
        >>> lowered.compile()(np.arange(3.0))
        array([1., 3., 5.])
        """
        start = time.perf_counter()
        treedef, sigs = self.signatures(args, kwargs, self.title)
        traced = stage_function(self._called, sigs, treedef, name_of(self.fun), self.title, self.donated)
        stages = [("traced", traced.jaxpr), *rewritten(traced.jaxpr)]
        traced.jaxpr = stages[-1][1]
        key = (treedef, sigs, self.static_nums, self.static_names, self.donated)
        staged = self.cache.get(key)
        if staged is None:
            staged = traced
            self._keep(key, staged)
        marked = self._marked(args, kwargs)
        dynamic = (
            tuple([a for a in marked[0] if type(a) is not _Static]),
            {k: v for k, v in marked[1].items() if type(v) is not _Static},
        )
        return Lowered(self, staged, tree.structure(dynamic), sigs, stages, time.perf_counter() - start)

    def trace(self, *args: Any, **kwargs: Any) -> Jaxpr:
        """The simplified program for these arguments."""
        return self._prepare(args, kwargs)[1].jaxpr
