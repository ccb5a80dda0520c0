"""What happened in a world, and what there was to know of a recording at any moment."""

from bisect import bisect_right
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import unquote
from zoneinfo import ZoneInfo

from judge import View, named_tags

from mouseflow.simulator.sessions import Script, snapshot

REFERRERS = {"Search": "searchengines", "Link": "links", "Direct": "direct"}


@dataclass(frozen=True, slots=True)
class Span:
    """A time in which something was so; `end` is None while it lasts."""

    start: float
    what: Any
    end: float | None = None

    def at(self, moment: float) -> bool:
        return self.start <= moment and (self.end is None or moment < self.end)


@dataclass(frozen=True, slots=True)
class Wrong:
    """Where bot and judge differ in a world of this kind."""

    kind: str
    world: str
    seed: int
    text: str

    def __str__(self) -> str:
        return f"{self.kind.upper()} in {self.world} world {self.seed}: {self.text}"


REVIEW = "internal"
"""The tag that people put on and rules take off; no visitor does anything that sets it."""

ACTIONS = {
    "starred": "star", "shared": "share", "variable": "variables", "deleted": "delete",
}  # fmt: skip
"""What actions do to a recording, where the two have different names."""

Act = tuple[float, str, Any]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a recording is in the end; `shares`: how often the bot has shared it."""

    tags: frozenset[str]
    set_to: dict[str, bool]
    shares: int


@dataclass(slots=True)
class Recording:
    """A recording with all that happened to it; times in seconds since 1970.

    `by_bot` are those of its `acts`, and its deletion, that were the bot's.
    """

    id: str
    site: str
    start: float
    appeared: float
    scripts: list[tuple[float, Script]]
    acts: list[Act] = field(default_factory=list)
    deleted: float | None = None
    by_bot: set[Act] = field(default_factory=set)
    shares: int = 0  # how often people have shared it

    def script(self, at: float) -> Script:
        """What the recorder knows of at that moment."""
        return self.scripts[max(0, bisect_right([since for since, _ in self.scripts], at) - 1)][1]

    @property
    def last(self) -> float:
        """The last activity of the whole session."""
        return self.start + snapshot(self.script(self.start)).last / 1000

    @property
    def moments(self) -> list[float]:
        """When something about it changed, beside the session itself."""
        return [at for at, *_ in self.acts] + [at for at, _ in self.scripts]


@dataclass(frozen=True, slots=True)
class Match:
    """A match as the bot's audit log has it; `acted` if it had actions."""

    rule: str
    recording: str
    at: float
    acted: bool


@dataclass(frozen=True, slots=True)
class Said:
    """A message in a channel: when it was posted, all its lines, and the one that it answers."""

    at: float
    channel: str
    key: str
    text: str
    answers: str


@dataclass(slots=True)
class History:
    """All that happened in a world. `well` are times in which the bot ran and the API worked."""

    seed: int
    poll: float
    settle: float
    start: float
    skew: float
    zone: str
    own_tags: frozenset[str] = frozenset()
    recordings: dict[str, Recording] = field(default_factory=dict)
    rules: dict[str, list[Span]] = field(default_factory=dict)
    well: list[Span] = field(default_factory=list)
    broken: dict[str, list[Span]] = field(default_factory=dict)
    sites: dict[str, list[Span]] = field(default_factory=dict)
    matches: list[Match] = field(default_factory=list)
    quiet: list[Span] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    ended: dict[str, Ended] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()
    longest_poll: float = 2  # a match is dated at the poll's begin; failing calls prolong a poll
    calls_fail: bool = False  # then a poll may do nothing until the next one
    marks: float = 0  # for so long after a session what people mark counts
    marks_noticed: float = 3600  # so long it may take to notice such a mark
    renamed_late: float = 1000  # so long it may take to notice that a website has a new name
    end: float = 0

    def view(self, rec: Recording, at: float, rule: dict[str, Any]) -> View:
        """All there is to know of a recording at a moment, for a rule that names some tags.

        The bot's own tags are there only for rules that name them.
        """
        script = rec.script(at)
        state = snapshot(script, max(0, round((at + self.skew - rec.start) * 1000)))
        who, first = script.visitor, state.views[0].page if state.views else None
        tags, values = dict.fromkeys(state.tags), dict(state.variables)
        flags = {"watched": False, "starred": False, "shared": False}
        for when, act, what in rec.acts:
            if when > at:
                continue
            if act == "tag":
                tags[what] = None
            elif act == "untag":
                tags.pop(what, None)
            elif act == "variable":
                values[what[0]] = what[1]
            else:
                flags[act] = what
        unseen = self.own_tags - named_tags(rule)
        on_pages = [tag for view in state.views for tag in view.tags]
        began = datetime.fromtimestamp(rec.start, ZoneInfo(self.zone))
        host = f"https://{self.sites[rec.site][0].what}"
        return flags | {
            "friction": state.friction,
            "duration": state.duration / 1000,
            "pages": len(state.views),
            "saw_page": [view.page.path for view in state.views],
            "page": [
                {
                    "path": view.page.path, "title": view.page.title, "time": view.stay / 1000,
                    "engagement": view.engaged / 1000, "scroll": view.page.scroll,
                    "tags": list(view.tags), "host": host.removeprefix("https://"),
                    **after_the_path(view.page.query),
                }
                for view in state.views
            ],
            "entry_page": first.path if first else None,
            "exit_page": state.views[-1].page.path if first else None,
            "entry_url": f"{host}{first.path}{first.query}" if first else None,
            "country": who.country, "region": who.region, "city": who.city, "isp": who.isp,
            "ip": f"{who.network}.###", "lang": who.lang, "browser": who.browser,
            "browser_version": who.browser_version, "os": who.os, "os_version": who.os_version,
            "device": who.device, "screen": who.screen, "user_agent": who.user_agent,
            "referrer": who.referrer, "visitor_id": who.id, "visitor_name": who.name,
            "referrer_type": REFERRERS[who.referrer_type],
            "visitor_type": "returning" if who.returning else "first",
            "tags": [tag for tag in dict.fromkeys([*tags, *on_pages]) if tag not in unseen],
            "variables": values,
            "weekday": began.strftime("%a").lower(),
            "hour": began.hour,
            "created": began.replace(tzinfo=None),
            "search": [who.city, who.region, who.country, who.user_agent, f"{who.network}."],
        }  # fmt: skip


def after_the_path(query: str) -> dict[str, str | None]:
    """The query and the fragment of an address, decoded; None where it has none."""
    query, _, fragment = query.removeprefix("?").partition("#")
    return {"query": unquote(query) or None, "fragment": fragment or None}
