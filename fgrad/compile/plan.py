"""The plan of a program: steps become items (kernels, library calls, NumPy calls, copies), and variables get memory.

Every variable that is kept has a place: the slot of an input, of a constant, of an output, or a range of the arena.
An item that may overwrite an operand does so where the operand dies; the memory of a donated argument is an output's if
nothing reads it any more when the output is written. Outputs are never in the arena nor in memory of an argument that
was not donated. What was decided for each write, and why, is kept for people to read.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..core.ir import Eqn, Jaxpr, Literal, Var
from ..core.types import ShapedArray, shaped
from .blocks import emitter
from .emit import Launch, Temporary
from .native.language import Native, load_i64, memcpy, native
from .native.program import Thunk
from .native.records import with_records
from .nests import Kernel
from .order import reads_first
from .ranges import Ranges
from .scalars import size_of
from .steps import Kernel as Fused

ALIGN = 64  # bytes


MakeThunk = Callable[[Callable[[Any], int], Callable[[Any], int]], Thunk]


class Item:
    """One native call on memory: what it reads and writes, and how its thunk is made.

    `thunk(slot, address)` gives the Thunk, from the slot of each operand and the address of kernels (by name) and
    native functions. `overwrites`: pairs (read, written) that may share memory. `kernel`, `native`: its code.
    `vanishes`: nothing is to be done where what it reads and what it writes are the same memory. `inner`: the programs
    of a loop.
    """

    __slots__ = (
        *("cost", "eqn", "flops", "inner", "kernel", "native", "overwrites", "reads", "step", "text", "thunk"),
        *("vanishes", "writes"),
    )

    def __init__(
        self,
        text: str,
        reads: Sequence[Any],
        writes: Sequence[Any],
        thunk: MakeThunk,
        overwrites: Sequence[tuple[Any, Any]] = (),
        kernel: Kernel | None = None,
        native: Sequence[Native] = (),
        cost: float = 0.0,
        flops: int = 0,
        eqn: Eqn | None = None,
        step: Fused | None = None,
        vanishes: bool = False,
        inner: Sequence[Inner] = (),
    ):
        self.text, self.reads, self.writes, self.thunk = text, tuple(reads), tuple(writes), thunk
        self.overwrites, self.kernel, self.native = tuple(overwrites), kernel, tuple(native)
        self.cost, self.flops, self.eqn, self.step, self.vanishes = cost, flops, eqn, step, vanishes
        self.inner = tuple(inner)


def bytes_of(key: Any) -> int:
    """Size of a variable or a temporary."""
    if type(key) is Temporary:
        return key.length * size_of(key.type)
    return key.type.size * key.type.dtype.itemsize


class Place:
    """Where variables are kept: kind "input", "constant", "output" (number) or "arena" (offset)."""

    __slots__ = ("kind", "number", "size")

    def __init__(self, kind: str, number: int, size: int):
        self.kind, self.number, self.size = kind, number, size

    def __repr__(self) -> str:
        return f"{self.kind} {self.number}" if self.kind != "arena" else f"arena + {self.number}"


NOWHERE = Place("nowhere", 0, 0)  # of arrays without elements that nothing writes


class Output(NamedTuple):
    """A result of the program: its type, and the donated input whose memory it is (-1: memory of its own)."""

    type: ShapedArray
    donated: int


class Inner(NamedTuple):
    """A program inside a loop: what it is there, how often it is run (None: not known), what people call its ends."""

    title: str
    plan: Plan
    times: int | None
    inputs: Sequence[str]
    outputs: Sequence[str]


class Plan:
    """Items in order, and the place of everything they touch.

    `donated`: inputs whose memory may be used, and the outputs that may lie there. `start`: the number of its first
    item among those of a program and of all its loops.
    """

    start = 0

    def __init__(
        self,
        jaxpr: Jaxpr,
        steps: Sequence[Any],
        items: Sequence[Item],
        aliases: dict[Var, Var],
        donated: Mapping[int, Container[int]],
    ):
        self.jaxpr = jaxpr
        self.steps = steps
        self.aliases = aliases
        self.items = reads_first(items, self.base)
        self.places: dict[Any, Place] = {}
        self.in_place: list[tuple[int, Any, Any]] = []  # number of an item, what it overwrites, by what
        self.copied: dict[int, str] = {}  # output: why it is a copy
        self.unused: dict[int, str] = {}  # donated input: why nothing is written there
        self.results: list[Var] = []  # in memory, in the order of the outputs
        self.donated_to: dict[int, int] = {}  # output: input
        self.constants: list[Any] = list(jaxpr.consts)
        self.inputs = jaxpr.inputs[len(jaxpr.consts) :]
        for i, v in enumerate(jaxpr.inputs):
            n = len(jaxpr.consts)
            place = Place("constant", i, bytes_of(v)) if i < n else Place("input", i - n, bytes_of(v))
            self.places[v] = place
        self.outputs()
        self.lifetimes()
        self.share(donated)
        self.arena()
        self.leave_out()

    def base(self, v: Any) -> Any:
        """The variable whose memory this one is."""
        while v in self.aliases:
            v = self.aliases[v]
        return v

    def walk(self) -> Iterator[Plan]:
        """This plan, and those of the loops in it."""
        yield self
        for item in self.items:
            for inner in item.inner:
                yield from inner.plan.walk()

    def equations(self, names: Sequence[str]) -> list[Eqn]:
        """The equations in kernels of these names."""
        items = [i for p in self.walk() for i in p.items if i.kernel is not None and i.kernel.name in names]
        found = [e for i in items if i.step is not None for e in i.step.equations()]
        return found + [i.eqn for i in items if i.eqn is not None]

    def outputs(self) -> None:
        """Give outputs their places; what cannot be written there at once is copied: first, or at the end."""
        written = {v for item in self.items for v in item.writes}
        taken: set[Any] = set()
        front: list[Item] = []
        for i, a in enumerate(self.jaxpr.outputs):
            place = Place("output", i, a.type.size * a.type.dtype.itemsize)
            if type(a) is Var and self.base(a) in written and self.base(a) not in taken:
                self.places[self.base(a)] = place
                self.results.append(self.base(a))
                taken.add(self.base(a))
                continue
            target = Var(a.type)
            self.places[target] = place
            self.results.append(target)
            if not a.type.size:
                continue
            if type(a) is Literal:
                source: Any = self.constant(np.array(a.value))
                why = "a constant"
            else:
                source = a
                found = self.places.get(self.base(a))
                kind = "" if found is None else found.kind
                why = {"input": "an argument", "constant": "a captured array"}.get(kind, "returned twice")
            self.copied[i] = why
            (self.items if self.base(source) in written else front).append(copy_item(source, target))
        self.items[:0] = front

    def constant(self, array: np.ndarray) -> Var:
        """A variable for an array known now."""
        v = Var(shaped(array.shape, array.dtype))
        self.places[v] = Place("constant", len(self.constants), array.nbytes)
        self.constants.append(array)
        return v

    def lifetimes(self) -> None:
        """First write and last use of everything that has no place yet."""
        self.first: dict[Any, int] = {}
        self.last: dict[Any, int] = {}
        for number, item in enumerate(self.items):
            for v in item.writes:
                self.first.setdefault(self.base(v), number)
                self.last[self.base(v)] = number
            for v in item.reads:
                self.last[self.base(v)] = number

    def share(self, donated: Mapping[int, Container[int]]) -> None:
        """Let items overwrite operands that die there; let outputs take the memory of donated inputs."""
        self.group: dict[Any, Any] = {}
        self.donated = donated
        free = {i for i in donated if i < len(self.inputs)}
        for number, item in enumerate(self.items):
            used: set[Any] = set()
            for old, new in sorted(
                item.overwrites, key=lambda pair: self.base(pair[0]) not in self.places
            ):  # donated first
                a, b = self.base(old), self.base(new)
                if a in used or b in used or self.last.get(a, -1) != number or self.first.get(b) != number:
                    continue
                place = self.places.get(a)
                if bytes_of(a) != bytes_of(b) or sum(self.base(v) is a for v in item.reads) > 1:
                    continue
                if place is None:
                    self.group[self.root(b)] = self.root(a)
                elif place.kind == "input" and place.number in free and self.fit(place.number, b):
                    self.give(place.number, b)
                    free.discard(place.number)
                else:
                    continue
                used |= {a, b}
                self.in_place.append((number, old, new))
        start: dict[Any, int] = {}  # first write of each memory
        for v, number in self.first.items():
            start[self.root(v)] = min(number, start.get(self.root(v), number))
        for v, place in list(self.places.items()):
            if place.kind != "output" or place.number in self.donated_to:
                continue
            root = self.root(v)
            fitting = [i for i in sorted(free) if self.fit(i, v)]
            over = [i for i in fitting if self.overwritten(self.inputs[i], root)]  # by what is written there first
            dead = [i for i in fitting if self.last.get(self.inputs[i], -1) < start.get(root, -1)]
            for i in [*over, *dead][:1]:
                self.give(i, v)
                free.discard(i)
            if over:
                self.in_place.append((start[root], self.inputs[over[0]], root))
        for i in sorted(free):
            type = self.inputs[i].type
            self.unused[i] = f"no result is a {type} that is written only when nothing reads it any more"

    def overwritten(self, old: Any, new: Any) -> bool:
        """Whether the item that writes `new` first may write it over `old`, which nothing reads any more."""
        number = self.first.get(new, -1)
        if number < 0 or self.last.get(old, -1) != number or bytes_of(old) != bytes_of(new):
            return False
        item = self.items[number]
        reads = [self.base(v) for v in item.reads]
        return reads.count(old) == 1 and any((self.base(a), self.base(b)) == (old, new) for a, b in item.overwrites)

    def output_of(self, v: Any) -> int | None:
        place = self.places.get(v)
        return place.number if place is not None and place.kind == "output" else None

    def fit(self, i: int, v: Any) -> bool:
        """Whether `v` is an output, seen as what input i is: the result is the very array that was given."""
        number = self.output_of(v)
        if number is None or number not in self.donated[i]:
            return False
        return self.jaxpr.outputs[number].type is self.inputs[i].type

    def give(self, i: int, v: Any) -> None:
        number = self.output_of(v)
        assert number is not None
        self.donated_to[number] = i

    def root(self, v: Any) -> Any:
        while v in self.group:
            v = self.group[v]
        return v

    def arena(self) -> None:
        """Ranges of the arena: each group of variables that share memory, first fit by size among those alive."""
        members: dict[Any, list[Any]] = {}
        for v in self.first:
            members.setdefault(self.root(v), []).append(v)
        spans = []
        for group in members.values():
            fixed = [self.places[v] for v in group if v in self.places]
            if fixed:  # the buffer of an output is worked in from the beginning
                for v in group:
                    self.places[v] = fixed[0]
                continue
            start, stop = min(self.first[v] for v in group), max(self.last[v] for v in group)
            spans.append((start, stop, max(bytes_of(v) for v in group), group))
        self.arena_bytes = 0
        self.largest_sum = 0
        free = Ranges()
        ends: dict[int, list[tuple[int, int]]] = {}
        spans.sort(key=lambda s: (s[0], -s[2]))
        done = 0
        for start, stop, size, group in spans:
            while done < start:
                for offset, length in ends.pop(done, ()):
                    free.put(offset, length)
                done += 1
            size = -(-size // ALIGN) * ALIGN
            offset = free.take(size)
            ends.setdefault(stop, []).append((offset, size))
            for v in group:
                self.places[v] = Place("arena", offset, bytes_of(v))
        self.arena_bytes = free.top

    def memory(self, v: Any) -> tuple[str, int]:
        """What memory a variable has: the kind of its place and the number; a donated input where it is that one's."""
        place = self.places.get(self.base(v), NOWHERE)
        if place.kind == "output" and place.number in self.donated_to:
            return "input", self.donated_to[place.number]
        return place.kind, place.number

    def leave_out(self) -> None:
        """Drop the copies from a memory to itself; what is in place there is the next item's."""
        kept: list[Item] = []
        number: list[int] = []
        for item in self.items:
            number.append(len(kept))
            if not (item.vanishes and self.memory(item.reads[0]) == self.memory(item.writes[0])):
                kept.append(item)
        self.items = kept
        number = [min(n, len(kept) - 1) for n in number]
        self.in_place = [(number[i], old, new) for i, old, new in self.in_place]
        self.first = {v: number[i] for v, i in self.first.items()}
        self.last = {v: number[i] for v, i in self.last.items()}


