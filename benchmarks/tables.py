"""What compare.py measured: tables, and whether the goals hold.

    python benchmarks/tables.py steady.json first.json               as compare.py prints it
    python benchmarks/tables.py *.json --into docs/performance.md    in Markdown, between the two marks there

Several files are one measurement in parts: of a case that is in several, the last counts.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cases import CASES, find
from cases.goals import (
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
from cases.libraries import COMPILED

PARTS = ("steady", "busy", "first", "memory")
MEGABYTE = 1e6  # less is noise
START, END = "<!-- tables of benchmarks/tables.py -->", "<!-- end of tables -->"

Row = dict[str, Any]


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
        cells = ["-" if peaks.get(name) is None else f"{peaks[name] / 1e6:.1f}" for name in libraries]
        jax = peaks.get("jax")
        lines.append([label(row), *cells, ratio(peaks.get("fgrad"), jax) if jax and jax > MEGABYTE else "-"])
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


def report(found: Row, markdown: bool) -> str:
    """The machine, all tables, what was refused, and the goals."""
    libraries = found["libraries"]
    dispatch = {case.name for case in CASES if case.dispatch}
    small = [row for row in found["steady"] if row["case"] in dispatch]
    large = [row for row in found["steady"] if row["case"] not in dispatch]
    blocks = [fenced(found["machine"], markdown)]
    for title, rows in (("Steady state: median (best)", large), ("Bound by dispatch: median (best)", small)):
        if rows:
            blocks.append(steady_table(title, rows, libraries, markdown))
    if found["busy"]:
        blocks.append(busy_table(found["busy"], libraries, markdown))
    if found["first"]:
        blocks.append(first_table(found["first"], markdown))
    if found["memory"]:
        blocks.append(memory_table(found["memory"], libraries, markdown))
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
    lines = [f"{case}: {name}: {why}" for (case, name), why in refused.items()] + goal_lines(found)
    return "\n".join([*blocks, fenced("\n".join(lines), markdown)] if lines else blocks)


def fenced(text: str, markdown: bool) -> str:
    """Lines that Markdown leaves as they are."""
    return f"```\n{text}\n```\n" if markdown else f"{text}\n"


# ---- The command --------------------------------------------------------------------------------


def merged(parts: Sequence[Row]) -> Row:
    """Several measurements as one."""
    found = dict(parts[-1])
    for part in PARTS:
        rows = {(row["dtype"], row["case"]): row for measured in parts for row in measured[part]}
        order = {case.name: i for i, case in enumerate(CASES)}
        found[part] = sorted(rows.values(), key=lambda row: (row["dtype"], order.get(row["case"], len(order))))
    return found


def into(path: Path, text: str) -> None:
    """Put text between the marks of a file."""
    old = path.read_text()
    before, _, rest = old.partition(START)
    _, mark, after = rest.partition(END)
    if not mark:
        raise SystemExit(f"{path} has no lines {START} and {END}")
    path.write_text(f"{before}{START}\n\n{text.strip()}\n\n{END}{after}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what is in files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("files", nargs="+", type=Path, help="written by compare.py --json")
    parser.add_argument("--markdown", action="store_true", help="tables in Markdown")
    parser.add_argument("--into", type=Path, metavar="FILE", help="replace the tables of this file")
    asked = parser.parse_args(arguments)
    text = report(merged([json.loads(path.read_text()) for path in asked.files]), asked.markdown or bool(asked.into))
    if asked.into:
        into(asked.into, text)
    else:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
