"""fgrad.lax against NumPy and SciPy, eagerly, traced by jit, batched and differentiated; errors by their texts."""

import numpy as np
import pytest
import scipy.linalg
import scipy.special

import fgrad
from fgrad import lax
from fgrad.core.errors import DtypeError, LeafError, OutOfBoundsError, ShapeError
from fgrad.testing import check_close, check_grads, check_vmap

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 4))
Y = RNG.normal(size=(3, 4))
P = RNG.uniform(0.2, 0.8, (3, 4))
Z = X + 1j * Y
N = RNG.integers(-9, 10, (3, 4))
M = np.where(N == 3, 1, N[::-1])
B = N > 0
F = X.astype(np.float32)
SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, 1e308, -2.5, 0.5, 0.49999999999999994, 1.5])


def away(x):
    return np.copysign(np.floor(np.abs(x) + 0.5), x)


# name, what NumPy or SciPy says, operands
ELEMENTWISE = [
    ("neg", np.negative, X), ("neg", np.negative, N), ("sign", np.sign, X), ("sign", np.sign, Z),
    ("floor", np.floor, X),
    ("ceil", np.ceil, X), ("abs", np.abs, Z), ("abs", np.abs, N), ("exp", np.exp, Z), ("exp", np.exp, F),
    ("exp2", np.exp2, X), ("expm1", np.expm1, X), ("log", np.log, P), ("log1p", np.log1p, P), ("sin", np.sin, X),
    ("cos", np.cos, Z), ("tan", np.tan, X), ("asin", np.arcsin, P), ("acos", np.arccos, P), ("atan", np.arctan, X),
    ("sinh", np.sinh, X), ("cosh", np.cosh, X), ("tanh", np.tanh, X), ("asinh", np.arcsinh, X),
    ("acosh", np.arccosh, P + 1), ("atanh", np.arctanh, P), ("sqrt", np.sqrt, P),
    ("rsqrt", lambda x: 1 / np.sqrt(x), P),
    ("cbrt", np.cbrt, X), ("square", np.square, N), ("reciprocal", lambda x: 1 / x, P),
    ("logistic", scipy.special.expit, X), ("erf", scipy.special.erf, X), ("erfc", scipy.special.erfc, F),
    ("erf_inv", scipy.special.erfinv, P), ("lgamma", scipy.special.gammaln, P), ("digamma", scipy.special.digamma, P),
    ("bessel_i0e", scipy.special.i0e, X), ("bessel_i1e", scipy.special.i1e, X), ("is_finite", np.isfinite, SPECIAL),
    ("real", np.real, Z), ("imag", np.imag, Z), ("conj", np.conj, Z), ("conj", lambda x: x.astype(complex), X),
    ("bitwise_not", np.invert, N), ("bitwise_not", np.invert, B), ("integer_pow", lambda x: x**3, X),
    ("round", away, X * 9),
]  # fmt: skip
BINARY = [
    ("add", np.add, X, Y), ("add", np.add, Z, Z), ("sub", np.subtract, N, M), ("mul", np.multiply, X, Y),
    ("div", np.divide, X, Y), ("max", np.maximum, X, Y), ("min", np.minimum, N, M), ("rem", np.fmod, X, Y),
    ("pow", np.power, P, X), ("atan2", np.arctan2, X, Y), ("nextafter", np.nextafter, X, Y),
    ("complex", lambda x, y: x + 1j * y, X, Y), ("eq", np.equal, N, M), ("ne", np.not_equal, Z, Z),
    ("lt", np.less, X, Y),
    ("le", np.less_equal, N, M), ("gt", np.greater, X, Y), ("ge", np.greater_equal, B, B),
    ("bitwise_and", np.bitwise_and, N, M),
    ("bitwise_or", np.bitwise_or, B, ~B), ("bitwise_xor", np.bitwise_xor, N, M),
    ("shift_left", np.left_shift, N, np.abs(M)), ("shift_right_arithmetic", np.right_shift, N, np.abs(M)),
]  # fmt: skip


def extra(name):
    return (3,) if name == "integer_pow" else ()


def same(f, want, *xs):
    """A function on arrays, traced by jit and batched over rows gives what NumPy does, with exactly its type."""
    got = f(*xs)
    assert type(got) is type(want) or (np.ndim(want) and isinstance(got, np.ndarray))
    check_close(got, want)
    check_close(fgrad.jit(f)(*xs), want)


