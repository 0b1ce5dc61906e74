"""Tracers, traces and the one place where an operation meets its operands.

A `Trace` gives Calls a meaning: a `Builder` records them as equations, and the transformations (in `passes`) compute
something beside the value. A tracer belongs to one trace; its `value` is whatever that trace computes with, which may
be a tracer of an outer trace. An operation goes to the innermost trace among its operands' and hands the values on to
the next one out. That is all there is to nesting: perturbations cannot be confused, since a trace reads only its own
tracers and takes every other operand for a constant.
"""

from __future__ import annotations

import gc
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import numpy as np

from .calls import Call, Function, renderer
from .check import check, checking
from .errors import ConcretizationError, FgradError, LeakedTracerError, Site, message, user_site
from .ir import Atom, Eqn, Jaxpr, Literal, Var
from .primitive import Primitive, binder, registry
from .types import WEAK, ShapedArray, Signature, aval_of, canonical, shaped, signature_of

levels = itertools.count(1)


class _State(threading.local):
    """The innermost builder that takes every traced operation of this thread."""

    builder: Builder | None = None
    # source line of the equation that a pass is rewriting, for what it records
    site: Site | None = None


_state = _State()


class Trace:
    """What a transformation does with Calls: `apply(call, operands)` returns outputs as `call.run` would."""

    name = "trace"
    # Whether values under this trace are concrete where its inputs are, so that Python control flow may read them.
    concrete = False

    def __init__(self) -> None:
        self.level = next(levels)
        self.done = False

    def apply(self, call: Call, xs: Sequence[Any]) -> Any:
        """Outputs of the call on operands of which at least one is traced."""
        raise AssertionError(f"{type(self).__name__} has no apply")

    def peek(self, x: Tracer) -> Any:
        """The value behind a tracer of this trace that Python may read (itself perhaps traced), or None."""
        return x.value if self.concrete else None

    def apply1(self, call: Call, x: Any) -> Any:
        """`apply` to one traced operand."""
        return self.apply(call, (x,))

    def apply2(self, call: Call, x: Any, y: Any) -> Any:
        """`apply` to two operands."""
        return self.apply(call, (x, y))

    def constant(self, x: Any) -> Tracer:
        """A known array, to which nobody else refers, as a tracer of this trace: it may be written into."""
        raise AssertionError(f"{type(self).__name__} has no constant")

    @contextmanager
    def open(self) -> Iterator[Any]:
        """The time in which tracers of this trace may be used."""
        try:
            yield self
        except ValueError as error:
            raise unmasked(error) from None
        finally:
            self.done = True


class Tracer:
    """Stands for an array while a function is transformed; it has NumPy's operators, methods and attributes.

    `owner` is its trace, `sig` its signature, `value` what the trace computes with, `slot` the trace's own note.
    """

    __slots__ = ("owner", "sig", "slot", "value")
    __array_priority__ = 1000.0
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, owner: Any, sig: Signature, value: Any, slot: Any = None):
        self.owner = owner
        self.sig = sig
        self.value = value
        self.slot = slot

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
        return int(concrete(self, "int(x)", _STATIC))

    def __index__(self) -> int:
        import operator

        return operator.index(concrete(self, "x used as a Python integer", _STATIC))

    def __float__(self) -> NoReturn:
        _refuse(self, "float(x)", _FLOAT)

    def __complex__(self) -> NoReturn:
        _refuse(self, "complex(x)", _FLOAT)

    def item(self, *args: Any) -> NoReturn:
        """Refused: a Python number would carry no derivative."""
        _refuse(self, "x.item()", _FLOAT)

    def tolist(self) -> NoReturn:
        """Refused: Python numbers would carry no derivative."""
        _refuse(self, "x.tolist()", _FLOAT)

    def __array__(self, dtype: Any = None, copy: Any = None) -> NoReturn:
        _refuse(self, "an ndarray made of x (np.array, np.asarray, a[i] = x, or a library that is not traced)", _ARRAY)

    def __repr__(self) -> str:
        value = peek(self)
        shown = "" if value is None else f", value={value!r}"
        return f"<traced {self.aval}{shown}>"

    def __str__(self) -> str:
        value = peek(self)
        return repr(self) if value is None else str(value)

    def __format__(self, spec: str) -> str:
        value = peek(self)
        return format(repr(self) if value is None else value, spec)

    def __reduce__(self) -> NoReturn:
        raise TypeError(message("a traced value cannot be pickled", got=repr(self), do="return it from the function"))

    def __deepcopy__(self, memo: Any) -> Tracer:
        return self

    def block_until_ready(self) -> Tracer:
        """Itself: nothing runs in the background."""
        return self


