"""Random programs of loops and branches are what Python's own loops make of them, under every transformation.

    FGRAD_LOOP_PROGRAMS=5000:9000 python -m pytest tests/test_random_loops.py

tests the programs with these numbers instead of the few of every test run. A failure shows its program.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
from python_loops import weighed
from random_loops import FLOATS, PLAIN, THROUGH, TYPES, Program, operands

import fgrad
from fgrad.core.errors import OutOfBoundsError
from fgrad.regions.call import plainly
from fgrad.testing import check_close

FIRST, LAST = map(int, os.environ.get("FGRAD_LOOP_PROGRAMS", "0:20").split(":"))
FLOAT = [i for i, letter in enumerate(TYPES) if letter in FLOATS]
LANES = [1, 2, 7, 8, 9, 64]
Function = Callable[..., Any]

# ----------------------------------------------------------------------------------------------------- transformations


def numbers(f: Function) -> Function:
    """The floating-point results of a program."""
    return lambda *args: [y for y in f(*args) if y.dtype.kind == "f"]


def loss(f: Function) -> Function:
    """A number that depends smoothly on each of them."""
    return lambda *args: weighed(numbers(f)(*args))


def of_numbers(f: Function, args: Sequence[Any]) -> Function:
    """A function of the floating-point operands alone."""

    def g(*floats: Any) -> Any:
        given = list(args)
        for i, x in zip(FLOAT, floats, strict=True):
            given[i] = x
        return f(*given)

    return g


def gradient(f: Function) -> Function:
    return lambda *args: fgrad.grad(loss(f), tuple(FLOAT))(*args)


def tangent(f: Function) -> Function:
    def g(*args: Any) -> Any:
        floats = tuple([args[i] for i in FLOAT])
        return fgrad.jvp(of_numbers(numbers(f), args), floats, tuple([np.cos(x) for x in floats]))

    return g


TRANSFORMED: dict[str, Callable[[Function], Function]] = {
    "value": lambda f: f,
    "gradient": gradient,
    "tangent": tangent,
    "forward over reverse": lambda f: tangent(gradient(f)),
    "reverse over reverse": lambda f: gradient(gradient(f)),
}

# --------------------------------------------------------------------------------------------------------------- checks


class Case(NamedTuple):
    """A program through fgrad.lax and by Python's loops."""

    program: Program
    through: Function
    plain: Function
    choice: random.Random
    rng: np.random.Generator

    def close(self, got: Any, want: Any, what: str) -> None:
        """Equal up to rounding, relative to the largest number."""
        leaves = [np.asarray(x) for x in fgrad.tree.leaves(want)]
        scale = max([1.0, *[np.abs(x[np.isfinite(x)]).max(initial=0) for x in leaves]])
        rtol, atol = (1e-2, 1e-3) if self.program.single else (1e-7, 1e-9)
        check_close(got, want, what, rtol=rtol, atol=atol * scale)


@contextlib.contextmanager
def case(seed: int, **options: Any) -> Iterator[Case]:
    """The program with a number; an error in the block shows it."""
    program = Program(seed, **options)
    f = program.function()
    through, plain = (lambda *args, lax=lax: f(lax, *args) for lax in (THROUGH, PLAIN))
    try:
        with np.errstate(all="ignore"):
            yield Case(program, through, plain, random.Random(seed), np.random.default_rng(seed))
    except Exception as error:
        error.add_note(f"program {seed}:\n{program.text}")
        raise


def batch(rng: np.random.Generator, lanes: int, axes: Sequence[int | None]) -> tuple[list[Any], list[list[Any]]]:
    """Operands of which some have lanes along an axis, and those of each lane."""
    drawn = [operands(rng) for _ in range(lanes)]
    each = [[drawn[0][i] if a is None else xs[i] for i, a in enumerate(axes)] for xs in drawn]
    return [xs[0] if a is None else np.stack(xs, a) for xs, a in zip(zip(*each, strict=True), axes, strict=True)], each


def stacked(trees: Sequence[Any]) -> Any:
    return fgrad.tree.map(lambda *xs: np.stack(xs), *trees)


@pytest.mark.parametrize("seed", range(FIRST, LAST))
def test_a_random_program(seed):
    with case(seed) as c:
        args = operands(c.rng, special=c.choice.random() < 0.1)
        for name in ["value", c.choice.choice([*TRANSFORMED][1:])]:
            make = TRANSFORMED[name]
            want = make(c.plain)(*args)
            with contextlib.nullcontext() if seed % 4 == 0 else plainly():  # eager regions are compiled, too
                c.close(make(c.through)(*args), want, name)
            c.close(fgrad.jit(make(c.through))(*args), want, f"{name}, compiled")