@pytest.mark.parametrize("name, numpy, x", ELEMENTWISE, ids=[f"{r[0]}-{r[2].dtype}" for r in ELEMENTWISE])
def test_unary(name, numpy, x):
    f = lambda v: getattr(lax, name)(v, *extra(name))  # noqa: E731
    same(f, numpy(x), x)
    for scalar in (x.flat[0], x[:0]):
        same(f, numpy(scalar), scalar)
    if x.ndim == 2:
        check_vmap(f, (x,))


@pytest.mark.parametrize("name, numpy, x, y", BINARY, ids=[f"{r[0]}-{r[2].dtype}" for r in BINARY])
def test_binary(name, numpy, x, y):
    f = getattr(lax, name)
    same(f, numpy(x, y), x, y)
    same(f, numpy(x, y[0, 0]), x, y[0, 0])
    check_vmap(f, (x, y))
    check_vmap(f, (x, y[0]), in_axes=(0, None))


@pytest.mark.parametrize("name", ["sin", "tanh", "logistic", "erf", "cbrt", "bessel_i1e", "square", "exp2", "asinh"])
def test_derivatives_of_unary(name):
    check_grads(getattr(lax, name), (X,), order=2)


def test_derivatives_of_others():
    check_grads(lambda x, y: lax.pow(x, y), (P, X))
    check_grads(lambda x: lax.polygamma(1, x), (P,))
    check_grads(lambda x: lax.select_n(np.array([0, 2, 1, 1]), x[0], lax.square(x[1]), lax.sin(x[2])), (X,))
    check_grads(lambda x: lax.cumlogsumexp(x, axis=1), (X,))
    check_grads(lambda x: lax.cumlogsumexp(x, axis=0, reverse=True), (X,))
    check_grads(lambda x, y: lax.dot_general(x, y, (((1,), (1,)), ((), ())), preferred_element_type=np.float64), (X, Y))
    check_grads(lambda x: lax.sort(x, dimension=0), (X,))
    check_grads(lambda x: lax.top_k(x, 2, axis=0)[0], (X,))
    check_grads(lambda x: lax.reduce(x, 0.5, lambda a, b: b * a, (1,)), (P,))
    check_grads(lambda x, u: lax.dynamic_update_slice(x, u, (1, -1)), (X, Y[:1, :1]))
    check_grads(lambda x: lax.dynamic_slice(x, (1, 9), (2, 2)), (X,))


def test_derivative_of_pow_with_an_int_exists_at_zero():
    assert fgrad.grad(lambda x: lax.pow(x, 2))(0.0) == 0.0
    assert fgrad.grad(lambda x: lax.integer_pow(x, 1))(0.0) == 1.0


def test_derivative_of_clamp_goes_to_the_limit_at_a_limit():  # as in JAX 0.10.2, whose derivative by x is 0 there
    gradient = fgrad.grad(lambda x: lax.reduce_sum(lax.clamp(0.0, x, 1.0), (0,)))
    assert gradient(np.array([-1.0, 0.0, 0.5, 1.0, 2.0])).tolist() == [0.0, 0.0, 1.0, 0.0, 0.0]


# ---- Python scalars and strictness ------------------------------------------------------------------------------


def test_python_scalars_take_the_dtype_of_the_other_operand():
    for x in (F, X, np.float16(2)):
        assert lax.add(x, 1).dtype == lax.mul(2.0, x).dtype == x.dtype
        assert fgrad.jit(lambda v: lax.add(1.5, v))(x).dtype == x.dtype
    assert lax.add(np.uint8(3), 1).dtype == np.uint8
    assert lax.max(Z.real, 0).dtype == np.float64
    assert lax.add(1, 2.5) == 3.5 and lax.add(1, 2) == 3
    assert lax.add(F, np.float32(1)).shape == F.shape
    assert fgrad.grad(lambda x: lax.mul(x, lax.reduce_sum(F, (0, 1))))(2.0).dtype == np.float64
    assert fgrad.grad(lambda x: lax.reshape(x, (1,))[0])(3.0) == 1.0


