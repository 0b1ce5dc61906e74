"""Pytrees: nested containers of arrays, taken apart into leaves and put together again.

Nodes are tuples, lists, dicts (also OrderedDict and defaultdict), deques, namedtuples, None (a node without leaves) and
registered classes; everything else is a leaf. Dict leaves come in the order of the sorted keys, so that two orders of
the same keys are one structure; a structure remembers the order of the dict it was made from, and results have it.
Keys that cannot be sorted stay in insertion order.
"""

from __future__ import annotations

import functools
from builtins import all as every
from builtins import map as each
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import optree

from .errors import TreeError, message
from .nodes import LEAF_TYPES, NAMESPACE, DictKey, FlattenedIndexKey, GetAttrKey, Path, SequenceKey, keystr

Structure = optree.PyTreeSpec
Leaf = Any
IsLeaf = Callable[[Any], bool] | None

_Kind = optree.PyTreeKind
_MAPPINGS = frozenset({_Kind.DICT, _Kind.ORDEREDDICT, _Kind.DEFAULTDICT})
_SHOWN_KEYS = 8
_flatten = functools.partial(optree.tree_flatten, none_is_leaf=False, namespace=NAMESPACE)

LEAF: Structure = optree.treespec_leaf()
"""The structure of a bare leaf."""

_CALLS: tuple[Structure, ...] = tuple(
    optree.treespec_tuple((optree.treespec_tuple((LEAF,) * n), optree.treespec_dict({}))) for n in range(17)
)


def _path_key(kind: optree.PyTreeKind, cls: type | None, entry: Any) -> Any:
    if kind in _MAPPINGS:
        return DictKey(entry)
    if kind is _Kind.NAMEDTUPLE:
        return GetAttrKey(cls._fields[entry])  # type: ignore[union-attr]
    if kind is _Kind.CUSTOM:
        return FlattenedIndexKey(entry) if isinstance(entry, int) else entry
    return SequenceKey(entry)


def _paths(structure: Structure) -> list[Path]:
    return [tuple(_path_key(e.kind, e.type, e.entry) for e in accessor) for accessor in structure.accessors()]


# Taking apart and putting together


def flatten(tree: Any, is_leaf: IsLeaf = None) -> tuple[list[Leaf], Structure]:
    """The leaves of a tree, and its structure.

    `is_leaf(node)` is asked at every node, None included; where it answers True the node is a leaf.
    Structures are hashable and compare equal whatever the order of dict keys was.

    >>> from fgrad import tree
    >>> leaves, structure = tree.flatten({"w": [1.0, 2.0], "b": None})
    >>> leaves, structure.num_leaves
    ([1.0, 2.0], 2)
    >>> tree.unflatten(structure, [3.0, 4.0])
    {'w': [3.0, 4.0], 'b': None}
    """
    if is_leaf is None:
        kind = type(tree)
        if kind in LEAF_TYPES:
            return [tree], LEAF
        # ((leaf, …), {}): the arguments of nearly every call
        if kind is tuple and len(tree) == 2:
            args, kwargs = tree
            if type(args) is tuple and type(kwargs) is dict and not kwargs and len(args) < len(_CALLS):  # noqa: SIM102
                if LEAF_TYPES.issuperset(each(type, args)):
                    return list(args), _CALLS[len(args)]
    return _flatten(tree, is_leaf)


def unflatten(treedef: Structure, leaves: Iterable[Leaf]) -> Any:
    """The tree of structure `treedef` with the given leaves, its dicts in the key order they had.

    Raises TreeError if the number of leaves is wrong.

    >>> from fgrad import tree
    >>> tree.unflatten(tree.structure({"b": 0, "a": 0}), [1, 2])
    {'b': 2, 'a': 1}
    """
    if type(leaves) is not list:
        leaves = list(leaves)
    if len(leaves) != treedef.num_leaves:
        what = f"unflatten: the structure has {_count(treedef.num_leaves, 'leaf', 'leaves')}, not {len(leaves)}"
        raise TreeError(message(what, got=treedef, do="pass one value per leaf, in the order of `leaves`"))
    return treedef.unflatten(leaves)


def leaves(tree: Any, is_leaf: IsLeaf = None) -> list[Leaf]:
    """The leaves of a tree; None has none.

    >>> from fgrad import tree
    >>> tree.leaves({"b": 1, "a": (2, None)})
    [2, 1]
    >>> tree.leaves((2, None), is_leaf=lambda x: x is None)
    [2, None]
    """
    return flatten(tree, is_leaf)[0]


