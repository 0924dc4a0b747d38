"""What every test runs under: property tests draw the same cases each time, so CI's verdict depends on the code alone.

`HYPOTHESIS_PROFILE=search` draws new cases, and more of them: for hunting, not for CI.
"""

import os

from hypothesis import settings

settings.register_profile("ci", max_examples=200, derandomize=True, deadline=None)
settings.register_profile("search", max_examples=5_000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