STRICT = [
    (lambda: lax.add(X, F), DtypeError, "add: operands have different dtypes"),
    (lambda: lax.add(X, X[:2]), ShapeError, "add: operands have different shapes"),
    (lambda: lax.add(X, X[:, :1]), ShapeError, "add: operands have different shapes"),
    (lambda: lax.add(N, 0.5), DtypeError, "add: a Python float does not fit beside an operand of dtype int64"),
    (lambda: lax.sin(N), DtypeError, "sin is not defined for integer operands"),
    (lambda: lax.neg(B), DtypeError, "neg is not defined for boolean operands"),
    (lambda: lax.real(X), DtypeError, "real is not defined for floating operands"),
    (lambda: lax.max(Z, Z), DtypeError, "max is not defined for complex operands"),
    (lambda: lax.shift_left(X, X), DtypeError, "shift_left is not defined for floating operands"),
    (lambda: lax.sin([1.0]), LeafError, "expected an array or a number, got list"),
    (lambda: lax.polygamma(0.5, X), TypeError, "polygamma: the order must be one integer known while tracing"),
    (lambda: lax.polygamma(-1, X), ValueError, "polygamma: the order must not be negative"),
    (lambda: lax.integer_pow(N, -1), ValueError, "integer_pow: integers have no negative integer powers"),
    (lambda: lax.select(N, X, X), DtypeError, "select: the predicate must be boolean"),
    (lambda: lax.select(B, X, F), DtypeError, "select_n: the cases have different dtypes"),
    (lambda: lax.select_n(B, X, X, X), DtypeError, "select_n: `which` must be boolean for at most two cases"),
    (lambda: lax.select_n(B), ShapeError, "select_n: there are no cases to select from"),
    (lambda: lax.clamp(X[0], X, 1.0), ShapeError, "le: operands have different shapes"),
    (lambda: lax.convert_element_type(X, "U1"), LeafError, "arrays of dtype <U1 cannot be traced"),
    (lambda: lax.bitcast_convert_type(B, np.uint8), DtypeError, "bitcast_convert_type is not defined for booleans"),
    (lambda: lax.bitcast_convert_type(F, np.float64), ShapeError, "2 elements of float32 make one of float64"),
    (lambda: lax.reduce_precision(X, 3, 3), DtypeError, "reduce_precision: takes floats, and the bits of float16"),
    (lambda: lax.reshape(X, (-1,)), ShapeError, "cannot reshape 12 elements into shape (-1,)"),
    (lambda: lax.transpose(X, (0, 0)), ShapeError, "transpose: axes (0, 0) do not fit an array of 2 dimensions"),
    (lambda: lax.transpose(X, (0,)), ShapeError, "transpose: 1 axes for 2 dimensions"),
    (lambda: lax.rev(X, (2,)), ShapeError, "rev: axis 2 does not exist"),
    (lambda: lax.rev(X, (0, -2)), ShapeError, "rev: an axis is named twice"),
    (lambda: lax.pad(X, X, [(0, 0, 0)] * 2), ShapeError, "pad: the padding value must be a scalar"),
    (lambda: lax.pad(N, 0.5, [(0, 0, 0)] * 2), DtypeError, "pad: a Python float does not fit"),
    (lambda: lax.pad(X, 0.0, [(0, 0)] * 2), ShapeError, "pad: padding_config must hold (low, high, interior) per axis"),
    (lambda: lax.concatenate([], 0), ShapeError, "concatenate: there are no arrays to join"),
    (lambda: lax.concatenate([X, F], 0), DtypeError, "concatenate: operands have different dtypes"),
    (lambda: lax.broadcast_in_dim(X, (3, 5), (0, 1)), ShapeError, "broadcast_in_dim: axes (0, 1) of shape (3, 5)"),
    (lambda: lax.broadcast_shapes((2,), (3,)), ShapeError, "shapes (2,) and (3,) do not broadcast"),
    (lambda: lax.squeeze(X, (0,)), ShapeError, "squeeze: axes (0,) must have size 1"),
    (lambda: lax.collapse(X, 2, 1), ShapeError, "collapse: there are no axes from 2 to 1"),
    (lambda: lax.split(X, (1, 1)), ShapeError, "split: the sizes (1, 1) must add up to that of axis 0"),
    (lambda: lax.tile(X, (2,)), ShapeError, "tile: needs 2 non-negative repetitions"),
    (lambda: lax.full((2,), X), ShapeError, "full: the fill value must be a scalar"),
    (lambda: lax.full((-2,), 1.0), ShapeError, "full: sizes must not be negative"),
    (lambda: lax.broadcasted_iota(int, (2,), 1), ShapeError, "iota: axis 1 does not exist"),
    (lambda: lax.slice(X, (0, 0), (4, 4)), ShapeError, "slice: 0:4:1 does not lie in axis 0 of size 3"),
    (lambda: lax.slice(X, (0,), (1,)), ShapeError, "slice: needs 2 starts, limits and strides"),
    (lambda: lax.index_in_dim(X, 3), OutOfBoundsError, "index 3 is out of bounds for axis 0 with size 3"),
    (lambda: lax.dynamic_slice(X, (0,), (1, 1)), ShapeError, "dynamic_slice: needs 2 start indices"),
    (lambda: lax.dynamic_slice(X, (0.0, 0), (1, 1)), DtypeError, "start indices must be integer scalars"),
    (lambda: lax.dynamic_slice(X, X, (1, 1)), ShapeError, "dynamic_slice: start indices must be a vector"),
    (lambda: lax.dynamic_slice(X, (0, 0), (4, 1)), ShapeError, "dynamic_slice: a window of (4, 1) does not fit"),
    (lambda: lax.dynamic_update_slice(X, F, (0, 0)), DtypeError, "dynamic_update_slice: the update has another dtype"),
    (lambda: lax.dynamic_update_slice(X, X[0], (0, 0)), ShapeError, "the update must have as many axes as the array"),
    (lambda: lax.reduce_sum(X, (2,)), ShapeError, "reduce_sum: axis 2 does not exist"),
    (lambda: lax.reduce_max(X[:0], (0,)), ShapeError, "reduce_max of no elements has no value"),
    (lambda: lax.reduce_and(N, (0,)), DtypeError, "reduce_and is not defined for integer operands"),
    (lambda: lax.reduce(X, np.float32(0), lax.add, (0,)), DtypeError, "must be a scalar of the operand's dtype"),
    (lambda: lax.argmax(X, 0, float), DtypeError, "argmax: indices need an integer dtype"),
    (lambda: lax.dot(np.ones((2, 2, 2)), X), ShapeError, "dot: the operands must be vectors or matrices"),
    (lambda: lax.dot(X, Y), ShapeError, "matrix product: summed axes (1,) of the left and (0,) of the right operand"),
    (lambda: lax.dot_general(X, Y, (((2,), (0,)), ((), ()))), ShapeError, "do not fit the left operand"),
    (lambda: lax.dot_general(X, Y, (((0, 1), (0,)), ((), ()))), ShapeError, "dot_general: axes must come in pairs"),
    (lambda: lax.batch_matmul(X[0], Y), ShapeError, "batch_matmul: needs two arrays of as many axes"),
    (lambda: lax.sort(()), ShapeError, "sort: there are no arrays to sort"),
    (lambda: lax.top_k(X, 5), ShapeError, "top_k: there are no 5 elements along the last axis"),
    (lambda: lax.linalg.cholesky(X), ShapeError, "cholesky: the last two axes"),
    (lambda: lax.linalg.qr(N), DtypeError, "qr is not defined for int64"),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(STRICT)))
