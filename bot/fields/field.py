"""What a field is: everything that rules, messages, tests and docs need to know about one value.

A field is declared once, in `recordings.py` or `reports.py`. A declaration that lacks something,
or contradicts itself, raises `BadField` when the module is imported.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from operator import attrgetter
from typing import Any, Final, Literal, assert_never

from msgspec import Struct
from msgspec.structs import replace

from bot.domain.calendar import WEEKDAYS as WEEKDAYS
from bot.domain.subjects import Band, Kind
from bot.fields.normal import (
    folded,
    folded_address,
    folded_path,
    folded_words,
    language,
    page,
    referrer_word,
    weekday_word,
)
from mouseflow.filters import Filters, SessionFilters

Type = Literal[
    "text", "number", "duration", "percent", "flag", "texts", "variables", "items", "moment"
]
"""The kind of value. `duration` is in milliseconds, `percent` 0-100; `texts` is a set of texts
(tags, pages); `variables` are `name=value` texts; `items` are things with parts of their own;
`moment` is an instant, which conditions can't compare."""


class Source(Enum):
    """Where a value is known from. The text says so in docs/reference/rules.md."""

    LIST = "the list"
    DETAIL = "one more call"
    SERVER = "the API alone"


class AskedBy(Enum):
    """How the bot asks for a value that only the server knows."""

    THRESHOLD = auto()
    """One query for each threshold: which recordings reach it. The value is a `Band`."""

    VISITOR_TYPE = auto()
    """One query for returning visitors; all others came for the first time."""

    SEARCH = auto()
    """One query for each text that rules name: which recordings the API finds by it."""


class TextKind(Enum):
    """What kind of text a value is: how it is compared, printed and what is doubtful about it."""

    PLAIN = auto()
    PATH = auto()
    ADDRESS = auto()
    COUNTRY = auto()
    IP = auto()
    TAG = auto()
    WEEKDAY = auto()
    REFERRER = auto()
    LANGUAGE = auto()
    VERSION = auto()
    MOMENT = auto()
    SEARCH = auto()


Value = str | float | bool | Band | datetime | tuple[Any, ...] | None
"""A value read from a subject; None is no data. An empty text is no data, an empty tuple is
data: nothing is in it."""

NUMERIC: Final[frozenset[Type]] = frozenset({"number", "duration", "percent"})

FOLLOWS: Final = object()
"""The sample of a field whose value follows from the samples of other fields."""


class BadField(TypeError):
    """A declaration in the catalogue is incomplete or contradicts itself. Names the field."""


def number(value: str) -> float | None:
    """The number that a variable's text says, None where it says none."""
    if len(value) > 40 or "_" in value:  # longer than any number; float() takes 1_000
        return None
    try:
        figure = float(value)
    except ValueError:
        return None
    return figure if abs(figure) < float("inf") else None


Version = tuple[int, ...]
"""The parts of a version: 17.4.1 is (17, 4, 1)."""

_VERSION = re.compile(r"[0-9]{1,9}(?:[._][0-9]{1,9}){0,9}")

VERSION_PATTERN = r"^\s*(0|[1-9][0-9]{0,8})(\.[0-9]{1,9}){0,9}\s*$"
"""What a rule may write as a version (17.4, 22.04), for the reader and the JSON Schema."""


def version(value: str) -> Version | None:
    """The version with which the text begins (`10_15_7`, `17.4 beta`), None where it has none."""
    found = _VERSION.match(value.strip())
    return found and tuple(map(int, found[0].replace("_", ".").split(".")))


_MOMENT = "%Y-%m-%d %H:%M:%S"

_LEAP = "([0-9]{2}(0[48]|[2468][048]|[13579][26])|([02468][048]|[13579][26])00)-02-29"
_DAY = (
    "[0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])"
    "|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))"
)
_TIME = "([01]?[0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?"
MOMENT_PATTERN = rf"^\s*(?!0000)({_LEAP}|{_DAY})([T ]{_TIME})?\s*$"
"""What a rule may write as a moment: a day that there is, perhaps with a time."""


def moment_text(at: datetime) -> str:
    """The moment on its own clock as conditions compare it: `2026-05-01 09:30:00`."""
    return at.strftime(_MOMENT)


