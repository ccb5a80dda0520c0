"""The history of figures: keeping them, and the past with which rules compare."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any, Final
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from bot.domain.recorded_share import Time
from bot.domain.subjects import Kind, Subject
from bot.errors import GiveUp, TryLater
from bot.fields.catalogue import SUBJECTS, Field, field, fields, is_average, over_time
from bot.polling.context import PollContext
from bot.reports import sources
from bot.reports.fetch import LISTS, Figures
from bot.reports.site_poll import WEEKS_BACK, SitePoll, same_hours
from bot.reports.sources import Tried
from bot.rules.model import Rule
from bot.rules.needs import changes_asked, usuals_asked
from bot.rules.operators.past import FEWEST_WEEKS, USUAL_WEEKS
from bot.store import Connection
from bot.store.alert_states import add_figures, figure_between, figures_between, grain
from bot.store.audit import Note

NOT_RECORDED: Final = "level.not_recorded"
"""The kind of note that a rule does not know, since the website did not record all visitors."""


def compared_for(rules: Iterable[Rule]) -> timedelta:
    """How old the figures are that rules compare with: twice as old as asked for, at most."""
    rules = tuple(rules)
    asked = [timedelta(milliseconds=ago) * 2 for rule in rules for _, ago in changes_asked(rule)]
    asked += [timedelta(weeks=WEEKS_BACK) for rule in rules if usuals_asked(rule)]
    return max(asked) + timedelta(days=2) if asked else timedelta()


@dataclass(frozen=True, slots=True)
class Stored:
    """A subject's own figures of earlier polls, from the store."""

    conn: Connection
    figures: Figures
    subject: Subject
    now: datetime
    site_poll: SitePoll

    def __call__(self, field_name: str, ago: int, /) -> float | None:
        """The figure of so many ms ago, as if the website had recorded what it records now.

        After a downtime the last figure before it serves, up to twice as old as asked for.
        """
        about, back = field(self.subject.kind, field_name), timedelta(milliseconds=ago)
        # Figures of almost the same length of time are alike.
        slack = max(self.site_poll.gap, self.figures.window / 24)
        spans = _spans(about, self.now, back, slack, self.site_poll.zone)
        found = (self._between(field_name, first, last) for first, last in spans)
        seen = next((figure for figure in found if figure is not None), None)
        if seen is not None or not is_average(about):
            return seen
        day = _midnight(self.now.astimezone(self.site_poll.zone) - back)
        site, key = self.subject.website.id, self.subject.key
        told = figure_between(self.conn, by_day(self.figures), site, key, field_name, day, day)
        return None if told is None else told[1]

    def usual(self, field_name: str, /) -> tuple[float, ...]:
        """The figures of this weekday and time of day, of the last weeks that have one."""
        return self.figures.usual.get((self.subject.key, field_name), ())

    def _between(self, name: str, first: datetime, last: datetime) -> float | None:
        site, key = self.subject.website.id, self.subject.key
        found = figure_between(self.conn, self.figures.series, site, key, name, first, last)
        if found is None:
            return None
        factor = _factor(self.figures, name, found[0], self.now, self.site_poll)
        return None if factor is None else found[1] * factor


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


def with_usual(conn: Connection, answered: Iterable[Figures], site_poll: SitePoll) -> list[Figures]:
    """The answers, with the figures of past weeks that rules compare with."""
    return [_with_usual(conn, figures, site_poll) for figures in answered]


