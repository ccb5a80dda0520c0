"""Delete a recording permanently."""

from typing import Any, ClassVar, Literal

from bot.actions.base import Action, Done, Spec, recording, send
from bot.domain.step import Rank
from bot.errors import GiveUp, Gone
from bot.ports import Ports, Task
from mouseflow import recordings


class Delete(Action):
    """Deletes the recording, after all other actions of the match.

    Safe to repeat: a recording that is gone counts as deleted.
    """

    kind: ClassVar[str] = "delete"
    rank: ClassVar[Rank] = Rank.LAST

    async def perform(self, task: Task, ports: Ports) -> Done:
        """Do it."""
        subject = recording(task)
        try:
            await send(recordings.delete(subject.website.id, subject.recording.id), task, ports)
        except GiveUp as error:
            if isinstance(error.__cause__, Gone):
                return Done("was deleted already")
            raise
        return Done("deleted")


def _steps(written: Any) -> tuple[Action, ...]:
    return (Delete(),)


DELETE = Spec(
    key="delete",
    written=Literal[True],
    subjects=Delete.watches,
    models=(Delete,),
    steps=_steps,
    about="deletes the recording for good; there is no way back",
    example="delete: true",
    needs="rules.allow_delete",
)
