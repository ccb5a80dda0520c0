"""The shape of an action: parameters as written in a rule file, and how it is performed."""

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema
from pydantic_core import PydanticCustomError

from bot.domain.step import Rank
from bot.domain.subjects import Kind, RecordingSubject, Subject
from bot.errors import BadCredentials, Forbidden, GiveUp, Gone, TryLater
from bot.fields.catalogue import SUBJECTS
from bot.messages.text import SPAN_PATTERN, duration
from bot.ports import Ports, Posted, Task
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


class Action(BaseModel):
    """One thing to do for one match; `perform` reaches the world through ports.

    `kind` names the action in the store and the audit log, `rank` orders it within a match.
    `posts`: it tells somebody outside; any other action changes something at Mouseflow.
    `watches` are the kinds of subjects it fits. `digest` is the kind of step that stands for
    several of these when limits hold them back; empty if nothing may hold it back. `if_held_back`
    is the kind of step, with the same parameters, that edits the message about it then. What is
    `irreversible` needs the other steps of its match to have succeeded, and its rule and the
    configuration to allow it still. What `restores` ends something that the bot began, and what
    `switches` sets something for all visitors. The store keeps it as JSON (`model_dump_json`,
    `model_validate_json`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    kind: ClassVar[str]
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

    @property
    def sets(self) -> Mapping[str, Any]:
        """The fields of the subject that it sets, with the values they have afterwards."""
        return {}

    @abstractmethod
    async def perform(self, task: Task, ports: Ports) -> Done:
        """Do it. Safe to repeat; raises GiveUp or TryLater."""


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


class Written(BaseModel):
    """A mapping as written in a rule file."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _duration(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str):
        raise PydanticCustomError("duration", "write a number and a unit: 90s, 5m, 1h or 7d")
    try:
        length = duration(value)
    except ValueError as wrong:
        raise PydanticCustomError("duration", "{why}", {"why": str(wrong)}) from None
    if not length:
        raise PydanticCustomError("duration", "write a time longer than zero")
    return length


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": SPAN_PATTERN,
            "not": {"pattern": "^[^1-9]*$"},
            "examples": ["7d"],
        }
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