@pytest.mark.parametrize("traced", [False, True])
def test_errors(case, traced):
    call, error, text = STRICT[case]
    with pytest.raises(error) as caught:
        fgrad.jit(lambda _: call())(1.0) if traced else call()
    assert text in str(caught.value) and "do:" in str(caught.value)


def test_operands_that_are_traced_are_checked_too():
    with pytest.raises(ShapeError, match="add: operands have different shapes"):
        fgrad.jit(lambda x: lax.add(x, X[:2]))(X)
    with pytest.raises(DtypeError, match="a Python float does not fit"):
        fgrad.jit(lambda n: lax.add(n, 0.5))(N)


# ---- single functions -------------------------------------------------------------------------------------------


def test_integer_division_rounds_towards_zero():
    a, b = np.array([7, -7, 7, -7, 0]), np.array([2, 2, -2, -2, 5])
    assert lax.div(a, b).tolist() == [3, -3, -3, 3, 0]
    assert lax.rem(a, b).tolist() == [1, -1, 1, -1, 0]
    assert lax.div(np.uint8(7), np.uint8(2)) == 3


def test_round_at_halves_and_special_values():
    x = np.array([-2.5, -0.5, 0.5, 1.5, 2.5, 0.49999999999999994, 4503599627370497.5, 1e300, -0.0, -0.2, np.inf])
    want = np.array([-3.0, -1.0, 1.0, 2.0, 3.0, 0.0, 4503599627370498.0, 1e300, -0.0, -0.0, np.inf])
    got = lax.round(x)
    assert np.array_equal(got, want) and np.array_equal(np.signbit(got), np.signbit(want))
    assert np.isnan(lax.round(np.nan))
    assert np.array_equal(lax.round(x, lax.RoundingMethod.TO_NEAREST_EVEN), np.rint(x))
    assert np.array_equal(lax.round(x[:3], 1), np.rint(x[:3]))
    with pytest.raises(ValueError, match="2 is not a valid RoundingMethod"):
        lax.round(x, 2)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64, np.uint64])
