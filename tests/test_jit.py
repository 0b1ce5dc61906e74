"""jit: when a function is traced again, what arguments may be, how programs nest, and that it is safe to share."""

import functools
import gc
import sys
import threading
import weakref

import numpy as np
import pytest

from fgrad import checkpoint, grad, jit, jvp, make_jaxpr, value_and_grad, vjp, vmap
from fgrad import numpy as fnp
from fgrad.core.errors import ConcretizationError


class Counted:
    """A function that counts how often Python runs it."""

    def __init__(self, f):
        self.f = f
        self.count = 0

    def __call__(self, *args, **kwargs):
        self.count += 1
        return self.f(*args, **kwargs)


def traces(f, *calls, **options):
    """How often `f` is traced by these calls, each a tuple of arguments."""
    counted = Counted(f)
    g = jit(counted, **options)
    for args in calls:
        g(*args)
    return counted.count


f3 = np.ones(3)


# ----------------------------------------------------------------------------------------------------- caching


def double(x):
    return x * 2


@pytest.mark.parametrize(
    ("expected", "calls"),
    [
        (1, [(f3,), (f3 * 2,), (np.zeros(3),), (f3[::-1],)]),
        (1, [(1.0,), (2.0,), (np.inf,)]),
        (1, [(1,), (2,), (10**18,)]),
        (1, [(np.float64(1),), (np.array(1.0),)]),
        (2, [(f3,), (np.ones(4),), (f3,)]),
        (2, [(f3,), (np.ones((1, 3)),), (f3,)]),
        (2, [(f3,), (f3.astype("f4"),), (f3,)]),
        (1, [(f3,), (f3.astype(">f8"),)]),
        (2, [(1.0,), (np.float64(1),)]),
        (2, [(1,), (1.0,)]),
        (2, [(1,), (True,)]),
        (2, [(1,), (np.int64(1),)]),
        (2, [(1.0,), (1j,)]),
    ],
)
def test_traces_of_signatures(expected, calls):
    assert traces(double, *calls) == expected


def test_traces_of_structures():
    f = lambda p: {"out": p}  # noqa: E731
    assert traces(f, ([1.0, 2.0],), ([3.0, 4.0],)) == 1
    assert traces(f, ([1.0, 2.0],), ((1.0, 2.0),)) == 2
    assert traces(f, ([1.0],), ([1.0, 2.0],), ([[1.0], 2.0],)) == 3
    assert traces(f, ({"a": 1.0},), ({"b": 1.0},), ({"a": 2.0},)) == 2
    assert traces(f, (None,), (1.0,), (None,)) == 2
    assert traces(f, ({"a": 1.0, "b": 2.0},), ({"b": 2.0, "a": 1.0},)) == 1


def test_traces_of_static_values():
    power = lambda x, n: x**n  # noqa: E731
    assert traces(power, (f3, 2), (f3, 3), (f3, 2), static_argnums=1) == 2
    assert traces(power, (f3, 2), (f3, 3), (f3, 2)) == 1
    # equal as dictionary keys, yet different values
    assert traces(power, (f3, 1), (f3, 1.0), (f3, True), static_argnums=1) == 3
    assert jit(power, static_argnums=1)(2, 3).dtype == np.int64
    assert jit(power, static_argnums=1)(2, 3.0).dtype == np.float64


@pytest.mark.parametrize("nested", [(1, 1.0), ((1,), (1.0,)), (0.0, -0.0), (frozenset([1]), frozenset([1.0]))])
def test_static_values_that_are_equal_but_not_the_same(nested):
    g = jit(lambda x, s: x * float(np.copysign(1, first(s))) + isinstance(first(s), float), static_argnums=1)

    def first(s):
        return s if isinstance(s, int | float) else next(iter(s))

    for s in nested:
        assert g(0.5, s) == 0.5 * np.copysign(1, first(s)) + isinstance(first(s), float)


