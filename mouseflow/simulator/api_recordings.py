"""The endpoints for websites and recordings (L58-1745)."""

from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from starlette.responses import Response

from mouseflow.simulator import clock, filters, timeline
from mouseflow.simulator.bodies import WEBSITE, checked, required
from mouseflow.simulator.clock import moment
from mouseflow.simulator.quirks import Quirks
from mouseflow.simulator.request import ApiCall, Row, answer, done, limited
from mouseflow.simulator.sessions import Snapshot, View, Visitor, snapshot
from mouseflow.simulator.site import Marks, Site, website
from mouseflow.simulator.timeline import Visit
from mouseflow.simulator.world import ApiError, World

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


def recording_row(world: World, site: Site, ref: int, user: str) -> dict[str, Any]:
    """A row of the recordings list (L737-770)."""
    visit = timeline.find_visit(site, ref)
    if visit is None:
        raise LookupError(ref)
    state = world.observed(site, visit)
    marks = site.marks.get(ref, _NO_MARKS)
    name = clock.recording_id(site.key, ref)
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
    answer |= _tail(world, site, visit, state, marks, user)
    answer["playbackUrl"] = f"/websites/{site.id}/recordings/{name}/play"
    return answer


def _entry_page(world: World, site: Site, path: str) -> str:
    return f"{site.host}{path}" if world.quirks.entry_page_host else path


def detail(world: World, site: Site, visit: Visit, user: str) -> dict[str, Any]:
    """A recording's detail (L913-977): page views, but no entry, pages or playback path."""
    state = world.observed(site, visit)
    marks = site.marks.get(visit.ref, _NO_MARKS)
    name = clock.recording_id(site.key, visit.ref)
    answer = _head(world, site, visit, state, marks, name)
    answer["pageViews"] = page_views(world, site, visit, state)
    answer["duration"] = state.duration
    if world.quirks.stale_detail and state.views:
        answer["duration"] = state.views[0].stay
        answer["lastActivity"] = answer["pageViews"][0]["endTime"]
    answer |= _traits(visit.script.visitor)
    answer["region"] = visit.script.visitor.region
    answer["ip"] = timeline.address(site, visit)
    answer |= _tail(world, site, visit, state, marks, user)
    return answer


def page_views(world: World, site: Site, visit: Visit, state: Snapshot) -> list[dict[str, Any]]:
    """The page views of a detail (L918-946)."""
    return [
        _page_view(world.zone, site, visit, index, view) for index, view in enumerate(state.views)
    ]


