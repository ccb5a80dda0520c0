"""Answers that are not as documented: one bad row costs only itself, nothing is invented."""

import json

import pytest
from document_samples import READERS, SAMPLES
from hypothesis import given, settings
from hypothesis import strategies as st

from mouseflow import feedback, heatmaps, recordings, websites
from mouseflow.errors import BadAnswer

LIST = recordings.list("w")
SITES = websites.list()


def page(*rows, count=None, **more):
    answer = {"recordings": list(rows), "chart": {}, "count": len(rows) if count is None else count}
    return json.dumps(answer | more).encode()


def test_a_value_that_cannot_be_read_is_none_and_named_and_its_row_stays():
    read = LIST.read(page({"id": "a"}, {"id": "b", "duration": "long", "pages": 3}, {"id": "c"}))
    assert [row.id for row in read.recordings] == ["a", "b", "c"]
    assert (read.recordings[1].duration, read.recordings[1].pages) == (None, 3)
    (bad,) = read.recordings[1].bad_values
    assert (bad.field, bad.reason) == ("duration", "expected a whole number, got text")
    assert read.unreadable == ()


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("city", True, "expected text, got true or false"),
        ("city", {"name": "secret"}, "expected text, got an object"),
        ("tags", "secret", "expected a list, got text"),
        ("tags", {"secret": 1}, "expected a list, got an object"),
        ("created", "secret", "expected a date, got text"),
        ("duration", 10**30, "the number is out of range"),
        ("lat", "nan or so", "expected a number, got text"),
        ("watched", "perhaps", "expected true or false, got text"),
    ],
)
def test_the_reason_is_in_words_and_never_quotes_the_value(field, value, reason):
    (row,) = LIST.read(page({"id": "a", "os": "mac", field: value})).recordings
    assert row.os == "mac"
    (bad,) = row.bad_values
    assert (bad.field, bad.reason) == (field, reason)


def test_in_one_object_an_odd_value_costs_only_itself_too():
    odd = {"id": "r", "osVersion": 10, "visitorName": 4711, "tags": ["a", None, 5, {}]}
    odd["pageViews"] = [{"title": 404, "scroll": "far", "uri": "/a"}, 7]
    read = recordings.detail("w", "r").read(json.dumps(odd).encode())
    assert (read.os_version, read.visitor_name, read.tags) == ("10", "4711", ("a", "5"))
    (view,) = read.page_views
    assert (view.title, view.scroll, view.uri) == ("404", None, "/a")
    assert [bad.field for bad in read.bad_values] == [
        "tags[3]",
        "pageViews[0].scroll",
        "pageViews[1]",
    ]


def test_so_many_bad_values_of_one_object_are_named_and_no_more():
    (row,) = LIST.read(page({"id": "a", "tags": [{}] * 500})).recordings
    assert len(row.bad_values) == 20


def test_a_days_count_that_is_none_is_named_and_the_other_days_stay():
    read = LIST.read(page({"id": "a"}, chart={"2026-03-01": 3, "2026-03-02": {}}))
    assert list(read.chart.values()) == [3]
    assert [bad.field for bad in read.bad_values] == ["chart.2026-03-02"]


def test_one_moment_has_one_value_however_its_row_is_read():
    moment = "2015-09-23T23:59:59.9999999+02:00"
    good, odd = LIST.read(
        page({"id": "a", "created": moment}, {"id": "b", "created": moment, "city": 1})
    ).recordings
    assert good.created == odd.created
    alone = LIST.read(page({"id": "a", "created": moment})).recordings[0]
    assert alone.created == good.created


