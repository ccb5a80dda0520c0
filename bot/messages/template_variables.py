"""The names a message's text may use, for each kind of subject: meaning, value, privacy."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from bot.domain.subjects import FormSubject, FunnelSubject, Kind, RecordingSubject
from bot.messages import blocks
from bot.messages.text import Address, Friction, Percent, Safe, Span, clean, moment, path
from bot.ports import Addresses, Task

LIST_LIMIT = 50
TEXT_LIMIT = 500


@dataclass(frozen=True, slots=True)
class Name:
    """One name: what it means and how it is read. `parts` are what each item of a list has."""

    name: str
    meaning: str
    read: Callable[[Any], Any]
    personal: bool = False
    parts: Mapping[str, str] = field(default_factory=dict)


def span(milliseconds: float | None) -> Span | None:
    """Milliseconds as a value that prints as a time span."""
    return None if milliseconds is None else Span(milliseconds)


def share(part: float | None, whole: float | None) -> Percent | None:
    """Percent of the whole, None where that is unknown or nothing."""
    return Percent(100 * part / whole) if part is not None and whole else None


def _address(text: str | None) -> Address | None:
    return Address(text) if text else None


def _page(text: str | None) -> str | None:
    return path(text) if text else None


def _recording(name: str, meaning: str, personal: bool = False) -> Name:
    return Name(name, meaning, lambda subject: getattr(subject.recording, name), personal)


def _saw(subject: RecordingSubject) -> tuple[str, ...]:
    """The paths in the order in which they were seen, without immediate repeats."""
    views = subject.recording.page_views or ()
    paths = [path(view.website_page or view.uri) for view in views if view.website_page or view.uri]
    return tuple(p for p, before in zip(paths, [None, *paths], strict=False) if p != before)


def _exit(subject: RecordingSubject) -> str | None:
    return (_saw(subject) or (None,))[-1]


def _variables(subject: RecordingSubject) -> dict[str, str]:
    pairs = (text.partition("=") for text in subject.recording.variables)
    return {key: value for key, _, value in pairs}


def _views(subject: RecordingSubject) -> tuple[dict[str, Any], ...]:
    return tuple(
        {
            "path": _page(view.website_page or view.uri),
            "title": view.title,
            "time": span(view.visit_time),
            "engagement": span(view.engagement_time),
            "scroll": None if view.scroll is None else Percent(view.scroll),
            "tags": view.tags,
        }
        for view in subject.recording.page_views or ()
    )


_VIEW_PARTS = {
    "path": "path of the page",
    "title": "title of the page",
    "time": "time on the page",
    "engagement": "active time on the page",
    "scroll": "how far the visitor scrolled",
    "tags": "tags of the page view",
}

_RECORDINGS: tuple[Name, ...] = (
    Name("id", "the recording's id", lambda s: s.recording.id),
    Name(
        "friction",
        "what is known of the friction; compares as its lower bound",
        lambda s: None if s.friction is None else Friction(s.friction),
    ),
    Name("duration", "active time (in comparisons: ms)", lambda s: span(s.recording.duration)),
    Name("pages", "how many pages were seen", lambda s: s.recording.pages),
    Name("entry_page", "path of the first page", lambda s: _page(s.recording.entry_page)),
    Name("exit_page", "path of the last page, as far as known", _exit),
    Name("saw", "list of the paths seen, in order; empty where no rule had to ask for them", _saw),
    Name("page_views", "list of the page views", _views, parts=_VIEW_PARTS),
    _recording("country", "country code"),
    _recording("region", "region"),
    _recording("city", "city"),
    _recording("lang", "language of the browser"),
    _recording("browser", "browser"),
    _recording("browser_version", "version of the browser"),
    _recording("os", "operating system"),
    _recording("os_version", "version of the operating system"),
    _recording("device", "desktop, tablet or phone"),
    Name("screen", "size of the screen", lambda s: s.recording.screen_res),
    _recording("tags", "list of the session's tags"),
    Name("visitor_type", "first or returning, where a rule asks for it", lambda s: s.visitor_type),
    _recording("referrer_type", "kind of the referrer"),
    _recording("starred", "starred by the API user"),
    _recording("watched", "watched by the API user"),
    Name(
        "started",
        "when the session began, in the account's zone",
        lambda s: moment(s.recording.created, s.zone),
    ),
    Name(
        "last_activity",
        "when the visitor was last active",
        lambda s: moment(s.recording.last_activity, s.zone),
    ),
    Name("entry_url", "full first URL", lambda s: _address(s.recording.entry), True),
    Name("referrer", "full referrer", lambda s: _address(s.recording.referrer), True),
    _recording("ip", "IP address", True),
    _recording("isp", "internet provider", True),
    _recording("user_agent", "the browser's own description", True),
    _recording("visitor_id", "the visitor's id", True),
    _recording("visitor_name", "the visitor's name", True),
    Name("variables", "custom variables by key: variables['cart-value']", _variables, True),
)

_FEEDBACK: tuple[Name, ...] = (
    Name("id", "the campaign's id", lambda s: s.id),
    Name("campaign", "name of the campaign", lambda s: s.name or s.id),
    Name("enabled", "whether the campaign is on", lambda s: s.enabled),
    Name("responses", "responses in all", lambda s: s.responses),
    Name("new_responses", "responses since the last look", lambda s: s.new_responses),
    Name("impressions", "how often it was shown", lambda s: s.impressions),
    Name(
        "response_rate",
        "responses of a hundred impressions",
        lambda s: share(s.responses, s.impressions),
    ),
)


def _funnel_steps(subject: FunnelSubject) -> tuple[dict[str, Any], ...]:
    before: list[int | None] = [None, *(step.count for step in subject.steps)]
    return tuple(
        {
            "name": step.name,
            "count": step.count,
            "conversion": share(step.count, earlier),
            "dropped": None if earlier is None else earlier - step.count,
        }
        for step, earlier in zip(subject.steps, before, strict=False)
    )


_STEP_PARTS = {
    "name": "name of the step",
    "count": "visitors who reached it",
    "conversion": "share of the visitors of the step before",
    "dropped": "visitors of the step before who did not come here",
}


def _entered(subject: FunnelSubject) -> int | None:
    return subject.steps[0].count if subject.steps else None


def _completed(subject: FunnelSubject) -> int | None:
    return subject.steps[-1].count if subject.steps else None


_FUNNELS: tuple[Name, ...] = (
    Name("id", "the funnel's id", lambda s: s.id),
    Name("funnel", "name of the funnel", lambda s: s.name or s.id),
    Name("entered", "visitors at the first step", _entered),
    Name("completed", "visitors at the last step", _completed),
    Name(
        "conversion",
        "visitors at the last step, of those at the first",
        lambda s: share(_completed(s), _entered(s)),
    ),
    Name("steps", "list of the steps", _funnel_steps, parts=_STEP_PARTS),
)


def _fields(subject: FormSubject) -> tuple[dict[str, Any], ...]:
    return tuple(
        {
            "name": field.name,
            "type": field.type or None,
            "interactions": field.interactions,
            "time": span(field.time),
            "refills": field.refills,
            "blanks": field.blanks,
            "dropped": field.dropped,
        }
        for field in subject.fields
    )


_FIELD_PARTS = {
    "name": "name of the field",
    "type": "type of the input",
    "interactions": "interactions with the field",
    "time": "average time spent on the field",
    "refills": "how often it was filled in again",
    "blanks": "how often it was sent empty",
    "dropped": "visitors who left just before the field",
}

_FORMS: tuple[Name, ...] = (
    Name("id", "the form's id", lambda s: s.id),
    Name("form", "name of the form", lambda s: s.name or s.id),
    Name("page", "path of the form's page", lambda s: _page(s.url)),
    Name("visits", "visitors to the form's page", lambda s: s.visits),
    Name("interactions", "visitors who began to fill it in", lambda s: s.interactions),
    Name("submits", "attempts to send it", lambda s: s.submits),
    Name("success", "times it was sent successfully", lambda s: s.success),
    Name(
        "completion",
        "successes of a hundred who began",
        lambda s: share(s.success, s.interactions),
    ),
    Name("fields", "list of the fields", _fields, parts=_FIELD_PARTS),
)

_PAGES: tuple[Name, ...] = (
    Name("path", "path of the page", lambda s: _page(s.path)),
    Name("title", "title of the page", lambda s: s.title or None),
    Name("views", "page views", lambda s: s.views),
    Name("visit_time", "average time on the page", lambda s: span(s.visit_time)),
    Name("engagement_time", "average active time", lambda s: span(s.engagement_time)),
    Name("clicks", "clicks", lambda s: s.clicks),
    Name("render_time", "average time to render", lambda s: span(s.render_time)),
    Name(
        "scroll",
        "average scroll reach",
        lambda s: None if s.scroll is None else Percent(s.scroll),
    ),
)

_WEBSITES: tuple[Name, ...] = (
    Name("id", "the website's id", lambda s: s.website.id),
    Name("status", "NotInstalled, Recording, Stopped or Paused", lambda s: s.status),
    Name(
        "recording_rate",
        "share of the sessions that is recorded",
        lambda s: None if s.recording_rate is None else Percent(s.recording_rate),
    ),
    Name(
        "budget_used",
        "share of the budget that is used",
        lambda s: None if s.budget_used is None else Percent(s.budget_used),
    ),
)

_TABLES: Mapping[Kind, tuple[Name, ...]] = {
    "recordings": _RECORDINGS,
    "feedback": _FEEDBACK,
    "funnels": _FUNNELS,
    "forms": _FORMS,
    "pages": _PAGES,
    "websites": _WEBSITES,
}
NAMES: Mapping[Kind, Mapping[str, Name]] = MappingProxyType(
    {kind: MappingProxyType({n.name: n for n in names}) for kind, names in _TABLES.items()}
)
"""What the subject itself tells, by kind and name."""

COMMON: Mapping[str, str] = MappingProxyType(
    {
        "rule": "the rule's id",
        "summary": "the rule's summary, or its id",
        "website": "name of the website",
        "matched": "when the rule matched",
        "why": "list of short lines: why the rule matched",
    }
)
"""What every message may use."""

_PUBLIC = {
    "share_url": "public address; empty unless the rule shares and `mouseflow.share_url` is set"
}
LINKS: Mapping[Kind, Mapping[str, str]] = MappingProxyType(
    {
        "recordings": {
            "url": "address of the recording (needs a login)",
            "link": "ready link to it",
            **_PUBLIC,
        },
        "pages": _PUBLIC,
    }
)
"""Addresses made by ourselves, for the kinds of subjects that have one."""


def known(kind: Kind) -> Mapping[str, str]:
    """Every name that a text about this kind may use, with its meaning."""
    own = {name: spec.meaning for name, spec in NAMES[kind].items()}
    return {**COMMON, **LINKS.get(kind, {}), **own}


PERSONAL: frozenset[str] = frozenset(
    name.name for names in NAMES.values() for name in names.values() if name.personal
)
"""Names of personal data: posted only where a rule's own text uses them."""


def values(task: Task, addresses: Addresses) -> dict[str, Any]:
    """Every name's value for this match; None is no data. Texts and lists are bounded."""
    subject = task.subject
    own = {name.name: bounded(name.read(subject)) for name in NAMES[subject.kind].values()}
    zone = subject.zone if isinstance(subject, RecordingSubject) else addresses.zone
    url = blocks.playback(subject, addresses) or ""
    return own | {
        "rule": task.rule,
        "summary": task.summary or task.rule,
        "website": bounded(subject.website.name or subject.website.id),
        "matched": moment(task.matched, zone),
        "why": bounded(task.why),
        "url": url,
        "link": Safe(f"<{url}|recording>") if url else None,
        "share_url": blocks.public(task.results.get("share"), addresses) or "",
    }


def bounded(value: Any) -> Any:
    """The value with long texts and long lists cut."""
    if type(value) is str:
        return clean(value, TEXT_LIMIT)
    if isinstance(value, dict):
        return {clean(k, 100): bounded(v) for k, v in list(value.items())[:LIST_LIMIT]}
    if isinstance(value, tuple):
        return tuple(bounded(item) for item in value[:LIST_LIMIT])
    return value
