"""Switch a feedback campaign on or off."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from bot.actions.base import Action, Done, Spec, send
from bot.domain.subjects import Kind
from bot.errors import TryLater
from bot.ports import Ports, Task
from bot.written import YesNo
from mouseflow import feedback
from mouseflow.errors import BadAnswer
from mouseflow.request import Request

Campaign = dict[str, Any]


class Enabled(Action):
    """Switches a campaign on or off: reads it, changes one key, writes it, reads it again.

    The API document (L3844, beside L636) does not say that part of a campaign may be written,
    so it is written whole, as it was read and without its `report`. The note keeps the
    campaign as it was. Safe to repeat: it sets, and reads first.
    """

    kind: ClassVar[str] = "enabled"
    quotes_visitors: ClassVar[bool] = True
    switches: ClassVar[bool] = True
    watches: ClassVar[tuple[Kind, ...]] = ("feedback",)
    on: bool

    @property
    def sets(self) -> Mapping[str, Any]:
        """The field that it sets."""
        return {"enabled": self.on}

    async def perform(self, task: Task, ports: Ports) -> Done:
        """Switch the campaign; what else changed meanwhile stays."""
        said = "on" if self.on else "off"
        before = await self._campaign(task, ports)
        if before.get("enabled") is self.on:
            return Done(f"was {said} already")
        content = {key: value for key, value in before.items() if key != "report"}
        update = feedback.update(*_place(task), content | {"enabled": self.on})
        await send(update, task, ports)
        after = await self._campaign(task, ports)
        if after.get("enabled") is not self.on:
            raise TryLater(f"the campaign was switched {said}, but is not", unknown=True)
        return Done(f"switched {said}{_others(content, after)}; before: {backup(content)}")

    async def _campaign(self, task: Task, ports: Ports) -> Campaign:
        """The campaign with every key that the API sends, known to us or not."""
        detail: Request[Any] = feedback.detail(*_place(task))
        campaign: Campaign = await send(dataclasses.replace(detail, read=_object), task, ports)
        return campaign


def _place(task: Task) -> tuple[str, str]:
    return task.subject.website.id, task.subject.key


def _object(body: bytes) -> Campaign:
    try:
        return msgspec.json.decode(body, type=Campaign)
    except msgspec.MsgspecError:
        raise BadAnswer("something that is not a campaign") from None


def _others(before: Campaign, after: Campaign) -> str:
    changed = [k for k in before if k != "enabled" and before[k] != after.get(k)]
    return f" (Mouseflow shows these changed too: {', '.join(changed)})" if changed else ""


def backup(campaign: Campaign) -> str:
    """The campaign as JSON for the audit log.

    Its `notification` may be a URL with a secret in it. It was written back unchanged, so the
    log need not keep it.
    """
    kept = campaign | ({"notification": "(kept)"} if campaign.get("notification") else {})
    return msgspec.json.encode(kept).decode()


def _steps(written: Any) -> tuple[Action, ...]:
    return (Enabled(on=written),)


ENABLED = Spec(
    key="enabled",
    written=YesNo,
    subjects=Enabled.watches,
    models=(Enabled,),
    steps=_steps,
    about="switches the feedback campaign on (`true`) or off (`false`)",
    example="enabled: false",
)
