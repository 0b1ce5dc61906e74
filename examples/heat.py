"""Look back in time: find how warm a rod was from how warm it is, by gradient descent through the heat equation.

    python examples/heat.py            recover the first temperatures and draw them
    python examples/heat.py --quick    fewer steps of the descent

Heat flows until all is equally warm: the later temperatures, measured with a small error, are a blurred picture of the
first ones. The solver is plain NumPy, slices that are updated in place, in a `lax.fori_loop`; `fgrad.grad` runs it
backwards. Short waves are gone in the measurement, and fitting them would only amplify its errors: a penalty on the
differences of neighbours (Tikhonov's regularisation) asks for a smooth rod that fits.
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

POINTS = 127  # along the rod, between its ends, which are kept at zero
PLACES = np.arange(1, POINTS + 1) / (POINTS + 1)
STEPS = 100  # of time, between the first temperatures and the measurement
R = 0.4  # diffusivity × time step / distance²; the explicit method is stable up to 1/2
NOISE = 0.002  # standard deviation of a measured temperature
PENALTY = 0.001  # of the squared differences of neighbours, in the loss


def heat(first):
    """The temperatures after STEPS steps of time, from the first ones."""

    def step(_, u):
        u[1:-1] += R * (u[2:] - 2 * u[1:-1] + u[:-2])
        return u

    return lax.fori_loop(0, STEPS, step, fnp.pad(first, 1))[1:-1]


def loss(first, measured):
    """Half the squared misfit of the later temperatures, and the penalty on rough first ones."""
    return (fnp.sum((heat(first) - measured) ** 2) + PENALTY * fnp.sum(fnp.diff(fnp.pad(first, 1)) ** 2)) / 2


def recover(measured, steps):
    """Minimise the loss over the first temperatures, beginning with the measured ones: (first temperatures, losses).

    Diffusion enlarges no vector and squared differences have a curvature of at most 4, so that no curvature of the loss
    is larger than 1 + 4 PENALTY: a learning rate of 1 over that is safe. Momentum because the smallest are tiny.
    """
    optimizer = optim.sgd(1 / (1 + 4 * PENALTY), momentum=0.95, nesterov=True)

    @fgrad.jit
    def descend(first, state):
        value, gradient = fgrad.value_and_grad(loss)(first, measured)
        updates, state = optimizer.update(gradient, state, first)
        return optim.apply_updates(first, updates), state, value

    first, state, losses = measured, optimizer.init(measured), []
    for _ in tqdm(range(steps), unit="step", disable=None, leave=False):
        first, state, value = descend(first, state)
        losses.append(float(value))
    return first, losses


def true_first():
    """The temperatures to be found: a narrow hump and a wider one beside it."""
    return np.exp(-(((PLACES - 0.38) / 0.06) ** 2)) + 0.7 * np.exp(-(((PLACES - 0.62) / 0.09) ** 2))


def plot(path, true, measured, recovered, losses):
    """Left the temperatures along the rod, right the loss over the steps."""
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    axes, loss_axes = figure.subplots(1, 2, width_ratios=(3, 2))
    axes.plot(PLACES, true, color="black", label="first, true")
    axes.plot(PLACES, measured, ".", color="C0", markersize=4, label="later, measured")
    axes.plot(PLACES, recovered, color="C1", label="first, recovered")
    axes.set(title="temperatures", xlabel="place")
    axes.legend()
    loss_axes.plot(losses)
    loss_axes.set(title="loss", xlabel="step", yscale="log")
    figure.savefig(path, dpi=120)


def main(argv=None):
    """Measure, recover, draw, and return (true, measured, recovered temperatures, losses)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, help="steps of the descent (1500; with --quick 600)")
    parser.add_argument("--seed", type=int, default=0, help="of the errors of measurement (0)")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the picture (out)")
    parser.add_argument("--quick", action="store_true", help="600 steps")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)

    true = true_first()
    measured = heat(true) + NOISE * np.random.default_rng(args.seed).standard_normal(POINTS)
    recovered, losses = recover(measured, args.steps or (600 if args.quick else 1500))
    for name, temperatures in (("measured", measured), ("recovered", recovered)):
        print(f"{name:10} differ from the true first temperatures by {np.abs(temperatures - true).max():.3f} at most")
    plot(args.out / "heat.png", true, measured, recovered, losses)
    print(f"picture: {args.out / 'heat.png'}")
    return true, measured, recovered, losses


if __name__ == "__main__":
    main()
