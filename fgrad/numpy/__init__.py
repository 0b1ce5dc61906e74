"""NumPy's functions on arrays and tracers, with NumPy's names, arguments and dtypes.

Where no operand is traced NumPy's own function runs; traced operands are differentiated, batched and compiled.
"""

from . import fft, linalg
from .calculus import *
from .creation import *
from .indexing import *
from .joining import *
from .nanreductions import *
from .polynomial import *
from .products import *
from .reductions import *
from .selection import *
from .shapes import *
from .sorting import *
from .ufuncs import *
