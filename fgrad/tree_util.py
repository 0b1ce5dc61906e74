"""The names of `jax.tree_util` for what `fgrad.tree` does, and `Partial`.

>>> from fgrad import tree_util
>>> tree_util.tree_map(lambda x: x + 1, (1, [2]))
(2, [3])
"""

from __future__ import annotations

import functools
from typing import Any

from .core.nodes import (
    DictKey,
    FlattenedIndexKey,
    GetAttrKey,
    SequenceKey,
    keystr,
    register_dataclass,
    register_pytree_node,
    register_pytree_node_class,
    register_pytree_with_keys,
    register_pytree_with_keys_class,
    register_static,
)
from .core.tree import Structure as PyTreeDef
from .core.tree import all as tree_all
from .core.tree import broadcast as tree_broadcast
from .core.tree import flatten as tree_flatten
from .core.tree import flatten_with_path as tree_flatten_with_path
from .core.tree import leaves as tree_leaves
from .core.tree import leaves_with_path as tree_leaves_with_path
from .core.tree import map as tree_map
from .core.tree import map_with_path as tree_map_with_path
from .core.tree import reduce as tree_reduce
from .core.tree import structure as tree_structure
from .core.tree import transpose as tree_transpose
from .core.tree import unflatten as tree_unflatten

__all__ = [
    "DictKey",
    "FlattenedIndexKey",
    "GetAttrKey",
    "Partial",
    "PyTreeDef",
    "SequenceKey",
    "keystr",
    "register_dataclass",
    "register_pytree_node",
    "register_pytree_node_class",
    "register_pytree_with_keys",
    "register_pytree_with_keys_class",
    "register_static",
    "tree_all",
    "tree_broadcast",
    "tree_flatten",
    "tree_flatten_with_path",
    "tree_leaves",
    "tree_leaves_with_path",
    "tree_map",
    "tree_map_with_path",
    "tree_reduce",
    "tree_structure",
    "tree_transpose",
    "tree_unflatten",
]


class Partial(functools.partial[Any]):
    """`functools.partial` as a pytree: the function is static, the bound arguments are children.

    So a function with bound arrays can be passed to, and returned from, a transformed function.

    >>> from fgrad.tree_util import Partial, tree_leaves, tree_map
    >>> scale = Partial(lambda a, x: a * x, 3.0)
    >>> scale(2.0), tree_leaves(scale)
    (6.0, [3.0])
    >>> tree_map(lambda a: -a, scale)(2.0)
    -6.0
    """


register_pytree_node(
    Partial,
    lambda partial: ((partial.args, partial.keywords), partial.func),
    lambda func, children: Partial(func, *children[0], **children[1]),
)
