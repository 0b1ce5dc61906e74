"""The strict operations. Importing this package fills the registry."""

from . import dot, elementwise, fft, index, linalg, reduce, shape, sort

__all__ = ["dot", "elementwise", "fft", "index", "linalg", "reduce", "shape", "sort"]