def test_two_wrappers_of_one_function_share_programs():
    counted = Counted(double)
    assert jit(counted)(f3).tolist() == jit(counted)(f3).tolist() == [2, 2, 2]
    assert counted.count == 1
    jit(counted, static_argnums=0)(4)
    jit(counted)(4)
    assert counted.count == 3


class Scale:
    def __init__(self, factor):
        self.factor = factor
        self.count = 0

    def plain(self, x):
        self.count += 1
        return x * self.factor

    @jit
    def decorated(self, x):
        return x * 2

    @functools.partial(jit, static_argnums=0)
    def static(self, x):
        self.count += 1
        return x * self.factor


def test_bound_methods():
    two, three = Scale(2), Scale(3)
    for _ in range(3):
        assert jit(two.plain)(5.0) == 10
        assert jit(three.plain)(5.0) == 15
    assert (two.count, three.count) == (1, 1)


def test_methods_with_a_static_self():
    two, three = Scale(2), Scale(3)
    for _ in range(3):
        assert two.static(5.0) == 10
        assert three.static(5.0) == 15
    assert (two.count, three.count) == (1, 1)


def test_programs_die_with_their_function():
    def made():
        constant = np.ones(1000)
        alive = weakref.ref(constant.view(Watched))

        def f(x):
            return x + constant

        jit(f)(1.0)
        jit(f)(f3[0])
        return weakref.ref(f), alive

    class Watched(np.ndarray):
        pass

    f, _ = made()
    gc.collect()
    assert f() is None


def test_programs_of_a_method_die_with_the_object():
    scale = Scale(2)
    jit(scale.plain)(1.0)
    died = weakref.ref(scale)
    del scale
    gc.collect()
    assert died() is None


def test_closures_over_tracers_are_never_cached():
    results = []

    def loss(x):
        inner = jit(lambda y: x * y)
        results.append(inner)
        return inner(3.0) + inner(3.0)

    assert grad(loss)(2.0) == 6
    assert grad(loss)(5.0) == 6

    seen = []

    def shared(y):
        return y * seen[-1]

    def outer(x):
        seen.append(x)
        return jit(shared)(2.0)

    assert grad(outer)(1.0) == 2
    assert grad(outer)(1.0) == 2
    assert jit(outer)(7.0) == 14
    assert vmap(outer)(f3 * 3).tolist() == [6, 6, 6]
    seen.append(10.0)
    assert jit(shared)(2.0) == 20


def test_an_error_while_tracing_is_not_cached():
    counted = Counted(lambda x: x if counted.count > 1 else [][0])
    g = jit(counted)
    with pytest.raises(IndexError):
        g(1.0)
    assert g(1.0) == 1


# --------------------------------------------------------------------------------------------------- arguments


def add(a, b=10.0, *rest, c=100.0, **more):
    return a + b + sum(rest) + c + sum(more.values())


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((1.0,), {}),
        ((1.0, 2.0), {}),
        ((1.0, 2.0, 3.0, 4.0), {}),
        ((1.0,), {"b": 2.0}),
        ((1.0,), {"c": 2.0}),
        ((), {"a": 1.0}),
        ((1.0, 2.0), {"d": 3.0, "e": 4.0}),
    ],
)
def test_ways_to_pass_arguments(args, kwargs):
    for g in (jit(add), jit(jit(add)), jit(add, donate_argnums=0), jit(add, inline=True)):
        for _ in range(2):
            assert g(*args, **kwargs) == add(*args, **kwargs)


def chosen(x, n, *, kind="sum"):
    return getattr(np, kind)(x * n)


@pytest.mark.parametrize("wrapper", [lambda g: g, jit, vmap])
def test_static_arguments(wrapper):
    x = np.arange(6.0).reshape(2, 3)
    g = jit(chosen, static_argnames=("n", "kind"))
    calls = [
        lambda x: g(x, 2),
        lambda x: g(x, n=2),
        lambda x: g(x, 2, kind="sum"),
        lambda x: g(n=2, x=x, kind="sum"),
        lambda x: jit(chosen, static_argnums=1, static_argnames="kind")(x, 2, kind="sum"),
        lambda x: jit(chosen, static_argnums=(-1,), static_argnames=["kind"])(x, n=2, kind="sum"),
    ]
    for call in calls:
        assert np.array_equal(wrapper(call)(x), wrapper(lambda x: np.sum(x * 2))(x))
    assert g(x, 2, kind="max") == 10


