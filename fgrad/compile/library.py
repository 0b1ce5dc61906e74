"""Equations that are calls: matrix products by BLAS, what has a native routine of its own, and NumPy for the rest."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any

from ..core.effects import STAGED
from ..core.ir import Eqn, Literal, Var
from ..core.types import shaped
from . import callbacks
from .convolution import convolution_items
from .dot import plan_dot
from .emit import Launch
from .few_rows import few_rows
from .fuse import Fuser
from .kernel_loops import kernel_loop_items
from .layouts import Layout
from .loops import LOOPS, loop_items
from .nests import Builder
from .plan import Item, Thunk, copy_item, launch_item
from .pooling import pooling_items
from .products import NAMES
from .routines import routine_items
from .scalars import type_name

if TYPE_CHECKING:
    from .planner import Planner


def strided(e: Eqn) -> bool:
    """Whether a call reads its operands through strides: products of the dtypes that BLAS has."""
    return e.primitive.name == "dot_general" and e.outputs[0].type.dtype.str[1:] in NAMES


def call_items(e: Eqn, fuser: Fuser, planner: Planner) -> list[Item]:
    """The items of an equation that is no kernel's."""
    if not any(v.type.size for v in e.outputs) and not e.effects:
        return []
    if e.primitive.name in LOOPS:
        tabled = id(e) in planner.refused or "blocks" in e.params or e.effects & STAGED  # kernels call nobody
        small = None if tabled else kernel_loop_items(e, planner.keep, planner.trusting)
        return loop_items(e, planner) if small is None else small
    keep = planner.keep
    if strided(e):
        items = product(e, fuser)
        if items is not None:
            return items
    if id(e) not in fuser.refused:
        for made in (routine_items(e, keep), convolution_items(e), pooling_items(e, fuser)):
            if made is not None:
                return made
    return [numpy_item(e, fuser, keep)]


def product(e: Eqn, fuser: Fuser) -> list[Item] | None:
    """A dot_general by BLAS, with transposes of its operands folded into flags; or an update: see `accumulate`."""
    out = e.outputs[0]
    if any(type(a) is Literal for a in e.inputs):
        return None
    views = [fuser.view(a) for a in e.inputs[:2]]
    factors = e.params.get("alpha", 1), e.params.get("beta", 0)
    plan = plan_dot(*[layout for _, layout in views], out.type.dtype, e.params["contract"], e.params["batch"], *factors)
    if plan is None:
        return None
    items: list[Item] = [copy_item(old, out, vanishes=True) for old in e.inputs[2:]]
    operands: list[Any] = []
    if out.type.dtype.itemsize > 8 and any(plan.copies):
        return None
    for (var, layout), order in zip(views, plan.copies, strict=True):
        if order is None:
            operands.append(var)
            continue
        launch, copy = strided_copy(var, layout.transposed(order))
        items.append(launch_item(launch))
        operands.append(copy)
    p = plan.product
    text = f"{p.m} x {p.k} x {p.n}" + (f", {p.count} times" if p.count > 1 else "")
    launch = None if id(e) in fuser.refused else few_rows(p)
    if launch is not None:
        direct = launch_item(launch.renamed(dict(enumerate([*operands, out]))), eqn=e)
        direct.text = f"gemm {text}: {launch.kernel.name}"
        return [*items, direct]
    example = plan.thunk(0, 1, 2)

    def thunk(slot: Callable[[Any], int], address: Callable[[Any], int]) -> Thunk:
        made = plan.thunk(slot(operands[0]), slot(operands[1]), slot(out))
        return Thunk(address(made.function), made.operands, made.dims, made.extent, made.grain, made.cost)

    text, native = f"{example.function.name} {text}", [example.function]
    items.append(Item(text, operands, [out], thunk, native=native, cost=example.cost, flops=example.flops, eqn=e))
    return items


def strided_copy(var: Var, layout: Layout) -> tuple[Launch, Var]:
    """The kernel that copies a strided view of a variable's memory to memory of its own."""
    copy = Var(shaped(layout.shape, var.type.dtype))
    type = type_name(copy.type.dtype) or "f64"  # complex64 has its size
    k = Builder()
    source, target = k.buffer(type, "in"), k.buffer(type, "out")
    zero = k.const(0, "i64")
    *outer, n = layout.shape or (1,)
    count = prod(outer)
    with k.serial(k.begin, k.end) as r:
        index, behind = [], count
        for i, m in enumerate(outer):
            behind //= m
            q = r if behind == 1 else k.op("quot", r, k.dim(behind))
            index.append(k.op("rest", q, k.dim(m)) if i else q)
        with k.vector(zero, k.dim(n)) as c:
            index.append(c)
            terms = list(zip(index, [k.dim(s) for s in layout.strides], strict=True))
            value = k.load(source, k.affine(terms, k.dim(layout.start) if layout.start else None))
            k.store(target, k.add(k.mul(r, k.dim(n)), c), value)
    launch = Launch(k.finish(), [var, copy], k.dims, count, max(-(-count // 16), 1))
    launch.cost = 20 + 0.5 * copy.type.size
    return launch, copy


def numpy_item(e: Eqn, fuser: Fuser, keep: list[Any]) -> Item:
    """A NumPy call inside the program."""
    reads = callbacks.variables(e)
    layouts: list[Any] = [None] * len(reads)
    if strided(e):
        views = [fuser.view(a) for a in reads]
        reads = [var for var, _ in views]
        layouts = [(var.type, layout) for var, layout in views]
    registration = callbacks.Registration(callbacks.numpy_call(e, layouts))
    keep.append(registration)

    def thunk(slot: Callable[[Any], int], address: Callable[[Any], int]) -> Thunk:
        operands = tuple([slot(a) for a in (*reads, *e.outputs)])
        return Thunk(address(callbacks.call_python), operands, (registration.number,), 1, 1, cost)

    cost = 5000.0 + sum(a.type.size for a in (*e.inputs, *e.outputs))
    native = [callbacks.call_python]
    return Item(f"NumPy: {e.primitive.name}", reads, e.outputs, thunk, native=native, cost=cost, eqn=e)
