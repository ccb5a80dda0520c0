"""Whatever polls see, pauses and downtimes bring, an alert's state keeps its promises."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from bot.domain.alert_state import GAP, Counter, Level, advance

START = datetime(2026, 3, 10, tzinfo=UTC)
HELD = timedelta(minutes=45)
POLL = st.tuples(
    st.sampled_from([True, False, None]),
    st.sampled_from([15, 15, 15, 30, 90]),
    st.booleans() | st.just(False),
)


@given(st.lists(POLL, max_size=40))
def test_an_alert_fires_and_ends_by_what_is_known(polls):
    level, now, told = Level(), START, False
    known: list[bool] = []
    true_for = timedelta()
    before: datetime | None = None
    for holds, minutes, paused in polls:
        now += timedelta(minutes=minutes)
        if holds is not True:
            true_for = true_for if holds is None else timedelta()
        elif before is not None and known[-1:] == [True] and now - before <= GAP:
            true_for += now - before
        elif before is not None and now - before > GAP:
            true_for = timedelta()
        before = now if holds is not None else None
        known += [] if holds is None else [holds]
        ended = None if holds is None else not holds
        after, event = advance(level, holds, ended, now, HELD, paused=paused)
        if holds is None:
            assert event is None
        if event == "fired" and not paused:
            assert holds
            assert not told
            assert level.fired or true_for >= HELD
            told = True
        if event == "resolved":
            assert told
            assert known[-2:] == [False, False]
            told = False
        if after.fired is None and level.fired is not None:
            assert known[-2:] == [False, False]
            told = False
        level = after


def test_what_one_poll_says_twice_ends_no_alert():
    level, _ = advance(Level(), True, False, START)
    for _ in range(2):  # a poll that looks again at the website's switches
        level, event = advance(level, False, True, START + HELD)
        assert event is None
    assert advance(level, False, True, START + 2 * HELD)[1] == "resolved"


@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from([5, 30, 70])), max_size=40))
def test_a_counter_never_tells_more_than_came(answers):
    now, counter, told, highest = START, Counter(10, 10), 0, 10
    for count, minutes in answers:
        now += timedelta(minutes=minutes)
        counter = counter.counted(count, now)
        assert counter.new >= 0
        if counter.new:
            told += counter.new
            counter = counter.told()
            assert counter.new == 0
        highest = max(highest, count)
        if all(count >= 10 for count, _ in answers) and sorted(answers) == answers:
            assert told == highest - 10
