"""From the body of an answer to values, tolerant of what the API was seen or feared to send.

A body is read in one go. Only where that fails is it looked at again: texts that are not
Unicode are mended, and lists are read row by row, so that one bad row costs only itself.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from functools import cache
from types import UnionType
from typing import Annotated, Any, Generic, TypeVar, get_args, get_origin

import msgspec
from msgspec import Meta, Raw, Struct
from msgspec.structs import force_setattr

from mouseflow.errors import BadAnswer

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


S = TypeVar("S", bound=Struct)
_BOM = b"\xef\xbb\xbf"


def nothing(_body: bytes) -> None:
    """Reads a write's answer: any 2xx is success, whatever the body (empty, text, HTML)."""


def decode(body: bytes | Raw, decoder: msgspec.json.Decoder[T]) -> T:
    """The body by this decoder.

    Raises msgspec.ValidationError where JSON has another shape, BadAnswer where it is no JSON.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as broken:
        mended = _mended(bytes(body))
        if mended is None:
            raise BadAnswer(_not_json(bytes(body), broken)) from None
        return decoder.decode(mended)


def _mended(body: bytes) -> bytes | None:
    """The body as JSON that a strict parser takes, None if it is no JSON at all.

    Texts come from visitors and are cut by length: half an emoji (a lone surrogate) or a
    stray byte must not cost the whole page.
    """
    try:
        value = json.loads(
            body.removeprefix(_BOM).decode("utf-8", "replace"), parse_constant=lambda _name: None
        )
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
    except (ValueError, RecursionError):
        return None


def _not_json(body: bytes, broken: Exception) -> str:
    start = body.removeprefix(_BOM).lstrip()[:1]
    if not start:
        return "an empty body where JSON was due"
    if start == b"<":
        return "HTML where JSON was due"
    if "truncated" in str(broken):
        return "half a JSON"
    return "a body that is not JSON"


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def one(kind: type[S]) -> Callable[[bytes], S]:
    """A reader of an answer that is one object."""

    def read(body: bytes) -> S:
        try:
            return decode(body, _decoder(kind))  # type: ignore[no-any-return]
        except msgspec.ValidationError:
            return _salvaged_one(body, kind)

    return read


def _salvaged_one(body: bytes, kind: type[S]) -> S:
    try:
        return salvaged(decode(body, _decoder(Any)), kind)
    except msgspec.ValidationError as wrong:
        raise BadAnswer(f"an answer of another shape: {wrong}") from None


def rows(kind: type[S], id_key: str = "id") -> Callable[[bytes], Rows[S]]:
    """A reader of an answer that is a list of objects."""

    def read(body: bytes) -> Rows[S]:
        try:
            return Rows(decode(body, _decoder(tuple[kind, ...])))  # type: ignore[valid-type]
        except msgspec.ValidationError:
            read_rows, unreadable = row_by_row(_raw_list(body), kind, id_key)
        found: Rows[S] = Rows(read_rows)
        found.unreadable = unreadable
        return found

    return read


def strings(body: bytes) -> Rows[str]:
    """Reads a list of strings; what is not a string is set aside."""
    return texts(_raw_list(body))


def texts(raws: Sequence[Raw]) -> Rows[str]:
    """The strings among these values; the others are named in `unreadable`."""
    values = [decode(raw, _decoder(Any)) for raw in raws]
    found = Rows(value for value in values if isinstance(value, str))
    found.unreadable = tuple(
        Unreadable(None, index, f"Expected `str`, got `{type(value).__name__}`")
        for index, value in enumerate(values)
        if not isinstance(value, str)
    )
    return found


def token(body: bytes) -> str:
    """Reads the token of a share: a bare JSON string (L1515-1517).

    Also takes the text without quotes and `{"token": ...}`. Never says what it met instead:
    a token opens a visitor's session to anyone.
    """
    try:
        value = decode(body, _decoder(Any))
    except BadAnswer:
        value = body.decode("utf-8", "replace").strip()
    if isinstance(value, Mapping):
        value = value.get("token")
    plain = isinstance(value, str) and 0 < len(value) <= 200
    if not plain or any(c in "<>\"'" or c.isspace() or not c.isprintable() for c in value):
        raise BadAnswer("no sharing token")
    return str(value)


def row_by_row(
    raws: Sequence[Raw], kind: type[S], id_key: str = "id"
) -> tuple[tuple[S, ...], tuple[Unreadable, ...]]:
    """The rows that can be read, and the names of those that can't."""
    good: list[S] = []
    bad: list[Unreadable] = []
    for index, raw in enumerate(raws):
        try:
            good.append(_row(raw, kind))
        except (msgspec.ValidationError, BadAnswer) as wrong:
            bad.append(Unreadable(_id_of(raw, id_key), index, str(wrong)))
    return tuple(good), tuple(bad)


def _row(raw: Raw, kind: type[S]) -> S:
    try:
        return decode(raw, _decoder(kind))  # type: ignore[no-any-return]
    except msgspec.ValidationError:
        return salvaged(decode(raw, _decoder(Any)), kind)


def salvaged(value: Any, kind: type[S]) -> S:
    """The value as this kind, with what is harmless put right.

    Nulls and empty strings are left out, so that the field's default stands; whole numbers
    may be written as fractions or strings, dates in any form of ISO 8601, and a list of one
    object may stand for the object (`report`, L3455). Raises msgspec.ValidationError.
    """
    return msgspec.convert(_clean(value, kind), kind, strict=False)


def _clean(value: Any, kind: Any) -> Any:
    if isinstance(kind, UnionType):
        kind = next(k for k in get_args(kind) if k is not type(None))
    if get_origin(kind) is tuple and isinstance(value, list):
        return [_clean(item, get_args(kind)[0]) for item in value]
    if isinstance(kind, type) and issubclass(kind, Struct):
        return _clean_object(value, kind)
    if kind is datetime and isinstance(value, str):
        return _iso(value)
    if kind is int and isinstance(value, float):
        return round(value)
    return value


def _clean_object(value: Any, kind: type[Struct]) -> Any:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, dict):
        return value
    kinds = {field.encode_name: field.type for field in msgspec.structs.fields(kind)}
    return {
        key: _clean(item, kinds[key])
        for key, item in value.items()
        if key in kinds and item is not None and item != ""
    }


def _iso(text: str) -> Any:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return text


def _id_of(raw: Raw, id_key: str) -> str | None:
    try:
        value = decode(raw, _decoder(Any))
    except BadAnswer:
        return None
    found = value.get(id_key) if isinstance(value, dict) else None
    return str(found)[:100] if isinstance(found, str | int) else None


def _raw_list(body: bytes) -> list[Raw]:
    try:
        return decode(body, _decoder(list[Raw]))
    except msgspec.ValidationError as wrong:
        raise BadAnswer(f"an answer of another shape: {wrong}") from None
