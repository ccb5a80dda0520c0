"""Figures for people who look at the bot as a whole: by day, by hour, by lane.

Each query reads an index of the rows it counts, so that a page takes milliseconds.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

import msgspec
from sqlalchemy import Connection, func, select, text

from bot.actions import DIGESTS
from bot.actions.slack import EDITS
from bot.domain.alert_state import REMINDED, RESOLVED
from bot.domain.limits import Reason
from bot.domain.step import Rank, StepStatus
from bot.store.alert_states import grain
from bot.store.matches import PAGES
from bot.store.schema import (
    audit,
    digests,
    figures,
    lanes,
    levels,
    matches,
    moment,
    moment_or_none,
    ms,
    steps,
)
from bot.store.statements import Value, execute

MOST_LAGS = 10_000
"""How many posts a median is taken over at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FiringAlert:
    """An alert that fires now."""

    rule: str
    website: str
    subject_key: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneNow:
    """A lane with its queue: what waits, how long, and how much it performed lately."""

    lane: str
    cause: str
    reason: str
    failures: int
    paused_until: datetime | None
    waiting: int
    oldest: datetime | None
    next_due: datetime | None


Counted = dict[tuple[str, int, int], int]
"""Counts that can't change any more, by rule and span."""

MOST_COUNTED = 20_000


def counts_between(
    conn: Connection,
    rules: Iterable[str],
    edges: Sequence[datetime],
    counted: Counted | None = None,
) -> dict[str, list[int]]:
    """Each rule's matches between one edge and the next; without digests, ends and reminders.

    All spans but the last are over: their counts are looked up in `counted`, and kept there.
    """
    counted = {} if counted is None else counted
    if len(counted) > MOST_COUNTED:
        counted.clear()
    *over, last = pairwise(map(ms, edges))
    found = {}
    for rule in rules:
        for span in over:
            if (rule, *span) not in counted:
                counted[rule, *span] = _count(conn, rule, *span)
        found[rule] = [*(counted[rule, *span] for span in over), _count(conn, rule, *last)]
    return found


def _count(conn: Connection, rule: str, start: int, end: int) -> int:
    count: int = execute(conn, _COUNT, {"rule": rule, "start": start, "end": end}).fetchone()[0]
    return count


_REAL = f"kind <> 'digest' AND key NOT LIKE '%{RESOLVED}' AND key NOT LIKE '%{REMINDED}'"
_COUNT = (
    "SELECT count(*) FROM matches INDEXED BY matches_rule"  # noqa: S608 - constants
    f" WHERE rule = :rule AND matched >= :start AND matched < :end AND {_REAL}"
)


def matches_of(
    conn: Connection, website: str, start: datetime, end: datetime
) -> dict[tuple[str, str], int]:
    """How often each rule (by id) matched each kind of subject on the website.

    Without digests, ends and reminders.
    """
    span: dict[str, Value] = {"website": website, "start": ms(start), "end": ms(end)}
    found = execute(conn, _OF_WEBSITE, span).fetchall()
    return {(rule, kind): count for rule, kind, count in found}


_OF_WEBSITE = (
    "SELECT rule, kind, count(*) FROM matches INDEXED BY matches_age"  # noqa: S608
    " WHERE website = :website AND matched >= :start AND matched < :end AND kind <> 'press'"
    f" AND {_REAL} GROUP BY rule, kind"
)


@dataclass(frozen=True, slots=True)
class Alerts:
    """Alerts of a website in a time: how many fired, how long those lasted whose end was told.

    `firing` are the rules of those that fire now.
    """

    fired: int
    lasted: tuple[timedelta, ...]
    firing: tuple[str, ...]


def alerts_of(conn: Connection, website: str, start: datetime, end: datetime) -> Alerts:
    """The website's alerts in that time; a firing that was held back has no steps."""
    span: dict[str, Value] = {"website": website, "start": ms(start), "end": ms(end)}
    (fired,) = execute(conn, _FIRED, span).fetchone()
    lasted = execute(conn, _LASTED, span).fetchall()
    query = select(levels.c.rule).where(
        levels.c.website == website,
        levels.c.fired.is_not(None),
        levels.c.told == 1,
        levels.c.absent.is_(None),
    )
    firing = conn.execute(query.order_by(levels.c.fired)).scalars()
    return Alerts(fired, tuple(timedelta(milliseconds=ms) for (ms,) in lasted), tuple(firing))


