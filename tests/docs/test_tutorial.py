"""The tutorial, step by step, as a newcomer does it: the same output, the same message."""

import os
import re
import shlex
from pathlib import Path

import pytest
from markdown_pages import ROOT, blocks

from bot.cli.main import main
from bot.cli.output import as_text
from bot.cli.simulate import PLANTED_START, configuration
from mouseflow.simulator.clock import real
from mouseflow.simulator.scenarios import busy_sites
from mouseflow.simulator.server import Simulator

PAGE = list(blocks(ROOT / "docs" / "tutorial.md"))


def of(language: str) -> list[str]:
    """The texts of the blocks in this language."""
    return [block.text for block in PAGE if block.language == language]


def test_the_tutorial_shows_what_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("BOT_"):
            monkeypatch.delenv(name)
    (rule,) = of("yaml")
    first, *others = of("console")
    follow(first, capsys)
    with Simulator(seed=1, sites=busy_sites(real(), 1, 12)) as simulator:
        (tmp_path / "simulator.toml").write_text(configuration(simulator))
        monkeypatch.setenv("BOT_CONFIG", "simulator.toml")
        (tmp_path / "rules" / "first.yaml").write_text(rule)
        follow(others[0], capsys)
        typo = rule.replace("      friction: {min: 1}", "      frction: {min: 1}")
        (tmp_path / "typo.yaml").write_text(typo)
        follow(others[1], capsys, code=1)
        simulator.add("myshop.com", "checkout-friction", start=PLANTED_START)
        assert main(["once"]) == 0
        posts = [
            as_text(post.text, post.blocks) for post in simulator.slack.in_channel("#mouseflow")
        ]
    (shown,) = of("text")
    lines = [line.removeprefix("  │ ") for line in shown.splitlines()[1:]]
    assert any(alike(post.splitlines(), lines) for post in posts), posts


def follow(block: str, capsys: pytest.CaptureFixture[str], code: int = 0) -> None:
    """Type what the block has behind `$`, and compare what comes."""
    for step in re.split(r"^\$ mouseflow-bot ", block, flags=re.MULTILINE)[1:]:
        typed, expected = step.split("\n", 1)
        capsys.readouterr()
        assert main(shlex.split(typed)) == code
        assert capsys.readouterr().out == expected


def alike(post: list[str], shown: list[str]) -> bool:
    """Whether both say the same but for the visitor, the time and the ids.

    Whether the second rule matches at once too depends on what else the traffic holds.
    """

    def kind(line: str) -> str:
        line = re.sub(r"[0-9a-f]{32}", "ID", line)
        line = re.sub(r"^(?:returning · )?\w+ · \w\w · .*? · \d\d:\d\d \w+", "VISITOR", line)
        return re.sub(r"\d+ min \d+ s|\d+ s|/products/\S+", "…", line)

    def of_one_rule(lines: list[str]) -> list[str]:
        told = [line for line in lines if not line.startswith("🔶 Also ")]
        return [re.sub(r"Rules? cart-trouble.*", "Rule cart-trouble", kind(line)) for line in told]

    return of_one_rule(post) == of_one_rule(shown)
