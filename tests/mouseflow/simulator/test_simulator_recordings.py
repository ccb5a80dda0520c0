"""The recordings list and detail keep to the API document."""

import re
from datetime import date, datetime

import pytest

from mouseflow.simulator import clock, timeline
from mouseflow.simulator.scenarios import SEARCHER, session
from mouseflow.simulator.sessions import Visitor

LIST = "/websites/quiet/recordings"
SEVEN_DIGITS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}[+-]\d\d:\d\d")


def calm(*paths, seconds=10, **more):
    return session([(path, seconds) for path in paths], **more)


async def test_fifty_rows_come_unless_another_limit_is_asked(stand):
    assert len(await stand.rows("busy")) == 50
    assert len(await stand.rows("busy", limit=7)) == 7
    assert await stand.rows("busy", limit=0) == []


async def test_count_and_chart_do_not_depend_on_the_limit(stand):
    few = await stand.get("/websites/busy/recordings", limit=1)
    many = await stand.get("/websites/busy/recordings", limit=10_000)
    assert few["count"] == many["count"] == len(many["recordings"])
    assert few["chart"] == many["chart"]
    assert sum(many["chart"].values()) == many["count"]


async def test_count_and_chart_follow_the_filters(stand):
    everyone = await stand.get("/websites/busy/recordings", limit=0)
    phones = await stand.get("/websites/busy/recordings", limit=10_000, device="phone")
    assert 0 < phones["count"] < everyone["count"]
    assert sum(phones["chart"].values()) == phones["count"] == len(phones["recordings"])
    assert {row["device"] for row in phones["recordings"]} == {"Phone"}


async def test_without_dates_the_window_is_thirty_days(stand):
    answer = await stand.get("/websites/busy/recordings", limit=0)
    assert len(answer["chart"]) == 30
    assert list(answer["chart"])[-1] == "2026-11-24"


async def test_trap_16_todate_is_not_included(stand):
    today = stand.sim.add("quiet.example", calm("/"))
    assert await stand.ids(fromdate="2026-11-23", todate="2026-11-24") == set()
    assert await stand.ids(fromdate="2026-11-24", todate="2026-11-25") == {today}


async def test_days_at_an_end_of_the_calendar_are_answered(stand):
    today = stand.sim.add("quiet.example", calm("/"))
    assert await stand.ids(fromdate="2026-11-24", todate="9999-12-31") == {today}
    assert await stand.ids(fromdate="9999-12-31") == set()
    assert await stand.ids(fromdate="0001-01-01", todate="0001-01-02") == set()


async def test_trap_15_a_day_begins_at_midnight_in_the_accounts_zone(stand):
    eve = stand.sim.add("quiet.example", calm("/"), start=-13.5 * 3600)  # 22:30 UTC, 23:30 there
    dawn = stand.sim.add("quiet.example", calm("/"), start=-12.5 * 3600)  # 23:30 UTC, 00:30 there
    assert await stand.ids(fromdate="2026-11-24", todate="2026-11-25") == {dawn}
    answer = await stand.get(LIST, fromdate="2026-11-23", todate="2026-11-25")
    assert answer["chart"] == {"2026-11-23": 1, "2026-11-24": 1}
    stand.sim.behave(time_zone="America/New_York")
    assert await stand.ids(fromdate="2026-11-23", todate="2026-11-24") == {eve, dawn}


async def test_trap_18_a_day_with_a_clock_change_has_its_true_length(stand):
    stand.sim.behave(time_zone="Europe/Berlin")
    october = {}
    for day in (24, 25, 26):
        asked = {"fromdate": f"2026-10-{day}", "todate": f"2026-10-{day + 1}"}
        october[day] = (await stand.get("/websites/busy/recordings", limit=0, **asked))["count"]
    whole = await stand.get(
        "/websites/busy/recordings", limit=10_000, fromdate="2026-10-24", todate="2026-10-27"
    )
    assert sum(october.values()) == whole["count"]
    assert list(whole["chart"].values()) == list(october.values())
    offsets = {row["created"][-6:] for row in whole["recordings"]}
    assert offsets == {"+01:00", "+02:00"}


async def test_trap_17_a_time_of_day_in_a_date_filter_is_cut_off(stand):
    made = stand.sim.add("quiet.example", calm("/"))
    asked = {"fromdate": "2026-11-24T18:00:00", "todate": "2026-11-25T23:00:00"}
    assert await stand.ids(**asked) == {made}


