"""Decode the body of an answer into models. One bad value never costs the row, one bad row
never costs the list.

A body is decoded in one go. Only if that fails is it decoded again with more patience:
invalid Unicode is replaced, and lists are read row by row.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime
from functools import cache
from types import UnionType
from typing import Annotated, Any, Generic, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Meta, Raw, Struct
from msgspec.structs import force_setattr

from mouseflow.errors import BadAnswer

T = TypeVar("T")
LONGEST_ID = 200
"""Characters of an id. Databases index no more than 2.7 kB, and a real one has 36."""
Id = Annotated[str, Meta(min_length=1, max_length=LONGEST_ID, pattern="[^.]")]
"""An id that can stand in a path: "." and ".." lead elsewhere."""
Int = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
"""A whole number of at most 64 bits, which databases and tables can hold."""
MAX_NAMED = 20
"""How many bad values of one object are named."""


FIRST_YEAR, LAST_YEAR = 1900, 2999
"""Other years are errors of a clock; at the ends of the calendar no time zone can be applied."""


def check_date(at: datetime) -> None:
    """Raise ValueError if the year is an impossible one."""
    if not FIRST_YEAR <= at.year <= LAST_YEAR:
        raise ValueError("the date is out of range")


class BadValue(Struct, frozen=True):
    """A value that could not be read and is missing from its object: where it stood, and why.

    `field` is its place in the API's names, such as `pageViews[0].scroll`. `reason` never quotes
    the value.
    """

    field: str
    reason: str


class Unreadable(Struct, frozen=True):
    """A row that could not be decoded: its id if it has one, its index in the list, and why."""

    id: str | None
    index: int
    reason: str


class Rows(tuple[T, ...], Generic[T]):
    """The decoded rows of a list; `unreadable` names the rows that could not be decoded."""

    unreadable: tuple[Unreadable, ...] = ()


def days(chart: Mapping[str, int]) -> dict[date, int]:
    """A chart by date. Keys have a time or not (L804, L3378); keys that are no date are dropped."""
    by_day: dict[date, int] = {}
    for key, count in chart.items():
        try:
            day = date.fromisoformat(key[:10])
        except ValueError:
            continue
        by_day[day] = by_day.get(day, 0) + count
    return by_day


_BAD = "bad values"  # no key of the API


class Answer(Struct, frozen=True, kw_only=True, rename="camel"):
    """A part of an answer. An empty string in an optional field reads as None.

    `bad_values` names what could not be read; it is empty in the parts of an answer.
    """

    bad_values: tuple[BadValue, ...] = msgspec.field(default=(), name=_BAD)

    def __post_init__(self) -> None:
        for name, default in zip(
            self.__struct_fields__[::-1], self.__struct_defaults__[::-1], strict=False
        ):
            value = getattr(self, name)
            if default is None and value == "":
                force_setattr(self, name, None)
            elif type(value) is datetime:
                check_date(value)

    def to_dict(self) -> dict[str, Any]:
        """The values under their Python names, nested parts as dictionaries too."""
        return to_dict(self)


def to_dict(model: Struct) -> dict[str, Any]:
    """The model as a dictionary under Python names, without `bad_values`; dates stay dates."""
    return {
        name: _plain(getattr(model, name))
        for name in model.__struct_fields__
        if name != "bad_values"
    }


def to_rows(models: Iterable[Struct]) -> list[dict[str, Any]]:
    """A dictionary for each model, for a table: `pandas.DataFrame(to_rows(...))`."""
    return [to_dict(model) for model in models]


def _plain(value: Any) -> Any:
    if isinstance(value, Struct):
        return to_dict(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


S = TypeVar("S", bound=Struct)
_BOM = b"\xef\xbb\xbf"
MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a decoder raises for a body that is no JSON; msgspec.ValidationError is among these."""


def nothing(body: bytes) -> None:
    """Read a write's answer: empty, JSON, or the word OK; raises BadAnswer for anything else.

    The API documents no answer for these writes and JSON for most others (L10). A web page is a
    proxy's, and says nothing of the write.
    """
    if body.strip().lower() not in (b"", b"ok"):
        value_of(body)


