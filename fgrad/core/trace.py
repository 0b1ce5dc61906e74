"""Tracers, traces and the one place where an operation meets its operands.

A `Trace` gives Calls a meaning: a `Builder` records them as equations, and the transformations (in `passes`) compute
something beside the value. A tracer belongs to one trace; its `value` is whatever that trace computes with, which may
be a tracer of an outer trace. An operation goes to the innermost trace among its operands' and hands the values on to
the next one out. That is all there is to nesting: perturbations cannot be confused, since a trace reads only its own
tracers and takes every other operand for a constant.
"""

from __future__ import annotations

import itertools
import math
import operator
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy as np

from .calls import LIMIT, Call
from .effects import STAGED
from .errors import ConcretizationError, FgradError, LeakedTracerError, Site, message
from .ir import Eqn, Literal
from .primitive import Linear, Primitive, binder, not_linear
from .types import ShapedArray, Signature, aval_of, signature_of

levels = itertools.count(1)


class _State(threading.local):
    """The innermost builder that takes every traced operation of this thread; and the trace that made the last array.

    `trace`: the innermost transformation under way, in which the user's code of this thread runs.
    """

    builder: Any = None
    trace: Any = None
    # source line of the equation that a pass is rewriting, for what it records
    site: Site | None = None


state = _State()


class Trace:
    """What a transformation does with Calls: `apply(call, operands)` returns outputs as `call.run` would."""

    name = "trace"
    # Whether values under this trace are concrete where its inputs are, so that Python control flow may read them.
    concrete = False
    # Whether it reads what it recorded after the call.
    outlives = False
    # Whether it records what a loop or a branch will run.
    body = False
    # The thread's builder and innermost trace when this one was opened.
    builder: Any = None
    outer: Any = None

    def __init__(self) -> None:
        self.level: float = next(levels)
        self.done = False

    def apply(self, call: Call, xs: Sequence[Any]) -> Any:
        """Outputs of the call on operands of which at least one is traced."""
        raise AssertionError(f"{type(self).__name__} has no apply")

    def peek(self, x: Tracer) -> Any:
        """The value behind a tracer of this trace that Python may read (itself perhaps traced), or None."""
        return x.value if self.concrete else None

    def independent(self, x: Tracer) -> Any:
        """The value behind a tracer of this trace that depends on nothing traced here, or None: it may leave it."""
        return None

    def apply1(self, call: Call, x: Any) -> Any:
        """`apply` to one traced operand."""
        return self.apply(call, (x,))

    def apply2(self, call: Call, x: Any, y: Any) -> Any:
        """`apply` to two operands."""
        return self.apply(call, (x, y))

    def overwrite(self, call: Call, x: Tracer, rest: Sequence[Any]) -> bool:
        """Let `x`, of this trace, stand for call(x, *rest), written into its memory; False where that cannot be."""
        return False

    def origin_of(self, value: Any) -> tuple[Call, Sequence[Any], int] | None:
        """The call, its operands and the number of its result that gave what this trace computes with, if it knows."""
        return None

    def revive(self, x: Tracer) -> Trace:
        """The trace of a tracer whose owner is done: it is dead, or a view that has to be read again."""
        raise leaked(x)

    def begin(self) -> None:
        """The user's code that follows, in this thread, runs under this trace."""
        self.builder, self.outer = state.builder, state.trace
        state.trace = self

    def end(self) -> None:
        """Undo `begin`; from here on tracers of this trace are dead."""
        self.done = True
        if state.trace is self:
            state.trace = self.outer

    @contextmanager
    def open(self) -> Iterator[Any]:
        """The time in which tracers of this trace may be used."""
        self.begin()
        try:
            yield self
        except ValueError as error:
            raise unmasked(error) from None
        finally:
            self.end()


