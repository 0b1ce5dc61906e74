"""Values are snapshots: arrays that change after they were read change no result, and no result shares memory."""

import itertools
import threading

import numpy as np
import pytest

import fgrad
from fgrad import (
    checkpoint,
    custom_jvp,
    custom_vjp,
    grad,
    jacfwd,
    jacrev,
    jit,
    jvp,
    linearize,
    value_and_grad,
    vjp,
    vmap,
)
from fgrad import numpy as fnp
from fgrad import tree as trees
from fgrad.passes.snapshots import LOCK_FROM

SMALL = 3
LARGE = LOCK_FROM // 8 + 1


class Refilled:
    """sum(x * b + b**2) for b = 1, 2, 3, all three held in one buffer that a loop refills: the gradient is 6."""

    def __init__(self, n):
        self.buffer = np.zeros(n)

    def __call__(self, x):
        y = 0.0
        for i in range(3):
            self.buffer[:] = i + 1
            y = y + np.sum(x * self.buffer) + np.sum(self.buffer**2)
        self.buffer[:] = np.nan
        return y


def with_custom_rule(f):
    g = custom_vjp(f)
    g.defvjp(lambda x: (f(x), x), lambda x, ct: (grad(f)(x) * ct,))
    return g


def forward_columns(f):
    """The gradient from directional derivatives of the first, a middle and the last element."""

    def gradient(x):
        picks = [0, x.size // 2, x.size - 1]
        return np.array([jvp(f, (x,), (np.eye(1, x.size, k)[0],))[1] for k in picks])

    return gradient


GRADIENTS = {
    "grad": grad,
    "jit grad": lambda f: jit(grad(f)),
    "grad jit": lambda f: grad(jit(f)),
    "vjp": lambda f: lambda x: vjp(f, x)[1](1.0)[0],
    "jvp": forward_columns,
    "jvp jit": lambda f: forward_columns(jit(f)),
    "jacrev": jacrev,
    "grad vmap": lambda f: grad(lambda x: vmap(f, in_axes=None, axis_size=2)(x)[1]),
    "vmap grad": lambda f: lambda x: vmap(grad(f))(np.stack([x, x]))[1],
    "grad checkpoint": lambda f: grad(checkpoint(f)),
    "jit grad checkpoint": lambda f: jit(grad(checkpoint(f))),
    "grad of grad": lambda f: lambda x: jvp(lambda s: grad(lambda z: f(z) * s)(x), (1.0,), (1.0,))[1],
    "custom_vjp": lambda f: grad(with_custom_rule(f)),
}
# those that run grad itself: it locks large arrays until it is done, and NumPy refuses to write into them
LOCKING = ("grad", "jit grad", "grad vmap", "vmap grad", "grad of grad", "custom_vjp")


@pytest.mark.parametrize("name", GRADIENTS)
@pytest.mark.parametrize("n", [SMALL, LARGE])
def test_a_refilled_buffer_counts_as_it_was_read(name, n):
    f = Refilled(n)
    x = np.full(n, 0.5)
    if n == LARGE and name in LOCKING:
        with pytest.raises(ValueError, match="read-only"):
            GRADIENTS[name](f)(x)
        assert f.buffer.flags.writeable and x.flags.writeable
        return
    assert np.all(GRADIENTS[name](f)(x) == 6)
    assert f.buffer.flags.writeable and x.flags.writeable
    assert np.all(x == 0.5)


@pytest.mark.parametrize("n", [SMALL, LARGE])
@pytest.mark.parametrize("wrapper", [lambda f: f, jit, checkpoint, lambda f: jit(checkpoint(f))])
def test_values_of_a_refilled_buffer(wrapper, n):
    f = wrapper(Refilled(n))
    assert f(np.ones(n)) == (6 + 14) * n
    assert vmap(f)(np.ones((2, n))).tolist() == [20 * n, 20 * n]


def test_jit_keeps_the_content_that_it_traced():
    buffer = np.ones(3)
    f = jit(lambda x: x * buffer)
    assert f(2.0).tolist() == [2, 2, 2]
    buffer[:] = 9
    assert f(2.0).tolist() == [2, 2, 2]


@pytest.mark.parametrize("n", [SMALL, LARGE])
def test_closures_own_their_residuals(n):
    x, w = np.full(n, 2.0), np.full(n, 3.0)
    view = np.broadcast_to(np.float64(3.0), (n,))
    value, pull = vjp(lambda x: x * x * w * view[:], x)
    value2, push = linearize(lambda x: x * x * w, x)
    x[:], w[:] = np.nan, np.nan
    value[:], value2[:] = np.nan, np.nan
    for _ in range(2):
        (ct,) = pull(np.ones(n))
        assert np.all(ct == 36)
        ct[:] = np.nan
        t = push(np.ones(n))
        assert np.all(t == 12)
        t[:] = np.nan


@pytest.mark.parametrize("n", [SMALL, LARGE])
def test_results_may_be_written_before_a_closure_is_called(n):
    x = np.full(n, 0.5)
    value, pull, aux = vjp(lambda x: (np.exp(x), np.tanh(x)), x, has_aux=True)
    pushed, push, _ = linearize(lambda x: (np.exp(x), x), x, has_aux=True)
    both, pull2 = vjp(lambda x: [np.exp(x), np.exp(x)], x)
    for y in (value, aux, pushed, *both):
        y[:] = np.nan
    one = np.ones(n)
    np.testing.assert_array_equal(pull(one)[0], np.exp(0.5))
    np.testing.assert_array_equal(push(one), np.exp(0.5))
    np.testing.assert_array_equal(pull2([one, one])[0], 2 * np.exp(0.5))


def test_views_of_a_captured_array_are_snapshots_too():
    base = np.arange(6.0)
    half = base[::2]
    fixed = base[:3]
    fixed.flags.writeable = False

    def f(x):
        y = np.sum(x * half) + np.sum(x * fixed)
        base[:] = 100.0
        return y

    expected = np.array([0.0, 2, 4]) + np.array([0.0, 1, 2])
    for g in (grad(f), lambda x: vjp(f, x)[1](1.0)[0], jit(grad(f))):
        base[:] = np.arange(6.0)
        assert g(np.ones(3)).tolist() == expected.tolist()


def test_residuals_of_custom_rules_are_snapshots():
    buffer = np.full(3, 2.0)

    def rule(primals, tangents):
        return np.sum(primals[0] * buffer), np.sum(tangents[0] * buffer)

    f = custom_jvp(lambda x: np.sum(x * buffer))
    f.defjvp(rule)

    def loss(x):
        y = f(x)
        buffer[:] = 7
        return y + f(x)

    for g in (grad(loss), lambda x: vjp(loss, x)[1](1.0)[0], jit(grad(loss))):
        buffer[:] = 2
        assert g(np.ones(3)).tolist() == [9, 9, 9]


def test_a_view_of_an_argument_that_changes_while_a_gradient_runs():
    x = np.ones(3)

    def f(y):
        x[:] = 50.0  # the caller's array, not the traced value
        return np.sum(y**2)

    assert grad(f)(x).tolist() == [2, 2, 2]
    assert x.tolist() == [50, 50, 50]


# -------------------------------------------------------------------------------------------------------- locks


class Failure(BaseException):
    pass


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, Failure])
@pytest.mark.parametrize("transform", [grad, value_and_grad, lambda f: lambda x: vjp(f, x), jacrev])
def test_locked_arrays_are_writable_after_an_exception(transform, error):
    x, w = np.ones(LARGE), np.ones(LARGE)
    seen = []

    def f(x):
        seen.append(np.sum(x * w))
        raise error

    with pytest.raises(error):
        transform(f)(x)
    assert x.flags.writeable and w.flags.writeable and len(seen) == 1
    assert np.all(grad(lambda x: np.sum(x * w))(x) == 1)
    assert x.flags.writeable and w.flags.writeable


