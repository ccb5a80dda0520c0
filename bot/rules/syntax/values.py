"""One value of a field as it is written: how it is read, what is doubtful, and its JSON Schema."""

import math
import re
from typing import Any, assert_never

from bot.fields.field import NUMERIC, WEEKDAYS, Field, TextKind
from bot.fields.normal import half_character, is_decoded, is_host, split_address
from bot.fields.normal import path as normal_path
from bot.fields.recordings import FRICTION_TAGS
from bot.messages.text import SPAN_PATTERN
from bot.rules.syntax.location import Location, is_number, listed, nearest, share, texts, worded
from bot.rules.syntax.nodes import Items, Node, Scalar
from bot.rules.syntax.synonyms import COUNTRIES, LANGUAGES, comparison, is_regex
from bot.rules.units import milliseconds, weekdays
from bot.rules.value_tests import BadRegex, Range, search


def doubt_exact(figures: tuple[float, ...], place: Location, field: Field) -> None:
    """Warn of exact figures that the field never has."""
    if field.banded:
        words = f"hardly any session has exactly this {field.name}; write {field.examples[0]}"
        place.warn("friction-exact", words)
    low, high = _range(field)
    if not any(low <= figure <= high for figure in figures):
        place.warn("never-holds", _words(field))


def doubt_range(wanted: Range, words: str, last: Location, place: Location, field: Field) -> None:
    """Warn of a range that no figure is in, or every one.

    `words` describe the range, `last` is the place of the last limit written.
    """
    least, greatest = _range(field)
    possible = Range(min=least, max=greatest)
    if wanted.apart(Range()):
        last.warn("never-holds", f"nothing is {words}")
    elif wanted.apart(possible):
        place.warn("never-holds", _words(field))
    elif possible.within(wanted):
        more = "so this holds wherever there is a figure; if that is meant, write {exists: true}"
        place.warn("always-true", f"{_words(field)}, {more}")


def _range(field: Field) -> tuple[float, float]:
    """The least and the greatest figure that the field can have, as far as that is certain."""
    return (field.least, field.most) if field.numeric else (-math.inf, math.inf)


def _words(field: Field) -> str:
    if field.type == "percent" and field.most == 100:
        return f"{field.name} is a share between 0% and 100%"
    if math.isfinite(field.most):
        return f"{field.name} goes from {field.least:g} to {field.most:g}"
    return f"{field.name} is never below {field.least:g}"


_LONGEST = 1000
_PERL = "there is no look-ahead and no look-behind in RE2; use not, or except"


def regex_problem(regex: str) -> str | None:
    """What RE2 does not understand in the expression, None where all is well."""
    if len(regex) > _LONGEST:
        return f"it is longer than {_LONGEST} characters"
    try:
        search(regex)
    except BadRegex as error:
        words = str(error)
        return _PERL if words.startswith("invalid perl operator") else words
    return None


_CODE = re.compile(r"[a-z]{2}")
_EXCLUDED = re.compile(r"! ?[\w/]")
_TYPOGRAPHIC = tuple("“”„‘’‚«»")
_SEVERAL = re.compile(r"/\S*\s*(?:,|>|→|->)\s*/")


def doubt(value: str, place: Location, field: Field) -> None:
    """Warn of a value that the field can't have, or that hardly means what it says."""
    _doubt_kind(value, place, field)
    _doubt_notation(value, place, field)


def _doubt_notation(value: str, place: Location, field: Field) -> None:
    """Warn of a notation that has no meaning in a text."""
    if field.type == "variables" and (meant := comparison(value)):
        place.warn("compared-as-text", f"this is compared as a text; for numbers write {meant}")
    if value[:1] in _TYPOGRAPHIC:
        words = "typographic quotes are part of the text; write plain ones, or none"
        place.warn("compared-as-text", words)
    elif _EXCLUDED.match(value):
        words = f"this is compared as a text; to exclude it write {{not: {value[1:].strip()}}}"
        place.warn("compared-as-text", words)
    elif value == "exists":
        place.warn("compared-as-text", "this is compared as a text; write {exists: true}")
    elif is_regex(value):
        words = f"this is compared as a text; a regular expression is {{matches: '{value}'}}"
        place.warn("compared-as-text", words)


