"""The example that fits a differential equation: its solvers against SciPy's, its gradients, and a run."""

import numpy as np
import pytest
import scipy.integrate

import fgrad
import ode


@pytest.fixture(scope="module")
def exact():
    """The solution by SciPy, far below the tolerances of the example."""
    found = scipy.integrate.solve_ivp(
        lambda t, y: ode.growth(ode.TRUE_RATES, y), (0, 20), ode.START, "DOP853", ode.TIMES, rtol=1e-12, atol=1e-12
    )
    return found.y.T


def test_solvers_against_scipy(exact):
    assert np.abs(ode.adaptive(ode.TRUE_RATES, ode.START, ode.TIMES) - exact).max() < 2e-6
    assert np.abs(ode.rk4(ode.TRUE_RATES, ode.START, ode.TIMES) - exact).max() < 1e-6
    errors = [np.abs(ode.rk4(ode.TRUE_RATES, ode.START, ode.TIMES, n) - exact).max() for n in (4, 8)]
    assert 12 < errors[0] / errors[1] < 20  # the fourth order


def test_a_tighter_tolerance_takes_smaller_steps(exact):
    errors = []
    for tolerance in (1e-4, 1e-6, 1e-10):
        found = fgrad.jit(lambda r, t=tolerance: ode.adaptive(r, ode.START, ode.TIMES, t))(ode.TRUE_RATES)
        errors.append(np.abs(found - exact).max())
    assert errors[0] > 3 * errors[1] > 9 * errors[2]


def test_quick_run_fits(tmp_path, capsys):
    assert ode.main(["--quick", "--out", str(tmp_path)]) == 0
    assert "fit through adaptive" in capsys.readouterr().out
    assert (tmp_path / "ode.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_gradients_agree_and_fits_find_the_rates(tmp_path):
    class args:
        seed, steps, out = 1, 5, tmp_path

    gradients, rates = ode.run(args)
    np.testing.assert_allclose(gradients["adaptive"], gradients["rk4"], rtol=1e-5)
    np.testing.assert_allclose(gradients["differences"], gradients["rk4"], rtol=1e-4)
    for found in rates.values():
        np.testing.assert_allclose(found, ode.TRUE_RATES, rtol=0.05)


def test_bad_arguments(capsys):
    with pytest.raises(SystemExit):
        ode.main(["--steps", "0"])
    assert "--steps must be positive" in capsys.readouterr().err
