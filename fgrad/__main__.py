"""`python -m fgrad info`: what fgrad found on this machine, and what in the environment slows it down."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from . import __version__, cache
from .compile import blas, engine
from .compile.native.pool import available, get_num_threads

PACKAGES = ("numpy", "scipy", "numba", "llvmlite", "scipy-openblas32", "optree", "opt_einsum")
HANDICAPS = {
    "OPENBLAS_CORETYPE": "matrix products use the routines of that processor type, NumPy's too: half the speed or less "
    "where this machine is newer",
    "OPENBLAS_L2_SIZE": "matrix products are cut for a cache of that size, not for this machine's",
}
USAGE = "usage: python -m fgrad info"


def versions() -> str:
    """Versions of what fgrad runs on, in one line."""
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} missing")
    return ", ".join(found)


def library() -> str:
    """The matrix library: how it was built, and the processor type whose routines it chose."""
    if not blas.available():
        return "missing: matrix products are NumPy calls (pip install scipy-openblas32)"
    texts = []
    for name in ("openblas_get_config", "openblas_get_corename"):
        ask = ctypes.CFUNCTYPE(ctypes.c_char_p)(blas.address(name))
        texts.append((ask() or b"").decode())
    return f"{texts[0].strip()}; routines for {texts[1]}"


def info() -> Iterator[str]:
    """The lines of the report."""
    llvm, triple, cpu, _ = engine.target().split(", ", 1)[1].split(", ", 3)
    yield f"fgrad {__version__}, Python {platform.python_version()}, {versions()}"
    yield f"processor: {cpu} ({triple}), vectors of {8 * engine.native_vector_bytes()} bits; {llvm}"
    yield f"matrix library: {library()}"
    yield f"threads: {get_num_threads()} of {available()} processors"
    found = cache.info()
    if found.directory is None:
        yield "kernel cache: none on disk"
    else:
        yield f"kernel cache: {found.directory}, {found.files} files, {found.bytes / 1e6:.1f} MB"
    for name, effect in HANDICAPS.items():
        if name in os.environ:
            yield f"warning: {name}={os.environ[name]} is set: {effect}; unset it unless you mean it"


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    if arguments != ["info"]:
        print(USAGE, file=sys.stderr)
        return 2
    print("\n".join(info()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
