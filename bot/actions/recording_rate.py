"""Set the percentage of sessions that a website records."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from bot.actions.base import Action, Done, Spec, send
from bot.domain.subjects import Kind, WebsiteSubject
from bot.errors import TryLater
from bot.ports import Ports, Task
from bot.written import Check, Wrong
from mouseflow import websites


class RecordingRate(Action):
    """Sets the recording rate in percent, and reads it back to verify.

    With `only_lower` a lower rate stays as it is. Safe to repeat: it sets. The result is the
    rate before, in percent, so that it can be restored; `rate` itself if it changed nothing.
    """

    kind: ClassVar[str] = "recording_rate"
    quotes_visitors: ClassVar[bool] = False
    switches: ClassVar[bool] = True
    watches: ClassVar[tuple[Kind, ...]] = ("websites",)
    rate: int
    only_lower: bool = False

    @property
    def sets(self) -> Mapping[str, Any]:
        """The field that it sets."""
        return {"recording_rate": self.rate}

    async def perform(self, task: Task, ports: Ports) -> Done:
        """Set the share of sessions to record."""
        before = await self._rate(task, ports)
        if before == self.rate:
            earlier = _seen(task) if task.attempted else before
            return Done(f"was {self.rate} % already", _text(earlier))
        if self.only_lower and before is not None and before < self.rate:
            return Done(f"not changed: the rate is {before} % already", _text(self.rate))
        site = task.subject.website.id
        await send(websites.update(site, recording_rate=self.rate), task, ports)
        after = await self._rate(task, ports)
        if after != self.rate:
            raise TryLater(f"set to {self.rate} %, but the rate is {after}", unknown=True)
        return Done(f"set to {self.rate} % (was {_text(before) or '?'} %)", _text(before))

    async def _rate(self, task: Task, ports: Ports) -> int | None:
        return (await send(websites.detail(task.subject.website.id), task, ports)).recording_rate


def _seen(task: Task) -> int | None:
    return task.subject.recording_rate if isinstance(task.subject, WebsiteSubject) else None


def _text(rate: int | None) -> str | None:
    return None if rate is None else str(rate)


def _percent(value: Any) -> int:
    text = str(value).removesuffix("%").strip() if isinstance(value, int | str) else ""
    if isinstance(value, bool) or not (text.isascii() and text.isdigit() and len(text) < 9):
        raise Wrong("write a whole percentage, such as 25")
    rate = int(text)
    if rate == 0:
        raise Wrong("to record nothing, write recording: stop")
    if rate == 1:
        # The API document says "1 for all" (L667) where it says "100 for all" three times.
        raise Wrong("1 is ambiguous in Mouseflow's API; write 2 or more")
    if rate > 100:
        raise Wrong("at most 100, which records all sessions")
    return rate


Percent = Annotated[
    int,
    Check(
        _percent,
        before=True,
        schema={
            "anyOf": [
                {"type": "integer", "minimum": 2, "maximum": 100},
                {"type": "string", "pattern": "^([2-9]|[1-9][0-9]|100) ?%$"},
            ]
        },
    ),
]


def _steps(written: Any) -> tuple[Action, ...]:
    return (RecordingRate(rate=written),)


RECORDING_RATE = Spec(
    key="recording_rate",
    written=Percent,
    subjects=RecordingRate.watches,
    models=(RecordingRate,),
    steps=_steps,
    about="records so many of a hundred sessions, from 2 to 100",
    example="recording_rate: 25",
)
