"""The functions of `prelude` as machine instructions, for functions that Numba compiles.

Importing this module imports Numba; `numba_kernels` does so at its first compilation. Afterwards any `numba.njit`
function may call the functions of `prelude`.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, lower_builtin, type_callable

from . import prelude

# i32 f(ptr call, ptr operands, ptr dims, i64 begin, i64 end)
THUNK = types.int32(
    types.CPointer(types.int64), types.CPointer(types.voidptr), types.CPointer(types.int64), types.int64, types.int64
)


@intrinsic
def pointer(typingctx: Any, operands: Any, number: Any, element: Any) -> Any:
    """operands[number] as a pointer to elements of a type."""
    result = types.CPointer(element.instance_type)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        raw = builder.load(builder.gep(args[0], [args[1]]))
        return builder.bitcast(raw, context.get_value_type(result))

    return result(operands, number, element), generate


@intrinsic
def pointer_at(typingctx: Any, operands: Any, number: Any, element: Any, index: Any) -> Any:
    """operands[number] + index as a pointer to elements of a type."""
    result = types.CPointer(element.instance_type)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        raw = builder.load(builder.gep(args[0], [args[1]]))
        return builder.gep(builder.bitcast(raw, context.get_value_type(result)), [args[3]])

    return result(operands, number, element, index), generate


@intrinsic
def run_thunk(typingctx: Any, address: Any, call: Any, operands: Any, dims: Any, begin: Any, end: Any) -> Any:
    """The status of the thunk function at an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.IntType(32), [a.type for a in args[1:]])
        return builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])

    return types.int32(address, call, operands, dims, begin, end), generate


@intrinsic
def poll(typingctx: Any, address: Any, call: Any) -> Any:
    """The status that the native function at an address gives for a call; of none at all, 0."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        status = cgutils.alloca_once_value(builder, ir.Constant(ir.IntType(32), 0))
        with builder.if_then(builder.icmp_signed("!=", args[0], ir.Constant(args[0].type, 0)), likely=False):
            kind = ir.FunctionType(ir.IntType(32), [args[1].type])
            builder.store(builder.call(builder.inttoptr(args[0], kind.as_pointer()), [args[1]]), status)
        return builder.load(status)

    return types.int32(address, call), generate


@intrinsic
def grow(typingctx: Any, address: Any, call: Any, number: Any, memory: Any, used: Any, length: Any) -> Any:
    """More memory from the native function at an address, with what is in use of the old."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        address, call, number, old, used, length = args
        size = ir.Constant(ir.IntType(64), context.get_abi_sizeof(context.get_data_type(memory.dtype)))
        raw, word = ir.IntType(8).as_pointer(), ir.IntType(64)
        kind = ir.FunctionType(raw, [call.type, word, raw, word, word])
        parts = [call, number, builder.bitcast(old, raw), builder.mul(used, size), builder.mul(length, size)]
        return builder.bitcast(builder.call(builder.inttoptr(address, kind.as_pointer()), parts), old.type)

    return memory(address, call, number, memory, used, length), generate


@intrinsic
def missing(typingctx: Any, memory: Any) -> Any:
    """Whether there is no memory."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.icmp_unsigned("==", args[0], args[0].type(None))

    return types.boolean(memory), generate


@intrinsic(prefer_literal=True)
def scratch(typingctx: Any, element: Any, length: Any) -> Any:
    """Memory on the stack for a constant number of elements."""
    result = types.CPointer(element.instance_type)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = context.get_data_type(element.instance_type)
        return cgutils.alloca_once(builder, kind, size=context.get_constant(types.intp, length.literal_value))

    return result(element, length), generate


Emit = Callable[[Any, Any, Any, Any], Any]  # (context, builder, signature, values) -> value


def _define(function: Callable[..., Any], result: Callable[..., Any]) -> Callable[[Emit], Emit]:
    """Tell Numba the type of a function's result from those of its arguments; decorates what emits it."""
    type_callable(function)(lambda context: result)
    count = result.__code__.co_argcount

    def decorate(emit: Emit) -> Emit:
        lower_builtin(function, *[types.Any] * count)(emit)
        return emit

    return decorate


def _call(builder: Any, name: str, *args: Any) -> Any:
    """An LLVM intrinsic overloaded by the type of its operands."""
    kind = args[0].type
    suffix = {"float": "f32", "double": "f64"}.get(str(kind), str(kind))
    flag = [ir.Constant(ir.IntType(1), 0)] if name == "ctlz" else []  # of zero it is defined
    callee = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(kind, [a.type for a in [*args, *flag]]), f"llvm.{name}.{suffix}"
    )
    return builder.call(callee, [*args, *flag])


def _intrinsic(name: str) -> Emit:
    return lambda context, builder, signature, args: _call(builder, name, *args)


