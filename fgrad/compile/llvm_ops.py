"""The operations of `scalars` as LLVM instructions, of scalars and of vectors with any number of lanes.

    write("mul", ["%a", "%b"], "f32", "f32", 8, put)    %r = fmul <8 x float> %a, %b

`put(text)` appends an instruction and gives the name of its result. Most operations are one line of `_TABLE`. LLVM's
own conversion of floats to integers is undefined where they do not fit: x86's instructions are called by name, and
other machines test the range first. Booleans are i1 in registers and i8 in memory.
"""

from __future__ import annotations

import platform
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .scalars import FLOATS, SIGNED, dtype_of, size_of

Put = Callable[[str], str]

_X86 = platform.machine().lower() in ("x86_64", "amd64")
_REGISTER = {"bool": "i1", "f32": "float", "f64": "double"}


def memory_type(type: str) -> str:
    """The LLVM type of an element in memory.

    >>> memory_type("bool"), memory_type("u16"), memory_type("f64")
    ('i8', 'i16', 'double')
    """
    return "i8" if type == "bool" else _REGISTER.get(type) or f"i{type[1:]}"


def register_type(type: str, lanes: int) -> str:
    """The LLVM type of a scalar (lanes 1) or a vector.

    >>> register_type("bool", 1), register_type("f32", 8)
    ('i1', '<8 x float>')
    """
    element = _REGISTER.get(type) or f"i{type[1:]}"
    return element if lanes == 1 else f"<{lanes} x {element}>"


def literal(value: Any, type: str) -> str:
    """A constant as LLVM writes it; floats by the bytes of the double of that value.

    >>> literal(np.float32(0.1), "f32"), literal(np.uint8(255), "u8"), literal(np.True_, "bool")
    ('0x3FB99999A0000000', '255', 'true')
    """
    if type in FLOATS:
        return f"0x{struct.unpack('<Q', struct.pack('<d', np.float64(value)))[0]:016X}"
    return str(bool(value)).lower() if type == "bool" else str(int(value))


def spread(word: str, type: str, lanes: int) -> str:
    """A literal in every lane."""
    return word if lanes == 1 else f"splat ({register_type(type, 1)} {word})"


def lane_numbers(lanes: int, stride: int, type: str) -> str:
    """The vector 0, stride, 2 * stride, ... of an integer type, which wraps."""
    element = register_type(type, 1)
    return "<" + ", ".join(f"{element} {wrapped(lane * stride, type)}" for lane in range(lanes)) + ">"


def wrapped(n: int, type: str) -> int:
    """An integer without the bits above its type, as a signed one.

    >>> wrapped(200, "i8"), wrapped(200, "u16"), wrapped(-1, "u8")
    (-56, 200, -1)
    """
    half = 1 << 8 * size_of(type) - 1
    return ((n + half) & (2 * half - 1)) - half


def identity(kind: str, type: str) -> str:
    """What leaves every value as it is under an accumulator's operation; -0.0 for sums, since 0.0 + -0.0 is 0.0."""
    if type == "bool":
        return "true" if kind in ("and", "min", "mul") else "false"
    if kind in ("max", "min"):
        low = kind == "max"
        if type in FLOATS:
            return literal(-np.inf if low else np.inf, type)
        limits = np.iinfo(dtype_of(type))
        return literal(limits.min if low else limits.max, type)
    return literal({"add": -0.0 if type in FLOATS else 0, "mul": 1, "and": -1, "or": 0}[kind], type)


