"""Words and notations of other tools, and what to write instead."""

import difflib
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from bot.domain.subjects import Kind

_SWITCH = "rules have no switch; remove the rule, or mute it with mouseflow-bot snooze"
_ORDER = "rules have no order and no weight; each is evaluated by itself"
NO_SUCH: Final = MappingProxyType({
    "enabled": _SWITCH, "disabled": _SWITCH, "enable": _SWITCH, "disable": _SWITCH,
    "priority": _ORDER, "order": _ORDER, "weight": _ORDER, "severity": _ORDER,
    "else": "write a second rule for the other case",
})  # fmt: skip
"""Keys of other tools that rules do not have, and what to do instead."""

_WHICH_SITE = "write websites: beside when; for an address, entry_url"
_WHEN = "the start of a session is in created, weekday and hour"
_MARK = "Mouseflow notes it as a tag of the session, such as tags: click-rage"
_RETURNING = "write visitor_type: returning"
_FIRST = "write visitor_type: first"
_PHONE = "write device: phone"
_BOUNCE = "write pages: 1"
_TIME_ON_PAGE = "write page: {path: /checkout*, engagement: {over: 60s}}"
_IN_URL = 'write entry_url: "*name=value*"'
_RAGE = "write visitors: {tags: click-rage} beside when, and views"
NO_FIELD: Final[Mapping[Kind, Mapping[str, str]]] = MappingProxyType({
    "recordings": {
        "host": _WHICH_SITE, "hostname": _WHICH_SITE, "domain": _WHICH_SITE, "site": _WHICH_SITE,
        "website": _WHICH_SITE, "websites": _WHICH_SITE,
        "date": _WHEN, "time": _WHEN, "start": _WHEN, "started": _WHEN,
        "day": _WHEN, "start_time": _WHEN,
        "rage": _MARK, "rage_click": _MARK, "rage_clicks": _MARK, "click_rage": _MARK,
        "event": _MARK, "events": _MARK, "error": _MARK, "errors": _MARK, "js_error": _MARK,
        "returning": _RETURNING, "returning_visitor": _RETURNING, "returning_visitors": _RETURNING,
        "new_visitor": _FIRST, "new_visitors": _FIRST, "first_visit": _FIRST,
        "mobile": _PHONE, "is_mobile": _PHONE, "bounce": _BOUNCE, "bounced": _BOUNCE,
        "time_on_page": _TIME_ON_PAGE, "page_time": _TIME_ON_PAGE, "utm": _IN_URL,
        "query": _IN_URL, "utm_source": _IN_URL, "utm_medium": _IN_URL, "utm_campaign": _IN_URL,
    },
    "pages": {"rage_clicks": _RAGE, "rage_click": _RAGE},
    "forms": {"start_time": "write field: {start: {over: 10s}}"},
})  # fmt: skip
"""Words for a field that the kind of subject does not have, and what to write instead."""

_MEANT: Final = MappingProxyType({
    "if": "when", "condition": "when", "conditions": "when", "filter": "when", "match": "when",
    "where": "when", "unless": "except", "exclude": "except", "except_when": "except",
    "then": "do", "action": "do", "actions": "do",
    "description": "summary", "name": "summary", "title": "summary",
    "on": "watch", "source": "watch", "subject": "watch", "trigger": "watch", "event": "watch",
    "site": "websites", "website": "websites", "sites": "websites",
    "and": "all", "or": "any", "none": "not", "all_of": "all", "any_of": "any", "none_of": "not",
    "gte": "min", "ge": "min", "gt": "over", "lte": "max", "le": "max", "lt": "under",
    ">": "over", ">=": "min", "<": "under", "<=": "max", "above": "over", "below": "under",
    "more_than": "over", "less_than": "under", "at_least": "min", "at_most": "max",
    "minimum": "min", "maximum": "max", "from": "min", "to": "max",
    "regex": "matches", "regexp": "matches", "pattern": "matches", "match_regex": "matches",
    "ne": "not", "neq": "not", "!=": "not", "is_not": "not", "not_in": "not", "present": "exists",
    "drops": "drops_by", "falls_by": "drops_by", "rises": "rises_by", "grows_by": "rises_by",
    "since": "against", "compared_to": "against", "less_than_usual": "below_usual",
    "more_than_usual": "above_usual", "anomaly": "below_usual",
    "language": "lang", "pageviews": "pages", "length": "duration", "url": "entry_url",
    "visited": "saw_page", "landing_page": "entry_page", "score": "friction",
    "visitor": "visitor_type", "page_count": "pages", "page_views": "pages",
    "time_on_site": "duration", "session_length": "duration", "session_duration": "duration",
    "ip_address": "ip", "user_id": "visitor_id", "email": "visitor_name",
    "username": "visitor_name", "user_name": "visitor_name", "customer": "visitor_name",
    "landing": "entry_page", "landing_url": "entry_page", "exit": "exit_page", "tag": "tags",
    "masking": "disable_keystrokes", "mask_keystrokes": "disable_keystrokes",
    "ip_masking": "anonymize_ips", "mask_ips": "anonymize_ips", "mask_ip": "anonymize_ips",
    "anonymize": "anonymize_ips", "anonymise_ips": "anonymize_ips",
    "first_page": "entry_page", "last_page": "exit_page", "exit_url": "exit_page",
    "rate": "recording_rate", "message": "text", "limit": "at_most",
    "mobile": "phone", "smartphone": "phone", "pc": "desktop", "computer": "desktop",
    "new": "first", "repeat": "returning", "recurring": "returning", "returned": "returning",
    "search": "searchengines", "google": "searchengines", "bing": "searchengines",
    "organic": "searchengines", "facebook": "social", "newsletter": "email",
    "running": "recording", "active": "recording", "off": "stop", "halt": "stop", "pause": "stop",
    "enabled": "start", "true": "start",
    "false": "stop", "sessions": "recordings", "session": "recordings", "visits": "recordings",
    "surveys": "feedback", "campaigns": "feedback", "user": "visitor", "visitor_id": "visitor",
    "cooldown": "once_per", "dedupe": "once_per", "throttle": "safety", "schedule": "active",
    "window": "over_last", "period": "over_last", "ignore_tags": "except",
    "monthly": "month", "weekly": "week", "daily": "day", "digests": "digest", "ignore": "drop",
    "expected": "expect", "input": "given", "count_at_least": "at_least",
    "mac": "mac os", "macos": "mac os", "osx": "mac os",
})  # fmt: skip
"""Words of other tools, and the words of rules."""
_ALSO: Final = MappingProxyType({
    "on": ("start",), "off": ("stopped",), "min": ("at_least",), "limit": ("recordings",),
    "max": ("at_most",), "when": ("given",), "then": ("expect",), "if": ("given",),
    "url": ("path",), "name": ("funnel", "form", "campaign", "path"),
    "session": ("visitor",), "user": ("visitor_id",), "rate": ("at_most",),
    "enabled": ("recording",),
})  # fmt: skip
"""What they can mean elsewhere in a rule."""

