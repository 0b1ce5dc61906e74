"""Where the elements of arrays are in buffers, in elements from the first one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


def contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of C order.

    >>> contiguous((2, 3, 4))
    (12, 4, 1)
    """
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= n
    return tuple(reversed(strides))


class Layout(NamedTuple):
    """A strided view of a buffer: sizes, elements from one index to the next, the first element."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    start: int = 0

    @classmethod
    def contiguous(cls, shape: Sequence[int]) -> Layout:
        """C order, from the beginning of the buffer.

        >>> Layout.contiguous((2, 3))
        Layout(shape=(2, 3), strides=(3, 1), start=0)
        """
        return cls(tuple(shape), contiguous(shape))

    def transposed(self, axes: Sequence[int]) -> Layout:
        """The same elements with the axes in that order."""
        return Layout(tuple([self.shape[a] for a in axes]), tuple([self.strides[a] for a in axes]), self.start)

    def reshaped(self, shape: tuple[int, ...]) -> Layout | None:
        """The same elements in the same order under another shape, where that is plain to see.

        >>> Layout((3, 2), (1, 3)).reshaped((3, 1, 2))
        Layout(shape=(3, 1, 2), strides=(1, 1, 3), start=0)
        >>> Layout((3, 2), (1, 3)).reshaped((6,))  # None: no strides do it
        """
        if self.strides == contiguous(self.shape):
            return Layout(shape, contiguous(shape), self.start)
        if [n for n in self.shape if n != 1] != [n for n in shape if n != 1]:
            return None
        strides = iter([s for n, s in zip(self.shape, self.strides, strict=True) if n != 1])
        return Layout(shape, tuple([1 if n == 1 else next(strides) for n in shape]), self.start)
