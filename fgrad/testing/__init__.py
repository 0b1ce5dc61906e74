"""Tools for testing programs that are differentiated, batched and compiled.

Checks raise AssertionError: `check_grads` compares derivatives with finite differences, `check_vmap` a batched function
with a Python loop, `check_jit` a compiled one with the plain one. The strategies `arrays`, `pytrees`, `shapes` and
`dtypes` are for Hypothesis, which must be installed; `import fgrad` does not load this package.

>>> import numpy as np
>>> check_grads(np.sin, (np.array([0.3, 1.2]),), order=2)
"""

from .equality import check_close, check_jit, check_vmap
from .gradients import check_grads
from .strategies import Draw, arrays, dtypes, pytrees, shapes

__all__ = ["Draw", "arrays", "check_close", "check_grads", "check_jit", "check_vmap", "dtypes", "pytrees", "shapes"]