class Tracer:
    """Stands for an array while a function is transformed; it has NumPy's operators, methods and attributes.

    `owner` is its trace, `sig` its signature, `value` what the trace computes with, `slot` the trace's own note. It is
    a handle: a write gives it another value (see `handles`). `origin`: None for an array of its own, ARGUMENT, WRITTEN,
    or (parent, call, operands) for a view; `views`: weak references to those of its views that saw the last write.
    """

    __slots__ = ("__weakref__", "origin", "owner", "sig", "slot", "value", "views")
    __array_priority__ = 1000.0
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, owner: Any, sig: Signature, value: Any, slot: Any = None):
        self.owner = owner
        self.sig = sig
        self.value = value
        self.slot = slot
        self.origin: Any = None
        self.views: Any = None

    @property
    def aval(self) -> ShapedArray:
        """Shape and dtype."""
        return aval_of(self.sig)

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""
        return aval_of(self.sig).shape

    @property
    def dtype(self) -> np.dtype:
        """Type of the elements."""
        return aval_of(self.sig).dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return aval_of(self.sig).ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return aval_of(self.sig).size

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return aval_of(self.sig).dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.size * self.itemsize

    @property
    def weak_type(self) -> bool:
        """Whether it stands for a Python scalar, which takes the dtype of what it meets."""
        return type(self.sig) is type

    def __len__(self) -> int:
        shape = self.shape
        if not shape:
            raise TypeError("len() of a traced array of no dimensions")
        return shape[0]

    def __bool__(self) -> bool:
        return bool(concrete(self, "bool(x)", _BRANCH))

    def __int__(self) -> int:
        return int(concrete(self, "int(x)", STATIC))

    def __index__(self) -> int:
        return operator.index(concrete(self, "x used as a Python integer", STATIC))

    def __float__(self) -> float:
        return float(_independent(self, "float(x)", _FLOAT))

    def __complex__(self) -> complex:
        return complex(_independent(self, "complex(x)", _FLOAT))

    def item(self, *args: Any) -> Any:
        """An element as a Python number; refused where that would lose its derivative."""
        return _independent(self, "x.item()", _FLOAT).item(*args)

    def tolist(self) -> Any:
        """The elements as nested lists of Python numbers; refused where that would lose their derivative."""
        return _independent(self, "x.tolist()", _FLOAT).tolist()

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        what = "an ndarray made of x (np.array, np.asarray, a[i] = x, or a library that is not traced)"
        return np.array(_independent(self, what, _ARRAY), dtype)

    def __repr__(self) -> str:
        value = peek(self)
        shown = "" if value is None else f", value={value!r}"
        return f"<traced {self.aval}{shown}>"

    def __str__(self) -> str:
        value = peek(self)
        return repr(self) if value is None else str(value)

    def __format__(self, spec: str) -> str:
        value = peek(self)
        return repr(self) if value is None else format(value, spec)

    def __reduce__(self) -> NoReturn:
        raise TypeError(message("a traced value cannot be pickled", got=repr(self), do="return it from the function"))

    def block_until_ready(self) -> Tracer:
        """Itself: nothing runs in the background."""
        return self


_BRANCH = (
    "use fgrad.numpy.where(condition, a, b); or mark the argument static (static_argnums); or leave jit and vmap out "
    "here: grad alone runs Python branches"
)
STATIC = "mark the argument static (static_argnums), or take the number from a shape"
_FLOAT = (
    "keep it an array: fgrad.numpy and plain np functions (np.sin, np.exp, ...) work on it where math.sin and float() "
    "would drop its derivative; fgrad.lax.stop_gradient(x) makes a constant on purpose"
)
_ARRAY = (
    "use np.stack or fgrad.numpy.array([...]) for lists; make buffers with np.zeros_like(x) or np.zeros(n, like=x); "
    "write y = y + x instead of ndarray += x, and fgrad.numpy.take(a, i) instead of ndarray[i]"
)
# the same remedies inside the functions given to loops and branches
_IN_BODY = {
    _BRANCH: "use fgrad.numpy.where(condition, a, b) or fgrad.lax.cond(condition, f, g, *operands): the function is "
    "traced once, and runs with values that Python does not see",
    STATIC: "take the number from a shape or from outside the function; array indices and the bounds of "
    "fgrad.lax.fori_loop may be traced",
    _ARRAY: "read an ndarray from around the function with fgrad.numpy.take(a, i); write into one that the loop "
    "carries (in a branch: into a copy); use np.stack or fgrad.numpy.array([...]) for lists",
}


