"""The API document's traps that concern a client, one by one; numbers are those of our notes."""

import json
import ssl
from datetime import UTC, date, datetime, timedelta

import pytest
from http_server import reply

from mouseflow import errors, feedback, forms, funnels, heatmaps, paging, recordings, websites
from mouseflow.client import AsyncMouseflow
from mouseflow.filters import ANY, REFERRER_OF, PageFilters, SessionFilters
from mouseflow.rate_limit import TokenBucket


def rows(*items):
    return json.dumps({"recordings": items, "count": len(items)}).encode()


def row(**fields):
    (read,) = recordings.list("w").read(rows({"id": "a"} | fields)).recordings
    return read


def body(request):
    return json.loads(request.body)


# Transport, authentication, samples


async def test_trap_1_the_other_region_is_hinted_at_and_never_tried(api, wire):
    wire.otherwise = reply(401)
    with pytest.raises(errors.BadCredentials, match="a key works in one region only"):
        await api.send(websites.list())
    assert len(wire.got) == 1


def test_trap_2_the_key_does_not_travel_over_plain_http():
    with pytest.raises(errors.ConfigurationError, match="use https"):
        AsyncMouseflow("http://api-eu.mouseflow.com", "a@b.c", "key")


@pytest.mark.parametrize("address", ["eu", "http://127.0.0.1:1"])
def test_trap_3_certificates_are_always_verified(address):
    api = AsyncMouseflow(address, "a@b.c", "key")
    api._transport._connect()
    assert api._transport._tls.verify_mode is ssl.CERT_REQUIRED
    assert api._transport._tls.check_hostname is True


async def test_trap_4_a_body_says_that_it_is_json(api, wire):
    await api.send(feedback.create("w", {"name": "n"}))
    assert wire.got[0].headers["content-type"] == "application/json"
    assert wire.got[0].headers["accept"] == "application/json"


def test_trap_5_an_update_never_touches_the_recording_status():
    assert body(websites.update("w", name="n")) == {"name": "n"}
    assert body(websites.reorder(["a", "b"])) == {"websiteIds": ["a", "b"]}


async def test_trap_6_all_parameters_arrive(api, wire):
    wire.otherwise = reply(200, rows())
    filters = SessionFilters(fromdate=date(2015, 10, 4), todate=date(2015, 10, 15))
    await api.send(recordings.list("w", filters, limit=7))
    query = wire.got[0].target.partition("?")[2]
    assert query == "fromdate=2015-10-04&todate=2015-10-15&limit=7"


@pytest.mark.parametrize("answer", [b"", b"OK", b"null"])
async def test_trap_8_a_write_may_answer_nothing_text_or_json_of_any_type(answer, api, wire):
    wire.otherwise = reply(200, answer, Content_Type="text/html")
    await api.send(recordings.tag("w", "r", "t"))
    wire.otherwise = reply(200, b"[]", Content_Type="text/html")
    await api.send(websites.list())


async def test_trap_8_a_page_leaves_the_outcome_of_a_write_unknown(api, wire):
    wire.otherwise = reply(200, b"<html>sorry</html>", Content_Type="text/html")
    with pytest.raises(errors.UnreadableAnswer) as caught:
        await api.send(recordings.tag("w", "r", "t"))
    assert caught.value.outcome_unknown


@pytest.mark.parametrize("status", [408, 409, 415, 422, 502, 504])
async def test_trap_9_statuses_beyond_the_document_have_their_family(status, api, wire):
    wire.otherwise = reply(status)
    family = errors.Unavailable if status in (408, 502, 504) else errors.InvalidRequest
    with pytest.raises(family):
        await api.send(websites.list())


def test_trap_10_the_rate_is_ours_to_choose():
    assert TokenBucket(2.0, 1).after_call(0.0).wait(0.0) == pytest.approx(0.5)


async def test_trap_11_maintenance_is_told_from_other_trouble(api, wire):
    wire.otherwise = reply(503)
    with pytest.raises(errors.Maintenance, match="offline for maintenance"):
        await api.send(websites.list())


# Dates and numbers


@pytest.mark.parametrize(
    "text", ["2015-09-23T07:46:08Z", "2015-09-23T09:46:08+02:00", "20150923T074608Z"]
)
def test_trap_12_every_iso_form_is_the_same_instant(text):
    assert row(created=text).created == datetime(2015, 9, 23, 7, 46, 8, tzinfo=UTC)


def test_trap_13_seven_fractional_digits_are_read():
    assert row(created="2015-09-23T09:46:08.5452158+02:00").created.microsecond == 545216
    last = row(created="2015-12-31T23:59:59.9999999+00:00").created
    assert last >= datetime(2015, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)


