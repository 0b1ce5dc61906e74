"""The strict operations. Importing this package fills the registry."""

from . import bits, dot, elementwise, fft, index, linalg, reduce, shape, sort

__all__ = ["bits", "dot", "elementwise", "fft", "index", "linalg", "reduce", "shape", "sort"]
