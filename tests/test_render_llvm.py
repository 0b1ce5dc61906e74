"""Kernels as LLVM assembly: tails of every length, nothing touched beyond an end, what the text looks like.

What each operation answers is tested for all renderers in test_renderers.
"""

import ctypes
import itertools
import mmap
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from fgrad.compile.engine import compile_text, load_object, native_vector_bytes
from fgrad.compile.nests import Builder, Kernel, Value
from fgrad.compile.render_llvm import module, render
from fgrad.compile.scalars import FLOATS, INTEGERS, TYPES, dtype_of, size_of

NATIVE = ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_void_p] * 3, ctypes.c_int64, ctypes.c_int64)
WIDTHS = [16, 32, 64]
PAGE = mmap.PAGESIZE
_libc = ctypes.CDLL(None)


class Memory:
    """Room for arrays that end at an unreadable page, or begin behind one; aligned to their elements only."""

    def __init__(self, pages: int = 2) -> None:
        self.pages = pages
        self.memory = mmap.mmap(-1, (pages + 2) * PAGE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        for guard in (start, start + (pages + 1) * PAGE):
            assert _libc.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(PAGE), 0) == 0

    def copy(self, array: np.ndarray, at_end: bool) -> np.ndarray:
        assert array.nbytes <= self.pages * PAGE
        offset = (self.pages + 1) * PAGE - array.nbytes if at_end else PAGE
        made = np.frombuffer(self.memory, array.dtype, array.size, offset)
        made[...] = array
        return made


MEMORIES = [Memory() for _ in range(4)]


def guarded(*arrays: np.ndarray) -> Iterator[list[np.ndarray]]:
    """Copies of the arrays, each in memory of its own: at its end, and at its beginning."""
    for at_end in (True, False):
        yield [memory.copy(a, at_end) for memory, a in zip(MEMORIES, arrays, strict=False)]


Run = Callable[..., tuple[int, int, int]]


def compiled(kernel: Kernel, vector_bytes: int) -> Run:
    """The kernel as a function of arrays; gives its status and the two words about a failure."""
    image = compile_text(render(kernel, vector_bytes), level=0)
    native = NATIVE(load_object(image, [kernel.name])[kernel.name])

    def run(arrays: list[np.ndarray], begin: int, end: int, *dims: int) -> tuple[int, int, int]:
        operands = (ctypes.c_void_p * len(arrays))(*[a.ctypes.data for a in arrays])
        words = (ctypes.c_int64 * 8)()
        sizes = (ctypes.c_int64 * (len(dims) + 1))(*dims)
        status = native(*[ctypes.addressof(a) for a in (words, operands, sizes)], begin, end)
        return status, words[2], words[3]

    return run