def test_locks_of_nested_gradients():
    x, w = np.full(LARGE, 2.0), np.full(LARGE, 3.0)

    def outer(x):
        inner = grad(lambda y: np.sum(y * y * w))(x)
        return np.sum(inner * w)

    assert np.all(grad(outer)(x) == 18)
    assert grad(lambda s: np.sum(s * w) + grad(lambda t: np.sum(t * w))(s))(1.0) == 3 * LARGE
    assert x.flags.writeable and w.flags.writeable


def test_read_only_arguments_stay_read_only():
    x = np.ones(LARGE)
    x.flags.writeable = False
    assert grad(np.sum)(x).flags.writeable
    assert jit(lambda x: x)(x).flags.writeable
    assert not x.flags.writeable


# ------------------------------------------------------------------------------------------- whose memory it is

captured = np.arange(6.0).reshape(2, 3).copy()
frozen = np.arange(6.0).reshape(2, 3).copy()
frozen.flags.writeable = False

FUNCTIONS = {
    "identity": lambda x: x,
    "captured": lambda x: captured,
    "frozen": lambda x: frozen,
    "views of a captured array": lambda x: (captured[0], captured.T, captured.reshape(-1)),
    "twice": lambda x: (x, x, captured, captured),
    "views": lambda x: (x, x[0], x.T, x.reshape(3, 2), x[None], x[:, ::-1], np.ravel(x)),
    "broadcasts": lambda x: (np.broadcast_to(x, (4, 2, 3)), np.broadcast_to(captured[0], (2, 3))),
    "no operation": lambda x: (np.asarray(x) if isinstance(x, np.ndarray) else x, x + 0 * 1, x.astype(x.dtype), x.real),
    "computed": lambda x: (x * 2, np.sin(x).T, captured * 1.0),
    "selected": lambda x: (np.where(True, x, captured), np.clip(x, None, None) if False else np.maximum(x, captured)),
    "scalars": lambda x: (x[0, 0], np.sum(x), 3.0, np.float32(2), np.array(5)),
    "joined": lambda x: (np.concatenate([x]), np.stack([x])[0], np.split(x, 1)[0], *np.split(x, 2)),
    "pytree": lambda x: {"a": [x, {"b": x}], "c": None},
}