def structure(tree: Any, is_leaf: IsLeaf = None) -> Structure:
    """The structure of a tree: what is left without the leaves.

    >>> from fgrad import tree
    >>> tree.structure({"a": 1, "b": 2}) == tree.structure({"b": 3, "a": 4})
    True
    """
    return flatten(tree, is_leaf)[1]


def flatten_with_path(tree: Any, is_leaf: IsLeaf = None) -> tuple[list[tuple[Path, Leaf]], Structure]:
    """As `flatten`, with each leaf paired with its path.

    >>> from fgrad import tree
    >>> pairs, _ = tree.flatten_with_path({"w": [1.0]})
    >>> pairs
    [((DictKey(key='w'), SequenceKey(idx=0)), 1.0)]
    """
    flat, treedef = flatten(tree, is_leaf)
    return list(zip(_paths(treedef), flat, strict=True)), treedef


def leaves_with_path(tree: Any, is_leaf: IsLeaf = None) -> list[tuple[Path, Leaf]]:
    """The leaves of a tree, each paired with its path.

    >>> from fgrad import tree
    >>> [tree.keystr(path) for path, leaf in tree.leaves_with_path({"w": [1.0, 2.0]})]
    ["['w'][0]", "['w'][1]"]
    """
    return flatten_with_path(tree, is_leaf)[0]


def path_of(treedef: Structure, i: int, skip: int = 0) -> str:
    """Where leaf i stands in a structure, without the first `skip` steps, as `keystr` writes it."""
    return keystr(_paths(treedef)[i][skip:])


# Working on leaves


def map(f: Callable[..., Any], tree: Any, *rest: Any, is_leaf: IsLeaf = None) -> Any:
    """The tree of `f(leaf, *leaves of rest)`.

    The other trees have the structure of the first, or more below its leaves: `f` then receives whole subtrees of them.
    Raises TreeError, which names the first path that differs.

    >>> from fgrad import tree
    >>> tree.map(lambda p, g: p - 0.5 * g, {"w": 1.0, "b": 2.0}, {"b": 4.0, "w": 2.0})
    {'w': 0.0, 'b': 0.0}
    """
    flat, treedef = flatten(tree, is_leaf)
    if not rest:
        return treedef.unflatten([f(x) for x in flat])
    columns = _columns(treedef, rest, "map")
    return treedef.unflatten([f(*xs) for xs in zip(flat, *columns, strict=True)])


def map_with_path(f: Callable[..., Any], tree: Any, *rest: Any, is_leaf: IsLeaf = None) -> Any:
    """The tree of `f(path, leaf, *leaves of rest)`; as `map` otherwise.

    >>> from fgrad import tree
    >>> tree.map_with_path(lambda path, x: tree.keystr(path) if x > 1 else x, {"w": [1, 2]})
    {'w': [1, "['w'][1]"]}
    """
    flat, treedef = flatten(tree, is_leaf)
    columns = _columns(treedef, rest, "map_with_path")
    return treedef.unflatten([f(*xs) for xs in zip(_paths(treedef), flat, *columns, strict=True)])


class _Unset:
    """The type of an argument that was not given; None is a value."""


_UNSET = _Unset()


def reduce(function: Callable[[Any, Any], Any], tree: Any, initializer: Any = _UNSET, is_leaf: IsLeaf = None) -> Any:
    """`functools.reduce` over the leaves.

    Raises TypeError if there are no leaves and no initializer.

    >>> from fgrad import tree
    >>> tree.reduce(lambda total, x: total + x, {"a": 1, "b": (2, 3)}, 0)
    6
    """
    start = () if initializer is _UNSET else (initializer,)
    return functools.reduce(function, leaves(tree, is_leaf), *start)


def all(tree: Any, *, is_leaf: IsLeaf = None) -> bool:
    """Whether every leaf is true; True for a tree without leaves.

    >>> from fgrad import tree
    >>> tree.all({"a": True, "b": (1, 0)})
    False
    """
    return every(leaves(tree, is_leaf))


