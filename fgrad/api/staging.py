"""jit and its relatives: functions as programs."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Sequence
from functools import partial, update_wrapper, wraps
from typing import Any

import numpy as np

from ..core import tree
from ..core.builder import trace
from ..core.errors import StaticArgumentError, message
from ..core.ir import Jaxpr
from ..core.nodes import register_static
from ..core.primitive import registry as p
from ..core.trace import Tracer, signature
from ..core.types import WEAK, aval_of, shaped
from ..passes.interpret import interpret
from ..passes.transpose import Linear, transpose
from ..regions.call import call, execute, memo
from ..regions.checkpoint import checkpoint as checkpoint_region
from ..rewrites.pipeline import simplify
from .derivatives import matching
from .leaves import Own, check_callable, checked, name_of

LIMIT = 1024


class ShapeDtypeStruct:
    """Shape and dtype of an array that need not exist: what `eval_shape` takes and returns.

    >>> ShapeDtypeStruct((2, 3), np.float32)
    ShapeDtypeStruct(shape=(2, 3), dtype=float32)
    """

    __slots__ = ("dtype", "shape")

    def __init__(self, shape: Sequence[int], dtype: Any):
        self.shape = tuple(shape)
        self.dtype = np.dtype(dtype)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ShapeDtypeStruct) and (self.shape, self.dtype) == (other.shape, other.dtype)

    def __hash__(self) -> int:
        return hash((self.shape, self.dtype))

    def __repr__(self) -> str:
        return f"ShapeDtypeStruct(shape={self.shape}, dtype={self.dtype.name})"


class Staged:
    """A traced function: program, structure of the result, signatures of its leaves."""

    __slots__ = ("jaxpr", "out_sigs", "out_tree", "traced_consts")

    def __init__(self, jaxpr: Jaxpr, out_tree: Any, out_sigs: Sequence[Any]):
        self.jaxpr = jaxpr
        self.out_tree = out_tree
        self.out_sigs = out_sigs
        self.traced_consts = any(type(c) is Tracer for c in jaxpr.consts)


def stage_function(fun: Callable[..., Any], sigs: Sequence[Any], treedef: Any, title: str, name: str) -> Staged:
    """Trace `fun`, called `title` in errors, on abstract leaves of the structure `treedef` of (args, kwargs)."""
    box: list[Any] = []

    def flat(*leaves: Any) -> list[Any]:
        inner_args, inner_kwargs = tree.unflatten(treedef, leaves)
        outs, out_tree = tree.flatten(fun(*inner_args, **inner_kwargs))
        outs = checked(outs, out_tree, f"{name}({title}): the result")
        box.append(out_tree)
        return outs

    jaxpr, out_sigs = trace(flat, sigs, name)
    return Staged(jaxpr, box[0], out_sigs)


_CACHES: weakref.WeakKeyDictionary[Any, dict[Any, Any]] = weakref.WeakKeyDictionary()


def _cache_of(fun: Callable[..., Any]) -> dict[Any, Any]:
    """Programs of a function by identity; those of a bound method belong to its object."""
    bound = getattr(fun, "__self__", None)
    try:
        if bound is not None and hasattr(fun, "__func__"):
            return _CACHES.setdefault(bound, {}).setdefault(("method", fun.__func__), {})
        return _CACHES.setdefault(fun, {})
    except TypeError:  # neither hashable nor weakly referable: no sharing between wrappers
        return {}


def jit(
    fun: Callable[..., Any] | None = None,
    *,
    static_argnums: int | Sequence[int] | None = None,
    static_argnames: str | Sequence[str] | None = None,
    donate_argnums: int | Sequence[int] | None = None,
    donate_argnames: str | Sequence[str] | None = None,
    inline: bool = False,
) -> Any:
    """`fun` traced once per structure, shapes and dtypes of its arguments, simplified, and run as one program.

    static_argnums, static_argnames: arguments that are fixed at trace time; they must be hashable, and another value
    means another program. donate_argnums, donate_argnames: arguments whose memory the program may use; the interpreter
    makes no use of it. inline: leave no `call` equation inside an outer trace. Usable as a decorator with and without
    arguments. Values are abstract inside: Python cannot branch on them.

    Errors: `StaticArgumentError` for unhashable static arguments; `ConcretizationError` where Python asks for a value.

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
        )
    check_callable(fun, "jit")
    nums, names = _statics(fun, static_argnums, static_argnames)
    return Jitted(fun, nums, names, _statics(fun, donate_argnums, donate_argnames, "donate"), inline)


