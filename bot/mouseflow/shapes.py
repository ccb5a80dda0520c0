"""The shapes that all answers share: optional fields, rows set aside, charts by day."""

from datetime import date
from typing import Annotated, Generic, TypeVar

from msgspec import Meta, Struct
from msgspec.structs import force_setattr

T = TypeVar("T")
Id = Annotated[str, Meta(min_length=1)]


class Unreadable(Struct, frozen=True):
    """A row that was set aside: its id if it has one, its place in the list, what was wrong."""

    id: str | None
    index: int
    reason: str


class Rows(tuple[T, ...], Generic[T]):
    """The rows of a list that could be read; `unreadable` names those that could not."""

    unreadable: tuple[Unreadable, ...] = ()


def days(chart: dict[str, int]) -> dict[date, int]:
    """A chart by date. Keys come with and without a time (L804, L3378); others are left out."""
    read: dict[date, int] = {}
    for key, count in chart.items():
        try:
            day = date.fromisoformat(key[:10])
        except ValueError:
            continue
        read[day] = read.get(day, 0) + count
    return read


class Answer(Struct, frozen=True, kw_only=True, rename="camel"):
    """A part of an answer, where an optional empty string means that there is none."""

    def __post_init__(self) -> None:
        for name, default in zip(
            self.__struct_fields__[::-1], self.__struct_defaults__[::-1], strict=False
        ):
            if default is None and getattr(self, name) == "":
                force_setattr(self, name, None)
