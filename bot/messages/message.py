"""The bot's own messages as Block Kit: a match, a resolved alert, a digest, a notice."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from bot.domain.subjects import Kind, Subject
from bot.fields.catalogue import KINDS, SUBJECTS
from bot.messages.blocks import Block, buttons, context, header, section, table
from bot.messages.template_variables import values
from bot.messages.text import NOTHING, cut_mrkdwn, lasting, mrkdwn, number
from bot.ports import Addresses, Task

FALLBACK = 600
_WHY_LINES, _PATHS, _TAGS, _PARTS = 8, 8, 10, 8


@dataclass(frozen=True, slots=True)
class Message:
    """A message to post: `text` is what notifications and old clients show.

    `note` goes into the audit log: what is unusual about the message.
    """

    text: str
    blocks: tuple[Block, ...] = ()
    note: str = ""


Row = tuple[str, str]
Values = Mapping[str, Any]


def value_text(value: Any) -> str:
    """A value as mrkdwn: numbers with separators, yes or no, `–` for no data."""
    if value is None or value in ("", ()):
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if type(value) in (int, float):
        return number(value)
    if isinstance(value, tuple | list):
        return ", ".join(value_text(item) for item in value)
    return mrkdwn(value)


def match(task: Task, addresses: Addresses) -> Message:
    """A match: what, where, how severe, who and why, with a button to the recording."""
    shown = values(task, addresses)
    rows = _ROWS[task.subject.kind](shown)
    return Message(
        _fallback(shown["summary"], rows, shown["url"]),
        (
            header(shown["summary"]),
            table(rows),
            *_reasons(task.why),
            *_links(shown),
            *_missing(task),
            context(f"Rule {mrkdwn(task.rule)} · {mrkdwn(shown['matched'] or '')}"),
        ),
    )


def from_template(task: Task, addresses: Addresses, text: str, linked: bool) -> Message:
    """A message with the rule's own text, filled in by `render`.

    `linked`: the text has its own link, so it needs no button.
    """
    shown = values(task, addresses)
    fallback = cut_mrkdwn(text, FALLBACK)
    links = () if linked else _links(shown)
    return Message(fallback, (section(text), *links, *_missing(task)))


def resolved(task: Task, addresses: Addresses, lasted: timedelta) -> Message:
    """An alert is resolved: its condition no longer holds."""
    shown = values(task, addresses)
    title = f"Resolved after {lasting(lasted)}: {shown['summary']}"
    rows = _ROWS[task.subject.kind](shown)
    return Message(
        _fallback(title, rows, ""),
        (
            header(title),
            table(rows),
            *_reasons(task.why),
            context(f"Rule {mrkdwn(task.rule)}"),
        ),
    )


def notice(title: str, lines: Sequence[str]) -> Message:
    """A message about the bot itself, for the people who run it."""
    shown = [mrkdwn(line, 400) for line in lines[:20]]
    more = [f"and {len(lines) - 20} more lines"] if len(lines) > 20 else []
    body = "\n".join(shown + more)
    text = mrkdwn(title) + (f": {'; '.join(shown[:3])}" if shown else "")
    return Message(cut_mrkdwn(text, FALLBACK), (header(title), *((section(body),) if body else ())))


def digest(
    task: Task,
    addresses: Addresses,
    *,
    total: int,
    reasons: Mapping[str, int],
    since: datetime,
    worst: Sequence[Subject],
) -> Message:
    """Many matches of one rule: how many for each reason, the worst ten, how many more."""
    noun = "match" if total == 1 else "matches"
    title = f"{number(total)} more {noun}: {task.summary or task.rule}"
    why = " · ".join(f"{number(n)} {mrkdwn(reason)}" for reason, n in reasons.items())
    lines = [f"{place}. {_line(task, s, addresses)}" for place, s in enumerate(worst[:10], 1)]
    left = total - len(lines)
    lines += [f"and {number(left)} more"] if lines and left > 0 else []
    lasted = lasting(max(task.now - since, timedelta()))
    return Message(
        cut_mrkdwn(f"{mrkdwn(title)} ({why})", FALLBACK),
        (
            header(title),
            section(why or "held back"),
            *(section(line) for line in lines),
            context(f"Rule {mrkdwn(task.rule)} · in the last {lasted}"),
        ),
    )


def _line(task: Task, subject: Subject, addresses: Addresses) -> str:
    shown = values(replace(task, subject=subject, results={}), addresses)
    facts = [
        f"{label} {value_text(shown[name])}" for label, name in _BRIEF[subject.kind] if shown[name]
    ]
    link = f" · <{shown['url']}|watch>" if shown["url"] else ""
    return f"*{mrkdwn(_place(shown, subject.kind))}* {', '.join(facts)}{link}"


def _place(shown: Values, kind: Kind) -> str:
    """The website, and which page, campaign or the like of it."""
    names = SUBJECTS[kind].names
    site = str(shown["website"])
    page = str((shown[names] if names else "") or "")
    return f"{site}{page}" if page.startswith("/") else f"{site} {page}".strip()


_BRIEF: Mapping[Kind, tuple[tuple[str, str], ...]] = {
    "recordings": (("friction", "friction"), ("active", "duration"), ("pages", "pages")),
    "feedback": (("new responses", "new_responses"), ("responses", "responses")),
    "funnels": (("conversion", "conversion"), ("entered", "entered")),
    "forms": (("completion", "completion"), ("visits", "visits")),
    "pages": (("views", "views"), ("visit time", "visit_time")),
    "websites": (("status", "status"), ("budget used", "budget_used")),
}


def _fallback(title: str, rows: Sequence[Row], url: str) -> str:
    facts = ", ".join(f"{label.lower()} {value}" for label, value in rows if value != NOTHING)
    text = f"{mrkdwn(title)}: {facts}".replace("\n", " ")
    return cut_mrkdwn(text, FALLBACK) + (f" <{url}|Watch the recording>" if url else "")


def _reasons(why: Sequence[str]) -> tuple[Block, ...]:
    lines = [f"• {mrkdwn(line, 200)}" for line in why[:_WHY_LINES]]
    if len(why) > _WHY_LINES:
        lines.append(f"• and {len(why) - _WHY_LINES} more reasons")
    return (section("*Why*\n" + "\n".join(lines)),) if lines else ()


def _missing(task: Task) -> tuple[Block, ...]:
    if not task.missing:
        return ()
    return (context(f"Not done yet: {mrkdwn(', '.join(task.missing))}"),)


def _links(shown: Values) -> tuple[Block, ...]:
    return buttons((("Watch the recording", shown["url"]), ("Public link", shown["share_url"])))


def _recording_rows(shown: Values) -> list[Row]:
    saw = shown["saw"] or ((shown["entry_page"],) if shown["entry_page"] else ())
    path = " → ".join(mrkdwn(page, 120) for page in saw[:_PATHS])
    path += f" → {len(saw) - _PATHS} more" if len(saw) > _PATHS else ""
    friction = (
        [("Friction", value_text(shown["friction"]))] if shown["friction"] is not None else []
    )
    browser = " ".join(str(shown[n]) for n in ("browser", "browser_version") if shown[n])
    system = " ".join(str(shown[n]) for n in ("os", "os_version") if shown[n])
    country = (shown["country"] or "").upper()
    who = [shown["visitor_type"], country, shown["device"], browser, system]
    tags = [("Tags", value_text(shown["tags"][:_TAGS]))] if shown["tags"] else []
    return [
        ("Website", value_text(shown["website"])),
        ("Saw" if shown["saw"] or not path else "Entry page", path or NOTHING),
        *friction,
        ("Active", f"{value_text(shown['duration'])} on {_pages(shown['pages'])}"),
        ("Visitor", " · ".join(mrkdwn(part, 80) for part in who if part) or NOTHING),
        ("Started", value_text(shown["started"])),
        *tags,
    ]


def _pages(count: int | None) -> str:
    return f"{value_text(count)} page" + ("" if count == 1 else "s")


def _campaign_rows(shown: Values) -> list[Row]:
    return _rows(
        shown,
        ("Website", "website"),
        ("Campaign", "campaign"),
        ("New responses", "new_responses"),
        ("Responses", "responses"),
        ("Impressions", "impressions"),
        ("Response rate", "response_rate"),
        ("Enabled", "enabled"),
    )


def _funnel_rows(shown: Values) -> list[Row]:
    steps = [f"{mrkdwn(step['name'], 80)}: {value_text(step['count'])}" for step in shown["steps"]]
    listed = "\n".join(steps[:_PARTS]) + ("\n…" if len(steps) > _PARTS else "")
    rows = _rows(
        shown,
        ("Website", "website"),
        ("Funnel", "funnel"),
        ("Entered", "entered"),
        ("Completed", "completed"),
        ("Conversion", "conversion"),
    )
    return [*rows, ("Steps", listed or NOTHING)]


def _form_rows(shown: Values) -> list[Row]:
    rows = _rows(
        shown,
        ("Website", "website"),
        ("Form", "form"),
        ("Page", "page"),
        ("Visits", "visits"),
        ("Interactions", "interactions"),
        ("Submits", "submits"),
        ("Success", "success"),
        ("Completion", "completion"),
    )
    dropped = sorted(
        (field for field in shown["fields"] if field["dropped"]), key=lambda f: -f["dropped"]
    )
    worst = "\n".join(f"{mrkdwn(f['name'], 80)}: {value_text(f['dropped'])}" for f in dropped[:3])
    return [*rows, ("Most drop-offs", worst)] if worst else rows


def _page_rows(shown: Values) -> list[Row]:
    return _rows(
        shown,
        ("Website", "website"),
        ("Page", "path"),
        ("Title", "title"),
        ("Views", "views"),
        ("Visit time", "visit_time"),
        ("Active time", "engagement_time"),
        ("Clicks", "clicks"),
        ("Render time", "render_time"),
        ("Scroll", "scroll"),
    )


def _website_rows(shown: Values) -> list[Row]:
    return _rows(
        shown,
        ("Website", "website"),
        ("Status", "status"),
        ("Stopped by", "stopped_by"),
        ("Recording rate", "recording_rate"),
        ("Budget used", "budget_used"),
    )


def _rows(shown: Values, *labels: Row) -> list[Row]:
    return [(label, value_text(shown[name])) for label, name in labels if shown[name] is not None]


_ROWS: Mapping[Kind, Callable[[Values], list[Row]]] = {
    "recordings": _recording_rows,
    "feedback": _campaign_rows,
    "funnels": _funnel_rows,
    "forms": _form_rows,
    "pages": _page_rows,
    "websites": _website_rows,
}

if missing := [kind for kind in KINDS if kind not in _ROWS or kind not in _BRIEF]:
    raise TypeError(f"kinds of subjects without rows of a message: {', '.join(missing)}")