def _statics(
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


class Jitted:
    """What `jit` returns: call it as the function; `trace(*args)` shows the program it runs."""

    title = "jit"  # what errors call the transformation

    def __init__(
        self, fun: Callable[..., Any], nums: tuple[int, ...], names: tuple[str, ...], donated: Any, inline: bool
    ):
        self.fun = fun
        self.static_nums = nums
        self.static_names = names
        self.donated = donated
        self.inline = inline
        self.cache = _cache_of(fun)
        update_wrapper(self, fun, updated=())

    def __repr__(self) -> str:
        return f"<jit of {name_of(self.fun)}>"

    def __get__(self, obj: Any, cls: Any = None) -> Any:
        return self if obj is None else partial(self, obj)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        leaves, staged = self._prepare(args, kwargs)
        jaxpr = staged.jaxpr
        for x in (*leaves, *jaxpr.consts):
            if type(x) is Tracer:
                break
        else:
            outs = execute(jaxpr, [WEAK[type(x)].dtype.type(x) if type(x) in WEAK else x for x in leaves])
            own = Own([*leaves, *jaxpr.consts])
            return tree.unflatten(staged.out_tree, [own(y) for y in outs])
        if not jaxpr.outputs:
            return tree.unflatten(staged.out_tree, [])
        closed = memo(jaxpr, "closed", jaxpr.closed)
        if self.inline:
            outs = interpret(closed, [*jaxpr.consts, *leaves])
        else:
            out = call(*jaxpr.consts, *leaves, jaxpr=closed, name=name_of(self.fun))
            outs = [out] if len(jaxpr.outputs) == 1 else out
        outs = [
            Tracer(y.owner, s, y.value, y.slot) if type(y) is Tracer and type(s) is type else y
            for y, s in zip(outs, staged.out_sigs, strict=True)
        ]
        return tree.unflatten(staged.out_tree, outs)

    def _prepare(self, args: Any, kwargs: Any) -> tuple[list[Any], Staged]:
        """Dynamic leaves, and the program for them: looked up, or traced and kept."""
        dynamic_args, dynamic_kwargs = args, kwargs
        if self.static_nums or self.static_names:
            dynamic_args = tuple(self._static(a, i) if i in self.static_nums else a for i, a in enumerate(args))
            dynamic_kwargs = {k: self._static(v, k) if k in self.static_names else v for k, v in kwargs.items()}
        leaves, treedef = tree.flatten((dynamic_args, dynamic_kwargs))
        leaves = checked(leaves, treedef, f"{self.title}({name_of(self.fun)}): argument ", 1)
        sigs = tuple([signature(x) for x in leaves])
        key = (treedef, sigs, self.static_nums, self.static_names)
        staged = self.cache.get(key)
        if staged is None:
            staged = stage_function(self._called, sigs, treedef, name_of(self.fun), self.title)
            staged.jaxpr = simplify(staged.jaxpr)
            if not staged.traced_consts:
                if len(self.cache) >= LIMIT:
                    self.cache.clear()
                self.cache[key] = staged
        return leaves, staged

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

    def trace(self, *args: Any, **kwargs: Any) -> Jaxpr:
        """The simplified program for these arguments."""
        return self._prepare(args, kwargs)[1].jaxpr


def make_jaxpr(
    fun: Callable[..., Any], static_argnums: int | Sequence[int] = (), return_shape: bool = False
) -> Callable[..., Any]:
    """A function that returns the program of `fun` for given arguments, before any rewrite.

    With `return_shape` it returns a pair: the program, and the result as `ShapeDtypeStruct`s.

    >>> print(make_jaxpr(lambda x: x * 2.0)(1.5))
    { a:float64[] .
      b:float64[] = mul a 2.0:float64
      in (b) }
    """

    @wraps(fun, updated=())
    def made(*args: Any, **kwargs: Any) -> Any:
        staged = _staged_abstractly(
            Jitted(fun, _statics(fun, static_argnums, None)[0], (), ((), ()), False), args, kwargs, "make_jaxpr"
        )
        return (staged.jaxpr, _structs(staged)) if return_shape else staged.jaxpr

    return made


def _structs(staged: Staged) -> Any:
    types = [aval_of(s) for s in staged.out_sigs]
    return tree.unflatten(staged.out_tree, [ShapeDtypeStruct(t.shape, t.dtype) for t in types])


def _staged_abstractly(jitted: Jitted, args: Any, kwargs: Any, name: str) -> Staged:
    args = tuple(jitted._static(a, i) if i in jitted.static_nums else a for i, a in enumerate(args))
    leaves, treedef = tree.flatten((args, kwargs))
    abstract = [isinstance(x, ShapeDtypeStruct) for x in leaves]
    rest = checked(
        [0 if a else x for x, a in zip(leaves, abstract, strict=True)],
        treedef,
        f"{name}({name_of(jitted.fun)}): argument ",
        1,
    )
    sigs = [shaped(x.shape, x.dtype) if a else signature(y) for x, y, a in zip(leaves, rest, abstract, strict=True)]
    return stage_function(jitted._called, sigs, treedef, name_of(jitted.fun), name)


def eval_shape(fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Shapes and dtypes of `fun(*args, **kwargs)` without computing it.

    Arguments may be arrays or `ShapeDtypeStruct`s; returns the result's pytree of `ShapeDtypeStruct`s.

    >>> eval_shape(lambda x: x @ x.T, ShapeDtypeStruct((2, 3), np.float32))
    ShapeDtypeStruct(shape=(2, 2), dtype=float32)
    """
    return _structs(_staged_abstractly(Jitted(fun, (), (), ((), ()), False), args, kwargs, "eval_shape"))


def linear_transpose(fun: Callable[..., Any], *primals: Any) -> Callable[..., Any]:
    """The transpose of a function that is linear in all its arguments.

    primals: arrays or `ShapeDtypeStruct`s, of which only the types are used. The result maps cotangents of the value to
    a tuple of cotangents of the arguments, in the pairing <a, b> = Re sum(a * b).

    Errors: `LinearityError` where the result is called and the function is not linear; `TreeError`, `ShapeError` for a
    cotangent that does not match the value.

    >>> linear_transpose(lambda x: 3 * x, 1.0)(2.0)
    (np.float64(6.0),)
    """
    staged = _staged_abstractly(Jitted(fun, (), (), ((), ()), False), primals, {}, "linear_transpose")
    (treedef,) = {tree.structure(tuple(primals))}
    jaxpr = simplify(staged.jaxpr)

    def transposed(ct: Any) -> Any:
        cts = matching(ct, staged.out_tree, jaxpr.out_types, f"{name_of(fun)}: the cotangent")
        xs = [Linear(t) for t in jaxpr.in_types]
        found = transpose(jaxpr, xs, [None] * len(xs), cts)
        own = Own([c for c in cts if c is not None])
        return tree.unflatten(
            treedef,
            [
                np.zeros(t.shape, t.dtype)[()] if c is None else own(c)
                for c, t in zip(found, jaxpr.in_types, strict=True)
            ],
        )

    return transposed


def checkpoint(
    fun: Callable[..., Any], *, prevent_cse: bool = True, policy: Any = None, static_argnums: int | Sequence[int] = ()
) -> Callable[..., Any]:
    """`fun`, whose derivative keeps only the arguments and computes everything else again: memory for time.

    prevent_cse, policy: accepted for programs written for JAX; nothing is ever merged across the border of the second
    computation, and the only policy is to save the arguments. static_argnums: as for `jit`.

    >>> from fgrad import grad
    >>> grad(checkpoint(lambda x: np.sin(np.sin(x))))(0.0)
    np.float64(1.0)
    """
    if policy is not None:
        raise StaticArgumentError(
            message(
                "checkpoint policies are not supported: the arguments are saved, nothing else",
                got=policy,
                do="leave policy out",
            )
        )
    jitted = Jitted(fun, _statics(fun, static_argnums, None)[0], (), ((), ()), False)
    jitted.cache = {}
    jitted.title = "checkpoint"

    @wraps(fun, updated=())
    def checkpointed(*args: Any, **kwargs: Any) -> Any:
        leaves, staged = jitted._prepare(args, kwargs)
        jaxpr = staged.jaxpr
        xs = [*jaxpr.consts, *leaves]
        if not any(type(x) is Tracer for x in xs):
            return fun(*args, **kwargs)
        closed = memo(jaxpr, "closed", jaxpr.closed)
        out = checkpoint_region(*xs, jaxpr=closed, name=name_of(fun))
        return tree.unflatten(staged.out_tree, [out] if len(jaxpr.outputs) == 1 else list(out))

    return checkpointed


def closure_convert(fun: Callable[..., Any], *example_args: Any) -> tuple[Callable[..., Any], list[Any]]:
    """`fun` with the traced values it closes over turned into arguments, and those values.

    Returns `(converted, consts)` with `converted(*args, *consts)` equal to `fun(*args)`.

    >>> converted, consts = closure_convert(lambda x: x + 1.0, 2.0)
    >>> converted(2.0, *consts)
    np.float64(3.0)
    """
    staged = _staged_abstractly(Jitted(fun, (), (), ((), ()), False), example_args, {}, "closure_convert")
    jaxpr = simplify(staged.jaxpr)
    hoisted = [c for c in jaxpr.consts if type(c) is Tracer]
    count = len(example_args)

    def converted(*args: Any) -> Any:
        given = iter(args[count:])
        consts = [next(given) if type(c) is Tracer else c for c in jaxpr.consts]
        leaves = tree.leaves((args[:count], {}))
        own = Own([*leaves, *consts])
        outs = interpret(jaxpr.closed(), [*consts, *leaves])
        return tree.unflatten(staged.out_tree, [own(y) for y in outs])

    return converted, hoisted


def stop_gradient(x: Any) -> Any:
    """`x` as a constant for derivatives; `x` is a pytree of arrays.

    >>> from fgrad import grad
    >>> grad(lambda x: x * stop_gradient(x))(3.0)
    np.float64(3.0)
    """
    return tree.map(lambda v: p.stop_gradient(v) if type(v) is Tracer and v.aval.inexact else v, x)