_BRANCH = (
    "use fgrad.numpy.where(condition, a, b); or mark the argument static (static_argnums); or leave jit and vmap out "
    "here: grad alone runs Python branches"
)
_STATIC = "mark the argument static (static_argnums), or take the number from a shape"
_FLOAT = (
    "keep it an array: fgrad.numpy and plain np functions (np.sin, np.exp, ...) work on it where math.sin and float() "
    "would drop its derivative; fgrad.lax.stop_gradient(x) makes a constant on purpose"
)
_ARRAY = (
    "use np.stack or fgrad.numpy.array([...]) for lists; make buffers with np.zeros_like(x) or np.zeros(n, like=x); "
    "write y = y + x instead of ndarray += x, and fgrad.numpy.take(a, i) instead of ndarray[i]"
)


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


def _refuse(x: Tracer, what: str, do: str) -> NoReturn:
    if x.owner.done:
        raise leaked(x)
    while type(x.owner.peek(x)) is Tracer:
        x = x.owner.peek(x)
    trace = x.owner
    why = "its derivative would be lost" if peek(x) is not None else f"its value is not known while {trace.name} traces"
    raise ConcretizationError(message(f"{what} is not possible: {why}", got=f"a traced {x.aval}", do=do))


def unmasked(error: ValueError) -> BaseException:
    """NumPy wraps what float(x) raises in `ndarray[i] = x` into "setting an array element with a sequence": undo that."""
    return error.__cause__ if isinstance(error.__cause__, FgradError) else error


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
    """Outputs of a call on any operands: NumPy where none is traced, else the innermost trace decides."""
    top = None
    for x in xs:
        if type(x) is Tracer:
            t = x.owner
            if t.done:
                raise leaked(x)
            if top is None or t.level > top.level:
                top = t
    if top is None:
        return call.run(*xs)
    builder = _state.builder
    if builder is not None and builder.level > top.level:
        top = builder
    return top.apply(call, xs)


def apply_first(call: Call, x: Tracer, y: Any) -> Any:
    """`apply` to two operands of which only the first is traced."""
    trace = x.owner
    if trace.done:
        raise leaked(x)
    builder = _state.builder
    if builder is not None and builder.level > trace.level:
        trace = builder
    return trace.apply2(call, x, y)


def apply_equation(e: Eqn, xs: Sequence[Any]) -> Any:
    """Outputs of an equation on other operands; constants of a program stay equations while a program is built."""
    call = primitive_call(e.primitive, tuple([a.type for a in e.inputs]), e.params)
    builder = _state.builder
    if builder is not None and all([type(a) is Literal for a in e.inputs]):
        return builder.apply(call, xs)
    return apply(call, xs)


def signature(x: Any) -> Signature:
    """The signature of a tracer or of a concrete value."""
    return x.sig if type(x) is Tracer else signature_of(x)


def bind(primitive: Primitive, xs: tuple[Any, ...], params: dict[str, Any]) -> Any:
    """Apply a primitive; one output comes bare, several as a tuple."""
    for x in xs:
        if type(x) is Tracer:
            break
    else:
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
        if len(_PRIMITIVE_CALLS) >= 8 * 4096:
            _PRIMITIVE_CALLS.clear()
        _PRIMITIVE_CALLS[key] = call
    return call


binder.bind = bind  # type: ignore[method-assign]


