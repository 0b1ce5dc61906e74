"""The smaller examples, as a user runs them: what each says that it finds, it finds."""

import numpy as np

import heat

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
