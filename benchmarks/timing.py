"""Side-by-side timing: alternating blocks in one process, medians and bests, ratios."""

from __future__ import annotations

import gc
import os
import platform
import statistics
import time
import tracemalloc
from collections.abc import Callable

UNSET = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # they slow every OpenBLAS down; call `fair()` before importing NumPy


def fair() -> None:
    """Remove settings from the environment that handicap a BLAS."""
    for name in UNSET:
        os.environ.pop(name, None)


def machine() -> str:
    """One line about this machine."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as f:
            model = next(line.split(":")[1].strip() for line in f if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"


def alternate(
    functions: dict[str, Callable[[], object]], seconds: float = 1.0, blocks: int = 7
) -> dict[str, tuple[float, float]]:
    """Median and best seconds a call of each function, measured in alternating blocks."""
    repeats = {}
    for name, f in functions.items():
        f()
        start = time.perf_counter()
        f()
        once = time.perf_counter() - start
        repeats[name] = max(1, int(seconds / blocks / max(once, 1e-7)))
    samples: dict[str, list[float]] = {name: [] for name in functions}
    gc.collect()
    for _ in range(blocks):
        for name, f in functions.items():
            start = time.perf_counter()
            for _ in range(repeats[name]):
                f()
            samples[name].append((time.perf_counter() - start) / repeats[name])
    return {name: (statistics.median(s), min(s)) for name, s in samples.items()}


def peak_bytes(f: Callable[[], object]) -> int:
    """Most bytes that Python and NumPy held at once beyond what they held before, during one call."""
    f()
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    f()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak - before
