"""The shape of an action: parameters as written in a rule file, and how it is performed."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from bot.ports import Ports, Task
from bot.subjects import Subject

WRITE, SHARE, POST = 0, 1, 2
"""The order in which a match's actions are performed."""


@dataclass(frozen=True, slots=True)
class Later:
    """A step that must follow after a while, such as taking a share back."""

    action: "Action"
    after: timedelta


@dataclass(frozen=True, slots=True)
class Done:
    """An action has taken effect. `note` goes to the audit log, `result` to later steps."""

    note: str = ""
    result: str | None = None
    follow: tuple[Later, ...] = field(default=())


class Action(BaseModel):
    """One thing to do for one match. Values in; `perform` reaches the world through ports.

    `kind` names the action in the store and the audit log, `rank` orders it within a match.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    kind: ClassVar[str]
    rank: ClassVar[int] = WRITE

    def lane(self, subject: Subject, default_channel: str) -> str:
        """What the step queues behind: steps of one lane are performed one after another."""
        return f"mouseflow:{subject.website.id}"

    async def perform(self, task: Task, ports: Ports) -> Done:
        """Make it so. Safe to repeat; raises GiveUp or TryLater."""
        raise TypeError(f"{type(self).__name__} is not an action of its own")
