"""grad, vjp, jvp and what is made of them.

Outside jit these run the function once on concrete values: Python control flow works, and every operation is a NumPy
call that also goes on a tape. Inside another trace the same operations are recorded there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np

from ..core import tree
from ..core.errors import GradError, ShapeError, TreeError, message
from ..core.handles import argument, fresh, settled
from ..core.leaves import Own, check_callable, checked, described, name_of, path_of
from ..core.trace import Tracer, signature, unmasked
from ..core.types import aval_of, canonical, shaped
from ..passes.jvp import Dual, split
from ..passes.linearize import Tape


def normalized(argnums: int | Sequence[int], count: int, f: Callable[..., Any]) -> tuple[int, ...]:
    nums = (argnums,) if isinstance(argnums, int | np.integer) else tuple(argnums)
    for n in nums:
        if not -count <= n < count:
            raise GradError(
                message(
                    f"argnums names positional argument {n}, but {name_of(f)} was called with {count} of them",
                    got=f"argnums={argnums}",
                    do="pass differentiated arguments by position",
                )
            )
    return tuple(n % count for n in nums)


def _check_differentiable(
    aval: Any, fun: Callable[..., Any], allow_int: bool, holomorphic: bool, treedef: Any, i: int
) -> None:
    """`GradError` for a leaf that cannot be differentiated."""
    if not aval.inexact and not allow_int:
        raise GradError(
            message(
                f"{name_of(fun)}: the differentiated argument{'' if treedef is None else path_of(treedef, i)} "
                "holds integers or booleans, which have no derivative",
                got=aval,
                do="pass floats (3.0, not 3; x.astype(float)), choose other argnums, or set allow_int=True",
            )
        )
    if aval.inexact and holomorphic and aval.dtype.kind != "c":
        raise GradError(
            message(
                "holomorphic=True needs complex arguments", got=aval, do="pass complex values, or leave holomorphic out"
            )
        )


# dtype of derivatives by integers: they carry nothing
float0 = np.dtype([("float0", np.void, 0)])


def _zero_like(x: Any) -> Any:
    aval = aval_of(signature(x))
    if not aval.inexact:
        return np.zeros(aval.shape, float0)
    return np.zeros(aval.shape, aval.dtype) if aval.shape else aval.dtype.type(0)


def unwrapped(tape: Any, y: Any, own: Own) -> Any:
    """A result of a function that ran on `tape`, as the caller's own."""
    if type(y) is Tracer:
        y = settled(y)
    if type(y) is Tracer and y.owner is tape:
        return own.copied(y.value) if tape.outlives else own(y.value)
    return own.copied(y)


def value_and_grad(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
) -> Callable[..., Any]:
    """A function that returns the value of `fun` and its gradient.

    fun: returns a real scalar (with `has_aux`, a pair of it and any pytree; with `holomorphic`, a complex scalar).
    argnums: which positional arguments are differentiated; each is a pytree of float or complex arrays.
    Returns `(value, gradient)`, with `has_aux` `((value, aux), gradient)`. The gradient has the structure, shapes and
    dtypes of the argument, a tuple of such for several argnums. For complex arguments z = x + iy it is
    df/dx - i df/dy.

    Errors: `GradError` for a loss that is no scalar, integer arguments, argnums out of range; `LeafError` for leaves
    that are no arrays.

    >>> value_and_grad(lambda x: x**2)(3.0)
    (np.float64(9.0), np.float64(6.0))
    """

    check_callable(fun, "grad")
    single = isinstance(argnums, int | np.integer)

    @wraps(fun, updated=())
    def value_and_gradient(*args: Any, **kwargs: Any) -> Any:
        count = len(args)
        nums = (argnums,) if single and 0 <= argnums < count else normalized(argnums, count, fun)  # type: ignore[operator]
        chosen: Any = args[nums[0]] if single else tuple([args[n] for n in nums])
        cls = type(chosen)
        if cls is np.ndarray or cls is float or cls is Tracer or cls is np.float64:
            leaves, treedef = [settled(chosen) if cls is Tracer else canonical(chosen)], None
        else:
            leaves, treedef = tree.flatten(chosen)
            leaves = checked(leaves, treedef, f"{name_of(fun)}: the differentiated argument")
        tape = Tape("grad")
        tape.begin()
        try:
            traced = []
            slots = []
            for x in leaves:
                s = signature(x)
                inexact = aval_of(s).inexact
                if holomorphic or not inexact:
                    _check_differentiable(aval_of(s), fun, allow_int, holomorphic, treedef, len(traced))
                slots.append(tape.count if inexact else None)
                traced.append(tape.input(x, s) if inexact else x)
            inside = list(args)
            rebuilt = traced[0] if treedef is None else tree.unflatten(treedef, traced)
            if single:
                inside[nums[0]] = rebuilt
            else:
                for n, a in zip(nums, rebuilt, strict=True):
                    inside[n] = a
            out = fun(*inside, **kwargs)
            aux = None
            if has_aux:
                out, aux = pair(out, fun)
            value, seed, slot = _loss(tape, out, fun, holomorphic)
        except ValueError as error:
            raise unmasked(error) from None
        finally:
            tape.close()
        if treedef is None and slot is not None and not has_aux and single:
            (ct,) = tape.pull([(slot, seed)], [0])
            if (
                type(value) is np.float64
                and type(ct) is np.ndarray
                and ct.base is None
                and ct is not chosen
                and ct.flags.carray
            ):
                return value, ct
            own = Own(leaves)
            return own(value), _zero_like(leaves[0]) if ct is None else own(ct)
        active = [s for s in slots if s is not None]
        cts = iter(tape.pull([(slot, seed)], active) if slot is not None else [None] * len(active))
        own = Own(leaves)
        grads = []
        for x, s in zip(leaves, slots, strict=True):
            ct = None if s is None else next(cts)
            grads.append(_zero_like(x) if ct is None else own(ct))
        gradient = grads[0] if treedef is None else tree.unflatten(treedef, grads)
        value = own(value)
        if has_aux:
            return (value, tree.map(lambda y: unwrapped(tape, y, own) if is_array(y) else y, aux)), gradient
        return value, gradient

    return value_and_gradient


