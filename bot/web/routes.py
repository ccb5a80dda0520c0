"""The pages and their JSON twins: one table, so that both show the same and are documented."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import groupby
from typing import Any, Literal

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from bot.domain.press import MORNING
from bot.web import views
from bot.web.facts import Facts
from bot.web.openapi import Parameter, View, document
from bot.web.pages import Clock
from bot.web.read import activity as read_activity
from bot.web.read import recording as read_recording
from bot.web.read.activity import FILTER_NAMES, PAGE, activity, day_of
from bot.web.read.budgets import budgets
from bot.web.read.overview import overview
from bot.web.read.queue import queue
from bot.web.read.recording import match_page, recording
from bot.web.read.reports import reports
from bot.web.read.rules import STATES, rule, rules
from bot.web.read.world import ROWS, Span, World
from bot.web.shared import Web, web_of
from bot.web.stream import Shown, stream

MOST_ENTRIES = 1_000
MOST_NUMBER = 2**53
"""The largest number that every reader of JSON keeps exact."""

Work = Callable[[World], Any]


class Bad(HTTPException):
    """A parameter that can't be understood."""

    def __init__(self, name: str, what: str) -> None:
        super().__init__(422, f"{name}: {what}")


def _number(given: Mapping[str, str], name: str, most: int, default: int | None) -> int | None:
    """A whole number of the query; raises Bad."""
    text = given.get(name, "")
    if not text:
        return default
    # Also 72.0, which is a whole number in JSON Schema.
    whole = text.removesuffix(".0")
    if not whole.isascii() or not whole.isdigit() or len(whole) > 18 or not 1 <= int(whole) <= most:
        raise Bad(name, f"write a whole number from 1 to {most}")
    return int(whole)


def _choice(given: Mapping[str, str], name: str, choices: Sequence[str]) -> str:
    value = given.get(name, "")
    if value and value not in choices:
        raise Bad(name, f"write one of {', '.join(choices)}")
    return value


def _span(given: Mapping[str, str]) -> Span:
    """The page of a list that is asked for; raises Bad."""
    page = _number(given, "page", MOST_NUMBER, None) or 1
    return Span(page, _number(given, "limit", MOST_ENTRIES, None) or ROWS)


def _overview(given: Mapping[str, str], _facts: Facts) -> Work:
    span = _span(given)
    return lambda seen: overview(seen, span)


def _rules(given: Mapping[str, str], _facts: Facts) -> Work:
    chosen, span = _choice(given, "state", STATES), _span(given)
    return lambda seen: rules(seen, span, state=chosen)


def _rule(given: Mapping[str, str], _facts: Facts) -> Work:
    return lambda seen: rule(seen, given["id"])


def _reports(_given: Mapping[str, str], _facts: Facts) -> Work:
    return reports


def _budgets(_given: Mapping[str, str], _facts: Facts) -> Work:
    return budgets


def _activity(given: Mapping[str, str], facts: Facts, *, whole: bool = False) -> Work:
    try:
        since = day_of(given.get("from", ""), facts.zone, facts.clock())
    except ValueError:
        raise Bad("from", "write a date such as 2026-11-24") from None
    return partial(
        activity,
        kind=_choice(given, "kind", tuple(read_activity.FILTERS)),
        rule=given.get("rule", ""),
        website=given.get("website", ""),
        since=since,
        before=_number(given, "before", MOST_NUMBER, None),
        limit=_number(given, "limit", MOST_ENTRIES, PAGE) or PAGE,
        whole=whole,
    )


def _queue(given: Mapping[str, str], _facts: Facts) -> Work:
    span = _span(given)
    return lambda seen: queue(seen, span, lane=given.get("lane", ""))


def _recording(given: Mapping[str, str], _facts: Facts) -> Work:
    return lambda seen: recording(seen, given["id"])


def _match(given: Mapping[str, str], _facts: Facts) -> Work:
    before = _number(given, "before", MOST_NUMBER, None)
    limit = _number(given, "limit", MOST_ENTRIES, read_recording.PAGE) or read_recording.PAGE
    return lambda seen: match_page(seen, given["key"], before, limit)


Values = Callable[[Web, Mapping[str, str], Any], Mapping[str, Any]]


def _nothing(_web: Web, _given: Mapping[str, str], _view: Any) -> Mapping[str, Any]:
    return {}


def _of_overview(_web: Web, _given: Mapping[str, str], view: views.Overview) -> Mapping[str, Any]:
    return {"first_run": not view.matches}


def _of_rules(_web: Web, given: Mapping[str, str], view: views.Rules) -> Mapping[str, Any]:
    return {"chosen": given.get("state", ""), "total": view.total}


