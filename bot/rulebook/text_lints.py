"""Warnings about texts in conditions: what no value can be, and what is meant as more than text."""

import re

from bot.rulebook.fields import Field
from bot.rulebook.places import Place
from bot.rulebook.slips import COUNTRIES, comparison, is_regex

PATHS = frozenset({"saw_page", "journey", "entry_page", "exit_page", "path"})

_CODE = re.compile(r"[a-z]{2}")
_EXCLUDED = re.compile(r"! ?[\w/]")
_TYPOGRAPHIC = tuple("“”„‘’‚«»")
_SEVERAL = re.compile(r"/\S*\s*(?:,|>|→|->)\s*/")


def doubt(value: str, place: Place, field: Field) -> None:
    """Warn of a value that the field can't have, or that hardly means what it says."""
    if field.name in PATHS:
        _doubt_path(value, place, field.name)
    elif field.name == "country":
        _doubt_country(value.casefold(), place)
    elif field.name == "tags" and "," in value:
        place.warn("tag-comma", "a tag cannot hold a comma; write a list: [a, b]")
    elif field.name == "ip" and "/" in value:
        place.warn("compared-as-text", "a range of addresses is written with *, such as 10.1.*")
    elif field.type == "variables" and (meant := comparison(value)):
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


def _doubt_path(path: str, place: Place, name: str) -> None:
    if name == "journey" and _SEVERAL.search(path):
        place.warn("never-holds", "a journey is a list of paths, such as [/cart, /checkout*]")
    elif not path.startswith(("/", "*")) and not is_regex(path):
        hint = "the path alone, such as /checkout*" if "://" in path else f"/{path}"
        place.warn("never-holds", f"{path} fits no page, since paths begin with /; write {hint}")
    elif "?" in path and not is_regex(path):
        said = "what stands behind the ? is left out; only entry_url has a query"
        place.warn("path-query", said)


def _doubt_country(value: str, place: Place) -> None:
    code = COUNTRIES.get(value, "")
    if "*" not in value and (code or not _CODE.fullmatch(value)):
        words = f"; write {code}" if code else ", such as de"
        place.warn("unusual-value", f"a country is a code of two letters{words}")