@pytest.mark.parametrize("seed", range(FIRST, LAST))
def test_a_random_program_in_lanes(seed):
    with case(seed) as c:
        lanes = c.choice.choice(LANES)
        axes = (0, *[c.choice.choice([0, 0, -1, None]) for _ in [*TYPES][1:]])
        args, each = batch(c.rng, lanes, axes)
        chosen = sorted({0, min(1, lanes - 1), lanes // 2, lanes - 1})
        name = c.choice.choice(["value", "value", "gradient", *TRANSFORMED])
        make, what = TRANSFORMED[name], f"{name} of {lanes} lanes {axes}"
        want = stacked([make(c.plain)(*each[i]) for i in chosen])
        some = lambda got: fgrad.tree.map(lambda x: x[chosen], got)  # noqa: E731
        mapped = fgrad.vmap(make(c.through), axes)
        if lanes < 10:
            with plainly():
                c.close(some(mapped(*args)), want, what)
        c.close(some(fgrad.jit(mapped)(*args)), want, f"{what}, compiled")
        if name == "gradient":
            total = lambda *args: fgrad.vmap(loss(c.through), axes)(*args).sum()  # noqa: E731
            places = tuple([i for i in FLOAT if axes[i] is not None])
            got = fgrad.jit(fgrad.grad(total, places))(*args)
            got = [np.moveaxis(g, axes[i], 0) for g, i in zip(got, places, strict=True)]
            c.close(some(got), [w for w, i in zip(want, FLOAT, strict=True) if i in places], f"{what}, summed")
        elif lanes < 10:
            other, more = batch(c.rng, lanes, axes)
            outer = tuple([None if a is None else 0 for a in axes])
            both = [x if a is None else np.stack([x, y]) for x, y, a in zip(args, other, outer, strict=True)]
            more = [[x if a is None else y for x, y, a in zip(each[0], ys, axes, strict=True)] for ys in more]
            want = stacked([want, stacked([make(c.plain)(*more[i]) for i in chosen])])
            got = fgrad.jit(fgrad.vmap(mapped, outer))(*both)
            c.close(fgrad.tree.map(lambda x: x[:, chosen], got), want, f"{what}, twice")


@pytest.mark.parametrize("seed", range(FIRST, LAST, 2))
def test_indices_are_checked_where_pythons_loops_would_check_them(seed):
    """An error is one that some lane has, on a line with an index; without one, lanes that have none are right."""
    with case(seed, unchecked=True) as c:
        axes = tuple([None if letter in "bk" else 0 for letter in TYPES])
        args, each = batch(c.rng, 9, axes)
        name = c.choice.choice(["value", "value", "gradient"])
        make = TRANSFORMED[name]
        want: dict[int, Any] = {}
        for i, xs in enumerate(each):
            with contextlib.suppress(IndexError):
                want[i] = make(c.plain)(*xs)
        chosen = [*want]
        try:
            got = fgrad.jit(fgrad.vmap(make(c.through), axes))(*args)
        except OutOfBoundsError as error:
            assert len(chosen) < len(each), error
            lines = re.findall(r"at:  <random loops>:(\d+) in", str(error))
            if lines or name == "value":  # where no value is needed, an index is looked at by the derivative
                text = c.program.text.split("\n")[int(lines[0]) - 1]
                assert "fgrad.at(" in text or "fgrad.grad(" in text, error
        else:
            if chosen:
                c.close(fgrad.tree.map(lambda x: x[chosen], got), stacked([*want.values()]), "what has no error")


def test_a_loop_of_no_runs_in_a_short_one():
    def f(loops, c):
        inner = lambda c: loops.scan(lambda d, v: (d + v, d), c, np.stack([c, c])[:0])  # noqa: E731
        return loops.scan(lambda c, _: inner(np.sin(c)), c, None, length=3)

    for x in (np.float64(0.5), np.arange(3.0)):
        with np.errstate(all="ignore"):
            want = f(PLAIN, x)
        check_close(f(THROUGH, x), want)
        check_close(fgrad.jit(lambda x: f(THROUGH, x))(x), want)
        lanes = np.stack([x] * 9)
        check_close(fgrad.jit(fgrad.vmap(lambda x: f(THROUGH, x)))(lanes), stacked([want] * 9))
        losses = [lambda x, lax=lax: weighed(f(lax, x)[0]) for lax in (THROUGH, PLAIN)]
        got, slope = (fgrad.grad(g)(x) for g in losses)
        check_close(got, slope)
        check_close(fgrad.jit(fgrad.vmap(fgrad.grad(losses[0])))(lanes), np.stack([slope] * 9))
