"""The endpoints for heatmap pages, funnels, forms and feedback campaigns (L1747-4070)."""

from typing import Any

from starlette.responses import Response

from mouseflow.simulator import filters, ids, reports
from mouseflow.simulator.request import ApiCall, Row, answer, done, limited
from mouseflow.simulator.sessions import Snapshot
from mouseflow.simulator.site import Campaign, Form, Funnel
from mouseflow.simulator.world import ApiError

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
    rows = reports.pages(
        call.world, call.site, filters.EVERYTHING, filters.Window(), call.user
    )  # fmt: skip
    urls = [row["displayUrl"] for row in rows if text in row["displayUrl"].casefold()]
    return answer({"urls": limited(urls, call.limit()), "count": len(urls)})


def share_page(call: ApiCall) -> Response:
    """Share a heatmap; the document shows no answer (L2155)."""
    url = _known_page(call)
    if url not in call.site.shared_pages:
        call.site.shared_pages[url] = ids.token("page", call.site.id, url)
    return done(call)


def unshare_page(call: ApiCall) -> Response:
    """Stop sharing a heatmap (L2159)."""
    call.site.shared_pages.pop(_known_page(call), None)
    return done(call)


def funnels(call: ApiCall) -> Response:
    """Every funnel with its counts (L2254)."""
    counted = _counted(call)
    return answer([reports.funnel_report(one, counted) for one in call.site.funnels.values()])


def funnel(call: ApiCall) -> Response:
    """One funnel with its counts (L2339)."""
    return answer(reports.funnel_report(_funnel(call), _counted(call)))


def create_funnel(call: ApiCall) -> Response:
    """Create a funnel with no visitors yet (L2446)."""
    body = call.json()
    if not isinstance(body.get("name"), str) or not body["name"]:
        raise ApiError(400, "name is required.")
    steps = _steps(body.get("steps"))
    name = ids.token("funnel", call.site.id, body["name"], len(call.site.funnels), call.world.now())
    one = call.site.funnels[name] = Funnel(name, body["name"], steps)
    return answer(reports.funnel_report(one, None))


def edit_funnel(call: ApiCall) -> Response:
    """Change what is given (L2517)."""
    one, body = _funnel(call), call.json()
    if "steps" in body:
        one.steps = _steps(body["steps"])
    one.name = str(body.get("name", one.name))
    return done(call)


def delete_funnel(call: ApiCall) -> Response:
    """Delete a funnel (L2596)."""
    del call.site.funnels[_funnel(call).id]
    return done(call)


def forms(call: ApiCall) -> Response:
    """Every form with its counters (L2719)."""
    counted = _counted(call)
    return answer(
        [reports.form_row(form, counted, full=False) for form in call.site.forms.values()]
    )


def form(call: ApiCall) -> Response:
    """One form with all counters of its fields (L2855)."""
    return answer(reports.form_row(_form(call), _counted(call), full=True))


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
    for key in ("url", "target"):
        if not isinstance(body.get(key), str) or not body[key]:
            raise ApiError(400, f"{key} is required.")
    name = ids.token("form", call.site.id, body["url"], body["target"], call.world.now())
    fields = _form_fields(body.get("fields", []))
    one = Form(name, body["url"], body["target"], str(body.get("alias", "")), fields)
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
    one, body = _form(call), call.json()
    if "fields" in body:
        one.fields = _form_fields(body["fields"])
    one.url = str(body.get("url", one.url))
    one.target = str(body.get("target", one.target))
    one.alias = str(body.get("alias", one.alias))
    return done(call)


def delete_form(call: ApiCall) -> Response:
    """Delete a form (L3255)."""
    del call.site.forms[_form(call).id]
    return done(call)


def campaigns(call: ApiCall) -> Response:
    """Every feedback campaign with its report (L3431)."""
    window = call.window
    return answer(
        [reports.campaign_report(call.world, one, window) for one in call.site.campaigns.values()]
    )


def campaign(call: ApiCall) -> Response:
    """One feedback campaign with its report (L3540)."""
    return answer(reports.campaign_report(call.world, _campaign(call), call.window))


def create_campaign(call: ApiCall) -> Response:
    """Create a campaign; answers it without a report (L3792)."""
    settings = _settings(call.json())
    if not settings.get("name"):
        raise ApiError(400, "name is required.")
    name = ids.token("campaign", call.site.id, settings["name"], call.world.now())
    call.site.campaigns[name] = Campaign(name, SETTINGS | settings)
    return answer({"campaignId": name, **SETTINGS, **settings, "isLocked": False})


def update_campaign(call: ApiCall) -> Response:
    """Replace the campaign's settings: the document does not call this update partial."""
    _campaign(call).settings = SETTINGS | _settings(call.json())
    return done(call)


def delete_campaign(call: ApiCall) -> Response:
    """Delete a campaign (L4020)."""
    del call.site.campaigns[_campaign(call).id]
    return done(call)


def _pages(call: ApiCall) -> list[dict[str, Any]]:
    query, window = call.query, call.window
    if not call.world.quirks.page_list_filters:
        query, window = filters.EVERYTHING, filters.Window()
    return reports.pages(call.world, call.site, query, window, call.user)


def _known_page(call: ApiCall) -> str:
    url = call.required("url")
    rows = reports.pages(
        call.world, call.site, filters.EVERYTHING, filters.Window(), call.user
    )  # fmt: skip
    if url not in call.site.shared_pages and url not in {row["displayUrl"] for row in rows}:
        raise ApiError(404, "No such page.")
    return url


def _counted(call: ApiCall) -> list[tuple[Snapshot, int]]:
    found = call.world.find(call.site, call.query, call.window, call.user)
    return list(reports.sessions(call.world, call.site, found))


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


def _steps(value: Any) -> list[tuple[str, str]]:
    if not isinstance(value, list) or not value:
        raise ApiError(400, "steps must be a list with at least one step.")
    if not all(isinstance(step, dict) and isinstance(step.get("url"), str) for step in value):
        raise ApiError(400, "Each step needs a url.")
    return [(str(step.get("name", "")), step["url"]) for step in value]


def _form_fields(value: Any) -> list[tuple[str, str, str]]:
    if not isinstance(value, list) or not all(
        isinstance(field, dict) and isinstance(field.get("target"), str) for field in value
    ):
        raise ApiError(400, "fields must be a list of objects with a target.")
    return [(f["target"], str(f.get("alias", "")), str(f.get("type", "text"))) for f in value]


def _settings(body: dict[str, Any]) -> dict[str, Any]:
    known = {key: value for key, value in body.items() if key in SETTINGS or key == "notification"}
    for key in ("steps", "pageRules", "segments"):
        if not isinstance(known.get(key, []), list):
            raise ApiError(400, f"{key} must be a list.")
    return known


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
)
