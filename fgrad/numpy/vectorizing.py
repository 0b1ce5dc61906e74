"""vectorize: a function of single elements, or of small arrays, as one that broadcasts over all other axes."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from functools import wraps
from typing import Any

from ..batching import vmap
from ..core import tree
from ..core.errors import ShapeError, message
from ..core.leaves import Own, check_callable, checked, described, name_of
from ..core.trace import Tracer
from ..core.types import WEAK
from .creation import asarray
from .promote import broadcast_shapes

_ARRAY = r"\((?:\w+(?:,\w+)*)?\)"
_ARRAYS = f"{_ARRAY}(?:,{_ARRAY})*"
_SIGNATURE = re.compile(f"({_ARRAYS})->({_ARRAYS})")

Core = tuple[str, ...]  # names of the last axes of an array


def vectorize(
    pyfunc: Callable[..., Any], *, excluded: Collection[int | str] = frozenset(), signature: str | None = None
) -> Callable[..., Any]:
    """`pyfunc` at all elements of arrays that broadcast, as one batched computation: nested `fgrad.vmap`.

    signature: as "(m,n),(n)->(m)", the last axes of each argument that one call gets, and those of each result (a
    tuple, if there are several); axes of one name have one size. Without it a call gets single elements, and may return
    anything. The other axes of all arguments broadcast and stand in front in the results. Arguments by keyword follow
    those by position. excluded: positions and keywords of arguments that are passed on as they are; so is None.

    Errors: `ShapeError` where arguments or results do not fit the signature; `ValueError` for what is no signature.

    >>> import numpy as np
    >>> from fgrad import numpy as fnp
    >>> distance = fnp.vectorize(lambda x, y: np.sqrt(np.sum((x - y) ** 2)), signature="(n),(n)->()")
    >>> points = np.array([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]])
    >>> distance(points, points[0])
    array([ 0.,  5., 10.])
    >>> distance(points[:, None], points).shape
    (3, 3)
    """
    check_callable(pyfunc, "vectorize")
    title = f"vectorize({name_of(pyfunc)})"
    apart = _apart(title, excluded)
    dims = None if signature is None else _parsed(title, signature)

    @wraps(pyfunc, updated=())
    def vectorized(*args: Any, **kwargs: Any) -> Any:
        given = {**dict(enumerate(args)), **kwargs}
        keys = [k for k in given if k not in apart]
        cores = [()] * len(keys) if dims is None else dims[0]
        if len(cores) != len(keys):
            do = "name the others in excluded, or change the signature"
            what = f"{title}: signature {signature} has {len(cores)} arguments"
            raise TypeError(message(what, got=f"{len(keys)} arguments that are not excluded", do=do))
        operands: dict[Any, tuple[Any, Core]] = {}
        for k, core in zip(keys, cores, strict=True):
            if given[k] is not None or core:
                operands[k] = _operand(given[k]), core
        sizes: dict[str, int] = {}
        loops = [_loops(f"{title}: argument {k!r}", _shape(x), core, sizes) for k, (x, core) in operands.items()]

        def function(*xs: Any) -> Any:
            values = {**given, **dict(zip(operands, xs, strict=True))}
            out = pyfunc(*[values[i] for i in range(len(args))], **{k: values[k] for k in kwargs})
            if dims is not None:
                _check_results(title, out, dims[1], dict(sizes))
            return out

        return _broadcast(function, [x for x, _ in operands.values()], loops, title)

    return vectorized


def _broadcast(
    function: Callable[..., Any], operands: Sequence[Any], loops: Sequence[tuple[int, ...]], title: str
) -> Any:
    """Results for all indices into the broadcast axes `loops`, the first ones of each operand.

    Axes of size 1 are taken off, so that nothing is repeated that a call need not have for itself.
    """
    shape = broadcast_shapes(*loops)
    xs = []
    for x, loop in zip(operands, loops, strict=True):
        rest = tuple([n for n in loop if n != 1])
        xs.append(x if rest == loop else x.reshape(rest + x.shape[len(loop) :]))
    mapped = function
    for axis in range(1, len(shape) + 1):  # from the last one
        in_axes = tuple([0 if axis <= len(loop) and loop[-axis] != 1 else None for loop in loops])
        if any(a is not None for a in in_axes):
            mapped = vmap(mapped, in_axes)
    leaves, treedef = tree.flatten(mapped(*xs))
    own = Own(operands)
    outs = []
    for y in checked(leaves, treedef, f"{title}: the result"):
        y = own(y) if mapped is not function else own.copied(y)
        full = shape + _shape(y)[sum(n != 1 for n in shape) :]
        outs.append(y.reshape(full) if 1 in shape else y)
    return tree.unflatten(treedef, outs)


def _operand(x: Any) -> Any:
    return x if type(x) is Tracer or type(x) in WEAK else asarray(x)


def _shape(x: Any) -> tuple[int, ...]:
    return tuple(getattr(x, "shape", ()))


def _loops(what: str, shape: tuple[int, ...], core: Core, sizes: dict[str, int]) -> tuple[int, ...]:
    """The axes in front of the core; `sizes` of named axes are compared, and get new ones."""
    split = len(shape) - len(core)
    if split < 0 or any(sizes.setdefault(name, n) != n for name, n in zip(core, shape[split:], strict=True)):
        axes = ",".join(f"{name}={sizes[name]}" if name in sizes else name for name in core)
        do = "correct it, or the signature"
        raise ShapeError(message(f"{what} does not fit ({axes})", got=f"shape {shape}", do=do))
    return shape[:split]


def _check_results(title: str, out: Any, cores: Sequence[Core], sizes: dict[str, int]) -> None:
    outs = out if isinstance(out, tuple) else (out,)
    if len(outs) != len(cores):
        do = "return a tuple with an array for each"
        raise TypeError(message(f"{title}: the signature has {len(cores)} results", got=described(out), do=do))
    for i, (y, core) in enumerate(zip(outs, cores, strict=True)):
        what = f"{title}: the result" + (f" {i}" if len(cores) > 1 else "")
        if _loops(what, _shape(y), core, sizes):
            do = "return that many axes, or correct the signature"
            raise ShapeError(message(f"{what} has more axes than ({','.join(core)})", got=f"shape {_shape(y)}", do=do))


def _apart(title: str, excluded: Collection[int | str]) -> frozenset[int | str]:
    if any(isinstance(k, bool) or not isinstance(k, int | str) for k in excluded):
        raise TypeError(message(f"{title}: excluded are positions and names", got=excluded, do="write excluded={1}"))
    if any(isinstance(k, int) and k < 0 for k in excluded):
        raise ValueError(message(f"{title}: excluded positions count from 0", got=excluded, do="write excluded={1}"))
    return frozenset(excluded)


def _parsed(title: str, signature: str) -> tuple[list[Core], list[Core]]:
    """The cores of the arguments and of the results.

    >>> _parsed("", "(m,n), (n) -> ()")
    ([('m', 'n'), ('n',)], [()])
    """
    found = _SIGNATURE.fullmatch("".join(signature.split()))
    if found is None:
        do = 'write something like "(m,n),(n)->(m)"'
        raise ValueError(message(f"{title}: not a signature", got=repr(signature), do=do))
    arguments, results = (
        [tuple(re.findall(r"\w+", array)) for array in re.findall(_ARRAY, part)] for part in found.groups()
    )
    return arguments, results


__all__ = ["vectorize"]
