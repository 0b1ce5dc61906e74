"""One function of the native language (see language.py) on its way from Python's syntax tree to LLVM assembly."""

from __future__ import annotations

import ast
import linecache
import operator
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from .declarations import LLVM_TYPES, Builtin, Extern, Native, Signature, Value, lookup

# Python's operator: the LLVM instructions on integers and on floats, and the operation on literals.
OPERATORS: dict[type[ast.operator], tuple[str | None, str | None, Callable[[Any, Any], Any]]] = {
    ast.Add: ("add", "fadd", operator.add),
    ast.Sub: ("sub", "fsub", operator.sub),
    ast.Mult: ("mul", "fmul", operator.mul),
    ast.Div: (None, "fdiv", operator.truediv),
    ast.FloorDiv: ("sdiv", None, operator.floordiv),
    ast.Mod: ("srem", None, operator.mod),
    ast.BitAnd: ("and", None, operator.and_),
    ast.BitOr: ("or", None, operator.or_),
    ast.BitXor: ("xor", None, operator.xor),
    ast.LShift: ("shl", None, operator.lshift),
    ast.RShift: ("ashr", None, operator.rshift),
}
COMPARISONS: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Eq: ("icmp eq", "fcmp oeq"),
    ast.NotEq: ("icmp ne", "fcmp une"),
    ast.Lt: ("icmp slt", "fcmp olt"),
    ast.LtE: ("icmp sle", "fcmp ole"),
    ast.Gt: ("icmp sgt", "fcmp ogt"),
    ast.GtE: ("icmp sge", "fcmp oge"),
}


@lru_cache(maxsize=16)
def parsed_file(filename: str) -> dict[tuple[str, int], ast.FunctionDef]:
    """Every function definition of a file, by name and first line (that of its decorators)."""
    found = {}
    pending: list[ast.AST] = [ast.parse("".join(linecache.getlines(filename)), filename)]
    while pending:
        node = pending.pop()
        pending += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
        if isinstance(node, ast.FunctionDef):
            found[node.name, min([node.lineno, *(d.lineno for d in node.decorator_list)])] = node
    return found


def literal(value: int | float) -> Value:
    """A number that takes the type of its context."""
    return Value("int", str(int(value))) if isinstance(value, int) else Value("float", repr(value))


