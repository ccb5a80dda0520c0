"""Actions that tell somebody outside: all that the rest of the bot asks of one.

Limits, digests, lints, rule tests, replay and budgets use these properties and know no
notifier by name. So a new one is a file like `slack.py` and a line in `bot.actions`.
"""

from abc import abstractmethod
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from bot.actions.base import Action, Written
from bot.domain.limits import Limit
from bot.domain.many import Spread
from bot.domain.step import Rank
from bot.domain.subjects import Kind, reread
from bot.fields.catalogue import KINDS
from bot.messages import message as messages
from bot.messages.message import Message
from bot.messages.template_check import LONGEST
from bot.messages.text import RATE_PATTERN, rate
from bot.ports import Addresses, Task

Overflow = Literal["digest", "drop"]


class AtMost(Written):
    """So many posts within a window; the store counts them."""

    times: int
    window_ms: int

    def limit(self, overflow: Overflow) -> Limit:
        """The limit as delivery and replay apply it."""
        return Limit(self.times, timedelta(milliseconds=self.window_ms), overflow)


class Notifier(Action):
    """An action under `do` that tells people or a program about a match.

    Every question is abstract on purpose: a notifier that leaves one out can't be built.
    `Action.digest` says whether a limit may hold it back. `service` begins the names of its lanes.
    """

    service: ClassVar[str]

    rank: ClassVar[Rank] = Rank.POST
    posts: ClassVar[bool] = True
    watches: ClassVar[tuple[Kind, ...]] = KINDS

    @abstractmethod
    def posts_to(self, default_channel: str) -> str | None:
        """The channel or place it posts to (empty: the only one there is); None if it has none."""

    @abstractmethod
    def routed(self, channel: str) -> "Notifier":
        """The same, posting to that channel if the rule names none."""

    @abstractmethod
    def plain(self) -> "Notifier":
        """The same with the built-in message and no limit, for what must be said."""

    @property
    @abstractmethod
    def own_text(self) -> str | None:
        """The template that the rule's author wrote; None for built-in messages."""

    @property
    @abstractmethod
    def limit(self) -> Limit | None:
        """How often it may post; None for no limit."""

    @abstractmethod
    def message(self, task: Task, addresses: Addresses) -> Message | None:
        """What people read; None if it speaks to a program."""

    @abstractmethod
    def resolved(self, began: datetime) -> Action | None:
        """The step that says that an alert, firing since `began`, is over; None for no step."""

    @property
    @abstractmethod
    def secret_reference(self) -> str | None:
        """Where its secret is kept (`env:NAME`, `file:/path`); None if it needs none."""


class DigestItem(Written):
    """One of the worst few matches, which a digest shows; its subject as stored."""

    subject: dict[str, Any]
    matched: datetime
    why: tuple[str, ...] = ()


class DigestOfMany(Action):
    """Tells many matches of one rule as one message.

    `reasons` counts the posts by why they were held back, `total` all of them. `items` are the
    worst few, worst first; `since` is when the first one matched, `spread` where they concentrate.
    """

    total: int
    reasons: dict[str, int]
    since: datetime
    items: tuple[DigestItem, ...] = ()
    spread: dict[str, dict[str, int]] = Field(default_factory=dict)

    def message(self, task: Task, addresses: Addresses) -> Message:
        """How many, the worst few with links, and how many more."""
        return messages.digest(
            task,
            addresses,
            total=self.total,
            reasons=self.reasons,
            since=self.since,
            spread=msgspec.convert(self.spread, Spread),
            worst=[reread(msgspec.json.encode(item.subject)) for item in self.items],
        )


def _at_most(value: Any) -> Any:
    if not isinstance(value, str):
        raise PydanticCustomError("rate", "write a rate such as 10 per hour")
    try:
        times, window = rate(value)
    except ValueError as wrong:
        raise PydanticCustomError("rate", "{why}", {"why": str(wrong)}) from None
    return AtMost(times=times, window_ms=window // timedelta(milliseconds=1))


def _text(value: Any) -> Any:
    if not isinstance(value, str):
        raise PydanticCustomError("text", "write a text")
    return value


Rate = Annotated[
    AtMost,
    BeforeValidator(_at_most),
    WithJsonSchema({"type": "string", "pattern": RATE_PATTERN, "examples": ["10 per hour"]}),
]
Text = Annotated[
    str, BeforeValidator(_text), WithJsonSchema({"type": "string", "maxLength": LONGEST})
]
