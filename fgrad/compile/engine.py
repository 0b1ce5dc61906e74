"""LLVM assembly in, machine code out: a thin layer over the shared library that llvmlite ships.

    image = compile_text(text)                  # an optimised object file, bytes
    addresses = load_object(image, names)       # its functions, executable in this process

The functions are called through a handle of our own, not through `llvmlite.binding`: that package takes one lock around
every call (two modules could not compile on two cores) and takes 30 ms to import, where the library itself takes 7.
Every compilation has its own LLVM context and target machine, as LLVM asks of concurrent use.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ctypes import POINTER, byref, c_bool, c_char_p, c_int, c_size_t, c_uint8, c_uint64, c_void_p
from typing import Any

from ..core.errors import FgradError, message


class CompileError(FgradError, RuntimeError):
    """LLVM refused a text or an object file; `names` are the kernels concerned, as far as they are known."""

    def __init__(self, text: str, names: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.names = tuple(names)


class _Element(ctypes.Structure):
    _fields_ = (("kind", c_uint8), ("value", c_char_p), ("length", c_size_t))


class _Symbol(ctypes.Structure):
    _fields_ = (("name", c_char_p), ("address", c_uint64))


_OBJECT, _LIBRARY = 2, 3  # kinds of _Element; a library with an empty name is this process
_TEXT = POINTER(c_void_p)  # receives a string that the library owns, or stays null
_ELEMENTS, _SYMBOLS = POINTER(_Element), POINTER(_Symbol)

_KNOWN_VERSION = "0.50."  # of llvmlite; others are compared with what their own Python layer declares

# Result and arguments of the functions called, each of which is named LLVMPY_...; c_void_p: LLVM's opaque references.
_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "GetVersionInfo": (ctypes.c_uint, ()),
    "InitializeNativeTarget": (None, ()),
    "InitializeNativeAsmPrinter": (None, ()),
    "GetDefaultTargetTriple": (None, (_TEXT,)),
    "GetHostCPUName": (None, (_TEXT,)),
    "GetHostCPUFeatures": (c_int, (_TEXT,)),
    "GetTargetFromTriple": (c_void_p, (c_char_p, _TEXT)),
    "CreateTargetMachine": (
        c_void_p,
        (c_void_p, c_char_p, c_char_p, c_char_p, c_int, c_char_p, c_char_p, c_int, c_int, c_char_p),
    ),
    "DisposeTargetMachine": (None, (c_void_p,)),
    "DisposeString": (None, (c_void_p,)),
    "ContextCreate": (c_void_p, ()),
    "ContextDispose": (None, (c_void_p,)),
    "ParseAssembly": (c_void_p, (c_void_p, c_char_p, _TEXT)),
    "VerifyModule": (c_bool, (c_void_p, _TEXT)),
    "DisposeModule": (None, (c_void_p,)),
    "CreatePipelineTuningOptions": (c_void_p, ()),
    "DisposePipelineTuningOptions": (None, (c_void_p,)),
    "PTOSetLoopVectorization": (None, (c_void_p, c_bool)),
    "PTOSetSLPVectorization": (None, (c_void_p, c_bool)),
    "CreatePassBuilder": (c_void_p, (c_void_p, c_void_p)),
    "DisposePassBuilder": (None, (c_void_p,)),
    "buildPerModuleDefaultPipeline": (c_void_p, (c_void_p, c_int)),
    "CreateNewModulePassManager": (c_void_p, ()),
    "module_AddSROAPass": (None, (c_void_p,)),
    "module_AddSimplifyCFGPass": (None, (c_void_p,)),
    "RunNewModulePassManager": (None, (c_void_p, c_void_p, c_void_p)),
    "DisposeNewModulePassManger": (None, (c_void_p,)),
    "TargetMachineEmitToMemory": (c_void_p, (c_void_p, c_void_p, c_int, _TEXT)),
    "GetBufferStart": (c_void_p, (c_void_p,)),
    "GetBufferSize": (c_size_t, (c_void_p,)),
    "DisposeMemoryBuffer": (None, (c_void_p,)),
    "CreateLLJITCompiler": (c_void_p, (c_void_p, c_bool, c_bool, _TEXT)),
    "LLJIT_Link": (
        c_void_p,
        (c_void_p, c_char_p, _ELEMENTS, c_size_t, _SYMBOLS, c_size_t, _SYMBOLS, c_size_t, _TEXT),
    ),
}


def differing_signatures() -> list[str]:
    """The functions of the installed llvmlite that its own Python layer calls with other kinds of arguments than ours.

    An empty list means that this module may call them. Imports all of `llvmlite.binding`.
    """
    import llvmlite.binding.ffi

    def kinds(arguments: Sequence[Any]) -> list[tuple[int, bool]]:
        return [(ctypes.sizeof(kind), kind in (c_int, c_bool, c_size_t)) for kind in arguments]

    differing = []
    for name, (_, arguments) in _SIGNATURES.items():
        theirs = getattr(llvmlite.binding.ffi.lib, "LLVMPY_" + name, None)
        if theirs is None or (theirs.argtypes is not None and kinds(theirs.argtypes) != kinds(arguments)):
            differing.append(name)
    return differing


def _opened(path: str) -> ctypes.CDLL:
    """A shared library, opened without the GIL, which ctypes would hold for the milliseconds that it takes."""
    if sys.platform == "win32":
        return ctypes.CDLL(path)
    dlopen = ctypes.CDLL(None).dlopen
    dlopen.restype, dlopen.argtypes = c_void_p, (c_char_p, c_int)
    return ctypes.CDLL(path, handle=dlopen(os.fsencode(path), os.RTLD_LAZY))  # no handle: ctypes tries, and says why


class _Library:
    """The shared library, initialised, and what it says about this machine; one per process, kept for good."""

    def __init__(self) -> None:
        import llvmlite

        if not llvmlite.__version__.startswith(_KNOWN_VERSION) and (differing := differing_signatures()):
            what = f"llvmlite {llvmlite.__version__} is not one that fgrad can use"
            raise CompileError(message(what, got=f"{', '.join(differing)}: changed", do="install llvmlite 0.50"))
        names = {"darwin": "libllvmlite.dylib", "win32": "llvmlite.dll"}
        path = os.path.join(os.path.dirname(llvmlite.__file__), "binding", names.get(sys.platform, "libllvmlite.so"))
        library = _opened(path)
        self.call: dict[str, Any] = {}
        for name, (result, arguments) in _SIGNATURES.items():
            function = self.call[name] = library["LLVMPY_" + name]
            function.restype, function.argtypes = result, arguments
        self.call["InitializeNativeTarget"]()
        self.call["InitializeNativeAsmPrinter"]()
        self.triple = self._ask("GetDefaultTargetTriple")
        self.cpu = self._ask("GetHostCPUName")
        features = sorted(self._ask("GetHostCPUFeatures").split(","))
        if "+avx512f" in features:
            features.append("-prefer-256-bit")
        self.features = ",".join(features)
        number = self.call["GetVersionInfo"]()
        self.version = f"llvmlite {llvmlite.__version__}, LLVM {number >> 16}.{number >> 8 & 255}.{number & 255}"
        self.numbers = itertools.count()
        self._machines: dict[int, list[int]] = {0: [], 2: []}
        self._linker: int | None = None

    def take(self, text: c_void_p) -> str:
        """The string that a function left behind ("" if none), which is then freed."""
        if not text.value:
            return ""
        value = ctypes.string_at(text.value).decode(errors="replace")
        self.call["DisposeString"](text)
        text.value = None
        return value

    def _ask(self, name: str) -> str:
        text = c_void_p()
        self.call[name](byref(text))
        return self.take(text)

    @contextmanager
    def machine(self, effort: int = 2) -> Iterator[int]:
        """A target machine that no other thread uses meanwhile; of effort 0 or 2 in generating code."""
        try:
            machine = self._machines[effort].pop()
        except IndexError:
            machine = self._new_machine(effort)
        try:
            yield machine
        finally:
            self._machines[effort].append(machine)

    def _new_machine(self, effort: int) -> int:
        triple, error = self.triple.encode(), c_void_p()
        target = self.call["GetTargetFromTriple"](triple, byref(error))
        # Small and position-independent: constants by one relative load; the linker adds stubs for far calls.
        machine: int = target and self.call["CreateTargetMachine"](
            target, triple, self.cpu.encode(), self.features.encode(), effort, b"pic", b"small", 0, 0, b""
        )
        if not machine:
            raise CompileError(message("LLVM has no code generator for this machine", got=self.take(error) or triple))
        return machine

    def linker(self) -> int:
        """The in-process linker. JITLink: one block of memory per object, and errors as strings, never an abort."""
        if self._linker is None:
            error = c_void_p()
            with self.machine() as machine:
                self._linker = self.call["CreateLLJITCompiler"](machine, True, True, byref(error))
            if not self._linker:
                raise CompileError(message("LLVM cannot load code into this process", got=self.take(error)))
        return self._linker


class _Gate:
    """Lets a fork wait until no thread is inside LLVM, so that no child inherits its state half-way."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._closed = False

    def __enter__(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._closed)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()

    def close(self) -> None:
        self._changed.acquire()
        self._closed = True
        self._changed.wait_for(lambda: not self._inside, timeout=10.0)  # a signal handler may fork inside: no deadlock

    def reopen(self) -> None:
        self._closed = False
        self._changed.notify_all()
        self._changed.release()


