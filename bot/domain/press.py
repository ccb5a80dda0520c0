"""A press of a button on a message: what can be pressed, and what a press is."""

from datetime import datetime, time, timedelta
from typing import Literal, assert_never
from zoneinfo import ZoneInfo

from msgspec import Struct

Button = Literal[
    "ack",
    "unack",
    "not_useful",
    "watched",
    "star",
    "snooze_1h",
    "snooze_tomorrow",
    "unsnooze",
    "retry",
    "resume",
]

MORNING = time(9)
"""When a snooze until another day ends."""


class Offer(Struct, frozen=True):
    """A button on a message about the bot itself, what it acts on, the rules concerned, and what
    the button says.

    `retry` acts on the dead letters of which people were told at that moment (ms since 1970),
    `resume` on a rule.
    """

    button: Button
    on: str
    rules: tuple[str, ...] = ()
    label: str = ""


class Press(Struct, frozen=True, kw_only=True):
    """Somebody pressed a button of a message.

    `id` is the same for each time that Slack tells of it. `post` is the message's key, which
    grants nothing: `user` and `channel` decide who may press.
    """

    id: str
    button: Button
    post: str
    user: str
    name: str
    channel: str
    at: datetime


def snooze_ends(button: Button, at: datetime, zone: str) -> datetime | None:
    """When the snooze ends that this button began at that time; None if it begins none."""
    match button:
        case "snooze_1h":
            return at + timedelta(hours=1)
        case "snooze_tomorrow":
            day = at.astimezone(ZoneInfo(zone)).date() + timedelta(days=1)
            return datetime.combine(day, MORNING, ZoneInfo(zone))
        case "ack" | "unack" | "not_useful" | "watched" | "star" | "unsnooze" | "retry" | "resume":
            return None
        case _:
            assert_never(button)
