"""What a planned program computes, moves and holds in memory, before it has run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

from ..core.ir import Eqn
from ..core.show import Names
from .emit import Temporary
from .plan import Item, Plan, bytes_of
from .scalar_rules import REDUCTIONS, RULES, WEIGHTS
from .scalars import MATH, dtype_of
from .small_programs import programs
from .steps import Kernel as Fused


class Work(NamedTuple):
    """Arithmetic operations, values of mathematical functions, and bytes read and written."""

    flops: int
    transcendentals: int
    bytes: int


def operations(e: Eqn) -> int:
    """Arithmetic operations of an elementwise equation for one element; 0 for mathematical functions."""
    name = e.primitive.name
    if name == "integer_pow":  # by squaring
        n = abs(e.params["n"])
        return max(n.bit_length() + n.bit_count() - 2, 1)
    return 0 if name in MATH else WEIGHTS[name] if name == "threefry2x32" else 1


def kernel_work(step: Fused, stored: set[Any]) -> tuple[int, int]:
    """Operations and functions of a fused step: each expression once for every element that it depends on."""
    roots = [r for r in step.roots if r.var in stored or r.kind == "reduce"]
    flops = sum(prod(step.shape) for r in roots if r.op is not None)
    transcendentals = 0
    for n in step.reached(roots):
        if n.kind == "rule":
            times = prod(size for a, size in enumerate(step.shape) if n.deps >> a & 1)
            flops += times * operations(n.payload)
            transcendentals += times * (n.payload.primitive.name in MATH)
    return flops, transcendentals


def call_work(item: Item) -> tuple[int, int]:
    """Operations and functions of a library call, a NumPy call or a loop that is one kernel."""
    return (item.flops, 0) if item.flops or item.eqn is None else equation_work(item.eqn)


def equation_work(e: Eqn) -> tuple[int, int]:
    """Operations and functions of an equation; of what it knows nothing about: none. Loops as in `works`."""
    name, size = e.primitive.name, sum(v.type.size for v in e.outputs)
    held = programs(e) or ([e.params["jaxpr"]] if e.primitive.region and "jaxpr" in e.params else [])  # a checkpoint
    inner = [tuple(map(sum, zip((0, 0), *map(equation_work, p.eqns), strict=True))) for p in held]
    if name == "cond":
        return max(inner, key=sum)
    if inner:
        times = e.params["length"] if name == "scan" else 1
        flops, transcendentals = map(sum, zip(*inner, strict=True))
        return times * flops, times * transcendentals
    if name in RULES:
        return size * operations(e), size * (name in MATH)
    if name in REDUCTIONS:
        return e.inputs[0].type.size, 0
    if name == "dot_general":
        return 2 * size * prod(e.inputs[0].type.shape[a] for a in e.params["contract"][0]), 0
    return 0, 0


def works(plan: Plan) -> list[Work]:
    """The work of each item. What a step's later kernels add up again is part of its first one.

    A loop whose end is not known counts as one run, and branches as the one that does most.
    """
    stored: dict[int, set[Any]] = {}
    for item in plan.items:
        if item.step is not None:
            stored.setdefault(id(item.step), set()).update(item.writes)
    out = []
    counted: set[int] = set()
    for item in plan.items:
        flops = transcendentals = 0
        if item.inner:
            out.append(loop_work(item))
            continue
        if item.step is None:
            flops, transcendentals = call_work(item)
        elif id(item.step) not in counted:
            counted.add(id(item.step))
            flops, transcendentals = kernel_work(item.step, stored[id(item.step)])
        moved = sum(map(bytes_of, dict.fromkeys(item.reads))) + sum(map(bytes_of, item.writes))
        out.append(Work(flops, transcendentals, moved))
    return out


def loop_work(item: Item) -> Work:
    """The work of the programs in a loop, as often as they are run."""
    found = []
    for inner in item.inner:
        counts = zip(*works(inner.plan), strict=True)
        found.append(Work(*[(1 if inner.times is None else inner.times) * sum(n) for n in counts]))
    if item.eqn is not None and item.eqn.primitive.name == "cond":
        return max(found, key=lambda work: work.flops + work.transcendentals)
    return Work(*map(sum, zip(*found, strict=True)))


def cost_analysis(plan: Plan) -> dict[str, int]:
    """Counts over all items: "flops", "transcendentals", "bytes accessed" and "peak memory" (bytes)."""
    total = works(plan)
    return {
        "flops": sum(w.flops for w in total),
        "transcendentals": sum(w.transcendentals for w in total),
        "bytes accessed": sum(w.bytes for w in total),
        "peak memory": memory_plan(plan, (), ()).peak_bytes,
    }


class BufferUse(NamedTuple):
    """A variable in memory: name in the program, type, bytes, place; first write and last use, by item (-1: none)."""

    name: str
    type: str
    bytes: int
    place: str
    first: int
    last: int


@dataclass(frozen=True, repr=False)
class MemoryPlan:
    """Where a program keeps what it computes. Sizes are in bytes.

    Attributes:
      buffers: what is in memory: arguments, captured arrays, results, and what lies in the arena.
      argument_bytes, constant_bytes, output_bytes: of arguments, captured arrays, results.
      alias_bytes: the part of the results that is in the memory of donated arguments.
      arena_bytes: memory for everything in between, taken once and used by one call at a time.
      in_place: which item writes what over what.
      copies: what is copied, and why.
      donated: what became of each donated argument; of a carry that is written in place, in a loop.
      loops: the same of the programs in loops, whose arenas are in the arena of this one.
    """

    buffers: tuple[BufferUse, ...]
    argument_bytes: int
    constant_bytes: int
    output_bytes: int
    alias_bytes: int
    arena_bytes: int
    in_place: tuple[str, ...]
    copies: tuple[str, ...]
    donated: tuple[str, ...]
    loops: tuple[tuple[str, MemoryPlan], ...] = ()

    @property
    def peak_bytes(self) -> int:
        """What a call takes beyond its arguments: the arena, and the results that are not in donated memory."""
        return self.arena_bytes + self.output_bytes - self.alias_bytes

    @property
    def argument_size_in_bytes(self) -> int:
        """As in JAX's `memory_analysis()`."""
        return self.argument_bytes

    @property
    def output_size_in_bytes(self) -> int:
        """As in JAX's `memory_analysis()`."""
        return self.output_bytes

    @property
    def alias_size_in_bytes(self) -> int:
        """As in JAX's `memory_analysis()`."""
        return self.alias_bytes

    @property
    def temp_size_in_bytes(self) -> int:
        """As in JAX's `memory_analysis()`: the arena."""
        return self.arena_bytes

    def __repr__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"peak {self.peak_bytes:,} bytes: arena {self.arena_bytes:,}, results {self.output_bytes:,}" + (
            f" of which {self.alias_bytes:,} in donated arguments" if self.alias_bytes else ""
        )
        yield f"besides arguments of {self.argument_bytes:,} bytes and captured arrays of {self.constant_bytes:,}"
        for b in self.buffers:
            alive = "" if b.first < 0 else f", item {b.first}" + (f" to {b.last}" if b.last > b.first else "")
            yield f"  {b.name:3} {b.type:20} {b.bytes:>12,} bytes  {b.place}{alive}"
        for title, lines in (("in place", self.in_place), ("copied", self.copies), ("donated", self.donated)):
            if lines:
                yield f"{title}:"
                yield from (f"  {line}" for line in lines)
        for title, inner in self.loops:
            yield f"{title}"
            yield from (f"  {line}" for line in inner._lines())


