"""What is a node of a pytree: the registry of node classes, and the keys that name children in paths."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import numpy as np
import optree

from .errors import TreeError, message

NAMESPACE = "fgrad"

Cls = TypeVar("Cls", bound=type)
Path = tuple[Any, ...]

LEAF_TYPES: set[type] = {np.ndarray, float, int, bool, complex, np.float64, np.float32, np.int64, np.int32, np.bool_}
"""Types known to be leaves, flattened without a look at the registry; the tracer type is added where it is defined."""


# Keys


@dataclasses.dataclass(frozen=True, slots=True)
class SequenceKey:
    """The step of a path into a tuple, list or deque, at position `idx`."""

    idx: int

    def __str__(self) -> str:
        return f"[{self.idx}]"


@dataclasses.dataclass(frozen=True, slots=True)
class DictKey:
    """The step of a path into a dict, at `key`."""

    key: Any

    def __str__(self) -> str:
        return f"[{self.key!r}]"


@dataclasses.dataclass(frozen=True, slots=True)
class GetAttrKey:
    """The step of a path into a namedtuple or registered dataclass, at the field `name`."""

    name: str

    def __str__(self) -> str:
        return f".{self.name}"


@dataclasses.dataclass(frozen=True, slots=True)
class FlattenedIndexKey:
    """The step of a path into the child number `key` of a registered class that does not name its children."""

    key: int

    def __str__(self) -> str:
        return f"[<flat index {self.key}>]"


def keystr(keys: Path, *, simple: bool = False, separator: str = "") -> str:
    """The text of a path, as one would write it behind the tree's name.

    With `simple=True` only the bare keys, joined by `separator`.

    >>> from fgrad import tree
    >>> [(path, leaf)] = tree.leaves_with_path({"w": [2.0]})
    >>> tree.keystr(path), tree.keystr(path, simple=True, separator="/")
    ("['w'][0]", 'w/0')
    """
    return separator.join(_bare(key) if simple else str(key) for key in keys)


def _bare(key: Any) -> str:
    match key:
        case SequenceKey(value) | DictKey(value) | GetAttrKey(value) | FlattenedIndexKey(value):
            return str(value)
    return str(key)


# Registration


def register_pytree_node(
    nodetype: type,
    flatten_func: Callable[[Any], tuple[Iterable[Any], Any]],
    unflatten_func: Callable[[Any, Any], Any],
    flatten_with_keys_func: Callable[[Any], tuple[Iterable[tuple[Any, Any]], Any]] | None = None,
) -> None:
    """Make the instances of a class nodes.

    `flatten_func(node) -> (children, aux)`, with `aux` hashable and comparable, and `unflatten_func(aux, children)`.
    `flatten_with_keys_func(node) -> ((path key, child) pairs, aux)`, where given, names the children in paths.
    Raises TreeError if the class is a node already, TypeError if it is no class.

    >>> from fgrad import tree
    >>> class Interval:
    ...     def __init__(self, low, high):
    ...         self.low, self.high = low, high
    >>> tree.register_pytree_node(Interval, lambda i: ((i.low, i.high), None), lambda aux, ends: Interval(*ends))
    >>> tree.leaves([Interval(1.0, 2.0), 3.0])
    [1.0, 2.0, 3.0]
    """

    def flatten_named(node: Any) -> tuple[Iterable[Any], Any, Iterable[Any]]:
        pairs, aux = flatten_with_keys_func(node)  # type: ignore[misc]
        pairs = tuple(pairs)
        return tuple(child for _, child in pairs), aux, tuple(key for key, _ in pairs)

    _register(nodetype, flatten_func if flatten_with_keys_func is None else flatten_named, unflatten_func)


def _register(cls: type, flatten_func: Callable[[Any], Any], unflatten_func: Callable[[Any, Any], Any]) -> None:
    if not isinstance(cls, type):
        raise TypeError(message("only a class can be registered as a pytree node", got=repr(cls)))
    try:
        with warnings.catch_warnings():
            # overriding how a namedtuple flattens is what the caller asked for
            warnings.simplefilter("ignore", UserWarning)
            optree.register_pytree_node(
                cls, flatten_func, unflatten_func, path_entry_type=optree.FlattenedEntry, namespace=NAMESPACE
            )
    except ValueError:
        what = f"{cls.__qualname__} is a pytree node already"
        raise TreeError(message(what, do="register a class once, where it is defined")) from None
    LEAF_TYPES.discard(cls)


def register_pytree_with_keys(
    nodetype: type,
    flatten_with_keys: Callable[[Any], tuple[Iterable[tuple[Any, Any]], Any]],
    unflatten_func: Callable[[Any, Any], Any],
    flatten_func: Callable[[Any], tuple[Iterable[Any], Any]] | None = None,
) -> None:
    """As `register_pytree_node`, for a class whose children have names.

    `flatten_with_keys(node) -> ((path key, child) pairs, aux)`. `flatten_func` is for programs written for JAX: it is
    taken and not called.
    """
    register_pytree_node(nodetype, flatten_func or flatten_with_keys, unflatten_func, flatten_with_keys)


def register_pytree_node_class(cls: Cls) -> Cls:
    """Class decorator: nodes by the methods `tree_flatten(self)` and `tree_unflatten(cls, aux, children)`.

    >>> from fgrad import tree
    >>> @tree.register_pytree_node_class
    ... class Scaled:
    ...     def __init__(self, value, unit):
    ...         self.value, self.unit = value, unit
    ...     def tree_flatten(self):
    ...         return (self.value,), self.unit
    ...     @classmethod
    ...     def tree_unflatten(cls, unit, children):
    ...         return cls(*children, unit)
    >>> tree.map(lambda x: 2 * x, Scaled(3.0, "m")).value
    6.0
    """
    register_pytree_node(cls, cls.tree_flatten, cls.tree_unflatten)  # type: ignore[attr-defined]
    return cls


def register_pytree_with_keys_class(cls: Cls) -> Cls:
    """Class decorator: as `register_pytree_node_class`, with `tree_flatten_with_keys(self)` naming the children."""
    register_pytree_with_keys(cls, cls.tree_flatten_with_keys, cls.tree_unflatten)  # type: ignore[attr-defined]
    return cls


def register_dataclass(
    nodetype: Cls,
    data_fields: Sequence[str] | None = None,
    meta_fields: Sequence[str] | None = None,
    drop_fields: Sequence[str] = (),
) -> Cls:
    """Make a dataclass a node with children `data_fields` and static data `meta_fields`; returns the class.

    Without the two lists, fields made by `static()` are static data and the other init fields are children. Fields of
    `drop_fields` are left out. The class is built again by keywords. Values of static fields are hashable.
    Raises TreeError if the lists are not just the init fields, TypeError if they are missing for another class.

    >>> import dataclasses
    >>> from fgrad import tree
    >>> @tree.register_dataclass
    ... @dataclasses.dataclass
    ... class Layer:
    ...     w: float
    ...     activation: str = tree.static(default="relu")
    >>> tree.map(lambda x: -x, Layer(1.0, "tanh"))
    Layer(w=-1.0, activation='tanh')
    """
    if (data_fields is None) != (meta_fields is None):
        raise TypeError(message("register_dataclass: give both data_fields and meta_fields, or neither"))
    if dataclasses.is_dataclass(nodetype):
        fields = [f for f in dataclasses.fields(nodetype) if f.init and f.name not in drop_fields]
        names = {f.name for f in fields}
        if data_fields is None or meta_fields is None:
            data_fields = [f.name for f in fields if not f.metadata.get("static", False)]
            meta_fields = [f.name for f in fields if f.metadata.get("static", False)]
        elif names != {*data_fields, *meta_fields} or len(names) != len(data_fields) + len(meta_fields):
            what = f"register_dataclass: the two lists must hold each init field of {nodetype.__name__} once"
            got = f"data_fields={list(data_fields)}, meta_fields={list(meta_fields)}"
            raise TreeError(message(what, got=got, do=f"the fields are {sorted(names)}"))
    elif data_fields is None or meta_fields is None:
        what = f"register_dataclass: {nodetype!r} is no dataclass"
        raise TypeError(message(what, do="put the decorator above @dataclass, or name data_fields and meta_fields"))

    data, meta = tuple(data_fields), tuple(meta_fields)
    keys = tuple(map(GetAttrKey, data))

    def flatten_fields(node: Any) -> tuple[tuple[Any, ...], tuple[Any, ...], tuple[GetAttrKey, ...]]:
        return tuple(getattr(node, name) for name in data), tuple(getattr(node, name) for name in meta), keys

    def unflatten_fields(aux: tuple[Any, ...], children: Iterable[Any]) -> Any:
        return nodetype(**dict(zip(data, children, strict=True)), **dict(zip(meta, aux, strict=True)))

    _register(nodetype, flatten_fields, unflatten_fields)
    return nodetype


def static(**kwargs: Any) -> Any:
    """`dataclasses.field(**kwargs)` for a field that `register_dataclass` takes as static data."""
    return dataclasses.field(**{**kwargs, "metadata": {**kwargs.get("metadata", {}), "static": True}})


def register_static(cls: Cls) -> Cls:
    """Class decorator: instances are nodes without leaves, part of the structure; they must be hashable and comparable.

    >>> from fgrad import tree
    >>> @tree.register_static
    ... class Mode(str):
    ...     pass
    >>> tree.leaves([Mode("train"), 1.0])
    [1.0]
    """
    _register(cls, lambda node: ((), node), lambda node, children: node)
    return cls
