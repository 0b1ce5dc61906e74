"""Set before any test imports fgrad: every pass checks the program that it makes."""

import os

os.environ["FGRAD_CHECK"] = "1"
