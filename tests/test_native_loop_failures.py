"""Loops that fail, are interrupted, run in several threads or in one another: what happens, and that all goes on."""

import _thread
import gc
import os
import subprocess
import sys
import textwrap
import threading
import time

import numba
import numpy as np
import pytest
from loop_bodies import RNG, F, M, N, V, agree, check, program, scanned, value

import fgrad
import fgrad.numpy as fnp
from fgrad.compile import cache, executable, library
from fgrad.compile.executable import KernelWarning
from fgrad.core.errors import FgradError
from fgrad.core.primitive import registry as p
from fgrad.core.types import shaped
from fgrad.regions.cond import cond
from fgrad.regions.loop import Sweep, while_loop
from fgrad.regions.scan import scan


@pytest.fixture(autouse=True)
def tables(monkeypatch):
    """Small loops are tables of thunks as well, and no kernels."""
    monkeypatch.setattr(library, "kernel_loop_items", lambda *args: None)
    monkeypatch.setattr(executable, "_KNOWN", {})


# -------------------------------------------------------------------------------------------------------------- errors


def pick(x, i):
    y = x[i]
    return [x + 0 * y, i + 1, y]


PICK = program(pick, V, N)
LIMIT = program(lambda n, x, i: [i < n], N, V, N)
PICK_ONLY = program(lambda x, i: pick(x, i)[:2], V, N)


def whiled(n, x, i):
    return while_loop(n, x, i, cond=LIMIT, consts=1, sweeps=(Sweep(PICK_ONLY, 0, 2, ()),))


def branched(n, x, i):
    return cond(n, x, i, branches=(PICK_ONLY, PICK_ONLY))


def nested(n, x, i):
    body = program(lambda x, i, n: list(branched(n, *whiled(n, x, i))), V, N, N)
    return scan(x, i, fnp.full(2, n), jaxpr=body, consts=0, carry=2, length=2, reverse=False)


LOOPS = {
    "scan": lambda n, x, i: scanned(PICK, 2, length=4)(x, i),
    "while": whiled,
    "cond": branched,
    "nested": nested,
}


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("way", ["jit", "donated", "eager", "numba"])
def test_index_errors_name_the_line(name, way):
    f = LOOPS[name]
    if way != "eager":
        options = {"donate_argnums": 1} if way == "donated" else {"backend": "numba" if way == "numba" else "native"}
        f = fgrad.jit(f, **options)
    good, bad = (np.int64(3), np.int64(0)), (np.int64(8), np.int64(6))
    want = np.asarray(f(good[0], np.arange(5.0), good[1])[0])
    for _ in range(3):
        with pytest.raises(IndexError if way != "donated" else FgradError) as caught:
            f(bad[0], np.arange(5.0), bad[1])
        if way != "donated":
            lines = str(caught.value).split("\n")
            assert lines[0] == "index 6 is out of bounds for axis 0 with size 5"
            assert lines[1].startswith("  at:  ") and lines[1].endswith("in pick: y = x[i]")
        np.testing.assert_array_equal(f(good[0], np.arange(5.0), good[1])[0], want)


def test_an_index_error_after_many_runs_does_not_repeat_them(monkeypatch):
    """Where one equation alone can be meant, in a body that stands in one place, nothing is run again."""

    def element(x, i):
        return [x, i + 1, x[-i]]

    f = fgrad.jit(scanned(program(element, V, N), 2, length=10**6), donate_argnums=0)
    f.lower(value(V), 0).compile()
    monkeypatch.setattr(executable, "execute", None)
    for _ in range(2):
        with pytest.raises(IndexError) as caught:
            f(value(V), 0)
        lines = str(caught.value).split("\n")
        assert lines[0] == "index -6 is out of bounds for axis 0 with size 5"
        assert lines[1].endswith("in element: return [x, i + 1, x[-i]]")
        assert lines[2:] == ["  got: float64[5]", "  do:  " + lines[3].removeprefix("  do:  ")]


def test_a_check_belongs_to_the_run_and_the_branch():
    """What is not executed does not raise."""
    body = program(lambda x, i: [x, i + 1, cond(i, x, i, branches=(ZERO, PICKED, PICKED, ZERO))], V, N)
    check(scanned(body, 2, length=4), value(V), np.int64(0))
    check(scanned(program(lambda x, i, s: [x, i + 1, cond(s, x, i, branches=(ZERO, PICKED))], V, N, N), 2, length=3),
          value(V), np.int64(3), np.array([1, 1, 0]))  # fmt: skip