def stage(primitive: Primitive, *xs: Any, **params: Any) -> Any:
    """`bind`, but recorded by this thread's builder (if there is one) although no operand is traced.

    For constants that a program should make rather than hold: zeros, iotas.
    """
    builder = _state.builder
    if builder is None:
        return bind(primitive, xs, params)
    call = primitive_call(primitive, tuple([aval_of(signature(x)) for x in xs]), params)
    return builder.apply(call, xs)


# -------------------------------------------------------------------------------------------------- surface functions


def surface(*, run: Callable[..., Any] | None = None, arity: int | None = 1) -> Callable[..., Any]:
    """Decorator: make a surface function of its expansion.

    `run` is NumPy's function with the same call; without it the rendered expansion runs. The result is a plain Python
    function: outside any trace one test per operand and then NumPy.
    """

    def decorate(expand: Callable[..., Any]) -> Any:
        function = Function(expand, run, arity, expand.__name__)
        face = _FACES.get(arity, _general)(function)
        face.__name__ = face.__qualname__ = expand.__name__
        face.__doc__ = expand.__doc__
        face.__module__ = expand.__module__
        face.function = function
        face.__wrapped__ = expand
        return face

    return decorate


def run_untraced(function: Function, xs: Sequence[Any], statics: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """The function on concrete operands: NumPy's own, or the rendered expansion."""
    if function.numpy is not None:
        return function.numpy(*xs, *statics, **named)
    xs = [canonical(x) for x in xs]
    return function.call(tuple([signature_of(x) for x in xs]), _hashable(statics), _hashable(named)).run(*xs)


def _unary(function: Function) -> Callable[..., Any]:
    calls = function.calls

    def face(x: Any, *statics: Any, **named: Any) -> Any:
        if type(x) is not Tracer:
            return run_untraced(function, (x,), statics, named)
        if named:
            call = function.call((x.sig,), _hashable(statics), _hashable(named))
        elif statics:
            try:
                call = calls.get(((x.sig,), statics))
            except TypeError:
                call = None
            call = call or function.call((x.sig,), _hashable(statics), {})
        else:
            call = calls.get((x.sig,)) or function.call((x.sig,), (), {})
        trace = x.owner
        if trace.done:
            raise leaked(x)
        builder = _state.builder
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
                if trace is not other:
                    if other.done:
                        raise leaked(y)
                    if other.level > trace.level:
                        trace, other = other, trace
                    if other.done:
                        raise leaked(x)
            else:
                cls = type(y)
                if cls is float or cls is int:
                    sigs = (x.sig, cls)
                else:
                    try:
                        y = canonical(y)
                    except TypeError:
                        return NotImplemented
                    sigs = (x.sig, signature_of(y))
        else:
            trace = y.owner
            try:
                x = canonical(x)
            except TypeError:
                return NotImplemented
            sigs = (signature_of(x), y.sig)
        if trace.done:
            raise leaked(x if type(x) is Tracer else y)
        builder = _state.builder
        if builder is not None and builder.level > trace.level:
            trace = builder
        return trace.apply2(get(sigs) or function.call(sigs, (), {}), x, y)

    return operator


def _general(function: Function) -> Callable[..., Any]:
    arity = function.arity

    def face(*args: Any, **named: Any) -> Any:
        xs, statics = (args, ()) if arity is None else (args[:arity], args[arity:])
        for x in xs:
            if type(x) is Tracer:
                break
        else:
            return run_untraced(function, xs, statics, named)
        xs = tuple([x if type(x) is Tracer else canonical(x) for x in xs])
        sigs = tuple([x.sig if type(x) is Tracer else signature_of(x) for x in xs])
        return apply(function.call(sigs, _hashable(statics), _hashable(named)), xs)

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
        concrete(x, "a traced value as a static argument (an axis, a shape, a length)", _STATIC)
    return x


# ---------------------------------------------------------------------------------------------------------- builder


class Builder(Trace):
    """Records Calls and turns them into a Jaxpr; every value is abstract.

    `takes_all`: every operation on a traced operand of the same thread belongs to this builder, also one that reads
    only outer tracers (it might stand in a branch). Linear programs do not: what they read of outer values is computed
    outside and captured, so no equation mixes primal and linear.
    """

    def __init__(self, name: str = "jit", *, takes_all: bool = True, sites: bool = True):
        super().__init__()
        self.name = name
        self.takes_all = takes_all
        self.with_sites = sites
        self.records: list[tuple[Call, list[Atom], list[Var], int]] = []
        self.sites: list[Site | None] = []
        self.captured: dict[int, tuple[Var, Any]] = {}
        self.snapshots: dict[int, tuple[Any, np.ndarray]] = {}

    def input(self, sig: Signature) -> Tracer:
        """A new input of that signature."""
        return Tracer(self, sig, Var(aval_of(sig)))

    def constant(self, x: Any) -> Tracer:
        return Tracer(self, signature_of(x), self.atom(x))

    def apply(self, call: Call, xs: Sequence[Any]) -> Any:
        atoms = [x.value if type(x) is Tracer and x.owner is self else self.atom(x) for x in xs]
        if _state.site is not None:
            self.sites.append(_state.site)
        elif self.with_sites:
            self.sites.append(user_site())
        outs = [Var(aval_of(s)) for s in call.out_sigs]
        self.records.append((call, atoms, outs, len(self.sites) - 1))
        if call.single:
            return Tracer(self, call.out_sigs[0], outs[0])
        return tuple([Tracer(self, s, v) for s, v in zip(call.out_sigs, outs, strict=True)])

    def atom(self, x: Any) -> Atom:
        """The operand that stands for `x` here: a variable of this program, a captured value, or a literal."""
        if type(x) is Tracer:
            if x.owner is self:
                return x.value
            if x.owner.done:
                raise leaked(x)
            if x.owner.level > self.level:
                raise leaked(x)
            return self._capture(x, x.aval)
        aval = aval_of(signature_of(x))
        if aval.shape == ():
            return Literal(x, aval)
        return self._capture(self.snapshot(x), aval)

    def _capture(self, x: Any, aval: ShapedArray) -> Var:
        found = self.captured.get(id(x))
        if found is None:
            found = self.captured[id(x)] = (Var(aval), x)
        return found[0]

    def snapshot(self, x: np.ndarray) -> np.ndarray:
        """A copy that later writes to `x` do not reach; the same one as long as `x` does not change."""
        if not x.flags.writeable and x.base is None:
            return x
        seen = self.snapshots.get(id(x))
        if seen is not None and same_bytes(seen[1], x):
            return seen[1]
        kept = x.copy()
        kept.flags.writeable = False
        self.snapshots[id(x)] = (x, kept)
        return kept

    def finish(self, inputs: Sequence[Tracer], outs: Sequence[Any]) -> Jaxpr:
        """The program from the inputs to the outputs; captured values are its consts."""
        outputs = [self.atom(x) for x in outs]
        eqns, env = expand_records(self.records, self)
        self.done = True
        consts = list(self.captured.values())
        return Jaxpr(
            [v for v, _ in consts] + [t.value for t in inputs],
            eqns,
            [env.get(a, a) for a in outputs],
            [c for _, c in consts],
            self.sites,
        )


def same_bytes(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays of one type hold the same bits (NaN equals itself, 0.0 differs from -0.0)."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.flags.c_contiguous and b.flags.c_contiguous:
        return a.size == 0 or bool((a.reshape(-1).view(np.uint8) == b.reshape(-1).view(np.uint8)).all())
    return a.tobytes() == b.tobytes()


def expand_records(records: Sequence[Any], builder: Builder) -> tuple[list[Eqn], dict[Atom, Atom]]:
    """Strict equations of recorded Calls, with scalar literals folded; and what replaces which variable."""
    eqns: list[Eqn] = []
    env: dict[Any, Any] = {}
    get = env.get

    def emit(primitive: Primitive, inputs: list[Atom], params: dict[str, Any], outputs: Any, origin: int) -> None:
        if primitive.folds:
            for a in inputs:
                if type(a) is Var:
                    break
            else:
                with np.errstate(all="ignore"):
                    values = primitive.fold(*[a.value for a in inputs], **params)  # type: ignore[union-attr]
                for v, value in zip(outputs, values, strict=True):
                    env[v] = Literal(value, v.type)
                return
        eqns.append(Eqn(primitive, inputs, params, outputs, origin))

    for call, atoms, outs, origin in records:
        atoms = [get(a, a) for a in atoms]
        if call.primitive is not None:
            emit(call.primitive, atoms, call.params, outs, origin)
            continue
        body = call.jaxpr
        local: dict[Any, Any] = {}
        consts = len(body.consts)
        for v, c in zip(body.inputs, body.consts, strict=False):
            local[v] = builder.atom(c)
        local.update(zip(body.inputs[consts:], atoms, strict=True))
        final = dict(zip(body.outputs, outs, strict=False)) if len(set(map(id, body.outputs))) == len(outs) else {}
        for e in body.eqns:
            fresh = []
            for v in e.outputs:
                new = final.get(v)
                if new is None:
                    new = Var(v.type)
                local[v] = new
                fresh.append(new)
            emit(e.primitive, [get(b, b) for b in [local.get(a, a) for a in e.inputs]], e.params, fresh, origin)
        for v, a in zip(outs, body.outputs, strict=True):
            b = local.get(a, a)
            if b is not v:
                env[v] = get(b, b)
    return eqns, env


@contextmanager
def located() -> Iterator[Callable[[Jaxpr, Eqn], None]]:
    """Within it, the yielded function says which equation a pass is at, so that what it records keeps the user's line."""
    before = _state.site

    def at(jaxpr: Jaxpr, e: Eqn) -> None:
        _state.site = jaxpr.sites[e.origin] if 0 <= e.origin < len(jaxpr.sites) else before

    try:
        yield at
    finally:
        _state.site = before


@contextmanager
def building(builder: Builder) -> Iterator[Builder]:
    """Make a builder take this thread's traced operations."""
    outer = _state.builder
    _state.builder = builder if builder.takes_all else outer
    try:
        with resting_collector():
            yield builder
    except ValueError as error:
        raise unmasked(error) from None
    finally:
        _state.builder = outer
        builder.done = True


@contextmanager
def resting_collector() -> Iterator[None]:
    """Pause the cyclic garbage collector: tracing and planning make many objects and no garbage cycles."""
    collecting = gc.isenabled()
    if collecting:
        gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def trace(
    f: Callable[..., Sequence[Any]],
    sigs: Sequence[Signature],
    name: str = "jit",
    *,
    takes_all: bool = True,
    sites: bool = True,
) -> tuple[Jaxpr, list[Signature]]:
    """Trace `f` (operands to a sequence of outputs) on abstract operands: its program and the outputs' signatures."""
    builder = Builder(name, takes_all=takes_all, sites=sites)
    with building(builder):
        inputs = [builder.input(s) for s in sigs]
        outs = [x if type(x) is Tracer else canonical(x) for x in f(*inputs)]
        jaxpr = builder.finish(inputs, outs)
    if checking():
        check(jaxpr)
    return jaxpr, [signature(x) for x in outs]


def trace_internal(f: Callable[..., Sequence[Any]], sigs: Sequence[Signature]) -> tuple[Jaxpr, list[Signature]]:
    """`trace` for expansions and rules: no source lines, and simplified, since each is used many times."""
    jaxpr, out_sigs = trace(f, sigs, "an expansion", sites=False)
    return renderer.simplify(jaxpr), out_sigs


renderer.trace = trace_internal  # type: ignore[method-assign]

__all__ = [
    "Builder",
    "Trace",
    "Tracer",
    "apply",
    "apply_equation",
    "apply_first",
    "binary_operator",
    "bind",
    "building",
    "concrete",
    "levels",
    "located",
    "peek",
    "primitive_call",
    "registry",
    "shaped",
    "resting_collector",
    "signature",
    "stage",
    "surface",
    "trace",
    "unmasked",
    "trace_internal",
]
