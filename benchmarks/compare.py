"""fgrad against JAX (jit), PyTorch (eager), autograd and NumPy by hand: the same programs, the same numbers, one run.

    python benchmarks/compare.py                                     everything; about half an hour
    python benchmarks/compare.py --steady --cases "tanh|MLP" --dtype float32 --seconds 0.5
    python benchmarks/compare.py --first-calls --json first.json
    python benchmarks/tables.py first.json --into docs/performance.md

steady state   one process, alternating blocks, every library with its own default threads; median (best). Results are
               compared first with NumPy in float64: one that is off is reported as WRONG and not timed.
first calls    each in a fresh process, median of three (JAX's once or never where that takes long). cold: first call
               with an empty disk cache. size 2: first call at another size of the same program. warm: import and first
               call with a disk cache filled by such a process before; JAX without its persistent cache. Inputs exist
               and NumPy is imported before time starts.
memory         rise of resident memory over five calls in a fresh process that ran the program at the smallest size.
busy           as steady state, while another process keeps one core busy; fgrad's time with one thread for comparison.
limit          the larger of: the case's matrix products in OpenBLAS at their own shapes; its arguments and results at
               the copy bandwidth measured for so many bytes.

Libraries that are not installed are left out. The `peers` extra installs them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from timing import fair, machine

fair()
import limits  # noqa: E402
import steady  # noqa: E402
from cases import CASES, select  # noqa: E402
from cases.case import Case  # noqa: E402
from cases.libraries import COMPILED, MAKERS, version  # noqa: E402
from tables import PARTS, Row, report  # noqa: E402

FRESH = Path(__file__).parent / "fresh.py"
REPEATS = 3
PATIENCE = 600  # seconds for one measurement in a fresh process


# ---- Measuring ----------------------------------------------------------------------------------


def fresh(kind: str, library: str, case: Case, dtype: str, cache: str) -> Row:
    """The measurement of `fresh.py`, or {"error": why there is none}."""
    # Byte code is kept, as that of an installed package is.
    unset = ("JAX_COMPILATION_CACHE_DIR", "PYTHONDONTWRITEBYTECODE")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    command = [sys.executable, str(FRESH), kind, library, case.name, dtype]
    try:
        done = subprocess.run(
            command,
            env=environment | {"FGRAD_CACHE_DIR": cache},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"more than {PATIENCE} s"}
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]}
    return json.loads(done.stdout.splitlines()[-1])


def middle(rows: Sequence[Row]) -> Row:
    """The median of each figure; the first error, if there is one."""
    failed = next((row for row in rows if "error" in row), None)
    if failed is not None:
        return failed
    return {key: None if rows[0][key] is None else statistics.median(row[key] for row in rows) for key in rows[0]}


def first_calls(case: Case, dtype: str, libraries: Sequence[str]) -> Row:
    """First calls of the libraries that compile: {library: figures} and, for fgrad, "warm" with a filled disk cache."""
    found: Row = {"case": case.name, "dtype": dtype}
    for name in libraries:
        cold, warm = [], []
        for _ in range(case.jax_repeats if name == "jax" else REPEATS):
            with tempfile.TemporaryDirectory() as cache:
                cold.append(fresh("first", name, case, dtype, cache))
                if name == "fgrad" and "error" not in cold[-1]:
                    warm.append(fresh("first", name, case, dtype, cache))
            if "error" in cold[-1]:
                break
        if cold:
            found[name] = middle(cold)
        if warm:
            found["warm"] = middle(warm)
    return found


def memory(case: Case, dtype: str, libraries: Sequence[str]) -> Row:
    """Bytes that resident memory rises, by library."""
    with tempfile.TemporaryDirectory() as cache:
        found = {name: fresh("memory", name, case, dtype, cache) for name in libraries}
    return {
        "case": case.name,
        "dtype": dtype,
        "peaks": {name: figures.get("peak") for name, figures in found.items()},
        "refused": {name: figures["error"] for name, figures in found.items() if "error" in figures},
    }


# ---- The command --------------------------------------------------------------------------------


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n", 1)[0], epilog="cases: " + "; ".join(case.name for case in CASES)
    )
    parser.add_argument("--cases", default="*", help="part of a name, a shell pattern, or several separated by |")
    parser.add_argument("--dtype", choices=["float32", "float64", "both"], default="both")
    parser.add_argument("--libraries", default=",".join(MAKERS), help="comma-separated, of: " + ", ".join(MAKERS))
    parser.add_argument("--seconds", type=float, default=1.0, help="for each library in each case (steady state, busy)")
    parser.add_argument("--steady", action="store_true", help="only these parts: steady state")
    parser.add_argument("--first-calls", action="store_true", help="... first calls in fresh processes")
    parser.add_argument("--memory", action="store_true", help="... peak memory in fresh processes")
    parser.add_argument("--busy", action="store_true", help="... with one core kept busy")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the raw numbers (seconds, bytes)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what the options ask for, and print it."""
    asked = options(arguments)
    everything = not (asked.steady or asked.first_calls or asked.memory or asked.busy)
    wanted = [name for name in MAKERS if name in asked.libraries.split(",")]
    missing = [name for name in wanted if version(name) is None]
    libraries = [name for name in wanted if name not in missing]
    compiled = [name for name in COMPILED if name in libraries]
    dtypes = ["float32", "float64"] if asked.dtype == "both" else [asked.dtype]
    runs = [(case, dtype) for dtype in dtypes for case in select(asked.cases)]

    rates = [f"{limits.gemm_rate(dtype) / 1e9:.0f} ({dtype})" for dtype in dtypes]
    bandwidths = [f"{limits.copy_bandwidth(size) / 1e9:.0f} ({size >> 20} MB)" for size in (1 << 23, 1 << 27)]
    about = [
        machine() + "; " + ", ".join(f"{name} {version(name)}" for name in libraries),
        *["not installed, left out: " + ", ".join(missing)] * bool(missing),
        f"OpenBLAS at 1024: {', '.join(rates)} GFLOP/s; copy: {', '.join(bandwidths)} GB/s",
    ]
    found: dict[str, Any] = {"machine": "\n".join(about), "libraries": libraries} | {part: [] for part in PARTS}
    parts: list[tuple[str, bool, Callable[[Case, str], Row | None]]] = [
        ("steady", asked.steady, lambda case, dtype: steady.measure(case, dtype, libraries, asked.seconds)),
        ("busy", asked.busy, lambda case, dtype: steady.measure_busy(case, dtype, libraries, asked.seconds)),
        ("first", asked.first_calls, lambda case, dtype: first_calls(case, dtype, compiled)),
        ("memory", asked.memory, lambda case, dtype: memory(case, dtype, libraries)),
    ]
    with tempfile.TemporaryDirectory() as cache:
        os.environ["FGRAD_CACHE_DIR"] = cache
        try:
            for part, chosen, measure in parts:
                for case, dtype in runs:
                    if not (everything or chosen) or (part == "busy" and not case.parallel):
                        continue
                    if case.compiling and part != "first":
                        continue
                    print(f"{part}: {case.name}, {dtype}", file=sys.stderr)
                    found[part].append(measure(case, dtype))
                    if asked.json:
                        asked.json.write_text(json.dumps(found, indent=1))
        finally:  # an interrupt leaves what there is
            print(report(found, markdown=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
