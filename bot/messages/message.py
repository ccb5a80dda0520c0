"""The bot's own messages: a match, its end, a digest, a notice, as Block Kit with plain words."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from bot.domain.subjects import Kind, Subject
from bot.fields.catalogue import SUBJECTS
from bot.messages.blocks import Block, buttons, context, header, section, table
from bot.messages.template_variables import values
from bot.messages.text import NOTHING, cut_mrkdwn, lasting, mrkdwn, number
from bot.ports import Addresses, Task

FALLBACK = 600
_WHY_LINES, _PATHS, _TAGS, _PARTS = 8, 8, 10, 8


@dataclass(frozen=True, slots=True)
class Message:
    """A message ready to post: `text` is what notifications and old clients show.

    `note` is for the audit log: what is unusual about it.
    """

    text: str
    blocks: tuple[Block, ...] = ()
    note: str = ""


Row = tuple[str, str]
Values = Mapping[str, Any]


def said(value: Any) -> str:
    """A value as mrkdwn: numbers with separators, yes and no, `–` for no data."""
    if value is None or value in ("", ()):
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if type(value) in (int, float):
        return number(value)
    if isinstance(value, tuple | list):
        return ", ".join(said(item) for item in value)
    return mrkdwn(value)


def match(task: Task, addresses: Addresses) -> Message:
    """What matched, where, how bad, who and why, with a button to the recording."""
    told = values(task, addresses)
    rows = _ROWS[task.subject.kind](told)
    return Message(
        _fallback(told["summary"], rows, told["url"]),
        (
            header(told["summary"]),
            table(rows),
            *_reasons(task.why),
            *_links(told),
            context(f"Rule {mrkdwn(task.rule)} · {mrkdwn(told['matched'] or '')}"),
        ),
    )


def written(task: Task, addresses: Addresses, text: str, linked: bool) -> Message:
    """A message whose text the rule's author wrote and `render` has filled in.

    `linked` tells that the text has its own link, so that no button is needed.
    """
    told = values(task, addresses)
    fallback = cut_mrkdwn(text, FALLBACK)
    return Message(fallback, (section(text), *(() if linked else _links(told))))


def resolved(task: Task, addresses: Addresses, lasted: timedelta) -> Message:
    """The condition of a level no longer holds."""
    told = values(task, addresses)
    title = f"Over: {told['summary']}"
    rows = _ROWS[task.subject.kind](told)
    return Message(
        _fallback(title, rows, ""),
        (
            header(title),
            table(rows),
            *_reasons(task.why),
            context(f"Rule {mrkdwn(task.rule)} · lasted {lasting(lasted)}"),
        ),
    )


def notice(title: str, lines: Sequence[str]) -> Message:
    """News of the bot itself, for the people who run it."""
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
    """Many matches of one rule: how many for which reason, the worst few, how many more."""
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
            context(f"Rule {mrkdwn(task.rule)} · since {lasted}"),
        ),
    )


def _line(task: Task, subject: Subject, addresses: Addresses) -> str:
    told = values(replace(task, subject=subject, results={}), addresses)
    facts = [f"{label} {said(told[name])}" for label, name in _BRIEF[subject.kind] if told[name]]
    link = f" · <{told['url']}|watch>" if told["url"] else ""
    return f"*{mrkdwn(_place(told, subject.kind))}* {', '.join(facts)}{link}"


def _place(told: Values, kind: Kind) -> str:
    """The website, and which page, campaign or the like of it."""
    names = SUBJECTS[kind].names
    site = str(told["website"])
    page = str((told[names] if names else "") or "")
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


def _links(told: Values) -> tuple[Block, ...]:
    return buttons((("Watch the recording", told["url"]), ("Public link", told["share_url"])))


def _recording_rows(told: Values) -> list[Row]:
    saw = told["saw"] or ((told["entry_page"],) if told["entry_page"] else ())
    path = " → ".join(mrkdwn(page, 120) for page in saw[:_PATHS])
    path += f" → {len(saw) - _PATHS} more" if len(saw) > _PATHS else ""
    friction = [("Friction", said(told["friction"]))] if told["friction"] is not None else []
    browser = " ".join(str(told[n]) for n in ("browser", "browser_version") if told[n])
    system = " ".join(str(told[n]) for n in ("os", "os_version") if told[n])
    country = (told["country"] or "").upper()
    who = [told["visitor_type"], country, told["device"], browser, system]
    tags = [("Tags", said(told["tags"][:_TAGS]))] if told["tags"] else []
    return [
        ("Website", said(told["website"])),
        ("Saw" if told["saw"] or not path else "Began on", path or NOTHING),
        *friction,
        ("Active", f"{said(told['duration'])} on {_pages(told['pages'])}"),
        ("Visitor", " · ".join(mrkdwn(part, 80) for part in who if part) or NOTHING),
        ("Started", said(told["started"])),
        *tags,
    ]


def _pages(count: int | None) -> str:
    return f"{said(count)} page" + ("" if count == 1 else "s")


def _campaign_rows(told: Values) -> list[Row]:
    return _rows(
        told,
        ("Website", "website"),
        ("Campaign", "campaign"),
        ("New responses", "new_responses"),
        ("Responses", "responses"),
        ("Impressions", "impressions"),
        ("Response rate", "response_rate"),
        ("Enabled", "enabled"),
    )


def _funnel_rows(told: Values) -> list[Row]:
    steps = [f"{mrkdwn(step['name'], 80)}: {said(step['count'])}" for step in told["steps"]]
    shown = "\n".join(steps[:_PARTS]) + ("\n…" if len(steps) > _PARTS else "")
    rows = _rows(
        told,
        ("Website", "website"),
        ("Funnel", "funnel"),
        ("Entered", "entered"),
        ("Completed", "completed"),
        ("Conversion", "conversion"),
    )
    return [*rows, ("Steps", shown or NOTHING)]


def _form_rows(told: Values) -> list[Row]:
    rows = _rows(
        told,
        ("Website", "website"),
        ("Form", "form"),
        ("Page", "page"),
        ("Visits", "visits"),
        ("Began", "interactions"),
        ("Submits", "submits"),
        ("Success", "success"),
        ("Completion", "completion"),
    )
    left = sorted(
        (field for field in told["fields"] if field["dropped"]), key=lambda f: -f["dropped"]
    )
    worst = "\n".join(f"{mrkdwn(f['name'], 80)}: {said(f['dropped'])}" for f in left[:3])
    return [*rows, ("Left before", worst)] if worst else rows


def _page_rows(told: Values) -> list[Row]:
    return _rows(
        told,
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


def _website_rows(told: Values) -> list[Row]:
    return _rows(
        told,
        ("Website", "website"),
        ("Status", "status"),
        ("Recording rate", "recording_rate"),
        ("Budget used", "budget_used"),
    )


def _rows(told: Values, *labels: Row) -> list[Row]:
    return [(label, said(told[name])) for label, name in labels if told[name] is not None]


_ROWS: Mapping[Kind, Callable[[Values], list[Row]]] = {
    "recordings": _recording_rows,
    "feedback": _campaign_rows,
    "funnels": _funnel_rows,
    "forms": _form_rows,
    "pages": _page_rows,
    "websites": _website_rows,
}
