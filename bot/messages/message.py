"""The bot's own messages: a match, a resolved alert, a digest, a notice.

A message is vendor-free; `bot.messages.blocks` renders it for Slack. The first line says what
happened and where, the second why. What can be done follows, and one grey line ends it.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import reduce
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import msgspec

from bot.domain.budget import BUDGET
from bot.domain.limits import Reason
from bot.domain.many import NOWHERE, Many, Spread
from bot.domain.press import Button, Offer
from bot.domain.subjects import RecordingSubject, Severity, Subject
from bot.fields.catalogue import SUBJECTS, text_fields
from bot.fields.normal import path
from bot.messages import links
from bot.messages.figures import BRIEF, FIGURES, Values, value_in_words, with_limit
from bot.messages.pages import PAGE, Page, middle_cut, page_of_trouble, pages, where
from bot.messages.template_variables import values
from bot.messages.text import clean, cut, lasting, number, size
from bot.ports import Addresses, Task

INFO, WARNING, CRITICAL, ENDED = "🔵", "🔶", "🛑", "✅"
OF_SEVERITY: Mapping[Severity, str] = {"info": INFO, "warning": WARNING, "critical": CRITICAL}
ICONS = (INFO, WARNING, CRITICAL, ENDED)
BAD_PAGE = "⚠️"

HEADLINE, WHY, PLACE, PATH = 150, 300, 80, 200
"""Characters at most: of a headline, of the lines below, of a website, of a visit."""
MOST_ITEMS, FEW_ITEMS = 5, 3
"""Lines of a digest: five if it has no more, else three."""
_MOST_LINES, _MOST_PAGES = 20, 8


@dataclass(frozen=True, slots=True)
class Part:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What happened (`headline`, which links to `url`), at which website (`place`), and why.

    `own` is the text of the rule's author, already in Slack's mrkdwn, in place of all that.
    `visit` is the path of a recording, `items` the worst few of many, `links` what can be opened,
    `context` the grey line's pieces, before its `rules` (with their `pages`), their `owner` and
    their `runbook`; `reason` is where one reads why it matched; `more` is how many items are not
    listed. `also` says what further rules say of the same recording. `people` did something with
    `buttons` or `menu`, and `others` before them; `edits` counts changes. `acts_on` is what a
    button of a message about the bot itself acts on, `label` what it says there (`Offer`). `note`
    goes into the audit log: what is unusual about the message.
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
    reason: str = ""
    people: tuple[Line, ...] = ()
    others: int = 0
    buttons: tuple[Button, ...] = ()
    menu: tuple[Button, ...] = ()
    edits: int = 0
    acts_on: str = ""
    label: str = ""
    note: str = ""


def match(task: Task, addresses: Addresses) -> Message:
    """A match: what and where, why, what the visitor saw, with a link to it."""
    if task.many is not None:
        return _many(task, task.many, addresses)
    if task.rule.startswith(BUDGET):
        return _budget(task, addresses)
    shown, subject = values(task, addresses), task.subject
    headline, why = _headline(task, shown)
    reasons = _sentences(why, joined=isinstance(subject, RecordingSubject))
    buttons, menu = _of_match(task, addresses)
    figures = " ".join(cut(clean(part), WHY) for part in FIGURES[subject.kind](shown))
    return Message(
        icon=INFO if _is_news(task) and task.severity == "warning" else OF_SEVERITY[task.severity],
        headline=headline,
        url=shown["url"] or links.website(subject, addresses),
        place=_place(shown, subject),
        why=(*reasons, *((line_of(figures),) if figures else ()), *_public_link(shown, subject)),
        visit=_visit(subject),
        links=_links(shown, subject, addresses),
        context=(*_missing(task), *_context(task, shown, addresses)),
        **_on_page(task, addresses),
        buttons=buttons,
        menu=menu,
    )


def _on_page(task: Task, addresses: Addresses) -> dict[str, Any]:
    """The task's rule, and the addresses of what the status page has of it."""
    rule = links.page(addresses, "rules", task.rule)
    match = links.page(addresses, "matches", task.key.rpartition("/")[0])
    return {
        "rules": (task.rule,),
        "pages": ((task.rule, rule),) if rule else (),
        "runbook": task.runbook,
        "owner": cut(clean(task.owner), PLACE),
        "reason": match,
    }