COUNTRIES: Final = MappingProxyType({
    "germany": "de", "austria": "at", "switzerland": "ch", "denmark": "dk", "sweden": "se",
    "norway": "no", "finland": "fi", "france": "fr", "spain": "es", "italy": "it",
    "netherlands": "nl", "belgium": "be", "poland": "pl", "portugal": "pt", "ireland": "ie",
    "uk": "gb", "united kingdom": "gb", "great britain": "gb", "england": "gb",
    "usa": "us", "united states": "us", "america": "us", "canada": "ca", "australia": "au",
    "india": "in", "japan": "jp", "china": "cn", "brazil": "br", "mexico": "mx",
    "en": "gb or us", "da": "dk", "cs": "cz", "ja": "jp", "ko": "kr", "zh": "cn", "nb": "no",
})  # fmt: skip
"""Country codes for names that people often write, and for codes of languages."""

LANGUAGES: Final = MappingProxyType({
    "english": "en", "german": "de", "deutsch": "de", "danish": "da", "swedish": "sv",
    "norwegian": "no", "finnish": "fi", "french": "fr", "spanish": "es", "italian": "it",
    "dutch": "nl", "polish": "pl", "portuguese": "pt", "japanese": "ja", "chinese": "zh",
})  # fmt: skip
"""Language codes for names that people often write."""

_COMPARED = re.compile(r"(>=|=>|<=|=<|>|<|==?)\s*(\S.*)")
_WORDS = {">=": "min", "=>": "min", "<=": "max", "=<": "max", ">": "over", "<": "under"}
_RANGE = re.compile(r"(\d[\d.]*)\s*(?:-|\.\.\.?|–|to)\s*(\d[\d.]*)")
_AT_LEAST = re.compile(r"(\d[\d.]*) ?(?:\+|or more)")
_REGEX = re.compile(r"^/?\^|\$/?$|(?:^|[/)\]])\.[*+]|\\[dwsb.]|\[[^]]+\][*+?]|\([^)]*\|[^)]*\)")
_GROUPED = re.compile(r"\d{1,3}([.,_' ]\d{3})+")
_THOUSANDS = re.compile(r"(\d{1,6}) ?[kK]")


def suggestion(word: str, names: Iterable[str]) -> str | None:
    """The known name that the word most likely means."""
    known = list(names)
    low = word.lower()
    habits: tuple[str, ...] = (_MEANT.get(low, ""), *_ALSO.get(low, ()))
    for habit in habits:
        if habit in known:
            return habit
    spellings = (low.replace("-", "_"), low)
    close: list[list[str]] = [difflib.get_close_matches(it, known, 1, 0.7) for it in spellings]
    swapped = [[name for name in known if sorted(name) == sorted(low)]]  # tga
    return next((found[0] for found in (*close, *swapped) if found), None)


def comparison(text: str) -> str | None:
    """`{min: 2.5}` for `>= 2.5`, `{min: 9, max: 17}` for `9-17`; None for anything else."""
    if found := _COMPARED.fullmatch(text.strip()):
        word = _WORDS.get(found[1])
        return f"{{{word}: {found[2]}}}" if word else found[2]
    if found := _AT_LEAST.fullmatch(text.strip()):
        return f"{{min: {found[1]}}}"
    if found := _RANGE.fullmatch(text.strip()):
        return f"{{min: {found[1]}, max: {found[2]}}}"
    return None


def whole_number(text: str) -> str | None:
    """`50000` for `50.000`, `50,000` and `50k`; None for anything else."""
    if _GROUPED.fullmatch(text):
        return re.sub(r"\D", "", text)
    if found := _THOUSANDS.fullmatch(text):
        return f"{found[1]}000"
    return None


def is_regex(text: str) -> bool:
    """Whether the text looks like a regular expression."""
    return _REGEX.search(text) is not None


_FLAGS = {"yes": "true", "on": "true", "y": "true", "1": "true", "true": "true",
          "no": "false", "off": "false", "n": "false", "0": "false", "false": "false"}  # fmt: skip


def flag_hint(word: str, *, quoted: bool) -> str:
    """`; did you mean true?` for a word that means it, or nothing."""
    meant = _FLAGS.get(word.lower())
    if meant == word.lower() and quoted:
        return "; write it without quotes"
    return f"; did you mean {meant}?" if meant else ""
