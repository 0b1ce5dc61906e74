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


def refused(run, cls, text, then=None):
    """`run()` raises exactly `cls` with this text, whose `{at}` is the caller's line marked `# here`.

    Then it is called again with `bad` switched off: an error leaves everything usable. `then` is that result.
    """
    caller = sys._getframe(1).f_code
    bad.on = True
    try:
        with pytest.raises(cls) as caught:
            run()
    finally:
        bad.on = False
    assert type(caught.value) is cls
    lines = str(caught.value).split("\n")
    place = AT.fullmatch(lines[1])
    assert place, lines
    assert place[1] == caller.co_filename
    assert int(place[2]) == marked_line(caller), place[0]
    lines[1] = "  at:  {at}"
    assert "\n".join(lines) == inspect.cleandoc(text)
    if then is not None:
        assert run() == then
