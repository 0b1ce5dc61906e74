"""The stable text form of programs: what golden tests pin and `print(jaxpr)` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .ir import Jaxpr


def show(jaxpr: Jaxpr, indent: str = "") -> str:
    """Text of a program; variables are named a, b, ... in order of appearance, bodies of regions are indented.

    { a:float64[3] .
      b:float64[3] = sin a
      in (b) }
    """
    names: dict[Any, str] = {}

    def name(v: Any) -> str:
        if v not in names:
            names[v] = _letters(len(names))
        return names[v]

    def atom(a: Any) -> str:
        return f"{a.value!s}:{a.type.dtype.name}" if hasattr(a, "value") else name(a)

    def typed(v: Any) -> str:
        return f"{name(v)}:{v.type}"

    lines = [f"{indent}{{ {' '.join(typed(v) for v in jaxpr.inputs)} ."]
    for e in jaxpr.eqns:
        plain, bodies = [], []
        for key, value in e.params.items():
            if hasattr(value, "eqns"):
                bodies.append((key, value))
            else:
                plain.append(f"{key}={_param(value)}")
        params = f"[{' '.join(plain)}]" if plain else ""
        left = " ".join(typed(v) for v in e.outputs)
        lines.append(f"{indent}  {left} = {e.primitive.name}{params} {' '.join(atom(a) for a in e.inputs)}".rstrip())
        for key, body in bodies:
            lines.append(f"{indent}    {key}:")
            lines.append(show(body, indent + "      "))
    lines.append(f"{indent}  in ({', '.join(atom(a) for a in jaxpr.outputs)}) }}")
    return "\n".join(lines)


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
