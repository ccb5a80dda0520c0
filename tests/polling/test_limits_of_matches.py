"""`safety` counts what acts, from the last release on; `once_per` follows the present rule."""

import asyncio
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from poll_world import rules

from bot import cleanup
from bot.domain.subjects import RecordingSubject, Site
from bot.polling.context import PollContext
from bot.polling.record_matches import Found, Routing, record_poll
from bot.rules.needs import counted_for
from bot.store import open_store
from bot.store.dead_letters import steps_of
from bot.store.matches import PollOutcome
from bot.store.rebuild import clock_set_back
from bot.store.rules import resume_rule, rule_states, snooze
from bot.watcher import Watcher
from mouseflow.models import Recording

NOW = datetime(2026, 3, 10, 9, 0, tzinfo=UTC)
SITE = Site(id="site-1", name="myshop.com")
ROUTING = Routing("#ux", "UTC", "#ops")


class Ruled:
    """One rule, the recordings that match it, and the time."""

    def __init__(self, path) -> None:
        self.store = open_store(f"sqlite:///{path / 'bot.db'}")
        self.now = NOW
        self.matched = 0

    async def use(self, text: str) -> None:
        """Load the rule, as the daemon does."""
        found = rules(f"one: {{watch: recordings, {text}, do: {{slack: {{}}}}}}")
        context = PollContext(None, self.store, ZoneInfo("UTC"), timedelta(), timedelta(), ROUTING)
        watcher = Watcher(context, found, ops=None, wake=lambda: None, clock=lambda: self.now)
        await watcher.use_rules(found)
        [self.rule] = found.rules

    def match(self, visitor: str = "anna", ago: timedelta = timedelta(), **values: str) -> bool:
        """Another recording matches that ended so long ago; returns whether the rule acts."""
        self.matched += 1
        key = f"r{self.matched}"
        row = Recording(id=key, visitor_id=visitor, **values)
        found = Found(
            rule=self.rule,
            subject=RecordingSubject(website=SITE, recording=row),
            happened=self.now - ago,
        )
        outcome = PollOutcome(source="recordings", website=SITE.id, at=self.now)
        self.store.do(lambda conn: record_poll(conn, outcome, [found], ROUTING))
        return bool(self.store.do(lambda conn: steps_of(conn, f"one/{SITE.id}/{key}")))

    @property
    def paused(self) -> bool:
        return self.store.do(rule_states)["one"].paused_at is not None

    def wait(self, **time: float) -> None:
        self.now += timedelta(**time)


@pytest.fixture
def ruled(tmp_path):
    found = Ruled(tmp_path)
    yield found
    found.store.close()


@pytest.mark.parametrize(
    ("limit", "acts"),
    [
        ("count: {at_least: 15, within: 10m, by: website}", 1),
        ("once_per: {visitor: 1d}", 2),
    ],
)
async def test_safety_counts_only_matches_that_act(ruled, limit, acts):
    await ruled.use(f"when: {{pages: {{min: 1}}}}, {limit}, safety: {{at_most: 10 per hour}}")
    acted = []
    for n in range(15):
        acted.append(ruled.match("bert" if n == 14 else "anna"))
        ruled.wait(seconds=3)
    assert sum(acted) == acts
    assert not ruled.paused


async def test_matches_of_one_poll_that_do_not_act_do_not_count_either(ruled):
    await ruled.use(
        "when: {pages: {min: 1}}, once_per: {visitor: 1d}, safety: {at_most: 3 per hour}"
    )
    found = [
        Found(
            rule=ruled.rule,
            subject=RecordingSubject(
                website=SITE,
                recording=Recording(id=f"x{n}", visitor_id="bert" if n > 8 else "anna"),
            ),
            happened=NOW,
        )
        for n in range(10)
    ]
    outcome = PollOutcome(source="recordings", website=SITE.id, at=NOW)
    ruled.store.do(lambda conn: record_poll(conn, outcome, found, ROUTING))
    assert not ruled.paused