def ruled(f):
    g = custom_vjp(f)
    g.defvjp(lambda x: (f(x), None), lambda res, ct: (0.0 * captured,))
    return g


def lane(f):
    return lambda x: vmap(f)(np.stack([x, x]))


TRANSFORMS = {
    "jit": lambda f: lambda x: jit(f)(x),
    "jit jit": lambda f: lambda x: jit(jit(f))(x),
    "vmap": lane,
    "vmap, unmapped": lambda f: lambda x: vmap(f, in_axes=None, out_axes=None, axis_size=2)(x),
    "vmap, last axis": lambda f: lambda x: vmap(lambda x: trees.map(lambda v: v * 1.0, f(x)), out_axes=-1)(x[None]),
    "jit vmap": lambda f: lambda x: jit(lane(f))(x),
    "vjp value": lambda f: lambda x: vjp(f, x)[0],
    "linearize value": lambda f: lambda x: linearize(f, x)[0],
    "jvp": lambda f: lambda x: jvp(f, (x,), (np.ones_like(x),)),
    "linearize": lambda f: lambda x: linearize(f, x)[1](np.ones_like(x)),
    "aux of grad": lambda f: lambda x: grad(lambda x: (np.sum(x), f(x)), has_aux=True)(x),
    "aux of value_and_grad": lambda f: lambda x: value_and_grad(lambda x: (np.sum(x), (f(x), f(x))), has_aux=True)(x),
    "aux of vjp": lambda f: lambda x: vjp(lambda x: (x, f(x)), x, has_aux=True)[::2],
    "aux of jvp": lambda f: lambda x: jvp(lambda x: (x, f(x)), (x,), (x,), has_aux=True),
    "aux of linearize": lambda f: lambda x: linearize(lambda x: (x, f(x)), x, has_aux=True)[::2],
    "aux of jacrev": lambda f: lambda x: jacrev(lambda x: (x, f(x)), has_aux=True)(x),
    "aux of jacfwd": lambda f: lambda x: jacfwd(lambda x: (x, f(x)), has_aux=True)(x),
    "custom_vjp": lambda f: lambda x: vjp(ruled(f), x)[0],
    "closure_convert": lambda f: lambda x: fgrad.closure_convert(f, x)[0](x),
}