def slots_of(plan: Plan, number: Callable[[tuple[str, int]], int]) -> Callable[[Any], int]:
    """The function from what items touch to slots, of which each place in memory has one, by `number`."""

    known: dict[Any, int] = {}

    def slot(v: Any) -> int:
        found = known.get(v)
        if found is None:
            assert plan.places.get(plan.base(v), NOWHERE) is not NOWHERE or not v.type.size
            found = known[v] = number(plan.memory(v))
        return found

    return slot


@native("i32(i64 call, i64 operands, i64 dims, i64 begin, i64 end)")
def copy(call, operands, dims, begin, end):  # type: ignore[no-untyped-def]
    """Elements [begin, end) of the first operand to the second; dims: bytes of an element."""
    size = load_i64(dims)
    memcpy(load_i64(operands + 8) + begin * size, load_i64(operands) + begin * size, (end - begin) * size)
    return 0


def launch_item(launch: Launch, step: Fused | None = None, eqn: Eqn | None = None) -> Item:
    """The item of a kernel; `step` or `eqn` is what it computes."""
    kernel = launch.kernel
    reads = [a for a, b in zip(launch.operands, kernel.buffers, strict=True) if b.mode == "in"]
    writes = [a for a, b in zip(launch.operands, kernel.buffers, strict=True) if b.mode == "out"]

    native = [d for d in launch.dims if isinstance(d, Native)]
    grows = any(b.mode == "records" for b in kernel.scratch)

    def thunk(slot: Callable[[Any], int], address: Callable[[Any], int]) -> Thunk:
        operands = tuple([slot(a) for a in launch.operands])
        dims = tuple([address(d) if isinstance(d, Native) else d for d in launch.dims]) if native else launch.dims
        function = address(kernel.name)
        if grows:
            function, dims = address(with_records), (function, *dims)
        return Thunk(function, operands, dims, launch.extent, launch.grain, launch.cost)

    native += [with_records] if grows else []
    pairs = [(launch.operands[i], launch.operands[o]) for i, o in launch.overwrites]
    text = kernel.name if eqn is None else f"{kernel.name}: {eqn.primitive.name}"
    return Item(text, reads, writes, thunk, pairs, kernel, native, launch.cost, launch.flops, eqn, step)