ZERO = program(lambda x, i: [fnp.sum(x) * 0], V, N)
PICKED = program(lambda x, i: [x[i]], V, N)


def test_an_exception_of_a_numpy_call_comes_out():
    body = program(lambda w, a: [fnp.linalg.cholesky(a) - 1.5 * w], M, M)
    f, one = (fgrad.jit(scanned(body, 1, consts=1, length=n)) for n in (2, 1))
    for _ in range(2):
        with pytest.raises(np.linalg.LinAlgError):
            f(np.eye(3), np.eye(3))
        agree(one(np.eye(3), np.eye(3)), -0.5 * np.eye(3))


def test_zeros_win_over_infinities_in_loops():
    """What trusts that there are none is planned anew, loops in loops too."""
    inner = program(lambda a, c: [p.mul0(a, c)], V, V)
    body = program(lambda a, c: [scan(a, c, jaxpr=inner, consts=1, carry=1, length=2, reverse=False)], V, V)
    f = fgrad.jit(scanned(body, 1, consts=1, length=2))
    a = np.array([0.0, 0.0, 1.0, 2.0, 0.0])
    before = f.lower(a, a).as_text("nests")
    agree(f(a, np.ones(5)), a**4)
    compiled = f.lower(a, a).compile()
    for _ in range(2):
        agree(f(a, np.array([np.inf, np.nan, 1.0, 2.0, -np.inf])), np.array([0.0, 0.0, 1.0, 32.0, 0.0]))
        agree(compiled(a, np.array([np.inf, np.nan, 1.0, 2.0, -np.inf])), np.array([0.0, 0.0, 1.0, 32.0, 0.0]))
    assert "check" in before and "check" not in compiled.as_text("nests")


def test_sines_beyond_the_reach_of_formulas_in_loops():
    body = program(lambda c: [fnp.sin(c * 1e20)], V)
    f = fgrad.jit(scanned(body, 1, length=3))
    x = np.arange(5.0)
    want = np.sin(1e20 * np.sin(1e20 * np.sin(x * 1e20)))
    for _ in range(2):
        agree(f(x), want)


