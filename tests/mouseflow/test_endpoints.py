"""Every endpoint sends what the API document's curl line sends, to the byte where it matters."""

import base64
import json
import re
import shlex
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest
from document_samples import READERS, SAMPLES

from mouseflow import feedback, forms, funnels, heatmaps, recordings, websites
from mouseflow.filters import PageFilters, SessionFilters
from mouseflow.request import Request
from mouseflow.simulator.in_process import InProcess
from mouseflow.simulator.server import Simulator
from mouseflow.simulator.site import website
from mouseflow.simulator.traffic import Plan

W, R, X = "8fc2ace2-75bc-8ba4-b424-c8916670b990", "0953400cc896bc93", "kvnbQCMbpUyDwLArFDOuXw"
SECOND = "6793a2a8-9be8-42ce-4fb1-9107e379dfde"
SITE = "https://api-us.mouseflow.com/websites/{website-id}"
ONE = SITE + "/recordings/{recording-id}"
USER = "-u my@email.com:token1234"
JSON = "-H 'Content-Type: application/json'"
FUNNEL = (
    '{"name":"My Funnel","steps":[{"name":"First step","url":"/"},'
    '{"name":"Second step","url":"/second"}]}'
)
FORM = (
    '{"url":"/checkout","target":"checkout-form","alias":"Checkout Form","fields":['
    '{"target":"coupon","alias":"Coupon Code Input"},{"target":"user","alias":"User Name Input"},'
    '{"target":"terms","alias":"Terms Checkbox"}]}'
)
CAMPAIGN = (
    '{"steps":[{"stepId":"p3p0","text":"A Question","type":"text","buttonText":"Next"},'
    '{"type":"success","stepId":"w6d6","text":"Thank you for answering our questions!",'
    '"buttonText":"Close"}],"name":"A Campaign","backgroundColor":"#4CB377",'
    '"foregroundColor":"#FFFFFF","screenPosition":"bottomRight","startMinimized":false,'
    '"canBeDiscarded":false,"showBranding":true,"triggerType":"pageLoad","scope":"user",'
    '"pageRules":[],"segments":[],"enabled":false}'
)
STEPS = [("First step", "/"), ("Second step", "/second")]
FIELDS = [
    ("coupon", "Coupon Code Input"),
    ("user", "User Name Input"),
    ("terms", "Terms Checkbox"),
]


