"""fgrad.random: bits and values against published answers and JAX, transforms, errors by their text."""

import zlib

import numpy as np
import pytest

import fgrad
from fgrad import random
from fgrad.primitives import sampling
from fgrad.primitives.threefry import threefry2x32

KEY = random.key(42)


def array(x):
    return np.asarray(x)


def parts(z):
    return np.stack([z.real, z.imag], axis=-1).reshape(-1)


# ---- the cipher -------------------------------------------------------------------------------------------------

# The known answers of Random123 1.14 (tests/kat_vectors, threefry2x32 with 20 rounds): counter, key, result.
KNOWN_ANSWERS = [
    ((0x00000000, 0x00000000), (0x00000000, 0x00000000), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
]


@pytest.mark.parametrize("size", [1, 3, 40, 20_000])  # integers, integers, one chunk, two chunks
@pytest.mark.parametrize("counter, key, result", KNOWN_ANSWERS)
def test_cipher_gives_the_published_answers(counter, key, result, size):
    words = [np.full(size, w, np.uint32) for w in counter]
    scalar_key = threefry2x32(*map(np.uint32, key), *words)
    array_key = threefry2x32(*(np.full(size, w, np.uint32) for w in key), *words)
    for out in (scalar_key, array_key):
        assert [o.dtype for o in out] == [np.uint32, np.uint32]
        assert all(np.array_equal(o, np.full(size, w)) for o, w in zip(out, result, strict=True))


def test_cipher_broadcasts_and_leaves_its_operands_alone():
    k0, k1 = np.arange(30, dtype=np.uint32).reshape(2, 15, 1)
    x0, x1 = np.uint32(7), np.arange(4, dtype=np.uint32)
    y0, y1 = threefry2x32(k0, k1, x0, x1)
    assert y0.shape == y1.shape == (15, 4)
    for i in range(15):
        for j in range(4):
            assert (y0[i, j], y1[i, j]) == threefry2x32(k0[i, 0], k1[i, 0], x0, x1[j])
    assert np.array_equal(x1, np.arange(4)) and np.array_equal(k0[:, 0], np.arange(15))
    assert threefry2x32(k0[:0], k1[:0], x0, x1)[0].shape == (0, 4)
    assert threefry2x32(x0, x0, x0, x0)[0].shape == ()


# ---- values computed by JAX 0.10.2 with jax_threefry_partitionable=True and jax_enable_x64=True -----------------

LOGITS = np.array([[0.0, 1.0, -1.0, 0.5], [2.0, 0.0, 0.0, 1.0]])
COV = np.array([[2.0, 0.5], [0.5, 1.0]])

EXACT = {
    "key_negative": lambda key: random.PRNGKey(-1),
    "key_wide": lambda key: random.PRNGKey(2**40 + 7),
    "key_int32": lambda key: random.PRNGKey(np.int32(-5)),
    "split": lambda key: random.split(key),
    "split_shape": lambda key: random.split(key, (2, 3)),
    "split_many": lambda key: random.split(key, 50),
    "fold_in": lambda key: random.fold_in(key, 7),
    "fold_in_top": lambda key: random.fold_in(key, 2**32 - 1),
    "bits8": lambda key: random.bits(key, (3, 50), np.uint8),
    "bits16": lambda key: random.bits(key, (3, 50), np.uint16),
    "bits32": lambda key: random.bits(key, (3, 50), np.uint32),
    "bits64": lambda key: random.bits(key, (3, 50), np.uint64),
    "bits_scalar": lambda key: random.bits(key),
    "bits_large": lambda key: random.bits(key, (20_000,)),
    "uniform16": lambda key: random.uniform(key, (100,), np.float16),
    "uniform32": lambda key: random.uniform(key, (100,), np.float32),
    "uniform64": lambda key: random.uniform(key, (100,)),
    "uniform_scalar": lambda key: random.uniform(key),
    "randint": lambda key: random.randint(key, (100,), -5, 1000),
    "randint_wide": lambda key: random.randint(key, (100,), -(2**63), 2**63 - 1),
    "randint32": lambda key: random.randint(key, (100,), 0, 10, np.int32),
    "randint8": lambda key: random.randint(key, (100,), 0, 256, np.uint8),
    "randint_full": lambda key: random.randint(key, (100,), np.uint64(0), np.uint64(2**64 - 1), np.uint64),
    "randint_beyond": lambda key: random.randint(key, (100,), -(2**31), 2**31, np.int32),
    "randint_empty_range": lambda key: random.randint(key, (2, 2), np.array([3, 9]), np.array([3, 4])),
    "randint_scalar": lambda key: random.randint(key, (), 0, 100),
    "permutation": lambda key: random.permutation(key, 1000),
    "permutation_rows": lambda key: random.permutation(key, np.arange(12).reshape(3, 4), axis=1),
    "permutation_independent": lambda key: random.permutation(key, np.arange(60).reshape(3, 20), 1, True),
    "bernoulli": lambda key: random.bernoulli(key, np.linspace(0, 1, 50)),
    "bernoulli_high": lambda key: random.bernoulli(key, 0.3, (50,), mode="high"),
    "bernoulli32": lambda key: random.bernoulli(key, np.float32(0.3), (50,)),
    "rademacher": lambda key: random.rademacher(key, (50,)),
    "categorical": lambda key: random.categorical(key, LOGITS, shape=(20, 2)),
    "categorical_axis": lambda key: random.categorical(key, LOGITS, axis=0),
    "categorical_without": lambda key: random.categorical(key, LOGITS, shape=(3, 2), replace=False).astype(int),
    "choice": lambda key: random.choice(key, 10, (20,)),
    "choice_p": lambda key: random.choice(key, np.arange(4) * 1.5, (20,), p=np.array([0.1, 0.2, 0.0, 0.7])),
    "choice_without": lambda key: random.choice(key, 10, (2, 3), replace=False),
    "choice_without_p": lambda key: random.choice(key, 4, (3,), replace=False, p=np.array([0.1, 0.2, 0.0, 0.7])),
    "choice_axis": lambda key: random.choice(key, np.arange(12).reshape(3, 4), (2,), axis=1),
    "geometric": lambda key: random.geometric(key, 0.2, (50,)),
}

ROUNDED = {
    "uniform": lambda key: random.uniform(key, (4,), minval=-2.0, maxval=5.3),
    "normal": lambda key: random.normal(key, (4,)),
    "normal32": lambda key: random.normal(key, (4,), np.float32),
    "normal_complex": lambda key: parts(random.normal(key, (2,), np.complex128)),
    "truncated_normal": lambda key: random.truncated_normal(key, -0.5, 2.0, (4,)),
    "exponential": lambda key: random.exponential(key, (4,)),
    "gumbel": lambda key: random.gumbel(key, (4,)),
    "gumbel_high": lambda key: random.gumbel(key, (4,), np.float32, mode="high"),
    "laplace": lambda key: random.laplace(key, (4,)),
    "logistic": lambda key: random.logistic(key, (4,)),
    "cauchy": lambda key: random.cauchy(key, (4,)),
    "gamma": lambda key: random.gamma(key, np.array([0.1, 0.9, 3.0, 500.0])),
    "gamma32": lambda key: random.gamma(key, np.float32([0.1, 0.9, 3.0, 500.0]), dtype=np.float32),
    "loggamma": lambda key: random.loggamma(key, np.array([1e-4, 0.9, 3.0, 500.0])),
    "beta": lambda key: random.beta(key, 0.5, 2.0, (4,)),
    "dirichlet": lambda key: random.dirichlet(key, np.array([0.1, 1.0, 2.0, 5.0])),
    "chisquare": lambda key: random.chisquare(key, 3.0, (4,)),
    "f": lambda key: random.f(key, 3.0 * np.ones(4), 5.0 * np.ones(4), (4,)),
    "t": lambda key: random.t(key, 3.0, (4,)),
    "pareto": lambda key: random.pareto(key, 3.0, (4,)),
    "rayleigh": lambda key: random.rayleigh(key, np.array([1.0, 2.0, 3.0, 4.0])),
    "weibull_min": lambda key: random.weibull_min(key, 2.0, 1.5, (4,)),
    "lognormal": lambda key: random.lognormal(key, 0.5, (4,)),
    "maxwell": lambda key: random.maxwell(key, (4,)),
    "triangular": lambda key: random.triangular(key, -1.0, 0.5, 2.0, (4,)),
    "generalized_normal": lambda key: random.generalized_normal(key, 1.5, (4,)),
    "ball": lambda key: random.ball(key, 4, 1.5),
    "multivariate_normal": lambda key: random.multivariate_normal(key, np.ones(2), COV, (2,)).ravel(),
    "orthogonal": lambda key: random.orthogonal(key, 2).ravel(),
}

# CRC-32 of the bytes, first and last entry.
GOLDEN_EXACT = {
    "key_negative": (558161692, "uint32", 4294967295, 4294967295),
    "key_wide": (1585638500, "uint32", 256, 7),
    "key_int32": (888891613, "uint32", 0, 4294967291),
    "split": (2200231856, "uint32", 1832780943, 2916123636),
    "split_shape": (571147267, "uint32", 1832780943, 824333390),
    "split_many": (4223490346, "uint32", 1832780943, 3108734363),
    "fold_in": (2325786156, "uint32", 2547012911, 1371500959),
    "fold_in_top": (974912998, "uint32", 2398536845, 3890976714),
    "bits8": (3833573874, "uint8", 162, 185),
    "bits16": (3693446977, "uint16", 5026, 15289),
    "bits32": (3764199270, "uint32", 2098992034, 2280078265),
    "bits64": (115185445, "uint64", 7871734211187709741, 13665101274029427340),
    "bits_scalar": (1331245368, "uint64", 7871734211187709741, 7871734211187709741),
    "bits_large": (3328841719, "uint64", 7871734211187709741, 16192011908946115741),
    "uniform16": (1394648538, "float16", 0.076171875, 0.8466796875),
    "uniform32": (1227656777, "float32", 0.48870956897735596, 0.15839910507202148),
    "uniform64": (1688414507, "float64", 0.4267275666499091, 0.4692299995372893),
    "uniform_scalar": (1999452434, "float64", 0.4267275666499091, 0.4267275666499091),
    "randint": (2172566560, "int64", 580, 613),
    "randint_wide": (2112982793, "int64", 4466307427195926069, 5638461016835630474),
    "randint32": (2359243736, "int32", 4, 1),
    "randint8": (2774301280, "uint8", 196, 225),
    "randint_full": (3137664943, "uint64", 13689679464050701877, 14861833053690406282),
    "randint_beyond": (2237475956, "int32", 977810628, -1973423135),
    "randint_empty_range": (3048909650, "int64", 3, 9),
    "randint_scalar": (2028217035, "int64", 85, 85),
    "permutation": (2781959588, "int64", 955, 746),
    "permutation_rows": (4192674646, "int64", 2, 9),
    "permutation_independent": (3948797620, "int64", 7, 46),
    "bernoulli": (2898559224, "bool", False, True),
    "bernoulli_high": (3325658777, "bool", False, False),
    "bernoulli32": (2900189333, "bool", False, True),
    "rademacher": (147919895, "int64", 1, -1),
    "categorical": (3543366669, "int64", 3, 0),
    "categorical_axis": (3348997297, "int64", 1, 0),
    "categorical_without": (700517831, "int64", 3, 2),
    "choice": (1895582851, "int64", 5, 8),
    "choice_p": (1760965214, "float64", 4.5, 0.0),
    "choice_without": (2908568902, "int64", 7, 6),
    "choice_without_p": (930440086, "int64", 3, 1),
    "choice_axis": (907485760, "int64", 1, 10),
    "geometric": (2198505015, "int64", 4, 3),
}

GOLDEN_ROUNDED = {
    "uniform": [1.115111236544336, -1.8904264925382035, 2.191254250666607, 3.327677947403805],
    "normal": [-0.18471174528191162, -2.169824560397754, 0.18693555179382582, 0.6122653570510959],
    "normal32": [-0.028304616, 0.467131853, 0.295702964, 0.153545916],
    "normal_complex": [-0.5093295292642132, 0.45954304860759587, -0.18428781404443714, 0.08377702715980621],
    "truncated_normal": [0.2375773078131765, -0.47168742449458445, 0.50287804147634, 0.829454746929316],
    "exponential": [0.5563942243855916, 0.015123860720489336, 0.8536549993431988, 1.30866279263241],
    "gumbel": [0.16062720630382138, -1.4348544993307841, 0.5890136500161952, 1.1553132453508888],
    "gumbel_high": [0.399257988, -0.129975617, 0.0430954136, 0.194443733],
    "laplace": [0.15846230602649014, 3.5058868215207473, -0.16050781878325354, -0.6155156120724649],
    "logistic": [-0.29521526220084393, -4.183910141360207, 0.29878068416298553, 0.9937039305821678],
    "cauchy": [-0.23434604341667786, -21.19070234669309, 0.23723777098183235, 0.8806079282226775],
    "gamma": [2.6047012428169615e-05, 0.12919555789866216, 6.518719415882062, 508.06079755206474],
    "gamma32": [0.0105685154, 0.846293509, 4.86605072, 489.578735],
    "loggamma": [-10752.183592751553, -2.0464280698139983, 1.8746779480408196, 6.230601120637975],
    "beta": [0.05412583995929669, 0.016976737327934654, 0.0605913600496202, 0.09257493644678183],
    "dirichlet": [2.367113707780106e-06, 0.04691037273707882, 0.45136837453967366, 0.5017188856095397],
    "chisquare": [3.4123750492211147, 1.9269875304255157, 8.271386696089039, 3.2365955838289406],
    "f": [1.158641615967818, 0.4334901445978058, 6.869564969322846, 1.2631808709546908],
    "t": [-0.6930095592523876, -0.5820081154139338, 2.1891397152153647, -0.24505054189214784],
    "pareto": [1.203777755582976, 1.0050540155743009, 1.3291659848108275, 1.5468505040400933],
    "rayleigh": [1.3050743171072179, 5.795884058247333, 3.1603382213370517, 3.1746942507283675],
    "weibull_min": [1.3529603556444487, 0.12231276251644208, 1.7997751636072923, 2.392848295534626],
    "lognormal": [0.9117806140267735, 0.33793142787224595, 1.0979752215045038, 1.3581624935912568],
    "maxwell": [2.1856811186160847, 0.866467331447922, 0.8407561365101462, 1.838019102640401],
    "triangular": [0.3857395317752146, -0.7401051889342236, 0.6156770176537227, 0.8973600025714825],
    "generalized_normal": [-0.4028062414861481, -0.09948843483645729, 0.35442502223499145, 0.38001581793817063],
    "ball": [-0.0348793856307016, -0.20896099082971534, -0.4280896536192075, 0.26348390115914483],
    "multivariate_normal": [0.738778144692716, -1.0949904874307652, 1.2643667926365265, 1.638813497128136],
    "orthogonal": [-0.7028631207310976, -0.7113251250420883, 0.7113251250420883, -0.7028631207310976],
}


@pytest.mark.parametrize("name", EXACT)
def test_equal_to_jax(name):
    x = array(EXACT[name](KEY))
    crc, dtype, first, last = GOLDEN_EXACT[name]
    assert x.dtype == dtype
    assert (x.flat[0].item(), x.flat[-1].item()) == (first, last)
    assert zlib.crc32(np.ascontiguousarray(x).tobytes()) == crc


@pytest.mark.parametrize("name", ROUNDED)
def test_equal_to_jax_up_to_rounding(name):
    x = array(ROUNDED[name](KEY))
    rtol = 2e-5 if x.dtype == np.float32 else 1e-12
    np.testing.assert_allclose(x, GOLDEN_ROUNDED[name], rtol=rtol, atol=rtol)


# ---- shapes, dtypes, transforms -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (1,), 4])
def test_shapes(shape):
    wanted = (4,) if shape == 4 else shape
    for draw in (random.uniform, random.normal, random.exponential, random.rademacher, random.bits):
        assert draw(KEY, shape).shape == wanted
    assert random.gamma(KEY, 1.0, shape).shape == wanted
    assert random.poisson(KEY, 20.0, shape).shape == wanted
    assert random.choice(KEY, 5, shape).shape == wanted
    assert random.randint(KEY, shape, 0, 5).shape == wanted


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dtypes(dtype):
    for draw in (random.uniform, random.normal, random.gumbel, random.laplace, random.cauchy, random.maxwell):
        assert draw(KEY, (3,), dtype).dtype == dtype
    for draw in (random.gamma, random.t, random.chisquare, random.dirichlet):
        assert draw(KEY, np.ones(3), (3,) if draw is not random.dirichlet else (), dtype).dtype == dtype
    assert random.categorical(KEY, np.zeros(3, dtype)).dtype == np.int64


@pytest.mark.parametrize("name", [*EXACT, *ROUNDED])
def test_jit_and_vmap_over_keys_equal_the_eager_draw(name):
    draw = EXACT.get(name) or ROUNDED[name]
    keys = random.split(KEY, 3)
    eager = np.stack([array(draw(key)) for key in keys])
    rtol = 0 if name in EXACT else 1e-6 if eager.dtype == np.float32 else 1e-12
    np.testing.assert_allclose(array(fgrad.jit(draw)(keys[0])), eager[0], rtol=rtol, atol=rtol)
    np.testing.assert_allclose(array(fgrad.vmap(draw)(keys)), eager, rtol=rtol, atol=rtol)


@pytest.mark.parametrize(
    "draw",
    [
        lambda x: random.uniform(KEY, minval=x, maxval=3 * x),
        lambda x: random.truncated_normal(KEY, -x, 2.0),
        lambda x: random.pareto(KEY, x),
        lambda x: random.weibull_min(KEY, x, 2 * x),
        lambda x: random.lognormal(KEY, x),
        lambda x: random.triangular(KEY, -x, 0.1, x),
        lambda x: random.multivariate_normal(KEY, x * np.ones(2), x * COV).sum(),
    ],
)
def test_gradient_of_a_draw_is_that_of_the_drawn_number(draw):
    x, h = 1.3, 1e-6
    expected = (draw(x + h) - draw(x - h)) / (2 * h)
    np.testing.assert_allclose(fgrad.grad(draw)(x), expected, rtol=1e-7)


def test_gradient_of_gamma_is_the_implicit_one():
    for draw, log_space in ((random.gamma, False), (random.loggamma, True)):
        a = np.array(2.5)
        expected = sampling.gamma_derivative(a, array(draw(KEY, a)), log_space=log_space)
        np.testing.assert_allclose(fgrad.grad(lambda a, draw=draw: draw(KEY, a))(a), expected, rtol=1e-12)


def test_keys_are_plain_arrays():
    assert array(KEY).tolist() == [0, 42] and random.PRNGKey is random.key
    assert random.key_data(KEY) is KEY and random.wrap_key_data(KEY) is KEY
    assert array(random.key(2**64 - 1)).tolist() == array(random.key(-1)).tolist()
    assert array(random.fold_in(KEY, -1)).tolist() == array(random.fold_in(KEY, 2**32 - 1)).tolist()


# ---- errors -------------------------------------------------------------------------------------------------------

WANTED = "the first argument must be a key: a uint32 array of shape (2,), as made by fgrad.random.key(seed)"

ERRORS = [
    (lambda: random.normal(0, (2,)), TypeError, f"normal: {WANTED}; got int 0"),
    (lambda: random.normal(np.zeros(2)), ValueError, f"normal: {WANTED}; got dtype float64, shape (2,)"),
    (lambda: random.split(np.zeros(3, np.uint32)), ValueError, f"split: {WANTED}; got dtype uint32, shape (3,)"),
    (
        lambda: random.normal(random.split(KEY), (2,)),
        ValueError,
        "normal: takes one key of shape (2,), got an array of keys of shape (2, 2); index it, or map over its keys: "
        "fgrad.vmap(lambda key: fgrad.random.normal(key, ...))(keys)",
    ),
    (lambda: random.key(1.5), TypeError, "key: seed must be an integer, got float 1.5"),
    (lambda: random.key(2**64), ValueError, "key: seed must be at least -2**63 and less than 2**64, got 18446744073"),
    (
        lambda: random.key(np.arange(3)),
        TypeError,
        "key: seed must be one integer, got an array of shape (3,); for many keys use "
        "fgrad.random.split(fgrad.random.key(seed), n)",
    ),
    (lambda: random.fold_in(KEY, 2**32), ValueError, "fold_in: data must fit in 32 bits, got 4294967296"),
    (lambda: random.fold_in(KEY, 0.5), TypeError, "fold_in: data must be one integer, got float; map over many"),
    (lambda: random.wrap_key_data(np.zeros(2)), ValueError, "wrap_key_data: needs a uint32 array of shape (..., 2)"),
    (lambda: random.bits(KEY, (), int), ValueError, "bits: dtype must be an unsigned integer dtype, got int64"),
    (lambda: random.uniform(KEY, (), int), ValueError, "uniform: dtype must be float16, float32 or float64, got int64"),
    (lambda: random.randint(KEY, (), 0, 5, float), ValueError, "randint: dtype must be an integer dtype, got float64"),
    (lambda: random.randint(KEY, (), 0, 5.5), TypeError, "randint: minval and maxval must be integers of at most 64"),
    (lambda: random.uniform(KEY, (2.5,)), TypeError, "uniform: shape must be a tuple of integers, got (2.5,)"),
    (lambda: random.normal(KEY, (2, -1)), ValueError, "normal: shape must have no negative entry, got (2, -1)"),
    (
        lambda: random.gamma(KEY, np.ones(3), (2,)),
        ValueError,
        "gamma: parameters must broadcast to the shape argument (2,), got parameters of shape (3,)",
    ),
    (lambda: random.gumbel(KEY, mode="highest"), ValueError, 'gumbel: mode must be "low" or "high", got \'highest\''),
    (lambda: random.permutation(KEY, 2.5), TypeError, "permutation: x must be an integer or have an axis to shuffle"),
    (lambda: random.choice(KEY, 0, (2,)), ValueError, "choice: cannot draw 2 entries from none"),
    (lambda: random.choice(KEY, 3, (4,), False), ValueError, "choice: cannot draw 4 entries from 3 with replace=False"),
    (lambda: random.choice(KEY, 3, p=np.ones(2)), ValueError, "choice: p must have shape (3,), one probability an"),
    (
        lambda: random.categorical(KEY, LOGITS, shape=(5, 2), replace=False),
        ValueError,
        "categorical: without replacement, shape must be (*leading, 2) with a product of the leading axes of at most "
        "4, the number of categories; got (5, 2)",
    ),
    (lambda: random.dirichlet(KEY, 1.0), ValueError, "dirichlet: alpha must have at least one axis, got a scalar"),
    (
        lambda: random.multivariate_normal(KEY, np.ones(3), COV),
        ValueError,
        "multivariate_normal: mean must have shape (..., n) and cov (..., n, n), got (3,) and (2, 2)",
    ),
]


@pytest.mark.parametrize("call, kind, text", ERRORS)
def test_errors(call, kind, text):
    with pytest.raises(kind) as caught:
        call()
    assert text in str(caught.value)