# {T}: type of the operands, {S}: its name in intrinsics, {ones}: all bits set
_COMPARE = {"lt": "lt", "le": "le", "gt": "gt", "ge": "ge"}
_WORDS = {
    "and": "and {T} {0}, {1}",
    "or": "or {T} {0}, {1}",
    "xor": "xor {T} {0}, {1}",
    "not": "xor {T} {0}, {ones}",
    "eq": "icmp eq {T} {0}, {1}",
    "ne": "icmp ne {T} {0}, {1}",
}
_INTEGERS = {
    **_WORDS,
    "add": "add {T} {0}, {1}",
    "sub": "sub {T} {0}, {1}",
    "mul": "mul {T} {0}, {1}",
    "neg": "sub {T} zeroinitializer, {0}",
    "shl": "shl {T} {0}, {1}",
    "popcount": "call {T} @llvm.ctpop.{S}({T} {0})",
    "clz": "call {T} @llvm.ctlz.{S}({T} {0}, i1 false)",
}
_TABLE: dict[str, dict[str, str]] = {
    "float": {
        "add": "fadd {T} {0}, {1}",
        "sub": "fsub {T} {0}, {1}",
        "mul": "fmul {T} {0}, {1}",
        "div": "fdiv {T} {0}, {1}",
        "neg": "fneg {T} {0}",
        "copysign": "call {T} @llvm.copysign.{S}({T} {0}, {T} {1})",
        "fma": "call {T} @llvm.fma.{S}({T} {0}, {T} {1}, {T} {2})",
        "abs": "call {T} @llvm.fabs.{S}({T} {0})",
        **{op: f"call {{T}} @llvm.{op}.{{S}}({{T}} {{0}})" for op in ("sqrt", "floor", "ceil", "trunc", "rint")},
        **{op: f"fcmp o{word} {{T}} {{0}}, {{1}}" for op, word in _COMPARE.items()},
        "eq": "fcmp oeq {T} {0}, {1}",
        "ne": "fcmp une {T} {0}, {1}",
    },
    "signed": {
        **_INTEGERS,
        "abs": "call {T} @llvm.abs.{S}({T} {0}, i1 false)",
        "max": "call {T} @llvm.smax.{S}({T} {0}, {T} {1})",
        "min": "call {T} @llvm.smin.{S}({T} {0}, {T} {1})",
        "quot": "sdiv {T} {0}, {1}",
        "rest": "srem {T} {0}, {1}",
        "shr": "ashr {T} {0}, {1}",
        **{op: f"icmp s{word} {{T}} {{0}}, {{1}}" for op, word in _COMPARE.items()},
    },
    "unsigned": {
        **_INTEGERS,
        "abs": "and {T} {0}, {ones}",
        "max": "call {T} @llvm.umax.{S}({T} {0}, {T} {1})",
        "min": "call {T} @llvm.umin.{S}({T} {0}, {T} {1})",
        "quot": "udiv {T} {0}, {1}",
        "rest": "urem {T} {0}, {1}",
        "shr": "lshr {T} {0}, {1}",
        **{op: f"icmp u{word} {{T}} {{0}}, {{1}}" for op, word in _COMPARE.items()},
    },
    "bool": {
        **_WORDS,
        **dict.fromkeys(("add", "max"), _WORDS["or"]),
        **dict.fromkeys(("mul", "min"), _WORDS["and"]),
        **{op: f"icmp u{word} {{T}} {{0}}, {{1}}" for op, word in _COMPARE.items()},
    },
}


def _family(type: str) -> str:
    return "float" if type in FLOATS else "bool" if type == "bool" else "signed" if type in SIGNED else "unsigned"


def write(op: str, args: Sequence[str], source: str, to: str, lanes: int, put: Put) -> str:
    """Append one operation other than `select` and those on memory.

    Args:
      op: a name of `scalars.OPS`.
      args: its operands, all of `lanes` lanes.
      source: their type.
      to: the type of the result.
      put: appends an instruction.

    Returns:
      The name of the result, or an operand where there is nothing to do.
    """
    if op == "cast":
        return _cast(args[0], source, to, lanes, put)
    T = register_type(source, lanes)
    if op == "bits":
        R = register_type(to, lanes)
        return args[0] if R == T else put(f"bitcast {T} {args[0]} to {R}")
    family = _family(source)
    if family == "float" and op in ("max", "min"):
        return _extreme("ogt" if op == "max" else "olt", args[0], args[1], T, lanes, put)
    suffix = f"{'' if lanes == 1 else f'v{lanes}'}{'f' if family == 'float' else 'i'}{8 * size_of(source)}"
    ones = spread("true" if family == "bool" else "-1", source, lanes)
    return put(_TABLE[family][op].format(*args, T=T, S=suffix, ones=ones))


