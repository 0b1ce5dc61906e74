"""The native language: every construct gives what Python gives for the same source, and C where it says so."""

import ctypes
import functools
import math
import random
import threading

import numpy as np
import pytest

from fgrad.compile.native.language import (
    Module,
    address_of,
    atomic_add,
    atomic_cas,
    atomic_load,
    atomic_store,
    bits_f32,
    bits_f64,
    call,
    extern,
    f32,
    f64,
    i32,
    i64,
    load_f32,
    load_f64,
    load_i8,
    load_i32,
    load_i64,
    memcpy,
    memset,
    native,
    pause,
    stack,
    store_f32,
    store_f64,
    store_i8,
    store_i32,
    store_i64,
)

llvm = pytest.importorskip("llvmlite.binding")
CTYPES = {"i64": ctypes.c_int64, "i32": ctypes.c_int32, "f64": ctypes.c_double, "f32": ctypes.c_float, "void": None}
LIMIT = 40
RATIO = 2.5
labs = extern("i64 labs(i64)")
strlen = extern("i64 strlen(i64 text)")
pow_ = extern("f64 pow(f64, f64)")
engines = []


@functools.cache
def machine():
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine()


def compiled(*functions):
    """The functions as ctypes functions; the last one, if asked for one."""
    module = Module(functions)
    parsed = llvm.parse_assembly(module.text)
    parsed.verify()
    builder = llvm.create_pass_builder(machine(), llvm.create_pipeline_tuning_options(speed_level=1))
    builder.getModulePassManager().run(parsed, builder)
    engine = llvm.create_mcjit_compiler(parsed, llvm.Target.from_default_triple().create_target_machine())
    engine.finalize_object()
    engines.append(engine)
    result = []
    for function in functions:
        types = [CTYPES[t] for t in (function.signature.result, *function.signature.parameters)]
        result.append(ctypes.CFUNCTYPE(*types)(engine.get_function_address(module.symbol(function))))
    return result[0] if len(result) == 1 else result


def python(function):
    """The same source, run by Python."""
    return function.function