@pytest.mark.parametrize("how", ["retry", "edit"])
async def test_a_release_from_the_pause_begins_to_count_anew(ruled, how):
    await ruled.use("when: {pages: {min: 1}}, safety: {at_most: 5 per hour}")
    acted = []
    for _ in range(8):
        acted.append(ruled.match())
        ruled.wait(seconds=5)
    assert acted == [True] * 5 + [False] * 3
    assert ruled.paused
    if how == "retry":
        ruled.store.do(lambda conn: resume_rule(conn, "one", ruled.now, "by hand"))
    else:
        await ruled.use("when: {pages: {min: 2}}, safety: {at_most: 5 per hour}")
    assert not ruled.paused
    ruled.wait(seconds=5)
    assert [ruled.match() for _ in range(6)] == [True] * 5 + [False]
    assert ruled.paused


async def test_an_edit_of_a_running_rule_begins_to_count_anew(ruled):
    await ruled.use("when: {pages: {min: 1}}, safety: {at_most: 5 per hour}")
    assert [ruled.match() for _ in range(5)] == [True] * 5
    ruled.wait(minutes=1)
    await ruled.use("when: {pages: {min: 2}}, safety: {at_most: 5 per hour}")
    ruled.wait(seconds=1)
    assert [ruled.match() for _ in range(5)] == [True] * 5
    assert not ruled.match()


@pytest.mark.parametrize("hours", [0.5, 5, 24 * 500])
@pytest.mark.parametrize("how", ["retry", "edit"])
async def test_a_release_by_a_clock_that_was_ahead_counts_from_when_it_is_right(ruled, how, hours):
    await ruled.use("when: {pages: {min: 1}}, safety: {at_most: 5 per hour}")
    assert [ruled.match() for _ in range(6)] == [True] * 5 + [False]
    ruled.wait(hours=hours)
    if how == "retry":
        ruled.store.do(lambda conn: resume_rule(conn, "one", ruled.now, "by hand"))
    else:
        await ruled.use("when: {pages: {min: 2}}, safety: {at_most: 5 per hour}")
    ruled.wait(hours=2 - hours)
    ruled.store.do(lambda conn: clock_set_back(conn, ruled.now, timedelta(hours=1)))
    assert [ruled.match() for _ in range(6)] == [True] * 5 + [False]


async def test_a_snooze_by_a_clock_that_was_ahead_lasts_no_longer(ruled):
    await ruled.use("when: {pages: {min: 1}}")
    ahead = ruled.now + timedelta(days=500)
    ruled.store.do(lambda conn: snooze(conn, "one", ahead + timedelta(hours=2), ahead))
    ruled.store.do(lambda conn: clock_set_back(conn, ruled.now, timedelta(hours=1)))
    state = ruled.store.do(rule_states)["one"]
    assert (state.snoozed_at, state.snoozed_until) == (ruled.now, ruled.now + timedelta(hours=2))


@pytest.mark.parametrize(
    ("found", "acts"),
    [
        # When it is found, and how many minutes ago it happened then.
        ([(0, 45), (15, 5), (25, 15)], 2),  # three of 55 minutes, found within 25
        ([(0, 5), (20, 40), (40, 5)], 2),
        ([(0, 45), (15, 5), (25, 15), (65, 1)], 2),
        ([(0, 55), (10, 0), (20, 0)], 3),  # the first was an hour before the last
        ([(0, 0), (10, 0), (61, 55)], 3),  # the first was found an hour before the last
        ([(0, 61), (0, 70), (0, 80), (5, 0), (9, 0)], 5),  # history is no flood
        ([(0, 61), (0, 70), (0, 80), (5, 0), (9, 0), (14, 0)], 5),
    ],
)
async def test_a_safety_counts_what_happened_and_was_found_within_its_window(ruled, found, acts):
    await ruled.use("when: {pages: {min: 1}}, safety: {at_most: 2 per hour}")
    acted = 0
    for minute, ago in found:
        ruled.now = NOW + timedelta(minutes=minute)
        acted += ruled.match(ago=timedelta(minutes=ago))
    assert acted == acts


@pytest.mark.parametrize(
    ("before", "after", "later", "acts"),
    [
        ("{visitor: 30d}", "{visitor: 1s}", 6, True),
        ("{visitor: 5s}", "{visitor: 30d}", 13, False),
        ("{visitor: 5s}", "{visitor: 5s}", 13, True),
        ("{visitor: 30d}", "{visitor: 30d}", 13, False),
    ],
)
async def test_the_present_once_per_decides_from_the_last_match(ruled, before, after, later, acts):
    await ruled.use(f"when: {{pages: {{min: 1}}}}, once_per: {before}")
    assert ruled.match()
    await ruled.use(f"when: {{pages: {{min: 1}}}}, once_per: {after}")
    ruled.wait(seconds=later)
    assert ruled.match() is acts


