"""Funnels: how many visitors reached each of a list of pages."""

from collections.abc import Mapping, Sequence
from typing import Any

from mouseflow import decode
from mouseflow.decode import Rows
from mouseflow.filters import SessionFilters
from mouseflow.models import Funnel
from mouseflow.request import Request, given, json_body, place

_ALL = "/websites/{website-id}/funnels"
_ONE = "/websites/{website-id}/funnels/{funnel-id}"

Step = tuple[str, str]
"""A step's name and the URL of its page."""


def list(website: str, filters: SessionFilters | None = None) -> Request[Rows[Funnel]]:
    """The funnels with their steps' counts (L2254).

    L4074-4076 say that funnels can be filtered; the funnels' own section does not. Compare
    two windows before you trust the filters.
    """
    path = place(_ALL, website_id=website)
    query = filters.pairs() if filters else ()
    return Request("GET", path, f"GET {_ALL}", decode.rows(Funnel, "funnelId"), query)


def report(website: str, funnel: str, filters: SessionFilters | None = None) -> Request[Funnel]:
    """One funnel with its steps' counts (L2339); the same shape as in the list."""
    query = filters.pairs() if filters else ()
    path = _path(website, funnel)
    return Request("GET", path, f"GET {_ONE}", decode.one(Funnel), query)


def create(website: str, name: str, steps: Sequence[Step]) -> Request[Funnel]:
    """Makes a funnel (L2446). Not repeatable: twice makes two."""
    body = json_body({"name": name, "steps": _written(steps)})
    path = place(_ALL, website_id=website)
    return Request("POST", path, f"POST {_ALL}", decode.one(Funnel), body=body, repeatable=False)


def edit(
    website: str, funnel: str, *, name: str | None = None, steps: Sequence[Step] | None = None
) -> Request[None]:
    """Changes what is given (L2517, L2533); `steps` as the whole list. Repeatable: it sets."""
    changes: Mapping[str, Any] = given(name=name, steps=None if steps is None else _written(steps))
    if not changes:
        raise ValueError("nothing to edit")
    path = _path(website, funnel)
    return Request("PUT", path, f"PUT {_ONE}", decode.nothing, body=json_body(changes))


def delete(website: str, funnel: str) -> Request[None]:
    """Deletes a funnel (L2596). Repeatable: deleted once, it answers 404 or 410."""
    return Request("DELETE", _path(website, funnel), f"DELETE {_ONE}", decode.nothing)


def _written(steps: Sequence[Step]) -> tuple[dict[str, str], ...]:
    return tuple({"name": name, "url": url} for name, url in steps)


def _path(website: str, funnel: str) -> str:
    return place(_ONE, website_id=website, funnel_id=funnel)