def decode(body: bytes | Raw, decoder: msgspec.json.Decoder[T]) -> T:
    """The decoded body.

    Raises msgspec.ValidationError for JSON of another shape, BadAnswer if it is not JSON.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError:
        raise
    except MALFORMED as error:
        return decoder.decode(_repaired(bytes(body), error))


def value_of(body: bytes | Raw) -> Any:
    """The body as plain lists, dictionaries, texts and numbers; raises BadAnswer for no JSON."""
    try:
        return _decoder(Any).decode(body)
    except MALFORMED as error:
        return _decoder(Any).decode(_repaired(bytes(body), error))


def exactly(body: bytes, kind: type[T]) -> T:
    """The body as this type; raises BadAnswer if it is anything else."""
    try:
        return decode(body, _decoder(kind))  # type: ignore[no-any-return, arg-type]
    except msgspec.ValidationError as error:
        raise BadAnswer(f"JSON of another shape: {error}") from None


def _repaired(body: bytes, error: Exception) -> bytes:
    """The body as JSON that a strict parser accepts; raises BadAnswer if it is no JSON at all.

    Texts come from visitors and are truncated: half an emoji (a lone surrogate), a stray byte or
    a control character must not cost the whole page. Numbers of many digits become texts, values
    nested deeper than any of the API's become null.
    """
    text = _flattened(body.removeprefix(_BOM).decode("utf-8", "replace"))
    try:
        value = json.JSONDecoder(
            strict=False,
            parse_int=_short_int,
            parse_float=_finite,
            parse_constant=lambda _name: None,
        ).decode(text)
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
    except (ValueError, RecursionError):
        raise BadAnswer(_why_not_json(body, error)) from None


def _short_int(digits: str) -> int | str:
    return int(digits) if len(digits) < 20 else digits


def _finite(digits: str) -> float | str:
    number = float(digits)
    return number if math.isfinite(number) else digits


_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[{]|[\]}]', re.DOTALL)
_DEEPEST = 64


def _flattened(text: str) -> str:
    """The JSON text with null for each list and object that is nested deeper than 64."""
    kept, since, depth = [], 0, 0
    for found in _TOKEN.finditer(text):
        if (token := found[0]) in ("[", "{"):
            depth += 1
            if depth == _DEEPEST:
                kept.append(text[since : found.start()])
        elif token in ("]", "}"):
            depth -= 1
            if depth == _DEEPEST - 1:
                kept.append("null")
                since = found.end()
    return "".join(kept) + text[since:] if depth < _DEEPEST else text


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
            pass
        try:
            return lenient(value_of(body), kind)
        except Unfit as error:
            raise BadAnswer(f"JSON of another shape: {error}") from None

    return read


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
    """Read a list of strings; values that are no text end up in `unreadable`."""
    return texts(_raw_list(body))


def texts(raws: Sequence[Raw]) -> Rows[str]:
    """The texts among these values, with numbers as texts and without nulls."""
    good: list[str] = []
    bad: list[Unreadable] = []
    for index, raw in enumerate(raws):
        if (value := value_of(raw)) is None:
            continue
        try:
            good.append(_scalar(value, str))
        except Unfit as error:
            bad.append(Unreadable(None, index, str(error)))
    found = Rows(good)
    found.unreadable = tuple(bad)
    return found


def token(body: bytes) -> str:
    """Read the token of a share: a bare JSON string (L1515-1517).

    Accepts the text without quotes and `{"token": ...}` as well. The error never quotes the
    body: a token opens a visitor's session to anyone.
    """
    try:
        value = value_of(body)
    except BadAnswer:
        value = body.decode("utf-8", "replace").strip()
    if isinstance(value, Mapping):
        value = value.get("token")
    short = isinstance(value, str) and 0 < len(value) <= 200
    if not short or any(c in "<>\"'" or c.isspace() or not c.isprintable() for c in value):
        raise BadAnswer("no sharing token")
    return str(value)


def row_by_row(
    raws: Sequence[Raw], kind: type[S], id_key: str = "id", first: int = 0
) -> tuple[tuple[S, ...], tuple[Unreadable, ...]]:
    """The rows that can be decoded, and what is wrong with the others.

    `first` is the index of the first of them in the list.
    """
    good: list[S] = []
    bad: list[Unreadable] = []
    for index, raw in enumerate(raws, first):
        try:
            good.append(_decoder(kind).decode(raw))
            continue
        except MALFORMED:
            pass
        try:
            value = value_of(raw)
            good.append(lenient(value, kind))
        except BadAnswer as error:
            bad.append(Unreadable(None, index, str(error)))
        except Unfit as error:
            bad.append(Unreadable(_id_in(value, id_key), index, str(error)))
    return tuple(good), tuple(bad)


class Unfit(Exception):
    """A value cannot be read as the type that is asked for. The text never quotes it."""


def lenient(value: Any, kind: type[S]) -> S:
    """The value as this type, with harmless deviations corrected and the rest left out.

    Null and empty strings fall back to the field's default; numbers may be texts and texts
    numbers, whole numbers fractions, dates any form of ISO 8601; a list of one object stands for
    the object (`report`, L3455). An optional value that fits in no way is left out and named in
    `bad_values`. Raises Unfit if the value is no such object or lacks its id.
    """
    found, _bad = _object(value, kind, "")
    return found


_Bad = tuple[BadValue, ...]


def _object(value: Any, kind: type[S], at: str) -> tuple[S, _Bad]:
    """The object, and its bad values. Only an object at the top (`at` is "") holds them itself."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, dict):
        raise Unfit(f"expected an object, got {_kind_of(value)}")
    found: dict[str, Any] = {}
    bad: _Bad = ()
    for name, key, of in _fields(kind):
        item = value.get(key)
        if item is None or item == "":
            continue
        place = f"{at}.{key}" if at else key
        try:
            found[name], more = _as(item, of, place)
        except Unfit as error:
            more = (BadValue(place, str(error)),)
        bad = (*bad, *more)[:MAX_NAMED]
    if not at and bad:
        found["bad_values"] = bad
    try:
        return kind(**found), bad
    except (TypeError, ValueError):
        needed = [f.encode_name for f in msgspec.structs.fields(kind) if f.required]
        raise Unfit(f"{', '.join(needed)}: missing, or not what it should be") from None


