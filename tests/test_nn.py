"""fgrad.nn: values against SciPy, mpmath and golden numbers; derivatives by differences.

JAX 0.10.2 and optax 0.2.8 made the golden numbers, with x64 enabled.
"""

import doctest
import itertools
import math

import mpmath
import numpy as np
import pytest
import scipy.special
import scipy.stats

import fgrad
import fgrad.nn.activations
import fgrad.nn.losses
import fgrad.nn.normalize
from fgrad import nn, random

INF, NAN = np.inf, np.nan

# Inputs that contain the kinks: 0, 1, 6, and -3 and 3 by the shift of hard_sigmoid. JAX made values and derivatives.
X = np.array([-3.5, -1.0, -0.25, 0.0, 0.75, 1.0, 6.0, 8.0])
ACTIVATIONS = {
    "celu": lambda x: nn.celu(x, 2.0),
    "elu": lambda x: nn.elu(x, 1.5),
    "gelu": nn.gelu,
    "gelu_exact": lambda x: nn.gelu(x, approximate=False),
    "hard_sigmoid": nn.hard_sigmoid,
    "hard_silu": nn.hard_silu,
    "hard_tanh": nn.hard_tanh,
    "leaky_relu": lambda x: nn.leaky_relu(x, 0.2),
    "log_sigmoid": nn.log_sigmoid,
    "mish": nn.mish,
    "relu": nn.relu,
    "relu6": nn.relu6,
    "selu": nn.selu,
    "sigmoid": nn.sigmoid,
    "silu": nn.silu,
    "soft_sign": nn.soft_sign,
    "softplus": nn.softplus,
    "sparse_plus": nn.sparse_plus,
    "squareplus": nn.squareplus,
    "tanh": nn.tanh,
}
# fmt: off
GOLDEN_ACTIVATIONS = {
    "celu": ([-1.6524521130991097, -0.786938680574733, -0.23500619483080923, 0.0, 0.75, 1.0, 6.0, 8.0],
        [0.17377394345044517, 0.6065306597126334, 0.8824969025845953, 1.0, 1.0, 1.0, 1.0, 1.0]),
    "elu": ([-1.4547039248665223, -0.9481808382428365, -0.3317988253928927, 0.0, 0.75, 1.0, 6.0, 8.0],
        [0.04529607513347772, 0.5518191617571635, 1.1682011746071073, 1.5, 1.0, 1.0, 1.0, 1.0]),
    "gelu": ([-0.0006161976553737403, -0.1588080093917233, -0.100324649298315, 0.0, 0.5799605551656203,
        0.8411919906082768, 5.9999999999156035, 8.0], [-0.0024226437601169923, -0.08296408384578258, 0.3046459048489396,
        0.5, 0.9989382561374143, 1.0829640838457828, 1.0000000007710006, 1.0]),
    "gelu_exact": ([-0.0008142017766243376, -0.15865525393145707, -0.10032341857926907, 0.0, 0.5800294857173488,
        0.8413447460685429, 5.999999994080474, 7.999999999999995], [-0.002821760353624635, -0.08331547058768624,
        0.304626645116364, 0.5, 0.9992257217392351, 1.0833154705876862, 1.0000000354687093, 1.0000000000000397]),
    "hard_sigmoid": ([0.0, 0.3333333333333333, 0.4583333333333333, 0.5, 0.625, 0.6666666666666666, 1.0, 1.0], [0.0,
        0.16666666666666666, 0.16666666666666666, 0.16666666666666666, 0.16666666666666666, 0.16666666666666666, 0.0,
        0.0]),
    "hard_silu": ([-0.0, -0.3333333333333333, -0.11458333333333333, 0.0, 0.46875, 0.6666666666666666, 6.0, 8.0], [0.0,
        0.16666666666666666, 0.41666666666666663, 0.5, 0.75, 0.8333333333333333, 1.0, 1.0]),
    "hard_tanh": ([-1.0, -1.0, -0.25, 0.0, 0.75, 1.0, 1.0, 1.0], [0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]),
    "leaky_relu": ([-0.7000000000000001, -0.2, -0.05, 0.0, 0.75, 1.0, 6.0, 8.0], [0.2, 0.2, 0.2, 1.0, 1.0, 1.0, 1.0,
        1.0]),
    "log_sigmoid": ([-3.5297504182726205, -1.3132616875182228, -0.8259394198788437, -0.6931471805599453,
        -0.3868710061149, -0.3132616875182228, -0.0024756851377304495, -0.00033540637289576885], [0.9706877692486438,
        0.731058578630005, 0.5621765008857981, 0.5, 0.320821300824607, 0.2689414213699951, 0.002472623156634775,
        0.00033535013046647805]),
    "mish": ([-0.10409575448637122, -0.30340146137410895, -0.12992696367914106, 0.0, 0.6100183352182934,
        0.8650983882673103, 5.999926634065253, 7.9999982006448445], [-0.07276041344326706, 0.059216755877395,
        0.43981560172180534, 0.6000000000000001, 0.985758355716688, 1.0490362200997922, 1.0001341405062087,
        1.000003372583684]),
    "relu": ([0.0, 0.0, 0.0, 0.0, 0.75, 1.0, 6.0, 8.0], [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]),
    "relu6": ([0.0, 0.0, 0.0, 0.0, 0.75, 1.0, 6.0, 6.0], [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]),
    "selu": ([-1.705009340957283, -1.1113307378125625, -0.3888901974781189, 0.0, 0.7880257405166103, 1.0507009873554805,
        6.304205924132883, 8.405607898843844], [0.053089999890093616, 0.646768603034814, 1.3692091433692577,
        1.7580993408473766, 1.0507009873554805, 1.0507009873554805, 1.0507009873554805, 1.0507009873554805]),
    "sigmoid": ([0.02931223075135632, 0.2689414213699951, 0.43782349911420193, 0.5, 0.679178699175393,
        0.7310585786300049, 0.9975273768433653, 0.9996646498695336], [0.02845302387973556, 0.19661193324148185,
        0.24613408273759835, 0.25, 0.21789499376181404, 0.19661193324148185, 0.002466509291359931,
        0.00033523767075636815]),
    "silu": ([-0.10259280762974712, -0.2689414213699951, -0.10945587477855048, 0.0, 0.5093840243815447,
        0.7310585786300049, 5.985164261060192, 7.997317198956269], [-0.07027335282771814, 0.07232948812851325,
        0.37628997842980233, 0.5, 0.8425999444967536, 0.9276705118714867, 1.0123264325915249, 1.0023465512355845]),
    "soft_sign": ([-0.7777777777777778, -0.5, -0.2, 0.0, 0.42857142857142855, 0.5, 0.8571428571428571,
        0.8888888888888888], [0.04938271604938271, 0.25, 0.64, 1.0, 0.32653061224489793, 0.25, 0.020408163265306117,
        0.012345679012345678]),
    "softplus": ([0.029750418272620566, 0.3132616875182228, 0.5759394198788437, 0.6931471805599453, 1.1368710061148999,
        1.3132616875182228, 6.00247568513773, 8.000335406372896], [0.029312230751356323, 0.2689414213699951,
        0.4378234991142018, 0.5, 0.679178699175393, 0.731058578630005, 0.9975273768433656, 0.9996646498695333]),
    "sparse_plus": ([0.0, 0.0, 0.140625, 0.25, 0.765625, 1.0, 6.0, 8.0], [0.0, 0.0, 0.375, 0.5, 0.875, 1.0, 1.0, 1.0]),
    "squareplus": ([0.2655644370746373, 0.6180339887498949, 0.8827822185373186, 1.0, 1.4430004681646913,
        1.618033988749895, 6.16227766016838, 8.123105625617661], [0.06587842893777036, 0.27639320225002106,
        0.4379826327053958, 0.5, 0.6755617207941959, 0.7236067977499789, 0.9743416490252569, 0.9850712500726659]),
    "tanh": ([-0.9981778976111988, -0.7615941559557649, -0.2449186624037091, 0.0, 0.6351489523872874,
        0.7615941559557649, 0.9999877116507957, 0.999999774929676], [0.003640884720487181, 0.419974341614026,
        0.940014848806378, 1.0, 0.5965858082813313, 0.41997434161402614, 2.4576547405080933e-05, 4.50140597432808e-07]),
}
# fmt: on


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_values(name):
    values, _ = GOLDEN_ACTIVATIONS[name]
    y = ACTIVATIONS[name](X)
    assert type(y) is np.ndarray and y.dtype == np.float64
    np.testing.assert_allclose(y, values, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_derivatives_at_kinks_too(name):
    _, derivatives = GOLDEN_ACTIVATIONS[name]
    got = fgrad.grad(lambda x: ACTIVATIONS[name](x).sum())(X)
    np.testing.assert_allclose(got, derivatives, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_keep_float32_and_run_under_jit(name):
    x = X.astype(np.float32)
    y = ACTIVATIONS[name](x)
    assert y.dtype == np.float32
    compiled = fgrad.jit(ACTIVATIONS[name])(x)
    assert compiled.dtype == np.float32
    np.testing.assert_allclose(compiled, y, rtol=2e-6, atol=1e-7)
    np.testing.assert_allclose(y, GOLDEN_ACTIVATIONS[name][0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_accept_integers_scalars_and_empty_arrays(name):
    whole = ACTIVATIONS[name](np.array([-1, 0, 1, 8]))
    np.testing.assert_allclose(whole, ACTIVATIONS[name](np.array([-1.0, 0.0, 1.0, 8.0])))
    assert whole.dtype == (np.int64 if name == "relu" else np.float64)
    assert np.shape(ACTIVATIONS[name](0.5)) == ()
    assert ACTIVATIONS[name](np.zeros((0, 3))).shape == (0, 3)


@pytest.mark.filterwarnings("ignore:invalid value encountered in logaddexp")  # NumPy's, for a quiet NaN
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_pass_nan_on(name):
    assert np.isnan(ACTIVATIONS[name](np.array([NAN])))[0]


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("x", [-1000.0, 1000.0])
def test_activations_far_out_are_finite_and_quiet(name, x):
    value = float(ACTIVATIONS[name](np.float64(x)))
    slope = float(fgrad.grad(ACTIVATIONS[name])(x))
    assert math.isfinite(value) and math.isfinite(slope)
    secant = (float(ACTIVATIONS[name](np.float64(x * 1.001))) - value) / (x * 0.001)
    assert slope == pytest.approx(secant, abs=1e-4)


@pytest.mark.parametrize("x", [-700.0, -36.5, -5.0, -1e-10, 1e-10, 5.0, 36.5, 700.0])
def test_logistic_family_against_mpmath(x):
    mpmath.mp.dps = 400
    exact = 1 / (1 + mpmath.exp(-mpmath.mpf(x)))
    assert float(nn.sigmoid(x)) == pytest.approx(float(exact), rel=1e-15)
    assert float(nn.log_sigmoid(x)) == pytest.approx(float(mpmath.log(exact)), rel=1e-15)
    assert float(nn.softplus(x)) == pytest.approx(float(mpmath.log1p(mpmath.exp(x))), rel=1e-15)
    assert float(nn.gelu(x / 20, approximate=False)) == pytest.approx(
        float(x / 20 * mpmath.ncdf(mpmath.mpf(x / 20))), rel=1e-12, abs=1e-300
    )


def test_relu_details():
    assert list(nn.relu(np.array([-INF, -0.0, INF]))) == [0.0, 0.0, INF]
    assert fgrad.grad(nn.relu)(0.0) == 0.0
    assert fgrad.grad(nn.relu6)(6.0) == 0.0


def test_glu_halves_the_axis():
    x = np.array([[1.0, -2.0, 3.0], [0.5, 0.5, -1.0]])
    expected = x[0] * scipy.special.expit(x[1])
    np.testing.assert_allclose(nn.glu(x, axis=0), expected[None], rtol=1e-14)
    with pytest.raises(
        ValueError, match=r"glu halves x along axis -1, which must have an even length, got shape \(2, 3\)"
    ):
        nn.glu(x)


# Functions with an axis, and losses.
A = np.array([[1.0, -2.0, 3.0], [0.5, 0.5, -1.0]])
MASK = np.array([[True, False, True], [True, True, True]])
TARGETS = np.array([[0.25, 0.5, 0.25], [0.0, 1.0, 0.0]])
CLASSES = np.array([2, 0])
ALONG = {
    "softmax": nn.softmax,
    "softmax0": lambda x: nn.softmax(x, 0),
    "softmax_where": lambda x: nn.softmax(x, where=MASK),
    "log_softmax": nn.log_softmax,
    "log_softmax_where": lambda x: nn.log_softmax(x, where=MASK),
    "logsumexp": lambda x: nn.logsumexp(x, 1),
    "logsumexp_b": lambda x: nn.logsumexp(x, 0, b=A + 3, keepdims=True),
    "logsumexp_where": lambda x: nn.logsumexp(x, 1, where=MASK),
    "logmeanexp": lambda x: nn.logmeanexp(x, 0),
    "logmeanexp_where": lambda x: nn.logmeanexp(x, 1, where=MASK),
    "standardize": nn.standardize,
    "standardize_where": lambda x: nn.standardize(x, 0, epsilon=0.1, where=MASK),
    "standardize_given": lambda x: nn.standardize(x, mean=0.5, epsilon=0.1),
    "softmax_cross_entropy": lambda x: nn.softmax_cross_entropy(x, TARGETS),
    "softmax_cross_entropy_where": lambda x: nn.softmax_cross_entropy(x, TARGETS, where=MASK),
    "integer": lambda x: nn.softmax_cross_entropy_with_integer_labels(x, CLASSES),
    "integer0": lambda x: nn.softmax_cross_entropy_with_integer_labels(x, np.array([1, 0, 1]), axis=0),
    "integer_where": lambda x: nn.softmax_cross_entropy_with_integer_labels(x, CLASSES, where=MASK),
    "bce": lambda x: nn.sigmoid_binary_cross_entropy(x, TARGETS),
    "squared_error": lambda x: nn.squared_error(x, TARGETS),
    "l2_loss": lambda x: nn.l2_loss(x, TARGETS),
    "huber_loss": lambda x: nn.huber_loss(x, TARGETS, delta=0.7),
    "cosine_similarity": lambda x: nn.cosine_similarity(x, TARGETS),
    "cosine_where": lambda x: nn.cosine_similarity(x, TARGETS, where=MASK, epsilon=0.1),
    "kl": lambda x: nn.kl_divergence(nn.log_softmax(x), TARGETS),
    "kl_where": lambda x: nn.kl_divergence(x, TARGETS, where=MASK),
}
# fmt: off
GOLDEN_ALONG = {
    "softmax": [[0.11849965453500959, 0.005899750401902781, 0.8756005950630876], [0.4498162176582741,
        0.4498162176582741, 0.10036756468345166]],
    "softmax0": [[0.6224593312018546, 0.07585818002124356, 0.9820137900379085], [0.37754066879814546,
        0.9241418199787566, 0.01798620996209156]],
    "softmax_where": [[0.11920292202211755, 0.0, 0.8807970779778823], [0.4498162176582741, 0.4498162176582741,
        0.10036756468345166]],
    "log_softmax": [[-2.1328452337275756, -5.132845233727576, -0.13284523372757556], [-0.7989161848417257,
        -0.7989161848417257, -2.2989161848417257]],
    "log_softmax_where": [[-2.1269280110429727, -INF, -0.1269280110429726], [-0.7989161848417257, -0.7989161848417257,
        -2.2989161848417257]],
    "logsumexp": [3.1328452337275756, 1.2989161848417257],
    "logsumexp_b": [[2.81202886812403, 1.7759450327327224, 4.797846120887136]],
    "logsumexp_where": [3.1269280110429727, 1.2989161848417257],
    "logmeanexp": [0.7809298036201614, -0.11425744626739576, 2.3250027473578645],
    "logmeanexp_where": [2.4337808304830273, 0.20030389617361588],
    "standardize": [[0.16222122902678932, -1.2977698322143143, 1.135548603187525], [0.7070997102248, 0.7070997102248,
        -1.4141994204496]],
    "standardize_where": [[0.6201736729460422, -7.905694150420947, 0.9877295966495897], [-0.6201736729460422, 0.0,
        -0.9877295966495897]],
    "standardize_given": [[0.2397316507426921, -1.1986582537134605, 1.1986582537134605], [0.0, 0.0,
        -1.6269784336399211]],
    "softmax_cross_entropy": [3.1328452337275756, 0.7989161848417257],
    "softmax_cross_entropy_where": [0.5634640055214863, 0.7989161848417257],
    "integer": [0.13284523372757562, 0.7989161848417257],
    "integer0": [0.9740769841801067, 2.5788897342925496, 4.0181499279178094],
    "integer_where": [0.1269280110429727, 0.7989161848417257],
    "bce": [[1.0632616875182228, 1.1269280110429727, 2.298587351573742], [0.9740769841801067, 0.4740769841801067,
        0.3132616875182228]],
    "squared_error": [[0.5625, 6.25, 7.5625], [0.25, 0.25, 1.0]],
    "l2_loss": [[0.28125, 3.125, 3.78125], [0.125, 0.125, 0.5]],
    "huber_loss": [[0.28, 1.505, 1.6799999999999997], [0.125, 0.125, 0.45499999999999996]],
    "cosine_similarity": [0.0, 0.4082482904638631],
    "cosine_where": [0.8944271909999157, 0.4082482904638631],
    "kl": [2.0931244628876575, 0.7989161848417257],
    "kl_where": [-1.6931471805599454, -0.5],
}
# fmt: on


@pytest.mark.parametrize("name", ALONG)
def test_values_along_an_axis(name):
    np.testing.assert_allclose(ALONG[name](A), GOLDEN_ALONG[name], rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("name", ALONG)
def test_derivatives_along_an_axis(name):
    f = ALONG[name]
    weights = np.random.default_rng(0).normal(size=np.shape(f(A)))
    if name == "log_softmax_where":
        weights = np.where(MASK, weights, 0.0)

    def loss(x):
        return (fgrad.numpy.where(weights == 0, 0.0, f(x)) * weights).sum()

    got = fgrad.grad(loss)(A)
    h = 1e-6
    for index in itertools.product(range(2), range(3)):
        step = np.zeros_like(A)
        step[index] = h
        assert got[index] == pytest.approx(float(loss(A + step) - loss(A - step)) / (2 * h), rel=1e-6, abs=1e-8), index


@pytest.mark.parametrize("name", ALONG)
def test_jit_agrees_and_float32_is_kept(name):
    x = A.astype(np.float32)
    eager, compiled = ALONG[name](x), fgrad.jit(ALONG[name])(x)
    assert compiled.dtype == eager.dtype
    np.testing.assert_allclose(compiled, eager, rtol=3e-6, atol=1e-6)


@pytest.mark.parametrize("f", [nn.softmax, nn.log_softmax, nn.logsumexp, nn.logmeanexp, nn.standardize])
def test_functions_of_one_array_keep_float32(f):
    assert f(A.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 1)])
def test_exponentials_against_scipy(axis):
    x = 300 * A
    np.testing.assert_allclose(nn.softmax(x, axis), scipy.special.softmax(x, axis), rtol=1e-13)
    np.testing.assert_allclose(nn.log_softmax(x, axis), scipy.special.log_softmax(x, axis), rtol=1e-13)
    for keepdims in (False, True):
        got = nn.logsumexp(x, axis, keepdims=keepdims)
        np.testing.assert_allclose(got, scipy.special.logsumexp(x, axis, keepdims=keepdims), rtol=1e-13)
    got = nn.logsumexp(x, axis, b=[1.0, -1.0, 2.0], return_sign=True)
    np.testing.assert_allclose(got, scipy.special.logsumexp(x, axis, b=[1.0, -1.0, 2.0], return_sign=True), rtol=1e-13)


def test_logsumexp_special_values():
    for x, expected in [
        ([-INF, -INF], -INF),
        ([INF, 1000.0], INF),
        ([INF, -INF], INF),
        ([NAN, 0.0], NAN),
        ([-INF, 2.0], 2.0),
        ([1e308, 0.0], 1e308),
        ([], -INF),
    ]:
        np.testing.assert_array_equal(nn.logsumexp(np.array(x)), expected)
    np.testing.assert_array_equal(nn.logsumexp(np.array([0.0, 0.0]), b=np.array([1.0, -2.0])), NAN)
    np.testing.assert_array_equal(nn.logsumexp(np.array([INF, 3.0]), b=np.array([0.0, 1.0])), 3.0)
    np.testing.assert_array_equal(nn.logsumexp(np.array([7.0, NAN]), where=np.array([True, False])), 7.0)
    np.testing.assert_array_equal(fgrad.grad(nn.logsumexp)(np.array([-INF, -INF])), [0.0, 0.0])
    np.testing.assert_array_equal(fgrad.grad(nn.logsumexp)(np.array([-INF, 5.0])), [0.0, 1.0])


def test_logsumexp_of_complex_numbers():
    z = np.array([1.0 + 2.0j, -0.5 - 1.0j, 3.0])
    assert complex(nn.logsumexp(z)) == pytest.approx(complex(np.log(np.exp(z).sum())), rel=1e-14)


def test_masked_rows_are_neither_nan_nor_loud():
    x = np.array([[1.0, NAN], [INF, -INF]])
    nothing = np.zeros((2, 2), bool)
    np.testing.assert_array_equal(nn.softmax(x, where=nothing), 0.0)
    np.testing.assert_array_equal(nn.log_softmax(x, where=nothing), -INF)
    np.testing.assert_array_equal(nn.softmax(x[0], where=np.array([True, False])), [1.0, 0.0])
    gradient = fgrad.grad(lambda x: nn.softmax(x, where=nothing).sum())(A[:, :2])
    np.testing.assert_array_equal(gradient, 0.0)
    losses = nn.softmax_cross_entropy_with_integer_labels(A[:, :2], np.array([0, 1]), where=nothing)
    np.testing.assert_array_equal(losses, 0.0)


def test_softmax_far_out_and_empty():
    x = np.array([[1000.0, 0.0, -1000.0], [-INF, 0.0, 0.0]])
    np.testing.assert_array_equal(nn.softmax(x), [[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]])
    assert np.isfinite(nn.log_softmax(x)[0]).all()
    gradient = fgrad.grad(lambda x: nn.log_softmax(x)[0, 1])(x)
    np.testing.assert_array_equal(gradient, [[-1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    assert nn.softmax(np.zeros((3, 0))).shape == (3, 0)
    assert nn.softmax(np.zeros((0, 3))).shape == (0, 3)


def test_standardize():
    x = np.random.default_rng(1).normal(3e5, 1.0, (4, 50))
    np.testing.assert_allclose(nn.standardize(x, epsilon=0.0), scipy.stats.zscore(x, axis=1), atol=1e-9)
    given = nn.standardize(A, 0, mean=np.array([1.0, 2.0, 3.0]), variance=np.array(3.0), epsilon=1.0)
    np.testing.assert_allclose(given, (A - [1.0, 2.0, 3.0]) / 2.0)
    np.testing.assert_allclose(nn.standardize(A, algorithm="fast"), nn.standardize(A), rtol=1e-12)
    with pytest.raises(ValueError, match='standardize: algorithm must be "stable" or "fast", got \'slow\''):
        nn.standardize(A, algorithm="slow")


def test_one_hot():
    np.testing.assert_array_equal(nn.one_hot(np.array([[2, 0], [1, 3]]), 4), np.eye(4)[[[2, 0], [1, 3]]])
    np.testing.assert_array_equal(nn.one_hot(np.array([2, 0]), 3, axis=0), np.eye(3)[:, [2, 0]])
    np.testing.assert_array_equal(nn.one_hot(np.array([-1, 3]), 3), np.zeros((2, 3)))
    np.testing.assert_array_equal(nn.one_hot(1, 3), [0.0, 1.0, 0.0])
    assert nn.one_hot(np.array([1], np.uint8), 3, dtype=np.float32).dtype == np.float32
    assert nn.one_hot(np.array([1]), 3).dtype == np.float64
    with pytest.raises(TypeError, match=r"the indices x must be integers, got dtype float64; use x.astype\(int\)"):
        nn.one_hot(np.array([1.0]), 3)


def test_losses_far_out():
    np.testing.assert_array_equal(
        nn.sigmoid_binary_cross_entropy(np.array([-1000.0, 1000.0]), np.array([0.0, 0.0])), [0.0, 1000.0]
    )
    tail = float(nn.sigmoid_binary_cross_entropy(np.float64(40.0), 1))
    assert tail == pytest.approx(float(mpmath.log1p(mpmath.exp(-40))), rel=1e-15)
    assert float(nn.kl_divergence(np.array([0.0, -INF]), np.array([1.0, 1e-300]))) == INF
    np.testing.assert_array_equal(fgrad.grad(nn.huber_loss)(np.float64(-5.0)), -1.0)
    np.testing.assert_array_equal(fgrad.grad(nn.huber_loss)(np.float64(0.0)), 0.0)


def test_loss_errors():
    with pytest.raises(
        ValueError, match=r"squared_error: predictions and targets must have one shape, got \(2, 3\) and "
    ):
        nn.squared_error(A, np.zeros((2, 1)))
    with pytest.raises(
        TypeError, match="labels must be integers, got dtype float64; for probabilities use softmax_cross"
    ):
        nn.softmax_cross_entropy_with_integer_labels(A, np.zeros(2))
    with pytest.raises(IndexError):
        nn.softmax_cross_entropy_with_integer_labels(A, np.array([0, 3]))


def test_losses_batch():
    per_row = fgrad.vmap(nn.softmax_cross_entropy_with_integer_labels)(A, CLASSES)
    np.testing.assert_allclose(per_row, GOLDEN_ALONG["integer"], rtol=1e-13)
    np.testing.assert_allclose(fgrad.vmap(nn.softmax, in_axes=1, out_axes=1)(A), GOLDEN_ALONG["softmax0"], rtol=1e-13)


# Initialisers: moments of 60,000 draws, so a relative error of the variance of about 0.6 % at one sigma.
KEY = random.key(7)
SHAPE = (200, 300)


@pytest.mark.parametrize(
    ("init", "variance"),
    [
        (nn.initializers.lecun_normal(), 1 / 200),
        (nn.initializers.lecun_uniform(), 1 / 200),
        (nn.initializers.he_normal(), 2 / 200),
        (nn.initializers.he_uniform(), 2 / 200),
        (nn.initializers.glorot_normal(), 2 / 500),
        (nn.initializers.glorot_uniform(), 2 / 500),
        (nn.initializers.variance_scaling(3.0, "fan_out", "normal"), 3 / 300),
        (nn.initializers.variance_scaling(1.0, "fan_geo_avg", "uniform"), 1 / math.sqrt(200 * 300)),
        (nn.initializers.normal(0.5), 0.25),
        (nn.initializers.truncated_normal(0.5), 0.25 * scipy.stats.truncnorm.var(-2, 2)),
    ],
)
def test_initializers_have_the_stated_variance(init, variance):
    w = init(KEY, SHAPE)
    assert w.shape == SHAPE and w.dtype == np.float64
    assert w.var() == pytest.approx(variance, rel=0.04)
    assert abs(w.mean()) < 5 * math.sqrt(variance / w.size)
    assert init(KEY, (3, 4), np.float32).dtype == np.float32
    np.testing.assert_array_equal(init(KEY, (3, 4)), init(KEY, (3, 4)))


def test_initializer_distributions():
    w = nn.initializers.uniform(0.5)(KEY, SHAPE)
    assert w.min() >= 0 and w.max() < 0.5 and w.mean() == pytest.approx(0.25, rel=0.02)
    assert np.abs(nn.initializers.he_uniform()(KEY, SHAPE)).max() <= math.sqrt(6 / 200)
    cut = 2 * math.sqrt(2 / 200) / scipy.stats.truncnorm.std(-2, 2)
    assert np.abs(nn.initializers.he_normal()(KEY, SHAPE)).max() <= cut
    sample = nn.initializers.he_normal()(KEY, SHAPE).ravel() / (cut / 2)
    assert scipy.stats.kstest(sample, scipy.stats.truncnorm(-2, 2).cdf).pvalue > 1e-4


def test_initializer_fans_count_the_receptive_field():
    w = nn.initializers.lecun_normal()(KEY, (3, 3, 40, 50))
    assert w.var() == pytest.approx(1 / (9 * 40), rel=0.06)
    w = nn.initializers.lecun_normal(in_axis=(0, 1), out_axis=2)(KEY, (10, 20, 100))
    assert w.var() == pytest.approx(1 / 200, rel=0.06)
    w = nn.initializers.lecun_normal(batch_axis=0)(KEY, (10, 40, 50))
    assert w.var() == pytest.approx(1 / 40, rel=0.06)
    assert nn.initializers.he_normal()(KEY, (0, 3)).shape == (0, 3)


def test_constant_initializers():
    np.testing.assert_array_equal(nn.initializers.zeros(KEY, (2, 3)), np.zeros((2, 3)))
    np.testing.assert_array_equal(nn.initializers.ones(KEY, (2, 3)), np.ones((2, 3)))
    w = nn.initializers.constant(np.array([1.0, 2.0]), np.float32)(KEY, (3, 2))
    assert w.dtype == np.float32
    np.testing.assert_array_equal(w, [[1.0, 2.0]] * 3)
    assert nn.initializers.zeros(KEY, (2,), np.float32).dtype == np.float32


@pytest.mark.parametrize(("shape", "column_axis"), [((6, 4), -1), ((4, 6), -1), ((3, 2, 5), 1), ((5, 5), 0)])
def test_orthogonal_initializer(shape, column_axis):
    w = nn.initializers.orthogonal(2.0, column_axis)(KEY, shape)
    assert w.shape == shape
    m = np.moveaxis(w, column_axis, -1).reshape(-1, shape[column_axis])
    small = m.T @ m if m.shape[0] >= m.shape[1] else m @ m.T
    np.testing.assert_allclose(small, 4 * np.eye(len(small)), atol=1e-12)


def test_initializer_errors():
    with pytest.raises(ValueError, match="mode must be one of fan_in, fan_out, fan_avg, fan_geo_avg, got 'fan'"):
        nn.initializers.variance_scaling(1.0, "fan", "normal")
    with pytest.raises(ValueError, match="distribution must be one of truncated_normal, normal, uniform, got 'cauchy'"):
        nn.initializers.variance_scaling(1.0, "fan_in", "cauchy")
    with pytest.raises(ValueError, match=r"axis -2 is not in shape \(3,\); weights need an input and an output axis"):
        nn.initializers.he_normal()(KEY, (3,))
    with pytest.raises(ValueError, match=r"orthogonal: the shape must have at least two dimensions, got \(3,\)"):
        nn.initializers.orthogonal()(KEY, (3,))


@pytest.mark.parametrize(
    "module", [nn, fgrad.nn.activations, fgrad.nn.normalize, fgrad.nn.losses, nn.initializers], ids=lambda m: m.__name__
)
def test_docstring_examples(module):
    failed, run = doctest.testmod(module)
    assert run and not failed


@pytest.mark.parametrize("module", [nn, nn.initializers], ids=lambda m: m.__name__)
def test_every_public_name_exists_and_is_documented(module):
    for name in module.__all__:
        assert getattr(module, name).__doc__
