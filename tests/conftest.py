"""Set before any test imports fgrad: every pass checks the program that it makes; kernels are cached apart.

And how Hypothesis runs.
"""

import atexit
import os
import shutil
import tempfile

from hypothesis import Phase, settings

os.environ["FGRAD_CHECK"] = "1"
os.environ["FGRAD_STRICT_KERNELS"] = "1"  # a kernel that LLVM refuses is an error, and no NumPy call with a warning
if "FGRAD_CACHE_DIR" not in os.environ:  # the user's own cache is none of the tests' business
    os.environ["FGRAD_CACHE_DIR"] = tempfile.mkdtemp(prefix="fgrad-tests-")
    atexit.register(shutil.rmtree, os.environ["FGRAD_CACHE_DIR"], ignore_errors=True)

QUICK = [Phase.explicit, Phase.generate, Phase.shrink]
settings.register_profile("ci", derandomize=True, deadline=None, database=None, phases=QUICK)
settings.register_profile("search", derandomize=False, deadline=None, max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
