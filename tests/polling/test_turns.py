"""Nothing keeps the event loop for long, counted in calls of functions (see `turns`)."""

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from poll_world import START, Account
from turns import counted

from bot.polling.late_marks import ALL, AT_ONCE, _marked
from bot.polling.record_matches import Routing
from bot.polling.recordings import PollContext
from bot.rules.files.load import read
from bot.rules.model import RuleSet
from bot.store import open_store
from bot.store.recordings import SeenRecording, save_recordings
from bot.watcher import Watcher
from mouseflow.models import Recording, RecordingPage
from mouseflow.simulator.site import website
from mouseflow.simulator.traffic import Plan

RULES, WEBSITES = 200, 50
MOST = 20_000
"""Calls in one turn: a few milliseconds of processor time."""


def many(pages: str) -> RuleSet:
    """Rules of which every website has others."""
    rules = [
        f"  rule-{n}: {{watch: recordings, websites: ['*{n % 50:02}.com', 'shop-{n % 5}*'], "
        f"when: {{saw_page: {pages}/{n}*, duration: {{over: {n + 1}s}}, country: [de, dk]}}, "
        f"do: {{tag: t-{n % 20}, slack: {{channel: '#a'}}}}}}"
        for n in range(RULES)
    ]
    return read([("r.yaml", "\n".join(["version: 1", "rules:", *rules]).encode())])


@pytest.fixture
def context(tmp_path):
    sites = [website(f"w{n}", f"shop-{n:02}.com", plan=Plan(per_day=0)) for n in range(WEBSITES)]
    account = Account(tmp_path, "a: {watch: recordings, when: {pages: 1}, do: {star: true}}",
                      sites=sites)  # fmt: skip
    with open_store(f"sqlite:///{tmp_path}/other.db") as store:
        yield PollContext(account.sender, store, ZoneInfo(account.zone), account.settle,
                          account.start, Routing("#mouseflow", account.zone))  # fmt: skip
    account.close()


async def test_many_rules_for_many_websites_come_into_use_in_short_turns(context):
    loaded = [many(pages) for pages in ("/cart", "/paid")]
    watcher = Watcher(context, loaded[0], ops=None, wake=lambda: None, clock=lambda: START)
    with counted() as turns:
        for rules in loaded:
            await watcher.find_sites()
            await watcher.use_rules(rules)
    assert len(watcher.watched) == WEBSITES
    assert turns.calls < MOST, turns


class LongList:
    """Always answers with the same rows, which ended long ago."""

    def __init__(self, rows: int) -> None:
        ended = START - timedelta(hours=2)
        self.rows = tuple(
            Recording(id=f"r{n}", created=ended, last_activity=ended, starred=True)
            for n in range(rows)
        )

    async def send(self, _request):
        return RecordingPage(recordings=self.rows, chart={}, count=len(self.rows))


async def test_late_marks_of_a_long_list_are_compared_in_short_turns(context):
    rows = 3 * AT_ONCE + 1
    seen = [SeenRecording(id=f"r{n}", fingerprint="", settled=True, closed=True, marks="-",
                          created=START, last_activity=START) for n in range(rows)]  # fmt: skip
    await context.store.run(lambda conn: save_recordings(conn, "w", seen, START))
    since = START - timedelta(days=1)
    with counted() as turns:
        found = await _marked(LongList(rows), context.store, "w", [ALL], since,
                             context.settle, START, frozenset())  # fmt: skip
    assert len(found) == rows
    assert turns.longest["marks"] <= AT_ONCE
    assert turns.longest["last_activity"] <= AT_ONCE
