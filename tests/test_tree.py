"""Pytrees: round trips, key order, registration, the texts of errors. JAX 0.10.2 made the golden values that say so."""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections import OrderedDict, defaultdict, deque, namedtuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fgrad import tree, tree_util
from fgrad.core.errors import FgradError, TreeError
from fgrad.core.nodes import LEAF_TYPES
from fgrad.core.tree import explain_mismatch, prefix_leaves

Point = namedtuple("Point", "x y")
keys = st.text("abcd", max_size=2) | st.integers(-2, 2) | st.booleans()
trees = st.recursive(
    st.integers() | st.just(None),
    lambda children: st.one_of(
        st.lists(children, max_size=3),
        st.lists(children, max_size=3).map(tuple),
        st.lists(children, max_size=3).map(deque),
        st.tuples(children, children).map(lambda xy: Point(*xy)),
        st.dictionaries(keys, children, max_size=3),
        st.dictionaries(keys, children, max_size=3).map(OrderedDict),
        st.dictionaries(keys, children, max_size=3).map(lambda d: defaultdict(list, d)),
    ),
    max_leaves=12,
)


@tree.register_dataclass
@dataclasses.dataclass
class Dense:
    w: object
    b: object = 0.0
    activation: str = tree.static(default="relu")


@functools.partial(tree.register_dataclass, data_fields=["w"], meta_fields=["name"])
@dataclasses.dataclass
class Named:
    w: object
    name: str


@tree.register_pytree_node_class
class Pair:
    def __init__(self, a, b, tag):
        self.a, self.b, self.tag = a, b, tag

    def tree_flatten(self):
        return (self.a, self.b), self.tag

    @classmethod
    def tree_unflatten(cls, tag, children):
        return cls(*children, tag)


class Keyed:
    def __init__(self, low, high):
        self.low, self.high = low, high


tree.register_pytree_with_keys(
    Keyed,
    lambda k: (((tree_util.GetAttrKey("low"), k.low), (tree_util.DictKey("hi"), k.high)), None),
    lambda aux, children: Keyed(*children),
)


@tree.register_static
class Mode(str):
    pass


def shuffled(t, turn):
    """The same tree with every plain dict's keys in another order."""
    if isinstance(t, Point):
        return Point(*(shuffled(x, turn) for x in t))
    if type(t) in (list, tuple, deque):
        return type(t)(shuffled(x, turn) for x in t)
    if type(t) is dict:
        items = list(t.items())
        turn %= max(len(items), 1)
        return {k: shuffled(x, turn) for k, x in items[turn:] + items[:turn]}
    return t


def same(a, b):
    """Equal, of the same types, keys in the same order."""
    return repr(a) == repr(b)


# Round trips


@given(trees)
def test_unflatten_inverts_flatten_with_types_and_key_order(t):
    leaves, structure = tree.flatten(t)
    assert structure.num_leaves == len(leaves)
    assert same(tree.unflatten(structure, leaves), t)
    assert same(tree.map(lambda x: x, t), t)
    assert None not in leaves


@given(trees)
def test_none_can_be_made_a_leaf(t):
    leaves, structure = tree.flatten(t, is_leaf=lambda x: x is None)
    assert leaves.count(None) == repr(t).count("None")
    assert same(tree.unflatten(structure, leaves), t)


@given(trees, st.integers(0, 2))
def test_dicts_in_two_orders_are_one_structure(t, turn):
    other = shuffled(t, turn)
    (leaves, structure), (leaves2, structure2) = tree.flatten(t), tree.flatten(other)
    assert structure == structure2 and hash(structure) == hash(structure2)
    assert leaves == leaves2
    assert explain_mismatch(t, other) == ""
    assert same(tree.map(lambda a, b: a, t, other), t)
    assert same(tree.map(lambda a, b: a, other, t), other)


@given(trees)
def test_paths_lead_to_the_leaves(t):
    for path, leaf in tree.leaves_with_path(t):
        node = t
        for key in path:
            match key:
                case tree_util.GetAttrKey(name):
                    node = getattr(node, name)
                case tree_util.SequenceKey(step) | tree_util.DictKey(step):
                    node = node[step]
        assert node is leaf
    assert [leaf for _, leaf in tree.leaves_with_path(t)] == tree.leaves(t)


@given(trees, trees)
def test_a_mismatch_is_explained_exactly_where_structures_differ(a, b):
    assert (explain_mismatch(a, b) == "") == (tree.structure(a) == tree.structure(b))


