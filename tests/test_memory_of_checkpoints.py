"""What the gradient of a long scan takes at its highest, measured in processes of their own."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from pathlib import Path

import numpy as np

import fgrad
from fgrad import lax

CHECKPOINT = eval(sys.argv[1])


def resident(field):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def wander(x, n):
    return lax.scan(lambda x, _: (np.sin(x + 0.1), None), x, length=n, checkpoint=CHECKPOINT)[0].sum()


gradient = fgrad.jit(fgrad.grad(wander), static_argnums=1)
gradient(np.linspace(0, 0.1, 5), 200)
Path("/proc/self/clear_refs").write_text("5")  # resets the highest to the present
before = resident("VmRSS")
gradient(np.linspace(0, 0.1, 1000), 10_000)
print(resident("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system does not tell peaks")
def test_checkpoints_take_the_place_of_residuals():
    """10,000 carries of 8 kB are 80 MB; about 200 at the square root, about 40 at four levels of 10."""

    def peak(checkpoint):
        done = subprocess.run([sys.executable, "-c", PROGRAM, repr(checkpoint)], capture_output=True, text=True)
        assert not done.returncode, done.stderr
        return int(done.stdout)

    everything = peak(None)
    assert everything > 70e6
    assert peak(True) < everything / 10
    assert peak(10) < everything / 20
