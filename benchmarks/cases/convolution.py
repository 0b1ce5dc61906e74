"""A training step of a convolutional network of LeNet's size (LeCun et al., Proceedings of the IEEE, 1998)."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .case import Case, Gemm
from .networks import RATE, cross_entropy, cross_entropy_numpy, dense_parameters, sgd, torch_sgd

CHANNELS = (1, 6, 16)
DENSE = (400, 120, 84, 10)
TAPS = 5


def _lenet_inputs(rng, dtype, batch):
    """Two convolutions of 5x5 and three dense layers; images of 28x28 and their labels."""
    filters = [
        (
            (rng.normal(size=(TAPS, TAPS, n, m)) / math.sqrt(TAPS * TAPS * n)).astype(dtype),
            (0.1 * rng.normal(size=m)).astype(dtype),
        )
        for n, m in pairwise(CHANNELS)
    ]
    images = rng.normal(size=(batch, 28, 28, 1)).astype(dtype)
    return filters + dense_parameters(rng, dtype, DENSE), images, rng.integers(0, 10, batch).astype(np.int32)


def _lenet_products(batch: int) -> list[Gemm]:
    """The convolutions as products over patches, then the dense layers; the images need no gradient."""
    layers = [(batch * 784, 25, 6), (batch * 100, 150, 16), *((batch, n, m) for n, m in pairwise(DENSE))]
    forward = [(rows, m, n) for rows, n, m in layers]
    return forward + [(n, m, rows) for rows, n, m in layers] + [(rows, n, m) for rows, n, m in layers[1:]]


def _lenet(lib):
    lax, relu = lib.lax, lib.nn.relu

    def convolve(x, filters, bias, padding):
        y = lax.conv_general_dilated(x, filters, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))
        y = relu(y + bias)
        return lax.reduce_window(y, -np.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

    def loss(params, images, labels):
        first, second, *hidden, (w, b) = params
        x = convolve(images, *first, "SAME")
        x = convolve(x, *second, "VALID").reshape(len(images), -1)
        for weights, bias in hidden:
            x = relu(x @ weights + bias)
        return cross_entropy(lib, x @ w + b, labels)

    return sgd(lib, loss)


# ---- By hand in NumPy ---------------------------------------------------------------------------


def _patches(x, taps):
    """(batch, height, width, channels) to rows of all taps x taps x channels windows."""
    windows = sliding_window_view(x, (taps, taps), axis=(1, 2)).transpose(0, 1, 2, 4, 5, 3)
    return windows.reshape(-1, taps * taps * x.shape[3]), windows.shape[:3]


def _pool(x):
    """The largest of each 2x2 block, and where it was (0 to 3)."""
    batch, height, width, channels = x.shape
    blocks = x.reshape(batch, height // 2, 2, width // 2, 2, channels).transpose(0, 1, 3, 5, 2, 4)
    blocks = blocks.reshape(batch, height // 2, width // 2, channels, 4)
    which = blocks.argmax(axis=-1)
    return np.take_along_axis(blocks, which[..., None], axis=-1)[..., 0], which


def _unpool(delta, which):
    """The cotangent of `_pool`'s argument."""
    batch, height, width, channels = delta.shape
    blocks = np.zeros((*delta.shape, 4), delta.dtype)
    np.put_along_axis(blocks, which[..., None], delta[..., None], axis=-1)
    blocks = blocks.reshape(batch, height, width, channels, 2, 2).transpose(0, 1, 4, 2, 5, 3)
    return blocks.reshape(batch, 2 * height, 2 * width, channels)


def _convolve_numpy(x, filters, bias):
    """The rectified convolution after pooling, and what its gradient needs."""
    rows, shape = _patches(x, TAPS)
    y = np.maximum(rows @ filters.reshape(-1, len(bias)) + bias, 0).reshape(*shape, len(bias))
    pooled, which = _pool(y)
    return pooled, (rows, which, pooled > 0)


def _convolve_gradient(delta, saved, filters):
    """Gradients of filters and bias, and the cotangent of the convolution's result."""
    rows, which, positive = saved
    delta = _unpool(delta * positive, which)
    flat = delta.reshape(-1, delta.shape[3])
    return (rows.T @ flat).reshape(filters.shape), flat.sum(axis=0), delta


def _lenet_numpy(params, images, labels):
    first, second, *dense = params
    margin = TAPS // 2
    padded = np.pad(images, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    x1, saved1 = _convolve_numpy(padded, *first)
    x2, saved2 = _convolve_numpy(x1, *second)
    inputs = [x2.reshape(len(images), -1)]
    for w, b in dense[:-1]:
        inputs.append(np.maximum(inputs[-1] @ w + b, 0))
    w, b = dense[-1]
    value, delta = cross_entropy_numpy(inputs[-1] @ w + b, labels)
    gradient = []
    for layer in range(len(dense) - 1, -1, -1):
        gradient.append((inputs[layer].T @ delta, delta.sum(axis=0)))
        delta = delta @ dense[layer][0].T
        if layer:
            delta = delta * (inputs[layer] > 0)
    filters2, bias2, delta = _convolve_gradient(delta.reshape(x2.shape), saved2, second[0])
    # The input's cotangent is a full convolution with the filters turned by half a turn.
    margin = TAPS - 1
    rows, shape = _patches(np.pad(delta, ((0, 0), (margin, margin), (margin, margin), (0, 0))), TAPS)
    turned = second[0][::-1, ::-1].transpose(0, 1, 3, 2).reshape(-1, CHANNELS[1])
    filters1, bias1, _ = _convolve_gradient((rows @ turned).reshape(*shape, CHANNELS[1]), saved1, first[0])
    gradient = [(filters1, bias1), (filters2, bias2), *gradient[::-1]]
    return [(w - RATE * gw, b - RATE * gb) for (w, b), (gw, gb) in zip(params, gradient, strict=True)], value


def _lenet_torch(torch):
    functional = torch.nn.functional

    def convolve(x, filters, bias, padding):
        y = functional.conv2d(x, filters.permute(3, 2, 0, 1), bias, padding=padding)
        return functional.max_pool2d(torch.relu(y), 2)

    def loss(params, images, labels):
        first, second, *hidden, (w, b) = params
        x = convolve(images.permute(0, 3, 1, 2), *first, "same")
        x = convolve(x, *second, "valid").permute(0, 2, 3, 1).flatten(1)
        for weights, bias in hidden:
            x = torch.relu(torch.addmm(bias, x, weights))
        return functional.cross_entropy(torch.addmm(b, x, w), labels)

    return torch_sgd(torch, loss)


CASES = [
    Case(
        "LeNet, batch 128, SGD",
        _lenet_inputs,
        _lenet,
        _lenet_numpy,
        _lenet_torch,
        size=(128,),
        second=(96,),
        tiny=(2,),
        products=_lenet_products,
        autograd=False,  # autograd has no strided convolution or pooling
        parallel=True,
    )
]