def is_array(y: Any) -> bool:
    return type(y) is Tracer or isinstance(y, np.ndarray | np.generic)


def pair(out: Any, fun: Callable[..., Any]) -> tuple[Any, Any]:
    """The value of a function that returns (value, aux), and aux; while its trace is open."""
    if not (isinstance(out, tuple) and len(out) == 2):
        raise GradError(
            message(
                f"with has_aux=True {name_of(fun)} must return a pair (loss, aux)",
                got=described(out),
                do="return (loss, aux)",
            )
        )
    return out[0], tree.map(lambda y: settled(y) if type(y) is Tracer else y, out[1])


_ONES: dict[np.dtype, Any] = {}
_SCALAR, _ONE = shaped((), np.float64), np.float64(1)


def _loss(tape: Tape, out: Any, fun: Callable[..., Any], holomorphic: bool) -> tuple[Any, Any, int | None]:
    """Value, seed and slot of a scalar loss."""
    if type(out) is Tracer:
        if out.owner is not tape:
            out = settled(out)
        elif out.sig is _SCALAR and not holomorphic:  # the common one, without detours
            return out.value, _ONE, out.slot
    if type(out) is Tracer:
        aval = out.aval
    else:
        try:
            aval = aval_of(signature(out))
        except TypeError:
            raise GradError(
                message(
                    f"grad needs a function that returns a scalar; {name_of(fun)} returned a {type(out).__name__}",
                    got=repr(out)[:80],
                    do="return one number; use has_aux=True for further results, jacrev for several outputs",
                )
            ) from None
    if aval.shape != ():
        raise GradError(
            message(
                f"grad needs a scalar loss; {name_of(fun)} returned an array",
                got=aval,
                do="reduce it (.sum(), .mean()), or use jacrev for all its elements",
            )
        )
    kind = aval.dtype.kind
    if kind not in ("c" if holomorphic else "f"):
        raise GradError(
            message(
                f"{name_of(fun)} must return a {'complex' if holomorphic else 'real floating'} scalar",
                got=aval,
                do="take real() or abs() of a complex loss, or set holomorphic=True"
                if kind == "c"
                else "return a float",
            )
        )
    seed = _ONES.get(aval.dtype) or _ONES.setdefault(aval.dtype, aval.dtype.type(1))
    if type(out) is Tracer and out.owner is tape:
        return out.value, seed, out.slot
    return out, seed, None


def grad(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
) -> Callable[..., Any]:
    """A function that returns the gradient of `fun`; arguments as in `value_and_grad`.

    With `has_aux` the result is `(gradient, aux)`.

    >>> grad(lambda x, y: x * y)(3.0, 4.0)
    np.float64(4.0)
    """
    both = value_and_grad(fun, argnums, has_aux, holomorphic, allow_int)

    @wraps(fun, updated=())
    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, result = both(*args, **kwargs)
        return (result, value[1]) if has_aux else result

    return gradient