def _budget(task: Task, addresses: Addresses) -> Message:
    """A step of a budget: how much is used and what the bot did, on which websites, what follows.

    It is news: there is nothing to acknowledge.
    """
    icon, headline = _iconed(task.summary, OF_SEVERITY[task.severity])
    url = links.page(addresses, "budgets", at=task.rule.removeprefix(BUDGET))
    names = (task.subject.website.name or "").split(", ")
    website = links.website(task.subject, addresses) if len(names) == 1 else ""
    opens = ("Open budget", url)
    if not url:
        opens = ("Open in Mouseflow", website or addresses.app_url)
    lines = [f"{_begin(line)}{_stop(line)}" for line in (clean(each, WHY) for each in task.why)]
    websites = f"{len(names)} websites" if len(names) > 2 else cut(clean(", ".join(names)), PLACE)
    return Message(
        icon=icon,
        headline=cut(clean(headline), HEADLINE),
        url=url or website,
        why=tuple(line_of(cut(line, WHY)) for line in lines[:_MOST_LINES]),
        links=(opens,),
        context=(
            *_missing(task),
            *((_plain(websites),) if websites else ()),
            time_part(task.matched, task.now, addresses.zone),
        ),
        rules=(task.rule,),
        pages=((task.rule, url),) if url else (),
    )


def _iconed(title: str, other: str = WARNING) -> tuple[str, str]:
    """The icon at the beginning of a title, `other` if it has none, and the rest."""
    icon, _, rest = title.partition(" ")
    return (icon, rest) if icon in ICONS else (other, title)


def _many(task: Task, many: Many, addresses: Addresses) -> Message:
    """A match of many: how many, in which time, where they concentrate, the worst few."""
    shown = values(task, addresses)
    lasted = lasting(max(many.until - many.since, timedelta(seconds=1)))
    buttons, menu = _of_match(task, addresses)
    asks = f"The rule asks for {number(many.asked)} in {lasting(many.within)}."
    spread = _on_pages(many.spread)
    several = len(many.spread.websites) > 1
    few = _few(task, many.worst, many.total, many.until, addresses, several=several)
    return Message(
        icon=OF_SEVERITY[task.severity],
        headline=cut(f"{number(many.total)} in {lasted}: {clean(shown['summary'])}", HEADLINE),
        url=links.website(task.subject, addresses),
        place=_site(shown),
        why=(line_of(cut(" ".join((*where(spread, many.total), asks)), WHY)),),
        items=few,
        more=_left(few, many.worst, many.total),
        links=_website_link(task.subject, addresses),
        context=(
            *_missing(task),
            span_of(many.since, many.until, task.now, addresses),
        ),
        **_on_page(task, addresses),
        buttons=buttons,
        menu=menu,
    )


def from_template(task: Task, addresses: Addresses, text: str, linked: bool) -> Message:
    """A message with the rule's own text, filled in by `render`.

    `linked`: the text has its own link, so it needs no button.
    """
    shown = values(task, addresses)
    buttons, menu = _of_match(task, addresses)
    return Message(
        own=text,
        links=() if linked else _links(shown, task.subject, addresses),
        context=(*_missing(task), *_context(task, shown, addresses)),
        **_on_page(task, addresses),
        buttons=buttons,
        menu=menu,
    )


def resolved(task: Task, addresses: Addresses, lasted: timedelta) -> Message:
    """An alert is resolved: its condition no longer holds."""
    told = match(task, addresses)
    headline = f"Resolved after {lasting(lasted)}: {told.headline}"
    menu: tuple[Button, ...] = ("not_useful",) if told.menu else ()
    return replace(told, icon=ENDED, headline=cut(headline, HEADLINE), buttons=(), menu=menu)


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


