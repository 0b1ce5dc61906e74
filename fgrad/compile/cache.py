"""Kernels by name: compiled once, kept in memory and on disk.

A kernel's name is the hash of its content ("k_3f9a..."), so a name means the same code in every program and process.
`addresses` looks a name up in memory, then on disk, and compiles what is missing, all together.

On disk, in a directory of this machine's code (`<cache>/<hash of the target and of the compiler's source>/`), lies one
file per compiled group of kernels, hard-linked under the name of each kernel it holds: a program that needs one of them
finds it with one read, and a program that needs all of them has them with the same read. A file is

    magic, checksum of the rest, three lines of text (target; names of the kernels; lengths of the images), images

and is executable code: the directory must belong to the user alone (else it is not used), a file appears under its
name only when complete, and one that is damaged or made for another target counts as absent.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import os
import stat
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import message
from . import engine
from .engine import CompileError

_MAGIC = b"fgrad kernels 1\n"
_SOURCE = Path(__file__).parent
_DIGEST = 16  # bytes of the checksum
_DEFAULT_LIMIT = 256  # megabytes on disk
_SWEEP_EVERY = 16 << 20  # bytes written by this process between two looks at the size of the whole directory
_REFRESH = 3600.0  # seconds after which a use is noted in a file's time stamp


class CacheWarning(RuntimeWarning):
    """Compiled kernels cannot be kept on disk; everything else works."""


@dataclass
class Counters:
    """What happened in this process: kernels found in memory, found on disk, compiled; seconds spent compiling."""

    memory_hits: int = 0
    disk_hits: int = 0
    misses: int = 0
    compile_seconds: float = 0.0


counters = Counters()
_addresses: dict[str, int] = {}
_failures: dict[str, str] = {}
# One compilation of kernels at a time, and beside it the runtime's; held across fork.
_lock, _runtime = threading.RLock(), threading.RLock()
_numbers = itertools.count()
_written = [_SWEEP_EVERY]  # bytes since the last sweep: the first file written causes one
warned: set[str] = set()

if hasattr(os, "register_at_fork"):
    for _held in (_lock, _runtime):
        os.register_at_fork(before=_held.acquire, after_in_parent=_held.release, after_in_child=_held.release)


def addresses(names: Sequence[str], text: Callable[[Sequence[str]], str], level: int = 1) -> dict[str, int]:
    """The machine code of kernels.

    Args:
      names: hashes of the kernels' content, usable as symbols and file names.
      text: gives the LLVM module that defines exactly the functions asked for. Called for what is neither in memory
        nor on disk: with parts of it, one per processor, and with single names to find the guilty one of a failure.
      level: see `engine.compile_text`. One name has one level. What has level 0 waits for no other level.

    Returns:
      The address of each name, valid for as long as the process lives.

    Raises:
      CompileError: LLVM refuses some kernels; its `names` says which. The others are kept.
    """
    found = {name: _addresses[name] for name in names if name in _addresses}
    counters.memory_hits += len(found)
    if len(found) < len(names):
        with _lock if level else _runtime:
            _provide([name for name in dict.fromkeys(names) if name not in found], text, level)
        found = {name: _addresses[name] for name in names}
    return found


def _provide(names: list[str], text: Callable[[Sequence[str]], str], level: int) -> None:
    """Enter every name into `_addresses`, from disk or by compiling it."""
    directory = _usable_directory()
    missing = []
    for name in names:
        if name not in _addresses and directory is not None:
            counters.disk_hits += _load(directory, name)
        if name not in _addresses:
            missing.append(name)
    failed = {name: _failures[name] for name in missing if name in _failures}
    missing = [name for name in missing if name not in failed]
    if missing:
        counters.misses += len(missing)
        start = time.perf_counter()
        failed |= _compile(missing, text, directory, level)
        counters.compile_seconds += time.perf_counter() - start
    if failed:
        _failures.update(failed)
        reasons = "\n".join(dict.fromkeys(failed.values()))
        raise CompileError(message(f"cannot compile {', '.join(failed)}", got=reasons), tuple(failed))


def _compile(
    names: list[str], text: Callable[[Sequence[str]], str], directory: Path | None, level: int
) -> dict[str, str]:
    """Compile names in parts, one per processor; if that fails, one by one. Returns the errors by name.

    At level 0 all are one part: what they call is in it once, and others have work for the processors.
    """
    count = min(len(names), engine.processors()) if level else 1
    parts = [names[start::count] for start in range(count)]
    try:
        images = engine.compile_texts([text(part) for part in parts], level)
        _addresses.update(engine.load_objects(images, names))
    except CompileError as error:
        if len(names) == 1:
            return {names[0]: str(error)}
        failed: dict[str, str] = {}
        for name in names:
            failed |= _compile([name], text, directory, level)
        return failed
    if directory is not None:
        _store(directory, names, images)
    return {}


# --- files ------------------------------------------------------------------------------------------------------------


def _load(directory: Path, name: str) -> bool:
    """Enter what the file called `name` holds into `_addresses`; whether there was a sound one."""
    path = directory / name
    try:
        data = path.read_bytes()
        age = time.time() - path.stat().st_mtime
    except OSError:
        return False
    held = _unpack(data)
    if held is None or name not in held[0]:
        return False
    names, images = held
    try:
        loaded = engine.load_objects(images, names)
    except CompileError:
        return False
    for key, address in loaded.items():
        _addresses.setdefault(key, address)
    if age > _REFRESH:
        with contextlib.suppress(OSError):
            os.utime(path)
    return True


def _pack(names: Sequence[str], images: Sequence[bytes]) -> bytes:
    """The content of a file; see the head of this module."""
    lines = [engine.target(), " ".join(names), " ".join(str(len(image)) for image in images), ""]
    rest = "\n".join(lines).encode() + b"".join(images)
    return _MAGIC + hashlib.blake2b(rest, digest_size=_DIGEST).digest() + rest


def _unpack(data: bytes) -> tuple[list[str], list[bytes]] | None:
    """(names, images) of a file; None if it is damaged, of another format or of another target."""
    start = len(_MAGIC) + _DIGEST
    rest = data[start:]
    if not data.startswith(_MAGIC) or hashlib.blake2b(rest, digest_size=_DIGEST).digest() != data[len(_MAGIC) : start]:
        return None
    target, names, lengths, body = rest.split(b"\n", 3)
    if target.decode() != engine.target():
        return None
    ends = list(itertools.accumulate(map(int, lengths.split()), initial=0))
    return names.decode().split(), [body[begin:end] for begin, end in itertools.pairwise(ends)]


def _store(directory: Path, names: Sequence[str], images: Sequence[bytes]) -> None:
    """Write one file and link it under every name; whoever reads meanwhile sees the old file, none, or all of it."""
    data = _pack(names, images)
    temporary = directory / f".{os.getpid()}-{threading.get_ident()}-{next(_numbers)}"
    step = temporary.with_name(temporary.name + "+")
    try:
        temporary.write_bytes(data)
        for name in names:
            try:
                os.link(temporary, step)
            except OSError:  # a file system without hard links
                step.write_bytes(data)
            os.replace(step, directory / name)
    except OSError as error:
        _warn(directory, f"cannot be written ({error.strerror})", "free space or make it writable, or")
    finally:
        remove((temporary, step))
    _written[0] += len(data)
    if _written[0] >= _SWEEP_EVERY:
        _written[0] = 0
        _sweep(directory.parent, _limit())


# --- the directory ----------------------------------------------------------------------------------------------------


def root() -> Path | None:
    """The cache directory: `FGRAD_CACHE_DIR`, else `fgrad` in the user's cache directory; None if switched off."""
    chosen = os.environ.get("FGRAD_CACHE_DIR")
    if chosen is not None:
        return Path(chosen).expanduser() if chosen else None
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "fgrad"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "fgrad"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fgrad"


