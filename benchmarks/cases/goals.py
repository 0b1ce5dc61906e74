"""The numbers to reach, in one table, and how a measurement is judged by it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

Timing = tuple[float, float]  # median and best, seconds


@dataclass(frozen=True)
class Goal:
    """What holds for a case in steady state.

    median, best: largest ratios of medians and of bests to JAX's (best None: as median). microseconds: a median that is
    good enough whatever JAX takes. limit: largest ratio of the best to the time of the case's matrix products alone.
    beats: libraries whose median and best it may not exceed.
    """

    median: float | None = None
    best: float | None = None
    microseconds: float | None = None
    limit: float | None = None
    beats: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """As printed behind a ratio."""
        parts = []
        if self.median is not None:
            parts.append(f"{self.median:g}" + (f" / {self.best:g}" if self.best is not None else ""))
        if self.microseconds is not None:
            parts.append(f"{self.microseconds:g} us")
        text = " or ".join(parts)
        if self.limit is not None:
            text += f", {self.limit:g} x GEMM limit"
        return text + "".join(f", faster than {name}" for name in self.beats)


FLOAT32 = {
    "scalar x*x+1": Goal(0.35),
    "2*x+y of 10": Goal(microseconds=1.5),
    "Rosenbrock gradient, 10": Goal(0.35),
    "pytree of 20 arrays": Goal(0.6, microseconds=4.5),
    "MLP 64-32-10, batch 32, SGD": Goal(0.35, 0.7),
    "MLP 784-512-512-10, batch 128, SGD": Goal(0.95, limit=1.35),
    "MLP 784-256-128-10, batch 64, Adam": Goal(0.7),
    "tanh 1M": Goal(0.75),
    "Black-Scholes 1M": Goal(0.6),
    "Black-Scholes greeks 1M": Goal(0.3),
    "softmax 2000x1000": Goal(0.7),
    "layer-norm gradient 512x768": Goal(0.35),
    "logistic gradient 100000x64": Goal(0.4),
    "per-example gradients, 256 of 32-64-10": Goal(0.35),
    "LeNet, batch 128, SGD": Goal(0.18, beats=("torch",)),
    "1000 residual layers of 32, SGD": Goal(0.3),
    "sort 1M": Goal(0.03),
    "Lorenz, 10,000 RK4 steps": Goal(0.8),
    "Lorenz, 10,000 RK4 steps, gradient": Goal(0.7),
    "while loop of 100,000 trips": Goal(0.5),
    "tanh RNN, T 100, batch 32, width 64, gradient": Goal(0.4),
    "LSTM, T 50, batch 16, width 128, SGD": Goal(0.45),
    "A[i] from A[i-1], n = 1,000, gradient": Goal(0.05),
    "A[i] from A[i-1], n = 8,000, gradient": Goal(0.01),
    "scan of 20 scalars, 1,000 steps, gradient": Goal(0.08),
    "scan of 60 scalars, 1,000 steps, gradient": Goal(0.08),
}
FLOAT64 = FLOAT32 | {
    "tanh 1M": Goal(1.5),  # at 2 ULP, where JAX has 6.8
    "Black-Scholes 1M": Goal(0.1),
    "Black-Scholes greeks 1M": Goal(0.1),
    "matmul 1024": Goal(1.25),
    "Lorenz, 10,000 RK4 steps, gradient": Goal(0.1),
    "MLP 784-512-512-10, batch 128, SGD": replace(FLOAT32["MLP 784-512-512-10, batch 128, SGD"], median=1.25),
}
STEADY: Mapping[str, Mapping[str, Goal]] = {"float32": FLOAT32, "float64": FLOAT64}

FIRST_RATIO, FIRST_SECONDS, FIRST_MEAN = 0.5, 0.1, 0.6  # empty disk cache: of JAX's, or at most; geometric mean
# First calls with goals of their own: the largest ratio to JAX's, and seconds that are good enough whatever JAX takes.
FIRST: Mapping[str, tuple[float, float]] = {
    "50 unrolled steps of sin and roll, gradient, 16": (0.015, 0.0),
    "1000 residual layers of 32, SGD": (0.0, 1.5),
    "10000 residual layers of 32, SGD": (0.0, 15.0),
}
SECOND_SIZE = 0.1  # another size: of JAX's recompilation
WARM_RATIO, WARM_RATIO_SLOW, SLOW_SECONDS = 0.5, 0.2, 1.0  # warm disk cache; the second where JAX takes over a second
BUSY_SERIAL, BUSY_JAX = 1.3, 1.0  # one core busy: of its own one-thread time, of JAX
NUMPY = 1.05  # no case slower than NumPy by hand: more than the noise, in medians and in bests


def judge(case: str, dtype: str, times: Mapping[str, Timing], products: float | None) -> tuple[str, bool | None]:
    """A line about a case in steady state, and whether its goal holds (None: there is no goal or nothing to compare).

    times: median and best by library. products: seconds that the case's matrix products take alone.
    """
    goal = STEADY[dtype].get(case)
    ours, jax = times.get("fgrad"), times.get("jax")
    if goal is None or ours is None:
        return "", None
    shown: list[str] = []
    held: list[bool] = []
    if goal.median is not None and jax is not None:
        ratios = ours[0] / jax[0], ours[1] / jax[1]
        shown.append(f"{ratios[0]:.2f} / {ratios[1]:.2f}")
        held.append(ratios[0] <= goal.median and ratios[1] <= (goal.best or goal.median))
    if goal.microseconds is not None:
        shown.append(f"{ours[0] * 1e6:.2f} us")
        held = [any(held) or ours[0] * 1e6 <= goal.microseconds]
    if goal.limit is not None and products:
        shown.append(f"{ours[1] / products:.2f} x limit")
        held.append(ours[1] / products <= goal.limit)
    for name in goal.beats:
        if name in times:
            ratios = ours[0] / times[name][0], ours[1] / times[name][1]
            shown.append(f"{ratios[0]:.2f} / {ratios[1]:.2f} of {name}")
            held.append(max(ratios) <= 1.0)
    return f"{', '.join(shown)} (goal {goal.text})", all(held) if held else None


def judge_first(case: str, ours: float, jax: float | None) -> tuple[str, bool]:
    """A line about a first call with an empty disk cache, and whether its goal holds; seconds, jax: None if unknown."""
    ratio, seconds = FIRST.get(case, (FIRST_RATIO, FIRST_SECONDS))
    goal = " or ".join([f"{ratio:g}"] * bool(ratio) + [f"{1000 * seconds:g} ms"] * bool(seconds))
    found = f"{1000 * ours:.0f} ms" if jax is None else f"{ours / jax:.3g}, {1000 * ours:.0f} ms"
    return f"{found} (goal {goal})", ours <= max(ratio * (jax or 0.0), seconds)


def warm_goal(jax_first: float) -> float:
    """The largest ratio of import and first call with a warm disk cache, given JAX's first call; seconds."""
    return WARM_RATIO_SLOW if jax_first > SLOW_SECONDS else WARM_RATIO


def geometric_mean(ratios: Sequence[float]) -> float:
    """exp of the mean logarithm."""
    return math.exp(sum(map(math.log, ratios)) / len(ratios))
