"""Find the rates of a predator-prey system from noisy counts, by derivatives through two solvers of its equations.

    python examples/ode.py            fit through both solvers and draw the data, the curves and the losses
    python examples/ode.py --quick    fewer steps of the optimiser

The Lotka-Volterra equations say how the numbers of prey and predators change: prey multiply and are eaten, predators
multiply by eating and die. Four rates and the two numbers at the start are unknown; given are both numbers at 41 times,
each wrong by a few percent. Two solvers turn parameters into curves:

    rk4        the classical Runge-Kutta method with steps of one size: `lax.scan` over the times, ten steps in between
    adaptive   Dormand-Prince's pair of orders 5 and 4, which chooses its steps: `lax.while_loop` from time to time

`fgrad.grad` differentiates through either of them, backwards, also where the number of steps is known only at the end.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

import fgrad
import fgrad.numpy as fnp
from fgrad import lax, optim

TRUE = {"growth": 1.1, "predation": 0.4, "death": 0.4, "reproduction": 0.1, "prey": 10.0, "predators": 5.0}
NOISE = 0.03  # standard deviation of the logarithm of a count
TIMES = np.linspace(0.0, 20.0, 41)

# ---- The equations and two solvers: parameters -> both numbers at all times ----------------------


def slope(params, y):
    """d(prey, predators)/dt."""
    prey, predators = y
    return fnp.stack(
        [
            params["growth"] * prey - params["predation"] * prey * predators,
            params["reproduction"] * prey * predators - params["death"] * predators,
        ]
    )


def rk4(params, times, steps=10):
    """The solution at all `times`, one row each, by the classical Runge-Kutta method with `steps` steps in between."""

    def advance(y, duration):
        h = duration / steps

        def step(_, y):
            k1 = slope(params, y)
            k2 = slope(params, y + h / 2 * k1)
            k3 = slope(params, y + h / 2 * k2)
            k4 = slope(params, y + h * k3)
            return y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)

        y = lax.fori_loop(0, steps, step, y)
        return y, y

    start = fnp.stack([params["prey"], params["predators"]])
    _, later = lax.scan(advance, start, np.diff(times))
    return fnp.concatenate([start[None], later])


# Dormand and Prince, J. Comp. Appl. Math. 6 (1980): the rows of the tableau, the last of which is the step of order 5;
# and its difference from the step of order 4, an estimate of the error.
DORMAND_PRINCE = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
DORMAND_PRINCE_ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)


def adaptive(params, times, tolerance=1e-7):
    """The solution at all `times`, one row each, by steps whose estimated relative errors stay below `tolerance`."""

    def dormand_prince(y, h):
        """One step of length h: the next y and the norm of its error, of which 1 is as much as is allowed."""
        slopes = [slope(params, y)]
        for row in DORMAND_PRINCE:
            y_stage = y + h * sum(a * k for a, k in zip(row, slopes, strict=True) if a)
            slopes.append(slope(params, y_stage))
        error = h * sum(e * k for e, k in zip(DORMAND_PRINCE_ERROR, slopes, strict=True) if e)
        return y_stage, fnp.sqrt(fnp.mean((error / (tolerance * fnp.abs(y))) ** 2))

    def advance(carry, duration):
        def unfinished(state):
            remaining, _, _ = state
            return remaining > 0

        def attempt(state):
            remaining, h, y = state
            h_taken = fnp.minimum(h, remaining)
            y_next, error = dormand_prince(y, h_taken)
            accepted = error <= 1
            # The solution does not depend on the steps that were chosen, but for errors below the tolerance: the
            # derivative takes them as given.
            factor = fnp.clip(0.9 * lax.stop_gradient(error) ** -0.2, 0.2, 5.0)
            cut_short = accepted & (h_taken < h)  # at the end of the interval: says nothing against the longer h
            h_next = fnp.where(cut_short, fnp.maximum(h, h_taken * factor), h_taken * factor)
            return fnp.where(accepted, remaining - h_taken, remaining), h_next, fnp.where(accepted, y_next, y)

        h, y = carry
        _, h, y = lax.while_loop(unfinished, attempt, (duration, h, y))
        return (h, y), y

    start = fnp.stack([params["prey"], params["predators"]])
    _, later = lax.scan(advance, (0.1, start), np.diff(times))
    return fnp.concatenate([start[None], later])


# ---- Fitting -------------------------------------------------------------------------------------


def observe(seed):
    """What was counted at TIMES: the true numbers times exp(noise)."""
    exact = adaptive(TRUE, TIMES, tolerance=1e-10)
    return exact * np.exp(NOISE * np.random.default_rng(seed).standard_normal(exact.shape))


def positive(logs):
    """The parameters of their logarithms, in which the fit moves: none can become negative."""
    return fgrad.tree.map(fnp.exp, logs)


def loss_of(solver):
    """The function that is minimised: mean squared difference of the logarithms of computed and counted numbers."""

    def loss(logs, counts):
        return fnp.mean((fnp.log(solver(positive(logs), TIMES)) - fnp.log(counts)) ** 2)

    return loss


def fit(solver, logs, counts, steps):
    """Minimise by Adam with a decaying learning rate: (logarithms of the parameters, the loss before each step)."""
    optimizer = optim.adam(optim.cosine_decay_schedule(0.05, steps), b2=0.99)  # forgets the steep start

    @fgrad.jit
    def step(logs, state, counts):
        value, gradient = fgrad.value_and_grad(loss_of(solver))(logs, counts)
        updates, state = optimizer.update(gradient, state, logs)
        return optim.apply_updates(logs, updates), state, value

    state, losses = optimizer.init(logs), []
    progress = tqdm(range(steps), desc=solver.__name__, unit="step", disable=None, leave=False)
    for _ in progress:
        logs, state, value = step(logs, state, counts)
        losses.append(float(value))
        progress.set_postfix(loss=f"{value:.2e}")
    return logs, losses


# ---- The program ---------------------------------------------------------------------------------


def plot(path, counts, fitted, losses):
    """Left the counts and the fitted curves, right the loss over the steps of either fit."""
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    axes, loss_axes = figure.subplots(1, 2, width_ratios=(3, 2))
    fine = np.linspace(TIMES[0], TIMES[-1], 401)
    curves = adaptive(fitted, fine)
    for i, name in enumerate(("prey", "predators")):
        axes.plot(TIMES, counts[:, i], "o", color=f"C{i}", markersize=4, label=f"{name}, counted")
        axes.plot(fine, curves[:, i], color=f"C{i}", label=f"{name}, fitted")
    axes.set(title="predators and prey", xlabel="time", ylabel="number")
    axes.legend(loc="upper center")
    for style, (name, values) in zip(("-", "--"), losses.items(), strict=True):
        loss_axes.plot(values, style, label=name)
    loss_axes.axhline(NOISE**2, color="gray", linestyle=":", label="variance of the noise")
    loss_axes.set(title="loss", xlabel="step", ylabel="mean squared difference of logarithms", yscale="log")
    loss_axes.legend()
    figure.savefig(path, dpi=120)


def main(argv=None):
    """Compare the gradients, fit, draw, and return (fitted parameters, losses, difference of gradients)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, help="steps of the optimiser (1000; with --quick 400)")
    parser.add_argument("--seed", type=int, default=0, help="of the noise (0)")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture (out)")
    parser.add_argument("--quick", action="store_true", help="400 steps")
    args = parser.parse_args(argv)
    steps = args.steps or (400 if args.quick else 1000)
    args.out.mkdir(parents=True, exist_ok=True)

    counts = observe(args.seed)
    guess = {"growth": 0.8, "predation": 0.3, "death": 0.5, "reproduction": 0.12, "prey": 8.0, "predators": 4.0}
    logs = fgrad.tree.map(np.log, guess)
    gradients = {solver: fgrad.jit(fgrad.grad(loss_of(solver)))(logs, counts) for solver in (rk4, adaptive)}
    difference = max(abs(gradients[rk4][name] / gradients[adaptive][name] - 1) for name in logs)
    print(f"the gradients through both solvers differ by at most {difference:.1e} of their size")

    fitted, losses = {}, {}
    for solver in (rk4, adaptive):
        found, losses[solver.__name__] = fit(solver, logs, counts, steps)
        fitted[solver.__name__] = {name: float(value) for name, value in positive(found).items()}
    print(f"{'':14}{'true':>8}{'guess':>8}{'rk4':>10}{'adaptive':>10}")
    for name, true in TRUE.items():
        print(f"{name:14}{true:8}{guess[name]:8}{fitted['rk4'][name]:10.4f}{fitted['adaptive'][name]:10.4f}")
    plot(args.out / "ode.png", counts, fitted["adaptive"], losses)
    print(f"picture: {args.out / 'ode.png'}")
    return fitted, losses, difference


if __name__ == "__main__":
    main()
