"""Random programs of loops and branches, and what compiled ones are compared with: NumPy calls."""

import random

import numpy as np

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

F, N, B = shaped((), np.float64), shaped((), np.int64), shaped((), np.bool_)
V, M = shaped((5,), np.float64), shaped((3, 3), np.float64)
RNG = np.random.default_rng(0)


def program(f, *types):
    """The program of a function of arrays of these types that returns a list."""
    found, _ = trace(f, types)
    assert not found.consts
    return found


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
    *[F, V, M, N, B, shaped((5,), np.float32), shaped((2, 4), np.complex128), shaped((3,), np.complex64)],
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
                carry = [*carry, N]
                first = carry
            xs += [*map(pick, [*consts, *carry])]
            if number == 0:
                xs[-1] = np.int64(0)
            sweeps.append(Sweep(body, len(consts), len(carry), tuple(reads)))
            pushed += pushes
        condition = program(lambda n, *c: [c[-1] < n], N, *first)
        return while_loop(*xs, cond=condition, consts=1, sweeps=tuple(sweeps))

    @staticmethod
    def counted(body, consts, carry):
        def f(*xs):
            i = xs[consts + carry]
            outs = interpret(body, [*xs[: consts + carry], *xs[consts + carry + 1 :]])
            return [*outs[:carry], i + 1, *outs[carry:]]

        types = body.in_types
        return program(f, *types[: consts + carry], N, *types[consts + carry :])

    def branches(self, pick, depth):
        ins, outs = self.types(1, 3), self.types(1, 3)
        found = tuple(self.body(ins, outs, depth) for _ in range(self.random.randint(1, 3)))
        return cond(np.int64(self.random.randint(-1, 3)), *map(pick, ins), branches=found)


def applied(jaxpr):
    """A program as a function of arrays."""
    return lambda *xs: tuple(interpret(jaxpr, [*jaxpr.consts, *xs]))


def scanned(body, carry, consts=0, **params):
    """A scan as a function of its operands."""
    return lambda *xs: scan(*xs, jaxpr=body, consts=consts, carry=carry, **{"reverse": False, **params})