_gate = _Gate()
_lock = threading.Lock()  # around initialisation and linking; taken inside the gate
_loaded: list[_Library] = []

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_gate.close, after_in_parent=_gate.reopen, after_in_child=_gate.reopen)


def _library() -> _Library:
    if not _loaded:
        with _gate, _lock:
            if not _loaded:
                _loaded.append(_Library())
    return _loaded[0]


def target() -> str:
    """What machine code made here depends on, as one line: versions, triple, processor and its features.

    >>> target().startswith("llvmlite ")
    True
    """
    library = _library()
    return f"{library.version}, {library.triple}, {library.cpu}, {library.features}"


def native_vector_bytes() -> int:
    """The width of this machine's widest vector registers, in bytes: 16, 32 or 64.

    >>> native_vector_bytes() in (16, 32, 64)
    True
    """
    features = _library().features.split(",")
    return 64 if "+avx512f" in features else 32 if "+avx" in features else 16


def compile_text(text: str, level: int = 1) -> bytes:
    """Compile LLVM assembly for this machine.

    Args:
      text: a module. Target triple and data layout may be left out.
      level: 0: the quickest compilation, of code that mostly calls other code; 1: stack slots become registers (for
        kernels, which come vectorised and simplified: more passes cost more than all the rest and gain nothing); 2:
        LLVM's "O2" without its vectorisers; 3: "O3" with them.

    Returns:
      A relocatable object file.

    Raises:
      CompileError: the text is no valid module.
    """
    library = _library()
    call = library.call
    with _gate, library.machine(2 if level else 0) as machine:
        context = call["ContextCreate"]()
        try:
            module = _parse(library, context, text)
            try:
                _optimise(library, machine, module, level)
                return _emit(library, machine, module)
            finally:
                call["DisposeModule"](module)
        finally:
            call["ContextDispose"](context)