# (line of the document, its curl command, our request); numbers count the endpoints.
TABLE: list[tuple[int, str, Request[Any]]] = [
    (62, f"{USER} https://api-us.mouseflow.com/websites", websites.list()),
    (
        155,
        f"-X PUT {USER} {JSON} -d '"
        f'{{"websiteIds":["{W}", "{SECOND}"]}}'
        "' https://api-us.mouseflow.com/websites/reorder",
        websites.reorder([W, SECOND]),
    ),
    (221, f"{USER} {SITE}", websites.detail(W)),
    (
        345,
        f'-X POST {USER} -d \'{{"domain": "myshop2.com", "recordingRate": 50}}\''
        " https://api-us.mouseflow.com/websites",
        websites.create("myshop2.com", recording_rate=50),
    ),
    (
        451,
        f'-X PUT {USER} {JSON} -d \'{{"recordingStatus":"Stopped"}}\' {SITE}',
        websites.set_recording_status(W, "Stopped"),
    ),
    (
        513,
        f'-X PUT {USER} {JSON} -d \'{{"recordingStatus":"Recording"}}\' {SITE}',
        websites.set_recording_status(W, "Recording"),
    ),
    (
        577,
        f'-X PUT {USER} {JSON} -d \'{{"name": "myshop2.com", "recordingRate": 50}}\' {SITE}',
        websites.update(W, name="myshop2.com", recording_rate=50),
    ),
    (681, f"{USER} {SITE}/recordings", recordings.list(W)),
    (861, f"{USER} {ONE}", recordings.detail(W, R)),
    (1030, f"-X POST {USER} {ONE}/star", recordings.star(W, R)),
    (1086, f"-X DELETE {USER} {ONE}/star", recordings.unstar(W, R)),
    (1142, f"{USER} {SITE}/recordings/tags", recordings.tags(W)),
    (1218, f"-X POST {USER} {ONE}/tag?tag={{my-tag}}", recordings.tag(W, R, "my tag")),
    (1272, f"-X DELETE {USER} {ONE}/tag?tag={{my-tag}}", recordings.untag(W, R, "my tag")),
    (1326, f"{USER} {SITE}/recordings/variables", recordings.variables(W)),
    (
        1391,
        f'-X PUT {USER} {JSON} -d \'{{"cart-id": "df342", "cart-value": 43}}\' {ONE}/variables',
        recordings.edit_variables(W, R, {"cart-id": "df342", "cart-value": 43}),
    ),
    (1465, f"-X POST {USER} {ONE}/share", recordings.share(W, R)),
    (1521, f"-X DELETE {USER} {ONE}/share", recordings.unshare(W, R)),
    (1581, f"-X POST {USER} {ONE}/watched", recordings.watch(W, R)),
    (1633, f"-X DELETE {USER} {ONE}/watched", recordings.unwatch(W, R)),
    (1693, f"-X DELETE {USER} {ONE}", recordings.delete(W, R)),
    (1751, f"{USER} {SITE}/pagelist", heatmaps.pages(W)),
    (1868, f"{USER} {SITE}/pagelist?url={{url}}", heatmaps.page(W, "/a b?c=d&e")),
    (1965, f"{USER} {SITE}/pagelist/urls", heatmaps.urls(W)),
    (2051, f"-X POST {USER} {SITE}/heatmaps/share?url={{url}}", heatmaps.share(W, "/a b?c=d&e")),
    (
        2103,
        f"-X DELETE {USER} {SITE}/heatmaps/share?url={{url}}",
        heatmaps.unshare(W, "/a b?c=d&e"),
    ),
    (2165, f"{USER} {SITE}/funnels", funnels.list(W)),
    (2268, f"{USER} {SITE}/funnels/{{funnel-id}}", funnels.report(W, X)),
    (2353, f"-X POST {USER} -d '{FUNNEL}' {SITE}/funnels", funnels.create(W, "My Funnel", STEPS)),
    (
        2459,
        f"-X PUT {USER} {JSON} -d '{FUNNEL}' {SITE}/funnels/{{funnel-id}}",
        funnels.edit(W, X, name="My Funnel", steps=STEPS),
    ),
    (2546, f"-X DELETE {USER} {SITE}/funnels/{{funnel-id}}", funnels.delete(W, X)),
    (2602, f"{USER} {SITE}/forms", forms.list(W)),
    (2744, f"{USER} {SITE}/forms/{{form-id}}", forms.report(W, X)),
    (2885, f"{USER} {SITE}/forms/available?url={{url}}", forms.available(W, "/a b?c=d&e")),
    (
        3006,
        f"-X POST {USER} -d '{FORM}' {SITE}/forms",
        forms.create(W, "/checkout", "checkout-form", alias="Checkout Form", fields=FIELDS),
    ),
    (
        3133,
        f"-X PUT {USER} {JSON} -d '{FORM}' {SITE}/forms/{{form-id}}",
        forms.edit(
            W, X, url="/checkout", target="checkout-form", alias="Checkout Form", fields=FIELDS
        ),
    ),
    (3205, f"-X DELETE {USER} {SITE}/forms/{{form-id}}", forms.delete(W, X)),
    (3261, f"{USER} {SITE}/feedback", feedback.list(W)),
    (3490, f"{USER} {SITE}/feedback/{{feedback-id}}", feedback.detail(W, X)),
    (
        3668,
        f"-X POST {USER} {JSON} -d '{CAMPAIGN}' {SITE}/feedback",
        feedback.create(W, json.loads(CAMPAIGN)),
    ),
    (
        3844,
        f"-X PUT {USER} {JSON} -d '{CAMPAIGN}' {SITE}/feedback/{{feedback-id}}",
        feedback.update(W, X, json.loads(CAMPAIGN)),
    ),
    (4020, f"-X DELETE {USER} {SITE}/feedback/{{feedback-id}}", feedback.delete(W, X)),
    (
        4082,
        f"{USER} {SITE}/recordings?fromdate=2015-10-04&todate=2015-10-15",
        recordings.list(W, SessionFilters(fromdate=date(2015, 10, 4), todate=date(2015, 10, 15))),
    ),
    (
        4137,
        f"{USER} {SITE}/recordings?search=products",
        recordings.list(W, SessionFilters(search="products")),
    ),
    (
        4193,
        f"{USER} {SITE}/pagelist?browser=chrome&country=de&device=desktop"
        "&visitortype=returning&referrer=searchengines",
        heatmaps.pages(
            W,
            PageFilters(
                browser="chrome",
                country="de",
                device="desktop",
                visitortype="returning",
                referrer="searchengines",
            ),
        ),
    ),
    (
        4251,
        f"{USER} {SITE}/recordings?entry=%2Flanding-page&funnel=%2Fproducts"
        "&exit=%2Fthank-you&visitmin=18000",
        recordings.list(
            W,
            SessionFilters(
                entry="/landing-page",
                funnel="/products",
                exit="/thank-you",
                visitmin=timedelta(seconds=18),
            ),
        ),
    ),
    (
        4319,
        f"{USER} {SITE}/recordings?watched=1&tags=form-interact%2Csubmit&vars=plan%3Dsmall&star=0",
        recordings.list(
            W,
            SessionFilters(
                watched=True, star=False, tags=("form-interact", "submit"), vars={"plan": "small"}
            ),
        ),
    ),
    (
        4392,
        f"{USER} {SITE}/recordings?frictionmin=2.5",
        recordings.list(W, SessionFilters(frictionmin=2.5)),
    ),
]


