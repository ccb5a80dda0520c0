"""A filter arrives at the API as it was meant, or is refused here; never in silence."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import get_args
from urllib.parse import parse_qsl, unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mouseflow import heatmaps, recordings
from mouseflow.arguments import Unlisted
from mouseflow.filters import (
    ANY,
    NOT_SET,
    REFERRER_OF,
    Browser,
    Device,
    Mark,
    PageFilters,
    Referrer,
    SessionFilters,
    System,
    VisitorType,
)
from mouseflow.simulator import filters as simulated

DAYS = st.dates(date(2015, 1, 1), date(2030, 12, 31))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
PLAIN = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters=",*^="), min_size=1, max_size=12
)
NUMBERS = st.integers(0, 10**6)
SPANS = st.integers(0, 10**9).map(lambda ms: timedelta(milliseconds=ms))
FRICTION = st.floats(-1e12, 1e12, allow_nan=False) | st.integers(-50, 50)


def ordered(values):
    """No bound, one of two, or both in order."""
    pairs = st.tuples(values, values).map(sorted)
    return st.one_of(
        st.just((None, None)),
        values.map(lambda v: (v, None)),
        values.map(lambda v: (None, v)),
        pairs,
    )


@st.composite
def session_filters(draw):
    maybe = lambda values: draw(st.none() | values)  # noqa: E731
    days = draw(ordered(DAYS).filter(lambda pair: None in pair or pair[0] < pair[1]))
    pages, visits, friction = (draw(ordered(values)) for values in (NUMBERS, SPANS, FRICTION))
    return SessionFilters(
        fromdate=days[0],
        todate=days[1],
        search=maybe(TEXTS),
        country=maybe(st.sampled_from(["de", "DK", "us"])),
        device=maybe(st.sampled_from(get_args(Device))),
        browser=maybe(st.sampled_from(get_args(Browser))),
        os=maybe(st.sampled_from(get_args(System))),
        visitortype=maybe(st.sampled_from(get_args(VisitorType))),
        referrer=maybe(st.sampled_from(get_args(Referrer))),
        screenres=maybe(st.sampled_from(["1280x800", "1920x1200"])),
        tags=tuple(draw(st.lists(PLAIN, max_size=3))),
        vars=draw(st.dictionaries(PLAIN, PLAIN | st.sampled_from(Mark), max_size=3)),
        entry=maybe(TEXTS),
        exit=maybe(TEXTS),
        funnel=maybe(TEXTS),
        notfunnel=maybe(TEXTS),
        pagesmin=pages[0],
        pagesmax=pages[1],
        visitmin=visits[0],
        visitmax=visits[1],
        watched=maybe(st.booleans()),
        star=maybe(st.booleans()),
        frictionmin=friction[0],
        frictionmax=friction[1],
    )


def parsed(target):
    """The filters in a request line, read back as the document defines them."""
    raw = dict(pair.split("=", 1) for pair in target.partition("?")[2].split("&") if pair)
    found = {name: unquote(value) for name, value in raw.items()}
    for name in ("fromdate", "todate"):
        if name in found:
            found[name] = date.fromisoformat(found[name])
    for name in ("pagesmin", "pagesmax"):
        if name in found:
            found[name] = int(found[name])
    for name in ("visitmin", "visitmax"):
        if name in found:
            found[name] = timedelta(milliseconds=int(found[name]))
    for name in ("frictionmin", "frictionmax"):
        if name in found:
            found[name] = float(found[name])
    for name in ("watched", "star"):
        if name in found:
            found[name] = {"0": False, "1": True}[found[name]]
    if "tags" in found:
        found["tags"] = tuple(found["tags"].split(","))
    if "vars" in found:
        pairs = (text.split("=") for text in found["vars"].split(","))
        marks = {"*": ANY, "^": NOT_SET}
        found["vars"] = {key: marks.get(value, value) for key, value in pairs}
    return SessionFilters(**found)


@settings(deadline=None, max_examples=150)
@given(filters=session_filters())
def test_any_filters_survive_the_way_through_the_request_line(filters):
    assert parsed(recordings.list("w", filters).target) == filters


@settings(deadline=None, max_examples=100)
@given(filters=session_filters())
def test_the_simulator_reads_what_was_meant(filters):
    query = recordings.list("w", filters).target.partition("?")[2]
    parameters = dict(parse_qsl(query, keep_blank_values=True))
    found, days = simulated.parse_query(parameters), simulated.parse_window(parameters)
    assert (days.since, days.until) == (filters.fromdate, filters.todate)
    assert found.search == (filters.search or "").casefold()
    assert (found.device, found.visitortype) == (filters.device or "", filters.visitortype or "")
    assert found.tags == filters.tags
    wanted = {
        key: (None if isinstance(value, Mark) else value, value is NOT_SET)
        for key, value in filters.vars.items()
    }
    assert {var.key: (var.value, var.absent) for var in found.vars} == wanted
    for name in ("pagesmin", "pagesmax", "watched", "star", "frictionmin", "frictionmax"):
        assert getattr(found, name) == getattr(filters, name)
    for name in ("visitmin", "visitmax"):
        span = getattr(filters, name)
        milliseconds = None if span is None else span // timedelta(milliseconds=1)
        assert getattr(found, name) == milliseconds


@pytest.mark.parametrize(
    ("friction", "text"),
    [(2.5, "2.5"), (3.0, "3"), (3, "3"), (0.1 + 0.2, "0.30000000000000004"), (1e9, "1000000000"),
     (1e-6, "0.000001"), (0.0, "0"), (-1.5, "-1.5"), (1e22, "10000000000000000000000")],
)  # fmt: skip
def test_friction_is_written_without_noise_and_without_an_exponent(friction, text):
    assert SessionFilters(frictionmin=friction).pairs() == (("frictionmin", text),)


def test_durations_are_milliseconds_rounded_outwards():
    half = timedelta(milliseconds=18000, microseconds=500)
    filters = SessionFilters(visitmin=half, visitmax=half)
    assert filters.pairs() == (("visitmin", "18000"), ("visitmax", "18001"))


def test_a_variable_may_be_any_value_or_not_set():
    filters = SessionFilters(vars={"plan": "small", "cart": ANY, "coupon": NOT_SET})
    assert filters.pairs() == (("vars", "plan=small,cart=*,coupon=^"),)


def test_false_and_zero_are_filters_and_absence_is_none():
    filters = SessionFilters(watched=False, star=False, pagesmin=0, frictionmin=0.0)
    assert [name for name, _value in filters.pairs()] == [
        "pagesmin",
        "watched",
        "star",
        "frictionmin",
    ]
    assert SessionFilters().pairs() == ()


@pytest.mark.parametrize(
    "wrong",
    [
        {"device": "Desktop"},
        {"device": "desktop,phone"},
        {"browser": "netscape"},
        {"os": "macos"},
        {"visitortype": "First-time visitor"},
        {"referrer": "Search"},
        {"country": "deu"},
        {"country": "de,fr"},
        {"screenres": "1280*800"},
        {"tags": ("a,b",)},
        {"tags": ("",)},
        {"vars": {"a=b": "c"}},
        {"vars": {"": "c"}},
        {"vars": {"a": "1,2"}},
        {"vars": {"a": "*"}},
        {"vars": {"a": "^x"}},
        {"vars": {"a": "b=c"}},
        {"vars": {"a": ""}},
        {"search": ""},
        {"entry": ""},
        {"fromdate": date(2026, 1, 2), "todate": date(2026, 1, 2)},
        {"fromdate": date(2026, 1, 2), "todate": date(2026, 1, 1)},
        {"pagesmin": 3, "pagesmax": 2},
        {"visitmin": timedelta(seconds=3), "visitmax": timedelta(seconds=2)},
        {"visitmin": timedelta(seconds=-1)},
        {"frictionmin": float("nan")},
        {"frictionmax": float("inf")},
        {"frictionmin": 3, "frictionmax": 2.5},
    ],
    ids=lambda value: repr(value) if isinstance(value, str) else next(iter(value), ""),
)
def test_a_filter_that_would_be_misread_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))[:4]):
        SessionFilters(**wrong)


@pytest.mark.parametrize(
    "session_only",
    [{"entry": "/"}, {"exit": "/"}, {"funnel": "/"}, {"notfunnel": "/"}, {"pagesmin": 1},
     {"pagesmax": 1}, {"visitmin": timedelta(1)}, {"visitmax": timedelta(1)}, {"watched": True},
     {"star": False}],
    ids=lambda given: next(iter(given)),
)  # fmt: skip
def test_a_session_filter_on_a_page_list_is_refused_not_ignored(session_only):
    filters = SessionFilters(country="de", **session_only)
    name = next(iter(session_only))
    with pytest.raises(ValueError, match=f"{name}: no effect"):
        heatmaps.pages("w", filters)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"{name}: no effect"):
        heatmaps.page("w", "/", filters)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        PageFilters(**session_only)


def test_friction_filters_a_page_list_since_the_document_does_not_exclude_it():
    filters = PageFilters(frictionmin=2.5, frictionmax=9)
    assert heatmaps.pages("w", filters).query == (("frictionmin", "2.5"), ("frictionmax", "9"))
    assert heatmaps.pages("w", SessionFilters(frictionmin=1)).query == (("frictionmin", "1"),)


class Scalar:
    """A scalar as numpy has them: `item` gives the plain value, comparisons give arrays."""

    shape = ()

    def __init__(self, value):
        self.value = value

    def item(self):
        return self.value

    def __ne__(self, other):
        raise ValueError("The truth value of an empty array is ambiguous")

    __hash__ = None


class Timestamp(datetime):
    """As pandas has it: a datetime of another class."""


MIDNIGHT = datetime(2026, 3, 1)  # noqa: DTZ001


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ({"tags": ["b", "a"]}, "b,a"),
        ({"tags": {"b", "a"}}, "a,b"),
        ({"tags": "one"}, "one"),
        ({"tags": (tag for tag in ("a", "b"))}, "a,b"),
        ({"fromdate": MIDNIGHT}, "2026-03-01"),
        ({"fromdate": Timestamp(2026, 3, 1)}, "2026-03-01"),
        ({"fromdate": Scalar(date(2026, 3, 1))}, "2026-03-01"),
        ({"frictionmin": Scalar(2.5)}, "2.5"),
        ({"frictionmin": Decimal("2.50")}, "2.5"),
        ({"frictionmin": Fraction(5, 2)}, "2.5"),
        ({"pagesmin": Scalar(3)}, "3"),
        ({"pagesmin": 3.0}, "3"),
        ({"watched": Scalar(True)}, "1"),
        ({"country": Scalar("de")}, "de"),
        ({"visitmin": Scalar(timedelta(seconds=2))}, "2000"),
        ({"vars": {"cart": 3}}, "cart=3"),
        ({"vars": {"cart": Scalar(2.5)}}, "cart=2.5"),
        ({"device": Unlisted("television")}, "television"),
        ({"country": Unlisted("xkx")}, "xkx"),
    ],
    ids=lambda value: repr(value) if isinstance(value, str) else next(iter(value), ""),
)  # fmt: skip
def test_what_is_meant_goes_out_whatever_its_python_type(given, written):
    assert [value for _name, value in SessionFilters(**given).pairs()] == [written]


@pytest.mark.parametrize(
    "wrong",
    [
        {"fromdate": "yesterday"},
        {"fromdate": MIDNIGHT.replace(hour=15)},
        {"todate": datetime(2026, 3, 1, tzinfo=UTC)},
        {"fromdate": 20260301},
        {"watched": 2},
        {"star": "yes"},
        {"watched": 1},
        {"pagesmin": 2.5},
        {"pagesmin": -1},
        {"pagesmin": True},
        {"pagesmax": "3"},
        {"pagesmax": Scalar(float("nan"))},
        {"visitmin": 18000},
        {"frictionmin": "2.5"},
        {"frictionmin": True},
        {"frictionmax": [1.0]},
        {"search": 7},
        {"entry": b"/"},
        {"country": 45},
        {"tags": [1]},
        {"tags": ["a", None]},
        {"tags": 7},
        {"tags": {"a": "b"}},
        {"vars": [("a", "b")]},
        {"vars": {"a": None}},
        {"vars": {"a": True}},
        {"vars": {"a": ["b"]}},
        {"vars": {1: "b"}},
        {"device": ["phone"]},
        {"device": Unlisted("")},
    ],
    ids=lambda value: repr(value) if isinstance(value, str) else next(iter(value), ""),
)
def test_a_filter_of_another_type_is_refused_and_named_before_anything_is_sent(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SessionFilters(**wrong)


@pytest.mark.parametrize("limit", [True, -1, 2.5, "9", float("nan"), None])
def test_a_limit_is_a_whole_number(limit):
    if limit is None:
        assert recordings.list("w", limit=limit).query == ()
        return
    for build in (recordings.list, recordings.tags, heatmaps.pages, heatmaps.urls):
        with pytest.raises(ValueError, match="limit"):
            build("w", limit=limit)
    assert recordings.list("w", limit=Scalar(9)).query == (("limit", "9"),)


def test_a_recordings_own_words_for_its_referrer_have_a_filter():
    words = {"Search", "Social", "Email", "Link", "Direct"}  # L836
    assert {word.lower() for word in words} == set(REFERRER_OF)
    assert set(REFERRER_OF.values()) == set(get_args(Referrer))


def test_every_documented_filter_is_there():
    documented = (
        "fromdate todate search country device browser os visitortype referrer screenres entry "
        "exit funnel notfunnel pagesmin pagesmax visitmin visitmax tags vars watched star "
        "frictionmin frictionmax"
    )
    assert set(documented.split()) == set(SessionFilters.__dataclass_fields__)
