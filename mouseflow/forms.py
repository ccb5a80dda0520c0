"""Forms: how visitors fill them in, field by field."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mouseflow import decode
from mouseflow.arguments import pairs, text
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
    """The forms with their counters. One line of the document claims that filters work.

    >>> submits = {form.url: form.submits for form in api.send(forms.list(site))}
    """
    # The API document, L2719.
    read = decode.rows(Form, "formId")
    return build("GET", _ALL, read, query=session_pairs(filters), website_id=website)


def report(website: str, form: str, filters: SessionFilters | None = None) -> Request[Form]:
    """One form with times, refills, blanks and drop-offs of each field.

    >>> fields = api.send(forms.report(site, form)).fields
    >>> dropped = {field.target: field.dropped for field in fields}
    """
    # The API document, L2855.
    return build(
        "GET", _ONE, decode.one(Form),
        query=session_pairs(filters), website_id=website, form_id=form,
    )  # fmt: skip


def available(website: str, url: str) -> Request[Rows[AvailableForm]]:
    """The forms found on a page; `url` is the page's `display_url`.

    >>> targets = [found.target for found in api.send(forms.available(site, form_page))]
    """
    # The API document, L2968.
    read = decode.rows(AvailableForm, "target")
    query = (("url", text("url", url)),)
    return build("GET", _AVAILABLE, read, query=query, website_id=website)


def create(
    website: str,
    url: str,
    target: str,
    *,
    alias: str | None = None,
    fields: Sequence[Field] | None = None,
) -> Request[Form]:
    """Create a form; the page and the target must exist.

    Not repeatable: sending it twice creates two.

    >>> made = api.send(forms.create(site, form_page, target, fields=[("email", "Email")]))
    """
    # The API document, L3087.
    body = changes(_PARTS, url=url, target=target, alias=alias, fields=fields)
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
    """Change what is given; `fields` replaces the whole list. Repeatable.

    >>> api.send(forms.edit(site, form, alias="Newsletter"))
    """
    # The API document, L3112, L3191.
    body = changes(_PARTS, url=url, target=target, alias=alias, fields=fields)
    if not body:
        raise ValueError("nothing to edit")
    return build("PUT", _ONE, decode.nothing, body=body, website_id=website, form_id=form)


def delete(website: str, form: str) -> Request[None]:
    """Delete a form. Repeatable: the second time answers 404 or 410.

    >>> api.send(forms.delete(site, form))
    """
    # The API document, L3255.
    return build("DELETE", _ONE, decode.nothing, website_id=website, form_id=form)


def _fields(name: str, fields: Iterable[Field]) -> tuple[dict[str, str], ...]:
    return tuple(
        {"target": text(f"{name}: target", target)}
        | ({} if alias is None or alias == "" else {"alias": text(f"{name}: alias", alias)})
        for target, alias in pairs(name, fields)
    )


_PARTS: Mapping[str, Callable[[str, Any], Any]] = {
    "url": text,
    "target": text,
    "alias": text,
    "fields": _fields,
}
