"""Polls are spread over their interval, begin in turn, and people learn how often they come."""

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot import scheduler
from bot.config.settings import PollSection
from bot.domain.subjects import Site
from bot.rules.model import RuleSet
from bot.scheduler import (
    AT_ONCE,
    PollSlots,
    PollTimes,
    Schedule,
    fair_share,
    measure_pace,
    read_pace,
    slow_poll_lines,
    spread,
)
from bot.web.meter import Meter

MINUTE = timedelta(minutes=1)


def widths(places):
    there = sorted(places)
    return [(there[at] - there[at - 1]) % 1 or 1.0 for at in range(len(there))]


@given(st.integers(1, 600))
def test_polls_that_begin_together_are_spread_evenly(number):
    assert widths(spread([], number)) == pytest.approx([1 / number] * number)


@given(st.integers(1, 40), st.lists(st.integers(1, 10), max_size=8))
def test_those_that_come_later_take_the_widest_gaps(first, later):
    places = spread([], first)
    for number in later:
        before = len(places)
        places += spread(places, number)
        assert len(places) == before + number
        assert max(widths(places)) <= 2 * min(widths(places)) + 1e-9
    assert all(0 <= place < 1 for place in places)


@given(
    st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=20, unique=True),
    st.integers(1, 5),
)
def test_no_newcomer_makes_the_widest_gap_wider(taken, new):
    assert max(widths([*taken, *spread(taken, new)])) <= max(widths(taken)) + 1e-9


def rounds_of(websites, every, number=3, pause=0.0):
    """PollTimes in which each website is polled so often, with one pause in the middle."""
    rounds = PollTimes()
    for turn in range(number):
        late = pause if turn >= number // 2 + 1 else 0.0
        for name in range(websites):
            rounds = rounds.began(f"w{name}", turn * every + late + name * every / websites)
    return rounds


@given(st.integers(1, 50), st.floats(1, 1000), st.integers(3, 6))
def test_a_round_is_as_long_as_it_is_from_one_poll_of_a_website_to_the_next(websites, every, turns):
    seen = rounds_of(websites, every, turns)
    assert seen.every().total_seconds() == pytest.approx(every, abs=1e-3)
    assert seen.over(websites)
    assert not seen.seen(seen.begun).over(websites)


@given(st.floats(1, 10_000))
def test_one_pause_of_the_account_says_nothing_about_its_rate(pause):
    every = rounds_of(20, 60.0, pause=pause).every()
    assert every == pytest.approx(MINUTE, abs=timedelta(milliseconds=1))


def test_websites_that_are_gone_do_not_count():
    assert PollTimes().every() == timedelta()
    assert list(rounds_of(3, 60).seen(["w1"]).begun) == ["w1"]


@pytest.mark.parametrize(
    ("websites", "rate", "wished", "seen", "slow"),
    [
        (500, 2.0, 60, 0, True),  # known before the first round was measured
        (100, 2.0, 60, 0, False),
        (10, 2.0, 60, 74, False),
        (10, 2.0, 60, 76, True),
        (10, 2.0, 0.5, 9, False),  # nobody would notice
        (10, 2.0, 60, 20, False),
    ],
)
def test_people_are_told_when_recordings_are_seen_much_later_than_wished(
    websites, rate, wished, seen, slow
):
    wished, seen = timedelta(seconds=wished), timedelta(seconds=seen)
    told = measure_pace(websites, rate, wished, seen, was_slow=False)
    assert told.slow is slow
    assert told.every == max(wished, seen, timedelta(seconds=websites / rate))


def test_near_the_limit_it_does_not_come_and_go():
    seen = [timedelta(seconds=it) for it in (80, 70, 76, 70, 65)]
    slow, told = False, []
    for each in seen:
        slow = measure_pace(10, 2.0, MINUTE, each, was_slow=slow).slow
        told.append(slow)
    assert told == [True, True, True, True, False]


def test_the_words_say_what_it_means_and_what_to_do():
    by_rate = slow_poll_lines(
        measure_pace(500, 2.0, MINUTE, timedelta(seconds=250), was_slow=False)
    )
    assert by_rate[0] == (
        "500 websites at 2 requests/s take 250 s: "
        "recordings are polled every 4 min 10 s, not every 1 min"
    )
    assert "requests_per_second" in by_rate[1]
    by_cost = slow_poll_lines(measure_pace(20, 2.0, MINUTE, timedelta(seconds=130), was_slow=False))
    assert "recordings are polled every 2 min 10 s, not every 1 min" in by_cost[0]
    assert "status" in by_cost[1]