def memory_plan(
    plan: Plan,
    inputs: Sequence[str],
    outputs: Sequence[str],
    names: Names | None = None,
    loops: Sequence[tuple[str, MemoryPlan]] = (),
) -> MemoryPlan:
    """The memory plan; `inputs` and `outputs`: what people call the arguments and results (default: by number)."""
    names = Names(plan.jaxpr) if names is None else names
    inputs = inputs or [f"argument {i}" for i in range(len(plan.inputs))]
    outputs = outputs or [f"result {i}" for i in range(len(plan.jaxpr.outputs))]
    sizes = {"input": 0, "constant": 0, "output": 0}
    buffers = []
    for v, place in plan.places.items():
        if place.kind == "input":
            where = inputs[place.number]
        elif place.kind == "output":
            where = outputs[place.number]
            if place.number in plan.donated_to:
                where += f", in the memory of {inputs[plan.donated_to[place.number]]}"
        else:
            where = "captured" if place.kind == "constant" else repr(place)
        if place.kind == "output" and plan.results[place.number] is not v:
            where = f"memory of {where}"
        elif place.kind in sizes:
            sizes[place.kind] += bytes_of(v)
        uses = plan.first.get(v, -1), plan.last.get(v, -1)
        buffers.append(BufferUse(names.atom(v), type_text(v), bytes_of(v), where, *uses))
    copies = [f"{outputs[i]}: it is {why}" for i, why in sorted(plan.copied.items())]
    for number, item in enumerate(plan.items):
        if item.kernel is not None and item.step is None and item.eqn is None:
            what = ", ".join(map(names.atom, item.reads))
            copies.append(f"{what}, by item {number}: the library cannot read it as it lies in memory")
        elif item.vanishes:
            what = f"{names.atom(item.reads[0])} to {names.atom(item.writes[0])}"
            copies.append(f"{what}, by item {number}, to be written into: {why_copied(plan, number, item)}")
    donated = {i: f"{inputs[i]}: {outputs[o]} is written into it" for o, i in plan.donated_to.items()}
    donated |= {i: f"{inputs[i]}: not used, since {why}" for i, why in plan.unused.items()}
    return MemoryPlan(
        tuple(buffers),
        sizes["input"],
        sizes["constant"],
        sizes["output"],
        sum(bytes_of(plan.inputs[i]) for i in plan.donated_to.values()),
        plan.arena_bytes,
        tuple([f"item {n}: {names.atom(new)} over {names.atom(old)}" for n, old, new in plan.in_place]),
        tuple(copies),
        tuple([donated[i] for i in sorted(donated)]),
        tuple(loops),
    )


def type_text(v: Any) -> str:
    """The type of a variable or of a temporary, as programs show it."""
    return f"{dtype_of(v.type).name}[{v.length}]" if type(v) is Temporary else repr(v.type)


def why_copied(plan: Plan, number: int, item: Item) -> str:
    """Why an array that is written into is a copy of another, which stays as it is."""
    old = plan.base(item.reads[0])
    kind = plan.places[old].kind if old in plan.places else ""
    if kind == "constant":
        return "it is a captured array"
    if kind == "input":
        return "it is an argument, whose memory is not given to the program"
    later = [i for i, other in enumerate(plan.items) if i > number and any(plan.base(v) is old for v in other.reads)]
    return f"it is read again by item {later[0]}" if later else "the other is a result, or is used elsewhere"
