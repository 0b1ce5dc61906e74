"""Set before any test imports fgrad: every pass checks the program that it makes. And how Hypothesis runs."""

import os

from hypothesis import Phase, settings

os.environ["FGRAD_CHECK"] = "1"

QUICK = [Phase.explicit, Phase.generate, Phase.shrink]
settings.register_profile("ci", derandomize=True, deadline=None, database=None, phases=QUICK)
settings.register_profile("search", derandomize=False, deadline=None, max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
