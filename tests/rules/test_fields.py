"""The catalogue says of every field what it is, and reads it as the API's documents show it."""

from datetime import UTC, datetime

import msgspec
import pytest

from bot.domain.subjects import (
    Band,
    CampaignSubject,
    FormField,
    FormSubject,
    FunnelStep,
    FunnelSubject,
    PageSubject,
    RecordingSubject,
    Site,
    WebsiteSubject,
)
from bot.fields.catalogue import KINDS, field, fields
from bot.rules import model as c
from bot.rules.evaluate import answer
from bot.rules.operators.figures import Bounds, Numbers, Versions
from bot.rules.operators.past import Change
from bot.rules.operators.texts import NoneOf, OneOf
from bot.rules.operators.yes_no import Exists
from mouseflow.models import PageView, Recording

SITE = Site("w1", "myshop.com")

# The API document, L735-800: a row of the recordings list.
ROW = b"""{"id": "0953400cc896bc93ccf0013b839e7618", "token": "oyINpOigE06kH2R-7LIw4Q",
"created": "2015-09-23T09:46:08.5452158+02:00", "duration": 158952, "pages": 6, "country": "de",
"city": "Braunschweig", "ip": "213.252.153.###", "lang": "de-DE", "browser": "IE",
"browserVersion": "11.0", "os": "Windows", "osVersion": "7", "device": "Desktop",
"referrerType": "Search", "screenRes": "1920x1200",
"entry": "https://shop.myshop.com/landing?ecid=sea_google&gclid=CM",
"entryPage": "shop.myshop.de/landing", "tags": ["form-interact", "submit"],
"variables": ["plan=upgraded", "cart-value=345", "note=a=b"], "watched": false, "starred": false,
"region": "", "visitorName": "John Doe"}"""


def row(**values):
    recording = msgspec.structs.replace(msgspec.json.decode(ROW, type=Recording), **values)
    return RecordingSubject(website=SITE, recording=recording, zone="America/New_York")


VIEWS = (
    PageView(website_page="/", tags=("a",)),
    PageView(uri="https://shop.my/pay?x=1", tags=("b", "submit")),
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_described_whole(kind):
    named = fields(kind)
    assert len({it.name for it in named}) == len(named)
    for it in (*named, *(part for whole in named for part in whole.parts)):
        assert it.watch == kind
        assert len(it.meaning) > 8


def test_a_field_that_there_is_not_is_a_key_error():
    with pytest.raises(KeyError):
        field("recordings", "frction")
    with pytest.raises(KeyError):
        field("recordings", "page").part("friction")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("country", "de"),
        ("device", "Desktop"),
        ("entry_page", "/landing"),
        ("entry_url", "https://shop.myshop.com/landing?ecid=sea_google&gclid=CM"),
        ("region", None),
        ("duration", 158952),
        ("pages", 6),
        ("screen", "1920x1200"),
        ("shared", True),
        ("weekday", "wed"),
        ("hour", 3),
        ("created", "2015-09-23 03:46:08"),
        ("friction", None),
        ("exit_page", None),
        ("tags", ("form-interact", "submit")),
        ("saw_page", ("/landing",)),
    ],
)
def test_a_row_of_the_list_is_read(name, value):
    assert field("recordings", name).get(row()) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("saw_page", ("/landing", "/", "/pay")),
        ("exit_page", "/pay"),
        ("tags", ("form-interact", "submit", "a", "b")),
        ("page", VIEWS),
    ],
)
def test_the_detail_adds_its_page_views(name, value):
    assert field("recordings", name).get(row(page_views=VIEWS)) == value


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        (c.Test("referrer_type", OneOf(("searchengines",))), True),
        (c.Test("referrer_type", OneOf(("search",))), True),
        (c.Test("referrer_type", OneOf(("links",))), False),
        (c.Test("browser", OneOf(("ie",))), True),
        (c.Test("weekday", OneOf(("Wednesday",))), True),
        (c.Test("entry_page", OneOf(("https://any.host/landing/",))), True),
        (c.Test("variables", Bounds(min=345), "cart-value"), True),
        (c.Test("variables", Bounds(over=345), "cart-value"), False),
        (c.Test("variables", Bounds(min=0), "plan"), False),
        (c.Test("variables", OneOf(("a=b",)), "note"), True),
        (c.Test("variables", NoneOf(("x",)), "absent"), False),
        (c.Test("region", Exists()), None),  # no row has it: not known yet
        (c.Not(c.Test("region", Exists())), None),
        (c.Test("visitor_id", Exists(False)), True),
        (c.Test("visitor_id", NoneOf(("x",))), False),
        (c.Not(c.Test("visitor_id", OneOf(("x",)))), True),
        (c.Test("tags", NoneOf(("internal",))), None),  # a page may have it: not known yet
    ],
)
def test_values_are_compared_as_people_mean_them(test, expected):
    assert answer(test, row()) is expected


