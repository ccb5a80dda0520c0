"""The history of figures: keeping them, and the past with which rules compare."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from bot.domain.alert_state import GAP
from bot.domain.subjects import Site, Subject
from bot.fields.catalogue import SUBJECTS, Field, field, fields, over_time
from bot.reports.fetch import Figures
from bot.rules.evaluate import Past
from bot.rules.model import Rule
from bot.rules.needs import changes_asked
from bot.store import Connection
from bot.store.alert_states import add_figures, figure_between, grain
from bot.store.audit import Note

KEPT = timedelta(days=35)
"""How long to keep figures at least; longer if a rule compares with an older past."""


@dataclass(frozen=True, slots=True)
class Look:
    """One poll of a website: when, and by which clock. `gap` is how long a time without a poll
    may be for a condition to have held in it, `history` how long figures are kept."""

    site: Site
    now: datetime
    zone: ZoneInfo
    gap: timedelta = GAP
    history: timedelta = KEPT


def compared_for(rules: Iterable[Rule]) -> timedelta:
    """How old the figures are that rules compare with: twice as old as asked for, at most."""
    asked = [ago for rule in rules for _name, ago in changes_asked(rule)]
    return timedelta(milliseconds=max(asked)) * 2 + timedelta(days=2) if asked else timedelta()


def past_of(
    conn: Connection, figures: Figures, subject: Subject, now: datetime, look: Look
) -> Past:
    """The subject's own figures of earlier polls, from the store.

    After a downtime the last figure before it serves, up to twice as old as asked for.
    """

    # Figures of almost the same length of time are alike.
    slack = max(look.gap, figures.window / 24)

    def past(name: str, ago: int) -> float | None:
        back = timedelta(milliseconds=ago)
        for first, last in _spans(field(subject.kind, name), now, back, slack, look.zone):
            found = figure_between(
                conn, figures.series, subject.website.id, subject.key, name, first, last
            )
            if found is not None:
                return found[1]
        return None

    return past


def _spans(
    about: Field, now: datetime, back: timedelta, slack: timedelta, zone: ZoneInfo
) -> Iterator[tuple[datetime, datetime]]:
    """The times from which a figure may be taken, the best first.

    Figures over a time begin at midnight, so only those of about the same time of day are alike.
    """
    if not over_time(about):
        yield now - back - max(back, slack), now - back
        return
    for days in range(back.days + 1):
        # The same time on the clock, also across a change of the clocks.
        last = now.astimezone(zone) - back - timedelta(days=days)
        midnight = last.replace(hour=0, minute=0, second=0, microsecond=0)
        yield max(midnight, last.astimezone(UTC) - slack), last


def keep_figures(conn: Connection, figures: Figures, look: Look) -> None:
    """Add the figures to the history; of pages only those compared, since there are many."""
    if not figures.subjects:
        return
    kind = figures.subjects[0].kind
    named = {name for rule in figures.rules for name, _ago in changes_asked(rule)}
    about = [
        field
        for field in fields(kind)
        if field.numeric and not field.news_of and (not SUBJECTS[kind].many or field.name in named)
    ]
    at = grain(look.now)
    for subject in figures.subjects:
        values = {field.name: _number(field.get(subject)) for field in about}
        there = {name: value for name, value in values.items() if value is not None}
        add_figures(conn, figures.series, look.site.id, subject.key, there, at)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def too_early(conn: Connection, rule: Rule, figures: Figures, look: Look) -> Iterator[Note]:
    """Notes, once, which comparisons have no history yet."""
    if f"history/{rule.id}" in figures.said or not figures.subjects:
        return
    figures.said.add(f"history/{rule.id}")
    for name, ago in sorted(changes_asked(rule)):
        past = [
            past_of(conn, figures, each, look.now, look)(name, ago) for each in figures.subjects
        ]
        if None in past:
            back = timedelta(milliseconds=ago)
            text = f"not enough history yet to compare {name} with {back} ago"
            yield Note(kind="level.no_history", rule=rule.id, website=look.site.id, text=text)
