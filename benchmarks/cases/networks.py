"""Training steps of dense networks: softmax cross-entropy on integer labels; new parameters and the loss come back."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from .case import Case, Gemm

RATE = 0.1
BETA1, BETA2, SMALL = 0.9, 0.999, 1e-8


def dense_parameters(rng, dtype, widths) -> list[tuple[np.ndarray, np.ndarray]]:
    """A weight matrix and a bias for each layer."""
    return [
        ((rng.normal(size=(n, m)) / math.sqrt(n)).astype(dtype), (0.1 * rng.normal(size=m)).astype(dtype))
        for n, m in pairwise(widths)
    ]


def _batch_inputs(rng, dtype, batch, *widths):
    labels = rng.integers(0, widths[-1], batch).astype(np.int32)
    return dense_parameters(rng, dtype, widths), rng.normal(size=(batch, widths[0])).astype(dtype), labels


def _batch_products(batch: int, *widths: int) -> list[Gemm]:
    """Forward and weight gradient of every layer, input gradient of every layer but the first."""
    layers = list(pairwise(widths))
    forward = [(batch, m, n) for n, m in layers]
    return forward + [(n, m, batch) for n, m in layers] + [(batch, n, m) for n, m in layers[1:]]


# ---- The same text for fgrad, JAX and autograd ----------------------------------------------------


def cross_entropy(lib, logits, labels):
    """Mean over the batch of minus the log-probability of the right class."""
    one_hot = lib.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    return -lib.numpy.mean(lib.numpy.sum(one_hot * lib.nn.log_softmax(logits), axis=-1))


def _loss(lib, activation):
    def loss(params, x, labels):
        *hidden, (w, b) = params
        for weights, bias in hidden:
            x = activation(x @ weights + bias)
        return cross_entropy(lib, x @ w + b, labels)

    return loss


def sgd(lib, loss):
    """A training step: parameters and data to the new parameters and the loss."""

    def step(params, *data):
        value, gradient = lib.value_and_grad(loss)(params, *data)
        return lib.tree.map(lambda p, g: p - RATE * g, params, gradient), value

    return step


def _tanh_step(lib):
    return sgd(lib, _loss(lib, lib.numpy.tanh))


def _relu_step(lib):
    return sgd(lib, _loss(lib, lib.nn.relu))


def _adam_inputs(rng, dtype, batch, *widths):
    params, x, labels = _batch_inputs(rng, dtype, batch, *widths)
    first = [(np.zeros_like(w), np.zeros_like(b)) for w, b in params]
    second = [(np.full_like(w, 1e-4), np.full_like(b, 1e-4)) for w, b in params]
    return params, first, second, np.asarray(10.0, dtype), x, labels


def _adam(lib):
    loss = _loss(lib, lib.nn.relu)

    def step(params, first, second, count, x, labels):
        value, gradient = lib.value_and_grad(loss)(params, x, labels)
        count = count + 1.0
        first = lib.tree.map(lambda m, g: BETA1 * m + (1.0 - BETA1) * g, first, gradient)
        second = lib.tree.map(lambda v, g: BETA2 * v + (1.0 - BETA2) * (g * g), second, gradient)
        c1, c2 = 1.0 - BETA1**count, 1.0 - BETA2**count
        params = lib.tree.map(
            lambda p, m, v: p - 0.001 * (m / c1) / (lib.numpy.sqrt(v / c2) + SMALL), params, first, second
        )
        return params, first, second, count, value

    return step


def _per_example(lib):
    return lib.vmap(lib.grad(_loss(lib, lib.numpy.tanh)), in_axes=(None, 0, 0))


def _residual_inputs(rng, dtype, batch, depth, width):
    params = [
        ((rng.normal(size=(width, width)) / (10.0 * math.sqrt(width))).astype(dtype), np.zeros(width, dtype))
        for _ in range(depth)
    ]
    return params, *rng.normal(size=(2, batch, width)).astype(dtype)


def _residual_products(batch: int, depth: int, width: int) -> list[Gemm]:
    return [(batch, width, width), (width, width, batch), (batch, width, width)] * depth


def _residual_step(lib):
    def loss(params, x, target):
        for weights, bias in params:
            x = x + lib.numpy.tanh(x @ weights + bias)
        return lib.numpy.mean((x - target) ** 2)

    return sgd(lib, loss)


# ---- By hand in NumPy ---------------------------------------------------------------------------


def cross_entropy_numpy(logits, labels) -> tuple[Any, np.ndarray]:
    """The loss and its gradient with respect to the logits."""
    rows = np.arange(len(labels))
    shifted = logits - logits.max(axis=1, keepdims=True)
    e = np.exp(shifted)
    total = e.sum(axis=1, keepdims=True)
    value = (np.log(total[:, 0]) - shifted[rows, labels]).mean()
    e /= total
    e[rows, labels] -= 1.0
    e /= len(labels)
    return value, e


def _hidden_numpy(params, x, activation) -> list[np.ndarray]:
    """The input of every layer."""
    inputs = [x]
    for w, b in params[:-1]:
        inputs.append(activation(inputs[-1] @ w + b))
    return inputs


def _gradient_numpy(params, x, labels, activation, slope):
    """The loss and the gradients of the parameters; `slope` is the activation's derivative at its own value."""
    inputs = _hidden_numpy(params, x, activation)
    w, b = params[-1]
    value, delta = cross_entropy_numpy(inputs[-1] @ w + b, labels)
    gradient = []
    for layer in range(len(params) - 1, -1, -1):
        gradient.append((inputs[layer].T @ delta, delta.sum(axis=0)))
        if layer:
            delta = (delta @ params[layer][0].T) * slope(inputs[layer])
    return value, gradient[::-1]


