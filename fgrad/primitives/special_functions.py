"""Special functions of statistics, with derivatives by their parameters where these are known.

Formulas: NIST Digital Library of Mathematical Functions (DLMF), chapters 5 (gamma), 8 (incomplete gamma and beta) and
25 (zeta).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core.types import ShapedArray
from .family import p, type_of, zeros
from .reduce import Cumulative
