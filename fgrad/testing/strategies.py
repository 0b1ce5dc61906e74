"""Hypothesis strategies for arrays and pytrees, and `Draw`, with which primitives draw operands for their own tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from ..core.primitive import registry
from ..core.types import ShapedArray, real_dtype, shaped

_SPACING = 0.02  # between any two numbers of one draw, and so more than finite differences move them
_RANGES = {
    "any": (-2.5, 2.5),
    "nonzero": (-2.5, 2.5),
    "positive": (0.3, 3.5),
    "unit": (-0.85, 0.85),
    "probability": (0.1, 0.9),
    "above one": (1.25, 3.5),
    "exponent": (-2.5, 2.5),
}
_INTEGERS = {
    "any": (-4, 4),
    "nonzero": (-4, 4),
    "positive": (1, 4),
    "unit": (0, 1),
    "probability": (0, 1),
    "above one": (2, 5),
    "exponent": (0, 4),
}

SPECIAL = (np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, -5e-324, 1.0, -1.0, 1.7976931348623157e308)
"""Values that floating-point code gets wrong first."""


def _grid(domain: str) -> np.ndarray:
    """Evenly spaced numbers of a domain, none close to a multiple of 1/2, where rounding functions jump."""
    low, high = _RANGES[domain]
    values = np.arange(low, high, _SPACING)
    values = values[np.abs(values - np.rint(2 * values) / 2) > 0.045]
    return values[np.abs(values) > 0.25] if domain == "nonzero" else values


class Draw:
    """Draws operands and parameters of one example; what a primitive's `samples(draw)` is given.

    draw: Hypothesis' own draw function, as `@composite` hands it out. Shapes, integers, flags and choices come from
    Hypothesis one by one, so that it can shrink them; the numbers in arrays come from a generator with a drawn seed.
    The floats of one example are all different and lie apart from each other and from multiples of 1/2, so that
    maxima, sorts and roundings are smooth there.

    Domains: "any", "nonzero", "positive", "unit" (inside ]-1, 1[), "above one", "exponent" (integers not
    negative), "shift" (bit counts, some too large).

    >>> from hypothesis import strategies
    >>> @strategies.composite
    ... def matrices(draw):
    ...     d = Draw(draw)
    ...     return d.array(d.shape(min_dims=2, max_dims=2))
    """

    registry = registry

    def __init__(self, draw: Callable[[Any], Any]):
        self._draw = draw
        self._seed = draw(st.integers(0, 2**32 - 1))
        self._start(self._seed)
        self._choices: list[Any] = []
        self._replayed: int | None = None

    def _start(self, seed: int) -> None:
        self._generator = np.random.default_rng(seed)
        self._unused: dict[str, list[float]] = {}

    def again(self) -> Draw:
        """A Draw that repeats all choices made so far, shapes included, and gives other numbers in arrays."""
        new = object.__new__(Draw)
        new._draw = self._draw
        new._seed = int(self._generator.integers(2**32))
        new._start(new._seed)
        new._choices, new._replayed = self._choices, 0
        return new

    def _choose(self, strategy: Any) -> Any:
        if self._replayed is not None:
            self._replayed += 1
            return self._choices[self._replayed - 1]
        value = self._draw(strategy)
        self._choices.append(value)
        return value

    def bool(self) -> bool:
        """A flag."""
        return self._choose(st.booleans())

    def integer(self, low: int, high: int) -> int:
        """An integer between `low` and `high`, both included."""
        return self._choose(st.integers(low, high))

    def sampled(self, values: Sequence[Any]) -> Any:
        """One of the values."""
        return self._choose(st.sampled_from(values))

    def permutation(self, n: int) -> list[int]:
        """0 … n - 1 in some order."""
        return list(self._choose(st.permutations(range(n))))

    def shape(self, min_dims: int = 0, max_dims: int = 3, min_side: int = 0, max_side: int = 3) -> tuple[int, ...]:
        """A shape."""
        return self._choose(shapes(min_dims, max_dims, min_side, max_side))

    def type(self) -> ShapedArray:
        """The type of a small float64 array."""
        return shaped(self.shape(max_dims=2), np.float64)

    def dtype(self, kinds: str) -> str:
        """A dtype of one of the kinds ("b", "i", "u", "f", "c"): the widest there is, int8 and uint8 beside int64."""
        return self.sampled(
            [d for k in kinds for d in {"f": ["f8"], "c": ["c16"], "b": ["b1"]}.get(k, [k + "8", k + "1"])]
        )

    def integers(self, shape: Sequence[int], low: int, high: int) -> Any:
        """An int64 array of numbers between `low` and `high`, both included."""
        return self._generator.integers(low, high, tuple(shape), endpoint=True)[()]

    def array(self, shape: Sequence[int], dtype: Any = "f8", domain: str = "any") -> Any:
        """An array of a domain's numbers; a NumPy scalar for shape ()."""
        shape, dtype = tuple(shape), np.dtype(dtype)
        if dtype.kind == "b":
            return self._generator.integers(0, 2, shape).astype(dtype)[()]
        if dtype.kind in "iu":
            return self._whole(shape, dtype, domain)[()]
        real = self._reals(shape, domain)
        if dtype.kind == "f":
            return real.astype(dtype)[()]
        return (real + 0.3j * self._reals(shape, "any")).astype(dtype)[()]

    def _whole(self, shape: tuple[int, ...], dtype: np.dtype, domain: str) -> np.ndarray:
        low, high = (-1, 8 * dtype.itemsize + 1) if domain == "shift" else _INTEGERS[domain]
        values = self._generator.integers(max(low, 0) if dtype.kind == "u" else low, high, shape, endpoint=True)
        return (np.where(values == 0, 3, values) if domain == "nonzero" else np.asarray(values)).astype(dtype)

    def _reals(self, shape: tuple[int, ...], domain: str) -> np.ndarray:
        size = int(np.prod(shape, dtype=np.int64))
        unused = self._unused.setdefault(domain, [])
        while len(unused) < size:
            unused.extend(self._generator.permutation(_grid(domain)).tolist())
        taken, unused[:size] = unused[:size], []
        jitter = self._generator.uniform(-_SPACING / 5, _SPACING / 5, size)
        return (np.asarray(taken, np.float64) + jitter).reshape(shape)


