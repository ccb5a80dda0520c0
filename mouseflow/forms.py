"""Forms: how visitors fill them in, field by field."""

from collections.abc import Sequence

from mouseflow import decode
from mouseflow.decode import Rows
from mouseflow.filters import SessionFilters, session_pairs
from mouseflow.models import AvailableForm, Form
from mouseflow.request import Request, build, changes

_ALL = "/websites/{website-id}/forms"
_ONE = "/websites/{website-id}/forms/{form-id}"
_AVAILABLE = "/websites/{website-id}/forms/available"

Field = tuple[str, str | None]
"""A field's target (name, id or selector) and its alias, None for no alias."""


def list(website: str, filters: SessionFilters | None = None) -> Request[Rows[Form]]:
    """The forms with their counters (L2719). Only this line claims that filters work."""
    read = decode.rows(Form, "formId")
    return build("GET", _ALL, read, query=session_pairs(filters), website_id=website)


def report(website: str, form: str, filters: SessionFilters | None = None) -> Request[Form]:
    """One form with times, refills, blanks and drop-offs of each field (L2855)."""
    return build(
        "GET", _ONE, decode.one(Form),
        query=session_pairs(filters), website_id=website, form_id=form,
    )  # fmt: skip


def available(website: str, url: str) -> Request[Rows[AvailableForm]]:
    """The forms found on a page (L2968); `url` is the page's `display_url`."""
    if not url:
        raise ValueError("a page's display URL is missing")
    read = decode.rows(AvailableForm, "target")
    return build("GET", _AVAILABLE, read, query=(("url", url),), website_id=website)


def create(
    website: str,
    url: str,
    target: str,
    *,
    alias: str | None = None,
    fields: Sequence[Field] | None = None,
) -> Request[Form]:
    """Create a form (L3087); the page and the target must exist.

    Not repeatable: sending it twice creates two.
    """
    body = changes(url=url, target=target, alias=alias, fields=_fields(fields))
    return build(
        "POST", _ALL, decode.one(Form), body=body, repeatable=False, website_id=website
    )  # fmt: skip


def edit(
    website: str,
    form: str,
    *,
    url: str | None = None,
    target: str | None = None,
    alias: str | None = None,
    fields: Sequence[Field] | None = None,
) -> Request[None]:
    """Change what is given; `fields` replaces the whole list (L3112, L3191). Repeatable."""
    body = changes(url=url, target=target, alias=alias, fields=_fields(fields))
    if not body:
        raise ValueError("nothing to edit")
    return build("PUT", _ONE, decode.nothing, body=body, website_id=website, form_id=form)


def delete(website: str, form: str) -> Request[None]:
    """Delete a form (L3255). Repeatable: the second time answers 404 or 410."""
    return build("DELETE", _ONE, decode.nothing, website_id=website, form_id=form)


def _fields(fields: Sequence[Field] | None) -> tuple[dict[str, str], ...] | None:
    if fields is None:
        return None
    return tuple(
        {"target": target} | ({"alias": alias} if alias else {}) for target, alias in fields
    )