async def test_trap_13_times_have_seven_digits_and_an_offset(stand):
    for row in await stand.rows("busy"):
        assert SEVEN_DIGITS.fullmatch(row["created"])
        assert SEVEN_DIGITS.fullmatch(row["lastActivity"])
        assert row["created"].endswith("+01:00")


async def test_trap_14_a_website_is_created_without_an_offset(stand):
    assert (await stand.get("/websites"))[0]["created"] == "2013-08-18T19:37:07"


async def test_trap_31_what_is_not_known_is_absent_or_empty(stand):
    known = stand.sim.add("quiet.example", calm("/", visitor=Visitor(name="John Doe", city="")))
    other = stand.sim.add("quiet.example", calm("/"))
    await stand.do("POST", f"{LIST}/{known}/share")
    rows = {row["id"]: row for row in await stand.rows()}
    assert {"token", "visitorName"} <= set(rows[known])
    assert not {"token", "visitorName"} & set(rows[other])
    assert rows[known]["city"] == ""
    assert rows[other]["variables"] == []


async def test_trap_30_list_and_detail_differ_as_in_the_samples(stand):
    made = stand.sim.add("quiet.example", calm("/landing", "/cart", visitor=SEARCHER), start=-60)
    (row,) = await stand.rows()
    detail = await stand.detail(made)
    assert set(row) - set(detail) == {"entry", "entryPage", "pages", "playbackUrl"}
    assert set(detail) - set(row) == {"pageViews", "region"}
    assert row["playbackUrl"] == f"/websites/quiet/recordings/{made}/play"
    assert [view["websitePage"] for view in detail["pageViews"]] == ["/landing", "/cart"]


async def test_trap_29_the_entry_page_may_have_its_host(stand):
    stand.sim.add("quiet.example", calm("/landing?x=1"))
    (row,) = await stand.rows()
    assert (row["entry"], row["entryPage"]) == ("https://quiet.example/landing?x=1", "/landing")
    stand.sim.behave(entry_page_host=True)
    (row,) = await stand.rows()
    assert row["entryPage"] == "quiet.example/landing"


async def test_trap_35_addresses_are_masked_where_the_website_says_so(stand):
    made = stand.sim.add("quiet.example", calm("/"))
    assert re.fullmatch(r"\d+\.\d+\.\d+\.###", (await stand.detail(made))["ip"])
    stand.sim.intervene("quiet.example", anonymizeIps=False)
    assert re.fullmatch(r"\d+\.\d+\.\d+\.\d+", (await stand.detail(made))["ip"])


async def test_trap_45_session_tags_are_not_the_union_of_page_tags(stand):
    events = [(1, "add-to-cart"), (2, "form-interact"), (3, "submit")]
    made = stand.sim.add("quiet.example", session([("/cart", 9)], events), start=-30)
    detail = await stand.detail(made)
    assert detail["tags"] == ["form-interact", "submit"]
    assert detail["pageViews"][0]["tags"] == ["add-to-cart", "form-interact"]


async def test_trap_20_duration_is_activity_not_the_time_from_start_to_end(stand):
    made = stand.sim.add("quiet.example", calm("/", "/cart", "/checkout"), start=-60)
    (row,) = await stand.rows()
    assert row["duration"] == 30_000
    begun, last = (datetime.fromisoformat(row[key]) for key in ("created", "lastActivity"))
    assert (last - begun).total_seconds() == pytest.approx(30.4)
    assert sum(view["visitTime"] for view in (await stand.detail(made))["pageViews"]) == 30_000


async def test_trap_21_a_stale_details_activity_ends_with_its_first_page(stand):
    made = stand.sim.add("quiet.example", calm("/", "/cart"), start=-60)
    stand.sim.behave(stale_detail=True)
    detail = await stand.detail(made)
    first, second = detail["pageViews"]
    assert detail["lastActivity"] == first["endTime"] < second["endTime"]
    assert detail["duration"] == first["visitTime"]


async def test_trap_5_the_latest_activity_comes_first_or_the_latest_start(stand):
    long = stand.sim.add("quiet.example", calm("/", "/cart", seconds=300), start=-590)
    short = stand.sim.add("quiet.example", calm("/", seconds=5), start=-400)
    assert [row["id"] for row in await stand.rows()] == [long, short]
    stand.sim.behave(sort="created")
    assert [row["id"] for row in await stand.rows()] == [short, long]


