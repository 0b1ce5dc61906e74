"""Programs as statements of one kernel: arrays in registers or in memory, and branches.

    cond                            var0 = 0
                                    if %1 <= 0:
                                      var0 := ...
                                    else:
                                      var0 := ...
                                    %9 = read var0

Loops are in `unrolled_loops`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core.ir import Eqn, Jaxpr, Literal, Var
from .element_rules import apply
from .elements import LIMIT, Array, Decline, Memory, Place, array, elements, kernel_type, scalar, store
from .expressions import NAN_MET
from .layouts import contiguous
from .nests import Builder, Value
from .routines_writer import combined
from .small_programs import doubtful_outputs, doubts, indexed_only, ordered, passed, programs, weight

WORK = 2000  # scalar operations of a kernel
WIDE = 900  # of these that kernels of their own would do in lanes
LANES = 16
REGISTERS = 8  # elements up to which a carried array is in registers, however it is used
BRANCHES = 32  # of a cond
SCRATCH = 4096  # elements of an array that a kernel keeps to itself


class Unrolled:
    """Writes programs into a kernel. `trusting`: see `expressions.Expressions`.

    in_memory: whether carried arrays that could be in registers are in memory where all their indices are unknown.
    """

    def __init__(self, k: Builder, trusting: bool, in_memory: bool):
        self.k, self.trusting, self.in_memory = k, trusting, in_memory
        self.limit = LIMIT
        self.work = self.wide = 0
        self.doubt = False  # whether the output of the present equation is doubtful

    weight = staticmethod(weight)

    def spend(self, count: int, lanes: int = 1) -> None:
        """Count operations, so many of which could be done together; too many are not small."""
        self.work += count
        if lanes >= LANES // 2:
            self.wide += count * min(lanes, LANES) // LANES
        if self.work > WORK or self.wide > WIDE:
            raise Decline("it takes many operations")

    def sound(self, value: Value) -> None:
        """Stop if a doubtful result is NaN."""
        k = self.k
        k.check(k.op("eq", value, value), k.const(0, "i64"), k.const(NAN_MET, "i64"))

    def write(
        self, window: Memory, at: Sequence[int], value: Value, op: str | None = None, mask: Value | None = None
    ) -> None:
        """Write one element of an array in memory, or combine it with what is there."""
        k, buffer, index = self.k, window.place.buffer, window.index(self.k, at)
        if op is not None:
            old = k.load(buffer, index) if mask is None else k.load(buffer, index, mask, k.const(0, buffer.type))
            value = combined(k, op, old, value)
        if self.doubt:
            self.sound(value if mask is None else k.select(mask, value, k.const(0, value.type)))
        k.store(buffer, index, value, mask)

    # ----------------------------------------------------------------------------------------------------- programs

    def program(
        self, jaxpr: Jaxpr, args: Sequence[Array], doubtful: Sequence[bool], targets: dict[int, Memory] | None = None
    ) -> list[Array]:
        """The outputs of a flat program. targets: where outputs shall go, if they can be made there."""
        env: dict[Any, Array] = dict(zip(jaxpr.inputs, args, strict=True))
        table = doubts(jaxpr, doubtful) if self.trusting else {}
        wanted = {jaxpr.outputs[n]: target for n, target in (targets or {}).items()}
        for e in ordered(jaxpr, [type(x) is Memory and x.place.writable for x in args]):
            xs = [self.atom(a, env) for a in e.inputs]
            flags = [table.get(a, False) for a in e.inputs]
            self.doubt = any(table.get(v, False) for v in e.outputs)
            outs = self.equation(e, xs, flags, {n: wanted[v] for n, v in enumerate(e.outputs) if v in wanted})
            env.update(zip(e.outputs, outs, strict=True))
        return [self.atom(a, env) for a in jaxpr.outputs]

    def atom(self, a: Any, env: dict[Any, Array]) -> Array:
        return scalar(self.k.const(a.value, kernel_type(a.type.dtype))) if type(a) is Literal else env[a]

    def equation(
        self, e: Eqn, xs: Sequence[Array], flags: Sequence[bool], targets: dict[int, Memory]
    ) -> Sequence[Array]:
        """The outputs of an equation; flags: its doubtful operands; targets: where outputs shall go, by number."""
        return self.cond(e, xs, flags) if e.primitive.name == "cond" else apply(self, e, xs)

    def doubtful(self, e: Eqn, flags: Sequence[bool]) -> Sequence[bool]:
        return doubtful_outputs(e, flags) if self.trusting else [False] * len(e.outputs)

    def apart(self, state: Sequence[Any], others: Sequence[Array]) -> None:
        """Decline if what a loop changes in memory is also read under another name."""
        places = [c.place for c in state if type(c) is Memory]
        if any(type(x) is Memory and x.place in places for x in others):
            raise Decline("it reads an array that it overwrites")

    def scratch(self, t: Any) -> Memory:
        """Memory of the kernel's own."""
        if t.size > SCRATCH:
            raise Decline("it would keep a large array")
        type_ = kernel_type(t.dtype)
        return Memory(Place(self.k.scratch(type_, max(t.size, 1)), True), t.shape, contiguous(t.shape))

    def put(self, target: Memory, x: Array, doubt: bool) -> None:
        """Write an output to where it belongs, unless it was made there."""
        if target.same(x):
            return
        values = elements(self.k, x)
        if doubt:
            for value in dict.fromkeys(values.reshape(-1)):
                self.sound(value)
        store(self.k, target, values)

    # -------------------------------------------------------------------------------------------------------- carry

    def placed(self, body: Jaxpr, inputs: Sequence[int], starts: Sequence[Array]) -> list[Any]:
        """Of each carried array the memory in which it is worked on, or the variables that hold its elements."""
        out: list[Any] = []
        for n, x in zip(inputs, starts, strict=True):
            if type(x) is Memory and x.place.writable and self.stays(body, body.inputs[n]):
                x.present()
                out.append(x)
            else:
                out.append([self.k.variable(value) for value in elements(self.k, x).reshape(-1)])
        memories = [c.place for c in out if type(c) is Memory]
        if len({*memories}) < len(memories):
            raise Decline("two of its arrays are one memory")
        return out

    def stays(self, body: Jaxpr, v: Var) -> bool:
        """Whether a carried array stays in memory if it is there."""
        if v.type.size <= REGISTERS:
            return False
        return v.type.size > LIMIT or (self.in_memory and indexed_only(body, v))

    def present(self, state: Sequence[Any], types: Sequence[Any]) -> list[Array]:
        """What carried arrays are now."""
        return [
            c.now() if type(c) is Memory else array([self.k.read(v) for v in c], t.shape)
            for c, t in zip(state, types, strict=True)
        ]

    def carry(self, state: Sequence[Any], outs: Sequence[Array]) -> None:
        """What a run gives is what the next one starts from."""
        for c, x in zip(state, outs, strict=True):
            if type(c) is Memory:
                if not c.same(x):
                    raise Decline("a carried array ends up in other memory")
                x.present()  # type: ignore[union-attr]
        values = [None if type(c) is Memory else elements(self.k, x) for c, x in zip(state, outs, strict=True)]
        for c, x in zip(state, values, strict=True):
            if x is not None:
                for variable, value in zip(c, x.reshape(-1), strict=True):
                    self.k.assign(variable, value)

    # --------------------------------------------------------------------------------------------------------- cond

    def cond(self, e: Eqn, xs: Sequence[Array], flags: Sequence[bool]) -> Sequence[Array]:
        k, branches = self.k, programs(e)
        if len(branches) > BRANCHES:
            raise Decline("it has many branches")
        which, args = elements(k, xs[0])[()], xs[1:]
        types = [v.type for v in e.outputs]
        results: list[Any] = [None] * len(types)  # variables, or memory
        versions = {x.place: x.place.version for x in args if type(x) is Memory}
        reached = dict(versions)

        def side(n: int) -> None:
            for place, version in versions.items():
                place.version = version
            outs = self.program(branches[n], args, flags[1:])
            for place in versions:
                reached[place] = max(reached[place], place.version)
            values = []
            for i, out in enumerate(outs):
                if type(out) is Memory and out.place.writable and out.size > REGISTERS:
                    out.present()
                    if results[i] is not None and not out.same(results[i]):
                        raise Decline("branches give different arrays in memory")
                    results[i] = out
                else:
                    values.append((i, elements(k, out)))
            for i, value in values:
                if type(results[i]) is not list:
                    raise Decline("branches give arrays in memory and in registers")
                for variable, v in zip(results[i], value.reshape(-1), strict=True):
                    k.assign(variable, v)

        def choose(first: int) -> None:
            if first == len(branches) - 1:
                side(first)
            else:
                here = k.op("le", which, k.const(first, "i64"))
                k.either(here, lambda: side(first), lambda: choose(first + 1))

        for i, t in enumerate(types):
            if t.size <= LIMIT and not self.kept_in_memory(e, i, args):
                type_ = kernel_type(t.dtype)
                results[i] = [k.variable(k.const(0, type_)) for _ in range(t.size)]
        choose(0)
        for place, version in reached.items():
            place.version = version
        return [
            r.now() if type(r) is Memory else array([k.read(v) for v in r], t.shape)
            for r, t in zip(results, types, strict=True)
        ]

    def kept_in_memory(self, e: Eqn, output: int, args: Sequence[Array]) -> bool:
        """Whether an output is an operand in memory, in all branches."""
        source = next((i for i, o, _ in passed(e) if o == output), None)
        x = None if source is None else args[source - 1]
        return type(x) is Memory and x.place.writable and x.size > REGISTERS