for _function in (prelude.sqrt, prelude.floor, prelude.ceil, prelude.trunc, prelude.rint):
    _define(_function, lambda x: x)(_intrinsic(_function.__name__))
_define(prelude.popcount, lambda x: x)(_intrinsic("ctpop"))
_define(prelude.leading_zeros, lambda x: x)(_intrinsic("ctlz"))
_define(prelude.copysign, lambda x, y: x)(_intrinsic("copysign"))
_define(prelude.fma, lambda a, b, c: a)(_intrinsic("fma"))


@_define(prelude.running_sum, lambda total, x: total)
def _running_sum(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return builder.fadd(*args, flags=("reassoc",))


@_define(prelude.running_product, lambda total, x: total)
def _running_product(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return builder.fmul(*args, flags=("reassoc",))


@_define(prelude.span, lambda start, stop: types.range_state64_type)
def _range(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return context.get_function(builtins.range, signature)(builder, args)


@_define(prelude.select, lambda which, a, b: a)
def _select(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return builder.select(*args)


def _extreme(sign: str) -> Emit:
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        a, b = args
        kind = signature.args[0]
        if kind == types.boolean:
            return builder.or_(a, b) if sign == ">=" else builder.and_(a, b)
        if isinstance(kind, types.Float):
            first = builder.or_(builder.fcmp_ordered(sign, a, b), builder.fcmp_unordered("uno", a, a))
        else:
            first = (builder.icmp_signed if kind.signed else builder.icmp_unsigned)(sign, a, b)
        return builder.select(first, a, b)

    return emit


_define(prelude.maximum, lambda a, b: a)(_extreme(">="))
_define(prelude.minimum, lambda a, b: a)(_extreme("<="))


@_define(prelude.quotient, lambda a, b: a)
def _quotient(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    a, b = args
    if not signature.args[0].signed:
        return builder.udiv(a, b)
    negates = builder.icmp_signed("==", b, b.type(-1))  # the one quotient that may overflow
    safe = builder.sdiv(a, builder.select(negates, b.type(1), b))
    return builder.select(negates, builder.neg(a), safe)


@_define(prelude.remainder, lambda a, b: a)
def _remainder(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    a, b = args
    if not signature.args[0].signed:
        return builder.urem(a, b)
    return builder.srem(a, builder.select(builder.icmp_signed("==", b, b.type(-1)), b.type(1), b))


@_define(prelude.bits, lambda x, to: to.instance_type)
def _bits(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return builder.bitcast(args[0], context.get_value_type(signature.return_type))


@_define(prelude.cast, lambda x, to: to.instance_type)
def _cast(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    x, (source, target) = args[0], (signature.args[0], signature.return_type)
    kind = context.get_value_type(target)
    whole = isinstance(source, types.Integer | types.Boolean)
    unsigned = source == types.boolean or (whole and not source.signed)
    if target == types.boolean:
        zero = x.type(0)
        return builder.icmp_unsigned("!=", x, zero) if whole else builder.fcmp_unordered("!=", x, zero)
    if isinstance(target, types.Float):
        if whole:
            return (builder.uitofp if unsigned else builder.sitofp)(x, kind)
        return x if x.type == kind else (builder.fpext if target.bitwidth == 64 else builder.fptrunc)(x, kind)
    if not whole:
        return _truncated(builder, x, target)
    if x.type.width < kind.width:
        return (builder.zext if unsigned else builder.sext)(x, kind)
    return x if x.type == kind else builder.trunc(x, kind)


def _truncated(builder: Any, x: Any, target: Any) -> Any:
    """A float as an integer, as `prelude.cast` says."""
    if target == types.uint64:  # from 2^63 on: what is above that, and the highest bit
        middle = x.type(2.0**63)
        above = builder.fcmp_ordered(">=", x, middle)
        low = _fitting(builder, builder.select(above, builder.fsub(x, middle), x), 64)
        return builder.xor(low, builder.select(above, low.type(-(1 << 63)), low.type(0)))
    found = _fitting(builder, x, 32 if target == types.int32 or target.bitwidth < 32 else 64)
    kind = ir.IntType(target.bitwidth)
    return found if found.type == kind else builder.trunc(found, kind)


def _fitting(builder: Any, x: Any, width: int) -> Any:
    """A float as a signed integer of that width, the lowest one if it does not fit."""
    limit = 2.0 ** (width - 1)
    fits = builder.and_(
        builder.fcmp_ordered(">=", x, x.type(-limit)),
        builder.fcmp_ordered("<", x, x.type(limit)),
    )
    whole = builder.fptosi(x, ir.IntType(width))
    return builder.select(fits, whole, whole.type(-(1 << (width - 1))))