@given(trees)
def test_a_tree_broadcasts_to_itself_and_a_leaf_to_anything(t):
    assert prefix_leaves(t, t) == tree.leaves(t)
    assert prefix_leaves(7, t) == [7] * len(tree.leaves(t))


@pytest.mark.parametrize("args", [(), (1.0,), (np.ones(2), 3), ([1], 2), (None,), tuple(range(40))])
@pytest.mark.parametrize("kwargs", [{}, {"k": 1}])
def test_the_fast_path_for_calls_is_the_general_one(args, kwargs):
    call = (args, kwargs)
    leaves, structure = tree.flatten(call)
    general, general_structure = tree.flatten(call, is_leaf=lambda x: False)
    assert len(leaves) == len(general) and all(a is b for a, b in zip(leaves, general, strict=True))
    assert structure == general_structure and hash(structure) == hash(general_structure)
    assert same(tree.unflatten(structure, leaves), call)


@pytest.mark.parametrize(
    "leaf",
    [np.array([np.nan, -0.0]), np.zeros((0, 3)), np.float32(2), 1, True, 2j, "text", np.array("x"), object(), {1}],
)
def test_other_values_are_leaves_and_pass_unchanged(leaf):
    leaves, structure = tree.flatten(leaf)
    assert leaves == [leaf] if not isinstance(leaf, np.ndarray) else leaves[0] is leaf
    assert tree.unflatten(structure, leaves) is leaf
    assert structure == tree.structure(0)


def test_subclasses_of_dict_and_list_are_leaves():
    class Config(dict):
        pass

    class Rows(list):
        pass

    assert tree.leaves([Config(a=1), Rows([2])]) == [Config(a=1), Rows([2])]


def test_containers_keep_what_they_have_besides_items():
    t = (deque([1, 2], maxlen=3), defaultdict(list, b=1, a=2))
    back = tree.map(lambda x: x, t)
    assert back[0].maxlen == 3 and back[1].default_factory is list and list(back[1]) == ["b", "a"]


def test_leaf_order_is_that_of_sorted_keys_but_for_ordered_dicts():
    # JAX 0.10.2: [2, 1], [1, 2], [2, 1]
    assert tree.leaves({"b": 1, "a": 2}) == [2, 1]
    assert tree.leaves(OrderedDict(b=1, a=2)) == [1, 2]
    assert tree.leaves(defaultdict(int, b=1, a=2)) == [2, 1]


def test_mixed_keys_and_keys_without_an_order():
    assert tree.structure({1: 0, "a": 0, None: 0}) == tree.structure({"a": 0, None: 0, 1: 0})
    Color = enum.Enum("Color", "RED BLUE")
    t, u = {Color.RED: 1, Color.BLUE: 2}, {Color.BLUE: 20, Color.RED: 10}
    assert tree.map(lambda a, b: (a, b), t, u) == {Color.RED: (1, 10), Color.BLUE: (2, 20)}
    assert prefix_leaves(t, u) == [2, 1]
    assert prefix_leaves(t, {Color.BLUE: (0, 0), Color.RED: 0}) == [2, 2, 1]


# Functions


def test_map_hands_on_what_lies_below_the_first_trees_leaves():
    assert tree.map(lambda a, b: b, {"a": 1, "n": None}, {"n": None, "a": {"deep": 2}}) == {"a": {"deep": 2}, "n": None}
    assert tree.map(lambda a, b: b, [1], [None]) == [None]
    assert tree.map(lambda a, b: (a, b), [None, 1], [2, 3], is_leaf=lambda x: x is None) == [(None, 2), (1, 3)]
    assert tree.map(lambda a, b: b, {"a": 1, "b": 2}, OrderedDict(b=20, a=10)) == {"a": 10, "b": 20}


def test_reduce_and_all():
    assert tree.reduce(lambda a, b: a - b, {"b": 1, "a": 10}) == 9
    assert tree.reduce(lambda a, b: a + [b], (1, (2,)), []) == [1, 2]
    assert tree.reduce(lambda a, b: b, None, None) is None
    assert tree.reduce(lambda a, b: b, (1, None), is_leaf=lambda x: x is None) is None
    with pytest.raises(TypeError, match="empty"):
        tree.reduce(max, ())
    assert tree.all(()) and tree.all([1, True]) and not tree.all([1, np.float64(-0.0)])


