"""The pure core of budgets: periods tile the calendar, steps and their undoing agree."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.domain.budget import (
    Ownership,
    Step,
    WebsiteState,
    changes_for,
    compare,
    due_steps,
    midnight,
    needs_stop,
    period,
    undo_change,
)
from bot.domain.forecast import coming, paced_rate, runs_out, traffic

NOW = datetime(2026, 3, 10, 9, tzinfo=UTC)
COPENHAGEN = ZoneInfo("Europe/Copenhagen")
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("day", "starts_on", "first", "end"),
    [
        (date(2026, 4, 15), 31, date(2026, 3, 31), date(2026, 4, 30)),
        (date(2026, 4, 30), 31, date(2026, 4, 30), date(2026, 5, 31)),
        (date(2028, 2, 29), 30, date(2028, 2, 29), date(2028, 3, 30)),
        (date(2027, 2, 28), 29, date(2027, 2, 28), date(2027, 3, 29)),
        (date(2026, 1, 1), 15, date(2025, 12, 15), date(2026, 1, 15)),
        (date(2026, 12, 31), 1, date(2026, 12, 1), date(2027, 1, 1)),
    ],
)
def test_a_month_begins_on_its_day_or_the_last_one_it_has(day, starts_on, first, end):
    found = period(day, "month", starts_on)
    assert (found.first, found.end) == (first, end)


@given(
    st.dates(date(2000, 1, 1), date(2100, 1, 1)),
    st.sampled_from([("day", 1), *(("week", n) for n in range(1, 8)),
                     *(("month", n) for n in range(1, 32))]),
)  # fmt: skip
@settings(deadline=None)
def test_every_day_lies_in_one_period_and_the_next_follows_at_once(day, kind):
    found = period(day, *kind)
    assert found.first <= day < found.end
    assert period(found.first, *kind) == found
    assert period(found.end - timedelta(days=1), *kind) == found
    assert period(found.end, *kind).first == found.end


def test_a_day_of_a_clock_change_has_23_or_25_hours():
    spring, autumn = date(2026, 3, 29), date(2026, 10, 25)
    lengths = [midnight(day + timedelta(days=1), COPENHAGEN) - midnight(day, COPENHAGEN)
               for day in (spring, autumn)]  # fmt: skip
    assert lengths == [23 * HOUR, 25 * HOUR]


def test_a_step_that_switches_is_due_early_but_not_before_98_percent():
    post, stop = Step(100), Step(100, "stop")
    assert due_steps([post, stop], 1000, 985, 40) == (stop,)
    assert due_steps([post, stop], 1000, 975, 4000) == ()
    assert due_steps([post, stop], 1000, 1000, 0) == (post, stop)


@given(st.floats(0, 3000), st.floats(0, 3000), st.integers(1, 200))
@settings(deadline=None)
def test_more_use_never_makes_fewer_steps_due(one, more, share):
    steps = [Step(share), Step(share, "stop")]
    low, high = sorted((one, more))
    assert set(due_steps(steps, 1000, low, 10)) <= set(due_steps(steps, 1000, high, 10))


@given(st.floats(0, 2000), st.integers(1, 150))
@settings(deadline=None)
def test_what_is_due_is_never_undone_at_once(used, share):
    step = Step(share, "stop")
    if due_steps([step], 1000, used, 100):
        assert needs_stop([step], 1000, used)


@pytest.mark.parametrize("status", ["Paused", "NotInstalled", None, "Something new"])
def test_unknown_and_foreign_states_are_left_alone(status):
    step, state = Step(100, "stop", 25), WebsiteState("w", status, 100)
    hold = Ownership("w", "recording", "budget:b", NOW, "", "Stopped")
    assert changes_for(step, state, ()) == ()
    assert compare(hold, state) == "unknown"


def test_a_read_only_website_is_never_changed():
    assert changes_for(Step(100, "stop", 25), WebsiteState("w", "Recording", 100, True), ()) == ()


def test_only_what_the_bot_stopped_is_started_by_a_step():
    start, state = Step(10, "start"), WebsiteState("w", "Stopped", 100)
    hold = Ownership("w", "recording", "budget:b", NOW, "", "Stopped")
    assert changes_for(start, state, ()) == ()
    assert [change.to for change in changes_for(start, state, [hold])] == ["start"]


@pytest.mark.parametrize("before", [None, 0, 1])
def test_a_rate_that_cannot_be_set_is_not_set_back(before):
    assert undo_change(Ownership("w", "recording_rate", "budget:b", NOW, "", "25", before)) is None


def history(days, value):
    begin = NOW - timedelta(days=days)
    return {begin + n * HOUR: value(begin + n * HOUR) for n in range(days * 24)}


def test_weekdays_are_learned_after_a_week():
    def quiet_weekends(at):
        return 10.0 if at.weekday() >= 5 else 100.0

    known = traffic(history(28, quiet_weekends), NOW, ZoneInfo("UTC"))
    saturday = datetime(2026, 3, 14, 12, tzinfo=UTC)
    assert known.expected(saturday) == pytest.approx(10, rel=0.3)
    assert known.expected(saturday - timedelta(days=1)) == pytest.approx(100, rel=0.1)
    young = traffic(history(3, quiet_weekends), NOW, ZoneInfo("UTC"))
    assert young.weekdays == (1.0,) * 7


def test_a_forecast_without_history_ends_nothing():
    known = traffic({}, NOW, ZoneInfo("UTC"))
    end = NOW + timedelta(days=20)
    assert runs_out([(known, 100.0)], 10, NOW, end) is None
    assert paced_rate([known], 10, NOW, end, 10, 100) is None


@given(st.floats(1, 500), st.floats(1, 100_000), st.floats(1, 700))
@settings(deadline=None, max_examples=50)
def test_what_runs_out_has_come_by_then(per_hour, left, hours):
    known = traffic(history(14, lambda _: per_hour), NOW, ZoneInfo("UTC"))
    end = NOW + timedelta(hours=hours)
    at = runs_out([(known, 100.0)], left, NOW, end)
    if at is None:
        assert coming([(known, 100.0)], NOW, end) <= left * 1.001
    else:
        assert coming([(known, 100.0)], NOW, at) == pytest.approx(left, rel=0.01, abs=0.5)


@given(st.floats(0, 10**7), st.floats(10, 50), st.floats(51, 100))
@settings(deadline=None, max_examples=50)
def test_a_paced_rate_stays_within_its_bounds(left, low, high):
    known = traffic(history(14, lambda _: 50.0), NOW, ZoneInfo("UTC"))
    rate = paced_rate([known], left, NOW, NOW + timedelta(days=9), low, high)
    assert round(low) <= rate <= round(high)