def _of_rule(web: Web, _given: Mapping[str, str], view: views.Rule) -> Mapping[str, Any]:
    zone = web.facts.zone
    local = web.facts.clock().astimezone(zone)
    return {
        "topic": f"rule:{view.row.id}",
        "snoozes": [(key, words) for key, words, _until in snoozes(local)],
    }


def snoozes(local: datetime) -> list[tuple[str, str, datetime]]:
    """The ends of a snooze that the page offers: (value, words, when)."""
    hour = (local.astimezone(UTC) + timedelta(hours=1)).astimezone(local.tzinfo)
    tomorrow = _in_the_morning(local.date() + timedelta(days=1), local)
    monday = _in_the_morning(local.date() + timedelta(days=7 - local.weekday()), local)
    return [
        ("1h", f"in 1 hour ({hour:%H:%M})", hour),
        ("tomorrow", f"tomorrow {MORNING:%H:%M}", tomorrow),
        ("monday", f"Monday {MORNING:%H:%M}", monday),
    ]


def _in_the_morning(day: date, local: datetime) -> datetime:
    return datetime.combine(day, MORNING, tzinfo=local.tzinfo)


def _of_budgets(web: Web, _given: Mapping[str, str], view: views.Budgets) -> Mapping[str, Any]:
    return {"unchecked": 0 if view.budgets else len(web.facts.rules().budgets)}


def _of_match(web: Web, given: Mapping[str, str], view: views.MatchPage) -> Mapping[str, Any]:
    known = any(rule.id == view.match.rule_id for rule in web.facts.rules().rules)
    return {"key": given["key"], "first_page": not given.get("before"), "known": known}


def _of_activity(web: Web, given: Mapping[str, str], view: views.Activity) -> Mapping[str, Any]:
    zone, now = web.facts.zone, web.facts.clock()
    clock = Clock(zone, now)
    days = [
        (day, list(entries)) for day, entries in groupby(view.entries, lambda it: clock.day(it.at))
    ]
    chosen = {
        "kind": given.get("kind", ""),
        "rule": given.get("rule", ""),
        "website": given.get("website", ""),
        "from_": given.get("from", ""),
    }
    live = "" if given.get("before") else "activity"
    return {"days": days, "chosen": chosen, "kinds": FILTER_NAMES, "topic": live}


@dataclass(frozen=True, slots=True)
class Page:
    """A page: where it is, what it shows, and the template's own values."""

    path: str
    view: View
    here: str
    topic: str
    work: Callable[[Mapping[str, str], Facts], Work]
    values: Values = field(default=_nothing)


def _query(
    name: str, about: str, kind: Literal["string", "integer"] = "string", **more: Any
) -> Parameter:
    return Parameter(name, "query", about, {"type": kind, **more})


def _paging(rows: str) -> tuple[Parameter, ...]:
    return (
        _query("page", f"Which page of the {rows}, from 1 on; the last one if there are fewer.",
               "integer", minimum=1, maximum=MOST_NUMBER),
        _query("limit", f"How many {rows} a page at most.", "integer",
               minimum=1, maximum=MOST_ENTRIES),
    )  # fmt: skip


PAGES = {
    "index": Page("/", View("overview", views.Overview, "Is all well, and if not, what to do.",
                            _paging("websites")),
                  "Overview", "overview", _overview, _of_overview),
    "rules": Page("/rules", View("rules", views.Rules, "All rules, problems first.", (
                      _query("state", "Only rules in this state.", enum=["", *STATES]),
                      *_paging("rules"))),
                  "Rules", "rules", _rules, _of_rules),
    "rule": Page("/rules/{id}", View("rules/{id}", views.Rule, "One rule."),
                 "Rules", "rule", _rule, _of_rule),
    "reports": Page("/reports", View("reports", views.Reports,
                        "When weekly reports are due, and the latest ones."),
                    "Rules", "", _reports),
    "budgets": Page("/budgets", View("budgets", views.Budgets, "All budgets."),
                    "Budgets", "budgets", _budgets, _of_budgets),
    "activity": Page("/activity", View("activity", views.Activity, "The audit log in words.", (
                         _query("kind", "What happened.", enum=["", *read_activity.FILTERS]),
                         _query("rule", "Only this rule."),
                         _query("website", "Only the website of this name."),
                         _query("from", "From this day on; empty for all.",
                                anyOf=[{"const": ""}, {"format": "date"}]),
                         _query("before", "Entries before this number.", "integer",
                                minimum=1, maximum=MOST_NUMBER),
                         _query("limit", "How many at most.", "integer",
                                minimum=1, maximum=MOST_ENTRIES),
                     )), "Activity", "activity", _activity, _of_activity),
    "queue": Page("/queue", View("queue", views.Queue, "What waits, and what failed for good.", (
                      _query("lane", "Only this lane."), *_paging("lanes"))),
                  "Queue", "queue", _queue),
    "recording": Page("/recordings/{id}", View("recordings/{id}", views.Recording,
                                               "One recording, as the store knows it."),
                      "Activity", "", _recording),
    "match": Page("/matches/{key:path}", View("matches/{key}", views.MatchPage,
                      "One match, or the matches of a count or a digest.", (
                          _query("before", "Matches before this number.", "integer",
                                 minimum=1, maximum=MOST_NUMBER),
                          _query("limit", "How many matches at most.", "integer",
                                 minimum=1, maximum=MOST_ENTRIES),
                      )), "Activity", "", _match, _of_match),
}  # fmt: skip