def numbers(type: str, n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if type == "bool":
        return rng.random(n) < 0.5
    return rng.standard_normal(n).astype(dtype_of(type)) if type in FLOATS else rng.integers(1, 99, n, dtype_of(type))


def elementwise(types: list[str], results: list[str], compute: Callable[..., list[Value]]) -> Kernel:
    k = Builder()
    inputs = [k.buffer(type, "in") for type in types]
    outputs = [k.buffer(type, "out") for type in results]
    with k.vector(k.begin, k.end) as i:
        for buffer, value in zip(outputs, compute(k, *[k.load(b, i) for b in inputs]), strict=True):
            k.store(buffer, i, value)
    return k.finish()


# ------------------------------------------------------------------------------------------------------------- tails


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("type", TYPES)
def test_tails_of_every_length(type: str, width: int) -> None:
    run = compiled(elementwise([type, type], [type], lambda k, x, y: [k.op("max", x, y)]), width)
    for n in range(2 * 2 * width // size_of(type) + 2):
        x, y = numbers(type, n, 1), numbers(type, n, 2)
        for arrays in guarded(x, y, np.zeros(n, x.dtype)):
            assert run(arrays, 0, n)[0] == 0
            np.testing.assert_array_equal(arrays[2], np.maximum(x, y))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    "wide, narrow", [("f32", "bool"), ("f64", "bool"), ("f64", "f32"), ("i64", "i8"), ("f32", "u16")]
)
def test_tails_of_mixed_widths(wide: str, narrow: str, width: int) -> None:
    def compute(k: Builder, x: Value, y: Value) -> list[Value]:
        return [k.add(x, k.cast(y, wide)), k.op("lt", x, k.cast(y, wide)), y]

    run = compiled(elementwise([wide, narrow], [wide, "bool", narrow], compute), width)
    spare = Memory()
    for n in range(4 * width // size_of(wide) + 2):
        x, y = numbers(wide, n, 1), numbers(narrow, n, 2)
        for at_end, arrays in zip((True, False), guarded(x, y, x, np.zeros(n, bool)), strict=True):
            arrays.append(spare.copy(np.zeros(n, y.dtype), at_end))
            assert run(arrays, 0, n)[0] == 0
            np.testing.assert_array_equal(arrays[2], x + y.astype(x.dtype))
            np.testing.assert_array_equal(arrays[3], x < y.astype(x.dtype))
            np.testing.assert_array_equal(arrays[4], y)


@pytest.mark.parametrize("many", FLOATS)
@pytest.mark.parametrize("name", ["exp", "log", "erf"])
def test_functions_in_registers_of_another_width(name: str, many: str) -> None:
    """The type that most values have decides on the lanes: half a register of the other type, or two."""

    def compute(k: Builder, x: Value, y: Value) -> list[Value]:
        most = x if many == "f32" else y
        for _ in range(8):
            most = k.add(most, k.mul(most, most))
        return [k.op(name, x), k.op(name, y), most]

    width = native_vector_bytes()
    x, y = (np.random.default_rng(0).uniform(0.01, 6, 77).astype(t) for t in ("f4", "f8"))
    together = [x, y, np.empty_like(x), np.empty_like(y), np.empty_like(x if many == "f32" else y)]
    assert compiled(elementwise(["f32", "f64"], ["f32", "f64", many], compute), width)(together, 0, 77)[0] == 0
    for type, operand, got in (("f32", x, together[2]), ("f64", y, together[3])):
        alone = [operand, np.empty_like(operand)]
        compiled(elementwise([type], [type], lambda k, v: [k.op(name, v)]), width)(alone, 0, 77)
        np.testing.assert_array_equal(got, alone[1])


@pytest.mark.parametrize("width", WIDTHS)
def test_a_part_of_the_axis_writes_that_part_only(width: int) -> None:
    kernel = elementwise(["f32"], ["f32"], lambda k, x: [k.mul(x, x)])
    run = compiled(kernel, width)
    x = numbers("f32", 100)
    for begin, end in itertools.product(range(0, 100, 7), range(0, 101, 9)):
        out = np.full(100, -1, np.float32)
        assert run([x, out], begin, end)[0] == 0
        expected = np.full(100, -1, np.float32)
        expected[begin:end] = x[begin:end] ** 2
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("n", range(18))
def test_known_extents(n: int, width: int) -> None:
    k = Builder()
    x, o, total = k.buffer("f32", "in"), k.buffer("f32", "out"), k.buffer("f32", "out")
    with k.serial(k.begin, k.end) as row:
        first = k.mul(row, k.const(n, "i64"))
        acc = k.accumulator("add", k.const(0, "f32"))
        with k.vector(k.const(0, "i64"), k.const(n, "i64")) as j:
            value = k.load(x, k.add(first, j))
            k.store(o, k.add(first, j), k.op("neg", value))
            k.update(acc, value)
        k.store(total, row, k.read(acc))
    run = compiled(k.finish(), width)
    a = np.arange(5 * n, dtype=np.float32)
    for arrays in guarded(a, 0 * a, np.zeros(5, np.float32)):
        assert run(arrays, 0, 5)[0] == 0
        np.testing.assert_array_equal(arrays[1], -a)
        np.testing.assert_array_equal(arrays[2], a.reshape(5, n).sum(axis=1))


def large_body(k: Builder, x: Value) -> Value:
    """128 / (x + 64) by Newton's method: enough work for one body that does whole vectors and the rest."""
    divisor, two, y = k.add(x, k.const(64, x.type)), k.const(2, x.type), k.const(0.01, x.type)
    for _ in range(16):
        y = k.mul(y, k.sub(two, k.mul(divisor, y)))
    return k.mul(k.const(128, x.type), y)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("type", FLOATS)
def test_large_bodies(type: str, width: int) -> None:
    """In place, with narrow operands, reductions and a check."""
    k = Builder()
    x, flag, o = k.buffer(type, "in"), k.buffer("bool", "in"), k.buffer(type, "out")
    flags, totals = k.buffer("bool", "out"), k.buffer(type, "out")
    start = k.const(3, type)
    total, largest = k.accumulator("add", start), k.accumulator("max", start)
    with k.vector(k.begin, k.end) as i:
        value, other = large_body(k, k.load(x, i)), k.load(flag, i)
        k.check(k.op("lt", value, k.const(1000, type)), i, k.const(5, "i64"))
        k.update(total, k.select(other, value, start))
        k.update(largest, value)
        k.store(o, i, value)
        k.store(flags, i, k.op("xor", other, k.op("lt", value, start)))
    k.store(totals, k.const(0, "i64"), k.read(total))
    k.store(totals, k.const(1, "i64"), k.read(largest))
    kernel = k.finish()
    assert ("whole:" in render(kernel, width)) == (width > 16)
    run = compiled(kernel, width)
    near = {"rtol": 1e-5 if type == "f32" else 1e-13}
    spare = Memory()
    for n in range(4 * width // size_of(type) + 2):
        a, b = numbers(type, n, 1), numbers("bool", n, 2)
        expected = 128 / (a + 64)
        for at_end, (y, z, totals_) in zip((True, False), guarded(a, b, np.zeros(2, a.dtype)), strict=True):
            flags_ = spare.copy(np.zeros(n, bool), at_end)
            assert run([y, z, y, flags_, totals_], 0, n) == (0, 0, 0)
            np.testing.assert_allclose(y, expected, **near)
            np.testing.assert_array_equal(flags_, b ^ (y < 3))
            np.testing.assert_allclose(totals_[0], 3 + np.where(b, expected, 3).sum(), **near)
            np.testing.assert_allclose(totals_[1], max([3, *expected]), **near)
    for place in range(40):
        a = numbers(type, 40)
        a[place:] = np.nan  # which is not below 1000
        out = np.zeros(40, bool)
        assert run([a, out, a.copy(), out.copy(), np.zeros(2, a.dtype)], 0, 40) == (1, place, 5)


# ------------------------------------------------------------------------------------------------------------ memory


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("type", ["bool", "u8", "i16", "f32", "f64"])
@pytest.mark.parametrize("stride", [-3, -1, 2, 3, 5])
def test_strides(stride: int, type: str, width: int) -> None:
    k = Builder()
    x, back, gap = k.buffer(type, "in"), k.buffer(type, "out"), k.buffer("i64", "in")
    with k.vector(k.begin, k.end) as i:
        there = k.affine([(i, k.const(stride, "i64"))], k.load(gap, k.const(0, "i64")))
        k.store(back, there, k.load(x, there))
    run = compiled(k.finish(), width)
    for n in range(1, 40):
        size = (n - 1) * abs(stride) + 1
        start = 0 if stride > 0 else size - 1
        a = numbers(type, size)
        for arrays in guarded(a, np.zeros(size, a.dtype), np.array([start])):
            assert run(arrays, 0, n)[0] == 0
            expected = np.zeros(size, a.dtype)
            expected[:: abs(stride)] = a[:: abs(stride)]
            np.testing.assert_array_equal(arrays[1], expected)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("type", ["bool", "i8", "u16", "i32", "f32", "f64"])
def test_masked_lanes_touch_no_memory(type: str, width: int) -> None:
    """A window of a longer loop: outside of it, indices point far beyond both ends of the operands."""
    k = Builder()
    x, o, window = k.buffer(type, "in"), k.buffer(type, "out"), k.buffer("i64", "in")
    low, high = k.load(window, k.const(0, "i64")), k.load(window, k.const(1, "i64"))
    with k.vector(k.begin, k.end) as i:
        inside = k.op("and", k.op("ge", i, low), k.op("lt", i, high))
        far = k.mul(k.sub(i, low), k.const(1, "i64"))
        value = k.load(x, far, inside, k.const(1, type))
        k.store(o, far, k.op("max", value, value), inside)
    run = compiled(k.finish(), width)
    for n, length in itertools.product((1, 5, 8, 20, 67, 130), (0, 1, 7, 33)):
        for begin in (-length, -2, 0, 3, n - length, n - 1):
            a = numbers(type, length)
            seen = range(max(0, -begin), max(0, min(length, n - begin)))
            for arrays in guarded(a, np.zeros(length, a.dtype), np.array([begin, begin + length])):
                assert run(arrays, 0, n)[0] == 0
                expected = np.zeros(length, a.dtype)
                expected[list(seen)] = a[list(seen)]
                np.testing.assert_array_equal(arrays[1], expected)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("type", ["bool", "i16", "f32", "f64"])
def test_gather_and_scatter(type: str, width: int) -> None:
    k = Builder()
    x, where, o, wanted = k.buffer(type, "in"), k.buffer("i64", "in"), k.buffer(type, "out"), k.buffer("bool", "in")
    with k.vector(k.begin, k.end) as i:
        index, mask = k.load(where, i), k.load(wanted, i)
        k.store(o, index, k.load(x, index, mask, k.const(0, type)), mask)
    run = compiled(k.finish(), width)
    rng = np.random.default_rng(0)
    for n in range(0, 70, 3):
        a, mask = numbers(type, n), rng.random(n) < 0.7
        index = np.where(mask, rng.permutation(n), 1 << 40)  # nothing is there
        for arrays in guarded(a, index, np.zeros(n, a.dtype), mask):
            assert run(arrays, 0, n)[0] == 0
            expected = np.zeros(n, a.dtype)
            expected[index[mask]] = a[index[mask]]
            np.testing.assert_array_equal(arrays[2], expected)


@pytest.mark.parametrize("width", WIDTHS)
def test_in_place(width: int) -> None:
    run = compiled(elementwise(["i32", "i32"], ["i32"], lambda k, x, y: [k.sub(k.add(x, x), y)]), width)
    for n in range(70):
        x, y = numbers("i32", n, 1), numbers("i32", n, 2)
        for a, b in guarded(x, y):
            assert run([a, b, a], 0, n)[0] == 0
            np.testing.assert_array_equal(a, 2 * x - y)


# -------------------------------------------------------------------------------------------------------- reductions


def reduction(kind: str, type: str, start: Any) -> Kernel:
    k = Builder()
    x, o = k.buffer(type, "in"), k.buffer(type, "out")
    acc = k.accumulator(kind, k.const(start, type))
    with k.vector(k.begin, k.end) as i:
        k.update(acc, k.load(x, i))
    k.store(o, k.const(0, "i64"), k.read(acc))
    return k.finish()


NUMPY = {
    "add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum, "and": np.bitwise_and, "or": np.bitwise_or,
}  # fmt: skip


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    "kind, type",
    [
        *[(kind, type) for kind in ("add", "mul", "max", "min") for type in (*FLOATS, *INTEGERS)],
        *[(kind, type) for kind in ("and", "or") for type in ("bool", "i8", "u32", "i64")],
    ],
)
def test_reductions_of_every_length(kind: str, type: str, width: int) -> None:
    start = {"max": -3, "min": 5}.get(kind, 1) if type not in ("u8", "u16", "u32", "u64") else 1
    run = compiled(reduction(kind, type, start), width)
    lanes = width // size_of(type)
    for n in sorted({*range(2 * lanes + 2), *range(2 * lanes, 8 * lanes + 2, 7)}):
        a = numbers(type, n)
        expected = NUMPY[kind].reduce(a, initial=dtype_of(type).type(start), dtype=a.dtype)
        for arrays in guarded(a, np.zeros(1, a.dtype)):
            assert run(arrays, 0, n)[0] == 0
            if type in FLOATS:
                scale = np.abs(a).sum() if kind == "add" else abs(expected)
                assert abs(arrays[1][0] - expected) <= 4 * n * np.finfo(a.dtype).eps * scale
            else:
                assert arrays[1][0] == expected


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("type", FLOATS)
@pytest.mark.parametrize("kind", ["max", "min"])
def test_a_nan_wins_wherever_it_is(kind: str, type: str, width: int) -> None:
    run = compiled(reduction(kind, type, 0), width)
    for n in (1, 7, 37, 70):
        for place in range(n):
            a = np.arange(n, dtype=dtype_of(type))
            a[place] = np.nan
            out = np.zeros(1, a.dtype)
            run([a, out], 0, n)
            assert np.isnan(out[0])


@pytest.mark.parametrize("width", WIDTHS)
def test_a_sum_of_negative_zeros_is_one(width: int) -> None:
    run = compiled(reduction("add", "f32", -0.0), width)
    for n in (0, 1, 5, 40):
        out = np.ones(1, np.float32)
        run([np.full(n, -0.0, np.float32), out], 0, n)
        assert out[0] == 0 and np.signbit(out[0])


# ------------------------------------------------------------------------------------------------------------ checks


@pytest.mark.parametrize("width", WIDTHS)
def test_a_check_tells_of_the_first_iteration_that_fails(width: int) -> None:
    k = Builder()
    x, where, o = k.buffer("f32", "in"), k.buffer("i64", "in"), k.buffer("f32", "out")
    size = k.dim(1000)
    with k.vector(k.begin, k.end) as i:
        index = k.load(where, i)
        k.check(k.op("and", k.op("ge", index, k.const(0, "i64")), k.op("lt", index, size)), index, size)
        k.store(o, i, k.load(x, index))
    run = compiled(k.finish(), width)
    a = numbers("f32", 50)
    for n in range(1, 45):
        index = np.arange(n) % 50
        for arrays in guarded(a, index, np.zeros(n, np.float32)):
            assert run(arrays, 0, n, 50) == (0, 0, 0)
            np.testing.assert_array_equal(arrays[2], a[index])
        for place in range(0, n, 3):
            wrong = index.copy()
            wrong[place], wrong[-1] = -7 - place, min(wrong[-1], -7 - place)
            for arrays in guarded(a, wrong, np.zeros(n, np.float32)):
                assert run(arrays, 0, n, 50) == (1, wrong[place], 50)


# -------------------------------------------------------------------------------------------------------------- text


def test_the_text_of_a_kernel_is_always_the_same() -> None:
    texts = {render(elementwise(["f32", "bool"], ["f32"], lambda k, x, y: [k.select(y, x, x)])) for _ in range(3)}
    assert len(texts) == 1


def test_a_module_holds_several_kernels() -> None:
    kernels = [
        elementwise(["f32"], ["f32"], lambda k, x: [k.op("sqrt", x)]),
        elementwise(["f64"], ["f64"], lambda k, x: [k.op("sqrt", x)]),
    ]
    names = [kernel.name for kernel in kernels]
    addresses = load_object(compile_text(module(kernels)), names)
    assert len(set(addresses.values())) == 2


def test_neighbours_are_loaded_as_vectors_and_uniform_values_stay_scalars() -> None:
    k = Builder()
    x, y, o = k.buffer("f32", "in"), k.buffer("f32", "in"), k.buffer("f32", "out")
    with k.serial(k.begin, k.end) as row, k.vector(k.const(0, "i64"), k.dim(100)) as j:
        at = k.add(k.mul(row, k.dim(100)), j)
        k.store(o, at, k.mul(k.load(x, at), k.load(y, row)))
    text = render(k.finish())
    assert "load <16 x float>, ptr" in text
    assert text.count("= load float, ptr") == 1  # y[row], once a row
    assert "i64>" not in text  # no vector of indices


def test_machines_without_masked_instructions_get_none() -> None:
    kernel = elementwise(["f32"], ["f32"], lambda k, x: [k.op("abs", x)])
    assert "masked" in render(kernel, 32)
    assert "masked" not in render(kernel, 16)


def test_constants_of_large_formulas_are_whole_vectors_in_memory() -> None:
    """For 32-byte registers only, and of the widest loop; a small formula keeps them in registers."""
    large = elementwise(["f32"], ["f32"], lambda k, x: [k.op("log", x)])
    text = render(large, 32)
    assert re.search(rf"@{large.name}\.0 = internal global <\d+ x float> splat \(float 0x[0-9A-F]+\), align 64", text)
    assert "internal global" not in render(large, 16) + render(large, 64)
    small = elementwise(["f32"], ["f32"], lambda k, x: [k.op("exp2", x)])
    assert "internal global" not in render(small, 32)
