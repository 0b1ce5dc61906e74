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
from ..core.handles import fresh
from ..core.ir import Jaxpr
from ..core.leaves import Own, checked, described, name_of, path_of
from ..core.primitive import Region
from ..core.trace import Tracer, signature
from ..core.types import ShapedArray, Signature, aval_of
from ..primitives.family import p

_RANK = "biufc"

Adapter = Callable[..., tuple[Any, ...]]
"""(function, *arguments) -> the trees of its result. A function of a module, since programs are kept by it too."""


class Body:
    """A traced function: its program, the same with what it captured as operands, structures and types of its results.

    `consts` are the captured values, `arguments` the signatures of the arguments' leaves.
    """

    __slots__ = ("arguments", "consts", "jaxpr", "program", "sigs", "trees")

    def __init__(
        self,
        program: Jaxpr,
        arguments: Sequence[Signature],
        trees: tuple[tree.Structure, ...],
        sigs: Sequence[Signature],
    ):
        self.program = program
        self.consts = program.consts
        self.jaxpr = program.closed()
        self.arguments = list(arguments)
        self.trees = trees
        self.sigs = list(sigs)


def one(fun: Callable[..., Any], *args: Any) -> tuple[Any, ...]:
    """The adapter of a function whose result is one tree."""
    return (fun(*args),)


def check_function(fun: Any, what: str) -> None:
    """TypeError unless `fun` is a function; `what` is the argument."""
    if not callable(fun):
        do = "pass the function, not its result"
        raise TypeError(message(f"{what} must be a function", got=described(fun), do=do))


def flattened(x: Any, what: str) -> tuple[list[Any], tree.Structure]:
    """Checked leaves of an argument, called `what` in errors, and its structure."""
    leaves, structure = tree.flatten(x)
    return checked(leaves, structure, what, settling=False), structure


def body_of(fun: Callable[..., Any], title: str, structure: tree.Structure, sigs: Sequence[Signature]) -> Body:
    """`fun` on arguments of that structure with leaves of these signatures, as a program."""
    return _kept(fun, (title, structure, tuple(sigs)), lambda: _traced(fun, title, structure, sigs, one, slice(0, 0)))


def _kept(fun: Callable[..., Any], key: tuple[Any, ...], make: Callable[[], Body]) -> Body:
    cache, key = cache_of(fun), (*key, numbers_around(fun))
    found: Body | None = cache.get(key)
    if found is None:
        found = make()
        if not found.consts:
            if len(cache) >= LIMIT:
                cache.clear()
            cache[key] = found
    return found


def _traced(
    fun: Callable[..., Any],
    title: str,
    structure: tree.Structure,
    sigs: Sequence[Signature],
    adapter: Adapter,
    carry: slice,
) -> Body:
    """Leaves in `carry` are what a loop hands from one run to the next, and the leading results their new values."""
    trees: tuple[tree.Structure, ...] = ()
    wanted = sigs[carry]

    def flat(*leaves: Any) -> list[Any]:
        nonlocal trees
        state = [fresh(x) for x in leaves[carry]]  # no arguments: a body may write into its carry
        args = tree.unflatten(structure, [*leaves[: carry.start], *state, *leaves[carry.stop :]])
        pairs = [tree.flatten(t) for t in adapter(fun, *args)]
        trees = tuple([t for _, t in pairs])
        outs = [y for ys, t in pairs for y in checked(ys, t, f"{title}: the result of {name_of(fun)} at ")]
        return [*[fitted(y, s) for y, s in zip(outs, wanted, strict=False)], *outs[len(wanted) :]]

    jaxpr, out_sigs = trace(flat, sigs, title, body=True)
    return Body(jaxpr, sigs, trees, out_sigs)


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
    outs = [own(y) for y in outs]
    return [Tracer(y.owner, y.aval, y.value, y.slot) if type(y) is Tracer else y for y in outs]


def settled(
    fun: Callable[..., Any],
    title: str,
    structure: tree.Structure,
    sigs: Sequence[Signature],
    *,
    carry: slice,
    carry_tree: tree.Structure,
    adapter: Adapter = one,
) -> Body:
    """As `body_of`, with such types of the carry that the function returns the same.

    A carry that starts as a Python number takes the dtype that comes out of the function: 0.0 becomes float32 where
    float32 numbers are added to it. Raises an error that names the leaf where another carry changes its type.
    """

    def make() -> Body:
        now = list(sigs)
        while True:
            body = _traced(fun, title, structure, now, adapter, carry)
            if body.trees[0] != carry_tree:
                what = f"{title}: {name_of(fun)} returns a carry of another structure than it gets"
                got = tree.explain_mismatch(carry_tree, body.trees[0])
                raise TreeError(message(what, got=got, do="return the same containers with the same keys and lengths"))
            found = [_joined(s, y) for s, y in zip(now[carry], body.sigs, strict=False)]
            if found == now[carry]:
                break
            now[carry] = found
        for i, (s, y) in enumerate(zip(found, body.sigs, strict=False)):
            a, b = aval_of(s), aval_of(y)
            if a != b:
                what = f"{title}: {name_of(fun)} changes the type of the carry{path_of(carry_tree, i)}"
                do = f"convert what is returned with .astype(np.{a.dtype.name}), or start from {b.dtype.name}"
                if a.shape != b.shape:
                    do = "return it in the shape in which it comes, or start from the other"
                raise unequal(a, b)(message(what, got=f"{a} goes in, {b} comes out", do=do))
        return body

    return _kept(fun, (title, adapter, structure, tuple(sigs)), make)


def _joined(carry: Signature, result: Signature) -> Signature:
    """The signature of a carry, given that of its next value."""
    return result if is_weak(carry) and fits(carry, result) else carry


def applied(region: Region, operands: Sequence[Any], count: int, **params: Any) -> list[Any]:
    """The `count` outputs of a region, as a list; nothing is run that has neither outputs nor effects."""
    if not count and not region.effects(**params) & KEPT:
        return []
    out = region(*operands, **params)
    return list(out) if type(out) is tuple else [out]
