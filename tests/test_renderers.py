"""Every kernel through all renderers: plain Python, LLVM, Numba."""

import pytest
from kernels import Sample
from made_kernels import samples
from random_kernels import random_kernel

from fgrad.compile import engine, numba_kernels, render_llvm
from fgrad.compile.nests import Kernel
from fgrad.compile.scalars import MATH

SAMPLES = samples()
NUMBA_RANDOM = 12  # compiling one takes Numba a fifth of a second
# Functions are lines of operations, so a few stand for all where compiling them takes seconds.
NUMBA_FUNCTIONS = ("exp", "tanh", "erf", "pow")
NUMBA_SAMPLES = [s for s in SAMPLES if (name := s.name.split()[0]) not in MATH or name in NUMBA_FUNCTIONS]


def llvm(kernel: Kernel, vector_bytes: int) -> int:
    image = engine.compile_text(render_llvm.render(kernel, vector_bytes))
    return engine.load_object(image, [kernel.name])[kernel.name]


def check_llvm(sample: Sample) -> None:
    for width in {16, engine.native_vector_bytes()}:
        address = llvm(sample.kernel, width)
        sample.same(sample.in_python(wide=width == 64), sample.native(address))


@pytest.mark.parametrize("sample", SAMPLES, ids=repr)
def test_llvm(sample: Sample) -> None:
    check_llvm(sample)


@pytest.mark.parametrize("sample", NUMBA_SAMPLES, ids=repr)
def test_numba(sample: Sample) -> None:
    sample.same(sample.in_python(), sample.native(numba_kernels.compile(sample.kernel)))


@pytest.mark.parametrize("group", range(15))
def test_llvm_random(group: int) -> None:
    for seed in range(10 * group, 10 * group + 10):
        check_llvm(random_kernel(seed))


@pytest.mark.parametrize("seed", range(NUMBA_RANDOM))
def test_numba_random(seed: int) -> None:
    sample = random_kernel(seed)
    sample.same(sample.in_python(), sample.native(numba_kernels.compile(sample.kernel)))
