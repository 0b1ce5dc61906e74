"""Errors pinned by their whole text: class, what was wrong, the user's own line, what was got and what to do."""

import inspect
import re
import sys

import pytest

AT = re.compile(r"  at:  (.*):(\d+) in (\S+): (.*)")


class Toggle:
    """Whether the function under test misbehaves: on while its error is awaited, off for the call after that."""

    on = False

    def __bool__(self):
        return self.on


bad = Toggle()


def marked_line(code):
    """Number of the line of a function that ends with the comment `here`."""
    lines, first = inspect.getsourcelines(code)
    (place,) = [i for i, line in enumerate(lines) if line.rstrip().endswith("# here")]
    return first + place


def says(error, what, got=None, do=None):
    """An error has exactly this text, whatever its line is."""
    lines = str(error).split("\n")
    rest = [] if got is None else [f"  got: {got}"]
    assert [lines[0], *lines[2:]] == [what, *rest, *([] if do is None else [f"  do:  {do}"])]


def refused(run, cls, what, *, got=None, do=None, then=None, code=None):
    """`run()` raises exactly `cls` with exactly this text, which names the caller's line marked `# here`, or `code`'s.

    Then it is called again with `bad` switched off: an error leaves everything usable. `then` is that result.
    """
    code = code or sys._getframe(1).f_code
    bad.on = True
    try:
        with pytest.raises(cls) as caught:
            run()
    finally:
        bad.on = False
    assert type(caught.value) is cls
    line = str(caught.value).split("\n")[1]
    place = AT.fullmatch(line)
    assert place, str(caught.value)
    assert (place[1], int(place[2])) == (code.co_filename, marked_line(code)), line
    says(caught.value, what, got, do)
    if then is not None:
        assert run() == then
