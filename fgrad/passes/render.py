"""render: a strict program as the source of one Python function of NumPy calls, and that function.

For the pullback of `x * y` by both operands, the source is

    def multiply_pull(a, b, c):
        d = c * b
        e = c * a
        return (d, e)

Broadcasts that feed only operations with NumPy's own broadcasting are not executed; the buffer of a large operand that
dies is written again; accumulators that are ours are added into. Strictness makes this safe: every type is known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.builder import resting_collector
from ..core.calls import Call, renderer
from ..core.errors import OutOfBoundsError, Site, relocate
from ..core.ir import Eqn, Jaxpr, Literal, Var
from ..core.trace import primitive_call
from ..core.types import aval_of

LARGE = 1024  # elements: below, a fresh NumPy result is cheaper than `out=`


class Rendered:
    """A rendered program: `function`, `source`, which results are `fresh` (nothing shares their memory), `present`."""

    __slots__ = ("fresh", "function", "present", "source")

    def __init__(self, function: Callable[..., Any], source: str, fresh: tuple[bool, ...], present: tuple[int, ...]):
        self.function = function
        self.source = source
        self.fresh = fresh
        self.present = present


class _Renderer:
    def __init__(self, jaxpr: Jaxpr, optimistic: bool, owned: frozenset[int]):
        self.jaxpr = jaxpr
        self.optimistic = optimistic
        self.space: dict[str, Any] = {}
        self.lines: list[str] = []
        self.origins: list[int] = []  # of each line, the equation's row in the table of source lines
        self.names: dict[Var, str] = {}
        self.compact: dict[Var, tuple[int, ...]] = {}
        self.root: dict[Var, Var] = {}  # whose memory a variable may share
        self.sharing: dict[Var, list[Var]] = {}  # of a root, the variables that may share its memory
        self.writable: set[Var] = {jaxpr.inputs[i] for i in owned}
        self.zeros: set[Var] = set()  # compact variables that are all zero
        self.uses: Counter[Var] = Counter(a for e in jaxpr.eqns for a in e.inputs if type(a) is Var)
        self.uses.update(a for a in jaxpr.outputs if type(a) is Var)

    def bind(self, stem: str, value: Any) -> str:
        name = f"{stem}{len(self.space)}"
        self.space[name] = value
        return name

    def name(self, v: Var) -> str:
        found = self.names.get(v)
        if found is None:
            found = self.names[v] = f"v{len(self.names)}"
        return found

    def literal(self, a: Literal) -> str:
        return self.bind("lit", a.value)

    def shape(self, a: Any) -> tuple[int, ...]:
        return () if type(a) is Literal else self.compact.get(a, a.type.shape)

    def full(self, a: Any, own: bool = False) -> str:
        """Source of the operand at its full shape; where it is only as large as NumPy needs, it is broadcast first."""
        if type(a) is Literal:
            return self.literal(a)
        name = self.name(a)
        if a in self.compact:
            if a in self.zeros:
                self.lines[-1:] = [] if self.lines[-1].startswith(f"{name} = lit") else self.lines[-1:]
                self.lines.append(f"{name} = {self.bind('zeros', zeros(a.type))}()")
            else:
                self.lines.append(f"{name} = {self.bind('full', filler(a.type))}({name})")
            del self.compact[a]
            self.own(a)
        return name

    def loose(self, a: Any) -> str:
        return self.literal(a) if type(a) is Literal else self.name(a)

    def dying(self, a: Any, part: bool = False) -> bool:
        """Whether the memory of `a` belongs to this function and is read for the last time by the present equation.

        `part`: the equation writes into part of it: what else reads it may be a copy, if it is much smaller, and it
        may itself be part of what is larger.
        """
        if type(a) is not Var or self.uses[a] != 1 or a in self.compact:
            return False
        root = self.root.get(a, a)
        if root not in self.writable or (not part and a.type.size != root.type.size):
            return False
        others = [
            v for v in (root, *self.sharing.get(root, ())) if v is not a and self.uses[v] and self.rooted(v, root)
        ]
        if others and (not part or root in others or 2 * sum([v.type.size for v in others]) > root.type.size):
            return False
        for v in others:
            self.lines.append(f"{self.names[v]} = {self.names[v]}.copy()")
            self.own(v)
        return True

    def rooted(self, v: Var, root: Var) -> bool:
        return self.root.get(v, v) is root

    def own(self, v: Var) -> None:
        """From here on `v` has memory of its own."""
        self.root[v] = v
        self.writable.add(v)

    def equation(self, e: Eqn) -> None:
        p = e.primitive
        types = [a.type for a in e.inputs]
        if p.broadcasts:
            shape = e.outputs[0].type.shape
            if self.compact or any([type(a) is Literal for a in e.inputs]):
                shape = np.broadcast_shapes(*[self.shape(a) for a in e.inputs])
            operands = [self.loose(a) for a in e.inputs]
            self.elementwise(e, operands, shape)
            return
        view = p.view(*types, **e.params)
        if view is not None and e.inputs[0] not in self.compact:
            out, source = e.outputs[0], self.loose(e.inputs[0])
            same = view == types[0].shape
            self.lines.append(
                f"{self.name(out)} = {source}" if same else f"{self.name(out)} = {source}.reshape({view})"
            )
            if view != out.type.shape:
                self.compact[out] = view
            if type(e.inputs[0]) is Literal and not e.inputs[0].value and not np.signbit(np.real(e.inputs[0].value)):
                self.zeros.add(out)
            if type(e.inputs[0]) is Var:
                self.alias(out, e.inputs[0])
            return
        k = p.overwrites
        if k is not None:
            self.full(e.inputs[k])
        writes = k is not None and self.dying(e.inputs[k], part=True)
        operands = [self.loose(a) if writes and i == p.spreads else self.full(a) for i, a in enumerate(e.inputs)]
        if writes:
            out, call = e.outputs[0], self.bind(p.name + "_write", p.writer(*types, **e.params))
            self.lines.append(f"{self.name(out)} = {call}({', '.join(operands)})")
            self.alias(out, e.inputs[k])  # type: ignore[arg-type, index]
            return
        kernel = self.bind(p.name, primitive_call(p, tuple(types), e.params).run)
        left = ", ".join(self.name(v) for v in e.outputs)
        if len(e.outputs) != 1 and not left.endswith(","):
            left += ","
        self.lines.append(
            f"{left} = {kernel}({', '.join(operands)})" if e.outputs else f"{kernel}({', '.join(operands)})"
        )
        for v in e.outputs:
            if p.aliases and type(e.inputs[0]) is Var:
                self.alias(v, e.inputs[0])
            else:
                self.own(v)

    def elementwise(self, e: Eqn, operands: Sequence[str], shape: tuple[int, ...]) -> None:
        p, out = e.primitive, e.outputs[0]
        infix = p.optimistic if self.optimistic and p.optimistic else p.infix
        ufunc = np.multiply if self.optimistic and p.optimistic else p.ufunc
        name = self.name(out)
        if ufunc is not None and out.type.size >= LARGE and shape == out.type.shape:
            for a, source in zip(e.inputs, operands, strict=True):
                if type(a) is Var and self.dying(a) and a.type == out.type and list(e.inputs).count(a) == 1:
                    self.lines.append(f"{name} = {self.bind(p.name, ufunc)}({', '.join(operands)}, out={source})")
                    self.alias(out, a)
                    return
        if infix is not None:
            text = f"{infix}{operands[0]}" if len(operands) == 1 else f"{operands[0]} {infix} {operands[1]}"
        else:
            kernel = self.bind(p.name, primitive_call(p, tuple(a.type for a in e.inputs), e.params).run)
            text = f"{kernel}({', '.join(operands)})"
        self.lines.append(f"{name} = {text}")
        if shape != out.type.shape:
            self.compact[out] = shape
        self.own(out)

    def alias(self, v: Var, a: Var) -> None:
        """`v` may share the memory of `a`."""
        root = self.root.get(a, a)
        self.root[v] = root
        self.sharing.setdefault(root, []).append(v)

    def finish(self, name: str, sigs: Sequence[Any], single: bool) -> tuple[Callable[..., Any], str, tuple[bool, ...]]:
        jaxpr = self.jaxpr
        consts = len(jaxpr.consts)
        for v, c in zip(jaxpr.inputs, jaxpr.consts, strict=False):
            self.names[v] = self.bind("const", c)
        for v, s in zip(jaxpr.inputs[consts:], sigs, strict=True):
            if type(s) is type and not (s is int and all(e.primitive.indexes for e in jaxpr.eqns if v in e.inputs)):
                # a Python scalar: from here on strict
                self.lines.append(f"{self.name(v)} = {self.bind('scalar', aval_of(s).dtype.type)}({self.name(v)})")
        held = set(jaxpr.inputs[:consts])
        for e in jaxpr.eqns:
            self.equation(e)
            self.origins += [e.origin] * (len(self.lines) - len(self.origins))
            for a in e.inputs:
                if type(a) is Var:
                    self.uses[a] -= 1
                    if not self.uses[a] and a.type.size >= LARGE and a not in held:
                        self.lines.append(f"{self.names[a]} = None")
        results = [self.full(a) for a in jaxpr.outputs]
        roots = [self.root.get(a, a) if type(a) is Var else None for a in jaxpr.outputs]
        fresh = [r in self.writable and roots.count(r) == 1 for r in roots]
        arguments = ", ".join(self.name(v) for v in jaxpr.inputs[consts:])
        result = results[0] if single else "(" + "".join(r + ", " for r in results).rstrip(" ") + ")"
        body = "".join(f"    {line}\n" for line in self.lines)
        safe = "".join(c if c.isalnum() else "_" for c in name)
        source = f"def {safe}({arguments}):\n{body}    return {result}\n"
        with resting_collector():
            exec(compile(source, f"<fgrad {safe}>", "exec"), self.space)
        return self.space[safe], source, tuple(fresh)


def render(call: Call, *, optimistic: bool = False, owned: frozenset[int] = frozenset()) -> Rendered:
    """The NumPy function of a Call's program.

    `owned`: operands whose buffers the function may overwrite. `optimistic`: plain products where zeros annihilate.
    """
    r = _Renderer(call.jaxpr, optimistic, owned)
    function, source, fresh = r.finish(call.name, call.sigs, call.single)
    present = call.derived.get("present", tuple(range(len(call.out_sigs))))
    return Rendered(function, source, fresh, present)


def zeros(type: Any) -> Callable[[], Any]:
    """A function that makes an array of zeros of that type."""
    shape, dtype = type.shape, type.dtype
    make = np.zeros
    return lambda: make(shape, dtype)


def filler(type: Any) -> Callable[[Any], Any]:
    """A function that makes an array of that type of anything NumPy broadcasts to it."""
    shape, dtype = type.shape, type.dtype
    empty = np.empty

    def fill(x: Any) -> Any:
        new = empty(shape, dtype)
        new[...] = x
        return new

    return fill


def render_program(jaxpr: Jaxpr, name: str = "program") -> Callable[..., Any]:
    """A program as a function from arrays to a tuple of arrays.

    An index error in it names the user's line that recorded the equation.
    """
    with resting_collector():
        r = _Renderer(jaxpr, False, frozenset())
        function, _, _ = r.finish(name, jaxpr.in_types, False)
    first = function.__code__.co_firstlineno

    def run(*xs: Any) -> Any:
        try:
            return function(*xs)
        except OutOfBoundsError as error:
            if not getattr(error, "located", False):
                relocate(error, _site_of(error, function.__code__, first, r.origins, jaxpr.sites))
            raise

    return run


def _site_of(
    error: BaseException, code: Any, first: int, origins: Sequence[int], sites: Sequence[Site | None]
) -> Site | None:
    frame = error.__traceback__
    while frame is not None and frame.tb_frame.f_code is not code:
        frame = frame.tb_next
    line = -1 if frame is None else frame.tb_lineno - first - 1
    origin = origins[line] if 0 <= line < len(origins) else -1
    return sites[origin] if 0 <= origin < len(sites) else None


renderer.render = lambda call: render(call).function
renderer.render_writing = lambda call: render(call, owned=frozenset([0])).function
