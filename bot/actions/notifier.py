"""Actions that tell somebody outside: all that the rest of the bot asks of one.

Limits, digests, lints, rule tests, replay and budgets use these properties and know no
notifier by name. So a new one is a file like `slack.py` and a line in `bot.actions`.
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal

import msgspec

from bot.actions.base import Action, Problem
from bot.domain.calendar import SCHEDULE_PATTERN, Schedule, schedule
from bot.domain.limits import Limit
from bot.domain.many import Spread
from bot.domain.step import Rank
from bot.domain.subjects import Kind, Severity, reread
from bot.fields.catalogue import KINDS
from bot.messages import several
from bot.messages.message import Message
from bot.messages.template_variables import LONGEST
from bot.messages.text import RATE_PATTERN, rate
from bot.ports import Addresses, Task
from bot.written import Check, Written, Wrong

OnOverflow = Literal["digest", "drop"]


Overflow = Annotated[
    OnOverflow | None,
    Check(schema={"type": "string", "enum": ["digest", "drop"], "title": "Overflow"}),
]
"""What a rule says of it; None if it says nothing."""


@dataclass(frozen=True, slots=True)
class AtMost:
    """So many posts within a window; the store counts them."""

    times: int
    window_ms: int

    def limit(self, overflow: OnOverflow) -> Limit:
        """The limit as delivery and replay apply it."""
        return Limit(self.times, timedelta(milliseconds=self.window_ms), overflow)


class Notifier(Action):
    """An action under `do` that tells people or a program about a match.

    Every question is abstract on purpose: a notifier that leaves one out can't be built.
    `Action.digest` says whether a limit may hold it back. `service` begins the names of its lanes,
    and is a key of `bot.domain.causes.SERVICES`.
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
        """The notifier, posting to that channel if the rule names none."""

    @abstractmethod
    def plain(self) -> "Notifier":
        """The notifier with the built-in message and no limit, for what must be said."""

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

    @property
    @abstractmethod
    def secrets(self) -> Mapping[str, str]:
        """What a rule file says of it that the store must not know, with what to keep instead.

        If there is any, `as_stored` leaves it out and `as_in_rule` adds it again.
        """


class ToPeople(Notifier):
    """A notifier whose messages people read; `digest_at` is its key `digest`."""

    text: str | None = None
    at_most: AtMost | None = None
    overflow: OnOverflow = "digest"
    digest_at: str = ""

    @property
    def own_text(self) -> str | None:
        """The rule's `text`."""
        return self.text

    @property
    def schedule(self) -> Schedule | None:
        """The rule's `digest`."""
        return schedule(self.digest_at) if self.digest_at else None

    @property
    def limit(self) -> Limit | None:
        """The rule's `at_most` and `overflow`."""
        return self.at_most.limit(self.overflow) if self.at_most else None

    @property
    def secret_reference(self) -> str | None:
        """None: what gives access to the place is in the configuration."""
        return None

    @property
    def secrets(self) -> Mapping[str, str]:
        """None, as well."""
        return {}


@dataclass(frozen=True, slots=True)
class DigestItem:
    """One of the worst few matches, which a digest shows; its subject as stored."""

    subject: dict[str, Any]
    matched: datetime
    why: tuple[str, ...] = ()


class DigestOfMany(Action):
    """Tells many matches of one rule as one message.

    `reasons` counts the posts by why they were held back, `total` all of them. `items` are the
    worst few, worst first; `since` is when the first one matched, `spread` where they concentrate,
    `over` how many of them are alerts that have ended, `snoozed` who snoozed the rule, and why:
    ` by Kim: release`.
    """

    after_quiet: ClassVar[str]
    """The kind of step that tells what waited in a quiet time, at the same place."""

    total: int
    reasons: dict[str, int]
    since: datetime
    items: tuple[DigestItem, ...] = ()
    spread: dict[str, dict[str, int]] = field(default_factory=dict)
    over: int = 0
    snoozed: str = ""

    def message(self, task: Task, addresses: Addresses) -> Message:
        """How many, the worst few with links, and how many more."""
        return several.digest(
            task,
            addresses,
            total=self.total,
            reasons=self.reasons,
            since=self.since,
            spread=msgspec.convert(self.spread, Spread),
            worst=[reread(msgspec.json.encode(item.subject)) for item in self.items],
            over=self.over,
            snoozed=self.snoozed,
        )


@dataclass(frozen=True, slots=True)
class Waited:
    """What one rule had to say in a quiet time; an alert that began and ended has `over`.

    So many of its digest's alerts have `ended`.
    """

    rule: str
    summary: str
    severity: Severity
    since: datetime
    total: int = 1
    worst: DigestItem | None = None
    spread: dict[str, dict[str, int]] = field(default_factory=dict)
    over: datetime | None = None
    ended: int = 0


class QuietOfMany(Action):
    """Tells what several rules have to say as one message of a place: a line for each rule.

    `scheduled`: it is their scheduled digest, else what waited in a quiet time.
    """

    since: datetime
    until: datetime
    total: int
    groups: tuple[Waited, ...] = ()
    scheduled: bool = False

    def message(self, task: Task, addresses: Addresses) -> Message:
        """How many, and what each rule had to say."""
        return several.after_quiet(
            task,
            addresses,
            total=self.total,
            since=self.since,
            until=self.until,
            scheduled=self.scheduled,
            said=[
                several.Waited(
                    rule=each.rule,
                    summary=each.summary,
                    severity=each.severity,
                    total=each.total,
                    since=each.since,
                    over=each.over,
                    ended=each.ended,
                    spread=msgspec.convert(each.spread, Spread),
                    why=each.worst.why if each.worst else (),
                    worst=reread(msgspec.json.encode(each.worst.subject)) if each.worst else None,
                )
                for each in self.groups
            ],
        )


def _at_most(value: Any) -> Any:
    if not isinstance(value, str):
        raise Wrong("write a rate such as 10 per hour")
    try:
        times, window = rate(value)
    except ValueError as wrong:
        raise Wrong(str(wrong)) from None
    return AtMost(times=times, window_ms=window // timedelta(milliseconds=1))


def _digest_at(value: Any) -> Any:
    if not isinstance(value, str):
        raise Wrong("write days and a time, such as mon-fri 09:00")
    try:
        schedule(value)
    except ValueError as wrong:
        raise Wrong(str(wrong)) from None
    return value


def _text(value: Any) -> Any:
    if not isinstance(value, str):
        raise Wrong("write a text")
    return value


Rate = Annotated[
    AtMost,
    Check(
        _at_most,
        before=True,
        schema={"type": "string", "pattern": RATE_PATTERN, "examples": ["10 per hour"]},
    ),
]
Text = Annotated[str, Check(_text, before=True, schema={"type": "string", "maxLength": LONGEST})]
DigestAt = Annotated[
    str,
    Check(
        _digest_at,
        before=True,
        schema={"type": "string", "pattern": SCHEDULE_PATTERN, "examples": ["mon-fri 09:00"]},
    ),
]


def post_problems(
    post: Written, text: str | None, digest: str, kind: Kind, here: tuple[str | int, ...]
) -> Iterator[Problem]:
    """Errors in a post's own text, and for keys without effect beside a scheduled digest."""
    if text is not None:
        from bot.messages.template_check import check_text  # only where rules are read

        for fault in check_text(text, kind):
            yield Problem((*here, "text"), fault.line, fault.column, fault.message)
    for key in ("text", "at_most", "overflow"):
        if digest and getattr(post, key) is not None:
            message = f"{key} has no effect beside digest; leave out one of both"
            yield Problem((*here, key), 1, 1, message)