def moment_of(written: str) -> datetime | None:
    """The moment that `2026-05-01`, `2026-05-01 09:30` or `2026-05-01T09:30:05` says, without a
    zone; None for anything else."""
    if not re.search(MOMENT_PATTERN, written):
        return None
    text = written.strip().replace("T", " ", 1)
    for end in (len("%Y-%m-%d"), len("%Y-%m-%d %H:%M"), len(_MOMENT)):
        with suppress(ValueError):
            return datetime.strptime(text, _MOMENT[:end])  # noqa: DTZ007 (the account's clock)
    return None


def share_of(part: float | None, whole: float | None) -> float | None:
    """Percent of the whole, None where the whole is unknown or nothing."""
    return 100.0 * part / whole if part is not None and whole else None


def filled(values: Sequence[str] | None) -> tuple[str, ...]:
    """The texts that are not empty."""
    return tuple(value for value in values or () if value)


def _same(value: Any) -> Any:
    return value


def _text(value: str | None) -> str | None:
    """The text, or None where it is empty: the API sends empty texts for what it lacks."""
    return value or None


def _normal(kind: TextKind) -> Callable[[str], str]:
    match kind:
        case TextKind.PATH:
            return folded_path
        case TextKind.WEEKDAY:
            return weekday_word
        case TextKind.REFERRER:
            return referrer_word
        case TextKind.ADDRESS:
            return folded_address
        case TextKind.LANGUAGE:
            return language
        case (
            TextKind.PLAIN
            | TextKind.COUNTRY
            | TextKind.IP
            | TextKind.TAG
            | TextKind.VERSION
            | TextKind.MOMENT
        ):
            return folded
        case TextKind.SEARCH:
            return folded_words
        case _:
            assert_never(kind)


def _clean(field: "Field") -> Callable[[Any], Value]:
    match field.type:
        case "text":
            if field.several_names:
                return _same
            return page if field.text is TextKind.PATH else _text
        case "texts" | "variables":
            return filled
        case "number" | "duration" | "percent" | "flag" | "items" | "moment":
            return _same
        case _:
            assert_never(field.type)


def setter(at: str, shape: Callable[[Any], Any] = _same) -> Callable[[Any, Any], Any]:
    """A function that returns the subject with another value at this dotted path."""
    first, _, rest = at.partition(".")
    inner = setter(rest, shape) if rest else None

    def give(subject: Any, value: Any) -> Any:
        new = inner(getattr(subject, first), value) if inner else shape(value)
        return replace(subject, **{first: new})

    return give


def _stored(type_: Type) -> Callable[[Any], Any]:
    """How a subject stores a value of this type: counts and times as whole numbers."""
    return round if type_ in ("number", "duration") else _same


class ApiFilter(Struct, frozen=True, kw_only=True):
    """The API's filter that serves a field, and how a condition's value becomes its value.

    `name` is the filter's attribute in SessionFilters, of a range without its `min` and `max`.
    `take` makes the filter's value of one written value, or None where the filter can't say it.
    `exact`: every recording that meets the condition passes the filter; else the filter only
    comes close, and serves for counting. A list takes several values at once. `pattern` is what
    `take` accepts, in any case, where there are no choices; `hint` says it in words. `contrast`
    are two values that few visitors share, of a range a lowest and a highest bound that nobody
    keeps: with them the bot tests whether a report applies the filter, and so rules may name the
    field under `visitors`.
    """

    name: str
    take: Callable[[Any], Any]
    exact: bool = True
    is_range: bool = False
    is_list: bool = False
    pattern: str = ""
    hint: str = ""
    contrast: tuple[Any, ...] = ()

    @property
    def of_page_lists(self) -> bool:
        """Whether page lists apply it; those of whole sessions have no effect there (L4301)."""
        return self.name in Filters.__dataclass_fields__

    @property
    def names(self) -> tuple[str, ...]:
        """The filter's attributes in SessionFilters."""
        return (f"{self.name}min", f"{self.name}max") if self.is_range else (self.name,)


class Unusual(Struct, frozen=True):
    """A warning for figures `above` a limit that hardly any subject passes."""

    above: float
    lint: str
    words: str


ITSELF = "{}"
"""The headline of a value that needs no other words."""


def _no_words(_: str) -> None:
    return None


