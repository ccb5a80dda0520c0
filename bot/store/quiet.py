"""Posts held back in quiet times or by a schedule: one message of a channel tells of them."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise

import msgspec
from sqlalchemy import Connection, delete, insert, select

from bot.actions import AFTER_QUIET, DIGESTS
from bot.domain.alert_state import REMINDED, RESOLVED
from bot.domain.limits import (
    Posting,
    Reason,
    badness,
    digest_waits,
)
from bot.domain.many import NOWHERE, Spread
from bot.domain.step import OWN_RULE, Rank, StepStatus
from bot.domain.subjects import reread
from bot.messages.pages import glimpse, spread_with
from bot.store.digests import (
    DigestItem,
    DueStep,
    due_steps,
    end_held_back,
    erase_digest,
    read_content,
    read_params,
    read_posting,
    read_why,
    withhold,
)
from bot.store.rules import snoozed_until
from bot.store.schema import digests, matches, moment, ms, steps
from bot.store.statements import Value, execute

FEW = 3
"""As many posts that waited go out alone; more become one digest of their channel."""


WEEKLY = "weekly"
"""The kind of step that posts a weekly report, which stays a message of its own."""


MOST_GROUPS = 50
"""Rules and ended alerts that it keeps; it counts the others."""


class QuietGroup(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule had to say: how often, where, and the worst; or an alert that is over.

    `over` is when the alert ended, which began at `since`. So many of a digest's have `ended`.
    """

    rule: str
    summary: str
    severity: str
    since: datetime
    total: int = 1
    worst: DigestItem | None = None
    spread: Spread = NOWHERE
    over: datetime | None = None
    ended: int = 0

    def plus(self, other: "QuietGroup") -> "QuietGroup":
        """The group with what the rule said later."""
        items = [it for it in (self.worst, other.worst) if it is not None]
        return msgspec.structs.replace(
            self,
            total=self.total + other.total,
            worst=max(items, key=lambda it: badness(it.subject)) if items else None,
            spread=self.spread.and_(other.spread),
            ended=self.ended + other.ended,
        )


