"""What a field is: a name a rule may use, and how its value is read from a subject."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bot.domain.subjects import Band, Kind

Type = Literal["text", "number", "duration", "percent", "flag", "texts", "variables", "items"]
"""What may be written: `duration` is milliseconds within, `percent` 0-100; `texts` is a set of
texts (tags, pages); `variables` are named values; `items` is a list of things with parts."""

Source = Literal["row", "detail", "asked"]
"""Where a value comes from: the list's row, one more call for the detail, or a filter that only
the server can judge."""

Value = str | float | bool | Band | tuple[Any, ...] | None
"""A value read from a subject; None is no data. An empty text is no data, an empty tuple is
data: nothing is in it."""

NUMERIC: frozenset[Type] = frozenset({"number", "duration", "percent"})

_PAGE_FILES = (".html", ".htm", ".php", ".asp", ".aspx", ".jsp")


def same(value: Any) -> Any:
    """The value as it is."""
    return value


def text(value: str | None) -> str | None:
    """The text, or None where it is empty: the API sends empty texts for what it lacks."""
    return value or None


def path(address: str) -> str:
    """The page's path: no scheme, host, query, fragment or slash at the end.

    The API names one page in three ways (`https://shop.my/landing?x=1`, `shop.my/landing`,
    `/landing`: the API document, L756-757, L792). A pattern that begins with `*` keeps it.
    """
    rest = address.strip().partition("#")[0].partition("?")[0]
    scheme, mark, tail = rest.partition("://")
    if mark and "/" not in scheme:
        rest = "/" + tail.partition("/")[2]
    elif not rest.startswith(("/", "*")):
        head, slash, tail = rest.partition("/")
        host = "." in head and (slash or not head.lower().endswith(_PAGE_FILES))
        rest = "/" + (tail if host else rest)
    return rest.rstrip("/") or "/"


def page(value: str | None) -> str | None:
    """The page's path, None where there is none."""
    return path(value) if value else None


def folded(value: str) -> str:
    """A text as it is compared: without regard to case."""
    return value.casefold()


def folded_path(value: str) -> str:
    """A page or a page pattern as it is compared."""
    return path(value).casefold()


def number(value: str) -> float | None:
    """The number that a variable's text says, None where it says none."""
    if len(value) > 40 or "_" in value:  # longer than any number; float() takes 1_000
        return None
    try:
        figure = float(value)
    except ValueError:
        return None
    return figure if abs(figure) < float("inf") else None


def share_of(part: float | None, whole: float | None) -> float | None:
    """Percent of the whole, None where the whole is unknown or nothing."""
    return 100.0 * part / whole if part is not None and whole else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of one kind of subject; a rule's conditions, docs and errors all read it.

    `raw` takes the value from the subject in the cheapest hashable form, `clean` makes it a
    Value as people know it. `normal` says how texts are compared and is applied both to what
    is seen and to what is written (it keeps `*`). `choices` are the values that make sense,
    in order, in normal form. `grows` tells that an active session only adds to the value,
    `changes` that it may become any other; else it stays what it was at the start.
    `known` tells whether the subject holds all there is to know; None: it always does.
    `attribute` is the recording's attribute, where `raw` is nothing but that. `personal`
    values are not posted unless the rule's own text names them. `parts` are the fields of one
    item, where the type is `items`.
    """

    name: str
    watch: Kind
    type: Type
    meaning: str
    raw: Callable[[Any], Any]
    clean: Callable[[Any], Value] = same
    normal: Callable[[str], str] = folded
    unit: str = ""
    source: Source = "row"
    api_filter: str | None = None
    examples: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    grows: bool = False
    changes: bool = False
    known: Callable[[Any], bool] | None = None
    attribute: str = ""
    personal: bool = False
    parts: tuple["Field", ...] = ()

    def get(self, subject: Any) -> Value:
        """The value that the subject has, None for no data."""
        return self.clean(self.raw(subject))

    @property
    def numeric(self) -> bool:
        """Whether the values are numbers of some unit."""
        return self.type in NUMERIC

    def part(self, name: str) -> "Field":
        """The part of that name of one item; raises KeyError."""
        return named(self.parts, name)


def named(fields: Sequence[Field], name: str) -> Field:
    """The field of that name; raises KeyError."""
    for field in fields:
        if field.name == name:
            return field
    raise KeyError(name)
