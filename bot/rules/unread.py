"""Which of a recording's fields could not be read: a rule must not take them for missing.

The client leaves out an optional value that it can't read and names it in `bad_values`. What a
field reads of a recording is found by reading it once from samples that note what is asked.
"""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, assert_never

import msgspec

from bot.domain.subjects import RecordingSubject, Site, Subject
from bot.fields.field import Field, Source
from bot.fields.recordings import MONDAY_NOON
from bot.rules.model import Journey, Leaf, OneItem, Test
from mouseflow.decode import BadValue
from mouseflow.models import PageView, Recording

_VIEWS = "page_views"


def _attributes(model: Any) -> dict[str, str]:
    return {each.encode_name: each.name for each in msgspec.structs.fields(model)}


_OF_RECORDING, _OF_VIEW = _attributes(Recording), _attributes(PageView)
_PLACE = re.compile(r"(\w+)(?:\[[0-9]+\](?:\.(\w+))?)?")


def unread(recording: Recording) -> frozenset[str]:
    """What could not be read, wholly or in part: `duration`, or `page_views.scroll`.

    Not what another answer about the recording has had.
    """
    lost = ((bad, _attribute(bad)) for bad in recording.bad_values)
    return frozenset(
        name for bad, name in lost if "[" in bad.field or _is_empty(getattr(recording, name, None))
    )


def _is_empty(value: Any) -> bool:
    return value is False or value in (None, "", ())


def _attribute(bad: BadValue) -> str:
    """What could not be read, under our names; empty for what no recording has."""
    found = _PLACE.match(bad.field)
    if found is None:
        return ""
    name = _OF_RECORDING.get(found[1], "")
    inner = _OF_VIEW.get(found[2] or "")
    return f"{name}.{inner}" if inner else name


def hinges_on(leaf: Leaf, about: Field, subject: Subject) -> bool:
    """Whether the leaf's answer may depend on what could not be read."""
    if not isinstance(subject, RecordingSubject) or not subject.recording.bad_values:
        return False
    if about.source is Source.SERVER:  # asked by a filter, whatever the row says
        return False
    lost = unread(subject.recording)
    read = _read_by(leaf, about)
    views = any(name.startswith(f"{_VIEWS}.") for name in read)
    return not lost.isdisjoint(read) or (views and _VIEWS in lost)


def _read_by(leaf: Leaf, about: Field) -> frozenset[str]:
    match leaf:
        case OneItem(_, tests):
            parts = (_reads_of_view(about.part(test.field).raw) for test in tests)
            return frozenset({_VIEWS}.union(*parts))
        case Test() | Journey():
            return _reads(about.raw)
        case _:
            assert_never(leaf)


class _Noting:
    """Stands for an object and notes which of its attributes are read."""

    def __init__(self, real: Any, noted: set[str], under: str = "") -> None:
        self._real, self._noted, self._under = real, noted, under

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._real, name)
        if name == _VIEWS and value:
            # Who reads the list alone does not depend on an odd value within one view.
            return tuple(_Noting(view, self._noted, f"{_VIEWS}.") for view in value)
        self._noted.add(f"{self._under}{name}")
        return value


_VIEW = PageView(website_page="/a", uri="https://shop.example/a?b=1#c", title="A", visit_time=1)


def _samples() -> Iterator[Recording]:
    bare = Recording(id="r", created=MONDAY_NOON, last_activity=MONDAY_NOON)
    seen = msgspec.structs.replace(bare, page_views=(_VIEW,))
    yield from (bare, seen, msgspec.structs.replace(seen, entry_page="/a", tags=("a",)))


@lru_cache(maxsize=512)
def _reads(raw: Callable[[Any], Any]) -> frozenset[str]:
    """The attributes of a recording that the function reads."""
    noted: set[str] = set()
    for sample in _samples():
        row: Any = _Noting(sample, noted)
        raw(RecordingSubject(website=Site("w", "shop.example"), recording=row, zone="UTC"))
    return frozenset(noted)


@lru_cache(maxsize=512)
def _reads_of_view(raw: Callable[[Any], Any]) -> frozenset[str]:
    noted: set[str] = set()
    raw(_Noting(_VIEW, noted, f"{_VIEWS}."))
    return frozenset(noted)
