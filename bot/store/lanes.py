"""Lanes: one queue per Slack channel, website or webhook host, and until when it is paused."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select, text, update
from sqlalchemy.dialects.sqlite import insert as upsert

from bot.store.database import execute
from bot.store.schema import lanes, moment, ms


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneState:
    """A lane. `failures` counts failures in a row; `reason` says why it is paused."""

    lane: str
    paused_until: datetime | None
    reason: str
    failures: int


_DUE = text(
    "SELECT lane FROM lanes WHERE paused_until <= :now AND EXISTS (SELECT 1 FROM steps"
    " WHERE steps.lane = lanes.lane AND steps.state = 'pending' AND steps.due <= :now)"
    " ORDER BY lane"
)
_NEXT = text(
    "SELECT lane, max(paused_until, (SELECT min(steps.due) FROM steps"
    " WHERE steps.lane = lanes.lane AND steps.state = 'pending')) AS due FROM lanes"
)
_WORKS = (
    "UPDATE lanes SET failures = 0, paused_until = 0, reason = ''"
    " WHERE lane = :lane AND failures > 0"
)


def due_lanes(conn: Connection, now: datetime) -> list[str]:
    """The lanes that are not paused and have a due step."""
    return list(conn.execute(_DUE, {"now": ms(now)}).scalars())


def next_due(conn: Connection, busy: Collection[str] = ()) -> datetime | None:
    """When the next step is due on a lane that is not `busy` (may be in the past), or None."""
    times = [row.due for row in conn.execute(_NEXT) if row.due is not None and row.lane not in busy]
    return moment(min(times)) if times else None


def failures(conn: Connection, lane: str) -> int:
    """How many attempts on this lane have failed in a row."""
    return conn.execute(select(lanes.c.failures).where(lanes.c.lane == lane)).scalar() or 0


def pause_lane(conn: Connection, lane: str, until: datetime, reason: str) -> None:
    """Count one more failure in a row and pause the lane until then."""
    conn.execute(
        update(lanes)
        .where(lanes.c.lane == lane)
        .values(paused_until=ms(until), reason=reason, failures=lanes.c.failures + 1)
    )


ACCOUNT = "mouseflow"
"""The row that keeps how long the whole account is paused; no step is on this lane."""


def account_pause(conn: Connection) -> datetime | None:
    """Until when Mouseflow asked the account to wait, None if it did not."""
    until = conn.execute(select(lanes.c.paused_until).where(lanes.c.lane == ACCOUNT)).scalar()
    return moment(until) if until else None


def keep_account_pause(conn: Connection, until: datetime | None) -> None:
    """Keep it, so that a restart does not shorten it."""
    values = {"paused_until": ms(until) if until else 0, "reason": "Mouseflow rate limit reached"}
    write = upsert(lanes).values(lane=ACCOUNT, **values)
    conn.execute(write.on_conflict_do_update(index_elements=["lane"], set_=values))


def lane_works(conn: Connection, lane: str) -> None:
    """Reset failures and pause: something got through."""
    execute(conn, _WORKS, {"lane": lane})


def open_lanes(conn: Connection) -> None:
    """End all pauses, because a person asked for it."""
    conn.execute(update(lanes).values(paused_until=0))


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