def test_a_variable_given_twice_may_meet_a_test_with_either_value():
    seen = row(variables=("plan=free", "plan=gold"))
    for value in ("free", "gold"):
        assert answer(c.Test("variables", OneOf((value,)), "plan"), seen)
    assert not answer(c.Test("variables", NoneOf(("gold",)), "plan"), seen)


def test_the_start_is_told_in_the_zone_of_the_account_across_a_change_of_clocks():
    before, after = (
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
        datetime(2026, 10, 25, 1, 30, tzinfo=UTC),
    )
    hours = [
        field("recordings", "hour").get(
            msgspec.structs.replace(row(created=start), zone="Europe/Copenhagen")
        )
        for start in (before, after)
    ]
    assert hours == [2, 2]


def test_a_friction_that_is_said_counts_as_known():
    assert field("recordings", "friction").get(row(friction=3.5)) == Band.exactly(3.5)
    assert field("recordings", "friction").get(row(friction_score=float("nan"))) is None


LEVELS = [
    ("feedback", CampaignSubject(website=SITE, id="c", name="NPS", responses=3, impressions=200),
     {"campaign": ("NPS", "c"), "response_rate": 1.5, "new_responses": None, "enabled": None}),
    ("feedback", CampaignSubject(website=SITE, id="c", impressions=0, responses=0),
     {"campaign": ("c",), "response_rate": None}),
    ("funnels", FunnelSubject(website=SITE, id="f", steps=(FunnelStep("a", "/", 500),
                              FunnelStep("b", "/b", 250))),
     {"entered": 500, "completed": 250, "conversion": 50.0}),
    ("funnels", FunnelSubject(website=SITE, id="f"), {"entered": None, "conversion": None}),
    ("forms", FormSubject(website=SITE, id="f", url="https://x.y/demo", interactions=50, success=5),
     {"url": "/demo", "completion": 10.0, "submits": None}),
    ("pages", PageSubject(website=SITE, path="/a/", title="", scroll=12.5),
     {"path": "/a", "title": None, "scroll": 12.5}),
    ("websites", WebsiteSubject(website=SITE, status="NotInstalled", budget_used=80.0),
     {"website": ("myshop.com", "w1"), "status": "NotInstalled", "budget_used": 80.0,
      "stopped_by": None}),
    ("websites", WebsiteSubject(website=SITE, stopped_by=("budget credits", "bot")),
     {"stopped_by": ("budget credits", "bot")}),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "subject", "values"), LEVELS)
def test_levels_are_read_and_their_shares_worked_out(kind, subject, values):
    assert {name: field(kind, name).get(subject) for name in values} == values


def test_one_step_or_field_must_meet_all_of_its_parts():
    funnel = LEVELS[2][1]
    low = c.Test("conversion", Bounds(max=50))
    assert answer(c.OneItem("step", (c.Test("name", OneOf(("b",))), low)), funnel)
    assert not answer(c.OneItem("step", (c.Test("name", OneOf(("a",))), low)), funnel)
    assert answer(c.OneItem("step", (c.Test("dropped", Numbers((250.0,))),)), funnel)
    form = FormSubject(website=SITE, id="f", fields=(FormField("email", time=9000, dropped=7),))
    slow = c.Test("time", Bounds(over=8000))
    assert answer(c.OneItem("field", (c.Test("name", OneOf(("E*",))), slow)), form)


@pytest.mark.parametrize(
    ("wants", "seen", "expected"),
    [
        (Versions(under=(100,)), "99.0.4844.51", True),
        (Versions(under=(100,)), "100.0.4896.60", False),
        (Versions(under=(100,)), "9", True),
        (Versions(max=(17,)), "17.4.1", True),
        (Versions(over=(17,)), "17.4.1", False),
        (Versions(over=(17,)), "18", True),
        (Versions(min=(17, 10)), "17.9", False),
        (Versions(min=(17, 10)), "17.10.1", True),
        (Versions(min=(17, 0)), "17", True),
        (Versions(min=(10, 15, 7)), "10_15_7", True),
        (Versions(min=(17,), under=(18,)), "17.4 beta", True),
        (Versions(min=(0,)), "XP", False),
        (Versions(min=(0,)), None, False),
    ],
)
def test_versions_are_compared_part_by_part(wants, seen, expected):
    recording = RecordingSubject(website=SITE, recording=Recording(id="r", browser_version=seen))
    assert answer(c.Test("browser_version", wants), recording) is expected


@pytest.mark.parametrize(
    ("wants", "now", "before", "expected"),
    [
        (Change(drops_by=20), 40, 50, True),
        (Change(drops_by=20), 41, 50, False),
        (Change(rises_by=20), 60, 50, True),
        (Change(rises_by=20), 40, 50, False),
        (Change(drops_by=20, rises_by=100), 100, 50, True),
        (Change(rises_by=20), 1, 0, True),
        (Change(drops_by=20), 0, 0, False),
        (Change(drops_by=20), 0, None, None),
    ],
)
def test_a_change_is_measured_against_the_levels_own_past(wants, now, before, expected):
    page = PageSubject(website=SITE, path="/", views=now)
    test = c.Test("views", wants)
    assert answer(test, page, lambda name, ago: before) is expected