def notice(
    title: str,
    lines: Sequence[str],
    page: str,
    now: datetime,
    zone: str,
    offer: Offer | None = None,
) -> Message:
    """A message about the bot itself: one cause, one line, one remedy, and buttons.

    The title may begin with an icon; without one it is a warning. `page` is where the status page
    says more. Moments in ISO 8601 are shown as times.
    """
    icon, rest = _iconed(title)
    page_name = urlsplit(page).path.strip("/").partition("/")[0]
    rest = "".join(_said(_timed(part, now, zone)) for part in _MOMENT.split(rest))
    shown = [
        tuple(
            piece
            for part in _MOMENT.split(cut(clean(line, 400), 400))
            for piece in _timed(part, now, zone)
        )
        for line in lines[:_MOST_LINES]
    ]
    left = len(lines) - _MOST_LINES
    more = [line_of(f"and {left} more lines")] if left > 0 else []
    return Message(
        icon=icon,
        headline=cut(clean(rest), HEADLINE),
        why=(*shown, *more),
        links=((_PAGE_LABELS.get(page_name, "Open status page"), page),) if page else (),
        label=offer.label if offer else "",
        rules=offer.rules if offer else (),
        buttons=(offer.button,) if offer else (),
        acts_on=offer.on if offer else "",
    )


_PAGE_LABELS = {"queue": "See the queue", "rules": "Open rule", "budgets": "Open budget"}

_MOMENT = re.compile(r"(\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)")


def _timed(text: str, now: datetime, zone: str) -> Line:
    if _MOMENT.fullmatch(text):
        return time_part(datetime.fromisoformat(text), now, zone)
    return line_of(text)


