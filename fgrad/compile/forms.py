"""Affine index forms: where an element is read, as a function of the axes of a kernel's domain.

A form is const + sum of coefficient * axis, and, where an index is not affine, coefficient * node on top (a node of the
expression graph that computes an integer). Views compose forms with numbers alone, so a chain of transposes, slices,
broadcasts and reshapes costs nothing at run time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .layouts import contiguous

Extents = Sequence[int]  # sizes of the domain's axes


class Form:
    """const + sum(coefficient * axis) + sum(coefficient * node); immutable and hashable."""

    __slots__ = ("_hash", "const", "nodes", "terms")

    def __init__(
        self, terms: tuple[tuple[int, int], ...] = (), const: int = 0, nodes: tuple[tuple[Any, int], ...] = ()
    ):
        self.terms = terms
        self.const = const
        self.nodes = nodes
        self._hash = hash((terms, const, nodes))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Form)
            and self.terms == other.terms
            and self.const == other.const
            and self.nodes == other.nodes
        )

    def __repr__(self) -> str:
        parts = [f"{c}*i{a}" for a, c in self.terms] + [f"{c}*{n!r}" for n, c in self.nodes]
        return " + ".join([*parts, str(self.const)])

    def shifted(self, by: int) -> Form:
        """This form plus a number."""
        return self if not by else Form(self.terms, self.const + by, self.nodes)

    def scaled(self, by: int) -> Form:
        """This form times a number."""
        if by == 1:
            return self
        if by == 0:
            return ZERO
        return Form(
            tuple([(a, c * by) for a, c in self.terms]), self.const * by, tuple([(n, c * by) for n, c in self.nodes])
        )

    def plus(self, other: Form) -> Form:
        """The sum of two forms."""
        if not other.terms and not other.nodes:
            return self.shifted(other.const)
        if not self.terms and not self.nodes:
            return other.shifted(self.const)
        terms = dict(self.terms)
        for a, c in other.terms:
            terms[a] = terms.get(a, 0) + c
        nodes = {id(n): (n, c) for n, c in self.nodes}
        for n, c in other.nodes:
            nodes[id(n)] = (n, c + nodes[id(n)][1] if id(n) in nodes else c)
        return Form(
            tuple(sorted((a, c) for a, c in terms.items() if c)),
            self.const + other.const,
            tuple([(n, c) for n, c in nodes.values() if c]),
        )

    def largest(self, extents: Extents) -> int:
        """The largest value of the affine part, where coefficients are not negative."""
        return self.const + sum(c * (extents[a] - 1) for a, c in self.terms)


ZERO = Form()


def axis(number: int) -> Form:
    """The form of an axis of the domain."""
    return Form(((number, 1),))


def linear(index: Sequence[Form], shape: Sequence[int]) -> Form:
    """The element number, in C order, of a multi-index into an array of that shape."""
    terms: dict[int, int] = {}
    nodes: dict[int, tuple[Any, int]] = {}
    const, stride = 0, 1
    for form, n in zip(reversed(index), reversed(shape), strict=True):
        if n != 1:
            const += form.const * stride
            for a, c in form.terms:
                terms[a] = terms.get(a, 0) + c * stride
            for node, c in form.nodes:
                nodes[id(node)] = node, c * stride + (nodes[id(node)][1] if id(node) in nodes else 0)
        stride *= n
    return Form(
        tuple(sorted([(a, c) for a, c in terms.items() if c])), const, tuple([(n, c) for n, c in nodes.values() if c])
    )


def split(form: Form, shape: Sequence[int], extents: Extents) -> list[Form] | None:
    """A multi-index into `shape` whose element number is `form`, if affine forms can say it."""
    if form.nodes or any(c < 0 for _, c in form.terms) or form.const < 0:
        return None
    out: list[Form] = []
    terms, const = list(form.terms), form.const
    for n, stride in zip(shape, contiguous(shape), strict=True):
        if n == 1:
            out.append(ZERO)
            continue
        mine = [(a, c // stride) for a, c in terms if c >= stride]
        if any(c >= stride and c % stride for _, c in terms):
            return None
        terms = [(a, c) for a, c in terms if c < stride]
        part = Form(tuple(mine), const // stride)
        const %= stride
        if const + sum(c * (extents[a] - 1) for a, c in terms) >= stride or part.largest(extents) >= n:
            return None
        out.append(part)
    return out