def copy_item(source: Any, target: Any, vanishes: bool = False) -> Item:
    """The item that copies memory; `vanishes`: to the same memory where the source dies, which is to do nothing."""

    def thunk(slot: Callable[[Any], int], address: Callable[[Any], int]) -> Thunk:
        size = target.type.dtype.itemsize
        grain = max(-(-(1 << 20) // size), 1)
        n = target.type.size
        return Thunk(address(copy), (slot(source), slot(target)), (size,), n, grain, 20 + 0.1 * n * size)

    pairs = [(source, target)] if vanishes else []
    return Item("copy", [source], [target], thunk, pairs, native=[copy], vanishes=vanishes)


_LAUNCHES: dict[Any, list[Launch]] = {}
LIMIT = 4096


def launches(step: Fused, stored: Sequence[Var], trusting: bool) -> list[Launch]:
    """The launches of a fused step: built, or taken over from a step that was equal up to names."""
    key, variables = signature(step, stored)
    key = (trusting, key)
    known = _LAUNCHES.get(key)
    if known is None:
        made = emitter(step, stored, trusting).run()
        number = {v: i for i, v in enumerate(variables)}
        if len(_LAUNCHES) >= LIMIT:
            for old in list(_LAUNCHES)[: LIMIT // 2]:
                _LAUNCHES.pop(old, None)
        plain = [launch.renamed({a: number.get(a, a) for a in launch.operands}) for launch in made]
        _LAUNCHES[key] = plain
        return made
    names: dict[Any, Any] = dict(enumerate(variables))
    for launch in known:
        for a in launch.operands:
            if type(a) is Temporary:
                names.setdefault(a, Temporary(a.type, a.length))
    return [launch.renamed(names) for launch in known]


def signature(step: Fused, stored: Sequence[Var]) -> tuple[Any, list[Var]]:
    """What makes two steps equal up to names, and the variables behind the numbers in it."""
    kept = set(stored)
    number: dict[Var, int] = {}
    variables: list[Var] = []
    nodes: dict[int, int] = {}
    flat: list[Any] = [step.shape, step.rows, step.columns]

    def name(v: Var) -> int:
        if v not in number:
            number[v] = len(variables)
            variables.append(v)
        return number[v]

    def form(f: Any) -> Any:
        return f.terms, f.const, tuple([(nodes[n.number], c) for n, c in f.nodes])

    def visit(start: Any) -> int:
        todo = [start]
        while todo:
            n = todo[-1]
            if n.number in nodes:
                todo.pop()
                continue
            missing = [a for a in n.args if a.number not in nodes]
            if missing:
                todo.extend(missing)
                continue
            todo.pop()
            args = tuple([nodes[a.number] for a in n.args])
            if n.kind == "load":
                v, f, mask = n.payload
                payload: Any = (name(v), form(f), None if mask is None else nodes[mask.number])
            elif n.kind == "index":
                payload = form(n.payload)
            elif n.kind == "rule":
                payload = (n.payload.primitive, *n.payload.params.items())
            elif n.kind == "const":
                payload = n.payload.tobytes()
            elif n.kind == "value":
                payload = name(n.payload)
            else:
                payload = n.payload
            nodes[n.number] = len(nodes)
            flat.append((n.kind, n.type, payload, args))
        return nodes[start.number]

    for r in step.roots:
        at = visit(r.node)
        flat.append((r.kind, r.op, at, name(r.var), r.var in kept, r.var.type.shape))
    return tuple(flat), variables
