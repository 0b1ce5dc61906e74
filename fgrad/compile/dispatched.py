"""Callables that native dispatch answers where it can."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from .executable import Executable, Mistrust, ProgramFailure
from .native.entry import Dispatcher, Entry
from .native.library import MISS

LIMIT = 1024


def missed(*args: Any, **kwargs: Any) -> Any:
    """What native dispatch answers as long as it knows nothing."""
    return MISS


class Dispatched(ABC):
    """A callable whose calls native dispatch takes as far as it knows them; a subclass says what becomes of the others.

    `miss(args, kwargs)` makes a call in Python, and enters its program, so that native dispatch takes such calls from
    then on; `explain(failure, args, kwargs)` raises what the failure of a program means.
    """

    def __init__(self) -> None:
        self.calls: Dispatcher | None = None
        self.known: set[Any] = set()  # the arguments that it takes
        self.fast: Callable[..., Any] = missed

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            out = self.fast(*args, **kwargs)
        except ProgramFailure as failure:
            return self.explain(failure, args, kwargs)
        except Mistrust:
            self.forget()  # programs that are planned anew
            return self.miss(args, kwargs)
        return self.miss(args, kwargs) if out is MISS else out

    @abstractmethod
    def miss(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Make the call in Python."""

    @abstractmethod
    def explain(self, failure: ProgramFailure, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Raise what a failure means."""

    def enter(self, executable: Executable, entry: Callable[[set[Any]], Entry | None]) -> None:
        """Let native dispatch take such calls by `entry(known)`: None if that cannot be, or if `known` has it.

        That is left until a program runs for the second time: the code of native dispatch is nothing to wait for in a
        first call.
        """
        if not executable.ran:
            executable.ran = True
            return
        if self.calls is None:
            self.calls = Dispatcher()
            self.fast = self.calls.function
        if len(self.known) >= LIMIT:
            self.forget()
        made = entry(self.known)
        if made is not None:
            self.calls.add(made)

    def forget(self) -> None:
        """Let native dispatch take no calls."""
        self.known.clear()
        if self.calls is not None:
            self.calls.clear()
