"""The subject that a rule's test gives, made from plain values."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from bot.domain.subjects import (
    Band,
    CampaignSubject,
    FormField,
    FormSubject,
    FunnelStep,
    FunnelSubject,
    Kind,
    PageSubject,
    RecordingSubject,
    Site,
    Subject,
    WebsiteSubject,
)
from bot.rules.model import Rule, RuleTest
from bot.rules.units import WEEKDAYS
from mouseflow.models import PageView, Recording

Given = Mapping[str, Any]

MONDAY_NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
"""When the sessions of tests start, unless a test gives a weekday or an hour."""

_MANY = 1_000_000
"""The whole that a given share is taken of, where the test gives no whole."""

_AS_THEY_ARE = (
    "country", "region", "city", "isp", "ip", "lang", "browser", "browser_version", "os",
    "os_version", "device", "user_agent", "referrer", "referrer_type", "visitor_id",
    "visitor_name", "watched", "starred", "entry_page",
)  # fmt: skip


def subject(rule: Rule, test: RuleTest) -> Subject:
    """What the rule is tried on. What the test does not give, the subject does not have."""
    return _MAKERS[rule.watch](_site(rule, test.given), test.given)


def _site(rule: Rule, given: Given) -> Site:
    """The website given, or one that the rule watches."""
    if "website" in given:
        return Site(given["website"], given["website"])
    watched = rule.websites[0] if rule.websites else "example.com"
    name = watched.replace("*", "www").replace("?", "x")
    return Site(name, name)


def _recording(site: Site, given: Given) -> RecordingSubject:
    views = _views(given)
    created = _created(given)
    duration = given.get("duration")
    count = given.get("pages")
    recording = Recording(
        id="recording",
        created=created,
        last_activity=created + timedelta(milliseconds=duration or 0),
        duration=duration,
        pages=int(count) if isinstance(count, int | float) else len(views) or None,
        screen_res=given.get("screen"),
        entry=given.get("entry_url"),
        tags=tuple(given.get("tags", ())),
        variables=tuple(f"{key}={value}" for key, value in given.get("variables", ())),
        token="given" if given.get("shared") else None,
        page_views=views,
        **{name: given[name] for name in _AS_THEY_ARE if name in given},
    )
    friction = given.get("friction")
    return RecordingSubject(
        website=site,
        recording=recording,
        friction=None if friction is None else Band.exactly(friction),
        visitor_type=given.get("visitor_type"),
    )


def _created(given: Given) -> datetime:
    """An instant on the weekday and at the hour given."""
    word = str(given.get("weekday", "mon")).casefold()[:3]
    hour = int(given.get("hour", MONDAY_NOON.hour))
    return MONDAY_NOON.replace(hour=min(hour, 23)) + timedelta(days=WEEKDAYS.index(word))


def _views(given: Given) -> tuple[PageView, ...]:
    """All page views that the test names, in its order; `exit_page` is the last of them."""
    listed = [given[name] for name in ("pages", "journey", "saw_page", "page") if name in given]
    rows = [row for rows in listed if isinstance(rows, tuple) for row in rows]
    if "exit_page" in given:
        rows.append({"path": given["exit_page"]})
    return tuple(_view(row) for row in rows)


def _view(row: Given) -> PageView:
    scroll = row.get("scroll")
    return PageView(
        website_page=row.get("path"),
        title=row.get("title"),
        visit_time=row.get("time"),
        engagement_time=row.get("engagement"),
        scroll=None if scroll is None else round(scroll),
        tags=tuple(row.get("tags", ())),
    )


def _campaign(site: Site, given: Given) -> CampaignSubject:
    name = given.get("campaign", "campaign")
    whole, part = _share(given, "impressions", "responses", "response_rate")
    return CampaignSubject(
        website=site,
        id=name,
        name=name,
        enabled=given.get("enabled"),
        responses=part,
        impressions=whole,
        new_responses=_count(given, "new_responses"),
    )


def _funnel(site: Site, given: Given) -> FunnelSubject:
    name = given.get("funnel", "funnel")
    steps = _steps(given.get("step", ()))
    if not steps:
        entered, completed = _share(given, "entered", "completed", "conversion")
        ends = (("first step", entered), ("last step", completed))
        steps = tuple(FunnelStep(step, "", count) for step, count in ends if count is not None)
    return FunnelSubject(website=site, id=name, name=name, steps=steps)


def _steps(rows: Sequence[Given]) -> tuple[FunnelStep, ...]:
    """The steps given. A count that is missing follows from the step before."""
    steps: list[FunnelStep] = []
    before = _MANY
    for row in rows:
        count = _count(row, "count")
        if count is None and "dropped" in row:
            count = before - int(row["dropped"])
        if count is None:
            count = round(before * row.get("conversion", 100.0) / 100)
        if not steps and ("dropped" in row or "conversion" in row):
            steps.append(FunnelStep("before", "", before))
        steps.append(FunnelStep(row.get("name", f"step {len(steps) + 1}"), "", count))
        before = count
    return tuple(steps)


def _form(site: Site, given: Given) -> FormSubject:
    name = given.get("form", "form")
    whole, part = _share(given, "interactions", "success", "completion")
    return FormSubject(
        website=site,
        id=name,
        name=name,
        url=given.get("url", ""),
        visits=_count(given, "visits"),
        interactions=whole,
        submits=_count(given, "submits"),
        success=part,
        fields=tuple(_form_field(row) for row in given.get("field", ())),
    )


def _form_field(row: Given) -> FormField:
    return FormField(
        name=row.get("name", "field"),
        type=row.get("type", ""),
        interactions=_count(row, "interactions"),
        time=_count(row, "time"),
        refills=_count(row, "refills"),
        blanks=_count(row, "blanks"),
        dropped=_count(row, "dropped"),
    )


def _page(site: Site, given: Given) -> PageSubject:
    return PageSubject(
        website=site,
        path=given.get("path", "/"),
        title=given.get("title", ""),
        views=_count(given, "views"),
        visit_time=_count(given, "visit_time"),
        engagement_time=_count(given, "engagement_time"),
        clicks=_count(given, "clicks"),
        render_time=_count(given, "render_time"),
        scroll=given.get("scroll"),
    )


def _website(site: Site, given: Given) -> WebsiteSubject:
    return WebsiteSubject(
        website=site,
        status=given.get("status"),
        recording_rate=_count(given, "recording_rate"),
        budget_used=given.get("budget_used"),
    )


def _count(given: Given, name: str) -> int | None:
    value = given.get(name)
    return None if value is None else round(value)


def _share(given: Given, whole: str, part: str, share: str) -> tuple[int | None, int | None]:
    """The whole and its part, where a test may give their share instead of one of them."""
    all_of, some_of = _count(given, whole), _count(given, part)
    if share in given:
        all_of = _MANY if all_of is None else all_of
        some_of = round(all_of * given[share] / 100) if some_of is None else some_of
    return all_of, some_of


_MAKERS: Mapping[Kind, Callable[[Site, Given], Subject]] = {
    "recordings": _recording,
    "feedback": _campaign,
    "funnels": _funnel,
    "forms": _form,
    "pages": _page,
    "websites": _website,
}
