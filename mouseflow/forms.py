"""Forms: how visitors fill them in, field by field."""

from collections.abc import Sequence

from mouseflow import decode
from mouseflow.decode import Rows
from mouseflow.filters import SessionFilters
from mouseflow.models import AvailableForm, Form
from mouseflow.request import Request, given, json_body, place

_ALL = "/websites/{website-id}/forms"
_ONE = "/websites/{website-id}/forms/{form-id}"
_AVAILABLE = "/websites/{website-id}/forms/available"

Field = tuple[str, str | None]
"""A field's target (name, id or selector) and its alias, None to leave it without."""


def list(website: str, filters: SessionFilters | None = None) -> Request[Rows[Form]]:
    """The forms with their counters (L2719). Filters are claimed there, and nowhere else."""
    path = place(_ALL, website_id=website)
    query = filters.pairs() if filters else ()
    return Request("GET", path, f"GET {_ALL}", decode.rows(Form, "formId"), query)


def report(website: str, form: str, filters: SessionFilters | None = None) -> Request[Form]:
    """One form with times, refills, blanks and drop-offs of each field (L2855)."""
    query = filters.pairs() if filters else ()
    return Request("GET", _path(website, form), f"GET {_ONE}", decode.one(Form), query)


def available(website: str, url: str) -> Request[Rows[AvailableForm]]:
    """The forms found on a page (L2968); `url` is the page's `display_url`."""
    if not url:
        raise ValueError("a page's display URL is missing")
    path = place(_AVAILABLE, website_id=website)
    read = decode.rows(AvailableForm, "target")
    return Request("GET", path, f"GET {_AVAILABLE}", read, (("url", url),))


def create(
    website: str,
    url: str,
    target: str,
    *,
    alias: str | None = None,
    fields: Sequence[Field] | None = None,
) -> Request[Form]:
    """Makes a form (L3087); `url` and `target` must be there. Not repeatable: twice makes two."""
    body = json_body(given(url=url, target=target, alias=alias, fields=_written(fields)))
    path = place(_ALL, website_id=website)
    return Request("POST", path, f"POST {_ALL}", decode.one(Form), body=body, repeatable=False)


def edit(
    website: str,
    form: str,
    *,
    url: str | None = None,
    target: str | None = None,
    alias: str | None = None,
    fields: Sequence[Field] | None = None,
) -> Request[None]:
    """Changes what is given; `fields` replaces the whole list (L3112, L3191). Repeatable."""
    changes = given(url=url, target=target, alias=alias, fields=_written(fields))
    if not changes:
        raise ValueError("nothing to edit")
    path = _path(website, form)
    return Request("PUT", path, f"PUT {_ONE}", decode.nothing, body=json_body(changes))


def delete(website: str, form: str) -> Request[None]:
    """Deletes a form (L3255). Repeatable: deleted once, it answers 404 or 410."""
    return Request("DELETE", _path(website, form), f"DELETE {_ONE}", decode.nothing)


def _written(fields: Sequence[Field] | None) -> tuple[dict[str, str], ...] | None:
    if fields is None:
        return None
    return tuple(
        {"target": target} | ({"alias": alias} if alias else {}) for target, alias in fields
    )


def _path(website: str, form: str) -> str:
    return place(_ONE, website_id=website, form_id=form)