def _doubt_kind(value: str, place: Location, field: Field) -> None:
    """Warn of what no text of this kind is."""
    match field.text:
        case TextKind.PATH:
            _doubt_path(value, place, field)
        case TextKind.COUNTRY:
            _doubt_country(value.casefold(), place)
        case TextKind.TAG:
            if "," in value:
                place.warn("tag-comma", "a tag cannot hold a comma; write a list: [a, b]")
            elif (meant := _OWN_TAGS.get(_words_of(value), value)) != value.casefold():
                place.warn("unusual-value", f"Mouseflow's own tag is {meant}")
        case TextKind.IP:
            if "/" in value:
                words = "a range of addresses is written with *, such as 10.1.*"
                place.warn("compared-as-text", words)
        case TextKind.ADDRESS:
            _doubt_address(value, place, field)
        case TextKind.LANGUAGE:
            _doubt_language(field.normal(value), place)
        case TextKind.PLAIN:
            _doubt_shape(value, place, field)
        case TextKind.SEARCH:
            if "*" in value:
                place.fault("the API searches for a text as it is; write it without *")
        case TextKind.MOMENT:
            _doubt_moment(value, place)
        case TextKind.WEEKDAY | TextKind.REFERRER | TextKind.VERSION:
            pass
        case _:
            assert_never(field.text)


def _doubt_moment(value: str, place: Location) -> None:
    """A moment has seconds, so that a day alone is never one."""
    if not _MOMENT.fullmatch(value):
        place.fault("write {after: 2026-05-01, before: 2026-05-02}, or 2026-05-01* for a day")


_MOMENT = re.compile(r"[0-9*?: -]*[*][0-9*?: -]*")


def _words_of(tag: str) -> tuple[str, ...]:
    """Its words in the singular, in any order: `Rage clicks` is `click-rage`."""
    return tuple(sorted(word.removesuffix("s") for word in re.split(r"[\s_-]+", tag.casefold())))


_OWN_TAGS = {_words_of(tag): tag for tag in FRICTION_TAGS}


def _doubt_path(path: str, place: Location, field: Field) -> None:
    if set("?#") & set(path):
        meant = f"{{matches: '{path}'}}" if is_regex(path) else _with_query(path, field)
        place.fault(f"a path has no query and no fragment; write {meant}")
    elif is_regex(path):
        pass  # _doubt_notation says so
    elif field.ordered and _SEVERAL.search(path):
        place.warn("never-holds", "a journey is a list of paths, such as [/cart, /checkout*]")
    elif meant := _without_host(path):
        place.warn(
            "path-host",
            "a path is compared without its host; to ask for the host use websites, page: {host} "
            f"or entry_url, else write {meant}",
        )
    elif _PARAMETER.fullmatch(path):
        place.warn("path-query", f"a path has no query{_query_alone(path, field)}")
    elif half := half_character(path):
        words = f"{half} is no whole character, so it is compared as it is"
        place.warn("compared-as-text", words)


def _with_query(path: str, field: Field) -> str:
    """What to write where a path has a query or a fragment."""
    base, query, fragment = split_address(path)
    if field.query_in == "page":
        parts = (
            ("path", base if base.strip("*") else ""),
            ("query", query),
            ("fragment", fragment),
        )
        said = ", ".join(f'{name}: "{value}"' for name, value in parts if value)
        return f"{{page: {{{said or 'query: …'}}}}}"
    if field.query_in:
        star = "" if base.startswith("*") or "://" in base else "*"
        return f'{{{field.query_in}: "{star}{path}"}}'
    return normal_path(base)


_PARAMETER = re.compile(r"\*?&?[\w.-]+=[^/]*")


def _query_alone(query: str, field: Field) -> str:
    """What to write for a parameter of an address, if anything can ask for it."""
    if field.query_in == "page":
        return f'; write {{page: {{query: "{query}"}}}}'
    return f"; write {_with_query(query, field)}" if field.query_in else ""


_STAR_HOST = re.compile(r"\*[^/*]*\.[a-z]{2,}(?::[0-9]+)?", re.IGNORECASE)


def _without_host(path: str) -> str:
    """The path that is left of a pattern with a host, empty where it has none."""
    head, slash, tail = path.partition("/")
    if slash and _STAR_HOST.fullmatch(head) and is_host(head, alone=True):
        return normal_path("/" + tail)
    meant = normal_path(path)
    return "" if path.startswith("/") or meant in (path, normal_path(f"/{path}")) else meant


_ASKS_QUERY = re.compile(r"\\\?|\[\?\]|#")


