"""The native dispatch: the arguments that it takes, and the results that it builds.

Everything runs twice: natively, and with the checks in Python, as on builds where native code may not read objects.
"""

import collections
import pickle

import numpy as np
import pytest
from native_programs import F8, Point, arrays, copier, dispatcher, fail, same, thunk, trees, unary

from fgrad.compile.native import entry as entry_module
from fgrad.compile.native import library
from fgrad.compile.native.entry import Dispatcher, Entry
from fgrad.compile.native.library import MISS
from fgrad.compile.native.program import NativeProgram, Output, Program, Thunk
from fgrad.compile.native.specs import Array, Number, Result, Same, Scalar, Tuple
from fgrad.core.errors import ProgramError


@pytest.fixture(params=["native", "python"], autouse=True)
def checks(request, monkeypatch):
    """Where arguments are checked."""
    assert library.reads_objects()
    if request.param == "python":
        monkeypatch.setattr(entry_module, "reads_objects", lambda: False)
    return request.param


def test_an_array(checks):
    calls = dispatcher([Array(0, F8, (2, 3))], unary("square_plus_one", (2, 3)))
    assert (type(calls.function).__name__ == "builtin_function_or_method") == (checks == "native")
    x = np.arange(6.0).reshape(2, 3)
    y, z = calls.function(x), calls.function(x)
    same(y, x * x + 1)
    assert y.flags.owndata and y.flags.writeable and y.flags.c_contiguous and y.base is None
    assert not np.may_share_memory(y, x) and not np.may_share_memory(y, z)


def test_arrays_that_do_not_fit():
    function = dispatcher([Array(0, F8, (4, 3))], unary("square_plus_one", (4, 3))).function
    x = np.arange(12.0).reshape(4, 3)
    unaligned = np.frombuffer(b"x" + x.tobytes(), np.uint8)[1:].view(F8).reshape(4, 3)

    class Sub(np.ndarray):
        pass

    wrong = [
        x.T.copy(),
        x.T.copy().T,
        x[::-1],
        np.arange(24.0).reshape(4, 6)[:, ::2],
        x.astype(np.float32),
        x.astype(">f8"),
        x.view(np.int64),
        x.view("M8[s]"),
        x.view(Sub),
        np.ma.array(x),
        x[:3],
        x[None],
        x.ravel(),
        x.astype(object),
        unaligned,
        x.tolist(),
        1.0,
        None,
        "x",
        np.float64(1),
    ]
    assert not unaligned.flags.aligned
    for value in wrong:
        assert function(value) is MISS
    assert function() is MISS and function(x, x) is MISS and function(x, y=1) is MISS and function(a=x) is MISS
    read_only = x.copy()
    read_only.flags.writeable = False
    for value in (x, read_only, np.vstack([x, x])[4:]):
        same(function(value), value * value + 1)


def test_an_equal_dtype_that_is_another_object():
    other = np.dtype(F8, metadata={"from": "elsewhere"})
    x = np.arange(3.0).astype(other)
    copied = pickle.loads(pickle.dumps(np.arange(3.0)))
    function = dispatcher([Array(0, F8, (3,))], unary("square_plus_one", (3,))).function
    assert x.dtype is not F8
    same(function(x), np.arange(3.0) ** 2 + 1)
    same(function(copied), np.arange(3.0) ** 2 + 1)


@pytest.mark.parametrize("shape", [(0,), (3, 0, 2)])
def test_empty_arrays(shape):
    function = dispatcher([Array(0, F8, shape)], unary("square_plus_one", shape)).function
    same(function(np.zeros(shape)), np.zeros(shape))


def test_no_dimensions():
    function = dispatcher([Array(0, F8, ())], unary("square_plus_one", ())).function
    same(function(np.array(3.0)), np.float64(10))
    assert function(np.float64(3)) is MISS


NUMPY_SCALARS = [
    np.bool_,
    np.int8,
    np.uint16,
    np.int64,
    np.float16,
    np.float32,
    np.float64,
    np.complex64,
    np.complex128,
]


@pytest.mark.parametrize("kind", NUMPY_SCALARS)
def test_numpy_scalars_in_and_out(kind):
    dtype = np.dtype(kind)
    program = NativeProgram(
        Program([Thunk(copier(dtype.itemsize), (0, 1), (), 1, 1, 10.0)], 2, 0, [], [], [0], [Output(1, dtype, ())])
    )
    function = dispatcher([Scalar(0, kind)], program).function
    value = kind(2.5)
    same(function(value), value)
    others = [k for k in NUMPY_SCALARS if k is not kind]
    for wrong in [*[k(1) for k in others], np.array(value), value.item(), None]:
        assert function(wrong) is MISS


@pytest.mark.parametrize(
    ("kind", "dtype", "values", "wrong"),
    [
        (float, np.float64, [1.5, -0.0, float("inf"), 5e-324], [1, True, np.float64(1), 1j, None]),
        (float, np.float32, [1.5, 0.1, 1e300, -0.0], [1, np.float32(1)]),
        (int, np.int64, [0, -1, 2**63 - 1, -(2**63)], [True, 1.0, 2**63, -(2**63) - 1, 10**30, np.int64(1)]),
        (bool, np.bool_, [True, False], [1, 0, np.True_, None]),
        (complex, np.complex128, [1 + 2j, complex(-0.0, float("nan"))], [1.0, 1]),
    ],
)
def test_python_numbers(kind, dtype, values, wrong):
    dtype = np.dtype(dtype)
    program = NativeProgram(
        Program([Thunk(copier(dtype.itemsize), (0, 1), (), 1, 1, 1.0)], 2, 0, [], [], [0], [Output(1, dtype, ())])
    )
    function = dispatcher([Number(0, kind, dtype)], program).function
    for value in values:
        with np.errstate(over="ignore"):
            same(function(value), np.asarray(value).astype(dtype)[()])
    for value in wrong:
        assert function(value) is MISS


