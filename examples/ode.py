"""Fit an ordinary differential equation to measurements, with derivatives through the solver.

    python examples/ode.py            fit the four rates of a predator-prey system, and draw the fit
    python examples/ode.py --quick    the same with fewer steps of the fit

Foxes eat hares. With x hares and y foxes, Lotka (1925) and Volterra (1926) wrote

    x' = a x - b x y
    y' = d x y - g y

The rates a, b, d, g are to be found from counts of both animals with errors of a few per cent. Two solvers take the
equation from count to count, and `fgrad.grad` goes through both:

    rk4       the classical Runge-Kutta method with steps of one size: `lax.scan`
    adaptive  the method of Dormand and Prince (1980), which chooses its steps by an estimate of their error:
              `lax.while_loop`, so how often it runs is known only when it has run

The program compares the gradients of the misfit through both, in reverse mode, with each other and with differences.
Then it fits with either, by the method of Levenberg and Marquardt, with Jacobians in forward mode.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import fgrad
import fgrad.numpy as fnp
from fgrad import lax

NAMES = ("a", "b", "d", "g")
TRUE_RATES = np.array([1.1, 0.4, 0.1, 0.4])
FIRST_GUESS = np.array([0.9, 0.3, 0.13, 0.5])
START = np.array([10.0, 5.0])
TIMES = np.linspace(0, 20, 41)

# ---- The equation, and two ways to solve it ------------------------------------------------------


def growth(rates, state):
    """The rates of change of hares and foxes."""
    a, b, d, g = rates
    hares, foxes = state
    return fnp.stack([a * hares - b * hares * foxes, d * hares * foxes - g * foxes])


def rk4(rates, start, times, steps=20):
    """States at `times`, the first of which is that of `start`; `steps` equal steps from each to the next."""

    def step(state, h):
        k1 = growth(rates, state)
        k2 = growth(rates, state + h / 2 * k1)
        k3 = growth(rates, state + h / 2 * k2)
        k4 = growth(rates, state + h * k3)
        return state + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)

    def between(state, interval):
        h = interval / steps
        state = lax.fori_loop(0, steps, lambda _, s: step(s, h), state)
        return state, state

    _, states = lax.scan(between, start, np.diff(times))
    return fnp.concatenate([start[None], states])


# Dormand and Prince (1980): stages, the fifth-order result, and what the fourth-order one differs by
STAGES = [
    [1 / 5],
    [3 / 40, 9 / 40],
    [44 / 45, -56 / 15, 32 / 9],
    [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729],
    [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656],
    [35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84],
]
ERROR = [71 / 57600, 0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40]


def adaptive(rates, start, times, tolerance=1e-8):
    """States at `times` to a relative tolerance, by steps that are as large as it allows."""

    def combined(state, h, slopes, weights):
        return state + h * sum(w * k for w, k in zip(weights, slopes, strict=True) if w)

    def attempt(carry):
        """One step, if its error is small enough; in any case a better guess of the next step's size."""
        left, state, h = carry
        now = fnp.minimum(h, left)
        slopes = [growth(rates, state)]
        for weights in STAGES:
            after = combined(state, now, slopes, weights)
            slopes.append(growth(rates, after))
        error = combined(0.0, now, slopes, ERROR) / (tolerance * (1 + fnp.abs(after)))
        error = fnp.sqrt(fnp.mean(error**2))
        accept = error <= 1
        # The step's size is a choice, on which the solution does not depend: it has no derivative.
        factor = lax.stop_gradient(fnp.clip(0.9 * fnp.maximum(error, 1e-10) ** -0.2, 0.2, 5.0))
        return fnp.where(accept, left - now, left), fnp.where(accept, after, state), now * factor

    def between(carry, interval):
        state, h = carry
        _, state, h = lax.while_loop(lambda c: c[0] > 0, attempt, (interval, state, h))
        return (state, h), state

    _, states = lax.scan(between, (start, 0.1), np.diff(times))
    return fnp.concatenate([start[None], states])


SOLVERS = {"rk4": rk4, "adaptive": adaptive}

# ---- Fitting -------------------------------------------------------------------------------------


def measured(seed, error=0.03):
    """Counts that are off by a few per cent."""
    exact = rk4(TRUE_RATES, START, TIMES, 100)
    return exact * np.exp(error * np.random.default_rng(seed).standard_normal(exact.shape))


def misfit(log_rates, counts, solver):
    """The relative errors of all counts. The rates are positive, and so given by their logarithms."""
    return (fnp.log(solver(fnp.exp(log_rates), START, TIMES)) - np.log(counts)).reshape(-1)


def loss(log_rates, counts, solver):
    """Mean square of the relative errors."""
    return fnp.mean(misfit(log_rates, counts, solver) ** 2)