@pytest.mark.parametrize("order", ["created", "last_activity"])
async def test_pages_with_offset_hold_every_recording_once_and_in_order(stand, order):
    stand.sim.behave(sort=order)
    for back in range(0, 5 * 86_400, 20_000):
        stand.sim.add("busy.example", calm("/", "/cart", seconds=900), start=-float(back))
    key = "created" if order == "created" else "lastActivity"
    whole = await stand.rows("busy", limit=10_000)
    paged = []
    for offset in range(0, len(whole) + 97, 97):
        paged += await stand.rows("busy", limit=97, offset=offset)
    assert [row["id"] for row in paged] == [row["id"] for row in whole]
    assert len({row["id"] for row in whole}) == len(whole)
    moments = [row[key][:23] for row in whole]
    assert moments == sorted(moments, reverse=True)


async def test_trap_24_offset_may_be_ignored(stand):
    first = await stand.rows("busy", limit=10)
    stand.sim.behave(offset="ignored")
    assert await stand.rows("busy", limit=10, offset=10) == first


async def test_trap_24_rows_are_capped_and_the_count_tells(stand):
    stand.sim.behave(row_cap=20)
    answer = await stand.get("/websites/busy/recordings", limit=10_000)
    assert len(answer["recordings"]) == 20 < answer["count"]


async def test_trap_27_no_answer_holds_a_friction(stand):
    script = session([("/", 30)], [(1, "click-rage")])
    made = stand.sim.add("quiet.example", script, start=-60)
    (row,) = await stand.rows()
    assert "friction" not in row
    assert "friction" not in await stand.detail(made)
    stand.sim.behave(friction_in_answers=True)
    (row,) = await stand.rows()
    assert row["friction"] == 5
    assert (await stand.detail(made))["friction"] == 5


async def test_friction_is_known_only_through_its_filter(stand):
    cross = stand.sim.add("quiet.example", "checkout-friction", start=-300)
    calm_one = stand.sim.add("quiet.example", "purchase", start=-300)
    assert stand.sim.friction(cross) == 3
    assert await stand.ids(frictionmin=2.5) == {cross}
    assert await stand.ids(frictionmin=3) == {cross}
    assert await stand.ids(frictionmin=3.01) == set()
    assert await stand.ids(frictionmax=0) == {calm_one}


async def test_trap_57_a_filter_may_be_ignored_in_silence(stand):
    assert (await stand.get("/websites/busy/recordings", limit=0, frictionmin=1e9))["count"] == 0
    stand.sim.behave(ignored_filters=frozenset({"frictionmin"}))
    assert (await stand.get("/websites/busy/recordings", limit=0, frictionmin=1e9))["count"] > 0


async def test_an_unknown_parameter_is_ignored(stand):
    assert len(await stand.rows("busy", nosuchfilter="1")) == 50


@pytest.mark.parametrize(
    "wrong",
    ["limit=many", "limit=-1", "frictionmin=high", "watched=yes", "device=fridge",
     "fromdate=yesterday", "pagesmin=1.5", "visitortype=old"],
)  # fmt: skip
async def test_a_filter_that_cannot_be_read_is_400(stand, wrong):
    answer = await stand.api.get(f"{LIST}?{wrong}")
    assert answer.status_code == 400
    assert wrong.split("=")[0] in answer.json()["message"]


async def test_parameter_names_may_have_any_case(stand):
    assert await stand.ids("busy", fromDate="2026-11-24", toDate="2026-11-25") == await stand.ids(
        "busy", fromdate="2026-11-24", todate="2026-11-25"
    )


async def test_the_list_may_carry_page_views_when_asked_to_expand(stand):
    made = stand.sim.add("quiet.example", calm("/", "/cart"), start=-60)
    (row,) = await stand.rows(expand="true")
    assert row["pageViews"] == (await stand.detail(made))["pageViews"]
    stand.sim.behave(expand=False)
    (row,) = await stand.rows(expand="true")
    assert "pageViews" not in row


async def test_a_row_may_lack_all_that_is_optional_or_be_malformed(stand):
    stand.sim.add("quiet.example", calm("/"))
    stand.sim.behave(drop_optional_fields=True)
    (row,) = await stand.rows()
    assert set(row) == {"id", "created", "lastActivity"}
    stand.sim.behave(drop_optional_fields=False, malformed_rows=1)
    (row,) = await stand.rows()
    assert row["id"] is None
    stand.sim.behave(malformed_rows=0, odd_values=1)
    (row,) = await stand.rows()
    assert (row["lat"], row["osVersion"]) == ("north", 10)


