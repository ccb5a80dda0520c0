"""What a condition means, spelled out a second time and as simply as can be.

Nothing here comes from the catalogue, the operators or the tree walk: it reads the recording
itself, with `re` where the product has its own globs, and answers True, False or None (unknown).
"""

import itertools
import math
import re
from datetime import datetime
from urllib.parse import unquote
from zoneinfo import ZoneInfo

from bot.rules import model as c
from bot.rules.operators.figures import Bounds, Moments, Numbers, Versions
from bot.rules.operators.texts import Every, NoneOf, OneOf, OtherThan, Pattern
from bot.rules.operators.yes_no import Exists, Is

DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
REFERRERS = {"search": "searchengines", "link": "links"}
PLAIN = {
    "country": "country",
    "region": "region",
    "city": "city",
    "isp": "isp",
    "ip": "ip",
    "lang": "lang",
    "browser": "browser",
    "browser_version": "browser_version",
    "os": "os",
    "os_version": "os_version",
    "device": "device",
    "screen": "screen_res",
    "user_agent": "user_agent",
    "referrer": "referrer",
    "referrer_type": "referrer_type",
    "visitor_id": "visitor_id",
    "visitor_name": "visitor_name",
}
PATHS = {"saw_page", "journey", "entry_page", "exit_page", "path"}


def pathname(address):
    address = re.sub(r"[?#].*$", "", address.strip(), flags=re.DOTALL)
    address = re.sub(r"^[^/]*://[^/]*", "", address) or "/"
    if not address.startswith(("/", "*")):
        host = re.match(r"^[^/]*[.:][^/]*", address)
        page = re.search(r"\.(html?|php|aspx?|jsp)$", address, re.IGNORECASE)
        is_host = host and ("/" in address or not page)
        address = address[host.end() :] or "/" if is_host else "/" + address
    decoded = unquote(address.replace("%2F", "%252F"))
    return decoded.rstrip("/") or "/"


def seen_paths(recording):
    entry = recording.entry_page or recording.entry
    paths = [pathname(v.website_page or v.uri) for v in recording.page_views or ()]
    if entry:
        first = pathname(entry)
        if not paths or paths[0].lower() != first.lower():
            paths.insert(0, first)
    return paths


def all_pages_known(recording):
    return recording.page_views is not None or (
        recording.pages == 1 and bool(recording.entry_page or recording.entry)
    )


def value(name, subject):
    """(is it known, the value)"""
    r = subject.recording
    detail = r.page_views is not None
    if name in PLAIN:
        text = getattr(r, PLAIN[name]) or None
        return (text is not None or detail or name != "region"), text
    if name in ("saw_page", "journey"):
        return all_pages_known(r), seen_paths(r)
    if name == "exit_page":
        return all_pages_known(r), (seen_paths(r) or [None])[-1]
    if name == "entry_page":
        entry = r.entry_page or r.entry or (r.page_views and seen_paths(r) and seen_paths(r)[0])
        return bool(entry) or detail, pathname(entry) if entry else None
    if name == "entry_url":
        url = r.entry or (r.page_views[0].uri if r.page_views else None)
        return bool(r.entry) or detail, url or None
    if name == "tags":
        tags = set(r.tags).union(*(v.tags for v in r.page_views or ()))
        return detail, sorted(t for t in tags if t)
    if name == "pages":
        count = len(r.page_views) if r.pages is None and detail else r.pages
        return count is not None or detail, count
    if name == "page":
        return detail, list(r.page_views or ())
    if name == "visitor_type":
        return subject.visitor_type is not None, subject.visitor_type
    if name == "search":
        return subject.found_by is not None, list(subject.found_by or ())
    if name == "friction":
        return subject.friction is not None, subject.friction
    if name in ("weekday", "hour", "created"):
        if r.created is None:
            return True, None
        local: datetime = r.created.astimezone(ZoneInfo(subject.zone))
        if name == "created":
            return True, local
        return True, DAYS[local.weekday()] if name == "weekday" else local.hour
    if name == "shared":
        return True, bool(r.token)
    if name == "variables":
        return True, list(r.variables)
    return True, getattr(r, name)


def view_value(name, view):
    if name == "path":
        address = view.website_page or view.uri
        return pathname(address) if address else None
    if name == "tags":
        return [tag for tag in view.tags if tag]
    parts = re.fullmatch(r"(?:https://([^/]*))?[^?#]*(?:\?([^#]*))?(?:#(.*))?", view.uri or "")
    return {
        "host": parts[1] or None,
        "query": parts[2] or None,
        "fragment": parts[3] or None,
        "title": view.title or None,
        "time": view.visit_time,
        "engagement": view.engagement_time,
        "scroll": view.scroll,
    }[name]


def canonical(name, text):
    if name in PATHS:
        text = pathname(text)
    text = text.casefold()
    if name == "referrer_type":
        return REFERRERS.get(text, text)
    return text


def alike(name, text, pattern):
    pieces = map(re.escape, canonical(name, pattern).split("*"))
    return re.fullmatch(".*".join(pieces), canonical(name, text), re.DOTALL) is not None


def texts(found):
    if found is None:
        return []
    return [found] if isinstance(found, str) else [text for text in found if text]


