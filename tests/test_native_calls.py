"""What a dispatched call does: donation, failures, references, re-entrance, arenas, several threads.

Everything runs twice, as in test_native_dispatch.py.
"""

import ctypes
import gc
import itertools
import sys
import threading
import tracemalloc
import weakref

import numpy as np
import pytest
from native_programs import F8, Failed, Point, addresses, arrays, callback, dispatcher, fail, same, thunk, trees, unary

from fgrad.compile.native import entry as entry_module
from fgrad.compile.native import library
from fgrad.compile.native.entry import Entry
from fgrad.compile.native.library import MISS
from fgrad.compile.native.program import NativeProgram, Output, Program, Thunk
from fgrad.compile.native.specs import Array, Dict, List, Number, Result, Same, Tuple
from fgrad.core.errors import ProgramError


@pytest.fixture(params=["native", "python"], autouse=True)
def checks(request, monkeypatch):
    """Where arguments are checked."""
    assert library.reads_objects()
    if request.param == "python":
        monkeypatch.setattr(entry_module, "reads_objects", lambda: False)
    return request.param


def failing():
    """A program that fails at a negative number, in its second thunk."""
    thunks = [thunk("square_plus_one", (0, 1), 4), thunk("refuse_negative", (0, 2), 4, dims=(4,))]
    outputs = [Output(1, F8, (4,)), Output(2, F8, (4,))]
    return NativeProgram(Program(thunks, 3, 0, [], [], [0], outputs))


def test_a_failure_reports_status_thunk_and_details():
    function = dispatcher([Array(0, F8, (4,))], failing(), Tuple((Result(1), Result(0)))).function
    x = np.ones(4)
    assert len(function(x)) == 2
    x[2] = -1
    with pytest.raises(Failed) as caught:
        function(x)
    assert caught.value.args == (1, 1, 2, 4)
    x[2] = 0
    assert len(function(x)) == 2


def test_what_failed_returns_is_the_result():
    results = Tuple((Result(1), Result(0)))
    function = dispatcher([Array(0, F8, (4,))], failing(), results, failed=lambda *words: words).function
    assert function(-np.ones(4)) == (1, 1, 0, 4)


def donating(shape, count=1):
    """A program in place: outputs take over the memory of the first inputs; one more input is added to each."""
    size = int(np.prod(shape))
    thunks = [thunk("add", (i, count, count + 1 + i), size) for i in range(count)]
    outputs = [Output(count + 1 + i, F8, shape, i) for i in range(count)]
    return NativeProgram(Program(thunks, 2 * count + 1, 0, [], [], range(count + 1), outputs))


def donate(shape, count=1):
    specs, _ = arrays(shape, count + 1)
    return dispatcher(specs, donating(shape, count), Tuple(tuple(Result(i) for i in range(count)))).function


def test_a_donated_array_is_the_result():
    function = donate((3,))
    x, step = np.arange(3.0), np.full(3, 0.5)
    for round_ in range(1, 4):
        (got,) = function(x, step)
        assert got is x
        same(x, np.arange(3.0) + 0.5 * round_)


def test_a_donated_array_that_others_see_is_copied():
    function, step = donate((3,)), np.full(3, 0.5)
    base = np.arange(6.0)
    view = base[:3]
    locked = np.arange(3.0)
    locked.flags.writeable = False
    from_bytes = np.frombuffer(np.arange(3.0).tobytes())
    for x in (view, locked, from_bytes):
        (got,) = function(x, step)
        assert got is not x and not np.may_share_memory(got, x) and got.flags.writeable and got.flags.owndata
        same(got, np.arange(3.0) + 0.5)
        same(x, np.arange(3.0))
    x = np.arange(3.0)
    (got,) = function(x, x)
    assert got is not x
    same(got, 2 * np.arange(3.0))
    same(x, np.arange(3.0))
    owner = np.arange(3.0)
    (got,) = function(owner, owner[:])
    assert got is not owner
    same(owner, np.arange(3.0))


def test_the_same_array_donated_twice():
    function, step = donate((3,), 2), np.full(3, 0.5)
    x = np.arange(3.0)
    one, two = function(x, x, step)
    assert one is not two and not np.may_share_memory(one, two) and one is not x and two is not x
    same(one, x + 0.5)
    same(two, x + 0.5)
    y = np.zeros(3)
    one, two = function(x, y, step)
    assert one is x and two is y


def test_a_donated_array_without_dimensions_becomes_a_scalar():
    function = donate(())
    x, step = np.array(2.0), np.array(0.5)
    (got,) = function(x, step)
    same(got, np.float64(2.5))
    assert x == 2.0


