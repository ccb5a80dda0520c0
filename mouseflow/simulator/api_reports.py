"""The endpoints for heatmap pages, funnels, forms and feedback campaigns (L1747-4070)."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from starlette.responses import Response

from mouseflow.simulator import clock, filters, timeline
from mouseflow.simulator.bodies import CAMPAIGN, FORM, FUNNEL, checked, required
from mouseflow.simulator.clock import moment
from mouseflow.simulator.filters import Query, Window
from mouseflow.simulator.request import ApiCall, Row, answer, done, limited
from mouseflow.simulator.sessions import Snapshot, View
from mouseflow.simulator.site import Campaign, Form, Funnel, Site
from mouseflow.simulator.timeline import Found, pack
from mouseflow.simulator.traffic import DAY
from mouseflow.simulator.world import ApiError, World


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
        draw = clock.number("field", form.id, target)
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
        vars=query.vars, frictionmin=query.frictionmin, frictionmax=query.frictionmax,
    )  # fmt: skip


def _add(tally: _Tally, view: View, many: int) -> None:
    tally.views += many
    tally.stay += view.stay * many
    tally.engaged += view.engaged * many
    tally.scroll += view.page.scroll * many
    tally.clicks += (1 + view.engaged // 9_000) * many
    tally.title = view.page.title


def _page_row(site: Site, path: str, tally: _Tally) -> dict[str, Any]:
    draw = clock.number("page", site.id, path)
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
    whole = one.per_day * (0.7 + clock.number("feedback", one.id, day) % 600 / 1000)
    return int(whole * (until - day * DAY) / DAY)


# A campaign's settings and their defaults (L3668).
SETTINGS: dict[str, Any] = {
    "name": "",
    "enabled": False,
    "showBranding": True,
    "triggerType": "pageLoad",
    "triggerValue": 0,
    "screenPosition": "bottomRight",
    "backgroundColor": "#4CB377",
    "foregroundColor": "#FFFFFF",
    "scope": "session",
    "startMinimized": False,
    "canBeDiscarded": True,
    "pageRules": [],
    "segments": [],
    "steps": [],
}


def page_list(call: ApiCall) -> Response:
    """The page list, or with `url` one page: one path, two shapes (L1840, L1935)."""
    rows = _pages(call)
    if "url" not in call.parameters:
        return answer({"pages": limited(rows, call.limit()), "count": len(rows)})
    wanted = call.required("url")
    found = next((row for row in rows if row["displayUrl"] == wanted), None)
    if found is None:
        raise ApiError(404, "No such page.")
    if not call.world.quirks.page_detail_display_url:
        del found["displayUrl"]
    return answer(found)


def page_urls(call: ApiCall) -> Response:
    """The display URLs alone; the only filters are limit and search (L2041)."""
    text = call.parameters.get("search", "").casefold()
    rows = pages(
        call.world, call.site, filters.EVERYTHING, filters.Window(), call.user
    )  # fmt: skip
    urls = [row["displayUrl"] for row in rows if text in row["displayUrl"].casefold()]
    return answer({"urls": limited(urls, call.limit()), "count": len(urls)})


def share_page(call: ApiCall) -> Response:
    """Share a heatmap; the document shows no answer (L2155)."""
    url = _known_page(call)
    if url not in call.site.shared_pages:
        call.site.shared_pages[url] = clock.token("page", call.site.id, url)
    return done(call)


def unshare_page(call: ApiCall) -> Response:
    """Stop sharing a heatmap (L2159)."""
    call.site.shared_pages.pop(_known_page(call), None)
    return done(call)


def funnels(call: ApiCall) -> Response:
    """Every funnel with its counts (L2254)."""
    counted = _counted(call)
    return answer([funnel_report(one, counted) for one in call.site.funnels.values()])


def funnel(call: ApiCall) -> Response:
    """One funnel with its counts (L2339)."""
    return answer(funnel_report(_funnel(call), _counted(call)))


def create_funnel(call: ApiCall) -> Response:
    """Create a funnel with no visitors yet (L2446)."""
    body = call.json()
    required(body, "name")
    steps = _steps(checked(body, FUNNEL))
    name = clock.token(
        "funnel", call.site.id, body["name"], len(call.site.funnels), call.world.now()
    )
    one = call.site.funnels[name] = Funnel(name, body["name"], steps)
    return answer(funnel_report(one, None))


def edit_funnel(call: ApiCall) -> Response:
    """Change what is given (L2517)."""
    one, body = _funnel(call), checked(call.json(), FUNNEL)
    if "steps" in body:
        one.steps = _steps(body)
    one.name = body.get("name", one.name)
    return done(call)


def delete_funnel(call: ApiCall) -> Response:
    """Delete a funnel (L2596)."""
    del call.site.funnels[_funnel(call).id]
    return done(call)


def forms(call: ApiCall) -> Response:
    """Every form with its counters (L2719)."""
    counted = _counted(call)
    return answer([form_row(form, counted, full=False) for form in call.site.forms.values()])


def form(call: ApiCall) -> Response:
    """One form with all counters of its fields (L2855)."""
    return answer(form_row(_form(call), _counted(call), full=True))


def available_forms(call: ApiCall) -> Response:
    """The forms on a page (L2968)."""
    url = call.required("url")
    return answer(
        [
            {
                "target": one.target,
                "fields": [{"target": target, "type": kind} for target, _, kind in one.fields],
            }
            for one in call.site.forms.values()
            if one.url == url
        ]
    )


def create_form(call: ApiCall) -> Response:
    """Create a form; `url` and `target` are mandatory (L2985)."""
    body = call.json()
    required(body, "url", "target")
    checked(body, FORM)
    name = clock.token("form", call.site.id, body["url"], body["target"], call.world.now())
    fields = _form_fields(body.get("fields", []))
    one = Form(name, body["url"], body["target"], body.get("alias", ""), fields)
    call.site.forms[name] = one
    return answer(
        {
            "formId": one.id,
            "url": one.url,
            "target": one.target,
            "alias": one.alias,
            "fields": [{"target": target, "alias": alias} for target, alias, _ in one.fields],
        }
    )


def edit_form(call: ApiCall) -> Response:
    """Change what is given; `fields` replaces the whole list (L3112)."""
    one, body = _form(call), checked(call.json(), FORM)
    if "fields" in body:
        one.fields = _form_fields(body["fields"])
    one.url = body.get("url", one.url)
    one.target = body.get("target", one.target)
    one.alias = body.get("alias", one.alias)
    return done(call)


def delete_form(call: ApiCall) -> Response:
    """Delete a form (L3255)."""
    del call.site.forms[_form(call).id]
    return done(call)


def campaigns(call: ApiCall) -> Response:
    """Every feedback campaign with its report (L3431)."""
    window = call.window
    return answer(
        [campaign_report(call.world, one, window) for one in call.site.campaigns.values()]
    )


def campaign(call: ApiCall) -> Response:
    """One feedback campaign with its report (L3540)."""
    return answer(campaign_report(call.world, _campaign(call), call.window))


def create_campaign(call: ApiCall) -> Response:
    """Create a campaign; answers it without a report (L3792)."""
    settings = checked(call.json(), CAMPAIGN)
    required(settings, "name")
    name = clock.token("campaign", call.site.id, settings["name"], call.world.now())
    call.site.campaigns[name] = Campaign(name, SETTINGS | settings)
    return answer({"campaignId": name, **SETTINGS, **settings, "isLocked": False})


def update_campaign(call: ApiCall) -> Response:
    """Replace the campaign's settings: the document does not call this update partial."""
    one, settings = _campaign(call), checked(call.json(), CAMPAIGN)
    before = one.settings if call.world.quirks.feedback_update == "merges" else SETTINGS
    one.settings = before | settings
    return done(call)


