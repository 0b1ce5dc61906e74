"""Fit the tables of fgrad/compile/vecmath/tables.py.

    python scripts/fit_tables.py                       # all of them; or names: exp, log, erf

Prints them as they stand in that file. Polynomials that all parts of a range share are fitted as by fit_polynomial.py;
those of erf, one for each part, interpolate at Chebyshev nodes.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from fit_polynomial import Real, Target, fit, mp

PARTS = 16


def show(name: str, numbers: Sequence[float]) -> None:
    """Print an assignment as in the file."""
    print(f"{name} = (\n{lines(numbers, 4)}\n)  # fmt: skip")


def lines(numbers: Sequence[float], indent: int) -> str:
    space = " " * indent
    text = ", ".join(str(x) for x in numbers) + ","
    return textwrap.fill(text, 120, initial_indent=space, subsequent_indent=space)


def nearest(x: Real, type: str) -> np.floating:
    """x rounded to a float of this type; twice for float32, which matters once in 2^29 numbers."""
    return np.float32(float(x)) if type == "f32" else np.float64(float(x))


def exp() -> None:
    """2^(j/16) in two parts, and the rest of e^r on a sixteenth."""
    exact = [mp.mpf(2) ** (mp.mpf(j) / PARTS) for j in range(PARTS)]
    powers = [float(x) for x in exact]
    show("_POWERS", powers)
    show("_POWERS_LOW", [float(x - p) for x, p in zip(exact, powers, strict=True)])
    high = mp.log(2) / 32 * mp.mpf("1.001")
    show("_EXP", fit(Target(lambda r: (mp.expm1(r) - r) / r**2, lambda r: r * r / mp.exp(r), -high, high), "f64", 5)[0])


def log() -> None:
    """For each sixteenth of a binade c, a multiple of 1/128 near the inverse of its middle; −log c in two parts."""
    bits = np.float64(1).view(np.int64) - (19 << 47) + (np.arange(PARTS + 1) << 48)
    sixteenths = list(pairwise(mp.mpf(float(x)) for x in bits.view(np.float64)))
    inverses = [mp.mpf(1) if low < 1 < high else mp.nint(256 / (low + high)) / 128 for low, high in sixteenths]
    logs = [-mp.log(c) for c in inverses]
    high_parts = [mp.nint(x * 2**42) / 2**42 for x in logs]
    show("_INVERSES", [float(c) for c in inverses])
    show("_LOGS", [float(x) for x in high_parts])
    show("_LOGS_LOW", [float(x - y) for x, y in zip(logs, high_parts, strict=True)])
    rests = [edge * c - 1 for c, edges in zip(inverses, sixteenths, strict=True) for edge in edges]
    low, high = (f(rests) * mp.mpf("1.001") for f in (min, max))
    target = Target(lambda r: (mp.log1p(r) - r) / r**2, lambda r: abs(r**2 / mp.log1p(r)), low, high)
    show("_LOG", fit(target, "f64", 9)[0])


def interpolate(f: Callable[[Real], Real], low: Real, high: Real, count: int) -> list[Real]:
    """The coefficients of the polynomial through f at so many Chebyshev nodes."""
    nodes = [(low + high) / 2 + (high - low) / 2 * mp.cos(mp.pi * (2 * i + 1) / (2 * count)) for i in range(count)]
    return list(mp.lu_solve(mp.matrix([[x**k for k in range(count)] for x in nodes]), mp.matrix([f(x) for x in nodes])))


def part_of_erf(step: Real, j: int, count: int) -> list[Real]:
    """The coefficients of erf(j step + t) for |t| <= step/2; odd ones alone for j = 0."""
    high = step / 2 * mp.mpf("1.001")
    if j:
        return interpolate(lambda t: mp.erf(j * step + t), -high, high, count)
    ratio = interpolate(lambda z: mp.erf(mp.sqrt(z)) / mp.sqrt(z), mp.mpf(0), high**2, count // 2)
    return [c for pair in zip([mp.mpf(0)] * count, ratio, strict=False) for c in pair]


def erf() -> None:
    """First the constants of all parts; in the first three parts, of erf(x) − x."""
    print("_ERF = {")
    for type, step, count in (("f32", mp.mpf(65) / 256, 6), ("f64", mp.mpf(49) / 128, 14)):
        parts = [part_of_erf(step, j, count) for j in range(PARTS)]
        for j in range(3):
            parts[j][0] -= j * step
            parts[j][1] -= 1
        print(f'    "{type}": (')
        for row in zip(*parts, strict=True):
            print(f"        (\n{lines([nearest(c, type) for c in row], 12)}\n        ),")
        print("    ),")
    print("}  # fmt: skip")


if __name__ == "__main__":
    for name in sys.argv[1:] or ("exp", "log", "erf"):
        globals()[name]()
