"""A message, whatever it says: free of any vendor, `bot.messages.blocks` renders it for Slack."""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from bot.domain.budget import BUDGET
from bot.domain.press import Button
from bot.domain.subjects import Severity
from bot.messages import links
from bot.messages.figures import Values
from bot.messages.text import and_more, clean, cut, number
from bot.ports import Addresses, Task

INFO, WARNING, CRITICAL, ENDED = "🔵", "🔶", "🛑", "✅"


OF_SEVERITY: Mapping[Severity, str] = {"info": INFO, "warning": WARNING, "critical": CRITICAL}


ICONS = (INFO, WARNING, CRITICAL, ENDED)


BAD_PAGE = "⚠️"


HEADLINE, WHY, PLACE, PATH = 150, 300, 80, 200
"""Characters at most: of a headline, of the lines below, of a website, of a visit."""


MOST_ITEMS, FEW_ITEMS = 5, 3
"""Lines of a digest: five if it has no more, else three."""


class Part(Struct, frozen=True):
    """A piece of a line: plain text that may come from a visitor, in bold, linked, or a time.

    `at` is the moment that `text` tells in the account's zone; a reader may see it in their own.
    `user` is the Slack id of the person whose name `text` is.
    """

    text: str
    bold: bool = False
    url: str = ""
    at: datetime | None = None
    user: str = ""


Line = tuple[Part, ...]


class Message(Struct, frozen=True, kw_only=True):
    """What happened (`headline`, which links to `url`), at which website (`place`), and why.

    `own` is the text of the rule's author, already in Slack's mrkdwn, in place of all that.
    `visit` is the path of a recording, `items` the worst few of many, `links` what can be opened,
    `context` the grey line's pieces, before its `rules` (with their `pages`), the `account` where
    there are several, their `owner` and their `runbook`; `reason` is where one reads why it
    matched; `more` is how many items are not listed. `also` says what further rules say of the
    same recording. `people` did something with `buttons` or `menu`, and `others` before them;
    `edits` counts changes. `acts_on` is what a button of a message about the bot itself acts on,
    `label` what it says there (`Offer`). `note` goes into the audit log: what is unusual about the
    message. `asked` is the reason that has an alert's figure and limit. `calm`: its link is not
    what to do.
    """

    icon: str = ""
    headline: str = ""
    url: str = ""
    place: str = ""
    why: tuple[Line, ...] = ()
    own: str = ""
    visit: Line = ()
    items: tuple[Line, ...] = ()
    more: int = 0
    links: tuple[tuple[str, str], ...] = ()
    context: tuple[Line, ...] = ()
    also: tuple[Line, ...] = ()
    rules: tuple[str, ...] = ()
    pages: tuple[tuple[str, str], ...] = ()
    runbook: str = ""
    owner: str = ""
    account: str = ""
    reason: str = ""
    people: tuple[Line, ...] = ()
    others: int = 0
    buttons: tuple[Button, ...] = ()
    menu: tuple[Button, ...] = ()
    edits: int = 0
    acts_on: str = ""
    label: str = ""
    note: str = ""
    asked: str = ""
    calm: bool = False


def of_rule(task: Task, addresses: Addresses) -> dict[str, Any]:
    """The task's rule, and the addresses of what the status page has of it."""
    rule = links.page(addresses, "rules", task.rule)
    match = links.page(addresses, "matches", task.key.rpartition("/")[0])
    return {
        "rules": (task.rule,),
        "pages": ((task.rule, rule),) if rule else (),
        "runbook": task.runbook,
        "owner": cut(clean(task.owner), PLACE),
        "account": addresses.account,
        "reason": match,
    }


def of_several(task: Task, addresses: Addresses, total: int, url: str = "") -> dict[str, Any]:
    """`of_rule` for a message about many matches: headline and button lead to their list.

    Without a page the headline leads to `url`.
    """
    about = of_rule(task, addresses)
    if not about["reason"] or total == 1:
        return {**about, "url": url}
    return {
        **about,
        "url": about["reason"],
        "links": ((f"See all {number(total)}", about["reason"]),),
        "reason": "",
    }


def answer(message: Message) -> Message:
    """The message as an answer in a thread, below the one that names the rule and has links."""
    return Message(
        icon=message.icon,
        headline=message.headline,
        place=message.place,
        why=message.why,
        own=message.own,
    )


def kept(message: Message) -> str:
    """The message as JSON, for a later edit."""
    return msgspec.json.encode(message).decode()


def reread(text: str) -> Message | None:
    """The message that `kept` wrote; None if there is none, or another version wrote it."""
    try:
        return msgspec.json.decode(text, type=Message)
    except msgspec.MsgspecError:
        return None


def more_severe(first: Message, second: Message) -> bool:
    """Whether the second says something worse, of which an edit of the first would tell nobody."""
    return _severity(second) > _severity(first)