def test_a_subclass_of_a_number_does_not_fit():
    class MyFloat(float):
        pass

    assert dispatcher([Number(0, float, F8)], unary("square_plus_one", ())).function(MyFloat(1)) is MISS


def test_a_number_without_conversion(checks):
    if checks == "native":
        with pytest.raises(ValueError, match="no conversion of a Python int to float64"):
            dispatcher([Number(0, int, F8)], unary("square_plus_one", ()))


def assert_trees(got, want):
    assert type(got) is type(want)
    if isinstance(want, np.ndarray):
        same(got, want)
    elif isinstance(want, dict):
        assert list(got) == list(want)
        for key in want:
            assert_trees(got[key], want[key])
    elif isinstance(want, (tuple, list)):
        assert len(got) == len(want)
        for one, other in zip(got, want, strict=True):
            assert_trees(one, other)
    else:
        assert got is want


def test_pytrees():
    args, kwargs, program, result, (values, named), wanted = trees()
    function = dispatcher(args, program, result, kwargs).function
    assert_trees(function(*values, **named), wanted)
    (w, x2), (x3, x4) = values[0].values(), values[1]
    assert_trees(function({3: x2, "w": w}, values[1], **named), wanted)

    class MyList(list):
        pass

    class MyDict(dict):
        pass

    Other = collections.namedtuple("Other", "x y")
    wrong = [
        ({"w": w}, values[1]),
        ({"w": w, 3: x2, 4: x2}, values[1]),
        ({"w": w, 4: x2}, values[1]),
        (MyDict(values[0]), values[1]),
        (collections.OrderedDict(values[0]), values[1]),
        (values[0], (x3, x4)),
        (values[0], Other(x3, x4)),
        ({"w": MyList(w), 3: x2}, values[1]),
        ({"w": tuple(w), 3: x2}, values[1]),
        ({"w": [*w, w], 3: x2}, values[1]),
        ({"w": [w[0], (w[1][0], 0)], 3: x2}, values[1]),
        ({"w": [w[0], w[1][:1]], 3: x2}, values[1]),
        (values[0], Point(x3, x3)),
        (values[0],),
    ]
    for arguments in wrong:
        assert function(*arguments, **named) is MISS
    assert function(*values) is MISS
    assert function(*values, other=named["extra"]) is MISS
    assert function(*values, **named, more=1) is MISS


def test_keywords_in_any_order_and_names_that_are_not_interned():
    (one, two), _ = arrays((3,), 2)
    program = NativeProgram(Program([thunk("add", (0, 1, 2), 3)], 3, 0, [], [], [0, 1], [Output(2, F8, (3,))]))
    function = dispatcher([], program, kwargs={"first": one, "second": two, "flag": Same("on")}).function
    x, y = np.arange(3.0), np.ones(3)
    for kwargs in ({"first": x, "second": y, "flag": "on"}, {"flag": "on", "second": y, "first": x}):
        same(function(**kwargs), x + y)
        same(function(**{"".join(list(name)): value for name, value in kwargs.items()}), x + y)
    assert function(first=x, second=y, flag="off") is MISS
    assert function(first=x, second=y, flags="on") is MISS


def test_static_arguments_go_by_identity():
    value = (1, 2)
    calls = dispatcher([Same(value), Array(0, F8, (1,))], unary("square_plus_one", (1,)))
    same(calls.function(value, np.ones(1)), np.full(1, 2.0))
    assert calls.function(tuple([1, 2]), np.ones(1)) is MISS


def test_the_entry_used_last_is_tried_first():
    calls = Dispatcher()
    for n in range(1, 6):
        calls.add(Entry([Array(0, F8, (n,))], {}, unary("square_plus_one", (n,)), Result(0), fail))
    for n in (3, 3, 1, 5, 2, 4, 1, 6, 1):
        got = calls.function(np.ones(n))
        assert (got is MISS) if n == 6 else got.shape == (n,)
    assert len(calls.entries) == 5
    calls.clear()
    assert calls.function(np.ones(1)) is MISS and calls.entries == ()
    calls.add(Entry([Array(0, F8, (1,))], {}, unary("square_plus_one", (1,)), Result(0), fail))
    assert calls.function(np.ones(1)) == 2.0


def test_an_entry_belongs_to_one_dispatcher():
    calls = dispatcher([Array(0, F8, (1,))], unary("square_plus_one", (1,)))
    with pytest.raises(ProgramError, match="an entry that a dispatcher has already"):
        Dispatcher().add(calls.entries[0])


def test_unflatten():
    calls = dispatcher([Array(0, F8, (1,))], unary("square_plus_one", (1,)), Tuple((Result(0),)), unflatten=list)
    got = calls.function(np.ones(1))
    assert type(got) is list and got[0] == 2.0

    def broken(flat):
        raise KeyError("broken")

    calls = dispatcher([Array(0, F8, (1,))], unary("square_plus_one", (1,)), Tuple((Result(0),)), unflatten=broken)
    with pytest.raises(KeyError, match="broken"):
        calls.function(np.ones(1))
