"""Elementwise, row-wise and matrix-vector programs, and sorting."""

from __future__ import annotations

import numpy as np

from .case import Case


def _vector(rng, dtype, n):
    return ((2.0 * rng.normal(size=n)).astype(dtype),)


def _matrix(rng, dtype, rows, columns):
    return ((3.0 * rng.normal(size=(rows, columns))).astype(dtype),)


def _tanh(lib):
    return lambda x: lib.numpy.tanh(x)


def _sort(lib):
    return lambda x: lib.numpy.sort(x)


def _softmax(lib):
    return lambda x: lib.nn.softmax(x, axis=1)


def _softmax_numpy(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    e /= e.sum(axis=1, keepdims=True)
    return e


# ---- Gradient of layer normalisation with respect to its input, scale and bias --------------------

EPSILON = 1e-5


def _norm_inputs(rng, dtype, rows, width):
    x, cotangent = rng.normal(size=(2, rows, width)).astype(dtype)
    return x, (1.0 + 0.1 * rng.normal(size=width)).astype(dtype), rng.normal(size=width).astype(dtype), cotangent


def _norm(lib):
    xp = lib.numpy

    def weighted(x, scale, bias, cotangent):
        centred = x - xp.mean(x, axis=1, keepdims=True)
        variance = xp.mean(centred * centred, axis=1, keepdims=True)
        return xp.sum((centred / xp.sqrt(variance + EPSILON) * scale + bias) * cotangent)

    return lib.grad(weighted, argnums=(0, 1, 2))


def _norm_numpy(x, scale, bias, cotangent):
    centred = x - x.mean(axis=1, keepdims=True)
    inverse = 1.0 / np.sqrt((centred * centred).mean(axis=1, keepdims=True) + EPSILON)
    normal = centred * inverse
    scaled = cotangent * scale
    mean = scaled.mean(axis=1, keepdims=True)
    slope = (scaled * normal).mean(axis=1, keepdims=True)
    return inverse * (scaled - mean - normal * slope), (cotangent * normal).sum(axis=0), cotangent.sum(axis=0)


def _norm_torch(torch):
    def gradient(x, scale, bias, cotangent):
        inputs = [a.requires_grad_() for a in (x, scale, bias)]
        return torch.autograd.grad(
            torch.nn.functional.layer_norm(x, scale.shape, scale, bias, EPSILON), inputs, cotangent
        )

    return gradient


# ---- Logistic regression -----------------------------------------------------------------------


def _logistic_inputs(rng, dtype, rows, width):
    features = rng.normal(size=(rows, width)).astype(dtype)
    signs = np.sign(rng.normal(size=rows)).astype(dtype)
    return (0.1 * rng.normal(size=width)).astype(dtype), features, signs


def _logistic(lib):
    xp = lib.numpy
    return lib.grad(lambda w, features, signs: xp.mean(xp.logaddexp(0.0, -signs * (features @ w))))


def _logistic_numpy(w, features, signs):
    return features.T @ (-signs / (1.0 + np.exp(signs * (features @ w)))) / len(signs)


def _logistic_torch(torch):
    def loss(w, features, signs):
        return torch.nn.functional.softplus(-signs * (features @ w)).mean()

    return torch.func.grad(loss)


# ---- A matrix product ------------------------------------------------------------------------


def _product_inputs(rng, dtype, n, rows):
    return rng.normal(size=(rows, n)).astype(dtype), rng.normal(size=(n, n)).astype(dtype)


def _product(x, y):
    return x @ y


CASES = [
    Case(
        "tanh 1M",
        _vector,
        _tanh,
        np.tanh,
        lambda torch: torch.tanh,
        size=(1_000_000,),
        second=(1_500_000,),
        tiny=(7,),
        autograd=False,
        parallel=True,
    ),
    Case(
        "softmax 2000x1000",
        _matrix,
        _softmax,
        _softmax_numpy,
        lambda torch: lambda x: torch.softmax(x, dim=1),
        size=(2000, 1000),
        second=(2100, 1000),
        tiny=(3, 5),
        autograd=False,
        parallel=True,
    ),
    Case(
        "layer-norm gradient 512x768",
        _norm_inputs,
        _norm,
        _norm_numpy,
        _norm_torch,
        size=(512, 768),
        second=(640, 768),
        tiny=(3, 8),
        parallel=True,
    ),
    Case(
        "logistic gradient 100000x64",
        _logistic_inputs,
        _logistic,
        _logistic_numpy,
        _logistic_torch,
        size=(100_000, 64),
        second=(120_000, 64),
        tiny=(9, 4),
        parallel=True,
    ),
    Case(
        "sort 1M",
        _vector,
        _sort,
        np.sort,
        lambda torch: lambda x: torch.sort(x).values,
        size=(1_000_000,),
        second=(1_200_000,),
        tiny=(9,),
        autograd=False,
        parallel=True,
    ),
    Case(
        "matmul 1024",
        _product_inputs,
        lambda lib: _product,
        _product,
        lambda torch: _product,
        size=(1024, 1024),
        second=(1024, 1100),
        tiny=(5, 4),
        autograd=False,
        products=lambda n, rows: [(rows, n, n)],
        parallel=True,
    ),
]