class QuietContent(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters of a digest of a channel, as its action reads them.

    `scheduled`: it is one of several rules at their time, else what waited in a quiet time.
    """

    channel: str
    since: datetime
    until: datetime
    total: int
    groups: tuple[QuietGroup, ...]
    scheduled: bool = False


def fold_after_quiet(conn: Connection, row: DueStep, now: datetime) -> bool:
    """A quiet time is over: fold what waited on the lane into one digest, if there is much of it.

    An alert that began and ended in that time is one line, and its reminders are none. What
    answers an earlier message goes out alone, and so does what can't be read or must still wait.
    False if this step does.
    """
    told = _waiting(conn, row.lane, Reason.QUIET, now)
    rows = [each for each, _ in told.values()]
    fresh = [each for each in rows if each.m_continues is None]
    begun = {each.match_id: each for each in fresh}
    ends = {each.m_continues: each for each in rows if each.m_key.endswith(RESOLVED)}
    said = [each for each in rows if each.m_key.endswith(REMINDED)]
    moot = [each for each in said if each.m_continues in {*begun, *ends}]
    moot += [each for each, later in pairwise(_by_alert(said)) if _same_alert(each, later)]
    withhold(conn, moot, Reason.QUIET, now)
    gone = {each.id for each in moot}
    over = {match: ends[match] for match in begun if match in ends}
    folded = fresh if len(fresh) > FEW else [begun[match] for match in over]
    if not folded:
        return row.id in gone
    folded = [*folded, *over.values()]
    groups = {each.id: group for each, group in told.values()}
    _fold(conn, folded, groups, over, Reason.QUIET, now)
    return row.id in {*gone, *(each.id for each in folded)}


def fold_scheduled(conn: Connection, row: DueStep, now: datetime) -> bool:
    """Scheduled digests of several rules are due on the lane: fold them into one.

    Those of critical rules go out alone. False if this one does.
    """
    told = _waiting(conn, row.lane, Reason.SCHEDULED, now)
    folded = [each for each, _ in told.values() if each.m_severity != "critical"]
    if row.id not in {each.id for each in folded} or len(folded) < 2:
        return False
    groups = {each.id: group for each, group in told.values()}
    _fold(conn, folded, groups, {}, Reason.SCHEDULED, now)
    return True


def _waiting(
    conn: Connection, lane: str, reason: Reason, now: datetime
) -> dict[int, tuple[DueStep, QuietGroup]]:
    """What was held back on the lane for that reason, can be told now, and what it has to say."""
    those: dict[str, Value] = {"lane": lane, "now": ms(now), "reason": str(reason)}
    rows = (DueStep(*each) for each in execute(conn, _HELD_BACK, those).fetchall())
    found = ((each, _to_tell(conn, each, now)) for each in rows if each.action != WEEKLY)
    return {each.id: (each, group) for each, group in found if group is not None}


def _fold(
    conn: Connection,
    folded: Sequence[DueStep],
    groups: Mapping[int, QuietGroup],
    over: Mapping[int, DueStep],
    reason: Reason,
    now: datetime,
) -> None:
    """Fold these posts and digests into one message; `over` are the ends of alerts among them."""
    digest = _begin_quiet(conn, folded, groups, over, now, scheduled=reason is Reason.SCHEDULED)
    end_held_back(conn, folded, "step.folded", StepStatus.FOLDED, reason, now, digest)
    for each in folded:
        if each.action in DIGESTS.values():
            erase_digest(conn, each.id)
            conn.execute(delete(digests).where(digests.c.step_id == each.id))


_HELD_BACK = (
    f"{due_steps()} WHERE steps.lane = :lane AND steps.due <= :now"
    " AND steps.state = 'pending' AND steps.fault = :reason AND steps.unknown_since IS NULL"
    " AND steps.look_since IS NULL ORDER BY steps.due, steps.id"
)


def _by_alert(rows: Iterable[DueStep]) -> Sequence[DueStep]:
    return sorted(rows, key=lambda row: (row.m_continues or 0, row.id))


def _same_alert(one: DueStep, other: DueStep) -> bool:
    return one.m_continues is not None and one.m_continues == other.m_continues


def _begin_quiet(
    conn: Connection,
    rows: Sequence[DueStep],
    told: Mapping[int, QuietGroup],
    over: Mapping[int, DueStep],
    now: datetime,
    *,
    scheduled: bool,
) -> int:
    """Put the digest of these posts into the outbox; returns its step."""
    first = rows[0]
    ends = {each.id for each in over.values()}
    groups: dict[str, QuietGroup] = {}
    for row in rows:
        if row.id in ends:
            continue
        ended = over.get(row.match_id)
        group = told[row.id]
        if ended is not None:
            group = msgspec.structs.replace(group, over=moment(ended.m_matched))
        key = f"{row.m_rule}/{row.match_id if ended else ''}"
        groups[key] = groups[key].plus(group) if key in groups else group
    key = f"quiet/{first.key}"
    kind = AFTER_QUIET[DIGESTS.get(first.action, first.action)]
    match_id = conn.execute(
        insert(matches)
        .values(
            key=key,
            rule=OWN_RULE,
            kind="digest",
            website=first.m_website,
            subject_key=first.m_subject_key,
            summary="The scheduled digest" if scheduled else "What waited in the quiet time",
            severity="warning" if any(row.m_severity == "warning" for row in rows) else "info",
            subject=first.m_subject,
            why="[]",
            posting=msgspec.json.encode(Posting()).decode(),
            matched=ms(now),
            happened=ms(now),
        )
        .returning(matches.c.id)
    ).scalar_one()
    shown = sorted(groups.values(), key=lambda it: (it.over is not None, -it.total))
    content = QuietContent(
        channel=read_params(first.params).channel,
        since=min(told[row.id].since for row in rows),
        until=now,
        total=sum(it.total for it in shown),
        groups=tuple(shown[:MOST_GROUPS]),
        scheduled=scheduled,
    )
    step = insert(steps).values(
        match_id=match_id,
        key=f"{key}/{kind}-1",
        rank=Rank.POST,
        lane=first.lane,
        action=kind,
        params=msgspec.json.encode(content).decode(),
        # Before what goes out alone, which is fresher: an end that it tells of came earlier.
        due=select(steps.c.due - 1).where(steps.c.id == next(iter(told))).scalar_subquery(),
        created=ms(now),
    )
    added: int = conn.execute(step.returning(steps.c.id)).scalar_one()
    return added


def _to_tell(conn: Connection, row: DueStep, now: datetime) -> QuietGroup | None:
    """What this post has to say; None if it can't be read, or if its rule must be silent now."""
    try:
        read_params(row.params)
        waits = digest_waits(now, read_posting(row.m_posting), snoozed_until(conn, row.m_rule))
        return None if waits else _quiet_group(row)
    except msgspec.MsgspecError:
        return None


def _quiet_group(row: DueStep) -> QuietGroup:
    """What this post has to say, also if it is a digest itself. Raises MsgspecError."""
    about = QuietGroup(
        rule=row.m_rule, summary=row.m_summary, severity=row.m_severity, since=moment(row.m_matched)
    )
    if row.action in DIGESTS.values():
        content = read_content(row.params)
        return msgspec.structs.replace(
            about,
            since=content.since,
            total=content.total,
            worst=next(iter(content.items), None),
            spread=content.spread,
            ended=content.over,
        )
    subject = reread(row.m_subject or b"")
    item = DigestItem(
        subject=glimpse(subject), matched=moment(row.m_matched), why=read_why(row.m_why)
    )
    return msgspec.structs.replace(
        about,
        worst=item,
        spread=spread_with(NOWHERE, subject),
    )
