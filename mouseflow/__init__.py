"""The Mouseflow REST API for Python: requests as values, and clients that send them.

>>> from mouseflow import Mouseflow, recordings
>>> with Mouseflow.from_env() as api:
...     for recording in api.recordings(api.website("myshop.com"), since=timedelta(days=7)):
...         print(recording.id, recording.country)

Names are imported on first use: building requests needs no HTTP library.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mouseflow.arguments import Unlisted
    from mouseflow.call_queue import Priority
    from mouseflow.client import AsyncMouseflow, Options, RawAnswer, Sent
    from mouseflow.decode import BadValue, Rows, Unreadable, to_dict, to_rows
    from mouseflow.errors import MouseflowError
    from mouseflow.filters import ANY, NOT_SET, REFERRER_OF, PageFilters, SessionFilters
    from mouseflow.models import (
        Campaign,
        DeviceType,
        Form,
        Funnel,
        HeatmapPage,
        PageView,
        Recording,
        RecordingPage,
        ReferrerType,
        Status,
        Website,
        WebsiteDetail,
    )
    from mouseflow.request import Request
    from mouseflow.sync_client import Mouseflow

_NAMES = {
    "arguments": ("Unlisted",),
    "call_queue": ("Priority",),
    "client": ("AsyncMouseflow", "Options", "RawAnswer", "Sent"),
    "decode": ("BadValue", "Rows", "Unreadable", "to_dict", "to_rows"),
    "errors": ("MouseflowError",),
    "filters": ("ANY", "NOT_SET", "REFERRER_OF", "PageFilters", "SessionFilters"),
    "models": (
        "Campaign",
        "DeviceType",
        "Form",
        "Funnel",
        "HeatmapPage",
        "PageView",
        "Recording",
        "RecordingPage",
        "ReferrerType",
        "Status",
        "Website",
        "WebsiteDetail",
    ),
    "request": ("Request",),
    "sync_client": ("Mouseflow",),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}
_SUBMODULES = (
    "errors",
    "feedback",
    "forms",
    "funnels",
    "heatmaps",
    "paging",
    "recordings",
    "websites",
)

__all__ = [
    "ANY",
    "NOT_SET",
    "REFERRER_OF",
    "AsyncMouseflow",
    "BadValue",
    "Campaign",
    "DeviceType",
    "Form",
    "Funnel",
    "HeatmapPage",
    "Mouseflow",
    "MouseflowError",
    "Options",
    "PageFilters",
    "PageView",
    "Priority",
    "RawAnswer",
    "Recording",
    "RecordingPage",
    "ReferrerType",
    "Request",
    "Rows",
    "Sent",
    "SessionFilters",
    "Status",
    "Unlisted",
    "Unreadable",
    "Website",
    "WebsiteDetail",
    "to_dict",
    "to_rows",
]


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return import_module(f"{__name__}.{name}")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *_SUBMODULES})
