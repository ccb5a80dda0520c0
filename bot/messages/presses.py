"""What a press of a button changes on its message, and the words of buttons."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import get_args

from msgspec.structs import replace

from bot.domain.press import Button, Press
from bot.messages.message import FEW_ITEMS, Line, Message, Part, time_part
from bot.messages.text import and_more, capital, clean, cut, lasting, without_answer

LABELS: Mapping[Button, str] = {
    "ack": "Acknowledge",
    "unack": "Remind again",
    "not_useful": "Not useful",
    "watched": "Mark watched",
    "star": "Star recording",
    "snooze_1h": "Snooze rule for 1 h",
    "snooze_tomorrow": "Snooze rule until tomorrow 09:00",
    "unsnooze": "End snooze",
    "retry": "Retry them",
    "resume": "Run again",
}

SHORT: Mapping[Button, str] = {"snooze_1h": "Snooze 1 h"}
"""Shorter words of buttons that stand beside others, so that they stay in one row on a phone."""

if missing := set(get_args(Button)) - LABELS.keys():
    raise TypeError(f"buttons without words: {', '.join(missing)}")

MOST_PEOPLE = 3
"""How many presses a message names; earlier ones are counted."""

_AFTER: Mapping[Button, tuple[str, str]] = {
    "ack": ("👀", "acknowledged this at {when}. No more reminders."),
    "unack": ("👀", "wants reminders again, since {when}."),
    "not_useful": ("👎", "marked this as not useful.{useful}"),
    "watched": ("✔️", "asked to mark this as watched at {when}."),
    "star": ("⭐", "asked to star this at {when}."),
    "snooze_1h": ("🔕", "snoozed {rules} until {until}. {messages} then."),
    "unsnooze": ("🔕", "ended the snooze of {rules} at {when}."),
    "retry": ("🔁", "retried them at {when}."),
    "resume": ("🔁", "let {rules} run again at {when}."),
}
_AFTER = {**_AFTER, "snooze_tomorrow": _AFTER["snooze_1h"]}
AT_MOUSEFLOW: Mapping[Button, tuple[str, str]] = {
    "watched": ("marked this as watched", "marked as watched"),
    "star": ("starred this", "starred"),
}
"""What somebody did and what was done, of the buttons that ask something of Mouseflow."""

NOBODY = "Somebody"
"""Who pressed, if nobody knows the name."""

AT_ONCE = timedelta(minutes=1)
"""How long Mouseflow may take before the message says how long it took."""

_INSTEAD: Mapping[Button, tuple[Button, ...]] = {
    "ack": ("unack",),
    "unack": ("ack",),
    "snooze_1h": ("unsnooze",),
    "snooze_tomorrow": ("unsnooze",),
    "unsnooze": ("snooze_1h", "snooze_tomorrow"),
}
"""What takes a button's place; without an entry it is gone for good."""


def after(
    message: Message, press: Press, now: datetime, until: datetime | None, useful: str, zone: str
) -> Message:
    """The message after the press: a line says who did what, and the buttons fit.

    `until` is the end of a snooze, `useful` how useful the rule has been.
    """
    icon, words = _AFTER[press.button]
    name = Part(clean(press.name) or NOBODY, user=press.user)
    line: Line = (Part(f"{icon} "), name)
    several = len(message.rules) > 1
    rules = f"rule{'s' if several else ''} {', '.join(message.rules[:FEW_ITEMS])}"
    rules += and_more(len(message.rules) - FEW_ITEMS)
    come = "Their messages come as digests" if several else "Its messages come as one digest"
    words = f" {words}".replace("{rules}", rules).replace("{useful}", useful)
    words = words.replace("{messages}", come)
    for mark, at in (("{when}", now), ("{until}", until)):
        before, found, rest = words.partition(mark)
        if found and at is not None:
            line += (Part(before), *time_part(at, now, zone))
            words = rest
    people = (*message.people, (*line, Part(words)))
    return replace(
        message,
        people=people[-MOST_PEOPLE:],
        others=message.others + max(len(people) - MOST_PEOPLE, 0),
        buttons=_replaced(message.buttons, press.button),
        menu=_replaced(message.menu, press.button),
        edits=message.edits + 1,
    )


def outcome(message: Message, press: Press, now: datetime, failed: str) -> Message:
    """The message once Mouseflow has done what a press asked for, or (`failed`) why it has not.

    Without the line about that press, since more people pressed something later, it stays as it is.
    """
    did, done = AT_MOUSEFLOW[press.button]
    asked = _AFTER[press.button][0]
    people = tuple(
        _ended(line, did, done, now, failed)
        if line[0].text == f"{asked} " and line[1].user == press.user
        else line
        for line in message.people
    )
    same = people == message.people
    return message if same else replace(message, people=people, edits=message.edits + 1)


def _ended(line: Line, did: str, done: str, now: datetime, failed: str) -> Line:
    """`⭐ kim starred this at 14:03.`, or `⭐ kim asked to star this at 14:03. Not starred: …`."""
    icon, name, asked, when = line[:4]
    lasted = now - when.at if when.at else AT_ONCE
    if failed:
        return icon, name, asked, when, Part(f". {not_done(done, failed)}.")
    if lasted < AT_ONCE:
        return icon, name, Part(f" {did} at "), when, Part(".")
    return icon, name, asked, when, Part(f". {capital(done)} after {lasting(lasted)}.")


def not_done(done: str, why: str) -> str:
    """`Not starred: the recording is gone`."""
    return f"Not {done}: {cut(clean(without_answer(why)), LONGEST_REASON)}"


LONGEST_REASON = 150

_SNOOZES: frozenset[Button] = frozenset({"snooze_1h", "snooze_tomorrow", "unsnooze"})


def _replaced(buttons: tuple[Button, ...], pressed: Button) -> tuple[Button, ...]:
    """Without the pressed one and those that have the same effect; in its place what undoes it."""
    gone = _SNOOZES if pressed in _SNOOZES else {pressed}
    found: list[Button] = []
    for each in buttons:
        if each == pressed:
            found += _INSTEAD.get(pressed, ())
        elif each not in gone:
            found.append(each)
    return tuple(found)


def carried(old: Message, new: Message) -> Message:
    """The new message with what people have done to the old one."""
    offered = {*old.buttons, *old.menu}
    return replace(
        new,
        people=old.people,
        others=old.others,
        buttons=tuple(each for each in new.buttons if each in offered),
        menu=tuple(each for each in new.menu if each in offered),
        edits=old.edits + 1,
    )
