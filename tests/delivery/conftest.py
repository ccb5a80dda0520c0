from collections.abc import Iterator
from pathlib import Path

import pytest
from delivery_world import Bench

from bot.store import Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(f"sqlite:///{tmp_path}/bot.db") as opened:
        yield opened


@pytest.fixture
def bench(store: Store) -> Bench:
    return Bench(store)