def transpose(outer_treedef: Structure, inner_treedef: Structure | None, pytree_to_transpose: Any) -> Any:
    """A tree of structure outer ∘ inner turned into inner ∘ outer: a list of records becomes a record of lists.

    With `inner_treedef=None` it is taken from the first subtree. Raises TreeError if the tree is not outer ∘ inner.

    >>> from fgrad import tree
    >>> tree.transpose(tree.structure([0, 0]), None, [{"x": 1, "y": 2}, {"x": 3, "y": 4}])
    {'x': [1, 3], 'y': [2, 4]}
    """
    if inner_treedef is None:
        what = "transpose: the tree does not have the outer structure"
        subtrees = _leaves_up_to(outer_treedef, pytree_to_transpose, what)
        inner_treedef = structure(subtrees[0]) if subtrees else LEAF
    flat, treedef = flatten(pytree_to_transpose)
    expected = outer_treedef.compose(inner_treedef)
    if treedef != expected:
        what = f"transpose: the tree is not outer ∘ inner: {explain_mismatch(expected, pytree_to_transpose)}"
        raise TreeError(message(what, do="let every leaf of the outer structure hold one tree of the inner structure"))
    inner = inner_treedef.num_leaves
    return inner_treedef.unflatten([outer_treedef.unflatten(flat[i::inner]) for i in range(inner)])


def _columns(treedef: Structure, rest: tuple[Any, ...], name: str) -> list[list[Any]]:
    complaint = "{}: tree {} does not have the structure of the first"
    return [_leaves_up_to(treedef, other, complaint.format(name, i)) for i, other in enumerate(rest, 2)]


def _leaves_up_to(treedef: Structure, tree: Any, complaint: str) -> list[Any]:
    try:
        return treedef.flatten_up_to(tree)
    except ValueError:
        difference = explain_mismatch(treedef, tree, prefix=True)
        if not difference:
            raise
    raise TreeError(message(f"{complaint}: {difference}", do="give it the same nodes there; only leaves may hold more"))


# Prefixes


def prefix_leaves(prefix: Any, tree: Any, is_leaf: IsLeaf = None, *, name: str = "the prefix") -> list[Any]:
    """For each leaf of `tree` the leaf of `prefix` above it; `is_leaf` is asked on the prefix.

    Raises TreeError, which calls the prefix by `name`, if a node of the prefix meets something else in the tree.
    """
    given, shape = flatten(prefix, is_leaf)
    full = structure(tree)
    if shape == full:
        return given
    if shape == LEAF:
        return given * full.num_leaves
    spread: list[Any] = [None] * full.num_leaves
    if not _spread(shape, full, 0, iter(given), spread):
        what = f"{name} is not a prefix of its tree: {explain_mismatch(shape, tree, prefix=True)}"
        raise TreeError(message(what, do="give one leaf for a whole subtree, or the same nodes as the tree has there"))
    return spread


def _spread(prefix: Structure, full: Structure, start: int, given: Iterator[Any], out: list[Any]) -> bool:
    """Write each of `given` over the leaves below it; False if `prefix` is no prefix of `full`."""
    if prefix.kind is _Kind.LEAF:
        out[start : start + full.num_leaves] = [next(given)] * full.num_leaves
        return True
    return _same_node(prefix, full, prefix=True) and every(
        _spread(inner, subtree, first, given, out) for _, inner, subtree, first in _paired_children(prefix, full, start)
    )


def broadcast(prefix_tree: Any, full_tree: Any, is_leaf: IsLeaf = None) -> Any:
    """The tree of `full_tree`'s structure in which every leaf is the leaf of `prefix_tree` above it.

    Raises TreeError if `prefix_tree` is not a prefix; `is_leaf` is asked on the prefix.

    >>> from fgrad import tree
    >>> tree.broadcast((0, 1), ({"w": 7, "b": 8}, 9))
    ({'w': 0, 'b': 0}, 1)
    """
    return structure(full_tree).unflatten(prefix_leaves(prefix_tree, full_tree, is_leaf))


# Differences


def explain_mismatch(expected: Any, got: Any, *, name: str = "", prefix: bool = False) -> str:
    """The first path at which two trees or structures differ and what is there in each; "" if they do not differ.

    `name` is what the user calls the tree, written before the path. With `prefix=True` a leaf of `expected` matches any
    subtree and mappings of different types match by their keys.

    >>> explain_mismatch({"w": (1, 2)}, {"w": [1, 2, 3]}, name="params")
    "at params['w']: expected a tuple of 2, got a list of 3"
    """
    wanted = expected if isinstance(expected, Structure) else structure(expected)
    flat, shape = ([], got) if isinstance(got, Structure) else flatten(got)
    found = _first_mismatch(wanted, shape, 0, (), flat, prefix)
    return "" if found is None else f"at {name + keystr(found[0]) or 'the top'}: {found[1]}"


