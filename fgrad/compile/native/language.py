"""A small typed subset of Python, translated to LLVM assembly: what the native runtime is written in.

    malloc = extern("i64 malloc(i64)")

    @native("i64(i64 source, i64 count)")
    def total(source, count):
        result = 0
        for i in range(0, count):
            result += load_i64(source + 8 * i)
        return result

is, before LLVM's passes, which turn the `alloca` of each local into registers:

    define i64 @fgrad_<key>_total(i64 %source.in, i64 %count.in) nounwind {
    entry:
      %source.local = alloca i64
      ...
      %t14 = inttoptr i64 %t13 to ptr
      %t15 = load i64, ptr %t14, align 1

Types: `i64` (also every address, in bytes), `i32`, `f64`, `f32`, and truth values, which comparisons give and which
become 0 or 1 where an integer is wanted. A local has the type of its first assignment; a literal, or a number of the
Python module, takes the type of its context. Integers wrap around; `//` and `%` truncate as in C; `>>` keeps the sign.

Statements: assignment, augmented assignment, `if`, `while`, `for i in range(...)` (a negative step must be a literal),
`break`, `continue`, `return`, a call. Expressions: arithmetic, comparisons, `and`, `or`, `not`, `a if c else b`, calls
of the builtins below, of native functions, and of C functions declared by `extern`. What else is written raises a
SyntaxError with its file and line when the module is translated.
"""

from __future__ import annotations

import ast
import hashlib
import platform
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path

from .. import cache
from .declarations import LLVM_TYPES, Builtin, Extern, Native, Signature, Value, extern, lookup, native
from .translate import Translator

__all__ = [
    "Extern",
    "Module",
    "Native",
    "address_of",
    "atomic_add",
    "atomic_cas",
    "atomic_load",
    "atomic_store",
    "bits_f32",
    "bits_f64",
    "call",
    "extern",
    "f32",
    "f64",
    "i32",
    "i64",
    "load_f32",
    "load_f64",
    "load_i8",
    "load_i32",
    "load_i64",
    "memcpy",
    "memset",
    "native",
    "pause",
    "stack",
    "store_f32",
    "store_f64",
    "store_i8",
    "store_i32",
    "store_i64",
]


class Module:
    """Native functions as one unit of LLVM assembly; the functions that they call come with them, as internal ones.

    `key` names all that the text depends on. It is computed from byte code, so that a process that finds the object
    file in its cache neither reads nor translates the source.
    """

    def __init__(self, functions: Iterable[Native]) -> None:
        self.exported = tuple(functions)
        self.functions: dict[str, Native] = {}
        digest = hashlib.sha256(translator_source())
        digest.update(f"{sys.version} {platform.machine()} {[f.name for f in self.exported]}".encode())
        pending = list(reversed(self.exported))
        while pending:
            function = pending.pop()
            if function.name in self.functions:
                if self.functions[function.name] != function:
                    raise ValueError(f"two native functions of one module are named {function.name!r}")
                continue
            self.functions[function.name] = function
            code = function.function.__code__
            digest.update(repr((*function[:2], function.cold, code.co_code, code.co_varnames)).encode())
            digest.update(repr(code.co_consts).encode())
            for name in (*code.co_names, *code.co_freevars):
                value = lookup(function.function, name)
                if isinstance(value, Native):
                    pending.append(value)
                if isinstance(value, (Native, Builtin)):
                    value = value.name
                if isinstance(value, (str, int, float, Extern)):
                    digest.update(f"{name}: {value!r}".encode())
        self.key = digest.hexdigest()[:32]

    def symbol(self, function: Native) -> str:
        """The name of a function in the object file, which no other content has."""
        return f"fgrad_{self.key}_{function.name}"

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols of the exported functions."""
        return tuple(self.symbol(function) for function in self.exported)

    @property
    def text(self) -> str:
        """LLVM assembly of all functions."""
        return self.assembly(self.symbols)

    def assembly(self, symbols: Sequence[str]) -> str:
        """LLVM assembly of some of the exported functions, with all that they call."""
        declarations: set[str] = set()
        bodies: dict[str, str] = {}
        called: list[Native] = []

        def symbol(function: Native) -> str:
            called.append(function)
            return self.symbol(function)

        for function in self.exported:
            if self.symbol(function) in symbols:
                bodies[function.name] = Translator(function, symbol, declarations).define("")
        while called:
            function = called.pop()
            if function.name not in bodies:
                bodies[function.name] = Translator(function, symbol, declarations).define("internal ")
        return "\n".join([*sorted(declarations), "", *bodies.values()])

    def load(self) -> dict[str, int]:
        """The address of each exported function, by its name in Python; compiled now unless some cache holds it."""
        addresses = cache.addresses(self.symbols, self.assembly, level=0)
        return {function.name: addresses[self.symbol(function)] for function in self.exported}


@lru_cache(maxsize=1)
def translator_source() -> bytes:
    """The source of the translator: another one makes other code of the same functions."""
    names = ("declarations.py", "translate.py", "language.py")
    return b"".join((Path(__file__).parent / name).read_bytes() for name in names)


def builtin(emit: Callable[[Translator, ast.Call], Value]) -> Builtin:
    """Decorator: an operation of the language under the function's name."""
    return Builtin(emit.__name__, emit)


