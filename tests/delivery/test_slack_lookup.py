"""Where posts can't be looked up is known and said; a channel that is missing is another thing."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from structlog.testing import capture_logs

from bot.delivery.slack_channels import SlackLookup
from bot.errors import OddAnswer
from bot.ports import CannotLook, NoChannel
from bot.store import open_store
from bot.store.recordings import blind_channels

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


class Workspace:
    """A Slack with a channel that can be read, one that can't, and none else."""

    def __init__(self) -> None:
        self.asked = asyncio.Queue[str]()

    async def check_channel(self, channel: str) -> None:
        self.asked.put_nowait(channel)
        if channel == "#closed":
            raise CannotLook("the Slack app lacks the scope channels:history")
        if channel != "#open":
            raise NoChannel(f"there is no channel {channel}")


async def test_a_channel_that_is_not_there_is_not_told_as_at_least_once(tmp_path: Path) -> None:
    slack, names = Workspace(), ["#closed", "#nosuch", "#open"]
    with open_store(f"sqlite:///{tmp_path / 'bot.db'}") as store, capture_logs() as logs:
        lookups = SlackLookup(slack, store, lambda: names, lambda: NOW)
        running = asyncio.create_task(lookups.run())
        for name in names:
            assert await slack.asked.get() == name
        lookups.check_again()
        for name in names:
            assert await slack.asked.get() == name
        known = store.do(blind_channels)  # as the first round left it
        running.cancel()
    assert known == ["#closed"]
    assert [(line["event"], line.get("channel") or line["channels"]) for line in logs] == [
        ("slack.no_channel", "#nosuch"),
        ("slack.at_least_once", ["#closed"]),
    ]


class Odd:
    """A Slack that answers with something else, or a look-up with a bug."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.asked = asyncio.Queue[str]()

    async def check_channel(self, channel: str) -> None:
        self.asked.put_nowait(channel)
        raise self.errors.pop(0)


async def test_no_odd_answer_or_bug_ends_the_checks(tmp_path: Path) -> None:
    slack = Odd(OddAnswer("no list of channels"), AttributeError("x"), OddAnswer("no list"))
    with open_store(f"sqlite:///{tmp_path / 'bot.db'}") as store, capture_logs() as logs:
        lookups = SlackLookup(slack, store, lambda: ["#one", "#two"], lambda: NOW)
        running = asyncio.create_task(lookups.run())
        assert [await slack.asked.get() for _ in range(2)] == ["#one", "#two"]
        lookups.check_again()
        assert await slack.asked.get() == "#one"
        assert not running.done()
        assert store.do(blind_channels) == ["#one", "#two"]
        running.cancel()
    assert [line["event"] for line in logs][:2] == ["slack.check_failed"] * 2