def differences(f, x, step=1e-5):
    """The gradient by central differences, for comparison."""
    return np.array([(f(x + step * e) - f(x - step * e)) / (2 * step) for e in np.eye(len(x))])


def fit(counts, solver, steps):
    """Rates after so many steps of Levenberg and Marquardt from the first guess, and the loss before each."""

    @fgrad.jit
    def linearized(log_rates):
        errors = lambda x: misfit(x, counts, solver)  # noqa: E731
        return errors(log_rates), fgrad.jacfwd(errors)(log_rates)

    log_rates, damping, losses = np.log(FIRST_GUESS), 1e-2, []
    errors, jacobian = linearized(log_rates)
    for _ in range(steps):
        losses.append(np.mean(errors**2))
        normal = jacobian.T @ jacobian
        tried = log_rates - np.linalg.solve(normal + damping * np.diag(np.diag(normal)), jacobian.T @ errors)
        new_errors, new_jacobian = linearized(tried)
        if np.mean(new_errors**2) < losses[-1]:
            log_rates, errors, jacobian, damping = tried, new_errors, new_jacobian, damping / 10
        else:
            damping *= 10
    return np.exp(log_rates), [*losses, np.mean(errors**2)]


# ---- The picture ---------------------------------------------------------------------------------


def plot(path, counts, rates, histories):
    """Counts with the fitted curves, and the loss of both fits."""
    fine = np.linspace(TIMES[0], TIMES[-1], 401)
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    axes, loss_axes = figure.subplots(1, 2, width_ratios=[2, 1])
    for k, (name, color) in enumerate((("hares", "tab:blue"), ("foxes", "tab:orange"))):
        axes.plot(TIMES, counts[:, k], ".", color=color, label=name)
        axes.plot(fine, rk4(rates, START, fine)[:, k], color=color)
        axes.plot(fine, rk4(FIRST_GUESS, START, fine)[:, k], ":", color=color, alpha=0.5)
    axes.set(title="counts, the fit, and the first guess (dotted)", xlabel="time", ylabel="animals")
    axes.legend()
    for name, losses in histories.items():
        loss_axes.plot(losses, "o--" if name == "adaptive" else "-", label=name)
    loss_axes.set(title="mean square relative error", xlabel="step", yscale="log")
    loss_axes.legend()
    figure.savefig(path, dpi=120)


# ---- The program ---------------------------------------------------------------------------------


def shortest(f, *args, repeats=5):
    """What a call gives, and the milliseconds that the shortest of some takes, behind the first."""
    result, times = f(*args), []
    for _ in range(repeats):
        start = time.perf_counter()
        f(*args)
        times.append(1e3 * (time.perf_counter() - start))
    return result, min(times)


def run(args):
    """Compare the gradients, fit with both solvers, draw; returns gradients and rates by solver."""
    counts = measured(args.seed)
    here = np.log(FIRST_GUESS)
    gradients = {}
    for name, solver in SOLVERS.items():
        gradient = fgrad.jit(lambda x, solver=solver: fgrad.grad(loss)(x, counts, solver))
        gradients[name], milliseconds = shortest(gradient, here)
        print(f"gradient through {name:9}", np.array2string(gradients[name], precision=8), f"({milliseconds:.2f} ms)")
    gradients["differences"] = differences(lambda x: loss(x, counts, adaptive), here)
    print("by differences            ", np.array2string(gradients["differences"], precision=8))

    rates, histories = {}, {}
    for name, solver in SOLVERS.items():
        rates[name], histories[name] = fit(counts, solver, args.steps)
        found = ", ".join(f"{n} = {r:.4f}" for n, r in zip(NAMES, rates[name], strict=True))
        print(f"fit through {name:9} {found}, error {np.sqrt(histories[name][-1]):.2%}")
    print("the counts were made with " + ", ".join(f"{n} = {r}" for n, r in zip(NAMES, TRUE_RATES, strict=True)))
    args.out.mkdir(parents=True, exist_ok=True)
    plot(args.out / "ode.png", counts, rates["adaptive"], histories)
    print(f"picture: {args.out / 'ode.png'}")
    return gradients, rates


def main(argv=None):
    """The command line: parse `argv`, run, and return the process's exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, help="steps of the fit (10; with --quick 5)")
    parser.add_argument("--seed", type=int, default=0, help="for the errors of the counts (0)")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture (out)")
    parser.add_argument("--quick", action="store_true", help="fewer steps")
    args = parser.parse_args(argv)
    if args.steps is None:
        args.steps = 5 if args.quick else 10
    if args.steps < 1 or args.seed < 0:
        parser.error("--steps must be positive, --seed not negative")
    try:
        run(args)
    except OSError as error:
        print(f"ode.py: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