def doubt_regex(regex: str, place: Location, field: Field) -> None:
    """Warn of an expression that asks a path for what no path has."""
    if field.text is not TextKind.PATH:
        return
    if _ASKS_QUERY.search(regex):
        words = "a path has no query and no fragment; page can ask for them: {page: {query: …}}"
        place.warn("path-query", words)
    elif regex.startswith("^http"):
        place.warn("path-query", "a path has no host; begin with ^/")
    elif not is_decoded(regex):
        words = "the decoded path is searched, which has æ for %C3%A6; write the letter itself"
        place.warn("path-query", words)


def _doubt_address(value: str, place: Location, field: Field) -> None:
    """Warn of a part where the whole address is compared; a query or fragment is such a part."""
    is_whole = "://" in str(field.sample)
    if is_whole and "://" not in value and not value.startswith("*"):
        meant = f'"*{value.strip("*")}*"'
        words = f"an address is compared whole, from https:// on; write {meant}"
        place.warn("unusual-value", words)


_LANGUAGE = re.compile(r"[a-z]{2,3}(-.*)?|.*\*.*")


def _doubt_language(value: str, place: Location) -> None:
    if not _LANGUAGE.fullmatch(value):
        meant = LANGUAGES.get(value, "en")
        place.warn("unusual-value", f'a language is a tag such as en-us; write "{meant}*"')


def _doubt_shape(value: str, place: Location, field: Field) -> None:
    """Warn of a value that is not written as the API's filter has it, such as a screen."""
    filtered = field.api_filter
    if filtered is None or not filtered.pattern or field.choices or "*" in value:
        return
    if not re.fullmatch(filtered.pattern, value):
        bare = re.sub(r"\s", "", value)
        meant = f"write {bare}" if re.fullmatch(filtered.pattern, bare) else filtered.hint
        place.warn("unusual-value", f"no {field.name} is written like this; {meant}")


def _doubt_country(value: str, place: Location) -> None:
    code = COUNTRIES.get(value, "")
    if code and _CODE.fullmatch(value):
        place.warn("unusual-value", f"no country has the code {value}; write {code}")
    elif "*" not in value and (code or not _CODE.fullmatch(value)):
        words = f"; write {code}" if code else ", such as de"
        place.warn("unusual-value", f"a country is a code of two letters{words}")


def read_texts(node: Node, place: Location, field: Field, *, whole: bool) -> tuple[str, ...] | None:
    """The texts, None after an error. `whole`: they are values of the field, maybe with `*`."""
    values = texts(node, place)
    if values is None:
        return None
    if isinstance(node, Items):
        spots = [place.at(index, item) for index, item in enumerate(node.items)]
    else:
        spots = [place.on(node)]
    sensible = _sensible if whole else _sensible_part
    good = [sensible(value, spot, field) for value, spot in zip(values, spots, strict=True)]
    return values if all(good) else None


def _sensible_part(value: str, place: Location, field: Field) -> bool:
    """True: part of a value can be any text. Warns of what looks like a pattern."""
    _doubt_notation(value, place, field)
    if "*" in value:
        place.warn("compared-as-text", "* is compared as a text here, not as a wildcard")
    return True


def _sensible(value: str, place: Location, field: Field) -> bool:
    """Whether the field can ever have the value; an error says so if not."""
    doubt(value, place, field)
    if not field.choices or "*" in value or field.normal(value) in field.choices:
        return True
    hint = _days(value) if field.text is TextKind.WEEKDAY else ""
    message = f"{field.name} is one of {listed(field.choices)}"
    meant = hint or nearest(value, field.choices)
    if field.open_choices:
        known = f"as far as the API's filters know, {message}{meant}"
        place.warn("unusual-value", known)
        return True
    place.fault(message + meant)
    return False


def _days(value: str) -> str:
    """`weekend` and `mon-fri` as the list that they are here."""
    try:
        days = weekdays({"weekend": "sat,sun", "weekends": "sat,sun"}.get(value, value))
    except ValueError:
        days = (0, 1, 2, 3, 4) if value.startswith(("weekday", "workday", "working")) else ()
    return f"; write [{', '.join(WEEKDAYS[day] for day in days)}]" if days else ""


