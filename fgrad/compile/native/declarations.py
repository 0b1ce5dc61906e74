"""What the native language (see language.py) is made of: signatures, functions, builtins, values."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .translate import Translator

LLVM_TYPES = {"i64": "i64", "i32": "i32", "f64": "double", "f32": "float", "bool": "i1", "void": "void"}
SIGNATURE = re.compile(r"\s*(\w+)\s*(\w*)\s*\(([^()]*)\)\s*")


class Signature(NamedTuple):
    """`result name(types)`; the name is empty where none was written."""

    name: str
    result: str
    parameters: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Signature:
        """Read `i32 name(i64 address, f64)`; the names of the parameters are comments."""
        match = SIGNATURE.fullmatch(text)
        if match is None:
            raise ValueError(f"no signature of the form 'i64 name(i64, f64)': {text!r}")
        result, name, inside = match.groups()
        parameters = tuple(part.split()[0] for part in inside.split(",") if part.strip())
        numbers = ("i64", "i32", "f64", "f32")
        for type_ in (*parameters, result):
            if type_ not in numbers and not (type_ == "void" and result == "void" and "void" not in parameters):
                raise ValueError(f"no type of the native language: {type_!r} in {text!r}")
        return cls(name, result, parameters)


class Extern(NamedTuple):
    """A C function of the process: of libc, libpthread or the CPython API."""

    signature: Signature


class Native(NamedTuple):
    """A function of the native language, not yet translated."""

    name: str
    signature: Signature
    function: FunctionType
    cold: bool = False


class Builtin(NamedTuple):
    """An operation of the language: `emit(translator, call)` writes its instructions."""

    name: str
    emit: Callable[[Translator, ast.Call], Value]


class Value(NamedTuple):
    """A type of the language and LLVM's name of the value; literals have the type "int" or "float"."""

    type: str
    text: str


def extern(signature: str) -> Extern:
    """Declare a C function of the process, as in `extern("i64 malloc(i64 size)")`."""
    return Extern(Signature.parse(signature))


def native(signature: str, cold: bool = False) -> Callable[[FunctionType], Native]:
    """Decorator: a function of the native language with this signature, as in `@native("i32(i64 call, f32 x)")`.

    A cold function is compiled without optimisation: in a fraction of the time.
    """
    parsed = Signature.parse(signature)
    return lambda function: Native(function.__name__, parsed, function, cold)


def lookup(function: FunctionType, name: str) -> Any:
    """What a name that is not local means in a function; None if nothing."""
    code = function.__code__
    if name in code.co_freevars and function.__closure__ is not None:
        return function.__closure__[code.co_freevars.index(name)].cell_contents
    return function.__globals__.get(name)
