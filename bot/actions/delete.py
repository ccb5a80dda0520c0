"""Delete a recording permanently."""

from dataclasses import replace
from typing import Any, ClassVar, Literal

from bot.actions.base import Action, Done, Spec, ended_with_its_subject, recording, send
from bot.domain.step import DELETED, Rank
from bot.ports import Ports, Task
from mouseflow import recordings


class Delete(Action):
    """Deletes the recording, once all other actions of the match have succeeded.

    Safe to repeat: a recording that is gone counts as deleted.
    """

    kind: ClassVar[str] = "delete"
    quotes_visitors: ClassVar[bool] = False
    irreversible: ClassVar[bool] = True
    rank: ClassVar[Rank] = Rank.DELETE

    async def perform(self, task: Task, ports: Ports) -> Done:
        """Delete the recording, for good."""
        done = await ended_with_its_subject(self._delete(task, ports), task)
        # What is gone now may be what an attempt of unknown outcome deleted.
        return replace(done, result=DELETED) if task.attempted else done

    async def _delete(self, task: Task, ports: Ports) -> Done:
        subject = recording(task)
        place = (subject.website.id, subject.recording.id)
        await send(recordings.delete(*place), task, ports)
        return Done("deleted", DELETED)


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