@pytest.mark.parametrize(
    "row",
    [
        b'{"id": "b", "city": "Lund\x07by"}',
        b'{"id": "b", "city": "Lund\nby"}',
        b'{"id": "b", "duration": ' + b"9" * 5_000 + b"}",
        b'{"id": "b", "lat": 1e999}',
        b'{"id": "b", "new": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        b'{"id": "b", "new": ' + b'{"x":' * 5_000 + b"1" + b"}" * 5_000 + b"}",
        b'{"id": "b", "tags": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    ],
    ids=["bell", "line end", "5000 digits", "infinite", "deep list", "deep object", "deep tags"],
)
def test_what_json_libraries_refuse_costs_neither_the_row_nor_its_neighbours(row):
    body = b'{"count": 3, "recordings": [{"id": "a"}, ' + row + b', {"id": "c", "pages": 2}]}'
    read = LIST.read(body)
    assert [found.id for found in read.recordings] == ["a", "b", "c"]
    assert read.recordings[2].pages == 2
    assert recordings.detail("w", "b").read(row).id == "b"


@pytest.mark.parametrize("name", [".", "..", "x" * 201])
def test_an_id_that_leads_elsewhere_or_is_very_long_costs_its_row_alone(name):
    for request in (LIST, recordings.list("w", brief=True)):
        read = request.read(page({"id": "a"}, {"id": name}, {"id": "b"}))
        assert [row.id for row in read.recordings] == ["a", "b"]
        assert [bad.index for bad in read.unreadable] == [1]
    sites = SITES.read(json.dumps([{"id": "a"}, {"id": name}]).encode())
    assert [site.id for site in sites] == ["a"]


@pytest.mark.parametrize("row", [{}, {"id": ""}, {"id": None}, {"id": 7}, "text", None, [], 3])
def test_a_row_without_an_id_is_set_aside(row):
    read = LIST.read(page({"id": "a"}, row))
    assert [found.id for found in read.recordings] == ["a"]
    assert read.unreadable[0].index == 1


@pytest.mark.parametrize(
    ("field", "value", "name", "wanted"),
    [
        ("duration", 158952.0, "duration", 158952),
        ("duration", "158952", "duration", 158952),
        ("duration", 1.6, "duration", 2),
        ("duration", "", "duration", None),
        ("duration", None, "duration", None),
        ("tags", None, "tags", ()),
        ("variables", "", "variables", ()),
        ("created", "", "created", None),
        ("lat", "", "lat", None),
        ("lat", "52.5", "lat", 52.5),
        ("starred", "true", "starred", True),
        ("starred", 1, "starred", True),
        ("pageViews", None, "page_views", None),
        ("pageViews", [], "page_views", ()),
    ],
)
def test_what_is_harmless_is_put_right(field, value, name, wanted):
    read = LIST.read(page({"id": "a", field: value}))
    assert read.unreadable == ()
    assert getattr(read.recordings[0], name) == wanted


@pytest.mark.parametrize(
    "text", ["2015-09-23T09:46:08Z", "2015-09-23T09:46:08.5452158+02:00", "20150923T094608+0200"]
)
def test_every_form_of_iso_8601_is_a_date(text):
    (row,) = LIST.read(page({"id": "a", "created": text})).recordings
    assert (row.created.year, row.created.second) == (2015, 8)
    assert row.created.tzinfo is not None


def test_unknown_keys_are_ignored():
    (row,) = LIST.read(page({"id": "a", "new": {"deep": [1]}}, more=1)).recordings
    assert row.id == "a"


def test_a_friction_that_the_api_never_documented_is_kept():
    (row,) = LIST.read(page({"id": "a", "friction": 3, "frictionScore": 2.5})).recordings
    assert (row.friction, row.friction_score) == (3.0, 2.5)


def test_half_an_emoji_costs_neither_the_page_nor_the_row():
    """Referrers are cut by length (L753), which splits what needs two code units."""
    body = page({"id": "a", "referrer": "X"}, {"id": "b"})
    for bad in (rb"\ud83d", b"\xff\xfe", b"\xf0\x9f"):
        read = LIST.read(body.replace(b"X", bad))
        assert [row.id for row in read.recordings] == ["a", "b"]
        read.recordings[0].referrer.encode()
        beside = page({"id": "c", "duration": ""}, {"id": "a", "referrer": "X"}, {"id": 1})
        read = LIST.read(beside.replace(b"X", bad))
        assert [row.id for row in read.recordings] == ["c", "a"]


def test_a_count_alone_is_an_answer():
    read = LIST.read(b'{"count": 12}')
    assert (read.count, read.recordings, read.chart) == (12, (), {})
    assert LIST.read(b'{"count": 12, "recordings": null, "chart": null}').count == 12
    assert LIST.read(page({"id": "a"}, count=3.0)).count == 3


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"<!doctype html><p>secret</p>", "HTML"),
        (b"\xef\xbb\xbf<html>secret", "HTML"),
        (b'{"recordings": [{"id": "secret"', "truncated JSON"),
        (b"secret: it works", "not JSON"),
        (b'{"count": 1, "recordings": ' + b"[" * 100_000, "JSON"),
        (b'["secret"]', "another shape"),
        (b'{"error": "secret"}', "another shape"),
        (b'{"recordings": "secret", "count": 1}', "another shape"),
        (b'{"recordings": [], "count": "secret"}', "another shape"),
    ],
)
def test_what_is_no_list_of_recordings_is_said_without_quoting_it(body, said):
    with pytest.raises(BadAnswer, match=said) as caught:
        LIST.read(body)
    assert "secret" not in str(caught.value)


