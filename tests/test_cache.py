"""The kernel cache: in memory and on disk, between threads and between processes, with anything lying in its way."""

import ctypes
import os
import shutil
import subprocess
import sys
import textwrap
import threading
import warnings

import pytest

import fgrad.cache
from fgrad.compile import cache, engine
from fgrad.compile.cache import CacheWarning
from fgrad.compile.engine import CompileError

POSIX = pytest.mark.skipif(not hasattr(os, "getuid"), reason="needs POSIX permissions")
NOT_ROOT = pytest.mark.skipif(hasattr(os, "getuid") and os.getuid() == 0, reason="root may write anywhere")


class Kernels:
    """A renderer of kernels called k_<number> that return their number, and its calls."""

    def __init__(self, bad=()):
        self.bad = set(bad)
        self.calls = []

    def __call__(self, names):
        self.calls.append(tuple(names))
        return "\n".join(
            f"define i32 @{name}() {{ ret {'i64' if name in self.bad else 'i32'} {name[2:]} }}" for name in names
        )

    @property
    def rendered(self):
        return sorted(name for names in self.calls for name in names)


def check(found, names):
    assert list(found) == list(names)
    for name in names:
        assert ctypes.CFUNCTYPE(ctypes.c_int)(found[name])() == int(name[2:])


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """An empty cache directory, and nothing in memory."""
    top = tmp_path / "cache"
    monkeypatch.setenv("FGRAD_CACHE_DIR", str(top))
    cache.forget()
    yield top
    cache.forget()


def files(directory):
    return sorted(path for path in directory.glob("*/*") if path.is_file())


NAMES = ["k_1", "k_2", "k_3"]


def test_memory_then_disk_then_the_compiler(directory):
    kernels = Kernels()
    before = fgrad.cache.info()
    check(cache.addresses(NAMES, kernels), NAMES)
    assert kernels.rendered == NAMES
    check(cache.addresses(NAMES[::-1], kernels), NAMES[::-1])
    check(cache.addresses(["k_2", "k_2"], kernels), ["k_2"])
    cache.forget()
    check(cache.addresses(["k_2"], kernels), ["k_2"])  # one file holds all three
    check(cache.addresses(NAMES, kernels), NAMES)
    assert kernels.rendered == NAMES
    check(cache.addresses([*NAMES, "k_4"], kernels), [*NAMES, "k_4"])
    assert kernels.rendered == [*NAMES, "k_4"]
    assert cache.addresses([], kernels) == {}
    after = fgrad.cache.info()
    assert after.misses - before.misses == 4
    assert after.disk_hits - before.disk_hits == 1
    assert after.compile_seconds > before.compile_seconds
    assert (after.directory, after.files, after.kernels) == (directory, 2, 4)
    assert after.bytes == sum({path.stat().st_ino: path.stat().st_size for path in files(directory)}.values())
    assert "2 files" in repr(after) and "4 kernels in memory" in repr(after)


def test_clear_keeps_code_that_is_in_use(directory):
    kernels = Kernels()
    found = cache.addresses(NAMES, kernels)
    fgrad.cache.clear(disk=False)
    assert fgrad.cache.info().kernels == 0 and fgrad.cache.info().files == 1
    check(found, NAMES)
    cache.addresses(NAMES, kernels)
    assert kernels.rendered == NAMES
    fgrad.cache.clear()
    assert (fgrad.cache.info().files, fgrad.cache.info().bytes) == (0, 0)
    check(found, NAMES)
    check(cache.addresses(NAMES, kernels), NAMES)
    assert kernels.rendered == sorted(NAMES * 2)


def test_no_directory(directory, monkeypatch):
    monkeypatch.setenv("FGRAD_CACHE_DIR", "")
    kernels = Kernels()
    check(cache.addresses(NAMES, kernels), NAMES)
    cache.forget()
    check(cache.addresses(NAMES, kernels), NAMES)
    assert kernels.rendered == sorted(NAMES * 2)
    assert fgrad.cache.info().directory is None and "no disk cache" in repr(fgrad.cache.info())
    fgrad.cache.clear()


def test_the_default_directory(monkeypatch):
    monkeypatch.delenv("FGRAD_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", os.path.abspath("somewhere"))
    assert cache.root().name == "fgrad"
    if sys.platform.startswith("linux"):
        assert cache.root().parent.name == "somewhere"


def _flip(position):
    def damage(data):
        changed = bytearray(data)
        changed[position] ^= 1
        return bytes(changed)

    return damage


