"""Functions for neural networks: activations, normalised exponentials, losses; weight initialisers in `initializers`.

Names, signatures and values are JAX's (losses: optax's). All functions take arrays of any shape, work element by
element unless they have an ``axis``, and keep the dtype of floating inputs; integers become float64.

>>> import numpy as np
>>> from fgrad import nn
>>> nn.relu(np.array([-1.0, 2.0]))
array([0., 2.])
>>> nn.softmax(np.array([0.0, 0.0]))
array([0.5, 0.5])
"""

from fgrad.nn import initializers
from fgrad.nn.activations import (
    celu,
    elu,
    gelu,
    glu,
    hard_sigmoid,
    hard_silu,
    hard_swish,
    hard_tanh,
    identity,
    leaky_relu,
    log_sigmoid,
    mish,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    soft_sign,
    softplus,
    sparse_plus,
    squareplus,
    swish,
    tanh,
)
from fgrad.nn.losses import (
    cosine_similarity,
    huber_loss,
    kl_divergence,
    l2_loss,
    sigmoid_binary_cross_entropy,
    softmax_cross_entropy,
    softmax_cross_entropy_with_integer_labels,
    squared_error,
)
from fgrad.nn.normalize import log_softmax, logmeanexp, logsumexp, one_hot, softmax, standardize

__all__ = [
    "celu",
    "cosine_similarity",
    "elu",
    "gelu",
    "glu",
    "hard_sigmoid",
    "hard_silu",
    "hard_swish",
    "hard_tanh",
    "huber_loss",
    "identity",
    "initializers",
    "kl_divergence",
    "l2_loss",
    "leaky_relu",
    "log_sigmoid",
    "log_softmax",
    "logmeanexp",
    "logsumexp",
    "mish",
    "one_hot",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "sigmoid_binary_cross_entropy",
    "silu",
    "soft_sign",
    "softmax",
    "softmax_cross_entropy",
    "softmax_cross_entropy_with_integer_labels",
    "softplus",
    "sparse_plus",
    "squared_error",
    "squareplus",
    "standardize",
    "swish",
    "tanh",
]
