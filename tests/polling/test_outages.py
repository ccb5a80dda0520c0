"""An outage is told when it begins and when it ends, and a large one is told as one."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from bot.errors import BadCredentials, BotError, TryLater
from bot.polling.outages import MANY, QUIET, SITES, Outages, Troubles, account_fails, of_others
from bot.polling.record_matches import Caught
from bot.store import open_store
from bot.store.audit import history
from bot.store.schema import matches

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
AWAY, BUSY = OSError("away"), ValueError("busy")


@pytest.fixture
def log():
    with capture_logs() as lines:
        yield lines


def events(log):
    return [(line["event"], line.get("what", line.get("things"))) for line in log]


def test_it_is_told_once_that_something_fails_and_once_that_it_works_again(log):
    outages = Outages()
    assert outages.failed("a", AWAY, NOW)
    for minute in range(1, 60):
        assert not outages.failed("a", AWAY, NOW + timedelta(minutes=minute))
    assert outages.works("a", NOW + timedelta(hours=1))
    assert not outages.works("a", NOW + timedelta(hours=1))
    assert events(log) == [("poll.outage", "a"), ("poll.recovered", "a")]
    assert (log[-1]["failures"], log[-1]["seconds"]) == (60, 3600)


def test_another_kind_of_failure_is_news_but_not_every_moment(log):
    outages = Outages()
    for minute in range(10):
        outages.failed("a", (AWAY, BUSY)[minute % 2], NOW + timedelta(minutes=minute))
    assert events(log) == [("poll.outage", "a")] * 2


def test_where_everything_fails_one_line_says_so_and_one_that_it_is_over(log):
    outages = Outages()
    names = [f"site-{number}" for number in range(500)]
    for turn in range(3):
        for name in names:
            outages.failed(name, (AWAY, BUSY)[turn % 2], NOW + timedelta(minutes=turn))
    for name in names:
        outages.works(name, NOW + timedelta(hours=1))
    told = events(log)
    assert told.count(("poll.outage_widespread", MANY + 1)) == 1
    assert told.count(("poll.recovered_widespread", 500)) == 1
    assert len(told) <= 2 + 3 * MANY
    assert not outages.failing


def test_what_still_fails_when_the_rest_works_again_is_named(log):
    outages = Outages()
    for number in range(50):
        outages.failed(f"site-{number}", AWAY, NOW)
    for number in range(49):
        outages.works(f"site-{number}", NOW)
    assert log[-1]["event"] == "poll.recovered"
    (over,) = [line for line in log if line["event"] == "poll.recovered_widespread"]
    assert {"site-48", "site-49"} <= set(over["still"])


def test_the_next_large_outage_is_told_again(log):
    outages = Outages()
    for _ in range(2):
        for number in range(50):
            outages.failed(f"site-{number}", AWAY, NOW)
        for number in range(50):
            outages.works(f"site-{number}", NOW)
    assert [event for event, _ in events(log)].count("poll.outage_widespread") == 2


def ended(brought):
    """What people are told when these polls, which failed for long, work again."""
    outages, later = Outages(), NOW + 2 * QUIET
    for name in brought:
        for now in (NOW, later):
            outages.failed(name, TryLater("away"), now)
            outages.to_announce(name, now)
    told = []
    for name, caught in brought.items():
        recovered = outages.works(name, later, caught)
        told.append(outages.recovery(name, recovered, later))
    assert [it is None for it in told] == [True] * (len(told) - 1) + [False]
    assert outages.caught == {}
    return told[-1].lines[0].partition(" What is too old")[0]


def test_the_end_of_an_outage_says_what_was_caught_up(log):
    sites = {"recordings of a": Caught(200, 2), "recordings of b": Caught(14, 1)}
    assert ended(sites) == "Caught up: 214 recordings of 2 websites, 3 matches."
    assert ended({"recordings of a": Caught(1, 1)}) == "Caught up: 1 recording, 1 match."
    assert ended({"recordings of a": Caught()}) == "Caught up: nothing new came meanwhile."


def test_a_short_outage_leaves_no_figures_for_the_next_one(log):
    outages = Outages()
    outages.failed("recordings of a", TryLater("away"), NOW)
    recovered = outages.works("recordings of a", NOW + QUIET / 2, Caught(5, 5))
    assert outages.recovery("recordings of a", recovered, NOW + QUIET / 2) is None
    assert outages.caught == {}


async def test_of_two_troubles_in_a_row_each_message_is_answered_once(tmp_path, log):
    now, name = NOW, "recordings of a"
    with open_store(f"sqlite:///{tmp_path}/bot.db") as store:
        troubles = Troubles(store, ops="#ops", wake=lambda: None, clock=lambda: now)
        for error in (TryLater("away"), TryLater("away"), BadCredentials("rejected")):
            await troubles.failed(name, error)
            now += QUIET
        await troubles.works(name)
        query = select(matches.c.id, matches.c.continues, matches.c.summary).order_by(matches.c.id)
        told = store.do(lambda conn: conn.execute(query).all())
    begun = [row.id for row in told if not row.continues]
    assert len(begun) == 2
    assert [row.continues for row in told if row.continues] == begun
    assert {row.summary for row in told if row.continues} == {
        "🔵 Turned into another trouble after 10 min: Mouseflow can't be reached",
        "✅ Mouseflow is reachable again after 15 min",
    }


@pytest.fixture
def shared_by_two(postgres_url):
    """Two bots on one store, of which the first leads, and what was posted."""
    with (
        open_store(postgres_url, shared=True) as first,
        open_store(postgres_url, shared=True) as second,
    ):
        for store in (first, second):
            turn = store.do(lambda conn, it=store.sharing: it.turn(conn, (), (), ""))
            store.sharing.use(turn)
        yield Two(first, second)


class Two:
    """Two bots on one store, at a time that the test sets."""

    def __init__(self, first, second) -> None:
        self.first, self.second, self.now, self.posted = first, second, NOW, 0
        self.leads, self.other = (self.troubles(store) for store in (first, second))

    def troubles(self, store) -> Troubles:
        return Troubles(store, ops="#ops", wake=self._post, clock=lambda: self.now)

    def _post(self) -> None:
        self.posted += 1

    async def hear(self) -> None:
        alive = self.first.sharing.alive
        await self.leads.hear(await self.first.run(lambda conn: of_others(conn, alive(conn))))

    def told(self) -> str:
        return str(self.first.do(lambda conn: history(conn, kind="notice", limit=1))[0])

    async def other_fails_for_long(self) -> None:
        """One poll of the other bot fails until people are told."""
        await self.leads.remember()
        before = self.posted
        for _ in range(2):
            await self.other.failed("recordings of b", BotError("odd"))
            await self.hear()
            self.now += QUIET
        assert self.posted == before + 1


async def test_a_failing_website_that_moves_to_another_bot_does_not_work_again(shared_by_two, log):
    two = shared_by_two
    await two.other_fails_for_long()
    await two.other.keep_only(set())  # it polls the website no longer
    await two.hear()
    await two.hear()
    assert two.posted == 1
    await two.leads.failed("recordings of b", BotError("odd"))
    await two.leads.works(SITES)
    assert two.posted == 1
    await two.leads.works("recordings of b")
    assert two.posted == 2
    assert "All polls work again" in two.told()


async def test_a_bot_that_ends_while_its_polls_fail_does_not_make_them_work(shared_by_two, log):
    two = shared_by_two
    await two.other.failed("recordings of b", BotError("odd before"))
    await two.other.works("recordings of b")
    await two.other_fails_for_long()
    two.second.close()
    await two.hear()
    assert two.posted == 1


async def test_a_bot_that_comes_to_lead_knows_what_was_told_and_hears_not_itself(
    shared_by_two, log
):
    two = shared_by_two
    await two.other_fails_for_long()
    two.first.close()
    end_of_first(two)
    two.now += 2 * QUIET
    await two.other.failed("feedback of b", BotError("odd"))  # before it remembers
    two.now += 2 * QUIET
    await two.other.failed("feedback of b", BotError("odd"))
    assert two.posted == 1
    await two.other.remember()
    two.leads, two.first = two.other, two.second
    await two.hear()
    assert two.posted == 1
    for name in ("recordings of b", "feedback of b"):
        await two.other.works(name)
    assert two.posted == 2
    two.now += 2 * QUIET
    await two.hear()
    assert two.other.failing == []
    assert two.posted == 2


def end_of_first(two) -> None:
    """The second bot sees that it leads now."""
    sharing = two.second.sharing
    sharing.use(two.second.do(lambda conn: sharing.turn(conn, (), (), "")))
    assert sharing.leads


async def test_what_an_earlier_outage_of_another_bot_brought_counts_once(shared_by_two, log):
    two = shared_by_two
    for brought in (Caught(5, 2), Caught(3, 1)):
        await two.other_fails_for_long()
        await two.other.works("recordings of b", brought)
        await two.hear()
        assert f"{brought.recordings} recordings, {brought.matches} match" in two.told()
        two.now += 2 * QUIET


async def test_of_bots_that_share_a_store_the_one_that_leads_tells_of_all(postgres_url, log):
    now = NOW
    with (
        open_store(postgres_url, shared=True) as first,
        open_store(postgres_url, shared=True) as second,
    ):
        posted, bots = [], []
        for store in (first, second):
            store.sharing.use(
                await store.run(lambda conn, it=store.sharing: it.turn(conn, (), (), ""))
            )
            bots.append(
                Troubles(store, ops="#ops", wake=lambda: posted.append(now), clock=lambda: now)
            )
        leads, other = bots
        await leads.remember()

        async def hear() -> None:
            alive = first.sharing.alive
            await leads.hear(await first.run(lambda conn: of_others(conn, alive(conn))))

        def told(conn) -> str:
            return str(history(conn, kind="notice", limit=1)[0])

        await other.failed("recordings of b", TryLater("gone"))
        await hear()
        assert leads.failing == ["recordings of b"]
        assert not posted
        now = NOW + QUIET
        await other.failed("recordings of b", TryLater("gone"))
        await hear()
        await hear()
        assert len(posted) == 1
        assert first.do(account_fails)
        await leads.works("recordings of a")
        assert len(posted) == 1
        await other.works("recordings of b", Caught(5, 2))
        await hear()
        assert len(posted) == 2
        assert "5 recordings, 2 matches" in first.do(told)
        assert not first.do(account_fails)
        # What a bot that is gone had said says nothing any more.
        await other.failed("recordings of b", TryLater("gone"))
        second.close()
        await hear()
        assert leads.failing == []
