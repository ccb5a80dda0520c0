"""Funnels: how many visitors reached each of a list of pages."""

from collections.abc import Iterable, Sequence

from mouseflow import decode
from mouseflow.arguments import pairs, text
from mouseflow.decode import Rows
from mouseflow.filters import SessionFilters, session_pairs
from mouseflow.models import Funnel
from mouseflow.request import Request, build, changes

_ALL = "/websites/{website-id}/funnels"
_ONE = "/websites/{website-id}/funnels/{funnel-id}"

Step = tuple[str, str]
"""A step's name and the URL of its page."""


def list(website: str, filters: SessionFilters | None = None) -> Request[Rows[Funnel]]:
    """The funnels with the visitors per step.

    The document's overview says that funnels can be filtered, its section on funnels does
    not. Compare two windows before you trust the filters.

    >>> names = [funnel.name for funnel in api.send(funnels.list(site))]
    """
    # The API document, L2254, L4074-4076.
    read = decode.rows(Funnel, "funnelId")
    return build("GET", _ALL, read, query=session_pairs(filters), website_id=website)


def report(website: str, funnel: str, filters: SessionFilters | None = None) -> Request[Funnel]:
    """One funnel with the visitors per step; the same shape as in the list.

    >>> counts = [step.count for step in api.send(funnels.report(site, funnel)).steps]
    """
    # The API document, L2339.
    return build(
        "GET", _ONE, decode.one(Funnel),
        query=session_pairs(filters), website_id=website, funnel_id=funnel,
    )  # fmt: skip


def create(website: str, name: str, steps: Sequence[Step]) -> Request[Funnel]:
    """Create a funnel. Not repeatable: sending it twice creates two.

    >>> made = api.send(funnels.create(site, "Checkout", [("Cart", "/cart"), ("Paid", "/thanks")]))
    """
    # The API document, L2446.
    body = {"name": text("name", name), "steps": _steps("steps", steps)}
    return build(
        "POST", _ALL, decode.one(Funnel), body=body, repeatable=False, website_id=website
    )  # fmt: skip


def edit(
    website: str, funnel: str, *, name: str | None = None, steps: Sequence[Step] | None = None
) -> Request[None]:
    """Change what is given; `steps` replaces the whole list. Repeatable.

    >>> api.send(funnels.edit(site, funnel, name="Checkout 2026"))
    """
    # The API document, L2517, L2533.
    body = changes({"name": text, "steps": _steps}, name=name, steps=steps)
    if not body:
        raise ValueError("nothing to edit")
    return build("PUT", _ONE, decode.nothing, body=body, website_id=website, funnel_id=funnel)


def delete(website: str, funnel: str) -> Request[None]:
    """Delete a funnel. Repeatable: the second time answers 404 or 410.

    >>> api.send(funnels.delete(site, funnel))
    """
    # The API document, L2596.
    return build("DELETE", _ONE, decode.nothing, website_id=website, funnel_id=funnel)


def _steps(name: str, steps: Iterable[Step]) -> tuple[dict[str, str], ...]:
    return tuple(
        {"name": text(f"{name}: name", label), "url": text(f"{name}: url", url)}
        for label, url in pairs(name, steps)
    )
