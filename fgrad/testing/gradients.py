"""check_grads: derivatives against finite differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..api import jvp, vjp
from ..core import tree
from ..core.errors import message

# tolerance and step of the differences, by the width of the narrowest floats involved
_DEFAULTS = {2: (1e-1, 2e-1), 4: (2e-3, 1e-2), 8: (1e-6, 1e-3)}


def check_grads(
    f: Callable[..., Any],
    args: Sequence[Any],
    order: int = 2,
    modes: Sequence[str] = ("fwd", "rev"),
    atol: float | None = None,
    rtol: float | None = None,
    eps: float | None = None,
) -> None:
    """Raise AssertionError unless the derivatives of `f` at `args` agree with finite differences.

    f: a function of pytrees of arrays that returns a pytree of arrays; integer and boolean leaves are held fixed, those
    of the result ignored. order: up to which order; derivatives of order two are the derivatives of the first, and so
    on. modes: "fwd" compares `jvp` in a random direction, "rev" the pairing of `vjp` with it; with both, every
    sequence of modes up to the order is checked. atol, rtol: allowed difference, `atol + rtol * abs(value)`. eps: step
    of the differences, relative to a direction with elements of size about one. Defaults by the narrowest floats
    among arguments and results: 1e-6 and 1e-3 for 64 bits, 2e-3 and 1e-2 for 32, 0.1 and 0.2 for 16.

    The differences are central, of fourth order (steps eps and 2 eps). `f` must be smooth within 2 eps of `args`.
    The error names the order, the mode, the argument, and both numbers.

    >>> check_grads(lambda x, y: {"z": x * np.sin(y)}, (2.0, np.array([0.5, 1.0])), order=2)
    """
    unknown = [m for m in modes if m not in ("fwd", "rev")]
    if unknown:
        raise ValueError(
            message("modes of check_grads are 'fwd' and 'rev'", got=unknown, do="write modes=('fwd', 'rev')")
        )
    args = tuple(args) if isinstance(args, tuple | list) else (args,)
    leaves, treedef = tree.flatten(args)
    paths = [tree.keystr(path) for path, _ in tree.leaves_with_path(tuple(args))]
    moving = [i for i, x in enumerate(leaves) if np.asarray(x).dtype.kind in "fc"]

    def flat(*xs: Any) -> list[Any]:
        inside = list(leaves)
        for i, x in zip(moving, xs, strict=True):
            inside[i] = x
        return [y for y in tree.leaves(f(*tree.unflatten(treedef, inside))) if _kind(y) in "fc"]

    points = [np.array(leaves[i])[()] for i in moving]
    names = [f"args{paths[i]}" for i in moving]
    check = _Check(getattr(f, "__name__", type(f).__name__), modes, atol, rtol, eps)
    check(flat, points, names, order, ())


def _kind(y: Any) -> str:
    dtype = getattr(y, "dtype", None)
    return (np.asarray(y).dtype if dtype is None else dtype).kind


class _Check:
    def __init__(self, name: str, modes: Sequence[str], atol: float | None, rtol: float | None, eps: float | None):
        self.name = name
        self.modes = modes
        self.atol = atol
        self.rtol = rtol
        self.eps = eps
        self.generator = np.random.default_rng(0)

    def __call__(
        self, f: Callable[..., list[Any]], xs: list[Any], names: list[str], order: int, above: tuple[str, ...]
    ) -> None:
        """Check derivatives of a function of arrays up to `order`; `above`: the modes that made it."""
        ys = [np.asarray(y) for y in f(*xs)]
        if not xs or not ys or order < 1:
            return
        tol, eps = self._defaults([*xs, *ys])
        ts = [self._direction(x) for x in xs]
        if "fwd" in self.modes:
            self._forward(f, xs, ts, names, above, tol, eps)
        if "rev" in self.modes:
            self._reverse(f, xs, ts, [self._direction(y) for y in ys], names, above, tol, eps)
        if order > 1 and "fwd" in self.modes:
            n = len(xs)
            tangents = [f"the tangent of {name}" for name in names]
            pushed = lambda *both: jvp(f, both[:n], both[n:])[1]  # noqa: E731
            self(pushed, [*xs, *ts], [*names, *tangents], order - 1, (*above, "fwd"))
        if order > 1 and "rev" in self.modes:
            n = len(xs)
            cts = [self._direction(y) for y in ys]
            cotangents = [f"the cotangent of result {k}" for k in range(len(ys))]
            pulled = lambda *both: list(vjp(f, *both[:n])[1](list(both[n:])))  # noqa: E731
            self(pulled, [*xs, *cts], [*names, *cotangents], order - 1, (*above, "rev"))

    def _defaults(self, arrays: Sequence[Any]) -> tuple[tuple[float, float], float]:
        tol, eps = _DEFAULTS[min(x.real.dtype.itemsize for x in arrays)]
        return (tol if self.atol is None else self.atol, tol if self.rtol is None else self.rtol), self.eps or eps

    def _direction(self, x: Any) -> Any:
        """Random numbers of sizes between 1/2 and 1, of any sign or phase."""
        x = np.asarray(x)
        size = self.generator.uniform(0.5, 1, x.shape)
        turn = self.generator.uniform(0, 2 * np.pi, x.shape)
        phase = np.exp(1j * turn) if x.dtype.kind == "c" else np.where(turn < np.pi, 1.0, -1.0)
        return np.asarray(size * phase, x.dtype)[()]

    def _forward(self, f: Any, xs: Any, ts: Any, names: Any, above: Any, tol: Any, eps: float) -> None:
        def compare(ts: Any) -> Any:
            got = [np.asarray(t) for t in jvp(f, tuple(xs), tuple(ts))[1]]
            want = difference(f, xs, ts, eps)
            for k, (a, b) in enumerate(zip(got, want, strict=True)):
                bad = _far(a, b, tol)
                if bad.any():
                    index = tuple(int(i) for i in np.argwhere(bad)[0])
                    return f"result {k}, element {index}: {a[index]}", b[index]
            return None

        self._report(compare, ts, names, "fwd", above)

    def _reverse(self, f: Any, xs: Any, ts: Any, cts: Any, names: Any, above: Any, tol: Any, eps: float) -> None:
        pulled = vjp(f, *xs)[1](list(cts))

        def compare(ts: Any) -> Any:
            got = sum((_pairing(a, t) for a, t in zip(pulled, ts, strict=True)), 0.0)
            parts = [_pairing(ct, d) for ct, d in zip(cts, difference(f, xs, ts, eps), strict=True)]
            want = sum(parts, 0.0)
            # a sum of many terms is known to the accuracy of its terms
            scale = sum(float(np.sum(np.abs(np.asarray(a) * t))) for a, t in zip(pulled, ts, strict=True))
            far = not abs(got - want) <= tol[0] + tol[1] * max(scale, abs(want))
            return (f"{got}", want) if far else None

        self._report(compare, ts, names, "rev", above)

    def _report(self, compare: Callable[[Any], Any], ts: Any, names: Any, mode: str, above: Any) -> None:
        """Compare in one direction for all arguments; if that fails, find the argument."""
        found = compare(ts)
        if found is None:
            return
        who = "all arguments together"
        for k, name in enumerate(names):
            alone = compare([t if i == k else np.zeros_like(t)[()] for i, t in enumerate(ts)])
            if alone is not None:
                found, who = alone, name
                break
        path = f" ({mode} of {' of '.join(reversed(above))})" if above else ""
        raise AssertionError(
            message(
                f"check_grads({self.name}): order {len(above) + 1}, mode '{mode}'{path}: wrong derivative by {who}",
                got=f"{found[0]} where finite differences give {found[1]}",
                do="check the derivative rule; move args away from kinks, or set eps",
            )
        )


def difference(f: Callable[..., list[Any]], xs: Sequence[Any], ts: Sequence[Any], eps: float) -> list[np.ndarray]:
    """The derivative of `f` at `xs` in the direction `ts` by central differences of fourth order."""

    def at(step: float) -> list[np.ndarray]:
        moved = [(x + np.asarray(step, x.real.dtype) * t).astype(x.dtype)[()] for x, t in zip(xs, ts, strict=True)]
        return [np.asarray(y).astype(np.result_type(y, np.float64)) for y in f(*moved)]

    near = [(a - b) / (2 * eps) for a, b in zip(at(eps), at(-eps), strict=True)]
    far = [(a - b) / (4 * eps) for a, b in zip(at(2 * eps), at(-2 * eps), strict=True)]
    return [(4 * a - b) / 3 for a, b in zip(near, far, strict=True)]


def _far(a: np.ndarray, b: np.ndarray, tol: tuple[float, float]) -> np.ndarray:
    return ~(np.abs(a - b) <= tol[0] + tol[1] * np.abs(b))


def _pairing(a: Any, b: Any) -> float:
    """<a, b> = Re Σ a b, without conjugation."""
    return float(np.sum(np.asarray(a) * np.asarray(b)).real)
