"""Lanes: one queue per Slack channel, website or webhook URL, and why and until when it waits."""

from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct
from sqlalchemy import Connection, func, select, text, update

from bot.domain.causes import MOUSEFLOW, Cause, Stops, service, stops, trouble_key
from bot.store.schema import lanes, moment, ms, troubles
from bot.store.statements import execute, execute_many, upsert
from mouseflow.rate_limit import MAX_PAUSE


class LaneState(Struct, frozen=True, kw_only=True):
    """A lane. `failures` counts failures in a row; `reason` says why it is paused."""

    lane: str
    paused_until: datetime | None
    reason: str
    failures: int


FREE = (
    "(steps.lane NOT LIKE 'mouseflow:%' OR NOT EXISTS (SELECT 1 FROM steps AS held"
    " JOIN matches AS other ON other.id = held.match_id"
    " WHERE held.lane = steps.lane AND held.state = 'sending'"
    " AND (other.subject_key = matches.subject_key"
    " OR (other.kind <> 'recordings' AND matches.kind <> 'recordings'))))"
)
"""That nothing is in flight that a step (of `steps` and `matches`) must come after: on a website's
lane a step of the same recording, or for what is of no recording another such one."""
_HELD = (
    "FROM steps AS held JOIN matches AS other ON other.id = held.match_id"
    " WHERE held.lane = :lane AND held.state = 'sending'"
)
FREE_ON_LANE = (
    "(:lane NOT LIKE 'mouseflow:%' OR ("
    f"matches.subject_key NOT IN (SELECT other.subject_key {_HELD})"
    " AND (matches.kind = 'recordings'"
    f" OR NOT EXISTS (SELECT 1 {_HELD} AND other.kind <> 'recordings'))))"
)
"""`FREE` for one lane, `:lane`: what is in flight there is read once, not for each waiting step."""
KIND_FAILS = (
    "EXISTS (SELECT 1 FROM lanes AS apart WHERE apart.lane = steps.lane || ' ' || steps.action"
    " AND apart.failures > 0)"
)
"""Whether steps of that kind have a lane apart, on which the last attempt failed."""
_FREE_STEPS = (
    "FROM steps JOIN matches ON matches.id = steps.match_id"
    f" WHERE steps.state = 'pending' AND {FREE}"
)
_NEXT = text(
    "SELECT lane, paused_until, (SELECT steps.due"  # noqa: S608
    f" {_FREE_STEPS} AND steps.lane = lanes.lane ORDER BY steps.due LIMIT 1) AS due FROM lanes"
    " ORDER BY lane"
)
_FREE_STEP = (
    "SELECT 1 FROM steps JOIN matches ON matches.id = steps.match_id"  # noqa: S608
    " WHERE steps.lane = :lane AND steps.due <= :now AND steps.state = 'pending'"
    f" AND {FREE_ON_LANE} LIMIT 1"
)
_FAILED = "SELECT cause FROM lanes WHERE lane = :lane AND failures > 0"
_WORKS = (
    "UPDATE lanes SET failures = 0, paused_until = 0, reason = '', cause = '', remedy = '',"
    " since = NULL WHERE lane = :lane"
)
_SET_APART = (
    "UPDATE steps SET lane = :apart WHERE lane = :lane AND action = :action"
    " AND state IN ('pending', 'sending')"
)


class LaneFault(Struct, frozen=True):
    """Why a lane fails, what a person can do, and when that was seen."""

    cause: Cause
    remedy: str
    at: datetime


def next_due(conn: Connection) -> dict[str, datetime]:
    """When each lane that has a step to perform may begin with it; it may be in the past."""
    return {
        lane: moment(max(paused_until, due))
        for lane, paused_until, due in conn.execute(_NEXT)
        if due is not None
    }


def has_free_step(conn: Connection, lane: str, now: datetime) -> bool:
    """Whether a step of a website's lane could be performed beside those in flight."""
    if service(lane) != MOUSEFLOW:
        return False
    return execute(conn, _FREE_STEP, {"lane": lane, "now": ms(now)}).fetchone() is not None


def failures(conn: Connection, lane: str) -> int:
    """How many attempts on this lane have failed in a row."""
    return conn.execute(select(lanes.c.failures).where(lanes.c.lane == lane)).scalar() or 0