def _relu_numpy(x):
    return np.maximum(x, 0)


def _positive(y):
    return y > 0


def _tanh_slope(y):
    return 1.0 - y * y


def _update_numpy(params, gradient):
    return [(w - RATE * gw, b - RATE * gb) for (w, b), (gw, gb) in zip(params, gradient, strict=True)]


def _tanh_step_numpy(params, x, labels):
    value, gradient = _gradient_numpy(params, x, labels, np.tanh, _tanh_slope)
    return _update_numpy(params, gradient), value


def _relu_step_numpy(params, x, labels):
    value, gradient = _gradient_numpy(params, x, labels, _relu_numpy, _positive)
    return _update_numpy(params, gradient), value


def _adam_numpy(params, first, second, count, x, labels):
    value, gradient = _gradient_numpy(params, x, labels, _relu_numpy, _positive)
    count = count + 1.0
    c1, c2 = 1.0 - BETA1**count, 1.0 - BETA2**count
    out = []
    for old, means, squares, slopes in zip(params, first, second, gradient, strict=True):
        layer = []
        for p, m, v, g in zip(old, means, squares, slopes, strict=True):
            m = BETA1 * m + (1.0 - BETA1) * g
            v = BETA2 * v + (1.0 - BETA2) * (g * g)
            layer.append((p - 0.001 * (m / c1) / (np.sqrt(v / c2) + SMALL), m, v))
        out.append(tuple(zip(*layer, strict=True)))
    params, first, second = ([tree[i] for tree in out] for i in range(3))
    return params, first, second, count, value


def _per_example_numpy(params, x, labels):
    hidden = _hidden_numpy(params, x, np.tanh)
    w, b = params[-1]
    _, delta = cross_entropy_numpy(hidden[-1] @ w + b, labels)
    delta *= len(labels)
    gradient = []
    for layer in range(len(params) - 1, -1, -1):
        gradient.append((hidden[layer][:, :, None] * delta[:, None, :], delta))
        if layer:
            delta = (delta @ params[layer][0].T) * _tanh_slope(hidden[layer])
    return gradient[::-1]


def _residual_numpy(params, x, target):
    values, squashed = [x], []
    for w, b in params:
        squashed.append(np.tanh(values[-1] @ w + b))
        values.append(values[-1] + squashed[-1])
    error = values[-1] - target
    delta = error * (2.0 / error.size)
    gradient = []
    for (w, _), v, t in zip(params[::-1], values[-2::-1], squashed[::-1], strict=True):
        inner = delta * (1.0 - t * t)
        gradient.append((v.T @ inner, inner.sum(axis=0)))
        delta = delta + inner @ w.T
    return _update_numpy(params, gradient[::-1]), (error * error).mean()


# ---- PyTorch, eager -----------------------------------------------------------------------------


def torch_gradient(torch, loss, params, *data):
    """The loss and the gradients of the parameters, in the structure of the parameters."""
    flat = [t.requires_grad_() for layer in params for t in layer]
    value = loss(params, *data)
    found = iter(torch.autograd.grad(value, flat))
    return value.detach(), [tuple(next(found) for _ in layer) for layer in params]


def torch_sgd(torch, loss):
    """The training step of `sgd`."""

    def step(params, *data):
        value, gradient = torch_gradient(torch, loss, params, *data)
        with torch.no_grad():
            return _update_numpy(params, gradient), value

    return step


