"""Microseconds an equation over tracing, all passes and planning, at several program sizes.

    python benchmarks/equations.py

The program is the gradient of a chain of residual tanh layers. The budget is 45 us, at every size alike.
"""

from __future__ import annotations

import statistics
import sys
import time
from itertools import pairwise

from timing import fair, machine

fair()
import numpy as np  # noqa: E402

import fgrad  # noqa: E402
from fgrad.core.builder import resting_collector  # noqa: E402
from fgrad.passes.render import render_program  # noqa: E402
from fgrad.rewrites.pipeline import simplify  # noqa: E402


def chain(layers: int):
    def f(ct, x, w):
        def primal(x, w):
            for _ in range(layers):
                x = np.tanh(x * w) + x
            return x

        return fgrad.vjp(primal, x, w)[1](ct)

    return f


def measure(layers: int) -> tuple[int, float, float, float]:
    """Equations of the traced program, and microseconds an equation for tracing with all passes, rewrites, planning."""
    x = np.ones(8)
    with resting_collector():
        marks = [time.perf_counter()]
        traced = fgrad.make_jaxpr(chain(layers))(x, x, x)
        marks.append(time.perf_counter())
        simple = simplify(traced)
        marks.append(time.perf_counter())
        render_program(simple)
        marks.append(time.perf_counter())
    n = len(traced.eqns)
    trace, rewrite, plan = ((b - a) / n * 1e6 for a, b in pairwise(marks))
    return n, trace, rewrite, plan


def main() -> int:
    print(machine())
    print("equations   trace + passes   rewrites   planning   total [us an equation]")
    measure(30)
    for layers in (100, 1000, 3000):
        rows = [measure(layers) for _ in range(5)]
        n = rows[0][0]
        trace, rewrite, plan = (statistics.median(r[k] for r in rows) for k in (1, 2, 3))
        print(f"{n:9d}   {trace:14.1f}   {rewrite:8.1f}   {plan:8.1f}   {trace + rewrite + plan:5.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
