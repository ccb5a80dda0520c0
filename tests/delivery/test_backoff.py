"""Backoff: later each time, up to a ceiling; never before asked; not for ever."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.domain.backoff import (
    BUG_TRIES,
    CEILING,
    LANE_CEILING,
    LONGEST_ASKED,
    PATIENCE,
    lane_opens,
    next_try,
)
from bot.errors import GiveUp, TryLater

NOW = datetime(2026, 3, 2, tzinfo=UTC)
SECOND = timedelta(seconds=1)
chances = st.floats(0, 1)


def wait(error, attempts=1, chance=1.0, age=timedelta()):
    at = next_try(error, attempts, NOW, lambda: chance, first_tried=NOW - age)
    return None if at is None else at - NOW


def test_waits_double_up_to_a_quarter_of_an_hour():
    waits = [wait(TryLater("busy"), attempts) for attempts in range(1, 14)]
    assert waits[:4] == [2 * SECOND, 4 * SECOND, 8 * SECOND, 16 * SECOND]
    assert waits[-1] == CEILING == timedelta(minutes=15)


def test_the_wait_is_anywhere_up_to_the_longest():
    assert wait(TryLater("busy"), 4, chance=0.5) == 8 * SECOND
    assert wait(TryLater("busy"), 4, chance=0.0) == timedelta(milliseconds=100)


@settings(deadline=None)
@given(st.integers(1, 10_000), chances, st.timedeltas(timedelta(), PATIENCE - SECOND))
def test_trying_again_is_always_later_and_never_beyond_the_ceiling(attempts, chance, age):
    waited = wait(TryLater("busy"), attempts, chance, age)
    assert timedelta() < waited <= CEILING


@settings(deadline=None)
@given(st.timedeltas(timedelta(), LONGEST_ASKED), chances, st.integers(1, 50))
def test_never_before_the_other_side_asked_for(after, chance, attempts):
    error = TryLater("rate limited", after=after)
    assert wait(error, attempts, chance) >= after
    assert lane_opens(error, attempts, NOW, lambda: chance) - NOW >= after


def test_nobody_can_make_us_wait_for_a_day():
    error = TryLater("rate limited", after=timedelta(days=1))
    assert wait(error) == LONGEST_ASKED
    assert wait(TryLater("odd", after=timedelta(days=-1)), chance=0.0) > timedelta()


def test_giving_up_is_at_once():
    assert wait(GiveUp("gone")) is None


@pytest.mark.parametrize(
    ("age", "goes_on"),
    [(timedelta(days=1), True), (PATIENCE - SECOND, True), (PATIENCE, False)],
)
def test_what_fails_for_three_days_is_given_up(age, goes_on):
    assert (wait(TryLater("busy"), 100, age=age) is not None) is goes_on


def test_a_fault_of_ours_is_tried_a_few_times_only():
    assert wait(KeyError("x"), BUG_TRIES - 1) is not None
    assert wait(KeyError("x"), BUG_TRIES) is None


def test_a_lane_waits_longer_with_each_failure_up_to_five_minutes():
    waits = [lane_opens(TryLater("down"), n, NOW, lambda: 1.0) - NOW for n in range(1, 12)]
    assert waits[:3] == [2 * SECOND, 4 * SECOND, 8 * SECOND]
    assert waits[-1] == LANE_CEILING == timedelta(minutes=5)
