"""The arithmetic of waiting: token bucket, Retry-After, backoff."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mouseflow.rate_limit import (
    MAX_PAUSE,
    TokenBucket,
    backoff,
    lockout_length,
    pause_length,
    retry_after,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@settings(deadline=None)
@given(
    rate=st.floats(0.1, 50),
    burst=st.integers(1, 10),
    gaps=st.lists(st.floats(0, 5), min_size=1, max_size=60),
)
def test_no_stretch_of_time_has_more_calls_than_the_bucket_allows(rate, burst, gaps):
    bucket, now, calls = TokenBucket(rate, burst), 100.0, []
    for gap in gaps:
        now += gap
        now += bucket.wait(now)
        bucket = bucket.after_call(now)
        calls.append(now)
    for first in range(len(calls)):
        for last in range(first, len(calls)):
            allowed = burst + rate * (calls[last] - calls[first])
            assert last - first + 1 <= allowed + 1e-6


def test_a_quiet_time_gives_the_burst_back():
    bucket = TokenBucket(2.0, 3)
    for _ in range(3):
        assert bucket.wait(10.0) == 0
        bucket = bucket.after_call(10.0)
    assert bucket.wait(10.0) == pytest.approx(0.5)
    assert bucket.wait(100.0) == 0


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (1, 0)])
def test_a_bucket_of_nothing_is_refused(rate, burst):
    with pytest.raises(ValueError, match="rate"):
        TokenBucket(rate, burst)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("12", 12),
        (" 12 ", 12),
        ("1.5", 1.5),
        ("0", 0),
        ("86400", 3600),
        ("9" * 400, 3600),
        ("１２", None),
        ("1.2.3", None),
        ("Sun, 01 Mar 2026 12:00:20 GMT", 20),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0),
        ("Mon, 02 Mar 2026 12:00:00 GMT", 3600),
        ("Sun, 01 Mar 2026 12:00:20 -0000", 20),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_never_long(value, seconds):
    wanted = None if seconds is None else timedelta(seconds=seconds)
    assert retry_after(value, NOW) == wanted


@settings(deadline=None)
@given(value=st.text(max_size=40))
def test_no_text_breaks_retry_after(value):
    found = retry_after(value, NOW)
    assert found is None or timedelta(0) <= found <= MAX_PAUSE


@settings(deadline=None)
@given(seconds=st.integers(-1000, 9000))
def test_every_http_date_is_read(seconds):
    date = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    assert retry_after(date, NOW) == timedelta(seconds=min(max(seconds, 0), 3600))


@settings(deadline=None)
@given(attempt=st.integers(1, 10**6), chance=st.floats(0, 1))
def test_waits_grow_and_stay_bounded(attempt, chance):
    assert 0 <= backoff(attempt, chance) <= 20
    assert backoff(attempt, 1.0) <= backoff(attempt + 1, 1.0)
    assert timedelta(seconds=2.5) <= pause_length(attempt, chance) <= timedelta(minutes=1)
    assert timedelta(minutes=1) <= lockout_length(attempt) <= timedelta(hours=1)
    assert lockout_length(attempt) <= lockout_length(attempt + 1)