@pytest.mark.parametrize("inner", [None, {"y": 0, "x": (0, 0)}])
def test_transpose(inner):
    records = [{"x": (i, -i), "y": 10 * i} for i in range(3)]
    structure = None if inner is None else tree.structure(inner)
    got = tree.transpose(tree.structure([0, 0, 0]), structure, records)
    assert got == {"x": ([0, 1, 2], [0, -1, -2]), "y": [0, 10, 20]}
    back = tree.transpose(tree.structure(records[0]), tree.structure([0] * 3), got)
    assert back == records


def test_keystr_is_jaxs():
    t = {"a": [1, Point(2, 3)], 4: {("t", 1): 5}, "k": Keyed(6, 7), "p": Pair(8, 9, "tag"), "d": Dense(1)}
    paths = [path for path, _ in tree.leaves_with_path({"z": t["a"], "k": t["k"], "p": t["p"], "d": t["d"]})]
    # JAX 0.10.2, on the same classes registered in the same way
    assert [tree.keystr(p) for p in paths] == [
        "['d'].w", "['d'].b", "['k'].low", "['k']['hi']", "['p'][<flat index 0>]", "['p'][<flat index 1>]",
        "['z'][0]", "['z'][1].x", "['z'][1].y",
    ]  # fmt: skip
    assert [tree.keystr(p, simple=True, separator="/") for p in paths] == [
        "d/w", "d/b", "k/low", "k/hi", "p/0", "p/1", "z/0", "z/1/x", "z/1/y",
    ]  # fmt: skip
    assert tree.keystr(()) == ""


def test_map_with_path():
    got = tree.map_with_path(lambda path, a, b: (tree.keystr(path), a + b), {"b": 1, "a": [2]}, {"a": [20], "b": 10})
    assert got == {"b": ("['b']", 11), "a": [("['a'][0]", 22)]} and list(got) == ["b", "a"]


def test_broadcast_of_prefixes():
    def none(x):
        return x is None

    args = ({"w": 1, "b": [2, 3]}, 4, ())
    assert prefix_leaves((0, None, 1), args, none) == [0, 0, 0, None]
    assert prefix_leaves(({"b": 5, "w": None}, 1, 2), args, none) == [5, 5, None, 1]
    assert prefix_leaves(None, args, none) == [None] * 4
    assert prefix_leaves([OrderedDict(w=0, b=1)], [{"b": (8, 8), "w": 9}]) == [1, 1, 0]
    assert tree.broadcast((0, None, 1), args, is_leaf=none) == ({"w": 0, "b": [0, 0]}, None, ())
    text = r"^in_axes is not a prefix of its tree: at \['b'\]: expected a tuple of 2, got an int\n"
    with pytest.raises(TreeError, match=text):
        prefix_leaves({"a": 0, "b": (0, 1)}, {"a": 1, "b": 2}, name="in_axes")


# Errors


@pytest.mark.parametrize(
    ("expected", "got", "text"),
    [
        ((1, 2), [1, 2, 3], "at p: expected a tuple of 2, got a list of 3"),
        ({"l": [(1, 2)]}, {"l": [[1, 2, 3]]}, "at p['l'][0]: expected a tuple of 2, got a list of 3"),
        ({"l": [(1, 2), 1]}, {"l": [(1, 2)]}, "at p['l']: expected a list of 2, got a list of 1"),
        ({"a": 1, "b": 2}, {"a": 1}, "at p: missing key 'b'"),
        ({"a": 1}, {"a": 1, "c": 3, "d": 4}, "at p: unexpected keys 'c', 'd'"),
        ({"a": {"b": 1}}, {"a": {"c": 3}}, "at p['a']: missing key 'b', unexpected key 'c'"),
        ({"a": 1}, OrderedDict(a=1), "at p: expected a dict with keys 'a', got an OrderedDict with keys 'a'"),
        ({}, [], "at p: expected a dict without keys, got a list of 0"),
        (1, None, "at p: expected a leaf, got None"),
        ([None], [2.0], "at p[0]: expected None, got a float"),
        ((1, {}), (1, np.ones((2, 3), np.float32)), "at p[1]: expected a dict without keys, got a float32[2,3]"),
        (Point(1, (2,)), Point(1, 2), "at p.y: expected a tuple of 1, got an int"),
        (Point(1, 2), (1, 2), "at p: expected a Point of 2, got a tuple of 2"),
        ([Dense(1, [2])], [Dense(1, 2)], "at p[0].b: expected a list of 1, got an int"),
        (Dense(1), Dense(1, 0, ""),
         "at p: expected a Dense with 2 children with static data ('relu',), got one with ('',)"),
        (Pair(1, [2], ""), Pair(1, 2, ""), "at p[<flat index 1>]: expected a list of 1, got an int"),
        (Mode("a"), Mode("b"), "at p: expected a Mode with 0 children with static data 'a', got one with 'b'"),
        (deque([1], 2), deque([1], 3), "at p: expected a deque of 1 with static data 2, got one with 3"),
        (dict.fromkeys(range(12)), {}, "at p: missing keys 0, 1, 2, 3, 4, 5, 6, 7, … (12 in all)"),
        ({"a": 1, "b": [2]}, {"b": [3], "a": 4}, ""),
    ],
)  # fmt: skip
def test_explain_mismatch(expected, got, text):
    assert explain_mismatch(expected, got, name="p") == text
    assert bool(explain_mismatch(tree.structure(expected), tree.structure(got), name="p")) == bool(text)


