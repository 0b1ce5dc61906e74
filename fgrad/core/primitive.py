"""The contract of a primitive, and the registry through which rules reach other primitives.

A primitive is one strict operation: operands have equal shapes and dtypes where the mathematics has them equal, and
broadcasts and casts are equations of their own. All its rules stand in one block of one file, in the order below.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .effects import NONE, Effects
from .errors import LinearityError, MissingRuleError, message
from .ir import Eqn, Jaxpr
from .types import ShapedArray


class Linear:
    """Stands for a linear operand inside transpose rules: a type without a value."""

    __slots__ = ("type",)

    def __init__(self, type: ShapedArray):
        self.type = type

    @property
    def shape(self) -> tuple[int, ...]:
        return self.type.shape

    @property
    def dtype(self) -> Any:
        return self.type.dtype

    @property
    def ndim(self) -> int:
        return self.type.ndim


def is_linear(x: Any) -> bool:
    """Whether an operand of a transpose rule is the linear one."""
    return type(x) is Linear


def not_linear(name: str) -> LinearityError:
    """The error for a primitive that meets a linear operand where it is not linear."""
    return LinearityError(
        message(
            f"primitive '{name}' is not linear in the operand that is to be transposed",
            do="transpose only what is linear in those arguments; a custom_vjp whose bwd is not linear in the "
            "cotangent works in reverse mode only",
        )
    )


class Primitive:
    """Base class. Subclasses state rules; what is left out raises `MissingRuleError` when it is needed."""

    name: str
    # Operands may come as anything that NumPy broadcasts to their type: renderers skip broadcasts there.
    broadcasts: bool = False
    # Cheap scalar arithmetic: equations whose operands are all literals are folded while tracing.
    folds: bool = False
    # Operand whose buffer `write` may overwrite with the output, or None.
    overwrites: int | None = None
    # Operand that `write` takes as anything that NumPy broadcasts to its type, or None.
    spreads: int | None = None
    # Whether the transpose rule writes into the accumulator it is given instead of adding a whole array to it.
    pulls_in_place: bool = False
    # NumPy's infix operator or ufunc for this primitive, where there is one: renderers use them.
    infix: str | None = None
    ufunc: Any = None
    # A cheaper infix operator that differs only where a factor is exactly zero and the other infinite or NaN.
    optimistic: str | None = None
    # Whether integer operands are positions, which may come as Python integers.
    indexes: bool = False
    # Whether the kernel may return an operand or a view of one.
    aliases: bool = False
    # Whether it is computed again rather than kept for a derivative, where that saves memory.
    cheap: bool = False
    # Whether its effects may be STAGED: a builder then records it although no operand is traced.
    staged: bool = False
    # Whether it has one operand and only moves all its elements: the result may be memory of the operand.
    moves: bool = False
    # Whether it holds programs: see Region.
    region: bool = False
    # Whether it has no effects, whatever the types and params: its class leaves `effects` as it is.
    pure: bool = True
    # Params that are shapes, where an equation and what its rules make of it ask of sizes only whether they are 0, 1 or
    # equal: see `sizes`. None: they ask more.
    shapes: tuple[str, ...] | None = None

    def __init_subclass__(cls, **named: Any) -> None:
        super().__init_subclass__(**named)
        cls.pure = cls.effects is Primitive.effects

    def __init__(self, name: str):
        self.name = name
        registry.register(self)

    def __repr__(self) -> str:
        return self.name

    def __call__(self, *xs: Any, **params: Any) -> Any:
        """Apply to arrays or tracers; one output comes bare, several as a tuple."""
        return binder.bind(self, xs, params)

    def _missing(self, rule: str) -> MissingRuleError:
        return MissingRuleError(
            message(f"primitive '{self.name}' has no '{rule}' rule", do=f"define {type(self).__name__}.{rule}")
        )

    def typeof(self, *types: ShapedArray, **params: Any) -> tuple[ShapedArray, ...]:
        """Types of the outputs; raises the error that the user sees."""
        raise self._missing("typeof")

    def effects(self, *types: ShapedArray, **params: Any) -> Effects:
        """What an equation does beside computing its outputs."""
        return NONE

    def resizes(self, *types: ShapedArray, **params: Any) -> bool:
        """Whether `shapes` says how an equation on these types is at other sizes."""
        return self.shapes is not None

    def run(self, *arrays: Any, **params: Any) -> tuple[Any, ...]:
        """The outputs by NumPy: the oracle for everything else."""
        raise self._missing("run")

    def fold(self, *values: Any, **params: Any) -> tuple[Any, ...]:
        """`run` on literals while tracing; may refuse with the error that NumPy raises for Python scalars."""
        return self.run(*values, **params)

    def kernel(self, *types: ShapedArray, **params: Any) -> Callable[..., Any]:
        """`run` specialised to types and params; one output comes bare, and may view an operand."""
        run = self.run
        if len(self.typeof(*types, **params)) == 1:
            return lambda *xs: run(*xs, **params)[0]
        return lambda *xs: run(*xs, **params)

    def write(self, *arrays: Any, **params: Any) -> Any:
        """As `run`, into the buffer of operand `overwrites`."""
        raise self._missing("write")

    def writer(self, *types: ShapedArray, **params: Any) -> Callable[..., Any]:
        """`write` specialised to types and params."""
        write = self.write
        return lambda *xs: write(*xs, **params)

    def tangent(self, tangents: Sequence[Any], outs: Sequence[Any], *xs: Any, **params: Any) -> Sequence[Any]:
        """Tangents of the outputs, linear in `tangents`; absent is None on both sides."""
        raise self._missing("tangent")

    def transpose(self, cts: Sequence[Any], accs: Sequence[Any], *xs: Any, **params: Any) -> Sequence[Any]:
        """New accumulators of the linear operands, from the cotangents of the outputs and the present accumulators."""
        add = space.add
        return tuple(
            acc if c is None else c if acc is None else add(acc, c)
            for acc, c in zip(accs, self.pull(cts, *xs, **params), strict=True)
        )

    def pull(self, cts: Sequence[Any], *xs: Any, **params: Any) -> Sequence[Any]:
        """Contributions to the cotangents of the linear operands (those with `is_linear`), None elsewhere."""
        raise not_linear(self.name)

    def batch(self, size: int, mapped: Sequence[bool], *xs: Any, **params: Any) -> tuple[Sequence[Any], Sequence[bool]]:
        """Outputs and which of them are mapped; mapped operands carry the axis of that size in front."""
        raise self._missing("batch")

    def view(self, *types: ShapedArray, **params: Any) -> tuple[int, ...] | None:
        """For broadcasts: the shape to which the operand is reshaped for NumPy to broadcast it; else None."""
        return None

    def samples(self, draw: Any) -> Any:
        """Operands and params for the property tests: `draw` is Hypothesis' draw function."""
        raise self._missing("samples")


