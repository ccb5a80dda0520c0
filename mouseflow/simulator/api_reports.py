"""The endpoints for heatmap pages, funnels, forms and feedback campaigns (L1747-4070)."""

from typing import Any

from starlette.responses import Response

from mouseflow.simulator import clock, filters, reports
from mouseflow.simulator.request import Ask, Row, answer, done, limited
from mouseflow.simulator.sessions import Seen
from mouseflow.simulator.site import Campaign, Form, Funnel
from mouseflow.simulator.world import Refused

# A campaign's settings and whether one must be sent to create it (L3668).
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


def page_list(ask: Ask) -> Response:
    """The page list, or with `url` one page: one path, two shapes (L1840, L1935)."""
    rows = _pages(ask)
    if "url" not in ask.parameters:
        return answer({"pages": limited(rows, ask.limit()), "count": len(rows)})
    wanted = ask.required("url")
    found = next((row for row in rows if row["displayUrl"] == wanted), None)
    if found is None:
        raise Refused(404, "No such page.")
    if not ask.world.quirks.page_detail_display_url:
        del found["displayUrl"]
    return answer(found)


def page_urls(ask: Ask) -> Response:
    """The display URLs alone; heeds limit and search, no other filter (L2041)."""
    text = ask.parameters.get("search", "").casefold()
    rows = reports.pages(
        ask.world, ask.site, filters.EVERYTHING, filters.Window(), ask.user
    )  # fmt: skip
    urls = [row["displayUrl"] for row in rows if text in row["displayUrl"].casefold()]
    return answer({"urls": limited(urls, ask.limit()), "count": len(urls)})


def share_page(ask: Ask) -> Response:
    """Shares a heatmap; the document shows no answer (L2155)."""
    url = _known_page(ask)
    if url not in ask.site.shared_pages:
        ask.site.shared_pages[url] = clock.token("page", ask.site.id, url)
    return done(ask)


def unshare_page(ask: Ask) -> Response:
    """Stops sharing a heatmap (L2159)."""
    ask.site.shared_pages.pop(_known_page(ask), None)
    return done(ask)


def funnels(ask: Ask) -> Response:
    """Every funnel with its counts (L2254)."""
    counted = _counted(ask)
    return answer([reports.funnel_report(one, counted) for one in ask.site.funnels.values()])


def funnel(ask: Ask) -> Response:
    """One funnel with its counts (L2339)."""
    return answer(reports.funnel_report(_funnel(ask), _counted(ask)))


def create_funnel(ask: Ask) -> Response:
    """A new funnel, nobody counted yet (L2446)."""
    body = ask.json()
    if not isinstance(body.get("name"), str) or not body["name"]:
        raise Refused(400, "name is required.")
    steps = _steps(body.get("steps"))
    name = clock.token("funnel", ask.site.id, body["name"], len(ask.site.funnels), ask.world.now())
    one = ask.site.funnels[name] = Funnel(name, body["name"], steps)
    return answer(reports.funnel_report(one, None))


def edit_funnel(ask: Ask) -> Response:
    """Changes what is named (L2517)."""
    one, body = _funnel(ask), ask.json()
    if "steps" in body:
        one.steps = _steps(body["steps"])
    one.name = str(body.get("name", one.name))
    return done(ask)


def delete_funnel(ask: Ask) -> Response:
    """Removes a funnel (L2596)."""
    del ask.site.funnels[_funnel(ask).id]
    return done(ask)


def forms(ask: Ask) -> Response:
    """Every form with its counters (L2719)."""
    counted = _counted(ask)
    return answer([reports.form_row(form, counted, full=False) for form in ask.site.forms.values()])


def form(ask: Ask) -> Response:
    """One form with all that is known of its fields (L2855)."""
    return answer(reports.form_row(_form(ask), _counted(ask), full=True))


def available_forms(ask: Ask) -> Response:
    """The forms on a page (L2968)."""
    url = ask.required("url")
    return answer(
        [
            {
                "target": one.target,
                "fields": [{"target": target, "type": kind} for target, _, kind in one.fields],
            }
            for one in ask.site.forms.values()
            if one.url == url
        ]
    )


def create_form(ask: Ask) -> Response:
    """A new form; `url` and `target` are mandatory (L2985)."""
    body = ask.json()
    for key in ("url", "target"):
        if not isinstance(body.get(key), str) or not body[key]:
            raise Refused(400, f"{key} is required.")
    name = clock.token("form", ask.site.id, body["url"], body["target"], ask.world.now())
    fields = _form_fields(body.get("fields", []))
    one = Form(name, body["url"], body["target"], str(body.get("alias", "")), fields)
    ask.site.forms[name] = one
    return answer(
        {
            "formId": one.id,
            "url": one.url,
            "target": one.target,
            "alias": one.alias,
            "fields": [{"target": target, "alias": alias} for target, alias, _ in one.fields],
        }
    )