def test_explain_mismatch_as_prefix_lets_leaves_and_mappings_match():
    assert explain_mismatch({"a": 1}, OrderedDict(a=[1, 2]), prefix=True) == ""
    text = explain_mismatch({"a": (1, 2)}, OrderedDict(a=[1, 2]), prefix=True)
    assert text == "at ['a']: expected a tuple of 2, got a list of 2"
    assert explain_mismatch(deque([1], 2), deque([[1]], 3), prefix=True) == ""


def raised(call, *args):
    with pytest.raises(TreeError) as caught:
        call(*args)
    lines = str(caught.value).splitlines()
    assert lines[1].startswith("  at:  ") and "test_tree.py:" in lines[1]
    return lines[0]


def test_texts_of_errors():
    assert raised(tree.map, max, {"a": [1, (2,)]}, {"a": [1, (2,)]}, {"a": [1, "two"]}) == (
        "map: tree 3 does not have the structure of the first: at ['a'][1]: expected a tuple of 1, got a str"
    )
    assert raised(tree.map_with_path, max, [1], None) == (
        "map_with_path: tree 2 does not have the structure of the first: at the top: expected a list of 1, got None"
    )
    assert raised(tree.unflatten, tree.structure((1, 2)), range(3)) == "unflatten: the structure has 2 leaves, not 3"
    assert raised(tree.unflatten, tree.structure(1), []) == "unflatten: the structure has 1 leaf, not 0"
    pair = tree.structure([0, 0])
    assert raised(tree.transpose, pair, None, [(1, 2), (3,)]) == (
        "transpose: the tree is not outer ∘ inner: at [1]: expected a tuple of 2, got a tuple of 1"
    )
    assert raised(tree.transpose, pair, None, [(1, 2)]) == (
        "transpose: the tree does not have the outer structure: at the top: expected a list of 2, got a list of 1"
    )
    assert issubclass(TreeError, FgradError) and issubclass(TreeError, ValueError)


def test_the_users_own_errors_pass():
    class Broken:
        pass

    def fail(*args):
        raise ValueError("mine")

    tree.register_pytree_node(Broken, fail, fail)
    with pytest.raises(ValueError, match=r"^mine$"):
        tree.map(lambda a, b: a, [1], [Broken()]) and tree.leaves(Broken())
    with pytest.raises(ValueError, match=r"^mine$"):
        tree.map(fail, [1], [2])


# Registration


def test_dataclasses():
    layer = Dense([1.0, None], 2.0, "tanh")
    assert tree.leaves(layer) == [1.0, 2.0]
    assert tree.map(lambda x: -x, layer) == Dense([-1.0, None], -2.0, "tanh")
    assert tree.structure(layer) != tree.structure(Dense([1.0, None], 2.0))
    assert hash(tree.structure(layer)) == hash(tree.structure(Dense([3.0, None], 4.0, "tanh")))
    assert tree.map(lambda x: -x, Named(1, "n")) == Named(-1, "n")


def test_dataclass_fields_without_init_or_dropped():
    @functools.partial(tree.register_dataclass, data_fields=["x"], meta_fields=[], drop_fields=["cache"])
    @dataclasses.dataclass
    class Cell:
        x: float
        cache: float = 7.0
        double: float = dataclasses.field(init=False)

        def __post_init__(self):
            self.double = 2 * self.x

    assert tree.leaves(Cell(1.0, 5.0)) == [1.0]
    assert tree.map(lambda x: x + 1, Cell(1.0, 5.0)) == Cell(2.0, 7.0)