def delete_campaign(call: ApiCall) -> Response:
    """Delete a campaign (L4020)."""
    del call.site.campaigns[_campaign(call).id]
    return done(call)


def delete_campaign_anywhere(call: ApiCall) -> Response:
    """Delete a campaign by its id alone: the path that L4070 writes, without a website."""
    for site in call.world.sites.values():
        if call.world.quirks.short_feedback_path and call.path["campaign"] in site.campaigns:
            if site.read_only:
                raise ApiError(403)
            del site.campaigns[call.path["campaign"]]
            return done(call)
    raise ApiError(404, "No such campaign.")


def _pages(call: ApiCall) -> list[dict[str, Any]]:
    query, window = call.page_query, call.window
    if not call.world.quirks.page_list_filters:
        query, window = filters.EVERYTHING, filters.Window()
    return pages(call.world, call.site, query, window, call.user)


def _known_page(call: ApiCall) -> str:
    url = call.required("url")
    rows = pages(
        call.world, call.site, filters.EVERYTHING, filters.Window(), call.user
    )  # fmt: skip
    if url not in call.site.shared_pages and url not in {row["displayUrl"] for row in rows}:
        raise ApiError(404, "No such page.")
    return url


def _counted(call: ApiCall) -> list[tuple[Snapshot, int]]:
    found = call.world.find(call.site, call.query, call.window, call.user)
    return list(sessions(call.world, call.site, found))


