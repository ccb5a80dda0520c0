"""What the API aggregates over many sessions: funnels, forms, page lists and feedback."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from mouseflow.simulator import filters, ids, timeline
from mouseflow.simulator.clock import moment
from mouseflow.simulator.filters import Query, Window
from mouseflow.simulator.sessions import Snapshot, View
from mouseflow.simulator.site import Campaign, Form, Funnel, Site
from mouseflow.simulator.timeline import Found, pack
from mouseflow.simulator.traffic import DAY
from mouseflow.simulator.world import World


def sessions(world: World, site: Site, found: Found) -> Iterator[tuple[Snapshot, int]]:
    """The found sessions; ended ones with the same script come once, with their number."""
    now = world.now()
    settled = now - timeline.scripts(site).longest
    tally: Counter[int] = Counter()
    for zero, _, picks in timeline.starts(site, found):
        day = timeline.day_of(zero)
        known = timeline.arrived(site, day)
        marked = site.marked.get(day, set())
        for i in picks:
            if zero + known.starts[i] <= settled and i not in marked:
                tally[known.kinds[i]] += 1
            else:
                yield from _one(world, site, pack(day, i))
    for i in found.planted:
        yield from _one(world, site, pack(timeline.PLANTED, i))
    finals = timeline.scripts(site).finals
    yield from ((finals[kind], many) for kind, many in tally.items())


def _one(world: World, site: Site, ref: int) -> Iterator[tuple[Snapshot, int]]:
    visit = timeline.find_visit(site, ref)
    if visit is not None:
        yield world.observed(site, visit), 1


# Funnels


def funnel_report(funnel: Funnel, counted: list[tuple[Snapshot, int]] | None) -> dict[str, Any]:
    """A funnel with the visitors on each step (L2320); None for a new funnel."""
    reached: Counter[int] = Counter()
    for state, many in counted or ():
        for step in range(_depth(funnel, state)):
            reached[step] += many
    return {
        "funnelId": funnel.id,
        "name": funnel.name,
        "steps": [
            {"name": name, "url": url, "count": reached[n]}
            for n, (name, url) in enumerate(funnel.steps)
        ],
    }


def _depth(funnel: Funnel, state: Snapshot) -> int:
    depth = 0
    for view in state.views:
        if depth < len(funnel.steps) and view.page.path == funnel.steps[depth][1]:
            depth += 1
    return depth


# Forms


def form_row(form: Form, counted: list[tuple[Snapshot, int]], *, full: bool) -> dict[str, Any]:
    """A form with its counters (L2656); `full` adds the fields of the report (L2807)."""
    visits = interactions = submits = failures = 0
    for state, many in counted:
        views = [view for view in state.views if view.page.path == form.url]
        if not views:
            continue
        tags = {event.tag for view in views for event in view.page.events}
        visits += many
        interactions += many * ("form-interact" in tags)
        submits += many * ("submit" in tags)
        failures += many * ("submit" in tags and "submit-failure" in tags)
    return {
        "formId": form.id,
        "url": form.url,
        "target": form.target,
        "alias": form.alias,
        "fields": [_field(form, n, interactions, submits, full) for n in range(len(form.fields))],
        "visits": visits,
        "interactions": interactions,
        "submits": submits,
        "success": submits - failures,
    }


def _field(form: Form, n: int, interactions: int, submits: int, full: bool) -> dict[str, Any]:
    target, alias, kind = form.fields[n]
    touched = interactions - (interactions - submits) * n // max(len(form.fields), 1)
    answer: dict[str, Any] = {
        "target": target, "alias": alias, "type": kind, "interactions": touched,
    }  # fmt: skip
    if full:
        draw = ids.number("field", form.id, target)
        answer |= {
            "startTime": 35 + n * 9_000,
            "duration": 2_400 + draw % 16_000,
            "refills": touched * (draw % 7) // 100,
            "blanks": touched * (draw % 3) // 100,
            "dropped": (interactions - submits) // max(len(form.fields), 1),
        }
    return answer


# Page lists


@dataclass(slots=True)
class _Tally:
    views: int = 0
    stay: int = 0
    engaged: int = 0
    scroll: int = 0
    clicks: int = 0
    title: str = ""


def pages(
    world: World, site: Site, query: Query, window: Window, user: str
) -> list[dict[str, Any]]:
    """The heatmap pages with their averages (L1804), the most viewed first."""
    found = world.find(site, _visitor_filters(query), window, user)
    tallies: dict[str, _Tally] = {}
    for state, many in sessions(world, site, found):
        for view in state.views:
            if filters.matches_view(query, state, view):
                _add(tallies.setdefault(display_url(site, view.page.path), _Tally()), view, many)
    rows = [_page_row(site, path, tally) for path, tally in tallies.items()]
    return sorted(rows, key=lambda row: (-row["views"], row["displayUrl"]))


def _visitor_filters(query: Query) -> Query:
    """The part of the filters that a page list applies to sessions (L4301)."""
    return Query(
        country=query.country, device=query.device, browser=query.browser, os=query.os,
        visitortype=query.visitortype, referrer=query.referrer, screenres=query.screenres,
        vars=query.vars,
    )  # fmt: skip


def _add(tally: _Tally, view: View, many: int) -> None:
    tally.views += many
    tally.stay += view.stay * many
    tally.engaged += view.engaged * many
    tally.scroll += view.page.scroll * many
    tally.clicks += (1 + view.engaged // 9_000) * many
    tally.title = view.page.title


def _page_row(site: Site, path: str, tally: _Tally) -> dict[str, Any]:
    draw = ids.number("page", site.id, path)
    row: dict[str, Any] = {"displayUrl": path, "uri": f"https://{site.host}{path}"}
    if path in site.shared_pages:
        row["token"] = site.shared_pages[path]
    return row | {
        "title": tally.title,
        "views": tally.views,
        "visitTime": tally.stay // tally.views,
        "engagementTime": tally.engaged // tally.views,
        "clicks": tally.clicks,
        "renderTime": 900 + draw % 2_800,
        "scroll": tally.scroll // tally.views,
        "fold": 700 + draw % 240,
        "height": 1_300 + draw % 4_000,
        "size": 8_000 + draw % 30_000,
    }


def display_url(site: Site, path: str) -> str:
    """The path of a page in the page list, merged by the website's `mergeUrls` (L327)."""
    merged = (str(pattern) for pattern in site.settings.get("mergeUrls", ()))
    return next((pattern for pattern in merged if fnmatchcase(path, pattern)), path)