def test_trap_14_dates_with_and_without_an_offset_are_both_read(sample):
    (site, _other) = websites.list().read(sample("websites_list"))
    assert site.created.tzinfo is None
    campaign = feedback.list("w").read(sample("campaigns"))[0]
    assert campaign.report.by_day == {date(2018, 12, day): 0 for day in (25, 26, 27)}
    page = recordings.list("w").read(b'{"count": 1, "chart": {"2015-08-30": 2, "soon": 3}}')
    assert page.chart == {date(2015, 8, 30): 2}


def test_trap_16_a_window_that_todate_empties_is_refused():
    today = date(2026, 3, 1)
    with pytest.raises(ValueError, match="excluded"):
        SessionFilters(fromdate=today, todate=today)


def test_trap_20_a_duration_longer_than_the_visit_is_taken_as_it_is(sample):
    _first, second = recordings.list("w").read(sample("recordings_list")).recordings
    assert second.duration > (second.last_activity - second.created) / timedelta(milliseconds=1)


def test_trap_21_a_last_activity_before_a_page_view_is_taken_as_it_is(sample):
    detail = recordings.detail("w", "r").read(sample("recording_detail"))
    assert detail.last_activity < detail.page_views[-1].end_time


@pytest.mark.parametrize("value", [10000, "10000"])
def test_traps_22_and_93_a_trigger_value_is_given_as_it_comes(value):
    text = json.dumps({"campaignId": "c", "triggerValue": value}).encode()
    assert feedback.detail("w", "c").read(text).trigger_value == value


# Recordings list and detail


def test_trap_24_a_limit_is_sent_when_given_and_the_count_is_there(sample):
    assert recordings.list("w", limit=500).query == (("limit", "500"),)
    page = recordings.list("w").read(sample("recordings_list"))
    assert page.count > len(page.recordings)


async def test_trap_25_a_whole_list_needs_both_dates():
    with pytest.raises(ValueError, match="fromdate and todate"):
        await anext(paging.read(None, "w", SessionFilters()))


def test_trap_27_no_friction_in_an_answer_is_none(sample):
    page = recordings.list("w").read(sample("recordings_list"))
    assert [one.friction for one in page.recordings] == [None, None]


def test_traps_28_and_30_what_a_detail_lacks_is_none(sample):
    detail = recordings.detail("w", "r").read(sample("recording_detail"))
    missing = (detail.entry, detail.entry_page, detail.pages, detail.playback_url)
    assert missing == (None, None, None, None)


def test_trap_30_a_language_may_have_either_name():
    assert row(lang="de").lang == "de"
    assert row(language="fr").lang == "fr"
    assert row(language="fr", lang="de").lang == "de"


def test_trap_29_entry_pages_come_with_and_without_a_host(sample):
    page = recordings.list("w").read(sample("recordings_list"))
    assert [one.entry_page for one in page.recordings] == ["shop.myshop.de/landing", "/offers"]


def test_trap_31_absent_and_empty_are_the_same():
    assert row() == row(token="", visitorName="", region="", city="", variables=[])


def test_trap_32_the_samples_are_right_where_the_tables_are_wrong(sample):
    first = recordings.list("w").read(sample("recordings_list")).recordings[0]
    view = recordings.detail("w", "r").read(sample("recording_detail")).page_views[0]
    assert (first.screen_res, view.title, view.scroll) == ("1920x1200", "My home page", 37)


def test_trap_33_a_referrer_type_has_its_filter_word():
    words = {word: REFERRER_OF[word.lower()] for word in ("Search", "Link", "Direct")}
    assert words == {"Search": "searchengines", "Link": "links", "Direct": "direct"}


def test_trap_40_page_views_are_in_the_rows_only_if_expand_is_honoured():
    assert recordings.list("w", limit=1, expand=True).target.endswith("?limit=1&expand=true")
    assert row().page_views is None
    assert row(pageViews=[]).page_views == ()


# Tags, variables, star, watched, share


@pytest.mark.parametrize("tag", ["a b", "a&b=c", "#1", "a+b", "größe", "100%", "日本"])
async def test_trap_41_a_tag_arrives_as_it_was_meant(tag, api, wire):
    from urllib.parse import parse_qsl

    await api.send(recordings.tag("w", "r", tag))
    assert parse_qsl(wire.got[0].target.partition("?")[2]) == [("tag", tag)]


def test_trap_41_a_tag_with_a_comma_could_never_be_filtered_by():
    with pytest.raises(ValueError, match="comma"):
        recordings.tag("w", "r", "a,b")