def test_an_input_that_nothing_reads():
    program = NativeProgram(
        Program([thunk("square_plus_one", (0, 1), 3)], 2, 0, [], [], [-1, 0, -1], [Output(1, F8, (3,))])
    )
    specs, _ = arrays((3,), 3)
    x = np.arange(3.0)
    same(dispatcher(specs, program).function(x + 1, x, x + 2), x * x + 1)


def test_run_on_flat_leaves():
    args, kwargs, program, result, _, _ = trees()
    entry = Entry(args, kwargs, program, result, fail)
    x = [np.arange(float(i)) for i in range(6)]
    for _ in range(2):
        for got, leaf in zip(entry.run(x), x, strict=True):
            same(got, leaf * leaf + 1)
    with pytest.raises(ProgramError, match="arrays that the program was not compiled for"):
        entry.run(x[::-1])
    numbers = Entry([Number(0, float, F8)], {}, unary("square_plus_one", ()), Result(0), fail)
    same(numbers.run([3.0])[0], np.float64(10))


def test_specs_that_do_not_number_the_program():
    program = unary("square_plus_one", (3,), 2)
    specs, results = arrays((3,), 2)
    with pytest.raises(ProgramError, match="differ in their leaves"):
        Entry(specs[:1], {}, program, results, fail)
    with pytest.raises(ProgramError, match="differ in their results"):
        Entry(specs, {}, program, Tuple((Result(0), Result(0))), fail)


def all_blocks():
    """What Python holds, in blocks of memory, garbage collected."""
    gc.collect()
    return sys.getallocatedblocks()


def churn(checks, work, warm=20, rounds=3000):
    """Blocks gained per round of some work: the least of three counts (other threads gain some of their own, once)."""
    rounds = rounds if checks == "native" else rounds // 10
    for _ in range(warm):
        work()
    counts = [all_blocks()]
    for _ in range(3):
        for _ in range(rounds):
            work()
        counts.append(all_blocks())
    return min(after - before for before, after in itertools.pairwise(counts)) / rounds


def test_references(checks):
    args, kwargs, program, result, (values, named), _ = trees()
    constant = object()
    calls = dispatcher([*args, Same(constant)], program, result, kwargs)
    function = calls.function
    x = [values[0]["w"], values[0]["w"][0], values[0][3], *values[1], named["extra"], values[0], constant, F8, Point]
    gc.collect()
    counts = [sys.getrefcount(v) for v in x]

    def work():
        function(*values, constant, **named)
        assert function(*values, None, **named) is MISS
        assert function({"w": [x[1], (x[1], None)], 3: 0.0}, values[1], constant, **named) is MISS

    assert churn(checks, work) < 0.02
    assert [sys.getrefcount(v) for v in x] == counts
    got = function(*values, constant, **named)
    fresh = [sys.getrefcount(got[1][0]), sys.getrefcount(got[0]["a"][0].x)]
    assert fresh == [2, 2]
    none, miss = sys.getrefcount(None), sys.getrefcount(MISS)
    for _ in range(100):
        work()
    assert abs(sys.getrefcount(None) - none) < 20 and abs(sys.getrefcount(MISS) - miss) < 5


def test_references_after_failures(checks):
    function = dispatcher([Array(0, F8, (4,))], failing(), Tuple((Result(1), Result(0)))).function
    bad = -np.ones(4)

    def work():
        with pytest.raises(Failed):
            function(bad)

    count = sys.getrefcount(bad)
    assert churn(checks, work, rounds=500) < 0.5  # a lost reference would be one a call
    assert sys.getrefcount(bad) == count


def test_references_of_donated_arrays(checks):
    function, step = donate((3,)), np.zeros(3)
    x = np.arange(3.0)
    view = np.arange(6.0)[:3]
    counts = [sys.getrefcount(v) for v in (x, view, step)]

    def work():
        function(x, step)
        function(view, step)
        function(x, x)

    assert churn(checks, work) < 0.02
    assert [sys.getrefcount(v) for v in (x, view, step)] == counts


def bytes_of_arrays():
    """What NumPy holds. (Python may grow its table of strings at any time, by megabytes.)"""
    numpy = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
    return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([numpy]).traces)


def test_no_memory_is_lost(checks):
    function = dispatcher([Array(0, F8, (1000,))], unary("square_plus_one", (1000,))).function
    x = np.ones(1000)
    function(x)
    tracemalloc.start()
    try:
        before = bytes_of_arrays()
        for _ in range(500):
            function(x)
        gc.collect()
        assert bytes_of_arrays() - before < 8000
        kept = [function(x) for _ in range(10)]
        assert bytes_of_arrays() - before >= 10 * 8000
        del kept
    finally:
        tracemalloc.stop()