@native("i64(i64 a, i64 b)")
def integers(a, b):
    """Arithmetic on non-negative operands, with precedence."""
    c = (a + b * 3) - (a // (b + 1)) * 2 + (a % (b + 7))
    c ^= a << 3
    c |= b >> 1
    c &= 0xFFFFFF
    c -= -a
    return c + LIMIT * 2


@native("f64(f64 a, f64 b)")
def floats(a, b):
    c = a * b - a / (b + 1.5) + RATIO
    if a < b:
        c = -c
    c += 1
    return c


@native("i64(i64 a, i64 b, i64 c)")
def logic(a, b, c):
    result = 0
    if a < b and b < c:
        result = 1
    elif a == b or (not c and a > 3):
        result = 2
    elif 0 <= c < 5:
        result = 3
    else:
        result = 4 if a != c else 5
    result += 10 * (100 if a >= b >= c else 200 if a <= c else 300)
    less = a < b
    return result + less


@native("i64(i64 n)")
def loops(n):
    total = 0
    for i in range(n):
        if i % 7 == 3:
            continue
        if i > 50:
            break
        for j in range(i, n, 3):
            total += i * j
    for i in range(n, -1, -2):
        total += i
    k = n
    while k > 0:
        k -= 3
        if k == 13:
            continue
        total += k
    while True:
        total += 1
        if total % 5 == 0:
            break
    for i in range(3, n):
        i += 1
        total += i
    return total


@native("i64(i64 n)")
def fibonacci(n):
    if n < 2:
        return n
    return fibonacci(n - 1) + fibonacci(n - 2)


@pytest.mark.parametrize("function", [integers, logic, loops], ids=lambda f: f.name)
def test_integer_programs_as_python(function):
    run, draw = compiled(function), random.Random(0)
    for _ in range(60):
        arguments = [draw.randrange(0, 20) for _ in function.signature.parameters]
        assert run(*arguments) == python(function)(*arguments), arguments


def test_recursion_and_calls_among_functions():
    @native("i64(i64 n)")
    def twice(n):
        return 2 * fibonacci(n)

    assert compiled(twice)(10) == 110
    assert Module([twice]).text.count("define internal") == 1


def test_float_programs_as_python():
    run, draw = compiled(floats), random.Random(1)
    for _ in range(60):
        a, b = draw.uniform(-9, 9), draw.uniform(0, 9)
        assert run(a, b) == python(floats)(a, b)


@native("i64(f64 a, f64 b)")
def orders(a, b):
    return (a < b) + 2 * (a <= b) + 4 * (a == b) + 8 * (a != b) + 16 * (a > b) + 32 * (a >= b)


def test_comparisons_of_floats_with_nan_are_those_of_ieee():
    run = compiled(orders)
    for a in (0.0, -0.0, 1.0, math.inf, math.nan):
        for b in (0.0, 1.0, math.nan):
            assert run(a, b) == python(orders)(a, b)


def test_integers_wrap_and_divide_as_in_c():
    @native("i64(i64 a, i64 b)")
    def wrap(a, b):
        return a * b

    @native("i64(i64 a, i64 b)")
    def quotient(a, b):
        return (a // b) * 1000 + a % b

    @native("i64(i64 a)")
    def shifted(a):
        return a >> 2

    multiply, divide, shift = compiled(wrap, quotient, shifted)
    assert multiply(2**62, 3) == int(np.multiply(np.int64(2**62), np.int64(3)))
    assert divide(-7, 2) == int(math.fmod(-7, 2)) + 1000 * int(-7 / 2)
    assert shift(-9) == -9 >> 2


def test_memory_of_every_type():
    @native("void(i64 to, i64 source)")
    def copies(to, source):
        store_i64(to, load_i64(source) + 1)
        store_i32(to + 8, load_i32(source + 8) + 1)
        store_i8(to + 12, load_i8(source + 12) + 1)
        store_f32(to + 16, load_f32(source + 16) * 2.0)
        store_f64(to + 24, load_f64(source + 24) * 2.0)
        memcpy(to + 32, source + 32, 7)
        memset(to + 39, 0xAB, 1)
        return

    fields = [("q", "i8"), ("i", "i4"), ("b", "u1"), ("pad", "u1", 3), ("f", "f4"), ("pad2", "u1", 4), ("d", "f8")]
    dtype = np.dtype([*fields, ("bytes", "u1", 8)])
    source, to = np.zeros(1, dtype), np.zeros(1, dtype)
    source[0] = (-5, -6, 200, 0, 1.25, 0, 0.1, range(8))
    compiled(copies)(to.ctypes.data, source.ctypes.data)
    got = to[0]
    assert (got["q"], got["i"], got["b"], got["f"], got["d"]) == (-4, -5, 201, 2.5, 0.2)
    assert got["bytes"].tolist() == [0, 1, 2, 3, 4, 5, 6, 0xAB]


def test_conversions_and_bits():
    @native("i64(f64 x)")
    def truncated(x):
        return i64(x)

    @native("f32(i64 x, i32 y, f64 z)")
    def sums(x, y, z):
        return f32(x) + f32(y) + f32(z) + f32(i64(y)) + f32(i32(x)) + 0.1

    @native("f64(i64 x)")
    def bits(x):
        return bits_f64(x) + f64(bits_f32(x))

    @native("i64(i64 x)")
    def low(x):
        return i64(i32(x))

    truncate, add, from_bits, narrow = compiled(truncated, sums, bits, low)
    assert [truncate(v) for v in (1.9, -1.9, 0.0)] == [1, -1, 0]
    assert add(3, -4, 0.5) == np.float32(3) + np.float32(-4) + np.float32(0.5) + np.float32(-1) + np.float32(0.1)
    word = np.float64(1.75).view(np.int64) | np.int64(np.float32(2.5).view(np.int32))
    assert from_bits(int(word)) == np.int64(word).view(np.float64) + float(np.float32(2.5))
    assert narrow(2**32 + 5) == 5 and narrow(2**31) == -(2**31)


def test_special_literals():
    @native("f32(f32 x)")
    def third(x):
        return x + 0.3333333333333333

    @native("f64()")
    def tiny():
        return 5e-324

    add, least = compiled(third, tiny)
    assert add(0.0) == np.float32(1 / 3)
    assert least() == 5e-324


def test_c_functions_pointers_and_the_stack():
    @native("i64(i64 word)")
    def text_length(word):
        text = stack(16)
        store_i64(text, word)
        store_i64(text + 8, 0)
        return strlen(text) + labs(-7)

    @native("f64(f64 x)")
    def indirect(x):
        return call(address_of(pow_), "f64(f64,f64)", x, 3.0) + f64(call(address_of(fibonacci), "i64(i64)", 10))

    length, power = compiled(text_length, indirect)
    assert length(int.from_bytes(b"abc", "little")) == 10
    assert power(2.0) == 63.0


def test_a_callback_of_python():
    @native("f32(i64 address, f32 x)")
    def through(address, x):
        return call(address, "f32(i32, f32)", 3, x)

    callback = ctypes.CFUNCTYPE(ctypes.c_float, ctypes.c_int32, ctypes.c_float)(lambda n, x: n * x)
    assert compiled(through)(ctypes.cast(callback, ctypes.c_void_p).value, 1.5) == 4.5


def test_atomics_among_threads():
    @native("void(i64 counter, i64 n)")
    def count(counter, n):
        for i in range(n):
            atomic_add(counter, i - i + 1)
            while True:
                seen = atomic_load(counter + 8)
                if atomic_cas(counter + 8, seen, seen + 2) == seen:
                    break
                pause()
        atomic_store(counter + 16, 7)

    words, run = np.zeros(3, np.int64), compiled(count)
    threads = [threading.Thread(target=run, args=(words.ctypes.data, 20_000)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert words.tolist() == [80_000, 160_000, 7]


def test_cold_functions_give_the_same():
    @native("i64(i64 a, i64 b, i64 c)", cold=True)
    def cold_logic(a, b, c):
        return logic(a, b, c) if a < 10 else loops(b)

    run = compiled(cold_logic)
    assert run(1, 2, 3) == python(logic)(1, 2, 3) and run(10, 20, 0) == python(loops)(20)
    assert "optnone" in Module([cold_logic]).text


def test_a_condition_that_is_a_number_of_the_module_chooses_what_is_translated():
    for flag in (True, False):

        @native("i64(i64 a)")
        def chosen(a):
            if flag:  # noqa: B023
                return a + 1
            else:
                return labs(a)

        assert ("labs" in Module([chosen]).text) == (not flag)
        assert compiled(chosen)(-5) == (-4 if flag else 5)


def refused(function):
    with pytest.raises(SyntaxError) as caught:
        _ = Module([function]).text
    assert caught.value.filename == __file__ and caught.value.text.strip()
    return f"{caught.value.msg} | {caught.value.text.strip()}"


def test_what_the_language_lacks_is_named_with_its_line():
    @native("i64(i64 a)")
    def unknown(a):
        return a + nothing  # noqa: F821

    @native("i64(i64 a)")
    def python_call(a):
        return len(a)

    @native("i64(i64 a, f64 b)")
    def mixed(a, b):
        return a + b

    @native("i64(i64 a)")
    def retyped(a):
        a = 1.5
        return a

    @native("i64(i64 a)")
    def open_end(a):
        if a:
            return 1

    @native("i64(i64 a)")
    def dead(a):
        return a
        a = 1

    @native("i64(i64 a)")
    def listed(a):
        return [a]

    @native("void(i64 a)")
    def early(a):
        if a:
            b = 1
        return b

    @native("i64(f64 a)")
    def divided(a):
        return i64(a // 2.0)

    @native("i64(i64 a)")
    def many(a):
        return labs(a, a)

    functions = [unknown, python_call, mixed, retyped, open_end, dead, listed, early, divided, many]
    assert [refused(f) for f in functions] == [
        "'nothing' has no value here | return a + nothing  # noqa: F821",
        "len is no function of the native language | return len(a)",
        "f64 where i64 is wanted | return a + b",
        "a number with a fraction where i64 is wanted | a = 1.5",
        "open_end may end without a return | def open_end(a):",
        "this line is never reached | a = 1",
        "no expression of the native language: List | return [a]",
        "early returns void | return b",
        "no operator of the native language on f64: FloorDiv | return i64(a // 2.0)",
        "labs takes 1 arguments, got 2 | return labs(a, a)",
    ]


def test_a_bad_signature():
    with pytest.raises(ValueError, match=r"no type of the native language: 'int' in 'int f\(\)'"):
        extern("int f()")
    with pytest.raises(ValueError, match="no signature of the form"):
        native("i64")


def test_the_key_depends_on_constants_callees_and_code_only():
    def module(constant, body):
        limit = constant

        @native("i64(i64 a)")
        def inner(a):
            return a + limit

        if body:

            @native("i64(i64 a)")
            def outer(a):
                return inner(a)
        else:

            @native("i64(i64 a)")
            def outer(a):
                return inner(a + 1)

        return Module([outer])

    first = module(1, True)
    assert first.key == module(1, True).key
    assert len({first.key, module(2, True).key, module(1, False).key, module(2, False).key}) == 4
    assert first.symbols == (f"fgrad_{first.key}_outer",)
