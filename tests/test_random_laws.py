"""The laws of fgrad.random's distributions against SciPy, and the rejection samplers against loops and mpmath."""

import mpmath
import numpy as np
import pytest
from scipy import stats

from fgrad import random
from fgrad.primitives import sampling

KEY = random.key(42)
COV = np.array([[2.0, 0.5], [0.5, 1.0]])
N = 5000  # draws a law is judged by


def array(x):
    return np.asarray(x)


LAWS = {
    "uniform": (lambda key: random.uniform(key, (N,), minval=-2, maxval=3), stats.uniform(-2, 5)),
    "uniform32": (lambda key: random.uniform(key, (N,), np.float32), stats.uniform()),
    "normal": (lambda key: random.normal(key, (N,)), stats.norm()),
    "normal_imag": (lambda key: random.normal(key, (N,), complex).imag, stats.norm(0, 0.5**0.5)),
    "truncated_normal": (lambda key: random.truncated_normal(key, 0.5, 2.0, (N,)), stats.truncnorm(0.5, 2.0)),
    "exponential": (lambda key: random.exponential(key, (N,)), stats.expon()),
    "gumbel": (lambda key: random.gumbel(key, (N,)), stats.gumbel_r()),
    "gumbel_high": (lambda key: random.gumbel(key, (N,), np.float32, "high"), stats.gumbel_r()),
    "laplace": (lambda key: random.laplace(key, (N,)), stats.laplace()),
    "logistic": (lambda key: random.logistic(key, (N,)), stats.logistic()),
    "cauchy": (lambda key: random.cauchy(key, (N,)), stats.cauchy()),
    "gamma_small": (lambda key: random.gamma(key, 0.3, (N,)), stats.gamma(0.3)),
    "gamma_one": (lambda key: random.gamma(key, 1.0, (N,)), stats.gamma(1.0)),
    "gamma_large": (lambda key: random.gamma(key, 1e6, (N,)), stats.gamma(1e6)),
    "gamma32": (lambda key: random.gamma(key, 2.5, (N,), np.float32), stats.gamma(2.5)),
    "gamma16": (lambda key: random.gamma(key, 2.5, (N,), np.float16).astype(float), stats.gamma(2.5)),
    "loggamma": (lambda key: random.loggamma(key, 0.01, (N,)), stats.loggamma(0.01)),
    "beta": (lambda key: random.beta(key, 0.5, 2.0, (N,)), stats.beta(0.5, 2.0)),
    "dirichlet": (lambda key: random.dirichlet(key, np.array([0.5, 1.0, 2.0]), (N,))[:, 0], stats.beta(0.5, 3.0)),
    "chisquare": (lambda key: random.chisquare(key, 3.0, (N,)), stats.chi2(3)),
    "f": (lambda key: random.f(key, 3.0, 5.0, (N,)), stats.f(3, 5)),
    "t": (lambda key: random.t(key, 3.0, (N,)), stats.t(3)),
    "pareto": (lambda key: random.pareto(key, 3.0, (N,)), stats.pareto(3)),
    "rayleigh": (lambda key: random.rayleigh(key, 2.0, (N,)), stats.rayleigh(scale=2)),
    "weibull_min": (lambda key: random.weibull_min(key, 2.0, 1.5, (N,)), stats.weibull_min(1.5, scale=2)),
    "lognormal": (lambda key: random.lognormal(key, 0.5, (N,)), stats.lognorm(0.5)),
    "maxwell": (lambda key: random.maxwell(key, (N,)), stats.maxwell()),
    "triangular": (lambda key: random.triangular(key, -1.0, 0.5, 2.0, (N,)), stats.triang(0.5, -1, 3)),
    "generalized_normal": (lambda key: random.generalized_normal(key, 1.5, (N,)), stats.gennorm(1.5)),
    "ball_radius": (
        lambda key: np.linalg.norm(random.ball(key, 3, shape=(N,)), axis=-1),
        stats.powerlaw(3),
    ),
}


@pytest.mark.parametrize("name", LAWS)
def test_continuous_law(name):
    draw, law = LAWS[name]
    assert stats.kstest(array(draw(random.key(1))), law.cdf).pvalue > 1e-3


COUNTS = {
    "poisson_1": (lambda key: random.poisson(key, 0.7, (N,)), stats.poisson(0.7)),
    "poisson_search": (lambda key: random.poisson(key, 9.9, (N,)), stats.poisson(9.9)),
    "poisson_rejection": (lambda key: random.poisson(key, 10.0, (N,)), stats.poisson(10)),
    "poisson_30": (lambda key: random.poisson(key, np.float32(30), (N,), np.int32), stats.poisson(30)),
    "geometric": (lambda key: random.geometric(key, 0.3, (N,)), stats.geom(0.3)),
    "randint": (lambda key: random.randint(key, (N,), -3, 8, np.int8), stats.randint(-3, 8)),
    "bernoulli": (lambda key: random.bernoulli(key, 0.3, (N,)), stats.bernoulli(0.3)),
    "categorical": (lambda key: random.categorical(key, np.log([0.2, 0.8]), shape=(N,)), stats.bernoulli(0.8)),
    "choice": (lambda key: random.choice(key, 2, (N,), p=np.array([0.2, 0.8])), stats.bernoulli(0.8)),
}


