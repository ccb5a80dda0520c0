"""Quantities in rule files: what is written reads back the same, and nonsense is told plainly."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.fields.field import WEEKDAYS
from bot.messages import duration
from bot.rules import units
from bot.rules.units import Active, Rate

LENGTHS = st.integers(1, 10**11).map(lambda ms: timedelta(milliseconds=ms))
DAYS = st.frozensets(st.integers(0, 6), min_size=1)
MINUTES = st.tuples(st.integers(0, 1439), st.integers(0, 1440)).filter(
    lambda pair: pair[0] != pair[1]
)


STEPS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}


def written(length):
    """The length as a rule file has it, such as 1d2h."""
    rest, text = length // timedelta(milliseconds=1), ""
    for unit, step in STEPS.items():
        times, rest = divmod(rest, step)
        text += f"{times}{unit}" if times else ""
    return text


def clock(minutes):
    return f"{minutes // 60:02}:{minutes % 60:02}"


@given(LENGTHS)
@settings(deadline=None)
def test_a_duration_reads_back_the_same(length):
    assert duration(written(length)) == length
    assert units.milliseconds(written(length)) == length / timedelta(milliseconds=1)


@given(st.integers(1, 999_999), LENGTHS)
@settings(deadline=None)
def test_a_rate_reads_back_the_same(times, window):
    assert units.rate(f"{times} per {written(window)}") == Rate(times, window)


@given(DAYS, MINUTES)
@settings(deadline=None)
def test_active_hours_read_back_the_same(days, minutes):
    named = ",".join(WEEKDAYS[day] for day in sorted(days))
    text = f"{named} {'-'.join(map(clock, minutes))}"
    assert units.active(text) == Active(days, *minutes)


@given(st.integers(0, 200_000).map(lambda n: n / 1000))
@settings(deadline=None)
def test_a_percentage_reads_with_and_without_its_sign(value):
    assert units.percent(f"{value}%") == units.percent(f"{value} %") == units.percent(str(value))
    assert units.percent(str(value)) == value


@given(st.text(max_size=20))
@settings(deadline=None)
def test_any_text_is_read_or_refused_with_words(text):
    for parse in (units.milliseconds, units.percent, units.rate, units.active, units.weekdays):
        try:
            parse(text)
            words = "fine"
        except ValueError as error:
            words = str(error)
        assert words


@pytest.mark.parametrize(
    ("text", "days", "start", "end"),
    [
        ("mon-fri 08:00-18:00", {0, 1, 2, 3, 4}, 480, 1080),
        ("sat,sun", {5, 6}, 0, 1440),
        ("Monday-Wednesday 9-17", {0, 1, 2}, 540, 1020),
        ("fri-mon 22:00-06:00", {4, 5, 6, 0}, 1320, 360),
        ("07:30-24:00", {0, 1, 2, 3, 4, 5, 6}, 450, 1440),
        ("tue", {1}, 0, 1440),
        ("mon,wed-thu 00:00-00:01", {0, 2, 3}, 0, 1),
    ],
)
def test_active_hours_are_days_hours_or_both(text, days, start, end):
    assert units.active(text) == Active(frozenset(days), start, end)


@pytest.mark.parametrize(
    "text",
    ["", "always", "mon-fri 8:00", "mo", "mon-tue-wed", "mon 25:00-26:00", "mon 08:60-09:00",
     "08:00-08:00", "mon fri", "mon 8-9 10-11", "24:00-08:00"],
)  # fmt: skip
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match="write"):
        units.active(text)


@pytest.mark.parametrize("text", ["half", "", "%", "50%%", "1e3%", "--5"])
def test_what_is_no_percentage_is_refused(text):
    with pytest.raises(ValueError, match="write a percentage such as 80%"):
        units.percent(text)