def figure(node: Node, place: Location, field: Field) -> float | None:
    """One number in the field's base unit."""
    if isinstance(node, Scalar) and not is_number(node) and (meant := comparison(node.source)):
        place.on(node).fault(f"a comparison is written in words: {meant}")
        return None
    if field.type == "duration":
        return worded(milliseconds)(node, place)
    if field.type == "percent":
        return share(node, place)
    if is_number(node) and isinstance(node, Scalar) and isinstance(node.value, (int, float)):
        value = float(node.value)
        if field.unusual is not None and value > field.unusual.above:
            place.warn(field.unusual.lint, field.unusual.words)
        return value
    place.on(node).fault(_wants_number(node, field))
    return None


def _wants_number(node: Node, field: Field) -> str:
    example = field.examples[0] if field.examples and field.type != "variables" else "{min: 5}"
    quoted = isinstance(node, Scalar) and node.quoted and _looks_numeric(node.source)
    tail = "; write it without quotes" if quoted else ""
    if field.counts and isinstance(node, Scalar) and node.source.startswith(("/", "*")):
        tail = f"; for the path of a page write {field.counts}"
    if isinstance(node, Scalar) and (found := _WITH_UNIT.fullmatch(node.source)):
        is_time = field.counts and _TIME.fullmatch(found[2])
        time = "; for a time write duration" if is_time else ""
        return f"{field.name} has no unit; write {found[1]}{time}"
    return f"{field.name} needs a number or a bound such as {example}{tail}"


_WITH_UNIT = re.compile(r"(\d+(?:\.\d+)?) ?([A-Za-z%]+)")
_TIME = re.compile(r"ms|s|secs?|seconds?|m|mins?|minutes?|h|hours?|d|days?")


def _looks_numeric(source: str) -> bool:
    try:
        float(source)
    except ValueError:
        return False
    return True


Schema = dict[str, Any]

TEXT: Schema = {"type": ["string", "number", "boolean"]}
SPAN: Schema = {"type": "string", "pattern": SPAN_PATTERN}
LENGTH: Schema = SPAN | {"not": {"pattern": "^[^1-9]*$"}}
PERCENT: Schema = {"type": ["string", "number"], "pattern": r"^\s*-?[0-9]+(\.[0-9]+)?\s*%?\s*$"}
CHANGE: Schema = {
    "type": ["string", "number"],
    "exclusiveMinimum": 0,
    "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*%?\s*$",
}
FLAG: Schema = {"type": "boolean"}


def any_case(word: str) -> str:
    """A pattern for the word in small and capital letters: JSON Schema has no flag for it."""
    letters = (f"[{c}{c.upper()}]" if c.isalpha() else re.escape(c) for c in word)
    return "".join(letters)


_SPELLINGS = (
    "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday",
    "search", "searchengine", "link",
)  # fmt: skip
"""Other words that some fields take for one of their own."""


def chosen(field: Field, *, star: bool) -> Schema:
    """One of the field's words in any letters, or a pattern with `*`; editors offer the words."""
    words = [word for word in (*field.choices, *_SPELLINGS) if field.normal(word) in field.choices]
    pattern = f"^(?:{'|'.join(map(any_case, words))})$" + (r"|\*" if star else "")
    return {"anyOf": [{"enum": list(field.choices)}, {"type": "string", "pattern": pattern}]}


def one_or_more(item: Schema) -> Schema:
    return {"anyOf": [item, {"type": "array", "items": item, "minItems": 1}]}


def scalar_schema(field: Field) -> Schema:
    if field.type == "duration":
        return SPAN
    if field.type == "percent":
        return PERCENT
    if field.type in NUMERIC:
        return {"type": "number"}
    if field.choices and not field.open_choices:
        return chosen(field, star=True)
    if field.choices:
        return {"anyOf": [{"enum": list(field.choices)}, TEXT]}
    return TEXT


def compared_schema(field: Field) -> Schema:
    """A value that the field is compared with, as `doubt` takes it."""
    match field.text:
        case TextKind.PATH:
            return scalar_schema(field) | {"pattern": "^[^?#]*$"}
        case TextKind.SEARCH:
            return {"type": "string", "pattern": "^[^*]*[^*\\s][^*]*$"}
        case TextKind.MOMENT:
            return {"type": "string", "pattern": f"^{_MOMENT.pattern}$"}
        case (
            TextKind.PLAIN
            | TextKind.ADDRESS
            | TextKind.COUNTRY
            | TextKind.IP
            | TextKind.TAG
            | TextKind.WEEKDAY
            | TextKind.REFERRER
            | TextKind.LANGUAGE
            | TextKind.VERSION
        ):
            return scalar_schema(field)
        case _:
            assert_never(field.text)
