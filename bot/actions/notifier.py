"""Actions that tell somebody outside: all that the rest of the bot asks of one.

Limits, digests, lints, rule tests, replay and budgets use these properties and know no
notifier by name. So a new one is a file like `slack.py` and a line in `bot.actions`.
"""

from abc import abstractmethod
from datetime import datetime, timedelta
from typing import ClassVar, Literal

from bot.actions.base import Action, Written
from bot.domain.calendar import Schedule
from bot.domain.limits import Limit
from bot.domain.step import Rank
from bot.domain.subjects import Kind
from bot.fields.catalogue import KINDS
from bot.messages.message import Message
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
    `Action.digest` says whether a limit may hold it back.
    """

    rank: ClassVar[Rank] = Rank.POST
    posts: ClassVar[bool] = True
    watches: ClassVar[tuple[Kind, ...]] = KINDS

    @abstractmethod
    def posts_to(self, default_channel: str) -> str | None:
        """The channel it posts to (empty: the only one there is); None if it has no channels."""

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

    @property
    @abstractmethod
    def schedule(self) -> Schedule | None:
        """When its posts come as one digest; None if they come when there is something."""

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
