"""Set custom variables of a recording."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar

from bot.actions.base import Action, Done, Spec, recording, send
from bot.errors import TryLater
from bot.ports import Ports, Task
from bot.written import Check, Length, Wrong
from mouseflow import recordings

LONGEST_KEY, LONGEST_VALUE = 100, 2000  # the limits of the tracking script


def _key(key: str) -> str:
    if not key.strip() or len(key) > LONGEST_KEY:
        raise Wrong("a variable's name has 1 to 100 characters")
    if "=" in key:
        raise Wrong("a variable's name may not have =")
    return key


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"{value:g}" if isinstance(value, float) else str(value)
    if not isinstance(value, str):
        raise Wrong('write a text or a number ("" removes the variable)')
    if len(value) > LONGEST_VALUE:
        raise Wrong("a variable's value has at most 2000 characters")
    return value


Key = Annotated[str, Check(_key)]
Value = Annotated[str, Check(_value, before=True, schema={"type": ["string", "number", "boolean"]})]
Pairs = Annotated[dict[Key, Value], Length(1, 50)]


class Variables(Action):
    """Sets variables of the recording; an empty text removes one (the API document, L1457).

    Safe to repeat: it sets. The API document does not say whether variables that are not named
    stay (L1449-1453), so the recording is read before and after, and lost ones are restored.
    """

    kind: ClassVar[str] = "variables"
    quotes_visitors: ClassVar[bool] = True
    values: dict[str, str]

    async def perform(self, task: Task, ports: Ports) -> Done:
        """Set the variables."""
        subject = recording(task)
        place = (subject.website.id, subject.recording.id)
        before = read(await self._seen(place, task, ports))
        if self._holds_in(before):
            return Done(f"had {_named(self.values)} already")
        await send(recordings.edit_variables(*place, self.values), task, ports)
        after = read(await self._seen(place, task, ports))
        lost = {key: value for key, value in before.items() if key not in {*after, *self.values}}
        if lost:
            await send(recordings.edit_variables(*place, {**lost, **self.values}), task, ports)
            after = read(await self._seen(place, task, ports))
        if not self._holds_in(after):
            raise TryLater(
                "the variables were set, but the API does not show them yet", unknown=True
            )
        return Done(f"set {_named(self.values)}" + (f"; restored {_named(lost)}" if lost else ""))

    async def _seen(self, place: tuple[str, str], task: Task, ports: Ports) -> tuple[str, ...]:
        return (await send(recordings.detail(*place), task, ports)).variables

    def _holds_in(self, present: Mapping[str, str]) -> bool:
        return all(present.get(key, "") == value for key, value in self.values.items())


def read(pairs: Iterable[str]) -> dict[str, str]:
    """`key=value` texts by key, the last of a repeated key (the API document, L841)."""
    return {key: value for key, _, value in (pair.partition("=") for pair in pairs)}


def _named(values: Mapping[str, str]) -> str:
    return ", ".join(values)


def _steps(written: Any) -> tuple[Action, ...]:
    return (Variables(values=written),)


VARIABLES = Spec(
    key="variables",
    written=Pairs,
    subjects=Variables.watches,
    models=(Variables,),
    steps=_steps,
    about='sets custom variables of the recording; `""` removes one; others stay as they are',
    example="variables: {reviewed-by: bot, cart-value: 100}",
)