def _with_usual(conn: Connection, figures: Figures, site_poll: SitePoll) -> Figures:
    names = frozenset().union(*map(usuals_asked, figures.rules))
    if not names or not figures.subjects:
        return figures
    kind = figures.subjects[0].kind
    averages = [name for name in names if is_average(field(kind, name))]
    found: dict[tuple[str, str], tuple[float, ...]] = {}
    for from_midnight in (False, True):
        some = {name for name in names if over_time(field(kind, name)) is from_midnight}
        spans = same_hours(site_poll, site_poll.now, from_midnight=from_midnight) if some else ()
        for first, last in spans:
            past = figures_between(conn, figures.series, site_poll.site.id, first, last)
            if averages and from_midnight:
                at = _midnight(last)
                past = figures_between(conn, by_day(figures), site_poll.site.id, at, at) | past
            factors: dict[tuple[str, datetime], float | None] = {}
            for key, (at, value) in past.items():
                name, weeks = key[1], found.get(key, ())
                if name not in some or len(weeks) >= USUAL_WEEKS:
                    continue
                if (name, at) not in factors:
                    factors[name, at] = _factor(figures, name, at, site_poll.now, site_poll)
                if (factor := factors[name, at]) is not None:
                    found[key] = (*weeks, value * factor)
    return replace(figures, usual=found)


def _factor(
    figures: Figures, name: str, then: datetime, now: datetime, site_poll: SitePoll
) -> float | None:
    """By what an earlier figure is multiplied to be like that of now.

    A count of visitors depends on what was recorded: None if one of both times was not recorded
    in one way.
    """
    about = field(figures.subjects[0].kind, name)
    if not (about.is_count and over_time(about)):
        return 1.0
    return site_poll.recorded.factor(
        _taken_over(figures, name, then, site_poll), _taken_over(figures, name, now, site_poll)
    )


def _taken_over(figures: Figures, name: str, at: datetime, site_poll: SitePoll) -> Time:
    """The time that a figure seen then is about."""
    if field(figures.subjects[0].kind, name).of_today:
        local = at.astimezone(site_poll.zone)
        return local.replace(hour=0, minute=0, second=0, microsecond=0), at
    return at - figures.window, at


async def backfill_averages(
    kind: Kind, figures: Figures, site_poll: SitePoll, context: PollContext, tried: Tried
) -> Tried:
    """Ask for the shares and averages of past days that rules compare with and the history lacks.

    The API has whole days only, so that counts of a part of today have no like; an average of the
    whole day is close to that of a part. Returns the days that were asked for.
    """
    if not figures.subjects or kind not in LISTS:
        return tried
    for first, last, names in _averages_asked(kind, figures, site_poll):
        this = (kind, figures.question, last.date())
        work = partial(_lacks_averages, figures=figures, names=names, first=first, last=last)
        if this in tried or not await context.store.run(work):
            continue
        window = sources.days(figures.question, last, site_poll.zone)
        try:
            answer = await LISTS[kind](site_poll.site, figures.question, window, context)
        except TryLater:
            return tried  # the present figures were read: the past can wait
        except GiveUp:
            tried |= {this}
            continue
        tried |= {this}
        await context.store.run(
            partial(_add_averages, figures=figures, past=answer.subjects, names=names, at=last)
        )
    return tried


def _averages_asked(
    kind: Kind, figures: Figures, site_poll: SitePoll
) -> Iterator[tuple[datetime, datetime, list[str]]]:
    """The past times with which rules compare averages, and which: the usual, and changes."""
    asked = {name for rule in figures.rules for name in usuals_asked(rule)}
    usual = [name for name in sorted(asked) if is_average(field(kind, name))]
    weeks = same_hours(site_poll, site_poll.now, from_midnight=True) if usual else ()
    for first, last in islice(weeks, USUAL_WEEKS):
        yield first, last, usual
    changes = {it for rule in figures.rules for it in changes_asked(rule)}
    for ago in sorted({ago for name, ago in changes if is_average(field(kind, name))}):
        names = sorted(name for name, its in changes if its == ago)
        last = site_poll.now.astimezone(site_poll.zone) - timedelta(milliseconds=ago)
        first = max(_midnight(last), last.astimezone(UTC) - site_poll.gap)
        yield first, last, [name for name in names if is_average(field(kind, name))]


def by_day(figures: Figures) -> str:
    """The name of the history of figures of whole days."""
    return f"{figures.series}@day"