def _funnel(call: ApiCall) -> Funnel:
    found = call.site.funnels.get(call.path["funnel"])
    if found is None:
        raise ApiError(404, "No such funnel.")
    return found


def _form(call: ApiCall) -> Form:
    found = call.site.forms.get(call.path["form"])
    if found is None:
        raise ApiError(404, "No such form.")
    return found


def _campaign(call: ApiCall) -> Campaign:
    found = call.site.campaigns.get(call.path["campaign"])
    if found is None:
        raise ApiError(404, "No such campaign.")
    return found


def _steps(body: dict[str, Any]) -> list[tuple[str, str]]:
    if not body.get("steps"):
        raise ApiError(400, "steps must be a list with at least one step.")
    return [(step["name"], step["url"]) for step in body["steps"]]


def _form_fields(fields: list[dict[str, str]]) -> list[tuple[str, str, str]]:
    return [(each["target"], each.get("alias", ""), each.get("type", "text")) for each in fields]


_SITE = "/websites/{website}"

ENDPOINTS: tuple[Row, ...] = (
    ("GET", f"{_SITE}/pagelist", page_list),
    ("GET", f"{_SITE}/pagelist/urls", page_urls),
    ("POST", f"{_SITE}/heatmaps/share", share_page),
    ("DELETE", f"{_SITE}/heatmaps/share", unshare_page),
    ("GET", f"{_SITE}/funnels", funnels),
    ("POST", f"{_SITE}/funnels", create_funnel),
    ("GET", f"{_SITE}/funnels/{{funnel}}", funnel),
    ("PUT", f"{_SITE}/funnels/{{funnel}}", edit_funnel),
    ("DELETE", f"{_SITE}/funnels/{{funnel}}", delete_funnel),
    ("GET", f"{_SITE}/forms", forms),
    ("POST", f"{_SITE}/forms", create_form),
    ("GET", f"{_SITE}/forms/available", available_forms),
    ("GET", f"{_SITE}/forms/{{form}}", form),
    ("PUT", f"{_SITE}/forms/{{form}}", edit_form),
    ("DELETE", f"{_SITE}/forms/{{form}}", delete_form),
    ("GET", f"{_SITE}/feedback", campaigns),
    ("POST", f"{_SITE}/feedback", create_campaign),
    ("GET", f"{_SITE}/feedback/{{campaign}}", campaign),
    ("PUT", f"{_SITE}/feedback/{{campaign}}", update_campaign),
    ("DELETE", f"{_SITE}/feedback/{{campaign}}", delete_campaign),
    ("DELETE", "/websites/feedback/{campaign}", delete_campaign_anywhere),
)
