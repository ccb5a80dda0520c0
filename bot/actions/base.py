"""The shape of an action: parameters as written in a rule file, and how it is performed."""

from abc import abstractmethod
from collections.abc import Callable
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
from bot.ports import Ports, Task
from mouseflow.request import Request

T = TypeVar("T")

SETTLING = timedelta(seconds=10)
"""How long a post whose outcome is unknown may still turn up in the channel."""


@dataclass(frozen=True, slots=True)
class Later:
    """A step that must follow after a while, such as taking a share back."""

    action: "Action"
    after: timedelta


@dataclass(frozen=True, slots=True)
class Done:
    """An action has taken effect. `note` goes to the audit log, `result` to later steps."""

    note: str = ""
    result: str | None = field(default=None, repr=False)
    follow: tuple[Later, ...] = field(default=())


class Action(BaseModel):
    """One thing to do for one match. Values in; `perform` reaches the world through ports.

    `kind` names the action in the store and the audit log, `rank` orders it within a match,
    `watches` are the kinds of subjects it fits. `digest` is the kind of step that stands for
    several of these when limits hold them back; empty if nothing may hold it back. Survives
    `model_dump_json` and `model_validate_json`, which is how it waits in the store.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    kind: ClassVar[str]
    rank: ClassVar[Rank] = Rank.WRITE
    watches: ClassVar[tuple[Kind, ...]] = ("recordings",)
    digest: ClassVar[str] = ""

    def lane(self, subject: Subject, default_channel: str) -> str:
        """What the step queues behind: steps of one lane are performed one after another."""
        return f"mouseflow:{subject.website.id}"

    @abstractmethod
    async def perform(self, task: Task, ports: Ports) -> Done:
        """Do it. Safe to repeat; raises GiveUp or TryLater."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong inside a written value: where (`path` below the key), and what.

    `line` and `column` count from 1 within the text that `path` leads to.
    """

    path: tuple[str | int, ...]
    line: int
    column: int
    message: str


def _nothing(written: Any, kind: Kind) -> tuple[Problem, ...]:
    return ()


Need = Literal["rules.allow_delete", "slack"]
"""What the configuration must have before an action may be used."""


@dataclass(frozen=True, slots=True)
class Spec:
    """One key of `do`: what may be written there, for which subjects, and the steps it means.

    `written` is a type for pydantic's TypeAdapter (validate and JSON Schema). `models` are all
    the steps that the key may lead to, at once or later. `problems` looks deeper, knowing the
    kind of subject. `example` is YAML. `needs` names what the configuration must allow.
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
        raise PydanticCustomError("duration", "write a time longer than nothing")
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
    """The API's answer. What can't be mended by asking again becomes GiveUp with a remedy.

    A refused password is everybody's problem, not this step's: the step waits.
    """
    noun, website = SUBJECTS[task.subject.kind].noun, task.subject.website
    try:
        return await ports.mouseflow.send(request)
    except Gone as error:
        raise GiveUp(f"the {noun} is gone", "nothing can be done for it any more") from error
    except Forbidden as error:
        raise GiveUp(
            f"the website {website.name or website.id} is read-only for the API user",
            "give that user write access in Mouseflow, or leave the website out of the rule",
        ) from error
    except BadCredentials as error:
        raise TryLater("Mouseflow refuses the email or the API key", lane=True) from error


async def away(request: Request[None], look: Request[Any], task: Task, ports: Ports) -> bool:
    """Takes something away; False where it was away already.

    Nothing says what a DELETE of something absent answers. A 404 can mean that or that the
    recording is gone, so it is told apart by looking.
    """
    try:
        await ports.mouseflow.send(request)
    except Gone:
        await send(look, task, ports)
        return False
    except (Forbidden, BadCredentials):
        await send(request, task, ports)
    return True


def recording(task: Task) -> RecordingSubject:
    """The recording that the task is about; raises GiveUp for a task about something else."""
    if not isinstance(task.subject, RecordingSubject):
        raise GiveUp(f"a {SUBJECTS[task.subject.kind].noun} is not a recording", "mend the rule")
    return task.subject
