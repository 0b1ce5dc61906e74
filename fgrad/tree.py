"""Pytrees: functions on nested containers of arrays, with the names and signatures of `jax.tree`.

A pytree is any nesting of tuples, lists, dicts, OrderedDicts, defaultdicts, deques, namedtuples, None and classes
registered here; everything else is a leaf. None is a node without leaves. Results keep the key order of the user's
dicts, and two orders of the same (sortable) keys are one structure, with the leaves in the order of the sorted keys.

>>> from fgrad import tree
>>> params = {"w": [1.0, 2.0], "b": None}
>>> tree.map(lambda x: 10 * x, params)
{'w': [10.0, 20.0], 'b': None}
>>> tree.leaves(params)
[1.0, 2.0]

A class becomes a node where it is defined:

>>> from dataclasses import dataclass
>>> @tree.register_dataclass
... @dataclass
... class Dense:
...     weight: float
...     name: str = tree.static(default="dense")
>>> tree.map(lambda x: x + 1, [Dense(1.0), Dense(2.0, "out")])
[Dense(weight=2.0, name='dense'), Dense(weight=3.0, name='out')]

Structures that differ are an error, a TreeError, which names the first path at which they do:

>>> try:
...     tree.map(max, {"w": [1, 2]}, {"w": [1, 2, 3]})
... except ValueError as error:
...     print(str(error).splitlines()[0])
map: tree 2 does not have the structure of the first: at ['w']: expected a list of 2, got a list of 3
"""

from .core.nodes import (
    keystr,
    register_dataclass,
    register_pytree_node,
    register_pytree_node_class,
    register_pytree_with_keys,
    register_pytree_with_keys_class,
    register_static,
    static,
)
from .core.tree import (
    all,
    broadcast,
    flatten,
    flatten_with_path,
    leaves,
    leaves_with_path,
    map,
    map_with_path,
    reduce,
    structure,
    transpose,
    unflatten,
)

__all__ = [
    "all",
    "broadcast",
    "flatten",
    "flatten_with_path",
    "keystr",
    "leaves",
    "leaves_with_path",
    "map",
    "map_with_path",
    "reduce",
    "register_dataclass",
    "register_pytree_node",
    "register_pytree_node_class",
    "register_pytree_with_keys",
    "register_pytree_with_keys_class",
    "register_static",
    "static",
    "structure",
    "transpose",
    "unflatten",
]
