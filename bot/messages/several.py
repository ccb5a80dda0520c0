"""What the messages about several matches say: digests, and what waited in a quiet time."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import reduce

from msgspec import Struct
from msgspec.structs import replace

from bot.domain.accounts import commands_of
from bot.domain.limits import Reason
from bot.domain.many import NOWHERE, Spread
from bot.domain.subjects import RecordingSubject, Severity, Subject
from bot.fields.catalogue import SUBJECTS, text_fields
from bot.messages import links
from bot.messages.figures import BRIEF, Values, in_words, value_in_words
from bot.messages.message import (
    FEW_ITEMS,
    HEADLINE,
    MOST_ITEMS,
    OF_SEVERITY,
    PLACE,
    WHY,
    Line,
    Message,
    Part,
    line_of,
    of_several,
    plain_line,
    pressable,
    site_of,
    span_of,
    time_part,
)
from bot.messages.pages import page_of_trouble, where
from bot.messages.template_variables import values
from bot.messages.text import clean, counted, cut, lasting, number, sentence
from bot.ports import Addresses, Task


def digest(
    task: Task,
    addresses: Addresses,
    *,
    total: int,
    reasons: Mapping[str, int],
    since: datetime,
    worst: Sequence[Subject],
    spread: Spread = NOWHERE,
    over: int = 0,
    snoozed: str = "",
) -> Message:
    """Many matches of one rule: how many for each reason, where, the worst few, how many more.

    Of them `over` are alerts that have ended. `snoozed` is who snoozed the rule, and why:
    ` by Kim: release`.
    """
    shown = values(task, addresses)
    lasted = lasting(max(task.now - since, timedelta()))
    why = ", ".join(f"{number(n)} {clean(reason, 100)}" for reason, n in reasons.items())
    words: Mapping[str, str] = {Reason.SNOOZED: "while snoozed", Reason.SCHEDULED: "matches"}
    more = words.get(next(iter(reasons)), "more") if len(reasons) == 1 else "more"
    if more == "matches" and total == 1:
        more = "match"
    buttons, menu = pressable(addresses, "snooze_1h", "snooze_tomorrow", "not_useful")
    held = () if more != "more" else (f"In the last {lasted}: {why or 'held back'}.",)
    ended = (f"{number(over)} of {number(total)} ended.",) if over else ()
    who = sentence(f"Snoozed{snoozed}") if snoozed else ""
    told = (" ".join(where(spread, total)), *ended, *held, who)
    several = len(spread.websites) != 1
    few = worst_few(task, worst, total, task.now, addresses, several=several)
    return Message(
        icon=OF_SEVERITY[task.severity],
        headline=cut(f"{number(total)} {more}: {clean(shown['summary'])}", HEADLINE),
        why=tuple(line_of(cut(line, WHY)) for line in told if line),
        items=few,
        more=unlisted(few, worst, total),
        context=(span_of(since, task.now, task.now, addresses), *_tip(task, addresses, total)),
        **of_several(task, addresses, total),
        buttons=buttons,
        menu=menu,
    )


class Waited(Struct, frozen=True, kw_only=True):
    """What one rule had to say in a quiet time: how often, where, the worst, and why.

    `over` is when the alert ended that began at `since`; `ended` is how many of several have.
    """

    rule: str
    summary: str
    severity: Severity
    total: int
    since: datetime
    over: datetime | None = None
    ended: int = 0
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
    scheduled: bool = False,
) -> Message:
    """What waited for a channel: a line for each rule, and for each alert that began and ended.

    It waited in a quiet time, or (`scheduled`) for the digest of these rules.
    """
    listed = said[:MOST_ITEMS]
    spread = reduce(Spread.and_, (each.spread for each in said), NOWHERE)
    site = next(iter(spread.websites)) if len(spread.websites) == 1 else ""
    told = where(without_websites(spread) if site else spread, total)
    rules = {each.rule: clean(each.summary) for each in said}
    headline = f"{counted(total, 'match', 'matches')} of {counted(len(rules), 'rule')}"
    if not scheduled:
        headline += " while it was quiet"
        if len(rules) == 1:
            headline = f"{number(total)} while it was quiet: {next(iter(rules.values()))}"
    return Message(
        icon=OF_SEVERITY[task.severity],
        headline=cut(headline, HEADLINE),
        place=cut(site, PLACE),
        why=tuple(line_of(line) for line in told),
        items=tuple(_waited(each, task, addresses, several=not site) for each in listed),
        more=total - sum(each.total for each in listed),
        context=(span_of(since, until, task.now, addresses),),
        **{**of_several(task, addresses, total), "rules": (), "pages": ()},
    )


def without_websites(spread: Spread) -> Spread:
    """The spread of what is about one website, which need not be named."""
    return Spread(pages=spread.pages, devices=spread.devices)


def _waited(each: Waited, task: Task, addresses: Addresses, *, several: bool) -> Line:
    """`9 × Frustrated visitor · 6 on /checkout`, or one with its reason.

    With the website, if the message is about `several`.
    """
    url, site = "", ""
    if each.worst is not None:
        shown = values(replace(task, subject=each.worst, results={}), addresses)
        url, site = shown["url"] or links.website(each.worst, addresses), site_of(shown)
    times = f"{number(each.total)} × " if each.total > 1 else ""
    title = (Part(f"{OF_SEVERITY[each.severity]} {times}"), Part(clean(each.summary), url=url))
    told = [f"over after {lasting(each.over - each.since)}"] if each.over else []
    told += [f"{number(each.ended)} of {number(each.total)} ended"] if each.ended else []
    if each.total > 1:
        spread = each.spread if several else without_websites(each.spread)
        told += [line.rstrip(".") for line in where(spread, each.total)]
    else:
        names = text_fields(each.worst.kind) if each.worst else ()
        told += [in_words(clean(line, 120), names) for line in each.why[:1]]
        told += [site] if site and several else []
    when = time_part(each.since, task.now, addresses.zone) if each.over or each.total == 1 else ()
    rest = tuple(Part(f" · {cut(line, 120)}") for line in told)
    return (*title, *rest, *((Part(" · "), *when) if when else ()))


VERY_MANY = 500
"""From so many on a digest says how to have fewer."""


def _tip(task: Task, addresses: Addresses, total: int) -> tuple[Line, ...]:
    """How to see what a stricter rule would match."""
    if total < VERY_MANY or not isinstance(task.subject, RecordingSubject):
        return ()
    tune = commands_of(addresses.account, f"mouseflow-bot tune {task.rule}")
    return (plain_line(f"💡 {tune} shows what stricter thresholds match"),)


def worst_few(
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


def unlisted(shown: Sequence[Line], worst: Sequence[Subject], total: int) -> int:
    """How many of them no line shows."""
    few = min(len(worst), MOST_ITEMS if total <= MOST_ITEMS else FEW_ITEMS)
    return max(total - few, 0) if shown else 0


def _item(task: Task, subject: Subject, addresses: Addresses, *, several: bool) -> Line:
    """A line of a list: the page where it happened, and the figures.

    The website, if the list is about `several`.
    """
    shown = values(replace(task, subject=subject, results={}), addresses)
    names = SUBJECTS[subject.kind].names
    place = page_of_trouble(subject) or str((shown[names] if names else "") or site_of(shown))
    if isinstance(subject, RecordingSubject):
        facts = _recording_facts(subject, shown)
    else:
        facts = [
            f"{label} {value_in_words(shown[name])}".strip()
            for label, name in BRIEF[subject.kind]
            if shown[name] is not None
        ]
    site = site_of(shown)
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
