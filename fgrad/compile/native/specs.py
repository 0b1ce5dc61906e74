"""What arguments must be and results shall be: pytrees of specs, checked in Python or turned into native nodes."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple, Union

import numpy as np

from . import layout
from .library import words
from .program import NativeProgram, size_in_bytes

NUMBERS = {float: layout.FLOAT, int: layout.INT, bool: layout.BOOL, complex: layout.COMPLEX}
NUMBER_DTYPES = {float: ("d", "f"), int: ("q", "l"), bool: ("?",), complex: ("D",)}
SMALLEST, LARGEST = -(2**63), 2**63 - 1


class Array(NamedTuple):
    """An ndarray, contiguous and aligned, of this type: leaf number `leaf`."""

    leaf: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


class Scalar(NamedTuple):
    """A NumPy scalar of exactly this type, such as np.float32."""

    leaf: int
    type: type[np.generic]
    shape = ()

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the array that it becomes."""
        return np.dtype(self.type)


class Number(NamedTuple):
    """A Python number of exactly this type, which becomes an array of this dtype.

    float: float64 or float32; int (not bool, and within 64 bits): int64; bool: bool; complex: complex128.
    """

    leaf: int
    type: type
    dtype: np.dtype[Any]
    shape = ()


class Same(NamedTuple):
    """This very object: a static argument, None, a constant result."""

    value: Any


class Tuple(NamedTuple):
    """A tuple, or a namedtuple of exactly this type."""

    items: tuple[Spec, ...]
    type: type = tuple


class List(NamedTuple):
    """A list of exactly so many items."""

    items: tuple[Spec, ...]


class Dict(NamedTuple):
    """A dict with exactly these keys, in any order; as a result in this order."""

    keys: tuple[Any, ...]
    items: tuple[Spec, ...]


class Result(NamedTuple):
    """Output number `number` of the program."""

    number: int


Spec = Union[Array, Scalar, Number, Same, Tuple, List, Dict, Result]  # noqa: UP007 (the classes refer to it)


def leaves_of(spec: Spec) -> list[Array | Scalar | Number | Result]:
    """The leaves of a spec, from left to right."""
    if isinstance(spec, (Tuple, List, Dict)):
        return [leaf for item in spec.items for leaf in leaves_of(item)]
    return [] if isinstance(spec, Same) else [spec]


def matches(spec: Spec, value: Any, leaves: list[Any]) -> bool:
    """Whether a value is what a spec says; if so, `leaves` has its leaves as arrays. The oracle for native checks."""
    if isinstance(spec, Same):
        return value is spec.value
    if isinstance(spec, Array):
        if type(value) is not np.ndarray or value.shape != spec.shape or value.dtype != spec.dtype:
            return False
        leaves[spec.leaf] = value
        return bool(value.flags.c_contiguous and value.flags.aligned)
    if isinstance(spec, Scalar):
        if type(value) is not spec.type:
            return False
        leaves[spec.leaf] = np.asarray(value)
        return True
    if isinstance(spec, Number):
        if type(value) is not spec.type or (spec.type is int and not SMALLEST <= value <= LARGEST):
            return False
        with np.errstate(over="ignore"):
            leaves[spec.leaf] = np.asarray(value).astype(spec.dtype)
        return True
    if isinstance(spec, Dict):
        if type(value) is not dict or len(value) != len(spec.keys):
            return False
        return all(
            k in value and matches(item, value[k], leaves) for k, item in zip(spec.keys, spec.items, strict=True)
        )
    assert isinstance(spec, (Tuple, List))
    if type(value) is not (spec.type if isinstance(spec, Tuple) else list) or len(value) != len(spec.items):
        return False
    return all(matches(item, part, leaves) for item, part in zip(spec.items, value, strict=True))


def build(spec: Spec, results: Sequence[Any]) -> Any:
    """The tree that a result's spec describes."""
    if isinstance(spec, Result):
        return results[spec.number]
    if isinstance(spec, Same):
        return spec.value
    assert isinstance(spec, (Tuple, List, Dict))
    items = [build(item, results) for item in spec.items]
    if isinstance(spec, Dict):
        return dict(zip(spec.keys, items, strict=True))
    if isinstance(spec, List):
        return items
    return tuple(items) if spec.type is tuple else spec.type._make(items)  # type: ignore[attr-defined]


class Nodes:
    """Turns specs of a program's arguments and results into native nodes, which live as long as it does."""

    def __init__(self, program: NativeProgram) -> None:
        self._program = program
        self._keep: list[Any] = []

    def words(self, *values: int) -> int:
        """Words in memory; their address."""
        array = words(*values)
        self._keep.append(array)
        return ctypes.addressof(array)

    def hold(self, value: Any) -> int:
        """The address of an object, which is kept alive."""
        self._keep.append(value)
        return id(value)

    def argument(self, spec: Spec) -> int:
        """The node of an argument; its address."""
        if isinstance(spec, Array):
            dtype, shape = self.hold(spec.dtype), spec.shape
            size = size_in_bytes(spec.dtype, shape)
            leaf = self._program.leaf(spec.leaf)
            return self.words(layout.ARRAY, id(np.ndarray), *leaf, size, dtype, len(shape), *shape)
        if isinstance(spec, Scalar):
            leaf = self._program.leaf(spec.leaf)
            return self.words(layout.SCALAR, self.hold(spec.type), *leaf, spec.dtype.itemsize)
        if isinstance(spec, Number):
            if spec.dtype.char not in NUMBER_DTYPES[spec.type]:
                raise ValueError(f"no conversion of a Python {spec.type.__name__} to {spec.dtype}")
            return self.words(NUMBERS[spec.type], id(spec.type), *self._program.leaf(spec.leaf), spec.dtype.itemsize)
        if isinstance(spec, Same):
            return self.words(layout.SAME, 0, self.hold(spec.value))
        if isinstance(spec, Result):
            raise ValueError("a result among the arguments")
        items = [self.argument(item) for item in spec.items]
        kind = layout.TUPLE if isinstance(spec, Tuple) else layout.LIST if isinstance(spec, List) else layout.DICT
        cls = spec.type if isinstance(spec, Tuple) else list if isinstance(spec, List) else dict
        return self._container(kind, self.hold(cls), 0, spec, items)

    def result(self, spec: Spec) -> int:
        """The node of a result; its address."""
        if isinstance(spec, Result):
            return self.words(layout.RESULT, 0, self._program.result(spec.number))
        if isinstance(spec, Same):
            return self.words(layout.SAME, 0, self.hold(spec.value))
        if not isinstance(spec, (Tuple, List, Dict)):
            raise ValueError("an argument among the results")
        items = [self.result(item) for item in spec.items]
        if isinstance(spec, Tuple) and spec.type is not tuple:
            make = self.hold(spec.type._make)  # type: ignore[attr-defined]
            return self._container(layout.NAMED, 0, make, spec, items)
        kind = layout.TUPLE if isinstance(spec, Tuple) else layout.LIST if isinstance(spec, List) else layout.DICT
        return self._container(kind, 0, 0, spec, items)

    def _container(self, kind: int, cls: int, maker: int, spec: Tuple | List | Dict, items: list[int]) -> int:
        """The node of a container whose items have nodes already."""
        if isinstance(spec, Dict):
            pairs = [x for key, item in zip(spec.keys, items, strict=True) for x in (self.hold(key), item)]
            return self.words(kind, cls, maker, len(items), *pairs)
        return self.words(kind, cls, maker, len(items), *items)