def write_wide(op: str, args: Sequence[str], type: str, table: Sequence[float] | None, lanes: int, put: Put) -> str:
    """Append one operation of `scalars.WIDE` that gives this type: by instructions for 64 bytes, for fewer lanes too.

    %r = call <8 x double> @llvm.x86.avx512.vpermi2var.pd.512(<8 x double> <...>, <8 x i64> %a, <8 x double> <...>)
    %r = call <16 x float> @llvm.x86.avx512.permvar.sf.512(<16 x float> <...>, <16 x i32> %a)
    """
    width = 64 // size_of(type)
    V, index = register_type(type, width), f"i{8 * size_of(type)}"
    element = register_type(type if table is None else index, 1)
    parts = []
    for first in range(0, lanes, width):
        of_part = [_filled(a, element, lanes, first, width, put) for a in args]
        if table is None:
            a, b = of_part
            name = f"mask.scalef.p{'d' if width == 8 else 's'}.512"
            operands = f"{V} {a}, {V} {b}, {V} {a}, i{width} -1, i32 4"
        else:
            words = [f"{register_type(type, 1)} {literal(x, type)}" for x in table]
            tables = [f"{V} <{', '.join(words[k : k + width])}>" for k in range(0, 16, width)]
            name = "vpermi2var.pd.512" if width == 8 else "permvar.sf.512"
            operands = ", ".join([tables[0], f"<{width} x {index}> {of_part[0]}", *tables[1:]])
        parts.append(put(f"call {V} @llvm.x86.avx512.{name}({operands})"))
    if lanes == 1:
        return put(f"extractelement {V} {parts[0]}, i64 0")
    if lanes < width:
        return put(f"shufflevector {V} {parts[0]}, {V} poison, {lane_indices(0, lanes)}")
    return joined(parts, type, width, put)


def _filled(x: str, element: str, lanes: int, first: int, width: int, put: Put) -> str:
    """So many lanes from `first` on; any number in those beyond the end."""
    if lanes == 1:
        return put(f"insertelement <{width} x {element}> poison, {element} {x}, i64 0")
    if lanes == width:
        return x
    wanted = lane_list([n if n < lanes else -1 for n in range(first, first + width)])
    return put(f"shufflevector <{lanes} x {element}> {x}, <{lanes} x {element}> poison, {wanted}")


