"""The shape of an action: parameters as written in a rule file, and how it is performed."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import Field, dataclass, field, fields
from datetime import timedelta
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    Self,
    TypeVar,
    dataclass_transform,
    final,
)

import msgspec

from bot.domain.step import Rank
from bot.domain.subjects import Kind, RecordingSubject, Subject
from bot.errors import BadCredentials, Forbidden, GiveUp, Gone, TryLater
from bot.fields.catalogue import SUBJECTS
from bot.messages.text import SPAN_PATTERN, duration
from bot.ports import Ports, Posted, Task
from bot.written import Check, Wrong
from mouseflow.request import Request

T = TypeVar("T")

SETTLING = timedelta(seconds=10)
"""How long a post whose outcome is unknown may still turn up in the channel."""


@dataclass(frozen=True, slots=True)
class Later:
    """A step that follows later, such as ending a share."""

    action: "Action"
    after: timedelta


@dataclass(frozen=True, slots=True)
class Done:
    """An action took effect. `note` goes to the audit log, `result` to later steps.

    `posts` are the messages that it posted, or that show something else from now on.
    """

    note: str = ""
    result: str | None = field(default=None, repr=False)
    follow: tuple[Later, ...] = field(default=())
    posts: tuple[Posted, ...] = field(default=())


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
class Action(ABC):
    """One thing to do for one match; `perform` reaches the world through ports.

    `kind` names the action in the store and the audit log, `rank` orders it within a match.
    `quotes_visitors`: what it says when it is done may come from visitors, so pages leave it out.
    `posts`: it tells somebody outside; any other action changes something at Mouseflow.
    `watches` are the kinds of subjects it fits. `digest` is the kind of step that stands for
    several of these when limits hold them back; empty if nothing may hold it back. `if_held_back`
    is the kind of step, with the same parameters, that edits the message about it then. What is
    `irreversible` needs the other steps of its match to have succeeded, and its rule and the
    configuration to allow it still. What `restores` ends something that the bot began, and what
    `switches` sets something for all visitors. The store keeps it as JSON (`stored`, `restored`).
    Each subclass is a frozen dataclass.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    kind: ClassVar[str]
    quotes_visitors: ClassVar[bool]
    rank: ClassVar[Rank] = Rank.WRITE
    posts: ClassVar[bool] = False
    watches: ClassVar[tuple[Kind, ...]] = ("recordings",)
    digest: ClassVar[str] = ""
    if_held_back: ClassVar[str] = ""
    irreversible: ClassVar[bool] = False
    restores: ClassVar[bool] = False
    switches: ClassVar[bool] = False

    def lane(self, subject: Subject, default_channel: str) -> str:
        """The step's queue: steps of one lane are performed one after another."""
        return f"mouseflow:{subject.website.id}"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if ("as_stored" in vars(cls)) != ("as_in_rule" in vars(cls)):
            raise TypeError(f"{cls.__name__}: as_stored and as_in_rule undo each other; write both")
        dataclass(frozen=True, kw_only=True)(cls)

    @final
    def stored(self) -> str:
        """As JSON, as the store keeps it."""
        return msgspec.json.encode(self.as_stored()).decode()

    def as_stored(self) -> "Action":
        """The action without what the store must not know."""
        return self

    def as_in_rule(self, current: Iterable["Action"]) -> "Action":
        """A stored action with what the store must not know; `current` are its rule's actions.

        Raises Refused if none of them has it.
        """
        return self

    @property
    def secrets(self) -> Mapping[str, str]:
        """What a rule file says of it that the store must not know, with what to keep instead."""
        return {}

    @classmethod
    def restored(cls, stored: str | bytes) -> Self:
        """The action of that JSON; raises msgspec's errors if it is another version's."""
        given = msgspec.json.decode(stored, type=dict[str, Any])
        if unknown := given.keys() - {each.name for each in fields(cls)}:
            raise msgspec.ValidationError(f"unknown: {', '.join(sorted(unknown))}")
        return msgspec.convert(given, cls)

    @property
    def sets(self) -> Mapping[str, Any]:
        """The fields of the subject that it sets, with the values they have afterwards."""
        return {}

    @abstractmethod
    async def perform(self, task: Task, ports: Ports) -> Done:
        """Perform the action. Safe to repeat; raises GiveUp or TryLater."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem inside a value: where (`path` below the key), and what.

    `line` and `column` count from 1 within the text that `path` leads to. `lint` is the id of a
    warning, None for an error.
    """

    path: tuple[str | int, ...]
    line: int
    column: int
    message: str
    lint: str | None = None