def peek(x: Any) -> Any:
    """The concrete value behind a tracer, None where there is none (under jit or vmap)."""
    while type(x) is Tracer:
        x = x.owner.peek(x)
    return x


def concrete(x: Tracer, what: str, do: str) -> Any:
    """The concrete value behind a tracer; `ConcretizationError` where there is none."""
    value = peek(x)
    if value is None:
        _refuse(x, what, do)
    return value


_STEPS = 64


def same(a: Any, b: Any) -> bool:
    """Whether two values are surely equal: bit for bit, or results of the same few operations on such values."""
    pairs: list[tuple[Any, Any, Trace | None]] = [(a, b, None)]
    for _ in range(_STEPS):
        if not pairs:
            return True
        x, y, trace = pairs.pop()
        if x is y:
            continue
        if type(x) is not type(y):
            return False
        if type(x) is Tracer:
            if x.owner is not y.owner or x.owner.done:
                return False
            pairs.append((x.value, y.value, x.owner))
        elif type(x) is Literal:
            pairs.append((np.asarray(x.value), np.asarray(y.value), None))
        elif isinstance(x, np.ndarray):
            if x.shape != y.shape or x.dtype != y.dtype or x.tobytes() != y.tobytes():
                return False
        else:
            origin, other = (None, None) if trace is None else (trace.origin_of(x), trace.origin_of(y))
            if origin is None or other is None or origin[0] is not other[0] or origin[2] != other[2]:
                return False
            if origin[0].effects & STAGED:
                return False
            pairs.extend([(v, w, trace) for v, w in zip(origin[1], other[1], strict=True)])
    return False


def _independent(x: Tracer, what: str, do: str) -> Any:
    """The value behind a tracer that may leave its trace; `ConcretizationError` where there is none."""
    value = x.owner.independent(x)
    if value is None or x.owner.done:
        _refuse(x, what, do)
    return value


def _refuse(x: Tracer, what: str, do: str) -> NoReturn:
    if x.owner.done:
        x.owner.revive(x)
    while type(x.owner.peek(x)) is Tracer:
        x = x.owner.peek(x)
    trace = x.owner
    why = "its derivative would be lost" if peek(x) is not None else f"its value is not known while {trace.name} traces"
    if trace.body:
        do = _IN_BODY.get(do, do)
    raise ConcretizationError(message(f"{what} is not possible: {why}", got=f"a traced {x.aval}", do=do))


def unmasked(error: ValueError) -> BaseException:
    """NumPy calls float(x) in `ndarray[i] = x` and wraps what that raises: the error that names the assignment."""
    cause = error.__cause__
    if isinstance(cause, ConcretizationError):
        what, at, got, _ = str(cause).split("\n")
        what = "storing x into an ndarray (a[i] = x) is" + what.partition(" is")[2]
        do = _IN_BODY[_ARRAY] if state.trace is not None and state.trace.body else _ARRAY
        cause.args = ("\n".join([what, at, got, f"  do:  {do}"]),)
    return cause if isinstance(cause, FgradError) else error


def leaked(x: Tracer) -> LeakedTracerError:
    """The error for a tracer that outlived its trace."""
    return LeakedTracerError(
        message(
            f"a value traced by {x.owner.name} was used after that transformation had ended",
            got=f"a traced {x.aval}",
            do="return it from the function instead of storing it in a global, an attribute or a closure",
        )
    )


# ---------------------------------------------------------------------------------------------------------- dispatch