def _undeclared(*_: Any) -> Any:
    raise BadField("a field without a way to read or write it")


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of one kind of subject.

    What it is:
    `personal` values reach messages only where the rule's own text names the field. `text` is
    the kind of text, `unit` the unit of a figure. `choices` are the values that make sense, in
    normal form; with `open_choices` rows may hold others too. `parts` are the fields of an item.

    Reading and writing:
    `at` is the dotted path of the value in the subject (in the item, for a part). Where there
    is none, `raw` reads the value in the cheapest hashable form and `give` returns the subject
    with the value that a rule's test gives; it raises ValueError for what the field can't be.
    `sample` is such a value; `FOLLOWS` where the samples of other fields make it. Fields with the
    same `made_of` read the same data. `several_names`: the value is the thing's name and its id.
    `counts` names the field whose entries this figure counts. `gives_views`: a rule's test may
    list page views under it.

    When it is known:
    `known` tells whether the subject holds all there is to know; None: it always does.
    `asked_by` is how the bot asks for a value that only the server knows. An active session
    only adds to the value (`grows`), or may make it any other (`changes`); else it stays.
    `news_of` names the figure whose growth since the rule fired is the value.
    `over_last`: the figure is of the rule's `over_last`, where others of its kind are of now.
    `of_today`: it is of the day so far, whatever `over_last` is. `of_budget`: the budgets know it.
    `missing_from_expanded_lists`: a row with page views still lacks it.

    For the decision index:
    `row_at` is the recording's attribute that is the raw value of a row with an entry page and
    without page views. `pieces` lists the subject's texts as the API sends them, with repeats,
    where that is cheaper than `raw`.

    In rule files:
    `ordered`: the condition is a list of paths in this order. `least` and `most` are the bounds
    of the figure. `unusual` warns of figures. `query_in` names the field that can ask for the
    query that a path lacks. `of_whole_session` and `names_item` are for the
    warning about a page's friction. `group_as` is the field's name in `once_per` and `count`,
    `count_as` another one in `count` alone.
    `thresholds` are those that `tune` tries. `locates`: it says where in a country the visitor is;
    the built-in messages leave it out.

    For the status page: `describes`: its place (from 1) among the few values that describe
    a session; 0 if it is none of them.

    In messages:
    `in_texts` tells whether texts may use it, `text_name` under which other name, `told` reads
    another value for them, `text_meaning` explains it. `label` precedes a value in *Why*
    lines instead of the name, `absent_label` where it must be absent; `in_words` says a well-known
    value in words, which need no label (None: it is not well-known); a flag is `true` or `false`.
    `headline` has the figure in an alert's headline, as `{} convert`; `ITSELF`: the value alone.
    """

    watch: Kind
    name: str
    type: Type
    meaning: str
    personal: bool
    source: Source
    sample: Any
    examples: tuple[str, ...] = ()
    unit: str = ""
    text: TextKind = TextKind.PLAIN
    choices: tuple[str, ...] = ()
    open_choices: bool = False
    parts: tuple["Field", ...] = ()

    at: str = ""
    raw: Callable[[Any], Any] = _undeclared
    give: Callable[[Any, Any], Any] = _undeclared
    made_of: str = ""
    several_names: bool = False
    counts: str = ""
    gives_views: bool = False

    known: Callable[[Any], bool] | None = None
    asked_by: AskedBy | None = None
    grows: bool = False
    changes: bool = False
    news_of: str = ""
    over_last: bool = False
    of_today: bool = False
    of_budget: bool = False
    missing_from_expanded_lists: bool = False

    row_at: str = ""
    pieces: Callable[[Any], Sequence[str | None]] | None = None

    in_conditions: bool = True
    api_filter: ApiFilter | None = None
    ordered: bool = False
    least: float = 0
    most: float = math.inf
    unusual: Unusual | None = None
    query_in: str = ""
    of_whole_session: bool = False
    names_item: bool = False
    group_as: str = ""
    count_as: str = ""
    thresholds: tuple[float, ...] = ()
    locates: bool = False

    describes: int = 0

    in_texts: bool = True
    text_name: str = ""
    told: Callable[[Any], Any] | None = None
    text_meaning: str = ""
    label: str | None = None
    absent_label: str = ""
    in_words: Callable[[str], str | None] = _no_words
    headline: str = ""

    clean: Callable[[Any], Value] = _undeclared
    normal: Callable[[str], str] = _undeclared

    def __post_init__(self) -> None:
        if self.at and self.raw is _undeclared:
            object.__setattr__(self, "raw", attrgetter(self.at))
        if self.at and self.give is _undeclared:
            object.__setattr__(self, "give", setter(self.at, _stored(self.type)))
        object.__setattr__(self, "clean", _clean(self))
        object.__setattr__(self, "normal", _normal(self.text))
        object.__setattr__(self, "text_name", self.text_name or self.name)
        if problem := next(_problems(self), None):
            raise BadField(f"field {self.watch}.{self.name}: {problem}")

    def get(self, subject: Any) -> Value:
        """The value that the subject has, None for no data."""
        return self.clean(self.raw(subject))

    def in_text(self, subject: Any) -> Any:
        """The value for a message's text, before it is printed: one name of several."""
        value: Any = self.told(subject) if self.told else self.get(subject)
        return value[0] if self.several_names and value else value

    @property
    def numeric(self) -> bool:
        """Whether the values are numbers of some unit."""
        return self.type in NUMERIC

    @property
    def is_count(self) -> bool:
        """Whether the figure counts things, so that chance alone makes small ones vary."""
        return self.type == "number" and not self.unit

    @property
    def always_there(self) -> bool:
        """Whether each alert's subject has a value, so that none is an answer cut short."""
        return self.numeric or self.type == "flag" or bool(self.choices)

    @property
    def banded(self) -> bool:
        """Whether the value is a `Band`: the server tells thresholds reached, never the figure."""
        return self.asked_by is AskedBy.THRESHOLD

    @property
    def served(self) -> ApiFilter:
        """The API filter that serves the field; raises TypeError where none does."""
        if self.api_filter is None:
            raise TypeError(f"the API has no filter for {self.name}")
        return self.api_filter

    @property
    def why_label(self) -> str:
        """What precedes the value in a *Why* line."""
        return self.name if self.label is None else self.label

    @property
    def attribute(self) -> str:
        """The recording's attribute, where the raw value is nothing but that."""
        prefix, _, name = self.at.partition(".")
        return name if prefix == "recording" else ""

    def part(self, name: str) -> "Field":
        """The part of that name of one item; raises KeyError."""
        return named(self.parts, name)

    def made_item(self, blank: Any, values: Mapping[str, Any]) -> Any:
        """An item with the values that a rule's test gives, by the names of the parts."""
        for part in self.parts:
            if part.name in values:
                blank = part.give(blank, values[part.name])
        return blank