def _nothing(written: Any, kind: Kind) -> tuple[Problem, ...]:
    return ()


Need = Literal["rules.allow_delete", "slack", "notify"]
"""What the configuration must have before an action may be used."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the configuration lets rules do. None: unknown, so it is not checked.

    `channels` are those of posts that name none, by severity. `any_channel`: posts go to the
    channel that a rule names; an incoming webhook has its own. `places` are those of `[notify]`.
    `accounts` are those of the configuration, `account` is the one whose rules are read.
    """

    delete: bool = False
    posts: bool = True
    channel: bool = True
    share_url: bool | None = None
    channels: tuple[tuple[str, str], ...] = ()
    any_channel: bool = True
    places: tuple[str, ...] | None = None
    accounts: tuple[str, ...] | None = ()
    account: str = ""

    def has(self, accounts: Collection[str]) -> bool:
        """Whether the account has what these accounts have; none of them means all."""
        return not accounts or self.accounts is None or self.account in accounts

    def elsewhere(self) -> "Allowed":
        """For rules of other accounts, whose configuration is not known here."""
        return Allowed(delete=True, accounts=self.accounts, account=self.account)


@dataclass(frozen=True, slots=True)
class Spec:
    """One key of `do`: what may be written there, for which subjects, and the steps it means.

    `written` is a type for pydantic's TypeAdapter (validate and JSON Schema). `models` are all
    the steps that the key may lead to, at once or later. `problems` looks deeper, knowing the
    kind of subject. `example` is YAML. `needs` names what the configuration must allow.
    `templates` are the keys whose texts are templates; in all others they are errors.
    """

    key: str
    written: Any
    subjects: tuple[Kind, ...]
    models: tuple[type[Action], ...]
    steps: Callable[[Any], tuple[Action, ...]]
    about: str
    example: str
    problems: Callable[[Any, Kind], tuple[Problem, ...]] = _nothing
    needs: Need | None = None
    templates: frozenset[str] = frozenset()


def _duration(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise Wrong("write a number and a unit: 90s, 5m, 1h or 7d")
    try:
        length = duration(value)
    except ValueError as wrong:
        raise Wrong(str(wrong)) from None
    if not length:
        raise Wrong("write a time longer than zero")
    return length


Duration = Annotated[
    timedelta,
    Check(
        _duration,
        before=True,
        schema={
            "type": "string",
            "pattern": SPAN_PATTERN,
            "not": {"pattern": "^[^1-9]*$"},
            "examples": ["7d"],
        },
    ),
]
"""A time span as written in a rule file."""


async def send(request: Request[T], task: Task, ports: Ports) -> T:
    """The API's answer. What retrying can't fix becomes GiveUp with a remedy.

    A rejected API key concerns every step, so the step waits.
    """
    noun, website = SUBJECTS[task.subject.kind].noun, task.subject.website
    try:
        return await ports.mouseflow.send(request)
    except Gone as error:
        raise GiveUp(f"the {noun} is gone", "nothing is left to do") from error
    except Forbidden as error:
        raise GiveUp(
            f"the website {website.name or website.id} is read-only for the API user",
            "give that user write access in Mouseflow, or leave the website out of the rule",
        ) from error
    except BadCredentials as error:
        raise TryLater("Mouseflow rejected the API key", lane=True) from error


async def remove(request: Request[None], look: Request[Any], task: Task, ports: Ports) -> bool:
    """Remove something; False if it was not there.

    The API document does not say what a DELETE of something absent answers. A 404 can mean that
    or that the recording is gone, so the recording is read to find out.
    """
    try:
        await ports.mouseflow.send(request)
    except Gone:
        await send(look, task, ports)
        return False
    except (Forbidden, BadCredentials):
        await send(request, task, ports)
    return True


async def ended_with_its_subject(done: Awaitable[Done], task: Task) -> Done:
    """What `done` returns. Its aim is that something ends: it has, if the subject is gone."""
    try:
        return await done
    except GiveUp as error:
        if isinstance(error.__cause__, Gone):
            return Done(f"nothing to do: the {SUBJECTS[task.subject.kind].noun} is gone")
        raise


def recording(task: Task) -> RecordingSubject:
    """The task's recording; raises GiveUp if the task is about something else."""
    if not isinstance(task.subject, RecordingSubject):
        raise GiveUp(f"a {SUBJECTS[task.subject.kind].noun} is not a recording", "fix the rule")
    return task.subject
