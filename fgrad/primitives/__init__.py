"""The strict operations. Importing this package fills the registry."""

from . import (
    bits,
    conv,
    dot,
    elementwise,
    fft,
    index,
    linalg,
    permutations,
    reduce,
    rng,
    shape,
    slices,
    solves,
    sort,
    special_functions,
    window,
)

__all__ = [
    "bits",
    "conv",
    "dot",
    "elementwise",
    "fft",
    "index",
    "linalg",
    "permutations",
    "reduce",
    "rng",
    "shape",
    "slices",
    "solves",
    "sort",
    "special_functions",
    "window",
]