def _first_mismatch(
    expected: Structure, got: Structure, start: int, path: Path, flat: list[Leaf], prefix: bool
) -> tuple[Path, str] | None:
    if expected.kind is _Kind.LEAF and (prefix or got.kind is _Kind.LEAF):
        return None
    if not _same_node(expected, got, prefix=prefix):
        return path, _difference(expected, got, flat[start : start + 1], prefix)
    for key, inner, subtree, first in _paired_children(expected, got, start):
        found = _first_mismatch(inner, subtree, first, (*path, key), flat, prefix)
        if found is not None:
            return found
    return None


def _same_node(expected: Structure, got: Structure, *, prefix: bool) -> bool:
    if prefix and expected.kind in _MAPPINGS and got.kind in _MAPPINGS:
        return set(expected.entries()) == set(got.entries())
    if prefix and expected.kind is got.kind is _Kind.DEQUE:
        return expected.num_children == got.num_children
    return bool(expected.one_level() == got.one_level())


def _paired_children(
    expected: Structure, got: Structure, start: int
) -> Iterator[tuple[Any, Structure, Structure, int]]:
    """Each child of `expected` as (path key, child, its partner in `got`, the number of the partner's first leaf)."""
    entries = expected.entries()
    partners: dict[Any, tuple[Structure, int]] = {}
    by_key = expected.kind in _MAPPINGS
    for label, partner in zip(got.entries() if by_key else range(len(entries)), got.children(), strict=True):
        partners[label] = partner, start
        start += partner.num_leaves
    for position, (entry, child) in enumerate(zip(entries, expected.children(), strict=True)):
        yield _path_key(expected.kind, expected.type, entry), child, *partners[entry if by_key else position]


def _difference(expected: Structure, got: Structure, leaf: list[Leaf], prefix: bool) -> str:
    if expected.kind in _MAPPINGS and (got.kind is expected.kind or (prefix and got.kind in _MAPPINGS)):
        wanted, there = expected.entries(), got.entries()
        missing, unexpected = _without(wanted, there), _without(there, wanted)
        if missing or unexpected:
            problems = (("missing", missing), ("unexpected", unexpected))
            return ", ".join(f"{what} {'key' if len(ks) == 1 else 'keys'} {_listed(ks)}" for what, ks in problems if ks)
    left, right = _describe(expected, []), _describe(got, leaf)
    if left == right:
        left, right = f"{left} with static data {_metadata(expected)!r}", f"one with {_metadata(got)!r}"
    return f"expected {left}, got {right}"


def _describe(structure: Structure, leaf: list[Leaf]) -> str:
    kind = structure.kind
    if kind is _Kind.LEAF:
        return _describe_leaf(leaf[0]) if leaf else "a leaf"
    if kind is _Kind.NONE or structure.type is None:
        return "None"
    noun = _with_article(structure.type.__name__)
    if kind in _MAPPINGS:
        return f"{noun} with keys {_listed(structure.entries())}" if structure.num_children else f"{noun} without keys"
    if kind is _Kind.CUSTOM:
        return f"{noun} with {_count(structure.num_children, 'child', 'children')}"
    return f"{noun} of {structure.num_children}"


def _describe_leaf(leaf: Leaf) -> str:
    if hasattr(leaf, "shape") and hasattr(leaf, "dtype") and not isinstance(leaf, np.generic):
        return _with_article(f"{leaf.dtype}[{','.join(each(str, leaf.shape))}]")
    return _with_article(type(leaf).__name__)


def _metadata(structure: Structure) -> Any:
    node = structure.one_level()
    assert node is not None
    return node.walk([0] * node.num_leaves, lambda cls, metadata, children: metadata)


def _without(keys: Iterable[Any], others: Iterable[Any]) -> list[Any]:
    others = set(others)
    return [key for key in keys if key not in others]


def _listed(keys: Sequence[Any]) -> str:
    text = ", ".join(each(repr, keys[:_SHOWN_KEYS]))
    return text if len(keys) <= _SHOWN_KEYS else f"{text}, … ({len(keys)} in all)"


def _with_article(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def _count(n: int, one: str, many: str) -> str:
    return f"{n} {one if n == 1 else many}"
