"""Starring a recording, or taking the star away."""

from typing import Any, ClassVar

from pydantic import StrictBool

from bot.actions.base import Action, Done, Spec, away, recording, send
from bot.ports import Ports, Task
from mouseflow import recordings


class Star(Action):
    """Stars the recording for the API user (the API document, L842), or takes the star away.

    Safe to repeat: a star is there or not.
    """

    kind: ClassVar[str] = "star"
    on: bool = True

    async def perform(self, task: Task, ports: Ports) -> Done:
        """Make it so."""
        subject = recording(task)
        place = (subject.website.id, subject.recording.id)
        if self.on:
            await send(recordings.star(*place), task, ports)
            return Done("starred")
        was = await away(recordings.unstar(*place), recordings.detail(*place), task, ports)
        return Done("took the star away" if was else "had no star")


def _steps(written: Any) -> tuple[Action, ...]:
    return (Star(on=written),)


STAR = Spec(
    key="star",
    written=StrictBool,
    subjects=Star.watches,
    models=(Star,),
    steps=_steps,
    about="`true` stars the recording, `false` takes the star away; stars are the API user's own",
    example="star: true",
)