def test_bits(dtype):
    info = np.iinfo(dtype)
    width = info.bits
    values = [0, 1, 5, info.max, info.min]
    x = np.array(values, dtype)
    words = [format(v % 2**width, f"0{width}b") for v in values]
    assert lax.population_count(x).tolist() == [w.count("1") for w in words]
    assert lax.clz(x).tolist() == [width if "1" not in w else w.index("1") for w in words]
    assert lax.shift_right_logical(x, 3).tolist() == np.array([int(w, 2) >> 3 for w in words]).astype(dtype).tolist()
    assert lax.shift_left(x, width).tolist() == [0] * 5
    assert lax.shift_right_logical(x, width).tolist() == [0] * 5
    assert lax.shift_right_arithmetic(x, width).tolist() == [-1 if v < 0 else 0 for v in values]


def test_bitcast():
    bits = lax.bitcast_convert_type(F, np.uint32)
    assert bits.dtype == np.uint32 and np.array_equal(bits, F.view(np.uint32))
    halves = lax.bitcast_convert_type(X, np.uint32)
    assert halves.shape == (3, 4, 2) and np.array_equal(halves.reshape(3, 8), X.view(np.uint32))
    assert np.array_equal(lax.bitcast_convert_type(halves, np.float64), X)
    assert lax.bitcast_convert_type(1.0, np.int64) == 4607182418800017408
    assert lax.bitcast_convert_type(X[:0], np.uint32).shape == (0, 4, 2)
    check_vmap(lambda x: lax.bitcast_convert_type(x, np.uint16), (X,))
    assert not bits.flags.writeable or not np.shares_memory(bits, F)


def test_select_and_clamp():
    assert np.array_equal(lax.select(B, X, Y), np.where(B, X, Y))
    assert np.array_equal(lax.select(True, X, Y), X)
    assert np.array_equal(lax.select(B, X, 0.0), np.where(B, X, 0))
    which = np.arange(12).reshape(3, 4) % 3
    assert np.array_equal(lax.select_n(which, X, Y, P), np.choose(which, [X, Y, P]))
    assert np.array_equal(lax.select_n(5, X, Y, P), P)
    assert np.array_equal(lax.select_n(B, X, Y), np.where(B, Y, X))
    assert np.array_equal(lax.clamp(-0.5, X, 0.5), np.clip(X, -0.5, 0.5))
    assert np.array_equal(lax.clamp(-P, X, P), np.clip(X, -P, P))
    assert np.isnan(lax.clamp(0.0, np.nan, 1.0)) and lax.clamp(2.0, 0.0, 1.0) == 1.0


def test_convert_element_type():
    assert lax.convert_element_type(1, np.float32).dtype == np.float32
    assert np.array_equal(lax.convert_element_type(Z, float), X)
    assert lax.convert_element_type(-1, np.uint8) == 255
    assert lax.reduce_precision(F, 5, 10).dtype == np.float32
    assert np.array_equal(lax.reduce_precision(X, 8, 23), F.astype(float))


