"""Send a match to a place of `[notify]`: mail, Teams, Discord, PagerDuty and the like."""

import re
from abc import abstractmethod
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar

from msgspec.structs import replace

from bot.actions.base import Action, Done, Problem, Spec
from bot.actions.notifier import (
    DigestAt,
    DigestOfMany,
    Overflow,
    QuietOfMany,
    Rate,
    Text,
    ToPeople,
    post_problems,
)
from bot.domain.step import Rank
from bot.domain.subjects import Kind, Subject
from bot.errors import NotDoneYet
from bot.fields.catalogue import ALERTS, KINDS
from bot.messages import compose
from bot.messages.message import Message
from bot.messages.plain_text import letter
from bot.messages.text import clean
from bot.ports import Addresses, Ports, Task
from bot.written import Check, Length, Written, Wrong, key

PLACE = re.compile(r"[a-z][a-z0-9_-]{0,39}")
"""What a place may be called: an environment variable must be able to name it."""


class _Sent(Action):
    """What all messages to such a place have in common. `channel` is the name of the place.

    Nobody can look up what a place has received, so delivery is at-least-once: a message whose
    outcome is unknown is sent again.
    """

    quotes_visitors: ClassVar[bool] = False
    rank: ClassVar[Rank] = Rank.POST
    posts: ClassVar[bool] = True
    watches: ClassVar[tuple[Kind, ...]] = KINDS
    channel: str

    def lane(self, subject: Subject, default_channel: str) -> str:
        """Messages to one place go out in order, and wait together."""
        return f"notify:{self.channel}"

    @abstractmethod
    def message(self, task: Task, addresses: Addresses) -> Message:
        """What is sent."""

    async def perform(self, task: Task, ports: Ports) -> Done:
        """Send it."""
        if task.restored:  # then the rule's limits hold, too
            raise NotDoneYet("the store was restored: this may have been sent before")
        message = self.message(task, ports.addresses)
        service = await ports.notify.send(self.channel, letter(message))
        again = "an earlier attempt may have sent it too" if task.attempted else ""
        told = (f"sent to {self.channel} ({service})", again, message.note)
        return Done("; ".join(part for part in told if part))


class Notify(_Sent, ToPeople):
    """Sends a match. Messages over `at_most` go into a digest, or are dropped."""

    kind: ClassVar[str] = "notify"
    service: ClassVar[str] = "notify"
    digest: ClassVar[str] = "notify_digest"

    def message(self, task: Task, addresses: Addresses) -> Message:
        """The rule's text, or the built-in message if there is none or it fails."""
        built_in = compose.match(task, addresses)
        if self.text is None:
            return built_in
        from bot.messages.templates import BadText, names_used, render  # Jinja2 takes 2 MB

        try:
            text = render(self.text, task, addresses, plain=True)
        except BadText:
            note = "built-in message, because the rule's text can't be filled in"
            return replace(built_in, note=note)
        if not text:
            return built_in
        linked = bool(names_used(self.text) & {"url", "link", "share_url"})
        own = compose.from_template(task, addresses, text, linked)
        return replace(own, icon=built_in.icon, headline=clean(task.summary or task.rule))

    def posts_to(self, default_channel: str) -> str | None:
        """The name of the place."""
        return self.channel

    def routed(self, channel: str) -> "Notify":
        """This one: it names its place."""
        return self

    def plain(self) -> "Notify":
        """The built-in message to the same place."""
        return Notify(channel=self.channel)

    def resolved(self, began: datetime) -> Action | None:
        """A message to the same place."""
        return NotifyResolved(channel=self.channel, began=began, digest_at=self.digest_at)


class NotifyResolved(_Sent):
    """Sends that an alert, firing since `began`, is resolved."""

    kind: ClassVar[str] = "notify_resolved"
    digest: ClassVar[str] = "notify_digest"
    watches: ClassVar[tuple[Kind, ...]] = ALERTS
    began: datetime
    digest_at: str = ""

    def message(self, task: Task, addresses: Addresses) -> Message:
        """What it was, the figures now, and how long it lasted."""
        return compose.resolved(task, addresses, max(task.matched - self.began, timedelta()))


class NotifyDigest(DigestOfMany, _Sent):
    """Sends many matches of one rule as one message."""

    kind: ClassVar[str] = "notify_digest"
    after_quiet: ClassVar[str] = "notify_after_quiet"


class NotifyAfterQuiet(QuietOfMany, _Sent):
    """Sends what waited for a place in a quiet time as one message."""

    kind: ClassVar[str] = "notify_after_quiet"


def _place(value: Any) -> Any:
    if not isinstance(value, str) or not PLACE.fullmatch(value):
        raise Wrong("write the name of a place under [notify], such as mail")
    return value


Place = Annotated[
    str,
    Check(
        _place,
        before=True,
        schema={"type": "string", "pattern": f"^{PLACE.pattern}$", "examples": ["mail"]},
    ),
]


class NotifyWritten(Written):
    """One message as written in a rule file."""

    to: Place = key("the name of a place under [notify] of the configuration")
    text: Text | None = key("a template of plain text; left out: the bot's message", default=None)
    at_most: Rate | None = key("such as 10 per hour", default=None)
    overflow: Overflow = key("what happens to what is over it", default=None, shown="digest")
    digest: DigestAt = key("when to send all matches since the last digest as one", default="")


_One = Place | NotifyWritten
NotifyValue = _One | Annotated[list[_One], Length(1, 10)]


def _each(written: Any) -> list[NotifyWritten]:
    several = written if isinstance(written, list) else [written]
    return [NotifyWritten(to=each) if isinstance(each, str) else each for each in several]


def _steps(written: Any) -> tuple[Action, ...]:
    return tuple(
        Notify(
            channel=each.to,
            text=each.text,
            at_most=each.at_most,
            overflow=each.overflow or "digest",
            digest_at=each.digest,
        )
        for each in _each(written)
    )


def _problems(written: Any, kind: Kind) -> tuple[Problem, ...]:
    found: list[Problem] = []
    for number, each in enumerate(_each(written)):
        here = (number,) if isinstance(written, list) else ()
        found += post_problems(each, each.text, each.digest, kind, here)
    return tuple(found)


NOTIFY = Spec(
    key="notify",
    written=NotifyValue,
    subjects=KINDS,
    models=(Notify, NotifyDigest, NotifyAfterQuiet, NotifyResolved),
    steps=_steps,
    about="sends to a place of `[notify]`, such as mail or PagerDuty; "
    "`at_most` bounds the messages, the rest is one digest",
    example="notify: {to: oncall, at_most: 10 per hour}",
    problems=_problems,
    needs="notify",
    templates=frozenset({"text"}),
)