def without_aux(fun: Callable[..., Any]) -> tuple[Callable[..., Any], list[Any]]:
    """`fun`, which returns (value, aux), as a function that returns the value; aux goes into the list."""
    aux_box: list[Any] = []

    @wraps(fun, updated=())
    def called(*xs: Any) -> Any:
        out, aux = pair(fun(*xs), fun)
        aux_box.append(aux)
        return out

    return called, aux_box


def recorded(fun: Callable[..., Any], primals: Sequence[Any], name: str) -> tuple[Tape, list[Any], Any, list[Any], Any]:
    """Run `fun` on a tape that outlives the call: tape, input tracers, in structure, output leaves, out structure."""
    leaves, treedef = tree.flatten(tuple(primals))
    leaves = checked(leaves, treedef, f"{name_of(fun)}: the argument")
    tape = Tape(name, outlives=True)
    tape.begin()
    try:
        traced = [tape.input(x, signature(x)) if aval_of(signature(x)).inexact else x for x in leaves]
        # in-place operators give the tracers that the function gets other values
        given = [argument(fresh(x)) if type(x) is Tracer and x.owner is tape else x for x in traced]
        outs, out_tree = tree.flatten(fun(*tree.unflatten(treedef, given)))
        outs = checked(outs, out_tree, f"{name_of(fun)}: the result")
    except ValueError as error:
        raise unmasked(error) from None
    finally:
        tape.close()
    return tape, traced, treedef, outs, out_tree


def slot_of(tape: Tape, y: Any) -> int | None:
    return y.slot if type(y) is Tracer and y.owner is tape else None


def matching(given: Any, treedef: Any, types: Sequence[Any], what: str) -> list[Any]:
    """Leaves of a tangent or cotangent, checked against structure, shapes and dtypes."""
    leaves, got = tree.flatten(given)
    if got != treedef:
        raise TreeError(
            message(
                f"{what} has another structure than the value it belongs to",
                got=tree.explain_mismatch(treedef, given),
                do="give it the same structure",
            )
        )
    leaves = checked([x if t.inexact else 0 for x, t in zip(leaves, types, strict=True)], treedef, what)
    out = []
    for i, (x, t) in enumerate(zip(leaves, types, strict=True)):
        if not t.inexact:
            out.append(None)
            continue
        sig = signature(x)
        aval = aval_of(sig)
        fits = aval.dtype == t.dtype if type(sig) is not type else sig is not complex or t.dtype.kind == "c"
        if aval.shape != t.shape or not fits:
            raise ShapeError(
                message(
                    f"{what}{path_of(treedef, i)} must be {t}",
                    got=aval,
                    do="give it the shape and dtype of the value it belongs to",
                )
            )
        out.append(x if type(x) is Tracer or type(sig) is not type else t.dtype.type(x))
    return out