class Translator:
    """Translates one function; `symbol(native)` names the functions that it calls, `declarations` takes C functions."""

    def __init__(self, function: Native, symbol: Callable[[Native], str], declarations: set[str]) -> None:
        self.native = function
        self.symbol = symbol
        self.declarations = declarations
        self.entry: list[str] = []
        self.lines: list[str] = []
        self.locals: dict[str, str] = {}
        self.loops: list[tuple[str, str]] = []
        self.targets: set[str] = set()
        self.number = 0
        self.open = True

    def define(self, linkage: str) -> str:
        """The whole definition; `linkage` is "" or "internal "."""
        code, signature = self.native.function.__code__, self.native.signature
        node = parsed_file(code.co_filename).get((self.native.name, code.co_firstlineno))
        if node is None:
            raise OSError(f"the source of the native function {self.native.name!r} is not available")
        names = [argument.arg for argument in node.args.args]
        if len(names) != len(signature.parameters):
            raise self.error(node, f"{len(names)} parameters, but {len(signature.parameters)} in the signature")
        for name, type_ in zip(names, signature.parameters, strict=True):
            self.declare(name, type_)
            self.entry.append(f"  store {LLVM_TYPES[type_]} %{name}.in, ptr %{name}.local")
        self.statements(node.body)
        if self.open:
            if signature.result != "void":
                raise self.error(node, f"{self.native.name} may end without a return")
            self.lines.append("  ret void")
        parameters = ", ".join(f"{LLVM_TYPES[t]} %{n}.in" for n, t in zip(names, signature.parameters, strict=True))
        attributes = "nounwind noinline optnone" if self.native.cold else "nounwind"
        head = (
            f"define {linkage}{LLVM_TYPES[signature.result]} @{self.symbol(self.native)}({parameters}) {attributes} {{"
        )
        return "\n".join([head, "entry:", *self.entry, "  br label %start", "start:", *self.lines, "}", ""])

    def error(self, node: ast.AST, what: str) -> SyntaxError:
        """What cannot be translated, with its file and line, as Python itself reports it."""
        filename = self.native.function.__code__.co_filename
        line, column = getattr(node, "lineno", 0), getattr(node, "col_offset", 0) + 1
        return SyntaxError(what, (filename, line, column, linecache.getline(filename, line)))

    # Instructions and blocks.

    def fresh(self, stem: str = "t") -> str:
        """A new name, of a value or of a block."""
        self.number += 1
        return f"{stem}{self.number}"

    def emit(self, type_: str, instruction: str) -> Value:
        """Append an instruction; the value that it gives."""
        if type_ == "void":
            self.lines.append(f"  {instruction}")
            return Value("void", "")
        name = f"%{self.fresh()}"
        self.lines.append(f"  {name} = {instruction}")
        return Value(type_, name)

    def declare(self, name: str, type_: str) -> None:
        """Room for a local; zero until it is assigned."""
        self.locals[name] = type_
        self.entry.append(f"  %{name}.local = alloca {LLVM_TYPES[type_]}")
        self.entry.append(f"  store {LLVM_TYPES[type_]} zeroinitializer, ptr %{name}.local")

    def label(self, name: str) -> None:
        """Begin a block."""
        self.lines.append(f"{name}:")
        self.open = True

    def join(self, name: str) -> None:
        """Begin a block if something jumps to it; else what follows is never reached."""
        if name in self.targets:
            self.label(name)

    def branch(self, target: str) -> None:
        """End the block with a jump, unless it has ended."""
        if self.open:
            self.lines.append(f"  br label %{target}")
            self.targets.add(target)
            self.open = False

    def branch_if(self, condition: Value, yes: str, no: str) -> None:
        """End the block with a conditional jump."""
        self.lines.append(f"  br i1 {condition.text}, label %{yes}, label %{no}")
        self.targets |= {yes, no}
        self.open = False

    # Statements.

    def statements(self, body: list[ast.stmt]) -> None:
        """Translate statements in order."""
        for node in body:
            if not self.open:
                raise self.error(node, "this line is never reached")
            method = getattr(self, f"statement_{type(node).__name__}", None)
            if method is None:
                raise self.error(node, f"no statement of the native language: {type(node).__name__}")
            method(node)

    def statement_Pass(self, node: ast.Pass) -> None:
        """Nothing."""

    def statement_Expr(self, node: ast.Expr) -> None:
        """A call, or a docstring."""
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return
        if not isinstance(node.value, ast.Call):
            raise self.error(node, "an expression whose value is not used")
        self.expression(node.value)

    def statement_Assign(self, node: ast.Assign) -> None:
        """`name = value`."""
        if len(node.targets) != 1 or not isinstance(node.targets[0], ast.Name):
            raise self.error(node, "assign to one name at a time")
        self.assign(node.targets[0].id, self.expression(node.value), node)

    def statement_AugAssign(self, node: ast.AugAssign) -> None:
        """`name += value`."""
        if not isinstance(node.target, ast.Name):
            raise self.error(node, "assign to one name at a time")
        left = self.variable(node.target.id, node)
        self.assign(node.target.id, self.binary(node.op, left, self.expression(node.value), node), node)

    def assign(self, name: str, value: Value, node: ast.AST) -> None:
        """Store into a local, which its first assignment declares."""
        if value.type == "void":
            raise self.error(node, "the call gives no value")
        if name not in self.locals:
            self.declare(name, {"int": "i64", "float": "f64", "bool": "i64"}.get(value.type, value.type))
        type_ = self.locals[name]
        self.emit("void", f"store {LLVM_TYPES[type_]} {self.coerce(value, type_, node).text}, ptr %{name}.local")

    def statement_If(self, node: ast.If) -> None:
        """`if`, `elif`, `else`; of a condition that is a number of the module, only what it chooses is translated."""
        condition = self.truth(self.expression(node.test), node)
        if condition.text in ("true", "false"):
            self.statements(node.body if condition.text == "true" else node.orelse)
            return
        yes, no, end = self.fresh("then"), self.fresh("else"), self.fresh("end")
        self.branch_if(condition, yes, no if node.orelse else end)
        for label, body in ((yes, node.body), (no, node.orelse)):
            if body:
                self.label(label)
                self.statements(body)
                self.branch(end)
        self.join(end)

    def statement_While(self, node: ast.While) -> None:
        """`while condition:`; only a `break` leaves `while True:`."""
        if node.orelse:
            raise self.error(node, "no 'else' after a loop")
        test, body, end = self.fresh("test"), self.fresh("body"), self.fresh("end")
        self.branch(test)
        self.label(test)
        if isinstance(node.test, ast.Constant) and node.test.value:
            self.branch(body)
        else:
            self.branch_if(self.truth(self.expression(node.test), node), body, end)
        self.label(body)
        self.loop_body(node.body, test, end)
        self.join(end)

    def loop_body(self, body: list[ast.stmt], following: str, end: str) -> None:
        """The body of a loop, in which `continue` goes to `following` and `break` to `end`."""
        self.loops.append((following, end))
        self.statements(body)
        self.branch(following)
        self.loops.pop()

    def statement_For(self, node: ast.For) -> None:
        """`for i in range(stop)`, `range(start, stop)`, `range(start, stop, step)`."""
        over = node.iter
        if not (isinstance(over, ast.Call) and isinstance(over.func, ast.Name) and over.func.id == "range"):
            raise self.error(node, "a loop has the form 'for i in range(...)'")
        if node.orelse or not isinstance(node.target, ast.Name):
            raise self.error(node, "a loop has one variable and no 'else'")
        bounds = [self.coerce(self.expression(argument), "i64", node) for argument in over.args]
        start, stop = (Value("i64", "0"), bounds[0]) if len(bounds) == 1 else bounds[:2]
        step = bounds[2] if len(bounds) == 3 else Value("i64", "1")
        counter, test, body, following, end = map(self.fresh, ("count", "test", "body", "next", "end"))
        self.declare(counter, "i64")
        self.assign(counter, start, node)
        self.branch(test)
        self.label(test)
        current = self.variable(counter, node)
        order = "sgt" if step.text.startswith("-") else "slt"
        self.branch_if(self.emit("bool", f"icmp {order} i64 {current.text}, {stop.text}"), body, end)
        self.label(body)
        self.assign(node.target.id, current, node)
        self.loop_body(node.body, following, end)
        self.label(following)
        self.assign(counter, self.emit("i64", f"add i64 {self.variable(counter, node).text}, {step.text}"), node)
        self.branch(test)
        self.label(end)

    def statement_Break(self, node: ast.Break) -> None:
        """Leave the loop."""
        self.branch(self.loops[-1][1])

    def statement_Continue(self, node: ast.Continue) -> None:
        """Go on with the next round."""
        self.branch(self.loops[-1][0])

    def statement_Return(self, node: ast.Return) -> None:
        """`return`, with a value unless the result is void."""
        result = self.native.signature.result
        if (node.value is None) != (result == "void"):
            raise self.error(node, f"{self.native.name} returns {result}")
        text = "" if node.value is None else " " + self.coerce(self.expression(node.value), result, node).text
        self.emit("void", f"ret {LLVM_TYPES[result]}{text}")
        self.open = False

    # Expressions.

    def expression(self, node: ast.expr) -> Value:
        """Translate an expression."""
        method = getattr(self, f"expression_{type(node).__name__}", None)
        if method is None:
            raise self.error(node, f"no expression of the native language: {type(node).__name__}")
        return method(node)

    def variable(self, name: str, node: ast.AST) -> Value:
        """The value of a local."""
        type_ = self.locals.get(name)
        if type_ is None:
            raise self.error(node, f"{name!r} has no value here")
        return self.emit(type_, f"load {LLVM_TYPES[type_]}, ptr %{name}.local")

    def expression_Name(self, node: ast.Name) -> Value:
        """A local, or a number of the module."""
        if node.id not in self.locals:
            known = lookup(self.native.function, node.id)
            if isinstance(known, (int, float)):
                return literal(known)
        return self.variable(node.id, node)

    def expression_Constant(self, node: ast.Constant) -> Value:
        """A number, True or False."""
        if not isinstance(node.value, (int, float)):
            raise self.error(node, f"no literal of the native language: {node.value!r}")
        return literal(node.value)

    def expression_UnaryOp(self, node: ast.UnaryOp) -> Value:
        """`-x` and `not x`."""
        value = self.expression(node.operand)
        if isinstance(node.op, ast.Not):
            return self.emit("bool", f"xor i1 {self.truth(value, node).text}, true")
        if not isinstance(node.op, ast.USub):
            raise self.error(node, "no operator of the native language")
        if value.type in ("int", "float"):
            return literal(-ast.literal_eval(value.text))
        if value.type in ("f64", "f32"):
            return self.emit(value.type, f"fneg {LLVM_TYPES[value.type]} {value.text}")
        return self.binary(ast.Sub(), literal(0), value, node)

    def expression_BinOp(self, node: ast.BinOp) -> Value:
        """Arithmetic."""
        return self.binary(node.op, self.expression(node.left), self.expression(node.right), node)

    def binary(self, op: ast.operator, left: Value, right: Value, node: ast.AST) -> Value:
        """An arithmetic operator on values of one type, or on literals."""
        integer, floating, fold = OPERATORS.get(type(op), (None, None, operator.add))
        if {left.type, right.type} <= {"int", "float"}:
            return literal(fold(ast.literal_eval(left.text), ast.literal_eval(right.text)))
        left, right = self.same_type(left, right, node)
        instruction = floating if left.type in ("f64", "f32") else integer
        if instruction is None:
            raise self.error(node, f"no operator of the native language on {left.type}: {type(op).__name__}")
        return self.emit(left.type, f"{instruction} {LLVM_TYPES[left.type]} {left.text}, {right.text}")

    def same_type(self, left: Value, right: Value, node: ast.AST) -> tuple[Value, Value]:
        """Both operands in the type of the one that is no literal and no truth value; i64 if there is none."""
        known = [v.type for v in (left, right) if v.type not in ("int", "float", "bool")]
        floats = "float" in (left.type, right.type)
        type_ = known[0] if known else "f64" if floats else "i64"
        return self.coerce(left, type_, node), self.coerce(right, type_, node)

    def expression_Compare(self, node: ast.Compare) -> Value:
        """`a < b`, `a <= b < c`."""
        result, left = None, self.expression(node.left)
        for op, right_node in zip(node.ops, node.comparators, strict=True):
            if type(op) not in COMPARISONS:
                raise self.error(node, f"no comparison of the native language: {type(op).__name__}")
            right = self.expression(right_node)
            a, b = self.same_type(left, right, node)
            instruction = COMPARISONS[type(op)][a.type in ("f64", "f32")]
            one = self.emit("bool", f"{instruction} {LLVM_TYPES[a.type]} {a.text}, {b.text}")
            result = one if result is None else self.emit("bool", f"and i1 {result.text}, {one.text}")
            left = right
        assert result is not None
        return result

    def expression_BoolOp(self, node: ast.BoolOp) -> Value:
        """`and`, `or`: a truth value; what follows the deciding operand is not evaluated."""
        hidden, end = self.fresh("truth"), self.fresh("end")
        self.declare(hidden, "bool")
        for operand in node.values:
            value = self.truth(self.expression(operand), node)
            self.assign(hidden, value, node)
            if operand is not node.values[-1]:
                more = self.fresh("more")
                self.branch_if(value, *((more, end) if isinstance(node.op, ast.And) else (end, more)))
                self.label(more)
        self.branch(end)
        self.label(end)
        return self.variable(hidden, node)

    def expression_IfExp(self, node: ast.IfExp) -> Value:
        """`a if condition else b`."""
        hidden, yes, no, end = map(self.fresh, ("choice", "then", "else", "end"))
        self.branch_if(self.truth(self.expression(node.test), node), yes, no)
        for label, chosen in ((yes, node.body), (no, node.orelse)):
            self.label(label)
            self.assign(hidden, self.expression(chosen), node)
            self.branch(end)
        self.label(end)
        return self.variable(hidden, node)

    def expression_Call(self, node: ast.Call) -> Value:
        """A builtin, a native function or a C function."""
        callee = lookup(self.native.function, node.func.id) if isinstance(node.func, ast.Name) else None
        if isinstance(callee, Builtin):
            return callee.emit(self, node)
        if not isinstance(callee, (Native, Extern)):
            raise self.error(node, f"{ast.unparse(node.func)} is no function of the native language")
        return self.call(f"@{self.function_symbol(callee)}", callee.signature, node, node.args)

    def function_symbol(self, callee: Native | Extern) -> str:
        """The symbol of a function, declared if it is of C."""
        if isinstance(callee, Native):
            return self.symbol(callee)
        name, result, parameters = callee.signature
        self.declarations.add(f"declare {LLVM_TYPES[result]} @{name}({', '.join(LLVM_TYPES[t] for t in parameters)})")
        return name

    def call(self, target: str, signature: Signature, node: ast.Call, arguments: list[ast.expr]) -> Value:
        """Call an LLVM function value."""
        values = self.arguments(node, arguments, signature.parameters)
        listed = ", ".join(f"{LLVM_TYPES[v.type]} {v.text}" for v in values)
        return self.emit(signature.result, f"call {LLVM_TYPES[signature.result]} {target}({listed})")

    def arguments(self, node: ast.Call, arguments: list[ast.expr], types: tuple[str, ...]) -> list[Value]:
        """Arguments in the types that the callee takes."""
        if len(arguments) != len(types) or node.keywords:
            raise self.error(node, f"{ast.unparse(node.func)} takes {len(types)} arguments, got {len(arguments)}")
        return [self.coerce(self.expression(a), t, node) for a, t in zip(arguments, types, strict=True)]

    def pointer(self, address: Value) -> str:
        """An address as a pointer."""
        return self.emit("ptr", f"inttoptr i64 {address.text} to ptr").text

    def truth(self, value: Value, node: ast.AST) -> Value:
        """Whether a number is not zero."""
        if value.type == "bool":
            return value
        if value.type in ("int", "float"):
            return Value("bool", "true" if ast.literal_eval(value.text) else "false")
        if value.type not in ("i64", "i32"):
            raise self.error(node, f"{value.type} is no condition")
        return self.emit("bool", f"icmp ne {LLVM_TYPES[value.type]} {value.text}, 0")

    def coerce(self, value: Value, type_: str, node: ast.AST) -> Value:
        """A value where `type_` is wanted: itself, a literal, or a truth value as 0 or 1."""
        if value.type == type_:
            return value
        if value.type == "int" and type_ in ("i64", "i32"):
            return Value(type_, value.text)
        if value.type in ("int", "float") and type_ in ("f64", "f32"):
            number = float(value.text)
            if type_ == "f32":
                number = struct.unpack("<f", struct.pack("<f", number))[0]
            return Value(type_, f"0x{struct.unpack('<Q', struct.pack('<d', number))[0]:016X}")
        if value.type == "bool" and type_ in ("i64", "i32"):
            return self.emit(type_, f"zext i1 {value.text} to {type_}")
        what = "a number with a fraction" if value.type == "float" else value.type
        raise self.error(node, f"{what} where {type_} is wanted")