_FIRED = (
    "SELECT count(*) FROM matches INDEXED BY matches_age WHERE website = :website"  # noqa: S608
    " AND matched >= :start AND matched < :end AND kind NOT IN ('recordings', 'press')"
    " AND EXISTS (SELECT 1 FROM steps WHERE steps.match_id = matches.id)"
    f" AND EXISTS (SELECT 1 FROM levels WHERE levels.rule = matches.rule) AND {_REAL}"
)
_LASTED = (
    "SELECT matches.matched - begun.matched FROM matches INDEXED BY matches_age"  # noqa: S608
    " JOIN matches AS begun ON begun.id = matches.continues WHERE matches.website = :website"
    " AND matches.matched >= :start AND matches.matched < :end"
    f" AND matches.key LIKE '%{RESOLVED}'"
)


def pages_of(
    conn: Connection, website: str, start: datetime, end: datetime
) -> tuple[tuple[str, int], ...]:
    """The pages on which rules matched most, with how often."""
    query = (
        select(figures.c.subject, func.sum(figures.c.value))
        .where(figures.c.kind == PAGES, figures.c.website == website)
        .where(figures.c.at >= ms(grain(start)), figures.c.at < ms(end))
        .group_by(figures.c.subject)
        .order_by(func.sum(figures.c.value).desc(), figures.c.subject)
        .limit(MOST_PAGES)
    )
    return tuple((page, int(count)) for page, count in conn.execute(query))


MOST_PAGES = 5


def last_matches(conn: Connection, rules: Iterable[str]) -> dict[str, datetime]:
    """When each rule matched last; rules that never did are left out."""
    found = {}
    for rule in rules:
        (at,) = execute(conn, _LAST, {"rule": rule}).fetchone()
        if at is not None:
            found[rule] = moment(at)
    return found


_LAST = "SELECT max(matched) FROM matches INDEXED BY matches_rule WHERE rule = :rule"


