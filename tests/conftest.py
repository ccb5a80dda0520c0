"""How the suite runs: the same examples each time, many tests side by side, long files first."""

import os
import signal
import sys

import pytest
from hypothesis import settings

# A red run says something of the change, not of the dice; HYPOTHESIS_PROFILE=explore draws others.
settings.register_profile("same", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


def pytest_xdist_auto_num_workers() -> int:
    """Three for each core: many tests wait for a real daemon, which leaves the core to others."""
    return 3 * (os.cpu_count() or 1)


# Started in the background SIGINT is ignored, also by the processes of tests.
signal.signal(signal.SIGINT, signal.default_int_handler)


# httpx looks for it at each call of a simulator in this process; to find it missing takes 0.4 ms.
sys.modules.setdefault("sniffio", None)


LONG = (
    "tests/worlds/",
    "tests/polling/test_poll_worlds.py",
    "tests/end_to_end/",
    "tests/cli/",
    "tests/budgets/",
    "tests/delivery/",
)
"""What takes long begins first, so that at the end no worker is left alone with it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files: the longest first, the others as they were found."""
    items.sort(key=lambda item: next((n for n, part in enumerate(LONG) if part in item.nodeid), 99))
