"""`poll.expand` through the real command: off, no call asks for what no document knows."""

import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bot.cli.main import main
from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import website
from mouseflow.simulator.traffic import Plan

RULE = """\
version: 1
rules:
  checkout:
    watch: recordings
    when: {saw_page: /checkout*, page: {path: /checkout*, time: {over: 1ms}}}
    do: {tag: checkout}
"""

Once = Callable[..., list[str]]


@pytest.fixture
def once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Once]:
    """Runs `once` on an account with sessions whose page views matter; tells what it asked."""
    with Simulator(seed=7, sites=[website("site-1", "myshop.com", plan=Plan(per_day=0))]) as sim:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "rules.yaml").write_text(RULE)
        for minutes in range(40, 100, 3):
            sim.add("myshop.com", "checkout-friction", start=-minutes * 60)

        def run(poll: str = "", **environ: str) -> list[str]:
            (tmp_path / "config.toml").write_text(
                f'[mouseflow]\nbase_url = "{sim.mouseflow_url}"\nemail = "{sim.email}"\n'
                f'api_key = "{sim.api_key}"\ntime_zone = "{sim.quirks.time_zone}"\n'
                "requests_per_second = 100\n"
                '[rules]\npaths = ["rules.yaml"]\n'
                f'[poll]\nstart = "2h"\n{poll}\n'
                '[web]\nlisten = ""\n'
            )
            for name, value in environ.items():
                monkeypatch.setenv(name, value)
            try:
                assert main(["once"]) == 0
            finally:
                gc.enable()
            assert "20 matches, 20 actions done" in capsys.readouterr().out
            return [call.query for call in sim.calls if call.method == "GET"]

        yield run


def expanded(calls: list[str]) -> int:
    return sum("expand=true" in query for query in calls)


def test_page_views_are_asked_for_in_lists_where_several_recordings_need_them(once: Once) -> None:
    assert expanded(once()) > 0


@pytest.mark.parametrize(
    ("poll", "environ"), [("expand = false", {}), ("", {"BOT_POLL__EXPAND": "false"})]
)
def test_told_not_to_no_call_asks_for_them_and_nothing_is_lost(
    once: Once, poll: str, environ: dict[str, str]
) -> None:
    calls = once(poll, **environ)
    assert calls
    assert expanded(calls) == 0