def vjp(fun: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """The value of `fun` and a function that maps cotangents of the value to cotangents of the primals.

    primals: pytrees of arrays. Returns `(value, vjp_fun)` (with `has_aux`, `fun` returns `(value, aux)` and the
    result is `(value, vjp_fun, aux)`). `vjp_fun(ct)` takes a pytree like the value and returns a tuple, one entry per
    primal; it owns all it needs and may be called again. Cotangents of integer primals have dtype `float0`.

    Errors: `TreeError` and `ShapeError` for a cotangent that does not match the value, naming the path.

    >>> y, pull = vjp(lambda x: x * x, 3.0)
    >>> pull(1.0)
    (np.float64(6.0),)
    """
    called, aux_box = without_aux(fun) if has_aux else (fun, [])
    tape, traced, treedef, outs, out_tree = recorded(called, primals, "vjp")
    types = [aval_of(signature(y)) for y in outs]
    slots = [slot_of(tape, y) for y in outs]

    def vjp_fun(ct: Any) -> Any:
        cts = matching(ct, out_tree, types, f"{name_of(fun)}: the cotangent")
        seeds = [(s, c) for s, c in zip(slots, cts, strict=True) if s is not None and c is not None]
        active = [type(t) is Tracer and t.owner is tape for t in traced]
        found = iter(tape.pull(seeds, [t.slot for t, a in zip(traced, active, strict=True) if a]))
        own = Own([c for c in cts if c is not None])
        result = []
        for t, a in zip(traced, active, strict=True):
            ct_in = next(found) if a else None
            result.append(_zero_like(t) if ct_in is None else own(ct_in))
        return tree.unflatten(treedef, result)

    own = Own()
    value = tree.unflatten(out_tree, [unwrapped(tape, y, own) for y in outs])
    if has_aux:
        aux = tree.map(lambda y: unwrapped(tape, y, own) if is_array(y) else y, aux_box[0])
        return value, vjp_fun, aux
    return value, vjp_fun


def jvp(fun: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any], has_aux: bool = False) -> Any:
    """The value of `fun` and its derivative in the direction `tangents`.

    primals, tangents: tuples of pytrees of equal structure, shapes and dtypes (those of integers are ignored).
    Returns `(value, tangent)`, with `has_aux` `(value, tangent, aux)`.

    Errors: `TreeError` and `ShapeError` where tangents do not match the primals.

    >>> jvp(lambda x: x * x, (3.0,), (1.0,))
    (np.float64(9.0), np.float64(6.0))
    """
    if not isinstance(primals, tuple | list) or not isinstance(tangents, tuple | list):
        raise TreeError(
            message(
                "jvp takes tuples of primals and of tangents",
                got=f"{type(primals).__name__}, {type(tangents).__name__}",
                do="write jvp(f, (x,), (t,))",
            )
        )
    leaves, treedef = tree.flatten(tuple(primals))
    leaves = checked(leaves, treedef, f"{name_of(fun)}: the primal")
    types = [aval_of(signature(x)) for x in leaves]
    ts = matching(tuple(tangents), treedef, types, f"{name_of(fun)}: the tangent")
    aux = None
    with Dual().open() as dual:
        inside = [
            x if t is None else dual.input(_snapshot(x), signature(x), t) for x, t in zip(leaves, ts, strict=True)
        ]
        out = fun(*tree.unflatten(treedef, inside))
        if has_aux:
            out, aux = pair(out, fun)
        outs, out_tree = tree.flatten(out)
        outs = checked(outs, out_tree, f"{name_of(fun)}: the result")
    values, out_ts = split(dual, outs)
    own = Own([*leaves, *[t for t in ts if t is not None]])
    value = tree.unflatten(out_tree, [unwrapped(dual, y, own) for y in outs])
    tangent = tree.unflatten(
        out_tree, [_zero_like(v) if t is None else own(t) for v, t in zip(values, out_ts, strict=True)]
    )
    if has_aux:
        return value, tangent, tree.map(lambda y: unwrapped(dual, y, own) if is_array(y) else y, aux)
    return value, tangent


def _snapshot(x: Any) -> Any:
    return x.copy() if type(x) is np.ndarray else x


def linearize(fun: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """The value of `fun` and its derivative at the primals as a linear function of tangents.

    Returns `(value, jvp_fun)` (with `has_aux` also aux); `jvp_fun(*tangents)` takes pytrees like the primals and may be
    called again at the cost of the linear part alone.

    >>> y, push = linearize(lambda x: x * x, 3.0)
    >>> push(1.0)
    np.float64(6.0)
    """
    called, aux_box = without_aux(fun) if has_aux else (fun, [])
    tape, traced, treedef, outs, out_tree = recorded(called, primals, "linearize")
    in_types = [aval_of(signature(t)) for t in traced]
    slots = [slot_of(tape, y) for y in outs]
    own = Own()
    values = [unwrapped(tape, y, own) for y in outs]

    def jvp_fun(*tangents: Any) -> Any:
        ts = matching(tuple(tangents), treedef, in_types, f"{name_of(fun)}: the tangent")
        given = {
            t.slot: u
            for t, u in zip(traced, ts, strict=True)
            if u is not None and type(t) is Tracer and t.owner is tape
        }
        with np.errstate(all="ignore"):
            found = tape.push(given, slots)
        mine = Own([t for t in ts if t is not None])
        return tree.unflatten(
            out_tree, [_zero_like(v) if t is None else mine(t) for v, t in zip(values, found, strict=True)]
        )

    value = tree.unflatten(out_tree, values)
    if has_aux:
        return value, jvp_fun, tree.map(lambda y: unwrapped(tape, y, own) if is_array(y) else y, aux_box[0])
    return value, jvp_fun


def hvp(fun: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """The Hessian of a scalar function times a vector, without the Hessian (Pearlmutter 1994): forward over reverse.

    primals, tangents: tuples of pytrees as for `jvp`. Returns a pytree like the primals (a tuple if there are several).

    >>> hvp(lambda x: (x**3).sum(), (np.array([1.0, 2.0]),), (np.array([1.0, 0.0]),))
    array([6., 0.])
    """
    nums = tuple(range(len(primals)))
    gradient = grad(fun, 0 if len(nums) == 1 else nums)
    return jvp(gradient, primals, tangents)[1]
