"""A folder with the guides' own rules, a simulated account and a store, for commands to run in."""

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from markdown_pages import PAGES, ROOT, blocks

from bot.cli.main import main
from bot.cli.simulate import configuration
from mouseflow.simulator.scenarios import MYSHOP
from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import website
from mouseflow.simulator.traffic import Plan


def _rules() -> Iterator[tuple[str, str]]:
    """The rule files of the guides, and the pack that other pages name."""
    yield "checkout.yaml", (ROOT / "rules" / "checkout.yaml").read_text(encoding="utf-8")
    budget = "{websites: [myshop.com], recordings: 50000, period: month, pace: true}"
    yield "credits.yaml", f"version: 1\nbudgets:\n  monthly-credits: {budget}\n"
    for block in (block for page in PAGES for block in blocks(page)):
        guide = block.page.parent.name == "how-to" or block.page.name == "tutorial.md"
        if guide and block.language == "yaml" and "version: 1" in block.text:
            yield f"{block.page.stem}.yaml", block.text


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder with configuration, rules and a store, and a recording that it knows."""
    place = tmp_path_factory.mktemp("world")
    today = datetime.now(UTC).date()
    calm = Plan(per_day=30, since=today - timedelta(days=40))
    shop = website(MYSHOP, "myshop.com", plan=calm)
    with Simulator(seed=1, sites=[shop]) as simulator, pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("BOT_"):
                patch.delenv(name)
        made = simulator.add("myshop.com", "checkout-friction", start=-120)
        (place / "rules").mkdir()
        (place / "backups").mkdir()
        for name, text in _rules():
            (place / "rules" / name).write_text(text, encoding="utf-8")
        (place / "ordinary.yaml").write_text("samples:\n  - given: {friction: 0.1}\n")
        text = configuration(simulator).replace("second = 20", "second = 100")
        text = re.sub(r"data/simulator-\S+\.db", "data/bot.db", text)  # as the guides have it
        (place / "config.toml").write_text(text.replace('"5s"', '"5s"\nstart = "1h"'))
        patch.chdir(place)
        assert main(["once"]) == 0
        yield place, made