# Feedback


def campaign_report(world: World, one: Campaign, window: Window) -> dict[str, Any]:
    """A campaign with its report (L3314)."""
    report: Any = _report(world, one, window)
    if world.quirks.report_as_list:
        report = [report]
    return {"campaignId": one.id, **one.settings, "report": report, "isLocked": False}


def _report(world: World, one: Campaign, window: Window) -> dict[str, Any]:
    since, until = world.range(window)
    if not world.quirks.feedback_filters:  # counts from 30 days before the start of the simulation
        since, until = world.born - 30 * DAY, world.now() + 1
    until = min(until, world.now() + 1)
    chart: dict[str, int] = {}
    impressions = 0
    for day in range(since // DAY, (max(until, since + 1) - 1) // DAY + 1):
        low, high = max(since, day * DAY), min(until, (day + 1) * DAY)
        steady = _steady(one, day, high) - _steady(one, day, low)
        extra = sum(1 for at in one.extra if low <= at < high)
        impressions += round(steady / one.rate) + extra * 4 if one.rate else 0
        chart[moment(day * DAY).strftime("%Y-%m-%dT00:00:00")] = steady + extra
    responses = sum(chart.values())
    empty = not impressions and not responses
    return {
        "impressions": impressions,
        "responses": responses,
        "responseChart": {} if empty else chart,
    }


def _steady(one: Campaign, day: int, until: int) -> int:
    """How many steady responses the day had before `until` (ms)."""
    if not one.settings.get("enabled", True):
        return 0
    whole = one.per_day * (0.7 + ids.number("feedback", one.id, day) % 600 / 1000)
    return int(whole * (until - day * DAY) / DAY)
