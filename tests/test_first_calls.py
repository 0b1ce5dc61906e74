"""What a first call waits for, and when native dispatch takes over."""

import subprocess
import sys

import numpy as np

from fgrad import jit
from fgrad.compile.flat import FlatCall


def test_a_first_call_waits_for_no_dispatch():
    """Threads and dispatch are loaded when a program runs for the second time; a long one has its threads at once."""
    text = """if True:
        import numpy as np
        import fgrad
        from fgrad.compile.native import library
        f = fgrad.jit(lambda x: np.tanh(x) * 2)
        for n in (5, 2_000):
            f(np.ones(n))
        assert not library._caller and not library._threads
        long = fgrad.jit(lambda x: x @ x)
        long(np.ones((1_500, 1_500), np.float32))
        assert library._threads and not library._caller
        for _ in range(3):
            assert f(np.zeros(5)).tolist() == [0.0] * 5
        assert library._caller and len(f.calls.entries) == 1
    """
    subprocess.run([sys.executable, "-c", text], check=True)


def test_operands_that_native_code_does_not_take_add_no_entries():
    x = np.arange(12.0).reshape(3, 4)
    f = jit(lambda x: np.sin(x) + 1)
    for _ in range(5):
        np.testing.assert_allclose(f(x.T), np.sin(x.T) + 1, rtol=1e-12)
    assert len(f.calls.entries) == 1
    call = FlatCall(f.trace(x.T))
    for _ in range(5):
        np.testing.assert_allclose(call(x.T)[0], np.sin(x.T) + 1, rtol=1e-12)
    assert len(call.calls.entries) == 1
