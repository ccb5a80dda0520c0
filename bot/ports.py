"""What the core needs from the outside world. A dry run is other implementations, never an `if`."""

from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Literal, Protocol, TypeVar

from msgspec import Struct, field

from bot.domain.many import Many
from bot.domain.subjects import Severity, Subject
from bot.errors import Refused
from mouseflow.request import Request

T = TypeVar("T")

MAY_ACT: ContextVar[Callable[[], Awaitable[None]] | None] = ContextVar("may_act", default=None)
"""What an attempt asks right before a request that changes something goes out."""


async def may_act() -> None:
    """Raise TryLater if another bot may have taken over what this one is about to do."""
    if (ask := MAY_ACT.get()) is not None:
        await ask()


class Mouseflow(Protocol):
    """Sends one request to the account; raises GiveUp or TryLater."""

    async def send(self, request: Request[T]) -> T: ...


class SlackPost(Struct, frozen=True):
    """A message ready for Slack. `key` is opaque and finds the message again.

    `thread` is the timestamp of the message that it answers, empty for none; `broadcast` shows
    such an answer in the channel too.
    """

    channel: str
    text: str
    blocks: tuple[Mapping[str, Any], ...] = ()
    key: str = ""
    thread: str = ""
    broadcast: bool = False


class Posted(Struct, frozen=True):
    """A message that is in Slack, and what it shows: the JSON of a `Message`."""

    key: str
    channel: str
    stamp: str
    shows: str


class Slack(Protocol):
    """Posts and looks up messages; raises GiveUp or TryLater."""

    async def post(self, post: SlackPost) -> str:
        """Post it; returns the timestamp, Slack's id of the message in the channel."""
        ...

    async def update(self, post: SlackPost, stamp: str) -> None:
        """Replace the message of that timestamp; raises CannotLook if the channel is not found."""
        ...

    async def find(self, channel: str, key: str, since: datetime, thread: str = "") -> str | None:
        """The timestamp of the message with that key posted after `since`; None if there is none.

        With `thread` among the answers to that message, else among those of the channel itself.
        Raises CannotLook if the bot can't read the channel, or can't be certain.
        """
        ...

    async def check_channel(self, channel: str) -> None:
        """Check that `find` works in this channel; raises CannotLook if it does not."""
        ...


class Webhook(Protocol):
    """Calls a URL; raises GiveUp or TryLater."""

    async def call(
        self, url: str, body: bytes, headers: Mapping[str, str], secret: str | None = None
    ) -> None:
        """Post the body, signed with `secret`, which may be a reference (`env:NAME`)."""
        ...


Tone = Literal["info", "success", "warning", "failure"]
"""How a message is meant; other places show it by a colour or an icon."""


class PlainMessage(Struct, frozen=True):
    """A message as plain text, for a place that the bot knows nothing of."""

    title: str
    body: str
    tone: Tone


class Notify(Protocol):
    """Sends to the places of `[notify]`; raises GiveUp or TryLater."""

    async def send(self, place: str, message: PlainMessage) -> str:
        """Send it; returns what kind of service has accepted it, such as `E-Mail`."""
        ...


class Nowhere(Struct, frozen=True):
    """`Notify` without any place."""

    async def send(self, place: str, message: PlainMessage) -> str:
        """Refuse it."""
        reason = f"there is no place {place} under [notify]"
        raise Refused(reason, "add it to the configuration", code="no_place")


class CannotLook(Exception):
    """Posts can't be looked up in this channel, so they are at-least-once."""


class NotInChannel(CannotLook):
    """The bot is not a member of the channel; it can post only with chat:write.public."""


class NoChannel(CannotLook):
    """The bot sees no such channel, so posts will probably fail too."""


class Addresses(Struct, frozen=True):
    """Base URLs of links, default channels, and the account's time zone.

    `app_url` precedes a recording's playback path; `share_url` contains `{token}`, or is empty
    if the account's public URL is not known. `page` is where people reach the status page, empty
    if nowhere. `buttons`: presses of buttons come to the bot. `account` is the account's name,
    where there are several.
    """

    app_url: str = "https://app.mouseflow.com"
    share_url: str = ""
    channel: str = ""
    ops_channel: str = ""
    zone: str = "UTC"
    buttons: bool = False
    page: str = ""
    account: str = ""


class Ports(Struct, frozen=True):
    """Everything an action may use."""

    mouseflow: Mouseflow
    slack: Slack
    webhook: Webhook
    addresses: Addresses = Addresses()
    notify: Notify = Nowhere()


class Task(Struct, frozen=True, kw_only=True):
    """One step of a match, as an action sees it.

    `key` is permanent: the same after a restart. `attempted` is when an earlier attempt with an
    unknown outcome began, else None; `restored` if nobody knows whether there was one, since an
    older copy of the store was restored. `results` are those of earlier steps of the match
    (`share` -> token), `missing` the actions of earlier steps that have not succeeded. `why`
    explains the match in short lines. `many` is what it stands for, of a rule with `count`. `post`
    is the message that this step answers, edits or is added to. `severity`, `runbook` (the
    address of instructions) and `owner` are the rule's.
    """

    key: str
    rule: str
    summary: str
    subject: Subject
    matched: datetime
    now: datetime
    why: tuple[str, ...] = ()
    attempted: datetime | None = None
    restored: bool = False
    results: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    many: Many | None = None
    post: Posted | None = None
    severity: Severity = "warning"
    runbook: str = ""
    owner: str = ""
