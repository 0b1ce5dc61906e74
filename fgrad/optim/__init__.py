"""Gradient-based optimisers as pairs of pure functions, and the pieces to build others.

An optimiser is a `GradientTransformation`: ``init(params)`` makes its state, ``update(grads, state, params)`` returns
the change of the parameters and the next state. Parameters, gradients and states are pytrees of arrays, so the whole
training step can be passed through `fgrad.jit`, `fgrad.lax.scan` and `fgrad.vmap`. Names and numbers are those of
optax.

>>> import numpy as np
>>> from fgrad import optim
>>> optimizer = optim.sgd(learning_rate=0.5)
>>> params = {"w": np.array([1.0, 2.0])}
>>> state = optimizer.init(params)
>>> grads = {"w": np.array([2.0, 0.0])}
>>> updates, state = optimizer.update(grads, state, params)
>>> optim.apply_updates(params, updates)
{'w': array([0., 2.])}
"""

from fgrad.optim.base import EmptyState, GradientTransformation, apply_updates, chain, identity
from fgrad.optim.optimizers import adagrad, adam, adamw, lion, rmsprop, sgd
from fgrad.optim.schedules import (
    constant_schedule,
    cosine_decay_schedule,
    exponential_decay,
    join_schedules,
    linear_schedule,
    piecewise_constant_schedule,
    polynomial_schedule,
    warmup_cosine_decay_schedule,
)
from fgrad.optim.transforms import (
    add_decayed_weights,
    clip,
    clip_by_global_norm,
    global_norm,
    scale,
    scale_by_adam,
    scale_by_learning_rate,
    scale_by_lion,
    scale_by_rms,
    scale_by_rss,
    scale_by_schedule,
    trace,
)

__all__ = [
    "EmptyState",
    "GradientTransformation",
    "adagrad",
    "adam",
    "adamw",
    "add_decayed_weights",
    "apply_updates",
    "chain",
    "clip",
    "clip_by_global_norm",
    "constant_schedule",
    "cosine_decay_schedule",
    "exponential_decay",
    "global_norm",
    "identity",
    "join_schedules",
    "linear_schedule",
    "lion",
    "piecewise_constant_schedule",
    "polynomial_schedule",
    "rmsprop",
    "scale",
    "scale_by_adam",
    "scale_by_learning_rate",
    "scale_by_lion",
    "scale_by_rms",
    "scale_by_rss",
    "scale_by_schedule",
    "sgd",
    "trace",
    "warmup_cosine_decay_schedule",
]