def apply(call: Call, xs: Sequence[Any]) -> Any:
    """Outputs of a call on any operands: the innermost trace among theirs decides, NumPy where none is traced.

    What is to happen at each run of a program is recorded by the builder even then.
    """
    top = None
    for x in xs:
        if type(x) is Tracer:
            t = x.owner
            if t.done:
                t = t.revive(x)
            if top is None or t.level > top.level:
                top = t
    if top is None:
        builder = state.builder if call.effects else None
        return call.run(*xs) if builder is None or not call.effects & STAGED else builder.apply(call, xs)
    builder = state.builder
    if builder is not None and builder.level > top.level:
        top = builder
    return top.apply(call, xs)


def apply_staged(call: Call, xs: Sequence[Any]) -> Any:
    """As `apply`, but a program that is being built makes arrays of known numbers itself, instead of capturing them."""
    builder = state.builder
    if builder is None or not any([aval_of(s).shape for s in call.out_sigs]):
        return apply(call, xs)
    known = not any([type(x) is Tracer or aval_of(s).shape for x, s in zip(xs, call.sigs, strict=True)])
    return builder.apply(call, xs) if known else apply(call, xs)


def apply_equation(e: Eqn, xs: Sequence[Any]) -> Any:
    """Outputs of an equation on other operands; constants of a program stay equations while a program is built.

    Where programs are made of programs, so do numbers that one hands to the next: bodies of loops hold no arrays.
    """
    call = primitive_call(e.primitive, tuple([a.type for a in e.inputs]), e.params)
    builder = state.builder
    if builder is not None:
        if builder.with_sites:
            constant = all([type(a) is Literal for a in e.inputs])
        else:
            constant = all([type(x) is not Tracer and type(x) is not np.ndarray for x in xs])
        if constant:
            return builder.apply(call, xs)
    return apply(call, xs)


def unrecorded(f: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """`f(*args, **kwargs)` where all operands are known: the builder around records nothing, so that results are."""
    builder, state.builder = state.builder, None
    try:
        return f(*args, **kwargs)
    finally:
        state.builder = builder


def signature(x: Any) -> Signature:
    """The signature of a tracer or of a concrete value."""
    return x.sig if type(x) is Tracer else signature_of(x)


def bind(primitive: Primitive, xs: tuple[Any, ...], params: dict[str, Any]) -> Any:
    """Apply a primitive; one output comes bare, several as a tuple."""
    if Linear in map(type, xs):
        raise not_linear(primitive.name)
    for x in xs:
        if type(x) is Tracer:
            break
    else:
        if not (primitive.staged and state.builder is not None):
            if primitive.region:  # compiled, where that is worth it
                return primitive_call(primitive, tuple([aval_of(signature(x)) for x in xs]), params).run(*xs)
            outs = primitive.run(*xs, **params)
            return outs[0] if len(outs) == 1 else tuple(outs)
    return apply(primitive_call(primitive, tuple([aval_of(signature(x)) for x in xs]), params), xs)


_PRIMITIVE_CALLS: dict[Any, Call] = {}


def primitive_call(primitive: Primitive, types: tuple[ShapedArray, ...], params: dict[str, Any]) -> Call:
    """The Call of a primitive on operands of these types."""
    key = (primitive, types, tuple(params.items()))
    call = _PRIMITIVE_CALLS.get(key)
    if call is None:
        outs = primitive.typeof(*types, **params)
        call = Call(primitive.name, types, outs, primitive=primitive, params=params)
        if len(_PRIMITIVE_CALLS) >= 8 * LIMIT:
            _PRIMITIVE_CALLS.clear()
        _PRIMITIVE_CALLS[key] = call
    return call


binder.bind = bind


def stage(primitive: Primitive, *xs: Any, **params: Any) -> Any:
    """`bind`, but recorded by this thread's builder (if there is one) although no operand is traced.

    For constants that a program should make rather than hold: zeros, iotas. Operands of traces inside the builder's,
    such as that of a derivative under `jit`, belong to these.
    """
    builder = state.builder
    if builder is None or any([type(x) is Tracer and builder.level < x.owner.level < math.inf for x in xs]):
        return bind(primitive, xs, params)
    call = primitive_call(primitive, tuple([aval_of(signature(x)) for x in xs]), params)
    return builder.apply(call, xs)
