from collections.abc import Iterator
from pathlib import Path

import pytest
from store_samples import url

from bot.store import Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(url(tmp_path)) as opened:
        yield opened
