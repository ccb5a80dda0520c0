"""What makes the bot act less than its rules ask: lanes that fail, and dead letters."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import Struct
from sqlalchemy import Connection, delete, func, select, text, update

from bot.domain.backoff import CEILING, LONGEST_ASKED
from bot.domain.causes import Cause, trouble_key
from bot.domain.limits import Reason
from bot.domain.step import StepStatus
from bot.store.audit import AuditKind, of_step, record
from bot.store.digests import step_ended
from bot.store.presses import show_outcome
from bot.store.schema import lanes, matches, moment, ms, steps
from bot.store.schema import troubles as _table
from bot.store.statements import execute, upsert

PATIENCE = timedelta(days=3)
"""How long a step waits on a lane that fails."""
MOST_WAITING = 10_000
"""The most writes, or calls of webhooks, that wait on a lane that fails."""
MOST_DEAD = 10_000
"""The most dead letters that are kept for `retry`."""
SOON = LONGEST_ASKED + CEILING
"""No step that has failed waits for longer."""
AT_ONCE = 200
"""How many steps one transaction ends, so that other work does not wait long."""


class FailingLane(Struct, frozen=True, kw_only=True):
    """A lane that fails, the number of its due steps, and the rules of some of them."""

    lane: str
    cause: Cause
    reason: str
    remedy: str
    since: datetime
    waiting: int
    rules: tuple[str, ...]


class Trouble(Struct, frozen=True, kw_only=True):
    """A trouble that lasts. `told`: people could be told when it began.

    `waiting` is the highest number of steps that waited, `dropped` how many were not kept.
    `worked`: something got through since it began.
    """

    key: str
    cause: Cause
    place: str
    reason: str
    remedy: str
    since: datetime
    told: bool
    waiting: int
    dropped: int = 0
    worked: bool = False


class Untold(Struct, frozen=True, kw_only=True):
    """Dead letters with one action, cause and reason that nobody was told of yet."""

    action: str
    cause: Cause
    reason: str
    remedy: str
    count: int
    first: datetime


def failing_lanes(conn: Connection, now: datetime) -> list[FailingLane]:
    """The lanes that fail while something waits on them.

    One with nothing to do soon is forgotten: else what is due in days, such as the end of a share
    or of a quiet time, would be given up without a try.
    """
    found = []
    for row in conn.execute(_FAIL).all():
        waiting = _OPEN_STEPS.bindparams(lane=row.lane, now=ms(now), soon=ms(now + SOON))
        count, still = conn.execute(waiting).one()
        if not still:
            well = {"cause": "", "remedy": "", "reason": "", "failures": 0, "since": None}
            conn.execute(update(lanes).where(lanes.c.lane == row.lane).values(**well))
            continue
        rules = conn.execute(_RULES, {"lane": row.lane}).scalars().all()
        found.append(
            FailingLane(
                lane=row.lane,
                cause=Cause(row.cause),
                reason=row.reason,
                remedy=row.remedy,
                since=moment(row.since),
                waiting=count,
                rules=tuple(rules),
            )
        )
    return found


def waiting_rules(conn: Connection) -> dict[str, frozenset[str]]:
    """The rules of some steps that wait on lanes that fail, by the key of the trouble."""
    found: dict[str, frozenset[str]] = {}
    failing = select(lanes.c.lane, lanes.c.cause).where(lanes.c.cause != "")
    for row in conn.execute(failing).all():
        key, rules = (
            trouble_key(Cause(row.cause), row.lane),
            conn.execute(_RULES, {"lane": row.lane}),
        )
        found[key] = found.get(key, frozenset()) | frozenset(rules.scalars())
    return found


# The states are literals: with parameters SQLite does not use the partial indexes.
_OPEN_STEPS = text(
    "SELECT (SELECT count(*) FROM steps WHERE lane = :lane AND state = 'pending' AND due <= :now)"
    " + (SELECT count(*) FROM steps WHERE lane = :lane AND state = 'pending'"
    " AND due > :now AND due <= :soon AND attempts > 0)"
    " + (SELECT count(*) FROM steps WHERE lane = :lane AND state = 'sending'),"
    " EXISTS (SELECT 1 FROM steps WHERE lane = :lane AND state = 'pending' AND due <= :soon)"
    " OR EXISTS (SELECT 1 FROM steps WHERE lane = :lane AND state = 'sending')"
)
_RULES = text(
    "SELECT DISTINCT rule FROM (SELECT matches.rule FROM steps JOIN matches"
    " ON matches.id = steps.match_id WHERE steps.lane = :lane AND steps.state = 'pending'"
    " ORDER BY steps.due, steps.id LIMIT 100) AS first_ones ORDER BY rule LIMIT 6"
)


_FAIL = select(lanes).where(text("lanes.cause <> ''")).order_by(lanes.c.lane)


def troubles(conn: Connection) -> list[Trouble]:
    """The troubles that last, the oldest first."""
    return [
        Trouble(
            key=row.key,
            cause=Cause(row.cause),
            place=row.place,
            reason=row.reason,
            remedy=row.remedy,
            since=moment(row.since),
            told=bool(row.told),
            waiting=row.waiting,
            dropped=row.dropped,
            worked=bool(row.worked),
        )
        for row in conn.execute(_ALL)
    ]


_ALL = select(_table).order_by(_table.c.since, _table.c.key)


def keep_trouble(conn: Connection, trouble: Trouble) -> None:
    """Save it; what is stored under its key is overwritten."""
    values = {
        "cause": trouble.cause,
        "place": trouble.place,
        "reason": trouble.reason,
        "remedy": trouble.remedy,
        "since": ms(trouble.since),
        "told": int(trouble.told),
        "waiting": trouble.waiting,
        "dropped": trouble.dropped,
        "worked": int(trouble.worked),
    }
    write = upsert(_table).values(key=trouble.key, **values)
    conn.execute(write.on_conflict_do_update(index_elements=["key"], set_=values))


def forget_trouble(conn: Connection, key: str) -> None:
    """It is over."""
    conn.execute(delete(_table).where(_table.c.key == key))


def untold(conn: Connection) -> list[Untold]:
    """The dead letters that nobody was told of yet, those that wait longest first."""
    return [
        Untold(
            action=row.action,
            cause=Cause(row.cause) if row.cause else Cause.STEP,
            reason=row.fault,
            remedy=row.remedy,
            count=row.letters,
            first=moment(row.first),
        )
        for row in conn.execute(_UNTOLD_LETTERS)
    ]


# A notice that could not be posted is not told by another one: that would never end.
_UNTOLD = text("steps.state = 'dead' AND steps.told = 0 AND steps.action <> 'notice'")
_UNTOLD_LETTERS = (
    select(
        steps.c.action,
        steps.c.cause,
        steps.c.fault,
        func.max(steps.c.remedy).label("remedy"),
        func.count().label("letters"),
        func.min(steps.c.ended).label("first"),
    )
    .where(_UNTOLD)
    .group_by(steps.c.action, steps.c.cause, steps.c.fault)
    .order_by(text("first"))
)


UNREACHED = timedelta(minutes=15)
"""How long a trouble lasts of which nobody could be told, before the heartbeat stops."""


def unreached(conn: Connection, now: datetime) -> str | None:
    """A trouble that lasts and of which nobody could be told; None if there is none."""
    query = select(_table.c.cause, _table.c.place).where(
        _table.c.told == 0, _table.c.since < ms(now - UNREACHED)
    )
    found = conn.execute(query.order_by(_table.c.since).limit(1)).first()
    return f"nobody could be told of {found.cause} {found.place}".rstrip() if found else None


def mark_told(conn: Connection, group: Untold, at: datetime) -> Sequence[str]:
    """People are told of these dead letters; returns the ids of their rules."""
    these = (steps.c.action == group.action, steps.c.fault == group.reason)
    rules = select(matches.c.rule).distinct().join(steps, matches.c.id == steps.c.match_id)
    found = conn.execute(rules.where(_UNTOLD, *these).order_by(matches.c.rule)).scalars().all()
    conn.execute(update(steps).where(_UNTOLD, *these).values(told=ms(at)))
    return found


def told_before(conn: Connection) -> list[tuple[str, Cause, str, datetime]]:
    """The dead letters that people know of: action, cause, reason, and when they were told."""
    query = (
        select(steps.c.action, steps.c.cause, steps.c.fault, func.max(steps.c.told))
        .where(text("steps.state = 'dead' AND steps.told > 0"))
        .group_by(steps.c.action, steps.c.cause, steps.c.fault)
    )
    return [
        (action, Cause(cause) if cause else Cause.STEP, reason, moment(told))
        for action, cause, reason, told in conn.execute(query)
    ]


def expire(conn: Connection, now: datetime) -> int:
    """Give up steps that waited too long on a lane that fails; call it again until it is 0."""
    before = ms(now - PATIENCE)
    ended = 0
    for lane, reason, remedy, cause in execute(conn, _FAIL_LONG, {"before": before}).fetchall():
        waiting = (
            select(steps.c.id)
            .where(text("steps.state = 'pending'"), steps.c.lane == lane)
            .where(steps.c.created <= before, steps.c.due <= ms(now))
            .limit(AT_ONCE)
        )
        dead = {
            "state": StepStatus.DEAD,
            "fault": reason,
            "remedy": f"waited {PATIENCE.days} days: {remedy or 'retry it'}",
            "cause": cause,
            "told": 0,
        }
        ended += _end(conn, conn.execute(waiting).scalars().all(), now, "step.dead", dead)
    return ended


_FAIL_LONG = "SELECT lane, reason, remedy, cause FROM lanes WHERE cause <> '' AND since <= :before"


def bound_queues(conn: Connection, now: datetime) -> int:
    """Drop the newest writes and calls of a lane that fails and has too many; as `expire`.

    They are counted. Posts have digests instead.
    """
    ended = 0
    for lane, cause in execute(conn, _OVERFULL, {"most": MOST_WAITING}).fetchall():
        about = update(_table).where(_table.c.key == trouble_key(Cause(cause), lane))
        if not conn.execute(about.values(dropped=_table.c.dropped)).rowcount:
            continue  # it may pass soon: nobody was told of it yet
        many = conn.execute(_WAITING, {"lane": lane}).scalar_one() - MOST_WAITING
        newest = conn.execute(_NEWEST, {"lane": lane, "n": min(AT_ONCE, many)})
        gone: dict[str, str | int] = {"state": StepStatus.WITHHELD, "fault": str(Reason.QUEUE_FULL)}
        dropped = _end(conn, newest.scalars().all(), now, "step.withheld", gone)
        conn.execute(about.values(dropped=_table.c.dropped + dropped))
        ended += dropped
    return ended


def bound_dead_letters(conn: Connection, now: datetime) -> int:
    """Erase the oldest dead letters beyond the bound; call it again until it is 0."""
    many = execute(conn, _DEAD, {}).fetchone()[0] - MOST_DEAD
    if many <= 0:
        return 0
    oldest = conn.execute(_OLDEST_DEAD, {"n": min(AT_ONCE, many)}).scalars().all()
    return _end(conn, oldest, now, "step.erased", {"state": StepStatus.WITHHELD})


def drop_dead_letters(conn: Connection, ids: Sequence[int], now: datetime) -> int:
    """Erase these dead letters at somebody's request; returns how many."""
    dead = select(steps.c.id).where(text("steps.state = 'dead'"), steps.c.id.in_(ids))
    there = conn.execute(dead).scalars().all()
    gone: dict[str, str | int] = {"state": StepStatus.WITHHELD, "fault": "dropped by hand"}
    return _end(conn, there, now, "step.cancelled", gone)