MOVES = [
    (lambda x: lax.broadcast(x, (2, 1)), lambda x: np.broadcast_to(x, (2, 1, 3, 4))),
    (lambda x: lax.broadcast_in_dim(x, (3, 2, 4), (0, 2)), lambda x: np.repeat(x[:, None], 2, 1)),
    (lambda x: lax.reshape(x, (2, 6)), lambda x: x.reshape(2, 6)),
    (lambda x: lax.reshape(x, (12,), (1, 0)), lambda x: x.T.ravel()),
    (lambda x: lax.transpose(x, (1, 0)), lambda x: x.T),
    (lambda x: lax.rev(x, (-1,)), lambda x: x[:, ::-1]),
    (lambda x: lax.pad(x, 7, [(1, 2, 0), (-1, 0, 0)]), lambda x: np.pad(x, [(1, 2), (0, 0)], constant_values=7)[:, 1:]),
    (lambda x: lax.concatenate([x, x[:1]], -2), lambda x: np.concatenate([x, x[:1]])),
    (lambda x: lax.expand_dims(x, (1, -1)), lambda x: x[:, None, :, None]),
    (lambda x: lax.squeeze(x[:1], (0,)), lambda x: x[0]),
    (lambda x: lax.collapse(x, 0), np.ravel),
    (lambda x: lax.collapse(x, 1, 2), lambda x: x),
    (lambda x: lax.split(x, (1, 0, 3), axis=1), lambda x: [x[:, :1], x[:, 1:1], x[:, 1:]]),
    (lambda x: lax.tile(x, (2, 3)), lambda x: np.tile(x, (2, 3))),
    (lambda x: lax.slice(x, (1, 0), (3, 4), (1, 3)), lambda x: x[1:3, 0:4:3]),
    (lambda x: lax.slice_in_dim(x, -2, None, axis=1), lambda x: x[:, -2:]),
    (lambda x: lax.slice_in_dim(x, 0, -1, 2, -1), lambda x: x[:, :-1:2]),
    (lambda x: lax.index_in_dim(x, -1), lambda x: x[-1:]),
    (lambda x: lax.index_in_dim(x, 1, 1, keepdims=False), lambda x: x[:, 1]),
    (lambda x: lax.dynamic_slice(x, (1, 1), (2, 2)), lambda x: x[1:3, 1:3]),
    (lambda x: lax.dynamic_slice(x, np.array([-1, 9]), (2, 2)), lambda x: x[1:3, 2:4]),
    (lambda x: lax.dynamic_slice_in_dim(x, -2, 2, 1), lambda x: x[:, 2:]),
    (lambda x: lax.dynamic_index_in_dim(x, 7, 1, keepdims=False), lambda x: x[:, 3]),
    (lambda x: lax.reduce_sum(x, (0,)), lambda x: x.sum(0)),
    (lambda x: lax.reduce_prod(x, (0, 1)), lambda x: x.prod()),
    (lambda x: lax.reduce_max(x, (-1,)), lambda x: x.max(1)),
    (lambda x: lax.reduce_min(x, ()), lambda x: x),
    (lambda x: lax.reduce(x, 1, lax.add, (1,)), lambda x: x.sum(1) + 1),
    (lambda x: lax.reduce(x, 0, lambda a, b: lax.max(b, a), (0, 1)), lambda x: max(x.max(), 0)),
    (lambda x: lax.argmax(x, 1, np.int32), lambda x: x.argmax(1).astype(np.int32)),
    (lambda x: lax.argmin(x, 0, int), lambda x: x.argmin(0)),
    (lax.cumsum, lambda x: np.cumsum(x, 0)),
    (lambda x: lax.cumprod(x, 1, reverse=True), lambda x: np.cumprod(x[:, ::-1], 1)[:, ::-1]),
    (lax.cummax, lambda x: np.maximum.accumulate(x, 0)),
    (lambda x: lax.cummin(x, -1), lambda x: np.minimum.accumulate(x, 1)),
    (lambda x: lax.sort(x, 0), lambda x: np.sort(x, 0)),
    (lambda x: lax.sort((x,)), lambda x: (np.sort(x),)),
    (lambda x: lax.sort_key_val(x, -x), lambda x: (np.sort(x), -np.sort(x))),
    (lambda x: lax.dot(x, x[0]), lambda x: x @ x[0]),
    (lambda x: lax.dot(x[0], x[0]), lambda x: x[0] @ x[0]),
    (lambda x: lax.dot_general(x, x, (((0,), (0,)), ((1,), (1,)))), lambda x: (x * x).sum(0)),
    (lambda x: lax.batch_matmul(x[None], x.T[None]), lambda x: (x @ x.T)[None]),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(MOVES)))
