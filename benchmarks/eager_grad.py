"""Eager gradients (no jit): fgrad against HIPS autograd, the same functions in one process.

    python benchmarks/eager_grad.py

Needs the `peers` extra. The columns "fnp" and "np" are fgrad with `fgrad.numpy` and with plain NumPy in the function.
"""

from __future__ import annotations

import itertools
import sys
import time

from timing import alternate, fair, machine, peak_bytes

fair()
import autograd  # noqa: E402
import autograd.numpy as anp  # noqa: E402
import numpy as np  # noqa: E402

import fgrad  # noqa: E402
from fgrad import numpy as fnp  # noqa: E402

rng = np.random.default_rng(0)


def rosenbrock(xp):
    return lambda x: xp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


X32, LABELS = rng.normal(size=(32, 64)), np.eye(10)[rng.integers(0, 10, 32)]
PARAMS = [(rng.normal(size=(64, 32)) / 8, np.zeros(32)), (rng.normal(size=(32, 10)) / 6, np.zeros(10))]


def mlp(xp):
    def loss(params):
        (w1, b1), (w2, b2) = params
        logits = xp.dot(xp.tanh(xp.dot(X32, w1) + b1), w2) + b2
        shifted = logits - xp.max(logits, axis=1, keepdims=True)
        log_probs = shifted - xp.log(xp.sum(xp.exp(shifted), axis=1, keepdims=True))
        return -xp.mean(xp.sum(LABELS * log_probs, axis=1))

    return loss


def branching(xp):
    def f(x, path):
        y = x
        for step in range(30):
            if y > 1.0:
                y = y * 0.5
            elif (path >> (step % 16)) & 1:
                y = y * 1.25 + 0.1 * x
            else:
                y = xp.sin(y) + x
        return y

    return f


XL, YL = rng.normal(size=(500, 20)), np.sign(rng.normal(size=500))


def logistic(xp):
    return lambda w: xp.mean(xp.log(1.0 + xp.exp(-YL * xp.dot(XL, w))))


def large(xp):
    def f(x):
        y = xp.sin(x) * x + xp.exp(-x)
        return xp.sum(y * y + xp.tanh(y))

    return f


def chain(xp):
    def f(x):
        for _ in range(30_000):
            x = xp.sin(x)
        return x

    return f


def main() -> int:
    print(machine())
    print(f"{'case':34s} {'autograd':>12s} {'fnp':>12s} {'np':>12s}   ratio of medians (best) fnp, np; goal")
    w = rng.normal(size=20)
    fresh = itertools.count()
    cases = [
        ("Rosenbrock, 10 variables", rosenbrock, (rng.normal(size=10),), 0.4),
        ("MLP 64-32-10, batch 32", mlp, (PARAMS,), 0.4),
        ("30-step loop, path seen before", branching, (0.7, 1234), 0.4),
        ("logistic regression 500 x 20", logistic, (w,), 0.4),
        ("six operations on 1 MB", large, (rng.normal(size=1 << 17),), 1.05),
        ("six operations on 16 MB", large, (rng.normal(size=1 << 21),), 1.05),
    ]
    for name, make, args, goal in cases:
        row(name, make, lambda g, args=args: g(*args), goal)
    row("30-step loop, new path each call", branching, lambda g: g(0.7, next(fresh) * 7919 % 65536), 0.4)
    for size, words in (("1 MB", 1 << 17), ("16 MB", 1 << 21)):
        x = rng.normal(size=words)
        a, b, c = (peak_bytes(lambda g=g, x=x: g(x)) for g in gradients(large))
        print(
            f"{'peak memory, six operations, ' + size:34s} {a / 1e6:9.1f} MB {b / 1e6:9.1f} MB {c / 1e6:9.1f} MB   "
            f"{b / a:.2f}, {c / a:.2f}; 1.05"
        )
    times = []
    for g in gradients(chain):
        start = time.perf_counter()
        g(0.5)
        times.append(time.perf_counter() - start)
    a, b, c = times
    print(
        f"{'first call, chain of 30,000':34s} {a:11.3f}s {b:11.3f}s {c:11.3f}s   "
        f"{b / a:.2f}, {c / a:.2f}; at most 0.5 s"
    )
    return 0


def gradients(make):
    return autograd.grad(make(anp)), fgrad.grad(make(fnp)), fgrad.grad(make(np))


def row(name, make, call, goal) -> None:
    theirs, ours, plain = gradients(make)
    if "new path" not in name:
        flat = lambda g: np.concatenate([np.ravel(v) for v in fgrad.tree.leaves(call(g))])  # noqa: E731
        np.testing.assert_allclose(flat(ours), flat(theirs), rtol=1e-10)
        np.testing.assert_allclose(flat(plain), flat(theirs), rtol=1e-10)
    found = alternate({"a": lambda: call(theirs), "f": lambda: call(ours), "n": lambda: call(plain)})
    (am, ab), (fm, fb), (nm, nb) = found["a"], found["f"], found["n"]
    print(
        f"{name:34s} {am * 1e6:9.1f} us {fm * 1e6:9.1f} us {nm * 1e6:9.1f} us   "
        f"{fm / am:.2f} ({fb / ab:.2f}), {nm / am:.2f} ({nb / ab:.2f}); {goal}"
    )


if __name__ == "__main__":
    sys.exit(main())
