"""Stop and start the recording of a website."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from bot.actions.base import Action, Done, Spec, send
from bot.domain.subjects import Kind, WebsiteSubject
from bot.errors import TryLater
from bot.ports import Ports, Task
from mouseflow import websites

_STATUS: dict[Literal["start", "stop"], Literal["Recording", "Stopped"]] = {
    "start": "Recording",
    "stop": "Stopped",
}
CHANGED, UNCHANGED = "changed", "unchanged"
"""The results: whether it was this step that switched."""


class RecordingSwitch(Action):
    """Stops or starts recording: only between Recording and Stopped, verified by reading again.

    Paused (no credits) and NotInstalled are states of Mouseflow's own (the API document,
    L147) and never changed. Safe to repeat: it sets, and reads first. The result is `changed` or
    `unchanged`; after an unknown outcome the bot counts the switch as its own.
    """

    kind: ClassVar[str] = "recording"
    quotes_visitors: ClassVar[bool] = False
    switches: ClassVar[bool] = True
    watches: ClassVar[tuple[Kind, ...]] = ("websites",)
    to: Literal["start", "stop"]

    @property
    def sets(self) -> Mapping[str, Any]:
        """The field that it sets."""
        return {"status": _STATUS[self.to]}

    async def perform(self, task: Task, ports: Ports) -> Done:
        """Start or stop recording."""
        wanted, site = _STATUS[self.to], task.subject.website.id
        status = await self._status(task, ports)
        if _same(status, wanted):
            ours = task.attempted and not _same(_seen(task), wanted)
            return Done(f"was {wanted} already", CHANGED if ours else UNCHANGED)
        if not any(_same(status, known) for known in _STATUS.values()):
            return Done(f"not changed: the status is {status or 'unknown'}", UNCHANGED)
        await send(websites.set_recording_status(site, wanted), task, ports)
        after = await self._status(task, ports)
        if not _same(after, wanted):
            raise TryLater(f"set to {wanted}, but the website is {after}", unknown=True)
        return Done(f"set to {wanted} (was {status})", CHANGED)

    async def _status(self, task: Task, ports: Ports) -> str | None:
        return (await send(websites.detail(task.subject.website.id), task, ports)).status


def _seen(task: Task) -> str | None:
    return task.subject.status if isinstance(task.subject, WebsiteSubject) else None


def _same(status: str | None, other: str) -> bool:
    return (status or "").casefold() == other.casefold()


def _steps(written: Any) -> tuple[Action, ...]:
    return (RecordingSwitch(to=written),)


RECORDING = Spec(
    key="recording",
    written=Literal["start", "stop"],
    subjects=RecordingSwitch.watches,
    models=(RecordingSwitch,),
    steps=_steps,
    about=(
        "`stop` or `start` the recording of the website; leaves Paused and NotInstalled alone; "
        "visitors notice late, because browsers cache the recording script"
    ),
    example="recording: stop",
)