def _lacks_averages(
    conn: Connection, figures: Figures, names: Sequence[str], first: datetime, last: datetime
) -> bool:
    """Whether the history lacks an average of some subject; of many subjects, of all of them."""
    at, lacks = _midnight(last), []
    for series, begin, end in ((figures.series, first, last), (by_day(figures), at, at)):
        known = figures_between(conn, series, figures.subjects[0].website.id, begin, end)
        lacks.append([(it.key, name) not in known for it in figures.subjects for name in names])
    neither = [both[0] and both[1] for both in zip(*lacks, strict=True)]
    return all(neither) if SUBJECTS[figures.subjects[0].kind].many else any(neither)


def _add_averages(
    conn: Connection,
    figures: Figures,
    past: Sequence[Subject],
    names: Sequence[str],
    at: datetime,
) -> None:
    """Add the averages of a past day, of the subjects that there are now."""
    now = {subject.key for subject in figures.subjects}
    for subject in past:
        values = {name: _number(field(subject.kind, name).get(subject)) for name in names}
        there = {name: value for name, value in values.items() if value is not None}
        if subject.key in now:
            key = subject.key
            add_figures(conn, by_day(figures), subject.website.id, key, there, _midnight(at))


def _midnight(at: datetime) -> datetime:
    return grain(at.replace(hour=0, minute=0, second=0, microsecond=0))


def keep_figures(conn: Connection, figures: Figures, site_poll: SitePoll) -> None:
    """Add the figures to the history; of pages only those compared, since there are many."""
    if not figures.subjects:
        return
    kind, at = figures.subjects[0].kind, grain(site_poll.now)
    every = [field for field in fields(kind) if field.numeric and not field.news_of]
    kept = [(every, at)]
    if SUBJECTS[kind].many:
        changed = {name for rule in figures.rules for name, _ago in changes_asked(rule)}
        usual = frozenset().union(*map(usuals_asked, figures.rules)) - changed
        # The usual is of about this hour, so one figure an hour is enough.
        kept = [([it for it in every if it.name in changed], at)]
        kept += [([it for it in every if it.name in usual], at.replace(minute=0))]
    for about, when in kept:
        for subject in figures.subjects if about else ():
            values = {field.name: _number(field.get(subject)) for field in about}
            there = {name: value for name, value in values.items() if value is not None}
            add_figures(conn, figures.series, site_poll.site.id, subject.key, there, when)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def unrecorded(rule: Rule, figures: Figures, site_poll: SitePoll) -> Iterator[Note]:
    """A note when counts of the present begin to be like none of the past, and when that ends."""
    asked = usuals_asked(rule) | {name for name, _ago in changes_asked(rule)}
    about, kept = f"unrecorded/{rule.id}", figures.said
    lost = [
        name
        for name in sorted(asked)
        if figures.subjects
        and _factor(figures, name, site_poll.now, site_poll.now, site_poll) is None
    ]
    if bool(lost) == (about in kept):
        return
    text = "all of the time was recorded again: counts are compared"
    if lost:
        kept.add(about)
        text = f"{', '.join(lost)} not compared: part of the time was not recorded"
    else:
        kept.discard(about)
    yield Note(kind=NOT_RECORDED, rule=rule.id, website=site_poll.site.id, text=text)


def too_early(
    conn: Connection, rule: Rule, figures: Figures, site_poll: SitePoll
) -> Iterator[Note]:
    """Notes, once, which comparisons have no history yet."""
    if f"history/{rule.id}" in figures.said or not figures.subjects:
        return
    figures.said.add(f"history/{rule.id}")
    pasts = [Stored(conn, figures, each, site_poll.now, site_poll) for each in figures.subjects]
    lacks = [
        f"{name} with {timedelta(milliseconds=ago)} ago"
        for name, ago in sorted(changes_asked(rule))
        if any(past(name, ago) is None for past in pasts)
    ]
    if not site_poll.is_holiday(site_poll.now):
        lacks += [
            f"{name} with the usual"
            for name in sorted(usuals_asked(rule))
            if any(len(past.usual(name)) < FEWEST_WEEKS for past in pasts)
        ]
    for what in lacks:
        text = f"not enough history yet to compare {what}"
        yield Note(kind="level.no_history", rule=rule.id, website=site_poll.site.id, text=text)