def test_forms_of_the_decorator():
    @jit
    def one(x):
        """Doc."""
        return x + 1

    @jit()
    def two(x):
        return x + 2

    @jit(static_argnums=(1,))
    def three(x, n):
        return x + n

    @functools.partial(jit, static_argnames="n")
    def four(x, n):
        return x + n

    assert (one(1.0), two(1.0), three(1.0, 3), four(1.0, n=4)) == (2, 3, 4, 5)
    assert (one.__name__, one.__doc__, repr(one)) == ("one", "Doc.", "<jit of one>")
    assert one.__wrapped__(1.0) == 2.0
    assert jit(np.sin)(0.0) == 0 and jit(functools.partial(add, 1.0))(2.0) == 103


def test_methods():
    scale = Scale(2)
    assert scale.decorated.func is Scale.decorated
    jitted = jit(lambda s: s)
    assert jitted({"a": f3})["a"].tolist() == [1, 1, 1]


def test_donated_arguments_are_left_alone():
    x = np.ones(3)
    f = jit(lambda x, y: x + y, donate_argnums=0, donate_argnames="y")
    y = f(x, x)
    assert y.tolist() == [2, 2, 2] and x.tolist() == [1, 1, 1]


def test_results_of_any_structure():
    f = jit(lambda x: {"a": (x, None, [x * 2]), "b": 3, "c": np.float32(1)})
    out = f(f3)
    assert list(out) == ["a", "b", "c"] and out["a"][1] is None and out["b"] == 3
    assert type(out["b"]) is np.int64 and type(out["c"]) is np.float32
    assert jit(lambda: 5)() == 5
    assert jit(lambda x: None)(1.0) is None
    assert jit(lambda x: ())(f3) == ()
    assert grad(lambda x: (jit(lambda x: ())(x), x)[1])(2.0) == 1


# ------------------------------------------------------------------------------------------------ nested programs


def test_jit_inside_jit_leaves_a_call():
    inner = jit(lambda x: np.sin(x) * 2)
    outer = jit(lambda x: inner(x) + inner(x + 1))
    names = [e.primitive.name for e in outer.trace(f3).eqns]
    assert names.count("call") == 2 and "sin" not in names
    inlined = jit(lambda x: x * 2, inline=True)
    names = [e.primitive.name for e in jit(lambda x: inlined(x) + 1).trace(f3).eqns]
    assert names == ["mul", "add"] or "call" not in names
    assert outer(0.0) == 2 * np.sin(1.0)


def test_an_inner_function_is_traced_once():
    inner = Counted(np.sin)
    jitted = jit(inner)
    outer = jit(lambda x: jitted(x) + jitted(x * 2))
    outer(f3)
    grad(lambda x: outer(x).sum())(f3)
    vmap(outer)(np.ones((2, 3)))
    jvp(outer, (f3,), (f3,))
    assert inner.count == 1


def test_an_inner_trace_is_not_confused_with_the_outer():
    def outer(x):
        return jit(lambda y: x * jit(lambda z: x * y * z)(y))(x)

    assert outer(2.0) == 16
    assert jit(outer)(2.0) == 16
    assert grad(outer)(2.0) == 32
    assert jit(grad(jit(outer)))(2.0) == 32
    assert vmap(jit(grad(outer)))(np.array([1.0, 2.0])).tolist() == [4, 32]


# --------------------------------------------------------------------------------------------- dtypes and shapes

