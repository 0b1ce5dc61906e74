"""Methods of NumPy's arrays that tracers cannot have: they change a shape, or read memory that there is none of."""

from __future__ import annotations

from typing import Any, NoReturn

from ..core.errors import MutationError, message
from ..core.trace import Tracer


def _refusing(name: str, do: str) -> Any:
    def refuse(self: Any, *args: Any, **kwargs: Any) -> NoReturn:
        raise MutationError(
            message(f"x.{name}() is not possible on a traced array", got=f"a traced {self.aval}", do=do)
        )

    refuse.__name__ = name
    refuse.__doc__ = f"Refused: {do}."
    return refuse


_REMEDIES = {
    "resize": "write y = x.reshape(shape) for as many elements, or pad and slice",
    "setfield": "write x[...] = values",
    "setflags": "leave the flags alone: a traced array has no memory of its own",
    "view": "write x.astype(dtype) for values of another dtype, x.reshape(shape) for another shape",
    "tobytes": "return the array from the transformed function and convert it there",
    "tofile": "return the array from the transformed function and write it there",
    "byteswap": "keep arrays in native byte order",
}
for _name, _do in _REMEDIES.items():
    if not hasattr(Tracer, _name):
        setattr(Tracer, _name, _refusing(_name, _do))
