"""Loops for the tests: bodies written with fgrad.numpy, as equations with operands; and random ones."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from kernels import Sample

import fgrad.numpy as fnp
from fgrad.compile.executable import Executable
from fgrad.compile.kernel_loops import Small, small
from fgrad.core.builder import trace
from fgrad.core.ir import Eqn, Jaxpr
from fgrad.core.primitive import Primitive
from fgrad.core.types import shaped
from fgrad.regions.call import one_equation, plainly
from fgrad.regions.cond import cond
from fgrad.regions.loop import Sweep, while_loop
from fgrad.regions.scan import scan


class Loop(NamedTuple):
    """A region, its operands and params."""

    primitive: Primitive
    args: tuple[Any, ...]
    params: dict[str, Any]

    @property
    def program(self) -> Jaxpr:
        """The program of this one equation."""
        return one_equation(self.primitive, [type_of(x) for x in self.args], self.params)

    @property
    def eqn(self) -> Eqn:
        return self.program.eqns[0]

    def plain(self) -> tuple[Any, ...]:
        """What it means: its run, by NumPy."""
        with plainly(), np.errstate(all="ignore"):
            return self.primitive.run(*self.args, **self.params)


def type_of(x: Any) -> Any:
    x = np.asarray(x)
    return shaped(x.shape, x.dtype)


def traced(f: Callable[..., Any], *examples: Any) -> Jaxpr:
    """The program of a function that gives one value or a list."""

    def listed(*xs: Any) -> Sequence[Any]:
        out = f(*xs)
        return out if isinstance(out, list | tuple) else [out]

    jaxpr, _ = trace(listed, [type_of(x) for x in examples])
    assert not jaxpr.consts
    return jaxpr


def scanned(
    f: Callable[..., Any],
    carry: Sequence[Any] = (),
    xs: Sequence[Any] = (),
    consts: Sequence[Any] = (),
    length: int | None = None,
    reverse: bool = False,
) -> Loop:
    """f(*consts, *carry, *slices) -> [*carry, *outputs]."""
    n = len(xs[0]) if length is None else length
    jaxpr = traced(f, *consts, *carry, *[np.zeros(x.shape[1:], x.dtype)[()] for x in xs])
    params = {"jaxpr": jaxpr, "consts": len(consts), "carry": len(carry), "length": n, "reverse": reverse}
    return Loop(scan, (*consts, *carry, *xs), params)


def looped(
    holds: Callable[..., Any], f: Callable[..., Any], carry: Sequence[Any], same: Sequence[Any] = (), consts: Any = ()
) -> Loop:
    """While holds(*same, *carry): carry = f(*consts, *carry)."""
    sweep = Sweep(traced(f, *consts, *carry), len(consts), len(carry), ())
    params = {"cond": traced(holds, *same, *carry), "consts": len(same), "sweeps": (sweep,)}
    return Loop(while_loop, (*same, *consts, *carry), params)


def chosen(index: int, branches: Sequence[Callable[..., Any]], args: Sequence[Any]) -> Loop:
    """branches[index](*args)."""
    return Loop(cond, (np.int64(index), *args), {"branches": tuple([traced(b, *args) for b in branches])})


# ----------------------------------------------------------------------------------------------------- what they give


def kernel_of(loop: Loop, trusting: bool = True) -> Small:
    made = small(loop.eqn, trusting)
    assert made is not None, "it is no kernel"
    return made


def compiled(loop: Loop) -> list[Any]:
    """What the program of this loop alone gives; nothing in it calls NumPy."""
    executable = Executable(loop.program)
    assert all(item.text == "copy" or item.kernel is not None for item in executable.plan.items)
    return executable.run(loop.program, [np.asarray(x) for x in loop.args])


def same(got: Any, want: Any) -> None:
    """Equal types and equal bits, but those of NaN."""
    for g, w in zip(got, want, strict=True):
        g, w = np.asarray(g), np.asarray(w)
        assert (g.dtype, g.shape) == (w.dtype, w.shape)
        np.testing.assert_array_equal(g, w)
        if w.dtype.kind == "f":
            numbers = ~np.isnan(w)
            np.testing.assert_array_equal(np.signbit(g[numbers]), np.signbit(w[numbers]))


def close(got: Any, want: Any, ulps: float) -> None:
    """Equal types, and numbers within so many roundings of the largest one."""
    for g, w in zip(got, want, strict=True):
        g, w = np.asarray(g), np.asarray(w)
        assert (g.dtype, g.shape) == (w.dtype, w.shape)
        scale = np.max(np.abs(w), initial=0, where=np.isfinite(w)) if w.dtype.kind == "f" else 0
        np.testing.assert_allclose(g, w, rtol=0, atol=scale * ulps * np.finfo(w.dtype).eps if scale else 0)


def sample(loop: Loop, name: str = "loop") -> Sample:
    """The kernel on the operands of a loop, for the tests of renderers."""
    made = kernel_of(loop)
    atoms = [np.array(x) for x in (*loop.args, *loop.plain())]
    for i in range(len(loop.args), len(atoms)):
        atoms[i] = np.full_like(atoms[i], 1)
    for source, target in made.copies:
        atoms[target] = atoms[source].copy()
    return Sample(name, made.k, [atoms[i] for i in made.operands], 1)


def lorenz(s):
    x, y, z = s[0], s[1], s[2]
    return fnp.stack([10 * (y - x), x * (28 - z) - y, x * y - 2.5 * z])


def runge_kutta(s):
    k1 = lorenz(s)
    k2 = lorenz(s + k1 * 0.005)
    k3 = lorenz(s + k2 * 0.005)
    return s + (k1 + k2 * 2 + k3 * 2) * 0.002


# ----------------------------------------------------------------------------------------------------- random bodies


DTYPES = ["float32", "float64", "int32", "int64", "uint8", "bool"]
SHAPES = [(), (), (), (3,), (2, 3)]


class _Random:
    """A loop drawn at random, of a few values of few dtypes and shapes; its operations give the bits of NumPy's."""

    def __init__(self, seed: int):
        self.rng = random.Random(seed)
        self.numbers = np.random.default_rng(seed)
        self.dtypes = [*self.rng.sample(DTYPES, 2), self.rng.choice(["float32", "float64"])]

    def array(self, dtype: str, shape: tuple[int, ...]) -> Any:
        """Ordinary and extraordinary numbers."""
        kind = np.dtype(dtype).kind
        if kind == "b":
            return (self.numbers.random(shape) < 0.5)[()] if shape else np.bool_(self.rng.random() < 0.5)
        if kind != "f":
            return np.asarray(self.numbers.integers(0, 9, shape), dtype)[()]
        x = np.asarray(self.numbers.normal(size=shape))
        for place in np.ndindex(shape):
            if self.rng.random() < 0.2:
                x[place] = self.rng.choice([0.0, -0.0, np.inf, -np.inf, np.nan, 1e30, 1e-40])
        return x.astype(dtype)[()]

    def some(self) -> list[Any]:
        return [
            self.array(self.rng.choice(self.dtypes), self.rng.choice(SHAPES)) for _ in range(self.rng.randint(1, 3))
        ]

    def operation(self, known: list[Any]) -> Any:
        """One more value from those known."""
        rng, x = self.rng, self.rng.choice(known)
        kind = x.dtype.kind
        draw = rng.random()
        if draw < 0.15 and x.ndim:
            return rng.choice([
                lambda: x[..., ::-1], lambda: x.T, lambda: x.reshape(-1), lambda: fnp.concatenate([x, x]),
                lambda: x[..., 1:], lambda: x[..., 0], lambda: x.max(-1), lambda: fnp.cumsum(x, -1),
                lambda: fnp.argmax(x, -1), lambda: fnp.pad(x, 1), lambda: x[rng.choice([0, -1])],
            ])()  # fmt: skip
        if draw < 0.3 and x.ndim:
            index = next((k for k in known[::-1] if k.dtype.kind in "iu" and not k.ndim), 0)
            index = fnp.clip(index, 0, x.shape[0] - 1)
            return rng.choice([lambda: x[index], lambda: x.at[index].set(x[0]), lambda: x.at[index].add(x[-1])])()
        if draw < 0.4:
            return x.astype(rng.choice(self.dtypes)) if kind != "f" else x.astype(rng.choice(["float32", "float64"]))
        same = [k for k in known if k.dtype == x.dtype]
        y = rng.choice(same)
        if len({x.shape, y.shape, ()}) > 2:
            y = x
        if draw < 0.5:
            return fnp.where(y == x, x, y)
        if kind == "b":
            return rng.choice([lambda: x & y, lambda: x | y, lambda: x ^ y, lambda: ~x, lambda: x < y])()
        zero = x.dtype.type(0)
        common = [
            lambda: x + y, lambda: x - y, lambda: x * y,
            lambda: fnp.maximum(x, y) + zero, lambda: fnp.minimum(x, y) + zero,  # of 0.0 and -0.0 either may be it
            lambda: x < y, lambda: x == y, lambda: abs(x), lambda: fnp.sign(x), lambda: fnp.square(x),
        ]  # fmt: skip
        own = (
            [
                lambda: x / y,
                lambda: fnp.sqrt(x),
                lambda: fnp.floor(x),
                lambda: -x,
                lambda: fnp.isnan(x),
                lambda: x * 0.5,
            ]
            if kind == "f"
            else [lambda: x // y, lambda: x % y, lambda: x & y, lambda: x << y, lambda: x >> y, lambda: x + 3]
        )
        return rng.choice(common + own)()

    def body(self, outputs: Sequence[Any], extra: int, steps: int) -> Callable[..., list[Any]]:
        """A function of any operands to values like `outputs`, then `extra` ones of any type."""

        def like(known: list[Any], want: Any) -> Any:
            fits = [k for k in known if k.dtype == want.dtype and k.shape == want.shape]
            if fits:
                return self.rng.choice(fits[-4:])
            other = [k for k in known if k.shape == want.shape and (k.dtype.kind != "f" or want.dtype.kind == "f")]
            if other:
                return other[-1].astype(want.dtype)
            return fnp.full(want.shape, 1, want.dtype)

        def f(*xs: Any) -> list[Any]:
            known = list(xs)
            for _ in range(steps):
                new = self.operation(known)
                if new.size <= 12:
                    known.append(new)
            return [*[like(known, w) for w in outputs], *[known[-1 - n] for n in range(extra)]]

        return f


def random_loop(seed: int) -> Loop:
    """The loop with this number: a scan, a while_loop that counts, or a choice."""
    r = _Random(seed)
    rng = r.rng
    kind = rng.choice(["scan", "scan", "while", "cond"])
    carry, consts = r.some(), r.some()
    steps = rng.randint(2, 12)
    if kind == "scan":
        n = rng.choice([0, 1, 2, 5, 23])
        xs = []
        for x in r.some():
            xs.append(
                np.stack([r.array(str(x.dtype), x.shape) for _ in range(n)]) if n else np.zeros((0, *x.shape), x.dtype)
            )
        f = r.body(carry, rng.randint(0, 2), steps)
        return scanned(f, carry, xs, consts, length=n, reverse=rng.random() < 0.5)
    if kind == "while":
        n, inner = rng.choice([0, 1, 7, 40]), r.body(carry, 0, steps)
        split = len(consts)
        return looped(
            lambda i, *c: i < n,
            lambda *xs: [xs[split] + 1, *inner(*xs[:split], *xs[split + 1 :])],
            [np.int64(0), *carry],
            consts=consts,
        )
    branches = [r.body(carry, 0, steps) for _ in range(rng.randint(1, 4))]
    return chosen(rng.randint(-1, 4), branches, [*carry, *consts])
