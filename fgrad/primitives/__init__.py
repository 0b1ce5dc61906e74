"""The strict operations. Importing this package fills the registry."""

from . import (
    bits,
    dot,
    elementwise,
    fft,
    index,
    linalg,
    permutations,
    reduce,
    rng,
    shape,
    solves,
    sort,
    special_functions,
)

__all__ = [
    "bits",
    "dot",
    "elementwise",
    "fft",
    "index",
    "linalg",
    "permutations",
    "reduce",
    "rng",
    "shape",
    "solves",
    "sort",
    "special_functions",
]