_ADD = "INSERT INTO lanes (lane) VALUES (:lane) ON CONFLICT (lane) DO NOTHING"


def add_lanes(conn: Connection, names: Iterable[str]) -> None:
    """Have a row for each lane; known ones stay as they are."""
    execute_many(conn, _ADD, [{"lane": lane} for lane in sorted(names)])


def pause_lane(
    conn: Connection, lane: str, until: datetime, reason: str, fault: LaneFault | None = None
) -> None:
    """Count one more failure in a row and pause the lane until then.

    `fault` is what people are told of; None for a lane that was only asked to wait.
    """
    add_lanes(conn, [lane])
    paused = update(lanes).where(lanes.c.lane == lane)
    paused = paused.values(paused_until=ms(until), reason=reason, failures=lanes.c.failures + 1)
    if fault is not None:
        since = func.coalesce(lanes.c.since, ms(fault.at))
        paused = paused.values(cause=fault.cause, remedy=fault.remedy, since=since)
    conn.execute(paused)


ACCOUNT = MOUSEFLOW
"""The row that keeps how long the whole account is paused; no step is on this lane."""


def account_pause(conn: Connection, now: datetime) -> datetime | None:
    """Until when Mouseflow asked the account to wait, None if it did not.

    A pause longer than any was kept by a clock that was ahead: its true end is not known.
    """
    until = conn.execute(select(lanes.c.paused_until).where(lanes.c.lane == ACCOUNT)).scalar()
    return moment(until) if until and until <= ms(now + MAX_PAUSE) else None


def keep_account_pause(conn: Connection, until: datetime | None) -> None:
    """Keep it, so that a restart does not shorten it."""
    values = {"paused_until": ms(until) if until else 0, "reason": "Mouseflow rate limit reached"}
    write = upsert(lanes).values(lane=ACCOUNT, **values)
    conn.execute(write.on_conflict_do_update(index_elements=["lane"], set_=values))


def lane_works(conn: Connection, lane: str) -> None:
    """Reset failures and pause: something got through.

    If a whole service had failed, its other lanes are tried at once.
    """
    failed = execute(conn, _FAILED, {"lane": lane}).fetchone()
    if failed is None:
        return
    execute(conn, _WORKS, {"lane": lane})
    cause = Cause(failed[0]) if failed[0] else Cause.STEP
    # Also those of another cause before: people know of them still.
    about = {trouble_key(each, lane) for each in Cause if stops(each) is not Stops.SERVICE}
    worked = update(troubles).where(troubles.c.key.in_({*about, trouble_key(cause, lane)}))
    conn.execute(worked.values(worked=1))
    if stops(cause) is Stops.SERVICE:
        conn.execute(update(lanes).where(lanes.c.cause == cause).values(paused_until=0))


def open_lanes(conn: Connection) -> None:
    """End all pauses, because a person asked for it."""
    conn.execute(update(lanes).where(lanes.c.lane != ACCOUNT).values(paused_until=0))


def probe_lanes(conn: Connection) -> None:
    """Try the failing lanes now: what was wrong may have been fixed."""
    conn.execute(update(lanes).where(lanes.c.cause != "").values(paused_until=0))


def lane_of_kind(lane: str, action: str) -> str:
    """The lane on which one kind of action waits alone, while others on `lane` work."""
    return lane if lane.endswith(f" {action}") else f"{lane} {action}"


def set_apart(conn: Connection, lane: str, action: str) -> str:
    """Move the waiting steps of that kind to a lane of their own; returns that lane."""
    apart = lane_of_kind(lane, action)
    if apart != lane:
        add_lanes(conn, [apart])
        execute(conn, _SET_APART, {"lane": lane, "action": action, "apart": apart})
    return apart


def lane_states(conn: Connection, now: datetime) -> list[LaneState]:
    """The lanes that are failing or paused, for people."""
    query = (
        select(lanes)
        .where((lanes.c.paused_until > ms(now)) | (lanes.c.failures > 0))
        .order_by(lanes.c.lane)
    )
    return [
        LaneState(
            lane=row.lane,
            paused_until=moment(row.paused_until) if row.paused_until > ms(now) else None,
            reason=row.reason,
            failures=row.failures,
        )
        for row in conn.execute(query)
    ]