def test_a_kernel_that_does_not_compile_becomes_numpy_calls(monkeypatch, tmp_path):
    monkeypatch.setattr(cache, "_addresses", {})
    monkeypatch.setattr(cache, "_failures", {})
    monkeypatch.setenv("FGRAD_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("FGRAD_STRICT_KERNELS")
    rendered = fgrad.compile.render_llvm.module

    def module(kernels, *args):
        odd = any("= tanh" in repr(fgrad.compile.nests.show(k)) for k in kernels)
        return rendered(kernels, *args) + ("\n nonsense" if odd else "")

    monkeypatch.setattr(fgrad.compile.render_llvm, "module", module)
    body = program(lambda c: [fnp.tanh(c) + 0.5], V)
    with pytest.warns(KernelWarning, match=r"tanh.*test_native_loop_failures.py"):
        check(scanned(body, 1, length=3), value(V))


# ---------------------------------------------------------------------------------------------------- signals, threads


@pytest.fixture
def no_collection():
    """An interrupt that arrives in a callback of the garbage collector is lost: Hypothesis has one."""
    gc.disable()
    yield
    gc.enable()


ALWAYS = program(lambda c: [True], F)
INCREMENT = program(lambda c: [c + 1], F)


def endless(*sweeps):
    """A while_loop that goes on for ever."""
    return lambda *xs: while_loop(*xs, cond=ALWAYS, consts=0, sweeps=sweeps)


FOR_EVER = program(lambda x: [endless(Sweep(INCREMENT, 0, 1, ()))(x)], F)
REPEATED = program(lambda c: [scanned(INCREMENT, 1, length=10**6)(c)], F)
SORTED = program(lambda c: [fnp.sum(fnp.sort(fnp.broadcast_to(c, (3,)))) * 0], F)
PUSHED = program(lambda c: [scanned(INCREMENT, 1, length=10**5)(c), c * fnp.ones(1000)], F)
READ = program(lambda c, x: [c + fnp.sum(x)], F, shaped((1000,), np.float64))
ENDLESS = {
    "a tiny body": endless(Sweep(INCREMENT, 0, 1, ())),
    "a loop in it": endless(Sweep(REPEATED, 0, 1, ())),
    "no end of the inner loop": scanned(FOR_EVER, 1, length=2),
    "calls of NumPy": endless(Sweep(SORTED, 0, 1, ())),
    "records": lambda x: endless(Sweep(PUSHED, 0, 1, ()), Sweep(READ, 0, 1, (0,)))(x, x),
    "a known end": scanned(INCREMENT, 1, length=10**12),
    "a branch": lambda x: cond(1, x, branches=(INCREMENT, FOR_EVER)),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_an_interrupt_ends_a_loop(name, no_collection):
    f = fgrad.jit(ENDLESS[name])
    f.lower(1.0).compile()
    for _ in range(2):
        timer = threading.Timer(0.1, _thread.interrupt_main)
        timer.start()
        start = time.perf_counter()
        with pytest.raises(KeyboardInterrupt):
            f(1.0)
        timer.join()
        assert time.perf_counter() - start < 10  # on any machine; 0.15 on one that has time
    agree(fgrad.jit(scanned(INCREMENT, 1, length=3))(1.0), np.float64(4))


def test_other_threads_run_while_a_loop_does():
    f = fgrad.jit(scanned(INCREMENT, 1, length=2 * 10**7))
    f.lower(1.0).compile()
    thread = threading.Thread(target=f, args=(1.0,))
    thread.start()
    ticks = 0
    while thread.is_alive():
        time.sleep(0.001)
        ticks += 1
    assert ticks > 3


W = shaped((3,), np.float64)
BODY = program(lambda w, c, x: [fnp.tanh(w @ c + x), fnp.cumsum(c) * fnp.sum(x)], M, W, W)
DOWN = program(lambda n, c: [fnp.sum(c) < n], F, W)
GROW = program(lambda c: [c * 1.01 + 0.1, c], W)
TAKE = program(lambda c, x: [c * 0.99 + fnp.sort(x)], W, W)


def test_calls_from_several_threads():
    def f(w, c, xs):
        c, ys = scan(w, c, xs, jaxpr=BODY, consts=1, carry=1, length=50, reverse=False)
        return while_loop(40.0, c, c, cond=DOWN, consts=1, sweeps=(Sweep(GROW, 0, 1, ()), Sweep(TAKE, 0, 1, (0,)))), ys

    compiled, wrong = fgrad.jit(f), []
    given = [(RNG.normal(size=(3, 3)), RNG.normal(size=3), RNG.normal(size=(50, 3))) for _ in range(4)]
    wanted = [compiled(*xs) for xs in given]

    def run(number):
        for _ in range(30):
            got = fgrad.tree.leaves(compiled(*given[number]))
            wrong.extend(a for a, b in zip(got, fgrad.tree.leaves(wanted[number]), strict=True) if not (a == b).all())

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


@numba.njit
def doubled(x, out):
    for i in range(len(x)):
        out[i] = 2 * x[i]


def test_numba_functions_in_a_body():
    body = program(lambda c, s: [fnp.sin(y := fgrad.numba_call(doubled, c, out=c)), y + s], V, F)
    f = scanned(body, 1, length=4)
    x, s = value(V), np.arange(4.0)
    want, stack = x, []
    for i in range(4):
        stack.append(2 * want + s[i])
        want = np.sin(2 * want)
    agree(fgrad.jit(f)(x, s), (want, np.array(stack)))


def test_a_callback_may_run_the_same_loop(monkeypatch):
    """Each call has its own slots and its own memory, in the middle of another one."""
    body = program(lambda c: [fnp.sort(fnp.flip(c)) + fnp.roll(c, 1)], V)
    outer = fgrad.jit(scanned(body, 1, length=5))
    x, y = value(V), value(V)
    want, other = outer(x), outer(y)
    sort, depth = p.sort, []

    def run(a, **params):
        if not depth:
            depth.append(1)
            agree(outer(y), other)
            depth.pop()
        return [np.sort(a, axis=params["axis"])]

    monkeypatch.setattr(sort, "run", run)
    again = program(lambda c: [fnp.sort(fnp.flip(c)) + fnp.roll(c, 1) + 0 * fnp.sum(c)], V)
    agree(fgrad.jit(scanned(again, 1, length=5))(x), want)
    agree(outer(x), want)


def test_threads_of_the_pool_work_in_a_body():
    """One large thunk of a body at a time, in as many threads as there are; the same bits in one."""
    wide = shaped((400_000,), np.float64)
    body = program(lambda c: [fnp.sin(c) + fnp.cos(c) * fnp.sum(c) / 1e6, fnp.max(c)], wide)
    f = fgrad.jit(scanned(body, 1, length=3))
    x, threads = RNG.normal(size=400_000), fgrad.get_num_threads()
    results = []
    try:
        for n in (1, 4):
            fgrad.set_num_threads(n)
            results.append(f(x))
    finally:
        fgrad.set_num_threads(threads)
    for a, b in zip(*results, strict=True):
        assert (a == b).all()


# ------------------------------------------------------------------------------------------------------------- records


@pytest.mark.parametrize("runs", [0, 1, 2, 63, 64, 65, 1000, 20_000])
def test_records_of_any_number_of_runs(runs):
    """Sweeps forth, back, forth, back over records in blocks that grow."""
    first = program(lambda i, c: [i + 1, fnp.cos(c), c, i], N, F)
    back = program(lambda c, x, i: [c * 0.5 + x, c + 1.0], F, F, N)
    forth = program(lambda c, y, i: [c + y * (i % 3), fnp.sin(y)], F, F, N)
    last = program(lambda c, z, x: [c * 0.9 + z * x], F, F, F)
    condition = program(lambda n, i, c: [i < n], N, N, F)
    sweeps = (Sweep(first, 0, 2, ()), Sweep(back, 0, 1, (0, 1)), Sweep(forth, 0, 1, (2, 1)), Sweep(last, 0, 1, (3, 0)))
    f = fgrad.jit(lambda n, c: while_loop(n, 0, c, c, c, c, cond=condition, consts=1, sweeps=sweeps))
    xs, ys, zs = [], [], []
    c = a = b = d = 0.3
    for _ in range(runs):
        xs.append(c)
        c = np.cos(c)
    for x in reversed(xs):
        ys.append(a + 1.0)
        a = a * 0.5 + x
    for i, y in enumerate(reversed(ys)):
        zs.append(np.sin(y))
        b = b + y * (i % 3)
    for z, x in zip(reversed(zs), reversed(xs), strict=True):
        d = d * 0.9 + z * x
    agree(f(runs, 0.3), (np.int64(runs), *map(np.float64, (c, a, b, d))))


def half(x, y):
    return x | y if x.dtype == bool else x * x.dtype.type(0.5) + y


def test_large_records_and_records_of_many_types():
    types = [shaped((1000,), np.float64), shaped((3,), np.bool_), shaped((), np.complex128), shaped((7,), np.float16)]
    push = program(lambda i, *c: [i + 1, *[fnp.flip(x) if x.ndim else -x for x in c], *c], N, *types)
    read = program(lambda *c: [half(x, y) for x, y in zip(c[:4], c[4:], strict=True)], *types, *types)
    condition = program(lambda n, i, *c: [i < n], N, N, *types)
    sweeps = (Sweep(push, 0, 5, ()), Sweep(read, 0, 4, (0, 1, 2, 3)))
    xs = [value(t) for t in types]
    check(lambda n, *c: while_loop(n, 0, *c, *c, cond=condition, consts=1, sweeps=sweeps), np.int64(7), *xs)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of memory")
def test_a_loop_that_remembers_too_much_raises_and_gives_all_back():
    source = """
    import resource
    import numpy as np, fgrad, fgrad.numpy as fnp
    from loop_bodies import F, N, program, shaped
    from fgrad.regions.loop import Sweep, while_loop

    wide = shaped((1_000_000,), np.float64)
    push = program(lambda i, c: [i + 1, c * 2, c], N, wide)
    read = program(lambda c, x: [c + x], wide, wide)
    condition = program(lambda n, i, c: [i < n], N, N, wide)
    sweeps = (Sweep(push, 0, 2, ()), Sweep(read, 0, 1, (0,)))
    f = fgrad.jit(lambda n, c: while_loop(n, 0, c, c, cond=condition, consts=1, sweeps=sweeps)[2][0])
    x = np.ones(1_000_000)
    print(f(4, x))
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), resource.RLIM_INFINITY))
    for _ in range(3):
        try:
            f(1000, x)
        except MemoryError:
            print("MemoryError")
        print(f(4, x))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, "tests"])},
    )
    assert done.stdout.split() == ["16.0", *["MemoryError", "16.0"] * 3], done.stderr
