"""The intermediate representation: a `Jaxpr` is a list of strict equations in single-assignment form.

    { a:float64[3] .            inputs (captured constants first)
      b:float64[3] = sin a      equations: primitive, operands, params, a tuple of outputs
      in (b) }                  outputs

Constants and captures belong to the `Jaxpr`: its leading inputs are bound to `consts`. Params are hashable and hold no
arrays and no functions, so a program with no consts is itself a legal param: that is how regions hold their bodies.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from .effects import NONE, Effects
from .show import show
from .types import ShapedArray, shaped

if TYPE_CHECKING:
    from .errors import Site
    from .primitive import Primitive


class Var:
    """A value of the program; identity is its name."""

    __slots__ = ("type",)

    def __init__(self, type: ShapedArray):
        self.type = type


class Literal:
    """A scalar known when the program was traced, held as a NumPy scalar of its type."""

    __slots__ = ("type", "value")

    def __init__(self, value: Any, type: ShapedArray | None = None):
        self.type = type if type is not None else shaped((), np.asarray(value).dtype)
        self.value = self.type.dtype.type(value)

    @property
    def key(self) -> tuple[str, bytes]:
        """Content for comparisons: 0.0, -0.0 and False differ here, as Python keys they would not."""
        return (self.type.dtype.str, self.value.tobytes())


Atom: TypeAlias = "Var | Literal"


class Eqn:
    """`outputs = primitive[params](inputs)`; `origin` is a row of the side table of source lines."""

    __slots__ = ("inputs", "origin", "outputs", "params", "primitive")

    def __init__(
        self,
        primitive: Primitive,
        inputs: Sequence[Atom],
        params: dict[str, Any],
        outputs: Sequence[Var],
        origin: int = -1,
    ):
        self.primitive = primitive
        self.inputs = tuple(inputs)
        self.params = params
        self.outputs = tuple(outputs)
        self.origin = origin

    @property
    def effects(self) -> Effects:
        """Effects of this equation."""
        p = self.primitive
        return NONE if p.pure else p.effects(*[a.type for a in self.inputs], **self.params)


class Jaxpr:
    """A program. `consts` are the values of the first inputs (ndarrays, or tracers of an outer trace)."""

    def __init__(
        self,
        inputs: Sequence[Var],
        eqns: Sequence[Eqn],
        outputs: Sequence[Atom],
        consts: Sequence[Any] = (),
        sites: Sequence[Site | None] = (),
    ):
        self.inputs = tuple(inputs)
        self.eqns = tuple(eqns)
        self.outputs = tuple(outputs)
        self.consts = tuple(consts)
        self.sites = sites
        self.derived: dict[Any, Any] = {}  # what transformations and renderers made of this program, by their own keys

    @property
    def in_types(self) -> tuple[ShapedArray, ...]:
        """Types of the inputs that a caller gives (those behind the consts)."""
        return tuple(v.type for v in self.inputs[len(self.consts) :])

    @cached_property
    def out_types(self) -> tuple[ShapedArray, ...]:
        """Types of the outputs."""
        return tuple(a.type for a in self.outputs)

    @cached_property
    def effects(self) -> Effects:
        """Union of the effects of the equations."""
        return NONE.union(*[e.effects for e in self.eqns if not e.primitive.pure])

    def closed(self) -> Jaxpr:
        """The same program with its consts turned into ordinary leading inputs."""
        return self if not self.consts else Jaxpr(self.inputs, self.eqns, self.outputs, (), self.sites)

    @cached_property
    def key(self) -> tuple[Any, ...]:
        """A flat tuple that two programs share exactly if they are the same up to names and source lines."""
        number: dict[Var, int] = {}
        flat: list[Any] = []
        for v in self.inputs:
            number[v] = len(number)
            flat.append(v.type)

        def put(atoms: Sequence[Atom]) -> None:
            for a in atoms:
                flat.append(number[a] if isinstance(a, Var) else a.key)

        for e in self.eqns:
            flat.append(e.primitive)
            put(e.inputs)
            flat.extend(e.params.items())
            for v in e.outputs:
                number[v] = len(number)
                flat.append(v.type)
        put(self.outputs)
        flat.extend(id(c) for c in self.consts)
        return tuple(flat)

    @cached_property
    def _hash(self) -> int:
        return hash(self.key)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Jaxpr) and hash(self) == hash(other) and self.key == other.key)

    def __str__(self) -> str:
        return show(self)

    __repr__ = __str__
