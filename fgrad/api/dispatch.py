"""From pytrees to the specs by which native code checks arguments and builds results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..compile.executable import Executable
from ..compile.flat import argument_leaf
from ..compile.native.entry import Entry
from ..compile.native.specs import Dict, List, Result, Same, Spec, Tuple
from ..core import tree


class _Leaf:
    """Stands for a leaf, by number, while a structure is turned into a spec."""

    __slots__ = ("number",)

    def __init__(self, number: int):
        self.number = number


class Opaque(Exception):
    """A structure that native code cannot take apart or build: a user's own class."""


def structure(value: Any, leaf: Callable[[int], Spec], other: Callable[[Any], Spec]) -> Spec:
    """The spec of a tree with `_Leaf`s; `other` says what becomes of an object that is no container of Python's."""
    cls = type(value)
    if cls is _Leaf:
        return leaf(value.number)
    if value is None:
        return Same(None)
    if cls is list:
        return List(tuple([structure(v, leaf, other) for v in value]))
    if cls is dict:
        return Dict(tuple(value), tuple([structure(v, leaf, other) for v in value.values()]))
    if cls is tuple or (isinstance(value, tuple) and hasattr(cls, "_make") and hasattr(cls, "_fields")):
        return Tuple(tuple([structure(v, leaf, other) for v in value]), cls)
    return other(value)


def _opaque(value: Any) -> Spec:
    raise Opaque


def entry_for(executable: Executable, marked: Any, out_tree: Any, static: type, known: set[Any]) -> Entry | None:
    """A native entry for arguments like these (static ones marked by the class `static`); None where it cannot be.

    `known`: the arguments that have an entry already, to which these are added. What it does not take, such as arrays
    that are not contiguous, comes here at every call; so do all arguments of programs with effects that are kept.
    """
    if executable.kept:
        return None
    raw, in_tree = tree.flatten(marked)
    placed = tree.unflatten(in_tree, [_Leaf(i) for i in range(len(raw))])

    def fixed(value: Any) -> Spec:
        if type(value) is not static:
            raise Opaque
        return Same(value.value)

    def leaf(number: int) -> Spec:
        spec = argument_leaf(number, raw[number])
        if spec is None:
            raise Opaque
        return spec

    try:
        args = [structure(v, leaf, fixed) for v in placed[0]]
        kwargs = {k: structure(v, leaf, fixed) for k, v in placed[1].items()}
    except Opaque:
        return None
    key = (*args, *kwargs.items())
    if key in known:
        return None
    known.add(key)
    result, unflatten = result_spec(out_tree, len(executable.jaxpr.outputs))
    return Entry(args, kwargs, executable.program, result, executable.failed, unflatten)


def result_spec(out_tree: Any, count: int) -> tuple[Spec, Callable[[Any], Any] | None]:
    """The spec of a result, and the function that its flat tuple goes through where native code cannot build it."""
    try:
        return structure(tree.unflatten(out_tree, [_Leaf(i) for i in range(count)]), Result, _opaque), None
    except Opaque:
        return Tuple(tuple([Result(i) for i in range(count)])), lambda flat: tree.unflatten(out_tree, flat)