@dataclass(frozen=True)
class Call:
    """What a curl command would send."""

    method: str
    path: str
    query: str
    body: str | None


def read_curl(line: str) -> Call:
    words = iter(shlex.split(line))
    method, body, url = "", None, ""
    for word in words:
        if word == "-X":
            method = next(words)
        elif word == "-d":
            body = next(words)
        elif word in ("-u", "-H"):
            next(words)
        else:
            url = word
    names = {"{website-id}": W, "{recording-id}": R, "{my-tag}": "my%20tag"}
    names |= {"{url}": "%2Fa%20b%3Fc%3Dd%26e"}
    names |= {f"{{{kind}-id}}": X for kind in ("funnel", "form", "feedback")}
    for name, value in names.items():
        url = url.replace(name, value)
    parts = urlsplit(url)
    return Call(method or ("POST" if body else "GET"), parts.path, parts.query, body)


@pytest.mark.parametrize(
    ("line", "request_"),
    [(line, request) for _number, line, request in TABLE],
    ids=[f"L{number}" for number, _line, _request in TABLE],
)
async def test_a_request_is_what_the_documents_curl_line_sends(line, request_, api, wire):
    expected = read_curl(line)

    await api.send(replace(request_, read=bytes))

    (got,) = wire.got
    path, _, query = got.target.partition("?")
    assert (got.method, path) == (expected.method, expected.path)
    assert sorted(query.split("&")) == sorted(expected.query.split("&"))
    credentials = base64.b64encode(b"my@email.com:token1234").decode()
    assert got.headers["authorization"] == f"Basic {credentials}"
    assert got.headers["accept"] == "application/json"
    if expected.body is None:
        assert got.body == b""
        assert "content-type" not in got.headers
    else:
        pairs = json.JSONDecoder(object_pairs_hook=list)
        assert pairs.decode(got.body.decode()) == pairs.decode(expected.body)
        assert got.headers["content-type"] == "application/json"


def test_all_41_endpoints_are_in_the_table():
    # Two curl lines (L451, L513) show the two values of one endpoint.
    endpoints = {
        (request.route, b"recordingStatus" in (request.body or b""))
        for number, _line, request in TABLE
        if number < 4082
    }
    assert len(endpoints) == 41


def test_a_route_names_no_website_and_no_recording():
    for _number, _line, request in TABLE:
        assert W not in request.route
        assert R not in request.route
        assert request.route.startswith(request.method + " /websites")


def test_what_would_make_two_of_something_is_not_repeated():
    single = {request.route for _number, _line, request in TABLE if not request.repeatable}
    assert single == {
        "POST /websites",
        "POST /websites/{website-id}/funnels",
        "POST /websites/{website-id}/forms",
        "POST /websites/{website-id}/feedback",
        "POST /websites/{website-id}/recordings/{recording-id}/share",
        "POST /websites/{website-id}/heatmaps/share",
    }


