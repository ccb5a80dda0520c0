"""The queue for people: its length, what is stuck and why, and retrying dead letters."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, func, select, text

from bot.domain.step import StepStatus
from bot.store.audit import of_step, record
from bot.store.lanes import open_lanes
from bot.store.rules import resume_rule
from bot.store.schema import matches, moment, moment_or_none, ms, steps
from bot.store.statements import AT_ONCE, execute_many


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFigures:
    """Length of the queue. `due` counts overdue steps, `oldest` is when the oldest was due."""

    pending: int
    due: int
    sending: int
    dead: int
    oldest: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepState:
    """A step and its state. `fault` is why it waits, failed or was held back.

    `waits`: for earlier steps of its match.
    """

    id: int
    key: str
    rule: str
    website: str
    subject_key: str
    lane: str
    action: str
    state: StepStatus
    due: datetime
    waits: bool = False
    attempts: int
    ended: datetime | None
    fault: str
    remedy: str
    unknown: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadGroup:
    """Dead letters with one cause: how many, and when the first and the last was given up."""

    rule: str
    action: str
    reason: str
    remedy: str
    count: int
    first: datetime
    last: datetime


def queue_figures(conn: Connection, now: datetime) -> QueueFigures:
    """The length of the queue."""
    # Literal states, so that the partial indexes are used.
    counted = text(
        "SELECT count(*), count(*) FILTER (WHERE due <= :now), min(due) FROM steps"
        " WHERE state = 'pending'"
    )
    pending, due, oldest = conn.execute(counted, {"now": ms(now)}).one()
    sending = conn.execute(text("SELECT count(*) FROM steps WHERE state = 'sending'")).scalar_one()
    dead = conn.execute(text("SELECT count(*) FROM steps WHERE state = 'dead'")).scalar_one()
    late = oldest is not None and oldest <= ms(now)
    return QueueFigures(
        pending=pending,
        due=due,
        sending=sending,
        dead=dead,
        oldest=moment(oldest) if late else None,
    )


def dead_letters(conn: Connection, limit: int = 100) -> list[StepState]:
    """The steps that were given up, newest first."""
    query = (
        _STEPS.where(text("steps.state = 'dead'"))
        .order_by(steps.c.ended.desc(), steps.c.id.desc())
        .limit(limit)
    )
    return _states(conn, query)


def waiting_steps(conn: Connection, limit: int = 10) -> list[StepState]:
    """The steps that wait, those due first at the head."""
    query = _STEPS.where(text("steps.state = 'pending'")).order_by(steps.c.due, steps.c.id)
    return _states(conn, query.limit(limit))


def dead_groups(
    conn: Connection, *, ids: Sequence[int] = (), rules: Sequence[str] = ()
) -> list[DeadGroup]:
    """The dead letters by rule, action and reason: the largest group first, then the latest.

    With `ids` or `rules` only those.
    """
    # Not grouped by remedy: it contains the number of tries.
    query = (
        select(
            matches.c.rule,
            steps.c.action,
            steps.c.fault,
            func.max(steps.c.remedy).label("remedy"),
            func.count().label("letters"),
            func.min(steps.c.ended).label("first"),
            func.max(steps.c.ended).label("last"),
        )
        .join(matches, matches.c.id == steps.c.match_id)
        .where(text("steps.state = 'dead'"))
        .group_by(matches.c.rule, steps.c.action, steps.c.fault)
        .order_by(text("letters DESC"), text("last DESC"), matches.c.rule, steps.c.action)
    )
    if ids or rules:
        query = query.where(steps.c.id.in_(ids) | matches.c.rule.in_(rules))
    return [
        DeadGroup(
            rule=row.rule,
            action=row.action,
            reason=row.fault,
            remedy=row.remedy,
            count=row.letters,
            first=moment(row.first),
            last=moment(row.last),
        )
        for row in conn.execute(query)
    ]


def steps_of(conn: Connection, match_key: str) -> list[StepState]:
    """Every step of a match, in the order in which they are performed."""
    return _states(conn, _STEPS.where(matches.c.key == match_key).order_by(steps.c.id))


def step_kinds(conn: Connection, match_keys: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The actions of many matches by their keys, in order; those without one are left out."""
    found: dict[str, tuple[str, ...]] = {}
    for start in range(0, len(match_keys), AT_ONCE):
        some = match_keys[start : start + AT_ONCE]
        query = select(matches.c.key, steps.c.action).join(steps, steps.c.match_id == matches.c.id)
        for row in conn.execute(query.where(matches.c.key.in_(some)).order_by(steps.c.id)):
            found[row.key] = (*found.get(row.key, ()), row.action)
    return found


def dead_ids(conn: Connection, ids: Sequence[int]) -> frozenset[int]:
    """Those of the ids that are dead letters."""
    query = select(steps.c.id).where(text("steps.state = 'dead'"), steps.c.id.in_(ids))
    return frozenset(conn.execute(query).scalars())


def told_at(conn: Connection, told: int) -> list[int]:
    """The dead letters of which people were told at that moment (ms since 1970)."""
    query = select(steps.c.id).where(text("steps.state = 'dead'"), steps.c.told == told)
    return list(conn.execute(query.order_by(steps.c.id)).scalars())


def retry(
    conn: Connection, now: datetime, *, ids: Sequence[int] | None = None, rule: str = ""
) -> int:
    """Requeue dead letters: those with the ids, or of the rule, or all. Returns how many.

    Their lanes are tried at once. With `rule`, a rule paused by its safety limit runs again.
    """
    if rule:
        resume_rule(conn, rule, now, "resumed by hand")
    query = select(
        steps.c.id, steps.c.key, matches.c.rule, matches.c.website, matches.c.subject_key
    )
    query = query.join(matches).where(text("steps.state = 'dead'"))
    if ids is not None:
        query = query.where(steps.c.id.in_(ids))
    if rule:
        query = query.where(matches.c.rule == rule)
    found = conn.execute(query).all()
    if not found:
        return 0
    execute_many(conn, _AGAIN, [{"step": row.id, "now": ms(now)} for row in found])
    notes = [of_step("step.retried", row, "requeued by hand") for row in found]
    record(conn, now, notes)
    open_lanes(conn)
    return len(found)


_AGAIN = (
    "UPDATE steps SET state = 'pending', due = :now, created = :now, attempts = 0,"
    " first_tried = NULL, ended = NULL, fault = '', remedy = '', cause = '', told = 0"
    " WHERE id = :step"
)


_STEPS = select(steps, matches.c.rule, matches.c.website, matches.c.subject_key).join(
    matches, matches.c.id == steps.c.match_id
)


def _states(conn: Connection, query: Select[Any]) -> list[StepState]:
    return [
        StepState(
            id=row.id,
            key=row.key,
            rule=row.rule,
            website=row.website,
            subject_key=row.subject_key,
            lane=row.lane,
            action=row.action,
            state=StepStatus(row.state),
            due=moment(row.due),
            waits=row.waits is not None,
            attempts=row.attempts,
            ended=moment_or_none(row.ended),
            fault=row.fault,
            remedy=row.remedy,
            unknown=row.unknown_since is not None,
        )
        for row in conn.execute(query)
    ]
