"""Every run draws the same examples: a red run says something of the change, not of the dice.

`HYPOTHESIS_PROFILE=explore make test` draws new ones.
"""

import os

from hypothesis import settings

settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


def pytest_xdist_auto_num_workers() -> int:
    """Three for each core: many tests wait for a real daemon, which leaves the core to others."""
    return 3 * (os.cpu_count() or 1)
