"""Every error class that fgrad raises on purpose, and the one way in which their texts are put together.

A text says what is wrong, where (the user's own file and line), what was got and what to do:

    FgradError: what is wrong
      at:  model.py:12 in loss
      got: float32[3]
      do:  write ... instead
"""

from __future__ import annotations

import linecache
import os
import sys
from types import CodeType, FrameType
from typing import Any

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_INTERNAL: dict[CodeType, bool] = {}

Site = tuple[CodeType, int]


class FgradError(Exception):
    """Base of all errors of fgrad."""


class ShapeError(FgradError, ValueError):
    """Operands whose shapes do not fit together, or an axis that does not exist."""


class DtypeError(FgradError, TypeError):
    """An operand of a dtype that the operation does not take."""


class LeafError(FgradError, TypeError):
    """A pytree leaf that is no array and no number."""


class TreeError(FgradError, ValueError):
    """Pytrees whose structures differ."""


class GradError(FgradError, TypeError):
    """A function that cannot be differentiated as asked: a loss that is no real scalar, an integer argument."""


class ConcretizationError(FgradError, TypeError):
    """Python asked a traced value for a concrete one (`if x`, `int(x)`, `float(x)`, `math.sin(x)`, `np.array(x)`)."""


class LeakedTracerError(FgradError, RuntimeError):
    """A traced value was used after the transformation that made it had ended."""


class MutationError(FgradError, TypeError):
    """An in-place write that a trace cannot see or may not make."""


class OutOfBoundsError(FgradError, IndexError):
    """An index outside its axis."""


class StaticArgumentError(FgradError, ValueError):
    """An argument that must be hashable and fixed at trace time, and is not."""


class AxisSizeError(FgradError, ValueError):
    """Axes given to vmap that are missing, out of range, or of different sizes."""


class LinearityError(FgradError, TypeError):
    """A program that had to be linear in an argument, and is not."""


class MissingRuleError(FgradError, TypeError):
    """A primitive lacks the rule that a transformation needs."""


class ProgramError(FgradError, AssertionError):
    """The typechecker found a malformed program: a mistake inside fgrad or in a user's primitive."""


def is_internal(code: CodeType) -> bool:
    """Whether a code object belongs to fgrad itself (or to NumPy calling back into it)."""
    known = _INTERNAL.get(code)
    if known is None:
        name = code.co_filename
        numpy = os.sep + "numpy" + os.sep in name and "site-packages" in name
        known = _INTERNAL[code] = name.startswith(_PACKAGE) or numpy or name.startswith("<fgrad")
    return known


def user_frame() -> FrameType | None:
    """The innermost frame outside fgrad."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        known = _INTERNAL.get(code)
        if known is None:
            known = is_internal(code)
        if not known:
            return frame
        frame = frame.f_back
    return None


def user_site() -> Site | None:
    """(code, instruction) of the innermost frame outside fgrad: cheap to take, turned into a line only when shown."""
    frame = user_frame()
    return None if frame is None else (frame.f_code, frame.f_lasti)


def describe_site(site: Site | None) -> str:
    """`model.py:12 in loss: y = np.dot(x, w)`."""
    if site is None:
        return "unknown"
    code, lasti = site
    line = code.co_firstlineno
    for start, end, number in code.co_lines():
        if start <= lasti < end and number is not None:
            line = number
            break
    source = linecache.getline(code.co_filename, line).strip()
    where = f"{code.co_filename}:{line} in {code.co_name}"
    return f"{where}: {source}" if source else where


def message(what: str, *, got: Any = None, do: str | None = None, site: Site | None = None) -> str:
    """Put an error text together; `site` defaults to the user's innermost line."""
    lines = [what, f"  at:  {describe_site(site if site is not None else user_site())}"]
    if got is not None:
        lines.append(f"  got: {got}")
    if do is not None:
        lines.append(f"  do:  {do}")
    return "\n".join(lines)


def relocate(error: FgradError, site: Site | None) -> None:
    """Let an error name `site`, where the failing operation was traced, instead of the line that ran the program."""
    error.located = True  # type: ignore[attr-defined]
    if site is not None and error.args:
        lines = str(error.args[0]).split("\n")
        lines[1:2] = [f"  at:  {describe_site(site)}"]
        error.args = ("\n".join(lines),)
