"""Every primitive as the body of a scan, of a while_loop and as a branch of a cond: in value and derivatives itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_primitives import ACTIVE, TIED, differentiable, function, types_of

import fgrad
from fgrad.core.builder import trace
from fgrad.core.primitive import registry
from fgrad.core.trace import stage
from fgrad.core.types import shaped
from fgrad.regions.cond import cond
from fgrad.regions.loop import Sweep, while_loop
from fgrad.regions.scan import scan
from fgrad.testing import Draw, check_close

LEAVES = [pytest.param(p, id=p.name) for p in registry if not p.region]


def in_scan(f, xs):
    """`f` applied in the second of two runs to slices, of which the first is another's."""
    body, _ = trace(lambda *v: f(*v), types_of(xs))
    stacked = lambda x: registry.concatenate(*[registry.reshape(x, shape=(1, *np.shape(x)))] * 2, axis=0)  # noqa: E731

    def g(*xs):
        operands, n = [*body.consts, *map(stacked, xs)], len(body.consts)
        outs = scan.apply(operands, jaxpr=body.closed(), consts=n, carry=0, length=2, reverse=False)
        return [y[1] for y in outs]

    return g


def in_while(f, xs):
    """`f` applied in the only run of a loop, whose results start as zeros."""
    types = types_of(xs)
    outs = [shaped(np.shape(y), y.dtype) for y in f(*xs)]
    count = shaped((), np.int64)
    n = len(types)
    body, _ = trace(lambda *v: [registry.add(v[n], np.int64(1)), *f(*v[:n])], [*types, count, *outs])
    condition, _ = trace(lambda i, *v: [registry.lt(i, np.int64(1))], [count, *outs])

    def g(*xs):
        start = [np.int64(0), *[np.zeros(t.shape, t.dtype)[()] for t in outs]]
        sweep = Sweep(body.closed(), len(body.consts) + n, 1 + len(outs), ())
        return while_loop.apply([*body.consts, *xs, *start], cond=condition, consts=0, sweeps=(sweep,))[1:]

    return g


def in_cond(f, xs):
    """`f` as the second of two branches; the first gives zeros."""
    outs = [shaped(np.shape(y), y.dtype) for y in f(*xs)]
    zero = lambda t: stage(registry.broadcast_in_dim, t.dtype.type(0), shape=t.shape, dims=())  # noqa: E731
    two, _ = trace(lambda *v: f(*v), types_of(xs))
    one, _ = trace(lambda *v: [zero(t) for t in outs], [v.type for v in two.inputs])
    return lambda *xs: cond.apply(np.int64(1), [*two.consts, *xs], [one, two.closed()])


@pytest.mark.parametrize("wrap", [in_scan, in_while, in_cond])
@pytest.mark.parametrize("primitive", LEAVES)
@settings(max_examples=2)
@given(data=st.data())
def test_a_primitive_in_a_body(primitive, wrap, data):
    draw = Draw(data.draw)
    xs, params = primitive.samples(draw)
    f = function(primitive, params)
    if not xs:
        return
    check_close(fgrad.jit(wrap(f, xs))(*xs), f(*xs), "jit")
    found = None if primitive.name in (*TIED, *ACTIVE) else differentiable(primitive, xs, params)
    if found is None:
        return
    whole, moving = found
    inside = wrap(whole, moving)
    ts = [draw.array(x.shape, x.dtype) for x in moving]
    want, tangents = fgrad.jvp(whole, tuple(moving), tuple(ts))
    check_close(fgrad.jvp(inside, tuple(moving), tuple(ts)), (want, tangents), "jvp")
    cts = [draw.array(y.shape, y.dtype) for y in want]
    pull = lambda h, *v: fgrad.vjp(h, *v)[1](cts)  # noqa: E731
    check_close(pull(inside, *moving), pull(whole, *moving), "vjp")
    lanes = [np.stack([x, x]) for x in moving]
    check_close(fgrad.vmap(inside)(*lanes), fgrad.vmap(whole)(*lanes), "vmap")