def joined(parts: Sequence[str], type: str, width: int, put: Put) -> str:
    """Vectors of so many lanes each as one."""
    while len(parts) > 1:
        T = register_type(type, width)
        width *= 2
        wanted = lane_indices(0, width)
        parts = [put(f"shufflevector {T} {a}, {T} {b}, {wanted}") for a, b in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


def _extreme(order: str, a: str, b: str, T: str, lanes: int, put: Put) -> str:
    """The larger or smaller float, a NaN first. A running extreme comes as `a`: its NaN needs no test of its own."""
    bits = register_type("bool", lanes)
    further = put(f"fcmp {order} {T} {b}, {a}")
    chosen = put(f"select {bits} {further}, {T} {b}, {T} {a}")
    nan = put(f"fcmp uno {T} {b}, {b}")
    return put(f"select {bits} {nan}, {T} {b}, {T} {chosen}")


def _cast(x: str, source: str, to: str, lanes: int, put: Put) -> str:
    S, R = register_type(source, lanes), register_type(to, lanes)
    if source in FLOATS:
        if to == "bool":
            return put(f"fcmp une {S} {x}, zeroinitializer")
        if to in FLOATS:
            return x if source == to else put(f"{'fpext' if to == 'f64' else 'fptrunc'} {S} {x} to {R}")
        return _float_to_integer(x, source, to, lanes, put)
    if to == "bool":
        return x if source == "bool" else put(f"icmp ne {S} {x}, zeroinitializer")
    if to in FLOATS:
        return put(f"{'sitofp' if source in SIGNED else 'uitofp'} {S} {x} to {R}")
    if S == R:
        return x
    if source != "bool" and size_of(to) < size_of(source):
        return put(f"trunc {S} {x} to {R}")
    return put(f"{'sext' if source in SIGNED else 'zext'} {S} {x} to {R}")


def _float_to_integer(x: str, source: str, to: str, lanes: int, put: Put) -> str:
    """Truncation; what does not fit, and NaN, as on x86: the lowest i32 or i64, and the low bits of that."""
    F, R = register_type(source, lanes), register_type(to, lanes)
    if to == "u64":
        top = spread(literal(2.0**63, source), source, lanes)
        low = _truncate(x, source, 64, lanes, put)
        over = put(f"fsub {F} {x}, {top}")
        high = put(f"xor {R} {_truncate(over, source, 64, lanes, put)}, {spread(str(-(1 << 63)), 'i64', lanes)}")
        large = put(f"fcmp oge {F} {x}, {top}")
        return put(f"select {register_type('bool', lanes)} {large}, {R} {high}, {R} {low}")
    bits = 64 if to in ("i64", "u32") else 32
    whole = _truncate(x, source, bits, lanes, put)
    return whole if size_of(to) * 8 == bits else put(f"trunc {register_type(f'i{bits}', lanes)} {whole} to {R}")


def _truncate(x: str, source: str, bits: int, lanes: int, put: Put) -> str:
    """To i32 or i64."""
    F, R = register_type(source, lanes), register_type(f"i{bits}", lanes)
    if not _X86:
        mask = register_type("bool", lanes)
        whole = put(f"call {F} @llvm.trunc.{'' if lanes == 1 else f'v{lanes}'}{source}({F} {x})")
        above = put(f"fcmp oge {F} {whole}, {spread(literal(-(2.0 ** (bits - 1)), source), source, lanes)}")
        below = put(f"fcmp olt {F} {whole}, {spread(literal(2.0 ** (bits - 1), source), source, lanes)}")
        fits = put(f"and {mask} {above}, {below}")
        result = put(f"fptosi {F} {put(f'select {mask} {fits}, {F} {whole}, {F} zeroinitializer')} to {R}")
        return put(f"select {mask} {fits}, {R} {result}, {R} {spread(str(-(1 << bits - 1)), f'i{bits}', lanes)}")
    if lanes == 1:
        return _truncate_scalar(x, source, bits, put)
    width = 4 if source == "f32" else 2  # lanes of a 16-byte register; LLVM joins what larger registers can hold
    if bits == 64 or lanes % width:
        result = "poison"
        for lane in range(lanes):
            one = _truncate_scalar(put(f"extractelement {F} {x}, i64 {lane}"), source, bits, put)
            result = put(f"insertelement {R} {result}, i{bits} {one}, i64 {lane}")
        return result
    parts = []
    name, P = ("sse2.cvttps2dq", "<4 x float>") if source == "f32" else ("sse2.cvttpd2dq", "<2 x double>")
    for first in range(0, lanes, width):
        part = x if lanes == width else put(f"shufflevector {F} {x}, {F} poison, {lane_indices(first, width)}")
        parts.append(put(f"call <4 x i32> @llvm.x86.{name}({P} {part})"))
    if width == 2:
        parts = [put(f"shufflevector <4 x i32> {part}, <4 x i32> poison, {lane_indices(0, 2)}") for part in parts]
    return joined(parts, "i32", width, put)


def lane_indices(first: int, count: int, step: int = 1) -> str:
    """The operand of a shufflevector that takes lanes first, first + step, ..."""
    return lane_list(range(first, first + step * count, step))


def lane_list(lanes: Sequence[int]) -> str:
    """The operand of a shufflevector that takes these lanes; -1: any."""
    return f"<{len(lanes)} x i32> <" + ", ".join(f"i32 {n}" if n >= 0 else "i32 poison" for n in lanes) + ">"


def _truncate_scalar(x: str, source: str, bits: int, put: Put) -> str:
    name, lanes = ("sse.cvttss2si", 4) if source == "f32" else ("sse2.cvttsd2si", 2)
    F = register_type(source, lanes)
    vector = put(f"insertelement {F} zeroinitializer, {register_type(source, 1)} {x}, i64 0")
    return put(f"call i{bits} @llvm.x86.{name}{'64' if bits == 64 else ''}({F} {vector})")
