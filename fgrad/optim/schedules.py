"""Learning-rate schedules: functions of the step count, usable where an optimiser takes a number.

A schedule takes a step count (a Python int, a NumPy integer or a traced one; the first step is 0) and returns a float64
scalar. Definitions and argument names are those of optax.
"""

from collections.abc import Mapping, Sequence

from fgrad import numpy as fnp
from fgrad.optim.base import Schedule, hyperparameter, nonnegative


def constant_schedule(value: float) -> Schedule:
    """The same value at every step.

    >>> constant_schedule(0.1)(1000)
    0.1
    """
    return lambda count: value


def polynomial_schedule(
    init_value: float, end_value: float, power: float, transition_steps: int, transition_begin: int = 0
) -> Schedule:
    """From ``init_value`` to ``end_value`` in ``transition_steps`` steps, along a power of the remaining fraction.

    The value is ``end_value + (init_value - end_value) * (1 - t / transition_steps) ** power``, where t counts from
    ``transition_begin`` and stays within [0, transition_steps]. With ``transition_steps`` 0 it is constantly
    ``init_value``. Raises ValueError where a number of steps is negative.

    >>> float(polynomial_schedule(1.0, 0.0, power=2, transition_steps=4)(2))
    0.25
    """
    transition_steps = nonnegative("polynomial_schedule", "transition_steps", transition_steps)
    transition_begin = nonnegative("polynomial_schedule", "transition_begin", transition_begin)
    if transition_steps == 0:
        return constant_schedule(init_value)

    def schedule(count):
        done = fnp.clip(count - transition_begin, 0, transition_steps) / transition_steps
        return (init_value - end_value) * (1 - done) ** power + end_value

    return schedule


def linear_schedule(init_value: float, end_value: float, transition_steps: int, transition_begin: int = 0) -> Schedule:
    """From ``init_value`` to ``end_value`` in ``transition_steps`` equal steps: `polynomial_schedule` of power 1.

    >>> float(linear_schedule(0.0, 1.0, transition_steps=4)(1))
    0.25
    """
    return polynomial_schedule(init_value, end_value, 1, transition_steps, transition_begin)


def exponential_decay(
    init_value: float,
    transition_steps: int,
    decay_rate: float,
    transition_begin: int = 0,
    staircase: bool = False,
    end_value: float | None = None,
) -> Schedule:
    """``init_value * decay_rate ** (t / transition_steps)``, where t counts from ``transition_begin``.

    With ``staircase`` the exponent is rounded down; ``end_value`` bounds the result, from below for a rate under 1,
    else from above. Raises ValueError where ``transition_steps`` or ``decay_rate`` is not positive.

    >>> float(exponential_decay(1.0, transition_steps=10, decay_rate=0.5)(20))
    0.25
    """
    transition_steps = _positive("exponential_decay", "transition_steps", transition_steps)
    decay_rate = _positive("exponential_decay", "decay_rate", decay_rate)
    transition_begin = nonnegative("exponential_decay", "transition_begin", transition_begin)

    def schedule(count):
        exponent = fnp.maximum(count - transition_begin, 0) / transition_steps
        if staircase:
            exponent = fnp.floor(exponent)
        value = init_value * decay_rate**exponent
        if end_value is None:
            return value
        return fnp.maximum(value, end_value) if decay_rate < 1 else fnp.minimum(value, end_value)

    return schedule


def cosine_decay_schedule(init_value: float, decay_steps: int, alpha: float = 0.0, exponent: float = 1.0) -> Schedule:
    """Half a cosine wave from ``init_value`` down to ``alpha * init_value`` in ``decay_steps`` steps.

    The value is ``init_value * ((1 - alpha) * ((1 + cos(pi * t / decay_steps)) / 2) ** exponent + alpha)`` (Loshchilov
    and Hutter, "SGDR", 2017). Raises ValueError where ``decay_steps`` is not positive.

    >>> float(cosine_decay_schedule(1.0, decay_steps=10)(10))
    0.0
    """
    decay_steps = _positive("cosine_decay_schedule", "decay_steps", decay_steps)

    def schedule(count):
        wave = (1 + fnp.cos(fnp.pi * fnp.minimum(count, decay_steps) / decay_steps)) / 2
        return init_value * ((1 - alpha) * wave**exponent + alpha)

    return schedule


def piecewise_constant_schedule(
    init_value: float, boundaries_and_scales: Mapping[int, float] | None = None
) -> Schedule:
    """``init_value``, multiplied by each scale from its boundary step on.

    Raises ValueError where a scale is negative.

    >>> schedule = piecewise_constant_schedule(1.0, {10: 0.5, 20: 0.1})
    >>> [float(schedule(step)) for step in (9, 10, 20)]
    [1.0, 0.5, 0.05]
    """
    steps = sorted((boundaries_and_scales or {}).items())
    for boundary, factor in steps:
        nonnegative("piecewise_constant_schedule", f"the scale at step {boundary}", factor)

    def schedule(count):
        value = init_value
        for boundary, factor in steps:
            value = fnp.where(count < boundary, value, value * factor)
        return value

    return schedule


def join_schedules(schedules: Sequence[Schedule], boundaries: Sequence[int]) -> Schedule:
    """One schedule after the other; each is given the number of steps since its own beginning.

    ``boundaries[i]`` is the step at which ``schedules[i + 1]`` takes over. Raises ValueError unless there is one
    boundary fewer than schedules.

    >>> schedule = join_schedules([constant_schedule(1.0), linear_schedule(1.0, 0.0, 4)], boundaries=[10])
    >>> [float(schedule(step)) for step in (9, 10, 12)]
    [1.0, 1.0, 0.5]
    """
    if len(boundaries) != len(schedules) - 1:
        raise ValueError(
            f"join_schedules: {len(schedules)} schedules need one boundary fewer, got {len(boundaries)} boundaries"
        )

    def schedule(count):
        value = schedules[0](count)
        for boundary, following in zip(boundaries, schedules[1:], strict=True):
            value = fnp.where(count < boundary, value, following(count - boundary))
        return value

    return schedule


def warmup_cosine_decay_schedule(
    init_value: float,
    peak_value: float,
    warmup_steps: int,
    decay_steps: int,
    end_value: float = 0.0,
    exponent: float = 1.0,
) -> Schedule:
    """Linear from ``init_value`` to ``peak_value``, then a cosine down to ``end_value``.

    ``decay_steps`` is the length of the whole schedule, the ``warmup_steps`` included. Raises ValueError where it is
    not larger than ``warmup_steps``.

    >>> schedule = warmup_cosine_decay_schedule(0.0, 1.0, warmup_steps=10, decay_steps=110)
    >>> [round(float(schedule(step)), 6) for step in (0, 5, 10, 60, 110)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if not decay_steps > warmup_steps:
        raise ValueError(
            f"warmup_cosine_decay_schedule: decay_steps counts the warm-up too and must be larger than warmup_steps, "
            f"got decay_steps={decay_steps} and warmup_steps={warmup_steps}"
        )
    alpha = 0.0 if peak_value == 0 else end_value / peak_value
    return join_schedules(
        [
            linear_schedule(init_value, peak_value, warmup_steps),
            cosine_decay_schedule(peak_value, decay_steps - warmup_steps, alpha, exponent),
        ],
        [warmup_steps],
    )


def _positive(function: str, name: str, value: float) -> float:
    return hyperparameter(function, name, value, lambda x: x > 0, "positive")
