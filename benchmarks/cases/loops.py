"""Sequential programs: solvers of differential equations, recurrent networks, loops that write into an array."""

from __future__ import annotations

from typing import Any

import numpy as np

from .case import Case, Gemm

TINY = 1e-30  # step in the imaginary direction: derivatives without cancellation (Squire and Trapp 1998)
H = 0.001
LEARNING_RATE = 0.1


# ---- Lorenz's equations by Runge and Kutta's method of order 4 -------------------------------------


def _lorenz_inputs(rng, dtype, steps):
    return (np.asarray([1.0, 1.0, 1.05], dtype), np.zeros(steps, np.int32))


def _slope(y):
    a, b, c = y
    return 10.0 * (b - a), a * (28.0 - c) - b, a * b - (8.0 / 3.0) * c


def _runge_kutta(y):
    along = lambda k, h: tuple(u + h * v for u, v in zip(y, k, strict=True))  # noqa: E731
    k1 = _slope(y)
    k2 = _slope(along(k1, H / 2))
    k3 = _slope(along(k2, H / 2))
    k4 = _slope(along(k3, H))
    return tuple(u + H / 6 * (a + 2 * b + 2 * c + d) for u, a, b, c, d in zip(y, k1, k2, k3, k4, strict=True))


def _lorenz(lib):
    def final(start, steps):
        y = (start[0], start[1], start[2])
        a, b, c = lib.lax.scan(lambda y, _: (_runge_kutta(y), None), y, None, length=len(steps))[0]
        return a + b + c

    return final


def _lorenz_numpy(start, steps):
    y = tuple(start)
    for _ in steps:
        y = _runge_kutta(y)
    return y[0] + y[1] + y[2]


def _lorenz_gradient_numpy(start, steps):
    moved = start[:, None] + 1j * TINY * np.eye(3)
    return (np.imag(_lorenz_numpy(tuple(moved), steps)) / TINY).astype(start.dtype)


# ---- A scalar while loop ---------------------------------------------------------------------------


def _count_inputs(rng, dtype, n):
    return (np.asarray(1.0, dtype), np.int32(n))


def _while(lib):
    def run(x, n):
        return lib.lax.while_loop(lambda s: s[0] < n, lambda s: (s[0] + 1, s[1] * 0.999 + 0.5), (0, x))[1]

    return run


def _while_numpy(x, n):
    i = 0
    while i < n:
        x = x * 0.999 + 0.5
        i += 1
    return x


# ---- Recurrent networks ----------------------------------------------------------------------------


def _rnn_inputs(rng, dtype, length, batch, width):
    scale = width**-0.5
    params = {
        "w": rng.normal(size=(width, width)) * scale,
        "u": rng.normal(size=(width, width)) * scale,
        "b": rng.normal(size=width) * 0.1,
    }
    params = {name: value.astype(dtype) for name, value in params.items()}
    return params, rng.normal(size=(length, batch, width)).astype(dtype)


def _rnn(lib):
    xp = lib.numpy

    def loss(params, xs):
        def step(h, x):
            h = xp.tanh(h @ params["w"] + x @ params["u"] + params["b"])
            return h, h

        start = xp.zeros(xs.shape[1:], xs.dtype)
        return xp.mean(lib.lax.scan(step, start, xs)[1] ** 2)

    return lib.grad(loss)


def _rnn_numpy(params, xs):
    w, u, b = params["w"], params["u"], params["b"]
    states = [np.zeros_like(xs[0])]
    for x in xs:
        states.append(np.tanh(states[-1] @ w + x @ u + b))
    scale = 2.0 / (xs.shape[0] * states[0].size)
    ct = np.zeros_like(xs[0])
    cts = np.empty_like(xs)
    for t in range(len(xs) - 1, -1, -1):
        h = states[t + 1]
        cts[t] = (ct + scale * h) * (1.0 - h * h)
        ct = cts[t] @ w.T
    before = np.stack(states[:-1])
    flat = lambda x: x.reshape(-1, x.shape[-1])  # noqa: E731
    return {"w": flat(before).T @ flat(cts), "u": flat(xs).T @ flat(cts), "b": flat(cts).sum(0)}


def _rnn_products(length, batch, width) -> list[Gemm]:
    return [(length * batch, width, width)] * 5


def _lstm_inputs(rng, dtype, length, batch, width):
    scale = width**-0.5
    params = {
        "w": (rng.normal(size=(width, 4 * width)) * scale).astype(dtype),
        "u": (rng.normal(size=(width, 4 * width)) * scale).astype(dtype),
        "b": (rng.normal(size=4 * width) * 0.1).astype(dtype),
    }
    return params, rng.normal(size=(length, batch, width)).astype(dtype)


def _lstm(lib):
    xp = lib.numpy

    def loss(params, xs):
        def step(state, x):
            h, c = state
            i, f, g, o = xp.split(h @ params["w"] + x @ params["u"] + params["b"], 4, axis=-1)
            c = lib.nn.sigmoid(f) * c + lib.nn.sigmoid(i) * xp.tanh(g)
            h = lib.nn.sigmoid(o) * xp.tanh(c)
            return (h, c), h

        zero = xp.zeros(xs.shape[1:], xs.dtype)
        return xp.mean(lib.lax.scan(step, (zero, zero), xs)[1] ** 2)

    def sgd(params, xs):
        return lib.tree.map(lambda p, g: p - LEARNING_RATE * g, params, lib.grad(loss)(params, xs))

    return sgd


