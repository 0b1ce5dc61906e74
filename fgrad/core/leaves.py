"""What goes in and comes out of transformed functions: checked leaves in, arrays that are the user's own out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .errors import LeafError, message
from .handles import LOCAL, settled, untouched
from .trace import Tracer, peek, state
from .tree import path_of
from .types import canonical


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


def checked(leaves: Sequence[Any], treedef: Any, what: str, skip: int = 0, settling: bool = True) -> list[Any]:
    """Leaves as tracers, native arrays or Python scalars; `LeafError` names the path of what is none of these.

    Unless `settling`, arrays that belong to no trace stay tracers, so that results will be such arrays too.
    """
    out = []
    for i, x in enumerate(leaves):
        if type(x) is Tracer:
            out.append(settled(x) if settling or x.owner is not LOCAL else x)
            continue
        try:
            out.append(canonical(x))
        except LeafError as error:
            if hasattr(type(x), "refuse"):  # what stands for no array says so itself
                x.refuse()
            raise LeafError(f"{what}{path_of(treedef, i, skip)}: {error}") from None
    return out


def known(leaves: Sequence[Any]) -> Sequence[Any]:
    """The values of leaves where all of them have one and no program is traced; else the leaves as they are."""
    if state.builder is None:
        values = [peek(x) for x in leaves]
        if all(v is not None for v in values):
            return values
    return leaves


def described(x: Any) -> str:
    """What a function returned, for error texts."""
    if type(x) is Tracer:
        return f"a traced {x.aval}"
    if isinstance(x, tuple | list):
        return f"a {type(x).__name__} of {len(x)}"
    return f"an object of class {type(x).__name__}"


class Own:
    """Makes results the caller's own: fresh, writable, C-contiguous, sharing memory with nothing."""

    __slots__ = ("seen",)

    def __init__(self, inputs: Sequence[Any] = ()):
        self.seen = {id(x) for x in inputs}

    def __call__(self, x: Any) -> Any:
        if type(x) is np.float64:
            return x
        if type(x) is np.ndarray:
            if x.ndim == 0:
                return x[()]
            if x.base is not None or not x.flags.carray or id(x) in self.seen:
                x = np.array(x, order="C")
            self.seen.add(id(x))
            return x
        if type(x) is Tracer:
            return untouched(x)
        if isinstance(x, np.generic):
            return x
        return np.asarray(x)[()]

    def copied(self, x: Any) -> Any:
        """`x` where somebody else holds it too: the function under transformation, or a tape that outlives the call."""
        return np.array(x, order="C")[()] if isinstance(x, np.ndarray) else self(x)


def check_callable(f: Any, transformation: str) -> None:
    """TypeError unless `f` is a function."""
    if not callable(f):
        remedy = f"write {transformation}(f), not {transformation}(f(x))"
        raise TypeError(message(f"{transformation} takes a function", got=type(f).__name__, do=remedy))


def name_of(f: Callable[..., Any]) -> str:
    """A function's name for people."""
    return getattr(f, "__name__", None) or type(f).__name__