async def test_once_per_another_field_does_not_mix_up_equal_values(ruled):
    await ruled.use("when: {pages: {min: 1}}, once_per: {country: 1d}")
    assert ruled.match(country="de")
    await ruled.use("when: {pages: {min: 1}}, once_per: {city: 1d}")
    assert ruled.match(city="de")
    assert not ruled.match(city="de")


async def test_count_by_another_field_does_not_mix_up_equal_values(ruled):
    await ruled.use("when: {pages: {min: 1}}, count: {at_least: 2, within: 1h, by: country}")
    assert not ruled.match(country="de")
    await ruled.use("when: {pages: {min: 1}}, count: {at_least: 2, within: 1h, by: city}")
    assert not ruled.match(city="de")
    assert ruled.match(city="de")


async def test_what_met_another_condition_does_not_count(ruled):
    count = "count: {at_least: 2, within: 1h, by: website}"
    await ruled.use(f"when: {{saw_page: /cart}}, {count}")
    assert not ruled.match()
    await ruled.use(f"when: {{saw_page: /pay}}, {count}")
    assert not ruled.match()
    await ruled.use(f"when: {{saw_page: /pay}}, summary: Paid, {count}")
    assert ruled.match()


async def clean_up_once(ruled, keep, monkeypatch):
    async def rest(seconds):
        if seconds >= cleanup.CLEANUP.total_seconds():
            raise asyncio.CancelledError

    monkeypatch.setattr(asyncio, "sleep", rest)
    with pytest.raises(asyncio.CancelledError):
        await cleanup.clean_up(
            ruled.store, keep, figures=timedelta, counts=lambda: counted_for([ruled.rule]),
            ops=None, clock=lambda: ruled.now,
        )  # fmt: skip
    monkeypatch.undo()


@pytest.mark.parametrize(("days", "acts"), [(5, True), (9, False)])
async def test_a_count_of_longer_than_the_store_keeps_is_whole(ruled, monkeypatch, days, acts):
    await ruled.use("when: {pages: {min: 1}}, count: {at_least: 2, within: 7d, by: website}")
    assert not ruled.match()
    ruled.wait(days=days)
    await clean_up_once(ruled, timedelta(days=4), monkeypatch)
    assert ruled.match() is acts


async def acts(ruled, *minutes: float) -> list[bool]:
    """Whether matches of one visitor act that happened then, in the order of arrival."""
    found = []
    for minute in minutes:
        ruled.now = NOW + timedelta(minutes=minute)
        found.append(ruled.match())
    return found


async def test_once_per_goes_by_when_things_happened(ruled):
    await ruled.use("when: {pages: {min: 1}}, once_per: {visitor: 10m}")
    assert await acts(ruled, 60, 0, 5, 55, 10, 69, 70) == [
        True, True, False, False, True, False, True
    ]  # fmt: skip


async def test_a_count_goes_by_when_things_happened(ruled):
    await ruled.use("when: {pages: {min: 1}}, count: {at_least: 3, within: 10m, by: website}")
    assert await acts(ruled, 5, 9, 1, 40, 30, 35, 41) == [
        False, False, True, False, False, True, False
    ]  # fmt: skip


@pytest.mark.parametrize("order", [range(30), range(29, -1, -1), [n * 7 % 30 for n in range(30)]])
async def test_in_any_order_a_count_needs_its_number_for_each_match(ruled, order):
    await ruled.use("when: {pages: {min: 1}}, count: {at_least: 5, within: 10m, by: website}")
    assert 1 <= sum(await acts(ruled, *order)) <= 6


async def test_what_the_safety_kept_from_acting_is_no_match_for_once_per(ruled):
    limits = "once_per: {visitor: 1d}, safety: {at_most: 1 per hour}"
    await ruled.use(f"when: {{pages: {{min: 1}}}}, {limits}")
    assert ruled.match("anna")
    assert not ruled.match("bert")
    assert ruled.paused
    ruled.wait(hours=2)
    await ruled.use(f"when: {{pages: {{min: 2}}}}, {limits}")
    assert ruled.match("bert")