def _limit() -> int:
    """The size on disk, in bytes, above which old files go: `FGRAD_CACHE_LIMIT` in megabytes."""
    try:
        return int(float(os.environ.get("FGRAD_CACHE_LIMIT", _DEFAULT_LIMIT)) * 1e6)
    except ValueError:
        return _DEFAULT_LIMIT * 10**6


@functools.cache
def generator() -> str:
    """What this package's source files are, by size and time: the same nest is other code under another renderer."""
    digest = hashlib.blake2b(digest_size=8)
    for folder in (_SOURCE, _SOURCE / "vecmath", _SOURCE / "native"):
        with os.scandir(folder) as entries:
            found = [(e.name, e.stat()) for e in entries if e.name.endswith(".py")]
        digest.update(repr(sorted((name, s.st_size, s.st_mtime_ns) for name, s in found)).encode())
    return digest.hexdigest()


def _usable_directory() -> Path | None:
    """Where this machine's code lies, made if absent; None (and one warning) where it cannot or must not be used."""
    top = root()
    if top is None or str(top) in warned:
        return None
    directory = top / hashlib.blake2b(f"{engine.target()} {generator()}".encode(), digest_size=8).hexdigest()
    try:
        for path in (top, directory):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not _is_private(path):
                _warn(top, "can be changed by others", f"`chmod 700 {path}` (as its owner), or")
                return None
    except OSError as error:
        _warn(top, f"cannot be used ({error.strerror})", "make it writable, or")
        return None
    return directory


def _is_private(path: Path) -> bool:
    if not hasattr(os, "getuid"):
        return True  # Windows: the user's own folders are private by inheritance
    status = path.stat()
    return status.st_uid == os.getuid() and not status.st_mode & (stat.S_IRWXG | stat.S_IRWXO)


def _warn(top: Path, what: str, do: str) -> None:
    if str(top) not in warned:
        warned.add(str(top))
        text = f"the kernel cache {top} {what}: kernels are compiled again in every process"
        # of no line of the user's: it may be a thread in the background that finds it
        warnings.warn(f"{text}\n  do:  {do} set FGRAD_CACHE_DIR", CacheWarning, stacklevel=2)


def _sweep(top: Path, limit: int) -> None:
    """Remove the files unused for longest until at most three quarters of `limit` are left, if it is exceeded."""
    files: dict[tuple[int, int], tuple[float, int, list[Path]]] = {}
    for path, status in stored(top):
        files.setdefault((status.st_dev, status.st_ino), (status.st_mtime, status.st_size, []))[2].append(path)
    total = sum(size for _, size, _ in files.values())
    if total <= limit:
        return
    for _, size, paths in sorted(files.values()):
        remove(paths)
        total -= size
        if total <= limit * 3 // 4:
            return


def stored(top: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """The files of the cache, of all targets; one that holds several kernels comes under each of its names."""
    for path in top.glob("*/*"):
        with contextlib.suppress(OSError):
            status = path.stat()
            if stat.S_ISREG(status.st_mode):
                yield path, status


def remove(paths: Iterable[Path]) -> None:
    """Remove files; one that is gone already, or may not be removed, is passed over."""
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()


def known() -> int:
    """How many kernels are in memory."""
    return len(_addresses)


def forget() -> None:
    """Forget every kernel in memory. Machine code that programs may still run stays where it is."""
    with _lock:
        _addresses.clear()
        _failures.clear()