@pytest.mark.parametrize("x", [X, N, F], ids=["float64", "int64", "float32"])
def test_moves_reductions_and_products(case, x):
    f, numpy = MOVES[case]
    x = x if x.dtype.kind == "f" else N % 5
    want = numpy(x)
    for got in (f(x), fgrad.jit(f)(x)):
        check_close(got, want)
    leaf = got if isinstance(got, np.ndarray) else None
    assert leaf is None or not np.shares_memory(leaf, x)
    check_vmap(f, (np.stack([x, x[::-1]]),))


def test_traced_starts():
    f = lambda x, i: (lax.dynamic_slice(x, (i, 0), (2, 3)), lax.dynamic_index_in_dim(x, i))  # noqa: E731
    for i in (-4, -1, 0, 1, 5):
        check_close(fgrad.jit(f)(X, i), f(X, i))
    check_vmap(f, (X, np.array([-1, 0, 2, 8])), in_axes=(None, 0))
    g = lambda x, u, i: lax.dynamic_update_slice_in_dim(x, u, i, 0)  # noqa: E731
    check_vmap(g, (X, Y[:1], np.array([-1, 0, 2, 8])), in_axes=(None, None, 0))
    assert np.array_equal(lax.dynamic_slice(X, np.array([2, 0], np.uint8), (1, 4)), X[2:])


def test_updates():
    want = X.copy()
    want[1:, 2:] = Y[1:, 2:]
    assert np.array_equal(lax.dynamic_update_slice(X, Y[1:, 2:], (1, 2)), want)
    assert np.array_equal(lax.dynamic_update_slice(X, Y[1:, 2:], (2, -1)), want)
    want = X.copy()
    want[:, 1] = 5
    assert np.array_equal(lax.dynamic_update_index_in_dim(X, np.full(3, 5.0), 1, 1), want)
    assert np.array_equal(lax.dynamic_update_index_in_dim(np.arange(3), 9, -1, 0), [0, 1, 9])


def test_reductions_of_booleans_and_of_nothing():
    assert np.array_equal(lax.reduce_and(B, (0,)), B.all(0)) and np.array_equal(lax.reduce_or(B, (1,)), B.any(1))
    assert np.array_equal(lax.reduce(B, True, lax.bitwise_and, (0,)), B.all(0))
    assert np.array_equal(lax.reduce(B, False, lambda a, b: a | b, (0,)), B.any(0))
    assert lax.reduce(X[:0], -np.inf, lax.max, (0,)).tolist() == [-np.inf] * 4
    assert lax.reduce_sum(X[:0], (0,)).tolist() == [0.0] * 4
    assert lax.reduce_sum(np.ones(3, np.int8), (0,)).dtype == np.int8


def test_cumlogsumexp_keeps_small_terms_beside_large_ones():
    x = np.array([-800.0, -800.0, 0.0, 700.0, -np.inf, 1.0])
    want = [scipy.special.logsumexp(x[: i + 1]) for i in range(6)]
    check_close(lax.cumlogsumexp(x), np.array(want))
    check_close(lax.cumlogsumexp(x[::-1].copy(), reverse=True), np.array(want[::-1]))
    weights = fgrad.grad(lambda v: lax.cumlogsumexp(v)[1])(x)
    check_close(weights, np.array([0.5, 0.5, 0, 0, 0, 0]), rtol=1e-12)
    assert lax.cumlogsumexp(np.full(2, -np.inf)).tolist() == [-np.inf, -np.inf]
    assert fgrad.grad(lambda v: lax.cumlogsumexp(v)[2])(np.array([-np.inf, -np.inf, 0.0])).tolist() == [0.0, 0.0, 1.0]


def test_sorting():
    keys, values = np.array([2, 1, 2, 1]), np.arange(4)
    assert [a.tolist() for a in lax.sort((keys, values))] == [[1, 1, 2, 2], [1, 3, 0, 2]]
    assert [a.tolist() for a in lax.sort((keys, -values), num_keys=2)] == [[1, 1, 2, 2], [-3, -1, -2, 0]]
    values, indices = lax.top_k(np.array([[1.0, 3.0, 2.0], [3.0, 3.0, np.nan]]), 2)
    assert indices.dtype == np.int64 and indices.tolist() == [[1, 2], [2, 0]]
    assert np.array_equal(values, [[3.0, 2.0], [np.nan, 3.0]], equal_nan=True)
    assert lax.top_k(X, 2, axis=0)[0].tolist() == np.sort(X, 0)[::-1][:2].tolist()


