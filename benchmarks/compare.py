"""fgrad against JAX (jit), PyTorch (eager), autograd and NumPy by hand: the same programs, the same numbers, one run.

    python benchmarks/compare.py                                     everything; about half an hour
    python benchmarks/compare.py --steady --cases "tanh|MLP" --dtype float32 --seconds 0.5
    python benchmarks/compare.py --first-calls --json first.json
    python benchmarks/compare.py --markdown > table.md               tables for docs/performance.md

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
from cases import CASES, find, select  # noqa: E402
from cases.case import Case  # noqa: E402
from cases.goals import (  # noqa: E402
    BUSY_JAX,
    BUSY_SERIAL,
    FIRST_MEAN,
    NUMPY,
    SECOND_SIZE,
    geometric_mean,
    judge,
    judge_first,
    warm_goal,
)
from cases.libraries import COMPILED, MAKERS, version  # noqa: E402

FRESH = Path(__file__).parent / "fresh.py"
REPEATS = 3
PATIENCE = 600  # seconds for one measurement in a fresh process

Row = dict[str, Any]


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


# ---- Printing -----------------------------------------------------------------------------------


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]], markdown: bool) -> str:
    """Rows of text under a header: as Markdown, or with aligned columns."""
    if markdown:
        lines = [f"### {title}", "", "| " + " | ".join(header) + " |", "|---" + "|--:" * (len(header) - 1) + "|"]
        return "\n".join([*lines, *["| " + " | ".join(row) + " |" for row in rows], ""])
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = []
    for row in [header, *rows]:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *cells[1:]]))
    return "\n".join([f"== {title}", *lines, ""])


def duration(seconds: float | None) -> str:
    """Three digits with a unit."""
    if seconds is None:
        return "-"
    for scale, unit in ((1.0, "s"), (1e-3, "ms")):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


def ratio(ours: float | None, theirs: float | None) -> str:
    """ours / theirs with two digits behind the point."""
    return "-" if ours is None or not theirs else f"{ours / theirs:.2f}"


def label(row: Row) -> str:
    """The case and its dtype."""
    return f"{row['case']}, {'f32' if row['dtype'] == 'float32' else 'f64'}"


def timing_cell(row: Row, name: str) -> str:
    """median (best), WRONG or error, or nothing where the library has no such program."""
    if name in row["times"]:
        return f"{duration(row['times'][name]['median'])} ({duration(row['times'][name]['best'])})"
    refused = row["refused"].get(name)
    return "-" if refused is None else "WRONG" if refused.startswith("WRONG") else "error"


def ratio_cell(times: Row, name: str) -> str:
    """Ratio of fgrad's median, and best, to another library's."""
    if "fgrad" not in times or name not in times:
        return "-"
    return " / ".join(ratio(times["fgrad"][key], times[name][key]) for key in ("median", "best"))


def steady_table(title: str, rows: Sequence[Row], libraries: Sequence[str], markdown: bool) -> str:
    """Times, ratios of medians / bests, and the best over the physical limit."""
    peers = [name for name in libraries if name != "fgrad"]
    lines = []
    for row in rows:
        ours = row["times"].get("fgrad", {}).get("best")
        lines.append(
            [label(row)]
            + [timing_cell(row, name) for name in libraries]
            + [ratio_cell(row["times"], name) for name in peers]
            + [duration(row["limit"]), ratio(ours, row["limit"])]
        )
    header = ["case", *libraries, *[f"fgrad/{name}" for name in peers], "limit", "x limit"]
    return table(title, header, lines, markdown)


def first_table(rows: Sequence[Row], markdown: bool) -> str:
    """First calls of fgrad and JAX."""
    header = ["case", "cold", "jax", "ratio", "size 2", "jax", "ratio", "import + warm", "jax", "ratio"]
    lines = []
    for row in rows:
        ours, jax, warm = row.get("fgrad", {}), row.get("jax", {}), row.get("warm", {})
        pairs = [(ours.get("first"), jax.get("first")), (ours.get("second"), jax.get("second"))]
        pairs.append((beyond_numpy(warm), beyond_numpy(jax)))
        lines.append([label(row), *[cell for a, b in pairs for cell in (duration(a), duration(b), ratio(a, b))]])
    return table("First calls", header, lines, markdown)


def beyond_numpy(figures: Row) -> float | None:
    """Import and first call."""
    return figures["import"] + figures["first"] if "first" in figures else None


def memory_table(rows: Sequence[Row], libraries: Sequence[str], markdown: bool) -> str:
    """Peaks in MB."""
    lines = []
    for row in rows:
        peaks = row["peaks"]
        cells = ["-" if peaks[name] is None else f"{peaks[name] / 1e6:.1f}" for name in libraries]
        lines.append([label(row), *cells, ratio(peaks.get("fgrad"), peaks.get("jax"))])
    return table("Peak memory, MB", ["case", *libraries, "fgrad/jax"], lines, markdown)


def busy_table(rows: Sequence[Row], libraries: Sequence[str], markdown: bool) -> str:
    """Times while one core is busy."""
    lines = []
    for row in rows:
        serial, ours = (row["serial"] or {}).get("median"), row["times"].get("fgrad", {}).get("median")
        cells = [timing_cell(row, name) for name in libraries]
        lines.append([label(row), *cells, duration(serial), ratio(ours, serial), ratio_cell(row["times"], "jax")])
    header = ["case", *libraries, "fgrad, 1 thread, quiet", "busy/1 thread", "fgrad/jax"]
    return table("One core kept busy by another process", header, lines, markdown)


# ---- Goals --------------------------------------------------------------------------------------


def verdict(held: bool | None) -> str:
    """One word."""
    return "not measured" if held is None else "ok" if held else "MISSED"


def goal_lines(found: dict[str, list[Row]]) -> list[str]:
    """What each goal asks, what was found, and whether it holds."""
    lines = []
    for row in found["steady"]:
        times = {name: (t["median"], t["best"]) for name, t in row["times"].items()}
        text, held = judge(row["case"], row["dtype"], times, row["products"])
        if text:
            lines.append(f"steady  {label(row)}: {text} {verdict(held)}")
        if "fgrad" in times and "numpy" in times:
            ratios = [ours / theirs for ours, theirs in zip(times["fgrad"], times["numpy"], strict=True)]
            if min(ratios) > NUMPY:
                lines.append(
                    f"steady  {label(row)}: {ratios[0]:.2f} / {ratios[1]:.2f} of NumPy by hand (goal 1) MISSED"
                )
    lines += first_goals(found["first"])
    for row in found["busy"]:
        ours, jax, serial = (
            t and t["median"] for t in (row["times"].get("fgrad"), row["times"].get("jax"), row["serial"])
        )
        asked = [(serial, BUSY_SERIAL, "its one-thread time"), (jax, BUSY_JAX, "JAX")]
        for other, goal, name in asked:
            if ours and other:
                held = ours <= goal * other
                lines.append(f"busy    {label(row)}: {ours / other:.2f} of {name} (goal {goal:g}) {verdict(held)}")
    return lines


def first_goals(rows: Sequence[Row]) -> list[str]:
    """The goals of first calls."""
    lines, ratios = [], []
    for row in rows:
        ours, jax = row.get("fgrad", {}), row.get("jax", {})
        if "first" not in ours:
            continue
        text, held = judge_first(row["case"], ours["first"], jax.get("first"))
        lines.append(f"cold    {label(row)}: {text} {verdict(held)}")
        if "first" not in jax:
            continue
        if not find(row["case"]).compiling:
            ratios.append(ours["first"] / jax["first"])
        if ours["second"] is not None:
            found = ours["second"] / jax["second"]
            lines.append(f"size 2  {label(row)}: {found:.2f} (goal {SECOND_SIZE:g}) {verdict(found <= SECOND_SIZE)}")
        warm = beyond_numpy(row.get("warm", {}))
        if warm is not None:
            found, goal = warm / (jax["import"] + jax["first"]), warm_goal(jax["first"])
            lines.append(f"warm    {label(row)}: {found:.2f} (goal {goal:g}) {verdict(found <= goal)}")
    if ratios:
        mean = geometric_mean(ratios)
        lines.append(
            f"cold    geometric mean of {len(ratios)}: {mean:.2f} (goal {FIRST_MEAN:g}) {verdict(mean <= FIRST_MEAN)}"
        )
    return lines


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
    parser.add_argument("--markdown", action="store_true", help="tables in Markdown")
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

    print(machine() + "; " + ", ".join(f"{name} {version(name)}" for name in libraries))
    if missing:
        print("not installed, left out: " + ", ".join(missing))
    rates = [f"{limits.gemm_rate(dtype) / 1e9:.0f} ({dtype})" for dtype in dtypes]
    bandwidths = [f"{limits.copy_bandwidth(size) / 1e9:.0f} ({size >> 20} MB)" for size in (1 << 23, 1 << 27)]
    print(f"OpenBLAS at 1024: {', '.join(rates)} GFLOP/s; copy: {', '.join(bandwidths)} GB/s\n")

    found: dict[str, list[Row]] = {"steady": [], "first": [], "memory": [], "busy": []}
    parts: list[tuple[str, bool, Callable[[Case, str], Row | None]]] = [
        ("steady", asked.steady, lambda case, dtype: steady.measure(case, dtype, libraries, asked.seconds)),
        ("busy", asked.busy, lambda case, dtype: steady.measure_busy(case, dtype, libraries, asked.seconds)),
        ("first", asked.first_calls, lambda case, dtype: first_calls(case, dtype, compiled)),
        ("memory", asked.memory, lambda case, dtype: memory(case, dtype, libraries)),
    ]
    about = {"machine": machine(), "versions": {name: version(name) for name in libraries}}
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
                        asked.json.write_text(json.dumps(about | found, indent=1))
        finally:  # an interrupt leaves what there is
            report(found, libraries, asked.markdown)
    return 0


def report(found: dict[str, list[Row]], libraries: Sequence[str], markdown: bool) -> None:
    """All tables, what was refused, and the goals."""
    dispatch = {case.name for case in CASES if case.dispatch}
    small = [row for row in found["steady"] if row["case"] in dispatch]
    large = [row for row in found["steady"] if row["case"] not in dispatch]
    for title, rows in (("Steady state: median (best)", large), ("Bound by dispatch: median (best)", small)):
        if rows:
            print(steady_table(title, rows, libraries, markdown))
    if found["busy"]:
        print(busy_table(found["busy"], libraries, markdown))
    if found["first"]:
        print(first_table(found["first"], markdown))
    if found["memory"]:
        print(memory_table(found["memory"], libraries, markdown))
    refused = {
        (label(row), name): why
        for part in ("memory", "busy", "steady")
        for row in found[part]
        for name, why in row["refused"].items()
    }
    for row in found["first"]:
        refused |= {
            (label(row), name): row[name]["error"] for name in (*COMPILED, "warm") if "error" in row.get(name, {})
        }
    for (case, name), why in refused.items():
        print(f"{case}: {name}: {why}")
    lines = goal_lines(found)
    if lines:
        print("\n".join(["```"] * markdown + lines + ["```"] * markdown))


if __name__ == "__main__":
    sys.exit(main())
