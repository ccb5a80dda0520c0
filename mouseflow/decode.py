"""Decode the body of an answer into models. One bad value never costs the row, one bad row
never costs the list.

A body is decoded in one go. Only if that fails is it decoded again with more patience:
invalid Unicode is replaced, and lists are read row by row.
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
    """A row that could not be decoded: its id if it has one, its index in the list, and why."""

    id: str | None
    index: int
    reason: str


class Rows(tuple[T, ...], Generic[T]):
    """The decoded rows of a list; `unreadable` names the rows that could not be decoded."""

    unreadable: tuple[Unreadable, ...] = ()


def days(chart: dict[str, int]) -> dict[date, int]:
    """A chart by date. Keys have a time or not (L804, L3378); keys that are no date are dropped."""
    by_day: dict[date, int] = {}
    for key, count in chart.items():
        try:
            day = date.fromisoformat(key[:10])
        except ValueError:
            continue
        by_day[day] = by_day.get(day, 0) + count
    return by_day


class Answer(Struct, frozen=True, kw_only=True, rename="camel"):
    """A part of an answer. An empty string in an optional field reads as None."""

    def __post_init__(self) -> None:
        for name, default in zip(
            self.__struct_fields__[::-1], self.__struct_defaults__[::-1], strict=False
        ):
            if default is None and getattr(self, name) == "":
                force_setattr(self, name, None)


S = TypeVar("S", bound=Struct)
_BOM = b"\xef\xbb\xbf"


def nothing(body: bytes) -> None:
    """Read a write's answer: empty, JSON, or the word OK; raises BadAnswer for anything else.

    The API documents no answer for these writes and JSON for most others (L10). A web page is a
    proxy's, and says nothing of the write.
    """
    if body.strip().lower() not in (b"", b"ok"):
        decode(body, _decoder(Any))


def decode(body: bytes | Raw, decoder: msgspec.json.Decoder[T]) -> T:
    """The decoded body.

    Raises msgspec.ValidationError for JSON of another shape, BadAnswer if it is not JSON.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        repaired = _repaired(bytes(body))
        if repaired is None:
            raise BadAnswer(_why_not_json(bytes(body), error)) from None
        return decoder.decode(repaired)


def exactly(body: bytes, kind: type[T]) -> T:
    """The body as this type; raises BadAnswer if it is anything else."""
    try:
        return decode(body, _decoder(kind))  # type: ignore[no-any-return, arg-type]
    except msgspec.ValidationError as error:
        raise BadAnswer(f"JSON of another shape: {error}") from None


def _repaired(body: bytes) -> bytes | None:
    """The body as JSON that a strict parser accepts, None if it is no JSON at all.

    Texts come from visitors and are truncated: half an emoji (a lone surrogate) or a stray
    byte must not cost the whole page.
    """
    try:
        value = json.loads(
            body.removeprefix(_BOM).decode("utf-8", "replace"), parse_constant=lambda _name: None
        )
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
    except (ValueError, RecursionError):
        return None


def _why_not_json(body: bytes, error: Exception) -> str:
    start = body.removeprefix(_BOM).lstrip()[:1]
    if not start:
        return "an empty body instead of JSON"
    if start == b"<":
        return "HTML instead of JSON"
    if "truncated" in str(error):
        return "truncated JSON"
    return "a body that is not JSON"


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def one(kind: type[S]) -> Callable[[bytes], S]:
    """A reader for an answer that is one object."""

    def read(body: bytes) -> S:
        try:
            return decode(body, _decoder(kind))  # type: ignore[no-any-return]
        except msgspec.ValidationError:
            return _lenient_one(body, kind)

    return read


def _lenient_one(body: bytes, kind: type[S]) -> S:
    try:
        return lenient(decode(body, _decoder(Any)), kind)
    except msgspec.ValidationError as error:
        raise BadAnswer(f"JSON of another shape: {error}") from None


def rows(kind: type[S], id_key: str = "id") -> Callable[[bytes], Rows[S]]:
    """A reader for an answer that is a list of objects."""

    def read(body: bytes) -> Rows[S]:
        try:
            return Rows(decode(body, _decoder(tuple[kind, ...])))  # type: ignore[valid-type]
        except msgspec.ValidationError:
            good, unreadable = row_by_row(_raw_list(body), kind, id_key)
        found: Rows[S] = Rows(good)
        found.unreadable = unreadable
        return found

    return read


def strings(body: bytes) -> Rows[str]:
    """Read a list of strings; other values end up in `unreadable`."""
    return texts(_raw_list(body))


def texts(raws: Sequence[Raw]) -> Rows[str]:
    """The strings among these values; other values end up in `unreadable`."""
    values = [decode(raw, _decoder(Any)) for raw in raws]
    found = Rows(value for value in values if isinstance(value, str))
    found.unreadable = tuple(
        Unreadable(None, index, f"Expected `str`, got `{type(value).__name__}`")
        for index, value in enumerate(values)
        if not isinstance(value, str)
    )
    return found


def token(body: bytes) -> str:
    """Read the token of a share: a bare JSON string (L1515-1517).

    Accepts the text without quotes and `{"token": ...}` as well. The error never quotes the
    body: a token opens a visitor's session to anyone.
    """
    try:
        value = decode(body, _decoder(Any))
    except BadAnswer:
        value = body.decode("utf-8", "replace").strip()
    if isinstance(value, Mapping):
        value = value.get("token")
    short = isinstance(value, str) and 0 < len(value) <= 200
    if not short or any(c in "<>\"'" or c.isspace() or not c.isprintable() for c in value):
        raise BadAnswer("no sharing token")
    return str(value)


def row_by_row(
    raws: Sequence[Raw], kind: type[S], id_key: str = "id"
) -> tuple[tuple[S, ...], tuple[Unreadable, ...]]:
    """The rows that can be decoded, and what is wrong with the others."""
    good: list[S] = []
    bad: list[Unreadable] = []
    for index, raw in enumerate(raws):
        try:
            good.append(_row(raw, kind))
        except (msgspec.ValidationError, BadAnswer) as error:
            bad.append(Unreadable(_id_of(raw, id_key), index, str(error)))
    return tuple(good), tuple(bad)


def _row(raw: Raw, kind: type[S]) -> S:
    try:
        return decode(raw, _decoder(kind))  # type: ignore[no-any-return]
    except msgspec.ValidationError:
        return lenient(decode(raw, _decoder(Any)), kind)


def lenient(value: Any, kind: type[S]) -> S:
    """The value as this type, with harmless deviations corrected.

    Nulls and empty strings fall back to the field's default; whole numbers may be fractions
    or strings, dates any form of ISO 8601, and a list of one object stands for the object
    (`report`, L3455). Raises msgspec.ValidationError.
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
    return exactly(body, list[Raw])