def loader(name: str, type_: str) -> Builtin:
    """`load_<type>(address)`; the address need not be aligned."""

    def emit(t: Translator, node: ast.Call) -> Value:
        (address,) = t.arguments(node, node.args, ("i64",))
        if name == "load_i8":
            byte = t.emit("i8", f"load i8, ptr {t.pointer(address)}, align 1")
            return t.emit("i64", f"zext i8 {byte.text} to i64")
        return t.emit(type_, f"load {LLVM_TYPES[type_]}, ptr {t.pointer(address)}, align 1")

    return Builtin(name, emit)


def storer(name: str, type_: str) -> Builtin:
    """`store_<type>(address, value)`; the address need not be aligned."""

    def emit(t: Translator, node: ast.Call) -> Value:
        address, value = t.arguments(node, node.args, ("i64", type_))
        if name == "store_i8":
            byte = t.emit("i8", f"trunc i64 {value.text} to i8")
            return t.emit("void", f"store i8 {byte.text}, ptr {t.pointer(address)}, align 1")
        return t.emit("void", f"store {LLVM_TYPES[type_]} {value.text}, ptr {t.pointer(address)}, align 1")

    return Builtin(name, emit)


load_i64, store_i64 = loader("load_i64", "i64"), storer("store_i64", "i64")
load_i32, store_i32 = loader("load_i32", "i32"), storer("store_i32", "i32")
load_f64, store_f64 = loader("load_f64", "f64"), storer("store_f64", "f64")
load_f32, store_f32 = loader("load_f32", "f32"), storer("store_f32", "f32")
load_i8, store_i8 = loader("load_i8", "i64"), storer("store_i8", "i64")  # a byte, as an i64 in 0..255

CONVERSIONS = {
    ("i32", "i64"): "sext",
    ("i64", "i32"): "trunc",
    ("f32", "f64"): "fpext",
    ("f64", "f32"): "fptrunc",
}


def converter(to: str) -> Builtin:
    """`i64(x)`, `i32(x)` (truncate), `f64(x)`, `f32(x)` (round)."""

    def emit(t: Translator, node: ast.Call) -> Value:
        if len(node.args) != 1:
            raise t.error(node, f"{to} takes one argument")
        value = t.expression(node.args[0])
        if value.type == to or value.type in ("int", "float", "bool"):
            return t.coerce(value, to, node)
        float_to_int = "fptosi" if value.type in ("f64", "f32") else "sitofp"
        instruction = CONVERSIONS.get((value.type, to), float_to_int)
        return t.emit(to, f"{instruction} {LLVM_TYPES[value.type]} {value.text} to {LLVM_TYPES[to]}")

    return Builtin(to, emit)


i64, i32, f64, f32 = converter("i64"), converter("i32"), converter("f64"), converter("f32")


@builtin
def bits_f64(t: Translator, node: ast.Call) -> Value:
    """`bits_f64(i64)`: the float64 with these bits."""
    (bits,) = t.arguments(node, node.args, ("i64",))
    return t.emit("f64", f"bitcast i64 {bits.text} to double")


@builtin
def bits_f32(t: Translator, node: ast.Call) -> Value:
    """`bits_f32(i64)`: the float32 with the low 32 bits."""
    (bits,) = t.arguments(node, node.args, ("i64",))
    return t.emit("f32", f"bitcast i32 {t.emit('i32', f'trunc i64 {bits.text} to i32').text} to float")


