"""The thread pool of the native runtime: tickets, failures, interrupts, fork, exit, and how many threads there are."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from native_programs import F8, Failed, fail, thunk

from fgrad.compile.native import layout, pool
from fgrad.compile.native.entry import Dispatcher, Entry
from fgrad.compile.native.library import library, word
from fgrad.compile.native.program import NativeProgram, Output, Program
from fgrad.compile.native.specs import Array, Result

POSIX = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and signals")


@pytest.fixture(params=[1, 2, 4])
def threads(request):
    """A number of threads, for the length of a test."""
    before = pool.get_num_threads()
    pool.set_num_threads(request.param)
    yield request.param
    pool.set_num_threads(before)


@pytest.fixture
def four():
    """Four threads, for the length of a test."""
    before = pool.get_num_threads()
    pool.set_num_threads(4)
    yield
    pool.set_num_threads(before)


def function_of(thunks, size, slots=2):
    """A function of one float64 array to one of the same size: slot 0 to slot 1."""
    program = NativeProgram(Program(thunks, slots, 0, [], [], [0], [Output(1, F8, (size,))]))
    calls = Dispatcher()
    calls.add(Entry([Array(0, F8, (size,))], {}, program, Result(0), fail))
    return calls.function


def parallel(name, size, grain, cost, dims=(), operands=(0, 1)):
    """One parallel thunk."""
    return function_of([thunk(name, operands, size, grain, cost, dims)], size)


@pytest.mark.parametrize(("size", "grain", "cost"), [(1000, 1, 1e5), (1003, 10, 3e4), (100_000, 64, 1e9), (7, 5, 1e6)])
def test_every_unit_is_done_once(threads, size, grain, cost):
    program = NativeProgram(
        Program([thunk("mark", (0,), size, grain, cost)], 2, 0, [], [], [0], [Output(0, F8, (size,), 0)])
    )
    calls = Dispatcher()
    calls.add(Entry([Array(0, F8, (size,))], {}, program, Result(0), fail))
    counts = np.zeros(size)
    for _ in range(20):
        assert calls.function(counts) is counts
    assert (counts.view(np.int64) == 20).all()


def test_results_do_not_depend_on_the_number_of_threads():
    x, found, before = np.random.default_rng(0).normal(size=5000), set(), pool.get_num_threads()
    run = parallel("heavy", 5000, 100, 1e6, (50,))
    for n in (1, 2, 3, 4):
        pool.set_num_threads(n)
        found.add(run(x).tobytes())
    pool.set_num_threads(before)
    assert len(found) == 1


def test_workers_start_with_work_and_end_when_they_are_too_many(four):
    run, x = parallel("heavy", 5000, 100, 1e6, (50,)), np.ones(5000)
    started = word(library().state + layout.POOL_STARTED)
    run(x)
    assert started.value == 3
    for n in (2, 1):
        pool.set_num_threads(n)
        deadline = time.monotonic() + 10
        while started.value != n - 1 and time.monotonic() < deadline:
            time.sleep(0.001)
        assert started.value == n - 1
        run(x)


def test_workers_take_part(four):
    start = time.perf_counter()
    parallel("sleep", 40, 1, 1e6, (20_000, 0))(np.ones(40))
    assert time.perf_counter() - start < 0.7  # 0.8 s on one thread


@pytest.mark.parametrize("crowded", [False, True])
def test_workers_park_when_there_is_no_more_work(four, crowded):
    """Those that look for more use no processor for long, and work as well when they are woken."""
    run, x = parallel("heavy", 5000, 100, 1e6, (50,)), np.random.default_rng(0).normal(size=5000)
    started, sleeping, until = (
        word(library().state + offset) for offset in (layout.POOL_STARTED, layout.POOL_SLEEPING, layout.POOL_CROWDED)
    )
    found = set()
    try:
        for _ in range(5):
            until.value = 2**62 if crowded else 0
            found.add(run(x).tobytes())
            deadline = time.monotonic() + 10
            while sleeping.value != started.value and time.monotonic() < deadline:
                time.sleep(0.001)
            assert sleeping.value == started.value == 3
    finally:
        until.value = 0
    assert len(found) == 1


def test_the_lowest_failure_is_reported(threads):
    size = 10_000
    run = parallel("refuse_negative", size, 10, 1e6, (size,))
    x = np.ones(size)
    x[[500, 5000, 9999]] = -1
    for _ in range(30):
        with pytest.raises(Failed) as caught:
            run(x)
        assert caught.value.args == (1, 0, 500, size)
    assert (run(np.ones(size)) == 2.0).all()


def test_a_failure_ends_the_job(threads):
    run = parallel("sleep", 1000, 1, 1e9, (1000, 4))
    start = time.perf_counter()
    with pytest.raises(Failed):
        run(np.ones(1000))
    assert time.perf_counter() - start < 0.5


def test_more_jobs_at_once_than_there_is_room_for(four):
    run, wrong = parallel("heavy", 4000, 50, 1e6, (100,)), []
    x = np.random.default_rng(0).normal(size=4000)
    wanted = run(x)

    def work():
        for _ in range(30):
            if run(x).tobytes() != wanted.tobytes():
                wrong.append(1)

    workers = [threading.Thread(target=work) for _ in range(layout.JOBS + 4)]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    assert not wrong


def test_other_threads_of_python_run_meanwhile():
    ticks = []
    thread = threading.Thread(target=lambda: [ticks.append(time.sleep(0.005)) for _ in range(40)])
    thread.start()
    function_of([thunk("sleep", (), 1, 1, 1e9, (300_000, 0))], 1)(np.ones(1))
    assert len(ticks) >= 15
    thread.join()


@POSIX
@pytest.mark.parametrize("steps", [1, 300])
def test_an_interrupt(threads, steps):
    """Ctrl-C ends one long parallel thunk, and a row of short serial ones."""
    if steps == 1:
        run = parallel("sleep", 3000, 1, 3e9, (1000, 0))
    else:
        run = function_of([thunk("sleep", (), 1, 1, 1e6, (10_000, 0))] * steps, 1)
    x = np.ones(3000 if steps == 1 else 1)
    timer = threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGINT))
    start = time.perf_counter()
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        run(x)
    assert time.perf_counter() - start < 0.6
    timer.join()
    assert parallel("heavy", 5000, 100, 1e6, (0,))(np.ones(5000)).tolist() == [1.0] * 5000


def test_the_runtime_may_be_loaded_by_any_thread():
    """Signals are looked for by the main thread, whoever loads the runtime."""
    text = (
        "import threading\n"
        "from fgrad.compile.native import layout, library\n"
        "loader = threading.Thread(target=library.library)\n"
        "loader.start()\n"
        "loader.join()\n"
        "known = library.word(library.library().state + layout.STATE_MAIN_THREAD).value\n"
        "assert known == threading.main_thread().ident\n"
    )
    subprocess.run([sys.executable, "-c", text], check=True)


def test_the_number_of_threads():
    before = pool.get_num_threads()
    assert before >= 1
    pool.set_num_threads(3)
    assert pool.get_num_threads() == 3
    pool.set_num_threads(before)
    for bad in (0, -1, 1.0, True, None, "2"):
        with pytest.raises(ValueError) as caught:
            pool.set_num_threads(bad)
        lines = str(caught.value).splitlines()
        assert lines[0] == "the number of threads is a positive integer"
        assert lines[2:] == [f"  got: {bad!r}", "  do:  pass 1 or more"]


def run_python(source, **environment):
    """What a fresh Python prints; it must end by itself, without an error."""
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", HEAD + source],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, (done.returncode, done.stderr)
    return done.stdout.split()


HEAD = """
import os, sys, threading, time
import numpy as np
from native_programs import thunk, addresses, F8, fail
from test_native_pool import parallel, function_of
from fgrad.compile.native import pool

