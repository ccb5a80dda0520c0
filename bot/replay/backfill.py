"""After downtime, or at a first start that looks far back: reads what was missed, day by day.

Each day is read page by page and judged as it comes, so that memory stays flat, and what has
been caught up is remembered after each day. The ordinary polls then go on from the last hours.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from functools import partial

import msgspec

from bot.domain.subjects import Site
from bot.errors import TryLater
from bot.polling.list_reader import Mark
from bot.polling.record_matches import settle
from bot.polling.recordings import SOURCE, Desk
from bot.replay.date_slices import Slice, Span, slices
from bot.replay.evaluate_days import Past, Place, judge, place
from bot.replay.record import founds
from bot.rules.model import Rule
from bot.store.matches import PollOutcome
from bot.store.recordings import close_older, live_recordings, watermark

DAY = timedelta(days=1)
"""No session is live for longer."""

LONG = timedelta(hours=2)
"""Sessions that began so long before may have gone on since."""

BESIDE = timedelta(minutes=25)
"""How much more than the sessions that are not final the ordinary polls read by themselves."""

PATIENCE = 2
"""How often a day is read again for the sake of details that could not be had."""


def recent(settle: timedelta) -> timedelta:
    """What the ordinary polls read by themselves, since they must watch live sessions anyway."""
    return settle + BESIDE


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """What was missed since then, and what came of it. `paused`: rules that their safety paused.

    `first` tells that nothing was missed: it was the first start, told to look back so far.
    """

    since: datetime
    read: int
    matches: int
    missed: int
    paused: tuple[tuple[str, str], ...]
    first: bool = False


@dataclass(frozen=True, slots=True)
class _Day:
    """What a day brought, or, where it is not `whole`, what it had brought when the rules changed.

    `open` counts recordings whose details could not be had.
    """

    read: int = 0
    matches: int = 0
    missed: int = 0
    open: int = 0
    paused: tuple[tuple[str, str], ...] = ()
    whole: bool = True


async def catch_up(
    site: Site,
    in_force: Callable[[], Sequence[Rule]],
    desk: Desk,
    tries: dict[str, int],
    now: datetime,
) -> CaughtUp | None:
    """Read what the ordinary polls would have to read at once; None where that is little.

    `in_force` gives the rules that hold now: when they change meanwhile, the day under way is
    judged anew by the new ones, and where none watches recordings any more, it ends with None.
    `tries` counts how often details of a day could not be had; after some tries they are
    judged without. Raises the errors of the calls and of the store; the days done so far
    stay done.
    """
    text = await desk.store.run(partial(watermark, source=SOURCE, website=site.id))
    mark = msgspec.json.decode(text, type=Mark).until(now) if text else None
    back_to = mark.polled if mark else now - desk.start
    by_polls = recent(desk.settle)
    if now - back_to <= by_polls:
        return None
    since = mark.since if mark else back_to
    live = await desk.store.run(partial(live_recordings, website=site.id))
    known = [row.created for row in live.values() if row.created and row.created > back_to - DAY]
    began = min(known, default=back_to)
    past = Past(
        mouseflow=desk.mouseflow,
        store=desk.store,
        zone=desk.zone,
        settle=desk.settle,
        span=Span(min(back_to - LONG, began), now),
        now=now,
        expand=desk.expand,
    )
    rules = in_force()
    at = await place(past, site, rules, rules)
    days: list[_Day] = []
    for each in slices([site], past.span, past.zone):
        while not (day := await _day(past, at, each, since, desk, _changed(in_force, rules))).whole:
            days.append(day)
            rules = in_force()
            at = await place(past, site, rules, rules)
            if not at.book.final.rules:
                return None
        days.append(day)
        if day.open and tries.setdefault(each.name, 0) < PATIENCE:
            tries[each.name] += 1
            raise TryLater(f"{day.open} recordings' details of {each.day} could not be had")
        done = datetime.combine(each.day + timedelta(days=1), time(), desk.zone)
        until = min(max(done, back_to), now - by_polls)
        await _remember(site, desk, Mark.after(since, until), now)
    await desk.store.run(partial(close_older, website=site.id, than=now - DAY))
    await _remember(site, desk, Mark.after(now - by_polls, now), now)
    return CaughtUp(
        back_to,
        sum(day.read for day in days),
        sum(day.matches for day in days),
        sum(day.missed for day in days),
        tuple(paused for day in days for paused in day.paused),
        first=mark is None,
    )


async def _day(
    past: Past, at: Place, each: Slice, since: datetime, desk: Desk, changed: Callable[[], bool]
) -> _Day:
    """Judge one day and write down what matches, as long as the rules stay what they are."""
    read = matches = missed = open_ = 0
    paused: tuple[tuple[str, str], ...] = ()
    async for batch in judge(past, at, each):
        if changed():
            return _Day(read, matches, missed, open_, paused, whole=False)
        read += batch.read
        missed += batch.missed
        open_ += batch.open
        found = [one for one in founds(batch.judged, past.now) if one.happened >= since]
        outcome = PollOutcome(source=SOURCE, website=at.site.id, at=past.now)
        settled = await desk.store.run(
            partial(settle, outcome=outcome, found=found, routing=desk.routing)
        )
        matches += len(settled.matches)
        paused += settled.paused
    return _Day(read, matches, missed, open_, paused)


def _changed(in_force: Callable[[], Sequence[Rule]], rules: Sequence[Rule]) -> Callable[[], bool]:
    return lambda: in_force() != rules


async def _remember(site: Site, desk: Desk, mark: Mark, now: datetime) -> None:
    outcome = PollOutcome(
        source=SOURCE,
        website=site.id,
        at=now,
        watermark=msgspec.json.encode(mark).decode(),
    )
    await desk.store.run(partial(settle, outcome=outcome, found=(), routing=desk.routing))
