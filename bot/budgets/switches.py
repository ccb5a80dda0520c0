"""What became of the switches in the outbox, and what a website's counts teach of its visitors."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from bot.actions.recording import CHANGED
from bot.budgets.state import STATUS, Pending, SiteMark, last_by_a_rule
from bot.domain.budget import LATE, RECORDING, STOPPED, Hold, Standing, midnight
from bot.domain.step import StepStatus
from bot.store import Connection
from bot.store.budgets import (
    Switching,
    add_visitors,
    disown,
    drop_visitors,
    own,
    owned,
    step_outcome,
    switchings,
    used,
)

HOUR = timedelta(hours=1)

LONGEST_GAP = 6 * HOUR
"""What came in a longer time between two looks tells nothing of its single hours."""

FIRST_LOOK = timedelta(days=90)
"""How far back the first look at a website asks what rules have done to it."""


def settled_switches(
    conn: Connection, website: str, mark: SiteMark | None, standing: Standing | None, now: datetime
) -> SiteMark:
    """The website as it is now, with the switches that are still under way.

    Of those that are done it is written down what the bot holds from now on, or no longer
    holds. `standing` None (it could not be asked) leaves what was seen before.
    """
    left = tuple(
        each for each in (mark.pending if mark else ()) if _under_way(conn, website, each, now)
    )
    if standing is None:
        return replace(mark, pending=left) if mark else SiteMark(at=now)
    if mark is None:
        return SiteMark(at=now, status=standing.status, rate=standing.rate)
    turned = standing.rate != mark.rate
    return SiteMark(
        at=now,
        status=standing.status,
        rate=standing.rate,
        former=mark.rate if turned else mark.former,
        changed=now if turned else mark.changed,
        pending=left,
    )


def _under_way(conn: Connection, website: str, pending: Pending, now: datetime) -> bool:
    outcome = step_outcome(conn, pending.key)
    if outcome is None:
        return False
    state, result = outcome
    if state.is_open:
        return True
    if pending.undo:
        reason = "set back" if state is StepStatus.DONE else "it could not be set back"
        disown(conn, website, pending.switch, now, f"{reason} ({pending.reason})")
    elif state is StepStatus.DONE:
        _own(conn, website, pending, result, now)
    return False


def _own(
    conn: Connection, website: str, pending: Pending, result: str | None, now: datetime
) -> None:
    """The bot holds what it has changed itself; what was so already is somebody else's."""
    earlier = owned(conn).get((website, pending.switch))
    if pending.switch == "recording":
        if result != CHANGED:
            return
        if pending.to == "start":
            disown(conn, website, "recording", now, pending.reason)
            return
        before = None
    else:
        if result is None or result == pending.to:
            return
        before = earlier.before if earlier else int(result)
    own(
        conn,
        Hold(
            website=website,
            switch=pending.switch,
            owner=pending.owner,
            at=now,
            reason=pending.reason,
            set_to=STATUS.get(pending.to, pending.to),
            before=before,
        ),
    )


def switched(
    conn: Connection, website: str, mark: SiteMark | None, now: datetime
) -> tuple[Switching, ...]:
    """What the bot has done to the website's switches since the last look, and what is under way.

    Where this is not the same before and after the website was asked, its answer can't be told
    to be of the one time or the other.
    """
    return switchings(conn, website, mark.at if mark else now - FIRST_LOOK)


def own_stop_of_a_rule(
    conn: Connection, website: str, switching: Sequence[Switching], standing: Standing
) -> bool:
    """Write down that a rule holds the website it has stopped; True where that is new."""
    last = last_by_a_rule(switching, "recording", standing)
    if last is None or last.ended is None or standing.state != STOPPED:
        return False
    known = owned(conn).get((website, "recording"))
    if known and known.at >= last.ended:
        return False
    own(
        conn,
        Hold(
            website=website,
            switch="recording",
            owner=last.owner,
            at=last.ended,
            reason=f"the rule {last.owner}",
            set_to=STATUS[last.to],
        ),
    )
    return True


def learn(
    conn: Connection,
    website: str,
    days: Mapping[date, int],
    mark: SiteMark | None,
    standing: Standing | None,
    now: datetime,
    zone: ZoneInfo,
) -> None:
    """Learn how many visitors come in an hour from what has come since the last look."""
    if mark is None:
        rate = standing.rate if standing and standing.rate else 100
        add_visitors(conn, website, _by_day(days, 100 / rate, now, zone))
        return
    if not _records(mark.status) or standing is None or not _records(standing.status):
        drop_visitors(conn, website, mark.at, now)
        return
    if not timedelta() < now - mark.at <= LONGEST_GAP:
        return
    known = used(conn, [website], min(days), max(days)).get(website, {})
    last = mark.at.astimezone(zone).date()
    fresh = sum(
        max(0, count - known.get(day, 0))
        for day, count in days.items()
        if day in known or day > last
    )
    add_visitors(conn, website, _spread(mark.at, now, fresh * 100 / _rate(mark, now)))


def _records(status: str | None) -> bool:
    return (status or "").casefold() == RECORDING


def _rate(mark: SiteMark, now: datetime) -> int:
    """The rate at which visitors were recorded; a lower one reaches them late."""
    rate = mark.rate or 100
    if mark.former and mark.changed and now - mark.changed <= 2 * LATE:
        return max(rate, mark.former)
    return rate


def _by_day(
    days: Mapping[date, int], factor: float, now: datetime, zone: ZoneInfo
) -> dict[datetime, float]:
    """Whole days as hours, all alike: it is not known better. Days before the first visit are
    left out, since the website may not have been there."""
    found: dict[datetime, float] = {}
    since = min((day for day, count in days.items() if count), default=now.date())
    for day, count in ((day, count) for day, count in days.items() if day >= since):
        begins = midnight(day, zone)
        ends = min(midnight(day + timedelta(days=1), zone), now)
        for hour, value in _spread(begins, ends, count * factor).items():
            found[hour] = found.get(hour, 0.0) + value
    return found


def _spread(start: datetime, end: datetime, total: float) -> dict[datetime, float]:
    """So many, spread evenly over the hours between."""
    found: dict[datetime, float] = {}
    hour = start.replace(minute=0, second=0, microsecond=0)
    while hour < end:
        share = (min(hour + HOUR, end) - max(hour, start)) / (end - start)
        found[hour] = total * share
        hour += HOUR
    return found