def arrays_of(result):
    return [y for y in trees.leaves(result) if isinstance(y, np.ndarray)]


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_results_share_no_memory(transform, function):
    run = TRANSFORMS[transform](FUNCTIONS[function])
    x = np.linspace(1.0, 2.0, 6).reshape(2, 3)
    before, constant = x.copy(), captured.copy()
    first, second = run(x), run(x)
    for y in trees.leaves(first):
        if type(y) is float:  # an aux output that is no array stays what it is
            assert y == 3.0 and "aux" in transform
        elif type(y) is np.ndarray and y.dtype != fgrad.float0:
            assert y.ndim and y.flags.writeable and y.flags.c_contiguous
        else:
            assert isinstance(y, np.generic | np.ndarray)
    owned = [x, captured, frozen, *arrays_of(first), *arrays_of(second)]
    for a, b in itertools.combinations(owned, 2):
        assert not np.shares_memory(a, b)
    for y in arrays_of(first):
        if y.dtype != fgrad.float0:
            y[...] = -7
    assert np.array_equal(x, before) and np.array_equal(captured, constant)
    for a, b in zip(trees.leaves(second), trees.leaves(run(x)), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("wrapper", [lambda f: f, jit])
@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.sum(x),
        lambda x: np.sum(x * captured),
        lambda x: np.sum(x.T @ captured),
        lambda x: np.sum(x[0] * captured[1]),
        lambda x: np.sum(np.where(captured > 2, x, captured)),
        lambda x: 1.0,
    ],
)
def test_gradients_share_no_memory(wrapper, f):
    x = np.ones((2, 3))
    ct = np.ones((2, 3))
    both = wrapper(grad(lambda x, y: f(x) + f(y), argnums=(0, 1)))
    results = [*both(x, x), *both(x, x), *vjp(lambda x: (x, f(x)), x)[1]((ct, 1.0))]
    for y in results:
        assert y.flags.writeable and y.flags.c_contiguous
    for a, b in itertools.combinations([x, ct, captured, *results], 2):
        assert not np.shares_memory(a, b)


def test_cotangents_that_pass_through_are_copied():
    x, ct = np.ones(3), np.ones(3)
    ((a, b),) = [vjp(lambda x, y: x + y, x, x)[1](ct)]
    for u, v in itertools.combinations([x, ct, a, b], 2):
        assert not np.shares_memory(u, v)
    push = linearize(lambda x: (x, x), x)[1]
    for u, v in itertools.combinations([x, ct, *push(ct)], 2):
        assert not np.shares_memory(u, v)


# ------------------------------------------------------------------------------------------------ kinds of inputs

x34 = np.arange(12.0).reshape(3, 4) + 1


class Labelled(np.ndarray):
    pass


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


INPUTS = {
    "plain": x34,
    "fortran": np.asfortranarray(x34),
    "transposed": np.ascontiguousarray(x34.T).T,
    "strided": np.repeat(x34, 2, axis=1)[:, ::2],
    "reversed": np.ascontiguousarray(x34[::-1, ::-1])[::-1, ::-1],
    "offset": np.concatenate([np.zeros(1), x34.ravel()])[1:].reshape(3, 4),
    "unaligned": np.frombuffer(b"\0" + x34.tobytes(), np.uint8)[1:].view(np.float64).reshape(3, 4),
    "byte-swapped": x34.astype(">f8"),
    "read-only": read_only(x34),
    "subclass": x34.view(Labelled),
    "memoryview": np.asarray(memoryview(x34)),
    "record field": np.array([[(v, 0) for v in row] for row in x34], dtype=[("v", "f8"), ("i", "i2")])["v"],
}


def quadratic(x):
    return np.sum(np.sin(x) * x)


SLOPE = np.cos(x34) * x34 + np.sin(x34)