class Region(Primitive):
    """A primitive that holds programs in its params and treats its operands by running them.

    Beside the contract of a leaf it states how whole-program transformations go through it.
    """

    region = True
    staged = True

    def jvp(self, tangents: Sequence[Any], *xs: Any, **params: Any) -> tuple[Sequence[Any], Sequence[Any]]:
        """Outputs and their tangents."""
        raise self._missing("jvp")

    def linearize(
        self, active: Sequence[bool], *xs: Any, **params: Any
    ) -> tuple[Sequence[Any], Sequence[Any], Sequence[bool], Jaxpr]:
        """(outs, residuals, which outs are active, linear program: residuals, active tangents -> active tangents)."""
        raise self._missing("linearize")

    def inside(self, **params: Any) -> Jaxpr | None:
        """The program on all its operands that it runs, where it does nothing else; then that may stand in its place.

        Once derivatives are taken and lanes are mapped: what it says of these is lost.
        """
        return None

    def dependent(self, flags: Sequence[bool], **params: Any) -> Sequence[bool] | None:
        """Which outputs depend on the operands with a flag; None: all."""
        return None

    def pruned(self, e: Eqn, flags: Sequence[bool]) -> Eqn:
        """The equation without the outputs that have no flag, and without operands that the others do not need."""
        return e


class Registry:
    """Primitives by name: `registry.sin(x)` applies `sin`."""

    def __init__(self) -> None:
        self.table: dict[str, Primitive] = {}

    def register(self, primitive: Primitive) -> None:
        if primitive.name in self.table:
            raise ValueError(f"there is a primitive named '{primitive.name}' already")
        self.table[primitive.name] = primitive
        setattr(self, primitive.name, primitive)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # Python asks objects for its own protocols
            raise AttributeError(name)
        raise MissingRuleError(message(f"there is no primitive named '{name}'", do="import the module that defines it"))

    def __iter__(self) -> Any:
        return iter(self.table.values())


class _Binder:
    """Slot that `trace` fills with its `bind`, so that this module need not import it."""

    bind: Callable[[Primitive, tuple[Any, ...], dict[str, Any]], Any]


class Space:
    """What transformations need of values, filled by the primitives that give it.

    `zeros(type)`; `add(a, b)`; `repeat(size, x, type)`: x along a new axis in front; `total(x)`: the sum over it.
    """

    zeros: Callable[[ShapedArray], Any]
    add: Callable[[Any, Any], Any]
    repeat: Callable[[int, Any, ShapedArray], Any]
    total: Callable[[Any], Any]


registry = Registry()
space = Space()
binder = _Binder()