SCALARS = [True, 2, 2.5, 1j, np.bool_(1), np.int8(2), np.uint8(3), np.int64(2)]
SCALARS += [np.float16(2), np.float32(2), np.complex64(2)]
OPERATIONS = {
    "x": lambda x: x,
    "x + 1": lambda x: x + 1,
    "1 + x": lambda x: 1 + x,
    "x + True": lambda x: x + True,
    "x * 2.5": lambda x: x * 2.5,
    "x / 2": lambda x: x / 2,
    "x ** 2": lambda x: x**2,
    "2 ** x": lambda x: 2**x,
    "x + 1j": lambda x: x + 1j,
    "f32 * x": lambda x: np.float32(1) * x,
    "x * f32 array": lambda x: x * np.ones(2, np.float32),
    "i8 array + x": lambda x: np.ones(2, np.int8) + x,
    "np.sin(x)": lambda x: np.sin(x),
    "np.sin(x) * f32 array": lambda x: np.sin(x) * np.ones(2, np.float32),
    "(x + 1) * f32 array": lambda x: (x + 1) * np.ones(2, np.float32),
    "np.add(x, 1)": lambda x: np.add(x, 1),
    "np.add(x, x) * f32 array": lambda x: np.add(x, x) * np.ones(2, np.float32),
    "-x": lambda x: np.negative(x) if isinstance(x, bool | np.bool_) else -x,
    "abs": lambda x: abs(x),
    "x == 2": lambda x: x == 2,
    "where": lambda x: np.where(x == 2, x, 1),
    "where f32": lambda x: np.where(True, x, np.float32(1)),
    "stack": lambda x: np.stack([x, x]),
    "sum": lambda x: np.sum(x),
    "mean": lambda x: np.mean(x),
    "max": lambda x: np.maximum(x, 1),
    "zeros_like": lambda x: np.zeros_like(x),
    "full_like": lambda x: np.full_like(x, 1),
    "astype": lambda x: np.asarray(x).astype("f4") if not hasattr(x, "astype") else x.astype("f4"),
    "sqrt": lambda x: np.sqrt(x),
    "x // 2": lambda x: x // 2 if not isinstance(x, complex | np.complexfloating) else x,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("make", [lambda v: v, lambda v: np.full((2,), v), lambda v: np.full((1, 2), v)])
def test_dtype_and_shape_of_jitted_functions(operation, make):
    f = OPERATIONS[operation]
    for scalar in SCALARS:
        x = make(scalar)
        if np.iscomplexobj(x) and operation in ("x // 2", "where f32", "max"):
            continue
        if operation == "x ** 2" and np.ndim(x) and x.dtype == bool:
            continue  # NumPy squares arrays of truth values as int8
        try:
            expected = f(x)
        except TypeError:  # not defined for that dtype
            continue
        found = jit(f)(x)
        assert np.asarray(found).dtype == np.asarray(expected).dtype, repr(scalar)
        assert np.shape(found) == np.shape(expected)
        np.testing.assert_allclose(found, expected, rtol=1e-3 if "16" in str(found.dtype) else 1e-6)
        nested = jit(jit(f))(x)
        assert np.asarray(nested).dtype == found.dtype


def test_weak_scalars_of_nested_jit():
    inner = jit(lambda s: s * 2)
    x = np.ones(2, np.float32)
    assert jit(lambda s: inner(s) * x)(1.0).dtype == np.float32
    assert jit(lambda s: np.sin(inner(s)) * x)(1.0).dtype == np.float64
    assert jit(lambda s: inner(s) * x)(np.float64(1)).dtype == np.float64
    assert grad(lambda s: np.sum(inner(s) * x))(1.0).dtype == np.float64


# ---------------------------------------------------------------------------------------------------- deep programs


def test_ten_thousand_operations():
    assert sys.getrecursionlimit() <= 1000 or sys.gettrace() is not None or sys.getrecursionlimit() < 10_000

    def chain(x):
        for _ in range(5000):
            x = x * 1.0001 + 0.5
        return x

    expected, slope = 2.0, 1.0001**5000
    for _ in range(5000):
        expected = expected * 1.0001 + 0.5
    close = lambda found, right: np.testing.assert_allclose(found, right, rtol=1e-9)  # noqa: E731
    close(grad(chain)(2.0), slope)
    close(jvp(chain, (2.0,), (1.0,)), (expected, slope))
    assert len(make_jaxpr(chain)(2.0).eqns) == 10_000
    f = jit(chain)
    close(f(2.0), expected)
    close(jit(grad(chain))(2.0), slope)
    close(grad(f)(2.0), slope)
    close(vmap(chain)(np.array([2.0])), [expected])
    close(jit(checkpoint(chain))(2.0), expected)
    assert len(str(f.trace(2.0)).split("\n")) == 10_002


# ------------------------------------------------------------------------------------------------------- threads


def run_threads(work, count=6):
    errors = []

    def guarded(i):
        try:
            for k in range(20):
                work(i, k)
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]


