"""The Mouseflow REST API for Python: requests as values, and clients that send them.

from bot.mouseflow import Mouseflow, recordings

Names are loaded when they are first used: the requests alone need no HTTP library.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bot.mouseflow.blocking import Mouseflow
    from bot.mouseflow.client import AsyncMouseflow, Sent
    from bot.mouseflow.filters import ANY, NOT_SET, PageFilters, SessionFilters
    from bot.mouseflow.pacing import Priority
    from bot.mouseflow.request import Request

_HOMES = {
    "ANY": "filters",
    "AsyncMouseflow": "client",
    "Mouseflow": "blocking",
    "NOT_SET": "filters",
    "PageFilters": "filters",
    "Priority": "pacing",
    "Request": "request",
    "Sent": "client",
    "SessionFilters": "filters",
}

__all__ = [
    "ANY",
    "NOT_SET",
    "AsyncMouseflow",
    "Mouseflow",
    "PageFilters",
    "Priority",
    "Request",
    "Sent",
    "SessionFilters",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