def _parse(library: _Library, context: int, text: str) -> int:
    call, error = library.call, c_void_p()
    module: int = call["ParseAssembly"](context, f'target triple = "{library.triple}"\n{text}'.encode(), byref(error))
    if not module:
        raise CompileError(message("LLVM cannot read the assembly", got=library.take(error)))
    # Code generation from an invalid module would end the process.
    if call["VerifyModule"](module, byref(error)):
        call["DisposeModule"](module)
        raise CompileError(message("LLVM finds the assembly invalid", got=library.take(error)))
    library.take(error)
    return module


def _optimise(library: _Library, machine: int, module: int, level: int) -> None:
    call = library.call
    options = call["CreatePipelineTuningOptions"]()
    call["PTOSetLoopVectorization"](options, level > 2)
    call["PTOSetSLPVectorization"](options, level > 2)
    builder = call["CreatePassBuilder"](machine, options)
    if level < 2:
        passes = call["CreateNewModulePassManager"]()
        call["module_AddSROAPass"](passes)
        if level == 0:
            call["module_AddSimplifyCFGPass"](passes)
    else:
        passes = call["buildPerModuleDefaultPipeline"](builder, level)
    call["RunNewModulePassManager"](passes, module, builder)
    call["DisposeNewModulePassManger"](passes)
    call["DisposePassBuilder"](builder)
    call["DisposePipelineTuningOptions"](options)