def _loss_torch(torch, activation):
    def loss(params, x, labels):
        *hidden, (w, b) = params
        for weights, bias in hidden:
            x = activation(torch.addmm(bias, x, weights))
        return torch.nn.functional.cross_entropy(torch.addmm(b, x, w), labels)

    return loss


def _adam_torch(torch):
    loss = _loss_torch(torch, torch.relu)

    def step(params, first, second, count, x, labels):
        value, gradient = torch_gradient(torch, loss, params, x, labels)
        with torch.no_grad():
            count = count + 1.0
            c1, c2 = 1.0 - BETA1**count, 1.0 - BETA2**count
            pairs = [list(zip(m, g, strict=True)) for m, g in zip(first, gradient, strict=True)]
            first = [tuple(BETA1 * m + (1.0 - BETA1) * g for m, g in layer) for layer in pairs]
            pairs = [list(zip(v, g, strict=True)) for v, g in zip(second, gradient, strict=True)]
            second = [tuple(BETA2 * v + (1.0 - BETA2) * (g * g) for v, g in layer) for layer in pairs]
            params = [
                tuple(p - 0.001 * (m / c1) / (torch.sqrt(v / c2) + SMALL) for p, m, v in zip(*layer, strict=True))
                for layer in zip(params, first, second, strict=True)
            ]
        return params, first, second, count, value

    return step


def _per_example_torch(torch):
    def loss(params, x, label):
        *hidden, (w, b) = params
        for weights, bias in hidden:
            x = torch.tanh(x @ weights + bias)
        return torch.nn.functional.cross_entropy(x @ w + b, label)

    return torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))


def _residual_torch(torch):
    def loss(params, x, target):
        for weights, bias in params:
            x = x + torch.tanh(torch.addmm(bias, x, weights))
        return torch.nn.functional.mse_loss(x, target)

    return torch_sgd(torch, loss)


CASES = [
    Case(
        "MLP 64-32-10, batch 32, SGD",
        _batch_inputs,
        _tanh_step,
        _tanh_step_numpy,
        lambda torch: torch_sgd(torch, _loss_torch(torch, torch.tanh)),
        size=(32, 64, 32, 10),
        second=(48, 64, 32, 10),
        tiny=(3, 5, 4, 2),
        products=_batch_products,
        dispatch=True,
    ),
    Case(
        "MLP 784-512-512-10, batch 128, SGD",
        _batch_inputs,
        _relu_step,
        _relu_step_numpy,
        lambda torch: torch_sgd(torch, _loss_torch(torch, torch.relu)),
        size=(128, 784, 512, 512, 10),
        second=(96, 784, 512, 512, 10),
        tiny=(3, 6, 5, 4, 3),
        products=_batch_products,
        parallel=True,
    ),
    Case(
        "MLP 784-256-128-10, batch 64, Adam",
        _adam_inputs,
        _adam,
        _adam_numpy,
        _adam_torch,
        size=(64, 784, 256, 128, 10),
        second=(48, 784, 256, 128, 10),
        tiny=(3, 6, 5, 4, 3),
        products=_batch_products,
        parallel=True,
        tolerance=10.0,  # where a gradient nearly vanishes, g / sqrt(g²) magnifies its rounding
    ),
    Case(
        "per-example gradients, 256 of 32-64-10",
        _batch_inputs,
        _per_example,
        _per_example_numpy,
        _per_example_torch,
        size=(256, 32, 64, 10),
        second=(300, 32, 64, 10),
        tiny=(3, 5, 4, 2),
        products=lambda batch, n, h, m: [(batch, h, n), (batch, m, h), (batch, h, m)],
        autograd=False,  # autograd has no vmap
        parallel=True,
    ),
    Case(
        "1000 residual layers of 32, SGD",
        _residual_inputs,
        _residual_step,
        _residual_numpy,
        _residual_torch,
        size=(32, 1000, 32),
        second=(48, 1000, 32),
        tiny=(2, 5, 4),
        products=_residual_products,
        tolerance=10.0,  # a thousand roundings in a row
    ),
    Case(
        "10000 residual layers of 32, SGD",
        _residual_inputs,
        _residual_step,
        _residual_numpy,
        _residual_torch,
        size=(32, 10_000, 32),
        second=None,
        tiny=(2, 5, 4),
        products=_residual_products,
        tolerance=100.0,
        compiling=True,
        jax_repeats=0,
    ),
]
