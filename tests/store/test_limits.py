"""Limits: which posts may go out now, which wait, until when, and why."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_samples import HOUR, MINUTE, NOW

from bot.domain.limits import (
    Held,
    Hours,
    Limit,
    Post,
    Posting,
    Reason,
    Window,
    admit,
    badness,
    digest_waits,
    enough,
    is_open,
    opens,
    trips,
)
from bot.domain.subjects import Band, CampaignSubject, RecordingSubject, Site
from mouseflow.models import Recording

DAY = timedelta(days=1)
WEEKDAYS = frozenset(range(5))
OFFICE = Hours(WEEKDAYS, 8 * 60, 18 * 60, "Europe/Copenhagen")
NIGHT = Hours(WEEKDAYS, 22 * 60, 6 * 60, "UTC")
LIMIT = Limit(2, HOUR)


def verdict(now=NOW, **changes):
    usual = {
        "happened": now,
        "posting": Posting(),
        "limit": None,
        "window": None,
        "snoozed_until": None,
    }
    return admit(now, **(usual | changes))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Post()),
        ({"limit": LIMIT}, Post(Window(NOW, 1))),
        ({"limit": LIMIT, "window": Window(NOW - MINUTE, 1)}, Post(Window(NOW - MINUTE, 2))),
        (
            {"limit": LIMIT, "window": Window(NOW - MINUTE, 2)},
            Held(Reason.OVER_LIMIT, NOW + HOUR - MINUTE),
        ),
        ({"limit": LIMIT, "window": Window(NOW - HOUR, 2)}, Post(Window(NOW, 1))),
        (
            {"limit": Limit(2, HOUR, "drop"), "window": Window(NOW, 2)},
            Held(Reason.OVER_LIMIT, NOW + HOUR, drop=True),
        ),
        ({"snoozed_until": NOW + MINUTE}, Held(Reason.SNOOZED, NOW + MINUTE)),
        ({"snoozed_until": NOW}, Post()),
        ({"posting": Posting(act_up_to=HOUR), "happened": NOW - HOUR}, Post()),
        (
            {"posting": Posting(act_up_to=HOUR), "happened": NOW - 2 * HOUR},
            Held(Reason.TOO_OLD, NOW),
        ),
        (
            {"posting": Posting(act_up_to=HOUR, older="drop"), "happened": NOW - 2 * HOUR},
            Held(Reason.TOO_OLD, NOW, drop=True),
        ),
    ],
)
def test_a_post_goes_out_waits_or_is_dropped_with_a_reason(changes, expected):
    assert verdict(**changes) == expected


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("hours", "now", "open_", "next_"),
    [
        # 2 March 2026 is a Monday; Copenhagen is an hour ahead in winter, two in summer.
        (OFFICE, "2026-03-02T06:59", False, "2026-03-02T07:00"),
        (OFFICE, "2026-03-02T07:00", True, "2026-03-03T07:00"),
        (OFFICE, "2026-03-02T16:59", True, "2026-03-03T07:00"),
        (OFFICE, "2026-03-02T17:00", False, "2026-03-03T07:00"),
        (OFFICE, "2026-03-06T18:00", False, "2026-03-09T07:00"),
        # The clocks go forward on 29 March: 08:00 comes an hour earlier in UTC.
        (OFFICE, "2026-03-27T18:00", False, "2026-03-30T06:00"),
        (NIGHT, "2026-03-02T23:00", True, "2026-03-03T22:00"),
        (NIGHT, "2026-03-03T05:59", True, "2026-03-03T22:00"),
        (NIGHT, "2026-03-03T06:00", False, "2026-03-03T22:00"),
        # Friday night reaches into Saturday; Sunday night does not exist.
        (NIGHT, "2026-03-07T05:00", True, "2026-03-09T22:00"),
        (NIGHT, "2026-03-09T05:00", False, "2026-03-09T22:00"),
    ],
)
def test_active_hours_count_on_the_wall_clock(hours, now, open_, next_):
    assert is_open(hours, at(now)) is open_
    assert opens(hours, at(now)) == at(next_)


def test_a_day_long_window_is_open_all_day():
    always = Hours(frozenset(range(7)), 0, 24 * 60, "UTC")
    assert is_open(always, NOW)
    assert is_open(always, NOW.replace(hour=0, minute=0))


def test_hours_without_a_day_are_refused():
    with pytest.raises(ValueError, match="without a day"):
        opens(Hours(frozenset(), 0, 60, "UTC"), NOW)


@settings(deadline=None)
@given(
    st.frozensets(st.integers(0, 6), min_size=1),
    st.integers(0, 1439),
    st.integers(0, 1440),
    st.sampled_from(["UTC", "Europe/Copenhagen", "America/New_York", "Australia/Lord_Howe"]),
    st.timedeltas(-400 * DAY, 400 * DAY),
)
def test_when_hours_open_they_are_open(days, start, end, zone, offset):
    hours = Hours(days, start, end, zone)
    now = NOW + offset
    begin = opens(hours, now)
    assert now < begin <= now + 8 * DAY
    # A window that a clock change swallows whole is empty on that day only.
    if (end - start) % 1440 not in range(1, 61):
        assert is_open(hours, begin)


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 7200), max_size=60),
    st.integers(1, 5),
    st.integers(1, 3600),
)
def test_never_more_posts_in_a_window_than_its_rule_allows(gaps, times, seconds):
    limit = Limit(times, timedelta(seconds=seconds))
    now, window, out = NOW, None, {}
    for gap in gaps:
        now += timedelta(seconds=gap)
        answer = admit(
            now,
            happened=now,
            posting=Posting(),
            limit=limit,
            window=window,
            snoozed_until=None,
        )
        if isinstance(answer, Post):
            window = answer.window
            out[window.began] = out.get(window.began, 0) + 1
        else:
            assert answer.until > now
    assert all(count <= times for count in out.values())


@pytest.mark.parametrize(
    ("posting", "snoozed", "expected"),
    [
        (Posting(), None, None),
        (Posting(), NOW - HOUR, None),
        (Posting(), NOW + HOUR, NOW + HOUR),
        (Posting(hours=OFFICE), None, None),
        (Posting(hours=NIGHT), None, NOW.replace(hour=22)),
        # Both hold: the snooze ends in the evening, the hours begin the next morning.
        (Posting(hours=OFFICE), NOW + 8 * HOUR, at("2026-03-03T07:00")),
    ],
)
def test_a_digest_that_is_due_still_keeps_to_snooze_and_hours(posting, snoozed, expected):
    held = digest_waits(NOW, posting, snoozed)
    assert (held and held.until) == expected


def test_a_safety_trips_only_above_its_limit():
    assert [trips(count, 200) for count in (199, 200, 201)] == [False, False, True]


def test_a_count_is_enough_from_its_number_on():
    assert [enough(count, 15) for count in (14, 15, 16)] == [False, True, True]


def recording(friction=None, duration=None):
    return RecordingSubject(
        website=Site("w", "w"),
        recording=Recording(id="r", duration=duration),
        friction=friction,
    )


def test_a_digest_shows_the_worst_by_friction_then_by_length():
    ordered = [
        recording(Band(5.0)),
        recording(Band(2.5), 3_000_000),
        recording(Band(2.5), 60_000),
        recording(None, 60_000),
        recording(),
    ]
    shuffled = [ordered[2], ordered[4], ordered[0], ordered[3], ordered[1]]
    assert sorted(shuffled, key=badness, reverse=True) == ordered
    assert badness(recording(Band())) == 0
    assert badness(CampaignSubject(website=Site("w", "w"), id="c")) == 0