@pytest.mark.parametrize("kind", INPUTS)
def test_kinds_of_inputs(kind):
    x = INPUTS[kind]
    results = {
        "grad": grad(quadratic)(x),
        "jit grad": jit(grad(quadratic))(x),
        "grad jit": grad(jit(quadratic))(x),
        "vmap": vmap(grad(quadratic))(x),
        "vmap along 1": vmap(grad(quadratic), in_axes=1, out_axes=1)(x),
        "vjp": vjp(np.sin, x)[1](x)[0] + np.sin(x34),
        "jvp": jvp(np.sin, (x,), (x,))[1] + np.sin(x34),
        "linearize": linearize(np.sin, x)[1](x) + np.sin(x34),
        "tree": grad(lambda p: quadratic(p["x"]))({"x": x})["x"],
        "captured": grad(lambda y: np.sum(y * x))(x34) + SLOPE - x34,
        "captured by jit": jit(grad(lambda y: np.sum(y * x)))(x34) + SLOPE - x34,
    }
    for name, found in results.items():
        assert type(found) is np.ndarray and found.dtype == np.dtype("f8") and found.dtype.isnative, name
        assert found.flags.c_contiguous and found.flags.writeable, name
        np.testing.assert_allclose(found, SLOPE, rtol=1e-14, err_msg=name)
    assert np.array_equal(x, x34)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 3)])
def test_inputs_without_elements(shape):
    x = np.zeros(shape, np.float32)
    for found in (
        grad(np.sum)(x),
        jit(grad(np.sum))(x),
        jit(np.sin)(x),
        vjp(np.sin, x)[1](x)[0],
        jvp(np.sin, (x,), (x,))[1],
        linearize(np.sin, x)[1](x),
        vmap(np.sin, in_axes=len(shape) - 1, out_axes=-1)(x),
    ):
        assert type(found) is np.ndarray and found.shape == shape and found.dtype == np.float32
    assert jit(np.sum)(x) == 0 and type(jit(np.sum)(x)) is np.float32


@pytest.mark.parametrize("cls", [np.float16, np.float32, np.float64, np.complex64, np.complex128])
@pytest.mark.parametrize("make", [lambda v: v, np.asarray])
def test_results_without_axes_are_numpy_scalars(make, cls):
    x = make(cls(2))
    square = lambda x: x * x  # noqa: E731
    found = [
        jit(square)(x),
        jit(lambda x: x)(x),
        vjp(square, x)[0],
        vjp(square, x)[1](cls(1))[0],
        *jvp(square, (x,), (cls(1),)),
        linearize(square, x)[1](cls(1)),
        vmap(square, in_axes=None, out_axes=None, axis_size=3)(x),
        jit(lambda x: np.stack([x, x]))(x)[0],
    ]
    if np.dtype(cls).kind == "f":
        found += [grad(square)(x), jit(grad(square))(x), *value_and_grad(square)(x), jacrev(square)(x)]
    assert [type(y) for y in found] == [cls] * len(found)
    assert all(y in (1, 2, 4) for y in found)


def test_a_large_array_held_by_two_threads_stays_locked_until_both_are_done():
    x = np.ones(100_000)
    inside, release = threading.Event(), threading.Event()
    writable_meanwhile = []

    def slow(w):
        y = w * x
        inside.set()
        release.wait(10)
        return fnp.sum(y * x)

    worker = threading.Thread(target=lambda: fgrad.grad(slow)(2.0))
    worker.start()
    inside.wait(10)
    fgrad.grad(lambda w: fnp.sum(w * x))(2.0)
    writable_meanwhile.append(x.flags.writeable)
    release.set()
    worker.join()
    assert writable_meanwhile == [False]
    assert x.flags.writeable


def test_a_backward_rule_that_returns_a_residual_gives_away_no_array_of_the_user():
    weights = np.ones(LARGE)

    @custom_vjp
    def f(x, w):
        return fnp.sum(x * w)

    f.defvjp(lambda x, w: (fnp.sum(x * w), w), lambda w, ct: (w, w))
    g = grad(f)(np.full(LARGE, 2.0), weights)
    assert not np.shares_memory(g, weights)
    both = grad(f, (0, 1))(np.full(LARGE, 2.0), weights)
    assert not np.shares_memory(*both)
    assert not any(np.shares_memory(b, weights) for b in both)