def test_products_in_a_wider_dtype():
    a = np.full((1, 300), 100, np.int8)
    assert lax.dot(a, a.T, preferred_element_type=np.int32).tolist() == [[3_000_000]]
    assert lax.dot(F, F.T, preferred_element_type=np.float64).dtype == np.float64
    assert lax.dot(X, X.T, preferred_element_type=np.float32).dtype == np.float32
    assert lax.dot(X, X, dimension_numbers=(((0,), (0,)), ((), ()))).shape == (4, 4)


def test_creation():
    assert lax.iota(np.uint32, 3).tolist() == [0, 1, 2] and lax.iota(np.uint32, 3).dtype == np.uint32
    assert lax.iota(float, 0).shape == (0,)
    assert lax.broadcasted_iota(np.int8, (2, 3), -1).tolist() == [[0, 1, 2]] * 2
    assert lax.full((2, 0), 1).shape == (2, 0) and lax.full((), 2.5) == 2.5
    assert lax.full((2,), 1, np.float32).dtype == np.float32 and lax.full_like(F, 2).dtype == np.float32
    assert lax.full_like(X, 1.5, int, (2,)).tolist() == [1, 1]
    assert fgrad.grad(lambda x: lax.full((3,), x)[1])(2.0) == 1.0
    assert lax.broadcast_shapes((2, 1), (3,), ()) == (2, 3)


def test_stop_gradient_of_trees():
    f = lambda x: x * sum(lax.stop_gradient({"a": x, "b": [2, x]})["b"])  # noqa: E731
    assert fgrad.grad(f)(3.0) == 5.0
    assert lax.stop_gradient((1, X))[1] is X


# ---- linear algebra: signatures of JAX, values of NumPy and SciPy -----------------------------------------------

A = X @ X.T + np.eye(3)


def test_linalg():
    assert np.allclose(lax.linalg.cholesky(A), np.linalg.cholesky(A))
    skewed = A + np.triu(np.ones((3, 3)), 1)
    symmetric = (skewed + skewed.T) / 2
    assert np.allclose(lax.linalg.cholesky(skewed), np.linalg.cholesky(symmetric))
    assert np.allclose(lax.linalg.cholesky(skewed, symmetrize_input=False), np.linalg.cholesky(A))
    assert [v.shape for v in lax.linalg.qr(X.T)] == [(4, 4), (4, 3)]
    assert [v.shape for v in lax.linalg.qr(X.T, full_matrices=False)] == [(4, 3), (3, 3)]
    u, s, vh = lax.linalg.svd(X, full_matrices=False)
    assert np.allclose(u * s @ vh, X) and np.allclose(lax.linalg.svd(X, compute_uv=False), s)
    vectors, values = lax.linalg.eigh(A)
    assert np.allclose(A @ vectors, vectors * values)
    values, vectors = lax.linalg.eig(X[:, :3])
    assert np.allclose(X[:, :3] @ vectors, vectors * values)
    factors, pivots, order = lax.linalg.lu(X)
    want, want_pivots = scipy.linalg.lu_factor(X)
    assert np.allclose(factors, want) and np.array_equal(pivots, want_pivots)
    assert np.allclose(X[order], (np.tril(factors, -1) + np.eye(3, 4))[:, :3] @ np.triu(factors))


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("transpose, conjugate", [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("unit", [False, True])
def test_triangular_solve(left, lower, transpose, conjugate, unit):
    a = Z[:, :3] + 3 * np.eye(3)
    b = Z if left else Z.T
    triangle = np.tril(a) if lower else np.triu(a)
    if unit:
        np.fill_diagonal(triangle, 1)
    op = triangle.T if transpose else triangle
    op = op.conj() if conjugate else op
    flags = dict(left_side=left, lower=lower, transpose_a=transpose, conjugate_a=conjugate, unit_diagonal=unit)
    f = lambda a, b: lax.linalg.triangular_solve(a, b, **flags)  # noqa: E731
    x = f(a, b)
    assert np.allclose(op @ x if left else x @ op, b)
    check_vmap(f, (np.stack([a, a + 1]), b), in_axes=(0, None))


def test_every_name_is_documented():
    for name in lax.__all__:
        assert getattr(lax, name).__doc__ or name == "DotDimensionNumbers", name
