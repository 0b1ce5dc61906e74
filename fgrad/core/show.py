"""The stable text form of programs: what golden tests pin and `print(jaxpr)` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .ir import Eqn, Jaxpr


def show(jaxpr: Jaxpr, indent: str = "") -> str:
    """Text of a program; variables are named a, b, ... in order of appearance, bodies of regions are indented.

    { a:float64[3] .
      b:float64[3] = sin a
      in (b) }
    """
    names = Names(jaxpr)
    lines = [f"{indent}{{ {' '.join(map(names.typed, jaxpr.inputs))} ."]
    for e in jaxpr.eqns:
        lines.append(f"{indent}  {names.equation(e)}")
        for key, value in e.params.items():
            for label, body in bodies(key, value):
                lines.append(f"{indent}    {label}:")
                lines.append(show(body, indent + "      "))
    lines.append(f"{indent}  in ({', '.join(map(names.atom, jaxpr.outputs))}) }}")
    return "\n".join(lines)


def bodies(key: str, value: Any) -> list[tuple[str, Jaxpr]]:
    """The programs in a param, each with a label for people."""
    if hasattr(value, "eqns"):
        return [(key, value)]
    if not isinstance(value, tuple):
        return []
    named = dict(zip(getattr(value, "_fields", ()), value, strict=False))
    plain = " ".join(f"{k}={_param(v)}" for k, v in named.items() if not bodies(k, v))
    found = [(f"{key} {i}", v) for i, v in enumerate(value)] if not named else list(named.items())
    inner = [pair for k, v in found for pair in bodies(k, v)]
    return [(f"{key} {plain}", body) for _, body in inner] if named else inner


class Names:
    """The names of a program's variables, in order of appearance; what it does not have is named when asked for."""

    def __init__(self, jaxpr: Jaxpr):
        self._names: dict[Any, str] = {}
        for v in (*jaxpr.inputs, *[v for e in jaxpr.eqns for v in e.outputs]):
            self.atom(v)

    def atom(self, a: Any) -> str:
        """`a`, or `2.0:float64`."""
        if hasattr(a, "value"):
            return f"{a.value!s}:{a.type.dtype.name}"
        return self._names.setdefault(a, _letters(len(self._names)))

    def typed(self, v: Any) -> str:
        """`a:float64[3]`."""
        return f"{self.atom(v)}:{v.type}"

    def equation(self, e: Eqn) -> str:
        """`b:float64[3] = sin a`, without the bodies of a region."""
        plain = [f"{key}={_param(value)}" for key, value in e.params.items() if not bodies(key, value)]
        params = f"[{' '.join(plain)}]" if plain else ""
        left, right = " ".join(map(self.typed, e.outputs)), " ".join(map(self.atom, e.inputs))
        return f"{left + ' = ' if left else ''}{e.primitive.name}{params} {right}".rstrip()


def _letters(n: int) -> str:
    text = ""
    n += 1
    while n:
        n, digit = divmod(n - 1, 26)
        text = chr(97 + digit) + text
    return text


def _param(value: Any) -> str:
    if isinstance(value, tuple):
        return "(" + ",".join(map(_param, value)) + ("," if len(value) == 1 else "") + ")"
    return str(value)