def test_a_byte_order_mark_does_not_matter():
    assert LIST.read(b"\xef\xbb\xbf" + page({"id": "a"})).count == 1


def test_lists_of_other_things_set_bad_rows_aside_too():
    read = SITES.read(b'[{"id": "a", "isDemo": ""}, {"name": "nameless"}, {"id": "b"}]')
    assert [site.id for site in read] == ["a", "b"]
    assert (read[0].is_demo, read.unreadable[0].index) == (None, 1)
    assert SITES.read(b"[]").unreadable == ()
    pages = heatmaps.pages("w").read(b'{"count": 2, "pages": [{"views": 1.0}, []]}')
    assert (pages.count, pages.pages[0].views, len(pages.unreadable)) == (2, 1, 1)
    names = recordings.tags("w").read(b'["a", 1, null, {}, "b"]')
    assert (tuple(names), [bad.index for bad in names.unreadable]) == (("a", "1", "b"), [3])


@pytest.mark.parametrize("report", [{"responses": 12}, [{"responses": 12}]])
def test_a_report_may_be_an_object_or_a_list_of_one(report):
    body = json.dumps([{"campaignId": "c", "report": report}]).encode()
    (campaign,) = feedback.list("w").read(body)
    assert campaign.report.responses == 12


@pytest.mark.parametrize("body", [b'"HQ70-_w"', b"HQ70-_w", b" HQ70-_w\n", b'{"token":"HQ70-_w"}'])
def test_a_share_token_comes_in_quotes_or_without(body):
    assert recordings.share("w", "r").read(body) == "HQ70-_w"
    assert heatmaps.share("w", "/").read(body) == "HQ70-_w"


@pytest.mark.parametrize(
    "body", [b"", b'""', b"null", b"<html>", b'{"tok": 1}', b"7", b"[]", b"a b"]
)
def test_what_is_no_token_is_never_taken_for_one(body):
    with pytest.raises(BadAnswer, match="no sharing token"):
        recordings.share("w", "r").read(body)
    assert heatmaps.share("w", "/").read(body) is None


WRITES = (
    recordings.star("w", "r"),
    recordings.tag("w", "r", "t"),
    recordings.delete("w", "r"),
    heatmaps.unshare("w", "/"),
    websites.update("w", name="n"),
    feedback.update("w", "c", {}),
)


@pytest.mark.parametrize("body", [b"", b" \n", b"OK", b"ok\r\n", b"{}", b"null", b"[]", b'"\xff"'])
def test_nothing_json_or_ok_will_do_after_a_write(body):
    assert [write.read(body) for write in WRITES] == [None] * len(WRITES)


@pytest.mark.parametrize(
    "body", [b"<html>OK</html>", b"\xef\xbb\xbf<p>", b"Sign in", b"\xff", b"{"]
)
def test_a_page_says_nothing_of_a_write(body):
    for write in WRITES:
        with pytest.raises(BadAnswer):
            write.read(body)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "tags", "created", "pages", "x"]), inner)
    ),
    max_leaves=8,
)


@settings(deadline=None, max_examples=200)
@given(rows=st.lists(json_values, max_size=5), count=json_values)
def test_no_json_at_all_breaks_the_reader(rows, count):
    body = json.dumps({"recordings": rows, "count": count}).encode()
    try:
        read = LIST.read(body)
    except BadAnswer:
        return
    assert len(read.recordings) + len(read.unreadable) == len(rows)


