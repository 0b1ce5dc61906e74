"""What a primitive computes with one element, in the scalar operations of the loop-nest IR.

A row is `name: rule(k, xs, type, params) -> Value` (several outputs: a tuple), where `k` builds, `xs` are the operands
and `type` is the kernel type of the first output. NumPy's answer for every operand: integers divided by zero give 0,
shifts by the width leave nothing. A rule that returns None leaves the equation to a NumPy call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.ir import Eqn
from ..primitives.threefry import PARITY, ROTATIONS
from .nests import Builder, Value
from .scalars import FLOATS, INTEGERS, MATH, SIGNED, UNSIGNED, size_of, type_name

Rule = Callable[[Builder, Sequence[Value], str, dict[str, Any]], Any]


def _op(name: str, logical: str | None = None) -> Rule:
    """One operation; on booleans another one, where there is a sense in it."""
    return lambda k, xs, type, params: k.op(logical if logical and xs[0].type == "bool" else name, *xs)


def _compare(name: str) -> Rule:
    def rule(k: Builder, xs: Sequence[Value], type: str, params: dict[str, Any]) -> Value:
        return k.op(name, *[k.cast(x, "u8") if x.type == "bool" else x for x in xs])

    return rule


def _mul0(k: Builder, xs: Sequence[Value], type: str, params: dict[str, Any]) -> Value:
    a, b = xs
    product, zero = k.mul(a, b), k.const(0, type)
    if type not in FLOATS:
        return product
    none = k.op("or", k.op("eq", a, zero), k.op("eq", b, zero))
    return k.select(k.op("and", k.op("ne", product, product), none), zero, product)


def _divided(k: Builder, x: Value, w: Value) -> tuple[Value, Value, Value]:
    """Truncated quotient and remainder where the divisor is neither 0 nor -1 (else of a division by 1); divisor = 0."""
    zero = k.const(0, x.type)
    none = unsafe = k.op("eq", w, zero)
    if x.type in SIGNED:
        unsafe = k.op("or", none, k.op("eq", w, k.const(-1, x.type)))
    safe = k.select(unsafe, k.const(1, x.type), w)
    return k.op("quot", x, safe), k.op("rest", x, safe), none


def _floor_divide(k: Builder, xs: Sequence[Value], type: str, params: dict[str, Any]) -> Value | None:
    x, w = xs
    if type in FLOATS:
        return None
    zero = k.const(0, type)
    q, r, none = _divided(k, x, w)
    if type in SIGNED:
        differ = k.op("ne", k.op("lt", r, zero), k.op("lt", w, zero)) if type not in UNSIGNED else None
        down = k.op("and", k.op("ne", r, zero), differ)
        q = k.select(down, k.sub(q, k.const(1, type)), q)
        q = k.select(k.op("eq", w, k.const(-1, type)), k.op("neg", x), q)
    return k.select(none, zero, q)


def _rem(k: Builder, xs: Sequence[Value], type: str, params: dict[str, Any]) -> Value | None:
    x, w = xs
    if type in FLOATS:
        return None
    zero = k.const(0, type)
    _, r, none = _divided(k, x, w)
    if type in SIGNED:
        differ = k.op("ne", k.op("lt", r, zero), k.op("lt", w, zero))
        r = k.select(k.op("and", k.op("ne", r, zero), differ), k.add(r, w), r)
    return k.select(none, zero, r)


def _fmod(k: Builder, xs: Sequence[Value], type: str, params: dict[str, Any]) -> Value | None:
    if type in FLOATS:
        return None
    _, r, none = _divided(k, *xs)
    return k.select(none, k.const(0, type), r)


def _integer_pow(k: Builder, xs: Sequence[Value], type: str, params: dict[str, Any]) -> Value | None:
    n = params["n"]
    if abs(n) > 16 or (n < 0 and type not in FLOATS):
        return None
    result, power, left = None, xs[0], abs(n)
    while left:
        if left & 1:
            result = power if result is None else k.mul(result, power)
        left >>= 1
        if left:
            power = k.mul(power, power)
    one = k.const(1, type)
    result = one if result is None else result
    return k.op("div", one, result) if n < 0 else result


def _sign(k: Builder, xs: Sequence[Value], type: str, params: dict[str, Any]) -> Value:
    (x,) = xs
    zero, one = k.const(0, type), k.const(1, type)
    positive = k.select(k.op("gt", x, zero), one, zero)
    if type in UNSIGNED:
        return positive
    signed = k.select(k.op("lt", x, zero), k.const(-1, type), positive)
    return k.select(k.op("ne", x, x), x, signed) if type in FLOATS else signed


def _population_count(k: Builder, xs: Sequence[Value], type: str, params: dict[str, Any]) -> Value:
    """Of the absolute value, as np.bitwise_count."""
    return k.op("popcount", k.op("abs", xs[0]) if type in SIGNED else xs[0])


def _shift(k: Builder, x: Value, n: Value, op: str, fill: Value) -> Value:
    """x shifted by n, or `fill` where n is negative or not below the width."""
    bits = k.const(8 * size_of(x.type), x.type)
    fits = k.op("lt", n, bits)
    if n.type in SIGNED:
        fits = k.op("and", fits, k.op("ge", n, k.const(0, n.type)))
    return k.select(fits, k.op(op, x, k.select(fits, n, k.const(0, n.type))), fill)


def _shift_left(k: Builder, xs: Sequence[Value], type: str, params: dict[str, Any]) -> Value:
    return _shift(k, *xs, "shl", k.const(0, type))


def _shift_right_arithmetic(k: Builder, xs: Sequence[Value], type: str, params: dict[str, Any]) -> Value:
    fill = k.op("shr", xs[0], k.const(8 * size_of(type) - 1, type)) if type in SIGNED else k.const(0, type)
    return _shift(k, *xs, "shr", fill)


def _shift_right_logical(k: Builder, xs: Sequence[Value], type: str, params: dict[str, Any]) -> Value:
    unsigned = type.replace("i", "u")
    x, n = (k.op("bits", x, type=unsigned) for x in xs)
    return k.op("bits", _shift(k, x, n, "shr", k.const(0, unsigned)), type=type)


def _convert(k: Builder, xs: Sequence[Value], type: str, params: dict[str, Any]) -> Value:
    (x,) = xs
    if type == "bool" and x.type != "bool":
        return k.op("ne", x, k.const(0, x.type))
    return k.cast(x, type)


def _bitcast(k: Builder, xs: Sequence[Value], type: str, params: dict[str, Any]) -> Value | None:
    return k.op("bits", xs[0], type=type) if size_of(xs[0].type) == size_of(type) else None


def _threefry(k: Builder, xs: Sequence[Value], type: str, params: dict[str, Any]) -> tuple[Value, Value]:
    """Twenty rounds of Threefry-2x32 (see primitives.threefry)."""
    k0, k1, x0, x1 = xs
    keys = (k0, k1, k.op("xor", k.op("xor", k0, k1), k.const(PARITY, "u32")))
    x0, x1 = k.add(x0, keys[0]), k.add(x1, keys[1])
    for group in range(5):
        for by in ROTATIONS[group % 2]:
            x0 = k.add(x0, x1)
            turned = k.op("or", k.op("shl", x1, k.const(by, "u32")), k.op("shr", x1, k.const(32 - by, "u32")))
            x1 = k.op("xor", turned, x0)
        x0 = k.add(x0, keys[(group + 1) % 3])
        x1 = k.add(k.add(x1, keys[(group + 2) % 3]), k.const(group + 1, "u32"))
    return x0, x1


RULES: dict[str, Rule] = {
    "neg": _op("neg"),
    "add": _op("add", "or"),
    "sub": _op("sub"),
    "mul": _op("mul", "and"),
    "mul0": _mul0,
    "div": _op("div"),
    "reciprocal": lambda k, xs, type, params: k.op("div", k.const(1, type), xs[0]),
    "floor_divide": _floor_divide,
    "rem": _rem,
    "fmod": _fmod,
    "square": lambda k, xs, type, params: k.mul(xs[0], xs[0]),
    "integer_pow": _integer_pow,
    "sqrt": _op("sqrt"),
    "rsqrt": lambda k, xs, type, params: k.op("div", k.const(1, type), k.op("sqrt", xs[0])),
    "abs": lambda k, xs, type, params: xs[0] if type in UNSIGNED else k.op("abs", xs[0]),
    "sign": _sign,
    "copysign": _op("copysign"),
    "floor": _op("floor"),
    "ceil": _op("ceil"),
    "trunc": _op("trunc"),
    "rint": _op("rint"),
    "is_finite": lambda k, xs, type, params: k.op("lt", k.op("abs", xs[0]), k.const(np.inf, xs[0].type)),
    "is_nan": lambda k, xs, type, params: k.op("ne", xs[0], xs[0]),
    "stop_gradient": lambda k, xs, type, params: xs[0],
    "max": _op("max", "or"),
    "min": _op("min", "and"),
    **{name: _compare(name) for name in ("eq", "ne", "lt", "le", "gt", "ge")},
    "bit_and": _op("and"),
    "bit_or": _op("or"),
    "bit_xor": _op("xor"),
    "bit_not": _op("not"),
    "logical_and": _op("and"),
    "shift_left": _shift_left,
    "shift_right_arithmetic": _shift_right_arithmetic,
    "shift_right_logical": _shift_right_logical,
    "population_count": _population_count,
    "clz": _op("clz"),
    "select": _op("select"),
    "convert_element_type": _convert,
    "bitcast_convert_type": _bitcast,
    "threefry2x32": _threefry,
    **{name: _op(name) for name in MATH},
}

REDUCTIONS = {  # the operations that they accumulate by
    "reduce_sum": "add",
    "reduce_prod": "mul",
    "reduce_max": "max",
    "reduce_min": "min",
    "reduce_and": "and",
    "reduce_or": "or",
}

# Cost of an operation in multiples of an addition, about what a vector of it costs; all others count 1.
WEIGHTS = {
    **dict.fromkeys(["exp", "exp2", "log", "log2", "log10", "erf", "erfc"], 16),
    **dict.fromkeys([name for name in MATH if name not in ("exp", "exp2", "log", "log2", "log10", "erf", "erfc")], 24),
    **dict.fromkeys(["div", "reciprocal", "sqrt"], 4),
    "rsqrt": 8,
    "pow": 40,
    "mul0": 3,
    "threefry2x32": 120,
    **dict.fromkeys(["floor_divide", "rem", "fmod"], 30),
}


def fits(e: Eqn) -> bool:
    """Whether kernels can compute this elementwise equation."""
    name = e.primitive.name
    if name not in RULES:
        return False
    types = [type_name(a.type.dtype) for a in (*e.inputs, *e.outputs)]
    if None in types:
        return False
    first = types[0]
    if name in ("floor_divide", "rem", "fmod"):
        return first in INTEGERS
    if name in MATH:
        return first in FLOATS
    if name == "integer_pow":
        return abs(e.params["n"]) <= 16 and (e.params["n"] >= 0 or first in FLOATS)
    if name == "bitcast_convert_type":
        return e.inputs[0].type.dtype.itemsize == e.outputs[0].type.dtype.itemsize and "bool" not in types
    return True