@cache
def _fields(kind: type[Struct]) -> tuple[tuple[str, str, Any], ...]:
    return tuple(
        (field.name, field.encode_name, field.type)
        for field in msgspec.structs.fields(kind)
        if field.encode_name != _BAD
    )


def _as(value: Any, kind: Any, at: str) -> tuple[Any, _Bad]:
    if isinstance(kind, UnionType) or get_origin(kind) is Union:
        options = tuple(each for each in get_args(kind) if each is not type(None))
        kind = options[0] if len(options) == 1 else kind
    origin = get_origin(kind)
    if origin is tuple:
        return _list(value, get_args(kind)[0], at)
    if origin is dict:
        return _mapping(value, get_args(kind)[1], at)
    if isinstance(kind, type) and issubclass(kind, Struct):
        return _object(value, kind, at)
    return _scalar(value, kind), ()


def _list(value: Any, kind: Any, at: str) -> tuple[tuple[Any, ...], _Bad]:
    if not isinstance(value, list):
        raise Unfit(f"expected a list, got {_kind_of(value)}")
    items: list[Any] = []
    bad: _Bad = ()
    for index, item in enumerate(value):
        if item is None:
            continue
        place = f"{at}[{index}]"
        try:
            read, more = _as(item, kind, place)
            items.append(read)
        except Unfit as error:
            more = (BadValue(place, str(error)),)
        bad = (*bad, *more)[:MAX_NAMED]
    return tuple(items), bad


def count(value: Any) -> int:
    """The count of a list's answer; raises BadAnswer if it is no number."""
    try:
        return int(_scalar(value, Int))
    except Unfit as error:
        raise BadAnswer(f"JSON of another shape: count: {error}") from None


def chart(value: Any) -> tuple[dict[date, int], tuple[BadValue, ...]]:
    """A chart by date, and what is wrong with the entries that are left out."""
    if value is None or value == "":
        return {}, ()
    try:
        counts, bad = _mapping(value, Int, "chart")
    except Unfit as error:
        return {}, (BadValue("chart", str(error)),)
    return days(counts), bad


def _mapping(value: Any, kind: Any, at: str) -> tuple[dict[str, Any], _Bad]:
    if not isinstance(value, dict):
        raise Unfit(f"expected an object, got {_kind_of(value)}")
    items: dict[str, Any] = {}
    bad: _Bad = ()
    for key, item in value.items():
        try:
            items[key] = _scalar(item, kind)
        except Unfit as error:
            bad = (*bad, BadValue(f"{at}.{key[:40]}", str(error)))[:MAX_NAMED]
    return items, bad


def _scalar(value: Any, kind: Any) -> Any:
    """A text, number, bool or date. `kind` is one type, or a union of them."""
    is_id = get_origin(kind) is Annotated and get_args(kind)[0] is str
    for each in (value, *(() if is_id else _other_spellings(value))):
        try:
            read = msgspec.convert(each, kind, strict=False)
        except (msgspec.ValidationError, OverflowError):
            continue
        if isinstance(read, datetime) and not FIRST_YEAR <= read.year <= LAST_YEAR:
            raise Unfit("the date is out of range")
        return read
    wanted, got = _words(kind), _kind_of(value)
    if is_id and isinstance(value, str):
        raise Unfit("no id: it is empty, only dots, or too long")
    raise Unfit("the number is out of range" if wanted == got else f"expected {wanted}, got {got}")


def _other_spellings(value: Any) -> Iterator[Any]:
    if isinstance(value, bool):
        return
    if isinstance(value, int | float):
        yield round(value)
        yield str(value)
    if isinstance(value, str):
        with suppress(ValueError, OverflowError):
            yield datetime.fromisoformat(value)
        with suppress(ValueError, OverflowError):
            yield round(float(value))


_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def _words(kind: Any) -> str:
    if isinstance(kind, UnionType) or get_origin(kind) is Union:
        return " or ".join(map(_words, get_args(kind)))
    kind = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    return "a date" if kind is datetime else _WORDS.get(kind, "nothing")


def _kind_of(value: Any) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    return "null" if value is None else _WORDS.get(type(value), type(value).__name__)


def _id_in(value: Any, id_key: str) -> str | None:
    found = value.get(id_key) if isinstance(value, dict) else None
    return str(found)[:100] if isinstance(found, str | int) else None


def _raw_list(body: bytes) -> list[Raw]:
    return exactly(body, list[Raw])