@pytest.mark.parametrize("website", ["", ".", ".."])
def test_an_id_that_would_make_another_path_is_refused(website):
    with pytest.raises(ValueError, match="website-id"):
        recordings.list(website)


async def test_an_id_can_not_leave_its_place_in_the_path(api, wire):
    request = replace(recordings.detail("a/../b?c#d", "%2e%2e/e f"), read=bytes)
    await api.send(request)
    assert wire.got[0].target == ("/websites/a%2F..%2Fb%3Fc%23d/recordings/%252e%252e%2Fe%20f")


def test_undocumented_arguments_are_sent_only_when_asked_for():
    assert recordings.list(W).query == ()
    request = recordings.list(W, limit=0, offset=20, expand=True)
    assert request.query == (("limit", "0"), ("offset", "20"), ("expand", "true"))


async def test_many_recordings_are_tagged_by_one_undocumented_call(api, wire):
    for request in (recordings.bulk_tag(W, "a b", [R, X]), recordings.bulk_untag(W, "a b", [R])):
        await api.send(request)
    put, taken = wire.got
    assert (put.method, put.target) == ("POST", f"/websites/{W}/recordings/bulktag?tag=a%20b")
    assert json.loads(put.body) == [R, X]
    assert (taken.method, json.loads(taken.body)) == ("DELETE", [R])


@pytest.mark.parametrize(
    "call",
    [
        lambda: websites.set_recording_status(W, "Paused"),  # type: ignore[arg-type]
        lambda: websites.update(W),
        lambda: websites.update(W, recording_rate=101),
        lambda: recordings.tag(W, R, "a,b"),
        lambda: recordings.tag(W, R, " "),
        lambda: recordings.edit_variables(W, R, {}),
        lambda: recordings.edit_variables(W, R, {"a=b": "c"}),
        lambda: recordings.list(W, limit=-1),
        lambda: heatmaps.page(W, ""),
        lambda: funnels.edit(W, X),
        lambda: forms.edit(W, X),
        lambda: forms.available(W, ""),
    ],
)
def test_what_the_api_could_not_take_is_refused_before_it_is_sent(call):
    with pytest.raises(ValueError, match=r"\w"):
        call()


def test_forms_and_funnels_send_only_what_changes():
    assert forms.edit(W, X, alias="New").body == b'{"alias":"New"}'
    assert funnels.edit(W, X, name="New").body == b'{"name":"New"}'
    assert forms.edit(W, X, fields=[("a", None)]).body == b'{"fields":[{"target":"a"}]}'
    assert websites.update(W, merge_urls=[]).body == b'{"mergeUrls":[]}'


@pytest.mark.parametrize(
    "build",
    [
        lambda: recordings.edit_variables("w", "r", {"a": None}),
        lambda: recordings.edit_variables("w", "r", {"a": True}),
        lambda: recordings.edit_variables("w", "r", ["a"]),
        lambda: recordings.edit_variables("w", "r", {"a": [1]}),
        lambda: recordings.edit_variables("w", "r", {1: "a"}),
        lambda: recordings.detail(None, "r"),
        lambda: recordings.detail("w", 7),
        lambda: recordings.tag("w", "r", None),
        lambda: recordings.bulk_tag("w", "t", [1]),
        lambda: websites.update("w", domains=[1]),
        lambda: websites.update("w", anonymize_ips="yes"),
        lambda: websites.update("w", recording_rate=True),
        lambda: websites.update("w", recording_rate=2.5),
        lambda: websites.update("w", recording_rate=101),
        lambda: websites.update("w", width="900"),
        lambda: websites.create(None),
        lambda: websites.reorder([1]),
        lambda: funnels.create("w", 5, []),
        lambda: funnels.create("w", "n", [("home",)]),
        lambda: funnels.create("w", "n", "ab"),
        lambda: funnels.create("w", "n", [("", "/")]),
        lambda: forms.edit("w", "f", alias=5),
        lambda: forms.create("w", "", "t"),
        lambda: forms.create("w", "/", "t", fields=["ab", "abc"]),
        lambda: heatmaps.page("w", 5),
        lambda: heatmaps.urls("w", search=5),
        lambda: forms.available("w", None),
    ],
)
def test_an_argument_that_cannot_be_meant_is_refused_before_anything_is_sent(build):
    with pytest.raises(ValueError, match=r"\w"):
        build()


