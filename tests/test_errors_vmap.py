"""What vmap refuses: every refusal with its whole text."""

import numpy as np
from pinned import bad, refused

from fgrad import vmap
from fgrad.core.errors import AxisSizeError, LeafError, TreeError

x3 = np.array([1.0, 2.0, 3.0])

# what the errors advise
LEAF = "pass NumPy arrays or Python numbers; mark other arguments static or close over them"
PREFIX = "give one leaf for a whole subtree, or the same nodes as the tree has there"
SIZES = "map axes of equal size"
LANES = "use None in in_axes for arguments that are the same for all lanes"


def test_mapped_axes_of_different_sizes():
    f = vmap(lambda x, p: x + p["w"], in_axes=(0, {"w": 1}))
    refused(
        lambda: f(x3, {"w": np.ones((3, 4 if bad else 3))}).shape,  # here
        AxisSizeError,
        "vmap(<lambda>): mapped axes have different sizes",
        got="[0] has 3 along axis 0, [1]['w'] has 4 along axis 1",
        do=SIZES,
        then=(3, 3),
    )


def test_axis_size_that_differs():
    refused(
        lambda: vmap(lambda x: x, axis_size=4 if bad else 3)(x3).tolist(),  # here
        AxisSizeError,
        "vmap(<lambda>): mapped axes have different sizes",
        got="[0] has 3 along axis 0; axis_size=4",
        do=SIZES,
        then=[1, 2, 3],
    )


def test_in_axes_of_wrong_length():
    refused(
        lambda: vmap(lambda x, y: x + y, in_axes=(0,) if bad else (0, None))(x3, 1.0).tolist(),  # here
        AxisSizeError,
        "vmap(<lambda>): in_axes has 1 entries for 2 positional arguments",
        got="in_axes=(0,)",
        do="give one entry per positional argument; keyword arguments are mapped along axis 0",
        then=[2, 3, 4],
    )


def test_in_axes_of_wrong_structure():
    refused(
        lambda: vmap(lambda p: p["b"], in_axes=({"a": 0} if bad else {"b": 0},))({"b": x3}).tolist(),  # here
        TreeError,
        "in_axes of vmap(<lambda>) is not a prefix of its tree: at [0]: missing key 'a', unexpected key 'b'",
        do=PREFIX,
        then=[1, 2, 3],
    )


def test_in_axes_that_are_no_integers():
    refused(
        lambda: vmap(lambda x: x, in_axes="0" if bad else 0)(x3).tolist(),  # here
        AxisSizeError,
        "vmap(<lambda>): in_axes must be integers or None",
        got="'0'",
        do="write in_axes=(0, None)",
        then=[1, 2, 3],
    )


def test_in_axes_out_of_range():
    refused(
        lambda: vmap(lambda x: x, in_axes=1 if bad else 0)(x3).tolist(),  # here
        AxisSizeError,
        "vmap(<lambda>): argument [0] has no axis 1 to map over",
        got="float64[3]",
        do=LANES,
        then=[1, 2, 3],
    )


def test_nothing_is_mapped():
    refused(
        lambda: vmap(lambda x: x, in_axes=None, axis_size=None if bad else 2)(5.0).tolist(),  # here
        AxisSizeError,
        "vmap(<lambda>): nothing is mapped, so the number of lanes is unknown",
        got="no mapped argument",
        do="give axis_size, or map an argument",
        then=[5, 5],
    )


def test_a_number_is_mapped():
    f = vmap(lambda x, y: x + y)
    refused(
        lambda: f(x3, 1.0 if bad else x3).tolist(),  # here
        AxisSizeError,
        "vmap(<lambda>): argument [1] has no axis 0 to map over",
        got="float64[]",
        do=LANES,
        then=[2, 4, 6],
    )


def test_out_axes_none_for_a_mapped_result():
    f = vmap(lambda x: x if bad else 7.0, out_axes=None)
    refused(
        lambda: f(x3),  # here
        AxisSizeError,
        "vmap(<lambda>): out_axes is None for a result that differs between lanes",
        got="float64[]",
        do="give it an axis, or return something that does not depend on mapped arguments",
        then=7,
    )


def test_out_axes_out_of_range():
    refused(
        lambda: vmap(lambda x: x, out_axes=2 if bad else 0)(x3).tolist(),  # here
        AxisSizeError,
        "vmap(<lambda>): out_axes 2 is out of range",
        got="a result of 0 dimensions",
        do="use -1 to 0",
        then=[1, 2, 3],
    )


def test_out_axes_of_wrong_structure():
    refused(
        lambda: vmap(lambda x: (x, x), out_axes=(0, 0, 0) if bad else 0)(x3)[0].tolist(),  # here
        TreeError,
        "out_axes of vmap(<lambda>) is not a prefix of its tree: at the top: expected a tuple of 3, got a tuple of 2",
        do=PREFIX,
        then=[1, 2, 3],
    )


def test_vmap_returns_an_object():
    f = vmap(lambda x: [x, "abc"] if bad else [x])
    refused(
        lambda: f(x3)[0].tolist(),  # here
        LeafError,
        "vmap(<lambda>): the result[1]: expected an array or a number, got an object of class str",
        got="'abc'",
        do=LEAF,
        then=[1, 2, 3],
    )