def test_dispatchers_are_collected():
    class Owner:
        pass

    def make():
        owner = Owner()
        owner.calls = dispatcher([Array(0, F8, (1,))], unary("square_plus_one", (1,)), failed=lambda *w: owner)
        owner.calls.function(np.ones(1))
        return weakref.ref(owner), owner.calls.function

    owner, function = make()
    gc.collect()
    assert function(np.ones(1)) == 2.0
    del function
    gc.collect()
    assert owner() is None


def test_a_function_outlives_its_dispatcher():
    function = dispatcher([Array(0, F8, (1,))], unary("square_plus_one", (1,))).function
    gc.collect()
    assert function(np.ones(1)) == 2.0


def test_keys_that_run_code_while_they_are_compared():
    x, inner = np.ones(1), [np.ones(1)]

    class Key:
        def __hash__(self):
            return hash("w")

        def __eq__(self, other):
            inner.clear()
            calls.clear()
            gc.collect()
            return False

    key = Key()
    spec = Tuple((List((Array(0, F8, (1,)),)), Dict(("w",), (Array(1, F8, (1,)),)), List((Array(2, F8, (1,)),))))
    calls = dispatcher([spec], unary("square_plus_one", (1,), 3), arrays((1,), 3)[1])
    assert calls.function((inner, {key: x}, inner)) is MISS
    assert calls.function((inner, {"w": x}, inner)) is MISS


def test_re_entrance_from_a_callback():
    depth = []

    def again(call, operands, dims, begin, end):
        if len(depth) < 20:
            depth.append(0)
            inner = function(np.full(3, float(len(depth))))
            assert inner.tolist() == [len(depth) * 0.0 + 42.0] * 3
        to = ctypes.c_void_p.from_address(operands + 8).value
        np.ctypeslib.as_array((ctypes.c_double * 3).from_address(to))[:] = 42.0
        return 0

    address = ctypes.cast(callback(again), ctypes.c_void_p).value
    thunks = [Thunk(address, (0, 1), (), 1, 1, 50_000.0), thunk("copy_bytes", (1, 2), 1, dims=(3,))]
    program = NativeProgram(Program(thunks, 3, 192, [(1, 64)], [], [0], [Output(2, F8, (3,))]))
    function = dispatcher([Array(0, F8, (3,))], program).function
    assert function(np.ones(3)).tolist() == [42.0] * 3
    assert len(depth) == 20


def test_the_callers_arrays_live_while_the_program_runs():
    box = [np.full(1000, 3.0)]

    def drop(call, operands, dims, begin, end):
        box.clear()
        gc.collect()
        for value in [np.full(1000, 7.0) for _ in range(10)]:
            value += 1
        return 0

    address = ctypes.cast(callback(drop), ctypes.c_void_p).value
    thunks = [Thunk(address, (), (), 1, 1, 50_000.0), thunk("square_plus_one", (0, 1), 1000)]
    program = NativeProgram(Program(thunks, 2, 0, [], [], [0], [Output(1, F8, (1000,))]))
    function = dispatcher([List((Array(0, F8, (1000,)),))], program).function
    assert (function(box) == 10.0).all()


def test_constants_and_arenas():
    constant = np.arange(4.0)
    thunks = [thunk("add", (0, 1, 2), 4), thunk("square_plus_one", (2, 3), 4), thunk("add", (3, 1, 4), 4)]
    program = NativeProgram(Program(thunks, 5, 128, [(2, 0), (3, 64)], [(1, constant)], [0], [Output(4, F8, (4,))]))
    function = dispatcher([Array(0, F8, (4,))], program).function
    x = np.ones(4)
    for _ in range(3):
        same(function(x), (x + constant) ** 2 + 1 + constant)
        library.release_arenas()
    assert library.arena_bytes() == 0
    function(x)
    assert library.arena_bytes() == 128


def test_arenas_grow_and_are_shared():
    library.release_arenas()

    def program(size):
        thunks = [thunk("square_plus_one", (0, 1), 8), thunk("square_plus_one", (1, 2), 8)]
        return NativeProgram(Program(thunks, 3, size, [(1, size - 64)], [], [0], [Output(2, F8, (8,))]))

    functions = [dispatcher([Array(0, F8, (8,))], program(size)).function for size in (128, 64, 4096, 1024, 8192)]
    x = np.arange(8.0)
    for function in functions * 3:
        same(function(x), (x * x + 1) ** 2 + 1)
    assert library.arena_bytes() == 8192


def test_several_threads_at_once():
    program = unary("heavy", (64,), dims=(2000,), cost=100_000.0, grain=8)
    function = dispatcher([Array(0, F8, (64,))], program).function
    wanted, wrong = function(np.arange(64.0)), []

    def work(number):
        x = np.arange(64.0)
        for _ in range(50):
            if function(x).tobytes() != wanted.tobytes():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not wrong


def test_addresses_differ():
    assert len(set(addresses().values())) == len(addresses())