@settings(deadline=None, max_examples=200)
@given(body=st.binary(max_size=60))
def test_no_bytes_at_all_break_the_readers(body):
    for request in (LIST, SITES, heatmaps.pages("w"), recordings.tags("w"), feedback.list("w")):
        try:
            request.read(body)
        except BadAnswer:
            continue


SHAPES = (0, 7, -1, 1.5, 10**25, True, None, "", "7", "text", [], ["a"], [None], {}, {"a": 1}, [{}])
IDS = frozenset({"id", "funnelId", "formId", "campaignId"})
ENVELOPES = frozenset({"recordings", "pages", "urls", "count"})


def leaves(value, path=()):
    """Each place below the value, as the keys that lead there."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in inner:
        yield (*path, key)
        if isinstance(item, dict | list):
            yield from leaves(item, (*path, key))


def changed(value, path, new):
    """The value with something else at that place; `...` takes the key away."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    key, *rest = path
    if not rest and new is ...:
        del copy[key]
    else:
        copy[key] = changed(value[key], rest, new)
    return copy


@pytest.mark.parametrize("name", sorted(READERS.keys() - {"share"}))
def test_whatever_a_leaf_of_a_sample_is_replaced_by_no_row_and_no_answer_is_lost(name, sample):
    document = json.loads(sample(name))
    for path in leaves(document):
        is_id = path[-1] in IDS and "pageViews" not in path
        is_row = isinstance(path[-1], int) and len(path) == (1 if isinstance(document, list) else 2)
        is_envelope = path[-1] in ENVELOPES and len(path) == 1
        for new in () if is_id or is_row or is_envelope else (*SHAPES, ...):
            answer = READERS[name].read(json.dumps(changed(document, path, new)).encode())
            assert getattr(answer, "unreadable", ()) == (), (path, new)


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_no_change_of_a_sample_raises_anything_but_bad_answer(data):
    name = data.draw(st.sampled_from(sorted(READERS)))
    body = (SAMPLES / f"{name}.json").read_bytes()
    if data.draw(st.booleans()):
        document = json.loads(body)
        for _ in range(data.draw(st.integers(1, 3))):
            paths = list(leaves(document)) if isinstance(document, dict | list) else []
            if paths:
                path = data.draw(st.sampled_from(paths))
                document = changed(document, path, data.draw(json_values | st.just(...)))
        body = json.dumps(document).encode()
    else:
        at = data.draw(st.integers(0, len(body)))
        body = (
            body[:at] + data.draw(st.binary(max_size=8)) + body[at + data.draw(st.integers(0, 9)) :]
        )
    brief = (recordings.list("w", brief=True), recordings.list("w", only={"a"}))
    for request in (READERS[name], *(brief if name == "recordings_list" else ())):
        try:
            request.read(body)
        except BadAnswer:
            continue


@pytest.mark.parametrize(
    "moment", ["9999-12-31T23:59:59.9-12:00", "0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00"]
)
def test_a_date_at_an_end_of_the_calendar_costs_itself_and_no_row(moment):
    """Sums with it and other time zones of it would overflow, wherever it is used."""
    row = {"id": "a", "created": moment, "country": "dk", "lastActivity": "2015-09-23T09:46:08"}
    whole = {"count": 2, "recordings": [row, {"id": "b", "created": "2015-09-23T09:46:08"}]}
    page = recordings.list("w").read(json.dumps(whole).encode())
    first, second = page.recordings
    assert (first.created, first.country, first.last_activity.year) == (None, "dk", 2015)
    assert [bad.field for bad in first.bad_values] == ["created"]
    assert second.created is not None
    site = json.dumps([{"id": "w", "name": "shop.com", "created": moment}])
    assert websites.list().read(site.encode())[0].created is None
    detail = {"id": "a", "pageViews": [{"startTime": moment, "uri": "https://shop.com/"}]}
    read = recordings.detail("w", "a").read(json.dumps(detail).encode())
    assert (read.page_views[0].start_time, read.page_views[0].uri) == (None, "https://shop.com/")