def figures(found):
    if isinstance(found, list):
        numbers = [as_number(text) for text in found]
        return [n for n in numbers if n is not None]
    return [] if found is None else [found]


def as_number(text):
    plain = re.fullmatch(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*", text, re.IGNORECASE)
    return float(text) if plain and math.isfinite(float(text)) else None


def within(x, w):
    return (
        (w.min is None or x >= w.min)
        and (w.max is None or x <= w.max)
        and (w.over is None or x > w.over)
        and (w.under is None or x < w.under)
    )


def meets(name, wants, found, *, of_variable=False):
    """The plain meaning of each operator."""
    many = isinstance(found, list) and not of_variable
    if name == "friction":
        return band_meets(wants, found)
    if isinstance(found, datetime):
        if isinstance(wants, Moments):
            return moment_within(found.replace(tzinfo=None), wants)
        found = found.strftime("%Y-%m-%d %H:%M:%S")
    match wants:
        case OneOf(values):
            return any(alike(name, t, v) for t in texts(found) for v in values)
        case NoneOf(values):
            some = many or bool(texts(found))
            return some and not any(alike(name, t, v) for t in texts(found) for v in values)
        case Every(values):
            return all(any(alike(name, t, v) for t in texts(found)) for v in values)
        case OtherThan(values):
            return not all(any(alike(name, t, v) for v in values) for t in texts(found))
        case Pattern(regex):
            return any(re.search(regex, t, re.IGNORECASE) for t in texts(found))
        case Exists(wanted):
            return (found not in (None, [])) is wanted
        case Is(wanted):
            return found is wanted
        case Numbers(values):
            return any(x in values for x in figures(found))
        case Bounds():
            return any(within(x, wants) for x in figures(found))
        case Moments():
            return False
        case Versions():
            return isinstance(found, str) and version_within(found, wants)
    raise AssertionError(wants)


def moment_within(at, w):
    at = at.replace(microsecond=0)
    return (not w.after or at >= datetime.fromisoformat(w.after)) and (
        not w.before or at < datetime.fromisoformat(w.before)
    )


def version_within(text, w):
    head = re.match(r"[0-9][0-9._]*", text.strip())
    if head is None:
        return False
    parts = [int(it) for it in re.split("[._]", head[0]) if it]

    def beside(bound):
        """The signs of the first difference, part by part."""
        pairs = itertools.zip_longest(parts[: len(bound)], bound, fillvalue=0)
        return next(((a > b) - (a < b) for a, b in pairs if a != b), 0)

    return (
        (w.min is None or beside(w.min) >= 0)
        and (w.max is None or beside(w.max) <= 0)
        and (w.over is None or beside(w.over) > 0)
        and (w.under is None or beside(w.under) < 0)
    )


def band_meets(wants, band):
    """True if every friction that the band allows meets the wants, False if none does."""
    if isinstance(wants, Exists):
        return (band is not None) is wants.wanted
    if band is None:
        return False
    ranges = [wants] if isinstance(wants, Bounds) else [Bounds(min=v, max=v) for v in wants.values]
    if any(inside(band, w) for w in ranges):
        return True
    return False if all(outside(band, w) for w in ranges) else None


def inside(band, w):
    return (
        (w.min is None or band.low >= w.min)
        and (w.over is None or band.low > w.over)
        and (w.max is None or (band.high <= w.max + 1e-6 and band.low <= w.max))
        and (w.under is None or (band.high <= w.under and band.low < w.under))
    )


def outside(band, w):
    return (
        (w.min is not None and band.low < w.min and band.high <= w.min)
        or (w.over is not None and band.low <= w.over and band.high <= w.over + 1e-6)
        or (w.max is not None and band.low > w.max)
        or (w.under is not None and band.low >= w.under)
    )


def answer(condition, subject):
    match condition:
        case c.All(parts):
            answers = {answer(part, subject) for part in parts}
            return False if False in answers else None if None in answers else True
        case c.AnyOf(parts):
            answers = {answer(part, subject) for part in parts}
            return True if True in answers else None if None in answers else False
        case c.Not(part):
            return {True: False, False: True, None: None}[answer(part, subject)]
        case c.OneItem(field, tests):
            known, views = value(field, subject)
            if not known:
                return None
            return any(
                all(meets(t.field, t.operator, view_value(t.field, view)) for t in tests)
                for view in views
            )
        case c.Journey(paths):
            known, seen = value("journey", subject)
            found = any(
                all(alike("journey", t, p) for t, p in zip(chosen, paths, strict=True))
                for chosen in itertools.combinations(seen, len(paths))
            )
            return found if found or known else None
        case c.Test(field, wants, key):
            return test_answer(field, wants, key, subject)
    raise AssertionError(condition)


def test_answer(name, wants, key, subject):
    known, found = value(name, subject)
    if key is not None:
        pairs = [item.split("=", 1) for item in found if "=" in item]
        named = [v for k, v in pairs if k.casefold() == key.casefold() and v]
        return meets(name, wants, named, of_variable=True)
    said = meets(name, wants, found)
    if known:
        return said
    if not isinstance(found, list):
        return None
    absence = isinstance(wants, NoneOf) or wants == Exists(False)
    return said if said is not absence else None  # what is there stays, more may come
