"""The order of items: what reads an array comes before what changes it, so that no copy of it is needed.

copy: x -> y                             kernel: v = 2 * x[j]
kernel: y[i] += 1          becomes       copy: x -> y            # vanishes, if x is not needed any more
kernel: v = 2 * x[j]                     kernel: y[i] += 1
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..core.effects import KEPT

if TYPE_CHECKING:
    from .plan import Item

FAR = 200  # items that are looked at to find out whether a reader may come earlier


def reads_first(items: Sequence[Item], base: Callable[[Any], Any]) -> list[Item]:
    """The items with readers before the items that may renew what they read.

    base: the variable whose memory another one is.
    """
    copies = {base(item.reads[0]) for item in items if item.renews}
    readers: dict[Any, list[int]] = {}
    writers: dict[Any, list[int]] = {}
    for number, item in enumerate(items if copies else ()):
        for v in item.writes:
            writers.setdefault(base(v), []).append(number)
        for v in item.reads:
            if base(v) in copies:
                readers.setdefault(base(v), []).append(number)
    order: list[int] = []
    done: set[int] = set()

    def needed(number: int, barrier: int) -> list[int]:
        """What is to come first for an item, with itself; nothing if that is the barrier, or much."""
        found, todo = {number}, [number]
        while todo:
            n = todo.pop()
            item = items[n]
            if len(found) > FAR or (item.eqn is not None and item.eqn.effects & KEPT):
                return []
            for v in (*item.reads, *item.writes):
                for w in writers.get(base(v), ()):
                    if w < n and w not in done and w not in found:
                        found.add(w)
                        todo.append(w)
            if barrier in found:
                return []
        return sorted(found)

    for number, item in enumerate(items):
        if number in done:
            continue
        for r in readers.get(base(item.reads[0]), ()) if item.renews else ():
            if r > number and r not in done:
                first = needed(r, number)
                order += first
                done.update(first)
        order.append(number)
        done.add(number)
    return [items[n] for n in order]
