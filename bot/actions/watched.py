"""Mark a recording as watched, or as not watched."""

from typing import Any, ClassVar

from bot.actions.base import Action, Done, Spec, ended_with_its_subject, recording, remove, send
from bot.ports import Ports, Task
from bot.written import YesNo
from mouseflow import recordings


class Watched(Action):
    """Marks the recording as watched by the API user (the API document, L843), or as not.

    Safe to repeat. After an unknown outcome it reads the recording first.
    """

    kind: ClassVar[str] = "watched"
    quotes_visitors: ClassVar[bool] = False
    on: bool = True

    async def perform(self, task: Task, ports: Ports) -> Done:
        """Mark the recording."""
        done = self._set(task, ports)
        return await (done if self.on else ended_with_its_subject(done, task))

    async def _set(self, task: Task, ports: Ports) -> Done:
        subject = recording(task)
        place = (subject.website.id, subject.recording.id)
        if task.attempted:
            seen = await send(recordings.detail(*place), task, ports)
            if seen.watched is self.on:
                return Done("marked as watched" if self.on else "marked as not watched")
        if self.on:
            await send(recordings.watch(*place), task, ports)
            return Done("marked as watched")
        was = await remove(recordings.unwatch(*place), recordings.detail(*place), task, ports)
        return Done("marked as not watched" if was else "was not watched")


def _steps(written: Any) -> tuple[Action, ...]:
    return (Watched(on=written),)


WATCHED = Spec(
    key="watched",
    written=YesNo,
    subjects=Watched.watches,
    models=(Watched,),
    steps=_steps,
    about="`true` marks the recording as watched by the API user, `false` as not watched",
    example="watched: true",
)