def test_trap_43_what_only_sets_may_be_repeated():
    for act in (recordings.star, recordings.watch, recordings.unshare, recordings.delete):
        assert act("w", "r").repeatable
    assert recordings.tag("w", "r", "t").repeatable


def test_trap_44_the_lists_of_names_take_a_limit():
    assert recordings.tags("w", limit=1000).query == (("limit", "1000"),)
    assert recordings.variables("w", limit=1000).query == (("limit", "1000"),)


def test_trap_45_session_tags_and_page_tags_are_kept_apart(sample):
    detail = recordings.detail("w", "r").read(sample("recording_detail"))
    assert "submit" in detail.tags
    assert all("submit" not in view.tags for view in detail.page_views)


def test_trap_48_variables_keep_their_equals_signs_and_doubles():
    assert row(variables=["a=b=c", "a=d", "a="]).variables == ("a=b=c", "a=d", "a=")


def test_trap_49_an_empty_string_removes_a_variable():
    request = recordings.edit_variables("w", "r", {"cart-id": "", "cart-value": "456"})
    assert body(request) == {"cart-id": "", "cart-value": "456"}


@pytest.mark.parametrize("value", ["a,b", "*", "^", "a=b"])
def test_trap_50_a_value_without_an_escape_is_refused(value):
    with pytest.raises(ValueError, match="cannot be escaped"):
        SessionFilters(vars={"plan": value})


@pytest.mark.parametrize("answer", [b'"HQ70"', b"HQ70", b'{"token": "HQ70"}'])
def test_trap_51_a_share_answers_a_bare_string(answer):
    assert recordings.share("w", "r").read(answer) == "HQ70"


async def test_traps_51_and_52_a_token_is_neither_asked_twice_nor_told(api, wire):
    wire.otherwise = reply(500, b"")
    with pytest.raises(errors.ServerError) as caught:
        await api.send(recordings.share("w", "r"))
    assert (len(wire.got), caught.value.outcome_unknown) == (1, True)


def test_trap_54_flags_are_numbers_in_filters_and_words_in_paths():
    filters = SessionFilters(watched=True, star=False)
    assert filters.pairs() == (("watched", "1"), ("star", "0"))
    assert recordings.watch("w", "r").path.endswith("/watched")
    assert recordings.star("w", "r").path.endswith("/star")


async def test_trap_55_a_delete_has_no_body(api, wire):
    for request in (recordings.unstar("w", "r"), recordings.unshare("w", "r")):
        await api.send(request)
    assert {(got.body, got.headers.get("content-type")) for got in wire.got} == {(b"", None)}


# Filters


def test_trap_56_friction_has_no_upper_bound():
    assert SessionFilters(frictionmin=1e9).pairs() == (("frictionmin", "1000000000"),)


def test_trap_57_a_canary_can_be_asked():
    request = recordings.list("w", SessionFilters(frictionmin=1e9), limit=1)
    assert request.read(b'{"recordings": [], "count": 0}').count == 0


def test_trap_60_pages_are_exact_paths_one_each():
    filters = SessionFilters(entry="/a", exit="/b", funnel="/c", notfunnel="/d")
    assert [value for _name, value in filters.pairs()] == ["/a", "/b", "/c", "/d"]


def test_trap_64_returning_visitors_have_two_vocabularies():
    with pytest.raises(ValueError, match="first, returning"):
        SessionFilters(visitortype="First-time visitor")


def test_trap_65_filters_take_one_value():
    with pytest.raises(ValueError, match="two-letter"):
        SessionFilters(country="de,fr")


def test_trap_66_durations_are_milliseconds():
    filters = SessionFilters(visitmin=timedelta(seconds=18), visitmax=timedelta(minutes=1))
    assert filters.pairs() == (("visitmin", "18000"), ("visitmax", "60000"))


async def test_trap_67_a_page_is_encoded_once(api, wire):
    wire.otherwise = reply(200, rows())
    await api.send(recordings.list("w", SessionFilters(entry="/a b/ü?x=1&y=%2F")))
    assert wire.got[0].target.partition("?")[2] == "entry=%2Fa%20b%2F%C3%BC%3Fx%3D1%26y%3D%252F"


def test_trap_68_filters_are_sent_together():
    filters = SessionFilters(country="de", tags=("a", "b"), vars={"k": ANY})
    assert filters.pairs() == (("country", "de"), ("tags", "a,b"), ("vars", "k=*"))


# Websites and recording status


def test_trap_69_the_status_is_written_as_recording_status():
    assert body(websites.set_recording_status("w", "Stopped")) == {"recordingStatus": "Stopped"}
    with pytest.raises(TypeError):
        websites.update("w", status="Stopped")


