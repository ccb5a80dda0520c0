"""Add tags to a recording and remove them."""

import re
from typing import Annotated, Any, ClassVar

from bot.actions.base import Action, Done, Spec, ended_with_its_subject, recording, remove, send
from bot.ports import Ports, Task
from bot.written import Check, Length, Wrong
from mouseflow import recordings

LONGEST = 100
# The tracker writes a star as the tag "*"; "shared" is the system's own (the API document,
# L4384); a comma separates tags in filters and can't be escaped (L4372).
_RESERVED = {"*", "shared"}
_INVISIBLE = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def _tag(name: str) -> str:
    name = name.strip()
    if not name:
        raise Wrong("a tag may not be empty")
    if len(name) > LONGEST:
        raise Wrong("a tag has at most 100 characters")
    if "," in name:
        raise Wrong("a tag may not have a comma; write a list: [a, b]")
    if name.lower() in _RESERVED:
        raise Wrong(f"{name!r} is Mouseflow's own tag")
    if _INVISIBLE.search(name):
        raise Wrong("a tag may not have control characters")
    return name


TagName = Annotated[
    str,
    Check(
        _tag,
        schema={"type": "string", "minLength": 1, "maxLength": LONGEST, "pattern": "^[^,]+$"},
    ),
]
Tags = TagName | Annotated[list[TagName], Length(1, 50)]


class Tag(Action):
    """Adds a tag to the recording.

    Safe to repeat. After an unknown outcome it reads the recording first and keeps a tag that
    is already there.
    """

    kind: ClassVar[str] = "tag"
    quotes_visitors: ClassVar[bool] = False
    tag: str

    async def perform(self, task: Task, ports: Ports) -> Done:
        """Add the tag."""
        subject = recording(task)
        place = (subject.website.id, subject.recording.id)
        if self.tag in subject.recording.tags:
            return Done(f"had the tag {self.tag} already")
        if task.attempted:
            seen = await send(recordings.detail(*place), task, ports)
            if self.tag in seen.tags:
                return Done(f"has the tag {self.tag} from an earlier attempt")
        await send(recordings.tag(*place, self.tag), task, ports)
        return Done(f"tagged {self.tag}")


class Untag(Action):
    """Removes a tag from the recording.

    Safe to repeat. After an unknown outcome it reads the recording first.
    """

    kind: ClassVar[str] = "untag"
    quotes_visitors: ClassVar[bool] = False
    tag: str

    async def perform(self, task: Task, ports: Ports) -> Done:
        """Remove the tag."""
        return await ended_with_its_subject(self._remove(task, ports), task)

    async def _remove(self, task: Task, ports: Ports) -> Done:
        subject = recording(task)
        place = (subject.website.id, subject.recording.id)
        if task.attempted:
            seen = await send(recordings.detail(*place), task, ports)
            if self.tag not in seen.tags:
                return Done(f"removed the tag {self.tag}")
        request = recordings.untag(*place, self.tag)
        was = await remove(request, recordings.detail(*place), task, ports)
        return Done(f"removed the tag {self.tag}" if was else f"had no tag {self.tag}")


def _names(written: str | list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([written] if isinstance(written, str) else written))


def _tags(written: Any) -> tuple[Action, ...]:
    return tuple(Tag(tag=name) for name in _names(written))


def _untags(written: Any) -> tuple[Action, ...]:
    return tuple(Untag(tag=name) for name in _names(written))


TAG = Spec(
    key="tag",
    written=Tags,
    subjects=Tag.watches,
    models=(Tag,),
    steps=_tags,
    about="puts a tag, or each tag of a list, on the recording; the whole team sees tags",
    example="tag: [friction, checkout]",
)
UNTAG = Spec(
    key="untag",
    written=Tags,
    subjects=Untag.watches,
    models=(Untag,),
    steps=_untags,
    about="takes a tag, or each tag of a list, off the recording",
    example="untag: to-review",
)
