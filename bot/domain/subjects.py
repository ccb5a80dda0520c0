"""What a rule can look at: recordings, and the levels that the API reports as counters.

Subjects are frozen and travel: from a source to the rulebook, into the store beside the
match they caused, and out again to the actions. So each is a msgspec Struct of plain values.
"""

import math
from hashlib import blake2b
from typing import Any, ClassVar, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import force_setattr

from mouseflow.models import Recording

Severity = Literal["info", "warning", "critical"]
"""How much a rule's match matters; the default is warning."""

Kind = Literal["recordings", "feedback", "funnels", "forms", "pages", "websites"]


class Site(Struct, frozen=True):
    """A website of the account, as far as rules and actions need it."""

    id: str
    name: str
    read_only: bool = False


_NO_LOW, _NO_HIGH = -math.inf, math.inf


class Band(Struct, frozen=True, omit_defaults=True):
    """What the API let us know of a recording's friction.

    The API never says a friction; it only filters by a threshold (L4386-4392). `low` is the
    highest asked threshold that the recording reached (-inf if none), `high` the lowest one
    that it did not reach (inf if none). A value known exactly has `high` just above `low`.
    """

    low: float = _NO_LOW
    high: float = _NO_HIGH

    def __post_init__(self) -> None:
        # JSON has no infinity: an open end is left out, which msgspec does for the very object.
        if self.low == _NO_LOW:
            force_setattr(self, "low", _NO_LOW)
        if self.high == _NO_HIGH:
            force_setattr(self, "high", _NO_HIGH)

    @classmethod
    def exactly(cls, value: float) -> "Band":
        """The band of a friction that is known, as in a rule's test."""
        return cls(value, math.nextafter(value, math.inf))


class RecordingSubject(Struct, frozen=True, kw_only=True, tag="recording"):
    """One recording with the facts that only the server knows.

    `friction` and `visitor_type` are None where no rule had them asked. `zone` is the name
    of the account's time zone (`weekday` and `hour` count in it). `found_by` are the texts, of
    those that rules name, by which the API's search finds it; None where they were not asked.
    `told_tags` are on the session or on one of its pages and `told_pages` were seen in it, as
    the API's filters said.
    """

    kind: ClassVar[Kind] = "recordings"
    website: Site
    recording: Recording
    zone: str = "UTC"
    friction: Band | None = None
    visitor_type: Literal["first", "returning"] | None = None
    found_by: tuple[str, ...] | None = None
    told_tags: tuple[str, ...] = ()
    told_pages: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return self.recording.id


LONGEST_KEY = 1000
"""Bytes of a key. PostgreSQL indexes at most 2,704 bytes, with the names of rule and website."""


def bounded(key: str) -> str:
    """The key as it is, or the beginning of one that is too long and a hash of the whole."""
    raw = key.encode("utf-8", "replace")
    if len(raw) <= LONGEST_KEY:
        return key
    begins = raw[:LONGEST_KEY].decode("utf-8", "ignore")
    return f"{begins}…{blake2b(raw, digest_size=16).hexdigest()}"


class CampaignSubject(Struct, frozen=True, kw_only=True, tag="campaign"):
    """A feedback campaign's counters; `new_responses` since a rule fired, None at first sight."""

    kind: ClassVar[Kind] = "feedback"
    website: Site
    id: str
    name: str = ""
    enabled: bool | None = None
    trigger: str | None = None
    locked: bool | None = None
    responses: int | None = None
    impressions: int | None = None
    new_responses: int | None = None

    @property
    def key(self) -> str:
        return self.id


class FunnelStep(Struct, frozen=True):
    """One step of a funnel: its page and how many visitors reached it."""

    name: str
    url: str
    count: int


class FunnelSubject(Struct, frozen=True, kw_only=True, tag="funnel"):
    """A funnel over the rule's `over_last`."""

    kind: ClassVar[Kind] = "funnels"
    website: Site
    id: str
    name: str = ""
    steps: tuple[FunnelStep, ...] = ()

    @property
    def key(self) -> str:
        return self.id


class FormField(Struct, frozen=True):
    """One field of a form; in ms on average `time` spent on it, and `start` after the page's."""

    name: str
    type: str = ""
    interactions: int | None = None
    time: int | None = None
    refills: int | None = None
    blanks: int | None = None
    dropped: int | None = None
    start: int | None = None


class FormSubject(Struct, frozen=True, kw_only=True, tag="form"):
    """A form over the rule's `over_last`; `fields` is None if its report was not read."""

    kind: ClassVar[Kind] = "forms"
    website: Site
    id: str
    name: str = ""
    url: str = ""
    visits: int | None = None
    interactions: int | None = None
    submits: int | None = None
    success: int | None = None
    fields: tuple[FormField, ...] | None = None

    @property
    def key(self) -> str:
        return self.id


class PageSubject(Struct, frozen=True, kw_only=True, tag="page"):
    """A page of the heatmap list; times in ms, `scroll` in percent, `size` in bytes, `fold` and
    `height` in pixels."""

    kind: ClassVar[Kind] = "pages"
    website: Site
    path: str
    title: str = ""
    views: int | None = None
    visit_time: int | None = None
    engagement_time: int | None = None
    clicks: int | None = None
    render_time: int | None = None
    scroll: float | None = None
    fold: int | None = None
    height: int | None = None
    size: int | None = None
    shared: bool | None = None

    @property
    def key(self) -> str:
        return bounded(self.path)


class WebsiteSubject(Struct, frozen=True, kw_only=True, tag="website"):
    """A website's recording switch; `recording_rate` and `budget_used` in percent.

    `recordings` are those of the rule's `over_last`, `recordings_today` those since midnight.
    `hour` and `weekday` say when the bot looked, in the account's zone.
    `stopped_by` are the names for who stopped it, the most exact first; empty while it records.
    """

    kind: ClassVar[Kind] = "websites"
    website: Site
    status: str | None = None
    recording_rate: int | None = None
    budget_used: float | None = None
    recordings: int | None = None
    recordings_today: int | None = None
    hour: int | None = None
    weekday: str | None = None
    demo: bool | None = None
    anonymize_ips: bool | None = None
    disable_keystrokes: bool | None = None
    excluded_ips: tuple[str, ...] = ()
    merge_urls: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    stopped_by: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return self.website.id


Subject = (
    RecordingSubject | CampaignSubject | FunnelSubject | FormSubject | PageSubject | WebsiteSubject
)

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Subject)


LONGEST_TEXT = 4096
"""How many characters of each text of a subject are stored."""


def written(subject: Subject) -> bytes:
    """The subject as JSON, for the store. Its texts come from visitors, so long ones are cut."""
    whole = _encoder.encode(subject)
    if len(whole) <= LONGEST_TEXT:
        return whole
    return _encoder.encode(_cut(msgspec.to_builtins(subject)))


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= LONGEST_TEXT else f"{value[: LONGEST_TEXT - 1]}…"
    if isinstance(value, dict):
        return {key: _cut(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_cut(each) for each in value]
    return value


def reread(data: bytes | str) -> Subject:
    """The subject that `written` wrote; raises msgspec.ValidationError for anything else."""
    subject: Subject = _decoder.decode(data)
    return subject
