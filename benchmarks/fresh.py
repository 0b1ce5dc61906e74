"""One measurement in a fresh process, printed as one line of JSON; `compare.py` runs it.

    python benchmarks/fresh.py first fgrad "tanh 1M" float32
    python benchmarks/fresh.py memory jax "tanh 1M" float32

first: seconds to import the library (NumPy and the inputs are there already), of the first call, and of the first call
at the case's second size. memory: bytes that resident memory rises, at its highest, above what the process held once it
had its arguments and had run the program at the smallest size, so that libraries and compilers do not count.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from timing import fair

fair()
from cases import find  # noqa: E402
from cases.case import Case  # noqa: E402
from cases.libraries import prepare  # noqa: E402

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def timed(f: Callable[[], object]) -> tuple[float, object]:
    """Seconds of one call, and its result."""
    start = time.perf_counter()
    out = f()
    return time.perf_counter() - start, out


def first(name: str, case: Case, dtype: str) -> dict[str, float | None]:
    """Seconds of import, first call and first call at the second size; moving arguments to a library is not counted."""
    args = case.arguments(dtype)
    other = None if case.second is None else case.arguments(dtype, case.second)
    imported, _ = timed(lambda: __import__(name))
    decorated, bind = timed(lambda: prepare(name, case, dtype))
    call, _ = timed(bind(args))
    second = None if other is None else timed(bind(other))[0]
    return {"import": imported, "first": decorated + call, "second": second}


def resident(field: str) -> int:
    """A figure of /proc/self/status in bytes: VmRSS, or VmHWM, its highest so far."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def memory(name: str, case: Case, dtype: str) -> dict[str, float | None]:
    """Highest resident memory of five calls beyond that before the first; None where the system does not tell."""
    if not CLEAR.exists():
        return {"peak": None}
    bind = prepare(name, case, dtype)
    if bind is None:
        return {"peak": None}
    bind(case.arguments(dtype, case.tiny))()
    call = bind(case.arguments(dtype))
    CLEAR.write_text("5")  # resets the highest to the present
    before = resident("VmRSS")
    for _ in range(5):
        call()
    return {"peak": resident("VmHWM") - before}


def main(kind: str, name: str, case: str, dtype: str) -> int:
    """Measure and print."""
    print(json.dumps({"first": first, "memory": memory}[kind](name, find(case), dtype)))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
