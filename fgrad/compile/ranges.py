"""Memory for a plan: ranges of one block of bytes that grows as needed."""

from __future__ import annotations


class Ranges:
    """Free ranges of a growing address space; first fit."""

    def __init__(self) -> None:
        self.top = 0
        self.free: list[tuple[int, int]] = []  # offset, length; by offset

    def take(self, size: int) -> int:
        if not size:
            return 0
        for i, (offset, length) in enumerate(self.free):
            if length >= size:
                self.free[i : i + 1] = [(offset + size, length - size)] if length > size else []
                return offset
        if self.free and sum(self.free[-1]) == self.top:
            offset, _ = self.free.pop()
        else:
            offset = self.top
        self.top = offset + size
        return offset

    def put(self, offset: int, length: int) -> None:
        if not length:
            return
        merged, before, behind = (offset, length), [], []
        for o, n in self.free:
            if o + n == merged[0]:
                merged = (o, n + merged[1])
            elif merged[0] + merged[1] == o:
                merged = (merged[0], merged[1] + n)
            elif o < merged[0]:
                before.append((o, n))
            else:
                behind.append((o, n))
        self.free = [*before, merged, *behind]
