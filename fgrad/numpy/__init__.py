"""NumPy's functions on arrays and tracers, with NumPy's names, arguments and dtypes.

Where no operand is traced NumPy's own function runs; traced operands are differentiated, batched and compiled.
"""

from . import arrays as _arrays  # noqa: F401  (gives tracers their methods)
from . import fft as fft
from . import linalg as linalg
from .arithmetic import *  # noqa: F403
from .arranging import *  # noqa: F403
from .calculus import *  # noqa: F403
from .creation import *  # noqa: F403
from .dtypes import *  # noqa: F403
from .in_place import *  # noqa: F403
from .indexing import *  # noqa: F403
from .joining import *  # noqa: F403
from .matrices import *  # noqa: F403
from .nanreductions import *  # noqa: F403
from .padding import *  # noqa: F403
from .polynomial import *  # noqa: F403
from .products import *  # noqa: F403
from .quantiles import *  # noqa: F403
from .reductions import *  # noqa: F403
from .running import *  # noqa: F403
from .selection import *  # noqa: F403
from .shapes import *  # noqa: F403
from .sorting import *  # noqa: F403
from .statistics import *  # noqa: F403
from .ufuncs import *  # noqa: F403
from .vectorizing import *  # noqa: F403