def test_a_round_is_written_down_again_only_when_it_tells_something_else():
    now = measure_pace(500, 2.0, MINUTE, timedelta(seconds=260), was_slow=True)
    assert now.differs(None)
    assert not now.differs(measure_pace(500, 2.0, MINUTE, timedelta(seconds=270), was_slow=True))
    assert now.differs(measure_pace(500, 2.0, MINUTE, timedelta(seconds=400), was_slow=True))
    assert now.differs(measure_pace(499, 2.0, MINUTE, timedelta(seconds=260), was_slow=True))


def test_a_round_that_another_version_wrote_down_is_none():
    now = measure_pace(500, 2.0, MINUTE, timedelta(seconds=260), was_slow=True)
    assert read_pace(msgspec.json.encode(now).decode()) == now
    assert read_pace('{"websites": 3}') is read_pace("half of") is read_pace(None) is None


# The gate.


class Polls:
    """Polls that wait until they are told to end, in the order in which they began."""

    def __init__(self, share):
        self.gate, self.begun, self.ends, self.tasks = PollSlots(share), [], {}, []
        self.all_begun = asyncio.Event()

    def come(self, name):
        async def poll():
            self.begun.append(name)
            if len(self.begun) == len(self.ends):
                self.all_begun.set()
            await self.ends[name].wait()

        self.ends[name] = asyncio.Event()
        self.tasks.append(asyncio.create_task(self.gate.run(poll)))

    async def settle(self):
        for _ in range(10):
            await asyncio.sleep(0)

    async def end(self):
        for end in self.ends.values():
            end.set()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def test_polls_begin_as_they_came_a_few_at_a_time():
    polls = Polls(timedelta(hours=1))
    for number in range(AT_ONCE + 3):
        polls.come(number)
    await polls.settle()
    assert polls.begun == list(range(AT_ONCE))
    polls.ends[5].set()
    polls.come("again")
    await polls.settle()
    assert polls.begun == [*range(AT_ONCE), AT_ONCE]
    await polls.end()
    assert polls.begun[-1] == "again"


async def test_long_polls_do_not_keep_others_out():
    polls = Polls(timedelta(0))
    for number in range(3 * AT_ONCE):
        polls.come(number)
    await polls.all_begun.wait()
    await polls.end()
    for number in range(AT_ONCE):
        polls.come(f"later-{number}")
    await polls.settle()
    assert polls.begun[-1] == f"later-{AT_ONCE - 1}"  # and no place was given back twice
    await polls.end()


async def test_a_poll_that_is_cut_off_or_fails_leaves_its_place():
    polls = Polls(timedelta(hours=1))
    for number in range(2 * AT_ONCE):
        polls.come(number)
    await polls.settle()
    for task in polls.tasks[: AT_ONCE // 2]:
        task.cancel()
    for task in polls.tasks[-AT_ONCE // 2 :]:
        task.cancel()
    await polls.settle()
    assert polls.begun == list(range(AT_ONCE + AT_ONCE // 2))
    await polls.end()


def test_a_long_poll_is_one_that_has_had_its_share_of_the_rate():
    assert fair_share(2.0) == timedelta(seconds=16)
    assert fair_share(100.0) == timedelta(seconds=15)


async def test_a_bot_that_another_one_leads_takes_waiting_for_a_turn_for_no_gap():
    ended = asyncio.Event()

    async def poll(_site) -> bool:
        ended.set()
        return True

    site = Site("w1", "myshop.com")
    rules = SimpleNamespace(final=SimpleNamespace(rules=(1,)))
    notices = SimpleNamespace(announce_after=10 * MINUTE)
    sharing = SimpleNamespace(polls=lambda _website: True, leads=False)
    watcher = SimpleNamespace(
        watched={"w1": SimpleNamespace(site=site, rules=rules)}, rules=RuleSet(()),
        notices=notices, context=SimpleNamespace(store=SimpleNamespace(sharing=sharing)),
        poll_recordings=poll, poll_feedback=poll, poll_reports=poll,
    )  # fmt: skip
    meter = Meter()
    polls = scheduler.Polls(
        watcher, Schedule(), PollSection(), rate=1 / 3600, clock=lambda: datetime.now(UTC),
        meter=meter,
    )  # fmt: skip
    polls.sync()
    assert meter.last_success.keys() == {
        (kind, "w1") for kind in ("recordings", "feedback", "reports")
    }
    polls.poll_now("recordings")
    await ended.wait()
    for task in polls.tasks:
        task.cancel()
    await asyncio.gather(*polls.tasks, return_exceptions=True)
    assert notices.announce_after == 3 * timedelta(hours=1)
    watcher.watched.clear()
    polls.sync()
    assert meter.last_success == {}
