"""The strict operations. Importing this package fills the registry."""

from . import dot, elementwise, index, reduce, shape

__all__ = ["dot", "elementwise", "index", "reduce", "shape"]
