"""Star a recording, or remove the star."""

from typing import Any, ClassVar

from bot.actions.base import Action, Done, Spec, ended_with_its_subject, recording, remove, send
from bot.ports import Ports, Task
from bot.written import YesNo
from mouseflow import recordings


class Star(Action):
    """Stars the recording for the API user (the API document, L842), or removes the star.

    Safe to repeat. After an unknown outcome it reads the recording first.
    """

    kind: ClassVar[str] = "star"
    quotes_visitors: ClassVar[bool] = False
    on: bool = True

    async def perform(self, task: Task, ports: Ports) -> Done:
        """Add or remove the star."""
        done = self._set(task, ports)
        return await (done if self.on else ended_with_its_subject(done, task))

    async def _set(self, task: Task, ports: Ports) -> Done:
        subject = recording(task)
        place = (subject.website.id, subject.recording.id)
        if task.attempted:
            seen = await send(recordings.detail(*place), task, ports)
            if seen.starred is self.on:
                return Done("starred" if self.on else "removed the star")
        if self.on:
            await send(recordings.star(*place), task, ports)
            return Done("starred")
        was = await remove(recordings.unstar(*place), recordings.detail(*place), task, ports)
        return Done("removed the star" if was else "had no star")


def _steps(written: Any) -> tuple[Action, ...]:
    return (Star(on=written),)


STAR = Spec(
    key="star",
    written=YesNo,
    subjects=Star.watches,
    models=(Star,),
    steps=_steps,
    about="`true` stars the recording, `false` takes the star away; stars are the API user's own",
    example="star: true",
)
