"""A simulated website: settings, campaigns, funnels, forms, and changes to its recordings."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from mouseflow.simulator import clock
from mouseflow.simulator.sessions import Script, Snapshot, snapshot
from mouseflow.simulator.traffic import Plan


@dataclass(slots=True)
class Marks:
    """What was changed on one recording, and how often each write was called.

    `starred` and `watched` hold the API users visit set it (the API document, L842).
    """

    tagged: dict[str, None] = field(default_factory=dict)
    untagged: set[str] = field(default_factory=set)
    variables: dict[str, str] | None = None
    replaced: bool = False
    starred: set[str] = field(default_factory=set)
    watched: set[str] = field(default_factory=set)
    token: str = ""
    shares: int = 0
    deleted: bool = False
    calls: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Planted:
    """A recording that a test added. `start` in ms since 1970."""

    start: int
    script: Script

    @cached_property
    def final(self) -> Snapshot:
        """The whole session."""
        return snapshot(self.script)


@dataclass(slots=True)
class Campaign:
    """A feedback campaign: its settings as the API has them, and its counters.

    `per_day` and `rate` define the steady flow of responses; `extra` are the times (ms) of
    additional ones.
    """

    id: str
    settings: dict[str, Any]
    per_day: float = 0.0
    rate: float = 0.1
    extra: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Funnel:
    """A funnel as stored; `steps` are (name, url)."""

    id: str
    name: str
    steps: list[tuple[str, str]]


@dataclass(slots=True)
class Form:
    """A form as stored; `fields` are (target, alias, type)."""

    id: str
    url: str
    target: str
    alias: str
    fields: list[tuple[str, str, str]]


@dataclass
class Site:
    """One website. `settings` are the API's own keys and values."""

    id: str
    settings: dict[str, Any]
    plan: Plan = field(default_factory=Plan)
    seed: int = 1
    host: str = "myshop.com"
    planted: list[Planted] = field(default_factory=list)
    marks: dict[int, Marks] = field(default_factory=dict)
    marked: dict[int, set[int]] = field(default_factory=dict)  # day -> indices with marks
    rates: list[tuple[int, float]] = field(default_factory=list)  # (from ms, percent), ascending;
    # the first one has no beginning
    campaigns: dict[str, Campaign] = field(default_factory=dict)
    funnels: dict[str, Funnel] = field(default_factory=dict)
    forms: dict[str, Form] = field(default_factory=dict)
    shared_pages: dict[str, str] = field(default_factory=dict)
    kept_from: int = 0  # ms; recordings that began before have expired
    events: list[tuple[int, str]] = field(default_factory=list)  # (ms, status set to)

    def __post_init__(self) -> None:
        self.rates = self.rates or [(-(1 << 62), self.recorded)]

    @cached_property
    def key(self) -> int:
        """The number that turns a reference into an id of this website."""
        return int.from_bytes(clock.digest("key", self.id)[:16], "big")

    @property
    def read_only(self) -> bool:
        return bool(self.settings.get("readOnly"))

    @property
    def status(self) -> str:
        return str(self.settings["status"])

    @property
    def recorded(self) -> float:
        """The share of visitors recorded now, in percent."""
        return float(self.settings.get("recordingRate", 100)) if self.status == "Recording" else 0.0


def website(
    id: str,  # noqa: A002 - the API's word
    name: str,
    *,
    read_only: bool = False,
    status: str = "Recording",
    created: str = "2013-08-18T19:37:07",
    plan: Plan | None = None,
    seed: int = 1,
    **settings: Any,
) -> Site:
    """A website with the settings of the document's sample (L276-305)."""
    host = name if "." in name else f"{name}.example"
    return Site(
        id=id,
        plan=plan or Plan(),
        seed=seed,
        host=host,
        settings={
            "id": id,
            "name": name,
            "created": created,
            "status": status,
            "thumb": f"{clock.website_id('thumb', id)}.png",
            "readOnly": read_only,
            "domains": [host, f"checkout.{host}"],
            "recordingRate": 100,
            "alignment": "Center",
            "width": 984,
            "pageIdentifiers": ["query", "page_id"],
            "encoding": "UTF-8",
            "anonymizeIps": True,
            "disableKeystrokes": False,
            "excludedIps": [],
            "mergeUrls": ["/search/*"],
            "cdnDomainName": "cdn.mouseflow.com",
            "isDemo": False,
            **settings,
        },
    )