def edit_form(ask: Ask) -> Response:
    """Changes what is named; `fields` replaces the whole list (L3112)."""
    one, body = _form(ask), ask.json()
    if "fields" in body:
        one.fields = _form_fields(body["fields"])
    one.url = str(body.get("url", one.url))
    one.target = str(body.get("target", one.target))
    one.alias = str(body.get("alias", one.alias))
    return done(ask)


def delete_form(ask: Ask) -> Response:
    """Removes a form (L3255)."""
    del ask.site.forms[_form(ask).id]
    return done(ask)


def campaigns(ask: Ask) -> Response:
    """Every feedback campaign with its report (L3431)."""
    window = ask.window
    return answer([reports.campaign(ask.world, one, window) for one in ask.site.campaigns.values()])


def campaign(ask: Ask) -> Response:
    """One feedback campaign with its report (L3540)."""
    return answer(reports.campaign(ask.world, _campaign(ask), ask.window))


def create_campaign(ask: Ask) -> Response:
    """A new campaign; answers it without a report (L3792)."""
    settings = _settings(ask.json())
    if not settings.get("name"):
        raise Refused(400, "name is required.")
    name = clock.token("campaign", ask.site.id, settings["name"], ask.world.now())
    ask.site.campaigns[name] = Campaign(name, SETTINGS | settings)
    return answer({"campaignId": name, **SETTINGS, **settings, "isLocked": False})


def update_campaign(ask: Ask) -> Response:
    """Replaces the campaign's settings: the document does not call this update partial."""
    _campaign(ask).settings = SETTINGS | _settings(ask.json())
    return done(ask)


def delete_campaign(ask: Ask) -> Response:
    """Removes a campaign (L4020)."""
    del ask.site.campaigns[_campaign(ask).id]
    return done(ask)


def _pages(ask: Ask) -> list[dict[str, Any]]:
    wanted, window = ask.wanted, ask.window
    if not ask.world.quirks.page_list_filters:
        wanted, window = filters.EVERYTHING, filters.Window()
    return reports.pages(ask.world, ask.site, wanted, window, ask.user)


def _known_page(ask: Ask) -> str:
    url = ask.required("url")
    rows = reports.pages(
        ask.world, ask.site, filters.EVERYTHING, filters.Window(), ask.user
    )  # fmt: skip
    if url not in ask.site.shared_pages and url not in {row["displayUrl"] for row in rows}:
        raise Refused(404, "No such page.")
    return url


def _counted(ask: Ask) -> list[tuple[Seen, int]]:
    found = ask.world.find(ask.site, ask.wanted, ask.window, ask.user)
    return list(reports.sessions(ask.world, ask.site, found))


def _funnel(ask: Ask) -> Funnel:
    found = ask.site.funnels.get(ask.path["funnel"])
    if found is None:
        raise Refused(404, "No such funnel.")
    return found


def _form(ask: Ask) -> Form:
    found = ask.site.forms.get(ask.path["form"])
    if found is None:
        raise Refused(404, "No such form.")
    return found


def _campaign(ask: Ask) -> Campaign:
    found = ask.site.campaigns.get(ask.path["campaign"])
    if found is None:
        raise Refused(404, "No such campaign.")
    return found


def _steps(value: Any) -> list[tuple[str, str]]:
    if not isinstance(value, list) or not value:
        raise Refused(400, "steps must be a list with at least one step.")
    if not all(isinstance(step, dict) and isinstance(step.get("url"), str) for step in value):
        raise Refused(400, "Each step needs a url.")
    return [(str(step.get("name", "")), step["url"]) for step in value]


def _form_fields(value: Any) -> list[tuple[str, str, str]]:
    if not isinstance(value, list) or not all(
        isinstance(field, dict) and isinstance(field.get("target"), str) for field in value
    ):
        raise Refused(400, "fields must be a list of objects with a target.")
    return [(f["target"], str(f.get("alias", "")), str(f.get("type", "text"))) for f in value]


def _settings(body: dict[str, Any]) -> dict[str, Any]:
    known = {key: value for key, value in body.items() if key in SETTINGS or key == "notification"}
    for key in ("steps", "pageRules", "segments"):
        if not isinstance(known.get(key, []), list):
            raise Refused(400, f"{key} must be a list.")
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
