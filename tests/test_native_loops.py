"""Loops and branches inside compiled programs against their own `run`: values, memory, failures, interrupts."""

import _thread
import gc
import random
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import fgrad
import fgrad.numpy as fnp
from fgrad.core.builder import trace
from fgrad.core.trace import Tracer
from fgrad.core.types import shaped
from fgrad.passes.interpret import interpret
from fgrad.regions.call import plainly
from fgrad.regions.cond import cond
from fgrad.regions.loop import Sweep, while_loop
from fgrad.regions.scan import scan

F, I, B = shaped((), np.float64), shaped((), np.int64), shaped((), np.bool_)
V, M = shaped((5,), np.float64), shaped((3, 3), np.float64)
RNG = np.random.default_rng(0)


def program(f, *types):
    """The program of a function of arrays of these types that returns a list."""
    return trace(f, types)[0]


def value(t, rng=RNG):
    """An array of a type."""
    x = rng.normal(size=t.shape)
    if t.dtype.kind == "b":
        return np.array(x > 0)[()]
    if t.dtype.kind in "iu":
        return np.array(np.floor(4 * x), t.dtype)[()] if t.dtype.kind == "i" else np.array(4 * abs(x), t.dtype)[()]
    return np.array(x + 1j * rng.normal(size=t.shape) if t.dtype.kind == "c" else x, t.dtype)[()]


def agree(got, want):
    """Equal up to rounding; every result the caller's own."""
    got, want = ([x] if type(x) is not tuple else list(x) for x in (got, want))
    for i, (a, b) in enumerate(zip(got, want, strict=True)):
        assert type(a) is type(b) and a.dtype == b.dtype and a.shape == b.shape
        rtol = {"f2": 2e-2, "f4": 1e-4, "c8": 1e-4}.get(a.dtype.str[1:], 1e-9)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)
        if type(a) is np.ndarray:
            assert a.flags.carray and a.flags.owndata
            assert not any(np.shares_memory(a, other) for other in got[:i])


def check(f, *xs, backend="native"):
    """A function of loops, compiled, against NumPy calls; its operands stay as they are."""
    before = [np.array(x) for x in xs]
    with plainly():
        want = f(*xs)
    compiled = fgrad.jit(f, backend=backend)
    for _ in range(2):
        agree(compiled(*xs), want)
    for x, y in zip(xs, before, strict=True):
        np.testing.assert_array_equal(x, y)
    return compiled


# ------------------------------------------------------------------------------------------------------ random programs

TYPES = [
    *[F, V, M, I, B, shaped((5,), np.float32), shaped((2, 4), np.complex128), shaped((3,), np.complex64)],
    *[shaped((4,), np.float16), shaped((0, 3), np.float64), shaped((7,), np.int32), shaped((3,), np.bool_)],
    shaped((300,), np.float64),
]


