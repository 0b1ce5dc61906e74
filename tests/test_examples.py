"""The smaller examples, as a user runs them: what each says that it finds, it finds."""

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats

import fgrad
import heat
import rnn

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def check_picture(path):
    content = path.read_bytes()
    assert content.startswith(PNG_SIGNATURE)
    assert len(content) > 5000


def heat_matrix():
    """What `heat` does to a vector, as a power of the matrix of one step."""
    n = heat.POINTS
    step = (1 - 2 * heat.R) * np.eye(n) + heat.R * (np.eye(n, k=1) + np.eye(n, k=-1))
    return np.linalg.matrix_power(step, heat.STEPS)


def test_heat_recovers_the_first_temperatures(tmp_path, capsys):
    true, measured, recovered, losses = heat.main(["--quick", "--out", str(tmp_path)])
    assert np.abs(recovered - true).max() < np.abs(measured - true).max() / 4
    assert losses[-1] < losses[0] / 100
    forward, differences = heat_matrix(), np.diff(np.eye(heat.POINTS + 2), axis=0)[:, 1:-1]
    normal = forward.T @ forward + heat.PENALTY * differences.T @ differences
    best = np.linalg.solve(normal, forward.T @ measured)  # the minimum in closed form
    np.testing.assert_allclose(recovered, best, atol=5e-3)
    check_picture(tmp_path / "heat.png")
    assert str(tmp_path / "heat.png") in capsys.readouterr().out


def test_heat_leaves_its_argument_alone():
    first = heat.true_first()
    before = first.copy()
    np.testing.assert_allclose(heat.heat(first), heat_matrix() @ first, rtol=1e-12)
    np.testing.assert_array_equal(first, before)


@pytest.fixture(scope="module")
def rnn_run(tmp_path_factory):
    """What `--quick` returns, and its folder."""
    folder = tmp_path_factory.mktemp("rnn")
    return *rnn.main(["--quick", "--out", str(folder)]), folder


def next_probabilities(params, text):
    """The probabilities of every character after each of the text, by NumPy in float64."""
    state, rows = np.zeros(len(params["feed_back"])), []
    for character in text:
        read = params["read"][rnn.ALPHABET.index(character)]
        state = np.tanh(read + state @ params["feed_back"] + params["state_biases"])
        rows.append(scipy.special.softmax(state @ params["write"] + params["write_biases"]))
    return np.array(rows)


def test_rnn_learns(rnn_run):
    params, history, _, folder = rnn_run
    assert (np.diff(history) < 0).all()
    assert history[-1] < rnn.entropy() / 2
    probabilities = next_probabilities(params, rnn.TEXT[:-1])
    right = [rnn.ALPHABET.index(character) for character in rnn.TEXT[1:]]
    expected = -np.mean(np.log(probabilities[range(len(right)), right]))
    assert rnn.loss(params, rnn.windows(rnn.TEXT, len(rnn.TEXT))) == pytest.approx(expected, rel=1e-4)
    assert expected < 1.2
    check_picture(folder / "rnn.png")


def test_rnn_gradient_is_that_of_differences():
    params = fgrad.tree.map(lambda leaf: leaf.astype(np.float64), rnn.init_params(fgrad.random.key(1), 5))
    texts = rnn.windows(rnn.TEXT[:40], 30)
    random = np.random.default_rng(0)
    direction = fgrad.tree.map(lambda leaf: random.standard_normal(leaf.shape), params)

    def moved(h):
        return rnn.loss(fgrad.tree.map(lambda p, d: p + h * d, params, direction), texts)

    gradient = fgrad.jit(fgrad.grad(rnn.loss))(params, texts)
    products = fgrad.tree.map(lambda g, d: np.sum(g * d), gradient, direction)
    assert sum(fgrad.tree.leaves(products)) == pytest.approx((moved(1e-5) - moved(-1e-5)) / 2e-5, rel=1e-6)


def test_rnn_writes_with_the_probabilities_of_the_network(rnn_run):
    params, _, written, _ = rnn_run
    assert len(written) == 301
    assert set(written) <= set(rnn.ALPHABET)
    first, draws = rnn.ALPHABET.index("t"), 4000
    keys = fgrad.random.split(fgrad.random.key(3), draws)
    numbers = fgrad.vmap(lambda key: rnn.write(params, key, first, length=1))(keys).ravel()
    expected = draws * next_probabilities(params, "t")[0]
    counts = np.bincount(numbers, minlength=len(rnn.ALPHABET))
    assert expected.min() > 5  # so that the statistic has the distribution of χ²
    assert scipy.stats.chisquare(counts, expected).pvalue > 1e-3
