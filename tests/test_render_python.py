"""Kernels as Python source: what it says, and that its operations are NumPy's."""

import ctypes
import ctypes.util
import importlib
import math
import subprocess
import sys
import traceback
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernels import Sample, empty, ops_of, pairs, special
from made_kernels import samples

from fgrad.compile import numba_kernels, prelude, render_python
from fgrad.compile.nests import Builder
from fgrad.compile.scalars import FLOATS, INTEGERS, OPS, TYPES, dtype_of, size_of

SAMPLES = {sample.name: sample for sample in samples()}


def results(sample: Sample) -> list[np.ndarray]:
    status, arrays = sample.in_python()
    assert status == (0, 0, 0)
    return arrays


# ------------------------------------------------------------------------------------------------------- the operations

UFUNCS = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "neg": np.negative, "abs": np.abs,
    "max": np.maximum, "min": np.minimum, "rest": np.fmod, "copysign": np.copysign, "sqrt": np.sqrt,
    "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc, "rint": np.rint,
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal,
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor, "not": np.invert,
    "shl": np.left_shift, "shr": np.right_shift,
}  # fmt: skip


def oracle(op: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    width = 8 * a.itemsize
    if op == "quot":
        return np.array([math.trunc(Fraction(int(x), int(y))) for x, y in zip(a, b, strict=True)], a.dtype)
    if op == "popcount":
        return np.array([np.binary_repr(x, width).count("1") for x in a], a.dtype)
    if op == "clz":
        return np.array([width - len(np.binary_repr(x, width).lstrip("0")) for x in a], a.dtype)
    return UFUNCS[op](a, b) if UFUNCS[op].nin == 2 else UFUNCS[op](a)


@pytest.mark.parametrize("type", TYPES)
def test_operations_are_numpys(type: str) -> None:
    a, b = pairs(type)
    ops = ops_of(type)
    found = results(SAMPLES[f"operations {type}"])[2:]
    with np.errstate(all="ignore"):
        for op, mine in zip([*ops[2], *ops[1]], found, strict=False):
            second = b
            if op in ("quot", "rest"):
                second = np.where((b == 0) | (b.astype(object) == -1), 1, b).astype(b.dtype)
            if op in ("shl", "shr"):
                second = b & b.dtype.type(8 * b.itemsize - 1)
            expected = oracle(op, a, second)
            assert mine.dtype == expected.dtype
            np.testing.assert_array_equal(mine, expected, err_msg=op)
            if type in FLOATS and op not in ("max", "min"):  # of 0.0 and -0.0 either may win
                numbers = ~np.isnan(mine)
                np.testing.assert_array_equal(np.signbit(mine[numbers]), np.signbit(expected[numbers]), err_msg=op)


@pytest.mark.parametrize("type", TYPES)
def test_conversions_are_numpys(type: str) -> None:
    values = special(type)
    found = iter(results(SAMPLES[f"conversions {type}"])[1:])
    with np.errstate(all="ignore"):
        for to in TYPES:
            if to != type:
                mine = next(found)
                expected = np.array([x.astype(dtype_of(to)) for x in values])  # arrays of uint32 depend on their length
                np.testing.assert_array_equal(mine, expected, err_msg=to)
        plain = np.where(values == values, values, 0).astype(values.dtype)
        for to in TYPES:
            if size_of(to) == size_of(type) and to != type and "bool" not in (to, type):
                np.testing.assert_array_equal(next(found), plain.view(dtype_of(to)), err_msg=to)


libm = ctypes.CDLL(ctypes.util.find_library("m"))
libm.fma.restype, libm.fma.argtypes = ctypes.c_double, [ctypes.c_double] * 3
libm.fmaf.restype, libm.fmaf.argtypes = ctypes.c_float, [ctypes.c_float] * 3


def same_float(a: float, b: float) -> bool:
    return (a != a and b != b) or (a == b and math.copysign(1, a) == math.copysign(1, b))


@pytest.mark.parametrize(("type", "reference"), [(np.float32, libm.fmaf), (np.float64, libm.fma)])
def test_fma_of_special_values(type: type, reference: object) -> None:
    some = special("f32" if type is np.float32 else "f64")[::2]
    with np.errstate(all="ignore"):
        for a in some:
            for b in some:
                for c in some:
                    mine = prelude.fma(a, b, c)
                    assert mine.dtype == type
                    assert same_float(mine, reference(a, b, c)), (a, b, c)


@given(st.lists(st.floats(width=32, allow_subnormal=True), min_size=3, max_size=3))
def test_fma_f32(values: list[float]) -> None:
    a, b, c = map(np.float32, values)
    with np.errstate(all="ignore"):
        for third in (c, -a * b, np.nextafter(-a * b, c)):
            assert same_float(prelude.fma(a, b, third), libm.fmaf(a, b, third))


@given(st.lists(st.floats(), min_size=3, max_size=3))
def test_fma_f64(values: list[float]) -> None:
    a, b, c = map(np.float64, values)
    with np.errstate(all="ignore"):
        for third in (c, -a * b, np.nextafter(-a * b, c)):
            assert same_float(prelude.fma(a, b, third), libm.fma(a, b, third))


def test_indices_wrap_as_numbers_do() -> None:
    k = Builder()
    o = k.buffer("i64", "out")
    with k.vector(k.begin, k.end) as i:
        k.store(o, i, k.op("shl", k.add(i, k.const(1, "i64")), k.const(63, "i64")))
    np.testing.assert_array_equal(results(Sample("shift", k, [empty("i64", 3)], 3))[0], [-(2**63), 0, -(2**63)])


# ----------------------------------------------------------------------------------------------------- whole kernels


def test_reductions() -> None:
    x, total, product, most, least = results(SAMPLES["reductions along 67 f64"])
    x = x.reshape(-1, 67)
    np.testing.assert_allclose(total, x.sum(1), rtol=1e-12)
    np.testing.assert_allclose(product, x.prod(1), rtol=1e-12)
    np.testing.assert_array_equal(most, np.maximum(x.max(1), 0))
    np.testing.assert_array_equal(least, np.minimum(x.min(1), 1))


def test_product_of_matrices() -> None:
    a, b, o = results(SAMPLES["product of matrices"])
    np.testing.assert_allclose(o.reshape(6, 23), a.reshape(6, 18) @ b.reshape(18, 23), rtol=1e-12)


def test_running_sum() -> None:
    x, o = results(SAMPLES["running sum"])
    np.testing.assert_array_equal(o, np.cumsum(x))


def test_memory_behind_a_mask_is_not_touched() -> None:
    x, o, q = results(SAMPLES["masks"])
    np.testing.assert_array_equal(o, [*x[:-3], 77, 77, 77])
    np.testing.assert_array_equal(q, [True] * 3 + [bool(v > 0) for v in x[:-3]])


def test_a_failed_check_gives_its_details() -> None:
    assert SAMPLES["gathers bad"].in_python()[0] == (1, 20, 20)
    assert SAMPLES["gathers negative"].in_python()[0] == (1, -1, 20)


# ------------------------------------------------------------------------------------------------------------ the text


def everything() -> Builder:
    k = Builder()
    x, flags, o = k.buffer("f32", "in"), k.buffer("bool", "in"), k.buffer("i16", "out")
    row = k.scratch("f32", 40)
    count = k.variable(k.const(0, "i16"))
    with k.serial(k.begin, k.end) as i:
        total = k.accumulator("max", k.const(-np.inf, "f32"))
        with k.vector(k.dim(0), k.dim(40)) as j:
            at = k.affine([(i, k.dim(40)), (j, k.dim(1))])
            v = k.load(x, at, k.op("gt", j, k.const(2, "i64")), k.const(0.1, "f32"))
            k.check(k.op("eq", v, v), at, k.dim(40))
            k.store(row, j, k.op("fma", v, v, v))
            k.update(total, v)
        flag = k.load(flags, i)
        with k.branch(k.op("not", flag)):
            k.assign(count, k.op("neg", k.read(count)))
        k.store(o, i, k.add(k.read(count), k.cast(k.read(total), "i16")), flag)
    return k


GOLDEN = """\
from fgrad.compile.prelude import cast, f32, fma, i16, i64, inf, maximum, scratch, span


def k(p0, p1, p2, dims, begin, end):
    s0 = scratch(f32, 40)
    var0 = i16(0)
    v0 = dims[0]
    for i in span(begin, end):
        acc1 = f32(-inf)
        v1 = i * v0
        for j in span(i64(0), v0):  # vector
            v2 = v1 + j
            v3 = j > i64(2)
            v4 = p0[v2] if v3 else f32(0.1)
            v5 = v4 == v4
            if not v5:
                return 1, v2, v0
            v6 = fma(v4, v4, v4)
            s0[j] = v6
            acc1 = maximum(acc1, v4)
        v7 = p1[i] != 0
        v8 = not v7
        if v8:
            v9 = var0
            v10 = i16(-v9)
            var0 = v10
        v11 = var0
        v12 = acc1
        v13 = cast(v12, i16)
        v14 = i16(v11 + v13)
        if v7:
            p2[i] = v14
    return 0, 0, 0
"""


def test_golden_text() -> None:
    kernel = everything().finish()
    assert render_python.render(kernel).replace(kernel.name, "k") == GOLDEN


def test_functions_stand_in_front_of_the_kernel() -> None:
    k = Builder()
    x, o, q = k.buffer("f32", "in"), k.buffer("f32", "out"), k.buffer("f64", "out")
    with k.vector(k.begin, k.end) as i:
        v = k.op("exp", k.load(x, i))
        k.store(o, i, k.op("exp", v))
        k.store(q, i, k.op("tanh", k.cast(v, "f64")))
    values = np.linspace(-3, 3, 11, dtype=np.float32)
    sample = Sample("functions", k, [values, empty("f32", 11), empty("f64", 11)], 11)
    text = render_python.render(sample.kernel)
    assert [line.split("(")[0] for line in text.splitlines() if line.startswith("def ")] == [
        "def exp_f32", "def tanh_f64", f"def {sample.kernel.name}",
    ]  # fmt: skip
    _, twice, tanh = results(sample)
    np.testing.assert_allclose(twice, np.exp(np.exp(values)), rtol=1e-5)
    np.testing.assert_allclose(tanh, np.tanh(np.exp(values)), rtol=1e-6)


@pytest.mark.parametrize("type", [t for t in TYPES if t != "bool"])
def test_constants_are_written_exactly(type: str) -> None:
    k = Builder()
    o = k.buffer(type, "out")
    values = [*special(type), *np.random.default_rng(0).integers(0, 2**31, 50).astype(dtype_of(type))]
    if type in FLOATS:
        values += [*np.random.default_rng(0).normal(size=50).astype(dtype_of(type)) ** 9]
    for n, value in enumerate(values):
        k.store(o, k.const(n, "i64"), k.const(value, type))
    found = results(Sample("constants", k, [empty(type, len(values))], 1))[0]
    np.testing.assert_array_equal(found, np.array(values))
    if type in FLOATS:
        np.testing.assert_array_equal(np.signbit(found[found == 0]), np.signbit(np.array(values)[found == 0]))


def test_tracebacks_show_the_generated_line() -> None:
    k = Builder()
    o = k.buffer("f32", "out")
    with k.serial(k.begin, k.end) as i:
        k.store(o, i, k.const(1, "f32"))
    kernel = k.finish()
    try:
        render_python.function(kernel)(np.zeros(2, np.float32), (), 0, 5)
    except IndexError as e:
        assert "p0[i] = f32(1.0)" in "".join(traceback.format_exception(e))
    else:
        pytest.fail("it wrote outside of the array")


# --------------------------------------------------------------------------------------------------------------- Numba


def test_numba_compiles_the_source_as_it_stands() -> None:
    numba = pytest.importorskip("numba")
    importlib.import_module("fgrad.compile.numba_machine")

    sample = SAMPLES["mixing u32"]
    run = numba.njit(error_model="numpy")(render_python.function(sample.kernel))
    arrays = [a.copy() for a in sample.operands]
    assert run(*arrays, np.zeros(1, np.int64), 0, sample.extent) == (0, 0, 0)
    for mine, theirs in zip(arrays, results(sample), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_kernel_is_compiled_once() -> None:
    first, second = (everything().finish() for _ in range(2))
    assert numba_kernels.compile(first) == numba_kernels.compile(second)


def test_chunks_give_what_the_whole_gives() -> None:
    for name in ("strides", "softmax 40", "mixing u64", "product of matrices"):
        sample = SAMPLES[name]
        address = numba_kernels.compile(sample.kernel)
        sample.same(sample.native(address), sample.native(address, cuts=(1, 3, 3, 5)))


def test_numba_is_imported_at_the_first_compilation() -> None:
    code = "import sys, fgrad.compile.numba_kernels; assert not {'numba', 'llvmlite'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_operation_has_a_line() -> None:
    assert set(render_python.OPS) == set(OPS)
    assert set(INTEGERS) >= set(render_python._WIDENED)
