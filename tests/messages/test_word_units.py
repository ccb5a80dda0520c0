"""Spans of time and rates: as people write them, and as people read them."""

from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.messages import duration, rate
from bot.messages.text import lasting


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", timedelta(seconds=90)),
        ("1h30m", timedelta(minutes=90)),
        ("1.5h", timedelta(minutes=90)),
        ("7d", timedelta(days=7)),
        (" 2 w ", timedelta(weeks=2)),
        ("250ms", timedelta(milliseconds=250)),
        ("0s", timedelta()),
    ],
)
def test_a_duration_is_read(text, expected):
    assert duration(text) == expected


@pytest.mark.parametrize(
    "text", ["", "7", "d", "-1d", "1 day", "1d x", "99999999w", "١s", "1e9d", "5M"]
)
def test_what_is_no_duration_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match=r"90s|longer than|did you mean|add a unit"):
        duration(text)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("60", "add a unit: 60s, 60m, 60h or 60d"),
        ("5 min", "did you mean 5m?"),
        ("30 seconds", "did you mean 30s?"),
        ("2hrs", "did you mean 2h?"),
        ("7-days", "did you mean 7d?"),
        ("week", "did you mean 1w?"),
        ("1:30", "did you mean 1m30s or 1h30m?"),
        ("0:01:30", "did you mean 0h1m30s?"),
        ("soon", "write a number and a unit: 90s, 5m, 1h30m, 7d or 2w"),
    ],
)
def test_a_duration_in_other_words_is_told_as_it_is_written(text, hint):
    with pytest.raises(ValueError, match="is not a duration") as caught:
        duration(text)
    assert str(caught.value).endswith(hint)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("10/hour", "did you mean 10 per hour?"),
        ("10/h", "did you mean 10 per hour?"),
        ("10 per 1 hour", "did you mean 10 per hour?"),
        ("10 an hour", "did you mean 10 per hour?"),
        ("3x daily", "did you mean 3 per day?"),
        ("5 per minutes", "did you mean 5 per minute?"),
        ("10", "write 10 per hour, or 3 per 15m"),
        ("10 per month", "write 10 per hour, or 3 per 15m"),
    ],
)
def test_a_rate_in_other_words_is_told_as_it_is_written(text, hint):
    with pytest.raises(ValueError, match="is not a rate") as caught:
        rate(text)
    assert str(caught.value).endswith(hint)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10 per hour", (10, timedelta(hours=1))),
        ("3 per 15m", (3, timedelta(minutes=15))),
        ("1 per day", (1, timedelta(days=1))),
    ],
)
def test_a_rate_is_read(text, expected):
    assert rate(text) == expected


@pytest.mark.parametrize(
    "text", ["", "10", "ten per hour", "0 per hour", "10 per 0s", "10 per fortnight", "-1 per day"]
)
def test_what_is_no_rate_is_refused(text):
    with pytest.raises(ValueError):
        rate(text)


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (timedelta(), "0 s"),
        (timedelta(milliseconds=350), "350 ms"),
        (timedelta(seconds=3.5), "3.5 s"),
        (timedelta(seconds=59.6), "1 min"),
        (timedelta(seconds=95), "1 min 35 s"),
        (timedelta(hours=2), "2 h"),
        (timedelta(hours=2, seconds=5), "2 h"),
        (timedelta(days=7), "7 d"),
        (timedelta(minutes=-5), "-5 min"),
    ],
)
def test_a_duration_is_said_in_its_two_largest_units(length, expected):
    assert lasting(length) == expected


@given(st.text(max_size=30) | st.from_regex(r"[0-9]{1,9}(ms|s|m|h|d|w)", fullmatch=True))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_any_text_is_read_or_refused(text):
    for read in (duration, rate):
        with suppress(ValueError):
            read(text)
