"""The Mouseflow REST API for Python: requests as values, and clients that send them.

from mouseflow import Mouseflow, recordings

Names are imported on first use: building requests needs no HTTP library.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mouseflow.arguments import Unlisted
    from mouseflow.call_queue import Priority
    from mouseflow.client import AsyncMouseflow, Sent
    from mouseflow.errors import MouseflowError
    from mouseflow.filters import ANY, NOT_SET, PageFilters, SessionFilters
    from mouseflow.request import Request
    from mouseflow.sync_client import Mouseflow

_MODULES = {
    "ANY": "filters",
    "AsyncMouseflow": "client",
    "Mouseflow": "sync_client",
    "MouseflowError": "errors",
    "NOT_SET": "filters",
    "PageFilters": "filters",
    "Priority": "call_queue",
    "Request": "request",
    "Sent": "client",
    "SessionFilters": "filters",
    "Unlisted": "arguments",
}

__all__ = [
    "ANY",
    "NOT_SET",
    "AsyncMouseflow",
    "Mouseflow",
    "MouseflowError",
    "PageFilters",
    "Priority",
    "Request",
    "Sent",
    "SessionFilters",
    "Unlisted",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
