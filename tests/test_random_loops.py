"""Random programs of loops and branches are what Python's own loops make of them, under every transformation.

    FGRAD_LOOP_PROGRAMS=5000:9000 python -m pytest tests/test_random_loops.py

runs the programs with these numbers instead of the few that a test run does.
"""

import contextlib
import os
import random

import numpy as np
import pytest
from python_loops import weighed
from random_loops import FLOATS, PLAIN, THROUGH, TYPES, Program, operands

import fgrad
from fgrad.regions.call import plainly
from fgrad.testing import check_close

FIRST, LAST = map(int, os.environ.get("FGRAD_LOOP_PROGRAMS", "0:40").split(":"))
FLOAT = [i for i, letter in enumerate(TYPES) if letter in FLOATS]
LANES = [1, 2, 7, 8, 9, 64]


def loss(f):
    """A number that depends smoothly on the floating-point results of a program."""
    return lambda *args: weighed([y for y in f(*args) if y.dtype.kind == "f"])


def among(f, args):
    """A function of the floating-point numbers among arguments."""

    def g(*floats):
        given = list(args)
        for i, x in zip(FLOAT, floats, strict=True):
            given[i] = x
        return f(*given)

    return g, [args[i] for i in FLOAT]


def gradient(f):
    return lambda *args: fgrad.grad(loss(f), tuple(FLOAT))(*args)


def tangent(f):
    def g(*args):
        h, floats = among(lambda *args: [y for y in f(*args) if y.dtype.kind == "f"], args)
        return fgrad.jvp(h, tuple(floats), tuple(np.cos(x) for x in floats))

    return g


def curvature(f):
    """Forward over reverse."""

    def g(*args):
        h, floats = among(loss(f), args)
        places = tuple(range(len(floats)))
        return fgrad.jvp(fgrad.grad(h, places), tuple(floats), tuple(np.cos(x) for x in floats))[1]

    return g


def bent(f):
    """Reverse over reverse."""
    return gradient(lambda *args: gradient(f)(*args))


TRANSFORMED = {
    "value": lambda f: f,
    "gradient": gradient,
    "tangent": tangent,
    "curvature": curvature,
    "bent": bent,
}


def close(got, want, single, what):
    finite = [np.abs(x[np.isfinite(x)]).max(initial=0) for x in map(np.asarray, fgrad.tree.leaves(want))]
    scale = max([1.0, *finite])
    check_close(got, want, what, rtol=1e-2 if single else 1e-7, atol=(1e-3 if single else 1e-9) * scale)


def stacked(rng, lanes):
    """Operands of which some have lanes along their first or last axis, these axes, and the operands of each lane."""
    each = [operands(rng) for _ in range(lanes)]
    axes = [rng.choice([0, 0, -1, None]) for _ in TYPES]
    axes[0] = 0 if axes[0] is None else axes[0]
    args = [each[0][i] if a is None else np.stack([xs[i] for xs in each], axis=a) for i, a in enumerate(axes)]
    return args, tuple(axes), [[each[0][i] if a is None else xs[i] for i, a in enumerate(axes)] for xs in each]


def check_program(seed, unchecked=False):
    program = Program(seed)
    f = program.function()
    through, plain = (lambda *args, lax=lax: f(lax, *args) for lax in (THROUGH, PLAIN))
    choice, rng = random.Random(seed), np.random.default_rng(seed)
    names = ["value", choice.choice([*TRANSFORMED][1:])]
    args = operands(rng, special=choice.random() < 0.1)
    try:
        with np.errstate(all="ignore"):
            for name in names:
                make = TRANSFORMED[name]
                want = make(plain)(*args)
                with contextlib.nullcontext() if seed % 4 == 0 else plainly():  # eager regions are compiled, too
                    close(make(through)(*args), want, program.single, name)
                close(fgrad.jit(make(through))(*args), want, program.single, f"{name}, compiled")
            lanes = choice.choice(LANES)
            args, axes, each = stacked(rng, lanes)
            numbers = sorted({*range(min(lanes, 3)), lanes // 2, lanes - 1})
            name = choice.choice([*["value"] * 3, *["gradient"] * 3, "tangent", "curvature", "bent"])
            make = TRANSFORMED[name]
            want = [make(plain)(*each[i]) for i in numbers]
            want = fgrad.tree.map(lambda *xs: np.stack(xs), *want)
            mapped = fgrad.vmap(make(through), axes)
            what = f"{name} of {lanes} lanes {axes}"
            if lanes < 10:
                with plainly():
                    got = mapped(*args)
                close(fgrad.tree.map(lambda x: x[numbers], got), want, program.single, what)
            got = fgrad.jit(mapped)(*args)
            close(fgrad.tree.map(lambda x: x[numbers], got), want, program.single, f"{what}, compiled")
            if name == "gradient":
                places = tuple(i for i in FLOAT if axes[i] is not None)
                total = lambda *args: fgrad.vmap(loss(through), axes)(*args).sum()
                got = fgrad.jit(fgrad.grad(total, places))(*args)
                got = [np.moveaxis(g, axes[i], 0)[numbers] for g, i in zip(got, places)]
                want = [w for w, i in zip(want, FLOAT) if i in places]
                close(got, want, program.single, f"gradient of a sum of {lanes} lanes {axes}, compiled")
    except Exception as e:
        e.add_note(f"program {seed}:\n{program.text}")
        raise


@pytest.mark.parametrize("seed", range(FIRST, LAST))
def test_a_random_program(seed):
    check_program(seed)