def test_one_domain_is_a_list_of_one_and_a_number_of_numpy_is_its_number():
    assert websites.update("w", domains="a.com").body == b'{"domains":["a.com"]}'

    class Int64:
        shape = ()

        def item(self):
            return 3

    assert recordings.edit_variables("w", "r", {"cart": Int64()}).body == b'{"cart":3}'


NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def simulated():
    """A simulated account with the document's two websites, and somebody who calls it."""
    plan = Plan(per_day=40, since=(NOW - timedelta(days=10)).date())
    sim = Simulator(
        seed=3,
        users={"my@email.com": "token1234"},
        now=lambda: NOW,
        sites=[website(W, "myshop.com", plan=plan, seed=3), website(SECOND, "other.example")],
    )
    return httpx.AsyncClient(
        transport=InProcess(sim.mouseflow_app),
        base_url="https://api-us.mouseflow.com",
        auth=("my@email.com", "token1234"),
    )


async def names_there(caller):
    """What stands for the document's placeholders in the simulated account, by their kind."""

    async def first(path, key):
        found = (await caller.get(f"/websites/{W}/{path}")).json()
        rows = found if isinstance(found, list) else next(iter(found.values()))
        return rows[0][key] if rows else X  # the last one was deleted

    urls = (await caller.get(f"/websites/{W}/pagelist/urls")).json()
    return {
        "{website-id}": W,
        "{recording-id}": await first("recordings", "id"),
        "{funnel-id}": await first("funnels", "funnelId"),
        "{form-id}": await first("forms", "formId"),
        "{feedback-id}": await first("feedback", "campaignId"),
        "{my-tag}": "my-tag",
        "{url}": quote(
            urls[0] if isinstance(urls, list) else next(iter(urls.values()))[0], safe=""
        ),
    }


OPTIONAL = frozenset({"token", "visitorName", "answers", "randomize"})
"""Keys that only shared recordings, named visitors and questions with choices have."""


def alike(sample, answer, place=""):
    """Where the answer lacks a key of the sample, or has a value of another type there."""
    kinds = {
        bool: "flag",
        int: "number",
        float: "number",
        str: "text",
        dict: "object",
        list: "list",
    }
    if sample is None or answer is None:
        return
    if kinds[type(sample)] != kinds[type(answer)]:
        yield f"{place}: {type(answer).__name__}, not {type(sample).__name__}"
    elif isinstance(sample, dict):
        for key, value in sample.items():
            if key in answer:
                yield from alike(value, answer[key], f"{place}.{key}")
            elif value is not None and key not in OPTIONAL and not re.match(r"\d{4}-", key):
                yield f"{place}.{key}: missing"
    elif isinstance(sample, list) and sample and answer:
        yield from alike(sample[0], answer[0], f"{place}[0]")


async def test_every_curl_line_is_answered_as_documented_by_the_simulator():
    caller = simulated()
    wrong, with_sample = [], 0
    async with caller:
        # Something must be there before it is read: what creates comes first.
        early = {f"POST /websites/{{website-id}}/{it}" for it in ("funnels", "forms", "feedback")}
        for number, line, request in sorted(TABLE, key=lambda it: it[2].route not in early):
            for name, value in (await names_there(caller)).items():
                line = line.replace(name, value)
            call = read_curl(line)
            answer = await caller.request(
                call.method, f"{call.path}{'?' * bool(call.query)}{call.query}",
                content=call.body, headers={"accept": "application/json"},
            )  # fmt: skip
            if not 200 <= answer.status_code < 300:
                wrong.append(f"L{number}: {answer.status_code} {answer.text[:80]}")
                continue
            for name in (name for name, it in READERS.items() if it.route == request.route):
                with_sample += 1
                sample = json.loads((SAMPLES / f"{name}.json").read_text())
                wrong += [f"L{number} {it}" for it in alike(sample, answer.json(), name)]
    assert "\n".join(wrong) == ""
    assert len(TABLE) == 48
    assert with_sample == 26