@pytest.mark.parametrize("status", ["Paused", "NotInstalled", "stopped"])
def test_traps_71_and_72_only_two_statuses_can_be_written(status):
    with pytest.raises(ValueError, match="Stopped or Recording"):
        websites.set_recording_status("w", status)


def test_trap_73_read_only_is_a_field(sample):
    sites = websites.list().read(sample("websites_list"))
    assert [site.read_only for site in sites] == [False, True]


def test_trap_75_a_recording_rate_is_percent():
    assert body(websites.update("w", recording_rate=100)) == {"recordingRate": 100}
    with pytest.raises(ValueError, match="percent"):
        websites.update("w", recording_rate=1000)


def test_trap_76_only_what_changes_is_sent():
    assert body(websites.update("w", excluded_ips=["1.2.*"])) == {"excludedIps": ["1.2.*"]}


@pytest.mark.parametrize("width", [984, "984"])
def test_trap_77_a_width_is_a_number_or_a_string(width):
    text = json.dumps({"id": "w", "width": width}).encode()
    assert websites.detail("w").read(text).width == width


def test_trap_78_a_domain_is_created_and_domains_are_read(sample):
    assert body(websites.create("myshop2.com")) == {"domain": "myshop2.com"}
    assert websites.create("x").read(sample("website_created")).domains == ("myshop2.com",)


# Feedback


@pytest.mark.parametrize("report", [{"responses": 1}, [{"responses": 1}], {"responseChart": {}}])
def test_trap_87_a_report_is_an_object_or_a_list_of_one(report):
    text = json.dumps([{"campaignId": "c", "report": report}]).encode()
    (campaign,) = feedback.list("w").read(text)
    assert campaign.report.responses in (1, None)


def test_trap_89_a_campaign_has_one_id_with_two_names(sample):
    campaign = feedback.detail("w", "c").read(sample("campaign"))
    assert campaign.id == campaign.campaign_id
    assert feedback.detail("w", campaign.id).path.endswith("/feedback/kvnbQCMbpUyDwLArFDOuXw")


def test_trap_90_a_campaign_is_deleted_below_its_website():
    assert feedback.delete("w", "c").path == "/websites/w/feedback/c"


@pytest.mark.parametrize(("text", "wanted"), [("", None), ("a@b.c", "a@b.c")])
def test_trap_95_a_notification_may_be_empty(text, wanted):
    answer = json.dumps({"campaignId": "c", "notification": text}).encode()
    assert feedback.detail("w", "c").read(answer).notification == wanted


# Heatmaps, funnels, forms


def test_trap_100_one_path_has_two_shapes(sample):
    one, many = heatmaps.page("w", "/jobs"), heatmaps.pages("w")
    assert one.path == many.path
    assert one.query == (("url", "/jobs"),)
    assert one.read(sample("page")).views == many.read(sample("pages")).pages[0].views


def test_trap_101_a_pages_detail_knows_its_display_url(sample):
    assert heatmaps.page("w", "/jobs").read(sample("page")).display_url == "/jobs"


def test_trap_102_a_shared_heatmap_answers_nothing_that_is_documented():
    request = heatmaps.share("w", "/a")
    assert request.path == "/websites/w/heatmaps/share"
    assert request.read(b"") is None


def test_trap_103_a_session_filter_on_a_page_list_is_not_silent():
    with pytest.raises(ValueError, match="entry: no effect"):
        heatmaps.pages("w", SessionFilters(entry="/"))
    assert heatmaps.pages("w", PageFilters(country="de")).query == (("country", "de"),)


def test_traps_61_and_104_the_list_of_urls_takes_limit_and_search_alone(sample):
    request = heatmaps.urls("w", limit=200, search="shoes")
    assert request.query == (("limit", "200"), ("search", "shoes"))
    urls = request.read(sample("page_urls"))
    assert (urls.count, urls.urls[1]) == (185, "/products")


def test_traps_105_and_106_steps_are_written_without_counts():
    request = funnels.edit("w", "f", steps=[("First", "/")])
    assert body(request) == {"steps": [{"name": "First", "url": "/"}]}


def test_trap_106_a_form_just_made_has_no_counters(sample):
    form = forms.create("w", "/", "f").read(sample("form_created"))
    assert (form.visits, form.fields[0].type, form.fields[0].interactions) == (None, None, None)


def test_trap_107_a_funnels_list_and_report_have_one_shape(sample):
    listed = funnels.list("w").read(sample("funnels"))[0]
    assert funnels.report("w", "f").read(sample("funnel")) == listed
