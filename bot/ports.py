"""What the core asks of the outside world. A dry run is other implementers, never an `if`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeVar

from bot.domain.subjects import Subject
from mouseflow.request import Request

T = TypeVar("T")


class Mouseflow(Protocol):
    """Sends one request to the account; raises GiveUp or TryLater."""

    async def send(self, request: Request[T]) -> T: ...


@dataclass(frozen=True, slots=True)
class SlackPost:
    """A message ready for Slack. `key` is opaque and finds the message again."""

    channel: str
    text: str
    blocks: tuple[Mapping[str, Any], ...] = ()
    key: str = ""


class Slack(Protocol):
    """Posts and looks up messages; raises GiveUp or TryLater."""

    async def post(self, post: SlackPost) -> str:
        """The message's timestamp, Slack's id of it within the channel."""
        ...

    async def find(self, channel: str, key: str, since: datetime) -> str | None:
        """The timestamp of the message with that key posted after `since`, if there is one.

        Raises CannotLook where the token lacks the scope to read the channel.
        """
        ...


class Webhook(Protocol):
    """Calls an outside URL; raises GiveUp or TryLater."""

    async def call(
        self, url: str, body: bytes, headers: Mapping[str, str], secret: str | None = None
    ) -> None:
        """Posts the body, signed with `secret`, which may name its place (`env:NAME`)."""
        ...


class CannotLook(Exception):
    """The outcome of a post can't be looked up here, so it is at-least-once."""


class NotInChannel(CannotLook):
    """The bot is no member, and posts there only if it may post everywhere."""


class NoChannel(CannotLook):
    """There is no such channel for the bot, so a post will hardly get there either."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where links point, where messages go by default, and in which zone they tell the time.

    `app_url` stands in front of a recording's playback path; `share_url` holds `{token}`,
    or is empty where the account's public address is not known. `zone` is the account's.
    """

    app_url: str = "https://app.mouseflow.com"
    share_url: str = ""
    channel: str = ""
    ops_channel: str = ""
    zone: str = "UTC"


@dataclass(frozen=True, slots=True)
class Ports:
    """All that an action may touch."""

    mouseflow: Mouseflow
    slack: Slack
    webhook: Webhook
    addresses: Addresses = Addresses()


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One step of a match, as an action meets it.

    `key` names the step for ever: the same after a restart. `attempted` is when an earlier
    attempt began whose outcome is unknown, else None. `results` holds what earlier steps of
    the same match brought (`share` -> token). `why` explains the match in short lines.
    """

    key: str
    rule: str
    summary: str
    subject: Subject
    matched: datetime
    now: datetime
    why: tuple[str, ...] = ()
    attempted: datetime | None = None
    results: Mapping[str, str] = field(default_factory=dict)