def check(run, n=5000):
    return run(np.ones(n)).sum() == n

def forked(child):
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if child() else 1)
        finally:
            os._exit(2)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    os.kill(pid, 9)
    return "hangs"

pool.set_num_threads(4)
run = parallel("heavy", 5000, 50, 1e6, (100,))
"""


def test_the_environment_variable(monkeypatch):
    processors = pool.available()
    wanted = {"3": 3, "100000": pool.LIMIT, "0": processors, "-1": processors, "x": processors, "": processors}
    found = {}
    for value in wanted:
        monkeypatch.setenv("FGRAD_NUM_THREADS", value)
        found[value] = pool.default()
    assert found == wanted


@POSIX
def test_fork_while_idle_and_from_a_thread():
    source = """
assert check(run)
print(forked(lambda: check(run)), forked(lambda: check(run) and forked(lambda: check(run)) == 0))
thread = threading.Thread(target=lambda: print(forked(lambda: check(run))))
thread.start(); thread.join()
print(check(run))
"""
    assert run_python(source) == ["0", "0", "0", "True"]


@POSIX
def test_fork_while_other_threads_work():
    source = """
stop, wrong = [], []
def work():
    while not stop:
        if not check(run):
            wrong.append(1)
threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads: thread.start()
print({forked(lambda: all(check(run) for _ in range(20))) for _ in range(20)})
stop.append(1)
for thread in threads: thread.join()
print(len(wrong))
"""
    assert run_python(source) == ["{0}", "0"]


@POSIX
def test_an_interrupt_in_the_child_of_a_thread():
    source = """
import signal
def child():
    threading.Thread(target=lambda: (time.sleep(0.2), os.kill(os.getpid(), signal.SIGINT)), daemon=True).start()
    try:
        parallel("sleep", 3000, 1, 3e9, (2000, 0))(np.ones(3000))
    except KeyboardInterrupt:
        return check(run)
thread = threading.Thread(target=lambda: print(forked(child)))
thread.start(); thread.join()
"""
    assert run_python(source) == ["0"]


def test_exit_while_a_thread_works():
    source = """
def work():
    while True:
        check(run)
for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.2)
print("end")
"""
    for _ in range(3):
        assert run_python(source) == ["end"]


def test_threadpoolctl_limits_the_pool():
    pytest.importorskip("threadpoolctl")
    source = """
import threadpoolctl
before = pool.get_num_threads()
again = parallel("heavy", 5000, 50, 1e6, (100,))
with threadpoolctl.threadpool_limits(2):
    inside = pool.get_num_threads()
with threadpoolctl.threadpool_limits(1, user_api="fgrad"):
    alone = pool.get_num_threads()
with threadpoolctl.threadpool_limits(1, user_api="blas"):
    other = pool.get_num_threads()
shown = [d["num_threads"] for d in threadpoolctl.threadpool_info() if d["user_api"] == "fgrad"]
print(before, inside, alone, other, pool.get_num_threads(), shown)
"""
    assert run_python(source) == ["4", "2", "1", "4", "4", "[4]"]


def test_the_runtime_imports_no_threadpoolctl():
    assert run_python('check(run); print("threadpoolctl" in sys.modules)') == ["False"]