def test_threads_share_jitted_functions_and_gradients():
    old = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        f = jit(lambda x: np.sum(np.sin(x) * x))
        g = jit(grad(lambda x: np.sum(np.tanh(x) * x**2)))
        eager = value_and_grad(lambda x: np.sum(x * np.exp(-x)))

        def work(i, k):
            n = k % 5 + 1  # new shapes all the time: several threads trace at once
            x = np.full(n, 0.1 * (i + 1))
            np.testing.assert_allclose(f(x), np.sum(np.sin(x) * x))
            np.testing.assert_allclose(g(x), x**2 / np.cosh(x) ** 2 + 2 * x * np.tanh(x))
            value, slope = eager(x)
            np.testing.assert_allclose(value, np.sum(x * np.exp(-x)))
            np.testing.assert_allclose(slope, (1 - x) * np.exp(-x))
            np.testing.assert_allclose(vmap(f)(np.stack([x, x])), 2 * [np.sum(np.sin(x) * x)])
            np.testing.assert_allclose(vjp(g, x)[0], g(x))

        run_threads(work)
    finally:
        sys.setswitchinterval(old)


def test_threads_trace_on_their_own():
    barrier = threading.Barrier(2, timeout=20)
    results = {}

    def work(i, k):
        if k:
            return

        def f(x):
            barrier.wait()  # both are in the middle of tracing
            y = x * (i + 1)
            barrier.wait()
            return y + i

        results[i] = [e.primitive.name for e in jit(f).trace(1.0).eqns], jit(f)(2.0), grad(f)(1.0)

    run_threads(work, 2)
    assert results[0][1:] == (2, 1) and results[1][1:] == (5, 2)


# --------------------------------------------------------------------------------------------------- interruption


@pytest.mark.parametrize("transform", [jit, grad, vmap, lambda f: jit(grad(f)), lambda f: grad(jit(f)), checkpoint])
def test_interruption_leaves_everything_usable(transform):
    interrupt = True

    def f(x):
        y = np.sin(x) * 2
        if interrupt:
            raise KeyboardInterrupt
        return np.sum(y)

    argument = np.ones(2) if transform is vmap else 1.0
    collecting = gc.isenabled()
    g = transform(f)
    with pytest.raises(KeyboardInterrupt):
        g(argument)
    assert gc.isenabled() == collecting
    interrupt = False
    expected = transform(lambda x: np.sum(np.sin(x) * 2))(argument)
    assert np.array_equal(g(argument), expected)
    assert np.sin(1.0) == np.sin(np.float64(1.0)) and type(fnp.sin(1.0)) is np.float64
    assert grad(np.sin)(0.0) == 1 and jit(np.cos)(0.0) == 1


def test_an_error_in_an_inner_trace_may_be_caught_in_the_outer():
    def f(x):
        try:
            jit(lambda y: x if y > 0 else y)(x)
        except ConcretizationError:
            x = x * 3
        return x * 2

    assert jit(f)(1.0) == 6
    assert grad(f)(1.0) == 6
    assert jit(grad(f))(1.0) == 6
    assert vmap(f)(f3).tolist() == [6, 6, 6]
