"""Call tables: everything that is traced is a `Call`, made once per operand types and kept with its types and rules.

A *surface function* (`Function`) has two faces. `run` is one NumPy call with NumPy's own broadcasting, used whenever
values are concrete. `expand` is the same operation as strict equations: argument checks, promotion, broadcasts, casts;
it is traced once per (signatures, statics) and kept as the `jaxpr` of a `Call`. A primitive applied by itself is a
Call of one equation. Transformations derive further Calls from the jaxpr (its pullback, its batched form, ...) and keep
them on the Call too, so at run time every transformation costs a look-up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .effects import NONE
from .ir import Eqn, Jaxpr, Var
from .primitive import Primitive
from .sizes import Sizes, pattern, resizable, resized, resized_type
from .types import WEAK, Signature, aval_of

LIMIT = 1024


class Call:
    """One operation on operands of known signatures.

    `run(*values)` computes it with NumPy (one output bare, several as a tuple); `jaxpr` says what it means; `derived`
    holds what transformations made of it, by their own keys, `rules` its linearizations by active operands (as bits).
    """

    __slots__ = (
        "_jaxpr",
        "_run",
        "derived",
        "effects",
        "inexact",
        "model",
        "name",
        "out_sigs",
        "params",
        "primitive",
        "rules",
        "sigs",
        "single",
        "sizes",
    )

    def __init__(
        self,
        name: str,
        sigs: Sequence[Signature],
        out_sigs: Sequence[Signature],
        *,
        primitive: Primitive | None = None,
        params: dict[str, Any] | None = None,
        jaxpr: Jaxpr | None = None,
        run: Callable[..., Any] | None = None,
        single: bool | None = None,
    ):
        self.name = name
        self.sigs = tuple(sigs)
        self.out_sigs = tuple(out_sigs)
        self.single = len(self.out_sigs) == 1 if single is None else single
        self.inexact = [aval_of(s).inexact for s in self.out_sigs]
        self.primitive = primitive
        self.params = params or {}
        self.rules: dict[int, Any] = {}
        self.derived: dict[Any, Any] = {}
        # The same operation at other sizes, of which this is a copy, and these sizes with what they are here.
        self.model: Call | None = None
        self.sizes: Sizes = {}
        self._jaxpr = jaxpr
        self._run = run
        self.effects = NONE if jaxpr is None else jaxpr.effects
        if primitive is not None and not primitive.pure:
            self.effects = primitive.effects(*map(aval_of, sigs), **self.params)

    @property
    def jaxpr(self) -> Jaxpr:
        """The strict program of this call."""
        if self._jaxpr is None:
            assert self.primitive is not None
            inputs = [Var(aval_of(s)) for s in self.sigs]
            outputs = [Var(aval_of(s)) for s in self.out_sigs]
            self._jaxpr = Jaxpr(inputs, [Eqn(self.primitive, inputs, self.params, outputs)], outputs)
        return self._jaxpr

    @property
    def run(self) -> Callable[..., Any]:
        """The NumPy function of this call."""
        if self._run is None:
            if self.primitive is not None:
                self._run = self.primitive.kernel(*map(aval_of, self.sigs), **self.params)
            else:
                self._run = renderer.render(self)
        return self._run

    def resized(self, sizes: Sizes, run: Callable[..., Any] | None = None) -> Call | None:
        """The same operation at other sizes, if its program may be resized; `run`: its NumPy function."""
        if self.jaxpr.consts or not resizable(self.jaxpr):
            return None
        sigs, outs = ([resized_type(s, sizes) for s in given] for given in (self.sigs, self.out_sigs))
        made = Call(self.name, sigs, outs, jaxpr=resized(self.jaxpr, sizes), run=run, single=self.single)
        made.model, made.sizes = self, sizes
        return made

    def __repr__(self) -> str:
        return f"Call({self.name}: {', '.join(map(repr, self.sigs))})"


class Function:
    """A function of the user's surface that is recorded as one Call.

    `expand(*operands, *statics, **statics)` states it in strict equations. The first `arity` positional arguments are
    operands (all of them where `arity` is None); everything behind, and every keyword, is static and must be hashable,
    or goes to `full`, NumPy's function with all its arguments.
    `resizes`: of the operands' sizes `expand` asks only whether they are 0, 1 or equal, so it is called once for each
    pattern of sizes.
    """

    def __init__(
        self,
        expand: Callable[..., Any],
        run: Callable[..., Any] | None,
        arity: int | None,
        name: str,
        full: Callable[..., Any] | None = None,
        resizes: bool = False,
    ):
        self.expand = expand
        self.numpy = run
        self.full = full
        self.arity = arity
        self.calls: dict[Any, Call] = {}
        self.resizes = resizes
        self.models: dict[Any, tuple[Call, tuple[int, ...]]] = {}  # by pattern: one call, and its sizes
        self.__name__ = self.__qualname__ = name
        self.__doc__ = expand.__doc__
        self.__wrapped__ = expand

    def __repr__(self) -> str:
        return f"<fgrad function {self.__name__}>"

    def call(self, sigs: tuple[Signature, ...], statics: tuple[Any, ...], named: dict[str, Any]) -> Call:
        """The Call of these signatures and statics: looked up, or traced and kept."""
        key = (sigs, statics, tuple(named.items())) if named else (sigs, statics) if statics else sigs
        found = self.calls.get(key)
        if found is None:
            found = self._make(sigs, statics, named)
            _limit(self.calls)
            self.calls[key] = found
        return found

    def _make(self, sigs: tuple[Signature, ...], statics: tuple[Any, ...], named: dict[str, Any]) -> Call:
        numpy = self.numpy
        run: Callable[..., Any] | None = None
        if numpy is not None:
            run = (lambda *xs: numpy(*xs, *statics, **named)) if statics or named else numpy
        key, sizes = pattern(sigs) if self.resizes else (None, ())
        if not sizes:
            return self._trace(sigs, statics, named, run)
        key = (key, statics, tuple(named.items()))
        known = self.models.get(key)
        made = None if known is None else known[0].resized(dict(zip(known[1], sizes, strict=True)), run)
        if made is None:
            made = self._trace(sigs, statics, named, run)
            _limit(self.models)
            self.models[key] = made, sizes
        return made

    def _trace(
        self,
        sigs: tuple[Signature, ...],
        statics: tuple[Any, ...],
        named: dict[str, Any],
        run: Callable[..., Any] | None,
    ) -> Call:
        single = True

        def expanded(*xs: Any) -> Sequence[Any]:
            nonlocal single
            out = self.expand(*xs, *statics, **named)
            single = not isinstance(out, tuple)
            return [out] if single else out

        jaxpr, out_sigs = renderer.trace(expanded, sigs)
        if run is not None and single and out_sigs[0] in WEAK:
            run = _then(run, out_sigs[0])
        return Call(self.__name__, sigs, out_sigs, jaxpr=jaxpr, run=run, single=single)


def _limit(table: dict[Any, Any]) -> None:
    """Make room in a table for one more."""
    if len(table) >= LIMIT:
        for old in list(table)[: LIMIT // 2]:
            table.pop(old, None)


def _then(run: Callable[..., Any], scalar: Any) -> Callable[..., Any]:
    return lambda *xs: scalar(run(*xs))


class _Renderer:
    """Slots that later folders fill: how expansions are traced and simplified, how a program becomes NumPy code."""

    trace: Callable[[Callable[..., Sequence[Any]], Sequence[Signature]], tuple[Jaxpr, list[Signature]]]
    simplify: Callable[[Jaxpr], Jaxpr] = staticmethod(lambda jaxpr: jaxpr)
    render: Callable[[Call], Callable[..., Any]]
    # as `render`, but the function may write into its first operand
    render_writing: Callable[[Call], Callable[..., Any]]


renderer = _Renderer()