@builtin
def stack(t: Translator, node: ast.Call) -> Value:
    """`stack(bytes)`: the address of memory that lives as long as the function runs; the size is constant."""
    size = t.expression(node.args[0]) if len(node.args) == 1 else Value("void", "")
    if size.type != "int":
        raise t.error(node, "stack takes a constant number of bytes")
    name = t.fresh("stack")
    t.entry.append(f"  %{name} = alloca [{size.text} x i8], align 16")
    return t.emit("i64", f"ptrtoint ptr %{name} to i64")


@builtin
def memcpy(t: Translator, node: ast.Call) -> Value:
    """`memcpy(to, from, bytes)`."""
    to, source, size = t.arguments(node, node.args, ("i64", "i64", "i64"))
    t.declarations.add("declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)")
    operands = f"ptr {t.pointer(to)}, ptr {t.pointer(source)}, i64 {size.text}, i1 false"
    return t.emit("void", f"call void @llvm.memcpy.p0.p0.i64({operands})")


@builtin
def memset(t: Translator, node: ast.Call) -> Value:
    """`memset(to, byte, bytes)`."""
    to, value, size = t.arguments(node, node.args, ("i64", "i64", "i64"))
    t.declarations.add("declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)")
    byte = t.emit("i8", f"trunc i64 {value.text} to i8")
    operands = f"ptr {t.pointer(to)}, i8 {byte.text}, i64 {size.text}, i1 false"
    return t.emit("void", f"call void @llvm.memset.p0.i64({operands})")


@builtin
def atomic_add(t: Translator, node: ast.Call) -> Value:
    """`atomic_add(address, value)`: add to an i64; what it was."""
    address, value = t.arguments(node, node.args, ("i64", "i64"))
    return t.emit("i64", f"atomicrmw add ptr {t.pointer(address)}, i64 {value.text} seq_cst")


@builtin
def atomic_load(t: Translator, node: ast.Call) -> Value:
    """`atomic_load(address)`."""
    (address,) = t.arguments(node, node.args, ("i64",))
    return t.emit("i64", f"load atomic i64, ptr {t.pointer(address)} seq_cst, align 8")


@builtin
def atomic_store(t: Translator, node: ast.Call) -> Value:
    """`atomic_store(address, value)`."""
    address, value = t.arguments(node, node.args, ("i64", "i64"))
    return t.emit("void", f"store atomic i64 {value.text}, ptr {t.pointer(address)} seq_cst, align 8")


@builtin
def atomic_cas(t: Translator, node: ast.Call) -> Value:
    """`atomic_cas(address, expected, new)`: store `new` if there is `expected`; what there was."""
    address, expected, new = t.arguments(node, node.args, ("i64", "i64", "i64"))
    exchange = f"cmpxchg ptr {t.pointer(address)}, i64 {expected.text}, i64 {new.text} seq_cst seq_cst"
    return t.emit("i64", f"extractvalue {{ i64, i1 }} {t.emit('pair', exchange).text}, 0")


@builtin
def pause(t: Translator, node: ast.Call) -> Value:
    """`pause()`: tell the processor that this is a loop that waits."""
    t.arguments(node, node.args, ())
    machine = platform.machine().lower()
    if machine in ("x86_64", "amd64"):
        t.declarations.add("declare void @llvm.x86.sse2.pause()")
        return t.emit("void", "call void @llvm.x86.sse2.pause()")
    if machine in ("aarch64", "arm64"):
        t.declarations.add("declare void @llvm.aarch64.hint(i32)")
        return t.emit("void", "call void @llvm.aarch64.hint(i32 1)")
    return Value("void", "")


@builtin
def call(t: Translator, node: ast.Call) -> Value:
    """`call(address, "i32(i64, f32)", arguments...)`: call the C function at an address."""
    signature = node.args[1] if len(node.args) > 1 else None
    if not (isinstance(signature, ast.Constant) and isinstance(signature.value, str)):
        raise t.error(node, 'call has the form call(address, "i32(i64, f32)", arguments...)')
    address = t.coerce(t.expression(node.args[0]), "i64", node)
    return t.call(t.pointer(address), Signature.parse(signature.value), node, node.args[2:])


@builtin
def address_of(t: Translator, node: ast.Call) -> Value:
    """`address_of(function)`: the address of a native function or C function."""
    name = node.args[0] if len(node.args) == 1 else None
    callee = lookup(t.native.function, name.id) if isinstance(name, ast.Name) else None
    if not isinstance(callee, (Native, Extern)):
        raise t.error(node, "address_of takes the name of a native function or C function")
    return t.emit("i64", f"ptrtoint ptr @{t.function_symbol(callee)} to i64")