_OVERFULL = (
    "SELECT lane, cause FROM lanes WHERE cause <> '' AND lane NOT LIKE 'slack:%' AND EXISTS"
    " (SELECT 1 FROM steps WHERE steps.lane = lanes.lane AND steps.state = 'pending'"
    " LIMIT 1 OFFSET :most)"
)
_NEWEST = text(
    "SELECT id FROM steps WHERE lane = :lane AND state = 'pending' AND unknown_since IS NULL"
    " ORDER BY id DESC LIMIT :n"
)
_WAITING = text("SELECT count(*) FROM steps WHERE lane = :lane AND state = 'pending'")
_DEAD = "SELECT count(*) FROM steps WHERE state = 'dead'"
_OLDEST_DEAD = text("SELECT id FROM steps WHERE state = 'dead' ORDER BY ended, id LIMIT :n")


def _end(
    conn: Connection,
    ids: Sequence[int],
    now: datetime,
    kind: AuditKind,
    values: dict[str, str | int],
) -> int:
    """End these steps that way, each with a row in the audit log; returns how many."""
    for step in ids:
        row = conn.execute(_ABOUT.where(steps.c.id == step)).one()
        conn.execute(update(steps).where(steps.c.id == step).values(ended=ms(now), **values))
        step_ended(conn, row.match_id)
        said = values.get("fault") or "too many dead letters: its data was erased"
        if not row.ended:  # else people know why
            show_outcome(conn, row.key, now, str(said))
        note = of_step(kind, row, str(said))
        record(conn, now, [note])
    return len(ids)


_ABOUT = select(
    steps.c.key,
    steps.c.match_id,
    steps.c.ended,
    matches.c.rule,
    matches.c.website,
    matches.c.subject_key,
).join(matches, matches.c.id == steps.c.match_id)
