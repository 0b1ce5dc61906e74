"""The functions that users give to loops and branches, as programs.

A function is traced once, abstractly, and what it captures becomes operands. The program is kept by the function's
identity, so that a loop in eager code is traced at its first call only. It is traced again where a number has changed
that the function names (a global, a variable of an enclosing function), and every time where it captures an array or a
traced value. What else it depends on (attributes of objects, contents of lists, globals of functions that it calls) is
read when it is traced and then taken for constant, as `jit` does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..core import tree
from ..core.builder import trace
from ..core.calls import LIMIT
from ..core.effects import KEPT
from ..core.errors import DtypeError, FgradError, ShapeError, TreeError, message
from ..core.functions import cache_of, numbers_around
from ..core.ir import Jaxpr
from ..core.leaves import Own, checked, name_of, path_of
from ..core.primitive import Region
from ..core.trace import Tracer, signature
from ..core.types import ShapedArray, Signature, aval_of
from ..primitives.family import p

_RANK = "biufc"

Adapter = Callable[..., tuple[Any, ...]]
"""(function, *arguments) -> the trees of its result. A function of a module, since programs are kept by it too."""


class Body:
    """A traced function: its program, the same with what it captured as operands, structures and types of its results.

    `consts` are the captured values.
    """

    __slots__ = ("consts", "jaxpr", "program", "sigs", "trees")

    def __init__(self, program: Jaxpr, trees: tuple[tree.Structure, ...], sigs: Sequence[Signature]):
        self.program = program
        self.consts = program.consts
        self.jaxpr = program.closed()
        self.trees = trees
        self.sigs = list(sigs)


def one(fun: Callable[..., Any], *args: Any) -> tuple[Any, ...]:
    """The adapter of a function whose result is one tree."""
    return (fun(*args),)


def check_function(fun: Any, what: str) -> None:
    """TypeError unless `fun` is a function; `what` is the argument."""
    if not callable(fun):
        raise TypeError(
            message(f"{what} must be a function", got=f"a {type(fun).__name__}", do="pass the function, not its result")
        )


def flattened(x: Any, what: str) -> tuple[list[Any], tree.Structure]:
    """Checked leaves of an argument, called `what` in errors, and its structure."""
    leaves, structure = tree.flatten(x)
    return checked(leaves, structure, what), structure


def body_of(
    fun: Callable[..., Any],
    title: str,
    structure: tree.Structure,
    sigs: Sequence[Signature],
    adapter: Adapter = one,
    carry: slice = slice(0, 0),
) -> Body:
    """`fun` on arguments of that structure with leaves of these signatures, as a program.

    Leaves in `carry` are what a loop hands from one run to the next, and the leading results their new values: a weakly
    typed one takes the carry's dtype where it can.
    """
    key = (title, adapter, structure, tuple(sigs), numbers_around(fun))
    cache = cache_of(fun)
    found: Body | None = cache.get(key)
    if found is not None:
        return found
    trees: tuple[tree.Structure, ...] = ()

    def flat(*leaves: Any) -> list[Any]:
        nonlocal trees
        leaves = (*leaves[: carry.start], *map(carried, leaves[carry]), *leaves[carry.stop :])
        pairs = [tree.flatten(t) for t in adapter(fun, *tree.unflatten(structure, leaves))]
        trees = tuple([t for _, t in pairs])
        outs = [y for ys, t in pairs for y in checked(ys, t, f"{title}: the result of {name_of(fun)} at ")]
        wanted = sigs[carry]
        return [*[fitted(y, s) for y, s in zip(outs, wanted, strict=False)], *outs[len(wanted) :]]

    jaxpr, out_sigs = trace(flat, sigs, title, body=True)
    found = Body(jaxpr, trees, out_sigs)
    if not found.consts:
        if len(cache) >= LIMIT:
            cache.clear()
        cache[key] = found
    return found


def carried(x: Tracer) -> Tracer:
    """The carry of a run as its function sees it."""
    return x


def is_weak(sig: Signature) -> bool:
    """Whether a signature is that of a Python number."""
    return type(sig) is type


def fits(weak: Signature, other: Signature) -> bool:
    """Whether a Python number may take the type of the other."""
    a, b = aval_of(weak), aval_of(other)
    return b.shape == () and _RANK.index(a.dtype.kind) <= _RANK.index(b.dtype.kind.replace("u", "i"))


def unequal(a: ShapedArray, b: ShapedArray) -> type[FgradError]:
    """The class of the error for two types that ought to be one."""
    return ShapeError if a.shape != b.shape else DtypeError


def fitted(x: Any, sig: Signature) -> Any:
    """`x` with a given signature where it is a Python number that fits, else as it is."""
    mine = signature(x)
    if not is_weak(mine) or mine is sig or not fits(mine, sig):
        return x
    y = strong(x, sig)
    if not is_weak(sig):
        return y
    return Tracer(y.owner, sig, y.value, y.slot) if type(y) is Tracer else sig(y)  # type: ignore[operator]


def strong(x: Any, sig: Signature) -> Any:
    """A leaf as an operand of the type behind `sig`: a Python number, traced or not, at its dtype."""
    if not is_weak(signature(x)):
        return x
    dtype = aval_of(sig).dtype
    if type(x) is not Tracer:
        return dtype.type(x)
    return x if x.dtype == dtype else p.convert_element_type(x, dtype=dtype)


def handed_out(outs: Sequence[Any], operands: Sequence[Any]) -> list[Any]:
    """Results of a program that was run in place of a region, as that gives them: their own, and not weak."""
    own = Own(operands)
    return [Tracer(y.owner, y.aval, y.value, y.slot) if type(y) is Tracer else own(y) for y in outs]


def settled(
    fun: Callable[..., Any],
    title: str,
    structure: tree.Structure,
    sigs: Sequence[Signature],
    *,
    carry: slice,
    carry_tree: tree.Structure,
    adapter: Adapter = one,
) -> tuple[Body, list[Signature]]:
    """The function with a carry of such types that it returns the same, and the signatures of its arguments.

    A carry that starts as a Python number takes the dtype that comes out of the function: 0.0 becomes float32 where
    float32 numbers are added to it. Raises an error that names the leaf where another carry changes its type.
    """
    sigs = list(sigs)
    while True:
        body = body_of(fun, title, structure, sigs, adapter, carry)
        if body.trees[0] != carry_tree:
            what = f"{title}: {name_of(fun)} returns a carry of another structure than it gets"
            got = tree.explain_mismatch(carry_tree, body.trees[0])
            raise TreeError(message(what, got=got, do="return the same containers with the same keys and lengths"))
        found = [_joined(s, y) for s, y in zip(sigs[carry], body.sigs, strict=False)]
        if found == sigs[carry]:
            break
        sigs[carry] = found
    for i, (s, y) in enumerate(zip(found, body.sigs, strict=False)):
        a, b = aval_of(s), aval_of(y)
        if a != b:
            what = f"{title}: {name_of(fun)} changes the type of the carry{path_of(carry_tree, i)}"
            got = f"{a} goes in, {b} comes out"
            if a.shape != b.shape:
                raise ShapeError(
                    message(what, got=got, do="return it in the shape in which it comes, or start from the other")
                )
            do = f"convert what is returned with .astype(np.{a.dtype.name}), or start from {b.dtype.name}"
            raise DtypeError(message(what, got=got, do=do))
    return body, sigs


def _joined(carry: Signature, result: Signature) -> Signature:
    """The signature of a carry, given that of its next value."""
    return result if is_weak(carry) and fits(carry, result) else carry


def applied(region: Region, operands: Sequence[Any], count: int, **params: Any) -> list[Any]:
    """The `count` outputs of a region, as a list; nothing is run that has neither outputs nor effects."""
    if not count and not region.effects(**params) & KEPT:
        return []
    out = region(*operands, **params)
    return list(out) if type(out) is tuple else [out]