def _emit(library: _Library, machine: int, module: int) -> bytes:
    call, error = library.call, c_void_p()
    buffer = call["TargetMachineEmitToMemory"](machine, module, 1, byref(error))
    if not buffer:
        raise CompileError(message("LLVM cannot generate code", got=library.take(error)))
    try:
        return ctypes.string_at(call["GetBufferStart"](buffer), call["GetBufferSize"](buffer))
    finally:
        call["DisposeMemoryBuffer"](buffer)


def processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def compile_texts(texts: Sequence[str], level: int = 1) -> list[bytes]:
    """`compile_text` of each, on as many threads as there are processors: LLVM works without the GIL."""
    results: list[bytes | CompileError] = [b""] * len(texts)
    pending = iter(range(len(texts)))  # next() on it is atomic

    def work() -> None:
        for number in pending:
            try:
                results[number] = compile_text(texts[number], level)
            except CompileError as error:
                results[number] = error

    # Plain threads, not a pool: nothing is left that a fork could lose.
    helpers = [threading.Thread(target=work) for _ in range(min(len(texts), processors()) - 1)]
    for helper in helpers:
        helper.start()
    work()
    for helper in helpers:
        helper.join()
    images = []
    for result in results:
        if isinstance(result, CompileError):
            raise result
        images.append(result)
    return images


def load_object(image: bytes, names: Sequence[str]) -> dict[str, int]:
    """Link an object file into this process; its code stays for as long as the process lives.

    Args:
      image: what `compile_text` made on this machine.
      names: the functions wanted of it. What it calls itself is looked up in the process: the C library, CPython.

    Returns:
      The address of each name.

    Raises:
      CompileError: the image is none of this machine, or a symbol is missing in it or in the process.
    """
    return load_objects([image], names)


def load_objects(images: Sequence[bytes], names: Sequence[str]) -> dict[str, int]:
    """Link object files into this process together; see `load_object`."""
    library = _library()
    elements = (_Element * (len(images) + 1))()
    for element, image in zip(elements, images, strict=False):
        element.kind, element.value, element.length = _OBJECT, image, len(image)
    elements[-1].kind, elements[-1].value = _LIBRARY, b""
    exports = (_Symbol * len(names))()
    for symbol, name in zip(exports, names, strict=True):
        symbol.name = name.encode()
    error = c_void_p()
    with _gate, _lock:
        label = b"fgrad%d" % next(library.numbers)
        linked = library.call["LLJIT_Link"](
            library.linker(), label, elements, len(elements), None, 0, exports, len(exports), byref(error)
        )
    if not linked:
        raise CompileError(message("LLVM cannot load an object file", got=library.take(error)), names)
    return {name: symbol.address for name, symbol in zip(names, exports, strict=True)}


_FIRST = """
define void @first(ptr %x, i64 %end) {
entry:
  br label %loop
loop:
  %i = phi i64 [0, %entry], [%next, %loop]
  %p = getelementptr float, ptr %x, i64 %i
  %v = load <4 x float>, ptr %p, align 4
  %w = fadd <4 x float> %v, splat (float 1.0)
  store <4 x float> %w, ptr %p, align 4
  %next = add i64 %i, 4
  %more = icmp slt i64 %next, %end
  br i1 %more, label %loop, label %exit
exit:
  ret void
}"""


def warm_up() -> None:
    """Load LLVM and compile a first small loop, so that later compilations find its code in memory.

    Worth calling in a background thread while Python traces a program: most of the time is spent without the GIL. Not
    in a daemon thread: the process must not end in the middle of it.
    """
    compile_text(_FIRST)