def digest(
    task: Task,
    addresses: Addresses,
    *,
    total: int,
    reasons: Mapping[str, int],
    since: datetime,
    worst: Sequence[Subject],
    spread: Spread = NOWHERE,
) -> Message:
    """Many matches of one rule: how many for each reason, where, the worst few, how many more."""
    shown = values(task, addresses)
    lasted = lasting(max(task.now - since, timedelta()))
    why = ", ".join(f"{number(n)} {clean(reason, 100)}" for reason, n in reasons.items())
    words: Mapping[str, str] = {Reason.SNOOZED: "while snoozed", Reason.SCHEDULED: "matches"}
    more = words.get(next(iter(reasons)), "more") if len(reasons) == 1 else "more"
    if more == "matches" and total == 1:
        more = "match"
    buttons, menu = _pressable(addresses, "snooze_1h", "snooze_tomorrow", "not_useful")
    held = () if more.startswith("match") else (f"In the last {lasted}: {why or 'held back'}.",)
    told = (*held, *where(spread, total))
    several = len(spread.websites) != 1
    few = _few(task, worst, total, task.now, addresses, several=several)
    return Message(
        icon=OF_SEVERITY[task.severity],
        headline=cut(f"{number(total)} {more}: {clean(shown['summary'])}", HEADLINE),
        why=tuple(line_of(cut(line, WHY)) for line in told),
        items=few,
        more=_left(few, worst, total),
        context=(span_of(since, task.now, task.now, addresses), *_tip(task, total)),
        **_on_page(task, addresses),
        buttons=buttons,
        menu=menu,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Waited:
    """What one rule had to say in a quiet time: how often, where, the worst, and why.

    `over` is when the alert ended that began at `since`.
    """

    summary: str
    severity: Severity
    total: int
    since: datetime
    over: datetime | None = None
    spread: Spread = NOWHERE
    why: Sequence[str] = ()
    worst: Subject | None = None


def after_quiet(
    task: Task,
    addresses: Addresses,
    *,
    total: int,
    since: datetime,
    until: datetime,
    said: Sequence[Waited],
) -> Message:
    """What waited for a channel in a quiet time: a line for each rule, and for each ended alert."""
    listed = said[:MOST_ITEMS]
    spread = reduce(Spread.and_, (each.spread for each in said), NOWHERE)
    site = next(iter(spread.websites)) if len(spread.websites) == 1 else ""
    told = where(_on_pages(spread) if site else spread, total)
    return Message(
        icon=OF_SEVERITY[task.severity],
        headline=f"{number(total)} while it was quiet",
        place=cut(site, PLACE),
        why=tuple(line_of(line) for line in told),
        items=tuple(_waited(each, task, addresses, several=not site) for each in listed),
        more=total - sum(each.total for each in listed),
        context=(span_of(since, until, task.now, addresses),),
    )


def _on_pages(spread: Spread) -> Spread:
    """The spread of what is about one website, which need not be named."""
    return Spread(pages=spread.pages, devices=spread.devices)


def _waited(each: Waited, task: Task, addresses: Addresses, *, several: bool) -> Line:
    """`9 × Frustrated visitor · 6 on /checkout`, or one with its reason.

    With the website, if the message is about `several`.
    """
    url, site = "", ""
    if each.worst is not None:
        shown = values(replace(task, subject=each.worst, results={}), addresses)
        url, site = shown["url"] or links.website(each.worst, addresses), _site(shown)
    times = f"{number(each.total)} × " if each.total > 1 else ""
    title = (Part(f"{OF_SEVERITY[each.severity]} {times}"), Part(clean(each.summary), url=url))
    told = [f"over after {lasting(each.over - each.since)}"] if each.over else []
    if each.total > 1:
        spread = each.spread if several else _on_pages(each.spread)
        told += [line.rstrip(".") for line in where(spread, each.total)]
    else:
        names = text_fields(each.worst.kind) if each.worst else ()
        told += [_in_words(clean(line, 120), names) for line in each.why[:1]]
        told += [site] if site and several else []
    when = time_part(each.since, task.now, addresses.zone) if each.over or each.total == 1 else ()
    rest = tuple(Part(f" · {cut(line, 120)}") for line in told)
    return (*title, *rest, *((Part(" · "), *when) if when else ()))


def more_severe(first: Message, second: Message) -> bool:
    """Whether the second says something worse, of which an edit of the first would tell nobody."""
    return _severity(second) > _severity(first)


VERY_MANY = 500
"""From so many on a digest says how to have fewer."""


def _tip(task: Task, total: int) -> tuple[Line, ...]:
    """How to see what a stricter rule would match."""
    if total < VERY_MANY or not isinstance(task.subject, RecordingSubject):
        return ()
    return (_plain(f"💡 mouseflow-bot tune {task.rule} shows what stricter thresholds match"),)


def joined(first: Message, second: Message) -> Message:
    """Two rules' messages about one recording as one: the more severe leads, else the first."""
    lead, other = first, second
    if more_severe(first, second):
        lead, other = second, first
    why = f": {_said(other.why[0])}" if other.why else ""
    said = (Part(f"{other.icon} Also "), Part(other.headline, bold=True), Part(cut(why, WHY)))
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


_SNOOZES: tuple[Button, ...] = ("snooze_1h", "snooze_tomorrow")


def _pressable(
    addresses: Addresses, button: Button, *menu: Button
) -> tuple[tuple[Button, ...], tuple[Button, ...]]:
    """Buttons and menu, where presses reach the bot."""
    return ((button,), menu) if addresses.buttons else ((), ())


def _of_match(task: Task, addresses: Addresses) -> tuple[tuple[Button, ...], tuple[Button, ...]]:
    if isinstance(task.subject, RecordingSubject) and task.many is None:
        return _pressable(addresses, "not_useful", "watched", "star", *_SNOOZES)
    if _is_news(task):
        return _pressable(addresses, "snooze_1h", "snooze_tomorrow", "not_useful")
    return _pressable(addresses, "ack", *_SNOOZES, "not_useful")


def _severity(message: Message) -> int:
    return (INFO, WARNING, CRITICAL).index(message.icon) if message.icon in ICONS[:3] else 0


def grey(message: Message) -> tuple[Line, ...]:
    """The pieces of the grey line: who, when, which rules."""
    pages, budget = dict(message.pages), any(each.startswith(BUDGET) for each in message.rules)
    word = "Budget" if budget else "Rule" if len(message.rules) == 1 else "Rules"
    rules = [Part(f"{word} ")]
    for each in message.rules:
        rules += [*([Part(", ")] if len(rules) > 1 else []),
                  Part(each.removeprefix(BUDGET), url=pages.get(each, ""))]  # fmt: skip
    runbook = ((Part("Runbook", url=message.runbook),),) if message.runbook else ()
    owner = (_plain(message.owner),) if message.owner else ()
    return (*message.context, *((tuple(rules),) if message.rules else ()), *owner, *runbook)


def plain(message: Message) -> list[str]:
    """The message as lines of plain text, without links; `own` as its author wrote it."""
    head = " · ".join(part for part in (message.headline, message.place) if part)
    shown = [message.own] if message.own else [f"{message.icon} {head}".strip()]
    lines = (*message.why, message.visit, *message.also, *message.items, *message.people)
    end = " · ".join(_said(line) for line in grey(message))
    return [line for line in (*shown, *map(_said, lines), rest(message), end) if line]


def rest(message: Message) -> str:
    """`and 4,997 more`, empty if all items are listed."""
    return f"and {number(message.more)} more" if message.more else ""


def _said(line: Line) -> str:
    return "".join(part.text for part in line)


def _headline(task: Task, shown: Values) -> tuple[str, Sequence[str]]:
    """The headline, and the reasons below it.

    An alert's headline has its figure: the first reason, if it is what the rule asks for.
    """
    summary = clean(shown["summary"])
    names = text_fields(task.subject.kind)
    why = [_in_words(line, names) for line in task.why]
    if _is_news(task):
        count = shown["new_responses"]
        answers = f"{number(count)} new answer{'' if count == 1 else 's'}"
        return cut(f"{answers}: {summary}", HEADLINE), why[1:]
    alert = not isinstance(task.subject, RecordingSubject)
    if alert and task.why and task.why[0].partition(" ")[0] in names:
        headline = f"{summary}: {clean(with_limit(task.why[0]) or why[0], HEADLINE)}"
        if size(headline) <= HEADLINE:
            return headline, why[1:]
    if not alert:
        # The line below says how long the visitor was active, on how many pages.
        below = (f"{value_in_words(shown['duration'])}, ", "pages ")
        why = [line for line in why if not line.startswith(below)] or why
        why = [_AT_LEAST.sub(r"friction \1+", line) for line in why]
    return cut(summary, HEADLINE), why


def _is_news(task: Task) -> bool:
    """Whether it tells of new answers, which begin no alert that could be acknowledged."""
    return task.subject.kind == "feedback" and bool(task.why) and task.why[0].startswith(NEWS)


_AT_LEAST = re.compile(r"\bfriction at least ([0-9.]+)$")


NEWS = "new_responses "
"""How the reason begins that tells of new answers."""


def _in_words(line: str, names: Collection[str]) -> str:
    """The reason without the name of a field: `render time 3.5 s`."""
    name, mark, rest = line.partition(" ")
    return f"{name.replace('_', ' ')}{mark}{rest}" if name in names else line


def _place(shown: Values, subject: Subject) -> str:
    """The website, and before it an alert's subject, if the summary does not name it."""
    names = "" if isinstance(subject, RecordingSubject) else SUBJECTS[subject.kind].names
    name = cut(clean(shown[names] or ""), PLACE) if names else ""
    if not name or name.casefold() in str(shown["summary"]).casefold() or name == _site(shown):
        return _site(shown)
    return f"{name} · {_site(shown)}"


# What a line says.


def line_of(text: str) -> Line:
    """The text with the paths of pages in bold; empty for no text."""
    parts = re.split(r"(?<!\S)(/(?:[^\s,;:]*[^\s,;:.!?])?)", text)
    return tuple(Part(part, bold=n % 2 == 1) for n, part in enumerate(parts) if part)


def _sentences(why: Sequence[str], *, joined: bool) -> tuple[Line, ...]:
    """Why, as sentences: joined by commas for a visitor, else each for itself."""
    lines = [clean(line, 200) for line in why if line]
    if joined and lines:
        lines = [", ".join(lines)]
    text = " ".join(f"{_begin(line)}{_stop(line)}" for line in lines)
    return (line_of(cut(text, WHY)),) if text else ()


def _begin(sentence: str) -> str:
    """The sentence with a capital, unless it begins with a name, as of a website."""
    is_name = "." in sentence.partition(" ")[0].rstrip(".")
    return sentence if is_name else f"{sentence[:1].upper()}{sentence[1:]}"


def _stop(sentence: str) -> str:
    return "" if sentence.endswith((".", "!", "?")) else "."


_RECENT = timedelta(hours=12)


def time_part(at: datetime, now: datetime, zone: str) -> Line:
    """A moment: the time alone if it is of the last 12 hours, else with its day."""
    return _moment(at, zone, day=abs(now - at) >= _RECENT)


def _moment(at: datetime, zone: str, *, day: bool) -> Line:
    local = at.astimezone(ZoneInfo(zone))
    text = f"{local.day} {local:%b %H:%M %Z}" if day else f"{local:%H:%M %Z}"
    return (Part(text, at=at),)


def _context(task: Task, shown: Values, addresses: Addresses) -> tuple[Line, ...]:
    visitor = _visitor(shown) if isinstance(task.subject, RecordingSubject) else ()
    zone = task.subject.zone if isinstance(task.subject, RecordingSubject) else addresses.zone
    return (
        *(_plain(part) for part in visitor),
        time_part(task.matched, task.now, zone),
    )


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


def _plain(text: str) -> Line:
    return (Part(text),)


def _visitor(shown: Values) -> Iterable[str]:
    """Device, country, browser and system, without versions; no data is left out."""
    browser, system = shown["browser"], shown["os"]
    with_system = f"{browser} on {system}" if browser and system else browser or system
    country = (shown["country"] or "").upper()
    parts = (shown["visitor_type"], shown["device"], country, with_system)
    return [clean(part, PLACE) for part in parts if part]


def _missing(task: Task) -> tuple[Line, ...]:
    if not task.missing:
        return ()
    return (_plain(f"Not done yet: {', '.join(task.missing)}"),)


def _site(shown: Values) -> str:
    return cut(str(shown["website"]), PLACE)


def _links(shown: Values, subject: Subject, addresses: Addresses) -> tuple[tuple[str, str], ...]:
    if isinstance(subject, RecordingSubject):
        own, public = ("Watch recording", shown["url"]), ("Watch without login", shown["share_url"])
        return tuple(link for link in (own, public) if link[1])
    return _website_link(subject, addresses)


def _public_link(shown: Values, subject: Subject) -> tuple[Line, ...]:
    """That anybody can watch it, where the rule has shared it."""
    shared = isinstance(subject, RecordingSubject) and shown["share_url"]
    return (_plain("🔗 Public link: anyone who has it can watch."),) if shared else ()


def _website_link(subject: Subject, addresses: Addresses) -> tuple[tuple[str, str], ...]:
    url = links.website(subject, addresses)
    return (("Open in Mouseflow", url),) if url else ()


# The path of a visit.


def _visit(subject: Subject) -> Line:
    """`/ → /cart → ⚠️ /checkout (last page)`, its middle cut out if it is long."""
    seen = pages(subject)
    if not seen:
        entry = subject.recording.entry if isinstance(subject, RecordingSubject) else None
        return (Part(f"Entered on {middle_cut(clean(path(entry)), PAGE)}"),) if entry else ()
    head, gone, tail = _kept(seen)
    parts = [_shown(page) for page in head]
    parts += [(Part(f"{gone} more"),)] if gone else []
    parts += [_shown(page) for page in tail]
    joined = parts[0]
    for part in parts[1:]:
        joined += (Part(" → "), *part)
    return (*joined, Part(" (last page)")) if len(seen) > 1 else joined


def _kept(seen: Sequence[Page]) -> tuple[Sequence[Page], int, Sequence[Page]]:
    """The first seen, how many are left out, and the last ones: as many as fit."""
    if len(seen) <= _MOST_PAGES and _fits(seen):
        return seen, 0, ()
    for first, last in ((3, 4), (2, 4), (2, 3), (1, 3), (1, 2)):
        if first + last < len(seen) and _fits((*seen[:first], *seen[-last:])):
            return seen[:first], len(seen) - first - last, seen[-last:]
    return seen[:1], max(len(seen) - 2, 0), seen[1:][-1:]


def _fits(seen: Iterable[Page]) -> bool:
    return sum(len(page.path) + 3 for page in seen) <= PATH


def _shown(page: Page) -> Line:
    return (Part(f"{BAD_PAGE} {page.path}" if page.bad else page.path, bold=page.bad),)


# The worst few of many.


def _few(
    task: Task,
    worst: Sequence[Subject],
    total: int,
    now: datetime,
    addresses: Addresses,
    *,
    several: bool,
) -> tuple[Line, ...]:
    """A line for each of the worst few; those that differ in link and time alone are one.

    With the website, if the list is about `several`.
    """
    shown = worst[: MOST_ITEMS if total <= MOST_ITEMS else FEW_ITEMS]
    same: dict[Line, list[Line]] = {}
    for subject in shown:
        line = _item(task, subject, addresses, several=several)
        when = _when(subject, now, addresses)
        same.setdefault(tuple(replace(part, url="") for part in line), []).append((*line, *when))
    return tuple(
        (*found[0], *((Part(f" · {len(found)} like this"),) if len(found) > 1 else ()))
        for found in same.values()
    )


def _left(shown: Sequence[Line], worst: Sequence[Subject], total: int) -> int:
    """How many of them no line shows."""
    few = min(len(worst), MOST_ITEMS if total <= MOST_ITEMS else FEW_ITEMS)
    return max(total - few, 0) if shown else 0


def _item(task: Task, subject: Subject, addresses: Addresses, *, several: bool) -> Line:
    """A line of a list: the page where it happened, and the figures.

    The website, if the list is about `several`.
    """
    shown = values(replace(task, subject=subject, results={}), addresses)
    names = SUBJECTS[subject.kind].names
    place = page_of_trouble(subject) or str((shown[names] if names else "") or _site(shown))
    if isinstance(subject, RecordingSubject):
        facts = _recording_facts(subject, shown)
    else:
        facts = [
            f"{label} {value_in_words(shown[name])}".strip()
            for label, name in BRIEF[subject.kind]
            if shown[name] is not None
        ]
    site = _site(shown)
    facts = [site, *facts] if several and site != place else facts
    return (Part(place, url=shown["url"]), *(Part(f" · {fact}") for fact in facts))


def _recording_facts(subject: RecordingSubject, shown: Values) -> list[str]:
    """`friction 5+`, or where no rule asked for it `2 min 20 s`."""
    if subject.friction is not None and subject.friction.low > 0:
        return [f"friction {number(subject.friction.low)}+"]
    return [value_in_words(shown["duration"])] if shown["duration"] is not None else []


def _when(subject: Subject, now: datetime, addresses: Addresses) -> Line:
    """When the session took place."""
    if not isinstance(subject, RecordingSubject):
        return ()
    at = subject.recording.last_activity or subject.recording.created
    return (Part(" · "), *time_part(at, now, subject.zone)) if at is not None and at.tzinfo else ()


# Figures in words, for each kind of subject.