@pytest.mark.parametrize("name", COUNTS)
def test_discrete_law(name):
    draw, law = COUNTS[name]
    low, high = int(law.ppf(0.005)), int(law.ppf(0.995))
    x = np.clip(array(draw(random.key(2))).astype(int), low, high)
    observed = np.bincount(x - low, minlength=high - low + 1)
    expected = law.pmf(np.arange(low, high + 1))
    expected[0], expected[-1] = law.cdf(low), law.sf(high - 1)
    assert stats.chisquare(observed, expected * N).pvalue > 1e-3


@pytest.mark.parametrize("mean", [1e3, 1e9, 1e15])
def test_poisson_of_a_large_mean(mean):
    x = array(random.poisson(random.key(3), mean, (N,)))
    assert stats.kstest((x - mean) / np.sqrt(mean), stats.norm.cdf).pvalue > 1e-3


def test_permutations_are_equally_likely():
    keys = random.split(random.key(4), 1200)
    seen = [tuple(array(random.permutation(k, 3)).tolist()) for k in keys]
    counts = [seen.count(p) for p in sorted(set(seen))]
    assert len(counts) == 6 and stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("method", ["cholesky", "eigh", "svd"])
def test_multivariate_normal_has_its_covariance(method):
    x = array(random.multivariate_normal(random.key(5), np.array([1.0, -1.0]), COV, (N,), method=method))
    z = np.linalg.solve(np.linalg.cholesky(COV), (x - [1.0, -1.0]).T)
    assert stats.kstest(z.ravel(), stats.norm.cdf).pvalue > 1e-3
    assert abs(np.corrcoef(z)[0, 1]) < 4 / np.sqrt(N)


def test_orthogonal_matrices_are_orthogonal_and_have_both_signs():
    q = array(random.orthogonal(random.key(6), 3, (200,)))
    np.testing.assert_allclose(q @ q.swapaxes(-1, -2), np.broadcast_to(np.eye(3), q.shape), atol=1e-13)
    assert 60 < np.sum(np.linalg.det(q) > 0) < 140
    wide = array(random.orthogonal(random.key(6), 2, m=4, dtype=complex))
    np.testing.assert_allclose(wide @ wide.conj().T, np.eye(2), atol=1e-13)


def test_draws_from_different_keys_are_uncorrelated():
    a, b = (array(random.normal(k, (N,))) for k in random.split(KEY))
    assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(N)


# ---- rejection samplers on arrays of keys; the derivative of a gamma draw -----------------------------------------


@pytest.mark.parametrize(
    "draw",
    [
        lambda key, a: sampling.gamma(key, a, log_space=False),
        lambda key, a: sampling.gamma(key, a, log_space=True),
        lambda key, a: sampling.poisson(key, 30 * a, dtype=np.dtype(int)),
    ],
)
def test_an_array_of_keys_equals_a_loop(draw):
    keys = array(random.split(KEY, (2, 3)))
    a = np.linspace(0.1, 3, 2 * 3 * 20).reshape(2, 3, 20)
    together = draw(keys, a)
    for i in np.ndindex(2, 3):
        assert np.array_equal(together[i], draw(keys[i], a[i]))
    assert np.array_equal(draw(keys[0, 0], a[0, 0, :5]), together[0, 0, :5])  # later elements do not matter


@pytest.mark.parametrize("a", [1e-3, 0.3, 1.0, 4.0, 19.0, 21.0, 400.0, 1e5])
@pytest.mark.parametrize("probability", [1e-6, 0.2, 0.5, 0.8, 1 - 1e-6])
def test_gamma_derivative_is_that_of_the_quantile(a, probability):
    x = float(stats.gamma(a).ppf(probability))
    if x == 0:
        pytest.skip("the quantile underflows")
    with mpmath.workdps(50):
        step = mpmath.mpf(a) * mpmath.mpf(10) ** -15
        lower, upper = (mpmath.gammainc(mpmath.mpf(a) + h, 0, x, regularized=True) for h in (-step, step))
        density = mpmath.exp((a - 1) * mpmath.log(x) - x - mpmath.loggamma(a))
        expected = float(-(upper - lower) / (2 * step) / density)
    got = sampling.gamma_derivative(np.array([a]), np.array([x]), log_space=False)
    np.testing.assert_allclose(got, expected, rtol=1e-11)
    log = sampling.gamma_derivative(np.array([a]), np.array([np.log(x)]), log_space=True)
    np.testing.assert_allclose(log, expected / x, rtol=1e-11)


def test_special_parameters():
    nan, inf = np.nan, np.inf
    a = array(random.gamma(KEY, np.array([0.0, -1.0, nan, inf])))
    np.testing.assert_array_equal(a, [0.0, nan, nan, inf])
    np.testing.assert_array_equal(array(random.loggamma(KEY, np.array([0.0, -1.0]))), [-inf, nan])
    assert np.isfinite(random.loggamma(KEY, 1e-300))
    lam = np.array([0.0, -1.0, nan, inf, 1e30])
    top = np.iinfo(np.int64).max
    assert array(random.poisson(KEY, lam)).tolist() == [0, -1, -1, top, top]
    assert array(random.poisson(KEY, 300.0, dtype=np.int8)) == 127
    assert array(random.geometric(KEY, 1.0)) == 1
    assert np.array_equal(array(random.bernoulli(KEY, np.array([0.0, 1.0, nan]))), [False, True, False])
    derivative = sampling.gamma_derivative(np.array([1e-9, nan]), np.array([0.0, 1.0]), log_space=False)
    np.testing.assert_array_equal(derivative, [0.0, nan])
