"""Loops and branches inside compiled programs against their own `run`: values, memory, how they are shown."""

import numpy as np
import pytest
from loop_bodies import RNG, F, M, N, Programs, V, agree, applied, check, program, scanned, value

import fgrad
import fgrad.numpy as fnp
from fgrad.compile import executable, library
from fgrad.core.types import shaped
from fgrad.regions.cond import cond
from fgrad.regions.loop import Sweep, while_loop
from fgrad.regions.scan import scan


@pytest.fixture(autouse=True)
def tables(monkeypatch):
    """Small loops are tables of thunks as well, and no kernels."""
    monkeypatch.setattr(library, "kernel_loop_items", lambda *args: None)
    monkeypatch.setattr(executable, "_KNOWN", {})


@pytest.mark.parametrize("seed", range(40))
def test_random_loops(seed, monkeypatch):
    if seed % 2:  # kernels too, where they can be
        monkeypatch.undo()
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
TWICE = program(lambda c, i: [c.at[i].add(1.0).at[0].set(3.0), i + 1], LONG, N)
SOON = program(lambda c, i: [i < 5], LONG, N)


@pytest.mark.parametrize("body", UPDATES)
@pytest.mark.parametrize("loop", ["scan", "while"])
def test_updates_of_carries_copy_nothing(body, loop):
    """Of all that runs in the loop, at any depth, no call moves a whole carry."""
    made = program(lambda c, i: list(body(c, i)), LONG, N)
    f = scanned(made, 2, length=6)
    if loop == "while":
        limit = program(lambda c, i: [i < 6], LONG, N)
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