def recordings_by_hour(conn: Connection, website: str, start: datetime, end: datetime) -> list[int]:
    """The website's known recordings in each hour from `start` on; the last one may be short."""
    span: dict[str, Value] = {"website": website, "start": ms(start), "end": ms(end)}
    counts = dict.fromkeys(range(-((start - end) // _HOUR)), 0)
    counts.update((hour, count) for hour, count in execute(conn, _RECORDINGS, span).fetchall())
    return list(counts.values())


def recordings_between(conn: Connection, start: datetime, end: datetime) -> dict[str, int]:
    """How many known recordings of each polled website began in that time."""
    span: dict[str, Value] = {"start": ms(start), "end": ms(end)}
    return dict(execute(conn, _BEGAN, span).fetchall())


_BEGAN = (
    "SELECT website, (SELECT count(*) FROM recordings INDEXED BY recordings_created"
    " WHERE recordings.website = watermarks.website AND created >= :start AND created < :end"
    " AND vanished = 0) FROM watermarks WHERE source = 'recordings'"
)


_HOUR = timedelta(hours=1)
_RECORDINGS = (
    "SELECT (created - :start) / 3600000 AS hour, count(*)"
    " FROM recordings INDEXED BY recordings_created WHERE website = :website"
    " AND created >= :start AND created < :end AND vanished = 0 GROUP BY hour"
)


def newest_recording(conn: Connection, website: str) -> datetime | None:
    """When the website's newest known recording began."""
    row = execute(conn, _NEWEST, {"website": website}).fetchone()
    return moment_or_none(row[0])


_NEWEST = (
    "SELECT max(created) FROM recordings INDEXED BY recordings_created WHERE website = :website"
)


def lags(conn: Connection, since: datetime) -> list[float]:
    """Seconds from each event to the end of its post, in ascending order."""
    found = execute(conn, _LAGS, {"since": ms(since), "most": MOST_LAGS}).fetchall()
    return sorted(max(0, lag) / 1000 for (lag,) in found)


# Without the advice SQLite may read all steps that were ever performed.
_DONE_SINCE = (
    " FROM matches INDEXED BY matches_age JOIN steps ON steps.match_id = matches.id"
    f" WHERE matched >= :since AND state = '{StepStatus.DONE}'"
)
_NO_EDIT = f"action NOT IN ({', '.join(repr(str(each)) for each in sorted(EDITS))})"
_LAGS = (
    f"SELECT ended - happened{_DONE_SINCE} AND rank = {Rank.POST} AND {_NO_EDIT}"
    " AND kind <> 'digest' ORDER BY matched DESC LIMIT :most"
)


def messages_since(conn: Connection, since: datetime) -> tuple[int, int]:
    """How many posts went out since then, and how many of them were digests."""
    counts: dict[str, int] = dict(execute(conn, _MESSAGES, {"since": ms(since)}).fetchall())
    return sum(counts.values()), sum(counts.get(kind, 0) for kind in {*DIGESTS.values()})


_MESSAGES = (
    f"SELECT action, count(*){_DONE_SINCE} AND rank IN ({Rank.POST}, {Rank.NOTICE})"
    f" AND {_NO_EDIT} GROUP BY action"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingRow:
    """A recording as polls saw it last. `final`: nothing can change any more."""

    website: str
    created: datetime
    last_activity: datetime | None
    final: bool


def recording_row(conn: Connection, key: str) -> RecordingRow | None:
    """What is known of the recording with this id; None if nothing."""
    for website in last_polls(conn, "recordings"):
        row = execute(conn, _RECORDING, {"website": website, "id": key}).fetchone()
        if row:
            return RecordingRow(
                website=website,
                created=moment(row[0]),
                last_activity=moment_or_none(row[1]),
                final=bool(row[2] or row[3]),
            )
    return None


_RECORDING = (
    "SELECT created, last_activity, settled, closed FROM recordings"
    " WHERE website = :website AND id = :id"
)


def firing_alerts(conn: Connection) -> list[FiringAlert]:
    """The alerts that fire now, the oldest first."""
    query = select(levels).where(levels.c.fired.is_not(None)).order_by(levels.c.fired)
    return [
        FiringAlert(
            rule=row.rule,
            website=row.website,
            subject_key=row.subject,
            since=moment(row.fired),
        )
        for row in conn.execute(query)
    ]


def waiting_digest(conn: Connection, rule: str) -> tuple[datetime | None, int]:
    """When the rule's next digest is due, and how many matches it has."""
    query = (
        select(steps.c.due, steps.c.params)
        .join(digests, digests.c.step_id == steps.c.id)
        .where(digests.c.rule == rule)
        .order_by(steps.c.due)
    )
    rows = conn.execute(query).all()
    total = sum(msgspec.json.decode(row.params, type=_Total).total for row in rows)
    return (moment(rows[0].due) if rows else None), total


class _Total(msgspec.Struct):
    total: int = 0


def lanes_now(conn: Connection, now: datetime) -> list[LaneNow]:
    """Every lane that has or had something to do, by name."""
    queues: Mapping[str, tuple[int, int, int]] = {
        lane: (count, oldest, due)
        for lane, count, oldest, due in execute(conn, _QUEUES, {}).fetchall()
    }
    found = []
    for row in conn.execute(select(lanes).order_by(lanes.c.lane)):
        if ":" not in row.lane:
            continue  # the account's own pause
        count, oldest, due = queues.get(row.lane, (0, None, None))
        paused = row.paused_until if row.paused_until > ms(now) else None
        found.append(
            LaneNow(
                lane=row.lane,
                cause=row.cause,
                reason=row.reason,
                failures=row.failures,
                paused_until=moment_or_none(paused),
                waiting=count,
                oldest=moment_or_none(oldest),
                next_due=moment_or_none(None if due is None else max(due, paused or 0)),
            )
        )
    return found


# The states are literals: with parameters SQLite does not use the partial indexes.
_QUEUES = (
    "SELECT lane, CAST(sum(count) AS BIGINT), min(created), min(due) FROM ("
    "SELECT lane, count(*) AS count, min(created) AS created, min(due) AS due FROM steps"
    " WHERE state = 'pending' GROUP BY lane UNION ALL "
    "SELECT lane, count(*), min(created), min(due) FROM steps"
    " WHERE state = 'sending' GROUP BY lane) AS queues GROUP BY lane"
)


@dataclass(frozen=True, slots=True)
class HeldBack:
    """Posts of a lane that wait for their time: why ("" for a digest), how many, until when."""

    reason: str
    posts: int
    until: datetime


def held_back_now(conn: Connection, now: datetime) -> dict[str, tuple[HeldBack, ...]]:
    """The posts that are not due yet on purpose, by lane; those that wait for a retry are not."""
    found: dict[str, tuple[HeldBack, ...]] = {}
    for lane, reason, count, due in execute(conn, _HELD_BACK, {"now": ms(now)}).fetchall():
        found[lane] = (*found.get(lane, ()), HeldBack(reason, count, moment(due)))
    return found


_ON_PURPOSE = (Reason.QUIET, Reason.OUTSIDE_HOURS, Reason.SNOOZED, Reason.SCHEDULED)
_SAID = ", ".join(repr(str(each)) for each in _ON_PURPOSE)
_DIGESTS = ", ".join(repr(kind) for kind in sorted({*DIGESTS.values()}))
_HELD_BACK = (
    "SELECT lane, fault, count(*), min(due) FROM steps"  # noqa: S608 - constants
    f" WHERE state = 'pending' AND rank = {Rank.POST} AND due > :now"
    f" AND (fault IN ({_SAID}) OR (fault = '' AND action IN ({_DIGESTS})))"
    " GROUP BY lane, fault ORDER BY lane, min(due)"
)


def sent_by_lane(conn: Connection, since: datetime) -> dict[str, int]:
    """How many steps each lane performed, of matches since then."""
    return dict(execute(conn, _SENT, {"since": ms(since)}).fetchall())


_SENT = f"SELECT lane, count(*){_DONE_SINCE} GROUP BY lane"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadStep:
    """A dead letter; `recording` is the id of its recording, "" for what is about none."""

    number: int
    rule: str
    action: str
    fault: str
    recording: str
    ended: datetime
    attempts: int
    params: str


def dead_steps(conn: Connection, limit: int) -> Iterator[DeadStep]:
    """Dead letters, the newest first."""
    query = (
        select(
            steps.c.id, matches.c.rule, steps.c.action, steps.c.fault, matches.c.kind,
            matches.c.subject_key, steps.c.ended, steps.c.attempts, steps.c.params,
        )
        .join(matches, matches.c.id == steps.c.match_id)
        .where(text("steps.state = 'dead'"))
        .order_by(steps.c.ended.desc(), steps.c.id.desc())
        .limit(limit)
    )  # fmt: skip
    for row in conn.execute(query):
        yield DeadStep(
            number=row.id,
            rule=row.rule,
            action=row.action,
            fault=row.fault,
            recording=row.subject_key if row.kind == "recordings" else "",
            ended=moment(row.ended),
            attempts=row.attempts,
            params=row.params,
        )


def costs_since(conn: Connection, since: datetime) -> list[tuple[str, Mapping[str, int]]]:
    """(website, requests that each rule had a part in) as written once an hour."""
    query = select(audit.c.website, audit.c.details).where(
        audit.c.kind == "poll.cost", audit.c.at >= ms(since)
    )
    return [(row.website, msgspec.json.decode(row.details)) for row in conn.execute(query)]


def last_polls(conn: Connection, source: str) -> dict[str, datetime]:
    """When each website was polled by that source last, by id."""
    rows = execute(
        conn, "SELECT website, at FROM watermarks WHERE source = :source", {"source": source}
    )
    return {website: moment(at) for website, at in rows.fetchall()}
