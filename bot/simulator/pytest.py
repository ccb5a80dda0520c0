"""Fixtures for tests: `pytest_plugins = ["bot.simulator.pytest"]`."""

from collections.abc import Iterator

import pytest

from bot.simulator.server import Simulator


@pytest.fixture
def mouseflow_simulator() -> Iterator[Simulator]:
    """A running simulator with the demo's websites, fresh for each test."""
    with Simulator(seed=1) as sim:
        yield sim


@pytest.fixture
def empty_mouseflow_simulator() -> Iterator[Simulator]:
    """A running simulator whose account has no websites yet."""
    with Simulator(seed=1, sites=[]) as sim:
        yield sim
