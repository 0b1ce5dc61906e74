"""Steady state: all libraries in one process, in alternating blocks, after their results were compared."""

from __future__ import annotations

import gc
import importlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import limits
import numpy as np
from cases.case import Case, disagreement, leaves, reference
from cases.libraries import as_numpy, prepare

BLOCKS = 9
ENOUGH = 3  # samples of a program that takes several times as long as it was given
PAUSE = 0.15  # seconds: the threads of the library before stop spinning, OpenBLAS's in NumPy after about 0.1
GROUP = 2e-5  # seconds: shorter calls are timed several at a time

Call = Callable[[], Any]


def sample(calls: dict[str, Call], seconds: float) -> dict[str, dict[str, float]]:
    """Median, best and number of samples of each call, measured for so many seconds each in alternating blocks."""
    groups = {}
    for name, call in calls.items():
        call()
        start = time.perf_counter()
        call()
        groups[name] = max(1, int(GROUP / max(time.perf_counter() - start, 1e-7)))
    found: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    gc.collect()
    gc.freeze()  # collections need not look at what the libraries hold
    for block in range(BLOCKS):
        for name in names[block % len(names) :] + names[: block % len(names)]:
            call, group, samples = calls[name], range(groups[name]), found[name]
            if len(samples) >= ENOUGH and sum(samples) * len(group) > ENOUGH * seconds:
                continue
            time.sleep(PAUSE)
            for _ in group:
                call()
            now = time.perf_counter()
            end = now + seconds / BLOCKS
            while now < end:
                start = time.perf_counter()
                for _ in group:
                    call()
                now = time.perf_counter()
                samples.append((now - start) / len(group))
    gc.unfreeze()
    return {name: {"median": statistics.median(s), "best": min(s), "count": len(s)} for name, s in found.items()}


def checked_calls(case: Case, dtype: str, names: Sequence[str]) -> tuple[dict[str, Call], dict[str, str], list[Any]]:
    """The libraries' calls whose results are right, what is the matter with the others, and the right results."""
    expected = reference(case, dtype)
    calls: dict[str, Call] = {}
    refused: dict[str, str] = {}
    for name in names:
        try:
            bind = prepare(name, case, dtype)
            if bind is None:
                continue
            call = bind(case.arguments(dtype))
            wrong = disagreement(case, dtype, as_numpy(call()), expected)
        except Exception as error:  # whatever a library raises is its result
            refused[name] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            continue
        if wrong is None:
            calls[name] = call
        else:
            refused[name] = f"WRONG: {wrong}"
    return calls, refused, expected


def measure(case: Case, dtype: str, names: Sequence[str], seconds: float) -> dict[str, Any]:
    """One row: times by library, those refused and why, and the physical limit in seconds."""
    calls, refused, expected = checked_calls(case, dtype, names)
    products = case.products(*case.size)
    width = np.dtype(dtype).itemsize
    touched = width * sum(leaf.size for leaf in [*leaves(case.arguments(dtype)), *expected])
    return {
        "case": case.name,
        "dtype": dtype,
        "times": sample(calls, seconds) if calls else {},
        "refused": refused,
        "bytes": touched,
        "flops": limits.flops(products),
        "products": limits.products_seconds(dtype, products) if products else None,
        "limit": limits.limit_seconds(dtype, products, touched),
    }


@contextmanager
def busy_core() -> Iterator[None]:
    """Another process that keeps one core busy."""
    spinner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.2)
        yield
    finally:
        spinner.kill()
        spinner.wait()


def measure_busy(case: Case, dtype: str, names: Sequence[str], seconds: float) -> dict[str, Any]:
    """One row: fgrad's one-thread time on a quiet machine, and times by library with one core busy.

    serial is None where fgrad cannot be told how many threads to use.
    """
    calls, refused, _ = checked_calls(case, dtype, names)
    fgrad = importlib.import_module("fgrad") if "fgrad" in calls else None
    serial = None
    if hasattr(fgrad, "set_num_threads"):
        fgrad.set_num_threads(1)
        serial = sample({"fgrad": calls["fgrad"]}, seconds)["fgrad"]
        fgrad.set_num_threads(os.cpu_count() or 1)
    with busy_core():
        times = sample(calls, seconds) if calls else {}
    return {"case": case.name, "dtype": dtype, "serial": serial, "times": times, "refused": refused}
