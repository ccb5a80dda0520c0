"""The endpoints for websites and recordings (L58-1745)."""

from typing import Any

import msgspec
from starlette.responses import Response

from mouseflow.simulator import clock, filters, serialize, timeline
from mouseflow.simulator.request import Ask, Row, answer, done, limited
from mouseflow.simulator.site import website
from mouseflow.simulator.world import Refused

# What PUT /websites/{id} may change (L636-656); `recordingStatus` is apart (L511, L573).
EDITABLE: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "domains": list,
    "recordingRate": int,
    "alignment": str,
    "width": (int, str),
    "pageIdentifiers": list,
    "encoding": str,
    "anonymizeIps": bool,
    "disableKeystrokes": bool,
    "excludedIps": list,
    "mergeUrls": list,
}


def websites(ask: Ask) -> Response:
    """All websites (L139)."""
    return answer([serialize.website_row(site) for site in ask.world.sites.values()])


def reorder(ask: Ask) -> Response:
    """A new order, which must name every website (L213-217)."""
    wanted = ask.json().get("websiteIds")
    known = ask.world.sites
    if not isinstance(wanted, list) or sorted(map(str, wanted)) != sorted(known):
        raise Refused(400, "The list must contain all website ids.")
    ordered = {name: known[name] for name in wanted}
    known.clear()
    known.update(ordered)
    return done(ask)


def website_detail(ask: Ask) -> Response:
    """One website's settings (L307)."""
    return answer(ask.site.settings)


def create_website(ask: Ask) -> Response:
    """A new website; only `domain` is mandatory (L331)."""
    body = ask.json()
    domain = body.get("domain")
    if not isinstance(domain, str) or not domain:
        raise Refused(400, "domain is required.")
    settings = _editable({k: v for k, v in body.items() if k != "domain"})
    name = clock.website_id("created", domain, len(ask.world.sites))
    created = serialize.instant(ask.world.zone, ask.world.now(), 0)[:19]
    site = website(name, domain, status="NotInstalled", created=created, anonymizeIps=False)
    site.settings |= {"domains": [domain], **settings}
    ask.world.sites[name] = site
    return answer({key: site.settings[key] for key in serialize.CREATED_WEBSITE})


def change_website(ask: Ask) -> Response:
    """Any of the settings (L636), and `recordingStatus` (L511, L573); `status` is only read."""
    body = ask.json()
    changes = _editable({k: v for k, v in body.items() if k not in ("recordingStatus", "status")})
    if "recordingStatus" in body:
        if body["recordingStatus"] not in ("Recording", "Stopped"):
            raise Refused(400, "recordingStatus must be Recording or Stopped.")
        changes["status"] = body["recordingStatus"]
    ask.world.change(ask.site, changes)
    return done(ask)


def recordings(ask: Ask) -> Response:
    """The latest recordings, with the count and the chart of all that fit (L811-850)."""
    world, site, quirks = ask.world, ask.site, ask.world.quirks
    wanted, window = ask.wanted, ask.window
    found = world.find(site, wanted, window, ask.user)
    limit = min(ask.limit() or 0, quirks.row_cap)
    offset = filters.integer(ask.parameters, "offset") or 0
    if offset < 0 or quirks.offset == "ignored":
        offset = 0
    refs = world.newest(site, found, offset=offset, limit=limit)
    rows = [serialize.row(world, site, ref, ask.user) for ref in refs]
    if quirks.expand and ask.parameters.get("expand", "").casefold() in ("true", "1"):
        for row, ref in zip(rows, refs, strict=True):
            who = timeline.visit(site, ref)
            if who is not None:
                views = serialize.page_views(world, site, who, world.observed(site, who))
                if quirks.tagless_expansion:
                    views = [view | {"tags": []} for view in views]
                row["pageViews"] = views
    return answer(
        {
            "recordings": serialize.bent(rows, quirks),
            "chart": world.chart(site, found, window),
            "count": found.count,
        }
    )


def recording(ask: Ask) -> Response:
    """One recording with its page views (L981)."""
    who = ask.visit
    if ask.world.quirks.detail_marks_watched:
        ask.world.marks(ask.site, who).watched.add(ask.user)
    return answer(serialize.detail(ask.world, ask.site, who, ask.user))


