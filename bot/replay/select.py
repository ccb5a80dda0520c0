"""Which rules and websites a replay is about, from what people write."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from difflib import get_close_matches
from types import MappingProxyType
from zoneinfo import ZoneInfo

from msgspec import Struct

from bot.domain.subjects import Site
from bot.errors import ConfigError
from bot.polling.session import aware
from bot.rules.model import Rule, applies
from mouseflow.filters import SessionFilters
from mouseflow.models import Recording, Website

_DAY = timedelta(days=1)
NOWHERE: Mapping[str, Sequence[str]] = MappingProxyType({})


class Span(Struct, frozen=True):
    """From `since` up to `until`, which is not within."""

    since: datetime
    until: datetime

    def held(self, rows: Iterable[Recording]) -> list[Recording]:
        """The recordings that were made within, and those without a time.

        Most are so far from both ends that the day tells, whatever its offset from UTC.
        """
        first = self.since.astimezone(UTC).date() + _DAY
        last = self.until.astimezone(UTC).date() - _DAY
        return [
            row
            for row in rows
            if (at := row.created) is None
            or first < at.date() < last
            or self.since <= aware(at) < self.until
        ]

    def is_past(self, row: Recording) -> bool:
        """Was the recording made before the span?"""
        return row.created is not None and aware(row.created) < self.since

    def share(self, day: date, zone: ZoneInfo) -> float:
        """How much of that day lies within, from 0 to 1."""
        first = datetime.combine(day, time(), zone).astimezone(UTC)
        end = datetime.combine(day + _DAY, time(), zone).astimezone(UTC)
        within = min(end, self.until) - max(first, self.since)
        return max(0.0, within / (end - first))

    @property
    def days(self) -> float:
        """The length in days."""
        return (self.until - self.since) / _DAY


class Slice(Struct, frozen=True):
    """One website's day, as the account counts days."""

    site: Site
    day: date

    @property
    def filters(self) -> SessionFilters:
        """The API's filter for it: `todate` is not included (API document, L4133)."""
        return SessionFilters(fromdate=self.day, todate=self.day + _DAY)

    @property
    def name(self) -> str:
        """Names the slice in the file that keeps the progress."""
        return f"{self.site.id}/{self.day.isoformat()}"


def days(span: Span, zone: ZoneInfo) -> Iterator[date]:
    """The days to ask for, oldest first, one too many on either side.

    The API counts days in the account's zone (L4132). Should the configured zone be another
    one, the days around it still hold every recording of the span.
    """
    day = span.since.astimezone(zone).date() - _DAY
    last = span.until.astimezone(zone).date() + _DAY
    while day <= last:
        yield day
        day += _DAY


def slices(sites: Iterable[Site], span: Span, zone: ZoneInfo) -> tuple[Slice, ...]:
    """Every website's days; a day of all websites comes before the next one, so that rules
    that count over time see things in their order."""
    sites = tuple(sites)
    return tuple(Slice(site, day) for day in days(span, zone) for site in sites)


def window(span: Span, zone: ZoneInfo) -> SessionFilters:
    """All days of the span as one filter."""
    each = tuple(days(span, zone))
    return SessionFilters(fromdate=each[0], todate=each[-1] + _DAY)


SHOWN = 10
"""Names that a message lists at most."""


def chosen_rules(rules: Sequence[Rule], wanted: Iterable[str]) -> tuple[Rule, ...]:
    """The recording rules of these ids, all of them where none is named.

    Raises ConfigError for an id that no rule has, and for a rule about something else.
    """
    ids = tuple(dict.fromkeys(wanted))
    found = [rule_named(rules, each) for each in ids] if ids else list(rules)
    other = [rule for rule in found if rule.watch != "recordings"]
    if ids and other:
        raise ConfigError(
            f"{other[0].id}: it watches {other[0].watch}; only rules about recordings "
            "can be replayed, since the API keeps no history of the others"
        )
    return tuple(rule for rule in found if rule.watch == "recordings")


def rule_named(
    rules: Iterable[Rule], wanted: str, elsewhere: Mapping[str, Sequence[str]] = NOWHERE
) -> Rule:
    """The rule of that id; raises ConfigError that names the nearest one.

    `elsewhere` are the accounts that rules of other accounts have.
    """
    by_id = {rule.id: rule for rule in rules}
    if wanted in by_id:
        return by_id[wanted]
    if wanted in elsewhere:
        raise ConfigError(f"{wanted} is a rule of the account {' and '.join(elsewhere[wanted])}")
    raise ConfigError(f"{wanted}: no such rule in the rule files{_hint(wanted, sorted(by_id))}")


def watched_sites(
    websites: Iterable[Website], rules: Sequence[Rule], wanted: Iterable[str] = ()
) -> tuple[Site, ...]:
    """The websites that some rule watches, or those of them that are named (by name or id).

    Demo websites are left out unless a rule or the call names them. Raises ConfigError for a
    name that no website has, or several.
    """
    rows = tuple(websites)
    sites = {row.id: site(row) for row in rows}
    names = tuple(wanted)
    if names:
        known = {key: each.name for key, each in sites.items()}
        picked = [sites[website_named(known, name)] for name in names]
        return tuple(dict.fromkeys(picked))
    demo = {row.id for row in rows if row.is_demo}
    return tuple(
        each
        for each in sites.values()
        if any(applies(rule, each) for rule in rules)
        and (each.id not in demo or _by_name(each, rules))
    )


def chosen_sites(
    websites: Iterable[Website], rules: Sequence[Rule], wanted: Iterable[str] = ()
) -> tuple[Site, ...]:
    """What `watched_sites` returns, for commands that need at least one website.

    Raises ConfigError also for a named website that no rule watches, and if the rules watch no
    website of the account.
    """
    rows = tuple(websites)
    found = watched_sites(rows, rules, wanted)
    for each in found:
        if not any(applies(rule, each) for rule in rules):
            raise ConfigError(f"{each.name}: no rule in question watches that website")
    if not found:
        names = sorted(row.name or row.id for row in rows)
        raise ConfigError(
            "no website of the account is watched by the rules in question"
            f"{_hint('', names) or '; it has none'}"
        )
    return found


def site(row: Website) -> Site:
    """The website as rules know it."""
    return Site(id=row.id, name=row.name or row.id, read_only=bool(row.read_only))


def website_named(names: Mapping[str, str], wanted: str) -> str:
    """The id of the website with that id or name, of these names by id.

    Raises ConfigError if there is none, and if several have the name.
    """
    if wanted in names:
        return wanted
    folded = wanted.casefold()
    found = (
        [key for key, name in names.items() if name == wanted]
        or [key for key in names if key.casefold() == folded]
        or [key for key, name in names.items() if name.casefold() == folded]
    )
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(
            f"{len(found)} websites are called {wanted}; name one by its id: {', '.join(found)}"
        )
    raise ConfigError(
        f"{wanted}: the account has no such website{_hint(wanted, sorted({*names.values()}))}"
    )


def _hint(wanted: str, names: Sequence[str]) -> str:
    """The closest name, or else some of the existing ones."""
    if near := get_close_matches(wanted, names, 1):
        return f"; did you mean {near[0]}?"
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"; there are {', '.join(names[:SHOWN])}{more}" if names else ""


def _by_name(each: Site, rules: Sequence[Rule]) -> bool:
    return any(each.name.casefold() == name.casefold() for rule in rules for name in rule.websites)