def joined(first: Message, second: Message) -> Message:
    """Two rules' messages about one recording as one: the more severe leads, else the first."""
    lead, other = first, second
    if more_severe(first, second):
        lead, other = second, first
    why = cut(text_of(other.why[0]), WHY) if other.why else ""
    word = why.partition(" ")[0]
    a_name = word[1:] != word[1:].lower() or len(word) == 1  # JavaScript, DE
    why = f": {why if a_name else why[:1].lower() + why[1:]}" if why else ""
    said = (Part(f"{other.icon} Also "), Part(other.headline, bold=True), *line_of(why))
    return replace(
        lead,
        links=tuple(dict.fromkeys((*lead.links, *other.links))),
        also=(*first.also, said),
        people=first.people,
        others=first.others,
        buttons=first.buttons,
        menu=first.menu,
        edits=first.edits + 1,
        rules=tuple(dict.fromkeys((*lead.rules, *other.rules))),
        pages=tuple(dict.fromkeys((*lead.pages, *other.pages))),
        runbook=lead.runbook or other.runbook,
        owner=lead.owner or other.owner,
    )


def pressable(
    addresses: Addresses, button: Button, *menu: Button
) -> tuple[tuple[Button, ...], tuple[Button, ...]]:
    """Buttons and menu, where presses reach the bot."""
    return ((button,), menu) if addresses.buttons else ((), ())


def _severity(message: Message) -> int:
    return (INFO, WARNING, CRITICAL).index(message.icon) if message.icon in ICONS[:3] else 0


def grey(message: Message) -> tuple[Line, ...]:
    """The pieces of the grey line: who, when, which rules."""
    pages, budget = dict(message.pages), any(each.startswith(BUDGET) for each in message.rules)
    word = "Budget" if budget else "Rule" if len(message.rules) == 1 else "Rules"
    rules = [Part(f"{word} ")]
    for each in message.rules[:FEW_ITEMS]:
        rules += [*([Part(", ")] if len(rules) > 1 else []),
                  Part(each.removeprefix(BUDGET), url=pages.get(each, ""))]  # fmt: skip
    if more := and_more(len(message.rules) - FEW_ITEMS):
        rules.append(Part(more))
    runbook = ((Part("Runbook", url=message.runbook),),) if message.runbook else ()
    owner = (plain_line(message.owner),) if message.owner else ()
    account = (plain_line(f"Account {message.account}"),) if message.account else ()
    named = (tuple(rules),) if message.rules else ()
    return (*message.context, *named, *account, *owner, *runbook)


def plain(message: Message) -> list[str]:
    """The message as lines of plain text, without links; `own` as its author wrote it."""
    head = " · ".join(part for part in (message.headline, message.place) if part)
    shown = [message.own] if message.own else [f"{message.icon} {head}".strip()]
    lines = (*message.why, message.visit, *message.also, *message.items, *message.people)
    end = " · ".join(text_of(line) for line in grey(message))
    return [line for line in (*shown, *map(text_of, lines), rest(message), end) if line]


def rest(message: Message) -> str:
    """`and 4,997 more`, empty if all items are listed."""
    return f"and {number(message.more)} more" if message.more else ""


def text_of(line: Line) -> str:
    """The line without bold and links."""
    return "".join(part.text for part in line)


def line_of(text: str) -> Line:
    """The text with the paths of pages in bold; empty for no text."""
    parts = re.split(r"(?<!\S)(/(?:[^\s,;:]*[^\s,;:.!?])?)", text)
    return tuple(Part(part, bold=n % 2 == 1) for n, part in enumerate(parts) if part)


_RECENT = timedelta(hours=12)


def time_part(at: datetime, now: datetime, zone: str) -> Line:
    """A moment: the time alone if it is of the last 12 hours, else with its day."""
    return _moment(at, zone, day=abs(now - at) >= _RECENT)


def _moment(at: datetime, zone: str, *, day: bool) -> Line:
    local = at.astimezone(ZoneInfo(zone))
    text = f"{local.day} {local:%b %H:%M %Z}" if day else f"{local:%H:%M %Z}"
    return (Part(text, at=at),)


def span_of(since: datetime, until: datetime, now: datetime, addresses: Addresses) -> Line:
    """`10:00 to 12:04`; both with their day if the first needs it and they are of two days."""
    zone = ZoneInfo(addresses.zone)
    days = since.astimezone(zone).date() != until.astimezone(zone).date()
    day = abs(now - until) >= _RECENT or (days and abs(now - since) >= _RECENT)
    return (
        *time_part(since, now, addresses.zone),
        Part(" to "),
        *_moment(until, addresses.zone, day=day),
    )


def plain_line(text: str) -> Line:
    """The text as it is."""
    return (Part(text),)


def site_of(shown: Values) -> str:
    """The website's name, cut."""
    return cut(str(shown["website"]), PLACE)