def _problems(field: Field) -> Iterator[str]:
    """What is wrong with a declaration."""
    if field.raw is _undeclared:
        yield "say where its value is (at), or how to read it (raw)"
    if field.give is _undeclared:
        yield "say where its value is (at), or how a rule's test writes it (give)"
    if len(field.meaning) < 5:
        yield "say what it means"
    if (field.source is Source.SERVER) is (field.asked_by is None):
        yield "a value that only the server knows, and no other, needs asked_by"
    if (field.type == "items") is not bool(field.parts):
        yield "items, and nothing else, have parts"
    if not field.personal and any(part.personal and part.in_texts for part in field.parts):
        yield "texts would show a part with personal data, so it is personal too"
    if field.type in ("duration", "percent") and not field.unit:
        yield "a duration or a percentage has a unit"
    if field.type == "moment" and field.in_conditions:
        yield "conditions can't compare moments"
    if field.in_conditions and not field.examples:
        yield "give an example of a condition"
    if any(field.normal(choice) != choice for choice in field.choices):
        yield "choices are written in normal form"
    if field.open_choices and not field.choices:
        yield "open_choices needs choices"
    if field.api_filter is not None:
        strange = set(field.api_filter.names) - set(SessionFilters.__dataclass_fields__)
        if strange:
            yield f"SessionFilters has no {', '.join(sorted(strange))}"
        yield from _contrast_problems(field, field.api_filter)
    if field.thresholds and not (field.api_filter and field.api_filter.is_range):
        yield "tune counts by a range of the API, so thresholds need such an api_filter"


def _contrast_problems(field: Field, served: ApiFilter) -> Iterator[str]:
    """What is wrong with the filter's contrast: rules could name it under `visitors` in vain."""
    if not served.contrast:
        return
    plain = field.type == "text"
    if len(set(served.contrast)) < 2 or (
        plain and any(served.take(it) != it for it in served.contrast)
    ):
        yield "a contrast is two values as the API's filter takes them"
    if plain and not (field.choices or (served.hint and served.pattern)):
        yield "a filter with a contrast needs choices, or a pattern and a hint"


def named(fields: Sequence[Field], name: str) -> Field:
    """The field of that name; raises KeyError."""
    for field in fields:
        if field.name == name:
            return field
    raise KeyError(name)