DAMAGES = {
    "empty": lambda data: b"",
    "cut": lambda data: data[:-1],
    "cut in the head": lambda data: data[:20],
    "longer": lambda data: data + b"\0",
    "magic": _flip(0),
    "version": lambda data: data.replace(b"fgrad kernels 1", b"fgrad kernels 0"),
    "checksum": _flip(20),
    "head": _flip(60),
    "code": _flip(-300),
    "foreign": lambda data: b"\x7fELF" + data,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_files_are_rebuilt(directory, damage):
    kernels = Kernels()
    cache.addresses(NAMES, kernels)
    sound = files(directory)[0].read_bytes()
    for path in files(directory):
        path.unlink()
        path.write_bytes(damage(sound))
    cache.forget()
    check(cache.addresses(NAMES, kernels), NAMES)
    assert kernels.rendered == sorted(NAMES * 2)
    cache.forget()
    check(cache.addresses(NAMES, kernels), NAMES)
    assert kernels.rendered == sorted(NAMES * 2)


def test_a_file_of_another_kernel_is_not_used(directory):
    kernels = Kernels()
    cache.addresses(["k_1"], kernels)
    [path] = files(directory)
    shutil.copy(path, path.with_name("k_2"))
    cache.forget()
    check(cache.addresses(["k_2"], kernels), ["k_2"])


def test_a_file_of_another_target_is_not_used(directory, monkeypatch):
    kernels = Kernels()
    real = engine.target()
    cache.addresses(["k_1"], kernels)
    [path] = files(directory)
    cache.forget()
    monkeypatch.setattr(engine, "target", lambda: real + "+more")
    cache.addresses(["k_1"], kernels)
    assert kernels.rendered == ["k_1", "k_1"]
    [other] = [found for found in files(directory) if found != path]
    shutil.copy(other, path)
    monkeypatch.undo()
    os.environ["FGRAD_CACHE_DIR"] = str(directory)
    try:
        cache.forget()
        cache.addresses(["k_1"], kernels)
    finally:
        del os.environ["FGRAD_CACHE_DIR"]
    assert kernels.rendered == ["k_1"] * 3


def test_a_directory_in_the_way_of_a_file(directory):
    kernels = Kernels()
    cache.addresses(["k_1"], kernels)
    [path] = files(directory)
    path.unlink()
    path.mkdir()
    cache.forget()
    with pytest.warns(CacheWarning, match="cannot be written"):
        found = cache.addresses(["k_1"], kernels)
    check(found, ["k_1"])
    assert files(directory) == []


@POSIX
def test_a_directory_open_to_others_is_refused(directory):
    directory.mkdir(mode=0o700)
    directory.chmod(0o770)
    kernels = Kernels()
    with pytest.warns(CacheWarning, match="can be changed by others") as caught:
        check(cache.addresses(NAMES, kernels), NAMES)
    assert f"chmod 700 {directory}" in str(caught[0].message)
    cache.forget()
    check(cache.addresses(NAMES, kernels), NAMES)  # no second warning
    assert kernels.rendered == sorted(NAMES * 2)
    assert files(directory) == []


@POSIX
def test_what_is_written_is_private(directory):
    cache.addresses(NAMES, Kernels())
    for path in [directory, *directory.iterdir()]:
        assert path.stat().st_mode & 0o777 == 0o700


def test_where_warnings_are_errors_the_call_that_needs_the_cache_raises_once(directory):
    directory.write_text("not a directory")
    code = """
import numpy as np
from fgrad.compile import cache, warm
import fgrad
warm._load()  # as in the background: silent
f = fgrad.jit(lambda x: np.tanh(x) * 2)
try:
    f(np.ones(3))
except cache.CacheWarning as error:
    print(str(error).split(": ")[0])
print(f(np.zeros(3)))
"""
    run = [sys.executable, "-W", "error::RuntimeWarning", "-c", code]
    done = subprocess.run(run, check=True, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout == f"the kernel cache {directory} cannot be used (File exists)\n[0. 0. 0.]\n"


def test_a_file_in_place_of_the_directory(directory):
    directory.write_text("not a directory")
    with pytest.warns(CacheWarning, match="cannot be used"):
        check(cache.addresses(NAMES, Kernels()), NAMES)
    assert directory.read_text() == "not a directory"
    assert fgrad.cache.info().files == 0


@POSIX
@NOT_ROOT
def test_a_read_only_directory_is_read(directory):
    kernels = Kernels()
    cache.addresses(["k_1"], kernels)
    inner = next(directory.iterdir())
    inner.chmod(0o500)
    cache.forget()
    check(cache.addresses(["k_1"], kernels), ["k_1"])
    assert kernels.rendered == ["k_1"]
    with pytest.warns(CacheWarning, match="cannot be written"):
        check(cache.addresses(["k_2"], kernels), ["k_2"])
    inner.chmod(0o700)


def test_a_file_system_without_hard_links(directory, monkeypatch):
    def link(*_):
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", link)
    kernels = Kernels()
    cache.addresses(NAMES, kernels)
    assert [path.name for path in files(directory)] == NAMES
    cache.forget()
    check(cache.addresses(NAMES, kernels), NAMES)
    assert kernels.rendered == NAMES


def test_the_guilty_kernel_is_named_and_the_others_kept(directory):
    kernels = Kernels(bad=["k_2"])
    with pytest.raises(CompileError, match=r"cannot compile k_2\n  at:  .*\n  got: .*LLVM cannot read") as error:
        cache.addresses(NAMES, kernels)
    assert error.value.names == ("k_2",)
    check(cache.addresses(["k_1", "k_3"], kernels), ["k_1", "k_3"])
    before = len(kernels.calls)
    with pytest.raises(CompileError, match="cannot compile k_2"):
        cache.addresses(NAMES, kernels)
    assert len(kernels.calls) == before  # a failure is remembered
    cache.forget()
    check(cache.addresses(["k_1", "k_3"], kernels), ["k_1", "k_3"])
    assert len(kernels.calls) == before  # the good ones were on disk


def test_a_kernel_that_does_not_link_is_named(directory):
    def text(names):
        bodies = {"k_1": "call void @no_such_function()\n", "k_2": ""}
        lines = [f"define i32 @{name}() {{ {bodies[name]} ret i32 {name[2:]} }}" for name in names]
        return "declare void @no_such_function()\n" + "\n".join(lines)

    with pytest.raises(CompileError, match="cannot compile k_1") as error:
        cache.addresses(["k_1", "k_2"], text)
    assert error.value.names == ("k_1",)
    check(cache.addresses(["k_2"], text), ["k_2"])


def test_an_error_of_the_renderer_passes(directory):
    def text(names):
        raise KeyError("renderer")

    with pytest.raises(KeyError, match="renderer"):
        cache.addresses(["k_1"], text)
    check(cache.addresses(["k_1"], Kernels()), ["k_1"])


def test_many_threads_compile_a_kernel_once(directory):
    kernels = Kernels()
    names = [f"k_{k}" for k in range(10, 16)]
    results = []
    threads = [threading.Thread(target=lambda: results.append(cache.addresses(names, kernels))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6
    for found in results:
        check(found, names)
    assert kernels.rendered == names


def test_the_size_on_disk_is_bounded(directory):
    kernels = Kernels()
    for number in range(8):
        cache.addresses([f"k_{number}", f"k_{number}0"], kernels)
    size = files(directory)[0].stat().st_size
    for path in files(directory):
        age = int(path.name[2]) if path.name[2] != "3" else 9  # the file of k_3 and k_30 was used again
        os.utime(path, (1e9 + age, 1e9 + age))
    cache._sweep(directory, 8 * size)
    assert len(files(directory)) == 16
    cache._sweep(directory, 4 * size)
    assert sorted({path.name[:3] for path in files(directory)}) == ["k_3", "k_6", "k_7"]
    assert all(path.with_name(path.name[:3] + "0").exists() for path in files(directory))


@pytest.mark.parametrize("text, size", [("1", 10**6), ("0.5", 5 * 10**5), ("many", 256 * 10**6), (None, 256 * 10**6)])
def test_the_limit(monkeypatch, text, size):
    monkeypatch.delenv("FGRAD_CACHE_LIMIT", raising=False)
    if text is not None:
        monkeypatch.setenv("FGRAD_CACHE_LIMIT", text)
    assert cache._limit() == size


PROGRAM = """
    import ctypes, sys
    from fgrad.compile import cache

    names = [f"k_{k}" for k in range(int(sys.argv[1]), int(sys.argv[2]))]
    rendered = []

    def text(names):
        rendered.extend(names)
        return "\\n".join(f"define i32 @{name}() {{ ret i32 {name[2:]} }}" for name in names)

    found = cache.addresses(names, text)
    assert all(ctypes.CFUNCTYPE(ctypes.c_int)(found[name])() == int(name[2:]) for name in names)
    print(len(rendered))
"""


def start(first, last):
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(PROGRAM), str(first), str(last)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def finish(process):
    out, _ = process.communicate()
    assert process.returncode == 0
    return int(out)


def test_processes_share_the_directory(directory):
    assert finish(start(0, 5)) == 5
    assert finish(start(3, 7)) == 2
    kernels = Kernels()
    names = [f"k_{k}" for k in range(7)]
    check(cache.addresses(names, kernels), names)
    assert kernels.calls == []


def test_processes_that_race(directory):
    processes = [start(first, first + 6) for first in (0, 2, 0, 2)]
    assert all(finish(process) <= 6 for process in processes)
    kernels = Kernels()
    names = [f"k_{k}" for k in range(8)]
    check(cache.addresses(names, kernels), names)
    assert kernels.calls == []
    assert [path.name for path in files(directory)] == names  # nothing temporary is left


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_fork_while_another_thread_compiles(directory):
    names = [f"k_{k}" for k in range(40)]
    thread = threading.Thread(target=lambda: cache.addresses(names, Kernels()))
    thread.start()
    child = os.fork()
    if child == 0:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = cache.addresses(["k_5", "k_77"], Kernels())
        values = [ctypes.CFUNCTYPE(ctypes.c_int)(found[name])() for name in ("k_5", "k_77")]
        os._exit(int(values != [5, 77]))
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