def _page_view(zone: ZoneInfo, site: Site, visit: Visit, index: int, view: View) -> dict[str, Any]:
    page = view.page
    start = visit.start + page.start
    fraction = clock.number("page", visit.ref, index)
    return {
        "id": clock.page_view_id(site.id, visit.ref, index),
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
    fraction = clock.number("instant", visit.ref)
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


def _tail(
    world: World, site: Site, visit: Visit, state: Snapshot, marks: Marks, user: str
) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "tags": [tag for tag in state.tags if tag != "shared" or world.quirks.shared_tag],
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
    for row in rows[: quirks.odd_values]:
        row |= {"city": {"name": row["city"]}, "osVersion": 10, "lat": "north"}
    for row in rows[: quirks.malformed_rows]:
        row["id"] = None
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


def websites(call: ApiCall) -> Response:
    """All websites (L139)."""
    return answer([website_row(site) for site in call.world.sites.values()])


def reorder(call: ApiCall) -> Response:
    """Set the order, which must name every website (L213-217)."""
    order = call.json().get("websiteIds")
    sites = call.world.sites
    if (
        not isinstance(order, list)
        or not all(isinstance(each, str) for each in order)
        or sorted(order) != sorted(sites)
    ):
        raise ApiError(400, "The list must contain all website ids.")
    ordered = {name: sites[name] for name in order}
    sites.clear()
    sites.update(ordered)
    return done(call)


def website_detail(call: ApiCall) -> Response:
    """One website's settings (L307)."""
    return answer(call.site.settings)


def create_website(call: ApiCall) -> Response:
    """Create a website; only `domain` is mandatory (L331)."""
    body = call.json()
    required(body, "domain")
    domain = body["domain"]
    settings = checked(body, WEBSITE)
    name = clock.website_id("created", domain, len(call.world.sites))
    created = instant(call.world.zone, call.world.now(), 0)[:19]
    site = website(name, domain, status="NotInstalled", created=created, anonymizeIps=False)
    site.settings |= {"domains": [domain], **settings}
    call.world.sites[name] = site
    return answer({key: site.settings[key] for key in CREATED_WEBSITE})


def change_website(call: ApiCall) -> Response:
    """Change settings (L636) and `recordingStatus` (L511, L573); `status` is read-only."""
    body = call.json()
    changes = checked(body, WEBSITE)
    if "recordingStatus" in body:
        if body["recordingStatus"] not in ("Recording", "Stopped"):
            raise ApiError(400, "recordingStatus must be Recording or Stopped.")
        changes["status"] = body["recordingStatus"]
    call.world.change(call.site, changes)
    return done(call)


def recordings(call: ApiCall) -> Response:
    """The latest recordings, with the count and the chart of all that match (L811-850)."""
    world, site, quirks = call.world, call.site, call.world.quirks
    query, window = call.query, call.window
    found = world.find(site, query, window, call.user)
    limit = min(call.limit() or 0, quirks.row_cap)
    offset = filters.integer(call.parameters, "offset") or 0
    if offset < 0 or quirks.offset == "ignored":
        offset = 0
    refs = world.newest(site, found, offset=offset, limit=limit)
    rows = [recording_row(world, site, ref, call.user) for ref in refs]
    if quirks.expand and call.parameters.get("expand", "").casefold() in ("true", "1"):
        for each, ref in zip(rows, refs, strict=True):
            visit = timeline.find_visit(site, ref)
            if visit is not None:
                views = page_views(world, site, visit, world.observed(site, visit))
                if quirks.tagless_expansion:
                    views = [view | {"tags": []} for view in views]
                each["pageViews"] = views
    return answer(
        {
            "recordings": with_quirks(rows, quirks),
            "chart": world.chart(site, found, window),
            "count": found.count,
        }
    )


def recording(call: ApiCall) -> Response:
    """One recording with its page views (L981)."""
    visit = call.visit
    if call.world.quirks.detail_marks_watched:
        call.world.marks(call.site, visit).watched.add(call.user)
    return answer(detail(call.world, call.site, visit, call.user))


def delete_recording(call: ApiCall) -> Response:
    """Delete a recording; from then on it answers 410 (L1745)."""
    call.world.delete(call.site, call.visit)
    return done(call)


def star(call: ApiCall) -> Response:
    """Star for the calling user only (L842, L1082)."""
    _marks(call, "star").starred.add(call.user)
    return done(call)


def unstar(call: ApiCall) -> Response:
    """Remove the user's star (L1138)."""
    _marks(call, "unstar").starred.discard(call.user)
    return done(call)


def watched(call: ApiCall) -> Response:
    """Mark as watched by the calling user (L1685)."""
    _marks(call, "watched").watched.add(call.user)
    return done(call)


def unwatched(call: ApiCall) -> Response:
    """Mark as not watched by the calling user (L1689)."""
    _marks(call, "unwatched").watched.discard(call.user)
    return done(call)


def tags(call: ApiCall) -> Response:
    """Every tag in use, on a session or a page; `limit` truncates the list (L1214)."""
    return answer(limited(known_tags(call.site), call.limit(None)))


def tag(call: ApiCall) -> Response:
    """Add a tag, given as a query parameter (L1268)."""
    name = call.required("tag")
    _marks(call, f"tag {name}")
    call.world.tag(call.site, call.visit, name, on=True)
    return done(call)


def untag(call: ApiCall) -> Response:
    """Remove a tag (L1322)."""
    name = call.required("tag")
    _marks(call, f"untag {name}")
    call.world.tag(call.site, call.visit, name, on=False)
    return done(call)


def bulk_tag(call: ApiCall) -> Response:
    """Tag many recordings at once: works in the field, undocumented."""
    if not call.world.quirks.bulk_tag:
        raise ApiError(404)
    name = call.required("tag")
    for visit in _recordings_named(call):
        call.world.tag(call.site, visit, name, on=True)
    return done(call)


def bulk_untag(call: ApiCall) -> Response:
    """Remove a tag from many recordings at once."""
    if not call.world.quirks.bulk_tag:
        raise ApiError(404)
    name = call.required("tag")
    for visit in _recordings_named(call):
        call.world.tag(call.site, visit, name, on=False)
    return done(call)


def variables(call: ApiCall) -> Response:
    """Every variable key in use (L1387)."""
    return answer(limited(known_variables(call.site), call.limit(None)))


def set_variables(call: ApiCall) -> Response:
    """Set variables; an empty string removes one (L1451-1461)."""
    values = {}
    for key, value in call.json().items():
        if isinstance(value, bool | dict | list) or value is None or not key or "=" in key:
            raise ApiError(400, "Variables must be strings or numbers, keys without '='.")
        values[key] = str(value)
    _marks(call, "variables")
    call.world.set_variables(call.site, call.visit, values)
    return done(call)


def share(call: ApiCall) -> Response:
    """Share; answers the token as a bare JSON string (L1515)."""
    _marks(call, "share")
    return answer(call.world.share(call.site, call.visit))


def unshare(call: ApiCall) -> Response:
    """Make the recording private again (L1577)."""
    _marks(call, "unshare")
    call.world.unshare(call.site, call.visit)
    return done(call)


def _marks(call: ApiCall, write: str) -> Marks:
    marks = call.world.marks(call.site, call.visit)
    marks.calls[write] = marks.calls.get(write, 0) + 1
    return marks


def _recordings_named(call: ApiCall) -> list[Visit]:
    try:
        named = msgspec.json.decode(call.body, type=list[str])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ApiError(400, "The body must be a list of recording ids.") from None
    return [call.world.visit(call.site, each) for each in named]


_SITE = "/websites/{website}"
_ONE = f"{_SITE}/recordings/{{recording}}"

ENDPOINTS: tuple[Row, ...] = (
    ("GET", "/websites", websites),
    ("POST", "/websites", create_website),
    ("PUT", "/websites/reorder", reorder),
    ("GET", _SITE, website_detail),
    ("PUT", _SITE, change_website),
    ("GET", f"{_SITE}/recordings", recordings),
    ("GET", f"{_SITE}/recordings/tags", tags),
    ("GET", f"{_SITE}/recordings/variables", variables),
    ("POST", f"{_SITE}/recordings/bulktag", bulk_tag),
    ("DELETE", f"{_SITE}/recordings/bulktag", bulk_untag),
    ("GET", _ONE, recording),
    ("DELETE", _ONE, delete_recording),
    ("POST", f"{_ONE}/star", star),
    ("DELETE", f"{_ONE}/star", unstar),
    ("POST", f"{_ONE}/tag", tag),
    ("DELETE", f"{_ONE}/tag", untag),
    ("PUT", f"{_ONE}/variables", set_variables),
    ("POST", f"{_ONE}/share", share),
    ("DELETE", f"{_ONE}/share", unshare),
    ("POST", f"{_ONE}/watched", watched),
    ("DELETE", f"{_ONE}/watched", unwatched),
)
