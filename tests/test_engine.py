"""fgrad.compile.engine: LLVM assembly to machine code that runs in this process."""

import ctypes
import math
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from fgrad.compile import engine
from fgrad.compile.engine import CompileError

SCALE = """
define i32 @{name}(ptr %call, ptr %operands, ptr %dims, i64 %begin, i64 %end) {{
entry:
  %slot = alloca i64
  store i64 %begin, ptr %slot
  %x = load ptr, ptr %operands
  %second = getelementptr ptr, ptr %operands, i64 1
  %y = load ptr, ptr %second
  br label %head
head:
  %i = load i64, ptr %slot
  %more = icmp slt i64 %i, %end
  br i1 %more, label %body, label %exit
body:
  %px = getelementptr double, ptr %x, i64 %i
  %v = load double, ptr %px
  %w = fmul double %v, {factor}
  %py = getelementptr double, ptr %y, i64 %i
  store double %w, ptr %py
  %next = add i64 %i, 1
  store i64 %next, ptr %slot
  br label %head
exit:
  ret i32 0
}}
"""
THUNK = ctypes.CFUNCTYPE(
    ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64
)


def scale(address: int, x: np.ndarray) -> np.ndarray:
    y = np.full_like(x, np.nan)
    operands = (ctypes.c_void_p * 2)(x.ctypes.data, y.ctypes.data)
    assert THUNK(address)(None, ctypes.addressof(operands), None, 0, x.size) == 0
    return y


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_a_kernel_runs_at_every_level(level):
    x = np.array([1.0, -0.0, np.inf, np.nan, 5e-324, 1e308, -3.5])
    image = engine.compile_text(SCALE.format(name=f"scale{level}", factor="3.0"), level)
    address = engine.load_object(image, [f"scale{level}"])[f"scale{level}"]
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(scale(address, x), x * 3.0)
    assert scale(address, np.empty(0)).size == 0


def test_vectors_wider_than_the_machines():
    image = engine.compile_text(
        """
        define void @wide(ptr %x) {
          %v = load <64 x float>, ptr %x, align 4
          %w = fadd <64 x float> %v, splat (float 1.0)
          store <64 x float> %w, ptr %x, align 4
          ret void
        }"""
    )
    x = np.arange(64, dtype=np.float32)
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(engine.load_object(image, ["wide"])["wide"])(x.ctypes.data)
    np.testing.assert_array_equal(x, np.arange(1, 65, dtype=np.float32))


def test_symbols_of_the_process():
    image = engine.compile_text(
        """
        declare double @lgamma(double)
        declare ptr @pthread_self()
        declare i32 @PyErr_CheckSignals()
        define double @f(double %x) {
          %y = call double @lgamma(double %x)
          ret double %y
        }
        define i32 @g() {
          %thread = call ptr @pthread_self()
          %signal = call i32 @PyErr_CheckSignals()
          ret i32 %signal
        }"""
    )
    found = engine.load_object(image, ["f", "g"])
    assert ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(found["f"])(7.5) == pytest.approx(math.lgamma(7.5))
    assert ctypes.PYFUNCTYPE(ctypes.c_int)(found["g"])() == 0


def test_the_same_name_in_two_objects():
    images = [engine.compile_text(SCALE.format(name="same", factor=factor)) for factor in ("2.0", "5.0")]
    first, second = (engine.load_object(image, ["same"])["same"] for image in images)
    x = np.linspace(-1, 1, 11)
    np.testing.assert_array_equal(scale(first, x), x * 2)
    np.testing.assert_array_equal(scale(second, x), x * 5)


def test_names_of_a_target():
    assert engine.target() == engine.target()
    assert "LLVM" in engine.target() and "\n" not in engine.target()
    assert engine.native_vector_bytes() in (16, 32, 64)


@pytest.mark.parametrize(
    "text, what",
    [
        ("define i32 @f( {", "LLVM cannot read the assembly"),
        ("define i32 @f(i64 %x) { ret i64 %x }", "value doesn't match function result type 'i32'"),
        ("define void @f() { call void @absent()\n ret void }", "use of undefined value '@absent'"),
        (
            "define i32 @f() {\n %x = add i32 %y, 1\n %y = add i32 1, 1\n ret i32 %y }",
            "LLVM finds the assembly invalid\n  at:  .*test_engine.py.*\n  got: Instruction does not dominate all uses",
        ),
    ],
)
def test_a_bad_text_raises(text, what):
    with pytest.raises(CompileError, match=what):
        engine.compile_text(text)


def test_a_missing_symbol_raises(capfd):
    image = engine.compile_text(
        "declare void @no_such_thing()\ndefine void @f() { call void @no_such_thing()\n ret void }"
    )
    with pytest.raises(CompileError, match="LLVM cannot load an object file") as error:
        engine.load_object(image, ["f"])
    assert error.value.names == ("f",)
    with pytest.raises(CompileError, match="g"):
        engine.load_object(engine.compile_text("define void @f() { ret void }"), ["g"])
    assert capfd.readouterr() == ("", "")


def test_a_bad_image_raises():
    image = engine.compile_text(SCALE.format(name="whole", factor="2.0"))
    for bad in (b"", b"no object file" * 40, image[: len(image) // 2]):
        with pytest.raises(CompileError, match="LLVM cannot load an object file"):
            engine.load_object(bad, ["whole"])


def test_several_texts_at_once():
    texts = [SCALE.format(name=f"many{k}", factor=f"{k}.0") for k in range(7)]
    found = engine.load_objects(engine.compile_texts(texts), [f"many{k}" for k in range(7)])
    x = np.linspace(-2, 2, 9)
    for k in range(7):
        np.testing.assert_array_equal(scale(found[f"many{k}"], x), x * k)
    assert engine.compile_texts([]) == []
    with pytest.raises(CompileError, match="LLVM cannot read the assembly"):
        engine.compile_texts([*texts, "define nonsense"])


def test_the_same_text_gives_the_same_image():
    text = SCALE.format(name="stable", factor="2.5")
    assert engine.compile_texts([text] * 3) == [engine.compile_text(text)] * 3


def test_several_threads():
    x = np.linspace(-2, 2, 9)
    results = {}

    def work(k):
        name = f"thread{k}"
        image = engine.compile_text(SCALE.format(name=name, factor=f"{k}.0"))
        results[k] = scale(engine.load_object(image, [name])[name], x)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k in range(6):
        np.testing.assert_array_equal(results[k], x * k)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_fork_while_another_thread_compiles():
    engine.warm_up()
    stop = threading.Event()

    def work():
        while not stop.is_set():
            engine.compile_text(SCALE.format(name="busy", factor="2.0"))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(3):
            child = os.fork()
            if child == 0:
                x = np.ones(3)
                images = engine.compile_texts([SCALE.format(name=f"child{k}", factor="4.0") for k in range(2)])
                found = engine.load_objects(images, ["child0", "child1"])
                os._exit(int(not all((scale(address, x) == 4).all() for address in found.values())))
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        stop.set()
        thread.join()


def test_the_functions_are_called_as_llvmlite_calls_them():
    assert engine.differing_signatures() == []


def test_nothing_is_loaded_before_it_is_needed():
    program = (
        "import sys, fgrad.cache, fgrad.compile.cache\n"
        "assert not [name for name in sys.modules if name.split('.')[0] in ('llvmlite', 'numba')]\n"
        "fgrad.compile.engine.warm_up()\n"
        "assert 'llvmlite.binding' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