def given_of(request: Request) -> dict[str, str]:
    """The parameters in the path and the query."""
    return {**request.query_params, **request.path_params}


async def read(web: Web, page: Page, given: Mapping[str, str]) -> Any:
    """What the page shows; raises HTTPException if there is no such thing."""
    view = await web.read(page.work(given, web.facts))
    if view is None:
        raise HTTPException(404)
    return view


def _asked(page: Page, given: Mapping[str, str]) -> dict[str, str]:
    """The parameters of the page that are given: links and streams carry them on."""
    return {it.name: given[it.name] for it in page.view.parameters if it.name in given}


def values_of(web: Web, page: Page, given: Mapping[str, str], view: Any) -> dict[str, Any]:
    """What the template needs beside the values of every page."""
    base = {"view": view, "frame": view.frame, "here": page.here, "topic": page.topic,
            "asked": _asked(page, given)}  # fmt: skip
    return base | dict(page.values(web, given, view))


def _shown(name: str) -> Callable[[Request], Any]:
    async def show(request: Request) -> Response:
        web, page, given = web_of(request), PAGES[name], given_of(request)
        view = await read(web, page, given)
        return web.page(request, name, values_of(web, page, given, view))

    return show


def _json(name: str) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        view = await read(web_of(request), PAGES[name], given_of(request))
        return json_response(view)

    return answer


def json_response(value: Any, status: int = 200) -> Response:
    """A value as JSON."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


async def activity_lines(request: Request) -> Response:
    """Every entry of the audit log that meets the filters, newest first, one JSON object a line."""
    web = web_of(request)
    given = {**given_of(request), "limit": str(MOST_ENTRIES)}
    first = await web.read(_activity(given, web.facts, whole=True))

    async def lines() -> AsyncIterator[bytes]:
        found = first
        while True:
            yield b"".join(msgspec.json.encode(entry) + b"\n" for entry in found.entries)
            if found.older is None:
                return
            further = {**given, "before": str(found.older)}
            found = await web.read(_activity(further, web.facts, whole=True))

    named = {"Content-Disposition": 'attachment; filename="mouseflow-bot-activity.jsonl"'}
    return StreamingResponse(lines(), media_type="application/x-ndjson", headers=named)


async def openapi(_request: Request) -> Response:
    """The document of the API."""
    return json_response(document([page.view for page in PAGES.values()]))


async def index_of_api(request: Request) -> Response:
    """Where everything is."""
    root = web_of(request).root
    paths = [f"{root}/api/v1/{page.view.path}" for page in PAGES.values()]
    return json_response({"openapi": f"{root}/api/v1/openapi.json", "paths": paths})


async def events(request: Request) -> Response:
    """What changes on a page, as it changes."""
    web = web_of(request)
    topic = request.query_params.get("topic", "")
    kind, _, key = topic.partition(":")
    name = next((name for name, page in PAGES.items() if page.topic == kind and kind), None)
    if name is None or (name == "rule") != bool(key):
        raise Bad("topic", "write one of overview, rules, rule:ID, budgets, activity, queue")
    page = PAGES[name]
    given = _asked(page, request.query_params) | {"id": key}

    def parts(view: Any) -> dict[str, str]:
        values = web.values(request) | values_of(web, page, given, view)
        return {part: web.rooted(html) for part, html in web.pages.parts(name, values)}

    # Who is logged in sees forms of their own.
    whose = web.cookie_of(request) if web.logged_in(request) else ""
    shown = None if name == "activity" else Shown(page.work(given, web.facts), parts, key)
    return await stream(request, web.hub, f"{topic} {sorted(given.items())} {whose}", shown)


ROUTES = [
    Route("/api/v1", index_of_api),
    Route("/api/v1/", index_of_api),
    Route("/api/v1/openapi.json", openapi),
    Route("/activity.jsonl", activity_lines, methods=["GET"]),
    Route("/api/v1/stream", events, methods=["GET"]),
    *(Route(f"/api/v1/{page.view.path}".replace("{key}", "{key:path}"), _json(name))
      for name, page in PAGES.items()),
    *(Route(page.path, _shown(name)) for name, page in PAGES.items()),
]  # fmt: skip