def _sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def _lstm_numpy(params, xs):
    w, u, b = params["w"], params["u"], params["b"]
    h = c = np.zeros_like(xs[0])
    kept: list[Any] = []
    for x in xs:
        i, f, g, o = np.split(h @ w + x @ u + b, 4, axis=-1)
        i, f, g, o = _sigmoid(i), _sigmoid(f), np.tanh(g), _sigmoid(o)
        before, c = c, f * c + i * g
        t = np.tanh(c)
        kept.append((h, before, i, f, g, o, t))
        h = o * t
    scale = 2.0 / (len(xs) * h.size)
    ct_h, ct_c = np.zeros_like(h), np.zeros_like(h)
    cts = np.empty((*xs.shape[:2], 4 * h.shape[-1]), xs.dtype)
    for k in range(len(xs) - 1, -1, -1):
        _, before, i, f, g, o, t = kept[k]
        ct_h = ct_h + scale * o * t
        ct_c = ct_c + ct_h * o * (1 - t * t)
        parts = ct_c * g * i * (1 - i), ct_c * before * f * (1 - f), ct_c * i * (1 - g * g), ct_h * t * o * (1 - o)
        cts[k] = np.concatenate(parts, axis=-1)
        ct_h, ct_c = cts[k] @ w.T, ct_c * f
    flat = lambda x: x.reshape(-1, x.shape[-1])  # noqa: E731
    states = np.stack([k[0] for k in kept])
    gradient = {"w": flat(states).T @ flat(cts), "u": flat(xs).T @ flat(cts), "b": flat(cts).sum(0)}
    return {name: params[name] - LEARNING_RATE * gradient[name] for name in params}


def _lstm_products(length, batch, width) -> list[Gemm]:
    return [(length * batch, 4 * width, width)] * 5


# ---- A loop that writes into an array --------------------------------------------------------------


def _chain_inputs(rng, dtype, n):
    return (rng.uniform(0.1, 0.9, size=n).astype(dtype),)


def _chain(lib):
    def last(a):
        def step(i, a):
            return a.at[i].set(0.5 * a[i - 1] * (1.0 - a[i - 1]) + 0.5 * a[i])

        return lib.lax.fori_loop(1, len(a), step, a)[-1]

    return lib.grad(last)


def _chain_numpy(a):
    a = a.copy()
    for i in range(1, len(a)):
        a[i] = 0.5 * a[i - 1] * (1.0 - a[i - 1]) + 0.5 * a[i]
    ct = np.zeros_like(a)
    ct[-1] = 1.0
    for i in range(len(a) - 1, 0, -1):
        ct[i - 1] += ct[i] * 0.5 * (1.0 - 2.0 * a[i - 1])
        ct[i] *= 0.5
    return ct


# ---- A scan that carries many scalars --------------------------------------------------------------


def _many_inputs(rng, dtype, steps, count):
    return tuple(np.asarray(v, dtype) for v in rng.uniform(0.2, 0.8, size=count)), np.zeros(steps, np.int32)


def _ring(xs):
    """Each number is drawn towards a product of its neighbours."""
    n = len(xs)
    return tuple(xs[i] + 0.01 * (xs[i - 1] * xs[(i + 1) % n] - xs[i]) for i in range(n))


def _many(lib):
    def total(xs, steps):
        xs = lib.lax.scan(lambda xs, _: (_ring(xs), None), xs, None, length=len(steps))[0]
        return sum(x * x for x in xs)

    return lib.grad(total)


def _many_numpy(xs, steps):
    moved = tuple(np.asarray(xs)[:, None] + 1j * TINY * np.eye(len(xs)))
    for _ in steps:
        moved = _ring(moved)
    return tuple((np.imag(sum(x * x for x in moved)) / TINY).astype(np.asarray(xs).dtype))


CASES = [
    Case(
        "Lorenz, 10,000 RK4 steps",
        _lorenz_inputs,
        _lorenz,
        _lorenz_numpy,
        None,
        size=(10_000,),
        second=None,
        tiny=(5,),
        autograd=False,
        tolerance=1e3,  # of 10,000 roundings
    ),
    Case(
        "Lorenz, 10,000 RK4 steps, gradient",
        _lorenz_inputs,
        lambda lib: lib.grad(_lorenz(lib)),
        _lorenz_gradient_numpy,
        None,
        size=(10_000,),
        second=None,
        tiny=(5,),
        autograd=False,
        tolerance=1e3,
    ),
    Case(
        "while loop of 100,000 trips",
        _count_inputs,
        _while,
        _while_numpy,
        None,
        size=(100_000,),
        second=None,
        tiny=(7,),
        autograd=False,
    ),
    Case(
        "tanh RNN, T 100, batch 32, width 64, gradient",
        _rnn_inputs,
        _rnn,
        _rnn_numpy,
        None,
        size=(100, 32, 64),
        second=(100, 48, 64),
        tiny=(3, 2, 4),
        products=_rnn_products,
        autograd=False,
        parallel=True,
    ),
    Case(
        "LSTM, T 50, batch 16, width 128, SGD",
        _lstm_inputs,
        _lstm,
        _lstm_numpy,
        None,
        size=(50, 16, 128),
        second=(50, 24, 128),
        tiny=(3, 2, 4),
        products=_lstm_products,
        autograd=False,
        parallel=True,
    ),
    *[
        Case(
            f"A[i] from A[i-1], n = {n:,}, gradient",
            _chain_inputs,
            _chain,
            _chain_numpy,
            None,
            size=(n,),
            second=None,
            tiny=(5,),
            autograd=False,
        )
        for n in (1000, 8000)
    ],
    *[
        Case(
            f"scan of {n} scalars, 1,000 steps, gradient",
            _many_inputs,
            _many,
            _many_numpy,
            None,
            size=(1000, n),
            second=None,
            tiny=(3, 4),
            autograd=False,
        )
        for n in (20, 60)
    ],
]