def shapes(
    min_dims: int = 0, max_dims: int = 3, min_side: int = 0, max_side: int = 3
) -> st.SearchStrategy[tuple[int, ...]]:
    """A strategy for shapes: tuples of `min_dims` to `max_dims` sizes from `min_side` to `max_side`.

    It prefers, and shrinks to, one or two dimensions of size two or more: on empty and scalar arrays most mistakes do
    not show.

    >>> from hypothesis import find
    >>> find(shapes(), lambda shape: 3 in shape)
    (3,)
    """
    sides = st.sampled_from(_preferred([2, 3, 1, 0], min_side, max_side))
    lengths = st.sampled_from(_preferred([1, 2, 2, 3, 0], min_dims, max_dims))
    return lengths.flatmap(lambda n: st.tuples(*[sides] * n))


def _preferred(order: list[int], low: int, high: int) -> list[int]:
    """Numbers between two bounds, those in `order` first."""
    return [n for n in order if low <= n <= high] + [n for n in range(low, high + 1) if n not in order]


_DTYPES = {
    "b": ["?"],
    "i": ["i8", "i4", "i2", "i1"],
    "u": ["u8", "u4", "u2", "u1"],
    "f": ["f8", "f4", "f2"],
    "c": ["c16", "c8"],
}


def dtypes(kinds: str = "biufc") -> st.SearchStrategy[np.dtype]:
    """A strategy for the dtypes that can be traced: booleans, integers, unsigned ones, floats, complex numbers.

    kinds: letters of `numpy.dtype.kind`.

    >>> from hypothesis import find
    >>> find(dtypes("f"), lambda dtype: True)
    dtype('float64')
    """
    return st.sampled_from([np.dtype(name) for kind in kinds for name in _DTYPES[kind]])


@st.composite
def _drawn_arrays(draw: Any, shape: Any, dtype: Any, domain: str, special: bool) -> Any:
    d = Draw(draw)
    size = draw(shapes()) if shape is None else draw(shape) if isinstance(shape, st.SearchStrategy) else shape
    kind = draw(dtypes("f")) if dtype is None else draw(dtype) if isinstance(dtype, st.SearchStrategy) else dtype
    x = d.array((size,) if isinstance(size, int) else size, kind, domain)
    return with_special(x, d._generator) if special else x


def arrays(
    shape: Any = None, dtype: Any = None, *, domain: str = "any", special: bool = False
) -> st.SearchStrategy[Any]:
    """A strategy for arrays on which derivatives can be compared with finite differences.

    shape: a tuple, an int, a strategy, or None for any small shape. dtype: a dtype, a strategy, or None for any
    floating one. domain: as in `Draw`. special: some elements become NaN, an infinity, a zero of either sign, a
    subnormal or a huge number. Floats of one array are all different (up to about 200 of them). Shape () gives NumPy
    scalars.

    >>> from hypothesis import find
    >>> find(arrays((2, 3), np.float32), lambda x: True).dtype
    dtype('float32')
    """
    return _drawn_arrays(shape, dtype, domain, special)


def with_special(x: Any, generator: np.random.Generator) -> Any:
    """A copy of `x` in which about half of the floating elements are special values."""
    x = np.array(x)
    if x.dtype.kind in "fc" and x.size:
        part = np.where(generator.random(x.shape) < 0.5, generator.choice(SPECIAL, x.shape), x.real)
        with np.errstate(all="ignore"):
            x[...] = part.astype(real_dtype(x.dtype)) + (1j * x.imag if x.dtype.kind == "c" else 0)
    return x[()]


def pytrees(leaves: st.SearchStrategy[Any] | None = None, *, max_leaves: int = 6) -> st.SearchStrategy[Any]:
    """A strategy for pytrees: tuples, lists and dicts, None among them, nested, with up to `max_leaves` leaves.

    leaves: a strategy for the leaves; `arrays()` by default.

    >>> from hypothesis import find, strategies
    >>> find(pytrees(strategies.just(0.0)), lambda tree: isinstance(tree, list))
    []
    """
    return st.recursive(
        arrays() if leaves is None else leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.lists(inner, max_size=3).map(tuple),
            st.dictionaries(st.sampled_from("abwx"), inner, max_size=3),
            st.tuples(inner, st.none()),
        ),
        max_leaves=max_leaves,
    )
