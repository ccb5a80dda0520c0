"""The simulator's pytest fixtures, available to every test where mouseflow-bot is installed.

pytest loads this module in every run, so it imports the simulator only when a test uses it.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mouseflow.simulator.server import Simulator


@pytest.fixture
def mouseflow_simulator() -> "Iterator[Simulator]":
    """A running simulator with the demo's websites, fresh for each test."""
    from mouseflow.simulator.server import Simulator

    with Simulator(seed=1) as sim:
        yield sim


@pytest.fixture
def empty_mouseflow_simulator() -> "Iterator[Simulator]":
    """A running simulator whose account has no websites yet."""
    from mouseflow.simulator.server import Simulator

    with Simulator(seed=1, sites=[]) as sim:
        yield sim