def test_a_plain_class_registers_with_named_fields():
    class Plain:
        def __init__(self, *, a, b):
            self.a, self.b = a, b

    assert tree.register_dataclass(Plain, ["a"], ["b"]) is Plain
    assert tree.map(lambda x: x + 1, Plain(a=1, b="s")).a == 2


def test_registration_errors():
    @dataclasses.dataclass
    class Two:
        a: int
        b: int

    class Plain:
        pass

    text = r"^register_dataclass: the two lists must hold each init field of Two once(.|\n)*fields are \['a', 'b'\]$"
    with pytest.raises(TreeError, match=text):
        tree.register_dataclass(Two, ["a"], [])
    with pytest.raises(TreeError, match="the two lists must hold"):
        tree.register_dataclass(Two, ["a", "b"], ["b"])
    with pytest.raises(TypeError, match="give both data_fields and meta_fields, or neither"):
        tree.register_dataclass(Two, ["a"])
    with pytest.raises(TypeError, match=r"Plain.* is no dataclass(.|\n)*above @dataclass"):
        tree.register_dataclass(Plain)
    with pytest.raises(TypeError, match="only a class can be registered"):
        tree.register_pytree_node(Two(1, 2), None, None)
    for cls in (Pair, tuple, dict):
        with pytest.raises(TreeError, match=rf"^{cls.__name__} is a pytree node already"):
            tree.register_pytree_node(cls, lambda x: ((), x), lambda aux, children: aux)


def test_a_namedtuple_can_be_registered_otherwise():
    class Tagged(namedtuple("Tagged", "value tag")):
        pass

    tree.register_pytree_node(Tagged, lambda t: ((t.value,), t.tag), lambda tag, children: Tagged(children[0], tag))
    assert tree.map(lambda x: -x, Tagged(1, "s")) == Tagged(-1, "s")


def test_with_keys_class_and_iterators_of_children():
    @tree.register_pytree_with_keys_class
    class Box:
        def __init__(self, *items):
            self.items = items

        def tree_flatten_with_keys(self):
            return ((tree_util.SequenceKey(i), x) for i, x in enumerate(self.items)), len(self.items)

        @classmethod
        def tree_unflatten(cls, n, children):
            assert n == len(children)
            return cls(*children)

    assert tree.map(lambda x: 2 * x, Box(1, 2)).items == (2, 4)
    assert [tree.keystr(path) for path, _ in tree.leaves_with_path(Box(5, 6))] == ["[0]", "[1]"]
    assert tree.leaves(Box()) == []


def test_static_instances_are_structure():
    t = {"mode": Mode("train"), "x": 1}
    assert tree.leaves(t) == [1] and tree.map(lambda x: x, t)["mode"] is t["mode"]
    assert tree.structure(t) != tree.structure({"mode": Mode("test"), "x": 1})


def test_a_registered_type_is_no_longer_taken_for_a_leaf():
    class Vector(float):
        pass

    LEAF_TYPES.add(Vector)
    assert tree.leaves(Vector(1)) == [1.0]
    tree.register_pytree_node(Vector, lambda v: ((), None), lambda aux, children: Vector())
    assert tree.leaves(Vector(1)) == []


def test_partial():
    def affine(w, x, *, b):
        return w * x + b

    f = tree_util.Partial(affine, 2.0, b=1.0)
    assert f(3.0) == 7.0 and tree.leaves(f) == [2.0, 1.0]
    assert tree.map(lambda v: 10 * v, f)(3.0) == 70.0
    assert tree.structure(f) == tree.structure(tree_util.Partial(affine, 0.0, b=0.0))
    assert tree.structure(f) != tree.structure(tree_util.Partial(max, 0.0, b=0.0))


# The public names


def test_both_modules_share_one_table():
    aliases = {name: name.removeprefix("tree_") for name in tree_util.__all__}
    shared = {old: new for old, new in aliases.items() if new in tree.__all__}
    assert {"tree_map", "tree_flatten", "tree_leaves", "tree_structure", "tree_unflatten", "tree_reduce", "tree_all",
            "tree_transpose", "tree_map_with_path", "keystr", "register_dataclass"} <= shared.keys()  # fmt: skip
    assert all(getattr(tree_util, old) is getattr(tree, new) for old, new in shared.items())
