"""The names a message's text may use, and their values: the catalogue's fields and a few more."""

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any, assert_never

from bot.domain.subjects import Band, Kind, RecordingSubject
from bot.fields.catalogue import text_fields
from bot.fields.field import Field, TextKind
from bot.messages import links
from bot.messages.pages import page_of_trouble
from bot.messages.text import Address, Friction, Percent, Safe, Span, clean, moment, mrkdwn
from bot.ports import Addresses, Task

LONGEST = 3000
"""The most characters of a text that a rule's author writes."""

LIST_LIMIT = 50
TEXT_LIMIT = 500
_MS = timedelta(milliseconds=1)

COMMON: Mapping[str, str] = MappingProxyType(
    {
        "rule": "the rule's id",
        "summary": "the rule's summary, or its id",
        "severity": "info, warning or critical",
        "runbook": "address of the rule's instructions; empty without any",
        "owner": "who looks after the rule; empty without anybody",
        "website": "name of the website",
        "matched": "when the rule matched",
        "why": "list of short lines: why the rule matched",
        "count": "how many recordings the match counts, where the rule has `count`",
        "within": "the time in which they came, where the rule has `count`",
        "group": "the value that the rule's `count` is by, such as a page; none if it is personal",
        "others": "list of ready links to the worst few, where the rule has `count`",
    }
)
"""What every message may use, with its meaning."""

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
"""Addresses that the bot makes, for the kinds of subjects that have one."""


def known(kind: Kind) -> tuple[str, ...]:
    """Every name that a text about this kind may use."""
    return (*COMMON, *LINKS.get(kind, {}), *text_fields(kind))


def values(task: Task, addresses: Addresses) -> dict[str, Any]:
    """Every name's value for this match; None is no data. Texts and lists are bounded."""
    subject = task.subject
    zone = subject.zone if isinstance(subject, RecordingSubject) else addresses.zone
    own = {
        name: bounded(printable(field, field.in_text(subject), zone))
        for name, field in text_fields(subject.kind).items()
    }
    url = links.playback(subject, addresses) or ""
    return own | {
        "rule": task.rule,
        "summary": task.summary or task.rule,
        "severity": task.severity,
        "runbook": Safe(task.runbook.replace("&", "&amp;")),
        "owner": bounded(task.owner),
        "website": bounded(subject.website.name or subject.website.id),
        "matched": moment(task.matched, zone),
        "why": bounded(task.why),
        "url": url,
        "link": Safe(f"<{url}|recording>") if url else None,
        "count": task.many.total if task.many else None,
        "within": Span((task.many.until - task.many.since) // _MS) if task.many else None,
        "group": bounded(task.many.group) if task.many and task.many.group else None,
        "others": _others(task, addresses),
        "share_url": links.public(task.results.get("share"), addresses) or "",
    }


def _others(task: Task, addresses: Addresses) -> tuple[Safe, ...]:
    found = []
    for each in task.many.worst if task.many else ():
        url, page = links.playback(each, addresses), page_of_trouble(each)
        if url:
            found.append(Safe(f"<{url}|{mrkdwn(page).replace('|', '¦') or 'recording'}>"))
    return tuple(found)


def printable(field: Field, value: Any, zone: str) -> Any:
    """The field's value in a form that prints for people and compares as a rule would."""
    match field.type:
        case "variables":
            return dict(pair.partition("=")[::2] for pair in value)
        case "items":
            return tuple(_item(field, item, zone) for item in value or ())
        case "texts" | "flag":
            return value
        case "text":
            return Address(value) if value and field.text is TextKind.ADDRESS else value
        case "number":
            return Friction(value) if isinstance(value, Band) else value
        case "duration":
            return None if value is None else Span(value)
        case "percent":
            return None if value is None else Percent(value)
        case "moment":
            return moment(value, zone)
        case _:
            assert_never(field.type)


def _item(field: Field, item: Any, zone: str) -> dict[str, Any]:
    told = (part for part in field.parts if part.in_texts)
    return {part.text_name: printable(part, part.in_text(item), zone) for part in told}


def bounded(value: Any) -> Any:
    """The value with long texts and long lists cut."""
    if type(value) is str:
        return clean(value, TEXT_LIMIT)
    if isinstance(value, dict):
        return {clean(k, 100): bounded(v) for k, v in list(value.items())[:LIST_LIMIT]}
    if isinstance(value, tuple):
        return tuple(bounded(item) for item in value[:LIST_LIMIT])
    return value