async def test_rows_may_come_in_reverse(stand):
    rows = await stand.rows("busy", limit=9)
    stand.sim.behave(reversed_rows=True)
    assert await stand.rows("busy", limit=9) == rows[::-1]


async def test_the_window_without_dates_may_have_another_length(stand):
    stand.sim.behave(default_days=7)
    answer = await stand.get("/websites/busy/recordings", limit=0)
    assert len(answer["chart"]) == 7
    assert answer["count"] == sum(answer["chart"].values())


async def test_a_stopped_website_records_nobody(stand):
    stand.moment = stand.moment.replace(hour=6)
    before = (await stand.get("/websites/busy/recordings", limit=0))["count"]
    stand.sim.intervene("busy.example", status="Stopped")
    stand.later(hours=6)
    assert (await stand.get("/websites/busy/recordings", limit=0))["count"] == before
    stand.sim.intervene("busy.example", status="Recording")
    stand.later(hours=6)
    assert (await stand.get("/websites/busy/recordings", limit=0))["count"] > before


async def test_a_lower_rate_records_fewer(stand):
    stand.moment = stand.moment.replace(hour=0)
    stand.sim.intervene("busy.example", recordingRate=25)
    stand.later(days=2)
    asked = {"fromdate": "2026-11-24", "todate": "2026-11-26"}
    answer = await stand.get("/websites/busy/recordings", limit=10_000, **asked)
    assert 30 <= answer["count"] <= 100  # of about 240
    assert len({row["id"] for row in answer["recordings"]}) == answer["count"]
    some = answer["recordings"][0]["id"]
    assert (await stand.detail(some, "busy"))["id"] == some


@pytest.mark.parametrize("rate", [0, 1, 50, 99])
async def test_an_arrival_that_was_not_recorded_has_no_detail(stand, rate):
    stand.moment = stand.moment.replace(hour=0)
    stand.sim.intervene("busy.example", recordingRate=rate)
    stand.later(days=6)
    site = stand.sim.world.site("busy")
    days = range(date(2026, 11, 24).toordinal(), date(2026, 11, 30).toordinal())
    refs = [
        timeline.pack(day, n)
        for day in days
        for n in range(len(timeline.arrived(site, day).starts))
    ]
    known = [ref for ref in refs if timeline.find_visit(site, ref) is not None]
    had = {clock.recording_id(site.key, ref) for ref in known}
    window = {"fromdate": "2026-11-24T00:00:00", "todate": "2026-12-01"}
    listed = await stand.ids("busy", **window)
    assert had <= listed
    assert len(listed - had) <= 10  # those of the hour before midnight UTC, all recorded
    missing = next(r for r in refs if clock.recording_id(site.key, r) not in had)
    name = clock.recording_id(site.key, missing)
    assert (await stand.api.get(f"/websites/busy/recordings/{name}")).status_code == 404


async def test_expired_recordings_are_gone_and_no_longer_counted(stand):
    old = (await stand.rows("busy", fromdate="2026-11-01", todate="2026-11-02"))[0]["id"]
    before = (await stand.get("/websites/busy/recordings", limit=0))["count"]
    site = stand.sim.world.site("busy")
    stand.sim.world.expire(site, stand.moment.replace(day=10))
    assert (await stand.get("/websites/busy/recordings", limit=0))["count"] < before
    assert (await stand.api.get(f"/websites/busy/recordings/{old}")).status_code == 410
    assert await stand.ids("busy", todate=date(2026, 11, 9).isoformat()) == set()


async def test_known_tags_and_variables_are_listed_up_to_a_limit(stand):
    events = [(1, "drop-off"), (2, "submit")]
    stand.sim.add(
        "quiet.example", session([("/", 9)], events, variables=[(1, "plan", "x"), (2, "k", "y")])
    )
    assert await stand.get(f"{LIST}/tags") == ["drop-off", "submit"]
    assert await stand.get(f"{LIST}/tags", limit=1) == ["drop-off"]
    assert await stand.get(f"{LIST}/variables") == ["k", "plan"]
    assert await stand.get(f"{LIST}/variables", limit=1) == ["k"]