class Programs:
    """Random programs: values of some types, operations that keep types and stay bounded, and loops of the same."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def types(self, low, high):
        return [self.random.choice(TYPES) for _ in range(self.random.randint(low, high))]

    def operation(self, x, pool):
        """Another value of the type of x."""
        t, r = x.aval, self.random
        y = r.choice([v for v in pool if v.aval is t])
        if t.dtype.kind == "b":
            return r.choice([lambda: fnp.logical_xor(x, y), lambda: ~x, lambda: x & y])()
        if t.dtype.kind == "i":
            return r.choice([lambda: (x * 3 + y) % 17, lambda: fnp.maximum(x, y), lambda: fnp.abs(x - y)])()
        bounded = [lambda: fnp.sin(x + y), lambda: fnp.cos(x) * t.dtype.type(0.5), lambda: (x - y) / 3]
        if t.dtype.kind == "c":
            return r.choice(bounded[1:])().astype(t.dtype)
        shapely = [lambda: fnp.sin(fnp.mean(x)) + y * 0, lambda: fnp.roll(x, 1, 0) * y / 4, lambda: fnp.flip(x, 0)]
        shapely += [lambda: fnp.sort(x, 0), lambda: fnp.cumsum(x, 0) / 7, lambda: x.at[0].set(fnp.sin(y[0]))]
        shapely += [lambda: x.at[..., -1].add(0.1), lambda: fnp.where(x > y, x, fnp.tanh(y))]
        if t is M:
            shapely += [lambda: fnp.tanh(x @ y), lambda: fnp.tanh(x.T @ x + y)]
        return r.choice(bounded + (shapely if t.shape and t.size else []))().astype(t.dtype)

    def extend(self, pool, depth):
        """More values."""
        pool = list(pool)
        for _ in range(self.random.randint(0, 6)):
            if depth and self.random.random() < 0.3:
                pool += self.region(pool, depth - 1)
            elif pool:
                pool.append(self.operation(self.random.choice(pool), pool))
        return pool

    def body(self, ins, outs, depth):
        """A program of these types: outputs are inputs, literals, values, some of them twice."""

        def f(*xs):
            pool = self.extend([*xs], depth)
            found = []
            for t in outs:
                fit = [v for v in pool if v.aval is t]
                made = fit[-self.random.randint(1, min(len(fit), 4)) :] if fit else []
                found.append(self.random.choice(made) if made else self.made(pool, t))
            return found

        return program(f, *ins)

    def pick(self, pool, t):
        fit = [v for v in pool if v.aval is t]
        return self.random.choice(fit) if fit and self.random.random() < 0.9 else self.made(pool, t)

    def made(self, pool, t):
        """A value of a type that has none: all elements are one number."""
        if not t.shape and self.random.random() < 0.3:
            return value(t)
        nothing = fnp.sum(fnp.abs(pool[0])).astype(float) * 0
        return fnp.broadcast_to(nothing + self.random.random(), t.shape).astype(t.dtype)

    def region(self, pool, depth):
        """The outputs of a scan, a while_loop or a cond on some values."""
        kind = self.random.choice([self.scan, self.sweeps, self.branches])
        out = kind(lambda t: self.pick(pool, t), depth)
        return [v for v in (out if type(out) is tuple else [out]) if type(v) is Tracer]

    def scan(self, pick, depth):
        consts, carry, slices, stacked = (self.types(0, n) for n in (2, 4, 2, 3))
        carry = carry or [F]
        length = self.random.choice([0, 1, 2, 3, 6])
        body = self.body([*consts, *carry, *slices], [*carry, *stacked], depth)
        xs = [*map(pick, [*consts, *carry]), *[pick(shaped((length, *t.shape), t.dtype)) for t in slices]]
        reverse = self.random.random() < 0.4
        return scan(*xs, jaxpr=body, consts=len(consts), carry=len(carry), length=length, reverse=reverse)

    def sweeps(self, pick, depth):
        limit = self.random.choice([0, 1, 2, 5])
        xs, sweeps, pushed = [np.int64(limit)], [], []
        for number in range(self.random.choice([1, 1, 2, 3, 4])):
            consts, carry, pushes = self.types(0, 1), self.types(1, 3), self.types(0, 2)
            reads = [i for i in range(len(pushed)) if self.random.random() < 0.7]
            ins = [*consts, *carry, *[pushed[i] for i in reads]]
            body = self.body(ins, [*carry, *pushes], depth)
            if number == 0:  # the last carry counts
                body = self.counted(body, len(consts), len(carry))
                carry = [*carry, I]
                first = carry
            xs += [*map(pick, [*consts, *carry])]
            if number == 0:
                xs[-1] = np.int64(0)
            sweeps.append(Sweep(body, len(consts), len(carry), tuple(reads)))
            pushed += pushes
        condition = program(lambda n, *c: [c[-1] < n], I, *first)
        return while_loop(*xs, cond=condition, consts=1, sweeps=tuple(sweeps))

    @staticmethod
    def counted(body, consts, carry):
        def f(*xs):
            i = xs[consts + carry]
            outs = interpret(body, [*xs[: consts + carry], *xs[consts + carry + 1 :]])
            return [*outs[:carry], i + 1, *outs[carry:]]

        types = body.in_types
        return program(f, *types[: consts + carry], I, *types[consts + carry :])

    def branches(self, pick, depth):
        ins, outs = self.types(1, 3), self.types(1, 3)
        found = tuple(self.body(ins, outs, depth) for _ in range(self.random.randint(1, 3)))
        return cond(np.int64(self.random.randint(-1, 3)), *map(pick, ins), branches=found)


def applied(jaxpr):
    """A program as a function of arrays."""
    return lambda *xs: tuple(interpret(jaxpr, [*jaxpr.consts, *xs]))


@pytest.mark.parametrize("seed", range(40))
def test_random_loops(seed):
    made = Programs(seed)
    types = made.types(1, 4)

    def f(*xs):
        pool = [*xs]
        for _ in range(4):
            pool += made.region(pool, 2)
        return pool[len(xs) :]

    rng = np.random.default_rng(seed)
    check(applied(program(f, *types)), *[value(t, rng) for t in types], backend="numba" if seed % 20 == 1 else "native")


# -------------------------------------------------------------------------------------------------------------- carries


def scanned(body, carry, consts=0, **params):
    """A scan as a function of its operands."""
    return lambda *xs: scan(*xs, jaxpr=body, consts=consts, carry=carry, **{"reverse": False, **params})


def inner(compiled, *xs):
    """Memory plan and text of the first program in the first loop."""
    lowered = compiled.lower(*xs)
    return lowered.memory_plan().loops[0][1], lowered.as_text("plan")


@pytest.mark.parametrize("length", range(5))
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    "body",
    [
        lambda a, b, c, x: [b, a, c, x],  # exchanged
        lambda a, b, c, x: [b, c, a, a],  # in a ring
        lambda a, b, c, x: [b, fnp.roll(b, 1) + a, c, c],  # one follows another, which is needed to the end
        lambda a, b, c, x: [b, c, fnp.flip(a) + b + x, c],  # two follow
        lambda a, b, c, x: [a, a, a, b],  # a constant
        lambda a, b, c, x: [b, b, b, b],  # one followed by all
        lambda a, b, c, x: [x, a, b, x],  # slices
        lambda a, b, c, x: [x + a, x + a, fnp.roll(c, 1), x + a],  # one value twice, and stacked
        lambda a, b, c, x: [a + 1, fnp.roll(b, 1), c.at[1].set(2.0), a],  # a stack of what it was
        lambda a, b, c, x: [fnp.roll(a, 1), a, b, a],  # the same, followed by others
        lambda a, b, c, x: [a * 2, b, fnp.zeros(3), fnp.ones(3)],  # literals
        lambda a, b, c, x: [fnp.sum(a) * x, fnp.cumsum(b), a + b, fnp.sort(a)],
    ],
)
def test_carries_that_change_places(body, reverse, length):
    t = shaped((3,), np.float64)
    f = scanned(program(lambda *xs: list(body(*xs)), t, t, t, t), 3, length=length, reverse=reverse)
    check(f, *RNG.normal(size=(3, 3)), RNG.normal(size=(length, 3)))


def test_one_initial_value_for_two_carries():
    body = program(lambda a, b: [a + 1, b * 2], V, V)
    check(lambda x: scan(x, x, jaxpr=body, consts=0, carry=2, length=3, reverse=False), value(V))


def test_an_operand_that_is_const_carry_and_slice():
    body = program(lambda w, c, s: [c * w + s, s], M, M, shaped((3,), np.float64))
    check(lambda x: scan(x, x, x, jaxpr=body, consts=1, carry=1, length=3, reverse=True), value(M))


def test_bodies_without_equations():
    check(scanned(program(lambda a: [a], V), 1, length=3), value(V))
    check(scanned(program(lambda a, x: [a, x], F, V), 1, length=3), 2.0, RNG.normal(size=(3, 5)))
    never = program(lambda a: [False], V)
    check(lambda a: while_loop(a, cond=never, consts=0, sweeps=(Sweep(program(lambda a: [a], V), 0, 1, ()),)), value(V))


UPDATES = [
    lambda c, i: [c.at[i].set(1.0), i + 1],
    lambda c, i: [c.at[i].add(1.0).at[i + 1].set(2 * c[i]), i + 1],
    lambda c, i: [fgrad.lax.dynamic_update_slice(c, fnp.ones(3), (i,)), i + 1],
    lambda c, i: [cond(i % 2, c, branches=(ALONE, program(lambda c: [c.at[7].set(2.0)], LONG))), i + 1],
    lambda c, i: [cond(i, c, branches=(ALONE, WRITES, ALONE)), i + 1],
    lambda c, i: [*scan(c.at[i].set(1.0), i, jaxpr=TWICE, consts=0, carry=2, length=2, reverse=False)],
    lambda c, i: [while_loop(c, i, cond=SOON, consts=0, sweeps=(Sweep(TWICE, 0, 2, ()),))[0], i + 1],
]
LONG = shaped((5000,), np.float64)
ALONE = program(lambda c: [c], LONG)
WRITES = program(lambda c: [c.at[3].set(2.0)], LONG)
TWICE = program(lambda c, i: [c.at[i].add(1.0).at[0].set(3.0), i + 1], LONG, I)
SOON = program(lambda c, i: [i < 5], LONG, I)


@pytest.mark.parametrize("body", UPDATES)
@pytest.mark.parametrize("loop", ["scan", "while"])
def test_updates_of_carries_copy_nothing(body, loop):
    """Of all that runs in the loop, at any depth, no call moves a whole carry."""
    made = program(lambda c, i: list(body(c, i)), LONG, I)
    f = scanned(made, 2, length=6)
    if loop == "while":
        limit = program(lambda c, i: [i < 6], LONG, I)
        f = lambda c, i: while_loop(c, i, cond=limit, consts=0, sweeps=(Sweep(made, 0, 2, ()),))  # noqa: E731
    compiled = check(f, RNG.normal(size=5000), np.int64(0))
    whole, *plans = compiled.lower(np.zeros(5000), 0).plan.walk()
    assert len(plans) == len(list(whole.walk())) - 1 > 0
    for plan in plans:
        assert not any(i.text == "copy" and i.writes[0].type is LONG for i in plan.items)
        assert not any(i.step is not None and 5000 in i.step.shape for i in plan.items)
        places = [plan.memory(v)[0] for v in plan.results if v.type is LONG]
        assert places in ([], ["input"])


def test_a_first_value_that_dies_is_not_copied():
    body = program(lambda c: [c.at[0].add(1.0)], LONG)
    f = fgrad.jit(lambda x: scan(fnp.sin(x), jaxpr=body, consts=0, carry=1, length=3, reverse=False))
    agree(f(np.ones(5000)), np.sin(np.ones(5000)) + 3 * (np.arange(5000) == 0))
    assert "copy" not in f.lower(np.ones(5000)).as_text("plan")
    g = fgrad.jit(scanned(body, 1, length=3), donate_argnums=0)
    x = np.zeros(5000)
    assert g(x) is x and x[0] == 3


def test_a_carry_that_is_stacked_is_copied_nowhere():
    for outs in (lambda c, new: [new, new], lambda c, new: [new, c]):
        body = program(lambda c, outs=outs: outs(c, fnp.roll(c, 1) + 1), LONG)
        compiled = check(scanned(body, 1, length=4), RNG.normal(size=5000))
        memory, text = inner(compiled, np.zeros(5000))
        assert memory.copies == () and "copy" not in text


# ----------------------------------------------------------------------------------------------------------- what it is


def test_a_loop_is_shown_with_its_body():
    body = program(lambda a, c, x: [c * a + x, fnp.sin(c)], F, V, V)
    f = fgrad.jit(scanned(body, 1, consts=1, length=100))
    lowered = f.lower(2.0, value(V), np.ones((100, 5)))
    plan = lowered.as_text("plan").split("\n")
    assert plan[2].startswith("1     scan of 100 runs") and plan[2].endswith(" [0, 1)")
    head = "item 1, body, 100 times: a:float64[] b:float64[5] c:float64[5] -> g:float64[5] f:float64[5]"
    assert plan[4] == head and "     " + "  " + head in lowered.as_text("steps")
    assert f"# {head}" in lowered.as_text("nests") and f"# {head}" in lowered.as_text("python")
    assert lowered.as_text("llvm").count("define i32 @k_") == len(set(lowered.as_text("python").split("def k_"))) - 1
    costs = lowered.cost_analysis()
    assert costs["flops"] == 100 * 5 * 2 and costs["transcendentals"] == 100 * 5
    assert "carry 0: not used" in repr(lowered.memory_plan()) or "in place" in repr(lowered.memory_plan())


def test_costs_of_loops_without_an_end_are_those_of_a_run():
    body = program(lambda c: [fnp.exp(c) + 1], V)
    condition = program(lambda c: [fnp.sum(c) < 10], V)
    f = fgrad.jit(lambda c: while_loop(c, cond=condition, consts=0, sweeps=(Sweep(body, 0, 1, ()),)))
    assert f.lower(value(V)).cost_analysis()["transcendentals"] == 5
    g = fgrad.jit(lambda i, c: cond(i, c, branches=(body, program(lambda c: [fnp.sin(fnp.cos(fnp.sin(c)))], V))))
    assert g.lower(0, value(V)).cost_analysis()["transcendentals"] == 15


def test_equal_bodies_are_planned_once():
    def f(x):
        for _ in range(3):
            body = program(lambda c: [fnp.tanh(c) + 1], V)
            x = scan(x, jaxpr=body, consts=0, carry=1, length=3, reverse=False)
        return x

    plan = fgrad.jit(f).lower(value(V)).plan
    bodies = [i.inner[0].plan for i in plan.items if i.inner]
    assert len(bodies) == 3 and bodies[0] is bodies[1] is bodies[2]
