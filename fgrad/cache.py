"""The cache of compiled kernels: what it holds, and how to empty it.

`FGRAD_CACHE_DIR` says where kernels are kept on disk (default: `fgrad` in the user's cache directory; empty: nowhere),
`FGRAD_CACHE_LIMIT` how many megabytes they may take (default: 256; the ones unused for longest are removed).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .compile import cache as kernels
from .compile.native import library

__all__ = ["CacheInfo", "clear", "info"]


@dataclass(frozen=True)
class CacheInfo:
    """The state of the kernel cache.

    Attributes:
      directory: where files are kept; None: nowhere.
      files: how many files that directory holds, of all processes and machine types.
      bytes: their size.
      kernels: how many kernels this process has in memory.
      memory_hits: how many kernels this process asked for and had in memory,
      disk_hits: how many files it loaded,
      misses: how many kernels it compiled,
      compile_seconds: and how long that took, in seconds.
    """

    directory: Path | None
    files: int
    bytes: int
    kernels: int
    memory_hits: int
    disk_hits: int
    misses: int
    compile_seconds: float

    def __repr__(self) -> str:
        disk = "no disk cache"
        if self.directory is not None:
            disk = f"directory={str(self.directory)!r}: {self.files} files, {self.bytes / 1e6:.1f} MB"
        return (
            f"CacheInfo({disk}; {self.kernels} kernels in memory; {self.memory_hits} found in memory, "
            f"{self.disk_hits} files loaded, {self.misses} compiled in {self.compile_seconds:.3f} s)"
        )


def info() -> CacheInfo:
    """What the kernel cache holds and how often it was of use in this process.

    >>> import fgrad.cache
    >>> fgrad.cache.info().compile_seconds >= 0
    True
    """
    top = kernels.root()
    sizes = {}
    if top is not None:
        sizes = {(status.st_dev, status.st_ino): status.st_size for _, status in kernels.stored(top)}
    seen = kernels.counters
    return CacheInfo(
        directory=top,
        files=len(sizes),
        bytes=sum(sizes.values()),
        kernels=kernels.known(),
        memory_hits=seen.memory_hits,
        disk_hits=seen.disk_hits,
        misses=seen.misses,
        compile_seconds=seen.compile_seconds,
    )


def clear(disk: bool = True) -> None:
    """Empty the kernel cache: programs made from now on compile their kernels again, existing ones go on running.

    The memory that calls and results left behind for those to come, up to 64 MB of results, goes back to the system.

    Args:
      disk: remove the files as well, those of other processes and machine types included.
    """
    kernels.forget()
    library.release_arenas()
    library.release_blocks()
    top = kernels.root()
    if disk and top is not None:
        kernels.remove(path for path, _ in kernels.stored(top))