def delete_recording(ask: Ask) -> Response:
    """Removes a recording; from then on it is 410 (L1745)."""
    ask.world.delete(ask.site, ask.visit)
    return done(ask)


def star(ask: Ask) -> Response:
    """Stars for the calling user alone (L842, L1082)."""
    _marks(ask, "star").starred.add(ask.user)
    return done(ask)


def unstar(ask: Ask) -> Response:
    """Takes the user's star away (L1138)."""
    _marks(ask, "unstar").starred.discard(ask.user)
    return done(ask)


def watched(ask: Ask) -> Response:
    """Marks as watched by the calling user (L1685)."""
    _marks(ask, "watched").watched.add(ask.user)
    return done(ask)


def unwatched(ask: Ask) -> Response:
    """Marks as not watched by the calling user (L1689)."""
    _marks(ask, "unwatched").watched.discard(ask.user)
    return done(ask)


def tags(ask: Ask) -> Response:
    """Every tag in use, session's or page's; a limit cuts the list (L1214)."""
    return answer(limited(serialize.known_tags(ask.site), ask.limit(None)))


def tag(ask: Ask) -> Response:
    """Adds a tag, given as a query parameter (L1268)."""
    name = ask.required("tag")
    _marks(ask, f"tag {name}")
    ask.world.tag(ask.site, ask.visit, name, on=True)
    return done(ask)


def untag(ask: Ask) -> Response:
    """Removes a tag (L1322)."""
    name = ask.required("tag")
    _marks(ask, f"untag {name}")
    ask.world.tag(ask.site, ask.visit, name, on=False)
    return done(ask)


def bulk_tag(ask: Ask) -> Response:
    """Tags many recordings at once: seen in the field, documented nowhere."""
    if not ask.world.quirks.bulk_tag:
        raise Refused(404)
    name = ask.required("tag")
    try:
        wanted = msgspec.json.decode(ask.body, type=list[str])
    except msgspec.DecodeError:
        raise Refused(400, "The body must be a list of recording ids.") from None
    for who in [ask.world.visit(ask.site, one) for one in wanted]:
        ask.world.tag(ask.site, who, name, on=True)
    return done(ask)


def bulk_untag(ask: Ask) -> Response:
    """Takes a tag from many recordings at once."""
    if not ask.world.quirks.bulk_tag:
        raise Refused(404)
    name = ask.required("tag")
    for one in msgspec.json.decode(ask.body, type=list[str]):
        ask.world.tag(ask.site, ask.world.visit(ask.site, one), name, on=False)
    return done(ask)


def variables(ask: Ask) -> Response:
    """Every variable key in use (L1387)."""
    return answer(limited(serialize.known_variables(ask.site), ask.limit(None)))


def set_variables(ask: Ask) -> Response:
    """Sets variables; an empty text removes one (L1451-1461)."""
    values = {}
    for key, value in ask.json().items():
        if isinstance(value, bool | dict | list) or value is None or not key or "=" in key:
            raise Refused(400, "Variables must be strings or numbers, keys without '='.")
        values[key] = str(value)
    _marks(ask, "variables")
    ask.world.set_variables(ask.site, ask.visit, values)
    return done(ask)


def share(ask: Ask) -> Response:
    """Answers the token as a bare JSON string (L1515)."""
    _marks(ask, "share")
    return answer(ask.world.share(ask.site, ask.visit))


def unshare(ask: Ask) -> Response:
    """Makes the recording private again (L1577)."""
    _marks(ask, "unshare")
    ask.world.unshare(ask.site, ask.visit)
    return done(ask)


def _marks(ask: Ask, call: str) -> Any:
    marks = ask.world.marks(ask.site, ask.visit)
    marks.calls[call] = marks.calls.get(call, 0) + 1
    return marks


def _editable(body: dict[str, Any]) -> dict[str, Any]:
    changes = {key: value for key, value in body.items() if key in EDITABLE}
    for key, value in changes.items():
        wrong = isinstance(value, bool) and EDITABLE[key] is not bool
        if wrong or not isinstance(value, EDITABLE[key]):
            raise Refused(400, f"{key} has the wrong type.")
    if not 0 <= changes.get("recordingRate", 0) <= 100:
        raise Refused(400, "recordingRate must be between 0 and 100.")
    return changes


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
