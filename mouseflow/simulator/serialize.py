"""The API's answers as JSON values, in the shapes of the document's samples."""

from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from mouseflow.simulator import ids, timeline
from mouseflow.simulator.clock import moment
from mouseflow.simulator.quirks import Quirks
from mouseflow.simulator.sessions import Snapshot, View, Visitor, snapshot
from mouseflow.simulator.site import Marks, Site
from mouseflow.simulator.timeline import Visit
from mouseflow.simulator.world import World

WEBSITE_ROW = ("id", "name", "created", "status", "thumb", "readOnly", "cdnDomainName", "isDemo")
CREATED_WEBSITE = (
    "id", "name", "created", "status", "readOnly", "domains", "recordingRate", "anonymizeIps",
    "disableKeystrokes", "excludedIps",
)  # fmt: skip
_NO_MARKS = Marks()


def website_row(site: Site) -> dict[str, Any]:
    """A row of the website list (L114-135)."""
    return {key: site.settings[key] for key in WEBSITE_ROW if key in site.settings}


def instant(zone: ZoneInfo, ms: int, fraction: int) -> str:
    """A time with seven fractional digits and the zone's offset (L738)."""
    text = moment(ms).astimezone(zone).isoformat(timespec="milliseconds")
    return f"{text[:23]}{fraction % 10_000:04d}{text[23:]}"


def row(world: World, site: Site, ref: int, user: str) -> dict[str, Any]:
    """A row of the recordings list (L737-770)."""
    visit = timeline.find_visit(site, ref)
    if visit is None:
        raise LookupError(ref)
    state = world.observed(site, visit)
    marks = site.marks.get(ref, _NO_MARKS)
    name = ids.recording_id(site.key, ref)
    first = state.views[0].page if state.views else None
    answer = _head(world, site, visit, state, marks, name)
    answer |= _traits(visit.script.visitor)
    answer |= {
        "ip": timeline.address(site, visit),
        "entry": f"https://{site.host}{first.path}{first.query}" if first else "",
        "entryPage": _entry_page(world, site, first.path) if first else "",
        "duration": state.duration,
        "pages": len(state.views),
    }
    answer |= _tail(site, visit, state, marks, user)
    answer["playbackUrl"] = f"/websites/{site.id}/recordings/{name}/play"
    return answer


def _entry_page(world: World, site: Site, path: str) -> str:
    return f"{site.host}{path}" if world.quirks.entry_page_host else path


def detail(world: World, site: Site, visit: Visit, user: str) -> dict[str, Any]:
    """A recording's detail (L913-977): page views, but no entry, pages or playback path."""
    state = world.observed(site, visit)
    marks = site.marks.get(visit.ref, _NO_MARKS)
    name = ids.recording_id(site.key, visit.ref)
    answer = _head(world, site, visit, state, marks, name)
    answer["pageViews"] = page_views(world, site, visit, state)
    answer["duration"] = state.duration
    if world.quirks.stale_detail and state.views:
        answer["duration"] = state.views[0].stay
        answer["lastActivity"] = answer["pageViews"][0]["endTime"]
    answer |= _traits(visit.script.visitor)
    answer["region"] = visit.script.visitor.region
    answer["ip"] = timeline.address(site, visit)
    answer |= _tail(site, visit, state, marks, user)
    return answer


def page_views(world: World, site: Site, visit: Visit, state: Snapshot) -> list[dict[str, Any]]:
    """The page views of a detail (L918-946)."""
    return [
        _page_view(world.zone, site, visit, index, view) for index, view in enumerate(state.views)
    ]


def _page_view(zone: ZoneInfo, site: Site, visit: Visit, index: int, view: View) -> dict[str, Any]:
    page = view.page
    start = visit.start + page.start
    fraction = ids.number("page", visit.ref, index)
    return {
        "id": ids.page_view_id(site.id, visit.ref, index),
        "startTime": instant(zone, start, fraction),
        "endTime": instant(zone, start + view.stay, fraction),
        "title": page.title,
        "uri": f"https://{site.host}{page.path}{page.query}",
        "websitePage": page.path,
        "visitTime": view.stay,
        "engagementTime": view.engaged,
        "scroll": page.scroll,
        "tags": list(view.tags),
    }


def _head(
    world: World, site: Site, visit: Visit, state: Snapshot, marks: Marks, name: str
) -> dict[str, Any]:
    answer: dict[str, Any] = {"id": name}
    if marks.token:  # absent, not null, when not shared (L771)
        answer["token"] = marks.token
    fraction = ids.number("instant", visit.ref)
    answer["created"] = instant(world.zone, visit.start, fraction)
    answer["lastActivity"] = instant(world.zone, visit.start + state.last, fraction)
    if world.quirks.friction_in_answers:
        answer["friction"] = state.friction
    return answer


@lru_cache(maxsize=4096)
def _traits(visitor: Visitor) -> dict[str, Any]:
    return {
        "country": visitor.country,
        "city": visitor.city,
        "isp": visitor.isp,
        "lang": visitor.lang,
        "userAgent": visitor.user_agent,
        "browser": visitor.browser,
        "browserVersion": visitor.browser_version,
        "os": visitor.os,
        "osVersion": visitor.os_version,
        "device": visitor.device,
        "referrer": visitor.referrer,
        "referrerType": visitor.referrer_type,
        "screenRes": visitor.screen,
        "lng": visitor.lng,
        "lat": visitor.lat,
    }


def _tail(site: Site, visit: Visit, state: Snapshot, marks: Marks, user: str) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "tags": list(state.tags),
        "variables": [f"{key}={value}" for key, value in state.variables],
        "watched": user in marks.watched,
        "starred": user in marks.starred,
        "visitorId": timeline.visitor_id(site, visit),
    }
    if visit.script.visitor.name:
        answer["visitorName"] = visit.script.visitor.name
    return answer


_IDENTITY = ("id", "created", "lastActivity", "token")


def with_quirks(rows: list[dict[str, Any]], quirks: Quirks) -> list[dict[str, Any]]:
    """The rows as a server with these quirks would send them."""
    if quirks.drop_optional_fields:
        rows = [{key: row[key] for key in _IDENTITY if key in row} for row in rows]
    for row in rows[: quirks.malformed_rows]:
        row["duration"] = "a while"
    return rows[::-1] if quirks.reversed_rows else rows


def known_tags(site: Site) -> list[str]:
    """Every tag of the website's recordings."""
    states = [*timeline.scripts(site).finals] if site.plan.per_day else []
    states += [snapshot(planted.script) for planted in site.planted]
    found = {tag for state in states for tag in state.all_tags}
    return sorted(found.union(*(marks.tagged for marks in site.marks.values())))


def known_variables(site: Site) -> list[str]:
    """Every variable key of the website's recordings (L1378)."""
    scripts = [*timeline.scripts(site).scripts] if site.plan.per_day else []
    scripts += [planted.script for planted in site.planted]
    found = {key for script in scripts for _, key, _ in script.variables}
    return sorted(found.union(*(marks.variables or {} for marks in site.marks.values())))
